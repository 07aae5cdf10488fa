// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: the functions that callers know.
 *
 * A BPF program may run anywhere: in NMI, with any lock held, inside the slab
 * allocator. So it never calls that. It takes objects from magazines (see
 * lib/pcpu_magazine.c), which irq_work refills soon after, in bulk.
 *
 *	            slab <----------- release: RCU Tasks Trace, RCU
 *	             |                  ^             ^
 *	 irq_work,   | refill           | surplus     | surplus
 *	 worker      v                  |             |
 *	           depot  <-------------+-------------+-- reuse: RCU
 *	            |  ^                                   ^
 *	            v  |                                   |
 *	         magazines (per CPU)                deferred lists (per CPU)
 *	            |  ^                                   ^
 *	  alloc     v  |   free               free_rcu     |
 *	           program --------------------------------+
 *
 * Locks: none on the way of alloc and free. What moves between contexts moves by
 * single atomic instructions, or with a bit set that all but workers only try to
 * set; what takes long is done by the one worker of a shard.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/memcontrol.h>
#include <linux/slab.h>
#include "memalloc_internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/bpf_mem.h>

/* Sizes in bytes, header included; the user's bytes of a per-CPU area. */
const u16 bpf_mem_class_size[BPF_MEM_CLASSES] = {
	16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096,
};

/* All classes are multiples of this. */
#define CLASS_STEP	16

/* Class of each multiple of CLASS_STEP, rounded up; filled at boot. */
static u8 class_of_step[BPF_MEM_SIZE_MAX / CLASS_STEP] __ro_after_init;

/* For 0 < @size <= BPF_MEM_SIZE_MAX */
static __always_inline unsigned int class_of(size_t size)
{
	return class_of_step[(size - 1) / CLASS_STEP];
}

/**
 * bpf_mem_class() - size class that serves a size
 * @size: bytes, header included
 *
 * Context: Any.
 * Return: Index into bpf_mem_class_size, or -1 if there is none.
 */
int bpf_mem_class(size_t size)
{
	return size && size <= BPF_MEM_SIZE_MAX ? class_of(size) : -1;
}

static int __init bpf_mem_classes_init(void)
{
	unsigned int step, class = 0;

	for (step = 0; step < ARRAY_SIZE(class_of_step); step++) {
		if ((step + 1) * CLASS_STEP > bpf_mem_class_size[class])
			class++;
		class_of_step[step] = class;
	}
	return 0;
}
early_initcall(bpf_mem_classes_init);

/* Creation */

static struct obj_cgroup *creator_objcg(void)
{
#ifdef CONFIG_MEMCG
	if (memcg_bpf_enabled())
		return get_obj_cgroup_from_current();
#endif
	return NULL;
}

static struct bpf_mem_shape plain_shape(size_t size, bool percpu)
{
	return percpu ? (struct bpf_mem_shape){ sizeof(void __percpu *), size, 0 } :
			(struct bpf_mem_shape){ size, 0, 0 };
}

static void stop_pools(struct bpf_mem_allocator *owner)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, owner, i)
		bpf_mem_pool_stop(pool);
}

/* Areas of another allocator that were freed to a class without a pool. */
static void class_drain(struct bpf_mem_allocator *owner, unsigned int class)
{
	struct pcpu_magazine_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = &per_cpu_ptr(owner->cpus + class, cpu)->mag;
		bpf_mem_slab_free_early(owner, llist_del_all(&c->nested));
		bpf_mem_slab_free_early(owner, llist_del_all(&c->deferred));
	}
}

/* Without users and with nothing under way. */
static void allocator_free(struct bpf_mem_allocator *owner)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	for (i = 0; i < owner->nr; i++) {
		pool = owner->pool[i];
		if (pool) {
			bpf_mem_pool_drain(pool);
			bpf_mem_pool_exit(pool);
		} else if (owner->percpu) {
			class_drain(owner, i);
		}
	}
	if (owner->ctx_free)
		owner->ctx_free(owner->ctx);
	free_percpu(owner->cpus);
	obj_cgroup_put(owner->objcg);
	kfree_rcu(owner, rcu);
}

static struct bpf_mem_allocator *allocator_alloc(unsigned int nr, bool percpu)
{
	struct bpf_mem_allocator *owner = kzalloc(struct_size(owner, pool, nr), GFP_KERNEL);

	if (!owner)
		return NULL;
	owner->nr = nr;
	owner->percpu = percpu;
	owner->cpus = __alloc_percpu_gfp(nr * sizeof(*owner->cpus),
					 __alignof__(*owner->cpus), GFP_KERNEL);
	if (!owner->cpus) {
		kfree(owner);
		return NULL;
	}
	return owner;
}

static int ma_set(struct bpf_mem_alloc *ma, struct bpf_mem_allocator *owner)
{
	unsigned int header = owner->percpu ? 0 : BPF_MEM_HEADER;

	if (bpf_mem_register(owner))
		return -ENOMEM;
	*ma = (struct bpf_mem_alloc){
		.cpus = owner->cpus,
		.owner = owner,
		.header = header,
		.max_size = owner->nr == BPF_MEM_CLASSES ? BPF_MEM_SIZE_MAX - header : 0,
	};
	return 0;
}

/* Make all pools and let the allocator be used: @shape is that of a fixed size. */
static int init_pools(struct bpf_mem_alloc *ma, unsigned int nr,
		      const struct bpf_mem_shape *shape, bool percpu)
{
	struct bpf_mem_allocator *owner = allocator_alloc(nr, percpu);
	struct bpf_mem_shape class;
	unsigned int i;

	if (!owner)
		return -ENOMEM;
	owner->objcg = creator_objcg();
	for (i = 0; i < nr; i++) {
		class = plain_shape(bpf_mem_class_size[i] - BPF_MEM_HEADER, false);
		if (!bpf_mem_pool_make(owner, i, shape ?: &class))
			goto free;
	}
	if (!ma_set(ma, owner))
		return 0;
free:
	stop_pools(owner);
	allocator_free(owner);
	return -ENOMEM;
}

/**
 * bpf_mem_alloc_init() - make an allocator
 * @ma: all zero
 * @size: bytes of every object, or 0 for size classes of up to 4096 bytes
 * @percpu: objects are per-CPU areas, which need a @size
 *
 * From its return on each online CPU has, at the same time, what it takes for the
 * first allocations without a refill: 4 objects of up to 256 bytes (header
 * included), of each size class, else 1. The memory is charged to the memory
 * cgroup of the caller.
 *
 * Context: Task context, may sleep.
 * Return: 0; -EINVAL for a negative size or a per-CPU allocator without one;
 * -ENOMEM. On failure @ma is all zero.
 */
int bpf_mem_alloc_init(struct bpf_mem_alloc *ma, int size, bool percpu)
{
	struct bpf_mem_shape shape = plain_shape(size, percpu);

	memset(ma, 0, sizeof(*ma));
	if (size < 0 || (percpu && !size))
		return -EINVAL;
	return size ? init_pools(ma, 1, &shape, percpu) :
		      init_pools(ma, BPF_MEM_CLASSES, NULL, false);
}

/**
 * bpf_mem_alloc_init_area() - make an allocator of objects with a per-CPU area each
 * @ma: all zero
 * @size: bytes of every object
 * @area_size: bytes of its area, on each CPU
 * @area_at: where in the object the address of the area is, in bytes; a
 *	multiple of 8. The user reads it and never writes it.
 *
 * One object instead of two from two allocators: made when memory comes from
 * the slab, taken apart when it goes back, and one unit in between. The area
 * of a fresh object is zero-filled.
 *
 * Context: Task context, may sleep.
 * Return: As bpf_mem_alloc_init(); -EINVAL, too, if @area_at is no place for
 * an address.
 */
int bpf_mem_alloc_init_area(struct bpf_mem_alloc *ma, int size, int area_size, int area_at)
{
	struct bpf_mem_shape shape = { size, area_size, area_at };

	memset(ma, 0, sizeof(*ma));
	if (size <= 0 || area_size <= 0 || area_at < 0 ||
	    area_at % __alignof__(void *) || area_at > size - (int)sizeof(void *))
		return -EINVAL;
	return init_pools(ma, 1, &shape, false);
}

/**
 * bpf_mem_alloc_percpu_init() - make an allocator of per-CPU areas in classes
 * @ma: all zero
 * @objcg: memory cgroup to charge; its reference is the allocator's from now
 *	on if this succeeds; NULL for none
 *
 * It has nothing to give until bpf_mem_alloc_percpu_unit_init() prepared the
 * class: an area of every class on every CPU would be far too much.
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM. On failure @ma is all zero.
 */
int bpf_mem_alloc_percpu_init(struct bpf_mem_alloc *ma, struct obj_cgroup *objcg)
{
	struct bpf_mem_allocator *owner = allocator_alloc(BPF_MEM_CLASSES, true);

	memset(ma, 0, sizeof(*ma));
	if (!owner)
		return -ENOMEM;
	if (ma_set(ma, owner)) {
		allocator_free(owner);
		return -ENOMEM;
	}
	owner->objcg = objcg;
	return 0;
}

/**
 * bpf_mem_alloc_percpu_unit_init() - prepare the class of a size
 * @ma: made by bpf_mem_alloc_percpu_init()
 * @size: bytes of the area
 *
 * Does nothing if it is prepared.
 *
 * Context: Task context, may sleep. The caller lets one in at a time.
 * Return: 0, -EINVAL for a size out of range, -ENOMEM.
 */
int bpf_mem_alloc_percpu_unit_init(struct bpf_mem_alloc *ma, int size)
{
	int class = size > 0 ? bpf_mem_class(size) : -1;
	struct bpf_mem_shard *shard;
	struct bpf_mem_shape shape;
	struct bpf_mem_pool *pool;
	unsigned int i;

	if (class < 0)
		return -EINVAL;
	if (ma->owner->pool[class])
		return 0;
	shape = plain_shape(bpf_mem_class_size[class], true);
	pool = bpf_mem_pool_make(ma->owner, class, &shape);
	if (!pool)
		return -ENOMEM;
	/* What was deferred before nobody was asked to collect. Pairs with free_rcu_to(). */
	bpf_mem_for_each_shard(shard, pool, i)
		bpf_mem_shard_queue(shard);
	return bpf_mem_register(ma->owner);
}

/**
 * bpf_mem_alloc_set_dtor() - set what runs on objects on their way to the slab
 * @ma: an allocator, not yet in use
 * @dtor: called with each object and @ctx
 * @ctx_free: called once with @ctx, after the last @dtor; may be NULL
 * @ctx: context of both
 *
 * Context: Task context. The callbacks run in task context.
 */
void bpf_mem_alloc_set_dtor(struct bpf_mem_alloc *ma,
			    void (*dtor)(void *obj, void *ctx),
			    void (*ctx_free)(void *ctx), void *ctx)
{
	struct bpf_mem_allocator *owner = ma->owner;

	owner->dtor = dtor;
	owner->ctx_free = ctx_free;
	owner->ctx = ctx;
}

/**
 * bpf_mem_alloc_prepare() - see to it that the next allocation has stock
 * @ma: made with a size, or all zero
 *
 * For a caller that may sleep now and not when it allocates: instead of
 * waiting for the refill from irq_work, this is the refill. Does nothing if there
 * is an object to take.
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_alloc_prepare(struct bpf_mem_alloc *ma)
{
	if (ma->owner)
		bpf_mem_pool_prepare(ma->owner->pool[0]);
}

/* Teardown */

static void allocator_free_deferred(struct work_struct *work)
{
	struct bpf_mem_allocator *owner = container_of(work, struct bpf_mem_allocator,
						       destroy_work);

	bpf_mem_gp_wait();
	allocator_free(owner);
}

/**
 * bpf_mem_alloc_destroy() - end an allocator
 * @ma: an allocator that nobody uses any more; all zero is fine and left alone
 *
 * Objects that are cached go to the slab at once. If callbacks of RCU may be
 * under way, a worker waits for them and frees the rest. @ma is all zero
 * afterwards.
 *
 * Context: Task context, may sleep for a refill in flight.
 */
void bpf_mem_alloc_destroy(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_allocator *owner = ma->owner;
	struct bpf_mem_pool *pool;
	bool gp_used = false;
	unsigned int i;

	memset(ma, 0, sizeof(*ma));
	if (!owner)
		return;
	bpf_mem_unregister(owner);
	stop_pools(owner);
	bpf_mem_for_each_pool(pool, owner, i) {
		bpf_mem_pool_drain(pool);
		gp_used |= pool->gp_used;
	}
	if (!gp_used) {
		allocator_free(owner);
		return;
	}
	INIT_WORK(&owner->destroy_work, allocator_free_deferred);
	queue_work(bpf_mem_late_wq, &owner->destroy_work);
}

/**
 * bpf_mem_alloc_check_size() - is a size within reach of the size classes?
 * @percpu: for per-CPU areas
 * @size: bytes
 *
 * Context: Any.
 * Return: 0 or -E2BIG.
 */
int bpf_mem_alloc_check_size(bool percpu, size_t size)
{
	return size > BPF_MEM_SIZE_MAX - (percpu ? 0 : BPF_MEM_HEADER) ? -E2BIG : 0;
}

/*
 * The way of a program. All of it is notrace: see lib/pcpu_magazine.c. Callers
 * have migration disabled, some do not; which CPU it is matters only inside
 * the magazine layer, and that disables preemption.
 */

/* What this CPU has of class @i. */
static __always_inline struct pcpu_magazine_cpu __percpu *
cpus_of(const struct bpf_mem_alloc *ma, unsigned int i)
{
	return (struct pcpu_magazine_cpu __percpu *)(ma->cpus + i);
}

/* A CPU has its first deferred object of class @i: see that it is collected. */
static noinline notrace void first_deferred(struct bpf_mem_alloc *ma, unsigned int i)
{
	struct bpf_mem_pool *pool = READ_ONCE(ma->owner->pool[i]);

	if (pool)
		bpf_mem_pool_kick(pool);
}

static __always_inline void free_rcu_to(struct bpf_mem_alloc *ma, unsigned int i,
					struct llist_node *node)
{
	/* On one CPU: the one that is asked looks at its own list. */
	preempt_disable_notrace();
	if (pcpu_magazine_defer(cpus_of(ma, i), node))
		first_deferred(ma, i);
	preempt_enable_notrace();
}

/* The class of an object in use, or BPF_MEM_CLASSES if its header is damaged. */
static __always_inline unsigned long obj_class(struct bpf_mem_obj *obj)
{
	unsigned long class = obj->class;

	return WARN_ON_ONCE(class >= BPF_MEM_CLASSES) ? BPF_MEM_CLASSES : class;
}

/* Nothing was to be had. Returns NULL. */
static noinline notrace void *trace_alloc_failed(struct bpf_mem_alloc *ma, unsigned int class)
{
	struct bpf_mem_pool *pool = ma->owner ? READ_ONCE(ma->owner->pool[class]) : NULL;
	unsigned long nr = 0;
	unsigned int event;

	if (!pool)
		return NULL;
	for (event = PCPU_MAGAZINE_MISS_TASK; event <= PCPU_MAGAZINE_MISS_NMI; event++)
		nr += pcpu_magazine_count(&pool->mag, event);
	trace_bpf_mem_miss(ma->owner->id, bpf_mem_unit(pool), nr);
	return NULL;
}

static __always_inline void *alloc_failed(struct bpf_mem_alloc *ma, unsigned int class)
{
	return trace_bpf_mem_miss_enabled() ? trace_alloc_failed(ma, class) : NULL;
}

#ifdef CONFIG_BPF_MEM_TRACE_OBJECTS
static noinline notrace void note_alloc(struct bpf_mem_alloc *ma, size_t size, const void *obj)
{
	const struct bpf_mem_pool *pool = ma->owner ? ma->owner->pool[0] : NULL;

	/* The size is 0 where the allocator knows it. */
	if (pool && !size)
		size = pool->area_size ?: pool->slab.size - BPF_MEM_HEADER;
	if (pool)
		trace_bpf_mem_object_alloc(ma->owner->id, size, obj);
}

static __always_inline void *handed_out(struct bpf_mem_alloc *ma, size_t size, void *obj)
{
	if (trace_bpf_mem_object_alloc_enabled())
		note_alloc(ma, size, obj);
	return obj;
}

static __always_inline void given_up(const void *obj, bool rcu)
{
	trace_bpf_mem_object_free(obj, rcu);
}
#else
static __always_inline void *handed_out(struct bpf_mem_alloc *ma, size_t size, void *obj)
{
	return obj;
}

static __always_inline void given_up(const void *obj, bool rcu)
{
}
#endif /* CONFIG_BPF_MEM_TRACE_OBJECTS */

static __always_inline void *class_object(struct bpf_mem_alloc *ma, size_t size,
					  unsigned int class, struct llist_node *node)
{
	bpf_mem_obj(node)->class = class;
	return handed_out(ma, size, bpf_mem_user(node));
}

static noinline notrace void *alloc_slow(struct bpf_mem_alloc *ma, size_t size)
{
	unsigned int class = class_of(size + ma->header);
	struct llist_node *node = pcpu_magazine_get(cpus_of(ma, class));

	return node ? class_object(ma, size, class, node) : alloc_failed(ma, class);
}

/**
 * bpf_mem_alloc() - allocate from size classes
 * @ma: made with size 0, or by bpf_mem_alloc_percpu_init()
 * @size: bytes
 *
 * Context: Any, NMI included.
 * Return: An object (per-CPU: a pointer to the area's pointer), 8-byte
 * aligned, zero-filled if it is fresh from the slab; NULL if @size is 0
 * or too large, or nothing is cached.
 */
notrace void *bpf_mem_alloc(struct bpf_mem_alloc *ma, size_t size)
{
	struct llist_node *node;
	unsigned int class;

	if (unlikely(size - 1 >= ma->max_size))
		return NULL;
	class = class_of(size + ma->header);
	node = pcpu_magazine_get_fast(cpus_of(ma, class));
	return likely(node) ? class_object(ma, size, class, node) : alloc_slow(ma, size);
}

/**
 * bpf_mem_free() - free an object of a size class
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * It may be handed out again at once. To the slab it goes only after grace
 * periods of RCU Tasks Trace and RCU.
 *
 * Context: Any, NMI included.
 */
notrace void bpf_mem_free(struct bpf_mem_alloc *ma, void *obj)
{
	unsigned long class;

	if (!obj)
		return;
	given_up(obj, false);
	class = obj_class(bpf_mem_obj_of(obj));
	if (unlikely(class >= BPF_MEM_CLASSES))
		return;
	if (unlikely(!pcpu_magazine_put_fast(cpus_of(ma, class), &bpf_mem_obj_of(obj)->node)))
		pcpu_magazine_put(cpus_of(ma, class), &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_free_rcu() - free an object of a size class that readers may see
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * As bpf_mem_free(), but it is not handed out before an RCU grace period.
 *
 * Context: Any, NMI included.
 */
notrace void bpf_mem_free_rcu(struct bpf_mem_alloc *ma, void *obj)
{
	unsigned long class;

	if (!obj)
		return;
	given_up(obj, true);
	class = obj_class(bpf_mem_obj_of(obj));
	if (likely(class < BPF_MEM_CLASSES))
		free_rcu_to(ma, class, &bpf_mem_obj_of(obj)->node);
}

static noinline notrace void *cache_alloc_slow(struct bpf_mem_alloc *ma)
{
	struct llist_node *node = pcpu_magazine_get(cpus_of(ma, 0));

	return node ? handed_out(ma, 0, bpf_mem_user(node)) : alloc_failed(ma, 0);
}

/**
 * bpf_mem_cache_alloc() - allocate an object of the fixed size
 * @ma: made with a size
 *
 * Context: Any, NMI included.
 * Return: As bpf_mem_alloc().
 */
notrace void *bpf_mem_cache_alloc(struct bpf_mem_alloc *ma)
{
	struct llist_node *node = pcpu_magazine_get_fast(cpus_of(ma, 0));

	return likely(node) ? handed_out(ma, 0, bpf_mem_user(node)) : cache_alloc_slow(ma);
}

/**
 * bpf_mem_cache_alloc_new() - an object that takes nothing from stock
 * @ma: made with a size
 * @node: NUMA node where it should be, or NUMA_NO_NODE
 * @gfp: flags that may sleep
 *
 * Context: Task context, may sleep.
 * Return: An object fresh from the slab, or NULL.
 */
void *bpf_mem_cache_alloc_new(struct bpf_mem_alloc *ma, int node, gfp_t gfp)
{
	void *obj;

	if (!bpf_mem_charged_alloc(ma->owner->pool[0], node, gfp, 1, &obj))
		return NULL;
	return handed_out(ma, 0, bpf_mem_user(obj));
}

/**
 * bpf_mem_cache_alloc_flags() - allocate an object of the fixed size
 * @ma: made with a size
 * @flags: with GFP_KERNEL the slab is asked when nothing is cached
 *
 * Context: Any, NMI included; task context where @flags allow to sleep.
 * Return: As bpf_mem_alloc().
 */
notrace void *bpf_mem_cache_alloc_flags(struct bpf_mem_alloc *ma, gfp_t flags)
{
	void *obj = bpf_mem_cache_alloc(ma);

	if (!obj && gfpflags_allow_blocking(flags))
		obj = bpf_mem_cache_alloc_new(ma, NUMA_NO_NODE, GFP_KERNEL);
	/* Its user may give it to bpf_mem_cache_raw_free(), which has no allocator. */
	if (obj)
		bpf_mem_obj_of(obj)->owner = 2UL * ma->owner->id + 1;
	return obj;
}

/**
 * bpf_mem_cache_free() - free an object of the fixed size
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * Context: As bpf_mem_free().
 */
notrace void bpf_mem_cache_free(struct bpf_mem_alloc *ma, void *obj)
{
	if (!obj)
		return;
	given_up(obj, false);
	if (unlikely(!pcpu_magazine_put_fast(cpus_of(ma, 0), &bpf_mem_obj_of(obj)->node)))
		pcpu_magazine_put(cpus_of(ma, 0), &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_cache_free_rcu() - free an object of the fixed size that readers may see
 * @ma: the allocator that it came from, or another one of its kind
 * @obj: the object or NULL
 *
 * Context: As bpf_mem_free_rcu().
 */
notrace void bpf_mem_cache_free_rcu(struct bpf_mem_alloc *ma, void *obj)
{
	if (!obj)
		return;
	given_up(obj, true);
	free_rcu_to(ma, 0, &bpf_mem_obj_of(obj)->node);
}

/**
 * bpf_mem_cache_raw_free() - give an ordinary object straight to the slab
 * @obj: the object or NULL; its allocator may be gone
 *
 * The caller has waited for the grace periods. No destructor is called.
 *
 * Context: Where kfree() is allowed.
 */
void bpf_mem_cache_raw_free(void *obj)
{
	if (!obj)
		return;
	bpf_mem_object_left(bpf_mem_obj_of(obj)->owner);
	bpf_mem_slab_free_one(&bpf_mem_obj_of(obj)->node);
}
