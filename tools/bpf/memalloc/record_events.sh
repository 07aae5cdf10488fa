#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Records every object of the BPF memory allocator, on a kernel with
# CONFIG_BPF_MEM_TRACE_OBJECTS, while a command runs:
#
#	tools/bpf/memalloc/record_events.sh COMMAND... > raw
#
# What it is good for: Documentation/bpf/memalloc_tune.rst.
#
# Time, CPU and context come from the trace itself. Events that found no room
# are counted at the end: a recording that lacks some is of no use.

tracing=/sys/kernel/tracing
events=$tracing/events/bpf_mem

if [ $# -eq 0 ]; then
	echo "usage: record_events.sh COMMAND..." >&2
	exit 2
fi
[ -d $events ] || mount -t tracefs tracefs $tracing 2>/dev/null
if [ ! -d $events/bpf_mem_object_alloc ]; then
	echo "record_events.sh: no tracepoints for objects: build the kernel with" \
	     "CONFIG_BPF_MEM_TRACE_OBJECTS=y" >&2
	exit 1
fi

echo 16384 > $tracing/buffer_size_kb
echo mono > $tracing/trace_clock
: > $tracing/trace
echo 1 > $events/bpf_mem_object_alloc/enable
echo 1 > $events/bpf_mem_object_free/enable
"$@" >&2
status=$?
echo 0 > $events/bpf_mem_object_alloc/enable
echo 0 > $events/bpf_mem_object_free/enable

echo "# bpf_mem raw 1 events"
cat $tracing/trace
for cpu in "$tracing"/per_cpu/cpu*; do
	sed -n "s/^overrun: /# overrun ${cpu##*/}: /p" "$cpu/stats"
done
exit $status
