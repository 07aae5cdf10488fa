// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: everything at once, for as long as wanted.
 *
 * Two allocators, one of a fixed size and one of size classes, are used by all
 * CPUs from tasks, hard interrupts and true NMIs, which come at random and in
 * the middle of critical sections (by way of the seams). Meanwhile other
 * allocators are made and destroyed, CPUs go offline and come back, memory is
 * refused, watermarks and reserves change, and a shrinker empties depots.
 *
 * No object may be handed out twice, be changed while somebody has it, or be
 * lost, and in the end the allocators must have given back what is not needed.
 *
 *	memalloc_soak_kunit.seconds=	how long, a case for each minute of it
 *	memalloc_soak_kunit.nmis=	go on until so many NMIs have come
 */
#include <kunit/test.h>
#include <linux/cpu.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/nmi.h>
#endif
#include "memalloc_test_compat.h"
#include "memalloc_test_util.h"

static uint seconds = 1;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "how long to go on");

static uint nmis = 100000;
module_param(nmis, uint, 0444);
MODULE_PARM_DESC(nmis, "NMIs to wait for, where there are any");

/* KUnit ends a case after five minutes. */
#define ROUND_SECONDS	60
#define NMI_PATIENCE	(180 * HZ)

/* Jiffies, a power of two: so long interrupts and NMIs come, and so long not. */
#define STORM		32

#define HELD		48
#define THREADS_PER_CPU	2

/* Objects in the hands of one context; nobody else looks at them. */
struct store {
	unsigned int nr;
	struct {
		void *obj;
		bool fixed;
	} held[HELD];
};

struct soak_cpu {
	struct irq_work work;
	struct store irq;
	struct store nmi;
	struct rnd_state irq_rnd;
	struct rnd_state nmi_rnd;
	unsigned int seams;
	bool nmi_sent;
};

static DEFINE_PER_CPU(struct soak_cpu, soak_cpus);

struct soak_thread {
	struct task_struct *task;
	struct rnd_state rnd;
	struct store store;
};

/* One case at a time; an interrupt cannot know the test otherwise. */
static struct {
	struct bpf_mem_alloc *fixed;
	struct bpf_mem_alloc *classes;
	bool have_nmi;
	bool stop;
	atomic_t wrong;
	atomic_t nmis;
	atomic_t nmis_busy;
	atomic_t irqs;
	atomic_long_t allocs;
	atomic_long_t missed;
	atomic_t destroyed;
	unsigned int hotplugs;
	unsigned int mark_changes;
	struct soak_thread **threads;	/* ends with NULL */
} soak;

static void take_one(struct store *store, u32 dice)
{
	bool fixed = dice & 1;
	void *obj;

	if (fixed)
		obj = bpf_mem_cache_alloc(soak.fixed);
	else
		obj = bpf_mem_alloc(soak.classes, 8 + (dice >> 8) % 1000);
	atomic_long_inc(obj ? &soak.allocs : &soak.missed);
	if (!obj)
		return;
	if (!memalloc_test_take(obj))
		atomic_inc(&soak.wrong);
	if (fixed)
		memalloc_test_sign(obj + 8, 56);
	store->held[store->nr].obj = obj;
	store->held[store->nr++].fixed = fixed;
}

static void drop_one(struct store *store, u32 dice)
{
	unsigned int i = (dice >> 8) % store->nr;
	bool fixed = store->held[i].fixed, rcu = !(dice & 6);
	void *obj = store->held[i].obj;

	store->held[i] = store->held[--store->nr];
	if ((fixed && !memalloc_test_signed(obj + 8, 56)) || !memalloc_test_drop(obj))
		atomic_inc(&soak.wrong);
	if (fixed && rcu)
		bpf_mem_cache_free_rcu(soak.fixed, obj);
	else if (fixed)
		bpf_mem_cache_free(soak.fixed, obj);
	else if (rcu)
		bpf_mem_free_rcu(soak.classes, obj);
	else
		bpf_mem_free(soak.classes, obj);
}

static void step(struct store *store, struct rnd_state *rnd)
{
	u32 dice = prandom_u32_state(rnd);

	if (store->nr < HELD && (!store->nr || dice & 0x80))
		take_one(store, dice);
	else
		drop_one(store, dice);
}

static void give_all_back(struct store *store)
{
	while (store->nr)
		drop_one(store, ~0);
}

static void soak_irq(struct irq_work *work)
{
	struct soak_cpu *c = this_cpu_ptr(&soak_cpus);
	unsigned int i;

	atomic_inc(&soak.irqs);
	for (i = 0; i < 4; i++)
		step(&c->irq, &c->irq_rnd);
}

#ifdef CONFIG_X86_LOCAL_APIC
static int soak_nmi(unsigned int cmd, struct pt_regs *regs)
{
	struct soak_cpu *c = this_cpu_ptr(&soak_cpus);
	unsigned int i;

	if (!c->nmi_sent)
		return NMI_DONE;
	c->nmi_sent = false;
	if (!in_nmi())
		atomic_inc(&soak.wrong);
	atomic_inc(&soak.nmis);
	if (test_this_cpu(soak.fixed)->busy)
		atomic_inc(&soak.nmis_busy);
	for (i = 0; i < 4; i++)
		step(&c->nmi, &c->nmi_rnd);
	return NMI_HANDLED;
}

static bool nmi_on(void)
{
	return !register_nmi_handler(NMI_LOCAL, soak_nmi, 0, "bpf_memalloc_soak");
}

static void nmi_off(void)
{
	unregister_nmi_handler(NMI_LOCAL, "bpf_memalloc_soak");
}

static void nmi_send(void)
{
	this_cpu_write(soak_cpus.nmi_sent, true);
	__apic_send_IPI_mask(cpumask_of(raw_smp_processor_id()), NMI_VECTOR);
}
#else
static bool nmi_on(void)
{
	return false;
}

static void nmi_off(void)
{
}

static void nmi_send(void)
{
}
#endif

/*
 * In critical sections of alloc, free and refill, of whatever allocator. Every other
 * while only, so that threads get far, too.
 */
static void soak_seam(enum pcpu_magazine_seam seam)
{
	unsigned int nr;

	if (in_nmi() || READ_ONCE(soak.stop) || jiffies & STORM)
		return;
	/* A refill may be where it can be preempted. */
	preempt_disable();
	nr = this_cpu_inc_return(soak_cpus.seams);
	if (soak.have_nmi && nr % 32 == 0)
		nmi_send();
	else if (nr % 32 == 16)
		irq_work_queue(this_cpu_ptr(&soak_cpus.work));
	preempt_enable();
}

static void park(void)
{
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

static int use(void *arg)
{
	struct soak_thread *t = arg;
	unsigned int i, round = 0;

	while (!READ_ONCE(soak.stop)) {
		/* Where time stands while anything runs it goes on. */
		if (!(++round % 1024))
			usleep_range(10000, 20000);
		migrate_disable();
		for (i = 0; i < 32; i++)
			step(&t->store, &t->rnd);
		migrate_enable();
		/* A CPU that is to go offline waits until its last thread comes by here. */
		schedule();
	}
	migrate_disable();
	give_all_back(&t->store);
	migrate_enable();
	park();
	return 0;
}

/* A short life of another allocator; NMIs hit its destruction as all else. */
static void live_and_die(struct rnd_state *rnd)
{
	u32 dice = prandom_u32_state(rnd);
	struct bpf_mem_alloc ma = {};
	unsigned int i, nr = 0;
	void *objs[64];

	if (bpf_mem_alloc_init(&ma, dice & 3 ? 8 + dice % 500 : 0, false))
		return;
	migrate_disable();
	for (i = 0; i < ARRAY_SIZE(objs); i++) {
		objs[nr] = ma.max_size ? bpf_mem_alloc(&ma, 100) : bpf_mem_cache_alloc(&ma);
		nr += !!objs[nr];
	}
	while (nr--) {
		if (ma.max_size && nr & 1)
			bpf_mem_free_rcu(&ma, objs[nr]);
		else if (ma.max_size)
			bpf_mem_free(&ma, objs[nr]);
		else if (nr & 1)
			bpf_mem_cache_free_rcu(&ma, objs[nr]);
		else
			bpf_mem_cache_free(&ma, objs[nr]);
	}
	migrate_enable();
	bpf_mem_alloc_destroy(&ma);
	atomic_inc(&soak.destroyed);
}

static int churn(void *arg)
{
	struct soak_thread *t = arg;

	while (!READ_ONCE(soak.stop)) {
		live_and_die(&t->rnd);
		cond_resched();
	}
	park();
	return 0;
}

/* What happens to the allocators from outside, a little at each call. */

static void hotplug(bool online)
{
#ifdef CONFIG_HOTPLUG_CPU
	unsigned int cpu = cpumask_last(cpu_present_mask);

	if (num_present_cpus() < 2 || cpu_online(cpu) == online)
		return;
	if (!(online ? add_cpu(cpu) : remove_cpu(cpu)))
		soak.hotplugs++;
#endif
}

static void change_marks(u32 dice)
{
	struct bpf_mem_watermarks marks = { .low = 1 + dice % 40 };

	marks.batch = 1 + (dice >> 8) % 60;
	marks.high = marks.low + marks.batch + (dice >> 16) % 40;
	if (!bpf_mem_watermarks_set(72, false, dice & 1 ? &marks : NULL))
		soak.mark_changes++;
}

#define DISTURBANCES	8

static void disturb(struct memalloc_test_slab *slab, unsigned int tick, struct rnd_state *rnd)
{
	u32 dice = prandom_u32_state(rnd);

	switch (tick % DISTURBANCES) {
	case 0:
		hotplug(false);
		break;
	case 1:
		hotplug(true);
		break;
	case 2:
		bpf_mem_shrink_scan(ULONG_MAX);
		break;
	case 3:
	case 7:
		change_marks(dice);
		break;
	case 4:
		atomic_set(&slab->refuse_to, INT_MAX);
		atomic_set(&slab->refuse_from, 1);
		break;
	case 5:
		atomic_set(&slab->refuse_from, 0);
		break;
	case 6:
		/* Refused or not, it must leave everything in order. */
		bpf_mem_alloc_reserve(soak.fixed, 0, dice % 200);
		break;
	}
}

static bool enough(unsigned long start)
{
	unsigned long least = min(seconds, ROUND_SECONDS) * HZ;

	if (time_before(jiffies, start + least))
		return false;
	return !soak.have_nmi || atomic_read(&soak.nmis) >= nmis ||
	       time_after(jiffies, start + max(NMI_PATIENCE, least));
}

static void stop_all(void *data)
{
	struct soak_thread **threads = data;
	int cpu;

	WRITE_ONCE(soak.stop, true);
	for (; *threads; threads++) {
		kthread_stop((*threads)->task);
		put_task_struct((*threads)->task);
	}
	hotplug(true);
	pcpu_magazine_seam_set(NULL);
	for_each_possible_cpu(cpu)
		irq_work_sync(&per_cpu_ptr(&soak_cpus, cpu)->work);
	if (soak.have_nmi)
		nmi_off();
	bpf_mem_watermarks_set(72, false, NULL);
}

static void start_threads(struct kunit *test, u32 seed)
{
	unsigned int i, nr = THREADS_PER_CPU * num_online_cpus() + 1;
	struct soak_thread **threads = kunit_kcalloc(test, nr + 1, sizeof(*threads), GFP_KERNEL);
	struct soak_thread *t;

	KUNIT_ASSERT_NOT_NULL(test, threads);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_all, threads), 0);
	for (i = 0; i < nr; i++) {
		t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, t);
		prandom_seed_state(&t->rnd, seed + i);
		t->task = kthread_create(i ? use : churn, t, "bpf_mem_soak/%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(t->task));
		get_task_struct(t->task);
		threads[i] = t;
		wake_up_process(t->task);
	}
	soak.threads = threads;
}

static void prepare_cpus(u32 seed)
{
	struct soak_cpu *c;
	int cpu;

	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(&soak_cpus, cpu);
		memset(c, 0, sizeof(*c));
		c->work = IRQ_WORK_INIT_HARD(soak_irq);
		prandom_seed_state(&c->irq_rnd, seed ^ (1000 + cpu));
		prandom_seed_state(&c->nmi_rnd, seed ^ (2000 + cpu));
	}
}

static void empty_cpus(void)
{
	int cpu;

	migrate_disable();
	for_each_possible_cpu(cpu) {
		give_all_back(&per_cpu_ptr(&soak_cpus, cpu)->irq);
		give_all_back(&per_cpu_ptr(&soak_cpus, cpu)->nmi);
	}
	migrate_enable();
}

/* Once demand has gone: what CPUs may hold, and what is not trimmed of a depot. */
static long allowed(struct bpf_mem_alloc *ma)
{
	const struct pcpu_magazine_pool *mag = &test_pool(ma)->mag;

	return num_possible_cpus() * (mag->marks.high + mag->marks.batch) +
	       mag->nr_shards * 2 * mag->marks.batch + mag->nr_reserved;
}

static bool held_is_allowed(struct bpf_mem_alloc *ma)
{
	return atomic_long_read(&test_pool(ma)->nr_slab) <= allowed(ma);
}

static void test_soak(struct kunit *test)
{
	struct memalloc_test_slab *slab;
	unsigned long start = jiffies;
	u32 seed = memalloc_test_seed(test) + *(const unsigned int *)test->param_value;
	unsigned int tick = 0;
	struct rnd_state rnd;
	bool fine;

	memalloc_test_shrink_others(test);
	memalloc_test_others_shrink(test);
	memset(&soak, 0, sizeof(soak));
	prandom_seed_state(&rnd, seed);
	soak.fixed = memalloc_test_ma(test, 64, false);
	soak.classes = memalloc_test_ma(test, 0, false);
	slab = memalloc_test_watch_slab(test);
	prepare_cpus(seed);
	soak.have_nmi = nmi_on();
	start_threads(test, seed);
	pcpu_magazine_seam_set(soak_seam);
	/* On a slow machine everything has its turn once. */
	while (!enough(start) || tick < DISTURBANCES) {
		disturb(slab, tick++, &rnd);
		usleep_range(2000, 10000);
	}
	atomic_set(&slab->refuse_from, 0);
	kunit_release_action(test, stop_all, soak.threads);
	empty_cpus();

	kunit_info(test, "%ld objects had, %ld missed; %d interrupts, %d NMIs (%d in a critical section); %u hotplugs, %d allocators destroyed, %u changes of watermarks\n",
		   atomic_long_read(&soak.allocs), atomic_long_read(&soak.missed),
		   atomic_read(&soak.irqs), atomic_read(&soak.nmis),
		   atomic_read(&soak.nmis_busy), soak.hotplugs,
		   atomic_read(&soak.destroyed), soak.mark_changes);
	KUNIT_EXPECT_EQ(test, atomic_read(&soak.wrong), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&soak.allocs), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&soak.irqs), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&soak.destroyed), 0);
	KUNIT_EXPECT_GT(test, soak.mark_changes, 0);
	if (soak.have_nmi)
		KUNIT_EXPECT_GE(test, atomic_read(&soak.nmis), nmis);
	/* What waits for RCU counts as in use until it is collected. */
	KUNIT_EXPECT_TRUE(test, test_wait_for(!bpf_mem_pool_used(test_pool(soak.fixed))));
	fine = test_wait_for(held_is_allowed(soak.fixed)) ||
	       test_wait_for(held_is_allowed(soak.fixed));
	KUNIT_EXPECT_TRUE_MSG(test, fine, "%ld objects held, %ld would be fine",
			      atomic_long_read(&test_pool(soak.fixed)->nr_slab),
			      allowed(soak.fixed));
}

DEFINE_GEN_PARAMS(round_gen_params, prev, desc)
{
	static unsigned int round;

	round = prev ? round + 1 : 0;
	if (round * ROUND_SECONDS >= max(seconds, 1))
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "minute %u", round + 1);
	return &round;
}

static struct kunit_case memalloc_soak_cases[] = {
	KUNIT_CASE_PARAM_ATTR(test_soak, round_gen_params, { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite memalloc_soak_suite = {
	.name = "bpf_memalloc_soak",
	.init = memalloc_test_init,
	.exit = memalloc_test_exit,
	.test_cases = memalloc_soak_cases,
};

kunit_test_suite(memalloc_soak_suite);
