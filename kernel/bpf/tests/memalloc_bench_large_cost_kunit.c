// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what it costs to be at an end, of the stock or of a map.
 *
 * miss		an allocation that finds nothing, interrupts off
 * churn	an element deleted and another one inserted in a full hash map
 * refused	an insert into a full hash map
 *
 * One CPU works and the others are idle. Ours and the peer's; maps with elements
 * that are allocated as they come, beside maps with all of them preallocated.
 */
#include <linux/irqflags.h>
#include "memalloc_bench_large.h"

#define SIZE		64
#define CLASS_SIZE		60
#define MISSES		1000
#define MOST		100000
#define CHURN		20000
#define REFUSED		5000

/* Calls are direct, as in the users. The first miss may search; it stands alone. */
#define MISS(test, who, work, init, alloc, free, destroy)		\
do {									\
	unsigned int got = 0, found = 0, i;				\
	u64 start, empty, first, time;					\
	unsigned long flags;						\
	void *obj;							\
									\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	bench_settle();							\
	migrate_disable();						\
	local_irq_save(flags);						\
	do {								\
		start = ktime_get_ns();					\
		obj = alloc;						\
		first = ktime_get_ns() - start;				\
		if (obj)						\
			objs[got++] = obj;				\
	} while (obj && got < MOST);					\
	start = ktime_get_ns();						\
	for (i = 0; i < MISSES; i++)					\
		barrier();						\
	empty = ktime_get_ns() - start;					\
	start = ktime_get_ns();						\
	for (i = 0; i < MISSES; i++) {					\
		obj = alloc;						\
		if (obj) {						\
			found++;					\
			free;						\
		}							\
	}								\
	time = ktime_get_ns() - start;					\
	local_irq_restore(flags);					\
	while (got) {							\
		obj = objs[--got];					\
		free;							\
	}								\
	migrate_enable();						\
	destroy;							\
	bench_report_number(test, work "_first", who, first);		\
	bench_report(test, work, who, time - empty, MISSES, found);	\
	KUNIT_EXPECT_EQ(test, found, 0);				\
} while (0)

static void bench_miss(struct kunit *test)
{
	void **objs = large_objs(test, MOST);
	unsigned int sample;
	union large_ma ma;

	for (sample = 0; sample < LARGE_SAMPLES; sample++) {
		MISS(test, "ours", "miss", bpf_mem_alloc_init(&ma.ours, SIZE, false),
		     bpf_mem_cache_alloc(&ma.ours), bpf_mem_cache_free(&ma.ours, obj),
		     bpf_mem_alloc_destroy(&ma.ours));
		MISS(test, "ours", "miss_class", bpf_mem_alloc_init(&ma.ours, 0, false),
		     bpf_mem_alloc(&ma.ours, CLASS_SIZE), bpf_mem_free(&ma.ours, obj),
		     bpf_mem_alloc_destroy(&ma.ours));
#ifdef BPF_MEMALLOC_PEER
		MISS(test, "peer", "miss", peer_mem_alloc_init(&ma.peer, SIZE, false),
		     peer_mem_cache_alloc(&ma.peer), peer_mem_cache_free(&ma.peer, obj),
		     peer_mem_alloc_destroy(&ma.peer));
		MISS(test, "peer", "miss_class", peer_mem_alloc_init(&ma.peer, 0, false),
		     peer_mem_alloc(&ma.peer, CLASS_SIZE), peer_mem_free(&ma.peer, obj),
		     peer_mem_alloc_destroy(&ma.peer));
#endif
	}
}

/* As a program does it: in RCU, on one CPU. Ns for @nr times @op, where i counts. */
#define TIME(nr, op)							\
({									\
	u64 __start, i;							\
									\
	rcu_read_lock();						\
	migrate_disable();						\
	__start = ktime_get_ns();					\
	for (i = 0; i < (nr); i++) {					\
		op;							\
	}								\
	__start = ktime_get_ns() - __start;				\
	migrate_enable();						\
	rcu_read_unlock();						\
	__start;							\
})

struct at_capacity {
	const char *name;
	u32 flags;
	u32 entries;
};

static const struct at_capacity capacities[] = {
	{ "1000_prealloc", 0, 1000 },
	{ "1000_dynamic", BPF_F_NO_PREALLOC, 1000 },
	{ "30000_prealloc", 0, 30000 },
	{ "30000_dynamic", BPF_F_NO_PREALLOC, 30000 },
};

KUNIT_ARRAY_PARAM_DESC(capacity, capacities, name);

/* Fills a map until it refuses, whatever it was made for. Elements that it took. */
static u64 fill_up(struct kunit *test, struct bpf_map *map, u32 entries)
{
	u64 key = entries;

	bench_put_keys(test, map, 0, entries);
	while (key < 2 * (u64)entries && !bench_put(map, key, BPF_NOEXIST))
		key++;
	return key;
}

/* The oldest element goes, a new one comes; then more come than there is room for. */
static void at_capacity(struct kunit *test, const struct large_who *who)
{
	const struct at_capacity *kind = test->param_value;
	const struct bpf_map_ops *ops = who->hash;
	struct bpf_map *map = bench_open_map(test, ops, BPF_MAP_TYPE_HASH, kind->flags,
					     kind->entries);
	unsigned long errors = 0, accepted = 0;
	u64 nr = fill_up(test, map, kind->entries);
	u64 value = 1, time, key, from = 0;
	char work[40];
	int round;

	snprintf(work, sizeof(work), "taken_%s", kind->name);
	bench_report_number(test, work, who->name, nr);
	/* The first round warms up. */
	for (round = 0; round < 2; round++) {
		errors = 0;
		time = TIME(CHURN, ({
			key = from + i;
			errors += !!ops->map_delete_elem(map, &key);
			key += nr;
			errors += !!ops->map_update_elem(map, &key, &value, BPF_NOEXIST);
		}));
		from += CHURN;
	}
	snprintf(work, sizeof(work), "churn_%s", kind->name);
	bench_report(test, work, who->name, time, CHURN, errors);
	time = TIME(REFUSED, ({
		key = from + nr + i;
		accepted += ops->map_update_elem(map, &key, &value, BPF_NOEXIST) != -E2BIG;
	}));
	snprintf(work, sizeof(work), "refused_%s", kind->name);
	bench_report(test, work, who->name, time, REFUSED, accepted);
	bench_close_map(map);
	bench_settle();
}

static void bench_at_capacity(struct kunit *test)
{
	const struct at_capacity *kind = test->param_value;
	const struct large_who *who;
	unsigned int i;
	char work[40];

	for_each_large_sample(i, who, LARGE_SAMPLES)
		at_capacity(test, who);
	snprintf(work, sizeof(work), "taken_%s", kind->name);
	bench_report_number(test, work, LARGE_ASKED, kind->entries);
}

static struct kunit_case memalloc_bench_large_cost_cases[] = {
	KUNIT_CASE(bench_miss),
	KUNIT_CASE_PARAM(bench_at_capacity, capacity_gen_params),
	{}
};

static struct kunit_suite memalloc_bench_large_cost_suite = {
	.name = "bpf_memalloc_large_cost",
	.init = large_init,
	.test_cases = memalloc_bench_large_cost_cases,
};

kunit_test_suite(memalloc_bench_large_cost_suite);
