-- hostile.sql: what is done to a whole delta of ChromaDB, a block each:
-- "== NAME SAID", where SAID is a pattern of verdicts ("ok": harmless), and
-- FULL behind it for those that are large.
== trigger_insert schema
CREATE TRIGGER embeddings_t AFTER INSERT ON embedding_metadata BEGIN DELETE FROM embeddings; END;
== trigger_instead schema
ALTER TABLE embeddings RENAME TO e2;
CREATE VIEW embeddings AS SELECT * FROM e2;
CREATE TRIGGER v INSTEAD OF INSERT ON embeddings BEGIN DELETE FROM e2; END;
== view_endless schema
ALTER TABLE embeddings RENAME TO e2;
CREATE VIEW embeddings AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id, 's' segment_id, 'x' || id embedding_id, id seq_id, '2026-01-01' created_at FROM c;
== view_migrations schema
ALTER TABLE migrations RENAME TO m2;
CREATE VIEW migrations AS SELECT m2.* FROM m2, (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c);
== view_config schema
ALTER TABLE embeddings_queue_config RENAME TO q2;
CREATE VIEW embeddings_queue_config AS SELECT 1 id, hex(zeroblob(400000000)) config_json_str;
== view_tenants schema
ALTER TABLE tenants RENAME TO t2;
CREATE VIEW tenants AS SELECT load_extension('/tmp/x.so') id;
== view_more schema
CREATE VIEW more AS SELECT writefile('escaped', 'x') FROM sqlite_schema;
== vtab_dbstat schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE max_seq_id USING dbstat', rootpage = 0 WHERE name = 'max_seq_id';
== vtab_rtree schema
CREATE VIRTUAL TABLE r USING rtree(i, a, b);
== vtab_fts3 schema
CREATE VIRTUAL TABLE f USING fts3(x);
== vtab_unknown schema
PRAGMA writable_schema=ON;
INSERT INTO sqlite_schema VALUES ('table', 'csvs', 'csvs', 0, 'CREATE VIRTUAL TABLE csvs USING csv(filename=''/etc/passwd'')');
== vtab_for_queue schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE embeddings_queue USING fts5(seq_id, created_at, operation, topic, id, vector, encoding, metadata)', rootpage = 0 WHERE name = 'embeddings_queue';
== fts5_content schema
DROP TABLE embedding_fulltext_search;
CREATE VIRTUAL TABLE embedding_fulltext_search USING fts5(string_value, tokenize='trigram', content='sqlite_schema', content_rowid='rootpage');
== fts5_contentless schema|metadata
DROP TABLE embedding_fulltext_search;
CREATE VIRTUAL TABLE embedding_fulltext_search USING fts5(string_value, tokenize='trigram', content='');
== fts5_view_content schema|metadata
DROP TABLE embedding_fulltext_search;
CREATE VIEW v AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i, hex(randomblob(1000)) string_value FROM c;
CREATE VIRTUAL TABLE embedding_fulltext_search USING fts5(string_value, tokenize='trigram', content='v', content_rowid='i');
== fts5_second schema
CREATE VIRTUAL TABLE other USING fts5(x, content='embeddings');
== generated_virtual schema|corrupt
ALTER TABLE embeddings ADD COLUMN g TEXT AS (hex(zeroblob(100000000)));
== generated_seq schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE max_seq_id(segment_id TEXT PRIMARY KEY, seq_id INTEGER AS (length(hex(zeroblob(400000000)))))' WHERE name = 'max_seq_id';
== check_heavy schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'segment_id TEXT NOT NULL', 'segment_id TEXT NOT NULL CHECK (length(hex(randomblob(30000000))) + length(hex(randomblob(30000000))) + length(hex(randomblob(30000000))) > 0)') WHERE name = 'embeddings';
== check_like schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'segment_id TEXT NOT NULL', 'segment_id TEXT NOT NULL CHECK (hex(zeroblob(10000000)) NOT LIKE ''%0%0%0%0%0%0%0%1%'')') WHERE name = 'embeddings';
== default_heavy schema|metadata|corrupt|ok
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'bool_value INTEGER', 'bool_value INTEGER, more TEXT DEFAULT (hex(randomblob(100000000)))') WHERE name = 'embedding_metadata';
== index_heavy schema|ok|corrupt|timeout
CREATE INDEX heavy ON embeddings(length(hex(zeroblob(1000000 + id))));
== index_partial schema|ok
CREATE INDEX partial ON embeddings(id) WHERE hex(zeroblob(100000)) LIKE '%1%';
== collation schema|ok|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'embedding_id TEXT NOT NULL', 'embedding_id TEXT NOT NULL COLLATE nonesuch') WHERE name = 'embeddings';
== without_rowid schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE (segment_id, embedding_id)
)', 'UNIQUE (segment_id, embedding_id)
) WITHOUT ROWID') WHERE name = 'embeddings';
== strict schema|ok
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'max_seq_id';
== type_affinity vector|queue|count|seq|schema
UPDATE embeddings SET seq_id = 'many';
== schema_sql schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'DROP TABLE embeddings' WHERE name = 'max_seq_id';
== schema_depth schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE max_seq_id(segment_id TEXT PRIMARY KEY, seq_id INTEGER CHECK (' || replace(hex(zeroblob(5000)), '00', '(') || '1' || replace(hex(zeroblob(5000)), '00', ')') || '))' WHERE name = 'max_seq_id';
== schema_columns schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE max_seq_id(segment_id TEXT PRIMARY KEY, seq_id INTEGER' || replace(hex(zeroblob(5000)), '00', ',') || 'x)' WHERE name = 'max_seq_id';
== schema_rootpage schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'max_seq_id';
== schema_root_far schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET rootpage = 2147483647 WHERE name = 'max_seq_id';
== schema_shared schema|corrupt
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'embeddings') WHERE name = 'embeddings_queue';
== schema_many_views schema|ok|limit|corrupt|timeout FULL
PRAGMA writable_schema=ON;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000) INSERT INTO sqlite_schema SELECT 'view', 'v' || i, 'v' || i, 0, 'CREATE VIEW v' || i || ' AS SELECT 1' FROM c;
== schema_many_tables schema|ok|limit|corrupt|timeout FULL
PRAGMA writable_schema=ON;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000) INSERT INTO sqlite_schema SELECT 'table', 't' || i, 't' || i, 2, 'CREATE TABLE t' || i || '(x)' FROM c;
== schema_name_control schema|ok
CREATE TABLE "a[2Jb" (x);
== stat_lies schema|ok|corrupt
ANALYZE;
UPDATE sqlite_stat1 SET stat = '9223372036854775807 1 1 unordered sz=1 noskipscan';
== id_control ok
UPDATE embeddings_queue SET id = 'a' || char(27) || ']0;owned' || char(7) || char(10) || 'b' || char(127) || char(155) WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = 'a' || char(27) || ']0;owned' || char(7) || char(10) || 'b' || char(127) || char(155) WHERE id = 1;
== id_nul ok
UPDATE embeddings_queue SET id = 'a' || char(0) || 'b' WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = 'a' || char(0) || 'b' WHERE id = 1;
== id_empty utf8|queue|vector|metadata|ok
UPDATE embeddings_queue SET id = '' WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = '' WHERE id = 1;
== id_utf8 utf8
UPDATE embeddings_queue SET id = CAST(x'61ff62' AS TEXT) WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = CAST(x'61ff62' AS TEXT) WHERE id = 1;
== id_surrogate utf8
UPDATE embeddings_queue SET id = CAST(x'eda080' AS TEXT) WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = CAST(x'eda080' AS TEXT) WHERE id = 1;
== id_blob collection|queue
UPDATE embeddings_queue SET id = x'6162' WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = x'6162' WHERE id = 1;
== id_mb limit|queue|vector|utf8
UPDATE embeddings_queue SET id = hex(zeroblob(500000)) WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = hex(zeroblob(500000)) WHERE id = 1;
== id_100mb limit|queue|vector|utf8|corrupt FULL
UPDATE embeddings_queue SET id = hex(zeroblob(50000000)) WHERE seq_id = 1;
UPDATE embeddings SET embedding_id = hex(zeroblob(50000000)) WHERE id = 1;
== seq_max ok
UPDATE embeddings_queue SET seq_id = 9223372036854775807 WHERE seq_id = 40;
UPDATE embeddings SET seq_id = 9223372036854775807 WHERE id = 40;
UPDATE max_seq_id SET seq_id = 9223372036854775807;
== seq_negative seq|queue|vector
UPDATE embeddings_queue SET seq_id = -9223372036854775808 WHERE seq_id = 40;
== seq_blob collection
UPDATE max_seq_id SET seq_id = x'ffffffffffffffffff';
== dim_negative collection|index|vector|schema
UPDATE collections SET dimension = -1;
== dim_huge collection|index|vector|schema
UPDATE collections SET dimension = 1099511627776;
== dim_text collection|index|vector|schema
UPDATE collections SET dimension = 'eight';
== vector_nan queue
UPDATE embeddings_queue SET vector = x'0000c07f0000c07f0000c07f0000c07f0000c07f0000c07f0000c07f0000c07f' WHERE seq_id = 1;
== vector_inf queue
UPDATE embeddings_queue SET vector = x'0000807f0000807f0000807f0000807f0000807f0000807f0000807f0000807f' WHERE seq_id = 1;
== vector_text queue|vector
UPDATE embeddings_queue SET vector = 'aaaaaaaabbbbbbbbaaaaaaaabbbbbbbb' WHERE seq_id = 1;
== vector_40mb queue|vector|limit FULL
UPDATE embeddings_queue SET vector = zeroblob(40000000) WHERE seq_id = 1;
== vector_90mb queue|vector|limit|corrupt FULL
UPDATE embeddings_queue SET vector = zeroblob(90000000) WHERE seq_id = 1;
== operation queue
UPDATE embeddings_queue SET operation = 99 WHERE seq_id = 1;
== created_at queue
UPDATE embeddings_queue SET created_at = char(27) || '[2J' WHERE seq_id = 1;
== encoding_control queue
UPDATE embeddings_queue SET encoding = char(27) || '[2J' WHERE seq_id = 1;
== json_depth metadata|queue
UPDATE embeddings_queue SET metadata = replace(hex(zeroblob(1000000)), '00', '[') WHERE seq_id = 1;
== json_lone metadata|queue
UPDATE embeddings_queue SET metadata = '{"a":"\ud800"}' WHERE seq_id = 1;
== json_number metadata|queue
UPDATE embeddings_queue SET metadata = '{"a":1e400}' WHERE seq_id = 1;
== json_twice ok
UPDATE embeddings_queue SET metadata = '{"a":1,"a":2}' WHERE seq_id = 1;
== json_control metadata|queue
UPDATE embeddings_queue SET metadata = '{"' || char(27) || '[2J":1}' WHERE seq_id = 1;
== key_control ok
UPDATE embedding_metadata SET key = char(27) || '[2J' WHERE id = 1 AND key = 'text';
== key_nul ok
UPDATE embedding_metadata SET key = 'text' || char(0) || 'x' WHERE id = 1 AND key = 'text';
== value_two metadata
UPDATE embedding_metadata SET int_value = 1 WHERE id = 1 AND key = 'text';
== float_nan corrupt
UPDATE embedding_metadata SET string_value = NULL, float_value = 9e999 WHERE id = 1 AND key = 'text';
== bool_many ok
UPDATE embedding_metadata SET bool_value = 7 WHERE id = 1 AND key = 'is_valid';
== doc_huge metadata|limit|queue|corrupt FULL
UPDATE embedding_metadata SET string_value = hex(zeroblob(50000000)) WHERE id = 1 AND key = 'chroma:document';
== metadata_many metadata|limit|queue FULL
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200000) INSERT INTO embedding_metadata(id, key, int_value) SELECT 1, 'k' || i, i FROM c;
== collection_control ok
UPDATE collections SET name = 'a' || char(27) || '[2J' || char(10);
== collection_nul utf8|collection
UPDATE collections SET name = 'a' || char(0) || 'b';
== collection_long limit|collection|utf8
UPDATE collections SET name = hex(zeroblob(1000000));
== collection_id collection|segment|index
UPDATE collections SET id = '../../../../etc';
UPDATE segments SET collection = '../../../../etc';
== segment_id collection
UPDATE segments SET id = '../../../../etc/passwd' WHERE scope = 'VECTOR';
== segment_absolute collection
UPDATE segments SET id = '/etc' WHERE scope = 'VECTOR';
== segment_control collection
UPDATE segments SET id = char(27) || '[2J' WHERE scope = 'VECTOR';
== segment_type segment
UPDATE segments SET type = 'urn:chroma:segment/vector/' || char(27) || '[2J' WHERE scope = 'VECTOR';
== segment_twice segment|collection
INSERT INTO segments SELECT 'x', type, scope, collection FROM segments WHERE scope = 'VECTOR';
== config_depth collection
UPDATE collections SET config_json_str = replace(hex(zeroblob(1000000)), '00', '[');
== schema_depth_json collection
UPDATE collections SET schema_str = replace(hex(zeroblob(1000000)), '00', '[');
== config_huge collection FULL
UPDATE collections SET config_json_str = '{"a":"' || hex(zeroblob(10000000)) || '"}';
== collections_many limit|collection|segment
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) INSERT INTO collections(id, name, dimension, database_id) SELECT printf('%08x-0000-4000-8000-000000000000', i), 'n' || i, 8, '00000000-0000-0000-0000-000000000000' FROM c;
== migration_control schema
UPDATE migrations SET filename = char(27) || '[2J', hash = char(27) WHERE dir = 'sysdb' AND version = 1;
== migration_version schema
UPDATE migrations SET version = 9223372036854775807 WHERE dir = 'sysdb' AND version = 10;
== ours_id format|schema|ok
PRAGMA application_id = 1229870147;
PRAGMA user_version = 1;
== page_512 ok
PRAGMA page_size = 512;
VACUUM;
== page_64k ok
PRAGMA page_size = 65536;
VACUUM;
== auto_vacuum ok
PRAGMA auto_vacuum = 1;
VACUUM;
== reserved ok
.filectrl reserve_bytes 255
VACUUM;
