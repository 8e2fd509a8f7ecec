#!/bin/sh
# fuzz.t: every parser of strangers' bytes on the seeds of fuzzing and on
# what fuzzing ever found (tests/data/fuzz); make fuzz goes on from there.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
TARGETS='stream record json plan xml s3list davlist manifest journal commit
sign cred pickle hnsw archive batch join chroma sql store ledger'
plan 24
ok "seeds are made of the tree" env BIN="$BIN" "$SRC/tests/fuzz/seeds.sh" \
    "$T/seeds"
cd "$SRC" || exit 99
for t in $TARGETS; do
	ok "$t" "$GEN/fuzz" "$t" "$T/seeds/$t"/*
done
is "$(cd "$T/seeds" && echo *)" \
    "$(echo $TARGETS | tr ' ' '\n' | sort | tr '\n' ' ' | sed 's/ $//')" \
    "nothing is left out"
status 64 "a target that is none" "$GEN/fuzz" nothing
finish
