/*
 * ledger: writing and reading ledger.sqlite3.  It merges nothing, and does
 * not look whether ChromaDB's files hold what it says of them.
 * SPDX-License-Identifier: ISC
 */
#include "ledger.h"

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
#include "banned.h"

#define LEDGER_CACHE_OUT	8192	/* KiB of pages while writing */
#define LEDGER_CACHE_IN		1024	/* KiB of pages while reading */

const char *const ledger_schema[] = {
	"CREATE TABLE info(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
	"CREATE TABLE collection(c INTEGER PRIMARY KEY, name TEXT NOT NULL "
	    "UNIQUE, dimension INTEGER NOT NULL, space TEXT, model TEXT, "
	    "config_seq INTEGER NOT NULL, config_src TEXT NOT NULL)",
	"CREATE TABLE source(s INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, "
	    "url TEXT NOT NULL, etag TEXT, size INTEGER NOT NULL, "
	    "seq INTEGER NOT NULL, guessed INTEGER NOT NULL, "
	    "mtime INTEGER NOT NULL, records INTEGER NOT NULL, "
	    "UNIQUE(sha256, url))",
	"CREATE TABLE record(c INTEGER NOT NULL, id TEXT NOT NULL, "
	    "seq INTEGER NOT NULL, s INTEGER NOT NULL, digest BLOB NOT NULL, "
	    "label INTEGER, fix BLOB, PRIMARY KEY(c, id)) WITHOUT ROWID",
	NULL
};

static int
bad(const struct ledger *l, const char *what, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: %s", l->path, what);
}

static int
sql_err(const struct ledger *l, struct err *e)
{
	return db_err(l->db, l->path, e);
}

static int
prepare(struct ledger *l, struct sqlite3_stmt **st, const char *sql,
    struct err *e)
{
	if (*st == NULL)
		*st = db_prepare(l->db, sql, l->path, e);
	return *st == NULL ? -1 : 0;
}

static int
bind_text(sqlite3_stmt *st, int i, const char *s)
{
	if (s == NULL)
		return sqlite3_bind_null(st, i);
	return sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

/* Bytes of a column of that type; NULL when it is of another. */
static const void *
column(sqlite3_stmt *st, int i, int type, size_t *len)
{
	const void	*p;

	*len = 0;
	if (sqlite3_column_type(st, i) != type)
		return NULL;
	p = sqlite3_column_blob(st, i);
	*len = (size_t)sqlite3_column_bytes(st, i);
	return p != NULL ? p : ""; /* an empty text is no NULL */
}

/* A text without NUL in it, copied; NULL when it is none. */
static char *
column_dup(sqlite3_stmt *st, int i)
{
	size_t		 n;
	const char	*p = column(st, i, SQLITE_TEXT, &n);

	if (p == NULL || memchr(p, '\0', n) != NULL)
		return NULL;
	return mem_ndup(p, n);
}

static struct item_coll *
add_coll(struct ledger *l)
{
	struct item_coll	*c;

	l->colls = mem_grow(l->colls, &l->cap_colls, l->n_colls + 1,
	    sizeof(*l->colls));
	c = &l->colls[l->n_colls++];
	memset(c, 0, sizeof(*c));
	return c;
}

static struct item_source *
add_source(struct ledger *l)
{
	struct item_source	*s;

	l->sources = mem_grow(l->sources, &l->cap_sources, l->n_sources + 1,
	    sizeof(*l->sources));
	s = &l->sources[l->n_sources++];
	memset(s, 0, sizeof(*s));
	return s;
}

/* Opening ---------------------------------------------------------- */

int
ledger_create(struct ledger *l, const char *path, struct err *e)
{
	char	sql[128];
	int	fd, i;

	memset(l, 0, sizeof(*l));
	buf_init(&l->last, ITEM_ID_MAX);
	l->path = mem_dup(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	(void)close(fd);
	l->db = db_open(path, DB_BUILD, LEDGER_CACHE_OUT, e);
	if (l->db == NULL)
		return -1;
	(void)snprintf(sql, sizeof(sql), "PRAGMA page_size=4096;"
	    "PRAGMA application_id=%d; PRAGMA user_version=%d; BEGIN",
	    LEDGER_APP_ID, LEDGER_FORMAT);
	if (db_exec(l->db, sql, path, e) == -1)
		return -1;
	for (i = 0; ledger_schema[i] != NULL; i++)
		if (db_exec(l->db, ledger_schema[i], path, e) == -1)
			return -1;
	return 0;
}

/* No table, index, view or trigger but ours: to the letter. */
static int
check_schema(struct ledger *l, struct err *e)
{
	sqlite3_stmt	*st;
	const char	*sql;
	int		 i, k, found = 0, rv = -1;

	st = db_prepare(l->db, "SELECT sql FROM sqlite_schema WHERE sql "
	    "IS NOT NULL", l->path, e);
	if (st == NULL)
		return -1;
	while ((k = db_step(st, l->path, e)) == 1) {
		sql = db_text(st, 0);
		for (i = 0; ledger_schema[i] != NULL; i++)
			if (sql != NULL && strcmp(sql, ledger_schema[i]) == 0)
				break;
		if (ledger_schema[i] == NULL) {
			bad(l, "schema: something in it is not of this "
			    "format", e);
			goto done;
		}
		found++;
	}
	if (k == -1)
		goto done;
	for (i = 0; ledger_schema[i] != NULL; i++)
		;
	rv = found == i ? 0 : bad(l, "schema: a table is missing", e);
done:
	sqlite3_finalize(st);
	return rv;
}

static int
read_info(struct ledger *l, struct err *e)
{
	sqlite3_stmt	*st;
	unsigned char	 d[HASH_LEN];
	const char	*key;
	char		*s;
	size_t		 n;
	int64_t		 v;
	int		 k, seen = 0;

	st = db_prepare(l->db, "SELECT key, value FROM info", l->path, e);
	if (st == NULL)
		return -1;
	while ((k = db_step(st, l->path, e)) == 1) {
		key = column(st, 0, SQLITE_TEXT, &n);
		v = sqlite3_column_type(st, 1) == SQLITE_INTEGER ?
		    sqlite3_column_int64(st, 1) : -1;
		if (key == NULL)
			continue;
		if (n == 7 && memcmp(key, "records", n) == 0 && v >= 0) {
			l->records = (uint64_t)v;
			seen |= 1;
		} else if (n == 10 && memcmp(key, "tombstones", n) == 0 &&
		    v >= 0) {
			l->tombstones = (uint64_t)v;
			seen |= 2;
		} else if (n == 14 && memcmp(key, "content_digest", n) == 0) {
			s = column_dup(st, 1);
			if (s != NULL && hash_unhex(s, d) == 0) {
				memcpy(l->content, s, HASH_HEX);
				seen |= 4;
			}
			free(s);
		}
	}
	sqlite3_finalize(st);
	if (k == -1)
		return -1;
	return seen == 7 ? 0 : bad(l, "info: want content_digest, records "
	    "and tombstones", e);
}

static int
read_coll(struct ledger *l, sqlite3_stmt *st, struct err *e)
{
	struct item_coll	*c = add_coll(l);
	const char		*p;
	size_t			 n;
	int64_t			 dim;
	int			 k;

	c->name = column_dup(st, 1);
	c->model = column_dup(st, 4);
	c->config_seq = sqlite3_column_int64(st, 5);
	dim = sqlite3_column_int64(st, 2);
	if (sqlite3_column_int64(st, 0) != (int64_t)l->n_colls ||
	    c->name == NULL || *c->name == '\0' ||
	    strlen(c->name) > ITEM_NAME_MAX || dim < 0 || dim > ITEM_DIM_MAX)
		return bad(l, "a collection's row makes no sense", e);
	c->dim = (uint32_t)dim;
	if (sqlite3_column_type(st, 3) != SQLITE_NULL) {
		p = column(st, 3, SQLITE_TEXT, &n);
		k = p != NULL ? item_space_parse(p, n) : -1;
		if (k == -1)
			return bad(l, "collection of unknown space", e);
		c->space = (enum item_space)k;
		c->space_known = 1;
	}
	p = column(st, 6, SQLITE_TEXT, &n);
	if (p == NULL || (n != 0 && n != HASH_HEX - 1))
		return bad(l, "collection: config_src", e);
	memcpy(c->config_src, p, n);
	return 0;
}

static int
read_source(struct ledger *l, sqlite3_stmt *st, struct err *e)
{
	struct item_source	*x = add_source(l);
	unsigned char		 d[HASH_LEN];
	char			*hex = column_dup(st, 1);

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
	if (sqlite3_column_int64(st, 0) != (int64_t)l->n_sources ||
	    x->sha256[0] == '\0' || x->url == NULL)
		return bad(l, "a source's row makes no sense", e);
	return 0;
}

/* Every row of sql through f. */
static int
read_rows(struct ledger *l, const char *sql,
    int (*f)(struct ledger *, sqlite3_stmt *, struct err *), struct err *e)
{
	sqlite3_stmt	*st = db_prepare(l->db, sql, l->path, e);
	int		 k;

	if (st == NULL)
		return -1;
	while ((k = db_step(st, l->path, e)) == 1)
		if (f(l, st, e) == -1) {
			k = -1;
			break;
		}
	sqlite3_finalize(st);
	return k;
}

int
ledger_open(struct ledger *l, const char *path, enum ledger_mode mode,
    struct err *e)
{
	int64_t	app = 0, form = 0;

	memset(l, 0, sizeof(*l));
	buf_init(&l->last, ITEM_ID_MAX);
	l->path = mem_dup(path);
	l->db = mode == LEDGER_READ ?
	    db_open(path, DB_STRANGER, LEDGER_CACHE_IN, e) :
	    db_open(path, DB_CHANGE, LEDGER_CACHE_OUT, e);
	if (l->db == NULL)
		return -1;
	if (db_int(l->db, "PRAGMA application_id", path, &app, e) == -1 ||
	    db_int(l->db, "PRAGMA user_version", path, &form, e) == -1)
		return -1;
	if (app != LEDGER_APP_ID || form != LEDGER_FORMAT)
		return bad(l, "not a ledger of intact, or of a later format",
		    e);
	if (check_schema(l, e) == -1 || read_info(l, e) == -1 ||
	    read_rows(l, "SELECT c, name, dimension, space, model, "
	    "config_seq, config_src FROM collection ORDER BY c", read_coll,
	    e) == -1 ||
	    read_rows(l, "SELECT s, sha256, url, etag, size, seq, guessed, "
	    "mtime, records FROM source ORDER BY s", read_source, e) == -1)
		return -1;
	return mode == LEDGER_WRITE ? db_exec(l->db, "BEGIN", path, e) : 0;
}

static void
finalize(struct ledger *l)
{
	sqlite3_finalize(l->walk);
	sqlite3_finalize(l->get);
	sqlite3_finalize(l->put);
	l->walk = l->get = l->put = NULL;
}

void
ledger_close(struct ledger *l)
{
	size_t	i;

	finalize(l);
	if (l->db != NULL)
		sqlite3_close_v2(l->db);
	for (i = 0; i < l->n_colls; i++)
		item_coll_clear(&l->colls[i]);
	for (i = 0; i < l->n_sources; i++)
		item_source_clear(&l->sources[i]);
	free(l->colls);
	free(l->sources);
	free(l->path);
	buf_free(&l->last);
	memset(l, 0, sizeof(*l));
}

/* Records ---------------------------------------------------------- */

/* A row of id, seq, s, digest, label, fix. */
static int
take(struct ledger *l, sqlite3_stmt *st, struct ledger_rec *r,
    struct err *e)
{
	const void	*d;
	size_t		 n;
	int64_t		 src, label;
	int		 dead;

	memset(r, 0, sizeof(*r));
	r->id = column(st, 0, SQLITE_TEXT, &r->id_len);
	r->seq = sqlite3_column_int64(st, 1);
	src = sqlite3_column_int64(st, 2);
	d = column(st, 3, SQLITE_BLOB, &n);
	if (r->id == NULL || r->id_len == 0 || r->id_len > ITEM_ID_MAX ||
	    d == NULL || n != HASH_LEN)
		return bad(l, "record without id or digest", e);
	if (src < 1 || (uint64_t)src > l->n_sources)
		return bad(l, "record of no source", e);
	memcpy(r->digest, d, HASH_LEN);
	r->src = (int)(src - 1);
	dead = sqlite3_column_type(st, 4) == SQLITE_NULL;
	label = sqlite3_column_int64(st, 4);
	r->fix = column(st, 5, SQLITE_BLOB, &r->fix_len);
	if (!dead && (label < 1 ||
	    sqlite3_column_type(st, 4) != SQLITE_INTEGER))
		return bad(l, "record whose label is none", e);
	if (sqlite3_column_type(st, 5) != SQLITE_NULL &&
	    (dead || r->fix == NULL))
		return bad(l, "record whose fix is none", e);
	r->label = (uint64_t)label;
	return 1;
}

int
ledger_walk(struct ledger *l, size_t coll, struct err *e)
{
	if (prepare(l, &l->walk, "SELECT id, seq, s, digest, label, fix "
	    "FROM record WHERE c = ? ORDER BY id", e) == -1)
		return -1;
	(void)sqlite3_reset(l->walk);
	buf_reset(&l->last);
	if (sqlite3_bind_int64(l->walk, 1, (int64_t)coll + 1) != SQLITE_OK)
		return sql_err(l, e);
	return 0;
}

int
ledger_next(struct ledger *l, struct ledger_rec *r, struct err *e)
{
	int	k = db_step(l->walk, l->path, e);

	if (k == 0)
		(void)sqlite3_reset(l->walk);
	if (k != 1)
		return k;
	if (take(l, l->walk, r, e) == -1)
		return -1;
	/* an index of a file from outside may lie about its order */
	if (item_cmp(l->last.p != NULL ? (const void *)l->last.p : "",
	    l->last.len, r->id, r->id_len) >= 0)
		return bad(l, "records are not in order", e);
	buf_reset(&l->last);
	buf_add(&l->last, r->id, r->id_len);
	return 1;
}

int
ledger_get(struct ledger *l, size_t coll, const char *id, size_t len,
    struct ledger_rec *r, struct err *e)
{
	int	k;

	if (prepare(l, &l->get, "SELECT id, seq, s, digest, label, fix "
	    "FROM record WHERE c = ? AND id = ?", e) == -1)
		return -1;
	(void)sqlite3_reset(l->get);
	if (sqlite3_bind_int64(l->get, 1, (int64_t)coll + 1) != SQLITE_OK ||
	    sqlite3_bind_text(l->get, 2, id, (int)len, SQLITE_TRANSIENT) !=
	    SQLITE_OK)
		return sql_err(l, e);
	k = db_step(l->get, l->path, e);
	return k == 1 ? take(l, l->get, r, e) : k;
}

int
ledger_put(struct ledger *l, size_t coll, const struct ledger_rec *r,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 rc;

	if (coll >= l->n_colls || r->src < 0 ||
	    (size_t)r->src >= l->n_sources || r->label > INT64_MAX)
		return err_set(e, MSG_SOFTWARE, "%s: record of no "
		    "collection or source", l->path);
	if (prepare(l, &l->put, "INSERT OR REPLACE INTO record VALUES"
	    "(?,?,?,?,?,?,?)", e) == -1)
		return -1;
	/* a get that still stands on a row would see it change */
	if (l->get != NULL)
		(void)sqlite3_reset(l->get);
	st = l->put;
	rc = sqlite3_bind_int64(st, 1, (int64_t)coll + 1) ||
	    sqlite3_bind_text(st, 2, r->id, (int)r->id_len,
	    SQLITE_STATIC) ||
	    sqlite3_bind_int64(st, 3, r->seq) ||
	    sqlite3_bind_int64(st, 4, r->src + 1) ||
	    sqlite3_bind_blob(st, 5, r->digest, HASH_LEN, SQLITE_STATIC) ||
	    (r->label == 0 ? sqlite3_bind_null(st, 6) :
	    sqlite3_bind_int64(st, 6, (int64_t)r->label)) ||
	    (r->fix == NULL ? sqlite3_bind_null(st, 7) :
	    sqlite3_bind_blob(st, 7, r->fix, (int)r->fix_len,
	    SQLITE_STATIC));
	if (rc)
		return sql_err(l, e);
	if (db_step(st, l->path, e) == -1)
		return -1;
	(void)sqlite3_reset(st);
	return 0;
}

/* Collections and sources ------------------------------------------ */

/* The number in st's only column, 0: no row, -1. */
static int64_t
find(struct ledger *l, const char *sql, const char *a, const char *b,
    struct err *e)
{
	sqlite3_stmt	*st = db_prepare(l->db, sql, l->path, e);
	int64_t		 rv = -1;
	int		 k;

	if (st == NULL)
		return -1;
	if (bind_text(st, 1, a) || (b != NULL && bind_text(st, 2, b)))
		sql_err(l, e);
	else if ((k = db_step(st, l->path, e)) != -1)
		rv = k == 1 ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_finalize(st);
	return rv;
}

int
ledger_put_coll(struct ledger *l, const struct item_coll *c, struct err *e)
{
	struct item_coll	*to, had;
	sqlite3_stmt		*st;
	int64_t			 n;
	int			 rv = -1;

	n = find(l, "SELECT c FROM collection WHERE name = ?", c->name, NULL,
	    e);
	if (n < 0 || (uint64_t)n > l->n_colls)
		return n == -1 ? -1 : bad(l, "collection not in order", e);
	to = n == 0 ? add_coll(l) : &l->colls[n - 1];
	if (n == 0)
		n = (int64_t)l->n_colls;
	had = *to;
	*to = *c;
	to->name = mem_dup(c->name);
	to->model = c->model != NULL ? mem_dup(c->model) : NULL;
	to->config = NULL;
	item_coll_clear(&had);
	st = db_prepare(l->db, "INSERT OR REPLACE INTO collection VALUES"
	    "(?,?,?,?,?,?,?)", l->path, e);
	if (st == NULL)
		return -1;
	if (sqlite3_bind_int64(st, 1, n) || bind_text(st, 2, to->name) ||
	    sqlite3_bind_int64(st, 3, to->dim) ||
	    bind_text(st, 4, to->space_known ?
	    item_space_name(to->space) : NULL) ||
	    bind_text(st, 5, to->model) ||
	    sqlite3_bind_int64(st, 6, to->config_seq) ||
	    bind_text(st, 7, to->config_src))
		sql_err(l, e);
	else if (db_step(st, l->path, e) != -1)
		rv = (int)(n - 1);
	sqlite3_finalize(st);
	return rv;
}

int
ledger_put_source(struct ledger *l, const struct item_source *s,
    struct err *e)
{
	struct item_source	*to, had;
	sqlite3_stmt		*st;
	int64_t			 n;
	int			 rv = -1;

	n = find(l, "SELECT s FROM source WHERE sha256 = ? AND url = ?",
	    s->sha256, s->url, e);
	if (n < 0 || (uint64_t)n > l->n_sources)
		return n == -1 ? -1 : bad(l, "source not in order", e);
	to = n == 0 ? add_source(l) : &l->sources[n - 1];
	if (n == 0)
		n = (int64_t)l->n_sources;
	had = *to;
	*to = *s;
	to->url = mem_dup(s->url);
	to->etag = s->etag != NULL ? mem_dup(s->etag) : NULL;
	item_source_clear(&had);
	st = db_prepare(l->db, "INSERT OR REPLACE INTO source VALUES"
	    "(?,?,?,?,?,?,?,?,?)", l->path, e);
	if (st == NULL)
		return -1;
	if (sqlite3_bind_int64(st, 1, n) || bind_text(st, 2, to->sha256) ||
	    bind_text(st, 3, to->url) || bind_text(st, 4, to->etag) ||
	    sqlite3_bind_int64(st, 5, (int64_t)to->size) ||
	    sqlite3_bind_int64(st, 6, to->seq) ||
	    sqlite3_bind_int64(st, 7, to->guessed) ||
	    sqlite3_bind_int64(st, 8, to->mtime) ||
	    sqlite3_bind_int64(st, 9, (int64_t)to->records))
		sql_err(l, e);
	else if (db_step(st, l->path, e) != -1)
		rv = (int)(n - 1);
	sqlite3_finalize(st);
	return rv;
}

int
ledger_finish(struct ledger *l, const char *content_digest,
    uint64_t records, uint64_t tombstones, struct err *e)
{
	char	sql[512];
	int	rv;

	finalize(l);
	(void)snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO info VALUES"
	    "('content_digest','%.64s'),('records',%llu),"
	    "('tombstones',%llu); COMMIT", content_digest,
	    (unsigned long long)records, (unsigned long long)tombstones);
	rv = db_exec(l->db, sql, l->path, e);
	if (rv == 0) {
		rv = db_close(l->db, l->path, e);
		l->db = NULL;
	}
	ledger_close(l);
	return rv;
}

/* The last bits ---------------------------------------------------- */

/* A float's bits as a number that grows with it; the other way round. */
static uint32_t
rank(uint32_t v)
{
	return (v & 0x80000000U) != 0 ? ~v : v | 0x80000000U;
}

static uint32_t
unrank(uint32_t v)
{
	return (v & 0x80000000U) != 0 ? v & 0x7fffffffU : ~v;
}

void
ledger_fix_make(const void *want, const void *got, uint32_t dim,
    struct buf *b)
{
	const unsigned char	*w = want, *g = got;
	unsigned char		*out;
	uint32_t		 i, d;
	size_t			 n = ((size_t)dim + 3) / 4;

	if (memcmp(w, g, (size_t)dim * 4) == 0)
		return;
	if ((out = buf_room(b, n)) == NULL)
		return;
	memset(out, 0, n);
	for (i = 0; i < dim; i++) {
		d = rank(buf_get_le32(w + 4 * (size_t)i)) -
		    rank(buf_get_le32(g + 4 * (size_t)i));
		if (d == UINT32_MAX)
			d = 2;
		else if (d > 1) {
			buf_add(b, w, (size_t)dim * 4);
			return;
		}
		out[i / 4] |= (unsigned char)(d << (i % 4 * 2));
	}
	b->len += n;
}

int
ledger_fix_apply(void *vec, uint32_t dim, const void *fix, size_t len)
{
	const unsigned char	*f = fix;
	unsigned char		*v = vec;
	uint32_t		 i, d, x;

	if (dim == 0)
		return -1;
	if (len == (size_t)dim * 4) {
		memcpy(vec, fix, len);
		return 0;
	}
	if (len != ((size_t)dim + 3) / 4)
		return -1;
	for (i = 0; i < dim; i++, v += 4) {
		d = (uint32_t)f[i / 4] >> (i % 4 * 2) & 3;
		if (d == 0)
			continue;
		if (d == 3)
			return -1;
		x = unrank(rank(buf_get_le32(v)) + (d == 1 ? 1 : UINT32_MAX));
		v[0] = (unsigned char)x;
		v[1] = (unsigned char)(x >> 8);
		v[2] = (unsigned char)(x >> 16);
		v[3] = (unsigned char)(x >> 24);
	}
	return i % 4 != 0 && f[i / 4] >> (i % 4 * 2) != 0 ? -1 : 0;
}
