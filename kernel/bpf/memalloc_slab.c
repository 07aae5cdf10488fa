// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: where objects come from and go to.
 *
 * An object with its header rarely fills the slot that kmalloc() has for it:
 * the 72 bytes of a hash map element with 8-byte key and value take 96. Where
 * the waste is above one eighth there is a slab cache of the exact size,
 * shared by all allocators of that size (one per map would strand partial
 * slabs). Everything else shares the caches of kmalloc() with the kernel.
 *
 * Exact-fit caches are released when nobody uses them and they are empty.
 * Objects may outlive their allocator (bpf_mem_cache_raw_free()), so that is
 * checked and, if need be, tried again later.
 */
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "memalloc_internal.h"

/* Seconds between the last use of an exact-fit cache and its release. */
#define EXACT_LINGER	10

/* Objects that go to the slab in one call: an array on the stack. */
#define FREE_BULK	32

/* Bytes up to which stores are cheaper than memset(). */
#define ZERO_COLUMNS	200

#if IS_ENABLED(CONFIG_BPF_MEMALLOC_KUNIT_TEST)
struct bpf_mem_test bpf_mem_test;
#endif

/* An exact-fit cache; all of it under exact_lock. */
struct bpf_mem_exact {
	struct list_head list;
	struct kmem_cache *cache;
	unsigned int size;
	unsigned int users;
};

static LIST_HEAD(exact_caches);
static DEFINE_MUTEX(exact_lock);

static void exact_reap(struct work_struct *work);
static DECLARE_DELAYED_WORK(exact_reaper, exact_reap);

static void exact_reap(struct work_struct *work)
{
	struct bpf_mem_exact *exact, *next;
	bool again = false;

	guard(mutex)(&exact_lock);
	list_for_each_entry_safe(exact, next, &exact_caches, list) {
		if (exact->users)
			continue;
		if (kmem_cache_shrink(exact->cache)) {
			again = true;
			continue;
		}
		list_del(&exact->list);
		kmem_cache_destroy(exact->cache);
		kfree(exact);
	}
	if (again)
		schedule_delayed_work(&exact_reaper, EXACT_LINGER * HZ);
}

static struct bpf_mem_exact *exact_create(unsigned int size)
{
	struct bpf_mem_exact *exact = kzalloc(sizeof(*exact), GFP_KERNEL);
	char name[24];

	if (!exact)
		return NULL;
	snprintf(name, sizeof(name), "bpf_mem-%u", size);
	/*
	 * All of a map value may be the target of a copy from user space. Not
	 * merged, because it must be known when the cache is empty.
	 */
	exact->cache = kmem_cache_create_usercopy(name, size, sizeof(void *),
						  SLAB_NO_MERGE, 0, size, NULL);
	if (!exact->cache) {
		kfree(exact);
		return NULL;
	}
	exact->size = size;
	list_add(&exact->list, &exact_caches);
	return exact;
}

static struct bpf_mem_exact *exact_get(unsigned int size)
{
	struct bpf_mem_exact *exact;

	guard(mutex)(&exact_lock);
	list_for_each_entry(exact, &exact_caches, list) {
		if (exact->size == size)
			goto found;
	}
	exact = exact_create(size);
	if (!exact)
		return NULL;
found:
	exact->users++;
	return exact;
}

static void exact_put(struct bpf_mem_exact *exact)
{
	guard(mutex)(&exact_lock);
	if (!--exact->users)
		schedule_delayed_work(&exact_reaper, EXACT_LINGER * HZ);
}

/**
 * bpf_mem_slab_init() - find or make the source of objects of a size
 * @slab: the source
 * @size: bytes of an object, header included
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int bpf_mem_slab_init(struct bpf_mem_slab *slab, size_t size)
{
	size_t slot;

	/* Cleared in words, see zero_objects(). */
	size = round_up(size, sizeof(u64));
	slot = kmalloc_size_roundup(size);
	*slab = (struct bpf_mem_slab){ .size = size };
	if (slot > KMALLOC_MAX_CACHE_SIZE)
		return 0;
	if (slot - size <= slot / 8) {
		slab->cache = kmalloc_caches[bpf_mem_kmalloc_type(size)]
					    [__kmalloc_index(slot, false)];
		return 0;
	}
	slab->exact = exact_get(size);
	if (!slab->exact)
		return -ENOMEM;
	slab->cache = slab->exact->cache;
	return 0;
}

/**
 * bpf_mem_slab_exit() - the allocator needs the source no longer
 * @slab: the source; objects of it may still be in use
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_slab_exit(struct bpf_mem_slab *slab)
{
	if (slab->exact)
		exact_put(slab->exact);
	slab->exact = NULL;
	slab->cache = NULL;
}

static void *slab_alloc_one(struct bpf_mem_slab *slab, int node, gfp_t gfp)
{
	return slab->cache ? kmem_cache_alloc_node(slab->cache, gfp, node) :
			     kmalloc_node(slab->size, gfp, node);
}

/*
 * All in one call, or what single calls still get when memory is short. A bulk is
 * always of this node.
 */
static unsigned int slab_alloc_bulk(struct bpf_mem_slab *slab, int node, gfp_t gfp,
				    unsigned int nr, void **objs)
{
	unsigned int i;

	if (slab->cache && nr > 1 && node == numa_mem_id() &&
	    kmem_cache_alloc_bulk(slab->cache, gfp, nr, objs))
		return nr;
	for (i = 0; i < nr; i++) {
		objs[i] = slab_alloc_one(slab, node, gfp);
		if (!objs[i])
			break;
	}
	return i;
}

/* @size is a constant, so this is stores and no call. */
static __always_inline void zero_columns(unsigned int nr, void **objs, size_t at, size_t size)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		memset(objs[i] + at, 0, size);
}

/*
 * The user's bytes, for the header is written anyway. Column by column: for
 * objects of this size a call of memset() for each, as with __GFP_ZERO, costs as
 * much as the slab itself.
 */
static void zero_objects(size_t size, unsigned int nr, void **objs)
{
	size_t at = BPF_MEM_HEADER, end = size;
	unsigned int i;

	if (end > ZERO_COLUMNS) {
		for (i = 0; i < nr; i++)
			memset(objs[i] + at, 0, end - at);
		return;
	}
	for (; end - at >= 32; at += 32)
		zero_columns(nr, objs, at, 32);
	for (; end - at >= 8; at += 8)
		zero_columns(nr, objs, at, 8);
}

/* Give each object its per-CPU area. Those that get none go back at once. */
static unsigned int attach_areas(struct bpf_mem_pool *pool, gfp_t gfp,
				 unsigned int nr, void **objs)
{
	void __percpu *area;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		area = __alloc_percpu_gfp(pool->area_size, 8, gfp | __GFP_ZERO);
		if (!area)
			break;
		*bpf_mem_area(pool, objs[i]) = area;
	}
	if (i < nr)
		kfree_bulk(nr - i, objs + i);
	return i;
}

/**
 * bpf_mem_slab_alloc() - get new objects, zero-filled
 * @pool: the pool
 * @node: NUMA node where they should be
 * @gfp: GFP_KERNEL or GFP_NOWAIT; the rest is added here
 * @nr: objects wanted, at least 1
 * @objs: array of @nr pointers to fill
 *
 * Context: Where @gfp allows; not NMI.
 * Return: Objects obtained, 0 to @nr.
 */
unsigned int bpf_mem_slab_alloc(struct bpf_mem_pool *pool, int node, gfp_t gfp,
				unsigned int nr, void **objs)
{
	long held;

	gfp |= __GFP_ACCOUNT | __GFP_NOWARN;
	nr = bpf_mem_test_permit(nr, gfp);
	if (nr)
		nr = slab_alloc_bulk(&pool->slab, node, gfp, nr, objs);
	zero_objects(pool->slab.size, nr, objs);
	if (pool->area_size)
		nr = attach_areas(pool, gfp, nr, objs);
	held = atomic_long_add_return(nr, &pool->nr_slab);
	if (held > READ_ONCE(pool->nr_slab_peak))
		WRITE_ONCE(pool->nr_slab_peak, held);
	bpf_mem_test_live(nr);
	return nr;
}

static void destruct(const struct bpf_mem_allocator *owner, struct llist_node *node)
{
	if (owner->dtor)
		owner->dtor(bpf_mem_user(node), owner->ctx);
}

static void take_apart(struct bpf_mem_pool *pool, struct llist_node *list)
{
	for (; list; list = list->next) {
		destruct(pool->owner, list);
		if (pool->area_size)
			free_percpu(*bpf_mem_area(pool, list));
	}
}

/**
 * bpf_mem_slab_free() - destroy objects and give their memory back
 * @pool: the pool that they end in
 * @list: NULL-terminated chain, or NULL
 *
 * An object may have been born in another pool of the same kind.
 *
 * Context: Any but NMI.
 */
void bpf_mem_slab_free(struct bpf_mem_pool *pool, struct llist_node *list)
{
	void *objs[FREE_BULK] __uninitialized;
	unsigned int nr;

	if (pool->owner->dtor || pool->area_size)
		take_apart(pool, list);
	while (list) {
		for (nr = 0; list && nr < FREE_BULK; list = list->next)
			objs[nr++] = list;
		kfree_bulk(nr, objs);
		atomic_long_sub(nr, &pool->nr_slab);
		bpf_mem_test_live(-(long)nr);
	}
}

/**
 * bpf_mem_slab_free_early() - the same for areas of a class that has no pool
 * @owner: the allocator, with classes of areas, that they were freed to
 * @list: NULL-terminated chain, or NULL
 *
 * Context: Any but NMI.
 */
void bpf_mem_slab_free_early(const struct bpf_mem_allocator *owner, struct llist_node *list)
{
	struct llist_node *next;

	for (; list; list = next) {
		next = list->next;
		destruct(owner, list);
		free_percpu(*(void __percpu **)bpf_mem_user(list));
		bpf_mem_slab_free_one(list);
	}
}

/**
 * bpf_mem_slab_footprint() - memory that one object of a pool takes
 * @pool: the pool
 *
 * Context: Any.
 * Return: Bytes, per-CPU area included.
 */
size_t bpf_mem_slab_footprint(const struct bpf_mem_pool *pool)
{
	const struct bpf_mem_slab *slab = &pool->slab;
	size_t size = slab->cache ? kmem_cache_size(slab->cache) : kmalloc_size_roundup(slab->size);

	return size + pool->area_size * num_possible_cpus();
}

/**
 * bpf_mem_slab_free_one() - give the memory of an ordinary object back
 * @node: the object
 *
 * Context: Any but NMI.
 */
void bpf_mem_slab_free_one(struct llist_node *node)
{
	bpf_mem_test_live(-1);
	kfree(node);
}
