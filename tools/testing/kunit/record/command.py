# SPDX-License-Identifier: GPL-2.0
"""Allocation patterns of real workloads, as traces that `make tune` replays."""

import argparse
import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import Dict, List, Tuple

from lib import packages
from record import raw as record_raw
from selftests import command as selftests
from selftests import build
from selftests import image as selftests_image
from lib import job
from selftests import tools
from lib import trace
from tune import command as tune
from tune import workload as tune_workload
from lib.host import Host, OverlayError
from lib.packages import Requirement
from overlay.tree import REPO, TOOL, Tree, assemble, locked, prepare_build

_HERE = os.path.dirname(os.path.realpath(__file__))
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

OURS = tune.Machine('recording', 'x86_64', 'record-x86_64', 'arch/x86/boot/bzImage',
		    ('record.config', 'bench_smp.config'))


def kernel_for(host: Host, tree: Tree, recorder: str) -> str:
	"""The kernel to boot: the base's is the one of make selftests."""
	if recorder == 'events':
		return tune.build_kernel(host, tree, OURS)
	folder = os.path.join(tree.folder, 'selftests')
	os.makedirs(folder, exist_ok=True)
	base = build.Kernel('base', tree.base.root, folder)
	with locked(folder, host):
		build.build_kernel(host, base, selftests.FRAGMENT)
	return base.image


def make_image(host: Host, folder: str) -> str:
	"""The guest's file system; its path."""
	image = os.path.join(folder, 'guest.cpio')
	root = image + '.d'
	shutil.rmtree(root, ignore_errors=True)
	for name in _FOLDERS:
		os.makedirs(os.path.join(root, name))
	found = {name: host.which(name) for name in ('busybox', 'bpftrace')}
	binaries = [path for path in found.values() if path]
	for path in binaries:
		shutil.copy(path, os.path.join(root, 'bin'))
	os.symlink('busybox', os.path.join(root, 'bin/sh'))
	for library in selftests_image.libraries(host, binaries):
		os.makedirs(os.path.dirname(root + library), exist_ok=True)
		shutil.copy(library, root + library)
	built = host.capture(['gcc', '-O2', '-Wall', '-static', '-pthread', '-o',
			      os.path.join(root, 'bin/record_workloads'),
			      os.path.join(_HERE, 'workloads.c')])
	if built.status:
		raise OverlayError(f'workloads.c cannot be compiled: '
				   f'{built.text.strip().splitlines()[0]}')
	for name, target in (('record.bt', 'record.bt'), ('record_events.sh', 'record_events.sh'),
			     ('init.sh', 'init')):
		shutil.copy(os.path.join(_HERE, name), os.path.join(root, target))
		os.chmod(os.path.join(root, target), 0o755)
	selftests_image.pack(root, image)
	shutil.rmtree(root)
	return image


def boot(host: Host, kernel: str, image: str, recording: Recording, folder: str) -> Tuple[str, str]:
	"""What was recorded, raw, and the kernel's log."""
	log, raw = (os.path.join(folder, f'{recording.name}.{kind}') for kind in ('log', 'raw'))
	for path in (log, raw):
		if os.path.exists(path):
			os.unlink(path)
	job.run(host, f'recording {recording.name}', [
		'setpriv', '--pdeathsig', 'KILL', 'qemu-system-x86_64', '-nodefaults',
		'-display', 'none', '-m', str(_MEMORY), '-smp', str(CPUS), '-accel', 'tcg',
		'-bios', 'qboot.rom', '-cpu', 'max', '-no-reboot', '-kernel', kernel,
		'-initrd', image, '-append', 'console=ttyS0 panic=-1 rdinit=/init '
		f'recorder={recording.recorder} workload={recording.name}',
		'-serial', f'file:{log}', '-serial', f'file:{raw}'],
		os.path.join(folder, f'{recording.name}-qemu.log'), limit=_LIMIT,
		progress=lambda: job.last_line(log))
	return _read(raw), _read(log)


def _read(path: str) -> str:
	try:
		with open(path, encoding='utf-8', errors='replace') as f:
			return f.read()
	except OSError as e:
		raise OverlayError(f'{path}: {e.strerror}') from e


def whole(raw: str, log: str, recording: Recording, folder: str) -> str:
	"""What lies between the marks, if the guest came to its end well."""
	match = re.search(r'^@@ begin$(.*)^@@ end (\d+)$', raw.replace('\r', ''), re.M | re.S)
	if not match or match[2] != '0' or re.search(r'Kernel panic|BUG:|WARNING:', log):
		said = job.first_error(os.path.join(folder, f'{recording.name}.log'))
		raise OverlayError(f'{recording.name} was not recorded: {said} '
				   f'(see {folder}/{recording.name}.log)')
	return match[1]


def release_of(log: str) -> str:
	match = re.search(r'Linux version (\S+)', log)
	return match[1] if match else 'unknown'


def record(host: Host, tree: Tree, chosen: List[Recording]) -> None:
	folder = os.path.join(REPO, 'build', 'record')
	os.makedirs(folder, exist_ok=True)
	os.makedirs(tune_workload.TRACES, exist_ok=True)
	kernels: Dict[str, str] = {}
	for recording in chosen:
		if recording.recorder not in kernels:
			kernels[recording.recorder] = kernel_for(host, tree, recording.recorder)
	image = make_image(host, folder)
	for recording in chosen:
		raw, log = boot(host, kernels[recording.recorder], image, recording, folder)
		events = record_raw.events(whole(raw, log, recording, folder))
		kind = ('record.bt, the unmodified base' if recording.recorder == 'maps'
			else 'record_events.sh, our kernel')
		text = trace.write(recording.about, f'Linux {release_of(log)}, {kind}, QEMU '
					f'with {CPUS} CPUs', events)
		path = os.path.join(tune_workload.TRACES, f'{recording.name}.trace')
		with open(path, 'w', encoding='ascii') as f:
			f.write(text)
		seen = record_raw.contexts(events)
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
	with locked(prepare_build(REPO), host):
		needed = [] if os.environ.get('KSRC') else list(packages.SOURCE)
		packages.ensure(host, [
			*needed, *packages.PATCH, *packages.build('x86_64'),
			*packages.qemu('x86_64'), *tools.BUILD,
			*tools.RUN, *RECORD])
	tree = assemble(host, REPO, os.environ.get('KSRC') or None)
	record(host, tree, chosen)
	return 0


def convert(path: str) -> int:
	events = record_raw.events(_read(path))
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
