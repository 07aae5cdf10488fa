#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks the models in this folder with Spin: as the code is, which must hold, and
# with one guard missing at a time, which pan must find. What is modelled, and what
# the words after -D mean, is said at the top of each model.
#
# usage: run.sh
# Needs spin and gcc, about two minutes of two CPUs and 2 GB of memory. The output
# is KTAP and a sum; the exit status is 0 if all passed, 1 if not or if a tool
# is missing.

set -u

# name | model | what pan must report | what to give to spin
cases() {
	cat <<-END
	two_cpus                    | magazine | holds  | -DNMI_OPS=0 -DTASK_OPS=1
	two_cpus_longer             | magazine | holds  | -DNMI_OPS=0 -DSHORT
	task_interrupt_nmi          | magazine | holds  | -DCPU_OPS=0 -DTASK_OPS=1
	task_interrupt_nmi_longer   | magazine | holds  | -DCPU_OPS=0 -DSHORT
	depot_is_full               | magazine | holds  | -DNMI_OPS=0 -DSLOTS=1 -DOBJS=6 -DSTART=7
	spare_is_exchanged          | magazine | holds  | -DCPU_OPS=0 -DSHORT -DTOP_UP -DSTART=8
	get_reads_before_busy       | magazine | breaks | -DREAD_EARLY -DCPU_OPS=0 -DSHORT
	put_links_before_busy       | magazine | breaks | -DLINK_EARLY -DCPU_OPS=0 -DSHORT
	get_stores_after_busy       | magazine | breaks | -DLEAVE_EARLY -DCPU_OPS=0 -DSHORT
	put_ignores_busy            | magazine | breaks | -DNO_CHECK -DCPU_OPS=0 -DSHORT
	nested_get_pops_one         | magazine | breaks | -DPOP_NESTED -DBURST -DIRQ_OPS=1 -DSTART=5
	nested_rest_is_stored       | magazine | breaks | -DPLAIN_PUT_BACK -DCPU_OPS=0 -DSHORT
	nested_read_then_cleared    | magazine | breaks | -DPLAIN_TAKE -DCPU_OPS=0 -DSHORT
	nested_is_forgotten         | magazine | breaks | -DFORGET_NESTED -DBURST -DSTART=9
	nested_becomes_one_chain    | magazine | breaks | -DNO_CUT -DBURST -DSTART=9
	spare_read_then_cleared     | magazine | breaks | -DPLAIN_SPARE -DCPU_OPS=0 -DSHORT
	spare_put_on_another | magazine | breaks | -DPLAIN_PUT_SPARE -DBURST -DTOP_UP -DSTART=8
	short_chain_taken_for_batch | magazine | breaks | -DNO_COUNT -DNMI_OPS=0 -DSHORT
	depot                       | depot    | holds  | -DOPS=3
	depot_grows                 | depot    | holds  | -DGROW
	list_without_tag            | depot    | breaks | -DNO_TAG
	slot_popped_by_a_store      | depot    | breaks | -DPLAIN_POP
	slot_pushed_by_a_store      | depot    | breaks | -DPLAIN_PUSH
	slot_added_by_a_store       | depot    | breaks | -DPLAIN_PUSH -DGROW
	level_counted_late          | depot    | breaks | -DLEVEL_LATE
	chain_read_late             | depot    | breaks | -DREAD_LATE
	chain_written_late          | depot    | breaks | -DWRITE_LATE
	two_shards                  | shards   | holds  |
	bit_cleared_without_relook  | shards   | breaks | -DNO_RELOOK
	bit_cleared_without_barrier | shards   | breaks | -DNO_BARRIER
	bit_set_before_put          | shards   | breaks | -DSET_FIRST
	chain_counted_after_bit     | shards   | breaks | -DCOUNT_LATE
	bits_by_load_and_store      | shards   | breaks | -DPLAIN_BITS
	bit_of_empty_depot_stays    | shards   | breaks | -DSTALE_BITS
	pool_published              | order    | holds  | -DPSO -DPOOL
	pool_published_by_a_store   | order    | breaks | -DPSO -DPOOL -DPLAIN_PUBLISH
	slot_back_and_forth         | order    | holds  | -DPSO -DSLOT
	slot_published_by_a_store   | order    | breaks | -DPSO -DSLOT -DPLAIN_ADD
	slot_published_early        | order    | breaks | -DSLOT -DEARLY_ADD
	request                     | request  | holds  | -DPSO
	request_looks_at_queued     | request  | breaks | -DPLAIN_LOOK
	request_before_note         | request  | breaks | -DNOTE_LATE
	request_from_another_cpu    | request  | breaks | -DMIGRATE
	worker_without_barrier      | request  | breaks | -DNO_BARRIER
	worker_clears_queued_late   | request  | breaks | -DCLEAR_LATE
	handler_clears_pending_late | request  | breaks | -DIRQ_CLEAR_LATE
	reuse                       | grace    | holds  | -DOBJS=3 -DFIRST=3
	reuse_two_cpus              | grace    | holds  | -DOBJS=2 -DFIRST=1
	reuse_idle_without_relook   | grace    | breaks | -DNO_RELOOK
	reuse_waiting_said_late     | grace    | breaks | -DLATE_WAITING
	reuse_taken_after_start     | grace    | breaks | -DTAKE_LATE
	reuse_taken_while_waiting   | grace    | breaks | -DTAKE_ALWAYS
	reuse_read_then_cleared     | grace    | breaks | -DPLAIN_TAKE
	reuse_callback_leaves_all   | grace    | breaks | -DLAZY_CALLBACK
	reuse_by_two_at_a_time      | grace    | breaks | -DUNLOCKED
	reuse_locked_and_gone       | grace    | breaks | -DGO_AWAY
	reuse_rest_left             | grace    | breaks | -DLEAVE_REST
	release                     | release  | holds  | -DPSO
	release_and_again           | release  | holds  | -DOBJS=2 -DTAKES=2
	queue_always_locked         | release  | breaks | -DALWAYS_LOCKED
	queue_unlocked_by_a_store   | release  | breaks | -DPLAIN_UNLOCK -DPSO
	queue_empty_for_a_moment    | release  | breaks | -DBOTH_EMPTY
	queue_not_tested_first      | release  | breaks | -DLATE_TEST
	queue_head_looked_at_first  | release  | breaks | -DHEAD_FIRST
	queue_is_one_list           | release  | breaks | -DPUT_BACK
	release_idle_without_relook | release  | breaks | -DNO_RELOOK
	release_waiting_said_late   | release  | breaks | -DLATE_WAITING
	surplus_moved_while_waiting | release  | breaks | -DMOVE_ALWAYS
	permits                     | permits  | holds  |
	permits_churn               | permits  | holds  | -DCHURN -DOPS=2
	permit_tested_then_taken    | permits  | breaks | -DPLAIN_TAKE
	permit_given_by_a_store     | permits  | breaks | -DPLAIN_GIVE
	permits_of_own_cpu_only     | permits  | breaks | -DOWN_ONLY
	permits_behind_hint_only    | permits  | breaks | -DFROM_HINT_ON
	permits_looked_for_once     | permits  | breaks | -DONE_LOOK -DCHURN
	permits_given_unnoticed     | permits  | breaks | -DBLIND -DCHURN
	permits_given_uncounted     | permits  | breaks | -DNO_COUNT -DCHURN
	permits_move_in_hand        | permits  | breaks | -DMOVE_ALL
	destroy                     | destroy  | holds  |
	destroy_handlers_first      | destroy  | breaks | -DIRQ_FIRST
	destroy_by_advice           | destroy  | breaks | -DADVISORY
	destroy_may_be_queued_again | destroy  | breaks | -DCANCEL_ONLY
	destroy_without_handlers    | destroy  | breaks | -DNO_IRQ_SYNC
	destroy_callbacks_first     | destroy  | breaks | -DRCU_FIRST
	destroy_without_callbacks   | destroy  | breaks | -DNO_RCU_WAIT
	destroy_while_objects_move  | destroy  | breaks | -DNO_GP_STOP
	destroy_lets_movers_raise   | destroy  | breaks | -DGP_STOP_LATE
	destroy_unseen_by_movers    | destroy  | breaks | -DNO_LOOK
	END
}

# One case in a folder of its own; leaves the verdict in $1/result.
one() {
	dir=$1 name=$2 model=$folder/$3.pml expect=$4
	shift 4

	mkdir "$dir" && cd "$dir" || return
	# What does not hold is found soon: compiling takes longer than that.
	optimise=-O0
	[ "$expect" = holds ] && optimise=-O2
	# Spin cannot reduce what depends on which context runs.
	reduce=
	grep -q ' provided ' "$model" && reduce=-DNOREDUCE
	if ! { spin "$@" -a "$model" &&
	       gcc -w $optimise -DSAFETY $reduce -DCOLLAPSE -DMEMLIM=900 -o pan pan.c
	     } > log 2>&1; then
		echo "not ok # $name: the model does not compile: $(head -n 1 log)" > result
		return
	fi
	./pan -m100000 -w22 > log 2>&1
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' log)
	states=${states:-no}
	found=$(sed -n 's/^pan:1: \(.*\) (at depth [0-9]*)$/\1/p' log)
	complete=yes
	grep -Eq 'Search not completed|MEMLIM bound|depth too small' log && complete=no
	case $expect,$complete,$(sed -n 's/.*, errors: \([0-9]*\)$/\1/p' log) in
	holds,yes,0)	echo "ok $name # $states states" ;;
	breaks,*,[1-9]*)	echo "ok $name # found: $found, $states states" ;;
	*)	echo "not ok $name # must: $expect; ${found:-no error found}, $states states" ;;
	esac > result
}

if [ "${1-}" = --one ]; then
	shift
	folder=$1
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
folder=$(dirname "$self")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

cases | nl -ba -w1 -s' ' | tr -d '|' > "$tmp/cases"
# Two at a time: that keeps them below 2 GB.
while read -r number line; do
	echo "--one $folder $tmp/$number $line"
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
