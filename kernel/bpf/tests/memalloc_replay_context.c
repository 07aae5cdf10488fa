// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replay of recorded allocation patterns: running something in an interrupt.
 *
 * On x86_64 these are what they are called: a softirq of this CPU, the interrupt
 * of an irq_work that the CPU sends itself, a true NMI. Elsewhere irq_work may
 * wait for a tick and an NMI cannot be had; what an allocator can tell of both
 * is that interrupts are off, so there they are.
 */
#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include "memalloc_replay.h"

#define PATIENCE	(10 * HZ)

/* On the stack of who waits for it. */
struct call {
	void (*fn)(void *arg);
	void *arg;
	struct completion done;
	struct tasklet_struct tasklet;
	struct irq_work work;
};

static void in_softirq_call(struct tasklet_struct *tasklet)
{
	struct call *call = container_of(tasklet, struct call, tasklet);

	call->fn(call->arg);
	complete(&call->done);
}

static int run_in_softirq(struct call *call)
{
	tasklet_setup(&call->tasklet, in_softirq_call);
	local_bh_disable();
	tasklet_schedule(&call->tasklet);
	/* It runs here, unless ksoftirqd has fallen behind. */
	local_bh_enable();
	if (!wait_for_completion_timeout(&call->done, PATIENCE)) {
		tasklet_kill(&call->tasklet);
		return -ETIMEDOUT;
	}
	/* complete() was called, but the tasklet is on our stack. */
	tasklet_unlock_wait(&call->tasklet);
	return 0;
}

#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/nmi.h>

const char *replay_interrupts(void)
{
	return "true";
}

static void in_hardirq_call(struct irq_work *work)
{
	struct call *call = container_of(work, struct call, work);

	call->fn(call->arg);
	complete(&call->done);
}

static int run_in_hardirq(struct call *call)
{
	init_irq_work(&call->work, in_hardirq_call);
	irq_work_queue(&call->work);
	irq_work_sync(&call->work);
	return try_wait_for_completion(&call->done) ? 0 : -ETIMEDOUT;
}

/*
 * The call that an NMI of this CPU is to make. The CPU's task sets it, and its
 * NMI clears it when the call was made.
 */
static DEFINE_PER_CPU(struct call *, nmi_call);

static int on_nmi(unsigned int cmd, struct pt_regs *regs)
{
	struct call *call = this_cpu_read(nmi_call);

	if (!call)
		return NMI_DONE;
	call->fn(call->arg);
	this_cpu_write(nmi_call, NULL);
	return NMI_HANDLED;
}

#define NMI_SPINS	100000000UL

static int run_in_nmi(struct call *call)
{
	unsigned long spins = 0;

	this_cpu_write(nmi_call, call);
	barrier();
	__apic_send_IPI_mask(cpumask_of(raw_smp_processor_id()), NMI_VECTOR);
	while (this_cpu_read(nmi_call) && ++spins < NMI_SPINS)
		cpu_relax();
	return this_cpu_xchg(nmi_call, NULL) ? -ETIMEDOUT : 0;
}

int replay_contexts_init(void)
{
	return register_nmi_handler(NMI_LOCAL, on_nmi, 0, "bpf_memalloc_replay");
}

void replay_contexts_exit(void)
{
	unregister_nmi_handler(NMI_LOCAL, "bpf_memalloc_replay");
}

#else /* !CONFIG_X86_LOCAL_APIC */

const char *replay_interrupts(void)
{
	return "interrupts off";
}

static int run_in_hardirq(struct call *call)
{
	unsigned long flags;

	local_irq_save(flags);
	call->fn(call->arg);
	local_irq_restore(flags);
	return 0;
}

static int run_in_nmi(struct call *call)
{
	return run_in_hardirq(call);
}

int replay_contexts_init(void)
{
	return 0;
}

void replay_contexts_exit(void)
{
}
#endif /* CONFIG_X86_LOCAL_APIC */

int replay_run_in(enum replay_context context, void (*fn)(void *arg), void *arg)
{
	struct call call = { .fn = fn, .arg = arg };

	init_completion(&call.done);
	switch (context) {
	case REPLAY_SOFTIRQ:
		return run_in_softirq(&call);
	case REPLAY_HARDIRQ:
		return run_in_hardirq(&call);
	case REPLAY_NMI:
		return run_in_nmi(&call);
	default:
		fn(arg);
		return 0;
	}
}
