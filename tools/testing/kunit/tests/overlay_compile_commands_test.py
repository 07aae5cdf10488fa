# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/compile_commands.py: an editor finds our files, not the links to them."""

import json
import os
from unittest import mock

from lib import kernel
from lib.host import OverlayError
from overlay import compile_commands
from overlay import tree as overlay_tree
from tests.fixtures import Case, read, write


class CompileCommandsTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.tree = overlay_tree.assemble(self.host, self.repo, self.linux)
		self.folder = os.path.join(self.tree.folder, 'kunit-um')

	def entry(self, path: str, file: str = '') -> compile_commands.Entry:
		return {'directory': self.folder, 'file': file or f'{self.tree.root}/{path}',
			'command': 'gcc -nostdinc -I./include -O2 -fconserve-stack -c -o x.o '
				   f'{self.tree.root}/{path}'}

	def mapped(self, path: str, file: str = '') -> compile_commands.Entry:
		return compile_commands.mapped(self.entry(path, file), self.repo)

	def test_our_file(self) -> None:
		path = 'lib/tests/new_kunit.c'
		ours = os.path.join(self.repo, path)
		expected = {'directory': self.folder, 'file': ours, 'command':
			    f'gcc -nostdinc -I{self.repo}/include -I./include -O2 -c -o x.o {ours}'}
		self.assertEqual(self.mapped(path), expected)
		self.assertEqual(self.mapped(path, ours), expected)

	def test_names_from_the_folder_of_the_build(self) -> None:
		entry = self.entry('lib/tests/new_kunit.c', '../tree/lib/tests/new_kunit.c')
		entry['command'] = entry['command'].replace(self.tree.root, '../tree')
		os.makedirs(self.folder)
		found = compile_commands.mapped(entry, self.repo)
		self.assertTrue(found['command'].endswith(f' {self.repo}/lib/tests/new_kunit.c'))

	def test_file_of_the_base(self) -> None:
		found = self.mapped('kernel/bpf/core.c')
		self.assertEqual(found['file'], f'{self.linux}/kernel/bpf/core.c')
		self.assertTrue(found['command'].endswith(f' {self.tree.root}/kernel/bpf/core.c'))

	def test_file_that_we_patch(self) -> None:
		found = self.mapped('kernel/bpf/hashtab.c')
		self.assertEqual(found['file'], f'{self.tree.root}/kernel/bpf/hashtab.c')

	def test_what_is_made_in_a_build(self) -> None:
		made = os.path.join(self.folder, 'lib/made.c')
		self.assertFalse(compile_commands.is_ours(self.mapped('lib/made.c', made)['file'], self.repo))

	def test_not_a_list(self) -> None:
		path = os.path.join(self.work, 'list')
		for text in ('{', '{"a": 1}', '[1]', '[{"directory": "/"}]'):
			write(self.work, {'list': text})
			with self.assertRaisesRegex(OverlayError, 'list cannot be read'):
				compile_commands.read(path)
		with self.assertRaisesRegex(OverlayError, 'none cannot be read'):
			compile_commands.read(os.path.join(self.work, 'none'))

	def test_written_to_the_checkout(self) -> None:
		write(self.folder, {compile_commands.NAME: json.dumps([
			self.entry('lib/tests/new_kunit.c'), self.entry('kernel/bpf/core.c')])})
		with mock.patch.object(compile_commands, 'REPO', self.repo), \
		     mock.patch.object(compile_commands, 'ready', return_value=self.tree), \
		     mock.patch.object(kernel, 'build') as build:
			path, count, ours = compile_commands.make(self.host)
		self.assertEqual(build.call_args[0][1].folder, 'kunit-um')
		self.assertEqual((path, count, ours), (f'{self.repo}/{compile_commands.NAME}', 2, 1))
		self.assertEqual(json.loads(read(path))[0]['file'], f'{self.repo}/lib/tests/new_kunit.c')
