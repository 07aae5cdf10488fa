# SPDX-License-Identifier: GPL-2.0
"""Tests for lib/job.py with real, short-lived commands."""

import os
import signal
import subprocess
import sys
import time
from typing import Any, List
from unittest import mock

from lib import job
from lib.host import OverlayError
from tests.fixtures import HERE, Case, read, write

_BOUND = 20.0    # seconds in which what must happen has happened on any machine


def gone(pid: int) -> bool:
	"""Whether a process has ended, though nobody may have waited for it."""
	try:
		with open(f'/proc/{pid}/stat', encoding='ascii') as f:
			return f.read().rsplit(')', 1)[1].split()[0] == 'Z'
	except OSError:
		return True


class JobTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.log = os.path.join(self.work, 'logs/job.log')

	def wait_for_file(self, path: str) -> str:
		end = time.monotonic() + _BOUND
		while time.monotonic() < end:
			if os.path.exists(path) and read(path).endswith('\n'):
				return read(path)
			time.sleep(0.05)
		raise AssertionError(f'{path} never came')

	def wait_until_gone(self, pid: int) -> None:
		end = time.monotonic() + _BOUND
		while not gone(pid):
			self.assertLess(time.monotonic(), end, 'still running')
			time.sleep(0.05)

	def test_output_and_status(self) -> None:
		ended = job.run(self.host, 'a', ['sh', '-c', 'echo x; echo y >&2; exit 3'],
				self.log)
		self.assertEqual((ended.status, read(self.log)), (3, 'x\ny\n'))
		self.assertEqual(self.host.said, ['a'])

	def test_time_is_up(self) -> None:
		pid_file = os.path.join(self.work, 'pid')
		ended = job.run(self.host, 'a', [
			'sh', '-c', f'sleep 1000 & echo $! > {pid_file}; wait'], self.log, limit=1.0)
		self.assertIsNone(ended.status)
		self.wait_until_gone(int(read(pid_file)))

	def test_interrupt_ends_all_children(self) -> None:
		pid_file = os.path.join(self.work, 'pid')
		for number in (signal.SIGINT, signal.SIGTERM):
			code = ('import sys; sys.dont_write_bytecode = True\n'
				'from lib import job\nfrom lib.host import Host, guarded\n'
				'guarded("t", lambda: job.run(Host(), "a", ["sh", "-c", '
				f'"sleep 1000 & echo $! > {pid_file}; wait"], "{self.log}").status)')
			ours = subprocess.Popen([sys.executable, '-c', code], cwd=HERE,
						stderr=subprocess.PIPE, text=True)
			pid = int(self.wait_for_file(pid_file))
			ours.send_signal(number)
			_, said = ours.communicate(timeout=_BOUND)
			self.assertIn('interrupted', said)
			self.assertNotIn('Traceback', said)
			self.wait_until_gone(pid)
			os.unlink(pid_file)

	def test_interrupt_while_a_command_is_started(self) -> None:
		start = subprocess.Popen
		started: List['subprocess.Popen[bytes]'] = []
		def popen(*words: Any, **options: Any) -> Any:
			started.append(start(*words, **options))
			self.addCleanup(started[-1].kill)
			os.kill(os.getpid(), signal.SIGINT)
			return started[-1]

		with mock.patch('lib.job.subprocess.Popen', popen), \
		     self.assertRaises(KeyboardInterrupt):
			job.run(self.host, 'a', ['sleep', '1000'], self.log)
		self.wait_until_gone(started[0].pid)

	def test_failed_build_names_the_error(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'a: failed: x.c:1: error: y .log: '):
			job.build(self.host, 'a', [
				'sh', '-c', 'echo "x.c:1: error: y"; echo "make: *** z"; exit 2'], self.log)

	def test_unknown_command(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'no-such-command: No such file'):
			job.run(self.host, 'a', ['no-such-command'], self.log)

	def test_last_line(self) -> None:
		write(self.work, {'log': 'one\n  two   words\n\n', 'empty': ''})
		self.assertEqual(job.last_line(f'{self.work}/log'), 'two words')
		self.assertEqual(job.last_line(f'{self.work}/empty'), '')
		self.assertEqual(job.last_line(f'{self.work}/none'), '')
