// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: destruction. Objects are brought to each place where
 * one can be; then all must come back to the slab, each through the destructor
 * once, and the destructor's context must go last.
 */
#include <kunit/test.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include "memalloc_test_util.h"

/* More than a CPU and a depot hold. */
#define MANY	3000

struct witness {
	atomic_t destroyed;
	atomic_t twice;
	atomic_t late;		/* destructor after ctx_free */
	atomic_t ctx_freed;
};

static void count_dtor(void *obj, void *ctx)
{
	struct witness *seen = ctx;
	u64 *mark = obj;

	if (atomic_read(&seen->ctx_freed))
		atomic_inc(&seen->late);
	if (xchg(mark, 0xdeadULL) == 0xdeadULL)
		atomic_inc(&seen->twice);
	atomic_inc(&seen->destroyed);
}

static void count_ctx_free(void *ctx)
{
	struct witness *seen = ctx;

	atomic_inc(&seen->ctx_freed);
}

static void put_one(struct bpf_mem_alloc *ma, void *obj)
{
	migrate_disable();
	bpf_mem_cache_free(ma, obj);
	migrate_enable();
}

/* Bring objects to a place. All of @objs are in use before. */

static void to_magazines(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	memalloc_test_free_all(ma, objs, nr);
}

static void to_nested_list(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	struct pcpu_magazine_cpu *c;

	preempt_disable();
	c = test_this_cpu(ma);
	WRITE_ONCE(c->busy, 1);
	while (nr--)
		bpf_mem_cache_free(ma, objs[nr]);
	WRITE_ONCE(c->busy, 0);
	preempt_enable();
}

static void to_deferred_list(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	unsigned long flags;

	local_irq_save(flags);
	while (nr--)
		bpf_mem_cache_free_rcu(ma, objs[nr]);
	local_irq_restore(flags);
}

static void to_rcu(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	to_deferred_list(ma, objs, nr);
	/* The worker has begun a grace period that takes longer than this. */
	memalloc_test_settle(test_pool(ma));
}

static void to_overflow(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	unsigned long flags;

	local_irq_save(flags);
	while (nr--)
		bpf_mem_cache_free(ma, objs[nr]);
	local_irq_restore(flags);
}

static void to_rcu_tasks_trace(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	memalloc_test_free_all(ma, objs, nr);
	test_wait_for(bpf_mem_gp_is_waiting(&test_shard(test_pool(ma))->release));
}

struct remote_free {
	struct bpf_mem_alloc *ma;
	void **objs;
	unsigned int nr;
};

static void free_here(void *arg)
{
	struct remote_free *remote = arg;

	while (remote->nr--)
		bpf_mem_cache_free(remote->ma, remote->objs[remote->nr]);
}

/* On the last CPU, from an interrupt; with one CPU that is this one. */
static void to_another_cpu(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	struct remote_free remote = { ma, objs, nr };

	smp_call_function_single(cpumask_last(cpu_online_mask), free_here, &remote, 1);
}

static bool is_idle(struct bpf_mem_gp *gp)
{
	return atomic_read(&gp->state) == BPF_MEM_GP_IDLE;
}

static const struct place {
	const char *name;
	void (*bring)(struct bpf_mem_alloc *ma, void **objs, unsigned int nr);
	unsigned int nr;
} places[] = {
	{ "loaded", to_magazines, 10 },
	{ "loaded and spare", to_magazines, 90 },
	{ "depot", to_magazines, 200 },
	{ "nested list", to_nested_list, 70 },
	{ "deferred list", to_deferred_list, 70 },
	{ "waiting for RCU", to_rcu, 70 },
	{ "overflow", to_overflow, MANY },
	{ "waiting for RCU Tasks Trace", to_rcu_tasks_trace, MANY },
	{ "freed by another CPU", to_another_cpu, MANY },
};

static void place_desc(const struct place *place, char *desc)
{
	strscpy(desc, place->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(place, places, place_desc);

static void drain_from(struct kunit *test, const struct place *place, int size, bool percpu)
{
	struct witness *seen = kunit_kzalloc(test, sizeof(*seen), GFP_KERNEL);
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	long before = test_live();
	unsigned int nr;
	long held;
	bool done;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, size, percpu), 0);
	if (!percpu)
		bpf_mem_alloc_set_dtor(&ma, count_dtor, count_ctx_free, seen);
	nr = memalloc_test_fill(&ma, objs, place->nr);
	KUNIT_EXPECT_EQ(test, nr, place->nr);
	place->bring(&ma, objs, nr);
	held = test_live() - before + atomic_read(&seen->destroyed);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));

	done = test_wait_for(test_live() == before);
	KUNIT_EXPECT_TRUE_MSG(test, done, "%ld objects leaked", test_live() - before);
	if (percpu)
		return;
	done = test_wait_for(atomic_read(&seen->ctx_freed));
	KUNIT_EXPECT_TRUE(test, done);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->ctx_freed), 1);
	KUNIT_EXPECT_GE(test, atomic_read(&seen->destroyed), held);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->twice), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->late), 0);
}

static void test_destroy_returns_objects_from(struct kunit *test)
{
	drain_from(test, test->param_value, 64, false);
}

static void test_destroy_returns_large_objects_from(struct kunit *test)
{
	drain_from(test, test->param_value, 3000, false);
}

static void test_destroy_returns_percpu_objects_from(struct kunit *test)
{
	drain_from(test, test->param_value, 64, true);
}

/* Nothing of the table may be a place by name only. */
static void test_places_are_reached(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_shard *shard = test_shard(test_pool(ma));
	unsigned long flags;
	unsigned int nr;
	bool overflow, nested, deferred, rcu, trace;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	to_rcu(ma, objs, 10);
	/* With one CPU it may be over already. */
	rcu = !is_idle(&shard->reuse) || shard->reuse.nr_periods;
	to_rcu_tasks_trace(ma, objs + 10, MANY - 10);
	trace = bpf_mem_gp_is_waiting(&shard->release) && !bpf_mem_queue_empty(&shard->releasing);
	KUNIT_EXPECT_TRUE(test, rcu);
	KUNIT_EXPECT_TRUE(test, trace);
	nr = memalloc_test_fill(ma, objs, MANY);
	KUNIT_ASSERT_EQ(test, nr, MANY);
	local_irq_save(flags);
	to_nested_list(ma, objs, 10);
	nested = !llist_empty(&test_this_cpu(ma)->nested);
	to_deferred_list(ma, objs + 10, 10);
	deferred = !llist_empty(&test_this_cpu(ma)->deferred);
	to_overflow(ma, objs + 20, MANY - 20);
	overflow = !bpf_mem_queue_empty(&shard->surplus);
	local_irq_restore(flags);
	KUNIT_EXPECT_TRUE(test, nested);
	KUNIT_EXPECT_TRUE(test, deferred);
	KUNIT_EXPECT_TRUE(test, overflow);
}

static void test_destroy_of_nothing(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};

	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
}

static void test_destroy_twice(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 100, false), 0);
	bpf_mem_alloc_destroy(&ma);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 0, false), 0);
	bpf_mem_alloc_destroy(&ma);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_init(&ma, NULL), 0);
	bpf_mem_alloc_destroy(&ma);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
}

/* Destruction once went on while a refill was about to touch the allocator. */
static void test_destroy_waits_for_refill(struct kunit *test)
{
	long before = test_live();
	int round, pending = 0;
	bool done;

	for (round = 0; round < 50; round++) {
		struct bpf_mem_alloc ma = {};
		unsigned long flags;
		void *obj;

		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
		local_irq_save(flags);
		obj = bpf_mem_cache_alloc(&ma);
		pending += test_refill_pending(test_pool(&ma));
		bpf_mem_cache_free(&ma, obj);
		local_irq_restore(flags);
		bpf_mem_alloc_destroy(&ma);
	}
	KUNIT_EXPECT_EQ(test, pending, 50);
	done = test_wait_for(test_live() == before);
	KUNIT_EXPECT_TRUE(test, done);
}

/*
 * Refills that sleep for memory. Whether a worker is at it was a guess once, and
 * one that slept could queue the next refill after the last look.
 */
#define SLEEPERS	50
#define SLEEPY	300	/* objects: a few batches to wait for */

static atomic_t asleep;
static atomic_t slept;

static unsigned int sleepy_permit(unsigned int nr, gfp_t gfp)
{
	if (!gfpflags_allow_blocking(gfp) || !(current->flags & PF_WQ_WORKER))
		return nr;
	atomic_inc(&asleep);
	usleep_range(500, 3000);
	atomic_dec(&asleep);
	atomic_inc(&slept);
	return nr;
}

static void free_in_turns(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	migrate_disable();
	while (nr--) {
		if (nr / 100 & 1)
			bpf_mem_cache_free_rcu(ma, objs[nr]);
		else
			bpf_mem_cache_free(ma, objs[nr]);
	}
	migrate_enable();
}

static void test_destroy_while_refills_sleep(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);
	unsigned int round, nr, caught = 0, left = 0;
	long before = test_live();
	bool done;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	atomic_set(&slept, 0);
	WRITE_ONCE(bpf_mem_test.permit, sleepy_permit);
	for (round = 0; round < SLEEPERS; round++) {
		struct bpf_mem_alloc ma = {};

		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
		/* Most of it fails: the worker has some to bring, and is at it for a while. */
		nr = memalloc_test_burst(&ma, objs, SLEEPY);
		done = test_wait_for(atomic_read(&asleep));
		KUNIT_EXPECT_TRUE(test, done);
		if (round & 1)
			nr += memalloc_test_burst(&ma, objs + nr, SLEEPY);
		free_in_turns(&ma, objs, nr);
		if (round & 2)
			usleep_range(1, 3000);
		caught += !!atomic_read(&asleep);
		bpf_mem_alloc_destroy(&ma);
		left += !!atomic_read(&asleep);
	}
	WRITE_ONCE(bpf_mem_test.permit, NULL);
	KUNIT_EXPECT_GE(test, caught, SLEEPERS / 4);
	KUNIT_EXPECT_EQ(test, left, 0);
	done = test_wait_for(test_live() == before);
	KUNIT_EXPECT_TRUE_MSG(test, done, "%ld objects leaked", test_live() - before);
}

/*
 * With callbacks of every kind in flight, for allocators of every kind: once
 * only the fixed-size flavour was waited for. Memory that a callback touches
 * too late shows under KASAN; objects that it forgets show in the balance.
 */
static void provoke_callbacks(struct kunit *test, int size, bool percpu_classes, int round)
{
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	unsigned int i, nr = percpu_classes ? 50 : MANY;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	if (percpu_classes) {
		err = bpf_mem_alloc_percpu_init(&ma, NULL) ?:
		      bpf_mem_alloc_percpu_unit_init(&ma, 64);
	} else {
		err = bpf_mem_alloc_init(&ma, size, false);
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	for (i = 0; i < nr; i++)
		objs[i] = size ? memalloc_test_cache_get(&ma) : memalloc_test_get(&ma, 64);
	for (i = 0; i < nr; i++) {
		bool rcu = (i / 100 + round) & 1;

		migrate_disable();
		if (size && rcu)
			bpf_mem_cache_free_rcu(&ma, objs[i]);
		else if (size)
			bpf_mem_cache_free(&ma, objs[i]);
		else if (rcu)
			bpf_mem_free_rcu(&ma, objs[i]);
		else
			bpf_mem_free(&ma, objs[i]);
		migrate_enable();
	}
	/* Sometimes before the engines start, sometimes in the middle of it. */
	if (round % 3 == 1)
		usleep_range(100, 200);
	else if (round % 3 == 2)
		usleep_range(20000, 40000);
	bpf_mem_alloc_destroy(&ma);
	kunit_kfree(test, objs);
}

static void test_destroy_with_callbacks_in_flight(struct kunit *test)
{
	long before = test_live();
	int round;
	bool done;

	for (round = 0; round < 12; round++) {
		provoke_callbacks(test, 64, false, round);
		provoke_callbacks(test, 0, false, round);
		provoke_callbacks(test, 0, true, round);
	}
	done = test_wait_for(test_live() == before);
	KUNIT_EXPECT_TRUE_MSG(test, done, "%ld objects leaked", test_live() - before);
}

/* The worker, not the caller, waits for a reader that stays. */
static void test_destroy_does_not_wait_for_readers(struct kunit *test)
{
	struct witness *seen = kunit_kzalloc(test, sizeof(*seen), GFP_KERNEL);
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	unsigned int nr;
	int early;
	bool done;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
	bpf_mem_alloc_set_dtor(&ma, count_dtor, count_ctx_free, seen);
	nr = memalloc_test_fill(&ma, objs, MANY);
	rcu_read_lock_trace();
	to_rcu_tasks_trace(&ma, objs, nr);
	/* Would never come back if it waited for this reader. */
	bpf_mem_alloc_destroy(&ma);
	early = atomic_read(&seen->ctx_freed);
	rcu_read_unlock_trace();
	KUNIT_EXPECT_EQ(test, early, 0);
	done = test_wait_for(atomic_read(&seen->ctx_freed));
	KUNIT_EXPECT_TRUE(test, done);
}

/* An object that is alive at destroy and freed straight afterwards. */
static void test_dtor_of_idle_allocator_runs_before_return(struct kunit *test)
{
	struct witness *seen = kunit_kzalloc(test, sizeof(*seen), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	unsigned int all;
	void *obj;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
	/* The first of each CPU, what the depot has, and the batch that a refill brings. */
	all = num_online_cpus() * test_pool(&ma)->mag.marks.first +
	      test_depot_at_first(test_pool(&ma)) + test_pool(&ma)->mag.marks.batch;
	bpf_mem_alloc_set_dtor(&ma, count_dtor, count_ctx_free, seen);
	obj = memalloc_test_cache_get(&ma);
	memalloc_test_settle(test_pool(&ma));
	put_one(&ma, obj);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->destroyed), all);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->ctx_freed), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->twice), 0);
}

static struct kunit_case memalloc_destroy_cases[] = {
	KUNIT_CASE_PARAM(test_destroy_returns_objects_from, place_gen_params),
	KUNIT_CASE_PARAM(test_destroy_returns_large_objects_from, place_gen_params),
	KUNIT_CASE_PARAM(test_destroy_returns_percpu_objects_from, place_gen_params),
	KUNIT_CASE(test_places_are_reached),
	KUNIT_CASE(test_destroy_of_nothing),
	KUNIT_CASE(test_destroy_twice),
	KUNIT_CASE(test_destroy_waits_for_refill),
	KUNIT_CASE_SLOW(test_destroy_while_refills_sleep),
	KUNIT_CASE(test_destroy_with_callbacks_in_flight),
	KUNIT_CASE(test_destroy_does_not_wait_for_readers),
	KUNIT_CASE(test_dtor_of_idle_allocator_runs_before_return),
	{}
};

static struct kunit_suite memalloc_destroy_suite = {
	.name = "bpf_memalloc_destroy",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_destroy_cases,
};

kunit_test_suite(memalloc_destroy_suite);
