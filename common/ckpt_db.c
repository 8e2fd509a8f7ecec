/*
 * ckpt_db: the statements, what they call of ours, transactions.  It decides
 * nothing about units.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "ckpt_key.h"
#include "db.h"
#include "io.h"
#include "path.h"
#include "banned.h"

/* Who works on it; the numbers are the same in START, DONE and FAIL. */
#define OWNER \
    "tool = ?2, run = ?3, host = ?4, place = ?5, pid = ?6, born = ?7," \
    " pgid = ?8, pgborn = ?9, updated = ?10"

static const char *const statements[CKPT_ST_N] = {
	[CKPT_ST_FIND] = "SELECT id, state, run IS ?4, " CKPT_STALE ","
	    " digest IS NULL OR ?5 IS NULL OR digest = ?5,"
	    " digest IS NOT NULL AND ?5 IS NOT NULL"
	    " FROM unit WHERE pipeline = ?1 AND scope = ?2 AND key = ?3",
	[CKPT_ST_INSERT] = "INSERT INTO unit (pipeline, scope, key, state,"
	    " created, updated) VALUES (?1, ?2, ?3, 'pending', ?4, ?4)",
	[CKPT_ST_START] = "UPDATE unit SET state = 'in_progress', " OWNER ","
	    " lease = ?11, digest = ?12, began = ?10,"
	    " attempts = attempts + 1, class = NULL, status = NULL,"
	    " code = NULL, error = NULL, size = NULL, mtime = NULL,"
	    " inode = NULL, options = NULL, records = NULL, result = NULL"
	    " WHERE id = ?1 AND (state <> 'in_progress' OR " CKPT_STALE ")",
	[CKPT_ST_RENEW] = "UPDATE unit SET lease = ?2, updated = ?3,"
	    " digest = coalesce(?5, digest)"
	    " WHERE id = ?1 AND state = 'in_progress' AND run IS ?4",
	[CKPT_ST_COUNT_TRY] = "UPDATE unit SET attempts = attempts + 1"
	    " WHERE id = ?1",
	[CKPT_ST_DONE] = "UPDATE unit SET state = 'completed', " OWNER ","
	    " lease = NULL, mtime = CASE WHEN digest IS NULL OR ?12 IS NULL"
	    " OR digest = ?12 THEN mtime END,"
	    " digest = coalesce(?12, digest), class = NULL,"
	    " status = NULL, code = NULL, error = NULL, forced = 0,"
	    " result = CASE WHEN scope <> 'input' THEN result END"
	    " WHERE id = ?1",
	[CKPT_ST_FAIL] = "UPDATE unit SET state = 'failed', " OWNER ","
	    " lease = NULL, class = ?12, status = ?13, code = ?14,"
	    " error = ?15, result = CASE WHEN scope <> 'input' THEN result"
	    " END WHERE id = ?1 AND state <> 'completed'",
	[CKPT_ST_TRY] = "INSERT INTO attempt (unit, run, host, pid, tool,"
	    " started, ended, outcome, digest, status, class, code, error,"
	    " nth) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
	    " ?12, ?13, (SELECT attempts FROM unit WHERE id = ?1))",
	[CKPT_ST_TRY_END] = "UPDATE attempt SET ended = ?3, outcome = ?4,"
	    " digest = coalesce(?5, digest), status = ?6, class = ?7,"
	    " code = ?8, error = ?9"
	    " WHERE unit = ?1 AND run IS ?2 AND ended IS NULL",
	[CKPT_ST_TRY_ENDED] = "SELECT 1 FROM attempt WHERE unit = ?1"
	    " AND run IS ?2 AND outcome = ?3",
	[CKPT_ST_TRY_OPEN] = "SELECT 1 FROM attempt WHERE unit = ?1"
	    " AND run IS ?2 AND ended IS NULL",
	[CKPT_ST_TRY_ABANDON] = "UPDATE attempt SET ended = ?2,"
	    " outcome = 'abandoned' WHERE unit = ?1 AND ended IS NULL",
	[CKPT_ST_TRY_FORGET] = "DELETE FROM attempt WHERE unit = ?1"
	    " AND run IS ?2 AND ended IS NULL AND EXISTS (SELECT 1"
	    " FROM attempt WHERE unit = ?1 AND outcome = 'completed')",
	[CKPT_ST_COUNT_LESS] = "UPDATE unit SET attempts = attempts - ?2"
	    " WHERE id = ?1",
	[CKPT_ST_RELEASE] = "UPDATE unit SET state = 'pending', lease = NULL,"
	    " class = ?3, status = ?4, updated = ?5"
	    " WHERE run = ?1 AND state = 'in_progress' AND pipeline = ?2",
	[CKPT_ST_RELEASE_TRY] = "UPDATE attempt SET ended = ?5,"
	    " outcome = 'abandoned', class = ?3, status = ?4"
	    " WHERE run = ?1 AND ended IS NULL AND unit IN"
	    " (SELECT id FROM unit WHERE run = ?1 AND pipeline = ?2)",
	[CKPT_ST_FINISH] = "UPDATE unit SET state = 'completed',"
	    " lease = NULL, class = NULL, status = NULL, code = NULL,"
	    " error = NULL, forced = 0, tool = ?3, updated = ?5"
	    " WHERE run = ?1 AND state = 'in_progress' AND pipeline = ?2"
	    " AND scope = 'input'",
	[CKPT_ST_FINISH_TRY] = "UPDATE attempt SET ended = ?5,"
	    " outcome = 'completed', tool = ?3"
	    " WHERE run = ?1 AND ended IS NULL AND unit IN"
	    " (SELECT id FROM unit WHERE run = ?1 AND pipeline = ?2"
	    " AND state = 'in_progress' AND scope = 'input')",
	[CKPT_ST_NOTE] = "UPDATE unit SET size = coalesce(?4, size),"
	    " mtime = coalesce(?5, mtime), inode = coalesce(?6, inode),"
	    " options = coalesce(?7, options),"
	    " records = coalesce(?8, records),"
	    " result = coalesce(?9, result), digest = coalesce(?10, digest)"
	    " WHERE pipeline = ?1 AND scope = ?2 AND key = ?3"
	    " AND (?11 IS NULL OR run = ?11)",
	[CKPT_ST_FORCED] = "SELECT forced FROM unit"
	    " WHERE pipeline = ?1 AND scope = ?2 AND key = ?3",
	[CKPT_ST_ASIDE] = "UPDATE unit SET result = ?2"
	    " WHERE scope = 'input' AND key = ?1 AND state = 'failed'"
	    " AND (digest IS NULL OR digest = ?3)",
	[CKPT_ST_BEAT] = "UPDATE unit SET lease = ?2"
	    " WHERE run = ?1 AND state = 'in_progress' AND lease < ?2",
	[CKPT_ST_RUN] = "INSERT INTO run (id, pipeline, command, cwd, host,"
	    " started) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id)"
	    " DO UPDATE SET command = coalesce(command, excluded.command),"
	    " cwd = coalesce(cwd, excluded.cwd)",
	[CKPT_ST_RUN_END] = "INSERT INTO run (id, pipeline, host, started,"
	    " ended, status, records, bytes, summary)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id)"
	    " DO UPDATE SET started = min(started, excluded.started),"
	    " ended = excluded.ended, status = excluded.status,"
	    " records = excluded.records, bytes = excluded.bytes,"
	    " summary = excluded.summary",
	[CKPT_ST_BREAKER] = "SELECT host, state, failures, recent, opened,"
	    " until, wait, probe_host, probe_pid, probe_until, error, updated"
	    " FROM breaker WHERE host = ?1",
	[CKPT_ST_BREAKER_PUT] = "INSERT OR REPLACE INTO breaker (host, state,"
	    " failures, recent, opened, until, wait, probe_host, probe_pid,"
	    " probe_until, error, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
	    " ?7, ?8, ?9, ?10, ?11, ?12)"
};

/*
 * Functions of ours, within SQL.
 */

static void
take_str(char *out, size_t sz, sqlite3_value *v)
{
	const char	*s = db_value_text(v);

	(void)snprintf(out, sz, "%s", s != NULL ? s : "");
}

/* ckpt_stale(lease, host, place, pid, born, pgid, pgborn) */
static void
fn_stale(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct ckpt		*c = sqlite3_user_data(ctx);
	struct ckpt_owner	 o;
	int64_t			 lease = sqlite3_value_int64(v[0]);

	(void)n;
	if (sqlite3_value_type(v[0]) == SQLITE_NULL) {
		sqlite3_result_int(ctx, 0); /* not in progress */
		return;
	}
	memset(&o, 0, sizeof(o));
	take_str(o.host, sizeof(o.host), v[1]);
	take_str(o.place, sizeof(o.place), v[2]);
	o.pid = sqlite3_value_int64(v[3]);
	o.born = sqlite3_value_int64(v[4]);
	o.pgid = sqlite3_value_int64(v[5]);
	o.pgborn = sqlite3_value_int64(v[6]);
	if (c->seen_at != c->now || c->seen_lease != lease ||
	    memcmp(&o, &c->seen, sizeof(o)) != 0) {
		c->seen = o;
		c->seen_at = c->now;
		c->seen_lease = lease;
		c->seen_gone = ckpt_owner_gone(&o, &c->self, lease < c->now);
	}
	sqlite3_result_int(ctx, c->seen_gone);
}

/* ckpt_key_in(scope, key) and ckpt_key_out(scope, key) */
static void
fn_key(sqlite3_context *ctx, sqlite3_value **v,
    char *(*f)(const char *, enum ckpt_scope, const char *))
{
	struct ckpt	*c = sqlite3_user_data(ctx);
	const char	*key = db_value_text(v[1]);
	enum ckpt_scope	 scope;

	if (key == NULL || ckpt_scope_parse(db_value_text(v[0]), &scope) == -1)
		sqlite3_result_value(ctx, v[1]);
	else
		sqlite3_result_text(ctx, f(c->root, scope, key), -1, free);
}

static void
fn_key_in(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	fn_key(ctx, v, ckpt_key_in);
}

static void
fn_key_out(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	fn_key(ctx, v, ckpt_key_out);
}

int
ckpt_db_functions(struct ckpt *c, struct err *e)
{
	static const struct {
		const char	*name;
		int		 n;
		void		(*f)(sqlite3_context *, int,
				    sqlite3_value **);
	} v[] = {
		{ "ckpt_stale", 7, fn_stale },
		{ "ckpt_key_in", 2, fn_key_in },
		{ "ckpt_key_out", 2, fn_key_out }
	};
	size_t	i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (sqlite3_create_function(c->db, v[i].name, v[i].n,
		    SQLITE_UTF8 | SQLITE_DIRECTONLY, c, v[i].f, NULL, NULL)
		    != SQLITE_OK)
			return db_err(c->db, c->path, e);
	return 0;
}

/*
 * Transactions and statements.
 */

int
ckpt_begin(struct ckpt *c, struct err *e)
{
	if (c == NULL)
		return 0;
	if (c->begun)
		return err_set(e, MSG_SOFTWARE, "%s: begun twice", c->path);
	if (db_exec(c->db, "BEGIN IMMEDIATE", c->path, e) == -1)
		return -1;
	c->begun = 1;
	return 0;
}

int
ckpt_commit(struct ckpt *c, struct err *e)
{
	if (c == NULL || !c->begun)
		return 0;
	c->begun = 0;
	if (db_exec(c->db, "COMMIT", c->path, e) == -1) {
		(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	return 0;
}

void
ckpt_rollback(struct ckpt *c)
{
	if (c == NULL || !c->begun)
		return;
	c->begun = c->noted = 0;
	(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

int
ckpt_db_enter(struct ckpt *c, struct err *e)
{
	if (!c->begun && db_exec(c->db, "BEGIN IMMEDIATE", c->path, e) == -1)
		return -1;
	/* the time at which the lock was had, not asked for */
	c->now = io_wall_ns() / 1000000;
	return 0;
}

int
ckpt_db_leave(struct ckpt *c, int rv, struct err *e)
{
	int	i;

	for (i = 0; i < CKPT_ST_N; i++)
		if (c->st[i] != NULL)
			(void)sqlite3_reset(c->st[i]);
	if (c->begun)
		return rv;
	if (rv != -1 && db_exec(c->db, "COMMIT", c->path, e) == 0)
		return rv;
	if (!sqlite3_get_autocommit(c->db))
		(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

struct sqlite3_stmt *
ckpt_db_stmt(struct ckpt *c, enum ckpt_stmt i, struct err *e)
{
	if (c->st[i] == NULL)
		c->st[i] = db_prepare(c->db, statements[i], c->path, e);
	else {
		(void)sqlite3_reset(c->st[i]);
		(void)sqlite3_clear_bindings(c->st[i]);
	}
	return c->st[i];
}

void
ckpt_db_str(struct sqlite3_stmt *st, int i, const char *s)
{
	if (s != NULL)
		db_bind_str(st, i, s);
}

void
ckpt_db_int(struct sqlite3_stmt *st, int i, int64_t v)
{
	(void)sqlite3_bind_int64(st, i, v);
}

void
ckpt_db_some(struct sqlite3_stmt *st, int i, int64_t v)
{
	if (v != 0)
		(void)sqlite3_bind_int64(st, i, v);
}

int
ckpt_db_change(struct ckpt *c, struct sqlite3_stmt *st, int *n,
    struct err *e)
{
	if (db_step(st, c->path, e) == -1)
		return -1;
	*n = sqlite3_changes(c->db);
	return 0;
}

int
ckpt_db_change_one(struct ckpt *c, struct sqlite3_stmt *st, const char *key,
    struct err *e)
{
	int	n;

	if (ckpt_db_change(c, st, &n, e) == -1)
		return -1;
	if (n != 1)
		return err_set(e, MSG_SOFTWARE, "%s: %s: want 1 row changed, "
		    "got %d", c->path, key, n);
	return 0;
}

const char *
ckpt_db_col(struct sqlite3_stmt *st, int i)
{
	return db_text(st, i);
}

char *
ckpt_db_key(struct ckpt *c, enum ckpt_scope scope, const char *key,
    struct err *e)
{
	size_t	n = strlen(key);

	if (n == 0 || n > CKPT_KEY_MAX || !path_utf8(key, n)) {
		err_set(e, MSG_USAGE, "checkpoint key: want 1 to %d bytes, "
		    "UTF-8", CKPT_KEY_MAX);
		return NULL;
	}
	return ckpt_key_in(c->root, scope, key);
}

const char *
ckpt_db_text(const char *text, char *b)
{
	size_t	n, i, len = 0;

	if (text == NULL)
		return NULL;
	for (i = 0; text[i] != '\0'; i += n) {
		for (n = 1; n < 4 && text[i + n - 1] != '\0' &&
		    !path_utf8(text + i, n); n++)
			continue;
		if (len + n > CKPT_TEXT_MAX)
			break;
		if (path_utf8(text + i, n)) {
			memcpy(b + len, text + i, n);
			len += n;
		} else {
			n = 1;
			b[len++] = '?';
		}
	}
	b[len] = '\0';
	return b;
}
