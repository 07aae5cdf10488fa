# SPDX-License-Identifier: GPL-2.0
"""Tests for traffic.c and traffic.py of the benchmark: the plugin counts what it is shown."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import unittest
from typing import List, Tuple

from bench import traffic
from lib.host import OverlayError
from tests.fixtures import HERE

# Stands in for QEMU: keeps the callbacks of one instruction, to call them.
QEMU = '''
#include <string.h>
#include "traffic.h"

static translated_fn translate;
static executed_fn execute;
static accessed_fn access;
static void *tag;
static const void *bytes;
static size_t nr_bytes;
static int pointers;

void qemu_plugin_register_vcpu_tb_trans_cb(__u64 id, translated_fn fn) { translate = fn; }
size_t qemu_plugin_tb_n_insns(const void *block) { return 1; }
void *qemu_plugin_tb_get_insn(const void *block, size_t nr) { return NULL; }
size_t qemu_plugin_insn_size(const void *insn) { return nr_bytes; }

const void *qemu_plugin_insn_data(const void *insn, void *copy, size_t size)
{
	if (pointers)
		return bytes;
	memcpy(copy, bytes, size);
	return NULL;
}

void qemu_plugin_register_vcpu_insn_exec_cb(void *insn, executed_fn fn, int flags, void *data)
{
	execute = fn;
}

void qemu_plugin_register_vcpu_mem_cb(void *insn, accessed_fn fn, int flags, int accesses,
				      void *data)
{
	access = accesses == MEMORY_WRITES ? fn : NULL;
	tag = data;
}

int start(const char *target, int version, char *option)
{
	struct info info = { .target = target, .version.cur = version };

	pointers = version < 3;
	return qemu_plugin_install(1, &info, 1, &option);
}

enum { LOAD = 1, STORE };

bool qemu_plugin_mem_is_store(__u32 how) { return how == STORE; }

/* One instruction on one CPU, which reads from an address and writes to it. */
void run(const void *insn, size_t size, unsigned int cpu, __u64 address, int only_loads)
{
	bytes = insn;
	nr_bytes = size;
	execute = NULL;
	access = NULL;
	translate(1, NULL);
	if (execute)
		execute(cpu, NULL);
	if (!access)
		return;
	access(cpu, LOAD, address, tag);
	if (!only_loads)
		access(cpu, STORE, address, tag);
}
'''

BEGIN = '0f1f80016d7062'
END = '0f1f80006d7062'
STORE = '488907'            # mov %rax,(%rdi)
LOAD = '488b07'             # mov (%rdi),%rax
LOCKED = 'f0480fb117'       # lock cmpxchg %rdx,(%rdi)
PREFIXED = '65f0ff07'       # lock incl %gs:(%rdi)
EXCHANGE = '488717'         # xchg %rdx,(%rdi)
REGISTERS = '4887d0'        # xchg %rdx,%rax
UNLOCKED = '65480fb117'     # cmpxchg %rdx,%gs:(%rdi)
NOP = '0f1f8000000000'
KERNEL = 0xffff888000000000

# Instruction, CPU, address.
Step = Tuple[str, int, int]


@unittest.skipUnless(shutil.which('gcc'), 'no compiler')
class PluginTest(unittest.TestCase):

	def setUp(self) -> None:
		folder = tempfile.TemporaryDirectory()
		self.addCleanup(folder.cleanup)
		self.counts = os.path.join(folder.name, 'counts')
		self.library = os.path.join(folder.name, 'plugin.so')
		stub = os.path.join(folder.name, 'qemu.c')
		with open(stub, 'w', encoding='utf-8') as f:
			f.write(QEMU)
		room = os.path.join(HERE, 'bench')
		subprocess.run(['gcc', '-shared', '-fPIC', '-DPLUGIN_VERSION=1', f'-I{room}',
				'-o', self.library, stub, os.path.join(room, 'traffic.c')],
			       check=True)

	def count(self, steps: List[Step], version: int = 1) -> str:
		plugin = ctypes.CDLL(self.library)
		option = ctypes.create_string_buffer(f'out={self.counts}'.encode())
		self.assertEqual(plugin.start(b'x86_64', version, option), 0)
		for text, cpu, address in steps:
			insn = bytes.fromhex(text)
			plugin.run(insn, ctypes.c_size_t(len(insn)), cpu, ctypes.c_uint64(address),
				   int(text == LOAD))
		with open(self.counts, encoding='utf-8') as f:
			return f.read()

	def test_which_instructions_are_atomic(self) -> None:
		for insn, atomic in ((STORE, 0), (LOCKED, 1), (PREFIXED, 1), (EXCHANGE, 1),
				     (REGISTERS, 0), (UNLOCKED, 0), (NOP, 0)):
			for version in (1, 4):
				steps = [(BEGIN, 0, 0), (insn, 0, KERNEL), (END, 0, 0)]
				self.assertEqual(self.count(steps, version), f'{atomic} 0 0\n', insn)

	def test_lines_that_several_write_are_shared(self) -> None:
		steps = [(BEGIN, 0, 0),
			 (LOCKED, 0, KERNEL), (LOCKED, 0, KERNEL + 63),     # becomes shared
			 (STORE, 1, KERNEL + 8),                            # moves
			 (STORE, 1, KERNEL + 16), (LOAD, 0, KERNEL),
			 (LOCKED, 2, KERNEL),                               # moves
			 (LOCKED, 0, KERNEL + 64), (STORE, 0, KERNEL + 64), # its own
			 (LOAD, 1, KERNEL + 64),
			 (LOCKED, 1, 4096), (STORE, 2, 4096),               # of a program
			 (END, 3, 0)]
		self.assertEqual(self.count(steps), '4 3 2\n')

	def test_only_between_the_marks_and_each_time_anew(self) -> None:
		turn = [(BEGIN, 0, 0), (LOCKED, 0, KERNEL), (LOCKED, 1, KERNEL), (END, 0, 0)]
		outside = [(LOCKED, 2, KERNEL), (END, 0, 0)]
		self.assertEqual(self.count(outside + turn + outside + turn), '2 2 1\n' * 2)

	def test_other_machines_and_no_file_are_refused(self) -> None:
		for target, option in ((b'aarch64', f'out={self.counts}'), (b'x86_64', 'in=x'),
				       (b'x86_64', 'out=/nowhere/x')):
			plugin = ctypes.CDLL(self.library)
			text = ctypes.create_string_buffer(option.encode())
			self.assertEqual(plugin.start(target, 1, text), -1)


class SamplesTest(unittest.TestCase):

	LOG = '''    # bench_traffic: traffic: {"work": "churn", "who": "ours", "ops": 2000}
    # bench_traffic: traffic: {"work": "churn", "who": "none", "ops": 2000}
    ok 1 bench_traffic
'''

	def test_counts_join_loads_in_order(self) -> None:
		found = traffic.samples(self.LOG, '10 4 8\n3 2 1\n')
		self.assertEqual([(s['work'], s['who'], s['value']) for s in found],
				 [('churn_atomics', 'ours', 5), ('churn_shared_atomics', 'ours', 2),
				  ('churn_moves', 'ours', 4), ('churn_atomics', 'none', 1.5),
				  ('churn_shared_atomics', 'none', 1), ('churn_moves', 'none', .5)])
		# One that was counted and not printed: the run was cut short.
		self.assertEqual(traffic.samples(self.LOG, '10 4 8\n3 2 1\n1 1 1\n'), found)

	def test_counts_that_do_not_fit_are_refused(self) -> None:
		for counts in ('', '10 4 8\n', '10 4 8\n3 2\n'):
			with self.assertRaisesRegex(OverlayError, 'of 2 loads'):
				traffic.samples(self.LOG, counts)

	def test_interface_follows_version(self) -> None:
		for version, number in (('QEMU emulator version 7.2.22 (Debian 1:7.2)', 1),
					('QEMU emulator version 10.0.2', 2)):
			self.assertEqual(traffic.interface_of(version), number)
		with self.assertRaisesRegex(OverlayError, 'version'):
			traffic.interface_of('')

	def test_option_is_one_word_for_the_shell_and_for_qemu(self) -> None:
		words = shlex.split(traffic.option('/a b,c'))
		self.assertEqual(words, ['-plugin', '/a b,,c/traffic.so,out=/a b,,c/traffic.counts'])
