/*
 * chroma_walk: which ids a collection holds, and where the record and the
 * vector of each lie.  Three sorted streams (rows of embeddings, operations
 * of the queue, ids of the HNSW index) are joined by id, so that memory
 * does not grow with any of them.
 *
 * It reads no document and no vector, and repairs nothing.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "mem.h"
#include "banned.h"

#define NAME_LEN 64		/* "<uuid>/index_metadata.pickle" */

/* -- the HNSW index of a collection ------------------------------------ */

struct chroma_label {
	uint64_t	label, element;
};

struct chroma_pair {
	const unsigned char *id;	/* in the arena, once that is whole */
	size_t		off;		/* there */
	uint32_t	len;
	uint64_t	label, element;
};

struct loader {
	struct chroma		*c;
	struct chroma_index	*x;
	sqlite3_stmt		*put;	/* into the big table */
	uint64_t		 sum[2]; /* of the pairs of each map */
};

static int
label_cmp(const void *a, const void *b)
{
	const struct chroma_label	*x = a, *y = b;

	return x->label < y->label ? -1 : x->label > y->label;
}

static int
pair_cmp(const void *a, const void *b)
{
	const struct chroma_pair	*x = a, *y = b;

	return item_cmp(x->id, x->len, y->id, y->len);
}

static int
damage(struct chroma_index *x, const char *why)
{
	if (x->why == NULL)
		x->why = mem_dup(why);
	x->damaged = 1;
	return 0;
}

/* 65 and 66 are damage, to be judged when a vector is missed; else -1. */
static int
forgive(struct chroma_index *x, struct err *in, struct err *e)
{
	if (in->code == MSG_DATAERR || in->code == MSG_NOINPUT) {
		damage(x, in->text);
		in->code = 0;
		return 0;
	}
	*e = *in;
	return -1;
}

/* Which element has which label. */
static int
load_labels(struct loader *l, struct err *e)
{
	struct chroma_index	*x = l->x;
	sqlite3_stmt		*st = NULL;
	struct chroma_label	*p;
	uint64_t		 i, label;
	size_t			 k;
	int			 deleted, rv = -1;

	if (x->big) {
		st = db_prepare(l->c->db, "INSERT OR IGNORE INTO "
		    "temp.chroma_l VALUES (?1, ?2)", l->c->file, e);
		if (st == NULL)
			return -1;
	}
	for (i = 0; i < x->hnsw.n; i++) {
		if (hnsw_label(&x->hnsw, i, &label, &deleted, e) == -1)
			goto done;
		if (deleted)
			continue;
		x->n_live++;
		if (label > INT64_MAX) {
			damage(x, "a label out of range");
			continue;
		}
		if (!x->big) {
			x->labels = mem_grow(x->labels, &x->labels_cap,
			    x->n_labels + 1, sizeof(*x->labels));
			p = &x->labels[x->n_labels++];
			p->label = label;
			p->element = i;
			continue;
		}
		sqlite3_bind_int64(st, 1, (sqlite3_int64)label);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)i);
		if (db_step(st, l->c->file, e) == -1)
			goto done;
		if (sqlite3_changes(l->c->db) != 1)
			damage(x, "one label on two elements");
		sqlite3_reset(st);
	}
	if (!x->big && x->n_labels != 0) {
		qsort(x->labels, x->n_labels, sizeof(*x->labels), label_cmp);
		for (k = 1; k < x->n_labels; k++)
			if (x->labels[k - 1].label == x->labels[k].label)
				damage(x, "one label on two elements");
	}
	rv = 0;
done:
	sqlite3_finalize(st);
	return rv;
}

static uint64_t
mix(const char *id, size_t len, uint64_t label)
{
	uint64_t	h = 0xcbf29ce484222325U ^ label;
	size_t		i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)id[i]) * 0x100000001b3U;
	h ^= label * 0x9e3779b97f4a7c15U;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9U;
	return h ^ h >> 32;
}

static int
on_pair(void *arg, enum pickle_map map, const char *id, size_t len,
    uint64_t label, struct err *e)
{
	struct loader		*l = arg;
	struct chroma_index	*x = l->x;
	struct chroma_pair	*p;

	l->sum[map == PICKLE_ID_TO_LABEL] += mix(id, len, label);
	if (map == PICKLE_LABEL_TO_ID)
		return 0;
	if (label > x->label_max)
		x->label_max = label;
	if (!x->big) {
		x->v = mem_grow(x->v, &x->cap, x->n + 1, sizeof(*x->v));
		p = &x->v[x->n++];
		p->off = x->arena.len;
		p->len = (uint32_t)len;
		p->label = label;
		buf_add(&x->arena, id, len);
		return 0;
	}
	if (sqlite3_bind_text(l->put, 1, id, (int)len, SQLITE_STATIC) !=
	    SQLITE_OK || sqlite3_bind_int64(l->put, 2,
	    (sqlite3_int64)label) != SQLITE_OK)
		return db_err(l->c->db, l->c->file, e);
	if (db_step(l->put, l->c->file, e) == -1)
		return -1;
	sqlite3_reset(l->put);
	x->n++;
	return 0;
}

/* Elements of the pairs, and the pairs in order of id. */
static void
join_small(struct chroma_index *x)
{
	struct chroma_label	 key, *hit;
	size_t			 i;

	for (i = 0; i < x->n; i++) {
		key.label = x->v[i].label;
		hit = x->n_labels == 0 ? NULL : bsearch(&key, x->labels,
		    x->n_labels, sizeof(*x->labels), label_cmp);
		x->v[i].element = hit != NULL ? hit->element :
		    CHROMA_NO_ELEMENT;
		x->v[i].id = x->arena.p + x->v[i].off;
	}
	if (x->n != 0)
		qsort(x->v, x->n, sizeof(*x->v), pair_cmp);
}

static int
open_temp(struct chroma *c, struct err *e)
{
	if (!c->temp && db_exec(c->db,
	    "CREATE TEMP TABLE chroma_l(label INTEGER PRIMARY KEY,"
	    " element INTEGER);"
	    "CREATE TEMP TABLE chroma_h(id TEXT, label INTEGER)", c->file,
	    e) == -1)
		return -1;
	c->temp = 1;
	return db_exec(c->db, "DELETE FROM temp.chroma_l;"
	    "DELETE FROM temp.chroma_h", c->file, e);
}

static int
read_pickle(struct loader *l, int fd, const char *name, struct err *e)
{
	struct chroma_index	*x = l->x;
	struct err		 mine;
	struct stat		 st;
	int			 rv;

	if (fstat(fd, &st) == -1)
		return err_sys(e, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return damage(x, "the pickle is no regular file");
	x->big = st.st_size > (off_t)CHROMA_SMALL ||
	    (x->open && x->hnsw.n > CHROMA_SMALL / 16);
	memset(&mine, 0, sizeof(mine));
	if (x->big) {
		if (open_temp(l->c, e) == -1 ||
		    db_exec(l->c->db, "BEGIN", l->c->file, e) == -1)
			return -1;
		l->put = db_prepare(l->c->db, "INSERT INTO temp.chroma_h "
		    "VALUES (?1, ?2)", l->c->file, e);
		if (l->put == NULL)
			return -1;
	}
	rv = pickle_read(fd, name, &x->pickle, on_pair, l, &mine);
	sqlite3_finalize(l->put);
	l->put = NULL;
	if (x->big && db_exec(l->c->db, "COMMIT", l->c->file, e) == -1)
		return -1;
	if (rv == -1) {
		x->n = 0;
		return forgive(x, &mine, e);
	}
	x->inverse = x->pickle.n_ids == x->pickle.n_labels &&
	    l->sum[0] == l->sum[1];
	x->ready = x->pickle.n_ids != 0;
	return 0;
}

/*
 * READ step 5.  The pickle is the mark of a persisted index; damage is
 * only written down, as the queue may still hold every vector.
 */
static int
index_load(struct chroma *c, const struct chroma_coll *cc,
    struct chroma_index *x, struct err *e)
{
	struct loader	l;
	struct err	mine, torn;
	struct buf	name, shown;
	int		fd = -1, rv = -1;

	memset(&l, 0, sizeof(l));
	memset(&mine, 0, sizeof(mine));
	memset(&torn, 0, sizeof(torn));
	l.c = c;
	l.x = x;
	buf_init(&x->arena, SIZE_MAX / 4);
	buf_init(&name, NAME_LEN);
	buf_init(&shown, CHROMA_PATH_MAX);
	buf_printf(&name, "%s/%s", cc->vector_seg, CHROMA_PICKLE);
	buf_printf(&shown, "%s/%s", c->path, cc->vector_seg);
	fd = openat(c->dirfd, buf_cstr(&name),
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ELOOP)
			err_set(&mine, MSG_DATAERR, "%s: a symbolic link",
			    buf_cstr(&name));
		else
			err_sys(&mine, errno, "%s/%s", buf_cstr(&shown),
			    CHROMA_PICKLE);
		rv = forgive(x, &mine, e);
		x->damaged = 0;
		goto done;
	}
	if (cc->dim != 0) {
		if (hnsw_open(&x->hnsw, c->dirfd, cc->vector_seg,
		    buf_cstr(&shown), cc->dim, cc->space == ITEM_COSINE,
		    &torn) == 0)
			x->open = 1;
		else if (torn.code != MSG_DATAERR &&
		    torn.code != MSG_NOINPUT) {
			*e = torn;
			goto done;
		}
	}
	if (read_pickle(&l, fd, buf_cstr(&name), e) == -1)
		goto done;
	if (!x->ready || !x->open) {
		if (x->ready && torn.code != 0)
			damage(x, torn.text);
		x->ready = 0;
		x->n = 0;
		rv = 0;
		goto done;
	}
	if (x->big && db_exec(c->db, "BEGIN", c->file, e) == -1)
		goto done;
	if (load_labels(&l, e) == -1)
		goto done;
	if (x->big && db_exec(c->db, "COMMIT", c->file, e) == -1)
		goto done;
	if (!x->big)
		join_small(x);
	rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	buf_free(&name);
	buf_free(&shown);
	return rv;
}

static void
index_clear(struct chroma_index *x)
{
	if (x->open)
		hnsw_close(&x->hnsw);
	free(x->why);
	free(x->v);
	free(x->labels);
	buf_free(&x->arena);
	memset(x, 0, sizeof(*x));
}

/* -- the walk ---------------------------------------------------------- */

/* One of the three streams: where it stands. */
struct cursor {
	sqlite3_stmt		*st;
	int			 end;
	const unsigned char	*id;	/* until the next step */
	size_t			 len;
	struct buf		 last;	/* the id before, to prove order */
	int			 any;
};

struct chroma_walk {
	struct chroma			*c;
	const struct chroma_coll	*cc;
	struct chroma_index		 x;
	struct cursor			 rows, ops, hnsw;
	size_t				 next;	/* of x.v */
	int64_t				 meta_max, vector_max;
	struct buf			 id;	/* the one handed out */
	int64_t				*overlay;
	size_t				 overlay_cap;
	int64_t				 ops_of[CHROMA_OPS_MAX]; /* this id */
};

/* The id in column 0 of the row that st stands on. */
static int
cursor_id(struct chroma_walk *w, struct cursor *k, int strict, struct err *e)
{
	const void	*p;
	size_t		 n;
	int		 r;

	if (sqlite3_column_type(k->st, 0) != SQLITE_TEXT)
		return chroma_bad(w->c, w->cc->name,
		    "an id that is no text", e);
	p = db_text(k->st, 0);
	n = (size_t)sqlite3_column_bytes(k->st, 0);
	if (p == NULL)
		return db_err(w->c->db, w->c->file, e);
	if (n == 0 || n > ITEM_ID_MAX)
		return chroma_bad(w->c, w->cc->name,
		    "an id that is empty or too long", e);
	k->id = p;
	k->len = n;
	if (k->any) {
		r = item_cmp(k->last.p, k->last.len, p, n);
		if (r > 0 || (r == 0 && strict))
			return chroma_bad(w->c, w->cc->name,
			    "one id twice, or ids out of order", e);
	}
	k->any = 1;
	buf_reset(&k->last);
	buf_add(&k->last, p, n);
	return 0;
}

static int
cursor_step(struct chroma_walk *w, struct cursor *k, int strict,
    struct err *e)
{
	int	r;

	if (k->st == NULL || k->end)
		return k->end = 1, 0;
	if ((r = db_step(k->st, w->c->file, e)) == -1)
		return -1;
	if (r == 0) {
		k->end = 1;
		return 0;
	}
	/* by which the row is found again, for the watch */
	if (w->c->watch != NULL && k != &w->hnsw &&
	    sqlite3_column_type(k->st, 1) != SQLITE_INTEGER)
		return chroma_bad(w->c, w->cc->name,
		    "a row whose number is none", e);
	return cursor_id(w, k, strict, e);
}

/* The next id of the index, in memory or in the temporary table. */
static int
index_step(struct chroma_walk *w, struct err *e)
{
	struct cursor		*k = &w->hnsw;
	const struct chroma_pair *p;

	if (w->x.big)
		return cursor_step(w, k, 1, e);
	if (w->next >= w->x.n) {
		k->end = 1;
		return 0;
	}
	p = &w->x.v[w->next++];
	if (k->any && item_cmp(k->id, k->len, p->id, p->len) == 0)
		return chroma_bad(w->c, w->cc->name,
		    "one id twice in " CHROMA_PICKLE, e);
	k->any = 1;
	k->id = p->id;
	k->len = p->len;
	return 0;
}

static uint64_t
index_element(const struct chroma_walk *w)
{
	if (!w->x.big)
		return w->x.v[w->next - 1].element;
	if (sqlite3_column_type(w->hnsw.st, 1) == SQLITE_NULL)
		return CHROMA_NO_ELEMENT;
	return (uint64_t)sqlite3_column_int64(w->hnsw.st, 1);
}

struct chroma_walk *
chroma_walk_new(struct chroma *c, const struct chroma_coll *cc,
    struct err *e)
{
	struct chroma_walk	*w = mem_zero(1, sizeof(*w));

	w->c = c;
	w->cc = cc;
	buf_init(&w->id, ITEM_ID_MAX + 1);
	buf_init(&w->rows.last, ITEM_ID_MAX + 1);
	buf_init(&w->ops.last, ITEM_ID_MAX + 1);
	buf_init(&w->hnsw.last, ITEM_ID_MAX + 1);
	if (index_load(c, cc, &w->x, e) == -1)
		goto fail;
	w->meta_max = cc->meta_max;
	if (w->x.ready)
		w->vector_max = cc->has_vector_max ? cc->vector_max :
		    w->x.pickle.has_max_seq_id ? w->x.pickle.max_seq_id : 0;
	w->rows.st = db_prepare(c->db, "SELECT embedding_id, id FROM "
	    "embeddings WHERE segment_id = ?1 ORDER BY embedding_id",
	    c->file, e);
	/* the watch sees to the topic, of each row */
	w->ops.st = db_prepare(c->db, c->watch != NULL ?
	    "SELECT id, seq_id, operation, length(vector), "
	    "typeof(vector) = 'blob' FROM embeddings_queue "
	    "ORDER BY id, seq_id" :
	    "SELECT id, seq_id, operation, length(vector), "
	    "typeof(vector) = 'blob' FROM embeddings_queue "
	    "WHERE topic = ?1 ORDER BY id, seq_id", c->file, e);
	if (w->rows.st == NULL || w->ops.st == NULL)
		goto fail;
	if (w->x.big && w->x.n != 0) {
		w->hnsw.st = db_prepare(c->db, "SELECT h.id, l.element FROM "
		    "temp.chroma_h h LEFT JOIN temp.chroma_l l "
		    "ON l.label = h.label ORDER BY h.id", c->file, e);
		if (w->hnsw.st == NULL)
			goto fail;
	}
	if (sqlite3_bind_text(w->rows.st, 1, cc->meta_seg, -1,
	    SQLITE_STATIC) != SQLITE_OK || (c->watch == NULL &&
	    sqlite3_bind_text(w->ops.st, 1, cc->topic, -1, SQLITE_STATIC) !=
	    SQLITE_OK)) {
		db_err(c->db, c->file, e);
		goto fail;
	}
	if (cursor_step(w, &w->rows, 1, e) == -1 ||
	    cursor_step(w, &w->ops, 0, e) == -1 || index_step(w, e) == -1)
		goto fail;
	return w;
fail:
	chroma_walk_free(w);
	return NULL;
}

void
chroma_walk_free(struct chroma_walk *w)
{
	if (w == NULL)
		return;
	sqlite3_finalize(w->rows.st);
	sqlite3_finalize(w->ops.st);
	sqlite3_finalize(w->hnsw.st);
	index_clear(&w->x);
	buf_free(&w->id);
	buf_free(&w->rows.last);
	buf_free(&w->ops.last);
	buf_free(&w->hnsw.last);
	free(w->overlay);
	free(w);
}

struct chroma_index *
chroma_walk_index(struct chroma_walk *w)
{
	return &w->x;
}

/* The operation that ops stands on, on the vector side. */
static void
op_vector(struct chroma_walk *w, struct chroma_state *s, int op, int64_t seq)
{
	int	has = sqlite3_column_type(w->ops.st, 3) != SQLITE_NULL;

	if (op == CHROMA_OP_DELETE) {
		s->vector = 0;
		return;
	}
	if (!has || (op == CHROMA_OP_ADD && s->vector) ||
	    (op == CHROMA_OP_UPDATE && !s->vector))
		return;
	s->vector = 1;
	s->vector_seq = seq;
	s->vector_len = sqlite3_column_int(w->ops.st, 4) ?
	    sqlite3_column_int64(w->ops.st, 3) : -1;
	s->element = CHROMA_NO_ELEMENT;
}

/* The same on the record side. */
static int
op_record(struct chroma_walk *w, struct chroma_state *s, int op, int64_t seq,
    struct err *e)
{
	if (op == CHROMA_OP_DELETE) {
		s->record = 0;
		s->row = 0;
		s->n_overlay = 0;
		return 0;
	}
	if ((op == CHROMA_OP_ADD && s->record) ||
	    (op == CHROMA_OP_UPDATE && !s->record))
		return 0;
	s->record = 1;
	if (s->n_overlay >= CHROMA_REPLAY_MAX)
		return chroma_bad(w->c, w->cc->name,
		    "too many pending operations on one id", e);
	w->overlay = mem_grow(w->overlay, &w->overlay_cap, s->n_overlay + 1,
	    sizeof(*w->overlay));
	w->overlay[s->n_overlay++] = seq;
	return 0;
}

/* Another queue row of this id, for the watch. */
static int
keep_op(struct chroma_walk *w, struct chroma_state *s, int64_t seq,
    struct err *e)
{
	if (s->n_ops >= CHROMA_OPS_MAX)
		return chroma_bad(w->c, w->cc->name,
		    "too many operations on one id for a watch", e);
	w->ops_of[s->n_ops++] = seq;
	s->ops = w->ops_of;
	return 0;
}

/* The operations on the id in w->id; ops stands on the first of them. */
static int
replay(struct chroma_walk *w, struct chroma_state *s, struct err *e)
{
	int64_t	seq;
	int	op;

	do {
		seq = sqlite3_column_int64(w->ops.st, 1);
		op = sqlite3_column_int(w->ops.st, 2);
		if (sqlite3_column_type(w->ops.st, 2) != SQLITE_INTEGER ||
		    op < CHROMA_OP_ADD || op > CHROMA_OP_DELETE)
			return chroma_bad(w->c, w->cc->name,
			    "unknown operation in the queue", e);
		if (w->c->watch != NULL && keep_op(w, s, seq, e) == -1)
			return -1;
		/* an update of what was deleted brings nothing back */
		if (op != CHROMA_OP_UPDATE)
			s->deleted = op == CHROMA_OP_DELETE;
		if (seq > w->vector_max)
			op_vector(w, s, op, seq);
		if (seq > w->meta_max && op_record(w, s, op, seq, e) == -1)
			return -1;
		if (cursor_step(w, &w->ops, 0, e) == -1)
			return -1;
	} while (!w->ops.end && item_cmp(w->ops.id, w->ops.len, w->id.p,
	    w->id.len) == 0);
	s->overlay = w->overlay;
	return 0;
}

static int
is_at(const struct cursor *k, const struct buf *id)
{
	return !k->end && item_cmp(k->id, k->len, id->p, id->len) == 0;
}

int
chroma_walk_next(struct chroma_walk *w, struct chroma_state *s,
    struct err *e)
{
	struct cursor		*all[3], *min;
	int			 i;

	all[0] = &w->rows;
	all[1] = &w->ops;
	all[2] = &w->hnsw;
	do {
		min = NULL;
		for (i = 0; i < 3; i++)
			if (!all[i]->end && (min == NULL ||
			    item_cmp(all[i]->id, all[i]->len, min->id,
			    min->len) < 0))
				min = all[i];
		if (min == NULL)
			return 0;
		buf_reset(&w->id);
		buf_add(&w->id, min->id, min->len);
		memset(s, 0, sizeof(*s));
		s->id = (const char *)w->id.p;
		s->len = w->id.len;
		s->element = CHROMA_NO_ELEMENT;
		if (is_at(&w->rows, &w->id)) {
			s->record = 1;
			s->row = sqlite3_column_int64(w->rows.st, 1);
			if (cursor_step(w, &w->rows, 1, e) == -1)
				return -1;
		}
		if (is_at(&w->hnsw, &w->id)) {
			s->vector = 1;
			s->element = index_element(w);
			if (index_step(w, e) == -1)
				return -1;
		}
		if (is_at(&w->ops, &w->id) && replay(w, s, e) == -1)
			return -1;
		if (s->n_ops != 0)
			break; /* whose rows are looked at */
	} while (!s->record && !s->vector && !s->deleted);
	return 1;
}
