// SPDX-License-Identifier: GPL-2.0-only
/* Permits that lie with the CPUs: see include/linux/pcpu_permits.h. */
#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/pcpu_permits.h>

/**
 * pcpu_permits_init() - make permits
 * @permits: the permits
 * @nr: number of permits
 * @gfp: flags
 *
 * Context: Task context, may sleep if @gfp says so.
 * Return: 0 or -ENOMEM.
 */
int pcpu_permits_init(struct pcpu_permits *permits, unsigned int nr, gfp_t gfp)
{
	unsigned int each = nr / num_possible_cpus(), more = nr % num_possible_cpus();
	struct pcpu_permits_cpu *c;
	int cpu;

	permits->cpus = alloc_percpu_gfp(struct pcpu_permits_cpu, gfp);
	if (!permits->cpus)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(permits->cpus, cpu);
		atomic64_set(&c->word, each + !!more);
		c->from = cpu;
		more -= !!more;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pcpu_permits_init);

/**
 * pcpu_permits_exit() - end permits that nobody uses
 * @permits: the permits, or all zero
 *
 * Context: Task context.
 */
void pcpu_permits_exit(struct pcpu_permits *permits)
{
	free_percpu(permits->cpus);
	permits->cpus = NULL;
}
EXPORT_SYMBOL_GPL(pcpu_permits_exit);

/* Looks at all CPUs; @given is set to what they have been given, if none has any. */
static bool notrace take_from_any(struct pcpu_permits *permits, u32 *given)
{
	struct pcpu_permits_cpu *c = raw_cpu_ptr(permits->cpus);
	unsigned int cpu = READ_ONCE(c->from), n;
	s64 word;

	*given = 0;
	/* No call here that a program could trace, so no iterator of cpumask.h. */
	for (n = nr_cpu_ids; n; n--, cpu++) {
		if (cpu >= nr_cpu_ids)
			cpu = 0;
		if (!cpu_possible(cpu))
			continue;
		if (pcpu_permits_take_from(per_cpu_ptr(permits->cpus, cpu), &word)) {
			WRITE_ONCE(c->from, cpu);
			return true;
		}
		*given += word >> 32;
	}
	return false;
}

/**
 * pcpu_permits_take_slow() - take a permit that lies with another CPU
 * @permits: the permits
 *
 * If nothing was given between two looks that found none, there was none at all
 * at the end of the first.
 *
 * Context: Any. Looks at each possible CPU four times at most, first where there
 *	was a permit the last time.
 * Return: As pcpu_permits_take().
 */
bool notrace pcpu_permits_take_slow(struct pcpu_permits *permits)
{
	u32 before, now;
	int look;

	if (take_from_any(permits, &now))
		return true;
	for (look = 1; look < 4; look++) {
		before = now;
		/* All of a look before the next one. */
		smp_rmb();
		if (take_from_any(permits, &now))
			return true;
		if (now == before)
			return false;
	}
	return false;
}
EXPORT_SYMBOL_GPL(pcpu_permits_take_slow);

/**
 * pcpu_permits_left() - permits that are not out
 * @permits: the permits
 *
 * Context: Any. Exact while nobody uses them.
 * Return: Number of permits.
 */
unsigned long pcpu_permits_left(const struct pcpu_permits *permits)
{
	unsigned long left = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		left += (u32)atomic64_read(&per_cpu_ptr(permits->cpus, cpu)->word);
	return left;
}
EXPORT_SYMBOL_GPL(pcpu_permits_left);
