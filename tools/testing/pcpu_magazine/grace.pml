/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of the reuse engine in kernel/bpf/memalloc_gp.c, for Spin, on machines
 * with store buffers: objects are added to deferred lists of two CPUs; whoever
 * comes takes the lists, waits for a grace period and gives the objects back. None
 * may be given back too early, and none may be left with nobody who will come.
 *
 * CPUs 0 and 1 add. Who finds the list of its CPU empty raises the CPU's irq_work.
 * Its handler, the callback of RCU (on CPU 3) and a worker (on CPU 2) move objects,
 * one at a time: handler and callback only try to lock, give back one object at most,
 * and leave the rest, or all of it, to the worker.
 *
 * One statement is one access to memory. A list is a set of objects that changes
 * by atomic instructions, which are full barriers; the state of the engine is a
 * plain word. The lock is taken by an atomic instruction, found taken by a load, and
 * given back when all stores before are seen. Queueing is a full barrier. Raising and queueing are one step each: request.pml shows
 * that who runs for a request sees what was there before. call_rcu() sees to it that
 * the callback sees the stores before it: that is what a grace period is for.
 * Not modelled: the depot, several shards, which share nothing here; that machines
 * may let two CPUs see the store of a third at different times, for which there is
 * a barrier between the last state and the look at the lists.
 *
 *	-DNO_RELOOK	the engine is left idle without a look at the lists
 *	-DLATE_WAITING	the engine waits, says its state, only after call_rcu()
 *	-DTAKE_LATE	lists are taken after the grace period has begun
 *	-DTAKE_ALWAYS	lists are taken while it is under way
 *	-DPLAIN_TAKE	a list is read and then cleared
 *	-DLAZY_CALLBACK	the callback leaves it to others to go on
 *	-DUNLOCKED	nobody locks
 *	-DGO_AWAY	who finds it locked goes away
 *	-DLEAVE_REST	who leaves the rest queues no worker
 */
#define CPUS		4

#define STATE		0
#define WORDS		1

#define IDLE		0
#define WAITING		1
#define EXPIRED		2

#include "store_buffer.pml"

/* The first FIRST objects are added by CPU 0, the others by CPU 1. */
#ifndef OBJS
#define OBJS		3
#endif
#ifndef FIRST
#define FIRST		2
#endif

byte deferred[2];		/* a bit for each object */
byte waiting;			/* taken from the lists; changes with the lock held */
byte fresh;			/* added since the last grace period has begun */
byte back;			/* given back */
bool raised[2], in_irq[2], queued, called, locked;
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
	:: o == to -> break
	:: else -> add(cpu, o); o++
	od;
	nr_done++
}

inline take(on, c)
{
#ifdef PLAIN_TAKE
	list = deferred[c];
	deferred[c] = 0;
	waiting = waiting | list;
	list = 0
#else
	if
	:: deferred[c] ->
		atomic { ALL_SEEN(on) -> waiting = waiting | deferred[c]; deferred[c] = 0 }
	:: else
	fi
#endif
}

inline begin(on)
{
	atomic { ALL_SEEN(on) -> fresh = 0; called = true }
}

/* One object, any. */
inline restock()
{
	d_step {
		if
		:: waiting & 1 -> list = 1
		:: waiting & 2 -> list = 2
		:: waiting & 4 -> list = 4
		:: else -> list = 0
		fi;
		assert(!(list & fresh) && !(list & back));
		back = back | list;
		waiting = waiting & ~list;
		list = 0
	}
}

/* reuse_begin() */
inline reuse_begin(on)
{
#ifdef TAKE_LATE
	if
	:: deferred[0] || deferred[1] ->
		store(on, STATE, WAITING);
		begin(on);
		take(on, 0);
		take(on, 1)
	:: else
	fi
#else
	take(on, 0);
	take(on, 1);
	if
	:: waiting ->
#ifdef LATE_WAITING
		begin(on);
		store(on, STATE, WAITING)
#else
		store(on, STATE, WAITING);
		begin(on)
#endif
	:: else
	fi
#endif
}

/* reuse_advance(): sets done */
inline advance(on)
{
#ifdef TAKE_ALWAYS
	take(on, 0);
#endif
	load(on, STATE, state);
	done = true;
	if
	:: state == EXPIRED ->
		restock();
		if
		:: waiting ->
#ifndef LEAVE_REST
			done = false
#endif
		:: else ->
			store(on, STATE, IDLE);
#ifndef NO_RELOOK
			state = IDLE
#endif
		fi
	:: else
	fi;
	if
	:: done && state == IDLE -> reuse_begin(on)
	:: else
	fi
}

inline unlock(on)
{
	atomic { ALL_SEEN(on) -> locked = false }
}

/* bpf_mem_gp_try_reuse(): sets done */
inline try_reuse(on)
{
	done = true;
	load(on, STATE, state);
	if
	:: state == WAITING
	:: else ->
		if
#ifdef UNLOCKED
		:: advance(on)
#else
		:: atomic { !locked && ALL_SEEN(on) -> locked = true }
			advance(on);
			unlock(on)
		:: locked ->
#ifdef GO_AWAY
			skip
#else
			done = false
#endif
#endif
		fi
	fi;
	state = 0
}

/* On the same CPU: sees its stores, and interrupts its task only. */
proctype irq(byte cpu)
{
	byte at, state, list;
	bool done;

end:
	do
	:: atomic { raised[cpu] && ALL_SEEN(cpu) -> raised[cpu] = false; in_irq[cpu] = true };
		try_reuse(cpu);
		if
		:: !done -> atomic { ALL_SEEN(cpu) -> queued = true }
		:: else
		fi;
		atomic { done = false; in_irq[cpu] = false }
	od
}

active proctype worker()
{
	byte at, state, list;
	bool done;

end:
	do
	:: atomic { queued && ALL_SEEN(2) -> queued = false };
		do
		:: done -> break
		:: else ->
			/* Tries again when that makes sense: what it spins on is no state. */
			!locked;
			try_reuse(2)
		od;
		done = false
	od
}

active proctype callback()
{
	byte at, state, list;
	bool done;

end:
	do
	:: atomic { called -> called = false };
		store(3, STATE, EXPIRED);
#ifndef LAZY_CALLBACK
		try_reuse(3);
		if
		:: !done -> atomic { ALL_SEEN(3) -> queued = true }
		:: else
		fi;
		done = false
#endif
	od
}

init {
	byte left_behind;

	atomic {
		run task(0, 0, FIRST);
		run task(1, FIRST, OBJS);
		run irq(0);
		run irq(1)
	};
	/* Until nothing goes on any more. */
	timeout ->
	left_behind = deferred[0] | deferred[1] | waiting;
	assert(!left_behind);
	assert(nr_done == 2 && back == (1 << OBJS) - 1 && mem[STATE] == IDLE)
}
