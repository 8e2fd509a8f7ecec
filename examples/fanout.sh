#!/bin/sh
# fanout.sh TARGET INPUT...: the same as the one-liner, but checked and merged
# in chunks of LINES (25) inputs, JOBS (4) pipelines at a time, which could as
# well be jobs of a cluster.  A last pipeline merges what the chunks became
# onto the current snapshot, and proves that together they cover the plan.
#
# WORK (./fanout) keeps the finished intermediates: run it again after a
# failure and only what is missing is done.  It is removed after success.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C
export LC_ALL
[ $# -ge 2 ] || { echo "usage: fanout.sh target input ..." >&2; exit 64; }
TARGET=$1
shift
WORK=${WORK:-fanout}
mkdir -p "$WORK"
export TARGET WORK

# What must be covered, less what the snapshot holds already.  An input's
# place in the order of things (seq=) is fixed here, for every chunk alike.
dfetch -l -B "$TARGET" "$@" >"$WORK/plan.new"
if [ ! -s "$WORK/plan.new" ]; then
	echo "fanout.sh: $TARGET holds all of it already" >&2
	exit 0
fi
# another plan than last time: its chunks are other chunks
if ! cmp -s "$WORK/plan.new" "$WORK/plan"; then
	rm -rf "$WORK"/chunk.*
	mv "$WORK/plan.new" "$WORK/plan"
	split -l "${LINES_EACH:-25}" "$WORK/plan" "$WORK/chunk."
fi
rm -f "$WORK/plan.new"

# xargs says 123 when a pipeline failed; each has said why by then, and the
# others were finished.  A chunk that is there already is success at once.
find "$WORK" -name 'chunk.*' -type f | sort |
    xargs -P "${JOBS:-4}" -I@ sh -c '
	[ -e "@.d/manifest.json" ] ||
	    exec drun "dfetch -f @ | dcheck | dmerge -p @ -o @.d"' || {
	echo "fanout.sh: not all chunks were merged: mend, run again" >&2
	exit 65
}

drun 'dfetch -B "$TARGET" "$WORK"/chunk.*.d | dcheck |
    dmerge -p "$WORK/plan" | dpublish "$TARGET"'
rm -rf "$WORK"
