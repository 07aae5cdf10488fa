# SPDX-License-Identifier: GPL-2.0
"""Tests for selftests/choice.py on a miniature folder of selftests."""


from lib.host import OverlayError
from selftests import choice as selftests_choice
from selftests.choice import FOLDER
from tests.fixtures import Case, write


class ChoiceTest(Case):

	def lay(self, **files: str) -> None:
		write(self.linux, {f'{FOLDER}/{path.replace("__", "/")}.c': text
				   for path, text in files.items()})

	def setUp(self) -> None:
		super().setUp()
		self.lay(test_maps='#define PROG "./opened.bpf.o"\n', progs__opened='',
			 progs__btf_data='', progs__unused='', prog_tests__timer='',
			 prog_tests__other='#include "unused.skel.h"\n')

	def test_sources_that_tests_need(self) -> None:
		self.lay(prog_tests__timer='#include "timer.skel.h"\nvoid serial_test_timer(void)\n'
			 'void test_timer_more()\nstatic void test_inner(void)\n',
			 progs__timer='#include "shared.c"\n', progs__shared='',
			 benchs__b='#include "benched.skel.h"\n', progs__benched='')
		choice = selftests_choice.choose(self.linux)
		self.assertEqual(choice.prog_tests, ('timer',))
		self.assertEqual(choice.tests, ('timer', 'timer_more'))
		self.assertEqual(choice.programs,
				 {'btf_data', 'opened', 'timer', 'shared', 'benched'})
		self.assertIn('wq', choice.missing)

	def test_kinds_of_skeletons(self) -> None:
		self.lay(prog_tests__timer='#include "a.lskel.h"\n#include "b.lskel.h"\n'
			 '#include "b.skel.h"\n', progs__a='', progs__b='')
		choice = selftests_choice.choose(self.linux)
		self.assertEqual((choice.light, choice.light_too), ({'a'}, {'b'}))

	def test_programs_that_include_each_other_end(self) -> None:
		self.lay(prog_tests__timer='#include "a.skel.h"\n', progs__a='#include "b.c"\n',
			 progs__b='#include "./a.c"\n')
		self.assertLessEqual({'a', 'b'}, selftests_choice.choose(self.linux).programs)

	def test_tree_without_selftests_is_refused(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'a complete kernel tree is needed'):
			selftests_choice.choose(self.work)
