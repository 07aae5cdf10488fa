// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: how long a busy CPU is kept from its work, ours and the
 * peer's; and when there is nothing to do for either ("quiet").
 *
 * pause	largest gap between two looks at the clock, in windows in which no
 *		thread can come between: interrupts and softirqs remain
 * wake		how late a real-time thread wakes up on the same CPU: what also
 *		counts is how long threads hold off others, such as the one that
 *		runs the callbacks of RCU Tasks Trace
 *
 * Between two windows the CPU goes through the scheduler, or no grace period
 * would end. An emulator that runs its CPUs in turns adds to a gap what another
 * one does meanwhile; so with several CPUs there is only what the others have
 * no part in.
 */
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#include <uapi/linux/sched/types.h>
#include "memalloc_bench_large.h"

#define SIZE		64
#define MOST		100000
#define WINDOW		(2 * NSEC_PER_MSEC)
#define LATER_WINDOWS	8			/* some ticks */
#define NAP		20			/* us */
#define LONGEST_WAIT	(20 * NSEC_PER_SEC)

struct watch {
	u64 last;
	u64 longest;
};

static u64 look(struct watch *watch)
{
	u64 now = ktime_get_ns();

	watch->longest = max(watch->longest, now - watch->last);
	watch->last = now;
	return now;
}

/* Reading the clock is what takes an emulator longest: not all of the time. */
static void spin(struct watch *watch, u64 ns)
{
	u64 end = watch->last + ns;
	int i;

	while (look(watch) < end) {
		for (i = 0; i < 100; i++)
			barrier();
	}
}

static void window(struct watch *watch)
{
	preempt_disable();
	watch->last = ktime_get_ns();
	spin(watch, WINDOW);
	preempt_enable();
	yield();
}

static void nap(struct watch *watch)
{
	u64 start = ktime_get_ns();

	usleep_range(NAP, NAP + 1);
	watch->longest = max(watch->longest, ktime_get_ns() - start - NAP * NSEC_PER_USEC);
}

struct drain {
	struct work_struct work;
	bool done;
};

static void wait_for_all(struct work_struct *work)
{
	struct drain *drain = container_of(work, struct drain, work);

	rcu_barrier();
	rcu_barrier_tasks_trace();
	rcu_barrier();
	/* What a callback has queued anew. */
	rcu_barrier_tasks_trace();
	WRITE_ONCE(drain->done, true);
}

/* Watch until nothing waits for a grace period any more. */
static void watch_drain(struct kunit *test, struct watch *watch,
			void (*once)(struct watch *watch))
{
	u64 end = ktime_get_ns() + LONGEST_WAIT;
	struct drain drain = {};

	INIT_WORK_ONSTACK(&drain.work, wait_for_all);
	queue_work(system_unbound_wq, &drain.work);
	while (!READ_ONCE(drain.done) && ktime_get_ns() < end)
		once(watch);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(drain.done));
	flush_work(&drain.work);
	destroy_work_on_stack(&drain.work);
}

static void report(struct kunit *test, const char *work, unsigned int nr,
		   const struct large_who *who, u64 longest, unsigned long missed)
{
	char name[40];

	snprintf(name, sizeof(name), "%s_%u", work, nr);
	bench_report(test, name, who ? who->name : "quiet", longest, 1, missed);
}

/* All contenders, and in the end none at all. */
#define for_each_who_and_none(i, who)					\
	for ((i) = 0;							\
	     (who) = (i) < large_nr_whos ? &large_whos[i] : NULL, (i) <= large_nr_whos; (i)++)

static void pass_time(u64 ns)
{
	struct watch unused = { .last = ktime_get_ns() };

	spin(&unused, ns);
}

/* With interrupts off; the pause begins where they are on again. */
static unsigned int burst(const struct large_who *who, union large_ma *ma, void **objs,
			  unsigned int nr, struct watch *watch)
{
	unsigned int i, got = 0;
	unsigned long flags;

	preempt_disable();
	local_irq_save(flags);
	for (i = 0; who && i < nr; i++) {
		objs[got] = who->alloc(ma, 0);
		got += !!objs[got];
	}
	if (!who)
		pass_time(nr * 100);
	watch->last = ktime_get_ns();
	local_irq_restore(flags);
	spin(watch, WINDOW);
	preempt_enable();
	/* What is left for later interrupts, or comes after a worker. */
	for (i = 0; i < LATER_WINDOWS; i++)
		window(watch);
	return got;
}

static void bench_pause_after_burst(struct kunit *test)
{
	static const unsigned int sizes[] = { 1000, 10000, MOST };
	void **objs = large_objs(test, MOST);
	const struct large_who *who;
	unsigned int i, s, got;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		for_each_who_and_none(i, who) {
			struct watch watch = {};
			union large_ma ma;

			if (who)
				KUNIT_ASSERT_EQ(test, who->init(&ma, SIZE, false), 0);
			bench_settle();
			got = burst(who, &ma, objs, sizes[s], &watch);
			report(test, "pause_burst", sizes[s], who, watch.longest,
			       who ? sizes[s] - got : 0);
			if (who) {
				large_put(who, &ma, objs, got);
				who->destroy(&ma);
			}
		}
	}
}

/* Objects go back one after the other, by @free, watched from one to the next. */
static void give_back(const struct large_who *who, union large_ma *ma, void **objs,
		      unsigned int nr, bool rcu, struct watch *watch)
{
	preempt_disable();
	watch->last = ktime_get_ns();
	while (who && nr--) {
		if (rcu)
			who->free_rcu(ma, 0, objs[nr]);
		else
			who->free(ma, 0, objs[nr]);
		look(watch);
	}
	if (!who)
		spin(watch, nr * 100);
	preempt_enable();
}

static void free_and_watch(struct kunit *test, const struct large_who *who, void **objs,
			   unsigned int nr, bool rcu, bool asleep)
{
	struct watch during = {}, after = {};
	unsigned int got = nr;
	union large_ma ma;

	if (who) {
		KUNIT_ASSERT_EQ(test, who->init(&ma, SIZE, false), 0);
		got = large_get(who, &ma, objs, nr);
	}
	bench_settle();
	give_back(who, &ma, objs, got, rcu, &during);
	if (asleep) {
		sched_set_fifo(current);
		watch_drain(test, &after, nap);
		sched_set_normal(current, 0);
		report(test, rcu ? "wake_freed_rcu" : "wake_freed", nr, who, after.longest,
		       nr - got);
	} else {
		watch_drain(test, &after, window);
		report(test, rcu ? "pause_freeing_rcu" : "pause_freeing", nr, who,
		       during.longest, nr - got);
		report(test, rcu ? "pause_freed_rcu" : "pause_freed", nr, who, after.longest,
		       nr - got);
	}
	if (who)
		who->destroy(&ma);
}

/* Grace periods, and the threads of RCU on whatever CPU. */
static void skip_with_others(struct kunit *test)
{
	if (num_online_cpus() > 1)
		kunit_skip(test, "the gaps would be those of other CPUs");
}

static void bench_pause_after_frees(struct kunit *test)
{
	static const unsigned int sizes[] = { 10000, MOST };
	void **objs = large_objs(test, MOST);
	const struct large_who *who;
	unsigned int i, s, rcu;

	skip_with_others(test);
	for (rcu = 0; rcu < 2; rcu++) {
		for (s = 0; s < ARRAY_SIZE(sizes); s++) {
			for_each_who_and_none(i, who)
				free_and_watch(test, who, objs, sizes[s], rcu, false);
		}
	}
}

static void bench_wake_after_frees(struct kunit *test)
{
	void **objs = large_objs(test, MOST);
	const struct large_who *who;
	unsigned int i, rcu;

	skip_with_others(test);
	for (rcu = 0; rcu < 2; rcu++) {
		for_each_who_and_none(i, who)
			free_and_watch(test, who, objs, MOST, rcu, true);
	}
}

static struct kunit_case memalloc_bench_large_pause_cases[] = {
	KUNIT_CASE(bench_pause_after_burst),
	KUNIT_CASE(bench_pause_after_frees),
	KUNIT_CASE(bench_wake_after_frees),
	{}
};

static struct kunit_suite memalloc_bench_large_pause_suite = {
	.name = "bpf_memalloc_large_pause",
	.init = large_init,
	.test_cases = memalloc_bench_large_pause_cases,
};

kunit_test_suite(memalloc_bench_large_pause_suite);
