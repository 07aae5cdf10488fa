// SPDX-License-Identifier: GPL-2.0-only
/*
 * Per-CPU magazines of free objects over a shared depot, for any context.
 *
 * Where an object can be:
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
 *	  shared        +----|--v-------------------------------|----v---+
 *	                |  depot: slots, each empty or one chain         |
 *	                +----^--|----------------------------------------+
 *	             refill, |  | no slot free
 *	             restock |  v
 *	  user          alloc_bulk()   overflow()      scavenge(), deferred list
 *
 * There is no lock. Loaded chains are owned by whoever set ->busy, see
 * struct pcpu_magazine_cpu; slots (the spare chain of a CPU is one) and lists
 * change by single atomic instructions, and always hand over a whole chain or
 * list, so no pointer that was read earlier is ever compared (no ABA).
 *
 * A chain that a slot holds is private to whoever exchanged it out. A nested
 * context that comes while a list or chain is in the hands of the context
 * that it interrupted does not see those objects; it sees everything else.
 *
 * All functions that pcpu_magazine_get() and pcpu_magazine_put() can reach are
 * notrace: a program that traces them must not be able to call itself.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/pcpu_magazine.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>

static_assert(sizeof(struct pcpu_magazine_cpu) == 64);

/*
 * Objects are at least word aligned, so the lowest bits of a slot are free for
 * a tag. If it is the one that goes with the batch of now, the chain is exactly
 * that long. Else it is the rest of something, or older than the last change of
 * the batch, and is counted when it is taken.
 */
#define TAG_BITS	2
#define SLOT_TAG	((1UL << TAG_BITS) - 1)

/* Objects that one call of alloc_bulk() asks for: an array on the stack. */
#define BULK		64U

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

static unsigned int notrace chain_count(const struct llist_node *first)
{
	unsigned int nr = 0;

	for (; first; first = first->next)
		nr++;
	return nr;
}

/* The last of the first @nr nodes, or of the chain if that is shorter. */
static notrace struct llist_node *chain_nth(struct llist_node *first, unsigned int nr)
{
	while (--nr && first->next)
		first = first->next;
	return first;
}

/* @more, if it is one, and @list behind it. */
static struct llist_node *chain_join(struct llist_node *list, struct llist_node *more)
{
	if (!more)
		return list;
	chain_nth(more, UINT_MAX)->next = list;
	return more;
}

/* One part of the depot */

static struct pcpu_magazine_depot *part_alloc(unsigned int nr, gfp_t gfp)
{
	struct pcpu_magazine_depot *part = kzalloc(struct_size(part, slots, nr), gfp);

	if (part)
		part->nr = nr;
	return part;
}

static void part_append(struct pcpu_magazine_depot **head, struct pcpu_magazine_depot *part)
{
	/* Publishes the slots. Whoever loses the race goes on behind the winner. */
	while (cmpxchg(head, NULL, part))
		head = &(*head)->next;
}

static void parts_free(struct pcpu_magazine_depot *part)
{
	struct pcpu_magazine_depot *next;

	for (; part; part = next) {
		next = part->next;
		kfree(part);
	}
}

/* Slots are filled from the first on, so the level is a good guess where to look. */

static unsigned long notrace part_get(struct pcpu_magazine_depot *part)
{
	unsigned int n, i = min_t(unsigned int, atomic_read(&part->level), part->nr);
	unsigned long slot;

	if (!i)
		return 0;
	for (n = part->nr; n; n--) {
		i = (i ?: part->nr) - 1;
		if (!READ_ONCE(part->slots[i]))
			continue;
		slot = xchg(&part->slots[i], 0);
		if (!slot)
			continue;
		atomic_dec(&part->level);
		return slot;
	}
	return 0;
}

static bool notrace part_put(struct pcpu_magazine_depot *part, unsigned long slot)
{
	unsigned int n, i = atomic_read(&part->level);

	if (i >= part->nr)
		return false;
	atomic_inc(&part->level);
	for (n = part->nr; n; n--, i++) {
		if (i == part->nr)
			i = 0;
		/* cmpxchg() orders the links of the chain before its publication. */
		if (!READ_ONCE(part->slots[i]) && !cmpxchg(&part->slots[i], 0, slot))
			return true;
	}
	atomic_dec(&part->level);
	return false;
}

/* What a slot holds. Packed and published with preemption off: see retag(). */

static unsigned long notrace slot_pack(struct pcpu_magazine *mag, struct llist_node *first,
				       unsigned int nr)
{
	unsigned int batch_tag = READ_ONCE(mag->batch_tag);

	return (unsigned long)first |
	       (nr == batch_tag >> TAG_BITS ? batch_tag & SLOT_TAG : 0);
}

static notrace struct llist_node *slot_unpack(struct pcpu_magazine *mag, unsigned long slot,
					      unsigned int *nr)
{
	struct llist_node *first = (struct llist_node *)(slot & ~SLOT_TAG);
	unsigned int batch_tag = READ_ONCE(mag->batch_tag);

	if ((slot & SLOT_TAG) == (batch_tag & SLOT_TAG))
		*nr = batch_tag >> TAG_BITS;
	else
		*nr = chain_count(first);
	return first;
}

/* The depot */

static unsigned int notrace depot_level(struct pcpu_magazine *mag)
{
	return atomic_read(&mag->nr_chains);
}

static notrace struct llist_node *depot_get(struct pcpu_magazine *mag, unsigned int *nr)
{
	struct pcpu_magazine_depot *part;
	unsigned long slot;

	if (!depot_level(mag))
		return NULL;
	for (part = READ_ONCE(mag->depot); part; part = READ_ONCE(part->next)) {
		slot = part_get(part);
		if (!slot)
			continue;
		atomic_dec(&mag->nr_chains);
		return slot_unpack(mag, slot, nr);
	}
	return NULL;
}

static bool notrace depot_put(struct pcpu_magazine *mag, struct llist_node *first,
			      unsigned int nr)
{
	struct pcpu_magazine_depot *part;
	unsigned long slot;
	bool done = false;

	preempt_disable_notrace();
	slot = slot_pack(mag, first, nr);
	atomic_inc(&mag->nr_chains);
	for (part = READ_ONCE(mag->depot); part && !done; part = READ_ONCE(part->next))
		done = part_put(part, slot);
	if (!done)
		atomic_dec(&mag->nr_chains);
	preempt_enable_notrace();
	return done;
}

/* Below this a refill is asked for: not each time that one batch is gone. */
static bool notrace depot_is_low(struct pcpu_magazine *mag)
{
	return depot_level(mag) < (READ_ONCE(mag->target) + 1) / 2;
}

/*
 * Make room for @nr chains as far as memory allows. Two that do this at once
 * may make more room than either wanted.
 */
static void depot_grow(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp)
{
	struct pcpu_magazine_depot *part;
	unsigned int slots = READ_ONCE(mag->nr_slots);

	if (slots >= nr)
		return;
	part = part_alloc(nr - slots, gfp | __GFP_NOWARN);
	if (!part)
		return;
	part_append(&mag->depot, part);
	WRITE_ONCE(mag->nr_slots, slots + part->nr);
}

/* The reserve: a slot, an object. What is left when all else is gone. */

static notrace struct llist_node *reserve_get(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_depot *part;
	unsigned long slot;

	for (part = READ_ONCE(mag->reserve); part; part = READ_ONCE(part->next)) {
		slot = part_get(part);
		if (slot)
			return (struct llist_node *)slot;
	}
	return NULL;
}

static bool reserve_put(struct pcpu_magazine *mag, struct llist_node *obj)
{
	struct pcpu_magazine_depot *part;

	obj->next = NULL;
	for (part = READ_ONCE(mag->reserve); part; part = READ_ONCE(part->next)) {
		if (part_put(part, (unsigned long)obj))
			return true;
	}
	return false;
}

static unsigned int notrace reserve_level(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_depot *part;
	unsigned int level = 0;

	for (part = READ_ONCE(mag->reserve); part; part = READ_ONCE(part->next))
		level += atomic_read(&part->level);
	return level;
}

static unsigned int reserve_size(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_depot *part;
	unsigned int size = 0;

	for (part = READ_ONCE(mag->reserve); part; part = READ_ONCE(part->next))
		size += part->nr;
	return size;
}

static bool notrace reserve_is_short(struct pcpu_magazine *mag)
{
	return unlikely(READ_ONCE(mag->nr_reserved)) &&
	       reserve_level(mag) < READ_ONCE(mag->nr_reserved);
}

/**
 * pcpu_magazine_is_low() - is a refill due?
 * @mag: the pool
 *
 * Context: Any.
 * Return: true if the depot is below half of its target or the reserve is not
 *	full.
 */
bool notrace pcpu_magazine_is_low(struct pcpu_magazine *mag)
{
	return depot_is_low(mag) || reserve_is_short(mag);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_is_low);

/* Events */

static void notrace count_event(struct pcpu_magazine *mag, enum pcpu_magazine_event event)
{
	atomic_long_inc(&mag->events[event]);
}

static enum pcpu_magazine_event notrace miss_event(void)
{
	if (in_nmi())
		return PCPU_MAGAZINE_MISS_NMI;
	if (in_hardirq())
		return PCPU_MAGAZINE_MISS_HARDIRQ;
	return in_serving_softirq() ? PCPU_MAGAZINE_MISS_SOFTIRQ : PCPU_MAGAZINE_MISS_TASK;
}

/* A CPU's own chains: the caller has set busy. */

static unsigned int notrace cpu_stock(struct pcpu_magazine_cpu *c)
{
	return c->nr + c->nr_spare;
}

static void notrace cpu_push_chain(struct pcpu_magazine_cpu *c, struct llist_node *first,
				   unsigned int nr)
{
	/* In this order a count of objects in use errs towards more. */
	atomic_long_add(nr, &c->mag->nr_out);
	smp_mb__after_atomic();	/* before c->nr: pairs with pcpu_magazine_used() */
	chain_nth(first, nr)->next = c->loaded;
	c->loaded = first;
	c->nr += nr;
}

/* Cut a batch off the front of the loaded chain; O(1) if it is exactly that. */
static notrace struct llist_node *cpu_cut_batch(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct llist_node *first = c->loaded, *last;

	*nr = min(READ_ONCE(c->mag->marks.batch), c->nr);
	if (c->nr == *nr) {
		c->loaded = NULL;
	} else {
		last = chain_nth(first, *nr);
		c->loaded = last->next;
		last->next = NULL;
	}
	c->nr -= *nr;
	smp_mb__before_atomic();	/* as in cpu_push_chain() */
	atomic_long_sub(*nr, &c->mag->nr_out);
	return first;
}

/* Only this CPU fills its spare slot, so it stays empty until it does. */
static void notrace cpu_put_spare(struct pcpu_magazine_cpu *c, struct llist_node *first,
				  unsigned int nr)
{
	c->nr_spare = nr;
	/* The links before the publication: pairs with the xchg() of a taker. */
	smp_store_release(&c->spare, slot_pack(c->mag, first, nr));
}

/* The spare chain, or NULL if there is none or another has been quicker. */
static notrace struct llist_node *cpu_take_spare(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	unsigned long slot = xchg(&c->spare, 0);

	*nr = c->nr_spare;
	c->nr_spare = 0;
	return (struct llist_node *)(slot & ~SLOT_TAG);
}

/* Who is out of everything may have taken the spare chain. */
static void notrace cpu_look_after_spare(struct pcpu_magazine_cpu *c)
{
	if (c->nr_spare && !READ_ONCE(c->spare))
		c->nr_spare = 0;
}

/*
 * When is the next look at the stock due? Fast paths run while
 * mark < nr (get) and nr < full (put).
 *
 * A CPU that is short has asked for a refill. It asks again when half of what
 * it has is gone, in case the first one found no memory, and when it is empty.
 */
static void notrace cpu_set_marks(struct pcpu_magazine_cpu *c, bool is_short)
{
	const struct pcpu_magazine_marks *marks = &c->mag->marks;
	unsigned int low = READ_ONCE(marks->low), high = READ_ONCE(marks->high);
	unsigned int batch = READ_ONCE(marks->batch);

	if (is_short)
		c->mark = c->nr_spare ? 0 : c->nr / 2;
	else
		c->mark = low > c->nr_spare ? low - c->nr_spare : 0;
	if (!c->nr_spare && c->nr <= batch)
		c->full = batch;
	else
		c->full = high > c->nr_spare ? high - c->nr_spare : 0;
}

/*
 * What CPUs have put aside, this one or another, is open to who has nothing
 * else. No call here that a program could trace, so no iterator of cpumask.h.
 */
static notrace struct llist_node *steal(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_cpu *c;
	struct llist_node *list;
	unsigned long slot;
	unsigned int cpu;

	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		if (!cpu_possible(cpu))
			continue;
		c = per_cpu_ptr(mag->cpus, cpu);
		slot = READ_ONCE(c->spare) ? xchg(&c->spare, 0) : 0;
		list = (struct llist_node *)(slot & ~SLOT_TAG);
		if (!list && !llist_empty(&c->nested))
			list = llist_del_all(&c->nested);
		if (list)
			return list;
	}
	return NULL;
}

/* What is left when neither this CPU nor the depot has anything. */
static notrace struct llist_node *last_resort(struct pcpu_magazine *mag)
{
	enum pcpu_magazine_event event = PCPU_MAGAZINE_SCAVENGED;
	struct llist_node *list = NULL;

	if (mag->ops->scavenge)
		list = mag->ops->scavenge(mag);
	if (!list) {
		event = PCPU_MAGAZINE_STOLEN;
		list = steal(mag);
	}
	if (!list) {
		event = PCPU_MAGAZINE_RESERVE;
		list = reserve_get(mag);
	}
	if (!list) {
		event = miss_event();
		atomic_inc(&mag->missed);
	}
	count_event(mag, event);
	return list;
}

/* A batch from the depot for this CPU. */
static notrace struct llist_node *cpu_fetch(struct pcpu_magazine_cpu *c, unsigned int *nr)
{
	struct llist_node *first = depot_get(c->mag, nr);

	if (first)
		c->nr_fetched++;
	return first;
}

/* The loaded chain is empty: put any other stock in its place. */
static void notrace cpu_reload(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first = NULL;
	unsigned int nr;

	if (c->nr_spare)
		first = cpu_take_spare(c, &nr);
	if (!first) {
		first = llist_del_all(&c->nested);
		nr = chain_count(first);
	}
	if (!first)
		first = cpu_fetch(c, &nr);
	if (!first) {
		first = last_resort(c->mag);
		nr = chain_count(first);
	}
	if (!first)
		return;
	atomic_long_add(nr, &c->mag->nr_out);
	smp_mb__after_atomic();	/* as in cpu_push_chain() */
	c->loaded = first;
	c->nr = nr;
}

/* Bring the stock to the low watermark, from the depot. False: it is empty. */
static bool notrace cpu_top_up(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first, *shorter;
	unsigned int nr, nr_shorter;

	while (cpu_stock(c) < READ_ONCE(c->mag->marks.low)) {
		first = cpu_fetch(c, &nr);
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

static void notrace hand_over(struct pcpu_magazine *mag, struct llist_node *first,
			      unsigned int nr)
{
	if (!depot_put(mag, first, nr))
		mag->ops->overflow(mag, first, chain_nth(first, nr));
}

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
	c->nr_returned++;
	hand_over(c->mag, first, nr);
}

/* Make room for one more object, and look after what nested contexts gave. */
static void notrace cpu_make_room(struct pcpu_magazine_cpu *c)
{
	const struct pcpu_magazine_marks *marks = &c->mag->marks;
	struct llist_node *list = llist_del_all(&c->nested);
	unsigned int nr;

	if (unlikely(list))
		cpu_push_chain(c, list, chain_count(list));
	while (cpu_stock(c) >= READ_ONCE(marks->high))
		cpu_give_batch(c);
	if (!c->nr_spare && c->nr >= READ_ONCE(marks->batch)) {
		list = cpu_cut_batch(c, &nr);
		cpu_put_spare(c, list, nr);
	}
}

/*
 * With busy set, which is clear on return. The refill is asked for before busy
 * is cleared: from then on whoever comes between finds it under way.
 */
static notrace struct llist_node *get_slow(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = READ_ONCE(c->mag);
	struct llist_node *obj = NULL;
	bool is_short;

	if (unlikely(!mag))
		goto out;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_SLOW);
	cpu_look_after_spare(c);
	if (!c->nr)
		cpu_reload(c);
	if (c->nr) {
		obj = c->loaded;
		c->loaded = obj->next;
		c->nr--;
	}
	is_short = !cpu_top_up(c);
	cpu_set_marks(c, is_short);
	if (is_short)
		atomic_inc(&mag->wanted);
	if (is_short || pcpu_magazine_is_low(mag))
		mag->ops->kick(mag);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_KICKED);
out:
	pcpu_magazine_leave(c);
	return obj;
}

/* Put back what was not used of a nested list that was taken whole. */
static void notrace nested_put_list(struct pcpu_magazine_cpu *c, struct llist_node *list)
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

/* In an interrupt or NMI that came inside another's critical section. */
static notrace struct llist_node *get_nested(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = READ_ONCE(c->mag);
	struct llist_node *list;
	unsigned int nr;

	if (unlikely(!mag))
		return NULL;
	count_event(mag, PCPU_MAGAZINE_NESTED_GET);
	list = llist_del_all(&c->nested);
	if (!list) {
		list = depot_get(mag, &nr);
		if (!list) {
			list = last_resort(mag);
			atomic_inc(&mag->wanted);
		}
		if (!list || pcpu_magazine_is_low(mag))
			mag->ops->kick(mag);
		if (!list)
			return NULL;
	}
	atomic_long_inc(&mag->nr_out);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_NESTED);
	if (list->next)
		nested_put_list(c, list->next);
	return list;
}

/**
 * pcpu_magazine_get() - take an object
 * @cpus: per-CPU part of a pool
 *
 * Context: Any, NMI included.
 * Return: An object, or NULL when this CPU, the depot,
 *	&pcpu_magazine_ops.scavenge, what other CPUs have put aside, and the
 *	reserve have none, or the pool is not initialised. The content is what
 *	the last user left but for the &struct llist_node at its start.
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
		obj = c->nr > c->mark ? pcpu_magazine_pop(c) : get_slow(c);
	}
	preempt_enable_notrace();
	return obj;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_get);

/* With busy set, which is clear on return. False: there is no pool. */
static bool notrace put_slow(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT_SLOW);
	if (unlikely(!READ_ONCE(c->mag))) {
		pcpu_magazine_list_add(&c->nested, obj, obj);
		pcpu_magazine_leave(c);
		return false;
	}
	cpu_look_after_spare(c);
	cpu_make_room(c);
	obj->next = c->loaded;
	c->loaded = obj;
	c->nr++;
	cpu_set_marks(c, false);
	pcpu_magazine_leave(c);
	return true;
}

/*
 * In an interrupt or NMI that came inside another's critical section. The
 * object stays on the nested list until the CPU needs it or makes room. False:
 * there is no pool.
 */
static bool notrace put_nested(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	struct pcpu_magazine *mag = READ_ONCE(c->mag);

	if (likely(mag)) {
		count_event(mag, PCPU_MAGAZINE_NESTED_PUT);
		atomic_long_dec(&mag->nr_out);
	}
	pcpu_magazine_list_add(&c->nested, obj, obj);
	/*
	 * The next put looks after the list. A slow path that was interrupted
	 * may undo this; then the next nested put says it again.
	 */
	WRITE_ONCE(c->full, 0);
	return mag;
}

/**
 * pcpu_magazine_put() - give an object back, to be handed out again at once
 * @cpus: per-CPU part of a pool
 * @obj: the object; its first word is overwritten
 *
 * Context: Any, NMI included.
 * Return: false if the pool is not initialised: the object is kept until it
 *	is, or until pcpu_magazine_take_early().
 */
bool notrace pcpu_magazine_put(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj)
{
	struct pcpu_magazine_cpu *c;
	bool has_pool = true;

	preempt_disable_notrace();
	c = raw_cpu_ptr(cpus);
	if (pcpu_magazine_is_busy(c)) {
		has_pool = put_nested(c, obj);
	} else {
		pcpu_magazine_enter(c);
		pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT);
		if (c->nr < c->full)
			pcpu_magazine_push(c, obj);
		else
			has_pool = put_slow(c, obj);
	}
	preempt_enable_notrace();
	return has_pool;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put);

/* Refill and restock: these run where the user decides, on any CPU. */

/* A list of any length, in batches. */
static void hand_over_list(struct pcpu_magazine *mag, struct llist_node *list)
{
	list = pcpu_magazine_restock(mag, list);
	if (list)
		mag->ops->overflow(mag, list, chain_nth(list, UINT_MAX));
}

/*
 * Get up to @nr objects from the user and link them. Stops at the first call
 * that brings less than it was asked for.
 */
static struct llist_node *alloc_chain(struct pcpu_magazine *mag, gfp_t gfp,
				      unsigned int nr, unsigned int *got)
{
	struct llist_node *first = NULL, *obj;
	void *objs[BULK] __uninitialized;
	unsigned int ask, came, i;

	*got = 0;
	do {
		ask = min_t(unsigned int, nr - *got, BULK);
		came = mag->ops->alloc_bulk(mag, gfp, ask, objs);
		for (i = came; i--;) {
			obj = objs[i];
			obj->next = first;
			first = obj;
		}
		*got += came;
	} while (came == ask && *got < nr);
	return first;
}

static unsigned int add_chain(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp)
{
	struct llist_node *first;
	unsigned int got;

	first = alloc_chain(mag, gfp, nr, &got);
	atomic_long_add(got, &mag->events[PCPU_MAGAZINE_NEW]);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_REFILL);
	if (first)
		hand_over(mag, first, got);
	return got;
}

/**
 * pcpu_magazine_prefill() - put first objects into the depot
 * @mag: the pool
 * @nr: objects, no more than the depot has room for
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * In two chains at least: while the first context has one in its hands, one
 * that interrupts it finds the other.
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp.
 * Return: Objects added.
 */
unsigned int pcpu_magazine_prefill(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp)
{
	struct llist_node *first, *middle;
	unsigned int got;

	first = alloc_chain(mag, gfp, nr, &got);
	atomic_long_add(got, &mag->events[PCPU_MAGAZINE_NEW]);
	if (got > 1 && got <= mag->marks.batch) {
		middle = chain_nth(first, got / 2);
		hand_over(mag, middle->next, got - got / 2);
		middle->next = NULL;
		hand_over(mag, first, got / 2);
	} else {
		hand_over_list(mag, first);
	}
	return got;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_prefill);

/*
 * Let the target follow demand. Who got nothing is proof of it: next time as
 * many are there. A refill on the heels of another doubles the target, up to a
 * bound that costs little.
 */
static void follow_demand(struct pcpu_magazine *mag, unsigned int missed)
{
	const struct pcpu_magazine_marks *marks = &mag->marks;
	unsigned int target = READ_ONCE(mag->target), next = target;
	unsigned long now = jiffies;

	if (missed || now - READ_ONCE(mag->refilled) <= 1)
		next = max(target, min(2 * target, marks->busy_target));
	if (missed) {
		next = max(next, target + DIV_ROUND_UP(missed, marks->batch));
		next = max(target, min(next, marks->limit));
	}
	WRITE_ONCE(mag->refilled, now);
	if (next != target)
		WRITE_ONCE(mag->target, next);
}

/* Fill the reserve, from the depot if need be. False: there is not enough. */
static bool fill_reserve(struct pcpu_magazine *mag, gfp_t gfp)
{
	unsigned int nr, got, level = reserve_level(mag);
	unsigned int want = READ_ONCE(mag->nr_reserved);
	struct llist_node *list, *next;

	while (level < want) {
		list = depot_get(mag, &nr);
		if (!list)
			list = alloc_chain(mag, gfp, min(want - level, BULK), &got);
		if (!list)
			return false;
		for (; list && level < want; list = next, level++) {
			next = list->next;
			if (!reserve_put(mag, list)) {
				/* Somebody else has filled it. */
				list->next = next;
				want = level;
				break;
			}
		}
		hand_over_list(mag, list);
	}
	return true;
}

/* Refills that run at a time may forget each other's. */
static void note_peak(struct pcpu_magazine *mag)
{
	unsigned int level = depot_level(mag);

	if (level > READ_ONCE(mag->peak))
		WRITE_ONCE(mag->peak, level);
}

/**
 * pcpu_magazine_refill() - bring the depot to its target
 * @mag: the pool
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * The reserve first. Then the target, and one batch for each CPU that found
 * the depot empty since the last refill. Stops early when no more objects are
 * to be had.
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp; may run on several
 *	CPUs at a time.
 * Return: Objects added.
 */
unsigned int pcpu_magazine_refill(struct pcpu_magazine *mag, gfp_t gfp)
{
	unsigned int batch = READ_ONCE(mag->marks.batch);
	unsigned int goal, got, total = 0;

	count_event(mag, PCPU_MAGAZINE_REFILLS);
	follow_demand(mag, atomic_xchg(&mag->missed, 0));
	goal = READ_ONCE(mag->target) + atomic_xchg(&mag->wanted, 0);
	depot_grow(mag, READ_ONCE(mag->target), gfp);
	goal = min(goal, READ_ONCE(mag->nr_slots));
	if (reserve_is_short(mag) && !fill_reserve(mag, gfp))
		return 0;
	while (depot_level(mag) < goal) {
		got = add_chain(mag, batch, gfp);
		total += got;
		if (got < batch)
			break;
	}
	note_peak(mag);
	return total;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_refill);

/**
 * pcpu_magazine_prepare() - see to it that this CPU can take an object
 * @mag: the pool
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * For callers that may sleep now and not later: if the next object is one that
 * would ask for a refill, this is that refill.
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp. If the caller
 *	migrates afterwards it finds what is in the depot.
 */
void pcpu_magazine_prepare(struct pcpu_magazine *mag, gfp_t gfp)
{
	struct pcpu_magazine_cpu *c = raw_cpu_ptr(mag->cpus);

	/* A hint: the CPU may change them now, or be another one. */
	if (data_race(c->nr) > data_race(c->mark) ||
	    depot_level(mag) > (READ_ONCE(mag->target) + 1) / 2)
		return;
	/* One batch more than the target, which the next object will take. */
	atomic_inc(&mag->wanted);
	pcpu_magazine_refill(mag, gfp);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_prepare);

/**
 * pcpu_magazine_reserve() - hold back objects for when there is nothing else
 * @mag: the pool
 * @nr: objects; replaces what was asked for before
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk and for memory of the layer
 *
 * From its return on, @nr calls of pcpu_magazine_get() succeed on any CPUs and
 * in any context, and again after a refill had its turn. What a lower @nr
 * sets free goes to the depot, or to &pcpu_magazine_ops.overflow.
 *
 * Context: Task context. The caller lets one in at a time.
 * Return: 0, or -ENOMEM and everything is as before.
 */
int pcpu_magazine_reserve(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp)
{
	unsigned int old = mag->nr_reserved, size = reserve_size(mag);
	struct pcpu_magazine_depot *part;
	struct llist_node *obj;
	bool filled;

	if (nr > size) {
		part = part_alloc(nr - size, gfp);
		if (!part)
			return -ENOMEM;
		part_append(&mag->reserve, part);
	}
	WRITE_ONCE(mag->nr_reserved, nr);
	filled = fill_reserve(mag, gfp);
	if (!filled)
		WRITE_ONCE(mag->nr_reserved, old);
	while (reserve_level(mag) > mag->nr_reserved) {
		obj = reserve_get(mag);
		if (!obj)
			break;
		hand_over(mag, obj, 1);
	}
	return filled ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_reserve);

/**
 * pcpu_magazine_relax() - let the target fall when demand has gone
 * @mag: the pool
 *
 * To be called now and then; halves the target when no refill came since more
 * than a second.
 *
 * Context: Any.
 * Return: true if the target is still above its lowest.
 */
bool pcpu_magazine_relax(struct pcpu_magazine *mag)
{
	unsigned int target = READ_ONCE(mag->target), least = mag->marks.target;

	if (target > least && time_after(jiffies, READ_ONCE(mag->refilled) + HZ)) {
		target = max(target / 2, least);
		WRITE_ONCE(mag->target, target);
	}
	return target > least;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_relax);

/**
 * pcpu_magazine_trim() - take chains out of the depot
 * @mag: the pool
 * @keep: chains to leave there
 *
 * Context: Any.
 * Return: NULL-terminated chain, or NULL.
 */
struct llist_node *pcpu_magazine_trim(struct pcpu_magazine *mag, unsigned int keep)
{
	struct llist_node *all = NULL, *list;
	unsigned int nr;

	while (depot_level(mag) > keep) {
		list = depot_get(mag, &nr);
		if (!list)
			break;
		chain_nth(list, nr)->next = all;
		all = list;
	}
	return all;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_trim);

/* Give all stock of a CPU to the depot: by that CPU, or when it is dead. */
static void cpu_flush(struct pcpu_magazine_cpu *c)
{
	struct llist_node *list;
	unsigned int nr;

	hand_over_list(c->mag, llist_del_all(&c->nested));
	hand_over_list(c->mag, cpu_take_spare(c, &nr));
	list = c->loaded;
	nr = c->nr;
	c->loaded = NULL;
	c->nr = 0;
	smp_mb__before_atomic();	/* as in cpu_push_chain() */
	atomic_long_sub(nr, &c->mag->nr_out);
	hand_over_list(c->mag, list);
	cpu_set_marks(c, false);
}

/**
 * pcpu_magazine_flush() - move this CPU's stock to the depot
 * @mag: the pool
 *
 * Does nothing if it interrupted somebody who is changing it.
 *
 * Context: Any, preemption disabled.
 */
void pcpu_magazine_flush(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_cpu *c = raw_cpu_ptr(mag->cpus);

	if (pcpu_magazine_is_busy(c))
		return;
	pcpu_magazine_enter(c);
	cpu_flush(c);
	pcpu_magazine_leave(c);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_flush);

/**
 * pcpu_magazine_has_stock() - is there anything that a CPU could flush?
 * @mag: the pool
 * @cpu: the CPU
 *
 * Context: Any.
 * Return: true if so; the CPU may change it at this moment.
 */
bool pcpu_magazine_has_stock(struct pcpu_magazine *mag, unsigned int cpu)
{
	struct pcpu_magazine_cpu *c = per_cpu_ptr(mag->cpus, cpu);

	/* A hint: the CPU may change it now. */
	return data_race(c->nr) || READ_ONCE(c->spare) || !llist_empty(&c->nested);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_has_stock);

/**
 * pcpu_magazine_flush_dead() - move the stock of a dead CPU to the depot
 * @mag: the pool
 * @cpu: the CPU; it was taken offline and stays so during the call
 *
 * Context: Task context.
 */
void pcpu_magazine_flush_dead(struct pcpu_magazine *mag, unsigned int cpu)
{
	cpu_flush(per_cpu_ptr(mag->cpus, cpu));
}
EXPORT_SYMBOL_GPL(pcpu_magazine_flush_dead);

/**
 * pcpu_magazine_restock() - put objects into the depot as far as there is room
 * @mag: the pool
 * @list: NULL-terminated chain of objects that may be handed out at once
 *
 * Context: Any.
 * Return: What found no room, or NULL.
 */
struct llist_node *pcpu_magazine_restock(struct pcpu_magazine *mag,
					 struct llist_node *list)
{
	unsigned int nr, batch = READ_ONCE(mag->marks.batch);
	struct llist_node *last, *rest;

	for (; list; list = rest) {
		last = list;
		for (nr = 1; nr < batch && last->next; nr++)
			last = last->next;
		rest = last->next;
		last->next = NULL;
		if (!depot_put(mag, list, nr)) {
			last->next = rest;
			break;
		}
	}
	return list;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_restock);

/**
 * pcpu_magazine_take_deferred() - collect what waits on all CPUs
 * @mag: the pool
 *
 * Context: Any.
 * Return: NULL-terminated chain, or NULL.
 */
struct llist_node *pcpu_magazine_take_deferred(struct pcpu_magazine *mag)
{
	struct llist_node *all = NULL, *list, *last;
	struct pcpu_magazine_cpu *c;
	long nr;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		if (llist_empty(&c->deferred))
			continue;
		list = llist_del_all(&c->deferred);
		if (!list)
			continue;
		last = list;
		for (nr = 1; last->next; nr++)
			last = last->next;
		atomic_long_sub(nr, &mag->nr_out);
		last->next = all;
		all = list;
	}
	return all;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_take_deferred);

/**
 * pcpu_magazine_take_early() - collect what was given to a pool that never was
 * @cpus: per-CPU part that no pcpu_magazine_init() was called for
 *
 * Context: No other call on @cpus may be under way.
 * Return: NULL-terminated chain, or NULL.
 */
struct llist_node *pcpu_magazine_take_early(struct pcpu_magazine_cpu __percpu *cpus)
{
	struct llist_node *all = NULL;
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(cpus, cpu);
		all = chain_join(all, llist_del_all(&c->nested));
		all = chain_join(all, llist_del_all(&c->deferred));
	}
	return all;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_take_early);

static void cpu_drain(struct pcpu_magazine_cpu *c,
		      void (*release)(struct pcpu_magazine *mag, struct llist_node *list))
{
	struct llist_node *list = c->loaded;
	unsigned int nr;

	/* Most allocators end as they began on most CPUs. */
	if (!list && !c->spare && llist_empty(&c->nested))
		return;
	atomic_long_sub(c->nr, &c->mag->nr_out);
	c->loaded = NULL;
	c->nr = 0;
	if (list)
		release(c->mag, list);
	list = cpu_take_spare(c, &nr);
	if (list)
		release(c->mag, list);
	list = llist_del_all(&c->nested);
	if (list)
		release(c->mag, list);
	cpu_set_marks(c, false);
}

/**
 * pcpu_magazine_drain() - take everything out of a pool that nobody uses
 * @mag: the pool
 * @release: called with NULL-terminated chains, which it then owns
 *
 * Context: No other call on @mag may be under way but pcpu_magazine_restock()
 *	and pcpu_magazine_refill(), whose objects may need another drain.
 */
void pcpu_magazine_drain(struct pcpu_magazine *mag,
			 void (*release)(struct pcpu_magazine *mag,
					 struct llist_node *list))
{
	struct llist_node *list;
	unsigned int nr;
	int cpu;

	for_each_possible_cpu(cpu)
		cpu_drain(per_cpu_ptr(mag->cpus, cpu), release);
	list = pcpu_magazine_take_deferred(mag);
	if (list)
		release(mag, list);
	while ((list = depot_get(mag, &nr)))
		release(mag, list);
	while ((list = reserve_get(mag)))
		release(mag, list);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_drain);

/**
 * pcpu_magazine_stock() - objects that could be handed out
 * @mag: the pool
 *
 * Exact while nobody uses the pool, an estimate otherwise. Nested and deferred
 * lists and the reserve do not count, a chain in the depot counts as one batch.
 *
 * Context: Any.
 * Return: Number of objects.
 */
unsigned int pcpu_magazine_stock(struct pcpu_magazine *mag)
{
	unsigned int nr = depot_level(mag) * READ_ONCE(mag->marks.batch);
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		/* An estimate: their CPU may change them now. */
		nr += data_race(c->nr);
		/* The same. */
		nr += READ_ONCE(c->spare) ? data_race(c->nr_spare) : 0;
	}
	return nr;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_stock);

/**
 * pcpu_magazine_used() - objects in use
 * @mag: the pool
 *
 * Everything that was taken and not given back; deferred objects count as in
 * use until they are collected. Exact while nobody uses the pool. While a CPU
 * exchanges a chain, its objects may count as in use.
 *
 * Context: Any.
 * Return: Number of objects; of little use if objects come from one pool and
 *	are given to another.
 */
long notrace pcpu_magazine_used(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_cpu *c;
	long cached = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		/* May count what its CPU does at this moment, or not. */
		cached += data_race(c->nr);
	}
	/* A chain that comes meanwhile counts as in use, not as stock twice. */
	smp_rmb();
	return atomic_long_read(&mag->nr_out) - cached;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_used);

/**
 * pcpu_magazine_count() - how often something has happened
 * @mag: the pool
 * @event: what
 *
 * What CPUs count on their own is modulo 2^32 for each of them.
 *
 * Context: Any.
 * Return: Number of times, or of objects for PCPU_MAGAZINE_NEW.
 */
unsigned long pcpu_magazine_count(struct pcpu_magazine *mag, enum pcpu_magazine_event event)
{
	unsigned long sum = 0;
	int cpu;

	if (event < PCPU_MAGAZINE_NR_SHARED)
		return atomic_long_read(&mag->events[event]);
	for_each_possible_cpu(cpu) {
		struct pcpu_magazine_cpu *c = per_cpu_ptr(mag->cpus, cpu);

		sum += READ_ONCE(*(event == PCPU_MAGAZINE_FETCHED ? &c->nr_fetched :
								    &c->nr_returned));
	}
	return sum;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_count);

static bool marks_are_sane(const struct pcpu_magazine_marks *marks)
{
	return marks->low && marks->low < marks->high && marks->batch &&
	       marks->batch <= marks->high - marks->low && marks->batch <= U16_MAX &&
	       marks->target && marks->target <= marks->slots;
}

static void set_batch(struct pcpu_magazine *mag, unsigned int batch, unsigned long tag)
{
	WRITE_ONCE(mag->marks.batch, batch);
	WRITE_ONCE(mag->batch_tag, batch << TAG_BITS | tag);
}

static unsigned long depot_take_slot(struct pcpu_magazine *mag)
{
	struct pcpu_magazine_depot *part;
	unsigned long slot;

	for (part = READ_ONCE(mag->depot); part; part = READ_ONCE(part->next)) {
		slot = part_get(part);
		if (slot) {
			atomic_dec(&mag->nr_chains);
			return slot;
		}
	}
	return 0;
}

/*
 * Cut all chains anew that lie in slots, so that nothing carries the tag of
 * the batch before. It will be used again.
 */
static void retag(struct pcpu_magazine *mag)
{
	struct llist_node *all = NULL;
	unsigned long slot;
	int cpu;

	/* Who has packed a slot with the old tag has published it by now. */
	synchronize_rcu();
	for_each_possible_cpu(cpu) {
		slot = xchg(&per_cpu_ptr(mag->cpus, cpu)->spare, 0);
		hand_over_list(mag, (struct llist_node *)(slot & ~SLOT_TAG));
	}
	while ((slot = depot_take_slot(mag)))
		all = chain_join(all, (struct llist_node *)(slot & ~SLOT_TAG));
	hand_over_list(mag, all);
}

/**
 * pcpu_magazine_set_marks() - change the watermarks of a pool in use
 * @mag: the pool
 * @marks: as for pcpu_magazine_init(); &pcpu_magazine_marks.slots stays as it is
 *
 * A CPU follows when it next looks at its stock, which pcpu_magazine_flush()
 * makes it do.
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0, or -EINVAL for watermarks out of order and nothing has changed.
 */
int pcpu_magazine_set_marks(struct pcpu_magazine *mag, const struct pcpu_magazine_marks *marks)
{
	unsigned long tag = mag->batch_tag & SLOT_TAG;

	if (!marks_are_sane(marks))
		return -EINVAL;
	WRITE_ONCE(mag->marks.low, marks->low);
	WRITE_ONCE(mag->marks.high, marks->high);
	WRITE_ONCE(mag->marks.target, marks->target);
	WRITE_ONCE(mag->marks.busy_target, marks->busy_target);
	WRITE_ONCE(mag->marks.limit, marks->limit);
	WRITE_ONCE(mag->target, marks->target);
	if (marks->batch != mag->marks.batch) {
		/* 1, 2, 3, 1 and so on: 0 is for what has to be counted. */
		set_batch(mag, marks->batch, tag % SLOT_TAG + 1);
		retag(mag);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_set_marks);

/**
 * pcpu_magazine_init() - make a pool, empty at first
 * @mag: the shared part
 * @cpus: the per-CPU part, all zero but for objects that were given already
 * @ops: callbacks; &pcpu_magazine_ops.scavenge may be NULL
 * @marks: watermarks: 0 < low < high, 0 < batch <= high - low,
 *	0 < target <= slots
 *
 * Others may call pcpu_magazine_get() and pcpu_magazine_put() meanwhile, and
 * the callbacks be called before this returns.
 *
 * Context: Task context, may sleep.
 * Return: 0, -EINVAL for watermarks out of order, -ENOMEM.
 */
int pcpu_magazine_init(struct pcpu_magazine *mag,
		       struct pcpu_magazine_cpu __percpu *cpus,
		       const struct pcpu_magazine_ops *ops,
		       const struct pcpu_magazine_marks *marks)
{
	struct pcpu_magazine_cpu *c;
	int cpu;

	if (!marks_are_sane(marks))
		return -EINVAL;

	*mag = (struct pcpu_magazine){
		.ops = ops,
		.cpus = cpus,
		.marks = *marks,
		.target = marks->target,
		.refilled = jiffies - 2,
		.nr_slots = marks->slots,
		.depot = part_alloc(marks->slots, GFP_KERNEL),
	};
	if (!mag->depot)
		return -ENOMEM;
	set_batch(mag, marks->batch, 1);
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(cpus, cpu);
		/* The CPU leaves both alone while it has no pool. */
		WRITE_ONCE(c->mark, marks->low);
		WRITE_ONCE(c->full, llist_empty(&c->nested) ? marks->batch : 0);
		/* All of the pool before its publication: pairs with READ_ONCE(c->mag). */
		smp_store_release(&c->mag, mag);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_init);

/**
 * pcpu_magazine_exit() - end a drained pool
 * @mag: the shared part
 *
 * Context: Task context. The caller frees the per-CPU part.
 */
void pcpu_magazine_exit(struct pcpu_magazine *mag)
{
	int cpu;

	WARN_ON_ONCE(depot_level(mag));
	for_each_possible_cpu(cpu)
		per_cpu_ptr(mag->cpus, cpu)->mag = NULL;
	parts_free(mag->depot);
	parts_free(mag->reserve);
	mag->depot = NULL;
	mag->reserve = NULL;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_exit);
