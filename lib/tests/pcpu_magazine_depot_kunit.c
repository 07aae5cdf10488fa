// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: depots, without a pool around them.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include "pcpu_magazine_kunit.h"
#include "../pcpu_magazine_internal.h"

#define SLOT_MASK	((1UL << PCPU_MAGAZINE_SLOT_BITS) - 1)

static struct pcpu_magazine_depot depot;

static void depot_free(void *unused)
{
	pcpu_magazine_depot_exit(&depot);
}

static void depot_make(struct kunit *test, unsigned int nr)
{
	memset(&depot, 0, sizeof(depot));
	KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_init(&depot, nr, GFP_KERNEL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, depot_free, NULL), 0);
}

static void depot_end(struct kunit *test)
{
	kunit_release_action(test, depot_free, NULL);
}

static struct magtest_pool *objects(struct kunit *test, unsigned int nr)
{
	return magtest_pool_alloc(test, nr);
}

static void put(struct kunit *test, struct llist_node *chain, unsigned int nr)
{
	KUNIT_ASSERT_TRUE(test, pcpu_magazine_depot_put(&depot, chain, nr));
}

/* Put chains of one new object each until there is no room; returns how many. */
static unsigned int fill(struct kunit *test, struct magtest_pool *p)
{
	struct llist_node *node;
	unsigned int nr = 0;

	while (atomic64_read(&depot.free) & SLOT_MASK) {
		node = magtest_new_chain(test, p, 1);
		put(test, node, 1);
		nr++;
	}
	return nr;
}

/* Take everything out; returns the number of objects. */
static unsigned int empty(struct kunit *test, struct magtest_pool *p)
{
	struct llist_node *first;
	unsigned int nr, total = 0;

	while ((first = pcpu_magazine_depot_get(&depot, &nr))) {
		KUNIT_ASSERT_EQ(test, magtest_move_chain(p, first, MAGTEST_POOL, MAGTEST_OUT),
				nr);
		total += nr;
	}
	KUNIT_ASSERT_EQ(test, atomic_read(&p->faults), 0);
	KUNIT_ASSERT_EQ(test, atomic_read(&depot.level), 0);
	return total;
}

static void check(struct kunit *test, struct magtest_pool *p, unsigned int chains,
		  unsigned int total)
{
	unsigned int found = 0;

	KUNIT_ASSERT_EQ(test, magtest_depot_check(test, p, &depot, UINT_MAX, &found), total);
	KUNIT_ASSERT_EQ(test, found, chains);
}

static unsigned int first_number(const atomic64_t *list)
{
	return atomic64_read(list) & SLOT_MASK;
}

/* Stacks of chains */

static void test_depot_last_chain_in_is_first_out(struct kunit *test)
{
	struct magtest_pool *p = objects(test, 100);
	struct llist_node *chain[8];
	unsigned int i, nr, total = 0;

	depot_make(test, ARRAY_SIZE(chain));
	KUNIT_EXPECT_NULL(test, pcpu_magazine_depot_get(&depot, &nr));
	for (i = 0; i < ARRAY_SIZE(chain); i++) {
		chain[i] = magtest_new_chain(test, p, i + 1);
		put(test, chain[i], i + 1);
		total += i + 1;
		check(test, p, i + 1, total);
	}
	while (i--) {
		KUNIT_ASSERT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr), chain[i]);
		KUNIT_ASSERT_EQ(test, nr, i + 1);
		KUNIT_ASSERT_EQ(test, magtest_chain_length(p, chain[i], MAGTEST_POOL), nr);
		total -= nr;
		check(test, p, i, total);
	}
	KUNIT_EXPECT_NULL(test, pcpu_magazine_depot_get(&depot, &nr));
	depot_end(test);
}

static void test_depot_full_leaves_chain_to_caller(struct kunit *test)
{
	struct magtest_pool *p = objects(test, 100);
	struct llist_node *chain, *taken;
	unsigned int nr, round, slots;

	/* Not a power of two: there are at least as many as asked for. */
	depot_make(test, 5);
	slots = depot.nr_slots;
	KUNIT_ASSERT_EQ(test, slots, 8);
	KUNIT_ASSERT_EQ(test, fill(test, p), slots);
	chain = magtest_new_chain(test, p, 3);
	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_FALSE(test, pcpu_magazine_depot_put(&depot, chain, 3));
		KUNIT_ASSERT_EQ(test, magtest_chain_length(p, chain, MAGTEST_POOL), 3);
		check(test, p, slots, slots);
	}
	/* One out, one in. */
	taken = pcpu_magazine_depot_get(&depot, &nr);
	KUNIT_ASSERT_NOT_NULL(test, taken);
	KUNIT_ASSERT_TRUE(test, pcpu_magazine_depot_put(&depot, chain, 3));
	KUNIT_ASSERT_FALSE(test, pcpu_magazine_depot_put(&depot, taken, 1));
	check(test, p, slots, slots + 2);
	KUNIT_EXPECT_EQ(test, empty(test, p), slots + 2);
	depot_end(test);
}

/*
 * Whoever has read the first slot of a list finds out that it was taken and put
 * back meanwhile: the word never has an old value again, though the slot is the same.
 */
static void test_depot_lists_never_look_as_before(struct kunit *test)
{
	struct magtest_pool *p = objects(test, 100);
	struct llist_node *chain = magtest_new_chain(test, p, 1);
	s64 full[3], free[3];
	unsigned int i, nr;

	depot_make(test, 8);
	put(test, magtest_new_chain(test, p, 1), 1);
	put(test, chain, 1);
	for (i = 0; i < ARRAY_SIZE(full); i++) {
		full[i] = atomic64_read(&depot.full);
		free[i] = atomic64_read(&depot.free);
		KUNIT_ASSERT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr), chain);
		put(test, chain, 1);
		KUNIT_EXPECT_EQ(test, first_number(&depot.full), full[i] & SLOT_MASK);
		KUNIT_EXPECT_EQ(test, first_number(&depot.free), free[i] & SLOT_MASK);
	}
	for (i = 1; i < ARRAY_SIZE(full); i++) {
		KUNIT_EXPECT_NE(test, full[i], full[i - 1]);
		KUNIT_EXPECT_NE(test, free[i], free[i - 1]);
		KUNIT_EXPECT_NE(test, full[i], full[0]);
		KUNIT_EXPECT_NE(test, free[i], free[0]);
	}
	depot_end(test);
}

/* The count of changes may come to its end. */
static void test_depot_count_of_changes_wraps(struct kunit *test)
{
	struct magtest_pool *p = objects(test, 100);
	unsigned int round;

	depot_make(test, 8);
	KUNIT_ASSERT_EQ(test, fill(test, p), 8);
	atomic64_set(&depot.full, (S64_MAX & ~(s64)SLOT_MASK) | first_number(&depot.full));
	for (round = 0; round < 2; round++) {
		check(test, p, 8, 8);
		KUNIT_ASSERT_EQ(test, empty(test, p), 8);
		check(test, p, 0, 0);
		KUNIT_ASSERT_EQ(test, fill(test, p), 8);
		/* Now from -1 to 0. */
		atomic64_set(&depot.full, ~(s64)SLOT_MASK | first_number(&depot.full));
	}
	depot_end(test);
}

/* Growth */

static void test_depot_grows_by_doubling(struct kunit *test)
{
	unsigned int shift, slots, number, wanted;
	struct magtest_pool *p;

	for (shift = 0; shift <= 3; shift++) {
		p = objects(test, 3000);
		depot_make(test, 1U << shift);
		for (slots = 1U << shift; slots < 512; slots *= 2) {
			KUNIT_ASSERT_EQ(test, depot.nr_slots, slots);
			/* In use while it grows, and what is in it stays. */
			fill(test, p);
			wanted = slots + 1;
			KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_grow(&depot, slots,
								       GFP_KERNEL), 0);
			KUNIT_ASSERT_EQ(test, depot.nr_slots, slots);
			KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_grow(&depot, wanted,
								       GFP_KERNEL), 0);
			check(test, p, slots, slots);
		}
		KUNIT_ASSERT_EQ(test, fill(test, p), slots / 2);
		check(test, p, slots, slots);
		for (number = 1; number <= slots; number++)
			KUNIT_ASSERT_EQ(test, magtest_slot(&depot, number)->nr, 1);
		KUNIT_ASSERT_EQ(test, empty(test, p), slots);
		depot_end(test);
	}
}

/* Every number means one slot, the same for who puts and who gets, and none beyond. */
static void test_depot_slot_numbers(struct kunit *test)
{
	unsigned int shift, slots = 1024, i, number, nr;
	struct pcpu_magazine_slot *slot;
	struct llist_node *chain;
	struct magtest_pool *p;

	for (shift = 1; shift <= 10; shift++) {
		p = objects(test, slots);
		depot_make(test, 1U << shift);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_grow(&depot, slots, GFP_KERNEL), 0);
		KUNIT_ASSERT_EQ(test, depot.nr_slots, slots);
		for (i = 0; i < slots; i++) {
			number = first_number(&depot.free);
			slot = magtest_slot(&depot, number);
			chain = magtest_new_chain(test, p, 1);
			put(test, chain, 1);
			KUNIT_ASSERT_EQ(test, first_number(&depot.full), number);
			KUNIT_ASSERT_PTR_EQ(test, slot->first, chain);
		}
		check(test, p, slots, slots);
		for (i = 0; i < slots; i++) {
			slot = magtest_slot(&depot, first_number(&depot.full));
			KUNIT_ASSERT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr),
					    slot->first);
		}
		depot_end(test);
	}
}

static void test_depot_has_a_largest_size(struct kunit *test)
{
	struct pcpu_magazine_depot none = {};

	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_init(&none, SLOT_MASK + 1, GFP_KERNEL),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_init(&none, UINT_MAX, GFP_KERNEL), -ENOMEM);
	KUNIT_EXPECT_NULL(test, none.part[0]);

	depot_make(test, 1);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_grow(&depot, UINT_MAX, GFP_KERNEL), -ENOMEM);
	KUNIT_EXPECT_EQ(test, depot.nr_slots, 1);
	/* What no allocator of these tests refuses. */
	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_grow(&depot, 1U << 20, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, depot.nr_slots, 1U << 20);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_grow(&depot, SLOT_MASK + 1, GFP_KERNEL),
			-ENOMEM);
	KUNIT_EXPECT_EQ(test, depot.nr_slots, 1U << 20);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_depot_grow(&depot, SLOT_MASK, GFP_KERNEL), -ENOMEM);
	KUNIT_EXPECT_LE(test, depot.nr_slots, SLOT_MASK);
	depot_end(test);
}

/* However much is in it */

/* All slots but the first of each list are of no use to anybody. */
static void spoil(unsigned int slots, unsigned int full, unsigned int free)
{
	unsigned int number;

	for (number = 1; number <= slots; number++)
		if (number != full && number != free)
			*magtest_slot(&depot, number) = (struct pcpu_magazine_slot){
				.first = (void *)-1L, .nr = UINT_MAX, .next = number,
			};
}

/*
 * A get and a put look at one slot each: they still work when nothing is left of
 * all others. A walk over the lists would not come back from the slots that follow
 * themselves.
 */
static void test_depot_steps_do_not_depend_on_fill(struct kunit *test)
{
	static const unsigned int fills[] = { 1, 2, 8, 100, 1000, 2047 };
	unsigned int i, n, nr, full, free, slots = 2048;
	struct pcpu_magazine_slot after_get, after_put;
	struct llist_node *last, *put_in;
	struct magtest_pool *p;

	for (i = 0; i < ARRAY_SIZE(fills); i++) {
		p = objects(test, slots + 1);
		depot_make(test, 8);
		KUNIT_ASSERT_EQ(test, pcpu_magazine_depot_grow(&depot, slots, GFP_KERNEL), 0);
		for (n = 0; n < fills[i]; n++) {
			last = magtest_new_chain(test, p, 1);
			put(test, last, 1);
		}
		put_in = magtest_new_chain(test, p, 1);
		full = first_number(&depot.full);
		free = first_number(&depot.free);
		after_get = *magtest_slot(&depot, full);
		after_put = *magtest_slot(&depot, free);
		spoil(slots, full, free);
		KUNIT_EXPECT_TRUE(test, pcpu_magazine_depot_put(&depot, put_in, 1));
		KUNIT_EXPECT_EQ(test, first_number(&depot.full), free);
		KUNIT_EXPECT_EQ(test, first_number(&depot.free), after_put.next);
		KUNIT_EXPECT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr), put_in);
		KUNIT_EXPECT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr), last);
		KUNIT_EXPECT_EQ(test, first_number(&depot.full), after_get.next);
		KUNIT_EXPECT_EQ(test, first_number(&depot.free), full);
		KUNIT_EXPECT_EQ(test, atomic_read(&depot.level), fills[i] - 1);
		depot_end(test);
	}
}

/* Contexts on top of each other: the outer one has a slot in hand */

static struct nested {
	unsigned int got;
	unsigned int level;
	struct llist_node *chain;
	bool put;
	bool got_two;
} nested;

/* Take all that is there, then put it back, and one more. */
static void nested_get_and_put(struct magtest_pool *p)
{
	struct llist_node *chains[16];
	unsigned int nr[16], n = 0;

	nested.level = atomic_read(&depot.level);
	while (n < ARRAY_SIZE(chains) &&
	       (chains[n] = pcpu_magazine_depot_get(&depot, &nr[n])))
		n++;
	nested.got = n;
	while (n--)
		if (!pcpu_magazine_depot_put(&depot, chains[n], nr[n]))
			magtest_fault(p, "no room for what was there", n, MAGTEST_POOL);
	nested.put = pcpu_magazine_depot_put(&depot, nested.chain, 2);
}

static void test_depot_get_interrupted_with_slot_in_hand(struct kunit *test)
{
	struct llist_node *top, *chain;
	struct magtest_pool *p;
	unsigned int used, nr;

	magtest_seams_on(test, magtest_probe_hook);
	for (used = 1; used <= 8; used++) {
		p = objects(test, 100);
		depot_make(test, 8);
		for (nr = 0; nr < used; nr++) {
			top = magtest_new_chain(test, p, 1);
			put(test, top, 1);
		}
		nested.chain = magtest_new_chain(test, p, 2);
		magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_get_and_put);
		chain = pcpu_magazine_depot_get(&depot, &nr);
		KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
		KUNIT_EXPECT_PTR_EQ(test, chain, top);
		KUNIT_EXPECT_EQ(test, nr, 1);
		/* It sees all but the chain in hand, which still counts. */
		KUNIT_EXPECT_EQ(test, nested.got, used - 1);
		KUNIT_EXPECT_EQ(test, nested.level, used);
		/* The slot in hand is nobody's: with all others in use there is no room. */
		KUNIT_EXPECT_EQ(test, nested.put, used < 8);
		check(test, p, used - 1 + nested.put, used - 1 + 2 * nested.put);
		KUNIT_EXPECT_EQ(test, empty(test, p), used - 1 + 2 * nested.put);
		depot_end(test);
	}
}

static void test_depot_put_interrupted_with_slot_in_hand(struct kunit *test)
{
	struct llist_node *chain;
	struct magtest_pool *p;
	unsigned int used, nr;

	magtest_seams_on(test, magtest_probe_hook);
	for (used = 0; used < 8; used++) {
		p = objects(test, 100);
		depot_make(test, 8);
		for (nr = 0; nr < used; nr++)
			put(test, magtest_new_chain(test, p, 1), 1);
		nested.chain = magtest_new_chain(test, p, 2);
		chain = magtest_new_chain(test, p, 3);
		magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_get_and_put);
		KUNIT_EXPECT_TRUE(test, pcpu_magazine_depot_put(&depot, chain, 3));
		KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
		/* What is on its way in is not there yet, and does not count. */
		KUNIT_EXPECT_EQ(test, nested.got, used);
		KUNIT_EXPECT_EQ(test, nested.level, used);
		KUNIT_EXPECT_EQ(test, nested.put, used < 7);
		check(test, p, used + 1 + nested.put, used + 3 + 2 * nested.put);
		/* The interrupted one came last. */
		KUNIT_EXPECT_PTR_EQ(test, pcpu_magazine_depot_get(&depot, &nr), chain);
		KUNIT_EXPECT_EQ(test, nr, 3);
		KUNIT_EXPECT_EQ(test, empty(test, p), used + 2 * nested.put);
		depot_end(test);
	}
}

/* Three contexts, each with a slot in hand; the innermost finds what is left. */
static void nested_twice(struct magtest_pool *p)
{
	unsigned int nr;

	magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_get_and_put);
	nested.got_two = !!pcpu_magazine_depot_get(&depot, &nr);
}

static void test_depot_interrupted_twice(struct kunit *test)
{
	struct magtest_pool *p = objects(test, 100);
	unsigned int nr;

	magtest_seams_on(test, magtest_probe_hook);
	depot_make(test, 8);
	KUNIT_ASSERT_EQ(test, fill(test, p), 8);
	nested.chain = magtest_new_chain(test, p, 2);
	magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_twice);
	KUNIT_EXPECT_NOT_NULL(test, pcpu_magazine_depot_get(&depot, &nr));
	KUNIT_EXPECT_EQ(test, magtest_probe.hits, 1);
	KUNIT_EXPECT_TRUE(test, nested.got_two);
	KUNIT_EXPECT_EQ(test, nested.got, 6);
	KUNIT_EXPECT_FALSE(test, nested.put);
	check(test, p, 6, 6);
	depot_end(test);
}

static struct kunit_case pcpu_magazine_depot_cases[] = {
	KUNIT_CASE(test_depot_last_chain_in_is_first_out),
	KUNIT_CASE(test_depot_full_leaves_chain_to_caller),
	KUNIT_CASE(test_depot_lists_never_look_as_before),
	KUNIT_CASE(test_depot_count_of_changes_wraps),
	KUNIT_CASE(test_depot_grows_by_doubling),
	KUNIT_CASE(test_depot_slot_numbers),
	KUNIT_CASE(test_depot_has_a_largest_size),
	KUNIT_CASE(test_depot_steps_do_not_depend_on_fill),
	KUNIT_CASE(test_depot_get_interrupted_with_slot_in_hand),
	KUNIT_CASE(test_depot_put_interrupted_with_slot_in_hand),
	KUNIT_CASE(test_depot_interrupted_twice),
	{}
};

static struct kunit_suite pcpu_magazine_depot_suite = {
	.name = "pcpu_magazine_depot",
	.init = magtest_init,
	.test_cases = pcpu_magazine_depot_cases,
};

kunit_test_suite(pcpu_magazine_depot_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: depots");
MODULE_LICENSE("GPL");
