/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The depot of lib/pcpu_magazine_depot.c, step by step: included by depot.pml and
 * magazine.pml.
 *
 * One statement is one access to one shared word: list_pop() and list_push() are
 * as in the code; who has popped a slot reads or writes its chain in one step,
 * as nobody else looks at these two fields then. The count of changes in a list's
 * word has a few bits here and 40 in the code: it must not come round while a
 * context stands between its read and its exchange. There is one part of slots.
 *
 *	-DNO_TAG	a list's word has no count of changes
 *	-DPLAIN_POP	a slot is taken off by a store, not by an exchange
 *	-DPLAIN_PUSH	the same for adding one
 *	-DLEVEL_LATE	objects are counted after their chain became visible
 *	-DREAD_LATE	a chain is read after its slot was given back
 *	-DWRITE_LATE	a chain is written after its slot became visible
 */
#ifndef SLOTS
#define SLOTS		2
#endif
#define NUMBERS		8	/* values of a slot's number; 0 is none */

#define FULL		0
#define FREE		1

byte word[2];			/* number of the first slot + NUMBERS * changes */
byte slot_next[SLOTS + 1], slot_first[SLOTS + 1], slot_nr[SLOTS + 1];
byte level;

#ifdef NO_TAG
#define WORD(old, number)	(number)
#else
#define WORD(old, number)	(((old) | (NUMBERS - 1)) + 1 | (number))
#endif

#define DEPOT_LOCALS		byte old, number, after

inline list_pop(list)
{
	do
	:: atomic {
		old = word[list];
		number = old % NUMBERS;
		if
		:: number == 0 -> break
		:: else
		fi
	};
		after = slot_next[number];
		atomic {
			if
#ifdef PLAIN_POP
			:: true ->
#else
			:: word[list] == old ->
#endif
				word[list] = WORD(old, after);
				break
			:: else
			fi
		}
	od;
	old = 0;
	after = 0
}

inline list_push(list, from, to)
{
	do
	:: old = word[list];
		slot_next[to] = old % NUMBERS;
		atomic {
			if
#ifdef PLAIN_PUSH
			:: true ->
#else
			:: word[list] == old ->
#endif
				word[list] = WORD(old, from);
				break
			:: else
			fi
		}
	od;
	old = 0
}

inline lower_level(n)
{
	atomic {
		assert(level >= n);
		level = level - n;
		/* 0 means empty. */
		assert(level || word[FULL] % NUMBERS == 0)
	}
}

inline slot_read(first, n)
{
	atomic {
		first = slot_first[number];
		n = slot_nr[number];
		slot_first[number] = 0;
		slot_nr[number] = 0
	}
}

/* Sets first to 0 if there is none. */
inline depot_get(first, n)
{
	first = 0;
	n = 0;
	if
	:: level == 0
	:: else ->
		list_pop(FULL);
		if
		:: number == 0
		:: else ->
#ifdef READ_LATE
			list_push(FREE, number, number);
			slot_read(first, n);
#else
			slot_read(first, n);
			list_push(FREE, number, number);
#endif
			lower_level(n);
			number = 0
		fi
	fi
}

/* Leaves first as it was if there is no room, else 0. */
inline depot_put(first, n)
{
	list_pop(FREE);
	if
	:: number == 0
	:: else ->
#ifndef WRITE_LATE
		atomic { slot_first[number] = first; slot_nr[number] = n };
#endif
#ifndef LEVEL_LATE
		level = level + n;
#endif
		list_push(FULL, number, number);
#ifdef LEVEL_LATE
		level = level + n;
#endif
#ifdef WRITE_LATE
		atomic { slot_first[number] = first; slot_nr[number] = n };
#endif
		atomic { number = 0; first = 0; n = 0 }
	fi
}

/* At the end: each slot is on one list, once, and the level is what is there. */
byte slot_seen[SLOTS + 1];

inline check_depot(at, sum)
{
	at = word[FULL] % NUMBERS;
	sum = 0;
	do
	:: at == 0 -> break
	:: else ->
		slot_seen[at]++;
		assert(slot_seen[at] == 1);
		assert(slot_first[at]);
		sum = sum + slot_nr[at];
		at = slot_next[at]
	od;
	assert(level == sum);
	at = word[FREE] % NUMBERS;
	do
	:: at == 0 -> break
	:: else ->
		slot_seen[at]++;
		assert(slot_seen[at] == 1);
		at = slot_next[at]
	od;
	at = 1;
	do
	:: at <= SLOTS -> assert(slot_seen[at] == 1); at++
	:: else -> break
	od;
	at = 0;
	sum = 0
}
