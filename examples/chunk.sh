#!/bin/sh
# chunk.sh NAME.plan PARTS: the task of one chunk, for whatever engine starts
# it: what NAME.plan lists becomes one store, PARTS/NAME, whole or not at all.
# PARTS is a directory that all nodes see, or s3://bucket/prefix.  With
# NAME.parts beside it (chunks.sh), the parts listed there are read instead.
#
# 0: it is there, or was already; else the status of the pipeline: again with
# 75, 73, 74 or after a signal, not with the others.  Started twice, at once,
# on two nodes, or killed at any moment, it does no harm.  Staging is below
# TMPDIR, which should be the node's own disk.
# SPDX-License-Identifier: ISC
set -u
[ $# = 2 ] || { echo "usage: chunk.sh name.plan parts" >&2; exit 64; }
PLAN=$1 PART=${2%/}/$(basename -- "$1" .plan) FROM=${1%.plan}.parts
[ -e "$FROM" ] || FROM=$PLAN
export PLAN PART FROM

why=$(dpublish holds -p "$PLAN" "$PART" 2>&1 >/dev/null)
status=$?
case $status in
0)	exit 0 ;;
64|77)	# a plan that is none, a part that may not be read: no try helps
	printf '%s\n' "$why" >&2
	exit $status ;;
esac
# damaged, or something else of that name: out of the way with it
if [ $status = 65 ] || { [ $status = 66 ] && [ -e "$PART" ] &&
    [ ! -e "$PART/manifest.json" ]; }; then
	printf '%s\n' "$why" >&2
	mv "$PART" "$PART.bad.$$" 2>/dev/null || {
		echo "chunk.sh: $PART: remove it, and run again" >&2
		exit 65
	}
	echo "chunk.sh: $PART: set aside, made anew" >&2
fi
# in its place: this process is the pipeline's, and gets every signal
exec drun --retry "${RETRY:-3}" 'dfetch -f "$FROM" | dcheck -k |
    dmerge -p "$PLAN" | dpublish -a "$PART"' </dev/null >/dev/null
