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
#include <linux/kernel.h>
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
#define BULK		64

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

/* The depot */

static unsigned int notrace depot_level(struct pcpu_magazine *mag)
{
	return atomic_read(&mag->nr_chains);
}

/* Every CPU starts its search elsewhere: fewer collisions, and its own chains first. */
static unsigned int notrace depot_start(struct pcpu_magazine *mag)
{
	return raw_smp_processor_id() % mag->marks.slots;
}

static unsigned int notrace depot_next(struct pcpu_magazine *mag, unsigned int i)
{
	return ++i == mag->marks.slots ? 0 : i;
}

static notrace struct llist_node *depot_get(struct pcpu_magazine *mag, unsigned int *nr)
{
	unsigned int n, i = depot_start(mag);
	struct llist_node *first;
	unsigned long slot;

	if (!depot_level(mag))
		return NULL;
	for (n = mag->marks.slots; n; n--, i = depot_next(mag, i)) {
		if (!READ_ONCE(mag->slots[i]))
			continue;
		slot = xchg(&mag->slots[i], 0);
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
	unsigned int n, i = depot_start(mag);

	if (depot_level(mag) >= mag->marks.slots)
		return false;
	if (nr == mag->marks.batch)
		slot |= SLOT_EXACT;
	atomic_inc(&mag->nr_chains);
	for (n = mag->marks.slots; n; n--, i = depot_next(mag, i)) {
		/* cmpxchg() orders the links of the chain before its publication. */
		if (!READ_ONCE(mag->slots[i]) && !cmpxchg(&mag->slots[i], 0, slot))
			return true;
	}
	atomic_dec(&mag->nr_chains);
	return false;
}

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

/* The loaded chain is empty: put any other stock in its place. */
static void notrace cpu_reload(struct pcpu_magazine_cpu *c)
{
	struct pcpu_magazine *mag = c->mag;

	if (c->nr_spare) {
		c->loaded = c->spare;
		c->nr = c->nr_spare;
		cpu_set_spare(c, NULL, 0);
		return;
	}
	c->loaded = llist_del_all(&c->nested);
	if (!c->loaded) {
		c->loaded = depot_get(mag, &c->nr);
		if (c->loaded)
			return;
		if (mag->ops->scavenge)
			c->loaded = mag->ops->scavenge(mag);
	}
	c->nr = chain_count(c->loaded);
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
	hand_over(c->mag, first, nr);
}

/* Make room for one more object, and look after what nested contexts gave. */
static void notrace cpu_make_room(struct pcpu_magazine_cpu *c)
{
	const struct pcpu_magazine_marks *marks = &c->mag->marks;
	struct llist_node *nested = llist_del_all(&c->nested);

	if (unlikely(nested)) {
		unsigned int nr = chain_count(nested);

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
	if (is_short || depot_level(mag) < mag->marks.target)
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
		if (!list && mag->ops->scavenge)
			list = mag->ops->scavenge(mag);
		if (!list)
			atomic_inc(&mag->wanted);
		if (!list || depot_level(mag) < mag->marks.target)
			mag->ops->kick(mag);
		if (!list)
			return NULL;
	}
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
	pcpu_magazine_list_add(&c->nested, obj, obj);
	/*
	 * The next put looks after the list. A slow path that was interrupted
	 * may undo this; then the next nested put says it again.
	 */
	WRITE_ONCE(c->full, 0);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put_nested);

/* Refill and restock: these run where the user decides, on any CPU. */

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
 * pcpu_magazine_prefill() - put a first chain into the depot
 * @mag: the pool
 * @nr: objects, at most one batch
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp.
 * Return: Objects added.
 */
unsigned int pcpu_magazine_prefill(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp)
{
	return add_chain(mag, min(nr, mag->marks.batch), gfp);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_prefill);

/**
 * pcpu_magazine_refill() - bring the depot to its target
 * @mag: the pool
 * @gfp: flags for &pcpu_magazine_ops.alloc_bulk
 *
 * The target, and one batch for each CPU that found the depot empty since the
 * last refill. Stops early when no more objects are to be had.
 *
 * Context: That of &pcpu_magazine_ops.alloc_bulk with @gfp; may run on several
 *	CPUs at a time.
 * Return: Objects added.
 */
unsigned int pcpu_magazine_refill(struct pcpu_magazine *mag, gfp_t gfp)
{
	const struct pcpu_magazine_marks *marks = &mag->marks;
	unsigned int goal, got, total = 0;

	goal = min(marks->target + atomic_xchg(&mag->wanted, 0), marks->slots);
	while (depot_level(mag) < goal) {
		got = add_chain(mag, marks->batch, gfp);
		total += got;
		if (got < marks->batch)
			break;
	}
	return total;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_refill);

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
	struct llist_node *all = NULL, *list;
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(mag->cpus, cpu);
		if (llist_empty(&c->deferred))
			continue;
		list = llist_del_all(&c->deferred);
		if (!list)
			continue;
		if (all)
			chain_nth(list, UINT_MAX)->next = all;
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
		release(mag, c->loaded);
		release(mag, c->spare);
		c->loaded = NULL;
		c->nr = 0;
		cpu_set_spare(c, NULL, 0);
		cpu_set_marks(c, false);
		release(mag, llist_del_all(&c->nested));
		release(mag, llist_del_all(&c->deferred));
	}
	while ((list = depot_get(mag, &nr)))
		release(mag, list);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_drain);

/**
 * pcpu_magazine_stock() - objects that could be handed out
 * @mag: the pool
 *
 * Exact while nobody uses the pool, an estimate otherwise. Nested and deferred
 * lists do not count, a chain in the depot counts as one batch.
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

	mag->slots = kcalloc(marks->slots, sizeof(*mag->slots), GFP_KERNEL);
	if (!mag->slots)
		return -ENOMEM;
	mag->ops = ops;
	mag->cpus = cpus;
	mag->marks = *marks;
	atomic_set(&mag->wanted, 0);
	atomic_set(&mag->nr_chains, 0);
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
	kfree(mag->slots);
	mag->slots = NULL;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_exit);
