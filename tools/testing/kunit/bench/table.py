# SPDX-License-Identifier: GPL-2.0
"""What the benchmark found, as tables on a terminal."""

from typing import Any, Dict, List

from rich.console import Console
from rich.table import Table

from bench.figures import COMPARISON, Change, Figure, Key, contenders, per, row, works
from bench.goals import GOALS, judge


def mode_table(found: Dict[Key, Figure], run: Dict[str, Any]) -> Table:
	"""All works of one mode, a column for each contender."""
	mode = run['mode']
	names = contenders(found, mode)
	title = f'{mode}: {per(run["unit"])}, Linux {run["kernel"]}'
	table = Table(title=title + ('' if run['complete'] else ' (incomplete)'))
	table.add_column('work', no_wrap=True)
	for name in names:
		table.add_column(name, justify='right', no_wrap=True)
	for name in COMPARISON:
		table.add_column(name, justify='right', no_wrap=True)
	for work in works(found, mode):
		table.add_row(work, *row(found, mode, work, names))
	return table


def goal_table(found: Dict[Key, Figure]) -> Table:
	table = Table(title='Goals')
	for title in ('goal', 'limit', 'measured', ''):
		table.add_column(title, justify='left' if title == 'goal' else 'right')
	for goal in GOALS:
		verdict = judge(goal, found)
		word = {True: 'met', False: 'missed', None: 'not measured'}[verdict.met]
		limit = ('>= ' if goal.at_least else '<= ') + f'{goal.limit:g}'
		table.add_row(goal.text, limit,
			      '' if verdict.value is None else f'{verdict.value:.3f}', word)
	return table


def show(console: Console, data: Dict[str, Any], found: Dict[Key, Figure]) -> None:
	for run in data['runs']:
		console.print(mode_table(found, run))
		for name in run['failed']:
			console.print(f'failed in {run["mode"]}: {name}')
	console.print(goal_table(found))
	if any(figure.errors for figure in found.values()):
		console.print('!: some of these operations got no object')


def show_changes(console: Console, differing: List[Change]) -> None:
	if not differing:
		console.print('no difference beyond the spread')
		return
	table = Table(title='Differences beyond the spread')
	for title in ('mode', 'work', 'who', 'A', 'B', 'B/A'):
		table.add_column(title, justify='left' if title in ('mode', 'work', 'who')
				 else 'right', no_wrap=True)
	for change in differing:
		table.add_row(*change.key, change.before.text(), change.after.text(),
			      f'{change.ratio:.3f}')
	console.print(table)
