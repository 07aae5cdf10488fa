# SPDX-License-Identifier: GPL-2.0
"""Where our files are, and how files are read, written and guarded."""

import fcntl
import os
from contextlib import contextmanager
from typing import Iterator, Optional, Union

from lib.host import Host

TOOL = 'tools/testing/kunit'
REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


def read(path: str, missing: Optional[str] = None, errors: str = 'replace') -> str:
	"""All of a text file.

	missing: what to return if it cannot be read; OSError is raised without.
	"""
	try:
		with open(path, encoding='utf-8', errors=errors) as f:
			return f.read()
	except OSError:
		if missing is None:
			raise
		return missing


def read_bytes(path: str) -> bytes:
	"""All of a file, whatever is in it."""
	with open(path, 'rb') as f:
		return f.read()


def write(path: str, content: Union[str, bytes]) -> str:
	"""Write a file, whole or not at all; its path. What it was stays until then."""
	new = path + '.new'
	data = content if isinstance(content, bytes) else \
		content.encode('utf-8', 'surrogateescape')
	with open(new, 'wb') as f:
		f.write(data)
	os.replace(new, path)
	return path


def remove(*paths: str) -> None:
	"""Remove those of these files that are there."""
	for path in paths:
		if os.path.lexists(path):
			os.unlink(path)


@contextmanager
def locked(folder: str, host: Host) -> Iterator[int]:
	"""Hold an exclusive lock on a folder for the block; yields its descriptor."""
	lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
	try:
		try:
			fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
		except BlockingIOError:
			host.say(f'waiting for another run that uses {folder}')
			fcntl.flock(lock, fcntl.LOCK_EX)
		yield lock
	finally:
		os.close(lock)
