/*
 * batch: JSON lines of embedding results as records.  It asks no network
 * and repairs no line.
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

#include "buf.h"
#include "db.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "store.h"
#include "banned.h"

#define WINDOW 65536	/* bytes read at a time */
#define SHOWN 80	/* bytes of an id in a message */

/* One line, while it is read. */
struct line {
	unsigned long	 number;
	int		 has_id, has_response, has_embedding;
	int		 status, has_status, n_data;
	char		 problem[160];	/* its "error", "" none */
	struct buf	 id, coll, doc, meta, model, vec;
	int		 has_coll, has_doc, has_model;
};

struct batch {
	char			*path;
	enum batch_fault	 fault;
	int			 fd;
	struct sqlite3		*db;
	sqlite3_stmt		*put, *order, *get;
	struct item_coll	*colls;
	size_t			 n_colls, cap;
	uint64_t		 records;
	struct line		 line;
	struct meta		*typed;
	struct hash		*hash;
};

/* -- saying no --------------------------------------------------------- */

static int
bad(struct batch *b, enum batch_fault fault, const char *what,
    struct err *e)
{
	char	id[SHOWN];
	size_t	i;

	b->fault = fault;
	for (i = 0; i < b->line.id.len && i < sizeof(id) - 1; i++)
		id[i] = b->line.id.p[i] < 0x20 || b->line.id.p[i] > 0x7e ?
		    '?' : (char)b->line.id.p[i];
	id[i] = '\0';
	return err_set(e, MSG_DATAERR, "%s: line %lu%s%s%s: %s", b->path,
	    b->line.number, i != 0 ? " (custom_id " : "", id,
	    i != 0 ? ")" : "", what);
}

static int
bad_json(struct batch *b, const struct json *j, struct err *e)
{
	return bad(b, BATCH_LINE, j->why != NULL ? j->why : "not the JSON "
	    "of a batch result", e);
}

/* -- one line ---------------------------------------------------------- */

static int
is_key(const struct json_val *v, const char *k)
{
	return v->key != NULL && v->key_len == strlen(k) &&
	    memcmp(v->key, k, v->key_len) == 0;
}

/* The value v is of no interest. */
static int
pass(struct json *j, const struct json_val *v)
{
	return v->type == JSON_OBJ || v->type == JSON_ARR ? json_skip(j) : 0;
}

static int
take(struct batch *b, struct buf *to, const struct json_val *v, size_t max,
    const char *what, struct err *e)
{
	if (v->type != JSON_STR)
		return bad(b, BATCH_LINE, what, e);
	if (v->len > max)
		return bad(b, BATCH_LIMIT, what, e);
	buf_reset(to);
	buf_add(to, v->str, v->len);
	return 0;
}

static void
put_float(struct buf *b, double d)
{
	float		f = (float)d;
	uint32_t	w;
	unsigned char	c[4];

	memcpy(&w, &f, sizeof(w));
	c[0] = (unsigned char)w;
	c[1] = (unsigned char)(w >> 8);
	c[2] = (unsigned char)(w >> 16);
	c[3] = (unsigned char)(w >> 24);
	buf_add(b, c, sizeof(c));
}

static int
numbers(struct batch *b, struct json *j, struct err *e)
{
	struct buf	*vec = &b->line.vec;
	struct json_val	 v;

	for (;;) {
		(void)json_next(j, &v);
		if (v.type == JSON_CLOSE)
			return 0;
		if (v.type == JSON_BAD)
			return bad_json(b, j, e);
		if (v.type != JSON_INT && v.type != JSON_FLOAT)
			return bad(b, BATCH_LINE,
			    "embedding holds something that is no number", e);
		if (vec->len >= (size_t)ITEM_DIM_MAX * 4)
			return bad(b, BATCH_LIMIT, "embedding too long", e);
		put_float(vec, v.type == JSON_INT ? (double)v.i : v.f);
	}
}

static int
digit64(int c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with its padding, and nothing else in it. */
static int
base64(struct batch *b, const char *s, size_t n, struct err *e)
{
	struct buf	*vec = &b->line.vec;
	size_t		 i, pad = 0;
	uint32_t	 w;
	int		 d, k;

	if (n % 4 != 0 || n / 4 * 3 > (size_t)ITEM_DIM_MAX * 4 + 2)
		goto bad;
	while (pad < 2 && pad < n && s[n - 1 - pad] == '=')
		pad++;
	for (i = 0; i < n; i += 4) {
		w = 0;
		for (k = 0; k < 4; k++) {
			d = i + (size_t)k >= n - pad ? 0 :
			    digit64((unsigned char)s[i + (size_t)k]);
			if (d == -1)
				goto bad;
			w = w << 6 | (uint32_t)d;
		}
		buf_addc(vec, (int)(w >> 16));
		buf_addc(vec, (int)(w >> 8 & 0xff));
		buf_addc(vec, (int)(w & 0xff));
	}
	vec->len -= pad;
	if (vec->len % 4 == 0)
		return 0;
bad:
	return bad(b, BATCH_LINE, "embedding is no base64 of float32", e);
}

/* {"index":0,"embedding":..}: j stands behind the brace. */
static int
datum(struct batch *b, struct json *j, struct err *e)
{
	struct line	*l = &b->line;
	struct json_val	 v;

	for (;;) {
		(void)json_next(j, &v);
		if (v.type == JSON_CLOSE)
			return 0;
		if (v.type == JSON_BAD)
			return bad_json(b, j, e);
		if (!is_key(&v, "embedding")) {
			if (pass(j, &v) == -1)
				return bad_json(b, j, e);
			continue;
		}
		if (l->has_embedding)
			return bad(b, BATCH_LINE, "several embeddings", e);
		l->has_embedding = 1;
		buf_reset(&l->vec);
		if (v.type == JSON_ARR) {
			if (numbers(b, j, e) == -1)
				return -1;
		} else if (v.type == JSON_STR) {
			if (base64(b, v.str, v.len, e) == -1)
				return -1;
		} else
			return bad(b, BATCH_LINE,
			    "embedding is neither numbers nor base64", e);
	}
}

static int
data_array(struct batch *b, struct json *j, struct err *e)
{
	struct json_val	v;

	for (;;) {
		(void)json_next(j, &v);
		if (v.type == JSON_CLOSE)
			return 0;
		if (v.type != JSON_OBJ)
			return bad_json(b, j, e);
		b->line.n_data++;
		if (datum(b, j, e) == -1)
			return -1;
	}
}

/* What an "error" says, in the form of its message. */
static int
problem(struct batch *b, struct json *j, const struct json_val *in,
    struct err *e)
{
	struct line	*l = &b->line;
	struct json_val	 v;

	if (in->type == JSON_NULL)
		return 0;
	(void)snprintf(l->problem, sizeof(l->problem),
	    "error: request failed");
	if (in->type == JSON_STR) {
		(void)snprintf(l->problem, sizeof(l->problem), "error: %.*s",
		    (int)(in->len < 140 ? in->len : 140), in->str);
	} else if (in->type == JSON_OBJ) {
		for (;;) {
			(void)json_next(j, &v);
			if (v.type == JSON_CLOSE)
				return 0;
			if (v.type == JSON_BAD)
				return bad_json(b, j, e);
			if (is_key(&v, "message") && v.type == JSON_STR)
				(void)snprintf(l->problem,
				    sizeof(l->problem), "error: %.*s",
				    (int)(v.len < 140 ? v.len : 140), v.str);
			else if (pass(j, &v) == -1)
				return bad_json(b, j, e);
		}
	} else if (pass(j, in) == -1)
		return bad_json(b, j, e);
	return 0;
}

static int
body(struct batch *b, struct json *j, struct err *e)
{
	struct line	*l = &b->line;
	struct json_val	 v;

	for (;;) {
		(void)json_next(j, &v);
		if (v.type == JSON_CLOSE)
			return 0;
		if (v.type == JSON_BAD)
			return bad_json(b, j, e);
		if (is_key(&v, "data") && v.type == JSON_ARR) {
			if (data_array(b, j, e) == -1)
				return -1;
		} else if (is_key(&v, "model") && v.type == JSON_STR) {
			l->has_model = 1;
			if (take(b, &l->model, &v, ITEM_NAME_MAX,
			    "model: name too long", e) == -1)
				return -1;
		} else if (is_key(&v, "error")) {
			if (problem(b, j, &v, e) == -1)
				return -1;
		} else if (pass(j, &v) == -1)
			return bad_json(b, j, e);
	}
}

static int
response(struct batch *b, struct json *j, struct err *e)
{
	struct line	*l = &b->line;
	struct json_val	 v;

	for (;;) {
		(void)json_next(j, &v);
		if (v.type == JSON_CLOSE)
			return 0;
		if (v.type == JSON_BAD)
			return bad_json(b, j, e);
		if (is_key(&v, "status_code")) {
			if (v.type != JSON_INT || v.i < 0 || v.i > 999)
				return bad(b, BATCH_LINE,
				    "status_code is no status", e);
			l->has_status = 1;
			l->status = (int)v.i;
		} else if (is_key(&v, "body") && v.type == JSON_OBJ) {
			if (body(b, j, e) == -1)
				return -1;
		} else if (pass(j, &v) == -1)
			return bad_json(b, j, e);
	}
}

/* Flat metadata: v is its brace. */
static int
metadata(struct batch *b, struct json *j, const struct json_val *v,
    struct err *e)
{
	const char	*raw = v->raw, *why = "not flat";

	if (json_skip(j) == -1)
		return bad_json(b, j, e);
	meta_reset(b->typed);
	if (meta_overlay(b->typed, raw, (size_t)(j->s + j->pos - raw),
	    &why) == -1)
		return bad(b, BATCH_LINE, why, e);
	buf_reset(&b->line.meta);
	meta_json(b->typed, &b->line.meta);
	if (b->line.meta.over)
		return bad(b, BATCH_LIMIT, "metadata too large", e);
	return 0;
}

/* The members of a line's object. */
static int
member(struct batch *b, struct json *j, struct json_val *v, struct err *e)
{
	struct line	*l = &b->line;

	if (is_key(v, "custom_id")) {
		if (l->has_id++)
			return bad(b, BATCH_LINE, "two custom_id", e);
		return take(b, &l->id, v, ITEM_ID_MAX,
		    "custom_id is no text, or too long", e);
	}
	if (is_key(v, "response")) {
		if (l->has_response++)
			return bad(b, BATCH_LINE, "two responses", e);
		if (v->type == JSON_OBJ)
			return response(b, j, e);
		if (v->type == JSON_NULL)
			l->has_response = 0;
	} else if (is_key(v, "error"))
		return problem(b, j, v, e);
	else if (is_key(v, "collection")) {
		l->has_coll = 1;
		return take(b, &l->coll, v, ITEM_NAME_MAX,
		    "collection is no text, or too long", e);
	} else if (is_key(v, "document") && v->type != JSON_NULL) {
		l->has_doc = 1;
		return take(b, &l->doc, v, ITEM_TEXT_MAX,
		    "document is no text, or too long", e);
	} else if (is_key(v, "metadata") && v->type != JSON_NULL) {
		if (v->type != JSON_OBJ)
			return bad(b, BATCH_LINE, "metadata is no object", e);
		return metadata(b, j, v, e);
	}
	return pass(j, v) == -1 ? bad_json(b, j, e) : 0;
}

static int
parse(struct batch *b, const char *s, size_t n, struct err *e)
{
	struct line	*l = &b->line;
	struct json	 j;
	struct json_val	 v;
	int		 rv = -1;

	l->has_id = l->has_response = l->has_embedding = 0;
	l->has_status = l->status = l->n_data = 0;
	l->has_coll = l->has_doc = l->has_model = 0;
	l->problem[0] = '\0';
	buf_reset(&l->id);
	buf_reset(&l->vec);
	buf_reset(&l->meta);
	buf_str(&l->meta, "{}");
	json_init(&j, s, n);
	if (json_next(&j, &v) != JSON_OBJ) {
		bad_json(b, &j, e);
		goto done;
	}
	for (;;) {
		(void)json_next(&j, &v);
		if (v.type == JSON_CLOSE)
			break;
		if (v.type == JSON_BAD) {
			bad_json(b, &j, e);
			goto done;
		}
		if (member(b, &j, &v, e) == -1)
			goto done;
	}
	if (json_next(&j, &v) != JSON_EOF) {
		bad_json(b, &j, e);
		goto done;
	}
	rv = 0;
done:
	json_clear(&j);
	return rv;
}

/* Is what was parsed an embedding? */
static int
judge(struct batch *b, struct err *e)
{
	struct line	*l = &b->line;
	char		 text[64];

	if (!l->has_id || l->id.len == 0)
		return bad(b, BATCH_LINE, "no custom_id", e);
	if (l->problem[0] != '\0')
		return bad(b, BATCH_LINE, l->problem, e);
	if (!l->has_response)
		return bad(b, BATCH_LINE, "no response", e);
	if (l->has_status && l->status != 200) {
		(void)snprintf(text, sizeof(text), "status %d", l->status);
		return bad(b, BATCH_LINE, text, e);
	}
	if (l->n_data != 1 || !l->has_embedding || l->vec.len == 0) {
		(void)snprintf(text, sizeof(text),
		    "want 1 embedding, got %d", l->has_embedding &&
		    l->vec.len != 0 ? l->n_data : 0);
		return bad(b, BATCH_LINE, text, e);
	}
	if (l->has_coll && (l->coll.len == 0 ||
	    memchr(l->coll.p, '\0', l->coll.len) != NULL))
		return bad(b, BATCH_LINE, "collection without a name", e);
	if (!item_finite(l->vec.p, (uint32_t)(l->vec.len / 4)))
		return bad(b, BATCH_VECTOR, "embedding is not finite", e);
	return 0;
}

/* The model as ChromaDB would declare it; NULL: none named. */
static char *
model_text(struct batch *b)
{
	struct buf	out;
	char		*rv;

	if (!b->line.has_model || b->line.model.len == 0)
		return NULL;
	meta_reset(b->typed);
	meta_set_str(b->typed, "config.model_name", 17,
	    (const char *)b->line.model.p, b->line.model.len);
	meta_set_str(b->typed, "name", 4, "openai", 6);
	buf_init(&out, 16 * (size_t)ITEM_NAME_MAX);
	meta_json(b->typed, &out);
	rv = mem_dup(buf_cstr(&out));
	buf_free(&out);
	return rv;
}

/* The collection of the line; *k its place in order of appearance. */
static int
collection(struct batch *b, size_t *k, struct err *e)
{
	struct line		*l = &b->line;
	struct item_coll	*c;
	const char		*name;
	char			*model, text[96];
	uint32_t		 dim = (uint32_t)(l->vec.len / 4);
	int			 same;

	name = l->has_coll ? buf_cstr(&l->coll) : BATCH_COLLECTION;
	for (*k = 0; *k < b->n_colls; (*k)++)
		if (strcmp(b->colls[*k].name, name) == 0)
			break;
	model = model_text(b);
	if (*k == b->n_colls) {
		if (b->n_colls >= BATCH_COLLS_MAX) {
			free(model);
			return bad(b, BATCH_LIMIT, "too many collections", e);
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
		return bad(b, BATCH_VECTOR, text, e);
	}
	same = (model == NULL) == (c->model == NULL) &&
	    (model == NULL || strcmp(model, c->model) == 0);
	free(model);
	return same ? 0 : bad(b, BATCH_VECTOR,
	    "another model than the lines before", e);
}

/* -- the file ---------------------------------------------------------- */

static int
keep(struct batch *b, struct err *e)
{
	struct line	*l = &b->line;
	sqlite3_stmt	*st = b->put;
	size_t		 k;

	if (judge(b, e) == -1 || collection(b, &k, e) == -1)
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
is_blank(const unsigned char *p, size_t n)
{
	while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++, n--;
	return n == 0;
}

static int
one_line(struct batch *b, struct buf *text, struct err *e)
{
	b->line.number++;
	buf_reset(&b->line.id);
	if (is_blank(text->p, text->len))
		return 0;
	if (!path_utf8(text->p, text->len))
		return bad(b, BATCH_UTF8, "not UTF-8", e);
	if (parse(b, (const char *)text->p, text->len, e) == -1)
		return -1;
	return keep(b, e);
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
				b->line.number++;
				buf_reset(&b->line.id);
				bad(b, BATCH_LIMIT, "longer than 32 MiB", e);
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
		b->fault = BATCH_LINE;
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    b->path);
	}
	if (st.st_size == 0) {
		b->fault = BATCH_SIZE;
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
		buf_add(&b->line.id, sqlite3_column_text(st, 2),
		    (size_t)sqlite3_column_bytes(st, 2));
		(void)snprintf(text, sizeof(text), "also on line %lld",
		    (long long)sqlite3_column_int64(st, 0));
		r = bad(b, BATCH_TWICE, text, e);
	}
	sqlite3_finalize(st);
	return r;
}

struct batch *
batch_load(const char *path, enum batch_fault *fault, struct err *e)
{
	struct batch	*b = mem_zero(1, sizeof(*b));
	struct line	*l = &b->line;

	b->fd = -1;
	b->path = mem_dup(path);
	b->typed = meta_new();
	b->hash = hash_new();
	buf_init(&l->id, ITEM_ID_MAX);
	buf_init(&l->coll, ITEM_NAME_MAX);
	buf_init(&l->doc, ITEM_TEXT_MAX);
	buf_init(&l->meta, ITEM_TEXT_MAX);
	buf_init(&l->model, ITEM_NAME_MAX);
	buf_init(&l->vec, (size_t)ITEM_DIM_MAX * 4 + 16);
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
	*fault = b->fault;
	batch_free(b);
	return NULL;
}

void
batch_free(struct batch *b)
{
	struct err	e;
	struct line	*l;
	size_t		 i;

	if (b == NULL)
		return;
	l = &b->line;
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
	buf_free(&l->id);
	buf_free(&l->coll);
	buf_free(&l->doc);
	buf_free(&l->meta);
	buf_free(&l->model);
	buf_free(&l->vec);
	meta_free(b->typed);
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
	it->id = (const char *)sqlite3_column_text(b->order, 2);
	it->id_len = (size_t)sqlite3_column_bytes(b->order, 2);
	it->vec = sqlite3_column_blob(st, 0);
	it->doc = (const char *)sqlite3_column_text(st, 1);
	it->doc_len = (size_t)sqlite3_column_bytes(st, 1);
	it->meta = (const char *)sqlite3_column_text(st, 2);
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
