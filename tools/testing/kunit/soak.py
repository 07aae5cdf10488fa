#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Everything at once, for as long as wanted (`make soak TIME=10m`).

Runs the suite bpf_memalloc_soak on x86_64 with four virtual CPUs and lock
debugging, and reads the kernel's log. The last line is the sum.
"""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import os
import re
import sys
from dataclasses import replace

import check
import check_kunit
from check_step import Context
from overlay_host import Host, OverlayError, guarded
from overlay_tree import REPO, assemble, locked, prepare_build
import overlay_setup

_UNITS = {'s': 1, 'm': 60, 'h': 3600}
# Minutes are cases; each may wait for idle allocators to shrink afterwards.
_SLACK = 4


def seconds_of(text: str) -> int:
	"""What TIME means: a number with s, m or h behind it, in seconds."""
	match = re.fullmatch(r'([1-9][0-9]{0,5})([smh])', text)
	if not match:
		raise OverlayError(f'TIME={text} is no time: say for example 90s, 10m or 2h')
	return int(match[1]) * _UNITS[match[2]]


def kernel(seconds: int) -> check_kunit.Kernel:
	"""The x86_64 kernel of `make check`, with one suite for so many seconds."""
	return replace(check_kunit.X86_64, options=(
		'--qemu_args=-smp 4', f'--timeout={_SLACK * seconds + 600}',
		f'--kernel_args=memalloc_soak_kunit.seconds={seconds}', 'bpf_memalloc_soak'))


def main() -> int:
	host = Host()
	if len(sys.argv) != 2:
		raise OverlayError('usage: soak.py TIME, for example 90s, 10m or 2h')
	seconds = seconds_of(sys.argv[1])
	with locked(prepare_build(REPO), host):
		overlay_setup.ensure(host, check.requirements(['x86_64']))
	tree = assemble(host, REPO, os.environ.get('KSRC') or None)
	total = check_kunit.run(Context(host, REPO, tree), kernel(seconds))
	print(total)
	return int(total.failed > 0)


if __name__ == '__main__':
	sys.exit(guarded('make soak', main))
