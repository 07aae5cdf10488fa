#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# First process of the guest of `make record`: runs a workload under a recorder,
# as the kernel's command line says (recorder=, workload=), and writes what was
# recorded to the second serial port between `@@ begin` and `@@ end status`.

/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
stty -F /dev/ttyS1 raw -echo
exec </dev/null 2>/dev/console
ip link set lo up
export PATH=/bin:/usr/bin HOME=/tmp

# The kernel hands on what it does not know itself.
: "${recorder:?}" "${workload:?}"

with_bpftrace() {
	export BPFTRACE_PERF_RB_PAGES=2048
	bpftrace /record.bt > /tmp/raw &
	recorder_pid=$!
	tries=0
	# Its first line says that all is hooked.
	until grep -q '^# bpf_mem raw' /tmp/raw; do
		tries=$((tries + 1))
		if [ $tries -gt 300 ] || ! kill -0 $recorder_pid; then
			return 1
		fi
		sleep 1
	done
	record_workloads "$1"
	status=$?
	sleep 1
	kill -INT $recorder_pid
	wait $recorder_pid
	return $status
}

case $recorder in
maps) with_bpftrace "$workload" ;;
events) sh /record_events.sh record_workloads "$workload" > /tmp/raw ;;
*) false ;;
esac
status=$?
{
	echo "@@ begin"
	cat /tmp/raw
	echo "@@ end $status"
} > /dev/ttyS1
sync
reboot -f
