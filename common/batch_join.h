/*
 * batch_join: what a provider made of an embedding batch, held against
 * what was asked of it: files in, files out, no network.  It reads the
 * requests (JSON lines as they were sent), the output and the error file,
 * and proves that every request has exactly one answer, or tells which
 * have failed and which have none.
 *
 * A request has failed when its line says so, in whichever file it stands:
 * an "error", a status outside of 200 to 299, or no embedding (not exactly
 * one of it).  A custom_id that comes twice, or was not asked for, a line
 * that is not JSON or names no custom_id, and counts that disagree are
 * errors: then nothing can be said of the whole.
 *
 * What it writes of the others, one line each, in the order of the bytes
 * of custom_id, whatever order they came in, is what batch.h reads and
 * nothing else:
 *
 *	{"custom_id":I,"collection":C,"document":D,"metadata":M,"response":
 *	 {"status_code":200,"body":{"model":N,"data":[{"embedding":E}]}}}
 *
 * I is in canonical text (json.h); E and N are the bytes of the result; C,
 * D and M are the bytes of those keys of ours in the request line, beside
 * its custom_id.  D is, where the request has no "document", its
 * body.input: a text, or an array of one text.  (null is none.)  Without
 * the requests they are those of the result line.  What is absent is left
 * out.
 *
 * Memory is bounded by BATCH_LINE_MAX and SQLite's cache; embeddings are
 * copied from file to file.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BATCH_JOIN_H
#define D_BATCH_JOIN_H

#include <stdint.h>

#include "msg.h"

#define BATCH_JOIN_SHOWN	3	/* ids named of each kind */
#define BATCH_JOIN_TEXT		400	/* bytes about failures */
#define BATCH_JOIN_GLOBS	1000	/* of the lines in stale */
#define BATCH_JOIN_GLOB_MAX	1024	/* bytes of one */

/* Paths as open(2) takes them.  out and requeue are made, never over
 * another file. */
struct batch_join {
	const char	*requests;	/* NULL: not at hand */
	const char	*output;	/* NULL: there is none */
	const char	*errors;	/* NULL: there is none */
	uint64_t	 total;		/* requests, says the provider */
	int		 has_total;
	const char	*out;
	/*
	 * The requests that failed, have no answer or a stale one: their own
	 * lines, in order, where they are at hand; else {"custom_id":...} of
	 * those that failed or are stale.  NULL: not wanted.
	 */
	const char	*requeue;
	/*
	 * Whose results are out of date, and no better than none: lines,
	 * each a custom_id to the byte, or a glob (* ? [...]) that it
	 * matches; empty ones and those that start with # are nothing.
	 * NULL: none.
	 */
	const char	*stale;
	size_t		 stale_len;
};

/* requested = ok + failed + missing + stale. */
struct batch_joined {
	uint64_t	requested, ok, failed, missing, stale;
	/* some of the ids, and what the first error says; "" none */
	char		text[BATCH_JOIN_TEXT];
};

/*
 * 0, however many have failed; -1 with *e: 65 what was read, 74 or 75 the
 * machine.  e->text names the file ("output file: line 3 ...").
 */
int	batch_join(const struct batch_join *j, struct batch_joined *r,
	    struct err *e);
/* Is it a list that stale can be?  64 with what is wrong with it. */
int	batch_join_stale(const char *list, size_t len, struct err *e);

#endif
