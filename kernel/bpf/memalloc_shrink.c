// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: giving back what is not needed.
 *
 *	demand has gone		a worker lets targets decay, and depots with them
 *	nobody comes		... and collects what idle CPUs hold
 *	memory is short		a shrinker empties depots
 *	a CPU goes offline	its stock moves to a depot
 *
 * Everything takes the way of surplus: through its grace periods to the slab.
 * What is reserved stays, and but for memory pressure what each CPU and each depot
 * have at the start, so that who comes after a long pause finds something.
 */
#include <linux/cpuhotplug.h>
#include <linux/init.h>
#include <linux/sched/isolation.h>
#include <linux/shrinker.h>
#include <linux/smp.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

/* Jiffies between two looks at the pools. */
#if IS_ENABLED(CONFIG_BPF_MEMALLOC_KUNIT_TEST)
unsigned long bpf_mem_look_every = HZ;
#else
static const unsigned long bpf_mem_look_every = HZ;
#endif

/* Looks after which a pool that nobody used gives back what CPUs hold. */
#define IDLE_LOOKS	10

static void look_after(struct work_struct *work);
static DECLARE_DELAYED_WORK(looker, look_after);

/* Leave no more than @keep batches in the depot. Returns the number of objects that go. */
static unsigned long trim(struct bpf_mem_shard *shard, unsigned int keep)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	struct llist_node *first, *last;
	unsigned long total = 0;
	unsigned int nr;

	while (pcpu_magazine_level(&shard->mag) > keep * pool->mag.marks.batch) {
		first = pcpu_magazine_take_chain(&shard->mag, &nr);
		if (!first)
			break;
		for (last = first; last->next; last = last->next)
			;
		bpf_mem_gp_surplus(shard, first, last, nr);
		total += nr;
	}
	if (total) {
		trace_bpf_mem_trim(pool->owner->id, bpf_mem_unit(pool), total);
		bpf_mem_shard_queue(shard);
	}
	return total;
}

static void flush_this_cpu(void *arg)
{
	struct bpf_mem_pool *pool = arg;

	pcpu_magazine_flush(&pool->mag, pool->mag.marks.first);
}

/* Who is isolated is so for a reason; who has little is left alone, too. */
static bool may_flush(int cpu, void *arg)
{
	struct bpf_mem_pool *pool = arg;

	return !cpu_is_isolated(cpu) &&
	       pcpu_magazine_cpu_has_more(&pool->mag, cpu, pool->mag.marks.first);
}

/**
 * bpf_mem_collect() - move what CPUs hold to depots, but for their first objects
 * @pool: the pool
 *
 * A CPU that is at this moment changing what it has keeps it.
 *
 * Context: Task context, may sleep. Interrupts CPUs that have something and are
 *	not isolated.
 */
void bpf_mem_collect(struct bpf_mem_pool *pool)
{
	on_each_cpu_cond(may_flush, flush_this_cpu, pool, true);
}

/* Halve the target when no refill came since a while. */
static void decay(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned int target = pcpu_magazine_target(&shard->mag);

	if (target == 1 || !time_after(jiffies, READ_ONCE(shard->refilled) + bpf_mem_look_every))
		return;
	pcpu_magazine_set_target(&shard->mag, target / 2);
	trace_bpf_mem_target(pool->owner->id, bpf_mem_unit(pool), target, target / 2);
}

/* A pool that is busy is trimmed, too. Returns true if a target is above its lowest. */
static bool look_at_shards(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	bool more = false;
	unsigned int i;

	bpf_mem_for_each_shard(shard, pool, i) {
		decay(shard);
		trim(shard, pcpu_magazine_target(&shard->mag) + 1);
		more |= pcpu_magazine_target(&shard->mag) > 1;
		if (bpf_mem_gp_has_surplus(shard))
			bpf_mem_shard_queue(shard);
	}
	return more;
}

static unsigned long moves_of(struct bpf_mem_pool *pool)
{
	return pcpu_magazine_count(&pool->mag, PCPU_MAGAZINE_FETCHED) +
	       pcpu_magazine_count(&pool->mag, PCPU_MAGAZINE_RETURNED) +
	       pcpu_magazine_count(&pool->mag, PCPU_MAGAZINE_REFILLS);
}

/* A change to what is in use means that somebody uses the pool. */
static void count_idle(struct bpf_mem_pool *pool)
{
	long used = bpf_mem_pool_used(pool);

	if (used != pool->last_used)
		pool->idle_looks = 0;
	else if (pool->idle_looks < IDLE_LOOKS)
		pool->idle_looks++;
	pool->last_used = used;
}

/* Returns true if there is reason to look again. */
static bool look_at(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	bool more = look_at_shards(pool);
	unsigned int i;

	count_idle(pool);
	if (more || pool->idle_looks < IDLE_LOOKS)
		return true;
	bpf_mem_collect(pool);
	bpf_mem_for_each_shard(shard, pool, i)
		trim(shard, 1);
	return false;
}

/*
 * With a thousand maps most are at rest, and a look takes in each CPU. No
 * refill, and no chain that left a depot or came back: nothing to see.
 */
static bool look_if_awake(struct bpf_mem_pool *pool)
{
	unsigned long moves = moves_of(pool);

	if (READ_ONCE(pool->at_rest) && moves == pool->last_moves)
		return false;
	/* First, so that a refill meanwhile is not forgotten. */
	WRITE_ONCE(pool->at_rest, true);
	if (look_at(pool)) {
		WRITE_ONCE(pool->at_rest, false);
		return true;
	}
	pool->last_moves = moves_of(pool);
	return false;
}

static void look_visit(struct bpf_mem_allocator *owner, void *arg)
{
	struct bpf_mem_pool *pool;
	bool *more = arg;
	unsigned int i;

	bpf_mem_for_each_pool(pool, owner, i) {
		if (look_if_awake(pool))
			*more = true;
	}
}

static void look_after(struct work_struct *work)
{
	unsigned long id = 0;
	bool more = false;

	while (bpf_mem_visit_one(&id, look_visit, &more))
		cond_resched();
	if (more)
		queue_delayed_work(bpf_mem_late_wq, &looker, bpf_mem_look_every);
}

/**
 * bpf_mem_look_soon() - stock has grown: look after it in a while
 * @pool: the pool that has grown
 *
 * Context: Any but NMI.
 */
void bpf_mem_look_soon(struct bpf_mem_pool *pool)
{
	if (READ_ONCE(pool->at_rest))
		WRITE_ONCE(pool->at_rest, false);
	if (!delayed_work_pending(&looker))
		queue_delayed_work(bpf_mem_late_wq, &looker, bpf_mem_look_every);
}

/* Memory pressure. Objects are counted as what they are to others: pages. */

static unsigned long shard_pages(struct bpf_mem_shard *shard)
{
	return pcpu_magazine_level(&shard->mag) *
	       bpf_mem_slab_footprint(bpf_mem_shard_pool(shard)) / PAGE_SIZE;
}

struct scan {
	unsigned long want;
	unsigned long got;
};

static bool count_visit(struct bpf_mem_allocator *owner, void *arg)
{
	struct bpf_mem_shard *shard;
	struct bpf_mem_pool *pool;
	struct scan *scan = arg;
	unsigned int i, j;

	bpf_mem_for_each_pool(pool, owner, i) {
		bpf_mem_for_each_shard(shard, pool, j)
			scan->got += shard_pages(shard);
	}
	return true;
}

/**
 * bpf_mem_shrink_count() - what memory pressure can get
 *
 * Context: Any task context; reclaim may come from a refill of ours.
 * Return: Pages in the depots of all allocators.
 */
unsigned long bpf_mem_shrink_count(void)
{
	struct scan scan = {};

	return bpf_mem_try_for_each(count_visit, &scan) ? scan.got : 0;
}

static bool scan_visit(struct bpf_mem_allocator *owner, void *arg)
{
	struct bpf_mem_shard *shard;
	struct bpf_mem_pool *pool;
	struct scan *scan = arg;
	unsigned int i, j;

	bpf_mem_for_each_pool(pool, owner, i) {
		bpf_mem_for_each_shard(shard, pool, j) {
			if (scan->got >= scan->want)
				return false;
			pcpu_magazine_set_target(&shard->mag, 1);
			scan->got += shard_pages(shard);
			trim(shard, 0);
		}
	}
	return true;
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
	struct scan scan = { .want = nr };

	if (!bpf_mem_try_for_each(scan_visit, &scan))
		return SHRINK_STOP;
	return scan.got ?: SHRINK_STOP;
}

static unsigned long shrink_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return bpf_mem_shrink_count();
}

static unsigned long shrink_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	return bpf_mem_shrink_scan(sc->nr_to_scan);
}

static void dead_visit(struct bpf_mem_allocator *owner, void *cpu)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, owner, i)
		pcpu_magazine_flush_dead(&pool->mag, *(unsigned int *)cpu);
}

/* Runs when @cpu is dead: nobody is in its magazines. */
static int cpu_dead(unsigned int cpu)
{
	bpf_mem_for_each(dead_visit, &cpu);
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
