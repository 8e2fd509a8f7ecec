#!/bin/sh
# last.sh HERE RUN: the job behind the arrays, started whatever became of
# them: what they left unsaid or failed at is gathered for
# examples/reduce.sh, which believes no engine: it looks for itself, and
# publishes or names what is missing (RUN/failed).
# SPDX-License-Identifier: ISC
set -u
HERE=$1 RUN=$2
. "$HERE/job.sh"
PARTS=$(cat "$RUN/place") TARGET=$(cat "$RUN/target")
REDUCE=$(cat "$RUN/examples")/reduce.sh

# On a network file system what another node made may be seen late: a part
# that its task calls done is given WINDOW seconds.
settle() {
	left=${WINDOW:-60}
	case $PARTS in
	*://*) return ;;
	esac
	while read -r part; do
		[ "$(tail -n 1 "$RUN/said/${part##*/}" 2>/dev/null)" = \
		    "== exit 0" ] || continue
		while [ ! -e "$part/manifest.json" ] && [ "$left" -gt 0 ]; do
			child sleep 1 || return
			left=$((left - 1))
			# a listing refreshes what the node remembers
			ls "$PARTS" >/dev/null
		done
	done <"$RUN/parts.last"
}

# What the last start of each task said that did not end well; of one whose
# end nobody wrote, what Slurm said.  A group that failed for want of a part
# has nothing to say.
gather() {
	cat "$RUN"/level.* | sort -u | while read -r name; do
		said=$RUN/said/$name
		[ -e "$said" ] || continue
		end=$(tail -n 1 "$said")
		case $end in
		'== exit 0') continue ;;
		'== exit 66') [ ! -e "$RUN/$name.parts" ] || continue ;;
		esac
		awk '/^== .* job / { b = "" } { b = b $0 "\n" }
		    END { printf "%s", b }' "$said"
		case $end in
		'== exit '*) ;;
		*)	echo "== no end: killed, or still at work"
			j=$(sed -n 's/^== .* job \([0-9_]*\) .*/\1/p' "$said" |
			    tail -n 1)
			tail -n 3 "$RUN/slurm/$j" 2>/dev/null ;;
		esac
	done
}

rm -f "$RUN/end.$SLURM_JOB_ID"
settle
gather >"$RUN/log.$SLURM_JOB_ID" && mv "$RUN/log.$SLURM_JOB_ID" "$RUN/log"
child "$REDUCE" "$RUN" "$TARGET" >/dev/null
status=$?
[ -n "$caught" ] || ! again $status || leave $status
if [ $status = 0 ]; then
	rm -f "$RUN/failed"
	# the way to it, unless a later run has made that its own
	failed=${RUN%/*}/failed
	[ "$(readlink "$failed")" != "${RUN##*/}/failed" ] || rm -f "$failed"
fi
# for who waits (submit.sh -w)
echo $status >"$RUN/end.$SLURM_JOB_ID"
exit $status
