/*
 * chroma_judge_check: refusing, and questions to the database that have one
 * answer.  It knows SQLite, and no table of ChromaDB's.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_judge_check.h"

#include <string.h>

#include <sqlite3.h>

#include "db.h"
#include "banned.h"

const char *
judge_bare(const struct judge *j, const char *s)
{
	size_t	n = strlen(j->path);

	if (s == NULL || strncmp(s, j->path, n) != 0)
		return s;
	if (s[n] == '/')
		return s + n + 1;
	return s[n] == ':' && s[n + 1] == ' ' ? s + n + 2 : s;
}

int
judge_fault(struct judge *j, enum check_code code)
{
	const char	*s = judge_bare(j, j->e->text);

	if (j->e->code != MSG_DATAERR)
		return -1;
	if (strstr(s, "sqlite: ") != NULL)
		code = CHECK_CORRUPT;
	check_refuse(j->v, code, "%s", s);
	memset(j->e, 0, sizeof(*j->e));
	return 1;
}

const char *
judge_shown(sqlite3_stmt *st, int col, char out[JUDGE_SHOWN])
{
	const char	*p = db_text(st, col);
	size_t		 i;

	for (i = 0; p != NULL && p[i] != '\0' && i < JUDGE_SHOWN - 4; i++)
		out[i] = p[i] < 0x20 || p[i] > 0x7e ? '?' : p[i];
	out[i] = '\0';
	return out;
}

int
judge_number(struct judge *j, const char *sql, int64_t *out)
{
	*out = 0;
	if (db_int(j->c.db, sql, j->c.file, out, j->e) == -1)
		return judge_fault(j, CHECK_CORRUPT);
	return 0;
}

int
judge_none(struct judge *j, const char *sql, enum check_code code,
    const char *before, const char *after)
{
	sqlite3_stmt	*st;
	char		 b[JUDGE_SHOWN];
	int		 r;

	st = db_prepare(j->c.db, sql, j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	r = db_step(st, j->c.file, j->e);
	if (r == -1)
		r = judge_fault(j, CHECK_CORRUPT);
	else if (r == 1)
		REFUSE(code, "%s%s%s", before, judge_shown(st, 0, b), after);
	sqlite3_finalize(st);
	return r;
}

const char *
judge_text(sqlite3_stmt *st, int i, size_t *n)
{
	const char	*p;

	if (sqlite3_column_type(st, i) != SQLITE_TEXT)
		return NULL;
	p = db_text(st, i);
	*n = (size_t)sqlite3_column_bytes(st, i);
	return p;
}

int
judge_pages(struct judge *j, struct sqlite3 *db, const char *path,
    const char *name)
{
	sqlite3_stmt	*st;
	const char	*s;
	int		 r;

	/* a superset of quick_check: indexes hold what their tables hold */
	st = db_prepare(db, "PRAGMA integrity_check(1)", path, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_CORRUPT);
	r = db_step(st, path, j->e);
	if (r == -1)
		r = judge_fault(j, CHECK_CORRUPT);
	else {
		s = r == 1 ? db_text(st, 0) : NULL;
		r = 0;
		if (s == NULL || strcmp(s, "ok") != 0)
			r = db_row_fault(db, s, path, j->e) == -1 ?
			    -1 : REFUSE(CHECK_CORRUPT, "%s: %.300s",
			    name, s == NULL ?
			    "no answer to integrity_check" :
			    strchr(s, '\n') != NULL ? strchr(s, '\n') + 1 :
			    s);
	}
	sqlite3_finalize(st);
	return r;
}
