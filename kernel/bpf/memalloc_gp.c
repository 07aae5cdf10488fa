// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: grace periods.
 *
 *	free_rcu -> deferred lists (per CPU) -> reuse.waiting
 *	                                            | RCU
 *	                                            v
 *	free -> magazines -> depot (has room) <- restock
 *	                       | no room            | no room
 *	                       v                    v
 *	                    overflow ---------> surplus -> release.waiting
 *	                                          |            | RCU Tasks Trace,
 *	        refill, last resort <-------------+------------+   then RCU
 *	                                                       v
 *	                                                     slab
 *
 * A sleepable program may look at an object for as long as it runs, so memory
 * goes back to the slab only after an RCU Tasks Trace grace period. For reuse
 * that is not needed: whoever asked for no more than bpf_mem_free() lives
 * with reuse at once, and bpf_mem_free_rcu() promises one of RCU.
 *
 * Each engine (reuse, release) has at most one grace period in flight and one
 * rcu_head. Whoever brings objects while it is in flight leaves a note in the
 * state (BPF_MEM_GP_AGAIN), and the callback starts over; no object waits for
 * the next free to come along.
 */
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

static void chain_push(struct bpf_mem_chain *chain, struct llist_node *list)
{
	struct llist_node *last;
	unsigned long nr = 1;

	if (!list)
		return;
	for (last = list; last->next; last = last->next)
		nr++;
	last->next = chain->first;
	if (!chain->first)
		chain->last = last;
	chain->first = list;
	chain->nr += nr;
}

static struct bpf_mem_chain chain_take(struct bpf_mem_chain *chain)
{
	struct bpf_mem_chain all = *chain;

	*chain = (struct bpf_mem_chain){};
	return all;
}

static void chain_append(struct bpf_mem_chain *chain, const struct bpf_mem_chain *more)
{
	if (!more->first)
		return;
	if (chain->first)
		chain->last->next = more->first;
	else
		chain->first = more->first;
	chain->last = more->last;
	chain->nr += more->nr;
}

static notrace struct llist_node *chain_pop(struct bpf_mem_chain *chain)
{
	struct llist_node *node = chain->first;

	if (!node)
		return NULL;
	chain->first = node->next;
	chain->nr--;
	return node;
}

/* Returns true if the caller has to start the engine. */
static bool gp_request(struct bpf_mem_gp *gp)
{
	int next, old = atomic_read(&gp->state);

	do {
		next = old == BPF_MEM_GP_IDLE ? BPF_MEM_GP_IN_FLIGHT : BPF_MEM_GP_AGAIN;
	} while (!atomic_try_cmpxchg(&gp->state, &old, next));
	return old == BPF_MEM_GP_IDLE;
}

/*
 * A round has ended. Returns true if another one is wanted. If not, the engine
 * is idle, and the caller may not touch the pool any more.
 */
static bool gp_again(struct bpf_mem_gp *gp)
{
	int old = BPF_MEM_GP_IN_FLIGHT;

	if (atomic_try_cmpxchg(&gp->state, &old, BPF_MEM_GP_IDLE))
		return false;
	/*
	 * Fully ordered: who reads the old note and leaves none has added its
	 * objects before, and the round that follows sees them.
	 */
	atomic_xchg(&gp->state, BPF_MEM_GP_IN_FLIGHT);
	return true;
}

/* The one who runs a round counts it. */

static void count_start(struct bpf_mem_pool *pool, struct bpf_mem_gp *gp, unsigned long nr)
{
	gp->started = ktime_get_mono_fast_ns();
	gp->nr_objs += nr;
	trace_bpf_mem_gp_start(pool->pools->id, bpf_mem_unit(pool), gp == &pool->reuse, nr);
}

static void count_end(struct bpf_mem_pool *pool, struct bpf_mem_gp *gp, unsigned long nr)
{
	u64 wait = ktime_get_mono_fast_ns() - gp->started;

	gp->wait_sum += wait;
	gp->wait_max = max(gp->wait_max, wait);
	gp->nr_periods++;
	trace_bpf_mem_gp_end(pool->pools->id, bpf_mem_unit(pool), gp == &pool->reuse, nr, wait);
}

/* Release: surplus to the slab */

static void release_end(struct rcu_head *rcu);

static void release_trace_end(struct rcu_head *rcu)
{
	if (bpf_mem_trace_implies_rcu())
		release_end(rcu);
	else
		call_rcu(rcu, release_end);
}

static void release_start(struct bpf_mem_pool *pool)
{
	unsigned long flags, nr;

	do {
		raw_spin_lock_irqsave(&pool->lock, flags);
		pool->release.waiting = chain_take(&pool->surplus);
		nr = pool->release.waiting.nr;
		raw_spin_unlock_irqrestore(&pool->lock, flags);
		if (nr) {
			count_start(pool, &pool->release, nr);
			call_rcu_tasks_trace(&pool->release.rcu, release_trace_end);
			return;
		}
	} while (gp_again(&pool->release));
}

static void release_end(struct rcu_head *rcu)
{
	struct bpf_mem_pool *pool = container_of(rcu, struct bpf_mem_pool, release.rcu);
	struct bpf_mem_chain done;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	done = chain_take(&pool->release.waiting);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	count_end(pool, &pool->release, done.nr);
	bpf_mem_slab_free(pool, done.first);
	if (gp_again(&pool->release))
		release_start(pool);
}

/**
 * bpf_mem_gp_release() - send objects to the slab, after their grace period
 * @pool: the pool
 * @list: NULL-terminated chain, or NULL
 *
 * Context: Any but NMI.
 */
void bpf_mem_gp_release(struct bpf_mem_pool *pool, struct llist_node *list)
{
	struct bpf_mem_chain more = {};
	unsigned long flags;

	if (!list)
		return;
	chain_push(&more, list);
	raw_spin_lock_irqsave(&pool->lock, flags);
	chain_append(&pool->surplus, &more);
	pool->nr_trimmed += more.nr;
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	trace_bpf_mem_trim(pool->pools->id, bpf_mem_unit(pool), more.nr);
	if (gp_request(&pool->release))
		release_start(pool);
}

/* Reuse: deferred objects to the depot */

static void reuse_end(struct rcu_head *rcu);

static void reuse_start(struct bpf_mem_pool *pool)
{
	struct bpf_mem_chain round = {};
	unsigned long flags;

	do {
		chain_push(&round, pcpu_magazine_take_deferred(&pool->mag));
		if (round.first) {
			raw_spin_lock_irqsave(&pool->lock, flags);
			pool->reuse.waiting = round;
			raw_spin_unlock_irqrestore(&pool->lock, flags);
			count_start(pool, &pool->reuse, round.nr);
			call_rcu_hurry(&pool->reuse.rcu, reuse_end);
			return;
		}
	} while (gp_again(&pool->reuse));
}

static void reuse_end(struct rcu_head *rcu)
{
	struct bpf_mem_pool *pool = container_of(rcu, struct bpf_mem_pool, reuse.rcu);
	struct bpf_mem_chain done;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	done = chain_take(&pool->reuse.waiting);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	count_end(pool, &pool->reuse, done.nr);
	bpf_mem_gp_release(pool, pcpu_magazine_restock(&pool->mag, done.first));
	if (gp_again(&pool->reuse))
		reuse_start(pool);
}

/**
 * bpf_mem_gp_deferred() - note that a CPU has its first deferred object
 * @pool: the pool
 *
 * Context: Any.
 * Return: true if the engine is idle and somebody must call
 *	bpf_mem_gp_reuse() from a context where that is allowed.
 */
bool notrace bpf_mem_gp_deferred(struct bpf_mem_pool *pool)
{
	int old = BPF_MEM_GP_IN_FLIGHT;

	/*
	 * The object was added by an atomic instruction before. If the engine
	 * is in flight now, the end of its round sees the note and collects
	 * again; if it went idle in between, it has to be started.
	 */
	if (atomic_try_cmpxchg(&pool->reuse.state, &old, BPF_MEM_GP_AGAIN))
		return false;
	if (old == BPF_MEM_GP_AGAIN)
		return false;
	atomic_set(&pool->collect, 1);
	return true;
}

/**
 * bpf_mem_gp_reuse() - start a grace period for deferred objects if one is due
 * @pool: the pool
 *
 * A refill while one is in flight means that objects are wanted faster than
 * grace periods end: RCU is asked to hurry, which bounds what a storm of
 * bpf_mem_free_rcu() holds back.
 *
 * Context: Any but NMI.
 */
void bpf_mem_gp_reuse(struct bpf_mem_pool *pool)
{
	if (atomic_read(&pool->collect) && atomic_xchg(&pool->collect, 0)) {
		if (gp_request(&pool->reuse))
			reuse_start(pool);
	} else if (atomic_read(&pool->reuse.state) != BPF_MEM_GP_IDLE) {
		rcu_request_urgent_qs_task(current);
	}
}

/**
 * bpf_mem_gp_take_back() - take objects that wait for the slab
 * @pool: the pool
 * @nr: objects wanted
 * @objs: array of @nr pointers to fill
 *
 * Context: Any but NMI.
 * Return: Objects obtained, 0 to @nr.
 */
unsigned int bpf_mem_gp_take_back(struct bpf_mem_pool *pool, unsigned int nr,
				  void **objs)
{
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&pool->lock, flags);
	for (i = 0; i < nr; i++) {
		objs[i] = chain_pop(&pool->surplus) ?: chain_pop(&pool->release.waiting);
		if (!objs[i])
			break;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return i;
}

/**
 * bpf_mem_gp_try_take_back() - take a batch that waits for the slab
 * @pool: the pool
 *
 * Context: Any. Gives up if the lock is held, maybe by the context that was
 *	interrupted.
 * Return: NULL-terminated chain of up to one batch, or NULL.
 */
notrace struct llist_node *bpf_mem_gp_try_take_back(struct bpf_mem_pool *pool)
{
	struct llist_node *list = NULL, *node;
	unsigned long flags;
	unsigned int nr;

	/* The overflow list may be longer; it is taken whole by whoever comes. */
	if (!llist_empty(&pool->overflow)) {
		list = llist_del_all(&pool->overflow);
		if (list)
			return list;
	}
	if (!raw_spin_trylock_irqsave(&pool->lock, flags))
		return NULL;
	for (nr = READ_ONCE(pool->mag.marks.batch); nr; nr--) {
		node = chain_pop(&pool->surplus) ?: chain_pop(&pool->release.waiting);
		if (!node)
			break;
		node->next = list;
		list = node;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return list;
}

/**
 * bpf_mem_gp_drain() - destroy all objects that wait, for a pool without users
 * @pool: the pool
 *
 * Context: Task context.
 */
void bpf_mem_gp_drain(struct bpf_mem_pool *pool)
{
	struct bpf_mem_chain all;

	bpf_mem_slab_free(pool, llist_del_all(&pool->overflow));
	raw_spin_lock_irq(&pool->lock);
	all = chain_take(&pool->surplus);
	chain_append(&all, &pool->release.waiting);
	chain_append(&all, &pool->reuse.waiting);
	chain_take(&pool->release.waiting);
	chain_take(&pool->reuse.waiting);
	raw_spin_unlock_irq(&pool->lock);
	bpf_mem_slab_free(pool, all.first);
}

/**
 * bpf_mem_gp_idle() - does no callback touch the pool any more?
 * @pool: the pool, without users and without refill
 *
 * Context: Any.
 * Return: true if both engines are idle and nobody is left to start them.
 */
bool bpf_mem_gp_idle(struct bpf_mem_pool *pool)
{
	/* In this order: the end of reuse starts release before it goes idle. */
	return atomic_read_acquire(&pool->reuse.state) == BPF_MEM_GP_IDLE &&
	       atomic_read_acquire(&pool->release.state) == BPF_MEM_GP_IDLE;
}

/**
 * bpf_mem_gp_wait() - wait until all callbacks that were queued have run
 *
 * In the order in which an object meets them: reuse_end(), then
 * release_trace_end(), and release_end() if that is a callback of its own.
 *
 * Context: Task context, sleeps for grace periods.
 */
void bpf_mem_gp_wait(void)
{
	rcu_barrier();
	rcu_barrier_tasks_trace();
	if (!bpf_mem_trace_implies_rcu())
		rcu_barrier();
}

/**
 * bpf_mem_gp_init() - prepare the engines
 * @pool: the pool, all zero
 *
 * Context: Task context.
 */
void bpf_mem_gp_init(struct bpf_mem_pool *pool)
{
	raw_spin_lock_init(&pool->lock);
	init_llist_head(&pool->overflow);
	atomic_set(&pool->reuse.state, BPF_MEM_GP_IDLE);
	atomic_set(&pool->release.state, BPF_MEM_GP_IDLE);
}
