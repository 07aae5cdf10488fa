/* SPDX-License-Identifier: GPL-2.0-only */
/* Suites of the BPF memory allocator: what KUnit has under other names in other kernels. */
#ifndef _BPF_MEMALLOC_TEST_COMPAT_H
#define _BPF_MEMALLOC_TEST_COMPAT_H

#include <kunit/test.h>

/* On newer kernels who makes parameters learns for which test. None of ours wants to know. */
#ifdef KUNIT_CASE_PARAM_WITH_INIT
#define DEFINE_GEN_PARAMS(name, prev, desc) \
	static const void *name(struct kunit *test, const void *prev, char *desc)
#else
#define DEFINE_GEN_PARAMS(name, prev, desc) \
	static const void *name(const void *prev, char *desc)
#endif

#endif /* _BPF_MEMALLOC_TEST_COMPAT_H */
