# SPDX-License-Identifier: GPL-2.0
"""The newest kernel source that Debian packages, whatever release this machine runs.

KSRC=newest. Debian has newer kernels in backports, testing and unstable than in
the release that is installed. apt fetches them with a configuration of its own
below build/, so nothing of the machine's is changed, and no privileges are needed.
The mirror is the one that the machine itself uses.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Tuple

from lib import files, packages
from lib.host import Host, Output, OverlayError
from overlay import debian
from overlay.base import Base, check, default_base, need_space, unpack

WORD = 'newest'            # as in KSRC=newest
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
SUITES = ('stable-backports', 'testing', 'unstable')
DAY = 24 * 60 * 60
_PACKAGE = re.compile(r'linux-source-(\d+)\.(\d+)')
NEEDED = (packages.APT, packages.Requirement(KEYRING, 'debian-archive-keyring'),
	  packages.Requirement('dpkg-deb', 'dpkg'), packages.Requirement('xz', 'xz-utils'))


@dataclass(frozen=True)
class Package:
	"""One version of a source package."""
	name: str      # linux-source-7.3
	version: str   # 7.3.4-1

	def number(self) -> Tuple[int, int]:
		found = _PACKAGE.fullmatch(self.name)
		assert found, self.name
		return int(found[1]), int(found[2])

	def folder(self, build: str) -> str:
		"""Where it lies when unpacked; make(1) takes no colons, tildes and the like."""
		return os.path.join(build, self.name,
				    'base-' + re.sub(r'[^\w.]', '-', self.version))


class Apt:
	"""apt with lists, cache and sources of its own, in a folder."""

	def __init__(self, host: Host, folder: str) -> None:
		self.host = host
		self.folder = folder
		self.config = os.path.join(folder, 'apt.conf')
		self.sources = os.path.join(folder, 'debian.sources')
		self.lists = os.path.join(folder, 'state', 'lists')
		if not host.which('apt-get'):
			raise OverlayError('KSRC=newest needs apt: on other systems than Debian '
					   'name a tree with KSRC=/path/to/linux')
		# How to get to a mirror is the machine's business: proxies, timeouts.
		machine = self._ask('machine', own=False)
		self.mirror, self.ways = machine['mirror'], machine['ways']
		if not self.mirror:
			raise OverlayError('KSRC=newest: apt knows of no Debian archive: run '
					   '`sudo apt-get update`, or name a tree with '
					   'KSRC=/path/to/linux')

	def _ask(self, *words: str, own: bool = True) -> Any:
		"""What python3-apt says, of our lists or of the machine's."""
		command = [debian.PYTHON, '-B', os.path.realpath(debian.__file__), *words]
		done = self.run(*command) if own else self.host.capture(command)
		try:
			return json.loads(done.text.strip().splitlines()[-1])
		except (ValueError, IndexError):
			lines = done.text.strip().splitlines() or ['no reason given']
			raise OverlayError(f'apt cannot be asked for its {words[0]}: {lines[-1]}') from None

	def _configure(self) -> None:
		for path in (os.path.join(self.lists, 'partial'),
			     os.path.join(self.folder, 'cache', 'archives', 'partial')):
			os.makedirs(path, exist_ok=True)
		status = os.path.join(self.folder, 'status')
		settings = {
			'Dir::Etc::main': '/dev/null', 'Dir::Etc::parts': '/dev/null',
			'Dir::Etc::preferences': '/dev/null', 'Dir::Etc::preferencesparts': '/dev/null',
			'Dir::Etc::sourcelist': self.sources, 'Dir::Etc::sourceparts': '/dev/null',
			'Dir::State': os.path.join(self.folder, 'state'), 'Dir::State::status': status,
			'Dir::Cache': os.path.join(self.folder, 'cache'),
			'APT::Sandbox::User': 'root',
			'Acquire::Languages': 'none', 'Acquire::Retries': '1',
			# A mirror that is behind still serves what Debian has signed.
			'Acquire::Check-Valid-Until': 'false',
		}
		files.write(status, '')
		files.write(self.config, ''.join(f'{key} "{value}";\n' for key, value
						 in {**self.ways, **settings}.items()))

	def run(self, *words: str, cwd: Optional[str] = None) -> Output:
		return self.host.capture(['env', 'LC_ALL=C', f'APT_CONFIG={self.config}', *words], cwd=cwd)

	def _update(self, suites: List[str], *options: str) -> Output:
		files.write(self.sources,
			    f'Types: deb\nURIs: {self.mirror}\nSuites: {" ".join(suites)}\n'
			    f'Components: main\nSigned-By: {KEYRING}\n')
		return self.run('apt-get', '-q', *options, 'update')

	def newest(self) -> Package:
		"""Ask the mirror.

		Some caches serve what is behind a suite's alias for weeks after the
		suite itself has moved on. So the alias only tells the suite's name.
		"""
		self._configure()
		done = self._update(list(SUITES), '-o',
				    'Acquire::IndexTargets::deb::Packages::DefaultEnabled=false')
		names = self._ask('codenames')
		if names:
			done = self._update(names)
		if not names or 'Failed to fetch' in done.text:
			raise OverlayError(f'the newest kernel of Debian could not be looked up: {reason(done)}')
		found = {name: versions for name, versions in self._ask('versions', 'linux-source-').items()
			 if _PACKAGE.fullmatch(name)}
		if not found:
			raise OverlayError(f'{", ".join(names)} have no package linux-source-X.Y: '
					   'name a tree with KSRC=/path/to/linux')
		name = max(found, key=lambda name: Package(name, '').number())
		return Package(name, found[name][0])

	def download(self, package: Package, folder: str) -> str:
		"""Path of the package's file, below the folder."""
		done = self.run('apt-get', '-q', 'download', f'{package.name}={package.version}', cwd=folder)
		files = [name for name in os.listdir(folder) if name.endswith('.deb')]
		if done.status or len(files) != 1:
			raise OverlayError(f'{package.name} {package.version} could not be fetched: {reason(done)}')
		return os.path.join(folder, files[0])


def reason(done: Output) -> str:
	"""Why a command of apt or dpkg failed, in one line that names no mirror."""
	lines = [re.sub(r'\S*://\S*\s*', '', line[2:]).strip() for line in done.text.splitlines()
		 if re.match('[EW]: ', line)]
	return lines[0] if lines else f'status {done.status} and no reason given'


def unpacked(build: str) -> List[Tuple[Tuple[int, int], str]]:
	"""(version, folder) of each base below build/, the newest last."""
	found: List[Tuple[Tuple[int, int], str]] = []
	for name in os.listdir(build):
		if _PACKAGE.fullmatch(name) and name != packages.DEFAULT_SOURCE:
			for entry in os.listdir(os.path.join(build, name)):
				if entry.startswith('base-'):
					found.append((Package(name, '').number(),
						      os.path.join(build, name, entry)))
	return sorted(found)


def _read_note(note: str, now: float) -> Optional[Package]:
	"""What was found less than a day ago."""
	try:
		if not 0 <= now - os.stat(note).st_mtime < DAY:
			return None
		words = files.read(note).split()
	except OSError:
		return None
	if len(words) != 2 or not _PACKAGE.fullmatch(words[0]):
		return None
	return Package(*words)


def _unpack(host: Host, apt: Apt, package: Package, build: str, lock_fd: int) -> None:
	"""Fetch and unpack; the folder appears when it is complete."""
	root = package.folder(build)
	folder = os.path.dirname(root)
	need_space(host, build)
	os.makedirs(folder, exist_ok=True)
	for entry in os.listdir(folder):
		if entry in ('unpack', 'fetch'):
			shutil.rmtree(os.path.join(folder, entry))
	fetch = os.path.join(folder, 'fetch')
	os.mkdir(fetch)
	try:
		host.say(f'fetching {package.name} {package.version}')
		file = apt.download(package, fetch)
		done = host.capture(['dpkg-deb', '-x', file, fetch], keep_fds=(lock_fd,))
		tarball = os.path.join(fetch, 'usr/src', f'{package.name}.tar.xz')
		if done.status or not os.path.exists(tarball):
			raise OverlayError(f'{os.path.basename(file)} cannot be unpacked: ' +
					   (reason(done) if done.status else 'it holds no source'))
		unpack(host, tarball, root, lock_fd)
	finally:
		shutil.rmtree(fetch, ignore_errors=True)
		if not os.listdir(folder):
			os.rmdir(folder)
	for entry in os.listdir(folder):
		old = os.path.join(folder, entry)
		if entry.startswith('base-') and old != root:
			shutil.rmtree(old)


def newest_base(host: Host, build: str, lock_fd: int,
		clock: Callable[[], float] = time.time) -> Base:
	"""The newest base that Debian has, or the newest that is here if nobody can say."""
	note = os.path.join(build, 'newest')
	package = _read_note(note, clock())
	try:
		if package is None or not os.path.isdir(package.folder(build)):
			packages.ensure(host, NEEDED)
			apt = Apt(host, os.path.join(build, 'apt'))
			host.say('looking for the newest kernel source of Debian')
			package = apt.newest()
			if package.number() > packages.default_number() and \
			   not os.path.isdir(package.folder(build)):
				_unpack(host, apt, package, build, lock_fd)
			files.write(note, f'{package.name} {package.version}\n')
	except OverlayError as e:
		found = unpacked(build)
		if not found:
			raise
		host.say(f'{e}; using {found[-1][1]}')
		root = found[-1][1]
		return check(root, os.path.basename(os.path.dirname(root)))
	if package.number() <= packages.default_number():
		return default_base(host, build, lock_fd)
	return check(package.folder(build), package.name)
