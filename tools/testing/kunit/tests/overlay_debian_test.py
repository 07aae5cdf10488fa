# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/debian.py: real apt, real python3-apt, archives in a folder."""

import json
import os
import shutil
import subprocess
import unittest
from typing import Any

from lib.packages import APT
from overlay import debian
from tests.fixtures import Case, write

SETTINGS = '''Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::sourcelist "{0}/sources.list";
Dir::State "{0}/state";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
APT::Sandbox::User "root";
APT::Hook "x";
Acquire::http::Proxy "http://proxy.example.org";
Acquire::https::Timeout "7";
Acquire::Retries "1";
'''


@unittest.skipUnless(os.path.exists(APT.probe) and shutil.which('apt-get'),
		     'python3-apt is not installed')
class DebianTest(Case):

	def setUp(self) -> None:
		super().setUp()
		write(self.work, {'apt.conf': SETTINGS.format(self.work), 'status': '',
				  'state/lists/partial/x': '', 'cache/archives/partial/x': ''})

	def archive(self, name: str, origin: str, label: str, **versions: str) -> None:
		"""One with these packages; dashes of names are underscores here."""
		write(self.work, {
			f'{name}/Release': f'Origin: {origin}\nLabel: {label}\nCodename: code-{name}\n',
			f'{name}/Packages': ''.join(
				f'Package: {package.replace("_", "-")}\nVersion: {version}\n'
				f'Architecture: all\nFilename: x.deb\nSize: 1\nSHA256: {"0" * 64}\n\n'
				for package, words in versions.items() for version in words.split())})
		with open(os.path.join(self.work, 'sources.list'), 'a', encoding='utf-8') as f:
			f.write(f'deb [trusted=yes] file:{self.work}/{name} ./\n')

	def call(self, *command: str) -> str:
		return subprocess.run(command, check=True, capture_output=True, text=True,
				      env={**os.environ, 'APT_CONFIG': f'{self.work}/apt.conf',
					   'LC_ALL': 'C'}).stdout

	def ask(self, *words: str) -> Any:
		return json.loads(self.call(debian.PYTHON, '-B', debian.__file__, *words))

	def test_archive_that_packages_come_from(self) -> None:
		self.archive('security', 'Debian', 'Debian-Security', a='1')
		self.archive('other', 'Other', 'Other', a='1')
		self.assertEqual(self.ask('machine')['mirror'], '')
		self.call('apt-get', '-q', 'update')
		self.assertEqual(self.ask('machine')['mirror'], '')
		self.archive('main', 'Debian', 'Debian', a='1')
		self.call('apt-get', '-q', 'update')
		self.assertEqual(self.ask('machine')['mirror'], f'file:{self.work}/main/')

	def test_ways_and_nothing_else(self) -> None:
		self.archive('main', 'Debian', 'Debian')
		self.assertEqual(self.ask('machine')['ways'], {
			'Acquire::http::Proxy': 'http://proxy.example.org',
			'Acquire::https::Timeout': '7'})

	def test_names_and_versions(self) -> None:
		self.archive('main', 'Debian', 'Debian', linux_source_7='7.10.2-1 7.9-1 7.10.3~rc1-1',
			     linux_image='1')
		self.archive('more', 'Debian', 'Debian', linux_source_7='7.10.3-1')
		self.call('apt-get', '-q', 'update')
		self.assertEqual(self.ask('versions', 'linux-source-'), {
			'linux-source-7': ['7.10.3-1', '7.10.3~rc1-1', '7.10.2-1', '7.9-1']})
		self.assertEqual(self.ask('codenames'), ['code-main', 'code-more'])
