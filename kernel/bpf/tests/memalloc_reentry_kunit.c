// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: allocation and free from an interrupt that hits the
 * critical section of another one. Seams in the magazine layer stop the test
 * thread there until a real interrupt, or on x86 a real NMI, has come and
 * gone. Each case asserts that this happened.
 */
#include <kunit/test.h>
#include <linux/irq_work.h>
#include <linux/slab.h>
#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/nmi.h>
#endif
#include "memalloc_test_util.h"

/* On UML an interrupt comes with the next tick only. */
#define ROUNDS	(IS_ENABLED(CONFIG_UML) ? 1 : 50)
#define BURST	110	/* goes past the marks of 64-byte units, both ways */
#define STASH	1000

enum nested_op { NESTED_ALLOC, NESTED_FREE, NESTED_FREE_RCU, NESTED_ALLOC_FREE };

enum intruder { BY_HARDIRQ, BY_NMI };

/* One case at a time; the intruder cannot know the test otherwise. */
static struct {
	struct bpf_mem_alloc *ma;
	struct task_struct *victim;
	enum pcpu_magazine_seam seam;
	enum nested_op op;
	enum intruder by;
	struct irq_work work;
	unsigned int stops;	/* seam reached by the victim */
	atomic_t came;		/* intruder ran ... */
	atomic_t busy;		/* ... and found the magazine busy */
	atomic_t wrong_context;
	atomic_t twice;		/* object handed out or freed twice */
	atomic_t got;
	atomic_t missed;
	void *stash[STASH];	/* objects that the intruder may free, and its own */
	int nr_stash;
} trial;

static void nested_alloc(void)
{
	void *obj = bpf_mem_cache_alloc(trial.ma);

	if (!obj) {
		atomic_inc(&trial.missed);
		return;
	}
	atomic_inc(&trial.got);
	if (!memalloc_test_take(obj))
		atomic_inc(&trial.twice);
	if (trial.nr_stash < STASH) {
		trial.stash[trial.nr_stash++] = obj;
		return;
	}
	if (!memalloc_test_drop(obj))
		atomic_inc(&trial.twice);
	bpf_mem_cache_free(trial.ma, obj);
}

static void nested_free(bool rcu)
{
	void *obj;

	if (!trial.nr_stash)
		return;
	obj = trial.stash[--trial.nr_stash];
	if (!memalloc_test_drop(obj))
		atomic_inc(&trial.twice);
	if (rcu)
		bpf_mem_cache_free_rcu(trial.ma, obj);
	else
		bpf_mem_cache_free(trial.ma, obj);
}

static void intrude(void)
{
	if (test_this_cpu(trial.ma)->busy)
		atomic_inc(&trial.busy);
	switch (trial.op) {
	case NESTED_ALLOC:
		nested_alloc();
		break;
	case NESTED_FREE:
		nested_free(false);
		break;
	case NESTED_FREE_RCU:
		nested_free(true);
		break;
	case NESTED_ALLOC_FREE:
		nested_alloc();
		nested_free(false);
		nested_alloc();
		break;
	}
	atomic_inc(&trial.came);
}

static void intrude_by_hardirq(struct irq_work *work)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) && !in_hardirq())
		atomic_inc(&trial.wrong_context);
	intrude();
}

#ifdef CONFIG_X86_LOCAL_APIC
static atomic_t nmi_sent;

static int intrude_by_nmi(unsigned int cmd, struct pt_regs *regs)
{
	if (!atomic_xchg(&nmi_sent, 0))
		return NMI_DONE;
	if (!in_nmi())
		atomic_inc(&trial.wrong_context);
	intrude();
	return NMI_HANDLED;
}

static int nmi_on(void)
{
	return register_nmi_handler(NMI_LOCAL, intrude_by_nmi, 0, "bpf_memalloc_kunit");
}

static void nmi_off(void)
{
	unregister_nmi_handler(NMI_LOCAL, "bpf_memalloc_kunit");
}

static void nmi_send(void)
{
	atomic_set(&nmi_sent, 1);
	__apic_send_IPI_mask(cpumask_of(raw_smp_processor_id()), NMI_VECTOR);
}
#else
static int nmi_on(void)
{
	return -EOPNOTSUPP;
}

static void nmi_off(void)
{
}

static void nmi_send(void)
{
}
#endif

/* Stop here until the intruder has been. */
static void stop_at_seam(enum pcpu_magazine_seam seam)
{
	int before = atomic_read(&trial.came);
	unsigned long spins = 0;

	if (seam != trial.seam || current != trial.victim)
		return;
	if (trial.by == BY_HARDIRQ && irqs_disabled())
		return;
	if (in_interrupt())
		return;
	trial.stops++;
	if (trial.by == BY_NMI)
		nmi_send();
	else
		irq_work_queue(&trial.work);
	while (atomic_read(&trial.came) == before && ++spins < 2000000000UL)
		cpu_relax();
}

static const struct scene {
	const char *name;
	enum pcpu_magazine_seam seam;
	enum nested_op op;
} scenes[] = {
	{ "alloc in get", PCPU_MAGAZINE_SEAM_GET, NESTED_ALLOC },
	{ "free in get", PCPU_MAGAZINE_SEAM_GET, NESTED_FREE },
	{ "free_rcu in get", PCPU_MAGAZINE_SEAM_GET, NESTED_FREE_RCU },
	{ "alloc and free in get", PCPU_MAGAZINE_SEAM_GET, NESTED_ALLOC_FREE },
	{ "alloc after chain is read", PCPU_MAGAZINE_SEAM_GET_READ, NESTED_ALLOC },
	{ "free after chain is read", PCPU_MAGAZINE_SEAM_GET_READ, NESTED_FREE },
	{ "alloc and free after chain is read", PCPU_MAGAZINE_SEAM_GET_READ,
	  NESTED_ALLOC_FREE },
	{ "alloc in slow get", PCPU_MAGAZINE_SEAM_GET_SLOW, NESTED_ALLOC },
	{ "free in slow get", PCPU_MAGAZINE_SEAM_GET_SLOW, NESTED_FREE },
	{ "alloc in put", PCPU_MAGAZINE_SEAM_PUT, NESTED_ALLOC },
	{ "free in put", PCPU_MAGAZINE_SEAM_PUT, NESTED_FREE },
	{ "free_rcu in put", PCPU_MAGAZINE_SEAM_PUT, NESTED_FREE_RCU },
	{ "alloc and free in put", PCPU_MAGAZINE_SEAM_PUT, NESTED_ALLOC_FREE },
	{ "alloc in slow put", PCPU_MAGAZINE_SEAM_PUT_SLOW, NESTED_ALLOC },
	{ "free in slow put", PCPU_MAGAZINE_SEAM_PUT_SLOW, NESTED_FREE },
	{ "alloc with a slot in hand", PCPU_MAGAZINE_SEAM_SLOT, NESTED_ALLOC },
	{ "free with a slot in hand", PCPU_MAGAZINE_SEAM_SLOT, NESTED_FREE },
};

static void scene_desc(const struct scene *scene, char *desc)
{
	strscpy(desc, scene->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(scene, scenes, scene_desc);

/* BURST objects out and back in, stopped at the seam all along. */
static void play_round(void **objs)
{
	unsigned int i, nr = 0;
	void *obj;

	for (i = 0; i < BURST; i++) {
		obj = memalloc_test_cache_get(trial.ma);
		if (!obj)
			continue;
		if (!memalloc_test_take(obj))
			atomic_inc(&trial.twice);
		objs[nr++] = obj;
	}
	while (nr--) {
		if (!memalloc_test_drop(objs[nr]))
			atomic_inc(&trial.twice);
		migrate_disable();
		bpf_mem_cache_free(trial.ma, objs[nr]);
		migrate_enable();
	}
}

static void play(struct kunit *test, enum intruder by)
{
	const struct scene *scene = test->param_value;
	void **objs = kunit_kcalloc(test, BURST, sizeof(*objs), GFP_KERNEL);
	int round;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	memset(&trial, 0, sizeof(trial));
	trial.ma = memalloc_test_ma(test, 64, false);
	trial.victim = current;
	trial.seam = scene->seam;
	trial.op = scene->op;
	trial.by = by;
	init_irq_work(&trial.work, intrude_by_hardirq);
	for (; trial.nr_stash < STASH / 2; trial.nr_stash++) {
		void *obj = memalloc_test_cache_get(trial.ma);

		KUNIT_ASSERT_NOT_NULL(test, obj);
		memalloc_test_take(obj);
		trial.stash[trial.nr_stash] = obj;
	}

	pcpu_magazine_seam_set(stop_at_seam);
	for (round = 0; round < ROUNDS; round++)
		play_round(objs);
	pcpu_magazine_seam_set(NULL);
	irq_work_sync(&trial.work);

	KUNIT_EXPECT_GT(test, trial.stops, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.came), trial.stops);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.busy), trial.stops);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.wrong_context), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.twice), 0);
	if (scene->op == NESTED_ALLOC || scene->op == NESTED_ALLOC_FREE)
		KUNIT_EXPECT_GT(test, atomic_read(&trial.got), 0);
	kunit_info(test, "%u stops, nested: %d got, %d missed\n", trial.stops,
		   atomic_read(&trial.got), atomic_read(&trial.missed));
	while (trial.nr_stash) {
		void *obj = trial.stash[--trial.nr_stash];

		KUNIT_EXPECT_TRUE(test, memalloc_test_drop(obj));
		bpf_mem_cache_free(trial.ma, obj);
	}
}

static void test_hardirq_in_critical_section(struct kunit *test)
{
	play(test, BY_HARDIRQ);
}

static void test_nmi_in_critical_section(struct kunit *test)
{
	int err = nmi_on();

	if (err == -EOPNOTSUPP)
		kunit_skip(test, "no local APIC to send oneself an NMI");
	KUNIT_ASSERT_EQ(test, err, 0);
	play(test, BY_NMI);
	nmi_off();
}

/*
 * The refill had its own critical section once; what was allocated inside it
 * was lost. Objects are in its hands here, and it must not matter.
 */
static void refill_seam(enum pcpu_magazine_seam seam)
{
	if (seam != PCPU_MAGAZINE_SEAM_REFILL || !in_interrupt())
		return;
	trial.stops++;
	intrude();
}

/* Objects out and back in; refills come while the CPU has some left. */
static unsigned int take_many(struct kunit *test, void **objs, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		objs[i] = memalloc_test_cache_get(trial.ma);
		if (!objs[i])
			break;
		KUNIT_EXPECT_TRUE(test, memalloc_test_take(objs[i]));
		if (test_refill_pending(test_pool(trial.ma)))
			memalloc_test_settle(test_pool(trial.ma));
	}
	return i;
}

static void give_many(struct kunit *test, void **objs, unsigned int nr)
{
	while (nr--) {
		KUNIT_EXPECT_TRUE(test, memalloc_test_drop(objs[nr]));
		bpf_mem_cache_free(trial.ma, objs[nr]);
	}
}

static void test_alloc_and_free_in_refill(struct kunit *test)
{
	void **objs = kunit_kcalloc(test, BURST, sizeof(*objs), GFP_KERNEL);
	void **kept = kunit_kcalloc(test, STASH, sizeof(*kept), GFP_KERNEL);
	unsigned int nr, round, nr_kept = 0;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	KUNIT_ASSERT_NOT_NULL(test, kept);
	memset(&trial, 0, sizeof(trial));
	trial.ma = memalloc_test_ma(test, 64, false);
	trial.op = NESTED_ALLOC_FREE;
	pcpu_magazine_seam_set(refill_seam);
	for (round = 0; round < 2 * ROUNDS; round++) {
		nr = take_many(test, objs, BURST);
		KUNIT_EXPECT_EQ(test, nr, BURST);
		give_many(test, objs, nr);
		/* Consume, so that the next round needs a refill again. */
		if (nr_kept < STASH / 2)
			nr_kept += take_many(test, kept + nr_kept, 60);
	}
	pcpu_magazine_seam_set(NULL);
	KUNIT_EXPECT_GT(test, trial.stops, 0);
	KUNIT_EXPECT_GT(test, atomic_read(&trial.got), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.twice), 0);
	give_many(test, kept, nr_kept);
	give_many(test, trial.stash, trial.nr_stash);
}

/*
 * While one context has the nested list in its hands, a deeper one adds and
 * takes. Taking single entries off that list once raced with taking it whole.
 */
static int deep;

static void nested_seam(enum pcpu_magazine_seam seam)
{
	if (seam != PCPU_MAGAZINE_SEAM_GET_NESTED || deep > 2)
		return;
	deep++;
	trial.stops++;
	intrude();
	deep--;
}

static void test_nested_list_taken_by_two_levels(struct kunit *test)
{
	struct pcpu_magazine_cpu *c;
	unsigned long flags;
	int i;

	memset(&trial, 0, sizeof(trial));
	trial.ma = memalloc_test_ma(test, 64, false);
	trial.op = NESTED_ALLOC_FREE;
	for (; trial.nr_stash < 200; trial.nr_stash++) {
		trial.stash[trial.nr_stash] = memalloc_test_cache_get(trial.ma);
		KUNIT_ASSERT_NOT_NULL(test, trial.stash[trial.nr_stash]);
		memalloc_test_take(trial.stash[trial.nr_stash]);
	}
	pcpu_magazine_seam_set(nested_seam);
	local_irq_save(flags);
	c = test_this_cpu(trial.ma);
	WRITE_ONCE(c->busy, 1);
	for (i = 0; i < 20; i++)
		nested_free(false);
	for (i = 0; i < 100; i++)
		intrude();
	WRITE_ONCE(c->busy, 0);
	local_irq_restore(flags);
	pcpu_magazine_seam_set(NULL);
	KUNIT_EXPECT_GT(test, trial.stops, 100);
	KUNIT_EXPECT_EQ(test, atomic_read(&trial.twice), 0);
	while (trial.nr_stash)
		bpf_mem_cache_free(trial.ma, trial.stash[--trial.nr_stash]);
}

/* A nested allocation succeeds as long as the nested list or the depot has one. */
static void test_nested_alloc_finds_what_is_cached(struct kunit *test)
{
	struct bpf_mem_alloc *ma = memalloc_test_ma(test, 64, false);
	void **objs = kunit_kcalloc(test, STASH, sizeof(*objs), GFP_KERNEL);
	unsigned int nr, got, all, slots = test_depot_slots(test_pool(ma));
	unsigned int batch = test_pool(ma)->mag.marks.batch;
	unsigned long flags;

	KUNIT_ASSERT_NOT_NULL(test, objs);
	/* Two batches on the CPU, the rest in the depot: it is not full yet. */
	all = min_t(unsigned int, (slots + 1) * batch, STASH);
	nr = memalloc_test_fill(ma, objs, all);
	KUNIT_ASSERT_EQ(test, nr, all);
	memalloc_test_free_all(ma, objs, nr);
	memalloc_test_settle(test_pool(ma));
	nr = test_depot_level(test_pool(ma));
	KUNIT_EXPECT_GT(test, nr, 0);

	local_irq_save(flags);
	WRITE_ONCE(test_this_cpu(ma)->busy, 1);
	for (got = 0; got < STASH; got++) {
		objs[got] = bpf_mem_cache_alloc(ma);
		if (!objs[got])
			break;
	}
	WRITE_ONCE(test_this_cpu(ma)->busy, 0);
	local_irq_restore(flags);
	KUNIT_EXPECT_GE(test, got, min_t(unsigned int, nr, STASH));
	memalloc_test_free_all(ma, objs, got);
}

/*
 * The refill is queued before the critical section ends. Once it was queued
 * afterwards, and whoever came between found the list empty and no refill on
 * its way.
 */
static bool refill_was_queued;
static bool looked;

static void look_before_busy_is_clear(enum pcpu_magazine_seam seam)
{
	if (seam != PCPU_MAGAZINE_SEAM_GET_KICKED || current != trial.victim || looked)
		return;
	looked = test_this_cpu(trial.ma)->busy;
	refill_was_queued = test_refill_pending(test_pool(trial.ma));
}

static void test_refill_is_queued_inside_critical_section(struct kunit *test)
{
	unsigned long flags;
	void *obj;

	memset(&trial, 0, sizeof(trial));
	trial.ma = memalloc_test_ma(test, 64, false);
	trial.victim = current;
	looked = false;
	pcpu_magazine_seam_set(look_before_busy_is_clear);
	local_irq_save(flags);
	obj = bpf_mem_cache_alloc(trial.ma);	/* empties the depot: a refill is due */
	bpf_mem_cache_free(trial.ma, obj);
	local_irq_restore(flags);
	pcpu_magazine_seam_set(NULL);
	KUNIT_EXPECT_TRUE(test, looked);
	KUNIT_EXPECT_TRUE(test, refill_was_queued);
}

static void reentry_exit(struct kunit *test)
{
	pcpu_magazine_seam_set(NULL);
	memalloc_test_exit(test);
}

static struct kunit_case memalloc_reentry_cases[] = {
	KUNIT_CASE_PARAM(test_hardirq_in_critical_section, scene_gen_params),
	KUNIT_CASE_PARAM(test_nmi_in_critical_section, scene_gen_params),
	KUNIT_CASE(test_alloc_and_free_in_refill),
	KUNIT_CASE(test_nested_list_taken_by_two_levels),
	KUNIT_CASE(test_nested_alloc_finds_what_is_cached),
	KUNIT_CASE(test_refill_is_queued_inside_critical_section),
	{}
};

static struct kunit_suite memalloc_reentry_suite = {
	.name = "bpf_memalloc_reentry",
	.init = memalloc_test_init,
	.exit = reentry_exit,
	.test_cases = memalloc_reentry_cases,
};

kunit_test_suite(memalloc_reentry_suite);
