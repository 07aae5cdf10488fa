# SPDX-License-Identifier: GPL-2.0
"""Tests for our kunit.py: what it makes of its words, and what it hands on."""

import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from typing import Dict, List, Optional

import kunit
from lib.host import OverlayError
from tests.fixtures import NOBODY, PUBLIC_PYTHON, Case, needs_root, snapshot, write

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


class WordsTest(Case):

	def words(self, *argv: str) -> kunit.Words:
		return kunit.read_words(argv, self.work, self.linux)

	def test_paths_are_anchored_at_the_users_folder(self) -> None:
		write(self.work, {'my.config': '', 'q.py': ''})
		words = self.words('run', '--build_dir=out', '--kunitconfig', 'my.config',
				   '--json=r.json', '--qemu_config=q.py', '--junit=r.xml')
		self.assertEqual(words.words, [
			'run', f'--build_dir={self.work}/out', '--kunitconfig', f'{self.work}/my.config',
			f'--json={self.work}/r.json', f'--qemu_config={self.work}/q.py',
			f'--junit={self.work}/r.xml'])
		self.assertEqual(words.build_dir, f'{self.work}/out')
		self.assertTrue(words.names_kunitconfig)

	def test_input_known_only_in_the_tree_is_left_to_the_tool(self) -> None:
		words = self.words('run', '--kunitconfig=kernel/bpf', '--kunitconfig=nowhere')
		self.assertEqual(words.words[1:], ['--kunitconfig=kernel/bpf',
						   f'--kunitconfig={self.work}/nowhere'])

	def test_other_words_are_untouched(self) -> None:
		argv = ['run', '--json', 'suite*.case', '--json=stdout', '--raw_output',
			'--kconfig_add', 'CONFIG_X=y', '--qemu_args=-smp 4', '--timeout', '5',
			'--kernel_args=a=b', '--jobs=3', '--alltests', '--make_options', 'V=1']
		self.assertEqual(self.words(*argv).words, argv)

	def test_abbreviations(self) -> None:
		words = self.words('run', '--build=out', '--kunitc=x', '--ar', 'arm64')
		self.assertEqual((words.build_dir, words.arch), (f'{self.work}/out', 'arm64'))
		self.assertTrue(words.names_kunitconfig)
		self.assertEqual(words.words[3:], ['--ar', 'arm64'])

	def test_file_to_parse(self) -> None:
		self.assertEqual(self.words('parse', '--json', 'a.log').words,
				 ['parse', '--json', f'{self.work}/a.log'])
		self.assertEqual(self.words('parse').words, ['parse'])
		self.assertEqual(self.words('run', 'a.log').words, ['run', 'a.log'])

	def test_help_and_unknown_verbs(self) -> None:
		for argv in ((), ('--help',), ('-h',), ('frobnicate',), ('run', '-h'),
			     ('run', '--he')):
			self.assertTrue(self.words(*argv).wants_help, argv)
			self.assertEqual([r.package for r in kunit.requirements(
				self.words(*argv), self.linux)], ['patch'])

	def test_option_without_its_value_is_left_to_the_tool(self) -> None:
		self.assertEqual(self.words('run', '--build_dir').words, ['run', '--build_dir'])
		self.assertEqual(self.words('run', '--arch', '--jobs=1').words,
				 ['run', '--arch', '--jobs=1'])

	def packages(self, *argv: str) -> List[str]:
		return [r.package for r in kunit.requirements(self.words(*argv), None)]

	def test_qemu_is_asked_for_only_when_a_kernel_runs_in_it(self) -> None:
		self.assertNotIn('qemu-system-x86', self.packages('run'))
		self.assertNotIn('qemu-system-x86', self.packages('build', '--arch=x86_64'))
		self.assertIn('qemu-system-x86', self.packages('run', '--arch=x86_64'))
		tree = ['patch', 'linux-source-6.12', 'xz-utils']
		self.assertEqual(self.packages('parse'), tree)
		self.assertEqual(self.packages('exec'), tree)
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
			f.write('import os, sys, time\n'
				'mark = sys.argv[2].split("=")[1] + "/busy"\n'
				'assert not os.path.exists(mark)\n'
				'os.mkdir(mark); time.sleep(0.3); os.rmdir(mark)\n')
		runs = [subprocess.Popen([sys.executable, '-B', self.tool, 'run'], env=self.env,
					 stderr=subprocess.PIPE, text=True) for _ in range(3)]
		ends = [run.communicate()[1] for run in runs]
		self.assertEqual([run.returncode for run in runs], [0, 0, 0], ends)
