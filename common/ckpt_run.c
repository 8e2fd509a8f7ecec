/*
 * ckpt_run: what runs are, how they ended, and that they are still at it.
 * It starts none.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_db.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "hide.h"
#include "io.h"
#include "path.h"
#include "banned.h"

#define RUN_PATH_MAX	4096	/* bytes of a database's or staging's path */

/* "STAGING/checkpoints" of our drun, in b: 1; 0 there is none. */
static int
links_dir(struct buf *b)
{
	const char	*run = getenv("DRUN_ID"), *dir = getenv("DSTAGE");

	if (run == NULL || *run == '\0' || dir == NULL || *dir != '/')
		return 0;
	buf_printf(b, "%s/" CKPT_LINKS, dir);
	return !b->over;
}

/*
 * drun and the commit know it by that.  Where it cannot be left, they still
 * know DCKPT_DB: a memory is not worth a run.
 */
void
ckpt_db_tell_run(const struct ckpt *c)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	char		*path = path_from_url(c->path, &e);

	buf_init(&b, RUN_PATH_MAX);
	if (path != NULL && links_dir(&b) &&
	    (mkdir(buf_cstr(&b), 0700) == 0 || errno == EEXIST)) {
		buf_printf(&b, "/%llx.%llx", (unsigned long long)c->dev,
		    (unsigned long long)c->ino);
		if (!b.over)
			(void)symlink(path, buf_cstr(&b));
	}
	buf_free(&b);
	free(path);
}

/* How many links there were. */
static size_t
each_link(void (*f)(const char *path, void *arg), void *arg)
{
	struct dirent	*d;
	struct buf	 b;
	char		 path[RUN_PATH_MAX];
	size_t		 seen = 0;
	ssize_t		 n;
	DIR		*dir = NULL;

	buf_init(&b, RUN_PATH_MAX);
	if (links_dir(&b))
		dir = opendir(buf_cstr(&b));
	while (dir != NULL && (d = readdir(dir)) != NULL) {
		n = readlinkat(dirfd(dir), d->d_name, path,
		    sizeof(path) - 1);
		if (n <= 0)
			continue; /* "." */
		path[n] = '\0';
		f(path, arg);
		seen++;
	}
	if (dir != NULL)
		(void)closedir(dir);
	buf_free(&b);
	return seen;
}

void
ckpt_run_each(const char *path, void (*f)(const char *path, void *arg),
    void *arg)
{
	const char	*env = getenv("DCKPT_DB");

	if (path != NULL)
		f(path, arg);
	else if (each_link(f, arg) == 0 && env != NULL && *env != '\0')
		f(env, arg);
}

int
ckpt_run_note(struct ckpt *c, const char *run, const char *command,
    const char *cwd, struct err *e)
{
	sqlite3_stmt	*st;
	char		*kept;
	int		 rv = -1;

	if (c == NULL || run == NULL)
		return 0;
	if (command != NULL && (strlen(command) > CKPT_COMMAND_MAX ||
	    !path_utf8(command, strlen(command))))
		command = NULL; /* not to be shown, nor run again */
	if (cwd != NULL && !path_utf8(cwd, strlen(cwd)))
		command = cwd = NULL;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	kept = command != NULL ? hide_text(command) : NULL;
	st = ckpt_db_stmt(c, CKPT_ST_RUN, e);
	if (st != NULL) {
		ckpt_db_str(st, 1, run);
		ckpt_db_str(st, 2, c->pipeline);
		ckpt_db_str(st, 3, kept);
		ckpt_db_str(st, 4, cwd);
		ckpt_db_str(st, 5, c->self.host);
		ckpt_db_int(st, 6, c->now);
		rv = db_step(st, c->path, e);
	}
	rv = ckpt_db_leave(c, rv, e);
	free(kept);
	return rv;
}

int
ckpt_run_end(struct ckpt *c, const char *run, const struct ckpt_run_end *r,
    struct err *e)
{
	sqlite3_stmt	*st;
	char		*kept;
	int		 rv = -1;

	if (c == NULL || run == NULL)
		return 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	kept = r->summary != NULL ? hide_json(r->summary) : NULL;
	st = ckpt_db_stmt(c, CKPT_ST_RUN_END, e);
	if (st != NULL) {
		ckpt_db_str(st, 1, run);
		ckpt_db_str(st, 2, c->pipeline);
		ckpt_db_str(st, 3, c->self.host);
		ckpt_db_int(st, 4, r->started != 0 ? r->started : c->now);
		ckpt_db_int(st, 5, r->ended != 0 ? r->ended : c->now);
		ckpt_db_int(st, 6, r->status);
		ckpt_db_some(st, 7, (int64_t)r->records);
		ckpt_db_some(st, 8, (int64_t)r->bytes);
		ckpt_db_str(st, 9, kept);
		rv = db_step(st, c->path, e);
	}
	rv = ckpt_db_leave(c, rv, e);
	free(kept);
	return rv;
}

int
ckpt_beat(struct ckpt *c, const char *run, struct err *e)
{
	sqlite3_stmt	*st;
	int64_t		 now = io_wall_ns() / 1000000;
	int		 rv = -1;

	if (c == NULL || run == NULL ||
	    (c->beat <= now && now - c->beat < c->lease_ms / CKPT_BEATS))
		return 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	st = ckpt_db_stmt(c, CKPT_ST_BEAT, e);
	if (st != NULL) {
		ckpt_db_str(st, 1, run);
		ckpt_db_int(st, 2, c->now + c->lease_ms);
		rv = db_step(st, c->path, e);
	}
	if (rv != -1)
		c->beat = c->now;
	return ckpt_db_leave(c, rv, e);
}

int
ckpt_beat_wait(const struct ckpt *c)
{
	int64_t	due = c->beat + c->lease_ms / CKPT_BEATS -
		    io_wall_ns() / 1000000;

	return due < 1 ? 1 : due > INT_MAX ? INT_MAX : (int)due;
}

int
ckpt_runs(struct ckpt *c, const char *pipeline,
    int (*f)(const struct ckpt_run *r, void *arg), void *arg,
    struct err *e)
{
	struct ckpt_run	 r;
	sqlite3_stmt	*st;
	int		 rv;

	st = db_prepare(c->db, "SELECT id, pipeline, command, cwd, host,"
	    " started, ended, status, records, bytes, summary FROM run AS r"
	    " WHERE ended IS NOT NULL AND (?1 IS NULL OR pipeline = ?1)"
	    " AND NOT EXISTS (SELECT 1 FROM run AS s"
	    " WHERE s.pipeline = r.pipeline AND s.ended IS NOT NULL"
	    " AND (s.ended, s.id) > (r.ended, r.id)) ORDER BY pipeline",
	    c->path, e);
	if (st == NULL)
		return -1;
	ckpt_db_str(st, 1, pipeline);
	while ((rv = db_step(st, c->path, e)) == 1) {
		memset(&r, 0, sizeof(r));
		r.id = ckpt_db_col(st, 0);
		r.pipeline = ckpt_db_col(st, 1);
		r.command = ckpt_db_col(st, 2);
		r.cwd = ckpt_db_col(st, 3);
		r.host = ckpt_db_col(st, 4);
		r.started = sqlite3_column_int64(st, 5);
		r.ended = sqlite3_column_int64(st, 6);
		r.status = sqlite3_column_int(st, 7);
		r.records = (uint64_t)sqlite3_column_int64(st, 8);
		r.bytes = (uint64_t)sqlite3_column_int64(st, 9);
		r.summary = ckpt_db_col(st, 10);
		if (f(&r, arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return rv == -1 ? -1 : 0;
}
