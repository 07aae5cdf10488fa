# SPDX-License-Identifier: GPL-2.0
"""The base's own allocator, and the hash map on it, beside ours in one kernel.

For the benchmark the base's files are laid into the assembled tree a second
time, under other names and with other symbols, so that both can be measured in
one run. They are made from the base at assembly and are never part of this
repository or of what `make install` copies.
"""

import os
import re
from typing import Dict, Tuple

from lib import files

FOLDER = 'kernel/bpf/tests'

# File of the base -> its second name in FOLDER.
_FILES = {
	'include/linux/bpf_mem_alloc.h': 'peer_mem_alloc.h',
	'kernel/bpf/memalloc.c': 'peer_memalloc.c',
	'kernel/bpf/hashtab.c': 'peer_hashtab.c',
}

# What the linker or the compiler would otherwise see twice, in this order.
_RENAMES: Tuple[Tuple[str, str], ...] = (
	(r'<linux/bpf_mem_alloc\.h>', '"peer_mem_alloc.h"'),
	(r'\b_BPF_MEM_ALLOC_H\b', '_PEER_MEM_ALLOC_H'),
	(r'\bbpf_mem_', 'peer_mem_'),
	(r'\b(r?htab_\w*map_ops)\b', r'peer_\1'),
	(r'\bbpf_percpu_hash_', 'peer_percpu_hash_'),
	(r'\bbpf_fd_htab_', 'peer_fd_htab_'),
)


def renamed(text: str) -> str:
	"""The same code under the peer's names."""
	for old, new in _RENAMES:
		text = re.sub(old, new, text)
	return text


def peer_files(root: str) -> Dict[str, bytes]:
	"""Path in the assembled tree -> content, for a base at `root`.

	Empty if the base has no allocator of its own, or if that is ours already
	(after `make install`): there is nothing to compare with then.
	"""
	texts = {path: files.read(os.path.join(root, path), '') for path in _FILES}
	memalloc = texts['kernel/bpf/memalloc.c']
	if 'pcpu_magazine' in memalloc or \
	   not re.search(r'^int bpf_mem_alloc_init\(', memalloc, re.M):
		return {}
	return {f'{FOLDER}/{_FILES[path]}': renamed(text).encode()
		for path, text in texts.items() if text}
