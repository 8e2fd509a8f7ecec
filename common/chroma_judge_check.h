/*
 * chroma_judge_check: what all parts of chroma_check stand on: the judge
 * that they share, refusing, and questions that have one answer.
 *
 * A part returns 0 fine, 1 refused (j->v says why, the first one stays), or
 * -1 the machine failed (*j->e); it frees what it took.  Texts name no path
 * of the input, which the caller names.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_JUDGE_CHECK_H
#define D_CHROMA_JUDGE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "chroma.h"
#include "msg.h"

struct sqlite3;
struct sqlite3_stmt;

#define JUDGE_SHOWN 80		/* bytes of an id in a reason */

/* ChromaDB's three series of migrations. */
enum judge_series {
	SYSDB,
	METADB,
	QUEUE
};
#define JUDGE_SERIES 3

/* Whoever makes it clears c and ours. */
struct judge {
	struct chroma		 c;
	const char		*path;
	int			 flags;		/* CHECK_* */
	struct check_verdict	*v;
	struct err		*e;
	int			 version[JUDGE_SERIES];
	struct chroma_ours	 ours;		/* when c.ours */
	int			 light;	/* CHECK_OURS of such a one */
	int			 meta_seen;	/* each row was judged */
	int			 docs_known;
	int64_t			 docs;	/* rows that are documents */
};

#define REFUSE(code, ...) check_refuse(j->v, (code), __VA_ARGS__)

/* s without the input's path; a view into it. */
const char *judge_bare(const struct judge *j, const char *s);
/*
 * The error in j->e: 1 when it speaks of the content, which is then refused
 * with code (corrupt, when SQLite says so), else -1.
 */
int	judge_fault(struct judge *j, enum check_code code);
/* Printable start of the text in column col. */
const char *judge_shown(struct sqlite3_stmt *st, int col,
	    char out[JUDGE_SHOWN]);
/*
 * The text in column i, NULL when it has another type, which is asked for
 * first: what is a blob is a text as soon as it was read as one.
 */
const char *judge_text(struct sqlite3_stmt *st, int i, size_t *n);
/* First column of the only row, 0 when there is none. */
int	judge_number(struct judge *j, const char *sql, int64_t *out);
/* Refused when sql gives a row: its first column stands between the texts. */
int	judge_none(struct judge *j, const char *sql, enum check_code code,
	    const char *before, const char *after);
/* SQLite's own check of the database at path, which reasons call name. */
int	judge_pages(struct judge *j, struct sqlite3 *db, const char *path,
	    const char *name);

#endif
