// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what debugfs and tracepoints tell, and watermarks that
 * are changed while the allocator is in use. Files are read and written as user
 * space does it, with memory of the test.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <trace/events/bpf_mem.h>
#include "memalloc_test_util.h"

int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

#define TEXT_SIZE	(256 * 1024)

struct debugfs {
	struct vfsmount *mnt;
	char __user *user;
	char *text;
};

static void unmount(void *data)
{
	struct debugfs *d = data;

	kern_unmount(d->mnt);
}

static struct debugfs *mount_debugfs(struct kunit *test)
{
	struct file_system_type *type = get_fs_type("debugfs");
	struct debugfs *d = kunit_kzalloc(test, sizeof(*d), GFP_KERNEL);

	if (!type)
		kunit_skip(test, "no debugfs in this kernel");
	KUNIT_ASSERT_NOT_NULL(test, d);
	d->text = kunit_kzalloc(test, TEXT_SIZE + 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, d->text);
	d->user = (char __user *)kunit_vm_mmap(test, NULL, 0, TEXT_SIZE,
					       PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_TRUE(test, !!d->user);
	d->mnt = kern_mount(type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(d->mnt));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, unmount, d), 0);
	return d;
}

static struct file *open_file(struct debugfs *d, const char *name, int flags)
{
	struct path root = { .mnt = d->mnt, .dentry = d->mnt->mnt_root };
	char path[64];

	snprintf(path, sizeof(path), "bpf_mem_alloc/%s", name);
	return file_open_root(&root, path, flags, 0);
}

/* The whole file into d->text; 0 or an error. */
static int read_file(struct debugfs *d, const char *name)
{
	struct file *file = open_file(d, name, O_RDONLY);
	size_t len = 0;
	loff_t pos = 0;
	ssize_t got;

	if (IS_ERR(file))
		return PTR_ERR(file);
	do {
		got = vfs_read(file, d->user + len, TEXT_SIZE - len, &pos);
		len += max(got, 0);
	} while (got > 0);
	__fput_sync(file);
	if (got < 0)
		return got;
	if (copy_from_user(d->text, d->user, len))
		return -EFAULT;
	d->text[len] = '\0';
	return 0;
}

/* 0 if all of @text was taken. */
static int write_file(struct debugfs *d, const char *name, const char *text)
{
	struct file *file = open_file(d, name, O_WRONLY);
	loff_t pos = 0;
	ssize_t put;

	if (IS_ERR(file))
		return PTR_ERR(file);
	if (copy_to_user(d->user, text, strlen(text)))
		put = -EFAULT;
	else
		put = vfs_write(file, d->user, strlen(text), &pos);
	__fput_sync(file);
	return put < 0 ? put : put - strlen(text);
}

/* A figure of the first pool of an allocator, from summary.json; -1: not there. */
static long long figure(struct kunit *test, struct debugfs *d, struct bpf_mem_alloc *ma,
			const char *name)
{
	char wanted[64], *line, *value;
	long long number;

	KUNIT_ASSERT_EQ(test, read_file(d, "summary.json"), 0);
	snprintf(wanted, sizeof(wanted), "{\"id\": %u,", ma->owner->id);
	line = strstr(d->text, wanted);
	if (!line)
		return -1;
	strchrnul(line, '\n')[0] = '\0';
	snprintf(wanted, sizeof(wanted), "\"%s\": ", name);
	value = strstr(line, wanted);
	if (!value || sscanf(value + strlen(wanted), "%lld", &number) != 1)
		return -1;
	return number;
}

KUNIT_DEFINE_ACTION_WRAPPER(put_map, bpf_map_put, struct bpf_map *);

static void test_summary_names_the_map(struct kunit *test)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = 8,
		.value_size = 8,
		.max_entries = 100,
		.map_name = "seen_in_debug",
	};
	struct debugfs *d = mount_debugfs(test);
	char wanted[64], *line;
	long live = test_live();
	struct bpf_map *map;
	u64 key, used;
	int fd, got, err = 0;

	fd = kern_sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	KUNIT_ASSERT_GE(test, fd, 0);
	map = bpf_map_get(fd);
	close_fd(fd);
	KUNIT_ASSERT_FALSE(test, IS_ERR(map));
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_map, map), 0);
	rcu_read_lock();
	migrate_disable();
	for (key = 0; key < 7; key++)
		err |= map->ops->map_update_elem(map, &key, &key, BPF_ANY);
	migrate_enable();
	rcu_read_unlock();
	KUNIT_ASSERT_EQ(test, err, 0);

	KUNIT_ASSERT_EQ(test, read_file(d, "summary"), 0);
	snprintf(wanted, sizeof(wanted), "map %u seen_in_debug", map->id);
	line = strstr(d->text, wanted);
	KUNIT_ASSERT_NOT_NULL_MSG(test, line, "%s in\n%s", wanted, d->text);
	got = sscanf(line + strlen(wanted), " %*u %llu", &used);
	KUNIT_ASSERT_EQ(test, got, 1);
	/* And what the next update on each CPU replaces one with. */
	KUNIT_EXPECT_EQ(test, used, 7 + num_online_cpus());
	/* Freed by a worker. */
	kunit_release_action(test, put_map, map);
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() == live));
}

/* Until a refill has come through, what is missed is no demand. */
static bool has_memory_again(struct bpf_mem_alloc *ma)
{
	void *objs[200];
	unsigned int got = memalloc_test_burst(ma, objs, ARRAY_SIZE(objs));

	memalloc_test_free_all(ma, objs, got);
	memalloc_test_settle(test_pool(ma));
	return !READ_ONCE(test_pool(ma)->refused);
}

static void test_misses_are_counted(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false);
	struct bpf_mem_pool *pool = test_pool(ma);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	struct debugfs *d = mount_debugfs(test);
	unsigned int got;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "miss_task"), 0);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "low"), 32);
	atomic_set(&slab->refuse_from, 1);
	atomic_set(&slab->refuse_to, INT_MAX);
	got = memalloc_test_burst(ma, objs, 1000);
	memalloc_test_settle(pool);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "miss_task"), 1000 - got);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "used"), got);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "no such figure"), -1);
	/* What was refused is no demand. */
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "target_batches"), pool->mag.nr_shards);
	atomic_set(&slab->refuse_from, 0);
	memalloc_test_free_all(ma, objs, got);
	KUNIT_EXPECT_TRUE(test, test_wait_for(has_memory_again(ma)));
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "used"), 0);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "held"), atomic_long_read(&pool->nr_slab));
	got = memalloc_test_burst(ma, objs, 1000);
	memalloc_test_free_all(ma, objs, got);
	memalloc_test_settle(pool);
	KUNIT_EXPECT_GT(test, figure(test, d, ma, "target_batches"), pool->mag.nr_shards);
	KUNIT_EXPECT_GT(test, figure(test, d, ma, "refill_irqs"), 0);
	KUNIT_EXPECT_GT(test, figure(test, d, ma, "refill_delay_max_ns"), 0);
}

struct irq_burst {
	struct irq_work work;
	struct bpf_mem_alloc *ma;
	unsigned int missed;
};

static void burst_in_irq(struct irq_work *work)
{
	struct irq_burst *b = container_of(work, struct irq_burst, work);
	void *obj;

	/* Nothing is left, and each object that still comes is lost on purpose. */
	while ((obj = bpf_mem_cache_alloc(b->ma)))
		bpf_mem_cache_free_rcu(b->ma, obj);
	b->missed++;
}

static void test_misses_are_counted_by_context(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false);
	struct memalloc_test_slab *slab = memalloc_test_watch_slab(test);
	struct irq_burst *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	struct debugfs *d = mount_debugfs(test);
	u64 start = ktime_get_mono_fast_ns(), wait;

	KUNIT_ASSERT_NOT_NULL(test, b);
	atomic_set(&slab->refuse_from, 1);
	atomic_set(&slab->refuse_to, INT_MAX);
	b->ma = ma;
	b->work = IRQ_WORK_INIT_HARD(burst_in_irq);
	irq_work_queue(&b->work);
	irq_work_sync(&b->work);
	KUNIT_EXPECT_EQ(test, b->missed, 1);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "miss_hardirq"), 1);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "miss_task"), 0);
	atomic_set(&slab->refuse_from, 0);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_TRUE(test, test_wait_for(figure(test, d, ma, "reuse_periods") == 1));
	KUNIT_EXPECT_GT(test, figure(test, d, ma, "reuse_objects"), 1);
	wait = figure(test, d, ma, "reuse_wait_max_ns");
	KUNIT_EXPECT_LE(test, wait, ktime_get_mono_fast_ns() - start);
	/* Time that stands while something runs may pass over a grace period. */
	if (!IS_ENABLED(CONFIG_UML_TIME_TRAVEL_SUPPORT))
		KUNIT_EXPECT_GT(test, wait, 0);
}

/* Watermarks */

/* Not through the file: the test's memory is gone by then. */
static void reset_marks(void *unused)
{
	bpf_mem_watermarks_set(16, false, NULL);
	bpf_mem_watermarks_set(64, false, NULL);
	bpf_mem_watermarks_set(BPF_MEM_SIZE_MAX, true, NULL);
}

static struct debugfs *marks_file(struct kunit *test)
{
	struct debugfs *d = mount_debugfs(test);

	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, reset_marks, NULL), 0);
	return d;
}

static void expect_marks(struct kunit *test, struct bpf_mem_alloc *ma, unsigned int low,
			 unsigned int high, unsigned int batch)
{
	KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.marks.low, low);
	KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.marks.high, high);
	KUNIT_EXPECT_EQ(test, test_pool(ma)->mag.marks.batch, batch);
}

/* What a CPU keeps of many objects that are freed. */
static unsigned int kept_of(struct kunit *test, struct bpf_mem_alloc *ma, unsigned int nr)
{
	void **objs = kunit_kcalloc(test, nr, sizeof(*objs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_EQ(test, memalloc_test_fill(ma, objs, nr), nr);
	memalloc_test_free_all(ma, objs, nr);
	kunit_kfree(test, objs);
	return test_this_cpu(ma)->nr + test_this_cpu(ma)->nr_spare;
}

/* What @ma has already stays: its batch, and room for one between low and high. */
static void test_watermarks_change_what_cpus_keep(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false);
	struct bpf_mem_alloc *other = memalloc_test_ma(test, 120, false), *later;
	struct debugfs *d = marks_file(test);

	KUNIT_EXPECT_GT(test, kept_of(test, ma, 200), 32);
	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "64 4 16 8\n"), 0);
	expect_marks(test, ma, 4, 4 + 48, 48);
	expect_marks(test, other, 32, 96, 48);
	KUNIT_EXPECT_LE(test, kept_of(test, ma, 200), 4 + 48);
	KUNIT_EXPECT_EQ(test, figure(test, d, ma, "high"), 4 + 48);
	later = memalloc_test_ma(test, 56, false);
	expect_marks(test, later, 4, 16, 8);
	KUNIT_EXPECT_LE(test, kept_of(test, later, 200), 16);
	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "64 64 256 128"), 0);
	expect_marks(test, ma, 64, 256, 48);
	expect_marks(test, later, 64, 256, 8);
	KUNIT_EXPECT_GT(test, kept_of(test, ma, 600), 96);
	KUNIT_EXPECT_GT(test, kept_of(test, later, 600), 96);
	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "64 default"), 0);
	expect_marks(test, ma, 32, 96, 48);
	KUNIT_EXPECT_LE(test, kept_of(test, ma, 200), 96);
}

static void test_watermarks_of_percpu_areas(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, true);
	struct debugfs *d = marks_file(test);

	expect_marks(test, ma, 1, 3, 1);
	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "percpu 2 8 3"), 0);
	expect_marks(test, ma, 2, 8, 1);
	expect_marks(test, memalloc_test_ma(test, 64, true), 2, 8, 3);
	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "percpu default"), 0);
	expect_marks(test, ma, 1, 3, 1);
}

static void test_bad_watermarks_change_nothing(struct kunit *test)
{
	static const char * const bad[] = {
		"", "\n", "64", "64 1 2", "64 1 2 1 1", "64 0 96 48", "64 96 32 8",
		"64 32 32 1", "64 32 96 65", "64 32 96 0", "64 32 96 x", "0 32 96 48",
		"4097 32 96 48", "x 32 96 48", "64 1 4000000000 1", "64 -1 96 48",
		"4096 1 1025 1", "percpu 0 3 1", "percpu", "64 defaults", "default",
		"16 1 70000 65536", "16 1 200000 100000",
	};
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false);
	struct debugfs *d = marks_file(test);
	char *before;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, read_file(d, "watermarks"), 0);
	before = kunit_kstrdup(test, d->text, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, before);
	for (i = 1; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, write_file(d, "watermarks", bad[i]), -EINVAL,
				    "'%s'", bad[i]);
	KUNIT_ASSERT_EQ(test, read_file(d, "watermarks"), 0);
	KUNIT_EXPECT_STREQ(test, d->text, before);
	expect_marks(test, ma, 32, 96, 48);
}

/* The largest batch there is: pools can be made with it. */
static void test_largest_batch(struct kunit *test)
{
	struct debugfs *d = marks_file(test);
	struct bpf_mem_alloc *ma;
	void *obj;

	KUNIT_ASSERT_EQ(test, write_file(d, "watermarks", "16 1 70000 65535"), 0);
	ma = memalloc_test_ma(test, 8, false);
	expect_marks(test, ma, 1, 70000, 65535);
	obj = memalloc_test_cache_get(ma);
	KUNIT_EXPECT_NOT_NULL(test, obj);
	memalloc_test_free_all(ma, &obj, 1);
}

static void test_files_come_and_go(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false), *later;
	struct debugfs *d = mount_debugfs(test);
	char name[32];

	KUNIT_EXPECT_EQ(test, write_file(d, "files", "2"), -EINVAL);
	KUNIT_ASSERT_EQ(test, write_file(d, "files", "1"), 0);
	later = memalloc_test_ma(test, 24, false);
	snprintf(name, sizeof(name), "allocators/%u", later->owner->id);
	KUNIT_EXPECT_EQ(test, read_file(d, name), 0);
	KUNIT_EXPECT_NOT_NULL(test, strstr(d->text, "size 32\n"));
	bpf_mem_alloc_destroy(later);
	KUNIT_EXPECT_EQ(test, read_file(d, name), -ENOENT);
	snprintf(name, sizeof(name), "allocators/%u", ma->owner->id);
	KUNIT_EXPECT_EQ(test, read_file(d, name), 0);
	KUNIT_EXPECT_NOT_NULL(test, strstr(d->text, "size 64\n"));
	KUNIT_EXPECT_EQ(test, write_file(d, "files", "0"), 0);
	KUNIT_EXPECT_EQ(test, read_file(d, name), -ENOENT);
}

/* Tracepoints */

#ifdef CONFIG_TRACEPOINTS
struct seen {
	unsigned int id;
	atomic_t missed;
	atomic_t refilled;
	atomic_t periods;
	atomic_t targets;
};

static void see_miss(void *data, unsigned int id, size_t size, unsigned long nr)
{
	struct seen *seen = data;

	if (id == seen->id && size == 64)
		atomic_set(&seen->missed, nr);
}

static void see_refill(void *data, unsigned int id, size_t size, unsigned int nr, u64 delay_ns)
{
	struct seen *seen = data;

	if (id == seen->id && delay_ns)
		atomic_add(nr, &seen->refilled);
}

static void see_gp_end(void *data, unsigned int id, size_t size, bool reuse,
		       unsigned long nr, u64 wait_ns)
{
	struct seen *seen = data;

	if (id == seen->id && reuse && nr && wait_ns)
		atomic_inc(&seen->periods);
}

static void see_target(void *data, unsigned int id, size_t size, unsigned int before,
		       unsigned int after)
{
	struct seen *seen = data;

	if (id == seen->id && after > before)
		atomic_inc(&seen->targets);
}

static void stop_seeing(void *seen)
{
	unregister_trace_bpf_mem_miss(see_miss, seen);
	unregister_trace_bpf_mem_refill(see_refill, seen);
	unregister_trace_bpf_mem_gp_end(see_gp_end, seen);
	unregister_trace_bpf_mem_target(see_target, seen);
	tracepoint_synchronize_unregister();
}

static void test_tracepoints_tell_what_is_counted(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 56, false);
	void **objs = kunit_kcalloc(test, 1000, sizeof(*objs), GFP_KERNEL);
	struct seen *seen = kunit_kzalloc(test, sizeof(*seen), GFP_KERNEL);
	unsigned long new = pcpu_magazine_count(&test_pool(ma)->mag, PCPU_MAGAZINE_NEW);
	unsigned int i, got;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_NOT_NULL(test, seen);
	seen->id = ma->owner->id;
	KUNIT_ASSERT_EQ(test, register_trace_bpf_mem_miss(see_miss, seen), 0);
	KUNIT_ASSERT_EQ(test, register_trace_bpf_mem_refill(see_refill, seen), 0);
	KUNIT_ASSERT_EQ(test, register_trace_bpf_mem_gp_end(see_gp_end, seen), 0);
	KUNIT_ASSERT_EQ(test, register_trace_bpf_mem_target(see_target, seen), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_seeing, seen), 0);
	got = memalloc_test_burst(ma, objs, 1000);
	KUNIT_EXPECT_LT(test, got, 1000);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen->missed), 1000 - got);
	for (i = 0; i < got; i++)
		bpf_mem_cache_free_rcu(ma, objs[i]);
	memalloc_test_settle(test_pool(ma));
	KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&seen->periods)));
	KUNIT_EXPECT_GT(test, atomic_read(&seen->targets), 0);
	new = pcpu_magazine_count(&test_pool(ma)->mag, PCPU_MAGAZINE_NEW) - new;
	KUNIT_EXPECT_GT(test, new, 0);
	/* The worker's share is part of the target. */
	KUNIT_EXPECT_GT(test, atomic_read(&seen->refilled), 0);
	KUNIT_EXPECT_LE(test, atomic_read(&seen->refilled), new);
}
#else
static void test_tracepoints_tell_what_is_counted(struct kunit *test)
{
	kunit_skip(test, "no tracepoints in this kernel");
}
#endif

static struct kunit_case memalloc_debugfs_cases[] = {
	KUNIT_CASE(test_summary_names_the_map),
	KUNIT_CASE(test_misses_are_counted),
	KUNIT_CASE(test_misses_are_counted_by_context),
	KUNIT_CASE(test_watermarks_change_what_cpus_keep),
	KUNIT_CASE(test_watermarks_of_percpu_areas),
	KUNIT_CASE(test_bad_watermarks_change_nothing),
	KUNIT_CASE(test_largest_batch),
	KUNIT_CASE(test_files_come_and_go),
	KUNIT_CASE(test_tracepoints_tell_what_is_counted),
	{}
};

static int debugfs_init(struct kunit *test)
{
	int err = memalloc_test_init(test);

	return err ?: set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

static struct kunit_suite memalloc_debugfs_suite = {
	.name = "bpf_memalloc_debugfs",
	.init = debugfs_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_debugfs_cases,
};

kunit_test_suite(memalloc_debugfs_suite);
