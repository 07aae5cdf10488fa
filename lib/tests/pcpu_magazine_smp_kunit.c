// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: all CPUs at once, with interrupts.
 *
 * One pinned thread on each CPU, and a hard interrupt that the seams ask for.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include "pcpu_magazine_kunit.h"
#include "../pcpu_magazine_internal.h"

#define HAMMER_STEPS	20000
#define DEPOT_STEPS	300000
#define ROUNDS		20000
#define SMP_PATIENCE	(120 * HZ)

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

struct worker {
	struct task_struct *task;
	struct magtest_pool *p;
	struct rnd_state rnd;
	struct irq_work work;
	struct magtest_object *held[32];
	struct magtest_object *irq_held[4];
	unsigned int nr_held;
	unsigned int nr_irq_held;
	struct llist_node *chain[2];	/* of the thread, of the interrupt */
	unsigned int steps;
	unsigned int irqs;
	unsigned int irqs_busy;
};

/* Static, because a hook may look at them at any time: it is called for every pool. */
static DEFINE_PER_CPU(struct worker, workers);

static struct {
	struct magtest_pool *p;
	struct completion start;
	struct completion done;
	atomic_t running;
	unsigned int nr;
	unsigned long seed;
	bool go_on;			/* although all steps are done */
	struct llist_head handed;	/* from producer to consumer */
	unsigned int goal;
	unsigned int nr_handed;
	unsigned int nr_given;
	atomic_t arrived;		/* at the end of a round */
	struct pcpu_magazine_depot depot;
} crew;

/* The crew */

static void hammer_hook(enum pcpu_magazine_seam seam)
{
	struct worker *w = raw_cpu_ptr(&workers);

	if (in_task() && current == READ_ONCE(w->task) && prandom_u32_state(&w->rnd) % 16 == 0)
		irq_work_queue(&w->work);
}

static void work_is_done(struct worker *w)
{
	if (atomic_dec_and_test(&crew.running))
		complete(&crew.done);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
}

static void crew_dismiss(void *unused)
{
	struct worker *w;
	int cpu;

	/* First let those go who still wait at the gate. */
	complete_all(&crew.start);
	for_each_possible_cpu(cpu) {
		w = per_cpu_ptr(&workers, cpu);
		if (!w->task)
			continue;
		kthread_stop(w->task);
		put_task_struct(w->task);
		irq_work_sync(&w->work);
		WRITE_ONCE(w->task, NULL);
		while (w->nr_irq_held)
			magtest_give(w->p, w->irq_held[--w->nr_irq_held]);
	}
}

static void crew_gather(struct kunit *test, struct magtest_pool *p)
{
	int cpu;

	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(&workers, cpu), 0, sizeof(struct worker));
	memset(&crew, 0, sizeof(crew));
	crew.p = p;
	p->shared = true;
	crew.seed = magtest_seed(test);
	init_completion(&crew.start);
	init_completion(&crew.done);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, crew_dismiss, NULL), 0);
}

static void crew_add(struct kunit *test, int (*thread)(void *data),
		     void (*irq)(struct irq_work *work), int cpu)
{
	struct worker *w = per_cpu_ptr(&workers, cpu);
	struct task_struct *task;

	w->p = crew.p;
	w->work = IRQ_WORK_INIT_HARD(irq);
	prandom_seed_state(&w->rnd, crew.seed + cpu);
	task = kthread_create_on_cpu(thread, w, cpu, "pcpu_magazine/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	WRITE_ONCE(w->task, get_task_struct(task));
	atomic_inc(&crew.running);
	crew.nr++;
	wake_up_process(task);
}

/* Everybody starts at once; returns when all are done and gone. */
static void crew_work(struct kunit *test)
{
	unsigned long left;

	complete_all(&crew.start);
	left = wait_for_completion_timeout(&crew.done, SMP_PATIENCE);
	kunit_release_action(test, crew_dismiss, NULL);
	KUNIT_ASSERT_GT_MSG(test, left, 0, "the threads did not come to an end");
}

static void crew_report(struct kunit *test)
{
	unsigned int irqs = 0, irqs_busy = 0;
	int cpu;

	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_GE(test, per_cpu(workers, cpu).steps, HAMMER_STEPS);
		irqs += per_cpu(workers, cpu).irqs;
		irqs_busy += per_cpu(workers, cpu).irqs_busy;
	}
	kunit_info(test, "%u interrupts, %u of them in a critical section\n", irqs, irqs_busy);
	KUNIT_EXPECT_GT(test, irqs, 0);
}

/* Returns when all have come here as often: at the same moment, if they can. */
static void end_of_round(void)
{
	int mine = atomic_inc_return(&crew.arrived), all = roundup(mine, crew.nr);
	unsigned int turns = 0;

	while (atomic_read(&crew.arrived) < all && !kthread_should_stop()) {
		cpu_relax();
		if (++turns % 1024 == 0)
			cond_resched();
	}
}

static bool more_steps(struct worker *w)
{
	return (w->steps < HAMMER_STEPS || READ_ONCE(crew.go_on)) && !kthread_should_stop();
}

/* Pools */

static int refill_some(struct worker *w)
{
	unsigned int shard = pcpu_magazine_shard_of(raw_smp_processor_id());

	return max(pcpu_magazine_refill(w->p->shards[shard], 2, GFP_NOWAIT), 0);
}

/* The user of the layer refills in such an interrupt. */
static void hammer_irq(struct irq_work *work)
{
	struct worker *w = container_of(work, struct worker, work);
	struct magtest_object *o;

	w->irqs++;
	w->irqs_busy += raw_cpu_ptr(w->p->cpus)->busy;
	while (w->nr_irq_held)
		magtest_give(w->p, w->irq_held[--w->nr_irq_held]);
	while (w->nr_irq_held < ARRAY_SIZE(w->irq_held)) {
		o = magtest_take(w->p);
		if (!o)
			break;
		w->irq_held[w->nr_irq_held++] = o;
	}
	if (w->irqs % 2)
		refill_some(w);
}

static void hammer_step(struct worker *w)
{
	unsigned int n = prandom_u32_state(&w->rnd) % 128;
	struct magtest_object *o;

	if (n < 64 && w->nr_held < ARRAY_SIZE(w->held)) {
		o = magtest_take(w->p);
		if (o)
			w->held[w->nr_held++] = o;
		else
			refill_some(w);
	} else if (n < 119 && w->nr_held) {
		magtest_give(w->p, w->held[--w->nr_held]);
	} else if (n < 123 && w->nr_held) {
		magtest_defer(w->p, w->held[--w->nr_held]);
	} else if (n < 125) {
		magtest_collect_deferred(w->p);
		magtest_restock_overflow(w->p);
	} else if (n < 126) {
		magtest_flush(w->p, n % 3);
	} else {
		refill_some(w);
	}
	w->steps++;
}

static int hammer_thread(void *data)
{
	struct worker *w = data;

	wait_for_completion(&crew.start);
	while (more_steps(w)) {
		hammer_step(w);
		cond_resched();
	}
	while (w->nr_held)
		magtest_give(w->p, w->held[--w->nr_held]);
	work_is_done(w);
	return 0;
}

static void crew_of_all_cpus(struct kunit *test, struct magtest_pool *p,
			     int (*thread)(void *data), void (*irq)(struct irq_work *work))
{
	int cpu;

	crew_gather(test, p);
	for_each_online_cpu(cpu)
		crew_add(test, thread, irq, cpu);
	magtest_seams_on(test, hammer_hook);
}

/* A reserve that fills all slots of its depot. */
static void test_all_cpus_at_once(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));

	KUNIT_ASSERT_EQ(test, pcpu_magazine_reserve(&p->mag, 8, GFP_KERNEL), 0);
	crew_of_all_cpus(test, p, hammer_thread, hammer_irq);
	crew_work(test);
	crew_report(test);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_OUT), 0);
	magtest_close(test, p, "hammered pool");
}

static int producer_thread(void *data)
{
	struct worker *w = data;
	struct magtest_object *o;

	wait_for_completion(&crew.start);
	while (crew.nr_handed < crew.goal && !kthread_should_stop()) {
		o = magtest_take(w->p);
		if (o) {
			crew.nr_handed++;
			/* Like the first word of a freed object, this one is ours now. */
			llist_add(&o->node, &crew.handed);
		} else {
			magtest_restock_overflow(w->p);
			refill_some(w);
		}
		cond_resched();
	}
	work_is_done(w);
	return 0;
}

static int consumer_thread(void *data)
{
	struct worker *w = data;
	struct llist_node *node, *next;
	struct magtest_object *o;

	wait_for_completion(&crew.start);
	while (crew.nr_given < crew.goal && !kthread_should_stop()) {
		for (node = llist_del_all(&crew.handed); node; node = next) {
			next = node->next;
			o = container_of(node, struct magtest_object, node);
			node->next = &w->p->trap;
			magtest_give(w->p, o);
			crew.nr_given++;
		}
		cond_resched();
	}
	work_is_done(w);
	return 0;
}

static void test_producer_and_consumer(struct kunit *test)
{
	unsigned int producer, consumer;
	struct pcpu_magazine_cpu *c;
	struct magtest_pool *p;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs more than one CPU");
	producer = cpumask_first(cpu_online_mask);
	consumer = cpumask_next(producer, cpu_online_mask);
	p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	crew_gather(test, p);
	/* Much more than there are objects: they have to come back. */
	crew.goal = 20 * p->nr_objs;
	crew_add(test, producer_thread, hammer_irq, producer);
	crew_add(test, consumer_thread, hammer_irq, consumer);
	crew_work(test);
	KUNIT_EXPECT_EQ(test, crew.nr_handed, crew.goal);
	KUNIT_EXPECT_EQ(test, crew.nr_given, crew.goal);
	c = per_cpu_ptr(p->cpus, consumer);
	KUNIT_EXPECT_LE(test, c->nr + c->nr_spare, p->mag.marks.high);
	magtest_close(test, p, "hammered pool");
}

/* Everything that may change while a pool is in use, by one who changes it. */
static void test_pool_changes_while_cpus_work(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, &magtest_sets[5], 10000);
	const struct pcpu_magazine_marks *marks;
	unsigned int changes;

	crew_of_all_cpus(test, p, hammer_thread, hammer_irq);
	crew.go_on = true;
	complete_all(&crew.start);
	for (changes = 0; !completion_done(&crew.done) && changes < HAMMER_STEPS; changes++) {
		marks = &magtest_sets[changes % MAGTEST_NR_SETS].marks;
		pcpu_magazine_set_low_high(&p->mag, marks->low, marks->high);
		pcpu_magazine_set_target(p->shard, 1 + changes % 16);
		pcpu_magazine_grow(p->shard, changes % 128, GFP_KERNEL);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_reserve(&p->mag, changes % 9, GFP_KERNEL), 0);
		/* However fast the CPUs are, all kinds of changes have their turn. */
		if (changes == 200)
			WRITE_ONCE(crew.go_on, false);
		cond_resched();
	}
	WRITE_ONCE(crew.go_on, false);
	crew_work(test);
	kunit_info(test, "%u changes\n", changes);
	KUNIT_EXPECT_GT(test, changes, 200);
	KUNIT_EXPECT_GE(test, p->shard->depot.nr_slots, 127);
	crew_report(test);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_OUT), 0);
	magtest_close(test, p, "hammered pool");
}

/* One small depot: chains that know what they are */

/* A chain says its length in each of its objects. */
static struct llist_node *told_chain(struct kunit *test, struct magtest_pool *p, unsigned int nr)
{
	struct llist_node *first = magtest_new_chain(test, p, nr), *node;

	for (node = first; node; node = node->next)
		container_of(node, struct magtest_object, node)->payload[0] = nr;
	return first;
}

static void check_told_chain(struct magtest_pool *p, struct llist_node *first, unsigned int nr)
{
	struct llist_node *node;
	unsigned int n = 0;

	for (node = first; node && n <= nr; node = node->next, n++)
		if (container_of(node, struct magtest_object, node)->payload[0] != nr)
			magtest_fault(p, "part of another chain", n, MAGTEST_POOL);
	if (n != nr)
		magtest_fault(p, "chain of another length", n, MAGTEST_POOL);
	magtest_move_chain(p, first, MAGTEST_POOL, MAGTEST_OUT);
}

/* Put what is in hand, else get one. */
static void depot_step(struct worker *w, struct llist_node **chain)
{
	struct llist_node *node = *chain;
	unsigned int nr;

	if (!node) {
		node = pcpu_magazine_depot_get(&crew.depot, &nr);
		/* It is never less than what can be seen. */
		if (atomic_read(&crew.depot.level) < 0)
			magtest_fault(w->p, "level came too late", 0, MAGTEST_POOL);
		if (node)
			check_told_chain(w->p, node, nr);
		*chain = node;
		return;
	}
	nr = container_of(node, struct magtest_object, node)->payload[0];
	magtest_move_chain(w->p, node, MAGTEST_OUT, MAGTEST_POOL);
	*chain = NULL;
	if (pcpu_magazine_depot_put(&crew.depot, node, nr))
		return;
	magtest_move_chain(w->p, node, MAGTEST_POOL, MAGTEST_OUT);
	*chain = node;
}

static void depot_irq(struct irq_work *work)
{
	struct worker *w = container_of(work, struct worker, work);

	w->irqs++;
	depot_step(w, &w->chain[1]);
	if (w->irqs % 4)
		depot_step(w, &w->chain[1]);
}

static int depot_thread(void *data)
{
	struct worker *w = data;

	wait_for_completion(&crew.start);
	end_of_round();
	while (w->steps < DEPOT_STEPS && !kthread_should_stop()) {
		depot_step(w, &w->chain[0]);
		if (++w->steps % 64 == 0)
			cond_resched();
	}
	work_is_done(w);
	return 0;
}

static void depot_free(void *unused)
{
	pcpu_magazine_depot_exit(&crew.depot);
}

/*
 * A slot comes and goes under the eyes of all who are about to take it: few slots,
 * more who want them. Chains in hand at the end go back one by one.
 */
static void test_depot_hammered(struct kunit *test)
{
	struct magtest_pool *p = magtest_pool_alloc(test, 1000);
	unsigned int n, i, nr, chains = 0, slots = 4;
	struct llist_node *chain;
	struct worker *w;
	int cpu;

	crew_of_all_cpus(test, p, depot_thread, depot_irq);
	KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_init(&crew.depot, slots, GFP_KERNEL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, depot_free, NULL), 0);
	for (n = 1; n <= slots - 1; n++)
		KUNIT_ASSERT_TRUE(test, pcpu_magazine_depot_put(&crew.depot,
								told_chain(test, p, n), n));
	crew_work(test);
	crew_report(test);
	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&p->faults), 0, "%s: %u", p->first_fault.what,
			    p->first_fault.id);
	for_each_online_cpu(cpu) {
		w = per_cpu_ptr(&workers, cpu);
		for (i = 0; i < ARRAY_SIZE(w->chain); i++)
			if (w->chain[i])
				depot_step(w, &w->chain[i]);
	}
	KUNIT_EXPECT_EQ(test, magtest_depot_check(test, p, &crew.depot, slots, &chains),
			slots * (slots - 1) / 2);
	KUNIT_EXPECT_EQ(test, chains, slots - 1);
	while ((chain = pcpu_magazine_depot_get(&crew.depot, &nr)))
		check_told_chain(p, chain, nr);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_POOL), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->faults), 0);
	kunit_release_action(test, depot_free, NULL);
}

/* Several shards: nothing is hidden */

/* Put what is in hand, else get one: all do so with the same depot. */
static void shard_step(struct worker *w, struct pcpu_magazine_shard *shard, unsigned int *nr)
{
	if (!w->chain[0]) {
		w->chain[0] = pcpu_magazine_take_chain(shard, nr);
		magtest_move_chain(w->p, w->chain[0], MAGTEST_POOL, MAGTEST_OUT);
		return;
	}
	magtest_move_chain(w->p, w->chain[0], MAGTEST_OUT, MAGTEST_POOL);
	if (pcpu_magazine_put_chain(shard, w->chain[0], *nr))
		w->chain[0] = NULL;
	else
		magtest_move_chain(w->p, w->chain[0], MAGTEST_POOL, MAGTEST_OUT);
}

static void nothing_is_hidden(struct magtest_pool *p)
{
	unsigned int i, total = 0;
	int cpu;

	for_each_online_cpu(cpu)
		total += !!per_cpu(workers, cpu).chain[0];
	for (i = 0; i < p->mag.nr_shards; i++) {
		total += pcpu_magazine_level(p->shards[i]);
		if (pcpu_magazine_level(p->shards[i]) && !(READ_ONCE(p->mag.stocked) & BIT(i)))
			magtest_fault(p, "hidden from other shards", i, MAGTEST_POOL);
	}
	if (total != crew.goal)
		magtest_fault(p, "levels are wrong", total, MAGTEST_POOL);
}

/* Each round one of two puts a chain while the other takes the last that is there. */
static int shard_thread(void *data)
{
	struct worker *w = data;
	unsigned int round, nr = 1;

	wait_for_completion(&crew.start);
	for (round = 0; round < ROUNDS && !kthread_should_stop(); round++) {
		end_of_round();
		shard_step(w, w->p->shard, &nr);
		end_of_round();
		if (raw_smp_processor_id() == cpumask_first(cpu_online_mask))
			nothing_is_hidden(w->p);
		w->steps++;
	}
	if (w->chain[0])
		shard_step(w, w->p->shard, &nr);
	work_is_done(w);
	return 0;
}

static void no_irq(struct irq_work *work)
{
}

static void test_no_chain_is_hidden_from_other_shards(struct kunit *test)
{
	unsigned int first, second;
	struct magtest_pool *p;

	if (num_online_cpus() < 2 || pcpu_magazine_nr_shards() < 2)
		kunit_skip(test, "needs two shards, see cpus_per_shard");
	first = cpumask_first(cpu_online_mask);
	second = cpumask_next(first, cpu_online_mask);
	p = magtest_open(test, &magtest_plain_ops, &magtest_sets[1]);
	if (p->shard->node != page_to_nid(virt_to_page(p->objs)))
		kunit_skip(test, "objects came from another node");
	crew_gather(test, p);
	crew_add(test, shard_thread, no_irq, first);
	crew_add(test, shard_thread, no_irq, second);
	/* One in the depot, one in hand. */
	crew.goal = 2;
	pcpu_magazine_hand_over(p->shard, magtest_new_chain(test, p, 1), 1);
	per_cpu(workers, first).chain[0] = magtest_new_chain(test, p, 1);
	magtest_move_chain(p, per_cpu(workers, first).chain[0], MAGTEST_POOL, MAGTEST_OUT);
	crew_work(test);
	KUNIT_EXPECT_EQ(test, per_cpu(workers, first).steps, ROUNDS);
	KUNIT_EXPECT_EQ(test, per_cpu(workers, second).steps, ROUNDS);
	magtest_settled(test, p, "hammered", "");
	/* And nothing is looked for in vain. */
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), crew.goal);
	KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	magtest_close(test, p, "hammered pool");
}

static struct kunit_case pcpu_magazine_smp_cases[] = {
	KUNIT_CASE_PARAM(test_all_cpus_at_once, set_gen_params),
	KUNIT_CASE_PARAM(test_producer_and_consumer, set_gen_params),
	KUNIT_CASE(test_pool_changes_while_cpus_work),
	KUNIT_CASE(test_depot_hammered),
	KUNIT_CASE(test_no_chain_is_hidden_from_other_shards),
	{}
};

static struct kunit_suite pcpu_magazine_smp_suite = {
	.name = "pcpu_magazine_smp",
	.init = magtest_init,
	.test_cases = pcpu_magazine_smp_cases,
};

kunit_test_suite(pcpu_magazine_smp_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: all CPUs at once");
MODULE_LICENSE("GPL");
