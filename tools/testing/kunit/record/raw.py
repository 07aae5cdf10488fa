# SPDX-License-Identifier: GPL-2.0
"""What the two recorders write, as events of a trace.

maps	record.bt: operations of hash maps, on any kernel
events	record_events.sh: tracepoints of our allocator, every object
"""

import re
from typing import Dict, Iterator, List, Set, Tuple

from lib.host import OverlayError
from lib.trace import Event

_FIRST = re.compile(r'^# bpf_mem raw 1 (maps|events)$', re.M)
# m time_ns cpu preempt_count op map size key result
_MAP = re.compile(r'^m (\d+) (\d+) (-?\d+) ([ud]) (\d+) (\d+) (\d+) (-?\d+)$')
_OBJECT = re.compile(r'^\s*\S.*-\d+\s+\[(\d+)\]\s+(\S{4,5})\s+(\d+)\.(\d{6}): '
		     r'bpf_mem_object_(alloc|free): (.*)$')
_ALLOC = re.compile(r'^id=\d+ size=(\d+) obj=(\S+)$')
_FREE = re.compile(r'^obj=(\S+) rcu=([01])$')
_LOST = re.compile(r'^Lost (\d+) events$|LOST (\d+) EVENTS|'
		   r'^# overrun cpu\d+: ([1-9]\d*)$', re.M)

# Of the preempt count, include/linux/preempt.h.
_NMI, _HARDIRQ, _SOFTIRQ_SERVED = 0x00f00000, 0x000f0000, 0x00000100


def _context_of_count(count: int) -> str:
	for mask, letter in ((_NMI, 'n'), (_HARDIRQ, 'h'), (_SOFTIRQ_SERVED, 's')):
		if count & mask:
			return letter
	return 't'


def _context_of_flags(flags: str) -> str:
	"""From the irqs-off, resched, hardirq/softirq letters of tracefs."""
	letter = flags[2]
	return {'h': 'h', 'H': 'h', 's': 's', 'z': 'n', 'Z': 'n'}.get(letter, 't')


def _map_lines(text: str) -> List[Tuple[int, int, str, str, Tuple[str, str], int]]:
	"""Time, CPU, context, op, (map, key), size of what succeeded, in order of time."""
	found = []
	for line in text.splitlines():
		match = _MAP.match(line)
		if match and int(match[8]) == 0:
			found.append((int(match[1]), int(match[2]),
				      _context_of_count(int(match[3])), match[4],
				      (match[5], match[7]), int(match[6])))
		elif line.startswith('m ') and not match:
			raise OverlayError(f'a line of the recording is damaged: "{line}"')
	return sorted(found, key=lambda line: line[0])


def _map_events(text: str) -> Iterator[Event]:
	"""An update of a key that is there is a new object and the end of the old one."""
	live: Dict[Tuple[str, str], int] = {}
	for time, cpu, context, op, key, size in _map_lines(text):
		at = time / 1000
		generation = live.get(key, 0)
		if op == 'u':
			yield Event(at, cpu, context, 'a', (key, generation + 1), size)
			live[key] = generation + 1
		if generation > 0:
			yield Event(at, cpu, context, 'f', (key, generation))
		if op == 'd':
			live[key] = 0


def _object_events(text: str) -> Iterator[Event]:
	for line in text.splitlines():
		match = _OBJECT.match(line)
		if not match:
			continue
		cpu, context = int(match[1]), _context_of_flags(match[2])
		at = int(match[3]) * 1e6 + int(match[4])
		alloc, free = _ALLOC.match(match[6]), _FREE.match(match[6])
		if match[5] == 'alloc' and alloc:
			yield Event(at, cpu, context, 'a', alloc[2], int(alloc[1]))
		elif match[5] == 'free' and free:
			yield Event(at, cpu, context, 'r' if free[2] == '1' else 'f', free[1])
		else:
			raise OverlayError(f'a line of the recording is damaged: "{line}"')


def _numbered(events: Iterator[Event]) -> Iterator[Event]:
	"""CPUs count from 0 without gaps, whatever their numbers were."""
	kept = list(events)
	cpus: List[int] = sorted({event.cpu for event in kept})
	for event in kept:
		yield Event(event.at, cpus.index(event.cpu), event.context, event.op, event.obj,
			    event.size)


def events(text: str) -> List[Event]:
	"""What a recorder wrote, in order of time; at counts from any origin."""
	first = _FIRST.search(text.replace('\r', ''))
	if not first:
		raise OverlayError('this is not what record.bt or record_events.sh writes: '
				   'its line "# bpf_mem raw 1" is missing')
	lost = _LOST.search(text)
	if lost:
		raise OverlayError(f'{next(filter(None, lost.groups()))} events were lost, so what '
				   'is left makes no sense: record for a shorter time, or with '
				   'larger buffers (BPFTRACE_PERF_RB_PAGES, buffer_size_kb)')
	return list(_numbered(_map_events(text) if first[1] == 'maps' else _object_events(text)))


def contexts(found: List[Event]) -> Dict[str, int]:
	"""How many events each context had."""
	seen: Set[str] = {event.context for event in found}
	return {letter: sum(event.context == letter for event in found)
		for letter in 'tshn' if letter in seen}
