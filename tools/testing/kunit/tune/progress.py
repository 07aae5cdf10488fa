# SPDX-License-Identifier: GPL-2.0
"""How far a search is, and how long it will still take."""

import sys
import time
from typing import Any, Dict, Optional

import rich.progress
from rich.console import Console

from lib.host import Host

_PLAIN_EVERY = 20.0  # s between two lines where no terminal is


class Progress:
	"""A bar on a terminal, a line now and then elsewhere."""

	def __init__(self, host: Host) -> None:
		self._host = host
		self._bar = rich.progress.Progress(
			rich.progress.TextColumn('{task.description}'), rich.progress.BarColumn(),
			rich.progress.MofNCompleteColumn(), rich.progress.TimeElapsedColumn(),
			rich.progress.TextColumn('left:'), rich.progress.TimeRemainingColumn(),
			rich.progress.TextColumn('{task.fields[note]}'),
			console=Console(stderr=True), disable=not sys.stderr.isatty())
		self._task: Optional[Any] = None
		self._total = self._kept = self._done = self._crashed = 0
		self._begin = self._told = time.monotonic()

	def __enter__(self) -> 'Progress':
		self._bar.start()
		return self

	def __exit__(self, *unused: object) -> None:
		self._bar.stop()
		if self._done or self._kept:
			self._host.say(self._line())

	def plan(self, total: int, kept: int) -> None:
		"""So many trials in all; kept more of them were there from earlier runs."""
		self._total = total
		self._kept += kept
		if self._task is None:
			self._task = self._bar.add_task('trials', total=total, note='')
			self._host.say(f'{total} trials' + (f', {kept} of them known' if kept else ''))
		self._bar.update(self._task, total=total, advance=kept)

	def ended(self, trial: Dict[str, Any]) -> None:
		self._done += 1
		if trial['status'] != 'ok':
			self._crashed += 1
			self._host.say(f'crashed: {trial["low"]}/{trial["high"]}/{trial["batch"]} on '
				       f'{trial["workload"]}: {trial["why"]}')
		if self._task is not None:
			self._bar.update(self._task, advance=1, note=self._note())
		now = time.monotonic()
		if not sys.stderr.isatty() and now - self._told >= _PLAIN_EVERY:
			self._told = now
			self._host.say(self._line())

	def _note(self) -> str:
		return f'{self._crashed} crashed' if self._crashed else ''

	def _line(self) -> str:
		ended = self._kept + self._done
		spent = time.monotonic() - self._begin
		left = spent / self._done * (self._total - ended) if self._done else 0
		return f'{ended} of {self._total} trials, {spent:.0f} s' + \
			(f', about {left:.0f} s left' if ended < self._total else '') + \
			(f', {self._crashed} crashed' if self._crashed else '')
