/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU magazines: what the files of the layer share.
 *
 *	pcpu_magazine.c		taking and giving, in any context
 *	pcpu_magazine_depot.c	chains between CPUs; which CPU is in which shard
 *	pcpu_magazine_stock.c	making pools, refill, reserve, flush, drain, figures
 */
#ifndef _PCPU_MAGAZINE_INTERNAL_H
#define _PCPU_MAGAZINE_INTERNAL_H

#include <linux/pcpu_magazine.h>

/* pcpu_magazine_depot.c */
int pcpu_magazine_depot_init(struct pcpu_magazine_depot *depot, unsigned int nr, gfp_t gfp);
int pcpu_magazine_depot_grow(struct pcpu_magazine_depot *depot, unsigned int nr, gfp_t gfp);
void pcpu_magazine_depot_exit(struct pcpu_magazine_depot *depot);
bool pcpu_magazine_depot_is_full(struct pcpu_magazine_depot *depot);
unsigned int pcpu_magazine_depot_put(struct pcpu_magazine_depot *depot,
				     struct llist_node *first, unsigned int nr);
struct llist_node *pcpu_magazine_depot_get(struct pcpu_magazine_depot *depot, unsigned int *nr);
void pcpu_magazine_keep(struct pcpu_magazine_shard *shard, struct llist_node *first,
			unsigned int nr);
struct llist_node *pcpu_magazine_fetch(struct pcpu_magazine_shard *shard, unsigned int *nr);
struct llist_node *pcpu_magazine_fetch_far(struct pcpu_magazine_shard *shard, unsigned int *nr);

/* pcpu_magazine.c */
void pcpu_magazine_cpu_set_marks(struct pcpu_magazine_cpu *c, bool is_short);
struct llist_node *pcpu_magazine_cpu_take_all(struct pcpu_magazine_cpu *c, unsigned int *nr);

static inline void pcpu_magazine_event(struct pcpu_magazine_shard *shard,
				       enum pcpu_magazine_event event, long nr)
{
	atomic_long_add(nr, &shard->events[event]);
}

/* The last of the first @nr nodes, or of the chain if that is shorter; @nr >= 1. */
static __always_inline struct llist_node *chain_nth(struct llist_node *first, unsigned int nr)
{
	while (--nr && first->next)
		first = first->next;
	return first;
}

#endif /* _PCPU_MAGAZINE_INTERNAL_H */
