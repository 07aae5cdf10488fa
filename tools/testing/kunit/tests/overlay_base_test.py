# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/base.py: which trees are taken, and what is read of them."""

import os
import subprocess
from typing import Dict

from lib.host import OverlayError
from overlay import base as overlay_base
from tests.fixtures import ALLOCATOR, HEADER, Case, git, snapshot, write


class CheckTest(Case):

	def refusal(self, ksrc: str) -> str:
		with self.assertRaises(OverlayError) as caught:
			overlay_base.user_base(ksrc)
		self.assertNotIn('\n', str(caught.exception))
		return str(caught.exception)

	def makefile(self, version: str) -> None:
		write(self.linux, {'Makefile': version})

	def test_good_tree(self) -> None:
		base = overlay_base.user_base(self.linux)
		self.assertEqual((base.root, base.version), (self.linux, (6, 12)))

	def test_newer_tree(self) -> None:
		self.makefile('VERSION = 7\nPATCHLEVEL = 3\n')
		self.assertEqual(overlay_base.user_base(self.linux).version, (7, 3))

	def test_older_tree(self) -> None:
		for older in ('VERSION = 6\nPATCHLEVEL = 11\n', 'VERSION = 5\nPATCHLEVEL = 15\n'):
			self.makefile(older)
			self.assertIn('6.12 or newer', self.refusal(self.linux))

	def test_no_folder(self) -> None:
		self.assertIn('not a folder', self.refusal(self.linux + '/nowhere'))

	def test_no_kernel_tree(self) -> None:
		self.assertIn('not a kernel source tree', self.refusal(self.work))
		self.makefile('all:\n\techo hello\n')
		self.assertIn('not a kernel source tree', self.refusal(self.linux))

	def test_incomplete_tree(self) -> None:
		os.unlink(os.path.join(self.linux, overlay_base.ALLOCATOR))
		self.assertIn('has no kernel/bpf/memalloc.c', self.refusal(self.linux))

	def test_two_trees_have_two_names(self) -> None:
		other = os.path.join(self.work, 'other')
		os.mkdir(other)
		os.rename(self.linux, other + '/linux')
		one = overlay_base.user_base(other + '/linux').name
		os.rename(other + '/linux', self.linux)
		self.assertNotEqual(one, overlay_base.user_base(self.linux).name)


class ListTest(Case):

	def list(self) -> Dict[str, bool]:
		base = overlay_base.user_base(self.linux)
		scratch = os.path.join(self.work, 'scratch')
		os.makedirs(scratch, exist_ok=True)
		return overlay_base.list_files(self.host, base, scratch, self.repo)

	def test_plain_tree_is_taken_whole(self) -> None:
		write(self.linux, {'.gitignore': '*.o\n', 'odd.o': ''})
		files = self.list()
		self.assertIn('odd.o', files)
		self.assertEqual([p for p, link in files.items() if link], ['kernel/bpf/link.c'])

	def test_git_tree_without_products_and_deleted_files(self) -> None:
		write(self.linux, {'.gitignore': '*.o\n.config\n', 'kept.o': ''})
		git(self.linux, 'init')
		git(self.linux, 'add', '-f', '.')
		git(self.linux, 'commit', '-m', 'x')
		write(self.linux, {'kernel/x.o': '', '.config': '', 'kernel/new.c': ''})
		os.unlink(os.path.join(self.linux, 'kernel/bpf/core.c'))
		before = snapshot(self.linux)
		files = self.list()
		self.assertEqual(before, snapshot(self.linux))
		self.assertLessEqual({'kept.o', 'kernel/new.c'}, files.keys())
		for path in ('kernel/x.o', '.config', 'kernel/bpf/core.c', '.git/HEAD'):
			self.assertNotIn(path, files)

	def test_tree_built_in_place_without_git(self) -> None:
		write(self.linux, {'.gitignore': '*.o\n.config\n/include/generated/\n',
				   'kernel/x.o': '', '.config': '',
				   'include/generated/autoconf.h': ''})
		self.check_built_in_place()
		# As Debian's packaged source has it.
		write(self.linux, {'.gitignore': '*.o\n.config\n/include/generated/\n/*\n!/debian/\n'})
		self.check_built_in_place()

	def check_built_in_place(self) -> None:
		before = snapshot(self.linux)
		files = self.list()
		self.assertEqual(before, snapshot(self.linux))
		self.assertLessEqual({'kernel/bpf/core.c', 'Makefile', 'Kbuild'}, files.keys())
		for path in ('kernel/x.o', '.config', 'include/generated/autoconf.h'):
			self.assertNotIn(path, files)

	def test_built_in_place_and_no_git_command(self) -> None:
		write(self.linux, {'.config': ''})
		self.host.commands.discard('git')
		with self.assertRaisesRegex(OverlayError, 'install git'):
			self.list()

	def test_git_that_knows_nothing(self) -> None:
		write(self.linux, {'.gitignore': '*\n'})
		git(self.linux, 'init')
		with self.assertRaisesRegex(OverlayError, 'git cannot list'):
			self.list()

	def test_checkout_inside_the_base_is_passed_over(self) -> None:
		self.repo = os.path.join(self.linux, 'ours')
		write(self.repo, {'kernel/x.c': ''})
		self.assertFalse([p for p in self.list() if p.startswith('ours')])


class DefaultBaseTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.tarball = os.path.join(self.work, 'source.tar.xz')
		self.build = os.path.join(self.repo, 'build')
		os.makedirs(self.build)
		self.host.files |= {'/usr/src/linux-source-6.12.tar.xz'}
		self.pack()

	def pack(self) -> None:
		subprocess.run(['tar', '-cJf', self.tarball, '-C', self.work, 'linux'], check=True)

	def base(self) -> overlay_base.Base:
		with open(os.devnull, encoding='utf-8') as lock:
			return overlay_base.default_base(self.host, self.build, lock.fileno(),
							 self.tarball)

	def entries(self) -> int:
		return len(os.listdir(os.path.join(self.build, 'linux-source-6.12')))

	def test_unpacked_once(self) -> None:
		base = self.base()
		self.assertTrue(os.path.exists(os.path.join(base.root, 'kernel/bpf/core.c')))
		self.assertEqual(self.base(), base)
		self.assertEqual(len(self.host.said), 1)

	def test_upgraded_package_replaces_it(self) -> None:
		old = self.base().root
		write(self.linux, {'kernel/bpf/fresh.c': ''})
		self.pack()
		os.utime(self.tarball, ns=(1, 1))
		new = self.base().root
		self.assertTrue(os.path.exists(os.path.join(new, 'kernel/bpf/fresh.c')))
		self.assertFalse(os.path.exists(old))

	def test_leftover_of_a_killed_call_is_no_base(self) -> None:
		write(self.build, {'linux-source-6.12/unpack/Makefile': 'half'})
		self.assertTrue(os.path.exists(os.path.join(self.base().root, 'Kbuild')))
		self.assertEqual(self.entries(), 1)

	def test_broken_tarball_leaves_nothing(self) -> None:
		with open(self.tarball, 'r+b') as f:
			f.truncate(os.path.getsize(self.tarball) // 2)
		with self.assertRaisesRegex(OverlayError, 'cannot be unpacked'):
			self.base()
		self.assertEqual(self.entries(), 0)

	def test_full_disk_is_seen_before_unpacking(self) -> None:
		self.host.free = 1 << 30
		with self.assertRaisesRegex(OverlayError, '1024 MiB free, 2560 MiB are needed'):
			self.base()
		self.assertEqual(self.entries(), 0)

	def test_no_package_and_no_network(self) -> None:
		self.host.files.clear()
		self.host.root = False
		with self.assertRaisesRegex(OverlayError, 'sudo apt-get install .*linux-source-6.12'):
			self.base()


class InterfaceTest(Case):

	def check(self, header: str = HEADER, ours: str = HEADER,
		  allocator: str = ALLOCATOR, with_header: bool = True) -> None:
		write(self.linux, {overlay_base.HEADER: header})
		write(self.repo, {overlay_base.HEADER: ours, overlay_base.ALLOCATOR: allocator})
		files = {overlay_base.ALLOCATOR: os.path.join(self.repo, overlay_base.ALLOCATOR)}
		if with_header:
			files[overlay_base.HEADER] = os.path.join(self.repo, overlay_base.HEADER)
		overlay_base.check_interface(overlay_base.user_base(self.linux), files)

	def test_functions_of_a_header(self) -> None:
		self.assertEqual(overlay_base.functions(HEADER), {
			'bpf_mem_alloc_init': False, 'bpf_mem_alloc_destroy': False,
			'bpf_mem_size': True})

	def test_complete(self) -> None:
		self.check()
		self.check(with_header=False)

	def test_missing_declaration(self) -> None:
		with self.assertRaisesRegex(OverlayError, r'bpf_mem_new\(\).*does not declare'):
			self.check(header=HEADER + 'void *bpf_mem_new(void (*f)(int));\n')

	def test_missing_inline_function(self) -> None:
		with self.assertRaisesRegex(OverlayError, r'bpf_mem_size\(\).*does not declare'):
			self.check(ours=HEADER.replace('bpf_mem_size', 'bpf_other_size'))

	def test_missing_definition(self) -> None:
		header = HEADER + 'void bpf_mem_new(int x) __printf(1, 2);\n'
		with self.assertRaisesRegex(OverlayError, r'bpf_mem_new\(\).*kernel/bpf/ defines'):
			self.check(header=header, ours=header,
				   allocator=ALLOCATOR + 'int x(void) { bpf_mem_new(1); }\n')
		self.check(header=header, ours=header, allocator=ALLOCATOR +
			   'void notrace bpf_mem_new(int x) { while (x) { x--; } }\n')
