/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of what lib/pcpu_magazine_depot.c does with several shards, for Spin: the
 * word that says which of them have something, while CPUs of two shards put
 * chains and get them, each from its own shard and then from the other. Whoever
 * comes at last, from a third shard, must find all that is there.
 *
 * One statement is one access to one shared word. A depot is its level and the
 * number of chains on its list; what a get or a put does to slots is shown by
 * depot.pml. Atomic instructions that return nothing order nothing: where the
 * code needs a barrier behind one, -DNO_BARRIER lets the next load come first.
 * A bit whose depot is empty costs a look, but no second one. A bit must not be
 * missing, once all have finished.
 *
 *	-DNO_RELOOK	who empties a depot does not look again
 *	-DNO_BARRIER	... may do so before its bit is seen to be clear
 *	-DSET_FIRST	who puts a chain looks at the bit before
 *	-DCOUNT_LATE	... counts it after the look at the bit
 *	-DPLAIN_BITS	bits are set and cleared by a load and a store
 *	-DSTALE_BITS	who finds nothing in a depot does not clear its bit
 */
#ifndef OPS
#define OPS		2
#endif
#define SHARDS		2
#define CONTEXTS	4		/* number i works in shard i % SHARDS */
#define BIT(s)		(1 << (s))
#define HAS(w, s)	((w) >> (s) & 1)

byte level[SHARDS], chains[SHARDS];
byte stocked;
byte nr_done;

inline set_bit(s)
{
#ifdef PLAIN_BITS
	word = stocked;
	stocked = word | BIT(s);
	word = 0
#else
	stocked = stocked | BIT(s)
#endif
}

inline clear_bit(s)
{
#ifdef PLAIN_BITS
	word = stocked;
	stocked = word & ~BIT(s);
	word = 0
#else
	stocked = stocked & ~BIT(s)
#endif
}

/* note_empty(): the depot of shard s is empty, says its level. */
inline note_empty(s)
{
	if
	:: !HAS(stocked, s)
	:: else ->
#ifdef NO_BARRIER
		seen = level[s];
		clear_bit(s);
#else
		clear_bit(s);
#ifndef NO_RELOOK
		seen = level[s];
#endif
#endif
		if
		:: seen -> set_bit(s); seen = 0
		:: else
		fi
	fi
}

inline shard_get(s)
{
	got = 0;
	if
	:: level[s] == 0
	:: else ->
		atomic {
			if
			:: chains[s] -> chains[s]--; got = 1
			:: else
			fi
		};
		if
		:: got -> atomic { assert(level[s]); level[s]-- }
		:: else
		fi
	fi;
	if
#ifdef STALE_BITS
	:: got && level[s] == 0 -> note_empty(s)
#else
	:: level[s] == 0 -> note_empty(s)
#endif
	:: else
	fi
}

inline shard_put(s)
{
#ifdef SET_FIRST
	seen = HAS(stocked, s);
#endif
#ifndef COUNT_LATE
	level[s]++;
#endif
	chains[s]++;
#ifndef SET_FIRST
	seen = HAS(stocked, s);
#endif
	if
	:: !seen -> set_bit(s)
	:: else -> seen = 0
	fi
#ifdef COUNT_LATE
	;
	level[s]++
#endif
}

/* From shards with a bit, but for shard s. */
inline shards_get(s)
{
	left = stocked & ~BIT(s);
	do
	:: got || left == 0 -> break
	:: !got && HAS(left, 0) -> left = left & ~BIT(0); shard_get(0)
	:: !got && left == BIT(1) -> left = 0; shard_get(1)
	od;
	left = 0
}

active [CONTEXTS] proctype context()
{
	byte ops = OPS, got, seen, left, word;
	bool has = _pid / SHARDS;

	do
	:: ops == 0 -> break
	:: atomic { ops && has -> ops--; has = false };
		shard_put(_pid % SHARDS)
	:: atomic { ops && !has -> ops-- };
		shard_get(_pid % SHARDS);
		if
		:: !got -> shards_get(_pid % SHARDS)
		:: else
		fi;
		atomic { has = got; got = 0 }
	od;
	nr_done++
}

active proctype last_one()
{
	byte got, seen, left, word;

	atomic {
		nr_done == CONTEXTS;
		assert(level[0] == chains[0] && level[1] == chains[1])
	};
	do
	:: shards_get(SHARDS);
		if
		:: !got -> break
		:: else -> got = 0
		fi
	od;
	assert(chains[0] == 0 && chains[1] == 0);
	/* And who looked in vain does not do so again. */
	shards_get(SHARDS);
	assert(stocked == 0)
}
