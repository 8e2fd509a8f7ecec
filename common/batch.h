/*
 * batch: results of an embedding batch, one JSON object a line, as
 * OpenAI's batch endpoint and those who copy it return them:
 *
 *	{"custom_id":ID, "response":{"status_code":200, "body":{"model":M,
 *	 "data":[{"index":0, "embedding":[0.1, ...]}]}}, "error":null}
 *
 * The id of the record is custom_id.  An embedding may also be the base64
 * text of little-endian float32 (encoding_format=base64).  Three keys of
 * our own may stand beside custom_id: "collection" (text; without it
 * BATCH_COLLECTION), "document" (text) and "metadata" (a flat object).
 * Unknown keys are passed over.  The space is not known to the format;
 * the model is, and is declared as ChromaDB declares that of its openai
 * function, so that it is held against a base's.
 *
 * Every line must be an embedding: failed requests, error bodies, missing
 * or repeated ids refuse the file, and the line is named.  Lines are read
 * once, one at a time; parsed records go to a SQLite temporary file, so
 * that memory is bounded by BATCH_LINE_MAX and SQLite's cache.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BATCH_H
#define D_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

#define BATCH_COLLECTION "batch"
#define BATCH_LINE_MAX	((size_t)32 << 20)	/* bytes of a line */
#define BATCH_COLLS_MAX	1000U			/* collections of a file */

enum batch_fault {
	BATCH_FINE,
	BATCH_SIZE,	/* 0 bytes */
	BATCH_LINE,	/* a line that is no embedding */
	BATCH_TWICE,	/* one id twice */
	BATCH_LIMIT,	/* over one of the limits */
	BATCH_UTF8,	/* text that is not UTF-8 */
	BATCH_VECTOR	/* not finite, or another dimension or model */
};

struct batch;
/*
 * Read and prove the file at path.  NULL with *e; *fault says what of it
 * is the content's (then e->code is 65), and is BATCH_FINE when the
 * machine failed.  e->text starts with path.
 */
struct batch *batch_load(const char *path, enum batch_fault *fault,
	    struct err *e);
void	batch_free(struct batch *b);
/* Sorted by name. */
struct item_coll *batch_colls(struct batch *b, size_t *n);
uint64_t batch_records(const struct batch *b);
/* In order of collection and id: 1, 0 at the end, -1. */
int	batch_next(struct batch *b, struct item *it, struct err *e);

#endif
