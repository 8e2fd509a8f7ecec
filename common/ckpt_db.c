/*
 * ckpt_db: the tables, opening them, bringing older ones up to date,
 * transactions.  It decides nothing about units.
 * SPDX-License-Identifier: ISC
 */
#define _XOPEN_SOURCE 700 /* realpath */
#include "ckpt_db.h"

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
#include "ckpt_fs.h"
#include "ckpt_key.h"
#include "db.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "banned.h"

#define CKPT_OPEN_S	10.0	/* for others who are making it too */
#define CKPT_MAKE_S	2.0	/* for an empty file to be made one */
#define CKPT_HEADER	100	/* bytes of a database's header */
#define CKPT_LOOK_MS	10000	/* for who writes what we may only read */
#define CKPT_PATH_MAX	4096	/* bytes of the name of a log */

/*
 * Times are ms since 1970, but mtime, which is the file's, in ns, and born
 * and pgborn, which are ticks of the machine's clock.
 */
#define UNIT_TABLE \
    "CREATE TABLE unit (" \
    " id INTEGER PRIMARY KEY," \
    " pipeline TEXT NOT NULL," \
    " scope TEXT NOT NULL CHECK (scope IN" \
    "  ('pipeline', 'chunk', 'input', 'operation'))," \
    " key TEXT NOT NULL," \
    " state TEXT NOT NULL CHECK (state IN" \
    "  ('pending', 'in_progress', 'completed', 'failed'))," \
    " digest TEXT, size INTEGER, mtime INTEGER, inode INTEGER," \
    " tool TEXT, options TEXT, run TEXT," \
    " host TEXT, pid INTEGER, pgid INTEGER, lease INTEGER," \
    " attempts INTEGER NOT NULL DEFAULT 0," \
    " class TEXT CHECK (class IN ('transient', 'permanent', 'unknown'))," \
    " status INTEGER, code TEXT, error TEXT," \
    " created INTEGER NOT NULL, updated INTEGER NOT NULL"
/* since version 2 */
#define UNIT_MORE(sep) \
    sep("place TEXT") sep("born INTEGER") sep("pgborn INTEGER") \
    sep("began INTEGER") sep("records INTEGER") sep("result TEXT") \
    sep("forced INTEGER NOT NULL DEFAULT 0")
#define AS_COLUMN(s) ", " s
#define AS_ALTER(s) "ALTER TABLE unit ADD COLUMN " s ";"
#define UNIT_INDEX \
    "CREATE INDEX unit_state ON unit (state, updated);" \
    "CREATE INDEX unit_run ON unit (run, state);"
#define ATTEMPT_TABLE \
    "CREATE TABLE attempt (" \
    " id INTEGER PRIMARY KEY," \
    " unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE," \
    " run TEXT, host TEXT, pid INTEGER, tool TEXT," \
    " started INTEGER NOT NULL, ended INTEGER," \
    " outcome TEXT CHECK (outcome IN" \
    "  ('completed', 'repeated', 'failed', 'abandoned'))," \
    " digest TEXT, status INTEGER, class TEXT, code TEXT, error TEXT," \
    " nth INTEGER NOT NULL DEFAULT 1);"	/* of the unit's attempts */ \
    "CREATE INDEX attempt_unit ON attempt (unit, run);" \
    "CREATE INDEX attempt_open ON attempt (run) WHERE ended IS NULL;"
#define BREAKER_TABLE \
    "CREATE TABLE breaker (" \
    " host TEXT PRIMARY KEY," \
    " state TEXT NOT NULL CHECK (state IN" \
    "  ('closed', 'open', 'half_open'))," \
    " failures INTEGER NOT NULL DEFAULT 0," /* in a row */ \
    " recent TEXT NOT NULL DEFAULT ''," /* the last ones, + and - */ \
    " opened INTEGER, until INTEGER, wait INTEGER," \
    " probe_host TEXT, probe_pid INTEGER, probe_until INTEGER," \
    " error TEXT, updated INTEGER NOT NULL);"
/* run: what it was; past: attempts that were forgotten; meta: of the file */
#define NEW_TABLES \
    "CREATE TABLE run (" \
    " id TEXT PRIMARY KEY, pipeline TEXT NOT NULL," \
    " command TEXT, cwd TEXT, host TEXT," \
    " started INTEGER NOT NULL, ended INTEGER, status INTEGER," \
    " records INTEGER, bytes INTEGER, summary TEXT);" \
    "CREATE INDEX run_pipeline ON run (pipeline, started);" \
    "CREATE TABLE past (" \
    " pipeline TEXT NOT NULL, scope TEXT NOT NULL," \
    " outcome TEXT NOT NULL, class TEXT NOT NULL, code TEXT NOT NULL," \
    " n INTEGER NOT NULL, retries INTEGER NOT NULL, last INTEGER," \
    " PRIMARY KEY (pipeline, scope, outcome, class, code));" \
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"

static const char schema[] =
    UNIT_TABLE UNIT_MORE(AS_COLUMN) ", UNIQUE (pipeline, scope, key));"
    UNIT_INDEX ATTEMPT_TABLE BREAKER_TABLE NEW_TABLES;

/* Version 1 knew no run, no birth, no root; its keys were absolute. */
static const char from_1[] =
    UNIT_MORE(AS_ALTER)
    "DROP INDEX attempt_unit; DROP INDEX attempt_open;"
    "ALTER TABLE attempt RENAME TO attempt_1;"
    ATTEMPT_TABLE
    "INSERT INTO attempt SELECT id, unit, run, host, pid, tool, started,"
    " ended, outcome, digest, status, class, code, error,"
    " row_number() OVER (PARTITION BY unit ORDER BY started, id)"
    " FROM attempt_1;"
    "DROP TABLE attempt_1;"
    NEW_TABLES
    "UPDATE OR IGNORE unit SET key = ckpt_key_in(scope, key)"
    " WHERE key <> ckpt_key_in(scope, key);";

/* Who works on it; the numbers are the same in START, DONE and FAIL. */
#define OWNER \
    "tool = ?2, run = ?3, host = ?4, place = ?5, pid = ?6, born = ?7," \
    " pgid = ?8, pgborn = ?9, updated = ?10"

const char *const ckpt_db_sql[CKPT_ST_N] = {
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
	const char	*s = (const char *)sqlite3_value_text(v);

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
	const char	*key = (const char *)sqlite3_value_text(v[1]);
	enum ckpt_scope	 scope;

	if (key == NULL || ckpt_scope_parse((const char *)
	    sqlite3_value_text(v[0]), &scope) == -1)
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

static int
add_functions(struct ckpt *c, struct err *e)
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
 * Opening.
 */

/* 1 WAL, 0 not; *given: DCKPT_JOURNAL says so. */
static int
want_wal(int *given, struct err *e)
{
	const char	*s = getenv("DCKPT_JOURNAL");

	*given = s != NULL && *s != '\0';
	if (!*given || strcmp(s, "wal") == 0)
		return 1;
	if (strcmp(s, "delete") == 0)
		return 0;
	return err_set(e, MSG_USAGE, "DCKPT_JOURNAL: want wal or delete, got "
	    "%.32s", s);
}

/* Before anything is made there. */
static int
check_fs(const char *path, const char *dir, struct err *e)
{
	const char	*fs = ckpt_fs_of(access(path, F_OK) == 0 ? path : dir);

	if (fs == NULL)
		return 0;
	return err_set(e, MSG_USAGE, "%s: on %s: a write-ahead log wants "
	    "memory that all its processes share, on one machine: put it on "
	    "a local disk, or set DCKPT_JOURNAL=delete (as safe as the "
	    "locks of that file system are, and readers wait for writers)",
	    path, fs);
}

/*
 * Handles of this process.  Closing any descriptor of a file gives up all
 * locks that the process has on it, SQLite's too: what is open is not
 * looked at again.
 */
static struct ckpt	*handles;

static const struct ckpt *
is_open(const char *path)
{
	const struct ckpt	*c;
	struct stat		 st;

	if (stat(path, &st) == -1)
		return NULL;
	for (c = handles; c != NULL; c = c->next)
		if (c->dev == st.st_dev && c->ino == st.st_ino)
			return c;
	return NULL;
}

static void
forget_handle(struct ckpt *c)
{
	struct ckpt	**p;

	for (p = &handles; *p != NULL && *p != c; p = &(*p)->next)
		continue;
	if (*p == c)
		*p = c->next;
}

/*
 * Is what lies at path ours, or nothing yet?  Looked at before SQLite
 * does, which would change a stranger's journal mode.  While a database of
 * ours is made its application_id may still be in the log; it is in WAL
 * mode before it is anything else.  *wal gets the mode it is in; -1: it
 * has none yet.  *ro: it may not be written, which with CKPT_LOOK is no
 * error.
 */
static int
look_once(const char *path, int flags, int *wal, int *ro, struct err *e)
{
	int		create = (flags & CKPT_CREATE) != 0;
	const struct ckpt *same = is_open(path);
	unsigned char	h[CKPT_HEADER];
	struct stat	st;
	ssize_t		n;
	int		fd, rv = -1;

	*wal = same != NULL ? same->wal : -1;
	if (same != NULL)
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
	if (fd == -1 && (flags & CKPT_LOOK) != 0 && (errno == EROFS ||
	    errno == EACCES || errno == EPERM)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		*ro = 1;
	}
	if (fd == -1 && errno == ENOENT)
		return err_set(e, MSG_NOINPUT, "%s: no such checkpoint "
		    "database", path);
	if (fd == -1 && errno == EISDIR)
		return err_set(e, MSG_DATAERR, "%s: not a checkpoint "
		    "database: it is a directory", path);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		err_set(e, MSG_DATAERR, "%s: not a checkpoint database",
		    path);
	else if (fstat(fd, &st) == -1 ||
	    (n = io_pread(fd, h, sizeof(h), 0)) == -1)
		err_sys(e, errno, "%s", path);
	else if (n == 0 && !create)
		rv = 1;
	else if (n > 0 && (n < (ssize_t)sizeof(h) ||
	    memcmp(h, "SQLite format 3", 16) != 0 ||
	    (buf_get_u32(h + 68) != CKPT_APP_ID &&
	    (buf_get_u32(h + 68) != 0 || h[18] != 2))))
		err_set(e, MSG_DATAERR, "%s: not a checkpoint database",
		    path);
	else {
		if (n > 0)
			*wal = h[18] == 2;
		rv = 0;
	}
	(void)close(fd);
	return rv;
}

static void
nap(void)
{
	struct timespec	ts = { 0, 0 };

	ts.tv_nsec = 5000000 + (long)(getpid() % 16) * 1000000;
	(void)nanosleep(&ts, NULL);
}

/* An empty file may be one that somebody is making. */
static int
look(const char *path, int flags, int *wal, int *ro, struct err *e)
{
	double	end = io_now() + CKPT_MAKE_S;
	int	rv;

	while ((rv = look_once(path, flags, wal, ro, e)) == 1 &&
	    io_now() < end)
		nap();
	if (rv == 1)
		return err_set(e, MSG_DATAERR, "%s: not a checkpoint "
		    "database: it is empty", path);
	return rv;
}

/*
 * Of one that may not be written: is it still?  Who writes one in WAL mode
 * has a log beside it; without one, and in a directory that may not be
 * written either, SQLite is told that nothing changes, as it could not make
 * the memory it would share.
 */
static int
is_still(const char *path, const char *dir, int wal)
{
	struct stat	st;
	char		log[CKPT_PATH_MAX];
	int		n;

	n = snprintf(log, sizeof(log), "%s-wal", path);
	return wal == 1 && n > 0 && (size_t)n < sizeof(log) &&
	    (stat(log, &st) == -1 ? errno == ENOENT : st.st_size == 0) &&
	    access(dir, W_OK) == -1;
}

/* Keys are relative to DCKPT_ROOT, or to the database's directory. */
static int
put_root_kind(struct ckpt *c, int env, struct err *e)
{
	return db_exec(c->db, env ? "INSERT OR REPLACE INTO meta VALUES"
	    " ('root', 'DCKPT_ROOT')" : "INSERT OR REPLACE INTO meta VALUES"
	    " ('root', 'database')", c->path, e);
}

static int
has_root_env(void)
{
	const char	*s = getenv("DCKPT_ROOT");

	return s != NULL && *s != '\0';
}

/* The schema as it should be, in one transaction; *v was its version. */
static int
make_schema(struct ckpt *c, int64_t *v, struct err *e)
{
	char	b[96];
	int64_t	n = 0;

	if (db_exec(c->db, "BEGIN IMMEDIATE", c->path, e) == -1 ||
	    db_int(c->db, "PRAGMA user_version", c->path, v, e) == -1)
		return -1;
	if (*v == 0) {
		if (db_int(c->db, "SELECT count(*) FROM sqlite_master",
		    c->path, &n, e) == -1)
			return -1;
		if (n != 0)
			return err_set(e, MSG_DATAERR, "%s: not a checkpoint "
			    "database", c->path);
		(void)snprintf(b, sizeof(b), "PRAGMA application_id = %d;",
		    CKPT_APP_ID);
		if (db_exec(c->db, schema, c->path, e) == -1 ||
		    db_exec(c->db, b, c->path, e) == -1)
			return -1;
	} else if (*v == 1 && db_exec(c->db, from_1, c->path, e) == -1)
		return -1;
	if (*v < CKPT_VERSION) {
		(void)snprintf(b, sizeof(b), "PRAGMA user_version = %d",
		    CKPT_VERSION);
		if (put_root_kind(c, has_root_env(), e) == -1 ||
		    db_exec(c->db, b, c->path, e) == -1)
			return -1;
		*v = CKPT_VERSION;
	}
	return db_exec(c->db, "COMMIT", c->path, e);
}

static int
open_schema(struct ckpt *c, int create, struct err *e)
{
	int64_t	v = 0, app = 0, n = 0;

	if (db_int(c->db, "PRAGMA user_version", c->path, &v, e) == -1 ||
	    db_int(c->db, "PRAGMA application_id", c->path, &app, e) == -1)
		return -1;
	/* somebody is making it: all of it comes with one commit */
	if (v == 0 && !create && db_int(c->db, "SELECT count(*) FROM"
	    " sqlite_master", c->path, &n, e) != -1 && n == 0)
		return err_set(e, MSG_TEMPFAIL, "%s: nobody has finished "
		    "making it", c->path);
	if (v == 1 && app == CKPT_APP_ID && c->how != CKPT_RW)
		return err_set(e, MSG_NOPERM, "%s: schema: want %d, got 1: "
		    "ask it once where it may be written, which brings it up "
		    "to date", c->path, CKPT_VERSION);
	if (((v == 0 && create) || (v == 1 && app == CKPT_APP_ID)) &&
	    (make_schema(c, &v, e) == -1 || db_int(c->db,
	    "PRAGMA application_id", c->path, &app, e) == -1))
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

/*
 * Who has DCKPT_ROOT and who has not would take one key for two files.  It
 * may be set for a database in which no key is relative yet.
 */
static int
check_root(struct ckpt *c, struct err *e)
{
	int64_t	kind = 0, n = 0;
	int	env = has_root_env();

	if (db_int(c->db, "SELECT value = 'DCKPT_ROOT' FROM meta"
	    " WHERE key = 'root'", c->path, &kind, e) == -1)
		return -1;
	if ((kind != 0) == env)
		return 0;
	if (!env)
		return err_set(e, MSG_USAGE, "%s: its keys are relative to "
		    "DCKPT_ROOT: set it", c->path);
	if (c->how == CKPT_RW && db_exec(c->db, "BEGIN IMMEDIATE", c->path,
	    e) == -1)
		return -1;
	if (db_int(c->db, "SELECT count(*) FROM unit WHERE key GLOB './*'"
	    " OR key GLOB 'publish ./*'", c->path, &n, e) == -1)
		return -1;
	if (n != 0)
		return err_set(e, MSG_USAGE, "%s: its keys are relative to "
		    "its own directory: unset DCKPT_ROOT, or begin another "
		    "database", c->path);
	if (c->how != CKPT_RW)
		return 0;
	if (put_root_kind(c, 1, e) == -1)
		return -1;
	return db_exec(c->db, "COMMIT", c->path, e);
}

/* The handle of one that is only looked at; its name may be a link. */
static struct sqlite3 *
open_to_look(const struct ckpt *c, struct err *e)
{
	struct err	 sub = { 0, "" };
	struct sqlite3	*db;
	int64_t		 v;
	char		*real = realpath(c->path, NULL);

	if (real == NULL) {
		err_sys(e, errno, "%s", c->path);
		return NULL;
	}
	db = db_open(real, c->how == CKPT_STILL ? DB_FROZEN : DB_STRANGER, 0,
	    &sub);
	free(real);
	if (db != NULL) {
		(void)sqlite3_busy_timeout(db, CKPT_LOOK_MS);
		/* ours are asked with keys */
		(void)sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
		    CKPT_KEY_MAX);
		if (db_int(db, "PRAGMA user_version", c->path, &v, &sub) !=
		    -1)
			return db;
		sqlite3_close(db);
	}
	if (c->how == CKPT_RO && c->wal && (sub.code == MSG_NOPERM ||
	    sub.code == MSG_TEMPFAIL))
		err_set(e, MSG_NOPERM, "%s: its log, %s-wal, wants to be "
		    "recovered, and may not be written here: copy both to "
		    "where they may", c->path, c->path);
	else
		err_set(e, sub.code, "%s", sub.text);
	return NULL;
}

/* Opened and made by many at once: SQLite may say busy without waiting. */
static int
open_db(struct ckpt *c, int create, struct err *e)
{
	struct err	try;
	double		end = io_now() + CKPT_OPEN_S;

	for (;;) {
		try.code = 0;
		c->db = c->how != CKPT_RW ? open_to_look(c, &try) :
		    db_open(c->path, c->wal ? DB_SHARED : DB_SHARED_DELETE,
		    0, &try);
		if (c->db != NULL && add_functions(c, &try) == 0 &&
		    open_schema(c, create, &try) == 0 &&
		    check_root(c, &try) == 0)
			return 0;
		sqlite3_close(c->db);
		c->db = NULL;
		if (try.code != MSG_TEMPFAIL || io_now() >= end)
			break;
		nap();
	}
	*e = try;
	return -1;
}

int64_t
ckpt_lease(struct err *e)
{
	const char	*lease = getenv("DCKPT_LEASE"), *why;
	uint64_t	 s = CKPT_LEASE_S;

	if (lease != NULL && *lease != '\0' &&
	    (num_duration(lease, &s, &why) == -1 || s == 0 ||
	    s > 365 * 86400))
		return err_set(e, MSG_USAGE, "DCKPT_LEASE: %.32s: want a time "
		    "such as 90s or 1h", lease);
	return (int64_t)s * 1000;
}

/* Everything of c that needs no database. */
static int
prepare(struct ckpt *c, char *dir, struct err *e)
{
	const char	*pipe = getenv("DCKPT_PIPELINE");
	const char	*run = getenv("DRUN_ID");

	c->root = has_root_env() ? path_from_url(getenv("DCKPT_ROOT"), e) :
	    mem_dup(dir);
	if (c->root == NULL)
		return -1;
	c->lease_ms = ckpt_lease(e);
	if (c->lease_ms == -1)
		return -1;
	ckpt_owner_self(&c->self, run != NULL && *run != '\0');
	(void)snprintf(c->tool, sizeof(c->tool), "%s %s", msg_prog(),
	    MSG_VERSION);
	return ckpt_set_pipeline(c, pipe != NULL && *pipe != '\0' ? pipe :
	    CKPT_DEFAULT, e);
}

struct ckpt *
ckpt_open(const char *path, int flags, struct err *e)
{
	int		 create = (flags & CKPT_CREATE) != 0, given, wal, is;
	int		 ro = 0;
	struct ckpt	*c = NULL;
	struct stat	 st;
	char		*dir = NULL;

	if (path == NULL)
		path = getenv("DCKPT_DB");
	if (path == NULL || *path == '\0') {
		e->code = 0;
		return NULL;
	}
	wal = want_wal(&given, e);
	if (wal == -1)
		return NULL;
	dir = ckpt_key_dir(path, e);
	if (dir == NULL)
		return NULL;
	/* before anything is made */
	if (wal && (given || access(path, F_OK) == -1) &&
	    check_fs(path, dir, e) == -1)
		goto fail;
	if (look(path, flags, &is, &ro, e) == -1)
		goto fail;
	if (!given && is == 0)
		wal = 0;
	if (wal && check_fs(path, dir, e) == -1)
		goto fail;
	c = mem_zero(1, sizeof(*c));
	c->path = mem_dup(path);
	c->wal = wal;
	if (ro)
		c->how = is_still(path, dir, is) ? CKPT_STILL : CKPT_RO;
	if (prepare(c, dir, e) == -1 || open_db(c, create, e) == -1)
		goto fail;
	if (stat(path, &st) == -1) {
		err_sys(e, errno, "%s", path);
		goto fail;
	}
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	c->next = handles;
	handles = c;
	if (create)
		ckpt_db_tell_run(c);
	free(dir);
	return c;
fail:
	free(dir);
	ckpt_close(c);
	return NULL;
}

void
ckpt_close(struct ckpt *c)
{
	int	i, saved = errno;

	if (c == NULL)
		return;
	forget_handle(c);
	for (i = 0; i < CKPT_ST_N; i++)
		sqlite3_finalize(c->st[i]);
	sqlite3_close(c->db); /* rolls back */
	free(c->pipeline);
	free(c->root);
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
		c->st[i] = db_prepare(c->db, ckpt_db_sql[i], c->path, e);
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
		(void)sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
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
	return (const char *)sqlite3_column_text(st, i);
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
