// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what hash maps cost on it, with the elements allocated
 * when they come and with all of them preallocated; and the base's own hash map
 * on its own allocator beside it.
 */
#include <linux/rcupdate.h>
#include "memalloc_bench.h"

#define ENTRIES		100000

static const struct map_kind {
	const char *name;
	const char *who;
	const struct bpf_map_ops *ops;
	u32 type;
	u32 flags;
} map_kinds[] = {
	{ "hash_prealloc", "ours", &htab_map_ops, BPF_MAP_TYPE_HASH, 0 },
	{ "hash_dynamic", "ours", &htab_map_ops, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "percpu_prealloc", "ours", &htab_percpu_map_ops, BPF_MAP_TYPE_PERCPU_HASH, 0 },
	{ "percpu_dynamic", "ours", &htab_percpu_map_ops, BPF_MAP_TYPE_PERCPU_HASH,
	  BPF_F_NO_PREALLOC },
#ifdef BPF_MEMALLOC_PEER
	{ "hash_prealloc", "peer", &peer_htab_map_ops, BPF_MAP_TYPE_HASH, 0 },
	{ "hash_dynamic", "peer", &peer_htab_map_ops, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "percpu_prealloc", "peer", &peer_htab_percpu_map_ops, BPF_MAP_TYPE_PERCPU_HASH, 0 },
	{ "percpu_dynamic", "peer", &peer_htab_percpu_map_ops, BPF_MAP_TYPE_PERCPU_HASH,
	  BPF_F_NO_PREALLOC },
#endif
};

static struct bpf_map *open_map(struct kunit *test, const struct map_kind *kind)
{
	return bench_open_map(test, kind->ops, kind->type, kind->flags, ENTRIES);
}

static void close_map(struct bpf_map *map)
{
	bench_close_map(map);
	rcu_barrier();
	rcu_barrier_tasks_trace();
	rcu_barrier();
}

/* As a program does it: in RCU, on one CPU. */
#define LOOP(op)							\
({									\
	u64 __time, key;						\
									\
	rcu_read_lock();						\
	migrate_disable();						\
	__time = ktime_get_ns();					\
	for (key = 0; key < ENTRIES; key++) {				\
		op;							\
	}								\
	__time = ktime_get_ns() - __time;				\
	migrate_enable();						\
	rcu_read_unlock();						\
	__time;								\
})

static void cycle(struct kunit *test, const struct map_kind *kind)
{
	struct bpf_map *map = open_map(test, kind);
	const struct bpf_map_ops *ops = kind->ops;
	unsigned long errors = 0;
	u64 value = 1, time;
	int round;

	/* The first round warms up. */
	for (round = 0; round < 2; round++) {
		errors = 0;
		time = LOOP({
			errors += !!ops->map_update_elem(map, &key, &value, BPF_ANY);
			errors += !ops->map_lookup_elem(map, &key);
			errors += !!ops->map_delete_elem(map, &key);
		});
	}
	close_map(map);
	bench_report(test, kind->name, kind->who, time, ENTRIES, errors);
	bench_expect_all(test, kind->who, errors);
}

/* Elements that are there are replaced, which a per-CPU map does not do. */
static void overwrite(struct kunit *test, const struct map_kind *kind)
{
	const struct bpf_map_ops *ops = kind->ops;
	struct bpf_map *map;
	unsigned long errors;
	u64 value = 1, time;
	char work[32];
	int round;

	if (kind->type != BPF_MAP_TYPE_HASH)
		return;
	map = open_map(test, kind);
	/* The first round puts them there. */
	for (round = 0; round < 2; round++) {
		errors = 0;
		time = LOOP(errors += !!ops->map_update_elem(map, &key, &value, BPF_ANY));
	}
	close_map(map);
	snprintf(work, sizeof(work), "overwrite_%s", kind->name);
	bench_report(test, work, kind->who, time, ENTRIES, errors);
	bench_expect_all(test, kind->who, errors);
}

static void fill(struct kunit *test, const struct map_kind *kind)
{
	const struct bpf_map_ops *ops = kind->ops;
	unsigned long errors, gone;
	struct bpf_map *map;
	u64 value = 1, time;
	char work[32];
	int round;

	/* Areas come from a worker that such a loop never lets run. */
	if (kind->type == BPF_MAP_TYPE_PERCPU_HASH && kind->flags & BPF_F_NO_PREALLOC)
		return;
	map = open_map(test, kind);
	for (round = 0; round < 2; round++) {
		errors = 0;
		gone = 0;
		time = LOOP(errors += !!ops->map_update_elem(map, &key, &value, BPF_NOEXIST));
		snprintf(work, sizeof(work), "%s_%s", round ? "refill" : "fill", kind->name);
		bench_report(test, work, kind->who, time, ENTRIES, errors);
		time = LOOP(gone += !ops->map_delete_elem(map, &key));
		snprintf(work, sizeof(work), "%s_%s", round ? "reempty" : "empty", kind->name);
		bench_report(test, work, kind->who, time, gone, ENTRIES - errors - gone);
		KUNIT_EXPECT_EQ(test, gone, ENTRIES - errors);
		bench_expect_all(test, kind->who, errors);
	}
	close_map(map);
}

static void sample_all(struct kunit *test,
		       void (*work)(struct kunit *test, const struct map_kind *kind))
{
	unsigned int sample, i;

	for (sample = 0; sample < BENCH_SAMPLES; sample++) {
		for (i = 0; i < ARRAY_SIZE(map_kinds); i++)
			work(test, &map_kinds[i]);
	}
}

static void bench_map_cycle(struct kunit *test)
{
	sample_all(test, cycle);
}

static void bench_map_overwrite(struct kunit *test)
{
	sample_all(test, overwrite);
}

static void bench_map_fill(struct kunit *test)
{
	sample_all(test, fill);
}

static struct kunit_case memalloc_bench_map_cases[] = {
	KUNIT_CASE(bench_map_cycle),
	KUNIT_CASE(bench_map_overwrite),
	KUNIT_CASE(bench_map_fill),
	{}
};

static struct kunit_suite memalloc_bench_map_suite = {
	.name = "bpf_memalloc_bench_map",
	.init = bench_init,
	.test_cases = memalloc_bench_map_cases,
};

kunit_test_suite(memalloc_bench_map_suite);
