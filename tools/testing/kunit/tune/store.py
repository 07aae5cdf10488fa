# SPDX-License-Identifier: GPL-2.0
"""Results of trials on disk: a line each as they come, tables at the end."""

import csv
import io
import json
import os
from typing import Any, Dict, List, Sequence

from lib import files
from tune.pareto import Trial

_COLUMNS = ('workload', 'machine', 'low', 'high', 'batch', 'status', 'why', 'cpus', 'allocs',
	    'failed', 'failed_task', 'failed_softirq', 'failed_hardirq', 'failed_nmi', 'refills',
	    'refilled_objects', 'batches_from_depot', 'batches_to_depot', 'held_mean',
	    'held_peak', 'used_mean', 'used_peak', 'ops', 'cost', 'worst', 'attempts', 'seconds')


class Store:
	"""All trials that ever ended, by key; a key stands for everything that matters."""

	def __init__(self, folder: str) -> None:
		os.makedirs(folder, exist_ok=True)
		self.folder = folder
		self._journal = os.path.join(folder, 'trials.jsonl')
		self.trials: Dict[str, Trial] = {}
		self._read()

	def _read(self) -> None:
		for line in files.read(self._journal, '').split('\n'):
			try:
				trial = json.loads(line)
				self.trials[trial['key']] = trial
			except (ValueError, KeyError, TypeError):
				continue  # the last line of a run that was killed

	def add(self, trial: Trial) -> None:
		"""Keep a trial, so that not even a power cut costs more than the next one."""
		torn = os.path.exists(self._journal) and not self._ends_with_newline()
		with open(self._journal, 'a', encoding='utf-8') as f:
			f.write(('\n' if torn else '') + json.dumps(trial) + '\n')
		self.trials[trial['key']] = trial

	def _ends_with_newline(self) -> bool:
		with open(self._journal, 'rb') as f:
			f.seek(0, os.SEEK_END)
			if not f.tell():
				return True
			f.seek(-1, os.SEEK_END)
			return f.read(1) == b'\n'

	def has(self, key: str) -> bool:
		"""Did this trial end well? Others are tried again."""
		return self.trials.get(key, {}).get('status') == 'ok'

	def forget(self) -> None:
		files.remove(self._journal)
		self.trials = {}

	def write(self, name: str, text: str) -> str:
		"""A file of results, whole or not at all; its path."""
		return files.write(os.path.join(self.folder, name), text)


def to_csv(trials: Sequence[Trial]) -> str:
	"""A row for each trial; bytes, counts, and ns that are instructions under QEMU."""
	text = io.StringIO()
	writer = csv.DictWriter(text, _COLUMNS, extrasaction='ignore', lineterminator='\n')
	writer.writeheader()
	writer.writerows(trials)
	return text.getvalue()


def to_json(data: Dict[str, Any]) -> str:
	return json.dumps(data, indent=1) + '\n'


def ordered(trials: Dict[str, Trial], keys: Sequence[str]) -> List[Trial]:
	return [trials[key] for key in keys if key in trials]
