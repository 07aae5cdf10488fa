/* SPDX-License-Identifier: GPL-2.0-only */
/* Benchmark of large machines: threads on several CPUs that share one allocator. */
#ifndef _BPF_MEMALLOC_BENCH_LARGE_LOAD_H
#define _BPF_MEMALLOC_BENCH_LARGE_LOAD_H

#include <linux/cache.h>
#include <linux/completion.h>
#include "memalloc_bench_large.h"

#define LARGE_HELD	2000	/* objects by a thread: more than a CPU keeps in stock */
#define LARGE_RING	1024	/* objects under way from one thread to the other */
#define LARGE_TABLE	8000	/* places of the shared table */

struct large_load;

/* One thread. Its @held objects and numbers are its own. */
struct large_thread {
	struct large_load *load;
	struct task_struct *task;
	struct completion done;
	unsigned int share;	/* objects to get */
	unsigned long got;
	unsigned long local;	/* of these, on the node of the CPU */
	unsigned long missed;
	void *held[LARGE_HELD];
} ____cacheline_aligned;

/**
 * struct large_load - threads on an allocator
 * @who: whose
 * @ma: the allocator
 * @total: objects to get, by all threads together
 * @most_held: objects that a thread of large_churn() holds at most
 * @gate: opened when all threads are there
 * @nr: elements of @threads in use
 * @threads: one for each CPU at most
 * @table: what large_share() puts objects into
 * @ring: objects between large_produce() and large_consume()
 * @head: of @ring, written by the producer
 * @tail: of @ring, written by the consumer
 * @failed: the producer gives up
 */
struct large_load {
	const struct large_who *who;
	union large_ma ma;
	unsigned int total;
	unsigned int most_held;
	struct completion gate;
	unsigned int nr;
	struct large_thread *threads;
	void **table;
	void *ring[LARGE_RING];
	unsigned int head ____cacheline_aligned;
	unsigned int tail ____cacheline_aligned;
	bool failed;
};

/* What all threads together came to. */
struct large_sum {
	unsigned long got;
	unsigned long local;
	unsigned long missed;
};

typedef int (*large_fn)(void *thread);

int large_churn(void *thread);
int large_share(void *thread);

struct large_load *large_load_new(struct kunit *test);
void large_load_open(struct kunit *test, struct large_load *load, const struct large_who *who,
		     int size);
void large_load_all(struct kunit *test, struct large_load *load, large_fn fn);
void large_load_pair(struct kunit *test, struct large_load *load, int from, int to);
struct large_sum large_load_run(struct large_load *load);
void large_load_close(struct large_load *load);

#endif /* _BPF_MEMALLOC_BENCH_LARGE_LOAD_H */
