/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of lib/pcpu_permits.c, for Spin: permits that lie with two CPUs, and
 * contexts of both that take and give them.
 *
 * One statement is one atomic instruction, or the load of a word that has no
 * permit. Nothing depends on what else a CPU does in between, so contexts that
 * nest are among those that interleave: several on each CPU stand for task,
 * interrupt and NMI. The hint where to look first is any CPU. The number of looks
 * is LOOKS; how often permits were given is counted in a byte, which does not come
 * round here, nor do 32 bits while somebody looks.
 *
 * What holds:
 *  - permits out and permits that lie with CPUs are together what there was at the
 *    start, after each single instruction: never one element too many;
 *  - who is refused has either met a moment at which all were out, or in each
 *    of all its looks something had been given since the one before. With -DCHURN,
 *    where each context has one and gives it before it takes one, perhaps on another
 *    CPU, there is no such moment.
 *
 *	-DPLAIN_TAKE	a word is tested and then lowered
 *	-DPLAIN_GIVE	a word is read and then stored
 *	-DOWN_ONLY	who finds none with its CPU does not look further
 *	-DFROM_HINT_ON	who looks further does not come round to those before
 *	-DONE_LOOK	who has found none with any CPU is refused
 *	-DBLIND		... the second time, whatever was given in between
 *	-DNO_COUNT	what is given is not counted
 *	-DMOVE_ALL	who takes from another CPU moves all that lie there to its own
 */
#define CPUS		2
#ifndef CONTEXTS
#define CONTEXTS	3	/* number i is on CPU i % 2 to begin with */
#endif
#define ALL		((1 << CONTEXTS) - 1)
#ifndef OPS
#define OPS		3
#endif
#ifndef LOOKS
#define LOOKS		4
#endif
#ifdef CHURN
#define MAX		CONTEXTS
#else
#define MAX		2
#endif

byte left[CPUS], gives[CPUS];
byte nr_out;
byte none;			/* a bit for each context: all were out since it began */
bool ready;

#ifdef MOVE_ALL
#define CHECK	skip
#else
#define CHECK	assert(nr_out <= MAX && nr_out + left[0] + left[1] == MAX)
#endif

/* What the code does by one compare-and-exchange, this does in two steps. */
#ifdef PLAIN_TAKE
#define PLAIN_TEST(c)	some = left[c];
#define IF_ANY(c)	some
#else
#define PLAIN_TEST(c)
#define IF_ANY(c)	left[c]
#endif

#define IS_REFUSED \
	assert(none >> _pid & 1 || (look == LOOKS && now != before))

inline took()
{
	nr_out++;
	got = true;
	if
	:: nr_out == MAX -> none = ALL
	:: else
	fi
}

/* pcpu_permits_take_from() */
inline take_from(c)
{
	if
	:: IF_ANY(c) -> left[c]--; took()
	:: else -> now = now + gives[c]
	fi;
	some = 0;
	CHECK
}

inline begin_look()
{
	before = now;
	now = 0;
	n = CPUS;
	look++;
	/* From where the hint says, round to there again. */
	if
	:: at = 0
	:: at = 1
	fi
}

/* Has the look come to an end, and with it the attempt? */
inline end_look()
{
	if
	:: got -> n = 0
	:: !got && n -> skip
	:: else ->
		if
#ifdef ONE_LOOK
		:: true ->
#else
#ifdef BLIND
		:: look > 1 ->
#else
		:: look == LOOKS || (look > 1 && now == before) ->
#endif
#endif
			IS_REFUSED
		:: else -> begin_look()
		fi
	fi
}

inline take()
{
	PLAIN_TEST(cpu)
	atomic {
		none = none & ~(1 << _pid) | (nr_out == MAX) << _pid;
		take_from(cpu);
		now = 0;
#ifdef OWN_ONLY
		if
		:: got
		:: else -> IS_REFUSED
		fi
#else
		if
		:: got
		:: else -> begin_look()
		fi
#endif
	};
	do
	:: n ->
#ifdef MOVE_ALL
		atomic { some = left[at]; left[at] = 0 };
		if
		:: some -> atomic { took(); left[cpu] = left[cpu] + some - 1; some = 0 }
		:: else -> now = now + gives[at]
		fi;
#else
		PLAIN_TEST(at)
#endif
		atomic {
#ifndef MOVE_ALL
			take_from(at);
#endif
			n--;
#ifdef FROM_HINT_ON
			if
			:: at == CPUS - 1 -> n = 0
			:: else
			fi;
#endif
			at = (at + 1) % CPUS;
			end_look()
		}
	:: atomic { n == 0 ->
		/* The same for all who do not look. */
		none = none | 1 << _pid;
		has = has + got;
		got = false;
		at = 0;
		look = 0;
		before = 0;
		now = 0;
		break
	}
	od
}

#ifdef NO_COUNT
#define COUNT(c)
#else
#define COUNT(c)	gives[c]++;
#endif

inline give()
{
#ifdef PLAIN_GIVE
	some = left[cpu];
	atomic { left[cpu] = some + 1; COUNT(cpu) nr_out--; some = 0; CHECK }
#else
	atomic { left[cpu]++; COUNT(cpu) nr_out--; CHECK }
#endif
}

active [CONTEXTS] proctype context()
{
	byte cpu = _pid % CPUS, ops = OPS, has, some, at, n, look, before, now;
	bool got;

#ifdef CHURN
	has = 1;
#endif
	ready;
	do
#ifdef CHURN
	:: ops == 0 || !has -> break
#else
	:: ops == 0 -> break
#endif
	:: atomic { ops && has -> ops--; has-- };
		give();
#ifdef CHURN
		if
		:: cpu = 0
		:: cpu = 1
		fi;
		take()
#else
	:: atomic { ops -> ops-- };
		take()
#endif
	od
}

init {
	byte share;

	atomic {
#ifdef CHURN
		nr_out = MAX;
#else
		/* Any share. */
		select(share : 0 .. MAX);
		left[0] = share;
		left[1] = MAX - share;
#endif
		none = ALL;
		ready = true
	}
}
