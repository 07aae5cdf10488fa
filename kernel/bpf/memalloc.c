// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: allocation and release in any context.
 *
 * A BPF program may run anywhere: in NMI, with any lock held, inside the slab
 * allocator. So it never calls that. It takes objects from magazines (see
 * lib/pcpu_magazine.c), which irq_work refills soon after, in bulk.
 *
 *	            slab <----------- release: RCU Tasks Trace, RCU
 *	             |                  ^             ^
 *	 irq_work:   | refill           | surplus     | surplus
 *	             v                  |             |
 *	           depot  <-------------+-- restock --+-- reuse: RCU
 *	            |  ^                                   ^
 *	            v  |                                   |
 *	         magazines (per CPU)                deferred lists (per CPU)
 *	            |  ^                                   ^
 *	  alloc     v  |   free               free_rcu     |
 *	           program --------------------------------+
 *
 * One pool holds the objects of one size. An allocator has one pool (fixed
 * size) or one for each size class. Only the magazines are per CPU.
 *
 * Of the size classes most are never used, so a class has no pool until it is
 * asked for. Two have one from the start and stand in meanwhile: 256 bytes for
 * what is smaller, 4096 for the rest. Whoever meets a class without a pool
 * leaves a note in &bpf_mem_pools.wanted, the refill of a lender sees it and
 * queues &bpf_mem_pools.maker. An object knows its class, so where it came from
 * makes no difference later.
 *
 * Locks: none on the way of alloc and free. &bpf_mem_pool.lock guards the
 * chains that wait for grace periods; it nests inside everything, and a
 * context that cannot know what it interrupted only tries to take it.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include "memalloc_internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/bpf_mem.h>

/* Sizes in bytes, header included; the user's bytes of a per-CPU area. */
const u16 bpf_mem_class_size[BPF_MEM_CLASSES] = {
	16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096,
};

/* All classes are multiples of this. */
#define CLASS_STEP	16

/* Class of each multiple of CLASS_STEP, rounded up; filled at boot. */
static u8 class_of_step[BPF_MEM_SIZE_MAX / CLASS_STEP] __ro_after_init;

/* For 0 < @size <= BPF_MEM_SIZE_MAX */
static __always_inline unsigned int class_of(size_t size)
{
	return class_of_step[(size - 1) / CLASS_STEP];
}

/**
 * bpf_mem_class() - size class that serves a size
 * @size: bytes, header included
 *
 * Context: Any.
 * Return: Index into bpf_mem_class_size, or -1 if there is none.
 */
int bpf_mem_class(size_t size)
{
	return size && size <= BPF_MEM_SIZE_MAX ? class_of(size) : -1;
}

static int __init bpf_mem_classes_init(void)
{
	unsigned int step, class = 0;

	for (step = 0; step < ARRAY_SIZE(class_of_step); step++) {
		if ((step + 1) * CLASS_STEP > bpf_mem_class_size[class])
			class++;
		class_of_step[step] = class;
	}
	return 0;
}
early_initcall(bpf_mem_classes_init);

/* Memory cgroup */

static struct obj_cgroup *creator_objcg(void)
{
#ifdef CONFIG_MEMCG
	if (memcg_bpf_enabled())
		return get_obj_cgroup_from_current();
#endif
	return NULL;
}

static struct mem_cgroup *pools_memcg(const struct bpf_mem_pools *pools)
{
#ifdef CONFIG_MEMCG
	return pools->objcg ? get_mem_cgroup_from_objcg(pools->objcg) : root_mem_cgroup;
#else
	return NULL;
#endif
}

/* New objects, charged to the creator of the allocator. */
static unsigned int charged_alloc(struct bpf_mem_pool *pool, gfp_t gfp,
				  unsigned int nr, void **objs)
{
	struct mem_cgroup *memcg = pools_memcg(pool->pools), *old;

	old = set_active_memcg(memcg);
	nr = bpf_mem_slab_alloc(pool, gfp, nr, objs);
	set_active_memcg(old);
	if (pool->pools->objcg)
		mem_cgroup_put(memcg);
	return nr;
}

/* What the magazine layer asks of a pool */

/* Queue this CPU's refill, or leave it a note if it runs already. */
static void notrace request_refill(struct bpf_mem_pool *pool)
{
	struct bpf_mem_refill *refill = &pool->refills[raw_smp_processor_id() %
						       pool->nr_refills];
	int next, old = atomic_read(&refill->state);

	do {
		if (old == BPF_MEM_REFILL_QUEUED || old == BPF_MEM_REFILL_AGAIN)
			return;
		next = old == BPF_MEM_REFILL_IDLE ? BPF_MEM_REFILL_QUEUED :
						    BPF_MEM_REFILL_AGAIN;
	} while (!atomic_try_cmpxchg(&refill->state, &old, next));
	if (old == BPF_MEM_REFILL_IDLE) {
		WRITE_ONCE(refill->asked, ktime_get_mono_fast_ns());
		irq_work_queue(&refill->work);
	}
}

/**
 * bpf_mem_refill_wait() - wait until no refill is queued or runs
 * @pool: the pool; if it has users they may ask for the next one at once
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_refill_wait(struct bpf_mem_pool *pool)
{
	struct bpf_mem_refill *refill;
	unsigned int i;

	for (i = 0; i < pool->nr_refills; i++) {
		refill = &pool->refills[i];
		do {
			irq_work_sync(&refill->work);
		} while (atomic_read_acquire(&refill->state) != BPF_MEM_REFILL_IDLE);
	}
	flush_work(&pool->sleeper);
}

/**
 * bpf_mem_refill_pending() - is a refill queued or running?
 * @pool: the pool
 *
 * Context: Any.
 * Return: true if so.
 */
bool bpf_mem_refill_pending(struct bpf_mem_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pool->nr_refills; i++) {
		if (atomic_read(&pool->refills[i].state) != BPF_MEM_REFILL_IDLE)
			return true;
	}
	return work_busy(&pool->sleeper);
}

static void notrace pool_kick(struct pcpu_magazine *mag)
{
	request_refill(bpf_mem_pool(mag));
}

static void notrace pool_overflow(struct pcpu_magazine *mag, struct llist_node *first,
				  struct llist_node *last)
{
	struct bpf_mem_pool *pool = bpf_mem_pool(mag);

	pcpu_magazine_list_add(&pool->overflow, first, last);
	request_refill(pool);
}

static notrace struct llist_node *pool_scavenge(struct pcpu_magazine *mag)
{
	return bpf_mem_gp_try_take_back(bpf_mem_pool(mag));
}

static unsigned int pool_alloc_bulk(struct pcpu_magazine *mag, gfp_t gfp,
				    unsigned int nr, void **objs)
{
	struct bpf_mem_pool *pool = bpf_mem_pool(mag);
	unsigned int got = bpf_mem_gp_take_back(pool, nr, objs);

	if (got < nr)
		got += charged_alloc(pool, gfp, nr - got, objs + got);
	return got;
}

static const struct pcpu_magazine_ops pool_ops = {
	.kick		= pool_kick,
	.overflow	= pool_overflow,
	.scavenge	= pool_scavenge,
	.alloc_bulk	= pool_alloc_bulk,
};

/*
 * Who sleeps for memory gets what reclaim finds, but does not have anybody
 * killed for stock.
 */
#define GFP_STOCK	(GFP_KERNEL | __GFP_RETRY_MAYFAIL)

/* After a refill that slept in vain: reclaim, too, costs something. */
#define SLEEPER_PAUSE	(HZ / 10)

/* Refill, and tell. */
static unsigned int refill_pool(struct bpf_mem_pool *pool, gfp_t gfp)
{
	unsigned int nr, before = READ_ONCE(pool->mag.target), after;

	nr = pcpu_magazine_refill(&pool->mag, gfp);
	after = READ_ONCE(pool->mag.target);
	if (before != after)
		trace_bpf_mem_target(pool->pools->id, bpf_mem_unit(pool), before, after);
	return nr;
}

/* If memory is gone, what other CPUs hold is all there is. */
static void pool_refill_sleeping(struct work_struct *work)
{
	struct bpf_mem_pool *pool = container_of(work, struct bpf_mem_pool, sleeper);

	refill_pool(pool, GFP_STOCK);
	if (!pcpu_magazine_is_low(&pool->mag))
		return;
	bpf_mem_shrink_collect(pool);
	WRITE_ONCE(pool->sleep_again, jiffies + SLEEPER_PAUSE);
}

/*
 * Without sleeping there may be nothing although memory is free: per-CPU areas
 * above all, which a worker of their allocator has to map first. Then a worker
 * goes on, and interrupts do not try again and again meanwhile.
 */
static unsigned int refill_from_irq(struct bpf_mem_pool *pool)
{
	unsigned int nr;

	if (time_before_eq(jiffies, READ_ONCE(pool->refused)) && work_pending(&pool->sleeper))
		return 0;
	/*
	 * What waits for RCU comes back: that one refill follows upon another
	 * meanwhile is no reason to keep more.
	 */
	if (atomic_read(&pool->reuse.state) != BPF_MEM_GP_IDLE)
		WRITE_ONCE(pool->mag.refilled, jiffies - 2);
	nr = refill_pool(pool, GFP_NOWAIT);
	bpf_mem_shrink_soon(pool);
	if (!pcpu_magazine_is_low(&pool->mag))
		return nr;
	WRITE_ONCE(pool->refused, jiffies);
	if (time_after_eq(jiffies, READ_ONCE(pool->sleep_again)))
		queue_work(system_unbound_wq, &pool->sleeper);
	return nr;
}

static u64 count_delay(struct bpf_mem_refill *refill)
{
	u64 delay = ktime_get_mono_fast_ns() - READ_ONCE(refill->asked);

	refill->delay_sum += delay;
	refill->delay_max = max(refill->delay_max, delay);
	refill->nr_runs++;
	return delay;
}

/**
 * bpf_mem_make_wanted() - see to it that classes that were asked for get pools
 * @pools: the allocator
 *
 * Context: Any but NMI.
 */
void bpf_mem_make_wanted(struct bpf_mem_pools *pools)
{
	if (READ_ONCE(pools->wanted))
		queue_work(system_unbound_wq, &pools->maker);
}

/*
 * Runs in hard interrupt context soon after it was raised (in a thread on
 * PREEMPT_RT). It touches no magazine, so it does not matter whether it
 * interrupted somebody who changes one.
 */
static void pool_refill(struct irq_work *work)
{
	struct bpf_mem_refill *refill = container_of(work, struct bpf_mem_refill, work);
	struct bpf_mem_pool *pool = refill->pool;
	int old = BPF_MEM_REFILL_RUNNING;
	u64 delay = count_delay(refill);
	unsigned int nr;

	/* Ordered before the looks below: what is asked for later leaves a note. */
	atomic_xchg(&refill->state, BPF_MEM_REFILL_RUNNING);
	nr = refill_from_irq(pool);
	trace_bpf_mem_refill(pool->pools->id, bpf_mem_unit(pool), nr, delay);
	bpf_mem_gp_release(pool, llist_del_all(&pool->overflow));
	bpf_mem_gp_reuse(pool);
	bpf_mem_make_wanted(pool->pools);
	if (atomic_try_cmpxchg(&refill->state, &old, BPF_MEM_REFILL_IDLE))
		return;
	/* Not a loop: whatever else this CPU has to do may come in between. */
	atomic_set(&refill->state, BPF_MEM_REFILL_QUEUED);
	WRITE_ONCE(refill->asked, ktime_get_mono_fast_ns());
	irq_work_queue(work);
}

/* Creation */

static void pool_free_list(struct pcpu_magazine *mag, struct llist_node *list)
{
	bpf_mem_slab_free(bpf_mem_pool(mag), list);
}

static void pool_drain(struct bpf_mem_pool *pool)
{
	pcpu_magazine_drain(&pool->mag, pool_free_list);
	bpf_mem_gp_drain(pool);
}

/*
 * The core of irq_work may look at a work once more after the refill has gone
 * idle, with interrupts off.
 */
static void pool_free(struct bpf_mem_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pool->nr_refills; i++) {
		if (pool->refills[i].nr_runs) {
			kfree_rcu_mightsleep(pool);
			return;
		}
	}
	kfree(pool);
}

/* Of a pool that is drained. */
static void pool_exit(struct bpf_mem_pool *pool)
{
	pcpu_magazine_exit(&pool->mag);
	bpf_mem_slab_exit(&pool->slab);
	pool_free(pool);
}

/*
 * Objects that a pool starts with. A fixed-size allocator belongs to a map
 * that will use it: all of the target. Size classes may never be used.
 */
static unsigned int first_stock(const struct bpf_mem_pools *pools, unsigned int i,
				const struct pcpu_magazine_marks *marks)
{
	if (pools->nr == 1)
		return marks->batch * marks->target;
	return !pools->percpu && i == BPF_MEM_LENDER_SMALL ? 8 : 1;
}

/*
 * What an object is: bytes for the user and, if @area_size is not 0, a per-CPU
 * area whose address stands @area_at bytes into them. The plain per-CPU object
 * has nothing else: the user's pointer points at that address, the verifier
 * dereferences it.
 */
struct bpf_mem_shape {
	size_t size;
	size_t area_size;
	unsigned int area_at;
};

static struct bpf_mem_shape plain_shape(size_t size, bool percpu)
{
	return percpu ? (struct bpf_mem_shape){ sizeof(void __percpu *), size, 0 } :
			(struct bpf_mem_shape){ size, 0, 0 };
}

static struct bpf_mem_pool *pool_alloc(struct bpf_mem_pools *pools,
				       const struct bpf_mem_shape *shape)
{
	unsigned int i, nr = min(num_possible_cpus(), BPF_MEM_REFILLS);
	struct bpf_mem_pool *pool = kzalloc(struct_size(pool, refills, nr), GFP_KERNEL);

	if (!pool)
		return NULL;
	pool->pools = pools;
	pool->area_size = shape->area_size;
	pool->area_at = shape->area_at;
	INIT_WORK(&pool->sleeper, pool_refill_sleeping);
	pool->sleep_again = jiffies;
	pool->refused = jiffies - 1;
	bpf_mem_gp_init(pool);
	pool->nr_refills = nr;
	for (i = 0; i < nr; i++) {
		pool->refills[i].pool = pool;
		init_irq_work(&pool->refills[i].work, pool_refill);
	}
	return pool;
}

/* Pool @i, empty, for objects of @shape; in service, but not yet to be seen. */
static struct bpf_mem_pool *pool_make(struct bpf_mem_pools *pools, unsigned int i,
				      const struct bpf_mem_shape *shape)
{
	struct bpf_mem_pool *pool = pool_alloc(pools, shape);
	size_t size = shape->size + BPF_MEM_HEADER;
	struct pcpu_magazine_marks marks;

	if (!pool)
		return NULL;
	if (bpf_mem_slab_init(&pool->slab, size))
		goto free;
	bpf_mem_marks(shape->area_size ?: size, shape->area_size, &marks);
	if (!pcpu_magazine_init(&pool->mag, pools->cpus + i, &pool_ops, &marks))
		return pool;
	bpf_mem_slab_exit(&pool->slab);
free:
	kfree(pool);
	return NULL;
}

static void pool_show(struct bpf_mem_pools *pools, unsigned int i, struct bpf_mem_pool *pool)
{
	/* From here on others may look at any time: pairs with bpf_mem_pool_of(). */
	smp_store_release(&pools->pool[i], pool);
}

/* Make pool @i, with its first objects, before anybody can ask for them. */
static int pool_make_stocked(struct bpf_mem_pools *pools, unsigned int i,
			     const struct bpf_mem_shape *shape)
{
	struct bpf_mem_pool *pool = pool_make(pools, i, shape);
	unsigned int stock;

	if (!pool)
		return -ENOMEM;
	stock = first_stock(pools, i, &pool->mag.marks);
	if (pcpu_magazine_prefill(&pool->mag, stock, GFP_KERNEL) < stock) {
		pool_drain(pool);
		pool_exit(pool);
		return -ENOMEM;
	}
	pool_show(pools, i, pool);
	return 0;
}

static struct bpf_mem_shape class_shape(unsigned int class)
{
	return plain_shape(bpf_mem_class_size[class] - BPF_MEM_HEADER, false);
}

static __always_inline unsigned int lender_of(unsigned int class)
{
	return class <= BPF_MEM_LENDER_SMALL ? BPF_MEM_LENDER_SMALL : BPF_MEM_LENDER_LARGE;
}

/* Objects that were given with free_rcu before there was a pool. */
static void collect_early(struct bpf_mem_pool *pool)
{
	atomic_set(&pool->collect, 1);
	bpf_mem_gp_reuse(pool);
}

/* What was asked of the lender is asked of the class from now on. */
static void take_over(struct bpf_mem_pool *pool, struct bpf_mem_pool *lender)
{
	unsigned int objs = READ_ONCE(lender->mag.target) * READ_ONCE(lender->mag.marks.batch);
	const struct pcpu_magazine_marks *marks = &pool->mag.marks;

	WRITE_ONCE(pool->mag.target, clamp(DIV_ROUND_UP(objs, marks->batch),
					   marks->target, marks->limit));
	refill_pool(pool, GFP_STOCK);
	collect_early(pool);
	bpf_mem_shrink_soon(pool);
}

static void make_class(struct bpf_mem_pools *pools, unsigned int class)
{
	struct bpf_mem_pool *lender = pools->pool[lender_of(class)];
	struct bpf_mem_shape shape = class_shape(class);
	struct bpf_mem_pool *pool = NULL;

	if (bpf_mem_test_permit_pool(class))
		pool = pool_make(pools, class, &shape);
	if (!pool) {
		bpf_mem_shrink_soon(lender);
		return;
	}
	pool_show(pools, class, pool);
	take_over(pool, lender);
}

/*
 * What cannot be made stays wanted, so nobody asks again and again meanwhile:
 * memalloc_shrink.c does, when it next looks after things.
 */
static void make_pools(struct work_struct *work)
{
	struct bpf_mem_pools *pools = container_of(work, struct bpf_mem_pools, maker);
	unsigned int i;

	guard(rwsem_read)(&bpf_mem_marks_sem);
	for (i = 0; i < pools->nr; i++) {
		if (!test_bit(i, &pools->wanted))
			continue;
		if (!pools->pool[i])
			make_class(pools, i);
		if (pools->pool[i])
			clear_bit(i, &pools->wanted);
	}
}

/* An object of a class without a pool was asked for or given. */
static noinline notrace void want_class(struct bpf_mem_pools *pools, unsigned int class)
{
	/* Areas on all CPUs are for bpf_mem_alloc_percpu_unit_init() to decide. */
	if (!pools->percpu && !test_and_set_bit(class, &pools->wanted))
		request_refill(bpf_mem_pool_of(pools, BPF_MEM_LENDER_LARGE));
}

/* Nothing can touch the pools any more, so what is drained stays empty. */
static void pools_free(struct bpf_mem_pools *pools)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	for (i = 0; i < pools->nr; i++) {
		pool = pools->pool[i];
		if (pool) {
			pool_drain(pool);
			pool_exit(pool);
		} else {
			bpf_mem_slab_free_early(pools, pcpu_magazine_take_early(pools->cpus + i));
		}
	}
	if (pools->ctx_free)
		pools->ctx_free(pools->ctx);
	free_percpu(pools->cpus);
	obj_cgroup_put(pools->objcg);
	kfree(pools);
}

static struct bpf_mem_pools *pools_alloc(unsigned int nr, bool percpu)
{
	static atomic_t last_id;
	struct bpf_mem_pools *pools = kzalloc(struct_size(pools, pool, nr), GFP_KERNEL);

	if (!pools)
		return NULL;
	pools->id = atomic_inc_return(&last_id);
	pools->nr = nr;
	pools->percpu = percpu;
	INIT_WORK(&pools->maker, make_pools);
	pools->cpus = __alloc_percpu_gfp(nr * sizeof(*pools->cpus),
					 __alignof__(*pools->cpus), GFP_KERNEL);
	if (!pools->cpus) {
		kfree(pools);
		return NULL;
	}
	return pools;
}

static void ma_set(struct bpf_mem_alloc *ma, struct bpf_mem_pools *pools)
{
	*ma = (struct bpf_mem_alloc){
		.cpus = pools->cpus,
		.pools = pools,
		.header = pools->percpu ? 0 : BPF_MEM_HEADER,
	};
	if (pools->nr == BPF_MEM_CLASSES)
		ma->max_size = BPF_MEM_SIZE_MAX - ma->header;
	else
		ma->nr_out = &pools->pool[0]->mag.nr_out;
	bpf_mem_shrink_add(pools);
}

static int init_fixed(struct bpf_mem_alloc *ma, const struct bpf_mem_shape *shape,
		      bool percpu)
{
	struct bpf_mem_pools *pools = pools_alloc(1, percpu);
	int err;

	if (!pools)
		return -ENOMEM;
	pools->objcg = creator_objcg();
	guard(rwsem_read)(&bpf_mem_marks_sem);
	err = pool_make_stocked(pools, 0, shape);
	if (err) {
		pools_free(pools);
		return err;
	}
	ma_set(ma, pools);
	return 0;
}

static int init_classes(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_shape small = class_shape(BPF_MEM_LENDER_SMALL);
	struct bpf_mem_shape large = class_shape(BPF_MEM_LENDER_LARGE);
	struct bpf_mem_pools *pools = pools_alloc(BPF_MEM_CLASSES, false);
	int err;

	if (!pools)
		return -ENOMEM;
	pools->objcg = creator_objcg();
	guard(rwsem_read)(&bpf_mem_marks_sem);
	err = pool_make_stocked(pools, BPF_MEM_LENDER_SMALL, &small) ?:
	      pool_make_stocked(pools, BPF_MEM_LENDER_LARGE, &large);
	if (err) {
		pools_free(pools);
		return err;
	}
	ma_set(ma, pools);
	return 0;
}

/**
 * bpf_mem_alloc_init() - make an allocator
 * @ma: all zero
 * @size: bytes of every object, or 0 for size classes of up to 4096 bytes
 * @percpu: objects are per-CPU areas, which need a @size
 *
 * The memory is charged to the memory cgroup of the caller. A size class gets
 * stock of its own when it is first used, or by bpf_mem_alloc_reserve().
 *
 * Context: Task context, may sleep.
 * Return: 0; -EINVAL for a negative size or a per-CPU allocator without one;
 *	-ENOMEM. On failure @ma is all zero.
 */
int bpf_mem_alloc_init(struct bpf_mem_alloc *ma, int size, bool percpu)
{
	struct bpf_mem_shape shape = plain_shape(size, percpu);

	memset(ma, 0, sizeof(*ma));
	if (size < 0 || (percpu && !size))
		return -EINVAL;
	return size ? init_fixed(ma, &shape, percpu) : init_classes(ma);
}

/**
 * bpf_mem_alloc_init_area() - make an allocator of objects with a per-CPU area each
 * @ma: all zero
 * @size: bytes of every object
 * @area_size: bytes of its area, on each CPU
 * @area_at: where in the object the address of the area is, in bytes; a
 *	multiple of 8. The user reads it and never writes it.
 *
 * One object instead of two from two allocators: made when memory comes from
 * the slab, taken apart when it goes back, and one unit in between. The area
 * of a fresh object is zero-filled.
 *
 * Context: Task context, may sleep.
 * Return: As bpf_mem_alloc_init(); -EINVAL, too, if @area_at is no place for
 *	an address.
 */
int bpf_mem_alloc_init_area(struct bpf_mem_alloc *ma, int size, int area_size, int area_at)
{
	struct bpf_mem_shape shape = { size, area_size, area_at };

	memset(ma, 0, sizeof(*ma));
	if (size <= 0 || area_size <= 0 || area_at < 0 ||
	    area_at % __alignof__(void *) || area_at > size - (int)sizeof(void *))
		return -EINVAL;
	return init_fixed(ma, &shape, false);
}

/**
 * bpf_mem_alloc_percpu_init() - make an allocator of per-CPU areas in classes
 * @ma: all zero
 * @objcg: memory cgroup to charge; its reference is the allocator's from now
 *	on if this succeeds; NULL for none
 *
 * It has nothing to give until bpf_mem_alloc_percpu_unit_init() prepared the
 * class: an area of every class on every CPU would be far too much.
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM. On failure @ma is all zero.
 */
int bpf_mem_alloc_percpu_init(struct bpf_mem_alloc *ma, struct obj_cgroup *objcg)
{
	struct bpf_mem_pools *pools = pools_alloc(BPF_MEM_CLASSES, true);

	memset(ma, 0, sizeof(*ma));
	if (!pools)
		return -ENOMEM;
	pools->objcg = objcg;
	ma_set(ma, pools);
	return 0;
}

/**
 * bpf_mem_alloc_percpu_unit_init() - prepare the class of a size
 * @ma: made by bpf_mem_alloc_percpu_init()
 * @size: bytes of the area
 *
 * Does nothing if it is prepared.
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0, -EINVAL for a size out of range, -ENOMEM.
 */
int bpf_mem_alloc_percpu_unit_init(struct bpf_mem_alloc *ma, int size)
{
	int class = size > 0 ? bpf_mem_class(size) : -1;
	struct bpf_mem_shape shape;
	int err;

	if (class < 0)
		return -EINVAL;
	if (ma->pools->pool[class])
		return 0;
	shape = plain_shape(bpf_mem_class_size[class], true);
	guard(rwsem_read)(&bpf_mem_marks_sem);
	err = pool_make_stocked(ma->pools, class, &shape);
	if (!err)
		collect_early(ma->pools->pool[class]);
	return err;
}

/**
 * bpf_mem_alloc_set_dtor() - set what runs on objects on their way to the slab
 * @ma: an allocator, not yet in use
 * @dtor: called with each object and @ctx
 * @ctx_free: called once with @ctx, after the last @dtor; may be NULL
 * @ctx: context of both
 *
 * Context: Task context. The callbacks run in task and softirq context.
 */
void bpf_mem_alloc_set_dtor(struct bpf_mem_alloc *ma,
			    void (*dtor)(void *obj, void *ctx),
			    void (*ctx_free)(void *ctx), void *ctx)
{
	struct bpf_mem_pools *pools = ma->pools;

	pools->dtor = dtor;
	pools->ctx_free = ctx_free;
	pools->ctx = ctx;
}

/**
 * bpf_mem_alloc_set_map() - say whose an allocator is
 * @ma: an allocator
 * @map: the map, which destroys it before it goes
 *
 * For people: debugfs shows the map's id and name.
 *
 * Context: Any.
 */
void bpf_mem_alloc_set_map(struct bpf_mem_alloc *ma, const struct bpf_map *map)
{
	WRITE_ONCE(ma->pools->map, map);
}

/* What an owner in task context can ask for and look at */

/**
 * bpf_mem_alloc_prepare() - see to it that the next allocation has stock
 * @ma: made with a size, or all zero
 *
 * For a caller that may sleep now and not when it allocates: instead of
 * waiting for the refill from irq_work, this is the refill.
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_alloc_prepare(struct bpf_mem_alloc *ma)
{
	if (ma->pools)
		pcpu_magazine_prepare(&ma->pools->pool[0]->mag, GFP_STOCK);
}

/* The pool of a class, made now if need be; NULL if that is not possible. */
static struct bpf_mem_pool *class_pool(struct bpf_mem_pools *pools, unsigned int class)
{
	if (!pools->pool[class] && !pools->percpu) {
		set_bit(class, &pools->wanted);
		queue_work(system_unbound_wq, &pools->maker);
		flush_work(&pools->maker);
	}
	return bpf_mem_pool_of(pools, class);
}

/**
 * bpf_mem_alloc_reserve() - guarantee allocations
 * @ma: the allocator
 * @size: bytes, for size classes; 0 if the allocator has a fixed size
 * @nr: objects; replaces what was asked for before
 *
 * From its return on, @nr allocations succeed from any context, on one CPU or
 * spread over all, without a refill in between; and again once the stock has
 * been refilled. What is reserved is charged like all objects. For a size class
 * 0 is of use, too: it has stock of its own from then on.
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0; -EINVAL for a size out of range; -ENOMEM and all is as before.
 */
int bpf_mem_alloc_reserve(struct bpf_mem_alloc *ma, size_t size, unsigned int nr)
{
	struct bpf_mem_pools *pools = ma->pools;
	struct bpf_mem_pool *pool;
	int class = 0;

	if (!pools || nr > INT_MAX / 2)
		return -EINVAL;
	if (pools->nr == 1 ? size : !size)
		return -EINVAL;
	if (size)
		class = bpf_mem_class(size + ma->header);
	if (class < 0)
		return -EINVAL;
	pool = class_pool(pools, class);
	if (!pool)
		return pools->percpu ? -EINVAL : -ENOMEM;
	return pcpu_magazine_reserve(&pool->mag, nr, GFP_STOCK);
}

/**
 * bpf_mem_alloc_used() - objects in use
 * @ma: made with a size; its objects are freed to it and nowhere else
 *
 * Looks at each CPU. As pcpu_magazine_used(), exact but for what other CPUs do
 * at this moment.
 *
 * Context: Any.
 * Return: Number of objects.
 */
notrace long bpf_mem_alloc_used(const struct bpf_mem_alloc *ma)
{
	return pcpu_magazine_used(&ma->pools->pool[0]->mag);
}

/**
 * bpf_mem_alloc_mem_usage() - memory that an allocator has from the kernel
 * @ma: the allocator
 *
 * Objects in use, cached or waiting for a grace period, with their per-CPU
 * areas, and what the allocator itself takes.
 *
 * Context: Any.
 * Return: Bytes.
 */
u64 bpf_mem_alloc_mem_usage(const struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pools *pools = ma->pools;
	struct bpf_mem_pool *pool;
	u64 usage;
	unsigned int i;

	if (!pools)
		return 0;
	usage = struct_size(pools, pool, pools->nr) +
		(u64)num_possible_cpus() * pools->nr * sizeof(*pools->cpus);
	bpf_mem_for_each_pool(pool, pools, i) {
		usage += struct_size(pool, refills, pool->nr_refills) +
			 pool->mag.nr_slots * sizeof(unsigned long) +
			 pool->mag.nr_reserved * sizeof(unsigned long);
		usage += atomic_long_read(&pool->nr_slab) * bpf_mem_slab_footprint(pool);
	}
	return usage;
}

/* Teardown */

static bool pools_idle(struct bpf_mem_pools *pools)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, pools, i) {
		if (!bpf_mem_gp_idle(pool))
			return false;
	}
	return true;
}

static bool pools_pending(struct bpf_mem_pools *pools)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, pools, i) {
		if (bpf_mem_refill_pending(pool))
			return true;
	}
	return pools->nr > 1 && work_busy(&pools->maker);
}

/* Refills may ask for each other and for the maker, and that for refills. */
static void pools_wait(struct bpf_mem_pools *pools)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	do {
		bpf_mem_for_each_pool(pool, pools, i)
			bpf_mem_refill_wait(pool);
		if (pools->nr > 1)
			flush_work(&pools->maker);
	} while (pools_pending(pools));
}

/*
 * A callback that was running when the last user left may have queued another
 * one after the barrier went past it: look again. With no user there is
 * nothing that could make this go on.
 */
static void pools_free_deferred(struct work_struct *work)
{
	struct bpf_mem_pools *pools = container_of(work, struct bpf_mem_pools, destroy_work);

	do {
		bpf_mem_gp_wait();
	} while (!pools_idle(pools));
	pools_free(pools);
}

/**
 * bpf_mem_alloc_destroy() - end an allocator
 * @ma: an allocator that nobody uses any more; all zero is fine and left alone
 *
 * Objects that are cached go to the slab at once. If callbacks of RCU are
 * under way, a worker waits for them and frees the rest. @ma is all zero
 * afterwards.
 *
 * Context: Task context, may sleep for a refill in flight.
 */
void bpf_mem_alloc_destroy(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pools *pools = ma->pools;
	struct bpf_mem_pool *pool;
	unsigned int i;

	memset(ma, 0, sizeof(*ma));
	if (!pools)
		return;
	bpf_mem_shrink_del(pools);
	pools_wait(pools);
	if (pools_idle(pools)) {
		pools_free(pools);
		return;
	}
	bpf_mem_for_each_pool(pool, pools, i)
		pool_drain(pool);
	INIT_WORK(&pools->destroy_work, pools_free_deferred);
	queue_work(system_unbound_wq, &pools->destroy_work);
}

/**
 * bpf_mem_alloc_check_size() - is a size within reach of the size classes?
 * @percpu: for per-CPU areas
 * @size: bytes
 *
 * Context: Any.
 * Return: 0 or -E2BIG.
 */
int bpf_mem_alloc_check_size(bool percpu, size_t size)
{
	return size > BPF_MEM_SIZE_MAX - (percpu ? 0 : BPF_MEM_HEADER) ? -E2BIG : 0;
}

/*
 * The way of a program. All of it is notrace: see lib/pcpu_magazine.c. Callers
 * have migration disabled, some do not; which CPU it is matters only inside
 * the magazine layer, and that disables preemption.
 */

/* A CPU has its first deferred object of class @i: see that it is collected. */
static noinline notrace void first_deferred(struct bpf_mem_pools *pools, unsigned int i)
{
	struct bpf_mem_pool *pool = bpf_mem_pool_of(pools, i);

	if (!pool)
		want_class(pools, i);
	else if (bpf_mem_gp_deferred(pool))
		request_refill(pool);
}

static __always_inline void free_rcu_to(struct bpf_mem_alloc *ma, unsigned int i,
					struct llist_node *node)
{
	if (pcpu_magazine_defer(ma->cpus + i, node))
		first_deferred(ma->pools, i);
}

/* The class of an object in use, or BPF_MEM_CLASSES if its header is damaged. */
static __always_inline unsigned long obj_class(struct bpf_mem_obj *obj)
{
	unsigned long class = obj->class;

	return WARN_ON_ONCE(class >= BPF_MEM_CLASSES) ? BPF_MEM_CLASSES : class;
}

/* Nothing was to be had. Returns NULL. */
static noinline notrace void *missed(struct bpf_mem_alloc *ma, unsigned int class)
{
	struct bpf_mem_pool *pool;
	unsigned long nr = 0;
	unsigned int event;

	if (!trace_bpf_mem_miss_enabled() || !ma->pools)
		return NULL;
	pool = bpf_mem_pool_of(ma->pools, class);
	if (!pool)
		return NULL;
	for (event = PCPU_MAGAZINE_MISS_TASK; event <= PCPU_MAGAZINE_MISS_NMI; event++)
		nr += atomic_long_read(&pool->mag.events[event]);
	trace_bpf_mem_miss(ma->pools->id, bpf_mem_unit(pool), nr);
	return NULL;
}

#ifdef CONFIG_BPF_MEM_TRACE_OBJECTS
static noinline notrace void note_alloc(struct bpf_mem_alloc *ma, size_t size, const void *obj)
{
	const struct bpf_mem_pool *pool = ma->pools ? ma->pools->pool[0] : NULL;

	/* The size is 0 where the allocator knows it. */
	if (pool && !size)
		size = pool->area_size ?: pool->slab.size - BPF_MEM_HEADER;
	if (pool)
		trace_bpf_mem_object_alloc(ma->pools->id, size, obj);
}

static __always_inline void *handed_out(struct bpf_mem_alloc *ma, size_t size, void *obj)
{
	if (trace_bpf_mem_object_alloc_enabled())
		note_alloc(ma, size, obj);
	return obj;
}

static __always_inline void given_up(const void *obj, bool rcu)
{
	trace_bpf_mem_object_free(obj, rcu);
}
#else
static __always_inline void *handed_out(struct bpf_mem_alloc *ma, size_t size, void *obj)
{
	return obj;
}

static __always_inline void given_up(const void *obj, bool rcu)
{
}
#endif /* CONFIG_BPF_MEM_TRACE_OBJECTS */

static __always_inline void *class_object(struct bpf_mem_alloc *ma, size_t size,
					  unsigned int class, struct llist_node *node)
{
	bpf_mem_obj(node)->class = class;
	return handed_out(ma, size, bpf_mem_user(node));
}

/* More than the fast path. If the class has no pool yet, another one stands in. */
static noinline notrace void *alloc_slow(struct bpf_mem_alloc *ma, size_t size)
{
	unsigned int class = class_of(size + ma->header);
	struct llist_node *node = pcpu_magazine_get(ma->cpus + class);

	if (!node && !ma->pools->percpu && !bpf_mem_pool_of(ma->pools, class)) {
		want_class(ma->pools, class);
		class = lender_of(class);
		node = pcpu_magazine_get(ma->cpus + class);
	}
	return node ? class_object(ma, size, class, node) : missed(ma, class);
}

/**
 * bpf_mem_alloc() - allocate from size classes
 * @ma: made with size 0, or by bpf_mem_alloc_percpu_init()
 * @size: bytes
 *
 * Context: Any, NMI included.
 * Return: An object (per-CPU: a pointer to the area's pointer), 8-byte
 *	aligned, zero-filled if it is fresh from the slab; NULL if @size is 0
 *	or too large, or nothing is cached.
 */
notrace void *bpf_mem_alloc(struct bpf_mem_alloc *ma, size_t size)
{
	struct llist_node *node;
	unsigned int class;

	if (unlikely(size - 1 >= ma->max_size))
		return NULL;
	class = class_of(size + ma->header);
	node = pcpu_magazine_get_fast(ma->cpus + class);
	return likely(node) ? class_object(ma, size, class, node) : alloc_slow(ma, size);
}

static noinline notrace void free_slow(struct bpf_mem_alloc *ma, unsigned int class,
				       struct llist_node *node)
{
	if (!pcpu_magazine_put(ma->cpus + class, node))
		want_class(ma->pools, class);
}

/**
 * bpf_mem_free() - free an object of a size class
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * It may be handed out again at once. To the slab it goes only after grace
 * periods of RCU Tasks Trace and RCU.
 *
 * Context: Any, NMI included.
 */
notrace void bpf_mem_free(struct bpf_mem_alloc *ma, void *obj)
{
	unsigned long class;

	if (!obj)
		return;
	given_up(obj, false);
	class = obj_class(bpf_mem_obj_of(obj));
	if (unlikely(class >= BPF_MEM_CLASSES))
		return;
	if (unlikely(!pcpu_magazine_put_fast(ma->cpus + class, &bpf_mem_obj_of(obj)->node)))
		free_slow(ma, class, &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_free_rcu() - free an object of a size class that readers may see
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * As bpf_mem_free(), but it is not handed out before an RCU grace period.
 *
 * Context: Any, NMI included.
 */
notrace void bpf_mem_free_rcu(struct bpf_mem_alloc *ma, void *obj)
{
	unsigned long class;

	if (!obj)
		return;
	given_up(obj, true);
	class = obj_class(bpf_mem_obj_of(obj));
	if (likely(class < BPF_MEM_CLASSES))
		free_rcu_to(ma, class, &bpf_mem_obj_of(obj)->node);
}

static noinline notrace void *cache_alloc_slow(struct bpf_mem_alloc *ma)
{
	struct llist_node *node = pcpu_magazine_get(ma->cpus);

	return node ? handed_out(ma, 0, bpf_mem_user(node)) : missed(ma, 0);
}

/**
 * bpf_mem_cache_alloc() - allocate an object of the fixed size
 * @ma: made with a size
 *
 * Context: Any, NMI included.
 * Return: As bpf_mem_alloc().
 */
notrace void *bpf_mem_cache_alloc(struct bpf_mem_alloc *ma)
{
	struct llist_node *node = pcpu_magazine_get_fast(ma->cpus);

	return likely(node) ? handed_out(ma, 0, bpf_mem_user(node)) : cache_alloc_slow(ma);
}

/**
 * bpf_mem_cache_alloc_flags() - allocate an object of the fixed size
 * @ma: made with a size
 * @flags: with GFP_KERNEL the slab is asked when nothing is cached
 *
 * Context: Any, NMI included; task context where @flags allow to sleep.
 * Return: As bpf_mem_alloc().
 */
notrace void *bpf_mem_cache_alloc_flags(struct bpf_mem_alloc *ma, gfp_t flags)
{
	void *obj = bpf_mem_cache_alloc(ma);

	if (likely(obj) || !gfpflags_allow_blocking(flags))
		return obj;
	if (!charged_alloc(ma->pools->pool[0], GFP_KERNEL, 1, &obj))
		return NULL;
	pcpu_magazine_adopt(&ma->pools->pool[0]->mag, 1);
	return handed_out(ma, 0, bpf_mem_user(obj));
}

/**
 * bpf_mem_cache_free() - free an object of the fixed size
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * Context: As bpf_mem_free().
 */
notrace void bpf_mem_cache_free(struct bpf_mem_alloc *ma, void *obj)
{
	if (!obj)
		return;
	given_up(obj, false);
	if (unlikely(!pcpu_magazine_put_fast(ma->cpus, &bpf_mem_obj_of(obj)->node)))
		pcpu_magazine_put(ma->cpus, &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_cache_free_rcu() - free an object of the fixed size that readers may see
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * Context: As bpf_mem_free_rcu().
 */
notrace void bpf_mem_cache_free_rcu(struct bpf_mem_alloc *ma, void *obj)
{
	if (!obj)
		return;
	given_up(obj, true);
	free_rcu_to(ma, 0, &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_cache_raw_free() - give an ordinary object straight to the slab
 * @obj: the object or NULL; its allocator may be gone
 *
 * The caller has waited for the grace periods. No destructor is called.
 *
 * Context: Where kfree() is allowed.
 */
void bpf_mem_cache_raw_free(void *obj)
{
	if (obj)
		bpf_mem_slab_free_one(&bpf_mem_obj_of(obj)->node);
}
