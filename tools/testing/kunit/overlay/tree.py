# SPDX-License-Identifier: GPL-2.0
"""Assembles the kernel tree: the base with our files laid over it.

Each call works out anew what every path of the tree must be, compares that with
what is there, and repairs the difference. An interrupted call is thus completed
by the next one, and a new file, a changed patch or another base is always seen.
Two notes are kept beside the tree: which paths were ever laid, to know what to
remove, and a digest of the last completed plan, which saves reading each link.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Set, Tuple, Union

from lib import files, packages
from lib.files import REPO, TOOL, locked
from lib.host import Host, OverlayError
from overlay.base import (OLDEST, Base, check_interface, default_base, git_files, list_files,
			  user_base, walk)
from overlay.newest import newest_base
from overlay.newest import WORD as NEWEST
from overlay.peer import peer_files

# Top folders of the repository that correspond to the kernel's.
KERNEL_FOLDERS = ('include', 'lib', 'kernel', 'Documentation', 'mm', 'net',
		  'samples', 'scripts', 'arch', 'tools')
# Files at the top of a kernel tree that we have patches for. Whatever else lies at
# the top of the repository (README.md, Makefile, COPYING, mails with patches) is not
# the kernel's.
KERNEL_FILES = ('MAINTAINERS',)
# What an editor, Python or patch(1) leaves behind, for checkouts without git.
_LITTER = re.compile(r'(^|/)__pycache__/|\.(orig|rej|pyc|swp)$|~$')
_PATCH_NAME = re.compile(r'(?P<path>.*?)(\.(?P<version>\d[\d.]*))?\.patch')


@dataclass(frozen=True)
class Content:
	"""A file that is really written, not linked."""
	data: bytes
	executable: bool


# What a path of the tree must be: the text of a symbolic link, or a file.
Entry = Union[str, Content]


@dataclass(frozen=True)
class Tree:
	"""An assembled tree."""
	root: str     # absolute path
	folder: str   # build/<base>, which holds the tree and its kernel builds
	base: Base


@dataclass(frozen=True)
class Overlay:
	"""The repository's kernel files, keyed by path in the kernel tree."""
	files: Dict[str, str]     # -> our file, which replaces or adds
	patches: Dict[str, str]   # -> our patch, which changes the base's file


def patch_for(name: str) -> Tuple[str, Tuple[int, int]]:
	"""The file that a patch of this name changes, and from which version on.

	FILE.patch serves from the oldest version on that a base may have.
	"""
	found = _PATCH_NAME.fullmatch(name)
	assert found, name
	if found['version'] is None:
		return found['path'], OLDEST
	numbers = re.fullmatch(r'(0|[1-9]\d*)\.(0|[1-9]\d*)', found['version'])
	if numbers is None:
		raise OverlayError(f'{name}: {found["version"]} is no version of Linux: '
				   'name it FILE.patch, or FILE.7.3.patch for 7.3 and newer')
	version = int(numbers[1]), int(numbers[2])
	if version <= OLDEST:
		raise OverlayError(f'{name}: what serves {version[0]}.{version[1]} is '
				   f'{found["path"]}.patch: rename it, or remove it')
	return found['path'], version


def in_kernel(path: str) -> bool:
	"""Whether a file of the repository belongs to the overlay."""
	if '/' not in path:
		return path.endswith('.patch') and path.split('.')[0] in KERNEL_FILES
	return path.split('/')[0] in KERNEL_FOLDERS and not path.startswith(TOOL + '/')


def read_overlay(host: Host, repo: str, version: Tuple[int, int]) -> Overlay:
	"""Our kernel files for a base of this version.

	Of several patches to a file the one for the newest version counts that is
	not above the base's.
	"""
	folders = [f for f in KERNEL_FOLDERS if os.path.isdir(os.path.join(repo, f))]
	paths = [*(f'{f}/{p}' for f in folders for p in walk(os.path.join(repo, f))),
		 *(name for name in os.listdir(repo) if os.path.isfile(os.path.join(repo, name)))]
	known = None
	if os.path.exists(os.path.join(repo, '.git')):
		known = git_files(host, repo)
	files: Dict[str, str] = {}
	patches: Dict[str, str] = {}
	since: Dict[str, Tuple[int, int]] = {}
	patched_ever: Dict[str, str] = {}
	for path in paths:
		if not in_kernel(path) or _LITTER.search(path):
			continue
		if known is not None and path not in known:
			continue
		full = os.path.join(repo, path)
		if path.endswith('.patch'):
			target, first = patch_for(path)
			patched_ever[target] = path
			if since.get(target, (0, 0)) < first <= version:
				since[target] = first
				patches[target] = full
		else:
			files[path] = full
	for path in sorted(files.keys() & patched_ever.keys()):
		raise OverlayError(f'{path} and {patched_ever[path]} both exist: keep one of them')
	return Overlay(files, patches)


def already_applied(host: Host, root: str, path: str, patch: str) -> bool:
	"""Whether a tree holds the result of this patch, after `make install` say."""
	target = os.path.join(root, path)
	return os.path.isfile(target) and not host.capture(
		['patch', '--dry-run', '--reverse', '--force', '--fuzz=0', '--silent',
		 '-o', os.devnull, target, patch]).status


def patched(host: Host, base: Base, path: str, patch: str, scratch: str) -> Content:
	"""The base's file with our patch applied, worked out in the scratch folder."""
	source = os.path.join(base.root, path)
	name = os.path.join(os.path.dirname(path), os.path.basename(patch))
	if not os.path.isfile(source):
		raise OverlayError(f'{name} changes a file that {base.label()} does not have: '
				   'use another base or remove the patch')
	if len(re.findall(rb'^\+\+\+ ', files.read_bytes(patch), re.M)) != 1:
		raise OverlayError(f'{name} must change one file, {path}, and no other')
	with tempfile.TemporaryDirectory(dir=scratch) as work:
		result = os.path.join(work, 'file')
		done = host.capture(['patch', '--fuzz=0', '--force', '--forward',
				     '--no-backup-if-mismatch', '--reject-file=-',
				     '-o', result, source, patch])
		if done.status:
			failed = re.findall(r'^(?:Hunk .*|patch: .*)', done.text, re.M)
			why = failed[0].rstrip('.') if failed else 'patch(1) refused it'
			raise OverlayError(f'{name} does not apply to {base.label()}: {why}; '
					   'use a base that it fits or refresh the patch')
		return Content(files.read_bytes(result), os.access(source, os.X_OK))


def _entry_of_base(base: Base, path: str, is_link: bool) -> Entry:
	full = f'{base.root}/{path}'
	if is_link:
		return os.readlink(full)
	if path.startswith(TOOL + '/'):
		# kunit.py finds its kernel by resolving its own path, so the tool
		# has to be a real file in the tree that it shall build.
		return Content(files.read_bytes(full), os.access(full, os.X_OK))
	return full


def plan(host: Host, repo: str, base: Base, overlay: Overlay,
	 scratch: str) -> Dict[str, Entry]:
	"""What every path of the assembled tree must be."""
	check_interface(base, overlay.files)
	wanted: Dict[str, Entry] = {
		path: _entry_of_base(base, path, is_link) for path, is_link
		in list_files(host, base, scratch, repo).items()}
	for path, file in overlay.files.items():
		wanted[path] = file
	for path, patch in overlay.patches.items():
		if not already_applied(host, base.root, path, patch):
			wanted[path] = patched(host, base, path, patch, scratch)
	for path, data in peer_files(base.root).items():
		wanted[path] = Content(data, False)
	kunitconfig = os.path.join(repo, '.kunitconfig')
	if os.path.isfile(kunitconfig):
		# Where the tree's own kunit.py looks when it is told nothing.
		wanted['.kunit/.kunitconfig'] = kunitconfig
	return wanted


def _is(path: str, want: Entry) -> bool:
	try:
		if isinstance(want, str):
			return os.readlink(path) == want
		info = os.lstat(path)
		if not stat.S_ISREG(info.st_mode) or info.st_size != len(want.data) or \
		   bool(info.st_mode & stat.S_IXUSR) != want.executable:
			return False
		return files.read_bytes(path) == want.data
	except OSError:
		return False


def _put(path: str, want: Entry, scratch: str) -> None:
	"""Make path what it must be; a reader sees the old or the new, no mixture."""
	if isinstance(want, str) and not os.path.lexists(path):
		os.symlink(want, path)
		return
	new = os.path.join(scratch, 'new')
	if os.path.lexists(new):
		os.unlink(new)
	if isinstance(want, str):
		os.symlink(want, new)
	else:
		with open(new, 'wb') as f:
			f.write(want.data)
		os.chmod(new, 0o755 if want.executable else 0o644)
	os.replace(new, path)


def _make_folders(root: str, wanted: Dict[str, Entry]) -> None:
	"""Real folders only: a link to one would lead writes into the base."""
	folders: Set[str] = set()
	for path in wanted:
		folder = os.path.dirname(path)
		while folder not in folders:
			folders.add(folder)
			folder = os.path.dirname(folder)
	for folder in sorted(folders):
		full = os.path.join(root, folder)
		try:
			if stat.S_ISDIR(os.lstat(full).st_mode):
				continue
			os.unlink(full)
		except FileNotFoundError:
			pass
		os.mkdir(full)


def _remove(root: str, path: str) -> None:
	full = os.path.join(root, path)
	parent = os.path.dirname(full)
	if os.path.realpath(parent) != parent or not os.path.lexists(full):
		return
	if os.path.isdir(full) and not os.path.islink(full):
		return
	os.unlink(full)
	while parent != root:
		try:
			os.rmdir(parent)
		except OSError:
			break
		parent = os.path.dirname(parent)


def _digest(wanted: Dict[str, Entry]) -> str:
	"""Identifies all links of a plan; contents are compared every time."""
	lines = [f'{path}\0{want if isinstance(want, str) else ""}'
		 for path, want in wanted.items()]
	return hashlib.sha256(os.fsencode('\0'.join(sorted(lines)))).hexdigest()


def converge(root: str, wanted: Dict[str, Entry], notes: str, scratch: str) -> int:
	"""Turn the folder `root` into what is wanted; number of paths changed.

	notes: folder for `laid`, the paths laid so far (at any moment a superset
	of the truth), and `plan`, the digest of the plan that was completed.
	Whatever else lies in the tree (kernel builds, notes) is left alone.
	"""
	laid_note, plan_note = os.path.join(notes, 'laid'), os.path.join(notes, 'plan')
	digest = _digest(wanted)
	if files.read(plan_note, '', 'surrogateescape') == digest:
		present = walk(root)
		doubtful = [path for path, want in wanted.items()
			    if present.get(path) is not True or not isinstance(want, str)]
		if all(_is(os.path.join(root, path), wanted[path]) for path in doubtful):
			return 0
	else:
		doubtful = list(wanted)
	laid = set(files.read(laid_note, '', 'surrogateescape').split('\0')) - {''}
	files.remove(plan_note)
	if not wanted.keys() <= laid:
		files.write(laid_note, '\0'.join(laid | wanted.keys()))
	changed = 0
	for path in laid - wanted.keys():
		_remove(root, path)
		changed += 1
	_make_folders(root, wanted)
	for path in doubtful:
		full = os.path.join(root, path)
		if not _is(full, wanted[path]):
			_put(full, wanted[path], scratch)
			changed += 1
	if laid != wanted.keys():
		files.write(laid_note, '\0'.join(wanted))
	files.write(plan_note, digest)
	return changed


def prepare_build(repo: str) -> str:
	"""The folder for everything that is made; it must be ours to write to."""
	build = os.path.join(repo, 'build')
	if re.search(r'[\s:]', repo):
		raise OverlayError(f'{repo}: kernels cannot be built below a path with blanks '
				   'or colons: move the checkout')
	try:
		os.makedirs(build, exist_ok=True)
	except OSError as e:
		raise OverlayError(f'{build} cannot be created ({e.strerror}): '
				   'use a checkout that you may write to') from e
	if not os.access(build, os.W_OK | os.X_OK):
		raise OverlayError(f'{build} cannot be written to: change its owner, '
				   'or use a checkout of your own')
	return build


def assemble(host: Host, repo: str, ksrc: Optional[str]) -> Tree:
	"""Bring the assembled tree of this base up to date and return it."""
	build = prepare_build(repo)
	with locked(build, host) as lock_fd:
		if ksrc == NEWEST:
			base = newest_base(host, build, lock_fd)
		elif ksrc:
			base = user_base(ksrc)
		else:
			base = default_base(host, build, lock_fd)
		overlay = read_overlay(host, repo, base.version)
		if overlay.patches:
			packages.ensure(host, packages.PATCH)
		folder = os.path.join(build, base.name)
		os.makedirs(folder, exist_ok=True)
		root = os.path.join(folder, 'tree')
		with tempfile.TemporaryDirectory(prefix='scratch-', dir=folder) as scratch:
			wanted = plan(host, repo, base, overlay, scratch)
			if os.path.isdir(root):
				converge(root, wanted, folder, scratch)
			else:
				host.say(f'assembling {root} from {base.label()}')
				new = root + '.new'
				os.makedirs(new, exist_ok=True)
				try:
					converge(new, wanted, folder, scratch)
				except BaseException:
					shutil.rmtree(new, ignore_errors=True)
					raise
				os.rename(new, root)
	return Tree(root, folder, base)


def commit(host: Host) -> str:
	"""Which commit of ours this is, for reports."""
	done = host.capture(['git', '-C', REPO, 'describe', '--always', '--dirty'])
	return done.text.strip() if not done.status else 'unknown'


def ready(host: Host, needed: Sequence[packages.Requirement]) -> Tree:
	"""What every command begins with: install all that is missing, assemble the tree.

	needed: what the command wants beyond that. KSRC names the base.
	"""
	ksrc = os.environ.get('KSRC') or None
	with locked(prepare_build(REPO), host):
		packages.ensure(host, [*([] if ksrc else packages.SOURCE), *packages.PATCH, *needed])
	packages.use_dist_packages()
	return assemble(host, REPO, ksrc)
