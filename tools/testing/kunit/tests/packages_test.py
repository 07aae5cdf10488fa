# SPDX-License-Identifier: GPL-2.0
"""Tests for lib/packages.py: every answer apt can give, without apt."""

import unittest

from lib import packages
from lib.host import Output, OverlayError
from lib.packages import Requirement
from tests.fixtures import FakeHost

FLEX = Requirement('flex', 'flex')
ELF = Requirement('/usr/include/gelf.h', 'libelf-dev')
UNKNOWN = Output(100, 'Reading\nE: Unable to locate package flex\n')


class EnsureTest(unittest.TestCase):

	def refusal(self, host: FakeHost, *requirements: Requirement) -> str:
		with self.assertRaises(OverlayError) as caught:
			packages.ensure(host, requirements)
		message = str(caught.exception)
		self.assertNotIn('\n', message)
		return message

	def test_nothing_missing_runs_nothing(self) -> None:
		host = FakeHost(('flex',), ('/usr/include/gelf.h',), root=False)
		packages.ensure(host, (FLEX, ELF))
		self.assertEqual(host.log, [])

	def test_root_installs_everything_in_one_call(self) -> None:
		host = FakeHost(('apt-get',), installs={'flex': 'flex', 'libelf-dev': ELF.probe})
		packages.ensure(host, (FLEX, ELF, FLEX))
		self.assertEqual(len(host.log), 1)
		self.assertTrue(host.log[0].startswith('env DEBIAN_FRONTEND=noninteractive apt-get'))
		self.assertTrue(host.log[0].endswith(
			'install -y --no-install-recommends flex libelf-dev'))

	def test_package_lists_are_fetched_once_when_needed(self) -> None:
		host = FakeHost(('apt-get',), installs={'flex': 'flex'},
				answers={' install ': [UNKNOWN, Output(0, '')]})
		packages.ensure(host, (FLEX,))
		self.assertEqual([line.split()[-1] for line in host.log], ['flex', 'update', 'flex'])

	def test_no_network_is_named(self) -> None:
		host = FakeHost(('apt-get',), answers={' install ': [UNKNOWN],
			' update': [Output(0, 'W: Failed to fetch http://example.org\n')]})
		message = self.refusal(host, FLEX)
		self.assertIn('Unable to locate package flex', message)
		self.assertIn('network', message)
		self.assertIn('apt-get install -y --no-install-recommends flex', message)

	def test_passwordless_sudo_is_used(self) -> None:
		host = FakeHost(('apt-get', 'sudo'), root=False, installs={'flex': 'flex'})
		packages.ensure(host, (FLEX,))
		self.assertEqual(host.log[0], 'sudo -n true')
		self.assertTrue(host.log[1].startswith('sudo -n env '))

	def test_sudo_with_password_prints_the_line_to_run(self) -> None:
		host = FakeHost(('apt-get', 'sudo'), root=False,
				answers={'sudo -n true': [Output(1, 'a password is required')]})
		self.assertIn('run `sudo apt-get update && sudo apt-get install -y '
			      '--no-install-recommends flex`', self.refusal(host, FLEX))
		self.assertEqual(host.log, ['sudo -n true'])

	def test_no_sudo_prints_the_line_to_run(self) -> None:
		host = FakeHost(('apt-get',), root=False)
		self.assertIn('sudo apt-get install', self.refusal(host, FLEX))
		self.assertEqual(host.log, [])

	def test_other_distribution_is_told_what_is_missing(self) -> None:
		message = self.refusal(FakeHost(), FLEX, ELF)
		self.assertIn('missing flex, gelf.h', message)
		self.assertIn('package manager', message)

	def test_package_without_the_file_is_noticed(self) -> None:
		message = self.refusal(FakeHost(('apt-get',)), ELF)
		self.assertIn('/usr/include/gelf.h still missing', message)


class RequirementsTest(unittest.TestCase):

	def test_uml_needs_no_qemu(self) -> None:
		names = {r.package for r in packages.build('um') + packages.qemu('um')}
		self.assertIn('flex', names)
		self.assertIn('bison', names)
		self.assertFalse({p for p in names if p.startswith('qemu') or p == 'libelf-dev'})

	def test_x86_64_needs_qemu_and_libelf(self) -> None:
		names = {r.package for r in packages.build('x86_64') + packages.qemu('x86_64')}
		self.assertLessEqual({'qemu-system-x86', 'libelf-dev'}, names)

	def test_unknown_machine_is_left_to_the_tool(self) -> None:
		self.assertEqual(packages.qemu('vax'), ())
