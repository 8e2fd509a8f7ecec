#!/bin/sh
# reduce.sh WORK TARGET: the last step of a fan-out (chunks.sh), to be run
# whatever the engine says of the others: what the chunks became is merged
# onto the current snapshot and published, if it is all there and covers
# WORK/plan.  If not, it is 66 (65: a part is damaged), and WORK/failed, and
# standard error, have what the tasks said (WORK/log, if there is one) and a
# line for each that is not done.
# SPDX-License-Identifier: ISC
set -u
[ $# = 2 ] || { echo "usage: reduce.sh work target" >&2; exit 64; }
WORK=$1 TARGET=$2
export WORK TARGET
shift 2
[ -e "$WORK/plan" ] || { echo "reduce.sh: $WORK/plan: not there" >&2; exit 66; }
[ -s "$WORK/plan" ] || exit 0
while read -r part; do
	set -- "$@" "$part"
done <"$WORK/parts.last" || exit 66
dpublish holds -p "$WORK/plan" "$@" >/dev/null 2>&1 &&
    exec drun --retry "${RETRY:-3}" 'dfetch -B "$TARGET" -f "$WORK/parts.last" |
	dcheck | dmerge -p "$WORK/plan" | dpublish "$TARGET"' </dev/null
status=$?
{
	[ ! -e "$WORK/log" ] || grep -v '^dcheck: .* inputs: [0-9]* ok$' \
	    "$WORK/log"
	cat "$WORK"/level.* | while read -r n; do
		dpublish holds -p "$WORK/$n.plan" "${1%/*}/$n" 2>&1 \
		    >/dev/null | sed "s|^dpublish|$n: &|;q"
	done
} >"$WORK/failed"
cat "$WORK/failed" >&2
exit $status
