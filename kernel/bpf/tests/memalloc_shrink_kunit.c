// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: nothing is stranded. Stock falls when demand has gone,
 * when nobody comes any more, under memory pressure, and when its CPU goes
 * offline; what is reserved stays.
 */
#include <kunit/test.h>
#include <linux/cpu.h>
#include <linux/kthread.h>
#include "memalloc_test_util.h"

#define MANY	2000

static void **room(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

/* Fails at first, so that stock grows to what was asked for. */
static void grow(struct kunit *test, struct bpf_mem_alloc *ma, void **objs)
{
	struct pcpu_magazine *mag = &test_pool(ma)->mag;
	unsigned int got;

	got = memalloc_test_burst(ma, objs, MANY);
	memalloc_test_free_all(ma, objs, got);
	memalloc_test_settle(test_pool(ma));
	KUNIT_ASSERT_GE(test, pcpu_magazine_stock(mag), MANY / 2);
	KUNIT_ASSERT_GT(test, mag->target, mag->marks.busy_target);
}

static long held_by(struct bpf_mem_alloc *ma)
{
	return atomic_long_read(&test_pool(ma)->nr_slab);
}

static void test_target_decays_and_stock_with_it(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct pcpu_magazine *mag = &test_pool(ma)->mag;
	void **objs = room(test);
	bool decayed, trimmed;

	grow(test, ma, objs);
	decayed = test_wait_for(READ_ONCE(mag->target) == mag->marks.target);
	KUNIT_EXPECT_TRUE_MSG(test, decayed, "target is %u", mag->target);
	trimmed = test_wait_for(held_by(ma) <= mag->marks.high + 2 * mag->marks.batch);
	KUNIT_EXPECT_TRUE_MSG(test, trimmed, "%ld objects held", held_by(ma));
}

static void test_idle_allocator_keeps_two_batches(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct pcpu_magazine *mag = &test_pool(ma)->mag;
	void **objs = room(test);
	bool flushed;

	grow(test, ma, objs);
	flushed = test_wait_for(held_by(ma) <= 2 * mag->marks.batch &&
				!READ_ONCE(test_this_cpu(ma)->nr));
	KUNIT_EXPECT_TRUE_MSG(test, flushed, "%ld objects held", held_by(ma));
	KUNIT_EXPECT_EQ(test, test_this_cpu(ma)->nr_spare, 0);
	/* Who comes now is served nevertheless. */
	KUNIT_EXPECT_GE(test, memalloc_test_burst(ma, objs, 8), 8);
	memalloc_test_free_all(ma, objs, 8);
}

/* Looks at all pools go on for as long as one is busy. */
static bool looks_make(bool (*cond)(struct bpf_mem_alloc *ma), struct bpf_mem_alloc *ma,
		       struct bpf_mem_alloc *busy)
{
	return test_wait_for((bpf_mem_shrink_soon(test_pool(busy)), cond(ma)));
}

static bool is_at_rest(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool = test_pool(ma);

	return READ_ONCE(pool->at_rest) &&
	       READ_ONCE(pool->last_out) == atomic_long_read(&pool->mag.nr_out);
}

static bool cpu_is_empty(struct bpf_mem_alloc *ma)
{
	return !READ_ONCE(test_this_cpu(ma)->nr);
}

static bool was_seen_twice(struct bpf_mem_alloc *ma)
{
	return READ_ONCE(test_pool(ma)->idle_looks) >= 2;
}

static void test_pool_at_rest_is_passed_over(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_alloc *busy = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	void **objs = room(test);
	bool met, pending;

	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, 8), 8);
	memalloc_test_free_all(ma, objs, 8);
	met = looks_make(is_at_rest, ma, busy);
	KUNIT_ASSERT_TRUE(test, met);
	KUNIT_EXPECT_EQ(test, test_this_cpu(ma)->nr, 0);

	/* A look would overwrite this. */
	WRITE_ONCE(pool->last_seen, LONG_MAX);
	WRITE_ONCE(test_pool(busy)->idle_looks, 0);
	met = looks_make(was_seen_twice, busy, busy);
	KUNIT_EXPECT_TRUE(test, met);
	KUNIT_EXPECT_EQ(test, READ_ONCE(pool->last_seen), LONG_MAX);

	/* A batch that moves is enough: there are plenty, no refill is asked for. */
	atomic_set(&pool->mag.wanted, 2);
	pcpu_magazine_refill(&pool->mag, GFP_KERNEL);
	KUNIT_ASSERT_EQ(test, memalloc_test_burst(ma, objs, 1), 1);
	pending = bpf_mem_refill_pending(pool);
	KUNIT_EXPECT_FALSE(test, pending);
	memalloc_test_free_all(ma, objs, 1);
	KUNIT_EXPECT_GT(test, test_this_cpu(ma)->nr, 0);
	met = looks_make(cpu_is_empty, ma, busy);
	KUNIT_EXPECT_TRUE_MSG(test, met, "%u objects on the CPU", test_this_cpu(ma)->nr);
}

static void test_idle_allocator_keeps_its_reserve(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = room(test);
	unsigned int got;
	bool flushed;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 500), 0);
	grow(test, ma, objs);
	flushed = test_wait_for(held_by(ma) <= 500 + 2 * test_pool(ma)->mag.marks.batch);
	KUNIT_EXPECT_TRUE_MSG(test, flushed, "%ld objects held", held_by(ma));
	got = memalloc_test_burst(ma, objs, 500);
	KUNIT_EXPECT_EQ(test, got, 500);
	memalloc_test_free_all(ma, objs, got);
}

static void test_memory_pressure_empties_the_depot(struct kunit *test)
{
	unsigned long before, after, freed;
	struct pcpu_magazine *mag;
	struct bpf_mem_alloc *ma;
	void **objs = room(test);
	unsigned int got;
	bool gone;

	/* First what other allocators have, which would spoil the balance. */
	bpf_mem_shrink_scan(ULONG_MAX);
	bpf_mem_gp_wait();
	memalloc_test_rebase(test);
	ma = memalloc_test_ma(test, 1000, false);
	mag = &test_pool(ma)->mag;
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 100), 0);
	grow(test, ma, objs);
	before = bpf_mem_shrink_count();
	freed = bpf_mem_shrink_scan(ULONG_MAX);
	after = bpf_mem_shrink_count();
	KUNIT_EXPECT_GE(test, before, MANY * 1000UL / 2 / PAGE_SIZE);
	KUNIT_EXPECT_GE(test, freed, MANY * 1000UL / 2 / PAGE_SIZE);
	KUNIT_EXPECT_LT(test, after, before / 4);
	gone = test_wait_for(held_by(ma) <= 100 + mag->marks.high + mag->marks.batch);
	KUNIT_EXPECT_TRUE_MSG(test, gone, "%ld objects held", held_by(ma));
	got = memalloc_test_burst(ma, objs, 100);
	KUNIT_EXPECT_EQ(test, got, 100);
	memalloc_test_free_all(ma, objs, got);
}

#ifdef CONFIG_HOTPLUG_CPU
struct visit {
	struct bpf_mem_alloc *ma;
	void **objs;
	unsigned int got;
};

static int fill_there(void *arg)
{
	struct visit *visit = arg;

	visit->got = memalloc_test_fill(visit->ma, visit->objs, 90);
	memalloc_test_free_all(visit->ma, visit->objs, visit->got);
	return 0;
}

static unsigned int stock_of(struct bpf_mem_alloc *ma, unsigned int cpu)
{
	struct pcpu_magazine_cpu *c = per_cpu_ptr(ma->cpus, cpu);

	return READ_ONCE(c->nr) + READ_ONCE(c->nr_spare);
}

static void test_offline_cpu_gives_its_stock_back(struct kunit *test)
{
	unsigned int cpu = cpumask_last(cpu_online_mask), stock, left, round;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct visit visit = { .ma = ma, .objs = room(test) };
	struct pcpu_magazine *mag = &test_pool(ma)->mag;
	int err, depot;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU, which has to stay");
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, smp_call_on_cpu(cpu, fill_there, &visit, false), 0);
		KUNIT_ASSERT_EQ(test, visit.got, 90);
		memalloc_test_settle(test_pool(ma));
		stock = stock_of(ma, cpu);
		depot = atomic_read(&mag->nr_chains);
		KUNIT_EXPECT_GT(test, stock, 0);
		err = remove_cpu(cpu);
		KUNIT_ASSERT_EQ(test, err, 0);
		left = stock_of(ma, cpu);
		KUNIT_EXPECT_EQ(test, left, 0);
		KUNIT_EXPECT_GT(test, atomic_read(&mag->nr_chains), depot);
		KUNIT_EXPECT_EQ(test, bpf_mem_alloc_used(ma), 0);
		KUNIT_ASSERT_EQ(test, add_cpu(cpu), 0);
	}
}
#else
static void test_offline_cpu_gives_its_stock_back(struct kunit *test)
{
	kunit_skip(test, "no CPU hotplug in this kernel");
}
#endif

static struct kunit_case memalloc_shrink_cases[] = {
	KUNIT_CASE_SLOW(test_target_decays_and_stock_with_it),
	KUNIT_CASE_SLOW(test_idle_allocator_keeps_two_batches),
	KUNIT_CASE_SLOW(test_pool_at_rest_is_passed_over),
	KUNIT_CASE_SLOW(test_idle_allocator_keeps_its_reserve),
	KUNIT_CASE(test_memory_pressure_empties_the_depot),
	KUNIT_CASE(test_offline_cpu_gives_its_stock_back),
	{}
};

static struct kunit_suite memalloc_shrink_suite = {
	.name = "bpf_memalloc_shrink",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_shrink_cases,
};

kunit_test_suite(memalloc_shrink_suite);
