/*
 * ckpt_db: the database below ckpt.h, for the modules that make it up
 * (ckpt_open, ckpt_unit, ckpt_ask, ckpt_run, ckpt_breaker) and nobody else:
 * the handle, transactions, statements.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_DB_H
#define D_CKPT_DB_H

#include <sys/types.h>

#include "ckpt.h"
#include "ckpt_owner.h"

#define CKPT_TOOL_MAX	64	/* bytes of "dfetch 0.1.0" */

struct sqlite3;
struct sqlite3_stmt;

/* Statements that live as long as the handle. */
enum ckpt_stmt {
	CKPT_ST_FIND,
	CKPT_ST_INSERT,
	CKPT_ST_START,
	CKPT_ST_RENEW,
	CKPT_ST_COUNT_TRY,
	CKPT_ST_DONE,
	CKPT_ST_FAIL,
	CKPT_ST_TRY,
	CKPT_ST_TRY_END,
	CKPT_ST_TRY_ENDED,
	CKPT_ST_TRY_OPEN,
	CKPT_ST_TRY_ABANDON,
	CKPT_ST_TRY_FORGET,
	CKPT_ST_COUNT_LESS,
	CKPT_ST_RELEASE,
	CKPT_ST_RELEASE_TRY,
	CKPT_ST_FINISH,
	CKPT_ST_FINISH_TRY,
	CKPT_ST_NOTE,
	CKPT_ST_FORCED,
	CKPT_ST_ASIDE,
	CKPT_ST_BEAT,
	CKPT_ST_RUN,
	CKPT_ST_RUN_END,
	CKPT_ST_BREAKER,
	CKPT_ST_BREAKER_PUT,
	CKPT_ST_N
};

/* SQL: has the owner of a unit in progress left it? */
#define CKPT_STALE "ckpt_stale(lease, host, place, pid, born, pgid, pgborn)"

struct ckpt {
	struct ckpt		*next;	/* of those this process has open */
	dev_t			 dev;
	ino_t			 ino;
	int			 wal;
	/* may be written; may not; nor may its directory, and has no log */
	enum { CKPT_RW, CKPT_RO, CKPT_STILL } how;
	struct sqlite3		*db;
	struct sqlite3_stmt	*st[CKPT_ST_N];
	char			*path;
	char			*pipeline;
	char			*root;		/* keys are relative to it */
	struct ckpt_owner	 self;
	char			 tool[CKPT_TOOL_MAX];
	int64_t			 lease_ms;
	int64_t			 now;	/* ms, of the call under way */
	int64_t			 beat;	/* ms, when leases were renewed */
	int			 begun;	/* by ckpt_begin */
	int			 noted;	/* the run has said what it is */
	/* the owner last looked at, and when: most units have the same */
	struct ckpt_owner	 seen;
	int64_t			 seen_at, seen_lease;
	int			 seen_gone;
};

/* Functions of ours that the statements, and older schemas, call. */
int	ckpt_db_functions(struct ckpt *c, struct err *e);
/* Leave a link in the staging of our drun (ckpt_run_each). */
void	ckpt_db_tell_run(const struct ckpt *c);
/* Each change begins with enter and ends in leave; a caller's own holds. */
int	ckpt_db_enter(struct ckpt *c, struct err *e);
int	ckpt_db_leave(struct ckpt *c, int rv, struct err *e);
/* The statement, reset and without bindings; NULL: *e. */
struct sqlite3_stmt *ckpt_db_stmt(struct ckpt *c, enum ckpt_stmt i,
	    struct err *e);
/* NULL, and 0 of the _some kind, leave NULL. Borrowed until the step. */
void	ckpt_db_str(struct sqlite3_stmt *st, int i, const char *s);
void	ckpt_db_int(struct sqlite3_stmt *st, int i, int64_t v);
void	ckpt_db_some(struct sqlite3_stmt *st, int i, int64_t v);
/* Run a change; *n gets the rows. */
int	ckpt_db_change(struct ckpt *c, struct sqlite3_stmt *st, int *n,
	    struct err *e);
/* The same where exactly one row must change (70). */
int	ckpt_db_change_one(struct ckpt *c, struct sqlite3_stmt *st,
	    const char *key, struct err *e);
const char *ckpt_db_col(struct sqlite3_stmt *st, int i);
/* A key as it is kept, for the caller to free, or NULL (64). */
char	*ckpt_db_key(struct ckpt *c, enum ckpt_scope scope,
	    const char *key, struct err *e);
/* text in UTF-8 and within bounds, in a buffer of CKPT_TEXT_MAX + 1. */
const char *ckpt_db_text(const char *text, char *b);

#endif
