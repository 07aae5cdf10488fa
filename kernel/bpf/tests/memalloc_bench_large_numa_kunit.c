// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: how many of the objects that a CPU gets lie on its own
 * node, ours and the peer's.
 *
 * own_churn	each CPU frees what it got, many at a time
 * shared_table	each CPU puts what it got into a random place of one table and
 *		frees what was there
 * handed_over	one CPU allocates, one on the other node frees
 */
#include <linux/nodemask.h>
#include <linux/topology.h>
#include "memalloc_bench_large_load.h"

#define TOTAL		60000	/* objects, by all CPUs together */

static int cpu_on(int node)
{
	return cpumask_any_and(cpumask_of_node(node), cpu_online_mask);
}

static void own_churn(struct kunit *test, struct large_load *load)
{
	large_load_all(test, load, large_churn);
}

static void shared_table(struct kunit *test, struct large_load *load)
{
	large_load_all(test, load, large_share);
}

static void handed_over(struct kunit *test, struct large_load *load)
{
	large_load_pair(test, load, cpu_on(0), cpu_on(1));
}

/*
 * Each has a size, and so a slab cache, to itself: slabs that were freed by CPUs
 * of another node stay with these for a while.
 */
static const struct {
	const char *work;
	int size;
	void (*add)(struct kunit *test, struct large_load *load);
} works[] = {
	{ "own_churn", 64, own_churn },
	{ "shared_table", 120, shared_table },
	{ "handed_over", 184, handed_over },
};

static void bench_node_local(struct kunit *test)
{
	struct large_load *load = large_load_new(test);
	struct large_sum sum;
	unsigned int w, i;

	KUNIT_ASSERT_EQ_MSG(test, num_online_nodes(), 2, "the kernel must see both nodes");
	KUNIT_ASSERT_LT(test, cpu_on(0), nr_cpu_ids);
	KUNIT_ASSERT_LT(test, cpu_on(1), nr_cpu_ids);
	load->total = TOTAL;
	load->most_held = LARGE_HELD;
	for (w = 0; w < ARRAY_SIZE(works); w++) {
		for (i = 0; i < large_nr_whos; i++) {
			large_load_open(test, load, &large_whos[i], works[w].size);
			works[w].add(test, load);
			sum = large_load_run(load);
			large_load_close(load);
			bench_report_number(test, works[w].work, large_whos[i].name, sum.local);
			KUNIT_EXPECT_EQ(test, sum.got, TOTAL);
		}
		bench_report_number(test, works[w].work, LARGE_ASKED, TOTAL);
	}
}

static struct kunit_case memalloc_bench_large_numa_cases[] = {
	KUNIT_CASE(bench_node_local),
	{}
};

static struct kunit_suite memalloc_bench_large_numa_suite = {
	.name = "bpf_memalloc_large_numa",
	.init = bench_init,
	.test_cases = memalloc_bench_large_numa_cases,
};

kunit_test_suite(memalloc_bench_large_numa_suite);
