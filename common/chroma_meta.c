/*
 * chroma_meta: what a record has beside its vector.  What belongs together
 * is found here, what is wrong with it said; nothing is mended.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_meta.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

/* Canonical metadata and document of one row, in chroma_meta.small_text. */
struct small {
	int64_t	row;
	size_t	meta, meta_len, doc, doc_len;
	int	has_doc;
	int	used;		/* by a record */
};

struct chroma_meta {
	struct chroma	*c;
	const char	*coll;		/* of the record that is read */
	struct meta	*meta;
	struct buf	 doc, json;
	sqlite3_stmt	*meta_st, *array_st, *queue_st;
	int		 arrays;	/* there are rows of them */
	/* for a watch: rows in their order */
	sqlite3_stmt	*scan_st, *first_st;
	int		 scan_end;
	int64_t		 scan_row;	/* that it stands on */
	int64_t		 scan_n;	/* rows read by it */
	/* of a small file: everyone's metadata, read in one go */
	struct small	*small;		/* sorted by row */
	size_t		 n_small, small_cap, n_used;
	struct buf	 small_text;
	int		 is_small;
};

static int
bad(const struct chroma_meta *m, const struct chroma_state *s,
    const char *why, struct err *e)
{
	return chroma_bad_id(m->c, m->coll, s, why, e);
}

/* -- rows of a record -------------------------------------------------- */

int
chroma_meta_value(struct meta *m, sqlite3_stmt *st, const char *key,
    size_t len, int push)
{
	const char	*s;
	double		 f;
	size_t		 n;

	if (sqlite3_column_type(st, 1) != SQLITE_NULL) {
		s = db_text(st, 1);
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
meta_row(struct chroma_meta *m, sqlite3_stmt *st, const char **why)
{
	const char	*key = db_text(st, 0);
	size_t		 len = (size_t)sqlite3_column_bytes(st, 0);

	*why = "metadata key is no text";
	if (key == NULL || len > ITEM_ID_MAX || !path_utf8(key, len))
		return -1;
	if (len != sizeof(CHROMA_DOC) - 1 ||
	    memcmp(key, CHROMA_DOC, len) != 0 ||
	    sqlite3_column_type(st, 1) != SQLITE_TEXT) {
		*why = "metadata value is none";
		return chroma_meta_value(m->meta, st, key, len, 0);
	}
	*why = "document is too large or not UTF-8";
	buf_reset(&m->doc);
	key = db_text(st, 1);
	len = (size_t)sqlite3_column_bytes(st, 1);
	if (key == NULL || len > ITEM_TEXT_MAX || !path_utf8(key, len))
		return -1;
	buf_add(&m->doc, key, len);
	return 1;
}

/* Scalars of an embeddings row; the document goes to m->doc. */
static int
read_row(struct chroma_meta *m, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	sqlite3_stmt	*st = m->meta_st;
	const char	*why;
	int		 got, doc;

	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, m->c->file, e)) == 1) {
		if ((doc = meta_row(m, st, &why)) == -1) {
			got = bad(m, s, why, e);
			break;
		}
		*has_doc |= doc;
	}
	sqlite3_reset(st);
	return got;
}

/* -- rows that lie together ----------------------------------------------- */

/* Rows of metadata in their own order. */
static sqlite3_stmt *
scan_prepare(struct chroma_meta *m, const char *where, struct err *e)
{
	char	sql[200];

	(void)snprintf(sql, sizeof(sql), "SELECT %s FROM embedding_metadata "
	    "NOT INDEXED%s", m->c->has_bool ? CHROMA_META_ROW("bool_value") :
	    CHROMA_META_ROW("NULL"), where);
	return db_prepare(m->c->db, sql, m->c->file, e);
}

static int
scan_step(struct chroma_meta *m, struct err *e)
{
	int	got = db_step(m->scan_st, m->c->file, e);

	m->scan_end = got != 1;
	if (got == 1)
		m->scan_row = sqlite3_column_int64(m->scan_st, 5);
	return got == -1 ? -1 : 0;
}

/* Before the first row of a record that is not the next: 1, 0 none, -1. */
static int
scan_seek(struct chroma_meta *m, int64_t row, struct err *e)
{
	sqlite3_stmt	*st = m->first_st;
	int		 got;

	sqlite3_bind_int64(st, 1, row);
	if ((got = db_step(st, m->c->file, e)) == 1 &&
	    sqlite3_column_type(st, 0) == SQLITE_NULL)
		got = 0;
	if (got == 1) {
		sqlite3_reset(m->scan_st);
		sqlite3_bind_int64(m->scan_st, 1,
		    sqlite3_column_int64(st, 0));
		if (scan_step(m, e) == -1)
			got = -1;
	}
	sqlite3_reset(st);
	return got;
}

/*
 * As read_row, where the rows of a record lie together, and most often behind
 * those of the one before.  That all were found is proved by their number.
 */
static int
scan_rows(struct chroma_meta *m, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	const char	*why;
	int		 got, doc;

	if ((m->scan_end || m->scan_row != s->row) &&
	    (got = scan_seek(m, s->row, e)) != 1)
		return got;
	while (!m->scan_end && m->scan_row == s->row) {
		if (m->c->watch->meta(m->c->watch->arg, m->scan_st, e) == -1)
			return -1;
		m->scan_n++;
		if ((doc = meta_row(m, m->scan_st, &why)) == -1)
			return bad(m, s, why, e);
		*has_doc |= doc;
		if (scan_step(m, e) == -1)
			return -1;
	}
	return 0;
}

/* -- beside the rows ------------------------------------------------------ */

static int
read_arrays(struct chroma_meta *m, const struct chroma_state *s, struct err *e)
{
	sqlite3_stmt	*st = m->array_st;
	struct buf	 last;
	const char	*key;
	size_t		 len;
	int		 got, any = 0;

	buf_init(&last, ITEM_ID_MAX + 1);
	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, m->c->file, e)) == 1) {
		key = db_text(st, 0);
		len = (size_t)sqlite3_column_bytes(st, 0);
		if (key == NULL || len > ITEM_ID_MAX ||
		    !path_utf8(key, len)) {
			got = bad(m, s, "metadata key is no text", e);
			break;
		}
		if (!any || item_cmp(last.p, last.len, key, len) != 0)
			meta_set_array(m->meta, key, len);
		any = 1;
		buf_reset(&last);
		buf_add(&last, key, len);
		if (chroma_meta_value(m->meta, st, key, len, 1) == -1) {
			got = bad(m, s, "metadata value is none", e);
			break;
		}
	}
	sqlite3_reset(st);
	buf_free(&last);
	return got;
}

/* Operations that the records have not seen yet, laid over them. */
static int
read_overlay(struct chroma_meta *m, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	static const size_t	 doc_len = sizeof(CHROMA_DOC) - 1;
	sqlite3_stmt		*st = m->queue_st;
	const char		*p, *why = "";
	size_t			 i, n;
	int			 got;

	if (st == NULL) {
		st = m->queue_st = db_prepare(m->c->db, "SELECT metadata FROM "
		    "embeddings_queue WHERE seq_id = ?1", m->c->file, e);
		if (st == NULL)
			return -1;
	}
	if (*has_doc)
		meta_set_str(m->meta, CHROMA_DOC, doc_len,
		    (const char *)m->doc.p, m->doc.len);
	for (i = 0; i < s->n_overlay; i++) {
		sqlite3_bind_int64(st, 1, s->overlay[i]);
		if ((got = db_step(st, m->c->file, e)) == -1)
			return -1;
		p = got == 1 ? db_text(st, 0) :
		    NULL;
		n = p != NULL ? (size_t)sqlite3_column_bytes(st, 0) : 0;
		if (p != NULL && (n > ITEM_TEXT_MAX ||
		    meta_overlay(m->meta, p, n, &why) == -1)) {
			sqlite3_reset(st);
			return bad(m, s, "metadata in the queue is not "
			    "a flat JSON object", e);
		}
		sqlite3_reset(st);
	}
	p = meta_get_str(m->meta, CHROMA_DOC, doc_len, &n);
	*has_doc = p != NULL;
	if (p != NULL) {
		if (n > ITEM_TEXT_MAX)
			return bad(m, s, "document is too large", e);
		buf_reset(&m->doc);
		buf_add(&m->doc, p, n);
		meta_remove(m->meta, CHROMA_DOC, doc_len);
	}
	return 0;
}

/* -- small files ---------------------------------------------------------- */

static int
small_cmp(const void *a, const void *b)
{
	const struct small	*x = a, *y = b;

	return x->row < y->row ? -1 : x->row > y->row;
}

/* What m->meta and m->doc hold is all there is of row. */
static void
small_end(struct chroma_meta *m, int64_t row, int has_doc)
{
	struct small	*x;

	m->small = mem_grow(m->small, &m->small_cap, m->n_small + 1,
	    sizeof(*m->small));
	x = &m->small[m->n_small++];
	x->row = row;
	x->meta = m->small_text.len;
	meta_json(m->meta, &m->small_text);
	x->meta_len = m->small_text.len - x->meta;
	x->doc = m->small_text.len;
	x->doc_len = has_doc ? m->doc.len : 0;
	x->has_doc = has_doc;
	x->used = 0;
	buf_add(&m->small_text, m->doc.p, x->doc_len);
	meta_reset(m->meta);
}

/*
 * One scan instead of a look-up for each record: a fresh delta has each
 * record's rows in one place.  Where it has not, or anything is odd, the
 * look-ups do it, and say what is odd.
 */
static int
small_load(struct chroma_meta *m, struct err *e)
{
	sqlite3_stmt	*st;
	const char	*why;
	int64_t		 row = 0, now;
	size_t		 i;
	int		 got, doc, any = 0, has_doc = 0, ok = 1;

	if ((st = scan_prepare(m, "", e)) == NULL)
		return -1;
	meta_reset(m->meta);
	while (ok && (got = db_step(st, m->c->file, e)) == 1) {
		if (m->c->watch != NULL &&
		    m->c->watch->meta(m->c->watch->arg, st, e) == -1) {
			got = -1;
			break;
		}
		now = sqlite3_column_int64(st, 5);
		if (any && now != row) {
			small_end(m, row, has_doc);
			has_doc = 0;
		}
		any = 1;
		row = now;
		if ((doc = meta_row(m, st, &why)) == -1)
			ok = 0;
		else
			has_doc |= doc;
	}
	sqlite3_finalize(st);
	if (got == -1)
		return -1;
	if (any)
		small_end(m, row, has_doc);
	if (m->n_small != 0)
		qsort(m->small, m->n_small, sizeof(*m->small), small_cmp);
	for (i = 1; i < m->n_small && ok; i++)
		ok = m->small[i - 1].row != m->small[i].row;
	m->is_small = ok && !m->small_text.over;
	return 0;
}

static void
small_item(struct chroma_meta *m, const struct chroma_state *s,
    struct item *it)
{
	struct small	*x, key;

	key.row = s->row;
	x = m->n_small == 0 ? NULL : bsearch(&key, m->small, m->n_small,
	    sizeof(*m->small), small_cmp);
	if (x != NULL && !x->used) {
		x->used = 1;
		m->n_used++;
	}
	it->meta = x != NULL ? (const char *)m->small_text.p + x->meta : "{}";
	it->meta_len = x != NULL ? x->meta_len : 2;
	if (x != NULL && x->has_doc) {
		it->doc = (const char *)m->small_text.p + x->doc;
		it->doc_len = x->doc_len;
	}
}

/* -- all of it --------------------------------------------------------- */

static int
prepare(struct chroma_meta *m, struct err *e)
{
	struct chroma	*c = m->c;
	int64_t		 one;

	m->meta_st = db_prepare(c->db, c->has_bool ?
	    "SELECT key, string_value, int_value, float_value, bool_value "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key" :
	    "SELECT key, string_value, int_value, float_value, NULL "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key",
	    c->file, e);
	if (m->meta_st == NULL)
		return -1;
	if (c->watch != NULL && !c->small && c->watch->meta_sorted) {
		m->scan_end = 1;
		m->scan_st = scan_prepare(m, " WHERE rowid >= ?1", e);
		m->first_st = db_prepare(c->db, "SELECT min(rowid) FROM "
		    "embedding_metadata WHERE id = ?1", c->file, e);
		if (m->scan_st == NULL || m->first_st == NULL)
			return -1;
	}
	if (!c->has_array)
		return c->small ? small_load(m, e) : 0;
	m->arrays = db_int(c->db,
	    "SELECT 1 FROM embedding_metadata_array LIMIT 1", c->file, &one,
	    e);
	if (m->arrays == -1)
		return -1;
	if (m->arrays == 0)
		return c->small ? small_load(m, e) : 0;
	m->array_st = db_prepare(c->db, "SELECT key, string_value, "
	    "int_value, float_value, bool_value FROM "
	    "embedding_metadata_array WHERE id = ?1 ORDER BY key, rowid",
	    c->file, e);
	return m->array_st == NULL ? -1 : 0;
}

struct chroma_meta *
chroma_meta_new(struct chroma *c, struct err *e)
{
	struct chroma_meta	*m = mem_zero(1, sizeof(*m));

	m->c = c;
	m->meta = meta_new();
	buf_init(&m->doc, ITEM_TEXT_MAX);
	buf_init(&m->json, ITEM_TEXT_MAX);
	buf_init(&m->small_text, 8 * (size_t)CHROMA_SMALL_FILE);
	if (prepare(m, e) == 0)
		return m;
	chroma_meta_free(m);
	return NULL;
}

void
chroma_meta_free(struct chroma_meta *m)
{
	if (m == NULL)
		return;
	sqlite3_finalize(m->scan_st);
	sqlite3_finalize(m->first_st);
	sqlite3_finalize(m->meta_st);
	sqlite3_finalize(m->array_st);
	sqlite3_finalize(m->queue_st);
	meta_free(m->meta);
	buf_free(&m->doc);
	buf_free(&m->json);
	buf_free(&m->small_text);
	free(m->small);
	free(m);
}

int
chroma_meta_read(struct chroma_meta *m, const char *coll,
    const struct chroma_state *s, struct item *it, struct err *e)
{
	int	has_doc = 0;

	m->coll = coll;
	if (m->is_small && s->row != 0 && s->n_overlay == 0) {
		small_item(m, s, it);
		return 0;
	}
	meta_reset(m->meta);
	if (s->row != 0) {
		if ((m->scan_st != NULL ? scan_rows(m, s, &has_doc, e) :
		    read_row(m, s, &has_doc, e)) == -1 ||
		    (m->arrays && read_arrays(m, s, e) == -1))
			return -1;
	}
	if (s->n_overlay != 0 && read_overlay(m, s, &has_doc, e) == -1)
		return -1;
	buf_reset(&m->json);
	meta_json(m->meta, &m->json);
	if (m->json.over)
		return bad(m, s, "its metadata are too large", e);
	it->meta = buf_cstr(&m->json);
	it->meta_len = m->json.len;
	if (has_doc) {
		it->doc = buf_cstr(&m->doc);
		it->doc_len = m->doc.len;
	}
	return 0;
}

int
chroma_meta_end(struct chroma_meta *m, struct err *e)
{
	struct chroma_watch	*w = m->c->watch;

	w->all_meta = m->is_small ? m->n_used == m->n_small :
	    m->scan_st != NULL;
	if (m->scan_st != NULL && m->scan_n != w->meta_rows)
		return err_set(e, MSG_DATAERR, "%s: metadata of no record",
		    m->c->path);
	return 0;
}
