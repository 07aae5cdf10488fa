// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: giving back what is not needed.
 *
 *	demand has gone		a worker lets targets fall, and the depot with them
 *	nobody comes		... and collects what idle CPUs hold
 *	memory is short		a shrinker empties depots
 *	a CPU goes offline	its stock moves to the depot
 *
 * Everything takes the way of surplus: through its grace periods to the slab.
 * What is reserved stays, and but for memory pressure the least that the depot
 * keeps, so that who comes after a long pause finds something.
 */
#include <linux/cpuhotplug.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/shrinker.h>
#include <linux/smp.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

/* Time between two looks at the pools. */
#define LOOK		HZ

/* Looks after which a pool that nobody used gives back what CPUs hold. */
#define IDLE_LOOKS	10

/* All allocators that have users. */
static LIST_HEAD(allocators);
static DEFINE_MUTEX(allocators_lock);

static void look_after(struct work_struct *work);
static DECLARE_DELAYED_WORK(looker, look_after);

static void give_back(struct bpf_mem_pool *pool, struct llist_node *list)
{
	bpf_mem_gp_release(pool, list);
}

/* A change to what is in use means that somebody uses the pool. */
static void count_idle(struct bpf_mem_pool *pool)
{
	long used = pcpu_magazine_used(&pool->mag);

	if (used != pool->last_seen)
		pool->idle_looks = 0;
	else if (pool->idle_looks < IDLE_LOOKS)
		pool->idle_looks++;
	pool->last_seen = used;
}

static void flush_this_cpu(void *pool)
{
	struct bpf_mem_pool *p = pool;

	pcpu_magazine_flush(&p->mag);
}

/* Only who has something is interrupted: others may be isolated for a reason. */
static bool has_stock(int cpu, void *pool)
{
	struct bpf_mem_pool *p = pool;

	return pcpu_magazine_has_stock(&p->mag, cpu);
}

/**
 * bpf_mem_shrink_collect() - move what CPUs hold to the depot
 * @pool: the pool
 *
 * A CPU that is at this moment changing what it has keeps it.
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_shrink_collect(struct bpf_mem_pool *pool)
{
	on_each_cpu_cond(has_stock, flush_this_cpu, pool, true);
}

static bool relax(struct bpf_mem_pool *pool)
{
	unsigned int before = READ_ONCE(pool->mag.target), after;
	bool more = pcpu_magazine_relax(&pool->mag);

	after = READ_ONCE(pool->mag.target);
	if (before != after)
		trace_bpf_mem_target(pool->pools->id, bpf_mem_unit(pool), before, after);
	return more;
}

/* Returns true if there is reason to look again. */
static bool look_at(struct bpf_mem_pool *pool)
{
	struct pcpu_magazine *mag = &pool->mag;
	bool more = relax(pool);

	count_idle(pool);
	if (!pool->idle_looks)
		return true;
	give_back(pool, pcpu_magazine_trim(mag, READ_ONCE(mag->target) + 1));
	if (more || pool->idle_looks < IDLE_LOOKS)
		return true;
	bpf_mem_shrink_collect(pool);
	give_back(pool, pcpu_magazine_trim(mag, mag->marks.target + 1));
	return false;
}

/*
 * With a thousand maps most are at rest, and a look takes in each CPU. No
 * refill, and no chain that left the depot or came back: nothing to see.
 */
static bool look_if_awake(struct bpf_mem_pool *pool)
{
	long out = atomic_long_read(&pool->mag.nr_out);
	bool more;

	if (READ_ONCE(pool->at_rest) && out == pool->last_out)
		return false;
	pool->last_out = out;
	/* First, so that a refill meanwhile is not forgotten. */
	WRITE_ONCE(pool->at_rest, true);
	more = look_at(pool);
	if (more)
		WRITE_ONCE(pool->at_rest, false);
	return more;
}

static void look_after(struct work_struct *work)
{
	struct bpf_mem_pools *pools;
	struct bpf_mem_pool *pool;
	bool more = false;
	unsigned int i;

	guard(mutex)(&allocators_lock);
	list_for_each_entry(pools, &allocators, list) {
		bpf_mem_make_wanted(pools);
		bpf_mem_for_each_pool(pool, pools, i)
			more |= look_if_awake(pool);
	}
	if (more)
		queue_delayed_work(system_unbound_wq, &looker, LOOK);
}

/**
 * bpf_mem_shrink_soon() - stock has grown: look after it in a while
 * @pool: the pool that has grown
 *
 * Context: Any but NMI.
 */
void bpf_mem_shrink_soon(struct bpf_mem_pool *pool)
{
	WRITE_ONCE(pool->at_rest, false);
	if (!delayed_work_pending(&looker))
		queue_delayed_work(system_unbound_wq, &looker, LOOK);
}

/**
 * bpf_mem_shrink_add() - an allocator has got users
 * @pools: the allocator
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_shrink_add(struct bpf_mem_pools *pools)
{
	guard(mutex)(&allocators_lock);
	list_add_tail(&pools->list, &allocators);
	bpf_mem_debugfs_add(pools);
}

/**
 * bpf_mem_shrink_del() - an allocator has no users any more
 * @pools: the allocator; untouched by this file from now on
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_shrink_del(struct bpf_mem_pools *pools)
{
	guard(mutex)(&allocators_lock);
	bpf_mem_debugfs_del(pools);
	list_del(&pools->list);
}

/**
 * bpf_mem_for_each() - visit all allocators that have users
 * @visit: called with each and @arg; no allocator comes or goes meanwhile
 * @arg: passed on
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_for_each(void (*visit)(struct bpf_mem_pools *pools, void *arg), void *arg)
{
	struct bpf_mem_pools *pools;

	guard(mutex)(&allocators_lock);
	list_for_each_entry(pools, &allocators, list)
		visit(pools, arg);
}

/* Memory pressure. Objects are counted as what they are to others: pages. */

static unsigned long pool_pages(struct bpf_mem_pool *pool)
{
	struct pcpu_magazine *mag = &pool->mag;

	return atomic_read(&mag->nr_chains) * mag->marks.batch *
	       bpf_mem_slab_footprint(pool) / PAGE_SIZE;
}

/**
 * bpf_mem_shrink_count() - what memory pressure can get
 *
 * Context: Any task context; reclaim may come from a refill of ours, so the
 *	lock is only tried.
 * Return: Pages in the depots of all allocators.
 */
unsigned long bpf_mem_shrink_count(void)
{
	struct bpf_mem_pools *pools;
	struct bpf_mem_pool *pool;
	unsigned long pages = 0;
	unsigned int i;

	if (!mutex_trylock(&allocators_lock))
		return 0;
	list_for_each_entry(pools, &allocators, list) {
		bpf_mem_for_each_pool(pool, pools, i)
			pages += pool_pages(pool);
	}
	mutex_unlock(&allocators_lock);
	return pages;
}

static unsigned long empty_depot(struct bpf_mem_pool *pool)
{
	unsigned long pages = pool_pages(pool);

	WRITE_ONCE(pool->mag.target, pool->mag.marks.target);
	give_back(pool, pcpu_magazine_trim(&pool->mag, 0));
	return pages;
}

/**
 * bpf_mem_shrink_scan() - give depots back
 * @nr: pages after which it is enough
 *
 * Context: As bpf_mem_shrink_count().
 * Return: Pages on their way to the slab, or SHRINK_STOP.
 */
unsigned long bpf_mem_shrink_scan(unsigned long nr)
{
	struct bpf_mem_pools *pools;
	struct bpf_mem_pool *pool;
	unsigned long pages = 0;
	unsigned int i;

	if (!mutex_trylock(&allocators_lock))
		return SHRINK_STOP;
	list_for_each_entry(pools, &allocators, list) {
		bpf_mem_for_each_pool(pool, pools, i) {
			if (pages < nr)
				pages += empty_depot(pool);
		}
	}
	mutex_unlock(&allocators_lock);
	return pages ?: SHRINK_STOP;
}

static unsigned long shrink_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return bpf_mem_shrink_count();
}

static unsigned long shrink_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	return bpf_mem_shrink_scan(sc->nr_to_scan);
}

/* Runs when @cpu is dead: nobody is in its magazines. */
static int cpu_dead(unsigned int cpu)
{
	struct bpf_mem_pools *pools;
	struct bpf_mem_pool *pool;
	unsigned int i;

	guard(mutex)(&allocators_lock);
	list_for_each_entry(pools, &allocators, list) {
		bpf_mem_for_each_pool(pool, pools, i)
			pcpu_magazine_flush_dead(&pool->mag, cpu);
	}
	return 0;
}

static int __init bpf_mem_shrink_init(void)
{
	struct shrinker *shrinker = shrinker_alloc(0, "bpf-mem");
	int err;

	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker_register(shrinker);
	err = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "bpf/memalloc:dead",
					NULL, cpu_dead);
	return min(err, 0);
}
subsys_initcall(bpf_mem_shrink_init);
