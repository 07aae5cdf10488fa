# SPDX-License-Identifier: GPL-2.0
"""Unit tests and linters: our Python, our shell, our C, our commits."""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Sequence, Tuple

from check.step import (FAIL, Context, Tally, excuse, first_line, own_files, package_root,
			verdict)
from check.suites import UML, X86_64
from lib import packages
from lib.files import write
from lib.kernel import Kernel
from overlay.tree import in_kernel

# checkpatch.pl types that cannot apply to this repository:
IGNORED: Dict[str, str] = {
	'FILE_PATH_CHANGES': 'our lines in MAINTAINERS are a patch, which is no part of these diffs',
}
# Sign-off is given by whoever submits the files to the kernel.
CHECKPATCH = ('--strict', '--terse', '--show-types', '--no-summary', '--no-signoff',
	      '--color=never', '--ignore', ','.join(IGNORED))
_COUNT = re.compile(r'\b(failures|errors|skipped|expected failures|unexpected successes)=(\d+)')


def count_unittest(text: str) -> Tally:
	"""Reads the summary that unittest prints; FAIL if there is none."""
	ran = re.findall(r'^Ran (\d+) tests? in ', text, re.M)
	if not ran or not re.search(r'^(OK|FAILED)\b', text, re.M):
		return FAIL
	last = text.strip().splitlines()[-1]
	count = {name: int(number) for name, number in _COUNT.findall(last)}
	failed = sum(count.get(n, 0) for n in ('failures', 'errors', 'unexpected successes'))
	skipped = count.get('skipped', 0)
	return Tally(max(int(ran[-1]) - failed - skipped, 0), failed, skipped)


def unit_tests(context: Context) -> Tally:
	"""Runs every *_test.py, one folder at a time."""
	folders = sorted({os.path.dirname(p) for p in own_files(context.host, context.repo)
			  if p.endswith('_test.py')})
	if not folders:
		return verdict(context.host, 'unit tests', ['no *_test.py found'])
	total = Tally()
	for folder in folders:
		context.host.say(f'running the unit tests in {folder}')
		root = package_root(context.repo, folder)
		done = context.host.capture(
			[sys.executable, '-B', '-m', 'unittest', 'discover', '-t', '.',
			 '-s', os.path.relpath(folder, root), '-p', '*_test.py'],
			cwd=os.path.join(context.repo, root))
		count = count_unittest(done.text)
		if done.status and not count.failed:
			count += FAIL
		if count.failed:
			context.host.say(done.text.rstrip())
		context.host.say(f'  {count}')
		total += count
	return total


def _per_file(context: Context, linter: str, files: Sequence[str], text: str,
	      status: int) -> Tally:
	"""Shares out a linter's `path:line: ...` output among the files it read."""
	complaints: Dict[str, List[str]] = {f: [] for f in files}
	stray: List[str] = []
	for line in text.splitlines():
		path = os.path.normpath(line.split(':')[0])
		if path in complaints:
			complaints[path].append(line)
		elif line.strip():
			stray.append(line)
	total = Tally()
	for path, lines in complaints.items():
		total += verdict(context.host, f'{linter} {path}', lines)
	if status and not total.failed:
		total += verdict(context.host, linter, stray or [f'ended with status {status}'])
	return total


def python_lint(context: Context) -> Tally:
	"""mypy --strict, one set of packages at a time: others may repeat a module's name."""
	packages.ensure(context.host, packages.LINT)
	folders: Dict[str, List[str]] = {}
	for path in own_files(context.host, context.repo):
		if path.endswith('.py'):
			root = package_root(context.repo, os.path.dirname(path))
			folders.setdefault(root, []).append(path)
	total = Tally()
	for root, files in folders.items():
		config = os.path.join(context.repo, root, 'mypy.ini')
		done = context.host.capture(
			['mypy', *(['--config-file', config] if os.path.exists(config) else ['--strict']),
			 '--no-error-summary', '--no-color-output',
			 '--cache-dir', os.path.join(context.repo, 'build', 'mypy'), *files],
			cwd=context.repo)
		total += _per_file(context, 'mypy', files, done.text, done.status)
	return total


def shell_lint(context: Context) -> Tally:
	packages.ensure(context.host, packages.LINT)
	files = [p for p in own_files(context.host, context.repo) if p.endswith('.sh') or
		 re.match(r'#!.*\b(ba|da)?sh\b', first_line(os.path.join(context.repo, p)))]
	total = Tally()
	for path in files:
		done = context.host.capture(['shellcheck', '--format=gcc', path], cwd=context.repo)
		total += verdict(context.host, f'shellcheck {path}',
				 done.text.splitlines() if done.status else [])
	return total


def _checkpatch(context: Context, words: Sequence[str]) -> List[str]:
	"""Complaints of the tree's checkpatch.pl; empty if it has none."""
	done = context.host.capture(['perl', 'scripts/checkpatch.pl', *CHECKPATCH, *words],
				    cwd=context.tree.root)
	if not done.status:
		return []
	return done.text.strip().splitlines() or [f'ended with status {done.status}']


def _checkpatch_all(context: Context, jobs: Sequence[Tuple[str, Sequence[str]]]) -> Tally:
	total = Tally()
	with ThreadPoolExecutor(os.cpu_count()) as pool:
		results = pool.map(lambda job: _checkpatch(context, job[1]), jobs)
		for (name, _), complaints in zip(jobs, results):
			name = f'checkpatch {name}'
			total += verdict(context.host, name, excuse(context, name, complaints))
	return total


def source_lint(context: Context) -> Tally:
	"""checkpatch.pl on our C files, and on the patches to files of the base."""
	packages.ensure(context.host, packages.build('um'))
	jobs: List[Tuple[str, Sequence[str]]] = []
	for path in own_files(context.host, context.repo):
		if not in_kernel(path):
			continue
		if path.endswith(('.c', '.h')):
			jobs.append((path, ('--file', path)))
		elif path.endswith('.patch'):
			# It has no message: what it is for is in the commit that adds it.
			jobs.append((path, ('--ignore', 'COMMIT_MESSAGE',
					    os.path.join(context.repo, path))))
	return _checkpatch_all(context, jobs)


def commit_lint(context: Context) -> Tally:
	"""checkpatch.pl on what each commit does to kernel files.

	Patch files are left out: their context lines begin with a blank, which
	reads as a fault where a diff of a diff is not expected. What is excused in
	a file is excused in the commits, too. An export of the repository has no
	commits and thus nothing to check.
	"""
	if not os.path.exists(os.path.join(context.repo, '.git')):
		return Tally()
	git = ['git', '-c', 'safe.directory=*', '-C', context.repo]
	paths = ['--', '*.c', '*.h', '*Kconfig', '*.rst', ':!tools/testing/kunit']
	if context.host.capture(git + ['rev-parse', '--verify', 'HEAD']).status:
		return Tally()  # nothing committed yet
	listing = context.host.capture(git + ['log', '--no-merges', '--reverse',
					      '--format=%h', *paths])
	if listing.status:
		return verdict(context.host, 'commits', listing.text.splitlines())
	excused = sorted({e.text for e in context.excuses if e.check.startswith('checkpatch ')})
	words = ('--ignore', ','.join(excused)) if excused else ()
	folder = os.path.join(context.tree.folder, 'commits')
	os.makedirs(folder, exist_ok=True)
	jobs: List[Tuple[str, Sequence[str]]] = []
	for commit in listing.text.split():
		patch = os.path.join(folder, f'{commit}.patch')
		mail = context.host.capture(git + ['format-patch', '-1', '--stdout', commit, *paths])
		write(patch, mail.text)
		jobs.append((f'commit {commit}', (*words, patch)))
	return _checkpatch_all(context, jobs)


def _sparse(context: Context, kernel: Kernel, sources: Sequence[str]) -> Tally:
	"""Reads the sources of one kernel build's objects with sparse.

	Only lines about our files count: the base's headers are not ours to mend.
	"""
	folder = kernel.where(context.tree.folder)
	context.host.say(f'running sparse in {folder}')
	objects = [s[:-2] + '.o' for s in sources]
	done = context.host.capture(
		['make', '-C', context.tree.root, f'O={folder}', f'ARCH={kernel.arch}', 'C=2',
		 f'-j{os.cpu_count()}', '--keep-going', *objects],
		env={**os.environ, 'MAKEFLAGS': '-L', 'PYTHONDONTWRITEBYTECODE': '1'})
	top = rf'^({re.escape(context.tree.root)}/|(\.\./)+tree/)'
	lines = [re.sub(top, '', line) for line in done.text.splitlines()]
	total = Tally()
	for source in sources:
		mine = [line for line in lines if line.startswith(source + ':')]
		if not re.search(rf'^\s*CHECK\s+(\S*/)?{re.escape(source)}$', done.text, re.M):
			mine.append('sparse did not get to see it')
		name = f'sparse {source}'
		total += verdict(context.host, name, excuse(context, name, mine))
	headers = [line for line in lines if re.match(r'\S+\.h:\d+:\d+: (warning|error)', line) and
		   in_kernel(line) and os.path.exists(os.path.join(context.repo, line.split(':')[0]))]
	if headers:
		total += verdict(context.host, f'sparse headers ({kernel.name})', sorted(set(headers)))
	if done.status and not total.failed:
		total += verdict(context.host, f'sparse ({kernel.name})', lines[-5:])
	return total


def sparse(context: Context) -> Tally:
	"""sparse on every C file of ours that the kernel builds contain."""
	packages.ensure(context.host, packages.LINT)
	rest = [p for p in own_files(context.host, context.repo) if in_kernel(p) and
		p.endswith('.c') and p.split('/')[0] not in ('tools', 'samples', 'Documentation')]
	total = Tally()
	for kernel in (UML, X86_64):
		found = [p for p in rest if os.path.exists(
			os.path.join(kernel.where(context.tree.folder), p[:-2] + '.o'))]
		if found:
			total += _sparse(context, kernel, found)
		rest = [p for p in rest if p not in found]
	for path in rest:
		total += verdict(context.host, f'sparse {path}',
				 ['in neither kernel build: enable it in .kunitconfig'])
	return total
