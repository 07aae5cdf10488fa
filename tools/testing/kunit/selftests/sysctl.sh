#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest of `make selftests`: kernel.bpf_force_dyn_alloc from user space.
# Maps are created with the switch off and on. What one takes is read from its
# own figure (memlock) and from what the system has left (MemAvailable).

key=kernel.bpf_force_dyn_alloc
file=/proc/sys/kernel/bpf_force_dyn_alloc
pin=/sys/fs/bpf/sysctl_map
entries=200000
value=64
# kB: keys and values of all elements, the least that preallocation takes.
elements=$((entries * (4 + value) / 1024))
bytes=$(printf '7 %.0s' $(seq "$value"))
failed=0

# check NAME COMMAND...: one verdict, in the words of test_progs
check()
{
	name=$1
	shift
	if "$@"; then
		echo "#1/1 sysctl/$name:OK"
	else
		echo "#1/1 sysctl/$name:FAIL"
		failed=1
	fi
}

avail()
{
	awk '/^MemAvailable:/ { print $2 }' /proc/meminfo
}

# settle: waits until nothing comes back any more from maps that are gone, for
# at most 30 seconds; two seconds without a change of 256 kB are taken for it
settle()
{
	tries=0 calm=0 last=$(avail)
	while [ $calm -lt 2 ] && [ $tries -lt 30 ]; do
		sleep 1
		now=$(avail)
		change=$((now - last))
		[ ${change#-} -lt 256 ] && calm=$((calm + 1)) || calm=0
		last=$now tries=$((tries + 1))
	done
}

# measure_once TYPE: creates, uses and removes a map. Sets own and took (kB:
# memlock and MemAvailable), flags, works (yes or no).
measure_once()
{
	own=0 took=0 flags='' works=no
	settle
	before=$(avail)
	bpftool map create "$pin" type "$1" key 4 value "$value" entries "$entries" \
		name sysctl_map || return
	took=$((before - $(avail)))
	shown=$(bpftool map show pinned "$pin")
	own=$(($(echo "$shown" | sed -n 's/.*memlock \([0-9]*\)B.*/\1/p') / 1024))
	flags=$(echo "$shown" | sed -n 's/.*flags \(0x[0-9a-f]*\).*/\1/p')
	# shellcheck disable=SC2086 # one word for each byte
	bpftool map update pinned "$pin" key 1 0 0 0 value $bytes &&
		bpftool map lookup pinned "$pin" key 1 0 0 0 > /dev/null &&
		bpftool map delete pinned "$pin" key 1 0 0 0 && works=yes
	rm "$pin"
}

# measure TYPE: the same three times. What is free counts pages on lists of CPUs as
# used, megabytes of them, so the middle one of three is what counts.
measure()
{
	all=''
	for _ in 1 2 3; do
		measure_once "$1"
		all="$all$took
"
	done
	took=$(printf '%s' "$all" | sort -n | sed -n 2p)
	echo "$1, $key = $(cat $file): memlock $own kB, MemAvailable $took kB less"
}

# refused VALUE: with EINVAL, and the old value stays?
# shellcheck disable=SC2317 # called by check
refused()
{
	said=$(sysctl -w "$key=$1" 2>&1)
	echo "$said"
	case $said in
	*'Invalid argument'*) [ "$(cat "$file")" = 0 ] ;;
	*) false ;;
	esac
}

[ -e "$file" ] || { echo "this kernel has no $key"; exit 1; }
check mode_is_0600 [ "$(stat -c %a $file)" = 600 ]
check default_is_0 [ "$(cat $file)" = 0 ]
for bad in 2 -1; do
	check "value_${bad}_is_refused" refused "$bad"
done

measure hash
check hash_is_preallocated [ "$own" -ge "$elements" ]
check hash_takes_memory [ "$took" -ge "$elements" ]
flags_before=$flags

check sysctl_w sysctl -w "$key=1"
check value_is_read_back [ "$(cat $file)" = 1 ]
# The buckets of a map stay, with a pointer and a lock each.
measure hash
check forced_hash_holds_no_elements [ "$own" -le $((elements / 2)) ]
check forced_hash_takes_no_memory_for_them [ "$took" -le $((elements / 2)) ]
check forced_hash_works [ "$works" = yes ]
check forced_hash_shows_same_flags [ "$flags" = "$flags_before" ]
measure percpu_hash
check forced_percpu_hash_holds_no_elements [ "$own" -le $((elements / 2)) ]
measure lru_hash
check lru_hash_is_not_forced [ "$own" -ge "$elements" ]

check sysctl_w_back sysctl -w "$key=0"
measure hash
check hash_is_preallocated_again [ "$own" -ge "$elements" ]
exit $failed
