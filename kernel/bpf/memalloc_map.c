// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what a map is created with, and what it says of its memory.
 *
 * kernel.bpf_force_dyn_alloc: hash maps without preallocation, system wide.
 * What a program or user space can see of a map, its flags included, stays as
 * it was created: tools compare flags before they reuse a pinned map.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/init.h>
#include <linux/sysctl.h>
#include "memalloc_internal.h"

int sysctl_bpf_force_dyn_alloc __read_mostly;

/**
 * bpf_map_wants_dyn_alloc() - is a map to allocate its elements when they come?
 * @attr: attributes that a hash map of any type is created with
 *
 * Context: Any.
 * Return: true if so.
 */
bool bpf_map_wants_dyn_alloc(const union bpf_attr *attr)
{
	if (attr->map_flags & BPF_F_NO_PREALLOC)
		return true;
	return READ_ONCE(sysctl_bpf_force_dyn_alloc) &&
	       (attr->map_type == BPF_MAP_TYPE_HASH ||
		attr->map_type == BPF_MAP_TYPE_PERCPU_HASH);
}

/**
 * bpf_map_may_reserve() - may map_extra be a number of elements to reserve?
 * @attr: attributes that a map of any type is created with
 *
 * A dynamic hash map takes it from there: so many updates succeed from any
 * context without a refill in between, see bpf_mem_alloc_reserve(). The upper
 * half is kept for later and must be zero. It goes with the flag only, so that
 * what is valid does not depend on the sysctl.
 *
 * Context: Any.
 * Return: true if so.
 */
bool bpf_map_may_reserve(const union bpf_attr *attr)
{
	return attr->map_flags & BPF_F_NO_PREALLOC && attr->map_extra <= U32_MAX &&
	       (attr->map_type == BPF_MAP_TYPE_HASH ||
		attr->map_type == BPF_MAP_TYPE_PERCPU_HASH ||
		attr->map_type == BPF_MAP_TYPE_HASH_OF_MAPS);
}

/**
 * bpf_local_storage_prepare_update() - memory for an element, before locks
 * @map: storage of tasks or cgroups
 *
 * An update by system call does not sleep for memory: what it may need is here
 * before.
 *
 * Context: Task context, may sleep.
 */
void bpf_local_storage_prepare_update(struct bpf_map *map)
{
	/* Newer storage does not allocate here. */
#ifdef BPF_MEM_SERVES_STORAGE
	struct bpf_local_storage_map *smap = container_of(map, struct bpf_local_storage_map,
							  map);

	bpf_mem_alloc_prepare(&smap->selem_ma);
	bpf_mem_alloc_prepare(&smap->storage_ma);
#endif
}

#ifdef CONFIG_SYSCTL
static struct ctl_table bpf_mem_sysctls[] = {
	{
		.procname	= "bpf_force_dyn_alloc",
		.data		= &sysctl_bpf_force_dyn_alloc,
		.maxlen		= sizeof(sysctl_bpf_force_dyn_alloc),
		.mode		= 0600,
		.proc_handler	= proc_dointvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_ONE,
	},
};

static int __init bpf_mem_sysctl_init(void)
{
	register_sysctl_init("kernel", bpf_mem_sysctls);
	return 0;
}
late_initcall(bpf_mem_sysctl_init);
#endif

/**
 * bpf_mem_alloc_set_map() - say whose an allocator is
 * @ma: an allocator
 * @map: the map, which destroys it before it goes
 *
 * For people: debugfs shows the map's id and name.
 *
 * Context: Any.
 */
void bpf_mem_alloc_set_map(struct bpf_mem_alloc *ma, const struct bpf_map *map)
{
	WRITE_ONCE(ma->owner->map, map);
}

/**
 * bpf_mem_alloc_reserve() - guarantee allocations
 * @ma: the allocator
 * @size: bytes, for size classes; 0 if the allocator has a fixed size
 * @nr: objects; replaces what was asked for before
 *
 * From its return on, @nr allocations succeed from any context, on one CPU or
 * spread over all, without a refill in between; and again once the stock has
 * been refilled. What is reserved is charged like all objects.
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0; -EINVAL for a size out of range; -ENOMEM and all is as before.
 */
int bpf_mem_alloc_reserve(struct bpf_mem_alloc *ma, size_t size, unsigned int nr)
{
	struct bpf_mem_allocator *owner = ma->owner;
	int class = 0;

	if (!owner || (owner->nr == 1 ? size : !size))
		return -EINVAL;
	if (size)
		class = bpf_mem_class(size + ma->header);
	if (class < 0 || !owner->pool[class])
		return -EINVAL;
	return bpf_mem_pool_reserve(owner->pool[class], nr);
}

/**
 * bpf_mem_alloc_mem_usage() - memory that an allocator has from the kernel
 * @ma: the allocator
 *
 * Objects in use, cached or waiting for a grace period, with their per-CPU
 * areas, and what the allocator itself takes.
 *
 * Context: Any.
 * Return: Bytes.
 */
u64 bpf_mem_alloc_mem_usage(const struct bpf_mem_alloc *ma)
{
	struct bpf_mem_allocator *owner = ma->owner;
	struct bpf_mem_shard *shard;
	struct bpf_mem_pool *pool;
	unsigned int i, j;
	u64 usage;

	if (!owner)
		return 0;
	usage = struct_size(owner, pool, owner->nr) +
		(u64)num_possible_cpus() * owner->nr * sizeof(*owner->cpus);
	bpf_mem_for_each_pool(pool, owner, i) {
		usage += struct_size(pool, shards, pool->mag.nr_shards);
		bpf_mem_for_each_shard(shard, pool, j)
			usage += sizeof(*shard) + shard->mag.depot.nr_slots *
						  sizeof(struct pcpu_magazine_slot);
		if (pool->mag.reserve)
			usage += (u64)pool->mag.reserve->nr_slots *
				 sizeof(struct pcpu_magazine_slot);
		usage += atomic_long_read(&pool->nr_slab) * (u64)bpf_mem_slab_footprint(pool);
	}
	return usage;
}
