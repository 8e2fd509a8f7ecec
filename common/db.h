/*
 * db: the door to sqlite3.  Every database is opened here, with every
 * pragma, and every result code becomes one of ours here.
 *
 * CORRUPT, NOTADB and the like are 65; CANTOPEN, BUSY, LOCKED and no
 * descriptors 75; FULL, IOERR, NOMEM 74; PERM, AUTH, READONLY 77.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DB_H
#define D_DB_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

struct sqlite3;
struct sqlite3_stmt;
struct sqlite3_value;

#define DB_MEMORY_MAX (64U << 20)	/* bytes of a copy in memory */

enum db_mode {
	DB_STRANGER,	/* from outside: read-only, defensive, low limits,
			   no mmap, nothing trusted */
	DB_FROZEN,	/* the same of a file that nobody writes and that is
			   known not to be hot: journal, WAL and locks are
			   not looked at */
	DB_MEMORY,	/* a copy of such a file, at most DB_MEMORY_MAX
			   bytes: writable, and nothing reaches the file */
	DB_RECOVER,	/* the same, but writable on a private copy, so that
			   a hot journal is rolled back */
	DB_BUILD,	/* a new file of ours in staging: no journal, no
			   sync, exclusive; the caller fsyncs */
	DB_CHANGE,	/* a private copy of what a stranger may have made,
			   to be changed: hardened as DB_RECOVER, written as
			   DB_BUILD */
	DB_SHARED,	/* ours, many processes: WAL, sync FULL, a minute's
			   wait for locks, created when absent */
	DB_SHARED_DELETE /* the same with a rollback journal: for what lies
			   on a file system that machines share */
};

/*
 * The handle, or NULL.  tmpdir is where SQLite may spill (NULL: memory).
 * cache_kib bounds the page cache; 0 takes 2048.
 */
struct sqlite3 *db_open(const char *path, enum db_mode mode,
	    unsigned int cache_kib, struct err *e);
/* 0, or -1: a statement was left open or the close failed. */
int	db_close(struct sqlite3 *db, const char *path, struct err *e);
/* sqlite3_temp_directory for this process; copies dir. */
void	db_set_tmpdir(const char *dir);

int	db_exec(struct sqlite3 *db, const char *sql, const char *name,
	    struct err *e);
/* NULL on error. Persistent: for statements that live long. */
struct sqlite3_stmt *db_prepare(struct sqlite3 *db, const char *sql,
	    const char *name, struct err *e);
/* 1 a row, 0 done, -1 error. */
int	db_step(struct sqlite3_stmt *st, const char *name, struct err *e);
/* The handle's current error into *e, after "name: "; returns -1. */
int	db_err(struct sqlite3 *db, const char *name, struct err *e);
/* The first column of the first row: 1, 0 no row, -1. */
int	db_int(struct sqlite3 *db, const char *sql, const char *name,
	    int64_t *out, struct err *e);
/*
 * Column i of the row as text that a NUL ends; NULL only where the database
 * has NULL.  SQLite says NULL, too, where it had no memory for that, and
 * then a text would be lost in silence: that dies, as mem.h does.  Lives as
 * long as the row.
 */
const char *db_text(struct sqlite3_stmt *st, int i);
/* The same of an argument of a function. */
const char *db_value_text(struct sqlite3_value *v);
/*
 * Parameter i is s, which may be NULL and must live until the statement is
 * done with; dies without memory.
 */
void	db_bind_str(struct sqlite3_stmt *st, int i, const char *s);
/*
 * The status for an (extended) result code, and 1 in *data when it speaks
 * of the file's content rather than of the machine.
 */
int	db_status(int rc, int *data);
/*
 * A row of quick_check or integrity_check other than "ok" (or NULL): -1
 * and *e when it is the machine that could not read, 0 when it speaks of
 * the content.
 */
int	db_row_fault(struct sqlite3 *db, const char *row, const char *name,
	    struct err *e);

#endif
