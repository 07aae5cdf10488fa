# SPDX-License-Identifier: GPL-2.0
"""What the tuner found, on a terminal."""

from typing import List, Sequence

from rich.console import Console
from rich.table import Table

from tune.pareto import (AXES, Advice, Score, Trial, apply_lines, better_than_usual, front,
			 setting_of, usual)
from tune.search import DEFAULT

_SHOWN = 20


def score_table(found: Sequence[Score]) -> Table:
	"""The front and the default, with what they give."""
	best = front(found)
	base = usual(found)
	rows: List[Score] = best + ([base] if base and base not in best else [])
	rows.sort(key=lambda score: (score.failed, score.held_mean))
	table = Table(title=f'Pareto front: {len(best)} of {len(found)} settings'
		      + (f', the first {_SHOWN}' if len(rows) > _SHOWN else ''))
	table.add_column('low/high/batch', no_wrap=True)
	for _, title, _, _ in AXES:
		table.add_column(title, justify='right')
	table.add_column('')
	shown = rows[:_SHOWN] + ([base] if base and base in rows[_SHOWN:] else [])
	for score in shown:
		remark = 'default' if score.setting == DEFAULT else ''
		if score not in best:
			remark += ', not on the front'
		table.add_row(str(score.setting),
			      *(score.text(name, form) for name, _, form, _ in AXES), remark)
	return table


def show(console: Console, trials: Sequence[Trial], found: Sequence[Score],
	 advice: Advice) -> None:
	console.print(score_table(found))
	for trial in trials:
		if trial['status'] != 'ok':
			console.print(f'crashed: {setting_of(trial)} on {trial["workload"]}: '
				      f'{trial["why"]}', markup=False, highlight=False)
	better = better_than_usual(found)
	console.print('Beats the default on one axis and loses on none: '
		      + (', '.join(str(score.setting) for score in better) or
			 'nothing that was tried'), highlight=False)
	console.print(f'Recommended: low/high/batch {advice.score.setting}', highlight=False)
	for reason in advice.reasons:
		console.print(f'  - {reason}', markup=False, highlight=False)
	lines = apply_lines(advice.score)
	console.print('At run time:', highlight=False)
	for line in lines[:-1]:
		console.print(f'  {line}', markup=False, highlight=False, soft_wrap=True)
	console.print(f'On the kernel command line:\n  {lines[-1]}', markup=False,
		      highlight=False, soft_wrap=True)
