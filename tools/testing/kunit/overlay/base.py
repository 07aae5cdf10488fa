# SPDX-License-Identifier: GPL-2.0
"""The base tree: Debian's packaged source or a tree that the user names."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Set, Tuple

from lib import files, packages
from lib.host import Host, OverlayError

OLDEST = (6, 12)
HEADER = 'include/linux/bpf_mem_alloc.h'
ALLOCATOR = 'kernel/bpf/memalloc.c'
# Bytes: the unpacked source is 1.7 GiB, its forest of links another 0.25.
SPACE_FOR_SOURCE = 5 * 2**29

# Debian's source package ignores all that is at the top, for packaging. These
# patterns come before those of .gitignore files.
_TOP_IS_SOURCE = [f'--exclude=!/{name}' for name in (
	'*/', 'COPYING', 'CREDITS', 'Kbuild', 'Kconfig', 'MAINTAINERS', 'Makefile', 'README')]

# Files that only a build inside the source tree leaves behind.
_BUILT_IN_PLACE = ('.config', 'include/config', 'include/generated', 'vmlinux')


@dataclass(frozen=True)
class Base:
	"""A base tree, checked to be one that the overlay can be laid over."""
	root: str                  # absolute path, never written to
	name: str                  # names its folder below build/
	version: Tuple[int, int]

	def label(self) -> str:
		return f'{self.root} (Linux {self.version[0]}.{self.version[1]})'


def read_version(root: str) -> Optional[Tuple[int, int]]:
	"""(VERSION, PATCHLEVEL) of a kernel tree, None if this is not one."""
	head = files.read(os.path.join(root, 'Makefile'), '')[:4096]
	found = [re.search(rf'^{word}\s*=\s*(\d+)\s*$', head, re.M)
		 for word in ('VERSION', 'PATCHLEVEL')]
	if found[0] is None or found[1] is None:
		return None
	return int(found[0][1]), int(found[1][1])


def has_uml_smp(root: str) -> bool:
	"""Whether a kernel tree has User-Mode Linux with several CPUs."""
	return 'config SMP' in files.read(os.path.join(root, 'arch/um/Kconfig'), '').splitlines()


def check(root: str, name: str) -> Base:
	"""Refuse what is no kernel tree, or one that is too old."""
	if not os.path.isdir(root):
		raise OverlayError(f'KSRC={root} is not a folder: name the top folder of a kernel tree')
	version = read_version(root)
	if version is None or not os.path.isfile(os.path.join(root, 'Kbuild')):
		raise OverlayError(f'{root} is not a kernel source tree: name the folder '
				   'that holds the kernel\'s Makefile and Kbuild')
	if version < OLDEST:
		raise OverlayError(f'{root} is Linux {version[0]}.{version[1]}: '
				   f'{OLDEST[0]}.{OLDEST[1]} or newer is needed')
	for path in (HEADER, ALLOCATOR, 'tools/testing/kunit/kunit.py'):
		if not os.path.isfile(os.path.join(root, path)):
			raise OverlayError(f'{root} has no {path}: a complete kernel tree is needed')
	return Base(root, name, version)


def user_base(ksrc: str) -> Base:
	"""The tree that KSRC names. Two trees never share a folder below build/."""
	root = os.path.realpath(os.path.expanduser(ksrc))
	digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
	return check(root, f'{os.path.basename(root) or "root"}-{digest}')


def default_base(host: Host, build: str, lock_fd: int,
		 tarball: str = packages.DEFAULT_TARBALL) -> Base:
	"""Debian's source package, unpacked once into build/<package>/base-*.

	The folder's name carries the tarball's identity and appears by rename, so
	that it exists only when complete, and an upgraded package gets a new one.
	"""
	name = packages.DEFAULT_SOURCE
	packages.ensure(host, packages.SOURCE)
	info = os.stat(tarball)
	folder = os.path.join(build, name)
	root = os.path.join(folder, f'base-{info.st_size:x}-{info.st_mtime_ns:x}')
	if not os.path.isdir(root):
		os.makedirs(folder, exist_ok=True)
		for entry in os.listdir(folder):
			if entry == 'unpack' or entry.startswith('base-'):
				shutil.rmtree(os.path.join(folder, entry))
		unpack(host, tarball, root, lock_fd)
	return check(root, name)


def need_space(host: Host, folder: str) -> None:
	"""Refuse to begin what a full disk would end."""
	free = host.free_bytes(folder)
	if free < SPACE_FOR_SOURCE:
		raise OverlayError(f'{folder}: {free >> 20} MiB free, {SPACE_FOR_SOURCE >> 20} MiB '
				   'are needed to unpack the kernel source: free some disk space')


def unpack(host: Host, tarball: str, root: str, lock_fd: int) -> None:
	"""Unpack a kernel source; the folder appears when it is complete."""
	folder = os.path.dirname(root)
	need_space(host, folder)
	host.say(f'unpacking {tarball}')
	work = os.path.join(folder, 'unpack')
	os.mkdir(work)
	try:
		# Files take the present time (-m): sources of an upgraded package
		# must be newer than what was built from the previous one.
		done = host.capture(['tar', '-xmf', tarball, '-C', work, '--strip-components=1'],
				    keep_fds=(lock_fd,))
		if done.status:
			lines = done.text.strip().splitlines() or ['no reason given']
			raise OverlayError(f'{tarball} cannot be unpacked: {lines[0]}')
		os.rename(work, root)
	except BaseException:
		shutil.rmtree(work, ignore_errors=True)
		raise


def walk(root: str, skip: Optional[str] = None) -> Dict[str, bool]:
	"""Relative paths of all files below root -> is it a symbolic link.

	Leaves out .git folders and the folder `skip` (absolute), which is how a
	checkout of ours inside the user's tree is kept from swallowing itself.
	"""
	paths: Dict[str, bool] = {}
	folders = ['']
	while folders:
		folder = folders.pop()
		with os.scandir(os.path.join(root, folder)) as entries:
			for entry in entries:
				path = f'{folder}/{entry.name}' if folder else entry.name
				if not entry.is_dir(follow_symlinks=False):
					paths[path] = entry.is_symlink()
				elif entry.name != '.git' and entry.path != skip:
					folders.append(path)
	return paths


def git_files(host: Host, root: str, git_dir: Optional[str] = None,
	      excludes: Sequence[str] = ()) -> Optional[Set[str]]:
	"""What git takes for source files: tracked, or not matched by .gitignore.

	With git_dir, a scratch repository serves a folder that is none itself.
	None if git cannot say. Never writes below root.
	"""
	if not host.which('git'):
		return None
	# The folder may belong to somebody else, and reading it is all we do.
	command = ['git', '-c', 'safe.directory=*', '-c', 'core.fsmonitor=false']
	if git_dir:
		if host.capture(['git', 'init', '-q', '--bare', git_dir]).status:
			return None
		command += ['--git-dir', git_dir, '--work-tree', root]
	listing = host.capture(command + ['ls-files', '-z', '--cached', '--others',
					  '--exclude-standard', *excludes], cwd=root,
			       env={**os.environ, 'GIT_OPTIONAL_LOCKS': '0'})
	if listing.status:
		return None
	return set(listing.text.split('\0'))


def list_files(host: Host, base: Base, scratch: str, repo: str) -> Dict[str, bool]:
	"""Source files of the base, as walk() does; products of a build are passed over.

	kbuild refuses to build elsewhere from a source tree with products in it,
	and would take stale objects for its own.
	"""
	paths = walk(base.root, skip=repo)
	if os.path.exists(os.path.join(base.root, '.git')):
		known = git_files(host, base.root, excludes=_TOP_IS_SOURCE)
	elif any(os.path.lexists(os.path.join(base.root, p)) for p in _BUILT_IN_PLACE):
		known = git_files(host, base.root, os.path.join(scratch, 'scratch.git'),
				  _TOP_IS_SOURCE)
	else:
		return paths
	if known is None or not {'Makefile', 'Kbuild', ALLOCATOR} <= known:
		raise OverlayError(f'git cannot list {base.root}, which tells source from build products: '
				   'install git, or name a tree that is clean and has no .git')
	return {p: link for p, link in paths.items() if p in known}


def _code_only(text: str) -> str:
	"""C text without comments, preprocessor lines and strings."""
	text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
	text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
	return re.sub(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', '', text, flags=re.M)


def functions(header: str) -> Dict[str, bool]:
	"""Functions that the text of a header offers: name -> has its body there."""
	text = _code_only(header)
	while True:
		flat = re.sub(r'\{[^{}]*\}', ' \0;', text)
		if flat == text:
			break
		text = flat
	found: Dict[str, bool] = {}
	for statement in text.split(';'):
		call = re.match(r'\s*[\w\s*]*?\b([a-z_]\w*)\s*\(', statement)
		words = statement.split('(')[0].split()
		if call is None or len(words) < 2 or 'typedef' in words:
			continue
		found[call[1]] = found.get(call[1], False) or '\0' in statement
	return found


def defined_in(source: str) -> Set[str]:
	"""Names of the functions that a C file defines."""
	return {name for name, body in functions(source).items() if body}


def check_interface(base: Base, ours: Dict[str, str]) -> None:
	"""Every function of the base's header must be one that we provide too.

	A newer kernel calls what its own header declares: better to name the
	missing function here than to fail at the end of a long build.
	ours: path in the tree -> path of our file.
	"""
	if HEADER not in ours and ALLOCATOR not in ours:
		return
	wanted = functions(files.read(os.path.join(base.root, HEADER)))
	header = ours.get(HEADER, os.path.join(base.root, HEADER))
	declared = functions(files.read(header))
	defined: Set[str] = {n for n, body in declared.items() if body}
	for path, file in ours.items():
		if re.fullmatch(r'kernel/bpf/[^/]+\.c', path):
			defined |= defined_in(files.read(file))
	for name in sorted(wanted):
		if name not in declared:
			lack = f'our {HEADER} does not declare'
		elif name not in defined and ALLOCATOR in ours:
			lack = 'no file of ours in kernel/bpf/ defines'
		else:
			continue
		raise OverlayError(f'{base.label()} declares {name}() in {HEADER}, which {lack}: '
				   'use an older base, or provide the function')
