// SPDX-License-Identifier: GPL-2.0-only
/* Benchmark of large machines: threads on several CPUs that share one allocator. */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/topology.h>
#include "memalloc_bench_large_load.h"

/*
 * An emulator that runs the CPUs in turns goes on to the next one at a pause
 * instruction. Without, each CPU would be done before the next one starts.
 */
static void take_turns(unsigned int i)
{
	if (i % 16 == 0)
		cpu_relax();
	if (i % 1024 == 0)
		cond_resched();
}

static bool gives_up(struct large_thread *t)
{
	return t->missed > t->load->total;
}

/* One more, or NULL when the allocator gives nothing for too long. */
static void *get(struct large_thread *t)
{
	void *obj = NULL;

	while (!obj && !gives_up(t)) {
		migrate_disable();
		obj = t->load->who->alloc(&t->load->ma, 0);
		if (obj)
			t->local += page_to_nid(virt_to_page(obj)) == numa_node_id();
		migrate_enable();
		if (!obj) {
			t->missed++;
			cpu_relax();
			cond_resched();
		}
	}
	t->got += !!obj;
	return obj;
}

static void put(struct large_load *load, void *obj)
{
	migrate_disable();
	load->who->free(&load->ma, 0, obj);
	migrate_enable();
}

/* Up to what it may hold, down to nothing, and up again. */
int large_churn(void *thread)
{
	struct large_thread *t = thread;
	struct large_load *load = t->load;
	unsigned int nr = 0, i;
	bool up = true;

	wait_for_completion(&load->gate);
	for (i = 0; t->got < t->share && !gives_up(t); i++) {
		take_turns(i);
		if (up) {
			t->held[nr] = get(t);
			nr += !!t->held[nr];
		} else {
			put(load, t->held[--nr]);
		}
		up = up ? nr < load->most_held : !nr;
	}
	while (nr)
		put(load, t->held[--nr]);
	complete(&t->done);
	return 0;
}

/* What it gets goes into a random place of the table, what was there goes back. */
int large_share(void *thread)
{
	struct large_thread *t = thread;
	struct large_load *load = t->load;
	struct rnd_state random;
	unsigned int i;
	void *obj, *old;

	prandom_seed_state(&random, t - load->threads + 1);
	wait_for_completion(&load->gate);
	for (i = 0; t->got < t->share; i++) {
		take_turns(i);
		obj = get(t);
		if (!obj)
			break;
		old = xchg(&load->table[prandom_u32_state(&random) % LARGE_TABLE], obj);
		if (old)
			put(load, old);
	}
	complete(&t->done);
	return 0;
}

static int produce(void *thread)
{
	struct large_thread *t = thread;
	struct large_load *load = t->load;
	void *obj;

	wait_for_completion(&load->gate);
	while (t->got < t->share) {
		/* Pairs with the release of tail in consume(). */
		while (load->head - smp_load_acquire(&load->tail) == LARGE_RING) {
			cpu_relax();
			cond_resched();
		}
		take_turns(t->got);
		obj = get(t);
		if (!obj)
			break;
		load->ring[load->head % LARGE_RING] = obj;
		/* Pairs with the acquire of head in consume(). */
		smp_store_release(&load->head, load->head + 1);
	}
	WRITE_ONCE(load->failed, t->got < t->share);
	complete(&t->done);
	return 0;
}

static int consume(void *thread)
{
	struct large_thread *t = thread;
	struct large_load *load = t->load;
	unsigned int nr = 0;

	wait_for_completion(&load->gate);
	while (nr < load->total && !READ_ONCE(load->failed)) {
		/* Pairs with the release of head in produce(). */
		if (smp_load_acquire(&load->head) == load->tail) {
			cpu_relax();
			cond_resched();
			continue;
		}
		put(load, load->ring[load->tail % LARGE_RING]);
		take_turns(nr++);
		/* Pairs with the acquire of tail in produce(). */
		smp_store_release(&load->tail, load->tail + 1);
	}
	complete(&t->done);
	return 0;
}

/* Loads for one after the other, until the test ends. */
struct large_load *large_load_new(struct kunit *test)
{
	struct large_load *load = kunit_kzalloc(test, sizeof(*load), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, load);
	load->table = large_objs(test, LARGE_TABLE);
	load->threads = kunit_kcalloc(test, num_online_cpus(), sizeof(*load->threads), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, load->threads);
	return load;
}

/* An allocator for the next threads, with objects of @size bytes. */
void large_load_open(struct kunit *test, struct large_load *load, const struct large_who *who,
		     int size)
{
	load->who = who;
	load->nr = 0;
	load->head = 0;
	load->tail = 0;
	load->failed = false;
	init_completion(&load->gate);
	KUNIT_ASSERT_EQ(test, who->init(&load->ma, size, false), 0);
}

static void add_thread(struct kunit *test, struct large_load *load, large_fn fn, int cpu,
		       unsigned int share)
{
	struct large_thread *t = &load->threads[load->nr++];

	memset(t, 0, sizeof(*t));
	t->load = load;
	t->share = share;
	init_completion(&t->done);
	t->task = kthread_create_on_cpu(fn, t, cpu, "bpf_mem_large/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->task));
	wake_up_process(t->task);
}

/* A thread on each CPU. */
void large_load_all(struct kunit *test, struct large_load *load, large_fn fn)
{
	int cpu;

	for_each_online_cpu(cpu)
		add_thread(test, load, fn, cpu, load->total / num_online_cpus());
}

/* What one CPU gets the other one frees. */
void large_load_pair(struct kunit *test, struct large_load *load, int from, int to)
{
	add_thread(test, load, produce, from, load->total);
	add_thread(test, load, consume, to, 0);
}

/* All threads at once; when they are done, others can be added. */
struct large_sum large_load_run(struct large_load *load)
{
	struct large_sum sum = {};
	unsigned int i;

	complete_all(&load->gate);
	for (i = 0; i < load->nr; i++) {
		wait_for_completion(&load->threads[i].done);
		sum.got += load->threads[i].got;
		sum.local += load->threads[i].local;
		sum.missed += load->threads[i].missed;
	}
	load->nr = 0;
	reinit_completion(&load->gate);
	return sum;
}

void large_load_close(struct large_load *load)
{
	unsigned int i;

	for (i = 0; i < LARGE_TABLE; i++) {
		if (load->table[i])
			put(load, load->table[i]);
		load->table[i] = NULL;
	}
	while (load->tail != load->head)
		put(load, load->ring[load->tail++ % LARGE_RING]);
	load->who->destroy(&load->ma);
	bench_settle();
}
