/*
 * chroma_read: the records of a ChromaDB directory behind store.h: what
 * the walk finds, with its vector and what chroma_meta knows of it, and
 * beside a directory of ours what its ledger adds.
 *
 * It judges nothing but what it needs in order to read.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "buf.h"
#include "chroma_meta.h"
#include "db.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "store.h"
#include "banned.h"

/* -- records ----------------------------------------------------------- */

struct reader {
	struct chroma		 c;
	struct store		*store;
	struct chroma_walk	*walk;
	int			 started;	/* in this collection */
	struct chroma_ours	 ours;	/* when c.ours */
	int			 light;	/* the ledger alone */
	size_t			 coll;	/* being walked */
	struct hash		*hash;
	struct chroma_meta	*meta;	/* NULL: light */
	sqlite3_stmt		*vector_st;	/* a watch's: whole rows */
	int			 at_op;		/* it stands on one */
	int64_t			 op_seq;
	unsigned char		*vec;
	size_t			 vec_cap;
};

static int
bad_item(const struct reader *r, const struct chroma_state *s,
    const char *why, struct err *e)
{
	return chroma_bad_id(&r->c, r->c.colls[r->coll].name, s, why, e);
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

static int
read_item(struct reader *r, const struct chroma_state *s, struct item *it,
    struct err *e)
{
	const struct chroma_coll	*cc = &r->c.colls[r->coll];
	struct chroma_index		*x = chroma_walk_index(r->walk);

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
	if (read_vector(r, s, it, e) == -1 ||
	    chroma_meta_read(r->meta, cc->name, s, it, e) == -1)
		return -1;
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

	if (chroma_meta_end(r->meta, e) == -1)
		return -1;
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
	sqlite3_finalize(r->vector_st);
	chroma_meta_free(r->meta);
	hash_free(r->hash);
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

	r->vector_st = db_prepare(c->db, c->watch != NULL ?
	    "SELECT " CHROMA_QUEUE_ROW " FROM embeddings_queue "
	    "WHERE seq_id >= ?1 ORDER BY seq_id" :
	    "SELECT vector FROM embeddings_queue WHERE seq_id = ?1",
	    c->file, e);
	if (r->vector_st == NULL)
		return -1;
	r->meta = chroma_meta_new(c, e);
	return r->meta == NULL ? -1 : 0;
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
	struct meta	*m;
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
	m = meta_new();
	buf_init(&b, 8 * CHROMA_CONFIG_MAX);
	db_bind_str(st, 1, cc->uuid);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		key = db_text(st, 0);
		if (key == NULL || !path_utf8(key, (size_t)
		    sqlite3_column_bytes(st, 0)) || chroma_meta_value(m, st,
		    key, (size_t)sqlite3_column_bytes(st, 0), 0) == -1) {
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
	meta_json(m, &b);
	buf_addc(&b, '}');
	if (b.over)
		chroma_bad(&r->c, cc->name, "configuration too large", e);
	else
		rv = mem_dup(buf_cstr(&b));
done:
	sqlite3_finalize(st);
	meta_free(m);
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
