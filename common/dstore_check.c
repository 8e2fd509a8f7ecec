/*
 * dstore_check: is this file the store that dstore.c writes?  Form only;
 * records are judged by check.c.
 * SPDX-License-Identifier: ISC
 */
#include "check.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "dstore.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define HEAD 100	/* bytes of a SQLite header (sqlite.org/fileformat) */

/* Size, magic and page count, before SQLite opens it. */
static int
head(const char *path, struct check_verdict *v, struct err *e)
{
	unsigned char	b[HEAD];
	struct stat	st;
	uint64_t	page, pages;
	ssize_t		n;
	int		fd, rv = 1;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 && errno == ENOENT)
		return check_refuse(v, CHECK_MISSING, "%s: missing",
		    DSTORE_FILE);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	if (fstat(fd, &st) == -1 || (n = io_pread(fd, b, HEAD, 0)) == -1) {
		rv = err_sys(e, errno, "%s", path);
		goto done;
	}
	if (n < HEAD) {
		check_refuse(v, n == 0 ? CHECK_SIZE : CHECK_TORN,
		    "%s: %lld bytes", DSTORE_FILE, (long long)st.st_size);
		goto done;
	}
	if (memcmp(b, "SQLite format 3", 16) != 0) {
		check_refuse(v, CHECK_NOTADB, "%s: no SQLite header",
		    DSTORE_FILE);
		goto done;
	}
	page = (uint64_t)b[16] << 8 | b[17];
	if (page == 1)
		page = 65536;
	pages = buf_get_u32(b + 28);
	if (page < 512 || (uint64_t)st.st_size != page * pages) {
		check_refuse(v, CHECK_TORN, "%s: want %llu pages of %llu "
		    "bytes, got %lld bytes", DSTORE_FILE,
		    (unsigned long long)pages, (unsigned long long)page,
		    (long long)st.st_size);
		goto done;
	}
	if (b[18] != 1 || b[19] != 1) {
		check_refuse(v, CHECK_HOT, "%s: in WAL mode: something "
		    "wrote to it after it was made", DSTORE_FILE);
		goto done;
	}
	rv = 0;
done:
	(void)close(fd);
	return rv;
}

/* A journal beside it: somebody opened it for writing. */
static int
beside(const char *path, struct check_verdict *v)
{
	static const char *const	suffix[] = { "-journal", "-wal" };
	struct stat			st;
	struct buf			b;
	size_t				i;
	int				rv = 0;

	buf_init(&b, 16384);
	for (i = 0; i < 2 && rv == 0; i++) {
		buf_reset(&b);
		buf_printf(&b, "%s%s", path, suffix[i]);
		if (lstat(buf_cstr(&b), &st) == 0 && st.st_size > 0)
			rv = check_refuse(v, CHECK_HOT,
			    "%s%s lies beside it", DSTORE_FILE, suffix[i]);
	}
	buf_free(&b);
	return rv;
}

/* What a failed call says: of the content (1), or of the machine (-1). */
static int
judge(struct err *sub, struct check_verdict *v, struct err *e)
{
	if (sub->code == MSG_DATAERR)
		return check_refuse(v, CHECK_CORRUPT, "%s", sub->text);
	*e = *sub;
	return -1;
}

/* The schema is ours to the letter: no trigger, no generated column. */
static int
schema(sqlite3 *db, const char *path, struct check_verdict *v,
    struct err *e)
{
	struct err	 sub = { 0, "" };
	sqlite3_stmt	*st;
	const char	*sql;
	int		 i, k, found = 0, n = 0, rv = 0;

	for (i = 0; dstore_schema[i] != NULL; i++)
		n++;
	st = db_prepare(db, "SELECT sql, name FROM sqlite_schema WHERE sql "
	    "IS NOT NULL", path, &sub);
	if (st == NULL)
		return judge(&sub, v, e);
	while ((k = db_step(st, path, &sub)) == 1) {
		sql = db_text(st, 0);
		for (i = 0; i < n; i++)
			if (sql != NULL && strcmp(sql, dstore_schema[i]) == 0)
				break;
		if (i == n) {
			rv = check_refuse(v, CHECK_SCHEMA,
			    "%s: \"%.80s\" is not of this format",
			    DSTORE_FILE,
			    db_text(st, 1));
			break;
		}
		found++;
	}
	sqlite3_finalize(st);
	if (k == -1)
		return judge(&sub, v, e);
	if (rv == 0 && found != n)
		rv = check_refuse(v, CHECK_SCHEMA, "%s: want %d schema "
		    "objects, got %d", DSTORE_FILE, n, found);
	return rv;
}

static int
quick(sqlite3 *db, const char *path, struct check_verdict *v, struct err *e)
{
	struct err	 sub = { 0, "" };
	sqlite3_stmt	*st;
	const char	*s;
	int		 k, rv = 0;

	st = db_prepare(db, "PRAGMA quick_check(1)", path, &sub);
	if (st == NULL)
		return judge(&sub, v, e);
	k = db_step(st, path, &sub);
	if (k == 1) {
		s = db_text(st, 0);
		if (s == NULL || strcmp(s, "ok") != 0)
			rv = db_row_fault(db, s, path, e) == -1 ? -1 :
			    check_refuse(v, CHECK_CORRUPT,
			    "%s: quick_check: %.200s", DSTORE_FILE,
			    s != NULL ? s : "no answer");
	}
	sqlite3_finalize(st);
	return k == -1 ? judge(&sub, v, e) : rv;
}

int
dstore_check(const char *path, int flags, struct check_verdict *v,
    struct err *e)
{
	struct err	 sub = { 0, "" };
	struct stat	 st;
	struct buf	 b;
	sqlite3		*db = NULL;
	char		*file;
	int64_t		 app = 0, form = 0;
	int		 rv;

	buf_init(&b, 16384);
	buf_str(&b, path);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		buf_str(&b, "/" DSTORE_FILE);
	file = mem_dup(buf_cstr(&b));
	buf_free(&b);
	rv = head(file, v, e);
	if (rv == 0)
		rv = beside(file, v);
	if (rv != 0)
		goto done;
	db = db_open(file, DB_STRANGER, 0, &sub);
	if (db == NULL || db_int(db, "PRAGMA application_id", file, &app,
	    &sub) == -1 || db_int(db, "PRAGMA user_version", file, &form,
	    &sub) == -1) {
		rv = judge(&sub, v, e);
		goto done;
	}
	if (app != DSTORE_APP_ID || form != DSTORE_FORMAT) {
		rv = check_refuse(v, CHECK_SCHEMA, "%s: want application id "
		    "%d and format %d, got %lld and %lld", DSTORE_FILE,
		    DSTORE_APP_ID, DSTORE_FORMAT, (long long)app,
		    (long long)form);
		goto done;
	}
	rv = schema(db, file, v, e);
	if (rv == 0 && (flags & CHECK_OURS) == 0)
		rv = quick(db, file, v, e);
done:
	if (db != NULL)
		sqlite3_close_v2(db);
	free(file);
	return rv;
}
