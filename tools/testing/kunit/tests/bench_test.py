# SPDX-License-Identifier: GPL-2.0
"""Tests for `make bench`: reading logs, figures, goals, page."""

import os
import tempfile
import unittest
from typing import Any, Dict, List

from lib import packages as overlay_setup
overlay_setup.use_dist_packages()

from rich.console import Console

from bench import command as bench
from bench import figures as bench_figures
from bench import goals as bench_goals
from bench import modes as bench_run
from bench import page as bench_page
from bench import table as bench_table
from lib.host import OverlayError
from overlay import base as overlay_base
from overlay.tree import Tree
from tests.fixtures import write

LOG = '''KTAP version 1
    # bench_hot_pair: bench: {"work": "hot_pair", "who": "ours", "value": 48.02, "ops": 9, "errors": 0}
    # bench_hot_pair: bench: {"work": "hot_pair", "who": "peer", "value": 75.00, "ops": 9, "errors": 2}
    ok 1 bench_hot_pair
    not ok 2 bench_growth
    # bench_growth: bench: {"work": "grow'''


def sample(work: str, who: str, value: float, errors: int = 0) -> Dict[str, Any]:
	return {'work': work, 'who': who, 'value': value, 'ops': 1, 'errors': errors}


def data(samples: List[Dict[str, Any]], mode: str = 'instructions',
	 complete: bool = True) -> Dict[str, Any]:
	return {'version': bench.VERSION, 'commit': 'abc', 'base': 'b', 'date': 'd',
		'machine': {'cpus': 2, 'model': 'm'},
		'runs': [{'mode': mode, 'unit': 'u', 'kernel': '6.12', 'config': '',
			  'complete': complete, 'failed': [], 'samples': samples}]}


class RunTest(unittest.TestCase):

	def test_samples_of_a_log_that_was_cut_short(self) -> None:
		samples = list(bench_run.samples_in(LOG))
		self.assertEqual([s['who'] for s in samples], ['ours', 'peer'])
		self.assertEqual(bench_run.failed_in(LOG), ['bench_growth'])


	def test_modes_by_name_and_by_group(self) -> None:
		def names(*words: str) -> List[str]:
			return [mode.name for mode in bench_run.chosen(words)]

		self.assertEqual(names('large'), ['large1', 'large8', 'large64', 'large_numa',
						  'large_traffic'])
		self.assertEqual(names('large', 'native'), ['native', *names('large')])
		self.assertEqual(names('large8', 'large'), names('large'))
		self.assertEqual(names(), [mode.name for mode in bench_run.MODES])
		with self.assertRaisesRegex(OverlayError, 'no mode larger: .*large_numa'):
			names('large', 'larger')

	def test_mode_that_the_base_cannot_run(self) -> None:
		with tempfile.TemporaryDirectory() as root:
			tree = Tree(root, root, overlay_base.Base(root, 'x', (7, 3)))
			mode = next(mode for mode in bench_run.MODES if mode.name == 'uml_smp')
			self.assertIn('several CPUs', bench_run.lacks(tree, mode))
			write(root, {'arch/um/Kconfig': 'config SMP_OTHER\n'})
			self.assertIn('several CPUs', bench_run.lacks(tree, mode))
			write(root, {'arch/um/Kconfig': 'config A\nconfig SMP\n\tbool\n'})
			self.assertEqual(bench_run.lacks(tree, mode), '')
			for mode in bench_run.MODES:
				self.assertEqual(bench_run.lacks(tree, mode), '')


class FiguresTest(unittest.TestCase):

	def test_median_and_range(self) -> None:
		found = bench_figures.figures(data([sample('w', 'ours', v) for v in (3, 1, 8)]))
		self.assertEqual(found['instructions', 'w', 'ours'],
				 bench_figures.Figure(3, 1, 8, 0, 3))

	def test_row_says_ratio_and_the_wider_spread(self) -> None:
		found = bench_figures.figures(data(
			[sample('w', 'ours', v) for v in (10, 10, 11)] +
			[sample('w', 'peer', v) for v in (18, 20, 24)] +
			[sample('one', 'ours', 5), sample('one', 'peer', 10)] +
			[sample('alone', 'ours', v) for v in (4, 5)] +
			[sample('none', 'kmalloc', 1)]))
		whos = ('ours', 'peer', 'kmalloc')
		for work, cells in (('w', ['10', '20', '', '0.50', '30.0%']),
				    ('one', ['5', '10', '', '0.50', '']),
				    ('alone', ['4.5', '', '', '', '22.2%']),
				    ('none', ['', '', '1', '', ''])):
			self.assertEqual(bench_figures.row(found, 'instructions', work, whos), cells)

	def test_only_what_is_beyond_the_spread_has_changed(self) -> None:
		before = bench_figures.figures(data([sample('a', 'ours', v) for v in (9, 10, 11)] +
						    [sample('b', 'ours', v) for v in (9, 10)]))
		after = bench_figures.figures(data([sample('a', 'ours', v) for v in (11, 12)] +
						   [sample('b', 'ours', v) for v in (12, 14)]))
		changed = bench_figures.changes(before, after)
		self.assertEqual([(c.key[1], round(c.ratio, 2)) for c in changed], [('b', 1.37)])


class GoalsTest(unittest.TestCase):

	def test_goal_met_missed_and_not_measured(self) -> None:
		goal = bench_goals.GOALS[0]
		for value, met in ((45.5, True), (46, False)):
			found = bench_figures.figures(data([sample('hot_pair', 'ours', value)]))
			self.assertEqual(bench_goals.judge(goal, found).met, met)
		self.assertIsNone(bench_goals.judge(goal, {}).met)

	def test_throughput_is_better_when_higher(self) -> None:
		goal = next(g for g in bench_goals.GOALS if g.at_least)
		samples = [sample('all_cpus', 'ours', 100), sample('all_cpus', 'peer', 140)]
		verdict = bench_goals.judge(goal, bench_figures.figures(data(samples, 'smp')))
		self.assertTrue(verdict.met)
		self.assertAlmostEqual(verdict.value or 0, 1.4)

	def test_all_works_of_a_goal_count(self) -> None:
		goal = next(g for g in bench_goals.GOALS if g.text.startswith('64 CPUs ask at once'))
		samples = [sample('all_cpus_k1_fresh', 'ours', 64), sample('all_cpus_k1_fresh', 'asked', 64),
			   sample('all_cpus_k4_fresh', 'ours', 192)]
		found = bench_figures.figures(data(samples, 'large64'))
		self.assertIsNone(bench_goals.judge(goal, found).met)
		samples.append(sample('all_cpus_k4_fresh', 'asked', 256))
		verdict = bench_goals.judge(goal, bench_figures.figures(data(samples, 'large64')))
		self.assertEqual((verdict.met, verdict.value), (False, 0.75))

	def test_longest_pause_is_the_longest_of_all(self) -> None:
		goal = next(g for g in bench_goals.GOALS if g.text.startswith('longest pause'))
		works = [f'pause_burst_{nr}' for nr in (1000, 10000, 100000)] + \
			[f'pause_{what}_{nr}' for what in ('freeing', 'freed', 'freeing_rcu', 'freed_rcu')
			 for nr in (10000, 100000)]
		for late in works:
			samples = [sample(work, 'ours', 30001 if work == late else 30000) for work in works]
			found = bench_figures.figures(data(samples, 'large1'))
			self.assertFalse(bench_goals.judge(goal, found).met, late)
			found['large1', late, 'ours'] = bench_figures.Figure(30000, 1, 1, 0)
			self.assertTrue(bench_goals.judge(goal, found).met)

	def test_names_of_goals_differ(self) -> None:
		names = [goal.text for goal in bench_goals.GOALS]
		self.assertEqual(len(names), len(set(names)))


class OutputTest(unittest.TestCase):

	def test_tables_mark_errors_and_what_is_incomplete(self) -> None:
		found_data = data([sample('hot_pair', 'ours', 48, 0),
				   sample('hot_pair', 'peer', 75, 3)], complete=False)
		with open(os.devnull, 'w', encoding='utf-8') as nowhere:
			console = Console(width=140, record=True, file=nowhere)
			bench_table.show(console, found_data, bench_figures.figures(found_data))
			text = console.export_text()
		for part in ('incomplete', '75 !', '0.64', 'missed', 'not measured',
			     'got no object'):
			self.assertIn(part, text)

	def test_page_needs_nothing_else(self) -> None:
		found_data = data([sample('hot_pair', 'ours', 48), sample('hot_pair', 'peer', 75)])
		page = bench_page.page(found_data, bench_figures.figures(found_data))
		self.assertIn('<svg', page)
		self.assertNotIn('<script', page)
		self.assertNotIn('src=', page)

	def test_life_of_a_map_is_shown_where_it_was_measured(self) -> None:
		for work, shown in (('hot_pair', False), ('bytes_empty', True)):
			found_data = data([sample(work, 'ours', 48), sample('bytes_full', 'ours', 75)])
			page = bench_page.page(found_data, bench_figures.figures(found_data))
			self.assertEqual('Memory of a map while' in page, shown, work)

	def test_what_is_no_result_is_refused(self) -> None:
		with tempfile.TemporaryDirectory() as folder:
			path = os.path.join(folder, 'x.json')
			with self.assertRaisesRegex(OverlayError, 'name a bench.json'):
				bench.read(path)
			for text in ('{', '[]', '{"version": 0}'):
				with open(path, 'w', encoding='utf-8') as f:
					f.write(text)
				with self.assertRaisesRegex(OverlayError, 'bench.json'):
					bench.read(path)
