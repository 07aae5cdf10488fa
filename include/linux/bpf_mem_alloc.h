/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory for BPF programs and maps: allocation and release in any context.
 *
 * See Documentation/bpf/memalloc.rst for the guide, kernel/bpf/memalloc.c for
 * what each function promises.
 */
#ifndef _LINUX_BPF_MEM_ALLOC_H
#define _LINUX_BPF_MEM_ALLOC_H

#include <linux/types.h>

struct bpf_map;
union bpf_attr;
struct bpf_mem_allocator;
struct bpf_mem_cpu;
struct obj_cgroup;

/**
 * struct bpf_mem_alloc - an allocator, embedded by value in its user
 * @cpus: per-CPU part: one element for a fixed-size allocator, one per size
 *	class otherwise
 * @owner: everything else, once per allocator
 * @max_size: largest size in bytes that bpf_mem_alloc() serves
 * @header: bytes that bpf_mem_alloc() adds to a size to find the class
 *
 * All zero means "not initialised". Nobody but the allocator looks inside.
 */
struct bpf_mem_alloc {
	struct bpf_mem_cpu __percpu *cpus;
	struct bpf_mem_allocator *owner;
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
void bpf_local_storage_prepare_update(struct bpf_map *map);

/* Objects of a fixed size with a per-CPU area each */
int bpf_mem_alloc_init_area(struct bpf_mem_alloc *ma, int size, int area_size,
			    int area_at);

/* Stock, seen from task context */
void bpf_mem_alloc_prepare(struct bpf_mem_alloc *ma);
int bpf_mem_alloc_reserve(struct bpf_mem_alloc *ma, size_t size, unsigned int nr);
u64 bpf_mem_alloc_mem_usage(const struct bpf_mem_alloc *ma);

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
void *bpf_mem_cache_alloc_new(struct bpf_mem_alloc *ma, int node, gfp_t gfp);
void bpf_mem_cache_free(struct bpf_mem_alloc *ma, void *obj);
void bpf_mem_cache_free_rcu(struct bpf_mem_alloc *ma, void *obj);
void bpf_mem_cache_raw_free(void *obj);

#endif /* _LINUX_BPF_MEM_ALLOC_H */
