# SPDX-License-Identifier: GPL-2.0
"""How each file is compiled, for clangd (`make compile_commands.json`).

The tree's tool has a list made with every kernel. It names the assembled tree,
where our files are links: an editor shall open the files themselves, so the list
that is written to the checkout names these.
"""

import json
import os
import re
from typing import Dict, List, Tuple

from lib import files, kernel, packages
from lib.files import REPO
from lib.host import Host, OverlayError
from overlay.tree import in_kernel, ready

NAME = 'compile_commands.json'
# Words of gcc that clang does not know, or not without another one.
_GCC_ONLY = re.compile(r' (-fconserve-stack|-fno-allow-store-data-races|'
		       r'-ftrivial-auto-var-init=zero)(?= )')

Entry = Dict[str, str]   # directory, file, command


def mapped(entry: Entry, repo: str) -> Entry:
	"""An entry of the tree's list, with our file and our headers by their own paths."""
	folder = entry['directory']
	file = os.path.realpath(os.path.join(folder, entry['file']))
	command = _GCC_ONLY.sub('', entry['command'])
	command = command.replace(' -I', f' -I{repo}/include -I', 1)
	words, source = command.rsplit(' ', 1)
	if is_ours(file, repo) and os.path.realpath(os.path.join(folder, source)) == file:
		command = f'{words} {file}'
	return {'directory': folder, 'file': file, 'command': command}


def is_ours(file: str, repo: str) -> bool:
	return in_kernel(os.path.relpath(file, repo))


def read(path: str) -> List[Entry]:
	try:
		found: List[Entry] = json.loads(files.read(path))
		return [{key: entry[key] for key in ('directory', 'file', 'command')}
			for entry in found]
	except (OSError, ValueError, TypeError, KeyError) as e:
		raise OverlayError(f'{path} cannot be read, which the tree\'s tool should have made '
				   'with the kernel: use another base') from e


def make(host: Host) -> Tuple[str, int, int]:
	"""Build a kernel, write the list; its path, number of files, of ours."""
	tree = ready(host, packages.build(kernel.DEFAULT.arch))
	kernel.build(host, kernel.DEFAULT, tree.folder)
	entries = [mapped(entry, REPO) for entry in
		   read(os.path.join(kernel.DEFAULT.where(tree.folder), NAME))]
	path = files.write(os.path.join(REPO, NAME), json.dumps(entries, indent=1) + '\n')
	return path, len(entries), sum(is_ours(entry['file'], REPO) for entry in entries)
