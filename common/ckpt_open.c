/*
 * ckpt_open: a checkpoint database is found or made, and brought up to date.
 * It refuses what is none of ours before SQLite may touch it.
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
		if (c->db != NULL && ckpt_db_functions(c, &try) == 0 &&
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
