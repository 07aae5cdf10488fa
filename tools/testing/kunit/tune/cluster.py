# SPDX-License-Identifier: GPL-2.0
"""Hands trials to a Dask cluster: the one named, or one of this machine's CPUs.

Dask does the scheduling: a worker that is lost in the middle costs only its
trial, which another one runs again; a new worker is sent the files by itself.
"""

import hashlib
import importlib
import io
import logging
import os
import tempfile
import zipfile
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from lib import files, packages
from lib.host import OverlayError
from tune import trial

# Without types, whether mypy can see them or not.
dask: Any = importlib.import_module('dask')
distributed: Any = importlib.import_module('distributed')

_CONNECT = 10      # s until a scheduler must have answered
_PATIENCE = 60     # s until it must have a worker
# All that a trial consists of: trial.py and what that imports.
SHIPPED = ('lib/__init__.py', 'lib/guest.py', 'lib/kernel_log.py', 'tune/__init__.py',
	   'tune/trial.py')
_LOSSES = 5        # workers that a trial may lose before it counts as lost itself


class Cluster:
	"""Runs trials side by side, in whatever order they end."""

	def __init__(self, client: Any) -> None:
		self._client = client

	def workers(self) -> int:
		"""CPUs' worth of workers there are now."""
		return sum(worker['nthreads']
			   for worker in self._client.scheduler_info()['workers'].values())

	def send(self, paths: Sequence[str]) -> None:
		"""Ship files to all workers, those to come included."""
		self._client.run(_forgetter())
		with tempfile.TemporaryDirectory() as folder:
			self._client.upload_file(pack_trial(folder))
		for path in paths:
			self._client.upload_file(path)

	def run(self, specs: Sequence[Dict[str, Any]]) -> Iterator[Dict[str, Any]]:
		"""Results of trials as they come."""
		futures = {self._client.submit(trial.run_trial, spec, key=spec['key'],
					       pure=False, retries=_LOSSES): spec
			   for spec in specs}
		try:
			for future in distributed.as_completed(list(futures)):
				if future.status == 'finished':
					yield future.result()
				else:
					yield {**futures[future], 'status': 'crashed', 'attempts': 1,
					       'why': f'not run: {future.exception()}', 'seconds': 0.0}
				future.release()
		finally:
			self._client.cancel([future for future in futures
					     if not future.done()], force=True)


def pack_trial(folder: str) -> str:
	"""All of a trial as a zip, which Python imports from; called after its content.

	Workers keep what they imported from a file of the same name before.
	"""
	root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
	data = io.BytesIO()
	with zipfile.ZipFile(data, 'w') as out:
		for path in SHIPPED:
			# Without its time, so that the same content is the same file.
			out.writestr(zipfile.ZipInfo(path), files.read_bytes(os.path.join(root, path)))
	digest = hashlib.sha256(data.getvalue()).hexdigest()[:12]
	path = os.path.join(folder, f'trial-{digest}.zip')
	files.write(path, data.getvalue())
	return path


def _forgetter() -> Callable[[], None]:
	"""A function that lets a worker import anew what it has from a trial's zip.

	It is no module's, so that it is sent as it is: workers may know no module of ours.
	"""
	def forget() -> None:
		import re
		import sys
		for name, module in list(sys.modules.items()):
			if re.search(r'trial-[0-9a-f]{12}\.zip', getattr(module, '__file__', '') or ''):
				del sys.modules[name]

	return forget


def _workers_find_packages() -> None:
	"""For the processes of a local cluster, which start as new interpreters."""
	paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
	if packages.DIST_PACKAGES not in paths:
		os.environ['PYTHONPATH'] = os.pathsep.join(
			[path for path in paths if path] + [packages.DIST_PACKAGES])


@contextmanager
def _local(jobs: int) -> Iterator[str]:
	_workers_find_packages()
	with tempfile.TemporaryDirectory(prefix='bpf-mem-tune-') as folder, \
	     dask.config.set({'temporary-directory': folder}), \
	     distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True,
				      dashboard_address=None, memory_limit=0,
				      local_directory=folder,
				      silence_logs=logging.CRITICAL) as cluster:
		yield str(cluster.scheduler_address)


@contextmanager
def _client(address: str) -> Iterator[Cluster]:
	try:
		client = distributed.Client(address, timeout=_CONNECT)
	except (OSError, ValueError, TimeoutError) as e:
		raise OverlayError(f'no Dask scheduler answers at {address}: start one with '
				   '`dask-scheduler`, or leave --scheduler out') from e
	with client:
		try:
			client.wait_for_workers(1, timeout=_PATIENCE)
		except (OSError, TimeoutError) as e:
			raise OverlayError(f'the Dask scheduler at {address} has no workers: start '
					   'some with `dask-worker`') from e
		yield Cluster(client)


@contextmanager
def connect(scheduler: Optional[str], jobs: int) -> Iterator[Cluster]:
	"""A cluster: that of a scheduler, or a local one with so many workers."""
	logging.getLogger('distributed').setLevel(logging.CRITICAL)
	with dask.config.set({'distributed.scheduler.allowed-failures': _LOSSES,
			      'distributed.comm.retry.count': 3}):
		if scheduler:
			with _client(scheduler) as cluster:
				yield cluster
		else:
			with _local(jobs) as address, _client(address) as cluster:
				yield cluster
