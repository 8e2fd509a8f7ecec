#!/bin/sh
# demo.sh: what `make demo` shows: ten real deltas are merged and published,
# a second run finds nothing to do, and a corrupt delta among them makes it
# fail, named, with nothing changed.  It exits nonzero if any of this does
# not hold.  Works in a directory of its own and leaves nothing.
# SPDX-License-Identifier: ISC
set -u
LC_ALL=C TZ=UTC
export LC_ALL TZ
unset DSTAGE DRUN_ID DCKPT_DB DTRACE
SRC=$(cd "$(dirname "$0")/.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd) || exit 66
PATH=$BIN:$PATH
W=$(mktemp -d "${TMPDIR:-/tmp}/intact-demo.XXXXXX") || exit 74
trap 'rm -rf "$W"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$W/tmp"
TMPDIR=$W/tmp DCACHE=$W/cache
export PATH TMPDIR DCACHE
cd "$W" || exit 74

say() { printf '\n# %s\n' "$*"; }
fail() {
	echo "demo: FAILED: $*" >&2
	exit 1
}
# show COMMAND: print it, run it, keep its status in $status
show() {
	printf '$ %s\n' "$1"
	sh -c "$1"
	status=$?
	[ "$status" = 0 ] || echo "(exit status $status)"
}
# the pipeline; of what it says, only what was published is shown
LINE='dfetch -B lines deltas/ | dcheck | dmerge | dpublish --json lines'
pipeline() {
	printf "$ drun '%s'\n" "$LINE"
	drun "$LINE" >said 2>err
	status=$?
	cat err
	grep '"t":"published"' said
	[ "$status" = 0 ] || echo "(exit status $status)"
}
# want GOT WANT WHAT
want() { [ "$1" = "$2" ] || fail "$3: want $2, got $1"; }

# A checkout gives every file one time; these were made a minute apart,
# and later words win.
mkdir deltas
i=10
for d in "$SRC"/tests/data/demo/delta-*; do
	cp -R "$d" deltas/ || exit 74
	find "deltas/${d##*/}" -exec touch -d "2026-11-20 12:$i:00" {} +
	i=$((i + 1))
done

say "ten deltas, as ChromaDB left them; nothing is published yet"
show 'ls deltas; ls lines 2>&1 | tail -1'

say "check, merge and publish them, all or nothing"
pipeline
want "$status" 0 "status of the first run"

say "what readers see"
show 'cat lines/latest-pointer.txt; echo; ls lines lines/commits'
one=$(cat lines/latest-pointer.txt)
DB=lines/timestamped/$one/store.sqlite3
show "sqlite3 -readonly $DB 'SELECT collection, count(*) AS records,
    sum(length(embedding)) AS bytes_of_vectors,
    count(DISTINCT source) AS deltas FROM records'"
want "$(sqlite3 -readonly "$DB" 'SELECT count(*) FROM records')" 296 \
    "records (300 ids, 4 of them deleted by delta-07)"
show "sqlite3 -readonly $DB \"SELECT id, document,
    json_extract(metadata, '\\\$.rev') AS rev, hex(substr(embedding, 1, 8))
    FROM records WHERE id LIKE 'IMAGE#000#LINE#0000%' LIMIT 8\""
want "$(sqlite3 -readonly "$DB" "SELECT count(*) FROM records
    WHERE json_extract(metadata, '\$.rev') = 1")" 6 \
    "records that delta-05 replaced"
want "$(sqlite3 -readonly "$DB" 'SELECT count(*) FROM sources')" 10 "sources"

say "again: there is nothing to do"
pipeline
want "$status" 0 "status of the second run"
grep -q '"unchanged": *true' said || fail "second run: no unchanged:true"
want "$(cat lines/latest-pointer.txt)" "$one" "pointer after the second run"
want "$(ls lines/commits | wc -l)" 1 "commits after the second run"

say "a delta that was cut off on its way is added"
show "cp -R $SRC/tests/data/samples/bad_trunc50/db deltas/delta-11"
pipeline
want "$status" 65 "status with a corrupt delta"
grep -q 'delta-11' err || fail "the corrupt delta is not named"
show 'cat lines/latest-pointer.txt; echo; ls lines/commits; ls tmp'
want "$(cat lines/latest-pointer.txt)" "$one" "pointer after the refusal"
want "$(ls lines/commits | wc -l)" 1 "commits after the refusal"
want "$(ls tmp)" "" "staging after the refusal"

say "taken out, and one new delta put in: published, onto what was there"
show "rm -r deltas/delta-11; cp -R $SRC/tests/data/samples/purged_hnsw_cosine/db \
deltas/delta-12"
pipeline
want "$status" 0 "status of the last run"
two=$(cat lines/latest-pointer.txt)
[ "$two" != "$one" ] || fail "the pointer did not move"
show "sqlite3 -readonly lines/timestamped/$two/store.sqlite3 \
'SELECT count(*) FROM records'"
show 'dpublish log lines'
want "$status" 0 "status of dpublish log"

say "as a ChromaDB directory, its index built: a server opens it at once"
LINE='dfetch -b lines | dcheck | dmerge -F chroma | dpublish --json lines'
pipeline
want "$status" 0 "status of the run that writes ChromaDB's form"
three=$(cat lines/latest-pointer.txt)
show "ls lines/timestamped/$three lines/timestamped/$three/*/"
content() { sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
    "lines/timestamped/$1/manifest.json"; }
show "sqlite3 -readonly lines/timestamped/$three/chroma.sqlite3 \
    'SELECT name, count(*) AS records FROM collections c
    JOIN segments s ON s.collection = c.id
    JOIN embeddings e ON e.segment_id = s.id GROUP BY name'"
want "$(content "$three")" "$(content "$two")" "content digest in both forms"
echo "content digest of both: $(content "$two")"

printf '\ndemo: all as it should be\n'
