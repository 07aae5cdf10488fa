# SPDX-License-Identifier: GPL-2.0
"""One trial: boot a kernel with watermarks, replay a trace, read what it says.

This is shipped to the workers of a cluster, with what it imports of lib/: see
cluster.py. None of that needs a package.
"""

import importlib
import json
import os
import re
import subprocess
import time
from typing import Any, Dict, List, Tuple

from lib.guest import ICOUNT, Guest
from lib.kernel_log import trouble_in

# Pauses of a trace, in us: nothing waits for real, see command().
_MAX_GAP = 1000000
_MEMORY = 384  # MiB, of the guest
_REPLAY = re.compile(r'# test_recorded: replay: (\{.*\})\s*$')
_MARKS = re.compile(r'# test_recorded: marks: (\{.*\})\s*$')
_VERDICT = re.compile(r'^(not )?ok \d+ bpf_memalloc_replay\s*$')
_TAIL = 40     # lines of a log that are kept where something went wrong


def command(spec: Dict[str, Any], folder: str) -> List[str]:
	"""The words that start the kernel of a trial.

	User-Mode Linux runs in time that passes only while nothing happens, and QEMU
	counts instructions as time and skips what is slept: both give the same
	figures each time, whatever else the machine does.
	"""
	uml = spec['machine'] == 'uml'
	guest = Guest(
		os.path.join(folder, spec['kernel']), os.path.join(folder, spec['image']), _MEMORY,
		(f'kunit_shutdown={"halt" if uml else "reboot"}', 'kunit.enable=1',
		 'kunit.filter_glob=bpf_memalloc_replay.test_recorded',
		 f'memalloc_replay_kunit.traces={spec["trace"]}',
		 f'memalloc_replay_kunit.max_gap={_MAX_GAP}',
		 *(f'bpf_mem_alloc.{name}={spec[name]}' for name in ('low', 'high', 'batch'))),
		spec['cpus'], options=ICOUNT)
	return guest.uml() if uml else guest.qemu()


def _run(words: List[str], limit: int) -> Tuple[str, str]:
	"""What the kernel said, and why it ended if not by itself."""
	try:
		with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
				      stderr=subprocess.STDOUT, text=True,
				      errors='replace') as process:
			try:
				text, _ = process.communicate(timeout=limit)
			except subprocess.TimeoutExpired:
				process.kill()
				text, _ = process.communicate()
				return text, f'no end after {limit} s'
			except BaseException:
				process.kill()
				raise
	except OSError as e:
		return '', f'{words[0]}: {e.strerror}'
	return text, f'ended by signal {-process.returncode}' if process.returncode < 0 else ''


def read_log(text: str) -> Tuple[Dict[str, Any], str]:
	"""The figures in a kernel's log, and what is wrong with it if anything is."""
	figures: Dict[str, Any] = {'marks': []}
	bad = [' '.join(line.split()) for line in trouble_in(text)]
	verdict, trouble = '', bad[0] if bad else ''
	for line in text.replace('\r', '').splitlines():
		replay, marks, end = _REPLAY.search(line), _MARKS.search(line), _VERDICT.match(line)
		try:
			if replay:
				figures.update(json.loads(replay[1]))
			elif marks:
				figures['marks'].append(json.loads(marks[1]))
		except ValueError:
			trouble = trouble or 'a line of figures is cut short'
		if end:
			verdict = 'failed' if end[1] else 'ok'
	if trouble:
		return figures, trouble
	if verdict == 'failed':
		return figures, 'the replay did not do what the trace says'
	if verdict != 'ok' or 'refills' not in figures:
		return figures, 'the kernel ended without a result'
	return figures, ''


def _worker_folder() -> str:
	"""Where the worker that runs this keeps the files it was sent."""
	distributed: Any = importlib.import_module('distributed')
	return str(distributed.get_worker().local_directory)


def run_trial(spec: Dict[str, Any], folder: str = '') -> Dict[str, Any]:
	"""Run one trial.

	spec: machine ('uml' or 'qemu'), kernel and image (names of files), trace (its
	name in the image), cpus, low, high, batch, limit (s) and whatever else the
	caller wants to see again. folder: where the files are; empty for a worker's.
	Returns spec, with status 'ok' or 'crashed', why, seconds, and what the kernel
	measured. A kernel that ends without a result is given a second chance.
	"""
	folder = folder or _worker_folder()
	begin = time.monotonic()
	os.chmod(os.path.join(folder, spec['kernel']), 0o755)
	words = command(spec, folder)
	for attempt in (1, 2):
		text, why = _run(words, spec['limit'])
		figures, wrong = read_log(text)
		why = wrong and (why or wrong)
		if not why:
			break
	result = {**spec, **figures, 'status': 'crashed' if why else 'ok', 'why': why,
		  'attempts': attempt, 'seconds': round(time.monotonic() - begin, 2)}
	if why:
		result['log'] = text.splitlines()[-_TAIL:]
	return result
