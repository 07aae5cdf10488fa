# SPDX-License-Identifier: GPL-2.0
"""Tests for `make check` and its steps: what counts as failed, and the last line."""

import json
import os
import subprocess
import sys
import unittest
from typing import Dict, List, Mapping, Optional, Sequence
from unittest import mock

from check import lint, model, suites
from check import command as check
from check.step import (FAIL, PASS, Context, Excuse, Tally, excuse, own_files, read_excuses,
			verdict)
from lib.host import Output, OverlayError
from lib.kernel_log import trouble_in
from overlay.base import user_base
from overlay.tree import Tree, in_kernel
from tests.fixtures import Case, FakeHost, git, write

REPORT = {
	'test_cases': [{'name': 'a', 'status': 'PASS'}],
	'sub_groups': [{
		'test_cases': [{'status': 'PASS'}, {'status': 'SKIP'}, {'status': 'ERROR'}],
		'sub_groups': [{'test_cases': [{'status': 'FAIL'}, {'status': 'PASS'}],
				'sub_groups': []}]}]}


class CountTest(unittest.TestCase):

	def test_tally(self) -> None:
		self.assertEqual(str(Tally(2, 1) + PASS), '3 passed, 1 failed')
		self.assertEqual(str(Tally(2, 0, 4)), '2 passed, 0 failed, 4 skipped')

	def test_cases_of_nested_suites(self) -> None:
		self.assertEqual(suites.count_cases(REPORT), Tally(3, 2, 1))

	def test_unittest_summaries(self) -> None:
		for text, expected in (
				('..\nRan 2 tests in 0.1s\n\nOK\n', Tally(2)),
				('Ran 5 tests in 1s\n\nOK (skipped=2)\n', Tally(3, 0, 2)),
				('Ran 5 tests in 1s\n\nFAILED (failures=1, errors=1, skipped=1)\n',
				 Tally(2, 2, 1)),
				('Segmentation fault\n', FAIL), ('', FAIL)):
			self.assertEqual(lint.count_unittest(text), expected)

	def test_trouble_in_a_log(self) -> None:
		for line in ('WARNING: CPU: 0 PID: 1 at kernel/x.c:1', 'BUG: sleeping function',
			     'BUG: KASAN: slab-use-after-free in f', 'INFO: rcu_sched self-detected',
			     'WARNING: possible recursive locking detected', 'Oops: 0000 [#1]',
			     'WARNING: suspicious RCU usage', ' Call Trace:', 'watchdog: BUG: soft'):
			self.assertEqual(trouble_in(f'ok 1\n[ 1.0] {line}\r\nok 2\n'),
					 [f'[ 1.0] {line}'])

	def test_harmless_log(self) -> None:
		self.assertEqual(trouble_in(
			'kasan: KernelAddressSanitizer initialized\n    # warning_test: pass\n'
			'ok 1 bug_case\nrcu: INFO\n'), [])


class StepCase(Case):
	"""A context on the miniature tree, with a machine that answers."""

	def setUp(self) -> None:
		super().setUp()
		folder = os.path.join(self.repo, 'build/x')
		os.makedirs(folder)
		tree = Tree(self.linux, folder, user_base(self.linux))
		self.context = Context(self.host, self.repo, tree)


class RunningHost(FakeHost):
	"""Stands for kunit.py: leaves these files in the build folder."""

	def __init__(self, status: int, files: Dict[str, str]) -> None:
		super().__init__()
		self.status = status
		self.leaves = files
		self.words: List[str] = []

	def stream(self, command: Sequence[str], cwd: Optional[str] = None,
		   env: Optional[Mapping[str, str]] = None) -> int:
		self.words = list(command)
		folder = [w.split('=')[1] for w in command if w.startswith('--build_dir=')][0]
		write(folder, self.leaves)
		return self.status


class ModelTest(unittest.TestCase):
	def test_sum_is_read_from_the_last_line(self) -> None:
		self.assertEqual(model.count_run('ok a\n3 passed, 1 failed\n'), Tally(3, 1))

	def test_no_sum_is_a_failure(self) -> None:
		for text in ('', '3 passed, 0 failed\nKilled\n', 'spin is missing\n'):
			self.assertEqual(model.count_run(text), FAIL)


class KernelTest(StepCase):

	def run_kernel(self, status: int, files: Dict[str, str]) -> Tally:
		host = RunningHost(status, files)
		tally = suites.run(Context(host, self.repo, self.context.tree),
				   suites.X86_64)
		self.assertIn('--qemu_args=-smp 4', host.words)
		self.assertIn('--arch=x86_64', host.words)
		return tally

	def test_counts_cases_and_the_log(self) -> None:
		good = {'test_cases': [{'status': 'PASS'}]}
		self.assertEqual(self.run_kernel(0, {'report.json': json.dumps(good),
						     'test.log': 'fine\n'}), Tally(2))

	def test_trouble_in_the_log_fails(self) -> None:
		good = {'test_cases': [{'status': 'PASS'}]}
		self.assertEqual(self.run_kernel(0, {'report.json': json.dumps(good),
						     'test.log': 'BUG: x\n'}), Tally(1, 1))

	def test_several_cpus_on_uml_where_the_base_has_them(self) -> None:
		good = {'test_cases': [{'status': 'PASS'}]}
		host = RunningHost(0, {'report.json': json.dumps(good), 'test.log': ''})
		context = Context(host, self.repo, self.context.tree)
		self.assertEqual(suites.run_uml_smp(context), Tally(skipped=1))
		write(self.linux, {'arch/um/Kconfig': 'config SMPX\n'})
		self.assertEqual(suites.run_uml_smp(context), Tally(skipped=1))
		self.assertEqual(host.words, [])
		write(self.linux, {'arch/um/Kconfig': 'menu\nconfig SMP\n'})
		self.assertEqual(suites.run_uml_smp(context), Tally(2))
		self.assertIn('--kernel_args=ncpus=2', host.words)

	def test_no_result_fails(self) -> None:
		for files in (dict[str, str](), {'report.json': '{'}):
			self.assertEqual(self.run_kernel(1, files), FAIL)

	def test_result_of_an_earlier_run_does_not_count(self) -> None:
		folder = suites.X86_64.where(self.context.tree.folder)
		write(folder, {'report.json': json.dumps(REPORT), 'test.log': ''})
		self.assertEqual(self.run_kernel(1, {}), FAIL)

	def test_no_case_or_bad_status_fails(self) -> None:
		for status, report in ((0, {}), (1, {'test_cases': [{'status': 'PASS'}]})):
			tally = self.run_kernel(status, {'report.json': json.dumps(report),
							 'test.log': ''})
			self.assertEqual(tally.failed, 1)


class LintTest(StepCase):

	def test_own_files(self) -> None:
		write(self.repo, {'build/x/y.c': '', '.gitignore': '/build/\n*.o\n', 'lib/z.o': ''})
		git(self.repo, 'init')
		files = own_files(self.host, self.repo)
		self.assertIn('kernel/bpf/memalloc.c', files)
		self.assertFalse({'build/x/y.c', 'lib/z.o'} & set(files))
		self.assertTrue(in_kernel('kernel/bpf/memalloc.c'))
		self.assertFalse(in_kernel('tools/testing/kunit/kunit.py'))
		for path in ('Makefile', '0001-a-mail.patch', 'COPYING', 'LICENSES/preferred/GPL-2.0'):
			self.assertFalse(in_kernel(path), path)
		for path in ('MAINTAINERS.patch', 'MAINTAINERS.7.2.patch'):
			self.assertTrue(in_kernel(path), path)

	def test_verdict_shows_complaints(self) -> None:
		self.assertEqual(verdict(self.host, 'good', []), PASS)
		self.assertEqual(verdict(self.host, 'bad', ['line 1']), FAIL)
		self.assertEqual(self.host.said, ['ok     good', '  line 1', 'FAILED bad'])

	def test_checkpatch_per_file(self) -> None:
		self.host.commands |= {'gcc', 'make', 'flex', 'bison', 'bc', 'perl'}
		self.host.files |= {'/usr/include/stdio.h'}
		self.host.answers = {'--file kernel/bpf/memalloc.c': [Output(1, 'x.c:1: WARNING: y\n')]}
		# Three files: memalloc.c, new_kunit.c and hashtab.c.patch.
		self.assertEqual(lint.source_lint(self.context), Tally(2, 1))

	def test_excuses(self) -> None:
		path = os.path.join(self.work, 'excuses')
		write(self.work, {'excuses': '# why\n\ncheckpatch a.c: MACRO_REUSE: it is: so\n'})
		excuses = read_excuses(path)
		self.assertEqual(excuses, (Excuse('checkpatch a.c', 'MACRO_REUSE', 'it is: so'),))
		context = Context(self.host, self.repo, self.context.tree, excuses)
		lines = ['a.c:1: MACRO_REUSE x', 'a.c:2: OTHER']
		self.assertEqual(excuse(context, 'checkpatch a.c', lines), lines[1:])
		self.assertEqual(excuse(context, 'checkpatch b.c', lines), lines)
		self.assertIn('remove the excuse', excuse(context, 'checkpatch a.c', [])[0])
		write(self.work, {'excuses': 'checkpatch a.c: no reason\n'})
		with self.assertRaisesRegex(OverlayError, 'excuses:1: should read'):
			read_excuses(path)
		self.assertEqual(read_excuses(path + 'none'), ())

	def test_mypy_per_file(self) -> None:
		self.host.commands |= {'sparse', 'mypy', 'shellcheck'}
		write(self.repo, {'tools/a.py': '', 'tools/b.py': ''})
		self.host.answers = {'mypy': [Output(1, 'tools/b.py:1: error: x\n')]}
		self.assertEqual(lint.python_lint(self.context), Tally(1, 1))
		self.host.answers = {'mypy': [Output(2, 'mypy: broken\n')]}
		self.assertEqual(lint.python_lint(self.context).failed, 1)

	def test_commits_without_history(self) -> None:
		self.assertEqual(lint.commit_lint(self.context), Tally())
		git(self.repo, 'init')
		self.assertEqual(lint.commit_lint(self.context), Tally())

	def test_commits_that_touch_kernel_files(self) -> None:
		git(self.repo, 'init')
		for path in ('README', 'lib/tests', 'kernel'):
			write(self.repo, {'README': path})
			git(self.repo, 'add', path)
			git(self.repo, 'commit', '-m', path)
		self.assertEqual(lint.commit_lint(self.context), Tally(2))

	def test_sparse(self) -> None:
		self.host.commands |= {'sparse', 'mypy', 'shellcheck'}
		write(suites.UML.where(self.context.tree.folder), {'kernel/bpf/memalloc.o': '',
								   'lib/tests/new_kunit.o': ''})
		seen = '  CHECK   ../tree/kernel/bpf/memalloc.c\n'
		self.host.answers = {'C=2': [Output(0, seen + '  CHECK   lib/tests/new_kunit.c\n')]}
		self.assertEqual(lint.sparse(self.context), Tally(2))
		self.host.answers = {'C=2': [Output(0, seen)]}
		self.assertEqual(lint.sparse(self.context), Tally(1, 1))
		os.unlink(suites.UML.where(self.context.tree.folder) + '/lib/tests/new_kunit.o')
		self.host.answers = {'C=2': [Output(
			0, seen + f'{self.linux}/kernel/bpf/memalloc.c:3:1: warning: y\n')]}
		self.assertEqual(lint.sparse(self.context), Tally(0, 2))


class MainTest(StepCase):

	def test_a_failed_step_does_not_stop_the_others(self) -> None:
		def broken(context: Context) -> Tally:
			raise OverlayError('no such thing')

		def full(context: Context) -> Tally:
			raise OSError(28, 'No space left on device')

		tally = check.run_steps(self.context, ['a', 'b', 'c'], {
			'a': (broken, lambda context: PASS), 'b': (full,),
			'c': (lambda context: Tally(3, 0, 1),)})
		self.assertEqual(tally, Tally(4, 2, 1))
		self.assertIn('FAILED a: no such thing', self.host.said)

	def call(self, *words: str) -> 'subprocess.CompletedProcess[str]':
		tool = os.path.join(self.add_tool(), 'check')
		return subprocess.run([sys.executable, '-B', tool, *words], text=True,
				      capture_output=True,
				      env={**os.environ, 'KSRC': self.linux, 'PATH': self.path})

	path = os.environ.get('PATH', '')

	def test_unknown_step(self) -> None:
		done = self.call('everything')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'the steps are python, model')

	def test_newest_base_has_a_run_of_its_own(self) -> None:
		done = self.call('newest', 'uml')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'name it alone')
		self.assertNotIn('newest', check.STEPS)
		with mock.patch.dict(os.environ):
			os.environ.pop('KSRC', None)
			self.assertEqual(check.base_of(['newest']), 'newest')
			self.assertIsNone(check.base_of(['uml', 'lint']))
			os.environ['KSRC'] = '/x'
			self.assertEqual(check.base_of(['newest']), '/x')

	def test_programs_that_steps_start_use_the_same_base(self) -> None:
		with mock.patch.dict(os.environ):
			os.environ.pop('KSRC', None)
			self.assertIsNone(check.use_base(['uml']))
			self.assertNotIn('KSRC', os.environ)
			check.use_base(['newest'])
			self.assertEqual(os.environ['KSRC'], 'newest')

	def test_setup_that_fails_is_one_failure(self) -> None:
		self.path = self.bin('git', 'patch')
		done = self.call('uml')
		self.assertEqual((done.returncode, done.stdout), (1, '0 passed, 1 failed\n'))
		self.assert_one_line(done.stderr, 'FAILED setup: missing', 'flex')
