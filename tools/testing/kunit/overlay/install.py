# SPDX-License-Identifier: GPL-2.0
"""Lays the overlay into a kernel tree for good (`make install KSRC=/path`).

Copies instead of links, and patches applied, so that the result can be
committed there. Everything is worked out before the first byte is written.
"""

import os
import tempfile
from dataclasses import dataclass
from typing import Dict, List, Optional

from lib import files, packages
from lib.host import Host, OverlayError
from overlay.base import Base, check_interface, user_base
from overlay.newest import WORD as NEWEST
from overlay.tree import Content, Overlay, already_applied, patched, read_overlay


# Of the overlay, what serves only to try it: a tree that it is assembled in needs it,
# one that somebody goes on to develop in does not.
LEFT_OUT = ('kernel/bpf/tests/traces/',)


@dataclass(frozen=True)
class Change:
	"""One path of the user's tree and what will be done to it."""
	path: str
	verb: str          # 'add', 'replace' or 'patch'
	content: Content


def _git(host: Host, root: str, *words: str) -> str:
	done = host.capture(['git', '-c', 'safe.directory=*', '-C', root, *words],
			    env={**os.environ, 'GIT_OPTIONAL_LOCKS': '0'})
	if done.status:
		lines = done.text.strip().splitlines() or ['no reason given']
		raise OverlayError(f'git cannot read {root}: {lines[0]}')
	return done.text


def refuse_dirty(host: Host, root: str, overlay: Overlay) -> None:
	"""Raise unless everything that could be lost is committed."""
	if not os.path.exists(os.path.join(root, '.git')):
		raise OverlayError(f'{root} is no git checkout, so an install could not be undone: '
				   'make it one, or set FORCE=1')
	changed = _git(host, root, 'status', '--porcelain', '--untracked-files=no').splitlines()
	if not changed:
		paths = sorted(overlay.files.keys() | overlay.patches.keys())
		changed = _git(host, root, 'status', '--porcelain', '--untracked-files=all',
			       '--', *paths).splitlines()
	if changed:
		raise OverlayError(f'{root} has uncommitted changes (first: {changed[0][3:]}): '
				   'commit or stash them, or set FORCE=1')


def installed(overlay: Overlay) -> Overlay:
	"""The part of the overlay that is installed."""
	return Overlay({path: file for path, file in overlay.files.items()
			if not path.startswith(LEFT_OUT)}, overlay.patches)


def plan(host: Host, base: Base, overlay: Overlay) -> List[Change]:
	"""Everything that must be written, in order of path; raises if any cannot."""
	check_interface(base, overlay.files)
	changes: Dict[str, Change] = {}
	for path, file in overlay.files.items():
		content = Content(files.read_bytes(file), os.access(file, os.X_OK))
		target = os.path.join(base.root, path)
		verb = 'add'
		if os.path.lexists(target):
			if files.read_bytes(target) == content.data:
				continue
			verb = 'replace'
		changes[path] = Change(path, verb, content)
	with tempfile.TemporaryDirectory() as scratch:
		for path, patch in overlay.patches.items():
			if not already_applied(host, base.root, path, patch):
				changes[path] = Change(path, 'patch',
						       patched(host, base, path, patch, scratch))
	return [changes[path] for path in sorted(changes)]


def write(root: str, changes: List[Change]) -> None:
	"""Write all changes or none: first all new files beside the tree's own,
	which is where a full disk or a missing permission shows, then rename.
	"""
	with tempfile.TemporaryDirectory(prefix='.overlay-install-', dir=root) as stage:
		for number, change in enumerate(changes):
			new = os.path.join(stage, str(number))
			with open(new, 'wb') as f:
				f.write(change.content.data)
			os.chmod(new, 0o755 if change.content.executable else 0o644)
			folder = os.path.dirname(os.path.join(root, change.path))
			while not os.path.isdir(folder):
				folder = os.path.dirname(folder)
			if not os.access(folder, os.W_OK | os.X_OK):
				raise OverlayError(f'{folder} cannot be written to: change its owner')
		for number, change in enumerate(changes):
			target = os.path.join(root, change.path)
			os.makedirs(os.path.dirname(target), exist_ok=True)
			os.replace(os.path.join(stage, str(number)), target)


def install(host: Host, repo: str, ksrc: Optional[str], force: bool) -> List[Change]:
	"""Install the overlay into the tree that the user names."""
	if not ksrc or ksrc == NEWEST:
		raise OverlayError('no tree named: use make install KSRC=/path/to/linux')
	base = user_base(ksrc)
	overlay = installed(read_overlay(host, repo, base.version))
	packages.ensure(host, packages.PATCH)
	if not force:
		refuse_dirty(host, base.root, overlay)
	changes = plan(host, base, overlay)
	write(base.root, changes)
	return changes
