/*
 * batch_join: the answers of an embedding batch against its requests.  It
 * asks no network, guesses nothing and judges no embedding.
 * SPDX-License-Identifier: ISC
 */
#include "batch_join.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "batch.h"
#include "batch_line.h"
#include "buf.h"
#include "db.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

#define WINDOW	65536	/* bytes read or written at a time */
#define OLD	"2"	/* res.ok of what is stale; 0 failed, 1 ok */

/* What is read; 0 the requests, 1 the output, 2 the errors. */
struct file {
	const char	*path;
	int		 fd;
};
#define FILES 3

struct join {
	const struct batch_join	*o;
	struct batch_joined	*r;
	struct file		 file[FILES];
	int			 k;	/* the one being read */
	struct sqlite3		*db;
	sqlite3_stmt		*put;
	struct batch_line	 line;
	char			 first[BATCH_LINE_WHY];	/* why it failed */
	int			 out;
	const char		*out_name;
	struct buf		 pending;
};

static const char *const	file_name[FILES] = {
	"input file", "output file", "error file"
};

/* -- lines ------------------------------------------------------------- */

static int
bind_span(sqlite3_stmt *st, int i, const struct batch_span *s)
{
	int	rc = sqlite3_bind_int64(st, i, (sqlite3_int64)s->at);

	return rc != SQLITE_OK ? rc :
	    sqlite3_bind_int64(st, i + 1, (sqlite3_int64)s->len);
}

/* The id is there already: where? */
static int
twice(struct join *x, struct err *e)
{
	char		 text[64] = "comes twice";
	sqlite3_stmt	*st;

	st = db_prepare(x->db, x->k == 0 ? "SELECT line, 0 FROM req "
	    "WHERE id = ?1" : "SELECT line, file FROM res WHERE id = ?1",
	    file_name[x->k], e);
	if (st == NULL)
		return -1;
	if (sqlite3_bind_blob(st, 1, x->line.id.p, (int)x->line.id.len,
	    SQLITE_STATIC) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		(void)snprintf(text, sizeof(text),
		    "comes twice, also on line %lld of the %s",
		    (long long)sqlite3_column_int64(st, 0),
		    file_name[sqlite3_column_int(st, 1) % FILES]);
	sqlite3_finalize(st);
	return batch_line_bad(&x->line, e, text);
}

/* The line, as a row of req or of res. */
static int
keep(struct join *x, struct err *e)
{
	struct batch_line	*l = &x->line;
	struct batch_span	 all;
	sqlite3_stmt		*st = x->put;
	char			 why[sizeof(x->first)];
	int			 i, failed = 0, rc;

	if (x->k != 0 && (failed = batch_line_failed(l, why,
	    sizeof(why))) != 0 && x->first[0] == '\0')
		memcpy(x->first, why, sizeof(why));
	all.at = l->at;
	all.len = l->len;
	rc = sqlite3_bind_blob(st, 1, l->id.p, (int)l->id.len,
	    SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 2, (sqlite3_int64)l->number);
	if (rc == SQLITE_OK)
		rc = bind_span(st, 3, &all);
	for (i = 0; i < (x->k == 0 ? BATCH_META + 1 : BATCH_SPANS); i++)
		if (rc == SQLITE_OK)
			rc = bind_span(st, 5 + 2 * i, &l->v[i]);
	if (rc == SQLITE_OK && x->k != 0 &&
	    (rc = sqlite3_bind_int(st, 15, x->k)) == SQLITE_OK)
		rc = sqlite3_bind_int(st, 16, !failed);
	if (rc != SQLITE_OK)
		return db_err(x->db, file_name[x->k], e);
	if (db_step(st, file_name[x->k], e) == -1)
		return -1;
	sqlite3_reset(st);
	if (sqlite3_changes(x->db) == 0)
		return twice(x, e);
	if (x->k != 0 && failed)
		x->r->failed++;
	else if (x->k != 0)
		x->r->ok++;
	else
		x->r->requested++;
	return 0;
}

/* The line at `at` of the file. */
static int
one_line(struct join *x, const struct buf *text, uint64_t at, struct err *e)
{
	int	r = batch_line_read(&x->line, (const char *)text->p,
		    text->len, at, e);

	return r == 1 ? keep(x, e) : r;
}

static int
read_lines(struct join *x, struct err *e)
{
	unsigned char	*win = mem_alloc(WINDOW), *nl;
	struct buf	 text;
	uint64_t	 at = 0;	/* of text */
	size_t		 i, n;
	ssize_t		 got;
	int		 rv = -1;

	buf_init(&text, BATCH_LINE_MAX);
	do {
		if ((got = io_read(x->file[x->k].fd, win, WINDOW)) == -1) {
			err_sys(e, errno, "%s", file_name[x->k]);
			goto done;
		}
		for (i = 0; i < (size_t)got; i += n) {
			n = (size_t)got - i;
			nl = memchr(win + i, '\n', n);
			if (nl != NULL)
				n = (size_t)(nl - (win + i));
			buf_add(&text, win + i, n);
			if (text.over) {
				x->line.number++;
				buf_reset(&x->line.id);
				batch_line_bad(&x->line, e,
				    "longer than 32 MiB");
				goto done;
			}
			if (nl == NULL)
				continue;
			n++;
			if (one_line(x, &text, at, e) == -1)
				goto done;
			at += text.len + 1;
			buf_reset(&text);
		}
	} while (got == WINDOW);
	if (text.len != 0 && one_line(x, &text, at, e) == -1)
		goto done;
	rv = 0;
done:
	free(win);
	buf_free(&text);
	return rv;
}

/* -- files ------------------------------------------------------------- */

static int
open_temp(struct join *x, struct err *e)
{
	/* no name: a file that is gone when it is closed */
	x->db = db_open("", DB_BUILD, 0, e);
	if (x->db == NULL)
		return -1;
	return db_exec(x->db, "CREATE TABLE req(id BLOB PRIMARY KEY,"
	    " line INTEGER, at INTEGER, len INTEGER,"
	    " coll, coll_len, doc, doc_len, meta, meta_len) WITHOUT ROWID;"
	    "CREATE TABLE res(id BLOB PRIMARY KEY,"
	    " line INTEGER, at INTEGER, len INTEGER,"
	    " coll, coll_len, doc, doc_len, meta, meta_len,"
	    " vec, vec_len, model, model_len, file INTEGER, ok INTEGER)"
	    " WITHOUT ROWID;"
	    "CREATE TABLE old(id BLOB PRIMARY KEY, glob INTEGER)"
	    " WITHOUT ROWID; BEGIN", "temporary database", e);
}

static int
read_file(struct join *x, int k, struct err *e)
{
	struct file	*f = &x->file[k];
	struct stat	 st;
	int		 rv;

	if (f->path == NULL)
		return 0;
	x->k = k;
	batch_line_clear(&x->line);
	batch_line_init(&x->line, file_name[k], k == 0);
	f->fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (f->fd == -1 || fstat(f->fd, &st) == -1)
		return err_sys(e, errno, "%s", file_name[k]);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    file_name[k]);
	x->put = db_prepare(x->db, k == 0 ? "INSERT OR IGNORE INTO req "
	    "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)" :
	    "INSERT OR IGNORE INTO res VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,"
	    "?10,?11,?12,?13,?14,?15,?16)", file_name[k], e);
	if (x->put == NULL)
		return -1;
	rv = read_lines(x, e);
	sqlite3_finalize(x->put);
	x->put = NULL;
	return rv;
}

/* -- what is out of date ----------------------------------------------- */

/* The next line of it, without its end; 0 there are no more. */
static int
old_line(const char **at, const char *end, const char **s, size_t *n)
{
	const char	*nl;

	while (*at < end) {
		nl = memchr(*at, '\n', (size_t)(end - *at));
		*s = *at;
		*n = (size_t)((nl != NULL ? nl : end) - *at);
		*at = nl != NULL ? nl + 1 : end;
		if (*n > 0 && (*s)[*n - 1] == '\r')
			(*n)--;
		if (*n > 0 && **s != '#')
			return 1;
	}
	return 0;
}

static int
is_glob(const char *s, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		if (s[i] == '*' || s[i] == '?' || s[i] == '[')
			return 1;
	return 0;
}

int
batch_join_stale(const char *list, size_t len, struct err *e)
{
	const char	*at = list, *s;
	size_t		 n, lines = 0, globs = 0;

	while (old_line(&at, list + len, &s, &n)) {
		lines++;
		if (n > ITEM_ID_MAX)
			return err_set(e, MSG_USAGE, "a line of %zu bytes: "
			    "want custom_ids of at most %d", n, ITEM_ID_MAX);
		if (!is_glob(s, n))
			continue;
		if (n > BATCH_JOIN_GLOB_MAX)
			return err_set(e, MSG_USAGE, "a pattern of %zu "
			    "bytes: want at most %d", n, BATCH_JOIN_GLOB_MAX);
		if (++globs > BATCH_JOIN_GLOBS)
			return err_set(e, MSG_USAGE, "more than %d lines "
			    "with *, ? or [", BATCH_JOIN_GLOBS);
	}
	return lines != 0 ? 0 : err_set(e, MSG_USAGE, "no line: want the "
	    "custom_ids of results that are out of date");
}

static int
read_old(struct join *x, struct err *e)
{
	const char	*at = x->o->stale, *end = at + x->o->stale_len, *s;
	sqlite3_stmt	*st;
	size_t		 n;
	int		 rv = 0;

	st = db_prepare(x->db, "INSERT OR IGNORE INTO old VALUES (?1, ?2)",
	    "stale list", e);
	if (st == NULL)
		return -1;
	while (rv != -1 && old_line(&at, end, &s, &n)) {
		sqlite3_reset(st);
		if (sqlite3_bind_blob(st, 1, s, (int)n,
		    SQLITE_STATIC) != SQLITE_OK ||
		    sqlite3_bind_int(st, 2, is_glob(s, n)) != SQLITE_OK)
			rv = db_err(x->db, "stale list", e);
		else
			rv = db_step(st, "stale list", e);
	}
	sqlite3_finalize(st);
	return rv == -1 ? -1 : 0;
}

/* Results that the caller does not want: ok is OLD of them. */
static int
mark_old(struct join *x, struct err *e)
{
	struct batch_joined	*r = x->r;

	if (x->o->stale == NULL)
		return 0;
	if (read_old(x, e) == -1 || db_exec(x->db, "UPDATE res SET ok = "
	    OLD " WHERE ok = 1 AND (id IN (SELECT id FROM old) OR EXISTS "
	    "(SELECT 1 FROM old WHERE glob AND CAST(res.id AS TEXT) GLOB "
	    "CAST(old.id AS TEXT)))", "stale list", e) == -1)
		return -1;
	r->stale = (uint64_t)sqlite3_changes(x->db);
	r->ok -= r->stale;
	return 0;
}

/* -- the reckoning ----------------------------------------------------- */

/* An answer that nobody asked for? */
static int
unrequested(struct join *x, struct err *e)
{
	static const char	 sql[] = "SELECT id, line, file FROM res "
	    "WHERE NOT EXISTS (SELECT 1 FROM req WHERE req.id = res.id) "
	    "LIMIT 1";
	sqlite3_stmt		*st = db_prepare(x->db, sql, "answers", e);
	int			 r;

	if (st == NULL)
		return -1;
	if ((r = db_step(st, "answers", e)) == 1) {
		x->line.what = file_name[sqlite3_column_int(st, 2) % FILES];
		x->line.number = (uint64_t)sqlite3_column_int64(st, 1);
		buf_reset(&x->line.id);
		buf_add(&x->line.id, sqlite3_column_blob(st, 0),
		    (size_t)sqlite3_column_bytes(st, 0));
		r = batch_line_bad(&x->line, e, "was not requested: it is "
		    "not in the input file");
	}
	sqlite3_finalize(st);
	return r;
}

static int
reckon(struct join *x, struct err *e)
{
	struct batch_joined	*r = x->r;

	if (x->o->requests != NULL) {
		if (unrequested(x, e) == -1)
			return -1;
		if (x->o->has_total && x->o->total != r->requested)
			return err_set(e, MSG_DATAERR, "request_counts: "
			    "total is %llu, and the input file has %llu "
			    "requests", (unsigned long long)x->o->total,
			    (unsigned long long)r->requested);
	} else if (x->o->has_total)
		r->requested = x->o->total;
	else
		return err_set(e, MSG_DATAERR, "neither the input file nor "
		    "request_counts: nobody knows what was requested");
	if (r->requested == 0)
		return err_set(e, MSG_DATAERR, "a batch without requests");
	if (r->ok + r->failed + r->stale > r->requested)
		return err_set(e, MSG_DATAERR, "want answers for %llu "
		    "requests, got %llu", (unsigned long long)r->requested,
		    (unsigned long long)(r->ok + r->failed + r->stale));
	r->missing = r->requested - r->ok - r->failed - r->stale;
	return 0;
}

/* "; failed: a, b, c ..." */
static int
name_some(struct join *x, struct buf *b, const char *label, uint64_t n,
    const char *sql, struct err *e)
{
	sqlite3_stmt	*st;
	char		 id[BATCH_LINE_SHOWN];
	int		 i, r = 0;

	if (n == 0)
		return 0;
	if ((st = db_prepare(x->db, sql, "answers", e)) == NULL)
		return -1;
	buf_printf(b, "; %s", label);
	for (i = 0; i < BATCH_JOIN_SHOWN; i++) {
		if ((r = db_step(st, "answers", e)) != 1)
			break;
		batch_line_show(id, sizeof(id), sqlite3_column_blob(st, 0),
		    (size_t)sqlite3_column_bytes(st, 0));
		buf_printf(b, "%s%s", i == 0 ? ": " : ", ", id);
	}
	if (n > BATCH_JOIN_SHOWN && i == BATCH_JOIN_SHOWN)
		buf_str(b, " ...");
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

static int
describe(struct join *x, struct err *e)
{
	struct buf	b;
	int		rv = -1;

	buf_init(&b, 4096);
	if (x->first[0] != '\0')
		buf_printf(&b, "; first error: %s", x->first);
	if (name_some(x, &b, "failed", x->r->failed, "SELECT id FROM res "
	    "WHERE ok = 0 ORDER BY id", e) == 0 &&
	    name_some(x, &b, "stale", x->r->stale, "SELECT id FROM res "
	    "WHERE ok = " OLD " ORDER BY id", e) == 0 &&
	    (x->o->requests == NULL ||
	    name_some(x, &b, "missing", x->r->missing, "SELECT id FROM req "
	    "WHERE NOT EXISTS (SELECT 1 FROM res WHERE res.id = req.id) "
	    "ORDER BY line", e) == 0)) {
		(void)snprintf(x->r->text, sizeof(x->r->text), "%s",
		    b.len > 2 ? buf_cstr(&b) + 2 : "");
		rv = 0;
	}
	buf_free(&b);
	return rv;
}

/* -- what is written --------------------------------------------------- */

static int
flush(struct join *x, struct err *e)
{
	if (io_write(x->out, x->pending.p, x->pending.len) == -1)
		return err_sys(e, errno, "%s", x->out_name);
	buf_reset(&x->pending);
	return 0;
}

static int
put_str(struct join *x, const char *s, struct err *e)
{
	buf_str(&x->pending, s);
	return x->pending.len < WINDOW ? 0 : flush(x, e);
}

/* A span of file k as it stands there; columns i and i + 1. */
static int
put_span(struct join *x, int k, sqlite3_stmt *st, int i, struct err *e)
{
	uint64_t	 at = (uint64_t)sqlite3_column_int64(st, i);
	uint64_t	 len = (uint64_t)sqlite3_column_int64(st, i + 1);
	unsigned char	*room;
	size_t		 n;
	ssize_t		 got;

	for (; len > 0; len -= n, at += n) {
		n = len < WINDOW ? (size_t)len : WINDOW;
		if ((room = buf_room(&x->pending, n)) == NULL)
			return err_set(e, MSG_SOFTWARE, "%s: no room",
			    x->out_name);
		got = io_pread(x->file[k].fd, room, n, at);
		if (got == -1)
			return err_sys(e, errno, "%s", file_name[k]);
		if ((size_t)got != n)
			return err_set(e, MSG_IOERR, "%s: shorter than it "
			    "was", file_name[k]);
		x->pending.len += n;
		if (x->pending.len >= WINDOW && flush(x, e) == -1)
			return -1;
	}
	return 0;
}

static int
put_key(struct join *x, const char *key, int k, sqlite3_stmt *st, int i,
    struct err *e)
{
	if (sqlite3_column_int64(st, i + 1) == 0)
		return 0;
	if (put_str(x, key, e) == -1)
		return -1;
	return put_span(x, k, st, i, e);
}

static int
begin(struct join *x, const char *path, const char *name, struct err *e)
{
	x->out_name = name;
	x->out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (x->out == -1)
		return err_sys(e, errno, "%s", name);
	buf_reset(&x->pending);
	return 0;
}

static int
end(struct join *x, struct err *e)
{
	if (flush(x, e) == -1)
		return -1;
	return io_close(&x->out, x->out_name, e);
}

/* One result: id, file, then spans of our keys, model and embedding. */
static int
put_result(struct join *x, sqlite3_stmt *st, struct err *e)
{
	int	k = sqlite3_column_int(st, 1) % FILES;
	int	from = x->o->requests != NULL ? 0 : k;

	buf_str(&x->pending, "{\"custom_id\":");
	json_put_str(&x->pending, sqlite3_column_blob(st, 0),
	    (size_t)sqlite3_column_bytes(st, 0));
	if (put_key(x, ",\"collection\":", from, st, 2, e) == -1 ||
	    put_key(x, ",\"document\":", from, st, 4, e) == -1 ||
	    put_key(x, ",\"metadata\":", from, st, 6, e) == -1 ||
	    put_str(x, ",\"response\":{\"status_code\":200,\"body\":{",
	    e) == -1 ||
	    put_key(x, "\"model\":", k, st, 10, e) == -1)
		return -1;
	if (sqlite3_column_int64(st, 11) != 0)
		buf_addc(&x->pending, ',');
	if (put_str(x, "\"data\":[{\"embedding\":", e) == -1 ||
	    put_span(x, k, st, 8, e) == -1)
		return -1;
	return put_str(x, "}]}}}\n", e);
}

static int
write_results(struct join *x, struct err *e)
{
	sqlite3_stmt	*st;
	int		 r;

	st = db_prepare(x->db, x->o->requests != NULL ?
	    "SELECT s.id, s.file, q.coll, q.coll_len, q.doc, q.doc_len,"
	    " q.meta, q.meta_len, s.vec, s.vec_len, s.model, s.model_len "
	    "FROM res s JOIN req q ON q.id = s.id WHERE s.ok = 1 "
	    "ORDER BY s.id" :
	    "SELECT id, file, coll, coll_len, doc, doc_len, meta, meta_len,"
	    " vec, vec_len, model, model_len FROM res WHERE ok = 1 "
	    "ORDER BY id",
	    "answers", e);
	if (st == NULL)
		return -1;
	if ((r = begin(x, x->o->out, "results", e)) == 0)
		while ((r = db_step(st, "answers", e)) == 1)
			if ((r = put_result(x, st, e)) == -1)
				break;
	sqlite3_finalize(st);
	return r == 0 ? end(x, e) : -1;
}

static int
write_requeue(struct join *x, struct err *e)
{
	int		 own = x->o->requests != NULL, r;
	sqlite3_stmt	*st;

	st = db_prepare(x->db, own ? "SELECT at, len FROM req WHERE NOT "
	    "EXISTS (SELECT 1 FROM res WHERE res.id = req.id AND ok = 1) "
	    "ORDER BY line" :
	    "SELECT id FROM res WHERE ok <> 1 ORDER BY id", "answers", e);
	if (st == NULL)
		return -1;
	r = begin(x, x->o->requeue, "requeue file", e);
	while (r == 0 && (r = db_step(st, "answers", e)) == 1) {
		if (own)
			r = put_span(x, 0, st, 0, e);
		else {
			buf_str(&x->pending, "{\"custom_id\":");
			json_put_str(&x->pending, sqlite3_column_blob(st, 0),
			    (size_t)sqlite3_column_bytes(st, 0));
			r = put_str(x, "}", e);
		}
		if (r == 0)
			r = put_str(x, "\n", e);
	}
	sqlite3_finalize(st);
	return r == 0 ? end(x, e) : -1;
}

/* -- all of it --------------------------------------------------------- */

static void
init(struct join *x, const struct batch_join *o, struct batch_joined *r)
{
	int	k;

	memset(x, 0, sizeof(*x));
	memset(r, 0, sizeof(*r));
	x->o = o;
	x->r = r;
	x->file[0].path = o->requests;
	x->file[1].path = o->output;
	x->file[2].path = o->errors;
	for (k = 0; k < FILES; k++)
		x->file[k].fd = -1;
	x->out = -1;
	batch_line_init(&x->line, file_name[0], 1);
	/* an id is at most six times as long when it is escaped */
	buf_init(&x->pending, 4 * (size_t)WINDOW + 6 * (size_t)ITEM_ID_MAX);
}

int
batch_join(const struct batch_join *o, struct batch_joined *r, struct err *e)
{
	struct join	x;
	struct err	ignored = { 0, "" };
	int		k, rv = -1;

	init(&x, o, r);
	if (open_temp(&x, e) == -1 || read_file(&x, 0, e) == -1 ||
	    read_file(&x, 1, e) == -1 || read_file(&x, 2, e) == -1 ||
	    mark_old(&x, e) == -1 || reckon(&x, e) == -1 ||
	    describe(&x, e) == -1 || write_results(&x, e) == -1)
		goto done;
	if (o->requeue != NULL && write_requeue(&x, e) == -1)
		goto done;
	rv = 0;
done:
	for (k = 0; k < FILES; k++)
		if (x.file[k].fd != -1)
			(void)close(x.file[k].fd);
	if (x.out != -1)
		(void)close(x.out);
	/* nothing in it is to be kept */
	(void)db_close(x.db, "temporary database", &ignored);
	batch_line_clear(&x.line);
	buf_free(&x.pending);
	return rv;
}
