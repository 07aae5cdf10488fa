/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BPF memory allocator: what differs between the kernels that it can be in,
 * 6.12 and newer. The code is written for the newest; this makes up for what
 * others lack, or have under another name.
 */
#ifndef _BPF_MEMALLOC_COMPAT_H
#define _BPF_MEMALLOC_COMPAT_H

#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/srcu.h>	/* some rcupdate_trace.h need it and do not say so */
#include <linux/rcupdate_trace.h>
#include <linux/version.h>

/* A grace period of RCU Tasks Trace is one of RCU, too, since 7.2 without being asked. */
static inline bool bpf_mem_trace_implies_rcu(void)
{
#if KERNEL_VERSION(7, 2, 0) > LINUX_VERSION_CODE
	return rcu_trace_implies_rcu_gp();
#else
	return true;
#endif
}

/* Storage of tasks and cgroups is allocated here, until kmalloc_nolock() replaced it. */
#if KERNEL_VERSION(7, 2, 0) > LINUX_VERSION_CODE
#define BPF_MEM_SERVES_STORAGE
#endif

/*
 * Where kmalloc() has several caches of a size it chooses by what is allocated,
 * or where. Accounted objects, ours, have one.
 */
static __always_inline enum kmalloc_cache_type bpf_mem_kmalloc_type(size_t size)
{
#ifdef __kmalloc_token
	return kmalloc_type(GFP_KERNEL_ACCOUNT, __kmalloc_token(size));
#else
	return kmalloc_type(GFP_KERNEL_ACCOUNT, _RET_IP_);
#endif
}

#endif /* _BPF_MEMALLOC_COMPAT_H */
