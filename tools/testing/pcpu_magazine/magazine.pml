/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of get and put in lib/pcpu_magazine.c, for Spin: the contexts of one CPU,
 * which nest, and another CPU at the depot that they share.
 *
 * Processes 0, 1 and 2 are the task, interrupt and NMI context of one CPU. They
 * nest strictly: while one runs, those with a lower number stand still. The
 * fourth is another CPU; of what it has itself nothing can be seen from here.
 *
 * One statement touches one shared variable, except for what is atomic in the
 * code, for walks along a chain that nobody else can reach, and for changes to
 * the CPU's chains in the slow paths: these are one step, because a context that
 * finds busy set touches none of them (see get_nested() and put_nested()), and
 * whether busy keeps out whom it must is shown by the fast paths, step by step.
 * The depot is as depot_steps.pml says, or with -DSHORT a get and a put there
 * are one step each: depot.pml shows that they may be thought of like that.
 *
 * Not modelled: pcpu_magazine_get_fast() and _put_fast(), which do what the first
 * lines of get() and put() do here and else nothing; other shards (shards.pml);
 * the reserve, which is one more depot; requests for refills (request.pml);
 * watermarks that change; publication (order.pml).
 *
 * One guard is missing with
 *
 *	-DREAD_EARLY	get reads the chain before it sets busy
 *	-DLINK_EARLY	put links its object before it sets busy
 *	-DLEAVE_EARLY	get clears busy before its last store
 *	-DNO_CHECK	put does not look at busy
 *	-DPOP_NESTED	a nested get pops one object instead of taking the list
 *	-DPLAIN_PUT_BACK what is left of the list is stored back, not exchanged
 *	-DPLAIN_TAKE	the list is read and then cleared
 *	-DFORGET_NESTED	new watermarks do not care for what nested contexts gave
 *	-DPLAIN_SPARE	the spare chain is read and then cleared
 *	-DPLAIN_PUT_SPARE a spare chain is put where one may be
 *	-DNO_COUNT	a chain shorter than a batch is taken for a batch
 *	-DNO_CUT	the whole list becomes a chain, however long
 */
#ifndef OBJS
#define OBJS		5
#endif
#define BATCH		2
#ifdef TOP_UP
#define LOW		3
#define HIGH		5
#else
#define LOW		1
#define HIGH		3
#endif

/* A task that NMIs come into again and again. */
#ifdef BURST
#define SHORT
#define TASK_OPS	1
#ifndef IRQ_OPS
#define IRQ_OPS		0
#endif
#define NMI_OPS		3
#define CPU_OPS		0
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

#include "depot_steps.pml"

byte next[OBJS + 1];
bool out[OBJS + 1];		/* with a user */

/* struct pcpu_magazine_cpu; limit is its member full */
byte loaded, nr, mark, limit, spare, nr_spare;
bool busy;

byte nested;			/* first on the list that nested contexts add to */
byte surplus;			/* what overflow() was given and reclaim() gives back */

byte running;			/* the context that this CPU is in */
byte nr_done;
bool ready;

#define LOCALS	byte obj, list, first, last, n, i, w; DEPOT_LOCALS

/* A walk must not find a chain without end. */
inline nth(chain, k, res)
{
	d_step {
		w = 1;
		res = chain;
		do
		:: w < k && next[res] != NIL -> res = next[res]; w++; assert(w <= OBJS)
		:: else -> break
		od;
		w = 0
	}
}

inline count(chain, k)
{
	d_step {
		w = chain;
		k = 0;
		do
		:: w != NIL -> k++; assert(k <= OBJS); w = next[w]
		:: else -> break
		od
	}
}

inline nested_cut(want, chain, k)
{
	k = 0;
#ifdef PLAIN_TAKE
	chain = nested;
	nested = NIL;
#else
	atomic { chain = nested; nested = NIL };
#endif
	if
	:: chain == NIL
	:: else ->
		atomic {
#ifdef NO_CUT
			nth(chain, OBJS, last);
#else
			nth(chain, want, last);
#endif
			first = next[last];
			next[last] = NIL;
			last = NIL;
			count(chain, k)
		};
		nested_put_back(first)
	fi
}

inline nested_put_back(rest)
{
	do
	:: rest == NIL -> break
	:: else ->
#ifdef PLAIN_PUT_BACK
		atomic { nested = rest; rest = NIL; break };
#endif
		atomic {
			if
			:: nested == NIL -> nested = rest; rest = NIL; break
			:: else
			fi
		};
		atomic { i = nested; nested = NIL };
		d_step {
			do
			:: i != NIL ->
				last = next[i];
				next[i] = rest;
				rest = i;
				i = last
			:: else -> break
			od;
			last = NIL
		}
	od
}

inline overflow(chain)
{
	atomic {
		nth(chain, OBJS, last);
		next[last] = surplus;
		surplus = chain;
		chain = NIL;
		last = NIL
	}
}

/* A batch at most. Others may have it all in hand: then there is nothing. */
inline reclaim(chain, k)
{
	atomic {
		chain = surplus;
		k = 0;
		if
		:: chain != NIL ->
			nth(chain, BATCH, last);
			surplus = next[last];
			next[last] = NIL;
			last = NIL;
			count(chain, k)
		:: else
		fi
	}
}

/* In one step what depot_steps.pml does in many, but still with slots. */
inline fetch(chain, k)
{
#ifdef SHORT
	d_step { depot_get(chain, k) };
#else
	depot_get(chain, k);
#endif
#ifdef NO_COUNT
	if
	:: chain != NIL -> k = BATCH
	:: else
	fi
#else
	assert(chain == NIL || (k && k <= BATCH))
#endif
}

inline hand_over(chain, k)
{
#ifdef SHORT
	d_step { depot_put(chain, k) };
#else
	depot_put(chain, k);
#endif
	if
	:: chain != NIL -> overflow(chain)
	:: else
	fi;
	k = 0
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
#ifndef FORGET_NESTED
	;
	if
	:: nested != NIL -> limit = 0
	:: else
	fi
#endif
}

inline push_chain(chain, k)
{
	atomic {
		nth(chain, k, last);
		next[last] = loaded;
		loaded = chain;
		nr = nr + k;
		chain = NIL;
		last = NIL;
		k = 0
	}
}

/* NIL if somebody has been quicker. */
inline take_spare(chain, k)
{
#ifdef PLAIN_SPARE
	chain = spare;
	spare = NIL;
#else
	atomic { chain = spare; spare = NIL };
#endif
	atomic { k = nr_spare; nr_spare = 0 }
}

inline put_spare(chain, k)
{
	nr_spare = k;
	atomic { assert(spare == NIL); spare = chain; chain = NIL; k = 0 }
}

/* Without this nothing breaks; the CPU is topped up later. */
inline look_after_spare()
{
	if
	:: nr_spare && spare == NIL -> nr_spare = 0
	:: else
	fi
}

inline cut_batch(chain, k)
{
	atomic {
		k = (nr < BATCH -> nr : BATCH);
		chain = loaded;
		nth(chain, k, last);
		loaded = next[last];
		next[last] = NIL;
		last = NIL;
		nr = nr - k
	}
}

/* cpu_reload() */
inline reload()
{
	if
	:: nr_spare -> take_spare(list, n)
	:: else
	fi;
	if
	:: list == NIL -> nested_cut(BATCH, list, n)
	:: else
	fi;
	if
	:: list == NIL -> fetch(list, n)
	:: else
	fi;
	if
	:: list == NIL -> reclaim(list, n)
	:: else
	fi;
	atomic {
		if
		:: list != NIL -> assert(n <= BATCH); loaded = list; nr = n
		:: else
		fi;
		list = NIL;
		n = 0
	}
}

/* cpu_top_up() and the marks that follow from it */
inline top_up()
{
	do
	:: nr + nr_spare >= LOW -> set_marks(false); break
	:: else ->
		fetch(list, n);
		if
		:: list == NIL -> n = 0; set_marks(true); break
		:: list != NIL && nr_spare >= n -> push_chain(list, n)
		:: else ->
#ifndef PLAIN_PUT_SPARE
			take_spare(first, i);
#endif
			put_spare(list, n);
			if
			:: first != NIL -> push_chain(first, i)
			:: else -> i = 0
			fi
		fi
	od
}

inline get_slow()
{
	look_after_spare();
	if
	:: nr == 0 -> reload()
	:: else
	fi;
	if
	:: atomic {
		nr ->
		obj = loaded;
		assert(obj != NIL);
		loaded = next[obj];
		nr--
	};
		top_up()
	:: else -> set_marks(true)
	fi;
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
	nested_cut(1, obj, n);
#endif
	if
	:: obj == NIL ->
		/* Without its count. */
#ifdef PLAIN_SPARE
		obj = spare;
		spare = NIL
#else
		atomic { obj = spare; spare = NIL }
#endif
	:: else
	fi;
	if
	:: obj == NIL -> fetch(obj, n)
	:: else
	fi;
	if
	:: obj == NIL -> reclaim(obj, n)
	:: else
	fi;
	n = 0;
	if
	:: obj != NIL ->
		list = next[obj];
		nested_put_back(list)
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

/* Sets obj, NIL if there is none. */
inline get()
{
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

/* cpu_make_room() */
inline make_room()
{
	nested_cut(BATCH, list, n);
	if
	:: list != NIL -> push_chain(list, n)
	:: else
	fi;
	do
	:: nr + nr_spare < HIGH -> break
	:: else ->
		if
		:: nr_spare -> take_spare(list, n)
		:: else -> cut_batch(list, n)
		fi;
		if
		:: list != NIL -> hand_over(list, n)
		:: else -> n = 0
		fi
	od;
	if
	:: !nr_spare && nr >= BATCH ->
		cut_batch(list, n);
		put_spare(list, n)
	:: else
	fi
}

inline put_slow()
{
	look_after_spare();
	make_room();
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
	:: i = nested;
		next[obj] = i;
		atomic {
			if
			:: nested == i -> nested = obj; i = NIL; break
			:: else
			fi
		}
	od;
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
	busy = false
}

/* Gives obj. */
inline put()
{
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
		:: fetch(list, n)
		:: reclaim(list, n)
		fi;
		if
		:: list != NIL && next[list] != NIL ->
			/* Keep one: the rest is no whole batch. */
			d_step {
				assert(!out[list]);
				out[list] = true;
				list = next[list];
				n--
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

/* At the end each object is in one place, once. */
byte seen[OBJS + 1];

inline visit(list, k)
{
	at = list;
	k = 0;
	do
	:: at != NIL ->
		seen[at]++;
		assert(seen[at] == 1);
		k++;
		at = next[at]
	:: else -> break
	od
}

inline check_objects(at, o, k)
{
	visit(loaded, k);
	assert(k == nr);
	visit(spare, k);
	assert(spare == NIL || k == nr_spare);
	visit(nested, k);
	/* The next one who puts looks after it, but for what is left of two fetched chains. */
	assert(k <= 2 * (BATCH - 1) || limit == 0);
	visit(surplus, k);
	o = 1;
	do
	:: o <= SLOTS ->
		visit(slot_first[o], k);
		assert(k == slot_nr[o]);
		o++
	:: else -> break
	od;
	o = 1;
	do
	:: o <= OBJS -> assert(seen[o] + out[o] == 1); o++
	:: else -> break
	od
}

/* Where everything is at first: each of 1 to 6 in turn, or one with -DSTART=n. */
#ifndef START
#define START		0
#endif
#define CASE(k)		(START == 0 || START == k)

#define CPU_HAS(first, k, of_spare, k_spare) \
	loaded = first; nr = k; spare = of_spare; nr_spare = k_spare
#define DEPOT_HAS(slot, first, k) \
	slot_first[slot] = first; slot_nr[slot] = k; level = level + k; \
	slot_next[slot] = word[FULL]; word[FULL] = slot

inline free_slot(slot)
{
	slot_next[slot] = word[FREE];
	word[FREE] = slot
}

init {
	byte at, o, sum;

	d_step {
		next[1] = 2;
		next[3] = 4;
		out[5] = true;
		mark = LOW;
		limit = BATCH
	};
	if
	:: atomic { CASE(1); CPU_HAS(1, 2, NIL, 0); DEPOT_HAS(1, 3, 2) }
	:: atomic { CASE(2); CPU_HAS(1, 2, 3, 2); mark = 0; limit = 1 }
	:: atomic { CASE(3); CPU_HAS(NIL, 0, 1, 2); nested = 3; mark = 0; limit = 0 }
#if SLOTS > 1
	:: atomic { CASE(4); DEPOT_HAS(1, 1, 2); DEPOT_HAS(2, 3, 2); mark = 0 }
#endif
	:: atomic { CASE(5); nested = 1; limit = 0; DEPOT_HAS(1, 3, 2); mark = 0 }
	:: atomic { CASE(6); surplus = 1; next[2] = 3; mark = 0 }
#if START == 9
	/* All are in use, and nested contexts gave some not long ago. */
	:: atomic { CASE(9); out[1] = true; out[2] = true; out[3] = true; out[4] = true;
		next[1] = NIL; next[3] = NIL; limit = 0 }
#endif
#if defined(TOP_UP) && START == 8
	/* Two short chains, and a longer one to come. */
	:: atomic { CASE(8); next[1] = NIL; next[3] = NIL; CPU_HAS(1, 1, 2, 1); DEPOT_HAS(1, 3, 2);
		next[3] = 4; mark = 2; limit = 4 }
#endif
#if START == 7
	/* CPU and depot are full. */
	:: atomic {
		CASE(7);
		CPU_HAS(5, 1, 1, 2); DEPOT_HAS(1, 3, 2); mark = 0; limit = 1;
		out[5] = false; out[OBJS] = true
	}
#endif
	fi;
	atomic {
		o = SLOTS;
		do
		:: o && !slot_first[o] -> free_slot(o); o--
		:: o && slot_first[o] -> o--
		:: else -> break
		od;
		ready = true
	};
	nr_done == 4;
	d_step {
		check_depot(at, sum);
		check_objects(at, o, sum);
		assert(!busy)
	}
}
