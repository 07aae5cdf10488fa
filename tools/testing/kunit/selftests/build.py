# SPDX-License-Identifier: GPL-2.0
"""Builds the module of the selftests, and the selftests.

The user-space side, with all BPF objects, is built once, from the base and
against the base's type information, and both kernels run these same files: the
objects are relocated to the running kernel when they are loaded (CO-RE), and a
difference in results can then only come from the kernel. What depends on one
kernel, its test module, is built for each.
"""

import os
import shutil
from typing import List, Sequence, Tuple

from lib import files, job
from lib.host import Host, OverlayError
from lib.kernel import Build, build_plain, fragment, make
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


def module(target: Build) -> str:
	"""The path of the module that goes with a kernel."""
	return target.file(f'module/{MODULE}')


def build_kernel(host: Host, target: Build, config: str = fragment()) -> None:
	"""The kernel, then the test module against it.

	A module carries type information that refers to the kernel's by number:
	it goes with one linked vmlinux and no other.
	"""
	build_plain(host, target, config)
	folder = os.path.dirname(module(target))
	shutil.rmtree(folder, ignore_errors=True)
	shutil.copytree(_module_source(target.source), folder)
	_cut_makefile(os.path.join(folder, 'Makefile'))
	job.build(host, f'building {MODULE} ({target.name})',
		  make('-C', target.objects, f'M={folder}', 'modules'), target.file('module.log'))
	if not os.path.exists(module(target)):
		raise OverlayError(f'{module(target)} was not built: see {target.file("module.log")}')


def _module_source(root: str) -> str:
	for name in _MODULE:
		folder = os.path.join(root, FOLDER, name)
		if os.path.exists(os.path.join(folder, 'bpf_testmod.c')):
			return folder
	raise OverlayError(f'{root} has no bpf_testmod.c: a complete kernel tree is needed')


def _cut_makefile(path: str) -> None:
	"""Build the one module, from here: others beside it are for other tests."""
	files.write(path, 'obj-m := bpf_testmod.o\nCFLAGS_bpf_testmod.o := -I$(src)\n')


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


def build_user(host: Host, base: Build, choice: Choice, clang: Clang, folder: str) -> None:
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
		  make('-C', where, *words, 'test_progs', 'bench', *PROGRAMS),
		  folder + '.log', env=env)
