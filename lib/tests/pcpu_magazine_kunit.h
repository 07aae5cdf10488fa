/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the KUnit suites of per-CPU magazines share: objects that know where they
 * are, a backend that the test controls, and code at the seams of the layer.
 *
 * Every object knows where it is (enum magtest_place) and moves by
 * compare-and-exchange from the place where it must be to the next. An object that
 * is handed out twice, or comes from nowhere, fails that; the first such fault is
 * kept and reported by the test's own thread. An object that got lost is still in
 * MAGTEST_POOL when the pool has been drained. See magtest_take(), magtest_give()
 * and magtest_settled().
 *
 * What interrupts do to a critical section is tested in three ways, all through
 * the seams of the layer: a call straight from the seam, with busy set (what a
 * nested context sees); a call with busy cleared for its duration (what the
 * interrupted code sees when the interrupt came just before it set busy); and
 * a real hard interrupt that the seam waits for.
 */
#ifndef _PCPU_MAGAZINE_KUNIT_H
#define _PCPU_MAGAZINE_KUNIT_H

#include <kunit/test.h>
#include <linux/pcpu_magazine.h>
#include <linux/sched.h>

enum magtest_place {
	MAGTEST_BACKEND,	/* not allocated yet */
	MAGTEST_POOL,		/* free: somewhere in the layer */
	MAGTEST_OUT,		/* handed out */
	MAGTEST_DEFERRED,	/* given back, not to be handed out */
	MAGTEST_OVERFLOW,	/* the depot had no room */
	MAGTEST_RECLAIM,	/* for reclaim() */
	MAGTEST_DRAINED,
	MAGTEST_NR_PLACES
};

struct magtest_object {
	struct llist_node node;
	atomic_t place;
	unsigned long payload[2];
};

struct magtest_fault {
	const char *what;
	unsigned int id;
	unsigned int place;
};

/**
 * struct magtest_pool - a pool, its objects and what has happened to them
 * @mag: the pool under test
 * @cpus: its per-CPU part
 * @shards: its shards
 * @shard: that of the CPU that the test's thread is pinned to
 * @refuse: the backend has no more objects
 * @refuse_from: it has none from this call on, counted from 1; 0 for never
 * @at_most: objects per call, the rest of it is refused
 * @on_alloc: called by each call of alloc_bulk(), may be NULL
 * @node: that the last of them was to come from
 * @calls: of alloc_bulk()
 * @shared: several CPUs use it
 * @kicks: calls of kick() because stock is short
 * @surpluses: those because a depot has more than it is to hold
 * @surplus_of: the depot of the last of these
 * @overflows: calls of overflow()
 * @short_overflows: those with less than a batch
 * @reclaims: calls of reclaim()
 * @faults: see magtest_fault()
 * @first_fault: the first of them
 * @overflow: objects that found no room
 * @reclaimable: objects for reclaim()
 * @out: objects that a single-threaded test holds
 * @nr_out: their number
 * @nr_taken: objects that magtest_take_out() got since magtest_arm()
 * @nr_missed: calls that got none
 * @trap: what the first word of a live object points at
 * @next_new: number of the next object that the backend has
 * @nr_objs: all objects there are
 * @objs: the objects, in the linear map: the layer asks for their node
 */
struct magtest_pool {
	struct pcpu_magazine_pool mag;
	struct pcpu_magazine_cpu __percpu *cpus;
	struct pcpu_magazine_shard **shards;
	struct pcpu_magazine_shard *shard;
	bool refuse;
	int refuse_from;
	unsigned int at_most;
	void (*on_alloc)(struct magtest_pool *p);
	int node;
	atomic_t calls;
	bool shared;
	atomic_t kicks;
	atomic_t surpluses;
	struct pcpu_magazine_shard *surplus_of;
	atomic_t overflows;
	atomic_t short_overflows;
	atomic_t reclaims;
	atomic_t faults;
	struct magtest_fault first_fault;
	struct llist_head overflow;
	struct llist_head reclaimable;
	struct magtest_object **out;
	unsigned int nr_out;
	unsigned int nr_taken;
	unsigned int nr_missed;
	struct llist_node trap;
	atomic_t next_new;
	unsigned int nr_objs;
	struct magtest_object *objs;
};

/* Sizes of everything, as a parameter of cases. */
struct magtest_set {
	const char *name;
	struct pcpu_magazine_marks marks;	/* low, high, batch, first */
	unsigned int target;			/* no more than a new depot has room for */
};

#define MAGTEST_NR_SETS	10

extern const struct magtest_set magtest_sets[MAGTEST_NR_SETS];

static inline const struct magtest_set *magtest_set(struct kunit *test)
{
	return test->param_value;
}

/* Objects */
void magtest_fault(struct magtest_pool *p, const char *what, unsigned int id,
		   unsigned int place);
bool magtest_move(struct magtest_pool *p, struct magtest_object *o, enum magtest_place from,
		  enum magtest_place to);
unsigned int magtest_move_chain(struct magtest_pool *p, struct llist_node *first,
				enum magtest_place from, enum magtest_place to);
unsigned int magtest_chain_length(struct magtest_pool *p, struct llist_node *first,
				  enum magtest_place place);
unsigned int magtest_count(struct magtest_pool *p, enum magtest_place place);
struct llist_node *magtest_new_chain(struct kunit *test, struct magtest_pool *p,
				     unsigned int nr);

/* Pools */
extern const struct pcpu_magazine_ops magtest_plain_ops;
extern const struct pcpu_magazine_ops magtest_reclaiming_ops;

int magtest_init(struct kunit *test);
struct magtest_pool *magtest_pool_alloc(struct kunit *test, unsigned int nr_objs);
struct magtest_pool *magtest_open(struct kunit *test, const struct pcpu_magazine_ops *ops,
				  const struct magtest_set *set);
struct magtest_pool *magtest_open_large(struct kunit *test, const struct magtest_set *set,
					unsigned int nr_objs);
void magtest_close(struct kunit *test, struct magtest_pool *p, const char *what);
void magtest_settled(struct kunit *test, struct magtest_pool *p, const char *when,
		     const char *what);
struct pcpu_magazine_slot *magtest_slot(const struct pcpu_magazine_depot *depot,
					unsigned int number);
unsigned int magtest_depot_check(struct kunit *test, struct magtest_pool *p,
				 const struct pcpu_magazine_depot *depot, unsigned int longest,
				 unsigned int *chains);
unsigned int magtest_chains(struct kunit *test, struct magtest_pool *p);
void magtest_release_drained(struct pcpu_magazine_pool *mag, struct llist_node *list);
void magtest_forget_calls(struct magtest_pool *p);

/* Taking and giving, any context */
struct magtest_object *magtest_sign_out(struct magtest_pool *p, struct llist_node *node);
bool magtest_leave_out(struct magtest_pool *p, struct magtest_object *o,
		       enum magtest_place to);
struct magtest_object *magtest_take(struct magtest_pool *p);
void magtest_give(struct magtest_pool *p, struct magtest_object *o);
bool magtest_defer(struct magtest_pool *p, struct magtest_object *o);

/* The same on @out, one CPU */
bool magtest_take_out(struct magtest_pool *p);
void magtest_give_out(struct magtest_pool *p);
bool magtest_defer_out(struct magtest_pool *p);
unsigned int magtest_take_all(struct magtest_pool *p);
void magtest_give_all(struct magtest_pool *p);

/* Stock */
unsigned int magtest_refill(struct magtest_pool *p);
void magtest_restock_overflow(struct magtest_pool *p);
unsigned int magtest_collect_deferred(struct magtest_pool *p);
void magtest_flush(struct magtest_pool *p, unsigned int keep);
void magtest_stock_up(struct magtest_pool *p, unsigned int nr);
void magtest_fill_all_places(struct kunit *test, struct magtest_pool *p);

/* The test's thread is pinned, see magtest_init(). */
static inline struct pcpu_magazine_cpu *magtest_cpu(struct magtest_pool *p)
{
	return raw_cpu_ptr(p->cpus);
}

static inline unsigned int magtest_cpu_stock(struct magtest_pool *p)
{
	return magtest_cpu(p)->nr + magtest_cpu(p)->nr_spare;
}

static inline unsigned int magtest_level(struct magtest_pool *p)
{
	return pcpu_magazine_level(p->shard);
}

static inline unsigned int magtest_goal(struct magtest_pool *p)
{
	return p->shard->target * p->mag.marks.batch;
}

/* Code at the seams */

/**
 * struct magtest_probe - code that runs once at a seam
 * @task: the thread that is to come to it
 * @pool: passed to @action
 * @seam: where
 * @skip: times that the seam is passed before
 * @action: what to do there
 * @just_before: as if before busy was set
 * @armed: not yet done
 * @descending: on the way to the seam of a nested call
 * @hits: times that @action was run
 * @hits_busy: those with busy set
 */
struct magtest_probe {
	struct task_struct *task;
	struct magtest_pool *pool;
	enum pcpu_magazine_seam seam;
	unsigned int skip;
	void (*action)(struct magtest_pool *p);
	bool just_before;
	bool armed;
	bool descending;
	unsigned int hits;
	unsigned int hits_busy;
};

extern struct magtest_probe magtest_probe;

void magtest_seams_on(struct kunit *test, void (*hook)(enum pcpu_magazine_seam seam));
void magtest_seams_off(struct kunit *test);
void magtest_probe_hook(enum pcpu_magazine_seam seam);
void magtest_arm(struct magtest_pool *p, enum pcpu_magazine_seam seam,
		 void (*action)(struct magtest_pool *p));

/* Printed by the suites that use it, so that a failure can be replayed. */
unsigned long magtest_seed(struct kunit *test);

#endif /* _PCPU_MAGAZINE_KUNIT_H */
