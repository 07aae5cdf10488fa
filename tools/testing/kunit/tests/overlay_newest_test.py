# SPDX-License-Identifier: GPL-2.0
"""Tests for overlay/newest.py: every answer that apt and a mirror can give."""

import json
import os
import shutil
import subprocess
from typing import Dict, List, Mapping, Optional, Sequence
from unittest import mock

from lib.host import Output, OverlayError
from lib.packages import APT
from overlay import base as overlay_base
from overlay import newest as overlay_newest
from overlay import tree as overlay_tree
from tests.fixtures import Case, FakeHost, read, write

MIRROR = 'http://mirror.example.org/debian/'
NO_NETWORK = Output(0, f'W: Failed to fetch {MIRROR}dists/x/InRelease  Could not resolve\n')


class Debian(FakeHost):
	"""A machine with apt, a mirror behind it, and packages on that."""

	def __init__(self, linux: str) -> None:
		super().__init__(('apt-get', 'dpkg-deb', 'xz', 'patch'), (overlay_newest.KEYRING, APT.probe))
		self.linux = linux
		self.mirror = MIRROR
		self.network = True
		self.packages: Dict[str, List[str]] = {'linux-source-6.12': ['6.12.9-1'],
			'linux-source-7.9': ['7.9.1-1'], 'linux-source-7.10': ['7.10.3~rc1-1', '7.10.2-1']}
		self.broken = ''        # which command fails
		self.content = True     # whether the package has a source in it
		self.suites: List[str] = []

	def pack(self, folder: str, name: str) -> None:
		"""As dpkg-deb unpacks the package."""
		os.makedirs(os.path.join(folder, 'usr/src'))
		number = name.split('-')[2].split('.')
		write(self.linux, {'Makefile': f'VERSION = {number[0]}\nPATCHLEVEL = {number[1]}\n'})
		subprocess.run(['tar', '-cJf', f'{folder}/usr/src/{name}.tar.xz', '-C',
				os.path.dirname(self.linux), os.path.basename(self.linux)], check=True)

	def update(self, config: str) -> Output:
		if not self.network:
			self.suites = []
			return NO_NETWORK
		folder = os.path.dirname(config)
		self.suites = read(folder, 'debian.sources').split('Suites: ')[1].split('\n')[0].split()
		return Output(0, 'Reading\n')

	def capture(self, command: Sequence[str], cwd: Optional[str] = None,
		    env: Optional[Mapping[str, str]] = None,
		    keep_fds: Sequence[int] = ()) -> Output:
		words = list(command)
		answer = super().capture(command, cwd, env, keep_fds)
		if self.broken and self.broken in words:
			return Output(100, f'E: broken {MIRROR}x too\n')
		if 'machine' in words:
			return Output(0, 'a warning\n' + json.dumps({
				'mirror': self.mirror,
				'ways': {'Acquire::http::Proxy': 'http://proxy.example.org'}}))
		if 'codenames' in words:
			return Output(0, json.dumps([f'{suite.replace("stable", "name")}'
						     for suite in self.suites]))
		if 'update' in words:
			return self.update(words[2].split('=')[1])
		if 'versions' in words:
			return Output(0, json.dumps({**self.packages, 'linux-source-7.9-x': ['1']}))
		if 'download' in words:
			name, version = words[-1].split('=')
			if not self.network:
				return NO_NETWORK
			write(cwd or '', {f'{name}_{version.replace(":", "%3a")}_all.deb': name})
		if words[0] == 'dpkg-deb' and self.content:
			self.pack(words[-1], read(words[-2]))
		return answer


class NewestTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.host: Debian = Debian(self.linux)
		self.build = os.path.join(self.repo, 'build')
		os.makedirs(self.build)
		self.now = os.stat(self.build).st_mtime

	def newest(self) -> overlay_base.Base:
		with open(os.devnull, encoding='utf-8') as lock:
			return overlay_newest.newest_base(self.host, self.build, lock.fileno(),
							  lambda: self.now)

	def refusal(self, words: str) -> None:
		with self.assertRaisesRegex(OverlayError, words) as caught:
			self.newest()
		message = str(caught.exception)
		self.assertNotIn('\n', message)
		self.assertNotIn('mirror.example', message)
		left = set(os.listdir(self.build))
		self.assertLessEqual(left, {'apt'})

	def test_highest_number_and_version(self) -> None:
		base = self.newest()
		self.assertEqual((base.name, base.version), ('linux-source-7.10', (7, 10)))
		self.assertTrue(base.root.endswith('/linux-source-7.10/base-7.10.3-rc1-1'))
		self.assertEqual(os.listdir(os.path.dirname(base.root)), ['base-7.10.3-rc1-1'])
		self.assertTrue(os.path.exists(os.path.join(base.root, 'kernel/bpf/core.c')))

	def test_machine_is_left_alone(self) -> None:
		self.newest()
		config = read(self.build, 'apt/apt.conf')
		self.assertIn('Acquire::http::Proxy', config)
		for line in self.host.log:
			self.assertNotIn('install', line)
			self.assertNotIn('sudo', line)
			if ' update' in line or ' download' in line:
				self.assertIn(f'APT_CONFIG={self.build}/apt/apt.conf', line)
		sources = read(self.build, 'apt/debian.sources')
		self.assertIn(f'URIs: {MIRROR}\n', sources)
		self.assertIn(f'Signed-By: {overlay_newest.KEYRING}\n', sources)

	def test_suites_by_the_names_that_they_have_now(self) -> None:
		self.newest()
		self.assertEqual(self.host.suites, ['name-backports', 'testing', 'unname'])

	def test_looked_up_once_a_day(self) -> None:
		base = self.newest()
		self.host.log.clear()
		self.host.packages['linux-source-8.0'] = ['8.0-1']
		self.now += overlay_newest.DAY / 2
		self.assertEqual(self.newest(), base)
		self.assertEqual(self.host.log, [])
		self.now += overlay_newest.DAY
		newer = self.newest()
		self.assertEqual((newer.name, newer.version), ('linux-source-8.0', (8, 0)))
		self.assertTrue(os.path.isdir(base.root))

	def test_new_version_replaces_the_old_one(self) -> None:
		old = self.newest().root
		self.host.packages['linux-source-7.10'] = ['7.10.4-1']
		self.now += 2 * overlay_newest.DAY
		new = self.newest().root
		self.assertTrue(new.endswith('base-7.10.4-1'))
		self.assertFalse(os.path.exists(old))

	def test_same_version_is_not_fetched_again(self) -> None:
		base = self.newest()
		self.host.log.clear()
		self.now += 2 * overlay_newest.DAY
		self.assertEqual(self.newest(), base)
		self.assertFalse([line for line in self.host.log if 'download' in line])

	def test_removed_folder_is_fetched_again(self) -> None:
		base = self.newest()
		shutil.rmtree(base.root)
		self.assertEqual(self.newest(), base)

	def test_no_network_and_something_here(self) -> None:
		base = self.newest()
		self.now += 2 * overlay_newest.DAY
		self.host.network = False
		self.host.said.clear()
		self.assertEqual(self.newest(), base)
		self.assertIn('Could not resolve', self.host.said[-1])
		self.assertIn(f'using {base.root}', self.host.said[-1])
		self.assertNotIn('mirror.example', self.host.said[-1])
		# It is tried again as soon as there is a network.
		self.host.network = True
		self.host.packages['linux-source-8.0'] = ['8.0-1']
		self.assertEqual(self.newest().version, (8, 0))

	def test_no_network_and_nothing_here(self) -> None:
		self.host.network = False
		self.refusal('could not be looked up: Failed to fetch .*Could not resolve')

	def test_failed_fetch_leaves_nothing(self) -> None:
		self.host.broken = 'download'
		self.refusal('linux-source-7.10 7.10.3~rc1-1 could not be fetched: broken too')

	def test_package_that_cannot_be_unpacked(self) -> None:
		self.host.broken = 'dpkg-deb'
		self.refusal('cannot be unpacked')
		self.host.broken, self.host.content = '', False
		self.refusal('it holds no source')

	def test_full_disk(self) -> None:
		self.host.free = 1 << 30
		self.refusal('1024 MiB free, 2560 MiB are needed')

	def test_no_such_package(self) -> None:
		self.host.packages.clear()
		self.refusal('no package linux-source-X.Y')

	def test_no_debian(self) -> None:
		self.host.mirror = ''
		self.refusal('no Debian archive')
		self.host.commands.discard('apt-get')
		self.refusal('needs apt')

	def test_apt_that_cannot_be_asked(self) -> None:
		for answer in ('', 'ImportError: apt_pkg\n'):
			self.host.answers = {'machine': [Output(1, answer)]}
			with mock.patch.object(Debian, 'capture', FakeHost.capture):
				self.refusal('apt cannot be asked for its machine: ')

	def test_leftover_of_a_killed_call(self) -> None:
		write(self.build, {'linux-source-7.10/fetch/half': '', 'linux-source-7.10/unpack/half': ''})
		self.assertEqual(os.listdir(os.path.dirname(self.newest().root)), ['base-7.10.3-rc1-1'])

	def test_note_without_sense(self) -> None:
		for text in ('', 'nonsense\n', 'linux-source-7 1\n', 'a b c\n'):
			write(self.build, {'newest': text})
			self.assertEqual(self.newest().version, (7, 10))

	def test_nothing_newer_than_the_default(self) -> None:
		self.host.packages = {'linux-source-6.12': ['6.12.9-1']}
		with mock.patch('overlay.newest.default_base') as default:
			self.assertIs(self.newest(), default.return_value)
		self.assertFalse([line for line in self.host.log if 'download' in line])

	def test_ksrc(self) -> None:
		root = overlay_tree.assemble(self.host, self.repo, 'newest').root
		self.assertTrue(root.startswith(os.path.join(self.build, 'linux-source-7.10/tree')))
