/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU magazines of free objects over a shared depot, for any context.
 *
 * Best for: objects of one size that are taken and given back at high rates
 * from task, interrupt and NMI context, where a taker cannot wait and a giver
 * cannot fail. Not for: objects that must go back to where they came from at
 * once, or pools so small that a batch per CPU is too much.
 *
 * The layer never allocates by itself, takes no lock and disables no
 * interrupt. See Documentation/core-api/pcpu_magazine.rst for the whole story
 * and for the argument why it is correct.
 *
 * The names follow J. Bonwick and J. Adams, "Magazines and Vmem: Extending the
 * Slab Allocator to Many CPUs and Arbitrary Resources", USENIX 2001.
 */
#ifndef _LINUX_PCPU_MAGAZINE_H
#define _LINUX_PCPU_MAGAZINE_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/jump_label.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/types.h>

struct pcpu_magazine;

/**
 * struct pcpu_magazine_cpu - what one CPU holds: one cache line
 * @loaded: chain that objects are taken from and given to
 * @nr: objects on @loaded
 * @mark: taking is fast while @nr is above it
 * @full: giving is fast while @nr is below it; a nested context may set it to
 *	0, so that the next one who gives looks after @nested
 * @nr_spare: objects on @spare when it was filled
 * @busy: a context of this CPU is between the first and the last store of a
 *	change to the fields above
 * @spare: slot with a second chain, exchanged with @loaded or the depot as a
 *	whole
 * @nested: objects given while @busy was set
 * @deferred: objects that may not be handed out yet
 * @mag: the shared part, NULL until pcpu_magazine_init(), which may come while
 *	others give objects already: these wait on @nested or @deferred
 * @nr_fetched: chains that came from the depot
 * @nr_returned: chains that went to the depot
 *
 * Everything up to @busy (but for @full) and the counters are written by the
 * owning CPU only, with preemption disabled and @busy set. Contexts of one CPU
 * nest strictly: whoever finds @busy clear runs to its end before the context
 * that it interrupted goes on, so checking and setting @busy needs no atomic
 * instruction. Whoever finds it set must not touch those fields and uses
 * @nested and the depot instead.
 * @nested and @deferred are lock-less lists: any context adds, takers take the
 * whole list. @spare is filled by the owning CPU only, with @busy set, and only
 * when it is empty; any context on any CPU may take it. @mag is set once, after
 * all that it leads to and after @mark and @full.
 *
 * A change reads the chain only after it has set @busy. Read before, an
 * interrupt could take the same object in between.
 */
struct pcpu_magazine_cpu {
	struct llist_node *loaded;
	unsigned int nr;
	unsigned int mark;
	unsigned int full;
	u16 nr_spare;
	u8 busy;
	unsigned long spare;
	struct llist_head nested;
	struct llist_head deferred;
	struct pcpu_magazine *mag;
	u32 nr_fetched;
	u32 nr_returned;
} __aligned(64);

/**
 * struct pcpu_magazine_ops - what the user of the layer supplies
 * @kick: stock is short; arrange for pcpu_magazine_refill() to run soon. Any
 *	context, also inside the critical section of the same CPU; must not
 *	take or give objects.
 * @overflow: the chain from @first to @last found no room in the depot; keep
 *	it or release it later. Any context, as for @kick.
 * @scavenge: optional; the CPU, its nested list and the depot are empty:
 *	return a NULL-terminated chain of objects that may be used at once, or
 *	NULL. Any context, as for @kick.
 * @alloc_bulk: get up to @nr new objects and return how many came. Called
 *	from pcpu_magazine_refill() only, with the flags given to that.
 */
struct pcpu_magazine_ops {
	void (*kick)(struct pcpu_magazine *mag);
	void (*overflow)(struct pcpu_magazine *mag, struct llist_node *first,
			 struct llist_node *last);
	struct llist_node *(*scavenge)(struct pcpu_magazine *mag);
	unsigned int (*alloc_bulk)(struct pcpu_magazine *mag, gfp_t gfp,
				   unsigned int nr, void **objs);
};

/**
 * struct pcpu_magazine_marks - watermarks
 * @low: objects per CPU below which stock is topped up
 * @high: objects per CPU above which a batch is given away
 * @batch: objects that move between a CPU and the depot at once
 * @target: batches that a refill leaves in the depot when demand is low
 * @slots: batches that the depot can hold at first
 * @busy_target: @target when one refill follows upon another
 * @limit: @target when allocations have failed
 *
 * 0 for @busy_target or @limit means that the depot does not follow demand.
 */
struct pcpu_magazine_marks {
	unsigned int low;
	unsigned int high;
	unsigned int batch;
	unsigned int target;
	unsigned int slots;
	unsigned int busy_target;
	unsigned int limit;
};

/**
 * enum pcpu_magazine_event - what is counted, none of it on the fast paths
 * @PCPU_MAGAZINE_MISS_TASK: calls that got nothing, in a task
 * @PCPU_MAGAZINE_MISS_SOFTIRQ: the same in a softirq
 * @PCPU_MAGAZINE_MISS_HARDIRQ: the same in a hardirq
 * @PCPU_MAGAZINE_MISS_NMI: the same in an NMI
 * @PCPU_MAGAZINE_NESTED_GET: objects taken inside another's critical section
 * @PCPU_MAGAZINE_NESTED_PUT: objects given inside another's critical section
 * @PCPU_MAGAZINE_SCAVENGED: times that &pcpu_magazine_ops.scavenge had some
 * @PCPU_MAGAZINE_STOLEN: chains that a CPU had put aside and another context took
 * @PCPU_MAGAZINE_RESERVE: objects taken from the reserve
 * @PCPU_MAGAZINE_REFILLS: calls of pcpu_magazine_refill()
 * @PCPU_MAGAZINE_NEW: objects from &pcpu_magazine_ops.alloc_bulk
 * @PCPU_MAGAZINE_NR_SHARED: number of those above, which all CPUs count together
 * @PCPU_MAGAZINE_FETCHED: chains that moved from the depot to a CPU
 * @PCPU_MAGAZINE_RETURNED: chains that moved from a CPU to the depot
 * @PCPU_MAGAZINE_NR_EVENTS: number of all
 */
enum pcpu_magazine_event {
	PCPU_MAGAZINE_MISS_TASK,
	PCPU_MAGAZINE_MISS_SOFTIRQ,
	PCPU_MAGAZINE_MISS_HARDIRQ,
	PCPU_MAGAZINE_MISS_NMI,
	PCPU_MAGAZINE_NESTED_GET,
	PCPU_MAGAZINE_NESTED_PUT,
	PCPU_MAGAZINE_SCAVENGED,
	PCPU_MAGAZINE_STOLEN,
	PCPU_MAGAZINE_RESERVE,
	PCPU_MAGAZINE_REFILLS,
	PCPU_MAGAZINE_NEW,
	PCPU_MAGAZINE_NR_SHARED,
	PCPU_MAGAZINE_FETCHED = PCPU_MAGAZINE_NR_SHARED,
	PCPU_MAGAZINE_RETURNED,
	PCPU_MAGAZINE_NR_EVENTS,
};

/**
 * struct pcpu_magazine_depot - a part of the depot, or of the reserve
 * @next: the next part; parts are added at the end and stay to the end
 * @nr: number of slots
 * @level: slots in use; an upper bound, raised before a chain becomes visible
 *	and lowered after it is gone, so that 0 means empty
 * @slots: each is 0 or one chain, see lib/pcpu_magazine.c
 */
struct pcpu_magazine_depot {
	struct pcpu_magazine_depot *next;
	unsigned int nr;
	atomic_t level;
	unsigned long slots[] __counted_by(nr);
};

/**
 * struct pcpu_magazine - the shared part of a pool of objects
 * @ops: callbacks of the user
 * @cpus: per-CPU part
 * @marks: watermarks, written by pcpu_magazine_set_marks() only; who uses
 *	several of them must stand a mixture of old and new
 * @batch_tag: &pcpu_magazine_marks.batch and the tag of chains of that length,
 *	in one word so that both are read at once
 * @target: batches that a refill leaves in the depot now; written by refills
 *	and pcpu_magazine_relax(), a lost update is made good by the next
 * @refilled: jiffies of the last refill
 * @wanted: CPUs that fell short and found the depot empty since the last refill
 * @missed: calls that got nothing since the last refill
 * @nr_chains: chains in the depot; an upper bound as &pcpu_magazine_depot.level
 * @nr_slots: chains that the depot can hold
 * @peak: the most chains that a refill has left in the depot
 * @nr_out: objects in use, and those on the loaded chains of CPUs
 * @depot: its first part
 * @reserve: first part of the reserve, whose slots hold one object each;
 *	taken from when there is nothing else, and filled before all else
 * @nr_reserved: objects that the reserve is to hold
 * @events: see &enum pcpu_magazine_event
 *
 * A CPU's loaded chain is known to that CPU, so @nr_out changes only when a
 * chain comes or goes, and yet the number of objects in use can be had at any
 * time.
 */
struct pcpu_magazine {
	const struct pcpu_magazine_ops *ops;
	struct pcpu_magazine_cpu __percpu *cpus;
	struct pcpu_magazine_marks marks;
	unsigned int batch_tag;
	unsigned int target;
	unsigned long refilled;
	atomic_t wanted;
	atomic_t missed;
	atomic_t nr_chains;
	unsigned int nr_slots;
	unsigned int peak;
	atomic_long_t nr_out;
	struct pcpu_magazine_depot *depot;
	struct pcpu_magazine_depot *reserve;
	unsigned int nr_reserved;
	atomic_long_t events[PCPU_MAGAZINE_NR_SHARED];
};

int pcpu_magazine_init(struct pcpu_magazine *mag,
		       struct pcpu_magazine_cpu __percpu *cpus,
		       const struct pcpu_magazine_ops *ops,
		       const struct pcpu_magazine_marks *marks);
void pcpu_magazine_exit(struct pcpu_magazine *mag);
struct llist_node *pcpu_magazine_get(struct pcpu_magazine_cpu __percpu *cpus);
bool pcpu_magazine_put(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj);
unsigned int pcpu_magazine_prefill(struct pcpu_magazine *mag, unsigned int nr,
				   gfp_t gfp);
unsigned int pcpu_magazine_refill(struct pcpu_magazine *mag, gfp_t gfp);
bool pcpu_magazine_is_low(struct pcpu_magazine *mag);
void pcpu_magazine_prepare(struct pcpu_magazine *mag, gfp_t gfp);
int pcpu_magazine_reserve(struct pcpu_magazine *mag, unsigned int nr, gfp_t gfp);
bool pcpu_magazine_relax(struct pcpu_magazine *mag);
struct llist_node *pcpu_magazine_trim(struct pcpu_magazine *mag, unsigned int keep);
void pcpu_magazine_flush(struct pcpu_magazine *mag);
bool pcpu_magazine_has_stock(struct pcpu_magazine *mag, unsigned int cpu);
void pcpu_magazine_flush_dead(struct pcpu_magazine *mag, unsigned int cpu);
struct llist_node *pcpu_magazine_restock(struct pcpu_magazine *mag,
					 struct llist_node *list);
struct llist_node *pcpu_magazine_take_deferred(struct pcpu_magazine *mag);
struct llist_node *pcpu_magazine_take_early(struct pcpu_magazine_cpu __percpu *cpus);
void pcpu_magazine_drain(struct pcpu_magazine *mag,
			 void (*release)(struct pcpu_magazine *mag,
					 struct llist_node *list));
int pcpu_magazine_set_marks(struct pcpu_magazine *mag,
			    const struct pcpu_magazine_marks *marks);
unsigned long pcpu_magazine_count(struct pcpu_magazine *mag, enum pcpu_magazine_event event);
unsigned int pcpu_magazine_stock(struct pcpu_magazine *mag);
long pcpu_magazine_used(struct pcpu_magazine *mag);

/**
 * pcpu_magazine_adopt() - count objects in use that did not come from the pool
 * @mag: the pool
 * @nr: objects
 *
 * Context: Any.
 */
static inline void pcpu_magazine_adopt(struct pcpu_magazine *mag, long nr)
{
	atomic_long_add(nr, &mag->nr_out);
}

/*
 * Points inside critical sections where a test can run code, for example to
 * let an interrupt in. Only a kernel with the test suites has them.
 */
enum pcpu_magazine_seam {
	PCPU_MAGAZINE_SEAM_GET,		/* busy is set, nothing read yet */
	PCPU_MAGAZINE_SEAM_GET_READ,	/* chain read, not yet written */
	PCPU_MAGAZINE_SEAM_GET_SLOW,	/* busy, before stock is looked for */
	PCPU_MAGAZINE_SEAM_GET_NESTED,	/* nested list taken, rest not back */
	PCPU_MAGAZINE_SEAM_PUT,		/* busy is set, object not yet linked */
	PCPU_MAGAZINE_SEAM_PUT_SLOW,	/* busy, before room is made */
	PCPU_MAGAZINE_SEAM_REFILL,	/* new objects in hand, not in the depot */
	PCPU_MAGAZINE_SEAM_GET_KICKED,	/* busy, a refill that is due is asked for */
};

#if IS_ENABLED(CONFIG_PCPU_MAGAZINE_KUNIT_TEST)
DECLARE_STATIC_KEY_FALSE(pcpu_magazine_seam_key);
void pcpu_magazine_seam_call(enum pcpu_magazine_seam seam);
void pcpu_magazine_seam_set(void (*hook)(enum pcpu_magazine_seam seam));

static __always_inline void pcpu_magazine_seam(enum pcpu_magazine_seam seam)
{
	if (static_branch_unlikely(&pcpu_magazine_seam_key))
		pcpu_magazine_seam_call(seam);
}
#else
static __always_inline void pcpu_magazine_seam(enum pcpu_magazine_seam seam)
{
}
#endif

/*
 * llist_add_batch() that cannot be traced. Returns true if the list was empty.
 */
static __always_inline bool pcpu_magazine_list_add(struct llist_head *head,
						   struct llist_node *first,
						   struct llist_node *last)
{
	struct llist_node *old = READ_ONCE(head->first);

	do {
		last->next = old;
	} while (!try_cmpxchg(&head->first, &old, first));
	return !old;
}

static __always_inline bool pcpu_magazine_is_busy(const struct pcpu_magazine_cpu *c)
{
	/*
	 * A plain load between compiler barriers, so that it can be an
	 * operand: only this CPU writes busy, and it is a byte.
	 */
	return data_race(c->busy);
}

static __always_inline void pcpu_magazine_enter(struct pcpu_magazine_cpu *c)
{
	WRITE_ONCE(c->busy, 1);
	barrier();	/* nothing of the chain is read before busy is set */
}

static __always_inline void pcpu_magazine_leave(struct pcpu_magazine_cpu *c)
{
	barrier();	/* the chain is whole again before busy is clear */
	WRITE_ONCE(c->busy, 0);
}

/* With busy set, which is clear on return; the loaded chain has an object. */
static __always_inline struct llist_node *pcpu_magazine_pop(struct pcpu_magazine_cpu *c)
{
	struct llist_node *obj = c->loaded;

	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET_READ);
	c->loaded = obj->next;
	barrier();	/* one instruction that changes memory, not three */
	c->nr--;
	pcpu_magazine_leave(c);
	return obj;
}

/* With busy set, which is clear on return. */
static __always_inline void pcpu_magazine_push(struct pcpu_magazine_cpu *c,
					       struct llist_node *obj)
{
	obj->next = c->loaded;
	c->loaded = obj;
	c->nr++;
	pcpu_magazine_leave(c);
}

/**
 * pcpu_magazine_get_fast() - take an object if this CPU has one at hand
 * @cpus: per-CPU part of a pool
 *
 * The common case of pcpu_magazine_get(), which is to be called when this
 * returns NULL: from a function of its own, so that the caller of the fast path
 * has nothing to save.
 *
 * Context: Any, NMI included. Disables preemption for a few instructions. The
 *	caller should be notrace.
 * Return: An object, or NULL and nothing has changed. The content is what the
 *	last user left but for the &struct llist_node at its start.
 */
static __always_inline struct llist_node *
pcpu_magazine_get_fast(struct pcpu_magazine_cpu __percpu *cpus)
{
	struct pcpu_magazine_cpu *c;
	struct llist_node *obj;

	preempt_disable_notrace();
	c = raw_cpu_ptr(cpus);
	if (unlikely(pcpu_magazine_is_busy(c)))
		goto out;
	pcpu_magazine_enter(c);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_GET);
	if (unlikely(c->nr <= c->mark)) {
		pcpu_magazine_leave(c);
		goto out;
	}
	obj = pcpu_magazine_pop(c);
	preempt_enable_notrace();
	/* Spares the caller of the fast path the question. */
	if (!obj)
		__builtin_unreachable();
	return obj;
out:
	preempt_enable_notrace();
	return NULL;
}

/**
 * pcpu_magazine_put_fast() - give an object back if this CPU has room at hand
 * @cpus: per-CPU part of a pool
 * @obj: the object; its first word is overwritten
 *
 * The common case of pcpu_magazine_put(), which is to be called when this
 * returns false.
 *
 * Context: As pcpu_magazine_get_fast().
 * Return: true; or false and nothing has changed.
 */
static __always_inline bool
pcpu_magazine_put_fast(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj)
{
	struct pcpu_magazine_cpu *c;

	preempt_disable_notrace();
	c = raw_cpu_ptr(cpus);
	if (unlikely(pcpu_magazine_is_busy(c)))
		goto out;
	pcpu_magazine_enter(c);
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_PUT);
	if (unlikely(c->nr >= c->full)) {
		pcpu_magazine_leave(c);
		goto out;
	}
	pcpu_magazine_push(c, obj);
	preempt_enable_notrace();
	return true;
out:
	preempt_enable_notrace();
	return false;
}

/**
 * pcpu_magazine_defer() - give an object back that may not be handed out yet
 * @cpus: per-CPU part of a pool, initialised or not
 * @obj: the object; its first word is overwritten
 *
 * The object waits until pcpu_magazine_take_deferred() collects it. One
 * compare-and-exchange on a line of this CPU: the list must be open to a
 * collector on another CPU, which a plain store could not be.
 *
 * Context: Any, NMI included.
 * Return: true if nothing was waiting on this CPU before.
 */
static __always_inline bool
pcpu_magazine_defer(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj)
{
	return pcpu_magazine_list_add(&raw_cpu_ptr(cpus)->deferred, obj, obj);
}

#endif /* _LINUX_PCPU_MAGAZINE_H */
