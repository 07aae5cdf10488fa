# SPDX-License-Identifier: GPL-2.0
"""The file system of a guest: busybox, programs and their libraries, packed."""

import os
import re
import shutil
import subprocess
from typing import Iterable, Mapping, Sequence, Set

from lib.host import Host, OverlayError


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


def put(source: str, target: str) -> str:
	"""A copy of a file, in a folder that need not be there yet; its path."""
	os.makedirs(os.path.dirname(target), exist_ok=True)
	shutil.copy(source, target)
	return target


def program(host: Host, name: str) -> str:
	"""The path of a command that set-up has seen to."""
	path = host.which(name)
	assert path, name
	return path


def lay_out(host: Host, root: str, folders: Sequence[str], programs: Mapping[str, str],
	    scripts: Mapping[str, str]) -> None:
	"""A new file system: folders, busybox, programs with libraries, scripts.

	programs, scripts: path in the guest -> file here.
	"""
	shutil.rmtree(root, ignore_errors=True)
	for folder in folders:
		os.makedirs(os.path.join(root, folder))
	busybox = program(host, 'busybox')
	put(busybox, os.path.join(root, 'bin/busybox'))
	# The interpreter of init, which makes the other links.
	os.symlink('busybox', os.path.join(root, 'bin/sh'))
	for target, source in programs.items():
		put(source, os.path.join(root, target))
	for library in libraries(host, [busybox, *programs.values()]):
		put(library, root + library)
	for target, source in scripts.items():
		os.chmod(put(source, os.path.join(root, target)), 0o755)


def pack(root: str, image: str) -> None:
	"""The folder as an initramfs: uncompressed, which boots faster in an emulator.

	The folder is gone after that.
	"""
	names = sorted(os.path.relpath(os.path.join(folder, name), root)
		       for folder, folders, files in os.walk(root) for name in folders + files)
	with open(image, 'wb') as out:
		done = subprocess.run(['cpio', '--quiet', '-o', '-H', 'newc', '-R', '0:0'],
				      input='\n'.join(names).encode() + b'\n', stdout=out,
				      stderr=subprocess.PIPE, cwd=root, check=False)
	if done.returncode:
		raise OverlayError(f'{image}: cpio: {done.stderr.decode(errors="replace").strip()}')
	shutil.rmtree(root)
