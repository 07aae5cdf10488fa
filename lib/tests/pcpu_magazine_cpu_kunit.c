// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: taking, giving and watermarks, on one CPU.
 */
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/log2.h>
#include <linux/module.h>
#include "pcpu_magazine_kunit.h"

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

/* Setting up */

static const struct pcpu_magazine_marks bad_marks[] = {
	{ 0, 96, 48, 4 },
	{ 96, 96, 48, 4 },
	{ 97, 96, 48, 4 },
	{ 32, 96, 0, 0 },
	{ 32, 96, 96, 4 },
	{ 32, 96, 65, 4 },
	{ 32, U16_MAX + 100, U16_MAX + 1, 4 },
	{ 32, 96, 48, 49 },
	{ UINT_MAX, 3, 48, 4 },
};

static void test_init_refuses_bad_marks(struct kunit *test)
{
	struct magtest_pool *p = magtest_pool_alloc(test, 1);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad_marks); i++) {
		KUNIT_EXPECT_EQ_MSG(test, pcpu_magazine_init(&p->mag, p->cpus,
							     &magtest_plain_ops, &bad_marks[i],
							     p->shards), -EINVAL, "row %u", i);
		KUNIT_ASSERT_NULL(test, p->mag.shards);
	}
}

static void take_nothing(struct magtest_pool *p)
{
	magtest_take_out(p);
}

static void test_get_without_init(struct kunit *test)
{
	struct magtest_pool *p = magtest_pool_alloc(test, 1);

	magtest_seams_on(test, magtest_probe_hook);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	magtest_arm(p, PCPU_MAGAZINE_SEAM_GET, take_nothing);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, magtest_probe.hits, 1);
	KUNIT_EXPECT_EQ(test, p->nr_missed, 2);
	KUNIT_EXPECT_EQ(test, magtest_cpu(p)->busy, 0);
}

static void test_get_after_exit(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);

	magtest_refill(p);
	magtest_take_all(p);
	pcpu_magazine_drain(&p->mag, magtest_release_drained);
	pcpu_magazine_exit(&p->mag);
	p->mag.shards = NULL;	/* so that the end of the test does not do it again */
	magtest_forget_calls(p);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, magtest_cpu(p)->busy, 0);
}

#define EARLY	5

/* One of them as a nested context. */
static void give_early(struct kunit *test, struct magtest_pool *p)
{
	struct pcpu_magazine_cpu *c = magtest_cpu(p);
	struct llist_node *node;
	unsigned int i;

	for (i = 0; i < EARLY; i++) {
		node = magtest_new_chain(test, p, 1);
		WRITE_ONCE(c->busy, i == EARLY - 1);
		pcpu_magazine_put(p->cpus, node);
		WRITE_ONCE(c->busy, 0);
	}
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
}

static void test_given_before_publication_is_had_after_it(struct kunit *test)
{
	const struct magtest_set *set = magtest_set(test);
	struct magtest_pool *p = magtest_pool_alloc(test, 4 * set->marks.high + 100);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, &magtest_plain_ops,
						 &set->marks, p->shards), 0);
	give_early(test, p);
	pcpu_magazine_publish(&p->mag);
	p->refuse = true;
	for (i = 0; i < EARLY; i++)
		KUNIT_EXPECT_TRUE_MSG(test, magtest_take_out(p), "object %u", i);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	/* From now on it is a pool like any other. */
	magtest_give_all(p);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	magtest_close(test, p, "early objects");
}

static void test_given_and_never_published(struct kunit *test)
{
	struct magtest_pool *p = magtest_pool_alloc(test, 100);

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, &magtest_plain_ops,
						 &magtest_sets[0].marks, p->shards), 0);
	give_early(test, p);
	magtest_close(test, p, "early objects");
}

/* Taking and giving */

static void test_get_from_empty_pool(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int n, cpu = raw_smp_processor_id();

	for (n = 1; n <= 3; n++) {
		KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
		KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), n);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_take_missed(&p->mag, cpu), 3);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_take_missed(&p->mag, cpu), 0);
	magtest_close(test, p, "empty pool");
}

static void test_each_object_is_unique(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int round, nr = magtest_refill(p), n;

	KUNIT_ASSERT_EQ(test, nr, magtest_goal(p));
	p->refuse = true;
	for (round = 0; round < 3; round++) {
		for (n = 0; n < nr; n++) {
			KUNIT_ASSERT_EQ(test, pcpu_magazine_cached(&p->mag), nr - n);
			KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
		}
		KUNIT_ASSERT_FALSE(test, magtest_take_out(p));
		magtest_settled(test, p, "all out", "");
		for (n = 0; n < nr; n++)
			magtest_give_out(p);
		magtest_settled(test, p, "all back", "");
	}
	magtest_close(test, p, "used pool");
}

static void test_last_given_is_first_taken(struct kunit *test)
{
	const struct magtest_set *set = magtest_set(test);
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, set);
	struct magtest_object *o;
	unsigned int n;

	magtest_stock_up(p, 4 * set->marks.high);
	for (n = 0; n < 3 * set->marks.high; n++) {
		o = p->out[p->nr_out - 1];
		magtest_give_out(p);
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
		KUNIT_ASSERT_PTR_EQ(test, o, p->out[p->nr_out - 1]);
		magtest_give_out(p);
	}
	magtest_close(test, p, "used pool");
}

/* The layer owns the first word of an object that is free, and no other. */
static void test_content_stays_while_object_is_free(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int n, nr = 3 * p->mag.marks.high;

	magtest_stock_up(p, nr);
	for (n = 0; n < p->nr_out; n++)
		p->out[n]->payload[1] = ~0UL - n;
	nr = p->nr_out;
	for (n = 0; n < nr; n++) {
		KUNIT_ASSERT_TRUE(test, magtest_move(p, p->out[n], MAGTEST_OUT, MAGTEST_POOL));
		pcpu_magazine_put(p->cpus, &p->out[n]->node);
	}
	for (n = 0; n < nr; n++)
		KUNIT_ASSERT_EQ(test, p->out[n]->payload[1], ~0UL - n);
	p->nr_out = 0;
	magtest_close(test, p, "used pool");
}

/* Watermarks */

static void test_below_low_tops_up_and_asks_once(struct kunit *test)
{
	const struct magtest_set *set = magtest_set(test);
	const struct pcpu_magazine_marks *marks = &set->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, set);
	unsigned int goal = magtest_goal(p);

	magtest_stock_up(p, 0);
	while (magtest_cpu_stock(p) > marks->low) {
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
		KUNIT_ASSERT_EQ(test, atomic_read(&p->kicks), 0);
		KUNIT_ASSERT_EQ(test, magtest_level(p), goal);
	}
	KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	/* Asked for is more when less than half of the target is left. */
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), set->target - 1 < (set->target + 1) / 2);
	KUNIT_EXPECT_EQ(test, magtest_level(p), goal - marks->batch);
	KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), marks->low - 1 + marks->batch);
	KUNIT_EXPECT_EQ(test, magtest_refill(p), marks->batch);
	KUNIT_EXPECT_EQ(test, magtest_refill(p), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p), goal);
	magtest_close(test, p, "used pool");
}

static void test_short_cpu_asks_seldom(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &magtest_set(test)->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));

	magtest_stock_up(p, 0);
	p->refuse = true;
	while (magtest_level(p) || magtest_cpu_stock(p) > marks->low)
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	magtest_forget_calls(p);
	KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), marks->low - 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 1);
	while (magtest_cpu_stock(p))
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	/* Again each time that half of it is gone, and at the exchange of chains. */
	KUNIT_EXPECT_LE(test, atomic_read(&p->kicks), ilog2(marks->low) + 3);
	KUNIT_EXPECT_FALSE(test, magtest_take_out(p));
	magtest_close(test, p, "used pool");
}

static void test_no_call_between_marks(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &magtest_set(test)->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int round;

	magtest_stock_up(p, marks->high);
	for (round = 0; round < 3; round++) {
		while (magtest_cpu_stock(p) < marks->high)
			magtest_give_out(p);
		while (magtest_cpu_stock(p) > marks->low)
			KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p), magtest_goal(p));
	magtest_close(test, p, "used pool");
}

static void test_alternation_on_low_mark(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int n, goal = magtest_goal(p);

	magtest_stock_up(p, 1);
	while (magtest_level(p) == goal)
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	magtest_forget_calls(p);
	for (n = 0; n < 100; n++) {
		magtest_give_out(p);
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p), goal - p->mag.marks.batch);
	magtest_close(test, p, "used pool");
}

static void test_alternation_on_high_mark(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &magtest_set(test)->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int before, n;

	magtest_stock_up(p, 2 * marks->high);
	do {
		before = magtest_cpu_stock(p);
		magtest_give_out(p);
	} while (magtest_cpu_stock(p) > before);
	KUNIT_ASSERT_EQ(test, magtest_level(p), magtest_goal(p) + marks->batch);
	magtest_forget_calls(p);
	before = magtest_level(p);
	for (n = 0; n < 100; n++) {
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
		magtest_give_out(p);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	KUNIT_EXPECT_EQ(test, magtest_level(p), before);
	magtest_close(test, p, "used pool");
}

static void test_put_above_high_gives_batches(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &magtest_set(test)->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int before, total, slots = p->shard->depot.nr_slots;

	magtest_stock_up(p, (slots + 3) * marks->batch + 2 * marks->high);
	while (p->nr_out) {
		before = magtest_cpu_stock(p);
		total = pcpu_magazine_cached(&p->mag) + magtest_count(p, MAGTEST_OVERFLOW);
		magtest_give_out(p);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_cached(&p->mag) +
				      magtest_count(p, MAGTEST_OVERFLOW), total + 1);
		KUNIT_ASSERT_LE(test, magtest_cpu_stock(p), marks->high);
		if (magtest_cpu_stock(p) <= before) {
			KUNIT_ASSERT_EQ(test, before, marks->high);
			KUNIT_ASSERT_EQ(test, magtest_cpu_stock(p), before + 1 - marks->batch);
		}
		if (atomic_read(&p->overflows))
			KUNIT_ASSERT_EQ(test, magtest_level(p), slots * marks->batch);
	}
	KUNIT_EXPECT_GE(test, atomic_read(&p->overflows), 3);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->short_overflows), 0);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_OVERFLOW),
			atomic_read(&p->overflows) * marks->batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->surpluses), 1);
	KUNIT_EXPECT_EQ(test, magtest_chains(test, p), slots);
	magtest_close(test, p, "full pool");
}

/* Watermarks that change */

static void test_high_is_raised_to_what_is_sane(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int batch = p->mag.marks.batch;

	pcpu_magazine_set_low_high(&p->mag, 7, 7 + batch + 5);
	KUNIT_EXPECT_EQ(test, p->mag.marks.low, 7);
	KUNIT_EXPECT_EQ(test, p->mag.marks.high, 7 + batch + 5);
	pcpu_magazine_set_low_high(&p->mag, 9, 1);
	KUNIT_EXPECT_EQ(test, p->mag.marks.low, 9);
	KUNIT_EXPECT_EQ(test, p->mag.marks.high, 9 + batch);
	KUNIT_EXPECT_EQ(test, p->mag.marks.batch, batch);
	magtest_close(test, p, "pool");
}

static void test_marks_change_in_use(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, magtest_set(test), 10000);
	unsigned int i, n, batch = p->mag.marks.batch;
	const struct magtest_set *to;

	for (i = 0; i < 3 * MAGTEST_NR_SETS; i++) {
		magtest_stock_up(p, 2);
		to = &magtest_sets[7 * i % MAGTEST_NR_SETS];
		pcpu_magazine_set_low_high(&p->mag, to->marks.low, to->marks.high);
		magtest_settled(test, p, "changed", to->name);
		/* Sometimes a CPU is told, sometimes it finds out. */
		if (i % 2)
			magtest_flush(p, i % 3);
		for (n = 0; n < 2 * p->mag.marks.high + batch && magtest_take_out(p); n++)
			;
		magtest_give_all(p);
		if (i % 2)
			KUNIT_ASSERT_LE(test, magtest_cpu_stock(p), p->mag.marks.high);
		magtest_settled(test, p, "used", to->name);
		magtest_restock_overflow(p);
	}
	magtest_close(test, p, "pool");
}

/* Events */

static void test_events_are_counted(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int n, nr = magtest_goal(p), batches = magtest_sets[0].target;

	magtest_refill(p);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_REFILLS), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_NEW), nr);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), nr);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_FETCHED), batches);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 1);
	for (n = 0; n < nr; n++)
		magtest_give_out(p);
	/* Two batches stay with the CPU. */
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_RETURNED), batches - 2);
	local_bh_disable();
	magtest_take_all(p);
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 2);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_SOFTIRQ), 0);
	magtest_close(test, p, "pool");
}

/* Contexts other than this one's: a tasklet and a hard interrupt that miss. */

static struct magtest_pool *missing_pool;

static void miss(void)
{
	if (magtest_take(missing_pool))
		magtest_fault(missing_pool, "got something", 0, MAGTEST_POOL);
}

static void miss_in_softirq(struct tasklet_struct *t)
{
	miss();
}

static void miss_in_hardirq(struct irq_work *work)
{
	miss();
}

static void test_misses_are_told_by_context(struct kunit *test)
{
	struct irq_work work = IRQ_WORK_INIT_HARD(miss_in_hardirq);
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	struct tasklet_struct tasklet;

	missing_pool = p;
	tasklet_setup(&tasklet, miss_in_softirq);
	tasklet_schedule(&tasklet);
	tasklet_kill(&tasklet);
	irq_work_queue(&work);
	irq_work_sync(&work);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_SOFTIRQ), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_HARDIRQ), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_NMI), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_take_missed(&p->mag, raw_smp_processor_id()), 2);
	magtest_close(test, p, "empty pool");
}

static struct kunit_case pcpu_magazine_cases[] = {
	KUNIT_CASE(test_init_refuses_bad_marks),
	KUNIT_CASE(test_get_without_init),
	KUNIT_CASE(test_get_after_exit),
	KUNIT_CASE_PARAM(test_given_before_publication_is_had_after_it, set_gen_params),
	KUNIT_CASE(test_given_and_never_published),
	KUNIT_CASE_PARAM(test_get_from_empty_pool, set_gen_params),
	KUNIT_CASE_PARAM(test_each_object_is_unique, set_gen_params),
	KUNIT_CASE_PARAM(test_last_given_is_first_taken, set_gen_params),
	KUNIT_CASE(test_content_stays_while_object_is_free),
	KUNIT_CASE_PARAM(test_below_low_tops_up_and_asks_once, set_gen_params),
	KUNIT_CASE_PARAM(test_short_cpu_asks_seldom, set_gen_params),
	KUNIT_CASE_PARAM(test_no_call_between_marks, set_gen_params),
	KUNIT_CASE_PARAM(test_alternation_on_low_mark, set_gen_params),
	KUNIT_CASE_PARAM(test_alternation_on_high_mark, set_gen_params),
	KUNIT_CASE_PARAM(test_put_above_high_gives_batches, set_gen_params),
	KUNIT_CASE_PARAM(test_high_is_raised_to_what_is_sane, set_gen_params),
	KUNIT_CASE_PARAM(test_marks_change_in_use, set_gen_params),
	KUNIT_CASE(test_events_are_counted),
	KUNIT_CASE(test_misses_are_told_by_context),
	{}
};

static struct kunit_suite pcpu_magazine_suite = {
	.name = "pcpu_magazine",
	.init = magtest_init,
	.test_cases = pcpu_magazine_cases,
};

kunit_test_suite(pcpu_magazine_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: one CPU");
MODULE_LICENSE("GPL");
