// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: what can be seen of it, and changed.
 *
 * /sys/kernel/debug/bpf_mem_alloc/
 *	summary		a table: one line for each pool that has objects
 *	summary.json	the same for programs, with all figures: a JSON object a line
 *	watermarks	per size class; "SIZE LOW HIGH BATCH" sets, "SIZE default" unsets
 *	files		1: a file for each allocator below allocators/, by its number
 *
 * Everything is read while the pools are in use, so figures of one line need
 * not fit each other exactly.
 */
#include <linux/bpf.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <linux/uaccess.h>
#include "memalloc_internal.h"

/* Figures of a pool; counts of the magazine layer come first. */
enum figure {
	FIG_SIZE = PCPU_MAGAZINE_NR_EVENTS,
	FIG_LOW,
	FIG_HIGH,
	FIG_BATCH,
	FIG_TARGET,
	FIG_RESERVED,
	FIG_USED,
	FIG_CACHED,
	FIG_WAITING,
	FIG_HELD,
	FIG_HELD_BYTES,
	FIG_PEAK_BYTES,
	FIG_TRIMMED,
	FIG_REFILL_RUNS,
	FIG_REFILL_DELAY,
	FIG_REFILL_DELAY_MAX,
	FIG_REUSE_PERIODS,
	FIG_REUSE_OBJS,
	FIG_REUSE_WAIT,
	FIG_REUSE_WAIT_MAX,
	FIG_RELEASE_PERIODS,
	FIG_RELEASE_OBJS,
	FIG_RELEASE_WAIT,
	FIG_RELEASE_WAIT_MAX,
	NR_FIGURES,
};

static const char * const figure_names[] = {
	[PCPU_MAGAZINE_MISS_TASK]	= "miss_task",
	[PCPU_MAGAZINE_MISS_SOFTIRQ]	= "miss_softirq",
	[PCPU_MAGAZINE_MISS_HARDIRQ]	= "miss_hardirq",
	[PCPU_MAGAZINE_MISS_NMI]	= "miss_nmi",
	[PCPU_MAGAZINE_NESTED_GET]	= "nested_alloc",
	[PCPU_MAGAZINE_NESTED_PUT]	= "nested_free",
	[PCPU_MAGAZINE_RECLAIMED]	= "taken_back",
	[PCPU_MAGAZINE_RESERVE]		= "from_reserve",
	[PCPU_MAGAZINE_REFILLS]		= "refills",
	[PCPU_MAGAZINE_NEW]		= "refilled_objects",
	[PCPU_MAGAZINE_FETCHED]		= "batches_from_depot",
	[PCPU_MAGAZINE_RETURNED]	= "batches_to_depot",
	[FIG_SIZE]			= "size",
	[FIG_LOW]			= "low",
	[FIG_HIGH]			= "high",
	[FIG_BATCH]			= "batch",
	[FIG_TARGET]			= "target_batches",
	[FIG_RESERVED]			= "reserve",
	[FIG_USED]			= "used",
	[FIG_CACHED]			= "cached",
	[FIG_WAITING]			= "waiting",
	[FIG_HELD]			= "held",
	[FIG_HELD_BYTES]		= "held_bytes",
	[FIG_PEAK_BYTES]		= "held_peak_bytes",
	[FIG_TRIMMED]			= "trimmed_objects",
	[FIG_REFILL_RUNS]		= "refill_irqs",
	[FIG_REFILL_DELAY]		= "refill_delay_sum_ns",
	[FIG_REFILL_DELAY_MAX]		= "refill_delay_max_ns",
	[FIG_REUSE_PERIODS]		= "reuse_periods",
	[FIG_REUSE_OBJS]		= "reuse_objects",
	[FIG_REUSE_WAIT]		= "reuse_wait_sum_ns",
	[FIG_REUSE_WAIT_MAX]		= "reuse_wait_max_ns",
	[FIG_RELEASE_PERIODS]		= "release_periods",
	[FIG_RELEASE_OBJS]		= "release_objects",
	[FIG_RELEASE_WAIT]		= "release_wait_sum_ns",
	[FIG_RELEASE_WAIT_MAX]		= "release_wait_max_ns",
};

static_assert(ARRAY_SIZE(figure_names) == NR_FIGURES);

struct figures {
	u64 of[NR_FIGURES];
};

static void read_cpus(struct bpf_mem_pool *pool, u64 *of)
{
	const struct bpf_mem_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(bpf_mem_cpus(pool), cpu);
		of[FIG_REFILL_RUNS] += READ_ONCE(c->nr_runs);
		of[FIG_REFILL_DELAY] += READ_ONCE(c->delay_sum);
		of[FIG_REFILL_DELAY_MAX] = max_t(u64, of[FIG_REFILL_DELAY_MAX],
						 READ_ONCE(c->delay_max));
	}
}

/* @of: where FIG_REUSE_PERIODS or FIG_RELEASE_PERIODS is */
static void read_gp(const struct bpf_mem_gp *gp, u64 *of)
{
	of[0] += READ_ONCE(gp->nr_periods);
	of[1] += READ_ONCE(gp->nr_objs);
	of[2] += READ_ONCE(gp->wait_sum);
	of[3] = max(of[3], READ_ONCE(gp->wait_max));
}

static void read_shards(struct bpf_mem_pool *pool, u64 *of)
{
	struct bpf_mem_shard *shard;
	unsigned int i;

	bpf_mem_for_each_shard(shard, pool, i) {
		of[FIG_TARGET] += pcpu_magazine_target(&shard->mag);
		read_gp(&shard->reuse, &of[FIG_REUSE_PERIODS]);
		read_gp(&shard->release, &of[FIG_RELEASE_PERIODS]);
	}
}

static void read_figures(struct bpf_mem_pool *pool, struct figures *figures)
{
	struct pcpu_magazine_pool *mag = &pool->mag;
	size_t footprint = bpf_mem_slab_footprint(pool);
	u64 *of = figures->of;
	unsigned int i;

	*figures = (struct figures){};
	for (i = 0; i < PCPU_MAGAZINE_NR_EVENTS; i++)
		of[i] = pcpu_magazine_count(mag, i);
	of[FIG_SIZE] = bpf_mem_unit(pool);
	of[FIG_LOW] = READ_ONCE(mag->marks.low);
	of[FIG_HIGH] = READ_ONCE(mag->marks.high);
	of[FIG_BATCH] = mag->marks.batch;
	of[FIG_RESERVED] = READ_ONCE(mag->nr_reserved);
	of[FIG_USED] = bpf_mem_pool_used(pool);
	of[FIG_CACHED] = pcpu_magazine_cached(mag);
	of[FIG_WAITING] = atomic_long_read(&pool->mag.nr_reclaimable);
	of[FIG_HELD] = atomic_long_read(&pool->nr_slab);
	of[FIG_HELD_BYTES] = of[FIG_HELD] * footprint;
	of[FIG_PEAK_BYTES] = READ_ONCE(pool->nr_slab_peak) * footprint;
	of[FIG_TRIMMED] = atomic_long_read(&pool->nr_trimmed);
	read_cpus(pool, of);
	read_shards(pool, of);
}

static u64 missed(const struct figures *f)
{
	return f->of[PCPU_MAGAZINE_MISS_TASK] + f->of[PCPU_MAGAZINE_MISS_SOFTIRQ] +
	       f->of[PCPU_MAGAZINE_MISS_HARDIRQ] + f->of[PCPU_MAGAZINE_MISS_NMI];
}

/* Whose an allocator is, for people. */
static void name_of(const struct bpf_mem_allocator *owner, char *name, size_t size)
{
	const struct bpf_map *map = READ_ONCE(owner->map);

	if (map)
		snprintf(name, size, "map %u %s", map->id, map->name);
	else if (owner == bpf_global_ma.owner)
		strscpy(name, "bpf_obj_new", size);
	else if (owner == bpf_global_percpu_ma.owner)
		strscpy(name, "bpf_percpu_obj_new", size);
	else
		strscpy(name, "-", size);
}

static void visit_pools(struct bpf_mem_allocator *owner,
			void (*show)(struct seq_file *m, const struct bpf_mem_allocator *owner,
				     const struct figures *figures),
			struct seq_file *m)
{
	struct bpf_mem_pool *pool;
	struct figures figures;
	unsigned int i;

	bpf_mem_for_each_pool(pool, owner, i) {
		read_figures(pool, &figures);
		show(m, owner, &figures);
	}
}

/* summary */

static void show_row(struct seq_file *m, const struct bpf_mem_allocator *owner,
		     const struct figures *f)
{
	char name[16 + BPF_OBJ_NAME_LEN];

	if (!f->of[FIG_HELD])
		return;
	name_of(owner, name, sizeof(name));
	seq_printf(m, "%6u %-26s %6llu%s %9llu %8llu %8llu %8llu %7llu %9llu %9llu %8llu %8llu\n",
		   owner->id, name, f->of[FIG_SIZE], owner->percpu ? "*" : " ",
		   f->of[FIG_USED], f->of[FIG_CACHED], f->of[FIG_WAITING],
		   f->of[FIG_RESERVED], f->of[FIG_TARGET], f->of[FIG_HELD_BYTES] / 1024,
		   f->of[FIG_PEAK_BYTES] / 1024, missed(f), f->of[PCPU_MAGAZINE_REFILLS]);
}

static void summary_visit(struct bpf_mem_allocator *owner, void *m)
{
	visit_pools(owner, show_row, m);
}

static int summary_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%6s %-26s %6s  %9s %8s %8s %8s %7s %9s %9s %8s %8s\n",
		   "id", "owner", "size", "used", "cached", "waiting", "reserve", "target",
		   "held_kB", "peak_kB", "missed", "refills");
	bpf_mem_for_each(summary_visit, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(summary);

/* summary.json */

static void show_json(struct seq_file *m, const struct bpf_mem_allocator *owner,
		      const struct figures *f)
{
	const struct bpf_map *map = READ_ONCE(owner->map);
	char name[16 + BPF_OBJ_NAME_LEN];
	unsigned int i;

	name_of(owner, name, sizeof(name));
	seq_printf(m, "{\"id\": %u, \"owner\": \"%s\", \"map_id\": %u, \"percpu\": %s",
		   owner->id, name, map ? map->id : 0, owner->percpu ? "true" : "false");
	for (i = 0; i < NR_FIGURES; i++)
		seq_printf(m, ", \"%s\": %llu", figure_names[i], f->of[i]);
	seq_puts(m, "}\n");
}

static void json_visit(struct bpf_mem_allocator *owner, void *m)
{
	visit_pools(owner, show_json, m);
}

static int json_show(struct seq_file *m, void *unused)
{
	bpf_mem_for_each(json_visit, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(json);

/* allocators/ID: no lock, its removal waits for readers, and destroy for that */

static struct dentry *allocators_dir;
static bool want_files;

static void show_list(struct seq_file *m, const struct bpf_mem_allocator *owner,
		      const struct figures *f)
{
	char name[16 + BPF_OBJ_NAME_LEN];
	unsigned int i;

	name_of(owner, name, sizeof(name));
	seq_printf(m, "owner %s\n", name);
	for (i = 0; i < NR_FIGURES; i++)
		seq_printf(m, "%s %llu\n", figure_names[i], f->of[i]);
	seq_putc(m, '\n');
}

static int allocator_show(struct seq_file *m, void *unused)
{
	visit_pools(m->private, show_list, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(allocator);

/**
 * bpf_mem_debugfs_add() - give an allocator a file, if files are wanted
 * @owner: the allocator
 *
 * Context: Task context, with the lock of the registry held.
 */
void bpf_mem_debugfs_add(struct bpf_mem_allocator *owner)
{
	char name[16];

	if (!READ_ONCE(want_files) || owner->file)
		return;
	snprintf(name, sizeof(name), "%u", owner->id);
	owner->file = debugfs_create_file(name, 0400, allocators_dir, owner, &allocator_fops);
}

/**
 * bpf_mem_debugfs_del() - take it away; nobody reads it any more
 * @owner: the allocator
 *
 * Context: Task context, with the lock of the registry held.
 */
void bpf_mem_debugfs_del(struct bpf_mem_allocator *owner)
{
	debugfs_remove(owner->file);
	owner->file = NULL;
}

/* Each file costs more memory than a small allocator, so they come on demand. */
static void file_visit(struct bpf_mem_allocator *owner, void *on)
{
	if (on)
		bpf_mem_debugfs_add(owner);
	else
		bpf_mem_debugfs_del(owner);
}

static int files_get(void *unused, u64 *value)
{
	*value = want_files;
	return 0;
}

static int files_set(void *unused, u64 value)
{
	if (value > 1)
		return -EINVAL;
	/* In this order nobody who comes meanwhile is left out or left behind. */
	WRITE_ONCE(want_files, value);
	bpf_mem_for_each(file_visit, value ? &want_files : NULL);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(files_fops, files_get, files_set, "%llu\n");

/* watermarks */

static void show_marks(struct seq_file *m, const char *name, size_t size, bool percpu)
{
	struct bpf_mem_watermarks marks = bpf_mem_watermarks_of(size, percpu);

	seq_printf(m, "%-8s %6u %6u %6u\n", name, marks.low, marks.high, marks.batch);
}

static int marks_show(struct seq_file *m, void *unused)
{
	char name[8];
	unsigned int i;

	seq_printf(m, "%-8s %6s %6s %6s\n", "size", "low", "high", "batch");
	for (i = 0; i < BPF_MEM_CLASSES; i++) {
		snprintf(name, sizeof(name), "%u", bpf_mem_class_size[i]);
		show_marks(m, name, bpf_mem_class_size[i], false);
	}
	show_marks(m, "percpu", BPF_MEM_SIZE_MAX, true);
	return 0;
}

static int marks_open(struct inode *inode, struct file *file)
{
	return single_open(file, marks_show, NULL);
}

/* One line: "64 32 96 48", "percpu 1 3 1", "64 default". */
static int set_marks(char *line)
{
	struct bpf_mem_watermarks marks;
	char size[8], word[8], rest;
	unsigned int bytes = BPF_MEM_SIZE_MAX;
	bool percpu;

	line = strim(line);
	if (sscanf(line, "%7s", size) != 1)
		return -EINVAL;
	percpu = !strcmp(size, "percpu");
	if (!percpu && kstrtouint(size, 10, &bytes))
		return -EINVAL;
	if (sscanf(line, "%*s %7s %c", word, &rest) == 1 && !strcmp(word, "default"))
		return bpf_mem_watermarks_set(bytes, percpu, NULL);
	if (sscanf(line, "%*s %u %u %u %c", &marks.low, &marks.high, &marks.batch, &rest) != 3)
		return -EINVAL;
	return bpf_mem_watermarks_set(bytes, percpu, &marks);
}

static ssize_t marks_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	char *line;
	int err;

	if (*pos || len > 80)
		return -EINVAL;
	line = memdup_user_nul(from, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	err = set_marks(line);
	kfree(line);
	return err ?: len;
}

static const struct file_operations marks_fops = {
	.owner		= THIS_MODULE,
	.open		= marks_open,
	.read		= seq_read,
	.write		= marks_write,
	.llseek		= seq_lseek,
	.release	= single_release,
};

static int __init bpf_mem_debugfs_init(void)
{
	struct dentry *dir = debugfs_create_dir("bpf_mem_alloc", NULL);

	debugfs_create_file("summary", 0400, dir, NULL, &summary_fops);
	debugfs_create_file("summary.json", 0400, dir, NULL, &json_fops);
	debugfs_create_file("watermarks", 0600, dir, NULL, &marks_fops);
	allocators_dir = debugfs_create_dir("allocators", dir);
	debugfs_create_file_unsafe("files", 0600, dir, NULL, &files_fops);
	return 0;
}
late_initcall(bpf_mem_debugfs_init);
