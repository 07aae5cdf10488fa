// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: size classes that have no pool yet. Another class
 * stands in for them, objects may be freed to them, and the pool comes while
 * they are in use.
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
	return bpf_mem_pool_of(ma->pools, bpf_mem_class(size + ma->header));
}

static unsigned int nr_pools(struct bpf_mem_alloc *ma)
{
	struct bpf_mem_pool *pool;
	unsigned int i, nr = 0;

	bpf_mem_for_each_pool(pool, ma->pools, i)
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

static void test_unused_classes_cost_nothing(struct kunit *test)
{
	long before = test_live();
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);

	KUNIT_EXPECT_EQ(test, nr_pools(ma), 2);
	KUNIT_EXPECT_EQ(test, test_live(), before + 9);
	KUNIT_EXPECT_LT(test, bpf_mem_alloc_mem_usage(ma), 9 * 1024 + 1024 * num_possible_cpus());
}

/* By bytes of an object, and what stands in when the class has no pool. */
static const struct lent {
	size_t size;
	unsigned int lender;
} lent[] = {
	{ 1, 256 }, { 24, 256 }, { 56, 256 }, { 88, 256 }, { 120, 256 }, { 184, 256 },
	{ 500, 4096 }, { 1000, 4096 }, { 2000, 4096 },
};

static void lent_desc(const struct lent *lent, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu bytes", lent->size);
}

KUNIT_ARRAY_PARAM(lent, lent, lent_desc);

static void test_lender_stands_in(struct kunit *test)
{
	const struct lent *lent = test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	unsigned int class = bpf_mem_class(lent->size + BPF_MEM_HEADER);
	void *first, *own;
	bool came;

	KUNIT_ASSERT_NULL(test, pool_for(ma, lent->size));
	KUNIT_ASSERT_EQ(test, burst(ma, lent->size, &first, 1), 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_class_size[bpf_mem_obj_of(first)->class], lent->lender);
	KUNIT_EXPECT_NULL(test, memchr_inv(first, 0, lent->size));
	memalloc_test_sign(first, lent->size);

	came = test_wait_for(pool_for(ma, lent->size));
	KUNIT_ASSERT_TRUE_MSG(test, came, "no pool came for %zu bytes", lent->size);
	KUNIT_EXPECT_EQ(test, nr_pools(ma), 3);
	own = memalloc_test_get(ma, lent->size);
	KUNIT_ASSERT_NOT_NULL(test, own);
	KUNIT_EXPECT_EQ(test, bpf_mem_obj_of(own)->class, class);
	KUNIT_EXPECT_NULL(test, memchr_inv(own, 0, lent->size));
	KUNIT_EXPECT_TRUE(test, memalloc_test_signed(first, lent->size));

	/* Each goes home, wherever it was asked for. */
	migrate_disable();
	bpf_mem_free(ma, first);
	bpf_mem_free(ma, own);
	KUNIT_EXPECT_PTR_EQ(test, bpf_mem_alloc(ma, lent->size), own);
	KUNIT_EXPECT_PTR_EQ(test, bpf_mem_alloc(ma, lent->lender - BPF_MEM_HEADER), first);
	bpf_mem_free(ma, first);
	bpf_mem_free(ma, own);
	migrate_enable();
}

/* What was asked of the lender is what the class is made for. */
static void test_second_burst_of_a_new_class_succeeds(struct kunit *test)
{
	static const size_t sizes[] = { 24, 100, 500 };
	void **objs = room(test);
	unsigned int i, got;
	bool settled;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
		unsigned int nr = sizes[i] > 256 ? 100 : ASKED;

		got = burst(ma, sizes[i], objs, nr);
		KUNIT_EXPECT_GE_MSG(test, got, sizes[i] > 256 ? 1 : 8, "%zu bytes", sizes[i]);
		free_all(ma, objs, got);
		settled = test_wait_for(pool_for(ma, sizes[i]) &&
					pcpu_magazine_stock(&pool_for(ma, sizes[i])->mag) >= nr);
		KUNIT_EXPECT_TRUE_MSG(test, settled, "%zu bytes", sizes[i]);
		got = burst(ma, sizes[i], objs, nr);
		KUNIT_EXPECT_EQ_MSG(test, got, nr, "%zu bytes", sizes[i]);
		free_all(ma, objs, got);
	}
}

/* An object of another allocator comes to a class that has no pool. */

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
	c = raw_cpu_ptr(ma->cpus + bpf_mem_obj_of(obj)->class);
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

static void test_free_to_a_class_without_pool(struct kunit *test)
{
	const struct way *way = test->param_value;
	struct bpf_mem_alloc *a = memalloc_test_classes(test);
	struct bpf_mem_alloc *b = memalloc_test_ma(test, 0, false);
	void **objs = room(test), *obj = memalloc_test_get(a, 100);
	unsigned int tries, nr = 0;
	bool came, found = false;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	KUNIT_ASSERT_NULL(test, pool_for(b, 100));
	migrate_disable();
	way->free(b, obj);
	migrate_enable();
	came = test_wait_for(pool_for(b, 100));
	KUNIT_ASSERT_TRUE(test, came);
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
	void *early[2], *had[3];
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
	/* One from the nested list, one by way of RCU, one that is new. */
	found = test_wait_for(atomic_read(&pool_for(b, 64)->mag.nr_chains) >= 2);
	KUNIT_EXPECT_TRUE(test, found);
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

static atomic_t pools_refused;

static bool refuse_pool(unsigned int class)
{
	atomic_inc(&pools_refused);
	return false;
}

/* Objects come from the lender meanwhile, and not everybody tries again. */
static void test_class_comes_when_memory_is_back(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	struct bpf_mem_pool *lender = ma->pools->pool[BPF_MEM_LENDER_SMALL];
	unsigned int round, failed = 0;
	bool asked, came;
	void *obj;

	atomic_set(&pools_refused, 0);
	WRITE_ONCE(bpf_mem_test.permit_pool, refuse_pool);
	for (round = 0; round < ASKED; round++) {
		migrate_disable();
		obj = bpf_mem_alloc(ma, 100);
		failed += !obj;
		bpf_mem_free(ma, obj);
		migrate_enable();
		memalloc_test_settle(lender);
	}
	KUNIT_EXPECT_EQ(test, failed, 0);
	asked = test_wait_for(atomic_read(&pools_refused));
	KUNIT_EXPECT_TRUE(test, asked);
	KUNIT_EXPECT_LT(test, atomic_read(&pools_refused), ASKED / 10);
	KUNIT_EXPECT_NULL(test, pool_for(ma, 100));
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 500, 0), -ENOMEM);

	WRITE_ONCE(bpf_mem_test.permit_pool, NULL);
	came = test_wait_for(pool_for(ma, 100) && pool_for(ma, 500));
	KUNIT_EXPECT_TRUE(test, came);
}

static void test_destroy_without_memory_for_a_pool(struct kunit *test)
{
	struct bpf_mem_alloc *a = memalloc_test_classes(test);
	struct bpf_mem_alloc b = {};
	long before, held;
	void *obj[2];
	int i;

	for (i = 0; i < ARRAY_SIZE(obj); i++) {
		obj[i] = memalloc_test_get(a, 100);
		KUNIT_ASSERT_NOT_NULL(test, obj[i]);
	}
	memalloc_test_settle(pool_for(a, 100));
	before = test_live();
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&b, 0, false), 0);
	WRITE_ONCE(bpf_mem_test.permit_pool, refuse_pool);
	migrate_disable();
	bpf_mem_free(&b, obj[0]);
	bpf_mem_free_rcu(&b, obj[1]);
	migrate_enable();
	bpf_mem_alloc_destroy(&b);
	WRITE_ONCE(bpf_mem_test.permit_pool, NULL);
	held = test_live();
	KUNIT_EXPECT_EQ(test, held, before - (long)ARRAY_SIZE(obj));
}

static void test_reserve_makes_the_class(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = room(test);
	unsigned int got;

	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 100, 0), 0);
	KUNIT_ASSERT_NOT_NULL(test, pool_for(ma, 100));
	got = burst(ma, 100, objs, 48);
	KUNIT_EXPECT_EQ(test, got, 48);
	free_all(ma, objs, got);
	/* No memory: the class is there, the reserve is not. */
	atomic_set(&slab->refuse_to, INT_MAX);
	atomic_set(&slab->refuse_from, 1);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 1000, 64), -ENOMEM);
	KUNIT_ASSERT_NOT_NULL(test, pool_for(ma, 1000));
	KUNIT_EXPECT_EQ(test, pool_for(ma, 1000)->mag.nr_reserved, 0);
	atomic_set(&slab->refuse_from, 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 1000, 64), 0);
	got = burst(ma, 1000, objs, 64);
	KUNIT_EXPECT_EQ(test, got, 64);
	free_all(ma, objs, got);
}

/* Pools come while tasks on all CPUs want objects. */

#define ROUNDS		50
#define HELD		64

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
	/* Small classes in turn, so that all CPUs want the same new one. */
	return bpf_mem_class_size[n % (BPF_MEM_LENDER_SMALL + 1)] - BPF_MEM_HEADER;
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

static int use_new_classes(void *arg)
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
		user->task = kthread_create(use_new_classes, user, "class%u", cpu);
		KUNIT_ASSERT_FALSE(test, IS_ERR(user->task));
		kthread_bind(user->task, cpu);
		wake_up_process(user->task);
	}
	complete_all(&gate);
	while (nr--) {
		/* Pairs with the release in use_new_classes(). */
		bool done = test_wait_for(smp_load_acquire(&users[nr].done));

		kthread_stop(users[nr].task);
		KUNIT_EXPECT_TRUE(test, done);
		KUNIT_EXPECT_EQ(test, users[nr].wrong, 0);
		KUNIT_EXPECT_GT(test, users[nr].had, 0);
	}
	/* Sometimes while the maker is at work. */
	bpf_mem_alloc_destroy(&ma);
}

static void test_pools_come_while_cpus_work(struct kunit *test)
{
	struct class_user *users = kunit_kcalloc(test, nr_cpu_ids, sizeof(*users), GFP_KERNEL);
	unsigned int round;

	KUNIT_ASSERT_NOT_NULL(test, users);
	for (round = 0; round < ROUNDS; round++)
		use_fresh_allocator(test, users, round);
}

static struct kunit_case memalloc_class_cases[] = {
	KUNIT_CASE(test_unused_classes_cost_nothing),
	KUNIT_CASE_PARAM(test_lender_stands_in, lent_gen_params),
	KUNIT_CASE(test_second_burst_of_a_new_class_succeeds),
	KUNIT_CASE_PARAM(test_free_to_a_class_without_pool, way_gen_params),
	KUNIT_CASE(test_percpu_class_takes_what_came_before_it),
	KUNIT_CASE(test_destroy_returns_what_no_pool_took),
	KUNIT_CASE_SLOW(test_class_comes_when_memory_is_back),
	KUNIT_CASE(test_destroy_without_memory_for_a_pool),
	KUNIT_CASE(test_reserve_makes_the_class),
	KUNIT_CASE(test_pools_come_while_cpus_work),
	{}
};

static struct kunit_suite memalloc_class_suite = {
	.name = "bpf_memalloc_class",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_class_cases,
};

kunit_test_suite(memalloc_class_suite);
