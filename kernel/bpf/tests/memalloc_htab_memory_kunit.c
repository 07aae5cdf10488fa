// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what a dynamic hash map can do when no more memory is to
 * be had, and what it asks for when it is made.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/panic.h>
#include <linux/sched.h>
#include <linux/smp.h>
#ifdef CONFIG_TRACEPOINTS
#include <trace/events/kmem.h>
#endif
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

struct memory_kind {
	const char *name;
	enum bpf_map_type type;
};

static const struct memory_kind memory_kinds[] = {
	{ "hash", BPF_MAP_TYPE_HASH },
	{ "percpu hash", BPF_MAP_TYPE_PERCPU_HASH },
	{ "hash of maps", BPF_MAP_TYPE_HASH_OF_MAPS },
};

KUNIT_ARRAY_PARAM_DESC(memory_kind, memory_kinds, name);

/* A map, and an inner one if it wants such. */
struct scene {
	struct bpf_map *map;
	int fd;
	int inner_fd;
};

static int try_map(enum bpf_map_type type, u32 entries, u64 extra, int inner_fd)
{
	union bpf_attr attr = {
		.map_type = type,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(u32),
		.value_size = sizeof(u32),
		.max_entries = entries,
		.map_extra = extra,
		.inner_map_fd = inner_fd,
	};

	return test_map_try(&attr);
}

static struct scene open_map(struct kunit *test, u32 entries)
{
	const struct memory_kind *kind = test->param_value;
	struct scene s = {};

	if (kind->type == BPF_MAP_TYPE_HASH_OF_MAPS)
		s.inner_fd = test_keep_fd(test, try_map(BPF_MAP_TYPE_HASH, 1, 0, 0));
	s.fd = test_keep_fd(test, try_map(kind->type, entries, 0, s.inner_fd));
	s.map = test_map(test, s.fd);
	return s;
}

/* As a program, where programs may; else as user space. */
static long put(const struct scene *s, u32 key, u64 flags)
{
	u64 value = key;

	if (s->map->map_type == BPF_MAP_TYPE_HASH_OF_MAPS)
		return test_sys_update(s->fd, &key, &s->inner_fd, flags);
	return test_map_update(s->map, &key, &value, flags);
}

static struct memalloc_test_slab *refuse_everything(struct kunit *test)
{
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);

	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 1);
	/* A worker or an interrupt that had been allowed to is done with it, and not counted. */
	flush_workqueue(bpf_mem_wq);
	synchronize_rcu();
	atomic_set(&slab->objects, 0);
	return slab;
}

static void move_to(struct kunit *test, unsigned int cpu)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);
}

/* Use up what there is, on every CPU. Returns the number of elements. */
static u32 exhaust(struct kunit *test, const struct scene *s)
{
	unsigned int cpu;
	u32 nr = 0;
	long err;

	for_each_online_cpu(cpu) {
		move_to(test, cpu);
		while (!(err = put(s, nr, BPF_NOEXIST)))
			nr++;
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	}
	return nr;
}

#define OVERWRITES	300

struct irq_overwrite {
	const struct scene *scene;
	u32 nr;
	u32 failed;
};

static void overwrite_in_irq(void *arg)
{
	struct irq_overwrite *o = arg;
	u32 i;

	for (i = 0; i < OVERWRITES; i++)
		o->failed += !!put(o->scene, i % o->nr, BPF_EXIST);
}

/* Each CPU has an element for that since the map was made. */
static void test_overwrite_when_all_is_used_up(struct kunit *test)
{
	struct scene s = open_map(test, 100000);
	struct memalloc_test_slab *slab = refuse_everything(test);
	u32 nr = exhaust(test, &s), i, failed = 0;
	struct irq_overwrite o = { &s, nr };
	unsigned int cpu;

	KUNIT_ASSERT_GE(test, nr, num_online_cpus());
	for_each_online_cpu(cpu) {
		move_to(test, cpu);
		for (i = 0; i < OVERWRITES; i++)
			failed += !!put(&s, i % nr, BPF_EXIST);
		KUNIT_EXPECT_EQ_MSG(test, failed, 0, "on CPU %u", cpu);
		if (s.map->map_type == BPF_MAP_TYPE_HASH_OF_MAPS)
			continue;
		smp_call_function_single(cpu, overwrite_in_irq, &o, true);
		KUNIT_EXPECT_EQ_MSG(test, o.failed, 0, "in an interrupt of CPU %u", cpu);
	}
	/* It was not memory that came meanwhile. */
	KUNIT_EXPECT_EQ(test, put(&s, nr, BPF_NOEXIST), -ENOMEM);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->objects), 0);
	atomic_set(&slab->refuse_from, 0);
}

/*
 * User space on all CPUs at once, and no refill in an interrupt helps: nobody may
 * have to try again while there is memory.
 */

#define USERS		8
#define USER_KEYS	100

struct map_user {
	struct task_struct *task;
	int fd;
	u32 first;
	u32 failed;
	int last;
	void *value;
	atomic_t done;
};

static int user_thread(void *arg)
{
	struct map_user *u = arg;
	u32 key;
	int err;

	for (key = u->first; key < u->first + USER_KEYS; key++) {
		err = test_sys_update(u->fd, &key, u->value, BPF_NOEXIST);
		u->failed += !!err;
		u->last = err ?: u->last;
		cond_resched();
	}
	atomic_set(&u->done, 1);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

static const struct user_kind {
	const char *name;
	enum bpf_map_type type;
	u32 value_size;
} user_kinds[] = {
	{ "hash, 8 bytes", BPF_MAP_TYPE_HASH, 8 },
	{ "hash, 70000 bytes", BPF_MAP_TYPE_HASH, 70000 },
	{ "percpu hash, 8 bytes", BPF_MAP_TYPE_PERCPU_HASH, 8 },
};

KUNIT_ARRAY_PARAM_DESC(user_kind, user_kinds, name);

static void test_system_calls_on_all_cpus(struct kunit *test)
{
	const struct user_kind *kind = test->param_value;
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(u32),
		.value_size = kind->value_size,
		.max_entries = USERS * USER_KEYS,
	};
	struct map_user *users = kunit_kcalloc(test, USERS, sizeof(*users), GFP_KERNEL);
	void *value = kunit_kzalloc(test, round_up(kind->value_size, 8) * num_possible_cpus(),
				    GFP_KERNEL);
	int fd = test_map_create(test, &attr);
	struct memalloc_test_slab *slab;
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, users);
	KUNIT_ASSERT_NOT_NULL(test, value);
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_atomic, 1);
	for (i = 0; i < USERS; i++) {
		users[i] = (struct map_user){ .fd = fd, .first = i * USER_KEYS, .value = value };
		users[i].task = kthread_run(user_thread, &users[i], "map_user/%u", i);
	}
	for (i = 0; i < USERS; i++) {
		if (IS_ERR(users[i].task)) {
			KUNIT_FAIL(test, "no thread");
			continue;
		}
		KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&users[i].done)));
		kthread_stop(users[i].task);
		KUNIT_EXPECT_EQ_MSG(test, users[i].failed, 0, "last error %d", users[i].last);
	}
	atomic_set(&slab->refuse_atomic, 0);
}

#define ENTRIES		200
#define EXCHANGES	10000

/* Delete one and insert another: what the one leaves is what the other needs. */
static u32 exchange(const struct scene *s, u32 *oldest)
{
	u32 i, failed = 0;
	u32 key;

	for (i = 0; i < EXCHANGES; i++) {
		key = (*oldest)++;
		failed += !!test_map_delete(s->map, &key);
		failed += !!put(s, key + ENTRIES, BPF_NOEXIST);
		cond_resched();
	}
	return failed;
}

static void test_exchange_in_a_full_map_without_memory(struct kunit *test)
{
	struct scene s = open_map(test, ENTRIES);
	struct memalloc_test_slab *slab;
	u32 key, oldest = 0, failed;
	unsigned int cpu;

	for (key = 0; key < ENTRIES; key++)
		KUNIT_ASSERT_TRUE(test, test_wait_for(!put(&s, key, BPF_ANY)));
	slab = refuse_everything(test);
	for_each_online_cpu(cpu) {
		move_to(test, cpu);
		failed = exchange(&s, &oldest);
		KUNIT_EXPECT_EQ_MSG(test, failed, 0, "on CPU %u", cpu);
	}
	KUNIT_EXPECT_EQ(test, put(&s, oldest + ENTRIES, BPF_NOEXIST), -E2BIG);
	KUNIT_EXPECT_EQ(test, atomic_read(&slab->objects), 0);
	atomic_set(&slab->refuse_from, 0);
}

/* Reserves of any size */

static const struct reserve {
	const char *name;
	enum bpf_map_type type;
	u32 nr;
} reserves[] = {
	{ "hash, 1000", BPF_MAP_TYPE_HASH, 1000 },
	{ "hash, 60000", BPF_MAP_TYPE_HASH, 60000 },
	{ "hash, 600000", BPF_MAP_TYPE_HASH, 600000 },
	{ "percpu hash, 1000", BPF_MAP_TYPE_PERCPU_HASH, 1000 },
	{ "hash of maps, 60000", BPF_MAP_TYPE_HASH_OF_MAPS, 60000 },
};

KUNIT_ARRAY_PARAM_DESC(reserve, reserves, name);

/*
 * Memory of this task that lies in one piece of more pages than the kernel gives as a
 * rule, and that is not just tried for. One case at a time.
 */
static struct {
	struct task_struct *task;
	unsigned int nr;
	unsigned int order;
} big_pieces;

#ifdef CONFIG_TRACEPOINTS
static void see_pages(void *unused, struct page *page, unsigned int order, gfp_t gfp,
		      int migratetype)
{
	if (current != big_pieces.task || !in_task() || order <= PAGE_ALLOC_COSTLY_ORDER ||
	    gfp & __GFP_NORETRY)
		return;
	big_pieces.nr++;
	big_pieces.order = max(big_pieces.order, order);
}

static void stop_seeing(void *unused)
{
	unregister_trace_mm_page_alloc(see_pages, NULL);
	tracepoint_synchronize_unregister();
}

static void watch_pages(struct kunit *test)
{
	memset(&big_pieces, 0, sizeof(big_pieces));
	big_pieces.task = current;
	KUNIT_ASSERT_EQ(test, register_trace_mm_page_alloc(see_pages, NULL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_seeing, NULL), 0);
}
#else
static void watch_pages(struct kunit *test)
{
	memset(&big_pieces, 0, sizeof(big_pieces));
}
#endif

static bool has_warned(void)
{
	return test_taint(TAINT_WARN);
}

static void test_making_a_map_with_a_reserve(struct kunit *test)
{
	const struct reserve *reserve = test->param_value;
	bool percpu = reserve->type == BPF_MAP_TYPE_PERCPU_HASH, warned = has_warned();
	u32 key, failed = 0, some = min(reserve->nr, 10000);
	struct scene s = {};
	unsigned long flags;
	u64 value = 1;
	int fd;

	if (reserve->type == BPF_MAP_TYPE_HASH_OF_MAPS)
		s.inner_fd = test_keep_fd(test, try_map(BPF_MAP_TYPE_HASH, 1, 0, 0));
	fd = try_map(reserve->type, reserve->nr - 1, reserve->nr, s.inner_fd);
	KUNIT_EXPECT_EQ(test, fd, -EINVAL);
	watch_pages(test);
	fd = try_map(reserve->type, reserve->nr, reserve->nr, s.inner_fd);
	KUNIT_EXPECT_EQ_MSG(test, big_pieces.nr, 0, "of order %u", big_pieces.order);
	KUNIT_EXPECT_EQ(test, has_warned(), warned);
	if (fd == -ENOMEM)
		kunit_skip(test, "not enough memory for that");
	test_keep_fd(test, fd);
	s.fd = fd;
	s.map = test_map(test, fd);
	if (reserve->type == BPF_MAP_TYPE_HASH_OF_MAPS)
		return;
	/* It is what it says: no refill comes in between. */
	if (percpu)
		some = reserve->nr;
	rcu_read_lock();
	local_irq_save(flags);
	for (key = 0; key < some; key++)
		failed += !!s.map->ops->map_update_elem(s.map, &key, &value, BPF_ANY);
	local_irq_restore(flags);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, failed, 0);
}

/* Refused in the middle: all that came goes back. */
static void test_reserve_that_is_refused(struct kunit *test)
{
	const struct reserve *reserve = test->param_value;
	struct memalloc_test_slab *slab;
	bool warned = has_warned();
	int fd, inner_fd = 0;
	long live;

	if (reserve->type == BPF_MAP_TYPE_HASH_OF_MAPS)
		inner_fd = test_keep_fd(test, try_map(BPF_MAP_TYPE_HASH, 1, 0, 0));
	live = test_live();
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 10 + num_possible_cpus());
	fd = try_map(reserve->type, reserve->nr, reserve->nr, inner_fd);
	if (fd >= 0)
		test_close_fd(fd);
	atomic_set(&slab->refuse_from, 0);
	KUNIT_EXPECT_EQ(test, fd, -ENOMEM);
	KUNIT_EXPECT_GT(test, atomic_read(&slab->objects), 0);
	KUNIT_EXPECT_EQ(test, has_warned(), warned);
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() == live));
}

static struct kunit_case memalloc_htab_memory_cases[] = {
	KUNIT_CASE_PARAM(test_overwrite_when_all_is_used_up, memory_kind_gen_params),
	KUNIT_CASE_PARAM(test_system_calls_on_all_cpus, user_kind_gen_params),
	KUNIT_CASE_PARAM(test_exchange_in_a_full_map_without_memory, memory_kind_gen_params),
	KUNIT_CASE_PARAM(test_making_a_map_with_a_reserve, reserve_gen_params),
	KUNIT_CASE_PARAM(test_reserve_that_is_refused, reserve_gen_params),
	{}
};

static struct kunit_suite memalloc_htab_memory_suite = {
	.name = "bpf_memalloc_htab_memory",
	.init = memalloc_map_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_htab_memory_cases,
};

kunit_test_suite(memalloc_htab_memory_suite);
