// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: the slab says no. At first, at the k-th time, at every
 * time: NULL or -ENOMEM, nothing leaks, and service resumes when memory is
 * back.
 */
#include <kunit/test.h>
#include <linux/slab.h>
#include "memalloc_test_util.h"

static void refuse(struct memalloc_test_slab *slab, int from, int to)
{
	atomic_set(&slab->calls, 0);
	atomic_set(&slab->refuse_to, to);
	atomic_set(&slab->refuse_from, from);
}

static void test_init_refused(struct kunit *test)
{
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	struct bpf_mem_alloc ma = {};
	long before = test_live();
	int k;

	/* The fixed-size allocator asks once, the classes that lend once each. */
	refuse(slab, 1, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), -ENOMEM);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
	refuse(slab, 1, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, 64, true), -ENOMEM);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
	for (k = 1; k <= 2; k++) {
		refuse(slab, k, k);
		KUNIT_EXPECT_EQ_MSG(test, bpf_mem_alloc_init(&ma, 0, false), -ENOMEM,
				    "request %d", k);
		KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), k);
		KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
		KUNIT_EXPECT_EQ(test, test_live(), before);
	}
	refuse(slab, 0, 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, 0, false), 0);
	bpf_mem_alloc_destroy(&ma);
}

static void test_unit_init_refused(struct kunit *test)
{
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	struct bpf_mem_alloc *ma = memalloc_test_percpu_classes(test);
	void *obj;

	refuse(slab, 1, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, 64), -ENOMEM);
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, 64));
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, 64), 0);
	obj = memalloc_test_get(ma, 64);
	KUNIT_EXPECT_NOT_NULL(test, obj);
	bpf_mem_free(ma, obj);
}

/* 10000 requests, of which the slab refuses a part, at every phase. */
static const struct {
	const char *name;
	int from, to;
} phases[] = {
	{ "the first", 1, 1 },
	{ "the second", 2, 2 },
	{ "the third to the twentieth", 3, 20 },
	{ "the first hundred", 1, 100 },
};

static void phase_desc(const typeof(phases[0]) *phase, char *desc)
{
	strscpy(desc, phase->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(phase, phases, phase_desc);

static void refused_and_resumed(struct kunit *test, int size, bool percpu)
{
	const typeof(phases[0]) *phase = test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, percpu);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	const unsigned int want = 500;
	void **objs = kunit_kcalloc(test, want, sizeof(*objs), GFP_KERNEL);
	unsigned int nr = 0, missed = 0, tries = 0;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	refuse(slab, phase->from, phase->to);
	for (; nr < want && tries < 20000; tries++) {
		migrate_disable();
		objs[nr] = bpf_mem_cache_alloc(ma);
		migrate_enable();
		if (objs[nr]) {
			if (!percpu)
				memalloc_test_sign(objs[nr], size);
			nr++;
			continue;
		}
		missed++;
		memalloc_test_settle(test_pool(ma));
	}
	KUNIT_EXPECT_EQ_MSG(test, nr, want, "service did not resume");
	KUNIT_EXPECT_GT(test, atomic_read(&slab->calls), phase->to);
	while (nr--) {
		if (!percpu)
			KUNIT_EXPECT_TRUE(test, memalloc_test_signed(objs[nr], size));
		bpf_mem_cache_free(ma, objs[nr]);
	}
}

static void test_refill_refused(struct kunit *test)
{
	refused_and_resumed(test, 64, false);
}

static void test_refill_of_large_objects_refused(struct kunit *test)
{
	refused_and_resumed(test, 4000, false);
}

static void test_percpu_refill_refused(struct kunit *test)
{
	refused_and_resumed(test, 64, true);
}

/* Every request: all that is cached comes out, then NULL; frees still work. */
static void test_slab_refuses_for_good(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	unsigned int nr, again, stock = atomic_long_read(&test_pool(ma)->nr_slab);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	refuse(slab, 1, INT_MAX);
	nr = memalloc_test_fill(ma, objs, 1000);
	KUNIT_EXPECT_EQ(test, nr, stock);
	KUNIT_EXPECT_NULL(test, bpf_mem_cache_alloc(ma));
	memalloc_test_free_all(ma, objs, nr);
	again = memalloc_test_fill(ma, objs, 1000);
	KUNIT_EXPECT_EQ(test, again, nr);
	memalloc_test_free_all(ma, objs, again);
	KUNIT_EXPECT_GT(test, atomic_read(&slab->calls), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->objects), 0);
}

/* Part of a batch is better than none. */
static unsigned int permit_seven(unsigned int nr, gfp_t gfp)
{
	return min(nr, 7U);
}

static void test_short_refills_are_used(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, 500, sizeof(*objs), GFP_KERNEL);
	unsigned int nr;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	WRITE_ONCE(bpf_mem_test.permit, permit_seven);
	nr = memalloc_test_fill(ma, objs, 500);
	KUNIT_EXPECT_EQ(test, nr, 500);
	memalloc_test_free_all(ma, objs, nr);
}

/*
 * The small half of a per-CPU object is there, the area is not: it is larger
 * than any that the per-CPU allocator gives. What did succeed was once freed
 * with the wrong function.
 */
static void test_percpu_area_refused(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};
	long before = test_live();
	int i;

	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, 16 * PCPU_MIN_UNIT_SIZE, true),
				-ENOMEM);
		KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
	}
	KUNIT_EXPECT_EQ(test, test_live(), before);
}

static struct kunit_case memalloc_fault_cases[] = {
	KUNIT_CASE(test_init_refused),
	KUNIT_CASE(test_unit_init_refused),
	KUNIT_CASE_PARAM(test_refill_refused, phase_gen_params),
	KUNIT_CASE_PARAM(test_refill_of_large_objects_refused, phase_gen_params),
	KUNIT_CASE_PARAM(test_percpu_refill_refused, phase_gen_params),
	KUNIT_CASE(test_slab_refuses_for_good),
	KUNIT_CASE(test_short_refills_are_used),
	KUNIT_CASE(test_percpu_area_refused),
	{}
};

static struct kunit_suite memalloc_fault_suite = {
	.name = "bpf_memalloc_fault",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_fault_cases,
};

kunit_test_suite(memalloc_fault_suite);
