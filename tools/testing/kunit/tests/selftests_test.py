# SPDX-License-Identifier: GPL-2.0
"""Tests for `make selftests`: what is run again after which change."""

import os
from typing import List
from unittest import mock

from lib.kernel import Build
from overlay.base import user_base
from selftests import command as selftests
from selftests.choice import Choice
from selftests.report import OK, Result
from tests.fixtures import Case, git, write

CHOICE = Choice(('timer',), ('timer',), frozenset({'a', 'b', 'c'}), frozenset(), frozenset(), ())


class CacheTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.folder = os.path.join(self.work, 'out')
		os.makedirs(self.folder)
		self.base = Build('base', self.linux, self.folder)
		self.ours = Build('ours', self.repo, self.folder)
		self.built: List[str] = []
		self.complete = True
		for name, does in (
				('selftests.command.build.build_kernel',
				 lambda host, kernel: self.built.append(kernel.name)),
				('selftests.command.build.build_user', lambda *words: None),
				('selftests.command.tools.clang', lambda host: None),
				('selftests.command.run_kernel',
				 lambda *words: (Result({'a': OK}), self.complete))):
			patcher = mock.patch(name, does)
			patcher.start()
			self.addCleanup(patcher.stop)
		write(self.base.objects, {'vmlinux': ''})

	def half(self, kernel: Build, common: str = 'c', identity: str = 'i') -> Result:
		work = selftests.Work(self.host, self.folder, CHOICE, common, '/user', self.base)
		return selftests.half(work, kernel, identity, True)

	def test_nothing_changed(self) -> None:
		first = self.half(self.ours)
		self.assertEqual(self.half(self.ours), first)
		self.assertEqual(self.built, ['ours'])

	def test_changed_overlay_runs_ours_alone(self) -> None:
		for identity in ('i', 'j'):
			self.half(self.base, identity='base')
			self.half(self.ours, identity=identity)
		self.assertEqual(self.built, ['base', 'ours', 'ours'])

	def test_changed_tools_run_both(self) -> None:
		for common in ('c', 'd'):
			self.half(self.base, common)
			self.half(self.ours, common)
		self.assertEqual(self.built, ['base', 'ours'] * 2)

	def test_guest_that_stopped_is_not_remembered(self) -> None:
		self.complete = False
		self.half(self.ours)
		self.half(self.ours)
		self.assertEqual(self.built, ['ours', 'ours'])

	def test_damaged_cache_is_none(self) -> None:
		for text in ('{', '[]', '{"key": "k"}', 'null'):
			write(self.folder, {'x.json': text})
			self.assertIsNone(selftests.read_cache(f'{self.folder}/x.json', 'k'))

	def test_base_is_built_for_its_type_information(self) -> None:
		os.unlink(os.path.join(self.base.objects, 'vmlinux'))
		self.half(self.ours)
		self.assertEqual(self.built, ['ours', 'base'])


class IdentityTest(Case):

	def test_overlay_by_content(self) -> None:
		git(self.repo, 'init')
		before = selftests.overlay_identity(self.host, self.repo, (6, 12))
		write(self.repo, {'Documentation/new.rst': 'text'})
		os.utime(os.path.join(self.repo, 'kernel/bpf/memalloc.c'), (1, 1))
		self.assertEqual(selftests.overlay_identity(self.host, self.repo, (6, 12)), before)
		write(self.repo, {'kernel/bpf/hashtab.c.patch': 'other\n'})
		self.assertNotEqual(selftests.overlay_identity(self.host, self.repo, (6, 12)), before)

	def test_base_of_the_user(self) -> None:
		base = user_base(self.linux)
		before = selftests.base_identity(base)
		self.assertEqual(selftests.base_identity(base), before)
		write(self.linux, {'kernel/bpf/core.c': 'int changed;\n'})
		self.assertNotEqual(selftests.base_identity(base), before)

	def test_choice_has_one_description(self) -> None:
		again = Choice(('timer',), ('timer',), frozenset({'c', 'b', 'a'}), frozenset(),
			       frozenset(), ())
		self.assertEqual(selftests._describe(CHOICE), selftests._describe(again))
