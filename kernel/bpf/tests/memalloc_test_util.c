// SPDX-License-Identifier: GPL-2.0-only
/* What the suites of the BPF memory allocator share. */
#include <linux/bpf.h>
#include <linux/irqflags.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "memalloc_test_util.h"

#define FIXTURE_MA	8

/* More than one is needed only while other CPUs are at work. */
#define SETTLE_ROUNDS	10

struct fixture {
	long live;
	unsigned int nr;
	struct bpf_mem_alloc ma[FIXTURE_MA];
	bool others_shrink;
};

static long held_by(const struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool;
	unsigned int i;
	long held = 0;

	if (!ma->owner)
		return 0;
	bpf_mem_for_each_pool(pool, ma->owner, i)
		held += atomic_long_read(&pool->nr_slab);
	return held;
}

long test_live(void)
{
	return atomic_long_read(&bpf_mem_test.live) - held_by(&bpf_global_ma) -
	       held_by(&bpf_global_percpu_ma);
}

int memalloc_test_init(struct kunit *test)
{
	struct fixture *fix = kunit_kzalloc(test, sizeof(*fix), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fix);
	fix->live = test_live();
	test->priv = fix;
	/* Many cases look at the magazine of "this" CPU more than once. */
	return set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

void memalloc_test_exit(struct kunit *test)
{
	struct fixture *fix = test->priv;
	bool balanced;

	/* A refill that is under way, on another CPU or in a worker, may be in permit(). */
	WRITE_ONCE(bpf_mem_test.permit, NULL);
	synchronize_rcu();
	flush_workqueue(bpf_mem_wq);
	while (fix->nr)
		bpf_mem_alloc_destroy(&fix->ma[--fix->nr]);
	/* A case that was cut short has not freed what it held. */
	if (test->status == KUNIT_FAILURE)
		return;
	/* Workers may still wait for grace periods. */
	balanced = test_wait_for(test_live() == fix->live ||
				 (fix->others_shrink && test_live() < fix->live));
	KUNIT_EXPECT_TRUE_MSG(test, balanced, "%ld objects leaked", test_live() - fix->live);
}

void memalloc_test_others_shrink(struct kunit *test)
{
	struct fixture *fix = test->priv;

	fix->others_shrink = true;
}

void memalloc_test_rebase(struct kunit *test)
{
	struct fixture *fix = test->priv;

	fix->live = test_live();
}

void memalloc_test_shrink_others(struct kunit *test)
{
	unsigned int round;

	bpf_mem_shrink_scan(ULONG_MAX);
	/* A worker begins a grace period, perhaps after another one, and ends it. */
	for (round = 0; round < 2; round++) {
		flush_workqueue(bpf_mem_wq);
		bpf_mem_gp_wait();
	}
	flush_workqueue(bpf_mem_wq);
	memalloc_test_rebase(test);
}

static struct bpf_mem_alloc *managed_ma(struct kunit *test)
{
	struct fixture *fix = test->priv;

	KUNIT_ASSERT_LT(test, fix->nr, FIXTURE_MA);
	return &fix->ma[fix->nr++];
}

struct bpf_mem_alloc *memalloc_test_ma(struct kunit *test, int size, bool percpu)
{
	struct bpf_mem_alloc *ma = managed_ma(test);

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(ma, size, percpu), 0);
	return ma;
}

struct bpf_mem_alloc *memalloc_test_percpu_classes(struct kunit *test)
{
	struct bpf_mem_alloc *ma = managed_ma(test);

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_init(ma, NULL), 0);
	return ma;
}

static bool is_at_work(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		if (irq_work_is_busy(&per_cpu_ptr(bpf_mem_cpus(pool), cpu)->refill_work))
			return true;
	}
	bpf_mem_for_each_shard(shard, pool, i) {
		if (work_busy(&shard->work))
			return true;
	}
	return false;
}

bool test_refill_pending(struct bpf_mem_pool *pool)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (irq_work_is_pending(&per_cpu_ptr(bpf_mem_cpus(pool), cpu)->refill_work))
			return true;
	}
	return false;
}

/* Interrupts ask for workers, and callbacks of RCU may do so at any time. */
void memalloc_test_settle(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int round, i;
	int cpu;

	for (round = 0; round < SETTLE_ROUNDS && is_at_work(pool); round++) {
		for_each_possible_cpu(cpu)
			irq_work_sync(&per_cpu_ptr(bpf_mem_cpus(pool), cpu)->refill_work);
		bpf_mem_for_each_shard(shard, pool, i)
			flush_work(&shard->work);
	}
}

unsigned int test_depot_level(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i, level = 0;

	bpf_mem_for_each_shard(shard, pool, i)
		level += pcpu_magazine_level(&shard->mag);
	return level;
}

unsigned int test_depot_slots(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i, slots = 0;

	bpf_mem_for_each_shard(shard, pool, i)
		slots += READ_ONCE(shard->mag.depot.nr_slots);
	return slots;
}

unsigned int test_within_reach(struct bpf_mem_pool *pool)
{
	return pool->mag.marks.first + test_depot_level(pool);
}

unsigned int test_depot_at_first(struct bpf_mem_pool *pool)
{
	unsigned int batch = pool->mag.marks.batch;

	if (pool->owner->nr > 1 || pool->area_size)
		return 0;
	if (pool->mag.nr_shards > 1 && num_online_cpus() * pool->mag.marks.first >= batch)
		return 0;
	return batch / 2 * 2;
}

void test_ignore_demand(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;

	pool->busy_target = 0;
	pool->target_limit = 0;
	bpf_mem_for_each_shard(shard, pool, i)
		pcpu_magazine_set_target(&shard->mag, 1);
}

static void settle_all(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, ma->owner, i)
		memalloc_test_settle(pool);
}

#define TRIES	3

/* An allocation that found nothing has asked for a refill: let that run. */
void *memalloc_test_get(struct bpf_mem_alloc *ma, size_t size)
{
	void *obj;
	int try;

	for (try = 0; try < TRIES; try++) {
		migrate_disable();
		obj = bpf_mem_alloc(ma, size);
		migrate_enable();
		if (obj || !size || size > ma->max_size)
			return obj;
		settle_all(ma);
	}
	return NULL;
}

void *memalloc_test_cache_get(struct bpf_mem_alloc *ma)
{
	void *obj;
	int try;

	for (try = 0; try < TRIES; try++) {
		migrate_disable();
		obj = bpf_mem_cache_alloc(ma);
		migrate_enable();
		if (obj)
			return obj;
		memalloc_test_settle(test_pool(ma));
	}
	return NULL;
}

unsigned int memalloc_test_fill(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		objs[i] = memalloc_test_cache_get(ma);
		if (!objs[i])
			break;
	}
	return i;
}

unsigned int memalloc_test_burst(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	unsigned int got = 0;
	unsigned long flags;

	local_irq_save(flags);
	while (nr--) {
		objs[got] = bpf_mem_cache_alloc(ma);
		if (objs[got])
			got++;
	}
	local_irq_restore(flags);
	return got;
}

void memalloc_test_free_all(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	migrate_disable();
	while (nr--)
		bpf_mem_cache_free(ma, objs[nr]);
	migrate_enable();
}

static u8 signature(const void *obj, size_t i)
{
	unsigned long mix = (unsigned long)obj / 8 + i;

	return (mix * 0x9e3779b97f4a7c15UL) >> 56;
}

void memalloc_test_sign(void *obj, size_t size)
{
	u8 *bytes = obj;
	size_t i;

	for (i = 0; i < size; i++)
		bytes[i] = signature(obj, i);
}

bool memalloc_test_signed(const void *obj, size_t size)
{
	const u8 *bytes = obj;
	size_t i;

	for (i = 0; i < size; i++) {
		if (bytes[i] != signature(obj, i))
			return false;
	}
	return true;
}

/* In the first word of an object; fresh ones have 0 there. */
#define OWNER_NOBODY	0x0badc0deUL
#define OWNER_TEST	0x600dc0deUL

bool memalloc_test_take(void *obj)
{
	return xchg((unsigned long *)obj, OWNER_TEST) != OWNER_TEST;
}

bool memalloc_test_drop(void *obj)
{
	return xchg((unsigned long *)obj, OWNER_NOBODY) == OWNER_TEST;
}

static u32 seed_param;
module_param_named(seed, seed_param, uint, 0444);
MODULE_PARM_DESC(seed, "seed of the random tests, 0: choose one");

u32 memalloc_test_seed(struct kunit *test)
{
	u32 seed = seed_param ?: get_random_u32() | 1;

	kunit_info(test, "seed %u, replay with memalloc_test_util.seed=%u\n", seed, seed);
	return seed;
}

static struct memalloc_test_slab *watched;

static unsigned int permit(unsigned int nr, gfp_t gfp)
{
	struct memalloc_test_slab *slab = watched;
	int call = atomic_inc_return(&slab->calls);
	int from = atomic_read(&slab->refuse_from);

	if (from && call >= from && call <= atomic_read(&slab->refuse_to))
		return 0;
	if (atomic_read(&slab->refuse_atomic) && !gfpflags_allow_blocking(gfp))
		return 0;
	atomic_add(nr, &slab->objects);
	return nr;
}

struct memalloc_test_slab *memalloc_test_watch_slab(struct kunit *test)
{
	struct memalloc_test_slab *slab = kunit_kzalloc(test, sizeof(*slab), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slab);
	watched = slab;
	WRITE_ONCE(bpf_mem_test.permit, permit);
	return slab;
}
