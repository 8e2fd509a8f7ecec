/*
 * hnsw_graph: links elements into a hierarchical navigable small world
 * (Malkov and Yashunin, arXiv 1603.09320).  It knows memory, no files.
 *
 * New elements go in by batches.  The members of a batch are searched for
 * in the graph as it was before the batch, and compared with the members
 * before them one by one; then the elements that they chose are linked back.
 * Each step reads what no other thread writes, so that the graph is the
 * same whatever the number of threads.
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
	 * The caller fills in the old ones, hnsw_graph_link adds.
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
/* Level of an element: by its number, so that it never depends on others. */
int	hnsw_graph_level(uint64_t element, uint32_t m);
/*
 * Link elements n_old .. n-1, then, along level 0, the entry point to every
 * live element that it does not reach, and every element to it.  0, or -1
 * (a signal came).
 */
int	hnsw_graph_link(struct hnsw_graph *g, struct team *t, struct err *e);

#endif
