# SPDX-License-Identifier: GPL-2.0
"""How a kernel of ours is booted without the tree's KUnit tool.

Part of what is shipped to the workers of `make tune`: needs Python's own library
and nothing else.
"""

import shutil
from dataclasses import dataclass
from typing import List, Tuple

# Instructions count as time, and what is slept is skipped: exact, each time the same.
ICOUNT = ('-icount', 'shift=0,sleep=off')
# Four CPUs on two nodes of memory.
TWO_NODES = ('-smp 4,sockets=4 -m 2048 -object memory-backend-ram,id=near,size=1024M '
	     '-object memory-backend-ram,id=far,size=1024M '
	     '-numa node,nodeid=0,cpus=0-1,memdev=near -numa node,nodeid=1,cpus=2-3,memdev=far')
# The last CPU on a third one, which has none.
THREE_NODES = TWO_NODES.replace('2-3', '2') + ' -numa node,nodeid=2,cpus=3'


@dataclass(frozen=True)
class Guest:
	"""A machine and what it runs."""
	kernel: str
	image: str                         # initramfs
	memory: int                        # MiB
	arguments: Tuple[str, ...]         # of the kernel
	cpus: int = 1
	serial: Tuple[str, ...] = ('stdio',)   # where the serial ports go
	options: Tuple[str, ...] = ()      # further ones of QEMU

	def qemu(self) -> List[str]:
		"""The words that start it in QEMU, which emulates x86_64 and ends at a reboot."""
		ports = [word for port in self.serial for word in ('-serial', port)]
		return _guard() + [
			'qemu-system-x86_64', '-nodefaults', '-display', 'none',
			'-m', str(self.memory), '-smp', str(self.cpus), '-accel', 'tcg',
			'-bios', 'qboot.rom', *self.options, '-no-reboot',
			'-kernel', self.kernel, '-initrd', self.image,
			'-append', ' '.join(('console=ttyS0', 'panic=-1', *self.arguments)), *ports]

	def uml(self) -> List[str]:
		"""The words that start it as User-Mode Linux, whose time passes in idle only."""
		return _guard() + [self.kernel, f'mem={self.memory}M', 'time-travel=inf-cpu',
				   f'initrd={self.image}', 'console=tty', *self.arguments]


def _guard() -> List[str]:
	"""The machine ends with us, however we end."""
	return ['setpriv', '--pdeathsig', 'KILL'] if shutil.which('setpriv') else []
