// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: watermarks.
 *
 * What they are at first follows from the size of an object, by a rule whose
 * three numbers can be given at boot. Each size class, and all per-CPU areas
 * together, can be given others at run time, see memalloc_debugfs.c: for
 * allocators that are there and for those to come.
 *
 *	low	a CPU with fewer objects is topped up from a depot
 *	high	a CPU with more gives a batch to a depot
 *	batch	what moves at once; allocators that are there keep theirs
 */
#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/sizes.h>
#include "memalloc_internal.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "bpf_mem_alloc."

/* The numbers given at boot are for units of up to so many bytes. */
#define MARK_UNIT	256

/* Objects that each CPU has from the start: of up to MARK_UNIT bytes, and larger. */
#define FIRST_SMALL	4
#define FIRST_LARGE	1

/* High watermark of per-CPU areas, whatever the number of CPUs. */
#define PERCPU_HIGH	3

/* Batches that one depot keeps at most. */
#define TARGET_MAX	4096

/*
 * Bytes that a depot may grow to when refills are frequent, and all depots of a
 * pool together when some came too late.
 */
#define DEPOT_BUSY	SZ_64K
#define DEPOTS_LIMIT	SZ_8M

/* Bytes that a high watermark may stand for. */
#define HIGH_LIMIT	SZ_4M

static const struct bpf_mem_watermarks usual = { .low = 32, .high = 96, .batch = 48 };

static struct bpf_mem_watermarks boot = usual;
module_param_named(low, boot.low, uint, 0400);
MODULE_PARM_DESC(low, "objects of up to 256 bytes per CPU below which stock is topped up");
module_param_named(high, boot.high, uint, 0400);
MODULE_PARM_DESC(high, "objects of up to 256 bytes per CPU above which a batch is given away");
module_param_named(batch, boot.batch, uint, 0400);
MODULE_PARM_DESC(batch, "objects of up to 256 bytes that move at once");

/* What was set at run time, under the lock; all zero where nothing was. */
static DEFINE_MUTEX(chosen_lock);
static struct bpf_mem_watermarks chosen[BPF_MEM_CLASSES];
static struct bpf_mem_watermarks chosen_percpu;

static struct bpf_mem_watermarks *chosen_for(size_t size, bool percpu)
{
	int class = bpf_mem_class(size);

	if (percpu)
		return &chosen_percpu;
	return class < 0 ? NULL : &chosen[class];
}

static size_t cost_of(size_t size, bool percpu)
{
	return size * (percpu ? num_possible_cpus() : 1);
}

static bool are_sane(const struct bpf_mem_watermarks *marks, size_t cost)
{
	return marks->low && marks->low < marks->high && marks->batch &&
	       marks->batch <= marks->high - marks->low && marks->batch <= U16_MAX &&
	       marks->high <= max_t(size_t, HIGH_LIMIT / cost, PERCPU_HIGH);
}

/* Above MARK_UNIT bytes the marks shrink so that they cost the same memory. */
static struct bpf_mem_watermarks by_rule(size_t size, bool percpu)
{
	struct bpf_mem_watermarks marks = boot;
	unsigned int quarters;

	if (percpu)
		return (struct bpf_mem_watermarks){
			.low = 1, .high = PERCPU_HIGH, .batch = 1,
		};
	if (size > MARK_UNIT) {
		marks.low = max(boot.low * MARK_UNIT / size, 1);
		marks.high = max(boot.high * MARK_UNIT / size, marks.low + 2);
		quarters = 4 * boot.batch / (boot.high - boot.low);
		marks.batch = max((marks.high - marks.low) / 4 * quarters, 1);
	}
	return marks;
}

/**
 * bpf_mem_watermarks_of() - watermarks of objects of a size
 * @size: bytes of an object, header included, or of a per-CPU area
 * @percpu: objects are per-CPU areas
 *
 * Context: Task context, may sleep.
 * Return: Objects per CPU.
 */
struct bpf_mem_watermarks bpf_mem_watermarks_of(size_t size, bool percpu)
{
	const struct bpf_mem_watermarks *set = chosen_for(size, percpu);

	guard(mutex)(&chosen_lock);
	return set && set->low ? *set : by_rule(size, percpu);
}

/**
 * bpf_mem_watermarks_init() - all that a pool is made with
 * @pool: the pool, whose objects have their size
 * @marks: filled
 *
 * Context: Task context, may sleep.
 */
void bpf_mem_watermarks_init(struct bpf_mem_pool *pool, struct pcpu_magazine_marks *marks)
{
	size_t size = bpf_mem_unit(pool);
	struct bpf_mem_watermarks set = bpf_mem_watermarks_of(size, pool->area_size);
	size_t cost = set.batch * cost_of(size, pool->area_size);

	marks->low = set.low;
	marks->high = set.high;
	marks->batch = set.batch;
	marks->first = !pool->area_size && size <= MARK_UNIT ? FIRST_SMALL : FIRST_LARGE;
	marks->first = min(marks->first, marks->batch);
	pool->busy_target = clamp_t(size_t, DEPOT_BUSY / cost, 1, 16);
	pool->target_limit = clamp_t(size_t, DEPOTS_LIMIT / pcpu_magazine_nr_shards() / cost,
				     pool->busy_target, TARGET_MAX);
}

/**
 * bpf_mem_watermarks_follow() - give a pool the watermarks of now
 * @pool: the pool, which keeps its batch
 *
 * Context: Task context, with the lock of the registry held.
 */
void bpf_mem_watermarks_follow(struct bpf_mem_pool *pool)
{
	struct bpf_mem_watermarks set = bpf_mem_watermarks_of(bpf_mem_unit(pool),
							      pool->area_size);

	pcpu_magazine_set_low_high(&pool->mag, set.low, set.high);
}

static void follow(struct bpf_mem_allocator *owner, void *chosen_now)
{
	struct bpf_mem_pool *pool;
	unsigned int i;

	bpf_mem_for_each_pool(pool, owner, i) {
		if (chosen_for(bpf_mem_unit(pool), pool->area_size) == chosen_now)
			bpf_mem_watermarks_follow(pool);
	}
}

/**
 * bpf_mem_watermarks_set() - change the watermarks of a size class
 * @size: bytes of an object, header included: its class is meant
 * @percpu: all per-CPU areas are meant, of up to @size bytes
 * @set: objects per CPU; NULL for what the rule says
 *
 * Allocators that are there follow when a CPU next looks at its stock; they keep
 * their batch.
 *
 * Context: Task context, may sleep. No grace period, whatever the number of
 *	allocators.
 * Return: 0; -EINVAL if @size has no class, the marks are out of order,
 * @set->batch is above 65535, or @set->high stands for more memory than is
 * reasonable.
 */
int bpf_mem_watermarks_set(size_t size, bool percpu, const struct bpf_mem_watermarks *set)
{
	struct bpf_mem_watermarks *chosen_now = chosen_for(size, percpu);

	if (!chosen_now)
		return -EINVAL;
	size = percpu ? size : bpf_mem_class_size[bpf_mem_class(size)];
	if (set && !are_sane(set, cost_of(size, percpu)))
		return -EINVAL;
	mutex_lock(&chosen_lock);
	*chosen_now = set ? *set : (struct bpf_mem_watermarks){};
	mutex_unlock(&chosen_lock);
	/* Who is registered after this walk finds what has been chosen. */
	bpf_mem_for_each(follow, chosen_now);
	return 0;
}

/* Before the first allocator is made. */
static int __init bpf_mem_watermarks_boot(void)
{
	if (are_sane(&boot, MARK_UNIT))
		return 0;
	pr_warn("bpf_mem_alloc: low=%u high=%u batch=%u make no sense (0 < low, 0 < batch <= high - low, high * %u <= %u bytes), using low=%u high=%u batch=%u\n",
		boot.low, boot.high, boot.batch, MARK_UNIT, HIGH_LIMIT,
		usual.low, usual.high, usual.batch);
	boot = usual;
	return 0;
}
early_initcall(bpf_mem_watermarks_boot);
