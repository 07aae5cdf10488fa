// SPDX-License-Identifier: GPL-2.0-only
/* BPF memory allocator: many CPUs on one allocator. */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include "memalloc_test_util.h"

#define OPERATIONS	200000
#define MOST_HELD	128
#define RING		256	/* objects under way from producer to consumer */

typedef int (*worker_fn)(void *arg);

struct worker {
	struct task_struct *task;
	struct bpf_mem_alloc *ma;
	struct completion *gate;
	struct worker *peer;
	u32 seed;
	unsigned long missed;
	unsigned long wrong;	/* handed out twice, freed twice, or overwritten */
	unsigned long done;
	void *ring[RING];
	unsigned int head, tail;
	int objects_when_warm;
	struct memalloc_test_slab *slab;
};

static bool obj_take(void *obj)
{
	bool once = memalloc_test_take(obj);

	memalloc_test_sign(obj + 8, 56);
	return once;
}

static bool obj_drop(void *obj)
{
	return memalloc_test_signed(obj + 8, 56) && memalloc_test_drop(obj);
}

static void worker_free(struct worker *w, void *obj, bool rcu)
{
	w->wrong += !obj_drop(obj);
	migrate_disable();
	if (rcu)
		bpf_mem_cache_free_rcu(w->ma, obj);
	else
		bpf_mem_cache_free(w->ma, obj);
	migrate_enable();
}

static void *worker_alloc(struct worker *w)
{
	void *obj;

	migrate_disable();
	obj = bpf_mem_cache_alloc(w->ma);
	migrate_enable();
	if (!obj)
		w->missed++;
	else
		w->wrong += !obj_take(obj);
	return obj;
}

static void park(void)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

/* Random numbers of objects held, random way of freeing. */
static int hammer(void *arg)
{
	struct worker *w = arg;
	struct rnd_state rnd;
	void *held[MOST_HELD];
	unsigned int nr = 0, pick;

	prandom_seed_state(&rnd, w->seed);
	wait_for_completion(w->gate);
	for (w->done = 0; w->done < OPERATIONS; w->done++) {
		u32 dice = prandom_u32_state(&rnd);

		if (nr < MOST_HELD && (!nr || dice & 1)) {
			held[nr] = worker_alloc(w);
			nr += !!held[nr];
		} else {
			pick = (dice >> 8) % nr;
			worker_free(w, held[pick], (dice & 0xe) == 2);
			held[pick] = held[--nr];
		}
		cond_resched();
	}
	while (nr)
		worker_free(w, held[--nr], false);
	park();
	return 0;
}

static int produce(void *arg)
{
	struct worker *w = arg;
	struct worker *to = w->peer;
	void *obj;

	wait_for_completion(w->gate);
	while (w->done < OPERATIONS) {
		if (w->done == OPERATIONS / 10)
			w->objects_when_warm = atomic_read(&w->slab->objects);
		/* Pairs with the release of tail in consume(). */
		if (to->head - smp_load_acquire(&to->tail) == RING) {
			cond_resched();
			continue;
		}
		obj = worker_alloc(w);
		if (!obj) {
			cond_resched();
			continue;
		}
		to->ring[to->head % RING] = obj;
		/* Pairs with the acquire of head in consume(). */
		smp_store_release(&to->head, to->head + 1);
		w->done++;
	}
	park();
	return 0;
}

static int consume(void *arg)
{
	struct worker *w = arg;

	wait_for_completion(w->gate);
	while (w->done < OPERATIONS) {
		/* Pairs with the release of head in produce(). */
		if (smp_load_acquire(&w->head) == w->tail) {
			cond_resched();
			continue;
		}
		worker_free(w, w->ring[w->tail % RING], false);
		/* Pairs with the acquire of tail in produce(). */
		smp_store_release(&w->tail, w->tail + 1);
		w->done++;
	}
	park();
	return 0;
}

static bool all_done(struct worker *workers, unsigned int nr)
{
	while (nr--) {
		if (READ_ONCE(workers[nr].done) < OPERATIONS)
			return false;
	}
	return true;
}

/* Start one worker on each of the first @nr CPUs at one gate and wait. */
static void run_workers(struct kunit *test, struct worker *workers, unsigned int nr,
			worker_fn *fn, u32 seed)
{
	struct completion gate;
	unsigned int i = 0, cpu;
	bool finished;

	init_completion(&gate);
	for_each_online_cpu(cpu) {
		if (i == nr)
			break;
		workers[i].gate = &gate;
		workers[i].seed = seed + i;
		workers[i].task = kthread_create_on_cpu(fn[i], &workers[i], cpu,
							"bpf_mem_test/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(workers[i].task));
		wake_up_process(workers[i].task);
		i++;
	}
	complete_all(&gate);
	finished = test_wait_for(all_done(workers, nr)) || test_wait_for(all_done(workers, nr));
	while (i--)
		kthread_stop(workers[i].task);
	KUNIT_EXPECT_TRUE_MSG(test, finished, "workers hang");
}

static void skip_with_one_cpu(struct kunit *test)
{
	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU only");
}

static void test_all_cpus_hammer_one_allocator(struct kunit *test)
{
	unsigned int i, nr = num_online_cpus();
	worker_fn *fn = kunit_kcalloc(test, nr, sizeof(*fn), GFP_KERNEL);
	struct worker *workers = kunit_kcalloc(test, nr, sizeof(*workers), GFP_KERNEL);
	struct bpf_mem_alloc *ma;

	skip_with_one_cpu(test);
	ma = memalloc_test_ma(test, 64, false);
	KUNIT_ASSERT_NOT_NULL(test, fn);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	for (i = 0; i < nr; i++) {
		workers[i].ma = ma;
		fn[i] = hammer;
	}
	run_workers(test, workers, nr, fn, memalloc_test_seed(test));
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, workers[i].done, OPERATIONS);
		KUNIT_EXPECT_EQ(test, workers[i].wrong, 0);
		kunit_info(test, "worker %u: %lu missed\n", i, workers[i].missed);
	}
}

/*
 * One CPU allocates, another one frees. What is freed there has to find its
 * way back: once it piled up while the allocating CPU kept going to the slab.
 */
static void test_one_allocates_another_frees(struct kunit *test)
{
	worker_fn fn[] = { produce, consume };
	struct memalloc_test_slab *slab;
	struct bpf_mem_alloc *ma;
	struct worker *workers;
	int asked, limit;
	long before, held;

	skip_with_one_cpu(test);
	workers = kunit_kcalloc(test, 2, sizeof(*workers), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);
	before = test_live();
	ma = memalloc_test_ma(test, 64, false);
	slab = memalloc_test_watch_slab(test);
	workers[0].ma = ma;
	workers[1].ma = ma;
	workers[0].slab = slab;
	workers[0].peer = &workers[1];
	run_workers(test, workers, 2, fn, 0);

	asked = atomic_read(&slab->objects) - workers[0].objects_when_warm;
	held = test_live() - before;
	limit = test_pool(ma)->mag.marks.batch *
		(2 * num_online_cpus() + test_depot_slots(test_pool(ma)));
	kunit_info(test, "%d asked of the slab for %d once warm, %ld held, %lu missed\n",
		   asked, OPERATIONS * 9 / 10, held, workers[0].missed);
	KUNIT_EXPECT_EQ(test, workers[0].wrong, 0);
	KUNIT_EXPECT_EQ(test, workers[1].wrong, 0);
	KUNIT_EXPECT_EQ(test, workers[1].done, OPERATIONS);
	/*
	 * Of each that came back late, because others ran, one is asked for anew. Where none
	 * finds its way back it is all of them.
	 */
	KUNIT_EXPECT_LE(test, asked, OPERATIONS * 9 / 10 / 50);
	held = test_wait_for(test_live() - before <= limit);
	KUNIT_EXPECT_TRUE_MSG(test, held, "%ld held, at most %d allowed",
			      test_live() - before, limit);
}

static struct kunit_case memalloc_smp_cases[] = {
	KUNIT_CASE_SLOW(test_all_cpus_hammer_one_allocator),
	KUNIT_CASE_SLOW(test_one_allocates_another_frees),
	{}
};

static struct kunit_suite memalloc_smp_suite = {
	.name = "bpf_memalloc_smp",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_smp_cases,
};

kunit_test_suite(memalloc_smp_suite);
