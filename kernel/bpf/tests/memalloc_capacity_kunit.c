// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: max_entries of a dynamic hash map is exact. Many CPUs
 * insert and delete in a full map, from tasks, hard interrupts and, on x86, true
 * NMIs: never is there one element more, and none is refused while there is room.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/nmi.h>
#endif
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

struct capacity_kind {
	const char *name;
	enum bpf_map_type type;
	u32 entries;
};

static const struct capacity_kind capacity_kinds[] = {
	{ "hash, 7", BPF_MAP_TYPE_HASH, 7 },
	{ "hash, 3000", BPF_MAP_TYPE_HASH, 3000 },
	{ "percpu hash, 7", BPF_MAP_TYPE_PERCPU_HASH, 7 },
	{ "percpu hash, 1000", BPF_MAP_TYPE_PERCPU_HASH, 1000 },
	{ "hash of maps, 7", BPF_MAP_TYPE_HASH_OF_MAPS, 7 },
	{ "hash of maps, 1000", BPF_MAP_TYPE_HASH_OF_MAPS, 1000 },
};

KUNIT_ARRAY_PARAM_DESC(capacity_kind, capacity_kinds, name);

static const struct capacity_kind small_kinds[] = {
	{ "hash, 5", BPF_MAP_TYPE_HASH, 5 },
	{ "hash, 30", BPF_MAP_TYPE_HASH, 30 },
	{ "percpu hash, 5", BPF_MAP_TYPE_PERCPU_HASH, 5 },
	{ "hash of maps, 5", BPF_MAP_TYPE_HASH_OF_MAPS, 5 },
};

KUNIT_ARRAY_PARAM_DESC(small_kind, small_kinds, name);

/* What all contexts work in; an interrupt cannot know the test otherwise. */
static struct scene {
	struct bpf_map *map;
	int fd;
	int inner_fd;
	u32 entries;
} scene;

static int try_map(const struct capacity_kind *kind)
{
	union bpf_attr attr = {
		.map_type = kind->type,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = sizeof(u32),
		.value_size = sizeof(u32),
		.max_entries = kind->entries,
		.inner_map_fd = kind->type == BPF_MAP_TYPE_HASH_OF_MAPS ? scene.inner_fd : 0,
	};

	return test_map_try(&attr);
}

/* The inner map stays as long as the case; the outer one goes with close_map(). */
static void open_map(struct kunit *test)
{
	static const struct capacity_kind inner = { "inner", BPF_MAP_TYPE_HASH, 1 };
	const struct capacity_kind *kind = test->param_value;

	if (!scene.inner_fd)
		scene.inner_fd = test_keep_fd(test, try_map(&inner));
	scene.fd = test_keep_fd(test, try_map(kind));
	scene.map = test_map(test, scene.fd);
	scene.entries = kind->entries;
}

static void close_map(void)
{
	scene.map = NULL;
	test_close_last();
}

/* Only user space changes maps of maps. */
static bool is_for_programs(void)
{
	return scene.map->map_type != BPF_MAP_TYPE_HASH_OF_MAPS;
}

/*
 * A lock of a bucket is taken in NMIs, too. To lockdep that is an error once it
 * has seen the lock elsewhere; it does not know that whoever finds it taken on
 * the same CPU gives up.
 */
static long insert(u32 key)
{
	u64 value = key;
	long err;

	if (!is_for_programs())
		return test_sys_update(scene.fd, &key, &scene.inner_fd, BPF_NOEXIST);
	lockdep_off();
	err = test_map_update(scene.map, &key, &value, BPF_NOEXIST);
	lockdep_on();
	return err;
}

static long remove(u32 key)
{
	long err;

	lockdep_off();
	err = test_map_delete(scene.map, &key);
	lockdep_on();
	return err;
}

/* In a task, which waits for memory. */
static long insert_patiently(u32 key)
{
	unsigned long until = jiffies + TEST_PATIENCE;
	long err;

	while ((err = insert(key)) == -ENOMEM && time_before(jiffies, until))
		usleep_range(200, 1000);
	return err;
}

/* Elements in a walk through the map, which nobody changes. */
static u32 count_elements(void)
{
	u32 key, nr = 0;
	int err;

	rcu_read_lock();
	err = scene.map->ops->map_get_next_key(scene.map, NULL, &key);
	while (!err && nr <= 2 * scene.entries) {
		nr++;
		err = scene.map->ops->map_get_next_key(scene.map, &key, &key);
	}
	rcu_read_unlock();
	return nr;
}

#define FRESH	1000000		/* keys from here on nobody else uses */

/* There is room for as many as there ought to be, and for no more. */
static void expect_room(struct kunit *test, u32 room)
{
	u32 nr;

	for (nr = 0; nr < room; nr++)
		KUNIT_ASSERT_EQ_MSG(test, insert_patiently(FRESH + nr), 0, "%u of %u", nr, room);
	KUNIT_EXPECT_EQ(test, insert(FRESH + nr), -E2BIG);
	KUNIT_EXPECT_EQ(test, count_elements(), scene.entries);
	for (nr = 0; nr < room; nr++)
		KUNIT_ASSERT_EQ(test, remove(FRESH + nr), 0);
}

/* Tasks, spread over the CPUs, that do something until it is done, or time is up. */

#define MAX_TASKS	8

struct crew_task {
	struct task_struct *task;
	void (*run)(struct crew_task *t);
	u32 nr;
	u32 inserted;
	u32 wrong;
	atomic_t done;
};

static struct crew {
	struct crew_task tasks[MAX_TASKS];
	u32 nr;
	atomic_t gate;
} crew;

static int crew_thread(void *arg)
{
	struct crew_task *t = arg;

	/* All at once. */
	while (!atomic_read(&crew.gate) && !kthread_should_stop())
		cond_resched();
	if (!kthread_should_stop())
		t->run(t);
	atomic_set(&t->done, 1);
	while (!kthread_should_stop())
		usleep_range(200, 1000);
	return 0;
}

static void start_task(struct crew_task *t, u32 cpu)
{
	t->task = kthread_create(crew_thread, t, "map_crew/%u", t->nr);
	if (IS_ERR(t->task))
		return;
	kthread_bind(t->task, cpu);
	wake_up_process(t->task);
}

/* Returns true if all have come to their end. */
static bool run_crew(void (*run)(struct crew_task *t))
{
	u32 i, cpu = cpumask_first(cpu_online_mask);
	bool done = true;

	crew.nr = clamp(2 * num_online_cpus(), 4U, (u32)MAX_TASKS);
	atomic_set(&crew.gate, 0);
	for (i = 0; i < crew.nr; i++) {
		crew.tasks[i] = (struct crew_task){ .run = run, .nr = i };
		start_task(&crew.tasks[i], cpu);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
	}
	atomic_set(&crew.gate, 1);
	for (i = 0; i < crew.nr; i++) {
		if (IS_ERR(crew.tasks[i].task)) {
			done = false;
			continue;
		}
		done &= test_wait_for(atomic_read(&crew.tasks[i].done)) ||
			test_wait_for(atomic_read(&crew.tasks[i].done));
		kthread_stop(crew.tasks[i].task);
	}
	return done;
}

/* The last places */

#define RACES	30

/* Keys of its own until the map is full. */
static void insert_to_the_end(struct crew_task *t)
{
	long err;
	u32 key;

	for (key = t->nr; !(err = insert_patiently(key)); key += MAX_TASKS) {
		t->inserted++;
		cond_resched();
	}
	t->wrong += err != -E2BIG;
}

static u32 sum_of_crew(void)
{
	u32 i, sum = 0;

	for (i = 0; i < crew.nr; i++)
		sum += crew.tasks[i].inserted;
	return sum;
}

/* Leaves a few places to the crew. Returns how many it has filled. */
static u32 fill_most(struct kunit *test)
{
	u32 most = scene.entries - min(scene.entries, 7), nr;

	for (nr = 0; nr < most; nr++)
		KUNIT_ASSERT_EQ(test, insert_patiently(FRESH + nr), 0);
	return most;
}

static void test_race_for_the_last_places(struct kunit *test)
{
	u32 race, i, filled, wrong = 0;
	bool done;

	for (race = 0; race < RACES; race++) {
		open_map(test);
		filled = fill_most(test);
		done = run_crew(insert_to_the_end);
		KUNIT_EXPECT_TRUE(test, done);
		for (i = 0; i < crew.nr; i++)
			wrong += crew.tasks[i].wrong;
		KUNIT_EXPECT_EQ(test, count_elements(), scene.entries);
		KUNIT_EXPECT_EQ(test, filled + sum_of_crew(), scene.entries);
		close_map();
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

/* A full map in which everything changes */

#define CONTEXT_KEYS	16
#define STEPS		20000
#define IRQ_EVERY	8
#define NMI_EVERY	32

/* A task, or the interrupts or NMIs of a CPU, with keys that only it uses. */
struct context {
	struct rnd_state rnd;
	u32 first;
	bool has[CONTEXT_KEYS];
	u32 inserted;
	u32 full;
	u32 nomem;
	u32 busy;
	u32 wrong;
	long last;
};

struct churn_cpu {
	struct irq_work work;
	struct context irq;
	struct context nmi;
	bool nmi_due;
};

static DEFINE_PER_CPU(struct churn_cpu, churn_cpus);

static struct {
	struct context tasks[MAX_TASKS];
	void (*step)(struct context *c);
	bool have_nmi;
	atomic_t present;	/* elements that are in the map, or less */
	atomic_t too_many;
	atomic_t irqs;
	atomic_t nmis;
	atomic_t room;		/* places that are free, or less */
} churn;

static void note(struct context *c, long err)
{
	if (err == -E2BIG) {
		c->full++;
	} else if (err == -ENOMEM) {
		c->nomem++;
	} else if (err == -EBUSY || err == -EDEADLK || err == -ETIMEDOUT) {
		c->busy++;
	} else {
		c->wrong++;
		c->last = err;
	}
}

/* Counted off before it goes and counted in when it is there: never above what is. */
static void change(struct context *c)
{
	u32 i = prandom_u32_state(&c->rnd) % CONTEXT_KEYS;
	long err;

	if (c->has[i]) {
		atomic_dec(&churn.present);
		err = remove(c->first + i);
		c->has[i] = err;
		if (err)
			atomic_inc(&churn.present);
	} else {
		err = insert(c->first + i);
		c->has[i] = !err;
		if (!err && atomic_inc_return(&churn.present) > scene.entries)
			atomic_inc(&churn.too_many);
		c->inserted += !err;
	}
	if (err)
		note(c, err);
}

static void churn_irq(struct irq_work *work)
{
	struct churn_cpu *c = this_cpu_ptr(&churn_cpus);

	atomic_inc(&churn.irqs);
	churn.step(&c->irq);
	churn.step(&c->irq);
}

#ifdef CONFIG_X86_LOCAL_APIC
static int churn_nmi(unsigned int cmd, struct pt_regs *regs)
{
	struct churn_cpu *c = this_cpu_ptr(&churn_cpus);

	if (!xchg(&c->nmi_due, false))
		return NMI_DONE;
	if (in_nmi())
		atomic_inc(&churn.nmis);
	churn.step(&c->nmi);
	return NMI_HANDLED;
}

static bool nmi_on(void)
{
	return !register_nmi_handler(NMI_LOCAL, churn_nmi, 0, "bpf_memalloc_capacity");
}

static void nmi_off(void)
{
	unregister_nmi_handler(NMI_LOCAL, "bpf_memalloc_capacity");
}

static void nmi_send(u32 cpu)
{
	if (!xchg(&per_cpu(churn_cpus, cpu).nmi_due, true))
		__apic_send_IPI_mask(cpumask_of(cpu), NMI_VECTOR);
}

static bool nmi_is_due(u32 cpu)
{
	return READ_ONCE(per_cpu(churn_cpus, cpu).nmi_due);
}
#else
static bool nmi_on(void)
{
	return false;
}

static void nmi_off(void)
{
}

static void nmi_send(u32 cpu)
{
}

static bool nmi_is_due(u32 cpu)
{
	return false;
}
#endif

/* On the next CPU, so that they come there at any point. */
static void interrupt_next_cpu(u32 step)
{
	u32 cpu;

	preempt_disable();
	cpu = cpumask_next(smp_processor_id(), cpu_online_mask);
	if (cpu >= nr_cpu_ids)
		cpu = cpumask_first(cpu_online_mask);
	if (step % IRQ_EVERY == 0)
		irq_work_queue_on(&per_cpu(churn_cpus, cpu).work, cpu);
	if (churn.have_nmi && step % NMI_EVERY == 1)
		nmi_send(cpu);
	preempt_enable();
}

static void churn_task(struct crew_task *t)
{
	struct context *c = &churn.tasks[t->nr];
	u32 i, nomem;

	for (i = 0; i < STEPS; i++) {
		nomem = c->nomem;
		churn.step(c);
		if (is_for_programs())
			interrupt_next_cpu(i);
		/* Let a refill in. */
		if (c->nomem != nomem)
			usleep_range(200, 1000);
		cond_resched();
	}
}

static void init_context(struct context *c, u32 nr, u32 seed)
{
	*c = (struct context){ .first = nr * CONTEXT_KEYS };
	prandom_seed_state(&c->rnd, seed + nr);
}

static void init_churn(void (*step)(struct context *c), u32 seed)
{
	u32 i, cpu, nr = 0;

	memset(&churn, 0, sizeof(churn));
	churn.step = step;
	for (i = 0; i < MAX_TASKS; i++)
		init_context(&churn.tasks[i], nr++, seed);
	for_each_possible_cpu(cpu) {
		per_cpu(churn_cpus, cpu).work = IRQ_WORK_INIT_HARD(churn_irq);
		init_context(&per_cpu(churn_cpus, cpu).irq, nr++, seed);
		init_context(&per_cpu(churn_cpus, cpu).nmi, nr++, seed);
		per_cpu(churn_cpus, cpu).nmi_due = false;
	}
}

/* Nobody changes the map any more on return. */
static void play_churn(struct kunit *test)
{
	bool done;
	u32 cpu;

	churn.have_nmi = is_for_programs() && nmi_on();
	done = run_crew(churn_task);
	for_each_possible_cpu(cpu) {
		irq_work_sync(&per_cpu(churn_cpus, cpu).work);
		done &= test_wait_for(!nmi_is_due(cpu));
	}
	if (churn.have_nmi)
		nmi_off();
	KUNIT_EXPECT_TRUE(test, done);
	if (is_for_programs())
		KUNIT_EXPECT_GT(test, atomic_read(&churn.irqs), 0);
	if (churn.have_nmi)
		KUNIT_EXPECT_GT(test, atomic_read(&churn.nmis), 0);
}

static void add_up(struct context *sum, struct context *c)
{
	u32 i;

	for (i = 0; i < CONTEXT_KEYS; i++)
		sum->first += c->has[i];
	sum->inserted += c->inserted;
	sum->full += c->full;
	sum->nomem += c->nomem;
	sum->busy += c->busy;
	sum->wrong += c->wrong;
	sum->last = c->last ?: sum->last;
}

/* All contexts; in .first how many keys they have. */
static struct context sum_of_contexts(void)
{
	struct context sum = {};
	u32 i, cpu;

	for (i = 0; i < MAX_TASKS; i++)
		add_up(&sum, &churn.tasks[i]);
	for_each_possible_cpu(cpu) {
		add_up(&sum, &per_cpu(churn_cpus, cpu).irq);
		add_up(&sum, &per_cpu(churn_cpus, cpu).nmi);
	}
	return sum;
}

static void remove_keys(struct kunit *test, struct context *c)
{
	u32 i;

	for (i = 0; i < CONTEXT_KEYS; i++) {
		if (c->has[i])
			KUNIT_EXPECT_EQ(test, remove(c->first + i), 0);
	}
}

static void remove_all_keys(struct kunit *test)
{
	u32 i, cpu;

	for (i = 0; i < MAX_TASKS; i++)
		remove_keys(test, &churn.tasks[i]);
	for_each_possible_cpu(cpu) {
		remove_keys(test, &per_cpu(churn_cpus, cpu).irq);
		remove_keys(test, &per_cpu(churn_cpus, cpu).nmi);
	}
}

static void report(struct kunit *test, const struct context *sum)
{
	kunit_info(test, "%u elements came, %u times full, %u busy, %u without memory; %d interrupts, %d NMIs\n",
		   sum->inserted, sum->full, sum->busy, sum->nomem, atomic_read(&churn.irqs),
		   atomic_read(&churn.nmis));
}

/* In a large map all but a few places are taken by others, who stay. */
static void test_never_one_too_many(struct kunit *test)
{
	struct context sum;
	u32 stay;

	open_map(test);
	init_churn(change, memalloc_test_seed(test));
	stay = fill_most(test);
	atomic_set(&churn.present, stay);
	play_churn(test);
	sum = sum_of_contexts();
	report(test, &sum);
	KUNIT_EXPECT_EQ(test, atomic_read(&churn.too_many), 0);
	KUNIT_EXPECT_EQ_MSG(test, sum.wrong, 0, "last error %ld", sum.last);
	KUNIT_EXPECT_GT(test, sum.inserted, 0);
	KUNIT_EXPECT_GT(test, sum.full, 0);
	KUNIT_EXPECT_EQ(test, count_elements(), stay + sum.first);
	KUNIT_EXPECT_LE(test, stay + sum.first, scene.entries);
	remove_all_keys(test);
	while (stay--)
		KUNIT_EXPECT_EQ(test, remove(FRESH + stay), 0);
	expect_room(test, scene.entries);
	close_map();
}

/*
 * Places that are free are counted after they have become so, and counted off
 * before they are taken: who has got one must get in. Keys are for all, and
 * elements are inserted here and deleted there, so what is free may lie anywhere.
 */

enum key_state { KEY_FREE, KEY_BUSY, KEY_PRESENT };

#define COMMON_KEYS	64

static atomic_t key_state[COMMON_KEYS];

/* Some key in the state @from is in @to now; -1 if there is none. */
static int move_key(struct context *c, int from, int to)
{
	u32 i, at = prandom_u32_state(&c->rnd);
	int old;

	for (i = 0; i < COMMON_KEYS; i++) {
		at = (at + 1) % COMMON_KEYS;
		old = from;
		if (atomic_try_cmpxchg(&key_state[at], &old, to))
			return at;
	}
	return -1;
}

static void insert_somewhere(struct context *c)
{
	int key;
	long err;

	if (atomic_dec_if_positive(&churn.room) < 0)
		return;
	key = move_key(c, KEY_FREE, KEY_BUSY);
	if (key < 0) {
		atomic_inc(&churn.room);
		return;
	}
	err = insert(key);
	c->inserted += !err;
	if (err)
		note(c, err);
	atomic_set(&key_state[key], err ? KEY_FREE : KEY_PRESENT);
	if (err)
		atomic_inc(&churn.room);
}

static void remove_somewhere(struct context *c)
{
	int key = move_key(c, KEY_PRESENT, KEY_BUSY);
	long err;

	if (key < 0)
		return;
	err = remove(key);
	if (err)
		note(c, err);
	atomic_set(&key_state[key], err ? KEY_PRESENT : KEY_FREE);
	if (!err)
		atomic_inc(&churn.room);
}

/* Some CPUs as a rule insert, others as a rule delete. */
static void trade(struct context *c)
{
	bool inserts = raw_smp_processor_id() & 1;

	if (prandom_u32_state(&c->rnd) % 8 == 0)
		inserts = !inserts;
	if (inserts)
		insert_somewhere(c);
	else
		remove_somewhere(c);
}

static void test_none_is_refused_while_there_is_room(struct kunit *test)
{
	struct context sum;
	u32 i, present = 0;

	open_map(test);
	init_churn(trade, memalloc_test_seed(test));
	atomic_set(&churn.room, scene.entries);
	for (i = 0; i < COMMON_KEYS; i++)
		atomic_set(&key_state[i], KEY_FREE);
	play_churn(test);
	sum = sum_of_contexts();
	report(test, &sum);
	KUNIT_EXPECT_EQ(test, sum.full, 0);
	KUNIT_EXPECT_EQ_MSG(test, sum.wrong, 0, "last error %ld", sum.last);
	KUNIT_EXPECT_GT(test, sum.inserted, scene.entries);
	for (i = 0; i < COMMON_KEYS; i++) {
		if (atomic_read(&key_state[i]) != KEY_PRESENT)
			continue;
		present++;
		KUNIT_EXPECT_EQ(test, remove(i), 0);
	}
	KUNIT_EXPECT_EQ(test, present + atomic_read(&churn.room), scene.entries);
	expect_room(test, scene.entries);
	close_map();
}

static struct kunit_case memalloc_capacity_cases[] = {
	KUNIT_CASE_PARAM_ATTR(test_race_for_the_last_places, capacity_kind_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM_ATTR(test_never_one_too_many, capacity_kind_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM_ATTR(test_none_is_refused_while_there_is_room, small_kind_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static int capacity_init(struct kunit *test)
{
	memset(&scene, 0, sizeof(scene));
	return memalloc_map_init(test);
}

static struct kunit_suite memalloc_capacity_suite = {
	.name = "bpf_memalloc_capacity",
	.init = capacity_init,
	.exit = memalloc_map_exit,
	.test_cases = memalloc_capacity_cases,
};

kunit_test_suite(memalloc_capacity_suite);
