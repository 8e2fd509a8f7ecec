/*
 * hnsw_link: links elements into a graph (hnsw_graph).
 *
 * New elements go in by batches.  The members of a batch are searched for
 * in the graph as it was before the batch, and compared with the members
 * before them one by one; then the elements that they chose are linked back.
 * Each step reads what no other thread writes, so that the graph is the
 * same whatever the number of threads.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HNSW_LINK_H
#define D_HNSW_LINK_H

#include "hnsw_graph.h"
#include "msg.h"

struct team;

/*
 * Link elements n_old .. n-1, then, along level 0, the entry point to every
 * live element that it does not reach, and every element to it.  0, or -1
 * (a signal came).
 */
int	hnsw_link(struct hnsw_graph *g, struct team *t, struct err *e);

#endif
