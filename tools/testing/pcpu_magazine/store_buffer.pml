/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory with a store buffer for each CPU: included by the models in which it
 * matters when others see a store.
 *
 * A store goes into the buffer of its CPU and from there to memory at any later
 * time; a load looks into the CPU's own buffer first. Full barriers and atomic
 * instructions that return something wait until it is empty. Stores leave it in
 * the order in which they came (x86-TSO); with -DPSO those to different words
 * may overtake each other, as on machines with a weaker order. Loads are not
 * reordered.
 *
 * The file that includes this defines CPUS and WORDS. One process per CPU, the
 * first ones that there are, writes to memory.
 */
#define DEPTH		2

byte mem[WORDS];

typedef buffer {
	byte nr;
	byte word[DEPTH];
	byte value[DEPTH]
};
buffer buf[CPUS];

inline store(on, w, v)
{
	atomic {
		buf[on].nr < DEPTH ->
		buf[on].word[buf[on].nr] = w;
		buf[on].value[buf[on].nr] = v;
		buf[on].nr++
	}
}

/* Needs a byte at, 0 before and after. */
inline load(on, w, v)
{
	d_step {
		v = mem[w];
		do
		:: at < buf[on].nr ->
			if
			:: buf[on].word[at] == w -> v = buf[on].value[at]
			:: else
			fi;
			at++
		:: else -> break
		od;
		at = 0
	}
}

#define ALL_SEEN(on)	(buf[on].nr == 0)

/* Sets v to what was there. */
inline exchange(on, w, new, v)
{
	atomic { ALL_SEEN(on) -> v = mem[w]; mem[w] = new }
}

active [CPUS] proctype memory()
{
	byte i;

end:
	do
	:: atomic {
		buf[_pid].nr ->
#ifdef PSO
		/* Either, if not to the same word. */
		if
		:: true
		:: buf[_pid].nr == 2 && buf[_pid].word[0] != buf[_pid].word[1] -> i = 1
		fi;
#endif
		mem[buf[_pid].word[i]] = buf[_pid].value[i];
		do
		:: i + 1 < buf[_pid].nr ->
			buf[_pid].word[i] = buf[_pid].word[i + 1];
			buf[_pid].value[i] = buf[_pid].value[i + 1];
			i++
		:: else -> break
		od;
		buf[_pid].nr--;
		buf[_pid].word[i] = 0;
		buf[_pid].value[i] = 0;
		i = 0
	}
	od
}
