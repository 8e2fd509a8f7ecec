/*
 * dstore: writing and reading our SQLite stores.  It merges nothing and
 * judges no record; see dstore_check.c and check.c.
 * SPDX-License-Identifier: ISC
 */
#include "dstore.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "db.h"
#include "mem.h"
#include "store.h"
#include "banned.h"

#define DSTORE_CACHE_OUT	8192	/* KiB of pages while writing */
#define DSTORE_CACHE_IN		1024	/* KiB of pages while reading */

/*
 * The big column comes last, so that the others are read without walking
 * its overflow pages.  A row without embedding is a tombstone.
 */
const char *const dstore_schema[] = {
	"CREATE TABLE info(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
	"CREATE TABLE collection(c INTEGER PRIMARY KEY, name TEXT NOT NULL "
	    "UNIQUE, dimension INTEGER NOT NULL, space TEXT, model TEXT, "
	    "config TEXT, config_seq INTEGER NOT NULL, "
	    "config_src TEXT NOT NULL)",
	"CREATE TABLE source(s INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, "
	    "url TEXT NOT NULL, etag TEXT, size INTEGER NOT NULL, "
	    "seq INTEGER NOT NULL, guessed INTEGER NOT NULL, "
	    "mtime INTEGER NOT NULL, records INTEGER NOT NULL, "
	    "UNIQUE(sha256, url))",
	"CREATE TABLE record(n INTEGER PRIMARY KEY, c INTEGER NOT NULL, "
	    "id TEXT NOT NULL, seq INTEGER NOT NULL, s INTEGER NOT NULL, "
	    "digest BLOB NOT NULL, metadata TEXT, document TEXT, "
	    "embedding BLOB)",
	"CREATE UNIQUE INDEX record_id ON record(c, id)",
	"CREATE VIEW records AS SELECT collection.name AS collection, "
	    "record.id AS id, record.embedding AS embedding, "
	    "record.document AS document, record.metadata AS metadata, "
	    "record.seq AS seq, record.s AS source FROM record JOIN "
	    "collection ON collection.c = record.c "
	    "WHERE record.embedding IS NOT NULL",
	"CREATE VIEW sources AS SELECT s AS source, url, sha256, records, "
	    "strftime('%Y-%m-%dT%H:%M:%SZ', mtime / 1000000000, "
	    "'unixepoch') AS created FROM source",
	NULL
};

struct dstore_writer {
	sqlite3		*db;
	sqlite3_stmt	*put;
	char		*path;
	const struct item_coll *colls;
	uint64_t	 records, tombstones;
};

static int
bind_text(sqlite3_stmt *st, int i, const char *s)
{
	if (s == NULL)
		return sqlite3_bind_null(st, i);
	return sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static int
put_colls(struct dstore_writer *w, const struct item_coll *c, size_t n,
    struct err *e)
{
	sqlite3_stmt	*st;
	size_t		 i;
	int		 rv = -1;

	st = db_prepare(w->db, "INSERT INTO collection VALUES"
	    "(?,?,?,?,?,?,?,?)", w->path, e);
	if (st == NULL)
		return -1;
	for (i = 0; i < n; i++, c++) {
		if (sqlite3_bind_int64(st, 1, (int64_t)i + 1) ||
		    bind_text(st, 2, c->name) ||
		    sqlite3_bind_int64(st, 3, c->dim) ||
		    bind_text(st, 4, c->space_known ?
		    item_space_name(c->space) : NULL) ||
		    bind_text(st, 5, c->model) ||
		    bind_text(st, 6, c->config) ||
		    sqlite3_bind_int64(st, 7, c->config_seq) ||
		    bind_text(st, 8, c->config_src)) {
			db_err(w->db, w->path, e);
			goto done;
		}
		if (db_step(st, w->path, e) == -1)
			goto done;
		(void)sqlite3_reset(st);
	}
	rv = 0;
done:
	sqlite3_finalize(st);
	return rv;
}

static int
put_sources(struct dstore_writer *w, const struct item_source *s, size_t n,
    struct err *e)
{
	sqlite3_stmt	*st;
	size_t		 i;
	int		 rv = -1;

	st = db_prepare(w->db, "INSERT INTO source VALUES"
	    "(?,?,?,?,?,?,?,?,?)", w->path, e);
	if (st == NULL)
		return -1;
	for (i = 0; i < n; i++, s++) {
		if (sqlite3_bind_int64(st, 1, (int64_t)i + 1) ||
		    bind_text(st, 2, s->sha256) ||
		    bind_text(st, 3, s->url) ||
		    bind_text(st, 4, s->etag) ||
		    sqlite3_bind_int64(st, 5, (int64_t)s->size) ||
		    sqlite3_bind_int64(st, 6, s->seq) ||
		    sqlite3_bind_int64(st, 7, s->guessed) ||
		    sqlite3_bind_int64(st, 8, s->mtime) ||
		    sqlite3_bind_int64(st, 9, (int64_t)s->records)) {
			db_err(w->db, w->path, e);
			goto done;
		}
		if (db_step(st, w->path, e) == -1)
			goto done;
		(void)sqlite3_reset(st);
	}
	rv = 0;
done:
	sqlite3_finalize(st);
	return rv;
}

struct dstore_writer *
dstore_create(const char *path, const struct item_coll *colls,
    size_t n_colls, const struct item_source *sources, size_t n_sources,
    struct err *e)
{
	struct dstore_writer	*w = mem_zero(1, sizeof(*w));
	char			 sql[128];
	int			 fd, i;

	w->path = mem_dup(path);
	w->colls = colls;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd == -1) {
		err_sys(e, errno, "%s", path);
		free(w->path);
		free(w);
		return NULL;
	}
	(void)close(fd);
	w->db = db_open(path, DB_BUILD, DSTORE_CACHE_OUT, e);
	if (w->db == NULL)
		goto fail;
	(void)snprintf(sql, sizeof(sql), "PRAGMA application_id=%d;"
	    "PRAGMA user_version=%d; BEGIN", DSTORE_APP_ID, DSTORE_FORMAT);
	if (db_exec(w->db, sql, path, e) == -1)
		goto fail;
	for (i = 0; dstore_schema[i] != NULL; i++)
		if (db_exec(w->db, dstore_schema[i], path, e) == -1)
			goto fail;
	if (put_colls(w, colls, n_colls, e) == -1 ||
	    put_sources(w, sources, n_sources, e) == -1)
		goto fail;
	w->put = db_prepare(w->db, "INSERT INTO record VALUES"
	    "(NULL,?,?,?,?,?,?,?,?)", path, e);
	if (w->put == NULL)
		goto fail;
	return w;
fail:
	dstore_discard(w);
	return NULL;
}

int
dstore_put(struct dstore_writer *w, const struct item *it, struct err *e)
{
	sqlite3_stmt	*st = w->put;
	int		 rc;

	rc = sqlite3_bind_int64(st, 1, it->coll + 1) ||
	    sqlite3_bind_text(st, 2, it->id, (int)it->id_len,
	    SQLITE_STATIC) ||
	    sqlite3_bind_int64(st, 3, it->seq) ||
	    sqlite3_bind_int64(st, 4, it->src + 1) ||
	    sqlite3_bind_blob(st, 5, it->digest, HASH_LEN, SQLITE_STATIC);
	if (it->dead) {
		rc = rc || sqlite3_bind_null(st, 6) ||
		    sqlite3_bind_null(st, 7) || sqlite3_bind_null(st, 8);
		w->tombstones++;
	} else {
		rc = rc || sqlite3_bind_text(st, 6, it->meta,
		    (int)it->meta_len, SQLITE_STATIC);
		rc = rc || (it->doc == NULL ? sqlite3_bind_null(st, 7) :
		    sqlite3_bind_text(st, 7, it->doc, (int)it->doc_len,
		    SQLITE_STATIC));
		rc = rc || sqlite3_bind_blob(st, 8, it->vec,
		    (int)(w->colls[it->coll].dim * 4), SQLITE_STATIC);
		w->records++;
	}
	if (rc)
		return db_err(w->db, w->path, e);
	if (db_step(st, w->path, e) == -1)
		return -1;
	(void)sqlite3_reset(st);
	return 0;
}

int
dstore_finish(struct dstore_writer *w, const char *content_digest,
    struct err *e)
{
	char	sql[512];
	int	rv;

	sqlite3_finalize(w->put);
	w->put = NULL;
	(void)snprintf(sql, sizeof(sql), "INSERT INTO info VALUES"
	    "('content_digest','%s'),('records',%llu),('tombstones',%llu);"
	    "COMMIT", content_digest, (unsigned long long)w->records,
	    (unsigned long long)w->tombstones);
	rv = db_exec(w->db, sql, w->path, e);
	if (rv == 0) {
		rv = db_close(w->db, w->path, e);
		w->db = NULL;
	}
	if (rv == -1) {
		dstore_discard(w);
		return -1;
	}
	free(w->path);
	free(w);
	return 0;
}

void
dstore_discard(struct dstore_writer *w)
{
	if (w == NULL)
		return;
	sqlite3_finalize(w->put);
	if (w->db != NULL)
		sqlite3_close_v2(w->db);
	(void)unlink(w->path);
	free(w->path);
	free(w);
}

/* Reading ---------------------------------------------------------- */

struct reader {
	sqlite3		*db;
	sqlite3_stmt	*st;
	struct store	*s;
	char		*path;
	int64_t		 want_records, want_tombstones;	/* as info says */
	int64_t		 records, tombstones;		/* read so far */
};

/* Column bytes without conversion; NULL only for SQL NULL. */
static const char *
column(sqlite3_stmt *st, int i, size_t *len)
{
	const char	*p;

	*len = 0;
	if (sqlite3_column_type(st, i) == SQLITE_NULL)
		return NULL;
	p = sqlite3_column_blob(st, i);
	*len = (size_t)sqlite3_column_bytes(st, i);
	return p != NULL ? p : ""; /* an empty text is no NULL */
}

static char *
column_dup(sqlite3_stmt *st, int i)
{
	size_t		 n;
	const char	*p = column(st, i, &n);

	return p == NULL ? NULL : mem_ndup(p, n);
}

static int
bad(const struct reader *r, const char *what, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: %s", r->path, what);
}

static int
read_colls(struct reader *r, struct store *s, struct err *e)
{
	struct item_coll	*c;
	sqlite3_stmt		*st;
	const char		*space, *src;
	size_t			 n, cap = 0;
	int			 k, rv = -1;

	st = db_prepare(r->db, "SELECT c, name, dimension, space, model, "
	    "config, config_seq, config_src FROM collection ORDER BY c",
	    r->path, e);
	if (st == NULL)
		return -1;
	while ((k = db_step(st, r->path, e)) == 1) {
		s->colls = mem_grow(s->colls, &cap, s->n_colls + 1,
		    sizeof(*s->colls));
		c = &s->colls[s->n_colls++];
		memset(c, 0, sizeof(*c));
		c->name = column_dup(st, 1);
		c->model = column_dup(st, 4);
		c->config = column_dup(st, 5);
		c->config_seq = sqlite3_column_int64(st, 6);
		if (sqlite3_column_int64(st, 0) != (int64_t)s->n_colls ||
		    c->name == NULL || *c->name == '\0' ||
		    strlen(c->name) > ITEM_NAME_MAX ||
		    sqlite3_column_int64(st, 2) < 0 ||
		    sqlite3_column_int64(st, 2) > ITEM_DIM_MAX ||
		    (s->n_colls > 1 && strcmp(c[-1].name, c->name) >= 0)) {
			bad(r, "collection rows are not in order", e);
			goto done;
		}
		c->dim = (uint32_t)sqlite3_column_int64(st, 2);
		space = column(st, 3, &n);
		if (space != NULL) {
			k = item_space_parse(space, n);
			if (k == -1) {
				bad(r, "collection of unknown space", e);
				goto done;
			}
			c->space = (enum item_space)k;
			c->space_known = 1;
		}
		src = column(st, 7, &n);
		if (src == NULL || n >= HASH_HEX) {
			bad(r, "collection: config_src", e);
			goto done;
		}
		memcpy(c->config_src, src, n);
	}
	rv = k;
done:
	sqlite3_finalize(st);
	return rv;
}

static int
read_sources(struct reader *r, struct store *s, struct err *e)
{
	struct item_source	*x;
	sqlite3_stmt		*st;
	unsigned char		 d[HASH_LEN];
	char			*hex;
	size_t			 cap = 0;
	int			 k, rv = -1;

	st = db_prepare(r->db, "SELECT s, sha256, url, etag, size, seq, "
	    "guessed, mtime, records FROM source ORDER BY s", r->path, e);
	if (st == NULL)
		return -1;
	while ((k = db_step(st, r->path, e)) == 1) {
		s->sources = mem_grow(s->sources, &cap, s->n_sources + 1,
		    sizeof(*s->sources));
		x = &s->sources[s->n_sources++];
		memset(x, 0, sizeof(*x));
		hex = column_dup(st, 1);
		if (hex != NULL && hash_unhex(hex, d) == 0)
			memcpy(x->sha256, hex, HASH_HEX);
		free(hex);
		x->url = column_dup(st, 2);
		x->etag = column_dup(st, 3);
		x->size = (uint64_t)sqlite3_column_int64(st, 4);
		x->seq = sqlite3_column_int64(st, 5);
		x->guessed = sqlite3_column_int64(st, 6) != 0;
		x->mtime = sqlite3_column_int64(st, 7);
		x->records = (uint64_t)sqlite3_column_int64(st, 8);
		if (sqlite3_column_int64(st, 0) != (int64_t)s->n_sources ||
		    x->sha256[0] == '\0' || x->url == NULL) {
			bad(r, "source rows are not in order", e);
			goto done;
		}
	}
	rv = k;
done:
	sqlite3_finalize(st);
	return rv;
}

static int
dstore_next(void *impl, struct item *it, struct err *e)
{
	struct reader	*r = impl;
	const void	*d;
	size_t		 n;
	int64_t		 c, src;
	int		 k;

	k = db_step(r->st, r->path, e);
	if (k == 0 && (r->records != r->want_records ||
	    r->tombstones != r->want_tombstones))
		return bad(r, "its rows are not as many as it says", e);
	if (k != 1)
		return k;
	memset(it, 0, sizeof(*it));
	c = sqlite3_column_int64(r->st, 0);
	src = sqlite3_column_int64(r->st, 3);
	if (c < 1 || (uint64_t)c > r->s->n_colls || src < 1 ||
	    (uint64_t)src > r->s->n_sources)
		return bad(r, "record of no collection or source", e);
	it->coll = (int)(c - 1);
	it->src = (int)(src - 1);
	it->id = column(r->st, 1, &it->id_len);
	it->seq = sqlite3_column_int64(r->st, 2);
	d = column(r->st, 4, &n);
	if (it->id == NULL || it->id_len == 0 || it->id_len > ITEM_ID_MAX ||
	    d == NULL || n != HASH_LEN)
		return bad(r, "record without id or digest", e);
	memcpy(it->digest, d, HASH_LEN);
	it->vec = column(r->st, 7, &n);
	if (it->vec == NULL) {
		it->dead = 1;
		r->tombstones++;
		return 1;
	}
	r->records++;
	if (n != (size_t)r->s->colls[it->coll].dim * 4 || n == 0)
		return bad(r, "record whose embedding has not the "
		    "collection's dimension", e);
	it->meta = column(r->st, 5, &it->meta_len);
	it->doc = column(r->st, 6, &it->doc_len);
	if (it->meta == NULL || it->meta_len > ITEM_TEXT_MAX ||
	    it->doc_len > ITEM_TEXT_MAX)
		return bad(r, "record without metadata, or too large", e);
	return 1;
}

static void
dstore_close(void *impl)
{
	struct reader	*r = impl;

	if (r == NULL)
		return;
	sqlite3_finalize(r->st);
	sqlite3_close_v2(r->db);
	free(r->path);
	free(r);
}

int
dstore_open(struct store *s, const char *path, int flags, struct err *e)
{
	static const struct store_ops	ops = { dstore_next, dstore_close };
	struct reader			*r = mem_zero(1, sizeof(*r));
	struct stat			 st;
	struct buf			 b;
	int64_t				 app = 0, form = 0;

	(void)flags;
	buf_init(&b, 16384);
	buf_str(&b, path);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		buf_str(&b, "/" DSTORE_FILE);
	r->path = mem_dup(buf_cstr(&b));
	buf_free(&b);
	r->s = s;
	s->format = STORE_SQLITE;
	s->ops = &ops;
	s->impl = r;
	s->sorted = 1;
	s->has_ledger = 1;
	r->db = db_open(r->path, DB_STRANGER, DSTORE_CACHE_IN, e);
	if (r->db == NULL)
		return -1;
	/* views are ours to make, not to read */
	if (db_int(r->db, "PRAGMA application_id", r->path, &app, e) == -1 ||
	    db_int(r->db, "PRAGMA user_version", r->path, &form, e) == -1)
		return -1;
	if (app != DSTORE_APP_ID || form != DSTORE_FORMAT)
		return bad(r, "not a store of intact, or of a later format",
		    e);
	if (db_int(r->db, "SELECT value FROM info WHERE key = 'records'",
	    r->path, &r->want_records, e) == -1 ||
	    db_int(r->db, "SELECT value FROM info WHERE key = 'tombstones'",
	    r->path, &r->want_tombstones, e) == -1)
		return -1;
	if (read_colls(r, s, e) == -1 || read_sources(r, s, e) == -1)
		return -1;
	r->st = db_prepare(r->db, "SELECT c, id, seq, s, digest, metadata, "
	    "document, embedding FROM record ORDER BY n", r->path, e);
	return r->st == NULL ? -1 : 0;
}
