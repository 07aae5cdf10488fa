// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: grace periods. What may be reused at once, what only
 * after RCU, and what may go back to the slab only after RCU Tasks Trace.
 */
#include <kunit/test.h>
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

static bool nothing_deferred(struct bpf_mem_alloc *ma)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!llist_empty(&per_cpu_ptr(ma->cpus, cpu)->deferred))
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

	back = test_wait_for(nothing_deferred(ma) && engine_idle(&test_pool(ma)->reuse));
	KUNIT_EXPECT_TRUE(test, back);
	while (nr < MANY && !is_among(seen, objs, nr)) {
		objs[nr] = memalloc_test_cache_get(ma);
		KUNIT_ASSERT_NOT_NULL(test, objs[nr]);
		nr++;
	}
	KUNIT_EXPECT_TRUE(test, is_among(seen, objs, nr));
	memalloc_test_free_all(ma, objs, nr);
}

static void test_class_free_rcu_not_reused_under_a_reader(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_classes(test);
	void **objs = many(test), *seen = memalloc_test_get(ma, 100);
	struct bpf_mem_pool *pool = ma->pools->pool[bpf_mem_class(108)];
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
	back = test_wait_for(engine_idle(&pool->reuse));
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
	waiting = test_wait_for(READ_ONCE(test_pool(ma)->release.waiting.nr));
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
	again = memalloc_test_burst(ma, objs, MANY);
	rcu_read_unlock_trace();
	KUNIT_EXPECT_EQ(test, again, MANY);
	memalloc_test_free_all(ma, objs, again);
}

/*
 * What is freed while a grace period is in flight used to stay until the next
 * free happened to come. A reader holds the first grace period up while more
 * arrives; then nobody frees anything any more.
 */
static void test_engine_restarts_for_what_came_in_flight(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_gp *reuse = &test_pool(ma)->reuse;
	void **objs = many(test);
	unsigned long until;
	unsigned int nr;
	int state;
	bool done;

	nr = memalloc_test_fill(ma, objs, 400);
	KUNIT_ASSERT_EQ(test, nr, 400);
	rcu_read_lock();
	bpf_mem_cache_free_rcu(ma, objs[--nr]);
	/* In flight: the list was collected, and the reader keeps it there. */
	until = jiffies + TEST_PATIENCE;
	while (engine_idle(reuse) && time_before(jiffies, until))
		cpu_relax();
	state = atomic_read(&reuse->state);
	while (nr)
		bpf_mem_cache_free_rcu(ma, objs[--nr]);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, state, BPF_MEM_GP_IN_FLIGHT);

	done = test_wait_for(nothing_deferred(ma) && engine_idle(reuse));
	KUNIT_EXPECT_TRUE_MSG(test, done, "objects stay on the deferred list");
}

/* The same for what waits for the slab. */
static void test_release_restarts_for_what_came_in_flight(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	void **objs = many(test);
	unsigned int nr;
	bool first, second, done;

	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	rcu_read_lock_trace();
	memalloc_test_free_all(ma, objs + MANY / 2, MANY / 2);
	first = test_wait_for(READ_ONCE(pool->release.waiting.nr));
	memalloc_test_free_all(ma, objs, MANY / 2);
	second = test_wait_for(READ_ONCE(pool->surplus.nr));
	rcu_read_unlock_trace();
	KUNIT_EXPECT_TRUE(test, first);
	KUNIT_EXPECT_TRUE(test, second);
	done = test_wait_for(engine_idle(&pool->release) && !READ_ONCE(pool->surplus.nr));
	KUNIT_EXPECT_TRUE_MSG(test, done, "surplus stays");
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
