# SPDX-License-Identifier: GPL-2.0
"""What the steps of `make check` share: the count, and where they work."""

import os
import re
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from lib import files
from lib.host import Host, OverlayError
from overlay.base import git_files, walk
from overlay.tree import Tree

# Output of Python, and files that are data for a test rather than code.
_NOT_OURS = re.compile(r'(^|/)(__pycache__|test_data)/|^build/')


@dataclass(frozen=True)
class Tally:
	"""Numbers of single checks: test cases, or files through one linter."""
	passed: int = 0
	failed: int = 0
	skipped: int = 0

	def __add__(self, other: 'Tally') -> 'Tally':
		return Tally(self.passed + other.passed, self.failed + other.failed,
			     self.skipped + other.skipped)

	def __str__(self) -> str:
		skipped = f', {self.skipped} skipped' if self.skipped else ''
		return f'{self.passed} passed, {self.failed} failed{skipped}'


PASS = Tally(passed=1)
FAIL = Tally(failed=1)


@dataclass(frozen=True)
class Excuse:
	"""A linter's complaint that stays, and why."""
	check: str     # 'checkpatch lib/x.c': linter and file
	text: str      # occurs in the complaint
	reason: str


@dataclass(frozen=True)
class Context:
	"""Where the steps work."""
	host: Host
	repo: str      # our checkout
	tree: Tree     # the assembled tree
	excuses: Tuple[Excuse, ...] = ()


def read_excuses(path: str) -> Tuple[Excuse, ...]:
	"""Reads lines `linter file: text: reason`; a reason is required."""
	excuses: List[Excuse] = []
	for number, line in enumerate(files.read(path, '').splitlines(), 1):
		if not line.strip() or line.startswith('#'):
			continue
		parts = [p.strip() for p in line.split(': ', 2)]
		if len(parts) != 3 or not all(parts):
			raise OverlayError(f'{path}:{number}: should read `linter file: text: reason`')
		excuses.append(Excuse(*parts))
	return tuple(excuses)


def excuse(context: Context, name: str, complaints: Sequence[str]) -> List[str]:
	"""The complaints without a stated reason; a reason without complaint is one."""
	left = list(complaints)
	for entry in (e for e in context.excuses if e.check == name):
		kept = [line for line in left if entry.text not in line]
		if len(kept) == len(left):
			kept.append(f'no longer says "{entry.text}": remove the excuse')
		left = kept
	return left


def verdict(host: Host, name: str, complaints: Sequence[str]) -> Tally:
	"""One check's result: its complaints are shown, none means passed."""
	for line in complaints:
		host.say(f'  {line}')
	host.say(f'{"FAILED" if complaints else "ok":7}{name}')
	return FAIL if complaints else PASS


def own_files(host: Host, repo: str) -> List[str]:
	"""All files of the repository, as git sees them where there is git."""
	known = git_files(host, repo) \
		if os.path.exists(os.path.join(repo, '.git')) else None
	return sorted(p for p in walk(repo, skip=os.path.join(repo, 'build'))
		      if not _NOT_OURS.search(p) and (known is None or p in known))


def package_root(repo: str, folder: str) -> str:
	"""The folder that Python has to look in to find a folder's modules by their names."""
	while os.path.exists(os.path.join(repo, folder, '__init__.py')):
		folder = os.path.dirname(folder)
	return folder


def first_line(path: str) -> str:
	return files.read(path, '').partition('\n')[0]
