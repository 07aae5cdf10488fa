// SPDX-License-Identifier: GPL-2.0-only
/* Benchmark of the BPF memory allocator: waiting, weighing, and filling maps. */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/vmstat.h>
#include "memalloc_bench.h"

/* Refills and grace periods have their turn. */
void bench_settle(void)
{
	msleep(50);
	rcu_barrier();
	rcu_barrier_tasks_trace();
	msleep(50);
}

/* Pages of the slab and of the per-CPU allocator. */
long bench_pages_in_use(void)
{
	return global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B) +
	       global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B) +
	       pcpu_nr_pages();
}

/* Earlier works' leftovers go first; statistics of pages are per CPU for a while. */
long bench_settled_pages(void)
{
	rcu_barrier();
	rcu_barrier_tasks_trace();
	rcu_barrier();
	msleep(2500);
	return bench_pages_in_use();
}

/* As a program does it: in RCU, on one CPU. */
int bench_update(struct bpf_map *map, u64 key, u64 flags)
{
	u64 value = 1;
	int err;

	rcu_read_lock();
	migrate_disable();
	err = map->ops->map_update_elem(map, &key, &value, flags);
	migrate_enable();
	rcu_read_unlock();
	return err;
}

/* Who finds the allocator empty waits until it is not: what counts is the result. */
int bench_put(struct bpf_map *map, u64 key, u64 flags)
{
	int err = bench_update(map, key, flags), tries;

	for (tries = 0; err == -ENOMEM && tries < 1000; tries++) {
		usleep_range(50, 200);
		err = bench_update(map, key, flags);
	}
	return err;
}

void bench_put_keys(struct kunit *test, struct bpf_map *map, u64 from, u64 to)
{
	u64 key;

	for (key = from; key < to; key++)
		KUNIT_ASSERT_EQ(test, bench_put(map, key, BPF_ANY), 0);
}

void bench_delete_keys(struct bpf_map *map, u64 from, u64 to)
{
	u64 key;

	for (key = from; key < to; key++) {
		rcu_read_lock();
		migrate_disable();
		map->ops->map_delete_elem(map, &key);
		migrate_enable();
		rcu_read_unlock();
	}
}
