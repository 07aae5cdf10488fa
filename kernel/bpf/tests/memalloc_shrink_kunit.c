// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: nothing is stranded. Stock falls when demand has gone,
 * when nobody comes any more, under memory pressure, and when its CPU goes
 * offline; what is reserved stays.
 */
#include <kunit/test.h>
#include <linux/cpu.h>
#include <linux/kthread.h>
#include "memalloc_test_util.h"

#define MANY	2000

static void **room(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, MANY, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

/* Fails at first, so that stock grows to what was asked for. */
static void grow(struct kunit *test, struct bpf_mem_alloc *ma, void **objs)
{
	struct bpf_mem_pool *pool = test_pool(ma);
	unsigned int got;

	got = memalloc_test_burst(ma, objs, MANY);
	memalloc_test_free_all(ma, objs, got);
	memalloc_test_settle(pool);
	KUNIT_ASSERT_GE(test, pcpu_magazine_cached(&pool->mag), MANY / 2);
	KUNIT_ASSERT_GT(test, pcpu_magazine_target(&test_shard(pool)->mag), pool->busy_target);
}

/* What CPUs have from the start and keep. */
static long first_objects(struct bpf_mem_alloc *ma)
{
	return num_online_cpus() * test_pool(ma)->mag.marks.first;
}

/* What the depots of idle pools keep: a batch each. */
static long idle_depots(struct bpf_mem_alloc *ma)
{
	return test_pool(ma)->mag.nr_shards * test_pool(ma)->mag.marks.batch;
}

static long held_by(struct bpf_mem_alloc *ma)
{
	return atomic_long_read(&test_pool(ma)->nr_slab);
}

static void test_target_decays_and_stock_with_it(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	const struct pcpu_magazine_marks *marks = &test_pool(ma)->mag.marks;
	struct pcpu_magazine_shard *shard = &test_shard(test_pool(ma))->mag;
	void **objs = room(test);
	bool decayed, trimmed;

	grow(test, ma, objs);
	decayed = test_wait_for(pcpu_magazine_target(shard) == 1);
	KUNIT_EXPECT_TRUE_MSG(test, decayed, "target is %u", pcpu_magazine_target(shard));
	trimmed = test_wait_for(held_by(ma) <= marks->high + 2 * idle_depots(ma) +
				first_objects(ma));
	KUNIT_EXPECT_TRUE_MSG(test, trimmed, "%ld objects held", held_by(ma));
}

struct first_come {
	struct bpf_mem_alloc *ma;
	atomic_t served;
};

static void take_first(void *arg)
{
	struct first_come *come = arg;
	void *objs[8];
	unsigned int got;

	got = memalloc_test_burst(come->ma, objs, test_pool(come->ma)->mag.marks.first);
	atomic_add(got, &come->served);
	memalloc_test_free_all(come->ma, objs, got);
}

static bool cpu_has_first(struct bpf_mem_alloc *ma)
{
	struct pcpu_magazine_cpu *c = test_this_cpu(ma);

	return READ_ONCE(c->nr) == test_pool(ma)->mag.marks.first && !READ_ONCE(c->nr_spare);
}

static void test_idle_allocator_keeps_what_it_began_with(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct first_come come = { .ma = ma };
	void **objs = room(test);
	bool flushed;
	long most;

	most = idle_depots(ma) + first_objects(ma);
	grow(test, ma, objs);
	flushed = test_wait_for(held_by(ma) <= most && cpu_has_first(ma));
	KUNIT_EXPECT_TRUE_MSG(test, flushed, "%ld objects held, %u on this CPU", held_by(ma),
			      test_this_cpu(ma)->nr);
	/* Who comes now is served nevertheless, on every CPU. */
	on_each_cpu(take_first, &come, true);
	KUNIT_EXPECT_EQ(test, atomic_read(&come.served), first_objects(ma));
	KUNIT_EXPECT_GE(test, memalloc_test_burst(ma, objs, 8), 8);
	memalloc_test_free_all(ma, objs, 8);
}

/* Looks at all pools go on for as long as one is busy. */
static bool looks_make(bool (*cond)(struct bpf_mem_alloc *ma), struct bpf_mem_alloc *ma,
		       struct bpf_mem_alloc *busy)
{
	return test_wait_for((bpf_mem_look_soon(test_pool(busy)), cond(ma)));
}

static bool is_at_rest(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool = test_pool(ma);

	/* At rest is said before a look, and taken back if it has seen something. */
	return READ_ONCE(pool->at_rest) && READ_ONCE(pool->idle_looks) >= 10 && cpu_has_first(ma);
}

static bool was_seen_twice(struct bpf_mem_alloc *ma)
{
	return READ_ONCE(test_pool(ma)->idle_looks) >= 2;
}

/* Objects in use become a chain of the depot, and nobody is told. */
static void put_chain(struct kunit *test, struct bpf_mem_pool *pool, void **objs,
		      unsigned int nr)
{
	struct llist_node *first = NULL, *node;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		node = &bpf_mem_obj_of(objs[i])->node;
		node->next = first;
		first = node;
	}
	KUNIT_ASSERT_TRUE(test, pcpu_magazine_put_chain(&test_shard(pool)->mag, first, nr));
}

static void test_pool_at_rest_is_passed_over(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_alloc *busy = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	unsigned int batch = pool->mag.marks.batch;
	void **objs = room(test);
	unsigned long refills;
	bool met;

	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, 2 * batch), 2 * batch);
	met = looks_make(is_at_rest, ma, busy);
	KUNIT_ASSERT_TRUE(test, met);
	/* What the CPUs gave back made the depot say once more that it has grown. */
	memalloc_test_settle(pool);
	met = looks_make(is_at_rest, ma, busy);
	KUNIT_ASSERT_TRUE(test, met);

	/* A look would overwrite this. */
	WRITE_ONCE(pool->last_used, LONG_MAX);
	WRITE_ONCE(test_pool(busy)->idle_looks, 0);
	met = looks_make(was_seen_twice, busy, busy);
	KUNIT_EXPECT_TRUE(test, met);
	KUNIT_EXPECT_EQ(test, READ_ONCE(pool->last_used), LONG_MAX);

	/* A batch that moves is enough: there are plenty, no refill is asked for. */
	put_chain(test, pool, objs, batch);
	put_chain(test, pool, objs + batch, batch);
	refills = pcpu_magazine_count(&pool->mag, PCPU_MAGAZINE_REFILLS);
	KUNIT_ASSERT_EQ(test, memalloc_test_burst(ma, objs, 1), 1);
	memalloc_test_free_all(ma, objs, 1);
	KUNIT_EXPECT_FALSE(test, cpu_has_first(ma));
	memalloc_test_settle(pool);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&pool->mag, PCPU_MAGAZINE_REFILLS), refills);
	met = looks_make(cpu_has_first, ma, busy);
	KUNIT_EXPECT_TRUE_MSG(test, met, "%u objects on the CPU", test_this_cpu(ma)->nr);
}

static void test_idle_allocator_keeps_its_reserve(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = room(test);
	unsigned int got;
	bool flushed;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 500), 0);
	grow(test, ma, objs);
	flushed = test_wait_for(held_by(ma) <= 500 + idle_depots(ma) + first_objects(ma));
	KUNIT_EXPECT_TRUE_MSG(test, flushed, "%ld objects held", held_by(ma));
	got = memalloc_test_burst(ma, objs, 500);
	KUNIT_EXPECT_EQ(test, got, 500);
	memalloc_test_free_all(ma, objs, got);
}

static void test_memory_pressure_empties_the_depot(struct kunit *test)
{
	unsigned long before, after, freed;
	const struct pcpu_magazine_marks *marks;
	struct bpf_mem_alloc *ma;
	void **objs = room(test);
	unsigned int got;
	bool gone;

	/* First what other allocators have, which would spoil the balance. */
	memalloc_test_shrink_others(test);
	ma = memalloc_test_ma(test, 1000, false);
	marks = &test_pool(ma)->mag.marks;
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 100), 0);
	grow(test, ma, objs);
	before = bpf_mem_shrink_count();
	freed = bpf_mem_shrink_scan(ULONG_MAX);
	after = bpf_mem_shrink_count();
	KUNIT_EXPECT_GE(test, before, MANY * 1000UL / 2 / PAGE_SIZE);
	KUNIT_EXPECT_GE(test, freed, MANY * 1000UL / 2 / PAGE_SIZE);
	KUNIT_EXPECT_LT(test, after, before / 4);
	gone = test_wait_for(held_by(ma) <= 100 + marks->high + idle_depots(ma) +
			     first_objects(ma));
	KUNIT_EXPECT_TRUE_MSG(test, gone, "%ld objects held", held_by(ma));
	got = memalloc_test_burst(ma, objs, 100);
	KUNIT_EXPECT_EQ(test, got, 100);
	memalloc_test_free_all(ma, objs, got);
}

#ifdef CONFIG_HOTPLUG_CPU
struct visit {
	struct bpf_mem_alloc *ma;
	void **objs;
	unsigned int got;
};

static int fill_there(void *arg)
{
	struct visit *visit = arg;

	visit->got = memalloc_test_fill(visit->ma, visit->objs, 90);
	memalloc_test_free_all(visit->ma, visit->objs, visit->got);
	return 0;
}

static unsigned int stock_of(struct bpf_mem_alloc *ma, unsigned int cpu)
{
	struct pcpu_magazine_cpu *c = &per_cpu_ptr(ma->cpus, cpu)->mag;

	return READ_ONCE(c->nr) + READ_ONCE(c->nr_spare);
}

/* Objects that no CPU has; those that went to the slab meanwhile were in a depot before. */
static long put_aside(struct bpf_mem_pool *pool)
{
	return test_depot_level(pool) + atomic_long_read(&pool->mag.nr_reclaimable) -
	       atomic_long_read(&pool->nr_slab);
}

static void test_offline_cpu_gives_its_stock_back(struct kunit *test)
{
	unsigned int cpu = cpumask_last(cpu_online_mask), left, round;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct visit visit = { .ma = ma, .objs = room(test) };
	struct bpf_mem_pool *pool = test_pool(ma);
	long stock, depot;
	int err;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU, which has to stay");
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(0)), 0);
	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, smp_call_on_cpu(cpu, fill_there, &visit, false), 0);
		KUNIT_ASSERT_EQ(test, visit.got, 90);
		memalloc_test_settle(pool);
		stock = stock_of(ma, cpu);
		depot = put_aside(pool);
		KUNIT_EXPECT_GT(test, stock, 0);
		err = remove_cpu(cpu);
		KUNIT_ASSERT_EQ(test, err, 0);
		left = stock_of(ma, cpu);
		KUNIT_EXPECT_EQ(test, left, 0);
		KUNIT_EXPECT_EQ(test, put_aside(pool), depot + stock);
		KUNIT_EXPECT_EQ(test, bpf_mem_pool_used(pool), 0);
		KUNIT_ASSERT_EQ(test, add_cpu(cpu), 0);
	}
}
#else
static void test_offline_cpu_gives_its_stock_back(struct kunit *test)
{
	kunit_skip(test, "no CPU hotplug in this kernel");
}
#endif

static struct kunit_case memalloc_shrink_cases[] = {
	KUNIT_CASE_SLOW(test_target_decays_and_stock_with_it),
	KUNIT_CASE_SLOW(test_idle_allocator_keeps_what_it_began_with),
	KUNIT_CASE_SLOW(test_pool_at_rest_is_passed_over),
	KUNIT_CASE_SLOW(test_idle_allocator_keeps_its_reserve),
	KUNIT_CASE(test_memory_pressure_empties_the_depot),
	KUNIT_CASE(test_offline_cpu_gives_its_stock_back),
	{}
};

/* Nobody has to wait for seconds. */
static int shrink_init(struct kunit *test)
{
	bpf_mem_look_every = HZ / 10;
	return memalloc_test_init(test);
}

static void shrink_exit(struct kunit *test)
{
	bpf_mem_look_every = HZ;
	memalloc_test_exit(test);
}

static struct kunit_suite memalloc_shrink_suite = {
	.name = "bpf_memalloc_shrink",
	.init = shrink_init,
	.exit = shrink_exit,
	.test_cases = memalloc_shrink_cases,
};

kunit_test_suite(memalloc_shrink_suite);
