# SPDX-License-Identifier: GPL-2.0
"""Tests for how selftests are built, their guest, and their tools."""

import os
import subprocess
import unittest

from lib import initramfs
from lib.host import Host, Output, OverlayError
from lib.kernel import Build, configure, lost_options
from selftests import build as selftests_build
from selftests import tools as selftests_tools
from selftests.choice import FOLDER, Choice
from selftests.image import Step
from selftests.tools import Clang
from tests.fixtures import Case, FakeHost, read, write

CHOICE = Choice(('timer',), ('timer',), frozenset({'timer', 'light'}), frozenset({'light'}),
		frozenset(), ())


class ConfigTest(unittest.TestCase):

	def test_options_that_took(self) -> None:
		config = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x"\n'
		self.assertEqual(lost_options(
			'# why\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_NONE is not set\n', config), [])

	def test_options_that_did_not(self) -> None:
		for line in ('CONFIG_B=y', 'CONFIG_A=m', '# CONFIG_A is not set', 'CONFIG_D=y'):
			self.assertEqual(lost_options(line, 'CONFIG_A=y\n'), [line])


class BuildTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.kernel = Build('ours', self.linux, os.path.join(self.work, 'out'))
		self.fragment = os.path.join(self.work, 'fragment')
		write(self.work, {'fragment': 'CONFIG_A=y\n'})
		self.path = os.environ['PATH']
		self.addCleanup(os.environ.__setitem__, 'PATH', self.path)

	def fake_make(self, script: str) -> None:
		write(self.work, {'bin/make': f'#!/bin/sh\n{script}\n'})
		os.chmod(os.path.join(self.work, 'bin/make'), 0o755)
		os.environ['PATH'] = f'{self.work}/bin:{self.path}'

	def test_config_is_left_alone_when_it_is_the_same(self) -> None:
		self.fake_make('exit 0')
		configure(self.host, self.kernel, self.fragment)
		path = os.path.join(self.kernel.objects, '.config')
		os.utime(path, (1, 1))
		configure(self.host, self.kernel, self.fragment)
		self.assertEqual(os.stat(path).st_mtime, 1)
		write(self.work, {'fragment': 'CONFIG_A=m\n'})
		configure(self.host, self.kernel, self.fragment)
		self.assertEqual(read(path), 'CONFIG_A=m\n')

	def test_option_that_the_tree_refuses(self) -> None:
		self.fake_make(f'echo > {self.kernel.objects}/.config.new')
		with self.assertRaisesRegex(OverlayError, 'does not take CONFIG_A=y'):
			configure(self.host, self.kernel, self.fragment)
		self.assertFalse(os.path.exists(os.path.join(self.kernel.objects, '.config')))

	def test_failed_build_is_one_line(self) -> None:
		self.fake_make('case "$*" in *bzImage*) echo "x.c:1:2: error: y"; exit 2;; esac')
		with self.assertRaisesRegex(OverlayError, r'kernel \(ours\): failed: x.c:1:2: error: y'):
			selftests_build.build_kernel(self.host, self.kernel, self.fragment)

	def test_module_is_built_from_a_copy(self) -> None:
		write(self.linux, {f'{FOLDER}/bpf_testmod/bpf_testmod.c': 'int x;\n',
				   f'{FOLDER}/bpf_testmod/Makefile': 'all: others\n'})
		self.fake_make('for w in "$@"; do case $w in M=*) echo ko > ${w#M=}/bpf_testmod.ko;;'
			       ' esac; done')
		selftests_build.build_kernel(self.host, self.kernel, self.fragment)
		self.assertEqual(read(selftests_build.module(self.kernel)), 'ko\n')
		self.assertNotIn('others', read(os.path.dirname(selftests_build.module(self.kernel)), 'Makefile'))

	def test_copy_is_cut_to_the_choice(self) -> None:
		write(self.linux, {f'{FOLDER}/{path}': '' for path in (
			'prog_tests/timer.c', 'prog_tests/other.c', 'progs/timer.c', 'progs/unused.c',
			'progs/head.h', 'Makefile', 'test_maps.c', 'map_tests/all.c')})
		for path in selftests_build._FILES:
			write(self.linux, {path: read(self.linux, path)
					   if os.path.exists(f'{self.linux}/{path}') else ''})
		copy = os.path.join(self.work, 'copy')
		selftests_build.copy_sources(self.linux, CHOICE, copy)
		found = {os.path.relpath(os.path.join(folder, name), os.path.join(copy, FOLDER))
			 for folder, _, names in os.walk(os.path.join(copy, FOLDER)) for name in names}
		self.assertEqual(found, {'prog_tests/timer.c', 'progs/timer.c', 'progs/head.h',
					 'Makefile', 'test_maps.c', 'map_tests/all.c'})

	def test_words_for_the_makefile(self) -> None:
		words = selftests_build.user_words(CHOICE, Clang('-19'), '/v')
		for word in ('CLANG=clang-19', 'VMLINUX_BTF=/v', 'LSKELS=light.c', 'LSKELS_EXTRA='):
			self.assertIn(word, words)


class ImageTest(Case):

	def test_plan_line(self) -> None:
		self.assertEqual(Step('a/b', 5, './x -y').line(), 'a/b 5 ./x -y\n')

	def test_libraries(self) -> None:
		self.host.answers = {'ldd a': [Output(0, '\tlinux-vdso.so.1 (0x1)\n'
			'\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\t/lib64/ld.so.2 (0x3)\n')],
			'ldd b': [Output(1, '\tnot a dynamic executable\n')],
			'ldd c': [Output(0, '\tlibq.so.1 => not found\n')]}
		self.assertEqual(initramfs.libraries(self.host, ['a', 'b']),
				 {'/lib/libz.so.1', '/lib64/ld.so.2'})
		with self.assertRaisesRegex(OverlayError, 'libq.so.1'):
			initramfs.libraries(self.host, ['c'])

	@unittest.skipUnless(Host().which('cpio'), 'cpio is not installed')
	def test_pack(self) -> None:
		write(self.work, {'root/init': 'x', 'root/a/b': 'y'})
		image = os.path.join(self.work, 'image')
		initramfs.pack(os.path.join(self.work, 'root'), image)
		with open(image, 'rb') as f:
			listing = subprocess.run(['cpio', '--quiet', '-t'], stdin=f, check=True,
						 capture_output=True, text=True).stdout
		self.assertEqual(sorted(listing.split()), ['a', 'a/b', 'init'])


class ToolsTest(unittest.TestCase):

	def clang(self, *suffixes: str) -> FakeHost:
		return FakeHost([c + s for s in suffixes for c in ('clang', 'llc', 'llvm-strip')])

	def test_newest_is_taken(self) -> None:
		host = self.clang('-18', '-21', '-14', '')
		self.assertEqual(selftests_tools.clang(host), Clang('-21'))

	def test_incomplete_or_old_ones_are_passed_over(self) -> None:
		host = self.clang('-14')
		host.commands.add('clang-21')
		self.assertEqual(selftests_tools.find_clang(host), ())
		with self.assertRaisesRegex(OverlayError, 'install clang-19 and llvm-19'):
			selftests_tools.clang(host)
		self.assertIn('clang-19', {r.package for r in selftests_tools.requirements(host)})

	def test_unversioned(self) -> None:
		host = self.clang('')
		for number, found in ((17, ()), (20, (Clang(''),))):
			host.answers = {'clang --version': [Output(0, f'x clang version {number}.1\n')]}
			self.assertEqual(selftests_tools.find_clang(host), found)

	def test_no_package_of_clang_where_one_is(self) -> None:
		packages = {r.package for r in selftests_tools.requirements(self.clang('-18'))}
		self.assertFalse({p for p in packages if 'clang' in p})
		self.assertLessEqual({'dwarves', 'qemu-system-x86', 'python3-rich', 'busybox-static'},
				     packages)
