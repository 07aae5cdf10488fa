#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the kernel's own kunit.py on the base tree with our files in it.

Takes the words that the tree's tool takes. The tree is assembled or brought up
to date, and the tree's tool then runs in this very process, with its own parser:
that one says what the words mean, whatever base it comes from. Before the tool
acts on them, what is missing is installed, and our .kunitconfig and a build
folder of ours are put where the user names none. KSRC=/path in the environment
names the base.
"""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import argparse
import importlib.util
import os
import sys
import types
from contextlib import ExitStack
from typing import Any, Callable, List, Sequence

sys.dont_write_bytecode = True
from lib import packages
from lib.files import REPO, TOOL, locked
from lib.host import Host, OverlayError, describe_os_error, guarded
from lib.kernel import ADDED, SAID, SUITES
from overlay.tree import Tree, ready

CONFIGURING = ('run', 'config', 'build')   # verbs that compile something
BOOTING = ('run', 'exec')                  # verbs that start a kernel
BUILDING = CONFIGURING + ('exec',)          # verbs that use a build folder
# Arguments whose value is a path; an input exists already, an output need not.
INPUTS = ('kunitconfig', 'qemu_config', 'file')
OUTPUTS = ('build_dir', 'json', 'junit')
# Those that we have a value for where the user has none.
OURS = ('build_dir', 'kunitconfig')
STDOUT = 'stdout'   # as a path: none
# Bytes; a UML kernel takes a tenth of this, x86_64 with lock debugging half.
SPACE_FOR_KERNEL = 2**30

EPILOG = ('This is a front-end: KSRC=/path in the environment names the kernel tree, KSRC=newest '
	  'the newest source that Debian carries. Without --build_dir and --kunitconfig, a '
	  'folder below build/ and the .kunitconfig with all suites are used.')


def input_path(cwd: str, root: str, value: str) -> str:
	"""A path from the user's folder; one known only in the tree stays as it is."""
	path = os.path.join(cwd, value)
	if not os.path.lexists(path) and os.path.exists(os.path.join(root, value)):
		return value
	return path


def output_path(cwd: str, value: str) -> str:
	return value if value == STDOUT else os.path.join(cwd, value)


def parser_for(cwd: str, root: str, seen: Callable[[argparse.Namespace], None]) -> Any:
	"""A class for the parser of the tree's tool.

	Paths are anchored at cwd, as the tool goes to the tree before it uses them.
	seen is called with what was parsed, and may change it.
	"""
	class Parser(argparse.ArgumentParser):
		def __init__(self, *args: Any, **options: Any) -> None:
			super().__init__(*args, **options)
			self.epilog = EPILOG

		def add_argument(self, *args: Any, **options: Any) -> argparse.Action:
			action = super().add_argument(*args, **options)
			if action.dest in INPUTS:
				action.type = lambda value: input_path(cwd, root, value)
			elif action.dest in OUTPUTS:
				action.type = lambda value: output_path(cwd, value)
			if action.dest in OURS:
				action.default = None
			return action

		def parse_args(self, *args: Any, **options: Any) -> Any:
			found = super().parse_args(*args, **options)
			seen(found)
			return found

	return Parser


def machine(args: argparse.Namespace) -> str:
	"""Name of the build folder's machine: the architecture, or its qemu_config."""
	name = str(args.qemu_config or args.arch)
	return os.path.splitext(os.path.basename(name))[0] if args.qemu_config \
		else os.path.basename(name)


def requirements(args: argparse.Namespace) -> List[packages.Requirement]:
	"""What this call needs installed, the tree excepted."""
	needed: List[packages.Requirement] = []
	if args.subcommand in CONFIGURING:
		needed += packages.build(machine(args))
	if args.subcommand in BOOTING:
		needed += packages.qemu(machine(args))
	return needed


def inputs(args: argparse.Namespace) -> List[str]:
	"""Files that the tool is going to read."""
	values = [getattr(args, name, None) or [] for name in INPUTS]
	return [path for value in values for path in ([value] if isinstance(value, str) else value)]


def add_defaults(args: argparse.Namespace, tree: Tree, repo: str) -> None:
	"""Our build folder and configuration where the user names none."""
	if args.build_dir is None:
		args.build_dir = os.path.join(tree.folder, f'kunit-{machine(args)}')
	if args.kunitconfig is None:
		added = [os.path.join(repo, TOOL, 'configs', name) for name in
			 ADDED.get(machine(args), (f'arch_{machine(args)}.config',))]
		args.kunitconfig = [os.path.join(repo, SUITES), *filter(os.path.exists, added)]
		if hasattr(args, 'kernel_args'):
			args.kernel_args = [*(args.kernel_args or ()), *SAID.get(machine(args), ())]


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


class LastWords(List[str]):
	"""The words that the tree's tool puts behind its own for QEMU: seeing them all."""

	def __radd__(self, command: List[str]) -> List[str]:
		return [*software_emulation(command), *self]


def emulate(kernel_module: Any) -> None:
	"""Let the tree's tool build its commands for QEMU by software_emulation()."""
	operations: Any = kernel_module.LinuxSourceTreeOperationsQemu

	class Emulated(operations):   # type: ignore[misc]
		def __init__(self, *args: Any, **options: Any) -> None:
			super().__init__(*args, **options)
			extra: List[str] = getattr(self, '_extra_qemu_params')
			self._extra_qemu_params = LastWords(extra)

	kernel_module.LinuxSourceTreeOperationsQemu = Emulated


def load(root: str) -> Any:
	"""The tree's kunit.py as a module."""
	script = os.path.join(root, TOOL, 'kunit.py')
	sys.argv[0] = script
	sys.path[0] = os.path.dirname(script)
	spec = importlib.util.spec_from_file_location('kunit_of_the_tree', script)
	assert spec and spec.loader
	tool = importlib.util.module_from_spec(spec)
	sys.modules[spec.name] = tool
	spec.loader.exec_module(tool)
	return tool


def watch(tool: Any, cwd: str, root: str, seen: Callable[[argparse.Namespace], None]) -> None:
	"""Let the tool use parser_for()."""
	shown = types.ModuleType('argparse')
	shown.__dict__.update(argparse.__dict__, ArgumentParser=parser_for(cwd, root, seen))
	tool.argparse = shown


def set_environment() -> None:
	"""For the programs that the tool starts."""
	# -L: a link that now points elsewhere is newer than what was built from
	# it, whatever the age of the file behind it.
	flags = os.environ.get('MAKEFLAGS', '').strip()
	if flags and not flags.startswith('-') and '=' not in flags.split()[0]:
		flags = '-' + flags
	os.environ['MAKEFLAGS'] = f'-L {flags}'.strip()
	# Scripts of the base run through links; none may leave a cache behind.
	os.environ['PYTHONDONTWRITEBYTECODE'] = '1'


def run_tool(root: str, argv: Sequence[str], cwd: str,
	     seen: Callable[[argparse.Namespace], None]) -> int:
	"""Run the tree's kunit.py as if it had been called with these words."""
	set_environment()
	try:
		tool = load(root)
		watch(tool, cwd, root, seen)
		if hasattr(tool, 'kunit_kernel'):
			emulate(tool.kunit_kernel)
		tool.main(argv)
	except SystemExit as e:
		if isinstance(e.code, str):
			print(e.code, file=sys.stderr)
		return e.code if isinstance(e.code, int) else int(e.code is not None)
	except (BrokenPipeError, OverlayError):
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
	tree = ready(host, [])
	new_folders: List[str] = []

	def seen(args: argparse.Namespace) -> None:
		for path in inputs(args):
			if not os.path.exists(os.path.join(tree.root, path)):
				raise OverlayError(f'{path} does not exist: name a file that does')
		if args.subcommand not in BUILDING:
			return
		packages.ensure(host, requirements(args))
		add_defaults(args, tree, REPO)
		if not os.path.isdir(args.build_dir):
			new_folders.append(args.build_dir)
		prepare_build_folder(host, args.build_dir, args.subcommand)
		held.enter_context(locked(args.build_dir, host))

	status = 1
	with ExitStack() as held:
		try:
			status = run_tool(tree.root, argv, cwd, seen)
		finally:
			for folder in new_folders:
				if status and os.path.isdir(folder) and not os.listdir(folder):
					os.rmdir(folder)
	return status


if __name__ == '__main__':
	sys.exit(guarded('kunit.py', main))
