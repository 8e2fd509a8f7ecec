#!/bin/sh
# chroma.t: what dmerge -F chroma writes, without a server: every sample
# there and back, one content in every form, grouping and order, onto a base
# and anew.  With real servers: tests/real.t.
. "$(dirname "$0")/lib.sh"
GEN=${GEN:-$SRC/build/gen}
S=$DATA/samples
VALID='clean_small dim1536 dim384 hnsw_plus_queue killed_torn_hnsw
legacy_py0424_synthetic legacy_py063_synthetic metadata_types
purged_hnsw_cosine purged_hnsw_l2 py1021_clean py1021_purged py135_clean
py140_purged server_leftovers two_collections updates_deletes'
set -- $VALID
plan $((4 * $# + 55))

digest() {
	sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p' \
	    "$1/manifest.json" | grep . || echo "none in $1"
}
# every file's bytes
bytes() {
	(cd "$1" && find . -type f | sort | xargs cksum) || echo "no $1"
}
# merge FORMAT OUT INPUT...
merge() {
	form=$1 out=$2
	shift 2
	rm -rf "$out"
	dfetch "$@" | dcheck | dmerge -F "$form" -o "$out" --json 2>err &&
	    [ -d "$out" ] || { cat err >&2; return 1; }
}
# of what is not there they say where it was looked for, so that no two of
# them agree
dump() {
	{ sqlite3 -readonly "$1/store.sqlite3" '.dump record source' ||
	    echo "$1"; } | cksum
}
index() { { cat "$1"/*/*.bin "$1"/*/*.pickle || echo "$1"; } | cksum; }
# publish TARGET DMERGE-OPTIONS INPUT...
publish() {
	t=$1 o=$2
	shift 2
	drun "dfetch -B $t $* | dcheck | dmerge $o | dpublish $t"
}
current() { echo "$1/timestamped/$(cat "$1/latest-pointer.txt")"; }
db() { sqlite3 -readonly "$1/chroma.sqlite3" "$2"; }
# the directory as a plain delta
plain() {
	rm -rf "$2"
	cp -R "$1" "$2"
	rm "$2/manifest.json" "$2/ledger.sqlite3"
}
back() { merge sqlite res "$1" && "$SRC/tests/expected.pl" \
    res/store.sqlite3 "$S/$2/expected.json"; }

# --- there and back
for s in $VALID; do
	merge sqlite q "$S/$s/db" >/dev/null 2>&1
	ok "$s: is written" merge chroma c "$S/$s/db"
	is "$(digest c)" "$(digest q)" "$s: one content digest"
	merge sqlite res c >"$T/o" 2>&1
	# but for the configuration of old servers, which has a new form now
	is "$(dump res)" "$(dump q)" "$s: back, to the bit"
	plain c p
	ok "$s: without the ledger: ids, floats, documents, metadata" \
	    back p "$s"
done

# --- what lies there
"$GEN/gendelta" --out d --count 6 --records 300 --dim 24 --overlap 100 \
    --seed 3 --clusters 9
"$GEN/gendelta" --out x --count 1 --records 50 --dim 24 --start 1200 \
    --seed 4 --time 1770000000 --delete 'IMAGE#0#LINE#00003' \
    --delete 'IMAGE#0#LINE#00444' --clusters 9
merge sqlite q d x >/dev/null 2>&1
status 0 "six deltas and deletions" merge chroma c d x
is "$(digest c)" "$(digest q)" "one content digest"
records=$(sqlite3 -readonly q/store.sqlite3 'SELECT count(*) FROM records')
is "$(db c 'SELECT count(*) FROM embeddings')" "$records" "records"
is "$(db c 'SELECT count(*) FROM embeddings_queue, max_seq_id')" 0 \
    "the queue is empty, and nobody waits for it"
is "$(db c 'PRAGMA integrity_check')" ok "SQLite finds it whole"
is "$(db c "SELECT count(*) FROM embedding_fulltext_search")" \
    "$(db c "SELECT count(*) FROM embedding_metadata
    WHERE key = 'chroma:document'")" "each document is in the full text"
seg=$(db c "SELECT id FROM segments WHERE scope = 'VECTOR'")
is "$(ls c)" "$(printf '%s\n' "$seg" chroma.sqlite3 ledger.sqlite3 \
    manifest.json | sort)" "its files"
is "$(ls "c/$seg" | tr '\n' ' ')" \
    "data_level0.bin header.bin index_metadata.pickle length.bin link_lists.bin " \
    "an index"
is "$(ls -A "$TMPDIR"; ls -A . | grep '^\.intact')" "" "nothing else is left"

# --- the same bytes
want=$(bytes c)
for k in 1 2 4; do
	rm -rf t
	dfetch d x | dcheck | dmerge -F chroma -o t --threads $k >/dev/null 2>&1
	is "$(bytes t)" "$want" "the same bytes with $k threads"
done
rm -rf t
merge chroma r x $(ls -d d/* | sort -r) >/dev/null 2>&1
is "$(bytes r)" "$want" "in another order"
merge chroma c1 d/delta-0000 d/delta-0003 x >/dev/null 2>&1
merge sqlite c2 d/delta-0001 d/delta-0002 >/dev/null 2>&1
merge chroma c3 d/delta-0004 d/delta-0005 >/dev/null 2>&1
merge chroma r c3 c1 c2 >/dev/null 2>&1
is "$(digest r)" "$(digest q)" "in parts of both forms"
is "$(bytes r | grep -v manifest)" "$(bytes c | grep -v manifest)" \
    "to the byte"
merge sqlite r c3 c1 c2 >/dev/null 2>&1
is "$(cksum <r/store.sqlite3)" "$(cksum <q/store.sqlite3)" \
    "and into a sqlite store"

# --- onto a base
status 0 "a first version" publish t '-F chroma' d/delta-0000 d/delta-0001 \
    d/delta-0002
status 0 "a second, in the form of the first" publish t '' d/delta-0003 \
    d/delta-0004
v2=$(current t)
is "$(ls "$v2" | grep -c chroma.sqlite3)" 1 "which is ChromaDB's"
merge sqlite q2 d/delta-000[0-4] >/dev/null 2>&1
is "$(digest "$v2")" "$(digest q2)" "one content digest"
before=$(bytes "$v2")
status 0 "a third, with deletions" publish t '' d/delta-0005 x
is "$(digest "$(current t)")" "$(digest q)" "one content digest"
is "$(bytes "$v2")" "$before" "the second is as it was"
is "$(db "$(current t)" 'PRAGMA integrity_check')" ok \
    "SQLite finds it whole"
status 0 "it is checked whole" sh -c "dfetch '$(current t)' | dcheck -k"
plain "$(current t)" p
status 0 "without its ledger too" merge sqlite res p
is "$(sqlite3 -readonly res/store.sqlite3 \
    'SELECT id, document, metadata FROM records ORDER BY id' | cksum)" \
    "$(sqlite3 -readonly q/store.sqlite3 \
    'SELECT id, document, metadata FROM records ORDER BY id' | cksum)" \
    "and holds the same"
status 0 "an old delta comes after the deletion" publish t '' \
    "$(cp -Rp d/delta-0000 late; echo late)"
is "$(db "$(current t)" "SELECT count(*) FROM embeddings
    WHERE embedding_id = 'IMAGE#0#LINE#00003'")" 0 "it stays deleted"
# the same again, onto the same base
b1=$(bytes "$(current t)" | grep -v manifest)
rm -rf t2
mkdir t2
publish t2 '-F chroma' d/delta-0000 d/delta-0001 d/delta-0002 >/dev/null 2>&1
publish t2 '--threads 1' d/delta-0003 d/delta-0004 >/dev/null 2>&1
publish t2 '--threads 3' d/delta-0005 x >/dev/null 2>&1
publish t2 '' late >/dev/null 2>&1
is "$(bytes "$(current t2)" | grep -v manifest)" "$b1" \
    "done again it is the same bytes"
status 0 "made anew" publish t '--rebuild' "$(cp -Rp x again; echo again)"
is "$(index "$(current t)")" "$(index c)" \
    "its index is what one merge of all writes"
status 0 "as a sqlite store" publish t '-F sqlite'
is "$(digest "$(current t)")" "$(digest q)" "one content digest"
status 0 "and ChromaDB's again" publish t '-F chroma'
is "$(digest "$(current t)")" "$(digest q)" "one content digest"
status 0 "nothing new" publish t ''
like out 'unchanged' "is said"

# --- updates until most of the index is dead
"$GEN/gendelta" --out u0 --count 1 --records 400 --dim 24 --seed 10
cp -R u0 u
status 0 "records" publish up '-F chroma' u
for i in 1 2 3 4; do
	"$GEN/gendelta" --out u$i --count 1 --records 400 --dim 24 \
	    --seed 1$i --time $((1780000000 + i))
	publish up '' u$i >/dev/null 2>"$T/err" || sed 's/^/# /' "$T/err"
done
merge sqlite q u u1 u2 u3 u4 >/dev/null 2>&1
is "$(digest "$(current up)")" "$(digest q)" "updated four times over"
seg=$(db "$(current up)" "SELECT id FROM segments WHERE scope = 'VECTOR'")
is "$(($(wc -c <"$(current up)/$seg/length.bin") / 4 < 600))" 1 \
    "its index was compacted"

# --- a server wrote to it
cp -R c s
sqlite3 s/chroma.sqlite3 'INSERT INTO acquire_write(lock_status) VALUES (1)'
status 65 "opened by a server since" sh -c 'dfetch s | dcheck'
like err 's: .*manifest' "its verdict"
like err 'remove manifest.json and ledger.sqlite3' "says what to do"
rm s/manifest.json
status 65 "a ledger without manifest" sh -c 'dfetch s | dcheck'
rm s/ledger.sqlite3
status 0 "a plain delta" merge sqlite res s

# --- configurations
# configured JSON: a delta of this configuration, made a directory
configured() {
	rm -rf conf
	"$GEN/gendelta" --out conf --records 20 --dim 4 --seed 1
	sqlite3 conf/chroma.sqlite3 "UPDATE collections SET
	    schema_str = NULL, config_json_str = '$1'"
	merge chroma c "$PWD/conf" >/dev/null 2>&1
}
fn='{"type":"known","name":"openai","config":{"model_name":"m"}}'
configured '{"vector_index":{"spann":{"space":"l2"}},
    "embedding_function":'"$fn"'}'
is "$(db c 'SELECT config_json_str FROM collections' |
    grep -c '"embedding_function":{"type":"known"')" 1 \
    "a configuration that is made anew keeps the embedding function"
for p in max_neighbors:1 max_neighbors:5000 ef_construction:100000; do
	configured '{"vector_index":{"hnsw":{"'"${p%:*}"'":'"${p#*:}"'}}}'
	like err "collection receipt_lines: .*${p%:*} ${p#*:}" \
	    "$p: refused, and named"
done

# --- numbers
"$GEN/gendelta" --out zero --records 3 --dim 4 --seed 1
sqlite3 zero/chroma.sqlite3 "UPDATE embeddings_queue SET metadata =
    '{\"a\":-0.0,\"b\":5e-324,\"c\":-9223372036854775808,\"d\":[-0.0]}';
    DELETE FROM max_seq_id; DELETE FROM embeddings;
    DELETE FROM embedding_metadata; DELETE FROM embedding_fulltext_search"
status 0 "a queue that was not applied" sh -c "rm -rf c && dfetch zero |
    dcheck --recover-hot | dmerge -F chroma -o c"
is "$(db c "SELECT count(*) FROM embedding_metadata")" 9 "its metadata"
status 0 "the sign of a zero is nobody's" sh -c 'dfetch c | dcheck'

# --- what ChromaDB has no place for
status 64 "another format" dmerge -F parquet
status 64 "no thread" dmerge -F chroma --threads 0
finish
