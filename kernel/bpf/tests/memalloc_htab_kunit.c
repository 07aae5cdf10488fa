// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: hash maps on top of it, through the kernel's own entry
 * into bpf() and through the operations that programs call.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/prandom.h>
#include <linux/uaccess.h>
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

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

	return test_map_try(&attr);
}

static int kind_fd(struct kunit *test, u32 max_entries)
{
	return test_keep_fd(test, create(test->param_value, max_entries, 0));
}

static struct bpf_map *map_of(struct kunit *test, int fd)
{
	return test_map(test, test_keep_fd(test, fd));
}

static struct bpf_map *kind_map(struct kunit *test, u32 max_entries)
{
	return test_map(test, kind_fd(test, max_entries));
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
			KUNIT_ASSERT_EQ(test, test_map_put(map, key, value, BPF_ANY), 0);
			if (percpu && !version[nr])
				KUNIT_ASSERT_TRUE(test, zero_elsewhere(map, key));
			version[nr] = i;
		} else {
			KUNIT_ASSERT_EQ(test, test_map_delete(map, key), version[nr] ? 0 : -ENOENT);
			version[nr] = 0;
		}
		nr = (dice >> 16) % KEYS;
		make_key(map, key, nr);
		make_value(map, value, nr, version[nr]);
		KUNIT_ASSERT_EQ(test, look(map, key, value), version[nr] ? 0 : -ENOENT);
	}
}

/* User space writes and reads the values of all CPUs, each of them rounded up. */
static size_t user_value_size(const struct bpf_map *map)
{
	if (map->map_type != BPF_MAP_TYPE_PERCPU_HASH)
		return map->value_size;
	return round_up(map->value_size, 8) * num_possible_cpus();
}

static void make_user_value(struct bpf_map *map, u8 *value, u32 nr, u32 version)
{
	size_t at, step = round_up(map->value_size, 8), size = user_value_size(map);

	for (at = 0; at < size; at += step)
		make_value(map, value + at, nr + at / step * 7, version);
}

/* What look() says, for the values of all CPUs. */
static int look_everywhere(struct bpf_map *map, void *key, u8 *expected)
{
	size_t step = round_up(map->value_size, 8);
	int cpu, err = 0;
	void *found;

	if (map->map_type != BPF_MAP_TYPE_PERCPU_HASH)
		return look(map, key, expected);
	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		found = map->ops->map_lookup_percpu_elem(map, key, cpu);
		if (!found)
			err = -ENOENT;
		else if (memcmp(found, expected, map->value_size))
			err = -EILSEQ;
		expected += step;
	}
	rcu_read_unlock();
	return err;
}

#define SYS_KEYS	5

static void test_system_calls(struct kunit *test)
{
	int fd = kind_fd(test, SYS_KEYS);
	struct bpf_map *map = test_map(test, fd);
	u8 *key = kunit_kzalloc(test, map->key_size, GFP_KERNEL);
	u8 *value = kunit_kzalloc(test, user_value_size(map), GFP_KERNEL);
	u32 nr, round;

	KUNIT_ASSERT_NOT_NULL(test, key);
	KUNIT_ASSERT_NOT_NULL(test, value);
	for (round = 0; round < 3; round++) {
		for (nr = 0; nr < SYS_KEYS; nr++) {
			make_key(map, key, nr);
			make_user_value(map, value, nr, round);
			KUNIT_EXPECT_EQ(test, test_sys_update(fd, key, value, BPF_EXIST), -ENOENT);
			KUNIT_EXPECT_EQ(test, test_sys_update(fd, key, value, BPF_NOEXIST), 0);
			KUNIT_EXPECT_EQ(test, test_sys_update(fd, key, value, BPF_NOEXIST),
					-EEXIST);
			KUNIT_EXPECT_EQ(test, look_everywhere(map, key, value), 0);
			make_user_value(map, value, nr, round + 1);
			KUNIT_EXPECT_EQ(test, test_sys_update(fd, key, value, BPF_EXIST), 0);
			KUNIT_EXPECT_EQ(test, look_everywhere(map, key, value), 0);
		}
		make_key(map, key, SYS_KEYS);
		KUNIT_EXPECT_EQ(test, test_sys_update(fd, key, value, BPF_ANY), -E2BIG);
		for (nr = 0; nr < SYS_KEYS; nr++) {
			make_key(map, key, nr);
			make_user_value(map, value, nr, round + 1);
			KUNIT_EXPECT_EQ(test, look_everywhere(map, key, value), 0);
			KUNIT_EXPECT_EQ(test, test_sys_delete(fd, key), 0);
			KUNIT_EXPECT_EQ(test, test_sys_delete(fd, key), -ENOENT);
		}
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
			KUNIT_ASSERT_EQ_MSG(test, test_map_put(map, &key, &value, BPF_NOEXIST),
					    0, "key %u", key);
		for (; key < max_entries + 100; key++)
			KUNIT_ASSERT_EQ(test, test_map_update(map, &key, &value, BPF_ANY), -E2BIG);
		for (key = 0; key < 100 && key < max_entries; key++)
			KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &value, BPF_EXIST), 0);
		/* Room for one is room for one. */
		key = 0;
		KUNIT_ASSERT_EQ(test, test_map_delete(map, &key), 0);
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &value, BPF_NOEXIST), 0);
		key = max_entries;
		KUNIT_ASSERT_EQ(test, test_map_update(map, &key, &value, BPF_ANY), -E2BIG);
		for (key = 0; key < max_entries; key++)
			KUNIT_ASSERT_EQ(test, test_map_delete(map, &key), 0);
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
	int fd = kind_fd(test, entries), err, last = 0;
	u32 key, failed = 0;

	KUNIT_ASSERT_NOT_NULL(test, values);
	for (key = 0; key < entries; key++) {
		err = test_sys_update(fd, &key, values, BPF_NOEXIST);
		if (err) {
			failed++;
			last = err;
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, failed, 0, "last error %d", last);
}

/* Batches */

#define BATCH	512

struct user_batch {
	u32 __user *keys;
	void __user *values;
	u8 *value;		/* one, as the kernel sees it */
	size_t size;		/* of one value of user space */
};

static void make_batch(struct kunit *test, struct bpf_map *map, struct user_batch *user, u32 nr)
{
	u32 i;

	user->size = user_value_size(map);
	user->value = kunit_kzalloc(test, user->size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, user->value);
	user->keys = test_user_memory(test, nr * sizeof(u32));
	user->values = test_user_memory(test, nr * user->size);
	for (i = 0; i < nr; i++) {
		make_user_value(map, user->value, i, 1);
		KUNIT_ASSERT_EQ(test, put_user(i, &user->keys[i]), 0);
		KUNIT_ASSERT_EQ(test, copy_to_user(user->values + i * user->size, user->value,
						   user->size), 0);
	}
}

/* Keys come in any order, each with its value. */
static void expect_batch(struct kunit *test, struct bpf_map *map, struct user_batch *user, u32 nr)
{
	u8 *expected = kunit_kzalloc(test, user->size, GFP_KERNEL);
	u32 i, key;

	KUNIT_ASSERT_NOT_NULL(test, expected);
	for (i = 0; i < nr; i++) {
		KUNIT_ASSERT_EQ(test, get_user(key, &user->keys[i]), 0);
		KUNIT_ASSERT_LT(test, key, BATCH);
		KUNIT_ASSERT_EQ(test, copy_from_user(user->value, user->values + i * user->size,
						     user->size), 0);
		make_user_value(map, expected, key, 1);
		KUNIT_ASSERT_MEMEQ(test, user->value, expected, user->size);
	}
}

/* Update, look up, look up and delete, delete: with the test's own user memory. */
static void test_batch_operations(struct kunit *test)
{
	struct bpf_map *map = kind_map(test, BATCH);
	struct user_batch user;
	struct test_batch batch;
	u32 key;
	int err;

	make_batch(test, map, &user, BATCH);
	batch = (struct test_batch){ user.keys, user.values, BATCH };
	KUNIT_ASSERT_EQ(test, test_map_batch_update(test, map, &batch), 0);
	KUNIT_ASSERT_EQ(test, batch.count, BATCH);
	KUNIT_ASSERT_EQ(test, clear_user(user.values, BATCH * user.size), 0);
	err = test_map_batch(test, map, map->ops->map_lookup_batch, &batch);
	KUNIT_EXPECT_EQ(test, err, -ENOENT);
	KUNIT_ASSERT_EQ(test, batch.count, BATCH);
	expect_batch(test, map, &user, BATCH);
	/* The first half in the order of the map. */
	batch.count = BATCH / 2;
	err = test_map_batch(test, map, map->ops->map_delete_batch, &batch);
	KUNIT_EXPECT_EQ(test, err, 0);
	batch.count = BATCH;
	err = test_map_batch(test, map, map->ops->map_lookup_and_delete_batch, &batch);
	KUNIT_EXPECT_EQ(test, err, -ENOENT);
	KUNIT_ASSERT_EQ(test, batch.count, BATCH / 2);
	expect_batch(test, map, &user, BATCH / 2);
	rcu_read_lock();
	err = map->ops->map_get_next_key(map, NULL, &key);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, err, -ENOENT);
	/* All places are free again, and no more than there were. */
	make_batch(test, map, &user, BATCH);
	batch = (struct test_batch){ user.keys, user.values, BATCH };
	KUNIT_EXPECT_EQ(test, test_map_batch_update(test, map, &batch), 0);
	key = BATCH;
	KUNIT_EXPECT_EQ(test, test_map_update(map, &key, user.value, BPF_ANY), -E2BIG);
}

static const struct htab_kind seven_kinds[] = {
	{ "hash 316", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 316 },
	{ "hash 5000", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 5000 },
	{ "hash 70000", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, 4, 70000 },
	{ "percpu hash 316", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 4, 316 },
	{ "percpu hash 5000", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 4, 5000 },
};

KUNIT_ARRAY_PARAM_DESC(seven_kind, seven_kinds, name);

/* Into a fresh map, and as if no refill came in an interrupt. */
static void test_seven_elements_in_a_batch(struct kunit *test)
{
	struct bpf_map *map = kind_map(test, 7);
	struct memalloc_test_slab *slab;
	struct user_batch user;
	struct test_batch batch;
	int err;

	make_batch(test, map, &user, 7);
	batch = (struct test_batch){ user.keys, user.values, 7 };
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_atomic, 1);
	err = test_map_batch_update(test, map, &batch);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, batch.count, 7);
	err = test_map_batch(test, map, map->ops->map_lookup_batch, &batch);
	KUNIT_EXPECT_EQ(test, err, -ENOENT);
	KUNIT_ASSERT_EQ(test, batch.count, 7);
	expect_batch(test, map, &user, 7);
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
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &value, BPF_ANY), 0);
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
		err = test_map_delete(c->map, &key);
		err = err ?: test_map_put(c->map, &key, &value, BPF_NOEXIST);
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
		KUNIT_ASSERT_EQ(test, test_map_put(c.map, &key, &value, BPF_ANY), 0);
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

/* The same, by the function behind bpf_for_each_map_elem() and the iterator of maps. */

struct visit {
	u32 seen[2 * CHURN_KEYS];
	u32 strange;
};

static u64 visit_element(u64 map, u64 key, u64 value, u64 ctx, u64 unused)
{
	struct visit *visit = (void *)(unsigned long)ctx;
	u32 nr = *(u32 *)(unsigned long)key;

	if (nr < ARRAY_SIZE(visit->seen))
		visit->seen[nr]++;
	else
		visit->strange++;
	return 0;
}

static void test_callbacks_while_others_delete(struct kunit *test)
{
	struct churn c = { .map = kind_map(test, 4 * CHURN_KEYS) };
	struct visit *visit = kunit_kzalloc(test, sizeof(*visit), GFP_KERNEL);
	u32 key, walk, missed = 0, strange = 0;
	struct task_struct *task;
	u64 value = 1;
	bool moved;

	KUNIT_ASSERT_NOT_NULL(test, visit);
	for (key = 0; key < 2 * CHURN_KEYS; key++)
		KUNIT_ASSERT_EQ(test, test_map_put(c.map, &key, &value, BPF_ANY), 0);
	task = kthread_run(churn, &c, "htab_churn");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	moved = test_wait_for(atomic_read(&c.rounds) > 10);
	for (walk = 0; walk < 300; walk++) {
		memset(visit, 0, sizeof(*visit));
		migrate_disable();
		c.map->ops->map_for_each_callback(c.map, (void *)visit_element, visit, 0);
		migrate_enable();
		/* A walk that meets a recycled element may go on in its new bucket. */
		for (key = CHURN_KEYS; key < 2 * CHURN_KEYS; key++)
			missed += !visit->seen[key];
		strange += visit->strange;
		cond_resched();
	}
	kthread_stop(task);
	kunit_info(test, "%u of %u elements passed by\n", missed, walk * CHURN_KEYS);
	KUNIT_EXPECT_TRUE(test, moved);
	KUNIT_EXPECT_EQ(test, strange, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&c.errors), 0);
	/* Without deletes nothing is passed by, nor seen twice. */
	memset(visit, 0, sizeof(*visit));
	migrate_disable();
	c.map->ops->map_for_each_callback(c.map, (void *)visit_element, visit, 0);
	migrate_enable();
	for (key = CHURN_KEYS; key < 2 * CHURN_KEYS; key++)
		KUNIT_ASSERT_EQ(test, visit->seen[key], 1);
}

/* A thread on each CPU: elements go through all hands, each with its own value */

#define CROWD_KEYS	16
#define CROWD_ROUNDS	1000

struct crowd {
	struct bpf_map *map;
	struct task_struct *task;
	u32 first;		/* of its keys */
	u32 wrong;
	u32 full;
	u32 held;
	atomic_t done;
};

static void crowd_round(struct crowd *c, u32 round)
{
	u32 key = c->first + round % CROWD_KEYS, other = key + CROWD_KEYS * nr_cpu_ids;
	u64 value = (u64)round << 32 | key;
	long err;

	err = test_map_put(c->map, &key, &value, BPF_NOEXIST);
	if (err == -E2BIG) {
		c->full++;
		return;
	}
	c->held++;
	c->wrong += err || look(c->map, &key, &value);
	/* This one fills a map for one element. */
	if (c->map->max_entries == 1)
		c->wrong += test_map_update(c->map, &other, &value, BPF_NOEXIST) != -E2BIG;
	value = ~value;
	err = test_map_put(c->map, &key, &value, BPF_EXIST);
	c->wrong += err || look(c->map, &key, &value);
	c->wrong += test_map_delete(c->map, &key) != 0;
}

static int crowd_thread(void *arg)
{
	struct crowd *c = arg;
	u32 round;

	for (round = 0; round < CROWD_ROUNDS; round++) {
		crowd_round(c, round);
		cond_resched();
	}
	atomic_set(&c->done, 1);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

/* Afterwards the count is what it was: there is room for as many, and not one more. */
static void expect_room(struct kunit *test, struct bpf_map *map)
{
	u64 value = 1;
	u32 key;

	for (key = 0; key < map->max_entries; key++)
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &value, BPF_NOEXIST), 0);
	KUNIT_EXPECT_EQ(test, test_map_update(map, &key, &value, BPF_NOEXIST), -E2BIG);
}

static void play_crowd(struct kunit *test, u32 entries)
{
	struct crowd *crowd = kunit_kcalloc(test, nr_cpu_ids, sizeof(*crowd), GFP_KERNEL);
	struct bpf_map *map = kind_map(test, entries);
	unsigned int cpu, full = 0, held = 0;

	KUNIT_ASSERT_NOT_NULL(test, crowd);
	for_each_online_cpu(cpu) {
		crowd[cpu] = (struct crowd){ .map = map, .first = cpu * CROWD_KEYS };
		crowd[cpu].task = kthread_create(crowd_thread, &crowd[cpu], "htab_crowd/%u", cpu);
		if (IS_ERR(crowd[cpu].task))
			continue;
		kthread_bind(crowd[cpu].task, cpu);
		wake_up_process(crowd[cpu].task);
	}
	for_each_online_cpu(cpu) {
		KUNIT_EXPECT_FALSE(test, IS_ERR(crowd[cpu].task));
		if (IS_ERR(crowd[cpu].task))
			continue;
		KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&crowd[cpu].done)));
		kthread_stop(crowd[cpu].task);
		KUNIT_EXPECT_EQ(test, crowd[cpu].wrong, 0);
		full += crowd[cpu].full;
		held += crowd[cpu].held;
	}
	kunit_info(test, "%u elements, %u times the map was full\n", held, full);
	KUNIT_EXPECT_GT(test, held, 0);
	expect_room(test, map);
}

static void test_many_cpus_recycle_elements(struct kunit *test)
{
	play_crowd(test, 1000);
}

static void test_many_cpus_want_the_only_element(struct kunit *test)
{
	play_crowd(test, 1);
}

/* In the order in which the map lists them. */
static u32 list_keys(struct bpf_map *map, u32 *keys, u32 max)
{
	u32 nr = 0;

	rcu_read_lock();
	while (nr < max && !map->ops->map_get_next_key(map, nr ? &keys[nr - 1] : NULL, &keys[nr]))
		nr++;
	rcu_read_unlock();
	return nr;
}

#define SEED_KEYS	64

/* Two maps without a seed of their own are alike. */
static void test_zero_seed(struct kunit *test)
{
	struct htab_kind kind = *(const struct htab_kind *)test->param_value;
	u32 keys[2][SEED_KEYS], i, key;
	struct bpf_map *map;
	u64 value = 1;

	kind.flags |= BPF_F_ZERO_SEED;
	for (i = 0; i < 2; i++) {
		map = map_of(test, create(&kind, 4 * SEED_KEYS, 0));
		for (key = 0; key < SEED_KEYS; key++)
			KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &value, BPF_ANY), 0);
		KUNIT_ASSERT_EQ(test, list_keys(map, keys[i], SEED_KEYS), SEED_KEYS);
	}
	KUNIT_EXPECT_MEMEQ(test, keys[0], keys[1], sizeof(keys[0]));
}

static void test_numa_node(struct kunit *test)
{
	const struct htab_kind *kind = test->param_value;
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = kind->flags | BPF_F_NUMA_NODE,
		.key_size = kind->key_size,
		.value_size = kind->value_size,
		.max_entries = 10,
		.numa_node = first_online_node,
	};
	struct bpf_map *map;
	u64 value = 7;
	u32 key = 3;

	if (kind->type == BPF_MAP_TYPE_PERCPU_HASH) {
		KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
		return;
	}
	map = map_of(test, test_map_try(&attr));
	KUNIT_EXPECT_EQ(test, map->numa_node, first_online_node);
	KUNIT_EXPECT_EQ(test, test_map_put(map, &key, &value, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, look(map, &key, &value), 0);
	attr.numa_node = nr_node_ids;
	KUNIT_EXPECT_EQ(test, test_map_try(&attr), -EINVAL);
}

static void test_lru_maps_are_preallocated(struct kunit *test)
{
	struct htab_kind kind = dynamic_kinds[0];

	kind.type = BPF_MAP_TYPE_LRU_HASH;
	KUNIT_EXPECT_LT(test, create(&kind, 10, 0), 0);
	kind.type = BPF_MAP_TYPE_LRU_PERCPU_HASH;
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
		KUNIT_ASSERT_EQ(test, test_map_put(after, &key, &value, BPF_ANY), 0);
	KUNIT_EXPECT_EQ(test, test_map_update(after, &key, &value, BPF_ANY), -E2BIG);
	KUNIT_EXPECT_GE(test, after->ops->map_mem_usage(after), small + 10000 * 64);
	/* These cannot do without. */
	kind.type = BPF_MAP_TYPE_LRU_HASH;
	lru = map_of(test, create(&kind, 100, 0));
	KUNIT_EXPECT_EQ(test, test_map_put(lru, &key, &value, BPF_ANY), 0);
}

static struct kunit_case memalloc_htab_cases[] = {
	KUNIT_CASE_PARAM(test_random_operations, htab_kind_gen_params),
	KUNIT_CASE_PARAM(test_system_calls, htab_kind_gen_params),
	KUNIT_CASE_PARAM(test_small_map_is_full_at_max_entries, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_large_map_is_full_at_max_entries, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_fill_through_bpf_never_fails, dynamic_kind_gen_params),
	KUNIT_CASE_PARAM(test_batch_operations, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_seven_elements_in_a_batch, seven_kind_gen_params),
	KUNIT_CASE_PARAM(test_lookup_and_delete, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_iteration_while_others_delete, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_callbacks_while_others_delete, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_many_cpus_recycle_elements, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_many_cpus_want_the_only_element, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_zero_seed, sized_kind_gen_params),
	KUNIT_CASE_PARAM(test_numa_node, sized_kind_gen_params),
	KUNIT_CASE(test_lru_maps_are_preallocated),
	KUNIT_CASE(test_map_extra_is_checked),
	KUNIT_CASE_PARAM(test_map_with_a_reserve, dynamic_kind_gen_params),
	KUNIT_CASE(test_sysctl_refuses_other_values),
	KUNIT_CASE(test_sysctl_changes_memory_and_nothing_else),
	{}
};

static struct kunit_suite memalloc_htab_suite = {
	.name = "bpf_memalloc_htab",
	.init = memalloc_map_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_htab_cases,
};

kunit_test_suite(memalloc_htab_suite);
