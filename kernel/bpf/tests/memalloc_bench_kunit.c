// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what one operation costs, beside kmalloc().
 *
 * Under QEMU with -icount shift=0,sleep=off a nanosecond of the guest is one
 * instruction, so the figures are exact and the same in each run. Anywhere
 * else compare them only within one run.
 */
#include <kunit/test.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/ktime.h>
#include <linux/slab.h>

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

	if (IS_ENABLED(CONFIG_PCPU_MAGAZINE_KUNIT_TEST))
		kunit_skip(test, "the seams of the test suites would be measured, too");
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

static struct kunit_case memalloc_bench_cases[] = {
	KUNIT_CASE(bench_hot_pair),
	{}
};

static struct kunit_suite memalloc_bench_suite = {
	.name = "bpf_memalloc_bench",
	.test_cases = memalloc_bench_cases,
};

kunit_test_suite(memalloc_bench_suite);
