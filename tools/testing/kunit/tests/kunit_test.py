# SPDX-License-Identifier: GPL-2.0
"""Tests for our kunit.py: what it makes of its words, and what it hands on."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import unittest
from typing import Dict, List, Optional

import kunit
from lib.host import OverlayError
from tests.fixtures import NOBODY, PUBLIC_PYTHON, TOOL, Case, needs_root, snapshot, write

TOOLS = ('gcc', 'make', 'flex', 'bison', 'bc', 'perl', 'patch', 'git')


class EmulationTest(unittest.TestCase):

	NEWER = ['qemu-system-x86_64', '-nographic', '-accel', 'kvm', '-accel', 'hvf',
		 '-accel', 'tcg', '-serial', 'stdio']

	def test_accelerators_of_newer_tools_are_left_out(self) -> None:
		self.assertEqual(kunit.software_emulation(self.NEWER + ['-icount', 'shift=0']),
				 ['qemu-system-x86_64', '-nographic', '-serial', 'stdio',
				  '-icount', 'shift=0'])

	def test_what_the_user_says_stays(self) -> None:
		self.assertEqual(kunit.software_emulation(self.NEWER + ['-accel', 'kvm']),
				 ['qemu-system-x86_64', '-nographic', '-serial', 'stdio',
				  '-accel', 'kvm'])
		for other in (['qemu-system-x86_64', '-serial', 'stdio', '-accel', 'kvm'],
			      ['make', *self.NEWER[1:]]):
			self.assertEqual(kunit.software_emulation(other), other)


class QemuOperations:
	"""As newer tools have it: the command is put together where it is started."""

	def __init__(self, extra: List[str]) -> None:
		self._extra_qemu_params = extra

	def start(self) -> List[str]:
		return ['qemu-system-x86_64', '-nographic', '-accel', 'kvm', '-accel', 'hvf',
			'-accel', 'tcg', '-serial', 'stdio'] + self._extra_qemu_params


class OperationsTest(unittest.TestCase):

	def test_command_is_changed_where_the_tool_builds_it(self) -> None:
		module = types.SimpleNamespace(LinuxSourceTreeOperationsQemu=QemuOperations)
		kunit.emulate(module)
		extras: List[List[str]] = [[], ['-smp', '4'], ['-accel', 'kvm']]
		for extra in extras:
			self.assertEqual(module.LinuxSourceTreeOperationsQemu(extra).start(),
					 ['qemu-system-x86_64', '-nographic', '-serial', 'stdio', *extra])


class Seen(Exception):
	"""Ends the tool where it would begin to act."""


class WordsTest(Case):

	def setUp(self) -> None:
		super().setUp()
		self.addCleanup(setattr, sys, 'argv', list(sys.argv))
		self.addCleanup(setattr, sys, 'path', list(sys.path))

	def words(self, *argv: str) -> argparse.Namespace:
		"""What the miniature tree's own parser makes of words, and we of that."""
		found: List[argparse.Namespace] = []

		def seen(args: argparse.Namespace) -> None:
			found.append(args)
			raise Seen

		tool = kunit.load(self.linux)
		kunit.watch(tool, self.work, self.linux, seen)
		with self.assertRaises(Seen):
			tool.main(argv)
		return found[0]

	def test_paths_are_anchored_at_the_users_folder(self) -> None:
		write(self.work, {'my.config': '', 'q.py': ''})
		words = self.words('run', '--build_dir=out', '--kunitconfig', 'my.config',
				   '--json=r.json', '--qemu_config=q.py', '--junit=r.xml')
		self.assertEqual(
			(words.build_dir, words.kunitconfig, words.json, words.qemu_config, words.junit),
			(f'{self.work}/out', [f'{self.work}/my.config'], f'{self.work}/r.json',
			 f'{self.work}/q.py', f'{self.work}/r.xml'))
		self.assertEqual(kunit.inputs(words), [f'{self.work}/my.config', f'{self.work}/q.py'])

	def test_input_known_only_in_the_tree_is_left_to_the_tool(self) -> None:
		words = self.words('run', '--kunitconfig=kernel/bpf', '--kunitconfig=nowhere')
		self.assertEqual(words.kunitconfig, ['kernel/bpf', f'{self.work}/nowhere'])

	def test_other_words_are_untouched(self) -> None:
		argv = ['run', '--json', 'suite*.case', '--raw_output',
			'--kconfig_add', 'CONFIG_X=y', '--qemu_args=-smp 4', '--timeout', '5',
			'--kernel_args=a=b', '--jobs=3', '--alltests', '--make_options', 'V=1']
		words = self.words(*argv)
		plain = kunit.load(self.linux).parser().parse_args([argv[0], '--json=stdout', *argv[2:]])
		self.assertEqual(vars(words), {**vars(plain), 'build_dir': None})
		self.assertEqual(words.json, 'stdout')
		self.assertEqual(self.words('run', '--json=stdout').json, 'stdout')

	def test_abbreviations(self) -> None:
		words = self.words('run', '--build=out', '--kunitc=x', '--ar', 'arm64')
		self.assertEqual((words.build_dir, words.arch, words.kunitconfig),
				 (f'{self.work}/out', 'arm64', [f'{self.work}/x']))

	def test_file_to_parse(self) -> None:
		words = self.words('parse', '--json', 'a.log')
		self.assertEqual((words.json, words.file), ('stdout', f'{self.work}/a.log'))
		self.assertEqual(kunit.inputs(words), [f'{self.work}/a.log'])
		self.assertEqual(kunit.inputs(self.words('parse')), [])
		self.assertEqual(self.words('run', 'a.log').filter_glob, 'a.log')

	def test_no_verb_needs_nothing(self) -> None:
		self.assertEqual(kunit.requirements(self.words()), [])

	def packages(self, *argv: str) -> List[str]:
		return [r.package for r in kunit.requirements(self.words(*argv))]

	def test_qemu_is_asked_for_only_when_a_kernel_runs_in_it(self) -> None:
		self.assertNotIn('qemu-system-x86', self.packages('run'))
		self.assertNotIn('qemu-system-x86', self.packages('build', '--arch=x86_64'))
		self.assertIn('qemu-system-x86', self.packages('run', '--arch=x86_64'))
		self.assertEqual(self.packages('parse'), [])
		self.assertEqual(self.packages('exec'), [])
		self.assertIn('flex', self.packages('config'))


class ToolTest(Case):
	"""The front-end as a process, in front of a miniature tree."""

	def setUp(self) -> None:
		super().setUp()
		self.tool = os.path.join(self.add_tool(), 'kunit.py')
		os.mkdir(os.path.join(self.work, 'cwd'))
		self.env: Dict[str, str] = {**os.environ, 'KSRC': self.linux}

	def call(self, *words: str, stdin: str = '',
		 user: Optional[int] = None) -> 'subprocess.CompletedProcess[str]':
		python = sys.executable if user is None else PUBLIC_PYTHON
		return subprocess.run([python, '-B', self.tool, *words], env=self.env,
				      text=True, input=stdin, capture_output=True, user=user,
				      cwd=os.path.join(self.work, 'cwd'))

	def words_of(self, *words: str) -> List[str]:
		done = self.call(*words)
		self.assertEqual(done.returncode, 0, done.stderr)
		line = [x for x in done.stdout.splitlines() if x.startswith('words')][0]
		return line.split('|')[1:]

	def test_defaults_are_added_and_nothing_else(self) -> None:
		before = snapshot(self.linux)
		verb, folder, config, rest = self.words_of('run', 'my_suite')
		self.assertEqual((verb, rest), ('run', 'my_suite'))
		self.assertEqual(config, f'--kunitconfig={self.repo}/.kunitconfig')
		self.assertRegex(folder, f'^--build_dir={self.repo}/build/linux-[0-9a-f]+/kunit-um$')
		self.assertEqual(before, snapshot(self.linux))

	def test_folder_and_fragment_of_another_machine(self) -> None:
		write(self.repo, {'tools/testing/kunit/configs/arch_riscv.config': ''})
		found = self.words_of('build', '--arch=riscv')
		self.assertTrue(found[1].endswith('/kunit-riscv'))
		self.assertTrue(found[3].endswith('/configs/arch_riscv.config'))

	def test_users_choice_wins(self) -> None:
		self.assertEqual(self.words_of('build', '--build_dir=out', '--kunitconfig=kernel/bpf'),
				 ['build', f'--build_dir={self.work}/cwd/out',
				  '--kunitconfig=kernel/bpf'])

	def test_tool_runs_in_the_assembled_tree(self) -> None:
		self.assertRegex(self.call('run').stdout,
				 f'cwd {self.repo}/build/linux-[0-9a-f]+/tree')

	def test_help_comes_from_the_tool(self) -> None:
		for words in (('--help',), ('-h',), ('run', '-h'), ('run', '--he')):
			done = self.call(*words)
			self.assertEqual((done.returncode, done.stderr.count('\n')),
					 (0, done.stderr.count('assembling')), done.stderr)
			self.assertIn('KSRC', done.stdout)
		self.assertIn('--kernel_args', done.stdout)
		self.assertIn('usage', self.call().stdout)

	def test_words_that_the_tool_does_not_know(self) -> None:
		for words, said in ((('frobnicate',), 'invalid choice'),
				    (('run', '--frobnicate'), 'unrecognized arguments'),
				    (('run', '--build_dir'), 'expected one argument'),
				    (('run', '--arch', '--jobs=1'), 'expected one argument')):
			done = self.call(*words)
			self.assertEqual(done.returncode, 2)
			self.assert_one_line(done.stderr, said)

	def test_exit_status_is_handed_on(self) -> None:
		self.assertEqual(self.call('run', 'fail').returncode, 3)

	def test_stdin_is_handed_on(self) -> None:
		self.assertIn('stdin ok 1 - x', self.call('parse', stdin='ok 1 - x\n').stdout)

	def test_errors_of_the_tool_are_one_line(self) -> None:
		done = self.call('run', 'raise')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'kunit.py: ValueError: two lines')
		for name in os.listdir(os.path.join(self.repo, 'build')):
			self.assertNotIn('kunit-um', os.listdir(os.path.join(self.repo, 'build', name)))

	def test_interrupt_inside_the_tool(self) -> None:
		done = self.call('run', 'interrupt')
		self.assertEqual(done.returncode, 130)
		self.assert_one_line(done.stderr, 'interrupted')

	def test_interrupt_at_any_time(self) -> None:
		for delay in range(0, 200, 10):
			shutil.rmtree(os.path.join(self.repo, 'build'), ignore_errors=True)
			process = subprocess.Popen([sys.executable, '-B', self.tool, 'parse'],
						   env=self.env, text=True, stdin=subprocess.PIPE,
						   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
			# The interpreter's own start is not ours to guard.
			while not os.path.exists(os.path.join(self.repo, 'build')):
				time.sleep(0.001)
			time.sleep(delay / 1000)
			process.send_signal(signal.SIGINT)
			self.assertNotIn('Traceback', process.communicate()[1])
			self.assertNotEqual(process.returncode, 0)

	def test_reader_that_goes_away(self) -> None:
		done = subprocess.run(f'"{sys.executable}" -B "{self.tool}" parse | true', shell=True,
				      env=self.env, text=True, capture_output=True, input='x' * 99999)
		self.assertNotIn('Traceback', done.stderr)

	def test_files_that_do_not_exist(self) -> None:
		for words in (('run', '--kunitconfig=none'), ('parse', 'none.log'),
			      ('run', '--qemu_config=none.py')):
			done = self.call(*words)
			self.assertEqual(done.returncode, 1)
			self.assert_one_line(done.stderr, 'cwd/none', 'does not exist')

	def test_exec_without_a_kernel(self) -> None:
		done = self.call('exec')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'holds no kernel', 'kunit.py build')

	def test_no_room_for_a_kernel(self) -> None:
		self.host.free = 1 << 29
		with self.assertRaisesRegex(OverlayError, '512 MiB free, 1024 MiB are needed'):
			kunit.prepare_build_folder(self.host, self.work + '/out', 'run')
		write(self.work, {'out/.config': ''})
		kunit.prepare_build_folder(self.host, self.work + '/out', 'run')

	def test_build_folder_below_a_file(self) -> None:
		write(self.work, {'cwd/file': ''})
		done = self.call('run', '--build_dir=file/out')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'cannot be created', '--build_dir')

	@needs_root
	def test_unwritable_build_folder(self) -> None:
		os.chmod(self.work, 0o755)
		self.call('run')
		os.chmod(os.path.join(self.repo, 'build'), 0o777)
		done = self.call('run', user=NOBODY)
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'Permission denied')

	def test_missing_commands_are_named(self) -> None:
		for missing in ('flex', 'bison', 'patch'):
			with self.subTest(missing=missing):
				shutil.rmtree(os.path.join(self.work, 'bin'), ignore_errors=True)
				self.env['PATH'] = self.bin(*(t for t in TOOLS if t != missing))
				done = self.call('run')
				self.assertEqual(done.returncode, 1)
				self.assert_one_line(done.stderr, f'missing {missing}')

	def test_missing_qemu_is_named(self) -> None:
		self.env['PATH'] = self.bin(*TOOLS)
		done = self.call('run', '--arch=riscv')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'missing qemu-system-riscv64')
		self.assertEqual(self.call('run').returncode, 0)

	def test_bad_tree(self) -> None:
		self.env['KSRC'] = self.work
		done = self.call('run')
		self.assertEqual(done.returncode, 1)
		self.assert_one_line(done.stderr, 'not a kernel source tree')

	def test_two_runs_in_one_build_folder_take_turns(self) -> None:
		with open(os.path.join(self.linux, 'tools/testing/kunit/kunit.py'), 'w',
			  encoding='utf-8') as f:
			f.write(TOOL + 'import time\ndef main(argv):\n'
				'\tmark = parser().parse_args(argv).build_dir + "/busy"\n'
				'\tassert not os.path.exists(mark)\n'
				'\tos.mkdir(mark); time.sleep(0.3); os.rmdir(mark)\n')
		runs = [subprocess.Popen([sys.executable, '-B', self.tool, 'run'], env=self.env,
					 stderr=subprocess.PIPE, text=True) for _ in range(3)]
		ends = [run.communicate()[1] for run in runs]
		self.assertEqual([run.returncode for run in runs], [0, 0, 0], ends)
