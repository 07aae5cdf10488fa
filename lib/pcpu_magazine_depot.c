// SPDX-License-Identifier: GPL-2.0-only
/*
 * Per-CPU magazines: chains between CPUs.
 *
 * A depot is two lists of numbered slots: those that hold a chain, and those
 * that hold none. To put a chain is to take a free slot into hand, write to it
 * and add it to the other list; to get one is the reverse. Either takes the same
 * few instructions however many slots there are. A slot in hand is private to
 * its context: a nested one does not see that slot, and all others.
 *
 * The words of the lists have 64 bits. Where the machine has no such
 * compare-and-exchange, atomic64_t takes a lock with interrupts off: such machines
 * run no BPF program in NMI.
 */
#include <linux/export.h>
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include "pcpu_magazine_internal.h"

#define SLOT_MASK	((1U << PCPU_MAGAZINE_SLOT_BITS) - 1)

/* Lists of slots */

static notrace struct pcpu_magazine_slot *slot_of(struct pcpu_magazine_depot *depot,
						  unsigned int number)
{
	unsigned int i = number - 1, part = fls(i >> depot->shift);

	/* Each part after the first begins where it doubles what there is. */
	if (part)
		i -= 1U << (depot->shift + part - 1);
	return &depot->part[part][i];
}

static notrace s64 list_word(s64 old, unsigned int number)
{
	return ((old | SLOT_MASK) + 1) | number;
}

/* The slots from @first to @last are linked; publishes them and what they hold. */
static notrace void list_push(atomic64_t *list, unsigned int first,
			      struct pcpu_magazine_slot *last)
{
	s64 old = atomic64_read(list);

	do {
		WRITE_ONCE(last->next, old & SLOT_MASK);
	} while (!atomic64_try_cmpxchg(list, &old, list_word(old, first)));
}

/* Returns the slot's number, 0 if the list is empty. */
static notrace unsigned int list_pop(struct pcpu_magazine_depot *depot, atomic64_t *list)
{
	s64 old = atomic64_read(list);
	unsigned int number, next;

	do {
		number = old & SLOT_MASK;
		if (!number)
			return 0;
		/* Stale if somebody else was quicker; then the word has changed. */
		next = READ_ONCE(slot_of(depot, number)->next);
	} while (!atomic64_try_cmpxchg(list, &old, list_word(old, next)));
	return number;
}

/**
 * pcpu_magazine_depot_get() - take a chain out
 * @depot: the depot
 * @nr: set to the number of objects
 *
 * Context: Any. The number of steps does not depend on what is in the depot.
 * Return: NULL-terminated chain, or NULL.
 */
notrace struct llist_node *pcpu_magazine_depot_get(struct pcpu_magazine_depot *depot,
						   unsigned int *nr)
{
	struct pcpu_magazine_slot *slot;
	struct llist_node *first;
	unsigned int number;

	if (!atomic_read(&depot->level))
		return NULL;
	number = list_pop(depot, &depot->full);
	if (!number)
		return NULL;
	slot = slot_of(depot, number);
	first = slot->first;
	*nr = slot->nr;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_SLOT);
	list_push(&depot->free, number, slot);
	atomic_sub(*nr, &depot->level);
	return first;
}

/**
 * pcpu_magazine_depot_put() - put a chain in
 * @depot: the depot
 * @first: NULL-terminated chain
 * @nr: objects on it
 *
 * Context: As pcpu_magazine_depot_get().
 * Return: Objects in the depot with these, 0 if there is no room.
 */
unsigned int notrace pcpu_magazine_depot_put(struct pcpu_magazine_depot *depot,
					     struct llist_node *first, unsigned int nr)
{
	unsigned int number = list_pop(depot, &depot->free);
	struct pcpu_magazine_slot *slot;
	unsigned int level;

	if (!number)
		return 0;
	slot = slot_of(depot, number);
	slot->first = first;
	slot->nr = nr;
	pcpu_magazine_seam(PCPU_MAGAZINE_SEAM_SLOT);
	level = atomic_add_return(nr, &depot->level);
	list_push(&depot->full, number, slot);
	return level;
}

/**
 * pcpu_magazine_depot_is_full() - is there no slot for another chain?
 * @depot: the depot
 *
 * Context: Any.
 * Return: true if so at this moment.
 */
bool pcpu_magazine_depot_is_full(struct pcpu_magazine_depot *depot)
{
	return !(atomic64_read(&depot->free) & SLOT_MASK);
}

/* Add a part of @nr slots, numbered from @from on. */
static int part_add(struct pcpu_magazine_depot *depot, unsigned int part, unsigned int from,
		    unsigned int nr, gfp_t gfp)
{
	size_t size = array_size(nr, sizeof(struct pcpu_magazine_slot));
	struct pcpu_magazine_slot *slots;
	unsigned int i;

	/* Of single pages: that there are none in a row is no reason to fail. */
	gfp |= __GFP_NOWARN | __GFP_ZERO;
	slots = size > PAGE_SIZE ? __vmalloc(size, gfp) : kmalloc(size, gfp);
	if (!slots)
		return -ENOMEM;
	for (i = 0; i < nr; i++)
		slots[i].next = from + i + 1;
	/* Before its slots can be seen: the exchange that adds them is a barrier. */
	depot->part[part] = slots;
	list_push(&depot->free, from, &slots[nr - 1]);
	WRITE_ONCE(depot->nr_slots, depot->nr_slots + nr);
	return 0;
}

/**
 * pcpu_magazine_depot_init() - make a depot, empty at first
 * @depot: all zero
 * @nr: slots
 * @gfp: flags, may sleep
 *
 * Context: Task context.
 * Return: 0 or -ENOMEM.
 */
int pcpu_magazine_depot_init(struct pcpu_magazine_depot *depot, unsigned int nr, gfp_t gfp)
{
	depot->shift = order_base_2(nr);
	if (depot->shift >= PCPU_MAGAZINE_SLOT_BITS)
		return -ENOMEM;
	return part_add(depot, 0, 1, 1U << depot->shift, gfp);
}

/**
 * pcpu_magazine_depot_grow() - make room for more chains
 * @depot: the depot, may be in use
 * @nr: slots to have
 * @gfp: flags, may sleep
 *
 * Context: Task context. The caller lets one in at a time.
 * Return: 0, or -ENOMEM and it may have grown by less.
 */
int pcpu_magazine_depot_grow(struct pcpu_magazine_depot *depot, unsigned int nr, gfp_t gfp)
{
	unsigned int part;
	int err = 0;

	if (nr > SLOT_MASK)
		return -ENOMEM;
	while (depot->nr_slots < nr && !err) {
		part = ilog2(depot->nr_slots) - depot->shift + 1;
		if (part == PCPU_MAGAZINE_PARTS || depot->nr_slots > SLOT_MASK / 2)
			return -ENOMEM;
		err = part_add(depot, part, depot->nr_slots + 1, depot->nr_slots, gfp);
	}
	return err;
}

/**
 * pcpu_magazine_depot_exit() - free an empty depot
 * @depot: the depot, not in use
 *
 * Context: Task context.
 */
void pcpu_magazine_depot_exit(struct pcpu_magazine_depot *depot)
{
	unsigned int part;

	for (part = 0; part < PCPU_MAGAZINE_PARTS; part++)
		kvfree(depot->part[part]);
}

/* Which CPU is in which shard */

static u8 shard_of_cpu[NR_CPUS] __ro_after_init;
static struct cpumask shard_cpus[PCPU_MAGAZINE_MAX_SHARDS] __ro_after_init;
static int shard_node[PCPU_MAGAZINE_MAX_SHARDS] __ro_after_init;
static unsigned int nr_shards __ro_after_init;
static bool several_nodes __ro_after_init;
static bool ignore_nodes __ro_after_init;

/* Shards of a node: from @first on, @nr of them. */
static struct node_shards {
	unsigned int first;
	unsigned int nr;
} node_shards[MAX_NUMNODES] __ro_after_init;

static unsigned int cpus_per_shard __ro_after_init = PCPU_MAGAZINE_SHARD_CPUS;
module_param(cpus_per_shard, uint, 0444);
MODULE_PARM_DESC(cpus_per_shard, "CPUs that share a depot");

/**
 * pcpu_magazine_nr_shards() - shards that a pool has
 *
 * Context: Any, after core_initcall.
 * Return: 1 to PCPU_MAGAZINE_MAX_SHARDS.
 */
unsigned int pcpu_magazine_nr_shards(void)
{
	return nr_shards;
}
EXPORT_SYMBOL_GPL(pcpu_magazine_nr_shards);

/**
 * pcpu_magazine_shard_of() - shard that a CPU is in
 * @cpu: a possible CPU
 *
 * Context: Any.
 * Return: Index of the shard.
 */
notrace unsigned int pcpu_magazine_shard_of(unsigned int cpu)
{
	return shard_of_cpu[cpu];
}
EXPORT_SYMBOL_GPL(pcpu_magazine_shard_of);

/**
 * pcpu_magazine_shard_cpus() - CPUs of a shard
 * @index: of the shard
 *
 * Context: Any.
 * Return: Possible CPUs, all on one node.
 */
const struct cpumask *pcpu_magazine_shard_cpus(unsigned int index)
{
	return &shard_cpus[index];
}
EXPORT_SYMBOL_GPL(pcpu_magazine_shard_cpus);

/**
 * pcpu_magazine_shard_node() - node of a shard
 * @index: of the shard
 *
 * Context: Any.
 * Return: NUMA node that its CPUs had at boot.
 */
int pcpu_magazine_shard_node(unsigned int index)
{
	return shard_node[index];
}
EXPORT_SYMBOL_GPL(pcpu_magazine_shard_node);

static unsigned int __init node_of_cpu(unsigned int cpu)
{
	int node = cpu_to_node(cpu);

	return ignore_nodes || node == NUMA_NO_NODE ? 0 : node;
}

/* Returns the number of shards with up to @size CPUs each; notes them if @note. */
static unsigned int __init divide(unsigned int size, bool note)
{
	unsigned int cpu, node, in_shard, next = 0;

	for_each_node(node) {
		in_shard = size;
		for_each_possible_cpu(cpu) {
			if (node_of_cpu(cpu) != node)
				continue;
			if (in_shard == size) {
				in_shard = 0;
				next++;
				if (note && !node_shards[node].nr++)
					node_shards[node].first = next - 1;
			}
			in_shard++;
			if (!note)
				continue;
			shard_of_cpu[cpu] = next - 1;
			shard_node[next - 1] = node;
			cpumask_set_cpu(cpu, &shard_cpus[next - 1]);
		}
	}
	return next;
}

static int __init pcpu_magazine_shards_init(void)
{
	unsigned int size = clamp(cpus_per_shard, 1U, nr_cpu_ids);

	while (divide(size, false) > PCPU_MAGAZINE_MAX_SHARDS && size < nr_cpu_ids)
		size *= 2;
	/* More nodes than shards. */
	if (divide(size, false) > PCPU_MAGAZINE_MAX_SHARDS) {
		ignore_nodes = true;
		size = DIV_ROUND_UP(nr_cpu_ids, PCPU_MAGAZINE_MAX_SHARDS);
	}
	nr_shards = divide(size, true);
	several_nodes = nr_shards > node_shards[node_of_cpu(0)].nr;
	return 0;
}
core_initcall(pcpu_magazine_shards_init);

/* Depots of shards */

static bool notrace is_stocked(const struct pcpu_magazine_shard *shard)
{
	return atomic_read(&shard->depot.level);
}

/* Also if it was another one who emptied it: a bit may come after its chain is gone. */
static void notrace note_empty(struct pcpu_magazine_shard *shard)
{
	struct pcpu_magazine_pool *pool = shard->pool;

	if (!(READ_ONCE(pool->stocked) & BIT(shard->index)))
		return;
	clear_bit(shard->index, &pool->stocked);
	/* Who has put one and did not see this is seen here: pairs with shard_put(). */
	smp_mb__after_atomic();
	if (is_stocked(shard))
		set_bit(shard->index, &pool->stocked);
}

static notrace struct llist_node *shard_get(struct pcpu_magazine_shard *shard, unsigned int *nr)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	struct llist_node *first;

	/* A chain that is in hand is hidden for a few instructions, not for longer. */
	preempt_disable_notrace();
	first = pcpu_magazine_depot_get(&shard->depot, nr);
	if (pool->nr_shards > 1 && !is_stocked(shard))
		note_empty(shard);
	preempt_enable_notrace();
	return first;
}

static bool notrace shard_put(struct pcpu_magazine_shard *shard, struct llist_node *first,
			      unsigned int nr)
{
	unsigned int most = (READ_ONCE(shard->target) + 1) * shard->pool->marks.batch, level;
	struct pcpu_magazine_pool *pool = shard->pool;

	preempt_disable_notrace();
	level = pcpu_magazine_depot_put(&shard->depot, first, nr);
	/* The exchange that put it is the barrier before this look. */
	if (level && pool->nr_shards > 1 && !(READ_ONCE(pool->stocked) & BIT(shard->index)))
		set_bit(shard->index, &pool->stocked);
	/* Once, when there is more than is to be kept: somebody has to look after it. */
	if (level > most && level - nr <= most)
		pool->ops->kick(shard);
	preempt_enable_notrace();
	return level;
}

/* From one of the shards in @mask, those behind this one first. */
static notrace struct llist_node *shards_get(struct pcpu_magazine_shard *shard,
					     unsigned long mask, unsigned int *nr)
{
	struct pcpu_magazine_pool *pool = shard->pool;
	unsigned long left = READ_ONCE(pool->stocked) & mask & ~BIT(shard->index);
	struct llist_node *first;
	unsigned int i;

	while (left) {
		i = __ffs((left & (~0UL << shard->index)) ?: left);
		first = shard_get(pool->shards[i], nr);
		if (first)
			return first;
		left &= ~BIT(i);
	}
	return NULL;
}

/**
 * pcpu_magazine_fetch() - a chain from the node of a shard
 * @shard: whose depot comes first
 * @nr: set to the number of objects
 *
 * Context: Any. Looks at one depot, and at others that have something.
 * Return: NULL-terminated chain, or NULL.
 */
notrace struct llist_node *pcpu_magazine_fetch(struct pcpu_magazine_shard *shard,
					       unsigned int *nr)
{
	unsigned long stocked = READ_ONCE(shard->pool->stocked);
	struct llist_node *first = NULL;

	/* A bit may be there by mistake: whoever looks takes it away. */
	if (is_stocked(shard) || stocked & BIT(shard->index))
		first = shard_get(shard, nr);
	if (!first && stocked)
		first = shards_get(shard, shard->near, nr);
	if (first)
		pcpu_magazine_event(shard, PCPU_MAGAZINE_FETCHED, 1);
	return first;
}

/**
 * pcpu_magazine_fetch_far() - a chain from other nodes
 * @shard: that needs it
 * @nr: set to the number of objects
 *
 * Context: As pcpu_magazine_fetch().
 * Return: NULL-terminated chain, or NULL.
 */
notrace struct llist_node *pcpu_magazine_fetch_far(struct pcpu_magazine_shard *shard,
						   unsigned int *nr)
{
	struct llist_node *first = shards_get(shard, ~shard->near, nr);

	if (first)
		pcpu_magazine_event(shard, PCPU_MAGAZINE_FETCHED, 1);
	return first;
}

/* Where a chain belongs: a shard of the node on which its first object lies. */
static notrace struct pcpu_magazine_shard *home_of(struct pcpu_magazine_shard *shard,
						   struct llist_node *first)
{
	const struct node_shards *home;
	int node;

	if (likely(!several_nodes))
		return shard;
	node = page_to_nid(virt_to_page(first));
	home = &node_shards[node];
	/* What a node without memory gets lies elsewhere, and is needed again there. */
	if (node == shard->node || !home->nr || !node_state(shard->node, N_MEMORY))
		return shard;
	/* Spread over the shards there. */
	return shard->pool->shards[home->first + shard->index % home->nr];
}

/**
 * pcpu_magazine_put_chain() - put objects that may be handed out at once
 * @shard: whose depot they go to, or that of a shard of their own node
 * @first: NULL-terminated chain of at most a batch
 * @nr: objects on it
 *
 * Context: Any.
 * Return: false if there is no room: the chain is still the caller's.
 */
bool notrace pcpu_magazine_put_chain(struct pcpu_magazine_shard *shard,
				     struct llist_node *first, unsigned int nr)
{
	return shard_put(home_of(shard, first), first, nr);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_put_chain);

/**
 * pcpu_magazine_take_chain() - take objects out of a depot
 * @shard: the shard
 * @nr: set to the number of objects
 *
 * Context: Any.
 * Return: NULL-terminated chain, or NULL.
 */
struct llist_node *pcpu_magazine_take_chain(struct pcpu_magazine_shard *shard, unsigned int *nr)
{
	return shard_get(shard, nr);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_take_chain);

/**
 * pcpu_magazine_keep() - put a chain into the depot of a shard, wherever it lies
 * @shard: the shard
 * @first: NULL-terminated chain of at most a batch
 * @nr: objects on it
 *
 * For whoever looks at the level of that depot for as long as it brings more.
 *
 * Context: Any.
 */
void notrace pcpu_magazine_keep(struct pcpu_magazine_shard *shard, struct llist_node *first,
				unsigned int nr)
{
	if (!shard_put(shard, first, nr))
		shard->pool->ops->overflow(shard, first, chain_nth(first, nr), nr);
}

/**
 * pcpu_magazine_hand_over() - put a chain into a depot, or give it to the user
 * @shard: the shard
 * @first: NULL-terminated chain of at most a batch
 * @nr: objects on it
 *
 * Context: Any.
 */
notrace void pcpu_magazine_hand_over(struct pcpu_magazine_shard *shard,
				     struct llist_node *first, unsigned int nr)
{
	pcpu_magazine_keep(home_of(shard, first), first, nr);
}
EXPORT_SYMBOL_GPL(pcpu_magazine_hand_over);
