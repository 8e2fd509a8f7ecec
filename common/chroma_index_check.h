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

struct judge;

/* Walk through collection i of j->c; of ours in their order. */
int	judge_ids(struct judge *j, size_t i);

#endif
