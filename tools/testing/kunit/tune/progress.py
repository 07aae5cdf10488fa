# SPDX-License-Identifier: GPL-2.0
"""How far a search is, and how long it will still take."""

from typing import Any, Dict

from lib.host import Host
from lib.report import Progress

_PLAIN_EVERY = 20.0  # s between two lines where no terminal is


class Trials(Progress):
	"""Trials that have ended, of those that are planned so far."""

	def __init__(self, host: Host) -> None:
		super().__init__(host, 'trials', _PLAIN_EVERY)
		self._crashed = 0
		self._begun = False

	def __exit__(self, *unused: object) -> None:
		super().__exit__(*unused)
		if self._begun:
			self._host.say(self.line())

	def plan(self, total: int, known: int = 0) -> None:
		"""So many trials in all; known more of them were there from earlier runs."""
		super().plan(total, known)
		if not self._begun:
			self._begun = True
			self._host.say(f'{total} trials' + (f', {known} of them known' if known else ''))

	def ended(self, trial: Dict[str, Any]) -> None:
		if trial['status'] != 'ok':
			self._crashed += 1
			self._host.say(f'crashed: {trial["low"]}/{trial["high"]}/{trial["batch"]} on '
				       f'{trial["workload"]}: {trial["why"]}')
		self.step(f'{self._crashed} crashed' if self._crashed else '')
