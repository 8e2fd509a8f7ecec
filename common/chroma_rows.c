/*
 * chroma_rows: the rows that a ChromaDB server would have written.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "chroma.h"
#include "chroma_schema.h"
#include "db.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

#define CACHE_KIB	16384	/* of pages */
#define SHOWN		100	/* bytes of an id in a message */
#define DATABASE	"00000000-0000-0000-0000-000000000000"

/* What a record's rows are deleted by; the last is the record itself. */
enum {
	DEL_META,
	DEL_ARRAY,
	DEL_TEXT,
	DEL_ROW
};

static const char *const del_sql[] = {
	"DELETE FROM embedding_metadata WHERE id = ?",
	"DELETE FROM embedding_metadata_array WHERE id = ?",
	"DELETE FROM embedding_fulltext_search WHERE rowid = ?",
	"DELETE FROM embeddings WHERE id = ?"
};

static int
prepare(struct chroma_rows *r, struct sqlite3_stmt **st, const char *sql,
    struct err *e)
{
	if (*st == NULL)
		*st = db_prepare(r->db, sql, r->path, e);
	return *st == NULL ? -1 : 0;
}

/* A statement that gives no row. */
static int
run(struct chroma_rows *r, sqlite3_stmt *st, int bind_rc, struct err *e)
{
	if (bind_rc != SQLITE_OK)
		return db_err(r->db, r->path, e);
	if (db_step(st, r->path, e) == -1)
		return -1;
	(void)sqlite3_reset(st);
	return 0;
}

static int
bind_text(sqlite3_stmt *st, int i, const char *s)
{
	if (s == NULL)
		return sqlite3_bind_null(st, i);
	return sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static int
apply(struct chroma_rows *r, const char *dir, int from, int to,
    struct err *e)
{
	int	i, what;

	for (i = from; i <= to; i++) {
		what = CHROMA_APPLY_SQL | CHROMA_APPLY_ROW;
		/* indexes come when the rows are there */
		if (strcmp(dir, CHROMA_METADB) == 0 &&
		    i == CHROMA_METADB_INDEX)
			what = CHROMA_APPLY_ROW;
		if (chroma_apply(r->db, dir, i, what, r->path, e) == -1)
			return -1;
	}
	return 0;
}

int
chroma_rows_create(struct chroma_rows *r, const char *path, int schema,
    struct err *e)
{
	char	sql[512];
	int	fd, i;

	memset(r, 0, sizeof(*r));
	buf_init(&r->key, ITEM_TEXT_MAX);
	r->path = mem_dup(path);
	r->anew = 1;
	r->has_schema = schema;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	(void)close(fd);
	r->db = db_open(path, DB_BUILD, CACHE_KIB, e);
	if (r->db == NULL || db_exec(r->db, "PRAGMA page_size=4096; BEGIN",
	    path, e) == -1)
		return -1;
	for (i = 0; chroma_before[i] != NULL; i++)
		if (db_exec(r->db, chroma_before[i], path, e) == -1)
			return -1;
	if (apply(r, CHROMA_SYSDB, 1, schema ? CHROMA_SYSDB_SCHEMA :
	    CHROMA_SYSDB_PLAIN, e) == -1 ||
	    apply(r, CHROMA_METADB, 1, CHROMA_METADB_PLAIN, e) == -1 ||
	    apply(r, CHROMA_QUEUE, 1, CHROMA_QUEUE_LEVEL, e) == -1)
		return -1;
	/* without its row the queue would be kept for ever */
	(void)snprintf(sql, sizeof(sql), "INSERT INTO acquire_write "
	    "(id, lock_status) VALUES (1, 1);"
	    "INSERT INTO embeddings_queue_config (id, config_json_str) "
	    "VALUES (1, '{\"automatically_purge\":true,\"_type\":"
	    "\"EmbeddingsQueueConfigurationInternal\"}');"
	    "INSERT INTO embedding_fulltext_search"
	    "(embedding_fulltext_search, rank) VALUES('hashsize', %u)",
	    CHROMA_FTS_HASH);
	return db_exec(r->db, sql, path, e);
}

/* The greatest version applied. */
static int
level(struct chroma_rows *r, const char *dir, int64_t *v, struct err *e)
{
	char	sql[128];

	(void)snprintf(sql, sizeof(sql), "SELECT coalesce(max(version), 0) "
	    "FROM migrations WHERE dir = '%s'", dir);
	return db_int(r->db, sql, r->path, v, e) == 1 ? 0 : -1;
}

int
chroma_rows_open(struct chroma_rows *r, const char *path, int schema,
    struct err *e)
{
	int64_t	sys = 0, meta = 0, queued = 0;

	memset(r, 0, sizeof(*r));
	buf_init(&r->key, ITEM_TEXT_MAX);
	r->path = mem_dup(path);
	r->db = db_open(path, DB_CHANGE, CACHE_KIB, e);
	if (r->db == NULL || db_exec(r->db, "BEGIN", path, e) == -1 ||
	    level(r, CHROMA_SYSDB, &sys, e) == -1 ||
	    level(r, CHROMA_METADB, &meta, e) == -1 ||
	    db_int(r->db, "SELECT count(*) FROM embeddings_queue", path,
	    &queued, e) == -1 ||
	    db_int(r->db, "SELECT coalesce(max(id), 0) FROM embeddings",
	    path, &r->last, e) == -1)
		return -1;
	if (sys < CHROMA_SYSDB_PLAIN || sys > CHROMA_SYSDB_SCHEMA ||
	    meta < CHROMA_METADB_PLAIN || meta > CHROMA_METADB_ARRAY ||
	    queued != 0)
		return err_set(e, MSG_DATAERR, "%s: not as it was written: "
		    "a server has changed it", path);
	r->has_schema = sys == CHROMA_SYSDB_SCHEMA;
	r->has_array = meta == CHROMA_METADB_ARRAY;
	if (schema && !r->has_schema) {
		if (apply(r, CHROMA_SYSDB, CHROMA_SYSDB_SCHEMA,
		    CHROMA_SYSDB_SCHEMA, e) == -1)
			return -1;
		r->has_schema = 1;
	}
	return 0;
}

static void
finalize(struct chroma_rows *r)
{
	size_t	i;

	sqlite3_finalize(r->row);
	sqlite3_finalize(r->meta);
	sqlite3_finalize(r->array);
	sqlite3_finalize(r->text);
	sqlite3_finalize(r->find);
	r->row = r->meta = r->array = r->text = r->find = NULL;
	for (i = 0; i < sizeof(r->del) / sizeof(r->del[0]); i++) {
		sqlite3_finalize(r->del[i]);
		r->del[i] = NULL;
	}
}

void
chroma_rows_close(struct chroma_rows *r)
{
	finalize(r);
	if (r->db != NULL)
		sqlite3_close_v2(r->db);
	buf_free(&r->key);
	free(r->path);
	memset(r, 0, sizeof(*r));
}

/* Collections ------------------------------------------------------ */

static int
put_segment(struct chroma_rows *r, const char *id, const char *type,
    const char *scope, const char *coll, struct err *e)
{
	sqlite3_stmt	*st = db_prepare(r->db, "INSERT INTO segments "
	    "(id, type, scope, collection) VALUES (?,?,?,?)", r->path, e);
	int		 rv;

	if (st == NULL)
		return -1;
	rv = run(r, st, bind_text(st, 1, id) || bind_text(st, 2, type) ||
	    bind_text(st, 3, scope) || bind_text(st, 4, coll), e);
	sqlite3_finalize(st);
	return rv;
}

/*
 * Columns at, at + 1, ...: text, integer, float and boolean value; all but
 * one are NULL.  1 when v is no scalar.
 */
static int
bind_value(sqlite3_stmt *st, int at, const struct json_val *v)
{
	int	i, is;

	is = v->type == JSON_STR ? 0 : v->type == JSON_INT ? 1 :
	    v->type == JSON_FLOAT ? 2 : v->type == JSON_BOOL ? 3 : -1;
	if (is == -1)
		return 1;
	for (i = 0; i < 4; i++)
		if (i != is && sqlite3_bind_null(st, at + i) != SQLITE_OK)
			return 1;
	switch (is) {
	case 0:
		return sqlite3_bind_text(st, at, v->str, (int)v->len,
		    SQLITE_STATIC);
	case 2:
		return sqlite3_bind_double(st, at + 2, v->f);
	default:
		return sqlite3_bind_int64(st, at + is, v->i);
	}
}

static int
put_coll_meta(struct chroma_rows *r, const struct chroma_conf *o,
    const char *name, struct err *e)
{
	sqlite3_stmt	*st;
	struct json	 j;
	struct json_val	 v;
	int		 rv = -1;

	st = db_prepare(r->db, "INSERT INTO collection_metadata "
	    "(collection_id, key, str_value, int_value, float_value, "
	    "bool_value) VALUES (?,?,?,?,?,?)", r->path, e);
	if (st == NULL)
		return -1;
	json_init(&j, o->metadata, strlen(o->metadata));
	(void)json_next(&j, &v);
	while (json_next(&j, &v) != JSON_CLOSE) {
		if (v.type == JSON_NULL)
			continue;
		if (v.key == NULL || bind_text(st, 1, o->uuid) ||
		    sqlite3_bind_text(st, 2, v.key, (int)v.key_len,
		    SQLITE_STATIC) || bind_value(st, 3, &v) != 0) {
			err_set(e, MSG_DATAERR, "collection %.100s: "
			    "metadata %.*s: ChromaDB keeps scalars there",
			    name, v.key == NULL ? 0 : v.key_len > SHOWN ?
			    SHOWN : (int)v.key_len,
			    v.key == NULL ? "" : v.key);
			goto done;
		}
		if (run(r, st, SQLITE_OK, e) == -1)
			goto done;
	}
	rv = 0;
done:
	json_clear(&j);
	sqlite3_finalize(st);
	return rv;
}

int
chroma_rows_coll(struct chroma_rows *r, const struct chroma_conf *o,
    const struct item_coll *c, struct err *e)
{
	sqlite3_stmt	*st;
	int		 rv;

	st = db_prepare(r->db, r->has_schema ? "INSERT INTO collections "
	    "(id, name, dimension, database_id, config_json_str, schema_str) "
	    "VALUES (?1,?2,?3,?4,?5,?6)" : "INSERT INTO collections "
	    "(id, name, dimension, database_id, config_json_str) "
	    "VALUES (?1,?2,?3,?4,?5)", r->path, e);
	if (st == NULL)
		return -1;
	rv = run(r, st, bind_text(st, 1, o->uuid) ||
	    bind_text(st, 2, c->name) || (c->dim == 0 ?
	    sqlite3_bind_null(st, 3) : sqlite3_bind_int64(st, 3, c->dim)) ||
	    bind_text(st, 4, DATABASE) || bind_text(st, 5, o->config) ||
	    (r->has_schema && bind_text(st, 6, o->schema)), e);
	sqlite3_finalize(st);
	if (rv == -1 || put_segment(r, o->vector, CHROMA_VECTOR, "VECTOR",
	    o->uuid, e) == -1 || put_segment(r, o->meta, CHROMA_META,
	    "METADATA", o->uuid, e) == -1)
		return -1;
	return put_coll_meta(r, o, c->name, e);
}

int
chroma_rows_dim(struct chroma_rows *r, const char *uuid, uint32_t dim,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 rv;

	st = db_prepare(r->db, "UPDATE collections SET dimension = ? "
	    "WHERE id = ?", r->path, e);
	if (st == NULL)
		return -1;
	rv = run(r, st, sqlite3_bind_int64(st, 1, dim) ||
	    bind_text(st, 2, uuid), e);
	if (rv == 0 && sqlite3_changes(r->db) != 1)
		rv = err_set(e, MSG_SOFTWARE, "%s: no collection %s",
		    r->path, uuid);
	sqlite3_finalize(st);
	return rv;
}

/* Records ---------------------------------------------------------- */

static int
refuse(const char *name, const struct item *it, const char *why,
    struct err *e)
{
	return err_set(e, MSG_DATAERR, "collection %.100s: record %.*s: %s",
	    name, it->id_len > SHOWN ? SHOWN : (int)it->id_len, it->id, why);
}

/* The elements behind key; j stands behind their '['. */
static int
put_array(struct chroma_rows *r, struct json *j, const char *name,
    int64_t row, const struct item *it, struct err *e)
{
	struct json_val	v;
	enum json_type	type = JSON_NULL;
	int		n;

	if (!r->has_array) {
		if (apply(r, CHROMA_METADB, CHROMA_METADB_ARRAY,
		    CHROMA_METADB_ARRAY, e) == -1)
			return -1;
		r->has_array = 1;
	}
	if (prepare(r, &r->array, "INSERT INTO embedding_metadata_array "
	    "(id, key, string_value, int_value, float_value, bool_value) "
	    "VALUES (?,?,?,?,?,?)", e) == -1)
		return -1;
	for (n = 0; json_next(j, &v) != JSON_CLOSE; n++) {
		if (n == 0)
			type = v.type;
		if (v.type != type)
			return refuse(name, it, "metadata: an array of "
			    "several types: ChromaDB keeps them of one", e);
		if (sqlite3_bind_int64(r->array, 1, row) ||
		    sqlite3_bind_text(r->array, 2, (const char *)r->key.p,
		    (int)r->key.len, SQLITE_STATIC) ||
		    bind_value(r->array, 3, &v))
			return refuse(name, it, "metadata: an array of what "
			    "is no scalar", e);
		if (run(r, r->array, SQLITE_OK, e) == -1)
			return -1;
	}
	return n > 0 ? 0 : refuse(name, it, "metadata: an empty array, "
	    "which ChromaDB cannot keep: leave the key out", e);
}

static int
put_meta(struct chroma_rows *r, const char *name, int64_t row,
    const struct item *it, struct err *e)
{
	struct json	j;
	struct json_val	v;
	int		rv = -1;

	json_init(&j, it->meta, it->meta_len);
	if (json_next(&j, &v) != JSON_OBJ) {
		refuse(name, it, "metadata is no JSON object", e);
		goto done;
	}
	while (json_next(&j, &v) != JSON_CLOSE) {
		if (v.type == JSON_BAD || v.key == NULL) {
			refuse(name, it, "metadata is no JSON object", e);
			goto done;
		}
		if (v.key_len == sizeof(CHROMA_DOC) - 1 &&
		    memcmp(v.key, CHROMA_DOC, v.key_len) == 0) {
			refuse(name, it, "metadata key " CHROMA_DOC ", where "
			    "ChromaDB keeps the document", e);
			goto done;
		}
		if (v.type == JSON_ARR) {
			buf_reset(&r->key);
			buf_add(&r->key, v.key, v.key_len);
			buf_addc(&r->key, '\0');
			r->key.len--;
			if (put_array(r, &j, name, row, it, e) == -1)
				goto done;
			continue;
		}
		if (sqlite3_bind_int64(r->meta, 1, row) ||
		    sqlite3_bind_text(r->meta, 2, v.key, (int)v.key_len,
		    SQLITE_STATIC) || bind_value(r->meta, 3, &v)) {
			refuse(name, it, "metadata of no type that ChromaDB "
			    "has", e);
			goto done;
		}
		if (run(r, r->meta, SQLITE_OK, e) == -1)
			goto done;
	}
	rv = 0;
done:
	json_clear(&j);
	return rv;
}

static int
put_doc(struct chroma_rows *r, int64_t row, const struct item *it,
    struct err *e)
{
	struct sqlite3_stmt	*m = r->meta, *t = r->text;

	if (run(r, m, sqlite3_bind_int64(m, 1, row) ||
	    bind_text(m, 2, CHROMA_DOC) ||
	    sqlite3_bind_text(m, 3, it->doc, (int)it->doc_len,
	    SQLITE_STATIC) || sqlite3_bind_null(m, 4) ||
	    sqlite3_bind_null(m, 5) || sqlite3_bind_null(m, 6), e) == -1)
		return -1;
	return run(r, t, sqlite3_bind_int64(t, 1, row) ||
	    sqlite3_bind_text(t, 2, it->doc, (int)it->doc_len,
	    SQLITE_STATIC), e);
}

static int
put_row(struct chroma_rows *r, const char *name, const char *segment,
    int64_t *row, const struct item *it, struct err *e)
{
	struct sqlite3_stmt	*st = r->row;

	if (r->last >= CHROMA_ROW_MAX)
		return refuse(name, it, "ChromaDB's servers end at 2^32 "
		    "records: build the store anew", e);
	*row = ++r->last;
	return run(r, st, sqlite3_bind_int64(st, 1, *row) ||
	    bind_text(st, 2, segment) || sqlite3_bind_text(st, 3, it->id,
	    (int)it->id_len, SQLITE_STATIC), e);
}

static int
delete_rows(struct chroma_rows *r, int64_t row, int last, struct err *e)
{
	int	i;

	for (i = 0; i <= last; i++) {
		if (i == DEL_ARRAY && !r->has_array)
			continue;
		if (prepare(r, &r->del[i], del_sql[i], e) == -1 ||
		    run(r, r->del[i], sqlite3_bind_int64(r->del[i], 1, row),
		    e) == -1)
			return -1;
	}
	return 0;
}

int
chroma_rows_put(struct chroma_rows *r, const char *name,
    const char *segment, int64_t row, const struct item *it, struct err *e)
{
	if (prepare(r, &r->row, "INSERT INTO embeddings (id, segment_id, "
	    "embedding_id, seq_id, created_at) VALUES "
	    "(?,?,?,0,'" CHROMA_CREATED "')", e) == -1 ||
	    prepare(r, &r->meta, "INSERT INTO embedding_metadata "
	    "(id, key, string_value, int_value, float_value, bool_value) "
	    "VALUES (?,?,?,?,?,?)", e) == -1 ||
	    prepare(r, &r->text, "INSERT INTO embedding_fulltext_search "
	    "(rowid, string_value) VALUES (?,?)", e) == -1)
		return -1;
	if (row == 0 ? put_row(r, name, segment, &row, it, e) == -1 :
	    delete_rows(r, row, DEL_TEXT, e) == -1)
		return -1;
	if (put_meta(r, name, row, it, e) == -1)
		return -1;
	return it->doc != NULL ? put_doc(r, row, it, e) : 0;
}

int
chroma_rows_find(struct chroma_rows *r, const char *segment, const char *id,
    size_t len, int64_t *row, struct err *e)
{
	int	k;

	if (prepare(r, &r->find, "SELECT id FROM embeddings WHERE "
	    "segment_id = ? AND embedding_id = ?", e) == -1)
		return -1;
	if (bind_text(r->find, 1, segment) || sqlite3_bind_text(r->find, 2,
	    id, (int)len, SQLITE_STATIC))
		return db_err(r->db, r->path, e);
	if ((k = db_step(r->find, r->path, e)) == 1)
		*row = sqlite3_column_int64(r->find, 0);
	(void)sqlite3_reset(r->find);
	return k;
}

int
chroma_rows_delete(struct chroma_rows *r, int64_t row, struct err *e)
{
	return delete_rows(r, row, DEL_ROW, e);
}

int
chroma_rows_finish(struct chroma_rows *r, struct err *e)
{
	int	rv;

	finalize(r);
	rv = 0;
	/* what made writing faster is no setting of the server's table */
	if (r->anew)
		rv = chroma_apply(r->db, CHROMA_METADB, CHROMA_METADB_INDEX,
		    CHROMA_APPLY_SQL, r->path, e);
	if (rv == 0 && r->anew)
		rv = db_exec(r->db, "DELETE FROM "
		    "embedding_fulltext_search_config WHERE k = 'hashsize'",
		    r->path, e);
	if (rv == 0)
		rv = db_exec(r->db, "COMMIT", r->path, e);
	if (rv == 0) {
		rv = db_close(r->db, r->path, e);
		r->db = NULL;
	}
	chroma_rows_close(r);
	return rv;
}
