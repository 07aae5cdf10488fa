// SPDX-License-Identifier: GPL-2.0-only
/*
 * Per-CPU magazines: pools, and what their user does to their stock. Nothing here
 * is reached by pcpu_magazine_get() and pcpu_magazine_put() but
 * pcpu_magazine_is_low().
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include "pcpu_magazine_internal.h"

/* Objects that one call of alloc_bulk() asks for: an array on the stack. */
#define BULK		64U

/* Slots that a depot has at first. */
#define FIRST_SLOTS	8

/* Making and ending a pool */

static bool marks_are_sane(const struct pcpu_magazine_marks *marks)
{
	return marks->low && marks->low < marks->high && marks->batch &&
	       marks->batch <= marks->high - marks->low && marks->batch <= U16_MAX &&
	       marks->first <= marks->batch;
}

static void shard_init(struct pcpu_magazine_pool *pool, unsigned int i)
{
	struct pcpu_magazine_shard *shard = pool->shards[i];
	unsigned int other;

	shard->pool = pool;
	shard->index = i;
	shard->node = pcpu_magazine_shard_node(i);
	shard->target = 1;
	for (other = 0; other <= i; other++) {
		if (pool->shards[other]->node != shard->node)
			continue;
		shard->near |= BIT(other);
		pool->shards[other]->near |= BIT(i);
	}
}

/**
 * pcpu_magazine_init() - make a pool, empty and not yet in use
 * @pool: what all CPUs share
 * @cpus: what each CPU has, all zero
 * @ops: callbacks; &pcpu_magazine_ops.reclaim may be NULL
 * @marks: watermarks
 * @shards: pcpu_magazine_nr_shards() pointers to shards, all zero, which stay
 *	with the pool until it goes
 *
 * Context: Task context, may sleep.
 * Return: 0, -EINVAL for watermarks out of order, -ENOMEM.
 */
int pcpu_magazine_init(struct pcpu_magazine_pool *pool,
		       struct pcpu_magazine_cpu __percpu *cpus,
		       const struct pcpu_magazine_ops *ops,
		       const struct pcpu_magazine_marks *marks,
		       struct pcpu_magazine_shard **shards)
{
	unsigned int i;
	int cpu;

	if (!marks_are_sane(marks))
		return -EINVAL;
	*pool = (struct pcpu_magazine_pool){
		.ops = ops,
		.cpus = cpus,
		.marks = *marks,
		.nr_shards = pcpu_magazine_nr_shards(),
		.shards = shards,
	};
	/* What CPUs are given before the pool is published nobody takes. */
	for_each_possible_cpu(cpu)
		per_cpu_ptr(cpus, cpu)->mark = UINT_MAX;
	for (i = 0; i < pool->nr_shards; i++) {
		shard_init(pool, i);
		if (pcpu_magazine_depot_init(&shards[i]->depot, FIRST_SLOTS, GFP_KERNEL)) {
			pcpu_magazine_exit(pool);
			return -ENOMEM;
		}
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_init);

/**
 * pcpu_magazine_publish() - let CPUs use a pool
 * @pool: the pool, with the stock that it is to start with
 *
 * Context: Task context.
 */
void pcpu_magazine_publish(struct pcpu_magazine_pool *pool)
{
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(pool->cpus, cpu);
		WRITE_ONCE(c->mark, pool->marks.low);
		WRITE_ONCE(c->full, pool->marks.batch);
		/* All of the pool before its publication: pairs with READ_ONCE(c->shard). */
		smp_store_release(&c->shard, pool->shards[pcpu_magazine_shard_of(cpu)]);
	}
}
EXPORT_SYMBOL_GPL(pcpu_magazine_publish);

/**
 * pcpu_magazine_exit() - end a drained pool, or one whose making failed
 * @pool: what all CPUs share; the caller frees it, the shards and the CPUs' part
 *
 * Context: Task context.
 */
void pcpu_magazine_exit(struct pcpu_magazine_pool *pool)
{
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu_ptr(pool->cpus, cpu)->shard = NULL;
	for (i = 0; i < pool->nr_shards; i++) {
		WARN_ON_ONCE(pcpu_magazine_level(pool->shards[i]));
		pcpu_magazine_depot_exit(&pool->shards[i]->depot);
	}
	if (pool->reserve)
		pcpu_magazine_depot_exit(pool->reserve);
	kfree(pool->reserve);
	pool->reserve = NULL;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_exit);

/* Lists of any length, in batches */

static void hand_over_list(struct pcpu_magazine_shard *shard, struct llist_node *list)
{
	unsigned int nr, batch = shard->pool->marks.batch;
	struct llist_node *last, *rest;

	for (; list; list = rest) {
		last = list;
		for (nr = 1; nr < batch && last->next; nr++)
			last = last->next;
		rest = last->next;
		last->next = NULL;
		pcpu_magazine_hand_over(shard, list, nr);
	}
}

/*
 * Get up to @nr objects from the user and link them. Stops at the first call
 * that brings less than it was asked for.
 */
static struct llist_node *alloc_chain(struct pcpu_magazine_shard *shard, int node, gfp_t gfp,
				      unsigned int nr, unsigned int *got)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	struct llist_node *first = NULL, *obj;
	void *objs[BULK] __uninitialized;
	unsigned int ask, came, i;

	*got = 0;
	do {
		ask = min_t(unsigned int, nr - *got, BULK);
		came = pool->ops->alloc_bulk(pool, node, gfp, ask, objs);
		for (i = came; i--;) {
			obj = objs[i];
			obj->next = first;
			first = obj;
		}
		*got += came;
	} while (came == ask && *got < nr);
	pcpu_magazine_event(shard, PCPU_MAGAZINE_NEW, *got);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_REFILL);
	return first;
}

/* The shard of this CPU, or of one that it was a moment ago. */
static struct pcpu_magazine_shard *this_shard(struct pcpu_magazine_pool *pool)
{
	return pool->shards[pcpu_magazine_shard_of(raw_smp_processor_id())];
}

/**
 * pcpu_magazine_prefill() - give a CPU its first objects
 * @pool: the pool, not yet published
 * @cpu: whose they are; a number that no CPU has: of the depot of this CPU
 * @nr: objects, at most a batch
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp.
 * Return: Objects added.
 */
unsigned int pcpu_magazine_prefill(struct pcpu_magazine_pool *pool, unsigned int cpu,
				   unsigned int nr, gfp_t gfp)
{
	struct pcpu_magazine_shard *shard = this_shard(pool);
	unsigned int of = cpu < nr_cpu_ids ? pcpu_magazine_shard_of(cpu) : shard->index;
	int node = pcpu_magazine_shard_node(of);
	struct pcpu_magazine_cpu *c;
	struct llist_node *first;
	unsigned int got;

	first = alloc_chain(shard, node, gfp, nr, &got);
	if (cpu < nr_cpu_ids) {
		c = per_cpu_ptr(pool->cpus, cpu);
		c->loaded = first;
		c->nr = got;
	} else if (first) {
		pcpu_magazine_hand_over(shard, first, got);
	}
	return got;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_prefill);

/* The reserve: a slot, an object. What is left when all else is gone. */

/**
 * pcpu_magazine_reserve_is_short() - has something been taken from the reserve?
 * @pool: the pool
 *
 * Context: Any.
 * Return: true if it holds less than pcpu_magazine_reserve() asked for.
 */
bool notrace pcpu_magazine_reserve_is_short(struct pcpu_magazine_pool *pool)
{
	const struct pcpu_magazine_depot *reserve = READ_ONCE(pool->reserve);

	return unlikely(reserve) &&
	       atomic_read(&reserve->level) < READ_ONCE(pool->nr_reserved);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_reserve_is_short);

static unsigned int reserve_lacks(struct pcpu_magazine_pool *pool)
{
	int lacks = READ_ONCE(pool->nr_reserved) - atomic_read(&pool->reserve->level);

	return max(lacks, 0);
}

/* Puts what there is room for into the reserve. Returns the rest. */
static struct llist_node *reserve_put_list(struct pcpu_magazine_pool *pool,
					   struct llist_node *list)
{
	struct llist_node *next;

	for (; list && reserve_lacks(pool); list = next) {
		next = list->next;
		list->next = NULL;
		if (!pcpu_magazine_depot_put(pool->reserve, list, 1)) {
			list->next = next;
			break;
		}
	}
	return list;
}

/*
 * Move a batch at most into the reserve, from a depot if need be. Returns the
 * number of objects that were moved, and counts new ones in @new.
 */
static unsigned int fill_reserve(struct pcpu_magazine_shard *shard, gfp_t gfp,
				 unsigned int *new)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	unsigned int nr, ask = min(pool->marks.batch, reserve_lacks(pool));
	struct llist_node *list;

	if (!ask)
		return 0;
	list = pcpu_magazine_fetch(shard, &nr);
	if (!list) {
		list = alloc_chain(shard, shard->node, gfp, ask, &nr);
		*new += nr;
	}
	hand_over_list(shard, reserve_put_list(pool, list));
	return list ? nr : 0;
}

static int reserve_make_room(struct pcpu_magazine_pool *pool, unsigned int nr, gfp_t gfp)
{
	struct pcpu_magazine_depot *reserve;
	int err;

	if (pool->reserve)
		return pcpu_magazine_depot_grow(pool->reserve, nr, gfp);
	reserve = kzalloc(sizeof(*reserve), gfp);
	if (!reserve)
		return -ENOMEM;
	err = pcpu_magazine_depot_init(reserve, nr, gfp);
	if (err) {
		kfree(reserve);
		return err;
	}
	smp_store_release(&pool->reserve, reserve);	/* pairs with READ_ONCE() */
	return 0;
}

/* Take out what is more than was asked for. */
static void lower_reserve(struct pcpu_magazine_shard *shard)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	struct llist_node *list = NULL, *first;
	unsigned int nr, got = 0;

	while (atomic_read(&pool->reserve->level) > pool->nr_reserved) {
		first = pcpu_magazine_depot_get(pool->reserve, &nr);
		if (!first)
			break;
		first->next = list;
		list = first;
		if (++got == pool->marks.batch) {
			pcpu_magazine_hand_over(shard, list, got);
			list = NULL;
			got = 0;
		}
	}
	if (list)
		pcpu_magazine_hand_over(shard, list, got);
}

/**
 * pcpu_magazine_reserve() - hold back objects for when there is nothing else
 * @pool: the pool
 * @nr: objects; replaces what was asked for before
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk and for memory of the layer, may
 *	sleep
 *
 * From its return on, @nr calls of pcpu_magazine_get() succeed on any CPUs and
 * in any context, and again after refills had their turn. What a lower @nr sets
 * free goes to a depot, or to &pcpu_magazine_ops.overflow.
 *
 * Context: Task context. The caller lets one in at a time.
 * Return: 0, or -ENOMEM and everything is as before.
 */
int pcpu_magazine_reserve(struct pcpu_magazine_pool *pool, unsigned int nr, gfp_t gfp)
{
	struct pcpu_magazine_shard *shard = this_shard(pool);
	unsigned int old = pool->nr_reserved, new = 0;
	int err;

	if (!pool->reserve && !nr)
		return 0;
	err = reserve_make_room(pool, nr, gfp);
	if (err)
		return err;
	WRITE_ONCE(pool->nr_reserved, nr);
	while (reserve_lacks(pool)) {
		/* Somebody else may have filled it meanwhile. */
		if (!fill_reserve(shard, gfp, &new) && reserve_lacks(pool)) {
			WRITE_ONCE(pool->nr_reserved, old);
			err = -ENOMEM;
			break;
		}
		cond_resched();
	}
	lower_reserve(shard);
	return err;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_reserve);

/* Refill */

/**
 * pcpu_magazine_is_low() - is a refill due?
 * @shard: the shard
 *
 * Not as long as other CPUs of the node have put aside what this one may fetch:
 * what one CPU frees is what another one needs.
 *
 * Context: Any.
 * Return: true if the depot is below half of its target and no depot near it has
 * anything, or if the reserve is not full.
 */
bool notrace pcpu_magazine_is_low(struct pcpu_magazine_shard *shard)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	unsigned int half = (READ_ONCE(shard->target) + 1) / 2;

	if (pcpu_magazine_level(shard) < half * pool->marks.batch &&
	    !(READ_ONCE(pool->stocked) & shard->near & ~BIT(shard->index)))
		return true;
	return pcpu_magazine_reserve_is_short(pool);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_is_low);

/**
 * pcpu_magazine_refill() - bring a depot nearer to its target
 * @shard: the shard
 * @max: batches to add at most
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * The reserve first, from the depot if that has some. Stops early when no more
 * objects are to be had, or when the depot has no room: see pcpu_magazine_grow().
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp; may run on several
 *	CPUs at a time. Adds or moves no more than @max batches.
 * Return: Objects added, or moved into the reserve; -ENOMEM if some were wanted and
 *	none came.
 */
int pcpu_magazine_refill(struct pcpu_magazine_shard *shard, unsigned int max, gfp_t gfp)
{
	unsigned int batch = shard->pool->marks.batch, got, total = 0, moved = 0;
	struct llist_node *first;
	bool refused = false;

	pcpu_magazine_event(shard, PCPU_MAGAZINE_REFILLS, 1);
	for (; max && pcpu_magazine_reserve_is_short(shard->pool); max--) {
		got = fill_reserve(shard, gfp, &total);
		/* Unless another one has just filled it. */
		refused = !got && pcpu_magazine_reserve_is_short(shard->pool);
		if (!got)
			break;
		moved += got;
	}
	for (; max && pcpu_magazine_level(shard) < READ_ONCE(shard->target) * batch; max--) {
		/* Without room all would be surplus, and somebody be asked for that. */
		if (pcpu_magazine_depot_is_full(&shard->depot))
			break;
		first = alloc_chain(shard, shard->node, gfp, batch, &got);
		total += got;
		refused = !first;
		if (!first)
			break;
		pcpu_magazine_keep(shard, first, got);
	}
	return max(total, moved) ?: (refused ? -ENOMEM : 0);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_refill);

/**
 * pcpu_magazine_grow() - make room in a depot as far as memory allows
 * @shard: the shard
 * @nr: chains to have room for; more if there is none free and yet less in the
 *	depot than its target
 * @gfp: flags, may sleep
 *
 * Context: Task context. The caller lets one in at a time.
 */
void pcpu_magazine_grow(struct pcpu_magazine_shard *shard, unsigned int nr, gfp_t gfp)
{
	/* Short chains only: room for more than the target would be filled for ever. */
	if (pcpu_magazine_depot_is_full(&shard->depot) &&
	    pcpu_magazine_level(shard) < READ_ONCE(shard->target) * shard->pool->marks.batch)
		nr = max(nr, shard->depot.nr_slots + 1);
	pcpu_magazine_depot_grow(&shard->depot, nr, gfp);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_grow);

/**
 * pcpu_magazine_take_missed() - how many calls on a CPU got nothing?
 * @pool: the pool
 * @cpu: the CPU; what it counts at this moment may be lost
 *
 * Context: Any.
 * Return: Calls since the last time that this was asked.
 */
unsigned int pcpu_magazine_take_missed(struct pcpu_magazine_pool *pool, unsigned int cpu)
{
	struct pcpu_magazine_cpu *c = per_cpu_ptr(pool->cpus, cpu);
	unsigned int missed = READ_ONCE(c->missed);

	if (missed)
		WRITE_ONCE(c->missed, 0);
	return missed;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_take_missed);

/* Giving back */

/* With busy set, or of a dead CPU: leave it @keep objects. */
static void cpu_settle(struct pcpu_magazine_cpu *c, unsigned int keep)
{
	struct llist_node *list, *last, *more;
	unsigned int nr, n;

	list = pcpu_magazine_cpu_take_all(c, &nr);
	while (nr < keep) {
		more = pcpu_magazine_fetch(c->shard, &n);
		if (!more)
			break;
		chain_nth(more, n)->next = list;
		list = more;
		nr += n;
	}
	if (nr > keep && keep) {
		last = chain_nth(list, keep);
		more = last->next;
		last->next = NULL;
	} else {
		more = keep ? NULL : list;
		list = keep ? list : NULL;
	}
	c->loaded = list;
	c->nr = min(nr, keep);
	hand_over_list(c->shard, more);
	pcpu_magazine_cpu_set_marks(c, false);
}

/**
 * pcpu_magazine_flush() - move this CPU's stock to depots
 * @pool: the pool
 * @keep: objects that the CPU is to have afterwards, if there are so many
 *
 * Does nothing if it interrupted somebody who is changing it.
 *
 * Context: Any, preemption disabled. Walks over what a CPU may hold.
 */
void pcpu_magazine_flush(struct pcpu_magazine_pool *pool, unsigned int keep)
{
	struct pcpu_magazine_cpu *c = raw_cpu_ptr(pool->cpus);

	if (pcpu_magazine_is_busy(c))
		return;
	pcpu_magazine_enter(c);
	cpu_settle(c, keep);
	pcpu_magazine_leave(c);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_flush);

/**
 * pcpu_magazine_flush_dead() - move the stock of a dead CPU to depots
 * @pool: the pool
 * @cpu: the CPU; it was taken offline and stays so during the call
 *
 * Context: Task context.
 */
void pcpu_magazine_flush_dead(struct pcpu_magazine_pool *pool, unsigned int cpu)
{
	cpu_settle(per_cpu_ptr(pool->cpus, cpu), 0);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_flush_dead);

/**
 * pcpu_magazine_cpu_has_more() - is there reason to flush a CPU?
 * @pool: the pool
 * @cpu: the CPU
 * @keep: objects that it is to have
 *
 * Context: Any.
 * Return: true if it has another number; the CPU may change it at this moment.
 */
bool pcpu_magazine_cpu_has_more(struct pcpu_magazine_pool *pool, unsigned int cpu,
				unsigned int keep)
{
	struct pcpu_magazine_cpu *c = per_cpu_ptr(pool->cpus, cpu);

	/* A hint: the CPU may change it now. */
	return data_race(c->nr) != keep || READ_ONCE(c->spare) || !llist_empty(&c->nested);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_cpu_has_more);

/**
 * pcpu_magazine_set_low_high() - change two watermarks of a pool in use
 * @pool: the pool
 * @low: objects per CPU below which stock is topped up, at least 1
 * @high: objects per CPU above which a batch is given away; raised to @low and a
 *	batch if it is less
 *
 * A CPU follows when it next looks at its stock.
 *
 * Context: Any. The caller lets one in at a time.
 */
void pcpu_magazine_set_low_high(struct pcpu_magazine_pool *pool, unsigned int low,
				unsigned int high)
{
	WRITE_ONCE(pool->marks.low, low);
	WRITE_ONCE(pool->marks.high, max(high, low + pool->marks.batch));
}
EXPORT_SYMBOL_GPL(pcpu_magazine_set_low_high);

static struct llist_node *cpu_drain(struct pcpu_magazine_cpu *c)
{
	struct llist_node *list, *deferred = llist_del_all(&c->deferred);
	unsigned int nr;

	list = pcpu_magazine_cpu_take_all(c, &nr);
	if (!list)
		return deferred;
	if (deferred)
		chain_nth(list, nr)->next = deferred;
	return list;
}

/**
 * pcpu_magazine_drain() - take everything out of a pool that nobody uses
 * @pool: the pool
 * @release: called with NULL-terminated chains, which it then owns
 *
 * Context: No other call on @pool may be under way.
 */
void pcpu_magazine_drain(struct pcpu_magazine_pool *pool,
			 void (*release)(struct pcpu_magazine_pool *pool,
					 struct llist_node *list))
{
	struct llist_node *list;
	unsigned int i, nr;
	int cpu;

	for_each_possible_cpu(cpu) {
		list = cpu_drain(per_cpu_ptr(pool->cpus, cpu));
		if (list)
			release(pool, list);
	}
	for (i = 0; i < pool->nr_shards; i++) {
		while ((list = pcpu_magazine_take_chain(pool->shards[i], &nr)))
			release(pool, list);
	}
	while (pool->reserve && (list = pcpu_magazine_depot_get(pool->reserve, &nr)))
		release(pool, list);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_drain);

/* Looking */

/**
 * pcpu_magazine_level() - objects in the depot of a shard
 * @shard: the shard
 *
 * Context: Any.
 * Return: Number of objects, what is on its way in or out included.
 */
unsigned int notrace pcpu_magazine_level(struct pcpu_magazine_shard *shard)
{
	return atomic_read(&shard->depot.level);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_level);

/**
 * pcpu_magazine_cached() - objects that could be handed out
 * @pool: the pool
 *
 * Exact while nobody uses the pool, an estimate otherwise. Nested and deferred
 * lists do not count, the reserve does.
 *
 * Context: Any.
 * Return: Number of objects.
 */
unsigned long pcpu_magazine_cached(struct pcpu_magazine_pool *pool)
{
	struct pcpu_magazine_depot *reserve = READ_ONCE(pool->reserve);
	unsigned long nr = reserve ? atomic_read(&reserve->level) : 0;
	struct pcpu_magazine_cpu *c;
	unsigned int i;
	int cpu;

	for (i = 0; i < pool->nr_shards; i++)
		nr += pcpu_magazine_level(pool->shards[i]);
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(pool->cpus, cpu);
		/* An estimate: their CPU may change them now. */
		nr += data_race(c->nr);
		/* The same. */
		nr += READ_ONCE(c->spare) ? data_race(c->nr_spare) : 0;
	}
	return nr;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_cached);

/**
 * pcpu_magazine_count() - how often something has happened
 * @pool: the pool
 * @event: what
 *
 * Context: Any.
 * Return: Number of times, or of objects for PCPU_MAGAZINE_NEW.
 */
unsigned long pcpu_magazine_count(struct pcpu_magazine_pool *pool,
				  enum pcpu_magazine_event event)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < pool->nr_shards; i++)
		sum += atomic_long_read(&pool->shards[i]->events[event]);
	return sum;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_count);
