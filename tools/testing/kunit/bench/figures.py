# SPDX-License-Identifier: GPL-2.0
"""From samples to figures: medians, spread, goals, and what two runs differ in."""

import statistics
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

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


COMPARISON = ('ours/peer', 'spread')


def works(found: Dict[Key, Figure], mode: str) -> List[str]:
	"""Works of a mode, in the order of measurement."""
	return list(dict.fromkeys(work for m, work, _ in found if m == mode))


def contenders(found: Dict[Key, Figure], mode: str) -> List[str]:
	"""Contenders of a mode, in the order of measurement."""
	return list(dict.fromkeys(who for m, _, who in found if m == mode))


@dataclass(frozen=True)
class Goal:
	"""Something to reach."""
	text: str
	limit: float
	value: Callable[[Dict[Key, Figure]], float]  # KeyError: not measured
	at_least: bool = False


@dataclass(frozen=True)
class Verdict:
	text: str
	value: Optional[float]
	limit: float
	met: Optional[bool]   # None: not measured


def _ratio(over: Key, under: Key) -> Callable[[Dict[Key, Figure]], float]:
	return lambda found: found[over].median / found[under].median


def _to_peer(mode: str, work: str) -> Callable[[Dict[Key, Figure]], float]:
	return _ratio((mode, work, 'ours'), (mode, work, 'peer'))


GOALS: Tuple[Goal, ...] = (
	Goal('hot pair of 64 bytes, instructions', 46,
	     lambda found: found['instructions', 'hot_pair', 'ours'].median),
	Goal('hot pair, instructions over kmalloc_nolock()', 0.5,
	     _ratio(('instructions', 'hot_pair', 'ours'),
		    ('instructions', 'hot_pair', 'kmalloc_nolock'))),
	Goal('size class pair, instructions over the peer', 0.6,
	     _to_peer('instructions', 'class_pair')),
	Goal('free_rcu round, instructions over the peer', 0.7,
	     _to_peer('instructions', 'free_rcu_32')),
	Goal('growth to 100,000, instructions over the peer', 0.7,
	     _to_peer('instructions', 'growth')),
	Goal('hot pair, native time over the peer', 0.7, _to_peer('native', 'hot_pair')),
	Goal('hot pair, native time over kmalloc', 1.0,
	     _ratio(('native', 'hot_pair', 'ours'), ('native', 'hot_pair', 'kmalloc'))),
	Goal('all CPUs, throughput over the peer', 1.3,
	     _ratio(('smp', 'all_cpus', 'peer'), ('smp', 'all_cpus', 'ours')), True),
	Goal('producer and consumer, throughput over the peer', 1.3,
	     _ratio(('smp', 'producer_consumer', 'peer'),
		    ('smp', 'producer_consumer', 'ours')), True),
	Goal('all CPUs of User-Mode Linux, throughput over the peer', 1.3,
	     _ratio(('uml_smp', 'all_cpus', 'peer'), ('uml_smp', 'all_cpus', 'ours')), True),
	Goal('init and destroy of a fixed size, instructions over the peer', 1.0,
	     _to_peer('instructions', 'init_destroy_fixed')),
	Goal('init and destroy of size classes, instructions over the peer', 1.0,
	     _to_peer('instructions', 'init_destroy_classes')),
	Goal('init and destroy of a fixed size, 16 CPUs, instructions over the peer', 1.0,
	     _to_peer('instructions16', 'init_destroy_fixed')),
	Goal('init and destroy of size classes, 16 CPUs, instructions over the peer', 1.0,
	     _to_peer('instructions16', 'init_destroy_classes')),
	Goal('hash map, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'hash_dynamic', 'ours'),
		    ('instructions', 'hash_prealloc', 'ours'))),
	Goal('per-CPU hash map, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'percpu_dynamic', 'ours'),
		    ('instructions', 'percpu_prealloc', 'ours'))),
	Goal('elements of a hash map replaced, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'overwrite_hash_dynamic', 'ours'),
		    ('instructions', 'overwrite_hash_prealloc', 'ours'))),
	Goal('fill of a hash map, dynamic over preallocated', 1.15,
	     _ratio(('instructions', 'fill_hash_dynamic', 'ours'),
		    ('instructions', 'fill_hash_prealloc', 'ours'))),
	Goal('bytes per element of a map of 100,000', 80,
	     lambda found: found['smp', 'bytes_per_element', 'ours'].median),
	Goal('idle allocator of a fixed size, 64 CPUs, bytes', 12288,
	     lambda found: found['cpus64', 'idle_fixed', 'ours'].median),
	Goal('idle allocator with size classes, 64 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus64', 'idle_classes')),
	Goal('idle allocator with size classes, 16 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus16', 'idle_classes')),
	Goal('idle allocator with size classes, 2 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus2', 'idle_classes')),
)


def judge(goal: Goal, found: Dict[Key, Figure]) -> Verdict:
	"""Whether a goal is met by what was measured."""
	try:
		value = goal.value(found)
	except (KeyError, ZeroDivisionError):
		return Verdict(goal.text, None, goal.limit, None)
	met = value >= goal.limit if goal.at_least else value <= goal.limit
	return Verdict(goal.text, value, goal.limit, met)


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
