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
	{ 328, false, 24, 74, 36 },
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

static unsigned int depot_level(struct bpf_mem_alloc *ma)
{
	return test_depot_level(test_pool(ma));
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
	struct bpf_mem_watermarks marks = bpf_mem_watermarks_of(row->size, row->percpu);

	KUNIT_EXPECT_EQ(test, marks.low, row->low);
	KUNIT_EXPECT_EQ(test, marks.high, row->high);
	KUNIT_EXPECT_EQ(test, marks.batch, row->batch);
}

static void test_marks_follow_the_formula(struct kunit *test)
{
	struct bpf_mem_watermarks marks;
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
		marks = bpf_mem_watermarks_of(size, false);
		if (marks.low != low || marks.high != high || marks.batch != batch) {
			KUNIT_FAIL(test, "%d bytes: %u %u %u instead of %d %d %d", size,
				   marks.low, marks.high, marks.batch, low, high, batch);
			break;
		}
	}
	KUNIT_EXPECT_EQ(test, size, 70001);
}

/*
 * A fixed-size allocator belongs to somebody who will use it: there may be a batch in
 * two chains, beside what each CPU has.
 */
static void test_fresh_allocator_has_its_first_stock(struct kunit *test)
{
	const struct mark_row *row = test->param_value;
	struct bpf_mem_alloc *ma = row_ma(test, row);
	unsigned int first = !row->percpu && row->size <= 256 ? 4 : 1;
	unsigned int depot = test_depot_at_first(test_pool(ma));
	void **objs = row_array(test, first + depot + 1);
	unsigned int nr, cpu;

	for_each_online_cpu(cpu)
		KUNIT_EXPECT_EQ(test, per_cpu_ptr(ma->cpus, cpu)->mag.nr, first);
	KUNIT_EXPECT_EQ(test, depot_level(ma), depot);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&test_pool(ma)->nr_slab),
			num_online_cpus() * first + depot);
	nr = memalloc_test_burst(ma, objs, first + depot + 1);
	KUNIT_EXPECT_EQ(test, nr, first + depot);
	memalloc_test_free_all(ma, objs, nr);
}

/* Nothing on this CPU, and in the depot what one refill has brought. */
static unsigned int use_up(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	nr = memalloc_test_burst(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	return nr;
}

/*
 * Above low nothing is asked for. The object that takes stock below it brings
 * a chain from the depot and raises one refill, which puts back one batch.
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

	nr = use_up(ma, objs, 7 * row->batch);
	/* The chain of the depot comes here, and another one takes its place. */
	nr += memalloc_test_fill(ma, objs + nr, 1);
	memalloc_test_settle(test_pool(ma));
	/* That was its only object: one for each chain of the CPU. */
	if (row->batch == 1) {
		KUNIT_ASSERT_GE(test, nr, 2);
		memalloc_test_free_all(ma, objs + nr - 2, 2);
		nr -= 2;
	}
	KUNIT_ASSERT_EQ(test, depot_level(ma), row->batch);
	KUNIT_ASSERT_GE(test, row_stock(ma), row->low);
	slab = memalloc_test_watch_slab(test);

	local_irq_save(flags);
	above = row_stock(ma) - row->low;
	while (above--)
		objs[nr++] = bpf_mem_cache_alloc(ma);
	early = test_refill_pending(test_pool(ma));
	objs[nr++] = bpf_mem_cache_alloc(ma);
	late = test_refill_pending(test_pool(ma));
	local_irq_restore(flags);

	KUNIT_EXPECT_FALSE(test, early);
	KUNIT_EXPECT_TRUE(test, late);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->objects), row->batch);
	KUNIT_EXPECT_EQ(test, depot_level(ma), row->batch);
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
	KUNIT_EXPECT_EQ(test, depot_level(ma), row->batch);
	objs[nr] = bpf_mem_cache_alloc(ma);
	KUNIT_EXPECT_NOT_NULL(test, objs[nr]);
	if (objs[nr])
		nr++;
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_GE(test, row_stock(ma), min(row->low, row->batch - 1));
	KUNIT_EXPECT_EQ(test, depot_level(ma), row->batch);
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
	depot = depot_level(ma);

	for (round = 0; round < 100; round++) {
		local_irq_save(flags);
		for (nr = 0; row_stock(ma) > row->low; nr++)
			objs[nr] = bpf_mem_cache_alloc(ma);
		while (nr)
			bpf_mem_cache_free(ma, objs[--nr]);
		local_irq_restore(flags);
	}
	KUNIT_EXPECT_FALSE(test, test_refill_pending(test_pool(ma)));
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->calls), 0);
	KUNIT_EXPECT_EQ(test, depot_level(ma), depot);
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
	unsigned int i, nr, want = row->high + (test_depot_slots(pool) + 6) * row->batch;
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
	kept = row->high + test_depot_slots(pool) * row->batch;
	trimmed = test_wait_for(before - test_live() >= (long)nr - kept);
	KUNIT_EXPECT_TRUE(test, trimmed);
	/* What is more than the target goes, too, when nobody comes for long. */
	KUNIT_EXPECT_LE(test, depot_level(ma), test_depot_slots(pool) * row->batch);
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

	nr = memalloc_test_fill(ma, objs, want);
	KUNIT_ASSERT_EQ(test, nr, want);
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	again = memalloc_test_burst(ma, objs, want);
	KUNIT_EXPECT_EQ(test, again, want);
	memalloc_test_free_all(ma, objs, again);
}

/* What a person sets */

static void restore_watermarks(void *size)
{
	bpf_mem_watermarks_set((unsigned long)size, false, NULL);
}

/* All that is set for a class is as it was when the case ends. */
static void restore_later(struct kunit *test, unsigned long size)
{
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, restore_watermarks,
							(void *)size), 0);
}

static const struct bad_marks {
	const char *name;
	size_t size;
	bool percpu;
	struct bpf_mem_watermarks marks;
} bad_marks[] = {
	{ "no low", 64, false, { 0, 96, 48 } },
	{ "no batch", 64, false, { 32, 96, 0 } },
	{ "high as low", 64, false, { 32, 32, 1 } },
	{ "batch above the room", 64, false, { 32, 96, 65 } },
	{ "batch of 70000", 16, false, { 1, 200000, 70000 } },
	{ "batch of 65536", 16, false, { 1, 200000, 65536 } },
	{ "much memory", 4096, false, { 1, 1025, 1 } },
	{ "more than 32 bits", 64, false, { U32_MAX, U32_MAX, U32_MAX } },
	{ "no such class", 4097, false, { 32, 96, 48 } },
	{ "no size", 0, false, { 32, 96, 48 } },
};

static void bad_marks_desc(const struct bad_marks *bad, char *desc)
{
	strscpy(desc, bad->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(bad_marks, bad_marks, bad_marks_desc);

/* It was taken once, and every later allocator of the class failed. */
static void test_bad_marks_are_refused(struct kunit *test)
{
	const struct bad_marks *bad = test->param_value;
	struct bpf_mem_watermarks before, after;

	before = bpf_mem_watermarks_of(bad->size ?: 16, bad->percpu);
	KUNIT_EXPECT_EQ(test, bpf_mem_watermarks_set(bad->size, bad->percpu, &bad->marks),
			-EINVAL);
	after = bpf_mem_watermarks_of(bad->size ?: 16, bad->percpu);
	KUNIT_EXPECT_EQ(test, memcmp(&before, &after, sizeof(before)), 0);
}

static void test_largest_batch(struct kunit *test)
{
	static const struct bpf_mem_watermarks large = { 1, 200000, 65535 };
	struct bpf_mem_alloc *ma;

	restore_later(test, 16);
	KUNIT_ASSERT_EQ(test, bpf_mem_watermarks_set(16, false, &large), 0);
	ma = memalloc_test_ma(test, 8, false);
	KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.marks.batch, 65535);
	KUNIT_EXPECT_EQ(test, depot_level(ma), 65534);
}

/* Bytes of an object, header included; the marks are those of its class. */
static void test_marks_are_for_those_who_come_and_are_there(struct kunit *test)
{
	static const struct bpf_mem_watermarks set = { 5, 50, 20 };
	struct bpf_mem_alloc *old = memalloc_test_ma(test, 56, false);
	struct bpf_mem_alloc *other = memalloc_test_ma(test, 57, false);
	struct bpf_mem_alloc *new;

	restore_later(test, 64);
	KUNIT_ASSERT_EQ(test, bpf_mem_watermarks_set(64, false, &set), 0);
	new = memalloc_test_ma(test, 56, false);
	KUNIT_EXPECT_EQ(test, test_pool(new)->mag.marks.low, 5);
	KUNIT_EXPECT_EQ(test, test_pool(new)->mag.marks.high, 50);
	KUNIT_EXPECT_EQ(test, test_pool(new)->mag.marks.batch, 20);
	/* It keeps its batch, for which there has to be room. */
	KUNIT_EXPECT_EQ(test, test_pool(old)->mag.marks.low, 5);
	KUNIT_EXPECT_EQ(test, test_pool(old)->mag.marks.high, 53);
	KUNIT_EXPECT_EQ(test, test_pool(old)->mag.marks.batch, 48);
	KUNIT_EXPECT_EQ(test, test_pool(other)->mag.marks.low, 32);
	KUNIT_EXPECT_EQ(test, test_pool(other)->mag.marks.high, 96);
	KUNIT_EXPECT_EQ(test, bpf_mem_watermarks_set(64, false, NULL), 0);
	KUNIT_EXPECT_EQ(test, test_pool(old)->mag.marks.low, 32);
	KUNIT_EXPECT_EQ(test, test_pool(old)->mag.marks.high, 96);
	KUNIT_EXPECT_EQ(test, test_pool(new)->mag.marks.high, 96);
	KUNIT_EXPECT_EQ(test, test_pool(new)->mag.marks.batch, 20);
}

#define THOUSAND	1000

static void destroy_all(struct bpf_mem_alloc *mas)
{
	unsigned int i;

	for (i = 0; i < THOUSAND; i++)
		bpf_mem_alloc_destroy(&mas[i]);
}

/*
 * The lock of the registry is held meanwhile, which every map needs that comes or
 * goes: one grace period for each allocator was too long. A change that waits for
 * one never ends before it; others end by themselves now and then, so try again.
 */
static bool change_takes_grace_period(const struct bpf_mem_watermarks *set)
{
	unsigned long normal = get_state_synchronize_rcu();

	bpf_mem_watermarks_set(16, false, set);
	return poll_state_synchronize_rcu(normal);
}

static void test_change_with_many_allocators_takes_no_grace_period(struct kunit *test)
{
	static const struct bpf_mem_watermarks sets[] = { { 5, 50, 20 }, { 6, 60, 20 } };
	struct bpf_mem_alloc *mas = kunit_kcalloc(test, THOUSAND, sizeof(*mas), GFP_KERNEL);
	unsigned int i, followed = 0, tries;
	int err = 0;

	KUNIT_ASSERT_NOT_NULL(test, mas);
	restore_later(test, 16);
	for (i = 0; i < THOUSAND && !err; i++)
		err = bpf_mem_alloc_init(&mas[i], 8, false);
	KUNIT_EXPECT_EQ(test, err, 0);
	for (tries = 0; !err && tries < 100; tries++) {
		if (!change_takes_grace_period(&sets[tries & 1]))
			break;
	}
	KUNIT_EXPECT_LT_MSG(test, tries, 100, "each change took a grace period");
	for (i = 0; i < THOUSAND && !err; i++)
		followed += test_pool(&mas[i])->mag.marks.low == sets[tries & 1].low;
	KUNIT_EXPECT_EQ(test, followed, THOUSAND);
	destroy_all(mas);
}

static struct kunit_case memalloc_watermark_cases[] = {
	KUNIT_CASE_PARAM(test_marks_are_those_of_the_table, mark_row_gen_params),
	KUNIT_CASE(test_marks_follow_the_formula),
	KUNIT_CASE_PARAM(test_fresh_allocator_has_its_first_stock, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_falling_below_low_queues_one_refill, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_empty_cpu_is_filled_to_low_after_refill, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_no_refill_between_the_marks, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_alternating_on_a_mark_stays_quiet, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_exceeding_high_gives_batches_away, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_depot_serves_before_the_slab, mark_row_gen_params),
	KUNIT_CASE_PARAM(test_bad_marks_are_refused, bad_marks_gen_params),
	KUNIT_CASE(test_largest_batch),
	KUNIT_CASE(test_marks_are_for_those_who_come_and_are_there),
	KUNIT_CASE(test_change_with_many_allocators_takes_no_grace_period),
	{}
};

static struct kunit_suite memalloc_watermark_suite = {
	.name = "bpf_memalloc_watermark",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_watermark_cases,
};

kunit_test_suite(memalloc_watermark_suite);
