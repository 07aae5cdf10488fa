# SPDX-License-Identifier: GPL-2.0
"""Tests for `make soak`: what TIME may be, and what the kernel is told."""

import unittest

from check import soak
from lib.host import OverlayError


class TimeTest(unittest.TestCase):

	def test_units(self) -> None:
		for text, seconds in (('90s', 90), ('10m', 600), ('2h', 7200)):
			self.assertEqual(soak.seconds_of(text), seconds)

	def test_no_time(self) -> None:
		for text in ('', '10', 'm', '0s', '-1m', '1.5h', '10 m', '10m ', '9999999s'):
			with self.assertRaisesRegex(OverlayError, 'for example'):
				soak.seconds_of(text)

	def test_kernel_is_told(self) -> None:
		options = soak.kernel(600).options
		self.assertIn('--kernel_args=memalloc_soak_kunit.seconds=600', options)
		self.assertIn('--qemu_args=-smp 4', options)
		self.assertEqual(options[-1], 'bpf_memalloc_soak')
