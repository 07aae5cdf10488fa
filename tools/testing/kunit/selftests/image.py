# SPDX-License-Identifier: GPL-2.0
"""The guest's file system: busybox, the selftests, their libraries, a plan."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Iterable, Sequence, Set

from lib.host import Host, OverlayError
from selftests.build import BPFTOOL, MODULE, Kernel
from selftests.choice import FOLDER, PROGRAMS

_HERE = os.path.dirname(os.path.realpath(__file__))
_FOLDERS = ('bin', 'dev', 'proc', 'sys', 'tmp', 'root', 'etc', 'mnt', 'selftests')


@dataclass(frozen=True)
class Step:
	"""One line of the plan that the guest carries out."""
	name: str
	limit: int      # seconds of guest time
	command: str    # for its shell, in the folder of the selftests

	def line(self) -> str:
		return f'{self.name} {self.limit} {self.command}\n'


def libraries(host: Host, binaries: Iterable[str]) -> Set[str]:
	"""Paths of the shared objects that these programs are linked with."""
	found: Set[str] = set()
	for binary in binaries:
		listing = host.capture(['ldd', binary]).text
		missing = re.search(r'^\s*(\S+) => not found', listing, re.M)
		if missing:
			raise OverlayError(f'{binary} needs {missing[1]}, which is not there: '
					   'remove build/ and run it again')
		found |= set(re.findall(r'(?:=> |^\s*)(/\S+) \(0x', listing, re.M))
	return found


def _unwinder(host: Host) -> str:
	"""What glibc loads when a thread is cancelled or ends itself."""
	name = 'libgcc_s.so.1'
	path = os.path.realpath(host.capture(['gcc', f'-print-file-name={name}']).text.strip())
	if not os.path.exists(path):
		raise OverlayError(f'gcc has no {name}: install libgcc-s1')
	return path


def _strip(host: Host, path: str) -> None:
	if host.capture(['strip', '-g', path]).status:
		raise OverlayError(f'{path} cannot be stripped: remove build/ and run it again')


def _put(host: Host, source: str, target: str, strip: bool = False) -> None:
	os.makedirs(os.path.dirname(target), exist_ok=True)
	shutil.copy(source, target)
	if strip:
		_strip(host, target)


def stage(host: Host, user: str, kernel: Kernel, steps: Sequence[Step], root: str) -> None:
	"""Lay out the file system in a folder."""
	built = os.path.join(user, FOLDER)
	busybox = host.which('busybox')
	assert busybox
	for folder in _FOLDERS:
		os.makedirs(os.path.join(root, folder))
	_put(host, busybox, os.path.join(root, 'bin/busybox'))
	# The interpreter of init, which makes the other links.
	os.symlink('busybox', os.path.join(root, 'bin/sh'))
	binaries = [os.path.join(built, name) for name in ('test_progs', 'bench', *PROGRAMS)]
	binaries.append(os.path.join(built, BPFTOOL))
	for binary in binaries:
		# As the tests find it: bpftool lies beside them.
		_put(host, binary, os.path.join(root, 'selftests', os.path.basename(binary)), True)
	# A test runs a copy of rm by another name, which a busybox would not know.
	remover = host.which('rm')
	assert remover
	_put(host, remover, os.path.join(root, 'bin/rm'))
	for library in libraries(host, [busybox, remover, *binaries]) | {_unwinder(host)}:
		_put(host, library, root + library)
	for name in os.listdir(built):
		if name.endswith('.bpf.o'):
			_put(host, os.path.join(built, name), os.path.join(root, 'selftests', name))
	_put(host, kernel.module, os.path.join(root, 'selftests', MODULE))
	_put(host, os.path.join(_HERE, 'sysctl.sh'),
	     os.path.join(root, 'selftests', 'sysctl.sh'))
	_put(host, os.path.join(_HERE, 'init.sh'), os.path.join(root, 'init'))
	for script in ('init', 'selftests/sysctl.sh'):
		os.chmod(os.path.join(root, script), 0o755)
	with open(os.path.join(root, 'plan'), 'w', encoding='utf-8') as f:
		f.writelines(step.line() for step in steps)


def pack(root: str, image: str) -> None:
	"""The folder as an initramfs: uncompressed, which boots faster in an emulator."""
	names = sorted(os.path.relpath(os.path.join(folder, name), root)
		       for folder, folders, files in os.walk(root) for name in folders + files)
	with open(image, 'wb') as out:
		done = subprocess.run(['cpio', '--quiet', '-o', '-H', 'newc', '-R', '0:0'],
				      input='\n'.join(names).encode() + b'\n', stdout=out,
				      stderr=subprocess.PIPE, cwd=root, check=False)
	if done.returncode:
		raise OverlayError(f'{image}: cpio: {done.stderr.decode(errors="replace").strip()}')


def make(host: Host, user: str, kernel: Kernel, steps: Sequence[Step], image: str) -> None:
	root = image + '.d'
	shutil.rmtree(root, ignore_errors=True)
	stage(host, user, kernel, steps, root)
	pack(root, image)
	shutil.rmtree(root)
