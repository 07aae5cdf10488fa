// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what one operation costs, beside what else there is.
 *
 * All contenders do the same work, in turn, in one run: ours, the base's own
 * allocator under other names (the peer), kmalloc(), kmalloc_nolock() where the
 * tree has it, a slab cache, and the two kinds of preallocated object pools in
 * the tree, objpool and percpu_freelist.
 * Calls are direct, as in the users, so each contender gets its own copy of the
 * works by macro.
 *
 * Under QEMU with -icount shift=0,sleep=off a nanosecond of the guest is one
 * instruction, so the figures are exact and the same in each run. Anywhere
 * else compare them only within one run.
 */
#include <linux/objpool.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include "../percpu_freelist.h"
#include "memalloc_bench.h"

#define SIZE		64
#define PAIRS		100000
#define ROUND_OBJS	25600	/* objects in all rounds of a sample */
#define LONGEST_ROUND	256
#define GROWTH		100000
#define LATENCIES	20000
#define POOL_OBJS	1024	/* of pools that do not grow */

enum round_order { LIFO, FIFO };

struct contender {
	const char *name;
	int (*open)(struct kunit *test);
	void (*close)(void);
	u64 (*pairs)(unsigned long *errors);
	u64 (*rounds)(enum round_order order, unsigned int nr, unsigned long *errors);
	u64 (*rcu_rounds)(unsigned int nr, unsigned long *errors);
	u64 (*grow)(u64 *back, unsigned long *errors);
	void (*latencies)(u32 *times);
};

static void *objs[GROWTH];

/*
 * An object that is handed out twice while it is out is an error, as is none at
 * all. Looked at outside of the time that is measured.
 */
static unsigned long count_errors(unsigned int nr)
{
	unsigned long errors = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!objs[i])
			errors++;
		else
			*(unsigned int *)(objs[i] + 16) = i;
	}
	for (i = 0; i < nr; i++)
		errors += objs[i] && *(unsigned int *)(objs[i] + 16) != i;
	return errors;
}

/* The works of a contender whose objects come from @alloc and go by @free. */
#define DEFINE_WORKS(who, alloc, free)						\
static u64 who##_pairs(unsigned long *errors)					\
{										\
	unsigned long missed = 0;						\
	u64 start, empty;							\
	void *obj;								\
	int i;									\
										\
	start = ktime_get_ns();							\
	for (i = 0; i < PAIRS; i++)						\
		barrier();							\
	empty = ktime_get_ns() - start;						\
	start = ktime_get_ns();							\
	for (i = 0; i < PAIRS; i++) {						\
		obj = alloc;							\
		missed += !obj;							\
		free;								\
	}									\
	*errors += missed;							\
	return ktime_get_ns() - start - empty;					\
}										\
										\
static u64 who##_rounds(enum round_order order, unsigned int nr,		\
			unsigned long *errors)					\
{										\
	unsigned int round, i;							\
	u64 start, time = 0;							\
	void *obj;								\
										\
	for (round = 0; round < ROUND_OBJS / nr; round++) {			\
		start = ktime_get_ns();						\
		for (i = 0; i < nr; i++) {					\
			obj = alloc;						\
			objs[i] = obj;						\
		}								\
		time += ktime_get_ns() - start;					\
		*errors += count_errors(nr);					\
		start = ktime_get_ns();						\
		for (i = 0; i < nr; i++) {					\
			obj = objs[order == LIFO ? nr - 1 - i : i];		\
			if (obj)						\
				free;						\
		}								\
		time += ktime_get_ns() - start;					\
	}									\
	return time;								\
}										\
										\
static void who##_latencies(u32 *times)						\
{										\
	unsigned int i, depth = 0;						\
	u64 start;								\
	void *obj;								\
										\
	/* Up to 128 and down again, so that all slow paths are in. */		\
	for (i = 0; i < LATENCIES; i++) {					\
		if (i / 128 % 2) {						\
			obj = objs[--depth];					\
			start = ktime_get_ns();					\
			if (obj)						\
				free;						\
			times[i] = ktime_get_ns() - start;			\
		} else {							\
			start = ktime_get_ns();					\
			obj = alloc;						\
			times[i] = ktime_get_ns() - start;			\
			objs[depth++] = obj;					\
		}								\
	}									\
	while (depth) {								\
		obj = objs[--depth];						\
		if (obj)							\
			free;							\
	}									\
}

/* From nothing to many objects, so that all of them come from the slab. */
#define DEFINE_GROWTH(who, alloc, free)						\
static u64 who##_grow(u64 *back, unsigned long *errors)				\
{										\
	u64 start, time;							\
	unsigned int i;								\
	void *obj;								\
										\
	start = ktime_get_ns();							\
	for (i = 0; i < GROWTH; i++) {						\
		obj = alloc;							\
		objs[i] = obj;							\
	}									\
	time = ktime_get_ns() - start;						\
	*errors += count_errors(GROWTH);					\
	start = ktime_get_ns();							\
	for (i = 0; i < GROWTH; i++) {						\
		obj = objs[i];							\
		if (obj)							\
			free;							\
	}									\
	*back = ktime_get_ns() - start;						\
	return time;								\
}

/* Objects that come back after a grace period, which nobody waits for here. */
#define DEFINE_RCU_ROUNDS(who, alloc, free_rcu)					\
static u64 who##_rcu_rounds(unsigned int nr, unsigned long *errors)		\
{										\
	unsigned int round, i;							\
	u64 start, time = 0;							\
	void *obj;								\
										\
	for (round = 0; round < 100; round++) {					\
		start = ktime_get_ns();						\
		for (i = 0; i < nr; i++) {					\
			obj = alloc;						\
			objs[i] = obj;						\
		}								\
		time += ktime_get_ns() - start;					\
		*errors += count_errors(nr);					\
		start = ktime_get_ns();						\
		for (i = 0; i < nr; i++) {					\
			obj = objs[i];						\
			if (obj)						\
				free_rcu;					\
		}								\
		time += ktime_get_ns() - start;					\
		migrate_enable();						\
		synchronize_rcu();						\
		migrate_disable();						\
	}									\
	return time;								\
}

/* Ours */

static struct bpf_mem_alloc ours;

static int ours_open(struct kunit *test)
{
	return bpf_mem_alloc_init(&ours, SIZE, false);
}

static void ours_close(void)
{
	bpf_mem_alloc_destroy(&ours);
}

DEFINE_WORKS(ours, bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj))
DEFINE_GROWTH(ours, bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj))
DEFINE_RCU_ROUNDS(ours, bpf_mem_cache_alloc(&ours), bpf_mem_cache_free_rcu(&ours, obj))

/* The peer */

#ifdef BPF_MEMALLOC_PEER
static struct peer_mem_alloc peer;

static int peer_open(struct kunit *test)
{
	return peer_mem_alloc_init(&peer, SIZE, false);
}

static void peer_close(void)
{
	peer_mem_alloc_destroy(&peer);
}

DEFINE_WORKS(peer, peer_mem_cache_alloc(&peer), peer_mem_cache_free(&peer, obj))
DEFINE_GROWTH(peer, peer_mem_cache_alloc(&peer), peer_mem_cache_free(&peer, obj))
DEFINE_RCU_ROUNDS(peer, peer_mem_cache_alloc(&peer), peer_mem_cache_free_rcu(&peer, obj))
#endif

/* kmalloc(), and a cache of one's own */

static struct kmem_cache *cache;

static int kmalloc_open(struct kunit *test)
{
	return 0;
}

static void kmalloc_close(void)
{
}

static int cache_open(struct kunit *test)
{
	cache = kmem_cache_create("bpf_mem_bench", SIZE, 0, SLAB_NO_MERGE, NULL);
	return cache ? 0 : -ENOMEM;
}

static void cache_close(void)
{
	kmem_cache_destroy(cache);
}

DEFINE_WORKS(kmalloc, kmalloc(SIZE, GFP_ATOMIC), kfree(obj))
DEFINE_GROWTH(kmalloc, kzalloc(SIZE, GFP_ATOMIC | __GFP_ACCOUNT), kfree(obj))
DEFINE_WORKS(kmem_cache, kmem_cache_alloc(cache, GFP_ATOMIC), kmem_cache_free(cache, obj))
DEFINE_GROWTH(kmem_cache, kmem_cache_zalloc(cache, GFP_ATOMIC | __GFP_ACCOUNT),
	      kmem_cache_free(cache, obj))

/* kmalloc() for any context */

#ifdef kmalloc_nolock
static int nolock_open(struct kunit *test)
{
	return bench_nolock_open();
}

DEFINE_WORKS(nolock, kmalloc_nolock(SIZE, 0, NUMA_NO_NODE), kfree_nolock(obj))
DEFINE_GROWTH(nolock, kmalloc_nolock(SIZE, __GFP_ZERO | __GFP_ACCOUNT, NUMA_NO_NODE),
	      kfree_nolock(obj))
#endif

/* Pools that are filled once */

static struct objpool_head objpool;

static int objpool_init_obj(void *obj, void *context)
{
	return 0;
}

static int objpool_open(struct kunit *test)
{
	return objpool_init(&objpool, POOL_OBJS, SIZE, GFP_KERNEL, NULL, objpool_init_obj, NULL);
}

static void objpool_close(void)
{
	objpool_fini(&objpool);
}

DEFINE_WORKS(objpool, objpool_pop(&objpool), objpool_push(obj, &objpool))

static struct pcpu_freelist freelist;
static char freelist_objs[POOL_OBJS * SIZE] __aligned(8);

static int freelist_open(struct kunit *test)
{
	int err = pcpu_freelist_init(&freelist);

	if (!err)
		pcpu_freelist_populate(&freelist, freelist_objs, SIZE, POOL_OBJS);
	return err;
}

static void freelist_close(void)
{
	pcpu_freelist_destroy(&freelist);
}

DEFINE_WORKS(freelist, pcpu_freelist_pop(&freelist), pcpu_freelist_push(&freelist, obj))

static const struct contender contenders[] = {
	{ "ours", ours_open, ours_close, ours_pairs, ours_rounds, ours_rcu_rounds, ours_grow,
	  ours_latencies },
#ifdef BPF_MEMALLOC_PEER
	{ "peer", peer_open, peer_close, peer_pairs, peer_rounds, peer_rcu_rounds, peer_grow,
	  peer_latencies },
#endif
	{ "kmalloc", kmalloc_open, kmalloc_close, kmalloc_pairs, kmalloc_rounds, NULL,
	  kmalloc_grow, kmalloc_latencies },
#ifdef kmalloc_nolock
	{ "kmalloc_nolock", nolock_open, kmalloc_close, nolock_pairs, nolock_rounds, NULL,
	  nolock_grow, nolock_latencies },
#endif
	{ "kmem_cache", cache_open, cache_close, kmem_cache_pairs, kmem_cache_rounds, NULL,
	  kmem_cache_grow, kmem_cache_latencies },
	{ "objpool", objpool_open, objpool_close, objpool_pairs, objpool_rounds, NULL, NULL,
	  objpool_latencies },
	{ "percpu_freelist", freelist_open, freelist_close, freelist_pairs, freelist_rounds,
	  NULL, NULL, freelist_latencies },
};

/* Every contender once, and then all of them again. */
#define for_each_sample(i, who)						\
	for ((i) = 0;							\
	     (i) < BENCH_SAMPLES * ARRAY_SIZE(contenders) &&		\
	     ((who) = &contenders[(i) % ARRAY_SIZE(contenders)]);	\
	     (i)++)

/* Returns false if the machine has no such contender. */
static bool open_one(struct kunit *test, const struct contender *who)
{
	int err = who->open(test);

	if (err == -EOPNOTSUPP)
		return false;
	KUNIT_ASSERT_EQ_MSG(test, err, 0, "%s", who->name);
	migrate_disable();
	return true;
}

static void close_one(const struct contender *who)
{
	migrate_enable();
	who->close();
}

static void bench_contenders_are_different_code(struct kunit *test)
{
#ifdef BPF_MEMALLOC_PEER
	KUNIT_EXPECT_NE(test, sizeof(ours), sizeof(peer));
	KUNIT_EXPECT_NE(test, memcmp(bpf_mem_cache_alloc, peer_mem_cache_alloc, 64), 0);
	KUNIT_EXPECT_NE(test, memcmp(bpf_mem_cache_free, peer_mem_cache_free, 64), 0);
#else
	kunit_skip(test, "no peer: the base has no allocator of its own");
#endif
}

static void bench_hot_pair(struct kunit *test)
{
	const struct contender *who;
	unsigned long errors;
	unsigned int sample;
	u64 time;

	for_each_sample(sample, who) {
		errors = 0;
		if (!open_one(test, who))
			continue;
		who->pairs(&errors);	/* warms up */
		time = who->pairs(&errors);
		close_one(who);
		bench_report(test, "hot_pair", who->name, time, PAIRS, errors);
		KUNIT_EXPECT_EQ(test, errors, 0);
	}
}

struct round_kind {
	const char *name;
	enum round_order order;
	unsigned int nr;
};

static const struct round_kind round_kinds[] = {
	{ "lifo_8", LIFO, 8 }, { "lifo_32", LIFO, 32 }, { "lifo_64", LIFO, 64 },
	{ "lifo_256", LIFO, 256 }, { "fifo_8", FIFO, 8 }, { "fifo_32", FIFO, 32 },
	{ "fifo_64", FIFO, 64 }, { "fifo_256", FIFO, 256 },
};

KUNIT_ARRAY_PARAM_DESC(round_kind, round_kinds, name);

static void bench_rounds(struct kunit *test)
{
	const struct round_kind *kind = test->param_value;
	const struct contender *who;
	unsigned long errors, cold;
	unsigned int sample;
	u64 time;

	for_each_sample(sample, who) {
		errors = 0;
		cold = 0;
		if (!open_one(test, who))
			continue;
		/* The peer needs more than one round until it holds enough. */
		who->rounds(kind->order, kind->nr, &cold);
		time = who->rounds(kind->order, kind->nr, &errors);
		close_one(who);
		bench_report(test, kind->name, who->name, time, ROUND_OBJS, errors);
		bench_expect_all(test, who->name, errors);
	}
}

static void bench_rcu_round(struct kunit *test)
{
	const struct contender *who;
	unsigned long errors;
	unsigned int sample;
	u64 time;

	for_each_sample(sample, who) {
		if (!who->rcu_rounds)
			continue;
		errors = 0;
		if (!open_one(test, who))
			continue;
		who->rcu_rounds(32, &errors);
		errors = 0;
		time = who->rcu_rounds(32, &errors);
		close_one(who);
		bench_report(test, "free_rcu_32", who->name, time, 3200, errors);
		bench_expect_all(test, who->name, errors);
	}
}

static void bench_growth(struct kunit *test)
{
	const struct contender *who;
	unsigned long errors;
	u64 time, back;
	unsigned int sample;

	for_each_sample(sample, who) {
		if (!who->grow)
			continue;
		errors = 0;
		if (!open_one(test, who))
			continue;
		time = who->grow(&back, &errors);
		close_one(who);
		rcu_barrier_tasks_trace();
		rcu_barrier();
		bench_report(test, "growth", who->name, time, GROWTH, errors);
		bench_report(test, "growth_back", who->name, back, GROWTH - errors, 0);
		bench_expect_all(test, who->name, errors);
	}
}

static int by_time(const void *a, const void *b)
{
	return (int)*(const u32 *)a - (int)*(const u32 *)b;
}

/* Each operation by itself, with the cost of looking at the clock in it. */
static void bench_longest(struct kunit *test)
{
	u32 *times = kunit_kcalloc(test, LATENCIES, sizeof(*times), GFP_KERNEL);
	const struct contender *who;
	unsigned int sample;

	KUNIT_ASSERT_NOT_NULL(test, times);
	for_each_sample(sample, who) {
		if (!open_one(test, who))
			continue;
		who->latencies(times);
		who->latencies(times);
		close_one(who);
		sort(times, LATENCIES, sizeof(*times), by_time, NULL);
		bench_report_number(test, "single_median", who->name, times[LATENCIES / 2]);
		bench_report_number(test, "single_p99.9", who->name,
				    times[LATENCIES - LATENCIES / 1000]);
		bench_report_number(test, "single_longest", who->name, times[LATENCIES - 1]);
	}
}

/* Size classes */

static const u16 mixed_sizes[] = { 8, 24, 56, 64, 100, 120, 200, 248, 400, 700, 1500, 3000 };

#define MIX_ROUNDS	500

#define MIX(test, who, init, alloc, free, destroy)			\
do {									\
	unsigned long errors = 0;					\
	u64 start, time = 0, pair;					\
	unsigned int round, i;						\
	void *obj;							\
									\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	migrate_disable();						\
	for (round = 0; round < MIX_ROUNDS; round++) {			\
		start = ktime_get_ns();					\
		for (i = 0; i < ARRAY_SIZE(mixed_sizes); i++) {		\
			size_t size = mixed_sizes[i];			\
									\
			objs[i] = alloc;				\
			errors += !objs[i];				\
		}							\
		for (i = 0; i < ARRAY_SIZE(mixed_sizes); i++) {		\
			obj = objs[i];					\
			free;						\
		}							\
		/* The first half lets every class get its stock. */	\
		if (round >= MIX_ROUNDS / 2)				\
			time += ktime_get_ns() - start;			\
		else							\
			errors = 0;					\
	}								\
	start = ktime_get_ns();						\
	for (i = 0; i < PAIRS; i++) {					\
		size_t size = SIZE;					\
									\
		obj = alloc;						\
		errors += !obj;						\
		free;							\
	}								\
	pair = ktime_get_ns() - start;					\
	migrate_enable();						\
	destroy;							\
	bench_report(test, "class_mix", who, time,			\
		     MIX_ROUNDS / 2 * ARRAY_SIZE(mixed_sizes), errors);	\
	bench_report(test, "class_pair", who, pair, PAIRS, errors);	\
} while (0)

static void bench_classes(struct kunit *test)
{
	int sample;

	for (sample = 0; sample < BENCH_SAMPLES; sample++) {
		MIX(test, "ours", bpf_mem_alloc_init(&ours, 0, false), bpf_mem_alloc(&ours, size),
		    bpf_mem_free(&ours, obj), bpf_mem_alloc_destroy(&ours));
#ifdef BPF_MEMALLOC_PEER
		MIX(test, "peer", peer_mem_alloc_init(&peer, 0, false),
		    peer_mem_alloc(&peer, size), peer_mem_free(&peer, obj),
		    peer_mem_alloc_destroy(&peer));
#endif
		MIX(test, "kmalloc", 0, kmalloc(size, GFP_ATOMIC), kfree(obj), (void)0);
#ifdef kmalloc_nolock
		if (!nolock_open(test))
			MIX(test, "kmalloc_nolock", 0, kmalloc_nolock(size, 0, NUMA_NO_NODE),
			    kfree_nolock(obj), (void)0);
#endif
	}
}

/* Per-CPU areas: what an allocator gives is the address of an area's pointer. */

#define AREAS		4	/* at a time; no refill can bring many */
#define AREA_ROUNDS	5000

#define PERCPU(test, who, init, alloc, free, destroy)			\
do {									\
	unsigned long errors = 0;					\
	u64 start, time = 0;						\
	unsigned int round, i;						\
	void *obj;							\
									\
	KUNIT_ASSERT_EQ(test, init, 0);					\
	migrate_disable();						\
	for (round = 0; round < AREA_ROUNDS; round++) {			\
		start = ktime_get_ns();					\
		for (i = 0; i < AREAS; i++)				\
			objs[i] = alloc;				\
		for (i = 0; i < AREAS; i++) {				\
			obj = objs[i];					\
			if (obj)					\
				free;					\
			errors += !obj || (i && obj == objs[i - 1]) ||	\
				  !*(void **)obj;			\
		}							\
		/* The first half fills the stock. */			\
		if (round >= AREA_ROUNDS / 2)				\
			time += ktime_get_ns() - start;			\
		else							\
			errors = 0;					\
	}								\
	migrate_enable();						\
	destroy;							\
	bench_report(test, "percpu_areas", who, time,			\
		     AREA_ROUNDS / 2 * AREAS, errors);			\
} while (0)

static void bench_percpu(struct kunit *test)
{
	int sample;

	for (sample = 0; sample < BENCH_SAMPLES; sample++) {
		PERCPU(test, "ours", bpf_mem_alloc_init(&ours, SIZE, true),
		       bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj),
		       bpf_mem_alloc_destroy(&ours));
#ifdef BPF_MEMALLOC_PEER
		PERCPU(test, "peer", peer_mem_alloc_init(&peer, SIZE, true),
		       peer_mem_cache_alloc(&peer), peer_mem_cache_free(&peer, obj),
		       peer_mem_alloc_destroy(&peer));
#endif
	}
}

/* Life of an allocator */

#define LIVES	50

#define LIFE(test, who, size, init, destroy)				\
do {									\
	u64 start = ktime_get_ns(), time;				\
	unsigned int i;							\
									\
	for (i = 0; i < LIVES; i++) {					\
		KUNIT_ASSERT_EQ(test, init, 0);				\
		destroy;						\
	}								\
	time = ktime_get_ns() - start;					\
	bench_report(test, (size) ? "init_destroy_fixed" : "init_destroy_classes", who, time, \
		     LIVES, 0);						\
	rcu_barrier();							\
} while (0)

/* One that has been in use is destroyed: what it holds goes with it. */
#define FULL	1000

#define END_OF_FULL(test, who, init, alloc, free, destroy)		\
do {									\
	unsigned int life, i, got;					\
	u64 start, time = 0;						\
	void *obj;							\
									\
	for (life = 0; life < LIVES; life++) {				\
		start = ktime_get_ns();					\
		KUNIT_ASSERT_EQ(test, init, 0);				\
		time += ktime_get_ns() - start;				\
		migrate_disable();					\
		for (i = 0, got = 0; i < FULL; i++) {			\
			obj = alloc;					\
			if (obj)					\
				objs[got++] = obj;			\
		}							\
		while (got) {						\
			obj = objs[--got];				\
			free;						\
		}							\
		migrate_enable();					\
		start = ktime_get_ns();					\
		destroy;						\
		time += ktime_get_ns() - start;				\
		rcu_barrier_tasks_trace();				\
		rcu_barrier();						\
	}								\
	bench_report(test, "init_destroy_full", who, time, LIVES, 0);	\
} while (0)

static void bench_life_of_full(struct kunit *test)
{
	int sample;

	for (sample = 0; sample < BENCH_SAMPLES; sample++) {
		END_OF_FULL(test, "ours", bpf_mem_alloc_init(&ours, SIZE, false),
			    bpf_mem_cache_alloc(&ours), bpf_mem_cache_free(&ours, obj),
			    bpf_mem_alloc_destroy(&ours));
#ifdef BPF_MEMALLOC_PEER
		END_OF_FULL(test, "peer", peer_mem_alloc_init(&peer, SIZE, false),
			    peer_mem_cache_alloc(&peer), peer_mem_cache_free(&peer, obj),
			    peer_mem_alloc_destroy(&peer));
#endif
	}
}

static void bench_life(struct kunit *test)
{
	static const int sizes[] = { SIZE, 0 };
	unsigned int s;
	int sample;

	for (sample = 0; sample < BENCH_SAMPLES; sample++) {
		for (s = 0; s < ARRAY_SIZE(sizes); s++) {
			LIFE(test, "ours", sizes[s], bpf_mem_alloc_init(&ours, sizes[s], false),
			     bpf_mem_alloc_destroy(&ours));
#ifdef BPF_MEMALLOC_PEER
			LIFE(test, "peer", sizes[s], peer_mem_alloc_init(&peer, sizes[s], false),
			     peer_mem_alloc_destroy(&peer));
#endif
		}
	}
}

static struct kunit_case memalloc_bench_cases[] = {
	KUNIT_CASE(bench_contenders_are_different_code),
	KUNIT_CASE(bench_hot_pair),
	KUNIT_CASE_PARAM(bench_rounds, round_kind_gen_params),
	KUNIT_CASE(bench_rcu_round),
	KUNIT_CASE(bench_growth),
	KUNIT_CASE(bench_longest),
	KUNIT_CASE(bench_classes),
	KUNIT_CASE(bench_percpu),
	KUNIT_CASE(bench_life),
	KUNIT_CASE(bench_life_of_full),
	{}
};

static struct kunit_suite memalloc_bench_suite = {
	.name = "bpf_memalloc_bench",
	.init = bench_init,
	.test_cases = memalloc_bench_cases,
};

kunit_test_suite(memalloc_bench_suite);
