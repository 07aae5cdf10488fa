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
#include <linux/namei.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/version.h>
#include "memalloc_test_util.h"

/* Making a folder has another signature since 6.15. */
#if defined(CONFIG_MEMCG) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define CAN_MAKE_CGROUP	1
#else
#define CAN_MAKE_CGROUP	0
#endif

#if CAN_MAKE_CGROUP

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

static struct dentry *make_folder(struct vfsmount *mnt)
{
	struct inode *root = d_inode(mnt->mnt_root);
	struct dentry *dir;
	int err;

	inode_lock(root);
	dir = lookup_one_len(NAME, mnt->mnt_root, strlen(NAME));
	if (!IS_ERR(dir)) {
		err = vfs_mkdir(mnt_idmap(mnt), root, dir, 0755);
		dput(dir);
		/* kernfs makes the folder, but leaves the dentry as it was. */
		dir = err ? ERR_PTR(err) : lookup_one_len(NAME, mnt->mnt_root, strlen(NAME));
	}
	inode_unlock(root);
	return dir;
}

static void make_payer(struct kunit *test, struct payer *payer)
{
	struct file_system_type *type = get_fs_type("cgroup2");
	struct cgroup_subsys_state *css;

	KUNIT_ASSERT_NOT_NULL(test, type);
	payer->mnt = kern_mount(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(payer->mnt));
	KUNIT_ASSERT_EQ(test, enable_memory_controller(payer->mnt), 0);
	payer->dir = make_folder(payer->mnt);
	KUNIT_ASSERT_FALSE(test, IS_ERR(payer->dir));
	css = css_tryget_online_from_dir(payer->dir, &memory_cgrp_subsys);
	KUNIT_ASSERT_FALSE(test, IS_ERR(css));
	payer->memcg = mem_cgroup_from_css(css);
}

static int remove_payer(struct payer *payer)
{
	struct inode *root = d_inode(payer->mnt->mnt_root);
	int err;

	mem_cgroup_put(payer->memcg);
	inode_lock(root);
	err = vfs_rmdir(mnt_idmap(payer->mnt), root, payer->dir);
	inode_unlock(root);
	dput(payer->dir);
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
