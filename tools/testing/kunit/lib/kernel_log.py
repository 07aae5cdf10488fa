# SPDX-License-Identifier: GPL-2.0
"""What a kernel's log says about the kernel, whatever the tests in it say.

Part of what is shipped to the workers of `make tune`: needs Python's own library
and nothing else.
"""

import re
from typing import List

# What a kernel prints when something is wrong with it.
TROUBLE = re.compile(r'\bWARNING:|\bBUG:|\bKASAN:|\bUBSAN:|possible recursive locking|'
		     r'\bINFO: (?:rcu|task|.*(?:stall|blocked for|lock))|suspicious RCU|'
		     r'\bOops\b|Call Trace|Kernel panic|general protection fault|'
		     r'Unable to handle kernel')


def trouble_in(log: str) -> List[str]:
	"""The lines of a kernel log that report trouble."""
	return [line.rstrip() for line in log.splitlines() if TROUBLE.search(line)]


def worst_line(log: str) -> str:
	"""The line that tells most about why a kernel did not do what it should."""
	lines = [' '.join(line.split()) for line in log.splitlines() if line.strip()]
	panics = [line for line in lines if 'Kernel panic' in line]
	return (panics or trouble_in('\n'.join(lines)) or lines[-1:] or ['it said nothing'])[0]
