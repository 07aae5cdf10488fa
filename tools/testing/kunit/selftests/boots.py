# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel with the selftests under QEMU and collects what they say."""

import os
import re
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from lib import files, job
from lib.guest import ICOUNT, Guest
from lib.host import Host, OverlayError
from lib.kernel import Build
from lib.kernel_log import worst_line
from selftests.choice import USE_CASES, Choice
from selftests.image import Step, make

CPUS = 2
MEMORY = 3072             # MiB
_LIMIT_TEST = 300         # seconds of guest time, of which emulation has few
_LIMIT_PROGRAM = 1500
_LIMIT_BOOT = 5400        # seconds on the host for everything in one boot
# Two producers, each on its CPU; seconds of guest time. Under -icount, one is a
# thousand million instructions.
_BENCH = './bench htab-mem -a -p 2 --use-case'
_BENCH_TIME = {'native': '-w 1 -d 5', 'icount': '-w 1 -d 2'}
# What a boot adds to the words of QEMU.
BOOTS: Dict[str, Tuple[str, ...]] = {
	'native': (),
	'icount': ICOUNT,
}
_BEGIN = re.compile(r'^@@ begin (\S+)$')
_END = re.compile(r'^@@ end (\S+) (-?\d+) (\d+)$')


def bench_steps(boot: str) -> List[Step]:
	"""Each use-case with elements from the allocator, and with preallocated ones."""
	return [Step(f'bench/{boot}/{case}/{kind}', _LIMIT_TEST,
		     f'{_BENCH} {case} {_BENCH_TIME[boot]}{option}')
		for case in USE_CASES
		for kind, option in (('dynamic', ''), ('preallocated', ' --preallocated'))]


def plan(choice: Choice, boot: str, has_sysctl: bool) -> List[Step]:
	"""What one boot runs. Each test of test_progs is a process of its own, so
	that one that hangs or dies does not take others with it."""
	steps = bench_steps(boot)
	if boot == 'native':
		steps += [Step(f'progs/{name}', _LIMIT_TEST, f'./test_progs -a {name}')
			  for name in choice.tests]
		steps += [Step(f'program/{name}', _LIMIT_PROGRAM, f'./{name}')
			  for name in ('test_lpm_map', 'test_lru_map', 'test_maps')]
		if has_sysctl:
			steps.append(Step('sysctl/force_dyn_alloc', _LIMIT_TEST, './sysctl.sh'))
	return steps


@dataclass(frozen=True)
class Outcome:
	"""How one step ended. status: 137 if its time was up, -1 if it never ended."""
	status: int
	seconds: int
	text: str


@dataclass(frozen=True)
class Boot:
	"""All of one boot. complete: the guest came to its end."""
	outcomes: Dict[str, Outcome]
	log: str
	complete: bool


def read_results(text: str) -> Tuple[Dict[str, Outcome], bool]:
	"""Splits what the second serial port brought; a step cut short has status -1."""
	outcomes: Dict[str, Outcome] = {}
	name, complete = '', False
	lines: List[str] = []
	for line in text.replace('\r', '').split('\n'):
		begin, end = _BEGIN.match(line), _END.match(line)
		if begin:
			name, lines = begin[1], []
			outcomes[name] = Outcome(-1, 0, '')
		elif end and end[1] == name:
			outcomes[name] = Outcome(int(end[2]), int(end[3]), '\n'.join(lines).strip())
			name = ''
		elif line == '@@ done':
			complete = True
		elif name:
			lines.append(line)
	if name:
		outcomes[name] = Outcome(-1, 0, '\n'.join(lines).strip())
	return outcomes, complete


def qemu(target: Build, image: str, boot: str, log: str, results: str) -> List[str]:
	"""The words that start a boot; the kernel's log and results go to files."""
	return Guest(target.image, image, MEMORY, ('rdinit=/init',), CPUS,
		     (f'file:{log}', f'file:{results}'), ('-cpu', 'max', *BOOTS[boot])).qemu()


def boot(host: Host, target: Build, user: str, steps: Sequence[Step], name: str) -> Boot:
	"""One boot from beginning to end."""
	image = target.file(f'{name}.cpio')
	log, results = target.file(f'{name}-kernel.log'), target.file(f'{name}-results.log')
	said = target.file(f'{name}-qemu.log')
	files.remove(log, results)
	make(host, user, target, steps, image)

	def progress() -> str:
		begun = [line for line in files.read(results, '').split('\n') if line.startswith('@@ begin ')]
		where = begun[-1].split()[2] if begun else 'booting'
		return f'{len(begun)} of {len(steps)}: {where}'

	ended = job.run(host, f'running {len(steps)} tests on {target.name} ({name})',
			qemu(target, image, name, log, results), said,
			limit=_LIMIT_BOOT, progress=progress)
	os.unlink(image)
	text = files.read(log, '')
	if not text:
		raise OverlayError(f'QEMU ended with status {ended.status}: '
				   f'{job.last_line(said) or "no reason given"}')
	outcomes, complete = read_results(files.read(results, ''))
	if not outcomes:
		raise OverlayError(f'{target.name} did not come to its first test: '
				   f'{worst_line(text)} (kernel log: {log})')
	return Boot(outcomes, text, complete)
