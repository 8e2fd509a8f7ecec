/*
 * chroma_rows: chroma.sqlite3 while it is written: a new one, or a private
 * copy of one of ours that is changed.  Collections, records, metadata and
 * full text; never a vector, and never the queue, which stays empty.
 *
 * Everything is one transaction without a journal: a file that was not
 * finished is good for nothing.  The new one's indexes of metadata values
 * are made at the end, at once.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_ROWS_H
#define D_CHROMA_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "chroma_conf.h"
#include "item.h"
#include "msg.h"

struct sqlite3;
struct sqlite3_stmt;

/* A constant: nothing that is written depends on the clock. */
#define CHROMA_CREATED	"1970-01-01 00:00:00"
#define CHROMA_ROW_MAX	4294967295U	/* greatest row; servers end there */
/* Bytes of full text's terms in memory before they are written. */
#define CHROMA_FTS_HASH	(16U << 20)

struct chroma_rows {
	struct sqlite3	*db;
	char		*path;
	int		 anew;
	int		 has_schema;	/* sysdb 10 */
	int		 has_array;	/* metadb 6 */
	int64_t		 last;		/* greatest embeddings.id */
	/* private */
	struct sqlite3_stmt *row, *meta, *array, *text, *find, *del[4];
	struct buf	 key;
};

/* Close it either way.  schema: some collection brings one. */
int	chroma_rows_create(struct chroma_rows *r, const char *path,
	    int schema, struct err *e);
int	chroma_rows_open(struct chroma_rows *r, const char *path, int schema,
	    struct err *e);
void	chroma_rows_close(struct chroma_rows *r);
/* A collection that is not there yet, with its segments and metadata. */
int	chroma_rows_coll(struct chroma_rows *r, const struct chroma_conf *o,
	    const struct item_coll *c, struct err *e);
/* The dimension of one that is. */
int	chroma_rows_dim(struct chroma_rows *r, const char *uuid,
	    uint32_t dim, struct err *e);
/*
 * The live record it of collection name: new with row 0, else the content
 * of that row anew.  65 names the record that has no place in ChromaDB.
 */
int	chroma_rows_put(struct chroma_rows *r, const char *name,
	    const char *segment, int64_t row, const struct item *it,
	    struct err *e);
/* The row of an id: 1, 0, -1. */
int	chroma_rows_find(struct chroma_rows *r, const char *segment,
	    const char *id, size_t len, int64_t *row, struct err *e);
int	chroma_rows_delete(struct chroma_rows *r, int64_t row,
	    struct err *e);
/* Indexes, commit, close; r is cleared whatever happens. */
int	chroma_rows_finish(struct chroma_rows *r, struct err *e);

#endif
