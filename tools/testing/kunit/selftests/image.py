# SPDX-License-Identifier: GPL-2.0
"""The guest's file system: busybox, the selftests, their libraries, a plan."""

import os
from dataclasses import dataclass
from typing import Sequence

from lib import files, initramfs
from lib.host import Host, OverlayError
from lib.kernel import Build
from selftests.build import BPFTOOL, MODULE, module
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


def stage(host: Host, user: str, target: Build, steps: Sequence[Step], root: str) -> None:
	"""Lay out the file system in a folder."""
	built = os.path.join(user, FOLDER)
	tests = [os.path.join(built, name) for name in ('test_progs', 'bench', *PROGRAMS)]
	tests.append(os.path.join(built, BPFTOOL))
	# As the tests find it: bpftool lies beside them.
	programs = {f'selftests/{os.path.basename(path)}': path for path in tests}
	initramfs.lay_out(host, root, _FOLDERS, {
		# A test runs a copy of rm by another name, which a busybox would not know.
		'bin/rm': initramfs.program(host, 'rm'), **programs}, {
		'selftests/sysctl.sh': os.path.join(_HERE, 'sysctl.sh'),
		'init': os.path.join(_HERE, 'init.sh')})
	for path in programs:
		_strip(host, os.path.join(root, path))
	unwinder = _unwinder(host)
	initramfs.put(unwinder, root + unwinder)
	for name in os.listdir(built):
		if name.endswith('.bpf.o'):
			initramfs.put(os.path.join(built, name), os.path.join(root, 'selftests', name))
	initramfs.put(module(target), os.path.join(root, 'selftests', MODULE))
	files.write(os.path.join(root, 'plan'), ''.join(step.line() for step in steps))


def make(host: Host, user: str, target: Build, steps: Sequence[Step], image: str) -> None:
	root = image + '.d'
	stage(host, user, target, steps, root)
	initramfs.pack(root, image)
