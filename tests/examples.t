#!/bin/sh
# examples.t: what lies in examples/ works as it is written, and all ways
# lead to one content digest.
. "$(dirname "$0")/lib.sh"
plan 45
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

# --- fan-out; fanout.t kills and stops it
LINES_EACH=3 FAN=2
export LINES_EACH FAN
status 0 "fanout.sh, three to a chunk" "$EX/fanout.sh" fan deltas
is "$(digest fan)" "$DIGEST" "the same content digest"
is "$(ls -d fanout 2>/dev/null)" "" "its work is cleared away"
status 0 "fanout.sh again" "$EX/fanout.sh" fan deltas
is "$(commits fan)$(ls -d fanout 2>/dev/null)" 1 \
    "nothing new, nothing published, nothing left"
# one bad delta stops the last pipeline, and the chunks that are good stay
cp -Rp deltas/delta-10 good
truncate -s 50000 deltas/delta-10/chroma.sqlite3
status 66 "fanout.sh with a bad delta" "$EX/fanout.sh" fan2 deltas
like err 'delta-10: torn' "it is named"
ok "and kept" cmp err fanout/failed
is "$(commits fan2)" 0 "nothing is published"
is "$(ls fanout/parts | wc -l | tr -d ' ')" 3 "three chunks were merged"
rm -rf deltas/delta-10
cp -Rp good deltas/delta-10
part=fanout/parts/$(head -1 fanout/level.1)
truncate -s 5000 "$part/store.sqlite3"
status 0 "a part is damaged, run again" "$EX/fanout.sh" fan2 deltas
is "$(digest fan2)" "$DIGEST" "the same content digest"

# --- its steps
mkdir w
cp -Rp deltas more
touch -d '2026-11-20 14:00:00' more/delta-04/chroma.sqlite3
dfetch -l deltas >w/plan
status 0 "chunks.sh" "$EX/chunks.sh" w w/parts
is "$(wc -l <w/level.1) $(wc -l <w/level.2) $(wc -l <w/parts.last)" "4 2 2" \
    "four chunks, two groups"
cp w/level.1 was
sed 's/\(delta-04.*seq=\)[0-9]*/\11/' w/plan >w/other
mv w/other w/plan
"$EX/chunks.sh" w w/parts
is "$(diff was w/level.1 | grep -c '^[<>]')" 2 \
    "an input that is another changes the name of its chunk and no other"
dfetch -l deltas >w/plan
"$EX/chunks.sh" w w/parts
one=$(head -1 w/level.1)
status 64 "chunk.sh without operands" "$EX/chunk.sh"
"$EX/chunk.sh" "w/$one.plan" w/parts >o1 2>&1 & a=$!
"$EX/chunk.sh" "w/$one.plan" w/parts >o2 2>&1 & b=$!
wait $a; a=$?
wait $b
is "$a $?" "0 0" "chunk.sh twice at once"
ino=$(ls -di "w/parts/$one")
status 0 "and once more" "$EX/chunk.sh" "w/$one.plan" w/parts
is "$(ls -di "w/parts/$one") $(cat out err)" "$ino " "does nothing"
rm "w/parts/$one/manifest.json"
status 0 "of a part that is damaged" "$EX/chunk.sh" "w/$one.plan" w/parts
like err "w/parts/$one: set aside, made anew" "says so"
ok "and makes it anew" dpublish holds -p "w/$one.plan" "w/parts/$one"
ok "what was there is beside it" ls -d w/parts/$one.bad.*
status 66 "a group of which a part is missing" "$EX/chunk.sh" \
    "w/$(head -1 w/level.2).plan" w/parts
status 66 "reduce.sh before all is there" "$EX/reduce.sh" w none
is "$(grep -c '^[0-9a-f]\{16\}: ' err)" 5 "names what is missing"
is "$(ls -d none 2>/dev/null)" "" "and publishes nothing"
status 66 "reduce.sh without a plan" "$EX/reduce.sh" . none

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
# --- a plan of nothing, on an engine that asks all the same
mkdir none
: >none/plan
status 0 "chunks.sh of an empty plan" "$EX/chunks.sh" none none/parts
status 0 "and there is nothing to reduce" "$EX/reduce.sh" none nowhere
finish
