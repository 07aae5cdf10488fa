/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroups for the suites of the BPF memory allocator: nobody lives in them. */
#ifndef _BPF_MEMALLOC_CGROUP_UTIL_H
#define _BPF_MEMALLOC_CGROUP_UTIL_H

#include <linux/err.h>
#include <linux/version.h>

struct dentry;
struct vfsmount;

/* Making a folder has another signature since 6.15. */
#if defined(CONFIG_CGROUPS) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define CAN_MAKE_CGROUP	1

struct vfsmount *test_mount_cgroups(void);
/* kern_unmount() takes that back. Below it: */
struct dentry *test_make_cgroup(struct vfsmount *mnt, const char *name);
int test_remove_cgroup(struct vfsmount *mnt, struct dentry *dir);
/* Write to one of the files of a cgroup. */
int test_write_cgroup(struct vfsmount *mnt, const char *file, const char *text);
#else
#define CAN_MAKE_CGROUP	0
#endif

#endif /* _BPF_MEMALLOC_CGROUP_UTIL_H */
