#!/bin/sh
# fanout-parallel.sh HOSTS TARGET INPUT...: as fanout.sh, by GNU parallel on the
# hosts of the file HOSTS (lines like 4/name: 4 tasks at a time, by ssh; ":" is
# this one).  Each has the programs in its PATH, keys of its own, INPUTs, WORK
# and this directory under the same names, and stages in its own TMPDIR.
# PARTS (WORK/fanout/parts) may be s3://bucket/prefix: that is not cleared away.
#
# A chunk that failed twice stops the others; stderr and WORK/fanout/failed say
# why.  Mend it and run it again: only what is missing is done.  A second run at
# once in one WORK is refused (75).
# SPDX-License-Identifier: ISC
set -u
[ $# -ge 3 ] || { echo "usage: fanout-parallel.sh hosts target input ..."
	exit 64; } >&2
HERE=$(cd "$(dirname "$0")" && pwd) HOSTS=$1 TARGET=$2
mkdir -p "${WORK:-.}/fanout" && WORK=$(cd "${WORK:-.}/fanout" && pwd) || exit 73
PARTS=${PARTS:-$WORK/parts}
# over a shared connection, tasks that are stopped here would go on there
PARALLEL_SSH=${PARALLEL_SSH:-ssh -o ControlPath=none -o BatchMode=yes}
export HERE HOSTS WORK PARTS PARALLEL_SSH
shift 2
# one run at a time, lest another's plan be taken for ours
{ command exec 9>>"$WORK.lock"; } || exit 73
flock -w "${LOCK_WAIT:-10}" 9 || {
	echo "fanout-parallel.sh: $WORK: another run is at work there" >&2
	exit 75
}
mkdir -p "$WORK" && rm -f "$WORK/failed" || exit 73

# a signal for us is one for what we run, and it is waited for
run() { "$@" & trap 'kill $!; wait $!; exit 143' HUP INT TERM; wait $!; }

run dfetch -l -B "$TARGET" "$@" >"$WORK/plan" || exit
[ -s "$WORK/plan" ] || { rm -rf "$WORK"; exit 0; }
"$HERE/chunks.sh" "$WORK" "$PARTS" || exit
for LEVEL in "$WORK"/level.*; do
	# exec: parallel kills what is left of a task when its shell has ended
	JOBLOG=$WORK/joblog.$(cksum <"$LEVEL" | tr ' ' .) # of these tasks alone
	export LEVEL JOBLOG
	run drun 'parallel --sshloginfile "$HOSTS" --halt now,fail=1 --retries 2 \
	    --termseq TERM,9000,KILL,99 --joblog "$JOBLOG" --resume-failed -q \
	    exec "$HERE/chunk.sh" "$WORK/{}.plan" "$PARTS" <"$LEVEL"' \
	    2>"$WORK/log" || exec "$HERE/reduce.sh" "$WORK" "$TARGET"
done
# what is missing here the joblog must not pass over again
run "$HERE/reduce.sh" "$WORK" "$TARGET" ||
    { set -- $?; rm -f "$WORK"/joblog.*; exit "$1"; }
rm -rf "$WORK"
