/* SPDX-License-Identifier: GPL-2.0-only */
/* What traffic.c uses of QEMU's interface for plugins; its header is in few packages. */
#ifndef _BENCH_TRAFFIC_H
#define _BENCH_TRAFFIC_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct info {
	const char *target;
	struct {
		int min;
		int cur;
	} version;
};

enum { CALLBACK_NO_REGS = 0, MEMORY_WRITES = 2 };

typedef void (*translated_fn)(__u64 id, void *block);
typedef void (*executed_fn)(unsigned int cpu, void *data);
typedef void (*accessed_fn)(unsigned int cpu, __u32 how, __u64 address, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(__u64 id, translated_fn fn);
size_t qemu_plugin_tb_n_insns(const void *block);
void *qemu_plugin_tb_get_insn(const void *block, size_t nr);
size_t qemu_plugin_insn_size(const void *insn);
const void *qemu_plugin_insn_data(const void *insn, void *copy, size_t size);
bool qemu_plugin_mem_is_store(__u32 how);
void qemu_plugin_register_vcpu_insn_exec_cb(void *insn, executed_fn fn, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(void *insn, accessed_fn fn, int flags, int accesses,
				      void *data);

extern int qemu_plugin_version;
int qemu_plugin_install(__u64 id, const struct info *info, int argc, char **argv);

#endif /* _BENCH_TRAFFIC_H */
