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
 * There is no lock. Per-CPU chains are owned by whoever set ->busy, see
 * struct pcpu_magazine_cpu; slots and lists change by single atomic
 * instructions, and always hand over a whole chain or list, so no pointer
 * that was read earlier is ever compared (no ABA).
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
#include <linux/slab.h>
#include <linux/smp.h>

static_assert(sizeof(struct pcpu_magazine_cpu) == 64);

/*
 * Objects are at least word aligned, so the lowest bit of a slot is free to
 * say that the chain has exactly one batch. Without it the chain is shorter
 * (the rest of something) and is counted when it is taken.
 */
#define SLOT_EXACT	1UL

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

/* Every CPU starts its search elsewhere: fewer collisions, and its own chains first. */
static unsigned int notrace part_start(struct pcpu_magazine_depot *part)
{
	return raw_smp_processor_id() % part->nr;
}

static unsigned int notrace part_next(struct pcpu_magazine_depot *part, unsigned int i)
{
	return ++i == part->nr ? 0 : i;
}

static unsigned long notrace part_get(struct pcpu_magazine_depot *part)
{
	unsigned int n, i = part_start(part);
	unsigned long slot;

	if (!atomic_read(&part->level))
		return 0;
	for (n = part->nr; n; n--, i = part_next(part, i)) {
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
	unsigned int n, i = part_start(part);

	if (atomic_read(&part->level) >= part->nr)
		return false;
	atomic_inc(&part->level);
	for (n = part->nr; n; n--, i = part_next(part, i)) {
		/* cmpxchg() orders the links of the chain before its publication. */
		if (!READ_ONCE(part->slots[i]) && !cmpxchg(&part->slots[i], 0, slot))
			return true;
	}
	atomic_dec(&part->level);
	return false;
}

/* The depot */

static unsigned int notrace depot_level(struct pcpu_magazine *mag)
{
	return atomic_read(&mag->nr_chains);
}

static notrace struct llist_node *depot_get(struct pcpu_magazine *mag, unsigned int *nr)
{
	struct pcpu_magazine_depot *part;
	struct llist_node *first;
	unsigned long slot;

	if (!depot_level(mag))
		return NULL;
	for (part = READ_ONCE(mag->depot); part; part = READ_ONCE(part->next)) {
		slot = part_get(part);
		if (!slot)
			continue;
		atomic_dec(&mag->nr_chains);
		first = (struct llist_node *)(slot & ~SLOT_EXACT);
		*nr = slot & SLOT_EXACT ? mag->marks.batch : chain_count(first);
		return first;
	}
	return NULL;
}

static bool notrace depot_put(struct pcpu_magazine *mag, struct llist_node *first,
			      unsigned int nr)
{
	unsigned long slot = (unsigned long)first;
	struct pcpu_magazine_depot *part;

	if (nr == mag->marks.batch)
		slot |= SLOT_EXACT;
	atomic_inc(&mag->nr_chains);
	for (part = READ_ONCE(mag->depot); part; part = READ_ONCE(part->next)) {
		if (part_put(part, slot))
			return true;
	}
	atomic_dec(&mag->nr_chains);
	return false;
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

/* A CPU's own chains: the caller has set busy. */

static unsigned int notrace cpu_stock(struct pcpu_magazine_cpu *c)
{
	return c->nr + c->nr_spare;
}

static void notrace cpu_push_chain(struct pcpu_magazine_cpu *c, struct llist_node *first,
				   struct llist_node *last, unsigned int nr)
{
	last->next = c->loaded;
	c->loaded = first;
	c->nr += nr;
}

static void notrace cpu_push(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	cpu_push_chain(c, obj, obj, 1);
}

/* Cut a batch off the front of the loaded chain; O(1) if it is exactly that. */
static notrace struct llist_node *cpu_cut_batch(struct pcpu_magazine_cpu *c)
{
	unsigned int batch = c->mag->marks.batch;
	struct llist_node *first = c->loaded, *last;

	if (c->nr == batch) {
		c->loaded = NULL;
	} else {
		last = chain_nth(first, batch);
		c->loaded = last->next;
		last->next = NULL;
	}
	c->nr -= batch;
	return first;
}

static void notrace cpu_set_spare(struct pcpu_magazine_cpu *c, struct llist_node *first,
				  unsigned int nr)
{
	c->spare = first;
	c->nr_spare = nr;
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

	if (is_short)
		c->mark = c->nr_spare ? 0 : c->nr / 2;
	else
		c->mark = marks->low > c->nr_spare ? marks->low - c->nr_spare : 0;
	if (!c->nr_spare && c->nr <= marks->batch)
		c->full = marks->batch;
	else
		c->full = marks->high > c->nr_spare ? marks->high - c->nr_spare : 0;
}

/* What is left when neither this CPU nor the depot has anything. */
static notrace struct llist_node *last_resort(struct pcpu_magazine *mag)
{
	struct llist_node *list = NULL;

	if (mag->ops->scavenge)
		list = mag->ops->scavenge(mag);
	if (!list)
		list = reserve_get(mag);
	if (!list)
		atomic_inc(&mag->missed);
	return list;
}

/* The loaded chain is empty: put any other stock in its place. */
static void notrace cpu_reload(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = c->mag;
	unsigned int nr;

	if (c->nr_spare) {
		c->loaded = c->spare;
		c->nr = c->nr_spare;
		cpu_set_spare(c, NULL, 0);
		return;
	}
	c->loaded = llist_del_all(&c->nested);
	if (c->loaded) {
		nr = chain_count(c->loaded);
	} else {
		c->loaded = depot_get(mag, &nr);
		if (!c->loaded) {
			c->loaded = last_resort(mag);
			nr = chain_count(c->loaded);
		}
	}
	/* In this order a count of objects in use errs towards more. */
	atomic_long_add(nr, &mag->nr_out);
	barrier();
	c->nr = nr;
}

/* Bring the stock to the low watermark, from the depot. False: it is empty. */
static bool notrace cpu_top_up(struct pcpu_magazine_cpu *c)
{
	struct llist_node *first;
	unsigned int nr, spare;

	while (cpu_stock(c) < c->mag->marks.low) {
		first = depot_get(c->mag, &nr);
		if (!first)
			return false;
		atomic_long_add(nr, &c->mag->nr_out);
		spare = c->nr_spare;
		/* The longer chain stays whole, the shorter one is joined. */
		if (spare < nr) {
			swap(first, c->spare);
			swap(nr, spare);
			c->nr_spare = spare;
		}
		if (nr)
			cpu_push_chain(c, first, chain_nth(first, nr), nr);
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
	struct llist_node *first = c->spare;
	unsigned int nr = c->nr_spare;

	if (nr) {
		cpu_set_spare(c, NULL, 0);
	} else {
		nr = c->mag->marks.batch;
		first = cpu_cut_batch(c);
	}
	atomic_long_sub(nr, &c->mag->nr_out);
	hand_over(c->mag, first, nr);
}

/* Make room for one more object, and look after what nested contexts gave. */
static void notrace cpu_make_room(struct pcpu_magazine_cpu *c)
{
	const struct pcpu_magazine_marks *marks = &c->mag->marks;
	struct llist_node *nested = llist_del_all(&c->nested);

	if (unlikely(nested)) {
		unsigned int nr = chain_count(nested);

		atomic_long_add(nr, &c->mag->nr_out);
		cpu_push_chain(c, nested, chain_nth(nested, nr), nr);
	}
	while (cpu_stock(c) >= marks->high)
		cpu_give_batch(c);
	if (!c->nr_spare && c->nr >= marks->batch)
		cpu_set_spare(c, cpu_cut_batch(c), marks->batch);
}

/**
 * pcpu_magazine_get_slow() - take an object when stock must be looked at
 * @c: this CPU's part, with busy set; it is clear on return
 *
 * The refill is asked for before busy is cleared: from then on whoever comes
 * between finds it under way.
 *
 * Context: Any, preemption disabled.
 * Return: As pcpu_magazine_get().
 */
notrace struct llist_node *pcpu_magazine_get_slow(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = c->mag;
	struct llist_node *obj = NULL;
	bool is_short;

	if (unlikely(!mag))
		goto out;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_SLOW);
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
EXPORT_SYMBOL_GPL(pcpu_magazine_get_slow);

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

/**
 * pcpu_magazine_get_nested() - take an object inside another's critical section
 * @c: this CPU's part, with busy set by the context that was interrupted
 *
 * Context: Interrupt or NMI.
 * Return: An object, or NULL if neither the nested list nor the depot nor
 *	&pcpu_magazine_ops.scavenge has one.
 */
notrace struct llist_node *pcpu_magazine_get_nested(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = c->mag;
	struct llist_node *list;
	unsigned int nr;

	if (unlikely(!mag))
		return NULL;
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
EXPORT_SYMBOL_GPL(pcpu_magazine_get_nested);

/**
 * pcpu_magazine_put_slow() - give an object back when room must be made
 * @c: this CPU's part, with busy set; it is clear on return
 * @obj: the object
 *
 * Context: Any, preemption disabled.
 */
void notrace pcpu_magazine_put_slow(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT_SLOW);
	cpu_make_room(c);
	cpu_push(c, obj);
	cpu_set_marks(c, false);
	pcpu_magazine_leave(c);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put_slow);

/**
 * pcpu_magazine_put_nested() - give an object back inside another's critical section
 * @c: this CPU's part, with busy set by the context that was interrupted
 * @obj: the object
 *
 * It stays on the nested list until the CPU needs it or makes room.
 *
 * Context: Interrupt or NMI.
 */
void notrace pcpu_magazine_put_nested(struct pcpu_magazine_cpu *c, struct llist_node *obj)
{
	atomic_long_dec(&c->mag->nr_out);
	pcpu_magazine_list_add(&c->nested, obj, obj);
	/*
	 * The next put looks after the list. A slow path that was interrupted
	 * may undo this; then the next nested put says it again.
	 */
	WRITE_ONCE(c->full, 0);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put_nested);

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
	unsigned int ask, came, i;
	void *objs[BULK];

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
	unsigned int goal, got, total = 0;

	follow_demand(mag, atomic_xchg(&mag->missed, 0));
	goal = READ_ONCE(mag->target) + atomic_xchg(&mag->wanted, 0);
	depot_grow(mag, READ_ONCE(mag->target), gfp);
	goal = min(goal, READ_ONCE(mag->nr_slots));
	if (reserve_is_short(mag) && !fill_reserve(mag, gfp))
		return 0;
	while (depot_level(mag) < goal) {
		got = add_chain(mag, mag->marks.batch, gfp);
		total += got;
		if (got < mag->marks.batch)
			break;
	}
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
	atomic_long_sub(cpu_stock(c), &c->mag->nr_out);
	hand_over_list(c->mag, llist_del_all(&c->nested));
	hand_over_list(c->mag, c->spare);
	hand_over_list(c->mag, c->loaded);
	cpu_set_spare(c, NULL, 0);
	c->loaded = NULL;
	c->nr = 0;
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

	/* A hint, see above. */
	return data_race(c->nr) || data_race(c->nr_spare) || !llist_empty(&c->nested);
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
	struct llist_node *last, *rest;
	unsigned int nr;

	for (; list; list = rest) {
		last = list;
		for (nr = 1; nr < mag->marks.batch && last->next; nr++)
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
	struct pcpu_magazine_cpu *c;
	struct llist_node *list;
	unsigned int nr;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		atomic_long_sub(cpu_stock(c), &mag->nr_out);
		release(mag, c->loaded);
		release(mag, c->spare);
		c->loaded = NULL;
		c->nr = 0;
		cpu_set_spare(c, NULL, 0);
		cpu_set_marks(c, false);
		release(mag, llist_del_all(&c->nested));
	}
	release(mag, pcpu_magazine_take_deferred(mag));
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
	unsigned int nr = depot_level(mag) * mag->marks.batch;
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		/* Their CPU may change them now: an estimate is all that is promised. */
		nr += data_race(c->nr) + data_race(c->nr_spare);
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
		/* What their CPU does at this moment may count or not. */
		cached += data_race(c->nr) + data_race(c->nr_spare);
	}
	/* A chain that comes meanwhile counts as in use, not as stock twice. */
	smp_rmb();
	return atomic_long_read(&mag->nr_out) - cached;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_used);

/**
 * pcpu_magazine_init() - make a pool, empty at first
 * @mag: the shared part
 * @cpus: the per-CPU part, all zero
 * @ops: callbacks; &pcpu_magazine_ops.scavenge may be NULL
 * @marks: watermarks: 0 < low < high, 0 < batch <= high - low,
 *	0 < target <= slots
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

	if (!marks->low || marks->low >= marks->high || !marks->batch ||
	    marks->batch > marks->high - marks->low || marks->batch > U16_MAX ||
	    !marks->target || marks->target > marks->slots)
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
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(cpus, cpu);
		c->mag = mag;
		cpu_set_marks(c, false);
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
