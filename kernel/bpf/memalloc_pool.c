// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: pools: making, refilling, ending.
 *
 * Who finds stock short raises the irq_work of its CPU. That adds a few batches of
 * memory of this node, and leaves what takes longer or may sleep to the worker
 * of the shard: stock beyond that, objects past their grace periods.
 *
 * Demand: an allocation that failed although there is memory is proof that more
 * would have been used; next time it is there. Refills on each other's heels
 * double the target, up to a bound that costs little. Without demand it decays,
 * see memalloc_shrink.c.
 */
#include <linux/memcontrol.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

/* Refills and grace periods, and what may come later: looks, ends of allocators. */
struct workqueue_struct *bpf_mem_wq __ro_after_init;
struct workqueue_struct *bpf_mem_late_wq __ro_after_init;

/* Of the exact size: with a thousand maps there are thousands. */
static struct kmem_cache *shard_cache __ro_after_init;

/*
 * Who sleeps for memory gets what reclaim finds, but does not have anybody
 * killed for stock.
 */
#define GFP_STOCK	(GFP_KERNEL | __GFP_RETRY_MAYFAIL)

/* After memory was waited for in vain: reclaim, too, costs something. */
#define SLEEP_PAUSE	(HZ / 10)

/* Memory cgroup */

/**
 * bpf_mem_memcg() - whom to charge
 * @owner: the allocator
 *
 * Context: Any but NMI.
 * Return: Memory cgroup for set_active_memcg(), until bpf_mem_memcg_put().
 */
struct mem_cgroup *bpf_mem_memcg(const struct bpf_mem_allocator *owner)
{
#ifdef CONFIG_MEMCG
	return owner->objcg ? get_mem_cgroup_from_objcg(owner->objcg) : root_mem_cgroup;
#else
	return NULL;
#endif
}

/**
 * bpf_mem_memcg_put() - end of charging
 * @owner: the allocator
 * @memcg: from bpf_mem_memcg()
 *
 * Context: Any but NMI.
 */
void bpf_mem_memcg_put(const struct bpf_mem_allocator *owner, struct mem_cgroup *memcg)
{
	if (owner->objcg)
		mem_cgroup_put(memcg);
}

/**
 * bpf_mem_charged_alloc() - new objects, charged to the creator of the allocator
 * @pool: the pool
 * @node: NUMA node where they should be
 * @gfp: GFP_NOWAIT or flags that may sleep
 * @nr: objects wanted
 * @objs: array of @nr pointers to fill
 *
 * Context: Where @gfp allows; not NMI.
 * Return: Objects obtained, 0 to @nr.
 */
unsigned int bpf_mem_charged_alloc(struct bpf_mem_pool *pool, int node, gfp_t gfp,
				   unsigned int nr, void **objs)
{
	struct mem_cgroup *memcg = bpf_mem_memcg(pool->owner), *old;

	old = set_active_memcg(memcg);
	nr = bpf_mem_slab_alloc(pool, node, gfp, nr, objs);
	set_active_memcg(old);
	bpf_mem_memcg_put(pool->owner, memcg);
	return nr;
}

/* What the magazine layer asks of a pool */

/**
 * bpf_mem_pool_kick() - have this CPU's part of a pool looked after soon
 * @pool: the pool
 *
 * Context: Any, preemption disabled. See &struct bpf_mem_cpu.
 */
void notrace bpf_mem_pool_kick(struct bpf_mem_pool *pool)
{
	struct bpf_mem_cpu *c = raw_cpu_ptr(bpf_mem_cpus(pool));

	if (irq_work_is_pending(&c->refill_work))
		return;
	WRITE_ONCE(c->asked, ktime_get_mono_fast_ns());
	irq_work_queue(&c->refill_work);
}

static void notrace pool_kick(struct pcpu_magazine_shard *shard)
{
	bpf_mem_pool_kick(bpf_mem_pool(shard->pool));
}

static void notrace pool_overflow(struct pcpu_magazine_shard *shard, struct llist_node *first,
				  struct llist_node *last, unsigned int nr)
{
	bpf_mem_gp_surplus(bpf_mem_shard(shard), first, last, nr);
	preempt_disable_notrace();
	pool_kick(shard);
	preempt_enable_notrace();
}

static notrace struct llist_node *pool_reclaim(struct pcpu_magazine_shard *shard,
					       unsigned int *nr)
{
	struct bpf_mem_pool *pool = bpf_mem_pool(shard->pool);
	struct llist_node *list;
	unsigned int i;

	list = bpf_mem_gp_take_back(bpf_mem_shard(shard), pool->mag.marks.batch, nr);
	for (i = 0; !list && i < pool->mag.nr_shards; i++)
		list = bpf_mem_gp_take_back(bpf_mem_shard(pool->shards[i]),
					    pool->mag.marks.batch, nr);
	return list;
}

/* What waits for the slab comes first: it is here, and charged. */
static unsigned int pool_alloc_bulk(struct pcpu_magazine_pool *mag, int node, gfp_t gfp,
				    unsigned int nr, void **objs)
{
	struct bpf_mem_pool *pool = bpf_mem_pool(mag);
	struct llist_node *list = NULL;
	unsigned int got = 0;

	if (atomic_long_read(&pool->mag.nr_reclaimable))
		list = bpf_mem_gp_take_back(bpf_mem_this_shard(pool), nr, &got);
	for (got = 0; list; list = list->next)
		objs[got++] = list;
	if (got < nr)
		got += bpf_mem_charged_alloc(pool, node, gfp, nr - got, objs + got);
	return got;
}

static const struct pcpu_magazine_ops pool_ops = {
	.kick		= pool_kick,
	.overflow	= pool_overflow,
	.reclaim	= pool_reclaim,
	.alloc_bulk	= pool_alloc_bulk,
};

/* Refill */

static bool is_below_target(struct bpf_mem_shard *shard)
{
	return pcpu_magazine_level(&shard->mag) <
	       pcpu_magazine_target(&shard->mag) * shard->mag.pool->marks.batch ||
	       pcpu_magazine_reserve_is_short(shard->mag.pool);
}

static void set_target(struct bpf_mem_shard *shard, unsigned int target)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int before = pcpu_magazine_target(&shard->mag);

	if (target == before)
		return;
	pcpu_magazine_set_target(&shard->mag, target);
	trace_bpf_mem_target(pool->owner->id, bpf_mem_unit(pool), before, target);
}

/*
 * What waits for RCU comes back: that one refill follows upon another meanwhile
 * is no reason to keep more.
 */
static void follow_refills(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int target = pcpu_magazine_target(&shard->mag);

	if (jiffies - READ_ONCE(shard->refilled) <= 1 && target < pool->busy_target &&
	    !READ_ONCE(pool->refused) && atomic_read(&shard->reuse.state) == BPF_MEM_GP_IDLE)
		set_target(shard, min(2 * target, pool->busy_target));
	WRITE_ONCE(shard->refilled, jiffies);
}

/* A batch more for each CPU: what one has left another cannot use. */
static void follow_misses(struct bpf_mem_shard *shard, unsigned int nr_batches)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int target = pcpu_magazine_target(&shard->mag);

	if (nr_batches && target < pool->target_limit)
		set_target(shard, min(target + nr_batches, pool->target_limit));
}

/* Batches that CPUs of a shard lacked, one more for each of those that lacked any. */
static unsigned int take_missed(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int missed, nr = 0;
	int cpu;

	for_each_cpu(cpu, pcpu_magazine_shard_cpus(shard->mag.index)) {
		missed = pcpu_magazine_take_missed(&pool->mag, cpu);
		if (missed)
			nr += DIV_ROUND_UP(missed, pool->mag.marks.batch) + 1;
	}
	return nr;
}

/*
 * Is memory to be had? That it is, a worker alone says: it forgets what was missed
 * while there was none.
 */
static void note_memory(struct bpf_mem_pool *pool, bool refused, gfp_t gfp)
{
	int cpu;

	/* Memory that was refused is no demand, whichever shard lacked it. */
	if (READ_ONCE(pool->refused) && !refused) {
		for_each_possible_cpu(cpu)
			pcpu_magazine_take_missed(&pool->mag, cpu);
	}
	if (READ_ONCE(pool->refused) != refused)
		WRITE_ONCE(pool->refused, refused);
	/* The pause is after reclaim: who only asks again does not prolong it. */
	if (refused && gfpflags_allow_blocking(gfp))
		WRITE_ONCE(pool->sleep_again, jiffies + SLEEP_PAUSE);
}

/* Reclaim for those who were refused, now and then; not for stock. */
static gfp_t stock_gfp(struct bpf_mem_pool *pool, bool missed)
{
	if (!READ_ONCE(pool->refused) ||
	    (missed && time_after_eq(jiffies, READ_ONCE(pool->sleep_again))))
		return GFP_STOCK;
	return GFP_NOWAIT;
}

/**
 * bpf_mem_shard_queue() - have the worker of a shard come
 * @shard: the shard
 *
 * Context: Any but NMI.
 */
void bpf_mem_shard_queue(struct bpf_mem_shard *shard)
{
	queue_work_node(shard->mag.node, bpf_mem_wq, &shard->work);
}

static void want_refill(struct bpf_mem_shard *shard)
{
	WRITE_ONCE(shard->wanted, 1);
	bpf_mem_shard_queue(shard);
}

/* Add batches until the target is reached, but no more than it takes to get there. */
static void fill_to_target(struct bpf_mem_shard *shard, gfp_t gfp)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int budget = pcpu_magazine_target(&shard->mag) +
			      DIV_ROUND_UP(READ_ONCE(pool->mag.nr_reserved),
					   pool->mag.marks.batch);

	for (; budget && is_below_target(shard) && !READ_ONCE(pool->stopping); budget--) {
		if (pcpu_magazine_refill(&shard->mag, 1, gfp) <= 0)
			break;
		cond_resched();
	}
}

static void refill_sleeping(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int missed;
	gfp_t gfp;
	int nr;

	/* Else it has come to release, maybe what is not to be kept. */
	if (!xchg(&shard->wanted, 0))
		return;
	missed = take_missed(shard);
	gfp = stock_gfp(pool, missed);
	if (!missed && !is_below_target(shard)) {
		note_memory(pool, false, gfp);
		return;
	}
	/* Room first: without it a refill brings nothing. */
	pcpu_magazine_grow(&shard->mag, pcpu_magazine_target(&shard->mag) + 1, gfp);
	nr = pcpu_magazine_refill(&shard->mag, 1, gfp);
	if (nr < 0 && gfpflags_allow_blocking(gfp)) {
		note_memory(pool, true, gfp);
		if (missed)
			bpf_mem_collect(pool);
	}
	if (nr < 0)
		return;
	if (!READ_ONCE(pool->refused))
		follow_misses(shard, missed);
	/* That there is no room says nothing. */
	if (nr || !is_below_target(shard))
		note_memory(pool, false, gfp);
	pcpu_magazine_grow(&shard->mag, pcpu_magazine_target(&shard->mag) + 1, gfp);
	fill_to_target(shard, gfp);
	bpf_mem_look_soon(pool);
}

static void shard_work(struct work_struct *work)
{
	struct bpf_mem_shard *shard = container_of(work, struct bpf_mem_shard, work);

	refill_sleeping(shard);
	bpf_mem_gp_advance(shard);
}

/*
 * Without sleeping there may be nothing although memory is free: per-CPU areas
 * above all, which a worker of their allocator has to map first. A task in
 * reclaim would be charged beyond the limit of the memory cgroup. Both is for
 * the worker.
 */
static unsigned int refill_from_irq(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	int nr;

	if (!pcpu_magazine_is_low(&shard->mag) || current->flags & PF_MEMALLOC)
		return 0;
	/* Memory that was refused is asked for again with the next tick. */
	if (READ_ONCE(pool->refused) && !time_after(jiffies, READ_ONCE(pool->tried)))
		return 0;
	WRITE_ONCE(pool->tried, jiffies);
	nr = pcpu_magazine_refill(&shard->mag, bpf_mem_irq_batches(pool), GFP_NOWAIT);
	if (nr <= 0)
		return 0;
	follow_refills(shard);
	return nr;
}

/*
 * Is the worker to refill? At a limit it need not come for each allocation that
 * fails, but when @nr objects were had.
 */
static bool needs_more(struct bpf_mem_shard *shard, struct bpf_mem_cpu *c, unsigned int nr)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);

	if (READ_ONCE(pool->refused))
		return nr || (READ_ONCE(c->mag.missed) &&
			      time_after_eq(jiffies, READ_ONCE(pool->sleep_again)));
	/* What the interrupt has added may be enough. */
	return READ_ONCE(c->mag.missed) || pcpu_magazine_is_low(&shard->mag);
}

static u64 count_delay(struct bpf_mem_cpu *c)
{
	u64 delay = ktime_get_mono_fast_ns() - READ_ONCE(c->asked);

	c->delay_sum += delay;
	c->delay_max = max_t(u64, c->delay_max, min_t(u64, delay, U32_MAX));
	c->nr_runs++;
	return delay;
}

/* Surplus may be another shard's, if its objects lie on another node. */
static void queue_those_with_surplus(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int i;

	if (!atomic_long_read(&pool->mag.nr_reclaimable))
		return;
	bpf_mem_for_each_shard(shard, pool, i) {
		if (bpf_mem_gp_has_surplus(shard))
			bpf_mem_shard_queue(shard);
	}
}

/*
 * Runs in hard interrupt context soon after it was raised (in a thread on
 * PREEMPT_RT). Adds no more than BPF_MEM_IRQ_BATCHES batches, after as many that
 * have waited for RCU, and touches no magazine, so it does not matter whether it
 * interrupted somebody who does.
 */
static void refill_irq(struct irq_work *work)
{
	struct bpf_mem_cpu *c = container_of(work, struct bpf_mem_cpu, refill_work);
	struct bpf_mem_shard *shard = bpf_mem_shard(c->mag.shard);
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	u64 delay = count_delay(c);
	bool reused = bpf_mem_gp_try_reuse(shard);
	unsigned int nr = refill_from_irq(shard);

	trace_bpf_mem_refill(pool->owner->id, bpf_mem_unit(pool), nr, delay);
	/* More than it is to keep, or more than before: see memalloc_shrink.c. */
	if (nr || !pcpu_magazine_is_low(&shard->mag))
		bpf_mem_look_soon(pool);
	if (needs_more(shard, c, nr))
		want_refill(shard);
	else if (!reused)
		bpf_mem_shard_queue(shard);
	queue_those_with_surplus(pool);
}

/**
 * bpf_mem_pool_prepare() - see to it that this CPU has an object to take
 * @pool: the pool
 *
 * At the limit of a memory cgroup reclaim runs now and then, not for each call.
 *
 * Context: Task context, may sleep. Adds a batch, and another one or two only if
 *	others were quicker to take what came.
 */
void bpf_mem_pool_prepare(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	unsigned int try;
	gfp_t gfp;

	for (try = 0; !pcpu_magazine_hold(&pool->mag) && try < 3; try++) {
		gfp = stock_gfp(pool, true);
		shard = bpf_mem_this_shard(pool);
		if (pcpu_magazine_refill(&shard->mag, 1, gfp) < 0) {
			if (!gfpflags_allow_blocking(gfp))
				return;
			note_memory(pool, true, gfp);
			/* What others hold and do not need may do. */
			bpf_mem_collect(pool);
		} else if (READ_ONCE(pool->refused)) {
			want_refill(shard);
		}
	}
}

/**
 * bpf_mem_pool_reserve() - guarantee allocations
 * @pool: the pool
 * @nr: objects
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0, or -ENOMEM and all is as before.
 */
int bpf_mem_pool_reserve(struct bpf_mem_pool *pool, unsigned int nr)
{
	struct mem_cgroup *memcg = bpf_mem_memcg(pool->owner), *old;
	int err;

	old = set_active_memcg(memcg);
	err = pcpu_magazine_reserve(&pool->mag, nr, GFP_STOCK | __GFP_ACCOUNT);
	set_active_memcg(old);
	bpf_mem_memcg_put(pool->owner, memcg);
	return err;
}

/**
 * bpf_mem_pool_used() - objects in use
 * @pool: the pool
 *
 * Exact while nobody uses the pool and no object has been freed to another pool.
 * Deferred objects count as in use.
 *
 * Context: Any. Looks at each CPU.
 * Return: Number of objects.
 */
long bpf_mem_pool_used(struct bpf_mem_pool *pool)
{
	long used = atomic_long_read(&pool->nr_slab) - pcpu_magazine_cached(&pool->mag) -
		    atomic_long_read(&pool->mag.nr_reclaimable);

	return max(used, 0);
}

/* Making */

/*
 * Each CPU that is online gets what it may need before the first refill. A
 * fixed-size allocator belongs to a map that will use it, so there is a batch more,
 * unless there are so many CPUs that it would make no difference: in two chains, for
 * while the first context has one in its hands, one that interrupts it finds the other.
 */
static bool prefill(struct bpf_mem_pool *pool)
{
	unsigned int first = pool->mag.marks.first, half = pool->mag.marks.batch / 2, cpu;

	for_each_online_cpu(cpu) {
		if (pcpu_magazine_prefill(&pool->mag, cpu, first, GFP_KERNEL) < first)
			return false;
	}
	if (pool->owner->nr > 1 || pool->area_size || !half ||
	    (pool->mag.nr_shards > 1 && num_online_cpus() * first >= pool->mag.marks.batch))
		return true;
	return pcpu_magazine_prefill(&pool->mag, nr_cpu_ids, half, GFP_KERNEL) == half &&
	       pcpu_magazine_prefill(&pool->mag, nr_cpu_ids, half, GFP_KERNEL) == half;
}

static void pool_free(struct bpf_mem_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pcpu_magazine_nr_shards(); i++) {
		if (pool->shards[i])
			kmem_cache_free(shard_cache, bpf_mem_shard(pool->shards[i]));
	}
	/* Somebody may have looked up the number of an object's allocator. */
	kfree_rcu(pool, rcu);
}

static struct bpf_mem_pool *pool_alloc(struct bpf_mem_allocator *owner,
				       const struct bpf_mem_shape *shape)
{
	unsigned int i, nr = pcpu_magazine_nr_shards();
	struct bpf_mem_pool *pool = kzalloc(struct_size(pool, shards, nr), GFP_KERNEL);
	struct bpf_mem_shard *shard;

	if (!pool)
		return NULL;
	pool->owner = owner;
	pool->area_size = shape->area_size;
	pool->area_at = shape->area_at;
	pool->sleep_again = jiffies;
	for (i = 0; i < nr; i++) {
		shard = kmem_cache_alloc_node(shard_cache, GFP_KERNEL | __GFP_ZERO,
					      pcpu_magazine_shard_node(i));
		if (!shard) {
			pool_free(pool);
			return NULL;
		}
		INIT_WORK(&shard->work, shard_work);
		shard->refilled = jiffies - 2;
		pool->shards[i] = &shard->mag;
	}
	return pool;
}

static int pool_init(struct bpf_mem_pool *pool, struct bpf_mem_cpu __percpu *cpus, size_t size)
{
	struct pcpu_magazine_marks marks;
	int cpu, err;

	err = bpf_mem_slab_init(&pool->slab, size);
	if (err)
		return err;
	bpf_mem_watermarks_init(pool, &marks);
	err = pcpu_magazine_init(&pool->mag, (struct pcpu_magazine_cpu __percpu *)cpus,
				 &pool_ops, &marks, pool->shards);
	if (err) {
		bpf_mem_slab_exit(&pool->slab);
		return err;
	}
	for_each_possible_cpu(cpu)
		init_irq_work(&per_cpu_ptr(cpus, cpu)->refill_work, refill_irq);
	return 0;
}

/**
 * bpf_mem_pool_make() - make a pool, with its first objects
 * @owner: the allocator
 * @i: which of its pools
 * @shape: of its objects
 *
 * Context: Task context, may sleep.
 * Return: The pool, in use from now on, or NULL.
 */
struct bpf_mem_pool *bpf_mem_pool_make(struct bpf_mem_allocator *owner, unsigned int i,
				       const struct bpf_mem_shape *shape)
{
	struct bpf_mem_pool *pool = pool_alloc(owner, shape);

	if (!pool)
		return NULL;
	if (pool_init(pool, owner->cpus + i, shape->size + BPF_MEM_HEADER)) {
		pool_free(pool);
		return NULL;
	}
	if (!prefill(pool)) {
		bpf_mem_pool_drain(pool);
		bpf_mem_pool_exit(pool);
		return NULL;
	}
	pcpu_magazine_publish(&pool->mag);
	/* Pairs with bpf_mem_next_pool(). */
	smp_store_release(&owner->pool[i], pool);
	return pool;
}

/* Ending */

/**
 * bpf_mem_pool_stop() - let no refill and no worker run any more
 * @pool: the pool, without users
 *
 * The workers first, for good: a handler that still runs can queue none. Then those
 * who move what has waited for RCU, who could raise a handler: callbacks that come
 * later do nothing. Nobody else raises a handler.
 *
 * Context: Task context, sleeps until those that run have ended.
 */
void bpf_mem_pool_stop(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	struct bpf_mem_cpu *c;
	unsigned int i;
	bool busy;
	int cpu;

	/* Nobody needs what a worker may be waiting for memory for. */
	WRITE_ONCE(pool->stopping, true);
	bpf_mem_for_each_shard(shard, pool, i)
		disable_work_sync(&shard->work);
	bpf_mem_for_each_shard(shard, pool, i)
		bpf_mem_gp_stop(shard);
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(bpf_mem_cpus(pool), cpu);
		/* One that was raised is busy until it has counted its run. */
		busy = irq_work_is_busy(&c->refill_work);
		smp_rmb();	/* pairs with the end of busy in irq_work_single() */
		if (busy || READ_ONCE(c->nr_runs))
			irq_work_sync(&c->refill_work);
	}
}

static void free_list(struct pcpu_magazine_pool *mag, struct llist_node *list)
{
	bpf_mem_slab_free(bpf_mem_pool(mag), list);
}

/**
 * bpf_mem_pool_drain() - give all objects of a pool to the slab
 * @pool: the pool, stopped
 *
 * Context: Task context.
 */
void bpf_mem_pool_drain(struct bpf_mem_pool *pool)
{
	pcpu_magazine_drain(&pool->mag, free_list);
	bpf_mem_gp_drain(pool);
}

/**
 * bpf_mem_pool_exit() - end a pool that is drained
 * @pool: the pool, which no callback of RCU touches any more
 *
 * Context: Task context.
 */
void bpf_mem_pool_exit(struct bpf_mem_pool *pool)
{
	pcpu_magazine_exit(&pool->mag);
	bpf_mem_slab_exit(&pool->slab);
	pool_free(pool);
}

static int __init bpf_mem_pool_init(void)
{
	shard_cache = KMEM_CACHE(bpf_mem_shard, SLAB_PANIC);
	bpf_mem_wq = alloc_workqueue("bpf_mem", WQ_UNBOUND | WQ_HIGHPRI, 0);
	bpf_mem_late_wq = alloc_workqueue("bpf_mem_late", WQ_UNBOUND, 0);
	return bpf_mem_wq && bpf_mem_late_wq ? 0 : -ENOMEM;
}
subsys_initcall(bpf_mem_pool_init);
