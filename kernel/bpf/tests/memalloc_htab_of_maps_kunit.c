// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: hash maps whose values are maps. Outer and inner ones
 * take their elements from the allocator, and an inner map may go away while
 * a program looks into it.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/uaccess.h>
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

#define ENTRIES		32	/* of the outer map */
#define INNER_KEYS	200

static const struct outer_kind {
	const char *name;
	u32 flags;
} outer_kinds[] = {
	{ "preallocated", 0 },
	{ "dynamic", BPF_F_NO_PREALLOC },
};

KUNIT_ARRAY_PARAM_DESC(outer_kind, outer_kinds, name);

static int try_inner(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(u32),
		.value_size = sizeof(u64),
		.max_entries = INNER_KEYS,
	};

	return test_map_try(&attr);
}

static int try_outer(u32 flags, u32 entries, int inner_fd)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH_OF_MAPS,
		.map_flags = flags,
		.key_size = sizeof(u32),
		.value_size = sizeof(u32),
		.max_entries = entries,
		.inner_map_fd = inner_fd,
	};

	return test_map_try(&attr);
}

static int make_inner(struct kunit *test)
{
	return test_keep_fd(test, try_inner());
}

static int make_outer(struct kunit *test, u32 entries)
{
	const struct outer_kind *kind = test->param_value;

	return test_keep_fd(test, try_outer(kind->flags, entries, make_inner(test)));
}

/* References to a map: one for its descriptor, one for each place in an outer map. */
static s64 refs(const struct bpf_map *map)
{
	return atomic64_read(&map->refcnt);
}

static struct bpf_map *look(struct bpf_map *outer, u32 key)
{
	struct bpf_map *found;

	rcu_read_lock();
	found = outer->ops->map_lookup_elem(outer, &key);
	rcu_read_unlock();
	return found;
}

static void test_update_replace_delete(struct kunit *test)
{
	int a_fd = make_inner(test), b_fd = make_inner(test), fd = make_outer(test, ENTRIES);
	struct bpf_map *a = test_map(test, a_fd), *b = test_map(test, b_fd);
	struct bpf_map *outer = test_map(test, fd);
	u32 key = 1, other = 2;

	KUNIT_EXPECT_PTR_EQ(test, look(outer, key), NULL);
	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &key, &a_fd, BPF_EXIST), -ENOENT);
	KUNIT_EXPECT_EQ(test, refs(a), 1);
	KUNIT_ASSERT_EQ(test, test_sys_update(fd, &key, &a_fd, BPF_NOEXIST), 0);
	KUNIT_EXPECT_PTR_EQ(test, look(outer, key), a);
	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &key, &b_fd, BPF_NOEXIST), -EEXIST);
	KUNIT_EXPECT_EQ(test, refs(a), 2);
	KUNIT_EXPECT_EQ(test, refs(b), 1);
	KUNIT_ASSERT_EQ(test, test_sys_update(fd, &other, &a_fd, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, refs(a), 3);
	KUNIT_ASSERT_EQ(test, test_sys_update(fd, &key, &b_fd, BPF_EXIST), 0);
	KUNIT_EXPECT_PTR_EQ(test, look(outer, key), b);
	KUNIT_EXPECT_EQ(test, refs(a), 2);
	KUNIT_EXPECT_EQ(test, refs(b), 2);
	KUNIT_EXPECT_EQ(test, test_sys_delete(fd, &key), 0);
	KUNIT_EXPECT_EQ(test, test_sys_delete(fd, &key), -ENOENT);
	KUNIT_EXPECT_PTR_EQ(test, look(outer, key), NULL);
	KUNIT_EXPECT_EQ(test, refs(b), 1);
	KUNIT_EXPECT_PTR_EQ(test, look(outer, other), a);
}

static void test_refusals_keep_no_reference(struct kunit *test)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(u32),
		.value_size = 2 * sizeof(u64),
		.max_entries = 1,
	};
	const struct outer_kind *kind = test->param_value;
	int odd_fd = test_map_create(test, &attr), fd = make_outer(test, ENTRIES), bad = 4000;
	struct bpf_map *odd = test_map(test, odd_fd), *outer = test_map(test, fd);
	u32 key = 1;

	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &key, &odd_fd, BPF_ANY), -EINVAL);
	KUNIT_EXPECT_EQ(test, refs(odd), 1);
	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &key, &fd, BPF_ANY), -EINVAL);
	KUNIT_EXPECT_EQ(test, refs(outer), 1);
	KUNIT_EXPECT_EQ(test, test_sys_update(fd, &key, &bad, BPF_ANY), -EBADF);
	KUNIT_EXPECT_PTR_EQ(test, look(outer, key), NULL);
	/* Nor do maps that do not come to be. */
	KUNIT_EXPECT_EQ(test, try_outer(kind->flags, 0, odd_fd), -EINVAL);
	KUNIT_EXPECT_EQ(test, try_outer(kind->flags, 1, bad), -EBADF);
	KUNIT_EXPECT_EQ(test, try_outer(kind->flags, 1, fd), -EINVAL);
	KUNIT_EXPECT_EQ(test, refs(odd), 1);
	KUNIT_EXPECT_EQ(test, refs(outer), 1);
}

/* At the limit and beyond it, and after every way to make room. */
static void test_full_map(struct kunit *test)
{
	int a_fd = make_inner(test), b_fd = make_inner(test), fd = make_outer(test, ENTRIES);
	struct bpf_map *a = test_map(test, a_fd), *b = test_map(test, b_fd);
	u32 key, round;

	for (round = 0; round < 3; round++) {
		for (key = 0; key < ENTRIES; key++)
			KUNIT_ASSERT_EQ(test, test_sys_update(fd, &key, &a_fd, BPF_NOEXIST), 0);
		for (; key < ENTRIES + 10; key++)
			KUNIT_ASSERT_EQ(test, test_sys_update(fd, &key, &b_fd, BPF_ANY), -E2BIG);
		KUNIT_ASSERT_EQ(test, refs(a), 1 + ENTRIES);
		KUNIT_ASSERT_EQ(test, refs(b), 1);
		for (key = 0; key < ENTRIES; key++)
			KUNIT_ASSERT_EQ(test, test_sys_update(fd, &key, &b_fd, BPF_EXIST), 0);
		KUNIT_ASSERT_EQ(test, refs(a), 1);
		KUNIT_ASSERT_EQ(test, refs(b), 1 + ENTRIES);
		for (key = 0; key < ENTRIES; key++)
			KUNIT_ASSERT_EQ(test, test_sys_delete(fd, &key), 0);
		KUNIT_ASSERT_EQ(test, refs(b), 1);
	}
}

static void test_inner_maps_go_with_the_outer_one(struct kunit *test)
{
	const struct outer_kind *kind = test->param_value;
	int inner_fd = make_inner(test), fd = try_outer(kind->flags, ENTRIES, inner_fd);
	struct bpf_map *inner = test_map(test, inner_fd);
	int err = 0;
	u32 key;

	KUNIT_ASSERT_GE(test, fd, 0);
	for (key = 0; key < ENTRIES && !err; key++)
		err = test_sys_update(fd, &key, &inner_fd, BPF_ANY);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, refs(inner), 1 + ENTRIES);
	test_close_fd(fd);
	KUNIT_EXPECT_TRUE(test, test_wait_for(refs(inner) == 1));
}

/* What an inner map holds under a key tells which map it is. */
static u64 content(u32 map_nr, u32 key)
{
	return (u64)map_nr << 32 | key;
}

static int fill_inner(int fd, u32 map_nr)
{
	u32 key;
	int err;

	for (key = 0; key < INNER_KEYS; key++) {
		u64 value = content(map_nr, key);

		err = test_sys_update(fd, &key, &value, BPF_ANY);
		if (err)
			return err;
	}
	return 0;
}

/* Elements of @inner that are not there, or not those of one map. In RCU. */
static u32 count_wrong(struct bpf_map *inner)
{
	u32 key, wrong = 0, map_nr = 0;

	for (key = 0; key < INNER_KEYS; key++) {
		u64 *value = inner->ops->map_lookup_elem(inner, &key);

		if (!key && value)
			map_nr = *value >> 32;
		wrong += !value || *value != content(map_nr, key);
	}
	return wrong;
}

/* An inner map of which only the outer one knows. */
static int install(int outer_fd, u32 key, u32 map_nr)
{
	int fd = try_inner(), err;

	if (fd < 0)
		return fd;
	err = fill_inner(fd, map_nr);
	if (!err)
		err = test_sys_update(outer_fd, &key, &fd, BPF_ANY);
	test_close_fd(fd);
	return err;
}

/*
 * A reader has the inner map when its last reference goes: the map, and what is
 * in it, stays as long as the reader.
 */
static void play_removal(struct kunit *test, bool replace)
{
	int fd = make_outer(test, ENTRIES), spare_fd = make_inner(test);
	struct bpf_map *outer = test_map(test, fd), *inner;
	u32 key = 7, before, after;
	long empty = test_live(), during, err;

	KUNIT_ASSERT_EQ(test, install(fd, key, 5), 0);
	KUNIT_EXPECT_GE(test, test_live(), empty + INNER_KEYS);
	migrate_disable();
	rcu_read_lock();
	inner = outer->ops->map_lookup_elem(outer, &key);
	before = count_wrong(inner);
	if (replace)
		err = bpf_fd_htab_map_update_elem(outer, NULL, &key, &spare_fd, BPF_EXIST);
	else
		err = outer->ops->map_delete_elem(outer, &key);
	/* Long enough for whoever would free it too early. */
	mdelay(20);
	after = count_wrong(inner);
	during = test_live();
	rcu_read_unlock();
	migrate_enable();
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, before, 0);
	KUNIT_EXPECT_EQ(test, after, 0);
	KUNIT_EXPECT_GE(test, during, empty + INNER_KEYS);
	/* In the end its elements go. The outer map may have grown by a batch. */
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() < empty + INNER_KEYS / 2));
}

static void test_deleted_inner_map_outlives_its_readers(struct kunit *test)
{
	play_removal(test, false);
}

static void test_replaced_inner_map_outlives_its_readers(struct kunit *test)
{
	play_removal(test, true);
}

static void test_batches(struct kunit *test)
{
	int inner_fd = make_inner(test), fd = make_outer(test, ENTRIES);
	struct bpf_map *outer = test_map(test, fd), *inner = test_map(test, inner_fd);
	u32 __user *keys = test_user_memory(test, ENTRIES * sizeof(u32));
	u32 __user *values = test_user_memory(test, ENTRIES * sizeof(u32));
	struct test_batch batch = { keys, values, ENTRIES };
	u32 i, id;

	for (i = 0; i < ENTRIES; i++) {
		KUNIT_ASSERT_EQ(test, put_user(i, &keys[i]), 0);
		KUNIT_ASSERT_EQ(test, put_user(inner_fd, &values[i]), 0);
	}
	KUNIT_ASSERT_EQ(test, test_map_batch_update(test, outer, &batch), 0);
	KUNIT_EXPECT_EQ(test, batch.count, ENTRIES);
	KUNIT_EXPECT_EQ(test, refs(inner), 1 + ENTRIES);
	/* User space gets the number of a map, not where it is. */
	KUNIT_EXPECT_EQ(test, test_map_batch(test, outer, outer->ops->map_lookup_batch, &batch),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, batch.count, ENTRIES);
	for (i = 0; i < ENTRIES; i++) {
		KUNIT_ASSERT_EQ(test, get_user(id, &values[i]), 0);
		KUNIT_ASSERT_EQ(test, id, inner->id);
	}
	batch.count = ENTRIES / 4;
	KUNIT_EXPECT_EQ(test, test_map_batch(test, outer, outer->ops->map_delete_batch, &batch), 0);
	KUNIT_EXPECT_EQ(test, refs(inner), 1 + ENTRIES - ENTRIES / 4);
	batch.count = ENTRIES;
	KUNIT_EXPECT_EQ(test, test_map_batch(test, outer, outer->ops->map_lookup_and_delete_batch,
					     &batch), -ENOENT);
	KUNIT_EXPECT_EQ(test, batch.count, ENTRIES - ENTRIES / 4);
	KUNIT_EXPECT_EQ(test, refs(inner), 1);
}

/* Somebody installs, replaces and deletes while readers look through. */

#define CHURN_KEYS	4
#define CHURN_ROUNDS	400

static struct {
	int outer_fd;
	atomic_t rounds;
	int err;
} churn;

static int churn_thread(void *unused)
{
	u32 nr = 0, key;
	int err = 0;

	while (!kthread_should_stop()) {
		if (!err && atomic_read(&churn.rounds) < CHURN_ROUNDS) {
			key = ++nr % CHURN_KEYS;
			err = nr % 3 ? install(churn.outer_fd, key, nr) :
				       test_sys_delete(churn.outer_fd, &key);
			if (err == -ENOENT)
				err = 0;
			WRITE_ONCE(churn.err, err);
			atomic_inc(&churn.rounds);
		}
		cond_resched();
	}
	return 0;
}

static struct {
	u32 seen;
	u32 wrong;
} reader;

/* Look through all inner maps some times; true once there has been enough churn. */
static bool read_and_see(struct bpf_map *outer)
{
	struct bpf_map *inner;
	u32 i, key;

	for (i = 0; i < 100; i++) {
		key = i % CHURN_KEYS;
		rcu_read_lock();
		inner = outer->ops->map_lookup_elem(outer, &key);
		if (inner) {
			reader.seen++;
			reader.wrong += count_wrong(inner);
		}
		rcu_read_unlock();
	}
	return READ_ONCE(churn.err) || atomic_read(&churn.rounds) >= CHURN_ROUNDS;
}

static void test_readers_while_inner_maps_come_and_go(struct kunit *test)
{
	struct task_struct *task;
	struct bpf_map *outer;

	memset(&churn, 0, sizeof(churn));
	memset(&reader, 0, sizeof(reader));
	churn.outer_fd = make_outer(test, CHURN_KEYS);
	outer = test_map(test, churn.outer_fd);
	task = kthread_run(churn_thread, NULL, "htab_of_maps_churn");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	KUNIT_EXPECT_TRUE(test, test_wait_for(read_and_see(outer)));
	kthread_stop(task);
	kunit_info(test, "%u inner maps looked through\n", reader.seen);
	KUNIT_EXPECT_EQ(test, churn.err, 0);
	KUNIT_EXPECT_GT(test, reader.seen, 0);
	KUNIT_EXPECT_EQ(test, reader.wrong, 0);
}

static struct kunit_case memalloc_htab_of_maps_cases[] = {
	KUNIT_CASE_PARAM(test_update_replace_delete, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_refusals_keep_no_reference, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_full_map, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_inner_maps_go_with_the_outer_one, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_deleted_inner_map_outlives_its_readers, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_replaced_inner_map_outlives_its_readers, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_batches, outer_kind_gen_params),
	KUNIT_CASE_PARAM(test_readers_while_inner_maps_come_and_go, outer_kind_gen_params),
	{}
};

static struct kunit_suite memalloc_htab_of_maps_suite = {
	.name = "bpf_memalloc_htab_of_maps",
	.init = memalloc_map_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_htab_of_maps_cases,
};

kunit_test_suite(memalloc_htab_of_maps_suite);
