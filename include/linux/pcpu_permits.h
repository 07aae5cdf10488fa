/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bounded number of permits that lie with the CPUs: an exact limit to what many
 * CPUs add to and remove from, in any context.
 *
 * Unlike a percpu_counter it is exact, and unlike an atomic counter it has no line
 * that all CPUs write.
 */
#ifndef _LINUX_PCPU_PERMITS_H
#define _LINUX_PCPU_PERMITS_H

#include <linux/atomic.h>
#include <linux/percpu.h>
#include <linux/types.h>

/**
 * struct pcpu_permits_cpu - permits that lie with a CPU
 * @word: their number in the lower half; this CPU takes and gives, others take
 *	when they have none. In the upper half how many have been given to it, so
 *	that who looks twice sees what came and went in between.
 * @from: CPU that had some when this one last had none: a hint
 */
struct pcpu_permits_cpu {
	atomic64_t word;
	unsigned int from;
};

/* What a permit adds to a word. */
#define PCPU_PERMITS_GIVE	((1LL << 32) + 1)

/**
 * struct pcpu_permits - permits
 * @cpus: where they lie
 *
 * permits out = number at the start - the sum of what lies with all CPUs, at any
 * time: a permit is taken, and given, by one atomic instruction, and never moves
 * from one CPU to another. So one that nobody takes is found by whoever looks.
 */
struct pcpu_permits {
	struct pcpu_permits_cpu __percpu *cpus;
};

int pcpu_permits_init(struct pcpu_permits *permits, unsigned int nr, gfp_t gfp);
void pcpu_permits_exit(struct pcpu_permits *permits);
bool pcpu_permits_take_slow(struct pcpu_permits *permits);
unsigned long pcpu_permits_left(const struct pcpu_permits *permits);

/* Take a permit that lies with a certain CPU; if there is none, @word says when. */
static __always_inline bool pcpu_permits_take_from(struct pcpu_permits_cpu *c, s64 *word)
{
	*word = atomic64_read(&c->word);
	do {
		if (!(u32)*word)
			return false;
	} while (!atomic64_try_cmpxchg(&c->word, word, *word - 1));
	return true;
}

/**
 * pcpu_permits_take() - take a permit
 * @permits: the permits
 *
 * Context: Any, NMI included. Looks at other CPUs if this one has none.
 * Return: false if at some moment meanwhile there was none with any CPU; or if in
 * each of four looks at all CPUs none was found, although some were given.
 */
static __always_inline bool pcpu_permits_take(struct pcpu_permits *permits)
{
	s64 word;

	/* It does not matter which CPU it is by the time. */
	return likely(pcpu_permits_take_from(raw_cpu_ptr(permits->cpus), &word)) ||
	       pcpu_permits_take_slow(permits);
}

/**
 * pcpu_permits_give() - give a permit back
 * @permits: the permits
 *
 * Context: Any, NMI included.
 */
static __always_inline void pcpu_permits_give(struct pcpu_permits *permits)
{
	atomic64_add(PCPU_PERMITS_GIVE, &raw_cpu_ptr(permits->cpus)->word);
}

#endif /* _LINUX_PCPU_PERMITS_H */
