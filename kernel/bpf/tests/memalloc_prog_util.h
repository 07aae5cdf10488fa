/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs for the suites of the BPF memory allocator: write, load, attach. */
#ifndef _BPF_MEMALLOC_PROG_UTIL_H
#define _BPF_MEMALLOC_PROG_UTIL_H

#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/perf_event.h>

/* Keys that a program uses on each CPU. */
#define PROG_KEYS	32

/* Counted by the programs themselves, in the only element of an array map. */
struct prog_tally {
	u64 runs;
	u64 updates;
	u64 hits;	/* lookups with the value that was written */
	u64 misses;
	u64 corrupt;	/* lookups with any other value */
	u64 deletes;
	u64 absent;	/* deletes of what was not there */
	u64 busy;	/* updates and deletes that found the bucket locked */
	u64 nomem;
	u64 other;	/* any other error */
};

/* Key and value; a lookup can tell whether the two belong together. */
struct prog_value {
	u64 key;
	u64 inverse;
};

/* A map, and a program that works in it. */
struct prog_pair {
	int map_fd;
	int prog_fd;
	int tally_fd;
	struct bpf_map *map;
	struct prog_tally *tally;
};

/* A program in the making. */
struct prog_code {
	struct bpf_insn insn[192];
	unsigned int len;
};

void prog_emit(struct prog_code *code, const struct bpf_insn *insn, unsigned int nr);

#define prog_add(code, ...)						\
({									\
	const struct bpf_insn __insn[] = { __VA_ARGS__ };		\
									\
	prog_emit(code, __insn, ARRAY_SIZE(__insn));			\
})

#define prog_call(func)	BPF_RAW_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##func)

/* Everything below that opens, loads or attaches is undone when the case ends. */

int prog_map(struct kunit *test, enum bpf_map_type type, u32 value_size, u32 entries);
struct bpf_map *prog_map_of(struct kunit *test, int fd);

/* The verifier must have no complaint. Skips the case if the type is not built in. */
int prog_load(struct kunit *test, enum bpf_prog_type type, u32 flags,
	      const struct prog_code *code);

/* A dynamic map of @map_type, and a program that updates, looks up and deletes in it. */
void prog_pair_init(struct kunit *test, struct prog_pair *pair, enum bpf_map_type map_type,
		    enum bpf_prog_type type, u32 flags, u32 entries);
u32 prog_entries(void);

/* Run it as its type is run. Those that this kernel cannot attach skip the case. */
void prog_attach_raw_tracepoint(struct kunit *test, int prog_fd, const char *name);
void prog_attach_tracepoint(struct kunit *test, int prog_fd, const char *system,
			    const char *name);
void prog_attach_kprobe(struct kunit *test, int prog_fd, const char *symbol);
struct perf_event *prog_attach_perf(struct kunit *test, int prog_fd, u64 config, u64 period);
void prog_detach(void);

/* A kprobe goes here. */
void prog_kprobe_target(void);

/* What a program does, by the task: the program may come in between. */
long prog_map_update(struct bpf_map *map, u64 key);
long prog_map_delete(struct bpf_map *map, u64 key);

/* After prog_detach(): the books balance, the content is right, the count, too. */
void prog_expect_clean(struct kunit *test, struct prog_pair *pair);

int memalloc_prog_init(struct kunit *test);
void memalloc_prog_exit(struct kunit *test);

#endif /* _BPF_MEMALLOC_PROG_UTIL_H */
