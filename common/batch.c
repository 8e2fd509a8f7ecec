/*
 * batch: a file of embedding results as a store: its lines, which
 * batch_result reads one by one, sorted, and no id twice.  It asks no
 * network.
 * SPDX-License-Identifier: ISC
 */
#include "batch.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "batch_result.h"
#include "buf.h"
#include "db.h"
#include "io.h"
#include "mem.h"
#include "store.h"
#include "banned.h"

#define WINDOW 65536	/* bytes read at a time */

struct batch {
	char			*path;
	int			 fd;
	struct sqlite3		*db;
	sqlite3_stmt		*put, *order, *get;
	struct item_coll	*colls;
	size_t			 n_colls, cap;
	uint64_t		 records;
	struct batch_result	 line;
	struct hash		*hash;
};

/* The collection of the line; *k its place in order of appearance. */
static int
collection(struct batch *b, size_t *k, struct err *e)
{
	struct batch_result	*l = &b->line;
	struct item_coll	*c;
	const char		*name;
	char			*model, text[96];
	uint32_t		 dim = (uint32_t)(l->vec.len / 4);
	int			 same;

	name = l->has_coll ? buf_cstr(&l->coll) : BATCH_COLLECTION;
	for (*k = 0; *k < b->n_colls; (*k)++)
		if (strcmp(b->colls[*k].name, name) == 0)
			break;
	model = batch_result_model(l);
	if (*k == b->n_colls) {
		if (b->n_colls >= BATCH_COLLS_MAX) {
			free(model);
			return batch_result_bad(l, BATCH_LIMIT,
			    "too many collections", e);
		}
		b->colls = mem_grow(b->colls, &b->cap, b->n_colls + 1,
		    sizeof(*b->colls));
		c = &b->colls[b->n_colls++];
		memset(c, 0, sizeof(*c));
		c->name = mem_dup(name);
		c->dim = dim;
		c->model = model;
		return 0;
	}
	c = &b->colls[*k];
	if (c->dim != dim) {
		free(model);
		(void)snprintf(text, sizeof(text),
		    "dimension: want %u as before, got %u", c->dim, dim);
		return batch_result_bad(l, BATCH_VECTOR, text, e);
	}
	same = (model == NULL) == (c->model == NULL) &&
	    (model == NULL || strcmp(model, c->model) == 0);
	free(model);
	return same ? 0 : batch_result_bad(l, BATCH_VECTOR,
	    "another model than the lines before", e);
}

/* -- the file ---------------------------------------------------------- */

static int
keep(struct batch *b, struct err *e)
{
	struct batch_result	*l = &b->line;
	sqlite3_stmt		*st = b->put;
	size_t			 k;

	if (collection(b, &k, e) == -1)
		return -1;
	if (sqlite3_bind_int64(st, 1, (sqlite3_int64)l->number) !=
	    SQLITE_OK ||
	    sqlite3_bind_int64(st, 2, (sqlite3_int64)k) != SQLITE_OK ||
	    sqlite3_bind_text(st, 3, (char *)l->id.p, (int)l->id.len,
	    SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_bind_blob(st, 4, l->vec.p, (int)l->vec.len,
	    SQLITE_STATIC) != SQLITE_OK ||
	    (l->has_doc ? sqlite3_bind_text(st, 5, buf_cstr(&l->doc),
	    (int)l->doc.len, SQLITE_STATIC) :
	    sqlite3_bind_null(st, 5)) != SQLITE_OK ||
	    sqlite3_bind_text(st, 6, (char *)l->meta.p, (int)l->meta.len,
	    SQLITE_STATIC) != SQLITE_OK)
		return db_err(b->db, b->path, e);
	if (db_step(st, b->path, e) == -1)
		return -1;
	sqlite3_reset(st);
	b->records++;
	return 0;
}

static int
one_line(struct batch *b, struct buf *text, struct err *e)
{
	int	r;

	batch_result_next(&b->line);
	r = batch_result_read(&b->line, (const char *)text->p, text->len, e);
	return r == 1 ? keep(b, e) : r;
}

static int
read_lines(struct batch *b, struct err *e)
{
	unsigned char	*win = mem_alloc(WINDOW), *nl;
	struct buf	 text;
	size_t		 at, n;
	ssize_t		 got;
	int		 rv = -1;

	buf_init(&text, BATCH_LINE_MAX);
	do {
		if ((got = io_read(b->fd, win, WINDOW)) == -1) {
			err_sys(e, errno, "%s", b->path);
			goto done;
		}
		for (at = 0; at < (size_t)got; at += n) {
			n = (size_t)got - at;
			nl = memchr(win + at, '\n', n);
			if (nl != NULL)
				n = (size_t)(nl - (win + at));
			buf_add(&text, win + at, n);
			if (text.over) {
				batch_result_next(&b->line);
				batch_result_bad(&b->line, BATCH_LIMIT,
				    "longer than 32 MiB", e);
				goto done;
			}
			if (nl == NULL)
				continue;
			n++;
			if (one_line(b, &text, e) == -1)
				goto done;
			buf_reset(&text);
		}
	} while (got == WINDOW);
	if (text.len != 0 && one_line(b, &text, e) == -1)
		goto done;
	rv = 0;
done:
	free(win);
	buf_free(&text);
	return rv;
}

static int
coll_cmp(const void *a, const void *b)
{
	const struct item_coll	*x = *(struct item_coll *const *)a;
	const struct item_coll	*y = *(struct item_coll *const *)b;

	return strcmp(x->name, y->name);
}

/* Sort the collections and tell the database their ranks. */
static int
rank(struct batch *b, struct err *e)
{
	struct item_coll	**by, *sorted;
	sqlite3_stmt		*st;
	size_t			 i;
	int			 rv = 0;

	st = db_prepare(b->db, "INSERT INTO rank VALUES (?1, ?2)", b->path,
	    e);
	if (st == NULL)
		return -1;
	by = mem_zero(b->n_colls, sizeof(struct item_coll *));
	sorted = mem_zero(b->n_colls, sizeof(*sorted));
	for (i = 0; i < b->n_colls; i++)
		by[i] = &b->colls[i];
	if (b->n_colls != 0)
		qsort(by, b->n_colls, sizeof(*by), coll_cmp);
	for (i = 0; i < b->n_colls && rv == 0; i++) {
		sorted[i] = *by[i];
		sqlite3_bind_int64(st, 1, by[i] - b->colls);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)i);
		rv = db_step(st, b->path, e);
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	free(by);
	if (rv == -1) {
		free(sorted);
		return -1;
	}
	free(b->colls);
	b->colls = sorted;
	return 0;
}

static int
open_temp(struct batch *b, struct err *e)
{
	/* no name: a file that is gone when it is closed */
	b->db = db_open("", DB_BUILD, 0, e);
	if (b->db == NULL || db_exec(b->db, "CREATE TABLE rec("
	    "line INTEGER PRIMARY KEY, coll INTEGER, id TEXT, vec BLOB,"
	    " doc TEXT, meta TEXT);"
	    "CREATE TABLE rank(coll INTEGER PRIMARY KEY, rank INTEGER);"
	    "BEGIN", b->path, e) == -1)
		return -1;
	b->put = db_prepare(b->db, "INSERT INTO rec VALUES "
	    "(?1, ?2, ?3, ?4, ?5, ?6)", b->path, e);
	return b->put == NULL ? -1 : 0;
}

static int
open_file(struct batch *b, struct err *e)
{
	struct stat	st;

	b->fd = open(b->path,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (b->fd == -1 || fstat(b->fd, &st) == -1)
		return err_sys(e, errno, "%s", b->path);
	if (!S_ISREG(st.st_mode)) {
		b->line.fault = BATCH_LINE;
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    b->path);
	}
	if (st.st_size == 0) {
		b->line.fault = BATCH_SIZE;
		return err_set(e, MSG_DATAERR, "%s: 0 bytes", b->path);
	}
	return 0;
}

/* Every pair of neighbours in order must differ. */
static int
no_doubles(struct batch *b, struct err *e)
{
	sqlite3_stmt	*st;
	char		 text[64];
	int		 r;

	st = db_prepare(b->db, "SELECT a, line, id FROM (SELECT line, id, "
	    "lag(line) OVER w a, lag(id) OVER w p, coll, lag(coll) OVER w c "
	    "FROM rec WINDOW w AS (ORDER BY coll, id, line)) "
	    "WHERE p IS id AND c IS coll LIMIT 1", b->path, e);
	if (st == NULL)
		return -1;
	if ((r = db_step(st, b->path, e)) == 1) {
		b->line.number = (unsigned long)sqlite3_column_int64(st, 1);
		buf_reset(&b->line.id);
		buf_add(&b->line.id, db_text(st, 2),
		    (size_t)sqlite3_column_bytes(st, 2));
		(void)snprintf(text, sizeof(text), "also on line %lld",
		    (long long)sqlite3_column_int64(st, 0));
		r = batch_result_bad(&b->line, BATCH_TWICE, text, e);
	}
	sqlite3_finalize(st);
	return r;
}

struct batch *
batch_load(const char *path, enum batch_fault *fault, struct err *e)
{
	struct batch	*b = mem_zero(1, sizeof(*b));

	b->fd = -1;
	b->path = mem_dup(path);
	b->hash = hash_new();
	batch_result_init(&b->line, b->path);
	if (open_file(b, e) == -1 || open_temp(b, e) == -1 ||
	    read_lines(b, e) == -1 || no_doubles(b, e) == -1 ||
	    rank(b, e) == -1 || db_exec(b->db, "COMMIT", path, e) == -1)
		goto fail;
	b->order = db_prepare(b->db, "SELECT rank.rank, line, id FROM rec "
	    "JOIN rank ON rank.coll = rec.coll ORDER BY rank.rank, id",
	    path, e);
	b->get = db_prepare(b->db, "SELECT vec, doc, meta FROM rec "
	    "WHERE line = ?1", path, e);
	if (b->order == NULL || b->get == NULL)
		goto fail;
	*fault = BATCH_FINE;
	return b;
fail:
	*fault = b->line.fault;
	batch_free(b);
	return NULL;
}

void
batch_free(struct batch *b)
{
	struct err	e;
	size_t		i;

	if (b == NULL)
		return;
	memset(&e, 0, sizeof(e));
	sqlite3_finalize(b->put);
	sqlite3_finalize(b->order);
	sqlite3_finalize(b->get);
	/* nothing in it is to be kept */
	(void)db_close(b->db, b->path, &e);
	for (i = 0; i < b->n_colls; i++)
		item_coll_clear(&b->colls[i]);
	free(b->colls);
	if (b->fd != -1)
		(void)close(b->fd);
	batch_result_clear(&b->line);
	hash_free(b->hash);
	free(b->path);
	free(b);
}

struct item_coll *
batch_colls(struct batch *b, size_t *n)
{
	*n = b->n_colls;
	return b->colls;
}

uint64_t
batch_records(const struct batch *b)
{
	return b->records;
}

int
batch_next(struct batch *b, struct item *it, struct err *e)
{
	sqlite3_stmt	*st = b->get;
	int		 r;

	if ((r = db_step(b->order, b->path, e)) != 1)
		return r;
	sqlite3_reset(st);
	sqlite3_bind_int64(st, 1, sqlite3_column_int64(b->order, 1));
	if ((r = db_step(st, b->path, e)) != 1)
		return r == -1 ? -1 : err_set(e, MSG_SOFTWARE,
		    "%s: a line that is gone", b->path);
	memset(it, 0, sizeof(*it));
	it->coll = sqlite3_column_int(b->order, 0);
	it->id = db_text(b->order, 2);
	it->id_len = (size_t)sqlite3_column_bytes(b->order, 2);
	it->vec = sqlite3_column_blob(st, 0);
	it->doc = db_text(st, 1);
	it->doc_len = (size_t)sqlite3_column_bytes(st, 1);
	it->meta = db_text(st, 2);
	it->meta_len = (size_t)sqlite3_column_bytes(st, 2);
	it->src = -1;
	if (it->id == NULL || it->vec == NULL || it->meta == NULL)
		return db_err(b->db, b->path, e);
	item_digest(b->hash, b->colls[it->coll].name,
	    b->colls[it->coll].dim, it);
	return 1;
}

/* -- as a store -------------------------------------------------------- */

static int
store_ops_next(void *impl, struct item *it, struct err *e)
{
	return batch_next(impl, it, e);
}

static void
store_ops_close(void *impl)
{
	batch_free(impl);
}

int
batch_open(struct store *s, const char *path, int flags, struct err *e)
{
	static const struct store_ops	ops = {
		store_ops_next, store_ops_close
	};
	enum batch_fault	 fault;
	struct batch		*b;
	struct item_coll	*from;
	size_t			 i, n;

	(void)flags;
	if ((b = batch_load(path, &fault, e)) == NULL)
		return -1;
	from = batch_colls(b, &n);
	s->colls = mem_zero(n, sizeof(*s->colls));
	for (i = 0; i < n; i++) {
		s->colls[i].name = mem_dup(from[i].name);
		s->colls[i].dim = from[i].dim;
		if (from[i].model != NULL)
			s->colls[i].model = mem_dup(from[i].model);
	}
	s->n_colls = n;
	s->format = STORE_BATCH;
	s->ops = &ops;
	s->impl = b;
	s->sorted = 1;
	return 0;
}
