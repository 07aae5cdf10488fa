# SPDX-License-Identifier: GPL-2.0
"""Traces of allocation patterns, as text: see Documentation/bpf/memalloc_tune.rst."""

import heapq
import os
import re
from dataclasses import dataclass
from typing import Dict, Hashable, Iterable, List

from lib.files import REPO
from lib.host import OverlayError

# The traces that come with the overlay.
TRACES = os.path.join(REPO, 'kernel', 'bpf', 'tests', 'traces')
SUFFIX = '.trace'
FIRST = '# bpf_mem trace 1'


@dataclass(frozen=True)
class Event:
	"""One operation: at in us, context a letter of tshn, op one of afr (alloc, free,
	free_rcu), size in bytes of what is allocated."""
	at: float
	cpu: int
	context: str
	op: str
	obj: Hashable
	size: int = 0


@dataclass(frozen=True)
class Header:
	"""What has to be known of a trace; the kernel checks the rest."""
	workload: str
	recorded: str
	cpus: int
	interrupts: bool   # some of it runs in hardirqs or NMIs


def write(workload: str, recorded: str, events: Iterable[Event]) -> str:
	"""Events, in order of time, as a trace.

	The same obj may be allocated again after it was freed. What is freed and was
	not allocated before is left out: it is older than the recording.
	"""
	free: List[int] = []
	ids: Dict[Hashable, int] = {}
	lines: List[str] = []
	before, top, cpus = 0, 0, 0
	for event in events:
		if event.op == 'a':
			if event.obj in ids:
				raise OverlayError(f'object {event.obj} is allocated twice at '
						   f'{event.at:.0f} us: the recording lacks events')
			if not free:
				free, top = [top], top + 1
			ids[event.obj] = heapq.heappop(free)
			tail = f'{ids[event.obj]} {event.size}'
		elif event.obj in ids:
			tail = f'{ids[event.obj]}'
			heapq.heappush(free, ids.pop(event.obj))
		else:
			continue
		at = int(event.at)
		lines.append(f'{at - before if lines else 0} {event.cpu} {event.context} '
			     f'{event.op} {tail}')
		before, cpus = at, max(cpus, event.cpu + 1)
	if not lines:
		raise OverlayError('nothing was recorded')
	return '\n'.join([FIRST, f'# workload: {workload}', f'# recorded: {recorded}',
			  f'# cpus: {cpus}', f'# objects: {top}', f'# events: {len(lines)}',
			  *lines, ''])


def parse(name: str, text: str) -> Header:
	"""The header of a trace that is called name."""
	lines = text.splitlines()
	if not lines or lines[0] != FIRST:
		raise OverlayError(f'{name} is no trace: its first line is not "{FIRST}"')
	header = dict(re.findall(r'^# (\w+): (.*)$', text, re.M))
	if not header.get('cpus', '').isdecimal():
		raise OverlayError(f'{name} is no whole trace: its header has no "# cpus: "')
	events = [line for line in lines if not line.startswith('#')]
	if header.get('events', '') != str(len(events)):
		raise OverlayError(f'{name} is no whole trace: {len(events)} events, its header '
				   f'says {header.get("events", "nothing of them")}')
	return Header(header.get('workload', ''), header.get('recorded', ''), int(header['cpus']),
		      any(line.split()[2:3] in (['h'], ['n']) for line in events))
