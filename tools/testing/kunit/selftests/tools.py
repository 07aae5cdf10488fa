# SPDX-License-Identifier: GPL-2.0
"""The compilers and other programs that `make selftests` works with."""

import re
from dataclasses import dataclass
from typing import List, Tuple

from lib import packages
from lib.host import Host, OverlayError
from lib.packages import Requirement

# BPF programs of 6.12 use what clang has since this release; where there is
# none as new, Debian's CLANG is installed.
OLDEST_CLANG = 18
CLANG = 19
_NEWEST_CLANG = 40   # no release of that number is in sight

@dataclass(frozen=True)
class Clang:
	"""A clang that compiles for BPF, by the suffix of its commands."""
	suffix: str    # '-19', or nothing

	def words(self) -> Tuple[str, ...]:
		"""Variables for the make of the selftests."""
		return (f'CLANG=clang{self.suffix}', f'LLC=llc{self.suffix}',
			f'LLVM_STRIP=llvm-strip{self.suffix}',
			f'LLVM_CONFIG=llvm-config{self.suffix}')


def _complete(host: Host, suffix: str) -> bool:
	return all(host.which(command + suffix) for command in ('clang', 'llc', 'llvm-strip'))


def find_clang(host: Host) -> Tuple[Clang, ...]:
	"""The newest usable clang; nothing if all are too old."""
	for number in range(_NEWEST_CLANG, OLDEST_CLANG - 1, -1):
		if _complete(host, f'-{number}'):
			return (Clang(f'-{number}'),)
	if _complete(host, ''):
		found = re.search(r'clang version (\d+)', host.capture(['clang', '--version']).text)
		if found and int(found[1]) >= OLDEST_CLANG:
			return (Clang(''),)
	return ()


def requirements(host: Host) -> List[Requirement]:
	"""What has to be installed, the kernel's source excepted."""
	needed = [*packages.build('x86_64'), *packages.qemu('x86_64'), *packages.ELF,
		  *packages.CAPABILITIES, *packages.GUEST, packages.RICH]
	if not find_clang(host):
		needed += [Requirement(f'clang-{CLANG}', f'clang-{CLANG}'),
			   Requirement(f'llc-{CLANG}', f'llvm-{CLANG}')]
	return needed


def clang(host: Host) -> Clang:
	found = find_clang(host)
	if not found:
		raise OverlayError(f'no clang of release {OLDEST_CLANG} or newer with llc and llvm-strip: '
				   f'install clang-{CLANG} and llvm-{CLANG}')
	return found[0]


def versions(host: Host) -> str:
	"""What the tools call themselves, for the key of cached results."""
	lines = [host.capture([command, '--version']).text.splitlines()[:1]
		 for command in (f'clang{clang(host).suffix}', 'gcc', 'ld', 'pahole',
				 'qemu-system-x86_64')]
	return '\n'.join(line[0] if line else '' for line in lines)
