# SPDX-License-Identifier: GPL-2.0
"""What the trials of a setting say together, which settings are best, and why."""

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from tune.search import DEFAULT, Setting

Trial = Dict[str, Any]

# Axes: name, title, format, whether the front is drawn over it.
AXES: Tuple[Tuple[str, str, str, bool], ...] = (
	('failed', 'failed ‰', '.2f', True),
	('refills', 'refills ‰', '.1f', False),
	('held_mean', 'held mean KiB', '.1f', True),
	('held_peak', 'held peak KiB', '.1f', False),
	('instructions', 'instr./op', '.1f', True),
)


@dataclass(frozen=True)
class Score:
	"""A setting over all workloads; less is better everywhere.

	failed, refills: per 1,000 allocations of all workloads; held_mean, held_peak:
	KiB, the sum over the workloads; instructions: per operation, the mean over the
	workloads that ran where they can be counted, None if none did.
	"""
	setting: Setting
	failed: float
	refills: float
	held_mean: float
	held_peak: float
	instructions: Optional[float]
	marks: Tuple[Tuple[int, int, int, int], ...]  # size, low, high, batch: as they took effect

	def axis(self, name: str) -> float:
		value = getattr(self, name)
		return 0.0 if value is None else float(value)

	def text(self, name: str, form: str) -> str:
		value = getattr(self, name)
		return '-' if value is None else format(value, form)


def setting_of(trial: Trial) -> Setting:
	return Setting(trial['low'], trial['high'], trial['batch'])


def _score(setting: Setting, trials: Sequence[Trial]) -> Score:
	allocs = sum(trial['allocs'] for trial in trials)
	costs = [trial['cost'] / trial['ops'] for trial in trials
		 if trial['machine'] == 'qemu' and trial['ops']]
	marks = {(mark['size'], mark['low'], mark['high'], mark['batch'])
		 for trial in trials for mark in trial['marks']}
	return Score(setting,
		     1000 * sum(trial['failed'] for trial in trials) / allocs,
		     1000 * sum(trial['refills'] for trial in trials) / allocs,
		     sum(trial['held_mean'] for trial in trials) / 1024,
		     sum(trial['held_peak'] for trial in trials) / 1024,
		     sum(costs) / len(costs) if costs else None, tuple(sorted(marks)))


def scores(trials: Iterable[Trial], workloads: Sequence[str]) -> List[Score]:
	"""Settings of which every workload has ended well, in order."""
	by_setting: Dict[Setting, Dict[str, Trial]] = {}
	for trial in trials:
		by_setting.setdefault(setting_of(trial), {})[trial['workload']] = trial
	return [_score(setting, [found[name] for name in workloads])
		for setting, found in sorted(by_setting.items())
		if all(found.get(name, {}).get('status') == 'ok' for name in workloads)]


def no_worse(a: Score, b: Score, names: Iterable[str]) -> bool:
	return all(a.axis(name) <= b.axis(name) for name in names)


def dominates(a: Score, b: Score, names: Sequence[str]) -> bool:
	"""Is a no worse than b on each of these axes, and better on one?"""
	return no_worse(a, b, names) and not no_worse(b, a, names)


def front(found: Sequence[Score]) -> List[Score]:
	"""Pareto front over failures, memory and instructions."""
	names = [name for name, _, _, drawn in AXES if drawn]
	return [score for score in found
		if not any(dominates(other, score, names) for other in found)]


def usual(found: Sequence[Score]) -> Optional[Score]:
	return next((score for score in found if score.setting == DEFAULT), None)


def better_than_usual(found: Sequence[Score]) -> List[Score]:
	"""Those that beat the default on one axis and lose on none of all five."""
	base = usual(found)
	names = [name for name, _, _, _ in AXES]
	return [score for score in found if base and dominates(score, base, names)]


@dataclass(frozen=True)
class Advice:
	"""A setting to use, and the reasons in words."""
	score: Score
	reasons: Tuple[str, ...]


def _compare(score: Score, base: Score) -> List[str]:
	said = []
	for name, title, form, _ in AXES:
		if getattr(score, name) is None or score.axis(name) == base.axis(name):
			continue
		word = 'less' if score.axis(name) < base.axis(name) else 'more'
		said.append(f'{word} of "{title}" than the default: {score.text(name, form)} '
			    f'instead of {base.text(name, form)}')
	return said


# What a saving of memory may cost in instructions.
_SLOWER = 1.02


def advise(found: Sequence[Score]) -> Optional[Advice]:
	"""Fewest failures first; then the least memory that costs next to no speed."""
	base = usual(found)
	if not base:
		return None
	fewest = min(score.failed for score in found)
	safe = [score for score in front(found) if score.failed == fewest]
	fastest = min(score.axis('instructions') for score in safe)
	allowed = max(fastest, base.axis('instructions')) * _SLOWER
	best = min((score for score in safe if score.axis('instructions') <= allowed),
		   key=lambda score: (score.held_mean, score.axis('instructions')))
	reasons = [f'no setting of {len(found)} has fewer failed allocations '
		   f'({best.failed:.2f} of 1,000)' if fewest else
		   'no allocation failed']
	reasons.append(f'of the {len(safe)} on the front of which that is true, it holds least '
		       f'memory among those that are at most {_SLOWER - 1:.0%} slower than the '
		       'fastest or the default')
	if best.setting == DEFAULT:
		reasons.append('it is the default: leave it')
	else:
		reasons += _compare(best, base)
	if best.setting != DEFAULT and not better_than_usual(found):
		reasons.append('nothing that was tried beats the default without losing on another '
			       'axis: this is another trade, not a free gain')
	return Advice(best, tuple(reasons))


def apply_lines(score: Score) -> List[str]:
	"""What puts a setting into effect: at run time, and for the next boot."""
	setting = score.setting
	lines = [f'echo {size} {low} {high} {batch} > /sys/kernel/debug/bpf_mem_alloc/watermarks'
		 for size, low, high, batch in score.marks]
	return lines + [f'bpf_mem_alloc.low={setting.low} bpf_mem_alloc.high={setting.high} '
			f'bpf_mem_alloc.batch={setting.batch}']
