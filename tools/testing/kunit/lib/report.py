# SPDX-License-Identifier: GPL-2.0
"""What people see: how far something is, tables on a terminal, pages of charts.

Where this needs a package, it is imported at its use: set-up installs them.
"""

import io
import sys
import time
from typing import Any, Callable, Optional

from lib.host import Host

_PLAIN_EVERY = 60.0  # s between two lines where no terminal is
_REDRAW = 1.0        # s, on a terminal

STYLE = '''
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; }
'''


def console(width: int) -> Any:
	"""Standard output for tables, of this width where it is no terminal."""
	from rich.console import Console
	return Console(width=None if sys.stdout.isatty() else width)


def svg(figure: Any) -> str:
	"""A figure of matplotlib as an element of a page; the figure is closed."""
	import matplotlib.pyplot as plt
	text = io.StringIO()
	figure.savefig(text, format='svg', bbox_inches='tight', metadata={'Date': None})
	plt.close(figure)
	return text.getvalue()[text.getvalue().index('<svg'):]


def subplots(height: float) -> Any:
	"""A figure of the width of a page, height in inches, and its axes."""
	import matplotlib
	matplotlib.use('svg')
	import matplotlib.pyplot as plt
	figure, axes = plt.subplots(figsize=(9, height))
	axes.spines[['top', 'right']].set_visible(False)
	return figure, axes


class Progress:
	"""A bar on a terminal, a line now and then elsewhere.

	Where no total is known, the bar only shows that something goes on.
	"""

	def __init__(self, host: Host, what: str, every: float = _PLAIN_EVERY) -> None:
		self._host = host
		self._what = what
		self._every = every
		self._bar: Any = None
		self._task: Any = None
		self._total: Optional[int] = None
		self._known = self._done = 0
		self._note = ''
		self._begin = self._told = time.monotonic()

	def __enter__(self) -> 'Progress':
		self._begin = self._told = time.monotonic()
		if sys.stderr.isatty():
			self._bar = _bar()
			self._task = self._bar.add_task(self._what, total=None, count='', note='')
			self._bar.start()
		return self

	def __exit__(self, *unused: object) -> None:
		if self._bar is not None:
			self._bar.stop()

	def plan(self, total: int, known: int = 0) -> None:
		"""So much is to be done in all; so much more of it is there from earlier."""
		self._total = total
		self._known += known
		self._done += known
		self._draw()

	def step(self, note: str = '') -> None:
		"""One more is done."""
		self._done += 1
		self._note = note
		self._draw()
		self._tell()

	def at(self, place: Callable[[], str]) -> None:
		"""Where it is, for as long as no total says that; asked when it is shown."""
		every = _REDRAW if self._bar is not None else self._every
		if time.monotonic() - self._told < every:
			return
		self._note = place()
		if self._bar is not None:
			self._told = time.monotonic()
		self._draw()
		self._tell()

	def line(self) -> str:
		"""How far it is, in words."""
		spent = time.monotonic() - self._begin
		if self._total is None:
			return f'{self._what}, {spent:.0f} s: {self._note}'
		new, left = self._done - self._known, self._total - self._done
		return f'{self._done} of {self._total} {self._what}, {spent:.0f} s' + \
			(f', about {spent / new * left:.0f} s left' if left > 0 and new else '') + \
			(f', {self._note}' if self._note else '')

	def _draw(self) -> None:
		if self._bar is not None:
			count = '' if self._total is None else f'{self._done}/{self._total}'
			self._bar.update(self._task, total=self._total, completed=self._done,
					 count=count, note=self._note)

	def _tell(self) -> None:
		now = time.monotonic()
		if self._bar is None and now - self._told >= self._every:
			self._told = now
			self._host.say(self.line())


def _bar() -> Any:
	"""One line, cut to the terminal's width, that goes when it is done."""
	from rich import progress
	from rich.console import Console
	from rich.table import Column
	return progress.Progress(
		progress.TextColumn('{task.description}'), progress.BarColumn(bar_width=20),
		progress.TextColumn('{task.fields[count]}'), progress.TimeElapsedColumn(),
		progress.TimeRemainingColumn(),
		progress.TextColumn('{task.fields[note]}', markup=False,
				    table_column=Column(no_wrap=True, overflow='ellipsis', ratio=1)),
		console=Console(stderr=True), transient=True, expand=True)
