# SPDX-License-Identifier: GPL-2.0
"""One licence, said in one way by each kind of file, and its text is there."""

import os
import re
import unittest
from typing import Dict, List

from check.step import own_files
from lib import files
from lib.files import REPO
from lib.host import Host

TEXT = 'LICENSES/preferred/GPL-2.0'
# By the end of a name: how the first line that can be a comment begins, and what it says.
KINDS: Dict[str, str] = {
	'.c': '// SPDX-License-Identifier: GPL-2.0-only',
	'.h': '/* SPDX-License-Identifier: GPL-2.0-only */',
	'.pml': '/* SPDX-License-Identifier: GPL-2.0-only */',
	'.rst': '.. SPDX-License-Identifier: GPL-2.0-only',
	'.sh': '# SPDX-License-Identifier: GPL-2.0-only',
	'.bt': '// SPDX-License-Identifier: GPL-2.0-only',
	'Makefile': '# SPDX-License-Identifier: GPL-2.0-only',
	'.py': '# SPDX-License-Identifier: GPL-2.0',
}


def wrong(path: str, text: str) -> List[str]:
	"""What a file of this name should say and does not; at most one line."""
	expected = next((line for end, line in KINDS.items() if path.endswith(end)), None)
	lines = text.splitlines() or ['']
	first = lines[1:2] if lines[0].startswith('#!') else lines[:1]
	return [] if expected is None or first == [expected] else [f'{path}: {expected}']


class LicenceTest(unittest.TestCase):

	def test_every_file_says_it(self) -> None:
		found = [line for path in own_files(Host(), REPO)
			 for line in wrong(path, files.read(os.path.join(REPO, path)))]
		self.assertEqual(found, [])

	def test_text_is_there(self) -> None:
		said = {line.split(': ')[1].split()[0] for line in KINDS.values()}
		text = files.read(os.path.join(REPO, TEXT))
		self.assertEqual(said - set(re.findall(r'^Valid-License-Identifier: (\S+)$', text, re.M)),
				 set())
		self.assertIn('GNU GENERAL PUBLIC LICENSE', text)
		self.assertIn(TEXT, files.read(os.path.join(REPO, 'COPYING')))

	def test_what_is_wrong_is_seen(self) -> None:
		self.assertTrue(wrong('lib/x.c', '// SPDX-License-Identifier: GPL-2.0\n'))
		self.assertTrue(wrong('lib/x.py', '"""No licence."""\n'))
		self.assertTrue(wrong('lib/x.sh', ''))
		self.assertFalse(wrong('lib/x.sh', '#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\n'))
		self.assertFalse(wrong('README.md', 'no comment\n'))
