/*
 * chroma_read: the records of a ChromaDB directory behind store.h: what
 * the walk finds, with metadata, document and vector, and beside a
 * directory of ours what its ledger adds.
 *
 * It judges nothing but what it needs in order to read.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "store.h"
#include "banned.h"

/* -- records ----------------------------------------------------------- */

/* Canonical metadata and document of one row, in reader.small_text. */
struct small {
	int64_t	row;
	size_t	meta, meta_len, doc, doc_len;
	int	has_doc;
	int	used;		/* by a record */
};

struct reader {
	struct chroma		 c;
	struct store		*store;
	struct chroma_walk	*walk;
	int			 started;	/* in this collection */
	struct chroma_ours	 ours;	/* when c.ours */
	int			 light;	/* the ledger alone */
	size_t			 coll;	/* being walked */
	struct hash		*hash;
	struct meta		*meta;
	sqlite3_stmt		*meta_st, *array_st, *vector_st, *queue_st;
	/* for a watch: vector_st gives whole rows; metadata in their order */
	sqlite3_stmt		*scan_st, *first_st;
	int			 scan_end;
	int64_t			 scan_row;	/* that it stands on */
	int64_t			 scan_n;	/* rows read by it */
	int			 at_op;		/* vector_st stands on a row */
	int64_t			 op_seq;
	int			 arrays; /* there are rows of them */
	/* of a small file: everyone's metadata, read in one go */
	struct small		*small;	/* sorted by row */
	size_t			 n_small, small_cap, n_used;
	struct buf		 small_text;
	int			 is_small;
	struct buf		 doc, json;
	unsigned char		*vec;
	size_t			 vec_cap;
};

static int
bad_item(const struct reader *r, const struct chroma_state *s,
    const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: id %.*s: %s",
	    r->c.path, r->c.colls[r->coll].name,
	    (int)(s->len < 100 ? s->len : 100), s->id, why);
}

/* Typed value in columns 1 to 4 of st: set at the key, or push. */
static int
meta_value(struct reader *r, sqlite3_stmt *st, const char *key, size_t len,
    int push)
{
	struct meta	*m = r->meta;
	const char	*s;
	double		 f;
	size_t		 n;

	if (sqlite3_column_type(st, 1) != SQLITE_NULL) {
		s = (const char *)sqlite3_column_text(st, 1);
		n = (size_t)sqlite3_column_bytes(st, 1);
		if (s == NULL || n > ITEM_TEXT_MAX || !path_utf8(s, n))
			return -1;
		if (push)
			meta_push_str(m, s, n);
		else
			meta_set_str(m, key, len, s, n);
	} else if (sqlite3_column_type(st, 2) != SQLITE_NULL) {
		if (sqlite3_column_type(st, 2) != SQLITE_INTEGER)
			return -1;
		if (push)
			meta_push_int(m, sqlite3_column_int64(st, 2));
		else
			meta_set_int(m, key, len,
			    sqlite3_column_int64(st, 2));
	} else if (sqlite3_column_type(st, 3) != SQLITE_NULL) {
		f = sqlite3_column_double(st, 3);
		if (sqlite3_column_type(st, 3) != SQLITE_FLOAT ||
		    !isfinite(f))
			return -1;
		if (push)
			meta_push_float(m, f);
		else
			meta_set_float(m, key, len, f);
	} else if (sqlite3_column_type(st, 4) != SQLITE_NULL) {
		if (sqlite3_column_type(st, 4) != SQLITE_INTEGER)
			return -1;
		if (push)
			meta_push_bool(m, sqlite3_column_int(st, 4) != 0);
		else
			meta_set_bool(m, key, len,
			    sqlite3_column_int(st, 4) != 0);
	} else
		return -1;
	return 0;
}

/* One row of embedding_metadata: 0 a value, 1 the document, -1. */
static int
meta_row(struct reader *r, sqlite3_stmt *st, const char **why)
{
	const char	*key = (const char *)sqlite3_column_text(st, 0);
	size_t		 len = (size_t)sqlite3_column_bytes(st, 0);

	*why = "metadata key is no text";
	if (key == NULL || len > ITEM_ID_MAX || !path_utf8(key, len))
		return -1;
	if (len != sizeof(CHROMA_DOC) - 1 ||
	    memcmp(key, CHROMA_DOC, len) != 0 ||
	    sqlite3_column_type(st, 1) != SQLITE_TEXT) {
		*why = "metadata value is none";
		return meta_value(r, st, key, len, 0);
	}
	*why = "document is too large or not UTF-8";
	buf_reset(&r->doc);
	key = (const char *)sqlite3_column_text(st, 1);
	len = (size_t)sqlite3_column_bytes(st, 1);
	if (key == NULL || len > ITEM_TEXT_MAX || !path_utf8(key, len))
		return -1;
	buf_add(&r->doc, key, len);
	return 1;
}

/* Scalars of an embeddings row; the document goes to r->doc. */
static int
read_row(struct reader *r, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	sqlite3_stmt	*st = r->meta_st;
	const char	*why;
	int		 got, doc;

	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		if ((doc = meta_row(r, st, &why)) == -1) {
			got = bad_item(r, s, why, e);
			break;
		}
		*has_doc |= doc;
	}
	sqlite3_reset(st);
	return got;
}

static int
scan_step(struct reader *r, struct err *e)
{
	int	got = db_step(r->scan_st, r->c.file, e);

	r->scan_end = got != 1;
	if (got == 1)
		r->scan_row = sqlite3_column_int64(r->scan_st, 5);
	return got == -1 ? -1 : 0;
}

/* Before the first row of a record that is not the next: 1, 0 none, -1. */
static int
scan_seek(struct reader *r, int64_t row, struct err *e)
{
	sqlite3_stmt	*st = r->first_st;
	int		 got;

	sqlite3_bind_int64(st, 1, row);
	if ((got = db_step(st, r->c.file, e)) == 1 &&
	    sqlite3_column_type(st, 0) == SQLITE_NULL)
		got = 0;
	if (got == 1) {
		sqlite3_reset(r->scan_st);
		sqlite3_bind_int64(r->scan_st, 1,
		    sqlite3_column_int64(st, 0));
		if (scan_step(r, e) == -1)
			got = -1;
	}
	sqlite3_reset(st);
	return got;
}

/*
 * The same where the rows of a record lie together, and most often behind
 * those of the one before.  That all were found is proved by their number.
 */
static int
scan_rows(struct reader *r, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	const char	*why;
	int		 got, doc;

	if ((r->scan_end || r->scan_row != s->row) &&
	    (got = scan_seek(r, s->row, e)) != 1)
		return got;
	while (!r->scan_end && r->scan_row == s->row) {
		if (r->c.watch->meta(r->c.watch->arg, r->scan_st, e) == -1)
			return -1;
		r->scan_n++;
		if ((doc = meta_row(r, r->scan_st, &why)) == -1)
			return bad_item(r, s, why, e);
		*has_doc |= doc;
		if (scan_step(r, e) == -1)
			return -1;
	}
	return 0;
}

static int
read_arrays(struct reader *r, const struct chroma_state *s, struct err *e)
{
	sqlite3_stmt	*st = r->array_st;
	struct buf	 last;
	const char	*key;
	size_t		 len;
	int		 got, any = 0;

	buf_init(&last, ITEM_ID_MAX + 1);
	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		key = (const char *)sqlite3_column_text(st, 0);
		len = (size_t)sqlite3_column_bytes(st, 0);
		if (key == NULL || len > ITEM_ID_MAX ||
		    !path_utf8(key, len)) {
			got = bad_item(r, s, "metadata key is no text", e);
			break;
		}
		if (!any || item_cmp(last.p, last.len, key, len) != 0)
			meta_set_array(r->meta, key, len);
		any = 1;
		buf_reset(&last);
		buf_add(&last, key, len);
		if (meta_value(r, st, key, len, 1) == -1) {
			got = bad_item(r, s, "metadata value is none", e);
			break;
		}
	}
	sqlite3_reset(st);
	buf_free(&last);
	return got;
}

/* Operations that the records have not seen yet, laid over them. */
static int
read_overlay(struct reader *r, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	static const size_t	 doc_len = sizeof(CHROMA_DOC) - 1;
	sqlite3_stmt		*st = r->queue_st;
	const char		*p, *why = "";
	size_t			 i, n;
	int			 got;

	if (st == NULL) {
		st = r->queue_st = db_prepare(r->c.db, "SELECT metadata FROM "
		    "embeddings_queue WHERE seq_id = ?1", r->c.file, e);
		if (st == NULL)
			return -1;
	}
	if (*has_doc)
		meta_set_str(r->meta, CHROMA_DOC, doc_len,
		    (const char *)r->doc.p, r->doc.len);
	for (i = 0; i < s->n_overlay; i++) {
		sqlite3_bind_int64(st, 1, s->overlay[i]);
		if ((got = db_step(st, r->c.file, e)) == -1)
			return -1;
		p = got == 1 ? (const char *)sqlite3_column_text(st, 0) :
		    NULL;
		n = p != NULL ? (size_t)sqlite3_column_bytes(st, 0) : 0;
		if (p != NULL && (n > ITEM_TEXT_MAX ||
		    meta_overlay(r->meta, p, n, &why) == -1)) {
			sqlite3_reset(st);
			return bad_item(r, s, "metadata in the queue is not "
			    "a flat JSON object", e);
		}
		sqlite3_reset(st);
	}
	p = meta_get_str(r->meta, CHROMA_DOC, doc_len, &n);
	*has_doc = p != NULL;
	if (p != NULL) {
		if (n > ITEM_TEXT_MAX)
			return bad_item(r, s, "document is too large", e);
		buf_reset(&r->doc);
		buf_add(&r->doc, p, n);
		meta_remove(r->meta, CHROMA_DOC, doc_len);
	}
	return 0;
}

/* The queue's row at seq, for the watch; vector_st stands on it. */
static int
read_op(struct reader *r, const struct chroma_state *s, int64_t seq,
    struct err *e)
{
	int	got;

	/* most often the row behind the one before */
	if (!r->at_op || r->op_seq >= seq || seq - r->op_seq != 1) {
		sqlite3_reset(r->vector_st);
		sqlite3_bind_int64(r->vector_st, 1, seq);
	}
	r->at_op = 0;
	if ((got = db_step(r->vector_st, r->c.file, e)) == -1)
		return -1;
	if (got == 0 || sqlite3_column_int64(r->vector_st, 0) != seq)
		return bad_item(r, s, "a row of the queue is gone", e);
	r->at_op = 1;
	r->op_seq = seq;
	return r->c.watch->queue(r->c.watch->arg, r->vector_st, e);
}

/* All rows of the queue; the one with the vector comes last. */
static int
read_ops(struct reader *r, const struct chroma_state *s, struct err *e)
{
	size_t	i;
	int	own = 0;

	for (i = 0; i < s->n_ops; i++) {
		if (s->ops[i] == s->vector_seq)
			own = 1;
		else if (read_op(r, s, s->ops[i], e) == -1)
			return -1;
	}
	return own ? read_op(r, s, s->vector_seq, e) : 0;
}

static int
read_vector(struct reader *r, const struct chroma_state *s, struct item *it,
    struct err *e)
{
	const struct chroma_coll	*cc = &r->c.colls[r->coll];
	struct chroma_index		*x = chroma_walk_index(r->walk);
	size_t				 want = (size_t)cc->dim * 4;
	int				 got, col;

	if (s->vector_seq == 0) {
		if (s->element == CHROMA_NO_ELEMENT)
			return bad_item(r, s, x->why != NULL ? x->why :
			    "its vector is not in the HNSW files", e);
		if (hnsw_vector(&x->hnsw, s->element, r->vec, e) == -1)
			return -1;
		it->vec = r->vec;
		return 0;
	}
	got = 1;
	col = 4; /* of the row that the watch has seen */
	if (r->c.watch == NULL) {
		col = 0;
		sqlite3_reset(r->vector_st);
		sqlite3_bind_int64(r->vector_st, 1, s->vector_seq);
		if ((got = db_step(r->vector_st, r->c.file, e)) == -1)
			return -1;
	}
	if (got == 0 ||
	    sqlite3_column_type(r->vector_st, col) != SQLITE_BLOB ||
	    (size_t)sqlite3_column_bytes(r->vector_st, col) != want)
		return bad_item(r, s, "its vector in the queue has not the "
		    "collection's dimension", e);
	it->vec = sqlite3_column_blob(r->vector_st, col);
	return it->vec != NULL ? 0 : db_err(r->c.db, r->c.file, e);
}

/* -- small files ------------------------------------------------------- */

static int
small_cmp(const void *a, const void *b)
{
	const struct small	*x = a, *y = b;

	return x->row < y->row ? -1 : x->row > y->row;
}

/* What r->meta and r->doc hold is all there is of row. */
static void
small_end(struct reader *r, int64_t row, int has_doc)
{
	struct small	*m;

	r->small = mem_grow(r->small, &r->small_cap, r->n_small + 1,
	    sizeof(*r->small));
	m = &r->small[r->n_small++];
	m->row = row;
	m->meta = r->small_text.len;
	meta_json(r->meta, &r->small_text);
	m->meta_len = r->small_text.len - m->meta;
	m->doc = r->small_text.len;
	m->doc_len = has_doc ? r->doc.len : 0;
	m->has_doc = has_doc;
	m->used = 0;
	buf_add(&r->small_text, r->doc.p, m->doc_len);
	meta_reset(r->meta);
}

/* Rows of metadata in their own order. */
static sqlite3_stmt *
scan_prepare(struct reader *r, const char *where, struct err *e)
{
	char	sql[200];

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM embedding_metadata "
	    "NOT INDEXED%s", r->c.has_bool ? CHROMA_META_ROW("bool_value") :
	    CHROMA_META_ROW("NULL"), where);
	return db_prepare(r->c.db, sql, r->c.file, e);
}

/*
 * One scan instead of a look-up for each record: a fresh delta has each
 * record's rows in one place.  Where it has not, or anything is odd, the
 * look-ups do it, and say what is odd.
 */
static int
small_load(struct reader *r, struct err *e)
{
	sqlite3_stmt	*st;
	const char	*why;
	int64_t		 row = 0, now;
	size_t		 i;
	int		 got, doc, any = 0, has_doc = 0, ok = 1;

	if ((st = scan_prepare(r, "", e)) == NULL)
		return -1;
	meta_reset(r->meta);
	while (ok && (got = db_step(st, r->c.file, e)) == 1) {
		if (r->c.watch != NULL &&
		    r->c.watch->meta(r->c.watch->arg, st, e) == -1) {
			got = -1;
			break;
		}
		now = sqlite3_column_int64(st, 5);
		if (any && now != row) {
			small_end(r, row, has_doc);
			has_doc = 0;
		}
		any = 1;
		row = now;
		if ((doc = meta_row(r, st, &why)) == -1)
			ok = 0;
		else
			has_doc |= doc;
	}
	sqlite3_finalize(st);
	if (got == -1)
		return -1;
	if (any)
		small_end(r, row, has_doc);
	if (r->n_small != 0)
		qsort(r->small, r->n_small, sizeof(*r->small), small_cmp);
	for (i = 1; i < r->n_small && ok; i++)
		ok = r->small[i - 1].row != r->small[i].row;
	r->is_small = ok && !r->small_text.over;
	return 0;
}

static void
small_item(struct reader *r, const struct chroma_state *s, struct item *it)
{
	struct small		*m;
	struct small		 key;

	key.row = s->row;
	m = r->n_small == 0 ? NULL : bsearch(&key, r->small, r->n_small,
	    sizeof(*r->small), small_cmp);
	if (m != NULL && !m->used) {
		m->used = 1;
		r->n_used++;
	}
	it->meta = m != NULL ? (const char *)r->small_text.p + m->meta : "{}";
	it->meta_len = m != NULL ? m->meta_len : 2;
	if (m != NULL && m->has_doc) {
		it->doc = (const char *)r->small_text.p + m->doc;
		it->doc_len = m->doc_len;
	}
}

static int
read_item(struct reader *r, const struct chroma_state *s, struct item *it,
    struct err *e)
{
	const struct chroma_coll	*cc = &r->c.colls[r->coll];
	struct chroma_index		*x = chroma_walk_index(r->walk);
	int				 has_doc = 0;

	memset(it, 0, sizeof(*it));
	it->coll = (int)r->coll;
	it->id = s->id;
	it->id_len = s->len;
	it->src = -1;
	if (!path_utf8(s->id, s->len))
		return bad_item(r, s, "its id is not UTF-8", e);
	if (s->record != s->vector)
		return bad_item(r, s, s->vector ? "a vector without record" :
		    x->why != NULL ? x->why : "no vector anywhere", e);
	if (!s->record) {
		it->dead = 1;
		item_digest(r->hash, cc->name, cc->dim, it);
		return 0;
	}
	if (cc->dim == 0)
		return bad_item(r, s, "a record in a collection without "
		    "dimension", e);
	if (read_vector(r, s, it, e) == -1)
		return -1;
	if (r->is_small && s->row != 0 && s->n_overlay == 0) {
		small_item(r, s, it);
		item_digest(r->hash, cc->name, cc->dim, it);
		return 0;
	}
	meta_reset(r->meta);
	if (s->row != 0) {
		if ((r->scan_st != NULL ? scan_rows(r, s, &has_doc, e) :
		    read_row(r, s, &has_doc, e)) == -1 ||
		    (r->arrays && read_arrays(r, s, e) == -1))
			return -1;
	}
	if (s->n_overlay != 0 && read_overlay(r, s, &has_doc, e) == -1)
		return -1;
	buf_reset(&r->json);
	meta_json(r->meta, &r->json);
	if (r->json.over)
		return bad_item(r, s, "its metadata are too large", e);
	it->meta = buf_cstr(&r->json);
	it->meta_len = r->json.len;
	if (has_doc) {
		it->doc = buf_cstr(&r->doc);
		it->doc_len = r->doc.len;
	}
	item_digest(r->hash, cc->name, cc->dim, it);
	return 0;
}

/* What the ledger knows of it; the vector gets its last bits back. */
static int
add_ledger(struct reader *r, const struct chroma_state *s,
    const struct ledger_rec *rec, struct item *it, struct err *e)
{
	it->seq = rec->seq;
	it->src = rec->src;
	memcpy(it->digest, rec->digest, HASH_LEN);
	/* a vector of ours is in the index, and so in r->vec */
	if (it->vec != NULL && rec->fix != NULL &&
	    ledger_fix_apply(r->vec, r->c.colls[r->coll].dim, rec->fix,
	    rec->fix_len) == -1)
		return bad_item(r, s, "its fix in the ledger is none", e);
	return 0;
}

/* An item of a directory of ours. */
static int
read_ours(struct reader *r, const struct chroma_state *s,
    const struct ledger_rec *rec, struct item *it, struct err *e)
{
	if (!r->light && s->record) {
		if (read_item(r, s, it, e) == -1)
			return -1;
	} else {
		memset(it, 0, sizeof(*it));
		it->coll = (int)r->coll;
		it->id = s->id;
		it->id_len = s->len;
		it->dead = !s->record;
	}
	return add_ledger(r, s, rec, it, e);
}

/* Stand before the first id of collection r->coll. */
static int
start_coll(struct reader *r, struct err *e)
{
	struct chroma_coll	*cc = &r->c.colls[r->coll];

	if (!r->light) {
		r->vec = mem_grow(r->vec, &r->vec_cap, (size_t)cc->dim * 4,
		    1);
		if ((r->walk = chroma_walk_new(&r->c, cc, e)) == NULL)
			return -1;
	}
	r->started = 1;
	return r->c.ours ? chroma_ours_start(&r->ours, r->coll, r->walk, e) :
	    0;
}

/* An id for the watch: 1 when there is more to it than its rows. */
static int
watch_id(struct reader *r, const struct chroma_state *s, struct err *e)
{
	int	some = s->record || s->vector || s->deleted;

	if (some && r->c.watch->id(r->c.watch->arg, s, e) == -1)
		return -1;
	return read_ops(r, s, e) == -1 ? -1 : some;
}

/* The end of the only collection, for the watch. */
static int
watch_end(struct reader *r, struct err *e)
{
	struct chroma_watch	*w = r->c.watch;

	w->all_meta = r->is_small ? r->n_used == r->n_small :
	    r->scan_st != NULL;
	if (r->scan_st != NULL && r->scan_n != w->meta_rows)
		return err_set(e, MSG_DATAERR, "%s: metadata of no record",
		    r->c.path);
	return w->end(w->arg, r->walk, e);
}

static int
reader_next(void *impl, struct item *it, struct err *e)
{
	struct reader		*r = impl;
	struct chroma_state	 s;
	struct ledger_rec	 rec;
	int			 got;

	for (;;) {
		if (r->coll >= r->c.n)
			return r->c.ours ? chroma_ours_end(&r->ours, e) : 0;
		if (!r->started && start_coll(r, e) == -1)
			return -1;
		got = r->c.ours ? chroma_ours_next(&r->ours, &s, &rec, e) :
		    chroma_walk_next(r->walk, &s, e);
		if (got == 1 && r->c.watch != NULL &&
		    (got = watch_id(r, &s, e)) == 0)
			continue;
		if (got == -1)
			return -1;
		if (got == 1) {
			got = r->c.ours ? read_ours(r, &s, &rec, it, e) :
			    read_item(r, &s, it, e);
			return got == -1 ? -1 : 1;
		}
		if (r->c.watch != NULL && watch_end(r, e) == -1)
			return -1;
		chroma_walk_free(r->walk);
		r->walk = NULL;
		r->started = 0;
		r->coll++;
	}
}

static void
reader_close(void *impl)
{
	struct reader	*r = impl;
	struct err	 e;

	memset(&e, 0, sizeof(e));
	chroma_walk_free(r->walk);
	sqlite3_finalize(r->scan_st);
	sqlite3_finalize(r->first_st);
	sqlite3_finalize(r->meta_st);
	sqlite3_finalize(r->array_st);
	sqlite3_finalize(r->vector_st);
	sqlite3_finalize(r->queue_st);
	hash_free(r->hash);
	meta_free(r->meta);
	buf_free(&r->doc);
	buf_free(&r->json);
	buf_free(&r->small_text);
	free(r->small);
	free(r->vec);
	chroma_ours_close(&r->ours);
	/* a handle that only read has nothing to lose in closing */
	(void)chroma_clear(&r->c, &e);
	free(r);
}

static int
reader_prepare(struct reader *r, struct err *e)
{
	struct chroma	*c = &r->c;
	int64_t		 one;

	r->meta_st = db_prepare(c->db, c->has_bool ?
	    "SELECT key, string_value, int_value, float_value, bool_value "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key" :
	    "SELECT key, string_value, int_value, float_value, NULL "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key",
	    c->file, e);
	r->vector_st = db_prepare(c->db, c->watch != NULL ?
	    "SELECT " CHROMA_QUEUE_ROW " FROM embeddings_queue "
	    "WHERE seq_id >= ?1 ORDER BY seq_id" :
	    "SELECT vector FROM embeddings_queue WHERE seq_id = ?1",
	    c->file, e);
	if (r->meta_st == NULL || r->vector_st == NULL)
		return -1;
	if (c->watch != NULL && !c->small && c->watch->meta_sorted) {
		r->scan_end = 1;
		r->scan_st = scan_prepare(r, " WHERE rowid >= ?1", e);
		r->first_st = db_prepare(c->db, "SELECT min(rowid) FROM "
		    "embedding_metadata WHERE id = ?1", c->file, e);
		if (r->scan_st == NULL || r->first_st == NULL)
			return -1;
	}
	if (!c->has_array)
		return c->small ? small_load(r, e) : 0;
	r->arrays = db_int(c->db,
	    "SELECT 1 FROM embedding_metadata_array LIMIT 1", c->file, &one,
	    e);
	if (r->arrays == -1)
		return -1;
	if (r->arrays == 0)
		return c->small ? small_load(r, e) : 0;
	r->array_st = db_prepare(c->db, "SELECT key, string_value, "
	    "int_value, float_value, bool_value FROM "
	    "embedding_metadata_array WHERE id = ?1 ORDER BY key, rowid",
	    c->file, e);
	return r->array_st == NULL ? -1 : 0;
}

static void
put_text(struct buf *b, const char *key, const char *s)
{
	json_put_key(b, key);
	if (s == NULL)
		buf_str(b, "null");
	else
		json_put_str(b, s, strlen(s));
}

/* {"uuid":..,"config":..,"schema":..,"metadata":{..}} */
static char *
coll_json(struct reader *r, const struct chroma_coll *cc, struct err *e)
{
	struct buf	 b;
	sqlite3_stmt	*st;
	const char	*key;
	char		*rv = NULL;
	int		 got;

	st = db_prepare(r->c.db, r->c.has_coll_bool ?
	    "SELECT key, str_value, int_value, float_value, bool_value "
	    "FROM collection_metadata WHERE collection_id = ?1" :
	    "SELECT key, str_value, int_value, float_value, NULL "
	    "FROM collection_metadata WHERE collection_id = ?1",
	    r->c.file, e);
	if (st == NULL)
		return NULL;
	buf_init(&b, 8 * CHROMA_CONFIG_MAX);
	sqlite3_bind_text(st, 1, cc->uuid, -1, SQLITE_STATIC);
	meta_reset(r->meta);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		key = (const char *)sqlite3_column_text(st, 0);
		if (key == NULL || !path_utf8(key, (size_t)
		    sqlite3_column_bytes(st, 0)) || meta_value(r, st, key,
		    (size_t)sqlite3_column_bytes(st, 0), 0) == -1) {
			chroma_bad(&r->c, cc->name, "bad metadata", e);
			goto done;
		}
	}
	if (got == -1)
		goto done;
	buf_addc(&b, '{');
	put_text(&b, "uuid", cc->uuid);
	put_text(&b, "config", cc->config);
	put_text(&b, "schema", cc->schema);
	json_put_key(&b, "metadata");
	meta_json(r->meta, &b);
	buf_addc(&b, '}');
	if (b.over)
		chroma_bad(&r->c, cc->name, "configuration too large", e);
	else
		rv = mem_dup(buf_cstr(&b));
done:
	sqlite3_finalize(st);
	buf_free(&b);
	return rv;
}

static int
publish_colls(struct reader *r, struct store *s, struct err *e)
{
	struct item_coll		*ic, *lc;
	const struct chroma_coll	*cc;
	size_t				 i;

	s->colls = mem_zero(r->c.n, sizeof(*s->colls));
	for (i = 0; i < r->c.n; i++) {
		cc = &r->c.colls[i];
		ic = &s->colls[i];
		s->n_colls = i + 1;
		ic->name = mem_dup(cc->name);
		ic->dim = cc->dim;
		ic->space = cc->space;
		ic->space_known = 1;
		if ((ic->config = coll_json(r, cc, e)) == NULL)
			return -1;
		if (!r->c.ours) {
			if (cc->model != NULL)
				ic->model = mem_dup(cc->model);
			continue;
		}
		lc = &r->ours.l.colls[r->ours.coll[i]];
		if (lc->model != NULL)
			ic->model = mem_dup(lc->model);
		ic->config_seq = lc->config_seq;
		memcpy(ic->config_src, lc->config_src, HASH_HEX);
	}
	return 0;
}

static void
publish_sources(struct reader *r, struct store *s)
{
	const struct ledger	*l = &r->ours.l;
	struct item_source	*to;
	size_t			 i;

	s->sources = mem_zero(l->n_sources, sizeof(*s->sources));
	for (i = 0; i < l->n_sources; i++) {
		to = &s->sources[i];
		*to = l->sources[i];
		to->url = mem_dup(to->url);
		to->etag = to->etag != NULL ? mem_dup(to->etag) : NULL;
	}
	s->n_sources = l->n_sources;
	s->has_ledger = 1;
}

/* s reads what r->c holds; takes r, also when it fails. */
static int
adopt(struct store *s, struct reader *r, int flags, struct err *e)
{
	static const struct store_ops	ops = { reader_next, reader_close };

	s->format = STORE_CHROMA;
	s->ops = &ops;
	s->impl = r;
	s->sorted = 1;
	r->hash = hash_new();
	r->meta = meta_new();
	buf_init(&r->doc, ITEM_TEXT_MAX);
	buf_init(&r->json, ITEM_TEXT_MAX);
	buf_init(&r->small_text, 8 * (size_t)CHROMA_SMALL_FILE);
	if (r->c.ours && chroma_ours_open(&r->ours, &r->c, e) == -1)
		return -1;
	r->light = r->c.ours && (flags & STORE_LIGHT) != 0;
	if ((!r->light && reader_prepare(r, e) == -1) ||
	    publish_colls(r, s, e) == -1)
		return -1;
	if (r->c.ours)
		publish_sources(r, s);
	return 0;
}

int
chroma_open(struct store *s, const char *path, int flags, struct err *e)
{
	struct reader	*r = mem_zero(1, sizeof(*r));
	struct err	 gone = { 0, "" };

	if (chroma_start(&r->c, path, flags, e) == -1 ||
	    chroma_read_colls(&r->c, e) == -1) {
		(void)chroma_clear(&r->c, &gone);
		free(r);
		return -1;
	}
	return adopt(s, r, flags, e);
}

struct store *
chroma_store(struct chroma *c, int flags, struct err *e)
{
	struct store	*s = mem_zero(1, sizeof(*s));
	struct reader	*r = mem_zero(1, sizeof(*r));

	r->c = *c;
	memset(c, 0, sizeof(*c));
	c->dirfd = -1;
	if (adopt(s, r, flags, e) == 0)
		return s;
	store_close(s);
	return NULL;
}
