# SPDX-License-Identifier: GPL-2.0
"""Tests for what selftests/boots.py and report.py read and conclude."""

import contextlib
import io
import json
import os
import unittest
from typing import Dict, Tuple

from lib import packages
from lib.kernel import Build
from selftests import boots
from selftests import report as selftests_report
from selftests.boots import Boot, Outcome
from selftests.choice import Choice
from selftests.report import FAIL, OK, SKIP, Result
from tests.fixtures import saved

GUEST = saved('selftests.log')
RATE = 'Summary: per-prod-op   {}  \u00b1 1.00k/s, memory usage 1.00 \u00b1 0.00MiB\n'


def outcome(text: str, status: int = 0) -> Outcome:
	return Outcome(status, 1, text)


def read(log: str = '', complete: bool = True, **steps: Outcome) -> Result:
	"""A result of one boot; a step's name has __ for the slash."""
	outcomes = {name.replace('__', '/'): o for name, o in steps.items()}
	result = Result()
	selftests_report.read_boot(result, 'native', Boot(outcomes, log, complete),
				   list(outcomes))
	return result


def result(checks: Dict[str, str]) -> Result:
	return Result(checks=dict(checks))


class GuestTest(unittest.TestCase):

	def test_steps_are_told_apart(self) -> None:
		outcomes, complete = boots.read_results(GUEST)
		self.assertEqual({n: (o.status, o.seconds) for n, o in outcomes.items()}, {
			'progs/timer': (0, 3), 'progs/wq': (1, 2), 'program/test_maps': (-1, 0)})
		self.assertFalse(complete)
		self.assertEqual(outcomes['program/test_maps'].text, 'test_a:PASS')

	def test_end_is_seen(self) -> None:
		self.assertEqual(boots.read_results('@@ done\n'), ({}, True))

	def test_forged_end_is_none(self) -> None:
		text = '@@ begin a\n@@ end b 0 1\n@@ end a 4 1\n'
		self.assertEqual(boots.read_results(text)[0]['a'].status, 4)

	def test_plan(self) -> None:
		choice = Choice(('timer',), ('timer', 'timer_x'), frozenset(), frozenset(),
				frozenset(), ())
		native = boots.plan(choice, 'native', False)
		self.assertIn('./test_progs -a timer_x', [step.command for step in native])
		self.assertEqual(len([s for s in native if s.name.startswith('bench/')]), 6)
		self.assertNotIn('sysctl/force_dyn_alloc', [step.name for step in native])
		ours = boots.plan(choice, 'native', True)
		self.assertEqual(len(ours), len(native) + 1)
		icount = boots.plan(choice, 'icount', True)
		self.assertTrue(all(s.name.startswith('bench/icount/') for s in icount))
		self.assertTrue(all(' ' not in s.name for s in ours))

	def test_emulator_ends_with_us_and_counts(self) -> None:
		words = boots.qemu(Build('ours', '/t', '/b'), '/i', 'icount', '/l', '/r')
		self.assertEqual(words[:3], ['setpriv', '--pdeathsig', 'KILL'])
		self.assertIn('shift=0,sleep=off', words)
		self.assertNotIn('-icount', boots.qemu(Build('ours', '/t', '/b'), '/i',
						       'native', '/l', '/r'))


class VerdictTest(unittest.TestCase):

	def test_tests_and_their_parts(self) -> None:
		outcomes, _ = boots.read_results(GUEST)
		found = Result()
		selftests_report.read_boot(found, 'native', Boot(outcomes, '', True),
					   [*outcomes, 'progs/never'])
		self.assertEqual(found.checks, {
			'progs/timer': OK, 'progs/timer:timer/first': OK,
			'progs/timer:timer/second': SKIP, 'progs/wq': FAIL, 'progs/wq:wq/run': FAIL,
			'program/test_maps': FAIL, 'program/test_maps:test_a': OK,
			'progs/never': FAIL, 'log/native': OK})
		self.assertEqual(found.reasons, {
			'progs/wq': 'check:FAIL:open unexpected error -2',
			'program/test_maps': 'the kernel stopped in it',
			'progs/never': 'not reached: the kernel stopped before it'})

	def test_status_counts_whatever_is_said(self) -> None:
		self.assertEqual(read(progs__a=outcome('#1 a:OK\n', 1)).checks['progs/a'], FAIL)
		self.assertEqual(read(progs__a=outcome('#1 a:OK\n')).checks['progs/a'], OK)

	def test_silence_is_no_success(self) -> None:
		self.assertEqual(read(progs__a=outcome('')).checks['progs/a'], FAIL)
		self.assertEqual(read(bench__a=outcome('')).checks['bench/a'], FAIL)

	def test_skipped(self) -> None:
		self.assertEqual(read(progs__a=outcome('#1 a:SKIP\n')).checks['progs/a'], SKIP)

	def test_out_of_time(self) -> None:
		self.assertIn('too long', read(progs__a=outcome('', 137)).reasons['progs/a'])

	def test_trouble_in_the_log_fails(self) -> None:
		found = read('[    1.5] fine\n[    2.0][  T1] WARNING: CPU: 1\n')
		self.assertEqual(found.trouble['native'], ['WARNING: CPU: 1'])
		self.assertEqual(found.checks['log/native'], FAIL)

	def test_guest_that_stops_fails(self) -> None:
		self.assertEqual(read(complete=False).checks['log/native'], FAIL)

	def test_lines_of_tests_that_look_like_verdicts(self) -> None:
		text = 'test_x:PASS:open 0 nsec\n#1 a:OK\n'
		self.assertNotIn('progs/a:test_x', read(progs__a=outcome(text)).checks)
		self.assertEqual(read(program__a=outcome(text)).checks['program/a:test_x'], OK)

	def test_failed_check_is_the_reason(self) -> None:
		text = 'sysctl: write error: wanted\n#1/1 sysctl/x:FAIL\n'
		self.assertEqual(read(sysctl__a=outcome(text, 1)).reasons['sysctl/a'],
				 '#1/1 sysctl/x:FAIL')

	def test_cache_keeps_everything(self) -> None:
		found = read('BUG: x\n', bench__a=outcome(RATE.format('2.5')), progs__a=outcome('', 1),
			     sysctl__a=outcome('hash: memlock 7 kB, MemAvailable 8 kB less\n'))
		self.assertEqual(found.memory, ['hash: memlock 7 kB, MemAvailable 8 kB less'])
		self.assertEqual(found.rates, {'bench/a': 2.5})
		again = selftests_report.from_json(json.loads(json.dumps(found.to_json())))
		self.assertEqual(again, found)


class CompareTest(unittest.TestCase):

	def test_only_what_the_base_can_do_is_asked(self) -> None:
		base = result({'a': OK, 'b': FAIL, 'c': SKIP, 'd': OK, 'd:x': OK, 'd:y': FAIL})
		same = result({'a': OK, 'b': FAIL, 'c': SKIP, 'd': OK, 'd:x': OK, 'd:y': FAIL})
		self.assertEqual(selftests_report.regressions(base, same), [])

	def test_worse(self) -> None:
		for name, verdict in (('a', FAIL), ('a', SKIP), ('d:x', FAIL)):
			base = result({'a': OK, 'd': OK, 'd:x': OK})
			ours = result({**base.checks, name: verdict})
			self.assertEqual(selftests_report.regressions(base, ours), [name])

	def test_missing_is_worse(self) -> None:
		self.assertEqual(selftests_report.regressions(result({'a': OK}), result({})), ['a'])

	def test_failure_of_what_only_ours_has(self) -> None:
		ours = result({'s': FAIL, 's:x': FAIL})
		self.assertEqual(selftests_report.regressions(result({}), ours), ['s'])
		self.assertEqual(selftests_report.regressions(result({}), result({'s': OK})), [])

	def rates(self, dynamic: float, fixed: float) -> Result:
		return Result(rates={'bench/icount/overwrite/dynamic': dynamic,
				     'bench/icount/overwrite/preallocated': fixed})

	def test_ratio(self) -> None:
		self.assertEqual(selftests_report.ratio(self.rates(3, 4), 'icount', 'overwrite'), .75)
		self.assertIsNone(selftests_report.ratio(Result(), 'icount', 'overwrite'))
		rows = selftests_report.bench_rows(self.rates(3, 4), self.rates(5, 4))
		self.assertIn(('overwrite (icount)', '0.75', '1.25'), rows)

	def test_remarks(self) -> None:
		base = Result({'a': FAIL, 'b': OK, 'c': FAIL}, {'a': 'why'})
		ours = Result({'a': FAIL, 'b': FAIL, 'c': OK, 's': OK}, {'a': 'x', 'b': 'broken'})
		remarks = {row[0]: row[3] for row in selftests_report.rows(base, ours)}
		self.assertEqual(remarks['a'], 'the base fails too: why')
		self.assertEqual(remarks['b'], 'WORSE: broken')
		self.assertTrue(remarks['c'].startswith('on the base:'))
		self.assertEqual(remarks['s'], '')
		self.assertIn('worse than the base: b', selftests_report.summary(base, ours))

	def shown(self, base: Result, ours: Result) -> Tuple[str, ...]:
		out = io.StringIO()
		with contextlib.redirect_stdout(out):
			selftests_report.show(base, ours)
		return tuple(out.getvalue().splitlines())

	@unittest.skipUnless(os.path.exists(packages.RICH.probe), 'rich is not installed')
	def test_table(self) -> None:
		base = Result({'a': OK, 'a:x': OK}, trouble={'native': ['BUG: y']})
		lines = self.shown(base, result({'a': FAIL, 'a:x': FAIL}))
		row = [line for line in lines if ' a ' in line][0]
		self.assertIn('ok 1/1', row)
		self.assertIn('fail 0/1', row)
		self.assertIn('kernel log of base (native): BUG: y', lines)
		self.assertEqual(lines[-1], 'worse than the base: a')
