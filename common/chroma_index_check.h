/*
 * chroma_index_check: does each record of a ChromaDB directory have one
 * vector, wherever it lies, and are the HNSW files right where they are
 * needed, or ours?
 *
 * Answers and ownership: chroma_judge_check.h; of a directory of ours
 * j->ours is open.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_INDEX_CHECK_H
#define D_CHROMA_INDEX_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "chroma_judge_check.h"

struct chroma_state;
struct chroma_walk;

/* What a walk through one collection found. */
struct tally {
	uint64_t	 records;
	uint64_t	 bare;		/* records without vector */
	uint64_t	 stray;		/* vectors without record */
	uint64_t	 lost;		/* whose element is not there */
	uint64_t	 indexed;	/* taken from the HNSW files */
	uint64_t	 top;		/* greatest element among them */
	char		 first[JUDGE_SHOWN]; /* the first id at fault */
};

/* Walk through collection i of j->c; of ours in their order. */
int	judge_ids(struct judge *j, size_t i);
/* The same for a walk of another's: each id of it, then what they come to. */
int	judge_id(struct judge *j, size_t i, struct tally *t,
	    const struct chroma_state *s);
int	judge_tally(struct judge *j, size_t i, const struct tally *t,
	    struct chroma_walk *w);

#endif
