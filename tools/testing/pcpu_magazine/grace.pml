/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of the reuse engine in kernel/bpf/memalloc_gp.c, for Spin, on machines
 * with store buffers: objects are added to deferred lists of two CPUs, a worker
 * takes the lists, waits for a grace period and gives the objects back. None may
 * be given back too early, and none may be left with nobody who will come.
 *
 * CPUs 0 and 1 add. Who finds the list of its CPU empty raises the CPU's irq_work,
 * whose handler queues the worker unless the engine waits for RCU. The worker runs
 * on CPU 2, the callback on CPU 3.
 *
 * One statement is one access to memory. A list is a set of objects that changes
 * by atomic instructions, which are full barriers; the state of the engine is a
 * plain word. Raising and queueing are one step each: request.pml shows that who
 * runs for a request sees what was there before. call_rcu() sees to it that the
 * callback sees the stores before it: that is what a grace period is for.
 * Not modelled: the depot, several shards, which share nothing here.
 *
 *	-DNO_BARRIER	no barrier between idle and the look at the lists (see below)
 *	-DNO_RELOOK	the worker leaves it idle without a look at the lists
 *	-DLATE_WAITING	the engine waits, says its state, only after call_rcu()
 *	-DTAKE_LATE	lists are taken after the grace period has begun
 *	-DTAKE_ALWAYS	lists are taken while it is under way
 *	-DPLAIN_TAKE	a list is read and then cleared
 *	-DLAZY_CALLBACK	the callback does not queue the worker
 *	-DIDLE_ONLY	the handler queues the worker only if it sees the engine idle:
 *			that holds, but not with -DNO_BARRIER. As it is, what others
 *			see before idle is expired, and that queues the worker, too; so
 *			on x86 nothing depends on the barrier. Machines where two CPUs may
 *			see the store of a third at different times need it.
 */
#define CPUS		4

#define STATE		0
#define WORDS		1

#define IDLE		0
#define WAITING		1
#define EXPIRED		2

#include "store_buffer.pml"

#define OBJS		4	/* 0 to 2 are added by CPU 0, 3 by CPU 1 */

byte deferred[2];		/* a bit for each object */
byte waiting;			/* what the worker has taken from the lists */
byte fresh;			/* added since the last grace period has begun */
byte back;			/* given back */
bool raised[2], in_irq[2], queued, called;
byte nr_done;

inline add(c, o)
{
	atomic {
		ALL_SEEN(c) ->
		was_empty = (deferred[c] == 0);
		deferred[c] = deferred[c] | 1 << o;
		fresh = fresh | 1 << o
	};
	if
	:: was_empty -> raised[c] = true
	:: else
	fi
}

proctype task(byte cpu; byte from; byte to) provided (!in_irq[cpu])
{
	byte o = from;
	bool was_empty;

	do
	:: o > to -> break
	:: else -> add(cpu, o); o++
	od;
	nr_done++
}

/* On the same CPU: sees its stores, and interrupts its task only. */
proctype irq(byte cpu)
{
	byte at, state;

end:
	do
	:: atomic { raised[cpu] && ALL_SEEN(cpu) -> raised[cpu] = false; in_irq[cpu] = true };
		if
		:: deferred[cpu] ->
			load(cpu, STATE, state);
			if
#ifdef IDLE_ONLY
			:: state == IDLE -> queued = true
#else
			:: state != WAITING -> queued = true
#endif
			:: else
			fi
		:: else
		fi;
		atomic { state = 0; in_irq[cpu] = false }
	od
}

inline take(c)
{
#ifdef PLAIN_TAKE
	list = deferred[c];
	deferred[c] = 0;
	waiting = waiting | list;
	list = 0
#else
	if
	:: deferred[c] ->
		atomic { ALL_SEEN(2) -> waiting = waiting | deferred[c]; deferred[c] = 0 }
	:: else
	fi
#endif
}

inline begin()
{
	atomic { ALL_SEEN(2) -> fresh = 0; called = true }
}

/* reuse_advance() */
active proctype worker()
{
	byte at, state, list;

end:
	do
	:: atomic { queued && ALL_SEEN(2) -> queued = false };
		load(2, STATE, state);
#ifdef TAKE_ALWAYS
		take(0);
#endif
		if
		:: state == EXPIRED ->
			/* reuse_end() */
			atomic {
				assert(!(waiting & fresh) && !(waiting & back));
				back = back | waiting;
				waiting = 0
			};
			store(2, STATE, IDLE);
#ifdef NO_RELOOK
			state = WAITING
#else
			state = IDLE
#endif
		:: else
		fi;
		if
		:: state == IDLE ->
#ifndef NO_BARRIER
			ALL_SEEN(2);
#endif
#ifdef TAKE_LATE
			if
			:: deferred[0] || deferred[1] ->
				store(2, STATE, WAITING);
				begin();
				take(0);
				take(1)
			:: else
			fi
#else
			take(0);
			take(1);
			if
			:: waiting ->
#ifdef LATE_WAITING
				begin();
				store(2, STATE, WAITING)
#else
				store(2, STATE, WAITING);
				begin()
#endif
			:: else
			fi
#endif
		:: else
		fi;
		state = 0
	od
}

active proctype callback()
{
end:
	do
	:: atomic { called -> called = false };
		store(3, STATE, EXPIRED);
#ifndef LAZY_CALLBACK
		atomic { ALL_SEEN(3) -> queued = true }
#endif
	od
}

init {
	byte left_behind;

	atomic {
		run task(0, 0, 2);
		run task(1, 3, 3);
		run irq(0);
		run irq(1)
	};
	/* Until nothing goes on any more. */
	timeout ->
	left_behind = deferred[0] | deferred[1] | waiting;
	assert(!left_behind);
	assert(nr_done == 2 && back == (1 << OBJS) - 1 && mem[STATE] == IDLE)
}
