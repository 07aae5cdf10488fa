/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU magazines of free objects over shared depots, for any context.
 *
 * Best for: objects of one size that are taken and given back at high rates
 * from task, interrupt and NMI context, where a taker cannot wait and a giver
 * cannot fail. Not for: objects that must go back to where they came from at
 * once, or pools so small that a batch per CPU is too much.
 *
 *	pool	what all CPUs share of the objects of one size
 *	shard	up to eight CPUs of one NUMA node and what they share first of
 *		all: a depot
 *	depot	a stack of magazines
 *	magazine  a chain of objects that moves as a whole
 *
 * The layer never allocates by itself but where it says so, takes no lock and
 * disables no interrupt. See Documentation/core-api/pcpu_magazine.rst for the
 * whole story and for the argument why it is correct.
 *
 * The names follow J. Bonwick and J. Adams, "Magazines and Vmem: Extending the
 * Slab Allocator to Many CPUs and Arbitrary Resources", USENIX 2001.
 */
#ifndef _LINUX_PCPU_MAGAZINE_H
#define _LINUX_PCPU_MAGAZINE_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/jump_label.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/types.h>

struct pcpu_magazine_pool;
struct pcpu_magazine_shard;

/* CPUs that share a shard, unless there would be more shards than this. */
#define PCPU_MAGAZINE_SHARD_CPUS	8
#define PCPU_MAGAZINE_MAX_SHARDS	BITS_PER_LONG

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
 * @spare: a second chain, exchanged with @loaded or the depot as a whole
 * @nested: objects given while @busy was set
 * @deferred: objects that may not be handed out yet
 * @shard: NULL until pcpu_magazine_publish()
 * @missed: calls that got nothing; a hint, for an NMI may be lost between two
 *
 * Everything up to @busy (but for @full) is written by the owning CPU only,
 * with preemption disabled and @busy set. Contexts of one CPU nest strictly:
 * whoever finds @busy clear runs to its end before the context that it
 * interrupted goes on, so checking and setting @busy needs no atomic
 * instruction. Whoever finds it set must not touch those fields and uses
 * @nested, @spare and the depot instead.
 * @nested and @deferred are lock-less lists: any context adds, takers take the
 * whole list. @spare is filled by the owning CPU only, with @busy set, and only
 * when it is empty; a context that interrupted its owner may exchange it out.
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
	struct llist_node *spare;
	struct llist_head nested;
	struct llist_head deferred;
	struct pcpu_magazine_shard *shard;
	unsigned int missed;
} __aligned(64);

/**
 * struct pcpu_magazine_ops - what the user of the layer supplies
 * @kick: stock of the shard is short; arrange for pcpu_magazine_refill() to run
 *	soon, on this CPU. Or a depot has begun to hold more than its target and a
 *	batch: arrange for that to be taken out when it is not needed. Any context,
 *	also inside the critical section of the same CPU, preemption disabled; must
 *	not take or give objects.
 * @overflow: the @nr objects from @first to @last found no room in the depot;
 *	keep them or release them later. Any context, as for @kick.
 * @reclaim: optional, called while &pcpu_magazine_pool.nr_reclaimable is not 0;
 *	the CPU, its nested list and the depots at hand are empty: return a
 *	NULL-terminated chain of at most a batch of objects that may be
 *	used at once, and their number in @nr, or NULL. Any context, as for @kick.
 * @alloc_bulk: get up to @nr new objects, of memory on @node if possible, and
 *	return how many came. Called with the flags given to the function that
 *	calls it.
 */
struct pcpu_magazine_ops {
	void (*kick)(struct pcpu_magazine_shard *shard);
	void (*overflow)(struct pcpu_magazine_shard *shard, struct llist_node *first,
			 struct llist_node *last, unsigned int nr);
	struct llist_node *(*reclaim)(struct pcpu_magazine_shard *shard, unsigned int *nr);
	unsigned int (*alloc_bulk)(struct pcpu_magazine_pool *pool, int node, gfp_t gfp,
				   unsigned int nr, void **objs);
};

/**
 * struct pcpu_magazine_marks - watermarks
 * @low: objects per CPU below which stock is topped up
 * @high: objects per CPU above which a batch is given away
 * @batch: objects that move between a CPU and the depot at once; stays as it is
 *	for the life of a pool
 * @first: objects that each CPU has from the start and keeps when it is idle
 *
 * 0 < low < high, 0 < batch <= high - low, batch <= 65535, first <= batch.
 */
struct pcpu_magazine_marks {
	unsigned int low;
	unsigned int high;
	unsigned int batch;
	unsigned int first;
};

/**
 * enum pcpu_magazine_event - what is counted, none of it on the fast paths
 * @PCPU_MAGAZINE_MISS_TASK: calls that got nothing, in a task
 * @PCPU_MAGAZINE_MISS_SOFTIRQ: the same in a softirq
 * @PCPU_MAGAZINE_MISS_HARDIRQ: the same in a hardirq
 * @PCPU_MAGAZINE_MISS_NMI: the same in an NMI
 * @PCPU_MAGAZINE_NESTED_GET: objects asked for inside another's critical section
 * @PCPU_MAGAZINE_NESTED_PUT: objects given inside another's critical section
 * @PCPU_MAGAZINE_RECLAIMED: times that &pcpu_magazine_ops.reclaim had some
 * @PCPU_MAGAZINE_RESERVE: objects taken from the reserve
 * @PCPU_MAGAZINE_REFILLS: calls of pcpu_magazine_refill()
 * @PCPU_MAGAZINE_NEW: objects from &pcpu_magazine_ops.alloc_bulk
 * @PCPU_MAGAZINE_FETCHED: chains that moved from a depot to a CPU
 * @PCPU_MAGAZINE_RETURNED: chains that moved from a CPU to a depot
 * @PCPU_MAGAZINE_NR_EVENTS: number of all
 */
enum pcpu_magazine_event {
	PCPU_MAGAZINE_MISS_TASK,
	PCPU_MAGAZINE_MISS_SOFTIRQ,
	PCPU_MAGAZINE_MISS_HARDIRQ,
	PCPU_MAGAZINE_MISS_NMI,
	PCPU_MAGAZINE_NESTED_GET,
	PCPU_MAGAZINE_NESTED_PUT,
	PCPU_MAGAZINE_RECLAIMED,
	PCPU_MAGAZINE_RESERVE,
	PCPU_MAGAZINE_REFILLS,
	PCPU_MAGAZINE_NEW,
	PCPU_MAGAZINE_FETCHED,
	PCPU_MAGAZINE_RETURNED,
	PCPU_MAGAZINE_NR_EVENTS,
};

/**
 * struct pcpu_magazine_slot - room for one chain in a depot
 * @first: NULL-terminated chain, owned by whoever has the slot in hand
 * @nr: objects on it
 * @next: number of the next slot on the same list, 0 at its end
 */
struct pcpu_magazine_slot {
	struct llist_node *first;
	unsigned int nr;
	unsigned int next;
};

/* Each part after the first makes the depot twice as large. */
#define PCPU_MAGAZINE_PARTS	22

/**
 * struct pcpu_magazine_depot - a stack of chains
 * @full: list of slots that hold a chain
 * @free: list of slots that hold none
 * @level: objects in slots on @full; an upper bound, raised before a chain
 *	becomes visible and lowered after it is gone, so that 0 means empty
 * @nr_slots: slots in all parts, a power of two
 * @shift: log2 of the slots in the first part
 * @part: slots, which stay until the depot goes; number 1 is the first
 *
 * A list is the number of its first slot in the low PCPU_MAGAZINE_SLOT_BITS of
 * a word, and above that a count of the changes to the word. Whoever read a slot
 * that another context has taken and put back meanwhile finds another count.
 * (R. K. Treiber, "Systems Programming: Coping with Parallelism", IBM 1986.)
 */
struct pcpu_magazine_depot {
	atomic64_t full;
	atomic64_t free;
	atomic_t level;
	unsigned int nr_slots;
	unsigned int shift;
	struct pcpu_magazine_slot *part[PCPU_MAGAZINE_PARTS];
};

#define PCPU_MAGAZINE_SLOT_BITS	24

/**
 * struct pcpu_magazine_shard - what up to eight CPUs of one node share
 * @pool: the pool
 * @index: of this shard in &pcpu_magazine_pool.shards
 * @node: NUMA node of its CPUs
 * @near: shards of the same node, a bit for each
 * @target: chains that a refill leaves in the depot, at least 1; see
 *	pcpu_magazine_set_target()
 * @depot: chains at hand, written by the CPUs of the shard, as a rule
 * @events: see &enum pcpu_magazine_event
 */
struct pcpu_magazine_shard {
	struct pcpu_magazine_pool *pool;
	unsigned int index;
	int node;
	unsigned long near;
	unsigned int target;
	struct pcpu_magazine_depot depot ____cacheline_aligned_in_smp;
	atomic_long_t events[PCPU_MAGAZINE_NR_EVENTS];
};

/**
 * struct pcpu_magazine_pool - what all CPUs share of the objects of one size
 * @ops: callbacks of the user
 * @cpus: per-CPU part
 * @marks: watermarks; who uses several of them must stand a mixture of old and
 *	new
 * @nr_reserved: objects that @reserve is to hold
 * @reserve: depot of single objects, taken from when there is nothing else
 * @nr_shards: see pcpu_magazine_nr_shards()
 * @shards: one for each index
 * @nr_reclaimable: objects that &pcpu_magazine_ops.reclaim may find; the user of the
 *	layer raises it before they can be found
 * @stocked: shards whose depot may have something, a bit for each; changes only
 *	when one becomes empty or ceases to be
 *
 * Every object of the pool that is not in use is in exactly one of these places:
 * loaded, spare, nested or deferred list of a CPU; a depot; the reserve; with
 * the user of the layer (overflow).
 */
struct pcpu_magazine_pool {
	const struct pcpu_magazine_ops *ops;
	struct pcpu_magazine_cpu __percpu *cpus;
	struct pcpu_magazine_marks marks;
	unsigned int nr_reserved;
	struct pcpu_magazine_depot *reserve;
	unsigned int nr_shards;
	struct pcpu_magazine_shard **shards;
	atomic_long_t nr_reclaimable ____cacheline_aligned_in_smp;
	unsigned long stocked;
};

/* Which CPUs are in which shard: the same for all pools, fixed at boot. */
unsigned int pcpu_magazine_nr_shards(void);
unsigned int pcpu_magazine_shard_of(unsigned int cpu);
const struct cpumask *pcpu_magazine_shard_cpus(unsigned int index);
int pcpu_magazine_shard_node(unsigned int index);

/* Making and ending a pool */
int pcpu_magazine_init(struct pcpu_magazine_pool *pool,
		       struct pcpu_magazine_cpu __percpu *cpus,
		       const struct pcpu_magazine_ops *ops,
		       const struct pcpu_magazine_marks *marks,
		       struct pcpu_magazine_shard **shards);
void pcpu_magazine_publish(struct pcpu_magazine_pool *pool);
void pcpu_magazine_exit(struct pcpu_magazine_pool *pool);
void pcpu_magazine_drain(struct pcpu_magazine_pool *pool,
			 void (*release)(struct pcpu_magazine_pool *pool,
					 struct llist_node *list));

/* Taking and giving, any context */
struct llist_node *pcpu_magazine_get(struct pcpu_magazine_cpu __percpu *cpus);
void pcpu_magazine_put(struct pcpu_magazine_cpu __percpu *cpus, struct llist_node *obj);

/* Stock */
bool pcpu_magazine_hold(struct pcpu_magazine_pool *pool);
unsigned int pcpu_magazine_prefill(struct pcpu_magazine_pool *pool, unsigned int cpu,
				   unsigned int nr, gfp_t gfp);
int pcpu_magazine_refill(struct pcpu_magazine_shard *shard, unsigned int max, gfp_t gfp);
void pcpu_magazine_grow(struct pcpu_magazine_shard *shard, unsigned int nr, gfp_t gfp);
bool pcpu_magazine_is_low(struct pcpu_magazine_shard *shard);
unsigned int pcpu_magazine_take_missed(struct pcpu_magazine_pool *pool, unsigned int cpu);
int pcpu_magazine_reserve(struct pcpu_magazine_pool *pool, unsigned int nr, gfp_t gfp);
bool pcpu_magazine_reserve_is_short(struct pcpu_magazine_pool *pool);
struct llist_node *pcpu_magazine_take_chain(struct pcpu_magazine_shard *shard,
					    unsigned int *nr);
bool pcpu_magazine_put_chain(struct pcpu_magazine_shard *shard, struct llist_node *first,
			     unsigned int nr);
void pcpu_magazine_hand_over(struct pcpu_magazine_shard *shard, struct llist_node *first,
			     unsigned int nr);
void pcpu_magazine_flush(struct pcpu_magazine_pool *pool, unsigned int keep);
void pcpu_magazine_flush_dead(struct pcpu_magazine_pool *pool, unsigned int cpu);
bool pcpu_magazine_cpu_has_more(struct pcpu_magazine_pool *pool, unsigned int cpu,
				unsigned int keep);
void pcpu_magazine_set_low_high(struct pcpu_magazine_pool *pool, unsigned int low,
				unsigned int high);

/* Looking */
unsigned long pcpu_magazine_count(struct pcpu_magazine_pool *pool,
				  enum pcpu_magazine_event event);
unsigned long pcpu_magazine_cached(struct pcpu_magazine_pool *pool);
unsigned int pcpu_magazine_level(struct pcpu_magazine_shard *shard);

/**
 * pcpu_magazine_set_target() - say how many chains a refill is to leave
 * @shard: the shard
 * @target: chains, at least 1
 *
 * Context: Any.
 */
static inline void pcpu_magazine_set_target(struct pcpu_magazine_shard *shard,
					    unsigned int target)
{
	WRITE_ONCE(shard->target, target);
}

static inline unsigned int pcpu_magazine_target(const struct pcpu_magazine_shard *shard)
{
	return READ_ONCE(shard->target);
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
	PCPU_MAGAZINE_SEAM_SLOT,	/* a slot is in hand, on neither list of the depot */
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
 * last user left but for the &struct llist_node at its start.
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
 * @cpus: per-CPU part of a pool
 * @obj: the object; its first word is overwritten
 *
 * The object waits until the user of the layer takes the whole list. One
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
