// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: all CPUs want objects at the same moment, with interrupts
 * off. A fresh allocator has a few for each; what failed is there the second time;
 * after a pause there are a few for each again. And none of it is brought in one
 * interrupt.
 */
#include <kunit/test.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include "memalloc_test_util.h"

#define MOST		100	/* objects that one CPU asks for */

/* What is allocated, and what each CPU has in the beginning. */
static const struct kind {
	const char *name;
	int init_size;		/* of the allocator; 0: size classes */
	bool percpu;
	size_t size;		/* that is asked for, with classes */
	unsigned int first;
} kinds[] = {
	{ "8 bytes", 8, false, 0, 4 },
	{ "64 bytes", 64, false, 0, 4 },
	{ "248 bytes", 248, false, 0, 4 },
	{ "249 bytes", 249, false, 0, 1 },
	{ "1000 bytes", 1000, false, 0, 1 },
	{ "9000 bytes", 9000, false, 0, 1 },
	{ "area of 8 bytes", 8, true, 0, 1 },
	{ "area of 256 bytes", 256, true, 0, 1 },
	{ "class of 16", 0, false, 8, 4 },
	{ "class of 32", 0, false, 24, 4 },
	{ "class of 64", 0, false, 56, 4 },
	{ "class of 96", 0, false, 88, 4 },
	{ "class of 128", 0, false, 120, 4 },
	{ "class of 192", 0, false, 184, 4 },
	{ "class of 256", 0, false, 248, 4 },
	{ "class of 512", 0, false, 504, 1 },
	{ "class of 1024", 0, false, 1016, 1 },
	{ "class of 2048", 0, false, 2040, 1 },
	{ "class of 4096", 0, false, 4088, 1 },
	{ "area class of 32", 0, true, 32, 1 },
	{ "area class of 512", 0, true, 512, 1 },
};

static void kind_desc(const struct kind *kind, char *desc)
{
	strscpy(desc, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kind, kinds, kind_desc);

static const unsigned int counts[] = { 1, 4, 16, MOST };

struct burst_cpu {
	unsigned int got;
	void *objs[MOST];
};

struct burst {
	struct bpf_mem_alloc *ma;
	size_t size;
	unsigned int nr;	/* objects that each CPU asks for */
	struct burst_cpu __percpu *cpus;
};

static struct bpf_mem_pool *burst_pool(const struct burst *burst)
{
	struct bpf_mem_alloc *ma = burst->ma;

	return ma->owner->pool[burst->size ? bpf_mem_class(burst->size + ma->header) : 0];
}

static struct pcpu_magazine_cpu *burst_cpu(const struct burst *burst, unsigned int cpu)
{
	return per_cpu_ptr(burst_pool(burst)->mag.cpus, cpu);
}

static void *burst_alloc(const struct burst *burst)
{
	return burst->size ? bpf_mem_alloc(burst->ma, burst->size) :
			     bpf_mem_cache_alloc(burst->ma);
}

/* On all CPUs at a time, interrupts off. */
static int ask(void *arg)
{
	struct burst *burst = arg;
	struct burst_cpu *c = this_cpu_ptr(burst->cpus);
	unsigned int i;

	c->got = 0;
	for (i = 0; i < burst->nr; i++) {
		c->objs[c->got] = burst_alloc(burst);
		c->got += !!c->objs[c->got];
	}
	return 0;
}

static int give_back(void *arg)
{
	struct burst *burst = arg;
	struct burst_cpu *c = this_cpu_ptr(burst->cpus);

	while (c->got) {
		if (burst->size)
			bpf_mem_free(burst->ma, c->objs[--c->got]);
		else
			bpf_mem_cache_free(burst->ma, c->objs[--c->got]);
	}
	return 0;
}

/* The fewest that a CPU got. */
static unsigned int fewest(const struct burst *burst)
{
	unsigned int cpu, least = UINT_MAX;

	for_each_online_cpu(cpu)
		least = min(least, per_cpu_ptr(burst->cpus, cpu)->got);
	return least;
}

static unsigned int ask_all(struct burst *burst)
{
	stop_machine(ask, burst, cpu_online_mask);
	return fewest(burst);
}

static void give_back_all(struct burst *burst)
{
	stop_machine(give_back, burst, cpu_online_mask);
	memalloc_test_settle(burst_pool(burst));
}

static struct bpf_mem_alloc *kind_ma(struct kunit *test, const struct kind *kind)
{
	struct bpf_mem_alloc *ma;

	if (kind->init_size || !kind->percpu)
		return memalloc_test_ma(test, kind->init_size, kind->percpu);
	ma = memalloc_test_percpu_classes(test);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, kind->size), 0);
	return ma;
}

KUNIT_DEFINE_ACTION_WRAPPER(free_percpu_action, free_percpu, void __percpu *);

static struct burst_cpu __percpu *room(struct kunit *test)
{
	struct burst_cpu __percpu *cpus = alloc_percpu(struct burst_cpu);

	KUNIT_ASSERT_TRUE(test, cpus);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_percpu_action,
							(__force void *)cpus), 0);
	return cpus;
}

/* All that is in depots goes, as under memory pressure, and of this pool only. */
static void empty_depots(struct bpf_mem_pool *pool)
{
	struct llist_node *first, *last;
	struct bpf_mem_shard *shard;
	unsigned int i, nr;

	bpf_mem_for_each_shard(shard, pool, i) {
		pcpu_magazine_set_target(&shard->mag, 1);
		while ((first = pcpu_magazine_take_chain(&shard->mag, &nr))) {
			for (last = first; last->next; last = last->next)
				;
			bpf_mem_gp_surplus(shard, first, last, nr);
		}
		bpf_mem_shard_queue(shard);
	}
}

/* What a long pause does, and more: CPUs keep their first objects. */
static void pause_long(struct bpf_mem_pool *pool)
{
	bpf_mem_collect(pool);
	/* What was asked for before comes now, not afterwards. */
	memalloc_test_settle(pool);
	empty_depots(pool);
	memalloc_test_settle(pool);
}

static void burst_of(struct kunit *test, const struct kind *kind, unsigned int nr)
{
	unsigned int cpu, first = min(nr, kind->first);
	struct burst burst = {
		.ma = kind_ma(test, kind),
		.size = kind->size,
		.nr = nr,
		.cpus = room(test),
	};
	struct bpf_mem_pool *pool = burst_pool(&burst);

	KUNIT_EXPECT_GE_MSG(test, ask_all(&burst), first, "fresh, %u on each CPU", nr);
	give_back_all(&burst);
	KUNIT_EXPECT_EQ_MSG(test, ask_all(&burst), nr, "second, %u on each CPU", nr);
	give_back_all(&burst);
	pause_long(pool);
	KUNIT_EXPECT_EQ(test, test_depot_level(pool), 0);
	for_each_online_cpu(cpu)
		KUNIT_EXPECT_EQ(test, burst_cpu(&burst, cpu)->nr, kind->first);
	KUNIT_EXPECT_GE_MSG(test, ask_all(&burst), first, "after a pause, %u on each CPU", nr);
	give_back_all(&burst);
	KUNIT_EXPECT_EQ_MSG(test, ask_all(&burst), nr, "then, %u on each CPU", nr);
	give_back_all(&burst);
}

static void test_all_cpus_burst_at_once(struct kunit *test)
{
	const struct kind *kind = test->param_value;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++)
		burst_of(test, kind, counts[i]);
}

/* What one CPU was given it keeps until another one asks; then that has its share. */
static void test_objects_kept_are_as_good_as_freed(struct kunit *test)
{
	struct burst burst = {
		.ma = memalloc_test_ma(test, 64, false),
		.nr = MOST,
		.cpus = room(test),
	};
	void **objs = kunit_kcalloc(test, num_online_cpus() * MOST, sizeof(*objs), GFP_KERNEL);
	unsigned int cpu, i, nr = 0;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	ask_all(&burst);
	for_each_online_cpu(cpu) {
		struct burst_cpu *c = per_cpu_ptr(burst.cpus, cpu);

		for (i = 0; i < c->got; i++)
			objs[nr++] = c->objs[i];
	}
	/* Nothing is freed: all of the second burst was brought by refills. */
	memalloc_test_settle(test_pool(burst.ma));
	KUNIT_EXPECT_EQ(test, ask_all(&burst), MOST);
	give_back_all(&burst);
	memalloc_test_free_all(burst.ma, objs, nr);
}

/* How much one interrupt asks of the slab */

struct irq_run {
	u32 nr_runs;
	int asked;
};

struct irq_watch {
	struct bpf_mem_alloc *ma;
	atomic_t most;		/* objects asked for in one interrupt */
	atomic_t in_irq;	/* ... in all interrupts */
	atomic_t in_task;	/* ... in workers */
	atomic_t elsewhere;
	struct irq_run __percpu *runs;
};

static struct irq_watch watch;

static void raise_to(atomic_t *most, int value)
{
	int old = atomic_read(most);

	while (old < value && !atomic_try_cmpxchg(most, &old, value))
		;
}

static unsigned int watch_irqs(unsigned int nr, gfp_t gfp)
{
	struct irq_run *run = raw_cpu_ptr(watch.runs);
	u32 nr_runs = READ_ONCE(raw_cpu_ptr(watch.ma->cpus)->nr_runs);

	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !in_hardirq()) {
		atomic_add(nr, in_task() ? &watch.in_task : &watch.elsewhere);
		return nr;
	}
	if (run->nr_runs != nr_runs)
		*run = (struct irq_run){ .nr_runs = nr_runs };
	run->asked += nr;
	atomic_add(nr, &watch.in_irq);
	raise_to(&watch.most, run->asked);
	return nr;
}

KUNIT_DEFINE_ACTION_WRAPPER(free_runs_action, free_percpu, void __percpu *);

static void watch_start(struct kunit *test, struct bpf_mem_alloc *ma)
{
	memset(&watch, 0, sizeof(watch));
	watch.ma = ma;
	watch.runs = alloc_percpu(struct irq_run);
	KUNIT_ASSERT_TRUE(test, watch.runs);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_runs_action,
							(__force void *)watch.runs), 0);
	WRITE_ONCE(bpf_mem_test.permit, watch_irqs);
}

static void watch_end(struct kunit *test, unsigned int batch)
{
	WRITE_ONCE(bpf_mem_test.permit, NULL);
	synchronize_rcu();
	kunit_info(test, "%d objects in interrupts, at most %d in one, %d in workers\n",
		   atomic_read(&watch.in_irq), atomic_read(&watch.most),
		   atomic_read(&watch.in_task));
	KUNIT_EXPECT_LE(test, atomic_read(&watch.most), BPF_MEM_IRQ_BATCHES * batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&watch.elsewhere), 0);
	/* It has seen something. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		KUNIT_EXPECT_GT(test, atomic_read(&watch.in_irq), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&watch.in_task), 0);
}

#define WANTED	5000

static void burst_and_free(struct bpf_mem_alloc *ma, void **objs)
{
	unsigned int nr = memalloc_test_burst(ma, objs, WANTED);

	memalloc_test_settle(test_pool(ma));
	memalloc_test_free_all(ma, objs, nr);
	pause_long(test_pool(ma));
}

/* It was 8 MiB once, and without end while other CPUs emptied the depot. */
static void test_refill_from_interrupt_is_bounded(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, WANTED, sizeof(*objs), GFP_KERNEL);
	unsigned int round, nr;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	watch_start(test, ma);
	for (round = 0; round < 5; round++)
		burst_and_free(ma, objs);
	/* The target is high: an interrupt could bring all of it. */
	nr = memalloc_test_burst(ma, objs, WANTED);
	memalloc_test_settle(test_pool(ma));
	memalloc_test_free_all(ma, objs, nr);
	nr = memalloc_test_burst(ma, objs, WANTED);
	KUNIT_EXPECT_EQ(test, nr, WANTED);
	memalloc_test_free_all(ma, objs, nr);
	watch_end(test, test_pool(ma)->mag.marks.batch);
}

static void test_refill_of_reserve_from_interrupt_is_bounded(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, 2 * WANTED, sizeof(*objs), GFP_KERNEL);
	unsigned int nr;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_reserve(ma, 0, WANTED), 0);
	watch_start(test, ma);
	nr = memalloc_test_burst(ma, objs, WANTED);
	KUNIT_EXPECT_EQ(test, nr, WANTED);
	/* All is kept: the reserve has to come back from the slab. */
	memalloc_test_settle(test_pool(ma));
	nr += memalloc_test_burst(ma, objs + nr, WANTED);
	KUNIT_EXPECT_EQ(test, nr, 2 * WANTED);
	memalloc_test_free_all(ma, objs, nr);
	watch_end(test, test_pool(ma)->mag.marks.batch);
}

static struct kunit_case memalloc_burst_cases[] = {
	KUNIT_CASE_PARAM(test_all_cpus_burst_at_once, kind_gen_params),
	KUNIT_CASE(test_objects_kept_are_as_good_as_freed),
	KUNIT_CASE(test_refill_from_interrupt_is_bounded),
	KUNIT_CASE(test_refill_of_reserve_from_interrupt_is_bounded),
	{}
};

static struct kunit_suite memalloc_burst_suite = {
	.name = "bpf_memalloc_burst",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_burst_cases,
};

kunit_test_suite(memalloc_burst_suite);
