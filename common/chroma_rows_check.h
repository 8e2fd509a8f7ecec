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

#include <stdint.h>

struct judge;
struct sqlite3_stmt;

int	judge_queue(struct judge *j);
/* A row of it, CHROMA_QUEUE_ROW, of a directory with one collection. */
int	judge_queue_row(struct judge *j, struct sqlite3_stmt *st);
/* Is anything applied that the queue does not know, or not applied yet? */
int	judge_seq(struct judge *j);
/*
 * Do the ids of embedding_metadata never decrease, in its own order, and
 * how many rows are there?  Fills j->docs.
 */
int	judge_meta_order(struct judge *j, int *sorted, int64_t *rows);
/* A row of it, CHROMA_META_ROW, whose record is there. */
int	judge_meta_row(struct judge *j, struct sqlite3_stmt *st);
/* Metadata, documents, and the full-text index of them. */
int	judge_metadata(struct judge *j);

#endif
