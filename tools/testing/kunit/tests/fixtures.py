# SPDX-License-Identifier: GPL-2.0
"""A miniature kernel tree, a miniature checkout and a machine made of answers."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from typing import Dict, List, Mapping, Optional, Sequence, Set

from lib.host import Host, Output

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

HEADER = '''/* void old_comment(int x); */
#ifndef _BPF_MEM_ALLOC_H
#define MACRO(x) never_a_function(x)
struct bpf_mem_alloc { void (*hook)(int x); };
int bpf_mem_alloc_init(struct bpf_mem_alloc *ma, int size,
		       bool percpu);
void bpf_mem_alloc_destroy(struct bpf_mem_alloc *ma);
static inline int bpf_mem_size(int x) { if (x) { return 1; } return 0; }
#endif
'''
ALLOCATOR = '''#include <linux/bpf_mem_alloc.h>
int bpf_mem_alloc_init(struct bpf_mem_alloc *ma, int size, bool percpu)
{
	if (size) { return helper(ma); }
	return 0;
}

void bpf_mem_alloc_destroy(struct bpf_mem_alloc *ma)
{
}
'''
# Stands for the tree's tool: shows what reached it and ends as it is told.
TOOL = '''#!/usr/bin/env python3
import argparse, os, sys

def parser():
	top = argparse.ArgumentParser()
	verbs = top.add_subparsers(dest='subcommand')
	for verb in ('run', 'config', 'build', 'exec', 'parse'):
		p = verbs.add_parser(verb)
		for name in ('--json', '--junit', '--raw_output'):
			p.add_argument(name, nargs='?', const='stdout')
		if verb == 'parse':
			p.add_argument('file', nargs='?')
			continue
		p.add_argument('--build_dir', default='.kunit')
		p.add_argument('--arch', default='um')
		for name in ('--qemu_config', '--timeout', '--jobs'):
			p.add_argument(name)
		for name in ('--kunitconfig', '--kconfig_add', '--qemu_args', '--kernel_args',
			     '--make_options'):
			p.add_argument(name, action='append')
		p.add_argument('--alltests', action='store_true')
		p.add_argument('filter_glob', nargs='?', default='')
	return top

def main(argv):
	args = parser().parse_args([w + '=stdout' if w == '--json' else w for w in argv])
	root = os.path.realpath(__file__).split('tools/testing/kunit')[0]
	os.chdir(root)
	print('cwd', os.getcwd())
	if args.subcommand is None:
		parser().print_help()
		return
	if args.subcommand == 'parse':
		print('file', args.file)
		print('stdin', '' if args.file else sys.stdin.read())
		return
	words = [args.subcommand, '--build_dir=' + args.build_dir,
		 *('--kunitconfig=' + path for path in args.kunitconfig), args.filter_glob]
	print('words', *filter(None, words), sep='|')
	if args.filter_glob == 'raise':
		raise ValueError('two\\nlines')
	if args.filter_glob == 'interrupt':
		os.kill(os.getpid(), 2)
	if args.filter_glob == 'fail':
		sys.exit(3)

if __name__ == '__main__':
	main(sys.argv[1:])
'''
LINES = ''.join(f'line {n}\n' for n in range(1, 41))
PATCH = '''--- a/kernel/bpf/hashtab.c
+++ b/kernel/bpf/hashtab.c
@@ -20,2 +20,3 @@
 line 20
+ours
 line 21
'''

# An interpreter that a user without rights may start.
PUBLIC_PYTHON = shutil.which('python3', path='/usr/bin:/bin') or sys.executable
NOBODY = 65534
needs_root = unittest.skipUnless(os.geteuid() == 0, 'only root can become somebody else')


def write(root: str, files: Mapping[str, str]) -> None:
	for path, text in files.items():
		full = os.path.join(root, path)
		os.makedirs(os.path.dirname(full), exist_ok=True)
		with open(full, 'w', encoding='utf-8') as f:
			f.write(text)


def read(*path: str) -> str:
	with open(os.path.join(*path), encoding='utf-8') as f:
		return f.read()


def saved(name: str) -> str:
	"""A log that was saved for the tests, with the line ends that it has."""
	with open(os.path.join(HERE, 'tests/test_data', name), encoding='utf-8', newline='') as f:
		return f.read()


def snapshot(root: str) -> Dict[str, str]:
	"""Every path below root with type, time of change, size and link text."""
	found: Dict[str, str] = {}
	for folder, folders, files in os.walk(root):
		for name in folders + files + ['.']:
			path = os.path.join(folder, name)
			info = os.lstat(path)
			link = os.readlink(path) if os.path.islink(path) else ''
			found[path] = f'{info.st_mode} {info.st_mtime_ns} {info.st_size} {link}'
	return found


def git(root: str, *words: str) -> None:
	subprocess.run(['git', '-c', 'user.name=t', '-c', 'user.email=t@example.org',
			'-c', 'init.defaultBranch=main', '-C', root, *words],
		       check=True, capture_output=True)


class FakeHost(Host):
	"""A machine whose commands, files, privileges and disk are given.

	Commands named in `real` run for real; all others are answered from
	`answers` (first words of the command -> output), and logged.
	"""

	def __init__(self, commands: Sequence[str] = (), files: Sequence[str] = (),
		     root: bool = True, free: int = 1 << 40,
		     answers: Optional[Dict[str, List[Output]]] = None,
		     installs: Optional[Dict[str, str]] = None) -> None:
		self.commands: Set[str] = set(commands)
		self.files: Set[str] = set(files)
		self.root = root
		self.free = free
		self.answers = answers or {}
		self.installs = installs or {}
		self.log: List[str] = []
		self.said: List[str] = []
		self.real = ('git', 'patch', 'tar')

	def which(self, command: str) -> Optional[str]:
		return f'/bin/{command}' if command in self.commands else None

	def exists(self, path: str) -> bool:
		return path in self.files

	def is_root(self) -> bool:
		return self.root

	def free_bytes(self, folder: str) -> int:
		return self.free

	def say(self, text: str) -> None:
		self.said.append(text)

	def capture(self, command: Sequence[str], cwd: Optional[str] = None,
		    env: Optional[Mapping[str, str]] = None,
		    keep_fds: Sequence[int] = ()) -> Output:
		if command[0] in self.real:
			return super().capture(command, cwd, env, keep_fds)
		line = ' '.join(command)
		self.log.append(line)
		for start, outputs in self.answers.items():
			if start in line:
				answer = outputs.pop(0) if len(outputs) > 1 else outputs[0]
				break
		else:
			answer = Output(0, '')
		if not answer.status and ' install ' in line:
			for package, probe in self.installs.items():
				if package in command:
					self.commands.add(probe)
					self.files.add(probe)
		return answer


class Case(unittest.TestCase):
	"""A test with a temporary folder that holds `linux` (base) and `repo`."""

	def setUp(self) -> None:
		self.work = os.path.realpath(tempfile.mkdtemp())
		self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
		self.linux = os.path.join(self.work, 'linux')
		self.repo = os.path.join(self.work, 'repo')
		self.host = FakeHost(('git', 'patch', 'tar', 'xz', 'apt-get'))
		write(self.linux, {
			'Makefile': '# comment\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n',
			'Kbuild': '', 'kernel/bpf/hashtab.c': LINES,
			'include/linux/bpf_mem_alloc.h': HEADER,
			'kernel/bpf/memalloc.c': ALLOCATOR,
			'kernel/bpf/core.c': 'int core;\n',
			'tools/testing/kunit/kunit.py': TOOL,
			'tools/testing/kunit/configs/x.config': ''})
		os.symlink('core.c', os.path.join(self.linux, 'kernel/bpf/link.c'))
		write(self.repo, {
			'.kunitconfig': 'CONFIG_KUNIT=y\n',
			'Makefile': 'not part of the overlay\n',
			'kernel/bpf/memalloc.c': ALLOCATOR + '/* ours */\n',
			'kernel/bpf/hashtab.c.patch': PATCH,
			'lib/tests/new_kunit.c': 'int new;\n',
			'tools/testing/kunit/configs/mine.config': ''})

	def add_tool(self) -> str:
		"""Put our front-end into the miniature checkout; returns its folder."""
		folder = os.path.join(self.repo, 'tools/testing/kunit')
		shutil.copytree(HERE, folder, dirs_exist_ok=True,
				ignore=shutil.ignore_patterns('tests', 'configs', '__pycache__'))
		return folder

	def bin(self, *commands: str) -> str:
		"""A PATH with nothing but these commands and Python on it."""
		folder = os.path.join(self.work, 'bin')
		os.makedirs(folder, exist_ok=True)
		os.symlink(sys.executable, os.path.join(folder, 'python3'))
		for command in commands:
			found = shutil.which(command)
			assert found, command
			os.symlink(found, os.path.join(folder, command))
		return folder

	def assert_one_line(self, stderr: str, *words: str) -> None:
		"""The last line says it all, and there is no traceback."""
		self.assertNotIn('Traceback', stderr)
		self.assertTrue(stderr.endswith('\n'), stderr)
		for word in words:
			self.assertIn(word, stderr.splitlines()[-1])
