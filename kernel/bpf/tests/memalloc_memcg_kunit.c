// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: whoever created the allocator pays, not the task that
 * a refill happens to interrupt. The test makes a memory cgroup in which
 * nobody lives, creates an allocator on its behalf, and lets this thread, which
 * is in the root cgroup, use it.
 */
#include <kunit/test.h>
#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mount.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "memalloc_cgroup_util.h"
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

#define CAN_MEASURE	(IS_ENABLED(CONFIG_MEMCG) && CAN_MAKE_CGROUP)

#if CAN_MEASURE

#define OBJECTS	500
#define NAME	"bpf_memalloc_kunit"

struct payer {
	struct vfsmount *mnt;
	struct dentry *dir;
	struct mem_cgroup *memcg;
};

static void make_payer(struct kunit *test, struct payer *payer)
{
	struct cgroup_subsys_state *css;

	payer->mnt = test_mount_cgroups();
	KUNIT_ASSERT_FALSE(test, IS_ERR(payer->mnt));
	KUNIT_ASSERT_EQ(test, test_write_cgroup(payer->mnt, "cgroup.subtree_control", "+memory"),
			0);
	payer->dir = test_make_cgroup(payer->mnt, NAME);
	KUNIT_ASSERT_FALSE(test, IS_ERR(payer->dir));
	css = css_tryget_online_from_dir(payer->dir, &memory_cgrp_subsys);
	KUNIT_ASSERT_FALSE(test, IS_ERR(css));
	payer->memcg = mem_cgroup_from_css(css);
}

static int remove_payer(struct payer *payer)
{
	int err;

	mem_cgroup_put(payer->memcg);
	err = test_remove_cgroup(payer->mnt, payer->dir);
	kern_unmount(payer->mnt);
	return err;
}

static long paid(struct payer *payer)
{
	return page_counter_read(&payer->memcg->memory) * PAGE_SIZE;
}

static void test_creator_pays_for_refills(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, OBJECTS, sizeof(*objs), GFP_KERNEL);
	struct payer payer = {};
	struct bpf_mem_alloc ma = {};
	struct mem_cgroup *old;
	long before, during;
	unsigned int nr;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	make_payer(test, &payer);
	before = paid(&payer);
	old = set_active_memcg(payer.memcg);
	err = bpf_mem_alloc_init(&ma, 4000, false);
	set_active_memcg(old);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_NOT_NULL(test, ma.owner->objcg);

	nr = memalloc_test_fill(&ma, objs, OBJECTS);
	during = paid(&payer) - before;
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, nr, OBJECTS);
	KUNIT_EXPECT_GE(test, during, OBJECTS * 4000L);
	/* The cgroup may go although the allocator's worker may still need it. */
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

/* At the limit: SPARE pages are left to the allocator or map, which takes them all. */
#define SPARE		512
#define CHURN		300
#define ELEMENTS	2000

static void set_limit(struct kunit *test, struct payer *payer, unsigned long pages)
{
	char bytes[24];

	snprintf(bytes, sizeof(bytes), "%lu", pages * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, test_write_cgroup(payer->mnt, NAME "/memory.max", bytes), 0);
}

/* Reclaim has run so often for the limit. */
static long reclaims(struct payer *payer)
{
	return atomic_long_read(&payer->memcg->memory_events[MEMCG_MAX]);
}

/* A limit that may be passed by a batch for each CPU, in pages. */
static unsigned long limit_and_batches(struct bpf_mem_pool *pool, unsigned long limit)
{
	return limit + num_online_cpus() * pool->mag.marks.batch *
		       DIV_ROUND_UP(bpf_mem_slab_footprint(pool) + sizeof(void *), PAGE_SIZE);
}

static void limited_ma(struct kunit *test, struct payer *payer, struct bpf_mem_alloc *ma,
		       unsigned long *limit)
{
	struct mem_cgroup *old;
	int err;

	make_payer(test, payer);
	old = set_active_memcg(payer->memcg);
	err = bpf_mem_alloc_init(ma, 4000, false);
	set_active_memcg(old);
	KUNIT_ASSERT_EQ(test, err, 0);
	*limit = page_counter_read(&payer->memcg->memory) + SPARE;
	set_limit(test, payer, *limit);
}

static unsigned int fill_to_limit(struct kunit *test, struct payer *payer,
				  struct bpf_mem_alloc *ma, void **objs, unsigned long limit)
{
	unsigned int nr = memalloc_test_fill(ma, objs, ELEMENTS);

	KUNIT_EXPECT_GT(test, nr, SPARE / 4);
	KUNIT_EXPECT_LT(test, nr, ELEMENTS);
	KUNIT_EXPECT_LE(test, page_counter_read(&payer->memcg->memory), limit);
	return nr;
}

/*
 * An interrupt may come over a task in reclaim, which is charged whatever the
 * limit. Four times the limit was taken in that way.
 */
static void test_limit_is_kept_over_tasks_in_reclaim(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ELEMENTS, sizeof(*objs), GFP_KERNEL);
	unsigned int nr, missed = 0, flags;
	unsigned long limit, most, until;
	struct bpf_mem_alloc ma = {};
	struct payer payer = {};

	KUNIT_ASSERT_NOT_NULL(test, objs);
	limited_ma(test, &payer, &ma, &limit);
	nr = fill_to_limit(test, &payer, &ma, objs, limit);
	most = limit_and_batches(test_pool(&ma), limit);
	until = jiffies + HZ / 2;
	flags = memalloc_noreclaim_save();
	while (time_before(jiffies, until) && nr < ELEMENTS) {
		migrate_disable();
		objs[nr] = bpf_mem_cache_alloc(&ma);
		migrate_enable();
		if (objs[nr])
			nr++;
		else
			missed++;
		cond_resched();
	}
	memalloc_noreclaim_restore(flags);
	memalloc_test_settle(test_pool(&ma));
	KUNIT_EXPECT_GT(test, missed, 1000);
	KUNIT_EXPECT_LE(test, READ_ONCE(payer.memcg->memory.watermark), most);
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

/* As an update by system call does it. */
static void *get_prepared(struct bpf_mem_alloc *ma)
{
	void *obj;

	bpf_mem_alloc_prepare(ma);
	migrate_disable();
	obj = bpf_mem_cache_alloc(ma);
	migrate_enable();
	return obj;
}

static void put(struct bpf_mem_alloc *ma, void *obj)
{
	migrate_disable();
	bpf_mem_cache_free(ma, obj);
	migrate_enable();
}

/* It ran 865 times for 300 overwrites. */
static void test_churn_at_the_limit_runs_no_reclaim(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ELEMENTS, sizeof(*objs), GFP_KERNEL);
	unsigned int nr, i, failed = 0;
	struct bpf_mem_alloc ma = {};
	struct payer payer = {};
	unsigned long limit;
	long before;
	void *obj;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	limited_ma(test, &payer, &ma, &limit);
	nr = fill_to_limit(test, &payer, &ma, objs, limit);
	KUNIT_ASSERT_GE(test, nr, 2);
	put(&ma, objs[--nr]);
	before = reclaims(&payer);
	for (i = 0; i < CHURN; i++) {
		/* The new one, and then the old one goes. */
		obj = get_prepared(&ma);
		failed += !obj;
		if (obj)
			swap(obj, objs[i % nr]);
		put(&ma, obj);
	}
	for (i = 0; i < CHURN; i++) {
		/* The other way round. */
		put(&ma, objs[i % nr]);
		objs[i % nr] = get_prepared(&ma);
		failed += !objs[i % nr];
	}
	KUNIT_EXPECT_EQ(test, failed, 0);
	KUNIT_EXPECT_EQ(test, reclaims(&payer), before);
	KUNIT_EXPECT_LE(test, READ_ONCE(payer.memcg->memory.watermark), limit);
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

/* With nothing left, who asks in vain has reclaim run now and then. */
static void test_asking_in_vain_runs_reclaim_seldom(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ELEMENTS, sizeof(*objs), GFP_KERNEL);
	unsigned long limit, since, asked = 0;
	struct bpf_mem_alloc ma = {};
	struct payer payer = {};
	unsigned int nr;
	long before;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	limited_ma(test, &payer, &ma, &limit);
	nr = fill_to_limit(test, &payer, &ma, objs, limit);
	before = reclaims(&payer);
	since = jiffies;
	while (time_before(jiffies, since + HZ) && nr < ELEMENTS) {
		objs[nr] = get_prepared(&ma);
		nr += !!objs[nr];
		asked++;
		cond_resched();
	}
	memalloc_test_settle(test_pool(&ma));
	kunit_info(test, "%lu asked, reclaim ran %ld times\n", asked, reclaims(&payer) - before);
	KUNIT_EXPECT_GT(test, asked, 1000);
	/* In a second: ten times, each of which tries a few times. */
	KUNIT_EXPECT_GT(test, reclaims(&payer), before);
	KUNIT_EXPECT_LE(test, reclaims(&payer) - before, 500);

	/* A higher limit is of use to the first one who comes. */
	set_limit(test, &payer, limit + SPARE);
	KUNIT_ASSERT_LT(test, nr, ELEMENTS);
	objs[nr] = get_prepared(&ma);
	KUNIT_EXPECT_NOT_NULL(test, objs[nr]);
	nr += !!objs[nr];
	KUNIT_EXPECT_LE(test, page_counter_read(&payer.memcg->memory), limit + SPARE);
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

/* Programs cannot prepare: the refill brings it soon. */
static void test_programs_go_on_after_the_limit_is_raised(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ELEMENTS, sizeof(*objs), GFP_KERNEL);
	struct bpf_mem_alloc ma = {};
	unsigned long limit, since;
	struct payer payer = {};
	unsigned int nr;
	void *obj = NULL;
	bool came;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	limited_ma(test, &payer, &ma, &limit);
	nr = fill_to_limit(test, &payer, &ma, objs, limit);
	set_limit(test, &payer, limit + SPARE);
	since = jiffies;
	came = test_wait_for((obj = memalloc_test_cache_get(&ma)));
	KUNIT_EXPECT_TRUE(test, came);
	KUNIT_EXPECT_LE(test, jiffies - since, HZ / 5);
	put(&ma, obj);
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

/* The same through a hash map. */

struct limited_map {
	struct payer payer;
	int fd;
	struct bpf_map *map;
	unsigned long limit;
	u32 nr;			/* elements: keys are 0 to @nr - 1 */
	u8 *value;
};

static void limited_map(struct kunit *test, struct limited_map *m)
{
	static const union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.key_size = 4,
		.value_size = 4000,
		.max_entries = ELEMENTS,
		.map_flags = BPF_F_NO_PREALLOC,
	};
	struct mem_cgroup *old;
	int err = 0;

	m->value = kunit_kzalloc(test, attr.value_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->value);
	make_payer(test, &m->payer);
	old = set_active_memcg(m->payer.memcg);
	m->fd = test_map_try(&attr);
	set_active_memcg(old);
	test_keep_fd(test, m->fd);
	m->map = test_map(test, m->fd);
	m->limit = page_counter_read(&m->payer.memcg->memory) + SPARE;
	set_limit(test, &m->payer, m->limit);
	for (m->nr = 0; m->nr < ELEMENTS; m->nr++) {
		err = test_sys_update(m->fd, &m->nr, m->value, BPF_ANY);
		if (err)
			break;
	}
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	KUNIT_ASSERT_GT(test, m->nr, SPARE / 4);
}

static void limited_map_end(struct kunit *test, struct limited_map *m)
{
	test_close_last();
	/* It may go before the map does, by a worker. */
	KUNIT_EXPECT_EQ(test, remove_payer(&m->payer), 0);
}

static void test_map_at_the_limit_goes_on(struct kunit *test)
{
	struct limited_map m = {};
	unsigned int failed = 0;
	u32 i, key, none;
	long before;

	limited_map(test, &m);
	none = m.nr;
	/* One element of room is enough for all that follows. */
	key = --m.nr;
	KUNIT_EXPECT_EQ(test, test_sys_delete(m.fd, &key), 0);
	before = reclaims(&m.payer);
	for (i = 0; i < CHURN; i++) {
		key = i % m.nr;
		failed += !!test_sys_update(m.fd, &key, m.value, BPF_EXIST);
	}
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "overwrites");
	for (i = 0; i < CHURN; i++) {
		key = i % m.nr;
		failed += !!test_sys_delete(m.fd, &key);
		failed += !!test_sys_update(m.fd, &key, m.value, BPF_NOEXIST);
	}
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "delete and insert");
	for (i = 0; i < CHURN; i++) {
		key = i % m.nr;
		failed += !!test_map_update(m.map, &key, m.value, BPF_EXIST);
	}
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "overwrites by a program");
	KUNIT_EXPECT_EQ(test, reclaims(&m.payer), before);
	KUNIT_EXPECT_LE(test, READ_ONCE(m.payer.memcg->memory.watermark), m.limit);
	/* More room: the next insert has it. */
	KUNIT_EXPECT_EQ(test, test_sys_update(m.fd, &m.nr, m.value, BPF_NOEXIST), 0);
	KUNIT_EXPECT_EQ(test, test_sys_update(m.fd, &none, m.value, BPF_NOEXIST), -ENOMEM);
	set_limit(test, &m.payer, m.limit + SPARE);
	KUNIT_EXPECT_EQ(test, test_sys_update(m.fd, &none, m.value, BPF_NOEXIST), 0);
	limited_map_end(test, &m);
}

static void test_map_at_the_limit_with_tasks_in_reclaim(struct kunit *test)
{
	unsigned long until = jiffies + HZ / 2, asked = 0;
	struct limited_map m = {};
	unsigned int flags;
	u32 key;

	limited_map(test, &m);
	flags = memalloc_noreclaim_save();
	for (key = m.nr; time_before(jiffies, until); asked++) {
		key += !test_map_update(m.map, &key, m.value, BPF_NOEXIST);
		cond_resched();
	}
	memalloc_noreclaim_restore(flags);
	KUNIT_EXPECT_GT(test, asked, 1000);
	KUNIT_EXPECT_LE(test, READ_ONCE(m.payer.memcg->memory.watermark),
			m.limit + num_online_cpus() * 3 * 2);
	limited_map_end(test, &m);
}

static struct kunit_case memalloc_memcg_cases[] = {
	KUNIT_CASE(test_creator_pays_for_refills),
	KUNIT_CASE(test_limit_is_kept_over_tasks_in_reclaim),
	KUNIT_CASE(test_churn_at_the_limit_runs_no_reclaim),
	KUNIT_CASE(test_asking_in_vain_runs_reclaim_seldom),
	KUNIT_CASE(test_programs_go_on_after_the_limit_is_raised),
	KUNIT_CASE(test_map_at_the_limit_goes_on),
	KUNIT_CASE(test_map_at_the_limit_with_tasks_in_reclaim),
	{}
};

#else

static void test_creator_pays_for_refills(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_MEMCG and a kernel before 6.15");
}

static struct kunit_case memalloc_memcg_cases[] = {
	KUNIT_CASE(test_creator_pays_for_refills),
	{}
};

#endif

static struct kunit_suite memalloc_memcg_suite = {
	.name = "bpf_memalloc_memcg",
	.init = memalloc_map_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_memcg_cases,
};

kunit_test_suite(memalloc_memcg_suite);
