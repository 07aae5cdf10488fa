# SPDX-License-Identifier: GPL-2.0
"""Runs the suites on one kernel, counts the cases and reads the kernel's log."""

import json
import os
import re
import sys
from dataclasses import dataclass
from typing import Any, List, Tuple

from check.step import FAIL, Context, Tally, verdict
from overlay.base import has_uml_smp

# What a kernel prints when something is wrong, whatever the tests say.
TROUBLE = re.compile(r'\bWARNING:|\bBUG:|\bKASAN:|\bUBSAN:|possible recursive locking|'
		     r'\bINFO: (rcu|task)|suspicious RCU|\bOops\b|Call Trace|'
		     r'Kernel panic|general protection fault')
_STATUS = {'PASS': Tally(passed=1), 'SKIP': Tally(skipped=1)}


@dataclass(frozen=True)
class Kernel:
	"""One configuration in which the suites are run."""
	name: str
	arch: str
	fragments: Tuple[str, ...] = ()      # names of files in configs/
	options: Tuple[str, ...] = ()        # further words for kunit.py

	def folder(self, context: Context) -> str:
		return os.path.join(context.tree.folder, f'kunit-{self.name}')


UML = Kernel('um', 'um', ('arch_um.config',))
UML_KASAN = Kernel('um-kasan', 'um', ('arch_um.config', 'kasan.config'), ('--timeout=900',))
# Several CPUs, where the base has them there (7.x).
UML_SMP = Kernel('um-smp', 'um', ('arch_um.config', 'um_smp.config'),
		 ('--kernel_args=seccomp=on', '--kernel_args=ncpus=2', '--timeout=900'))
# Lock debugging is part of the only x86_64 build, which saves a second one.
X86_64 = Kernel('x86_64-lockdep', 'x86_64', ('arch_x86_64.config', 'lockdep.config'),
		('--qemu_args=-smp 4', '--timeout=1200'))


def count_cases(group: Any) -> Tally:
	"""Adds up the leaves of what kunit.py --json writes."""
	total = Tally()
	for case in group.get('test_cases', []):
		total += _STATUS.get(case.get('status'), FAIL)
	for sub_group in group.get('sub_groups', []):
		total += count_cases(sub_group)
	return total


def trouble_in(log: str) -> List[str]:
	"""The lines of a kernel log that report trouble."""
	return [line.rstrip() for line in log.splitlines() if TROUBLE.search(line)]


def read_log(context: Context, kernel: Kernel) -> Tally:
	"""One check: the kernel's log is there and nothing in it is alarming."""
	name = f'kernel log of {kernel.name}'
	try:
		path = os.path.join(kernel.folder(context), 'test.log')
		with open(path, encoding='utf-8', errors='replace') as f:
			lines = trouble_in(f.read())
	except OSError:
		lines = ['there is none: the kernel was not started']
	return verdict(context.host, name, lines)


def run_uml_smp(context: Context) -> Tally:
	"""As run(); a base that has no such kernel is a check that was skipped."""
	if has_uml_smp(context.tree.root):
		return run(context, UML_SMP)
	context.host.say(f'skipped {UML_SMP.name}: {context.tree.base.label()} has no SMP there')
	return Tally(skipped=1)


def run(context: Context, kernel: Kernel) -> Tally:
	"""Build this kernel, run all suites on it, count."""
	folder = kernel.folder(context)
	report = os.path.join(folder, 'report.json')
	for old in (report, os.path.join(folder, 'test.log')):
		if os.path.exists(old):
			os.unlink(old)
	tool = os.path.join(context.repo, 'tools/testing/kunit')
	configs = [os.path.join(context.repo, '.kunitconfig')]
	configs += [os.path.join(tool, 'configs', fragment) for fragment in kernel.fragments]
	status = context.host.stream(
		[sys.executable, '-B', os.path.join(tool, 'kunit.py'), 'run',
		 f'--arch={kernel.arch}', f'--build_dir={folder}', f'--json={report}',
		 *(f'--kunitconfig={config}' for config in configs), *kernel.options])
	try:
		with open(report, encoding='utf-8') as f:
			cases = count_cases(json.load(f))
	except (OSError, ValueError):
		context.host.say(f'FAILED {kernel.name}: no result, see above')
		return FAIL
	if cases.passed + cases.failed == 0:
		context.host.say(f'FAILED {kernel.name}: no test case ran')
		cases += FAIL
	elif status and not cases.failed:
		context.host.say(f'FAILED {kernel.name}: kunit.py ended with status {status}')
		cases += FAIL
	return cases + read_log(context, kernel)
