// SPDX-License-Identifier: GPL-2.0-only
/* Programs for the suites of the BPF memory allocator: write, load, attach. */
#include <linux/cpumask.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/mman.h>
#include <linux/trace_events.h>
#include <linux/uaccess.h>
#include "memalloc_prog_util.h"
#include "memalloc_test_util.h"

/* No header has it. */
int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

#define FDS		16
#define LOG_SIZE	SZ_64K
#define KPROBE_EVENT	"bpf_memalloc_kunit"

/* What the case has open. */
static struct {
	int fd[FDS];
	unsigned int nr_fds;
	struct perf_event *event;
	struct file *link;
	bool kprobe;
	char __user *user;	/* LOG_SIZE bytes, or NULL */
	long live;
} scene;

static int keep_fd(struct kunit *test, int fd, const char *what)
{
	KUNIT_ASSERT_GE_MSG(test, fd, 0, "%s", what);
	scene.fd[scene.nr_fds++] = fd;
	KUNIT_ASSERT_LT(test, scene.nr_fds, FDS);
	return fd;
}

/* The log of the verifier and some names go through the memory of a user. */
static char __user *user_memory(struct kunit *test)
{
	unsigned long addr;

	if (scene.user)
		return scene.user;
	addr = kunit_vm_mmap(test, NULL, 0, LOG_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	scene.user = (char __user *)addr;
	return scene.user;
}

/* Of a program that is fine the log says only how long it is. */
static bool log_is_clean(const char *log)
{
	return !strncmp(log, "processed ", 10) && strchr(log, '\n') == log + strlen(log) - 1;
}

static void check_log(struct kunit *test)
{
	char *log = kunit_kzalloc(test, LOG_SIZE, GFP_KERNEL), *line;

	KUNIT_ASSERT_NOT_NULL(test, log);
	KUNIT_ASSERT_EQ(test, copy_from_user(log, scene.user, LOG_SIZE - 1), 0);
	if (log_is_clean(log))
		return;
	KUNIT_FAIL(test, "the verifier had something to say");
	while ((line = strsep(&log, "\n")))
		kunit_err(test, "%s\n", line);
}

void prog_emit(struct prog_code *code, const struct bpf_insn *insn, unsigned int nr)
{
	if (WARN_ON_ONCE(code->len + nr > ARRAY_SIZE(code->insn)))
		return;
	memcpy(code->insn + code->len, insn, nr * sizeof(*insn));
	code->len += nr;
}

/*
 * A program that interrupts the allocator may find that the interrupted code
 * has all objects in its hands: a tracing agent says how many it needs.
 */
#define PROG_RESERVE	64U

int prog_map(struct kunit *test, enum bpf_map_type type, u32 value_size, u32 entries)
{
	bool array = type == BPF_MAP_TYPE_ARRAY;
	union bpf_attr attr = {
		.map_type = type,
		.key_size = array ? sizeof(u32) : sizeof(u64),
		.value_size = value_size,
		.max_entries = entries,
		.map_flags = array ? 0 : BPF_F_NO_PREALLOC,
		.map_extra = array ? 0 : min(entries, PROG_RESERVE),
	};

	return keep_fd(test, kern_sys_bpf(BPF_MAP_CREATE, &attr, sizeof(attr)), "map");
}

/* The file descriptor keeps the reference. */
struct bpf_map *prog_map_of(struct kunit *test, int fd)
{
	struct bpf_map *map = bpf_map_get(fd);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, map);
	bpf_map_put(map);
	return map;
}

static bool type_built_in(enum bpf_prog_type type)
{
	switch (type) {
	case BPF_PROG_TYPE_SYSCALL:
		return true;
	case BPF_PROG_TYPE_SOCKET_FILTER:
		return IS_ENABLED(CONFIG_NET);
	default:
		return IS_ENABLED(CONFIG_BPF_EVENTS);
	}
}

int prog_load(struct kunit *test, enum bpf_prog_type type, u32 flags,
	      const struct prog_code *code)
{
	union bpf_attr attr = {
		.prog_type = type,
		.prog_flags = flags,
		.insns = (unsigned long)code->insn,
		.insn_cnt = code->len,
		.license = (unsigned long)"GPL",
		.log_level = 1,
		.log_size = LOG_SIZE,
	};
	int fd;

	if (!type_built_in(type))
		kunit_skip(test, "this kernel has no such programs");
	attr.log_buf = (unsigned long)user_memory(test);
	fd = kern_sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	check_log(test);
	return keep_fd(test, fd, "program");
}

/* What the programs do */

#define TALLY(field)	((s16)offsetof(struct prog_tally, field))

/* With the tally in R6. */
#define COUNT_LEN	2

static void add_count(struct prog_code *code, s16 field)
{
	prog_add(code,
		 BPF_MOV64_IMM(BPF_REG_1, 1),
		 BPF_ATOMIC_OP(BPF_DW, BPF_ADD, BPF_REG_6, BPF_REG_1, field));
}

/* Count the outcome in R0 of an update or a delete. */
#define OUTCOMES	6
#define OUTCOME_LEN	(2 + COUNT_LEN)
#define OUTCOMES_LEN	(OUTCOMES * OUTCOME_LEN + COUNT_LEN)

static void add_outcome(struct prog_code *code, s16 success)
{
	const struct { int err; s16 field; } outcome[OUTCOMES] = {
		{ 0, success },
		{ -EBUSY, TALLY(busy) },
		{ -EDEADLK, TALLY(busy) },	/* what a rqspinlock says */
		{ -ETIMEDOUT, TALLY(busy) },
		{ -ENOENT, TALLY(absent) },
		{ -ENOMEM, TALLY(nomem) },
	};
	int i, left = OUTCOMES_LEN;

	for (i = 0; i < OUTCOMES; i++) {
		left -= OUTCOME_LEN;
		prog_add(code, BPF_JMP_IMM(BPF_JNE, BPF_REG_0, outcome[i].err, COUNT_LEN + 1));
		add_count(code, outcome[i].field);
		prog_add(code, BPF_JMP_A(left));
	}
	add_count(code, TALLY(other));
}

/* Where it stands on the stack of a program. */
#define AT_ZERO		(-8)
#define AT_KEY		(-16)
#define AT_VALUE	(-32)

#define ARGS_LEN	4

static void add_args(struct prog_code *code, int map_fd, int at_key)
{
	prog_add(code,
		 BPF_LD_MAP_FD(BPF_REG_1, map_fd),
		 BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, at_key));
}

/* R6: the tally, R7: key, R8: number of the round through all keys. */
static void add_prologue(struct prog_code *code, int tally_fd)
{
	prog_add(code, BPF_ST_MEM(BPF_DW, BPF_REG_10, AT_ZERO, 0));
	add_args(code, tally_fd, AT_ZERO);
	prog_add(code,
		 prog_call(map_lookup_elem),
		 BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 2),
		 BPF_MOV64_IMM(BPF_REG_0, 0),
		 BPF_EXIT_INSN(),
		 BPF_MOV64_REG(BPF_REG_6, BPF_REG_0),
		 BPF_MOV64_IMM(BPF_REG_7, 1),
		 BPF_ATOMIC_OP(BPF_DW, BPF_ADD | BPF_FETCH, BPF_REG_6, BPF_REG_7, TALLY(runs)),
		 BPF_MOV64_REG(BPF_REG_8, BPF_REG_7),
		 BPF_ALU64_IMM(BPF_RSH, BPF_REG_8, ilog2(PROG_KEYS)),
		 BPF_ALU64_IMM(BPF_AND, BPF_REG_7, PROG_KEYS - 1),
		 prog_call(get_smp_processor_id),
		 BPF_ALU64_IMM(BPF_MUL, BPF_REG_0, PROG_KEYS),
		 BPF_ALU64_REG(BPF_ADD, BPF_REG_7, BPF_REG_0),
		 BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_7, AT_KEY),
		 BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_7, AT_VALUE),
		 BPF_MOV64_REG(BPF_REG_1, BPF_REG_7),
		 BPF_ALU64_IMM(BPF_XOR, BPF_REG_1, -1),
		 BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, AT_VALUE + 8));
}

static void add_update(struct prog_code *code, int map_fd)
{
	add_args(code, map_fd, AT_KEY);
	prog_add(code,
		 BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
		 BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, AT_VALUE),
		 BPF_MOV64_IMM(BPF_REG_4, BPF_ANY),
		 prog_call(map_update_elem));
	add_outcome(code, TALLY(updates));
}

/* The value that belongs to the key in R7, or none. */
static void add_lookup(struct prog_code *code, int map_fd)
{
	add_args(code, map_fd, AT_KEY);
	prog_add(code,
		 prog_call(map_lookup_elem),
		 BPF_JMP_IMM(BPF_JNE, BPF_REG_0, 0, COUNT_LEN + 1));
	add_count(code, TALLY(misses));
	prog_add(code,
		 BPF_JMP_A(6 + COUNT_LEN + 1 + COUNT_LEN),
		 BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, 0),
		 BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_0, 8),
		 BPF_MOV64_REG(BPF_REG_3, BPF_REG_7),
		 BPF_ALU64_IMM(BPF_XOR, BPF_REG_3, -1),
		 BPF_JMP_REG(BPF_JNE, BPF_REG_1, BPF_REG_7, 1 + COUNT_LEN + 1),
		 BPF_JMP_REG(BPF_JNE, BPF_REG_2, BPF_REG_3, COUNT_LEN + 1));
	add_count(code, TALLY(hits));
	prog_add(code, BPF_JMP_A(COUNT_LEN));
	add_count(code, TALLY(corrupt));
}

/* In every other round, so that updates find the key there and not there. */
static void add_delete(struct prog_code *code, int map_fd)
{
	prog_add(code, BPF_JMP_IMM(BPF_JSET, BPF_REG_8, 1, ARGS_LEN + 1 + OUTCOMES_LEN));
	add_args(code, map_fd, AT_KEY);
	prog_add(code, prog_call(map_delete_elem));
	add_outcome(code, TALLY(deletes));
}

u32 prog_entries(void)
{
	/* Twice as many as there are keys: a replacement counts twice for a moment. */
	return 2 * PROG_KEYS * nr_cpu_ids;
}

void prog_pair_init(struct kunit *test, struct prog_pair *pair, enum bpf_map_type map_type,
		    enum bpf_prog_type type, u32 flags, u32 entries)
{
	struct prog_code *code = kunit_kzalloc(test, sizeof(*code), GFP_KERNEL);
	struct bpf_map *tally;
	u32 zero = 0;

	KUNIT_ASSERT_NOT_NULL(test, code);
	pair->map_fd = prog_map(test, map_type, sizeof(struct prog_value), entries);
	pair->map = prog_map_of(test, pair->map_fd);
	pair->tally_fd = prog_map(test, BPF_MAP_TYPE_ARRAY, sizeof(struct prog_tally), 1);
	tally = prog_map_of(test, pair->tally_fd);
	rcu_read_lock();
	pair->tally = tally->ops->map_lookup_elem(tally, &zero);
	rcu_read_unlock();

	add_prologue(code, pair->tally_fd);
	add_update(code, pair->map_fd);
	add_lookup(code, pair->map_fd);
	add_delete(code, pair->map_fd);
	prog_add(code, BPF_MOV64_IMM(BPF_REG_0, 0), BPF_EXIT_INSN());
	pair->prog_fd = prog_load(test, type, flags, code);
}

/*
 * A lock of a bucket is taken in NMIs, too. To lockdep that is an error once it
 * has seen the lock elsewhere; it does not know that whoever finds it taken on
 * the same CPU gives up.
 */
long prog_map_update(struct bpf_map *map, u64 key)
{
	struct prog_value value = { key, ~key };
	long err;

	lockdep_off();
	migrate_disable();
	rcu_read_lock();
	err = map->ops->map_update_elem(map, &key, &value, BPF_ANY);
	rcu_read_unlock();
	migrate_enable();
	lockdep_on();
	return err;
}

long prog_map_delete(struct bpf_map *map, u64 key)
{
	long err;

	lockdep_off();
	migrate_disable();
	rcu_read_lock();
	err = map->ops->map_delete_elem(map, &key);
	rcu_read_unlock();
	migrate_enable();
	lockdep_on();
	return err;
}

/* Attach */

noinline void prog_kprobe_target(void)
{
	barrier();
}

void prog_attach_raw_tracepoint(struct kunit *test, int prog_fd, const char *name)
{
	union bpf_attr attr = {};
	int fd;

	if (!IS_ENABLED(CONFIG_BPF_EVENTS))
		kunit_skip(test, "needs CONFIG_BPF_EVENTS");
	KUNIT_ASSERT_EQ(test, copy_to_user(user_memory(test), name, strlen(name) + 1), 0);
	attr.raw_tracepoint.name = (unsigned long)scene.user;
	attr.raw_tracepoint.prog_fd = prog_fd;
	fd = kern_sys_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof(attr));
	KUNIT_ASSERT_GE_MSG(test, fd, 0, "%s", name);
	/* The file of a kernel thread is closed later, unless it is done by hand. */
	scene.link = fget(fd);
	close_fd(fd);
}

#if defined(CONFIG_BPF_EVENTS) && defined(CONFIG_KPROBE_EVENTS)
static struct perf_event *attach_event(struct kunit *test, int prog_fd,
				       struct perf_event_attr *attr)
{
	struct perf_event *event;
	struct bpf_prog *prog;
	int err;

	attr->size = sizeof(*attr);
	event = perf_event_create_kernel_counter(attr, raw_smp_processor_id(), NULL, NULL, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, event);
	scene.event = event;
	prog = bpf_prog_get(prog_fd);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, prog);
	/* On success the event has the reference. */
	err = perf_event_set_bpf_prog(event, prog, 0);
	if (err)
		bpf_prog_put(prog);
	KUNIT_ASSERT_EQ(test, err, 0);
	return event;
}

void prog_attach_tracepoint(struct kunit *test, int prog_fd, const char *system,
			    const char *name)
{
	struct trace_event_file *file = trace_get_event_file(NULL, system, name);
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.sample_period = 1,
	};

	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(file), "%s:%s", system, name);
	attr.config = file->event_call->event.type;
	trace_put_event_file(file);
	attach_event(test, prog_fd, &attr);
}

void prog_attach_kprobe(struct kunit *test, int prog_fd, const char *symbol)
{
	char *text = kunit_kzalloc(test, MAX_DYNEVENT_CMD_LEN, GFP_KERNEL);
	struct dynevent_cmd cmd;

	KUNIT_ASSERT_NOT_NULL(test, text);
	if (!kallsyms_lookup_name(symbol))
		kunit_skip(test, "no function %s in this kernel", symbol);
	kprobe_event_cmd_init(&cmd, text, MAX_DYNEVENT_CMD_LEN);
	KUNIT_ASSERT_EQ(test, kprobe_event_gen_cmd_start(&cmd, KPROBE_EVENT, symbol), 0);
	KUNIT_ASSERT_EQ_MSG(test, kprobe_event_gen_cmd_end(&cmd), 0, "%s", symbol);
	scene.kprobe = true;
	prog_attach_tracepoint(test, prog_fd, "kprobes", KPROBE_EVENT);
}

struct perf_event *prog_attach_perf(struct kunit *test, int prog_fd, u64 config, u64 period)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = config,
		.sample_period = period,
	};

	return attach_event(test, prog_fd, &attr);
}

static void detach_event(void)
{
	if (scene.event)
		perf_event_release_kernel(scene.event);
	scene.event = NULL;
	if (scene.kprobe)
		WARN_ON_ONCE(kprobe_event_delete(KPROBE_EVENT));
	scene.kprobe = false;
}
#else
void prog_attach_tracepoint(struct kunit *test, int prog_fd, const char *system,
			    const char *name)
{
	kunit_skip(test, "needs CONFIG_BPF_EVENTS and CONFIG_KPROBE_EVENTS");
}

void prog_attach_kprobe(struct kunit *test, int prog_fd, const char *symbol)
{
	kunit_skip(test, "needs CONFIG_BPF_EVENTS and CONFIG_KPROBE_EVENTS");
}

struct perf_event *prog_attach_perf(struct kunit *test, int prog_fd, u64 config, u64 period)
{
	kunit_skip(test, "needs CONFIG_BPF_EVENTS and CONFIG_KPROBE_EVENTS");
	return NULL;
}

static void detach_event(void)
{
}
#endif

void prog_detach(void)
{
	detach_event();
	if (scene.link)
		__fput_sync(scene.link);
	scene.link = NULL;
	/* Those that had begun end. */
	synchronize_rcu();
}

/* Check */

/* Of a per-CPU element only another CPU's part may have been written. */
static bool value_fits(const struct bpf_map *map, const struct prog_value *value, u64 key)
{
	if (!value)
		return false;
	if (map->map_type == BPF_MAP_TYPE_PERCPU_HASH && !value->key && !value->inverse)
		return true;
	return value->key == key && value->inverse == ~key;
}

/* Elements that the map lists; each must be found, with its own value. */
static unsigned int count_listed(struct kunit *test, struct bpf_map *map)
{
	unsigned int listed = 0;
	bool good = true;
	u64 key;
	int err;

	migrate_disable();
	rcu_read_lock();
	err = map->ops->map_get_next_key(map, NULL, &key);
	while (!err && good) {
		good = value_fits(map, map->ops->map_lookup_elem(map, &key), key) &&
		       ++listed <= map->max_entries;
		err = map->ops->map_get_next_key(map, &key, &key);
	}
	rcu_read_unlock();
	migrate_enable();
	KUNIT_EXPECT_TRUE(test, good);
	return listed;
}

/*
 * What the map thinks it holds must be what it holds: it takes as many as it
 * was made for, and not one more.
 */
static void expect_room_for_all(struct kunit *test, struct bpf_map *map)
{
	u64 key;
	long err;

	for (key = 0; key < map->max_entries; key++) {
		/* Nothing limits how long a refill takes. */
		test_wait_for((err = prog_map_update(map, key)) != -ENOMEM);
		KUNIT_ASSERT_EQ_MSG(test, err, 0, "element %llu of %u", key, map->max_entries);
	}
	KUNIT_EXPECT_EQ(test, prog_map_update(map, key), -E2BIG);
	KUNIT_EXPECT_EQ(test, count_listed(test, map), map->max_entries);
}

void prog_expect_clean(struct kunit *test, struct prog_pair *pair)
{
	struct prog_tally *tally = pair->tally;
	unsigned int listed, deleted = 0;
	u64 key;

	KUNIT_EXPECT_GT(test, tally->runs, 0);
	KUNIT_EXPECT_EQ(test, tally->nomem, 0);
	KUNIT_EXPECT_EQ(test, tally->other, 0);
	KUNIT_EXPECT_EQ(test, tally->corrupt, 0);
	KUNIT_EXPECT_EQ(test, tally->hits + tally->misses, tally->runs);

	listed = count_listed(test, pair->map);
	for (key = 0; key < PROG_KEYS * nr_cpu_ids; key++)
		deleted += !prog_map_delete(pair->map, key);
	KUNIT_EXPECT_EQ(test, deleted, listed);
	KUNIT_EXPECT_EQ(test, count_listed(test, pair->map), 0);
	expect_room_for_all(test, pair->map);
}

/* Suite hooks */

int memalloc_prog_init(struct kunit *test)
{
	memset(&scene, 0, sizeof(scene));
	scene.live = test_live();
	return memalloc_test_init(test);
}

void memalloc_prog_exit(struct kunit *test)
{
	prog_detach();
	while (scene.nr_fds)
		close_fd(scene.fd[--scene.nr_fds]);
	/* What a failed case leaves must not become the next one's surplus. */
	test_wait_for(test_live() <= scene.live);
	memalloc_test_exit(test);
}
