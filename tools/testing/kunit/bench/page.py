# SPDX-License-Identifier: GPL-2.0
"""What the benchmark found, as one self-contained page: SVG charts, no scripts."""

from typing import Any, Dict, List, Tuple

import jinja2

from bench.figures import COMPARISON, Figure, Key, contenders, per, row, works
from bench.goals import GOALS, judge
from lib import report

_COLOURS = {'ours': '#1b6ca8', 'peer': '#d1495b', 'kmalloc': '#8d8d8d',
	    'kmalloc_nolock': '#7b5ea7',
	    'kmem_cache': '#b5b5b5', 'objpool': '#edae49', 'percpu_freelist': '#66a182',
	    'asked': '#dddddd', 'quiet': '#cccccc', 'none': '#cccccc'}

# Values of one chart that differ by more have a logarithmic axis.
_WIDE = 500

# Charts: title, mode, works.
_CHARTS: Tuple[Tuple[str, str, Tuple[str, ...]], ...] = (
	('Fixed size, one CPU: instructions per allocation and free', 'instructions',
	 ('hot_pair', 'lifo_8', 'lifo_64', 'lifo_256', 'fifo_64', 'fifo_256')),
	('Growth and grace periods: instructions per operation', 'instructions',
	 ('growth', 'growth_back', 'free_rcu_32')),
	('Longest single operation: instructions', 'instructions',
	 ('single_median', 'single_p99.9', 'single_longest')),
	('Hash maps, update + lookup + delete: instructions', 'instructions',
	 ('hash_prealloc', 'hash_dynamic', 'percpu_prealloc', 'percpu_dynamic')),
	('Hash maps, fill: instructions per element', 'instructions',
	 ('fill_hash_prealloc', 'fill_hash_dynamic', 'refill_hash_prealloc', 'refill_hash_dynamic')),
	('Hash maps, elements replaced: instructions per update', 'instructions',
	 ('overwrite_hash_prealloc', 'overwrite_hash_dynamic')),
	('Fresh allocator, interrupts off: objects had of 10,000 asked', 'instructions',
	 tuple(f'burst_fresh_{size}' for size in (16, 64, 256, 1024, 4096))),
	('Warm allocator, interrupts off: objects had of 10,000 asked', 'instructions',
	 tuple(f'burst_warm_{size}' for size in (16, 64, 256, 1024, 4096))),
	('Four CPUs: ns per operation', 'smp', ('all_cpus', 'producer_consumer')),
	('Two CPUs of User-Mode Linux: ns per operation', 'uml_smp',
	 ('hot_pair', 'all_cpus', 'producer_consumer')),
	('Life of an allocator that is not used, 16 CPUs: instructions', 'instructions16',
	 ('init_destroy_fixed', 'init_destroy_classes')),
	('64 CPUs ask at once: objects had', 'large64',
	 ('all_cpus_k4_fresh', 'all_cpus_k4_second', 'all_cpus_k4_idle', 'all_cpus_k100_fresh',
	  'all_cpus_k100_second', 'all_cpus_k100_third')),
	('Longest pause of a busy CPU: instructions', 'large1',
	 ('pause_burst_1000', 'pause_burst_100000', 'pause_freed_100000',
	  'pause_freed_rcu_100000', 'wake_freed_100000')),
	('Full hash maps, 64 CPUs: instructions', 'large64',
	 ('churn_30000_prealloc', 'churn_30000_dynamic', 'refused_30000_prealloc',
	  'refused_30000_dynamic')),
	('Two nodes of memory: objects from the own node', 'large_numa',
	 ('own_churn', 'shared_table', 'handed_over')),
	('16 CPUs: atomic instructions on shared lines, per 1,000 objects', 'large_traffic',
	 tuple(f'{load}_shared_atomics' for load in ('churn_128', 'churn_2000', 'shared_table',
						      'handed_over'))),
)

# Memory of a map of 100,000 elements over its life, in this order.
_LIFE = ('bytes_empty', 'bytes_half', 'bytes_full', 'bytes_half_deleted', 'bytes_full_again',
	 'bytes_all_deleted', 'bytes_after_1s', 'bytes_after_2s', 'bytes_after_4s',
	 'bytes_after_8s', 'bytes_after_16s')

_PAGE = jinja2.Template('''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>BPF memory allocator: benchmark</title>
<style>{{ style }}
.met { color: #1a7f37; } .missed { color: #b3261e; } .none { color: #777; }
</style>
</head>
<body>
<h1>BPF memory allocator: benchmark</h1>
<p>Commit {{ data.commit }}, base {{ data.base }}, measured {{ data.date }} on
{{ data.machine.cpus }} CPUs ({{ data.machine.model }}). "Peer" is the allocator of the
base, compiled under other names into the same kernel. Lower is better but for objects had.
{% for run in data.runs if not run.complete %}<strong>{{ run.mode }} was cut short.</strong>
{% endfor %}</p>
<h2>Goals</h2>
<table>
<tr><th>goal</th><th>limit</th><th>measured</th><th></th></tr>
{% for goal in goals %}<tr><td>{{ goal.text }}</td><td>{{ goal.limit }}</td>
<td>{{ goal.value }}</td><td class="{{ goal.css }}">{{ goal.word }}</td></tr>
{% endfor %}</table>
{% for chart in charts %}<h2>{{ chart.title }}</h2>
{{ chart.svg }}
{% endfor %}
{% for table in tables %}<h2>All figures: {{ table.mode }}, {{ table.unit }}</h2>
<table>
<tr><th>work</th>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endfor %}
</body>
</html>
''', autoescape=False)


def _chart(found: Dict[Key, Figure], mode: str, names: Tuple[str, ...]) -> str:
	"""Bars in groups, a group for each work; SVG."""
	shown = [work for work in names if any((mode, work, who) in found
					       for who in contenders(found, mode))]
	whos = [who for who in contenders(found, mode)
		if any((mode, work, who) in found for work in shown)]
	width = 0.8 / max(len(whos), 1)
	figure, axes = report.subplots(3.2)
	heights: List[float] = []
	for i, who in enumerate(whos):
		at = [x + i * width for x, work in enumerate(shown) if (mode, work, who) in found]
		values = [found[mode, work, who].median for work in shown
			  if (mode, work, who) in found]
		bars = axes.bar(at, values, width, label=who, color=_COLOURS.get(who))
		axes.bar_label(bars, fmt='%.0f', fontsize=7)
		heights += values
	if heights and min(heights) > 0 and max(heights) > _WIDE * min(heights):
		axes.set_yscale('log')
	axes.set_xticks([x + 0.4 - width / 2 for x in range(len(shown))], shown, fontsize=8)
	axes.legend(fontsize=8, frameon=False, ncols=len(whos) or 1, loc='upper center',
		    bbox_to_anchor=(0.5, 1.16))
	return report.svg(figure)


def _life(found: Dict[Key, Figure], mode: str) -> str:
	"""A line for each contender, MB at each point of a map's life; SVG."""
	figure, axes = report.subplots(3.2)
	for who in contenders(found, mode):
		values = {x: found[mode, work, who].median / 1e6 for x, work in enumerate(_LIFE)
			  if (mode, work, who) in found}
		if values:
			axes.plot(list(values), list(values.values()), marker='o', label=who,
				  color=_COLOURS.get(who))
	axes.set_xticks(range(len(_LIFE)),
			[work.replace('bytes_', '').replace('_', '\n') for work in _LIFE], fontsize=8)
	axes.set_ylabel('MB')
	axes.set_ylim(bottom=0)
	axes.legend(fontsize=8, frameon=False)
	return report.svg(figure)


def _goals(found: Dict[Key, Figure]) -> List[Dict[str, str]]:
	rows = []
	for goal in GOALS:
		verdict = judge(goal, found)
		word = {True: 'met', False: 'missed', None: 'not measured'}[verdict.met]
		rows.append({'text': goal.text, 'word': word, 'css': word if verdict.met is not None
			     else 'none', 'value': '' if verdict.value is None
			     else f'{verdict.value:.3f}',
			     'limit': ('≥ ' if goal.at_least else '≤ ') + f'{goal.limit:g}'})
	return rows


def _tables(data: Dict[str, Any], found: Dict[Key, Figure]) -> List[Dict[str, Any]]:
	tables = []
	for run in data['runs']:
		names = contenders(found, run['mode'])
		rows = [[work] + row(found, run['mode'], work, names)
			for work in works(found, run['mode'])]
		tables.append({'mode': run['mode'], 'unit': per(run['unit']),
			       'columns': [*names, *COMPARISON], 'rows': rows})
	return tables


def page(data: Dict[str, Any], found: Dict[Key, Figure]) -> str:
	"""The whole page."""
	charts = [{'title': title, 'svg': _chart(found, mode, names)}
		  for title, mode, names in _CHARTS
		  if any((mode, work, 'ours') in found for work in names)]
	charts += [{'title': f'Memory of a map while it fills, empties and rests ({mode})',
		    'svg': _life(found, mode)}
		   for mode in ('instructions', 'native') if (mode, _LIFE[0], 'ours') in found]
	return _PAGE.render(style=report.STYLE, data=data, goals=_goals(found), charts=charts,
			    tables=_tables(data, found))
