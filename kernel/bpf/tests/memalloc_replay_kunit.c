// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF memory allocator: replay of recorded allocation patterns.
 *
 * A trace says who allocated and freed what, when, on which CPU and in which
 * context. Here the same is asked of the allocator: in the same order over all
 * CPUs, a burst as one and a pause as one, each operation in its context.
 * What came of it is one line of JSON for each trace.
 *
 * Events have turns. A thread on each CPU waits until the next event is one of
 * its own; whose turn it is writes the figures, so these need no other lock.
 * With fewer CPUs than in the trace some share a thread.
 */
#include <kunit/device.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/firmware.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/wait.h>
#include "../memalloc_internal.h"
#include "memalloc_replay.h"
#include "memalloc_test_compat.h"

#define MAX_TRACES	8
#define MAX_SIZES	8
/* Shorter gaps are part of a burst: sleeping takes about as long. */
#define GAP_US		50
/* Nobody's turn comes for so long: something is broken. */
#define PATIENCE	(120 * HZ)

static char *traces[MAX_TRACES] = { "conntrack.trace", "agent.trace", "storm.trace" };
static int nr_traces = 3;
module_param_array(traces, charp, &nr_traces, 0444);
MODULE_PARM_DESC(traces, "traces to replay: names of firmware files, at most 8");

static unsigned int max_gap = 1000;
module_param(max_gap, uint, 0444);
MODULE_PARM_DESC(max_gap, "us to which pauses of a trace are cut");

struct replay_pool {
	struct bpf_mem_alloc ma;
	size_t size;
};

struct replay_object {
	u64 *mem;
	struct bpf_mem_alloc *ma;
};

/* Sums over time are of bytes times us. */
struct replay_figures {
	unsigned long ops, failed[REPLAY_NR_CONTEXTS], skipped, spoiled, astray;
	u64 cost, worst;
	u64 time, held_sum, held_peak, used, used_sum, used_peak;
};

struct replay_thread {
	struct replay *replay;
	struct task_struct *task;
	struct wait_queue_head turn;
	struct completion done;
};

struct replay {
	const struct replay_trace *trace;
	struct replay_object *objects;
	struct replay_pool pools[MAX_SIZES];
	unsigned int nr_pools;
	struct replay_thread *threads;
	unsigned int nr_threads;
	unsigned long turn;	/* index of the event that is next */
	bool given_up;
	u64 clock_cost;		/* ns that reading the clock twice takes */
	struct replay_figures fig;
};

static struct replay_pool *pool_for(struct replay *r, size_t size)
{
	unsigned int i;

	for (i = 0; i < r->nr_pools; i++) {
		if (r->pools[i].size == size)
			return &r->pools[i];
	}
	return NULL;
}

/* What an object holds while it is in use: nobody else's number. */
static u64 stamp_of(const struct replay_object *object, const struct replay *r)
{
	return 0x5eed0000000000ULL + (object - r->objects);
}

static void take(struct replay *r, struct replay_object *object, struct bpf_mem_alloc *ma)
{
	object->ma = ma;
	object->mem = bpf_mem_cache_alloc(ma);
}

static void drop(struct replay_object *object, enum replay_op op)
{
	if (op == REPLAY_FREE_RCU)
		bpf_mem_cache_free_rcu(object->ma, object->mem);
	else
		bpf_mem_cache_free(object->ma, object->mem);
	object->mem = NULL;
}

static void operate(struct replay *r, const struct replay_event *event)
{
	struct replay_object *object = &r->objects[event->id];
	struct replay_pool *pool = pool_for(r, event->size);
	u64 begin, cost;

	if (event->op != REPLAY_ALLOC && !object->mem) {
		r->fig.skipped++;
		return;
	}
	if (event->op != REPLAY_ALLOC && *object->mem != stamp_of(object, r))
		r->fig.spoiled++;
	begin = ktime_get_mono_fast_ns();
	if (event->op == REPLAY_ALLOC)
		take(r, object, &pool->ma);
	else
		drop(object, event->op);
	cost = ktime_get_mono_fast_ns() - begin;
	cost -= min(cost, r->clock_cost);
	r->fig.ops++;
	r->fig.cost += cost;
	r->fig.worst = max(r->fig.worst, cost);
	if (event->op != REPLAY_ALLOC) {
		r->fig.used -= event->size;
	} else if (object->mem) {
		*object->mem = stamp_of(object, r);
		r->fig.used += event->size;
	} else {
		r->fig.failed[event->context]++;
	}
}

static u64 held_bytes(struct replay *r)
{
	struct bpf_mem_pool *pool;
	unsigned int i;
	u64 held = 0;

	for (i = 0; i < r->nr_pools; i++) {
		pool = r->pools[i].ma.owner->pool[0];
		held += atomic_long_read(&pool->nr_slab) * bpf_mem_slab_footprint(pool);
	}
	return held;
}

/* What was there while nothing happened, for so many us. */
static void account(struct replay *r, unsigned int gap)
{
	u64 held = held_bytes(r);

	r->fig.time += gap;
	r->fig.held_sum += held * gap;
	r->fig.used_sum += r->fig.used * gap;
	r->fig.held_peak = max(r->fig.held_peak, held);
	r->fig.used_peak = max(r->fig.used_peak, r->fig.used);
}

static void pause_before(struct replay *r, const struct replay_event *event)
{
	unsigned int gap = min(event->delta, max_gap);

	if (gap >= GAP_US)
		usleep_range(gap, gap);
	account(r, gap);
}

/**
 * struct burst - events that one interrupt is likely to have brought
 * @replay: the replay
 * @first: first of them
 * @end: the first that is not of them
 */
struct burst {
	struct replay *replay;
	const struct replay_event *first;
	const struct replay_event *end;
};

/*
 * A trace does not say where an interrupt ended. Events that follow each other
 * without a pause, on the same CPU and in the same context, count as one: no
 * refill comes in between if interrupts are off there.
 */
static struct burst burst_at(struct replay *r, unsigned long i)
{
	const struct replay_event *first = &r->trace->events[i], *end = first + 1;
	const struct replay_event *last = &r->trace->events[r->trace->nr];

	while (end < last && end->cpu == first->cpu && end->context == first->context &&
	       end->delta < GAP_US)
		end++;
	return (struct burst){ .replay = r, .first = first, .end = end };
}

/* In the context of the events. */
static void play_burst(void *arg)
{
	const struct burst *burst = arg;
	const struct replay_event *event;

	for (event = burst->first; event < burst->end; event++) {
		if (event > burst->first)
			account(burst->replay, event->delta);
		operate(burst->replay, event);
	}
}

static struct replay_thread *thread_for(struct replay *r, unsigned long i)
{
	return &r->threads[r->trace->events[i].cpu % r->nr_threads];
}

static bool is_turn(struct replay *r, unsigned long i)
{
	/* Pairs with pass_turn(): the figures are those of the one before. */
	return smp_load_acquire(&r->turn) == i || READ_ONCE(r->given_up);
}

/* False if it never came. */
static bool wait_for_turn(struct replay_thread *thread, unsigned long i)
{
	struct replay *r = thread->replay;
	unsigned int spins;

	/* CPUs that take turns in a burst do so without the scheduler. */
	for (spins = 0; spins < 256 && !is_turn(r, i); spins++)
		cpu_relax();
	if (!wait_event_timeout(thread->turn, is_turn(r, i), PATIENCE))
		WRITE_ONCE(r->given_up, true);
	return !READ_ONCE(r->given_up);
}

static void pass_turn(struct replay_thread *thread, unsigned long i)
{
	struct replay *r = thread->replay;

	/* Pairs with is_turn(). */
	smp_store_release(&r->turn, i);
	if (i < r->trace->nr && thread_for(r, i) != thread)
		wake_up(&thread_for(r, i)->turn);
}

static int play(void *arg)
{
	struct replay_thread *thread = arg;
	struct replay *r = thread->replay;
	struct burst burst;
	unsigned long i;

	for (i = 0; i < r->trace->nr; i += burst.end - burst.first) {
		burst = burst_at(r, i);
		if (thread_for(r, i) != thread)
			continue;
		if (!wait_for_turn(thread, i))
			break;
		pause_before(r, burst.first);
		migrate_disable();
		if (replay_run_in(burst.first->context, play_burst, &burst))
			r->fig.astray++;
		migrate_enable();
		pass_turn(thread, i + (burst.end - burst.first));
		cond_resched();
	}
	complete(&thread->done);
	return 0;
}

/* One on each CPU, as many as there are threads; they wait to be woken. */
static bool create_threads(struct replay *r)
{
	unsigned int cpu, i = 0;

	for_each_online_cpu(cpu) {
		struct replay_thread *thread = &r->threads[i];

		if (i == r->nr_threads)
			break;
		i++;
		thread->task = kthread_create(play, thread, "bpf_memalloc_replay");
		if (IS_ERR(thread->task))
			return false;
		kthread_bind(thread->task, cpu);
	}
	return true;
}

static void play_all(struct kunit *test, struct replay *r)
{
	bool created = create_threads(r);
	unsigned int i;

	for (i = 0; i < r->nr_threads && !IS_ERR_OR_NULL(r->threads[i].task); i++) {
		if (created)
			wake_up_process(r->threads[i].task);
		else
			kthread_stop(r->threads[i].task);
	}
	KUNIT_ASSERT_TRUE(test, created);
	for (i = 0; i < r->nr_threads; i++)
		wait_for_completion(&r->threads[i].done);
}

/* Reading the clock twice: the least of some tries. */
static u64 clock_cost(void)
{
	u64 least = U64_MAX, begin;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		begin = ktime_get_mono_fast_ns();
		least = min(least, ktime_get_mono_fast_ns() - begin);
	}
	return least;
}

static void make_pools(struct kunit *test, struct replay *r)
{
	const struct replay_trace *trace = r->trace;
	struct replay_pool *pool;
	unsigned long i;

	for (i = 0; i < trace->nr; i++) {
		if (pool_for(r, trace->events[i].size))
			continue;
		KUNIT_ASSERT_LT_MSG(test, r->nr_pools, MAX_SIZES, "more sizes than expected");
		pool = &r->pools[r->nr_pools];
		KUNIT_ASSERT_EQ(test, bpf_mem_alloc_init(&pool->ma, trace->events[i].size, false),
				0);
		pool->size = trace->events[i].size;
		r->nr_pools++;
	}
}

static void make_threads(struct kunit *test, struct replay *r)
{
	unsigned int i;

	r->nr_threads = min(r->trace->nr_cpus, num_online_cpus());
	r->threads = kvcalloc(r->nr_threads, sizeof(*r->threads), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r->threads);
	for (i = 0; i < r->nr_threads; i++) {
		r->threads[i].replay = r;
		init_waitqueue_head(&r->threads[i].turn);
		init_completion(&r->threads[i].done);
	}
}

static u64 count_of(struct replay *r, enum pcpu_magazine_event event)
{
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < r->nr_pools; i++)
		sum += pcpu_magazine_count(&r->pools[i].ma.owner->pool[0]->mag, event);
	return sum;
}

static unsigned long failed_in_all(const struct replay_figures *fig)
{
	return fig->failed[REPLAY_TASK] + fig->failed[REPLAY_SOFTIRQ] +
	       fig->failed[REPLAY_HARDIRQ] + fig->failed[REPLAY_NMI];
}

/* Lines of a log are of limited length: one for each sort of figures. */
static void report(struct kunit *test, struct replay *r, const char *name)
{
	const struct replay_trace *trace = r->trace;
	const struct replay_figures *fig = &r->fig;
	u64 time = max(fig->time, 1ULL);
	unsigned int i;

	kunit_info(test, "replay: {\"trace\": \"%s\", \"cpus\": %u, \"interrupts\": \"%s\", \"events\": %lu, \"allocs\": %lu, \"frees\": %lu, \"frees_rcu\": %lu}\n",
		   name, r->nr_threads, replay_interrupts(), r->turn, trace->ops[REPLAY_ALLOC],
		   trace->ops[REPLAY_FREE], trace->ops[REPLAY_FREE_RCU]);
	kunit_info(test, "replay: {\"trace\": \"%s\", \"failed\": %lu, \"failed_task\": %lu, \"failed_softirq\": %lu, \"failed_hardirq\": %lu, \"failed_nmi\": %lu}\n",
		   name, failed_in_all(fig), fig->failed[REPLAY_TASK],
		   fig->failed[REPLAY_SOFTIRQ], fig->failed[REPLAY_HARDIRQ],
		   fig->failed[REPLAY_NMI]);
	kunit_info(test, "replay: {\"trace\": \"%s\", \"ops\": %lu, \"cost\": %llu, \"worst\": %llu, \"time_us\": %llu}\n",
		   name, fig->ops, fig->cost, fig->worst, fig->time);
	kunit_info(test, "replay: {\"trace\": \"%s\", \"held_mean\": %llu, \"held_peak\": %llu, \"used_mean\": %llu, \"used_peak\": %llu}\n",
		   name, div64_u64(fig->held_sum, time), fig->held_peak,
		   div64_u64(fig->used_sum, time), fig->used_peak);
	kunit_info(test, "replay: {\"trace\": \"%s\", \"refills\": %llu, \"refilled_objects\": %llu, \"batches_from_depot\": %llu, \"batches_to_depot\": %llu}\n",
		   name, count_of(r, PCPU_MAGAZINE_REFILLS), count_of(r, PCPU_MAGAZINE_NEW),
		   count_of(r, PCPU_MAGAZINE_FETCHED), count_of(r, PCPU_MAGAZINE_RETURNED));
	for (i = 0; i < r->nr_pools; i++) {
		struct bpf_mem_pool *pool = r->pools[i].ma.owner->pool[0];

		kunit_info(test, "marks: {\"trace\": \"%s\", \"size\": %zu, \"low\": %u, \"high\": %u, \"batch\": %u}\n",
			   name, bpf_mem_unit(pool), pool->mag.marks.low,
			   pool->mag.marks.high, pool->mag.marks.batch);
	}
}

/* What the trace leaves is freed here. Returns how much that was. */
static unsigned long drop_rest(struct replay *r)
{
	unsigned long rest = 0;
	unsigned int i;

	for (i = 0; i < r->trace->nr_objects; i++) {
		if (!r->objects[i].mem)
			continue;
		if (*r->objects[i].mem != stamp_of(&r->objects[i], r))
			r->fig.spoiled++;
		migrate_disable();
		drop(&r->objects[i], REPLAY_FREE);
		migrate_enable();
		rest++;
	}
	return rest;
}

static void free_replay(void *arg)
{
	struct replay *r = arg;

	kvfree(r->threads);
	while (r->nr_pools)
		bpf_mem_alloc_destroy(&r->pools[--r->nr_pools].ma);
	kvfree(r->objects);
	kvfree(r);
}

static struct replay *make_replay(struct kunit *test, const struct replay_trace *trace)
{
	struct replay *r = kvzalloc(sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_replay, r), 0);
	r->trace = trace;
	r->clock_cost = clock_cost();
	r->objects = kvcalloc(trace->nr_objects, sizeof(*r->objects), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r->objects);
	make_threads(test, r);
	make_pools(test, r);
	return r;
}

/* Everything that the trace says has happened, and only that. */
static void check_counts(struct kunit *test, struct replay *r)
{
	const struct replay_trace *trace = r->trace;
	const struct replay_figures *fig = &r->fig;
	unsigned long rest = drop_rest(r);

	KUNIT_EXPECT_FALSE(test, r->given_up);
	KUNIT_EXPECT_EQ(test, r->turn, trace->nr);
	KUNIT_EXPECT_EQ(test, fig->ops + fig->skipped, trace->nr);
	KUNIT_EXPECT_EQ(test, fig->astray, 0);
	KUNIT_EXPECT_EQ_MSG(test, fig->spoiled, 0, "objects that two had at a time");
	/* Who got no object had none to free, now or before. */
	KUNIT_EXPECT_EQ(test, fig->skipped + trace->live - rest, failed_in_all(fig));
}

static void replay_text(struct kunit *test, const char *name, const void *text, size_t size)
{
	struct replay_trace trace;
	struct replay *r;

	KUNIT_ASSERT_EQ(test, replay_parse(test, text, size, &trace), 0);
	r = make_replay(test, &trace);
	KUNIT_ASSERT_EQ(test, replay_contexts_init(), 0);
	play_all(test, r);
	replay_contexts_exit();
	report(test, r, name);
	check_counts(test, r);
	kunit_release_action(test, free_replay, r);
}

static void test_recorded(struct kunit *test)
{
	const char *name = *(char *const *)test->param_value;
	struct device *dev = kunit_device_register(test, "bpf_memalloc_replay");
	const struct firmware *file;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	if (request_firmware_direct(&file, name, dev))
		kunit_skip(test, "no firmware file %s, neither built in nor in the initramfs",
			   name);
	replay_text(test, name, file->data, file->size);
	release_firmware(file);
}

DEFINE_GEN_PARAMS(trace_gen_params, prev, desc)
{
	char **trace = prev ? (char **)prev + 1 : traces;

	if (trace - traces >= nr_traces)
		return NULL;
	strscpy(desc, *trace, KUNIT_PARAM_DESC_SIZE);
	return trace;
}

/* Small, but with all that there is: contexts, operations, sizes, CPUs. */
static const char sample[] =
	"# bpf_mem trace 1\n"
	"# workload: all there is\n"
	"# cpus: 2\n"
	"# objects: 4\n"
	"# events: 11\n"
	"0 0 t a 0 64\n"
	"3 1 s a 1 64\n"
	"100 0 h a 2 200\n"
	"0 1 n a 3 64\n"
	"1 0 t f 3\n"
	"0 1 t r 1\n"
	"200 1 n f 2\n"
	"0 0 s a 1 64\n"
	"5 0 h r 0\n"
	"5 0 n a 2 64\n"
	"5 1 s f 1\n";

static void test_sample(struct kunit *test)
{
	struct replay_trace trace;

	KUNIT_ASSERT_EQ(test, replay_parse(test, sample, strlen(sample), &trace), 0);
	KUNIT_EXPECT_EQ(test, trace.nr_cpus, 2);
	KUNIT_EXPECT_EQ(test, trace.nr, 11);
	KUNIT_EXPECT_EQ(test, trace.ops[REPLAY_ALLOC], 6);
	KUNIT_EXPECT_EQ(test, trace.ops[REPLAY_FREE], 3);
	KUNIT_EXPECT_EQ(test, trace.ops[REPLAY_FREE_RCU], 2);
	KUNIT_EXPECT_EQ(test, trace.live, 1);
	KUNIT_EXPECT_EQ(test, trace.events[3].context, REPLAY_NMI);
	KUNIT_EXPECT_EQ(test, trace.events[6].size, 200);
	replay_text(test, "sample", sample, strlen(sample));
}

#define HEADER(events)	"# bpf_mem trace 1\n# cpus: 1\n# objects: 2\n# events: " #events "\n"

static void test_nonsense(struct kunit *test)
{
	static const char * const texts[] = {
		"",
		"0 0 t a 0 64\n",
		"# bpf_mem trace 2\n",
		"# bpf_mem trace 1\n# cpus: 1\n# objects: 2\n",
		"# bpf_mem trace 1\n# cpus: 0\n# objects: 2\n# events: 1\n0 0 t a 0 64\n",
		HEADER(1),
		HEADER(1) "0 0 t a 0\n",
		HEADER(1) "0 0 t a\n",
		HEADER(1) "0 0 x a 0 64\n",
		HEADER(1) "0 0 t x 0 64\n",
		HEADER(1) "0 1 t a 0 64\n",
		HEADER(1) "0 0 t a 2 64\n",
		HEADER(1) "0 0 t f 0\n",
		HEADER(1) "0 0 t a 0 0\n",
		HEADER(2) "0 0 t a 0 64\n0 0 t a 0 64\n",
		HEADER(2) "0 0 t a 0 64\n",
		HEADER(1) "0 0 t a 0 64\n0 0 t f 0\n",
	};
	struct replay_trace trace;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(texts); i++)
		KUNIT_EXPECT_EQ_MSG(test, replay_parse(test, texts[i], strlen(texts[i]), &trace),
				    -EINVAL, "text %u", i);
}

struct seen {
	bool softirq, hardirq, nmi, irqs_off;
};

static void look_around(void *arg)
{
	struct seen *seen = arg;

	seen->softirq = in_serving_softirq();
	seen->hardirq = in_hardirq();
	seen->nmi = in_nmi();
	seen->irqs_off = irqs_disabled();
}

static void test_contexts(struct kunit *test)
{
	bool true_ones = !strcmp(replay_interrupts(), "true");
	struct seen seen;

	KUNIT_ASSERT_EQ(test, replay_contexts_init(), 0);
	migrate_disable();
	KUNIT_EXPECT_EQ(test, replay_run_in(REPLAY_TASK, look_around, &seen), 0);
	KUNIT_EXPECT_FALSE(test, seen.softirq || seen.hardirq || seen.nmi || seen.irqs_off);
	KUNIT_EXPECT_EQ(test, replay_run_in(REPLAY_SOFTIRQ, look_around, &seen), 0);
	KUNIT_EXPECT_TRUE(test, seen.softirq);
	KUNIT_EXPECT_EQ(test, replay_run_in(REPLAY_HARDIRQ, look_around, &seen), 0);
	KUNIT_EXPECT_TRUE(test, seen.irqs_off);
	KUNIT_EXPECT_EQ(test, seen.hardirq, true_ones);
	KUNIT_EXPECT_EQ(test, replay_run_in(REPLAY_NMI, look_around, &seen), 0);
	KUNIT_EXPECT_TRUE(test, seen.irqs_off);
	KUNIT_EXPECT_EQ(test, seen.nmi, true_ones);
	migrate_enable();
	replay_contexts_exit();
}

static struct kunit_case memalloc_replay_cases[] = {
	KUNIT_CASE(test_contexts),
	KUNIT_CASE(test_nonsense),
	KUNIT_CASE(test_sample),
	KUNIT_CASE_PARAM(test_recorded, trace_gen_params),
	{}
};

static struct kunit_suite memalloc_replay_suite = {
	.name = "bpf_memalloc_replay",
	.test_cases = memalloc_replay_cases,
};

kunit_test_suite(memalloc_replay_suite);
