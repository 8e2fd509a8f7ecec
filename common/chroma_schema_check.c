/*
 * chroma_schema_check: migrations by their digests, the columns that each
 * version has, nothing that ChromaDB does not make; then collections,
 * segments, databases and tenants.
 *
 * It looks at no record.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_schema_check.h"

#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "chroma_judge_check.h"
#include "db.h"
#include "hash.h"
#include "json.h"
#include "banned.h"

#define MD5_HEX 33		/* bytes of its text, NUL included */
#define MIGRATIONS_MAX 1000	/* versions in one of the three series */

static const char *const	series[JUDGE_SERIES] = {
	"sysdb", "metadb", "embeddings_queue"
};

/* The MD5 of every migration that ChromaDB has shipped. */
static const char *const	sysdb_md5[] = {
	"38352d725ad1c16074fac420b22b4633",
	"2913cb6a503055a95f625448037e8912",
	"42d22d0574d31d419c2a0e7f625c93aa",
	"048867ce8fcdefe4023c7110e4433591",
	"b1367c826b8fba5f96f27befdc1d42d2",
	"4eea7468935bf25d4604a0fed2366116",
	"1c7e63bba346a42a18b6ab7f1c989bed",
	"0a0e7e93111a01789addf64961c6127c",
	"054355aef9e63702bf54ea29e61563f1",
	"5c3a5ac4b79df76799b4721827ed5e1d"
};
static const char *const	metadb_md5[] = {
	"2b4cf52c4bb2676e21d6860a4409f856",
	"12a570f7121b3a8ce750a2a7c36da20f",
	"f97ad6334aeaa8f419f01110b648b97a",
	"fb36603a45ee2cd0254cef3ef86585e8",
	"0e9de46758761b373ce682925edcc326",
	"e026f01ea92c1baa1493f4ad5ca7cfe7"
};
static const char *const	queue_md5[] = {
	"d3755dfd232be8e8301f4d7fcfb3a486",
	"8fbfe4ffb3e57f1d8bfdc58510a82e85"
};
static const struct {
	const char *const	*v;
	int			 n;
} reference[JUDGE_SERIES] = {
	{ sysdb_md5, sizeof(sysdb_md5) / sizeof(sysdb_md5[0]) },
	{ metadb_md5, sizeof(metadb_md5) / sizeof(metadb_md5[0]) },
	{ queue_md5, sizeof(queue_md5) / sizeof(queue_md5[0]) }
};

/* Columns that a series has from one version on, up to another (0: still). */
static const struct {
	const char	*table, *column;
	int		 in, from, until;
} columns[] = {
	{ "collections", "id", SYSDB, 1, 0 },
	{ "collections", "name", SYSDB, 1, 0 },
	{ "collections", "topic", SYSDB, 1, 5 },
	{ "collections", "dimension", SYSDB, 3, 0 },
	{ "collections", "database_id", SYSDB, 4, 0 },
	{ "collections", "config_json_str", SYSDB, 7, 0 },
	{ "collections", "schema_str", SYSDB, 10, 0 },
	{ "collection_metadata", "collection_id", SYSDB, 1, 0 },
	{ "collection_metadata", "key", SYSDB, 1, 0 },
	{ "collection_metadata", "str_value", SYSDB, 1, 0 },
	{ "collection_metadata", "int_value", SYSDB, 1, 0 },
	{ "collection_metadata", "float_value", SYSDB, 1, 0 },
	{ "collection_metadata", "bool_value", SYSDB, 6, 0 },
	{ "segments", "id", SYSDB, 2, 0 },
	{ "segments", "type", SYSDB, 2, 0 },
	{ "segments", "scope", SYSDB, 2, 0 },
	{ "segments", "collection", SYSDB, 2, 0 },
	{ "segment_metadata", "segment_id", SYSDB, 2, 0 },
	{ "segment_metadata", "key", SYSDB, 2, 0 },
	{ "segment_metadata", "str_value", SYSDB, 2, 0 },
	{ "tenants", "id", SYSDB, 4, 0 },
	{ "databases", "id", SYSDB, 4, 0 },
	{ "databases", "name", SYSDB, 4, 0 },
	{ "databases", "tenant_id", SYSDB, 4, 0 },
	{ "embeddings", "id", METADB, 1, 0 },
	{ "embeddings", "segment_id", METADB, 1, 0 },
	{ "embeddings", "embedding_id", METADB, 1, 0 },
	{ "embeddings", "seq_id", METADB, 1, 0 },
	{ "embedding_metadata", "id", METADB, 1, 0 },
	{ "embedding_metadata", "key", METADB, 1, 0 },
	{ "embedding_metadata", "string_value", METADB, 1, 0 },
	{ "embedding_metadata", "int_value", METADB, 1, 0 },
	{ "embedding_metadata", "float_value", METADB, 1, 0 },
	{ "embedding_metadata", "bool_value", METADB, 2, 0 },
	{ "embedding_metadata_array", "id", METADB, 6, 0 },
	{ "embedding_metadata_array", "key", METADB, 6, 0 },
	{ "embedding_metadata_array", "string_value", METADB, 6, 0 },
	{ "embedding_metadata_array", "int_value", METADB, 6, 0 },
	{ "embedding_metadata_array", "float_value", METADB, 6, 0 },
	{ "embedding_metadata_array", "bool_value", METADB, 6, 0 },
	{ "embedding_fulltext_search_content", "c0", METADB, 3, 0 },
	{ "max_seq_id", "segment_id", METADB, 1, 0 },
	{ "max_seq_id", "seq_id", METADB, 1, 0 },
	{ "embeddings_queue", "seq_id", QUEUE, 1, 0 },
	{ "embeddings_queue", "created_at", QUEUE, 1, 0 },
	{ "embeddings_queue", "operation", QUEUE, 1, 0 },
	{ "embeddings_queue", "topic", QUEUE, 1, 0 },
	{ "embeddings_queue", "id", QUEUE, 1, 0 },
	{ "embeddings_queue", "vector", QUEUE, 1, 0 },
	{ "embeddings_queue", "encoding", QUEUE, 1, 0 },
	{ "embeddings_queue", "metadata", QUEUE, 1, 0 },
	{ "embeddings_queue_config", "config_json_str", QUEUE, 2, 0 }
};

#define REFUSE(code, ...) check_refuse(j->v, (code), __VA_ARGS__)

/* -- schema ------------------------------------------------------------ */

static void
md5_hex(const void *p, size_t n, char out[MD5_HEX])
{
	static const char	hex[] = "0123456789abcdef";
	unsigned char		d[HASH_MD5];
	unsigned int		i;

	hash_md5(p, n, d);
	for (i = 0; i < HASH_MD5; i++) {
		out[2 * i] = hex[d[i] >> 4];
		out[2 * i + 1] = hex[d[i] & 15];
	}
	out[2 * i] = '\0';
}

/* One row of migrations: st holds dir, version, hash, sql. */
static int
check_migration(struct judge *j, sqlite3_stmt *st)
{
	const char	*dir = db_text(st, 0);
	const char	*hash = db_text(st, 2);
	const void	*sql = db_text(st, 3);
	char		 md5[MD5_HEX];
	int64_t		 version = sqlite3_column_int64(st, 1);
	int		 i;

	if (dir == NULL || hash == NULL || sql == NULL)
		return REFUSE(CHECK_SCHEMA, "a migration without text");
	for (i = 0; i < JUDGE_SERIES && strcmp(series[i], dir) != 0; i++)
		;
	if (i == JUDGE_SERIES)
		return REFUSE(CHECK_SCHEMA, "migrations of unknown kind %.50s",
		    dir);
	if (version != j->version[i] + 1 || version > MIGRATIONS_MAX)
		return REFUSE(CHECK_SCHEMA, "migration %s: want version %d, "
		    "got %lld", dir, j->version[i] + 1, (long long)version);
	j->version[i] = (int)version;
	md5_hex(sql, (size_t)sqlite3_column_bytes(st, 3), md5);
	if (strcmp(md5, hash) != 0)
		return REFUSE(CHECK_SCHEMA, "migration %s %d: hash: want %s, "
		    "got %.40s", dir, (int)version, md5, hash);
	if (version <= reference[i].n &&
	    strcmp(md5, reference[i].v[version - 1]) != 0)
		return REFUSE(CHECK_SCHEMA, "migration %s %d: hash: want %s "
		    "as ChromaDB ships it, got %s", dir, (int)version,
		    reference[i].v[version - 1], md5);
	return 0;
}

static int
check_migrations(struct judge *j)
{
	sqlite3_stmt	*st;
	int		 r, i;

	r = chroma_has_column(&j->c, "migrations", "hash", j->e);
	if (r == -1)
		return judge_fault(j, CHECK_SCHEMA);
	if (r == 0)
		return REFUSE(CHECK_SCHEMA, "no table migrations: not a "
		    "ChromaDB database");
	st = db_prepare(j->c.db, "SELECT dir, version, hash, sql FROM "
	    "migrations ORDER BY dir, version", j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_migration(j, st)) != 0)
			break;
	sqlite3_finalize(st);
	if (r == -1)
		return judge_fault(j, CHECK_CORRUPT);
	for (i = 0; i < JUDGE_SERIES && r == 0; i++)
		if (j->version[i] == 0)
			r = REFUSE(CHECK_SCHEMA, "no migration %s", series[i]);
	return r;
}

/*
 * Tables are tables, and run nothing while they are looked through.  The
 * words are looked for anywhere: who writes a schema by hand may put what
 * he likes between them.
 */
int
judge_kinds(struct judge *j)
{
	int	r;

	r = judge_none(j, "SELECT name FROM sqlite_master WHERE type NOT IN "
	    "('table', 'index') OR (sql LIKE '%virtual%' AND name "
	    "NOT IN ('embedding_fulltext_search', 'embedding_fulltext'))",
	    CHECK_SCHEMA, "", ": a view, trigger or virtual table that "
	    "ChromaDB does not have");
	if (r != 0)
		return r;
	return judge_none(j,
	    "SELECT name FROM sqlite_master WHERE type = 'table' "
	    "AND lower(sql) GLOB '*[^a-z0-9_]check[^a-z0-9_]*'",
	    CHECK_SCHEMA, "", ": a CHECK that ChromaDB does not have");
}

/* Not by SQLite's json_valid, to which JSON is none where memory is short. */
static int
check_queue_config(struct judge *j)
{
	sqlite3_stmt	*st;
	const char	*s;
	char		 b[JUDGE_SHOWN];
	int		 r;

	st = db_prepare(j->c.db, "SELECT id, config_json_str FROM "
	    "embeddings_queue_config WHERE config_json_str IS NOT NULL",
	    j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1) {
		s = db_text(st, 1);
		if (s == NULL || !json_valid(s,
		    (size_t)sqlite3_column_bytes(st, 1))) {
			r = REFUSE(CHECK_SCHEMA, "embeddings_queue_config row "
			    "%s is not JSON", judge_shown(st, 0, b));
			break;
		}
	}
	sqlite3_finalize(st);
	return r == -1 ? judge_fault(j, CHECK_CORRUPT) : r;
}

/* What this version must have is there. */
int
judge_schema(struct judge *j)
{
	int	 r, have;
	size_t	 i;

	if ((r = check_migrations(j)) != 0)
		return r;
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		have = j->version[columns[i].in];
		if (have < columns[i].from ||
		    (columns[i].until != 0 && have >= columns[i].until))
			continue;
		r = chroma_has_column(&j->c, columns[i].table,
		    columns[i].column, j->e);
		if (r == -1)
			return judge_fault(j, CHECK_SCHEMA);
		if (r == 0)
			return REFUSE(CHECK_SCHEMA,
			    "table %s: no column %s", columns[i].table,
			    columns[i].column);
	}
	if (j->version[METADB] >= 3 && (r = judge_none(j,
	    "SELECT 'x' WHERE NOT "
	    "EXISTS (SELECT 1 FROM sqlite_master WHERE name = "
	    "'embedding_fulltext_search' AND sql LIKE '%fts5%')",
	    CHECK_SCHEMA, "no full-text table embedding_fulltext_search",
	    "")) != 0)
		return r;
	return j->version[QUEUE] >= 2 ? check_queue_config(j) : 0;
}

/* -- collections and segments ------------------------------------------ */

static int
check_no_collection(struct judge *j)
{
	static const char *const	tables[] = {
		"segments", "embeddings", "embeddings_queue",
		"embedding_metadata", "collection_metadata"
	};
	char	sql[100];
	int64_t	n;
	size_t	i;
	int	r;

	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s",
		    tables[i]);
		if ((r = judge_number(j, sql, &n)) != 0)
			return r;
		if (n != 0)
			return REFUSE(CHECK_COLLECTION, "no collection, but "
			    "%lld rows of one in %s: its row was deleted",
			    (long long)n, tables[i]);
	}
	if ((j->flags & CHECK_ALLOW_EMPTY) != 0)
		return 0;
	return REFUSE(CHECK_COLLECTION, "no collection");
}

int
judge_collections(struct judge *j)
{
	int64_t	n;
	int	r;

	if ((r = judge_number(j, "SELECT count(*) FROM collections", &n)) != 0)
		return r;
	if (n == 0)
		return check_no_collection(j);
	if (j->c.has_databases && ((r = judge_none(j, "SELECT c.name FROM "
	    "collections c LEFT JOIN databases d ON d.id = c.database_id "
	    "WHERE d.id IS NULL", CHECK_COLLECTION, "collection ",
	    ": its database is not there, nobody can see it")) != 0 ||
	    (r = judge_none(j,
	    "SELECT d.name FROM databases d LEFT JOIN tenants t "
	    "ON t.id = d.tenant_id WHERE t.id IS NULL", CHECK_COLLECTION,
	    "database ", ": its tenant is not there")) != 0))
		return r;
	if ((r = judge_none(j, "SELECT id FROM collections WHERE "
	    "typeof(id) != 'text' OR length(id) != 36", CHECK_COLLECTION,
	    "collection id ", " is not a uuid")) != 0)
		return r;
	if ((r = judge_none(j, "SELECT c.name || ': ' || "
	    "CASE WHEN sum(s.scope = 'VECTOR') IS NOT 1 THEN "
	    "'want 1 VECTOR segment, got ' || "
	    "coalesce(sum(s.scope = 'VECTOR'), 0) "
	    "WHEN sum(s.scope = 'METADATA') IS NOT 1 THEN "
	    "'want 1 METADATA segment, got ' || "
	    "coalesce(sum(s.scope = 'METADATA'), 0) "
	    "ELSE 'a segment of unknown scope' END "
	    "FROM collections c LEFT JOIN segments s ON s.collection = c.id "
	    "GROUP BY c.id HAVING sum(s.scope = 'VECTOR') IS NOT 1 OR "
	    "sum(s.scope = 'METADATA') IS NOT 1 OR count(s.id) != 2",
	    CHECK_SEGMENT, "collection ", "")) != 0)
		return r;
	if ((r = judge_none(j, "SELECT type FROM segments WHERE NOT "
	    "(scope = 'VECTOR' AND type = '" CHROMA_VECTOR "') AND NOT "
	    "(scope = 'METADATA' AND type = '" CHROMA_META "')",
	    CHECK_SEGMENT, "segment of unknown type ", "")) != 0)
		return r;
	if ((r = judge_none(j,
	    "SELECT id FROM segments WHERE collection NOT IN "
	    "(SELECT id FROM collections) OR collection IS NULL",
	    CHECK_SEGMENT, "segment ", " of no collection")) != 0)
		return r;
	if ((r = judge_none(j,
	    "SELECT segment_id FROM embeddings WHERE segment_id "
	    "NOT IN (SELECT id FROM segments WHERE scope = 'METADATA')",
	    CHECK_SEGMENT, "embeddings of unknown segment ", "")) != 0)
		return r;
	if (chroma_read_colls(&j->c, j->e) == -1)
		return judge_fault(j, CHECK_COLLECTION);
	return 0;
}

int
judge_dimension(struct judge *j)
{
	return judge_none(j,
	    "SELECT c.name FROM collections c JOIN segments s ON "
	    "s.collection = c.id AND s.scope = 'METADATA' WHERE c.dimension "
	    "IS NULL AND EXISTS (SELECT 1 FROM embeddings e WHERE "
	    "e.segment_id = s.id)", CHECK_COLLECTION, "collection ",
	    ": records, but no dimension");
}
