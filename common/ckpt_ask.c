/*
 * ckpt_ask: what people and programs ask of the database, and what an
 * operator changes: forget, again, again whatever it was.
 *
 * A selection is evaluated once, into a temporary table: what is stale can
 * change between two looks.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_db.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "buf.h"
#include "ckpt_key.h"
#include "db.h"
#include "io.h"
#include "banned.h"

#define CKPT_SQL_MAX	8192	/* bytes of a statement put together */

static const char unit_columns[] =
    "SELECT u.id, u.pipeline, scope, ckpt_key_out(scope, key), state, digest,"
    " size, mtime, inode, tool, options, run, u.host, pid, pgid, lease,"
    " ckpt_stale(lease, u.host, place, pid, born, pgid, pgborn), attempts,"
    " class, u.status, code, error, created, updated, forced, u.records,"
    " result, r.command, r.cwd"
    " FROM sel JOIN unit AS u USING (id) LEFT JOIN run AS r ON r.id = u.run";

static const char *
scope_word(int i)
{
	return ckpt_scope_name((enum ckpt_scope)i);
}

static const char *
state_word(int i)
{
	return ckpt_state_name((enum ckpt_state)i);
}

static const char *
class_word(int i)
{
	return ckpt_class_name((enum ckpt_class)i);
}

/* " AND name IN ('a','b')" for the bits of set; our own words only. */
static void
where_set(struct buf *b, const char *name, unsigned int set,
    const char *(*word)(int i), int n)
{
	const char	*sep = "";
	int		 i;

	if (set == 0)
		return;
	buf_printf(b, " AND coalesce(%s, '') IN (", name);
	for (i = 0; i < n; i++)
		if (set & (1U << i)) {
			buf_printf(b, "%s'%s'", sep, word(i));
			sep = ", ";
		}
	buf_str(b, ")");
}

/* One key may be kept in several ways, by scope. */
static int
add_key(struct ckpt *c, sqlite3_stmt *st, const char *key, struct err *e)
{
	char	*kept;
	int	 i, rv = 0;

	for (i = 0; rv == 0 && i < CKPT_SCOPE_N; i++) {
		kept = ckpt_key_in(c->root, (enum ckpt_scope)i, key);
		ckpt_db_str(st, 1, ckpt_scope_name((enum ckpt_scope)i));
		ckpt_db_str(st, 2, kept);
		rv = db_step(st, c->path, e);
		(void)sqlite3_reset(st);
		free(kept);
	}
	return rv;
}

static int
fill_keys(struct ckpt *c, const struct ckpt_sel *s, struct err *e)
{
	sqlite3_stmt	*st;
	size_t		 i;
	int		 rv = 0;

	if (s->n_keys == 0)
		return 0;
	if (db_exec(c->db, "CREATE TEMP TABLE IF NOT EXISTS sel_key"
	    " (scope TEXT, key TEXT, PRIMARY KEY (scope, key));"
	    " DELETE FROM sel_key", c->path, e) == -1)
		return -1;
	st = db_prepare(c->db, "INSERT OR IGNORE INTO sel_key"
	    " VALUES (?1, ?2)", c->path, e);
	if (st == NULL)
		return -1;
	for (i = 0; rv == 0 && i < s->n_keys; i++)
		rv = add_key(c, st, s->keys[i], e);
	sqlite3_finalize(st);
	return rv;
}

/* Of temp.sel the first ones stay; how many others there were. */
static int
cut_sel(struct ckpt *c, const struct ckpt_sel *s, struct err *e)
{
	sqlite3_stmt	*st;
	int		 rows = 0, rv;

	st = db_prepare(c->db, "DELETE FROM sel WHERE n > ?1", c->path, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, s->limit > INT64_MAX ? INT64_MAX :
	    (int64_t)s->limit);
	rv = ckpt_db_change(c, st, &rows, e);
	sqlite3_finalize(st);
	*s->more = (uint64_t)rows;
	return rv;
}

static void
where(struct buf *b, const struct ckpt_sel *s)
{
	if (s->pipeline != NULL)
		buf_str(b, " AND pipeline = ?1");
	where_set(b, "scope", s->scopes, scope_word, CKPT_SCOPE_N);
	where_set(b, "state", s->states, state_word, CKPT_STATE_N);
	where_set(b, "class", s->classes, class_word, CKPT_CLASS_N);
	if (s->n_keys > 0)
		buf_str(b, " AND (scope, key) IN (SELECT scope, key"
		    " FROM sel_key)");
	if (s->glob != NULL)
		buf_str(b, " AND ckpt_key_out(scope, key) GLOB ?2");
	if (s->code != NULL)
		buf_str(b, " AND code = ?4");
	if (s->before != 0)
		buf_str(b, " AND updated < ?5");
	if (s->since != 0)
		buf_str(b, " AND updated >= ?6");
	if (s->open || s->stale)
		buf_printf(b, " AND (%sstate = 'in_progress' AND "
		    CKPT_STALE ")", s->stale ? "" : "state = 'failed' OR ");
	if (s->in_place)
		buf_str(b, " AND NOT (state = 'failed' AND scope = 'input'"
		    " AND result IS NOT NULL)");
	if (s->idle)
		buf_str(b, " AND (state <> 'in_progress' OR " CKPT_STALE ")");
}

/* The ids of the selection, numbered in its order, in temp.sel. */
static int
fill_sel(struct ckpt *c, const struct ckpt_sel *s, struct err *e)
{
	sqlite3_stmt	*st = NULL;
	struct buf	 b;
	int		 rv = -1;

	buf_init(&b, CKPT_SQL_MAX);
	if (fill_keys(c, s, e) == -1 || db_exec(c->db,
	    "CREATE TEMP TABLE IF NOT EXISTS sel (n INTEGER PRIMARY KEY,"
	    " id INTEGER); DELETE FROM sel", c->path, e) == -1)
		goto done;
	buf_str(&b, "INSERT INTO sel (id) SELECT id FROM unit WHERE 1");
	where(&b, s);
	buf_str(&b, s->oldest ? " ORDER BY updated, id" :
	    " ORDER BY updated DESC, id DESC");
	if (s->limit != 0 && s->more == NULL)
		buf_str(&b, " LIMIT ?3");
	st = db_prepare(c->db, buf_cstr(&b), c->path, e);
	if (st == NULL)
		goto done;
	ckpt_db_str(st, 1, s->pipeline);
	ckpt_db_str(st, 2, s->glob);
	ckpt_db_some(st, 3, s->limit > INT64_MAX ? INT64_MAX :
	    (int64_t)s->limit);
	ckpt_db_str(st, 4, s->code);
	ckpt_db_some(st, 5, s->before);
	ckpt_db_some(st, 6, s->since);
	rv = db_step(st, c->path, e);
	if (rv == 0 && s->limit != 0 && s->more != NULL)
		rv = cut_sel(c, s, e);
done:
	sqlite3_finalize(st);
	buf_free(&b);
	return rv;
}

static int
get_unit(struct ckpt *c, sqlite3_stmt *st, struct ckpt_unit *u,
    struct err *e)
{
	memset(u, 0, sizeof(*u));
	u->id = sqlite3_column_int64(st, 0);
	u->pipeline = ckpt_db_col(st, 1);
	u->key = ckpt_db_col(st, 3);
	if (u->pipeline == NULL || u->key == NULL ||
	    ckpt_scope_parse(ckpt_db_col(st, 2), &u->scope) == -1 ||
	    ckpt_state_parse(ckpt_db_col(st, 4), &u->state) == -1)
		return err_set(e, MSG_DATAERR, "%s: unit %lld makes no sense",
		    c->path, (long long)u->id);
	u->digest = ckpt_db_col(st, 5);
	u->size = (uint64_t)sqlite3_column_int64(st, 6);
	u->mtime = sqlite3_column_int64(st, 7);
	u->inode = (uint64_t)sqlite3_column_int64(st, 8);
	u->tool = ckpt_db_col(st, 9);
	u->options = ckpt_db_col(st, 10);
	u->run = ckpt_db_col(st, 11);
	u->host = ckpt_db_col(st, 12);
	u->pid = sqlite3_column_int64(st, 13);
	u->pgid = sqlite3_column_int64(st, 14);
	u->lease = sqlite3_column_int64(st, 15);
	u->stale = u->state == CKPT_IN_PROGRESS &&
	    sqlite3_column_int(st, 16);
	u->attempts = (uint64_t)sqlite3_column_int64(st, 17);
	(void)ckpt_class_parse(ckpt_db_col(st, 18), &u->class);
	u->status = sqlite3_column_int(st, 19);
	u->code = ckpt_db_col(st, 20);
	u->error = ckpt_db_col(st, 21);
	u->created = sqlite3_column_int64(st, 22);
	u->updated = sqlite3_column_int64(st, 23);
	u->forced = sqlite3_column_int(st, 24);
	u->records = (uint64_t)sqlite3_column_int64(st, 25);
	u->result = ckpt_db_col(st, 26);
	u->aside = u->state == CKPT_FAILED && u->scope == CKPT_INPUT &&
	    u->result != NULL;
	u->command = ckpt_db_col(st, 27);
	u->cwd = ckpt_db_col(st, 28);
	return 0;
}

/* f for each unit of temp.sel. */
static int
each_sel(struct ckpt *c, int (*f)(const struct ckpt_unit *, void *),
    void *arg, struct err *e)
{
	struct ckpt_unit	 u;
	sqlite3_stmt		*st;
	struct buf		 b;
	int			 r;

	buf_init(&b, CKPT_SQL_MAX);
	buf_printf(&b, "%s ORDER BY n", unit_columns);
	st = db_prepare(c->db, buf_cstr(&b), c->path, e);
	buf_free(&b);
	if (st == NULL)
		return -1;
	while ((r = db_step(st, c->path, e)) == 1) {
		r = get_unit(c, st, &u, e);
		if (r == -1 || f(&u, arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

int
ckpt_each(struct ckpt *c, const struct ckpt_sel *s,
    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
    struct err *e)
{
	int	own = !c->begun, rv = -1;

	c->now = io_wall_ns() / 1000000;
	/* one snapshot for both looks; readers hold nobody up */
	if (own && db_exec(c->db, "BEGIN", c->path, e) == -1)
		return -1;
	if (fill_sel(c, s, e) == 0)
		rv = each_sel(c, f, arg, e);
	if (!own)
		return rv;
	/* one that is not ended, for want of memory, bars the next BEGIN */
	if (rv == 0 && db_exec(c->db, "COMMIT", c->path, e) == 0)
		return 0;
	(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

int
ckpt_history(struct ckpt *c, int64_t unit,
    int (*f)(const struct ckpt_attempt *a, void *arg), void *arg,
    struct err *e)
{
	struct ckpt_attempt	 a;
	sqlite3_stmt		*st;
	int			 r;

	st = db_prepare(c->db, "SELECT run, host, tool, pid, started, ended,"
	    " outcome, digest, status, class, code, error FROM attempt"
	    " WHERE unit = ?1 ORDER BY started, id", c->path, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, unit);
	while ((r = db_step(st, c->path, e)) == 1) {
		memset(&a, 0, sizeof(a));
		a.run = ckpt_db_col(st, 0);
		a.host = ckpt_db_col(st, 1);
		a.tool = ckpt_db_col(st, 2);
		a.pid = sqlite3_column_int64(st, 3);
		a.started = sqlite3_column_int64(st, 4);
		a.ended = sqlite3_column_int64(st, 5);
		a.outcome = ckpt_db_col(st, 6);
		if (a.outcome == NULL)
			a.outcome = "";
		a.digest = ckpt_db_col(st, 7);
		a.status = sqlite3_column_int(st, 8);
		(void)ckpt_class_parse(ckpt_db_col(st, 9), &a.class);
		a.code = ckpt_db_col(st, 10);
		a.error = ckpt_db_col(st, 11);
		if (f(&a, arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

/*
 * Changes an operator makes.
 */

/* What is forgotten stays counted, so that sums only grow. */
static const char past[] =
    "INSERT INTO past SELECT u.pipeline, scope, outcome,"
    " coalesce(a.class, ''), coalesce(a.code, ''), count(*), sum(nth > 1),"
    " max(a.ended) FROM attempt AS a JOIN unit AS u ON u.id = a.unit"
    " WHERE a.unit IN (SELECT id FROM sel) AND outcome IS NOT NULL"
    " GROUP BY 1, 2, 3, 4, 5 ON CONFLICT DO UPDATE SET n = n + excluded.n,"
    " retries = retries + excluded.retries,"
    " last = max(last, excluded.last)";

static int
forget(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n, struct err *e)
{
	*n = 0;
	if (fill_sel(c, s, e) == -1 ||
	    db_exec(c->db, past, c->path, e) == -1 || db_exec(c->db,
	    "DELETE FROM unit WHERE id IN (SELECT id FROM sel)", c->path,
	    e) == -1)
		return -1;
	*n = (uint64_t)sqlite3_changes(c->db);
	return 0;
}

int
ckpt_clear(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
    struct err *e)
{
	struct ckpt_sel	q = *s;

	q.limit = 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	return ckpt_db_leave(c, forget(c, &q, n, e), e);
}

/* Runs that ended, or died, before then, and that no unit speaks of. */
static int
forget_runs(struct ckpt *c, int64_t before, struct err *e)
{
	sqlite3_stmt	*st;
	int		 rv;

	st = db_prepare(c->db, "DELETE FROM run WHERE started < ?1 AND"
	    " coalesce(ended, started) < ?1 AND id NOT IN (SELECT run"
	    " FROM unit WHERE run IS NOT NULL)", c->path, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, before);
	rv = db_step(st, c->path, e);
	sqlite3_finalize(st);
	return rv;
}

int
ckpt_expire(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
    struct err *e)
{
	struct ckpt_sel	q = *s;
	int		rv;

	if (s->before <= 0)
		return err_set(e, MSG_SOFTWARE, "%s: expire: before when?",
		    c->path);
	q.limit = 0;
	q.idle = 1;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	rv = forget(c, &q, n, e);
	if (rv == 0)
		rv = forget_runs(c, q.before, e);
	return ckpt_db_leave(c, rv, e);
}

/* The units of temp.sel become pending; their open attempts end. */
static int
again(struct ckpt *c, int forced, uint64_t *n, struct err *e)
{
	static const char	*const sql[] = {
		"UPDATE attempt SET ended = ?1, outcome = 'abandoned'"
		" WHERE ended IS NULL AND unit IN (SELECT id FROM sel)",
		"UPDATE unit SET state = 'pending', lease = NULL,"
		" updated = ?1, forced = max(forced, ?2),"
		" result = CASE WHEN scope <> 'input' THEN result END"
		" WHERE id IN (SELECT id FROM sel)"
	};
	sqlite3_stmt		*st;
	size_t			 i;
	int			 rows = 0, rv = 0;

	for (i = 0; rv == 0 && i < sizeof(sql) / sizeof(sql[0]); i++) {
		st = db_prepare(c->db, sql[i], c->path, e);
		if (st == NULL)
			return -1;
		ckpt_db_int(st, 1, c->now);
		if (i == 1)
			ckpt_db_int(st, 2, forced);
		rv = ckpt_db_change(c, st, &rows, e);
		sqlite3_finalize(st);
	}
	*n = (uint64_t)rows;
	return rv;
}

static int
change_sel(struct ckpt *c, const struct ckpt_sel *s, int forced,
    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
    uint64_t *n, struct err *e)
{
	int	rv = -1;

	*n = 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	if (fill_sel(c, s, e) == 0 && each_sel(c, f, arg, e) == 0)
		rv = again(c, forced, n, e);
	return ckpt_db_leave(c, rv, e);
}

int
ckpt_retry(struct ckpt *c, const struct ckpt_sel *s,
    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
    uint64_t *n, struct err *e)
{
	struct ckpt_sel	q = *s;

	q.open = q.in_place = 1;
	return change_sel(c, &q, 0, f, arg, n, e);
}

int
ckpt_force(struct ckpt *c, const struct ckpt_sel *s,
    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
    uint64_t *n, struct err *e)
{
	struct ckpt_sel	q = *s;

	q.idle = 1;
	return change_sel(c, &q, 1, f, arg, n, e);
}

/*
 * Sums.
 */

int
ckpt_sums(struct ckpt *c, const char *pipeline,
    int (*f)(const struct ckpt_sum *s, void *arg), void *arg,
    struct err *e)
{
	struct ckpt_sum	 s;
	sqlite3_stmt	*st;
	int		 r;

	st = db_prepare(c->db, "SELECT pipeline, scope, outcome, class, code,"
	    " sum(n), sum(retries), max(last) FROM (SELECT * FROM past"
	    " UNION ALL SELECT u.pipeline, scope, outcome,"
	    " coalesce(a.class, ''), coalesce(a.code, ''), count(*),"
	    " sum(nth > 1), max(a.ended) FROM attempt AS a JOIN unit AS u"
	    " ON u.id = a.unit WHERE outcome IS NOT NULL"
	    " GROUP BY 1, 2, 3, 4, 5) WHERE ?1 IS NULL OR pipeline = ?1"
	    " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5", c->path, e);
	if (st == NULL)
		return -1;
	ckpt_db_str(st, 1, pipeline);
	while ((r = db_step(st, c->path, e)) == 1) {
		memset(&s, 0, sizeof(s));
		s.pipeline = ckpt_db_col(st, 0);
		s.outcome = ckpt_db_col(st, 2);
		(void)ckpt_class_parse(ckpt_db_col(st, 3), &s.class);
		s.code = ckpt_db_col(st, 4);
		s.n = (uint64_t)sqlite3_column_int64(st, 5);
		s.retries = (uint64_t)sqlite3_column_int64(st, 6);
		s.last = sqlite3_column_int64(st, 7);
		if (ckpt_scope_parse(ckpt_db_col(st, 1), &s.scope) == -1 ||
		    f(&s, arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}
