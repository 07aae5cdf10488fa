// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: the memory that idle allocators and dynamic maps take,
 * measured as pages of the slab and of the per-CPU allocator before and after.
 */
#include <linux/delay.h>
#include "memalloc_bench.h"

#define SIZE		64
#define IDLE		200
#define ENTRIES		100000

#define IDLE_MEMORY(test, who, work, mas, init, destroy)		\
do {									\
	long before = bench_settled_pages();				\
	unsigned int i;							\
									\
	for (i = 0; i < IDLE; i++)					\
		KUNIT_ASSERT_EQ(test, init(&(mas)[i], (work)[5] == 'f' ? SIZE : 0, false), 0); \
	bench_report_number(test, work, who,				\
			    (bench_settled_pages() - before) * PAGE_SIZE / IDLE); \
	for (i = 0; i < IDLE; i++)					\
		destroy(&(mas)[i]);					\
} while (0)

static void bench_idle_memory(struct kunit *test)
{
	static const char * const works[] = { "idle_fixed", "idle_classes" };
	struct bpf_mem_alloc *mas = kunit_kcalloc(test, IDLE, sizeof(*mas), GFP_KERNEL);
	unsigned int w;

#ifdef BPF_MEMALLOC_PEER
	struct peer_mem_alloc *peers = kunit_kcalloc(test, IDLE, sizeof(*peers), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, peers);
#endif
	KUNIT_ASSERT_NOT_NULL(test, mas);
	for (w = 0; w < ARRAY_SIZE(works); w++) {
		IDLE_MEMORY(test, "ours", works[w], mas, bpf_mem_alloc_init,
			    bpf_mem_alloc_destroy);
#ifdef BPF_MEMALLOC_PEER
		IDLE_MEMORY(test, "peer", works[w], peers, peer_mem_alloc_init,
			    peer_mem_alloc_destroy);
#endif
	}
}

static struct bpf_map *open_dynamic(struct kunit *test, const struct bpf_map_ops *ops)
{
	return bench_open_map(test, ops, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, ENTRIES);
}

static void fill_and_weigh(struct kunit *test, const struct bpf_map_ops *ops, const char *who)
{
	struct bpf_map *map = open_dynamic(test, ops);
	unsigned long missed = 0;
	long before, peak;
	int round;
	u64 key;

	before = bench_settled_pages();
	bench_put_keys(test, map, 0, ENTRIES);
	bench_report_number(test, "bytes_per_element", who,
			    (bench_settled_pages() - before) * PAGE_SIZE / ENTRIES);
	/* All of it deleted and filled again, three times, without a pause. */
	peak = bench_pages_in_use();
	for (round = 0; round < 3; round++) {
		bench_delete_keys(map, 0, ENTRIES);
		for (key = 0; key < ENTRIES; key++) {
			missed += !!bench_update(map, key, BPF_ANY);
			if (key % 1000 == 0)
				peak = max(peak, bench_pages_in_use());
		}
	}
	bench_report_number(test, "storm_peak_per_element", who,
			    (peak - before) * PAGE_SIZE / ENTRIES);
	bench_report_number(test, "storm_missed", who, missed);
	bench_close_map(map);
}

static void bench_map_memory(struct kunit *test)
{
	fill_and_weigh(test, &htab_map_ops, "ours");
#ifdef BPF_MEMALLOC_PEER
	fill_and_weigh(test, &peer_htab_map_ops, "peer");
#endif
}

/* Memory over time: what a map holds while it fills, empties, and afterwards. */

static void note_memory(struct kunit *test, const char *who, const char *when, long before)
{
	char work[32];

	snprintf(work, sizeof(work), "bytes_%s", when);
	bench_report_number(test, work, who, max(bench_pages_in_use() - before, 0) * PAGE_SIZE);
}

static void live_and_weigh(struct kunit *test, const struct bpf_map_ops *ops, const char *who)
{
	struct bpf_map *map = open_dynamic(test, ops);
	long before = bench_settled_pages();
	unsigned int waited = 0, until;
	char when[16];

	note_memory(test, who, "empty", before);
	bench_put_keys(test, map, 0, ENTRIES / 2);
	note_memory(test, who, "half", before);
	bench_put_keys(test, map, ENTRIES / 2, ENTRIES);
	note_memory(test, who, "full", before);
	bench_delete_keys(map, 0, ENTRIES / 2);
	note_memory(test, who, "half_deleted", before);
	bench_put_keys(test, map, 0, ENTRIES / 2);
	note_memory(test, who, "full_again", before);
	bench_delete_keys(map, 0, ENTRIES);
	note_memory(test, who, "all_deleted", before);
	for (until = 1; until <= 16; until *= 2) {
		msleep((until - waited) * MSEC_PER_SEC);
		waited = until;
		snprintf(when, sizeof(when), "after_%us", until);
		note_memory(test, who, when, before);
	}
	bench_close_map(map);
}

static void bench_memory_over_time(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_SMP))
		kunit_skip(test, "with several CPUs the statistics of pages lag behind");
	live_and_weigh(test, &htab_map_ops, "ours");
#ifdef BPF_MEMALLOC_PEER
	live_and_weigh(test, &peer_htab_map_ops, "peer");
#endif
}

/*
 * Objects are freed as fast as they come, each to wait for a grace period. What
 * is held back meanwhile: its peak, in bytes.
 */
#define STORM	200000

#define RCU_STORM(test, who, alloc, free_rcu)				\
do {									\
	long before = bench_settled_pages(), peak = before;		\
	unsigned long missed = 0;					\
	unsigned int i;							\
	void *obj;							\
									\
	for (i = 0; i < STORM; i++) {					\
		migrate_disable();					\
		obj = alloc;						\
		if (obj)						\
			free_rcu;					\
		else							\
			missed++;					\
		migrate_enable();					\
		if (i % 256 == 0)					\
			peak = max(peak, bench_pages_in_use());		\
	}								\
	bench_report_number(test, "rcu_storm_peak_bytes", who,		\
			    (peak - before) * PAGE_SIZE);		\
	bench_report_number(test, "rcu_storm_missed", who, missed);	\
} while (0)

static void bench_rcu_storm(struct kunit *test)
{
	struct bpf_mem_alloc ours;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ours, SIZE, false), 0);
	RCU_STORM(test, "ours", bpf_mem_cache_alloc(&ours), bpf_mem_cache_free_rcu(&ours, obj));
	bpf_mem_alloc_destroy(&ours);
#ifdef BPF_MEMALLOC_PEER
	{
		struct peer_mem_alloc peer;

		KUNIT_ASSERT_EQ(test, peer_mem_alloc_init(&peer, SIZE, false), 0);
		RCU_STORM(test, "peer", peer_mem_cache_alloc(&peer),
			  peer_mem_cache_free_rcu(&peer, obj));
		peer_mem_alloc_destroy(&peer);
	}
#endif
}

static struct kunit_case memalloc_bench_memory_cases[] = {
	KUNIT_CASE(bench_idle_memory),
	KUNIT_CASE(bench_map_memory),
	KUNIT_CASE(bench_memory_over_time),
	KUNIT_CASE(bench_rcu_storm),
	{}
};

static struct kunit_suite memalloc_bench_memory_suite = {
	.name = "bpf_memalloc_bench_memory",
	.init = bench_init,
	.test_cases = memalloc_bench_memory_cases,
};

kunit_test_suite(memalloc_bench_memory_suite);
