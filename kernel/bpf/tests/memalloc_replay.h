/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the replay of recorded allocation patterns share. */
#ifndef _BPF_MEMALLOC_REPLAY_H
#define _BPF_MEMALLOC_REPLAY_H

#include <kunit/test.h>
#include <linux/types.h>

/* Where an operation runs; the letters stand in traces. */
enum replay_context {
	REPLAY_TASK,		/* t */
	REPLAY_SOFTIRQ,		/* s */
	REPLAY_HARDIRQ,		/* h */
	REPLAY_NMI,		/* n */
	REPLAY_NR_CONTEXTS,
};

enum replay_op {
	REPLAY_ALLOC,		/* a */
	REPLAY_FREE,		/* f */
	REPLAY_FREE_RCU,	/* r */
	REPLAY_NR_OPS,
};

/**
 * struct replay_event - an operation of a trace
 * @delta: us since the event before, on whichever CPU
 * @id: object, below &replay_trace.nr_objects
 * @size: bytes of the object, for frees too
 * @cpu: below &replay_trace.nr_cpus
 * @context: &enum replay_context
 * @op: &enum replay_op
 */
struct replay_event {
	u32 delta;
	u32 id;
	u32 size;
	u16 cpu;
	u8 context;
	u8 op;
};

/**
 * struct replay_trace - a trace in memory, whole and checked
 * @nr_cpus: CPUs that it was recorded on
 * @nr_objects: number of ids
 * @nr: number of events
 * @events: in order of time
 * @ops: how many of them are which &enum replay_op
 * @live: objects that nothing frees
 */
struct replay_trace {
	unsigned int nr_cpus;
	unsigned int nr_objects;
	unsigned long nr;
	struct replay_event *events;
	unsigned long ops[REPLAY_NR_OPS];
	unsigned long live;
};

/**
 * replay_parse() - read a trace
 * @test: owns the memory; errors are told there, with their line
 * @text: the trace, see Documentation/bpf/memalloc_tune.rst
 * @size: bytes of @text
 * @trace: filled
 *
 * Context: Task context, may sleep.
 * Return: 0; -EINVAL for text that is no trace; -ENOMEM.
 */
int replay_parse(struct kunit *test, const char *text, size_t size, struct replay_trace *trace);

/**
 * replay_run_in() - call a function in a context, on this CPU
 * @context: which; where there is no such interrupt, with interrupts off
 * @fn: called once; when this returns it has been
 * @arg: its argument
 *
 * Context: Task context that stays on its CPU; may sleep.
 * Return: 0, or -ETIMEDOUT if the interrupt did not come.
 */
int replay_run_in(enum replay_context context, void (*fn)(void *arg), void *arg);

/* To be called before the first and after the last replay_run_in(). */
int replay_contexts_init(void);
void replay_contexts_exit(void);

/* What REPLAY_HARDIRQ and REPLAY_NMI are here. */
const char *replay_interrupts(void);

#endif /* _BPF_MEMALLOC_REPLAY_H */
