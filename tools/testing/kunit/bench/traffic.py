# SPDX-License-Identifier: GPL-2.0
"""Shared-memory traffic: the plugin of QEMU that counts it, and what it counted.

The kernel says which load ran and how many objects it took, the plugin what it
saw of each, in the same order: see traffic.c.
"""

import json
import os
import re
import shlex
from typing import Any, Dict, List

from lib import files
from lib.host import Host, OverlayError

_HERE = os.path.dirname(os.path.realpath(__file__))
_LOAD = re.compile(r'# [\w.]+: traffic: (\{.*\})\s*$', re.M)
_VERSION = re.compile(r'version (\d+)\.(\d+)')

# What the plugin counts, in the order of its columns.
COLUMNS = ('atomics', 'shared_atomics', 'moves')
PER = 1000  # objects


def interface_of(version: str) -> int:
	"""Number of QEMU's plugin interface that a plugin has to name; from `--version`."""
	match = _VERSION.search(version)
	if not match:
		raise OverlayError('qemu-system-x86_64 does not tell its version')
	# Those since 9.0 take no plugin for an older one, nor the older ones for a newer one.
	return 2 if int(match[1]) >= 9 else 1


def counts(folder: str) -> str:
	"""The file that the plugin writes."""
	return os.path.join(folder, 'traffic.counts')


def _plugin(folder: str) -> str:
	return os.path.join(folder, 'traffic.so')


def option(folder: str) -> str:
	"""What QEMU is told, as words of a shell."""
	# In an option of QEMU a comma stands for itself when it is doubled.
	words = [path.replace(',', ',,') for path in (_plugin(folder), counts(folder))]
	return '-plugin ' + shlex.quote(f'{words[0]},out={words[1]}')


def build(host: Host, folder: str) -> None:
	"""The plugin, into a folder; counts of an earlier run go."""
	os.makedirs(folder, exist_ok=True)
	files.remove(counts(folder))
	version = host.capture(['qemu-system-x86_64', '--version']).text
	built = host.capture(['gcc', '-O2', '-shared', '-fPIC', '-o', _plugin(folder),
			      f'-DPLUGIN_VERSION={interface_of(version)}',
			      os.path.join(_HERE, 'traffic.c')])
	if built.status:
		raise OverlayError(f'traffic.c cannot be compiled: {built.text.strip()}')


def samples(log: str, counted: str) -> List[Dict[str, Any]]:
	"""Joined, for each load and each column, per thousand objects."""
	loads = [json.loads(match) for match in _LOAD.findall(log)]
	rows = [[int(word) for word in line.split()] for line in counted.splitlines()]
	# A run that was cut short may have counted what it did not come to print.
	if len(rows) < len(loads) or any(len(row) != len(COLUMNS) for row in rows):
		raise OverlayError(f'the plugin counted {len(rows)} of {len(loads)} loads')
	return [{'work': f'{load["work"]}_{column}', 'who': load['who'],
		 'value': round(row[i] * PER / load['ops'], 2), 'ops': load['ops'], 'errors': 0}
		for load, row in zip(loads, rows) for i, column in enumerate(COLUMNS)]
