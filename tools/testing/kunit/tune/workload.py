# SPDX-License-Identifier: GPL-2.0
"""Workloads that can be replayed: traces that were recorded, and built-in ones."""

import os
import random
import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Set

from lib import files, trace
from lib.host import OverlayError
from lib.trace import SUFFIX, TRACES, Event


@dataclass(frozen=True)
class Workload:
	"""A trace with a name."""
	name: str
	about: str   # one line for people
	cpus: int
	interrupts: bool  # some of it runs in hardirqs or NMIs
	text: str

	@property
	def file(self) -> str:
		"""Its name as a firmware file."""
		return self.name + SUFFIX

	@property
	def identity(self) -> bytes:
		"""What results depend on and are filed under."""
		return f'{self.name}\0{self.text}'.encode()


def parse(name: str, text: str) -> Workload:
	header = trace.parse(name, text)
	return Workload(name, header.workload, header.cpus, header.interrupts, text)


def _write(about: str, events: List[Event]) -> str:
	return trace.write(about, 'never, it is computed',
			   sorted(events, key=lambda event: (event.at, event.op != 'a')))


def _bursts() -> str:
	"""Bursts that grow, each from one interrupt, freed by a task some ms later."""
	events: List[Event] = []
	at, obj = 0.0, 0
	for nr in (50, 100, 200, 400, 50, 800, 100, 400, 200, 50):
		events += [Event(at, 0, 'h', 'a', obj + i, 80) for i in range(nr)]
		events += [Event(at + 10000 + i, 0, 't', 'f', obj + i) for i in range(nr)]
		at, obj = at + 30000, obj + nr
	return _write('bursts of 50 to 800 objects of 80 bytes, each in one interrupt, '
		      'freed by a task 10 ms later', events)


def _steady() -> str:
	"""A Poisson stream of objects that live for exponentially distributed times."""
	rng = random.Random(2)
	events: List[Event] = []
	at = 0.0
	for obj in range(3000):
		at += rng.expovariate(1 / 100)
		end = at + rng.expovariate(1 / 20000)
		events += [Event(at, 0, 's', 'a', obj, 192), Event(end, 0, 's', 'f', obj)]
	return _write('objects of 192 bytes that come every 100 us and live for 20 ms, both '
		      'on average, all in softirqs of one CPU', events)


def _handover() -> str:
	"""One CPU allocates what another frees."""
	events: List[Event] = []
	for obj in range(3000):
		at = obj // 60 * 2000.0 + obj % 60
		events += [Event(at, 0, 's', 'a', obj, 64), Event(at + 500, 1, 't', 'f', obj)]
	return _write('one CPU allocates 60 objects of 64 bytes every 2 ms, another frees them',
		      events)


BUILT_IN: Dict[str, Callable[[], str]] = {
	'bursts': _bursts, 'steady': _steady, 'handover': _handover}


def shipped() -> List[str]:
	"""Names of the traces that come with the overlay."""
	if not os.path.isdir(TRACES):
		return []
	return sorted(name[:-len(SUFFIX)] for name in os.listdir(TRACES)
		      if name.endswith(SUFFIX))


def _read(path: str) -> str:
	try:
		text = files.read(path)
	except OSError as e:
		raise OverlayError(f'{path}: {e.strerror}: name a trace') from e
	if not text.isascii():
		raise OverlayError(f'{path} is no trace: it is not plain text')
	return text


def load(name: str) -> Workload:
	"""A workload by its name, or by the path of a trace (with a slash or .trace)."""
	if name in BUILT_IN:
		return parse(name, BUILT_IN[name]())
	if name in shipped():
		return parse(name, _read(os.path.join(TRACES, name + SUFFIX)))
	if '/' not in name and not name.endswith(SUFFIX):
		raise OverlayError(f'no workload {name}: there are {", ".join(known())}, '
				   'or give the path of a trace')
	base = os.path.basename(name)
	base = base[:-len(SUFFIX)] if base.endswith(SUFFIX) else base
	return parse(re.sub(r'[^\w.-]', '_', base), _read(name))


def known() -> List[str]:
	return shipped() + sorted(BUILT_IN)


def load_all(names: Sequence[str]) -> List[Workload]:
	"""Workloads by name, each once."""
	found = [load(name) for name in names]
	seen: Set[str] = set()
	for workload in found:
		if workload.name in seen:
			raise OverlayError(f'two workloads are called {workload.name}: '
					   'rename one of the files')
		seen.add(workload.name)
	return found
