// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what a burst gets, ours and the peer's.
 *
 * Interrupts are off during the burst, so no refill can come in between: what
 * is there at its start is all there is.
 */
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "memalloc_bench.h"

#define ASKED	10000
#define AGAIN	1000

static void *had[ASKED];

static const struct unit {
	unsigned int size;	/* bytes, with the 8 of the header */
	const char *name;
} units[] = {
	{ 16, "16" }, { 32, "32" }, { 64, "64" }, { 96, "96" }, { 128, "128" }, { 192, "192" },
	{ 256, "256" }, { 512, "512" }, { 1024, "1024" }, { 2048, "2048" }, { 4096, "4096" },
};

KUNIT_ARRAY_PARAM_DESC(unit, units, name);

static void report(struct kunit *test, const char *what, const char *who, unsigned int got)
{
	const struct unit *unit = test->param_value;
	char work[32];

	snprintf(work, sizeof(work), "burst_%s_%u", what, unit->size);
	bench_report_number(test, work, who, got);
}

/* Objects had of @asked; they are free again afterwards. */
#define BURST(asked, alloc, free)					\
({									\
	unsigned int __got = 0, __i;					\
	unsigned long __flags;						\
	void *obj;							\
									\
	local_irq_save(__flags);					\
	for (__i = 0; __i < (asked); __i++) {				\
		obj = alloc;						\
		if (obj)						\
			had[__got++] = obj;				\
	}								\
	local_irq_restore(__flags);					\
	migrate_disable();						\
	for (__i = __got; __i--;) {					\
		obj = had[__i];						\
		free;							\
	}								\
	migrate_enable();						\
	bench_settle();							\
	__got;								\
})

/* Many objects with interrupts on, some time ago. */
#define WARM_UP(alloc, free)						\
do {									\
	unsigned int __got = 0, __try;					\
	void *obj;							\
									\
	for (__try = 0; __got < 400 && __try < 4000; __try++) {		\
		migrate_disable();					\
		obj = alloc;						\
		migrate_enable();					\
		if (obj)						\
			had[__got++] = obj;				\
		else							\
			usleep_range(200, 1000);			\
	}								\
	migrate_disable();						\
	while (__got--) {						\
		obj = had[__got];					\
		free;							\
	}								\
	migrate_enable();						\
	bench_settle();							\
} while (0)

#define BURSTS(test, who, init, alloc, free, destroy)			\
do {									\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	report(test, "fresh", who, BURST(ASKED, alloc, free));		\
	destroy;							\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	WARM_UP(alloc, free);						\
	report(test, "warm", who, BURST(ASKED, alloc, free));		\
	destroy;							\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	WARM_UP(alloc, free);						\
	BURST(AGAIN, alloc, free);					\
	report(test, "second", who, BURST(AGAIN, alloc, free));		\
	destroy;							\
} while (0)

static void bench_bursts(struct kunit *test)
{
	int size = ((const struct unit *)test->param_value)->size - 8;
	struct bpf_mem_alloc ours;
	unsigned int got;

#ifdef BPF_MEMALLOC_PEER
	struct peer_mem_alloc peer;

	BURSTS(test, "peer", peer_mem_alloc_init(&peer, size, false),
	       peer_mem_cache_alloc(&peer), peer_mem_cache_free(&peer, obj),
	       peer_mem_alloc_destroy(&peer));
#endif
	BURSTS(test, "ours", bpf_mem_alloc_init(&ours, size, false),
	       bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj),
	       bpf_mem_alloc_destroy(&ours));
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ours, size, false), 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(&ours, 0, ASKED), 0);
	got = BURST(ASKED, bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj));
	report(test, "reserve", "ours", got);
	KUNIT_EXPECT_EQ(test, got, ASKED);
	bpf_mem_alloc_destroy(&ours);
}

static struct kunit_case memalloc_bench_burst_cases[] = {
	KUNIT_CASE_PARAM(bench_bursts, unit_gen_params),
	{}
};

static struct kunit_suite memalloc_bench_burst_suite = {
	.name = "bpf_memalloc_bench_burst",
	.init = bench_init,
	.test_cases = memalloc_bench_burst_cases,
};

kunit_test_suite(memalloc_bench_burst_suite);
