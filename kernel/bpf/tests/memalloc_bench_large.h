/* SPDX-License-Identifier: GPL-2.0-only */
/* What the benchmark of large machines has in common: ours and the peer, called alike. */
#ifndef _BPF_MEMALLOC_BENCH_LARGE_H
#define _BPF_MEMALLOC_BENCH_LARGE_H

#include "memalloc_bench.h"

/* Column of a table that says how many were asked for. */
#define LARGE_ASKED	"asked"

/* As often as one figure is measured: under -icount they hardly differ. */
#define LARGE_SAMPLES	3

/* An allocator of either. */
union large_ma {
	struct bpf_mem_alloc ours;
#ifdef BPF_MEMALLOC_PEER
	struct peer_mem_alloc peer;
#endif
};

/**
 * struct large_who - a contender
 * @name: as in the tables
 * @init: as bpf_mem_alloc_init()
 * @destroy: as bpf_mem_alloc_destroy()
 * @alloc: of an allocator that was made with a size when @size is 0, of one with
 *	size classes otherwise; migration is disabled by the caller
 * @free: to the same
 * @free_rcu: to the same, after a grace period
 * @hash: its hash map
 * @percpu_hash: its per-CPU hash map
 */
struct large_who {
	const char *name;
	int (*init)(union large_ma *ma, int size, bool percpu);
	void (*destroy)(union large_ma *ma);
	void *(*alloc)(union large_ma *ma, size_t size);
	void (*free)(union large_ma *ma, size_t size, void *obj);
	void (*free_rcu)(union large_ma *ma, size_t size, void *obj);
	const struct bpf_map_ops *hash;
	const struct bpf_map_ops *percpu_hash;
};

extern const struct large_who large_whos[];
extern const unsigned int large_nr_whos;

/* Each contender once, and then all of them again. */
#define for_each_large_sample(i, who, samples)				\
	for ((i) = 0;							\
	     (i) < (samples) * large_nr_whos && ((who) = &large_whos[(i) % large_nr_whos]); \
	     (i)++)

int large_init(struct kunit *test);
void **large_objs(struct kunit *test, unsigned int nr);
unsigned int large_get(const struct large_who *who, union large_ma *ma, void **objs,
		       unsigned int nr);
void large_put(const struct large_who *who, union large_ma *ma, void **objs, unsigned int nr);

#endif /* _BPF_MEMALLOC_BENCH_LARGE_H */
