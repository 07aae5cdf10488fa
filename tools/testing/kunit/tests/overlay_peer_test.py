# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/peer.py: names that must differ, and bases without a peer."""

import tempfile
import unittest
from typing import Dict

from overlay import peer as overlay_peer
from tests.fixtures import write

HEADER = '#ifndef _BPF_MEM_ALLOC_H\nstruct bpf_mem_alloc;\nint bpf_mem_alloc_init(void);\n'
SOURCE = ('#include <linux/bpf_mem_alloc.h>\nint bpf_mem_alloc_init(void)\n{\n'
	  '\treturn bpf_map_inc(bpf_mem_cache);\n}\n')
HASHTAB = ('struct bpf_htab {\n\tstruct bpf_mem_alloc ma;\n};\n'
	   'int bpf_percpu_hash_copy(void);\nint bpf_fd_htab_map_lookup_elem(void);\n'
	   'const struct bpf_map_ops htab_map_ops = {\n};\n'
	   'const struct bpf_map_ops htab_percpu_map_ops = {\n};\n'
	   'const struct bpf_map_ops rhtab_map_ops = {\n};\n')


class PeerTest(unittest.TestCase):

	def files(self, base: Dict[str, str]) -> Dict[str, bytes]:
		with tempfile.TemporaryDirectory() as root:
			for path, text in base.items():
				write(root, {path: text})
			return overlay_peer.peer_files(root)

	def test_every_symbol_is_renamed(self) -> None:
		files = self.files({'include/linux/bpf_mem_alloc.h': HEADER,
				    'kernel/bpf/memalloc.c': SOURCE,
				    'kernel/bpf/hashtab.c': HASHTAB})
		self.assertEqual(sorted(files), [
			'kernel/bpf/tests/peer_hashtab.c', 'kernel/bpf/tests/peer_mem_alloc.h',
			'kernel/bpf/tests/peer_memalloc.c'])
		self.assertEqual(files['kernel/bpf/tests/peer_memalloc.c'].decode(),
				 '#include "peer_mem_alloc.h"\nint peer_mem_alloc_init(void)\n{\n'
				 '\treturn bpf_map_inc(peer_mem_cache);\n}\n')
		hashtab = files['kernel/bpf/tests/peer_hashtab.c'].decode()
		for name in ('peer_percpu_hash_copy', 'peer_fd_htab_map_lookup_elem',
			     ' peer_htab_map_ops', ' peer_htab_percpu_map_ops', ' peer_rhtab_map_ops',
			     'struct peer_mem_alloc', 'struct bpf_htab', 'struct bpf_map_ops'):
			self.assertIn(name, hashtab)

	def test_no_peer_where_ours_is_installed(self) -> None:
		self.assertEqual(self.files({
			'include/linux/bpf_mem_alloc.h': HEADER,
			'kernel/bpf/memalloc.c': '#include <linux/pcpu_magazine.h>\n' + SOURCE}), {})

	def test_no_peer_without_an_allocator(self) -> None:
		self.assertEqual(self.files({'kernel/bpf/hashtab.c': HASHTAB}), {})
		self.assertEqual(self.files({'kernel/bpf/memalloc.c': 'int x;\n'}), {})
