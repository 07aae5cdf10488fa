// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: watermarks.
 *
 * What they are at first follows from the size of an object, by a rule whose
 * three numbers can be given at boot. Each size class, and all per-CPU areas
 * together, can be given others at run time, see memalloc_debugfs.c: for
 * allocators that are there and for those to come.
 *
 *	low	a CPU with fewer objects is topped up from the depot
 *	high	a CPU with more gives a batch to the depot
 *	batch	what moves at once
 */
#include <linux/init.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/sizes.h>
#include "memalloc_internal.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "bpf_mem_alloc."

/* The numbers given at boot are for units of up to so many bytes. */
#define MARK_UNIT	256

/* Per-CPU areas that a depot keeps: a batch is one, and CPUs hold next to none. */
#define TARGET_PERCPU	4

/* Batches that a depot can hold at first. */
#define DEPOT_SLOTS	16

/* Bytes that a depot may grow to when refills are frequent, and when some came too late. */
#define DEPOT_BUSY	SZ_64K
#define DEPOT_LIMIT	SZ_8M

/* Bytes that a high watermark may stand for. */
#define HIGH_LIMIT	SZ_4M

/* Pools are made with the semaphore held for reading, marks change for writing. */
DECLARE_RWSEM(bpf_mem_marks_sem);

static const struct bpf_mem_watermarks usual = { .low = 32, .high = 96, .batch = 48 };

static struct bpf_mem_watermarks boot = usual;
module_param_named(low, boot.low, uint, 0400);
MODULE_PARM_DESC(low, "objects of up to 256 bytes per CPU below which stock is topped up");
module_param_named(high, boot.high, uint, 0400);
MODULE_PARM_DESC(high, "objects of up to 256 bytes per CPU above which a batch is given away");
module_param_named(batch, boot.batch, uint, 0400);
MODULE_PARM_DESC(batch, "objects of up to 256 bytes that move at once");

/* What was set at run time; all zero where nothing was. */
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
	       marks->batch <= marks->high - marks->low &&
	       marks->high <= HIGH_LIMIT / cost;
}

/* Above MARK_UNIT bytes the marks shrink so that they cost the same memory. */
static struct bpf_mem_watermarks by_rule(size_t size, bool percpu)
{
	struct bpf_mem_watermarks marks = boot;
	unsigned int quarters;

	if (percpu)
		return (struct bpf_mem_watermarks){ .low = 1, .high = 3, .batch = 1 };
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
 * Context: Task context with bpf_mem_marks_sem held.
 * Return: Objects per CPU.
 */
struct bpf_mem_watermarks bpf_mem_watermarks_of(size_t size, bool percpu)
{
	const struct bpf_mem_watermarks *set = chosen_for(size, percpu);

	return set && set->low ? *set : by_rule(size, percpu);
}

/**
 * bpf_mem_marks() - all that a pool is made with
 * @size: bytes of an object, header included, or of a per-CPU area
 * @percpu: objects are per-CPU areas, which are costly: as few as possible
 * @marks: filled
 *
 * The depot starts with what it keeps, and keeps more on demand.
 *
 * Context: Task context with bpf_mem_marks_sem held.
 */
void bpf_mem_marks(size_t size, bool percpu, struct pcpu_magazine_marks *marks)
{
	struct bpf_mem_watermarks set = bpf_mem_watermarks_of(size, percpu);
	size_t cost = set.batch * cost_of(size, percpu);

	marks->low = set.low;
	marks->high = set.high;
	marks->batch = set.batch;
	marks->target = percpu ? TARGET_PERCPU : 1;
	marks->slots = DEPOT_SLOTS;
	marks->busy_target = clamp(DEPOT_BUSY / cost, marks->target, DEPOT_SLOTS);
	marks->limit = max(DEPOT_LIMIT / cost, marks->busy_target);
}

static void follow(struct bpf_mem_pools *pools, void *chosen_now)
{
	struct pcpu_magazine_marks marks;
	struct bpf_mem_pool *pool;
	bool percpu;
	unsigned int i;

	bpf_mem_for_each_pool(pool, pools, i) {
		percpu = pool->area_size;
		if (chosen_for(bpf_mem_unit(pool), percpu) != chosen_now)
			continue;
		bpf_mem_marks(bpf_mem_unit(pool), percpu, &marks);
		/* What was checked for a class holds for all sizes in it. */
		WARN_ON_ONCE(pcpu_magazine_set_marks(&pool->mag, &marks));
		bpf_mem_shrink_collect(pool);
	}
}

/**
 * bpf_mem_watermarks_set() - change the watermarks of a size class
 * @size: bytes of an object, header included: its class is meant
 * @percpu: all per-CPU areas are meant, of up to @size bytes
 * @marks: objects per CPU; NULL for what the rule says
 *
 * Allocators that are there follow at once.
 *
 * Context: Task context, may sleep.
 * Return: 0; -EINVAL if @size has no class, the marks are out of order or
 *	@marks->high stands for more memory than is reasonable.
 */
int bpf_mem_watermarks_set(size_t size, bool percpu, const struct bpf_mem_watermarks *marks)
{
	struct bpf_mem_watermarks *set = chosen_for(size, percpu);

	if (!set)
		return -EINVAL;
	size = percpu ? size : bpf_mem_class_size[bpf_mem_class(size)];
	if (marks && !are_sane(marks, cost_of(size, percpu)))
		return -EINVAL;
	guard(rwsem_write)(&bpf_mem_marks_sem);
	*set = marks ? *marks : (struct bpf_mem_watermarks){};
	bpf_mem_for_each(follow, set);
	return 0;
}

/* Before the first allocator is made. */
static int __init bpf_mem_marks_init(void)
{
	if (are_sane(&boot, MARK_UNIT))
		return 0;
	pr_warn("bpf_mem_alloc: low=%u high=%u batch=%u make no sense (0 < low, 0 < batch <= high - low, high * %u <= %u bytes), using low=%u high=%u batch=%u\n",
		boot.low, boot.high, boot.batch, MARK_UNIT, HIGH_LIMIT,
		usual.low, usual.high, usual.batch);
	boot = usual;
	return 0;
}
early_initcall(bpf_mem_marks_init);
