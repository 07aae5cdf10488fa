/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of the release engine in kernel/bpf/memalloc_gp.c, for Spin, on machines
 * with store buffers: objects that found no room are added to a shard's queue
 * `surplus`, the worker moves them to `releasing`, waits for grace periods and
 * frees them, and meanwhile whoever has nothing else takes some back. No object
 * may be freed that is in use, or before a grace period that began after it was
 * added; and none may be left with nobody who will come.
 *
 * CPU 0 adds. CPU 1 takes one back, and with TAKES above 1 adds it again. The worker
 * runs on CPU 2, the callback on CPU 3. Taking back may happen in any context, an
 * NMI on the worker's CPU and a kernel for one CPU included: it waits for nobody,
 * so what nests is among what interleaves, and CPU 1 stands for all.
 *
 * One statement is one access to memory. A list is a set of objects, of which one
 * is taken at a time; that lists may be thought of as sets is shown by magazine.pml.
 * Raising and queueing are one step each, see request.pml, and call_rcu() as in
 * grace.pml. The two grace periods are one.
 *
 *	-DALWAYS_LOCKED	who tries to lock a queue always succeeds, as with spinlocks in
 *			a kernel for one CPU
 *	-DPLAIN_UNLOCK	a queue is unlocked by a plain store (for -DPSO)
 *	-DBOTH_EMPTY	what was added is taken before the head of the queue is set
 *	-DLATE_TEST	... is not looked at before the head is set to it
 *	-DHEAD_FIRST	who looks whether a queue is empty looks at its head first
 *	-DPUT_BACK	the queue is one list, and what was not needed is put back
 *	-DNO_RELOOK	the worker leaves the engine idle without a look
 *	-DLATE_WAITING	the engine waits, says its state, only after call_rcu()
 *	-DMOVE_ALWAYS	surplus is moved while a grace period is under way
 *	-DLAZY_CALLBACK	the callback does not queue the worker
 */
#define CPUS		4

#define STATE		0
#define HEAD(q)		(1 + (q))
#define ADDED(q)	(3 + (q))
#define BUSY(q)		(5 + (q))
#define WORDS		7

#define IDLE		0
#define WAITING		1
#define EXPIRED		2

#include "store_buffer.pml"

#ifndef OBJS
#define OBJS		3
#endif
#ifndef TAKES
#define TAKES		1
#endif

#define SURPLUS		0
#define RELEASING	1

byte fresh;			/* added since the last grace period has begun */
byte used, freed;
bool raised[2], queued, called;
byte nr_done;

#define LOCALS	byte at, v, all, one

/* Sets one to a single object, 0 if there is none; needs the lock. */
inline queue_cut(on, q)
{
	load(on, HEAD(q), all);
	if
	:: all
	:: else ->
#ifdef BOTH_EMPTY
		exchange(on, ADDED(q), 0, all);
		store(on, HEAD(q), all)
#else
		load(on, ADDED(q), all);
#ifdef LATE_TEST
		if
		:: true ->
#else
		if
		:: all ->
#endif
			store(on, HEAD(q), all);
			exchange(on, ADDED(q), 0, all);
			store(on, HEAD(q), all)
		:: else
		fi
#endif
	fi;
	d_step {
		one = all & -all;
		all = all & ~one
	};
#ifdef PUT_BACK
	store(on, HEAD(q), 0);
	if
	:: all -> atomic { ALL_SEEN(on) -> mem[ADDED(q)] = mem[ADDED(q)] | all; all = 0 }
	:: else
	fi
#else
	if
	:: one -> store(on, HEAD(q), all); all = 0
	:: else
	fi
#endif
}

/* v is 0 on success. */
inline trylock(on, q)
{
	exchange(on, BUSY(q), 1, v);
#ifdef ALWAYS_LOCKED
	v = 0
#endif
}

inline unlock(on, q)
{
#ifndef PLAIN_UNLOCK
	ALL_SEEN(on);
#endif
	store(on, BUSY(q), 0)
}

inline lock(on, q)
{
	do
	:: trylock(on, q);
		if
		:: v == 0 -> break
		:: else -> (mem[BUSY(q)] == 0)
		fi
	od
}

/* v is what there seems to be. */
inline look(on, q)
{
#ifdef HEAD_FIRST
	load(on, HEAD(q), v);
	if
	:: v
	:: else -> load(on, ADDED(q), v)
	fi
#else
	load(on, ADDED(q), v);
	if
	:: v
	:: else -> load(on, HEAD(q), v)
	fi
#endif
}

/* bpf_mem_gp_surplus() and a kick: always, not only if there was nothing. */
inline add(on, o)
{
	atomic {
		ALL_SEEN(on) ->
		mem[ADDED(SURPLUS)] = mem[ADDED(SURPLUS)] | o;
		fresh = fresh | o
	};
	raised[on] = true
}

active proctype adder()
{
	byte o = 1;

	do
	:: o == 1 << OBJS -> break
	:: else -> add(0, o); o = o << 1
	od;
	nr_done++
}

inline queue_try_take(on, q)
{
	look(on, q);
	if
	:: !v
	:: else ->
		trylock(on, q);
		if
		:: v -> v = 0
		:: else -> queue_cut(on, q); unlock(on, q)
		fi
	fi
}

/* bpf_mem_gp_take_back(); what the last one brings stays in use. */
active proctype taker()
{
	LOCALS;
	byte n = TAKES;

	do
	:: n == 0 -> break
	:: else ->
		n--;
		if
		:: one -> atomic { used = used & ~one; add(1, one); one = 0 }
		:: else
		fi;
		queue_try_take(1, SURPLUS);
		if
		:: one
		:: else -> queue_try_take(1, RELEASING)
		fi;
		atomic { assert(!(one & (used | freed))); used = used | one }
	od;
	atomic { one = 0; nr_done++ }
}

/* queue_those_with_surplus() on CPU 0 or 1 */
proctype irq(byte cpu)
{
	byte at, v;

end:
	do
	:: atomic { raised[cpu] && ALL_SEEN(cpu) -> raised[cpu] = false };
		look(cpu, SURPLUS);
		if
		:: v ->
			load(cpu, STATE, v);
			if
			:: v != WAITING -> queued = true
			:: else
			fi
		:: else
		fi;
		v = 0
	od
}

inline begin()
{
	atomic { ALL_SEEN(2) -> fresh = 0; called = true }
}

/* queue_move() */
inline move()
{
	lock(2, SURPLUS);
	load(2, HEAD(SURPLUS), all);
	store(2, HEAD(SURPLUS), 0);
	exchange(2, ADDED(SURPLUS), 0, one);
	unlock(2, SURPLUS);
	lock(2, RELEASING);
#ifdef MOVE_ALWAYS
	load(2, HEAD(RELEASING), v);
	all = all | v;
	load(2, ADDED(RELEASING), v);
	one = one | v;
#endif
	store(2, HEAD(RELEASING), all);
	store(2, ADDED(RELEASING), one);
	atomic { all = 0; one = 0; v = 0 };
	unlock(2, RELEASING)
}

/* release_advance() */
active proctype worker()
{
	LOCALS;
	byte state;

end:
	do
	:: atomic { queued && ALL_SEEN(2) -> queued = false };
		load(2, STATE, state);
#ifdef MOVE_ALWAYS
		if
		:: state == WAITING -> move()
		:: else
		fi;
#endif
		if
		:: state == EXPIRED ->
			/* release_end() */
			do
			:: lock(2, RELEASING);
				queue_cut(2, RELEASING);
				unlock(2, RELEASING);
				if
				:: !one -> break
				:: else ->
					atomic {
						assert(!(one & (fresh | used | freed)));
						freed = freed | one;
						one = 0
					}
				fi
			od;
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
			ALL_SEEN(2);
			look(2, SURPLUS);
			if
			:: v ->
				move();
#ifdef LATE_WAITING
				begin();
				store(2, STATE, WAITING)
#else
				store(2, STATE, WAITING);
				begin()
#endif
			:: else
			fi
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
		run irq(0);
		run irq(1)
	};
	/* Until nothing goes on any more. */
	timeout ->
	left_behind = mem[HEAD(0)] | mem[HEAD(1)] | mem[ADDED(0)] | mem[ADDED(1)];
	assert(!left_behind);
	assert((freed | used) == (1 << OBJS) - 1);
	assert(nr_done == 2 && mem[STATE] == IDLE && !mem[BUSY(0)] && !mem[BUSY(1)])
}
