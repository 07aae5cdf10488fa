#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the kernel's own kunit.py on the base tree with our files in it.

Takes the words that the tree's tool takes. What is missing is installed, the
tree is assembled or brought up to date, and the tree's tool then runs in this
very process with the same words, plus our .kunitconfig and a build folder of
ours where the user names none. KSRC=/path in the environment names the base.
"""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

sys.dont_write_bytecode = True
from lib import packages
from lib.files import REPO, TOOL, locked
from lib.host import Host, OverlayError, describe_os_error, guarded
from overlay.tree import Tree, assemble, prepare_build

CONFIGURING = ('run', 'config', 'build')   # verbs that compile something
BOOTING = ('run', 'exec')                  # verbs that start a kernel
BUILDING = CONFIGURING + ('exec',)          # verbs that use a build folder
VERBS = ('run', 'config', 'build', 'exec', 'parse')
# Options whose value is a path; an input exists already, an output need not.
INPUTS = ('--kunitconfig', '--qemu_config')
OUTPUTS = ('--build_dir', '--json', '--junit')
# These take a value only after an equals sign, see massage_argv() in the tree.
EQUALS_ONLY = ('--json', '--junit', '--raw_output')
OTHERS = ('--arch', '--alltests', '--cross_compile', '--filter', '--filter_action',
	  '--help', '--jobs', '--kconfig_add', '--kernel_args', '--list_suites',
	  '--list_tests', '--list_tests_attr', '--make_options', '--qemu_args',
	  '--raw_output', '--run_isolated', '--timeout')
# Bytes; a UML kernel takes a tenth of this, x86_64 with lock debugging half.
SPACE_FOR_KERNEL = 2**30
LONG_OPTIONS = frozenset(INPUTS + OUTPUTS + OTHERS)


@dataclass(frozen=True)
class Words:
	"""The command line, read no further than the front-end has to."""
	verb: str                   # '' if none of VERBS comes first
	words: List[str]            # as given, with paths made absolute
	arch: str
	qemu_config: Optional[str]
	build_dir: Optional[str]
	names_kunitconfig: bool
	wants_help: bool
	inputs: List[str]           # files that the tool is going to read


def full_name(word: str) -> str:
	"""The long option that a word abbreviates, as argparse would see it."""
	if word in LONG_OPTIONS:
		return word
	matches = [o for o in LONG_OPTIONS if o.startswith(word)]
	return matches[0] if len(matches) == 1 and len(word) > 2 else word


def input_path(cwd: str, root: str, value: str) -> str:
	"""A path from the user's folder; one known only in the tree stays as it is."""
	path = os.path.join(cwd, value)
	if not os.path.lexists(path) and root and os.path.exists(os.path.join(root, value)):
		return value
	return path


def read_words(argv: Sequence[str], cwd: str, root: str = '') -> Words:
	"""Look for the few options that matter here and anchor paths at cwd.

	argparse takes no word with a leading dash for the value of an option, so
	reading one word after the other finds options exactly. root: the tree,
	in which inputs are found that do not exist below cwd.
	"""
	verb = argv[0] if argv and argv[0] in VERBS else ''
	arch, qemu_config, build_dir = 'um', None, None
	named, wants_help = False, not verb
	out: List[str] = list(argv[:1])
	inputs: List[str] = []
	rest = list(argv[1:])
	while rest:
		word = rest.pop(0)
		if word == '-h' or (word.startswith('--') and full_name(word) == '--help'):
			wants_help = True
		if not word.startswith('--'):
			if verb == 'parse' and not word.startswith('-'):
				word = input_path(cwd, root, word)
				inputs.append(word)
			out.append(word)
			continue
		given, equals, value = word.partition('=')
		option = full_name(given)
		takes_next = option in LONG_OPTIONS - set(EQUALS_ONLY) and \
			option not in ('--alltests', '--help', '--list_suites',
				       '--list_tests', '--list_tests_attr')
		if not equals and (not takes_next or not rest or rest[0].startswith('--')):
			out.append(word)
			continue
		if not equals:
			value = rest.pop(0)
		if option in INPUTS:
			value = input_path(cwd, root, value)
			inputs.append(value)
		elif option in OUTPUTS and not (option in EQUALS_ONLY and value == 'stdout'):
			value = os.path.join(cwd, value)
		if option == '--arch':
			arch = value
		elif option == '--qemu_config':
			qemu_config = value
		elif option == '--build_dir':
			build_dir = value
		elif option == '--kunitconfig':
			named = True
		out += [f'{given}={value}'] if equals else [given, value]
	return Words(verb, out, arch, qemu_config, build_dir, named, wants_help, inputs)


def machine(words: Words) -> str:
	"""Name of the build folder's machine: the architecture, or its qemu_config."""
	if words.qemu_config:
		return os.path.splitext(os.path.basename(words.qemu_config))[0]
	return os.path.basename(words.arch)


def requirements(words: Words, ksrc: Optional[str]) -> List[packages.Requirement]:
	"""Everything this call needs installed, so that apt is asked only once."""
	needed: List[packages.Requirement] = [*packages.PATCH]
	if not ksrc:
		needed += packages.SOURCE
	if words.verb in CONFIGURING and not words.wants_help:
		needed += packages.build(machine(words))
	if words.verb in BOOTING and not words.wants_help:
		needed += packages.qemu(machine(words))
	return needed


def build_folder(words: Words, tree: Tree) -> str:
	"""The kernel's build folder: the user's, else ours for base and machine."""
	return words.build_dir or os.path.join(tree.folder, f'kunit-{machine(words)}')


def prepare_build_folder(host: Host, folder: str, verb: str) -> None:
	"""Say in one line what the tool would only find out by failing."""
	if verb == 'exec' and not os.path.exists(os.path.join(folder, '.config')):
		raise OverlayError(f'{folder} holds no kernel: use `kunit.py build` first')
	try:
		os.makedirs(folder, exist_ok=True)
	except OSError as e:
		raise OverlayError(f'build folder {folder} cannot be created ({e.strerror}): '
				   'name another with --build_dir') from e
	free = host.free_bytes(folder)
	if free < SPACE_FOR_KERNEL and not os.path.exists(os.path.join(folder, '.config')):
		raise OverlayError(f'build folder {folder}: {free >> 20} MiB free, '
				   f'{SPACE_FOR_KERNEL >> 20} MiB are needed to build a kernel: '
				   'free some disk space or name another with --build_dir')
	if not os.access(folder, os.W_OK | os.X_OK):
		raise OverlayError(f'build folder {folder} cannot be written to: '
				   'change its owner or name another with --build_dir')


def default_words(words: Words, tree: Tree, repo: str) -> List[str]:
	"""What the front-end adds after the verb where the user names nothing."""
	added: List[str] = []
	if words.build_dir is None:
		added.append('--build_dir=' + build_folder(words, tree))
	if not words.names_kunitconfig:
		added.append('--kunitconfig=' + os.path.join(repo, '.kunitconfig'))
		machine_config = os.path.join(repo, TOOL, 'configs', f'arch_{machine(words)}.config')
		if os.path.exists(machine_config):
			added.append('--kunitconfig=' + machine_config)
	return added


def software_emulation(command: Sequence[str]) -> Sequence[str]:
	"""A command without the accelerators that newer tools name for QEMU.

	They try KVM first. It cannot count instructions (-icount), its NMIs come
	when the host likes, and where it is there but does not work the kernel
	hangs. Without a word QEMU emulates; an -accel in --qemu_args counts.
	"""
	ours = [(x, y) for x, y in zip(command, command[1:]) if x == '-accel']
	if not command[0].startswith('qemu-system-') or \
	   [y for _, y in ours[:3]] != ['kvm', 'hvf', 'tcg']:
		return command
	start = list(command).index('-accel')
	return [*command[:start], *command[start + 6:]]


def emulate() -> None:
	"""Let the tree's tool start QEMU by software_emulation()."""
	start = subprocess.Popen

	def popen(command: Any, *args: Any, **options: Any) -> Any:
		if isinstance(command, list) and command:
			command = software_emulation(command)
		return start(command, *args, **options)

	setattr(subprocess, 'Popen', popen)


def run_tool(tree: Tree, words: Sequence[str]) -> int:
	"""Run the tree's kunit.py as if it had been called with these words."""
	script = os.path.join(tree.root, TOOL, 'kunit.py')
	# -L: a link that now points elsewhere is newer than what was built from
	# it, whatever the age of the file behind it.
	flags = os.environ.get('MAKEFLAGS', '').strip()
	if flags and not flags.startswith('-') and '=' not in flags.split()[0]:
		flags = '-' + flags
	os.environ['MAKEFLAGS'] = f'-L {flags}'.strip()
	# Scripts of the base run through links; none may leave a cache behind.
	os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
	sys.argv = [script, *words]
	sys.path[0] = os.path.dirname(script)
	emulate()
	try:
		runpy.run_path(script, run_name='__main__')
	except SystemExit as e:
		if isinstance(e.code, str):
			print(e.code, file=sys.stderr)
		return e.code if isinstance(e.code, int) else int(e.code is not None)
	except BrokenPipeError:
		raise
	except OSError as e:
		raise OverlayError(describe_os_error(e)) from e
	except Exception as e:  # the tool's own errors, which it would let escape
		text = ' '.join(str(e).split()) or 'no reason given'
		raise OverlayError(f'{type(e).__name__}: {text}') from e
	return 0


def main() -> int:
	host = Host()
	argv, cwd = sys.argv[1:], os.getcwd()
	ksrc = os.environ.get('KSRC') or None
	words = read_words(argv, cwd)
	with locked(prepare_build(REPO), host):
		packages.ensure(host, requirements(words, ksrc))
	tree = assemble(host, REPO, ksrc)
	words = read_words(argv, cwd, tree.root)
	for path in words.inputs:
		if not os.path.exists(os.path.join(tree.root, path)):
			raise OverlayError(f'{path} does not exist: name a file that does')
	if words.verb not in BUILDING or words.wants_help:
		return run_tool(tree, words.words)
	folder = build_folder(words, tree)
	is_new = not os.path.isdir(folder)
	prepare_build_folder(host, folder, words.verb)
	status = 1
	try:
		with locked(folder, host):
			status = run_tool(tree, words.words[:1] +
					  default_words(words, tree, REPO) + words.words[1:])
	finally:
		if status and is_new and not os.listdir(folder):
			os.rmdir(folder)
	return status


if __name__ == '__main__':
	sys.exit(guarded('kunit.py', main))
