# SPDX-License-Identifier: GPL-2.0
"""Runs the suites on one kernel, counts the cases and reads the kernel's log."""

import json
import os
from dataclasses import replace
from typing import Any

from check.step import FAIL, Context, Tally, verdict
from lib import files
from lib.guest import THREE_NODES
from lib.kernel import ADDED, DEFAULT, SAID, SUITES, Kernel
from lib.kernel_log import trouble_in
from overlay.base import has_uml_smp

_STATUS = {'PASS': Tally(passed=1), 'SKIP': Tally(skipped=1)}


_TIME = tuple(f'--kernel_args={word}' for word in SAID['um'])
UML = replace(DEFAULT, options=(*_TIME, '--timeout=900'))
UML_KASAN = Kernel('um-kasan', 'um', 'kunit-um-kasan', (*DEFAULT.configs, 'kasan.config'),
		   (*_TIME, '--timeout=1800'))
# Several CPUs, where the base has them there (7.x).
UML_SMP = Kernel('um-smp', 'um', 'kunit-um-smp', (SUITES, 'arch_um.config', 'um_smp.config'),
		 ('--kernel_args=seccomp=on', '--kernel_args=ncpus=2', '--timeout=900'))
# Lock debugging is part of the only x86_64 build, which saves a second one.
X86_64 = Kernel('x86_64-lockdep', 'x86_64', 'kunit-x86_64-lockdep',
		(SUITES, *ADDED['x86_64'], 'lockdep.config'),
		('--qemu_args=-smp 4', '--timeout=1800'))


# The same kernel with as many shards as there are CPUs; and with nodes, a shard each.
SHARDS = Kernel('x86_64-shards', 'x86_64', X86_64.folder, X86_64.configs,
		('--qemu_args=-smp 4', '--kernel_args=pcpu_magazine_depot.cpus_per_shard=1',
		 '--timeout=1800'))
NUMA = Kernel('x86_64-numa', 'x86_64', X86_64.folder, X86_64.configs,
	      (f'--qemu_args={THREE_NODES}', '--timeout=1800'))
# One CPU and no SMP: true NMIs where a spinlock is nothing.
UP = Kernel('x86_64-up', 'x86_64', 'kunit-x86_64-up', (SUITES, 'arch_x86_64.config', 'up.config'),
	    ('--timeout=1800',))


def count_cases(group: Any) -> Tally:
	"""Adds up the leaves of what kunit.py --json writes."""
	total = Tally()
	for case in group.get('test_cases', []):
		total += _STATUS.get(case.get('status'), FAIL)
	for sub_group in group.get('sub_groups', []):
		total += count_cases(sub_group)
	return total


def read_log(context: Context, kernel: Kernel) -> Tally:
	"""One check: the kernel's log is there and nothing in it is alarming."""
	try:
		lines = trouble_in(files.read(kernel.log(context.tree.folder)))
	except OSError:
		lines = ['there is none: the kernel was not started']
	return verdict(context.host, f'kernel log of {kernel.name}', lines)


def run_uml_smp(context: Context) -> Tally:
	"""As run(); a base that has no such kernel is a check that was skipped."""
	if has_uml_smp(context.tree.root):
		return run(context, UML_SMP)
	context.host.say(f'skipped {UML_SMP.name}: {context.tree.base.label()} has no SMP there')
	return Tally(skipped=1)


def run(context: Context, kernel: Kernel) -> Tally:
	"""Build this kernel, run all suites on it, count."""
	parent = context.tree.folder
	report = os.path.join(kernel.where(parent), 'report.json')
	files.remove(report, kernel.log(parent))
	status = context.host.stream(
		kernel.command('run', parent, f'--json={report}', repo=context.repo))
	try:
		cases = count_cases(json.loads(files.read(report)))
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
