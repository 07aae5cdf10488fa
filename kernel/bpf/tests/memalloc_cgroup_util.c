// SPDX-License-Identifier: GPL-2.0-only
/* Cgroups for the suites of the BPF memory allocator: nobody lives in them. */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include "memalloc_cgroup_util.h"

#if CAN_MAKE_CGROUP
struct vfsmount *test_mount_cgroups(void)
{
	struct file_system_type *type = get_fs_type("cgroup2");

	return type ? kern_mount(type) : ERR_PTR(-ENODEV);
}

static struct inode *lock_root(struct vfsmount *mnt)
{
	struct inode *root = d_inode(mnt->mnt_root);

	inode_lock_nested(root, I_MUTEX_PARENT);
	return root;
}

struct dentry *test_make_cgroup(struct vfsmount *mnt, const char *name)
{
	struct inode *root = lock_root(mnt);
	struct dentry *dir;
	int err;

	dir = lookup_one_len(name, mnt->mnt_root, strlen(name));
	if (!IS_ERR(dir)) {
		err = vfs_mkdir(mnt_idmap(mnt), root, dir, 0755);
		dput(dir);
		/* kernfs makes the folder, but leaves the dentry as it was. */
		dir = err ? ERR_PTR(err) : lookup_one_len(name, mnt->mnt_root, strlen(name));
	}
	inode_unlock(root);
	return dir;
}

int test_remove_cgroup(struct vfsmount *mnt, struct dentry *dir)
{
	struct inode *root = lock_root(mnt);
	int err;

	err = vfs_rmdir(mnt_idmap(mnt), root, dir);
	inode_unlock(root);
	dput(dir);
	return err;
}

int test_write_cgroup(struct vfsmount *mnt, const char *file, const char *text)
{
	struct file *to = file_open_root_mnt(mnt, file, O_WRONLY, 0);
	ssize_t written;
	loff_t pos = 0;

	if (IS_ERR(to))
		return PTR_ERR(to);
	written = kernel_write(to, text, strlen(text), &pos);
	filp_close(to, NULL);
	return min(written, 0);
}
#endif
