#!/bin/sh
# chunks.sh WORK PARTS: cuts WORK/plan into tasks for chunk.sh, each a
# WORK/NAME.plan.  NAME is made of its lines, so that what became of it,
# PARTS/NAME, needs no other mark to be known again, on any node; an input
# that has changed is in another chunk, the others are the same.
#	level.1		NAMEs of chunks of LINES (25) inputs
#	level.2 ...	NAMEs of groups of FAN (16) of the level before: NAME.plan
#			is all that they cover, NAME.parts what to merge
#	parts.last	the parts, at most FAN, of which the snapshot is made
# A level is started when the one before is done.
# SPDX-License-Identifier: ISC
set -eu
[ $# = 2 ] || { echo "usage: chunks.sh work parts" >&2; exit 64; }
WORK=$1 PARTS=${2%/} FAN=${FAN:-16} k=1
[ -e "$WORK/plan" ] || { echo "chunks.sh: $WORK/plan: not there" >&2; exit 66; }
# what fails below is the machine
trap '[ $? = 0 ] || exit 74' EXIT
rm -f "$WORK"/level.* "$WORK"/new.*

# nothing to do is no task
[ -s "$WORK/plan" ] || { : >"$WORK/level.1"; : >"$WORK/parts.last"; exit 0; }

# named: what is in new.plan is put where its content says, as $name
named() {
	name=$(sha256sum <"$WORK/new.plan" | cut -c 1-16)
	mv "$WORK/new.plan" "$WORK/$name.plan"
}

split -a 4 -l "${LINES_EACH:-25}" "$WORK/plan" "$WORK/new.x"
for f in "$WORK"/new.x*; do
	mv "$f" "$WORK/new.plan"
	named
	echo "$name"
done >"$WORK/level.1"

while [ "$(wc -l <"$WORK/level.$k")" -gt "$FAN" ]; do
	rm -f "$WORK"/new.x*
	split -a 4 -l "$FAN" "$WORK/level.$k" "$WORK/new.x"
	k=$((k + 1))
	for f in "$WORK"/new.x*; do
		: >"$WORK/new.plan"
		while read -r n; do
			cat "$WORK/$n.plan" >>"$WORK/new.plan"
			printf '%s/%s\n' "$PARTS" "$n"
		done <"$f" >"$WORK/new.parts"
		named
		# one alone is itself
		[ "$(wc -l <"$f")" = 1 ] ||
		    mv "$WORK/new.parts" "$WORK/$name.parts"
		echo "$name"
	done >"$WORK/level.$k"
done
while read -r n; do
	printf '%s/%s\n' "$PARTS" "$n"
done <"$WORK/level.$k" >"$WORK/parts.last"
rm -f "$WORK"/new.*
