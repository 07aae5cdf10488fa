/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the benchmark share. */
#ifndef _BPF_MEMALLOC_BENCH_H
#define _BPF_MEMALLOC_BENCH_H

#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#ifdef BPF_MEMALLOC_PEER
#include "peer_mem_alloc.h"

extern const struct bpf_map_ops peer_htab_map_ops;
extern const struct bpf_map_ops peer_htab_percpu_map_ops;
#endif

/* Every work is done so often, by all in turn, so that drift hits all alike. */
#define BENCH_SAMPLES	5

/**
 * bench_report() - one measurement, as a line that a program can read
 * @test: the test
 * @work: what was done, a word
 * @who: by whom, a word
 * @time: ns, all in all; under -icount of QEMU instructions
 * @ops: in how many operations
 * @errors: of these, how many went wrong
 */
static inline void bench_report(struct kunit *test, const char *work, const char *who,
				u64 time, unsigned long ops, unsigned long errors)
{
	u64 hundredths = ops ? time * 100 / ops : 0;

	kunit_info(test, "bench: {\"work\": \"%s\", \"who\": \"%s\", \"value\": %llu.%02llu, \"ops\": %lu, \"errors\": %lu}\n",
		   work, who, hundredths / 100, hundredths % 100, ops, errors);
}

/* The same for what is a number and not a time. */
static inline void bench_report_number(struct kunit *test, const char *work, const char *who,
				       unsigned long long value)
{
	kunit_info(test, "bench: {\"work\": \"%s\", \"who\": \"%s\", \"value\": %llu, \"ops\": 1, \"errors\": 0}\n",
		   work, who, value);
}

/*
 * Ours must not fail: a benchmark that got less than it asked for is worth
 * nothing. On UML a refill comes with the next tick, which no loop here waits
 * for; there the errors stand beside the figure.
 */
static inline void bench_expect_all(struct kunit *test, const char *who, unsigned long errors)
{
	if (!strcmp(who, "ours") && !IS_ENABLED(CONFIG_UML))
		KUNIT_EXPECT_EQ(test, errors, 0);
}

#ifdef kmalloc_nolock
/* It gives nothing where the CPU cannot compare and exchange two words at once. */
static inline int bench_nolock_open(void)
{
	void *obj = kmalloc_nolock(64, 0, NUMA_NO_NODE);

	kfree_nolock(obj);
	return obj ? 0 : -EOPNOTSUPP;
}
#endif

/* A map as those of the benchmark are: key and value of 8 bytes. */
static inline struct bpf_map *bench_open_map(struct kunit *test, const struct bpf_map_ops *ops,
					     u32 type, u32 flags, u32 max_entries)
{
	union bpf_attr attr = {
		.map_type = type,
		.map_flags = flags,
		.key_size = sizeof(u64),
		.value_size = sizeof(u64),
		.max_entries = max_entries,
	};
	struct bpf_map *map;

	KUNIT_ASSERT_EQ(test, ops->map_alloc_check(&attr), 0);
	map = ops->map_alloc(&attr);
	KUNIT_ASSERT_FALSE(test, IS_ERR(map));
	map->ops = ops;
	return map;
}

static inline void bench_close_map(struct bpf_map *map)
{
	synchronize_rcu();
	map->ops->map_free(map);
}

void bench_settle(void);
long bench_pages_in_use(void);
long bench_settled_pages(void);
int bench_update(struct bpf_map *map, u64 key, u64 flags);
int bench_put(struct bpf_map *map, u64 key, u64 flags);
void bench_put_keys(struct kunit *test, struct bpf_map *map, u64 from, u64 to);
void bench_delete_keys(struct bpf_map *map, u64 from, u64 to);

/* For .init of each suite: seams would be measured, too. */
static inline int bench_init(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PCPU_MAGAZINE_KUNIT_TEST))
		kunit_skip(test, "the seams of the test suites would be measured, too");
	return 0;
}

#endif /* _BPF_MEMALLOC_BENCH_H */
