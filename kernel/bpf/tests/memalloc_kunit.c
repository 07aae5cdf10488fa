// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what callers are promised, size by size.
 *
 * Sizes are compared with a slow oracle of its own: a list of the classes and
 * a linear search.
 */
#include <kunit/test.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/mman.h>
#include "memalloc_test_util.h"

static const int class_sizes[] = { 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096 };

/* Index of the smallest class that holds @bytes, -1 if none does. */
static int oracle_class(size_t bytes)
{
	int i;

	for (i = 0; bytes && i < ARRAY_SIZE(class_sizes); i++) {
		if (class_sizes[i] >= bytes)
			return i;
	}
	return -1;
}

static void test_size_class_index_of_every_size(struct kunit *test)
{
	size_t size;

	for (size = 0; size <= 4097; size++)
		KUNIT_EXPECT_EQ_MSG(test, bpf_mem_class(size), oracle_class(size),
				    "size %zu", size);
	KUNIT_EXPECT_EQ(test, bpf_mem_class(SIZE_MAX), -1);
}

/* The first published formula was off by one above 192 bytes. */
static void test_size_class_boundaries_above_192(struct kunit *test)
{
	static const struct {
		size_t size;
		int class_size;
	} sharp[] = {
		{ 192, 192 }, { 193, 256 }, { 255, 256 }, { 256, 256 }, { 257, 512 },
		{ 512, 512 }, { 513, 1024 }, { 1024, 1024 }, { 1025, 2048 },
		{ 2048, 2048 }, { 2049, 4096 }, { 4096, 4096 },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(sharp); i++)
		KUNIT_EXPECT_EQ(test, bpf_mem_class_size[bpf_mem_class(sharp[i].size)],
				sharp[i].class_size);
}

static void test_alloc_of_every_size(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);
	size_t size;

	for (size = 0; size <= 4097; size++) {
		int class = oracle_class(size + 8);
		void *obj = memalloc_test_get(ma, size);

		if (!size || class < 0) {
			KUNIT_EXPECT_NULL_MSG(test, obj, "size %zu", size);
			continue;
		}
		KUNIT_ASSERT_NOT_NULL_MSG(test, obj, "size %zu", size);
		KUNIT_EXPECT_EQ_MSG(test, bpf_mem_obj_of(obj)->class, class, "size %zu", size);
		KUNIT_EXPECT_GE_MSG(test, ksize(bpf_mem_obj_of(obj)), size + 8,
				    "size %zu", size);
		memset(obj, 0xa5, size);
		bpf_mem_free(ma, obj);
	}
}

static void test_percpu_alloc_of_every_size(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_percpu_classes(test);
	size_t size;
	int i;

	for (i = 0; i < ARRAY_SIZE(class_sizes); i++)
		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, class_sizes[i]), 0);
	for (size = 0; size <= 4097; size++) {
		int class = oracle_class(size);
		void __percpu **obj = memalloc_test_get(ma, size);

		if (!size || class < 0) {
			KUNIT_EXPECT_NULL_MSG(test, obj, "size %zu", size);
			continue;
		}
		KUNIT_ASSERT_NOT_NULL_MSG(test, obj, "size %zu", size);
		KUNIT_EXPECT_EQ_MSG(test, bpf_mem_obj_of(obj)->class, class, "size %zu", size);
		memset(raw_cpu_ptr(*obj), 0xa5, size);
		bpf_mem_free(ma, obj);
	}
}

static void test_absurd_sizes_get_nothing(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 0, false);

	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, SIZE_MAX));
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, SIZE_MAX - 7));
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, (size_t)UINT_MAX + 1));
}

static void test_check_size(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_check_size(false, 4088), 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_check_size(false, 4089), -E2BIG);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_check_size(true, 4096), 0);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_check_size(true, 4097), -E2BIG);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_check_size(false, SIZE_MAX), -E2BIG);
}

/* Invalid arguments */

static void expect_all_zero(struct kunit *test, const struct bpf_mem_alloc *ma)
{
	KUNIT_EXPECT_NULL(test, memchr_inv(ma, 0, sizeof(*ma)));
}

static void test_init_refuses_bad_arguments(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};

	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, 0, true), -EINVAL);
	expect_all_zero(test, &ma);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, -1, false), -EINVAL);
	expect_all_zero(test, &ma);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, INT_MIN, true), -EINVAL);
	expect_all_zero(test, &ma);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init(&ma, INT_MAX, false), -ENOMEM);
	expect_all_zero(test, &ma);
}

static void test_unit_init_refuses_bad_sizes(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_percpu_classes(test);

	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, -8), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, 4097), -EINVAL);
}

static void test_null_may_be_freed(struct kunit *test)
{
	struct bpf_mem_alloc *classes = memalloc_test_ma(test, 0, false);
	struct bpf_mem_alloc *fixed = memalloc_test_ma(test, 32, false);

	bpf_mem_free(classes, NULL);
	bpf_mem_free_rcu(classes, NULL);
	bpf_mem_cache_free(fixed, NULL);
	bpf_mem_cache_free_rcu(fixed, NULL);
	bpf_mem_cache_raw_free(NULL);
	KUNIT_EXPECT_EQ(test, test_this_cpu(fixed)->nr, test_pool(fixed)->mag.marks.first);
	KUNIT_EXPECT_TRUE(test, llist_empty(&test_this_cpu(fixed)->deferred));
}

/* Contents, per size of an ordinary object in bytes */

static const int unit_sizes[] = { 1, 8, 16, 24, 56, 64, 72, 120, 248, 249, 316, 504,
				  1016, 2040, 4088, 4089, 8184, 9000, 40000 };

static void int_desc(const int *param, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%d bytes", *param);
}

KUNIT_ARRAY_PARAM(unit_size, unit_sizes, int_desc);

/* Locks and timers in map values depend on it. */
static void test_fresh_object_is_zero(struct kunit *test)
{
	int i, size = *(const int *)test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, false);
	unsigned int nr = test_pool(ma)->mag.marks.batch;
	void **objs = kunit_kcalloc(test, nr, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, nr), nr);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_NULL(test, memchr_inv(objs[i], 0, size));
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)objs[i], 8));
		KUNIT_EXPECT_GE(test, ksize(bpf_mem_obj_of(objs[i])), size + 8);
	}
	memalloc_test_free_all(ma, objs, nr);
}

static void test_recycled_object_keeps_its_content(struct kunit *test)
{
	int size = *(const int *)test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, false);
	void *obj = memalloc_test_cache_get(ma), *again;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	memalloc_test_sign(obj, size);
	migrate_disable();
	bpf_mem_cache_free(ma, obj);
	KUNIT_EXPECT_TRUE(test, memalloc_test_signed(obj, size));
	again = bpf_mem_cache_alloc(ma);
	migrate_enable();
	KUNIT_EXPECT_PTR_EQ(test, again, obj);
	KUNIT_EXPECT_TRUE(test, memalloc_test_signed(again, size));
	bpf_mem_cache_free(ma, again);
}

static void test_objects_are_unique_and_apart(struct kunit *test)
{
	int i, size = *(const int *)test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, false);
	void **objs = kunit_kcalloc(test, 200, sizeof(*objs), GFP_KERNEL);
	unsigned int nr;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	nr = memalloc_test_fill(ma, objs, 200);
	KUNIT_EXPECT_EQ(test, nr, 200);
	for (i = 0; i < nr; i++)
		memalloc_test_sign(objs[i], size);
	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_TRUE_MSG(test, memalloc_test_signed(objs[i], size), "object %d", i);
	memalloc_test_free_all(ma, objs, nr);
}

/* Callers of their own kind */

static void test_free_through_another_allocator(struct kunit *test)
{
	struct bpf_mem_alloc *a = memalloc_test_ma(test, 0, false);
	struct bpf_mem_alloc *b = memalloc_test_ma(test, 0, false);
	struct bpf_mem_alloc *c = memalloc_test_ma(test, 72, false);
	struct bpf_mem_alloc *d = memalloc_test_ma(test, 72, false);
	int i;

	for (i = 0; i < 300; i++) {
		void *obj = memalloc_test_get(a, 100), *fixed = memalloc_test_cache_get(c);

		KUNIT_ASSERT_NOT_NULL(test, obj);
		KUNIT_ASSERT_NOT_NULL(test, fixed);
		if (i & 1) {
			bpf_mem_free(b, obj);
			bpf_mem_cache_free(d, fixed);
		} else {
			bpf_mem_free_rcu(b, obj);
			bpf_mem_cache_free_rcu(d, fixed);
		}
	}
}

static void test_raw_free_after_destroy(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};
	long before = test_live();
	void *obj;
	bool gone;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
	obj = memalloc_test_cache_get(&ma);
	bpf_mem_alloc_destroy(&ma);
	KUNIT_ASSERT_NOT_NULL(test, obj);
	gone = test_wait_for(test_live() == before + 1);
	KUNIT_EXPECT_TRUE(test, gone);
	memalloc_test_sign(obj, 64);
	KUNIT_EXPECT_TRUE(test, memalloc_test_signed(obj, 64));
	bpf_mem_cache_raw_free(obj);
}

/* An object that goes past its allocator is the allocator's no longer. */
static void test_raw_free_counts(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	void *objs[200];
	unsigned int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(objs); i++) {
			migrate_disable();
			objs[i] = bpf_mem_cache_alloc_flags(ma, GFP_KERNEL);
			migrate_enable();
			KUNIT_ASSERT_NOT_NULL(test, objs[i]);
			memalloc_test_sign(objs[i], 64);
		}
		memalloc_test_settle(pool);
		KUNIT_EXPECT_EQ(test, bpf_mem_pool_used(pool), ARRAY_SIZE(objs));
		for (i = 0; i < ARRAY_SIZE(objs); i++) {
			KUNIT_EXPECT_TRUE(test, memalloc_test_signed(objs[i], 64));
			bpf_mem_cache_raw_free(objs[i]);
		}
		memalloc_test_settle(pool);
		KUNIT_EXPECT_EQ(test, bpf_mem_pool_used(pool), 0);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&pool->nr_slab),
				pcpu_magazine_cached(&pool->mag) +
				atomic_long_read(&pool->mag.nr_reclaimable));
	}
}

/* The number of an allocator that is gone is nobody's, or another one's. */
static void test_raw_free_counts_for_its_own_allocator(struct kunit *test)
{
	struct bpf_mem_alloc *other = memalloc_test_ma(test, 64, false), ma = {};
	long used, held = atomic_long_read(&test_pool(other)->nr_slab);
	void *objs[50];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&ma, 64, false), 0);
	for (i = 0; i < ARRAY_SIZE(objs); i++) {
		migrate_disable();
		objs[i] = bpf_mem_cache_alloc_flags(&ma, GFP_KERNEL);
		migrate_enable();
	}
	for (i = 0; i < ARRAY_SIZE(objs) / 2; i++)
		bpf_mem_cache_raw_free(objs[i]);
	used = bpf_mem_pool_used(test_pool(&ma));
	bpf_mem_alloc_destroy(&ma);
	for (; i < ARRAY_SIZE(objs); i++)
		bpf_mem_cache_raw_free(objs[i]);
	KUNIT_EXPECT_EQ(test, used, ARRAY_SIZE(objs) / 2);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&test_pool(other)->nr_slab), held);
}

/* What is as large as a user may ask for is refused, or is there; it does not warn. */
#define LARGE_RESERVE	600000

static void test_large_reserve(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 8, false);
	unsigned long warned = test_taint(TAINT_WARN);
	void **objs = kvcalloc(LARGE_RESERVE, sizeof(*objs), GFP_KERNEL);
	unsigned int nr;
	int err;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	err = bpf_mem_alloc_reserve(ma, 0, LARGE_RESERVE);
	if (err) {
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.nr_reserved, 0);
	} else {
		nr = memalloc_test_burst(ma, objs, LARGE_RESERVE);
		KUNIT_EXPECT_EQ(test, nr, LARGE_RESERVE);
		KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 0, 0), 0);
		memalloc_test_free_all(ma, objs, nr);
	}
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_reserve(ma, 0, U32_MAX), -ENOMEM);
	KUNIT_EXPECT_EQ(test, test_taint(TAINT_WARN), warned);
	kvfree(objs);
}

static void test_alloc_flags(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	struct memalloc_test_slab *slab;
	unsigned int nr;
	void *obj;
	bool came;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	slab = memalloc_test_watch_slab(test);
	atomic_set(&slab->refuse_from, 1);
	atomic_set(&slab->refuse_to, INT_MAX);
	nr = memalloc_test_fill(ma, objs, 1000);
	KUNIT_EXPECT_LT(test, nr, 1000);
	KUNIT_EXPECT_NULL(test, bpf_mem_cache_alloc_flags(ma, GFP_KERNEL));
	memalloc_test_settle(test_pool(ma));
	/* Memory is back, and nobody has been told. */
	local_irq_disable();
	atomic_set(&slab->refuse_from, 0);
	obj = bpf_mem_cache_alloc_flags(ma, GFP_ATOMIC | __GFP_NOWARN);
	local_irq_enable();
	KUNIT_EXPECT_NULL(test, obj);
	came = test_wait_for((objs[nr] = memalloc_test_cache_get(ma)));
	KUNIT_EXPECT_TRUE(test, came);
	nr += came;
	memalloc_test_settle(test_pool(ma));
	local_irq_disable();
	while (nr < 1000) {
		objs[nr] = bpf_mem_cache_alloc_flags(ma, GFP_NOWAIT);
		if (!objs[nr])
			break;
		nr++;
	}
	local_irq_enable();
	obj = bpf_mem_cache_alloc_flags(ma, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, obj);
	KUNIT_EXPECT_NULL(test, memchr_inv(obj, 0, 64));
	bpf_mem_cache_free(ma, obj);
	memalloc_test_free_all(ma, objs, nr);
}

/* A program may copy from user space into a map value. */
static void test_usercopy_into_exact_fit_object(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void *obj = memalloc_test_cache_get(ma);
	unsigned long user;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !user || IS_ERR_VALUE(user));
	memalloc_test_sign(obj, 64);
	KUNIT_EXPECT_EQ(test, copy_to_user((void __user *)user, obj, 64), 0);
	memset(obj, 0, 64);
	KUNIT_EXPECT_EQ(test, copy_from_user_nofault(obj, (void __user *)user, 64), 0);
	KUNIT_EXPECT_TRUE(test, memalloc_test_signed(obj, 64));
	bpf_mem_cache_free(ma, obj);
}

/* 64 bytes and the header, where kmalloc() has only slots of 96. */
static void test_exact_fit_slot(struct kunit *test)
{
	struct bpf_mem_alloc *a = memalloc_test_ma(test, 64, false);
	struct bpf_mem_alloc *b = memalloc_test_ma(test, 61, false);
	struct bpf_mem_alloc *c = memalloc_test_ma(test, 120, false);

	KUNIT_EXPECT_EQ(test, kmem_cache_size(test_pool(a)->slab.cache), 72);
	KUNIT_EXPECT_PTR_EQ_MSG(test, test_pool(a)->slab.cache, test_pool(b)->slab.cache,
				"a cache is shared by all allocators of the size");
	KUNIT_EXPECT_NULL_MSG(test, test_pool(c)->slab.exact,
			      "128 bytes fill a slot of kmalloc()");
}

/* Per-CPU objects, by the bytes of the area */

static const int area_sizes[] = { 1, 8, 12, 64, 100, 256, 1024, 4096, 8192 };

KUNIT_ARRAY_PARAM(area_size, area_sizes, int_desc);

static void test_percpu_area(struct kunit *test)
{
	int cpu, size = *(const int *)test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, true);
	void __percpu **obj = memalloc_test_cache_get(ma);

	KUNIT_ASSERT_NOT_NULL(test, obj);
	for_each_possible_cpu(cpu) {
		void *area = per_cpu_ptr(*obj, cpu);

		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)area, 8));
		KUNIT_EXPECT_NULL_MSG(test, memchr_inv(area, 0, size), "CPU %d", cpu);
		memalloc_test_sign(area, size);
	}
	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_TRUE_MSG(test, memalloc_test_signed(per_cpu_ptr(*obj, cpu), size),
				      "CPU %d", cpu);
	bpf_mem_cache_free(ma, obj);
}

static void test_percpu_pointer_survives_reuse(struct kunit *test)
{
	int size = *(const int *)test->param_value;
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, size, true);
	void __percpu **obj = memalloc_test_cache_get(ma);
	void __percpu *area, **again;

	KUNIT_ASSERT_NOT_NULL(test, obj);
	area = *obj;
	migrate_disable();
	bpf_mem_cache_free(ma, obj);
	again = bpf_mem_cache_alloc(ma);
	migrate_enable();
	KUNIT_EXPECT_PTR_EQ(test, again, obj);
	KUNIT_EXPECT_TRUE(test, again && *again == area);
	bpf_mem_cache_free(ma, again);
}

/* Prefilling every class on every CPU cost hundreds of megabytes. */
static void test_percpu_classes_cost_nothing_until_asked_for(struct kunit *test)
{
	long before = test_live();
	struct bpf_mem_alloc *ma = memalloc_test_percpu_classes(test);
	int i;

	KUNIT_EXPECT_EQ(test, test_live(), before);
	for (i = 0; i < ARRAY_SIZE(class_sizes); i++)
		KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, class_sizes[i]));
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, 100), 0);
	KUNIT_EXPECT_EQ(test, test_live(), before + num_online_cpus());
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, 96));
	KUNIT_EXPECT_NULL(test, bpf_mem_alloc(ma, 129));
}

static void test_unit_init_twice(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_percpu_classes(test);
	void __percpu **obj;
	long live;
	int i;

	for (i = 0; i < ARRAY_SIZE(class_sizes); i++) {
		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, class_sizes[i]), 0);
		obj = memalloc_test_get(ma, class_sizes[i]);
		KUNIT_ASSERT_NOT_NULL(test, obj);
		memalloc_test_settle(ma->owner->pool[i]);
		live = test_live();
		KUNIT_EXPECT_EQ(test, bpf_mem_alloc_percpu_unit_init(ma, class_sizes[i]), 0);
		KUNIT_EXPECT_EQ_MSG(test, test_live(), live, "class %d", class_sizes[i]);
		bpf_mem_free(ma, obj);
	}
}

/* An object and its area are one: made, recycled and taken apart together. */
static void test_area_belongs_to_its_object(struct kunit *test)
{
	struct bpf_mem_alloc ma = {};
	void __percpu *area[100];
	void *objs[100];
	unsigned int i, nr;

	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init_area(&ma, 64, 16, 57), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init_area(&ma, 64, 16, 64), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init_area(&ma, 64, 0, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, bpf_mem_alloc_init_area(&ma, 0, 16, 0), -EINVAL);
	KUNIT_EXPECT_NULL(test, memchr_inv(&ma, 0, sizeof(ma)));
	KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init_area(&ma, 64, 16, 56), 0);
	nr = memalloc_test_fill(&ma, objs, ARRAY_SIZE(objs));
	KUNIT_EXPECT_EQ(test, nr, ARRAY_SIZE(objs));
	for (i = 0; i < nr; i++) {
		area[i] = *(void __percpu **)(objs[i] + 56);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)area[i], 8));
		KUNIT_EXPECT_NULL(test, memchr_inv(raw_cpu_ptr(area[i]), 0, 16));
		memset(objs[i], i, 56);
	}
	memalloc_test_free_all(&ma, objs, nr);
	nr = memalloc_test_fill(&ma, objs, nr);
	for (i = 0; i < nr; i++) {
		u8 mark = *((u8 *)objs[i] + 8);

		/* One that is fresh from the slab has no mark. */
		if (mark && mark < ARRAY_SIZE(area))
			KUNIT_EXPECT_TRUE(test, *(void __percpu **)(objs[i] + 56) == area[mark]);
	}
	memalloc_test_free_all(&ma, objs, nr);
	bpf_mem_alloc_destroy(&ma);
}

static struct kunit_case memalloc_cases[] = {
	KUNIT_CASE(test_size_class_index_of_every_size),
	KUNIT_CASE(test_size_class_boundaries_above_192),
	KUNIT_CASE(test_alloc_of_every_size),
	KUNIT_CASE(test_percpu_alloc_of_every_size),
	KUNIT_CASE(test_absurd_sizes_get_nothing),
	KUNIT_CASE(test_check_size),
	KUNIT_CASE(test_init_refuses_bad_arguments),
	KUNIT_CASE(test_unit_init_refuses_bad_sizes),
	KUNIT_CASE(test_null_may_be_freed),
	KUNIT_CASE_PARAM(test_fresh_object_is_zero, unit_size_gen_params),
	KUNIT_CASE_PARAM(test_recycled_object_keeps_its_content, unit_size_gen_params),
	KUNIT_CASE_PARAM(test_objects_are_unique_and_apart, unit_size_gen_params),
	KUNIT_CASE(test_free_through_another_allocator),
	KUNIT_CASE(test_raw_free_after_destroy),
	KUNIT_CASE(test_raw_free_counts),
	KUNIT_CASE(test_raw_free_counts_for_its_own_allocator),
	KUNIT_CASE_SLOW(test_large_reserve),
	KUNIT_CASE(test_alloc_flags),
	KUNIT_CASE(test_usercopy_into_exact_fit_object),
	KUNIT_CASE(test_exact_fit_slot),
	KUNIT_CASE_PARAM(test_percpu_area, area_size_gen_params),
	KUNIT_CASE_PARAM(test_percpu_pointer_survives_reuse, area_size_gen_params),
	KUNIT_CASE(test_percpu_classes_cost_nothing_until_asked_for),
	KUNIT_CASE(test_unit_init_twice),
	KUNIT_CASE(test_area_belongs_to_its_object),
	{}
};

static struct kunit_suite memalloc_suite = {
	.name = "bpf_memalloc",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_cases,
};

kunit_test_suite(memalloc_suite);
