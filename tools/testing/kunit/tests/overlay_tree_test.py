# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/tree.py: real folders, real patch(1), a miniature kernel."""

import os
import shutil
import signal
import subprocess
import sys
import time

from lib.host import OverlayError
from overlay import tree as overlay_tree
from tests.fixtures import (LINES, NOBODY, PATCH, PUBLIC_PYTHON, Case, git, needs_root, read,
			    snapshot, write)


class AssembleTest(Case):

	def assemble(self) -> str:
		return overlay_tree.assemble(self.host, self.repo, self.linux).root

	def link(self, root: str, path: str) -> str:
		return os.readlink(os.path.join(root, path))

	def test_what_the_tree_consists_of(self) -> None:
		before = snapshot(self.linux)
		root = self.assemble()
		self.assertEqual(before, snapshot(self.linux))
		self.assertTrue(root.startswith(os.path.join(self.repo, 'build/linux-')))
		self.assertEqual(self.link(root, 'Makefile'), f'{self.linux}/Makefile')
		self.assertEqual(self.link(root, 'kernel/bpf/link.c'), 'core.c')
		for ours in ('kernel/bpf/memalloc.c', 'lib/tests/new_kunit.c'):
			self.assertEqual(self.link(root, ours), f'{self.repo}/{ours}')
		self.assertEqual(self.link(root, '.kunit/.kunitconfig'), f'{self.repo}/.kunitconfig')
		for real in ('kernel/bpf/hashtab.c', 'tools/testing/kunit/kunit.py'):
			self.assertFalse(os.path.islink(os.path.join(root, real)))
		self.assertEqual(read(root, 'kernel/bpf/hashtab.c'),
				 LINES.replace('line 20\n', 'line 20\nours\n'))
		for absent in ('kernel/bpf/hashtab.c.patch', 'tools/testing/kunit/configs/mine.config'):
			self.assertFalse(os.path.lexists(os.path.join(root, absent)))

	def test_file_at_the_top_is_patched(self) -> None:
		write(self.linux, {'MAINTAINERS': LINES})
		write(self.repo, {'MAINTAINERS.patch': PATCH.replace('kernel/bpf/hashtab.c', 'MAINTAINERS'),
				  'README.patch': PATCH, '0001-a-mail.patch': PATCH})
		root = self.assemble()
		self.assertIn('line 20\nours\n', read(root, 'MAINTAINERS'))
		self.assertFalse([name for name in os.listdir(root) if name.endswith('.patch')])

	def test_licence_of_the_base_stays(self) -> None:
		write(self.linux, {'COPYING': 'theirs\n', 'LICENSES/preferred/GPL-2.0': 'theirs\n'})
		write(self.repo, {'COPYING': 'ours\n', 'LICENSES/preferred/GPL-2.0': 'ours\n'})
		root = self.assemble()
		for path in ('COPYING', 'LICENSES/preferred/GPL-2.0'):
			self.assertEqual(self.link(root, path), f'{self.linux}/{path}')

	def test_second_call_touches_nothing(self) -> None:
		root = self.assemble()
		before = snapshot(root)
		self.assertEqual(self.assemble(), root)
		self.assertEqual(before, snapshot(root))

	def test_new_and_removed_files_change_nothing_else(self) -> None:
		root = self.assemble()
		before = snapshot(root)
		write(self.repo, {'mm/deep/new.c': ''})
		os.unlink(os.path.join(self.repo, 'lib/tests/new_kunit.c'))
		write(self.linux, {'fs/new.c': ''})
		os.unlink(os.path.join(self.linux, 'kernel/bpf/link.c'))
		self.assemble()
		after = snapshot(root)
		self.assertEqual(self.link(root, 'mm/deep/new.c'), f'{self.repo}/mm/deep/new.c')
		self.assertEqual(self.link(root, 'fs/new.c'), f'{self.linux}/fs/new.c')
		self.assertFalse(os.path.exists(os.path.join(root, 'lib')))
		self.assertFalse(os.path.lexists(os.path.join(root, 'kernel/bpf/link.c')))
		kept = [p for p in before if p in after and not os.path.isdir(p)]
		self.assertEqual([before[p] for p in kept], [after[p] for p in kept])

	def test_changed_patch_rewrites_only_its_file(self) -> None:
		root = self.assemble()
		write(self.repo, {'kernel/bpf/hashtab.c.patch': PATCH.replace('+ours', '+new')})
		self.assemble()
		self.assertIn('new\n', read(root, 'kernel/bpf/hashtab.c'))

	def test_changed_base_file_is_patched_again(self) -> None:
		root = self.assemble()
		write(self.linux, {'kernel/bpf/hashtab.c': 'more\n' + LINES})
		self.assemble()
		self.assertTrue(read(root, 'kernel/bpf/hashtab.c').startswith('more\n'))
		self.assertIn('ours\n', read(root, 'kernel/bpf/hashtab.c'))

	def test_removed_patch_and_replacement_give_the_base_back(self) -> None:
		root = self.assemble()
		os.unlink(os.path.join(self.repo, 'kernel/bpf/hashtab.c.patch'))
		os.unlink(os.path.join(self.repo, 'kernel/bpf/memalloc.c'))
		self.assemble()
		for path in ('kernel/bpf/hashtab.c', 'kernel/bpf/memalloc.c'):
			self.assertEqual(self.link(root, path), f'{self.linux}/{path}')

	def test_damage_is_repaired_and_builds_are_left_alone(self) -> None:
		root = self.assemble()
		write(root, {'.kunit/linux': 'a kernel'})
		os.unlink(os.path.join(root, 'kernel/bpf/core.c'))
		os.unlink(os.path.join(root, 'Kbuild'))
		write(root, {'Kbuild': 'no link'})
		self.assemble()
		self.assertEqual(self.link(root, 'kernel/bpf/core.c'), f'{self.linux}/kernel/bpf/core.c')
		self.assertEqual(self.link(root, 'Kbuild'), f'{self.linux}/Kbuild')
		self.assertEqual(read(root, '.kunit/linux'), 'a kernel')

	def test_linked_folder_never_leads_into_the_base(self) -> None:
		os.symlink('kernel', os.path.join(self.linux, 'alias'))
		root = self.assemble()
		os.unlink(os.path.join(self.linux, 'alias'))
		write(self.linux, {'alias/new.c': ''})
		before = snapshot(self.linux)
		self.assemble()
		self.assertEqual(before, snapshot(self.linux))
		self.assertEqual(self.link(root, 'alias/new.c'), f'{self.linux}/alias/new.c')

	def test_checkout_with_git_leaves_out_ignored_files(self) -> None:
		write(self.repo, {'.gitignore': '/build/\n*.tmp\n', 'lib/x.tmp': '', 'lib/y.c': ''})
		git(self.repo, 'init')
		root = self.assemble()
		self.assertFalse(os.path.lexists(os.path.join(root, 'lib/x.tmp')))
		self.assertTrue(os.path.lexists(os.path.join(root, 'lib/y.c')))

	def test_checkout_without_git_leaves_out_litter(self) -> None:
		write(self.repo, {'lib/x.c~': '', 'lib/x.rej': '', 'lib/y.c': ''})
		root = self.assemble()
		self.assertEqual(sorted(os.listdir(os.path.join(root, 'lib'))), ['tests', 'y.c'])


class VersionTest(Case):
	"""FILE.X.Y.patch beside FILE.patch: which one a base gets."""

	def setUp(self) -> None:
		super().setUp()
		write(self.repo, {f'kernel/bpf/hashtab.c.{v}.patch': PATCH.replace('+ours', f'+for {v}')
				  for v in ('6.15', '7.2', '7.10')})

	def result(self, version: str) -> str:
		number = version.split('.')
		write(self.linux, {'Makefile': f'VERSION = {number[0]}\nPATCHLEVEL = {number[1]}\n'})
		root = overlay_tree.assemble(self.host, self.repo, self.linux).root
		for name in os.listdir(os.path.join(root, 'kernel/bpf')):
			self.assertFalse(name.endswith('.patch'))
		return read(root, 'kernel/bpf/hashtab.c').splitlines()[20]

	def test_the_newest_that_is_not_above_the_base(self) -> None:
		for version, line in (('6.12', 'ours'), ('6.14', 'ours'), ('6.15', 'for 6.15'),
				      ('7.1', 'for 6.15'), ('7.2', 'for 7.2'), ('7.9', 'for 7.2'),
				      ('7.10', 'for 7.10'), ('8.0', 'for 7.10')):
			with self.subTest(version=version):
				self.assertEqual(self.result(version), line)

	def test_no_patch_for_older_ones(self) -> None:
		os.unlink(os.path.join(self.repo, 'kernel/bpf/hashtab.c.patch'))
		self.assertEqual(self.result('6.14'), 'line 21')
		self.assertEqual(self.result('6.15'), 'for 6.15')

	def refusal(self) -> str:
		with self.assertRaises(OverlayError) as caught:
			self.result('7.2')
		self.assertNotIn('\n', str(caught.exception))
		return str(caught.exception)

	def test_one_that_does_not_apply_is_named(self) -> None:
		write(self.repo, {'kernel/bpf/hashtab.c.7.2.patch': PATCH.replace(' line 20', ' no')})
		self.assertIn('kernel/bpf/hashtab.c.7.2.patch does not apply', self.refusal())

	def test_names_without_meaning(self) -> None:
		for version, words in (('7', 'is no version'), ('7.3.4', 'is no version'),
				       ('7.02', 'is no version'), ('7..2', 'is no version'),
				       ('6.12', 'kernel/bpf/core.c.patch'), ('5.9', 'rename')):
			name = f'kernel/bpf/core.c.{version}.patch'
			write(self.repo, {name: ''})
			with self.subTest(name=name):
				message = self.refusal()
				self.assertIn(name, message)
				self.assertIn(words, message)
			os.unlink(os.path.join(self.repo, name))

	def test_file_and_patch_for_another_version(self) -> None:
		os.unlink(os.path.join(self.repo, 'kernel/bpf/hashtab.c.patch'))
		write(self.repo, {'kernel/bpf/hashtab.c': ''})
		self.assertIn('hashtab.c.', self.refusal())
		self.assertIn('both exist', self.refusal())


class RefusalTest(Case):

	def refusal(self) -> str:
		with self.assertRaises(OverlayError) as caught:
			overlay_tree.assemble(self.host, self.repo, self.linux)
		self.assertNotIn('\n', str(caught.exception))
		return str(caught.exception)

	def built(self) -> bool:
		found = [os.listdir(os.path.join(self.repo, 'build', d))
			 for d in os.listdir(os.path.join(self.repo, 'build'))]
		return any(found)

	def test_patch_that_does_not_apply(self) -> None:
		write(self.linux, {'kernel/bpf/hashtab.c': 'other\n'})
		message = self.refusal()
		self.assertIn('kernel/bpf/hashtab.c.patch does not apply to', message)
		self.assertIn('Hunk #1 FAILED', message)
		self.assertFalse(self.built())

	def test_fuzz_is_refused_and_offset_is_not(self) -> None:
		write(self.linux, {'kernel/bpf/hashtab.c': LINES.replace('line 21', 'line XXI')})
		self.assertIn('does not apply', self.refusal())
		write(self.linux, {'kernel/bpf/hashtab.c': 'one\ntwo\n' + LINES})
		overlay_tree.assemble(self.host, self.repo, self.linux)

	def test_failed_change_leaves_the_old_tree(self) -> None:
		root = overlay_tree.assemble(self.host, self.repo, self.linux).root
		before = snapshot(root)
		write(self.repo, {'kernel/bpf/hashtab.c.patch': 'no patch at all\n',
				  'lib/more.c': ''})
		self.assertIn('must change one file', self.refusal())
		self.assertEqual(before, snapshot(root))

	def test_patch_for_a_missing_file(self) -> None:
		os.unlink(os.path.join(self.linux, 'kernel/bpf/hashtab.c'))
		self.assertIn('does not have', self.refusal())
		self.assertFalse(self.built())

	def test_file_and_patch_for_one_path(self) -> None:
		write(self.repo, {'kernel/bpf/hashtab.c': ''})
		self.assertIn('both exist', self.refusal())

	def test_missing_function_stops_it(self) -> None:
		header = os.path.join(self.linux, 'include/linux/bpf_mem_alloc.h')
		with open(header, 'a', encoding='utf-8') as f:
			f.write('void bpf_mem_newest(void);\n')
		self.assertIn('bpf_mem_newest()', self.refusal())
		self.assertFalse(self.built())

	def test_path_that_make_cannot_handle(self) -> None:
		for name in ('a b', 'a:b'):
			self.repo = os.path.join(self.work, name)
			self.assertIn('move the checkout', self.refusal())

	def test_build_is_a_file(self) -> None:
		write(self.repo, {'build': ''})
		self.assertIn('cannot be created', self.refusal())


class ProcessTest(Case):
	"""`make tree` as a process: locks, kills, one line on stderr."""

	MANY = 4000

	def setUp(self) -> None:
		super().setUp()
		self.tool = os.path.join(self.add_tool(), 'overlay')
		self.env = {**os.environ, 'KSRC': self.linux}

	def start(self) -> 'subprocess.Popen[str]':
		return subprocess.Popen([sys.executable, '-B', self.tool, 'tree'], env=self.env, text=True,
					stdout=subprocess.PIPE, stderr=subprocess.PIPE)

	def finish(self, process: 'subprocess.Popen[str]') -> str:
		out, err = process.communicate(timeout=60)
		self.assertEqual(process.returncode, 0, err)
		return out.splitlines()[-1]

	def enlarge(self, folder: str) -> None:
		write(self.linux, {f'{folder}/{n}.c': '' for n in range(self.MANY)})

	def assert_complete(self, root: str, folder: str) -> None:
		names = os.listdir(os.path.join(root, folder))
		self.assertEqual(len(names), self.MANY)

	def test_prints_the_path_last(self) -> None:
		root = self.finish(self.start())
		self.assertTrue(os.path.isdir(os.path.join(root, 'kernel/bpf')))

	def test_two_at_once(self) -> None:
		self.enlarge('fs')
		roots = {self.finish(p) for p in [self.start() for _ in range(4)]}
		self.assertEqual(len(roots), 1)
		self.assert_complete(roots.pop(), 'fs')

	def kill_when(self, number: int, path: str, present: bool) -> int:
		process = self.start()
		while process.poll() is None and os.path.lexists(path) != present:
			time.sleep(0.001)
		process.send_signal(number)
		_, err = process.communicate()
		self.assertNotIn('Traceback', err)
		return process.returncode

	def test_killed_first_assembly_is_not_taken_for_a_tree(self) -> None:
		root = self.finish(self.start())
		shutil.rmtree(os.path.join(self.repo, 'build'))
		self.enlarge('fs')
		for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
			with self.subTest(signal=number):
				self.assertNotEqual(self.kill_when(
					number, root + '.new/fs/5.c', True), 0)
				self.assertFalse(os.path.exists(root))
		self.assertEqual(self.finish(self.start()), root)
		self.assert_complete(root, 'fs')
		self.assertFalse(os.path.exists(root + '.new'))

	def test_killed_change_is_completed(self) -> None:
		root = self.finish(self.start())
		self.enlarge('fs')
		plan = os.path.join(os.path.dirname(root), 'plan')
		self.assertNotEqual(self.kill_when(signal.SIGKILL, plan, False), 0)
		self.finish(self.start())
		self.assert_complete(root, 'fs')
		shutil.rmtree(os.path.join(self.linux, 'fs'))
		self.kill_when(signal.SIGKILL, plan, False)
		self.finish(self.start())
		self.assertFalse(os.path.exists(os.path.join(root, 'fs')))

	def test_errors_are_one_line(self) -> None:
		for ksrc, words in ((self.work, 'not a kernel source tree'),
				    (self.work + '/none', 'not a folder')):
			self.env['KSRC'] = ksrc
			process = self.start()
			out, err = process.communicate()
			self.assertEqual((process.returncode, out), (1, ''))
			self.assert_one_line(err, 'make tree: ', words)

	@needs_root
	def test_unwritable_build_folder(self) -> None:
		os.chmod(self.work, 0o755)
		os.mkdir(os.path.join(self.repo, 'build'))
		done = subprocess.run([PUBLIC_PYTHON, '-B', self.tool, 'tree'], env=self.env, text=True,
				      capture_output=True, user=NOBODY, group=NOBODY, extra_groups=[])
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'build cannot be written to')
