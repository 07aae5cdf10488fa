# SPDX-License-Identifier: GPL-2.0
"""Finds out what is missing on this machine and installs it with apt."""

import os
import sys
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from lib.host import Host, OverlayError

DEFAULT_SOURCE = 'linux-source-6.12'
DEFAULT_TARBALL = f'/usr/src/{DEFAULT_SOURCE}.tar.xz'

@dataclass(frozen=True)
class Requirement:
	"""A command (no slash) or a file (absolute path) and the package with it."""
	probe: str
	package: str

	def met(self, host: Host) -> bool:
		if self.probe.startswith('/'):
			return host.exists(self.probe)
		return host.which(self.probe) is not None


SOURCE = (Requirement(DEFAULT_TARBALL, DEFAULT_SOURCE),
	  Requirement('xz', 'xz-utils'))
PATCH = (Requirement('patch', 'patch'),)
UML = (Requirement('gcc', 'gcc'), Requirement('/usr/include/stdio.h', 'libc6-dev'),
       Requirement('make', 'make'), Requirement('flex', 'flex'),
       Requirement('bison', 'bison'), Requirement('bc', 'bc'),
       Requirement('perl', 'perl'))
# objtool, which every x86 kernel build compiles first, needs libelf.
X86 = (Requirement('/usr/include/gelf.h', 'libelf-dev'),)
MODEL = (Requirement('spin', 'spin'), Requirement('gcc', 'gcc'),
	 Requirement('/usr/include/stdio.h', 'libc6-dev'))
# Where Debian puts Python modules, which other builds of Python do not search.
DIST_PACKAGES = '/usr/lib/python3/dist-packages'
RICH = Requirement(f'{DIST_PACKAGES}/rich/__init__.py', 'python3-rich')
BENCH = (RICH, Requirement(f'{DIST_PACKAGES}/jinja2/__init__.py', 'python3-jinja2'),
	 Requirement(f'{DIST_PACKAGES}/matplotlib/__init__.py', 'python3-matplotlib'))
TUNE = (*BENCH, Requirement('cpio', 'cpio'),
	Requirement(f'{DIST_PACKAGES}/distributed/__init__.py', 'python3-distributed'))
# Debian's own interface to apt, for Debian's own Python.
APT = Requirement(f'{DIST_PACKAGES}/apt/__init__.py', 'python3-apt')
# For kernels with type information, and what is linked with libelf.
ELF = (Requirement('pahole', 'dwarves'), Requirement('/usr/include/gelf.h', 'libelf-dev'),
       Requirement('/usr/include/zlib.h', 'zlib1g-dev'))
CAPABILITIES = (Requirement('/usr/include/sys/capability.h', 'libcap-dev'),)
# For a guest with a file system of its own.
GUEST = (Requirement('busybox', 'busybox-static'), Requirement('cpio', 'cpio'),
	 Requirement('setpriv', 'util-linux'), Requirement('ldd', 'libc-bin'))
LINT = (Requirement('git', 'git'), Requirement('sparse', 'sparse'),
	Requirement('mypy', 'mypy'), Requirement('shellcheck', 'shellcheck'))

_QEMU: Dict[str, Requirement] = {
	arch: Requirement(f'qemu-system-{binary}', f'qemu-system-{package}')
	for arch, binary, package in (
		('x86_64', 'x86_64', 'x86'), ('i386', 'i386', 'x86'),
		('arm', 'arm', 'arm'), ('arm64', 'aarch64', 'arm'),
		('riscv', 'riscv64', 'misc'), ('s390', 's390x', 'misc'),
		('powerpc', 'ppc64', 'ppc'), ('sparc', 'sparc', 'sparc'),
		('alpha', 'alpha', 'misc'), ('m68k', 'm68k', 'misc'),
		('sh', 'sh4eb', 'misc'))
}


def default_number() -> Tuple[int, int]:
	"""Version of the default source."""
	major, minor = DEFAULT_SOURCE.split('-')[-1].split('.')
	return int(major), int(minor)


def use_dist_packages() -> None:
	"""Let this Python find what apt installs, whichever Python it is."""
	if DIST_PACKAGES not in sys.path:
		sys.path.append(DIST_PACKAGES)


def qemu(arch: str) -> Tuple[Requirement, ...]:
	"""What running a kernel of this architecture needs; UML needs nothing."""
	return (_QEMU[arch],) if arch in _QEMU else ()


def build(arch: str) -> Tuple[Requirement, ...]:
	"""What building a kernel of this architecture needs."""
	return UML + (X86 if arch in ('x86_64', 'i386') else ())


def _apt_reason(text: str) -> str:
	errors = [line[3:].strip() for line in text.splitlines() if line.startswith('E: ')]
	return errors[0] if errors else 'no reason given'


def ensure(host: Host, requirements: Sequence[Requirement]) -> None:
	"""Install what is missing, or raise OverlayError with the line to run."""
	missing = [r for r in requirements if not r.met(host)]
	if not missing:
		return
	packages: List[str] = sorted({r.package for r in missing})
	names = ', '.join(os.path.basename(r.probe) for r in missing)
	if not host.which('apt-get'):
		raise OverlayError(f'missing {names}: install them with your package manager '
				   f'(Debian calls the packages {" ".join(packages)})')
	install = ['apt-get', 'install', '-y', '--no-install-recommends'] + packages
	by_hand = 'sudo apt-get update && sudo ' + ' '.join(install)
	prefix: List[str] = []
	if not host.is_root():
		if host.which('sudo') is None or host.capture(['sudo', '-n', 'true']).status:
			raise OverlayError(f'missing {names}: run `{by_hand}`')
		prefix = ['sudo', '-n']
	apt = prefix + ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q',
			'-o', 'DPkg::Lock::Timeout=600', '-o', 'Acquire::http::Timeout=60']
	host.say('installing ' + ' '.join(packages))
	done = host.capture(apt + install[1:])
	if done.status:
		# Old or no package lists are the usual reason, so fetch them once.
		host.say('fetching package lists')
		update = host.capture(apt + ['update'])
		done = host.capture(apt + install[1:])
		if done.status:
			hint = ' (the package lists could not be fetched: is there a network?)' \
				if update.status or 'Failed to fetch' in update.text else ''
			raise OverlayError(f'apt-get could not install {" ".join(packages)}: '
					   f'{_apt_reason(done.text)}{hint}; '
					   f'repair that or run `{by_hand}`')
	still = [r.probe for r in missing if not r.met(host)]
	if still:
		raise OverlayError(f'{", ".join(still)} still missing after installing '
				   f'{" ".join(packages)}: install it by hand')
