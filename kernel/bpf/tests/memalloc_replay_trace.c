// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replay of recorded allocation patterns: reading a trace.
 *
 * Text, so that a person can look at it and git at changes. A header of lines
 * "# name: value", then an event a line:
 *
 *	delta cpu context op id [size]
 *
 * A trace comes from outside. Nothing in it is believed before it was checked:
 * who allocates an id twice or frees one that is not there is told the line.
 */
#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "memalloc_replay.h"

#define MAX_EVENTS	1000000
#define MAX_OBJECTS	1000000
#define MAX_LINE	200

static const char context_letters[] = "tshn";
static const char op_letters[] = "afr";

struct reader {
	struct kunit *test;
	const char *at;
	const char *end;
	unsigned int line;
	char text[MAX_LINE];
	struct replay_trace *trace;
	unsigned long *live;	/* bitmap of ids */
	u32 *sizes;		/* by id */
};

static int complain(struct reader *r, const char *why)
{
	kunit_err(r->test, "trace, line %u: %s: \"%s\"\n", r->line, why, r->text);
	return -EINVAL;
}

/* The next line, without its end, in @r->text; false after the last. */
static bool next_line(struct reader *r)
{
	size_t length;
	const char *stop;

	if (r->at >= r->end)
		return false;
	stop = memchr(r->at, '\n', r->end - r->at) ?: r->end;
	length = min_t(size_t, stop - r->at, MAX_LINE - 1);
	memcpy(r->text, r->at, length);
	r->text[length] = 0;
	r->at = stop + 1;
	r->line++;
	return true;
}

static int read_header(struct reader *r)
{
	struct replay_trace *trace = r->trace;

	if (!next_line(r) || strcmp(r->text, "# bpf_mem trace 1"))
		return complain(r, "not a trace of version 1");
	while (r->at < r->end && *r->at == '#') {
		next_line(r);
		/* A line is one of these or for people; a value may be missing. */
		if (sscanf(r->text, "# cpus: %u", &trace->nr_cpus) == 1 ||
		    sscanf(r->text, "# objects: %u", &trace->nr_objects) == 1 ||
		    sscanf(r->text, "# events: %lu", &trace->nr) == 1)
			continue;
	}
	if (!trace->nr_cpus || trace->nr_cpus > U16_MAX)
		return complain(r, "the header has no sane \"# cpus: \"");
	if (!trace->nr_objects || trace->nr_objects > MAX_OBJECTS)
		return complain(r, "the header has no sane \"# objects: \"");
	if (!trace->nr || trace->nr > MAX_EVENTS)
		return complain(r, "the header has no sane \"# events: \"");
	return 0;
}

static int read_event(struct reader *r, struct replay_event *event)
{
	const char *context, *op;
	unsigned int cpu;
	char c, o;
	int fields;

	fields = sscanf(r->text, "%u %u %c %c %u %u", &event->delta, &cpu, &c, &o,
			&event->id, &event->size);
	if (fields < 5)
		return complain(r, "fields are missing");
	context = strchr(context_letters, c);
	op = strchr(op_letters, o);
	if (!context || !op || !c || !o)
		return complain(r, "no such context or operation");
	if (cpu >= r->trace->nr_cpus || event->id >= r->trace->nr_objects)
		return complain(r, "more CPUs or objects than the header says");
	event->cpu = cpu;
	event->context = context - context_letters;
	event->op = op - op_letters;
	if (event->op == REPLAY_ALLOC && (fields < 6 || !event->size))
		return complain(r, "an allocation without a size");
	return 0;
}

/* Does it fit what has happened to the object before? */
static int follow_object(struct reader *r, struct replay_event *event)
{
	if (event->op == REPLAY_ALLOC) {
		if (__test_and_set_bit(event->id, r->live))
			return complain(r, "allocates what is there already");
		r->sizes[event->id] = event->size;
	} else {
		if (!__test_and_clear_bit(event->id, r->live))
			return complain(r, "frees what is not there");
		event->size = r->sizes[event->id];
	}
	return 0;
}

static int read_events(struct reader *r)
{
	struct replay_trace *trace = r->trace;
	unsigned long i;
	int err;

	for (i = 0; next_line(r); i++) {
		if (i == trace->nr)
			return complain(r, "more events than the header says");
		err = read_event(r, &trace->events[i]) ?:
		      follow_object(r, &trace->events[i]);
		if (err)
			return err;
		trace->ops[trace->events[i].op]++;
	}
	if (i < trace->nr)
		return complain(r, "fewer events than the header says; the last is");
	trace->live = bitmap_weight(r->live, trace->nr_objects);
	return 0;
}

static void free_large(void *mem)
{
	kvfree(mem);
}

static void *alloc_large(struct kunit *test, size_t nr, size_t size)
{
	void *mem = kvcalloc(nr, size, GFP_KERNEL);

	if (mem && kunit_add_action_or_reset(test, free_large, mem))
		return NULL;
	return mem;
}

int replay_parse(struct kunit *test, const char *text, size_t size, struct replay_trace *trace)
{
	struct reader reader = { .test = test, .at = text, .end = text + size, .trace = trace };
	int err;

	*trace = (struct replay_trace){};
	err = read_header(&reader);
	if (err)
		return err;
	trace->events = alloc_large(test, trace->nr, sizeof(*trace->events));
	reader.live = alloc_large(test, BITS_TO_LONGS(trace->nr_objects), sizeof(long));
	reader.sizes = alloc_large(test, trace->nr_objects, sizeof(*reader.sizes));
	if (!trace->events || !reader.live || !reader.sizes)
		return -ENOMEM;
	return read_events(&reader);
}
