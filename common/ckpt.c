/*
 * ckpt: the tables behind ckpt.h and every change that is made to them.
 * It never looks at an input or a target, and never says that something
 * need not be done.
 *
 * A change is one BEGIN IMMEDIATE: the unit is read under the write lock,
 * judged, and updated under a WHERE that repeats the judgement.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define CKPT_SQL_MAX	8192	/* bytes of a statement put together */
#define CKPT_OPEN_S	10.0	/* for others who are making it too */
#define CKPT_HOST_MAX	256	/* bytes of a host's name */
#define CKPT_TOOL_MAX	64

enum stmt {
	ST_FIND,
	ST_INSERT,
	ST_START,
	ST_RENEW,
	ST_COUNT_TRY,
	ST_DONE,
	ST_FAIL,
	ST_TRY,
	ST_TRY_END,
	ST_TRY_ENDED,
	ST_TRY_ABANDON,
	ST_RELEASE,
	ST_RELEASE_TRY,
	ST_NOTE,
	ST_BREAKER,
	ST_BREAKER_PUT,
	ST_N
};

struct ckpt {
	sqlite3		*db;
	sqlite3_stmt	*st[ST_N];
	char		*path;
	char		*pipeline;
	char		 host[CKPT_HOST_MAX];
	char		 tool[CKPT_TOOL_MAX];
	int64_t		 now;	/* ms, of the call under way */
	int		 begun;	/* by ckpt_begin */
};

/* A unit as a change finds it. */
struct found {
	int64_t		 id;	/* 0: there is none */
	enum ckpt_state	 state;
	int		 mine;	/* run is the caller's */
	int		 stale;
	int		 same;	/* digest is the caller's, or one is unknown */
	int		 known;	/* both digests are known */
};

static const char *const scope_names[CKPT_SCOPE_N] = { "pipeline", "chunk",
	"input", "operation" };
static const char *const state_names[CKPT_STATE_N] = { "pending",
	"in_progress", "completed", "failed" };
static const char *const class_names[CKPT_CLASS_N] = { "", "transient",
	"permanent", "unknown" };

static const char *const breaker_names[BREAKER_STATE_N] = { "closed",
	"open", "half_open" };

/* Times are ms since 1970, but mtime, which is the file's, in ns. */
static const char schema[] =
    "CREATE TABLE unit ("
    " id INTEGER PRIMARY KEY,"
    " pipeline TEXT NOT NULL,"
    " scope TEXT NOT NULL CHECK (scope IN"
    "  ('pipeline', 'chunk', 'input', 'operation')),"
    " key TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN"
    "  ('pending', 'in_progress', 'completed', 'failed')),"
    " digest TEXT, size INTEGER, mtime INTEGER, inode INTEGER,"
    " tool TEXT, options TEXT, run TEXT,"
    " host TEXT, pid INTEGER, pgid INTEGER, lease INTEGER,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " class TEXT CHECK (class IN ('transient', 'permanent', 'unknown')),"
    " status INTEGER, code TEXT, error TEXT,"
    " created INTEGER NOT NULL, updated INTEGER NOT NULL,"
    " UNIQUE (pipeline, scope, key));"
    "CREATE INDEX unit_state ON unit (state, updated);"
    "CREATE INDEX unit_run ON unit (run, state);"
    "CREATE TABLE attempt ("
    " id INTEGER PRIMARY KEY,"
    " unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE,"
    " run TEXT, host TEXT, pid INTEGER, tool TEXT,"
    " started INTEGER NOT NULL, ended INTEGER,"
    " outcome TEXT CHECK (outcome IN"
    "  ('completed', 'failed', 'abandoned')),"
    " digest TEXT, status INTEGER, class TEXT, code TEXT, error TEXT);"
    "CREATE INDEX attempt_unit ON attempt (unit, run);"
    "CREATE INDEX attempt_open ON attempt (run) WHERE ended IS NULL;"
    "CREATE TABLE breaker ("
    " host TEXT PRIMARY KEY,"
    " state TEXT NOT NULL CHECK (state IN"
    "  ('closed', 'open', 'half_open')),"
    " failures INTEGER NOT NULL DEFAULT 0," /* in a row */
    " recent TEXT NOT NULL DEFAULT ''," /* the last ones, + and - */
    " opened INTEGER, until INTEGER, wait INTEGER,"
    " probe_host TEXT, probe_pid INTEGER, probe_until INTEGER,"
    " error TEXT, updated INTEGER NOT NULL);";

#define STALE "ckpt_stale(lease, host, pid, pgid)"

static const char *const sql[ST_N] = {
	[ST_FIND] = "SELECT id, state, run IS ?4, " STALE ","
	    " digest IS NULL OR ?5 IS NULL OR digest = ?5,"
	    " digest IS NOT NULL AND ?5 IS NOT NULL"
	    " FROM unit WHERE pipeline = ?1 AND scope = ?2 AND key = ?3",
	[ST_INSERT] = "INSERT INTO unit (pipeline, scope, key, state, digest,"
	    " tool, run, host, pid, pgid, lease, attempts, created, updated)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
	    " ?13, ?13)",
	[ST_START] = "UPDATE unit SET state = 'in_progress', digest = ?2,"
	    " tool = ?3, run = ?4, host = ?5, pid = ?6, pgid = ?7,"
	    " lease = ?8, attempts = attempts + 1, class = NULL,"
	    " status = NULL, code = NULL, error = NULL, updated = ?9"
	    " WHERE id = ?1 AND (state <> 'in_progress' OR " STALE ")",
	[ST_RENEW] = "UPDATE unit SET lease = ?2, updated = ?3,"
	    " digest = coalesce(?5, digest)"
	    " WHERE id = ?1 AND state = 'in_progress' AND run IS ?4",
	[ST_COUNT_TRY] = "UPDATE unit SET attempts = attempts + 1"
	    " WHERE id = ?1",
	[ST_DONE] = "UPDATE unit SET state = 'completed',"
	    " digest = coalesce(?2, digest), tool = ?3, run = ?4, host = ?5,"
	    " pid = ?6, pgid = ?7, lease = NULL, class = NULL,"
	    " status = NULL, code = NULL, error = NULL, updated = ?8"
	    " WHERE id = ?1",
	[ST_FAIL] = "UPDATE unit SET state = 'failed', tool = ?2, run = ?3,"
	    " host = ?4, pid = ?5, pgid = ?6, lease = NULL, class = ?7,"
	    " status = ?8, code = ?9, error = ?10, updated = ?11"
	    " WHERE id = ?1 AND state <> 'completed'",
	[ST_TRY] = "INSERT INTO attempt (unit, run, host, pid, tool, started,"
	    " ended, outcome, digest, status, class, code, error)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
	    " ?13)",
	[ST_TRY_END] = "UPDATE attempt SET ended = ?3, outcome = ?4,"
	    " digest = coalesce(?5, digest), status = ?6, class = ?7,"
	    " code = ?8, error = ?9"
	    " WHERE unit = ?1 AND run IS ?2 AND ended IS NULL",
	[ST_TRY_ENDED] = "SELECT 1 FROM attempt WHERE unit = ?1"
	    " AND run IS ?2 AND outcome = ?3",
	[ST_TRY_ABANDON] = "UPDATE attempt SET ended = ?2,"
	    " outcome = 'abandoned' WHERE unit = ?1 AND ended IS NULL",
	[ST_RELEASE] = "UPDATE unit SET state = 'pending', lease = NULL,"
	    " class = ?3, status = ?4, updated = ?5"
	    " WHERE run = ?1 AND state = 'in_progress' AND pipeline = ?2",
	[ST_RELEASE_TRY] = "UPDATE attempt SET ended = ?5,"
	    " outcome = 'abandoned', class = ?3, status = ?4"
	    " WHERE run = ?1 AND ended IS NULL AND unit IN"
	    " (SELECT id FROM unit WHERE run = ?1 AND pipeline = ?2)",
	[ST_NOTE] = "UPDATE unit SET size = coalesce(?4, size),"
	    " mtime = coalesce(?5, mtime), inode = coalesce(?6, inode),"
	    " options = coalesce(?7, options)"
	    " WHERE pipeline = ?1 AND scope = ?2 AND key = ?3",
	[ST_BREAKER] = "SELECT host, state, failures, recent, opened, until,"
	    " wait, probe_host, probe_pid, probe_until, error, updated"
	    " FROM breaker WHERE host = ?1",
	[ST_BREAKER_PUT] = "INSERT OR REPLACE INTO breaker (host, state,"
	    " failures, recent, opened, until, wait, probe_host, probe_pid,"
	    " probe_until, error, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
	    " ?7, ?8, ?9, ?10, ?11, ?12)"
};

const char *
ckpt_scope_name(enum ckpt_scope s)
{
	return scope_names[s];
}

const char *
ckpt_state_name(enum ckpt_state s)
{
	return state_names[s];
}

const char *
ckpt_class_name(enum ckpt_class c)
{
	return class_names[c];
}

/* The index of s among the n names from the first on, or -1. */
static int
name_index(const char *const *v, int first, int n, const char *s)
{
	int	i;

	for (i = first; s != NULL && i < n; i++)
		if (strcmp(v[i], s) == 0)
			return i;
	return -1;
}

int
ckpt_scope_parse(const char *s, enum ckpt_scope *out)
{
	int	i = name_index(scope_names, 0, CKPT_SCOPE_N, s);

	if (i == -1)
		return -1;
	*out = (enum ckpt_scope)i;
	return 0;
}

int
ckpt_state_parse(const char *s, enum ckpt_state *out)
{
	int	i = name_index(state_names, 0, CKPT_STATE_N, s);

	if (i == -1)
		return -1;
	*out = (enum ckpt_state)i;
	return 0;
}

int
ckpt_class_parse(const char *s, enum ckpt_class *out)
{
	int	i = name_index(class_names, 1, CKPT_CLASS_N, s);

	if (i == -1)
		return -1;
	*out = (enum ckpt_class)i;
	return 0;
}

enum ckpt_class
ckpt_class_of(int status)
{
	switch (status) {
	case MSG_OK:
		return CKPT_NONE;
	case MSG_CANTCREAT:
	case MSG_TEMPFAIL:
		return CKPT_TRANSIENT;
	case MSG_USAGE:
	case MSG_DATAERR:
	case MSG_NOINPUT:
	case MSG_SOFTWARE:
	case MSG_NOPERM:
		return CKPT_PERMANENT;
	default:
		return CKPT_UNKNOWN;
	}
}

/*
 * Opening.
 */

/*
 * Is what lies at path ours, or nothing yet?  Looked at before SQLite
 * does, which would turn a stranger's database into WAL mode.  A database
 * of ours is in WAL mode before it is anything else, and its
 * application_id may still be in the log.
 */
static int
look(const char *path, int create, struct err *e)
{
	unsigned char	h[100];
	struct stat	st;
	ssize_t		n;
	int		fd, rv = -1;

	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
	if (fd == -1 && errno == ENOENT)
		return err_set(e, MSG_NOINPUT, "%s: no such checkpoint "
		    "database", path);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	if (fstat(fd, &st) == -1 || (n = io_pread(fd, h, sizeof(h), 0)) == -1)
		err_sys(e, errno, "%s", path);
	else if (!S_ISREG(st.st_mode) || (n == 0 && !create) ||
	    (n > 0 && (n < (ssize_t)sizeof(h) ||
	    memcmp(h, "SQLite format 3", 16) != 0 ||
	    (buf_get_u32(h + 68) != CKPT_APP_ID &&
	    (buf_get_u32(h + 68) != 0 || h[18] != 2)))))
		err_set(e, MSG_DATAERR, "%s: not a checkpoint database",
		    path);
	else
		rv = 0;
	(void)close(fd);
	return rv;
}

/* SQL: has the owner of a unit in progress left it? */
static void
fn_stale(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	struct ckpt	*c = sqlite3_user_data(ctx);
	const char	*host;
	pid_t		 pid, pgid;
	int		 stale = 0;

	(void)n;
	if (sqlite3_value_type(v[0]) == SQLITE_NULL) {
		sqlite3_result_int(ctx, 0); /* not in progress */
		return;
	}
	host = (const char *)sqlite3_value_text(v[1]);
	pid = (pid_t)sqlite3_value_int64(v[2]);
	pgid = (pid_t)sqlite3_value_int64(v[3]);
	if (sqlite3_value_int64(v[0]) < c->now)
		stale = 1;
	else if (host != NULL && strcmp(host, c->host) == 0 && pid > 1 &&
	    pgid > 1)
		/* as long as one stage lives, the run is at it */
		stale = kill(-pgid, 0) == -1 && errno == ESRCH &&
		    kill(pid, 0) == -1 && errno == ESRCH;
	sqlite3_result_int(ctx, stale);
}

static int
make_schema(struct ckpt *c, struct err *e)
{
	char	b[96];
	int64_t	v = 0, n = 0;

	if (db_exec(c->db, "BEGIN IMMEDIATE", c->path, e) == -1 ||
	    db_int(c->db, "PRAGMA user_version", c->path, &v, e) == -1)
		return -1;
	if (v == 0) {
		if (db_int(c->db, "SELECT count(*) FROM sqlite_master",
		    c->path, &n, e) == -1)
			return -1;
		if (n != 0)
			return err_set(e, MSG_DATAERR, "%s: not a checkpoint "
			    "database", c->path);
		(void)snprintf(b, sizeof(b), "PRAGMA application_id = %d;"
		    "PRAGMA user_version = %d", CKPT_APP_ID, CKPT_VERSION);
		if (db_exec(c->db, schema, c->path, e) == -1 ||
		    db_exec(c->db, b, c->path, e) == -1)
			return -1;
	}
	return db_exec(c->db, "COMMIT", c->path, e);
}

static int
open_schema(struct ckpt *c, int create, struct err *e)
{
	int64_t	v = 0, app = 0;

	if (db_int(c->db, "PRAGMA user_version", c->path, &v, e) == -1)
		return -1;
	if (v == 0 && create) {
		if (make_schema(c, e) == -1)
			return -1;
		v = CKPT_VERSION;
	}
	if (db_int(c->db, "PRAGMA application_id", c->path, &app, e) == -1)
		return -1;
	if (app != CKPT_APP_ID)
		return err_set(e, MSG_DATAERR, "%s: not a checkpoint database",
		    c->path);
	if (v != CKPT_VERSION)
		return err_set(e, MSG_DATAERR, "%s: schema: want %d, got "
		    "%lld: use the program that wrote it", c->path,
		    CKPT_VERSION, (long long)v);
	return 0;
}

/* Opened and made by many at once: SQLite may say busy without waiting. */
static int
open_db(struct ckpt *c, int create, struct err *e)
{
	struct timespec	ts = { 0, 0 };
	struct err	try;
	double		end = io_now() + CKPT_OPEN_S;

	for (;;) {
		try.code = 0;
		c->db = db_open(c->path, DB_SHARED, 0, &try);
		if (c->db != NULL && open_schema(c, create, &try) == 0)
			return 0;
		sqlite3_close(c->db);
		c->db = NULL;
		if (try.code != MSG_TEMPFAIL || io_now() >= end)
			break;
		ts.tv_nsec = 5000000 + (long)(getpid() % 16) * 1000000;
		(void)nanosleep(&ts, NULL);
	}
	*e = try;
	return -1;
}

struct ckpt *
ckpt_open(const char *path, int flags, struct err *e)
{
	const char	*pipe = getenv("DCKPT_PIPELINE");
	int		 create = (flags & CKPT_CREATE) != 0;
	struct ckpt	*c;

	if (path == NULL)
		path = getenv("DCKPT_DB");
	if (path == NULL || *path == '\0') {
		e->code = 0;
		return NULL;
	}
	if (look(path, create, e) == -1)
		return NULL;
	c = mem_zero(1, sizeof(*c));
	c->path = mem_dup(path);
	if (gethostname(c->host, sizeof(c->host)) == -1)
		(void)snprintf(c->host, sizeof(c->host), "localhost");
	c->host[sizeof(c->host) - 1] = '\0';
	(void)snprintf(c->tool, sizeof(c->tool), "%s %s", msg_prog(),
	    MSG_VERSION);
	if (ckpt_set_pipeline(c, pipe != NULL && *pipe != '\0' ? pipe :
	    CKPT_DEFAULT, e) == -1 || open_db(c, create, e) == -1)
		goto fail;
	if (sqlite3_create_function(c->db, "ckpt_stale", 4,
	    SQLITE_UTF8 | SQLITE_DIRECTONLY, c, fn_stale, NULL, NULL) !=
	    SQLITE_OK) {
		db_err(c->db, c->path, e);
		goto fail;
	}
	return c;
fail:
	ckpt_close(c);
	return NULL;
}

void
ckpt_close(struct ckpt *c)
{
	int	i, saved = errno;

	if (c == NULL)
		return;
	for (i = 0; i < ST_N; i++)
		sqlite3_finalize(c->st[i]);
	sqlite3_close(c->db); /* rolls back */
	free(c->pipeline);
	free(c->path);
	free(c);
	errno = saved;
}

int
ckpt_set_pipeline(struct ckpt *c, const char *name, struct err *e)
{
	size_t	n = strlen(name);

	if (c == NULL)
		return 0;
	if (n == 0 || n > CKPT_NAME_MAX || !path_utf8(name, n))
		return err_set(e, MSG_USAGE, "pipeline: want a name of 1 to "
		    "%d bytes, UTF-8", CKPT_NAME_MAX);
	free(c->pipeline);
	c->pipeline = mem_dup(name);
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
	c->begun = 0;
	(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Each change begins here and ends in leave(); a caller's own holds. */
static int
enter(struct ckpt *c, struct err *e)
{
	c->now = io_wall_ns() / 1000000;
	if (c->begun)
		return 0;
	return db_exec(c->db, "BEGIN IMMEDIATE", c->path, e);
}

static int
leave(struct ckpt *c, int rv, struct err *e)
{
	int	i;

	for (i = 0; i < ST_N; i++)
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

/* The statement, reset and without bindings; NULL: *e. */
static sqlite3_stmt *
stmt(struct ckpt *c, enum stmt i, struct err *e)
{
	if (c->st[i] == NULL)
		c->st[i] = db_prepare(c->db, sql[i], c->path, e);
	else {
		(void)sqlite3_reset(c->st[i]);
		(void)sqlite3_clear_bindings(c->st[i]);
	}
	return c->st[i];
}

static void
bind_str(sqlite3_stmt *st, int i, const char *s)
{
	if (s != NULL)
		(void)sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

static void
bind_int(sqlite3_stmt *st, int i, int64_t v)
{
	(void)sqlite3_bind_int64(st, i, v);
}

/* Run a change; *n gets the rows. */
static int
change(struct ckpt *c, sqlite3_stmt *st, int *n, struct err *e)
{
	if (db_step(st, c->path, e) == -1)
		return -1;
	*n = sqlite3_changes(c->db);
	return 0;
}

/* The same where exactly one row must change. */
static int
change_one(struct ckpt *c, sqlite3_stmt *st, const char *key, struct err *e)
{
	int	n;

	if (change(c, st, &n, e) == -1)
		return -1;
	if (n != 1)
		return err_set(e, MSG_SOFTWARE, "%s: %s: want 1 row changed, "
		    "got %d", c->path, key, n);
	return 0;
}

static int
check_key(const char *key, struct err *e)
{
	size_t	n = strlen(key);

	if (n == 0 || n > CKPT_KEY_MAX || !path_utf8(key, n))
		return err_set(e, MSG_USAGE, "checkpoint key: want 1 to %d "
		    "bytes, UTF-8", CKPT_KEY_MAX);
	return 0;
}

static int
find(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct found *f, struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_FIND, e);
	int		 r;

	memset(f, 0, sizeof(*f));
	if (st == NULL)
		return -1;
	bind_str(st, 1, c->pipeline);
	bind_str(st, 2, scope_names[scope]);
	bind_str(st, 3, key);
	bind_str(st, 4, run);
	bind_str(st, 5, digest);
	r = db_step(st, c->path, e);
	if (r != 1)
		return r;
	f->id = sqlite3_column_int64(st, 0);
	if (ckpt_state_parse((const char *)sqlite3_column_text(st, 1),
	    &f->state) == -1)
		return err_set(e, MSG_DATAERR, "%s: %s: unknown state",
		    c->path, key);
	f->mine = sqlite3_column_int(st, 2);
	f->stale = sqlite3_column_int(st, 3);
	f->same = sqlite3_column_int(st, 4);
	f->known = sqlite3_column_int(st, 5);
	(void)sqlite3_reset(st);
	return 0;
}

/* Somebody else is at work on it. */
static int
held(const struct found *f)
{
	return f->state == CKPT_IN_PROGRESS && !f->mine && !f->stale;
}

/* A new unit in that state; run NULL: nobody has tried it. */
static int
insert(struct ckpt *c, enum ckpt_scope scope, const char *key,
    enum ckpt_state state, const char *digest, const char *run, int64_t *id,
    struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_INSERT, e);

	if (st == NULL)
		return -1;
	bind_str(st, 1, c->pipeline);
	bind_str(st, 2, scope_names[scope]);
	bind_str(st, 3, key);
	bind_str(st, 4, state_names[state]);
	bind_str(st, 5, digest);
	bind_str(st, 6, c->tool);
	bind_str(st, 7, run);
	if (state != CKPT_PENDING) {
		bind_str(st, 8, c->host);
		bind_int(st, 9, getpid());
		bind_int(st, 10, getpgrp());
	}
	if (state == CKPT_IN_PROGRESS)
		bind_int(st, 11, c->now + CKPT_LEASE_S * 1000);
	bind_int(st, 12, state == CKPT_PENDING ? 0 : 1);
	bind_int(st, 13, c->now);
	if (change_one(c, st, key, e) == -1)
		return -1;
	*id = sqlite3_last_insert_rowid(c->db);
	return 0;
}

/* What ended an attempt. */
struct ending {
	const char	*outcome;	/* NULL: it has begun */
	const char	*digest;
	int		 status;
	const char	*code, *error;
};

static void
bind_ending(sqlite3_stmt *st, int i, const struct ending *g)
{
	bind_str(st, i, g->outcome);
	bind_str(st, i + 1, g->digest);
	if (g->status != 0) {
		bind_int(st, i + 2, g->status);
		bind_str(st, i + 3, class_names[ckpt_class_of(g->status)]);
	}
	bind_str(st, i + 4, g->code);
	bind_str(st, i + 5, g->error);
}

/* A line of history, begun now and, with an outcome, ended now. */
static int
attempt(struct ckpt *c, int64_t id, const char *run, const struct ending *g,
    const char *key, struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_TRY, e);

	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, run);
	bind_str(st, 3, c->host);
	bind_int(st, 4, getpid());
	bind_str(st, 5, c->tool);
	bind_int(st, 6, c->now);
	if (g->outcome != NULL)
		bind_int(st, 7, c->now);
	bind_ending(st, 8, g);
	return change_one(c, st, key, e);
}

/*
 * The run's attempt at the unit has ended so: the one that is open, or one
 * nobody announced.  Saying the same thing twice is saying it once.
 */
static int
attempt_end(struct ckpt *c, int64_t id, const char *run,
    const struct ending *g, const char *key, struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_TRY_END, e);
	int		 n;

	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, run);
	bind_int(st, 3, c->now);
	bind_ending(st, 4, g);
	if (change(c, st, &n, e) == -1)
		return -1;
	if (n > 0)
		return 0;
	st = stmt(c, ST_TRY_ENDED, e);
	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, run);
	bind_str(st, 3, g->outcome);
	n = db_step(st, c->path, e);
	if (n != 0)
		return n == 1 ? 0 : -1;
	st = stmt(c, ST_COUNT_TRY, e);
	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	if (change_one(c, st, key, e) == -1)
		return -1;
	return attempt(c, id, run, g, key, e);
}

/*
 * The changes.
 */

int
ckpt_plan(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *run, struct err *e)
{
	struct found	f;
	int64_t		id;
	int		rv;

	if (c == NULL)
		return 0;
	if (check_key(key, e) == -1 || enter(c, e) == -1)
		return -1;
	rv = find(c, scope, key, NULL, run, &f, e);
	if (rv == 0 && f.id == 0)
		rv = insert(c, scope, key, CKPT_PENDING, NULL, NULL, &id, e);
	else if (rv == 0)
		rv = 1;
	return leave(c, rv, e);
}

/* Take the unit over, from whatever state it is in. */
static int
take(struct ckpt *c, int64_t id, const char *key, const char *digest,
    const char *run, struct err *e)
{
	sqlite3_stmt	*st;

	/* who had it left it without a word */
	st = stmt(c, ST_TRY_ABANDON, e);
	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_int(st, 2, c->now);
	if (db_step(st, c->path, e) == -1)
		return -1;
	st = stmt(c, ST_START, e);
	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, digest);
	bind_str(st, 3, c->tool);
	bind_str(st, 4, run);
	bind_str(st, 5, c->host);
	bind_int(st, 6, getpid());
	bind_int(st, 7, getpgrp());
	bind_int(st, 8, c->now + CKPT_LEASE_S * 1000);
	bind_int(st, 9, c->now);
	return change_one(c, st, key, e);
}

static int
start(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	struct ending	 g = { NULL, digest, 0, NULL, NULL };
	struct found	 f;
	sqlite3_stmt	*st;

	if (find(c, scope, key, digest, run, &f, e) == -1)
		return -1;
	if (f.id == 0) {
		if (insert(c, scope, key, CKPT_IN_PROGRESS, digest, run,
		    &f.id, e) == -1)
			return -1;
		return attempt(c, f.id, run, &g, key, e);
	}
	if (f.state == CKPT_IN_PROGRESS && f.mine) {
		st = stmt(c, ST_RENEW, e);
		if (st == NULL)
			return -1;
		bind_int(st, 1, f.id);
		bind_int(st, 2, c->now + CKPT_LEASE_S * 1000);
		bind_int(st, 3, c->now);
		bind_str(st, 4, run);
		bind_str(st, 5, digest);
		return change_one(c, st, key, e);
	}
	if (held(&f)) {
		st = stmt(c, ST_COUNT_TRY, e);
		if (st == NULL)
			return -1;
		bind_int(st, 1, f.id);
		if (change_one(c, st, key, e) == -1)
			return -1;
		return attempt(c, f.id, run, &g, key, e) == -1 ? -1 : 1;
	}
	if (take(c, f.id, key, digest, run, e) == -1)
		return -1;
	return attempt(c, f.id, run, &g, key, e);
}

int
ckpt_start(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	if (c == NULL)
		return 0;
	if (check_key(key, e) == -1 || enter(c, e) == -1)
		return -1;
	return leave(c, start(c, scope, key, digest, run, e), e);
}

static int
set_failed(struct ckpt *c, int64_t id, const char *key, const char *run,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_FAIL, e);

	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, c->tool);
	bind_str(st, 3, run);
	bind_str(st, 4, c->host);
	bind_int(st, 5, getpid());
	bind_int(st, 6, getpgrp());
	bind_str(st, 7, class_names[ckpt_class_of(g->status)]);
	bind_int(st, 8, g->status);
	bind_str(st, 9, g->code);
	bind_str(st, 10, g->error);
	bind_int(st, 11, c->now);
	if (change_one(c, st, key, e) == -1)
		return -1;
	return attempt_end(c, id, run, g, key, e);
}

static int
set_done(struct ckpt *c, int64_t id, const char *key, const char *run,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_DONE, e);

	if (st == NULL)
		return -1;
	bind_int(st, 1, id);
	bind_str(st, 2, g->digest);
	bind_str(st, 3, c->tool);
	bind_str(st, 4, run);
	bind_str(st, 5, c->host);
	bind_int(st, 6, getpid());
	bind_int(st, 7, getpgrp());
	bind_int(st, 8, c->now);
	if (change_one(c, st, key, e) == -1)
		return -1;
	return attempt_end(c, id, run, g, key, e);
}

/* *changed: started as one content, done as another. */
static int
done(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, int *changed, struct err *e)
{
	struct ending	 g = { "completed", digest, 0, NULL, NULL };
	struct ending	 bad = { "failed", digest, MSG_DATAERR, "changed",
		"it changed while it was worked on" };
	struct found	 f;

	if (find(c, scope, key, digest, run, &f, e) == -1)
		return -1;
	if (f.id == 0) {
		if (insert(c, scope, key, CKPT_COMPLETED, digest, run, &f.id,
		    e) == -1)
			return -1;
		return attempt(c, f.id, run, &g, key, e);
	}
	if (!f.same && f.state == CKPT_IN_PROGRESS && f.mine) {
		*changed = 1;
		return set_failed(c, f.id, key, run, &bad, e);
	}
	/* another run has, or has done, other content by this name */
	if (!f.same && !f.mine && (held(&f) || f.state == CKPT_COMPLETED))
		return attempt_end(c, f.id, run, &g, key, e) == -1 ? -1 : 1;
	/* the same content, done before: nothing new but to whom began */
	if (f.same && f.known && f.state == CKPT_COMPLETED) {
		sqlite3_stmt	*st = stmt(c, ST_TRY_END, e);

		if (st == NULL)
			return -1;
		bind_int(st, 1, f.id);
		bind_str(st, 2, run);
		bind_int(st, 3, c->now);
		bind_ending(st, 4, &g);
		return db_step(st, c->path, e);
	}
	return set_done(c, f.id, key, run, &g, e);
}

int
ckpt_done(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	int	changed = 0, rv;

	if (c == NULL)
		return 0;
	if (check_key(key, e) == -1 || enter(c, e) == -1)
		return -1;
	rv = leave(c, done(c, scope, key, digest, run, &changed, e), e);
	if (rv == 0 && changed)
		return err_set(e, MSG_DATAERR, "%s: it changed while it was "
		    "worked on: it was not that content that was done", key);
	return rv;
}

/* text in UTF-8 and within bounds, in a buffer of CKPT_TEXT_MAX + 1. */
static const char *
clean_text(const char *text, char *b)
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

static int
fail(struct ckpt *c, enum ckpt_scope scope, const char *key, const char *run,
    const struct ending *g, struct err *e)
{
	struct found	f;

	if (find(c, scope, key, NULL, run, &f, e) == -1)
		return -1;
	if (f.id == 0) {
		if (insert(c, scope, key, CKPT_IN_PROGRESS, NULL, run, &f.id,
		    e) == -1 || attempt(c, f.id, run, &(struct ending){ NULL,
		    NULL, 0, NULL, NULL }, key, e) == -1)
			return -1;
	} else if (held(&f) || f.state == CKPT_COMPLETED)
		return attempt_end(c, f.id, run, g, key, e) == -1 ? -1 : 1;
	return set_failed(c, f.id, key, run, g, e);
}

int
ckpt_fail(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *run, int status, const char *code, const char *text,
    struct err *e)
{
	char		b[CKPT_TEXT_MAX + 1];
	struct ending	g = { "failed", NULL, status, code, NULL };

	if (c == NULL)
		return 0;
	if (status == 0)
		return err_set(e, MSG_SOFTWARE, "%s: failed with status 0",
		    key);
	if (code == NULL && ckpt_class_of(status) != CKPT_UNKNOWN)
		g.code = msg_status_name(status);
	g.error = clean_text(text, b);
	if (check_key(key, e) == -1 || enter(c, e) == -1)
		return -1;
	return leave(c, fail(c, scope, key, run, &g, e), e);
}

int
ckpt_release(struct ckpt *c, const char *run, int status, uint64_t *n,
    struct err *e)
{
	static const enum stmt	order[] = { ST_RELEASE_TRY, ST_RELEASE };
	const char		*class = class_names[ckpt_class_of(status)];
	sqlite3_stmt		*st;
	size_t			 i;
	int			 rows = 0, rv = 0;

	if (n != NULL)
		*n = 0;
	if (c == NULL || run == NULL)
		return 0;
	if (enter(c, e) == -1)
		return -1;
	for (i = 0; rv == 0 && i < sizeof(order) / sizeof(order[0]); i++) {
		st = stmt(c, order[i], e);
		if (st == NULL) {
			rv = -1;
			break;
		}
		bind_str(st, 1, run);
		bind_str(st, 2, c->pipeline);
		if (status != 0) {
			bind_str(st, 3, class);
			bind_int(st, 4, status);
		}
		bind_int(st, 5, c->now);
		rv = change(c, st, &rows, e);
	}
	if (rv == 0 && n != NULL)
		*n = (uint64_t)rows;
	return leave(c, rv, e);
}

int
ckpt_note(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const struct ckpt_facts *f, struct err *e)
{
	sqlite3_stmt	*st;
	int		 n = 0, rv = -1;

	if (c == NULL)
		return 0;
	if (enter(c, e) == -1)
		return -1;
	st = stmt(c, ST_NOTE, e);
	if (st == NULL)
		return leave(c, -1, e);
	bind_str(st, 1, c->pipeline);
	bind_str(st, 2, scope_names[scope]);
	bind_str(st, 3, key);
	if (f->size != 0)
		bind_int(st, 4, (int64_t)f->size);
	if (f->mtime != 0)
		bind_int(st, 5, f->mtime);
	if (f->inode != 0)
		bind_int(st, 6, (int64_t)f->inode);
	bind_str(st, 7, f->options);
	if (change(c, st, &n, e) == 0)
		rv = n == 1 ? 0 : err_set(e, MSG_NOINPUT,
		    "%s: no such checkpoint", key);
	return leave(c, rv, e);
}

/*
 * Questions.  A selection is evaluated once, into a temporary table: what
 * is stale can change between two looks.
 */

static const char unit_columns[] =
    "SELECT id, pipeline, scope, key, state, digest, size, mtime, inode,"
    " tool, options, run, host, pid, pgid, lease, " STALE ", attempts,"
    " class, status, code, error, created, updated FROM unit";

/* " AND name IN ('a','b')" for the bits of set; our own words only. */
static void
where_set(struct buf *b, const char *name, unsigned int set,
    const char *const *v, int n)
{
	const char	*sep = "";
	int		 i;

	if (set == 0)
		return;
	buf_printf(b, " AND coalesce(%s, '') IN (", name);
	for (i = 0; i < n; i++)
		if (set & (1U << i)) {
			buf_printf(b, "%s'%s'", sep, v[i]);
			sep = ", ";
		}
	buf_str(b, ")");
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
	    " (key TEXT PRIMARY KEY); DELETE FROM sel_key", c->path, e) == -1)
		return -1;
	st = db_prepare(c->db, "INSERT OR IGNORE INTO sel_key VALUES (?1)",
	    c->path, e);
	if (st == NULL)
		return -1;
	for (i = 0; rv == 0 && i < s->n_keys; i++) {
		bind_str(st, 1, s->keys[i]);
		rv = db_step(st, c->path, e);
		(void)sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	return rv;
}

/* The ids of the selection, numbered in its order, in temp.sel. */
static int
fill_sel(struct ckpt *c, const struct ckpt_sel *s, int open, uint64_t limit,
    struct err *e)
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
	if (s->pipeline != NULL)
		buf_str(&b, " AND pipeline = ?1");
	where_set(&b, "scope", s->scopes, scope_names, CKPT_SCOPE_N);
	where_set(&b, "state", s->states, state_names, CKPT_STATE_N);
	where_set(&b, "class", s->classes, class_names, CKPT_CLASS_N);
	if (s->n_keys > 0)
		buf_str(&b, " AND key IN (SELECT key FROM sel_key)");
	if (s->glob != NULL)
		buf_str(&b, " AND key GLOB ?2");
	if (open)
		buf_str(&b, " AND (state = 'failed' OR"
		    " (state = 'in_progress' AND " STALE "))");
	buf_str(&b, s->oldest ? " ORDER BY updated, id" :
	    " ORDER BY updated DESC, id DESC");
	if (limit != 0)
		buf_str(&b, " LIMIT ?3");
	st = db_prepare(c->db, buf_cstr(&b), c->path, e);
	if (st == NULL)
		goto done;
	bind_str(st, 1, s->pipeline);
	bind_str(st, 2, s->glob);
	if (limit != 0)
		bind_int(st, 3, limit > INT64_MAX ? INT64_MAX :
		    (int64_t)limit);
	rv = db_step(st, c->path, e);
done:
	sqlite3_finalize(st);
	buf_free(&b);
	return rv;
}

static const char *
col_str(sqlite3_stmt *st, int i)
{
	return (const char *)sqlite3_column_text(st, i);
}

static int
get_unit(struct ckpt *c, sqlite3_stmt *st, struct ckpt_unit *u,
    struct err *e)
{
	memset(u, 0, sizeof(*u));
	u->id = sqlite3_column_int64(st, 0);
	u->pipeline = col_str(st, 1);
	u->key = col_str(st, 3);
	if (u->pipeline == NULL || u->key == NULL ||
	    ckpt_scope_parse(col_str(st, 2), &u->scope) == -1 ||
	    ckpt_state_parse(col_str(st, 4), &u->state) == -1)
		return err_set(e, MSG_DATAERR, "%s: unit %lld makes no sense",
		    c->path, (long long)u->id);
	u->digest = col_str(st, 5);
	u->size = (uint64_t)sqlite3_column_int64(st, 6);
	u->mtime = sqlite3_column_int64(st, 7);
	u->inode = (uint64_t)sqlite3_column_int64(st, 8);
	u->tool = col_str(st, 9);
	u->options = col_str(st, 10);
	u->run = col_str(st, 11);
	u->host = col_str(st, 12);
	u->pid = sqlite3_column_int64(st, 13);
	u->pgid = sqlite3_column_int64(st, 14);
	u->lease = sqlite3_column_int64(st, 15);
	u->stale = u->state == CKPT_IN_PROGRESS &&
	    sqlite3_column_int(st, 16);
	u->attempts = (uint64_t)sqlite3_column_int64(st, 17);
	(void)ckpt_class_parse(col_str(st, 18), &u->class);
	u->status = sqlite3_column_int(st, 19);
	u->code = col_str(st, 20);
	u->error = col_str(st, 21);
	u->created = sqlite3_column_int64(st, 22);
	u->updated = sqlite3_column_int64(st, 23);
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
	buf_printf(&b, "%s JOIN sel USING (id) ORDER BY n", unit_columns);
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
	if (fill_sel(c, s, s->open, s->limit, e) == 0)
		rv = each_sel(c, f, arg, e);
	if (own)
		(void)sqlite3_exec(c->db, rv == 0 ? "COMMIT" : "ROLLBACK",
		    NULL, NULL, NULL);
	return rv;
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
	bind_int(st, 1, unit);
	while ((r = db_step(st, c->path, e)) == 1) {
		memset(&a, 0, sizeof(a));
		a.run = col_str(st, 0);
		a.host = col_str(st, 1);
		a.tool = col_str(st, 2);
		a.pid = sqlite3_column_int64(st, 3);
		a.started = sqlite3_column_int64(st, 4);
		a.ended = sqlite3_column_int64(st, 5);
		a.outcome = col_str(st, 6) != NULL ? col_str(st, 6) : "";
		a.digest = col_str(st, 7);
		a.status = sqlite3_column_int(st, 8);
		(void)ckpt_class_parse(col_str(st, 9), &a.class);
		a.code = col_str(st, 10);
		a.error = col_str(st, 11);
		if (f(&a, arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

int
ckpt_count(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
    struct err *e)
{
	int64_t	v = 0;

	c->now = io_wall_ns() / 1000000;
	if (fill_sel(c, s, s->open, s->limit, e) == -1 ||
	    db_int(c->db, "SELECT count(*) FROM sel", c->path, &v, e) == -1)
		return -1;
	*n = (uint64_t)v;
	return 0;
}

int
ckpt_clear(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
    struct err *e)
{
	int	rv = -1;

	if (enter(c, e) == -1)
		return -1;
	if (fill_sel(c, s, s->open, 0, e) == 0 && db_exec(c->db,
	    "DELETE FROM unit WHERE id IN (SELECT id FROM sel)", c->path,
	    e) == 0) {
		*n = (uint64_t)sqlite3_changes(c->db);
		rv = 0;
	}
	return leave(c, rv, e);
}

int
ckpt_retry(struct ckpt *c, const struct ckpt_sel *s,
    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
    uint64_t *n, struct err *e)
{
	sqlite3_stmt	*st = NULL;
	int		 rows = 0, rv = -1;

	*n = 0;
	if (enter(c, e) == -1)
		return -1;
	if (fill_sel(c, s, 1, s->limit, e) == -1 ||
	    each_sel(c, f, arg, e) == -1)
		goto done;
	st = db_prepare(c->db, "UPDATE attempt SET ended = ?1,"
	    " outcome = 'abandoned' WHERE ended IS NULL AND unit IN"
	    " (SELECT id FROM sel)", c->path, e);
	if (st == NULL)
		goto done;
	bind_int(st, 1, c->now);
	if (db_step(st, c->path, e) == -1)
		goto done;
	sqlite3_finalize(st);
	st = db_prepare(c->db, "UPDATE unit SET state = 'pending',"
	    " lease = NULL, updated = ?1 WHERE id IN (SELECT id FROM sel)"
	    " AND state IN ('failed', 'in_progress')", c->path, e);
	if (st == NULL)
		goto done;
	bind_int(st, 1, c->now);
	rv = change(c, st, &rows, e);
	*n = (uint64_t)rows;
done:
	sqlite3_finalize(st);
	return leave(c, rv, e);
}

/*
 * Breakers.
 */

const char *
ckpt_breaker_state(enum breaker_state s)
{
	return breaker_names[s];
}

static int
get_breaker(struct ckpt *c, sqlite3_stmt *st, struct breaker *b,
    struct err *e)
{
	const char	*s = col_str(st, 3);
	int		 i = name_index(breaker_names, 0, BREAKER_STATE_N,
			     col_str(st, 1));

	memset(b, 0, sizeof(*b));
	if (i == -1 || s == NULL || strlen(s) > BREAKER_LAST ||
	    s[strspn(s, "+-")] != '\0')
		return err_set(e, MSG_DATAERR, "%s: a breaker makes no sense",
		    c->path);
	b->state = (enum breaker_state)i;
	b->failures = (unsigned int)sqlite3_column_int(st, 2);
	(void)snprintf(b->recent, sizeof(b->recent), "%s", s);
	b->opened = sqlite3_column_int64(st, 4);
	b->until = sqlite3_column_int64(st, 5);
	b->wait = sqlite3_column_int64(st, 6);
	if ((s = col_str(st, 7)) != NULL)
		(void)snprintf(b->probe_host, sizeof(b->probe_host), "%s", s);
	b->probe_pid = sqlite3_column_int64(st, 8);
	b->probe_until = sqlite3_column_int64(st, 9);
	if ((s = col_str(st, 10)) != NULL)
		(void)snprintf(b->why, sizeof(b->why), "%s", s);
	return 0;
}

int
ckpt_breaker_get(struct ckpt *c, const char *host, struct breaker *b,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 r;

	memset(b, 0, sizeof(*b));
	if (c == NULL)
		return 0;
	st = stmt(c, ST_BREAKER, e);
	if (st == NULL)
		return -1;
	bind_str(st, 1, host);
	r = db_step(st, c->path, e);
	if (r == 1 && get_breaker(c, st, b, e) == -1)
		r = -1;
	(void)sqlite3_reset(st);
	return r;
}

static int
put_breaker(struct ckpt *c, const char *host, const struct breaker *b,
    struct err *e)
{
	sqlite3_stmt	*st = stmt(c, ST_BREAKER_PUT, e);

	if (st == NULL)
		return -1;
	bind_str(st, 1, host);
	bind_str(st, 2, breaker_names[b->state]);
	bind_int(st, 3, b->failures);
	bind_str(st, 4, b->recent);
	if (b->state != BREAKER_CLOSED) {
		bind_int(st, 5, b->opened);
		bind_int(st, 6, b->until);
		bind_int(st, 7, b->wait);
	}
	if (b->state == BREAKER_HALF_OPEN) {
		bind_str(st, 8, b->probe_host);
		bind_int(st, 9, b->probe_pid);
		bind_int(st, 10, b->probe_until);
	}
	if (b->why[0] != '\0')
		bind_str(st, 11, b->why);
	bind_int(st, 12, c->now);
	return db_step(st, c->path, e);
}

int
ckpt_breaker_change(struct ckpt *c, const char *host,
    int (*f)(struct breaker *b, int64_t now, void *arg), void *arg,
    struct err *e)
{
	char		why[CKPT_TEXT_MAX + 1];
	struct breaker	b;
	int		own = c != NULL && !c->begun, r, rv = -1;

	if (c == NULL)
		return 0;
	if (check_key(host, e) == -1)
		return -1;
	/* it is asked in the middle of a transfer: no wait for the disk */
	if (own && db_exec(c->db, "PRAGMA synchronous = NORMAL", c->path,
	    e) == -1)
		return -1;
	if (enter(c, e) == -1)
		goto done;
	r = ckpt_breaker_get(c, host, &b, e);
	if (r != -1 && f(&b, c->now, arg)) {
		(void)snprintf(b.why, sizeof(b.why), "%s",
		    clean_text(b.why, why));
		r = put_breaker(c, host, &b, e);
	}
	rv = leave(c, r == -1 ? -1 : 0, e);
done:
	if (own && db_exec(c->db, "PRAGMA synchronous = FULL", c->path, e) ==
	    -1)
		rv = -1;
	return rv;
}

int
ckpt_breaker_each(struct ckpt *c, int (*f)(const char *host,
    const struct breaker *b, int64_t updated, void *arg), void *arg,
    struct err *e)
{
	sqlite3_stmt	*st;
	struct breaker	 b;
	int		 r;

	st = db_prepare(c->db, "SELECT host, state, failures, recent, opened,"
	    " until, wait, probe_host, probe_pid, probe_until, error, updated"
	    " FROM breaker ORDER BY host", c->path, e);
	if (st == NULL)
		return -1;
	while ((r = db_step(st, c->path, e)) == 1) {
		r = get_breaker(c, st, &b, e);
		if (r == -1 || f(col_str(st, 0), &b,
		    sqlite3_column_int64(st, 11), arg) != 0)
			break;
	}
	sqlite3_finalize(st);
	return r == -1 ? -1 : 0;
}

int
ckpt_breaker_clear(struct ckpt *c, const char *host, uint64_t *n,
    struct err *e)
{
	sqlite3_stmt	*st;
	int		 rows = 0, rv = -1;

	*n = 0;
	if (c == NULL)
		return 0;
	if (enter(c, e) == -1)
		return -1;
	st = db_prepare(c->db, "DELETE FROM breaker WHERE ?1 IS NULL OR"
	    " host = ?1", c->path, e);
	if (st != NULL) {
		bind_str(st, 1, host);
		rv = change(c, st, &rows, e);
		*n = (uint64_t)rows;
	}
	sqlite3_finalize(st);
	return leave(c, rv, e);
}
