/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of the BPF memory allocator: its slow paths, as a rule about once
 * for each batch. @id is the allocator's, as in debugfs, @size the bytes of an
 * object with its header, or of its per-CPU area.
 *
 * A program may run at any of them. If it allocates and misses in turn, the
 * guard against recursion of its program type ends that.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bpf_mem

#if !defined(_TRACE_BPF_MEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_BPF_MEM_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(bpf_mem_objects,

	TP_PROTO(unsigned int id, size_t size, unsigned long nr),

	TP_ARGS(id, size, nr),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(unsigned long, nr)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->nr = nr;
	),

	TP_printk("id=%u size=%zu objects=%lu", __entry->id, __entry->size, __entry->nr)
);

/* An allocation found nothing; @nr is how many have so far. */
DEFINE_EVENT(bpf_mem_objects, bpf_mem_miss,
	TP_PROTO(unsigned int id, size_t size, unsigned long nr),
	TP_ARGS(id, size, nr)
);

/* Surplus has left the depot for the slab, by way of a grace period. */
DEFINE_EVENT(bpf_mem_objects, bpf_mem_trim,
	TP_PROTO(unsigned int id, size_t size, unsigned long nr),
	TP_ARGS(id, size, nr)
);

/* A refill has run, @delay_ns after it was asked for. */
TRACE_EVENT(bpf_mem_refill,

	TP_PROTO(unsigned int id, size_t size, unsigned int nr, u64 delay_ns),

	TP_ARGS(id, size, nr, delay_ns),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(unsigned int, nr)
		__field(u64, delay_ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->nr = nr;
		__entry->delay_ns = delay_ns;
	),

	TP_printk("id=%u size=%zu objects=%u delay_ns=%llu", __entry->id, __entry->size,
		  __entry->nr, __entry->delay_ns)
);

/* The depot is to hold another number of batches from now on. */
TRACE_EVENT(bpf_mem_target,

	TP_PROTO(unsigned int id, size_t size, unsigned int before, unsigned int after),

	TP_ARGS(id, size, before, after),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(unsigned int, before)
		__field(unsigned int, after)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->before = before;
		__entry->after = after;
	),

	TP_printk("id=%u size=%zu before=%u after=%u", __entry->id, __entry->size,
		  __entry->before, __entry->after)
);

/* Objects begin to wait for a grace period: before reuse, or before the slab. */
TRACE_EVENT(bpf_mem_gp_start,

	TP_PROTO(unsigned int id, size_t size, bool reuse),

	TP_ARGS(id, size, reuse),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(bool, reuse)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->reuse = reuse;
	),

	TP_printk("id=%u size=%zu for=%s", __entry->id, __entry->size,
		  __entry->reuse ? "reuse" : "slab")
);

/* The grace period has ended; @nr is what has not been taken back meanwhile. */
TRACE_EVENT(bpf_mem_gp_end,

	TP_PROTO(unsigned int id, size_t size, bool reuse, unsigned long nr, u64 wait_ns),

	TP_ARGS(id, size, reuse, nr, wait_ns),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(bool, reuse)
		__field(unsigned long, nr)
		__field(u64, wait_ns)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->reuse = reuse;
		__entry->nr = nr;
		__entry->wait_ns = wait_ns;
	),

	TP_printk("id=%u size=%zu for=%s objects=%lu wait_ns=%llu", __entry->id,
		  __entry->size, __entry->reuse ? "reuse" : "slab", __entry->nr,
		  __entry->wait_ns)
);

#ifdef CONFIG_BPF_MEM_TRACE_OBJECTS
/* An object is handed out; @size is what the caller asked for, @obj what it got. */
TRACE_EVENT(bpf_mem_object_alloc,

	TP_PROTO(unsigned int id, size_t size, const void *obj),

	TP_ARGS(id, size, obj),

	TP_STRUCT__entry(
		__field(unsigned int, id)
		__field(size_t, size)
		__field(const void *, obj)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->size = size;
		__entry->obj = obj;
	),

	TP_printk("id=%u size=%zu obj=%p", __entry->id, __entry->size, __entry->obj)
);

/* The caller gives it up, for others at once or after a grace period. */
TRACE_EVENT(bpf_mem_object_free,

	TP_PROTO(const void *obj, bool rcu),

	TP_ARGS(obj, rcu),

	TP_STRUCT__entry(
		__field(const void *, obj)
		__field(bool, rcu)
	),

	TP_fast_assign(
		__entry->obj = obj;
		__entry->rcu = rcu;
	),

	TP_printk("obj=%p rcu=%d", __entry->obj, __entry->rcu)
);
#endif /* CONFIG_BPF_MEM_TRACE_OBJECTS */

#endif /* _TRACE_BPF_MEM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
