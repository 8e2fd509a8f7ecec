/*
 * dmerge_join: what is merged: collections that agree, sources, and stores
 * that are read in place or spilled.  It knows nothing of streams, staging
 * or options.
 * SPDX-License-Identifier: ISC
 */
#define _XOPEN_SOURCE 700 /* tsearch */
#include "dmerge_join.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"
#include "hash.h"
#include "io.h"
#include "item.h"
#include "mem.h"
#include "spill.h"
#include "store.h"
#include "banned.h"

static int
coll_order(const void *arg, int a, int b)
{
	const struct join	*j = arg;

	return strcmp(j->colls[a].c.name, j->colls[b].c.name);
}

int
join_source_cmp(const void *a, const void *b)
{
	const struct src	*x = a, *y = b;
	int			 r = strcmp(x->s.sha256, y->s.sha256);

	return r != 0 ? r : strcmp(x->s.url, y->s.url);
}

/* Of equal seq the greater digest wins, so it comes first. */
static int
src_order(const void *arg, int a, int b)
{
	const struct join	*j = arg;

	return join_source_cmp(j->srcs[b], j->srcs[a]);
}

struct join *
join_new(const char *tmp)
{
	struct join	*j = mem_zero(1, sizeof(*j));

	j->tmp = mem_dup(tmp);
	j->order.coll = coll_order;
	j->order.src = src_order;
	j->order.arg = j;
	j->spill = spill_new(tmp, &j->order, 0);
	plan_init(&j->skipped);
	return j;
}

static void
unmap(struct stream *m)
{
	store_close(m->st);
	free(m->coll);
	free(m->src);
	free(m->url);
	hash_free(m->h);
	memset(m, 0, sizeof(*m));
}

void
join_free(struct join *j)
{
	size_t	i;

	if (j == NULL)
		return;
	for (i = 0; i < j->n_colls; i++) {
		item_coll_clear(&j->colls[i].c);
		free(j->colls[i].from);
	}
	free(j->colls);
	while (j->src_tree != NULL) {
		struct src *s = *(struct src **)j->src_tree;

		(void)tdelete(s, &j->src_tree, join_source_cmp);
	}
	for (i = 0; i < j->n_srcs; i++) {
		item_source_clear(&j->srcs[i]->s);
		free(j->srcs[i]);
	}
	free(j->srcs);
	for (i = 0; i < j->n_streams; i++)
		unmap(&j->streams[i]);
	spill_free(j->spill);
	plan_clear(&j->skipped);
	free(j->tmp);
	free(j);
}

/* Number of the source like s; takes its strings when it is new. */
static int
add_source(struct join *j, struct item_source *s, int of_base, struct err *e)
{
	struct src	*x = mem_zero(1, sizeof(*x)), **found;

	x->s = *s;
	found = tsearch(x, &j->src_tree, join_source_cmp);
	if (found == NULL) {
		free(x);
		return err_set(e, MSG_IOERR, "sources: no memory");
	}
	if (*found == x) {
		memset(s, 0, sizeof(*s));
		x->rank = (int)j->n_srcs;
		j->srcs = mem_grow(j->srcs, &j->cap_srcs, j->n_srcs + 1,
		    sizeof(*j->srcs));
		j->srcs[j->n_srcs++] = x;
	} else {
		free(x);
		x = *found;
		/* the same bytes came again: the later word on when */
		if (s->seq > x->s.seq) {
			x->s.seq = s->seq;
			x->s.guessed = s->guessed;
		}
		if (s->records > x->s.records)
			x->s.records = s->records;
	}
	x->of_base |= of_base;
	x->of_input |= !of_base;
	return x->rank;
}

static int
disagree(struct err *e, const char *url, const struct coll *c,
    const char *what, const char *want, const char *got)
{
	return err_set(e, MSG_DATAERR, "%s: collection %s: %s: want %s as in "
	    "%s, got %s", url, c->c.name, what, want, c->from, got);
}

/* Is config of a newer delta than the one c has? */
static int
newer(const struct item_coll *x, const struct item_coll *c)
{
	if (c->config == NULL)
		return 1;
	if (x->config_seq != c->config_seq)
		return x->config_seq > c->config_seq;
	return strcmp(x->config_src, c->config_src) > 0;
}

/* What an input says of a collection that is there: agree, or refuse. */
static int
agree(struct coll *c, const struct item_coll *x, const char *url,
    struct err *e)
{
	char	want[32], got[32];

	if (c->c.dim != 0 && x->dim != 0 && c->c.dim != x->dim) {
		(void)snprintf(want, sizeof(want), "%u", c->c.dim);
		(void)snprintf(got, sizeof(got), "%u", x->dim);
		return disagree(e, url, c, "dimension", want, got);
	}
	if (c->c.space_known && x->space_known && c->c.space != x->space)
		return disagree(e, url, c, "space",
		    item_space_name(c->c.space), item_space_name(x->space));
	if (c->c.model != NULL && x->model != NULL &&
	    strcmp(c->c.model, x->model) != 0)
		return disagree(e, url, c, "embedding model", c->c.model,
		    x->model);
	if (c->c.dim == 0)
		c->c.dim = x->dim;
	if (!c->c.space_known && x->space_known) {
		c->c.space = x->space;
		c->c.space_known = 1;
	}
	if (c->c.model == NULL && x->model != NULL)
		c->c.model = mem_dup(x->model);
	return 0;
}

static void
take_config(struct coll *c, const struct item_coll *x)
{
	free(c->c.config);
	c->c.config = x->config != NULL ? mem_dup(x->config) : NULL;
	c->c.config_seq = x->config_seq;
	memcpy(c->c.config_src, x->config_src, sizeof(c->c.config_src));
}

/* Number of the collection x of the input url. */
static int
add_coll(struct join *j, const struct item_coll *x, const char *url,
    int of_base, struct err *e)
{
	struct coll	*c;
	size_t		 i;

	for (i = 0; i < j->n_colls; i++)
		if (strcmp(j->colls[i].c.name, x->name) == 0)
			break;
	if (i < j->n_colls) {
		c = &j->colls[i];
		if (agree(c, x, url, e) == -1)
			return -1;
		if (!c->of_base && x->config != NULL && newer(x, &c->c))
			take_config(c, x);
		return (int)i;
	}
	j->colls = mem_grow(j->colls, &j->cap_colls, j->n_colls + 1,
	    sizeof(*j->colls));
	c = &j->colls[j->n_colls++];
	memset(c, 0, sizeof(*c));
	c->c.name = mem_dup(x->name);
	c->c.dim = x->dim;
	c->c.space = x->space;
	c->c.space_known = x->space_known;
	c->c.model = x->model != NULL ? mem_dup(x->model) : NULL;
	c->from = mem_dup(url);
	c->of_base = of_base && x->config != NULL;
	take_config(c, x);
	return (int)i;
}

/* Numbers of st's collections and sources in the join. */
static int
map(struct join *j, struct store *st, struct stream *m, const char *url,
    int of_base, struct err *e)
{
	size_t	i;

	m->st = st;
	m->coll = mem_zero(st->n_colls, sizeof(int));
	m->src = mem_zero(st->n_sources, sizeof(int));
	for (i = 0; i < st->n_sources; i++) {
		m->src[i] = add_source(j, &st->sources[i], of_base, e);
		if (m->src[i] == -1)
			return -1;
	}
	for (i = 0; i < st->n_colls; i++) {
		m->coll[i] = add_coll(j, &st->colls[i], url, of_base, e);
		if (m->coll[i] == -1)
			return -1;
	}
	return 0;
}

int
join_base(struct join *j, const char *path, const char *format, int light,
    struct err *e)
{
	struct stream	*m = &j->streams[j->n_streams];
	struct store	*st;

	st = store_open(path, store_format_parse(format),
	    light ? STORE_LIGHT : 0, e);
	if (st == NULL)
		return -1;
	if (!st->has_ledger) {
		store_close(st);
		return err_set(e, MSG_DATAERR, "the base is a store without "
		    "ledger, which no merge of ours wrote: publish it anew, "
		    "as a delta");
	}
	j->n_streams++;
	m->is_base = 1;
	m->self = -1;
	return map(j, st, m, "the base", 1, e);
}

int
join_holds(struct join *j, const struct manifest *base, struct err *e)
{
	struct item_source	s;
	size_t			i;
	int			r;

	for (i = 0; i < base->n_sources; i++) {
		s = base->sources[i];
		s.url = mem_dup(s.url);
		s.etag = s.etag != NULL ? mem_dup(s.etag) : NULL;
		r = add_source(j, &s, 1, e);
		item_source_clear(&s);
		if (r == -1)
			return -1;
	}
	return 0;
}

int
join_stopped(struct err *e)
{
	return io_signal() == 0 ? 0 : err_set(e, MSG_PROTOCOL,
	    "stopped by a signal");
}

int
join_next(struct join *j, struct stream *m, struct item *it, struct err *e)
{
	int	r = store_next(m->st, it, e);

	if (r != 1)
		return r;
	if (m->self != -1) {
		it->seq = m->seq;
		it->src = m->self;
	} else
		it->src = m->src[it->src];
	it->coll = m->coll[it->coll];
	if (m->h != NULL && !it->dead)
		item_content_add(m->h, j->colls[it->coll].c.name, it);
	m->n++;
	return 1;
}

int
join_as_checked(struct stream *m, struct err *e)
{
	unsigned char	got[HASH_LEN];
	char		hex[HASH_HEX];

	if (m->h != NULL && m->content[0] != '\0' && m->st->sorted) {
		hash_final(m->h, got);
		hash_hex(got, hex);
		if (strcmp(hex, m->content) != 0)
			return err_set(e, MSG_DATAERR, "%s: changed in "
			    "staging since it was checked: want content %s, "
			    "got %s", m->url, m->content, hex);
	}
	if (m->n != m->want)
		return err_set(e, MSG_PROTOCOL, "%s: want the %llu records "
		    "that its delta record says, got %llu: dmerge wants the "
		    "stream as dcheck wrote it", m->url,
		    (unsigned long long)m->want, (unsigned long long)m->n);
	return 0;
}

/* Items of an input that is not read in place go to the spill. */
static int
pour(struct join *j, struct stream *m, struct err *e)
{
	struct item	it;
	int		k;

	while ((k = join_next(j, m, &it, e)) == 1)
		if (join_stopped(e) || spill_add(j->spill, &it,
		    j->colls[it.coll].c.dim, e) == -1)
			return -1;
	return k == -1 ? -1 : join_as_checked(m, e);
}

static int
self_source(struct join *j, const struct rec_delta *d, struct err *e)
{
	struct item_source	s;
	int			n;

	memset(&s, 0, sizeof(s));
	memcpy(s.sha256, d->sha256, HASH_HEX);
	s.url = mem_dup(d->url);
	s.etag = d->etag != NULL ? mem_dup(d->etag) : NULL;
	s.size = d->size;
	s.seq = d->seq;
	s.guessed = d->guessed;
	s.mtime = d->mtime;
	s.records = d->records + d->tombstones;
	n = add_source(j, &s, 0, e);
	item_source_clear(&s);
	return n;
}

/*
 * Is a sorted input worth a stream of its own?  What is small mostly stays
 * in the spill's memory, and there may be hundreds.
 */
static int
direct(const struct join *j, const struct stream *m)
{
	return m->st->sorted && j->n_streams < JOIN_DIRECT &&
	    (m->st->has_ledger || m->want >= JOIN_LARGE);
}

int
join_input(struct join *j, const struct rec_delta *d, const char *path,
    struct err *e)
{
	struct stream	 m;
	struct store	*st;
	size_t		 i;
	int		 rv = -1;

	memset(&m, 0, sizeof(m));
	m.self = -1;
	m.want = d->records + d->tombstones;
	st = store_open(path, store_format_parse(d->format), 0, e);
	if (st == NULL)
		return -1;
	if (!st->has_ledger) {
		m.self = self_source(j, d, e);
		if (m.self == -1) {
			store_close(st);
			return -1;
		}
		m.seq = d->seq;
		for (i = 0; i < st->n_colls; i++) {
			st->colls[i].config_seq = d->seq;
			memcpy(st->colls[i].config_src, d->sha256, HASH_HEX);
		}
	}
	m.url = mem_dup(d->url);
	if (map(j, st, &m, d->url, 0, e) == -1)
		goto done;
	j->c.in += m.want;
	j->c.from_inputs += m.want;
	/* of a ledger the bytes were compared, if they are read in place */
	if (!direct(j, &m) || !st->has_ledger)
		m.h = hash_new();
	if (m.h != NULL)
		item_content_start(m.h);
	if (d->content_digest != NULL)
		memcpy(m.content, d->content_digest, HASH_HEX);
	if (direct(j, &m)) {
		j->streams[j->n_streams++] = m;
		return 0;
	}
	rv = pour(j, &m, e);
done:
	unmap(&m);
	return rv;
}

void
join_skip(struct join *j, const struct rec_skip *s)
{
	struct err	e = { 0, "" };

	/* a url that was planned is a well-formed plan line */
	(void)plan_add_line(&j->skipped, s->url, "skip", 0, &e);
}

void
join_cover(struct join *j, struct plan *p,
    void (*say)(void *arg, int status, const char *url), void *arg)
{
	struct cover		*c = cover_new(p);
	const struct src	*s;
	size_t			 i;

	for (i = 0; i < j->n_srcs; i++) {
		s = j->srcs[i];
		/* a base may hold more than this plan, an input may not */
		if (!cover_take(c, &s->s, s->of_base) && s->of_input &&
		    !s->of_base)
			say(arg, MSG_DATAERR, s->s.url);
	}
	for (i = 0; i < p->n; i++)
		if (!cover_has(c, &p->v[i]) &&
		    plan_find(&j->skipped, p->v[i].url) == NULL)
			say(arg, MSG_NOINPUT, p->v[i].url);
	cover_free(c);
}
