# SPDX-License-Identifier: GPL-2.0
"""From samples to figures: medians, spread, and what two runs differ in."""

import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

# (mode, work, who)
Key = Tuple[str, str, str]


@dataclass(frozen=True)
class Figure:
	"""All samples of one work by one contender, in the unit of their mode."""
	median: float
	low: float
	high: float
	errors: int
	samples: int = 1

	def text(self) -> str:
		digits = 0 if self.median >= 1000 or self.median == int(self.median) else 1
		return f'{self.median:.{digits}f}' + (' !' if self.errors else '')


def figures(data: Dict[str, Any]) -> Dict[Key, Figure]:
	"""Figures of a bench.json, in the order of measurement."""
	samples: Dict[Key, List[Dict[str, Any]]] = {}
	for run in data['runs']:
		for sample in run['samples']:
			samples.setdefault((run['mode'], sample['work'], sample['who']),
					   []).append(sample)
	return {key: Figure(statistics.median(s['value'] for s in group),
			    min(s['value'] for s in group), max(s['value'] for s in group),
			    sum(s['errors'] for s in group), len(group))
		for key, group in samples.items()}


def row(found: Dict[Key, Figure], mode: str, work: str, whos: Sequence[str]) -> List[str]:
	"""Cells of a table: a figure for each of whos, then those of COMPARISON.

	The spread is that of the samples, largest minus smallest, of ours or the
	peer, whichever is wider: a ratio within it says nothing.
	"""
	of = {who: found.get((mode, work, who)) for who in whos}
	pair = [figure for figure in (of.get('ours'), of.get('peer')) if figure and figure.median]
	ratio = f'{pair[0].median / pair[1].median:.2f}' if len(pair) == 2 else ''
	spread = max(((f.high - f.low) / f.median for f in pair if f.samples > 1), default=None)
	return [figure.text() if figure else '' for figure in of.values()] + \
	       [ratio, '' if spread is None else f'{spread:.1%}']


def per(unit: str) -> str:
	"""What the values of a mode are."""
	return unit if ' per ' in unit else f'{unit} per operation'


COMPARISON = ('ours/peer', 'spread')


def works(found: Dict[Key, Figure], mode: str) -> List[str]:
	"""Works of a mode, in the order of measurement."""
	return list(dict.fromkeys(work for m, work, _ in found if m == mode))


def contenders(found: Dict[Key, Figure], mode: str) -> List[str]:
	"""Contenders of a mode, in the order of measurement."""
	return list(dict.fromkeys(who for m, _, who in found if m == mode))


@dataclass(frozen=True)
class Change:
	"""A figure of two runs that differs by more than the samples of either."""
	key: Key
	before: Figure
	after: Figure

	@property
	def ratio(self) -> float:
		return self.after.median / self.before.median


def changes(before: Dict[Key, Figure], after: Dict[Key, Figure]) -> List[Change]:
	"""What is beyond the spread: the ranges of the samples do not meet."""
	return [Change(key, old, after[key]) for key, old in before.items()
		if key in after and old.median and
		(after[key].low > old.high or after[key].high < old.low)]
