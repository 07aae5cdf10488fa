# SPDX-License-Identifier: GPL-2.0
"""What the front-end asks of the machine, in one class that tests replace.

Every other module receives a Host and reports trouble by raising OverlayError,
whose text is the single line that the user sees.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Sequence


class OverlayError(Exception):
	"""Something the user can act on: one line, what is wrong and what to do."""


@dataclass(frozen=True)
class Output:
	"""Result of a finished command; stderr is merged into text."""
	status: int
	text: str


class Host:
	"""The machine: processes, installed commands, privileges, disk."""

	def which(self, command: str) -> Optional[str]:
		"""Path of a command; sbin is searched too, a plain user's PATH lacks it."""
		path = os.environ.get('PATH', os.defpath)
		return shutil.which(command, path=path + ':/usr/sbin:/sbin')

	def exists(self, path: str) -> bool:
		return os.path.exists(path)

	def is_root(self) -> bool:
		return os.geteuid() == 0

	def free_bytes(self, folder: str) -> int:
		return shutil.disk_usage(folder).free

	def capture(self, command: Sequence[str], cwd: Optional[str] = None,
		    env: Optional[Mapping[str, str]] = None,
		    keep_fds: Sequence[int] = ()) -> Output:
		"""Run a command to its end and keep what it says.

		keep_fds stay open in the child: a lock among them outlives us if we
		are killed while the child is still working.
		"""
		try:
			done = subprocess.run(command, cwd=cwd, env=env, check=False,
					      stdin=subprocess.DEVNULL,
					      stdout=subprocess.PIPE,
					      stderr=subprocess.STDOUT,
					      pass_fds=keep_fds,
					      text=True, errors='backslashreplace')
		except OSError as e:
			return Output(127, f'{command[0]}: {e.strerror}')
		return Output(done.returncode, done.stdout)

	def stream(self, command: Sequence[str], cwd: Optional[str] = None,
		   env: Optional[Mapping[str, str]] = None) -> int:
		"""Run a command on the user's terminal and return its exit status."""
		sys.stdout.flush()
		try:
			return subprocess.run(command, cwd=cwd, env=env, check=False).returncode
		except OSError as e:
			self.say(f'{command[0]}: {e.strerror}')
			return 127

	def say(self, text: str) -> None:
		"""Progress, on stderr: stdout belongs to results."""
		print(text, file=sys.stderr, flush=True)


def describe_os_error(error: OSError) -> str:
	"""One line for an OSError, with the remedy where there is an obvious one."""
	where = f'{error.filename}: ' if error.filename else ''
	text = f'{where}{error.strerror or error}'
	if error.errno == errno.ENOSPC:
		text += ': free some disk space (`make clean` removes build/) and run it again'
	elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
		text += ': use a folder you may write to, or change its owner'
	return text


def guarded(program: str, body: Callable[[], int]) -> int:
	"""Run a main function so that nobody ever sees a traceback.

	Returns the exit status: the body's own, 1 for an error, 130 after Ctrl-C.
	"""
	signal.signal(signal.SIGINT, signal.default_int_handler)
	try:
		status = body()
		sys.stdout.flush()
		return status
	except KeyboardInterrupt:
		print(f'\n{program}: interrupted', file=sys.stderr)
		return 130
	except BrokenPipeError:
		# The reader went away; keep the interpreter from flushing at exit.
		os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
		return 141
	except OSError as e:
		message = describe_os_error(e)
	except OverlayError as e:
		message = str(e)
	print(f'{program}: {message}', file=sys.stderr)
	return 1
