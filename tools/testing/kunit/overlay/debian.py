# SPDX-License-Identifier: GPL-2.0
"""What apt knows, asked with Debian's python3-apt: a program of its own.

It is started with the Python that Debian's modules are made for, which need not
be the one that runs us, and with APT_CONFIG where apt shall use other lists than
the machine's. What it finds is one line of JSON, the last one.
"""

import argparse
import json
import os
import sys
from functools import cmp_to_key
from typing import Any, Callable, Dict, List

PYTHON = '/usr/bin/python3'
# How to get to a mirror: proxies, timeouts.
_WAYS = ('http', 'https', 'ftp', 'tor')


def start() -> Any:
	"""The module of python3-apt, ready."""
	import apt_pkg
	apt_pkg.init()
	return apt_pkg


def machine() -> Dict[str, Any]:
	"""The archive that packages come from, and the settings for getting there."""
	apt_pkg = start()
	sources = apt_pkg.SourceList()
	sources.read_main_list()
	mirror = ''
	for file in apt_pkg.Cache(None).file_list:
		index = sources.find_index(file)
		if index and file.origin == 'Debian' and file.label != 'Debian-Security':
			mirror = index.archive_uri('')
			break
	config = apt_pkg.config
	return {'mirror': mirror, 'ways': {
		key: config.get(key) for way in _WAYS for key in config.keys(f'Acquire::{way}')
		if config.get(key)}}


def codenames() -> List[str]:
	"""What the suites are called now whose lists are there."""
	apt_pkg = start()
	lists = apt_pkg.config.find_dir('Dir::State::lists')
	found: List[str] = []
	for name in sorted(os.listdir(lists)):
		if name.endswith('Release'):
			fd = apt_pkg.open_maybe_clear_signed_file(os.path.join(lists, name))
			with os.fdopen(fd, 'rb') as f:
				found += [section['Codename'] for section in apt_pkg.TagFile(f)
					  if 'Codename' in section]
	return list(dict.fromkeys(found))


def versions(prefix: str) -> Dict[str, List[str]]:
	"""Packages whose names begin so -> their versions, the newest first."""
	apt_pkg = start()
	return {package.name: sorted((version.ver_str for version in package.version_list),
				     key=cmp_to_key(apt_pkg.version_compare), reverse=True)
		for package in apt_pkg.Cache(None).packages
		if package.name.startswith(prefix) and package.has_versions}


def main() -> int:
	p = argparse.ArgumentParser(prog='debian.py', description='What apt knows, as JSON.')
	verbs = p.add_subparsers(dest='verb', required=True, metavar='VERB')
	verbs.add_parser('machine', help='the archive, and the settings for getting there')
	verbs.add_parser('codenames', help='of the suites whose lists are there')
	verbs.add_parser('versions', help='of packages').add_argument('prefix', metavar='PREFIX')
	args = p.parse_args()
	answers: Dict[str, Callable[[], Any]] = {
		'machine': machine, 'codenames': codenames, 'versions': lambda: versions(args.prefix)}
	print(json.dumps(answers[args.verb]()))
	return 0


if __name__ == '__main__':
	sys.exit(main())
