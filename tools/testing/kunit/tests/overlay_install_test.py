# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/install.py: a real git tree is changed wholly or not at all."""

import os
import re
import subprocess
import sys
import unittest
from typing import Dict, List

from lib import files
from lib.files import REPO, TOOL
from lib.host import Host, OverlayError
from overlay import install as overlay_install
from overlay import tree as overlay_tree
from overlay.base import OLDEST
from tests.fixtures import (NOBODY, PATCH, PUBLIC_PYTHON, Case, git, needs_root, read, snapshot,
			    write)


class InstallTest(Case):

	def setUp(self) -> None:
		super().setUp()
		git(self.linux, 'init')
		git(self.linux, 'add', '.')
		git(self.linux, 'commit', '-m', 'base')

	def install(self, force: bool = False) -> List[str]:
		return [f'{c.verb} {c.path}' for c in
			overlay_install.install(self.host, self.repo, self.linux, force)]

	def refuse(self, words: str, force: bool = False) -> None:
		before = snapshot(self.linux)
		with self.assertRaisesRegex(OverlayError, words):
			self.install(force)
		after = snapshot(self.linux)
		for path in (p for p in before if '/.git' not in p):
			self.assertEqual(before[path].split()[2:], after[path].split()[2:], path)
		self.assertEqual(before.keys(), after.keys())

	def test_copies_and_patches(self) -> None:
		self.assertEqual(self.install(), ['patch kernel/bpf/hashtab.c',
			'replace kernel/bpf/memalloc.c', 'add lib/tests/new_kunit.c'])
		self.assertFalse(os.path.islink(os.path.join(self.linux, 'lib/tests/new_kunit.c')))
		self.assertIn('ours\n', read(self.linux, 'kernel/bpf/hashtab.c'))
		self.assertFalse([n for n in os.listdir(self.linux) if n.startswith('.overlay')])

	def test_what_is_of_the_checkout_only_stays_there(self) -> None:
		before = self.install()
		git(self.linux, 'checkout', '.')
		git(self.linux, 'clean', '-dfq')
		write(self.repo, {name: 'ours\n' for name in (
			'COPYING', 'LICENSES/preferred/GPL-2.0', 'README.md', 'HACKING.md',
			'.ci/run', '.clang-format', '0001-a-mail.patch',
			'tools/testing/kunit/x/y.py', 'kernel/bpf/tests/traces/x.trace')})
		write(self.linux, {'COPYING': 'theirs\n'})
		git(self.linux, 'add', '.')
		git(self.linux, 'commit', '-m', 'licence')
		self.assertEqual(self.install(), before)
		self.assertEqual(read(self.linux, 'COPYING'), 'theirs\n')

	def test_patch_for_the_version_of_the_tree(self) -> None:
		write(self.repo, {'kernel/bpf/hashtab.c.7.3.patch': PATCH.replace('+ours', '+newer')})
		self.install()
		self.assertIn('ours\n', read(self.linux, 'kernel/bpf/hashtab.c'))
		git(self.linux, 'checkout', '.')
		write(self.linux, {'Makefile': 'VERSION = 7\nPATCHLEVEL = 3\n'})
		self.install(force=True)
		self.assertIn('newer\n', read(self.linux, 'kernel/bpf/hashtab.c'))
		names = os.listdir(os.path.join(self.linux, 'kernel/bpf'))
		self.assertFalse([name for name in names if name.endswith('.patch')])

	def test_again_after_commit_changes_nothing(self) -> None:
		self.install()
		git(self.linux, 'add', '.')
		git(self.linux, 'commit', '-m', 'overlay')
		self.assertEqual(self.install(), [])

	def test_installed_tree_serves_as_base(self) -> None:
		self.install()
		root = overlay_tree.assemble(self.host, self.repo, self.linux).root
		self.assertEqual(os.readlink(os.path.join(root, 'kernel/bpf/hashtab.c')),
				 os.path.join(self.linux, 'kernel/bpf/hashtab.c'))

	def test_dirty_tree(self) -> None:
		write(self.linux, {'kernel/bpf/core.c': 'changed\n'})
		self.refuse('uncommitted changes .first: kernel/bpf/core.c')
		self.assertTrue(self.install(force=True))
		self.assertEqual(read(self.linux, 'kernel/bpf/core.c'), 'changed\n')

	def test_untracked_file_of_the_same_name(self) -> None:
		write(self.linux, {'lib/tests/new_kunit.c': 'precious\n', 'notes': ''})
		self.refuse('uncommitted changes .first: lib/tests/new_kunit.c')

	def test_untracked_other_files_do_not_matter(self) -> None:
		write(self.linux, {'notes': ''})
		self.assertTrue(self.install())

	def test_patch_that_does_not_apply(self) -> None:
		write(self.linux, {'kernel/bpf/hashtab.c': 'other\n'})
		git(self.linux, 'commit', '-am', 'other')
		self.refuse('hashtab.c.patch does not apply')
		self.refuse('hashtab.c.patch does not apply', force=True)

	def test_no_git(self) -> None:
		os.rename(os.path.join(self.linux, '.git'), os.path.join(self.work, 'git'))
		self.refuse('no git checkout')
		self.assertTrue(self.install(force=True))

	def test_no_tree_named(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'KSRC=/path'):
			overlay_install.install(self.host, self.repo, None, False)

	@needs_root
	def test_no_permission(self) -> None:
		tool = os.path.join(self.add_tool(), 'overlay')
		os.chmod(self.work, 0o755)
		before = snapshot(self.linux)
		done = subprocess.run([PUBLIC_PYTHON, '-B', tool, 'install'], text=True, capture_output=True,
				      env={**os.environ, 'KSRC': self.linux, 'FORCE': '1'},
				      user=NOBODY, group=NOBODY, extra_groups=[])
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'make install: ', 'Permission denied')
		self.assertEqual(before, snapshot(self.linux))

	def test_says_what_it_did(self) -> None:
		tool = os.path.join(self.add_tool(), 'overlay')
		done = subprocess.run([sys.executable, '-B', tool, 'install'], text=True, capture_output=True,
				      env={**os.environ, 'KSRC': self.linux})
		self.assertEqual(done.returncode, 0, done.stderr)
		self.assertIn('patch   kernel/bpf/hashtab.c\n', done.stdout)
		self.assertIn('1 added, 1 replaced, 1 patched in', done.stdout.splitlines()[-1])


class InstalledTextTest(unittest.TestCase):
	"""What is installed is true where nothing else of ours is."""

	def setUp(self) -> None:
		overlay = overlay_install.installed(overlay_tree.read_overlay(Host(), REPO, OLDEST))
		self.texts: Dict[str, str] = {path: files.read(file) for path, file in
					      {**overlay.files, **overlay.patches}.items()}

	def test_recorders_are_installed_and_traces_are_not(self) -> None:
		for path in ('tools/bpf/memalloc/record.bt', 'tools/bpf/memalloc/record_events.sh'):
			self.assertIn(path, self.texts)
			self.assertTrue(os.access(os.path.join(REPO, path), os.X_OK), path)
		self.assertFalse([path for path in self.texts if path.endswith('.trace')])

	def test_names_no_file_that_is_left_out(self) -> None:
		names = (TOOL, *overlay_install.LEFT_OUT, 'README.md', 'HACKING.md', '.kunitconfig')
		self.assertEqual([(path, name) for path, text in self.texts.items() for name in names
				  if name in text], [])

	def test_names_no_target_of_our_makefile(self) -> None:
		targets = re.findall(r'^([\w.-]+):.*## ', files.read(os.path.join(REPO, 'Makefile')), re.M)
		self.assertIn('tune', targets)
		ours = re.compile(rf'\bmake ({"|".join(map(re.escape, targets))})\b')
		self.assertEqual([path for path, text in self.texts.items() if ours.search(text)], [])
