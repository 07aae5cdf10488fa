// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for permits that lie with the CPUs: never one more than there are,
 * and none refused while one is left.
 */
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/pcpu_permits.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/smp.h>

static const unsigned int numbers[] = { 0, 1, 2, 3, 5, 64, 1000, 100000 };

static void number_desc(const unsigned int *nr, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u permits", *nr);
}

KUNIT_ARRAY_PARAM(number, numbers, number_desc);

static void end_permits(void *permits)
{
	pcpu_permits_exit(permits);
}

static struct pcpu_permits *make(struct kunit *test, unsigned int nr)
{
	struct pcpu_permits *permits = kunit_kzalloc(test, sizeof(*permits), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, permits);
	KUNIT_ASSERT_EQ(test, pcpu_permits_init(permits, nr, GFP_KERNEL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, end_permits, permits), 0);
	return permits;
}

static u32 lies_with(struct pcpu_permits *permits, unsigned int cpu)
{
	return atomic64_read(&per_cpu_ptr(permits->cpus, cpu)->word);
}

/* Until one is refused, or @max are had. */
static unsigned int take_all(struct pcpu_permits *permits, unsigned int max)
{
	unsigned int nr = 0;

	while (nr < max && pcpu_permits_take(permits))
		nr++;
	return nr;
}

static void test_as_many_as_there_are(struct kunit *test)
{
	unsigned int nr = *(const unsigned int *)test->param_value, round, i;
	struct pcpu_permits *permits = make(test, nr);

	for (round = 0; round < 3; round++) {
		KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), nr);
		KUNIT_EXPECT_EQ(test, take_all(permits, nr + 10), nr);
		KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), 0);
		KUNIT_EXPECT_FALSE(test, pcpu_permits_take(permits));
		for (i = 0; i < nr; i++)
			pcpu_permits_give(permits);
	}
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), nr);
}

static void test_each_cpu_has_its_share(struct kunit *test)
{
	unsigned int nr = *(const unsigned int *)test->param_value, cpu;
	struct pcpu_permits *permits = make(test, nr);
	unsigned long least = ULONG_MAX, most = 0, sum = 0, with;

	for_each_possible_cpu(cpu) {
		with = lies_with(permits, cpu);
		least = min(least, with);
		most = max(most, with);
		sum += with;
	}
	KUNIT_EXPECT_EQ(test, sum, nr);
	KUNIT_EXPECT_EQ(test, least, nr / num_possible_cpus());
	KUNIT_EXPECT_EQ(test, most, DIV_ROUND_UP(nr, num_possible_cpus()));
}

static void test_without_any(struct kunit *test)
{
	struct pcpu_permits *permits = make(test, 0);

	KUNIT_EXPECT_FALSE(test, pcpu_permits_take(permits));
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), 0);
	/* Ended twice, or never made. */
	kunit_release_action(test, end_permits, permits);
	pcpu_permits_exit(permits);
	KUNIT_EXPECT_FALSE(test, permits->cpus);
}

/* More than an int holds, and all with one CPU if there is but one. */
static void test_as_many_as_can_be(struct kunit *test)
{
	struct pcpu_permits *permits = make(test, U32_MAX);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), (unsigned long)U32_MAX);
	KUNIT_EXPECT_EQ(test, take_all(permits, 1000), 1000);
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), U32_MAX - 1000UL);
	for (i = 0; i < 1000; i++)
		pcpu_permits_give(permits);
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(permits), (unsigned long)U32_MAX);
}

/* All to one CPU, which others then take from */

static void give_here(void *permits)
{
	pcpu_permits_give(permits);
}

struct found {
	struct pcpu_permits *permits;
	bool took;
};

static void take_here(void *arg)
{
	struct found *found = arg;

	found->took = pcpu_permits_take(found->permits);
}

/* The only one is found wherever it lies, from everywhere; the hint may be wrong. */
static void test_only_one_is_found(struct kunit *test)
{
	struct found found = { .permits = make(test, 1) };
	unsigned int giver, taker;

	KUNIT_ASSERT_TRUE(test, pcpu_permits_take(found.permits));
	for_each_online_cpu(giver) {
		for_each_online_cpu(taker) {
			smp_call_function_single(giver, give_here, found.permits, true);
			KUNIT_EXPECT_EQ(test, lies_with(found.permits, giver), 1);
			smp_call_function_single(taker, take_here, &found, true);
			KUNIT_EXPECT_TRUE_MSG(test, found.took, "from %u by %u", giver, taker);
			smp_call_function_single(taker, take_here, &found, true);
			KUNIT_EXPECT_FALSE(test, found.took);
		}
	}
	pcpu_permits_give(found.permits);
}

/* What CPUs that are not there have is for all. */
static void test_share_of_absent_cpus(struct kunit *test)
{
	struct pcpu_permits *permits = make(test, 10 * num_possible_cpus());
	unsigned int cpu;

	KUNIT_EXPECT_EQ(test, take_all(permits, UINT_MAX), 10 * num_possible_cpus());
	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_EQ(test, lies_with(permits, cpu), 0);
}

#define RANDOM_STEPS	20000

static void test_sum_never_changes(struct kunit *test)
{
	struct pcpu_permits *permits = make(test, 100);
	struct found found = { .permits = permits };
	unsigned int out = 0, i, cpu;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < RANDOM_STEPS; i++) {
		cpu = cpumask_nth(prandom_u32_state(&rnd) % num_online_cpus(), cpu_online_mask);
		if (prandom_u32_state(&rnd) & 1) {
			smp_call_function_single(cpu, take_here, &found, true);
			KUNIT_ASSERT_EQ(test, found.took, out < 100);
			out += found.took;
		} else if (out) {
			smp_call_function_single(cpu, give_here, permits, true);
			out--;
		}
		KUNIT_ASSERT_EQ(test, pcpu_permits_left(permits), 100 - out);
	}
	while (out--)
		pcpu_permits_give(permits);
}

/*
 * All CPUs, from tasks and hard interrupts. A task asks for interrupts on the next
 * CPU, so that they come there at any point.
 */

#define TASKS		8
#define STEPS		100000
#define IRQ_EVERY	16
#define HELD		2
#define PATIENCE	(60 * HZ)

struct context {
	struct rnd_state rnd;
	unsigned int held;
};

struct hammer_cpu {
	struct irq_work work;
	struct context irq;
};

static DEFINE_PER_CPU(struct hammer_cpu, hammer_cpus);

/* One case at a time: an interrupt cannot know the test otherwise. */
static struct hammer {
	struct pcpu_permits *permits;
	void (*step)(struct context *c);
	unsigned int nr;
	atomic_t out;		/* less than what is out at any time */
	atomic_t too_many;
	atomic_long_t taken;
	atomic_long_t refused;
	atomic_t irqs;
	/* For cases that know what there must be */
	atomic_t sure;		/* permits that are left, or more */
	atomic_t held;		/* permits that somebody could give, or more */
	atomic_t wrong;
} hammer;

struct hammer_task {
	struct task_struct *task;
	struct context c;
	atomic_t done;
};

/* A context holds a few permits, and takes and gives them as the dice fall. */
static void step_free(struct context *c)
{
	if (c->held && (c->held == HELD || prandom_u32_state(&c->rnd) & 1)) {
		atomic_dec(&hammer.out);
		pcpu_permits_give(hammer.permits);
		c->held--;
	} else if (pcpu_permits_take(hammer.permits)) {
		if (atomic_inc_return(&hammer.out) > hammer.nr)
			atomic_inc(&hammer.too_many);
		atomic_long_inc(&hammer.taken);
		c->held++;
	} else {
		atomic_long_inc(&hammer.refused);
	}
}

static void hammer_irq(struct irq_work *work)
{
	struct hammer_cpu *c = this_cpu_ptr(&hammer_cpus);

	atomic_inc(&hammer.irqs);
	hammer.step(&c->irq);
	hammer.step(&c->irq);
}

static void interrupt_next_cpu(void)
{
	unsigned int cpu;

	preempt_disable();
	cpu = cpumask_next(smp_processor_id(), cpu_online_mask);
	if (cpu >= nr_cpu_ids)
		cpu = cpumask_first(cpu_online_mask);
	irq_work_queue_on(&per_cpu(hammer_cpus, cpu).work, cpu);
	preempt_enable();
}

static int hammer_thread(void *arg)
{
	struct hammer_task *t = arg;
	unsigned int i;

	for (i = 0; i < STEPS && !kthread_should_stop(); i++) {
		hammer.step(&t->c);
		if (i % IRQ_EVERY == 0)
			interrupt_next_cpu();
		cond_resched();
	}
	atomic_set(&t->done, 1);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

static bool is_done(struct hammer_task *t)
{
	unsigned long until = jiffies + PATIENCE;

	while (!atomic_read(&t->done) && time_before(jiffies, until))
		usleep_range(200, 1000);
	return atomic_read(&t->done);
}

static void start(struct kunit *test, unsigned int nr, void (*step)(struct context *c))
{
	unsigned int cpu;

	hammer = (struct hammer){ .permits = make(test, nr), .step = step, .nr = nr };
	atomic_set(&hammer.sure, nr);
	for_each_possible_cpu(cpu) {
		per_cpu(hammer_cpus, cpu) = (struct hammer_cpu){
			.work = IRQ_WORK_INIT_HARD(hammer_irq),
		};
		prandom_seed_state(&per_cpu(hammer_cpus, cpu).irq.rnd, 100 + cpu);
	}
}

/* Tasks that are not bound: they move between a take and a give. */
static void play(struct kunit *test)
{
	struct hammer_task *tasks = kunit_kcalloc(test, TASKS, sizeof(*tasks), GFP_KERNEL);
	unsigned int i, cpu;
	bool done = true;

	KUNIT_ASSERT_NOT_NULL(test, tasks);
	for (i = 0; i < TASKS; i++) {
		prandom_seed_state(&tasks[i].c.rnd, i);
		tasks[i].task = kthread_run(hammer_thread, &tasks[i], "permits/%u", i);
	}
	for (i = 0; i < TASKS; i++) {
		if (IS_ERR(tasks[i].task)) {
			done = false;
			continue;
		}
		done &= is_done(&tasks[i]);
		kthread_stop(tasks[i].task);
	}
	for_each_possible_cpu(cpu)
		irq_work_sync(&per_cpu(hammer_cpus, cpu).work);
	KUNIT_EXPECT_TRUE(test, done);
	KUNIT_EXPECT_GT(test, atomic_read(&hammer.irqs), 0);
	for (i = 0; i < TASKS; i++) {
		for (; tasks[i].c.held; tasks[i].c.held--)
			pcpu_permits_give(hammer.permits);
	}
	for_each_possible_cpu(cpu) {
		for (; per_cpu(hammer_cpus, cpu).irq.held; per_cpu(hammer_cpus, cpu).irq.held--)
			pcpu_permits_give(hammer.permits);
	}
}

static void test_never_one_too_many(struct kunit *test)
{
	/* Less than the contexts want, and on one CPU less than one of them wants. */
	start(test, num_online_cpus(), step_free);
	play(test);
	kunit_info(test, "%ld taken, %ld refused, %d interrupts\n",
		   atomic_long_read(&hammer.taken), atomic_long_read(&hammer.refused),
		   atomic_read(&hammer.irqs));
	KUNIT_EXPECT_EQ(test, atomic_read(&hammer.too_many), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&hammer.taken), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&hammer.refused), 0);
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(hammer.permits), hammer.nr);
	KUNIT_EXPECT_EQ(test, take_all(hammer.permits, hammer.nr + 1), hammer.nr);
}

/*
 * As many permits as are counted in @sure are left, wherever they lie. Who has
 * counted one of them off must get one: permits are taken here and given there,
 * so it may lie anywhere.
 */
static void take_sure(void)
{
	if (atomic_dec_if_positive(&hammer.sure) < 0)
		return;
	if (!pcpu_permits_take(hammer.permits)) {
		atomic_inc(&hammer.wrong);
		return;
	}
	atomic_long_inc(&hammer.taken);
	atomic_inc(&hammer.held);
}

static void give_held(void)
{
	if (atomic_dec_if_positive(&hammer.held) < 0)
		return;
	pcpu_permits_give(hammer.permits);
	atomic_inc(&hammer.sure);
}

/* Some CPUs as a rule take, others as a rule give. */
static void step_sure(struct context *c)
{
	bool giver = raw_smp_processor_id() & 1;

	if (prandom_u32_state(&c->rnd) % 8 == 0)
		giver = !giver;
	if (giver)
		give_held();
	else
		take_sure();
}

static void test_none_is_refused_while_one_is_left(struct kunit *test)
{
	start(test, num_online_cpus(), step_sure);
	play(test);
	kunit_info(test, "%ld taken, %d refused, %d interrupts\n",
		   atomic_long_read(&hammer.taken), atomic_read(&hammer.wrong),
		   atomic_read(&hammer.irqs));
	KUNIT_EXPECT_EQ(test, atomic_read(&hammer.wrong), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&hammer.taken), 0);
	KUNIT_EXPECT_EQ(test, pcpu_permits_left(hammer.permits) + atomic_read(&hammer.held),
			hammer.nr);
}

static struct kunit_case pcpu_permits_cases[] = {
	KUNIT_CASE_PARAM(test_as_many_as_there_are, number_gen_params),
	KUNIT_CASE_PARAM(test_each_cpu_has_its_share, number_gen_params),
	KUNIT_CASE(test_without_any),
	KUNIT_CASE(test_as_many_as_can_be),
	KUNIT_CASE(test_only_one_is_found),
	KUNIT_CASE(test_share_of_absent_cpus),
	KUNIT_CASE(test_sum_never_changes),
	KUNIT_CASE_SLOW(test_never_one_too_many),
	KUNIT_CASE_SLOW(test_none_is_refused_while_one_is_left),
	{}
};

static struct kunit_suite pcpu_permits_suite = {
	.name = "pcpu_permits",
	.test_cases = pcpu_permits_cases,
};

kunit_test_suite(pcpu_permits_suite);

MODULE_DESCRIPTION("KUnit tests for permits that lie with the CPUs");
MODULE_LICENSE("GPL");
