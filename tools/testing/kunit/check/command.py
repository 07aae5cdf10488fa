# SPDX-License-Identifier: GPL-2.0
"""Everything that can be tested (`make check`), or the steps that are named.

The last line adds up all single checks: KUnit cases, unit tests, and files or
commits per linter. A step that cannot run counts as failed and the others go on.
"""

import argparse
import os
import time
from typing import Callable, Dict, List, Optional, Sequence

from check import lint, model, soak, suites
from check.step import FAIL, Context, Tally, read_excuses
from lib import packages
from lib.files import REPO, TOOL
from lib.host import Host, OverlayError, describe_os_error
from overlay.newest import WORD as NEWEST
from overlay.tree import ready

Step = Callable[[Context], Tally]

# The quick ones first; sparse needs the objects of the kernel builds.
STEPS: Dict[str, Sequence[Step]] = {
	'python': (lint.unit_tests, lint.python_lint),
	'model': (model.run,),
	'uml': (lambda context: suites.run(context, suites.UML),),
	'x86_64': (lambda context: suites.run(context, suites.X86_64),),
	'shards': (lambda context: suites.run(context, suites.SHARDS),),
	'kasan': (lambda context: suites.run(context, suites.UML_KASAN),),
	'lint': (lint.shell_lint, lint.source_lint, lint.commit_lint,
		 lint.sparse),
}

# Only when named: they take long, or what Debian carries beside its release comes and
# goes.
EXTRA_STEPS: Dict[str, Sequence[Step]] = {
	'numa': (lambda context: suites.run(context, suites.NUMA),),
	'up': (lambda context: suites.run(context, suites.UP),),
	'newest': (lambda context: suites.run(context, suites.UML),
		   suites.run_uml_smp),
}


def base_of(names: Sequence[str]) -> Optional[str]:
	"""KSRC; the step for the newest base has one of its own."""
	return os.environ.get('KSRC') or (NEWEST if 'newest' in names else None)


def use_base(names: Sequence[str]) -> Optional[str]:
	"""base_of(), also for the programs that steps start."""
	ksrc = base_of(names)
	if ksrc:
		os.environ['KSRC'] = ksrc
	return ksrc


def requirements(names: Sequence[str]) -> List[packages.Requirement]:
	"""Everything the named steps need, so that apt is asked only once."""
	needed: List[packages.Requirement] = []
	if set(names) & {'uml', 'kasan', 'lint', 'newest'}:
		needed += packages.build('um')
	if 'model' in names:
		needed += packages.MODEL
	if set(names) & {'x86_64', 'shards', 'numa', 'up'}:
		needed += packages.build('x86_64') + packages.qemu('x86_64')
	if set(names) & {'python', 'lint'}:
		needed += packages.LINT
	if 'python' in names:
		needed += [*packages.TUNE, packages.APT]
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


def parser() -> argparse.ArgumentParser:
	p = argparse.ArgumentParser(
		prog='check', description=(__doc__ or '').split('\n\n')[1],
		epilog='Steps, of which numa, up and newest have to be named: '
		f'{", ".join([*STEPS, *EXTRA_STEPS])}. KSRC in the environment names another base.')
	p.add_argument('steps', nargs='*', metavar='STEP',
		       help='what to check (default: everything but numa, up and newest)')
	p.add_argument('--soak', metavar='TIME', help='instead: everything at once on x86_64, for '
		       'as long as that, for example 90s, 10m or 2h (make soak)')
	return p


def setup(host: Host, names: Sequence[str]) -> Context:
	"""Everything that the named steps need."""
	use_base(names)
	tree = ready(host, requirements(names))
	excuses = read_excuses(os.path.join(REPO, TOOL, 'lint_excuses'))
	return Context(host, REPO, tree, excuses)


def main() -> int:
	host = Host()
	args = parser().parse_args()
	if args.soak is not None:
		seconds = soak.seconds_of(args.soak)
		total = soak.run(setup(host, ['x86_64']), seconds)
		print(total)
		return int(total.failed > 0)
	names = args.steps or list(STEPS)
	steps = {**STEPS, **EXTRA_STEPS}
	unknown = [n for n in names if n not in steps]
	if unknown:
		raise OverlayError(f'no step {unknown[0]}: the steps are {", ".join(steps)}')
	if 'newest' in names and len(names) > 1:
		raise OverlayError('newest has another base than the other steps: name it alone')

	total = guarded_step(host, 'setup', lambda: run_steps(setup(host, names), names, steps))
	print(total)
	return int(total.failed > 0)
