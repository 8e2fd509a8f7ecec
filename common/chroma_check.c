/*
 * chroma_check: is this ChromaDB directory whole?  Bytes, schema, rows,
 * queue, sequence numbers, HNSW files and full-text index, in the order
 * in which each may be relied on by the next.
 *
 * It says what is wrong and mends nothing; a failing machine is no verdict.
 * SPDX-License-Identifier: ISC
 */
#include "check.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <sqlite3.h>

#include "buf.h"
#include "chroma.h"
#include "db.h"
#include "io.h"
#include "json.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define HEAD_LEN 100		/* bytes of a SQLite header */
#define MD5_HEX 33		/* bytes of its text, NUL included */
#define MIGRATIONS_MAX 1000	/* versions in one of the three series */
#define ROW_MAX 4294967295LL	/* ChromaDB reads rowids as u32 */

/* What all parts share.  Each part: 0 fine, 1 refused, -1 the machine. */
struct judge {
	struct chroma		 c;
	const char		*path;
	int			 flags;
	struct check_verdict	*v;
	struct err		*e;
	int			 version[3];	/* of series[] */
	struct chroma_ours	 ours;		/* when c.ours */
	int			 light;		/* CHECK_OURS of such a one */
};

static const char *const	series[3] = {
	"sysdb", "metadb", "embeddings_queue"
};
enum { SYSDB, METADB, QUEUE };

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
} reference[3] = {
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

/* s without the input's path: the caller names the input. */
static const char *
bare(const struct judge *j, const char *s)
{
	size_t	n = strlen(j->path);

	if (s == NULL || strncmp(s, j->path, n) != 0)
		return s;
	if (s[n] == '/')
		return s + n + 1;
	return s[n] == ':' && s[n + 1] == ' ' ? s + n + 2 : s;
}

/* An error from below: what speaks of the content is a verdict. */
static int
fault(struct judge *j, enum check_code code)
{
	const char	*s = bare(j, j->e->text);

	if (j->e->code != MSG_DATAERR)
		return -1;
	if (strstr(s, "sqlite: ") != NULL)
		code = CHECK_CORRUPT;
	check_refuse(j->v, code, "%s", s);
	memset(j->e, 0, sizeof(*j->e));
	return 1;
}

/* Printable start of an id or text. */
static const char *
shown(sqlite3_stmt *st, int col, char out[80])
{
	const unsigned char	*p = sqlite3_column_text(st, col);
	size_t			 i;

	for (i = 0; p != NULL && p[i] != '\0' && i < 76; i++)
		out[i] = p[i] < 0x20 || p[i] > 0x7e ? '?' : (char)p[i];
	out[i] = '\0';
	return out;
}

/* First column of the only row, 0 when there is none. */
static int
number(struct judge *j, const char *sql, int64_t *out)
{
	*out = 0;
	if (db_int(j->c.db, sql, j->c.file, out, j->e) == -1)
		return fault(j, CHECK_CORRUPT);
	return 0;
}

/*
 * Refused when sql gives a row: fmt holds one %s for its first column.
 */
static int
none(struct judge *j, const char *sql, enum check_code code,
    const char *before, const char *after)
{
	sqlite3_stmt	*st;
	char		 b[80];
	int		 r;

	st = db_prepare(j->c.db, sql, j->c.file, j->e);
	if (st == NULL)
		return fault(j, CHECK_SCHEMA);
	r = db_step(st, j->c.file, j->e);
	if (r == -1)
		r = fault(j, CHECK_CORRUPT);
	else if (r == 1)
		REFUSE(code, "%s%s%s", before, shown(st, 0, b), after);
	sqlite3_finalize(st);
	return r;
}

/* -- bytes ------------------------------------------------------------- */

/* The head of the file; more says which kind of head is wanted of it. */
static int
read_head(struct judge *j, unsigned char b[HEAD_LEN], uint64_t *size)
{
	struct stat	st;
	char		name[CHROMA_PATH_MAX];
	int		fd, n;

	n = snprintf(name, sizeof(name), "%s/%s", j->path, CHROMA_FILE);
	if (n < 0 || (size_t)n >= sizeof(name))
		return err_set(j->e, MSG_USAGE, "%.200s: path too long",
		    j->path);
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT || errno == ENOTDIR)
			return REFUSE(CHECK_MISSING, "%s is not there",
			    CHROMA_FILE);
		if (errno == ELOOP)
			return REFUSE(CHECK_UNSAFE, "%s is a symbolic link",
			    CHROMA_FILE);
		return err_sys(j->e, errno, "%s", name);
	}
	memset(b, 0, HEAD_LEN);
	if (fstat(fd, &st) == -1 ||
	    (S_ISREG(st.st_mode) &&
	    io_pread(fd, b, HEAD_LEN, 0) == -1)) {
		err_sys(j->e, errno, "%s", name);
		(void)close(fd);
		return -1;
	}
	(void)close(fd);
	*size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode))
		return REFUSE(CHECK_UNSAFE, "%s is not a regular file",
		    CHROMA_FILE);
	return 0;
}

static int
check_magic(struct judge *j, const unsigned char b[HEAD_LEN], uint64_t size)
{
	static const char	magic[16] = "SQLite format 3";
	size_t			n = size < 16 ? (size_t)size : 16;

	if (size == 0)
		return REFUSE(CHECK_SIZE, "%s has 0 bytes", CHROMA_FILE);
	if (memcmp(b, magic, n) != 0)
		return REFUSE(CHECK_NOTADB, "%s: wrong magic: not a SQLite "
		    "database", CHROMA_FILE);
	if (size < HEAD_LEN)
		return REFUSE(CHECK_TORN, "%s: size %llu: cut off in its "
		    "header", CHROMA_FILE, (unsigned long long)size);
	return 0;
}

static int
check_size(struct judge *j)
{
	unsigned char	b[HEAD_LEN];
	uint64_t	size, page, pages;
	int		r;

	if ((r = read_head(j, b, &size)) != 0 ||
	    (r = check_magic(j, b, size)) != 0)
		return r;
	page = (uint64_t)b[16] << 8 | b[17];
	if (page == 1)
		page = 65536;
	if (page < 512 || (page & (page - 1)) != 0)
		return REFUSE(CHECK_NOTADB, "%s: page size %llu in its "
		    "header", CHROMA_FILE, (unsigned long long)page);
	pages = buf_get_u32(b + 28);
	/* the count only means something when its version is the file's */
	if (pages != 0 && memcmp(b + 24, b + 92, 4) == 0 &&
	    pages * page != size)
		return REFUSE(CHECK_TORN, "%s: size: want %llu (%llu pages "
		    "of %llu), got %llu", CHROMA_FILE,
		    (unsigned long long)(pages * page),
		    (unsigned long long)pages, (unsigned long long)page,
		    (unsigned long long)size);
	if (size % page != 0)
		return REFUSE(CHECK_TORN, "%s: size: want a multiple of "
		    "%llu, got %llu", CHROMA_FILE, (unsigned long long)page,
		    (unsigned long long)size);
	/* 1 is UTF-8; 0 a database without a table */
	if (buf_get_u32(b + 56) != 1)
		return REFUSE(CHECK_SCHEMA, "%s: text encoding: want UTF-8",
		    CHROMA_FILE);
	return 0;
}

static int
check_hot(struct judge *j)
{
	static const char *const	why[] = {
		"", CHROMA_FILE "-journal holds a transaction that was not "
		"finished", CHROMA_FILE "-wal is not empty",
		CHROMA_FILE " is in WAL mode and its WAL is not there"
	};
	int	hot = chroma_is_hot(j->path, j->e);

	if (hot == -1)
		return -1;
	if (hot == CHROMA_CLOSED || (j->flags & CHECK_RECOVER_HOT) != 0)
		return 0;
	return REFUSE(CHECK_HOT, "%s", why[hot]);
}

static int
check_pages(struct judge *j, struct sqlite3 *db, const char *path,
    const char *name)
{
	sqlite3_stmt	*st;
	const char	*s;
	int		 r;

	/* a superset of quick_check: indexes hold what their tables hold */
	st = db_prepare(db, "PRAGMA integrity_check(1)", path, j->e);
	if (st == NULL)
		return fault(j, CHECK_CORRUPT);
	r = db_step(st, path, j->e);
	if (r == -1)
		r = fault(j, CHECK_CORRUPT);
	else {
		s = r == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
		r = 0;
		if (s == NULL || strcmp(s, "ok") != 0)
			r = db_row_fault(db, s, path, j->e) == -1 ?
			    -1 : REFUSE(CHECK_CORRUPT, "%s: %.300s",
			    name, s == NULL ?
			    "no answer to integrity_check" :
			    strchr(s, '\n') != NULL ? strchr(s, '\n') + 1 :
			    s);
	}
	sqlite3_finalize(st);
	return r;
}

/* -- schema ------------------------------------------------------------ */

static int
md5_hex(const void *p, size_t n, char out[MD5_HEX], struct err *e)
{
	static const char	hex[] = "0123456789abcdef";
	unsigned char		d[EVP_MAX_MD_SIZE];
	unsigned int		len = 0, i;

	if (EVP_Digest(p, n, d, &len, EVP_md5(), NULL) != 1 || len != 16)
		return err_set(e, MSG_SOFTWARE, "libcrypto has no MD5");
	for (i = 0; i < len; i++) {
		out[2 * i] = hex[d[i] >> 4];
		out[2 * i + 1] = hex[d[i] & 15];
	}
	out[2 * len] = '\0';
	return 0;
}

/* One row of migrations: st holds dir, version, hash, sql. */
static int
check_migration(struct judge *j, sqlite3_stmt *st)
{
	const char	*dir = (const char *)sqlite3_column_text(st, 0);
	const char	*hash = (const char *)sqlite3_column_text(st, 2);
	const void	*sql = sqlite3_column_text(st, 3);
	char		 md5[MD5_HEX];
	int64_t		 version = sqlite3_column_int64(st, 1);
	int		 i;

	if (dir == NULL || hash == NULL || sql == NULL)
		return REFUSE(CHECK_SCHEMA, "a migration without text");
	for (i = 0; i < 3 && strcmp(series[i], dir) != 0; i++)
		;
	if (i == 3)
		return REFUSE(CHECK_SCHEMA, "migrations of unknown kind %.50s",
		    dir);
	if (version != j->version[i] + 1 || version > MIGRATIONS_MAX)
		return REFUSE(CHECK_SCHEMA, "migration %s: want version %d, "
		    "got %lld", dir, j->version[i] + 1, (long long)version);
	j->version[i] = (int)version;
	if (md5_hex(sql, (size_t)sqlite3_column_bytes(st, 3), md5, j->e) ==
	    -1)
		return -1;
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

	if (!chroma_has_column(&j->c, "migrations", "hash"))
		return REFUSE(CHECK_SCHEMA, "no table migrations: not a "
		    "ChromaDB database");
	st = db_prepare(j->c.db, "SELECT dir, version, hash, sql FROM "
	    "migrations ORDER BY dir, version", j->c.file, j->e);
	if (st == NULL)
		return fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_migration(j, st)) != 0)
			break;
	sqlite3_finalize(st);
	if (r == -1)
		return fault(j, CHECK_CORRUPT);
	for (i = 0; i < 3 && r == 0; i++)
		if (j->version[i] == 0)
			r = REFUSE(CHECK_SCHEMA, "no migration %s", series[i]);
	return r;
}

/*
 * Tables are tables, and run nothing while they are looked through.  The
 * words are looked for anywhere: who writes a schema by hand may put what
 * he likes between them.
 */
static int
check_kinds(struct judge *j)
{
	int	r;

	r = none(j, "SELECT name FROM sqlite_master WHERE type NOT IN "
	    "('table', 'index') OR (sql LIKE '%virtual%' AND name "
	    "NOT IN ('embedding_fulltext_search', 'embedding_fulltext'))",
	    CHECK_SCHEMA, "", ": a view, trigger or virtual table that "
	    "ChromaDB does not have");
	if (r != 0)
		return r;
	return none(j, "SELECT name FROM sqlite_master WHERE type = 'table' "
	    "AND lower(sql) GLOB '*[^a-z0-9_]check[^a-z0-9_]*'",
	    CHECK_SCHEMA, "", ": a CHECK that ChromaDB does not have");
}

/* What this version must have is there. */
static int
check_schema(struct judge *j)
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
		if (!chroma_has_column(&j->c, columns[i].table,
		    columns[i].column))
			return REFUSE(CHECK_SCHEMA,
			    "table %s: no column %s", columns[i].table,
			    columns[i].column);
	}
	if (j->version[METADB] >= 3 && (r = none(j, "SELECT 'x' WHERE NOT "
	    "EXISTS (SELECT 1 FROM sqlite_master WHERE name = "
	    "'embedding_fulltext_search' AND sql LIKE '%fts5%')",
	    CHECK_SCHEMA, "no full-text table embedding_fulltext_search",
	    "")) != 0)
		return r;
	if (j->version[QUEUE] >= 2)
		return none(j, "SELECT id FROM embeddings_queue_config WHERE "
		    "config_json_str IS NOT NULL AND NOT "
		    "json_valid(config_json_str)", CHECK_SCHEMA,
		    "embeddings_queue_config row ", " is not JSON");
	return 0;
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
		if ((r = number(j, sql, &n)) != 0)
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

static int
check_collections(struct judge *j)
{
	int64_t	n;
	int	r;

	if ((r = number(j, "SELECT count(*) FROM collections", &n)) != 0)
		return r;
	if (n == 0)
		return check_no_collection(j);
	if (j->c.has_databases && ((r = none(j, "SELECT c.name FROM "
	    "collections c LEFT JOIN databases d ON d.id = c.database_id "
	    "WHERE d.id IS NULL", CHECK_COLLECTION, "collection ",
	    ": its database is not there, nobody can see it")) != 0 ||
	    (r = none(j, "SELECT d.name FROM databases d LEFT JOIN tenants t "
	    "ON t.id = d.tenant_id WHERE t.id IS NULL", CHECK_COLLECTION,
	    "database ", ": its tenant is not there")) != 0))
		return r;
	if ((r = none(j, "SELECT id FROM collections WHERE "
	    "typeof(id) != 'text' OR length(id) != 36", CHECK_COLLECTION,
	    "collection id ", " is not a uuid")) != 0)
		return r;
	if ((r = none(j, "SELECT c.name || ': ' || "
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
	if ((r = none(j, "SELECT type FROM segments WHERE NOT "
	    "(scope = 'VECTOR' AND type = '" CHROMA_VECTOR "') AND NOT "
	    "(scope = 'METADATA' AND type = '" CHROMA_META "')",
	    CHECK_SEGMENT, "segment of unknown type ", "")) != 0)
		return r;
	if ((r = none(j, "SELECT id FROM segments WHERE collection NOT IN "
	    "(SELECT id FROM collections) OR collection IS NULL",
	    CHECK_SEGMENT, "segment ", " of no collection")) != 0)
		return r;
	if ((r = none(j, "SELECT segment_id FROM embeddings WHERE segment_id "
	    "NOT IN (SELECT id FROM segments WHERE scope = 'METADATA')",
	    CHECK_SEGMENT, "embeddings of unknown segment ", "")) != 0)
		return r;
	if (chroma_read_colls(&j->c, j->e) == -1)
		return fault(j, CHECK_COLLECTION);
	return 0;
}

/* -- the queue --------------------------------------------------------- */

static int
topic_cmp(const void *a, const void *b)
{
	const struct chroma_coll *const	*x = a, *const *y = b;

	return strcmp((*x)->topic, (*y)->topic);
}

/*
 * The text in column i, NULL when it has another type, which is asked for
 * first: what is a blob is a text as soon as it was read as one.
 */
static const char *
text_of(sqlite3_stmt *st, int i, size_t *n)
{
	const char	*p;

	if (sqlite3_column_type(st, i) != SQLITE_TEXT)
		return NULL;
	p = (const char *)sqlite3_column_text(st, i);
	*n = (size_t)sqlite3_column_bytes(st, i);
	return p;
}

static int
check_queue_vector(struct judge *j, sqlite3_stmt *st,
    const struct chroma_coll *cc, long long seq, int op)
{
	const char	*enc;
	const void	*p;
	size_t		 len;
	int		 n;

	enc = text_of(st, 5, &len);
	if (sqlite3_column_type(st, 4) == SQLITE_NULL) {
		if (op == CHROMA_OP_ADD || op == CHROMA_OP_UPSERT)
			return REFUSE(CHECK_QUEUE,
			    "queue row %lld: no vector", seq);
		return 0;
	}
	if (enc == NULL || strcmp(enc, "FLOAT32") != 0)
		return REFUSE(CHECK_QUEUE, "queue row %lld: unknown encoding "
		    "%.30s", seq, enc != NULL ? enc : "NULL");
	if (sqlite3_column_type(st, 4) != SQLITE_BLOB)
		return REFUSE(CHECK_QUEUE, "queue row %lld: vector that is "
		    "no blob", seq);
	p = sqlite3_column_blob(st, 4);
	n = sqlite3_column_bytes(st, 4);
	if (cc->dim == 0 ||
	    (uint64_t)n != (uint64_t)cc->dim * 4 || p == NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: vector: want %llu "
		    "bytes (dimension %u), got %d bytes", seq,
		    (unsigned long long)cc->dim * 4, cc->dim, n);
	if (!item_finite(p, cc->dim))
		return REFUSE(CHECK_QUEUE, "queue row %lld: NaN or infinity "
		    "in its vector", seq);
	return 0;
}

/* seq_id, topic, id, operation, vector, encoding, metadata, time */
static int
check_queue_row(struct judge *j, sqlite3_stmt *st,
    struct chroma_coll **by_topic)
{
	struct chroma_coll	 key, *kp = &key, **hit;
	const char		*p;
	size_t			 n;
	long long		 seq = sqlite3_column_int64(st, 0);
	int			 op = sqlite3_column_int(st, 3);

	memset(&key, 0, sizeof(key));
	p = text_of(st, 1, &n);
	key.topic = mem_dup(p != NULL ? p : "");
	hit = bsearch(&kp, by_topic, j->c.n, sizeof(*by_topic), topic_cmp);
	free(key.topic);
	if (hit == NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: topic of no "
		    "collection", seq);
	if (seq < 0 || sqlite3_column_type(st, 3) != SQLITE_INTEGER ||
	    op < CHROMA_OP_ADD || op > CHROMA_OP_DELETE)
		return REFUSE(CHECK_QUEUE, "queue row %lld: operation: want "
		    "0 to 3, got %d", seq, op);
	p = text_of(st, 2, &n);
	if (p == NULL || n == 0)
		return REFUSE(CHECK_QUEUE, "queue row %lld: no id", seq);
	if (n > ITEM_ID_MAX)
		return REFUSE(CHECK_LIMIT, "queue row %lld: id of %zu bytes: "
		    "want at most %u", seq, n, ITEM_ID_MAX);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "queue row %lld: id is not UTF-8",
		    seq);
	if (check_queue_vector(j, st, *hit, seq, op) != 0)
		return 1;
	if (sqlite3_column_type(st, 6) != SQLITE_NULL) {
		p = text_of(st, 6, &n);
		if (p == NULL || n > ITEM_TEXT_MAX || p[0] != '{' ||
		    !json_valid(p, n))
			return REFUSE(CHECK_QUEUE, "queue row %lld: metadata "
			    "is not a JSON object", seq);
	}
	if (sqlite3_column_type(st, 7) == SQLITE_NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: created_at is no "
		    "time: ChromaDB ignores such rows", seq);
	return 0;
}

static int
check_queue(struct judge *j)
{
	struct chroma_coll	**by_topic;
	sqlite3_stmt		*st;
	size_t			 i;
	int			 r;

	by_topic = mem_zero(j->c.n, sizeof(struct chroma_coll *));
	for (i = 0; i < j->c.n; i++)
		by_topic[i] = &j->c.colls[i];
	if (j->c.n != 0)
		qsort(by_topic, j->c.n, sizeof(*by_topic), topic_cmp);
	st = db_prepare(j->c.db, "SELECT seq_id, topic, id, operation, "
	    "vector, encoding, metadata, strftime('%s', created_at) "
	    "FROM embeddings_queue", j->c.file, j->e);
	if (st == NULL) {
		free(by_topic);
		return fault(j, CHECK_SCHEMA);
	}
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_queue_row(j, st, by_topic)) != 0)
			break;
	sqlite3_finalize(st);
	free(by_topic);
	return r == -1 ? fault(j, CHECK_CORRUPT) : r;
}

/* -- sequence numbers -------------------------------------------------- */

/* The greatest seq_id of a METADATA segment's rows, of either type. */
static int
max_embedding_seq(struct judge *j, const struct chroma_coll *cc,
    int64_t *out)
{
	sqlite3_stmt	*st;
	int64_t		 seq;
	int		 r;

	*out = 0;
	/* blobs of 8 bytes big-endian compare as their numbers do */
	st = db_prepare(j->c.db, "SELECT max(seq_id) FROM embeddings WHERE "
	    "segment_id = ?1 GROUP BY typeof(seq_id), length(seq_id) * "
	    "(typeof(seq_id) = 'blob')", j->c.file, j->e);
	if (st == NULL)
		return fault(j, CHECK_SCHEMA);
	sqlite3_bind_text(st, 1, cc->meta_seg, -1, SQLITE_STATIC);
	while ((r = db_step(st, j->c.file, j->e)) == 1) {
		if (chroma_seq(st, 0, &seq) == -1) {
			r = REFUSE(CHECK_SEQ, "collection %.100s: a seq_id "
			    "that is no number", cc->name);
			break;
		}
		if (seq > *out)
			*out = seq;
	}
	sqlite3_finalize(st);
	return r == -1 ? fault(j, CHECK_CORRUPT) : r;
}

static int
check_seq_coll(struct judge *j, const struct chroma_coll *cc, int64_t all)
{
	sqlite3_stmt	*st;
	int64_t		 mine = 0, rows = 0;
	int		 r, any = 0;

	st = db_prepare(j->c.db, "SELECT max(seq_id) FROM embeddings_queue "
	    "WHERE topic = ?1", j->c.file, j->e);
	if (st == NULL)
		return fault(j, CHECK_SCHEMA);
	sqlite3_bind_text(st, 1, cc->topic, -1, SQLITE_STATIC);
	if ((r = db_step(st, j->c.file, j->e)) == 1) {
		any = sqlite3_column_type(st, 0) != SQLITE_NULL;
		mine = sqlite3_column_int64(st, 0);
	}
	sqlite3_finalize(st);
	if (r == -1 || (r = max_embedding_seq(j, cc, &rows)) != 0)
		return r == -1 ? fault(j, CHECK_CORRUPT) : r;
	if ((cc->has_meta_max && cc->meta_max > all) ||
	    (cc->has_vector_max && cc->vector_max > all))
		return REFUSE(CHECK_SEQ, "collection %.100s: max_seq_id %lld "
		    "is beyond the queue's last row %lld: later writes would "
		    "be acknowledged and lost", cc->name,
		    (long long)(cc->meta_max > all ? cc->meta_max :
		    cc->vector_max), (long long)all);
	if (cc->has_meta_max && (!any || cc->meta_max > mine))
		return REFUSE(CHECK_SEQ, "collection %.100s: max_seq_id %lld, "
		    "but its last queue row is %lld", cc->name,
		    (long long)cc->meta_max, (long long)mine);
	if (cc->has_meta_max && rows > cc->meta_max)
		return REFUSE(CHECK_SEQ, "collection %.100s: a record of "
		    "seq_id %lld, beyond max_seq_id %lld", cc->name,
		    (long long)rows, (long long)cc->meta_max);
	/*
	 * Before the first record there is no dimension, and its server
	 * lies idle over updates and deletions of what is not there.
	 */
	if (cc->dim != 0 && any && mine > cc->meta_max &&
	    (j->flags & CHECK_RECOVER_HOT) == 0)
		return REFUSE(CHECK_HOT, "collection %.100s: its writer "
		    "stopped before it applied queue rows %lld to %lld",
		    cc->name, (long long)cc->meta_max + 1, (long long)mine);
	return 0;
}

static int
check_seq(struct judge *j)
{
	int64_t	all;
	size_t	i;
	int	r;

	if (j->version[METADB] >= 5 && (r = none(j, "SELECT segment_id FROM "
	    "max_seq_id WHERE typeof(seq_id) != 'integer'", CHECK_SEQ,
	    "max_seq_id of segment ", " is not an integer")) != 0)
		return r;
	r = number(j, "SELECT max(seq_id) FROM embeddings_queue", &all);
	for (i = 0; i < j->c.n && r == 0; i++)
		r = check_seq_coll(j, &j->c.colls[i], all);
	return r;
}

/* -- metadata and full text -------------------------------------------- */

/* id, key, string, int, float, bool, owner; orphan: it needs no owner */
static int
check_meta_row(struct judge *j, sqlite3_stmt *st, int orphan)
{
	static const int	type[4] = {
		SQLITE_TEXT, SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_INTEGER
	};
	const void	*p;
	long long	 id = sqlite3_column_int64(st, 0);
	size_t		 n;
	char		 b[80];
	int		 i, t, values = 0;

	if (!orphan && sqlite3_column_type(st, 6) == SQLITE_NULL)
		return REFUSE(CHECK_METADATA, "metadata of row %lld, which is "
		    "no record", id);
	p = text_of(st, 1, &n);
	if (p == NULL)
		return REFUSE(CHECK_METADATA, "row %lld: a key that is no "
		    "text", id);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "row %lld: a key is not UTF-8", id);
	if (n > ITEM_ID_MAX)
		return REFUSE(CHECK_LIMIT, "row %lld: a key of %zu bytes: "
		    "want at most %u", id, n, ITEM_ID_MAX);
	for (i = 0; i < 4; i++) {
		if ((t = sqlite3_column_type(st, 2 + i)) == SQLITE_NULL)
			continue;
		values++;
		if (t != type[i])
			return REFUSE(CHECK_METADATA, "row %lld key %s: value "
			    "of the wrong type", id, shown(st, 1, b));
	}
	if (values != 1)
		return REFUSE(CHECK_METADATA, "row %lld key %s: want 1 value, "
		    "got %d", id, shown(st, 1, b), values);
	if (sqlite3_column_type(st, 2) == SQLITE_NULL)
		return 0;
	p = sqlite3_column_text(st, 2);
	n = (size_t)sqlite3_column_bytes(st, 2);
	if (p == NULL || n > ITEM_TEXT_MAX)
		return REFUSE(CHECK_LIMIT, "row %lld key %s: %zu bytes: want "
		    "at most %u", id, shown(st, 1, b), n, ITEM_TEXT_MAX);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "row %lld key %s: not UTF-8", id,
		    shown(st, 1, b));
	return 0;
}

static int
check_meta_table(struct judge *j, const char *sql, int orphan)
{
	sqlite3_stmt	*st;
	int		 r;

	st = db_prepare(j->c.db, sql, j->c.file, j->e);
	if (st == NULL)
		return fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_meta_row(j, st, orphan)) != 0)
			break;
	sqlite3_finalize(st);
	return r == -1 ? fault(j, CHECK_CORRUPT) : r;
}

/* FTS5's own check, by a handle that could write; it writes nothing. */
static int
check_fts_by(struct judge *j, struct sqlite3 *db)
{
	int	data = 0, rc;

	rc = sqlite3_exec(db, "PRAGMA journal_mode=MEMORY; BEGIN;"
	    "INSERT INTO embedding_fulltext_search("
	    "embedding_fulltext_search) VALUES('integrity-check');"
	    "ROLLBACK", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return 0;
	rc = sqlite3_extended_errcode(db);
	(void)db_status(rc, &data);
	if (db_row_fault(db, NULL, j->c.file, j->e) == -1)
		return -1;
	if (data)
		return REFUSE(CHECK_CORRUPT, "the full-text index does not "
		    "hold what its rows hold: %s", sqlite3_errmsg(db));
	if ((rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_PERM)
		return 0;
	return db_err(db, j->c.file, j->e);
}

/*
 * The handle is one in memory, or another on the file: with its journal in
 * memory it leaves no trace.  Where the file cannot be opened for writing,
 * pages and contents have been checked all the same.
 */
static int
check_fts_index(struct judge *j)
{
	struct sqlite3	*db;
	struct err	 mine;
	int		 rv;

	if (j->c.memory)
		return check_fts_by(j, j->c.db);
	memset(&mine, 0, sizeof(mine));
	/* SQLite would remove a journal of garbage, and that is not ours */
	if (faccessat(j->c.dirfd, CHROMA_FILE, W_OK, 0) == -1 ||
	    faccessat(j->c.dirfd, CHROMA_FILE "-journal", F_OK, 0) == 0 ||
	    faccessat(j->c.dirfd, CHROMA_FILE "-wal", F_OK, 0) == 0)
		return 0;
	if ((db = db_open(j->c.file, DB_RECOVER, 0, &mine)) == NULL)
		return mine.code == MSG_NOPERM ? 0 :
		    err_set(j->e, mine.code, "%s", mine.text);
	rv = check_fts_by(j, db);
	if (db_close(db, j->c.file, &mine) == -1 && rv == 0)
		rv = err_set(j->e, mine.code, "%s", mine.text);
	return rv;
}

static int
check_fts(struct judge *j)
{
	int64_t	docs, rows;
	int	r;

	if (j->version[METADB] < 3)
		return 0;
	/* light: by an index and a table that hold no text */
	if ((r = number(j, "SELECT count(*) FROM embedding_metadata WHERE "
	    "+key = '" CHROMA_DOC "'", &docs)) != 0 ||
	    (r = number(j, j->light ? "SELECT count(*) FROM "
	    "embedding_fulltext_search_docsize" : "SELECT count(*) FROM "
	    "embedding_fulltext_search_content", &rows)) != 0)
		return r;
	if (docs != rows)
		return REFUSE(CHECK_METADATA, "%lld documents, but %lld "
		    "full-text rows", (long long)docs, (long long)rows);
	if (j->light)
		return 0;
	if ((r = none(j, "SELECT m.id FROM embedding_metadata m LEFT JOIN "
	    "embedding_fulltext_search_content f ON f.id = m.id WHERE "
	    "m.key = '" CHROMA_DOC "' AND (f.id IS NULL OR "
	    "f.c0 IS NOT m.string_value)", CHECK_METADATA,
	    "the full-text row differs from the document of row ", "")) != 0)
		return r;
	return check_fts_index(j);
}

static int
check_metadata(struct judge *j)
{
	int64_t	low, high;
	int	r;

	if ((r = number(j, "SELECT min(id) FROM embeddings", &low)) != 0 ||
	    (r = number(j, "SELECT max(id) FROM embeddings", &high)) != 0)
		return r;
	if (low < 0 || high > ROW_MAX)
		return REFUSE(CHECK_LIMIT, "embeddings.id %lld: want 0 to "
		    "%lld: ChromaDB cannot read others",
		    (long long)(low < 0 ? low : high), ROW_MAX);
	if (j->light)
		return check_fts(j);
	r = check_meta_table(j, j->c.has_bool ?
	    "SELECT m.id, m.key, m.string_value, m.int_value, m.float_value, "
	    "m.bool_value, e.id FROM embedding_metadata m LEFT JOIN "
	    "embeddings e ON e.id = m.id" :
	    "SELECT m.id, m.key, m.string_value, m.int_value, m.float_value, "
	    "NULL, e.id FROM embedding_metadata m LEFT JOIN embeddings e "
	    "ON e.id = m.id", 0);
	/*
	 * A server that drops a collection leaves its arrays behind, and
	 * new records that get the same rows show them as theirs.
	 */
	if (r == 0 && j->c.has_array)
		r = check_meta_table(j, "SELECT m.id, m.key, m.string_value, "
		    "m.int_value, m.float_value, m.bool_value, e.id FROM "
		    "embedding_metadata_array m LEFT JOIN embeddings e "
		    "ON e.id = m.id", 1);
	return r != 0 ? r : check_fts(j);
}

/* -- vectors ----------------------------------------------------------- */

/* What a walk through one collection found. */
struct tally {
	uint64_t	 records;
	uint64_t	 bare;		/* records without vector */
	uint64_t	 stray;		/* vectors without record */
	uint64_t	 lost;		/* whose element is not there */
	uint64_t	 indexed;	/* taken from the HNSW files */
	uint64_t	 top;		/* greatest element among them */
	char		 first[80];	/* the first id at fault */
};

static void
note(struct tally *t, const struct chroma_state *s)
{
	size_t	i;

	if (t->first[0] != '\0')
		return;
	for (i = 0; i < s->len && i < sizeof(t->first) - 1; i++)
		t->first[i] = s->id[i] < 0x20 || s->id[i] > 0x7e ? '?' :
		    s->id[i];
	t->first[i] = '\0';
}

static int
count_ids(struct judge *j, struct chroma_walk *w, size_t i, struct tally *t)
{
	const struct chroma_coll	*cc = &j->c.colls[i];
	const char			*why;
	struct chroma_state		 s;
	struct ledger_rec		 rec;
	int				 r;

	memset(t, 0, sizeof(*t));
	if (j->c.ours && chroma_ours_start(&j->ours, i, w, j->e) == -1)
		return fault(j, CHECK_LEDGER);
	while ((r = j->c.ours ? chroma_ours_next(&j->ours, &s, &rec, j->e) :
	    chroma_walk_next(w, &s, j->e)) == 1) {
		if (!path_utf8(s.id, s.len))
			return REFUSE(CHECK_UTF8, "collection %.100s: an id "
			    "is not UTF-8", cc->name);
		t->records += (uint64_t)s.record;
		if (s.record && !s.vector) {
			t->bare++;
			note(t, &s);
		} else if (s.vector && !s.record) {
			t->stray++;
			note(t, &s);
		} else if (s.record && s.vector_seq == 0) {
			t->indexed++;
			if (s.element == CHROMA_NO_ELEMENT) {
				t->lost++;
				note(t, &s);
			} else if (s.element > t->top)
				t->top = s.element;
		}
	}
	if (r == 0 || !j->c.ours)
		return r == 0 ? 0 : fault(j, CHECK_COLLECTION);
	/* an index that cannot be read is more to the point than its ids */
	why = chroma_walk_index(w)->why;
	if (j->e->code != MSG_DATAERR || why == NULL)
		return fault(j, CHECK_LEDGER);
	memset(j->e, 0, sizeof(*j->e));
	return REFUSE(CHECK_INDEX, "collection %.100s: %.300s", cc->name,
	    bare(j, why));
}

/* Which of the index files is too short, or else which number is wrong. */
static int
refuse_lost(struct judge *j, const struct chroma_coll *cc,
    const struct chroma_index *x, const struct tally *t)
{
	const struct hnsw	*h = &x->hnsw;
	const char		*file = HNSW_HEADER_FILE;
	unsigned long long	 have = h->head.count;

	if (h->n_level0 < h->head.count) {
		file = HNSW_LEVEL0_FILE;
		have = h->n_level0;
	} else if (h->cosine && h->n_length < h->head.count) {
		file = HNSW_LENGTH_FILE;
		have = h->n_length;
	}
	return REFUSE(CHECK_INDEX, "collection %.100s: %llu vectors are not "
	    "in the index (first: %s): %s holds or counts %llu elements, "
	    "the greatest label is %llu", cc->name,
	    (unsigned long long)t->lost, t->first, file, have,
	    (unsigned long long)x->label_max);
}

/* Vectors are needed from the HNSW files: then these must be right. */
static int
check_index(struct judge *j, const struct chroma_coll *cc,
    struct chroma_index *x, const struct tally *t)
{
	uint64_t	whole;

	if (t->lost != 0)
		return refuse_lost(j, cc, x, t);
	if (x->damaged)
		return REFUSE(CHECK_INDEX, "collection %.100s: %.300s",
		    cc->name, bare(j, x->why));
	if (!x->inverse)
		return REFUSE(CHECK_INDEX, "collection %.100s: %s: "
		    "id_to_label and label_to_id differ", cc->name,
		    CHROMA_PICKLE);
	if (x->pickle.has_total && (x->pickle.total < 0 ||
	    x->label_max > (uint64_t)x->pickle.total))
		return REFUSE(CHECK_INDEX, "collection %.100s: label %llu, "
		    "but only %lld were ever given", cc->name,
		    (unsigned long long)x->label_max,
		    (long long)x->pickle.total);
	if (j->light)
		return 0; /* check_graph sees to the files, not to vectors */
	if (hnsw_check(&x->hnsw, &whole, j->e) == -1)
		return fault(j, CHECK_INDEX);
	if (t->top >= whole)
		return REFUSE(CHECK_INDEX, "collection %.100s: element %llu "
		    "is needed, but %s, %s and %s hold only %llu", cc->name,
		    (unsigned long long)t->top, HNSW_LEVEL0_FILE,
		    HNSW_LENGTH_FILE, HNSW_LINKS_FILE,
		    (unsigned long long)whole);
	return 0;
}

/* The index of a directory of ours: whole, and nothing but its records. */
static int
check_graph(struct judge *j, const struct chroma_coll *cc,
    struct chroma_index *x, const struct tally *t)
{
	uint64_t	live;

	if (!x->open) {
		if (t->records == 0 && !x->damaged)
			return 0;
		return REFUSE(CHECK_INDEX, "collection %.100s: %.300s",
		    cc->name, x->why != NULL ? bare(j, x->why) :
		    "no index");
	}
	if (hnsw_check_graph(&x->hnsw, &live, j->e) == -1)
		return fault(j, CHECK_INDEX);
	if (live != t->records || x->pickle.n_ids != t->records)
		return REFUSE(CHECK_INDEX, "collection %.100s: %llu records, "
		    "but %llu elements in the index and %llu ids in %s",
		    cc->name, (unsigned long long)t->records,
		    (unsigned long long)live,
		    (unsigned long long)x->pickle.n_ids, CHROMA_PICKLE);
	if (!x->pickle.has_total || x->pickle.total < 0 ||
	    (uint64_t)x->pickle.total != x->hnsw.head.count)
		return REFUSE(CHECK_INDEX, "collection %.100s: %llu elements "
		    "in %s, but %s counts %lld", cc->name,
		    (unsigned long long)x->hnsw.head.count, HNSW_HEADER_FILE,
		    CHROMA_PICKLE, (long long)x->pickle.total);
	return 0;
}

static int
check_coll(struct judge *j, size_t i)
{
	const struct chroma_coll *cc = &j->c.colls[i];
	struct chroma_index	*x;
	struct chroma_walk	*w;
	struct tally		 t;
	int			 r;

	if ((w = chroma_walk_new(&j->c, cc, j->e)) == NULL)
		return fault(j, CHECK_COLLECTION);
	x = chroma_walk_index(w);
	if ((r = count_ids(j, w, i, &t)) != 0)
		goto done;
	/* an index that was written once, or whose files are bad */
	if (t.bare != 0 && (x->damaged || cc->has_vector_max))
		r = REFUSE(CHECK_INDEX, "collection %.100s: %llu of %llu "
		    "records have no vector (first: %s): %.200s", cc->name,
		    (unsigned long long)t.bare,
		    (unsigned long long)t.records, t.first,
		    x->why != NULL ? bare(j, x->why) :
		    CHROMA_PICKLE " lacks them");
	else if (t.bare != 0)
		r = REFUSE(CHECK_VECTOR, "collection %.100s: %llu records "
		    "have no vector anywhere (first: %s)", cc->name,
		    (unsigned long long)t.bare, t.first);
	else if (t.stray != 0)
		r = REFUSE(CHECK_VECTOR, "collection %.100s: %llu vectors "
		    "without record (first: %s)", cc->name,
		    (unsigned long long)t.stray, t.first);
	else if (t.records != 0 && cc->dim == 0)
		r = REFUSE(CHECK_COLLECTION, "collection %.100s: %llu "
		    "records, but no dimension", cc->name,
		    (unsigned long long)t.records);
	else if (t.indexed != 0)
		r = check_index(j, cc, x, &t);
	if (r == 0 && j->c.ours)
		r = check_graph(j, cc, x, &t);
done:
	chroma_walk_free(w);
	return r;
}

/* The ledger's own form, before it is believed. */
static int
check_ledger(struct judge *j)
{
	int64_t	n;
	int	r;

	if ((r = number(j, "SELECT (SELECT count(*) FROM embeddings_queue) + "
	    "(SELECT count(*) FROM max_seq_id)", &n)) != 0)
		return r;
	if (n != 0)
		return REFUSE(CHECK_LEDGER, "a ChromaDB server has written to "
		    "it: its queue and sequence numbers are not empty");
	if (chroma_ours_open(&j->ours, &j->c, j->e) == -1)
		return fault(j, CHECK_LEDGER);
	return j->light ? 0 : check_pages(j, j->ours.l.db, j->ours.l.path,
	    LEDGER_FILE);
}

/*
 * A ledger speaks of files as they were: without a manifest that names
 * them, or with another, nobody knows whether they still are.  That each
 * has its digest is for those to prove who have read all bytes.
 */
static int
check_manifest(struct judge *j)
{
	struct manifest	m;
	struct err	mine;
	int		r = 0;

	memset(&mine, 0, sizeof(mine));
	if (manifest_read(&m, j->c.dirfd, NULL, &mine) == -1) {
		if (mine.code == MSG_NOINPUT)
			return REFUSE(CHECK_MANIFEST, "%s, but no %s",
			    LEDGER_FILE, MANIFEST_NAME);
		if (mine.code == MSG_DATAERR)
			return REFUSE(CHECK_MANIFEST, "%s", mine.text);
		return err_set(j->e, mine.code, "%s", mine.text);
	}
	if (manifest_verify(&m, j->c.dirfd, 0, &mine) == -1)
		r = mine.code == MSG_DATAERR ? REFUSE(CHECK_MANIFEST, "%s",
		    mine.text) : err_set(j->e, mine.code, "%s", mine.text);
	manifest_clear(&m);
	return r;
}

/* Dimension before queue: a NULL would make every vector look wrong. */
static int
check_dimension(struct judge *j)
{
	return none(j, "SELECT c.name FROM collections c JOIN segments s ON "
	    "s.collection = c.id AND s.scope = 'METADATA' WHERE c.dimension "
	    "IS NULL AND EXISTS (SELECT 1 FROM embeddings e WHERE "
	    "e.segment_id = s.id)", CHECK_COLLECTION, "collection ",
	    ": records, but no dimension");
}

/* Everything behind the open database. */
static int
check_database(struct judge *j)
{
	size_t	i;
	int	r;

	/* first of all: looking at the pages evaluates what a schema says */
	if ((r = check_kinds(j)) != 0 ||
	    (!j->light && (r = check_pages(j, j->c.db, j->c.file,
	    CHROMA_FILE)) != 0) || (r = check_schema(j)) != 0 ||
	    (r = check_collections(j)) != 0 ||
	    (r = check_dimension(j)) != 0 || (r = check_queue(j)) != 0 ||
	    (r = check_seq(j)) != 0 ||
	    (j->c.ours && (r = check_ledger(j)) != 0))
		return r;
	/* lost records are named as such, before what they left behind */
	for (i = 0; i < j->c.n && r == 0; i++)
		r = check_coll(j, i);
	if (r == 0 && j->c.ours && chroma_ours_end(&j->ours, j->e) == -1)
		r = fault(j, CHECK_LEDGER);
	return r != 0 ? r : check_metadata(j);
}

/* Journals that are links or worse would be opened by SQLite. */
static int
check_beside(struct judge *j)
{
	static const char *const	names[] = {
		CHROMA_FILE "-journal", CHROMA_FILE "-wal",
		CHROMA_FILE "-shm", LEDGER_FILE "-journal",
		LEDGER_FILE "-wal", LEDGER_FILE "-shm"
	};
	struct stat	st;
	size_t		i;
	int		dirfd, rv = 0;

	dirfd = open(j->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd == -1) {
		if (errno == ENOENT || errno == ENOTDIR)
			return REFUSE(CHECK_MISSING, "no such directory");
		return err_sys(j->e, errno, "%s", j->path);
	}
	for (i = 0; i < sizeof(names) / sizeof(names[0]) && rv == 0; i++) {
		if (fstatat(dirfd, names[i], &st, AT_SYMLINK_NOFOLLOW) ==
		    -1) {
			if (errno != ENOENT)
				rv = err_sys(j->e, errno, "%s/%s", j->path,
				    names[i]);
		} else if (!S_ISREG(st.st_mode))
			rv = REFUSE(CHECK_UNSAFE, "%s is not a regular file",
			    names[i]);
	}
	(void)close(dirfd);
	return rv;
}

int
chroma_check(const char *path, int flags, struct chroma *c,
    struct check_verdict *v, struct err *e)
{
	struct judge	me, *j = &me;
	unsigned char	b[HEAD_LEN];
	uint64_t	size;
	int		recover = (flags & CHECK_RECOVER_HOT) != 0;
	int		r;

	memset(j, 0, sizeof(*j));
	j->path = path;
	j->flags = flags;
	j->v = v;
	j->e = e;
	if ((r = check_beside(j)) != 0 || (r = read_head(j, b, &size)) != 0 ||
	    (r = check_magic(j, b, size)) != 0 || (r = check_hot(j)) != 0)
		return r;
	/* before a rollback the file may have any size */
	if (!recover && (r = check_size(j)) != 0)
		return r;
	j->c.dirfd = -1;
	if (chroma_start(&j->c, path, recover ? STORE_RECOVER : 0, e) == -1 ||
	    (recover && db_exec(j->c.db, "PRAGMA journal_mode=DELETE",
	    j->c.file, e) == -1))
		r = fault(j, CHECK_CORRUPT);
	else if (!recover || (r = check_size(j)) == 0) {
		j->light = j->c.ours && (flags & CHECK_OURS) != 0;
		r = j->c.ours && !j->light ? check_manifest(j) : 0;
		if (r == 0)
			r = check_database(j);
	}
	chroma_ours_close(&j->ours);
	if (r == 0 && c != NULL)
		*c = j->c;
	else if (chroma_clear(&j->c, e) == -1 && r == 0)
		r = -1;
	return r;
}
