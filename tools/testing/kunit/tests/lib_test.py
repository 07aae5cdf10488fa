# SPDX-License-Identifier: GPL-2.0
"""Tests for lib/files.py, lib/kernel.py, lib/kernel_log.py and lib/report.py."""

import os
import unittest
from unittest import mock

from lib import files
from lib.kernel import SUITES, Kernel
from lib.kernel_log import worst_line
from lib.report import Progress
from tests.fixtures import Case, FakeHost, write


class FilesTest(Case):

	def test_written_whole_or_not_at_all(self) -> None:
		path = os.path.join(self.work, 'file')
		self.assertEqual(files.write(path, 'old\udc80'), path)
		self.assertEqual(files.read_bytes(path), b'old\x80')
		with mock.patch('os.replace', side_effect=OSError), self.assertRaises(OSError):
			files.write(path, 'new')
		self.assertEqual(files.read(path, errors='surrogateescape'), 'old\udc80')

	def test_missing(self) -> None:
		path = os.path.join(self.work, 'none')
		self.assertEqual(files.read(path, 'x'), 'x')
		self.assertEqual(files.read(self.work, ''), '')
		with self.assertRaises(FileNotFoundError):
			files.read(path)

	def test_remove(self) -> None:
		write(self.work, {'a': ''})
		files.remove(os.path.join(self.work, 'none'), os.path.join(self.work, 'a'))
		self.assertFalse(os.path.exists(os.path.join(self.work, 'a')))


class KernelTest(unittest.TestCase):

	def test_command(self) -> None:
		kernel = Kernel('k', 'um', 'kunit-k', (SUITES, 'x.config'), ('--timeout=1', 'suite'))
		self.assertEqual(kernel.command('run', '/b', '--json=r', repo='/r')[2:], [
			'/r/tools/testing/kunit/kunit.py', 'run', '--arch=um', '--build_dir=/b/kunit-k',
			'--json=r', '--kunitconfig=/r/.kunitconfig',
			'--kunitconfig=/r/tools/testing/kunit/configs/x.config', '--timeout=1', 'suite'])
		self.assertEqual(kernel.log('/b'), '/b/kunit-k/test.log')


class LogTest(unittest.TestCase):

	def test_line_that_tells_most(self) -> None:
		for log, line in (('', 'it said nothing'), ('a\n\n  b  c\n\n', 'b c'),
				  ('x\nBUG: y\nz\n', 'BUG: y'),
				  ('WARNING: y\nKernel panic - z\r\nlast\n', 'Kernel panic - z')):
			self.assertEqual(worst_line(log), line)


class ProgressTest(unittest.TestCase):
	"""Where no terminal is."""

	def setUp(self) -> None:
		self.now = 0.0
		for name, value in (('lib.report.time.monotonic', lambda: self.now),
				    ('lib.report.sys.stderr.isatty', lambda: False)):
			patcher = mock.patch(name, value)
			patcher.start()
			self.addCleanup(patcher.stop)
		self.host = FakeHost()

	def test_place(self) -> None:
		with Progress(self.host, 'building') as progress:
			for self.now in (0.0, 59.0, 60.0, 61.0, 120.0):
				progress.at(lambda: 'a.o')
		self.assertEqual(self.host.said, ['building, 60 s: a.o', 'building, 120 s: a.o'])

	def test_place_is_not_looked_up_in_vain(self) -> None:
		with Progress(self.host, 'building') as progress:
			progress.at(lambda: self.fail('looked up'))

	def test_count(self) -> None:
		with Progress(self.host, 'trials', 10) as progress:
			progress.plan(8, 2)
			for self.now in (5.0, 10.0, 15.0):
				progress.step('1 crashed')
			self.now = 40.0
			progress.plan(10)
			self.assertEqual(progress.line(),
					 '5 of 10 trials, 40 s, about 67 s left, 1 crashed')
		# Two of four were there from the start: two in ten seconds are new.
		self.assertEqual(self.host.said, ['4 of 8 trials, 10 s, about 20 s left, 1 crashed'])
