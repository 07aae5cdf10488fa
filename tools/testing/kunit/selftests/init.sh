#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# First process of the guest of `make selftests`: runs the lines of /plan, each
# `name seconds command...`, and writes to the second serial port what they say
# between `@@ begin name` and `@@ end name status seconds`. The first port has
# the kernel's log, and nothing else.

/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/shm /tmp /run /mnt /var/tmp /etc
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpffs /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up
# A kernel that is in trouble shall say so at once, in full.
echo 8 > /proc/sys/kernel/printk
# shellcheck disable=SC3045 # busybox has them
{ ulimit -l unlimited; ulimit -n 65536; }
export HOME=/root PATH=/bin:/selftests
cd /selftests || exit

while read -r name seconds command; do
	echo "@@ begin $name"
	start=$(cut -d. -f1 /proc/uptime)
	timeout -s KILL "$seconds" sh -c "$command"
	status=$?
	echo
	echo "@@ end $name $status $(($(cut -d. -f1 /proc/uptime) - start))"
done < /plan
# Objects that wait for a grace period go back before the log is judged.
sleep 1
echo "@@ done"
sync
# QEMU is told to end where a machine would start again.
reboot -f
