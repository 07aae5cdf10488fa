/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of a depot, for Spin: contexts that put and get chains, on any CPUs. A
 * context that interrupts another is one that is quick: there is no waiting, so
 * all ways to nest are among the ways to interleave.
 *
 * One statement stands for what depot_steps.pml says, which also lists the
 * guards. A chain is a number here; what is on it is in magazine.pml. With -DGROW
 * a depot gets more slots while it is in use. Weak memory order is in order.pml.
 */
#ifdef GROW
#define SLOTS		3
#define FIRST_SLOTS	1
#else
#define SLOTS		2
#define FIRST_SLOTS	2
#endif
#include "depot_steps.pml"

#ifndef OPS
#define OPS		2
#endif
#ifndef CONTEXTS
#define CONTEXTS	3
#endif
#define CHAINS		3
#define SIZE(chain)	(1 + (chain) % 2)

bool held[CHAINS + 1];
byte nr_done;
bool ready;

active [CONTEXTS] proctype context()
{
	DEPOT_LOCALS;
	byte chain, n, ops = OPS;

	/* The last one has a chain to begin with. */
	ready;
	if
	:: _pid == CONTEXTS - 1 -> chain = CHAINS; n = SIZE(CHAINS)
	:: else
	fi;
	do
	:: ops == 0 -> break
	:: atomic { ops > 0 && !chain -> ops-- };
		depot_get(chain, n);
		atomic {
			if
			:: chain ->
				assert(!held[chain] && n == SIZE(chain));
				held[chain] = true
			:: else
			fi
		}
	:: atomic { ops > 0 && chain -> ops--; held[chain] = false };
		depot_put(chain, n);
		atomic {
			if
			:: chain -> held[chain] = true
			:: else
			fi
		}
	od;
	nr_done++
}

#ifdef GROW
active proctype grower()
{
	DEPOT_LOCALS;

	ready;
	slot_next[2] = 3;
	list_push(FREE, 2, 3);
	nr_done++
}
#define ALL	(CONTEXTS + 1)
#else
#define ALL	CONTEXTS
#endif

init {
	byte at, sum;

	d_step {
		/* As many chains as there is room for. */
		slot_first[1] = 1;
		slot_nr[1] = SIZE(1);
		level = SIZE(1);
#if FIRST_SLOTS > 1
		slot_first[2] = 2;
		slot_nr[2] = SIZE(2);
		level = level + SIZE(2);
		slot_next[1] = 2;
#else
		held[2] = true;
#endif
		word[FULL] = 1;
		held[CHAINS] = true;
		ready = true
	};
	nr_done == ALL;
	d_step {
		check_depot(at, sum);
		at = 1;
		do
		:: at <= SLOTS ->
			if
			:: slot_first[at] ->
				assert(!held[slot_first[at]]);
				held[slot_first[at]] = true
			:: else
			fi;
			at++
		:: else -> break
		od;
		at = 1;
		do
		:: at <= CHAINS -> assert(held[at]); at++
		:: else -> break
		od
	}
}
