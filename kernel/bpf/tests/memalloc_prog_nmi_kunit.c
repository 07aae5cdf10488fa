// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: programs that run in real NMIs, while the interrupted
 * task works in the same map. The NMIs come from another CPU, wherever the task
 * happens to be, or from the task itself in the middle of the allocator.
 */
#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/random.h>
#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/nmi.h>
#endif
#include "memalloc_prog_util.h"
#include "memalloc_test_util.h"

/* NMIs that must have run the program. */
#define NMIS		10000
/* Work of the task between two looks at the clock. */
#define STRIDE		64
/* Microseconds between two NMIs, so that the task gets somewhere. */
#define MAX_PAUSE	64

enum source { FROM_OTHER_CPU, FROM_ALLOCATOR };

static const struct raid {
	const char *name;
	enum bpf_map_type map_type;
	enum bpf_prog_type type;
	enum source source;
} raids[] = {
	{ "perf event, hash, from another CPU",
	  BPF_MAP_TYPE_HASH, BPF_PROG_TYPE_PERF_EVENT, FROM_OTHER_CPU },
	{ "perf event, per-CPU hash, from another CPU",
	  BPF_MAP_TYPE_PERCPU_HASH, BPF_PROG_TYPE_PERF_EVENT, FROM_OTHER_CPU },
	{ "perf event, hash, inside the allocator",
	  BPF_MAP_TYPE_HASH, BPF_PROG_TYPE_PERF_EVENT, FROM_ALLOCATOR },
	{ "perf event, per-CPU hash, inside the allocator",
	  BPF_MAP_TYPE_PERCPU_HASH, BPF_PROG_TYPE_PERF_EVENT, FROM_ALLOCATOR },
	{ "raw tracepoint, hash, from another CPU",
	  BPF_MAP_TYPE_HASH, BPF_PROG_TYPE_RAW_TRACEPOINT, FROM_OTHER_CPU },
	{ "raw tracepoint, per-CPU hash, from another CPU",
	  BPF_MAP_TYPE_PERCPU_HASH, BPF_PROG_TYPE_RAW_TRACEPOINT, FROM_OTHER_CPU },
	{ "raw tracepoint, hash, inside the allocator",
	  BPF_MAP_TYPE_HASH, BPF_PROG_TYPE_RAW_TRACEPOINT, FROM_ALLOCATOR },
	{ "raw tracepoint, per-CPU hash, inside the allocator",
	  BPF_MAP_TYPE_PERCPU_HASH, BPF_PROG_TYPE_RAW_TRACEPOINT, FROM_ALLOCATOR },
};

static void raid_desc(const struct raid *raid, char *desc)
{
	strscpy(desc, raid->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(raid, raids, raid_desc);

#if defined(CONFIG_X86_LOCAL_APIC) && defined(CONFIG_BPF_EVENTS)

/* One case at a time; an NMI cannot know the test otherwise. */
static struct {
	struct perf_event *event;	/* with a program, or NULL */
	struct task_struct *victim;
	int cpu;
	bool handler;			/* is registered */
	struct task_struct *sender;
	atomic_t sent;			/* an NMI is on its way */
	atomic_t came;
	atomic_t wrong_context;
	int short_at;			/* NMI in which the program first got no memory */
} nmi;

/* What the operations of the task returned. */
struct task_tally {
	unsigned long updates, deletes, nomem, other;
};

static struct prog_pair pair;

/* As the driver of a PMU does when a counter overflows. */
static void overflow(struct pt_regs *regs)
{
	struct perf_sample_data data;

	perf_sample_data_init(&data, 0, 1);
	perf_event_overflow(nmi.event, &data, regs);
}

static void note_shortage(void)
{
	if (!nmi.short_at && READ_ONCE(pair.tally->nomem))
		nmi.short_at = atomic_read(&nmi.came);
}

static int nmi_handler(unsigned int cmd, struct pt_regs *regs)
{
	if (raw_smp_processor_id() != nmi.cpu || !atomic_read(&nmi.sent))
		return NMI_DONE;
	if (!in_nmi())
		atomic_inc(&nmi.wrong_context);
	if (nmi.event)
		overflow(regs);
	atomic_inc(&nmi.came);
	note_shortage();
	atomic_set_release(&nmi.sent, 0);
	return NMI_HANDLED;
}

static void nmi_send(void)
{
	atomic_set(&nmi.sent, 1);
	__apic_send_IPI_mask(cpumask_of(nmi.cpu), NMI_VECTOR);
}

static int nmi_sender(void *unused)
{
	while (!kthread_should_stop()) {
		if (!atomic_read_acquire(&nmi.sent)) {
			udelay(get_random_u32_below(MAX_PAUSE));
			nmi_send();
		}
		cond_resched();
	}
	return 0;
}

/* The task is in the middle of an allocation or a free: wait for an NMI there. */
static void nmi_at_seam(enum pcpu_magazine_seam seam)
{
	unsigned long spins = 0;

	if (in_nmi() || current != nmi.victim || atomic_read(&nmi.sent))
		return;
	nmi_send();
	while (atomic_read_acquire(&nmi.sent) && ++spins < 2000000000UL)
		cpu_relax();
}

static void start_sender(struct kunit *test)
{
	unsigned int cpu = cpumask_any_but(cpu_online_mask, nmi.cpu);
	struct task_struct *task;

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs a second CPU to send NMIs");
	task = kthread_create(nmi_sender, NULL, "bpf_memalloc_nmi");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	kthread_bind(task, cpu);
	nmi.sender = task;
	wake_up_process(task);
}

static void start(struct kunit *test, const struct raid *raid)
{
	memset(&nmi, 0, sizeof(nmi));
	nmi.victim = current;
	nmi.cpu = raw_smp_processor_id();
	prog_pair_init(test, &pair, raid->map_type, raid->type, 0, 4 * prog_entries());
	if (raid->type == BPF_PROG_TYPE_PERF_EVENT)
		nmi.event = prog_attach_perf(test, pair.prog_fd, PERF_COUNT_SW_DUMMY, 1);
	KUNIT_ASSERT_EQ(test, register_nmi_handler(NMI_LOCAL, nmi_handler, 0,
						   "bpf_memalloc_prog"), 0);
	nmi.handler = true;
	if (raid->type == BPF_PROG_TYPE_RAW_TRACEPOINT)
		prog_attach_raw_tracepoint(test, pair.prog_fd, "nmi_handler");
	if (raid->source == FROM_OTHER_CPU)
		start_sender(test);
	else
		pcpu_magazine_seam_set(nmi_at_seam);
}

static void stop(void)
{
	pcpu_magazine_seam_set(NULL);
	if (nmi.sender)
		kthread_stop(nmi.sender);
	nmi.sender = NULL;
	test_wait_for(!atomic_read(&nmi.sent));
	prog_detach();
	if (nmi.handler)
		unregister_nmi_handler(NMI_LOCAL, "bpf_memalloc_prog");
	nmi.handler = false;
}

static void tally(struct task_tally *t, unsigned long *success, long err)
{
	if (!err)
		(*success)++;
	else if (err == -ENOMEM)
		t->nomem++;
	else if (err != -ENOENT)
		t->other++;
}

/* The keys of the program on this CPU, and as many of the task's own. */
static void work(struct task_tally *t)
{
	u64 first = nmi.cpu * PROG_KEYS, key;
	unsigned int i;

	for (i = 0; i < STRIDE; i++) {
		key = first + i % PROG_KEYS;
		if (i & 1)
			key += PROG_KEYS * nr_cpu_ids;
		tally(t, &t->updates, prog_map_update(pair.map, key));
		key = first + get_random_u32_below(PROG_KEYS);
		if (i & 1)
			key += PROG_KEYS * nr_cpu_ids;
		tally(t, &t->deletes, prog_map_delete(pair.map, key));
	}
	cond_resched();
}

static void check(struct kunit *test, const struct task_tally *t)
{
	const struct prog_tally *p = pair.tally;
	u64 ops = p->updates + p->deletes + p->absent + p->busy + p->nomem + p->other;

	kunit_info(test, "%d NMIs, %llu runs: %llu updates, %llu hits, %llu deletes, %llu busy\n",
		   atomic_read(&nmi.came), p->runs, p->updates, p->hits, p->deletes, p->busy);
	kunit_info(test, "task: %lu updates, %lu deletes\n", t->updates, t->deletes);
	if (p->nomem)
		kunit_info(test, "%llu without memory, first in NMI %d\n", p->nomem, nmi.short_at);
	KUNIT_EXPECT_GE(test, atomic_read(&nmi.came), NMIS);
	KUNIT_EXPECT_EQ(test, atomic_read(&nmi.wrong_context), 0);
	KUNIT_EXPECT_GE(test, p->runs, NMIS);
	/* Busy are those that hit the very bucket that the task has locked. */
	KUNIT_EXPECT_GT(test, p->updates + p->deletes, ops / 2);
	KUNIT_EXPECT_GT(test, t->updates, 0);
	KUNIT_EXPECT_GT(test, t->deletes, 0);
	KUNIT_EXPECT_EQ(test, t->nomem, 0);
	KUNIT_EXPECT_EQ(test, t->other, 0);
}

static void test_program_in_nmi(struct kunit *test)
{
	const struct raid *raid = test->param_value;
	unsigned long until = jiffies + TEST_PATIENCE;
	struct task_tally t = {};
	u64 key;

	start(test, raid);
	while (atomic_read(&nmi.came) < NMIS && time_before(jiffies, until))
		work(&t);
	stop();
	check(test, &t);
	/* The task's own; prog_expect_clean() deletes those of the program. */
	for (key = 0; key < PROG_KEYS * nr_cpu_ids; key++)
		prog_map_delete(pair.map, PROG_KEYS * nr_cpu_ids + key);
	prog_expect_clean(test, &pair);
}

#else
static void stop(void)
{
}

static void test_program_in_nmi(struct kunit *test)
{
	kunit_skip(test, "needs a local APIC to send NMIs, and CONFIG_BPF_EVENTS");
}
#endif

/* Also after a case that ended halfway. */
static void prog_nmi_exit(struct kunit *test)
{
	stop();
	memalloc_prog_exit(test);
}

static struct kunit_case memalloc_prog_nmi_cases[] = {
	KUNIT_CASE_PARAM_ATTR(test_program_in_nmi, raid_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite memalloc_prog_nmi_suite = {
	.name = "bpf_memalloc_prog_nmi",
	.init = memalloc_prog_init,
	.exit = prog_nmi_exit,
	.test_cases = memalloc_prog_nmi_cases,
};

kunit_test_suite(memalloc_prog_nmi_suite);
