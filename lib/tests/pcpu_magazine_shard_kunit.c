// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for per-CPU magazines: shards, and what one takes from another.
 *
 * With --kernel_args=pcpu_magazine_depot.cpus_per_shard=1 a few CPUs are several
 * shards; what needs two is skipped otherwise.
 */
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/topology.h>
#include "pcpu_magazine_kunit.h"
#include "../pcpu_magazine_internal.h"

KUNIT_ARRAY_PARAM_DESC(set, magtest_sets, name);

static const unsigned int NONE = UINT_MAX;

/* A shard of the same node as that of this CPU, or of another node. */
static unsigned int another(struct magtest_pool *p, bool near)
{
	unsigned int i;

	for (i = 0; i < p->mag.nr_shards; i++)
		if (i != p->shard->index && !!(p->shard->near & BIT(i)) == near)
			return i;
	return NONE;
}

static unsigned int another_or_skip(struct kunit *test, struct magtest_pool *p, bool near)
{
	unsigned int i = another(p, near);

	if (i == NONE && near)
		kunit_skip(test, "needs two shards of a node, see cpus_per_shard");
	if (i == NONE)
		kunit_skip(test, "needs two nodes");
	return i;
}

/* A batch for a shard, on whatever node its memory is. */
static struct llist_node *stock(struct kunit *test, struct magtest_pool *p, unsigned int i)
{
	unsigned int batch = p->mag.marks.batch;
	struct llist_node *chain = magtest_new_chain(test, p, batch);

	KUNIT_ASSERT_TRUE(test, pcpu_magazine_depot_put(&p->shards[i]->depot, chain, batch));
	if (p->mag.nr_shards > 1)
		set_bit(i, &p->mag.stocked);
	return chain;
}

/* What was fetched is the test's; it can be put back by stock() no more. */
static void keep(struct kunit *test, struct magtest_pool *p, struct llist_node *chain,
		 unsigned int nr)
{
	KUNIT_ASSERT_EQ(test, magtest_move_chain(p, chain, MAGTEST_POOL, MAGTEST_OUT), nr);
}

static bool bit_of(struct magtest_pool *p, unsigned int i)
{
	return p->mag.stocked & BIT(i);
}

/* Which CPU is in which shard */

static void test_each_cpu_is_in_one_shard(struct kunit *test)
{
	unsigned int i, n, in_shards = 0, nr = pcpu_magazine_nr_shards();
	int cpu, first;

	KUNIT_ASSERT_GE(test, nr, 1);
	KUNIT_ASSERT_LE(test, nr, PCPU_MAGAZINE_MAX_SHARDS);
	for (i = 0; i < nr; i++) {
		n = cpumask_weight(pcpu_magazine_shard_cpus(i));
		KUNIT_EXPECT_GT_MSG(test, n, 0, "shard %u", i);
		if (nr_cpu_ids <= PCPU_MAGAZINE_SHARD_CPUS * PCPU_MAGAZINE_MAX_SHARDS)
			KUNIT_EXPECT_LE_MSG(test, n, PCPU_MAGAZINE_SHARD_CPUS, "shard %u", i);
		in_shards += n;
		first = cpumask_first(pcpu_magazine_shard_cpus(i));
		for_each_cpu(cpu, pcpu_magazine_shard_cpus(i)) {
			KUNIT_EXPECT_TRUE(test, cpu_possible(cpu));
			KUNIT_EXPECT_EQ(test, pcpu_magazine_shard_of(cpu), i);
			KUNIT_EXPECT_EQ(test, cpu_to_node(cpu), cpu_to_node(first));
		}
	}
	KUNIT_EXPECT_EQ(test, in_shards, num_possible_cpus());
	kunit_info(test, "%u CPUs, %u shards\n", num_possible_cpus(), nr);
}

static void test_near_is_who_shares_the_node(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int i, j;

	for (i = 0; i < p->mag.nr_shards; i++) {
		KUNIT_EXPECT_PTR_EQ(test, p->shards[i]->pool, &p->mag);
		KUNIT_EXPECT_EQ(test, p->shards[i]->index, i);
		KUNIT_EXPECT_EQ(test, p->shards[i]->near >> (p->mag.nr_shards - 1) >> 1, 0);
		for (j = 0; j < p->mag.nr_shards; j++)
			KUNIT_EXPECT_EQ_MSG(test, !!(p->shards[i]->near & BIT(j)),
					    p->shards[i]->node == p->shards[j]->node,
					    "shards %u and %u", i, j);
	}
	magtest_close(test, p, "pool");
}

/* From where chains come */

static void test_fetch_looks_at_own_depot_first(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int own = p->shard->index, near = another(p, true), n, nr;
	struct llist_node *chain[3];

	KUNIT_EXPECT_NULL(test, pcpu_magazine_fetch(p->shard, &nr));
	if (near != NONE)
		stock(test, p, near);
	for (n = 0; n < ARRAY_SIZE(chain); n++)
		chain[n] = stock(test, p, own);
	while (n--) {
		KUNIT_ASSERT_PTR_EQ(test, pcpu_magazine_fetch(p->shard, &nr), chain[n]);
		KUNIT_ASSERT_EQ(test, nr, p->mag.marks.batch);
		keep(test, p, chain[n], nr);
	}
	KUNIT_EXPECT_EQ(test, magtest_level(p), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_FETCHED),
			ARRAY_SIZE(chain));
	magtest_settled(test, p, "own depot empty", "");
	if (near != NONE)
		KUNIT_EXPECT_EQ(test, pcpu_magazine_level(p->shards[near]), p->mag.marks.batch);
	magtest_close(test, p, "used pool");
}

/* Those behind the one that asks come first, so that not all take from the same. */
static void fetch_goes_round(struct kunit *test, struct magtest_pool *p, unsigned int own)
{
	struct llist_node *chain[PCPU_MAGAZINE_MAX_SHARDS] = {};
	struct pcpu_magazine_shard *shard = p->shards[own];
	unsigned int i, n, nr;

	for (i = 0; i < p->mag.nr_shards; i++)
		if (i != own && (shard->near & BIT(i)))
			chain[i] = stock(test, p, i);
	for (n = 1; n < p->mag.nr_shards; n++) {
		i = (own + n) % p->mag.nr_shards;
		if (!chain[i])
			continue;
		KUNIT_ASSERT_FALSE(test, pcpu_magazine_is_low(shard));
		KUNIT_ASSERT_PTR_EQ_MSG(test, pcpu_magazine_fetch(shard, &nr), chain[i],
					"%u from %u", own, i);
		KUNIT_EXPECT_FALSE(test, bit_of(p, i));
		keep(test, p, chain[i], nr);
	}
	KUNIT_EXPECT_NULL(test, pcpu_magazine_fetch(shard, &nr));
	KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(shard));
}

static void test_fetch_goes_round_near_shards(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, &magtest_sets[1], 5000);
	unsigned int own;

	another_or_skip(test, p, true);
	for (own = 0; own < p->mag.nr_shards; own++)
		fetch_goes_round(test, p, own);
	magtest_close(test, p, "used pool");
}

static void test_far_nodes_come_after_reclaim(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_reclaiming_ops, &magtest_sets[0]);
	unsigned int far = another_or_skip(test, p, false), nr;
	struct magtest_object *o;

	stock(test, p, far);
	KUNIT_EXPECT_NULL(test, pcpu_magazine_fetch(p->shard, &nr));
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shard));
	KUNIT_ASSERT_EQ(test, atomic_read(&p->reclaims), 0);
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), p->mag.marks.batch);
	KUNIT_EXPECT_GT(test, atomic_read(&p->reclaims), 0);

	/* What can be taken back is nearer. */
	p->refuse = false;
	stock(test, p, far);
	o = p->out[--p->nr_out];
	magtest_leave_out(p, o, MAGTEST_RECLAIM);
	llist_add(&o->node, &p->reclaimable);
	KUNIT_EXPECT_TRUE(test, magtest_take_out(p));
	KUNIT_EXPECT_PTR_EQ(test, p->out[p->nr_out - 1], o);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_level(p->shards[far]), p->mag.marks.batch);
	magtest_close(test, p, "used pool");
}

static void test_get_takes_from_near_shard(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int near = another_or_skip(test, p, true), n;

	p->refuse = false;
	for (n = 0; n < 3; n++)
		stock(test, p, near);
	KUNIT_ASSERT_TRUE(test, pcpu_magazine_hold(&p->mag));
	p->refuse = true;
	KUNIT_EXPECT_EQ(test, magtest_take_all(p), 3 * p->mag.marks.batch);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_count(&p->mag, PCPU_MAGAZINE_FETCHED), 3);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_level(p->shards[near]), 0);
	KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	/* What it frees stays in its own shard. */
	magtest_give_all(p);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_level(p->shards[near]), 0);
	magtest_close(test, p, "used pool");
}

static struct llist_node *nested_chain;
static unsigned int nested_nr;

static void nested_fetch(struct magtest_pool *p)
{
	nested_chain = pcpu_magazine_fetch(p->shard, &nested_nr);
}

/* The outer one has a slot of the near depot in hand, or has just emptied it. */
static void test_nested_fetch_from_near_shard(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int near = another_or_skip(test, p, true), chains, nr;
	struct llist_node *chain;

	magtest_seams_on(test, magtest_probe_hook);
	for (chains = 1; chains <= 3; chains++) {
		for (nr = 0; nr < chains; nr++)
			stock(test, p, near);
		magtest_arm(p, PCPU_MAGAZINE_SEAM_SLOT, nested_fetch);
		chain = pcpu_magazine_fetch(p->shard, &nr);
		KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
		KUNIT_ASSERT_NOT_NULL(test, chain);
		KUNIT_ASSERT_EQ(test, !!nested_chain, chains > 1);
		keep(test, p, chain, nr);
		if (nested_chain)
			keep(test, p, nested_chain, nested_nr);
		magtest_settled(test, p, "fetched", "");
		KUNIT_EXPECT_EQ(test, bit_of(p, near), chains > 2);
		while ((chain = pcpu_magazine_fetch(p->shard, &nr)))
			keep(test, p, chain, nr);
		KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	}
	magtest_close(test, p, "used pool");
}

/* The word that says where something is */

static void test_stocked_follows_each_depot(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, &magtest_sets[4], 2000);
	unsigned int i, j, nr, batch = p->mag.marks.batch;
	struct llist_node *chain;

	for (i = 0; i < p->mag.nr_shards; i++) {
		for (j = 0; j < 2; j++) {
			chain = magtest_new_chain(test, p, batch);
			KUNIT_ASSERT_TRUE(test, pcpu_magazine_put_chain(p->shards[i], chain,
									batch));
			magtest_settled(test, p, "put", "");
		}
	}
	for (i = 0; i < p->mag.nr_shards; i++) {
		while ((chain = pcpu_magazine_take_chain(p->shards[i], &nr))) {
			keep(test, p, chain, nr);
			magtest_settled(test, p, "taken", "");
		}
		KUNIT_EXPECT_FALSE(test, bit_of(p, i));
		KUNIT_EXPECT_EQ(test, pcpu_magazine_level(p->shards[i]), 0);
	}
	KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_hold(&p->mag));
	magtest_close(test, p, "pool");
}

/*
 * Between the put of a chain and the look at the word another one may take the
 * chain and clear the bit; then it is set for a depot that is empty.
 */
static void test_stocked_by_mistake_is_found_out(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, &magtest_sets[0]);
	unsigned int near = another_or_skip(test, p, true), nr;

	set_bit(near, &p->mag.stocked);
	set_bit(p->shard->index, &p->mag.stocked);
	KUNIT_EXPECT_NULL(test, pcpu_magazine_fetch(p->shard, &nr));
	KUNIT_EXPECT_EQ(test, p->mag.stocked, 0);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_hold(&p->mag));
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shard));
	magtest_close(test, p, "pool");
}

/* When a refill is due */

static void test_low_below_half_of_target(struct kunit *test)
{
	unsigned int target, n, slots = 8;
	struct magtest_pool *p;

	for (target = 1; target <= 6; target++) {
		p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
		pcpu_magazine_set_target(p->shard, target);
		KUNIT_EXPECT_EQ(test, pcpu_magazine_target(p->shard), target);
		for (n = 0; n < slots; n++) {
			KUNIT_EXPECT_EQ_MSG(test, pcpu_magazine_is_low(p->shard),
					    2 * n < target, "%u of %u chains", n, target);
			stock(test, p, p->shard->index);
		}
		magtest_close(test, p, "pool");
	}
}

static void test_not_low_while_near_shard_has_something(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int near = another_or_skip(test, p, true), nr;
	struct llist_node *chain;

	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shard));
	stock(test, p, near);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_is_low(p->shard));
	/* The other one is at its goal or not by what itself has. */
	pcpu_magazine_set_target(p->shards[near], 3);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shards[near]));
	chain = pcpu_magazine_take_chain(p->shards[near], &nr);
	keep(test, p, chain, nr);
	KUNIT_EXPECT_TRUE(test, pcpu_magazine_is_low(p->shard));
	magtest_close(test, p, "pool");
}

/* Where chains go */

static bool is_home(struct magtest_pool *p, unsigned int from, unsigned int to, int node)
{
	unsigned int i;

	if (p->shards[from]->node == node || !node_state(p->shards[from]->node, N_MEMORY))
		return to == from;
	for (i = 0; i < p->mag.nr_shards; i++)
		if (p->shards[i]->node == node)
			return p->shards[to]->node == node;
	return to == from;
}

static void test_hand_over_goes_home(struct kunit *test)
{
	struct magtest_pool *p = magtest_open_large(test, &magtest_sets[0], 4000);
	unsigned int i, to, landed, nr = 3;
	struct llist_node *chain;

	for (i = 0; i < p->mag.nr_shards; i++) {
		chain = magtest_new_chain(test, p, nr);
		pcpu_magazine_hand_over(p->shards[i], chain, nr);
		landed = 0;
		for (to = 0; to < p->mag.nr_shards; to++) {
			if (!pcpu_magazine_level(p->shards[to]))
				continue;
			landed++;
			KUNIT_EXPECT_TRUE_MSG(test, is_home(p, i, to,
							    page_to_nid(virt_to_page(chain))),
					      "from shard %u to %u", i, to);
			KUNIT_EXPECT_PTR_EQ(test, pcpu_magazine_take_chain(p->shards[to], &nr),
					    chain);
			KUNIT_EXPECT_EQ(test, nr, 3);
			keep(test, p, chain, nr);
		}
		KUNIT_EXPECT_EQ(test, landed, 1);
	}
	magtest_close(test, p, "pool");
}

/* No other depot is asked: what is too much for one is too much. */
static void test_full_depot_overflows(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int batch = p->mag.marks.batch, slots = p->shard->depot.nr_slots, n;
	struct pcpu_magazine_shard *home;
	struct llist_node *chain;

	/* Where it goes from here, on whatever node the objects are. */
	pcpu_magazine_hand_over(p->shard, magtest_new_chain(test, p, batch), batch);
	for (n = 0; n < p->mag.nr_shards; n++)
		if (pcpu_magazine_level(p->shards[n]))
			break;
	KUNIT_ASSERT_LT(test, n, p->mag.nr_shards);
	home = p->shards[n];
	for (n = 1; n < slots; n++)
		KUNIT_ASSERT_TRUE(test, pcpu_magazine_put_chain(p->shard,
								magtest_new_chain(test, p, batch),
								batch));
	chain = magtest_new_chain(test, p, batch);
	KUNIT_EXPECT_FALSE(test, pcpu_magazine_put_chain(p->shard, chain, batch));
	KUNIT_EXPECT_EQ(test, magtest_chain_length(p, chain, MAGTEST_POOL), batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 0);
	pcpu_magazine_hand_over(p->shard, chain, batch);
	KUNIT_EXPECT_EQ(test, atomic_read(&p->overflows), 1);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_OVERFLOW), batch);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_level(home), slots * batch);
	magtest_settled(test, p, "overflown", "");
	pcpu_magazine_grow(home, slots + 1, GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, home->depot.nr_slots, 2 * slots);
	magtest_restock_overflow(p);
	KUNIT_EXPECT_EQ(test, magtest_count(p, MAGTEST_OVERFLOW), 0);
	KUNIT_EXPECT_EQ(test, pcpu_magazine_level(home), (slots + 1) * batch);
	magtest_close(test, p, "pool");
}

/* Whoever puts the chain that is one too many tells the user, of whatever shard it is. */
static void test_surplus_is_told_once(struct kunit *test)
{
	struct magtest_pool *p = magtest_open(test, &magtest_plain_ops, magtest_set(test));
	unsigned int i, n, nr, round, target = 3, batch = p->mag.marks.batch;
	struct pcpu_magazine_shard *shard;
	struct llist_node *chain;

	for (i = 0; i < min(p->mag.nr_shards, 2U); i++) {
		shard = p->shards[i];
		/* Not what belongs to another node. */
		if (shard->node != page_to_nid(virt_to_page(p->objs)))
			continue;
		pcpu_magazine_set_target(shard, target);
		magtest_forget_calls(p);
		for (n = 1; n <= target + 3; n++) {
			chain = magtest_new_chain(test, p, batch);
			KUNIT_ASSERT_TRUE(test, pcpu_magazine_put_chain(shard, chain, batch));
			KUNIT_EXPECT_EQ(test, atomic_read(&p->surpluses), n > target + 1);
		}
		KUNIT_EXPECT_PTR_EQ(test, p->surplus_of, shard);
		/* And again when it had come to an end. */
		for (round = 1; round <= 2; round++) {
			for (n = 0; n < 2; n++)
				keep(test, p, pcpu_magazine_take_chain(shard, &nr), batch);
			KUNIT_EXPECT_EQ(test, pcpu_magazine_level(shard), (target + 1) * batch);
			for (n = 0; n < 2; n++) {
				chain = magtest_new_chain(test, p, batch);
				KUNIT_ASSERT_TRUE(test, pcpu_magazine_put_chain(shard, chain,
										batch));
				KUNIT_EXPECT_EQ(test, atomic_read(&p->surpluses), 1 + round);
			}
		}
		KUNIT_EXPECT_EQ(test, atomic_read(&p->kicks), 0);
	}
	magtest_close(test, p, "pool");
}

static struct kunit_case pcpu_magazine_shard_cases[] = {
	KUNIT_CASE(test_each_cpu_is_in_one_shard),
	KUNIT_CASE(test_near_is_who_shares_the_node),
	KUNIT_CASE_PARAM(test_fetch_looks_at_own_depot_first, set_gen_params),
	KUNIT_CASE(test_fetch_goes_round_near_shards),
	KUNIT_CASE(test_far_nodes_come_after_reclaim),
	KUNIT_CASE_PARAM(test_get_takes_from_near_shard, set_gen_params),
	KUNIT_CASE(test_nested_fetch_from_near_shard),
	KUNIT_CASE(test_stocked_follows_each_depot),
	KUNIT_CASE(test_stocked_by_mistake_is_found_out),
	KUNIT_CASE_PARAM(test_low_below_half_of_target, set_gen_params),
	KUNIT_CASE_PARAM(test_not_low_while_near_shard_has_something, set_gen_params),
	KUNIT_CASE_PARAM(test_surplus_is_told_once, set_gen_params),
	KUNIT_CASE(test_hand_over_goes_home),
	KUNIT_CASE_PARAM(test_full_depot_overflows, set_gen_params),
	{}
};

static struct kunit_suite pcpu_magazine_shard_suite = {
	.name = "pcpu_magazine_shard",
	.init = magtest_init,
	.test_cases = pcpu_magazine_shard_cases,
};

kunit_test_suite(pcpu_magazine_shard_suite);

MODULE_DESCRIPTION("KUnit tests for per-CPU magazines: shards");
MODULE_LICENSE("GPL");
