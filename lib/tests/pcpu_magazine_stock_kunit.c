// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: first stock, refill, flush and drain.
 */
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/topology.h>
#include "pcpu_magazine_kunit.h"
#include "../pcpu_magazine_internal.h"

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

/* First stock */

/* A pool with a first stock for all CPUs, not yet published. */
static struct magtest_pool *prefilled(struct kunit *test, unsigned int each)
{
	const struct magtest_set *set = magtest_set(test);
	struct magtest_pool *p = magtest_pool_alloc(test, num_possible_cpus() * each +
							  40 * set->marks.batch);
	int cpu;

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, &magtest_plain_ops,
						 &set->marks, p->shards), 0);
	for_each_possible_cpu(cpu) {
		if (!each)
			break;
		KUNIT_ASSERT_EQ(test, pcpu_magazine_prefill(&p->mag, cpu, each, GFP_KERNEL), each);
		KUNIT_EXPECT_EQ_MSG(test, p->node, cpu_to_node(cpu), "CPU %d", cpu);
	}
	return p;
}

struct burst {
	struct magtest_pool *p;
	unsigned int wanted;
	atomic_t got;
};

/* On each CPU, in hard interrupt on all but one. */
static void take_some(void *data)
{
	struct burst *burst = data;
	unsigned int n;

	for (n = 0; n < burst->wanted && magtest_take(burst->p); n++)
		atomic_inc(&burst->got);
}

/* All CPUs at once, no refill, nothing in the depot: each has what was promised. */
static void test_prefill_serves_each_cpu(struct kunit *test)
{
	struct burst burst = { .wanted = magtest_set(test)->marks.first };
	struct magtest_pool *p = prefilled(test, burst.wanted);

	pcpu_magazine_publish(&p->mag);
	magtest_settled(test, p, "published", "");
	KUNIT_EXPECT_EQ(test, pcpu_magazine_cached(&p->mag),
			num_possible_cpus() * burst.wanted);
	p->refuse = true;
	burst.p = p;
	on_each_cpu(take_some, &burst, 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&burst.got), num_online_cpus() * burst.wanted);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_HARDIRQ), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_cached(&p->mag),
			(num_possible_cpus() - num_online_cpus()) * burst.wanted);
	magtest_close(test, p, "prefilled pool");
}

static void test_prefill_of_depot(struct kunit *test)
{
	struct magtest_pool *p = prefilled(test, 0);
	unsigned int batch = p->mag.marks.batch;

	KUNIT_EXPECT_EQ(test, pcpu_magazine_prefill(&p->mag, nr_cpu_ids, batch, GFP_KERNEL),
			batch);
	KUNIT_EXPECT_EQ(test, p->node, p->shard->node);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_cached(&p->mag), batch);
	KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), 0);
	pcpu_magazine_publish(&p->mag);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), batch);
	magtest_close(test, p, "prefilled pool");
}

static void test_prefill_gets_less(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &magtest_set(test)->marks;
	unsigned int at_most, cpu = raw_smp_processor_id();
	struct magtest_pool *p;

	for (at_most = 0; at_most < min(marks->batch, 5U); at_most++) {
		p = prefilled(test, 0);
		p->at_most = at_most;
		KUNIT_EXPECT_EQ(test, pcpu_magazine_prefill(&p->mag, cpu, marks->batch,
							    GFP_KERNEL), at_most);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_prefill(&p->mag, nr_cpu_ids, marks->batch,
							    GFP_KERNEL), at_most);
		pcpu_magazine_publish(&p->mag);
		magtest_settled(test, p, "published", "");
		KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), at_most);
		p->refuse = true;
		KUNIT_EXPECT_EQ(test, magtest_take_all(p), 2 * at_most);
		magtest_close(test, p, "prefilled pool");
	}
}

/* Refill */

static void test_refill_reaches_target(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int target, before, batch = p->mag.marks.batch;

	for (target = 1; target <= p->shard->depot.nr_slots; target++) {
		pcpu_magazine_set_target(p->shard, target);
		before = magtest_level(p);
		KUNIT_EXPECT_EQ(test, magtest_refill(p), target * batch - before);
		KUNIT_EXPECT_EQ(test, magtest_level(p), target * batch);
		KUNIT_EXPECT_EQ(test, magtest_refill(p), 0);
		KUNIT_EXPECT_EQ(test, magtest_chains(test, p), target);
		KUNIT_EXPECT_EQ(test, p->node, p->shard->node);
	}
	/* A lower target takes nothing away. */
	pcpu_magazine_set_target(p->shard, 1);
	KUNIT_EXPECT_EQ(test, magtest_refill(p), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p), (target - 1) * batch);
	magtest_close(test, p, "refilled pool");
}

static void test_refill_in_steps_of_max(struct kunit *test)
{
	struct magtest_pool *p;
	unsigned int max, got, batch, goal = 7;

	for (max = 1; max <= goal + 1; max++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		batch = p->mag.marks.batch;
		pcpu_magazine_set_target(p->shard, goal);
		for (got = 0; got < goal; got += max)
			KUNIT_ASSERT_EQ(test, pcpu_magazine_refill(p->shard, max, GFP_KERNEL),
					min(max, goal - got) * batch);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_refill(p->shard, max, GFP_KERNEL), 0);
		KUNIT_EXPECT_EQ(test, magtest_level(p), goal * batch);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_refill(p->shard, 0, GFP_KERNEL), 0);
		magtest_close(test, p, "refilled pool");
	}
}

/* As another CPU that takes all the time. */
static void empty_depot(struct magtest_pool *p)
{
	struct llist_node *chain;
	unsigned int nr;

	while ((chain = pcpu_magazine_take_chain(p->shard, &nr)))
		if (magtest_move_chain(p, chain, MAGTEST_POOL, MAGTEST_OUT) != nr)
			magtest_fault(p, "chain of another length", 0, MAGTEST_OUT);
}

static void test_refill_ends_while_others_take(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int max, new = 0, batch = p->mag.marks.batch;

	p->on_alloc = empty_depot;
	pcpu_magazine_set_target(p->shard, p->shard->depot.nr_slots);
	for (max = 1; max <= 5; max++) {
		KUNIT_ASSERT_EQ(test, pcpu_magazine_refill(p->shard, max, GFP_KERNEL), max * batch);
		new += max * batch;
		KUNIT_ASSERT_EQ(test, p->nr_objs - magtest_count(p, MAGTEST_BACKEND), new);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_NEW), new);
	}
	p->on_alloc = NULL;
	magtest_close(test, p, "pool that is used");
}

static void test_refill_meets_refusal(struct kunit *test)
{
	struct magtest_pool *p;
	unsigned int nr;
	int at;

	for (at = 1; at <= 8; at++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		p->refuse_from = at;
		nr = magtest_refill(p);
		KUNIT_EXPECT_EQ(test, nr, magtest_count(p, MAGTEST_POOL));
		if (at <= atomic_read(&p->calls)) {
			/* It stops there, or when nothing at all comes, and keeps the rest. */
			KUNIT_EXPECT_LE(test, atomic_read(&p->calls), at + 1);
			KUNIT_EXPECT_LT(test, nr, magtest_goal(p));
			magtest_settled(test, p, "refused", "");
		} else {
			KUNIT_EXPECT_EQ(test, nr, magtest_goal(p));
		}
		KUNIT_EXPECT_EQ(test, magtest_take_all(p), nr);
		/* It does not stay that way, and refused memory is no demand. */
		p->refuse_from = 0;
		KUNIT_EXPECT_EQ(test, magtest_refill(p), magtest_goal(p));
		KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
		magtest_close(test, p, "refilled pool");
	}
}

/* It goes on with short chains until they fill the depot. */
static void test_refill_gets_short_counts(struct kunit *test)
{
	const unsigned int batch = magtest_set(test)->marks.batch;
	unsigned int at_most, chains, slots;
	struct magtest_pool *p;

	for (at_most = 1; at_most < min(batch, 64U); at_most++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		p->at_most = at_most;
		slots = p->shard->depot.nr_slots;
		chains = DIV_ROUND_UP(magtest_goal(p), at_most);
		KUNIT_ASSERT_EQ(test, magtest_refill(p), min(chains, slots) * at_most);
		KUNIT_ASSERT_EQ(test, magtest_chains(test, p), min(chains, slots));
		KUNIT_ASSERT_EQ(test, atomic_read(&p->overflows), 0);
		magtest_settled(test, p, "short", "");
		p->refuse = true;
		KUNIT_ASSERT_EQ(test, magtest_take_all(p), min(chains, slots) * at_most);
		magtest_close(test, p, "refilled pool");
	}
}

/* Nothing is asked for that would have to be given back at once. */
static void test_refill_of_full_depot_brings_nothing(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int slots = p->shard->depot.nr_slots, n;

	for (n = 0; n < slots; n++)
		KUNIT_ASSERT_TRUE(test, pcpu_magazine_depot_put(&p->shard->depot,
								magtest_new_chain(test, p, 1), 1));
	pcpu_magazine_set_target(p->shard, slots + 4);
	magtest_forget_calls(p);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_refill(p->shard, 3, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	/* With room it goes on. */
	pcpu_magazine_grow(p->shard, 2 * slots, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_refill(p->shard, 3, GFP_KERNEL),
			3 * p->mag.marks.batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	magtest_close(test, p, "pool of short chains");
}

static void test_grow_makes_room(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, magtest_set(test), 10000);
	unsigned int before = p->shard->depot.nr_slots, goal = 3 * before;

	pcpu_magazine_grow(p->shard, before, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, p->shard->depot.nr_slots, before);
	pcpu_magazine_grow(p->shard, goal, GFP_KERNEL);
	KUNIT_EXPECT_GE(test, p->shard->depot.nr_slots, goal);
	pcpu_magazine_set_target(p->shard, goal);
	KUNIT_EXPECT_EQ(test, magtest_refill(p), goal * p->mag.marks.batch);
	KUNIT_EXPECT_EQ(test, magtest_chains(test, p), goal);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), goal * p->mag.marks.batch);
	magtest_close(test, p, "large pool");
}

/* Flush */

static void test_flush_keeps_so_many(struct kunit *test)
{
	const unsigned int batch = magtest_set(test)->marks.batch;
	const unsigned int high = magtest_set(test)->marks.high;
	const unsigned int keeps[] = { 0, 1, magtest_set(test)->marks.first, batch, high };
	struct magtest_pool *p;
	unsigned int i, all;

	for (i = 0; i < ARRAY_SIZE(keeps); i++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		pcpu_magazine_grow(p->shard, 32, GFP_KERNEL);
		magtest_stock_up(p, high);
		while (magtest_cpu_stock(p) < high)
			magtest_give_out(p);
		all = magtest_count(p, MAGTEST_POOL);
		magtest_flush(p, keeps[i]);
		KUNIT_EXPECT_EQ(test, magtest_cpu(p)->nr, keeps[i]);
		KUNIT_EXPECT_NULL(test, magtest_cpu(p)->spare);
		KUNIT_EXPECT_FALSE(test, pcpu_magazine_cpu_has_more(&p->mag, raw_smp_processor_id(),
								    keeps[i]));
		magtest_settled(test, p, "flushed", "");
		KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_POOL), all);
		KUNIT_EXPECT_EQ(test, magtest_level(p), all - keeps[i]);
		/* It can be used as ever. */
		p->refuse = true;
		KUNIT_EXPECT_EQ(test, magtest_take_all(p), all);
		magtest_close(test, p, "flushed pool");
	}
}

/* A CPU that has less than it is to keep gets it from the depot. */
static void test_flush_tops_up_from_depot(struct kunit *test)
{
	const unsigned int batch = magtest_set(test)->marks.batch;
	const unsigned int keeps[] = { 1, magtest_set(test)->marks.first, batch, batch + 1 };
	unsigned int i, at_most, all, calls;
	struct magtest_pool *p;

	for (i = 0; i < ARRAY_SIZE(keeps); i++) {
		/* Out of one chain, or of several short ones, or not enough of them. */
		for (at_most = 1; at_most <= batch; at_most += max(batch / 3, 1U)) {
			p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
			p->at_most = at_most;
			for (calls = 0; calls < 4; calls++)
				magtest_refill(p);
			all = magtest_level(p);
			KUNIT_ASSERT_GT(test, all, 0);
			magtest_flush(p, keeps[i]);
			KUNIT_EXPECT_EQ(test, magtest_cpu(p)->nr, min(keeps[i], all));
			KUNIT_EXPECT_EQ(test, magtest_level(p), all - min(keeps[i], all));
			magtest_settled(test, p, "topped up", "");
			magtest_close(test, p, "topped up pool");
		}
	}
}

static void test_flush_while_busy_does_nothing(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int stock;

	magtest_stock_up(p, 0);
	stock = magtest_cpu_stock(p);
	KUNIT_ASSERT_GT(test, stock, 0);
	preempt_disable();
	WRITE_ONCE(magtest_cpu(p)->busy, 1);
	pcpu_magazine_flush(&p->mag, 0);
	WRITE_ONCE(magtest_cpu(p)->busy, 0);
	preempt_enable();
	KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), stock);
	magtest_close(test, p, "pool");
}

/* Nested objects and a spare chain, too; and a put is fast again at once. */
static void test_flush_gathers_all_places(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int all, kept = 4, cpu = raw_smp_processor_id();

	magtest_seams_on(test, magtest_probe_hook);
	magtest_fill_all_places(test, p);
	all = magtest_count(p, MAGTEST_POOL);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_cpu_has_more(&p->mag, cpu, magtest_cpu(p)->nr));
	magtest_flush(p, kept);
	KUNIT_EXPECT_TRUE(test, llist_empty(&magtest_cpu(p)->nested));
	KUNIT_EXPECT_EQ(test, magtest_level(p), all - kept);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_cpu_has_more(&p->mag, cpu, kept));
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_cpu_has_more(&p->mag, cpu, kept - 1));
	KUNIT_EXPECT_GT(test, magtest_cpu(p)->full, kept);
	magtest_settled(test, p, "flushed", "");
	magtest_close(test, p, "flushed pool");
}

static void stock_up_here(void *data)
{
	struct magtest_pool *p = data;
	struct magtest_object *held[32];
	unsigned int n = 0;

	while (n < ARRAY_SIZE(held) && (held[n] = magtest_take(p)))
		n++;
	while (n--)
		magtest_give(p, held[n]);
}

static void test_flush_of_dead_cpu(struct kunit *test)
{
	unsigned int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id()), all;
	struct pcpu_magazine_cpu *c;
	struct magtest_pool *p;

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs more than one CPU");
	p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	magtest_refill(p);
	KUNIT_ASSERT_EQ(test, smp_call_function_single(cpu, stock_up_here, p, true), 0);
	c = per_cpu_ptr(p->cpus, cpu);
	KUNIT_ASSERT_GT(test, c->nr + c->nr_spare, 0);
	all = magtest_count(p, MAGTEST_POOL);
	/* Nobody uses the pool there, so for the layer it is as good as dead. */
	pcpu_magazine_flush_dead(&p->mag, cpu);
	KUNIT_EXPECT_EQ(test, c->nr + c->nr_spare, 0);
	magtest_settled(test, p, "flushed", "");
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), all);
	magtest_close(test, p, "flushed pool");
}

/* Looking */

static void test_hold_as_long_as_get_finds_some(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));

	KUNIT_EXPECT_FALSE(test, pcpu_magazine_hold(&p->mag));
	magtest_refill(p);
	p->refuse = true;
	do {
		KUNIT_ASSERT_EQ(test, pcpu_magazine_hold(&p->mag),
				pcpu_magazine_cached(&p->mag) > 0);
	} while (magtest_take_out(p));
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_hold(&p->mag));
	magtest_give_out(p);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_hold(&p->mag));
	magtest_close(test, p, "pool");
}

/* Deferred objects */

struct defer_order {
	struct magtest_pool *p;
	struct magtest_object *objs[2];
	bool first[2];
};

static void defer_here(void *data)
{
	struct defer_order *order = data;

	order->first[0] = magtest_defer(order->p, order->objs[0]);
	order->first[1] = magtest_defer(order->p, order->objs[1]);
}

static void test_deferred_collected_from_all_cpus(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	struct defer_order order = { .p = p };
	unsigned int nr = 0;
	int cpu;

	magtest_stock_up(p, 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_collect_deferred(p), 0);
	for_each_online_cpu(cpu) {
		if (p->nr_out < 2)
			magtest_take_all(p);
		if (p->nr_out < 2)
			break;
		order.objs[0] = p->out[--p->nr_out];
		order.objs[1] = p->out[--p->nr_out];
		order.first[0] = false;
		order.first[1] = true;
		KUNIT_EXPECT_EQ(test, smp_call_function_single(cpu, defer_here, &order, true), 0);
		KUNIT_EXPECT_TRUE(test, order.first[0]);
		KUNIT_EXPECT_FALSE(test, order.first[1]);
		nr += 2;
	}
	magtest_settled(test, p, "deferred", "");
	/* They wait: not even a pool that has nothing else hands them out. */
	magtest_take_all(p);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_DEFERRED), nr);
	KUNIT_EXPECT_EQ(test, magtest_collect_deferred(p), nr);
	KUNIT_EXPECT_EQ(test, magtest_collect_deferred(p), 0);
	magtest_restock_overflow(p);
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), nr);
	magtest_close(test, p, "used pool");
}

/* Drain */

static void test_drain_empties_all_places(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int in_pool, i;

	magtest_seams_on(test, magtest_probe_hook);
	KUNIT_ASSERT_EQ(test, pcpu_magazine_reserve(&p->mag, 5, GFP_KERNEL), 0);
	magtest_fill_all_places(test, p);
	magtest_defer_out(p);
	magtest_defer_out(p);
	for (i = 0; i < p->mag.nr_shards; i++)
		pcpu_magazine_hand_over(p->shards[i], magtest_new_chain(test, p, 2), 2);
	in_pool = magtest_count(p, MAGTEST_POOL) + magtest_count(p, MAGTEST_DEFERRED);
	KUNIT_ASSERT_EQ(test, magtest_count(p, MAGTEST_DEFERRED), 2);

	pcpu_magazine_drain(&p->mag, magtest_release_drained);
	magtest_settled(test, p, "after", "drain");
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_DRAINED), in_pool);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_cached(&p->mag), 0);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_POOL), 0);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_DEFERRED), 0);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_hold(&p->mag));

	/* It can be used again. */
	KUNIT_EXPECT_EQ(test, pcpu_magazine_reserve(&p->mag, 0, GFP_KERNEL), 0);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	KUNIT_EXPECT_GT(test, magtest_refill(p), 0);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	magtest_close(test, p, "used pool");
}

static struct kunit_case pcpu_magazine_stock_cases[] = {
	KUNIT_CASE_PARAM(test_prefill_serves_each_cpu, set_gen_params),
	KUNIT_CASE_PARAM(test_prefill_of_depot, set_gen_params),
	KUNIT_CASE_PARAM(test_prefill_gets_less, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_reaches_target, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_in_steps_of_max, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_ends_while_others_take, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_meets_refusal, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_gets_short_counts, set_gen_params),
	KUNIT_CASE_PARAM(test_refill_of_full_depot_brings_nothing, set_gen_params),
	KUNIT_CASE_PARAM(test_grow_makes_room, set_gen_params),
	KUNIT_CASE_PARAM(test_flush_keeps_so_many, set_gen_params),
	KUNIT_CASE_PARAM(test_flush_tops_up_from_depot, set_gen_params),
	KUNIT_CASE_PARAM(test_flush_while_busy_does_nothing, set_gen_params),
	KUNIT_CASE(test_flush_gathers_all_places),
	KUNIT_CASE_PARAM(test_flush_of_dead_cpu, set_gen_params),
	KUNIT_CASE_PARAM(test_hold_as_long_as_get_finds_some, set_gen_params),
	KUNIT_CASE(test_deferred_collected_from_all_cpus),
	KUNIT_CASE(test_drain_empties_all_places),
	{}
};

static struct kunit_suite pcpu_magazine_stock_suite = {
	.name = "pcpu_magazine_stock",
	.init = magtest_init,
	.test_cases = pcpu_magazine_stock_cases,
};

kunit_test_suite(pcpu_magazine_stock_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: stock");
MODULE_LICENSE("GPL");
