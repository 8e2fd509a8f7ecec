#!/bin/sh
# fanout.sh TARGET INPUT...: the same as oneliner.sh, in chunks of LINES_EACH
# (25) inputs that become parts, JOBS (4) at a time on this machine; more than
# FAN (16) parts are merged in groups; the last step merges what is left onto
# the current snapshot and proves that together they cover the plan.
#
# When something fails nothing is published, and stderr and WORK/fanout/failed
# say what.  The status is the last step's, which believes nobody: 66, a part
# of the plan is not there, also where its task has ended with 65 since an
# input was refused (65: a part is damaged where it lies).  Mend it and run it again: only what is missing is done.  A signal
# leaves no process and no staging.  A second run at once in one WORK is refused
# (75).  After success WORK/fanout is removed, which is no other's, and with it
# the parts, unless PARTS names another place (s3://bucket/prefix).
# SPDX-License-Identifier: ISC
set -u
[ $# -ge 2 ] || { echo "usage: fanout.sh target input ..." >&2; exit 64; }
HERE=$(cd "$(dirname "$0")" && pwd) TARGET=$1 JOBS=${JOBS:-4}
mkdir -p "${WORK:-.}/fanout" && WORK=$(cd "${WORK:-.}/fanout" && pwd) || exit 73
PARTS=${PARTS:-$WORK/parts}
export HERE WORK JOBS PARTS
shift

# one run at a time, lest another's plan be taken for ours
{ command exec 9>>"$WORK.lock"; } || exit 73
flock -w "${LOCK_WAIT:-10}" 9 || {
	echo "fanout.sh: $WORK: another run is at work there" >&2
	exit 75
}
mkdir -p "$WORK" && rm -f "$WORK/failed" || exit 73

# a signal for us is one for what we run, and it is waited for
run() { "$@" & trap 'kill $!; wait $!; exit 143' HUP INT TERM; wait $!; }

# what the snapshot does not hold yet, each with its place in time (seq=)
run dfetch -l -B "$TARGET" "$@" >"$WORK/plan" || exit
[ -s "$WORK/plan" ] || { rm -rf "$WORK"; exit 0; }
"$HERE/chunks.sh" "$WORK" "$PARTS" || exit
for LEVEL in "$WORK"/level.*; do
	export LEVEL
	# under drun, which stops what xargs alone would leave running
	run drun 'xargs -P "$JOBS" -I{} "$HERE/chunk.sh" "$WORK/{}.plan" \
	    "$PARTS" <"$LEVEL"' 2>"$WORK/log" || break
done
run "$HERE/reduce.sh" "$WORK" "$TARGET" || exit
rm -rf "$WORK"
