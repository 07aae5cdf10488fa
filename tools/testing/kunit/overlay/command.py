# SPDX-License-Identifier: GPL-2.0
"""The command line of `make tree`, `make install` and `make compile_commands.json`."""

import argparse
import os
from typing import Optional

from lib.files import REPO
from lib.host import Host
from overlay import compile_commands
from overlay.install import install
from overlay.tree import assemble


def parser() -> argparse.ArgumentParser:
	p = argparse.ArgumentParser(
		prog='overlay', description='Lays our files over a kernel tree.',
		epilog='KSRC in the environment names the base: the path of a kernel tree, or '
		'"newest"; without it the base is a package of Debian.')
	verbs = p.add_subparsers(dest='verb', required=True, metavar='VERB')
	verbs.add_parser('tree', help='assemble base and overlay below build/; the last line '
			 'is the path of the tree (make tree)')
	verbs.add_parser('install', help='copy the overlay into the git tree that KSRC names, '
			 'which must be clean, or FORCE=1 in the environment (make install)')
	verbs.add_parser('compile_commands.json', help='build the kernel that kunit.py builds, and '
			 'write how it compiles each file where clangd finds it '
			 '(make compile_commands.json)')
	return p


def show_tree(host: Host, ksrc: Optional[str]) -> int:
	print(assemble(host, REPO, ksrc).root)
	return 0


def show_install(host: Host, ksrc: Optional[str]) -> int:
	changes = install(host, REPO, ksrc, os.environ.get('FORCE', '') not in ('', '0'))
	for change in changes:
		print(f'{change.verb:8}{change.path}')
	count = {verb: sum(c.verb == verb for c in changes) for verb in ('add', 'replace', 'patch')}
	print(f'{count["add"]} added, {count["replace"]} replaced, {count["patch"]} patched '
	      f'in {ksrc}' + ('' if changes else ': it was up to date'))
	return 0


def show_compile_commands(host: Host, ksrc: Optional[str]) -> int:
	path, all_of_them, ours = compile_commands.make(host)
	print(f'{path}: {all_of_them} files, {ours} of them ours')
	return 0


def main() -> int:
	verb = parser().parse_args().verb
	return {'tree': show_tree, 'install': show_install,
		'compile_commands.json': show_compile_commands}[verb](
		Host(), os.environ.get('KSRC') or None)
