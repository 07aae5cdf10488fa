# SPDX-License-Identifier: GPL-2.0
"""The benchmark: `make bench`, and `make bench-compare A=old.json B=new.json`."""

import argparse
import json
import os
import platform
import time
from typing import Any, Dict, List

from bench import figures, modes
from lib import files, packages, report
from lib.files import REPO, locked
from lib.host import Host, OverlayError
from overlay.tree import Tree, commit, prepare_build, ready

OUT = os.path.join(REPO, 'build', 'bench')
VERSION = 1
_WIDTH = 140         # of tables where no terminal is


def _cpu_model() -> str:
	names = [line.split(':', 1)[1].strip()
		 for line in files.read('/proc/cpuinfo', '').splitlines()
		 if line.startswith('model name')]
	return names[0] if names else platform.machine()


def describe(host: Host, tree: Tree) -> Dict[str, Any]:
	"""All of bench.json but the runs."""
	return {'version': VERSION, 'commit': commit(host), 'base': tree.base.label(),
		'date': time.strftime('%Y-%m-%d %H:%M'),
		'machine': {'cpus': os.cpu_count(), 'model': _cpu_model()}, 'runs': []}


def read(path: str) -> Dict[str, Any]:
	"""A bench.json that was written earlier."""
	try:
		data = json.loads(files.read(path))
	except OSError as e:
		raise OverlayError(f'{path}: {e.strerror}: name a bench.json') from e
	except ValueError as e:
		raise OverlayError(f'{path} is no JSON: name a bench.json') from e
	if not isinstance(data, dict) or data.get('version') != VERSION:
		raise OverlayError(f'{path} is no bench.json of this version: measure again')
	return data


def _write(name: str, text: str) -> str:
	os.makedirs(OUT, exist_ok=True)
	return files.write(os.path.join(OUT, name), text)


def measure(host: Host, names: List[str]) -> int:
	wanted = modes.chosen(names)
	tree = ready(host, [*packages.BENCH, *packages.build('x86_64'), *packages.qemu('x86_64')])
	# These come with packages that set-up may just have installed.
	from bench import page, table

	data = describe(host, tree)
	interrupted = False
	for mode in wanted:
		lack = modes.lacks(tree, mode)
		if lack and names:
			raise OverlayError(f'{mode.name} needs a base with {lack}: use KSRC=newest')
		if lack:
			continue
		try:
			run = modes.run(host, tree, mode)
		except KeyboardInterrupt:
			interrupted = True
			run = modes.result(tree, mode, False)
		if run.samples:
			data['runs'].append(run.as_json())
		if interrupted:
			break
	if not data['runs']:
		raise KeyboardInterrupt
	found = figures.figures(data)
	table.show(report.console(_WIDTH), data, found)
	host.say('written: ' + _write('bench.json', json.dumps(data, indent=1) + '\n'))
	host.say('written: ' + _write('bench.html', page.page(data, found)))
	if interrupted:
		host.say('interrupted: what was measured until then is kept and marked')
		return 130
	return int(any(run['failed'] or not run['complete'] for run in data['runs']))


def compare(host: Host, before: str, after: str) -> int:
	with locked(prepare_build(REPO), host):
		packages.ensure(host, packages.BENCH)
	packages.use_dist_packages()
	from bench import table

	old, new = read(before), read(after)
	table.show_changes(report.console(_WIDTH),
			   figures.changes(figures.figures(old), figures.figures(new)))
	return 0


def parser() -> argparse.ArgumentParser:
	p = argparse.ArgumentParser(
		prog='bench', description='Measures what allocation costs, ours beside the base\'s own '
		'and others, in one kernel. Prints tables, and writes build/bench/bench.json and '
		'build/bench/bench.html.',
		epilog='KSRC in the environment names another base.')
	p.add_argument('modes', nargs='*', metavar='MODE', help='ways to run '
		       '(default: all that the base can run): ' +
		       ', '.join(modes.names()))
	p.add_argument('--compare', nargs=2, metavar=('OLD', 'NEW'), help='measure nothing; print '
		       'what differs between two bench.json by more than the samples spread')
	return p


def main() -> int:
	host = Host()
	args = parser().parse_args()
	if args.compare and not all(args.compare):
		raise OverlayError('say which two: make bench-compare A=old.json B=new.json')
	if args.compare:
		return compare(host, *args.compare)
	return measure(host, args.modes)
