/*
 * hnsw_graph: a hierarchical navigable small world (Malkov and Yashunin,
 * arXiv 1603.09320) in memory: its elements and their links, and the search
 * for those near to one.  hnsw_link changes it.  It knows no files.
 *
 * Distances are measured on int16 copies of the vectors ("codes"), which are
 * a half the memory to read, exact to sum, and fine enough: their steps are
 * some 1/16000 of the longest vector.  Where lengths differ so much that
 * this is coarse for most, on the floats themselves.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HNSW_GRAPH_H
#define D_HNSW_GRAPH_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

struct team;
struct vec_ops;

#define HNSW_N_BUILD	1000000000U	/* elements of one graph */

struct hnsw_graph {
	/* set by the caller */
	unsigned char	*level0;	/* n elements, as in data_level0.bin */
	size_t		 element_len, data_offset;
	uint32_t	 dim;
	enum item_space	 space;		/* cosine: vectors of length 1 */
	int		 zeros;		/* cosine: or 0, some of them */
	uint32_t	 m, m0, ef;
	uint64_t	 n, n_old;	/* elements, those linked already */
	int		 max_level;	/* -1: none is linked */
	uint32_t	 enter;
	/*
	 * Links above level 0 of element i: at upper[up[i]] the number of
	 * its levels, then for each a count and m ids.  HNSW_NO_UP: none.
	 * The caller fills in the old ones, hnsw_link adds.
	 */
	uint32_t	*up;
	uint32_t	*upper;
	size_t		 n_upper, cap_upper;
	/* room for n * hnsw_graph_stride bytes, or NULL: floats */
	int16_t		*codes;
};

#define HNSW_NO_UP UINT32_MAX

/* Bytes of one code. */
size_t	hnsw_graph_stride(const struct hnsw_graph *g);
/* Are codes fine enough for these vectors? */
int	hnsw_graph_codes_fit(const struct hnsw_graph *g);

/* Is it marked as deleted? */
int	hnsw_graph_deleted(const struct hnsw_graph *g, uint32_t i);
/* The ids that element i links to on a level, to be read and changed. */
uint32_t *hnsw_graph_links(const struct hnsw_graph *g, uint32_t i, int level,
	    uint32_t *count);
void	hnsw_graph_set_count(const struct hnsw_graph *g, uint32_t i,
	    int level, uint32_t count);

/* An element and how far it is; ids break ties. */
struct hnsw_near {
	int32_t		 d;
	uint32_t	 id;
};

/* What one thread needs. */
struct hnsw_scratch {
	unsigned char	*seen;		/* one byte for each element */
	unsigned int	 mark;		/* of this search, 1..255 */
	/* of a search; for the caller: w->pool of them, and room beyond */
	struct hnsw_near *pool, *cand, *kept;
	uint32_t	*ids;		/* neighbours not yet seen */
};

/* Searches in one graph. */
struct hnsw_search {
	struct hnsw_graph	*g;
	const struct vec_ops	*ops;
	struct hnsw_scratch	*scratch;	/* of each thread */
	unsigned int		 n_scratch;
	size_t			 code_len;	/* int16 of one code */
	size_t			 pool;		/* entries of a search */
};

/*
 * For a graph that is borrowed; fills in its codes.  pool, cand and kept
 * have room for the links of an element and so many more.
 */
void	hnsw_search_init(struct hnsw_search *w, struct hnsw_graph *g,
	    struct team *t, size_t beyond);
void	hnsw_search_clear(struct hnsw_search *w);
int32_t	hnsw_graph_dist(const struct hnsw_search *w, uint32_t a, uint32_t b);
/*
 * The elements of level nearest to q, from the n in s->pool on: as many as
 * the pool holds, sorted; their number.  The links of at most so many are
 * followed.
 */
size_t	hnsw_graph_search(const struct hnsw_search *w, struct hnsw_scratch *s,
	    uint32_t q, int level, size_t n, size_t most);
/* The nearest to q that steps from x along level lead to. */
struct hnsw_near hnsw_graph_descend(const struct hnsw_search *w, uint32_t q,
	    int level, struct hnsw_near x);
/* Where x belongs in the n sorted ones, which grow to at most max; or max. */
size_t	hnsw_graph_insert(struct hnsw_near *v, size_t *n, size_t max,
	    struct hnsw_near x);
/* For qsort. */
int	hnsw_graph_near_cmp(const void *a, const void *b);
/*
 * Of the n candidates, sorted, keep at most max such that each is nearer to
 * the one they are for than to any kept before: links in all directions.
 */
size_t	hnsw_graph_choose(const struct hnsw_search *w,
	    const struct hnsw_near *cand, size_t n, size_t max,
	    struct hnsw_near *kept);

#endif
