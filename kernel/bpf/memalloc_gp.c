// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: grace periods.
 *
 *	free_rcu -> deferred lists (per CPU) -> waiting lists (per CPU)
 *	                                            | RCU
 *	                                            v
 *	free -> magazines -> depot (has room) <-----+
 *	                       | no room            | no room
 *	                       v                    v
 *	                    surplus ------------> releasing
 *	                       |                    | RCU Tasks Trace,
 *	        refill, last resort <---------------+   then RCU
 *	                                            v
 *	                                          slab
 *
 * A sleepable program may look at an object for as long as it runs, so memory
 * goes back to the slab only after an RCU Tasks Trace grace period. For reuse
 * that is not needed: whoever asked for no more than bpf_mem_free() lives
 * with reuse at once, and bpf_mem_free_rcu() promises one of RCU.
 *
 * Each shard has two engines (reuse, release) with at most one grace period under
 * way and one rcu_head. All is moved by the worker of the shard, where it can
 * be preempted; the callback of RCU only says that it is time. The worker looks
 * for more before it leaves an engine idle: no object waits for the next free to
 * come along.
 */
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

/* Objects that go to the slab between two looks whether somebody else should run. */
#define RELEASE_BATCH	64

/* The worker counts. */

static void count_start(struct bpf_mem_shard *shard, struct bpf_mem_gp *gp)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);

	WRITE_ONCE(pool->gp_used, true);
	gp->started = ktime_get_mono_fast_ns();
	trace_bpf_mem_gp_start(pool->owner->id, bpf_mem_unit(pool), gp == &shard->reuse);
}

static void count_end(struct bpf_mem_shard *shard, struct bpf_mem_gp *gp, unsigned long nr)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	u64 wait = ktime_get_mono_fast_ns() - gp->started;

	gp->wait_sum += wait;
	gp->wait_max = max(gp->wait_max, wait);
	gp->nr_periods++;
	gp->nr_objs += nr;
	trace_bpf_mem_gp_end(pool->owner->id, bpf_mem_unit(pool), gp == &shard->reuse, nr,
			     wait);
}

static void expire(struct bpf_mem_shard *shard, struct bpf_mem_gp *gp)
{
	/* All before the callback is seen by the worker that finds this. */
	atomic_set_release(&gp->state, BPF_MEM_GP_EXPIRED);
	bpf_mem_shard_queue(shard);
}

/* Queues */

static bool notrace queue_trylock(struct bpf_mem_queue *queue)
{
	preempt_disable_notrace();
	if (!test_and_set_bit_lock(0, &queue->busy))
		return true;
	preempt_enable_notrace();
	return false;
}

static void notrace queue_unlock(struct bpf_mem_queue *queue)
{
	clear_bit_unlock(0, &queue->busy);
	preempt_enable_notrace();
}

/* In a task: a holder is on another CPU, or comes and goes on top. */
static void queue_lock(struct bpf_mem_queue *queue)
{
	while (!queue_trylock(queue))
		cpu_relax();
}

/* With the queue locked: up to @max objects, their number in @nr. */
static notrace struct llist_node *queue_cut(struct bpf_mem_queue *queue, unsigned int max,
					    unsigned int *nr)
{
	struct llist_node *first, *last;

	first = queue->head;
	if (!first) {
		first = READ_ONCE(queue->added.first);
		if (!first)
			return NULL;
		/* At no time both are empty: pairs with bpf_mem_queue_empty(). */
		WRITE_ONCE(queue->head, first);
		first = llist_del_all(&queue->added);
		WRITE_ONCE(queue->head, first);
	}
	last = first;
	for (*nr = 1; *nr < max && last->next; (*nr)++)
		last = last->next;
	WRITE_ONCE(queue->head, last->next);
	last->next = NULL;
	return first;
}

static notrace struct llist_node *queue_try_take(struct bpf_mem_queue *queue, unsigned int max,
						 unsigned int *nr)
{
	struct llist_node *first;

	if (bpf_mem_queue_empty(queue) || !queue_trylock(queue))
		return NULL;
	first = queue_cut(queue, max, nr);
	queue_unlock(queue);
	return first;
}

static struct llist_node *queue_take(struct bpf_mem_queue *queue, unsigned int max,
				     unsigned int *nr)
{
	struct llist_node *first;

	queue_lock(queue);
	first = queue_cut(queue, max, nr);
	queue_unlock(queue);
	return first;
}

/* Release: surplus to the slab */

/**
 * bpf_mem_gp_surplus() - let objects go to the slab
 * @shard: the shard
 * @first: first of a chain
 * @last: its last
 * @nr: objects on it
 *
 * Somebody has to queue the worker of the shard afterwards.
 *
 * Context: Any.
 */
void notrace bpf_mem_gp_surplus(struct bpf_mem_shard *shard, struct llist_node *first,
				struct llist_node *last, unsigned int nr)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);

	/* Before the objects can be seen, so that 0 means that there are none. */
	atomic_long_add(nr, &pool->mag.nr_reclaimable);
	atomic_long_add(nr, &pool->nr_trimmed);
	pcpu_magazine_list_add(&shard->surplus.added, first, last);
}

/**
 * bpf_mem_gp_take_back() - take objects that wait for the slab
 * @shard: the shard
 * @max: objects wanted at most
 * @nr: set to the number of objects
 *
 * Context: Any. Walks over @max objects. Goes without if somebody else is at it.
 * Return: NULL-terminated chain, or NULL.
 */
notrace struct llist_node *bpf_mem_gp_take_back(struct bpf_mem_shard *shard, unsigned int max,
						unsigned int *nr)
{
	struct llist_node *list = queue_try_take(&shard->surplus, max, nr) ?:
				  queue_try_take(&shard->releasing, max, nr);

	if (list)
		atomic_long_sub(*nr, &shard->mag.pool->nr_reclaimable);
	return list;
}

static void release_expired(struct rcu_head *rcu)
{
	struct bpf_mem_shard *shard = container_of(rcu, struct bpf_mem_shard, release.rcu);

	expire(shard, &shard->release);
}

static void release_trace_expired(struct rcu_head *rcu)
{
	if (bpf_mem_trace_implies_rcu())
		release_expired(rcu);
	else
		call_rcu_hurry(rcu, release_expired);
}

static void release_end(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	struct llist_node *list;
	unsigned long total = 0;
	unsigned int nr;

	while ((list = queue_take(&shard->releasing, RELEASE_BATCH, &nr))) {
		atomic_long_sub(nr, &pool->mag.nr_reclaimable);
		bpf_mem_slab_free(pool, list);
		total += nr;
		cond_resched();
	}
	count_end(shard, &shard->release, total);
	atomic_set(&shard->release.state, BPF_MEM_GP_IDLE);
}

/* All of @from to @to, which is empty and which only the worker adds to. */
static void queue_move(struct bpf_mem_queue *from, struct bpf_mem_queue *to)
{
	struct llist_node *head, *added;

	queue_lock(from);
	head = from->head;
	WRITE_ONCE(from->head, NULL);
	added = llist_del_all(&from->added);
	queue_unlock(from);
	queue_lock(to);
	WRITE_ONCE(to->head, head);
	WRITE_ONCE(to->added.first, added);
	queue_unlock(to);
}

static void release_advance(struct bpf_mem_shard *shard)
{
	if (atomic_read_acquire(&shard->release.state) == BPF_MEM_GP_EXPIRED)
		release_end(shard);
	if (atomic_read(&shard->release.state) != BPF_MEM_GP_IDLE)
		return;
	/* Pairs with the barrier in irq_work_queue(): see bpf_mem_gp_is_waiting(). */
	smp_mb();
	if (bpf_mem_queue_empty(&shard->surplus))
		return;
	queue_move(&shard->surplus, &shard->releasing);
	count_start(shard, &shard->release);
	atomic_set(&shard->release.state, BPF_MEM_GP_WAITING);
	call_rcu_tasks_trace(&shard->release.rcu, release_trace_expired);
}

/* Reuse: deferred objects to the depot */

static void reuse_expired(struct rcu_head *rcu)
{
	struct bpf_mem_shard *shard = container_of(rcu, struct bpf_mem_shard, reuse.rcu);

	expire(shard, &shard->reuse);
}

/* To the depot, or to the slab if there is no room. */
static void restock_chain(struct bpf_mem_shard *shard, struct llist_node *first,
			  struct llist_node *last, unsigned int nr)
{
	if (!pcpu_magazine_put_chain(&shard->mag, first, nr))
		bpf_mem_gp_surplus(shard, first, last, nr);
}

/*
 * The end of a list is less than a batch. Many such would fill the depot with
 * next to nothing, so it joins another one.
 */
static void restock_rest(struct bpf_mem_shard *shard, struct llist_node *first,
			 struct llist_node *last, unsigned int nr)
{
	unsigned int n, batch = shard->mag.pool->marks.batch;
	struct llist_node *other = NULL;

	/* What is in hand nobody else can have: not while others run. */
	preempt_disable();
	if (nr < batch)
		other = pcpu_magazine_take_chain(&shard->mag, &n);
	if (other && n + nr <= batch) {
		last->next = other;
		while (last->next)
			last = last->next;
		nr += n;
	} else if (other) {
		pcpu_magazine_hand_over(&shard->mag, other, n);
	}
	restock_chain(shard, first, last, nr);
	preempt_enable();
}

/* Returns the number of objects. */
static unsigned long restock(struct bpf_mem_shard *shard, struct llist_node *list)
{
	unsigned int nr, batch = shard->mag.pool->marks.batch;
	struct llist_node *last, *rest;
	unsigned long total = 0;

	for (; list; list = rest) {
		last = list;
		for (nr = 1; nr < batch && last->next; nr++)
			last = last->next;
		rest = last->next;
		last->next = NULL;
		if (rest)
			restock_chain(shard, list, last, nr);
		else
			restock_rest(shard, list, last, nr);
		total += nr;
		cond_resched();
	}
	return total;
}

static void reuse_end(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	unsigned long total = 0;
	struct bpf_mem_cpu *c;
	int cpu;

	for_each_cpu(cpu, pcpu_magazine_shard_cpus(shard->mag.index)) {
		c = per_cpu_ptr(bpf_mem_cpus(pool), cpu);
		total += restock(shard, c->waiting);
		c->waiting = NULL;
	}
	count_end(shard, &shard->reuse, total);
	bpf_mem_look_soon(pool);
	atomic_set(&shard->reuse.state, BPF_MEM_GP_IDLE);
}

static void reuse_advance(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	struct bpf_mem_cpu *c;
	bool some = false;
	int cpu;

	if (atomic_read_acquire(&shard->reuse.state) == BPF_MEM_GP_EXPIRED)
		reuse_end(shard);
	if (atomic_read(&shard->reuse.state) != BPF_MEM_GP_IDLE)
		return;
	/* Pairs with the barrier in irq_work_queue(): see bpf_mem_gp_is_waiting(). */
	smp_mb();
	for_each_cpu(cpu, pcpu_magazine_shard_cpus(shard->mag.index)) {
		c = per_cpu_ptr(bpf_mem_cpus(pool), cpu);
		if (llist_empty(&c->mag.deferred))
			continue;
		c->waiting = llist_del_all(&c->mag.deferred);
		some = true;
	}
	if (!some)
		return;
	count_start(shard, &shard->reuse);
	atomic_set(&shard->reuse.state, BPF_MEM_GP_WAITING);
	call_rcu_hurry(&shard->reuse.rcu, reuse_expired);
}

/**
 * bpf_mem_gp_advance() - move what is past its grace period, begin the next
 * @shard: the shard
 *
 * Context: The worker of the shard.
 */
void bpf_mem_gp_advance(struct bpf_mem_shard *shard)
{
	/* In this order: what finds no room in the depot is surplus. */
	reuse_advance(shard);
	release_advance(shard);
}

static void queue_drain(struct bpf_mem_pool *pool, struct bpf_mem_queue *queue)
{
	bpf_mem_slab_free(pool, queue->head);
	queue->head = NULL;
	bpf_mem_slab_free(pool, llist_del_all(&queue->added));
}

/**
 * bpf_mem_gp_drain() - destroy all objects that wait
 * @pool: the pool, stopped
 *
 * Context: Task context.
 */
void bpf_mem_gp_drain(struct bpf_mem_pool *pool)
{
	struct bpf_mem_shard *shard;
	struct bpf_mem_cpu *c;
	unsigned int i;
	int cpu;

	bpf_mem_for_each_shard(shard, pool, i) {
		queue_drain(pool, &shard->surplus);
		queue_drain(pool, &shard->releasing);
	}
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(bpf_mem_cpus(pool), cpu);
		bpf_mem_slab_free(pool, c->waiting);
		c->waiting = NULL;
	}
	atomic_long_set(&pool->mag.nr_reclaimable, 0);
}

/**
 * bpf_mem_gp_wait() - wait until all callbacks that were queued have run
 *
 * In the order in which a callback meets them: reuse_expired(), then
 * release_trace_expired(), and release_expired() if that is one of its own. None of
 * them queues the next of its kind: the workers do, and these are stopped.
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
