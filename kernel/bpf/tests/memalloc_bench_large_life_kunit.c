// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what the whole life of a map costs for each element, and
 * a thousand allocators that nobody uses; ours and the peer's.
 *
 * create_fill_delete	a map is made, filled, and its elements are deleted
 * whole_life		the same, the map goes, and all its memory has gone back:
 *			with everything that workers, interrupts and RCU do for it
 *
 * Time counts while the CPU is not idle, so waiting is free.
 */
#include <linux/cpumask.h>
#include <linux/sched.h>
#include <linux/tick.h>
#include "../memalloc_internal.h"
#include "memalloc_bench_large.h"

#define ELEMENTS		100000
#define PERCPU_ELEMENTS		5000
#define ALLOCATORS		1000
#define SIZE			64

/* Ns that this CPU, the only one, has not been idle; less a constant. */
static u64 busy_ns(void)
{
	return ktime_get_ns() - get_cpu_idle_time_us(raw_smp_processor_id(), NULL) * NSEC_PER_USEC;
}

static const struct life_kind {
	const char *name;
	u32 type;
	u32 flags;
	unsigned int elements;
} kinds[] = {
	{ "hash_prealloc", BPF_MAP_TYPE_HASH, 0, ELEMENTS },
	{ "hash_dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, ELEMENTS },
	{ "percpu_prealloc", BPF_MAP_TYPE_PERCPU_HASH, 0, PERCPU_ELEMENTS },
	{ "percpu_dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, PERCPU_ELEMENTS },
};

KUNIT_ARRAY_PARAM_DESC(life, kinds, name);

static void report(struct kunit *test, const char *what, const char *who, u64 time)
{
	const struct life_kind *kind = test->param_value;
	char work[48];

	snprintf(work, sizeof(work), "%s_%s", what, kind->name);
	bench_report(test, work, who, time, kind->elements, 0);
}

static void live(struct kunit *test, const struct large_who *who)
{
	const struct life_kind *kind = test->param_value;
	u64 start = busy_ns(), time;
	struct bpf_map *map;

	map = bench_open_map(test, kind->type == BPF_MAP_TYPE_HASH ? who->hash : who->percpu_hash,
			     kind->type, kind->flags, kind->elements);
	bench_put_keys(test, map, 0, kind->elements);
	bench_delete_keys(map, 0, kind->elements);
	time = busy_ns() - start;
	bench_close_map(map);
	bench_settle();
	report(test, "create_fill_delete", who->name, time);
	report(test, "whole_life", who->name, busy_ns() - start);
}

static void bench_life_of_map(struct kunit *test)
{
	const struct large_who *who;
	unsigned int i;

	if (num_online_cpus() > 1)
		kunit_skip(test, "what one CPU does is told from what others do with one CPU only");
	if (get_cpu_idle_time_us(0, NULL) == -1)
		kunit_skip(test, "no count of idle time");
	for_each_large_sample(i, who, LARGE_SAMPLES)
		live(test, who);
}

/* Elapsed time of a change of watermarks, and of the change back. */
static void change_marks(struct kunit *test)
{
	static const struct bpf_mem_watermarks marks = { .low = 24, .high = 80, .batch = 48 };
	const size_t size = SIZE + BPF_MEM_HEADER;
	u64 start = ktime_get_ns();

	KUNIT_EXPECT_EQ(test, bpf_mem_watermarks_set(size, false, &marks), 0);
	bench_report_number(test, "marks_of_1000", "ours", ktime_get_ns() - start);
	start = ktime_get_ns();
	KUNIT_EXPECT_EQ(test, bpf_mem_watermarks_set(size, false, NULL), 0);
	bench_report_number(test, "marks_of_1000_back", "ours", ktime_get_ns() - start);
}

static void bench_thousand_allocators(struct kunit *test)
{
	union large_ma *mas = kunit_kcalloc(test, ALLOCATORS, sizeof(*mas), GFP_KERNEL);
	const struct large_who *who;
	unsigned int i, m;
	long before;
	u64 start;

	KUNIT_ASSERT_NOT_NULL(test, mas);
	for_each_large_sample(i, who, 1) {
		before = bench_settled_pages();
		start = ktime_get_ns();
		for (m = 0; m < ALLOCATORS; m++)
			KUNIT_ASSERT_EQ(test, who->init(&mas[m], SIZE, false), 0);
		bench_report(test, "create_of_1000", who->name, ktime_get_ns() - start,
			     ALLOCATORS, 0);
		bench_report_number(test, "idle_bytes_of_1000", who->name,
				    (bench_settled_pages() - before) * PAGE_SIZE / ALLOCATORS);
		if (!strcmp(who->name, "ours"))
			change_marks(test);
		start = ktime_get_ns();
		for (m = 0; m < ALLOCATORS; m++)
			who->destroy(&mas[m]);
		bench_report(test, "destroy_of_1000", who->name, ktime_get_ns() - start,
			     ALLOCATORS, 0);
	}
}

static struct kunit_case memalloc_bench_large_life_cases[] = {
	KUNIT_CASE_PARAM(bench_life_of_map, life_gen_params),
	KUNIT_CASE(bench_thousand_allocators),
	{}
};

static struct kunit_suite memalloc_bench_large_life_suite = {
	.name = "bpf_memalloc_large_life",
	.init = large_init,
	.test_cases = memalloc_bench_large_life_cases,
};

kunit_test_suite(memalloc_bench_large_life_suite);
