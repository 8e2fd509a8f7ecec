#!/bin/sh
# task.sh HERE RUN LIST N: a task of an array of N: of the names in LIST its
# share, each a chunk or a group for examples/chunk.sh, one after the other.
# RUN/said/NAME gets what is said of each, and how it ended.
#
# A name that fails does not keep the others from being done.  The status is
# that of the first that failed for good, else of the first that may pass:
# then the task is queued again, and what is done by then is not done twice.
# SPDX-License-Identifier: ISC
set -u
HERE=$1 RUN=$2 LIST=$3 N=$4
. "$HERE/job.sh"
PARTS=$(cat "$RUN/place") CHUNK=$(cat "$RUN/examples")/chunk.sh
worst=0 once=0

for name in $(awk -v i="$SLURM_ARRAY_TASK_ID" -v n="$N" \
    'NR % n == i % n' "$LIST"); do
	{
		echo "== $name: $(date -u +%Y-%m-%dT%H:%M:%SZ) job $(job) on" \
		    "${SLURMD_NODENAME:-?}, start $((${SLURM_RESTART_COUNT:-0} + 1))"
		child "$CHUNK" "$RUN/$name.plan" "$PARTS"
		s=$?
		echo "== exit $s"
	} >>"$RUN/said/$name" 2>&1
	case $s in
	0) ;;
	73 | 75) [ $once != 0 ] || once=$s ;;
	*) [ $worst != 0 ] || worst=$s ;;
	esac
	[ -z "$caught" ] || exit 143
done
# what is permanent stays so; the others are worth another start
! again $once || leave $once
[ $worst != 0 ] || worst=$once
leave $worst
