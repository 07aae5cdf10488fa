// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what all CPUs get that ask at the same moment, ours and
 * the peer's.
 *
 * The machine is stopped meanwhile: each CPU asks with interrupts off, and no
 * refill comes before the last one has asked. The allocators live side by side,
 * so that one long pause makes all of them idle.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/percpu.h>
#include <linux/stop_machine.h>
#include "memalloc_bench_large.h"

#define MOST		100	/* objects for each CPU */
/* Longer than ours takes to notice that an allocator is idle. */
#define IDLE_SECONDS	14

static const struct burst_kind {
	const char *name;
	int init;		/* size that the allocator is made with */
	bool percpu;
	size_t size;		/* size that is asked for, 0: the allocator's */
	unsigned int each;	/* objects for each CPU */
} kinds[] = {
	{ "all_cpus_k1", 64, false, 0, 1 },
	{ "all_cpus_k4", 64, false, 0, 4 },
	{ "all_cpus_k16", 64, false, 0, 16 },
	{ "all_cpus_k100", 64, false, 0, MOST },
	{ "all_cpus_large_k1", 2048, false, 0, 1 },
	{ "all_cpus_class_k1", 0, false, 60, 1 },
	{ "all_cpus_class_k4", 0, false, 60, 4 },
	{ "all_cpus_areas_k1", 64, true, 0, 1 },
};

struct burst {
	const struct large_who *who;
	const struct burst_kind *kind;
	union large_ma ma;
};

struct taken {
	unsigned int nr;
	void *objs[MOST];
};

static DEFINE_PER_CPU(struct taken, taken);

static int take(void *arg)
{
	struct burst *burst = arg;
	struct taken *mine = this_cpu_ptr(&taken);
	unsigned int i;
	void *obj;

	mine->nr = 0;
	for (i = 0; i < burst->kind->each; i++) {
		obj = burst->who->alloc(&burst->ma, burst->kind->size);
		if (obj)
			mine->objs[mine->nr++] = obj;
	}
	return 0;
}

static void give(void *arg)
{
	struct burst *burst = arg;
	struct taken *mine = this_cpu_ptr(&taken);

	while (mine->nr)
		burst->who->free(&burst->ma, burst->kind->size, mine->objs[--mine->nr]);
}

static void run(struct kunit *test, struct burst *burst, const char *when)
{
	unsigned int got = 0;
	char work[40];
	int cpu;

	KUNIT_ASSERT_EQ(test, stop_machine(take, burst, cpu_online_mask), 0);
	for_each_online_cpu(cpu)
		got += per_cpu(taken, cpu).nr;
	on_each_cpu(give, burst, 1);
	bench_settle();
	snprintf(work, sizeof(work), "%s_%s", burst->kind->name, when);
	bench_report_number(test, work, burst->who->name, got);
	/* Once for all contenders. */
	if (burst->who == &large_whos[large_nr_whos - 1])
		bench_report_number(test, work, LARGE_ASKED,
				    burst->kind->each * num_online_cpus());
}

static void bench_all_cpus_burst(struct kunit *test)
{
	const unsigned int nr = ARRAY_SIZE(kinds) * large_nr_whos;
	struct burst *bursts = kunit_kcalloc(test, nr, sizeof(*bursts), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, bursts);
	for (i = 0; i < nr; i++) {
		struct burst *burst = &bursts[i];

		burst->who = &large_whos[i % large_nr_whos];
		burst->kind = &kinds[i / large_nr_whos];
		KUNIT_ASSERT_EQ(test, burst->who->init(&burst->ma, burst->kind->init,
						       burst->kind->percpu), 0);
		run(test, burst, "fresh");
		run(test, burst, "second");
		run(test, burst, "third");
	}
	msleep(IDLE_SECONDS * MSEC_PER_SEC);
	for (i = 0; i < nr; i++) {
		run(test, &bursts[i], "idle");
		bursts[i].who->destroy(&bursts[i].ma);
	}
}

static struct kunit_case memalloc_bench_large_burst_cases[] = {
	KUNIT_CASE(bench_all_cpus_burst),
	{}
};

static struct kunit_suite memalloc_bench_large_burst_suite = {
	.name = "bpf_memalloc_large_burst",
	.init = large_init,
	.test_cases = memalloc_bench_large_burst_cases,
};

kunit_test_suite(memalloc_bench_large_burst_suite);
