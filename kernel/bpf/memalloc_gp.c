// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: grace periods.
 *
 * A sleepable program may look at an object for as long as it runs, so memory
 * goes back to the slab only after an RCU Tasks Trace grace period. For reuse
 * that is not needed: whoever asked for no more than bpf_mem_free() lives
 * with reuse at once, and bpf_mem_free_rcu() promises one of RCU.
 *
 * Each shard has two engines (reuse, release) with at most one grace period under
 * way and one rcu_head. Whoever moves objects past a grace period looks for more
 * before it leaves the engine idle: no object waits for the next free to come along.
 *
 * What may be reused is moved by whoever comes - a refill in hard interrupt, the
 * callback of RCU - a few batches at a time, and what is more by the worker of the
 * shard, where it can be preempted: so a storm of free_rcu feeds the allocations
 * that follow even if no worker gets to run. What goes to the slab only the worker
 * moves; until then it can be taken back.
 */

/**
 * DOC: where a freed object goes
 *
 * ::
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
 */

#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_internal.h"

/* Objects that go to the slab between two looks whether somebody else should run. */
#define RELEASE_BATCH	64

/* Who moves objects of an engine counts. */

static void count_start(struct bpf_mem_shard *shard, struct bpf_mem_gp *gp)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);

	WRITE_ONCE(pool->gp_used, true);
	gp->started = ktime_get_mono_fast_ns();
	gp->nr_objs_before = gp->nr_objs;
	trace_bpf_mem_gp_start(pool->owner->id, bpf_mem_unit(pool), gp == &shard->reuse);
}

static void count_end(struct bpf_mem_shard *shard, struct bpf_mem_gp *gp)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);
	u64 wait = ktime_get_mono_fast_ns() - gp->started;

	gp->wait_sum += wait;
	gp->wait_max = max(gp->wait_max, wait);
	gp->nr_periods++;
	trace_bpf_mem_gp_end(pool->owner->id, bpf_mem_unit(pool), gp == &shard->reuse,
			     gp->nr_objs - gp->nr_objs_before, wait);
}

/* Of a queue, or of an engine: only ever tried from where one might be below. */

static bool notrace bit_trylock(unsigned long *word)
{
	preempt_disable_notrace();
	if (!test_and_set_bit_lock(0, word))
		return true;
	preempt_enable_notrace();
	return false;
}

static void notrace bit_unlock(unsigned long *word)
{
	clear_bit_unlock(0, word);
	preempt_enable_notrace();
}

/* In a task: a holder is on another CPU, or comes and goes on top. */
static void bit_lock(unsigned long *word)
{
	while (!bit_trylock(word))
		cpu_relax();
}

/* Queues */

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

	if (bpf_mem_queue_empty(queue) || !bit_trylock(&queue->busy))
		return NULL;
	first = queue_cut(queue, max, nr);
	bit_unlock(&queue->busy);
	return first;
}

static struct llist_node *queue_take(struct bpf_mem_queue *queue, unsigned int max,
				     unsigned int *nr)
{
	struct llist_node *first;

	bit_lock(&queue->busy);
	first = queue_cut(queue, max, nr);
	bit_unlock(&queue->busy);
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

	/* All before the callback is seen by the worker that finds this. */
	atomic_set_release(&shard->release.state, BPF_MEM_GP_EXPIRED);
	bpf_mem_shard_queue(shard);
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
	unsigned int nr;

	while ((list = queue_take(&shard->releasing, RELEASE_BATCH, &nr))) {
		atomic_long_sub(nr, &pool->mag.nr_reclaimable);
		bpf_mem_slab_free(pool, list);
		shard->release.nr_objs += nr;
		cond_resched();
	}
	count_end(shard, &shard->release);
	atomic_set(&shard->release.state, BPF_MEM_GP_IDLE);
}

/* All of @from to @to, which is empty and which only the worker adds to. */
static void queue_move(struct bpf_mem_queue *from, struct bpf_mem_queue *to)
{
	struct llist_node *head, *added;

	bit_lock(&from->busy);
	head = from->head;
	WRITE_ONCE(from->head, NULL);
	added = llist_del_all(&from->added);
	bit_unlock(&from->busy);
	bit_lock(&to->busy);
	WRITE_ONCE(to->head, head);
	WRITE_ONCE(to->added.first, added);
	bit_unlock(&to->busy);
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

static void reuse_expired(struct rcu_head *rcu);

/* Reuse: deferred objects to the depot. With &bpf_mem_shard.reusing set. */

/* To the depot, or to the slab if there is no room: @last is on the way to the end. */
static void restock_chain(struct bpf_mem_shard *shard, struct llist_node *first,
			  struct llist_node *last, unsigned int nr)
{
	if (pcpu_magazine_put_chain(&shard->mag, first, nr))
		return;
	while (last->next)
		last = last->next;
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

	if (nr < batch)
		other = pcpu_magazine_take_chain(&shard->mag, &n);
	/* No walk: for as long as it is in hand, who interrupts this does not see it. */
	if (other && n + nr <= batch) {
		last->next = other;
		nr += n;
	} else if (other) {
		pcpu_magazine_hand_over(&shard->mag, other, n);
	}
	restock_chain(shard, first, last, nr);
}

/* A batch off a list. Returns the rest. */
static struct llist_node *restock_batch(struct bpf_mem_shard *shard, struct llist_node *list)
{
	unsigned int nr, batch = shard->mag.pool->marks.batch;
	struct llist_node *last = list, *rest;

	for (nr = 1; nr < batch && last->next; nr++)
		last = last->next;
	rest = last->next;
	last->next = NULL;
	if (rest)
		restock_chain(shard, list, last, nr);
	else
		restock_rest(shard, list, last, nr);
	shard->reuse.nr_objs += nr;
	return rest;
}

/* Up to @max batches of what has waited. Returns false if that was not all. */
static bool restock(struct bpf_mem_shard *shard, unsigned int max)
{
	struct bpf_mem_cpu *c;
	int cpu;

	for_each_cpu(cpu, pcpu_magazine_shard_cpus(shard->mag.index)) {
		c = per_cpu_ptr(bpf_mem_cpus(bpf_mem_shard_pool(shard)), cpu);
		for (; c->waiting && max; max--)
			c->waiting = restock_batch(shard, c->waiting);
		if (c->waiting)
			return false;
	}
	return true;
}

static void reuse_begin(struct bpf_mem_shard *shard)
{
	struct bpf_mem_cpu *c;
	bool some = false;
	int cpu;

	/* Pairs with the barrier in irq_work_queue(): see bpf_mem_gp_is_waiting(). */
	smp_mb();
	for_each_cpu(cpu, pcpu_magazine_shard_cpus(shard->mag.index)) {
		c = per_cpu_ptr(bpf_mem_cpus(bpf_mem_shard_pool(shard)), cpu);
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

/* Returns false if there is more to do. */
static bool reuse_advance(struct bpf_mem_shard *shard)
{
	struct bpf_mem_pool *pool = bpf_mem_shard_pool(shard);

	if (READ_ONCE(pool->stopping))
		return true;
	if (atomic_read_acquire(&shard->reuse.state) == BPF_MEM_GP_EXPIRED) {
		if (!restock(shard, bpf_mem_irq_batches(pool)))
			return false;
		count_end(shard, &shard->reuse);
		bpf_mem_look_soon(pool);
		atomic_set(&shard->reuse.state, BPF_MEM_GP_IDLE);
	}
	if (atomic_read(&shard->reuse.state) == BPF_MEM_GP_IDLE)
		reuse_begin(shard);
	return true;
}

/**
 * bpf_mem_gp_try_reuse() - move on with objects that RCU lets be reused
 * @shard: the shard
 *
 * Context: Any but NMI, preemption disabled or task. Moves BPF_MEM_IRQ_BATCHES
 *	batches at most, or begins a grace period for what the CPUs of the shard have
 *	deferred.
 * Return: false if there is more to do, or somebody else is at it: the worker of
 *	the shard has to come.
 */
bool bpf_mem_gp_try_reuse(struct bpf_mem_shard *shard)
{
	bool done;

	if (bpf_mem_gp_is_waiting(&shard->reuse))
		return true;
	if (!bit_trylock(&shard->reusing))
		return false;
	done = reuse_advance(shard);
	bit_unlock(&shard->reusing);
	return done;
}

static void reuse_expired(struct rcu_head *rcu)
{
	struct bpf_mem_shard *shard = container_of(rcu, struct bpf_mem_shard, reuse.rcu);

	/* All before the callback is seen by whoever finds this. */
	atomic_set_release(&shard->reuse.state, BPF_MEM_GP_EXPIRED);
	if (!bpf_mem_gp_try_reuse(shard) || bpf_mem_gp_has_surplus(shard))
		bpf_mem_shard_queue(shard);
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
	while (!bpf_mem_gp_try_reuse(shard))
		cond_resched();
	release_advance(shard);
}

/**
 * bpf_mem_gp_stop() - let no callback touch objects any more
 * @shard: of a pool that is stopping
 *
 * Context: Task context.
 */
void bpf_mem_gp_stop(struct bpf_mem_shard *shard)
{
	/* Who comes after this sees that the pool is stopping. */
	bit_lock(&shard->reusing);
	bit_unlock(&shard->reusing);
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
 * release_trace_expired(), and release_expired() if that is one of its own. No other
 * one is queued: the workers are stopped, and see bpf_mem_gp_stop().
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
