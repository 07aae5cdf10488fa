// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: programs that went through the real verifier, attached
 * where programs of their type are attached, work in dynamic hash maps.
 */
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kallsyms.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_context.h>
#include <linux/slab.h>
#include "memalloc_prog_util.h"
#include "memalloc_test_util.h"

/* No header has it. */
int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

static struct prog_pair pair;

static u64 runs(void)
{
	return READ_ONCE(pair.tally->runs);
}

static void report(struct kunit *test)
{
	const struct prog_tally *t = pair.tally;

	kunit_info(test, "%llu runs, %llu updates, %llu hits, %llu deletes, %llu busy\n",
		   t->runs, t->updates, t->hits, t->deletes, t->busy);
}

/*
 * Run a program that is not attached, as the kernel runs programs of the type
 * BPF_PROG_TYPE_SYSCALL.
 */
static int run_syscall_prog(int prog_fd, void *ctx, u32 size)
{
	union bpf_attr attr = {
		.test.prog_fd = prog_fd,
		.test.ctx_in = (unsigned long)ctx,
		.test.ctx_size_in = size,
	};
	struct bpf_prog *prog;
	int ret;

	if (IS_ENABLED(CONFIG_BPF_JIT)) {
		ret = kern_sys_bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
		return ret ?: (int)attr.test.retval;
	}
	prog = bpf_prog_get(prog_fd);
	if (IS_ERR(prog))
		return PTR_ERR(prog);
	rcu_read_lock_trace();
	ret = bpf_prog_run_pin_on_cpu(prog, ctx);
	rcu_read_unlock_trace();
	bpf_prog_put(prog);
	return ret;
}

/* Types */

/* Of programs that run when the test says so; on UML it waits for refills. */
#define RUNS	(IS_ENABLED(CONFIG_UML) ? 200 : 2000)

static void drive_kprobe(struct kunit *test)
{
	int i;

	prog_attach_kprobe(test, pair.prog_fd, "prog_kprobe_target");
	for (i = 0; i < RUNS; i++)
		prog_kprobe_target();
	prog_detach();
	KUNIT_EXPECT_EQ(test, runs(), RUNS);
}

/* On all CPUs, with the lock of a run queue held. */
static void drive_tracepoint(struct kunit *test)
{
	prog_attach_tracepoint(test, pair.prog_fd, "sched", "sched_switch");
	KUNIT_EXPECT_TRUE(test, test_wait_for(runs() >= RUNS / 8));
	prog_detach();
}

static void drive_raw_tracepoint(struct kunit *test)
{
	prog_attach_raw_tracepoint(test, pair.prog_fd, "sched_switch");
	KUNIT_EXPECT_TRUE(test, test_wait_for(runs() >= RUNS / 8));
	prog_detach();
}

/* In interrupts of the timer. */
static void drive_perf_event(struct kunit *test)
{
	prog_attach_perf(test, pair.prog_fd, PERF_COUNT_SW_CPU_CLOCK, 100 * NSEC_PER_USEC);
	KUNIT_EXPECT_TRUE(test, test_wait_for(runs() >= RUNS / 10));
	prog_detach();
}

/* Of a filter's context this program looks at nothing. */
static void drive_socket_filter(struct kunit *test)
{
	struct bpf_prog *prog = bpf_prog_get(pair.prog_fd);
	static const u8 nothing[256];
	int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, prog);
	for (i = 0; i < RUNS; i++) {
		rcu_read_lock();
		bpf_prog_run_pin_on_cpu(prog, nothing);
		rcu_read_unlock();
	}
	bpf_prog_put(prog);
	KUNIT_EXPECT_EQ(test, runs(), RUNS);
}

static void drive_sleepable(struct kunit *test)
{
	int i, err = 0;

	for (i = 0; i < RUNS && !err; i++) {
		err = run_syscall_prog(pair.prog_fd, NULL, 0);
		/* An interrupt comes with the next tick only. */
		if (IS_ENABLED(CONFIG_UML))
			usleep_range(200, 1000);
	}
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, runs(), RUNS);
}

static const struct kind {
	const char *name;
	enum bpf_prog_type type;
	u32 flags;
	void (*drive)(struct kunit *test);
} kinds[] = {
	{ "kprobe", BPF_PROG_TYPE_KPROBE, 0, drive_kprobe },
	{ "tracepoint", BPF_PROG_TYPE_TRACEPOINT, 0, drive_tracepoint },
	{ "raw tracepoint", BPF_PROG_TYPE_RAW_TRACEPOINT, 0, drive_raw_tracepoint },
	{ "perf event", BPF_PROG_TYPE_PERF_EVENT, 0, drive_perf_event },
	{ "socket filter", BPF_PROG_TYPE_SOCKET_FILTER, 0, drive_socket_filter },
	{ "sleepable", BPF_PROG_TYPE_SYSCALL, BPF_F_SLEEPABLE, drive_sleepable },
};

static void kind_desc(const struct kind *kind, char *desc)
{
	strscpy(desc, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kind, kinds, kind_desc);

static void play_kind(struct kunit *test, enum bpf_map_type map_type)
{
	const struct kind *kind = test->param_value;

	prog_pair_init(test, &pair, map_type, kind->type, kind->flags, prog_entries());
	kind->drive(test);
	report(test);
	KUNIT_EXPECT_EQ(test, pair.tally->busy, 0);
	KUNIT_EXPECT_EQ(test, pair.tally->updates, runs());
	KUNIT_EXPECT_EQ(test, pair.tally->misses, 0);
	KUNIT_EXPECT_EQ(test, pair.tally->absent, 0);
	KUNIT_EXPECT_GT(test, pair.tally->deletes, 0);
	prog_expect_clean(test, &pair);
}

static void test_type_with_hash(struct kunit *test)
{
	play_kind(test, BPF_MAP_TYPE_HASH);
}

static void test_type_with_percpu_hash(struct kunit *test)
{
	play_kind(test, BPF_MAP_TYPE_PERCPU_HASH);
}

/* Inside the slab allocator */

#define BURST	512	/* of objects that fill many slabs */
#define BURSTS	20

/* Newer kernels seldom get a single object from the slab, but refill sheaves. */
static const struct place {
	const char *name;
	bool kprobe;
	const char *newer;
} places[] = {
	{ "___slab_alloc", true, "refill_objects" },
	{ "allocate_slab", true },
	{ "__slab_free", true },
	{ "kmalloc", false },
	{ "mm_page_alloc", false },
};

static void place_desc(const struct place *place, char *desc)
{
	strscpy(desc, place->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(place, places, place_desc);

static const char *symbol_of(const struct place *place)
{
	return place->newer && kallsyms_lookup_name(place->newer) ? place->newer : place->name;
}

/* Slabs come and go, and so do elements of the map, which need refills. */
static unsigned int use_slab(struct kmem_cache *cache, void **objs)
{
	unsigned int i, nr, failed = 0;
	u64 key;

	for (nr = 0; nr < BURST; nr++) {
		objs[nr] = kmem_cache_alloc(cache, GFP_KERNEL);
		if (!objs[nr])
			break;
	}
	kfree(kmalloc(1024, GFP_KERNEL));
	/* Of a CPU that there is not: keys that no program has. */
	for (i = 0; i < PROG_KEYS * nr_cpu_ids; i++) {
		key = PROG_KEYS * nr_cpu_ids + i;
		failed += prog_map_update(pair.map, key) != 0;
	}
	for (i = 0; i < PROG_KEYS * nr_cpu_ids; i++)
		prog_map_delete(pair.map, PROG_KEYS * nr_cpu_ids + i);
	while (nr)
		kmem_cache_free(cache, objs[--nr]);
	return failed;
}

KUNIT_DEFINE_ACTION_WRAPPER(destroy_cache, kmem_cache_destroy, struct kmem_cache *);

static void play_inside_slab(struct kunit *test, enum bpf_map_type map_type)
{
	const struct place *place = test->param_value;
	enum bpf_prog_type type = place->kprobe ? BPF_PROG_TYPE_KPROBE :
						  BPF_PROG_TYPE_RAW_TRACEPOINT;
	void **objs = kunit_kcalloc(test, BURST, sizeof(*objs), GFP_KERNEL);
	unsigned int i, failed = 0;
	struct kmem_cache *cache;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	/* Its slabs are all new. */
	cache = kmem_cache_create("bpf_memalloc_prog", 1024, 0, SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, destroy_cache, cache), 0);
	prog_pair_init(test, &pair, map_type, type, 0, 2 * prog_entries());
	if (place->kprobe)
		prog_attach_kprobe(test, pair.prog_fd, symbol_of(place));
	else
		prog_attach_raw_tracepoint(test, pair.prog_fd, place->name);
	for (i = 0; i < BURSTS; i++)
		failed += use_slab(cache, objs);
	prog_detach();
	report(test);
	kunit_info(test, "%u of the task's own updates failed\n", failed);
	prog_expect_clean(test, &pair);
}

static void test_inside_slab_with_hash(struct kunit *test)
{
	play_inside_slab(test, BPF_MAP_TYPE_HASH);
}

static void test_inside_slab_with_percpu_hash(struct kunit *test)
{
	play_inside_slab(test, BPF_MAP_TYPE_PERCPU_HASH);
}

/* A program sleeps with elements in its hands */

/* More than the caches of a pool keep. */
#define ELEMENTS(map_type)	((map_type) == BPF_MAP_TYPE_HASH ? 4096 : 512)
#define HELD			3

/* Context of the program. */
struct held_ctx {
	u64 fault_at;	/* user's address to read */
	u64 inside;	/* it has the elements */
	s64 blocked;	/* what the sleep returned */
	u64 intact;	/* elements whose value was whole afterwards */
};

#define CTX(field)	((s16)offsetof(struct held_ctx, field))

/* Look up the element of @key into @reg; without it the program ends. */
static void add_hold(struct prog_code *code, int map_fd, u64 key, int reg)
{
	prog_add(code,
		 BPF_ST_MEM(BPF_DW, BPF_REG_10, -8, key),
		 BPF_LD_MAP_FD(BPF_REG_1, map_fd),
		 BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -8),
		 prog_call(map_lookup_elem),
		 BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 2),
		 BPF_MOV64_IMM(BPF_REG_0, 1),
		 BPF_EXIT_INSN(),
		 BPF_MOV64_REG(reg, BPF_REG_0));
}

/* The value may be another one by now, but a whole one. */
static void add_intact(struct prog_code *code, int reg)
{
	prog_add(code,
		 BPF_LDX_MEM(BPF_DW, BPF_REG_1, reg, 0),
		 BPF_LDX_MEM(BPF_DW, BPF_REG_2, reg, 8),
		 BPF_ALU64_IMM(BPF_XOR, BPF_REG_2, -1),
		 BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_2, 3),
		 BPF_LDX_MEM(BPF_DW, BPF_REG_3, BPF_REG_9, CTX(intact)),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, 1),
		 BPF_STX_MEM(BPF_DW, BPF_REG_9, BPF_REG_3, CTX(intact)));
}

/* Sleep in the page fault of a read. */
static void add_fault(struct prog_code *code)
{
	prog_add(code,
		 BPF_MOV64_REG(BPF_REG_1, BPF_REG_10),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, -8),
		 BPF_MOV64_IMM(BPF_REG_2, 8),
		 BPF_LDX_MEM(BPF_DW, BPF_REG_3, BPF_REG_9, CTX(fault_at)),
		 prog_call(copy_from_user));
}

/* Sleep in a system call that wants the mutex of a map. */
static void add_freeze(struct prog_code *code, int map_fd)
{
	prog_add(code,
		 BPF_ST_MEM(BPF_DW, BPF_REG_10, -8, map_fd),
		 BPF_MOV64_IMM(BPF_REG_1, BPF_MAP_FREEZE),
		 BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -8),
		 BPF_MOV64_IMM(BPF_REG_3, 8),
		 prog_call(sys_bpf));
}

static const struct nap {
	const char *name;
	enum bpf_map_type map_type;
	bool in_fault;
} naps[] = {
	{ "hash, page fault", BPF_MAP_TYPE_HASH, true },
	{ "per-CPU hash, page fault", BPF_MAP_TYPE_PERCPU_HASH, true },
	{ "hash, mutex", BPF_MAP_TYPE_HASH, false },
	{ "per-CPU hash, mutex", BPF_MAP_TYPE_PERCPU_HASH, false },
};

static void nap_desc(const struct nap *nap, char *desc)
{
	strscpy(desc, nap->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(nap, naps, nap_desc);

/* The sleeper and what keeps it asleep. */
static struct {
	int prog_fd;
	struct mm_struct *mm;
	struct bpf_map *map;		/* that has the elements ... */
	unsigned int elements;		/* ... with the keys from 0 on */
	struct bpf_map *frozen;		/* whose mutex the program wants */
	struct held_ctx ctx;
	struct completion done;
	int err;
	struct rcu_head gp;
	atomic_t gp_over;
} sleeper;

static int sleeper_thread(void *unused)
{
	if (sleeper.mm)
		kthread_use_mm(sleeper.mm);
	sleeper.err = run_syscall_prog(sleeper.prog_fd, &sleeper.ctx, sizeof(sleeper.ctx));
	if (sleeper.mm)
		kthread_unuse_mm(sleeper.mm);
	complete(&sleeper.done);
	return 0;
}

static void load_sleeper(struct kunit *test, const struct nap *nap, int map_fd)
{
	struct prog_code *code = kunit_kzalloc(test, sizeof(*code), GFP_KERNEL);
	int i, frozen_fd;

	KUNIT_ASSERT_NOT_NULL(test, code);
	prog_add(code, BPF_MOV64_REG(BPF_REG_9, BPF_REG_1));
	for (i = 0; i < HELD; i++)
		add_hold(code, map_fd, (i + 1) * sleeper.elements / (HELD + 1), BPF_REG_6 + i);
	prog_add(code,
		 BPF_MOV64_IMM(BPF_REG_1, 1),
		 BPF_STX_MEM(BPF_DW, BPF_REG_9, BPF_REG_1, CTX(inside)));
	if (nap->in_fault) {
		add_fault(code);
	} else {
		frozen_fd = prog_map(test, BPF_MAP_TYPE_ARRAY, 8, 1);
		sleeper.frozen = prog_map_of(test, frozen_fd);
		add_freeze(code, frozen_fd);
	}
	prog_add(code, BPF_STX_MEM(BPF_DW, BPF_REG_9, BPF_REG_0, CTX(blocked)));
	for (i = 0; i < HELD; i++)
		add_intact(code, BPF_REG_6 + i);
	prog_add(code, BPF_MOV64_IMM(BPF_REG_0, 0), BPF_EXIT_INSN());
	sleeper.prog_fd = prog_load(test, BPF_PROG_TYPE_SYSCALL, BPF_F_SLEEPABLE, code);
}

/* Memory that nobody has touched. */
static void prepare_fault(struct kunit *test)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	sleeper.ctx.fault_at = addr;
	sleeper.mm = current->mm;
}

static void bar_way(void)
{
	if (sleeper.mm)
		mmap_write_lock(sleeper.mm);
	else
		mutex_lock(&sleeper.frozen->freeze_mutex);
}

static void clear_way(void)
{
	if (sleeper.mm)
		mmap_write_unlock(sleeper.mm);
	else
		mutex_unlock(&sleeper.frozen->freeze_mutex);
}

static bool asleep(const struct task_struct *task)
{
	return READ_ONCE(sleeper.ctx.inside) &&
	       READ_ONCE(task->__state) & TASK_UNINTERRUPTIBLE;
}

/* On all CPUs, as user space does. */
static long fill_one(struct bpf_map *map, u64 key)
{
	struct prog_value *value;
	long err;
	int i;

	if (map->map_type == BPF_MAP_TYPE_HASH)
		return prog_map_update(map, key);
	value = kcalloc(nr_cpu_ids, sizeof(*value), GFP_KERNEL);
	if (!value)
		return -ENOMEM;
	for (i = 0; i < nr_cpu_ids; i++)
		value[i] = (struct prog_value){ key, ~key };
	migrate_disable();
	rcu_read_lock();
	err = bpf_percpu_hash_update(map, &key, value, BPF_ANY);
	rcu_read_unlock();
	migrate_enable();
	kfree(value);
	return err;
}

static unsigned int fill(u64 first, unsigned int nr)
{
	unsigned int i, filled = 0;

	for (i = 0; i < nr; i++)
		filled += test_wait_for(!fill_one(sleeper.map, first + i));
	return filled;
}

static unsigned int empty(u64 first, unsigned int nr)
{
	unsigned int i, emptied = 0;

	for (i = 0; i < nr; i++)
		emptied += !prog_map_delete(sleeper.map, first + i);
	return emptied;
}

static void gp_is_over(struct rcu_head *rcu)
{
	atomic_set(&sleeper.gp_over, 1);
}

/* The program is stopped with HELD elements: take all of them away. */
static void pull_the_rug(struct kunit *test)
{
	unsigned int nr = sleeper.elements;
	long before = test_live();
	int i;

	KUNIT_EXPECT_EQ(test, empty(0, nr), nr);
	/* The same memory under other keys, and gone again. */
	KUNIT_EXPECT_EQ(test, fill(nr, nr / 2), nr / 2);
	KUNIT_EXPECT_EQ(test, empty(nr, nr / 2), nr / 2);
	call_rcu_tasks_trace(&sleeper.gp, gp_is_over);
	for (i = 0; i < 5; i++)
		synchronize_rcu();
	/* What tasks trace has to wait for is there, and nothing left the pool. */
	KUNIT_EXPECT_EQ(test, atomic_read(&sleeper.gp_over), 0);
	KUNIT_EXPECT_GE(test, test_live(), before);
}

static void test_sleeping_program_keeps_elements(struct kunit *test)
{
	const struct nap *nap = test->param_value;
	struct task_struct *task;
	long before;
	int fd;

	if (nap->in_fault && !IS_ENABLED(CONFIG_BPF_EVENTS))
		kunit_skip(test, "bpf_copy_from_user() needs CONFIG_BPF_EVENTS");
	memset(&sleeper, 0, sizeof(sleeper));
	init_completion(&sleeper.done);
	sleeper.elements = ELEMENTS(nap->map_type);
	fd = prog_map(test, nap->map_type, sizeof(struct prog_value), 2 * sleeper.elements);
	sleeper.map = prog_map_of(test, fd);
	load_sleeper(test, nap, fd);
	if (nap->in_fault)
		prepare_fault(test);
	KUNIT_ASSERT_EQ(test, fill(0, sleeper.elements), sleeper.elements);
	before = test_live();
	task = kthread_create(sleeper_thread, NULL, "bpf_memalloc_sleeper");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);

	/* An ASSERT in here would leave the lock behind. */
	bar_way();
	wake_up_process(task);
	if (test_wait_for(asleep(task)))
		pull_the_rug(test);
	else
		KUNIT_FAIL(test, "the program did not fall asleep");
	clear_way();
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&sleeper.done, TEST_PATIENCE), 0);
	put_task_struct(task);

	KUNIT_EXPECT_EQ(test, sleeper.err, 0);
	KUNIT_EXPECT_EQ(test, sleeper.ctx.blocked, 0);
	KUNIT_EXPECT_EQ(test, sleeper.ctx.intact, HELD);
	KUNIT_EXPECT_TRUE(test, test_wait_for(atomic_read(&sleeper.gp_over)));
	KUNIT_EXPECT_TRUE(test, test_wait_for(test_live() < before - sleeper.elements / 4));
	kunit_info(test, "%ld objects before, %ld after\n", before, test_live());
}

static struct kunit_case memalloc_prog_cases[] = {
	KUNIT_CASE_PARAM(test_type_with_hash, kind_gen_params),
	KUNIT_CASE_PARAM(test_type_with_percpu_hash, kind_gen_params),
	KUNIT_CASE_PARAM(test_inside_slab_with_hash, place_gen_params),
	KUNIT_CASE_PARAM(test_inside_slab_with_percpu_hash, place_gen_params),
	KUNIT_CASE_PARAM(test_sleeping_program_keeps_elements, nap_gen_params),
	{}
};

static struct kunit_suite memalloc_prog_suite = {
	.name = "bpf_memalloc_prog",
	.init = memalloc_prog_init,
	.exit = memalloc_prog_exit,
	.test_cases = memalloc_prog_cases,
};

kunit_test_suite(memalloc_prog_suite);
