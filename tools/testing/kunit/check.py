#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Everything that can be tested (`make check`), or the steps that are named.

The last line adds up all single checks: KUnit cases, unit tests, and files or
commits per linter. A step that cannot run counts as failed and the others go on.
"""

import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from half an import

import os
import sys
import time
from typing import Callable, Dict, List, Optional, Sequence

import check_kunit
import check_lint
import check_model
import overlay_newest
import overlay_setup
from check_step import FAIL, Context, Tally, read_excuses
from overlay_host import Host, OverlayError, describe_os_error, guarded
from overlay_tree import REPO, TOOL, assemble, locked, prepare_build

Step = Callable[[Context], Tally]

# The quick ones first; sparse needs the objects of the kernel builds.
STEPS: Dict[str, Sequence[Step]] = {
	'python': (check_lint.unit_tests, check_lint.python_lint),
	'model': (check_model.run,),
	'uml': (lambda context: check_kunit.run(context, check_kunit.UML),),
	'x86_64': (lambda context: check_kunit.run(context, check_kunit.X86_64),),
	'kasan': (lambda context: check_kunit.run(context, check_kunit.UML_KASAN),),
	'lint': (check_lint.shell_lint, check_lint.source_lint, check_lint.commit_lint,
		 check_lint.sparse),
}

# Only when named: what Debian carries beside its release comes and goes.
EXTRA_STEPS: Dict[str, Sequence[Step]] = {
	'newest': (lambda context: check_kunit.run(context, check_kunit.UML),
		   check_kunit.run_uml_smp),
}


def base_of(names: Sequence[str]) -> Optional[str]:
	"""KSRC; the step for the newest base has one of its own."""
	return os.environ.get('KSRC') or (overlay_newest.WORD if 'newest' in names else None)


def use_base(names: Sequence[str]) -> Optional[str]:
	"""base_of(), also for the programs that steps start."""
	ksrc = base_of(names)
	if ksrc:
		os.environ['KSRC'] = ksrc
	return ksrc


def requirements(names: Sequence[str]) -> List[overlay_setup.Requirement]:
	"""Everything the named steps need, so that apt is asked only once."""
	needed = [] if base_of(names) else list(overlay_setup.SOURCE)
	needed += overlay_setup.PATCH
	if set(names) & {'uml', 'kasan', 'lint', 'newest'}:
		needed += overlay_setup.build('um')
	if 'model' in names:
		needed += overlay_setup.MODEL
	if 'x86_64' in names:
		needed += overlay_setup.build('x86_64') + overlay_setup.qemu('x86_64')
	if set(names) & {'python', 'lint'}:
		needed += overlay_setup.LINT
	if 'python' in names:
		needed += overlay_setup.TUNE
	return needed


def guarded_step(host: Host, name: str, body: Callable[[], Tally]) -> Tally:
	"""A step's count; whatever keeps it from running is one failure."""
	try:
		return body()
	except OverlayError as e:
		message = str(e)
	except OSError as e:
		message = describe_os_error(e)
	host.say(f'FAILED {name}: {message}')
	return FAIL


def run_steps(context: Context, names: Sequence[str],
	      steps: Dict[str, Sequence[Step]]) -> Tally:
	total = Tally()
	for number, name in enumerate(names):
		context.host.say(f'== {name} ({number + 1} of {len(names)})')
		start, count = time.monotonic(), Tally()
		for step in steps[name]:
			count += guarded_step(context.host, name, lambda: step(context))
		context.host.say(f'== {name}: {count}, {time.monotonic() - start:.0f} s')
		total += count
	return total


def main() -> int:
	host = Host()
	names = sys.argv[1:] or list(STEPS)
	steps = {**STEPS, **EXTRA_STEPS}
	unknown = [n for n in names if n not in steps]
	if unknown:
		raise OverlayError(f'no step {unknown[0]}: the steps are {", ".join(steps)}')
	if 'newest' in names and len(names) > 1:
		raise OverlayError('newest has another base than the other steps: name it alone')

	def body() -> Tally:
		with locked(prepare_build(REPO), host):
			overlay_setup.ensure(host, requirements(names))
		tree = assemble(host, REPO, use_base(names))
		excuses = read_excuses(os.path.join(REPO, TOOL, 'lint_excuses'))
		return run_steps(Context(host, REPO, tree, excuses), names, steps)

	total = guarded_step(host, 'setup', body)
	print(total)
	return int(total.failed > 0)


if __name__ == '__main__':
	sys.exit(guarded('make check', main))
