# SPDX-License-Identifier: GPL-2.0
"""A kernel to build and to boot, and the two ways to build one.

By the tree's KUnit tool, in the assembled tree, from fragments; or by make alone,
in any tree, from a fragment that names all that matters.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from typing import List, Tuple

from lib import files, job
from lib.files import REPO, TOOL
from lib.host import Host, OverlayError

# What is booted, in the folder of a build.
IMAGES = {'um': 'linux', 'x86_64': 'arch/x86/boot/bzImage'}
SUITES = '.kunitconfig'     # the fragment with all suites


@dataclass(frozen=True)
class Kernel:
	"""One configuration; how it is booted, where the tree's tool does that."""
	name: str
	arch: str
	folder: str                    # where it is built, beside the assembled tree
	configs: Tuple[str, ...]       # names of files in configs/, or SUITES
	options: Tuple[str, ...] = ()  # further words for kunit.py

	def where(self, parent: str) -> str:
		return os.path.join(parent, self.folder)

	def log(self, parent: str) -> str:
		"""What it said when it was booted last."""
		return os.path.join(self.where(parent), 'test.log')

	def command(self, verb: str, parent: str, *words: str, repo: str = REPO) -> List[str]:
		"""What our kunit.py is called with to build it, or to build and run it."""
		tool = os.path.join(repo, TOOL)
		configs = [os.path.join(repo if name == SUITES else os.path.join(tool, 'configs'), name)
			   for name in self.configs]
		return [sys.executable, '-B', os.path.join(tool, 'kunit.py'), verb,
			f'--arch={self.arch}', f'--build_dir={self.where(parent)}', *words,
			*(f'--kunitconfig={config}' for config in configs), *self.options]


# What is added to the suites, and said at boot, where nothing else is asked for.
ADDED = {'um': ('arch_um.config', 'um_time.config'),
	 'x86_64': ('arch_x86_64.config', 'smp_x86_64.config')}
SAID = {'um': ('time-travel',)}

# What kunit.py builds that is told nothing.
DEFAULT = Kernel('um', 'um', 'kunit-um', (SUITES, *ADDED['um']))


def build(host: Host, kernel: Kernel, parent: str) -> str:
	"""Build by the tree's tool, or find built; the path of what is booted."""
	folder = kernel.where(parent)
	log = folder + '.log'
	ended = job.run(host, f'building the kernel ({kernel.name})',
			kernel.command('build', parent), log)
	path = os.path.join(folder, IMAGES[kernel.arch])
	if ended.status or not os.path.exists(path):
		raise OverlayError(f'the kernel for {kernel.name} cannot be built: '
				   f'{job.first_error(log)} (log: {log})')
	return path


# All that the tree's BPF selftests, and programs that trace, ask of a kernel.
BPF = Kernel('bpf', 'x86_64', 'selftests', ('selftests.config',))


@dataclass(frozen=True)
class Build:
	"""A build of BPF by make alone: of which tree, and where."""
	name: str      # 'base' or 'ours'
	source: str    # the tree
	folder: str    # of all such builds

	@property
	def objects(self) -> str:
		return os.path.join(self.folder, self.name)

	@property
	def image(self) -> str:
		return os.path.join(self.objects, IMAGES[BPF.arch])

	def file(self, name: str) -> str:
		"""Where something else that is made for this kernel goes."""
		return os.path.join(self.folder, f'{self.name}-{name}')


def fragment(kernel: Kernel = BPF) -> str:
	"""The file that configures it."""
	return os.path.join(REPO, TOOL, 'configs', kernel.configs[0])


def make(*words: str) -> List[str]:
	# -L: a link that now points elsewhere is newer than what was built from it.
	return ['make', '-L', f'-j{os.cpu_count() or 1}', *words]


def lost_options(wish: str, config: str) -> List[str]:
	"""Lines of a fragment that a finished .config does not fulfil."""
	have = set(config.splitlines())
	wanted = [line for line in wish.splitlines()
		  if line.startswith(('CONFIG_', '# CONFIG_'))]
	return [line for line in wanted if line not in have and not
		(line.endswith(' is not set') and not
		 any(other.startswith(line.split()[1] + '=') for other in have))]


def configure(host: Host, target: Build, config: str) -> None:
	"""Write the .config, if the fragment or the tree asks for another one."""
	os.makedirs(target.objects, exist_ok=True)
	path = os.path.join(target.objects, '.config')
	new = path + '.new'
	shutil.copy(config, new)
	job.build(host, f'configuring the kernel ({target.name})',
		  make('-s', '-C', target.source, 'ARCH=x86_64', f'O={target.objects}',
		       f'KCONFIG_CONFIG={new}', 'olddefconfig'), target.file('config.log'))
	made = files.read(new)
	lost = lost_options(files.read(config), made)
	if lost:
		raise OverlayError(f'{config}: {target.source} does not take {lost[0]}'
				   f'{f" and {len(lost) - 1} more" if lost[1:] else ""}: '
				   'a dependency is missing, or another base is needed')
	if files.read(path, missing='') == made:
		os.unlink(new)
	else:
		os.replace(new, path)


def build_plain(host: Host, target: Build, config: str) -> None:
	"""Build by make alone: kernel and modules."""
	configure(host, target, config)
	job.build(host, f'building the kernel ({target.name})',
		  make('-C', target.source, 'ARCH=x86_64', f'O={target.objects}',
		       'bzImage', 'modules'), target.file('kernel.log'))
