/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model of bpf_mem_alloc_destroy(), for Spin, against what may still be under way:
 * a handler on each of two CPUs that was raised, or runs, in any state, the worker
 * of each of two shards, which may sleep in the middle of a refill, and the
 * callbacks of RCU that it has asked for. Nobody uses the allocator any more.
 *
 * One statement is one step that others could come between. A handler adds
 * objects, may raise itself again (no room in the depot) and queue any worker; a
 * worker allocates, in which it sleeps, adds objects, may raise the handler of the
 * CPU it is on, and may begin a grace period; a callback adds objects, may raise the
 * handler of the CPU it is on, may begin a grace period and queue the worker. So may
 * a handler. Whoever adds what has waited, or begins a grace period, has locked the
 * engine and looked whether the pool is stopping. How often these things happen is
 * bounded. After the
 * drain nobody may add an object, which would be lost, and after the end nobody may
 * touch the pool.
 *
 * disable_work_sync() takes a worker off the queue, waits until it does not run,
 * and lets nobody queue it again; irq_work_sync() waits while the handler is
 * pending or runs; rcu_barrier() waits for callbacks. These three are taken as
 * described by the kernel. Not modelled: who visits all allocators, which the lock
 * of the registry keeps out before; that the wait for a handler which has never been
 * raised is left out.
 *
 *	-DIRQ_FIRST	waits for handlers, then for workers
 *	-DADVISORY	looks whether handlers or workers are busy, until none is
 *	-DCANCEL_ONLY	waits for workers, but they may be queued again
 *	-DNO_IRQ_SYNC	does not wait for handlers
 *	-DRCU_FIRST	waits for callbacks before workers are stopped
 *	-DNO_RCU_WAIT	does not wait for callbacks
 *	-DNO_GP_STOP	does not wait for who has locked an engine
 *	-DGP_STOP_LATE	waits for that after the handlers
 *	-DNO_LOOK	who has locked an engine does not look
 */
#define CPUS		2
#define SHARDS		2
#ifndef BUDGET
#define BUDGET		2	/* requests by handlers and workers, all in all */
#endif

bool pending[CPUS], in_irq[CPUS];
bool queued[SHARDS], working[SHARDS], disabled[SHARDS];
bool waiting[SHARDS], called[SHARDS];	/* a callback will come, runs */
bool locked[SHARDS], stopping;
byte budget = BUDGET;
bool ready, drained, freed;

inline queue(s)
{
	atomic {
		if
		:: !disabled[s] -> queued[s] = true
		:: else
		fi
	}
}

#ifdef NO_LOOK
#define MAY_MOVE	true
#else
#define MAY_MOVE	(!stopping)
#endif

/* bpf_mem_gp_try_reuse() */
inline try_reuse(sh, on)
{
	if
	:: atomic { !locked[sh] -> locked[sh] = true };
		if
		:: MAY_MOVE ->
			assert(!drained && !freed);
			if
			:: true
			:: atomic { budget -> budget--; pending[on] = true }
			:: atomic { budget && !waiting[sh] -> budget--; waiting[sh] = true }
			fi;
			assert(!drained && !freed)
		:: !MAY_MOVE
		fi;
		locked[sh] = false
	:: locked[sh] -> queue(sh)
	fi
}

proctype irq(byte cpu)
{
end:
	do
	:: atomic { pending[cpu] -> pending[cpu] = false; in_irq[cpu] = true };
		assert(!drained && !freed);
		try_reuse(cpu, cpu);
		if
		:: true
		:: atomic { budget -> budget--; pending[cpu] = true }
		:: atomic { budget -> budget--; queue(0) }
		:: atomic { budget -> budget--; queue(1) }
		fi;
		atomic { assert(!freed); in_irq[cpu] = false }
	od
}

proctype worker(byte shard)
{
end:
	do
	:: atomic { queued[shard] && !working[shard] -> queued[shard] = false;
		working[shard] = true };
		/* Sleeps here. */
		assert(!drained && !freed);
		if
		:: true
		:: atomic { budget -> budget--; pending[0] = true }
		:: atomic { budget -> budget--; pending[1] = true }
		fi;
		if
		:: true
		:: atomic { !waiting[shard] && budget -> budget--; waiting[shard] = true }
		fi;
		atomic { assert(!freed); working[shard] = false }
	od
}

proctype callback(byte shard)
{
end:
	do
	:: atomic { waiting[shard] -> waiting[shard] = false; called[shard] = true };
		assert(!freed);
		try_reuse(shard, shard);
		queue(shard);
		atomic { assert(!freed); called[shard] = false }
	od
}

inline stop(s)
{
#ifdef CANCEL_ONLY
	queued[s] = false;
#else
	atomic { disabled[s] = true; queued[s] = false };
#endif
	!working[s]
}

inline irq_sync()
{
	!pending[0] && !in_irq[0];
	!pending[1] && !in_irq[1]
}

/* Those that are there now: one that is asked for later is not waited for. */
inline rcu_wait()
{
	was_waiting[0] = waiting[0] || called[0];
	was_waiting[1] = waiting[1] || called[1];
	!was_waiting[0] || (!waiting[0] && !called[0]);
	!was_waiting[1] || (!waiting[1] && !called[1])
}

inline gp_stop()
{
	!locked[0];
	!locked[1]
}

active proctype destroyer()
{
	bool was_waiting[SHARDS];

	ready;
	stopping = true;
#ifdef RCU_FIRST
	rcu_wait();
#endif
#ifdef IRQ_FIRST
	irq_sync();
#endif
#ifdef ADVISORY
	do
	:: pending[0] || in_irq[0]
	:: else ->
		if
		:: pending[1] || in_irq[1]
		:: else ->
			if
			:: queued[0] || working[0]
			:: else ->
				if
				:: queued[1] || working[1]
				:: else -> break
				fi
			fi
		fi
	od;
#else
	stop(0);
	stop(1);
#endif
#if !defined(NO_GP_STOP) && !defined(GP_STOP_LATE)
	gp_stop();
#endif
#if !defined(IRQ_FIRST) && !defined(NO_IRQ_SYNC)
	irq_sync();
#endif
#ifdef GP_STOP_LATE
	gp_stop();
#endif
	drained = true;
#if !defined(RCU_FIRST) && !defined(NO_RCU_WAIT)
	rcu_wait();
#endif
	freed = true
}

init {
	atomic {
		/* What is under way when it begins. */
		if
		:: pending[0] = true
		:: true
		fi;
		if
		:: pending[1] = true
		:: true
		fi;
		if
		:: queued[0] = true
		:: true
		fi;
		if
		:: queued[1] = true
		:: true
		fi;
		if
		:: waiting[0] = true
		:: true
		fi;
		run irq(0);
		run irq(1);
		run worker(0);
		run worker(1);
		run callback(0);
		run callback(1);
		ready = true
	};
	/* Until nothing goes on any more. */
	timeout ->
	assert(freed)
}
