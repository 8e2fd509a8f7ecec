/*
 * hnsw_graph: search, choice of neighbours, links back, and reachability.
 * SPDX-License-Identifier: ISC
 */
#include "hnsw_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "team.h"
#include "vec.h"
#include "banned.h"

#define BATCH	256U	/* fixed: the graph depends on it */
#define SPREAD	8.0	/* longest over typical length, for codes */
#define CODE_MAX 16000.0 /* the longest vector's length in codes: squares of
			    differences of two then sum up to less than 2^31,
			    rounding included */
#define FLAG_DELETED 1
#define AHEAD	1536U	/* bytes of a vector fetched ahead */
#define FOLLOWED 4U	/* times the pool's size: to adopt an element */
#define DONE	0x80000000U	/* of near.id: its links were followed */

/* An element and how far it is; ids break ties. */
struct near {
	int32_t		 d;
	uint32_t	 id;
};

/* What one thread needs. */
struct scratch {
	unsigned char	*seen;		/* one byte for each element */
	unsigned int	 mark;		/* of this search, 1..255 */
	struct near	*pool, *cand, *kept;	/* ef, and room beyond it */
	uint32_t	*ids;		/* neighbours not yet seen */
};

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
	struct hnsw_graph	*g;
	const struct vec_ops	*ops;
	struct scratch		*scratch;	/* of each thread */
	unsigned int		 n_scratch;
	size_t			 code_len;	/* int16 of one code */
	size_t			 pool;		/* entries of a search */
	struct member		 batch[BATCH];
	size_t			 n_batch;
	struct back		*back;		/* sorted */
	size_t			 n_back, cap_back;
	size_t			*group;		/* where targets start */
	size_t			 n_group, cap_group;
};

static unsigned char *
element(const struct hnsw_graph *g, uint32_t i)
{
	return g->level0 + (size_t)i * g->element_len;
}

static int
is_deleted(const struct hnsw_graph *g, uint32_t i)
{
	return (element(g, i)[2] & FLAG_DELETED) != 0;
}

/* The ids at level 0 are 4-aligned in a mapped file: element_len is. */
static uint32_t *
links(const struct hnsw_graph *g, uint32_t i, int level, uint32_t *count)
{
	unsigned char	*p;
	uint32_t	*u;

	if (level == 0) {
		p = element(g, i);
		*count = (uint32_t)p[0] | (uint32_t)p[1] << 8;
		return (uint32_t *)(void *)(p + 4);
	}
	u = g->upper + g->up[i] + 1 + (size_t)(level - 1) * (g->m + 1);
	*count = *u;
	return u + 1;
}

static void
set_count(const struct hnsw_graph *g, uint32_t i, int level, uint32_t count)
{
	unsigned char	*p;

	if (level == 0) {
		p = element(g, i);
		p[0] = (unsigned char)count;
		p[1] = (unsigned char)(count >> 8);
	} else
		g->upper[g->up[i] + 1 + (size_t)(level - 1) * (g->m + 1)] =
		    count;
}

static uint32_t
room(const struct hnsw_graph *g, int level)
{
	return level == 0 ? g->m0 : g->m;
}

/* A float's place in the order of floats, as an integer. */
static int32_t
order(float f)
{
	int32_t	i;

	memcpy(&i, &f, sizeof(i));
	return i >= 0 ? i : (int32_t)(0x80000000U - (uint32_t)i);
}

static int32_t
dist(const struct work *w, uint32_t a, uint32_t b)
{
	const struct hnsw_graph	*g = w->g;
	const void		*x, *y;

	if (g->codes != NULL) {
		x = g->codes + (size_t)a * w->code_len;
		y = g->codes + (size_t)b * w->code_len;
		return g->space == ITEM_IP ?
		    -w->ops->dot_i16(x, y, w->code_len) :
		    w->ops->l2_i16(x, y, w->code_len);
	}
	x = element(g, a) + g->data_offset;
	y = element(g, b) + g->data_offset;
	return g->space == ITEM_IP ? -order(w->ops->dot_f32(x, y, g->dim)) :
	    order(w->ops->l2_f32(x, y, g->dim));
}

static void
fetch(const struct work *w, uint32_t i)
{
#if defined(__GNUC__)
	const char	*p;
	size_t		 k, n;

	if (w->g->codes == NULL) {
		p = (const char *)element(w->g, i) + w->g->data_offset;
		n = (size_t)w->g->dim * 4;
	} else {
		p = (const char *)(w->g->codes + (size_t)i * w->code_len);
		n = w->code_len * sizeof(int16_t);
	}
	for (k = 0; k < n && k < AHEAD; k += 64)
		__builtin_prefetch(p + k);
#else
	(void)w;
	(void)i;
#endif
}

static int
nearer(struct near a, struct near b)
{
	return a.d != b.d ? a.d < b.d : (a.id & ~DONE) < (b.id & ~DONE);
}

/* Where x belongs in the n sorted ones, which grow to at most max; or max. */
static size_t
insert(struct near *v, size_t *n, size_t max, struct near x)
{
	size_t	lo = 0, hi = *n, mid;

	if (*n == max && !nearer(x, v[max - 1]))
		return max;
	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (nearer(v[mid], x))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (*n < max)
		(*n)++;
	memmove(v + lo + 1, v + lo, (*n - 1 - lo) * sizeof(*v));
	v[lo] = x;
	return lo;
}

/* A mark that no element bears. */
static void
new_mark(const struct work *w, struct scratch *s)
{
	if (s->mark == 255) {
		memset(s->seen, 0, (size_t)w->g->n);
		s->mark = 0;
	}
	s->mark++;
}

/*
 * The elements of level nearest to q, from the n in s->pool on: as many as
 * the pool holds, sorted; their number.  The links of at most so many are
 * followed.
 */
static size_t
search(const struct work *w, struct scratch *s, uint32_t q, int level,
    size_t n, size_t most)
{
	const uint32_t	*l;
	struct near	 x, *pool = s->pool;
	uint32_t	 count, k, m;
	size_t		 i, at, next;

	new_mark(w, s);
	for (i = 0; i < n; i++) {
		pool[i].id &= ~DONE;
		s->seen[pool[i].id] = (unsigned char)s->mark;
	}
	for (i = 0; i < n && most > 0;) {
		if ((pool[i].id & DONE) != 0) {
			i++;
			continue;
		}
		most--;
		l = links(w->g, pool[i].id, level, &count);
		pool[i].id |= DONE;
		for (k = m = 0; k < count; k++)
			if (s->seen[l[k]] != s->mark) {
				s->seen[l[k]] = (unsigned char)s->mark;
				s->ids[m++] = l[k];
				fetch(w, l[k]);
			}
		next = i + 1;
		for (k = 0; k < m; k++) {
			x.id = s->ids[k];
			x.d = dist(w, q, x.id);
			at = insert(pool, &n, w->pool, x);
			if (at < next)
				next = at;
		}
		i = next;
	}
	for (i = 0; i < n; i++)
		pool[i].id &= ~DONE;
	return n;
}

/* The nearest to q that steps from x along level lead to. */
static struct near
descend(const struct work *w, uint32_t q, int level, struct near x)
{
	const uint32_t	*l;
	struct near	 y, best;
	uint32_t	 count, k;

	for (;;) {
		best = x;
		l = links(w->g, x.id, level, &count);
		for (k = 0; k < count; k++) {
			y.id = l[k];
			y.d = dist(w, q, y.id);
			if (nearer(y, best))
				best = y;
		}
		if (best.id == x.id)
			return x;
		x = best;
	}
}

/*
 * Of the n candidates, sorted, keep at most max such that each is nearer to
 * the one they are for than to any kept before: links in all directions.
 */
static size_t
choose(const struct work *w, const struct near *cand, size_t n, size_t max,
    struct near *kept)
{
	size_t	i, k, m = 0;

	if (n <= max) {
		memcpy(kept, cand, n * sizeof(*kept));
		return n;
	}
	for (i = 0; i < n && m < max; i++) {
		for (k = 0; k < m; k++)
			if (dist(w, cand[i].id, kept[k].id) < cand[i].d)
				break;
		if (k == m)
			kept[m++] = cand[i];
	}
	return m;
}

/* Neighbours of the batch's member i at one level, into its own list. */
static void
settle(const struct work *w, struct scratch *s, size_t i, int level,
    size_t n_pool)
{
	const struct member	*me = &w->batch[i];
	struct near		 x;
	uint32_t		*l, count;
	size_t			 n = 0, k;

	for (k = 0; k < n_pool; k++)
		if (!is_deleted(w->g, s->pool[k].id))
			s->cand[n++] = s->pool[k];
	for (k = 0; k < i; k++)
		if (w->batch[k].level >= level) {
			x.id = w->batch[k].id;
			x.d = dist(w, me->id, x.id);
			(void)insert(s->cand, &n, w->pool, x);
		}
	n = choose(w, s->cand, n, w->g->m, s->kept);
	l = links(w->g, me->id, level, &count);
	for (k = 0; k < n; k++)
		l[k] = s->kept[k].id;
	set_count(w->g, me->id, level, (uint32_t)n);
}

/* Member i finds its neighbours in the graph as it is. */
static void
find(void *arg, unsigned int thread, size_t i)
{
	struct work		*w = arg;
	const struct hnsw_graph	*g = w->g;
	struct scratch		*s = &w->scratch[thread];
	const struct member	*me = &w->batch[i];
	struct near		 x;
	size_t			 n = 0;
	int			 l;

	if (g->max_level >= 0) {
		x.id = g->enter;
		x.d = dist(w, me->id, x.id);
		for (l = g->max_level; l > me->level; l--)
			x = descend(w, me->id, l, x);
		s->pool[0] = x;
		n = 1;
	}
	for (l = me->level; l >= 0; l--) {
		if (l <= g->max_level)
			n = search(w, s, me->id, l, n, SIZE_MAX);
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
			l = links(w->g, me->id, level, &count);
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

static int
near_cmp(const void *a, const void *b)
{
	const struct near	*x = a, *y = b;

	return nearer(*x, *y) ? -1 : nearer(*y, *x);
}

/* The links back of one target: appended, or all of its links chosen anew. */
static void
reply(void *arg, unsigned int thread, size_t i)
{
	struct work		*w = arg;
	struct scratch		*s = &w->scratch[thread];
	const struct back	*b = &w->back[w->group[i]];
	size_t			 n = w->group[i + 1] - w->group[i], k, m = 0;
	uint32_t		*l, count, cap = room(w->g, b->level);

	l = links(w->g, b->target, b->level, &count);
	if (count + n <= cap) {
		for (k = 0; k < n; k++)
			l[count + k] = b[k].source;
		set_count(w->g, b->target, b->level, (uint32_t)(count + n));
		return;
	}
	for (k = 0; k < count; k++)
		s->cand[m++].id = l[k];
	for (k = 0; k < n; k++)
		s->cand[m++].id = b[k].source;
	for (k = 0; k < m; k++)
		s->cand[k].d = dist(w, b->target, s->cand[k].id);
	qsort(s->cand, m, sizeof(*s->cand), near_cmp);
	m = choose(w, s->cand, m, cap, s->kept);
	for (k = 0; k < m; k++)
		l[k] = s->kept[k].id;
	set_count(w->g, b->target, b->level, (uint32_t)m);
}

/* The entry point is the first of those on the top level. */
static void
raise(struct work *w)
{
	size_t	i;

	for (i = 0; i < w->n_batch; i++)
		if (w->batch[i].level > w->g->max_level) {
			w->g->max_level = w->batch[i].level;
			w->g->enter = w->batch[i].id;
		}
}

/* -- codes ------------------------------------------------------------- */

size_t
hnsw_graph_stride(const struct hnsw_graph *g)
{
	return ((size_t)g->dim + (g->zeros != 0) + VEC_STEP - 1) / VEC_STEP *
	    VEC_STEP * sizeof(int16_t);
}

/*
 * In a cosine space a vector of no direction is at distance 1 from all, as
 * are two that stand square to one another.  By squares of differences it
 * would be nearer to everyone than they are, and all links would lead to
 * it; so it stands square to all, in a dimension of its own.
 */
static void
set_square(const struct hnsw_graph *g, int16_t *code)
{
	uint32_t	k;

	for (k = 0; k < g->dim; k++)
		if (code[k] != 0)
			return;
	code[g->dim] = (int16_t)CODE_MAX;
}

static double
length(const struct hnsw_graph *g, uint64_t i)
{
	const unsigned char	*p = element(g, (uint32_t)i) + g->data_offset;
	double			 sum = 0;
	float			 f;
	uint32_t		 k;

	for (k = 0; k < g->dim; k++, p += 4) {
		memcpy(&f, p, 4);
		sum += (double)f * (double)f;
	}
	return sqrt(sum);
}

/* The longest vector, and the typical one, of those not of length 1. */
static double
longest(const struct hnsw_graph *g, double *typical)
{
	double		max = 0, sum = 0, d;
	uint64_t	i;

	for (i = 0; i < g->n; i++) {
		d = length(g, i);
		sum += d;
		if (d > max)
			max = d;
	}
	*typical = g->n != 0 ? sum / (double)g->n : 0;
	return max;
}

int
hnsw_graph_codes_fit(const struct hnsw_graph *g)
{
	double	max, typical;

	if (g->space == ITEM_COSINE)
		return 1;
	max = longest(g, &typical);
	return isfinite(max) && max > 1e-30 && max <= SPREAD * typical;
}

struct coding {
	struct work	*w;
	double		 scale;
};

static void
encode(void *arg, unsigned int thread, size_t i)
{
	const struct coding	*c = arg;
	const struct hnsw_graph	*g = c->w->g;
	const unsigned char	*p = element(g, (uint32_t)i) + g->data_offset;
	int16_t			*q = g->codes + i * c->w->code_len;

	(void)thread;
	c->w->ops->code(p, (float)c->scale, q, g->dim);
	memset(q + g->dim, 0, (c->w->code_len - g->dim) * sizeof(*q));
	if (g->zeros)
		set_square(g, q);
}

static void
encode_all(struct work *w, struct team *t)
{
	struct coding	c;
	double		max = 1, typical;

	if (w->g->space != ITEM_COSINE)
		max = longest(w->g, &typical);
	c.w = w;
	/* a cosine vector may be a rounding longer than 1, or of none */
	c.scale = CODE_MAX / max;
	team_run(t, (size_t)w->g->n, 1024, encode, &c);
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
		l = links(g, i, 0, &count);
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

	l = links(g, from, 0, &count);
	if (count < g->m0) {
		l[count] = lost;
		set_count(g, from, 0, count + 1);
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
	struct scratch	*s = &w->scratch[0];
	struct near	 x;
	int		 l;

	x.id = w->g->enter;
	x.d = dist(w, lost, x.id);
	s->pool[0] = x;
	for (l = w->g->max_level; l > 0; l--)
		x = descend(w, lost, l, x);
	if (t->parent[x.id] != NOBODY)
		s->pool[0] = x;
	return search(w, s, lost, 0, 1, FOLLOWED * w->pool);
}

/* Some element that is reached links to lost, a near one that can. */
static uint32_t
adopt(const struct work *w, const struct tree *t, uint32_t lost)
{
	struct scratch	*s = &w->scratch[0];
	size_t		 n = seek(w, t, lost), k;

	for (k = 0; k < n; k++)
		if (hang(w->g, t, s->pool[k].id, lost))
			return s->pool[k].id;
	/* an element that none hangs on is always among those reached */
	for (k = (size_t)t->tail; k-- > 0;)
		if (hang(w->g, t, t->queue[k], lost))
			return t->queue[k];
	return NOBODY;
}

/* Does one of its links lead on to the entry point? */
static int
leads_back(const struct hnsw_graph *g, const struct tree *t, uint32_t i)
{
	const uint32_t	*l;
	uint32_t	 count, k;

	l = links(g, i, 0, &count);
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
	struct scratch	*s = &w->scratch[0];
	size_t		 n = seek(w, t, lost), k;
	uint32_t	 to = w->g->enter;

	for (k = 0; k < n; k++)
		if (t->back[s->pool[k].id]) {
			to = s->pool[k].id;
			break;
		}
	return hang(w->g, t, lost, to);
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
	const struct hnsw_graph	*g = w->g;
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
	const struct hnsw_graph	*g = w->g;
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
		if (t.parent[i] != NOBODY || is_deleted(g, i))
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

int
hnsw_graph_level(uint64_t element_no, uint32_t m)
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
		l = hnsw_graph_level(i, g->m);
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

static void
scratch_make(struct work *w, const struct team *t)
{
	const struct hnsw_graph	*g = w->g;
	struct scratch		*s;
	size_t			 most;
	unsigned int		 i;

	most = w->pool + g->m0 + BATCH + 1;
	w->n_scratch = team_size(t);
	w->scratch = mem_zero(w->n_scratch, sizeof(*w->scratch));
	for (i = 0; i < w->n_scratch; i++) {
		s = &w->scratch[i];
		s->seen = mem_zero((size_t)g->n, 1);
		s->pool = mem_zero(most, sizeof(*s->pool));
		s->cand = mem_zero(most, sizeof(*s->cand));
		s->kept = mem_zero(most, sizeof(*s->kept));
		s->ids = mem_zero(g->m0 + 1, sizeof(*s->ids));
	}
}

static void
scratch_free(struct work *w)
{
	unsigned int	i;

	for (i = 0; i < w->n_scratch; i++) {
		free(w->scratch[i].seen);
		free(w->scratch[i].pool);
		free(w->scratch[i].cand);
		free(w->scratch[i].kept);
		free(w->scratch[i].ids);
	}
	free(w->scratch);
	free(w->back);
	free(w->group);
}

/* Dead elements take places in a search: let it hold that many more. */
static size_t
pool_size(const struct hnsw_graph *g)
{
	uint64_t	live = 0, i;

	for (i = 0; i < g->n_old; i++)
		live += !is_deleted(g, (uint32_t)i);
	if (live == 0 || live == g->n_old)
		return g->ef;
	return (size_t)g->ef + (size_t)((double)g->ef *
	    (double)(g->n_old - live) / (double)live < (double)g->ef * 3 ?
	    (double)g->ef * (double)(g->n_old - live) / (double)live :
	    (double)g->ef * 3);
}

int
hnsw_graph_link(struct hnsw_graph *g, struct team *t, struct err *e)
{
	struct work	w;
	uint64_t	n = g->n - g->n_old, step, at = 0, left = n;
	int		rv = 0;

	memset(&w, 0, sizeof(w));
	w.g = g;
	w.ops = vec_ops(0);
	w.code_len = hnsw_graph_stride(g) / sizeof(int16_t);
	w.pool = pool_size(g);
	scratch_make(&w, t);
	add_upper(g);
	if (g->codes != NULL)
		encode_all(&w, t);
	step = stride_of(n);
	while (left > 0) {
		for (w.n_batch = 0; w.n_batch < BATCH && left > 0; left--) {
			w.batch[w.n_batch].id = (uint32_t)(g->n_old + at);
			w.batch[w.n_batch++].level = hnsw_graph_level(
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
	scratch_free(&w);
	return rv;
}
