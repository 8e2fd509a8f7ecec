/*
 * chroma_rows_check: the queue, sequence numbers, metadata and full text of
 * a ChromaDB directory: is each row one that a server can read?
 *
 * Vectors are looked at in the queue alone.  Answers and ownership:
 * chroma_judge_check.h; collections and versions are known.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_ROWS_CHECK_H
#define D_CHROMA_ROWS_CHECK_H

struct judge;

int	judge_queue(struct judge *j);
/* Is anything applied that the queue does not know, or not applied yet? */
int	judge_seq(struct judge *j);
/* Metadata, documents, and the full-text index of them. */
int	judge_metadata(struct judge *j);

#endif
