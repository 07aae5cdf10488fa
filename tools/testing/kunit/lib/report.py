# SPDX-License-Identifier: GPL-2.0
"""What our pages of results have in common: look, and charts as SVG."""

import io
from typing import Any

import matplotlib  # type: ignore[import]
matplotlib.use('svg')
import matplotlib.pyplot as plt  # type: ignore[import]

STYLE = '''
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; }
'''


def svg(figure: Any) -> str:
	"""A figure of matplotlib as an element of a page; the figure is closed."""
	text = io.StringIO()
	figure.savefig(text, format='svg', bbox_inches='tight', metadata={'Date': None})
	plt.close(figure)
	return text.getvalue()[text.getvalue().index('<svg'):]


def subplots(height: float) -> Any:
	"""A figure of the width of a page, height in inches, and its axes."""
	figure, axes = plt.subplots(figsize=(9, height))
	axes.spines[['top', 'right']].set_visible(False)
	return figure, axes
