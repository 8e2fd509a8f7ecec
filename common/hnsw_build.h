/*
 * hnsw_build: makes and extends the four files that hnsw.h reads, the way
 * ChromaDB's own index writer lays them out (Malkov and Yashunin's graph,
 * arXiv 1603.09320; the parameters are the collection's).
 *
 * Elements are appended in the order given: element i has label i + 1, and
 * labels are never reused.  An element that goes is marked, as ChromaDB
 * marks it; one whose vector changes goes and comes again with a new label.
 *
 * The files are the same, byte for byte, for the same elements and
 * parameters: whatever the number of threads, and whatever the processor
 * can do (distances are summed in one fixed order, wide registers or not).
 *
 * Memory: data_level0.bin is mapped, not read.  Scratch copies of the
 * vectors (two bytes for each float) are a mapped file without a name in the
 * same directory, or memory up to HNSW_SCRATCH; on the heap are 13 bytes and
 * one for each thread, for each element, and upper levels' links (about 5).
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HNSW_BUILD_H
#define D_HNSW_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

#define HNSW_M		16U	/* ChromaDB's defaults */
#define HNSW_EF		100U
#define HNSW_M_MIN	2U
#define HNSW_M_MAX	1024U
#define HNSW_EF_MAX	10000U
#define HNSW_THREADS_MAX 256U
#define HNSW_SCRATCH	((size_t)64 << 20)	/* bytes */

struct hnsw_cost {
	uint64_t	linked;		/* elements */
	double		cpu;		/* seconds, of all threads */
};

struct hnsw_params {
	uint32_t	 dim;
	enum item_space	 space;
	uint32_t	 m;		/* max_neighbors; 0: HNSW_M */
	uint32_t	 ef;		/* ef_construction; 0: HNSW_EF */
	unsigned int	 threads;	/* 0: 1 */
	struct hnsw_cost *cost;		/* what linking cost is added; NULL */
};

struct hnsw_build;

/*
 * Work in the directory name below dirfd, which exists: empty, or with an
 * index of ours in it (fresh 0; private: it is changed in place, and its
 * own m and ef stay).  shown is its name in messages.  NULL with *e.
 */
struct hnsw_build *hnsw_build_new(int dirfd, const char *name,
	    const char *shown, const struct hnsw_params *p, int fresh,
	    struct err *e);
/* Elements so far, deleted ones included, and how many of them are live. */
uint64_t hnsw_build_count(const struct hnsw_build *b, uint64_t *live);
/*
 * Append dim little-endian float32; *label is the new element's.  Into
 * back (NULL: not wanted) goes what a reader will get for it: for cosine,
 * the vector after it was normalised and scaled again.
 */
int	hnsw_build_put(struct hnsw_build *b, const void *vec, void *back,
	    uint64_t *label, struct err *e);
/* Mark the element of this label deleted. */
int	hnsw_build_delete(struct hnsw_build *b, uint64_t label,
	    struct err *e);
/*
 * Link what was put, write header and links, close.  Every live element
 * can be reached from the entry point along links of the lowest level.
 * Frees b, whatever happens.
 */
int	hnsw_build_finish(struct hnsw_build *b, struct err *e);
void	hnsw_build_free(struct hnsw_build *b);	/* give up; NULL is fine */

#endif
