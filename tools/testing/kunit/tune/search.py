# SPDX-License-Identifier: GPL-2.0
"""Which settings are tried: a whole grid, or as many of it as a budget allows."""

import itertools
import random
import sys
from dataclasses import dataclass
from typing import Collection, Dict, Iterator, List, Sequence, Tuple

from lib.host import OverlayError

# As in kernel/bpf/memalloc_watermarks.c: bytes that the numbers are for, and bytes
# that a high watermark may stand for.
MARK_UNIT = 256
HIGH_LIMIT = 4 << 20


@dataclass(frozen=True, order=True)
class Setting:
	"""Watermarks: objects per CPU."""
	low: int
	high: int
	batch: int

	def is_sane(self) -> bool:
		"""As the kernel judges: others it would not take."""
		return 0 < self.low < self.high <= HIGH_LIMIT // MARK_UNIT and \
			0 < self.batch <= self.high - self.low

	def __str__(self) -> str:
		return f'{self.low}/{self.high}/{self.batch}'


DEFAULT = Setting(32, 96, 48)


@dataclass(frozen=True)
class Grid:
	"""Values that each watermark may take, ascending."""
	low: Tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
	high: Tuple[int, ...] = (16, 32, 64, 96, 192, 384, 768)
	batch: Tuple[int, ...] = (8, 16, 24, 48, 96, 192, 384)

	def settings(self) -> List[Setting]:
		"""All that make sense, the default first, which all others are compared with."""
		rest = [setting for setting in itertools.starmap(
				Setting, itertools.product(self.low, self.high, self.batch))
			if setting.is_sane() and setting != DEFAULT]
		if not rest:
			raise OverlayError('no setting of this grid makes sense: low < high and '
					   'batch <= high - low are needed')
		return [DEFAULT] + rest

	def neighbours(self, setting: Setting) -> Iterator[Setting]:
		"""Those that differ by one step of one watermark."""
		for name in ('low', 'high', 'batch'):
			values: Sequence[int] = getattr(self, name)
			if getattr(setting, name) not in values:
				continue
			at = values.index(getattr(setting, name))
			for near in (at - 1, at + 1):
				if 0 <= near < len(values):
					moved: Dict[str, int] = {**setting.__dict__,
								 name: values[near]}
					if Setting(**moved).is_sane():
						yield Setting(**moved)


def explore(grid: Grid, nr: int, seed: int) -> List[Setting]:
	"""The default and nr - 1 others, spread over the grid by chance; shape (<= nr,)."""
	first, *rest = grid.settings()
	random.Random(seed).shuffle(rest)
	return [first] + rest[:max(nr - 1, 0)]


def refine(grid: Grid, front: Collection[Setting], tried: Collection[Setting],
	   nr: int, seed: int) -> List[Setting]:
	"""nr settings that were not tried: next to the best so far, then by chance."""
	found: List[Setting] = []
	for setting in sorted(front):
		for near in grid.neighbours(setting):
			if near not in tried and near not in found:
				found.append(near)
	# Near to several of the best, then evenly from all.
	step = max(len(found) // nr, 1) if nr else 1
	found = found[::step] + [s for i, s in enumerate(found) if i % step]
	others = (setting for setting in explore(grid, sys.maxsize, seed)
		  if setting not in tried and setting not in found)
	return found[:nr] + list(itertools.islice(others, max(nr - len(found), 0)))


def numbers(text: str, what: str) -> Tuple[int, ...]:
	"""'16,32,64' as ascending numbers."""
	try:
		values = sorted({int(word) for word in text.split(',')})
	except ValueError:
		values = []
	if not values or values[0] < 1:
		raise OverlayError(f'--{what}={text} is no list: say for example --{what}=16,32,64')
	return tuple(values)
