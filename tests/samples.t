#!/bin/sh
# samples.t: every directory in tests/data/samples, through the whole
# pipeline: what is valid is merged into exactly what the real server said
# it held, what is bad is refused for the reason its README gives.
. "$(dirname "$0")/lib.sh"
S=$DATA/samples
VALID='clean_small dim1536 dim384 hnsw_plus_queue killed_torn_hnsw
legacy_py0424_synthetic legacy_py063_synthetic metadata_types
purged_hnsw_cosine purged_hnsw_l2 py1021_clean py1021_purged py135_clean
py140_purged server_after_ours server_after_ours_persisted server_leftovers
two_collections updates_deletes'
HOT='killed_hot_journal_real killed_hot_journal_torn_main'
EMPTY='empty_collection no_collection'
# sample, and what the verdict must be, code or reason
BAD='bad_collection_row_deleted (collection|segment)
bad_created_at queue.*created_at
bad_database_row_deleted collection
bad_fts_emptied metadata.*(full-text|FTS|fulltext)
bad_header_count_low index
bad_hnsw_dir_missing (index|vector)
bad_hnsw_wrong_dim index
bad_hot_journal_lost (corrupt|torn)
bad_invalid_utf8_id utf8
bad_killed_pickle_size0 index.*(pickle|index_metadata)
bad_length_size0 index.*length
bad_level0_trunc index.*(level0|data_level0)
bad_link_lists_size0 index.*link_lists
bad_magic (notadb|format)
bad_max_seq_too_high seq
bad_metadata_emptied metadata
bad_migration_hash schema.*(migration|md5|hash)
bad_pickle_missing (index|vector)
bad_pickle_trunc index.*(pickle|index_metadata)
bad_queue_emptied_max_kept seq
bad_queue_encoding queue.*(encoding|FLOAT64)
bad_queue_vector_len (vector|queue)
bad_records_lost (vector|count)
bad_size0 size
bad_trunc50 torn
bad_vector_segment_missing segment
bad_vectors_nowhere vector
bad_xml_error_body (notadb|format)
bad_zeroed_embeddings_leaf corrupt
bad_zeroed_fts_leaf (corrupt|metadata)
bad_zeroed_queue_leaf corrupt'
n_words() { echo "$1" | wc -w; }
plan $((2 * $(n_words "$VALID") + 3 * $(n_words "$HOT") + \
    2 * $(n_words "$EMPTY") + 2 * $(echo "$BAD" | wc -l) + 5))

# merge SAMPLE DCHECK-OPTIONS...: one input through to the directory out
merge() {
	s=$1
	shift
	rm -rf res
	drun "dfetch $S/$s/db | dcheck $* | dmerge -F sqlite -o res" >"$T/so"
}
equal() { "$SRC/tests/expected.pl" res/store.sqlite3 "$S/$1/expected.json"; }

for s in $VALID; do
	status 0 "$s is merged" merge "$s"
	ok "$s: ids, float32 bits, documents, metadata" equal "$s"
done
for s in $HOT; do
	status 65 "$s is refused" merge "$s"
	like err "$s.* hot" "$s: its verdict is hot"
	ok "$s with --recover-hot is what the server held" \
	    sh -c 'exit $(($1))' - "$(
		merge "$s" --recover-hot 2>"$T/err" && equal "$s" >"$T/diff" 2>&1
		echo $?)"
	[ ! -s "$T/diff" ] || sed 's/^/# /' "$T/diff"
done
for s in $EMPTY; do
	status 65 "$s is refused" merge "$s"
	status 0 "$s with --allow-empty is merged" merge "$s" --allow-empty
done
echo "$BAD" >"$T/bad"
while read -r s why; do
	status 65 "$s is refused" merge "$s"
	like err "$s.*$why" "$s: for $why"
done <"$T/bad"

# an UPDATE of what was deleted takes nothing back
dfetch "$S/server_leftovers/db" | dcheck --json >"$T/so"
like "$T/so" '"tombstones":3[,}]' "3 deletions, one with an UPDATE behind it"

# one flipped byte: only a checksum finds it
status 0 "bad_vector_bitflip alone looks like any other" \
    merge bad_vector_bitflip
good=$(dfetch -l --sha256 "$S/clean_small/db" | sed 's/.*sha256=\([0-9a-f]*\).*/\1/')
printf '%s\tsha256=%s\n' "$S/bad_vector_bitflip/db" "$good" >plan
rm -rf res
status 65 "with its checksum in the plan it is refused" \
    drun 'dfetch -f plan | dcheck | dmerge -o res'
like err 'bad_vector_bitflip.*(digest|sha256|SHA-256)' "by name, for its digest"
is "$(ls -d res 2>/dev/null)" "" "and nothing is left of it"
finish
