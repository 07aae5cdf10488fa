// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: hash maps on top of it, through the kernel's own entry
 * into bpf() and through the operations that programs call.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/prandom.h>
#include <linux/uaccess.h>
#include "memalloc_test_util.h"

/* Not in a header: user space's bpf() for the kernel's own use. */
int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

struct htab_kind {
	const char *name;
	enum bpf_map_type type;
	u32 flags;
	u32 key_size;
	u32 value_size;
};

static const struct htab_kind htab_kinds[] = {
	{ "hash 1/1 preallocated", BPF_MAP_TYPE_HASH, 0, 1, 1 },
	{ "hash 1/1 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 1, 1 },
	{ "hash 4/8 preallocated", BPF_MAP_TYPE_HASH, 0, 4, 8 },
	{ "hash 4/8 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 8 },
	{ "hash 8/316 preallocated", BPF_MAP_TYPE_HASH, 0, 8, 316 },
	{ "hash 8/316 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 8, 316 },
	{ "hash 13/100 preallocated", BPF_MAP_TYPE_HASH, 0, 13, 100 },
	{ "hash 13/100 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 13, 100 },
	{ "hash 512/4000 preallocated", BPF_MAP_TYPE_HASH, 0, 512, 4000 },
	{ "hash 512/4000 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 512, 4000 },
	{ "hash 5000/5000 preallocated", BPF_MAP_TYPE_HASH, 0, 5000, 5000 },
	{ "hash 5000/5000 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 5000, 5000 },
	{ "hash 8/70000 preallocated", BPF_MAP_TYPE_HASH, 0, 8, 70000 },
	{ "hash 8/70000 dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 8, 70000 },
	{ "percpu hash 1/1 preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 1, 1 },
	{ "percpu hash 1/1 dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 1, 1 },
	{ "percpu hash 4/8 preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 4, 8 },
	{ "percpu hash 4/8 dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 4, 8 },
	{ "percpu hash 13/100 preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 13, 100 },
	{ "percpu hash 13/100 dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 13, 100 },
	{ "percpu hash 64/4000 preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 64, 4000 },
	{ "percpu hash 64/4000 dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 64, 4000 },
	{ "percpu hash 5000/1024 preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 5000, 1024 },
	{ "percpu hash 5000/1024 dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC,
	  5000, 1024 },
};

KUNIT_ARRAY_PARAM_DESC(htab_kind, htab_kinds, name);

KUNIT_DEFINE_ACTION_WRAPPER(put_map, bpf_map_put, struct bpf_map *);

static int create(const struct htab_kind *kind, u32 max_entries, u64 extra)
{
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = kind->flags,
		.key_size = kind->key_size,
		.value_size = kind->value_size,
		.max_entries = max_entries,
		.map_extra = extra,
	};

	return kern_sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* The map goes with the case; its freeing is up to a worker. */
static struct bpf_map *map_of(struct kunit *test, int fd)
{
	struct bpf_map *map;

	KUNIT_ASSERT_GE(test, fd, 0);
	map = bpf_map_get(fd);
	close_fd(fd);
	KUNIT_ASSERT_FALSE(test, IS_ERR(map));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_map, map), 0);
	return map;
}

static struct bpf_map *kind_map(struct kunit *test, u32 max_entries)
{
	return map_of(test, create(test->param_value, max_entries, 0));
}

/* What a program does: in RCU, migration disabled, interrupts on. */
static long prog_update(struct bpf_map *map, void *key, void *value, u64 flags)
{
	long err;

	rcu_read_lock();
	migrate_disable();
	err = map->ops->map_update_elem(map, key, value, flags);
	migrate_enable();
	rcu_read_unlock();
	return err;
}

static long prog_delete(struct bpf_map *map, void *key)
{
	long err;

	rcu_read_lock();
	migrate_disable();
	err = map->ops->map_delete_elem(map, key);
	migrate_enable();
	rcu_read_unlock();
	return err;
}

/* As a program that waits for a refill would: try again while it runs. */
static long patient_update(struct bpf_map *map, void *key, void *value, u64 flags)
{
	unsigned long until = jiffies + TEST_PATIENCE;
	long err;

	while ((err = prog_update(map, key, value, flags)) == -ENOMEM &&
	       time_before(jiffies, until))
		usleep_range(200, 1000);
	return err;
}

/* Keys and values that can be told apart */

static void make_key(struct bpf_map *map, void *key, u32 nr)
{
	memset(key, 0x5a, map->key_size);
	memcpy(key, &nr, min_t(u32, sizeof(nr), map->key_size));
}

static void make_value(struct bpf_map *map, void *value, u32 nr, u32 version)
{
	u8 *bytes = value;
	u32 i;

	for (i = 0; i < map->value_size; i++)
		bytes[i] = nr * 31 + version * 7 + i;
}

/* 0 if it is there, -ENOENT if not, -EILSEQ if it is not what was written. */
static int look(struct bpf_map *map, void *key, void *expected)
{
	int err = -ENOENT;
	void *found;

	rcu_read_lock();
	migrate_disable();
	found = map->ops->map_lookup_elem(map, key);
	if (found)
		err = memcmp(found, expected, map->value_size) ? -EILSEQ : 0;
	migrate_enable();
	rcu_read_unlock();
	return err;
}

/* A program sets the value of its CPU; a new element is zero on all others. */
static bool zero_elsewhere(struct bpf_map *map, void *key)
{
	bool zero = true;
	void *found;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		if (cpu == raw_smp_processor_id())
			continue;
		found = map->ops->map_lookup_percpu_elem(map, key, cpu);
		zero &= found && !memchr_inv(found, 0, map->value_size);
	}
	rcu_read_unlock();
	return zero;
}

#define KEYS		50
#define OPERATIONS	4000

/* Every outcome is known beforehand: version[] is 0 for what is not there. */
static void test_random_operations(struct kunit *test)
{
	struct bpf_map *map = kind_map(test, KEYS);
	u8 *key = kunit_kzalloc(test, map->key_size, GFP_KERNEL);
	u8 *value = kunit_kzalloc(test, map->value_size, GFP_KERNEL);
	bool percpu = map->map_type == BPF_MAP_TYPE_PERCPU_HASH;
	u32 version[KEYS] = {};
	struct rnd_state rnd;
	u32 i, nr, dice;

	KUNIT_ASSERT_NOT_NULL(test, key);
	KUNIT_ASSERT_NOT_NULL(test, value);
	prandom_seed_state(&rnd, memalloc_test_seed(test));
	for (i = 1; i <= OPERATIONS; i++) {
		dice = prandom_u32_state(&rnd);
		nr = (dice >> 8) % KEYS;
		make_key(map, key, nr);
		if (dice & 1) {
			make_value(map, value, nr, i);
			KUNIT_ASSERT_EQ(test, patient_update(map, key, value, BPF_ANY), 0);
			if (percpu && !version[nr])
				KUNIT_ASSERT_TRUE(test, zero_elsewhere(map, key));
			version[nr] = i;
		} else {
			KUNIT_ASSERT_EQ(test, prog_delete(map, key), version[nr] ? 0 : -ENOENT);
			version[nr] = 0;
		}
		nr = (dice >> 16) % KEYS;
		make_key(map, key, nr);
		make_value(map, value, nr, version[nr]);
		KUNIT_ASSERT_EQ(test, look(map, key, value), version[nr] ? 0 : -ENOENT);
	}
}

static const struct htab_kind sized_kinds[] = {
	{ "hash preallocated", BPF_MAP_TYPE_HASH, 0, 4, 8 },
	{ "hash dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 8 },
	{ "percpu hash preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0, 4, 8 },
	{ "percpu hash dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 4, 8 },
};

KUNIT_ARRAY_PARAM_DESC(sized_kind, sized_kinds, name);

/* max_entries is honoured to the element, twice, and replacing is always possible. */
static void fill_and_empty(struct kunit *test, u32 max_entries)
{
	struct bpf_map *map = kind_map(test, max_entries);
	u64 value = 1;
	u32 key, round;

	for (round = 0; round < 2; round++) {
		for (key = 0; key < max_entries; key++)
			KUNIT_ASSERT_EQ_MSG(test, patient_update(map, &key, &value, BPF_NOEXIST),
					    0, "key %u", key);
		for (; key < max_entries + 100; key++)
			KUNIT_ASSERT_EQ(test, prog_update(map, &key, &value, BPF_ANY), -E2BIG);
		for (key = 0; key < 100 && key < max_entries; key++)
			KUNIT_ASSERT_EQ(test, patient_update(map, &key, &value, BPF_EXIST), 0);
		/* Room for one is room for one. */
		key = 0;
		KUNIT_ASSERT_EQ(test, prog_delete(map, &key), 0);
		KUNIT_ASSERT_EQ(test, patient_update(map, &key, &value, BPF_NOEXIST), 0);
		key = max_entries;
		KUNIT_ASSERT_EQ(test, prog_update(map, &key, &value, BPF_ANY), -E2BIG);
		for (key = 0; key < max_entries; key++)
			KUNIT_ASSERT_EQ(test, prog_delete(map, &key), 0);
	}
}

static void test_small_map_is_full_at_max_entries(struct kunit *test)
{
	fill_and_empty(test, 16);
}

static void test_large_map_is_full_at_max_entries(struct kunit *test)
{
	fill_and_empty(test, 3000);
}

static const struct htab_kind dynamic_kinds[] = {
	{ "hash", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 8 },
	{ "percpu hash", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 4, 8 },
};

KUNIT_ARRAY_PARAM_DESC(dynamic_kind, dynamic_kinds, name);

/* No refill needs to come in between, and no element may fail for want of one. */
static void test_fill_through_bpf_never_fails(struct kunit *test)
{
	const struct htab_kind *kind = test->param_value;
	u32 entries = kind->type == BPF_MAP_TYPE_HASH ? 100000 : 3000;
	u64 *values = kunit_kcalloc(test, num_possible_cpus(), sizeof(*values), GFP_KERNEL);
	int fd = create(kind, entries, 0), err = 0;
	union bpf_attr attr;
	u32 key, failed = 0;

	KUNIT_ASSERT_NOT_NULL(test, values);
	KUNIT_ASSERT_GE(test, fd, 0);
	for (key = 0; key < entries; key++) {
		attr = (union bpf_attr){
			.map_fd = fd,
			.key = (unsigned long)&key,
			.value = (unsigned long)values,
			.flags = BPF_NOEXIST,
		};
		err = kern_sys_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
		failed += !!err;
	}
	close_fd(fd);
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "last error %d", err);
}

struct batch {
	u32 keys[512];
	u64 values[512];
	u32 more[512];
	u32 next;
};

/* Update, look up, look up and delete, delete: with the test's own user memory. */
static void test_batch_operations(struct kunit *test)
{
	int fd = create(test->param_value, 1000, 0);
	struct bpf_map *map = map_of(test, fd);
	struct batch __user *user;
	union bpf_attr attr = {}, __user *uattr;
	u32 i, gone, nr = ARRAY_SIZE(user->keys);
	u64 value;

	KUNIT_ASSERT_EQ(test, nr, 512);
	if (map->map_type != BPF_MAP_TYPE_HASH)
		kunit_skip(test, "values of all CPUs take another layout");
	user = (void __user *)kunit_vm_mmap(test, NULL, 0, sizeof(*user) + sizeof(attr),
					    PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_TRUE(test, !!user);
	uattr = (void __user *)(user + 1);
	for (i = 0; i < nr; i++) {
		KUNIT_ASSERT_EQ(test, put_user(i, &user->keys[i]), 0);
		KUNIT_ASSERT_EQ(test, put_user(i * 3ULL, &user->values[i]), 0);
	}
	attr.batch.keys = (unsigned long)&user->keys;
	attr.batch.values = (unsigned long)&user->values;
	attr.batch.out_batch = (unsigned long)&user->next;
	attr.batch.count = nr;
	KUNIT_ASSERT_EQ(test, map->ops->map_update_batch(map, NULL, &attr, uattr), 0);
	attr.batch.keys = (unsigned long)&user->more;
	attr.batch.count = nr;
	KUNIT_ASSERT_EQ(test, clear_user(user->values, sizeof(user->values)), 0);
	KUNIT_EXPECT_EQ(test, map->ops->map_lookup_batch(map, &attr, uattr), -ENOENT);
	KUNIT_ASSERT_EQ(test, get_user(gone, &uattr->batch.count), 0);
	KUNIT_EXPECT_EQ(test, gone, nr);
	for (i = 0; i < nr; i++) {
		KUNIT_ASSERT_EQ(test, get_user(value, &user->values[i]), 0);
		KUNIT_ASSERT_EQ(test, get_user(gone, &user->more[i]), 0);
		KUNIT_ASSERT_EQ(test, value, gone * 3ULL);
	}
	attr.batch.keys = (unsigned long)&user->keys;
	attr.batch.count = nr / 2;
	KUNIT_EXPECT_EQ(test, map->ops->map_delete_batch(map, &attr, uattr), 0);
	attr.batch.keys = (unsigned long)&user->more;
	attr.batch.count = nr;
	KUNIT_EXPECT_EQ(test, map->ops->map_lookup_and_delete_batch(map, &attr, uattr), -ENOENT);
	KUNIT_ASSERT_EQ(test, get_user(gone, &uattr->batch.count), 0);
	KUNIT_EXPECT_EQ(test, gone, nr / 2);
	rcu_read_lock();
	i = map->ops->map_get_next_key(map, NULL, &gone);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, (int)i, -ENOENT);
}

static void test_lookup_and_delete(struct kunit *test)
{
	struct bpf_map *map = kind_map(test, 100);
	u64 *values = kunit_kcalloc(test, num_possible_cpus(), sizeof(*values), GFP_KERNEL);
	u64 value;
	u32 key;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, values);
	for (key = 0; key < 100; key++) {
		value = key * 5ULL;
		KUNIT_ASSERT_EQ(test, patient_update(map, &key, &value, BPF_ANY), 0);
	}
	for (key = 0; key < 100; key++) {
		err = map->ops->map_lookup_and_delete_elem(map, &key, values, 0);
		KUNIT_ASSERT_EQ(test, err, 0);
		value = map->map_type == BPF_MAP_TYPE_HASH ? values[0] :
			values[raw_smp_processor_id()];
		KUNIT_ASSERT_EQ(test, value, key * 5ULL);
		err = map->ops->map_lookup_and_delete_elem(map, &key, values, 0);
		KUNIT_ASSERT_EQ(test, err, -ENOENT);
	}
}

struct churn {
	struct bpf_map *map;
	atomic_t rounds;
	atomic_t errors;
};

#define CHURN_KEYS	64

static int churn(void *arg)
{
	struct churn *c = arg;
	u64 value = 1;
	u32 key = 0;
	long err;

	while (!kthread_should_stop()) {
		err = prog_delete(c->map, &key);
		err = err ?: patient_update(c->map, &key, &value, BPF_NOEXIST);
		if (err && err != -EBUSY)
			atomic_inc(&c->errors);
		key = (key + 1) % CHURN_KEYS;
		atomic_inc(&c->rounds);
		cond_resched();
	}
	return 0;
}

/* What is neither deleted nor added meanwhile is seen in every walk, or the walk began anew. */
static void test_iteration_while_others_delete(struct kunit *test)
{
	struct churn c = { .map = kind_map(test, 4 * CHURN_KEYS) };
	u32 key, next, walk, seen, strange = 0, *from;
	struct task_struct *task;
	u64 value = 1;
	bool moved;

	for (key = 0; key < 2 * CHURN_KEYS; key++)
		KUNIT_ASSERT_EQ(test, patient_update(c.map, &key, &value, BPF_ANY), 0);
	task = kthread_run(churn, &c, "htab_churn");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	moved = test_wait_for(atomic_read(&c.rounds) > 10);
	for (walk = 0; walk < 300; walk++) {
		from = NULL;
		for (seen = 0; seen < 100 * CHURN_KEYS; seen++) {
			rcu_read_lock();
			if (c.map->ops->map_get_next_key(c.map, from, &next)) {
				rcu_read_unlock();
				break;
			}
			rcu_read_unlock();
			strange += next >= 2 * CHURN_KEYS;
			key = next;
			from = &key;
		}
		cond_resched();
	}
	kthread_stop(task);
	KUNIT_EXPECT_TRUE(test, moved);
	KUNIT_EXPECT_EQ(test, strange, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&c.errors), 0);
	for (key = CHURN_KEYS; key < 2 * CHURN_KEYS; key++)
		KUNIT_ASSERT_EQ(test, look(c.map, &key, &value), 0);
}

static void test_flags_of_creation(struct kunit *test)
{
	struct htab_kind kind = { "", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED,
				  4, 8 };
	struct bpf_map *map = map_of(test, create(&kind, 10, 0));
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.map_flags = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 10,
	};
	u64 value = 7;
	u32 key = 3;

	KUNIT_EXPECT_EQ(test, patient_update(map, &key, &value, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, look(map, &key, &value), 0);
	map = map_of(test, kern_sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr)));
	KUNIT_EXPECT_EQ(test, patient_update(map, &key, &value, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, look(map, &key, &value), 0);
	kind.type = BPF_MAP_TYPE_LRU_HASH;
	KUNIT_EXPECT_LT(test, create(&kind, 10, 0), 0);
}

/* The reserve of a map */

static void test_map_extra_is_checked(struct kunit *test)
{
	struct htab_kind kind = dynamic_kinds[0];
	int fd;

	KUNIT_EXPECT_EQ(test, create(&kind, 100, 101), -EINVAL);
	KUNIT_EXPECT_EQ(test, create(&kind, 100, 1ULL << 32), -EINVAL);
	kind.flags = 0;
	KUNIT_EXPECT_EQ(test, create(&kind, 100, 10), -EINVAL);
	kind.type = BPF_MAP_TYPE_LRU_HASH;
	KUNIT_EXPECT_EQ(test, create(&kind, 100, 10), -EINVAL);
	kind.type = BPF_MAP_TYPE_ARRAY;
	KUNIT_EXPECT_EQ(test, create(&kind, 100, 10), -EINVAL);
	kind = dynamic_kinds[0];
	fd = create(&kind, 100, 100);
	KUNIT_ASSERT_GE(test, fd, 0);
	KUNIT_EXPECT_EQ(test, map_of(test, fd)->map_extra, 100);
}

/* As many updates as were reserved, with interrupts off from the first moment. */
static void test_map_with_a_reserve(struct kunit *test)
{
	struct bpf_map *map = map_of(test, create(test->param_value, 1000, 500));
	unsigned long flags;
	u64 value = 1;
	u32 key, failed = 0;

	rcu_read_lock();
	local_irq_save(flags);
	for (key = 0; key < 500; key++)
		failed += !!map->ops->map_update_elem(map, &key, &value, BPF_ANY);
	local_irq_restore(flags);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, failed, 0);
	KUNIT_EXPECT_GE(test, map->ops->map_mem_usage(map), 500 * 72);
}

/* The sysctl */

static ssize_t write_sysctl(struct kunit *test, const char *text)
{
	struct file_system_type *proc = get_fs_type("proc");
	struct vfsmount *mnt;
	struct file *file;
	struct path root;
	ssize_t ret;
	loff_t pos = 0;

	KUNIT_ASSERT_NOT_NULL(test, proc);
	mnt = kern_mount(proc);
	KUNIT_ASSERT_FALSE(test, IS_ERR(mnt));
	root = (struct path){ .mnt = mnt, .dentry = mnt->mnt_root };
	file = file_open_root(&root, "sys/kernel/bpf_force_dyn_alloc", O_WRONLY, 0);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
	} else {
		ret = kernel_write(file, text, strlen(text), &pos);
		__fput_sync(file);
	}
	kern_unmount(mnt);
	return ret;
}

static void test_sysctl_refuses_other_values(struct kunit *test)
{
	static const char * const bad[] = { "2\n", "-1\n", "x\n" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, write_sysctl(test, bad[i]), -EINVAL, "%s", bad[i]);
		KUNIT_EXPECT_EQ(test, sysctl_bpf_force_dyn_alloc, 0);
	}
	KUNIT_EXPECT_EQ(test, write_sysctl(test, "1\n"), 2);
	KUNIT_EXPECT_EQ(test, sysctl_bpf_force_dyn_alloc, 1);
	KUNIT_EXPECT_EQ(test, write_sysctl(test, "0\n"), 2);
	KUNIT_EXPECT_EQ(test, sysctl_bpf_force_dyn_alloc, 0);
}

static void sysctl_off(void *unused)
{
	WRITE_ONCE(sysctl_bpf_force_dyn_alloc, 0);
}

static void test_sysctl_changes_memory_and_nothing_else(struct kunit *test)
{
	struct htab_kind kind = dynamic_kinds[0];
	struct bpf_map *before, *after, *lru;
	u64 value = 9, big, small;
	u32 key;

	kind.flags = 0;
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, sysctl_off, NULL), 0);
	before = map_of(test, create(&kind, 10000, 0));
	WRITE_ONCE(sysctl_bpf_force_dyn_alloc, 1);
	after = map_of(test, create(&kind, 10000, 0));
	big = before->ops->map_mem_usage(before);
	small = after->ops->map_mem_usage(after);
	kunit_info(test, "empty map of 10000 elements: %llu bytes, with the sysctl %llu\n",
		   big, small);
	KUNIT_EXPECT_GT(test, big, small + 10000 * 56);
	KUNIT_EXPECT_EQ(test, after->map_flags, before->map_flags);
	KUNIT_EXPECT_EQ(test, after->map_extra, before->map_extra);
	for (key = 0; key < 10000; key++)
		KUNIT_ASSERT_EQ(test, patient_update(after, &key, &value, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, prog_update(after, &key, &value, BPF_ANY), -E2BIG);
	KUNIT_EXPECT_GE(test, after->ops->map_mem_usage(after), small + 10000 * 64);
	/* These cannot do without. */
	kind.type = BPF_MAP_TYPE_LRU_HASH;
	lru = map_of(test, create(&kind, 100, 0));
	KUNIT_EXPECT_EQ(test, patient_update(lru, &key, &value, BPF_ANY), 0);
}

static struct kunit_case memalloc_htab_cases[] = {
	KUNIT_CASE_PARAM(test_random_operations, htab_kind_gen_params),
	KUNIT_CASE_PARAM(test_small_map_is_full_at_max_entries, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_large_map_is_full_at_max_entries, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_fill_through_bpf_never_fails, dynamic_kind_gen_params),
	KUNIT_CASE_PARAM(test_batch_operations, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_lookup_and_delete, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_iteration_while_others_delete, sized_kind_gen_params),
	KUNIT_CASE(test_flags_of_creation),
	KUNIT_CASE(test_map_extra_is_checked),
	KUNIT_CASE_PARAM(test_map_with_a_reserve, dynamic_kind_gen_params),
	KUNIT_CASE(test_sysctl_refuses_other_values),
	KUNIT_CASE(test_sysctl_changes_memory_and_nothing_else),
	{}
};

static int htab_init(struct kunit *test)
{
	/* Values of per-CPU maps are those of "this" CPU. */
	return set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

static long live_before;

static int htab_suite_init(struct kunit_suite *suite)
{
	live_before = test_live();
	return 0;
}

/* Maps are freed by a worker, after the case that had them. */
static void htab_suite_exit(struct kunit_suite *suite)
{
	if (!test_wait_for(test_live() <= live_before))
		WARN(1, "%ld objects of maps leaked", test_live() - live_before);
}

static struct kunit_suite memalloc_htab_suite = {
	.name = "bpf_memalloc_htab",
	.suite_init = htab_suite_init,
	.suite_exit = htab_suite_exit,
	.init = htab_init,
	.test_cases = memalloc_htab_cases,
};

kunit_test_suite(memalloc_htab_suite);
