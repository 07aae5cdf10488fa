// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines, on a backend that the test controls.
 *
 * Every object knows where it is (enum place) and moves by compare-and-exchange
 * from the place where it must be to the next. An object that is handed out
 * twice, or comes from nowhere, fails that; the first such fault is kept and
 * reported by the test's own thread. An object that got lost is still in
 * PLACE_POOL when the pool has been drained. See take(), give() and settled().
 *
 * What interrupts do to a critical section is tested in three ways, all through
 * the seams of the layer: a call straight from the seam, with busy set (what a
 * nested context sees); a call with busy cleared for its duration (what the
 * interrupted code sees when the interrupt came just before it set busy); and
 * a real hard interrupt that the seam waits for.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pcpu_magazine.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#define MODEL_STEPS	20000
#define HAMMER_STEPS	20000
#define IRQ_PATIENCE	(10 * NSEC_PER_SEC)
#define SMP_PATIENCE	(120 * HZ)

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "seed of the random tests, 0 for a new one each time");

/* Objects and where they are */

enum place {
	PLACE_BACKEND,	/* not allocated yet */
	PLACE_POOL,	/* free: somewhere in the layer */
	PLACE_OUT,	/* handed out */
	PLACE_DEFERRED,	/* given back, not to be handed out */
	PLACE_OVERFLOW,	/* the depot had no room */
	PLACE_RESERVE,	/* for scavenge() */
	PLACE_DRAINED,
	NR_PLACES
};

static const char * const place_names[] = {
	"not allocated", "in the pool", "out", "deferred", "overflown", "in reserve", "drained",
};

static_assert(ARRAY_SIZE(place_names) == NR_PLACES);

struct object {
	struct llist_node node;
	atomic_t place;
	unsigned long payload[2];
};

struct fault {
	const char *what;
	unsigned int id;
	unsigned int place;
};

struct pool {
	struct pcpu_magazine mag;
	struct pcpu_magazine_cpu __percpu *cpus;

	/* What the backend does */
	bool refuse;		/* no more objects */
	int refuse_at;		/* no objects at this call, counted from 1 */
	unsigned int at_most;	/* per call, the rest of it is refused */

	/* What the layer did */
	atomic_t calls;
	atomic_t kicks;
	atomic_t idle_kicks;	/* kicks while busy was clear */
	atomic_t overflows;
	atomic_t short_overflows;
	atomic_t scavenges;
	atomic_t faults;
	struct fault first_fault;

	struct llist_head overflow;
	struct llist_head reserve;

	/* Objects that the single-threaded tests hold */
	struct object **out;
	unsigned int nr_out;
	unsigned int nr_taken;
	unsigned int nr_missed;

	struct llist_node trap;	/* what the first word of a live object points at */
	atomic_t next_new;
	unsigned int nr_objs;
	struct object objs[];
};

static struct pool *to_pool(struct pcpu_magazine *mag)
{
	return container_of(mag, struct pool, mag);
}

static void fault(struct pool *p, const char *what, unsigned int id, unsigned int place)
{
	if (!atomic_fetch_inc(&p->faults))
		p->first_fault = (struct fault){ what, id, place };
}

static unsigned int object_id(struct pool *p, struct object *o)
{
	return o - p->objs;
}

/* NULL if @node is not an object of this pool. */
static struct object *to_object(struct pool *p, struct llist_node *node)
{
	unsigned long offset = (unsigned long)node - (unsigned long)p->objs;

	if (offset >= p->nr_objs * sizeof(struct object) || offset % sizeof(struct object)) {
		fault(p, "no object of this pool", 0, PLACE_POOL);
		return NULL;
	}
	return container_of(node, struct object, node);
}

static bool move(struct pool *p, struct object *o, enum place from, enum place to)
{
	int was = atomic_cmpxchg(&o->place, from, to);

	if (was != from)
		fault(p, place_names[to], object_id(p, o), was);
	return was == from;
}

static unsigned int move_chain(struct pool *p, struct llist_node *first, enum place from,
			       enum place to)
{
	struct llist_node *node, *next;
	unsigned int nr = 0;
	struct object *o;

	for (node = first; node; node = next) {
		next = READ_ONCE(node->next);
		o = to_object(p, node);
		if (!o || !move(p, o, from, to))
			break;
		nr++;
	}
	return nr;
}

static unsigned int count(struct pool *p, enum place place)
{
	unsigned int i, nr = 0;

	for (i = 0; i < p->nr_objs; i++)
		nr += atomic_read(&p->objs[i].place) == place;
	return nr;
}

/* The backend */

static unsigned int backend_alloc(struct pcpu_magazine *mag, gfp_t gfp, unsigned int nr,
				  void **objs)
{
	struct pool *p = to_pool(mag);
	unsigned int i;
	int new;

	if (atomic_inc_return(&p->calls) == p->refuse_at || p->refuse)
		return 0;
	nr = min(nr, p->at_most);
	for (i = 0; i < nr; i++) {
		new = atomic_fetch_add_unless(&p->next_new, 1, p->nr_objs);
		if (new == p->nr_objs)
			break;
		move(p, &p->objs[new], PLACE_BACKEND, PLACE_POOL);
		objs[i] = &p->objs[new].node;
	}
	return i;
}

static void backend_kick(struct pcpu_magazine *mag)
{
	struct pool *p = to_pool(mag);

	atomic_inc(&p->kicks);
	if (!READ_ONCE(raw_cpu_ptr(p->cpus)->busy))
		atomic_inc(&p->idle_kicks);
}

static void backend_overflow(struct pcpu_magazine *mag, struct llist_node *first,
			     struct llist_node *last)
{
	struct pool *p = to_pool(mag);
	unsigned int nr;

	if (last->next)
		fault(p, "overflow goes on after its end", 0, PLACE_OVERFLOW);
	last->next = NULL;
	nr = move_chain(p, first, PLACE_POOL, PLACE_OVERFLOW);
	atomic_inc(&p->overflows);
	if (nr != mag->marks.batch)
		atomic_inc(&p->short_overflows);
	llist_add_batch(first, last, &p->overflow);
}

static struct llist_node *backend_scavenge(struct pcpu_magazine *mag)
{
	struct pool *p = to_pool(mag);
	struct llist_node *list = llist_del_all(&p->reserve);

	atomic_inc(&p->scavenges);
	move_chain(p, list, PLACE_RESERVE, PLACE_POOL);
	return list;
}

static const struct pcpu_magazine_ops plain_ops = {
	.kick		= backend_kick,
	.overflow	= backend_overflow,
	.alloc_bulk	= backend_alloc,
};

static const struct pcpu_magazine_ops scavenging_ops = {
	.kick		= backend_kick,
	.overflow	= backend_overflow,
	.scavenge	= backend_scavenge,
	.alloc_bulk	= backend_alloc,
};

/* Objects go in and out */

static unsigned long payload_of(struct pool *p, struct object *o)
{
	return (object_id(p, o) + 1) * 0x01010101UL;
}

static struct object *sign_out(struct pool *p, struct llist_node *node)
{
	struct object *o = node ? to_object(p, node) : NULL;

	if (!o || !move(p, o, PLACE_POOL, PLACE_OUT))
		return NULL;
	o->node.next = &p->trap;
	o->payload[0] = payload_of(p, o);
	o->payload[1] = ~o->payload[0];
	return o;
}

/* Any context. As callers do it: the fast path, and the rest of it elsewhere. */
static struct object *take(struct pool *p)
{
	return sign_out(p, pcpu_magazine_get_fast(p->cpus) ?: pcpu_magazine_get(p->cpus));
}

/* Any context. False: it was kept for a pool that is not there yet. */
static bool put(struct pool *p, struct llist_node *node)
{
	return pcpu_magazine_put_fast(p->cpus, node) || pcpu_magazine_put(p->cpus, node);
}

static bool leave_out(struct pool *p, struct object *o, enum place to)
{
	unsigned long payload = payload_of(p, o);

	if (o->node.next != &p->trap || o->payload[0] != payload || o->payload[1] != ~payload)
		fault(p, "overwritten", object_id(p, o), atomic_read(&o->place));
	o->payload[0] = 0;
	return move(p, o, PLACE_OUT, to);
}

/* Any context. */
static void give(struct pool *p, struct object *o)
{
	if (leave_out(p, o, PLACE_POOL))
		put(p, &o->node);
}

/* Any context. */
static bool defer(struct pool *p, struct object *o)
{
	return leave_out(p, o, PLACE_DEFERRED) && pcpu_magazine_defer(p->cpus, &o->node);
}

/*
 * The same on p->out, for one CPU. Also from a seam or an interrupt that a seam
 * waits for: both come while the interrupted call is in the layer, not here.
 */
static bool take_out(struct pool *p)
{
	struct object *o = take(p);

	if (!o) {
		p->nr_missed++;
		return false;
	}
	p->nr_taken++;
	p->out[p->nr_out++] = o;
	return true;
}

static void give_out(struct pool *p)
{
	if (p->nr_out)
		give(p, p->out[--p->nr_out]);
}

static bool defer_out(struct pool *p)
{
	return p->nr_out && defer(p, p->out[--p->nr_out]);
}

/* Overflown objects go back as far as there is room. */
static void restock_overflow(struct pool *p)
{
	struct llist_node *list = llist_del_all(&p->overflow), *node;

	if (!list)
		return;
	move_chain(p, list, PLACE_OVERFLOW, PLACE_POOL);
	list = pcpu_magazine_restock(&p->mag, list);
	if (!list)
		return;
	move_chain(p, list, PLACE_POOL, PLACE_OVERFLOW);
	for (node = list; node->next; node = node->next)
		;
	llist_add_batch(list, node, &p->overflow);
}

/* Deferred objects join the overflown ones. */
static unsigned int collect_deferred(struct pool *p)
{
	struct llist_node *list = pcpu_magazine_take_deferred(&p->mag), *node;
	unsigned int nr = move_chain(p, list, PLACE_DEFERRED, PLACE_OVERFLOW);

	if (!list)
		return 0;
	for (node = list; node->next; node = node->next)
		;
	llist_add_batch(list, node, &p->overflow);
	return nr;
}

/* Pools */

struct mark_set {
	const char *name;
	struct pcpu_magazine_marks marks;	/* low, high, batch, target, slots */
};

static const struct mark_set mark_sets[] = {
	{ "small_objects",		{ 32, 96, 48, 2, 4 } },
	{ "large_objects",		{ 1, 3, 1, 1, 3 } },
	{ "largest_objects",		{ 2, 6, 3, 2, 2 } },
	{ "smallest_possible",		{ 1, 2, 1, 1, 1 } },
	{ "low_above_batch",		{ 8, 16, 4, 3, 5 } },
	{ "low_above_two_batches",	{ 10, 14, 3, 5, 9 } },
	{ "high_no_multiple_of_batch",	{ 3, 10, 4, 1, 2 } },
	{ "batch_above_half_of_high",	{ 1, 8, 6, 2, 3 } },
	{ "batch_is_all_between_marks",	{ 2, 7, 5, 1, 2 } },
	{ "batch_above_one_bulk",	{ 16, 300, 150, 1, 2 } },
};

KUNIT_ARRAY_PARAM_DESC(mark_set, mark_sets, name);

static const struct pcpu_magazine_marks *marks_of(struct kunit *test)
{
	const struct mark_set *set = test->param_value;

	return &set->marks;
}

/* Nothing is taken out object by object: it may be a pool that a fault has torn. */
static void pool_destroy(void *data)
{
	struct pool *p = data;

	if (p->mag.depot) {
		atomic_set(&p->mag.nr_chains, 0);
		pcpu_magazine_exit(&p->mag);
	}
	free_percpu(p->cpus);
	kvfree(p->out);
	kvfree(p);
}

static struct pool *pool_alloc(struct kunit *test, unsigned int nr_objs)
{
	struct pool *p = kvzalloc(struct_size(p, objs, nr_objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, pool_destroy, p), 0);
	p->nr_objs = nr_objs;
	p->trap.next = &p->trap;
	p->at_most = UINT_MAX;
	p->cpus = alloc_percpu(struct pcpu_magazine_cpu);
	KUNIT_ASSERT_TRUE(test, !!p->cpus);
	p->out = kvcalloc(nr_objs, sizeof(*p->out), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->out);
	return p;
}

static struct pool *pool_open(struct kunit *test, const struct pcpu_magazine_ops *ops,
			      const struct pcpu_magazine_marks *marks)
{
	struct pool *p = pool_alloc(test, (2 * marks->slots + 10) * marks->batch +
					  6 * marks->high);

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, ops, marks), 0);
	return p;
}

static unsigned int level(struct pool *p)
{
	return atomic_read(&p->mag.nr_chains);
}

/* Each test's thread is pinned, see pcpu_magazine_test_init(). */
static struct pcpu_magazine_cpu *this_cpu_of(struct pool *p)
{
	return raw_cpu_ptr(p->cpus);
}

static unsigned int cpu_stock(struct pool *p)
{
	return this_cpu_of(p)->nr + this_cpu_of(p)->nr_spare;
}

static unsigned int refill(struct pool *p)
{
	return pcpu_magazine_refill(&p->mag, GFP_KERNEL);
}

static unsigned int take_all(struct pool *p)
{
	unsigned int nr = 0;

	while (take_out(p))
		nr++;
	return nr;
}

static void forget_calls(struct pool *p)
{
	atomic_set(&p->kicks, 0);
	atomic_set(&p->calls, 0);
	atomic_set(&p->overflows, 0);
	atomic_set(&p->scavenges, 0);
}

/*
 * Have at least @nr objects out, the depot exactly at its target, and the CPU
 * at or above the low mark, topped up when it last fell below it.
 */
static void stock_up(struct pool *p, unsigned int nr)
{
	const struct pcpu_magazine_marks *marks = &p->mag.marks;
	unsigned int n;

	for (n = nr + marks->high; n; n--) {
		refill(p);
		if (p->nr_out >= nr && cpu_stock(p) >= marks->low)
			break;
		take_out(p);
	}
	/* A depot of one small chain cannot do it: what comes is taken at once. */
	while (!n && cpu_stock(p) < marks->high)
		give_out(p);
	refill(p);
	while (level(p) > marks->target && take_out(p))
		;
	forget_calls(p);
}

static unsigned int chain_length(struct pool *p, struct llist_node *first, enum place place)
{
	struct llist_node *node;
	unsigned int nr = 0;
	struct object *o;

	for (node = first; node; node = node->next) {
		o = to_object(p, node);
		if (!o)
			break;
		if (atomic_read(&o->place) != place)
			fault(p, place_names[place], object_id(p, o), atomic_read(&o->place));
		if (++nr > p->nr_objs) {
			fault(p, "chain has no end", object_id(p, o), place);
			break;
		}
	}
	return nr;
}

static struct llist_node *slot_chain(unsigned long slot)
{
	return (struct llist_node *)(slot & ~3UL);
}

/* While nobody is in the layer: every object that is free can be found, and counts are right. */
static void settled(struct kunit *test, struct pool *p, const char *when, const char *what)
{
	unsigned int free = 0, deferred = 0, chains = 0, i, nr;
	struct pcpu_magazine_depot *part;
	struct pcpu_magazine_cpu *c;
	unsigned long slot;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(p->cpus, cpu);
		nr = chain_length(p, c->loaded, PLACE_POOL);
		KUNIT_ASSERT_EQ_MSG(test, nr, c->nr, "loaded, %s %s", when, what);
		free += nr;
		nr = chain_length(p, slot_chain(c->spare), PLACE_POOL);
		/* What has been stolen from it, its CPU does not know yet. */
		KUNIT_ASSERT_EQ_MSG(test, nr, c->spare ? c->nr_spare : 0, "spare, %s %s",
				    when, what);
		free += nr + chain_length(p, c->nested.first, PLACE_POOL);
		deferred += chain_length(p, c->deferred.first, PLACE_DEFERRED);
		KUNIT_ASSERT_EQ_MSG(test, c->busy, 0, "%s %s", when, what);
	}
	for (i = 0; i < p->mag.marks.slots; i++) {
		slot = p->mag.depot->slots[i];
		if (!slot)
			continue;
		chains++;
		/* The tag of the batch says that the chain has one, no less. */
		nr = chain_length(p, slot_chain(slot), PLACE_POOL);
		if ((slot & 3UL) == (p->mag.batch_tag & 3UL))
			KUNIT_ASSERT_EQ_MSG(test, nr, p->mag.marks.batch, "slot, %s %s",
					    when, what);
		else
			KUNIT_ASSERT_LT_MSG(test, nr, p->mag.marks.batch, "slot, %s %s",
					    when, what);
		free += nr;
	}
	for (part = p->mag.reserve; part; part = part->next) {
		for (i = 0; i < part->nr; i++)
			free += chain_length(p, (struct llist_node *)part->slots[i], PLACE_POOL);
	}
	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&p->faults), 0,
			    "%s %s: object %u was %s on its way to: %s", when, what,
			    p->first_fault.id, place_names[p->first_fault.place],
			    p->first_fault.what);
	KUNIT_ASSERT_EQ_MSG(test, chains, level(p), "%s %s", when, what);
	KUNIT_ASSERT_EQ_MSG(test, free, count(p, PLACE_POOL), "lost or doubled, %s %s", when, what);
	KUNIT_ASSERT_EQ_MSG(test, pcpu_magazine_used(&p->mag),
			    count(p, PLACE_OUT) + count(p, PLACE_DEFERRED),
			    "objects in use, %s %s", when, what);
	KUNIT_ASSERT_EQ_MSG(test, deferred, count(p, PLACE_DEFERRED), "%s %s", when, what);
	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&p->idle_kicks), 0,
			    "the refill was asked for too late, %s %s", when, what);
}

static void release_drained(struct pcpu_magazine *mag, struct llist_node *list)
{
	struct pool *p = to_pool(mag);
	struct llist_node *node, *next;
	struct object *o;

	for (node = list; node; node = next) {
		next = node->next;
		o = to_object(p, node);
		if (!o)
			break;
		move(p, o, atomic_read(&o->place) == PLACE_DEFERRED ? PLACE_DEFERRED : PLACE_POOL,
		     PLACE_DRAINED);
		node->next = &p->trap;
	}
}

static void pool_close(struct kunit *test, struct pool *p, const char *what)
{
	settled(test, p, "before drain of", what);
	pcpu_magazine_drain(&p->mag, release_drained);
	settled(test, p, "after drain of", what);
	KUNIT_ASSERT_EQ_MSG(test, count(p, PLACE_POOL), 0, "lost, %s", what);
	KUNIT_ASSERT_EQ_MSG(test, count(p, PLACE_DEFERRED), 0, "lost, %s", what);
	KUNIT_ASSERT_EQ_MSG(test, pcpu_magazine_stock(&p->mag), 0, "%s", what);
	kunit_release_action(test, pool_destroy, p);
}

/* Code at the seams */

static struct {
	struct task_struct *task;
	struct pool *pool;
	enum pcpu_magazine_seam seam;
	void (*action)(struct pool *p);
	bool just_before;	/* as if before busy was set */
	bool armed;
	bool descending;	/* on the way to the seam of a nested call */
	unsigned int hits;
	unsigned int hits_busy;
} probe;

static void probe_hook(enum pcpu_magazine_seam seam)
{
	struct pcpu_magazine_cpu *c;

	if (!probe.armed || current != probe.task || !in_task())
		return;
	if (probe.seam == PCPU_MAGAZINE_SEAM_GET_NESTED && seam == PCPU_MAGAZINE_SEAM_GET &&
	    !probe.descending) {
		probe.descending = true;
		take_out(probe.pool);
		return;
	}
	if (seam != probe.seam)
		return;
	probe.armed = false;
	probe.hits++;
	c = this_cpu_of(probe.pool);
	probe.hits_busy += c->busy;
	if (probe.just_before)
		WRITE_ONCE(c->busy, 0);
	probe.action(probe.pool);
	if (probe.just_before)
		WRITE_ONCE(c->busy, 1);
}

static void seams_off(void *unused)
{
	pcpu_magazine_seam_set(NULL);
	probe.armed = false;
}

static void seams_on(struct kunit *test, void (*hook)(enum pcpu_magazine_seam seam))
{
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, seams_off, NULL), 0);
	pcpu_magazine_seam_set(hook);
}

/* Have @action run once when this thread next comes to @seam. */
static void arm(struct pool *p, enum pcpu_magazine_seam seam, void (*action)(struct pool *p))
{
	probe.task = current;
	probe.pool = p;
	probe.seam = seam;
	probe.action = action;
	probe.descending = false;
	probe.hits = 0;
	probe.hits_busy = 0;
	p->nr_taken = 0;
	p->nr_missed = 0;
	barrier();
	probe.armed = true;
}

/* Use the pool until the seam was reached. */
static void reach(struct pool *p, enum pcpu_magazine_seam seam)
{
	unsigned int n;

	for (n = 0; probe.armed && n < p->nr_objs; n++) {
		switch (seam) {
		case PCPU_MAGAZINE_SEAM_PUT:
		case PCPU_MAGAZINE_SEAM_PUT_SLOW:
			give_out(p);
			break;
		case PCPU_MAGAZINE_SEAM_GET_READ:
			/* With batches of one, a CPU that only takes stays at its low mark. */
			give_out(p);
			give_out(p);
			take_out(p);
			break;
		case PCPU_MAGAZINE_SEAM_REFILL:
			refill(p);
			fallthrough;
		default:
			take_out(p);
		}
	}
	probe.armed = false;
}

struct seam_case {
	const char *name;
	enum pcpu_magazine_seam seam;
};

static const struct seam_case seam_cases[] = {
	{ "get",		PCPU_MAGAZINE_SEAM_GET },
	{ "get_chain_read",	PCPU_MAGAZINE_SEAM_GET_READ },
	{ "get_slow",		PCPU_MAGAZINE_SEAM_GET_SLOW },
	{ "get_nested",		PCPU_MAGAZINE_SEAM_GET_NESTED },
	{ "put",		PCPU_MAGAZINE_SEAM_PUT },
	{ "put_slow",		PCPU_MAGAZINE_SEAM_PUT_SLOW },
	{ "refill",		PCPU_MAGAZINE_SEAM_REFILL },
};

KUNIT_ARRAY_PARAM_DESC(seam, seam_cases, name);

/* What a nested context does. */

static void act_take(struct pool *p)
{
	take_out(p);
}

static void act_give(struct pool *p)
{
	give_out(p);
}

static void act_give_take(struct pool *p)
{
	give_out(p);
	take_out(p);
}

static void act_take_give(struct pool *p)
{
	take_out(p);
	give_out(p);
	give_out(p);
	take_out(p);
}

static void act_take_all(struct pool *p)
{
	take_all(p);
}

static void act_give_many(struct pool *p)
{
	unsigned int n;

	for (n = 2 * p->mag.marks.high; n; n--)
		give_out(p);
}

static void act_defer(struct pool *p)
{
	defer_out(p);
}

struct action {
	const char *name;
	void (*run)(struct pool *p);
	bool takes;	/* calls pcpu_magazine_get() first */
	bool leaves;	/* may leave what it gave on the nested list */
};

static const struct action actions[] = {
	{ "take",		act_take, .takes = true },
	{ "give",		act_give, .leaves = true },
	{ "give and take",	act_give_take },
	{ "take and give",	act_take_give, .takes = true },
	{ "take all",		act_take_all, .takes = true },
	{ "give many",		act_give_many, .leaves = true },
	{ "defer",		act_defer },
};

/* Setting up */

static const struct pcpu_magazine_marks bad_marks[] = {
	{ 0, 96, 48, 2, 4 },
	{ 96, 96, 48, 2, 4 },
	{ 97, 96, 48, 2, 4 },
	{ 32, 96, 0, 2, 4 },
	{ 32, 96, 96, 2, 4 },
	{ 32, 96, 65, 2, 4 },
	{ 32, U16_MAX + 100, U16_MAX + 1, 2, 4 },
	{ 32, 96, 48, 0, 4 },
	{ 32, 96, 48, 5, 4 },
	{ 32, 96, 48, 0, 0 },
};

static void test_init_refuses_bad_marks(struct kunit *test)
{
	struct pool *p = pool_alloc(test, 1);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad_marks); i++) {
		KUNIT_EXPECT_EQ_MSG(test, pcpu_magazine_init(&p->mag, p->cpus, &plain_ops,
							     &bad_marks[i]), -EINVAL, "row %u", i);
		KUNIT_ASSERT_NULL(test, p->mag.depot);
	}
}

static void test_get_without_init(struct kunit *test)
{
	struct pool *p = pool_alloc(test, 1);

	seams_on(test, probe_hook);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	arm(p, PCPU_MAGAZINE_SEAM_GET, act_take);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, probe.hits, 1);
	KUNIT_EXPECT_EQ(test, p->nr_missed, 2);
	KUNIT_EXPECT_EQ(test, this_cpu_of(p)->busy, 0);
}

static void test_get_after_exit(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, &mark_sets[0].marks);

	refill(p);
	take_all(p);
	pcpu_magazine_drain(&p->mag, release_drained);
	pcpu_magazine_exit(&p->mag);
	forget_calls(p);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_NULL(test, p->mag.depot);
}

/* Objects of another pool, given to one that is not there yet. */

#define EARLY		5
#define EARLY_DEFERRED	2

static void give_early(struct kunit *test, struct pool *p)
{
	struct pcpu_magazine_cpu *c = this_cpu_of(p);
	struct llist_node *node[EARLY];
	void *objs[EARLY + EARLY_DEFERRED];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, backend_alloc(&p->mag, GFP_KERNEL, ARRAY_SIZE(objs), objs),
			ARRAY_SIZE(objs));
	for (i = 0; i < EARLY; i++) {
		node[i] = objs[i];
		if (i == EARLY - 1)
			WRITE_ONCE(c->busy, 1);
		KUNIT_EXPECT_FALSE(test, pcpu_magazine_put_fast(p->cpus, node[i]));
		KUNIT_EXPECT_FALSE(test, pcpu_magazine_put(p->cpus, node[i]));
		WRITE_ONCE(c->busy, 0);
	}
	for (; i < ARRAY_SIZE(objs); i++)
		p->out[p->nr_out++] = sign_out(p, objs[i]);
	while (p->nr_out)
		defer_out(p);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, c->nr, 0);
}

static void test_given_before_init_is_had_after_it(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_alloc(test, 4 * marks->high + 100);
	unsigned int i;

	give_early(test, p);
	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, &plain_ops, marks), 0);
	p->refuse = true;
	/* Else their collection would count as of objects that this pool gave. */
	pcpu_magazine_adopt(&p->mag, EARLY_DEFERRED);
	for (i = 0; i < EARLY; i++)
		KUNIT_EXPECT_TRUE_MSG(test, take_out(p), "object %u", i);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, collect_deferred(p), EARLY_DEFERRED);
	/* From now on it is a pool like any other. */
	while (p->nr_out)
		give_out(p);
	KUNIT_EXPECT_TRUE(test, take_out(p));
	pool_close(test, p, "early objects");
}

static void test_given_and_never_init(struct kunit *test)
{
	struct pool *p = pool_alloc(test, 100);
	struct llist_node *list;
	unsigned int nr = 0;

	give_early(test, p);
	for (list = pcpu_magazine_take_early(p->cpus); list; list = list->next)
		nr++;
	KUNIT_EXPECT_EQ(test, nr, EARLY + EARLY_DEFERRED);
	KUNIT_EXPECT_NULL(test, pcpu_magazine_take_early(p->cpus));
}

/* Taking and giving */

static void test_get_from_empty_pool(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	int n;

	for (n = 1; n <= 3; n++) {
		KUNIT_EXPECT_FALSE(test, take_out(p));
		KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), n);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), 0);
	pool_close(test, p, "empty pool");
}

static void test_each_object_is_unique(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	unsigned int round, nr = refill(p), n;

	KUNIT_ASSERT_EQ(test, nr, marks_of(test)->target * marks_of(test)->batch);
	p->refuse = true;
	for (round = 0; round < 3; round++) {
		for (n = 0; n < nr; n++) {
			KUNIT_ASSERT_EQ(test, pcpu_magazine_stock(&p->mag), nr - n);
			KUNIT_ASSERT_TRUE(test, take_out(p));
		}
		KUNIT_ASSERT_FALSE(test, take_out(p));
		settled(test, p, "all out", "");
		for (n = 0; n < nr; n++)
			give_out(p);
		settled(test, p, "all back", "");
		/* What the depot had no room for is not stock. */
		nr -= count(p, PLACE_OVERFLOW);
		restock_overflow(p);
		nr = pcpu_magazine_stock(&p->mag);
	}
	pool_close(test, p, "used pool");
}

static void test_last_given_is_first_taken(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	struct object *o;
	unsigned int n;

	stock_up(p, 4 * marks_of(test)->high);
	for (n = 0; n < 3 * marks_of(test)->high; n++) {
		o = p->out[p->nr_out - 1];
		give_out(p);
		KUNIT_ASSERT_TRUE(test, take_out(p));
		KUNIT_ASSERT_PTR_EQ(test, o, p->out[p->nr_out - 1]);
		give_out(p);
	}
	pool_close(test, p, "used pool");
}

/* Watermarks */

static void test_below_low_tops_up_and_asks_once(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);

	stock_up(p, 0);
	while (cpu_stock(p) > marks->low) {
		KUNIT_ASSERT_TRUE(test, take_out(p));
		KUNIT_ASSERT_EQ(test, atomic_read(&p->kicks), 0);
		KUNIT_ASSERT_EQ(test, level(p), marks->target);
	}
	KUNIT_ASSERT_TRUE(test, take_out(p));
	/* Asked for is more when less than half of the target is left. */
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), marks->target - 1 < (marks->target + 1) / 2);
	KUNIT_EXPECT_EQ(test, level(p), marks->target - 1);
	KUNIT_EXPECT_EQ(test, cpu_stock(p), marks->low - 1 + marks->batch);
	KUNIT_EXPECT_EQ(test, refill(p), marks->batch);
	KUNIT_EXPECT_EQ(test, refill(p), 0);
	KUNIT_EXPECT_EQ(test, level(p), marks->target);
	pool_close(test, p, "used pool");
}

static void test_short_cpu_asks_seldom(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);

	stock_up(p, 0);
	p->refuse = true;
	while (level(p) || cpu_stock(p) > marks->low)
		KUNIT_ASSERT_TRUE(test, take_out(p));
	forget_calls(p);
	atomic_set(&p->mag.wanted, 0);
	KUNIT_ASSERT_TRUE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, cpu_stock(p), marks->low - 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->mag.wanted), 1);
	while (cpu_stock(p))
		KUNIT_ASSERT_TRUE(test, take_out(p));
	/* Again each time that half of it is gone, and at the exchange of chains. */
	KUNIT_EXPECT_LE(test, atomic_read(&p->kicks), ilog2(marks->low) + 3);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	pool_close(test, p, "used pool");
}

static void test_no_call_between_marks(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);
	unsigned int round;

	stock_up(p, marks->high);
	for (round = 0; round < 3; round++) {
		while (cpu_stock(p) < marks->high)
			give_out(p);
		while (cpu_stock(p) > marks->low)
			KUNIT_ASSERT_TRUE(test, take_out(p));
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	KUNIT_EXPECT_EQ(test, level(p), marks->target);
	pool_close(test, p, "used pool");
}

static void test_alternation_on_low_mark(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);
	unsigned int n;

	stock_up(p, 1);
	while (level(p) == marks->target)
		KUNIT_ASSERT_TRUE(test, take_out(p));
	forget_calls(p);
	for (n = 0; n < 100; n++) {
		give_out(p);
		KUNIT_ASSERT_TRUE(test, take_out(p));
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, level(p), marks->target - 1);
	pool_close(test, p, "used pool");
}

static void test_alternation_on_high_mark(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);
	unsigned int before, overflows, n;

	stock_up(p, 2 * marks->high);
	/* Give a batch away, to the depot or, if that is full, to overflow(). */
	do {
		before = cpu_stock(p);
		give_out(p);
	} while (cpu_stock(p) > before);
	overflows = atomic_read(&p->overflows);
	forget_calls(p);
	before = level(p);
	KUNIT_ASSERT_EQ(test, before + overflows, marks->target + 1);
	for (n = 0; n < 100; n++) {
		KUNIT_ASSERT_TRUE(test, take_out(p));
		give_out(p);
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	KUNIT_EXPECT_EQ(test, level(p), before);
	pool_close(test, p, "used pool");
}

static void test_put_above_high_gives_batches(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);
	unsigned int before, total;

	stock_up(p, (marks->slots + 3) * marks->batch + 2 * marks->high);
	while (p->nr_out) {
		before = cpu_stock(p);
		total = pcpu_magazine_stock(&p->mag) + count(p, PLACE_OVERFLOW);
		give_out(p);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_stock(&p->mag) + count(p, PLACE_OVERFLOW),
				total + 1);
		KUNIT_ASSERT_LE(test, cpu_stock(p), marks->high);
		if (cpu_stock(p) <= before) {
			KUNIT_ASSERT_EQ(test, before, marks->high);
			KUNIT_ASSERT_EQ(test, cpu_stock(p), before + 1 - marks->batch);
		}
		if (atomic_read(&p->overflows))
			KUNIT_ASSERT_EQ(test, level(p), marks->slots);
	}
	KUNIT_EXPECT_GE(test, atomic_read(&p->overflows), 3);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->short_overflows), 0);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_OVERFLOW),
			atomic_read(&p->overflows) * marks->batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	pool_close(test, p, "full pool");
}

/* Refill and restock */

static void test_refill_reaches_target_plus_wanted(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	unsigned int misses, goal, n;
	struct pool *p;

	for (misses = 0; misses <= marks->slots + 1; misses++) {
		p = pool_open(test, &plain_ops, marks);
		for (n = 0; n < misses; n++)
			KUNIT_ASSERT_FALSE(test, take_out(p));
		goal = min(marks->target + misses, marks->slots);
		KUNIT_EXPECT_EQ(test, refill(p), goal * marks->batch);
		KUNIT_EXPECT_EQ(test, level(p), goal);
		KUNIT_EXPECT_EQ(test, refill(p), 0);
		KUNIT_EXPECT_EQ(test, level(p), goal);
		pool_close(test, p, "refilled pool");
	}
}

static void test_refill_meets_refusal(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p;
	unsigned int nr;
	int at;

	for (at = 1; at <= 8; at++) {
		p = pool_open(test, &plain_ops, marks);
		p->refuse_at = at;
		nr = refill(p);
		KUNIT_EXPECT_EQ(test, nr, count(p, PLACE_POOL));
		if (at <= atomic_read(&p->calls)) {
			/* It stops there, and keeps what came before. */
			KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), at);
			KUNIT_EXPECT_LT(test, nr, marks->target * marks->batch);
			settled(test, p, "refused", "");
		} else {
			KUNIT_EXPECT_EQ(test, nr, marks->target * marks->batch);
		}
		KUNIT_EXPECT_EQ(test, take_all(p), nr);
		/* It does not stay that way. */
		p->refuse_at = 0;
		KUNIT_EXPECT_GE(test, refill(p), marks->target * marks->batch);
		KUNIT_EXPECT_TRUE(test, take_out(p));
		pool_close(test, p, "refilled pool");
	}

	p = pool_open(test, &plain_ops, marks);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, refill(p), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->calls), 1);
	KUNIT_EXPECT_FALSE(test, take_out(p));
	pool_close(test, p, "refused pool");
}

static void test_refill_gets_short_counts(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	unsigned int at_most;
	struct pool *p;

	for (at_most = 1; at_most < min(marks->batch, 64U); at_most++) {
		p = pool_open(test, &plain_ops, marks);
		p->at_most = at_most;
		KUNIT_ASSERT_EQ(test, refill(p), at_most);
		KUNIT_ASSERT_EQ(test, level(p), 1);
		settled(test, p, "short", "");
		p->refuse = true;
		KUNIT_ASSERT_EQ(test, take_all(p), at_most);
		pool_close(test, p, "refilled pool");
	}
}

static void test_prefill_makes_two_chains(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p;
	unsigned int nr;

	for (nr = 1; nr <= marks->batch; nr++) {
		p = pool_open(test, &plain_ops, marks);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_prefill(&p->mag, nr, GFP_KERNEL), nr);
		/* A second chain for whoever interrupts the first to take one. */
		KUNIT_ASSERT_EQ(test, level(p), nr > 1 ? 2 : 1);
		settled(test, p, "prefilled", "");
		p->refuse = true;
		KUNIT_ASSERT_TRUE(test, take_out(p));
		KUNIT_ASSERT_LT(test, cpu_stock(p), nr);
		settled(test, p, "taken", "");
		KUNIT_ASSERT_EQ(test, take_all(p), nr - 1);
		pool_close(test, p, "prefilled pool");
	}
}

static void test_restock_returns_rest(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	const unsigned int room = marks->slots * marks->batch;
	const unsigned int lengths[] = { 0, 1, marks->batch, marks->batch + 1, room, room + 5 };
	unsigned int i, n;
	struct pool *p;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		p = pool_open(test, &plain_ops, marks);
		while (p->nr_out < lengths[i])
			KUNIT_ASSERT_TRUE(test, take_out(p) || refill(p));
		p->refuse = true;
		pcpu_magazine_drain(&p->mag, release_drained);
		for (n = 0; n < lengths[i]; n++) {
			move(p, p->out[n], PLACE_OUT, PLACE_OVERFLOW);
			pcpu_magazine_adopt(&p->mag, -1);
			llist_add(&p->out[n]->node, &p->overflow);
		}
		p->nr_out = 0;

		restock_overflow(p);
		KUNIT_EXPECT_EQ(test, level(p),
				min(DIV_ROUND_UP(lengths[i], marks->batch), marks->slots));
		KUNIT_EXPECT_EQ(test, count(p, PLACE_POOL), min(lengths[i], room));
		KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
		settled(test, p, "restocked", "");
		KUNIT_EXPECT_EQ(test, take_all(p), min(lengths[i], room));
		pool_close(test, p, "restocked pool");
	}
}

/* Deferred objects */

struct defer_order {
	struct pool *p;
	struct object *objs[2];
	bool first[2];
};

static void defer_here(void *data)
{
	struct defer_order *order = data;

	order->first[0] = defer(order->p, order->objs[0]);
	order->first[1] = defer(order->p, order->objs[1]);
}

static void test_deferred_collected_from_all_cpus(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = &mark_sets[0].marks;
	struct pool *p = pool_open(test, &plain_ops, marks);
	struct defer_order order = { .p = p };
	unsigned int nr = 0;
	int cpu;

	stock_up(p, 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, collect_deferred(p), 0);
	for_each_online_cpu(cpu) {
		if (p->nr_out < 2)
			take_all(p);
		if (p->nr_out < 2)
			break;
		order.objs[0] = p->out[--p->nr_out];
		order.objs[1] = p->out[--p->nr_out];
		order.first[0] = false;
		order.first[1] = true;
		KUNIT_EXPECT_EQ(test, smp_call_function_single(cpu, defer_here, &order, true), 0);
		KUNIT_EXPECT_TRUE(test, order.first[0]);
		KUNIT_EXPECT_FALSE(test, order.first[1]);
		nr += 2;
	}
	settled(test, p, "deferred", "");
	/* They wait: not even a pool that has nothing else hands them out. */
	take_all(p);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_DEFERRED), nr);
	KUNIT_EXPECT_EQ(test, collect_deferred(p), nr);
	KUNIT_EXPECT_EQ(test, collect_deferred(p), 0);
	restock_overflow(p);
	KUNIT_EXPECT_EQ(test, take_all(p), nr);
	pool_close(test, p, "used pool");
}

/* Every place at once */

static void nested_give_three(struct pool *p)
{
	give_out(p);
	give_out(p);
	give_out(p);
}

/* Objects on the loaded and the spare chain, the nested list and in the depot. */
static void fill_all_places(struct kunit *test, struct pool *p)
{
	stock_up(p, p->mag.marks.high + 8);
	/* The last put before the high mark leaves two chains. */
	while (cpu_stock(p) < p->mag.marks.high)
		give_out(p);
	take_out(p);
	arm(p, PCPU_MAGAZINE_SEAM_GET, nested_give_three);
	KUNIT_ASSERT_TRUE(test, take_out(p));
	KUNIT_ASSERT_EQ(test, probe.hits, 1);
	KUNIT_ASSERT_GT(test, this_cpu_of(p)->nr, 0);
	KUNIT_ASSERT_GT(test, this_cpu_of(p)->nr_spare, 0);
	KUNIT_ASSERT_EQ(test, chain_length(p, this_cpu_of(p)->nested.first, PLACE_POOL), 3);
	KUNIT_ASSERT_GT(test, level(p), 0);
	settled(test, p, "all places", "");
}

static void test_drain_empties_all_places(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, &mark_sets[0].marks);
	unsigned int in_pool;

	seams_on(test, probe_hook);
	fill_all_places(test, p);
	defer_out(p);
	defer_out(p);
	in_pool = count(p, PLACE_POOL) + count(p, PLACE_DEFERRED);
	KUNIT_ASSERT_EQ(test, count(p, PLACE_DEFERRED), 2);

	pcpu_magazine_drain(&p->mag, release_drained);
	settled(test, p, "after", "drain");
	KUNIT_EXPECT_EQ(test, count(p, PLACE_DRAINED), in_pool);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_stock(&p->mag), 0);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_POOL), 0);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_DEFERRED), 0);

	/* It can be used again. */
	KUNIT_EXPECT_FALSE(test, take_out(p));
	KUNIT_EXPECT_GT(test, refill(p), 0);
	KUNIT_EXPECT_TRUE(test, take_out(p));
	pool_close(test, p, "used pool");
}

static void fill_reserve(struct pool *p, unsigned int nr)
{
	struct object *o;

	for (; nr && p->nr_out; nr--) {
		o = p->out[--p->nr_out];
		move(p, o, PLACE_OUT, PLACE_RESERVE);
		pcpu_magazine_adopt(&p->mag, -1);
		llist_add(&o->node, &p->reserve);
	}
}

static void test_scavenge_comes_last(struct kunit *test)
{
	struct pool *p = pool_open(test, &scavenging_ops, &mark_sets[0].marks);
	unsigned int nr;

	seams_on(test, probe_hook);
	fill_all_places(test, p);
	fill_reserve(p, 5);
	p->refuse = true;
	for (nr = count(p, PLACE_POOL); nr; nr--) {
		KUNIT_ASSERT_TRUE(test, take_out(p));
		KUNIT_ASSERT_EQ(test, atomic_read(&p->scavenges), 0);
	}
	KUNIT_ASSERT_EQ(test, level(p), 0);
	KUNIT_EXPECT_TRUE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->scavenges), 1);
	KUNIT_EXPECT_EQ(test, cpu_stock(p), 4);
	settled(test, p, "scavenged", "");
	forget_calls(p);
	KUNIT_EXPECT_EQ(test, take_all(p), 4);
	/* The one that failed looked there too, and asked for a refill. */
	KUNIT_EXPECT_GT(test, atomic_read(&p->scavenges), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&p->kicks), 0);

	/* A CPU that has nothing at all goes to the depot first, too. */
	fill_reserve(p, 5);
	p->refuse = false;
	KUNIT_EXPECT_GT(test, refill(p), 0);
	forget_calls(p);
	KUNIT_EXPECT_TRUE(test, take_out(p));
	KUNIT_EXPECT_EQ(test, atomic_read(&p->scavenges), 0);
	pool_close(test, p, "used pool");
}

/* The nested context takes what the list and the depot have, then one more. */
static void nested_take_to_scavenge(struct pool *p)
{
	unsigned int nr = level(p) * p->mag.marks.batch +
			  chain_length(p, this_cpu_of(p)->nested.first, PLACE_POOL);

	for (; nr; nr--)
		take_out(p);
	if (atomic_read(&p->scavenges))
		fault(p, "scavenge() came too early", 0, PLACE_RESERVE);
	take_out(p);
}

static void test_scavenge_comes_last_when_nested(struct kunit *test)
{
	struct pool *p = pool_open(test, &scavenging_ops, &mark_sets[0].marks);
	unsigned int nr;

	seams_on(test, probe_hook);
	fill_all_places(test, p);
	fill_reserve(p, 5);
	p->refuse = true;
	nr = level(p) * p->mag.marks.batch + 3;
	arm(p, PCPU_MAGAZINE_SEAM_GET, nested_take_to_scavenge);
	KUNIT_ASSERT_TRUE(test, take_out(p));
	KUNIT_ASSERT_EQ(test, probe.hits_busy, 1);
	KUNIT_EXPECT_EQ(test, p->nr_missed, 0);
	KUNIT_EXPECT_EQ(test, p->nr_taken, nr + 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->scavenges), 1);
	KUNIT_EXPECT_EQ(test, chain_length(p, this_cpu_of(p)->nested.first, PLACE_POOL), 4);
	settled(test, p, "scavenged", "");
	take_all(p);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_POOL), 0);
	pool_close(test, p, "used pool");
}

/* Nested contexts */

/* The refill is reached with busy clear, the other seams are in a critical section. */
static unsigned int busy_at(enum pcpu_magazine_seam seam)
{
	return seam != PCPU_MAGAZINE_SEAM_REFILL;
}

static void after_nested_call(struct kunit *test, struct pool *p, const char *what)
{
	settled(test, p, "after nested", what);
	/* All that is free can still be had. */
	p->refuse = true;
	take_all(p);
	KUNIT_ASSERT_EQ_MSG(test, count(p, PLACE_POOL), 0, "out of reach after %s", what);
	pool_close(test, p, what);
}

/* Stock that is short or just at a mark is looked at by the next get. */
static void make_get_fast(struct pool *p)
{
	unsigned int n;

	for (n = p->mag.marks.high; n && this_cpu_of(p)->nr <= this_cpu_of(p)->mark; n--)
		give_out(p);
}

/* A slow get may forget that something was left; the next nested put says it again. */
static bool next_put_looks_after_it(enum pcpu_magazine_seam seam)
{
	return seam != PCPU_MAGAZINE_SEAM_GET_SLOW && seam != PCPU_MAGAZINE_SEAM_REFILL;
}

static void one_nested_call(struct kunit *test, const struct mark_set *set,
			    enum pcpu_magazine_seam seam, const struct action *action)
{
	const struct pcpu_magazine_marks *marks = &set->marks;
	struct pool *p = pool_open(test, &plain_ops, marks);
	char what[64];

	snprintf(what, sizeof(what), "%s, %s", action->name, set->name);
	stock_up(p, 4 * marks->high);
	if (seam == PCPU_MAGAZINE_SEAM_REFILL) {
		while (level(p) == marks->target && take_out(p))
			;
	} else {
		make_get_fast(p);
	}
	arm(p, seam, action->run);
	reach(p, seam);
	KUNIT_ASSERT_EQ_MSG(test, probe.hits, 1, "%s", what);
	KUNIT_ASSERT_EQ_MSG(test, probe.hits_busy, busy_at(seam), "%s", what);
	/* The depot had at least one chain when the nested context came. */
	if (action->takes && (seam != PCPU_MAGAZINE_SEAM_GET_NESTED || marks->target > 1))
		KUNIT_ASSERT_GE_MSG(test, p->nr_taken, 1, "%s", what);
	settled(test, p, "after nested", what);
	if (action->leaves && next_put_looks_after_it(seam)) {
		give_out(p);
		KUNIT_ASSERT_TRUE_MSG(test, llist_empty(&this_cpu_of(p)->nested),
				      "not looked after by the next put: %s", what);
		KUNIT_ASSERT_LE_MSG(test, cpu_stock(p), marks->high, "%s", what);
	}
	after_nested_call(test, p, what);
}

static void test_nested_call(struct kunit *test)
{
	const struct seam_case *s = test->param_value;
	unsigned int i, a;

	seams_on(test, probe_hook);
	for (i = 0; i < ARRAY_SIZE(mark_sets); i++)
		for (a = 0; a < ARRAY_SIZE(actions); a++)
			one_nested_call(test, &mark_sets[i], s->seam, &actions[a]);
}

/* Where the stock of the CPU is when an interrupt comes just before busy is set. */
enum position { BETWEEN_MARKS, AT_LOW, AT_HIGH, EMPTY, NR_POSITIONS };

static void go_to(struct pool *p, enum position position)
{
	const struct pcpu_magazine_marks *marks = &p->mag.marks;

	stock_up(p, 4 * marks->high);
	if (position == BETWEEN_MARKS)
		make_get_fast(p);
	if (position == AT_LOW)
		while (cpu_stock(p) > marks->low)
			take_out(p);
	if (position == AT_HIGH)
		while (cpu_stock(p) < marks->high)
			give_out(p);
	if (position == EMPTY) {
		take_all(p);
		refill(p);
	}
}

static void test_call_just_before_busy(struct kunit *test)
{
	static const enum pcpu_magazine_seam seams[] = {
		PCPU_MAGAZINE_SEAM_GET, PCPU_MAGAZINE_SEAM_PUT,
	};
	unsigned int i, a, position;
	struct pool *p;

	seams_on(test, probe_hook);
	probe.just_before = true;
	for (i = 0; i < ARRAY_SIZE(seams); i++)
		for (position = 0; position < NR_POSITIONS; position++)
			for (a = 0; a < ARRAY_SIZE(actions); a++) {
				p = pool_open(test, &plain_ops, marks_of(test));
				go_to(p, position);
				arm(p, seams[i], actions[a].run);
				reach(p, seams[i]);
				KUNIT_ASSERT_EQ(test, probe.hits, 1);
				after_nested_call(test, p, actions[a].name);
			}
}

/* A hard interrupt that the seam lets in */

static struct {
	struct irq_work work;
	unsigned int runs;
	unsigned int runs_hard;
	unsigned int runs_busy;
} irq;

static void irq_handler(struct irq_work *work)
{
	irq.runs_hard += !!in_hardirq();
	irq.runs_busy += this_cpu_of(probe.pool)->busy;
	act_take_give(probe.pool);
	act_give(probe.pool);
	WRITE_ONCE(irq.runs, irq.runs + 1);
}

/* Where irq_work has no interrupt of its own, it runs at the next tick. */
static void act_let_irq_in(struct pool *p)
{
	u64 deadline = ktime_get_mono_fast_ns() + IRQ_PATIENCE;
	unsigned int before = READ_ONCE(irq.runs);

	if (irqs_disabled() || !irq_work_queue(&irq.work))
		return;
	while (READ_ONCE(irq.runs) == before && ktime_get_mono_fast_ns() < deadline)
		cpu_relax();
}

static void irq_stop(void *unused)
{
	irq_work_sync(&irq.work);
}

static void test_hard_interrupt(struct kunit *test)
{
	const struct seam_case *s = test->param_value;
	const struct pcpu_magazine_marks *marks;
	struct pool *p;
	unsigned int i;

	irq.work = IRQ_WORK_INIT_HARD(irq_handler);
	seams_on(test, probe_hook);
	for (i = 0; i < ARRAY_SIZE(mark_sets); i++) {
		marks = &mark_sets[i].marks;
		p = pool_open(test, &plain_ops, marks);
		KUNIT_ASSERT_EQ(test, kunit_add_action(test, irq_stop, NULL), 0);
		irq.runs = 0;
		irq.runs_hard = 0;
		irq.runs_busy = 0;
		stock_up(p, 4 * marks->high);
		if (s->seam == PCPU_MAGAZINE_SEAM_REFILL)
			while (level(p) == marks->target && take_out(p))
				;
		arm(p, s->seam, act_let_irq_in);
		reach(p, s->seam);
		kunit_release_action(test, irq_stop, NULL);
		KUNIT_ASSERT_EQ(test, probe.hits, 1);
		KUNIT_ASSERT_EQ(test, irq.runs, 1);
		KUNIT_ASSERT_EQ(test, irq.runs_hard, 1);
		KUNIT_ASSERT_EQ(test, irq.runs_busy, busy_at(s->seam));
		after_nested_call(test, p, mark_sets[i].name);
	}
}

/* Random use against an oracle */

static struct {
	struct task_struct *task;
	struct pool *pool;
	struct rnd_state rnd;
	unsigned int depth;
	unsigned int nested;
} model;

/* Returns false if a get found nothing. */
static bool model_op(struct pool *p)
{
	unsigned int n = prandom_u32_state(&model.rnd) % 64;

	if (n < 26)
		return take_out(p);
	else if (n < 50)
		give_out(p);
	else if (n < 56)
		defer_out(p);
	else if (n < 58)
		collect_deferred(p);
	else if (n < 60)
		restock_overflow(p);
	else
		refill(p);
	return true;
}

/* Up to three contexts on top of each other, half of them as if just before busy was set. */
static void model_hook(enum pcpu_magazine_seam seam)
{
	struct pcpu_magazine_cpu *c;
	unsigned int n;
	bool before;

	if (current != model.task || !in_task() || model.depth == 3)
		return;
	n = prandom_u32_state(&model.rnd);
	if (n % 8)
		return;
	c = this_cpu_of(model.pool);
	before = (seam == PCPU_MAGAZINE_SEAM_GET || seam == PCPU_MAGAZINE_SEAM_PUT) && n & 8;
	model.depth++;
	model.nested++;
	if (before)
		WRITE_ONCE(c->busy, 0);
	for (n = (n >> 8) % 8; n; n--)
		model_op(model.pool);
	if (before)
		WRITE_ONCE(c->busy, 1);
	model.depth--;
}

static void test_random_use(struct kunit *test)
{
	const struct pcpu_magazine_marks *marks = marks_of(test);
	struct pool *p = pool_open(test, &plain_ops, marks);
	unsigned int step, nested, total = 0;

	kunit_info(test, "pcpu_magazine_kunit.seed=%lu\n", seed);
	prandom_seed_state(&model.rnd, seed);
	model.pool = p;
	model.task = current;
	model.depth = 0;
	model.nested = 0;
	seams_on(test, model_hook);
	for (step = 0; step < MODEL_STEPS; step++) {
		/* Now the pool runs dry, now it overflows. */
		if (step % 500 == 0)
			while (p->nr_out > (step % 1000 ? 0 : marks->high))
				give_out(p);
		nested = model.nested;
		if (!model_op(p) && model.nested == nested)
			KUNIT_ASSERT_EQ_MSG(test, count(p, PLACE_POOL), 0,
					    "got nothing at step %u", step);
		if (atomic_read(&p->faults) || step % 16 == 0)
			settled(test, p, "random use", "");
	}
	total = count(p, PLACE_BACKEND) + count(p, PLACE_POOL) + count(p, PLACE_DEFERRED) +
		count(p, PLACE_OVERFLOW) + p->nr_out;
	KUNIT_EXPECT_EQ(test, total, p->nr_objs);
	KUNIT_EXPECT_GT(test, model.nested, 0);
	pool_close(test, p, "random use");
}

/* Several CPUs */

struct worker {
	struct task_struct *task;
	struct pool *p;
	struct rnd_state rnd;
	struct irq_work work;
	struct object *held[32];
	struct object *irq_held[4];
	unsigned int nr_held;
	unsigned int nr_irq_held;
	unsigned int steps;
	unsigned int irqs;
	unsigned int irqs_busy;
};

/* Static, because a hook may look at them at any time: it is called for every pool. */
static DEFINE_PER_CPU(struct worker, workers);

static struct {
	struct pool *p;
	struct completion start;
	struct completion done;
	atomic_t running;
	bool go_on;			/* although all steps are done */
	struct llist_head handed;	/* from producer to consumer */
	unsigned int goal;
	unsigned int nr_handed;
	unsigned int nr_given;
} crew;

static void hammer_hook(enum pcpu_magazine_seam seam)
{
	struct worker *w = raw_cpu_ptr(&workers);

	if (in_task() && current == READ_ONCE(w->task) && prandom_u32_state(&w->rnd) % 16 == 0)
		irq_work_queue(&w->work);
}

static void hammer_irq(struct irq_work *work)
{
	struct worker *w = container_of(work, struct worker, work);
	struct object *o;

	w->irqs++;
	w->irqs_busy += raw_cpu_ptr(w->p->cpus)->busy;
	while (w->nr_irq_held)
		give(w->p, w->irq_held[--w->nr_irq_held]);
	while (w->nr_irq_held < ARRAY_SIZE(w->irq_held)) {
		o = take(w->p);
		if (!o)
			break;
		w->irq_held[w->nr_irq_held++] = o;
	}
}

static void hammer_step(struct worker *w)
{
	unsigned int n = prandom_u32_state(&w->rnd) % 128;
	struct object *o;

	if (n < 64 && w->nr_held < ARRAY_SIZE(w->held)) {
		o = take(w->p);
		if (o)
			w->held[w->nr_held++] = o;
		else
			refill(w->p);
	} else if (n < 120 && w->nr_held) {
		give(w->p, w->held[--w->nr_held]);
	} else if (n < 124 && w->nr_held) {
		defer(w->p, w->held[--w->nr_held]);
	} else if (n < 126) {
		collect_deferred(w->p);
		restock_overflow(w->p);
	} else {
		refill(w->p);
	}
	w->steps++;
}

static void work_is_done(struct worker *w)
{
	if (atomic_dec_and_test(&crew.running))
		complete(&crew.done);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
}

static int hammer_thread(void *data)
{
	struct worker *w = data;

	wait_for_completion(&crew.start);
	while ((w->steps < HAMMER_STEPS || READ_ONCE(crew.go_on)) && !kthread_should_stop()) {
		hammer_step(w);
		cond_resched();
	}
	while (w->nr_held)
		give(w->p, w->held[--w->nr_held]);
	work_is_done(w);
	return 0;
}

static int producer_thread(void *data)
{
	struct worker *w = data;
	struct object *o;

	wait_for_completion(&crew.start);
	while (crew.nr_handed < crew.goal && !kthread_should_stop()) {
		o = take(w->p);
		if (o) {
			crew.nr_handed++;
			/* Like the first word of a freed object, this one is ours now. */
			llist_add(&o->node, &crew.handed);
		} else {
			restock_overflow(w->p);
			refill(w->p);
		}
		cond_resched();
	}
	work_is_done(w);
	return 0;
}

static int consumer_thread(void *data)
{
	struct worker *w = data;
	struct llist_node *node, *next;
	struct object *o;

	wait_for_completion(&crew.start);
	while (crew.nr_given < crew.goal && !kthread_should_stop()) {
		for (node = llist_del_all(&crew.handed); node; node = next) {
			next = node->next;
			o = container_of(node, struct object, node);
			node->next = &w->p->trap;
			give(w->p, o);
			crew.nr_given++;
		}
		cond_resched();
	}
	work_is_done(w);
	return 0;
}

static void crew_dismiss(void *unused)
{
	struct worker *w;
	int cpu;

	/* First let those go who still wait at the gate. */
	complete_all(&crew.start);
	for_each_possible_cpu(cpu) {
		w = per_cpu_ptr(&workers, cpu);
		if (!w->task)
			continue;
		kthread_stop(w->task);
		put_task_struct(w->task);
		irq_work_sync(&w->work);
		WRITE_ONCE(w->task, NULL);
		while (w->nr_irq_held)
			give(w->p, w->irq_held[--w->nr_irq_held]);
	}
}

static void crew_gather(struct kunit *test, struct pool *p)
{
	int cpu;

	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(&workers, cpu), 0, sizeof(struct worker));
	memset(&crew, 0, sizeof(crew));
	crew.p = p;
	init_completion(&crew.start);
	init_completion(&crew.done);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, crew_dismiss, NULL), 0);
}

static void crew_add(struct kunit *test, int (*thread)(void *data), int cpu)
{
	struct worker *w = per_cpu_ptr(&workers, cpu);
	struct task_struct *task;

	w->p = crew.p;
	w->work = IRQ_WORK_INIT_HARD(hammer_irq);
	prandom_seed_state(&w->rnd, seed + cpu);
	task = kthread_create_on_cpu(thread, w, cpu, "pcpu_magazine/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	WRITE_ONCE(w->task, get_task_struct(task));
	atomic_inc(&crew.running);
	wake_up_process(task);
}

/* Everybody starts at once; returns when all are done and gone. */
static void crew_work(struct kunit *test)
{
	unsigned long left;

	complete_all(&crew.start);
	left = wait_for_completion_timeout(&crew.done, SMP_PATIENCE);
	kunit_release_action(test, crew_dismiss, NULL);
	KUNIT_ASSERT_GT_MSG(test, left, 0, "the threads did not come to an end");
}

static void test_all_cpus_at_once(struct kunit *test)
{
	unsigned int irqs = 0, irqs_busy = 0;
	struct pool *p;
	int cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs more than one CPU");
	p = pool_open(test, &plain_ops, marks_of(test));
	crew_gather(test, p);
	for_each_online_cpu(cpu)
		crew_add(test, hammer_thread, cpu);
	seams_on(test, hammer_hook);
	crew_work(test);
	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_EQ(test, per_cpu(workers, cpu).steps, HAMMER_STEPS);
		irqs += per_cpu(workers, cpu).irqs;
		irqs_busy += per_cpu(workers, cpu).irqs_busy;
	}
	kunit_info(test, "%u interrupts, %u of them in a critical section\n", irqs, irqs_busy);
	KUNIT_EXPECT_GT(test, irqs, 0);
	KUNIT_EXPECT_EQ(test, count(p, PLACE_OUT), 0);
	pool_close(test, p, "hammered pool");
}

static void test_producer_and_consumer(struct kunit *test)
{
	unsigned int producer, consumer;
	struct pcpu_magazine_cpu *c;
	struct pool *p;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs more than one CPU");
	producer = cpumask_first(cpu_online_mask);
	consumer = cpumask_next(producer, cpu_online_mask);
	p = pool_open(test, &plain_ops, marks_of(test));
	crew_gather(test, p);
	/* Much more than there are objects: they have to come back. */
	crew.goal = 20 * p->nr_objs;
	crew_add(test, producer_thread, producer);
	crew_add(test, consumer_thread, consumer);
	crew_work(test);
	KUNIT_EXPECT_EQ(test, crew.nr_handed, crew.goal);
	KUNIT_EXPECT_EQ(test, crew.nr_given, crew.goal);
	c = per_cpu_ptr(p->cpus, consumer);
	KUNIT_EXPECT_LE(test, c->nr + c->nr_spare, marks_of(test)->high);
	pool_close(test, p, "hammered pool");
}

/* One thread runs one case: what it does on "this CPU" stays on one CPU. */
static int pcpu_magazine_test_init(struct kunit *test)
{
	memset(&probe, 0, sizeof(probe));
	return set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

static int pcpu_magazine_suite_init(struct kunit_suite *suite)
{
	if (!seed)
		seed = get_random_u32() | 1;
	return 0;
}

/* Reserve, and stock that is moved or let go */

#define RESERVED	7

static void test_reserve_is_there_when_nothing_else_is(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	unsigned int round, all;

	KUNIT_ASSERT_EQ(test, pcpu_magazine_reserve(&p->mag, RESERVED, GFP_KERNEL), 0);
	settled(test, p, "reserved", "");
	for (round = 0; round < 3; round++) {
		p->refuse = true;
		all = count(p, PLACE_POOL);
		KUNIT_ASSERT_GE(test, all, RESERVED);
		KUNIT_ASSERT_EQ(test, take_all(p), all);
		settled(test, p, "emptied", "");
		/* One refill, which may bring less than the depot wants. */
		p->refuse = false;
		while (p->nr_out)
			give_out(p);
		refill(p);
		settled(test, p, "refilled", "");
	}
	pool_close(test, p, "pool with a reserve");
}

static void test_reserve_raised_and_lowered(struct kunit *test)
{
	static const unsigned int steps[] = { 3, 6, 1, 6, 0 };
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		KUNIT_ASSERT_EQ(test, pcpu_magazine_reserve(&p->mag, steps[i], GFP_KERNEL), 0);
		KUNIT_ASSERT_EQ(test, p->mag.nr_reserved, steps[i]);
		KUNIT_ASSERT_GE(test, count(p, PLACE_POOL), steps[i]);
		settled(test, p, "changed", "");
	}
	pool_close(test, p, "pool with a reserve");
}

static void test_reserve_refused(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));

	KUNIT_ASSERT_EQ(test, pcpu_magazine_reserve(&p->mag, 3, GFP_KERNEL), 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, pcpu_magazine_reserve(&p->mag, 1000, GFP_KERNEL), -ENOMEM);
	KUNIT_EXPECT_EQ(test, p->mag.nr_reserved, 3);
	settled(test, p, "refused", "");
	KUNIT_EXPECT_GE(test, take_all(p), 3);
	pool_close(test, p, "pool with a reserve");
}

static void test_flush_moves_stock_to_depot(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, marks_of(test));
	unsigned int all;

	stock_up(p, 0);
	all = count(p, PLACE_POOL);
	preempt_disable();
	WRITE_ONCE(this_cpu_of(p)->busy, 1);
	pcpu_magazine_flush(&p->mag);
	WRITE_ONCE(this_cpu_of(p)->busy, 0);
	preempt_enable();
	KUNIT_EXPECT_GT(test, cpu_stock(p), 0);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_has_stock(&p->mag, raw_smp_processor_id()));
	preempt_disable();
	pcpu_magazine_flush(&p->mag);
	preempt_enable();
	KUNIT_EXPECT_EQ(test, cpu_stock(p), 0);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_has_stock(&p->mag, raw_smp_processor_id()));
	settled(test, p, "flushed", "");
	KUNIT_EXPECT_EQ(test, count(p, PLACE_POOL) + count(p, PLACE_OVERFLOW), all);
	pool_close(test, p, "flushed pool");
}

static void test_target_relaxes_to_its_lowest(struct kunit *test)
{
	struct pcpu_magazine_marks marks = *marks_of(test);
	unsigned int n, target;
	struct pool *p;

	marks.limit = 16 * marks.target;
	p = pool_open(test, &plain_ops, &marks);
	p->refuse = true;
	KUNIT_EXPECT_FALSE(test, take_out(p));
	for (n = 0; n < 4 * marks.target * marks.batch; n++)
		KUNIT_ASSERT_FALSE(test, take_out(p));
	refill(p);
	target = p->mag.target;
	KUNIT_EXPECT_GT(test, target, 4 * marks.target);
	KUNIT_EXPECT_LE(test, target, marks.limit);
	/* Not while refills come. */
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_relax(&p->mag));
	KUNIT_EXPECT_EQ(test, p->mag.target, target);
	for (n = 0; n < 10; n++) {
		p->mag.refilled = jiffies - 2 * HZ;
		if (!pcpu_magazine_relax(&p->mag))
			break;
		KUNIT_EXPECT_EQ(test, p->mag.target, max(target / 2, marks.target));
		target = p->mag.target;
	}
	KUNIT_EXPECT_LT(test, n, 10);
	KUNIT_EXPECT_EQ(test, p->mag.target, marks.target);
	pool_close(test, p, "pool");
}

/* What others have put aside */

static unsigned int loaded_elsewhere(struct pool *p)
{
	unsigned int nr = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		nr += per_cpu_ptr(p->cpus, cpu)->nr;
	return nr;
}

static void nested_take_all(struct pool *p)
{
	take_all(p);
}

static void test_nested_get_takes_spare(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, &mark_sets[0].marks);
	unsigned int loaded, rest;

	seams_on(test, probe_hook);
	fill_all_places(test, p);
	p->refuse = true;
	loaded = this_cpu_of(p)->nr;
	rest = count(p, PLACE_POOL) - loaded;
	arm(p, PCPU_MAGAZINE_SEAM_GET, nested_take_all);
	KUNIT_ASSERT_TRUE(test, take_out(p));
	KUNIT_ASSERT_EQ(test, probe.hits_busy, 1);
	/* All but the chain that the interrupted call may be changing. */
	KUNIT_EXPECT_EQ(test, p->nr_taken, rest + 1);
	KUNIT_EXPECT_EQ(test, this_cpu_of(p)->nr, loaded - 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_STOLEN), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 1);
	settled(test, p, "stolen", "");
	/* The CPU finds out by itself, taking or giving. */
	KUNIT_EXPECT_EQ(test, take_all(p), loaded - 1);
	while (p->nr_out)
		give_out(p);
	settled(test, p, "given", "");
	pool_close(test, p, "pool");
}

static void put_aside(void *pool)
{
	struct pool *p = pool;

	while (!this_cpu_of(p)->nr_spare)
		give_out(p);
	WRITE_ONCE(this_cpu_of(p)->busy, 1);
	nested_give_three(p);
	WRITE_ONCE(this_cpu_of(p)->busy, 0);
}

static void test_get_takes_what_other_cpus_put_aside(struct kunit *test)
{
	unsigned int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	unsigned int in_pool;
	struct pool *p;

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs more than one CPU");
	p = pool_open(test, &plain_ops, marks_of(test));
	/* Enough for that, and so that all of it is found there. */
	stock_up(p, p->mag.marks.high + 3);
	p->refuse = true;
	take_all(p);
	KUNIT_ASSERT_EQ(test, smp_call_function_single(cpu, put_aside, p, true), 0);
	settled(test, p, "put aside", "");
	in_pool = count(p, PLACE_POOL);
	KUNIT_ASSERT_GT(test, in_pool - loaded_elsewhere(p), 3);
	KUNIT_EXPECT_EQ(test, take_all(p), in_pool - loaded_elsewhere(p));
	KUNIT_EXPECT_GE(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_STOLEN), 2);
	settled(test, p, "stolen", "");
	pool_close(test, p, "pool");
}

/* Watermarks that change */

/* Objects for any of them. */
static struct pool *pool_open_large(struct kunit *test, const struct pcpu_magazine_marks *marks)
{
	struct pool *p = pool_alloc(test, 10000);

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, &plain_ops, marks), 0);
	return p;
}

static struct pcpu_magazine_marks marks_for(struct pool *p, unsigned int i)
{
	struct pcpu_magazine_marks marks = mark_sets[i % ARRAY_SIZE(mark_sets)].marks;

	/* What does not fit a pool made for others. */
	marks.target = min(marks.target, p->mag.marks.slots);
	marks.slots = p->mag.marks.slots;
	return marks;
}

static void test_marks_change_in_use(struct kunit *test)
{
	struct pool *p = pool_open_large(test, marks_of(test));
	struct pcpu_magazine_marks marks;
	unsigned int i, n;

	for (i = 0; i < 3 * ARRAY_SIZE(mark_sets); i++) {
		stock_up(p, 2);
		marks = marks_for(p, 7 * i);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_set_marks(&p->mag, &marks), 0);
		KUNIT_ASSERT_EQ(test, memcmp(&p->mag.marks, &marks, sizeof(marks)), 0);
		settled(test, p, "changed", mark_sets[7 * i % ARRAY_SIZE(mark_sets)].name);
		/* Sometimes a CPU is told, sometimes it finds out. */
		if (i % 2) {
			preempt_disable();
			pcpu_magazine_flush(&p->mag);
			preempt_enable();
		}
		for (n = 0; n < 2 * marks.high && take_out(p); n++)
			;
		while (p->nr_out)
			give_out(p);
		if (i % 2)
			KUNIT_ASSERT_LE(test, cpu_stock(p), marks.high);
		settled(test, p, "used", mark_sets[7 * i % ARRAY_SIZE(mark_sets)].name);
		restock_overflow(p);
	}
	pool_close(test, p, "pool");
}

static void test_bad_marks_change_nothing(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, &mark_sets[0].marks);
	struct pcpu_magazine_marks bad[4];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = mark_sets[1].marks;
	bad[0].low = 0;
	bad[1].high = bad[1].low;
	bad[2].batch = bad[2].high;
	bad[3].batch = 0;
	stock_up(p, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ(test, pcpu_magazine_set_marks(&p->mag, &bad[i]), -EINVAL);
		KUNIT_EXPECT_EQ(test, memcmp(&p->mag.marks, &mark_sets[0].marks,
					     sizeof(bad[i])), 0);
	}
	settled(test, p, "refused", "");
	pool_close(test, p, "pool");
}

static void test_marks_change_while_cpus_work(struct kunit *test)
{
	struct pcpu_magazine_marks marks;
	unsigned int changes;
	struct pool *p;
	int cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs more than one CPU");
	p = pool_open_large(test, &mark_sets[0].marks);
	crew_gather(test, p);
	for_each_online_cpu(cpu)
		crew_add(test, hammer_thread, cpu);
	seams_on(test, hammer_hook);
	crew.go_on = true;
	complete_all(&crew.start);
	for (changes = 0; !completion_done(&crew.done) && changes < HAMMER_STEPS; changes++) {
		marks = marks_for(p, changes);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_set_marks(&p->mag, &marks), 0);
		/* However fast the CPUs are, all kinds of watermarks have their turn. */
		if (changes == ARRAY_SIZE(mark_sets))
			WRITE_ONCE(crew.go_on, false);
	}
	crew_work(test);
	kunit_info(test, "%u changes\n", changes);
	KUNIT_EXPECT_GT(test, changes, ARRAY_SIZE(mark_sets));
	KUNIT_EXPECT_EQ(test, count(p, PLACE_OUT), 0);
	pool_close(test, p, "hammered pool");
}

static void test_events_are_counted(struct kunit *test)
{
	struct pool *p = pool_open(test, &plain_ops, &mark_sets[0].marks);
	const struct pcpu_magazine_marks *marks = &p->mag.marks;
	unsigned int n, batches = marks->target;

	refill(p);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_REFILLS), 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_NEW),
			batches * marks->batch);
	KUNIT_EXPECT_EQ(test, p->mag.peak, batches);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, take_all(p), batches * marks->batch);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_FETCHED), batches);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 1);
	for (n = 0; n < batches * marks->batch; n++)
		give_out(p);
	/* Two batches stay with the CPU. */
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_RETURNED), batches - 2);
	local_bh_disable();
	while (take_out(p))
		;
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_TASK), 2);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_MISS_SOFTIRQ), 0);
	pool_close(test, p, "pool");
}

static struct kunit_case pcpu_magazine_cases[] = {
	KUNIT_CASE(test_init_refuses_bad_marks),
	KUNIT_CASE(test_get_without_init),
	KUNIT_CASE(test_get_after_exit),
	KUNIT_CASE_PARAM(test_given_before_init_is_had_after_it, mark_set_gen_params),
	KUNIT_CASE(test_given_and_never_init),
	KUNIT_CASE_PARAM(test_get_from_empty_pool, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_each_object_is_unique, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_last_given_is_first_taken, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_below_low_tops_up_and_asks_once, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_short_cpu_asks_seldom, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_no_call_between_marks, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_alternation_on_low_mark, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_alternation_on_high_mark, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_put_above_high_gives_batches, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_refill_reaches_target_plus_wanted, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_refill_meets_refusal, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_refill_gets_short_counts, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_prefill_makes_two_chains, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_restock_returns_rest, mark_set_gen_params),
	KUNIT_CASE(test_deferred_collected_from_all_cpus),
	KUNIT_CASE(test_drain_empties_all_places),
	KUNIT_CASE(test_scavenge_comes_last),
	KUNIT_CASE(test_scavenge_comes_last_when_nested),
	KUNIT_CASE_PARAM(test_nested_call, seam_gen_params),
	KUNIT_CASE_PARAM(test_call_just_before_busy, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_hard_interrupt, seam_gen_params),
	KUNIT_CASE_PARAM(test_random_use, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_all_cpus_at_once, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_producer_and_consumer, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_is_there_when_nothing_else_is, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_raised_and_lowered, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_reserve_refused, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_flush_moves_stock_to_depot, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_target_relaxes_to_its_lowest, mark_set_gen_params),
	KUNIT_CASE(test_nested_get_takes_spare),
	KUNIT_CASE_PARAM(test_get_takes_what_other_cpus_put_aside, mark_set_gen_params),
	KUNIT_CASE_PARAM(test_marks_change_in_use, mark_set_gen_params),
	KUNIT_CASE(test_bad_marks_change_nothing),
	KUNIT_CASE(test_marks_change_while_cpus_work),
	KUNIT_CASE(test_events_are_counted),
	{}
};

static struct kunit_suite pcpu_magazine_suite = {
	.name = "pcpu_magazine",
	.suite_init = pcpu_magazine_suite_init,
	.init = pcpu_magazine_test_init,
	.test_cases = pcpu_magazine_cases,
};

kunit_test_suite(pcpu_magazine_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines");
MODULE_LICENSE("GPL");
