// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for QEMU's emulation of x86_64 that counts shared-memory traffic of a
 * kernel, between marks that the kernel puts into its own instruction stream:
 * kernel/bpf/tests/memalloc_bench_large_traffic_kunit.c says where.
 *
 * Of each line of 64 bytes at a kernel address it knows who wrote it. When a
 * measurement ends, a line of text goes to the file that the option out= names:
 *
 *	ATOMICS SHARED MOVES
 *
 * ATOMICS	instructions with a lock prefix, and exchanges with memory
 * SHARED	of these, how many were on lines that more than one CPU wrote
 * MOVES	stores, atomic or not, to a line that another CPU wrote last
 *
 * Lines are told apart by virtual address, which the CPUs of a kernel share.
 */
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "traffic.h"

int qemu_plugin_version = PLUGIN_VERSION;

/* Since this version an instruction is copied instead of pointed to. */
#define VERSION_COPIES	3

#define MOST_INSN	16	/* bytes */
#define LINE_SHIFT	6
#define TABLE_SIZE	0x100000U
#define NOBODY		(~0U)

/* nopl with an address that nobody else has. */
static const __u8 nopl[] = { 0x0f, 0x1f, 0x80 };
#define MARK_END	0x62706d00U
#define MARK_BEGIN	0x62706d01U

struct line {
	__u64 address;	/* of its first byte, shifted; 0: unused */
	__u64 writers;	/* a bit for each CPU */
	__u64 atomics;
	__u32 last;		/* who wrote last */
};

static struct line *lines;
static unsigned int nr_lines;
static __u64 atomics, moves;
static bool counting;
static FILE *out;
static bool copies;

static void fail(const char *why)
{
	fprintf(stderr, "traffic: %s\n", why);
	exit(1);
}

static struct line *line_of(__u64 address)
{
	__u64 line = address >> LINE_SHIFT;
	__u32 i = (__u32)(line * 0x9e3779b97f4a7c15ULL >> 40);

	for (;; i++) {
		struct line *l = &lines[i % TABLE_SIZE];

		if (l->address == line)
			return l;
		if (l->address)
			continue;
		if (++nr_lines > TABLE_SIZE / 2)
			fail("more lines than there is room for");
		l->address = line;
		l->last = NOBODY;
		return l;
	}
}

/* @data tells an atomic instruction. Those of the CPUs come in turns: one thread. */
static void accessed(unsigned int cpu, __u32 how, __u64 address, void *data)
{
	struct line *l;

	/*
	 * Only the kernel's half, and only while something is measured. QEMU 7.2
	 * calls for loads, too, although it was asked for stores.
	 */
	if (!counting || !(address >> 63) || !qemu_plugin_mem_is_store(how))
		return;
	l = line_of(address);
	l->writers |= 1ULL << (cpu % 64);
	moves += l->last != cpu && l->last != NOBODY;
	l->last = cpu;
	if (data) {
		l->atomics++;
		atomics++;
	}
}

static void begin(unsigned int cpu, void *data)
{
	memset(lines, 0, TABLE_SIZE * sizeof(*lines));
	nr_lines = 0;
	atomics = 0;
	moves = 0;
	counting = true;
}

static void end(unsigned int cpu, void *data)
{
	__u64 shared = 0;
	__u32 i;

	if (!counting)
		return;
	counting = false;
	for (i = 0; i < TABLE_SIZE; i++) {
		/* More than one bit. */
		if (lines[i].writers & (lines[i].writers - 1))
			shared += lines[i].atomics;
	}
	fprintf(out, "%llu %llu %llu\n", atomics, shared, moves);
	fflush(out);
}

/* Legacy prefixes come first, in any order. */
static bool is_prefix(__u8 byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
	case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3:
		return true;
	}
	return false;
}

/* An exchange with memory needs no prefix to be atomic. */
static bool is_atomic(const __u8 *insn, size_t size)
{
	size_t i = 0;

	while (i < size && is_prefix(insn[i])) {
		if (insn[i++] == 0xf0)
			return true;
	}
	if (i < size && (insn[i] & 0xf0) == 0x40)	/* REX */
		i++;
	return i + 1 < size && (insn[i] == 0x86 || insn[i] == 0x87) && insn[i + 1] >> 6 != 3;
}

static size_t read_insn(const void *insn, __u8 *bytes)
{
	size_t size = qemu_plugin_insn_size(insn);

	if (size > MOST_INSN)
		size = MOST_INSN;
	if (copies)
		qemu_plugin_insn_data(insn, bytes, size);
	else
		memcpy(bytes, qemu_plugin_insn_data(insn, NULL, 0), size);
	return size;
}

/* The function of a mark, or NULL. */
static executed_fn mark_of(const __u8 *insn, size_t size)
{
	__u32 mark;

	if (size != sizeof(nopl) + sizeof(mark) || memcmp(insn, nopl, sizeof(nopl)))
		return NULL;
	memcpy(&mark, insn + sizeof(nopl), sizeof(mark));
	return mark == MARK_BEGIN ? begin : mark == MARK_END ? end : NULL;
}

static void translated(__u64 id, void *block)
{
	size_t nr = qemu_plugin_tb_n_insns(block), size, i;
	__u8 bytes[MOST_INSN];
	executed_fn mark;
	void *insn;

	for (i = 0; i < nr; i++) {
		insn = qemu_plugin_tb_get_insn(block, i);
		size = read_insn(insn, bytes);
		mark = mark_of(bytes, size);
		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, CALLBACK_NO_REGS, NULL);
		else
			qemu_plugin_register_vcpu_mem_cb(insn, accessed, CALLBACK_NO_REGS,
							 MEMORY_WRITES,
							 (void *)(long)is_atomic(bytes, size));
	}
}

int qemu_plugin_install(__u64 id, const struct info *info, int argc, char **argv)
{
	if (strcmp(info->target, "x86_64")) {
		fprintf(stderr, "traffic: knows the instructions of x86_64 only\n");
		return -1;
	}
	if (argc == 1 && !strncmp(argv[0], "out=", 4))
		out = fopen(argv[0] + 4, "w");
	lines = malloc(TABLE_SIZE * sizeof(*lines));
	if (!out || !lines) {
		fprintf(stderr, "traffic: out=FILE must name a file that can be written\n");
		return -1;
	}
	copies = info->version.cur >= VERSION_COPIES;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
