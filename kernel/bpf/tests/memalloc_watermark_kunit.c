// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: watermarks, what happens at them and what does not
 * happen between them. Interrupts are off where a refill must not come in
 * between.
 */
#include <kunit/test.h>
#include "memalloc_test_util.h"

/* Hand-written, in objects per CPU: the table of the design. */
static const struct mark_row {
	int size;	/* bytes, header included; of the area if per-CPU */
	bool percpu;
	unsigned int low, high, batch;
} mark_rows[] = {
	{ 16, false, 32, 96, 48 },
	{ 32, false, 32, 96, 48 },
	{ 64, false, 32, 96, 48 },
	{ 72, false, 32, 96, 48 },
	{ 96, false, 32, 96, 48 },
	{ 128, false, 32, 96, 48 },
	{ 192, false, 32, 96, 48 },
	{ 256, false, 32, 96, 48 },
	{ 264, false, 31, 93, 45 },
	{ 324, false, 25, 75, 36 },
	{ 384, false, 21, 64, 30 },
	{ 512, false, 16, 48, 24 },
	{ 1024, false, 8, 24, 12 },
	{ 2048, false, 4, 12, 6 },
	{ 4096, false, 2, 6, 3 },
	{ 4104, false, 1, 5, 3 },
	{ 8192, false, 1, 3, 1 },
	{ 65536, false, 1, 3, 1 },
	{ 16, true, 1, 3, 1 },
	{ 512, true, 1, 3, 1 },
	{ 4096, true, 1, 3, 1 },
};

static void mark_row_desc(const struct mark_row *row, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s %d bytes",
		 row->percpu ? "per-CPU" : "unit", row->size);
}

KUNIT_ARRAY_PARAM(mark_row, mark_rows, mark_row_desc);

static struct bpf_mem_alloc *row_ma(struct kunit *test, const struct mark_row *row)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, row->percpu ? row->size : row->size - 8,
						    row->percpu);

	/*
	 * How stock follows demand has cases of its own, and per-CPU areas are
	 * no exception here.
	 */
	test_ignore_demand(test_pool(ma));
	return ma;
}

static unsigned int row_stock(struct bpf_mem_alloc *ma)
{
	struct pcpu_magazine_cpu *c = test_this_cpu(ma);

	return c->nr + c->nr_spare;
}

static unsigned int depot_chains(struct bpf_mem_alloc *ma)
{
	return atomic_read(&test_pool(ma)->mag.nr_chains);
}

static unsigned int target(struct bpf_mem_alloc *ma)
{
	return test_pool(ma)->mag.marks.target;
}

static void **row_array(struct kunit *test, unsigned int nr)
{
	void **objs = kunit_kcalloc(test, nr, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

static void test_marks_are_those_of_the_table(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct pcpu_magazine_marks marks;

	bpf_mem_marks(row->size, row->percpu, &marks);
	KUNIT_EXPECT_EQ(test, marks.low, row->low);
	KUNIT_EXPECT_EQ(test, marks.high, row->high);
	KUNIT_EXPECT_EQ(test, marks.batch, row->batch);
}

static void test_marks_follow_the_formula(struct kunit *test)
{
	struct pcpu_magazine_marks marks;
	int size, low, high, batch;

	for (size = 1; size <= 70000; size++) {
		low = size <= 256 ? 32 : 32 * 256 / size;
		high = size <= 256 ? 96 : 96 * 256 / size;
		if (low < 1)
			low = 1;
		if (high < 3)
			high = 3;
		batch = (high - low) / 4 * 3;
		if (batch < 1)
			batch = 1;
		bpf_mem_marks(size, false, &marks);
		if (marks.low != low || marks.high != high || marks.batch != batch) {
			KUNIT_FAIL(test, "%d bytes: %u %u %u instead of %d %d %d", size,
				   marks.low, marks.high, marks.batch, low, high, batch);
			break;
		}
	}
	KUNIT_EXPECT_EQ(test, size, 70001);
}

/* A fixed-size allocator belongs to somebody who will use it. */
static void test_fresh_allocator_has_a_batch(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	unsigned int nr, all = row->batch * target(ma);
	void **objs = row_array(test, all + 1);

	nr = memalloc_test_burst(ma, objs, all + 1);
	KUNIT_EXPECT_EQ(test, nr, all);
	memalloc_test_free_all(ma, objs, nr);
}

/*
 * Above low nothing is asked for. The object that takes stock below it brings
 * a chain from the depot and queues one refill, which puts back one batch.
 */
static void test_falling_below_low_queues_one_refill(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	void **objs = row_array(test, 8 * row->batch + 8);
	struct memalloc_test_slab *slab;
	unsigned int nr, above;
	unsigned long flags;
	bool early, late;

	/* The first object makes the CPU's stock from the depot's only batch. */
	for (nr = 0; nr < 8 && (row_stock(ma) < row->low || depot_chains(ma) != 1);) {
		nr += memalloc_test_burst(ma, objs + nr, 1);
		memalloc_test_settle(test_pool(ma));
	}
	KUNIT_ASSERT_EQ(test, depot_chains(ma), 1);
	KUNIT_ASSERT_GE(test, row_stock(ma), row->low);
	slab = memalloc_test_watch_slab(test);

	local_irq_save(flags);
	above = row_stock(ma) > row->low ? row_stock(ma) - row->low : 0;
	while (above--)
		objs[nr++] = bpf_mem_cache_alloc(ma);
	early = bpf_mem_refill_pending(test_pool(ma));
	objs[nr++] = bpf_mem_cache_alloc(ma);
	late = bpf_mem_refill_pending(test_pool(ma));
	local_irq_restore(flags);

	KUNIT_EXPECT_FALSE(test, early);
	KUNIT_EXPECT_TRUE(test, late);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->objects), row->batch);
	KUNIT_EXPECT_EQ(test, depot_chains(ma), 1);
	KUNIT_EXPECT_GE(test, row_stock(ma), row->low);
	memalloc_test_free_all(ma, objs, nr);
}

static void test_empty_cpu_is_filled_to_low_after_refill(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	void **objs = row_array(test, 8 * row->batch);
	unsigned int nr;

	nr = memalloc_test_burst(ma, objs, 7 * row->batch);
	KUNIT_EXPECT_LT(test, nr, 7 * row->batch);
	KUNIT_EXPECT_EQ(test, row_stock(ma), 0);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_GE(test, depot_chains(ma), 1);
	objs[nr] = bpf_mem_cache_alloc(ma);
	KUNIT_EXPECT_NOT_NULL(test, objs[nr]);
	if (objs[nr])
		nr++;
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_GE(test, row_stock(ma), min(row->low, row->batch - 1));
	KUNIT_EXPECT_GE(test, depot_chains(ma), 1);
	memalloc_test_free_all(ma, objs, nr);
}

static void test_no_refill_between_the_marks(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	void **objs = row_array(test, 8 * row->batch);
	struct memalloc_test_slab *slab;
	unsigned int nr = 0, round, depot;
	unsigned long flags;

	/* Warm up to the high watermark. */
	nr = memalloc_test_fill(ma, objs, row->high);
	KUNIT_ASSERT_EQ(test, nr, row->high);
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	slab = memalloc_test_watch_slab(test);
	depot = depot_chains(ma);

	for (round = 0; round < 100; round++) {
		local_irq_save(flags);
		for (nr = 0; row_stock(ma) > row->low; nr++)
			objs[nr] = bpf_mem_cache_alloc(ma);
		while (nr)
			bpf_mem_cache_free(ma, objs[--nr]);
		local_irq_restore(flags);
	}
	KUNIT_EXPECT_FALSE(test, bpf_mem_refill_pending(test_pool(ma)));
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), 0);
	KUNIT_EXPECT_EQ(test, depot_chains(ma), depot);
}

/* Alternate one object around every level that stock can have. */
static void test_alternating_on_a_mark_stays_quiet(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	void **objs = row_array(test, 8 * row->batch + row->high);
	struct memalloc_test_slab *slab;
	unsigned int nr, level, round;

	nr = memalloc_test_fill(ma, objs, row->high + 2 * row->batch);
	KUNIT_ASSERT_EQ(test, nr, row->high + 2 * row->batch);
	slab = memalloc_test_watch_slab(test);
	for (level = 0; nr; level++) {
		int calls;

		bpf_mem_cache_free(ma, objs[--nr]);
		memalloc_test_settle(test_pool(ma));
		calls = atomic_read(&slab->calls);
		for (round = 0; round < 50; round++) {
			void *obj = memalloc_test_cache_get(ma);

			KUNIT_ASSERT_NOT_NULL(test, obj);
			bpf_mem_cache_free(ma, obj);
			memalloc_test_settle(test_pool(ma));
		}
		/* At most the one refill that an empty depot causes. */
		KUNIT_EXPECT_LE_MSG(test, atomic_read(&slab->calls) - calls, 1,
				    "level %u", level);
	}
}

/* Whole batches leave, the CPU stays between the marks, the depot takes some. */
static void test_exceeding_high_gives_batches_away(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	struct bpf_mem_pool *pool = test_pool(ma);
	unsigned int slots = pool->mag.marks.slots;
	unsigned int i, nr, want = row->high + (slots + 6) * row->batch;
	void **objs = row_array(test, want);
	long before, kept;
	bool trimmed;

	nr = memalloc_test_fill(ma, objs, want);
	KUNIT_ASSERT_EQ(test, nr, want);
	before = test_live();
	for (i = 0; i < nr; i++) {
		unsigned int stock;

		migrate_disable();
		bpf_mem_cache_free(ma, objs[i]);
		stock = row_stock(ma);
		migrate_enable();
		KUNIT_ASSERT_LE(test, stock, row->high);
		if (i > row->low)
			KUNIT_ASSERT_GE(test, stock, min(row->low, row->high - row->batch));
	}
	/* All that has no place in magazines and depot reaches the slab. */
	kept = row->high + slots * row->batch;
	trimmed = test_wait_for(before - test_live() >= (long)nr - kept);
	KUNIT_EXPECT_TRUE(test, trimmed);
	/* What is more than the target goes, too, when nobody comes for long. */
	KUNIT_EXPECT_LE(test, depot_chains(ma), slots);
	KUNIT_EXPECT_GE(test, row_stock(ma), min(row->low, row->high - row->batch));
}

/*
 * On two CPUs what one frees reaches the other through the depot: see the SMP
 * suite. Here: a chain that was given away is the next one that is taken.
 */
static void test_depot_serves_before_the_slab(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	unsigned int nr, again, want = row->high + 2 * row->batch;
	void **objs = row_array(test, want);
	struct memalloc_test_slab *slab;

	nr = memalloc_test_fill(ma, objs, want);
	KUNIT_ASSERT_EQ(test, nr, want);
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	slab = memalloc_test_watch_slab(test);
	again = memalloc_test_burst(ma, objs, want);
	KUNIT_EXPECT_EQ(test, again, want);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), 0);
	memalloc_test_free_all(ma, objs, again);
}

static struct kunit_case memalloc_watermark_cases[] = {
	KUNIT_CASE_PARAM(test_marks_are_those_of_the_table, mark_row_gen_params),
	KUNIT_CASE(test_marks_follow_the_formula),
	KUNIT_CASE_PARAM(test_fresh_allocator_has_a_batch, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_falling_below_low_queues_one_refill, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_empty_cpu_is_filled_to_low_after_refill, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_no_refill_between_the_marks, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_alternating_on_a_mark_stays_quiet, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_exceeding_high_gives_batches_away, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_depot_serves_before_the_slab, mark_row_gen_params),
	{}
};

static struct kunit_suite memalloc_watermark_suite = {
	.name = "bpf_memalloc_watermark",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_watermark_cases,
};

kunit_test_suite(memalloc_watermark_suite);
