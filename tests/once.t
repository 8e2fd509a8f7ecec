#!/bin/sh
# once.t: a delta of one collection is judged while it is read, and again, by
# the longer way, where anything is odd.  A second, empty collection takes the
# longer way at once, and changes nothing of what is there: so each of these
# deltas, small and over 4 MiB, sound and damaged, must be called the same,
# with and without it: verdict, reason, counts and content digest.
. "$(dirname "$0")/lib.sh"
plan 4
unset DCACHE
mkdir one two
"$GEN/gendelta" --out big --count 1 --records 1000 --dim 1024
"$GEN/gendelta" --out small --count 1 --records 200 --dim 16
is "$(($(wc -c <big/delta-0000/chroma.sqlite3) >> 22 > 0)) $(($(wc -c \
    <small/delta-0000/chroma.sqlite3) >> 22))" "1 0" "one is over 4 MiB"
cat >second.sql <<'X'
CREATE TEMP TABLE c AS SELECT * FROM collections;
UPDATE c SET id = '11111111-1111-4111-8111-111111111111', name = 'empty',
    dimension = NULL;
INSERT INTO collections SELECT * FROM c;
CREATE TEMP TABLE s AS SELECT * FROM segments;
UPDATE s SET collection = '11111111-1111-4111-8111-111111111111',
    id = 'ffffffff' || substr(id, 9);
INSERT INTO segments SELECT * FROM s;
X
# one damage a line
cat >damage.sql <<'X'
SELECT 1
INSERT INTO embedding_metadata(id, key, int_value) VALUES(99999, 'k', 1)
INSERT INTO embedding_metadata(id, key, int_value) VALUES(5, 'zz', 1)
INSERT INTO embedding_metadata(id, key, int_value) VALUES(5, 'zz', 'word')
UPDATE embedding_metadata SET int_value = 3 WHERE id = 7 AND key = 'is_valid'
UPDATE embedding_metadata SET string_value = CAST(x'ff' AS TEXT) WHERE id = 9 AND key = 'image_id'
UPDATE embedding_metadata SET id = id + 100000 WHERE id = 9
DELETE FROM embedding_metadata WHERE id = 4 AND key = 'line_id'
DELETE FROM embedding_metadata WHERE id = 4 AND key != 'chroma:document'
UPDATE embeddings_queue SET vector = zeroblob(length(vector) - 4) || x'0000c07f' WHERE seq_id = 10
UPDATE embeddings_queue SET metadata = '{' WHERE seq_id = 10
UPDATE embeddings_queue SET topic = 'x' WHERE seq_id = 10
UPDATE embeddings_queue SET topic = CAST(topic AS BLOB) WHERE seq_id = 10
UPDATE embeddings_queue SET operation = 9 WHERE seq_id = 10
UPDATE embeddings_queue SET operation = 3 WHERE seq_id = 10
UPDATE embeddings_queue SET encoding = 'X' WHERE seq_id = 10
UPDATE embeddings_queue SET created_at = 'x' WHERE seq_id = 10
DELETE FROM embeddings_queue WHERE seq_id = 10
DELETE FROM embeddings WHERE id = 10
DELETE FROM embeddings WHERE id = 10; DELETE FROM embedding_metadata WHERE id = 10
INSERT INTO embeddings_queue SELECT (SELECT max(seq_id) + 1 FROM embeddings_queue), created_at, 1, topic, 'nobody', NULL, NULL, NULL FROM embeddings_queue WHERE seq_id = 1; UPDATE max_seq_id SET seq_id = seq_id + 1
INSERT INTO embeddings_queue SELECT (SELECT max(seq_id) + 1 FROM embeddings_queue), created_at, 1, topic, 'nobody', vector, 'X', NULL FROM embeddings_queue WHERE seq_id = 1; UPDATE max_seq_id SET seq_id = seq_id + 1
INSERT INTO embeddings_queue SELECT (SELECT max(seq_id) + 1 FROM embeddings_queue), created_at, 2, topic, id, vector, encoding, metadata FROM embeddings_queue WHERE seq_id = 1; UPDATE max_seq_id SET seq_id = seq_id + 1
INSERT INTO embeddings_queue SELECT (SELECT max(seq_id) + 1 FROM embeddings_queue), created_at, 2, topic, id, zeroblob(length(vector) - 4) || x'0000807f', encoding, metadata FROM embeddings_queue WHERE seq_id = 1; UPDATE max_seq_id SET seq_id = seq_id + 1
INSERT INTO embeddings_queue SELECT (SELECT max(seq_id) FROM embeddings_queue) + seq_id, created_at, 2, topic, id, vector, encoding, metadata FROM embeddings_queue WHERE seq_id <= 80; UPDATE max_seq_id SET seq_id = seq_id + 80
UPDATE embeddings_queue SET id = CAST(x'ff41' AS TEXT) WHERE seq_id = 3
UPDATE embeddings SET embedding_id = CAST(x'ff41' AS TEXT) WHERE id = 3; UPDATE embeddings_queue SET id = CAST(x'ff41' AS TEXT) WHERE seq_id = 3
UPDATE embedding_metadata SET rowid = rowid + 1000000 WHERE id = 20 AND key = 'line_id'
CREATE TABLE q2 AS SELECT * FROM embeddings_queue; DROP TABLE embeddings_queue; ALTER TABLE q2 RENAME TO embeddings_queue; INSERT INTO embeddings_queue SELECT seq_id, created_at, operation, topic, id, zeroblob(4), encoding, metadata FROM embeddings_queue WHERE seq_id = 5
CREATE TABLE q2 AS SELECT * FROM embeddings; DROP TABLE embeddings; ALTER TABLE q2 RENAME TO embeddings; UPDATE embeddings SET id = 5 WHERE id = 6
CREATE TABLE q2 AS SELECT * FROM embedding_metadata; DROP TABLE embedding_metadata; ALTER TABLE q2 RENAME TO embedding_metadata; INSERT INTO embedding_metadata VALUES('5', 'qq', 's', NULL, NULL, NULL)
CREATE TABLE q2 AS SELECT rowid + 7 AS rowid_, * FROM embedding_metadata; ALTER TABLE q2 RENAME COLUMN rowid_ TO rowid; DROP TABLE embedding_metadata; ALTER TABLE q2 RENAME TO embedding_metadata
UPDATE embedding_fulltext_search_content SET c0 = 'x' WHERE id = 4
UPDATE embeddings SET id = 5000000000 WHERE id = 3; UPDATE embedding_metadata SET id = 5000000000 WHERE id = 3; UPDATE embedding_fulltext_search_content SET id = 5000000000 WHERE id = 3
X
# said: of each delta what it was called, without where it lies
said() {
	jq -c 'select(.t == "delta" or .t == "refused") |
	    [.verdict, .reason, .records, .tombstones, .content_digest]' "$1"
}
for k in big small; do
	tried=0 odd=0 fine=0
	while read -r sql; do
		tried=$((tried + 1))
		rm -rf one/x two/x
		cp -r $k/delta-0000 one/x
		sqlite3 one/x/chroma.sqlite3 "$sql" >/dev/null ||
		    odd=$((odd + 1))
		cp -r one/x two/x
		sqlite3 two/x/chroma.sqlite3 <second.sql
		dfetch one/x | dcheck -k --no-cache --json >said.1 2>err
		dfetch two/x | dcheck -k --no-cache --json >said.2 2>err
		said said.1 >got.1
		said said.2 >got.2
		grep -q '^\["ok"' got.1 && fine=$((fine + 1))
		if [ ! -s got.1 ] || ! cmp -s got.1 got.2; then
			odd=$((odd + 1))
			echo "# $sql"
			sed 's/^/#   /' got.1 got.2
		fi
	done <damage.sql
	echo "# $k: $tried deltas, $fine of them sound"
	is $odd 0 "$k: judged while it is read, or by the longer way: the same"
	[ $k != small ] || is "$((fine > 5)) $((tried - fine > 15))" "1 1" \
	    "of both kinds there are enough"
done
finish
