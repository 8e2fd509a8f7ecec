/*
 * hnsw_graph: elements, distances, and the search for what is near.  It
 * links nothing.
 * SPDX-License-Identifier: ISC
 */
#include "hnsw_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "team.h"
#include "vec.h"
#include "banned.h"

#define SPREAD	8.0	/* longest over typical length, for codes */
#define CODE_MAX 16000.0 /* the longest vector's length in codes: squares of
			    differences of two then sum up to less than 2^31,
			    rounding included */
#define FLAG_DELETED 1
#define AHEAD	1536U	/* bytes of a vector fetched ahead */
#define DONE	0x80000000U	/* of near.id: its links were followed */

static unsigned char *
element(const struct hnsw_graph *g, uint32_t i)
{
	return g->level0 + (size_t)i * g->element_len;
}

int
hnsw_graph_deleted(const struct hnsw_graph *g, uint32_t i)
{
	return (element(g, i)[2] & FLAG_DELETED) != 0;
}

/* The ids at level 0 are 4-aligned in a mapped file: element_len is. */
uint32_t *
hnsw_graph_links(const struct hnsw_graph *g, uint32_t i, int level,
    uint32_t *count)
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

void
hnsw_graph_set_count(const struct hnsw_graph *g, uint32_t i, int level,
    uint32_t count)
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

/* A float's place in the order of floats, as an integer. */
static int32_t
order(float f)
{
	int32_t	i;

	memcpy(&i, &f, sizeof(i));
	return i >= 0 ? i : (int32_t)(0x80000000U - (uint32_t)i);
}

int32_t
hnsw_graph_dist(const struct hnsw_search *w, uint32_t a, uint32_t b)
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
fetch(const struct hnsw_search *w, uint32_t i)
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

/* -- search ------------------------------------------------------------ */

static int
nearer(struct hnsw_near a, struct hnsw_near b)
{
	return a.d != b.d ? a.d < b.d : (a.id & ~DONE) < (b.id & ~DONE);
}

size_t
hnsw_graph_insert(struct hnsw_near *v, size_t *n, size_t max,
    struct hnsw_near x)
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
new_mark(const struct hnsw_search *w, struct hnsw_scratch *s)
{
	if (s->mark == 255) {
		memset(s->seen, 0, (size_t)w->g->n);
		s->mark = 0;
	}
	s->mark++;
}

size_t
hnsw_graph_search(const struct hnsw_search *w, struct hnsw_scratch *s,
    uint32_t q, int level, size_t n, size_t most)
{
	const uint32_t		*l;
	struct hnsw_near	 x, *pool = s->pool;
	uint32_t		 count, k, m;
	size_t			 i, at, next;

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
		l = hnsw_graph_links(w->g, pool[i].id, level, &count);
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
			x.d = hnsw_graph_dist(w, q, x.id);
			at = hnsw_graph_insert(pool, &n, w->pool, x);
			if (at < next)
				next = at;
		}
		i = next;
	}
	for (i = 0; i < n; i++)
		pool[i].id &= ~DONE;
	return n;
}

struct hnsw_near
hnsw_graph_descend(const struct hnsw_search *w, uint32_t q, int level,
    struct hnsw_near x)
{
	const uint32_t		*l;
	struct hnsw_near	 y, best;
	uint32_t		 count, k;

	for (;;) {
		best = x;
		l = hnsw_graph_links(w->g, x.id, level, &count);
		for (k = 0; k < count; k++) {
			y.id = l[k];
			y.d = hnsw_graph_dist(w, q, y.id);
			if (nearer(y, best))
				best = y;
		}
		if (best.id == x.id)
			return x;
		x = best;
	}
}

size_t
hnsw_graph_choose(const struct hnsw_search *w, const struct hnsw_near *cand,
    size_t n, size_t max, struct hnsw_near *kept)
{
	size_t	i, k, m = 0;

	if (n <= max) {
		memcpy(kept, cand, n * sizeof(*kept));
		return n;
	}
	for (i = 0; i < n && m < max; i++) {
		for (k = 0; k < m; k++)
			if (hnsw_graph_dist(w, cand[i].id, kept[k].id) <
			    cand[i].d)
				break;
		if (k == m)
			kept[m++] = cand[i];
	}
	return m;
}

int
hnsw_graph_near_cmp(const void *a, const void *b)
{
	const struct hnsw_near	*x = a, *y = b;

	return nearer(*x, *y) ? -1 : nearer(*y, *x);
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
	struct hnsw_search	*w;
	double			 scale;
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
encode_all(struct hnsw_search *w, struct team *t)
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

/* -- what a search needs ----------------------------------------------- */

/* Dead elements take places in a search: let it hold that many more. */
static size_t
pool_size(const struct hnsw_graph *g)
{
	uint64_t	live = 0, i;

	for (i = 0; i < g->n_old; i++)
		live += !hnsw_graph_deleted(g, (uint32_t)i);
	if (live == 0 || live == g->n_old)
		return g->ef;
	return (size_t)g->ef + (size_t)((double)g->ef *
	    (double)(g->n_old - live) / (double)live < (double)g->ef * 3 ?
	    (double)g->ef * (double)(g->n_old - live) / (double)live :
	    (double)g->ef * 3);
}

void
hnsw_search_init(struct hnsw_search *w, struct hnsw_graph *g, struct team *t,
    size_t beyond)
{
	struct hnsw_scratch	*s;
	size_t			 most;
	unsigned int		 i;

	w->g = g;
	w->ops = vec_ops(0);
	w->code_len = hnsw_graph_stride(g) / sizeof(int16_t);
	w->pool = pool_size(g);
	most = w->pool + g->m0 + beyond + 1;
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
	if (g->codes != NULL)
		encode_all(w, t);
}

void
hnsw_search_clear(struct hnsw_search *w)
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
}
