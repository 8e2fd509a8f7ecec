#!/bin/sh
# examples.t: what lies in examples/ works as it is written, and all ways
# lead to one content digest.
. "$(dirname "$0")/lib.sh"
plan 26
EX=$SRC/examples
mkdir deltas
m=10
for d in "$DATA"/demo/delta-*; do
	cp -R "$d" deltas/
	find "deltas/${d##*/}" -exec touch -d "2026-11-20 12:$m:00" {} +
	m=$((m + 1))
done
pointer() { cat "$1/latest-pointer.txt" 2>/dev/null; }
digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/timestamped/$(pointer "$1")/manifest.json"
}
commits() { ls "$1/commits" 2>/dev/null | wc -l | tr -d ' '; }

# --- the one-liner
status 64 "oneliner.sh without operands" "$EX/oneliner.sh"
status 0 "oneliner.sh" "$EX/oneliner.sh" "a target" deltas
DIGEST=$(digest "a target")
is "${#DIGEST}" 64 "it published something with a content digest"
status 0 "oneliner.sh again" "$EX/oneliner.sh" "a target" deltas
is "$(commits 'a target')" 1 "nothing new, nothing published"

# --- fan-out
fanout() { LINES_EACH=$1 "$EX/fanout.sh" "$2" deltas; }
status 0 "fanout.sh, three to a chunk" fanout 3 fan
is "$(digest fan)" "$DIGEST" "the same content digest"
is "$(ls -d fanout 2>/dev/null)" "" "its work is cleared away"
status 0 "fanout.sh again" fanout 3 fan
is "$(commits fan)" 1 "nothing new, nothing published"
# one bad delta stops the last pipeline, and the chunks that are good stay
cp -Rp deltas/delta-10 good
truncate -s 50000 deltas/delta-10/chroma.sqlite3
status 65 "fanout.sh with a bad delta" fanout 3 fan2
like err 'delta-10' "it is named"
is "$(commits fan2)" 0 "nothing is published"
is "$(ls -d fanout/chunk.*.d | wc -l | tr -d ' ')" 3 "three chunks were merged"
rm -rf deltas/delta-10
cp -Rp good deltas/delta-10
status 0 "mended, run again" fanout 3 fan2
is "$(digest fan2)" "$DIGEST" "the same content digest"

# --- make
reprocess() {
	make -f "$EX/reprocess.mk" -j2 -k DELTAS=deltas TARGET=mk "$@"
}
status 0 "reprocess.mk" reprocess
is "$(digest mk)" "$DIGEST" "the same content digest"
status 0 "reprocess.mk again" reprocess
is "$(grep -c ': done$' out)" 0 "no delta is done again"
is "$(commits mk)" 1 "nothing is published"
find work -name '*.done' -exec touch -d '2026-11-20 13:00:00' {} +
touch -d '2026-11-20 14:00:00' deltas/delta-04/chroma.sqlite3
status 0 "one delta was touched" reprocess
is "$(grep -c ': done$' out)" 1 "one delta is done again"

# --- a stage that is not ours
status 0 "foreign.py in the middle" drun "dfetch -B lines deltas | dcheck |
    $EX/foreign.py | dmerge | dpublish lines"
is "$(digest lines)" "$DIGEST" "the same content digest"
like err "foreign.py: \\{.*'delta': 10" "it saw ten deltas"
finish
