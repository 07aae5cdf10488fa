/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory for BPF programs and maps: allocation and release in any context.
 *
 * See Documentation/bpf/memalloc.rst for the guide, kernel/bpf/memalloc.c for
 * what each function promises.
 */
#ifndef _LINUX_BPF_MEM_ALLOC_H
#define _LINUX_BPF_MEM_ALLOC_H

#include <linux/atomic.h>
#include <linux/types.h>

struct bpf_map;
union bpf_attr;
struct bpf_mem_pools;
struct obj_cgroup;
struct pcpu_magazine_cpu;

/**
 * struct bpf_mem_alloc - an allocator, embedded by value in its user
 * @cpus: per-CPU part: one element for a fixed-size allocator, one per size
 *	class otherwise
 * @pools: everything else, once per allocator
 * @nr_out: fixed size only: objects in use and on CPUs, see bpf_mem_alloc_may_use()
 * @max_size: largest size in bytes that bpf_mem_alloc() serves
 * @header: bytes that bpf_mem_alloc() adds to a size to find the class
 *
 * All zero means "not initialised". Nobody but the allocator looks inside.
 */
struct bpf_mem_alloc {
	struct pcpu_magazine_cpu __percpu *cpus;
	struct bpf_mem_pools *pools;
	const atomic_long_t *nr_out;
	unsigned int max_size;
	unsigned int header;
};

int bpf_mem_alloc_check_size(bool percpu, size_t size);
int bpf_mem_alloc_init(struct bpf_mem_alloc *ma, int size, bool percpu);
void bpf_mem_alloc_destroy(struct bpf_mem_alloc *ma);
void bpf_mem_alloc_set_dtor(struct bpf_mem_alloc *ma,
			    void (*dtor)(void *obj, void *ctx),
			    void (*ctx_free)(void *ctx), void *ctx);

void bpf_mem_alloc_set_map(struct bpf_mem_alloc *ma, const struct bpf_map *map);

/* Hash maps without preallocation, asked for by the map or by sysctl */
extern int sysctl_bpf_force_dyn_alloc;
bool bpf_map_wants_dyn_alloc(const union bpf_attr *attr);
bool bpf_map_may_reserve(const union bpf_attr *attr);

/* Objects of a fixed size with a per-CPU area each */
int bpf_mem_alloc_init_area(struct bpf_mem_alloc *ma, int size, int area_size,
			    int area_at);

/* Stock, seen from task context */
void bpf_mem_alloc_prepare(struct bpf_mem_alloc *ma);
int bpf_mem_alloc_reserve(struct bpf_mem_alloc *ma, size_t size, unsigned int nr);
u64 bpf_mem_alloc_mem_usage(const struct bpf_mem_alloc *ma);

long bpf_mem_alloc_used(const struct bpf_mem_alloc *ma);

/**
 * bpf_mem_alloc_may_use() - may at least so many objects be in use?
 * @ma: made with a size; its objects are freed to it and nowhere else
 * @nr: objects
 *
 * Cheap enough to be asked for each allocation: two loads and a comparison.
 *
 * Context: Any.
 * Return: false if there are fewer; true if bpf_mem_alloc_used() has to be
 *	asked, which is when @nr is as near as the stock of the CPUs.
 */
static inline bool bpf_mem_alloc_may_use(const struct bpf_mem_alloc *ma, long nr)
{
	return atomic_long_read(ma->nr_out) >= nr;
}

/* Per-CPU areas in size classes */
int bpf_mem_alloc_percpu_init(struct bpf_mem_alloc *ma, struct obj_cgroup *objcg);
int bpf_mem_alloc_percpu_unit_init(struct bpf_mem_alloc *ma, int size);

/* Size classes: an allocator that was made with size 0 */
void *bpf_mem_alloc(struct bpf_mem_alloc *ma, size_t size);
void bpf_mem_free(struct bpf_mem_alloc *ma, void *obj);
void bpf_mem_free_rcu(struct bpf_mem_alloc *ma, void *obj);

/* Fixed size: an allocator that was made with a size */
void *bpf_mem_cache_alloc(struct bpf_mem_alloc *ma);
void *bpf_mem_cache_alloc_flags(struct bpf_mem_alloc *ma, gfp_t flags);
void bpf_mem_cache_free(struct bpf_mem_alloc *ma, void *obj);
void bpf_mem_cache_free_rcu(struct bpf_mem_alloc *ma, void *obj);
void bpf_mem_cache_raw_free(void *obj);

#endif /* _LINUX_BPF_MEM_ALLOC_H */
