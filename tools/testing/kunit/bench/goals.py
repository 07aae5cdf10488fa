# SPDX-License-Identifier: GPL-2.0
"""What the benchmark's figures are to reach, and whether they do."""

from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

from bench.figures import Figure, Key


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


def _ours(mode: str, *works: str) -> Callable[[Dict[Key, Figure]], float]:
	"""The largest of these."""
	return lambda found: max(found[mode, work, 'ours'].median for work in works)


def _over_prealloc(mode: str, work: str) -> Callable[[Dict[Key, Figure]], float]:
	return _ratio((mode, f'{work}_dynamic', 'ours'), (mode, f'{work}_prealloc', 'ours'))


def _of_asked(mode: str, *works: str) -> Callable[[Dict[Key, Figure]], float]:
	"""The smallest share that ours got of what was asked for."""
	return lambda found: min(found[mode, work, 'ours'].median /
				 found[mode, work, 'asked'].median for work in works)


_PAUSES = (*(f'pause_burst_{nr}' for nr in (1000, 10000, 100000)),
	   *(f'pause_{what}_{nr}' for what in ('freeing', 'freed', 'freeing_rcu', 'freed_rcu')
	     for nr in (10000, 100000)))

_GOALS_LARGE: Tuple[Goal, ...] = (
	*(Goal(f'{nr} CPUs ask at once, {", ".join(works)}: share had', 1.0,
	       _of_asked(f'large{nr}', *(f'all_cpus_{work}' for work in works)), True)
	  for nr in (8, 64)
	  for works in (('k1_fresh', 'k4_fresh'), ('k1_idle', 'k4_idle'),
			('k1_second', 'k4_second', 'k16_second', 'k100_second'),
			('class_k1_fresh', 'class_k4_fresh', 'areas_k1_fresh', 'large_k1_fresh'),
			('class_k1_idle', 'class_k4_idle', 'areas_k1_idle', 'large_k1_idle'))),
	Goal('longest pause after bursts and frees, instructions', 30000,
	     _ours('large1', *_PAUSES)),
	Goal('latest wake-up after 100,000 frees, instructions', 30000,
	     _ours('large1', 'wake_freed_100000', 'wake_freed_rcu_100000')),
	*(Goal(f'a miss, {nr} CPU{"s" * (nr > 1)}, instructions', 150,
	       _ours(f'large{nr}', 'miss', 'miss_first'))
	  for nr in (1, 8, 64)),
	*(Goal(f'{what} in a full map of {size}, {nr} CPUs, dynamic over preallocated', limit,
	       _over_prealloc(f'large{nr}', f'{work}_{size}'))
	  for work, what, limit in (('churn', 'delete + insert', 1.05),
				    ('refused', 'refused insert', 1.2))
	  for size in (1000, 30000) for nr in (8, 64)),
	*(Goal(f'objects from the own node, {work}, over the peer', 1.0,
	       _to_peer('large_numa', work), True)
	  for work in ('own_churn', 'shared_table', 'handed_over')),
	Goal('objects from the own node, own_churn, share', 0.95,
	     _of_asked('large_numa', 'own_churn'), True),
	Goal('hash map created, filled, emptied, dynamic over preallocated', 1.0,
	     _over_prealloc('large1', 'create_fill_delete_hash')),
	Goal('per-CPU hash map created, filled, emptied, dynamic over preallocated', 1.05,
	     _over_prealloc('large1', 'create_fill_delete_percpu')),
	Goal('per-CPU hash map created, filled, emptied, instructions over the peer', 1.0,
	     _to_peer('large1', 'create_fill_delete_percpu_dynamic')),
	Goal('one of 1,000 idle allocators, 64 CPUs, bytes over the peer', 0.6,
	     _to_peer('large64', 'idle_bytes_of_1000')),
)

GOALS: Tuple[Goal, ...] = (
	Goal('hot pair of 64 bytes, instructions', 45.5, _ours('instructions', 'hot_pair')),
	Goal('size class pair, instructions', 64.5, _ours('instructions', 'class_pair')),
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
	Goal('hash map, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'hash_dynamic', 'ours'),
		    ('instructions', 'hash_prealloc', 'ours'))),
	Goal('per-CPU hash map, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'percpu_dynamic', 'ours'),
		    ('instructions', 'percpu_prealloc', 'ours'))),
	Goal('elements of a hash map replaced, dynamic over preallocated', 1.0,
	     _ratio(('instructions', 'overwrite_hash_dynamic', 'ours'),
		    ('instructions', 'overwrite_hash_prealloc', 'ours'))),
	Goal('fill of a hash map, dynamic over preallocated', 1.25,
	     _ratio(('instructions', 'fill_hash_dynamic', 'ours'),
		    ('instructions', 'fill_hash_prealloc', 'ours'))),
	Goal('bytes per element of a map of 100,000', 80,
	     _ours('smp', 'bytes_per_element')),
	Goal('idle allocator of a fixed size, 64 CPUs, bytes', 12288,
	     _ours('cpus64', 'idle_fixed')),
	Goal('idle allocator with size classes, 64 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus64', 'idle_classes')),
	Goal('idle allocator with size classes, 16 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus16', 'idle_classes')),
	Goal('idle allocator with size classes, 2 CPUs, bytes over the peer', 0.5,
	     _to_peer('cpus2', 'idle_classes')),
	*_GOALS_LARGE,
)


def judge(goal: Goal, found: Dict[Key, Figure]) -> Verdict:
	"""Whether a goal is met by what was measured."""
	try:
		value = goal.value(found)
	except (KeyError, ZeroDivisionError):
		return Verdict(goal.text, None, goal.limit, None)
	met = value >= goal.limit if goal.at_least else value <= goal.limit
	return Verdict(goal.text, value, goal.limit, met)
