/*
 * db: opening SQLite databases and reading its result codes.  It holds no
 * schema and knows no table.
 *
 * The pragmas for files from outside follow sqlite.org/security.html.
 * SPDX-License-Identifier: ISC
 */
#include "db.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define DB_BUSY_TRIES 12000	/* at a lock of a shared database: a minute */
#define DB_BUSY_MIN 1		/* ms between two of them */
#define DB_BUSY_MAX 9
#define DB_PAGE 32768		/* bytes of a page in stores we build */

int
db_status(int rc, int *data)
{
	int	d = 0, st;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		st = 0;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR:	/* no such table, malformed schema */
	case SQLITE_MISMATCH:
	case SQLITE_TOOBIG:
	case SQLITE_FORMAT:
	case SQLITE_CONSTRAINT:
	case SQLITE_AUTH:
		d = 1;
		st = MSG_DATAERR;
		break;
	case SQLITE_CANTOPEN:
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
	case SQLITE_SCHEMA:
	case SQLITE_INTERRUPT:
		st = MSG_TEMPFAIL;
		break;
	case SQLITE_PERM:
	case SQLITE_READONLY:
		st = MSG_NOPERM;
		break;
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
	case SQLITE_INTERNAL:
		st = MSG_SOFTWARE;
		break;
	default: /* IOERR FULL NOMEM NOLFS and what comes later */
		st = MSG_IOERR;
		break;
	}
	/* a short read is a file cut off, not a disk at fault */
	if (rc == SQLITE_IOERR_SHORT_READ) {
		d = 1;
		st = MSG_DATAERR;
	}
	if (data != NULL)
		*data = d;
	return st;
}

/*
 * SQLite takes a read that fails with one of these for a corrupt file
 * system and calls the database malformed.  The last one's errno, or 0.
 */
static int
read_errno(sqlite3 *db)
{
	int	n = 0;

	if (db == NULL || sqlite3_file_control(db, "main",
	    SQLITE_FCNTL_LAST_ERRNO, &n) != SQLITE_OK)
		return 0;
	return n == EIO || n == ENXIO || n == ERANGE ? n : 0;
}

/*
 * Where SQLite cannot open a file for writing, for whatever reason, it opens
 * it for reading alone, and says so at the first write.  1: its permissions
 * were not the reason.
 */
static int
may_be_written(sqlite3 *db)
{
	const char	*path = sqlite3_db_filename(db, "main");

	return path != NULL && *path != '\0' && access(path, W_OK) == 0;
}

int
db_err(struct sqlite3 *db, const char *name, struct err *e)
{
	int	rc = db != NULL ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
	int	n = read_errno(db);

	if (n != 0)
		return err_set(e, MSG_IOERR, "%s: read: %s", name,
		    strerror(n));
	if (rc == SQLITE_READONLY && may_be_written(db))
		return err_set(e, MSG_IOERR, "%s: sqlite: it may be written, "
		    "and could not be opened for that", name);
	/* sqlite3_deserialize says no more than that it failed */
	if (rc == SQLITE_OK)
		rc = SQLITE_NOMEM;
	return err_set(e, db_status(rc, NULL), "%s: sqlite: %s (code %d)",
	    name, rc != SQLITE_NOMEM ? sqlite3_errmsg(db) : "out of memory",
	    rc);
}

int
db_row_fault(struct sqlite3 *db, const char *row, const char *name,
    struct err *e)
{
	static const char	 key[] = "error code=";
	const char		*s = row;
	int			 rc, data;

	if (read_errno(db) != 0)
		return db_err(db, name, e);
	if (s == NULL)
		return 0;
	while ((s = strstr(s, key)) != NULL) {
		s += sizeof(key) - 1;
		for (rc = 0; *s >= '0' && *s <= '9' && rc < 100000; s++)
			rc = rc * 10 + (*s - '0');
		if (db_status(rc, &data) != 0 && !data)
			return err_set(e, db_status(rc, NULL), "%s: sqlite: "
			    "%.200s", name, row);
	}
	return 0;
}

int
db_exec(struct sqlite3 *db, const char *sql, const char *name, struct err *e)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_err(db, name, e);
	return 0;
}

struct sqlite3_stmt *
db_prepare(struct sqlite3 *db, const char *sql, const char *name,
    struct err *e)
{
	sqlite3_stmt	*st = NULL;

	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st,
	    NULL) != SQLITE_OK) {
		db_err(db, name, e);
		return NULL;
	}
	return st;
}

int
db_step(struct sqlite3_stmt *st, const char *name, struct err *e)
{
	int	rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return db_err(sqlite3_db_handle(st), name, e);
}

int
db_int(struct sqlite3 *db, const char *sql, const char *name, int64_t *out,
    struct err *e)
{
	sqlite3_stmt	*st = db_prepare(db, sql, name, e);
	int		 r;

	if (st == NULL)
		return -1;
	r = db_step(st, name, e);
	if (r == 1)
		*out = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return r;
}

/* These names are banned elsewhere: not as macros, then. */
const char *
db_text(struct sqlite3_stmt *st, int i)
{
	const unsigned char	*s = (sqlite3_column_text)(st, i);

	if (s == NULL && sqlite3_column_type(st, i) != SQLITE_NULL)
		mem_die((size_t)sqlite3_column_bytes(st, i) + 1);
	return (const char *)s;
}

const char *
db_value_text(struct sqlite3_value *v)
{
	const unsigned char	*s = (sqlite3_value_text)(v);

	if (s == NULL && sqlite3_value_type(v) != SQLITE_NULL)
		mem_die((size_t)sqlite3_value_bytes(v) + 1);
	return (const char *)s;
}

void
db_bind_str(struct sqlite3_stmt *st, int i, const char *s)
{
	if (sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC) != SQLITE_OK)
		mem_die(s != NULL ? strlen(s) + 1 : 0);
}

void
db_set_tmpdir(const char *dir)
{
	char	*old = sqlite3_temp_directory;

	sqlite3_temp_directory = NULL;
	if (dir != NULL) {
		sqlite3_temp_directory = sqlite3_mprintf("%s", dir);
		/* without, it would spill where it likes */
		if (sqlite3_temp_directory == NULL)
			mem_die(strlen(dir) + 1);
	}
	sqlite3_free(old);
}

/* What may not happen to us while we read a stranger's file. */
static int
harden(sqlite3 *db, const char *path, struct err *e)
{
	static const struct {
		int	op, on;
	} conf[] = {
		{ SQLITE_DBCONFIG_DEFENSIVE, 1 },
		{ SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
		{ SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
		{ SQLITE_DBCONFIG_ENABLE_VIEW, 0 },
		{ SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
		{ SQLITE_DBCONFIG_ENABLE_FKEY, 0 },
		{ SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0 },
	};
	static const struct {
		int	id, val;
	} lim[] = {
		{ SQLITE_LIMIT_LENGTH, 64 << 20 },
		{ SQLITE_LIMIT_SQL_LENGTH, 1 << 20 },
		{ SQLITE_LIMIT_COLUMN, 200 },
		{ SQLITE_LIMIT_EXPR_DEPTH, 100 },
		{ SQLITE_LIMIT_COMPOUND_SELECT, 10 },
		{ SQLITE_LIMIT_VDBE_OP, 250000 },
		{ SQLITE_LIMIT_FUNCTION_ARG, 16 },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100 },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 1 },
		{ SQLITE_LIMIT_WORKER_THREADS, 0 },
	};
	size_t	i;

	for (i = 0; i < sizeof(conf) / sizeof(conf[0]); i++)
		if (sqlite3_db_config(db, conf[i].op, conf[i].on, NULL) !=
		    SQLITE_OK)
			return db_err(db, path, e);
	for (i = 0; i < sizeof(lim) / sizeof(lim[0]); i++)
		(void)sqlite3_limit(db, lim[i].id, lim[i].val);
	return db_exec(db, "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0",
	    path, e);
}

/*
 * Tries at even, short and odd times.  SQLite's own waits grow to 100 ms
 * and are the same for all: where many write without a pause, those who
 * wait longest get the lock last, or never.
 */
static int
busy(void *arg, int tries)
{
	struct timespec	ts = { 0, 0 };
	unsigned int	r;

	(void)arg;
	if (tries >= DB_BUSY_TRIES)
		return 0;
	sqlite3_randomness(sizeof(r), &r);
	ts.tv_nsec = 1000000L * DB_BUSY_MIN +
	    (long)(r % ((DB_BUSY_MAX - DB_BUSY_MIN) * 1000)) * 1000;
	(void)nanosleep(&ts, NULL);
	return 1;
}

static int
pragmas(sqlite3 *db, const char *path, enum db_mode mode,
    unsigned int cache_kib, struct err *e)
{
	const char	*temp = sqlite3_temp_directory != NULL ? "FILE" :
			    "MEMORY";
	char		 sql[256];

	if (cache_kib == 0)
		cache_kib = 2048;
	(void)snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%u;"
	    "PRAGMA temp_store=%s", cache_kib, temp);
	switch (mode) {
	case DB_STRANGER:
	case DB_FROZEN:
	case DB_MEMORY:
	case DB_RECOVER:
		if (harden(db, path, e) == -1)
			return -1;
		break;
	case DB_CHANGE:
		(void)snprintf(sql, sizeof(sql),
		    "PRAGMA journal_mode=OFF;"
		    "PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
		    "PRAGMA cache_size=-%u; PRAGMA temp_store=%s",
		    cache_kib, temp);
		/* in this order: a defensive handle keeps its journal */
		if (db_exec(db, sql, path, e) == -1)
			return -1;
		return harden(db, path, e);
	case DB_BUILD:
		(void)snprintf(sql, sizeof(sql),
		    "PRAGMA page_size=%d; PRAGMA journal_mode=OFF;"
		    "PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
		    "PRAGMA cache_size=-%u; PRAGMA temp_store=%s",
		    DB_PAGE, cache_kib, temp);
		break;
	case DB_SHARED:
	case DB_SHARED_DELETE:
		(void)sqlite3_busy_handler(db, busy, NULL);
		(void)snprintf(sql, sizeof(sql),
		    "PRAGMA journal_mode=%s; PRAGMA synchronous=FULL;"
		    "PRAGMA foreign_keys=ON; PRAGMA cache_size=-%u",
		    mode == DB_SHARED ? "WAL" : "DELETE", cache_kib);
		break;
	}
	return db_exec(db, sql, path, e);
}

/* path as a URI that says that the file does not change. */
static char *
frozen(const char *path)
{
	struct buf	 b;
	const char	*s;
	char		*rv;

	buf_init(&b, SIZE_MAX / 4);
	buf_str(&b, "file:");
	for (s = path; *s != '\0'; s++) {
		if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		    (*s >= '0' && *s <= '9') || strchr("/._-", *s) != NULL)
			buf_addc(&b, *s);
		else
			buf_printf(&b, "%%%02X", (unsigned char)*s);
	}
	buf_str(&b, "?immutable=1");
	rv = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return rv;
}

/* The bytes of the file at path, in memory of SQLite's, and their count. */
static unsigned char *
read_whole(const char *path, sqlite3_int64 *size, struct err *e)
{
	struct stat	 st;
	unsigned char	*p = NULL;
	ssize_t		 n;
	int		 fd;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1) {
		err_sys(e, errno, "%s", path);
		goto done;
	}
	if (st.st_size > (off_t)DB_MEMORY_MAX) {
		err_sys(e, EFBIG, "%s", path);
		goto done;
	}
	p = sqlite3_malloc64((sqlite3_uint64)st.st_size + 1);
	if (p == NULL) {
		err_sys(e, ENOMEM, "%s", path);
		goto done;
	}
	n = io_pread(fd, p, (size_t)st.st_size, 0);
	*size = n;
	if (n == st.st_size)
		goto done;
	if (n == -1)
		err_sys(e, errno, "%s: read", path);
	else
		err_set(e, MSG_DATAERR, "%s: cut off while it was read",
		    path);
	sqlite3_free(p);
	p = NULL;
done:
	if (fd != -1)
		(void)close(fd);
	return p;
}

/* db, which is empty, holds what the file at path does. */
static int
fill(sqlite3 *db, const char *path, struct err *e)
{
	sqlite3_int64	 n = 0;
	unsigned char	*p = read_whole(path, &n, e);

	if (p == NULL)
		return -1;
	/* db frees it, also when this fails */
	if (sqlite3_deserialize(db, "main", p, n, n,
	    SQLITE_DESERIALIZE_FREEONCLOSE) != SQLITE_OK)
		return db_err(db, path, e);
	return 0;
}

struct sqlite3 *
db_open(const char *path, enum db_mode mode, unsigned int cache_kib,
    struct err *e)
{
	struct stat	 st;
	sqlite3		*db = NULL;
	int		 flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int		 rc;
	char		*uri = NULL;

	switch (mode) {
	case DB_STRANGER:
		/* SQLITE_OPEN_NOFOLLOW would refuse a link in any part of
		   the path: staging or a target may well be behind one */
		if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
			err_set(e, MSG_DATAERR, "%s: a symbolic link: want "
			    "the database itself", path);
			return NULL;
		}
		flags |= SQLITE_OPEN_READONLY;
		break;
	case DB_FROZEN:
		/* the caller has looked at the file itself */
		flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
		uri = frozen(path);
		break;
	case DB_MEMORY:
		flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY;
		break;
	case DB_RECOVER:
	case DB_CHANGE:
		flags |= SQLITE_OPEN_READWRITE;
		break;
	case DB_BUILD:
	case DB_SHARED:
	case DB_SHARED_DELETE:
		flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
		break;
	}
	rc = sqlite3_open_v2(uri != NULL ? uri : path, &db, flags, NULL);
	free(uri);
	if (rc != SQLITE_OK) {
		db_err(db, path, e);
		sqlite3_close(db);
		return NULL;
	}
	if ((mode == DB_MEMORY && fill(db, path, e) == -1) ||
	    pragmas(db, path, mode, cache_kib, e) == -1) {
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

int
db_close(struct sqlite3 *db, const char *path, struct err *e)
{
	if (db == NULL)
		return 0;
	if (sqlite3_close(db) != SQLITE_OK) {
		db_err(db, path, e);
		sqlite3_close_v2(db);
		return -1;
	}
	return 0;
}
