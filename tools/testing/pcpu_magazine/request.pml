/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of how work is asked for, for Spin, on machines with store buffers: the
 * kick of a pool, the irq_work of each CPU and the worker of a shard (see
 * bpf_mem_pool_kick(), refill_irq() and shard_work() in kernel/bpf/).
 *
 * CPUs 0 and 1 leave notes (what a note is does not matter: allocations that
 * failed, objects on a list, a level that is low) and raise their irq_work, from a
 * task and on CPU 0 from an NMI too, which may come inside the handler. The handler
 * runs on the same CPU and queues the worker if it finds a note. The worker runs on
 * CPU 2. In the end no note may be left that was made after the worker had last
 * looked for it.
 *
 * One statement is one access to memory. irq_work_queue() is an exchange of the
 * word with the pending bit, whoever finds it set does nothing more; the handler
 * begins with a store that clears it and a full barrier. queue_work() and the
 * start of the worker are the same with another word. Not modelled: what the
 * handler does itself, bounds and times at which a request is let go.
 *
 *	-DPLAIN_LOOK	who has made a note asks nobody if the worker is queued anyway
 *			(as in the first edition: it may see that before others see
 *			the note)
 *	-DNO_BARRIER	the worker looks for notes with no barrier behind its start
 *	-DCLEAR_LATE	the worker ceases to be queued after it has looked
 *	-DNOTE_LATE	the note is made after the request
 *	-DIRQ_CLEAR_LATE the handler ceases to be pending after it has looked
 *	-DMIGRATE	between note and request a task moves to another CPU
 */
#define CPUS		3

#define NOTE(cpu)	(cpu)		/* 0 and 1 */
#define PENDING(cpu)	(2 + (cpu))	/* of irq_work */
#define QUEUED		4
#define WORDS		5

#include "store_buffer.pml"

/* Of CPU 0; CPU 1 has half as many. */
#ifndef OPS
#define OPS		2
#endif

byte running[2];		/* the context that a CPU is in: task, irq, NMI */
bool raised[2], queued;
bool due[2];			/* the note was made, the worker has not come since */
byte nr_done;

/* A note is as good as its predecessor, so there may be one already. */
inline note(c)
{
	atomic {
		store(c, NOTE(c), 1);
		due[c] = true
	}
}

inline raise(c)
{
	atomic {
		exchange(c, PENDING(c), 1, old);
		if
		:: !old -> raised[c] = true
		:: else
		fi;
		old = 0
	}
}

inline ask(here, there)
{
#ifdef NOTE_LATE
	raise(there);
	note(here)
#else
	note(here);
#ifdef PLAIN_LOOK
	load(here, QUEUED, old);
	if
	:: !old -> raise(there)
	:: else -> old = 0
	fi
#else
	raise(there)
#endif
#endif
}

proctype task(byte cpu) provided (running[cpu] == 0)
{
	byte ops = OPS / (cpu + 1), old, at;

	do
	:: ops == 0 -> break
	:: ops ->
#ifdef MIGRATE
		ask(cpu, 1 - cpu);
#else
		ask(cpu, cpu);
#endif
		ops--
	od;
	nr_done++
}

proctype irq(byte cpu) provided (running[cpu] <= 1)
{
	byte at, found, old;

end:
	do
	:: atomic { raised[cpu] && running[cpu] == 0 -> raised[cpu] = false; running[cpu] = 1 };
#ifndef IRQ_CLEAR_LATE
		store(cpu, PENDING(cpu), 0);
		ALL_SEEN(cpu);
#endif
		load(cpu, NOTE(cpu), found);
#ifdef IRQ_CLEAR_LATE
		store(cpu, PENDING(cpu), 0);
		ALL_SEEN(cpu);
#endif
		if
		:: found ->
			atomic {
				exchange(cpu, QUEUED, 1, old);
				if
				:: !old -> queued = true
				:: else
				fi
			}
		:: else
		fi;
		atomic { found = 0; old = 0; running[cpu] = 0 }
	od
}

proctype nmi(byte cpu)
{
	byte below, old, at;

	atomic { below = running[cpu]; running[cpu] = 2 };
	ask(cpu, cpu);
	atomic { running[cpu] = below; below = 0; nr_done++ }
}

/* Looks at each CPU's note, then does what is needed for all that it found. */
active proctype worker()
{
	byte at, found;
	bool some;

end:
	do
	:: atomic { queued -> queued = false };
#ifndef CLEAR_LATE
		store(2, QUEUED, 0);
#ifndef NO_BARRIER
		ALL_SEEN(2);
#endif
#endif
		load(2, NOTE(0), found);
		if
		:: found -> store(2, NOTE(0), 0); some = true
		:: else
		fi;
		load(2, NOTE(1), found);
		if
		:: found -> store(2, NOTE(1), 0); some = true
		:: else
		fi;
#ifdef CLEAR_LATE
		store(2, QUEUED, 0);
		ALL_SEEN(2);
#endif
		/* What it does for them begins with an atomic instruction. */
		atomic {
			ALL_SEEN(2) ->
			if
			:: some -> due[0] = false; due[1] = false
			:: else
			fi;
			some = false;
			found = 0
		}
	od
}

init {
	atomic {
		run task(0);
		run task(1);
		run irq(0);
		run irq(1);
		run nmi(0)
	};
	/* Until nothing goes on any more. */
	timeout ->
	assert(nr_done == 3);
	assert(!due[0] && !due[1])
}
