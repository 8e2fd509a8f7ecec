/*
 * chroma_schema: ChromaDB's migrations.  No text of ours is among them.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_schema.h"

#include <string.h>

#include <sqlite3.h>

#include "db.h"
#include "banned.h"

const char *const chroma_before[] = {
	"CREATE TABLE migrations (\n"
	    "                dir TEXT NOT NULL,\n"
	    "                version INTEGER NOT NULL,\n"
	    "                filename TEXT NOT NULL,\n"
	    "                sql TEXT NOT NULL,\n"
	    "                hash TEXT NOT NULL,\n"
	    "                PRIMARY KEY (dir, version)\n"
	    "            )",
	"CREATE TABLE acquire_write (\n"
	    "                id INTEGER PRIMARY KEY,\n"
	    "                lock_status INTEGER NOT NULL\n"
	    "            )",
	NULL
};

const struct chroma_migration chroma_migrations[] = {
	{ "sysdb", 1, "00001-collections.sqlite.sql",
	    "38352d725ad1c16074fac420b22b4633",
	    "CREATE TABLE collections (\n"
	    "    id TEXT PRIMARY KEY,\n"
	    "    name TEXT NOT NULL,\n"
	    "    topic TEXT NOT NULL,\n"
	    "    UNIQUE (name)\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE collection_metadata (\n"
	    "    collection_id TEXT REFERENCES collections(id) ON DELETE "
		"CASCADE,\n"
	    "    key TEXT NOT NULL,\n"
	    "    str_value TEXT,\n"
	    "    int_value INTEGER,\n"
	    "    float_value REAL,\n"
	    "    PRIMARY KEY (collection_id, key)\n"
	    ");\n" },
	{ "sysdb", 2, "00002-segments.sqlite.sql",
	    "2913cb6a503055a95f625448037e8912",
	    "CREATE TABLE segments (\n"
	    "    id TEXT PRIMARY KEY,\n"
	    "    type TEXT NOT NULL,\n"
	    "    scope TEXT NOT NULL,\n"
	    "    topic TEXT,\n"
	    "    collection TEXT REFERENCES collection(id)\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE segment_metadata (\n"
	    "    segment_id TEXT  REFERENCES segments(id) ON DELETE CASCADE,\n"
	    "    key TEXT NOT NULL,\n"
	    "    str_value TEXT,\n"
	    "    int_value INTEGER,\n"
	    "    float_value REAL,\n"
	    "    PRIMARY KEY (segment_id, key)\n"
	    ");\n" },
	{ "sysdb", 3, "00003-collection-dimension.sqlite.sql",
	    "42d22d0574d31d419c2a0e7f625c93aa",
	    "ALTER TABLE collections ADD COLUMN dimension INTEGER;\n" },
	{ "sysdb", 4, "00004-tenants-databases.sqlite.sql",
	    "048867ce8fcdefe4023c7110e4433591",
	    "CREATE TABLE IF NOT EXISTS tenants (\n"
	    "    id TEXT PRIMARY KEY,\n"
	    "    UNIQUE (id)\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE IF NOT EXISTS databases (\n"
	    "    id TEXT PRIMARY KEY, -- unique globally\n"
	    "    name TEXT NOT NULL, -- unique per tenant\n"
	    "    tenant_id TEXT NOT NULL REFERENCES tenants(id) ON DELETE "
		"CASCADE,\n"
	    "    UNIQUE (tenant_id, name) -- Ensure that a tenant has only "
		"one database with a given name\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE IF NOT EXISTS collections_tmp (\n"
	    "    id TEXT PRIMARY KEY, -- unique globally\n"
	    "    name TEXT NOT NULL, -- unique per database\n"
	    "    topic TEXT NOT NULL,\n"
	    "    dimension INTEGER,\n"
	    "    database_id TEXT NOT NULL REFERENCES databases(id) ON "
		"DELETE CASCADE,\n"
	    "    UNIQUE (name, database_id)\n"
	    ");\n"
	    "\n"
	    "-- Create default tenant and database\n"
	    "INSERT OR REPLACE INTO tenants (id) VALUES ('default_tenant'); "
		"-- The default tenant id is 'default_tenant' others are "
		"UUIDs\n"
	    "INSERT OR REPLACE INTO databases (id, name, tenant_id) VALUES "
		"('00000000-0000-0000-0000-000000000000', "
		"'default_database', 'default_tenant');\n"
	    "\n"
	    "INSERT OR REPLACE INTO collections_tmp (id, name, topic, "
		"dimension, database_id)\n"
	    "    SELECT id, name, topic, dimension, "
		"'00000000-0000-0000-0000-000000000000' FROM collections;\n"
	    "DROP TABLE collections;\n"
	    "ALTER TABLE collections_tmp RENAME TO collections;\n" },
	{ "sysdb", 5, "00005-remove-topic.sqlite.sql",
	    "b1367c826b8fba5f96f27befdc1d42d2",
	    "-- Remove the topic column from the Collections and Segments "
		"tables\n"
	    "\n"
	    "ALTER TABLE collections DROP COLUMN topic;\n"
	    "ALTER TABLE segments DROP COLUMN topic;\n" },
	{ "sysdb", 6, "00006-collection-segment-metadata.sqlite.sql",
	    "4eea7468935bf25d4604a0fed2366116",
	    "-- SQLite does not support adding check with alter table, as a "
		"result, adding a check\n"
	    "-- involve creating a new table and copying the data over. It "
		"is over kill with adding\n"
	    "-- a boolean type column. The application write to the table "
		"needs to ensure the data\n"
	    "-- integrity.\n"
	    "ALTER TABLE collection_metadata ADD COLUMN bool_value INTEGER;\n"
	    "ALTER TABLE segment_metadata ADD COLUMN bool_value INTEGER;\n" },
	{ "sysdb", 7, "00007-collection-config.sqlite.sql",
	    "1c7e63bba346a42a18b6ab7f1c989bed",
	    "-- Stores collection configuration dictionaries.\n"
	    "ALTER TABLE collections ADD COLUMN config_json_str TEXT;\n" },
	{ "sysdb", 8, "00008-maintenance-log.sqlite.sql",
	    "0a0e7e93111a01789addf64961c6127c",
	    "-- Records when database maintenance operations are performed.\n"
	    "-- At time of creation, this table is only used to record "
		"vacuum operations.\n"
	    "CREATE TABLE maintenance_log (\n"
	    "  id INT PRIMARY KEY,\n"
	    "  timestamp INT NOT NULL,\n"
	    "  operation TEXT NOT NULL\n"
	    ");\n" },
	{ "sysdb", 9, "00009-segment-collection-not-null.sqlite.sql",
	    "054355aef9e63702bf54ea29e61563f1",
	    "-- This makes segments.collection non-nullable.\n"
	    "CREATE TABLE segments_temp (\n"
	    "    id TEXT PRIMARY KEY,\n"
	    "    type TEXT NOT NULL,\n"
	    "    scope TEXT NOT NULL,\n"
	    "    collection TEXT REFERENCES collection(id) NOT NULL\n"
	    ");\n"
	    "\n"
	    "INSERT INTO segments_temp SELECT * FROM segments;\n"
	    "DROP TABLE segments;\n"
	    "ALTER TABLE segments_temp RENAME TO segments;\n" },
	{ "sysdb", 10, "00010-collection-schema.sqlite.sql",
	    "5c3a5ac4b79df76799b4721827ed5e1d",
	    "-- Stores collection schema as stringified json\n"
	    "ALTER TABLE collections ADD COLUMN schema_str TEXT;\n" },
	{ "metadb", 1, "00001-embedding-metadata.sqlite.sql",
	    "2b4cf52c4bb2676e21d6860a4409f856",
	    "CREATE TABLE embeddings (\n"
	    "    id INTEGER PRIMARY KEY,\n"
	    "    segment_id TEXT NOT NULL,\n"
	    "    embedding_id TEXT NOT NULL,\n"
	    "    seq_id BLOB NOT NULL,\n"
	    "    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
	    "    UNIQUE (segment_id, embedding_id)\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE embedding_metadata (\n"
	    "    id INTEGER REFERENCES embeddings(id),\n"
	    "    key TEXT NOT NULL,\n"
	    "    string_value TEXT,\n"
	    "    int_value INTEGER,\n"
	    "    float_value REAL,\n"
	    "    PRIMARY KEY (id, key)\n"
	    ");\n"
	    "\n"
	    "CREATE TABLE max_seq_id (\n"
	    "    segment_id TEXT PRIMARY KEY,\n"
	    "    seq_id BLOB NOT NULL\n"
	    ");\n"
	    "\n"
	    "CREATE VIRTUAL TABLE embedding_fulltext USING fts5(id, "
		"string_value);\n" },
	{ "metadb", 2, "00002-embedding-metadata.sqlite.sql",
	    "12a570f7121b3a8ce750a2a7c36da20f",
	    "-- SQLite does not support adding check with alter table, as a "
		"result, adding a check\n"
	    "-- involve creating a new table and copying the data over. It "
		"is over kill with adding\n"
	    "-- a boolean type column. The application write to the table "
		"needs to ensure the data\n"
	    "-- integrity.\n"
	    "ALTER TABLE embedding_metadata ADD COLUMN bool_value INTEGER\n" },
	{ "metadb", 3, "00003-full-text-tokenize.sqlite.sql",
	    "f97ad6334aeaa8f419f01110b648b97a",
	    "CREATE VIRTUAL TABLE embedding_fulltext_search USING "
		"fts5(string_value, tokenize='trigram');\n"
	    "INSERT INTO embedding_fulltext_search (rowid, string_value) "
		"SELECT rowid, string_value FROM embedding_metadata;\n"
	    "DROP TABLE embedding_fulltext;\n" },
	{ "metadb", 4, "00004-metadata-indices.sqlite.sql",
	    "fb36603a45ee2cd0254cef3ef86585e8",
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_int_value ON "
		"embedding_metadata (key, int_value) WHERE int_value IS NOT "
		"NULL;\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_float_value ON "
		"embedding_metadata (key, float_value) WHERE float_value IS "
		"NOT NULL;\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_string_value ON "
		"embedding_metadata (key, string_value) WHERE string_value "
		"IS NOT NULL;\n" },
	{ "metadb", 5, "00005-max-seq-id-int.sqlite.sql",
	    "0e9de46758761b373ce682925edcc326",
	    "ALTER TABLE max_seq_id ADD COLUMN int_seq_id INTEGER;\n"
	    "\n"
	    "-- Convert 8 byte wide big-endian integer as blob to native 64 "
		"bit integer.\n"
	    "-- Adapted from https://stackoverflow.com/a/70296198.\n"
	    "UPDATE max_seq_id SET int_seq_id = (\n"
	    "  SELECT (\n"
	    "       (instr('123456789ABCDEF', substr(hex(seq_id), -1 , 1)) "
		"<<  0)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -2 , 1)) "
		"<<  4)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -3 , 1)) "
		"<<  8)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -4 , 1)) "
		"<< 12)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -5 , 1)) "
		"<< 16)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -6 , 1)) "
		"<< 20)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -7 , 1)) "
		"<< 24)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -8 , 1)) "
		"<< 28)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -9 , 1)) "
		"<< 32)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -10, 1)) "
		"<< 36)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -11, 1)) "
		"<< 40)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -12, 1)) "
		"<< 44)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -13, 1)) "
		"<< 48)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -14, 1)) "
		"<< 52)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -15, 1)) "
		"<< 56)\n"
	    "     | (instr('123456789ABCDEF', substr(hex(seq_id), -16, 1)) "
		"<< 60)\n"
	    "    )\n"
	    ");\n"
	    "\n"
	    "ALTER TABLE max_seq_id DROP COLUMN seq_id;\n"
	    "ALTER TABLE max_seq_id RENAME COLUMN int_seq_id TO seq_id;\n" },
	{ "metadb", 6, "00006-metadata-array-support.sqlite.sql",
	    "e026f01ea92c1baa1493f4ad5ca7cfe7",
	    "-- Separate table for exploded array metadata values.\n"
	    "-- Each array element gets its own row, enabling efficient "
		"$contains queries.\n"
	    "-- The existing embedding_metadata table (with its PRIMARY KEY "
		"(id, key))\n"
	    "-- remains untouched and continues to store scalar metadata "
		"values.\n"
	    "\n"
	    "CREATE TABLE IF NOT EXISTS embedding_metadata_array (\n"
	    "    id INTEGER NOT NULL REFERENCES embeddings(id),\n"
	    "    key TEXT NOT NULL,\n"
	    "    string_value TEXT,\n"
	    "    int_value INTEGER,\n"
	    "    float_value REAL,\n"
	    "    bool_value INTEGER\n"
	    ");\n"
	    "\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_array_id_key\n"
	    "    ON embedding_metadata_array (id, key);\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_array_key_string\n"
	    "    ON embedding_metadata_array (key, string_value) WHERE "
		"string_value IS NOT NULL;\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_array_key_int\n"
	    "    ON embedding_metadata_array (key, int_value) WHERE "
		"int_value IS NOT NULL;\n"
	    "CREATE INDEX IF NOT EXISTS embedding_metadata_array_key_float\n"
	    "    ON embedding_metadata_array (key, float_value) WHERE "
		"float_value IS NOT NULL;\n" },
	{ "embeddings_queue", 1, "00001-embeddings.sqlite.sql",
	    "d3755dfd232be8e8301f4d7fcfb3a486",
	    "CREATE TABLE embeddings_queue (\n"
	    "    seq_id INTEGER PRIMARY KEY,\n"
	    "    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,\n"
	    "    operation INTEGER NOT NULL,\n"
	    "    topic TEXT NOT NULL,\n"
	    "    id TEXT NOT NULL,\n"
	    "    vector BLOB,\n"
	    "    encoding TEXT,\n"
	    "    metadata TEXT\n"
	    ");\n" },
	{ "embeddings_queue", 2, "00002-embeddings-queue-config.sqlite.sql",
	    "8fbfe4ffb3e57f1d8bfdc58510a82e85",
	    "CREATE TABLE embeddings_queue_config (\n"
	    "    id INTEGER PRIMARY KEY,\n"
	    "    config_json_str TEXT\n"
	    ");\n" },
	{ NULL, 0, NULL, NULL, NULL }
};

static int
note(struct sqlite3 *db, const struct chroma_migration *m, const char *name,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 rv;

	st = db_prepare(db, "INSERT INTO migrations (dir, version, filename, "
	    "sql, hash) VALUES (?,?,?,?,?)", name, e);
	if (st == NULL)
		return -1;
	if (sqlite3_bind_text(st, 1, m->dir, -1, SQLITE_STATIC) ||
	    sqlite3_bind_int(st, 2, m->version) ||
	    sqlite3_bind_text(st, 3, m->filename, -1, SQLITE_STATIC) ||
	    sqlite3_bind_text(st, 4, m->sql, -1, SQLITE_STATIC) ||
	    sqlite3_bind_text(st, 5, m->hash, -1, SQLITE_STATIC))
		rv = db_err(db, name, e);
	else
		rv = db_step(st, name, e);
	sqlite3_finalize(st);
	return rv;
}

int
chroma_apply(struct sqlite3 *db, const char *dir, int version, int what,
    const char *name, struct err *e)
{
	const struct chroma_migration	*m;

	for (m = chroma_migrations; m->dir != NULL; m++)
		if (strcmp(m->dir, dir) == 0 && m->version == version)
			break;
	if (m->dir == NULL)
		return err_set(e, MSG_SOFTWARE, "%s: no migration %s %d",
		    name, dir, version);
	if ((what & CHROMA_APPLY_SQL) != 0 &&
	    db_exec(db, m->sql, name, e) == -1)
		return -1;
	return (what & CHROMA_APPLY_ROW) != 0 ? note(db, m, name, e) : 0;
}
