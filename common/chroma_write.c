/*
 * chroma_write: database, indexes, pickles and ledger, kept in step.
 * What a row looks like is chroma_rows', what a graph is hnsw_build's.
 *
 * One collection is open at a time: records come in its order.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_write.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "chroma.h"
#include "chroma_conf.h"
#include "chroma_rows.h"
#include "hnsw.h"
#include "hnsw_build.h"
#include "io.h"
#include "ledger.h"
#include "mem.h"
#include "pickle.h"
#include "banned.h"

#define SHOWN		100	/* bytes of an id in a message */
#define REBUILD_DIR	"rebuild"	/* an index that is made anew */
/* One dead element in so many, and an index is made anew. */
#define DEAD_PART	4

struct coll {
	struct chroma_conf	 conf;
	size_t			 ledger;	/* its number there */
	int			 existed;
};

struct chroma_writer {
	char			*dir;
	int			 dirfd;
	int			 onto;
	unsigned int		 threads;
	struct hnsw_cost	 cost;
	const struct item_coll	*given;
	struct coll		*colls;
	size_t			 n_colls;
	int			*sources;	/* numbers in the ledger */
	size_t			 n_sources;
	struct chroma_rows	 rows;
	struct ledger		 ledger;
	/* the collection at hand; -1 before the first */
	int			 cur;
	struct hnsw_build	*index;
	struct hnsw		 old;		/* what was there before */
	int			 old_open;
	struct buf		 shown;		/* the index's name */
	struct buf		 vec, back, fix;
};

/* Opening ---------------------------------------------------------- */

static struct chroma_writer *
writer_new(const char *dir, const struct item_coll *colls, size_t n_colls,
    size_t n_sources, unsigned int threads)
{
	struct chroma_writer	*w = mem_zero(1, sizeof(*w));

	w->dir = mem_dup(dir);
	w->dirfd = -1;
	w->given = colls;
	w->n_colls = n_colls;
	w->colls = mem_zero(n_colls + 1, sizeof(*w->colls));
	w->sources = mem_zero(n_sources + 1, sizeof(*w->sources));
	w->n_sources = n_sources;
	w->threads = threads;
	w->cur = -1;
	buf_init(&w->shown, CHROMA_PATH_MAX);
	buf_init(&w->vec, ITEM_DIM_MAX * 4);
	buf_init(&w->back, ITEM_DIM_MAX * 4);
	buf_init(&w->fix, ITEM_DIM_MAX * 4 + ITEM_DIM_MAX);
	return w;
}

/* The path of a file in the directory; until the next call. */
static const char *
below(struct chroma_writer *w, const char *name)
{
	buf_reset(&w->shown);
	buf_printf(&w->shown, "%s/%s", w->dir, name);
	return buf_cstr(&w->shown);
}

static int
open_dir(struct chroma_writer *w, struct err *e)
{
	w->dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dirfd == -1)
		return err_sys(e, errno, "%s", w->dir);
	(void)below(w, LEDGER_FILE);
	return w->shown.over ? err_set(e, MSG_USAGE, "%.200s: path too "
	    "long", w->dir) : 0;
}

/* A uuid that no collection before i, and none that existed, has. */
static int
uuid_taken(const struct chroma_writer *w, size_t i)
{
	size_t	k;

	for (k = 0; k < w->n_colls; k++)
		if (k != i && (k < i || w->colls[k].existed) &&
		    memcmp(w->colls[k].conf.uuid, w->colls[i].conf.uuid,
		    CHROMA_UUID) == 0)
			return 1;
	return 0;
}

/* Configurations of the collections that are new; do any have a schema? */
static int
configure(struct chroma_writer *w, int *schema, struct err *e)
{
	struct coll	*c;
	size_t		 i;
	unsigned int	 n;

	*schema = 0;
	for (i = 0; i < w->n_colls; i++) {
		c = &w->colls[i];
		if (c->existed)
			continue;
		if (chroma_conf_init(&c->conf, &w->given[i], e) == -1)
			return -1;
		for (n = 0; c->conf.uuid[0] == '\0' || uuid_taken(w, i); n++)
			chroma_conf_derive(&c->conf, w->given[i].name, n);
		chroma_conf_segments(&c->conf);
		if (c->conf.schema != NULL)
			*schema = 1;
	}
	return 0;
}

/* What the ledger and, where new, the database say of collections. */
static int
put_colls(struct chroma_writer *w, struct err *e)
{
	struct item_coll	 ic;
	struct coll		*c;
	size_t			 i;
	int			 k;

	for (i = 0; i < w->n_colls; i++) {
		c = &w->colls[i];
		ic = w->given[i];
		if (!ic.space_known)
			ic.space = ITEM_L2;
		ic.space_known = 1;
		if ((k = ledger_put_coll(&w->ledger, &ic, e)) == -1)
			return -1;
		c->ledger = (size_t)k;
		if (!c->existed && chroma_rows_coll(&w->rows, &c->conf, &ic,
		    e) == -1)
			return -1;
		if (c->existed && ic.dim != 0 && chroma_rows_dim(&w->rows,
		    c->conf.uuid, ic.dim, e) == -1)
			return -1;
	}
	return 0;
}

static int
put_sources(struct chroma_writer *w, const struct item_source *s,
    struct err *e)
{
	size_t	i;

	for (i = 0; i < w->n_sources; i++)
		if ((w->sources[i] = ledger_put_source(&w->ledger, &s[i],
		    e)) == -1)
			return -1;
	return 0;
}

struct chroma_writer *
chroma_create(const char *dir, const struct item_coll *colls,
    size_t n_colls, const struct item_source *sources, size_t n_sources,
    unsigned int threads, struct err *e)
{
	struct chroma_writer	*w;
	int			 schema;

	w = writer_new(dir, colls, n_colls, n_sources, threads);
	if (open_dir(w, e) == -1 || configure(w, &schema, e) == -1 ||
	    ledger_create(&w->ledger, below(w, LEDGER_FILE), e) == -1 ||
	    chroma_rows_create(&w->rows, below(w, CHROMA_FILE), schema,
	    e) == -1 ||
	    put_colls(w, e) == -1 || put_sources(w, sources, e) == -1) {
		chroma_discard(w);
		return NULL;
	}
	return w;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(a, ((const struct item_coll *)b)->name);
}

/* One collection of the base: what it is called, and where it lies. */
static int
existing(struct chroma_writer *w, const struct chroma_coll *cc,
    struct err *e)
{
	const struct item_coll	*ic;
	struct coll		*c;

	ic = w->n_colls == 0 ? NULL : bsearch(cc->name, w->given,
	    w->n_colls, sizeof(*ic), by_name);
	if (ic == NULL)
		return err_set(e, MSG_SOFTWARE, "%s: collection %.100s is "
		    "not among those of the result", w->dir, cc->name);
	if (cc->vector_seg == NULL || cc->meta_seg == NULL ||
	    !chroma_is_uuid(cc->uuid) || !chroma_is_uuid(cc->vector_seg) ||
	    !chroma_is_uuid(cc->meta_seg) ||
	    cc->has_meta_max || cc->has_vector_max ||
	    (cc->dim != 0 && cc->dim != ic->dim) ||
	    cc->space != (ic->space_known ? ic->space : ITEM_L2))
		return err_set(e, MSG_DATAERR, "%s: collection %.100s: not "
		    "as it was written", w->dir, cc->name);
	c = &w->colls[ic - w->given];
	c->existed = 1;
	memcpy(c->conf.uuid, cc->uuid, CHROMA_UUID);
	memcpy(c->conf.vector, cc->vector_seg, CHROMA_UUID);
	memcpy(c->conf.meta, cc->meta_seg, CHROMA_UUID);
	c->conf.config = cc->config != NULL ? mem_dup(cc->config) : NULL;
	c->conf.schema = cc->schema != NULL ? mem_dup(cc->schema) : NULL;
	c->conf.metadata = mem_dup("{}");
	return chroma_conf_params(&c->conf) == 0 ? 0 : err_set(e,
	    MSG_DATAERR, "%s: collection %.100s: its configuration is no "
	    "JSON", w->dir, cc->name);
}

static int
read_base(struct chroma_writer *w, struct err *e)
{
	struct chroma	c;
	size_t		i;
	int		rv = -1;

	if (chroma_start(&c, w->dir, 0, e) == 0 &&
	    chroma_read_colls(&c, e) == 0) {
		rv = 0;
		for (i = 0; rv == 0 && i < c.n; i++)
			rv = existing(w, &c.colls[i], e);
	}
	return chroma_clear(&c, e) == -1 ? -1 : rv;
}

struct chroma_writer *
chroma_onto(const char *dir, const struct item_coll *colls, size_t n_colls,
    const struct item_source *sources, size_t n_sources,
    unsigned int threads, struct err *e)
{
	struct chroma_writer	*w;
	int			 schema;

	w = writer_new(dir, colls, n_colls, n_sources, threads);
	w->onto = 1;
	if (open_dir(w, e) == -1 || read_base(w, e) == -1 ||
	    configure(w, &schema, e) == -1 ||
	    ledger_open(&w->ledger, below(w, LEDGER_FILE), LEDGER_WRITE,
	    e) == -1 ||
	    chroma_rows_open(&w->rows, below(w, CHROMA_FILE), schema, e) ==
	    -1 || put_colls(w, e) == -1 || put_sources(w, sources, e) == -1) {
		chroma_discard(w);
		return NULL;
	}
	return w;
}

/* Indexes ---------------------------------------------------------- */

static void
close_old(struct chroma_writer *w)
{
	if (w->old_open)
		hnsw_close(&w->old);
	w->old_open = 0;
}

static int
open_old(struct chroma_writer *w, struct err *e)
{
	const struct item_coll	*ic = &w->given[w->cur];
	const char		*name = w->colls[w->cur].conf.vector;

	if (w->old_open)
		return 0;
	if (hnsw_open(&w->old, w->dirfd, name, below(w, name), ic->dim,
	    ic->space_known && ic->space == ITEM_COSINE, e) == -1)
		return -1;
	w->old_open = 1;
	return 0;
}

static struct hnsw_build *
build_at(struct chroma_writer *w, const char *name, int fresh, struct err *e)
{
	const struct item_coll	*ic = &w->given[w->cur];
	struct hnsw_params	 p;

	memset(&p, 0, sizeof(p));
	p.dim = ic->dim;
	p.space = ic->space_known ? ic->space : ITEM_L2;
	p.m = w->colls[w->cur].conf.m;
	p.ef = w->colls[w->cur].conf.ef;
	p.threads = w->threads;
	p.cost = &w->cost;
	/* an index that is there has its own */
	if (fresh && ((p.m != 0 && (p.m < HNSW_M_MIN || p.m > HNSW_M_MAX)) ||
	    p.ef > HNSW_EF_MAX)) {
		err_set(e, MSG_DATAERR, "collection %.100s: its configuration "
		    "wants max_neighbors %u and ef_construction %u: an index "
		    "is built with %u to %u, and at most %u: write -F sqlite",
		    ic->name, p.m != 0 ? p.m : HNSW_M, p.ef != 0 ? p.ef :
		    HNSW_EF, HNSW_M_MIN, HNSW_M_MAX, HNSW_EF_MAX);
		return NULL;
	}
	if (fresh && mkdirat(w->dirfd, name, 0777) == -1) {
		err_sys(e, errno, "%s", below(w, name));
		return NULL;
	}
	return hnsw_build_new(w->dirfd, name, below(w, name), &p, fresh, e);
}

/* The index of the collection at hand, made when it is not there. */
static int
open_index(struct chroma_writer *w, struct err *e)
{
	const char	*name = w->colls[w->cur].conf.vector;
	struct stat	 st;
	int		 fresh = 1;

	if (w->index != NULL)
		return 0;
	if (w->onto && fstatat(w->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) ==
	    0) {
		fresh = 0;
		/* the old elements are read as they were */
		if (open_old(w, e) == -1)
			return -1;
	}
	w->index = build_at(w, name, fresh, e);
	return w->index == NULL ? -1 : 0;
}

/* Vector of a record that was there before, to the bit, into w->vec. */
static int
old_vector(struct chroma_writer *w, const struct ledger_rec *r,
    struct err *e)
{
	uint32_t	 dim = w->given[w->cur].dim;
	uint64_t	 label;
	int		 deleted;

	if (open_old(w, e) == -1)
		return -1;
	buf_reset(&w->vec);
	if (r->label > w->old.n)
		return err_set(e, MSG_DATAERR, "%s: no element %llu",
		    w->old.name, (unsigned long long)r->label);
	if (hnsw_label(&w->old, r->label - 1, &label, &deleted, e) == -1 ||
	    hnsw_vector(&w->old, r->label - 1, buf_room(&w->vec,
	    (size_t)dim * 4), e) == -1)
		return -1;
	if (label != r->label || deleted || (r->fix != NULL &&
	    ledger_fix_apply(w->vec.p, dim, r->fix, r->fix_len) == -1))
		return err_set(e, MSG_DATAERR, "%s: element %llu is not the "
		    "ledger's", w->old.name, (unsigned long long)r->label);
	w->vec.len = (size_t)dim * 4;
	return 0;
}

/* Append a vector to b; label and fix of r are set. */
static int
put_vector(struct chroma_writer *w, struct hnsw_build *b, const void *vec,
    struct ledger_rec *r, struct err *e)
{
	uint32_t	 dim = w->given[w->cur].dim;
	unsigned char	*back;

	buf_reset(&w->back);
	back = buf_room(&w->back, (size_t)dim * 4);
	if (hnsw_build_put(b, vec, back, &r->label, e) == -1)
		return -1;
	if (r->label > PICKLE_LABEL_MAX)
		return err_set(e, MSG_DATAERR, "collection %.100s: more than "
		    "%u elements: build the store anew",
		    w->given[w->cur].name, PICKLE_LABEL_MAX);
	buf_reset(&w->fix);
	ledger_fix_make(vec, back, dim, &w->fix);
	r->fix = w->fix.len > 0 ? w->fix.p : NULL;
	r->fix_len = w->fix.len;
	return 0;
}

/* Pairs of the collection at hand, for its pickle. */
static int
pairs(void *arg, struct pickle_out *o, struct err *e)
{
	struct chroma_writer	*w = arg;
	struct ledger_rec	 r;
	int			 k;

	if (ledger_walk(&w->ledger, w->colls[w->cur].ledger, e) == -1)
		return -1;
	while ((k = ledger_next(&w->ledger, &r, e)) == 1)
		if (r.label != 0 && pickle_add(o, r.id, r.id_len, r.label,
		    e) == -1)
			return -1;
	return k;
}

static int
put_pickle(struct chroma_writer *w, uint64_t total, struct err *e)
{
	char	name[CHROMA_UUID + sizeof(CHROMA_PICKLE) + 1];
	int	fd, rv;

	(void)snprintf(name, sizeof(name), "%s/%s",
	    w->colls[w->cur].conf.vector, CHROMA_PICKLE);
	fd = openat(w->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC |
	    O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", below(w, name));
	rv = pickle_write(fd, below(w, name), total, pairs, w, e);
	if (io_close(&fd, below(w, name), e) == -1)
		rv = -1;
	return rv;
}

/* Every live element of the old index to b, in order of ids. */
static int
refill(struct chroma_writer *w, struct hnsw_build *b, struct err *e)
{
	struct ledger_rec	r;
	struct buf		id;
	size_t			coll = w->colls[w->cur].ledger;
	int			k = -1;

	buf_init(&id, ITEM_ID_MAX);
	if (ledger_walk(&w->ledger, coll, e) == -1)
		goto done;
	while ((k = ledger_next(&w->ledger, &r, e)) == 1) {
		if (r.label == 0)
			continue;
		/* the row is about to be written: its views go */
		buf_reset(&id);
		buf_add(&id, r.id, r.id_len);
		r.id = (const char *)id.p;
		if (old_vector(w, &r, e) == -1 ||
		    put_vector(w, b, w->vec.p, &r, e) == -1 ||
		    ledger_put(&w->ledger, coll, &r, e) == -1) {
			k = -1;
			break;
		}
	}
done:
	buf_free(&id);
	return k;
}

/*
 * Make the index of the collection at hand anew from its live elements,
 * which are read back from it.
 */
static int
rebuild(struct chroma_writer *w, uint64_t *total, struct err *e)
{
	const char		*name = w->colls[w->cur].conf.vector;
	struct hnsw_build	*b;

	close_old(w);
	if (open_old(w, e) == -1 ||
	    (b = build_at(w, REBUILD_DIR, 1, e)) == NULL)
		return -1;
	if (refill(w, b, e) == -1) {
		hnsw_build_free(b);
		return -1;
	}
	*total = hnsw_build_count(b, NULL);
	if (hnsw_build_finish(b, e) == -1)
		return -1;
	close_old(w);
	if (io_rmtree(w->dirfd, name, e) == -1)
		return -1;
	if (renameat(w->dirfd, REBUILD_DIR, w->dirfd, name) == -1)
		return err_sys(e, errno, "%s", below(w, name));
	return 0;
}

/* The collection at hand is complete: its index and pickle. */
static int
finish_coll(struct chroma_writer *w, struct err *e)
{
	struct hnsw_build	*b = w->index;
	uint64_t		 total, live;

	w->index = NULL;
	if (b == NULL) {
		close_old(w);
		return 0;
	}
	total = hnsw_build_count(b, &live);
	if (live == 0) {
		/* servers would take an empty pickle for no index at all */
		hnsw_build_free(b);
		close_old(w);
		return io_rmtree(w->dirfd, w->colls[w->cur].conf.vector, e);
	}
	if (hnsw_build_finish(b, e) == -1)
		return -1;
	if (w->onto && (total - live) > total / DEAD_PART &&
	    rebuild(w, &total, e) == -1)
		return -1;
	close_old(w);
	return put_pickle(w, total, e);
}

/* Records ---------------------------------------------------------- */

static struct ledger_rec
ledger_row(const struct chroma_writer *w, const struct item *it)
{
	struct ledger_rec	r;

	memset(&r, 0, sizeof(r));
	r.id = it->id;
	r.id_len = it->id_len;
	r.seq = it->seq;
	r.src = w->sources[it->src];
	memcpy(r.digest, it->digest, HASH_LEN);
	return r;
}

/* Its row in the database; that there is none is damage. */
static int
find_row(struct chroma_writer *w, const struct item *it, int64_t *row,
    struct err *e)
{
	int	k = chroma_rows_find(&w->rows, w->colls[it->coll].conf.meta,
		    it->id, it->id_len, row, e);

	if (k == 0)
		return err_set(e, MSG_DATAERR, "%s: collection %.100s: "
		    "record %.*s is in the ledger and not in %s", w->dir,
		    w->given[it->coll].name, it->id_len > SHOWN ? SHOWN :
		    (int)it->id_len, it->id, CHROMA_FILE);
	return k == 1 ? 0 : -1;
}

/* There was none: a row and an element. */
static int
put_new(struct chroma_writer *w, const struct item *it,
    struct ledger_rec *r, struct err *e)
{
	if (chroma_rows_put(&w->rows, w->given[it->coll].name,
	    w->colls[it->coll].conf.meta, 0, it, e) == -1 ||
	    open_index(w, e) == -1)
		return -1;
	return put_vector(w, w->index, it->vec, r, e);
}

/* There was one with other content, whose ledger row is in old. */
static int
put_other(struct chroma_writer *w, const struct item *it,
    const struct ledger_rec *old, struct ledger_rec *r, struct err *e)
{
	int64_t	row;

	if (find_row(w, it, &row, e) == -1 ||
	    chroma_rows_put(&w->rows, w->given[it->coll].name,
	    w->colls[it->coll].conf.meta, row, it, e) == -1 ||
	    old_vector(w, old, e) == -1)
		return -1;
	if (memcmp(w->vec.p, it->vec, w->vec.len) == 0) {
		r->label = old->label;
		r->fix = old->fix;
		r->fix_len = old->fix_len;
		return 0;
	}
	if (open_index(w, e) == -1 ||
	    hnsw_build_delete(w->index, old->label, e) == -1)
		return -1;
	return put_vector(w, w->index, it->vec, r, e);
}

/* It was live, and is no more. */
static int
put_dead(struct chroma_writer *w, const struct item *it,
    const struct ledger_rec *old, struct err *e)
{
	int64_t	row;

	if (find_row(w, it, &row, e) == -1 ||
	    chroma_rows_delete(&w->rows, row, e) == -1 ||
	    open_index(w, e) == -1)
		return -1;
	return hnsw_build_delete(w->index, old->label, e);
}

/* Onto a base: what was there decides. */
static int
put_onto(struct chroma_writer *w, const struct item *it,
    struct ledger_rec *r, struct err *e)
{
	struct ledger_rec	old;
	int			k;

	k = ledger_get(&w->ledger, w->colls[it->coll].ledger, it->id,
	    it->id_len, &old, e);
	if (k == -1)
		return -1;
	if (k == 0)
		old.label = 0;
	if (old.label != 0 && old.fix != NULL) {
		/* what lies there is written over while this is needed */
		buf_reset(&w->fix);
		buf_add(&w->fix, old.fix, old.fix_len);
		if (w->fix.over)
			return err_set(e, MSG_DATAERR, "%s: %s: a fix of "
			    "%zu bytes", w->dir, LEDGER_FILE, old.fix_len);
		old.fix = w->fix.p;
	}
	if (it->dead)
		return old.label != 0 ? put_dead(w, it, &old, e) : 0;
	if (old.label == 0)
		return put_new(w, it, r, e);
	if (memcmp(old.digest, it->digest, HASH_LEN) != 0)
		return put_other(w, it, &old, r, e);
	r->label = old.label;
	r->fix = old.fix;
	r->fix_len = old.fix_len;
	return 0;
}

int
chroma_put(struct chroma_writer *w, const struct item *it, struct err *e)
{
	struct ledger_rec	r;

	if (it->coll < w->cur || (size_t)it->coll >= w->n_colls ||
	    it->src < 0 || (size_t)it->src >= w->n_sources ||
	    (!it->dead && w->given[it->coll].dim == 0))
		return err_set(e, MSG_SOFTWARE, "%s: a record out of order, "
		    "or of no collection or source", w->dir);
	if (it->coll != w->cur) {
		if (w->cur != -1 && finish_coll(w, e) == -1)
			return -1;
		w->cur = it->coll;
	}
	r = ledger_row(w, it);
	if (w->onto ? put_onto(w, it, &r, e) == -1 :
	    !it->dead && put_new(w, it, &r, e) == -1)
		return -1;
	return ledger_put(&w->ledger, w->colls[it->coll].ledger, &r, e);
}

int
chroma_finish(struct chroma_writer *w, const char *content_digest,
    uint64_t records, uint64_t tombstones, struct hnsw_cost *cost,
    struct err *e)
{
	int	rv;

	rv = w->cur == -1 ? 0 : finish_coll(w, e);
	if (rv == 0)
		rv = chroma_rows_finish(&w->rows, e);
	if (rv == 0)
		rv = ledger_finish(&w->ledger, content_digest, records,
		    tombstones, e);
	if (cost != NULL)
		*cost = w->cost;
	chroma_discard(w);
	return rv;
}

void
chroma_discard(struct chroma_writer *w)
{
	size_t	i;

	if (w == NULL)
		return;
	hnsw_build_free(w->index);
	close_old(w);
	chroma_rows_close(&w->rows);
	ledger_close(&w->ledger);
	for (i = 0; i < w->n_colls; i++)
		chroma_conf_clear(&w->colls[i].conf);
	if (w->dirfd != -1)
		(void)close(w->dirfd);
	buf_free(&w->shown);
	buf_free(&w->vec);
	buf_free(&w->back);
	buf_free(&w->fix);
	free(w->colls);
	free(w->sources);
	free(w->dir);
	free(w);
}
