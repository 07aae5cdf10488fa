/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of how one CPU lets another one see what it has written, for Spin, on
 * machines where stores overtake each other (-DPSO) or at least wait in a buffer.
 *
 *	-DPOOL		pcpu_magazine_publish() against get and put: who finds a
 *			shard with its CPU finds the pool complete. The same holds for the
 *			reserve and for &bpf_mem_allocator.pool.
 *	-DSLOT		a slot of a depot, which goes back and forth between a CPU that
 *			puts chains and one that gets them. The same holds for a new
 *			part of a depot and for the lists that are taken whole, which
 *			are only added to by an exchange.
 *
 * One statement is one access to memory. A release store is one that waits until
 * all before it are seen, an exchange that succeeds a full barrier. What a loaded
 * value leads to is loaded after it (address dependency). Loads do not overtake
 * each other here.
 *
 *	-DPLAIN_PUBLISH	the pointer to the shard is a plain store
 *	-DPLAIN_ADD	the list of slots is changed by a plain store
 *	-DEARLY_ADD	the slot is added before its chain is written
 */
#define CPUS		2
#define WORDS		4

#include "store_buffer.pml"

#ifdef POOL
#define MARKS		0
#define DEPOT		1
#define SHARD		2

active proctype maker()
{
	store(0, MARKS, 1);
	store(0, DEPOT, 1);
#ifndef PLAIN_PUBLISH
	ALL_SEEN(0);
#endif
	store(0, SHARD, 1)
}

active proctype user()
{
	byte at, v;

	do
	:: load(1, SHARD, v);
		if
		:: v -> break
		:: else
		fi
	od;
	load(1, MARKS, v);
	assert(v == 1);
	load(1, DEPOT, v);
	assert(v == 1)
}
#endif

#ifdef SLOT
#define FULL		0	/* the one slot is on this list: 1 */
#define FREE		1
#define FIRST		2
#define NR		3
#define ROUNDS		3

init {
	mem[FREE] = 1
}

active proctype putter()
{
	byte round = 1, number;

	do
	:: round > ROUNDS -> break
	:: else ->
		exchange(0, FREE, 0, number);
		if
		:: !number
		:: else ->
#ifdef EARLY_ADD
			exchange(0, FULL, 1, number);
#endif
			store(0, FIRST, round);
			store(0, NR, round);
#ifdef PLAIN_ADD
			store(0, FULL, 1);
#else
#ifndef EARLY_ADD
			exchange(0, FULL, 1, number);
#endif
#endif
			round++
		fi
	od
}

active proctype getter()
{
	byte at, round = 1, number, v;

	do
	:: round > ROUNDS -> break
	:: else ->
		exchange(1, FULL, 0, number);
		if
		:: !number
		:: else ->
			load(1, FIRST, v);
			assert(v == round);
			load(1, NR, v);
			assert(v == round);
			exchange(1, FREE, 1, number);
			round++
		fi
	od
}
#endif
