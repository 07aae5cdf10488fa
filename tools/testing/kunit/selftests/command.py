# SPDX-License-Identifier: GPL-2.0
"""The tree's own BPF selftests, on the base and on ours (`make selftests`).

Both kernels get the same configuration and the same selftests and run under
QEMU. Results are kept with a hash of all that they depend on: where that has
not changed, nothing is built or run again. The exit status is 1 if something
that passes on the base does not on ours.
"""

import argparse
import hashlib
import json
import os
from dataclasses import dataclass
from typing import List, Optional, Tuple

from lib import files, packages
from lib.files import REPO, locked
from lib.host import Host, OverlayError
from lib.kernel import BPF, Build, fragment
from overlay.base import Base, walk
from overlay.tree import Tree, read_overlay, ready
from selftests import boots, build, report, tools
from selftests.choice import Choice, choose
from selftests.report import Result

# Bytes: two kernels with debug information, the selftests, a guest's files.
SPACE = 6 * 2**30
_SYSCTL = 'kernel/bpf/memalloc_map.c'
# Files of ours that decide what is run and how its output is read.
_OWN = ('build.py', 'choice.py', 'image.py', 'boots.py', 'report.py', 'init.sh', 'sysctl.sh',
	'../lib/guest.py', '../lib/initramfs.py', '../lib/kernel.py', '../lib/kernel_log.py')


@dataclass(frozen=True)
class Work:
	"""What both halves share."""
	host: Host
	folder: str                       # build/<base>/selftests
	choice: Choice
	common: str                       # hash of what both results depend on
	user: str                         # the selftests, once built
	base: Build


def _hash(*parts: str) -> str:
	return hashlib.sha256(os.fsencode('\0'.join(parts))).hexdigest()[:16]


def _hash_files(paths: List[str]) -> str:
	digest = hashlib.sha256()
	for path in paths:
		digest.update(os.fsencode(path) + b'\0' + files.read_bytes(path) + b'\0')
	return digest.hexdigest()[:16]


def base_identity(base: Base) -> str:
	"""Debian's package has its own in the path; another tree may change anytime."""
	if base.name == packages.DEFAULT_SOURCE:
		return base.root
	stats = []
	for path in sorted(walk(base.root)):
		info = os.lstat(os.path.join(base.root, path))
		stats.append(f'{path} {info.st_size} {info.st_mtime_ns}')
	return _hash(base.root, *stats)


def overlay_identity(host: Host, repo: str, version: Tuple[int, int]) -> str:
	"""All of the overlay but its documents: by content, whatever the time stamps."""
	overlay = read_overlay(host, repo, version)
	return _hash_files(sorted(path for path in
				  (*overlay.files.values(), *overlay.patches.values())
				  if not os.path.relpath(path, repo).startswith('Documentation/')))


def read_cache(path: str, key: str) -> Optional[Result]:
	"""The result of an earlier run, if it is of these inputs."""
	try:
		data = json.loads(files.read(path))
		if data['key'] == key:
			return report.from_json(data)
	except (OSError, ValueError, KeyError, TypeError):
		pass
	return None


def write_cache(path: str, key: str, result: Result) -> None:
	files.write(path, json.dumps({'key': key, **result.to_json()}, indent=1))


def run_kernel(work: Work, target: Build, has_sysctl: bool) -> Tuple[Result, bool]:
	"""All boots of one kernel; and whether all came to their end."""
	result, complete = Result(), True
	for name in boots.BOOTS:
		steps = boots.plan(work.choice, name, has_sysctl)
		boot = boots.boot(work.host, target, work.user, steps, name)
		report.read_boot(result, name, boot, [step.name for step in steps])
		complete &= boot.complete
	return result, complete


def half(work: Work, target: Build, identity: str, has_sysctl: bool) -> Result:
	"""The result for one kernel, from the cache if nothing has changed."""
	key = _hash(work.common, identity)
	cache = target.file('results.json')
	result = read_cache(cache, key)
	if result:
		work.host.say(f'{target.name}: nothing has changed since the last run')
		return result
	build.build_kernel(work.host, target)
	if target is not work.base and not os.path.exists(
			os.path.join(work.base.objects, 'vmlinux')):
		build.build_kernel(work.host, work.base)
	build.build_user(work.host, work.base, work.choice,
			 tools.clang(work.host), work.user)
	result, complete = run_kernel(work, target, has_sysctl)
	# A guest that stopped half-way shall be seen again, not remembered.
	if complete:
		write_cache(cache, key, result)
	return result


def _describe(choice: Choice) -> str:
	"""The same words for the same choice: sets have no order of their own."""
	return repr((choice.prog_tests, choice.tests, sorted(choice.programs),
		     sorted(choice.light), sorted(choice.light_too)))


def prepare(host: Host, tree: Tree) -> Work:
	folder = BPF.where(tree.folder)
	os.makedirs(folder, exist_ok=True)
	free = host.free_bytes(folder)
	if free < SPACE and not os.path.exists(os.path.join(folder, 'ours-results.json')):
		raise OverlayError(f'{folder}: {free >> 20} MiB free, {SPACE >> 20} MiB are needed: '
				   'free some disk space')
	choice = choose(tree.base.root)
	for name in choice.missing:
		host.say(f'{tree.base.label()} has no selftest {name}')
	sources = _hash(base_identity(tree.base), tools.versions(host), _describe(choice),
			_hash_files([fragment()]))
	own = _hash_files([os.path.join(os.path.dirname(__file__), name) for name in _OWN])
	base = Build('base', tree.base.root, folder)
	return Work(host, folder, choice, _hash(sources, own), os.path.join(folder, f'user-{sources}'),
		    base)


def parser() -> argparse.ArgumentParser:
	return argparse.ArgumentParser(
		prog='selftests', description=(__doc__ or '').split('\n\n')[1],
		epilog='KSRC in the environment names another base.')


def main() -> int:
	parser().parse_args()
	host = Host()
	tree = ready(host, tools.requirements(host))
	os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
	work = prepare(host, tree)
	with locked(work.folder, host):
		base = half(work, work.base, 'base', False)
		ours = half(work, Build('ours', tree.root, work.folder),
			    overlay_identity(host, REPO, tree.base.version),
			    os.path.exists(os.path.join(tree.root, _SYSCTL)))
	report.show(base, ours)
	return int(bool(report.regressions(base, ours)))
