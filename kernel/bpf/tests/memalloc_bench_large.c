// SPDX-License-Identifier: GPL-2.0-only
/* Benchmark of large machines: the contenders, and getting many objects of one. */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include "memalloc_bench_large.h"

static int ours_init(union large_ma *ma, int size, bool percpu)
{
	return bpf_mem_alloc_init(&ma->ours, size, percpu);
}

static void ours_destroy(union large_ma *ma)
{
	bpf_mem_alloc_destroy(&ma->ours);
}

static void *ours_alloc(union large_ma *ma, size_t size)
{
	return size ? bpf_mem_alloc(&ma->ours, size) : bpf_mem_cache_alloc(&ma->ours);
}

static void ours_free(union large_ma *ma, size_t size, void *obj)
{
	if (size)
		bpf_mem_free(&ma->ours, obj);
	else
		bpf_mem_cache_free(&ma->ours, obj);
}

static void ours_free_rcu(union large_ma *ma, size_t size, void *obj)
{
	if (size)
		bpf_mem_free_rcu(&ma->ours, obj);
	else
		bpf_mem_cache_free_rcu(&ma->ours, obj);
}

#ifdef BPF_MEMALLOC_PEER
static int peer_init(union large_ma *ma, int size, bool percpu)
{
	return peer_mem_alloc_init(&ma->peer, size, percpu);
}

static void peer_destroy(union large_ma *ma)
{
	peer_mem_alloc_destroy(&ma->peer);
}

static void *peer_alloc(union large_ma *ma, size_t size)
{
	return size ? peer_mem_alloc(&ma->peer, size) : peer_mem_cache_alloc(&ma->peer);
}

static void peer_free(union large_ma *ma, size_t size, void *obj)
{
	if (size)
		peer_mem_free(&ma->peer, obj);
	else
		peer_mem_cache_free(&ma->peer, obj);
}

static void peer_free_rcu(union large_ma *ma, size_t size, void *obj)
{
	if (size)
		peer_mem_free_rcu(&ma->peer, obj);
	else
		peer_mem_cache_free_rcu(&ma->peer, obj);
}
#endif

const struct large_who large_whos[] = {
	{ "ours", ours_init, ours_destroy, ours_alloc, ours_free, ours_free_rcu,
	  &htab_map_ops, &htab_percpu_map_ops },
#ifdef BPF_MEMALLOC_PEER
	{ "peer", peer_init, peer_destroy, peer_alloc, peer_free, peer_free_rcu,
	  &peer_htab_map_ops, &peer_htab_percpu_map_ops },
#endif
};

const unsigned int large_nr_whos = ARRAY_SIZE(large_whos);

/*
 * For .init of each suite: on one CPU, and not on the first, which keeps time for
 * the others.
 */
int large_init(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current,
						   cpumask_of(cpumask_last(cpu_online_mask))), 0);
	return bench_init(test);
}

KUNIT_DEFINE_ACTION_WRAPPER(free_objs, vfree, const void *);

/* Room for @nr objects until the test ends. */
void **large_objs(struct kunit *test, unsigned int nr)
{
	void **objs = vzalloc(array_size(nr, sizeof(*objs)));

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_objs, objs), 0);
	return objs;
}

/* @nr objects of a fixed size; who finds none waits. Returns how many there were. */
unsigned int large_get(const struct large_who *who, union large_ma *ma, void **objs,
		       unsigned int nr)
{
	unsigned int got = 0, missed = 0;

	while (got < nr && missed < nr) {
		migrate_disable();
		objs[got] = who->alloc(ma, 0);
		migrate_enable();
		if (objs[got]) {
			got++;
		} else {
			missed++;
			usleep_range(50, 200);
		}
	}
	return got;
}

/* Back again, all of them. */
void large_put(const struct large_who *who, union large_ma *ma, void **objs, unsigned int nr)
{
	while (nr) {
		migrate_disable();
		who->free(ma, 0, objs[--nr]);
		migrate_enable();
	}
}
