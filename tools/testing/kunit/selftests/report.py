# SPDX-License-Identifier: GPL-2.0
"""Reads what the guests said, compares base and ours, prints the table."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from lib.kernel_log import trouble_in
from lib.report import console
from selftests.boots import BOOTS, Boot, Outcome
from selftests.choice import USE_CASES

OK, FAIL, SKIP = 'ok', 'fail', 'skip'
_VERDICT = re.compile(r'^#\d+(?:/\d+)?\s+(\S+?):(OK|FAIL|SKIP)\b.*$', re.M)
_MAP_TEST = re.compile(r'^(test_\w+):\s?(PASS|OK|SKIP)', re.M)
_RATE = re.compile(r'^Summary: per-prod-op\s+([0-9.]+)', re.M)
_MEMORY = re.compile(r'^.*: memlock \d+ kB, .*$', re.M)
_STAMP = re.compile(r'^\[\s*[0-9.]+\]\s*(?:\[[^]]*\]\s*)?')
_WORDS = {'OK': OK, 'PASS': OK, 'FAIL': FAIL, 'SKIP': SKIP}
_KILLED = 137


@dataclass
class Result:
	"""What one kernel did. checks: name of a test, or of its part -> verdict."""
	checks: Dict[str, str] = field(default_factory=dict)
	reasons: Dict[str, str] = field(default_factory=dict)   # of those that failed
	rates: Dict[str, float] = field(default_factory=dict)   # bench -> 1000/s per producer
	trouble: Dict[str, List[str]] = field(default_factory=dict)   # boot -> lines of the log
	memory: List[str] = field(default_factory=list)         # what maps took, in words

	def to_json(self) -> Dict[str, Any]:
		return asdict(self)


def from_json(data: Mapping[str, Any]) -> Result:
	return Result(data['checks'], data['reasons'], data['rates'], data['trouble'],
		      data['memory'])


def _reason(outcome: Outcome) -> str:
	"""One line on why a step failed."""
	if outcome.status == -1:
		return 'the kernel stopped in it'
	if outcome.status == _KILLED:
		return 'took too long, or was killed'
	lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
	telling = [line for line in lines if ':FAIL' in line] or \
		[line for line in lines
		 if re.search(r'[Aa]ssert|[Ee]rror|[Ff]ailed|cannot|not found', line)]
	return (telling or lines or [f'ended with status {outcome.status}'])[0]


def _step_checks(name: str, outcome: Outcome) -> Dict[str, str]:
	"""Verdicts of one step: its own under its name, and those of its parts."""
	_, _, short = name.partition('/')
	parts: Dict[str, str] = {}
	verdicts = _VERDICT.findall(outcome.text)
	if name.startswith('program/'):
		verdicts += _MAP_TEST.findall(outcome.text)
	for part, word in verdicts:
		# The same words may come twice, as test_maps runs its tests with and
		# without preallocation: the worse one counts.
		verdict = _WORDS[word]
		if part != short and parts.get(part) != FAIL:
			parts[part] = verdict
	own = [_WORDS[word] for part, word in verdicts if part == short]
	verdict = FAIL if outcome.status else own[-1] if own else OK
	if name.startswith('progs/') and not own:
		verdict = FAIL
	if name.startswith('bench/') and not _RATE.search(outcome.text):
		verdict = FAIL
	return {name: verdict, **{f'{name}:{part}': v for part, v in parts.items()}}


def read_boot(result: Result, name: str, boot: Boot, planned: Sequence[str]) -> None:
	"""Add one boot's verdicts, rates and complaints to a result."""
	for step in planned:
		outcome = boot.outcomes.get(step)
		if outcome is None:
			result.checks[step] = FAIL
			result.reasons[step] = 'not reached: the kernel stopped before it'
			continue
		checks = _step_checks(step, outcome)
		result.checks.update(checks)
		if checks[step] == FAIL:
			result.reasons[step] = _reason(outcome)
		rate = _RATE.search(outcome.text)
		if rate:
			result.rates[step] = float(rate[1])
		if step.startswith('sysctl/'):
			result.memory += _MEMORY.findall(outcome.text)
	lines = [_STAMP.sub('', line) for line in trouble_in(boot.log)]
	if not boot.complete:
		lines.append('the guest did not come to its end')
	result.trouble[name] = lines
	result.checks[f'log/{name}'] = FAIL if lines else OK
	if lines:
		result.reasons[f'log/{name}'] = lines[0]


def regressions(base: Result, ours: Result) -> List[str]:
	"""What passes on the base and does not on ours; and new kinds of complaint."""
	found = [name for name, verdict in base.checks.items()
		 if verdict == OK and ours.checks.get(name) != OK]
	# The switch is ours alone: nothing on the base can excuse it.
	found += [name for name, verdict in ours.checks.items()
		  if name not in base.checks and verdict == FAIL and name not in found]
	return [name for name in found if not _part_of_failed(name, found)]


def _part_of_failed(name: str, found: Sequence[str]) -> bool:
	step, colon, _ = name.partition(':')
	return bool(colon) and step in found


def ratio(result: Result, boot: str, case: str) -> Optional[float]:
	"""Operations per second with elements from the allocator, over preallocated."""
	dynamic = result.rates.get(f'bench/{boot}/{case}/dynamic')
	fixed = result.rates.get(f'bench/{boot}/{case}/preallocated')
	return dynamic / fixed if dynamic and fixed else None


def _count(result: Result, step: str) -> str:
	"""A verdict with how many parts of the test agree, as a table shows it."""
	verdict = result.checks.get(step)
	if verdict is None:
		return '-'
	parts = [v for name, v in result.checks.items() if name.startswith(step + ':')]
	good = sum(v == OK for v in parts)
	return f'{verdict} {good}/{len(parts)}' if parts else verdict


def rows(base: Result, ours: Result) -> List[Tuple[str, str, str, str]]:
	"""Test, base, ours, remark; in the order in which they ran."""
	worse = regressions(base, ours)
	table = []
	for step in [n for n in ours.checks if ':' not in n]:
		remark = ''
		mine = [n for n in worse if n == step or n.startswith(step + ':')]
		if mine:
			remark = f'WORSE: {ours.reasons.get(step) or ", ".join(mine)}'
		elif base.checks.get(step) == FAIL and ours.checks[step] == FAIL:
			remark = f'the base fails too: {base.reasons.get(step, "")}'
		elif base.checks.get(step) == FAIL:
			remark = f'on the base: {base.reasons.get(step, "")}'
		table.append((step, _count(base, step), _count(ours, step), remark))
	return table


def bench_rows(base: Result, ours: Result) -> List[Tuple[str, str, str]]:
	"""Boot and use-case, ratio of base, ratio of ours."""
	def show(value: Optional[float]) -> str:
		return '-' if value is None else f'{value:.2f}'

	return [(f'{case} ({boot})', show(ratio(base, boot, case)), show(ratio(ours, boot, case)))
		for boot in BOOTS for case in USE_CASES]


def summary(base: Result, ours: Result) -> str:
	def count(result: Result) -> str:
		verdicts = [v for n, v in result.checks.items() if ':' not in n]
		parts = [v for n, v in result.checks.items() if ':' in n]
		return (f'{verdicts.count(OK)} of {len(verdicts)} tests ok, '
			f'{verdicts.count(SKIP)} skipped, {parts.count(OK)} of {len(parts)} parts ok')

	worse = regressions(base, ours)
	return (f'base: {count(base)}\nours: {count(ours)}\n' +
		(f'worse than the base: {", ".join(worse)}' if worse
		 else 'nothing that passes on the base fails on ours'))


def _style(cell: str) -> str:
	return {'ok': 'green', 'fail': 'bold red', 'skip': 'yellow'}.get(cell.split(' ')[0], '')


def show(base: Result, ours: Result) -> None:
	"""The tables, on standard output."""
	# Only here: the module may have been installed by this very run.
	from rich.table import Table
	from rich.text import Text
	out = console(120)
	table = Table(title='BPF selftests of the tree')
	for title in ('test', 'base', 'ours', ''):
		table.add_column(title, overflow='fold', no_wrap=title != '')
	for step, left, right, remark in rows(base, ours):
		table.add_row(step, Text(left, _style(left)), Text(right, _style(right)), Text(remark))
	out.print(table)
	table = Table(title='bench htab-mem: dynamic / preallocated, operations per second')
	for title in ('use-case', 'base', 'ours'):
		table.add_column(title)
	for row in bench_rows(base, ours):
		table.add_row(*row)
	out.print(table)
	for line in ours.memory:
		out.print(Text(line))
	for name, result in (('base', base), ('ours', ours)):
		for where, lines in result.trouble.items():
			for line in dict.fromkeys(lines):
				out.print(Text(f'kernel log of {name} ({where}): {line}'))
	print(summary(base, ours))
