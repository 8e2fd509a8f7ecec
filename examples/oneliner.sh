#!/bin/sh
# oneliner.sh TARGET DELTAS: everything that is new in the directory DELTAS,
# checked, merged onto the current snapshot of TARGET and published; or
# nothing.  Run it as often as you like: with nothing new it does nothing.
# SPDX-License-Identifier: ISC
[ $# = 2 ] || { echo "usage: oneliner.sh target deltas" >&2; exit 64; }
# in the environment, names need no quoting twice
TARGET=$1 DELTAS=$2
export TARGET DELTAS
exec drun 'dfetch -B "$TARGET" "$DELTAS" | dcheck | dmerge | dpublish "$TARGET"'
