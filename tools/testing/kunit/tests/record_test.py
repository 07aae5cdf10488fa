# SPDX-License-Identifier: GPL-2.0
"""Tests for `make record`: what recorders write becomes a trace."""

import os
import tempfile
import unittest
from typing import List

from lib import trace
from lib.files import REPO
from lib.host import OverlayError
from lib.trace import Event
from record import command as record
from record import raw as record_raw
from tune import workload as tune_workload

IN_TASK, IN_SOFTIRQ, IN_HARDIRQ, IN_NMI = -2147483648, -2147483391, 0x10000, 0x110001


def maps(*lines: str) -> str:
	return '\n'.join(['Attaching 5 probes...', '# bpf_mem raw 1 maps', *lines, '', ''])


def objects(*lines: str) -> str:
	return '\n'.join(['# bpf_mem raw 1 events', '# tracer: nop', *lines,
			  '# overrun cpu0: 0', ''])


def shape(text: str) -> List[str]:
	"""A trace of what was recorded, without its header."""
	made = trace.write('w', 'r', record_raw.events(text))
	return [line for line in made.splitlines() if not line.startswith('#')]


class TestMaps(unittest.TestCase):
	def test_update_and_delete(self) -> None:
		self.assertEqual(shape(maps(f'm 5000000 2 {IN_TASK} u 7 96 1 0',
					    f'm 5003000 0 {IN_SOFTIRQ} u 7 96 2 0',
					    f'm 5009000 2 {IN_NMI} d 7 96 1 0')),
				 ['0 1 t a 0 96', '3 0 s a 1 96', '6 1 n f 0'])

	def test_order_is_that_of_time(self) -> None:
		self.assertEqual(shape(maps(f'm 9000 0 {IN_TASK} d 7 96 1 0',
					    f'm 4000 1 {IN_HARDIRQ} u 7 96 1 0')),
				 ['0 1 h a 0 96', '5 0 t f 0'])

	def test_update_of_what_is_there(self) -> None:
		self.assertEqual(shape(maps(f'm 1000 0 {IN_TASK} u 7 96 1 0',
					    f'm 2000 0 {IN_TASK} u 7 96 1 0',
					    f'm 3000 0 {IN_TASK} d 7 96 1 0')),
				 ['0 0 t a 0 96', '1 0 t a 1 96', '0 0 t f 0', '1 0 t f 1'])

	def test_same_key_in_two_maps(self) -> None:
		self.assertEqual(shape(maps(f'm 1000 0 {IN_TASK} u 7 96 1 0',
					    f'm 2000 0 {IN_TASK} u 8 64 1 0')),
				 ['0 0 t a 0 96', '1 0 t a 1 64'])

	def test_failed_and_older_ones_are_left_out(self) -> None:
		self.assertEqual(shape(maps(f'm 1000 0 {IN_TASK} u 7 96 1 -12',
					    f'm 2000 0 {IN_TASK} d 7 96 9 0',
					    f'm 3000 0 {IN_TASK} u 7 96 1 0')),
				 ['0 0 t a 0 96'])

	def test_lost(self) -> None:
		with self.assertRaisesRegex(OverlayError, '12 events were lost'):
			record_raw.events(maps('Lost 12 events', f'm 1 0 {IN_TASK} u 7 96 1 0'))

	def test_damaged(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'damaged: "m 1 0 x"'):
			record_raw.events(maps('m 1 0 x'))


class TestObjects(unittest.TestCase):
	ALLOC = ' task-7 [003] d.s31 1.000005: bpf_mem_object_alloc: id=2 size=80 obj=00aa'

	def test_alloc_and_free(self) -> None:
		self.assertEqual(shape(objects(
			self.ALLOC,
			' my task-7 [001] d.Z21 1.000025: bpf_mem_object_alloc: id=2 size=64 obj=00bb',
			' <idle>-0 [003] d.h2. 1.000026: bpf_mem_object_free: obj=00aa rcu=1',
			' a-b-8 [001] ....1 1.000027: bpf_mem_object_free: obj=00bb rcu=0')),
				 ['0 1 s a 0 80', '20 0 n a 1 64', '1 1 h r 0', '1 0 t f 1'])

	def test_address_that_comes_again(self) -> None:
		free = ' t-7 [003] ....1 1.000006: bpf_mem_object_free: obj=00aa rcu=0'
		again = self.ALLOC.replace('000005', '000009')
		self.assertEqual(shape(objects(self.ALLOC, free, again)),
				 ['0 0 s a 0 80', '1 0 t f 0', '3 0 s a 0 80'])

	def test_what_cannot_be(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'allocated twice'):
			shape(objects(self.ALLOC, self.ALLOC))

	def test_lost(self) -> None:
		for line in ('# overrun cpu2: 5', 'CPU:2 [LOST 5 EVENTS]'):
			with self.assertRaisesRegex(OverlayError, '5 events were lost'):
				record_raw.events(objects(self.ALLOC, line))

	def test_damaged(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'damaged'):
			record_raw.events(objects(self.ALLOC.replace('size=80 ', '')))


class TestRecord(unittest.TestCase):
	def test_not_a_recording(self) -> None:
		with self.assertRaisesRegex(OverlayError, 'not what record.bt'):
			record_raw.events('hello\n')
		with self.assertRaisesRegex(OverlayError, 'nothing was recorded'):
			trace.write('w', 'r', record_raw.events(maps()))

	def test_serial_line(self) -> None:
		text = maps(f'm 1000 0 {IN_TASK} u 7 96 1 0').replace('\n', '\r\n')
		with tempfile.TemporaryDirectory() as folder:
			found = record.whole(f'@@ begin\r\n{text}@@ end 0\r\n', '',
					     record.RECORDINGS[0], folder)
			self.assertEqual(shape(found), ['0 0 t a 0 96'])
			with open(os.path.join(folder, 'conntrack.log'), 'w',
				  encoding='utf-8') as f:
				f.write('x\nKernel panic - y\n')
			for raw, log in ((f'@@ begin\n{text}@@ end 1\n', ''), ('@@ begin\n', ''),
					 (f'@@ begin\n{text}@@ end 0\n', 'WARNING: CPU: 1')):
				with self.assertRaisesRegex(OverlayError, 'not recorded: Kernel panic'):
					record.whole(raw, log, record.RECORDINGS[0], folder)

	def test_choose(self) -> None:
		self.assertEqual(record.choose([]), list(record.RECORDINGS))
		self.assertEqual([r.name for r in record.choose(['storm'])], ['storm'])
		with self.assertRaisesRegex(OverlayError, 'no workload x: there are conntrack'):
			record.choose(['x'])

	def test_shipped(self) -> None:
		"""Each is there, was recorded, and has what it is shipped for."""
		with open(os.path.join(REPO, '.kunitconfig'), encoding='utf-8') as f:
			config = f.read()
		for recording in record.RECORDINGS:
			workload = tune_workload.load(recording.name)
			header = trace.parse(recording.name, workload.text)
			self.assertEqual(header.workload, recording.about)
			self.assertRegex(header.recorded, r'^Linux 6\.\d+.*QEMU with 4 CPUs$')
			self.assertIn(workload.file, config)
		self.assertGreater(tune_workload.load('conntrack').text.count(' s a '), 1000)
		self.assertGreater(tune_workload.load('agent').text.count(' n a '), 100)
		self.assertEqual(tune_workload.load('storm').cpus, 1)

	def test_write_uses_ids_again(self) -> None:
		text = trace.write('w', 'r', [
			Event(0, 0, 't', 'a', 'x', 8), Event(1, 0, 't', 'a', 'y', 8),
			Event(2, 0, 't', 'f', 'x'), Event(3, 1, 't', 'a', 'z', 8)])
		self.assertIn('# objects: 2\n', text)
		self.assertIn('1 1 t a 0 8', text)
		self.assertEqual(trace.parse('x', text).cpus, 2)
