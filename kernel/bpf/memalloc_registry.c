// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: all allocators there are, by number.
 *
 * The lock is held for one visit, or for all visits of a walk: then no allocator
 * comes or goes meanwhile. It nests inside nothing of ours, so what is done with
 * it held must be short: no grace period.
 */
#include <linux/export.h>
#include <linux/mutex.h>
#include <linux/xarray.h>
#include "memalloc_internal.h"

static DEFINE_XARRAY_ALLOC1(allocators);
static DEFINE_MUTEX(allocators_lock);

/**
 * bpf_mem_register() - an allocator has got users, or another pool
 * @owner: the allocator, which gets its number if it has none
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int bpf_mem_register(struct bpf_mem_allocator *owner)
{
	struct bpf_mem_pool *pool;
	static u32 next = 1;
	unsigned int i;
	int err;

	guard(mutex)(&allocators_lock);
	if (!owner->id) {
		err = xa_alloc_cyclic(&allocators, &owner->id, owner,
				      XA_LIMIT(1, S32_MAX), &next, GFP_KERNEL);
		if (err < 0)
			return -ENOMEM;
	}
	/* Watermarks may have changed while the pool was made. */
	bpf_mem_for_each_pool(pool, owner, i)
		bpf_mem_watermarks_follow(pool);
	bpf_mem_debugfs_add(owner);
	return 0;
}

/**
 * bpf_mem_unregister() - an allocator has no users any more
 * @owner: the allocator; nobody who visits it is left. Who has looked up its
 *	number is done with it after a grace period of RCU.
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_unregister(struct bpf_mem_allocator *owner)
{
	guard(mutex)(&allocators_lock);
	bpf_mem_debugfs_del(owner);
	xa_erase(&allocators, owner->id);
}

/**
 * bpf_mem_for_each() - visit all allocators
 * @visit: called with each and @arg; no allocator comes or goes meanwhile
 * @arg: passed on
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_for_each(void (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg)
{
	struct bpf_mem_allocator *owner;
	unsigned long id;

	guard(mutex)(&allocators_lock);
	xa_for_each(&allocators, id, owner)
		visit(owner, arg);
}

/**
 * bpf_mem_visit_one() - visit the next allocator
 * @id: its number is at least this; set to the one behind it
 * @visit: called with it and @arg; allocators come and go between visits
 * @arg: passed on
 *
 * Context: Task context, may sleep.
 * Return: false if there is none.
 */
bool bpf_mem_visit_one(unsigned long *id,
		       void (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg)
{
	struct bpf_mem_allocator *owner;

	guard(mutex)(&allocators_lock);
	owner = xa_find(&allocators, id, ULONG_MAX, XA_PRESENT);
	if (!owner)
		return false;
	visit(owner, arg);
	(*id)++;
	return true;
}

/**
 * bpf_mem_try_for_each() - visit allocators, from reclaim
 * @visit: called with each and @arg until it returns false
 * @arg: passed on
 *
 * Reclaim may come from an allocation with the lock held, so it is only tried.
 *
 * Context: Task context.
 * Return: false if the lock is held.
 */
bool bpf_mem_try_for_each(bool (*visit)(struct bpf_mem_allocator *owner, void *arg), void *arg)
{
	struct bpf_mem_allocator *owner;
	unsigned long id;

	if (!mutex_trylock(&allocators_lock))
		return false;
	xa_for_each(&allocators, id, owner) {
		if (!visit(owner, arg))
			break;
	}
	mutex_unlock(&allocators_lock);
	return true;
}

/**
 * bpf_mem_object_left() - an object went to the slab past its allocator
 * @owner: &bpf_mem_obj.owner; the allocator may be gone
 *
 * Context: Any but NMI.
 */
void bpf_mem_object_left(unsigned long owner)
{
	struct bpf_mem_allocator *found;

	if (!(owner & 1))
		return;
	guard(rcu)();
	found = xa_load(&allocators, owner >> 1);
	if (found)
		atomic_long_dec(&found->pool[0]->nr_slab);
}
