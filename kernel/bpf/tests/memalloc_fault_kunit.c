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

/* By how often the slab is asked for each CPU; twice more for the depot, if at all. */
static const struct kind {
	const char *name;
	int size;
	bool percpu;
	int for_cpu;
} kinds[] = {
	{ "fixed size", 64, false, 1 },
	{ "large", 4000, false, 1 },
	{ "per-CPU areas", 64, true, 1 },
	{ "classes", 0, false, BPF_MEM_CLASSES },
};

static void kind_desc(const struct kind *kind, char *desc)
{
	strscpy(desc, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kind, kinds, kind_desc);

static void test_init_refused(struct kunit *test)
{
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	const struct kind *kind = test->param_value;
	int k, calls = kind->for_cpu * num_online_cpus();
	struct bpf_mem_alloc ma = {};
	long before = test_live();

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, kind->size, kind->percpu), 0);
	calls += test_depot_at_first(test_pool(&ma)) ? 2 : 0;
	bpf_mem_alloc_destroy(&ma);
	KUNIT_ASSERT_EQ(test, test_live(), before);
	for (k = 1; k <= calls; k++) {
		refuse(slab, k, k);
		KUNIT_EXPECT_EQ_MSG(test, bpf_mem_alloc_init(&ma, kind->size, kind->percpu),
				    -ENOMEM, "request %d", k);
		KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), k);
		KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
		KUNIT_EXPECT_EQ(test, test_live(), before);
	}
	refuse(slab, 0, 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, kind->size, kind->percpu), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), calls);
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
	unsigned long until = jiffies + TEST_PATIENCE;
	unsigned int nr = 0;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	refuse(slab, phase->from, phase->to);
	while (nr < want && time_before(jiffies, until)) {
		migrate_disable();
		objs[nr] = bpf_mem_cache_alloc(ma);
		migrate_enable();
		if (objs[nr]) {
			if (!percpu)
				memalloc_test_sign(objs[nr], size);
			nr++;
			continue;
		}
		/* What was refused is asked for again with the next tick. */
		memalloc_test_settle(test_pool(ma));
		cond_resched();
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
	unsigned int nr, again, stock = test_within_reach(test_pool(ma));

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

/*
 * Memory that was refused is no demand: it was all taken at once when the limit
 * of a memory cgroup was lifted.
 */
static unsigned int miss_for_ticks(struct bpf_mem_alloc *ma, unsigned int ticks)
{
	unsigned long until = jiffies + ticks;
	unsigned int missed = 0;

	while (time_before(jiffies, until)) {
		migrate_disable();
		missed += !bpf_mem_cache_alloc(ma);
		migrate_enable();
		cond_resched();
	}
	return missed;
}

static void expect_targets(struct kunit *test, struct bpf_mem_pool *pool, unsigned int most)
{
	struct bpf_mem_shard *shard;
	unsigned int i;

	bpf_mem_for_each_shard(shard, pool, i)
		KUNIT_EXPECT_LE(test, pcpu_magazine_target(&shard->mag), most);
}

static void refused_is_no_demand(struct kunit *test, int size, bool percpu)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, percpu);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_pool *pool = test_pool(ma);
	unsigned int nr, missed = 0, round;
	unsigned long since;
	void *obj = NULL;
	bool came;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	refuse(slab, 1, INT_MAX);
	nr = memalloc_test_fill(ma, objs, 1000);
	KUNIT_ASSERT_LT(test, nr, 1000);
	for (round = 0; round < 5; round++) {
		missed += miss_for_ticks(ma, HZ / 20);
		usleep_range(1000, 2000);
		expect_targets(test, pool, 1);
	}
	KUNIT_EXPECT_GT(test, missed, 5000);
	memalloc_test_settle(pool);
	missed = miss_for_ticks(ma, 2);
	KUNIT_EXPECT_GT(test, missed, 100);
	atomic_set(&slab->objects, 0);
	/* Memory is back: what asks first gets some, and no more than it needs is taken. */
	refuse(slab, 0, 0);
	since = jiffies;
	came = test_wait_for((obj = memalloc_test_cache_get(ma)));
	KUNIT_EXPECT_TRUE(test, came);
	KUNIT_EXPECT_LE(test, jiffies - since, HZ / 5);
	memalloc_test_settle(pool);
	/* One refill that follows upon another doubles it. */
	expect_targets(test, pool, 2);
	KUNIT_EXPECT_LE(test, atomic_read(&slab->objects), 4 * pool->mag.marks.batch);
	if (obj)
		bpf_mem_cache_free(ma, obj);
	memalloc_test_free_all(ma, objs, nr);
}

static void test_refused_memory_is_no_demand(struct kunit *test)
{
	refused_is_no_demand(test, 64, false);
}

static void test_refused_large_memory_is_no_demand(struct kunit *test)
{
	refused_is_no_demand(test, 4000, false);
}

/* ... and memory that came too late is. */
static void test_missed_memory_is_demand(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	unsigned int nr;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	nr = memalloc_test_burst(ma, objs, 1000);
	KUNIT_EXPECT_LT(test, nr, 1000);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_GE(test, pcpu_magazine_target(&test_shard(test_pool(ma))->mag),
			(1000 - nr) / test_pool(ma)->mag.marks.batch);
	memalloc_test_free_all(ma, objs, nr);
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
	KUNIT_CASE_PARAM(test_init_refused, kind_gen_params),
	KUNIT_CASE(test_unit_init_refused),
	KUNIT_CASE_PARAM(test_refill_refused, phase_gen_params),
	KUNIT_CASE_PARAM(test_refill_of_large_objects_refused, phase_gen_params),
	KUNIT_CASE_PARAM(test_percpu_refill_refused, phase_gen_params),
	KUNIT_CASE(test_slab_refuses_for_good),
	KUNIT_CASE(test_refused_memory_is_no_demand),
	KUNIT_CASE(test_refused_large_memory_is_no_demand),
	KUNIT_CASE(test_missed_memory_is_demand),
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
