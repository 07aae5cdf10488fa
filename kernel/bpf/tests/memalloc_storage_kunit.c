// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: local storage of tasks and cgroups. A map has two
 * allocators there, one for values and one for what ties the values of an owner
 * together; values go with their map or with their owner, whichever is first.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mount.h>
#include <linux/pid.h>
#include "memalloc_cgroup_util.h"
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

/* Who has storage: a task or a cgroup, by a descriptor. */
struct owner {
	int fd;
	struct task_struct *task;
	struct dentry *dir;
};

/* Tasks that do nothing but live */

static int idle_thread(void *unused)
{
	set_current_state(TASK_IDLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_IDLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int open_pidfd(struct task_struct *task)
{
	struct pid *pid = get_task_pid(task, PIDTYPE_PID);
	struct file *file;
	int fd;

	fd = pidfd_prepare(pid, 0, &file);
	put_pid(pid);
	if (fd >= 0)
		fd_install(fd, file);
	return fd;
}

static int make_task(struct owner *owner)
{
	owner->task = kthread_run(idle_thread, NULL, "storage_owner");
	if (IS_ERR(owner->task))
		return PTR_ERR(owner->task);
	owner->fd = open_pidfd(owner->task);
	if (owner->fd >= 0)
		return 0;
	kthread_stop(owner->task);
	return owner->fd;
}

static void end_task(struct owner *owner)
{
	kthread_stop(owner->task);
	test_close_fd(owner->fd);
}

/* Cgroups in which nobody lives */

#if CAN_MAKE_CGROUP
static struct vfsmount *cgroups;
static atomic_t nr_cgroups;

static int open_folder(struct dentry *dir)
{
	struct path path = { .mnt = cgroups, .dentry = dir };
	struct file *file;
	int fd;

	file = dentry_open(&path, O_RDONLY | O_DIRECTORY, current_cred());
	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd >= 0)
		fd_install(fd, file);
	else
		__fput_sync(file);
	return fd;
}

static int make_cgroup(struct owner *owner)
{
	char name[40];

	scnprintf(name, sizeof(name), "bpf_memalloc_storage.%d", atomic_inc_return(&nr_cgroups));
	owner->dir = test_make_cgroup(cgroups, name);
	if (IS_ERR(owner->dir))
		return PTR_ERR(owner->dir);
	owner->fd = open_folder(owner->dir);
	if (owner->fd >= 0)
		return 0;
	test_remove_cgroup(cgroups, owner->dir);
	return owner->fd;
}

static void end_cgroup(struct owner *owner)
{
	test_close_fd(owner->fd);
	WARN_ON(test_remove_cgroup(cgroups, owner->dir));
}

static int mount_cgroups(void)
{
	cgroups = test_mount_cgroups();
	return PTR_ERR_OR_ZERO(cgroups);
}

static void unmount_cgroups(void)
{
	if (!IS_ERR_OR_NULL(cgroups))
		kern_unmount(cgroups);
	cgroups = NULL;
}
#else
static int make_cgroup(struct owner *owner)
{
	return -EOPNOTSUPP;
}

static void end_cgroup(struct owner *owner)
{
}

static int mount_cgroups(void)
{
	return 0;
}

static void unmount_cgroups(void)
{
}
#endif

/* Maps */

struct storage_kind {
	const char *name;
	enum bpf_map_type type;
	int (*make)(struct owner *owner);
	void (*end)(struct owner *owner);
	u32 value_size;
};

#define STORAGE_TASK(size) \
	{ "task " #size, BPF_MAP_TYPE_TASK_STORAGE, make_task, end_task, size }
#define STORAGE_CGROUP(size) \
	{ "cgroup " #size, BPF_MAP_TYPE_CGRP_STORAGE, make_cgroup, end_cgroup, size }

static const struct storage_kind sized_kinds[] = {
	STORAGE_TASK(1), STORAGE_TASK(8), STORAGE_TASK(100), STORAGE_TASK(4000),
	STORAGE_TASK(60000),
	STORAGE_CGROUP(1), STORAGE_CGROUP(8), STORAGE_CGROUP(100), STORAGE_CGROUP(4000),
	STORAGE_CGROUP(60000),
};

KUNIT_ARRAY_PARAM_DESC(sized_kind, sized_kinds, name);

static const struct storage_kind kinds[] = { STORAGE_TASK(64), STORAGE_CGROUP(64) };

KUNIT_ARRAY_PARAM_DESC(kind, kinds, name);

static const struct storage_kind *kind_of(struct kunit *test)
{
	const struct storage_kind *kind = test->param_value;

	if (kind->type == BPF_MAP_TYPE_CGRP_STORAGE && !CAN_MAKE_CGROUP)
		kunit_skip(test, "needs CONFIG_CGROUPS and a kernel before 6.15");
	return kind;
}

/* Local storage wants to know what is in it: so many bytes. */
static void describe(struct kunit *test, union bpf_attr *attr)
{
	struct test_btf *btf = kunit_kzalloc(test, sizeof(*btf), GFP_KERNEL);
	u32 byte;

	KUNIT_ASSERT_NOT_NULL(test, btf);
	attr->btf_key_type_id = test_btf_int(btf, "int", sizeof(int));
	byte = test_btf_int(btf, "char", 1);
	attr->btf_value_type_id = test_btf_array(btf, byte, attr->btf_key_type_id,
						 attr->value_size);
	attr->btf_fd = test_btf_load(test, btf);
}

static union bpf_attr attr_of(struct kunit *test, const struct storage_kind *kind)
{
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(int),
		.value_size = kind->value_size,
	};

	describe(test, &attr);
	return attr;
}

static int make_map(struct kunit *test)
{
	union bpf_attr attr = attr_of(test, kind_of(test));

	return test_map_create(test, &attr);
}

static struct bpf_local_storage_map *storage_map(struct bpf_map *map)
{
	return container_of(map, struct bpf_local_storage_map, map);
}

/* Values that a map has, of all owners. */
static unsigned int count_values(struct bpf_map *map)
{
	struct bpf_local_storage_map *smap = storage_map(map);
	struct hlist_node *node;
	unsigned int i, nr = 0;

	rcu_read_lock();
	for (i = 0; i < 1U << smap->bucket_log; i++)
		hlist_for_each(node, &smap->buckets[i].list)
			nr++;
	rcu_read_unlock();
	return nr;
}

#ifdef STORAGE_USES_MEM_ALLOC
static const bool uses_mem_alloc = true;

/* Objects that a map's allocators have given out. */
static long in_use(struct bpf_map *map)
{
	struct bpf_local_storage_map *smap = storage_map(map);

	return bpf_mem_pool_used(test_pool(&smap->selem_ma)) +
	       bpf_mem_pool_used(test_pool(&smap->storage_ma));
}

/* Objects that a map's allocators have from the slab. */
static long held_by(struct bpf_map *map)
{
	struct bpf_local_storage_map *smap = storage_map(map);

	return atomic_long_read(&test_pool(&smap->selem_ma)->nr_slab) +
	       atomic_long_read(&test_pool(&smap->storage_ma)->nr_slab);
}

/* Refills that are under way have ended on return. */
static void settle(struct bpf_map *map)
{
	struct bpf_local_storage_map *smap = storage_map(map);

	memalloc_test_settle(test_pool(&smap->selem_ma));
	memalloc_test_settle(test_pool(&smap->storage_ma));
}

/* As a sleepable program that says so. */
static void *sleepable_update(struct task_struct *task, struct bpf_map *map, void *value)
{
	return bpf_local_storage_update(task, storage_map(map), value, BPF_NOEXIST, GFP_KERNEL);
}
#else
static const bool uses_mem_alloc;

static long in_use(struct bpf_map *map)
{
	return 0;
}

static long held_by(struct bpf_map *map)
{
	return 0;
}

static void settle(struct bpf_map *map)
{
}

static void *sleepable_update(struct task_struct *task, struct bpf_map *map, void *value)
{
	return ERR_PTR(-EOPNOTSUPP);
}
#endif

/* Values */

static void make_value(void *value, u32 size, u32 nr)
{
	u8 *bytes = value;
	u32 i;

	for (i = 0; i < size; i++)
		bytes[i] = nr * 31 + i * 3 + (i >> 8);
}

/* As user space, which waits for a refill. */
static int put(int map_fd, const struct owner *owner, void *value, u64 flags)
{
	unsigned long until = jiffies + TEST_PATIENCE;
	int err;

	while ((err = test_sys_update(map_fd, &owner->fd, value, flags)) == -ENOMEM &&
	       time_before(jiffies, until))
		usleep_range(200, 1000);
	return err;
}

/* 0: the value is @expected, -ENOENT: there is none, -EILSEQ: it is another one. */
static int look(struct bpf_map *map, const struct owner *owner, const void *expected)
{
	int fd = owner->fd, err = -ENOENT;
	void *found;

	rcu_read_lock();
	found = map->ops->map_lookup_elem(map, &fd);
	if (IS_ERR(found))
		err = PTR_ERR(found);
	else if (found)
		err = memcmp(found, expected, map->value_size) ? -EILSEQ : 0;
	rcu_read_unlock();
	return err;
}

/* An owner that ends with the case, unless the case ends it. */
static void begin(struct kunit *test, struct owner *owner)
{
	KUNIT_ASSERT_EQ(test, kind_of(test)->make(owner), 0);
}

static void test_attributes_are_checked(struct kunit *test)
{
	const struct storage_kind *kind = kind_of(test);
	union bpf_attr good = attr_of(test, kind), attr;

	attr = good;
	attr.map_flags = 0;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
	attr = good;
	attr.max_entries = 1;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
	attr = good;
	attr.value_size++;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
	attr = good;
	attr.value_size = U16_MAX;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -E2BIG);
	/* A reserve is for hash maps. */
	attr = good;
	attr.map_extra = 1;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
	test_map_create(test, &good);
}

static void test_update_lookup_delete(struct kunit *test)
{
	const struct storage_kind *kind = kind_of(test);
	u8 *value = kunit_kzalloc(test, kind->value_size, GFP_KERNEL);
	int fd = make_map(test), other_fd = make_map(test), err = 0, bad = 4000;
	struct bpf_map *map = test_map(test, fd), *other = test_map(test, other_fd);
	struct owner owner;
	u32 round;

	KUNIT_ASSERT_NOT_NULL(test, value);
	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &bad, value, BPF_ANY), -EBADF);
	begin(test, &owner);
	for (round = 0; round < 20; round++) {
		make_value(value, kind->value_size, round);
		KUNIT_EXPECT_EQ(test, look(map, &owner, value), -ENOENT);
		KUNIT_EXPECT_EQ(test, put(fd, &owner, value, BPF_EXIST), -ENOENT);
		KUNIT_EXPECT_EQ(test, put(fd, &owner, value, BPF_NOEXIST), 0);
		KUNIT_EXPECT_EQ(test, look(map, &owner, value), 0);
		KUNIT_EXPECT_EQ(test, put(fd, &owner, value, BPF_NOEXIST), -EEXIST);
		/* What another map holds for the same owner is another matter. */
		make_value(value, kind->value_size, round + 100);
		KUNIT_EXPECT_EQ(test, look(other, &owner, value), -ENOENT);
		KUNIT_EXPECT_EQ(test, put(other_fd, &owner, value, BPF_ANY), 0);
		make_value(value, kind->value_size, round + 1);
		KUNIT_EXPECT_EQ(test, put(fd, &owner, value, BPF_EXIST), 0);
		KUNIT_EXPECT_EQ(test, look(map, &owner, value), 0);
		KUNIT_EXPECT_EQ(test, count_values(map), 1);
		err = test_sys_delete(fd, &owner.fd);
		KUNIT_EXPECT_EQ(test, err, 0);
		KUNIT_EXPECT_EQ(test, test_sys_delete(fd, &owner.fd), -ENOENT);
		make_value(value, kind->value_size, round + 100);
		KUNIT_EXPECT_EQ(test, look(other, &owner, value), 0);
		KUNIT_EXPECT_EQ(test, test_sys_delete(other_fd, &owner.fd), 0);
	}
	kind->end(&owner);
	KUNIT_EXPECT_EQ(test, count_values(map), 0);
	KUNIT_EXPECT_EQ(test, count_values(other), 0);
}

/* More than one batch, and more than the stock at the start. */
#define OWNERS	100
#define MAPS	3

/* Storage of many owners in some maps. */
struct crowd {
	struct owner owner[OWNERS];
	unsigned int nr;
	int fd[MAPS];
	struct bpf_map *map[MAPS];
};

static struct crowd *make_crowd(struct kunit *test)
{
	struct crowd *crowd = kunit_kzalloc(test, sizeof(*crowd), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, crowd);
	for (i = 0; i < MAPS; i++) {
		crowd->fd[i] = make_map(test);
		crowd->map[i] = test_map(test, crowd->fd[i]);
	}
	return crowd;
}

static void disband(struct kunit *test, struct crowd *crowd)
{
	while (crowd->nr)
		kind_of(test)->end(&crowd->owner[--crowd->nr]);
}

/* Each owner gets a value of its own in each map. Returns what went wrong. */
static unsigned int gather(struct kunit *test, struct crowd *crowd, u32 salt)
{
	const struct storage_kind *kind = kind_of(test);
	unsigned int i, wrong = 0;
	u8 value[64];

	for (crowd->nr = 0; crowd->nr < OWNERS; crowd->nr++) {
		struct owner *owner = &crowd->owner[crowd->nr];

		if (kind->make(owner))
			return wrong + 1;
		for (i = 0; i < MAPS; i++) {
			make_value(value, sizeof(value), crowd->nr * MAPS + i + salt);
			/* What earlier owners left must not show. */
			wrong += look(crowd->map[i], owner, value) != -ENOENT;
			wrong += put(crowd->fd[i], owner, value, BPF_NOEXIST) != 0;
		}
	}
	return wrong;
}

static unsigned int count_wrong(struct crowd *crowd, u32 salt)
{
	unsigned int nr, i, wrong = 0;
	u8 value[64];

	for (nr = 0; nr < crowd->nr; nr++) {
		for (i = 0; i < MAPS; i++) {
			make_value(value, sizeof(value), nr * MAPS + i + salt);
			wrong += look(crowd->map[i], &crowd->owner[nr], value) != 0;
		}
	}
	return wrong;
}

static void test_storage_goes_with_its_owner(struct kunit *test)
{
	struct crowd *crowd = make_crowd(test);
	u32 round, i;

	for (round = 0; round < 3; round++) {
		KUNIT_EXPECT_EQ(test, gather(test, crowd, round * 7), 0);
		KUNIT_EXPECT_EQ(test, count_wrong(crowd, round * 7), 0);
		for (i = 0; i < MAPS; i++)
			KUNIT_EXPECT_EQ(test, count_values(crowd->map[i]), OWNERS);
		/* One object ties the values of an owner together. */
		KUNIT_EXPECT_EQ(test, in_use(crowd->map[0]), 2 * OWNERS);
		disband(test, crowd);
		for (i = 0; i < MAPS; i++) {
			KUNIT_EXPECT_TRUE(test, test_wait_for(!count_values(crowd->map[i])));
			KUNIT_EXPECT_TRUE(test, test_wait_for(!in_use(crowd->map[i])));
		}
	}
}

static void test_storage_goes_with_its_map(struct kunit *test)
{
	union bpf_attr attr = attr_of(test, kind_of(test));
	struct crowd *crowd = make_crowd(test);
	unsigned int wrong = 0, nr, i;
	u8 value[64] = {};
	long before, during;
	int fd;

	wrong += gather(test, crowd, 0);
	for (i = 0; i < MAPS; i++)
		settle(crowd->map[i]);
	before = test_live();
	fd = test_map_try(&attr);
	for (nr = 0; nr < crowd->nr; nr++)
		wrong += put(fd, &crowd->owner[nr], value, BPF_NOEXIST) != 0;
	during = test_live();
	test_close_fd(fd);
	KUNIT_EXPECT_GE(test, during, before + OWNERS);
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() <= before));
	/* The owners have lost nothing else. */
	wrong += count_wrong(crowd, 0);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	disband(test, crowd);
}

/* Owners in one thread, the map in another: each value is freed by one of them. */

#define RACES		10
#define RACE_OWNERS	20

static struct {
	const struct storage_kind *kind;
	struct owner owner[RACE_OWNERS];
	unsigned int nr;
} race;

static int end_owners(void *unused)
{
	while (race.nr)
		race.kind->end(&race.owner[--race.nr]);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

static int run_race(const union bpf_attr *attr)
{
	int fd = test_map_try(attr), err = 0;
	struct task_struct *task;
	u8 value[64] = {};

	if (fd < 0)
		return fd;
	for (race.nr = 0; race.nr < RACE_OWNERS && !err; race.nr++) {
		err = race.kind->make(&race.owner[race.nr]);
		if (err)
			break;
		err = put(fd, &race.owner[race.nr], value, BPF_ANY);
	}
	task = kthread_run(end_owners, NULL, "storage_end");
	test_close_fd(fd);
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_stop(task);
	/* If it was stopped before it began. */
	while (race.nr)
		race.kind->end(&race.owner[--race.nr]);
	return err;
}

static void test_map_and_owners_go_at_once(struct kunit *test)
{
	union bpf_attr attr = attr_of(test, kind_of(test));
	long before = test_live();
	u32 round;

	race.kind = kind_of(test);
	for (round = 0; round < RACES; round++)
		KUNIT_ASSERT_EQ(test, run_race(&attr), 0);
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() <= before));
}

/* Owners come and go on all CPUs */

#define ROUNDS		60
#define MAX_WORKERS	8

struct worker {
	const struct storage_kind *kind;
	struct crowd *crowd;
	struct task_struct *task;
	u32 nr;
	u32 wrong;
	atomic_t done;
};

/* One life: a value in each map, some deleted, the rest left to the end. */
static void live_once(struct worker *worker, u32 round)
{
	struct crowd *crowd = worker->crowd;
	u32 i, salt = worker->nr * ROUNDS + round;
	struct owner owner;
	u8 value[64];

	if (worker->kind->make(&owner)) {
		worker->wrong++;
		return;
	}
	for (i = 0; i < MAPS; i++) {
		make_value(value, sizeof(value), salt + i);
		worker->wrong += look(crowd->map[i], &owner, value) != -ENOENT;
		worker->wrong += put(crowd->fd[i], &owner, value, BPF_NOEXIST) != 0;
	}
	for (i = 0; i < MAPS; i++) {
		make_value(value, sizeof(value), salt + i);
		worker->wrong += look(crowd->map[i], &owner, value) != 0;
		if ((round + i) % 3 == 0)
			worker->wrong += test_sys_delete(crowd->fd[i], &owner.fd) != 0;
	}
	worker->kind->end(&owner);
}

static int worker_thread(void *arg)
{
	struct worker *worker = arg;
	u32 round;

	for (round = 0; round < ROUNDS; round++)
		live_once(worker, round);
	atomic_set(&worker->done, 1);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

static void test_owners_come_and_go(struct kunit *test)
{
	u32 i, nr = clamp(num_online_cpus(), 2U, (unsigned int)MAX_WORKERS);
	struct worker *workers = kunit_kcalloc(test, nr, sizeof(*workers), GFP_KERNEL);
	struct crowd *crowd = make_crowd(test);

	KUNIT_ASSERT_NOT_NULL(test, workers);
	for (i = 0; i < nr; i++) {
		workers[i] = (struct worker){ kind_of(test), crowd, .nr = i };
		workers[i].task = kthread_run(worker_thread, &workers[i], "storage_worker");
	}
	for (i = 0; i < nr; i++) {
		if (IS_ERR(workers[i].task)) {
			KUNIT_FAIL(test, "no thread");
			continue;
		}
		KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&workers[i].done)));
		kthread_stop(workers[i].task);
		KUNIT_EXPECT_EQ(test, workers[i].wrong, 0);
	}
	for (i = 0; i < MAPS; i++)
		KUNIT_EXPECT_TRUE(test, test_wait_for(!count_values(crowd->map[i])));
}

/* One thread updates, another one deletes, the test looks */

static struct {
	int fd;
	struct owner owner;
	atomic_t updates;
	atomic_t deletes;
	int err;
} duel;

static int update_thread(void *unused)
{
	u8 value[64];
	u32 nr = 0;
	int err;

	while (!kthread_should_stop()) {
		memset(value, ++nr, sizeof(value));
		err = put(duel.fd, &duel.owner, value, BPF_ANY);
		if (!err)
			atomic_inc(&duel.updates);
		else if (err != -EAGAIN)
			WRITE_ONCE(duel.err, err);
		cond_resched();
	}
	return 0;
}

static int delete_thread(void *unused)
{
	int err;

	while (!kthread_should_stop()) {
		err = test_sys_delete(duel.fd, &duel.owner.fd);
		if (!err)
			atomic_inc(&duel.deletes);
		else if (err != -ENOENT)
			WRITE_ONCE(duel.err, err);
		cond_resched();
	}
	return 0;
}

/* Counts values that are not whole; true if enough has happened. */
static bool watch_duel(struct bpf_map *map, u32 *torn)
{
	int fd = duel.owner.fd, i;
	u8 *found;

	for (i = 0; i < 100; i++) {
		rcu_read_lock();
		found = map->ops->map_lookup_elem(map, &fd);
		if (!IS_ERR_OR_NULL(found))
			*torn += !!memchr_inv(found, found[0], map->value_size);
		rcu_read_unlock();
	}
	return READ_ONCE(duel.err) ||
	       (atomic_read(&duel.updates) >= 500 && atomic_read(&duel.deletes) >= 50);
}

static struct task_struct *duellist(int (*thread)(void *), unsigned int cpu)
{
	struct task_struct *task = kthread_create(thread, NULL, "storage_duel/%u", cpu);

	if (!IS_ERR(task)) {
		kthread_bind(task, cpu);
		wake_up_process(task);
	}
	return task;
}

static void test_delete_while_another_cpu_updates(struct kunit *test)
{
	unsigned int first = cpumask_first(cpu_online_mask);
	unsigned int last = cpumask_last(cpu_online_mask);
	struct task_struct *update, *delete;
	struct bpf_map *map;
	u32 torn = 0;

	memset(&duel, 0, sizeof(duel));
	duel.fd = make_map(test);
	map = test_map(test, duel.fd);
	begin(test, &duel.owner);
	update = duellist(update_thread, first);
	delete = duellist(delete_thread, last);
	if (!IS_ERR(update) && !IS_ERR(delete))
		KUNIT_EXPECT_TRUE(test, test_wait_for(watch_duel(map, &torn)));
	else
		KUNIT_FAIL(test, "no threads");
	if (!IS_ERR(update))
		kthread_stop(update);
	if (!IS_ERR(delete))
		kthread_stop(delete);
	kind_of(test)->end(&duel.owner);
	kunit_info(test, "%d updates, %d deletes\n", atomic_read(&duel.updates),
		   atomic_read(&duel.deletes));
	KUNIT_EXPECT_EQ(test, duel.err, 0);
	KUNIT_EXPECT_EQ(test, torn, 0);
	KUNIT_EXPECT_TRUE(test, test_wait_for(!count_values(map)));
}

/* Whoever found a value may look at it until it leaves its section. */
static void test_deleted_value_outlives_its_readers(struct kunit *test)
{
	int fd = make_map(test), err, again = 0, i;
	struct bpf_map *map = test_map(test, fd);
	u8 value[64], *found;
	struct owner owner;
	bool intact;

	begin(test, &owner);
	memset(value, 0x11, sizeof(value));
	KUNIT_EXPECT_EQ(test, put(fd, &owner, value, BPF_ANY), 0);
	memset(value, 0x22, sizeof(value));
	rcu_read_lock();
	found = map->ops->map_lookup_elem(map, &owner.fd);
	err = map->ops->map_delete_elem(map, &owner.fd);
	/* The same memory must not become another value. */
	for (i = 0; i < 20; i++)
		again += !map->ops->map_update_elem(map, &owner.fd, value, BPF_ANY);
	mdelay(20);
	intact = !IS_ERR_OR_NULL(found) && !memchr_inv(found, 0x11, sizeof(value));
	rcu_read_unlock();
	kind_of(test)->end(&owner);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_GT(test, again, 0);
	KUNIT_EXPECT_TRUE(test, intact);
}

/* A sleepable program may ask for memory that is not there yet. */
static void test_sleepable_update_needs_no_stock(struct kunit *test)
{
	struct memalloc_test_slab *slab;
	struct bpf_local_storage_data *data;
	struct owner *owners = kunit_kcalloc(test, OWNERS, sizeof(*owners), GFP_KERNEL);
	const struct storage_kind *kind = &kinds[0];
	union bpf_attr attr = attr_of(test, kind);
	u32 nr, made = 0, failed = 0, strange = 0;
	struct bpf_map *map = test_map(test, test_map_create(test, &attr));
	u8 value[64];

	KUNIT_ASSERT_NOT_NULL(test, owners);
	while (made < OWNERS && !kind->make(&owners[made]))
		made++;
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_atomic, 1);
	for (nr = 0; nr < made; nr++) {
		make_value(value, sizeof(value), nr);
		rcu_read_lock_trace();
		data = sleepable_update(owners[nr].task, map, value);
		rcu_read_unlock_trace();
		failed += IS_ERR(data);
	}
	for (nr = 0; nr < made; nr++) {
		make_value(value, sizeof(value), nr);
		strange += look(map, &owners[nr], value) != 0;
	}
	while (made)
		kind->end(&owners[--made]);
	KUNIT_EXPECT_EQ(test, nr, OWNERS);
	KUNIT_EXPECT_EQ(test, failed, 0);
	KUNIT_EXPECT_EQ(test, strange, 0);
	KUNIT_EXPECT_TRUE(test, test_wait_for(!count_values(map)));
}

/* Nor need user space try again: no refill comes in an interrupt, and it does not matter. */

#define MANY_OWNERS	200

static void test_system_call_needs_no_stock(struct kunit *test)
{
	const struct storage_kind *kind = kind_of(test);
	struct owner *owners = kunit_kcalloc(test, MANY_OWNERS, sizeof(*owners), GFP_KERNEL);
	int fd = make_map(test), err, last = 0;
	struct bpf_map *map = test_map(test, fd);
	u32 nr, made = 0, failed = 0, strange = 0;
	struct memalloc_test_slab *slab;
	u8 value[64];

	KUNIT_ASSERT_NOT_NULL(test, owners);
	while (made < MANY_OWNERS && !kind->make(&owners[made]))
		made++;
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_atomic, 1);
	for (nr = 0; nr < made; nr++) {
		make_value(value, sizeof(value), nr);
		err = test_sys_update(fd, &owners[nr].fd, value, BPF_NOEXIST);
		failed += !!err;
		last = err ?: last;
	}
	atomic_set(&slab->refuse_atomic, 0);
	for (nr = 0; nr < made; nr++) {
		make_value(value, sizeof(value), nr);
		strange += look(map, &owners[nr], value) != 0;
	}
	while (made)
		kind->end(&owners[--made]);
	KUNIT_EXPECT_EQ(test, nr, MANY_OWNERS);
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "last error %d", last);
	KUNIT_EXPECT_EQ(test, strange, 0);
	KUNIT_EXPECT_TRUE(test, test_wait_for(!count_values(map)));
}

/*
 * A value that user space deletes goes to the slab past its allocator, which has
 * to know, or it would seem to hold ever more.
 */
static void test_deleted_values_are_counted_off(struct kunit *test)
{
	const struct storage_kind *kind = kind_of(test);
	long live = test_live(), made;
	struct owner owner;
	u32 round, failed = 0;
	struct bpf_map *map;
	u8 value[64] = {};
	int fd;

	fd = make_map(test);
	map = test_map(test, fd);
	/* Nobody else makes or frees objects meanwhile. */
	made = test_live() - live;
	KUNIT_EXPECT_EQ(test, held_by(map), made);
	begin(test, &owner);
	for (round = 0; round < 500; round++) {
		failed += !!put(fd, &owner, value, BPF_NOEXIST);
		failed += !!test_sys_delete(fd, &owner.fd);
	}
	KUNIT_EXPECT_EQ(test, failed, 0);
	kind->end(&owner);
	KUNIT_EXPECT_TRUE(test, test_wait_for(!in_use(map)));
	KUNIT_EXPECT_TRUE_MSG(test, test_wait_for(held_by(map) == test_live() - live),
			      "%ld held, but %ld are there", held_by(map), test_live() - live);
}

static struct kunit_case memalloc_storage_cases[] = {
	KUNIT_CASE_PARAM(test_attributes_are_checked, kind_gen_params),
	KUNIT_CASE_PARAM(test_update_lookup_delete, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_storage_goes_with_its_owner, kind_gen_params),
	KUNIT_CASE_PARAM(test_storage_goes_with_its_map, kind_gen_params),
	KUNIT_CASE_PARAM(test_map_and_owners_go_at_once, kind_gen_params),
	KUNIT_CASE_PARAM(test_owners_come_and_go, kind_gen_params),
	KUNIT_CASE_PARAM(test_delete_while_another_cpu_updates, kind_gen_params),
	KUNIT_CASE_PARAM(test_deleted_value_outlives_its_readers, kind_gen_params),
	KUNIT_CASE(test_sleepable_update_needs_no_stock),
	KUNIT_CASE_PARAM(test_system_call_needs_no_stock, kind_gen_params),
	KUNIT_CASE_PARAM(test_deleted_values_are_counted_off, kind_gen_params),
	{}
};

static int storage_init(struct kunit *test)
{
	int err = memalloc_map_init(test);

	if (!err && !uses_mem_alloc)
		kunit_skip(test, "local storage of this kernel has another source of memory");
	return err;
}

static int storage_suite_init(struct kunit_suite *suite)
{
	return mount_cgroups();
}

static void storage_suite_exit(struct kunit_suite *suite)
{
	unmount_cgroups();
}

static struct kunit_suite memalloc_storage_suite = {
	.name = "bpf_memalloc_storage",
	.suite_init = storage_suite_init,
	.suite_exit = storage_suite_exit,
	.init = storage_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_storage_cases,
};

kunit_test_suite(memalloc_storage_suite);
