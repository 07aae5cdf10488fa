/* SPDX-License-Identifier: GPL-2.0-only */
/* What the suites of the BPF memory allocator share. */
#ifndef _BPF_MEMALLOC_TEST_UTIL_H
#define _BPF_MEMALLOC_TEST_UTIL_H

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include "../memalloc_internal.h"

/* Nothing that a test waits for takes anywhere near this long. */
#define TEST_PATIENCE	(20 * HZ)

/*
 * Wait until @cond holds. Sleeps in between, so timers, softirqs and other
 * tasks get their turn. The value is false if it never came true.
 */
#define test_wait_for(cond)						\
({									\
	unsigned long __until = jiffies + TEST_PATIENCE;		\
	bool __met;							\
									\
	while (!(__met = (cond)) && time_before(jiffies, __until))	\
		usleep_range(200, 1000);				\
	__met || (cond);						\
})

/*
 * Objects that the slab has given and not got back, of all allocators but those
 * that stay: when these give something back is not up to a test.
 */
long test_live(void);

static inline struct bpf_mem_pool *test_pool(struct bpf_mem_alloc *ma)
{
	return ma->pools->pool[0];
}

/* For cases that want to know how many objects a refill brings: one batch. */
static inline void test_ignore_demand(struct bpf_mem_pool *pool)
{
	pool->mag.target = 1;
	pool->mag.marks.busy_target = 0;
	pool->mag.marks.limit = 0;
}

static inline struct pcpu_magazine_cpu *test_this_cpu(struct bpf_mem_alloc *ma)
{
	return raw_cpu_ptr(ma->cpus);
}

/*
 * Suite hooks: every case must leave as many objects as it found, once its
 * allocators are destroyed.
 */
int memalloc_test_init(struct kunit *test);
void memalloc_test_exit(struct kunit *test);
/* Objects of allocators that are not the test's have come or gone: count anew. */
void memalloc_test_rebase(struct kunit *test);

/* An allocator that is destroyed when the case ends, if it still exists. */
struct bpf_mem_alloc *memalloc_test_ma(struct kunit *test, int size, bool percpu);
/* With size classes, each of which has stock of its own. */
struct bpf_mem_alloc *memalloc_test_classes(struct kunit *test);
struct bpf_mem_alloc *memalloc_test_percpu_classes(struct kunit *test);

/* Allocate, and let the refill run if nothing is there. */
void *memalloc_test_get(struct bpf_mem_alloc *ma, size_t size);
void *memalloc_test_cache_get(struct bpf_mem_alloc *ma);
void memalloc_test_settle(struct bpf_mem_pool *pool);

/* Allocate @nr objects into @objs; returns how many came. */
unsigned int memalloc_test_fill(struct bpf_mem_alloc *ma, void **objs, unsigned int nr);
/*
 * Ask @nr times with interrupts off, whatever comes of it: no refill comes in
 * between. Returns how many were had.
 */
unsigned int memalloc_test_burst(struct bpf_mem_alloc *ma, void **objs, unsigned int nr);
void memalloc_test_free_all(struct bpf_mem_alloc *ma, void **objs, unsigned int nr);

/* Contents by which an object can be told from every other. */
void memalloc_test_sign(void *obj, size_t size);
bool memalloc_test_signed(const void *obj, size_t size);

/*
 * Whoever gets an object takes it, whoever frees it drops it first. False: it
 * was handed out twice, or freed twice. Any context.
 */
bool memalloc_test_take(void *obj);
bool memalloc_test_drop(void *obj);

/* Seed of the random tests: memalloc_test_util.seed=N on the command line. */
u32 memalloc_test_seed(struct kunit *test);

/* Count what the slab is asked for; ends with the case. */
struct memalloc_test_slab {
	atomic_t calls;		/* how often */
	atomic_t objects;	/* how many objects in all */
	atomic_t refuse_from;	/* calls from this one on get nothing; 0: never */
	atomic_t refuse_to;	/* ... up to this one */
	atomic_t refuse_atomic;	/* calls that may not sleep get nothing */
};

struct memalloc_test_slab *memalloc_test_watch_slab(struct kunit *test);

#endif /* _BPF_MEMALLOC_TEST_UTIL_H */
