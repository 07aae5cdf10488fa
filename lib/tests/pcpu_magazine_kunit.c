// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the KUnit suites of per-CPU magazines share, see the header.
 */
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/topology.h>
#include "pcpu_magazine_kunit.h"

#define SLOT_MASK	((1UL << PCPU_MAGAZINE_SLOT_BITS) - 1)

/* Slots that a depot of these tests has at most. */
#define MOST_SLOTS	16384

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "seed of the random tests, 0 for a new one each time");

unsigned long magtest_seed(struct kunit *test)
{
	if (!seed)
		seed = get_random_u32() | 1;
	kunit_info(test, "pcpu_magazine_kunit.seed=%lu\n", seed);
	return seed;
}

const struct magtest_set magtest_sets[MAGTEST_NR_SETS] = {
	{ "small_objects",		{ 32, 96, 48, 4 }, 2 },
	{ "large_objects",		{ 1, 3, 1, 1 }, 1 },
	{ "largest_objects",		{ 2, 6, 3, 1 }, 2 },
	{ "smallest_possible",		{ 1, 2, 1, 0 }, 1 },
	{ "low_above_batch",		{ 8, 16, 4, 4 }, 3 },
	{ "low_above_two_batches",	{ 10, 14, 3, 2 }, 5 },
	{ "high_no_multiple_of_batch",	{ 3, 10, 4, 1 }, 1 },
	{ "batch_above_half_of_high",	{ 1, 8, 6, 6 }, 2 },
	{ "batch_is_all_between_marks",	{ 2, 7, 5, 4 }, 1 },
	{ "batch_above_one_bulk",	{ 16, 300, 150, 4 }, 1 },
};

/* Objects and where they are */

static const char * const place_names[] = {
	"not allocated", "in the pool", "out", "deferred", "overflown", "for reclaim", "drained",
};

static_assert(ARRAY_SIZE(place_names) == MAGTEST_NR_PLACES);

static struct magtest_pool *to_pool(struct pcpu_magazine_pool *mag)
{
	return container_of(mag, struct magtest_pool, mag);
}

/* Any context: the test's thread reports the first one, see magtest_settled(). */
void magtest_fault(struct magtest_pool *p, const char *what, unsigned int id,
		   unsigned int place)
{
	if (!atomic_fetch_inc(&p->faults))
		p->first_fault = (struct magtest_fault){ what, id, place };
}

static unsigned int object_id(struct magtest_pool *p, struct magtest_object *o)
{
	return o - p->objs;
}

/* NULL if @node is not an object of this pool. */
static struct magtest_object *to_object(struct magtest_pool *p, struct llist_node *node)
{
	unsigned long offset = (unsigned long)node - (unsigned long)p->objs;

	if (offset >= p->nr_objs * sizeof(*p->objs) || offset % sizeof(*p->objs)) {
		magtest_fault(p, "no object of this pool", 0, MAGTEST_POOL);
		return NULL;
	}
	return container_of(node, struct magtest_object, node);
}

bool magtest_move(struct magtest_pool *p, struct magtest_object *o, enum magtest_place from,
		  enum magtest_place to)
{
	int was = atomic_cmpxchg(&o->place, from, to);

	if (was != from)
		magtest_fault(p, place_names[to], object_id(p, o), was);
	return was == from;
}

unsigned int magtest_move_chain(struct magtest_pool *p, struct llist_node *first,
				enum magtest_place from, enum magtest_place to)
{
	struct llist_node *node, *next;
	struct magtest_object *o;
	unsigned int nr = 0;

	for (node = first; node; node = next) {
		next = READ_ONCE(node->next);
		o = to_object(p, node);
		if (!o || !magtest_move(p, o, from, to))
			break;
		nr++;
	}
	return nr;
}

/* Objects on a chain, all of which must be in @place. */
unsigned int magtest_chain_length(struct magtest_pool *p, struct llist_node *first,
				  enum magtest_place place)
{
	struct magtest_object *o;
	struct llist_node *node;
	unsigned int nr = 0;

	for (node = first; node; node = node->next) {
		o = to_object(p, node);
		if (!o)
			break;
		if (atomic_read(&o->place) != place)
			magtest_fault(p, place_names[place], object_id(p, o),
				      atomic_read(&o->place));
		if (++nr > p->nr_objs) {
			magtest_fault(p, "chain has no end", object_id(p, o), place);
			break;
		}
	}
	return nr;
}

unsigned int magtest_count(struct magtest_pool *p, enum magtest_place place)
{
	unsigned int i, nr = 0;

	for (i = 0; i < p->nr_objs; i++)
		nr += atomic_read(&p->objs[i].place) == place;
	return nr;
}

/* Up to @nr objects of a list, their number in @got; others may add meanwhile. */
static struct llist_node *cut(struct llist_head *head, unsigned int nr, unsigned int *got)
{
	struct llist_node *first = llist_del_all(head), *last = first, *end;

	if (!first)
		return NULL;
	for (*got = 1; *got < nr && last->next; (*got)++)
		last = last->next;
	end = last;
	while (end->next)
		end = end->next;
	if (end != last)
		llist_add_batch(last->next, end, head);
	last->next = NULL;
	return first;
}

/* The backend */

static unsigned int backend_alloc(struct pcpu_magazine_pool *mag, int node, gfp_t gfp,
				  unsigned int nr, void **objs)
{
	struct magtest_pool *p = to_pool(mag);
	unsigned int i;
	int new, call;

	WRITE_ONCE(p->node, node);
	if (p->on_alloc)
		p->on_alloc(p);
	if (!nr)
		magtest_fault(p, "asked for no object", 0, MAGTEST_BACKEND);
	call = atomic_inc_return(&p->calls);
	if (p->refuse || (p->refuse_from && call >= p->refuse_from))
		return 0;
	nr = min(nr, p->at_most);
	for (i = 0; i < nr; i++) {
		new = atomic_fetch_add_unless(&p->next_new, 1, p->nr_objs);
		if (new == p->nr_objs)
			break;
		magtest_move(p, &p->objs[new], MAGTEST_BACKEND, MAGTEST_POOL);
		objs[i] = &p->objs[new].node;
	}
	return i;
}

/* Either the depot has begun to hold too much, or the CPU at hand wants more. */
static void backend_kick(struct pcpu_magazine_shard *shard)
{
	struct magtest_pool *p = to_pool(shard->pool);
	unsigned int i = pcpu_magazine_shard_of(raw_smp_processor_id());

	if (pcpu_magazine_level(shard) > (shard->target + 1) * p->mag.marks.batch) {
		p->surplus_of = shard;
		atomic_inc(&p->surpluses);
		return;
	}
	atomic_inc(&p->kicks);
	/* Where others take and give, the level is another one by now. */
	if (p->shared)
		return;
	if (!READ_ONCE(raw_cpu_ptr(p->cpus)->busy))
		magtest_fault(p, "the refill was asked for too late", 0, MAGTEST_POOL);
	if (shard != p->shards[i])
		magtest_fault(p, "asked for stock of another CPU's shard", 0, MAGTEST_POOL);
}

static void backend_overflow(struct pcpu_magazine_shard *shard, struct llist_node *first,
			     struct llist_node *last, unsigned int nr)
{
	struct magtest_pool *p = to_pool(shard->pool);

	if (last->next)
		magtest_fault(p, "overflow goes on after its end", 0, MAGTEST_OVERFLOW);
	last->next = NULL;
	if (magtest_move_chain(p, first, MAGTEST_POOL, MAGTEST_OVERFLOW) != nr)
		magtest_fault(p, "overflow of another length", 0, MAGTEST_OVERFLOW);
	atomic_inc(&p->overflows);
	if (nr != p->mag.marks.batch)
		atomic_inc(&p->short_overflows);
	llist_add_batch(first, last, &p->overflow);
}

static struct llist_node *backend_reclaim(struct pcpu_magazine_shard *shard, unsigned int *nr)
{
	struct magtest_pool *p = to_pool(shard->pool);
	struct llist_node *list;

	atomic_inc(&p->reclaims);
	list = cut(&p->reclaimable, p->mag.marks.batch, nr);
	magtest_move_chain(p, list, MAGTEST_RECLAIM, MAGTEST_POOL);
	return list;
}

const struct pcpu_magazine_ops magtest_plain_ops = {
	.kick		= backend_kick,
	.overflow	= backend_overflow,
	.alloc_bulk	= backend_alloc,
};

const struct pcpu_magazine_ops magtest_reclaiming_ops = {
	.kick		= backend_kick,
	.overflow	= backend_overflow,
	.reclaim	= backend_reclaim,
	.alloc_bulk	= backend_alloc,
};

/* New objects that the test puts into the pool by itself. */
struct llist_node *magtest_new_chain(struct kunit *test, struct magtest_pool *p,
				     unsigned int nr)
{
	struct llist_node *first = NULL, *node;
	void *obj;

	while (nr--) {
		KUNIT_ASSERT_EQ(test, backend_alloc(&p->mag, 0, GFP_KERNEL, 1, &obj), 1);
		node = obj;
		node->next = first;
		first = node;
	}
	return first;
}

/* Objects go in and out */

static unsigned long payload_of(struct magtest_pool *p, struct magtest_object *o)
{
	return (object_id(p, o) + 1) * 0x01010101UL;
}

struct magtest_object *magtest_sign_out(struct magtest_pool *p, struct llist_node *node)
{
	struct magtest_object *o = node ? to_object(p, node) : NULL;

	if (!o || !magtest_move(p, o, MAGTEST_POOL, MAGTEST_OUT))
		return NULL;
	o->node.next = &p->trap;
	o->payload[0] = payload_of(p, o);
	o->payload[1] = ~o->payload[0];
	return o;
}

bool magtest_leave_out(struct magtest_pool *p, struct magtest_object *o, enum magtest_place to)
{
	unsigned long payload = payload_of(p, o);

	if (o->node.next != &p->trap || o->payload[0] != payload || o->payload[1] != ~payload)
		magtest_fault(p, "overwritten", object_id(p, o), atomic_read(&o->place));
	o->payload[0] = 0;
	return magtest_move(p, o, MAGTEST_OUT, to);
}

/* As callers do it: the fast path, and the rest of it elsewhere. */
struct magtest_object *magtest_take(struct magtest_pool *p)
{
	return magtest_sign_out(p, pcpu_magazine_get_fast(p->cpus) ?:
				   pcpu_magazine_get(p->cpus));
}

void magtest_give(struct magtest_pool *p, struct magtest_object *o)
{
	if (magtest_leave_out(p, o, MAGTEST_POOL) && !pcpu_magazine_put_fast(p->cpus, &o->node))
		pcpu_magazine_put(p->cpus, &o->node);
}

bool magtest_defer(struct magtest_pool *p, struct magtest_object *o)
{
	return magtest_leave_out(p, o, MAGTEST_DEFERRED) &&
	       pcpu_magazine_defer(p->cpus, &o->node);
}

/*
 * The same on p->out, for one CPU. Also from a seam or an interrupt that a seam
 * waits for: both come while the interrupted call is in the layer, not here.
 */
bool magtest_take_out(struct magtest_pool *p)
{
	struct magtest_object *o = magtest_take(p);

	if (!o) {
		p->nr_missed++;
		return false;
	}
	p->nr_taken++;
	p->out[p->nr_out++] = o;
	return true;
}

void magtest_give_out(struct magtest_pool *p)
{
	if (p->nr_out)
		magtest_give(p, p->out[--p->nr_out]);
}

bool magtest_defer_out(struct magtest_pool *p)
{
	return p->nr_out && magtest_defer(p, p->out[--p->nr_out]);
}

unsigned int magtest_take_all(struct magtest_pool *p)
{
	unsigned int nr = 0;

	while (magtest_take_out(p))
		nr++;
	return nr;
}

void magtest_give_all(struct magtest_pool *p)
{
	while (p->nr_out)
		magtest_give_out(p);
}

static void add_to_overflow(struct magtest_pool *p, struct llist_node *first)
{
	struct llist_node *last = first;

	while (last->next)
		last = last->next;
	llist_add_batch(first, last, &p->overflow);
}

/* Overflown objects go back as far as there is room. */
void magtest_restock_overflow(struct magtest_pool *p)
{
	unsigned int cpu = raw_smp_processor_id(), nr;
	struct pcpu_magazine_shard *shard = p->shards[pcpu_magazine_shard_of(cpu)];
	struct llist_node *list;

	while ((list = cut(&p->overflow, p->mag.marks.batch, &nr))) {
		if (magtest_move_chain(p, list, MAGTEST_OVERFLOW, MAGTEST_POOL) != nr)
			magtest_fault(p, "cut to another length", 0, MAGTEST_OVERFLOW);
		if (pcpu_magazine_put_chain(shard, list, nr))
			continue;
		magtest_move_chain(p, list, MAGTEST_POOL, MAGTEST_OVERFLOW);
		add_to_overflow(p, list);
		break;
	}
}

/* Deferred objects join the overflown ones. */
unsigned int magtest_collect_deferred(struct magtest_pool *p)
{
	unsigned int nr, total = 0;
	struct llist_head *head;
	struct llist_node *list;
	int cpu;

	for_each_possible_cpu(cpu) {
		head = &per_cpu_ptr(p->cpus, cpu)->deferred;
		while ((list = cut(head, p->mag.marks.batch, &nr))) {
			total += magtest_move_chain(p, list, MAGTEST_DEFERRED,
						    MAGTEST_OVERFLOW);
			add_to_overflow(p, list);
		}
	}
	return total;
}

/* More batches than any target of these tests. */
unsigned int magtest_refill(struct magtest_pool *p)
{
	return max(pcpu_magazine_refill(p->shard, 64, GFP_KERNEL), 0);
}

void magtest_flush(struct magtest_pool *p, unsigned int keep)
{
	preempt_disable();
	pcpu_magazine_flush(&p->mag, keep);
	preempt_enable();
}

/* Pools */

/* Nothing is taken out object by object: it may be a pool that a fault has torn. */
static void pool_destroy(void *data)
{
	struct magtest_pool *p = data;
	unsigned int i;

	if (p->mag.shards) {
		for (i = 0; i < p->mag.nr_shards; i++)
			atomic_set(&p->shards[i]->depot.level, 0);
		pcpu_magazine_exit(&p->mag);
	}
	for (i = 0; p->shards && i < pcpu_magazine_nr_shards(); i++)
		kfree(p->shards[i]);
	kfree(p->shards);
	free_percpu(p->cpus);
	kvfree(p->out);
	kfree(p->objs);
	kfree(p);
}

/* What a pool is made of: pcpu_magazine_init() is the test's. */
struct magtest_pool *magtest_pool_alloc(struct kunit *test, unsigned int nr_objs)
{
	struct magtest_pool *p = kzalloc(sizeof(*p), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, pool_destroy, p), 0);
	p->nr_objs = nr_objs;
	p->trap.next = &p->trap;
	p->at_most = UINT_MAX;
	/* On the node of this CPU: others go home to another shard. */
	p->objs = kcalloc_node(nr_objs, sizeof(*p->objs), GFP_KERNEL, numa_mem_id());
	KUNIT_ASSERT_NOT_NULL(test, p->objs);
	p->out = kvcalloc(nr_objs, sizeof(*p->out), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->out);
	p->cpus = alloc_percpu(struct pcpu_magazine_cpu);
	KUNIT_ASSERT_TRUE(test, !!p->cpus);
	p->shards = kcalloc(pcpu_magazine_nr_shards(), sizeof(*p->shards), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->shards);
	for (i = 0; i < pcpu_magazine_nr_shards(); i++) {
		p->shards[i] = kzalloc(sizeof(**p->shards), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p->shards[i]);
	}
	p->shard = p->shards[pcpu_magazine_shard_of(raw_smp_processor_id())];
	return p;
}

static struct magtest_pool *pool_open(struct kunit *test, const struct pcpu_magazine_ops *ops,
				      const struct magtest_set *set, unsigned int nr_objs)
{
	struct magtest_pool *p = magtest_pool_alloc(test, nr_objs);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, pcpu_magazine_init(&p->mag, p->cpus, ops, &set->marks, p->shards),
			0);
	/* It may find something: whether it does is asked of it each time. */
	if (ops->reclaim)
		atomic_long_set(&p->mag.nr_reclaimable, 1);
	for (i = 0; i < p->mag.nr_shards; i++)
		pcpu_magazine_set_target(p->shards[i], set->target);
	pcpu_magazine_publish(&p->mag);
	return p;
}

/* Enough to fill a depot and more. */
struct magtest_pool *magtest_open(struct kunit *test, const struct pcpu_magazine_ops *ops,
				  const struct magtest_set *set)
{
	return pool_open(test, ops, set, 26 * set->marks.batch + 6 * set->marks.high);
}

struct magtest_pool *magtest_open_large(struct kunit *test, const struct magtest_set *set,
					unsigned int nr_objs)
{
	return pool_open(test, &magtest_plain_ops, set, nr_objs);
}

void magtest_forget_calls(struct magtest_pool *p)
{
	atomic_set(&p->kicks, 0);
	atomic_set(&p->surpluses, 0);
	atomic_set(&p->calls, 0);
	atomic_set(&p->overflows, 0);
	atomic_set(&p->reclaims, 0);
}

/*
 * Have at least @nr objects out, the depot exactly at its target, and the CPU
 * at or above the low mark, topped up when it last fell below it.
 */
void magtest_stock_up(struct magtest_pool *p, unsigned int nr)
{
	const struct pcpu_magazine_marks *marks = &p->mag.marks;
	unsigned int n;

	for (n = nr + marks->high; n; n--) {
		magtest_refill(p);
		if (p->nr_out >= nr && magtest_cpu_stock(p) >= marks->low)
			break;
		magtest_take_out(p);
	}
	/* A depot of one small chain cannot do it: what comes is taken at once. */
	while (!n && magtest_cpu_stock(p) < marks->high)
		magtest_give_out(p);
	magtest_refill(p);
	while (magtest_level(p) > magtest_goal(p) && magtest_take_out(p))
		;
	magtest_forget_calls(p);
}

/* While nobody is in the layer */

/* Slots by number: each part after the first has as many as all before it. */
struct pcpu_magazine_slot *magtest_slot(const struct pcpu_magazine_depot *depot,
					unsigned int number)
{
	unsigned int before = 0, nr = 1U << depot->shift, part;

	for (part = 0; number > before + nr; part++) {
		before += nr;
		nr = before;
	}
	return &depot->part[part][number - before - 1];
}

static DECLARE_BITMAP(seen, MOST_SLOTS + 1);

/* Each slot is on one list, once, and chains are what they are said to be. */
unsigned int magtest_depot_check(struct kunit *test, struct magtest_pool *p,
				 const struct pcpu_magazine_depot *depot, unsigned int longest,
				 unsigned int *chains)
{
	const atomic64_t *lists[] = { &depot->full, &depot->free };
	unsigned int i, number, nr, slots = 0, objects = 0;
	struct pcpu_magazine_slot *slot;

	KUNIT_ASSERT_LE(test, depot->nr_slots, MOST_SLOTS);
	bitmap_zero(seen, MOST_SLOTS + 1);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		number = atomic64_read(lists[i]) & SLOT_MASK;
		for (; number; number = slot->next, slots++) {
			KUNIT_ASSERT_LE(test, number, depot->nr_slots);
			KUNIT_ASSERT_FALSE_MSG(test, test_and_set_bit(number, seen),
					       "slot %u is on two lists", number);
			slot = magtest_slot(depot, number);
			if (i)
				continue;
			nr = magtest_chain_length(p, slot->first, MAGTEST_POOL);
			KUNIT_ASSERT_EQ_MSG(test, nr, slot->nr, "slot %u", number);
			KUNIT_ASSERT_GT_MSG(test, nr, 0, "slot %u", number);
			KUNIT_ASSERT_LE_MSG(test, nr, longest, "slot %u", number);
			objects += nr;
			(*chains)++;
		}
	}
	KUNIT_ASSERT_EQ_MSG(test, slots, depot->nr_slots, "slots got lost");
	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&depot->level), objects, "level is wrong");
	return objects;
}

unsigned int magtest_chains(struct kunit *test, struct magtest_pool *p)
{
	unsigned int chains = 0;

	magtest_depot_check(test, p, &p->shard->depot, p->mag.marks.batch, &chains);
	return chains;
}

static unsigned int settled_depots(struct kunit *test, struct magtest_pool *p)
{
	unsigned int i, nr, free = 0, chains = 0;

	for (i = 0; i < p->mag.nr_shards; i++) {
		nr = magtest_depot_check(test, p, &p->shards[i]->depot, p->mag.marks.batch,
					 &chains);
		if (nr && p->mag.nr_shards > 1)
			KUNIT_ASSERT_TRUE_MSG(test, p->mag.stocked & BIT(i),
					      "chains of shard %u are hidden", i);
		free += nr;
	}
	if (p->mag.reserve)
		free += magtest_depot_check(test, p, p->mag.reserve, 1, &chains);
	return free;
}

/* Every object that is free can be found, and counts are right. */
void magtest_settled(struct kunit *test, struct magtest_pool *p, const char *when,
		     const char *what)
{
	unsigned int free, deferred = 0, nr;
	struct pcpu_magazine_cpu *c;
	int cpu;

	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&p->faults), 0,
			    "%s %s: object %u was %s on its way to: %s", when, what,
			    p->first_fault.id, place_names[p->first_fault.place],
			    p->first_fault.what);
	free = settled_depots(test, p);
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(p->cpus, cpu);
		nr = magtest_chain_length(p, c->loaded, MAGTEST_POOL);
		KUNIT_ASSERT_EQ_MSG(test, nr, c->nr, "loaded, %s %s", when, what);
		free += nr;
		nr = magtest_chain_length(p, c->spare, MAGTEST_POOL);
		/* What a nested context has taken, its CPU does not know yet. */
		KUNIT_ASSERT_EQ_MSG(test, nr, c->spare ? c->nr_spare : 0, "spare, %s %s",
				    when, what);
		free += nr + magtest_chain_length(p, c->nested.first, MAGTEST_POOL);
		deferred += magtest_chain_length(p, c->deferred.first, MAGTEST_DEFERRED);
		KUNIT_ASSERT_EQ_MSG(test, c->busy, 0, "%s %s", when, what);
	}
	KUNIT_ASSERT_EQ_MSG(test, atomic_read(&p->faults), 0,
			    "%s %s: object %u is %s and not %s", when, what, p->first_fault.id,
			    place_names[p->first_fault.place], p->first_fault.what);
	KUNIT_ASSERT_EQ_MSG(test, free, magtest_count(p, MAGTEST_POOL),
			    "lost or doubled, %s %s", when, what);
	KUNIT_ASSERT_EQ_MSG(test, deferred, magtest_count(p, MAGTEST_DEFERRED), "%s %s", when,
			    what);
}

void magtest_release_drained(struct pcpu_magazine_pool *mag, struct llist_node *list)
{
	struct magtest_pool *p = to_pool(mag);
	struct llist_node *node, *next;
	struct magtest_object *o;
	enum magtest_place from;

	for (node = list; node; node = next) {
		next = node->next;
		o = to_object(p, node);
		if (!o)
			break;
		from = atomic_read(&o->place) == MAGTEST_DEFERRED ? MAGTEST_DEFERRED :
								   MAGTEST_POOL;
		magtest_move(p, o, from, MAGTEST_DRAINED);
		node->next = &p->trap;
	}
}

void magtest_close(struct kunit *test, struct magtest_pool *p, const char *what)
{
	magtest_settled(test, p, "before drain of", what);
	pcpu_magazine_drain(&p->mag, magtest_release_drained);
	magtest_settled(test, p, "after drain of", what);
	KUNIT_ASSERT_EQ_MSG(test, magtest_count(p, MAGTEST_POOL), 0, "lost, %s", what);
	KUNIT_ASSERT_EQ_MSG(test, magtest_count(p, MAGTEST_DEFERRED), 0, "lost, %s", what);
	KUNIT_ASSERT_EQ_MSG(test, pcpu_magazine_cached(&p->mag), 0, "%s", what);
	kunit_release_action(test, pool_destroy, p);
}

/* One thread runs one case: what it does on "this CPU" stays on one CPU. */
int magtest_init(struct kunit *test)
{
	memset(&magtest_probe, 0, sizeof(magtest_probe));
	return set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

MODULE_DESCRIPTION("What the KUnit tests of per-CPU magazines share");
MODULE_LICENSE("GPL");
