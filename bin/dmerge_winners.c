/*
 * dmerge_winners: many stores become one: of each (collection, id) the
 * greatest record, written in their order.  What may be merged was decided
 * before.
 * SPDX-License-Identifier: ISC
 */
#include "dmerge_join.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "chroma_write.h"
#include "dstore.h"
#include "mem.h"
#include "banned.h"

/* Sorted output numbers for collections and sources. */
static const struct join	*ranking;

static int
coll_rank_cmp(const void *a, const void *b)
{
	return ranking->order.coll(ranking, *(const int *)a, *(const int *)b);
}

static int
src_rank_cmp(const void *a, const void *b)
{
	return join_source_cmp(ranking->srcs[*(const int *)a],
	    ranking->srcs[*(const int *)b]);
}

static int *
ranks(size_t n, int (*cmp)(const void *, const void *))
{
	int	*v = mem_zero(n, sizeof(*v));
	size_t	 i;

	for (i = 0; i < n; i++)
		v[i] = (int)i;
	if (n != 0)
		qsort(v, n, sizeof(*v), cmp);
	return v;
}

/* Arrays in output order, shallow: the join keeps the strings. */
static void
rank(struct join *j, struct item_coll **colls, struct item_source **srcs)
{
	int	*v;
	size_t	 i;

	ranking = j;
	v = ranks(j->n_colls, coll_rank_cmp);
	*colls = mem_zero(j->n_colls, sizeof(**colls));
	for (i = 0; i < j->n_colls; i++) {
		j->colls[v[i]].rank = (int)i;
		(*colls)[i] = j->colls[v[i]].c;
	}
	free(v);
	v = ranks(j->n_srcs, src_rank_cmp);
	*srcs = mem_zero(j->n_srcs, sizeof(**srcs));
	for (i = 0; i < j->n_srcs; i++) {
		j->srcs[v[i]]->rank = (int)i;
		(*srcs)[i] = j->srcs[v[i]]->s;
	}
	free(v);
	ranking = NULL;
}

static int
pull(struct join *j, struct stream *m, struct err *e)
{
	m->have = m->st != NULL ? join_next(j, m, &m->it, e) :
	    spill_next(j->spill, &m->it, e);
	if (m->have == -1)
		return -1;
	if (m->have == 1 && m->is_base) {
		j->c.in++;
		j->c.base_live += !m->it.dead;
	}
	if (m->have == 0 && m->url != NULL)
		return join_as_checked(m, e);
	return 0;
}

/* The key that is being joined, kept while its streams move on. */
struct group {
	struct buf	id;
	int		coll;
	int		winner_src;
	unsigned char	digest[HASH_LEN];
	int		base;		/* 0 not in base, 1 live, -1 dead */
	unsigned char	base_digest[HASH_LEN];
	int		dead;
	uint64_t	n;
};

static int
in_group(const struct group *g, const struct item *it)
{
	return it->coll == g->coll && it->id_len == g->id.len &&
	    memcmp(it->id, g->id.p, it->id_len) == 0;
}

/* Two guessed times decided between different contents: say so, once. */
static void
warn_guessed(struct join *j, const struct group *g, const struct item *it)
{
	const struct item_source	*a, *b;

	if (j->warned || it->src == g->winner_src ||
	    memcmp(it->digest, g->digest, HASH_LEN) == 0)
		return;
	a = &j->srcs[g->winner_src]->s;
	b = &j->srcs[it->src]->s;
	if (!a->guessed || !b->guessed)
		return;
	j->warned = 1;
	msg_warn("warning: %.*s: %s and %s both have it and only their file "
	    "times say which is newer; give seq= in a plan to be sure",
	    (int)g->id.len, (const char *)g->id.p, a->url, b->url);
}

static void
note_base(struct group *g, const struct stream *m)
{
	if (!m->is_base)
		return;
	g->base = m->it.dead ? -1 : 1;
	memcpy(g->base_digest, m->it.digest, HASH_LEN);
}

/* Every stream's items of this key, the winner (already out) included. */
static int
consume(struct join *j, struct group *g, struct err *e)
{
	size_t	i;

	for (i = 0; i < j->n_streams; i++) {
		struct stream	*m = &j->streams[i];

		while (m->have && in_group(g, &m->it)) {
			g->n++;
			note_base(g, m);
			warn_guessed(j, g, &m->it);
			if (pull(j, m, e) == -1)
				return -1;
		}
	}
	return 0;
}

static void
count(struct join *j, const struct group *g)
{
	struct join_counts	*c = &j->c;

	c->superseded += g->n - 1;
	if (g->dead)
		c->tombstones++;
	else
		c->live++;
	if (g->base == 1 && g->dead)
		c->deleted++;
	else if (g->base != 1 && !g->dead)
		c->inserted++;
	else if (g->base == 1 && memcmp(g->base_digest, g->digest,
	    HASH_LEN) != 0)
		c->replaced++;
}

/* The stream whose item comes first; ties go to the base. */
static struct stream *
best(struct join *j)
{
	struct stream	*b = NULL;
	size_t		 i;

	for (i = 0; i < j->n_streams; i++)
		if (j->streams[i].have && (b == NULL ||
		    spill_cmp(&j->order, &j->streams[i].it, &b->it) < 0))
			b = &j->streams[i];
	return b;
}

/* The store that is written, in one of two formats. */
struct sink {
	const struct join_out	*o;
	struct dstore_writer	*d;
	struct chroma_writer	*c;
};

static int
sink_open(struct sink *w, const struct join_out *o,
    const struct item_coll *colls, size_t n_colls,
    const struct item_source *srcs, size_t n_srcs, struct err *e)
{
	memset(w, 0, sizeof(*w));
	w->o = o;
	if (o->format == STORE_SQLITE)
		w->d = dstore_create(o->path, colls, n_colls, srcs, n_srcs,
		    e);
	else if (o->onto)
		w->c = chroma_onto(o->path, colls, n_colls, srcs, n_srcs,
		    o->threads, e);
	else
		w->c = chroma_create(o->path, colls, n_colls, srcs, n_srcs,
		    o->threads, e);
	return w->d != NULL || w->c != NULL ? 0 : -1;
}

static int
sink_put(struct sink *w, const struct item *it, struct err *e)
{
	return w->d != NULL ? dstore_put(w->d, it, e) :
	    chroma_put(w->c, it, e);
}

static int
sink_finish(struct sink *w, const char *content, struct join_counts *c,
    struct err *e)
{
	int	rv;

	rv = w->d != NULL ? dstore_finish(w->d, content, e) :
	    chroma_finish(w->c, content, c->live, c->tombstones,
	    &c->index, e);
	w->d = NULL;
	w->c = NULL;
	return rv;
}

static int
winners(struct join *j, struct sink *w, struct hash *h, struct err *e)
{
	struct stream	*m;
	struct group	 g;
	struct item	 out;
	int		 rv = -1;

	buf_init(&g.id, ITEM_ID_MAX);
	while ((m = best(j)) != NULL) {
		if (join_stopped(e))
			goto done;
		buf_reset(&g.id);
		buf_add(&g.id, m->it.id, m->it.id_len);
		g.coll = m->it.coll;
		g.winner_src = m->it.src;
		memcpy(g.digest, m->it.digest, HASH_LEN);
		g.dead = m->it.dead;
		g.base = 0;
		g.n = 0;
		out = m->it;
		out.coll = j->colls[out.coll].rank;
		out.src = j->srcs[out.src]->rank;
		/* what is the base's lies there already */
		if (!(w->o->onto && m->is_base) &&
		    sink_put(w, &out, e) == -1)
			goto done;
		if (!out.dead)
			item_content_add(h, j->colls[g.coll].c.name, &out);
		if (consume(j, &g, e) == -1)
			goto done;
		count(j, &g);
	}
	rv = 0;
done:
	buf_free(&g.id);
	return rv;
}

static void
describe(struct join *j, enum store_format format, struct manifest *m,
    const unsigned char *content)
{
	struct item_source	s;
	size_t			i;

	m->format = mem_dup(store_format_name(format));
	hash_hex(content, m->content_digest);
	m->records = j->c.live;
	m->tombstones = j->c.tombstones;
	for (i = 0; i < j->n_srcs; i++) {
		s = j->srcs[i]->s;
		s.url = mem_dup(s.url);
		s.etag = s.etag != NULL ? mem_dup(s.etag) : NULL;
		manifest_add_source(m, &s);
	}
}

int
join_write(struct join *j, const struct join_out *o, struct manifest *m,
    struct join_counts *c, struct err *e)
{
	struct sink		 w = { NULL, NULL, NULL };
	struct item_coll	*colls = NULL;
	struct item_source	*srcs = NULL;
	struct hash		*h = hash_new();
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX];
	size_t			 i;
	int			 rv = -1;

	rank(j, &colls, &srcs);
	if (sink_open(&w, o, colls, j->n_colls, srcs, j->n_srcs, e) == -1)
		goto done;
	if (spill_start(j->spill, e) == -1)
		goto done;
	j->n_streams++; /* the spill itself comes last; st is NULL */
	for (i = 0; i < j->n_streams; i++)
		if (pull(j, &j->streams[i], e) == -1)
			goto done;
	item_content_start(h);
	if (winners(j, &w, h, e) == -1)
		goto done;
	hash_final(h, d);
	hash_hex(d, hex);
	if (j->c.in != j->c.live + j->c.tombstones + j->c.superseded) {
		err_set(e, MSG_SOFTWARE, "%llu records came in, %llu live, "
		    "%llu tombstones and %llu superseded went out",
		    (unsigned long long)j->c.in,
		    (unsigned long long)j->c.live,
		    (unsigned long long)j->c.tombstones,
		    (unsigned long long)j->c.superseded);
		goto done;
	}
	rv = sink_finish(&w, hex, &j->c, e);
	if (rv == 0) {
		describe(j, o->format, m, d);
		*c = j->c;
	}
done:
	dstore_discard(w.d);
	chroma_discard(w.c);
	free(colls);
	free(srcs);
	hash_free(h);
	return rv;
}
