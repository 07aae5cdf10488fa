# SPDX-License-Identifier: GPL-2.0
"""The rule of the rooms, and the graph: python3 -B -m tests.rooms_test prints it.

lib <- overlay <- commands: a room imports from those to the left of it, and a
command never from another command. Tests may import from everywhere, and nobody
from them.
"""

import ast
import os
import unittest
from typing import Dict, Iterator, List, Set, Tuple

from tests.fixtures import HERE

COMMANDS = ('check', 'bench', 'tune', 'record', 'selftests')
# From which other rooms a room may import. kunit.py is a room of its own.
RULE: Dict[str, Set[str]] = {
	'lib': set(), 'overlay': {'lib'}, 'kunit': {'lib', 'overlay'},
	**{room: {'lib', 'overlay'} for room in COMMANDS},
	'tests': {'lib', 'overlay', 'kunit', *COMMANDS},
}


def modules() -> Dict[str, str]:
	"""Name of each of our modules -> its file."""
	found: Dict[str, str] = {}
	for folder, folders, files in os.walk(HERE):
		folders[:] = sorted(name for name in folders if name != '__pycache__')
		for file in sorted(files):
			if file.endswith('.py'):
				path = os.path.relpath(os.path.join(folder, file), HERE)
				found[path[:-3].replace(os.sep, '.')] = os.path.join(folder, file)
	return found


def imports(text: str, known: Set[str]) -> Iterator[str]:
	"""Modules that a source imports, of those that are known, wherever it does."""
	for node in ast.walk(ast.parse(text)):
		if isinstance(node, ast.Import):
			yield from (alias.name for alias in node.names if alias.name in known)
		elif isinstance(node, ast.ImportFrom) and node.module:
			parts = [f'{node.module}.{alias.name}' for alias in node.names]
			yield from (part for part in parts if part in known)
			if node.module in known:
				yield node.module


def graph() -> Dict[str, List[str]]:
	"""Module -> modules of ours that it imports."""
	found: Dict[str, List[str]] = {}
	all_of_them = modules()
	for name, path in all_of_them.items():
		with open(path, encoding='utf-8') as f:
			found[name] = sorted(set(imports(f.read(), set(all_of_them))))
	return found


def room(module: str) -> str:
	return module.split('.')[0]


def broken(found: Dict[str, List[str]]) -> List[Tuple[str, str]]:
	"""Imports that the rule forbids."""
	return [(module, other) for module, others in found.items() for other in others
		if room(other) != room(module) and room(other) not in RULE[room(module)]]


def circles(found: Dict[str, List[str]]) -> Set[str]:
	"""Modules that import themselves, by way of others."""
	left = {module: set(others) for module, others in found.items()}
	while True:
		done = {module for module, others in left.items() if not others}
		if not done:
			return set(left)
		left = {module: others - done for module, others in left.items()
			if module not in done}


def shown(found: Dict[str, List[str]]) -> str:
	"""The graph as text: rooms, and of each module what it imports of other rooms."""
	lines: List[str] = []
	for where in RULE:
		mine = {module: others for module, others in found.items() if room(module) == where}
		other_rooms = sorted({room(o) for others in mine.values() for o in others} - {where})
		lines.append(f'{where} <- {" ".join(other_rooms) or "nothing"}')
		lines += [f'  {module}: {" ".join(others)}' for module, others in mine.items() if others]
	arrows = sum(len(others) for module, others in found.items() if room(module) != 'tests')
	return '\n'.join([*lines, f'{arrows} arrows, those of tests not counted'])


class RoomsTest(unittest.TestCase):

	def test_every_folder_is_a_room(self) -> None:
		self.assertEqual({room(module) for module in modules()}, set(RULE))

	def test_rule(self) -> None:
		self.assertEqual(broken(graph()), [])

	def test_no_circles(self) -> None:
		self.assertEqual(circles(graph()), set())

	def test_commands_can_be_started(self) -> None:
		for name in (*COMMANDS, 'overlay'):
			self.assertIn(f'{name}.__main__', modules())

	def test_what_is_forbidden_is_seen(self) -> None:
		known = {'lib.host', 'check.step', 'tune.page'}
		for text in ('import check.step', 'from check import step',
			     'def f():\n\tfrom check.step import FAIL\n'):
			self.assertEqual(list(imports(text, known)), ['check.step'], text)
		self.assertEqual(broken({'tune.page': ['check.step', 'lib.host'],
					 'lib.host': ['tune.page']}),
				 [('tune.page', 'check.step'), ('lib.host', 'tune.page')])
		self.assertEqual(circles({'a': ['b'], 'b': ['a'], 'c': []}), {'a', 'b'})


if __name__ == '__main__':
	print(shown(graph()))
