# SPDX-License-Identifier: GPL-2.0
"""Which of the tree's BPF selftests are run, and which of its sources they need.

Building all of tools/testing/selftests/bpf takes a kernel with hundreds of
options and half an hour. What tests the allocator is a tenth of it, so the rest
is left out before make sees it.
"""

import os
import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, List, Set, Tuple

from lib.host import OverlayError

FOLDER = 'tools/testing/selftests/bpf'

# Files of prog_tests/ whose programs get memory from the allocator, by user.
ALLOCATOR: Tuple[str, ...] = ('test_bpf_ma', 'preempted_bpf_ma_op')
HASH_MAPS: Tuple[str, ...] = (
	'btf_map_in_map', 'for_each', 'hash_large_key', 'htab_reuse', 'htab_update',
	'inner_array_lookup', 'lookup_and_delete', 'map_init', 'map_lock',
	'map_lookup_percpu_elem', 'map_ops', 'map_ptr', 'recursion', 'bpf_iter',
	'test_lsm')
OBJECTS: Tuple[str, ...] = (
	'cpumask', 'exceptions', 'linked_list', 'local_kptr_stash', 'percpu_alloc',
	'rbtree', 'refcounted_kptr', 'iters')
LOCAL_STORAGE: Tuple[str, ...] = (
	'cgrp_local_storage', 'sk_storage_omem_uncharge', 'sk_storage_tracing',
	'task_local_storage', 'test_local_storage', 'rcu_read_lock')
VALUES: Tuple[str, ...] = (
	'cgrp_kfunc', 'kptr_xchg_inline', 'map_kptr', 'spin_lock', 'task_kfunc', 'timer',
	'timer_crash', 'timer_lockup', 'timer_mim', 'wq')
PROG_TESTS = ALLOCATOR + HASH_MAPS + OBJECTS + LOCAL_STORAGE + VALUES

# Programs with a main function of their own; test_progs comes from PROG_TESTS.
PROGRAMS: Tuple[str, ...] = ('test_maps', 'test_lru_map', 'test_lpm_map')

USE_CASES: Tuple[str, ...] = ('overwrite', 'batch_add_batch_del', 'add_del_on_diff_cpu')

# Every runner of the tree embeds this one's type information.
_ALWAYS = 'btf_data'
_SKELETON = re.compile(r'"(\w+)\.(skel|lskel|subskel)\.h"')
_OBJECT = re.compile(r'\b(\w+)\.bpf(?:\.linked\d)?\.o\b')
_INCLUDED = re.compile(r'^\s*#\s*include\s+"(?:\./)?(\w+)\.c"', re.M)
_TEST = re.compile(r'^void (?:serial_)?test_(\w+)\((?:void)?\)', re.M)


@dataclass(frozen=True)
class Choice:
	"""What is built and run of one tree's selftests."""
	prog_tests: Tuple[str, ...]     # files of prog_tests/, without .c
	tests: Tuple[str, ...]          # names that test_progs knows them by
	programs: FrozenSet[str]        # files of progs/, without .c
	light: FrozenSet[str]           # of these, with a light skeleton alone
	light_too: FrozenSet[str]       # of these, with both kinds
	missing: Tuple[str, ...]        # files of PROG_TESTS that the tree lacks


def _read(path: str) -> str:
	with open(path, encoding='utf-8', errors='replace') as f:
		return f.read()


def _sources(folder: str) -> List[str]:
	try:
		return sorted(name[:-2] for name in os.listdir(folder) if name.endswith('.c'))
	except FileNotFoundError:
		return []


def _needs(texts: Iterable[str]) -> Dict[str, Set[str]]:
	"""Programs that these sources embed or open -> kinds of their skeletons."""
	needs: Dict[str, Set[str]] = {}
	for text in texts:
		for name, kind in _SKELETON.findall(text):
			needs.setdefault(name, set()).add(kind)
		for name in _OBJECT.findall(text):
			needs.setdefault(name, set())
	return needs


def _close(folder: str, names: Iterable[str]) -> Set[str]:
	"""The programs, and those that they include."""
	found: Set[str] = set()
	todo = list(names)
	while todo:
		name = todo.pop()
		if name not in found:
			found.add(name)
			todo += _INCLUDED.findall(_read(os.path.join(folder, f'{name}.c')))
	return found


def choose(root: str) -> Choice:
	"""Look through a kernel tree for the tests above and what they need."""
	folder = os.path.join(root, FOLDER)
	present = set(_sources(os.path.join(folder, 'prog_tests')))
	files = tuple(name for name in PROG_TESTS if name in present)
	if not files:
		raise OverlayError(f'{folder}/prog_tests has none of the tests that are run: '
				   'a complete kernel tree is needed')
	texts = [_read(os.path.join(folder, 'prog_tests', f'{name}.c')) for name in files]
	tests = tuple(name for text in texts for name in _TEST.findall(text))
	for part in ('benchs', 'map_tests'):
		texts += [_read(os.path.join(folder, part, f'{name}.c'))
			  for name in _sources(os.path.join(folder, part))]
	texts.append(_read(os.path.join(folder, 'test_maps.c')))
	needs = _needs(texts)
	# A name without a source is linked from several; none of the tests uses one.
	progs = set(_sources(os.path.join(folder, 'progs')))
	programs = _close(os.path.join(folder, 'progs'), (needs.keys() & progs) | {_ALWAYS})
	light = {name for name, kinds in needs.items() if 'lskel' in kinds}
	both = {name for name in light if 'skel' in needs[name]}
	return Choice(files, tests, frozenset(programs), frozenset(light - both),
		      frozenset(both), tuple(n for n in PROG_TESTS if n not in present))
