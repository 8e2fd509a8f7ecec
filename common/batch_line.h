/*
 * batch_line: a line of a batch's requests (JSON lines as they were sent),
 * or of its output or error file: whose it is, and where in its file the
 * values stand that are wanted of it.  The values themselves are neither
 * copied nor judged; what the others make of the lines is batch_join's.
 *
 * A line that is not JSON or names no custom_id, or two, is an error (65)
 * whose text begins with the name of the file and the line's number.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BATCH_LINE_H
#define D_BATCH_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"

#define BATCH_LINE_SHOWN	72	/* bytes of an id in a message */
#define BATCH_LINE_MESSAGE	120	/* of a provider's error message */
#define BATCH_LINE_WHY		(BATCH_LINE_MESSAGE + 32)

/* A value's bytes in its file; len 0: absent, or null. */
struct batch_span {
	uint64_t	at, len;
};

enum {
	BATCH_COLL,	/* of both kinds of line */
	BATCH_DOC,	/* of a request without one: its body.input */
	BATCH_META,
	BATCH_VEC,	/* of answers alone */
	BATCH_MODEL,
	BATCH_SPANS
};

/* The line that was read last.  id and v are for users. */
struct batch_line {
	const char		*what;	/* its file, for messages */
	int			 request;
	uint64_t		 number;	/* from 1 */
	uint64_t		 at;	/* in its file */
	const char		*s;	/* as long as what was read */
	size_t			 len;
	struct buf		 id;	/* custom_id */
	int			 n_id, n_response, n_data, n_vec;
	int			 has_response, has_status, has_doc, failed;
	int64_t			 status;
	char			 message[BATCH_LINE_MESSAGE];
	struct batch_span	 v[BATCH_SPANS];
	struct batch_span	 input;
};

/* Before the first line of a file; what is borrowed.  For clear. */
void	batch_line_init(struct batch_line *l, const char *what, int request);
void	batch_line_clear(struct batch_line *l);
/*
 * The next line: n bytes without their line feed, which stand at `at`: 1, 0
 * it is blank, -1.
 */
int	batch_line_read(struct batch_line *l, const char *s, size_t n,
	    uint64_t at, struct err *e);
/* Has the request that is answered failed?  Then why, for people. */
int	batch_line_failed(const struct batch_line *l, char *why,
	    size_t size);
/* What is wrong with the line, into *e (65); returns -1. */
int	batch_line_bad(const struct batch_line *l, struct err *e,
	    const char *what);
/* n bytes for a message: printable, cut. */
void	batch_line_show(char *out, size_t size, const void *p, size_t n);

#endif
