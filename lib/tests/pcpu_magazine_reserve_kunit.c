// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: the reserve.
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/smp.h>
#include "pcpu_magazine_kunit.h"

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

#define RESERVED	7

static int reserve(struct magtest_pool *p, unsigned int nr)
{
	return pcpu_magazine_reserve(&p->mag, nr, GFP_KERNEL);
}

static unsigned int reserve_level(struct magtest_pool *p)
{
	return p->mag.reserve ? atomic_read(&p->mag.reserve->level) : 0;
}

static void test_reserve_is_there_when_nothing_else_is(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int round, all;

	KUNIT_EXPECT_FALSE(test, pcpu_magazine_reserve_is_short(&p->mag));
	KUNIT_ASSERT_EQ(test, reserve(p, RESERVED), 0);
	magtest_settled(test, p, "reserved", "");
	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, reserve_level(p), RESERVED);
		KUNIT_EXPECT_FALSE(test, pcpu_magazine_reserve_is_short(&p->mag));
		p->refuse = true;
		all = magtest_count(p, MAGTEST_POOL);
		KUNIT_ASSERT_GE(test, all, RESERVED);
		KUNIT_ASSERT_EQ(test, magtest_take_all(p), all);
		KUNIT_EXPECT_TRUE(test, pcpu_magazine_reserve_is_short(&p->mag));
		KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shard));
		magtest_settled(test, p, "emptied", "");
		KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_RESERVE),
				(round + 1) * RESERVED);
		/* One refill, which may bring less than the depot wants. */
		p->refuse = false;
		magtest_give_all(p);
		magtest_refill(p);
		magtest_settled(test, p, "refilled", "");
	}
	magtest_close(test, p, "pool with a reserve");
}

/* Everything else is asked before: it is for when there is nothing. */
static void test_reserve_comes_after_reclaim(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_reclaiming_ops, &magtest_sets[0]);
	struct magtest_object *o;

	KUNIT_ASSERT_EQ(test, reserve(p, 2), 0);
	magtest_refill(p);
	p->refuse = true;
	while (magtest_count(p, MAGTEST_POOL) > 2)
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	KUNIT_ASSERT_EQ(test, reserve_level(p), 2);
	o = p->out[--p->nr_out];
	magtest_leave_out(p, o, MAGTEST_RECLAIM);
	llist_add(&o->node, &p->reclaimable);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	KUNIT_EXPECT_PTR_EQ(test, p->out[p->nr_out - 1], o);
	KUNIT_EXPECT_EQ(test, reserve_level(p), 2);
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), 2);
	magtest_close(test, p, "pool with a reserve");
}

static void test_reserve_raised_and_lowered(struct kunit *test)
{
	static const unsigned int steps[] = { 3, 6, 1, 6, 200, 65, 0, 2, 0 };
	struct magtest_pool *p = magtest_open_large(test, magtest_set(test), 3000);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		KUNIT_ASSERT_EQ(test, reserve(p, steps[i]), 0);
		KUNIT_ASSERT_EQ(test, p->mag.nr_reserved, steps[i]);
		KUNIT_ASSERT_EQ(test, reserve_level(p), steps[i]);
		KUNIT_ASSERT_GE(test, magtest_count(p, MAGTEST_POOL), steps[i]);
		magtest_settled(test, p, "changed", "");
	}
	magtest_close(test, p, "pool with a reserve");
}

static void test_reserve_refused(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));

	KUNIT_ASSERT_EQ(test, reserve(p, 3), 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, reserve(p, 400), -ENOMEM);
	KUNIT_EXPECT_EQ(test, p->mag.nr_reserved, 3);
	KUNIT_EXPECT_EQ(test, reserve_level(p), 3);
	magtest_settled(test, p, "refused", "");
	KUNIT_EXPECT_GE(test, magtest_take_all(p), 3);
	magtest_close(test, p, "pool with a reserve");
}

/* What one refill of another kind than this may not bring at once. */
static void test_reserve_of_many_objects(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, &magtest_sets[0], 12000);
	unsigned int nr = 10000;

	/* A small one first: whoever asks again may ask for any number. */
	KUNIT_ASSERT_EQ(test, reserve(p, 1), 0);
	KUNIT_ASSERT_EQ(test, reserve(p, nr), 0);
	KUNIT_EXPECT_EQ(test, reserve_level(p), nr);
	magtest_settled(test, p, "reserved", "");
	p->refuse = true;
	KUNIT_EXPECT_GE(test, magtest_take_all(p), nr);
	magtest_close(test, p, "pool with a large reserve");
}

/* Where a reserve finds objects in depots, nothing new is asked for. */
static void test_reserve_from_depot(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int nr = magtest_refill(p);

	magtest_forget_calls(p);
	KUNIT_ASSERT_EQ(test, reserve(p, nr), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), 0);
	KUNIT_EXPECT_EQ(test, reserve_level(p), nr);
	KUNIT_EXPECT_EQ(test, magtest_level(p), 0);
	/* And what it no longer needs is stock again. */
	KUNIT_ASSERT_EQ(test, reserve(p, 0), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p) + magtest_count(p, MAGTEST_OVERFLOW), nr);
	magtest_close(test, p, "pool with a reserve");
}

/* One after the other, and in interrupts: what was reserved is had wherever it is wanted. */

static void take_one(void *data)
{
	struct magtest_pool *p = data;

	if (!magtest_take(p))
		magtest_fault(p, "the reserve had nothing", 0, MAGTEST_POOL);
}

static void test_reserve_serves_any_cpu(struct kunit *test)
{
	unsigned int n, nr = 2 * num_online_cpus();
	struct magtest_pool *p = magtest_open_large(test, magtest_set(test), 2000 + nr);
	int cpu;

	KUNIT_ASSERT_EQ(test, reserve(p, nr), 0);
	p->refuse = true;
	magtest_flush(p, 0);
	for (n = pcpu_magazine_cached(&p->mag); n > nr; n--)
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	for (n = 0; n < 2; n++)
		for_each_online_cpu(cpu)
			KUNIT_ASSERT_EQ(test, smp_call_function_single(cpu, take_one, p, true), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_cached(&p->mag), 0);
	magtest_close(test, p, "pool with a reserve");
}

/* A refill on top of one that fills the reserve */

static int nested_added;
static unsigned int nested_steps;

static void nested_refill(struct magtest_pool *p)
{
	nested_added = pcpu_magazine_refill(p->shard, 2, GFP_NOWAIT);
}

/* New objects are in hand: the nested one fills the reserve before they come there. */
static void test_refill_bound_holds_with_nested_refill(struct kunit *test)
{
	const unsigned int batch = magtest_set(test)->marks.batch;
	unsigned int max, before, added;
	struct magtest_pool *p;

	magtest_seams_on(test, magtest_probe_hook);
	for (max = 1; max <= 3; max++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		KUNIT_ASSERT_EQ(test, reserve(p, batch), 0);
		p->refuse = true;
		magtest_take_all(p);
		p->refuse = false;
		pcpu_magazine_set_target(p->shard, 8);
		before = magtest_count(p, MAGTEST_BACKEND);
		nested_added = 0;
		magtest_arm(p, PCPU_MAGAZINE_SEAM_REFILL, nested_refill);
		added = pcpu_magazine_refill(p->shard, max, GFP_KERNEL);
		KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
		KUNIT_EXPECT_LE(test, before - magtest_count(p, MAGTEST_BACKEND),
				(max + 2) * batch);
		KUNIT_EXPECT_LE(test, added, max * batch);
		KUNIT_EXPECT_LE(test, nested_added, 2 * batch);
		magtest_settled(test, p, "refilled", "");
		magtest_close(test, p, "pool with a reserve");
	}
}

/* It is not memory that was missing. */
static void test_reserve_with_nested_refill(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int nr = min(p->mag.marks.batch, 3U);

	magtest_seams_on(test, magtest_probe_hook);
	magtest_arm(p, PCPU_MAGAZINE_SEAM_REFILL, nested_refill);
	KUNIT_EXPECT_EQ(test, reserve(p, nr), 0);
	KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
	KUNIT_EXPECT_EQ(test, p->mag.nr_reserved, nr);
	KUNIT_EXPECT_EQ(test, reserve_level(p), nr);
	magtest_settled(test, p, "reserved", "");
	magtest_close(test, p, "pool with a reserve");
}

/* Counts what the nested refill does with slots, and stops it when it does not end. */
static void counting_hook(enum pcpu_magazine_seam seam)
{
	struct magtest_pool *p = magtest_probe.pool;
	struct llist_node *chain;
	unsigned int nr;

	magtest_probe_hook(seam);
	if (seam != PCPU_MAGAZINE_SEAM_SLOT || magtest_probe.armed || ++nested_steps != 1000)
		return;
	magtest_fault(p, "a refill that does not end", 0, MAGTEST_POOL);
	p->refuse = true;
	while ((chain = pcpu_magazine_take_chain(p->shard, &nr)))
		magtest_move_chain(p, chain, MAGTEST_POOL, MAGTEST_OUT);
}

/*
 * The outer refill has the last free slot of the reserve in hand: the nested one
 * finds the reserve short and no room in it.
 */
static void test_reserve_without_free_slot(struct kunit *test)
{
	struct magtest_pool *p;
	unsigned int skip, nr = 4;

	magtest_seams_on(test, counting_hook);
	for (skip = 0; skip < 12; skip++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		KUNIT_ASSERT_EQ(test, reserve(p, nr), 0);
		p->refuse = true;
		magtest_take_all(p);
		p->refuse = false;
		nested_steps = 0;
		magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_refill);
		magtest_probe.skip = skip;
		magtest_refill(p);
		magtest_probe.armed = false;
		magtest_settled(test, p, "refilled", "");
		KUNIT_EXPECT_LT(test, nested_steps, 1000);
		/* The outer one, or the next, brings what is missing. */
		magtest_refill(p);
		KUNIT_EXPECT_EQ(test, reserve_level(p), nr);
		magtest_close(test, p, "pool with a reserve");
	}
}

static struct kunit_case pcpu_magazine_reserve_cases[] = {
	KUNIT_CASE_PARAM(test_reserve_is_there_when_nothing_else_is, set_gen_params),
	KUNIT_CASE(test_reserve_comes_after_reclaim),
	KUNIT_CASE_PARAM(test_reserve_raised_and_lowered, set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_refused, set_gen_params),
	KUNIT_CASE(test_reserve_of_many_objects),
	KUNIT_CASE_PARAM(test_reserve_from_depot, set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_serves_any_cpu, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_bound_holds_with_nested_refill, set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_with_nested_refill, set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_without_free_slot, set_gen_params),
	{}
};

static struct kunit_suite pcpu_magazine_reserve_suite = {
	.name = "pcpu_magazine_reserve",
	.init = magtest_init,
	.test_cases = pcpu_magazine_reserve_cases,
};

kunit_test_suite(pcpu_magazine_reserve_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: the reserve");
MODULE_LICENSE("GPL");
