#!/bin/sh
# attach.sh DIR...: the SQL with which the sqlite3 shell does what dmerge
# does with these ChromaDB directories: the same rows, the same keys, the
# same page size, as fast as it can be told to be.  It does less: it
# checks nothing, digests nothing, neither sorts nor reopens.
# SPDX-License-Identifier: ISC
set -eu
cat <<'SQL'
PRAGMA page_size=32768;
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA cache_size=-65536;
CREATE TABLE record(n INTEGER PRIMARY KEY, c INTEGER NOT NULL,
  id TEXT NOT NULL, seq INTEGER NOT NULL, s INTEGER NOT NULL,
  metadata TEXT, document TEXT, embedding BLOB);
CREATE UNIQUE INDEX record_id ON record(c, id);
SQL
i=0
for d; do
	i=$((i + 1))
	cat <<SQL
ATTACH '$d/chroma.sqlite3' AS d;
BEGIN;
INSERT INTO record(c, id, seq, s, metadata, document, embedding)
SELECT 1, e.embedding_id, $i, $i,
  (SELECT json_group_object(m.key, coalesce(m.string_value, m.int_value,
      m.float_value, m.bool_value)) FROM d.embedding_metadata m
    WHERE m.id = e.id AND m.key <> 'chroma:document'),
  (SELECT m.string_value FROM d.embedding_metadata m
    WHERE m.id = e.id AND m.key = 'chroma:document'),
  q.vector
FROM d.embeddings_queue q CROSS JOIN d.segments g CROSS JOIN d.embeddings e
WHERE g.scope = 'METADATA' AND e.segment_id = g.id
  AND e.embedding_id = q.id AND q.vector IS NOT NULL
ON CONFLICT(c, id) DO UPDATE SET seq = excluded.seq, s = excluded.s,
  metadata = excluded.metadata, document = excluded.document,
  embedding = excluded.embedding WHERE excluded.seq > seq;
COMMIT;
DETACH d;
SQL
done
