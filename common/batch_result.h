/*
 * batch_result: one line of an embedding batch's results (batch.h shows
 * one) as a record: its id, vector, collection, document, metadata, model.
 *
 * A line that is not one embedding, or more than the limits allow, is an
 * error (65) whose text names the file, the line's number and its custom_id;
 * fault says of which kind.  It reads no file and keeps nothing of the lines
 * before, but their number.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BATCH_RESULT_H
#define D_BATCH_RESULT_H

#include <stddef.h>

#include "batch.h"
#include "buf.h"
#include "msg.h"

struct meta;

#define BATCH_RESULT_WHY 160	/* bytes of what its "error" says */

/* The line that was read last. */
struct batch_result {
	const char	*what;		/* its file, for messages */
	enum batch_fault fault;		/* of what was refused */
	unsigned long	 number;	/* from 1 */
	struct buf	 id, vec, meta;
	struct buf	 coll, doc, model;	/* where it has them */
	int		 has_coll, has_doc, has_model;
	/* private */
	int		 has_id, has_response, has_embedding;
	int		 status, has_status, n_data;
	char		 problem[BATCH_RESULT_WHY];	/* "" none */
	struct meta	*typed;
};

/* Before the first line of a file; what is borrowed.  For clear. */
void	batch_result_init(struct batch_result *l, const char *what);
void	batch_result_clear(struct batch_result *l);
/* The next line, of which nothing is known yet. */
void	batch_result_next(struct batch_result *l);
/* It is these n bytes, without line feed: 1, 0 it is blank, -1. */
int	batch_result_read(struct batch_result *l, const char *s, size_t n,
	    struct err *e);
/* The model as ChromaDB would declare it, to be freed; NULL: none named. */
char	*batch_result_model(struct batch_result *l);
/* What is wrong with the line, into *e (65); returns -1. */
int	batch_result_bad(struct batch_result *l, enum batch_fault fault,
	    const char *what, struct err *e);

#endif
