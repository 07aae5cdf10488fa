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

static int enable_memory_controller(struct vfsmount *mnt)
{
	struct file *file = file_open_root_mnt(mnt, "cgroup.subtree_control", O_WRONLY, 0);
	ssize_t written;
	loff_t pos = 0;

	if (IS_ERR(file))
		return PTR_ERR(file);
	written = kernel_write(file, "+memory", 7, &pos);
	filp_close(file, NULL);
	return written < 0 ? written : 0;
}

static void make_payer(struct kunit *test, struct payer *payer)
{
	struct cgroup_subsys_state *css;

	payer->mnt = test_mount_cgroups();
	KUNIT_ASSERT_FALSE(test, IS_ERR(payer->mnt));
	KUNIT_ASSERT_EQ(test, enable_memory_controller(payer->mnt), 0);
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
	KUNIT_EXPECT_NOT_NULL(test, ma.pools->objcg);

	nr = memalloc_test_fill(&ma, objs, OBJECTS);
	during = paid(&payer) - before;
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_EXPECT_EQ(test, nr, OBJECTS);
	KUNIT_EXPECT_GE(test, during, OBJECTS * 4000L);
	/* The cgroup may go although the allocator's worker may still need it. */
	KUNIT_EXPECT_EQ(test, remove_payer(&payer), 0);
}

#else

static void test_creator_pays_for_refills(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_MEMCG and a kernel before 6.15");
}

#endif

static struct kunit_case memalloc_memcg_cases[] = {
	KUNIT_CASE(test_creator_pays_for_refills),
	{}
};

static struct kunit_suite memalloc_memcg_suite = {
	.name = "bpf_memalloc_memcg",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_memcg_cases,
};

kunit_test_suite(memalloc_memcg_suite);
