#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks the model of lib/pcpu_magazine.c with Spin: as the code is, which must
# hold, and with one guard missing at a time, which pan must find.
#
# usage: run.sh
# Needs spin and gcc, about a minute of one CPU and 1 GB of memory. The output
# is KTAP and a sum; the exit status is 0 if all passed, 1 if not or if a tool
# is missing.

set -u

# name | what pan must report | what to give to spin
cases() {
	cat <<-END
	two_cpus                     | holds  | -DNMI_OPS=0
	task_interrupt_nmi           | holds  | -DCPU_OPS=0
	depot_is_full                | holds  | -DNMI_OPS=0 -DSLOTS=1 -DOBJS=6 -DSTART=5
	get_reads_before_busy        | breaks | -DREAD_EARLY -DCPU_OPS=0
	put_links_before_busy        | breaks | -DLINK_EARLY -DCPU_OPS=0
	get_stores_after_busy        | breaks | -DLEAVE_EARLY -DCPU_OPS=0
	put_ignores_busy             | breaks | -DNO_CHECK -DCPU_OPS=0
	nested_get_pops_one          | breaks | -DPOP_NESTED -DCPU_OPS=0 -DTASK_OPS=1 -DNMI_OPS=3 -DSTART=4
	nested_get_stores_rest       | breaks | -DPLAIN_NESTED -DCPU_OPS=0
	slot_read_then_cleared       | breaks | -DPLAIN_TAKE -DNMI_OPS=0
	slot_tested_then_set         | breaks | -DPLAIN_PUT -DNMI_OPS=0
	chain_counted_after_put      | breaks | -DCOUNT_LATE -DNMI_OPS=0 -DSTART=2
	short_chain_taken_for_batch  | breaks | -DNO_COUNT -DNMI_OPS=0
	spare_read_then_cleared      | breaks | -DPLAIN_SPARE -DNMI_OPS=0 -DSTART=2
	stolen_spare_remembered      | breaks | -DOLD_SPARE -DCPU_OPS=0 -DSTART=2
	END
}

# One case in a folder of its own; leaves the verdict in $1/result.
one() {
	dir=$1 name=$2 expect=$3
	shift 3

	mkdir "$dir" && cd "$dir" || return
	# What does not hold is found soon: compiling takes longer than that.
	optimise=-O1
	[ "$expect" = holds ] && optimise=-O2
	if ! { spin "$@" -a "$model" &&
	       gcc -w $optimise -DSAFETY -DNOREDUCE -DCOLLAPSE -DMEMLIM=900 -o pan pan.c
	     } > log 2>&1; then
		echo "not ok # $name: the model does not compile: $(head -n 1 log)" > result
		return
	fi
	./pan -m100000 -w23 > log 2>&1
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' log)
	found=$(sed -n 's/^pan:1: \(.*\) (at depth [0-9]*)$/\1/p' log)
	complete=yes
	grep -q 'Search not completed' log && complete=no
	case $expect,$complete,$(sed -n 's/.*, errors: \([0-9]*\)$/\1/p' log) in
	holds,yes,0)	echo "ok $name # $states states" ;;
	breaks,*,[1-9]*)	echo "ok $name # found: $found, $states states" ;;
	*)	echo "not ok $name # must be: $expect; ${found:-no error found}, ${states:-no} states" ;;
	esac > result
}

if [ "${1-}" = --one ]; then
	shift
	model=$1
	shift
	one "$@"
	exit
fi
if [ $# -gt 0 ]; then
	echo "usage: $0" >&2
	exit 2
fi

for tool in spin gcc; do
	if ! command -v "$tool" > /dev/null; then
		echo "$0: $tool is not installed (apt-get install $tool)" >&2
		exit 1
	fi
done

self=$(realpath "$0")
model=$(dirname "$self")/pcpu_magazine.pml
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

cases | nl -ba -w1 -s' ' | tr -d '|' > "$tmp/cases"
# Two at a time: that keeps them below 2 GB.
while read -r number line; do
	echo "--one $model $tmp/$number $line"
done < "$tmp/cases" | xargs -P 2 -L 1 sh "$self"

passed=0
failed=0
echo 'KTAP version 1'
echo "1..$(wc -l < "$tmp/cases")"
while read -r number name _; do
	result=$(cat "$tmp/$number/result" 2> /dev/null || echo "not ok $name # no result")
	case $result in
	ok*)	passed=$((passed + 1))
		echo "ok $number ${result#ok }" ;;
	*)	failed=$((failed + 1))
		echo "not ok $number ${result#not ok }" ;;
	esac
done < "$tmp/cases"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
