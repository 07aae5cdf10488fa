// SPDX-License-Identifier: GPL-2.0-only
/*
 * Per-CPU magazines of free objects over shared depots, for any context.
 */

/**
 * DOC: where an object is
 *
 * ::
 *
 *	            get            put
 *	             ^              |
 *	             |              v
 *	  CPU    +--------- loaded ---------+      busy set: +-- nested --+
 *	         |            ^ |           |                |  (list,    |
 *	         |   exchange | | whole     |                |   xchg)    |
 *	         |            | v  chains   |                +------------+
 *	         |          spare           |                   ^    |
 *	         +-----------^--|-----------+                   |    |
 *	                     |  |                               |    |
 *	  shard         +----|--v-------------------------------|----v---+
 *	                |  depot: slots, each one chain                  |
 *	                +----^--|---------------^-|----------------------+
 *	             refill, |  |               | |
 *	          put_chain  |  | no slot free  | v
 *	                     |  v               other shards' depots
 *	  user          alloc_bulk()   overflow()      reclaim(), deferred list
 *
 * There is no lock. Loaded chains are owned by whoever set ->busy, see
 * struct pcpu_magazine_cpu; slots and lists change by single atomic instructions
 * and always hand over a whole chain or list. A chain or list in hand is private
 * to its context. A nested context that comes meanwhile does not see those
 * objects; it sees everything else.
 *
 * All functions that pcpu_magazine_get() and pcpu_magazine_put() can reach are
 * notrace: a program that traces them must not be able to call itself.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include "pcpu_magazine_internal.h"

static_assert(sizeof(struct pcpu_magazine_cpu) == 64);

#if IS_ENABLED(CONFIG_PCPU_MAGAZINE_KUNIT_TEST)
DEFINE_STATIC_KEY_FALSE(pcpu_magazine_seam_key);

static void (*seam_hook)(enum pcpu_magazine_seam seam);

void notrace pcpu_magazine_seam_call(enum pcpu_magazine_seam seam)
{
	void (*hook)(enum pcpu_magazine_seam seam) = READ_ONCE(seam_hook);

	if (hook)
		hook(seam);
}

/**
 * pcpu_magazine_seam_set() - let a test run code inside critical sections
 * @hook: called at each seam, in the context that reached it and with its
 *	restrictions; NULL turns the seams off
 *
 * Context: Task context, may sleep.
 */
void pcpu_magazine_seam_set(void (*hook)(enum pcpu_magazine_seam seam))
{
	bool was_on = seam_hook;

	WRITE_ONCE(seam_hook, hook);
	if (hook && !was_on)
		static_branch_enable(&pcpu_magazine_seam_key);
	else if (!hook && was_on)
		static_branch_disable(&pcpu_magazine_seam_key);
}
#endif

/* The nested list */

/* Put back what was not used of it. */
static void notrace nested_put_back(struct pcpu_magazine_cpu *c, struct llist_node *list)
{
	struct llist_node *newer, *next;

	/* Each further round was caused by a context that has since finished. */
	while (cmpxchg(&c->nested.first, NULL, list)) {
		newer = llist_del_all(&c->nested);
		for (; newer; newer = next) {
			next = newer->next;
			newer->next = list;
			list = newer;
		}
	}
}

/* Up to @nr objects of it, their number in @got; on top of others, or busy. */
static notrace struct llist_node *nested_cut(struct pcpu_magazine_cpu *c, unsigned int nr,
					     unsigned int *got)
{
	struct llist_node *first, *last, *rest;

	first = llist_empty(&c->nested) ? NULL : llist_del_all(&c->nested);
	if (!first)
		return NULL;
	last = first;
	for (*got = 1; *got < nr && last->next; (*got)++)
		last = last->next;
	rest = last->next;
	last->next = NULL;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_NESTED);
	if (rest)
		nested_put_back(c, rest);
	return first;
}

/* A CPU's own chains: the caller has set busy. */

static unsigned int notrace cpu_stock(struct pcpu_magazine_cpu *c)
{
	return c->nr + c->nr_spare;
}

static __always_inline const struct pcpu_magazine_marks *
cpu_marks(const struct pcpu_magazine_cpu *c)
{
	return &c->shard->pool->marks;
}

static void notrace cpu_push_chain(struct pcpu_magazine_cpu *c, struct llist_node *first,
				   unsigned int nr)
{
	chain_nth(first, nr)->next = c->loaded;
	c->loaded = first;
	c->nr += nr;
}

/* Cut a batch off the front of the loaded chain; O(1) if it is exactly that. */
static notrace struct llist_node *cpu_cut_batch(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct llist_node *first = c->loaded, *last;

	*nr = min(cpu_marks(c)->batch, c->nr);
	if (c->nr == *nr) {
		c->loaded = NULL;
	} else {
		last = chain_nth(first, *nr);
		c->loaded = last->next;
		last->next = NULL;
	}
	c->nr -= *nr;
	return first;
}

/* What nested contexts gave, a batch of it at a time. */
static void notrace cpu_take_nested(struct pcpu_magazine_cpu *c)
{
	unsigned int nr;
	struct llist_node *list = nested_cut(c, cpu_marks(c)->batch, &nr);

	if (unlikely(list))
		cpu_push_chain(c, list, nr);
}

/* Only this CPU fills its spare slot, so it stays empty until it does. */
static void notrace cpu_put_spare(struct pcpu_magazine_cpu *c, struct llist_node *first,
				  unsigned int nr)
{
	c->nr_spare = nr;
	/* The count before the chain: who exchanges it out may find it at once. */
	barrier();
	WRITE_ONCE(c->spare, first);
}

/* The spare chain, or NULL if there is none or a nested context has taken it. */
static notrace struct llist_node *cpu_take_spare(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct llist_node *first = xchg(&c->spare, NULL);

	*nr = c->nr_spare;
	c->nr_spare = 0;
	return first;
}

/* A nested context may have taken the spare chain. */
static void notrace cpu_look_after_spare(struct pcpu_magazine_cpu *c)
{
	if (c->nr_spare && !READ_ONCE(c->spare))
		c->nr_spare = 0;
}

/**
 * pcpu_magazine_cpu_set_marks() - when is the next look at the stock due?
 * @c: the CPU's part, with busy set
 * @is_short: it has less than the low watermark and has asked for a refill
 *
 * Fast paths run while mark < nr (get) and nr < full (put). A CPU that is short
 * asks again when half of what it has is gone, in case the first refill found no
 * memory, and when it is empty.
 *
 * Context: Any.
 */
void notrace pcpu_magazine_cpu_set_marks(struct pcpu_magazine_cpu *c, bool is_short)
{
	const struct pcpu_magazine_marks *marks = cpu_marks(c);
	unsigned int low = READ_ONCE(marks->low), high = READ_ONCE(marks->high);

	if (is_short)
		c->mark = c->nr_spare ? 0 : c->nr / 2;
	else
		c->mark = low > c->nr_spare ? low - c->nr_spare : 0;
	if (!c->nr_spare && c->nr <= marks->batch)
		c->full = marks->batch;
	else
		c->full = high > c->nr_spare ? high - c->nr_spare : 0;
	/* What a nested context says after this stays; what it gave before is seen. */
	barrier();
	if (unlikely(!llist_empty(&c->nested)))
		c->full = 0;
}

/**
 * pcpu_magazine_cpu_take_all() - take all that a CPU has
 * @c: its part; with busy set by that CPU, or the CPU is dead
 * @nr: set to the number of objects
 *
 * Context: Any. Walks over what a CPU may hold and what nested contexts gave.
 * Return: NULL-terminated chain, or NULL.
 */
struct llist_node *pcpu_magazine_cpu_take_all(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct llist_node *list = llist_del_all(&c->nested), *next;
	unsigned int n;

	for (; list; list = next) {
		next = list->next;
		list->next = c->loaded;
		c->loaded = list;
		c->nr++;
	}
	list = cpu_take_spare(c, &n);
	if (list)
		cpu_push_chain(c, list, n);
	list = c->loaded;
	*nr = c->nr;
	c->loaded = NULL;
	c->nr = 0;
	return list;
}

/* Taking */

static enum pcpu_magazine_event notrace miss_event(void)
{
	if (likely(in_task()))
		return PCPU_MAGAZINE_MISS_TASK;
	if (in_nmi())
		return PCPU_MAGAZINE_MISS_NMI;
	return in_hardirq() ? PCPU_MAGAZINE_MISS_HARDIRQ : PCPU_MAGAZINE_MISS_SOFTIRQ;
}

static __always_inline void count_miss(struct pcpu_magazine_cpu *c,
				       struct pcpu_magazine_shard *shard)
{
	/* A nested context may count between load and store: one is lost. */
	WRITE_ONCE(c->missed, READ_ONCE(c->missed) + 1);
	pcpu_magazine_event(shard, miss_event(), 1);
}

/* What is left when neither this CPU nor a depot of its node has anything. */
static notrace struct llist_node *last_resort(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct pcpu_magazine_shard *shard = c->shard;
	struct pcpu_magazine_pool *pool = shard->pool;
	struct pcpu_magazine_depot *reserve;
	struct llist_node *first = NULL;

	if (atomic_long_read(&pool->nr_reclaimable) && pool->ops->reclaim)
		first = pool->ops->reclaim(shard, nr);
	if (first) {
		pcpu_magazine_event(shard, PCPU_MAGAZINE_RECLAIMED, 1);
		return first;
	}
	if (READ_ONCE(pool->stocked))
		first = pcpu_magazine_fetch_far(shard, nr);
	if (first)
		return first;
	reserve = READ_ONCE(pool->reserve);
	if (unlikely(reserve))
		first = pcpu_magazine_depot_get(reserve, nr);
	if (first) {
		pcpu_magazine_event(shard, PCPU_MAGAZINE_RESERVE, 1);
		return first;
	}
	count_miss(c, shard);
	return NULL;
}

/* Spares who misses the calls. */
static __always_inline bool has_chains(const struct pcpu_magazine_shard *shard)
{
	return atomic_read(&shard->depot.level) || READ_ONCE(shard->pool->stocked);
}

/* The loaded chain is empty: put any other stock in its place. */
static void notrace cpu_reload(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first = NULL;
	unsigned int nr;

	if (c->nr_spare)
		first = cpu_take_spare(c, &nr);
	if (!first && has_chains(c->shard))
		first = pcpu_magazine_fetch(c->shard, &nr);
	if (!first)
		first = last_resort(c, &nr);
	if (!first)
		return;
	c->loaded = first;
	c->nr = nr;
}

/* Bring the stock to the low watermark, from depots. False: they are empty. */
static bool notrace cpu_top_up(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first, *shorter;
	unsigned int nr, nr_shorter;

	while (cpu_stock(c) < READ_ONCE(cpu_marks(c)->low)) {
		first = pcpu_magazine_fetch(c->shard, &nr);
		if (!first)
			return false;
		if (c->nr_spare >= nr) {
			cpu_push_chain(c, first, nr);
			continue;
		}
		/* The longer chain stays whole, the shorter one is joined. */
		shorter = cpu_take_spare(c, &nr_shorter);
		cpu_put_spare(c, first, nr);
		if (shorter)
			cpu_push_chain(c, shorter, nr_shorter);
	}
	return true;
}

/* With busy set: is there nothing in any place where get_slow() would look? */
static __always_inline bool nothing_left(const struct pcpu_magazine_cpu *c,
					 const struct pcpu_magazine_shard *shard)
{
	const struct pcpu_magazine_pool *pool;

	if (c->nr || c->nr_spare || !llist_empty(&c->nested) || !shard || has_chains(shard))
		return false;
	pool = shard->pool;
	return !atomic_long_read(&pool->nr_reclaimable) && !READ_ONCE(pool->reserve);
}

/* With busy set, which is clear on return. A miss is not to cost a search. */
static noinline notrace struct llist_node *get_nothing(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine_shard *shard = c->shard;

	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_SLOW);
	/* The next object that is given is taken at once. */
	c->mark = 0;
	count_miss(c, shard);
	shard->pool->ops->kick(shard);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_KICKED);
	pcpu_magazine_leave(c);
	return NULL;
}

/*
 * With busy set, which is clear on return. The refill is asked for before busy
 * is cleared: from then on whoever comes between finds it under way.
 */
static noinline notrace struct llist_node *get_slow(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine_shard *shard = READ_ONCE(c->shard);
	struct llist_node *obj = NULL;
	bool is_short;

	if (unlikely(!shard))
		goto out;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_SLOW);
	cpu_look_after_spare(c);
	cpu_take_nested(c);
	if (!c->nr)
		cpu_reload(c);
	if (c->nr) {
		obj = c->loaded;
		c->loaded = obj->next;
		c->nr--;
	}
	/* Who got nothing has just looked everywhere. */
	is_short = !obj || !cpu_top_up(c);
	pcpu_magazine_cpu_set_marks(c, is_short);
	if (is_short || pcpu_magazine_is_low(shard))
		shard->pool->ops->kick(shard);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_KICKED);
out:
	pcpu_magazine_leave(c);
	return obj;
}

/* What an interrupt or NMI finds that came inside another's critical section. */
static noinline notrace struct llist_node *get_nested(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine_shard *shard = READ_ONCE(c->shard);
	struct llist_node *list;
	unsigned int nr;

	if (unlikely(!shard))
		return NULL;
	pcpu_magazine_event(shard, PCPU_MAGAZINE_NESTED_GET, 1);
	list = nested_cut(c, 1, &nr);
	if (list)
		return list;
	list = xchg(&c->spare, NULL) ?: pcpu_magazine_fetch(shard, &nr) ?: last_resort(c, &nr);
	if (!list || pcpu_magazine_is_low(shard))
		shard->pool->ops->kick(shard);
	if (list && list->next)
		nested_put_back(c, list->next);
	return list;
}

/**
 * pcpu_magazine_get() - take an object
 * @cpus: per-CPU part of a pool
 *
 * Context: Any, NMI included. Walks over no more than a low watermark and two
 *	batches, looks at no more depots than have something, and at no other CPU.
 * Return: An object, or NULL when this CPU, all depots,
 * &pcpu_magazine_ops.reclaim and the reserve have none, or the pool is not
 * published. The content is what the last user left but for the
 * &struct llist_node at its start.
 */
notrace struct llist_node *pcpu_magazine_get(struct pcpu_magazine_cpu __percpu *cpus)
{
	struct pcpu_magazine_cpu *c;
	struct llist_node *obj;

	preempt_disable_notrace();
	c = raw_cpu_ptr(cpus);
	if (pcpu_magazine_is_busy(c)) {
		obj = get_nested(c);
	} else {
		pcpu_magazine_enter(c);
		pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET);
		if (c->nr > c->mark)
			obj = pcpu_magazine_pop(c);
		else if (unlikely(nothing_left(c, READ_ONCE(c->shard))))
			obj = get_nothing(c);
		else
			obj = get_slow(c);
	}
	preempt_enable_notrace();
	return obj;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_get);

/**
 * pcpu_magazine_hold() - have this CPU hold something, if there is any
 * @pool: the pool
 *
 * What lies in a depot another CPU, which has seen it too, could take first.
 *
 * Context: Task context. Looks at no more depots than have something.
 * Return: false if neither this CPU nor a depot has any.
 */
bool pcpu_magazine_hold(struct pcpu_magazine_pool *pool)
{
	struct llist_node *first = NULL;
	struct pcpu_magazine_cpu *c;
	unsigned int nr;
	bool some;

	preempt_disable();
	c = raw_cpu_ptr(pool->cpus);
	pcpu_magazine_enter(c);
	cpu_look_after_spare(c);
	some = c->nr || READ_ONCE(c->spare) || !llist_empty(&c->nested);
	if (!some)
		first = pcpu_magazine_fetch(c->shard, &nr) ?:
			pcpu_magazine_fetch_far(c->shard, &nr);
	if (first) {
		c->loaded = first;
		c->nr = nr;
		pcpu_magazine_cpu_set_marks(c, false);
		if (pcpu_magazine_is_low(c->shard))
			c->shard->pool->ops->kick(c->shard);
	}
	pcpu_magazine_leave(c);
	preempt_enable();
	return some || first;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_hold);

/* Giving */

/* Stock is at the high watermark: give a batch away. */
static void notrace cpu_give_batch(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first;
	unsigned int nr;

	if (c->nr_spare)
		first = cpu_take_spare(c, &nr);
	else
		first = cpu_cut_batch(c, &nr);
	if (!first)
		return;
	pcpu_magazine_event(c->shard, PCPU_MAGAZINE_RETURNED, 1);
	pcpu_magazine_hand_over(c->shard, first, nr);
}

/* Make room for one more object. */
static void notrace cpu_make_room(struct pcpu_magazine_cpu *c)
{
	const struct pcpu_magazine_marks *marks = cpu_marks(c);
	struct llist_node *list;
	unsigned int nr;

	while (cpu_stock(c) >= READ_ONCE(marks->high))
		cpu_give_batch(c);
	if (!c->nr_spare && c->nr >= marks->batch) {
		list = cpu_cut_batch(c, &nr);
		cpu_put_spare(c, list, nr);
	}
}

/* With busy set, which is clear on return. */
static void notrace put_slow(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT_SLOW);
	if (unlikely(!READ_ONCE(c->shard))) {
		pcpu_magazine_list_add(&c->nested, obj, obj);
		pcpu_magazine_leave(c);
		return;
	}
	cpu_look_after_spare(c);
	cpu_take_nested(c);
	cpu_make_room(c);
	obj->next = c->loaded;
	c->loaded = obj;
	c->nr++;
	pcpu_magazine_cpu_set_marks(c, false);
	pcpu_magazine_leave(c);
}

/*
 * In an interrupt or NMI that came inside another's critical section. The
 * object stays on the nested list until the CPU needs it or makes room.
 */
static void notrace put_nested(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	struct pcpu_magazine_shard *shard = READ_ONCE(c->shard);

	if (likely(shard))
		pcpu_magazine_event(shard, PCPU_MAGAZINE_NESTED_PUT, 1);
	pcpu_magazine_list_add(&c->nested, obj, obj);
	/*
	 * The next put looks after the list. A slow path that was interrupted
	 * does not undo this: see pcpu_magazine_cpu_set_marks().
	 */
	WRITE_ONCE(c->full, 0);
}

/**
 * pcpu_magazine_put() - give an object back, to be handed out again at once
 * @cpus: per-CPU part of a pool; until that is published an object stays on
 *	&pcpu_magazine_cpu.nested
 * @obj: the object; its first word is overwritten
 *
 * Context: Any, NMI included. Walks over no more than three batches, but once
 *	after the high watermark was lowered, or if a nested context gave more.
 */
void notrace pcpu_magazine_put(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj)
{
	struct pcpu_magazine_cpu *c;

	preempt_disable_notrace();
	c = raw_cpu_ptr(cpus);
	if (pcpu_magazine_is_busy(c)) {
		put_nested(c, obj);
	} else {
		pcpu_magazine_enter(c);
		pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT);
		if (c->nr < c->full)
			pcpu_magazine_push(c, obj);
		else
			put_slow(c, obj);
	}
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put);
