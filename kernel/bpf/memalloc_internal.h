/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BPF memory allocator: what its files and its tests share.
 *
 *	memalloc.c		the functions that callers know; the way of a program
 *	memalloc_pool.c		pools: making, refilling, ending
 *	memalloc_gp.c		grace periods between a free and reuse or the slab
 *	memalloc_slab.c		where objects come from and go to
 *	memalloc_registry.c	all allocators there are
 *	memalloc_shrink.c	giving back what is not needed
 *	memalloc_watermarks.c	watermarks, and how to change them
 *	memalloc_debugfs.c	what can be seen of it
 *	memalloc_map.c		what maps add: a sysctl, reserves, their memory
 *
 * A *pool* has the objects of one size. An *allocator* has one pool (fixed size)
 * or one for each size class. Magazines, shards and depots: <linux/pcpu_magazine.h>.
 */
#ifndef _BPF_MEMALLOC_INTERNAL_H
#define _BPF_MEMALLOC_INTERNAL_H

#include <linux/bpf_mem_alloc.h>
#include <linux/irq_work.h>
#include <linux/pcpu_magazine.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>
#include "memalloc_compat.h"

#define BPF_MEM_CLASSES		11
#define BPF_MEM_SIZE_MAX	4096

/*
 * Batches that one interrupt adds at most, and areas, of which each is a batch; a
 * worker adds the rest.
 */
#define BPF_MEM_IRQ_BATCHES	3
#define BPF_MEM_IRQ_AREAS	4

/**
 * struct bpf_mem_obj - what stands before the bytes that a user sees
 * @node: link to the next free object, while the object is free
 * @class: index of the size class, while an object of a class is in use
 * @owner: allocator of an object from bpf_mem_cache_alloc_flags() while it is in
 *	use: twice its number, plus 1, which no link can be
 *
 * The user's bytes, which readers may still look at after a free, stay as
 * they are until the object is handed out again.
 */
struct bpf_mem_obj {
	union {
		struct llist_node node;
		unsigned long class;
		unsigned long owner;
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
 * struct bpf_mem_cpu - what one CPU has of a pool
 * @mag: its magazines
 * @refill_work: raised by this CPU, from any context, when stock is short or
 *	something waits for a worker
 * @waiting: objects that wait for the end of &bpf_mem_shard.reuse, or have waited;
 *	used with &bpf_mem_shard.reusing set
 * @asked: when @refill_work was raised, in ns of the monotonic clock
 * @delay_sum: ns between being raised and running, all in all
 * @delay_max: the longest of these
 * @nr_runs: number of these
 *
 * Whoever raises @refill_work has left a note before: on a list, in
 * &pcpu_magazine_cpu.missed, or in the level of a depot. It is raised by its own
 * CPU only, and runs there. So who finds it pending has left the note before it
 * runs; else irq_work_queue() is a full barrier, and so is the start of the
 * handler: a note is seen by the run that is asked for.
 */
struct bpf_mem_cpu {
	struct pcpu_magazine_cpu mag;
	struct irq_work refill_work;
	struct llist_node *waiting;
	u64 asked;
	u64 delay_sum;
	u32 delay_max;
	u32 nr_runs;
};

/**
 * enum bpf_mem_gp_state - a grace period engine
 * @BPF_MEM_GP_IDLE: nothing under way
 * @BPF_MEM_GP_WAITING: a callback of RCU will come, and move it on
 * @BPF_MEM_GP_EXPIRED: it has come; what has waited is being moved
 */
enum bpf_mem_gp_state {
	BPF_MEM_GP_IDLE,
	BPF_MEM_GP_WAITING,
	BPF_MEM_GP_EXPIRED,
};

/**
 * struct bpf_mem_gp - a grace period engine
 * @state: &enum bpf_mem_gp_state; written by whoever may move objects of the engine,
 *	but for the move to expired
 * @rcu: with RCU while waiting
 * @started: when the one under way began, in ns of the monotonic clock
 * @wait_sum: ns that grace periods took, all in all
 * @wait_max: the longest
 * @nr_periods: number of them
 * @nr_objs: objects that have waited
 * @nr_objs_before: the same when the one under way began
 */
struct bpf_mem_gp {
	atomic_t state;
	struct rcu_head rcu;
	u64 started;
	u64 wait_sum;
	u64 wait_max;
	unsigned long nr_periods;
	unsigned long nr_objs;
	unsigned long nr_objs_before;
};

/**
 * struct bpf_mem_queue - objects that any context adds and takes back
 * @added: where they are added
 * @head: those that were added before, in the order in which they are taken
 * @busy: bit 0: somebody changes @head. Who finds it set does without; the worker,
 *	which no holder can be below of, waits.
 *
 * A lock-less list can only be taken whole, and who puts the rest back may find
 * that others have added, and would have to walk over one of the two. So the rest
 * stays here. A bit and not a spinlock: that always succeeds on one CPU.
 */
struct bpf_mem_queue {
	struct llist_head added;
	struct llist_node *head;
	unsigned long busy;
};

/* Pairs with queue_cut(), which moves from the one to the other. */
static inline bool bpf_mem_queue_empty(const struct bpf_mem_queue *queue)
{
	if (!llist_empty(&queue->added))
		return false;
	smp_rmb();	/* what is no longer added may be at the head */
	return !READ_ONCE(queue->head);
}

/**
 * struct bpf_mem_shard - what up to eight CPUs of one node have of a pool
 * @mag: their depot
 * @work: refills where sleeping is allowed, moves what is more than others may move
 *	past its grace period; at any time it runs once at most
 * @refilled: jiffies of the last refill
 * @wanted: the worker is to refill; set before it is queued
 * @surplus: objects to go to the slab, whose grace periods have not begun; any
 *	context adds and takes back
 * @releasing: objects whose grace periods @release waits for, or has waited for;
 *	the worker adds, any context takes back
 * @reusing: bit 0: somebody moves objects of @reuse. Who finds it set leaves that to
 *	the worker, which waits.
 * @reuse: RCU, between free_rcu and reuse; any context but NMI moves it on
 * @release: RCU Tasks Trace and RCU, between a free and the slab; the worker alone
 *	moves it on
 */
struct bpf_mem_shard {
	struct pcpu_magazine_shard mag;
	struct work_struct work;
	unsigned long refilled;
	unsigned int wanted;
	struct bpf_mem_queue surplus;
	struct bpf_mem_queue releasing;
	unsigned long reusing;
	struct bpf_mem_gp reuse;
	struct bpf_mem_gp release;
};

/**
 * struct bpf_mem_slab - source of objects of one size
 * @cache: slab cache, NULL for sizes that only kmalloc() serves
 * @exact: @cache is an exact-fit cache of ours
 * @size: bytes of an object, a multiple of 8
 */
struct bpf_mem_slab {
	struct kmem_cache *cache;
	struct bpf_mem_exact *exact;
	size_t size;
};

/**
 * struct bpf_mem_pool - objects of one size in one allocator
 * @mag: magazines and depots
 * @owner: the allocator
 * @slab: where memory comes from: the object, or for a per-CPU object its
 *	&struct bpf_mem_obj
 * @area_size: bytes of the per-CPU area, 0 for ordinary objects
 * @area_at: where in an object the pointer to its area is, in bytes from the
 *	user's first
 * @busy_target: batches that a depot keeps when one refill follows upon another
 * @target_limit: batches that it keeps at most, when allocations have failed
 * @refused: the last refill got less memory than it asked for
 * @sleep_again: jiffies from which memory that was refused may be waited for
 * @stopping: nobody uses the pool any more
 * @gp_used: a callback of RCU may touch the pool
 * @tried: jiffies of the last refill from an interrupt
 * @at_rest: nothing to look after while @last_moves stays as it is
 * @idle_looks: looks of memalloc_shrink.c that have found no change; it alone
 *	uses this, @last_moves and @last_used
 * @last_moves: chains that had moved when it looked
 * @last_used: objects in use at that time
 * @nr_trimmed: objects that were ever sent to @surplus
 * @nr_slab: objects that came from the slab and have not gone back
 * @nr_slab_peak: the most that this has been; two that raise it at a time may
 *	forget the smaller step
 * @rcu: frees the pool, whose number somebody may be looking up
 * @shards: see &struct bpf_mem_shard
 *
 * in use = @nr_slab - pcpu_magazine_cached() - those on surplus and releasing of all
 * shards (&pcpu_magazine_pool.nr_reclaimable), where objects on nested and deferred
 * lists and those that reuse waits for count as in use.
 */
struct bpf_mem_pool {
	struct pcpu_magazine_pool mag;
	struct bpf_mem_allocator *owner;
	struct bpf_mem_slab slab;
	size_t area_size;
	unsigned int area_at;
	unsigned int busy_target;
	unsigned int target_limit;
	bool refused;
	bool stopping;
	bool gp_used;
	bool at_rest;
	unsigned long sleep_again;
	unsigned long tried;
	unsigned int idle_looks;
	unsigned long last_moves;
	long last_used;

	atomic_long_t nr_trimmed ____cacheline_aligned_in_smp;
	atomic_long_t nr_slab;
	long nr_slab_peak;
	struct rcu_head rcu;
	struct pcpu_magazine_shard *shards[];
};

/**
 * struct bpf_mem_allocator - an allocator
 * @id: its number in the registry
 * @map: the map that it serves, or NULL
 * @file: its file in debugfs, or NULL; under the lock of the registry
 * @cpus: as in &struct bpf_mem_alloc
 * @objcg: memory cgroup that is charged, with a reference, or NULL
 * @percpu: objects are per-CPU areas
 * @dtor: called with each object and @ctx on its way to the slab
 * @ctx_free: called once with @ctx after the last @dtor
 * @ctx: see @dtor
 * @destroy_work: waits for grace periods where destroy may not
 * @rcu: frees it, whose number somebody may be looking up
 * @nr: elements of @pool
 * @pool: one for a fixed size, BPF_MEM_CLASSES otherwise; NULL are only classes
 *	of per-CPU areas that bpf_mem_alloc_percpu_unit_init() has not prepared
 */
struct bpf_mem_allocator {
	u32 id;
	const struct bpf_map *map;
	struct dentry *file;
	struct bpf_mem_cpu __percpu *cpus;
	struct obj_cgroup *objcg;
	bool percpu;
	void (*dtor)(void *obj, void *ctx);
	void (*ctx_free)(void *ctx);
	void *ctx;
	struct work_struct destroy_work;
	struct rcu_head rcu;
	unsigned int nr;
	struct bpf_mem_pool *pool[] __counted_by(nr);
};

/**
 * struct bpf_mem_shape - what an object is: bytes for the user, and a per-CPU area
 * @size: bytes for the user
 * @area_size: bytes of the area; 0 if there is none
 * @area_at: where in the bytes for the user the address of the area stands
 *
 * The plain per-CPU object has nothing else: the user's pointer points at that
 * address, the verifier dereferences it.
 */
struct bpf_mem_shape {
	size_t size;
	size_t area_size;
	unsigned int area_at;
};

static inline struct bpf_mem_pool *bpf_mem_next_pool(struct bpf_mem_allocator *owner,
						     unsigned int *i)
{
	struct bpf_mem_pool *pool = NULL;

	while (!pool && *i < owner->nr) {
		/* Pairs with the store of bpf_mem_pool_make(): what is seen is whole. */
		pool = smp_load_acquire(&owner->pool[(*i)++]);
	}
	return pool;
}

/* All pools that there are; @i is used up. */
#define bpf_mem_for_each_pool(pool, owner, i) \
	for ((i) = 0; ((pool) = bpf_mem_next_pool(owner, &(i))); )

#define bpf_mem_for_each_shard(shard, pool, i)				\
	for ((i) = 0; (i) < (pool)->mag.nr_shards &&			\
	     ((shard) = bpf_mem_shard((pool)->shards[i])); (i)++)

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

/* What one interrupt, or one callback of RCU, moves at most. */
static inline unsigned int bpf_mem_irq_batches(const struct bpf_mem_pool *pool)
{
	return pool->area_size ? BPF_MEM_IRQ_AREAS : BPF_MEM_IRQ_BATCHES;
}

/* What watermarks and bounds count with: the bytes that an object costs on a CPU. */
static inline size_t bpf_mem_unit(const struct bpf_mem_pool *pool)
{
	return pool->area_size ?: pool->slab.size;
}

static inline struct bpf_mem_pool *bpf_mem_pool(struct pcpu_magazine_pool *mag)
{
	return container_of(mag, struct bpf_mem_pool, mag);
}

static inline struct bpf_mem_shard *bpf_mem_shard(struct pcpu_magazine_shard *mag)
{
	return container_of(mag, struct bpf_mem_shard, mag);
}

static inline struct bpf_mem_pool *bpf_mem_shard_pool(struct bpf_mem_shard *shard)
{
	return bpf_mem_pool(shard->mag.pool);
}

static inline struct bpf_mem_cpu __percpu *bpf_mem_cpus(struct bpf_mem_pool *pool)
{
	return (struct bpf_mem_cpu __percpu *)pool->mag.cpus;
}

/* The shard of this CPU, or of one that it was a moment ago. */
static inline struct bpf_mem_shard *bpf_mem_this_shard(struct bpf_mem_pool *pool)
{
	return bpf_mem_shard(pool->shards[pcpu_magazine_shard_of(raw_smp_processor_id())]);
}

/*
 * Does a callback of RCU have yet to come, and to go on? What was added to a list
 * before this is asked is found by whoever goes on: either looks at the state or at
 * the list after a full barrier behind the other.
 */
static inline bool bpf_mem_gp_is_waiting(const struct bpf_mem_gp *gp)
{
	return atomic_read(&gp->state) == BPF_MEM_GP_WAITING;
}

/* The same for what goes to the slab: is there some, and nobody who will come? */
static inline bool bpf_mem_gp_has_surplus(const struct bpf_mem_shard *shard)
{
	return !bpf_mem_queue_empty(&shard->surplus) && !bpf_mem_gp_is_waiting(&shard->release);
}

/* memalloc.c */
extern const u16 bpf_mem_class_size[BPF_MEM_CLASSES];
int bpf_mem_class(size_t size);

/* memalloc_pool.c */
extern struct workqueue_struct *bpf_mem_wq;
extern struct workqueue_struct *bpf_mem_late_wq;
struct mem_cgroup *bpf_mem_memcg(const struct bpf_mem_allocator *owner);
void bpf_mem_memcg_put(const struct bpf_mem_allocator *owner, struct mem_cgroup *memcg);
unsigned int bpf_mem_charged_alloc(struct bpf_mem_pool *pool, int node, gfp_t gfp,
				   unsigned int nr, void **objs);
struct bpf_mem_pool *bpf_mem_pool_make(struct bpf_mem_allocator *owner, unsigned int i,
				       const struct bpf_mem_shape *shape);
void bpf_mem_pool_stop(struct bpf_mem_pool *pool);
void bpf_mem_pool_drain(struct bpf_mem_pool *pool);
void bpf_mem_pool_exit(struct bpf_mem_pool *pool);
void bpf_mem_pool_prepare(struct bpf_mem_pool *pool);
int bpf_mem_pool_reserve(struct bpf_mem_pool *pool, unsigned int nr);
void bpf_mem_pool_kick(struct bpf_mem_pool *pool);
void bpf_mem_shard_queue(struct bpf_mem_shard *shard);
long bpf_mem_pool_used(struct bpf_mem_pool *pool);

/* memalloc_gp.c */
void bpf_mem_gp_surplus(struct bpf_mem_shard *shard, struct llist_node *first,
			struct llist_node *last, unsigned int nr);
struct llist_node *bpf_mem_gp_take_back(struct bpf_mem_shard *shard, unsigned int max,
					unsigned int *nr);
bool bpf_mem_gp_try_reuse(struct bpf_mem_shard *shard);
void bpf_mem_gp_advance(struct bpf_mem_shard *shard);
void bpf_mem_gp_stop(struct bpf_mem_shard *shard);
void bpf_mem_gp_drain(struct bpf_mem_pool *pool);
void bpf_mem_gp_wait(void);

/* memalloc_registry.c */
int bpf_mem_register(struct bpf_mem_allocator *owner);
void bpf_mem_unregister(struct bpf_mem_allocator *owner);
void bpf_mem_for_each(void (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg);
bool bpf_mem_try_for_each(bool (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg);
bool bpf_mem_visit_one(unsigned long *id,
		       void (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg);
void bpf_mem_object_left(unsigned long owner);

/* memalloc_shrink.c */
void bpf_mem_look_soon(struct bpf_mem_pool *pool);
void bpf_mem_collect(struct bpf_mem_pool *pool);
unsigned long bpf_mem_shrink_count(void);
unsigned long bpf_mem_shrink_scan(unsigned long nr);

/* memalloc_watermarks.c */
struct bpf_mem_watermarks bpf_mem_watermarks_of(size_t size, bool percpu);
int bpf_mem_watermarks_set(size_t size, bool percpu, const struct bpf_mem_watermarks *set);
void bpf_mem_watermarks_follow(struct bpf_mem_pool *pool);
void bpf_mem_watermarks_init(struct bpf_mem_pool *pool, struct pcpu_magazine_marks *marks);

/* memalloc_debugfs.c */
#ifdef CONFIG_DEBUG_FS
void bpf_mem_debugfs_add(struct bpf_mem_allocator *owner);
void bpf_mem_debugfs_del(struct bpf_mem_allocator *owner);
#else
static inline void bpf_mem_debugfs_add(struct bpf_mem_allocator *owner)
{
}

static inline void bpf_mem_debugfs_del(struct bpf_mem_allocator *owner)
{
}
#endif

/* memalloc_slab.c */
int bpf_mem_slab_init(struct bpf_mem_slab *slab, size_t size);
void bpf_mem_slab_exit(struct bpf_mem_slab *slab);
unsigned int bpf_mem_slab_alloc(struct bpf_mem_pool *pool, int node, gfp_t gfp,
				unsigned int nr, void **objs);
void bpf_mem_slab_free(struct bpf_mem_pool *pool, struct llist_node *list);
void bpf_mem_slab_free_early(const struct bpf_mem_allocator *owner, struct llist_node *list);
size_t bpf_mem_slab_footprint(const struct bpf_mem_pool *pool);
void bpf_mem_slab_free_one(struct llist_node *node);

/*
 * What tests may replace or read. A kernel without the suites has none of it.
 *
 * @permit: how many of the next @nr objects the slab may give with @gfp
 * @live: objects of all allocators that have not gone back to the slab
 */
struct bpf_mem_test {
	unsigned int (*permit)(unsigned int nr, gfp_t gfp);
	atomic_long_t live;
};

#if IS_ENABLED(CONFIG_BPF_MEMALLOC_KUNIT_TEST)
extern struct bpf_mem_test bpf_mem_test;
extern unsigned long bpf_mem_look_every;

static inline unsigned int bpf_mem_test_permit(unsigned int nr, gfp_t gfp)
{
	unsigned int (*permit)(unsigned int nr, gfp_t gfp) = READ_ONCE(bpf_mem_test.permit);

	return permit ? permit(nr, gfp) : nr;
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

static inline void bpf_mem_test_live(long nr)
{
}
#endif

#endif /* _BPF_MEMALLOC_INTERNAL_H */
