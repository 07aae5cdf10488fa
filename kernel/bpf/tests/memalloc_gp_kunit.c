// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: grace periods. What may be reused at once, what only
 * after RCU, and what may go back to the slab only after RCU Tasks Trace.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/nodemask.h>
#include <linux/slab.h>
#include "memalloc_test_util.h"

#define MANY	3000

/*
 * Many grace periods long, each of which may take some ticks. On UML a refill
 * waits for the next tick, and a batch for each.
 */
#define STORM	(IS_ENABLED(CONFIG_UML) ? 40000 : 1000000)

/* How many ticks a reader stays when it must be shown that nothing happens. */
#define READER_TICKS	5

static void **many(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

static void free_rcu_all(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	migrate_disable();
	while (nr--)
		bpf_mem_cache_free_rcu(ma, objs[nr]);
	migrate_enable();
}

static bool engine_idle(struct bpf_mem_gp *gp)
{
	return atomic_read(&gp->state) == BPF_MEM_GP_IDLE;
}

/* Nothing waits for reuse, nor is anything on its way from one list to another. */
static bool nothing_deferred(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;
	int cpu;

	memalloc_test_settle(pool);
	for_each_possible_cpu(cpu) {
		if (!llist_empty(&per_cpu_ptr(bpf_mem_cpus(pool), cpu)->mag.deferred))
			return false;
	}
	bpf_mem_for_each_shard(shard, pool, i) {
		if (!engine_idle(&shard->reuse))
			return false;
	}
	return true;
}

static bool nothing_waits_for_slab(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;

	memalloc_test_settle(pool);
	bpf_mem_for_each_shard(shard, pool, i) {
		if (!engine_idle(&shard->release) || !bpf_mem_queue_empty(&shard->surplus) ||
		    !bpf_mem_queue_empty(&shard->releasing))
			return false;
	}
	return true;
}

static bool is_among(void *obj, void **objs, unsigned int nr)
{
	while (nr--) {
		if (objs[nr] == obj)
			return true;
	}
	return false;
}

static void test_plain_free_may_be_reused_at_once(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void *obj = memalloc_test_cache_get(ma), *again;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	rcu_read_lock();
	bpf_mem_cache_free(ma, obj);
	again = bpf_mem_cache_alloc(ma);
	rcu_read_unlock();
	KUNIT_EXPECT_PTR_EQ(test, again, obj);
	bpf_mem_cache_free(ma, again);
}

/*
 * A reader that started before the free may still look at the object: whatever
 * is allocated while it lasts, the object is not among it, and it keeps its
 * content. Afterwards it comes back without anybody freeing anything.
 */
static void test_free_rcu_not_reused_under_a_reader(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = many(test), *seen = memalloc_test_cache_get(ma);
	unsigned int nr = 0;
	bool early, intact, back;
	unsigned long until;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	test_ignore_demand(test_pool(ma));
	memalloc_test_sign(seen, 64);
	rcu_read_lock();
	bpf_mem_cache_free_rcu(ma, seen);
	until = jiffies + READER_TICKS;
	while (time_before(jiffies, until)) {
		if (nr < MANY / 3) {
			objs[nr] = bpf_mem_cache_alloc(ma);
			nr += !!objs[nr];
		}
		cpu_relax();
	}
	early = is_among(seen, objs, nr);
	intact = memalloc_test_signed(seen, 64);
	rcu_read_unlock();
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_FALSE(test, early);
	KUNIT_EXPECT_TRUE(test, intact);

	back = test_wait_for(nothing_deferred(test_pool(ma)));
	KUNIT_EXPECT_TRUE(test, back);
	while (nr < MANY && !is_among(seen, objs, nr)) {
		objs[nr] = memalloc_test_cache_get(ma);
		KUNIT_ASSERT_NOT_NULL(test, objs[nr]);
		nr++;
	}
	/* If it went home to another node it is not needed here. */
	KUNIT_EXPECT_TRUE(test, num_online_nodes() > 1 || is_among(seen, objs, nr));
	memalloc_test_free_all(ma, objs, nr);
}

static void test_class_free_rcu_not_reused_under_a_reader(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	void **objs = many(test), *seen = memalloc_test_get(ma, 100);
	struct bpf_mem_pool *pool = ma->owner->pool[bpf_mem_class(108)];
	unsigned int nr = 0;
	unsigned long until;
	bool early, back;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	test_ignore_demand(pool);
	rcu_read_lock();
	bpf_mem_free_rcu(ma, seen);
	until = jiffies + READER_TICKS;
	while (time_before(jiffies, until) && nr < MANY) {
		objs[nr] = bpf_mem_alloc(ma, 100);
		nr += !!objs[nr];
	}
	early = is_among(seen, objs, nr);
	rcu_read_unlock();
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_FALSE(test, early);
	back = test_wait_for(nothing_deferred(pool));
	KUNIT_EXPECT_TRUE(test, back);
	while (nr)
		bpf_mem_free(ma, objs[--nr]);
}

/* A sleepable program may look at an object for as long as it likes. */
static void slab_waits_for_trace_reader(struct kunit *test,
					void (*free_all)(struct bpf_mem_alloc *ma, void **objs,
							 unsigned int nr))
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	long held, before, early;
	void **objs = many(test);
	unsigned int nr;
	bool waiting, less;

	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	before = test_live();
	rcu_read_lock_trace();
	free_all(ma, objs, nr);
	/* Until the surplus is in the hands of RCU Tasks Trace. */
	waiting = test_wait_for(bpf_mem_gp_is_waiting(&test_shard(test_pool(ma))->release));
	synchronize_rcu();
	rcu_barrier();
	early = before - test_live();
	held = test_live();
	rcu_read_unlock_trace();
	KUNIT_EXPECT_TRUE(test, waiting);
	KUNIT_EXPECT_LE_MSG(test, early, 0, "went to the slab under a reader");
	less = test_wait_for(test_live() <= held - MANY / 2);
	KUNIT_EXPECT_TRUE(test, less);
}

static void test_slab_waits_for_trace_reader_after_free(struct kunit *test)
{
	slab_waits_for_trace_reader(test, memalloc_test_free_all);
}

static void test_slab_waits_for_trace_reader_after_free_rcu(struct kunit *test)
{
	slab_waits_for_trace_reader(test, free_rcu_all);
}

/* Objects that wait for the slab are handed out before the slab is asked. */
static void test_refill_takes_waiting_objects_back(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab;
	void **objs = many(test);
	unsigned int nr, again;
	int asked;

	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	rcu_read_lock_trace();
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	slab = memalloc_test_watch_slab(test);
	again = memalloc_test_fill(ma, objs, MANY - 200);
	asked = atomic_read(&slab->objects);
	rcu_read_unlock_trace();
	KUNIT_EXPECT_EQ(test, again, MANY - 200);
	KUNIT_EXPECT_EQ(test, asked, 0);
	memalloc_test_free_all(ma, objs, again);
}

/* With interrupts off, too: an allocation looks there before it fails. */
static void test_burst_takes_waiting_objects_back(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = many(test);
	unsigned int nr, again;

	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	rcu_read_lock_trace();
	memalloc_test_free_all(ma, objs, nr);
	/* The worker has nothing in its hands. */
	memalloc_test_settle(test_pool(ma));
	again = memalloc_test_burst(ma, objs, MANY);
	rcu_read_unlock_trace();
	KUNIT_EXPECT_EQ(test, again, MANY);
	memalloc_test_free_all(ma, objs, again);
}

/*
 * Runs at the end of grace periods. Frees an object when none is deferred, until it
 * finds that one of these has a grace period of its own under way: then the rest.
 */
struct chaser {
	struct rcu_head rcu;
	struct bpf_mem_alloc *ma;
	void **objs;
	unsigned int nr;
	unsigned long until;
	bool in_flight;
	struct completion done;
};

static void chase(struct rcu_head *rcu)
{
	struct chaser *chaser = container_of(rcu, struct chaser, rcu);
	unsigned int nr = llist_empty(&test_this_cpu(chaser->ma)->deferred);
	bool more;

	if (bpf_mem_gp_is_waiting(&test_shard(test_pool(chaser->ma))->reuse)) {
		chaser->in_flight = true;
		nr = chaser->nr;
	} else if (time_after(jiffies, chaser->until)) {
		nr = chaser->nr;
	}
	more = chaser->nr > nr;
	/* Before the engine asks RCU: then this comes first at the end of that grace period. */
	if (more)
		call_rcu_hurry(rcu, chase);
	while (nr--)
		bpf_mem_cache_free_rcu(chaser->ma, chaser->objs[--chaser->nr]);
	if (!more)
		complete(&chaser->done);
}

/*
 * What is freed while a grace period is in flight used to stay until the next
 * free happened to come. Here nobody frees anything any more.
 */
static void test_engine_restarts_for_what_came_in_flight(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct chaser chaser = { .ma = ma, .objs = many(test) };
	bool done;

	chaser.nr = memalloc_test_fill(ma, chaser.objs, MANY);
	KUNIT_ASSERT_EQ(test, chaser.nr, MANY);
	chaser.until = jiffies + TEST_PATIENCE;
	init_rcu_head_on_stack(&chaser.rcu);
	init_completion(&chaser.done);
	call_rcu_hurry(&chaser.rcu, chase);
	wait_for_completion(&chaser.done);
	destroy_rcu_head_on_stack(&chaser.rcu);
	KUNIT_EXPECT_TRUE(test, chaser.in_flight);
	done = test_wait_for(nothing_deferred(test_pool(ma)));
	KUNIT_EXPECT_TRUE_MSG(test, done, "objects stay on the deferred list");
	KUNIT_EXPECT_EQ(test, bpf_mem_pool_used(test_pool(ma)), 0);
}

/* The same for what waits for the slab. */
static void test_release_restarts_for_what_came_in_flight(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_shard *shard = test_shard(test_pool(ma));
	void **objs = many(test);
	unsigned int nr;
	bool first, second, done;

	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	rcu_read_lock_trace();
	memalloc_test_free_all(ma, objs + MANY / 2, MANY / 2);
	first = test_wait_for(bpf_mem_gp_is_waiting(&shard->release));
	memalloc_test_free_all(ma, objs, MANY / 2);
	memalloc_test_settle(test_pool(ma));
	second = bpf_mem_gp_is_waiting(&shard->release) && !bpf_mem_queue_empty(&shard->surplus);
	rcu_read_unlock_trace();
	KUNIT_EXPECT_TRUE(test, first);
	KUNIT_EXPECT_TRUE(test, second);
	done = test_wait_for(nothing_waits_for_slab(test_pool(ma)));
	KUNIT_EXPECT_TRUE_MSG(test, done, "surplus stays");
}

/*
 * However many are freed at once: what goes to the slab goes from a task that can
 * be preempted. It was two million in one callback of RCU.
 */
#define STORED	100000

static atomic_t destructed, outside_task;

static void watch_context(void *obj, void *ctx)
{
	atomic_inc(&destructed);
	/* Callbacks of RCU have softirqs off where they run in a thread. */
	if (!in_task() || in_softirq() || irqs_disabled())
		atomic_inc(&outside_task);
}

static void many_go_from_tasks_only(struct kunit *test,
				    void (*free_all)(struct bpf_mem_alloc *ma, void **objs,
						     unsigned int nr))
{
	void **objs = kvcalloc(STORED, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	long before = test_live();
	unsigned int nr = 0;
	long most, less;
	bool gone;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	atomic_set(&destructed, 0);
	atomic_set(&outside_task, 0);
	if (!bpf_mem_alloc_init(&ma, 64, false)) {
		bpf_mem_alloc_set_dtor(&ma, watch_context, NULL, NULL);
		nr = memalloc_test_fill(&ma, objs, STORED);
		most = test_live() - before;
		free_all(&ma, objs, nr);
		gone = test_wait_for(atomic_read(&destructed) >= STORED / 2);
		KUNIT_EXPECT_TRUE(test, gone);
		less = atomic_read(&destructed);
		bpf_mem_alloc_destroy(&ma);
		gone = test_wait_for(test_live() == before);
		KUNIT_EXPECT_TRUE(test, gone);
		KUNIT_EXPECT_GE(test, atomic_read(&destructed), most);
		kunit_info(test, "%ld of %ld went before the allocator\n", less, most);
	}
	kvfree(objs);
	KUNIT_EXPECT_EQ(test, nr, STORED);
	KUNIT_EXPECT_EQ(test, atomic_read(&outside_task), 0);
}

static void test_many_freed_go_from_tasks_only(struct kunit *test)
{
	many_go_from_tasks_only(test, memalloc_test_free_all);
}

static void test_many_freed_by_rcu_go_from_tasks_only(struct kunit *test)
{
	many_go_from_tasks_only(test, free_rcu_all);
}

/*
 * Who defers the first object of a CPU asks for somebody to collect it. A request
 * that came while another one ran was lost once, and the object stayed.
 */
#define ROUNDS	300

struct deferrer {
	struct bpf_mem_alloc *ma;
	void **objs;		/* one for each CPU */
	atomic_t late;
};

static void defer_own(void *arg)
{
	struct deferrer *deferrer = arg;
	unsigned int cpu = smp_processor_id();

	bpf_mem_cache_free_rcu(deferrer->ma, deferrer->objs[cpu]);
}

/* Without a nudge from the test: it looks, and asks for nothing. */
static bool all_collected(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!llist_empty(&per_cpu_ptr(bpf_mem_cpus(pool), cpu)->mag.deferred) ||
		    READ_ONCE(per_cpu_ptr(bpf_mem_cpus(pool), cpu)->waiting))
			return false;
	}
	bpf_mem_for_each_shard(shard, pool, i) {
		if (!engine_idle(&shard->reuse))
			return false;
	}
	return true;
}

static void test_last_deferred_objects_come_back(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct deferrer deferrer = { .ma = ma };
	unsigned int cpu, round, alone;
	bool back = true;

	deferrer.objs = kunit_kcalloc(test, nr_cpu_ids, sizeof(void *), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, deferrer.objs);
	for (round = 0; round < ROUNDS && back; round++) {
		for_each_online_cpu(cpu) {
			deferrer.objs[cpu] = memalloc_test_cache_get(ma);
			KUNIT_ASSERT_NOT_NULL(test, deferrer.objs[cpu]);
		}
		/* All at once, or one after the other while the engine runs. */
		if (round & 1) {
			on_each_cpu(defer_own, &deferrer, true);
		} else {
			for_each_online_cpu(cpu) {
				alone = cpu;
				smp_call_function_single(alone, defer_own, &deferrer, true);
				if (round & 2)
					usleep_range(10 * (round % 50), 10 * (round % 50) + 20);
			}
		}
		back = test_wait_for(all_collected(test_pool(ma)));
	}
	KUNIT_EXPECT_TRUE_MSG(test, back, "left on a deferred list in round %u", round);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_EQ(test, bpf_mem_pool_used(test_pool(ma)), 0);
}

/* The one who frees may be on another CPU the next moment. */
static void test_deferred_by_one_who_migrates(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	unsigned int cpu, round;
	bool back = true;
	void *obj;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU only");
	for (round = 0; round < ROUNDS / 10 && back; round++) {
		for_each_online_cpu(cpu) {
			obj = memalloc_test_cache_get(ma);
			KUNIT_ASSERT_NOT_NULL(test, obj);
			set_cpus_allowed_ptr(current, cpumask_of(cpu));
			bpf_mem_cache_free_rcu(ma, obj);
			set_cpus_allowed_ptr(current, cpu_online_mask);
		}
		back = test_wait_for(all_collected(test_pool(ma)));
	}
	KUNIT_EXPECT_TRUE_MSG(test, back, "left on a deferred list in round %u", round);
}

/* Held 2 GB once, until RCU was told to hurry. */
static void test_storm_of_free_rcu_is_bounded(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	long before = test_live(), most = 0;
	unsigned int i;

	for (i = 0; i < STORM; i++) {
		void *obj = memalloc_test_cache_get(ma);

		KUNIT_ASSERT_NOT_NULL(test, obj);
		bpf_mem_cache_free_rcu(ma, obj);
		most = max(most, test_live() - before);
		cond_resched();
	}
	kunit_info(test, "%u freed, at most %ld held\n", i, most);
	/* How much waits is how long grace periods take, which varies. */
	KUNIT_EXPECT_LT(test, most, STORM / 2);
}

static struct kunit_case memalloc_gp_cases[] = {
	KUNIT_CASE(test_plain_free_may_be_reused_at_once),
	KUNIT_CASE(test_free_rcu_not_reused_under_a_reader),
	KUNIT_CASE(test_class_free_rcu_not_reused_under_a_reader),
	KUNIT_CASE(test_slab_waits_for_trace_reader_after_free),
	KUNIT_CASE(test_slab_waits_for_trace_reader_after_free_rcu),
	KUNIT_CASE(test_refill_takes_waiting_objects_back),
	KUNIT_CASE(test_burst_takes_waiting_objects_back),
	KUNIT_CASE(test_engine_restarts_for_what_came_in_flight),
	KUNIT_CASE(test_release_restarts_for_what_came_in_flight),
	KUNIT_CASE_SLOW(test_many_freed_go_from_tasks_only),
	KUNIT_CASE_SLOW(test_many_freed_by_rcu_go_from_tasks_only),
	KUNIT_CASE_SLOW(test_last_deferred_objects_come_back),
	KUNIT_CASE(test_deferred_by_one_who_migrates),
	KUNIT_CASE(test_storm_of_free_rcu_is_bounded),
	{}
};

static struct kunit_suite memalloc_gp_suite = {
	.name = "bpf_memalloc_gp",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_gp_cases,
};

kunit_test_suite(memalloc_gp_suite);
