# SPDX-License-Identifier: GPL-2.0
"""What the tuner found, as one self-contained page: SVG charts, no scripts."""

from typing import Any, Dict, List, Sequence, Tuple

import jinja2

from lib import report
from tune.pareto import (AXES, Advice, Score, Trial, apply_lines, better_than_usual, front,
			 setting_of, usual)
from tune.search import DEFAULT

_OTHERS, _FRONT, _DEFAULT, _ADVICE = '#b5b5b5', '#1b6ca8', '#d1495b', '#1a7f37'

_PAGE = jinja2.Template('''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>BPF memory allocator: watermarks</title>
<style>{{ style }}
.front td { font-weight: bold; } .default td { color: #b3261e; }
pre { background: #f4f4f4; padding: .6em 1em; overflow-x: auto; }
</style>
</head>
<body>
<h1>Watermarks for these workloads: {{ advice.score.setting }}</h1>
<p>(low/high/batch, in objects of up to 256 bytes per CPU.)
{% if not complete %}<strong>Not all trials were run.</strong>{% endif %}</p>
<ul>{% for reason in advice.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>
<p>At run time:</p>
<pre>{% for line in lines[:-1] %}{{ line }}
{% endfor %}</pre>
<p>On the kernel command line:</p>
<pre>{{ lines[-1] }}</pre>
{% for chart in charts %}<h2>{{ chart[0] }}</h2>
{{ chart[1]|safe }}
{% endfor %}
<h2>Workloads</h2>
<table><tr><th>name</th><th>CPUs</th><th>machine</th><th>what it is</th></tr>
{% for w in workloads %}<tr><td>{{ w.name }}</td><td>{{ w.cpus }}</td><td>{{ w.machine }}</td>
<td style="text-align:left">{{ w.about }}</td></tr>
{% endfor %}</table>
<h2>All settings</h2>
<p>Bold: on the Pareto front over failed allocations, memory held on average, and instructions.
{% if better %}Better than the default on one axis and worse on none: {{ better }}.
{% else %}Nothing that was tried beats the default without losing on another axis.{% endif %}</p>
<table>
<tr><th>low/high/batch</th>{% for axis in axes %}<th>{{ axis[1] }}</th>{% endfor %}</tr>
{% for row in rows %}<tr class="{{ row.css }}"><td>{{ row.name }}</td>
{% for cell in row.cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if crashed %}<h2>Crashed</h2>
<ul>{% for trial in crashed %}<li>{{ trial.name }} on {{ trial.workload }}: {{ trial.why }}</li>
{% endfor %}</ul>{% endif %}
<p>Failed and refills are per 1,000 allocations of all workloads; memory is the sum over the
workloads of what their allocators held, objects in use included; instructions per operation are
the mean over the workloads that ran in QEMU, which counts them.
Commit {{ commit }}, base {{ base }}.</p>
</body>
</html>
''', autoescape=True)


def _scatter(found: Sequence[Score], advice: Advice, x: str, y: str) -> str:
	"""Every setting as a point, the front as a line; SVG."""
	titles = {name: title for name, title, _, _ in AXES}
	best = sorted(front(found), key=lambda score: score.axis(x))
	base = usual(found)
	figure, axes = report.subplots(3.6)

	def points(some: Sequence[Score], **style: Any) -> None:
		axes.scatter([s.axis(x) for s in some], [s.axis(y) for s in some], **style)

	points([score for score in found if score not in best], s=22, color=_OTHERS,
	       label='settings')
	points(best, s=30, color=_FRONT, label='on the front')
	if base:
		points([base], s=110, marker='X', color=_DEFAULT, label=f'default {base.setting}')
	if advice.score.setting != DEFAULT:
		points([advice.score], s=150, marker='*', color=_ADVICE,
		       label=f'recommended {advice.score.setting}')
	axes.set_xlabel(titles[x])
	axes.set_ylabel(titles[y])
	axes.legend(fontsize=8, frameon=False, loc='upper center', ncols=4,
		    bbox_to_anchor=(0.5, 1.15))
	return report.svg(figure)


def _charts(found: Sequence[Score], advice: Advice) -> List[Tuple[str, str]]:
	charts = [('Memory against failures', _scatter(found, advice, 'held_mean', 'failed'))]
	if any(score.instructions is not None for score in found):
		charts.append(('Memory against speed',
			       _scatter(found, advice, 'held_mean', 'instructions')))
	charts.append(('Memory against refills', _scatter(found, advice, 'held_mean', 'refills')))
	return charts


def page(data: Dict[str, Any], found: Sequence[Score], advice: Advice) -> str:
	"""The whole page; data as in tune.json."""
	best = front(found)
	rows = [{'name': str(score.setting) + (' (default)' if score.setting == DEFAULT else ''),
		 'css': ' '.join(word for word, there in (
			 ('front', score in best), ('default', score.setting == DEFAULT)) if there),
		 'cells': [score.text(name, form) for name, _, form, _ in AXES]}
		for score in sorted(found, key=lambda s: (s.failed, s.held_mean))]
	trials: List[Trial] = data['trials']
	crashed = [{**trial, 'name': str(setting_of(trial))} for trial in trials
		   if trial['status'] != 'ok']
	return _PAGE.render(style=report.STYLE, advice=advice,
			    lines=apply_lines(advice.score), rows=rows, axes=AXES,
			    charts=_charts(found, advice), workloads=data['workloads'],
			    crashed=crashed, complete=data['complete'], commit=data['commit'],
			    base=data['base'],
			    better=', '.join(str(s.setting) for s in better_than_usual(found)))
