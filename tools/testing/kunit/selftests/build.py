# SPDX-License-Identifier: GPL-2.0
"""Builds kernels, the module of the selftests, and the selftests.

The user-space side, with all BPF objects, is built once, from the base and
against the base's type information, and both kernels run these same files: the
objects are relocated to the running kernel when they are loaded (CO-RE), and a
difference in results can then only come from the kernel. What depends on one
kernel, its test module, is built for each.
"""

import os
import shutil
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from lib import job
from lib.host import Host, OverlayError
from selftests.choice import FOLDER, PROGRAMS, Choice
from selftests.tools import Clang

# What the selftests' build reads of a kernel tree.
_SOURCES = ('tools/arch', 'tools/bpf', 'tools/build', 'tools/include', 'tools/lib',
	    'tools/scripts', FOLDER)
_FILES = ('Makefile', 'scripts/bpf_doc.py', 'tools/testing/selftests/lib.mk',
	  'tools/testing/selftests/kselftest.h', 'kernel/bpf/disasm.c', 'kernel/bpf/disasm.h')
_CHOSEN = {'prog_tests': 'prog_tests', 'progs': 'programs'}
# The module that test_progs loads, by where trees of different age have it.
_MODULE = ('test_kmods', 'bpf_testmod')
MODULE = 'bpf_testmod.ko'
BPFTOOL = 'tools/sbin/bpftool'
# Optional parts, off so that each machine builds the same: disassembly of
# programs, capture of packets.
_OFF = ('feature-llvm=0', 'feature-libbfd=0', 'PCAP_CFLAGS=', 'PCAP_LIBS=',
	'TRUNNER_EXTRA_FILES=')


@dataclass(frozen=True)
class Kernel:
	"""One of the two kernels, and where its build lies."""
	name: str      # 'base' or 'ours'
	source: str    # the tree
	folder: str    # for both

	@property
	def objects(self) -> str:
		return os.path.join(self.folder, self.name)

	@property
	def image(self) -> str:
		return os.path.join(self.objects, 'arch/x86/boot/bzImage')

	@property
	def module(self) -> str:
		return self.file(f'module/{MODULE}')

	def file(self, name: str) -> str:
		"""Where something else that is made for this kernel goes."""
		return os.path.join(self.folder, f'{self.name}-{name}')


def _make(*words: str) -> List[str]:
	# -L: a link that now points elsewhere is newer than what was built from it.
	return ['make', '-L', f'-j{os.cpu_count() or 1}', *words]


def lost_options(fragment: str, config: str) -> List[str]:
	"""Lines of a fragment that a finished .config does not fulfil."""
	have = set(config.splitlines())
	wanted = [line for line in fragment.splitlines()
		  if line.startswith(('CONFIG_', '# CONFIG_'))]
	return [line for line in wanted if line not in have and not
		(line.endswith(' is not set') and not
		 any(other.startswith(line.split()[1] + '=') for other in have))]


def configure(host: Host, kernel: Kernel, fragment: str) -> None:
	"""Write the .config, if the fragment or the tree asks for another one."""
	os.makedirs(kernel.objects, exist_ok=True)
	path = os.path.join(kernel.objects, '.config')
	new = path + '.new'
	shutil.copy(fragment, new)
	job.build(host, f'configuring the kernel ({kernel.name})',
			    _make('-s', '-C', kernel.source, 'ARCH=x86_64', f'O={kernel.objects}',
				  f'KCONFIG_CONFIG={new}', 'olddefconfig'), kernel.file('config.log'))
	with open(new, encoding='utf-8') as f:
		config = f.read()
	with open(fragment, encoding='utf-8') as f:
		lost = lost_options(f.read(), config)
	if lost:
		raise OverlayError(f'{fragment}: {kernel.source} does not take {lost[0]}'
				   f'{f" and {len(lost) - 1} more" if lost[1:] else ""}: '
				   'a dependency is missing, or another base is needed')
	if os.path.exists(path):
		with open(path, encoding='utf-8') as f:
			if f.read() == config:
				os.unlink(new)
				return
	os.replace(new, path)


def build_kernel(host: Host, kernel: Kernel, fragment: str) -> None:
	"""The kernel, then the test module against it.

	A module carries type information that refers to the kernel's by number:
	it goes with one linked vmlinux and no other.
	"""
	configure(host, kernel, fragment)
	job.build(host, f'building the kernel ({kernel.name})',
			    _make('-C', kernel.source, 'ARCH=x86_64', f'O={kernel.objects}',
				  'bzImage', 'modules'), kernel.file('kernel.log'))
	folder = os.path.dirname(kernel.module)
	shutil.rmtree(folder, ignore_errors=True)
	shutil.copytree(_module_source(kernel.source), folder)
	_cut_makefile(os.path.join(folder, 'Makefile'))
	job.build(host, f'building {MODULE} ({kernel.name})',
			    _make('-C', kernel.objects, f'M={folder}', 'modules'),
			    kernel.file('module.log'))
	if not os.path.exists(kernel.module):
		raise OverlayError(f'{kernel.module} was not built: see {kernel.file("module.log")}')


def _module_source(root: str) -> str:
	for name in _MODULE:
		folder = os.path.join(root, FOLDER, name)
		if os.path.exists(os.path.join(folder, 'bpf_testmod.c')):
			return folder
	raise OverlayError(f'{root} has no bpf_testmod.c: a complete kernel tree is needed')


def _cut_makefile(path: str) -> None:
	"""Build the one module, from here: others beside it are for other tests."""
	with open(path, 'w', encoding='utf-8') as f:
		f.write('obj-m := bpf_testmod.o\nCFLAGS_bpf_testmod.o := -I$(src)\n')


def copy_sources(root: str, choice: Choice, folder: str) -> None:
	"""A private copy of what the selftests are built from, cut to the choice."""
	def skipped(path: str, names: Sequence[str]) -> List[str]:
		parts = os.path.relpath(path, os.path.join(root, FOLDER))
		field = _CHOSEN.get(parts)
		if field is None:
			return []
		chosen = getattr(choice, field)
		return [n for n in names if n.endswith('.c') and n[:-2] not in chosen]

	for source in _SOURCES:
		if os.path.isdir(os.path.join(root, source)):
			shutil.copytree(os.path.join(root, source), os.path.join(folder, source),
					ignore=skipped)
	for file in _FILES:
		os.makedirs(os.path.dirname(os.path.join(folder, file)), exist_ok=True)
		shutil.copy(os.path.join(root, file), os.path.join(folder, file))


def user_words(choice: Choice, clang: Clang, vmlinux: str) -> Tuple[str, ...]:
	"""Variables that bring the selftests' Makefile down to the choice."""
	return (*clang.words(), f'VMLINUX_BTF={vmlinux}', 'LINKED_SKELS=',
		f'LSKELS={" ".join(f"{n}.c" for n in sorted(choice.light))}',
		f'LSKELS_EXTRA={" ".join(f"{n}.c" for n in sorted(choice.light_too))}', *_OFF)


def build_user(host: Host, base: Kernel, choice: Choice, clang: Clang, folder: str) -> None:
	"""The selftests, their BPF objects and bpftool, below `folder`.

	Its name stands for its sources: others of its kind are of no more use.
	"""
	where = os.path.join(folder, FOLDER)
	if not os.path.isdir(folder):
		parent = os.path.dirname(folder)
		for name in os.listdir(parent):
			if name.startswith('user-'):
				shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
		new = folder + '.new'
		copy_sources(base.source, choice, new)
		os.rename(new, folder)
	words = user_words(choice, clang, os.path.join(base.objects, 'vmlinux'))
	env = {k: v for k, v in os.environ.items() if k not in
	       ('OUTPUT', 'O', 'KBUILD_OUTPUT', 'MAKELEVEL', 'MAKEFLAGS')}
	job.build(host, 'building the selftests',
			    _make('-C', where, *words, 'test_progs', 'bench', *PROGRAMS),
			    folder + '.log', env=env)
