/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of lib/pcpu_magazine.c for Spin.
 *
 *	spin -a pcpu_magazine.pml
 *	gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c
 *	./pan -m100000
 *
 * "errors: 0" is the result for the code as it is. With one of the following
 * given to spin, one guard is missing, and pan must find what goes wrong; else
 * the model would prove nothing. run.sh runs all of them.
 *
 *	-DREAD_EARLY	get reads the chain before it sets busy
 *	-DLINK_EARLY	put links its object before it sets busy
 *	-DLEAVE_EARLY	get clears busy before its last store
 *	-DNO_CHECK	put does not look at busy
 *	-DPOP_NESTED	a nested get pops one object instead of taking the list
 *	-DPLAIN_NESTED	what a nested get leaves is stored back, not exchanged
 *	-DPLAIN_TAKE	a slot is read and then cleared
 *	-DPLAIN_PUT	a slot is found empty and then set
 *	-DCOUNT_LATE	a chain is counted after it became visible
 *	-DNO_COUNT	a chain shorter than a batch is taken for a batch
 *	-DPLAIN_SPARE	the spare slot is read and then cleared
 *	-DOLD_SPARE	who finds the spare chain stolen uses what it remembers of it
 *
 * Processes 0, 1 and 2 are the task, interrupt and NMI context of one CPU. They
 * nest strictly: while one runs, those with a lower number stand still. The
 * last process is another CPU that takes from and puts into the depot, and
 * steals the spare chain and the nested list; what it does on its own chains
 * cannot be seen from here.
 *
 * One statement touches one shared variable, except for what is atomic in the
 * code, for walks along a chain that nobody else can reach, and for changes to
 * the CPU's chains in the slow paths: these are one step, because a context that
 * finds busy set touches none of them (see get_nested() and put_nested()), and
 * whether busy keeps out whom it must is shown by the fast paths, step by step.
 */
#ifndef OBJS
#define OBJS		5
#endif
#define LOW		1
#define HIGH		3
#define BATCH		2
#ifndef SLOTS
#define SLOTS		2
#endif

#ifndef TASK_OPS
#define TASK_OPS	2
#endif
#ifndef IRQ_OPS
#define IRQ_OPS		1
#endif
#ifndef NMI_OPS
#define NMI_OPS		1
#endif
#ifndef CPU_OPS
#define CPU_OPS		1
#endif

#define NIL		0
#define TASK		0
#define IRQ		1
#define NMI		2

byte next[OBJS + 1];
bool out[OBJS + 1];		/* with a user */

/* struct pcpu_magazine_cpu; spare is the first object, without a tag */
byte loaded, nr, mark, limit, spare, nr_spare, nested;
bool busy;

/* struct pcpu_magazine; a slot is twice the first object, plus 1 for a whole batch */
byte slots[SLOTS];
byte nr_chains;

byte overflown;			/* the list that overflow() and scavenge() use */

byte running;			/* the context that this CPU is in */
byte nr_done;
bool ready;

/* Each process has these: see LOCALS. A walk must not find a chain without end. */
inline count(first, n)
{
	d_step {
		n = 0;
		w = first;
		do
		:: w != NIL -> n++; assert(n <= OBJS); w = next[w]
		:: else -> break
		od
	}
}

inline nth(first, n, res)
{
	d_step {
		w = 1;
		res = first;
		do
		:: w < n && next[res] != NIL -> res = next[res]; w++
		:: else -> break
		od;
		w = 0
	}
}

inline depot_get(first, n)
{
	first = NIL;
	i = 0;
	if
	:: nr_chains == 0
	:: else ->
		do
		:: i == SLOTS -> break
		:: i < SLOTS && slots[i] == NIL -> i++
		:: i < SLOTS && slots[i] != NIL ->
#ifdef PLAIN_TAKE
			s = slots[i];
			slots[i] = NIL;
#else
			atomic { s = slots[i]; slots[i] = NIL };
#endif
			if
			:: s == NIL -> i++
			:: else ->
				atomic { assert(nr_chains > 0); nr_chains-- };
				first = s / 2;
#ifdef NO_COUNT
				n = BATCH;
#else
				if
				:: s % 2 -> n = BATCH
				:: else -> count(first, n)
				fi;
#endif
				s = NIL;
				break
			fi
		od
	fi;
	i = 0
}

/* Leaves first as it was if there is no room, else NIL. */
inline depot_put(first, n)
{
	i = 0;
	if
	:: nr_chains >= SLOTS
	:: else ->
#ifndef COUNT_LATE
		nr_chains++;
#endif
		do
		:: i == SLOTS ->
#ifndef COUNT_LATE
			nr_chains--;
#endif
			break
		:: i < SLOTS && slots[i] != NIL -> i++
		:: i < SLOTS && slots[i] == NIL ->
#ifdef PLAIN_PUT
			slots[i] = 2 * first + (n == BATCH);
			first = NIL;
			break
#else
			atomic {
				if
				:: slots[i] == NIL ->
					slots[i] = 2 * first + (n == BATCH);
					first = NIL
				:: else -> i++
				fi
			};
			if
			:: first == NIL ->
#ifdef COUNT_LATE
				nr_chains++;
#endif
				break
			:: else
			fi
#endif
		od
	fi;
	i = 0
}

inline overflow(first)
{
	atomic {
		nth(first, OBJS, last);
		next[last] = overflown;
		overflown = first;
		first = NIL;
		last = NIL
	}
}

inline hand_over(first, n)
{
	depot_put(first, n);
	if
	:: first != NIL -> overflow(first)
	:: else
	fi;
	n = 0
}

inline set_marks(is_short)
{
	atomic {
		if
		:: is_short && nr_spare -> mark = 0
		:: is_short && !nr_spare -> mark = nr / 2
		:: !is_short -> mark = (LOW > nr_spare -> LOW - nr_spare : 0)
		fi;
		if
		:: !nr_spare && nr <= BATCH -> limit = BATCH
		:: else -> limit = (HIGH > nr_spare -> HIGH - nr_spare : 0)
		fi
	}
}

inline push_chain(first, n)
{
	atomic {
		nth(first, n, last);
		next[last] = loaded;
		loaded = first;
		nr = nr + n;
		first = NIL;
		last = NIL;
		n = 0
	}
}

/* Leaves NIL if somebody has been quicker. */
inline take_spare(first, n)
{
#ifdef PLAIN_SPARE
	first = spare;
	spare = NIL;
#else
	atomic { first = spare; spare = NIL };
#endif
	n = nr_spare;
	nr_spare = 0
}

/* The count first, then the chain in one store. */
inline put_spare(first, n)
{
	nr_spare = n;
	atomic { assert(spare == NIL); spare = first; first = NIL; n = 0 }
}

inline look_after_spare()
{
#ifdef OLD_SPARE
	skip
#else
	if
	:: nr_spare && spare == NIL -> nr_spare = 0
	:: else
	fi
#endif
}

/* The spare chain first, then the nested list. */
inline steal(first)
{
#ifdef PLAIN_SPARE
	first = spare;
	spare = NIL;
#else
	atomic { first = spare; spare = NIL };
#endif
	if
	:: first == NIL -> atomic { first = nested; nested = NIL }
	:: else
	fi
}

inline cut_batch(first)
{
	first = loaded;
	nth(first, BATCH, last);
	loaded = next[last];
	next[last] = NIL;
	last = NIL;
	nr = nr - BATCH
}

inline get_slow()
{
	look_after_spare();
	if
	:: nr == 0 ->
		if
		:: nr_spare ->
			take_spare(loaded, nr)
#ifndef OLD_SPARE
			;
			if
			:: loaded == NIL -> nr = 0
			:: else
			fi
#endif
		:: else
		fi;
		if
		:: nr == 0 ->
			atomic { loaded = nested; nested = NIL };
			if
			:: loaded == NIL -> depot_get(loaded, nr)
			:: else -> count(loaded, nr)
			fi
		:: else
		fi;
		if
		:: nr == 0 ->
			atomic { loaded = overflown; overflown = NIL };
			if
			:: loaded == NIL -> steal(loaded)
			:: else
			fi;
			count(loaded, nr)
		:: else
		fi
	:: else
	fi;
	if
	:: atomic {
		nr ->
		obj = loaded;
		assert(obj != NIL);
		loaded = next[obj];
		nr--
	}
	:: else
	fi;
	do
	:: nr + nr_spare >= LOW -> set_marks(false); break
	:: else ->
		depot_get(list, n);
		if
		:: list == NIL -> set_marks(true); break
		:: list != NIL && nr_spare < n ->
			take_spare(first, s);
			put_spare(list, n);
			if
			:: first != NIL -> push_chain(first, s)
			:: else -> s = 0
			fi
		:: else -> push_chain(list, n)
		fi
	od;
	busy = false
}

inline get_nested()
{
#ifdef POP_NESTED
	do
	:: obj = nested;
		if
		:: obj == NIL -> break
		:: else -> list = next[obj]
		fi;
		atomic {
			if
			:: nested == obj -> nested = list; next[obj] = NIL; break
			:: else
			fi
		}
	od;
	list = NIL;
#else
	atomic { obj = nested; nested = NIL };
#endif
	if
	:: obj == NIL -> depot_get(obj, n)
	:: else
	fi;
	if
	:: obj == NIL -> atomic { obj = overflown; overflown = NIL }
	:: else
	fi;
	if
	:: obj == NIL -> steal(obj)
	:: else
	fi;
	n = 0;
	if
	:: obj != NIL && next[obj] != NIL ->
		list = next[obj];
#ifdef PLAIN_NESTED
		nested = list;
		list = NIL
#else
		do
		:: list == NIL -> break
		:: else ->
			atomic {
				if
				:: nested == NIL -> nested = list; list = NIL
				:: else
				fi
			};
			if
			:: list != NIL ->
				atomic { first = nested; nested = NIL };
				d_step {
					last = NIL;
					do
					:: first != NIL ->
						last = next[first];
						next[first] = list;
						list = first;
						first = last
					:: else -> break
					od;
					last = NIL
				}
			:: else
			fi
		od
#endif
	:: else
	fi
}

/* With busy set. */
inline pop()
{
#ifndef READ_EARLY
	obj = loaded;
#endif
	assert(obj != NIL);
	loaded = next[obj];
#ifdef LEAVE_EARLY
	busy = false;
	nr--
#else
	nr--;
	busy = false
#endif
}

/* Sets obj, NIL if there is none: get_fast(), and then all of it if need be. */
inline get()
{
	obj = NIL;
	if
	:: busy
	:: else ->
#ifdef READ_EARLY
		obj = loaded;
#endif
		busy = true;
		if
		:: nr > mark -> pop()
		:: else ->
			obj = NIL;
			busy = false
		fi
	fi;
	if
	:: obj != NIL
	:: else ->
		if
		:: busy -> get_nested()
		:: else ->
#ifdef READ_EARLY
			obj = loaded;
#endif
			busy = true;
			if
			:: nr > mark -> pop()
			:: else ->
				obj = NIL;
				get_slow()
			fi
		fi
	fi;
	atomic {
		assert(obj == NIL || !out[obj]);
		if
		:: obj != NIL -> out[obj] = true
		:: else
		fi;
		obj = NIL
	}
}

inline put_slow()
{
	look_after_spare();
	atomic { list = nested; nested = NIL };
	if
	:: list != NIL ->
		count(list, n);
		push_chain(list, n)
	:: else
	fi;
	do
	:: nr + nr_spare < HIGH -> break
	:: else ->
		if
		:: nr_spare -> take_spare(list, n)
		:: else ->
			atomic {
				cut_batch(list);
				n = BATCH
			}
		fi;
		if
		:: list != NIL -> hand_over(list, n)
		:: else -> n = 0
		fi
	od;
	if
	:: atomic {
		!nr_spare && nr >= BATCH ->
		cut_batch(list);
		n = BATCH
	};
		put_spare(list, n)
	:: else
	fi;
	atomic {
		next[obj] = loaded;
		loaded = obj;
		nr++
	};
	set_marks(false);
	busy = false
}

inline put_nested()
{
	do
	:: list = nested;
		next[obj] = list;
		atomic {
			if
			:: nested == list -> nested = obj; break
			:: else
			fi
		}
	od;
	list = NIL;
	limit = 0
}

/* With busy set. */
inline push()
{
#ifndef LINK_EARLY
	next[obj] = loaded;
#endif
	loaded = obj;
	nr++;
	busy = false;
	obj = NIL
}

/* Gives obj: put_fast(), and then all of it if need be. */
inline put()
{
	if
#ifndef NO_CHECK
	:: busy
#endif
	:: else ->
#ifdef LINK_EARLY
		next[obj] = loaded;
#endif
		busy = true;
		if
		:: nr < limit -> push()
		:: else -> busy = false
		fi
	fi;
	if
	:: obj == NIL
	:: else ->
		if
#ifndef NO_CHECK
		:: busy -> put_nested()
#endif
		:: else ->
#ifdef LINK_EARLY
			next[obj] = loaded;
#endif
			busy = true;
			if
			:: nr < limit -> push()
			:: else -> put_slow()
			fi
		fi;
		obj = NIL
	fi
}

/* Some object that is with a user and from now on in this context's hands, or NIL. */
inline choose_out()
{
	select(obj : 0 .. OBJS);
	if
	:: obj != NIL && out[obj] -> out[obj] = false; next[obj] = NIL
	:: else -> obj = NIL
	fi
}

#define LOCALS	byte obj, list, first, last, n, i, s, w

active [3] proctype context() provided (running <= _pid)
{
	LOCALS;
	byte ops, below;

	ready;
	ops = (_pid == TASK -> TASK_OPS : (_pid == IRQ -> IRQ_OPS : NMI_OPS));
	do
	:: ops == 0 -> break
	:: atomic {
		ops > 0 && (_pid == TASK || running < _pid) ->
		below = running;
		running = _pid;
		choose_out()
	};
		/* A get if no object was chosen. */
		if
		:: obj == NIL -> get()
		:: else -> put()
		fi;
		atomic {
			running = below;
			below = 0;
			ops--
		}
	od;
	nr_done++
}

active proctype other_cpu()
{
	LOCALS;
	byte ops = CPU_OPS;

	ready;
	do
	:: ops == 0 -> break
	:: ops > 0 ->
		if
		:: depot_get(list, n)
		:: atomic { list = overflown; overflown = NIL };
			count(list, n)
		:: steal(list);
			count(list, n)
		fi;
		if
		:: list != NIL && next[list] != NIL ->
			/* Keep one: the rest is no whole batch. */
			d_step {
				assert(!out[list]);
				out[list] = true;
				first = list;
				list = next[list];
				n--;
				first = NIL
			}
		:: else
		fi;
		if
		:: list != NIL -> hand_over(list, n)
		:: else -> n = 0
		fi;
		ops--
	od;
	nr_done++
}

/* Where everything is at first: each of these in turn, or one with -DSTART=n. */
#ifndef START
#define START		0
#endif
#define CASE(n)		(START == 0 || START == n)

init {
	d_step {
		next[1] = 2;
		next[3] = 4;
		out[5] = true;
		mark = LOW;
		limit = BATCH
	};
	if
	:: atomic { CASE(1); loaded = 1; nr = 2; slots[0] = 7; nr_chains = 1 }
	:: atomic { CASE(2); loaded = 1; nr = 2; spare = 3; nr_spare = 2; mark = 0; limit = 1 }
#if SLOTS > 1
	:: atomic { CASE(3); slots[0] = 3; slots[1] = 7; nr_chains = 2; mark = 0 }
#endif
	:: atomic { CASE(4); nested = 1; limit = 0; slots[0] = 7; nr_chains = 1; mark = 0 }
#if SLOTS == 1 && OBJS > 5
	/* CPU and depot are full. */
	:: atomic {
		CASE(5);
		loaded = 5; nr = 1; spare = 1; nr_spare = 2; mark = 0; limit = 1;
		slots[0] = 7; nr_chains = 1;
		out[5] = false; out[OBJS] = true
	}
#endif
	fi;
	ready = true
}

/* At the end each object is in one place, once. */
byte seen[OBJS + 1];

inline visit(list)
{
	at = list;
	do
	:: at != NIL ->
		seen[at]++;
		assert(seen[at] == 1);
		in_list++;
		at = next[at]
	:: else -> break
	od
}

active proctype check()
{
	byte at, o, in_list;

	nr_done == 4;
	d_step {
		visit(loaded);
		assert(in_list == nr);
		in_list = 0;
		visit(spare);
		assert(spare == NIL || in_list == nr_spare);
		visit(nested);
		visit(overflown);
		o = 0;
		do
		:: o < SLOTS ->
			in_list = 0;
			visit(slots[o] / 2);
			assert(slots[o] == NIL || (in_list == BATCH) == slots[o] % 2);
			nr_chains = nr_chains - (slots[o] != NIL);
			o++
		:: else -> break
		od;
		assert(nr_chains == 0);
		o = 1;
		do
		:: o <= OBJS ->
			assert(seen[o] + out[o] == 1);
			o++
		:: else -> break
		od;
		assert(!busy)
	}
}
