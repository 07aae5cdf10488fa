// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what one operation costs, beside kmalloc().
 *
 * Under QEMU with -icount shift=0,sleep=off a nanosecond of the guest is one
 * instruction, so the figures are exact and the same in each run. Anywhere
 * else compare them only within one run.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/fdtable.h>
#include <linux/ktime.h>
#include <linux/slab.h>

/* Not in a header: user space's bpf() for the kernel's own use. */
int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

#define PAIRS	100000

/* Time of @pair in a loop, less that of an empty loop, per round. */
#define BENCH(test, name, pair)						\
do {									\
	u64 __start, __empty, __full;					\
	int __i;							\
									\
	for (__i = 0; __i < 1000; __i++) {				\
		pair;							\
	}								\
	__start = ktime_get_ns();					\
	for (__i = 0; __i < PAIRS; __i++)				\
		barrier();						\
	__empty = ktime_get_ns() - __start;				\
	__start = ktime_get_ns();					\
	for (__i = 0; __i < PAIRS; __i++) {				\
		pair;							\
	}								\
	__full = ktime_get_ns() - __start;				\
	kunit_info(test, "bench: %s: %llu.%02llu with loop, %llu.%02llu without\n", name, \
		   __full / PAIRS, __full * 100 / PAIRS % 100,		\
		   (__full - __empty) / PAIRS, (__full - __empty) * 100 / PAIRS % 100); \
} while (0)

static void bench_hot_pair(struct kunit *test)
{
	struct bpf_mem_alloc fixed = {}, classes = {};
	unsigned int missed = 0;
	void *obj;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&fixed, 64, false), 0);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&classes, 0, false), 0);
	migrate_disable();
	BENCH(test, "fixed size, 64 bytes", {
		obj = bpf_mem_cache_alloc(&fixed);
		missed += !obj;
		bpf_mem_cache_free(&fixed, obj);
	});
	BENCH(test, "size class, 64 bytes", {
		obj = bpf_mem_alloc(&classes, 64);
		missed += !obj;
		bpf_mem_free(&classes, obj);
	});
	BENCH(test, "kmalloc, 64 bytes", {
		obj = kmalloc(64, GFP_ATOMIC);
		missed += !obj;
		kfree(obj);
	});
	migrate_enable();
	bpf_mem_alloc_destroy(&fixed);
	bpf_mem_alloc_destroy(&classes);
	KUNIT_EXPECT_EQ(test, missed, 0);
}

#define GROWTH	100000

static u64 per_object(u64 start)
{
	return (ktime_get_ns() - start) / GROWTH;
}

/* From nothing to many objects, so that all of them come from the slab. */
static void bench_growth(struct kunit *test)
{
	void **objs = kvcalloc(GROWTH, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc fixed = {};
	unsigned int i, missed = 0;
	u64 start;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&fixed, 72, false), 0);
	migrate_disable();
	start = ktime_get_ns();
	for (i = 0; i < GROWTH; i++) {
		objs[i] = bpf_mem_cache_alloc(&fixed);
		missed += !objs[i];
	}
	kunit_info(test, "bench: growth, 72 bytes: %llu\n", per_object(start));
	start = ktime_get_ns();
	for (i = 0; i < GROWTH; i++)
		bpf_mem_cache_free(&fixed, objs[i]);
	kunit_info(test, "bench: and back: %llu\n", per_object(start));
	migrate_enable();
	bpf_mem_alloc_destroy(&fixed);
	start = ktime_get_ns();
	for (i = 0; i < GROWTH; i++) {
		objs[i] = kzalloc(80, GFP_ATOMIC | __GFP_ACCOUNT);
		missed += !objs[i];
	}
	kunit_info(test, "bench: kzalloc, 80 bytes: %llu\n", per_object(start));
	start = ktime_get_ns();
	for (i = 0; i < GROWTH; i++)
		kfree(objs[i]);
	kunit_info(test, "bench: and kfree: %llu\n", per_object(start));
	kvfree(objs);
	KUNIT_EXPECT_EQ(test, missed, 0);
}

struct map_kind {
	const char *name;
	enum bpf_map_type type;
	u32 flags;
};

static const struct map_kind map_kinds[] = {
	{ "hash preallocated", BPF_MAP_TYPE_HASH },
	{ "hash dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "percpu hash preallocated", BPF_MAP_TYPE_PERCPU_HASH },
	{ "percpu hash dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC },
};

static void map_kind_desc(const struct map_kind *kind, char *desc)
{
	strscpy(desc, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(map_kind, map_kinds, map_kind_desc);

KUNIT_DEFINE_ACTION_WRAPPER(map_put, bpf_map_put, struct bpf_map *);

static struct bpf_map *bench_map(struct kunit *test, u32 max_entries)
{
	const struct map_kind *kind = test->param_value;
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = kind->flags,
		.key_size = sizeof(u64),
		.value_size = sizeof(u64),
		.max_entries = max_entries,
	};
	struct bpf_map *map;
	int fd = kern_sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));

	KUNIT_ASSERT_GE(test, fd, 0);
	map = bpf_map_get(fd);
	close_fd(fd);
	KUNIT_ASSERT_FALSE(test, IS_ERR(map));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, map_put, map), 0);
	return map;
}

#define MAP_ROUNDS	100000

/* As a program does it: in RCU, on one CPU. */
#define BENCH_MAP(test, label, op)					\
do {									\
	u64 __time, __key;						\
									\
	rcu_read_lock();						\
	migrate_disable();						\
	__time = ktime_get_ns();					\
	for (__key = 0; __key < MAP_ROUNDS; __key++) {			\
		op;							\
	}								\
	__time = ktime_get_ns() - __time;				\
	migrate_enable();						\
	rcu_read_unlock();						\
	kunit_info(test, "bench: %s: %s: %llu.%02llu\n",		\
		   ((const struct map_kind *)test->param_value)->name, label, \
		   __time / MAP_ROUNDS, __time * 100 / MAP_ROUNDS % 100); \
} while (0)

static void bench_map_cycle(struct kunit *test)
{
	struct bpf_map *map = bench_map(test, MAP_ROUNDS);
	const struct bpf_map_ops *ops = map->ops;
	unsigned int errors = 0;
	u64 value = 1;
	int round;

	/* The first round warms up. */
	for (round = 0; round < 2; round++) {
		BENCH_MAP(test, round ? "update, lookup, delete" : "the same, cold", {
			errors += !!ops->map_update_elem(map, &__key, &value, BPF_ANY);
			errors += !ops->map_lookup_elem(map, &__key);
			errors += !!ops->map_delete_elem(map, &__key);
		});
	}
	KUNIT_EXPECT_EQ(test, errors, 0);
}

static void bench_map_fill(struct kunit *test)
{
	const struct map_kind *kind = test->param_value;
	unsigned int errors = 0, round;
	const struct bpf_map_ops *ops;
	struct bpf_map *map;
	u64 value = 1;

	if (kind->type == BPF_MAP_TYPE_PERCPU_HASH && kind->flags)
		kunit_skip(test, "areas come from a worker that such a loop never lets run");
	map = bench_map(test, MAP_ROUNDS);
	ops = map->ops;
	for (round = 0; round < 2; round++) {
		BENCH_MAP(test, round ? "fill again" : "fill", {
			errors += !!ops->map_update_elem(map, &__key, &value, BPF_NOEXIST);
		});
		BENCH_MAP(test, round ? "empty again" : "empty", {
			errors += !!ops->map_delete_elem(map, &__key);
		});
	}
	KUNIT_EXPECT_EQ(test, errors, 0);
}

static int bench_init(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PCPU_MAGAZINE_KUNIT_TEST))
		kunit_skip(test, "the seams of the test suites would be measured, too");
	return 0;
}

static struct kunit_case memalloc_bench_cases[] = {
	KUNIT_CASE(bench_hot_pair),
	KUNIT_CASE(bench_growth),
	KUNIT_CASE_PARAM(bench_map_cycle, map_kind_gen_params),
	KUNIT_CASE_PARAM(bench_map_fill, map_kind_gen_params),
	{}
};

static struct kunit_suite memalloc_bench_suite = {
	.name = "bpf_memalloc_bench",
	.init = bench_init,
	.test_cases = memalloc_bench_cases,
};

kunit_test_suite(memalloc_bench_suite);
