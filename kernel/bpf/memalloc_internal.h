/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BPF memory allocator: what its files and its tests share.
 *
 *	memalloc.c	 API, size classes, watermarks, refill, teardown
 *	memalloc_gp.c	 grace periods between a free and reuse or the slab
 *	memalloc_slab.c	 where objects come from and go to
 *	memalloc_shrink.c giving back what is not needed
 *	memalloc_marks.c watermarks, and how to change them
 *	memalloc_debugfs.c what can be seen of it
 */
#ifndef _BPF_MEMALLOC_INTERNAL_H
#define _BPF_MEMALLOC_INTERNAL_H

#include <linux/bpf_mem_alloc.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/pcpu_magazine.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include "memalloc_compat.h"

#define BPF_MEM_CLASSES		11
#define BPF_MEM_SIZE_MAX	4096

/* The classes of 256 and of 4096 bytes, which stand in for smaller ones. */
#define BPF_MEM_LENDER_SMALL	6
#define BPF_MEM_LENDER_LARGE	(BPF_MEM_CLASSES - 1)

/* Refills that one pool can have under way. */
#define BPF_MEM_REFILLS		8U

/**
 * struct bpf_mem_obj - what stands before the bytes that a user sees
 * @node: link to the next free object, while the object is free
 * @class: index of the size class, while an object of a class is in use
 *
 * The user's bytes, which readers may still look at after a free, stay as
 * they are until the object is handed out again.
 */
struct bpf_mem_obj {
	union {
		struct llist_node node;
		unsigned long class;
	};
};

/* Bytes before the user's; the size classes are counted with them. */
#define BPF_MEM_HEADER		sizeof(struct bpf_mem_obj)

/**
 * struct bpf_mem_watermarks - what a person sets, in objects per CPU
 * @low: below this a CPU is topped up
 * @high: above this a CPU gives a batch away
 * @batch: what moves at once, at most @high - @low
 */
struct bpf_mem_watermarks {
	unsigned int low;
	unsigned int high;
	unsigned int batch;
};

/**
 * struct bpf_mem_chain - objects linked by their nodes, with both ends known
 * @first: first node or NULL
 * @last: last node, meaningless when @first is NULL
 * @nr: number of nodes
 */
struct bpf_mem_chain {
	struct llist_node *first;
	struct llist_node *last;
	unsigned long nr;
};

/**
 * enum bpf_mem_gp_state - a grace period engine
 * @BPF_MEM_GP_IDLE: nothing under way
 * @BPF_MEM_GP_IN_FLIGHT: somebody is about to start a grace period or waits
 *	for the end of one
 * @BPF_MEM_GP_AGAIN: in flight, and more came meanwhile: start another when
 *	this one ends
 */
enum bpf_mem_gp_state {
	BPF_MEM_GP_IDLE,
	BPF_MEM_GP_IN_FLIGHT,
	BPF_MEM_GP_AGAIN,
};

/**
 * enum bpf_mem_refill_state - a refill of a pool
 * @BPF_MEM_REFILL_IDLE: neither queued nor running
 * @BPF_MEM_REFILL_QUEUED: whoever moved it here has queued it or is about to
 * @BPF_MEM_REFILL_RUNNING: runs, and will see nothing that is new from now on
 * @BPF_MEM_REFILL_AGAIN: runs, and queues itself once more
 */
enum bpf_mem_refill_state {
	BPF_MEM_REFILL_IDLE,
	BPF_MEM_REFILL_QUEUED,
	BPF_MEM_REFILL_RUNNING,
	BPF_MEM_REFILL_AGAIN,
};

/**
 * struct bpf_mem_refill - a refill of a pool, for some of the CPUs
 * @work: raised from any context, on the CPU that is short
 * @state: &enum bpf_mem_refill_state; the move to idle is the last time that
 *	the refill touches the pool
 * @pool: the pool
 * @asked: when it was queued, in ns of the monotonic clock
 * @delay_sum: ns between being queued and running, all in all
 * @delay_max: the longest of these
 * @nr_runs: number of these
 *
 * An irq_work that is queued on one CPU while it runs on another runs on both,
 * and irq_work_sync() waits for only one of them. So @work is queued by whoever
 * moves @state away from idle, and by nobody else, who also sets @asked. What
 * follows is written by the one refill that runs.
 */
struct bpf_mem_refill {
	struct irq_work work;
	atomic_t state;
	struct bpf_mem_pool *pool;
	u64 asked;
	u64 delay_sum;
	u64 delay_max;
	unsigned long nr_runs;
};

/**
 * struct bpf_mem_gp - a grace period engine and the objects it waits with
 * @state: &enum bpf_mem_gp_state; the move to idle is the last time that a
 *	callback touches the pool
 * @waiting: objects of the grace period in flight, under &bpf_mem_pool.lock
 * @rcu: passed to RCU by whoever moved @state away from idle
 * @started: when the one in flight began, in ns of the monotonic clock
 * @wait_sum: ns that grace periods took, all in all
 * @wait_max: the longest
 * @nr_periods: number of them
 * @nr_objs: objects that have waited
 *
 * @started and what follows is written by whoever runs the round.
 */
struct bpf_mem_gp {
	atomic_t state;
	struct bpf_mem_chain waiting;
	struct rcu_head rcu;
	u64 started;
	u64 wait_sum;
	u64 wait_max;
	unsigned long nr_periods;
	unsigned long nr_objs;
};

/**
 * struct bpf_mem_slab - source of objects of one size
 * @cache: slab cache, NULL for sizes that only kmalloc() serves
 * @exact: @cache is an exact-fit cache of ours
 * @size: bytes of an object
 */
struct bpf_mem_slab {
	struct kmem_cache *cache;
	struct bpf_mem_exact *exact;
	size_t size;
};

/**
 * struct bpf_mem_pool - objects of one size in one allocator
 * @mag: magazines and depot
 * @pools: the allocator
 * @sleeper: refills where sleeping is allowed, after a refill that got nothing
 * @refused: jiffies of that refill
 * @sleep_again: jiffies from which @sleeper may be asked again
 * @slab: where memory comes from: the object, or for a per-CPU object its
 *	&struct bpf_mem_obj
 * @area_size: bytes of the per-CPU area, 0 for ordinary objects
 * @area_at: where in an object the pointer to its area is, in bytes from the
 *	user's first
 * @overflow: chains that found no room in the depot; any context adds,
 *	the refill takes all
 * @collect: a deferred object came while @reuse was idle
 * @lock: protects @surplus and the waiting chains; interrupts disabled. A
 *	context that may have interrupted its holder only tries.
 * @surplus: objects to go back to the slab that wait for @release to start;
 *	they may be handed out again, as may those that @release waits with
 * @reuse: RCU, between free_rcu and reuse
 * @release: RCU Tasks Trace and RCU, between a free and the slab
 * @last_seen: objects in use when memalloc_shrink.c looked, which alone uses
 *	this, @last_out and @idle_looks
 * @last_out: &pcpu_magazine.nr_out at that time
 * @idle_looks: looks since this changed
 * @at_rest: nothing to look after while @last_out stays as it is; a refill
 *	clears it
 * @nr_slab: objects that came from the slab and have not gone back
 * @nr_slab_peak: the most that this has been; two that raise it at a time may
 *	forget the smaller step
 * @nr_trimmed: objects that were sent to @surplus, under @lock
 * @nr_refills: elements of @refills
 * @refills: one for each CPU, or for every BPF_MEM_REFILLS-th CPU
 */
struct bpf_mem_pool {
	struct pcpu_magazine mag;
	struct bpf_mem_pools *pools;
	struct work_struct sleeper;
	unsigned long refused;
	unsigned long sleep_again;
	struct bpf_mem_slab slab;
	size_t area_size;
	unsigned int area_at;

	struct llist_head overflow;
	atomic_t collect;
	raw_spinlock_t lock;
	struct bpf_mem_chain surplus;
	struct bpf_mem_gp reuse;
	struct bpf_mem_gp release;
	long last_seen;
	long last_out;
	unsigned int idle_looks;
	bool at_rest;
	atomic_long_t nr_slab;
	long nr_slab_peak;
	unsigned long nr_trimmed;

	unsigned int nr_refills;
	struct bpf_mem_refill refills[] __counted_by(nr_refills);
};

/**
 * struct bpf_mem_pools - an allocator, apart from its per-CPU part
 * @list: entry in the list of memalloc_shrink.c
 * @id: number of the allocator, for people
 * @map: the map that it serves, or NULL
 * @file: its file in debugfs, or NULL; under the lock of memalloc_shrink.c
 * @cpus: as in &struct bpf_mem_alloc
 * @objcg: memory cgroup that is charged, with a reference, or NULL
 * @percpu: objects are per-CPU areas
 * @dtor: called with each object and @ctx on its way to the slab
 * @ctx_free: called once with @ctx after the last @dtor
 * @ctx: see @dtor
 * @wanted: classes that were asked for and have no pool; any context sets bits,
 *	@maker clears them when it has made the pool
 * @maker: makes those pools, tries again when memory was short
 * @destroy_work: waits for grace periods where destroy may not
 * @nr: elements of @pool
 * @pool: one for a fixed size, BPF_MEM_CLASSES otherwise. NULL until it is
 *	prepared: see bpf_mem_pool_of(). After that it stays until the allocator
 *	goes.
 */
struct bpf_mem_pools {
	struct list_head list;
	unsigned int id;
	const struct bpf_map *map;
	struct dentry *file;
	struct pcpu_magazine_cpu __percpu *cpus;
	struct obj_cgroup *objcg;
	bool percpu;
	void (*dtor)(void *obj, void *ctx);
	void (*ctx_free)(void *ctx);
	void *ctx;
	unsigned long wanted;
	struct work_struct maker;
	struct work_struct destroy_work;
	unsigned int nr;
	struct bpf_mem_pool *pool[] __counted_by(nr);
};

/* Pool @i if it is prepared, else NULL. Any context. */
static __always_inline struct bpf_mem_pool *
bpf_mem_pool_of(struct bpf_mem_pools *pools, unsigned int i)
{
	/* Pairs with pool_show(): what is seen is whole. */
	return smp_load_acquire(&pools->pool[i]);
}

static inline struct bpf_mem_pool *bpf_mem_next_pool(struct bpf_mem_pools *pools,
						     unsigned int *i)
{
	struct bpf_mem_pool *pool = NULL;

	while (!pool && *i < pools->nr)
		pool = bpf_mem_pool_of(pools, (*i)++);
	return pool;
}

/* All pools that are prepared; @i is used up. */
#define bpf_mem_for_each_pool(pool, pools, i) \
	for ((i) = 0; ((pool) = bpf_mem_next_pool(pools, &(i))); )

static inline struct bpf_mem_obj *bpf_mem_obj(struct llist_node *node)
{
	return container_of(node, struct bpf_mem_obj, node);
}

static inline struct bpf_mem_obj *bpf_mem_obj_of(void *user)
{
	return user - BPF_MEM_HEADER;
}

static inline void *bpf_mem_user(struct llist_node *node)
{
	return (void *)node + BPF_MEM_HEADER;
}

/* Where an object with an area keeps the pointer to it. */
static inline void __percpu **bpf_mem_area(const struct bpf_mem_pool *pool,
					   struct llist_node *node)
{
	return bpf_mem_user(node) + pool->area_at;
}

/* What watermarks and bounds count with: the bytes that an object costs on a CPU. */
static inline size_t bpf_mem_unit(const struct bpf_mem_pool *pool)
{
	return pool->area_size ?: pool->slab.size;
}

static inline struct bpf_mem_pool *bpf_mem_pool(struct pcpu_magazine *mag)
{
	return container_of(mag, struct bpf_mem_pool, mag);
}

/* memalloc.c */
extern const u16 bpf_mem_class_size[BPF_MEM_CLASSES];
int bpf_mem_class(size_t size);
void bpf_mem_make_wanted(struct bpf_mem_pools *pools);
void bpf_mem_refill_wait(struct bpf_mem_pool *pool);
bool bpf_mem_refill_pending(struct bpf_mem_pool *pool);

/* memalloc_marks.c */
extern struct rw_semaphore bpf_mem_marks_sem;
struct bpf_mem_watermarks bpf_mem_watermarks_of(size_t size, bool percpu);
int bpf_mem_watermarks_set(size_t size, bool percpu, const struct bpf_mem_watermarks *marks);
void bpf_mem_marks(size_t size, bool percpu, struct pcpu_magazine_marks *marks);

/* memalloc_gp.c */
void bpf_mem_gp_init(struct bpf_mem_pool *pool);
bool bpf_mem_gp_deferred(struct bpf_mem_pool *pool);
void bpf_mem_gp_reuse(struct bpf_mem_pool *pool);
void bpf_mem_gp_release(struct bpf_mem_pool *pool, struct llist_node *list);
unsigned int bpf_mem_gp_take_back(struct bpf_mem_pool *pool, unsigned int nr,
				  void **objs);
struct llist_node *bpf_mem_gp_try_take_back(struct bpf_mem_pool *pool);
void bpf_mem_gp_drain(struct bpf_mem_pool *pool);
bool bpf_mem_gp_idle(struct bpf_mem_pool *pool);
void bpf_mem_gp_wait(void);

/* memalloc_shrink.c */
void bpf_mem_shrink_add(struct bpf_mem_pools *pools);
void bpf_mem_shrink_del(struct bpf_mem_pools *pools);
void bpf_mem_shrink_soon(struct bpf_mem_pool *pool);
unsigned long bpf_mem_shrink_count(void);
unsigned long bpf_mem_shrink_scan(unsigned long nr);
void bpf_mem_shrink_collect(struct bpf_mem_pool *pool);
void bpf_mem_for_each(void (*visit)(struct bpf_mem_pools *pools, void *arg), void *arg);

/* memalloc_debugfs.c */
#ifdef CONFIG_DEBUG_FS
void bpf_mem_debugfs_add(struct bpf_mem_pools *pools);
void bpf_mem_debugfs_del(struct bpf_mem_pools *pools);
#else
static inline void bpf_mem_debugfs_add(struct bpf_mem_pools *pools)
{
}

static inline void bpf_mem_debugfs_del(struct bpf_mem_pools *pools)
{
}
#endif

/* memalloc_slab.c */
int bpf_mem_slab_init(struct bpf_mem_slab *slab, size_t size);
void bpf_mem_slab_exit(struct bpf_mem_slab *slab);
unsigned int bpf_mem_slab_alloc(struct bpf_mem_pool *pool, gfp_t gfp,
				unsigned int nr, void **objs);
void bpf_mem_slab_free(struct bpf_mem_pool *pool, struct llist_node *list);
void bpf_mem_slab_free_early(const struct bpf_mem_pools *pools, struct llist_node *list);
size_t bpf_mem_slab_footprint(const struct bpf_mem_pool *pool);
void bpf_mem_slab_free_one(struct llist_node *node);

/*
 * What tests may replace or read. A kernel without the suites has none of it.
 *
 * @permit: how many of the next @nr objects the slab may give with @gfp
 * @permit_pool: may there be memory for a pool of this class?
 * @live: objects of all allocators that have not gone back to the slab
 */
struct bpf_mem_test {
	unsigned int (*permit)(unsigned int nr, gfp_t gfp);
	bool (*permit_pool)(unsigned int class);
	atomic_long_t live;
};

#if IS_ENABLED(CONFIG_BPF_MEMALLOC_KUNIT_TEST)
extern struct bpf_mem_test bpf_mem_test;

static inline unsigned int bpf_mem_test_permit(unsigned int nr, gfp_t gfp)
{
	unsigned int (*permit)(unsigned int nr, gfp_t gfp) = READ_ONCE(bpf_mem_test.permit);

	return permit ? permit(nr, gfp) : nr;
}

static inline bool bpf_mem_test_permit_pool(unsigned int class)
{
	bool (*permit_pool)(unsigned int class) = READ_ONCE(bpf_mem_test.permit_pool);

	return !permit_pool || permit_pool(class);
}

static inline void bpf_mem_test_live(long nr)
{
	atomic_long_add(nr, &bpf_mem_test.live);
}
#else
static inline unsigned int bpf_mem_test_permit(unsigned int nr, gfp_t gfp)
{
	return nr;
}

static inline bool bpf_mem_test_permit_pool(unsigned int class)
{
	return true;
}

static inline void bpf_mem_test_live(long nr)
{
}
#endif

#endif /* _BPF_MEMALLOC_INTERNAL_H */
