# SPDX-License-Identifier: GPL-2.0
"""Runs a long command into a log, shows how it goes, leaves nothing behind."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Callable, Iterator, List, Mapping, Optional, Sequence

from lib import files
from lib.host import Host, OverlayError
from lib.report import Progress

_POLL = 0.2          # seconds between two looks at the command
_TAIL = 4096         # bytes of a log that are read for its last line
_GRACE = 5.0         # seconds from the polite signal to the other one


def last_line(path: str) -> str:
	"""What a log says last, without blanks around it."""
	try:
		with open(path, 'rb') as f:
			f.seek(max(os.path.getsize(path) - _TAIL, 0))
			lines = f.read().decode('utf-8', 'replace').split('\n')
	except OSError:
		return ''
	return next((' '.join(line.split()) for line in reversed(lines) if line.strip()), '')


def first_error(path: str) -> str:
	"""The line of a build's log that tells most about its failure."""
	lines = [' '.join(line.split()) for line in files.read(path, 'no log').splitlines()
		 if line.strip()]
	for word in ('undefined reference', 'error:', 'Error:', 'ERROR', 'FAILED', '***'):
		for line in lines:
			if word in line:
				return line
	return lines[-1] if lines else 'it said nothing'


def _kill(process: 'subprocess.Popen[bytes]') -> None:
	"""End a command with all that it started; they share a session of their own."""
	for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
		try:
			os.killpg(process.pid, number)
			process.wait(patience)
		except (ProcessLookupError, subprocess.TimeoutExpired):
			pass
	process.wait()


@contextmanager
def _terminable() -> Iterator[None]:
	"""Lets SIGTERM unwind the stack as Ctrl-C does, so that children end too."""
	old = signal.signal(signal.SIGTERM, signal.default_int_handler)
	try:
		yield
	finally:
		signal.signal(signal.SIGTERM, old)


@contextmanager
def _deferred() -> Iterator[None]:
	"""Signals that end us wait until the block is through.

	So a command that is just being started cannot be left behind unknown.
	"""
	came: List[int] = []
	numbers = (signal.SIGINT, signal.SIGTERM)
	old = [signal.signal(number, lambda number, frame: came.append(number))
	       for number in numbers]
	try:
		yield
	finally:
		for number, handler in zip(numbers, old):
			signal.signal(number, handler)
	if came:
		raise KeyboardInterrupt


@dataclass(frozen=True)
class Ended:
	"""How a job ended. status: None if its time was up."""
	status: Optional[int]
	seconds: float


def _start(command: Sequence[str], out: IO[bytes], cwd: Optional[str],
	   env: Optional[Mapping[str, str]]) -> 'subprocess.Popen[bytes]':
	"""A command in a session of its own, so that all of it can be ended."""
	try:
		return subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT,
					stdin=subprocess.DEVNULL, start_new_session=True)
	except OSError as e:
		raise OverlayError(f'{command[0]}: {e.strerror}') from e


def run(host: Host, what: str, command: Sequence[str], log: str,
	cwd: Optional[str] = None, env: Optional[Mapping[str, str]] = None,
	limit: float = float('inf'), progress: Optional[Callable[[], str]] = None) -> Ended:
	"""Run a command with its output in a log file.

	limit: seconds after which it is ended. progress: says where it is; the
	last line of the log if there is none.
	"""
	os.makedirs(os.path.dirname(log), exist_ok=True)
	start = time.monotonic()
	host.say(what)
	with open(log, 'wb') as out, _terminable(), Progress(host, what) as display:
		process: Optional['subprocess.Popen[bytes]'] = None
		try:
			with _deferred():
				process = _start(command, out, cwd, env)
			while process.poll() is None:
				if time.monotonic() - start > limit:
					_kill(process)
					return Ended(None, time.monotonic() - start)
				display.at(progress or (lambda: last_line(log)))
				time.sleep(_POLL)
		finally:
			if process is not None:
				_kill(process)
	return Ended(process.returncode, time.monotonic() - start)


def build(host: Host, what: str, command: Sequence[str], log: str,
	  cwd: Optional[str] = None, env: Optional[Mapping[str, str]] = None) -> None:
	"""run(), for what must succeed."""
	ended = run(host, what, command, log, cwd, env)
	if ended.status:
		raise OverlayError(f'{what}: failed: {first_error(log)} (log: {log})')
