/*
 * chroma_meta: metadata and documents of the records of a ChromaDB
 * directory: rows of embedding_metadata, arrays, and what operations lay
 * over them that are still in the queue.  Of a small file all rows are read
 * at once; where a watch wants to see them, in their own order; else those
 * of one record at a time.
 *
 * It knows neither vectors nor a ledger, and which ids there are it is told.
 * What it refuses (65) names directory, collection and id.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_META_H
#define D_CHROMA_META_H

#include <stddef.h>

#include "chroma.h"

struct chroma_meta;

/*
 * For a directory whose collections were read; c and its watch are borrowed
 * until the end.  NULL: *e.
 */
struct chroma_meta *chroma_meta_new(struct chroma *c, struct err *e);
void	chroma_meta_free(struct chroma_meta *m);
/*
 * Metadata and document of s, a record of the collection of that name, into
 * *it, as views until the next call.  0, or -1.
 */
int	chroma_meta_read(struct chroma_meta *m, const char *coll,
	    const struct chroma_state *s, struct item *it, struct err *e);
/*
 * After the last record, under a watch: has it seen every row, each as its
 * record's?  Set in the watch.  0, or -1: there are rows of no record.
 */
int	chroma_meta_end(struct chroma_meta *m, struct err *e);

/*
 * The typed value in columns 1 to 4 of st, text, integer, float or bool, set
 * in m at the key; push: added to the array that was set last.  0, or -1
 * when it is none.
 */
int	chroma_meta_value(struct meta *m, struct sqlite3_stmt *st,
	    const char *key, size_t len, int push);

#endif
