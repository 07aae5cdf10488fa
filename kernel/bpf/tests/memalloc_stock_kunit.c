// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: an allocation fails only when memory is gone. How many
 * objects a burst gets while no refill can come in between: at first, warm,
 * again after it has failed once, and with a reserve.
 */
#include <kunit/test.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include "memalloc_test_util.h"

#define ASKED		10000
#define AGAIN		1000

static const unsigned int unit_sizes[] = {
	16, 32, 64, 72, 96, 128, 192, 256, 324, 512, 1024, 2048, 4096,
};

static void unit_desc(const unsigned int *size, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "unit %u bytes", *size);
}

KUNIT_ARRAY_PARAM(unit, unit_sizes, unit_desc);

static struct bpf_mem_alloc *unit_ma(struct kunit *test)
{
	const unsigned int *unit = test->param_value;

	return memalloc_test_ma(test, *unit - BPF_MEM_HEADER, false);
}

static void **room(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ASKED, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

/* Objects that a burst of @nr gets; they are free again afterwards. */
static unsigned int burst(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	unsigned int got = memalloc_test_burst(ma, objs, nr);

	memalloc_test_free_all(ma, objs, got);
	memalloc_test_settle(test_pool(ma));
	return got;
}

static void warm_up(struct kunit *test, struct bpf_mem_alloc *ma, void **objs)
{
	unsigned int nr = 4 * test_pool(ma)->mag.marks.high;

	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, nr), nr);
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
}

/* What a fresh allocator has for the CPU that made it. */
static unsigned int first_stock(struct bpf_mem_alloc *ma)
{
	const struct pcpu_magazine_marks *marks = &test_pool(ma)->mag.marks;

	/* With many CPUs their first objects are enough for all. */
	if (test_pool(ma)->mag.nr_shards > 1 && num_online_cpus() * marks->first >= marks->batch)
		return marks->first;
	return marks->first + marks->batch / 2 * 2;
}

/* What the depot of a shard grows to when so many were missed. */
static unsigned int grown_stock(struct bpf_mem_alloc *ma, unsigned int missed)
{
	const struct bpf_mem_pool *pool = test_pool(ma);

	return min(missed, pool->target_limit * pool->mag.marks.batch);
}

static void test_burst_of(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks;
	struct bpf_mem_alloc *fresh = unit_ma(test), *warm = unit_ma(test);
	unsigned int first, used, once, again, reserved;
	void **objs = room(test);
	int err;

	marks = &test_pool(fresh)->mag.marks;
	first = burst(fresh, objs, ASKED);
	warm_up(test, warm, objs);
	used = burst(warm, objs, ASKED);
	bpf_mem_alloc_destroy(warm);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(warm, test_pool(fresh)->slab.size -
						 BPF_MEM_HEADER, false), 0);
	once = burst(warm, objs, AGAIN);
	again = burst(warm, objs, AGAIN);
	err = bpf_mem_alloc_reserve(warm, 0, ASKED);
	reserved = burst(warm, objs, ASKED);
	kunit_info(test, "of %u: fresh %u, warm %u; of %u: first %u, second %u; with a reserve of %u: %u\n",
		   ASKED, first, used, AGAIN, once, again, ASKED, reserved);
	KUNIT_EXPECT_GE(test, first, first_stock(fresh));
	KUNIT_EXPECT_GE(test, first, bpf_mem_unit(test_pool(fresh)) <= 256 ? 4 : 1);
	KUNIT_EXPECT_GE(test, used, marks->high + marks->batch);
	KUNIT_EXPECT_LT(test, once, AGAIN);
	KUNIT_EXPECT_GE(test, again, grown_stock(warm, AGAIN));
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, reserved, ASKED);
}

/* A batch update once got one of seven into a fresh map. */
static void test_seven_elements_into_a_fresh_allocator(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 316, false);
	void **objs = room(test);

	KUNIT_EXPECT_EQ(test, burst(ma, objs, 7), 7);
}

static void test_demand_grows_by_what_was_missed(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	struct pcpu_magazine_shard *shard = &test_shard(pool)->mag;
	unsigned int before = pcpu_magazine_target(shard), missed = 0, got, i, target;
	void **objs = room(test);
	unsigned long flags;

	local_irq_save(flags);
	for (got = 0; got < AGAIN; got++) {
		objs[got] = bpf_mem_cache_alloc(ma);
		if (!objs[got])
			break;
	}
	for (i = 0; i < 500; i++)
		missed += !bpf_mem_cache_alloc(ma);
	local_irq_restore(flags);
	memalloc_test_settle(pool);
	target = pcpu_magazine_target(shard);
	KUNIT_EXPECT_EQ(test, missed, 500);
	KUNIT_EXPECT_GE(test, target * pool->mag.marks.batch, 500);
	/* What was missed, and a batch. */
	KUNIT_EXPECT_LE(test, target, before + DIV_ROUND_UP(501, pool->mag.marks.batch) + 1);
	KUNIT_EXPECT_GE(test, pcpu_magazine_cached(&pool->mag), 500);
	memalloc_test_free_all(ma, objs, got);
}

static void test_demand_has_a_bound(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 4000, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	unsigned int i, target;
	void *obj, *list = NULL;
	unsigned long flags;

	local_irq_save(flags);
	for (i = 0; i < 100 * ASKED; i++) {
		obj = bpf_mem_cache_alloc(ma);
		if (!obj)
			continue;
		*(void **)obj = list;
		list = obj;
	}
	local_irq_restore(flags);
	memalloc_test_settle(pool);
	target = pcpu_magazine_target(&test_shard(pool)->mag);
	KUNIT_EXPECT_EQ(test, target, pool->target_limit);
	/* If all CPUs did the same. */
	KUNIT_EXPECT_LE(test, pool->mag.nr_shards * target * pool->mag.marks.batch * 4008UL,
			8UL << 20);
	for (; list; list = obj) {
		obj = *(void **)list;
		bpf_mem_cache_free(ma, list);
	}
}

/* The reserve */

#define RESERVED	300

struct taker {
	struct bpf_mem_alloc *ma;
	void **objs;
	atomic_t nr;
	unsigned int each;
};

static void take_some(void *arg)
{
	struct taker *taker = arg;
	unsigned int i;
	void *obj;

	for (i = 0; i < taker->each; i++) {
		obj = bpf_mem_cache_alloc(taker->ma);
		if (obj)
			taker->objs[atomic_inc_return(&taker->nr) - 1] = obj;
	}
}

/* Each CPU takes in an interrupt, and the slab gives nothing meanwhile. */
static void test_reserve_spread_over_cpus(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct taker taker = { .ma = ma, .objs = room(test) };
	struct memalloc_test_slab *slab;
	unsigned int each, want;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, RESERVED), 0);
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 1);
	each = RESERVED / num_online_cpus();
	want = each * num_online_cpus();
	taker.each = each;
	on_each_cpu(take_some, &taker, true);
	KUNIT_EXPECT_EQ(test, atomic_read(&taker.nr), want);
	atomic_set(&slab->refuse_from, 0);
	memalloc_test_free_all(ma, taker.objs, atomic_read(&taker.nr));
}

static void test_reserve_holds_again_after_refill(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = room(test);
	unsigned int round, got;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, RESERVED), 0);
	for (round = 0; round < 5; round++) {
		got = memalloc_test_burst(ma, objs + round * RESERVED, RESERVED);
		KUNIT_EXPECT_EQ_MSG(test, got, RESERVED, "round %u", round);
		memalloc_test_settle(test_pool(ma));
	}
	memalloc_test_free_all(ma, objs, round * RESERVED);
}

static void test_reserve_for_nested_contexts(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct pcpu_magazine_cpu *c;
	void **objs = room(test);
	unsigned int got;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, RESERVED), 0);
	preempt_disable();
	c = test_this_cpu(ma);
	WRITE_ONCE(c->busy, 1);
	got = memalloc_test_burst(ma, objs, RESERVED);
	WRITE_ONCE(c->busy, 0);
	preempt_enable();
	KUNIT_EXPECT_EQ(test, got, RESERVED);
	memalloc_test_free_all(ma, objs, got);
}

static void test_reserve_is_raised_and_lowered(struct kunit *test)
{
	static const unsigned int steps[] = { 100, 700, 50, 700, 1000, 0, 300 };
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 1000, false);
	void **objs = room(test);
	u64 least = bpf_mem_alloc_mem_usage(ma);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, steps[i]), 0);
		KUNIT_EXPECT_GE(test, bpf_mem_alloc_mem_usage(ma), least + steps[i] * 1008ULL -
				test_pool(ma)->mag.marks.batch * 1008ULL);
		KUNIT_EXPECT_GE(test, burst(ma, objs, steps[i]), steps[i]);
	}
}

/* Refused at every request that raising takes: as it was. */
static void test_reserve_without_memory_changes_nothing(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab;
	void **objs = room(test);
	int k, err, refused = 0;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 100), 0);
	slab = memalloc_test_watch_slab(test);
	for (k = 1; k < 8; k++) {
		atomic_set(&slab->calls, 0);
		atomic_set(&slab->refuse_to, INT_MAX);
		atomic_set(&slab->refuse_from, k);
		err = bpf_mem_alloc_reserve(ma, 0, RESERVED);
		atomic_set(&slab->refuse_from, 0);
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.nr_reserved, 100);
		refused += !!err;
		/* Nothing may help but the reserve. */
		KUNIT_EXPECT_GE(test, burst(ma, objs, 100), 100);
		if (pcpu_magazine_cached(&test_pool(ma)->mag) > 200)
			break;
	}
	KUNIT_EXPECT_GE(test, refused, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 0, RESERVED), 0);
}

static void test_reserve_of_a_class(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	void **objs = room(test);
	unsigned long flags;
	unsigned int got;

	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 5), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 4096, 5), -EINVAL);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 100, 100), 0);
	local_irq_save(flags);
	for (got = 0; got < 100; got++) {
		objs[got] = bpf_mem_alloc(ma, 100);
		if (!objs[got])
			break;
	}
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, got, 100);
	while (got)
		bpf_mem_free(ma, objs[--got]);
}

/* Refills of another kind */

/* The per-CPU allocator, for one, often has nothing for those who cannot sleep. */
static void test_worker_refills_when_interrupts_cannot(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = room(test);
	unsigned int got;

	atomic_set(&slab->refuse_atomic, 1);
	got = memalloc_test_burst(ma, objs, ASKED);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_GE(test, pcpu_magazine_cached(&test_pool(ma)->mag),
			test_pool(ma)->mag.marks.batch);
	memalloc_test_free_all(ma, objs, got);
}

static unsigned int irqs_of(struct bpf_mem_pool *pool)
{
	unsigned int nr = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		nr += READ_ONCE(per_cpu_ptr(bpf_mem_cpus(pool), cpu)->nr_runs);
	return nr;
}

/* Short chains fill the depot, and demand is far above what is in it. */
static void test_refill_without_room_adds_nothing(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	struct bpf_mem_shard *shard = test_shard(pool);
	unsigned int used = 0, irqs, i;
	void **objs = room(test);
	long trimmed;
	bool full;

	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, AGAIN), AGAIN);
	memalloc_test_settle(pool);
	irqs = irqs_of(pool);
	trimmed = atomic_long_read(&pool->nr_trimmed);
	/* No worker in between, which would make room. */
	disable_work_sync(&shard->work);
	pcpu_magazine_set_target(&shard->mag, 100);
	for (full = false; !full && used < AGAIN; used++) {
		bpf_mem_obj_of(objs[used])->node.next = NULL;
		full = !pcpu_magazine_put_chain(&shard->mag, &bpf_mem_obj_of(objs[used])->node, 1);
	}
	used -= full;
	for (i = 0; i < 5; i++) {
		preempt_disable();
		bpf_mem_pool_kick(pool);
		preempt_enable();
		msleep(20);
	}
	KUNIT_EXPECT_TRUE(test, full);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&pool->nr_trimmed), trimmed);
	KUNIT_EXPECT_GT(test, irqs_of(pool), irqs);
	KUNIT_EXPECT_LE(test, irqs_of(pool), irqs + 10);
	enable_work(&shard->work);
	bpf_mem_shard_queue(shard);
	memalloc_test_settle(pool);
	/* The worker has made room, and filled it. */
	KUNIT_EXPECT_GE(test, pcpu_magazine_level(&shard->mag), 50 * pool->mag.marks.batch);
	memalloc_test_free_all(ma, objs + used, AGAIN - used);
}

/* A loop that never lets a refill in: irq_work is not needed. */
static void test_prepare_stands_in_for_refill(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = room(test);
	unsigned int nr;

	atomic_set(&slab->refuse_atomic, 1);
	for (nr = 0; nr < ASKED; nr++) {
		bpf_mem_alloc_prepare(ma);
		objs[nr] = bpf_mem_cache_alloc(ma);
		if (!objs[nr])
			break;
	}
	KUNIT_EXPECT_EQ(test, nr, ASKED);
	memalloc_test_free_all(ma, objs, nr);
}

static void test_used_is_what_is_out(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	void **objs = room(test);
	unsigned int nr;

	for (nr = 0; nr < 500; nr++) {
		memalloc_test_settle(pool);
		KUNIT_ASSERT_EQ(test, bpf_mem_pool_used(pool), nr);
		objs[nr] = memalloc_test_cache_get(ma);
		KUNIT_ASSERT_NOT_NULL(test, objs[nr]);
	}
	while (nr) {
		bpf_mem_cache_free(ma, objs[--nr]);
		memalloc_test_settle(pool);
		KUNIT_ASSERT_EQ(test, bpf_mem_pool_used(pool), nr);
	}
}

/* Memory is gone, and another CPU has more than it is to keep. */
static void test_prepare_finds_what_another_cpu_holds(struct kunit *test)
{
	unsigned int here = raw_smp_processor_id(), nr, n;
	unsigned int other = cpumask_any_but(cpu_online_mask, here);
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct memalloc_test_slab *slab;
	void **objs = room(test);

	if (other >= nr_cpu_ids)
		kunit_skip(test, "one CPU");
	nr = memalloc_test_fill(ma, objs, AGAIN);
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 1);
	/* All that there is; what the worker then collects, too. */
	nr += memalloc_test_burst(ma, objs + nr, AGAIN);
	memalloc_test_settle(test_pool(ma));
	nr += memalloc_test_burst(ma, objs + nr, AGAIN);
	memalloc_test_settle(test_pool(ma));

	n = test_pool(ma)->mag.marks.first + 2;
	set_cpus_allowed_ptr(current, cpumask_of(other));
	memalloc_test_free_all(ma, objs + nr - n, n);
	nr -= n;
	set_cpus_allowed_ptr(current, cpumask_of(here));
	KUNIT_EXPECT_EQ(test, memalloc_test_burst(ma, objs + nr, 1), 0);
	/* The pause after memory was waited for in vain is over. */
	WRITE_ONCE(test_pool(ma)->sleep_again, jiffies);
	bpf_mem_alloc_prepare(ma);
	objs[nr] = bpf_mem_cache_alloc(ma);
	KUNIT_EXPECT_NOT_NULL(test, objs[nr]);
	atomic_set(&slab->refuse_from, 0);
	memalloc_test_free_all(ma, objs, nr + !!objs[nr]);
}

/*
 * Wherever a CPU is: memory of another node, which is all that a node without its
 * own gets, must not be brought for ever.
 */
static void test_refills_of_each_cpu_end(struct kunit *test)
{
	void **objs = room(test);
	struct bpf_mem_alloc *ma;
	unsigned long new, refills;
	unsigned int round;
	int cpu;

	for_each_online_cpu(cpu) {
		KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);
		ma = memalloc_test_ma(test, 64, false);
		for (round = 0; round < 3; round++) {
			KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, AGAIN), AGAIN);
			memalloc_test_free_all(ma, objs, AGAIN);
			memalloc_test_settle(test_pool(ma));
		}
		new = pcpu_magazine_count(&test_pool(ma)->mag, PCPU_MAGAZINE_NEW);
		refills = pcpu_magazine_count(&test_pool(ma)->mag, PCPU_MAGAZINE_REFILLS);
		KUNIT_EXPECT_LE_MSG(test, new, 4 * AGAIN, "CPU %d, node %d", cpu, cpu_to_node(cpu));
		KUNIT_EXPECT_LE_MSG(test, refills, AGAIN, "CPU %d, node %d", cpu, cpu_to_node(cpu));
	}
}

static struct kunit_case memalloc_stock_cases[] = {
	KUNIT_CASE(test_refills_of_each_cpu_end),
	KUNIT_CASE(test_prepare_finds_what_another_cpu_holds),
	KUNIT_CASE_PARAM(test_burst_of, unit_gen_params),
	KUNIT_CASE(test_seven_elements_into_a_fresh_allocator),
	KUNIT_CASE(test_demand_grows_by_what_was_missed),
	KUNIT_CASE(test_demand_has_a_bound),
	KUNIT_CASE(test_reserve_spread_over_cpus),
	KUNIT_CASE(test_reserve_holds_again_after_refill),
	KUNIT_CASE(test_reserve_for_nested_contexts),
	KUNIT_CASE(test_reserve_is_raised_and_lowered),
	KUNIT_CASE(test_reserve_without_memory_changes_nothing),
	KUNIT_CASE(test_reserve_of_a_class),
	KUNIT_CASE(test_worker_refills_when_interrupts_cannot),
	KUNIT_CASE(test_refill_without_room_adds_nothing),
	KUNIT_CASE(test_prepare_stands_in_for_refill),
	KUNIT_CASE(test_used_is_what_is_out),
	{}
};

static struct kunit_suite memalloc_stock_suite = {
	.name = "bpf_memalloc_stock",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_stock_cases,
};

kunit_test_suite(memalloc_stock_suite);
