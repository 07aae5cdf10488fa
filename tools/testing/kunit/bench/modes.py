# SPDX-License-Identifier: GPL-2.0
"""Runs the benchmark's kernels and reads what they measured.

Ways to run, named in every output:

instructions	x86_64 under QEMU with -icount: guest instructions, exact and the
		same each time; the figures to compare across commits
native		User-Mode Linux: ns, to be compared within one run only
smp		x86_64 under QEMU with four CPUs: ns, the same
uml_smp		User-Mode Linux with two CPUs, where the base has that: ns, the same
instructions16	the kernel of smp with 16 CPUs and -icount: creation and destruction
cpus2, 16, 64	the kernel of smp with so many CPUs: memory of idle allocators
large1, 8, 64	the same with -icount: what grows with the number of CPUs
large_numa	the same with four CPUs on two nodes of memory: whose objects are near
large_traffic	the same with 16 CPUs and a plugin that counts what CPUs fight for
"""

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from bench import traffic
from lib import files, job
from lib.guest import ICOUNT, TWO_NODES
from lib.host import Host, OverlayError
from lib.kernel import Kernel
from overlay.base import has_uml_smp
from overlay.tree import Tree

_SAMPLE = re.compile(r'# [\w.]+: bench: (\{.*\})\s*$')
_FAILED = re.compile(r'^\s*not ok \d+ ([\w.-]+)')


@dataclass(frozen=True)
class Mode:
	"""One way to run."""
	name: str
	unit: str                   # of the values that are times
	arch: str
	configs: Tuple[str, ...]    # names of files in configs/
	options: Tuple[str, ...]    # further words for kunit.py
	kernel: str = ''            # of which other mode, if not one of its own
	uml_smp: bool = False       # needs a base that has it
	group: str = ''             # a name for several modes
	traffic: bool = False       # a plugin measures

	def built(self) -> Kernel:
		"""What is built and booted for it."""
		return Kernel(self.name, self.arch, f'bench-{self.kernel or self.name}',
			      self.configs, self.options)


_ICOUNT = ' '.join(ICOUNT)
_SMP_CONFIGS = ('bench.config', 'bench_x86_64.config', 'bench_smp.config')

MODES: Tuple[Mode, ...] = (
	Mode('instructions', 'instructions', 'x86_64', ('bench.config', 'bench_x86_64.config'),
	     (f'--qemu_args={_ICOUNT}', '--timeout=1200', 'bpf_memalloc_bench*')),
	Mode('native', 'ns', 'um', ('bench.config', 'arch_um.config'),
	     ('--timeout=1200', 'bpf_memalloc_bench*')),
	Mode('smp', 'ns', 'x86_64', _SMP_CONFIGS,
	     ('--qemu_args=-smp 4', '--timeout=1200', 'bpf_memalloc_bench_*m[pe]*')),
	Mode('uml_smp', 'ns', 'um', ('bench.config', 'arch_um.config', 'um_smp.config'),
	     ('--kernel_args=seccomp=on', '--kernel_args=ncpus=2', '--timeout=1200',
	      'bpf_memalloc_bench*.bench_[ahp]*[rs]'),
	     uml_smp=True),
	Mode('instructions16', 'instructions', 'x86_64', _SMP_CONFIGS,
	     (f'--qemu_args={_ICOUNT} -smp 16 -m 2048', '--timeout=1200',
	      'bpf_memalloc_bench.bench_life'), 'smp'),
	*(Mode(f'cpus{nr}', 'bytes', 'x86_64', _SMP_CONFIGS,
	       (f'--qemu_args=-smp {nr} -m 2048', '--timeout=1200',
		'bpf_memalloc_bench_memory.bench_idle*'), 'smp')
	  for nr in (2, 16, 64)),
	*(Mode(f'large{nr}', 'instructions', 'x86_64', _SMP_CONFIGS,
	       (f'--qemu_args={_ICOUNT} -smp {nr} -m 2048', '--timeout=1200',
		'bpf_memalloc_large_[!n]*'), 'smp', group='large')
	  for nr in (1, 8, 64)),
	Mode('large_numa', 'objects per load', 'x86_64', _SMP_CONFIGS,
	     (f'--qemu_args={_ICOUNT} {TWO_NODES}', '--timeout=1200',
	      'bpf_memalloc_large_numa'), 'smp', group='large'),
	Mode('large_traffic', 'counts per 1,000 objects', 'x86_64', _SMP_CONFIGS,
	     (f'--qemu_args={_ICOUNT} -smp 16 -m 2048', '--timeout=1200',
	      'bpf_memalloc_traffic'), 'smp', group='large', traffic=True),
)


def names() -> List[str]:
	"""What a mode or several can be asked for by: names of modes, then of groups."""
	return list(dict.fromkeys([*(mode.name for mode in MODES),
				   *(mode.group for mode in MODES if mode.group)]))


def chosen(wanted: Sequence[str]) -> List[Mode]:
	"""Modes by their names or their group's, in order; all if nothing is named."""
	for name in wanted:
		if name not in names():
			raise OverlayError(f'no mode {name}: the modes are {", ".join(names())}')
	return [mode for mode in MODES
		if not wanted or mode.name in wanted or mode.group in wanted]


@dataclass
class Run:
	"""What one mode has measured; incomplete if it was cut short."""
	mode: str
	unit: str
	kernel: str
	config: str
	complete: bool
	failed: List[str]
	samples: List[Dict[str, Any]]  # work, who, value (per operation), ops, errors

	def as_json(self) -> Dict[str, Any]:
		return dict(self.__dict__)


def samples_in(log: str) -> Iterator[Dict[str, Any]]:
	"""The measurements in a kernel's log."""
	for line in log.splitlines():
		match = _SAMPLE.search(line)
		if not match:
			continue
		try:
			sample = json.loads(match[1])
		except ValueError:
			continue  # the last line of a run that was cut short
		yield sample


def failed_in(log: str) -> List[str]:
	"""Names of the cases that failed."""
	return [match[1] for match in map(_FAILED.match, log.splitlines()) if match]


def result(tree: Tree, mode: Mode, complete: bool) -> Run:
	"""What the log of a mode says."""
	kernel = mode.built()
	folder = kernel.where(tree.folder)
	log = files.read(kernel.log(tree.folder), '')
	config = [line for line in files.read(os.path.join(folder, '.kunitconfig'), '').splitlines()
		  if line.strip()]
	release = files.read(os.path.join(folder, 'include/config/kernel.release'), '').strip()
	counted = traffic.samples(log, files.read(traffic.counts(folder), '')) \
		if mode.traffic else []
	return Run(mode.name, mode.unit, release, ' '.join(sorted(config)), complete,
		   failed_in(log), [*samples_in(log), *counted])


def lacks(tree: Tree, mode: Mode) -> str:
	"""What the mode needs and the base does not have; empty if it can be run."""
	if mode.uml_smp and not has_uml_smp(tree.root):
		return 'User-Mode Linux with several CPUs'
	return ''


def run(host: Host, tree: Tree, mode: Mode) -> Run:
	"""Build and run one mode."""
	kernel = mode.built()
	folder = kernel.where(tree.folder)
	said = folder + '.log'
	words = ['--raw_output=all']
	files.remove(kernel.log(tree.folder))
	if mode.traffic:
		traffic.build(host, folder)
		words.append(f'--qemu_args={traffic.option(folder)}')

	def progress() -> str:
		measured = len(list(samples_in(files.read(said, ''))))
		return f'{measured} measurements' if measured else 'building the kernel'

	ended = job.run(host, f'{mode.name}: building the kernel and measuring',
			kernel.command('run', tree.folder, *words), said,
			progress=progress)
	done = result(tree, mode, ended.status == 0)
	if not done.samples:
		raise OverlayError(f'{mode.name}: nothing was measured: {job.last_line(said)} '
				   f'(log: {said})')
	return done
