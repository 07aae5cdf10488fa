// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: special fields in the values of hash maps. An element
 * that is handed out again must not show what its last user had in them.
 *
 * Newer kernels let lists and pointers stay in an element, for who gets it next,
 * until its memory goes to the slab. There, none may be lost.
 *
 * The maps are described by BTF made here. What a program does with a field is
 * done through the very functions that the verifier would let it call.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/delay.h>
#include <linux/filter.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/prandom.h>
#include <linux/uaccess.h>
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

#define ENTRIES	128

#ifdef FIELDS_STAY
static const bool fields_stay = true;
#else
static const bool fields_stay;
#endif

struct fields_kind {
	const char *name;
	enum bpf_map_type type;
	u32 flags;
};

static const struct fields_kind hash_kinds[] = {
	{ "hash preallocated", BPF_MAP_TYPE_HASH, 0 },
	{ "hash dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
};

KUNIT_ARRAY_PARAM_DESC(hash_kind, hash_kinds, name);

static const struct fields_kind all_kinds[] = {
	{ "hash preallocated", BPF_MAP_TYPE_HASH, 0 },
	{ "hash dynamic", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "percpu hash preallocated", BPF_MAP_TYPE_PERCPU_HASH, 0 },
	{ "percpu hash dynamic", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC },
};

KUNIT_ARRAY_PARAM_DESC(all_kind, all_kinds, name);

/* Maps with fields */

/* A type by this name and size is the field, whatever is in it. */
static u32 add_field(struct test_btf *btf, const char *name, u32 size)
{
	return test_btf_struct(btf, name, size, NULL, 0);
}

static struct test_btf *new_btf(struct kunit *test)
{
	struct test_btf *btf = kunit_kzalloc(test, sizeof(*btf), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, btf);
	return btf;
}

static union bpf_attr attr_of(struct kunit *test, const struct test_btf *btf, u32 key_type,
			      u32 value_type, u32 value_size)
{
	const struct fields_kind *kind = test->param_value;
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = kind->flags,
		.key_size = sizeof(u32),
		.value_size = value_size,
		.max_entries = ENTRIES,
		.btf_key_type_id = key_type,
		.btf_value_type_id = value_type,
	};

	attr.btf_fd = test_btf_load(test, btf);
	return attr;
}

/*
 * What is fresh from the slab had other users before. Leave something in the
 * pages that the slab is going to get.
 */
#define DIRTY_PAGES	512

static void dirty_memory(struct kunit *test)
{
	struct page **pages = kunit_kcalloc(test, DIRTY_PAGES, sizeof(*pages), GFP_KERNEL);
	int nr = 0;

	KUNIT_ASSERT_NOT_NULL(test, pages);
	while (nr < DIRTY_PAGES && (pages[nr] = alloc_page(GFP_KERNEL)))
		memset(page_address(pages[nr++]), 0xff, PAGE_SIZE);
	while (nr)
		__free_page(pages[--nr]);
}

static struct bpf_map *make_map(struct kunit *test, const union bpf_attr *attr)
{
	dirty_memory(test);
	return test_map(test, test_map_create(test, attr));
}

/* Where the value of a key is, for a program. */
static void *value_of(struct bpf_map *map, u32 key)
{
	void *value;

	rcu_read_lock();
	migrate_disable();
	value = map->ops->map_lookup_elem(map, &key);
	migrate_enable();
	rcu_read_unlock();
	return value;
}

/* How an element can go, or its value at least. */
enum removal { DELETED, REPLACED, LOOKED_UP_AND_DELETED, BATCH_DELETED, REMOVALS };

static const char * const removal_name[REMOVALS] = {
	[DELETED] = "deleted",
	[REPLACED] = "replaced",
	[LOOKED_UP_AND_DELETED] = "looked up and deleted",
	[BATCH_DELETED] = "deleted in a batch",
};

static int batch_delete(struct kunit *test, struct bpf_map *map, u32 key)
{
	u32 __user *keys = test_user_memory(test, sizeof(*keys));
	struct test_batch batch = { .keys = keys, .count = 1 };

	if (copy_to_user(keys, &key, sizeof(key)))
		return -EFAULT;
	return test_map_batch(test, map, map->ops->map_delete_batch, &batch);
}

/* Afterwards there is an element of this key with @value, and it is a new one. */
static int renew(struct kunit *test, struct bpf_map *map, u32 key, void *value,
		 enum removal how)
{
	size_t size = round_up(map->value_size, 8) * num_possible_cpus();
	void *old;
	int err;

	switch (how) {
	case DELETED:
		err = test_map_delete(map, &key);
		break;
	case REPLACED:
		return test_map_put(map, &key, value, BPF_EXIST);
	case LOOKED_UP_AND_DELETED:
		old = kunit_kzalloc(test, size, GFP_KERNEL);
		err = old ? map->ops->map_lookup_and_delete_elem(map, &key, old, 0) : -ENOMEM;
		break;
	default:
		err = batch_delete(test, map, key);
	}
	return err ?: test_map_put(map, &key, value, BPF_NOEXIST);
}

/* Timers */

struct timer_value {
	u64 id;
	struct bpf_timer timer;
	u64 tail;
};

/* Where there is kmalloc_nolock(), a timer is made of what it gives, if it gives anything. */
static void need_timers(struct kunit *test)
{
#ifdef kmalloc_nolock
	void *memory = kmalloc_nolock(sizeof(struct hrtimer), 0, NUMA_NO_NODE);

	if (!memory)
		kunit_skip(test, "no timers: kmalloc_nolock() gives nothing on this machine");
	kfree_nolock(memory);
#endif
}

static struct bpf_map *make_timer_map(struct kunit *test)
{
	struct test_btf *btf = new_btf(test);
	u32 u32_type = test_btf_int(btf, "u32", sizeof(u32));
	u32 u64_type = test_btf_int(btf, "u64", sizeof(u64));
	u32 timer_type = add_field(btf, "bpf_timer", sizeof(struct bpf_timer));
	const struct test_btf_member members[] = {
		{ "id", u64_type, offsetof(struct timer_value, id) },
		{ "timer", timer_type, offsetof(struct timer_value, timer) },
		{ "tail", u64_type, offsetof(struct timer_value, tail) },
	};
	u32 value_type = test_btf_struct(btf, "timer_value", sizeof(struct timer_value),
					 members, ARRAY_SIZE(members));
	union bpf_attr attr = attr_of(test, btf, u32_type, value_type,
				      sizeof(struct timer_value));
	struct bpf_map *map = make_map(test, &attr);

	need_timers(test);
	KUNIT_ASSERT_TRUE(test, btf_record_has_field(map->record, BPF_TIMER));
	return map;
}

/* Whose timers they are: a program that does nothing. */
static struct bpf_prog *make_prog(struct kunit *test)
{
	const struct bpf_insn insn[] = { BPF_MOV64_IMM(BPF_REG_0, 0), BPF_EXIT_INSN() };
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL,
		.prog_flags = BPF_F_SLEEPABLE,
		.insns = (unsigned long)insn,
		.insn_cnt = ARRAY_SIZE(insn),
		.license = (unsigned long)"GPL",
	};
	int fd = test_keep_fd(test, kern_sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr)));
	struct bpf_prog *prog = bpf_prog_get(fd);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, prog);
	/* The descriptor keeps the reference. */
	bpf_prog_put(prog);
	return prog;
}

static u64 helper(const struct bpf_prog *prog, enum bpf_func_id id, u64 a, u64 b, u64 c)
{
	const struct bpf_func_proto *proto = bpf_base_func_proto(id, prog);

	return proto ? proto->func(a, b, c, 0, 0) : -EOPNOTSUPP;
}

#define ARG(pointer)	((u64)(unsigned long)(pointer))

/* Ids of elements: which of them may fire, which did, and how often it was wrong. */
#define IDS	4096

static struct {
	struct bpf_prog *prog;
	bool dead[IDS];
	atomic_t fired[IDS];
	atomic_t total;
	atomic_t wrong;
} timers;

static u64 timer_callback(u64 map, u64 key, u64 value, u64 unused, u64 unused_too)
{
	struct timer_value *v = (void *)(unsigned long)value;
	u64 id = READ_ONCE(v->id);

	atomic_inc(&timers.total);
	if (id >= IDS || READ_ONCE(timers.dead[id]))
		atomic_inc(&timers.wrong);
	else
		atomic_inc(&timers.fired[id]);
	return 0;
}

static int arm(struct bpf_map *map, struct timer_value *value, u64 ns)
{
	int err;

	err = helper(timers.prog, BPF_FUNC_timer_init, ARG(&value->timer), ARG(map),
		     CLOCK_MONOTONIC);
	if (!err)
		err = helper(timers.prog, BPF_FUNC_timer_set_callback, ARG(&value->timer),
			     ARG(timer_callback), ARG(timers.prog->aux));
	if (!err)
		err = helper(timers.prog, BPF_FUNC_timer_start, ARG(&value->timer), ns, 0);
	return err;
}

static bool timer_is_clean(const struct timer_value *value)
{
	return !memchr_inv(&value->timer, 0, sizeof(value->timer));
}

#define RECYCLINGS	20
#define TIMER_RECYCLINGS 6
#define STALE_MS	10

/* Armed, and gone before it fires: whoever gets the element next knows nothing of it. */
static void play_stale_timer(struct kunit *test, struct bpf_map *map, enum removal how)
{
	struct timer_value new = { .tail = 5 }, *value, *last[2] = {};
	u32 key = 3, round, recycled = 0;

	/* What user space writes into the field is not for the field. */
	memset(&new.timer, 0xff, sizeof(new.timer));
	KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_NOEXIST), 0);
	for (round = 0; round < TIMER_RECYCLINGS; round++) {
		value = value_of(map, key);
		KUNIT_ASSERT_NOT_NULL(test, value);
		KUNIT_ASSERT_TRUE(test, timer_is_clean(value));
		KUNIT_ASSERT_EQ(test, value->tail, 5);
		/* A replacement takes turns with what it replaces. */
		recycled += value == last[0] || value == last[1];
		last[round % 2] = value;
		KUNIT_ASSERT_EQ(test, arm(map, value, STALE_MS * NSEC_PER_MSEC), 0);
		KUNIT_ASSERT_FALSE(test, timer_is_clean(value));
		KUNIT_ASSERT_EQ_MSG(test, renew(test, map, key, &new, how), 0, "%s",
				    removal_name[how]);
		/* On a slow machine it may have fired until now, but no longer. */
		WRITE_ONCE(timers.dead[0], true);
		msleep(2 * STALE_MS);
		KUNIT_ASSERT_EQ_MSG(test, atomic_read(&timers.wrong), 0, "%s", removal_name[how]);
		WRITE_ONCE(timers.dead[0], false);
	}
	KUNIT_EXPECT_GT_MSG(test, recycled, 0, "%s", removal_name[how]);
	/* The last one works. */
	value = value_of(map, key);
	KUNIT_EXPECT_TRUE(test, timer_is_clean(value));
	value->id = 1;
	KUNIT_EXPECT_EQ(test, arm(map, value, NSEC_PER_MSEC), 0);
	KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&timers.fired[1]) == 1));
	KUNIT_ASSERT_EQ(test, test_map_delete(map, &key), 0);
}

static void reset_timers(struct kunit *test)
{
	memset(&timers, 0, sizeof(timers));
	timers.prog = make_prog(test);
}

static void test_timer_of_a_recycled_element(struct kunit *test)
{
	struct bpf_map *map = make_timer_map(test);
	enum removal how;

	for (how = 0; how < REMOVALS; how++) {
		reset_timers(test);
		play_stale_timer(test, map, how);
	}
}

#define TIMER_KEYS	64
#define TIMER_ROUNDS	20

/* While they fire, every other element goes, and its memory becomes the next one. */
static void test_timers_fire_for_their_own_elements(struct kunit *test)
{
	struct bpf_map *map = make_timer_map(test);
	u32 key, round, id, lost = 0;
	struct timer_value new = {};
	struct rnd_state rnd;

	BUILD_BUG_ON(TIMER_KEYS * TIMER_ROUNDS > IDS);
	reset_timers(test);
	prandom_seed_state(&rnd, memalloc_test_seed(test));
	for (round = 0; round < TIMER_ROUNDS; round++) {
		for (key = 0; key < TIMER_KEYS; key++) {
			new.id = round * TIMER_KEYS + key;
			KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_NOEXIST), 0);
			KUNIT_ASSERT_EQ(test, arm(map, value_of(map, key),
						  prandom_u32_state(&rnd) % NSEC_PER_MSEC), 0);
			if (key % 2) {
				KUNIT_ASSERT_EQ(test, test_map_delete(map, &key), 0);
				WRITE_ONCE(timers.dead[new.id], true);
			}
		}
		for (key = 0; key < TIMER_KEYS; key += 2) {
			id = round * TIMER_KEYS + key;
			lost += !test_wait_for(atomic_read(&timers.fired[id]) == 1);
			KUNIT_ASSERT_EQ(test, test_map_delete(map, &key), 0);
			WRITE_ONCE(timers.dead[id], true);
		}
	}
	KUNIT_EXPECT_EQ(test, lost, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&timers.wrong), 0);
	KUNIT_EXPECT_GE(test, atomic_read(&timers.total), TIMER_ROUNDS * TIMER_KEYS / 2);
}

static void test_timers_go_with_their_map(struct kunit *test)
{
	struct timer_value new = {};
	struct bpf_map *map;
	u32 key;

	reset_timers(test);
	map = make_timer_map(test);
	for (key = 0; key < TIMER_KEYS; key++) {
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_ANY), 0);
		KUNIT_ASSERT_EQ(test, arm(map, value_of(map, key), 3600ULL * NSEC_PER_SEC), 0);
	}
	/* Each has a reference to its program. */
	KUNIT_EXPECT_EQ(test, atomic64_read(&timers.prog->aux->refcnt), 1 + TIMER_KEYS);
	/* Without a descriptor there are no timers. */
	bpf_map_inc(map);
	test_close_last();
	KUNIT_EXPECT_EQ(test, atomic64_read(&timers.prog->aux->refcnt), 1);
	KUNIT_EXPECT_EQ(test, arm(map, value_of(map, 0), NSEC_PER_MSEC), -EPERM);
	bpf_map_put(map);
	KUNIT_EXPECT_EQ(test, atomic_read(&timers.total), 0);
}

/* Locks */

#define BODY	8

struct locked_value {
	struct bpf_spin_lock lock;
	u32 pad;
	u64 body[BODY];
};

static struct bpf_map *make_locked_map(struct kunit *test)
{
	struct test_btf *btf = new_btf(test);
	u32 u32_type = test_btf_int(btf, "u32", sizeof(u32));
	u32 u64_type = test_btf_int(btf, "u64", sizeof(u64));
	u32 lock_type = add_field(btf, "bpf_spin_lock", sizeof(struct bpf_spin_lock));
	u32 body_type = test_btf_array(btf, u64_type, u32_type, BODY);
	const struct test_btf_member members[] = {
		{ "lock", lock_type, offsetof(struct locked_value, lock) },
		{ "pad", u32_type, offsetof(struct locked_value, pad) },
		{ "body", body_type, offsetof(struct locked_value, body) },
	};
	u32 value_type = test_btf_struct(btf, "locked_value", sizeof(struct locked_value),
					 members, ARRAY_SIZE(members));
	union bpf_attr attr = attr_of(test, btf, u32_type, value_type,
				      sizeof(struct locked_value));
	struct bpf_map *map = make_map(test, &attr);

	KUNIT_ASSERT_TRUE(test, btf_record_has_field(map->record, BPF_SPIN_LOCK));
	return map;
}

/* All of the body says @what; in the field of the lock stands garbage. */
static void make_locked(struct locked_value *value, u64 what)
{
	int i;

	memset(value, 0xff, sizeof(*value));
	for (i = 0; i < BODY; i++)
		value->body[i] = what;
}

static bool is_whole(const struct locked_value *value)
{
	int i;

	for (i = 1; i < BODY; i++) {
		if (value->body[i] != value->body[0])
			return false;
	}
	return true;
}

static void test_lock_word_is_zero(struct kunit *test)
{
	struct bpf_map *map = make_locked_map(test);
	struct locked_value new, *value;
	u32 key, round, held = 0;
	enum removal how;

	for (key = 0; key < ENTRIES; key++) {
		make_locked(&new, key);
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_ANY), 0);
		value = value_of(map, key);
		held += !!value->lock.val;
		value->lock.val = 0;
	}
	KUNIT_EXPECT_EQ(test, held, 0);
	key = 1;
	for (how = 0; how < REMOVALS; how++) {
		for (round = 0; round < RECYCLINGS; round++) {
			make_locked(&new, round);
			KUNIT_ASSERT_EQ(test, renew(test, map, key, &new, how), 0);
			value = value_of(map, key);
			KUNIT_ASSERT_EQ_MSG(test, value->lock.val, 0, "%s", removal_name[how]);
			/* It can be taken, and is free again afterwards. */
			make_locked(&new, round + 1);
			KUNIT_ASSERT_EQ(test, test_map_update(map, &key, &new, BPF_F_LOCK), 0);
			KUNIT_ASSERT_EQ(test, value->lock.val, 0);
			KUNIT_ASSERT_EQ(test, value->body[0], round + 1);
			KUNIT_ASSERT_TRUE(test, is_whole(value));
		}
	}
}

/*
 * Two threads update the same elements under their locks, while one of them
 * recycles others all the time.
 */
#define STABLE_KEYS	8
#define LOCK_ROUNDS	2000

static struct {
	struct bpf_map *map;
	atomic_t rounds;
	u32 wrong;
} locks;

static int update_locked(u32 nr, u64 what)
{
	u32 key = nr % STABLE_KEYS;
	struct locked_value value;

	make_locked(&value, what);
	return test_map_update(locks.map, &key, &value, BPF_F_LOCK | BPF_EXIST);
}

/* An element of its own: a new one, under the lock, gone. */
static int recycle_one(u32 nr)
{
	u32 key = STABLE_KEYS + nr % (ENTRIES / 2);
	struct locked_value value, *found;
	int err;

	make_locked(&value, nr);
	err = test_map_put(locks.map, &key, &value, BPF_NOEXIST | BPF_F_LOCK);
	if (err)
		return err;
	found = value_of(locks.map, key);
	if (!found || found->lock.val || found->body[0] != nr || !is_whole(found))
		return -EILSEQ;
	make_locked(&value, ~(u64)nr);
	err = test_map_update(locks.map, &key, &value, BPF_EXIST | BPF_F_LOCK);
	if (!err && (found->body[0] != ~(u64)nr || !is_whole(found)))
		err = -EILSEQ;
	return test_map_delete(locks.map, &key) ?: err;
}

static int recycling_thread(void *unused)
{
	u32 nr = 0;

	while (!kthread_should_stop()) {
		locks.wrong += recycle_one(++nr) != 0;
		locks.wrong += update_locked(nr, nr) != 0;
		atomic_inc(&locks.rounds);
		cond_resched();
	}
	return 0;
}

static bool update_and_look(u32 *torn)
{
	struct locked_value copy, *value;
	u32 nr;

	for (nr = 0; nr < 10 * STABLE_KEYS; nr++) {
		*torn += update_locked(nr, ~(u64)nr) != 0;
		rcu_read_lock();
		value = value_of(locks.map, nr % STABLE_KEYS);
		copy_map_value_locked(locks.map, &copy, value, true);
		rcu_read_unlock();
		*torn += !is_whole(&copy);
	}
	return atomic_read(&locks.rounds) >= LOCK_ROUNDS;
}

static void test_locked_updates_while_others_recycle(struct kunit *test)
{
	struct locked_value value = {};
	struct task_struct *task;
	u32 key, torn = 0;
	unsigned int cpu;

	memset(&locks, 0, sizeof(locks));
	locks.map = make_locked_map(test);
	for (key = 0; key < STABLE_KEYS; key++)
		KUNIT_ASSERT_EQ(test, test_map_put(locks.map, &key, &value, BPF_ANY), 0);
	/* On another CPU, if there is one: this thread stays where it is. */
	cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	task = kthread_create(recycling_thread, NULL, "fields_recycle");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	if (cpu < nr_cpu_ids)
		kthread_bind(task, cpu);
	wake_up_process(task);
	KUNIT_EXPECT_TRUE(test, test_wait_for(update_and_look(&torn)));
	kthread_stop(task);
	KUNIT_EXPECT_EQ(test, torn, 0);
	KUNIT_EXPECT_EQ(test, locks.wrong, 0);
}

/* Lists of objects that a program made */

struct list_value {
	u64 id;
	struct bpf_spin_lock lock;
	u32 pad;
	struct bpf_list_head head;
};

struct list_item {
	struct bpf_list_node node;
	u64 data[4];
};

static struct {
	u32 item_type;
	struct bpf_map *map;
} lists;

static struct bpf_map *make_list_map(struct kunit *test)
{
	struct test_btf *btf = new_btf(test);
	u32 u32_type = test_btf_int(btf, "u32", sizeof(u32));
	u32 u64_type = test_btf_int(btf, "u64", sizeof(u64));
	u32 lock_type = add_field(btf, "bpf_spin_lock", sizeof(struct bpf_spin_lock));
	u32 head_type = add_field(btf, "bpf_list_head", sizeof(struct bpf_list_head));
	u32 node_type = add_field(btf, "bpf_list_node", sizeof(struct bpf_list_node));
	const struct test_btf_member item[] = {
		{ "node", node_type, offsetof(struct list_item, node) },
		{ "data", u64_type, offsetof(struct list_item, data) },
	};
	const struct test_btf_member value[] = {
		{ "id", u64_type, offsetof(struct list_value, id) },
		{ "lock", lock_type, offsetof(struct list_value, lock) },
		{ "head", head_type, offsetof(struct list_value, head) },
	};
	union bpf_attr attr;
	u32 value_type;

	lists.item_type = test_btf_struct(btf, "list_item", sizeof(struct list_item), item,
					  ARRAY_SIZE(item));
	value_type = test_btf_struct(btf, "list_value", sizeof(struct list_value), value,
				     ARRAY_SIZE(value));
	test_btf_member_tag(btf, "contains:list_item:node", value_type, 2);
	attr = attr_of(test, btf, u32_type, value_type, sizeof(struct list_value));
	return make_map(test, &attr);
}

/* Objects of this size that programs have: deferred ones count until they are collected. */
static long items_in_use(size_t size)
{
	struct bpf_mem_alloc *ma = &bpf_global_ma;

	return bpf_mem_pool_used(ma->owner->pool[bpf_mem_class(size + ma->header)]);
}

/* Those of deleted elements are gone, where they do not stay there. */
static bool left_with_element(size_t size, long before)
{
	return fields_stay || test_wait_for(items_in_use(size) == before);
}

static void *try_new_item(size_t size, void *meta)
{
	void *item;

	migrate_disable();
	item = bpf_obj_new_impl(size, meta);
	migrate_enable();
	return item;
}

/* A program would try later. */
static void *new_item(size_t size, void *meta)
{
	void *item = NULL;

	test_wait_for((item = try_new_item(size, meta)) != NULL);
	return item;
}

static bool list_is_empty(struct list_value *value)
{
	struct list_head *head = (void *)&value->head;

	return !head->next || (head->next == head && head->prev == head);
}

static int push_item(struct list_value *value)
{
	struct btf_struct_meta *meta = btf_find_struct_meta(lists.map->btf, lists.item_type);
	struct list_item *item = new_item(sizeof(*item), meta);

	if (!meta || !item)
		return -ENOMEM;
	return bpf_list_push_front_impl(&value->head, &item->node, meta,
					offsetof(struct list_item, node));
}

#define LIST_ITEMS	5

static void test_lists_go_with_their_element(struct kunit *test)
{
	struct list_value new = {}, *value;
	u32 key = 9, round, i;
	enum removal how;
	long before;

	lists.map = make_list_map(test);
	before = items_in_use(sizeof(struct list_item));
	memset(&new, 0xff, sizeof(new));
	KUNIT_ASSERT_EQ(test, test_map_put(lists.map, &key, &new, BPF_ANY), 0);
	for (how = 0; how < REMOVALS; how++) {
		for (round = 0; round < RECYCLINGS; round++) {
			value = value_of(lists.map, key);
			KUNIT_ASSERT_TRUE_MSG(test, fields_stay || list_is_empty(value), "%s",
					      removal_name[how]);
			for (i = 0; i < LIST_ITEMS; i++)
				KUNIT_ASSERT_EQ(test, push_item(value), 0);
			KUNIT_ASSERT_FALSE(test, list_is_empty(value));
			KUNIT_ASSERT_EQ(test, renew(test, lists.map, key, &new, how), 0);
		}
		KUNIT_EXPECT_TRUE_MSG(test, left_with_element(sizeof(struct list_item), before),
				      "%s", removal_name[how]);
	}
	/* And with the map, whose elements are in use, or cached. */
	for (i = 0; i < LIST_ITEMS; i++)
		KUNIT_ASSERT_EQ(test, push_item(value_of(lists.map, key)), 0);
	KUNIT_EXPECT_GE(test, items_in_use(sizeof(struct list_item)), before + LIST_ITEMS);
	if (!fields_stay)
		KUNIT_EXPECT_EQ(test, items_in_use(sizeof(struct list_item)), before + LIST_ITEMS);
	test_close_last();
	KUNIT_EXPECT_TRUE(test, test_wait_for(items_in_use(sizeof(struct list_item)) == before));
}

/*
 * A program that found the element before it was deleted may still put something
 * into it. Nobody looks there again until the memory goes back to the slab.
 */
static void test_late_list_item_goes_with_the_map(struct kunit *test)
{
	struct list_value new = {}, *value;
	u32 key, wrong = 0;
	long before;

	lists.map = make_list_map(test);
	before = items_in_use(sizeof(struct list_item));
	for (key = 0; key < LIST_ITEMS; key++)
		KUNIT_ASSERT_EQ(test, test_map_put(lists.map, &key, &new, BPF_ANY), 0);
	for (key = 0; key < LIST_ITEMS; key++) {
		value = value_of(lists.map, key);
		wrong += test_map_delete(lists.map, &key) != 0;
		wrong += push_item(value) != 0;
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, items_in_use(sizeof(struct list_item)), before + LIST_ITEMS);
	test_close_last();
	KUNIT_EXPECT_TRUE(test, test_wait_for(items_in_use(sizeof(struct list_item)) == before));
}

/* Pointers to objects that a program made */

struct pointer_value {
	u64 id;
	void *item;
};

struct pointer_item {
	u64 data[6];
};

static struct bpf_map *make_pointer_map(struct kunit *test)
{
	struct test_btf *btf = new_btf(test);
	u32 u32_type = test_btf_int(btf, "u32", sizeof(u32));
	u32 u64_type = test_btf_int(btf, "u64", sizeof(u64));
	const struct test_btf_member item[] = { { "data", u64_type, 0 } };
	u32 item_type = test_btf_struct(btf, "bpf_memalloc_kunit_item",
					sizeof(struct pointer_item), item, ARRAY_SIZE(item));
	u32 tag_type = test_btf_type_tag(btf, "kptr", item_type);
	const struct test_btf_member value[] = {
		{ "id", u64_type, offsetof(struct pointer_value, id) },
		{ "item", test_btf_pointer(btf, tag_type), offsetof(struct pointer_value, item) },
	};
	u32 value_type = test_btf_struct(btf, "pointer_value", sizeof(struct pointer_value),
					 value, ARRAY_SIZE(value));
	union bpf_attr attr = attr_of(test, btf, u32_type, value_type,
				      sizeof(struct pointer_value));
	struct bpf_map *map = make_map(test, &attr);

	KUNIT_ASSERT_TRUE(test, btf_record_has_field(map->record, BPF_KPTR_REF));
	return map;
}

/* An item into @value, which may be that of one of many CPUs. */
static void place_item(struct pointer_value *value, u32 *placed, u32 *stale)
{
	void *item = new_item(sizeof(struct pointer_item), NULL), *old;

	if (!item)
		return;
	memset(item, 0xff, sizeof(struct pointer_item));
	old = xchg(&value->item, item);
	if (old && fields_stay)
		__bpf_obj_drop_impl(old, NULL, false);
	else
		*stale += !!old;
	*placed += 1;
}

/* The values that an element has: one, or one of each CPU. */
static u32 find_values(struct bpf_map *map, u32 key, struct pointer_value **values)
{
	int cpu, nr = 0;

	if (map->map_type != BPF_MAP_TYPE_PERCPU_HASH) {
		values[0] = value_of(map, key);
		return 1;
	}
	rcu_read_lock();
	for_each_possible_cpu(cpu)
		values[nr++] = map->ops->map_lookup_percpu_elem(map, &key, cpu);
	rcu_read_unlock();
	return nr;
}

static u32 place_items(struct kunit *test, struct bpf_map *map, u32 key, bool delete_first)
{
	struct pointer_value **values = kunit_kcalloc(test, nr_cpu_ids, sizeof(*values),
						      GFP_KERNEL);
	u32 i, nr, placed = 0, stale = 0;

	KUNIT_ASSERT_NOT_NULL(test, values);
	nr = find_values(map, key, values);
	if (delete_first)
		KUNIT_EXPECT_EQ(test, test_map_delete(map, &key), 0);
	for (i = 0; i < nr; i++)
		place_item(values[i], &placed, &stale);
	KUNIT_EXPECT_EQ(test, placed, nr);
	KUNIT_EXPECT_EQ(test, stale, 0);
	return placed;
}

static struct bpf_map *need_pointer_map(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DEBUG_INFO_BTF))
		kunit_skip(test, "needs CONFIG_DEBUG_INFO_BTF");
	return make_pointer_map(test);
}

static void test_pointers_go_with_their_element(struct kunit *test)
{
	struct bpf_map *map = need_pointer_map(test);
	struct pointer_value new = { 1, (void *)-1 };
	u32 key = 5, round, placed;
	enum removal how;
	long before;

	before = items_in_use(sizeof(struct pointer_item));
	KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_ANY), 0);
	for (how = 0; how < REMOVALS; how++) {
		for (round = 0; round < RECYCLINGS; round++) {
			place_items(test, map, key, false);
			KUNIT_ASSERT_EQ_MSG(test, renew(test, map, key, &new, how), 0, "%s",
					    removal_name[how]);
		}
		KUNIT_EXPECT_TRUE_MSG(test, left_with_element(sizeof(struct pointer_item), before),
				      "%s", removal_name[how]);
	}
	placed = place_items(test, map, key, false);
	KUNIT_EXPECT_GE(test, items_in_use(sizeof(struct pointer_item)), before + placed);
	if (!fields_stay)
		KUNIT_EXPECT_EQ(test, items_in_use(sizeof(struct pointer_item)), before + placed);
	test_close_last();
	KUNIT_EXPECT_TRUE(test, test_wait_for(items_in_use(sizeof(struct pointer_item)) == before));
}

static void test_late_pointer_goes_with_the_map(struct kunit *test)
{
	struct bpf_map *map = need_pointer_map(test);
	struct pointer_value new = { 1, NULL };
	u32 key = 5, placed;
	long before;

	before = items_in_use(sizeof(struct pointer_item));
	KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_ANY), 0);
	placed = place_items(test, map, key, true);
	KUNIT_EXPECT_EQ(test, items_in_use(sizeof(struct pointer_item)), before + placed);
	test_close_last();
	KUNIT_EXPECT_TRUE(test, test_wait_for(items_in_use(sizeof(struct pointer_item)) == before));
}

/* Reference counts: the only field that values of per-CPU maps have without BTF of the kernel. */

struct counted_value {
	u64 id;
	struct bpf_refcount refs;
	u32 tail;
};

static struct bpf_map *make_counted_map(struct kunit *test)
{
	struct test_btf *btf = new_btf(test);
	u32 u32_type = test_btf_int(btf, "u32", sizeof(u32));
	u32 u64_type = test_btf_int(btf, "u64", sizeof(u64));
	u32 refs_type = add_field(btf, "bpf_refcount", sizeof(struct bpf_refcount));
	const struct test_btf_member members[] = {
		{ "id", u64_type, offsetof(struct counted_value, id) },
		{ "refs", refs_type, offsetof(struct counted_value, refs) },
		{ "tail", u32_type, offsetof(struct counted_value, tail) },
	};
	u32 value_type = test_btf_struct(btf, "counted_value", sizeof(struct counted_value),
					 members, ARRAY_SIZE(members));
	union bpf_attr attr = attr_of(test, btf, u32_type, value_type,
				      sizeof(struct counted_value));

	return make_map(test, &attr);
}

/* CPUs on which the field is not what nobody has written, or the rest is not there. */
static u32 count_spoilt(struct bpf_map *map, u32 key)
{
	bool percpu = map->map_type == BPF_MAP_TYPE_PERCPU_HASH;
	struct counted_value *value;
	u32 spoilt = 0, tail;
	int cpu;

	rcu_read_lock();
	for_each_possible_cpu(cpu) {
		value = percpu ? map->ops->map_lookup_percpu_elem(map, &key, cpu) :
				 map->ops->map_lookup_elem(map, &key);
		/* A program's update is for the CPU it runs on. */
		tail = !percpu || cpu == raw_smp_processor_id() ? U32_MAX : 0;
		spoilt += !value || value->refs.__opaque[0] || value->tail != tail;
	}
	rcu_read_unlock();
	return spoilt;
}

static void test_reference_count_is_not_written(struct kunit *test)
{
	struct bpf_map *map = make_counted_map(test);
	struct counted_value new;
	u32 key, round, spoilt = 0;
	enum removal how;

	memset(&new, 0xff, sizeof(new));
	for (key = 0; key < ENTRIES / 2; key++) {
		KUNIT_ASSERT_EQ(test, test_map_put(map, &key, &new, BPF_ANY), 0);
		spoilt += count_spoilt(map, key);
	}
	KUNIT_EXPECT_EQ(test, spoilt, 0);
	key = 3;
	for (how = 0; how < REMOVALS; how++) {
		for (round = 0; round < RECYCLINGS; round++) {
			KUNIT_ASSERT_EQ(test, renew(test, map, key, &new, how), 0);
			KUNIT_ASSERT_EQ_MSG(test, count_spoilt(map, key), 0, "%s",
					    removal_name[how]);
		}
	}
}

static struct kunit_case memalloc_fields_cases[] = {
	KUNIT_CASE_PARAM(test_timer_of_a_recycled_element, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_timers_fire_for_their_own_elements, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_timers_go_with_their_map, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_lock_word_is_zero, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_locked_updates_while_others_recycle, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_lists_go_with_their_element, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_late_list_item_goes_with_the_map, hash_kind_gen_params),
	KUNIT_CASE_PARAM(test_pointers_go_with_their_element, all_kind_gen_params),
	KUNIT_CASE_PARAM(test_late_pointer_goes_with_the_map, all_kind_gen_params),
	KUNIT_CASE_PARAM(test_reference_count_is_not_written, all_kind_gen_params),
	{}
};

static struct kunit_suite memalloc_fields_suite = {
	.name = "bpf_memalloc_fields",
	.init = memalloc_map_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_fields_cases,
};

kunit_test_suite(memalloc_fields_suite);
