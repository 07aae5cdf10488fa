# SPDX-License-Identifier: GPL-2.0
"""Model checks: what tools/testing/*/run.sh prove or refute."""

import glob
import os
import re

from check.step import FAIL, Context, Tally
from lib import packages


def count_run(text: str) -> Tally:
	"""Reads the sum in the last line of a run.sh; FAIL if there is none."""
	found = re.search(r'(\d+) passed, (\d+) failed\s*\Z', text)
	return Tally(int(found[1]), int(found[2])) if found else FAIL


def run(context: Context) -> Tally:
	packages.ensure(context.host, packages.MODEL)
	total = Tally()
	for script in sorted(glob.glob(os.path.join(context.repo, 'tools/testing/*/run.sh'))):
		done = context.host.capture(['sh', script])
		context.host.say(done.text.rstrip())
		count = count_run(done.text)
		if done.status and not count.failed:
			count += FAIL
		total += count
	return total
