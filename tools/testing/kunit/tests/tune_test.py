# SPDX-License-Identifier: GPL-2.0
"""Tests for `make tune`: traces, grids, logs, fronts, what is kept."""

import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from typing import Any, Dict, List, Optional

from lib import packages
packages.use_dist_packages()

from rich.console import Console

from lib.files import REPO
from lib.host import OverlayError
from tests.fixtures import saved
from tune import pareto
from tune import command as tune
from tune import page as tune_page
from tune import search as tune_search
from tune import store as tune_store
from tune import table as tune_table
from tune import trial as tune_trial
from tune import workload as tune_workload
from tune.search import DEFAULT, Grid, Setting

TRACE = '# bpf_mem trace 1\n# workload: w\n# cpus: 2\n# objects: 1\n# events: 2\n' \
	'0 0 t a 0 64\n5 1 t f 0\n'

LOG = saved('replay.log')


def trial(setting: Setting, workload: str = 'w', failed: int = 0, held: int = 1024,
	  cost: int = 100, status: str = 'ok', machine: str = 'qemu') -> Dict[str, Any]:
	return {'key': f'{workload}-{setting}', 'workload': workload, 'machine': machine,
		**setting.__dict__, 'status': status, 'why': 'boom' if status != 'ok' else '',
		'allocs': 1000, 'failed': failed, 'refills': 5, 'held_mean': held,
		'held_peak': 2 * held, 'ops': 10, 'cost': cost, 'attempts': 1, 'seconds': 0.1,
		'marks': [{'size': 72, 'low': 1, 'high': 9, 'batch': 2}]}


A, B, C = Setting(8, 32, 8), Setting(64, 192, 96), Setting(16, 64, 24)


class TestWorkload(unittest.TestCase):
	def test_parse(self) -> None:
		found = tune_workload.parse('x', TRACE)
		self.assertEqual((found.cpus, found.interrupts, found.about, found.file),
				 (2, False, 'w', 'x.trace'))

	def test_interrupts(self) -> None:
		for context, expected in (('t', False), ('s', False), ('h', True), ('n', True)):
			text = TRACE.replace('1 t f', f'1 {context} f')
			self.assertEqual(tune_workload.parse('x', text).interrupts, expected)

	def test_nonsense(self) -> None:
		for text, word in (('', 'no trace'), ('0 0 t a 0 64\n', 'no trace'),
				   (TRACE.replace('# cpus: 2\n', ''), 'cpus'),
				   (TRACE + '0 0 t a 0 64\n', '3 events')):
			with self.assertRaisesRegex(OverlayError, word):
				tune_workload.parse('x', text)

	def test_built_in_and_shipped_are_sound(self) -> None:
		for name in tune_workload.known():
			workload = tune_workload.load(name)
			live: Dict[str, bool] = {}
			for line in workload.text.splitlines():
				if line.startswith('#'):
					continue
				words = line.split()
				self.assertLess(int(words[1]), workload.cpus)
				self.assertGreaterEqual(int(words[0]), 0)
				self.assertEqual(live.get(words[4], False), words[3] != 'a', line)
				live[words[4]] = words[3] == 'a'
			objects = int(workload.text.split('# objects: ')[1].split()[0])
			self.assertEqual(len(live), objects)

	def test_built_in_are_the_same_each_time(self) -> None:
		for name, make in tune_workload.BUILT_IN.items():
			self.assertEqual(make(), make(), name)

	def test_load(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'no workload nix: there are .*bursts'):
			tune_workload.load('nix')
		with self.assertRaisesRegex(OverlayError, 'No such file'):
			tune_workload.load('/nowhere/x.trace')
		with tempfile.TemporaryDirectory() as folder:
			path = os.path.join(folder, 'my own.trace')
			with open(path, 'w', encoding='ascii') as f:
				f.write(TRACE)
			self.assertEqual(tune_workload.load(path).name, 'my_own')
			with self.assertRaisesRegex(OverlayError, 'two workloads'):
				tune_workload.load_all([path, path])


class TestSearch(unittest.TestCase):
	def test_default_comes_first(self) -> None:
		settings = Grid().settings()
		self.assertEqual(settings[0], DEFAULT)
		self.assertEqual(len(set(settings)), len(settings))
		self.assertTrue(all(setting.is_sane() for setting in settings))

	def test_sane_is_what_the_kernel_takes(self) -> None:
		for setting in (Setting(0, 3, 1), Setting(3, 3, 1), Setting(1, 3, 0),
				Setting(1, 3, 3), Setting(1, 16385, 1)):
			self.assertFalse(setting.is_sane(), setting)
		self.assertTrue(Setting(1, 16384, 16383).is_sane())

	def test_default_is_that_of_the_kernel(self) -> None:
		with open(os.path.join(REPO, 'kernel/bpf/memalloc_watermarks.c'),
			  encoding='utf-8') as f:
			self.assertIn(f'{{ .low = {DEFAULT.low}, .high = {DEFAULT.high}, '
				      f'.batch = {DEFAULT.batch} }}', f.read())

	def test_empty_grid(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'no setting'):
			Grid((10,), (5,), (1,)).settings()

	def test_explore(self) -> None:
		self.assertEqual(tune_search.explore(Grid(), 1, 1), [DEFAULT])
		some = tune_search.explore(Grid(), 10, 1)
		self.assertEqual(len(set(some)), 10)
		self.assertEqual(some, tune_search.explore(Grid(), 10, 1))
		self.assertNotEqual(some, tune_search.explore(Grid(), 10, 2))

	def test_refine(self) -> None:
		near = tune_search.refine(Grid(), [C], [DEFAULT], 5, 1)
		self.assertEqual(set(near), {Setting(8, 64, 24), Setting(32, 64, 24),
					     Setting(16, 96, 24), Setting(16, 64, 16),
					     Setting(16, 64, 48)})
		self.assertEqual(len(tune_search.refine(Grid(), [C], [], 2, 1)), 2)
		self.assertEqual(tune_search.refine(Grid(), [C], [], 0, 1), [])
		# Nothing is left next to the best: others, and none twice.
		more = tune_search.refine(Grid(), [C], near, 7, 1)
		self.assertEqual(len(set(more) - set(near)), 7)

	def test_numbers(self) -> None:
		self.assertEqual(tune_search.numbers('32,16,32', 'low'), (16, 32))
		for text in ('', 'x', '1,', '0,1', '-1'):
			with self.assertRaisesRegex(OverlayError, '--low='):
				tune_search.numbers(text, 'low')


class TestTrial(unittest.TestCase):
	SPEC = {'key': 'k', 'machine': 'uml', 'kernel': 'linux', 'image': 'i.cpio',
		'trace': 'x.trace', 'cpus': 1, 'limit': 20, **DEFAULT.__dict__}

	def test_read_log(self) -> None:
		figures, wrong = tune_trial.read_log(LOG)
		self.assertEqual(wrong, '')
		self.assertEqual((figures['events'], figures['refills']), (2, 3))
		self.assertEqual(figures['marks'][0]['high'], 9)

	def test_logs_of_trouble(self) -> None:
		for text, word in ((LOG.replace('ok 1', 'not ok 1'), 'did not do'),
				   (LOG.split('ok 1')[0], 'without a result'), ('', 'without'),
				   ('Kernel panic - not syncing: x\n' + LOG, 'Kernel panic'),
				   ('WARNING: CPU: 0\n' + LOG, 'WARNING'),
				   ('rcu: INFO: rcu_sched self-detected stall\n' + LOG, 'stall'),
				   (LOG.replace('"refills": 3}', '"refi'), 'without a result')):
			self.assertIn(word, tune_trial.read_log(text)[1])
		harmless = 'ACPI: Unable to load the System Description Tables\n'
		self.assertEqual(tune_trial.read_log(harmless + LOG)[1], '')

	def test_command(self) -> None:
		uml = tune_trial.command(self.SPEC, '/f')
		self.assertIn('/f/linux', uml)
		self.assertIn('bpf_mem_alloc.batch=48', uml)
		qemu = tune_trial.command({**self.SPEC, 'machine': 'qemu', 'cpus': 4}, '/f')
		self.assertEqual(qemu[qemu.index('-smp') + 1], '4')
		self.assertIn('shift=0,sleep=off', qemu)
		self.assertIn('bpf_mem_alloc.low=32', qemu[qemu.index('-append') + 1])

	def _run(self, script: str, limit: int = 20) -> Dict[str, Any]:
		with tempfile.TemporaryDirectory() as folder:
			with open(os.path.join(folder, 'linux'), 'w', encoding='utf-8') as f:
				f.write('#!/bin/sh\n' + script)
			return tune_trial.run_trial({**self.SPEC, 'limit': limit}, folder)

	def test_good_kernel(self) -> None:
		result = self._run(f"cat <<'E'\n{LOG}E\n")
		self.assertEqual((result['status'], result['attempts'], result['refills']),
				 ('ok', 1, 3))

	def test_kernel_that_is_killed(self) -> None:
		result = self._run('kill -9 $$')
		self.assertEqual((result['status'], result['why'], result['attempts']),
				 ('crashed', 'ended by signal 9', 2))

	def test_second_chance(self) -> None:
		result = self._run('cd "${0%/*}"\n[ -e once ] || { touch once; kill -9 $$; }\n'
				   f"cat <<'E'\n{LOG}E\n")
		self.assertEqual((result['status'], result['attempts']), ('ok', 2))

	def test_kernel_that_hangs(self) -> None:
		result = self._run('exec sleep 60', limit=1)
		self.assertEqual((result['status'], result['why']), ('crashed', 'no end after 1 s'))


class TestShipping(unittest.TestCase):
	def test_zip_has_all_that_a_trial_needs(self) -> None:
		from tune import cluster
		with tempfile.TemporaryDirectory() as folder:
			path = cluster.pack_trial(folder)
			self.assertEqual(path, cluster.pack_trial(folder))
			code = ('import sys; sys.path.insert(0, sys.argv[1]); import tune.trial as t\n'
				'assert "zip" in t.__file__\nprint(t.read_log(sys.stdin.read()))')
			done = subprocess.run([sys.executable, '-I', '-c', code, path], input=LOG,
					      capture_output=True, text=True, check=False)
		self.assertEqual(done.stdout, f'{tune_trial.read_log(LOG)}\n', done.stderr)


class TestFront(unittest.TestCase):
	TRIALS = [trial(DEFAULT, failed=10, held=2048), trial(A, failed=20, held=1024),
		  trial(B, failed=0, held=4096, cost=90), trial(C, failed=20, held=2048)]

	def scores(self, trials: Optional[List[Dict[str, Any]]] = None) -> List[pareto.Score]:
		return pareto.scores(self.TRIALS if trials is None else trials, ['w'])

	def test_front(self) -> None:
		self.assertEqual({score.setting for score in pareto.front(self.scores())},
				 {DEFAULT, A, B})

	def test_sum_over_workloads(self) -> None:
		found = pareto.scores([trial(A, failed=4, cost=100),
				       trial(A, 'v', failed=0, cost=5, machine='uml')],
				      ['w', 'v'])
		self.assertEqual((found[0].failed, found[0].held_mean, found[0].instructions),
				 (2.0, 2.0, 10.0))

	def test_crashed_settings_are_out(self) -> None:
		trials = [trial(A), trial(B, status='crashed'), trial(C, 'other')]
		self.assertEqual([score.setting for score in self.scores(trials)], [A])

	def test_advice(self) -> None:
		advice = pareto.advise(self.scores())
		assert advice
		self.assertEqual(advice.score.setting, B)
		self.assertIn('another trade', ' '.join(advice.reasons))
		lines = pareto.apply_lines(advice.score)
		self.assertEqual(lines[0],
				 'echo 72 1 9 2 > /sys/kernel/debug/bpf_mem_alloc/watermarks')
		self.assertIn('bpf_mem_alloc.high=192', lines[-1])

	def test_default_is_best(self) -> None:
		advice = pareto.advise(self.scores([trial(DEFAULT), trial(A, held=4096)]))
		assert advice
		self.assertEqual(advice.score.setting, DEFAULT)
		self.assertIn('leave it', ' '.join(advice.reasons))

	def test_free_gain(self) -> None:
		found = self.scores([trial(DEFAULT, failed=5), trial(A, failed=5, held=512)])
		self.assertEqual([s.setting for s in pareto.better_than_usual(found)], [A])
		advice = pareto.advise(found)
		assert advice
		self.assertEqual(advice.score.setting, A)
		self.assertNotIn('another trade', ' '.join(advice.reasons))

	def test_memory_is_not_saved_at_any_price(self) -> None:
		found = self.scores([trial(DEFAULT, cost=100), trial(A, held=512, cost=200)])
		advice = pareto.advise(found)
		assert advice
		self.assertEqual(advice.score.setting, DEFAULT)

	def test_no_default(self) -> None:
		self.assertIsNone(pareto.advise(self.scores([trial(A)])))
		self.assertIsNone(pareto.advise([]))


class TestStore(unittest.TestCase):
	def test_kept_and_torn(self) -> None:
		with tempfile.TemporaryDirectory() as folder:
			store = tune_store.Store(folder)
			store.add(trial(A))
			store.add(trial(B, status='crashed'))
			with open(os.path.join(folder, 'trials.jsonl'), 'a', encoding='utf-8') as f:
				f.write('{"key": "w-')
			again = tune_store.Store(folder)
			self.assertTrue(again.has(f'w-{A}'))
			self.assertFalse(again.has(f'w-{B}'))  # will be tried again
			again.add(trial(C))
			self.assertTrue(tune_store.Store(folder).has(f'w-{C}'))
			again.forget()
			self.assertEqual(tune_store.Store(folder).trials, {})

	def test_csv(self) -> None:
		lines = tune_store.to_csv([trial(A), trial(B, status='crashed')]).splitlines()
		self.assertEqual(len(lines), 3)
		self.assertTrue(lines[0].startswith('workload,machine,low'))
		self.assertIn('crashed,boom', lines[2])


class TestOutput(unittest.TestCase):
	def setUp(self) -> None:
		self.trials = TestFront.TRIALS + [trial(Setting(1, 9, 1), status='crashed')]
		self.found = pareto.scores(self.trials, ['w'])
		advice = pareto.advise(self.found)
		assert advice
		self.advice = advice

	def test_table(self) -> None:
		console = Console(width=120, file=io.StringIO())
		tune_table.show(console, self.trials, self.found, self.advice)
		text = console.file.getvalue()  # type: ignore[attr-defined]
		for word in ('3 of 4 settings', str(DEFAULT), 'Recommended: low/high/batch 64/192/96',
			     'crashed: 1/9/1 on w: boom', 'nothing that was tried'):
			self.assertIn(word, text)

	def test_page(self) -> None:
		data = {'trials': self.trials, 'complete': False, 'commit': 'c', 'base': 'b<',
			'workloads': [{'name': 'w', 'cpus': 1, 'machine': 'qemu', 'about': 'x & y'}]}
		page = tune_page.page(data, self.found, self.advice)
		self.assertEqual(page.count('<svg'), 3)
		self.assertNotIn('<script', page)
		self.assertIn('Not all trials', page)
		self.assertIn('x &amp; y', page)
		self.assertIn('1/9/1 on w: boom', page)
		for outside in ('src=', 'href="http', '@import'):
			self.assertNotIn(outside, page)


class TestSearchLoop(unittest.TestCase):
	def _plan(self) -> tune.Plan:
		workloads = [tune_workload.parse('w', TRACE), tune_workload.parse('v', TRACE)]
		return tune.Plan(workloads, {'w': 'qemu', 'v': 'uml'}, {'qemu': 'q-1', 'uml': 'u-1'},
				 'traces-1', {'w': 'aa', 'v': 'bb'})

	def test_specs(self) -> None:
		specs = tune.specs_of(self._plan(), [A])
		self.assertEqual([spec['key'] for spec in specs], [f'aa-{A}', f'bb-{A}'])
		self.assertEqual([spec['cpus'] for spec in specs], [2, 1])
		json.dumps(specs)

	def test_a_trace_under_another_name_has_results_of_its_own(self) -> None:
		plan = self._plan()
		self.assertEqual(plan.workloads[0].text, plan.workloads[1].text)
		self.assertNotEqual(plan.workloads[0].identity, plan.workloads[1].identity)

	def _search(self, words: List[str]) -> List[Setting]:
		args = tune.parser().parse_args(words)
		asked: List[Setting] = []

		def run(settings: List[Setting], nr: int) -> List[Dict[str, Any]]:
			asked.extend(settings)
			return [trial(setting, name, held=setting.high) for setting in asked
				for name in ('w', 'v')]

		self.assertEqual(tune.search(args, self._plan(), run), asked)
		return asked

	def test_budget(self) -> None:
		asked = self._search(['--trials', '20'])
		self.assertEqual(len(asked), 10)
		self.assertEqual(len(set(asked)), 10)
		self.assertEqual(self._search(['--trials', '1']), [DEFAULT])

	def test_grid(self) -> None:
		asked = self._search(['--low', '8,16', '--high', '64', '--batch', '8'])
		self.assertEqual(asked, [DEFAULT, Setting(8, 64, 8), Setting(16, 64, 8)])

	def test_bad_arguments(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'too few'):
			tune.check(tune.parser().parse_args(['--trials', '0']))
		with self.assertRaisesRegex(OverlayError, 'no setting'):
			tune.grid_of(tune.parser().parse_args(
				['--low', '9', '--high', '3'])).settings()

	def test_machine(self) -> None:
		one = tune_workload.parse('w', TRACE.replace('cpus: 2', 'cpus: 1')
					  .replace('5 1', '5 0'))
		self.assertEqual(tune.machine_of(one, 'auto'), 'uml')
		self.assertEqual(tune.machine_of(one, 'qemu'), 'qemu')
		self.assertEqual(tune.machine_of(tune_workload.parse('w', TRACE), 'auto'), 'qemu')
