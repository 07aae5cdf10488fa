// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: contexts on top of each other, on one CPU.
 *
 * What NMIs do is in the suites of kernel/bpf/, which have a way to send them.
 * Here a call straight from a seam stands for one.
 */
#include <linux/irq_work.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/timekeeping.h>
#include "pcpu_magazine_kunit.h"

#define MODEL_STEPS	20000
#define IRQ_PATIENCE	(10 * NSEC_PER_SEC)

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

/* Use the pool until the seam was reached. */
static void reach(struct magtest_pool *p, enum pcpu_magazine_seam seam)
{
	unsigned int n;

	for (n = 0; magtest_probe.armed && n < p->nr_objs; n++) {
		switch (seam) {
		case PCPU_MAGAZINE_SEAM_PUT:
		case PCPU_MAGAZINE_SEAM_PUT_SLOW:
			magtest_give_out(p);
			break;
		case PCPU_MAGAZINE_SEAM_GET_READ:
			/* With batches of one, a CPU that only takes stays at its low mark. */
			magtest_give_out(p);
			magtest_give_out(p);
			magtest_take_out(p);
			break;
		case PCPU_MAGAZINE_SEAM_REFILL:
			magtest_refill(p);
			fallthrough;
		default:
			magtest_take_out(p);
		}
	}
	magtest_probe.armed = false;
}

struct seam_case {
	const char *name;
	enum pcpu_magazine_seam seam;
};

static const struct seam_case seam_cases[] = {
	{ "get",		PCPU_MAGAZINE_SEAM_GET },
	{ "get_chain_read",	PCPU_MAGAZINE_SEAM_GET_READ },
	{ "get_slow",		PCPU_MAGAZINE_SEAM_GET_SLOW },
	{ "get_nested",		PCPU_MAGAZINE_SEAM_GET_NESTED },
	{ "get_kicked",		PCPU_MAGAZINE_SEAM_GET_KICKED },
	{ "put",		PCPU_MAGAZINE_SEAM_PUT },
	{ "put_slow",		PCPU_MAGAZINE_SEAM_PUT_SLOW },
	{ "refill",		PCPU_MAGAZINE_SEAM_REFILL },
	{ "slot",		PCPU_MAGAZINE_SEAM_SLOT },
};

KUNIT_ARRAY_PARAM_DESC(seam, seam_cases, name);

/* The refill is reached with busy clear, the other seams are in a critical section. */
static unsigned int busy_at(enum pcpu_magazine_seam seam)
{
	return seam != PCPU_MAGAZINE_SEAM_REFILL;
}

/* The interrupted context has the only chain of the depot in hand, or has had it. */
static bool may_find_nothing(enum pcpu_magazine_seam seam, const struct magtest_set *set)
{
	return set->target == 1 && (seam == PCPU_MAGAZINE_SEAM_GET_NESTED ||
				    seam == PCPU_MAGAZINE_SEAM_GET_KICKED ||
				    seam == PCPU_MAGAZINE_SEAM_SLOT);
}

/* What a nested context does. */

static void act_take(struct magtest_pool *p)
{
	magtest_take_out(p);
}

static void act_give(struct magtest_pool *p)
{
	magtest_give_out(p);
}

static void act_give_take(struct magtest_pool *p)
{
	magtest_give_out(p);
	magtest_take_out(p);
}

static void act_take_give(struct magtest_pool *p)
{
	magtest_take_out(p);
	magtest_give_out(p);
	magtest_give_out(p);
	magtest_take_out(p);
}

static void nested_give_three(struct magtest_pool *p)
{
	act_give(p);
	act_give(p);
	act_give(p);
}

static void act_take_all(struct magtest_pool *p)
{
	magtest_take_all(p);
}

static void act_give_many(struct magtest_pool *p)
{
	unsigned int n;

	for (n = 2 * p->mag.marks.high; n; n--)
		magtest_give_out(p);
}

static void act_defer(struct magtest_pool *p)
{
	magtest_defer_out(p);
}

static void act_refill(struct magtest_pool *p)
{
	magtest_refill(p);
}

static void act_flush(struct magtest_pool *p)
{
	magtest_flush(p, 1);
}

struct action {
	const char *name;
	void (*run)(struct magtest_pool *p);
	bool takes;	/* calls pcpu_magazine_get() first */
	bool leaves;	/* may leave what it gave on the nested list */
};

static const struct action actions[] = {
	{ "take",		act_take, .takes = true },
	{ "give",		act_give, .leaves = true },
	{ "give and take",	act_give_take },
	{ "take and give",	act_take_give, .takes = true },
	{ "take all",		act_take_all, .takes = true },
	{ "give many",		act_give_many, .leaves = true },
	{ "defer",		act_defer },
	{ "refill",		act_refill },
	{ "flush",		act_flush },
};

static void after_nested_call(struct kunit *test, struct magtest_pool *p, const char *what)
{
	magtest_settled(test, p, "after nested", what);
	/* All that is free can still be had. */
	p->refuse = true;
	magtest_take_all(p);
	KUNIT_ASSERT_EQ_MSG(test, magtest_count(p, MAGTEST_POOL), 0, "out of reach after %s",
			    what);
	magtest_close(test, p, what);
}

/* Stock that is short or just at a mark is looked at by the next get. */
static void make_get_fast(struct magtest_pool *p)
{
	unsigned int n;

	for (n = p->mag.marks.high; n && magtest_cpu(p)->nr <= magtest_cpu(p)->mark; n--)
		magtest_give_out(p);
}

/*
 * What nested contexts gave does not stay aside: each put takes a batch of it,
 * until nothing is left.
 */
static void puts_look_after_it(struct kunit *test, struct magtest_pool *p, const char *what)
{
	unsigned int nr = magtest_chain_length(p, magtest_cpu(p)->nested.first, MAGTEST_POOL);
	unsigned int n = DIV_ROUND_UP(nr, p->mag.marks.batch);

	KUNIT_ASSERT_GE_MSG(test, p->nr_out, n, "%s", what);
	while (n--)
		magtest_give_out(p);
	KUNIT_ASSERT_TRUE_MSG(test, llist_empty(&magtest_cpu(p)->nested),
			      "not looked after by the next puts: %s", what);
	KUNIT_ASSERT_LE_MSG(test, magtest_cpu_stock(p), p->mag.marks.high, "%s", what);
}

static void one_nested_call(struct kunit *test, const struct magtest_set *set,
			    enum pcpu_magazine_seam seam, const struct action *action)
{
	const struct pcpu_magazine_marks *marks = &set->marks;
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, set);
	char what[64];

	snprintf(what, sizeof(what), "%s, %s", action->name, set->name);
	magtest_stock_up(p, 5 * marks->high);
	if (seam == PCPU_MAGAZINE_SEAM_REFILL) {
		while (magtest_level(p) == magtest_goal(p) && magtest_take_out(p))
			;
	} else if (seam != PCPU_MAGAZINE_SEAM_SLOT) {
		make_get_fast(p);
	}
	magtest_arm(p, seam, action->run);
	reach(p, seam);
	KUNIT_ASSERT_EQ_MSG(test, magtest_probe.hits, 1, "%s", what);
	KUNIT_ASSERT_EQ_MSG(test, magtest_probe.hits_busy, busy_at(seam), "%s", what);
	if (action->takes && !may_find_nothing(seam, set))
		KUNIT_ASSERT_GE_MSG(test, p->nr_taken, 1, "%s", what);
	magtest_settled(test, p, "after nested", what);
	if (action->leaves)
		puts_look_after_it(test, p, what);
	after_nested_call(test, p, what);
}

static void test_nested_call(struct kunit *test)
{
	const struct seam_case *s = test->param_value;
	unsigned int i, a;

	magtest_seams_on(test, magtest_probe_hook);
	for (i = 0; i < MAGTEST_NR_SETS; i++)
		for (a = 0; a < ARRAY_SIZE(actions); a++)
			one_nested_call(test, &magtest_sets[i], s->seam, &actions[a]);
}

/* Where the stock of the CPU is when an interrupt comes just before busy is set. */
enum position { BETWEEN_MARKS, AT_LOW, AT_HIGH, EMPTY, NR_POSITIONS };

static void go_to(struct magtest_pool *p, enum position position)
{
	const struct pcpu_magazine_marks *marks = &p->mag.marks;

	magtest_stock_up(p, 4 * marks->high);
	if (position == BETWEEN_MARKS)
		make_get_fast(p);
	if (position == AT_LOW)
		while (magtest_cpu_stock(p) > marks->low)
			magtest_take_out(p);
	if (position == AT_HIGH)
		while (magtest_cpu_stock(p) < marks->high)
			magtest_give_out(p);
	if (position == EMPTY) {
		p->refuse = true;
		magtest_take_all(p);
		p->refuse = false;
		magtest_refill(p);
	}
}

static void test_call_just_before_busy(struct kunit *test)
{
	static const enum pcpu_magazine_seam seams[] = {
		PCPU_MAGAZINE_SEAM_GET, PCPU_MAGAZINE_SEAM_PUT,
	};
	unsigned int i, a, position;
	struct magtest_pool *p;

	magtest_seams_on(test, magtest_probe_hook);
	magtest_probe.just_before = true;
	for (i = 0; i < ARRAY_SIZE(seams); i++)
		for (position = 0; position < NR_POSITIONS; position++)
			for (a = 0; a < ARRAY_SIZE(actions); a++) {
				p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
				go_to(p, position);
				magtest_arm(p, seams[i], actions[a].run);
				reach(p, seams[i]);
				KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
				after_nested_call(test, p, actions[a].name);
			}
}

/* What a nested context finds */

static void test_nested_get_takes_spare(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int loaded, rest;

	magtest_seams_on(test, magtest_probe_hook);
	magtest_fill_all_places(test, p);
	p->refuse = true;
	loaded = magtest_cpu(p)->nr;
	rest = magtest_count(p, MAGTEST_POOL) - loaded;
	magtest_arm(p, PCPU_MAGAZINE_SEAM_GET, act_take_all);
	KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	KUNIT_ASSERT_EQ(test, magtest_probe.hits_busy, 1);
	/* All but the chain that the interrupted call may be changing. */
	KUNIT_EXPECT_EQ(test, p->nr_taken, rest + 1);
	KUNIT_EXPECT_EQ(test, magtest_cpu(p)->nr, loaded - 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_NESTED_GET), rest + 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_NESTED_PUT), 3);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 1);
	magtest_settled(test, p, "spare taken", "");
	/* The CPU finds out by itself, taking or giving. */
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), loaded - 1);
	magtest_give_all(p);
	magtest_settled(test, p, "given", "");
	magtest_close(test, p, "pool");
}

/* The nested context takes what the list, the spare chain and the depot have. */
static void nested_take_to_reclaim(struct magtest_pool *p)
{
	unsigned int nr = magtest_count(p, MAGTEST_POOL) - magtest_cpu(p)->nr;

	for (; nr; nr--)
		magtest_take_out(p);
	if (atomic_read(&p->reclaims))
		magtest_fault(p, "reclaim() came too early", 0, MAGTEST_RECLAIM);
	magtest_take_out(p);
}

static void put_aside_for_reclaim(struct magtest_pool *p, unsigned int nr)
{
	struct magtest_object *o;

	for (; nr && p->nr_out; nr--) {
		o = p->out[--p->nr_out];
		magtest_leave_out(p, o, MAGTEST_RECLAIM);
		llist_add(&o->node, &p->reclaimable);
	}
}

static void test_reclaim_comes_last_when_nested(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_reclaiming_ops, &magtest_sets[0]);
	unsigned int nr;

	magtest_seams_on(test, magtest_probe_hook);
	magtest_fill_all_places(test, p);
	put_aside_for_reclaim(p, 5);
	p->refuse = true;
	nr = magtest_count(p, MAGTEST_POOL) - magtest_cpu(p)->nr;
	magtest_arm(p, PCPU_MAGAZINE_SEAM_GET, nested_take_to_reclaim);
	KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	KUNIT_ASSERT_EQ(test, magtest_probe.hits_busy, 1);
	KUNIT_EXPECT_EQ(test, p->nr_missed, 0);
	KUNIT_EXPECT_EQ(test, p->nr_taken, nr + 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->reclaims), 1);
	KUNIT_EXPECT_EQ(test, magtest_chain_length(p, magtest_cpu(p)->nested.first,
						   MAGTEST_POOL), 4);
	magtest_settled(test, p, "reclaimed", "");
	magtest_take_all(p);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_POOL), 0);
	magtest_close(test, p, "used pool");
}

static void test_reclaim_comes_last(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_reclaiming_ops, &magtest_sets[0]);
	unsigned int nr;

	magtest_seams_on(test, magtest_probe_hook);
	magtest_fill_all_places(test, p);
	put_aside_for_reclaim(p, 5);
	p->refuse = true;
	for (nr = magtest_count(p, MAGTEST_POOL); nr; nr--) {
		KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
		KUNIT_ASSERT_EQ(test, atomic_read(&p->reclaims), 0);
	}
	KUNIT_ASSERT_EQ(test, magtest_level(p), 0);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->reclaims), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_RECLAIMED), 1);
	KUNIT_EXPECT_EQ(test, magtest_cpu_stock(p), 4);
	magtest_settled(test, p, "reclaimed", "");
	magtest_forget_calls(p);
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), 4);
	/* The one that failed looked there too, and asked for a refill. */
	KUNIT_EXPECT_GT(test, atomic_read(&p->reclaims), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&p->kicks), 0);

	/* A CPU that has nothing at all goes to the depot first, too. */
	put_aside_for_reclaim(p, 5);
	p->refuse = false;
	KUNIT_EXPECT_GT(test, magtest_refill(p), 0);
	magtest_forget_calls(p);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->reclaims), 0);
	magtest_close(test, p, "used pool");
}

/* The nested list, which is taken whole */

static bool was_empty;

/* While the interrupted one has the list in hand: it is empty, and can be used. */
static void nested_use_of_list(struct magtest_pool *p)
{
	was_empty = !magtest_take_out(p);
	nested_give_three(p);
	magtest_take_out(p);
}

static bool take_as_nested(struct magtest_pool *p)
{
	bool got;

	WRITE_ONCE(magtest_cpu(p)->busy, 1);
	got = magtest_take_out(p);
	WRITE_ONCE(magtest_cpu(p)->busy, 0);
	return got;
}

/* Of @length objects on the list the outer one takes one, or a batch if it is the owner. */
static void one_use_of_list(struct kunit *test, unsigned int length, bool owner)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[4]);
	unsigned int i, all;

	magtest_stock_up(p, length + 3);
	p->refuse = true;
	magtest_take_all(p);
	WRITE_ONCE(magtest_cpu(p)->busy, 1);
	for (i = 0; i < length; i++)
		magtest_give_out(p);
	WRITE_ONCE(magtest_cpu(p)->busy, 0);
	all = p->nr_out;
	magtest_arm(p, PCPU_MAGAZINE_SEAM_GET_NESTED, nested_use_of_list);
	magtest_probe.descending = true;
	KUNIT_ASSERT_TRUE(test, owner ? magtest_take_out(p) : take_as_nested(p));
	KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
	KUNIT_EXPECT_TRUE(test, was_empty);
	magtest_settled(test, p, "used", "");
	/* Three given, one of them and one more taken. */
	KUNIT_EXPECT_EQ(test, p->nr_out, all - 3 + 2);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_POOL), length + 1);
	KUNIT_EXPECT_EQ(test, magtest_cpu(p)->nr,
			owner ? min(length, p->mag.marks.batch) - 1 : 0);
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), length + 1);
	magtest_close(test, p, "pool");
}

static void test_nested_list_with_nested_use(struct kunit *test)
{
	static const unsigned int lengths[] = { 1, 2, 3, 4, 5, 9, 50 };
	unsigned int i;

	magtest_seams_on(test, magtest_probe_hook);
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		one_use_of_list(test, lengths[i], false);
		one_use_of_list(test, lengths[i], true);
	}
}

/* A hard interrupt that the seam lets in */

static struct {
	struct irq_work work;
	unsigned int runs;
	unsigned int runs_hard;
	unsigned int runs_busy;
} irq;

static void irq_handler(struct irq_work *work)
{
	struct magtest_pool *p = magtest_probe.pool;

	irq.runs_hard += !!in_hardirq();
	irq.runs_busy += magtest_cpu(p)->busy;
	act_take_give(p);
	act_give(p);
	/* As the user of the layer does in this place. */
	pcpu_magazine_refill(p->shard, 2, GFP_NOWAIT);
	WRITE_ONCE(irq.runs, irq.runs + 1);
}

/* Where irq_work has no interrupt of its own, it runs at the next tick. */
static void act_let_irq_in(struct magtest_pool *p)
{
	u64 deadline = ktime_get_mono_fast_ns() + IRQ_PATIENCE;
	unsigned int before = READ_ONCE(irq.runs);

	if (irqs_disabled() || !irq_work_queue(&irq.work))
		return;
	while (READ_ONCE(irq.runs) == before && ktime_get_mono_fast_ns() < deadline)
		cpu_relax();
}

static void irq_stop(void *unused)
{
	irq_work_sync(&irq.work);
}

static void test_hard_interrupt(struct kunit *test)
{
	const struct seam_case *s = test->param_value;
	const struct pcpu_magazine_marks *marks;
	struct magtest_pool *p;
	unsigned int i;

	irq.work = IRQ_WORK_INIT_HARD(irq_handler);
	magtest_seams_on(test, magtest_probe_hook);
	for (i = 0; i < MAGTEST_NR_SETS; i++) {
		marks = &magtest_sets[i].marks;
		p = magtest_open(test, &magtest_plain_ops, &magtest_sets[i]);
		KUNIT_ASSERT_EQ(test, kunit_add_action(test, irq_stop, NULL), 0);
		irq.runs = 0;
		irq.runs_hard = 0;
		irq.runs_busy = 0;
		magtest_stock_up(p, 4 * marks->high);
		if (s->seam == PCPU_MAGAZINE_SEAM_REFILL)
			while (magtest_level(p) == magtest_goal(p) && magtest_take_out(p))
				;
		magtest_arm(p, s->seam, act_let_irq_in);
		reach(p, s->seam);
		kunit_release_action(test, irq_stop, NULL);
		KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
		KUNIT_ASSERT_EQ(test, irq.runs, 1);
		KUNIT_ASSERT_EQ(test, irq.runs_hard, 1);
		KUNIT_ASSERT_EQ(test, irq.runs_busy, busy_at(s->seam));
		after_nested_call(test, p, magtest_sets[i].name);
	}
}

/* Random use against an oracle */

static struct {
	struct task_struct *task;
	struct magtest_pool *pool;
	struct rnd_state rnd;
	unsigned int depth;
	unsigned int nested;
} model;

/* Returns false if a get found nothing. */
static bool model_op(struct magtest_pool *p)
{
	unsigned int n = prandom_u32_state(&model.rnd) % 64;

	if (n < 26)
		return magtest_take_out(p);
	else if (n < 50)
		magtest_give_out(p);
	else if (n < 55)
		magtest_defer_out(p);
	else if (n < 57)
		magtest_collect_deferred(p);
	else if (n < 59)
		magtest_restock_overflow(p);
	else if (n < 60)
		magtest_flush(p, prandom_u32_state(&model.rnd) % (p->mag.marks.batch + 1));
	else
		pcpu_magazine_refill(p->shard, 1 + n % 2, GFP_NOWAIT);
	return true;
}

/* Up to three contexts on top of each other, half of them as if just before busy was set. */
static void model_hook(enum pcpu_magazine_seam seam)
{
	struct pcpu_magazine_cpu *c;
	unsigned int n;
	bool before;

	if (current != model.task || !in_task() || model.depth == 3)
		return;
	n = prandom_u32_state(&model.rnd);
	if (n % 8)
		return;
	c = magtest_cpu(model.pool);
	before = (seam == PCPU_MAGAZINE_SEAM_GET || seam == PCPU_MAGAZINE_SEAM_PUT) && n & 8;
	model.depth++;
	model.nested++;
	if (before)
		WRITE_ONCE(c->busy, 0);
	for (n = (n >> 8) % 8; n; n--)
		model_op(model.pool);
	if (before)
		WRITE_ONCE(c->busy, 1);
	model.depth--;
}

/* What only a task may do. */
static void model_task_op(struct magtest_pool *p, unsigned int step)
{
	/* Now the pool runs dry, now it overflows. */
	while (p->nr_out > (step % 1000 ? 0 : p->mag.marks.high))
		magtest_give_out(p);
	if (step % 5000 == 2500)
		pcpu_magazine_grow(p->shard, 2 * p->shard->depot.nr_slots, GFP_KERNEL);
	/* Refused when all objects are with the model. */
	if (step % 2000 == 1500)
		pcpu_magazine_reserve(&p->mag, step % 3, GFP_KERNEL);
}

static void test_random_use(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int step, nested, total;

	prandom_seed_state(&model.rnd, magtest_seed(test));
	model.pool = p;
	model.task = current;
	model.depth = 0;
	model.nested = 0;
	magtest_seams_on(test, model_hook);
	for (step = 0; step < MODEL_STEPS; step++) {
		if (step % 500 == 0)
			model_task_op(p, step);
		nested = model.nested;
		if (!model_op(p) && model.nested == nested)
			KUNIT_ASSERT_EQ_MSG(test, magtest_count(p, MAGTEST_POOL), 0,
					    "got nothing at step %u", step);
		if (atomic_read(&p->faults) || step % 16 == 0)
			magtest_settled(test, p, "random use", "");
	}
	/* Or it would use the pool while that is drained. */
	magtest_seams_off(test);
	total = magtest_count(p, MAGTEST_BACKEND) + magtest_count(p, MAGTEST_POOL) +
		magtest_count(p, MAGTEST_DEFERRED) + magtest_count(p, MAGTEST_OVERFLOW) +
		p->nr_out;
	KUNIT_EXPECT_EQ(test, total, p->nr_objs);
	KUNIT_EXPECT_GT(test, model.nested, 0);
	magtest_close(test, p, "random use");
}

static struct kunit_case pcpu_magazine_nested_cases[] = {
	KUNIT_CASE_PARAM(test_nested_call, seam_gen_params),
	KUNIT_CASE_PARAM(test_call_just_before_busy, set_gen_params),
	KUNIT_CASE(test_nested_get_takes_spare),
	KUNIT_CASE(test_reclaim_comes_last),
	KUNIT_CASE(test_reclaim_comes_last_when_nested),
	KUNIT_CASE(test_nested_list_with_nested_use),
	KUNIT_CASE_PARAM(test_hard_interrupt, seam_gen_params),
	KUNIT_CASE_PARAM(test_random_use, set_gen_params),
	{}
};

static struct kunit_suite pcpu_magazine_nested_suite = {
	.name = "pcpu_magazine_nested",
	.init = magtest_init,
	.test_cases = pcpu_magazine_nested_cases,
};

kunit_test_suite(pcpu_magazine_nested_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: contexts on top of each other");
MODULE_LICENSE("GPL");
