# SPDX-License-Identifier: GPL-2.0
"""Finds watermarks that suit a workload, by experiment (`make tune`).

Kernels replay recorded or built-in allocation patterns, each with other
watermarks, many at a time: User-Mode Linux where one CPU will do, QEMU where
several or their interrupts matter. What came of it is shown as the Pareto front
of failures, memory and instructions, with a recommendation.
"""

import argparse
import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

from lib import files, initramfs, kernel, packages, report
from lib.files import REPO, locked
from lib.host import Host, OverlayError
from lib.kernel import Kernel
from overlay.tree import Tree, commit, ready
from tune import pareto, workload
from tune.progress import Trials
from tune.search import Grid, Setting, explore, numbers, refine
from tune.store import Store, ordered, to_csv, to_json
from tune.workload import Workload

OUT = os.path.join(REPO, 'build', 'tune')
# s; far more than a trial takes on a slow machine.
_LIMIT = 300
MACHINES = {machine.name: machine for machine in (
	Kernel('uml', 'um', 'tune-um', ('tune.config', 'tune_um.config')),
	Kernel('qemu', 'x86_64', 'tune-x86_64',
	       ('tune.config', 'bench_x86_64.config', 'bench_smp.config')),
)}


@dataclass(frozen=True)
class Plan:
	"""What does not change from trial to trial."""
	workloads: List[Workload]
	machine: Dict[str, str]      # of a workload, by its name
	kernels: Dict[str, str]      # file that is shipped, by machine
	image: str                   # the same, with the traces
	hashes: Dict[str, str]       # of what a trial of a workload depends on


def parser() -> argparse.ArgumentParser:
	p = argparse.ArgumentParser(
		prog='tune', formatter_class=argparse.RawDescriptionHelpFormatter,
		description='Finds watermarks of the BPF memory allocator that suit a workload.',
		epilog='Workloads that are there:\n' + '\n'.join(
			f'  {name:<10} {workload.load(name).about}'
			for name in workload.known()) +
		'\n\nResults go to build/tune/: tune.html, tune.json, tune.csv. A run that was\n'
		'stopped goes on where it was; nothing is tried twice for the same kernel.')
	p.add_argument('workload', nargs='*', metavar='WORKLOAD',
		       help='names, or paths of traces (default: all there are)')
	p.add_argument('--low', metavar='N,...', help='values to try for the low watermark')
	p.add_argument('--high', metavar='N,...', help='values to try for the high watermark')
	p.add_argument('--batch', metavar='N,...', help='values to try for the batch')
	p.add_argument('--trials', type=int, metavar='N',
		       help='how many kernels to run at most: half of them for settings spread '
		       'over the grid, half for those next to the best (default: 60; with '
		       '--low, --high or --batch: the whole grid)')
	p.add_argument('--machine', choices=['auto', *MACHINES], default='auto',
		       help='where kernels run (default: auto, uml for workloads of one CPU '
		       'without interrupts, qemu for others; only qemu counts instructions)')
	p.add_argument('--scheduler', metavar='ADDRESS',
		       help='a Dask scheduler to hand the trials to, for example '
		       'tcp://host:8786 (default: one of this machine)')
	p.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N',
		       help='kernels at a time on this machine (default: its CPUs)')
	p.add_argument('--seed', type=int, default=1, help='for what is left to chance (default: 1)')
	p.add_argument('--fresh', action='store_true', help='forget the results of earlier runs')
	return p


def grid_of(args: argparse.Namespace) -> Grid:
	given = {name: numbers(getattr(args, name), name)
		 for name in ('low', 'high', 'batch') if getattr(args, name)}
	return Grid(**given)


def check(args: argparse.Namespace) -> None:
	for name in ('trials', 'jobs'):
		value = getattr(args, name)
		if value is not None and value < 1:
			raise OverlayError(f'--{name}={value} is too few: 1 is the least')


def _hash(*parts: bytes) -> str:
	return hashlib.sha256(b'\0'.join(parts)).hexdigest()[:12]


def ship(folder: str, name: str, path: str) -> str:
	"""A copy of a kernel, called after its content; the name."""
	content = files.read_bytes(path)
	file = f'{name}-{_hash(content)}'
	if not os.path.exists(os.path.join(folder, file)):
		files.write(os.path.join(folder, file), content)
	return file


def pack(folder: str, workloads: Sequence[Workload]) -> str:
	"""An initramfs with the traces; its name."""
	file = 'traces-' + _hash(*(w.identity for w in workloads))
	root = os.path.join(folder, file + '.d')
	shutil.rmtree(root, ignore_errors=True)
	target = os.path.join(root, 'lib', 'firmware')
	os.makedirs(target)
	for w in workloads:
		files.write(os.path.join(target, w.file), w.text)
	initramfs.pack(root, os.path.join(folder, file))
	return file


def machine_of(w: Workload, wish: str) -> str:
	if wish != 'auto':
		return wish
	return 'qemu' if w.cpus > 1 or w.interrupts else 'uml'


def make_plan(host: Host, tree: Tree, workloads: List[Workload], wish: str) -> Plan:
	"""Kernels and traces, ready to be shipped."""
	folder = os.path.join(OUT, 'files')
	os.makedirs(folder, exist_ok=True)
	machine = {w.name: machine_of(w, wish) for w in workloads}
	kernels = {name: ship(folder, name, kernel.build(host, MACHINES[name], tree.folder))
		   for name in sorted(set(machine.values()))}
	hashes = {w.name: _hash(w.identity, kernels[machine[w.name]].encode())
		  for w in workloads}
	return Plan(workloads, machine, kernels, pack(folder, workloads), hashes)


def specs_of(plan: Plan, settings: Sequence[Setting]) -> List[Dict[str, Any]]:
	"""Trials of these settings with all workloads, as trial.run_trial() takes them."""
	specs = []
	for setting in settings:
		for w in plan.workloads:
			machine = plan.machine[w.name]
			specs.append({
				'key': f'{plan.hashes[w.name]}-{setting}', 'workload': w.name,
				'machine': machine, 'kernel': plan.kernels[machine],
				'image': plan.image, 'trace': w.file,
				'cpus': w.cpus if machine == 'qemu' else 1, 'limit': _LIMIT,
				**setting.__dict__})
	return specs


def search(args: argparse.Namespace, plan: Plan, run: Any) -> List[Setting]:
	"""All settings that are tried; run(settings, left) runs the trials of some."""
	grid = grid_of(args)
	whole = args.trials is None and any((args.low, args.high, args.batch))
	if whole:
		settings = grid.settings()
		run(settings, len(settings))
		return settings
	nr = max((args.trials or 60) // len(plan.workloads), 1)
	settings = explore(grid, max((nr + 1) // 2, 1), args.seed)
	trials = run(settings, nr)
	found = pareto.scores(trials, [w.name for w in plan.workloads])
	more = refine(grid, [score.setting for score in pareto.front(found)],
		      settings, nr - len(settings), args.seed)
	run(more, len(settings) + len(more))
	return settings + more


def _describe(host: Host, tree: Tree, plan: Plan) -> Dict[str, Any]:
	return {'version': 1, 'commit': commit(host),
		'base': tree.base.label(),
		'workloads': [{'name': w.name, 'cpus': w.cpus, 'about': w.about,
			       'machine': plan.machine[w.name]} for w in plan.workloads]}


def conclude(host: Host, store: Any, data: Dict[str, Any], trials: List[Dict[str, Any]]) -> int:
	"""Show and write what was found; the exit status."""
	from tune import page, table

	data['trials'] = trials
	found = pareto.scores(trials, [w['name'] for w in data['workloads']])
	advice = pareto.advise(found)
	store.write('tune.csv', to_csv(trials))
	if advice:
		data.update(front=[str(score.setting) for score in pareto.front(found)],
			    recommended=str(advice.score.setting), reasons=list(advice.reasons),
			    apply=pareto.apply_lines(advice.score))
	store.write('tune.json', to_json(data))
	if not advice:
		host.say('the default settings have no complete result, so there is nothing to '
			 f'compare with; trials are in {store.folder}')
		return 1
	table.show(report.console(120), trials, found, advice)
	host.say('written: ' + store.write('tune.html', page.page(data, found, advice)))
	return 0


def tune(host: Host, tree: Tree, args: argparse.Namespace, workloads: List[Workload]) -> int:
	# These come with packages that set-up may just have installed.
	from tune.cluster import connect

	if args.scheduler:
		# A wrong address is better told before kernels are built, for minutes.
		with connect(args.scheduler, args.jobs):
			pass
	plan = make_plan(host, tree, workloads, args.machine)
	store = Store(OUT)
	if args.fresh:
		store.forget()
	data = {**_describe(host, tree, plan), 'complete': False}
	keys: List[str] = []
	progress = Trials(host)
	status = 0
	try:
		with connect(args.scheduler, args.jobs) as cluster, \
		     progress:
			folder = os.path.join(OUT, 'files')
			cluster.send([os.path.join(folder, name)
				      for name in (*plan.kernels.values(), plan.image)])

			def run(settings: Sequence[Setting], nr: int) -> List[Dict[str, Any]]:
				specs = specs_of(plan, settings)
				keys.extend(spec['key'] for spec in specs)
				todo = [spec for spec in specs if not store.has(spec['key'])]
				progress.plan(nr * len(plan.workloads), len(specs) - len(todo))
				for trial in cluster.run(todo):
					store.add(trial)
					progress.ended(trial)
				return ordered(store.trials, keys)

			search(args, plan, run)
		data['complete'] = True
	except KeyboardInterrupt:
		host.say('interrupted: what was tried is kept; the next run goes on from there')
		status = 130
	return conclude(host, store, data, ordered(store.trials, keys)) or status


def main() -> int:
	host = Host()
	args = parser().parse_args()
	check(args)
	grid_of(args).settings()
	workloads = workload.load_all(args.workload or workload.known())
	tree = ready(host, [*packages.TUNE, *packages.build('x86_64'), *packages.qemu('x86_64')])
	os.makedirs(OUT, exist_ok=True)
	with locked(OUT, host):
		return tune(host, tree, args, workloads)
