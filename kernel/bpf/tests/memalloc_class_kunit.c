// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: size classes. Each has stock of its own from the first
 * moment, but those of per-CPU areas, which come when they are asked for: objects
 * may be freed to them before.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "memalloc_test_util.h"

#define ASKED	1000

static struct bpf_mem_pool *pool_for(struct bpf_mem_alloc *ma, size_t size)
{
	return ma->owner->pool[bpf_mem_class(size + ma->header)];
}

static unsigned int nr_pools(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool;
	unsigned int i, nr = 0;

	bpf_mem_for_each_pool(pool, ma->owner, i)
		nr++;
	return nr;
}

/* As many as there are, up to @nr, with no refill in between. */
static unsigned int burst(struct bpf_mem_alloc *ma, size_t size, void **objs, unsigned int nr)
{
	unsigned int got = 0;
	unsigned long flags;

	local_irq_save(flags);
	while (nr--) {
		objs[got] = bpf_mem_alloc(ma, size);
		if (objs[got])
			got++;
	}
	local_irq_restore(flags);
	return got;
}

static void free_all(struct bpf_mem_alloc *ma, void **objs, unsigned int nr)
{
	migrate_disable();
	while (nr--)
		bpf_mem_free(ma, objs[nr]);
	migrate_enable();
}

static void **room(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, ASKED, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	return objs;
}

/* By bytes of an object: what each CPU has of the class in the beginning. */
static const struct class_row {
	size_t size;
	unsigned int class_size;
	unsigned int first;
} class_rows[] = {
	{ 8, 16, 4 }, { 9, 32, 4 }, { 24, 32, 4 }, { 56, 64, 4 }, { 88, 96, 4 },
	{ 120, 128, 4 }, { 184, 192, 4 }, { 248, 256, 4 }, { 249, 512, 1 }, { 504, 512, 1 },
	{ 1016, 1024, 1 }, { 2040, 2048, 1 }, { 4088, 4096, 1 },
};

static void class_row_desc(const struct class_row *row, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu bytes", row->size);
}

KUNIT_ARRAY_PARAM(class_row, class_rows, class_row_desc);

static void test_fresh_classes_have_their_first_objects(struct kunit *test)
{
	long before = test_live();
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);

	KUNIT_EXPECT_EQ(test, nr_pools(ma), BPF_MEM_CLASSES);
	/* 4 of 7 sizes of up to 256 bytes, 1 of each larger one. */
	KUNIT_EXPECT_EQ(test, test_live() - before, num_online_cpus() * (7 * 4 + 4));
}

static void test_object_comes_from_its_class(struct kunit *test)
{
	const struct class_row *row = test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	void **objs = room(test);
	unsigned int i, nr;

	nr = burst(ma, row->size, objs, ASKED);
	KUNIT_EXPECT_EQ(test, nr, row->first);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, bpf_mem_class_size[bpf_mem_obj_of(objs[i])->class],
				row->class_size);
		KUNIT_EXPECT_NULL(test, memchr_inv(objs[i], 0, row->size));
	}
	free_all(ma, objs, nr);
}

/* What failed at first is what there is the second time. */
static void test_second_burst_of_a_class_succeeds(struct kunit *test)
{
	const struct class_row *row = test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	unsigned int got, nr = row->size > 256 ? 100 : ASKED;
	void **objs = room(test);

	got = burst(ma, row->size, objs, nr);
	KUNIT_EXPECT_LT(test, got, nr);
	free_all(ma, objs, got);
	memalloc_test_settle(pool_for(ma, row->size));
	got = burst(ma, row->size, objs, nr);
	KUNIT_EXPECT_EQ(test, got, nr);
	free_all(ma, objs, got);
}

/* An object of another allocator. */

static void free_plain(struct bpf_mem_alloc *ma, void *obj)
{
	bpf_mem_free(ma, obj);
}

static void free_rcu(struct bpf_mem_alloc *ma, void *obj)
{
	bpf_mem_free_rcu(ma, obj);
}

static void free_when_busy(struct bpf_mem_alloc *ma, void *obj)
{
	struct pcpu_magazine_cpu *c;

	preempt_disable();
	c = &raw_cpu_ptr(ma->cpus + bpf_mem_obj_of(obj)->class)->mag;
	WRITE_ONCE(c->busy, 1);
	bpf_mem_free(ma, obj);
	WRITE_ONCE(c->busy, 0);
	preempt_enable();
}

static const struct way {
	const char *name;
	void (*free)(struct bpf_mem_alloc *ma, void *obj);
} ways[] = {
	{ "free", free_plain },
	{ "free_rcu", free_rcu },
	{ "free in a critical section", free_when_busy },
};

static void way_desc(const struct way *way, char *desc)
{
	strscpy(desc, way->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(way, ways, way_desc);

static bool is_in(const void *obj, void **objs, unsigned int nr)
{
	while (nr--) {
		if (objs[nr] == obj)
			return true;
	}
	return false;
}

/* What a nested context gave is looked after with the next free that has no room. */
static void look_after_nested(struct bpf_mem_alloc *ma, size_t size)
{
	void *obj = memalloc_test_get(ma, size);

	migrate_disable();
	bpf_mem_free(ma, obj);
	migrate_enable();
}

static void test_free_to_another_allocators_class(struct kunit *test)
{
	const struct way *way = test->param_value;
	struct bpf_mem_alloc *a = memalloc_test_ma(test, 0, false);
	struct bpf_mem_alloc *b = memalloc_test_ma(test, 0, false);
	void **objs = room(test), *obj = memalloc_test_get(a, 100);
	unsigned int tries, nr = 0;
	bool found = false;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	migrate_disable();
	way->free(b, obj);
	migrate_enable();
	look_after_nested(b, 100);
	/* It is not lost: sooner or later b hands it out. */
	for (tries = 0; tries < ASKED && !found; tries++) {
		objs[nr] = memalloc_test_get(b, 100);
		found = objs[nr] == obj;
		nr += !!objs[nr];
		if (tries > ASKED / 2)
			usleep_range(200, 1000);
	}
	KUNIT_EXPECT_TRUE(test, found);
	KUNIT_EXPECT_FALSE(test, found && is_in(obj, objs, nr - 1));
	free_all(b, objs, nr);
}

/* Per-CPU classes do not come by themselves, so what was freed to one waits. */
static void test_percpu_class_takes_what_came_before_it(struct kunit *test)
{
	struct bpf_mem_alloc *a = memalloc_test_percpu_classes(test);
	struct bpf_mem_alloc *b = memalloc_test_percpu_classes(test);
	void *early[2], *had[20];
	unsigned int i;
	bool found;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(a, 64), 0);
	for (i = 0; i < ARRAY_SIZE(early); i++) {
		early[i] = memalloc_test_get(a, 64);
		KUNIT_ASSERT_NOT_NULL(test, early[i]);
	}
	migrate_disable();
	bpf_mem_free(b, early[0]);
	bpf_mem_free_rcu(b, early[1]);
	migrate_enable();
	KUNIT_EXPECT_NULL(test, pool_for(b, 64));
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(b, 64), 0);
	KUNIT_EXPECT_EQ(test, test_depot_level(pool_for(b, 64)), 0);
	/* One from the nested list, one by way of RCU, and new ones. */
	found = test_wait_for(test_depot_level(pool_for(b, 64)) >= 1);
	KUNIT_EXPECT_TRUE(test, found);
	look_after_nested(b, 64);
	for (i = 0; i < ARRAY_SIZE(had); i++)
		had[i] = memalloc_test_get(b, 64);
	for (i = 0; i < ARRAY_SIZE(early); i++)
		KUNIT_EXPECT_TRUE_MSG(test, is_in(early[i], had, ARRAY_SIZE(had)), "object %u", i);
	free_all(b, had, ARRAY_SIZE(had));
}

static void test_destroy_returns_what_no_pool_took(struct kunit *test)
{
	long before = test_live();
	struct bpf_mem_alloc *a = memalloc_test_percpu_classes(test);
	struct bpf_mem_alloc b = {};
	void *obj[3];
	int i;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(a, 64), 0);
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_init(&b, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(obj); i++) {
		obj[i] = memalloc_test_get(a, 64);
		KUNIT_ASSERT_NOT_NULL(test, obj[i]);
	}
	migrate_disable();
	bpf_mem_free(&b, obj[0]);
	bpf_mem_free_rcu(&b, obj[1]);
	free_when_busy(&b, obj[2]);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, nr_pools(&b), 0);
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(&b, 64));
	bpf_mem_alloc_destroy(&b);
	/* What a has left is all of it. */
	KUNIT_EXPECT_EQ(test, test_live() - before,
			atomic_long_read(&pool_for(a, 64)->nr_slab) - ARRAY_SIZE(obj));
}

static void test_reserve_of_a_class(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = room(test);
	unsigned int got;

	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 1000, 64), -ENOMEM);
	KUNIT_EXPECT_EQ(test, pool_for(ma, 1000)->mag.nr_reserved, 0);
	atomic_set(&slab->refuse_from, 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 1000, 64), 0);
	got = burst(ma, 1000, objs, 64);
	KUNIT_EXPECT_EQ(test, got, 64);
	free_all(ma, objs, got);
}

/* Tasks on all CPUs want objects of the same few classes of a fresh allocator. */

#define ROUNDS		50
#define HELD		64
#define SMALL_CLASSES	7

struct class_user {
	struct task_struct *task;
	struct bpf_mem_alloc *ma;
	struct completion *gate;
	unsigned int first;
	unsigned long wrong;	/* handed out twice, or too small */
	unsigned long had;
	bool done;
};

static size_t nth_size(unsigned int n)
{
	/* Small classes in turn, so that all CPUs want the same one. */
	return bpf_mem_class_size[n % SMALL_CLASSES] - BPF_MEM_HEADER;
}

static void give_all(struct class_user *user, void **held, unsigned int nr)
{
	while (nr) {
		user->wrong += !memalloc_test_drop(held[--nr]);
		migrate_disable();
		if (nr & 1)
			bpf_mem_free(user->ma, held[nr]);
		else
			bpf_mem_free_rcu(user->ma, held[nr]);
		migrate_enable();
	}
}

static void *take_one(struct class_user *user, size_t size)
{
	void *obj;

	migrate_disable();
	obj = bpf_mem_alloc(user->ma, size);
	migrate_enable();
	if (obj) {
		user->wrong += !memalloc_test_take(obj) || ksize(bpf_mem_obj_of(obj)) < size;
		user->had++;
	}
	return obj;
}

static int use_classes(void *arg)
{
	unsigned long until = jiffies + TEST_PATIENCE;
	struct class_user *user = arg;
	unsigned int i, nr = 0;
	void *held[HELD], *obj;

	wait_for_completion(user->gate);
	/* Another CPU may have all there is, and the refill come with the next tick. */
	for (i = 0; i < 20 * HELD || (!user->had && time_before(jiffies, until)); i++) {
		obj = take_one(user, nth_size(user->first + i / HELD));
		if (obj)
			held[nr++] = obj;
		if (!obj || nr == HELD) {
			give_all(user, held, nr);
			nr = 0;
		}
		cond_resched();
	}
	give_all(user, held, nr);
	/* After all that is counted; pairs with use_fresh_allocator(). */
	smp_store_release(&user->done, true);
	while (!kthread_should_stop())
		usleep_range(100, 200);
	return 0;
}

static void use_fresh_allocator(struct kunit *test, struct class_user *users, unsigned int round)
{
	struct bpf_mem_alloc ma = {};
	struct completion gate;
	unsigned int cpu, nr = 0;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 0, false), 0);
	init_completion(&gate);
	for_each_online_cpu(cpu) {
		struct class_user *user = &users[nr++];

		*user = (struct class_user){ .ma = &ma, .gate = &gate, .first = round };
		user->task = kthread_create(use_classes, user, "class%u", cpu);
		KUNIT_ASSERT_FALSE(test, IS_ERR(user->task));
		kthread_bind(user->task, cpu);
		wake_up_process(user->task);
	}
	complete_all(&gate);
	while (nr--) {
		/* Pairs with the release in use_classes(). */
		bool done = test_wait_for(smp_load_acquire(&users[nr].done));

		kthread_stop(users[nr].task);
		KUNIT_EXPECT_TRUE(test, done);
		KUNIT_EXPECT_EQ(test, users[nr].wrong, 0);
		KUNIT_EXPECT_GT(test, users[nr].had, 0);
	}
	/* Sometimes while refills and grace periods are under way. */
	bpf_mem_alloc_destroy(&ma);
}

static void test_all_cpus_use_a_fresh_allocator(struct kunit *test)
{
	struct class_user *users = kunit_kcalloc(test, nr_cpu_ids, sizeof(*users), GFP_KERNEL);
	unsigned int round;

	KUNIT_ASSERT_NOT_NULL(test, users);
	for (round = 0; round < ROUNDS; round++)
		use_fresh_allocator(test, users, round);
}

static struct kunit_case memalloc_class_cases[] = {
	KUNIT_CASE(test_fresh_classes_have_their_first_objects),
	KUNIT_CASE_PARAM(test_object_comes_from_its_class, class_row_gen_params),
	KUNIT_CASE_PARAM(test_second_burst_of_a_class_succeeds, class_row_gen_params),
	KUNIT_CASE_PARAM(test_free_to_another_allocators_class, way_gen_params),
	KUNIT_CASE(test_percpu_class_takes_what_came_before_it),
	KUNIT_CASE(test_destroy_returns_what_no_pool_took),
	KUNIT_CASE(test_reserve_of_a_class),
	KUNIT_CASE(test_all_cpus_use_a_fresh_allocator),
	{}
};

static struct kunit_suite memalloc_class_suite = {
	.name = "bpf_memalloc_class",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_class_cases,
};

kunit_test_suite(memalloc_class_suite);
