# SPDX-License-Identifier: GPL-2.0
"""Allocation patterns of real workloads, as traces that `make tune` replays."""

import argparse
import os
import re
import sys
from dataclasses import dataclass
from typing import Dict, List, Tuple

from lib import files, initramfs, job, kernel, packages, trace
from lib.files import REPO, locked
from lib.guest import Guest
from lib.host import Host, OverlayError
from lib.kernel import BPF, Build, Kernel, fragment
from lib.kernel_log import trouble_in, worst_line
from lib.packages import Requirement
from overlay.tree import Tree, ready
from record import raw

_HERE = os.path.dirname(os.path.realpath(__file__))
# The recorders, which `make install` lays into a user's tree, too.
RECORDERS = os.path.join(REPO, 'tools', 'bpf', 'memalloc')
CPUS = 4
_MEMORY = 2048      # MiB
_LIMIT = 900        # s for a boot
_FOLDERS = ('bin', 'dev', 'proc', 'sys', 'tmp', 'usr/bin')
RECORD = (Requirement('bpftrace', 'bpftrace'),)


@dataclass(frozen=True)
class Recording:
	"""A shipped trace: what is run, and which recorder looks at it."""
	name: str
	recorder: str   # 'maps': record.bt on the unmodified base; 'events': on ours
	about: str


RECORDINGS: Tuple[Recording, ...] = (
	Recording('conntrack', 'maps',
		  'connection tracking: a socket filter on loopback UDP keeps a map of flows of '
		  '4 CPUs, in softirqs; a task removes what is never closed'),
	Recording('agent', 'events',
		  'tracing agent: an element for each system call under way on 4 CPUs, and '
		  'bursts of 16 samples in NMIs, which a task collects'),
	Recording('storm', 'maps',
		  'a table of 1,000 elements is filled and emptied 4 times by one task'),
)

OURS = Kernel('recording', 'x86_64', 'record-x86_64', ('record.config', 'bench_smp.config'))


def kernel_for(host: Host, tree: Tree, recorder: str) -> str:
	"""The kernel to boot: the base's is the one of make selftests."""
	if recorder == 'events':
		return kernel.build(host, OURS, tree.folder)
	folder = BPF.where(tree.folder)
	os.makedirs(folder, exist_ok=True)
	base = Build('base', tree.base.root, folder)
	with locked(folder, host):
		kernel.build_plain(host, base, fragment())
	return base.image


def make_image(host: Host, folder: str) -> str:
	"""The guest's file system; its path."""
	image = os.path.join(folder, 'guest.cpio')
	root = image + '.d'
	initramfs.lay_out(host, root, _FOLDERS, {'bin/bpftrace': initramfs.program(host, 'bpftrace')}, {
		'init': os.path.join(_HERE, 'init.sh'),
		**{name: os.path.join(RECORDERS, name) for name in ('record.bt', 'record_events.sh')}})
	built = host.capture(['gcc', '-O2', '-Wall', '-static', '-pthread', '-o',
			      os.path.join(root, 'bin/record_workloads'),
			      os.path.join(_HERE, 'workloads.c')])
	if built.status:
		raise OverlayError(f'workloads.c cannot be compiled: '
				   f'{built.text.strip().splitlines()[0]}')
	initramfs.pack(root, image)
	return image


def boot(host: Host, path: str, image: str, recording: Recording, folder: str) -> Tuple[str, str]:
	"""What was recorded, raw, and the kernel's log."""
	log, raw = (os.path.join(folder, f'{recording.name}.{kind}') for kind in ('log', 'raw'))
	files.remove(log, raw)
	guest = Guest(path, image, _MEMORY, (
		'rdinit=/init', f'recorder={recording.recorder}', f'workload={recording.name}'),
		      CPUS, (f'file:{log}', f'file:{raw}'), ('-cpu', 'max'))
	job.run(host, f'recording {recording.name}', guest.qemu(),
		os.path.join(folder, f'{recording.name}-qemu.log'), limit=_LIMIT,
		progress=lambda: job.last_line(log))
	return files.read(raw), files.read(log)


def whole(said: str, log: str, recording: Recording, folder: str) -> str:
	"""What lies between the marks, if the guest came to its end well."""
	match = re.search(r'^@@ begin$(.*)^@@ end (\d+)$', said.replace('\r', ''), re.M | re.S)
	if not match or match[2] != '0' or trouble_in(log):
		path = os.path.join(folder, f'{recording.name}.log')
		raise OverlayError(f'{recording.name} was not recorded: '
				   f'{worst_line(files.read(path, ""))} (see {path})')
	return match[1]


def release_of(log: str) -> str:
	match = re.search(r'Linux version (\S+)', log)
	return match[1] if match else 'unknown'


def record(host: Host, tree: Tree, chosen: List[Recording]) -> None:
	folder = os.path.join(REPO, 'build', 'record')
	os.makedirs(folder, exist_ok=True)
	os.makedirs(trace.TRACES, exist_ok=True)
	kernels: Dict[str, str] = {}
	for recording in chosen:
		if recording.recorder not in kernels:
			kernels[recording.recorder] = kernel_for(host, tree, recording.recorder)
	image = make_image(host, folder)
	for recording in chosen:
		said, log = boot(host, kernels[recording.recorder], image, recording, folder)
		events = raw.events(whole(said, log, recording, folder))
		kind = ('record.bt, the unmodified base' if recording.recorder == 'maps'
			else 'record_events.sh, our kernel')
		text = trace.write(recording.about, f'Linux {release_of(log)}, {kind}, QEMU '
				   f'with {CPUS} CPUs', events)
		path = files.write(os.path.join(trace.TRACES, recording.name + trace.SUFFIX), text)
		seen = raw.contexts(events)
		host.say(f'written: {path}: {len(events)} events, of them ' + ', '.join(
			f'{nr} in {word}' for letter, word in (
				('t', 'tasks'), ('s', 'softirqs'), ('h', 'hardirqs'), ('n', 'NMIs'))
			for nr in [seen.get(letter, 0)] if nr))
	os.unlink(image)


def choose(names: List[str]) -> List[Recording]:
	known = {recording.name: recording for recording in RECORDINGS}
	for name in names:
		if name not in known:
			raise OverlayError(f'no workload {name}: there are {", ".join(known)}')
	return [known[name] for name in names] or list(RECORDINGS)


def run(host: Host, names: List[str]) -> int:
	chosen = choose(names)
	tree = ready(host, [*packages.build('x86_64'), *packages.qemu('x86_64'), *packages.ELF,
			    *packages.GUEST, packages.RICH, *RECORD])
	record(host, tree, chosen)
	return 0


def convert(path: str) -> int:
	events = raw.events(files.read(path))
	sys.stdout.write(trace.write(f'recorded from {os.path.basename(path)}', 'by hand',
				     events))
	return 0


def parser() -> argparse.ArgumentParser:
	p = argparse.ArgumentParser(
		prog='record', description='Allocation patterns of real workloads, as traces that '
		'make tune replays.')
	verbs = p.add_subparsers(dest='verb', required=True, metavar='VERB')
	again = verbs.add_parser('run', help='record the shipped traces anew, in QEMU (make record)',
				 epilog=f'Workloads: {", ".join(r.name for r in RECORDINGS)}.')
	again.add_argument('workloads', nargs='*', metavar='WORKLOAD', help='default: all of them')
	made = verbs.add_parser('convert', help='print a trace made of what record.bt or '
				'record_events.sh wrote')
	made.add_argument('raw', metavar='RAW', help='file with the output of a recorder')
	return p


def main() -> int:
	args = parser().parse_args()
	return convert(args.raw) if args.verb == 'convert' else run(Host(), args.workloads)
