# SPDX-License-Identifier: GPL-2.0
"""Everything at once, for as long as wanted (`make soak TIME=10m`).

It runs the suite bpf_memalloc_soak on x86_64 with four virtual CPUs and lock
debugging, and reads the kernel's log.
"""

import re
from dataclasses import replace

from check import suites
from check.step import Context, Tally
from lib.host import OverlayError
from lib.kernel import Kernel

_UNITS = {'s': 1, 'm': 60, 'h': 3600}
# Minutes are cases; each may wait for idle allocators to shrink afterwards.
_SLACK = 4


def seconds_of(text: str) -> int:
	"""What TIME means: a number with s, m or h behind it, in seconds."""
	match = re.fullmatch(r'([1-9][0-9]{0,5})([smh])', text)
	if not match:
		raise OverlayError(f'TIME={text} is no time: say for example 90s, 10m or 2h')
	return int(match[1]) * _UNITS[match[2]]


def kernel(seconds: int) -> Kernel:
	"""The x86_64 kernel of `make check`, with one suite for so many seconds."""
	return replace(suites.X86_64, options=(
		'--qemu_args=-smp 4', f'--timeout={_SLACK * seconds + 600}',
		f'--kernel_args=memalloc_soak_kunit.seconds={seconds}', 'bpf_memalloc_soak'))


def run(context: Context, seconds: int) -> Tally:
	return suites.run(context, kernel(seconds))
