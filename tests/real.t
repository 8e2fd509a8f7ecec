#!/bin/sh
# real.t: real ChromaDB servers on loopback open what dmerge wrote, and
# dmerge merges what they wrote: a part of what `make check-chroma` does in
# full (MORE=1: twice as much of it).  The servers come from npm; without it,
# or them, one skip says so.
. "$(dirname "$0")/lib.sh"
R=$SRC/tests/real
B=$(cd "$BIN/.." && pwd) VERSIONS=${VERSIONS:-1.1.1 1.3.4} JOBS=2
[ -n "${CHROMA:-}" ] || if [ -d "$SRC/build/chroma" ]; then
	CHROMA=$SRC/build/chroma
else
	CHROMA=$B/chroma
fi
export B VERSIONS JOBS CHROMA

# what the servers are, or why there are none
why=$(sh -c '. "$0"; echo "have:$have"' "$R/lib/servers.sh" 2>&1)
case $why in
*have:*) ;;
*)
	plan 1
	skip 1 "$(echo "$why" | sed -n 's/^SKIP //p' | head -n 1)"
	finish
	;;
esac
plan 4
if [ "${why##*have:}" = " $VERSIONS" ]; then
	ok "servers $VERSIONS" true
else
	skip 1 "$(echo "$why" | sed -n 's/^SKIP //p' | tail -n 1)"
fi

# those that are here are had: what is skipped from now on is a failure
VERSIONS=${why##*have:}
# run 'what' SCRIPT NAME=VALUE...: a script that must succeed
run() {
	what=$1 script=$2
	shift 2
	ok "$what" env SKIP=fail "$@" "$R/$script.sh"
}
run "what servers wrote, merged, is what they show" chroma-read \
    ROUNDS="$(few 3 8)"
run "samples merged: servers open them, write on, and give them back" \
    chroma-write WHAT=samples SAMPLES="py1021_purged metadata_types \
updates_deletes$(few '' ' clean_small purged_hnsw_cosine two_collections')"
run "random histories, published, and opened by servers" \
    chroma-write WHAT=histories ROUNDS="$(few 2 6)"
finish
