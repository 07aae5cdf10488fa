// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: throughput of several CPUs on one allocator. Ours, the
 * peer's, kmalloc(), and kmalloc_nolock() where the tree has it.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/slab.h>
#include "memalloc_bench.h"

#define SIZE		64
#define OPERATIONS	400000	/* by each thread of the crowd */
/* From producer to consumer. On UML a refill waits for the next tick. */
#define PASSED_ON	(IS_ENABLED(CONFIG_UML) ? 20000 : 400000)
#define ROUND		128	/* objects that a thread of the crowd holds at most */
#define RING		1024	/* objects under way from producer to consumer */

/* Calls by pointer, the same for all: threads do other things in between, too. */
struct contender {
	const char *name;
	int (*open)(void);
	void (*close)(void);
	void *(*alloc)(void);
	void (*free)(void *obj);
};

static struct bpf_mem_alloc ours;

static int ours_open(void)
{
	return bpf_mem_alloc_init(&ours, SIZE, false);
}

static void ours_close(void)
{
	bpf_mem_alloc_destroy(&ours);
}

static void *ours_alloc(void)
{
	return bpf_mem_cache_alloc(&ours);
}

static void ours_free(void *obj)
{
	bpf_mem_cache_free(&ours, obj);
}

#ifdef BPF_MEMALLOC_PEER
static struct peer_mem_alloc peer;

static int peer_open(void)
{
	return peer_mem_alloc_init(&peer, SIZE, false);
}

static void peer_close(void)
{
	peer_mem_alloc_destroy(&peer);
}

static void *peer_alloc(void)
{
	return peer_mem_cache_alloc(&peer);
}

static void peer_free(void *obj)
{
	peer_mem_cache_free(&peer, obj);
}
#endif

static int kmalloc_open(void)
{
	return 0;
}

static void kmalloc_close(void)
{
}

static void *kmalloc_alloc(void)
{
	return kmalloc(SIZE, GFP_ATOMIC);
}

static void kmalloc_free(void *obj)
{
	kfree(obj);
}

#ifdef kmalloc_nolock
static void *nolock_alloc(void)
{
	return kmalloc_nolock(SIZE, 0, NUMA_NO_NODE);
}

static void nolock_free(void *obj)
{
	kfree_nolock(obj);
}
#endif

static const struct contender contenders[] = {
	{ "ours", ours_open, ours_close, ours_alloc, ours_free },
#ifdef BPF_MEMALLOC_PEER
	{ "peer", peer_open, peer_close, peer_alloc, peer_free },
#endif
	{ "kmalloc", kmalloc_open, kmalloc_close, kmalloc_alloc, kmalloc_free },
#ifdef kmalloc_nolock
	{ "kmalloc_nolock", bench_nolock_open, kmalloc_close, nolock_alloc, nolock_free },
#endif
};

typedef int (*worker_fn)(void *arg);

struct thread {
	struct task_struct *task;
	const struct contender *who;
	struct completion *gate;
	struct completion done;
	struct thread *peer;
	unsigned long missed;
	unsigned long operations;
	void *ring[RING];
	unsigned int head;
	unsigned int tail;
};

static void pause(unsigned long i)
{
	if (i % 1024 == 0)
		cond_resched();
}

/* Up and down, past what a CPU keeps. */
static int crowd(void *arg)
{
	struct thread *t = arg;
	const struct contender *who = t->who;
	unsigned long i;
	unsigned int nr = 0;
	bool up = true;

	wait_for_completion(t->gate);
	for (i = 0; i < OPERATIONS; i++) {
		pause(i);
		migrate_disable();
		if (up) {
			t->ring[nr] = who->alloc();
			if (t->ring[nr])
				nr++;
			else
				t->missed++;
		} else {
			who->free(t->ring[--nr]);
		}
		migrate_enable();
		up = up ? nr < ROUND : !nr;
	}
	migrate_disable();
	while (nr)
		who->free(t->ring[--nr]);
	migrate_enable();
	t->operations = OPERATIONS - t->missed;
	complete(&t->done);
	return 0;
}

static int produce(void *arg)
{
	struct thread *t = arg, *to = t->peer;
	unsigned long i;
	void *obj;

	wait_for_completion(t->gate);
	for (i = 0; t->operations < PASSED_ON; i++) {
		pause(i);
		/* Pairs with the release of tail in consume(). */
		if (to->head - smp_load_acquire(&to->tail) == RING) {
			cond_resched();
			continue;
		}
		migrate_disable();
		obj = t->who->alloc();
		migrate_enable();
		if (!obj) {
			t->missed++;
			cond_resched();
			continue;
		}
		to->ring[to->head % RING] = obj;
		/* Pairs with the acquire of head in consume(). */
		smp_store_release(&to->head, to->head + 1);
		t->operations++;
	}
	complete(&t->done);
	return 0;
}

static int consume(void *arg)
{
	struct thread *t = arg;
	unsigned long i;

	wait_for_completion(t->gate);
	for (i = 0; t->operations < PASSED_ON; i++) {
		pause(i);
		/* Pairs with the release of head in produce(). */
		if (smp_load_acquire(&t->head) == t->tail) {
			cond_resched();
			continue;
		}
		migrate_disable();
		t->who->free(t->ring[t->tail % RING]);
		migrate_enable();
		/* Pairs with the acquire of tail in produce(). */
		smp_store_release(&t->tail, t->tail + 1);
		t->operations++;
	}
	complete(&t->done);
	return 0;
}

/* Ns from the gate to the last one's end. */
static u64 run(struct kunit *test, const struct contender *who, struct thread *threads,
	       unsigned int nr, const worker_fn *fn)
{
	struct completion gate;
	unsigned int i = 0;
	int cpu;
	u64 start;

	init_completion(&gate);
	for_each_online_cpu(cpu) {
		if (i == nr)
			break;
		memset(&threads[i], 0, sizeof(threads[i]));
		threads[i].who = who;
		threads[i].gate = &gate;
		threads[i].peer = &threads[nr - 1];
		init_completion(&threads[i].done);
		threads[i].task = kthread_create_on_cpu(fn[i], &threads[i], cpu,
							"bpf_mem_bench/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(threads[i].task));
		wake_up_process(threads[i].task);
		i++;
	}
	msleep(20);
	start = ktime_get_ns();
	complete_all(&gate);
	while (i--)
		wait_for_completion(&threads[i].done);
	return ktime_get_ns() - start;
}

static void throughput(struct kunit *test, const char *work, unsigned int nr,
		       const worker_fn *fn, unsigned long operations)
{
	struct thread *threads = kunit_kcalloc(test, nr, sizeof(*threads), GFP_KERNEL);
	unsigned long missed;
	unsigned int i, t;
	u64 time;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, threads);
	for (i = 0; i < BENCH_SAMPLES * ARRAY_SIZE(contenders); i++) {
		const struct contender *who = &contenders[i % ARRAY_SIZE(contenders)];

		err = who->open();
		if (err == -EOPNOTSUPP)
			continue;
		KUNIT_ASSERT_EQ(test, err, 0);
		run(test, who, threads, nr, fn);
		time = run(test, who, threads, nr, fn);
		for (t = 0, missed = 0; t < nr; t++)
			missed += threads[t].missed;
		who->close();
		bench_report(test, work, who->name, time, nr * operations, missed);
	}
}

static void bench_all_cpus(struct kunit *test)
{
	unsigned int i, nr = num_online_cpus();
	worker_fn *fn;

	fn = kunit_kcalloc(test, nr, sizeof(*fn), GFP_KERNEL);
	if (nr < 2)
		kunit_skip(test, "one CPU only");
	KUNIT_ASSERT_NOT_NULL(test, fn);
	for (i = 0; i < nr; i++)
		fn[i] = crowd;
	throughput(test, "all_cpus", nr, fn, OPERATIONS);
}

static void bench_producer_and_consumer(struct kunit *test)
{
	static const worker_fn fn[] = { produce, consume };

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU only");
	throughput(test, "producer_consumer", 2, fn, PASSED_ON);
}

static struct kunit_case memalloc_bench_smp_cases[] = {
	KUNIT_CASE(bench_all_cpus),
	KUNIT_CASE(bench_producer_and_consumer),
	{}
};

static struct kunit_suite memalloc_bench_smp_suite = {
	.name = "bpf_memalloc_bench_smp",
	.init = bench_init,
	.test_cases = memalloc_bench_smp_cases,
};

kunit_test_suite(memalloc_bench_smp_suite);
