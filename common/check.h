/*
 * check: is this store what it must be?  Structure and meaning of one
 * input (DESIGN section 7), run by dcheck's workers and by dmerge on what
 * it wrote.  It judges; it mends nothing.
 *
 * Three answers, never mixed: accepted, refused (a verdict), or the
 * machine failed (an error; nothing is said of the input).
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHECK_H
#define D_CHECK_H

#include <stdint.h>

#include "item.h"
#include "store.h"

/* Why an input is refused.  Names and sentences: check_code_name. */
enum check_code {
	CHECK_OK,
	CHECK_SIZE,	/* size is not what was promised, or 0 bytes */
	CHECK_DIGEST,	/* SHA-256 is not what was promised */
	CHECK_MISSING,	/* a file that must be there is not */
	CHECK_UNSAFE,	/* link, device, or a path that leaves its directory */
	CHECK_ARCHIVE,	/* archive cannot be read to its end */
	CHECK_LIMIT,	/* over one of our limits */
	CHECK_FORMAT,	/* no format we know */
	CHECK_NOTADB,	/* not a SQLite database */
	CHECK_TORN,	/* truncated, or size is not the header's */
	CHECK_HOT,	/* its writer died or still had it open */
	CHECK_CORRUPT,	/* quick_check or a read found damage */
	CHECK_SCHEMA,	/* tables, columns, migrations, application_id */
	CHECK_COLLECTION, /* none, or one whose rows do not hang together */
	CHECK_SEGMENT,	/* segments missing, doubled, unknown, orphans */
	CHECK_QUEUE,	/* a queue row that Chroma would choke on */
	CHECK_SEQ,	/* sequence numbers that lose later writes */
	CHECK_INDEX,	/* HNSW files needed and torn, absent, disagreeing */
	CHECK_VECTOR,	/* record without vector, vector without record,
			   wrong dimension, NaN or infinity */
	CHECK_METADATA,	/* metadata, documents, full-text rows disagree */
	CHECK_UTF8,	/* text that is not UTF-8 */
	CHECK_DUPLICATE, /* one id twice */
	CHECK_COUNT,	/* not the number of records promised */
	CHECK_EMPTY,	/* well formed, but no record */
	CHECK_BATCH,	/* a result line that is no embedding */
	CHECK_MANIFEST,	/* manifest.json does not describe this store */
	CHECK_LEDGER,	/* ledger.sqlite3 does not describe it */
	CHECK_BASE,	/* dimension, space or model is not the base's */
	CHECK_HOOK,	/* -x said no */
	CHECK_CRASH,	/* the worker died on it */
	CHECK_TIMEOUT	/* the worker did not come to an end */
};
#define CHECK_N (CHECK_TIMEOUT + 1)

struct check_verdict {
	enum check_code	 code;
	char		 reason[400];	/* wanted and got; no newline */
};

const char *check_code_name(enum check_code c);	/* "hot", "torn" ... */
enum check_code check_code_parse(const char *s); /* CHECK_N: none */
/* What an operator may do about it, a shell command or a sentence. */
const char *check_code_mend(enum check_code c);

/* Fill v unless it already holds a refusal; always returns 1. */
int	check_refuse(struct check_verdict *v, enum check_code c,
	    const char *fmt, ...) MSG_PRINTF(3, 4);

/* What was seen in an accepted store. Free with check_summary_clear. */
struct check_summary {
	uint64_t		 records;	/* live */
	uint64_t		 tombstones;
	struct item_coll	*colls;		/* sorted by name */
	size_t			 n_colls;
	unsigned char		 content[HASH_LEN]; /* sorted stores only */
	int			 has_content;
};
void	check_summary_clear(struct check_summary *s);

#define CHECK_ALLOW_EMPTY 1
#define CHECK_RECOVER_HOT 2	/* path is a private copy, writable */
#define CHECK_OURS 4		/* we just made it: every record is read and
				   counted, but its digest is not made again
				   and unused pages are not looked for;
				   whoever reads it next does both.  Of a
				   ChromaDB directory no document and no
				   vector is read, and its manifest may not
				   be there yet */

/*
 * Structure and meaning of the unpacked store at path, every record read.
 * 0 accepted (*s filled), 1 refused (*v filled), -1 the machine (*e).
 */
int	check_store(const char *path, enum store_format format, int flags,
	    struct check_summary *s, struct check_verdict *v, struct err *e);

struct chroma;
/*
 * The formats' own structure checks, called first by check_store; same
 * answers.  After 0 the records are read through store.h and judged one
 * by one (finite, UTF-8, sizes, order, digests).  chroma_check leaves the
 * directory open in *c after 0 (NULL: it is closed), for chroma_store.
 */
int	chroma_check(const char *path, int flags, struct chroma *c,
	    struct check_verdict *v, struct err *e);
struct chroma_once;
/*
 * The same, but with *o not NULL the directory is accepted only when its
 * records, read by chroma_store from *c to their end, were, and then
 * chroma_once_end returns 0: one walk and one look at each row serve both.
 * Where any of this says 1 no verdict is given: chroma_check gives it, from
 * the start.  *o is freed after the store was closed.
 */
int	chroma_check_once(const char *path, int flags, struct chroma *c,
	    struct chroma_once **o, struct check_verdict *v, struct err *e);
/* The store is at its end, and still open. */
int	chroma_once_end(struct chroma_once *o, struct err *e);
void	chroma_once_free(struct chroma_once *o);
int	dstore_check(const char *path, int flags, struct check_verdict *v,
	    struct err *e);
int	batch_check(const char *path, int flags, struct check_verdict *v,
	    struct err *e);

#endif
