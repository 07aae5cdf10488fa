# SPDX-License-Identifier: GPL-2.0
"""The entry in MAINTAINERS has every file that is ours in a kernel tree, and no other."""

import fnmatch
import os
import re
import unittest
from typing import List

from lib import files
from lib.files import REPO
from lib.host import Host
from overlay.base import OLDEST
from overlay.install import installed
from overlay.tree import read_overlay


def patterns() -> List[str]:
	return re.findall(r'^\+F:\t(\S+)$', files.read(os.path.join(REPO, 'MAINTAINERS.patch')), re.M)


def matches(pattern: str, path: str) -> bool:
	"""As scripts/get_maintainer.pl does: / at the end is a folder, * stays in one."""
	if pattern.endswith('/'):
		return path.startswith(pattern)
	return fnmatch.fnmatchcase(path, pattern) and pattern.count('/') == path.count('/')


class MaintainersTest(unittest.TestCase):

	def setUp(self) -> None:
		self.ours = list(installed(read_overlay(Host(), REPO, OLDEST)).files)

	def test_every_file_has_an_entry(self) -> None:
		self.assertEqual([path for path in self.ours
				  if not any(matches(p, path) for p in patterns())], [])

	def test_every_pattern_has_a_file(self) -> None:
		self.assertEqual([p for p in patterns()
				  if not any(matches(p, path) for path in self.ours)], [])

	def test_patterns_are_in_order(self) -> None:
		self.assertEqual(patterns(), sorted(patterns()))
