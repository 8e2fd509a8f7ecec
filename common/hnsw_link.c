/*
 * hnsw_link: choice of neighbours, links back, and reachability.
 * SPDX-License-Identifier: ISC
 */
#include "hnsw_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "team.h"
#include "banned.h"

#define BATCH	256U	/* fixed: the graph depends on it */
#define FOLLOWED 4U	/* times the pool's size: to adopt an element */

struct member {
	uint32_t	 id;
	int		 level;
};

/* A link back that is wanted: from target to source. */
struct back {
	uint32_t	 target, source;
	int		 level;
};

struct work {
	struct hnsw_search	 s;
	struct member		 batch[BATCH];
	size_t			 n_batch;
	struct back		*back;		/* sorted */
	size_t			 n_back, cap_back;
	size_t			*group;		/* where targets start */
	size_t			 n_group, cap_group;
};

/* -- batches ----------------------------------------------------------- */

static uint32_t
room(const struct hnsw_graph *g, int level)
{
	return level == 0 ? g->m0 : g->m;
}

/* Neighbours of the batch's member i at one level, into its own list. */
static void
settle(const struct work *w, struct hnsw_scratch *s, size_t i, int level,
    size_t n_pool)
{
	const struct member	*me = &w->batch[i];
	struct hnsw_near	 x;
	uint32_t		*l, count;
	size_t			 n = 0, k;

	for (k = 0; k < n_pool; k++)
		if (!hnsw_graph_deleted(w->s.g, s->pool[k].id))
			s->cand[n++] = s->pool[k];
	for (k = 0; k < i; k++)
		if (w->batch[k].level >= level) {
			x.id = w->batch[k].id;
			x.d = hnsw_graph_dist(&w->s, me->id, x.id);
			(void)hnsw_graph_insert(s->cand, &n, w->s.pool, x);
		}
	n = hnsw_graph_choose(&w->s, s->cand, n, w->s.g->m, s->kept);
	l = hnsw_graph_links(w->s.g, me->id, level, &count);
	for (k = 0; k < n; k++)
		l[k] = s->kept[k].id;
	hnsw_graph_set_count(w->s.g, me->id, level, (uint32_t)n);
}

/* Member i finds its neighbours in the graph as it is. */
static void
find(void *arg, unsigned int thread, size_t i)
{
	struct work		*w = arg;
	const struct hnsw_graph	*g = w->s.g;
	struct hnsw_scratch	*s = &w->s.scratch[thread];
	const struct member	*me = &w->batch[i];
	struct hnsw_near	 x;
	size_t			 n = 0;
	int			 l;

	if (g->max_level >= 0) {
		x.id = g->enter;
		x.d = hnsw_graph_dist(&w->s, me->id, x.id);
		for (l = g->max_level; l > me->level; l--)
			x = hnsw_graph_descend(&w->s, me->id, l, x);
		s->pool[0] = x;
		n = 1;
	}
	for (l = me->level; l >= 0; l--) {
		if (l <= g->max_level)
			n = hnsw_graph_search(&w->s, s, me->id, l, n, SIZE_MAX);
		settle(w, s, i, l, l <= g->max_level ? n : 0);
	}
}

static int
back_cmp(const void *a, const void *b)
{
	const struct back	*x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return x->source < y->source ? -1 : x->source > y->source;
}

/* What the batch chose, by target. */
static void
collect(struct work *w)
{
	const struct member	*me;
	const uint32_t		*l;
	uint32_t		 count, k;
	size_t			 i;
	int			 level;

	w->n_back = w->n_group = 0;
	for (i = 0; i < w->n_batch; i++) {
		me = &w->batch[i];
		for (level = 0; level <= me->level; level++) {
			l = hnsw_graph_links(w->s.g, me->id, level, &count);
			w->back = mem_grow(w->back, &w->cap_back,
			    w->n_back + count + 1, sizeof(*w->back));
			for (k = 0; k < count; k++) {
				w->back[w->n_back].target = l[k];
				w->back[w->n_back].source = me->id;
				w->back[w->n_back++].level = level;
			}
		}
	}
	if (w->n_back == 0)
		return;
	qsort(w->back, w->n_back, sizeof(*w->back), back_cmp);
	w->group = mem_grow(w->group, &w->cap_group, w->n_back + 1,
	    sizeof(*w->group));
	for (i = 0; i < w->n_back; i++)
		if (i == 0 || w->back[i].target != w->back[i - 1].target ||
		    w->back[i].level != w->back[i - 1].level)
			w->group[w->n_group++] = i;
	w->group[w->n_group] = w->n_back;
}

/* The links back of one target: appended, or all of its links chosen anew. */
static void
reply(void *arg, unsigned int thread, size_t i)
{
	struct work		*w = arg;
	struct hnsw_scratch	*s = &w->s.scratch[thread];
	const struct back	*b = &w->back[w->group[i]];
	size_t			 n = w->group[i + 1] - w->group[i], k, m = 0;
	uint32_t		*l, count, cap = room(w->s.g, b->level);

	l = hnsw_graph_links(w->s.g, b->target, b->level, &count);
	if (count + n <= cap) {
		for (k = 0; k < n; k++)
			l[count + k] = b[k].source;
		hnsw_graph_set_count(w->s.g, b->target, b->level,
		    (uint32_t)(count + n));
		return;
	}
	for (k = 0; k < count; k++)
		s->cand[m++].id = l[k];
	for (k = 0; k < n; k++)
		s->cand[m++].id = b[k].source;
	for (k = 0; k < m; k++)
		s->cand[k].d = hnsw_graph_dist(&w->s, b->target, s->cand[k].id);
	qsort(s->cand, m, sizeof(*s->cand),
	    hnsw_graph_near_cmp);
	m = hnsw_graph_choose(&w->s, s->cand, m, cap, s->kept);
	for (k = 0; k < m; k++)
		l[k] = s->kept[k].id;
	hnsw_graph_set_count(w->s.g, b->target, b->level, (uint32_t)m);
}

/* The entry point is the first of those on the top level. */
static void
raise(struct work *w)
{
	size_t	i;

	for (i = 0; i < w->n_batch; i++)
		if (w->batch[i].level > w->s.g->max_level) {
			w->s.g->max_level = w->batch[i].level;
			w->s.g->enter = w->batch[i].id;
		}
}

/* -- reachability ------------------------------------------------------ */

#define NOBODY UINT32_MAX

/* From where each element was first reached, and which lead back. */
struct tree {
	uint32_t	*parent;	/* NOBODY: not reached */
	uint32_t	*queue;
	uint64_t	 head, tail;
	unsigned char	*back;		/* 1: the entry point is reached */
};

static void
reach(const struct hnsw_graph *g, struct tree *t, uint32_t from,
    uint32_t by)
{
	const uint32_t	*l;
	uint32_t	 count, k, i;

	t->parent[from] = by;
	t->queue[t->tail++] = from;
	while (t->head < t->tail) {
		i = t->queue[t->head++];
		l = hnsw_graph_links(g, i, 0, &count);
		for (k = 0; k < count; k++)
			if (t->parent[l[k]] == NOBODY) {
				t->parent[l[k]] = i;
				t->queue[t->tail++] = l[k];
			}
	}
}

/*
 * Link from to lost, in a free place or in that of the last link that
 * nothing hangs on: no element was reached by it.  1 when it could be done.
 */
static int
hang(const struct hnsw_graph *g, const struct tree *t, uint32_t from,
    uint32_t lost)
{
	uint32_t	*l, count, k;

	l = hnsw_graph_links(g, from, 0, &count);
	if (count < g->m0) {
		l[count] = lost;
		hnsw_graph_set_count(g, from, 0, count + 1);
		return 1;
	}
	for (k = count; k-- > 0;)
		if (t->parent[l[k]] != from) {
			l[k] = lost;
			return 1;
		}
	return 0;
}

/*
 * Elements near to lost among those that are reached, into the first pool;
 * their number.  Where many are lost they hang on one another, in a chain
 * that grows with each: it is not followed to its end, or they would cost
 * their square.
 */
static size_t
seek(const struct work *w, const struct tree *t, uint32_t lost)
{
	struct hnsw_scratch	*s = &w->s.scratch[0];
	struct hnsw_near	 x;
	int			 l;

	x.id = w->s.g->enter;
	x.d = hnsw_graph_dist(&w->s, lost, x.id);
	s->pool[0] = x;
	for (l = w->s.g->max_level; l > 0; l--)
		x = hnsw_graph_descend(&w->s, lost, l, x);
	if (t->parent[x.id] != NOBODY)
		s->pool[0] = x;
	return hnsw_graph_search(&w->s, s, lost, 0, 1, FOLLOWED * w->s.pool);
}

/* Some element that is reached links to lost, a near one that can. */
static uint32_t
adopt(const struct work *w, const struct tree *t, uint32_t lost)
{
	struct hnsw_scratch	*s = &w->s.scratch[0];
	size_t			 n = seek(w, t, lost), k;

	for (k = 0; k < n; k++)
		if (hang(w->s.g, t, s->pool[k].id, lost))
			return s->pool[k].id;
	/* an element that none hangs on is always among those reached */
	for (k = (size_t)t->tail; k-- > 0;)
		if (hang(w->s.g, t, t->queue[k], lost))
			return t->queue[k];
	return NOBODY;
}

/* Does one of its links lead on to the entry point? */
static int
leads_back(const struct hnsw_graph *g, const struct tree *t, uint32_t i)
{
	const uint32_t	*l;
	uint32_t	 count, k;

	l = hnsw_graph_links(g, i, 0, &count);
	for (k = 0; k < count; k++)
		if (t->back[l[k]])
			return 1;
	return 0;
}

/*
 * Lost leads nowhere: link it to a near one that leads back.  0 when all
 * its places are taken by links that others hang on; those come first, then.
 */
static int
lead_back(const struct work *w, const struct tree *t, uint32_t lost)
{
	struct hnsw_scratch	*s = &w->s.scratch[0];
	size_t			 n = seek(w, t, lost), k;
	uint32_t		 to = w->s.g->enter;

	for (k = 0; k < n; k++)
		if (t->back[s->pool[k].id]) {
			to = s->pool[k].id;
			break;
		}
	return hang(w->s.g, t, lost, to);
}

/* Those of the n in the queue that do not lead back stay; how many. */
static uint64_t
sweep(const struct hnsw_graph *g, struct tree *t, uint64_t n)
{
	uint64_t	k, lost = 0;
	uint32_t	i;

	for (k = 0; k < n; k++) {
		i = t->queue[k];
		if (t->back[i])
			continue;
		t->back[i] = (unsigned char)leads_back(g, t, i);
		if (!t->back[i])
			t->queue[lost++] = i;
	}
	return lost;
}

/*
 * A search comes down to the lowest level at any element that is higher
 * up, deleted or not: from each there must be a way to the entry point, and
 * so to all.  Those reached first are looked at first, for most lead back
 * to whom they were reached from.  When looking again gains little, some
 * are given a link; few at a time, as others may lead back by those.
 */
static int
connect_back(const struct work *w, struct tree *t, struct err *e)
{
	const struct hnsw_graph	*g = w->s.g;
	uint64_t		 k, lost, before, given;
	uint32_t		 i;

	for (i = 0; i < g->n; i++)
		if (t->parent[i] == NOBODY)
			t->queue[t->tail++] = i;
	t->back[g->enter] = 1;
	lost = sweep(g, t, t->tail);
	while (lost != 0) {
		if (io_signal() != 0)
			return err_set(e, MSG_PROTOCOL, "stopped by a "
			    "signal");
		before = lost;
		lost = sweep(g, t, lost);
		if (before - lost > before / 64)
			continue;
		for (k = given = 0; k < lost && given <= lost / 64; k++) {
			i = t->queue[k];
			if (t->back[i] || leads_back(g, t, i))
				continue;
			if (lead_back(w, t, i)) {
				t->back[i] = 1;
				given++;
			}
		}
		if (lost != 0 && given == 0)
			return err_set(e, MSG_SOFTWARE, "index: %llu "
			    "elements lead nowhere",
			    (unsigned long long)lost);
	}
	return 0;
}

static int
connect(const struct work *w, struct err *e)
{
	const struct hnsw_graph	*g = w->s.g;
	struct tree		 t;
	uint32_t		 i, by;
	int			 rv = 0;

	if (g->max_level < 0)
		return 0;
	memset(&t, 0, sizeof(t));
	t.parent = mem_alloc((size_t)g->n * sizeof(*t.parent));
	t.queue = mem_alloc((size_t)g->n * sizeof(*t.queue));
	t.back = mem_zero((size_t)g->n, 1);
	memset(t.parent, 0xff, (size_t)g->n * sizeof(*t.parent));
	reach(g, &t, g->enter, g->enter);
	for (i = 0; i < g->n && rv == 0; i++) {
		if (t.parent[i] != NOBODY || hnsw_graph_deleted(g, i))
			continue;
		if (io_signal() != 0) {
			rv = err_set(e, MSG_PROTOCOL, "stopped by a signal");
			break;
		}
		by = adopt(w, &t, i);
		if (by == NOBODY)
			rv = err_set(e, MSG_SOFTWARE, "index: element %u "
			    "cannot be reached", i);
		else
			reach(g, &t, i, by);
	}
	if (rv == 0)
		rv = connect_back(w, &t, e);
	free(t.parent);
	free(t.queue);
	free(t.back);
	return rv;
}

/* -- linking ----------------------------------------------------------- */

/* Bits that look random, of a number (the finalizer of splitmix64). */
static uint64_t
scatter(uint64_t x)
{
	x += 0x9e3779b97f4a7c15U;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
	x = (x ^ x >> 27) * 0x94d049bb133111ebU;
	return x ^ x >> 31;
}

/* Level of an element: by its number, so that it never depends on others. */
static int
level_of(uint64_t element_no, uint32_t m)
{
	double	u = ((double)(scatter(element_no) >> 11) + 1) / 0x1p53;
	double	l = -log(u) / log((double)m);

	return l >= 32 ? 32 : (int)l;
}

/* Room above level 0 for the new elements, whose levels are known. */
static void
add_upper(struct hnsw_graph *g)
{
	uint64_t	i;
	size_t		need;
	int		l;

	for (i = g->n_old; i < g->n; i++) {
		l = level_of(i, g->m);
		g->up[i] = HNSW_NO_UP;
		if (l == 0)
			continue;
		need = 1 + (size_t)l * (g->m + 1);
		g->upper = mem_grow(g->upper, &g->cap_upper,
		    g->n_upper + need, sizeof(*g->upper));
		g->up[i] = (uint32_t)g->n_upper;
		memset(g->upper + g->n_upper, 0, need * sizeof(*g->upper));
		g->upper[g->n_upper] = (uint32_t)l;
		g->n_upper += need;
	}
}

static uint64_t
gcd(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t	c = a % b;

		a = b;
		b = c;
	}
	return a;
}

/*
 * Neighbours in the files are often neighbours in meaning; inserted far
 * from one another they make the better graph.  A stride without common
 * divisor visits each of n once; near the golden ratio, evenly.
 */
static uint64_t
stride_of(uint64_t n)
{
	uint64_t	s = (uint64_t)((double)n * 0.6180339887498949) | 1;

	if (n < 3)
		return 1;
	while (gcd(s, n) != 1)
		s++;
	return s % n;
}

int
hnsw_link(struct hnsw_graph *g, struct team *t, struct err *e)
{
	struct work	w;
	uint64_t	n = g->n - g->n_old, step, at = 0, left = n;
	int		rv = 0;

	memset(&w, 0, sizeof(w));
	hnsw_search_init(&w.s, g, t, BATCH);
	add_upper(g);
	step = stride_of(n);
	while (left > 0) {
		for (w.n_batch = 0; w.n_batch < BATCH && left > 0; left--) {
			w.batch[w.n_batch].id = (uint32_t)(g->n_old + at);
			w.batch[w.n_batch++].level = level_of(
			    g->n_old + at, g->m);
			at = (at + step) % n;
		}
		team_run(t, w.n_batch, 4, find, &w);
		collect(&w);
		team_run(t, w.n_group, 16, reply, &w);
		raise(&w);
		if (io_signal() != 0) {
			rv = err_set(e, MSG_PROTOCOL, "stopped by a signal");
			break;
		}
	}
	if (rv == 0)
		rv = connect(&w, e);
	hnsw_search_clear(&w.s);
	free(w.back);
	free(w.group);
	return rv;
}
