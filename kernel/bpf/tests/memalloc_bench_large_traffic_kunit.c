// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: how many words CPUs fight for, ours and the peer's.
 *
 * Loads run between two marks in the instruction stream. A plugin of QEMU that
 * knows them counts atomic instructions and lines that move between CPUs; its
 * numbers are joined with the lines that are printed here. Without a plugin this
 * measures nothing.
 *
 * churn_128	each CPU frees what it got, up to 128 at a time
 * churn_2000	the same, more than it keeps
 * shared_table	each CPU frees what others got
 * handed_over	one CPU allocates, one frees
 *
 * What the loads themselves do is measured as well, with objects from nowhere
 * ("none"): that is to be taken off.
 */
#include <linux/cpumask.h>
#include "memalloc_bench_large_load.h"

#define EACH		8000	/* objects, times the number of CPUs */
#define SIZE		64

static unsigned long dummy;

static int none_init(union large_ma *ma, int size, bool percpu)
{
	return 0;
}

static void none_destroy(union large_ma *ma)
{
}

static void *none_alloc(union large_ma *ma, size_t size)
{
	return &dummy;
}

static void none_free(union large_ma *ma, size_t size, void *obj)
{
}

static const struct large_who none = {
	"none", none_init, none_destroy, none_alloc, none_free, none_free, NULL, NULL,
};

/* Each a nopl that no compiler emits; the plugin looks for them. */
static void mark_begin(void)
{
#ifdef CONFIG_X86_64
	asm volatile(".byte 0x0f, 0x1f, 0x80, 0x01, 0x6d, 0x70, 0x62" : : : "memory");
#endif
}

static void mark_end(void)
{
#ifdef CONFIG_X86_64
	asm volatile(".byte 0x0f, 0x1f, 0x80, 0x00, 0x6d, 0x70, 0x62" : : : "memory");
#endif
}

static void churn(struct kunit *test, struct large_load *load)
{
	large_load_all(test, load, large_churn);
}

static void shared_table(struct kunit *test, struct large_load *load)
{
	large_load_all(test, load, large_share);
}

static void handed_over(struct kunit *test, struct large_load *load)
{
	large_load_pair(test, load, cpumask_first(cpu_online_mask),
			cpumask_last(cpu_online_mask));
}

static const struct {
	const char *work;
	unsigned int most_held;
	void (*add)(struct kunit *test, struct large_load *load);
} works[] = {
	{ "churn_128", 128, churn },
	{ "churn_2000", LARGE_HELD, churn },
	{ "shared_table", 0, shared_table },
	{ "handed_over", 0, handed_over },
};

static void measure(struct kunit *test, struct large_load *load, const struct large_who *who,
		    unsigned int w)
{
	struct large_sum sum;

	load->most_held = works[w].most_held;
	large_load_open(test, load, who, SIZE);
	/* The first time is for the stock to grow. */
	works[w].add(test, load);
	large_load_run(load);
	works[w].add(test, load);
	mark_begin();
	sum = large_load_run(load);
	mark_end();
	KUNIT_EXPECT_EQ(test, sum.got, load->total);
	kunit_info(test, "traffic: {\"work\": \"%s\", \"who\": \"%s\", \"ops\": %lu}\n",
		   works[w].work, who->name, sum.got);
	/* Its one object is none that can be freed. */
	if (who == &none)
		memset(load->table, 0, LARGE_TABLE * sizeof(*load->table));
	large_load_close(load);
}

static void bench_traffic(struct kunit *test)
{
	struct large_load *load = large_load_new(test);
	unsigned int w, i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU only");
	load->total = EACH * num_online_cpus();
	for (w = 0; w < ARRAY_SIZE(works); w++) {
		for (i = 0; i < large_nr_whos; i++)
			measure(test, load, &large_whos[i], w);
		measure(test, load, &none, w);
	}
}

static struct kunit_case memalloc_bench_large_traffic_cases[] = {
	KUNIT_CASE(bench_traffic),
	{}
};

/* Not among bpf_memalloc_large*, which run without the plugin. */
static struct kunit_suite memalloc_bench_large_traffic_suite = {
	.name = "bpf_memalloc_traffic",
	.init = bench_init,
	.test_cases = memalloc_bench_large_traffic_cases,
};

kunit_test_suite(memalloc_bench_large_traffic_suite);
