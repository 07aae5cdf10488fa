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
	return ma->owner->pool[0];
}

/* That of the CPU that the test runs on, and with up to eight CPUs the only one. */
static inline struct bpf_mem_shard *test_shard(struct bpf_mem_pool *pool)
{
	return bpf_mem_this_shard(pool);
}

static inline struct pcpu_magazine_cpu *test_this_cpu(struct bpf_mem_alloc *ma)
{
	return &raw_cpu_ptr(ma->cpus)->mag;
}

/* For cases that want to know how many objects refills bring: one batch in a depot. */
void test_ignore_demand(struct bpf_mem_pool *pool);
/* Has a refill been asked for that has not begun? */
bool test_refill_pending(struct bpf_mem_pool *pool);
/* Objects in all depots, and chains that these have room for */
unsigned int test_depot_level(struct bpf_mem_pool *pool);
unsigned int test_depot_slots(struct bpf_mem_pool *pool);
/* Objects of a fresh pool that this CPU can take: not what others have at first. */
unsigned int test_within_reach(struct bpf_mem_pool *pool);
/*
 * Objects that the depot of a fresh pool is to have: a batch in two halves, where a
 * fixed size is all that an allocator has and CPUs have not got as many.
 */
unsigned int test_depot_at_first(struct bpf_mem_pool *pool);

/*
 * Suite hooks: every case must leave as many objects as it found, once its
 * allocators are destroyed.
 */
int memalloc_test_init(struct kunit *test);
void memalloc_test_exit(struct kunit *test);
/* Objects of allocators that are not the test's have come or gone: count anew. */
void memalloc_test_rebase(struct kunit *test);
/* Have allocators that stay give back now what a shrinker would take in between. */
void memalloc_test_shrink_others(struct kunit *test);
/* CPUs go offline, and what allocators that stay had given to them goes with them. */
void memalloc_test_others_shrink(struct kunit *test);

/* An allocator that is destroyed when the case ends, if it still exists. */
struct bpf_mem_alloc *memalloc_test_ma(struct kunit *test, int size, bool percpu);
struct bpf_mem_alloc *memalloc_test_percpu_classes(struct kunit *test);

/* Allocate, and let the refill run if nothing is there. */
void *memalloc_test_get(struct bpf_mem_alloc *ma, size_t size);
void *memalloc_test_cache_get(struct bpf_mem_alloc *ma);
/* Let interrupts and workers of a pool end that have been asked for. */
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
