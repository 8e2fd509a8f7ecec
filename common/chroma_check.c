/*
 * chroma_check: is this ChromaDB directory whole?  Bytes, schema, rows,
 * queue, sequence numbers, HNSW files and full-text index, in the order
 * in which each may be relied on by the next.  What each part asks is in
 * chroma_schema_check.c, chroma_rows_check.c and chroma_index_check.c.
 *
 * It says what is wrong and mends nothing; a failing machine is no verdict.
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

#include "buf.h"
#include "chroma.h"
#include "chroma_index_check.h"
#include "chroma_judge_check.h"
#include "chroma_rows_check.h"
#include "chroma_schema_check.h"
#include "db.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "banned.h"

#define HEAD_LEN 100		/* bytes of a SQLite header */

/* -- bytes ------------------------------------------------------------- */

/* The head of the file; more says which kind of head is wanted of it. */
static int
read_head(struct judge *j, unsigned char b[HEAD_LEN], uint64_t *size)
{
	struct stat	st;
	char		name[CHROMA_PATH_MAX];
	int		fd, n;

	n = snprintf(name, sizeof(name), "%s/%s", j->path, CHROMA_FILE);
	if (n < 0 || (size_t)n >= sizeof(name))
		return err_set(j->e, MSG_USAGE, "%.200s: path too long",
		    j->path);
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT || errno == ENOTDIR)
			return REFUSE(CHECK_MISSING, "%s is not there",
			    CHROMA_FILE);
		if (errno == ELOOP)
			return REFUSE(CHECK_UNSAFE, "%s is a symbolic link",
			    CHROMA_FILE);
		return err_sys(j->e, errno, "%s", name);
	}
	memset(b, 0, HEAD_LEN);
	if (fstat(fd, &st) == -1 ||
	    (S_ISREG(st.st_mode) &&
	    io_pread(fd, b, HEAD_LEN, 0) == -1)) {
		err_sys(j->e, errno, "%s", name);
		(void)close(fd);
		return -1;
	}
	(void)close(fd);
	*size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode))
		return REFUSE(CHECK_UNSAFE, "%s is not a regular file",
		    CHROMA_FILE);
	return 0;
}

static int
check_magic(struct judge *j, const unsigned char b[HEAD_LEN], uint64_t size)
{
	static const char	magic[16] = "SQLite format 3";
	size_t			n = size < 16 ? (size_t)size : 16;

	if (size == 0)
		return REFUSE(CHECK_SIZE, "%s has 0 bytes", CHROMA_FILE);
	if (memcmp(b, magic, n) != 0)
		return REFUSE(CHECK_NOTADB, "%s: wrong magic: not a SQLite "
		    "database", CHROMA_FILE);
	if (size < HEAD_LEN)
		return REFUSE(CHECK_TORN, "%s: size %llu: cut off in its "
		    "header", CHROMA_FILE, (unsigned long long)size);
	return 0;
}

static int
check_size(struct judge *j)
{
	unsigned char	b[HEAD_LEN];
	uint64_t	size, page, pages;
	int		r;

	if ((r = read_head(j, b, &size)) != 0 ||
	    (r = check_magic(j, b, size)) != 0)
		return r;
	page = (uint64_t)b[16] << 8 | b[17];
	if (page == 1)
		page = 65536;
	if (page < 512 || (page & (page - 1)) != 0)
		return REFUSE(CHECK_NOTADB, "%s: page size %llu in its "
		    "header", CHROMA_FILE, (unsigned long long)page);
	pages = buf_get_u32(b + 28);
	/* the count only means something when its version is the file's */
	if (pages != 0 && memcmp(b + 24, b + 92, 4) == 0 &&
	    pages * page != size)
		return REFUSE(CHECK_TORN, "%s: size: want %llu (%llu pages "
		    "of %llu), got %llu", CHROMA_FILE,
		    (unsigned long long)(pages * page),
		    (unsigned long long)pages, (unsigned long long)page,
		    (unsigned long long)size);
	if (size % page != 0)
		return REFUSE(CHECK_TORN, "%s: size: want a multiple of "
		    "%llu, got %llu", CHROMA_FILE, (unsigned long long)page,
		    (unsigned long long)size);
	/* 1 is UTF-8; 0 a database without a table */
	if (buf_get_u32(b + 56) != 1)
		return REFUSE(CHECK_SCHEMA, "%s: text encoding: want UTF-8",
		    CHROMA_FILE);
	return 0;
}

static int
check_hot(struct judge *j)
{
	static const char *const	why[] = {
		"", CHROMA_FILE "-journal holds a transaction that was not "
		"finished", CHROMA_FILE "-wal is not empty",
		CHROMA_FILE " is in WAL mode and its WAL is not there"
	};
	int	hot = chroma_is_hot(j->path, j->e);

	if (hot == -1)
		return -1;
	if (hot == CHROMA_CLOSED || (j->flags & CHECK_RECOVER_HOT) != 0)
		return 0;
	return REFUSE(CHECK_HOT, "%s", why[hot]);
}

/* -- all of it --------------------------------------------------------- */

/* The ledger's own form, before it is believed. */
static int
check_ledger(struct judge *j)
{
	int64_t	n;
	int	r;

	if ((r = judge_number(j,
	    "SELECT (SELECT count(*) FROM embeddings_queue) + "
	    "(SELECT count(*) FROM max_seq_id)", &n)) != 0)
		return r;
	if (n != 0)
		return REFUSE(CHECK_LEDGER, "a ChromaDB server has written to "
		    "it: its queue and sequence numbers are not empty");
	if (chroma_ours_open(&j->ours, &j->c, j->e) == -1)
		return judge_fault(j, CHECK_LEDGER);
	return j->light ? 0 : judge_pages(j, j->ours.l.db, j->ours.l.path,
	    LEDGER_FILE);
}

/*
 * A ledger speaks of files as they were: without a manifest that names
 * them, or with another, nobody knows whether they still are.  That each
 * has its digest is for those to prove who have read all bytes.
 */
static int
check_manifest(struct judge *j)
{
	struct manifest	m;
	struct err	mine;
	int		r = 0;

	memset(&mine, 0, sizeof(mine));
	if (manifest_read(&m, j->c.dirfd, NULL, &mine) == -1) {
		if (mine.code == MSG_NOINPUT)
			return REFUSE(CHECK_MANIFEST, "%s, but no %s",
			    LEDGER_FILE, MANIFEST_NAME);
		if (mine.code == MSG_DATAERR)
			return REFUSE(CHECK_MANIFEST, "%s", mine.text);
		return err_set(j->e, mine.code, "%s", mine.text);
	}
	if (manifest_verify(&m, j->c.dirfd, 0, &mine) == -1)
		r = mine.code == MSG_DATAERR ? REFUSE(CHECK_MANIFEST, "%s",
		    mine.text) : err_set(j->e, mine.code, "%s", mine.text);
	manifest_clear(&m);
	return r;
}

/* What the rest stands on. */
static int
check_front(struct judge *j)
{
	int	r;

	/* first of all: looking at the pages evaluates what a schema says */
	if ((r = judge_kinds(j)) != 0 ||
	    (!j->light && (r = judge_pages(j, j->c.db, j->c.file,
	    CHROMA_FILE)) != 0) || (r = judge_schema(j)) != 0 ||
	    (r = judge_collections(j)) != 0)
		return r;
	return judge_dimension(j);
}

/* Everything else behind the open database. */
static int
check_rest(struct judge *j)
{
	size_t	i;
	int	r;

	if ((r = judge_queue(j)) != 0 || (r = judge_seq(j)) != 0 ||
	    (j->c.ours && (r = check_ledger(j)) != 0))
		return r;
	/* lost records are named as such, before what they left behind */
	for (i = 0; i < j->c.n && r == 0; i++)
		r = judge_ids(j, i);
	if (r == 0 && j->c.ours && chroma_ours_end(&j->ours, j->e) == -1)
		r = judge_fault(j, CHECK_LEDGER);
	return r != 0 ? r : judge_metadata(j);
}

/* Journals that are links or worse would be opened by SQLite. */
static int
check_beside(struct judge *j)
{
	static const char *const	names[] = {
		CHROMA_FILE "-journal", CHROMA_FILE "-wal",
		CHROMA_FILE "-shm", LEDGER_FILE "-journal",
		LEDGER_FILE "-wal", LEDGER_FILE "-shm"
	};
	struct stat	st;
	size_t		i;
	int		dirfd, rv = 0;

	dirfd = open(j->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd == -1) {
		if (errno == ENOENT || errno == ENOTDIR)
			return REFUSE(CHECK_MISSING, "no such directory");
		return err_sys(j->e, errno, "%s", j->path);
	}
	for (i = 0; i < sizeof(names) / sizeof(names[0]) && rv == 0; i++) {
		if (fstatat(dirfd, names[i], &st, AT_SYMLINK_NOFOLLOW) ==
		    -1) {
			if (errno != ENOENT)
				rv = err_sys(j->e, errno, "%s/%s", j->path,
				    names[i]);
		} else if (!S_ISREG(st.st_mode))
			rv = REFUSE(CHECK_UNSAFE, "%s is not a regular file",
			    names[i]);
	}
	(void)close(dirfd);
	return rv;
}

/* Everything up to the open database; j->c is to be cleared after it. */
static int
check_open(struct judge *j)
{
	unsigned char	b[HEAD_LEN];
	uint64_t	size;
	int		recover = (j->flags & CHECK_RECOVER_HOT) != 0;
	int		r;

	j->c.dirfd = -1;
	if ((r = check_beside(j)) != 0 || (r = read_head(j, b, &size)) != 0 ||
	    (r = check_magic(j, b, size)) != 0 || (r = check_hot(j)) != 0)
		return r;
	/* before a rollback the file may have any size */
	if (!recover && (r = check_size(j)) != 0)
		return r;
	if (chroma_start(&j->c, j->path, recover ? STORE_RECOVER : 0, j->e) ==
	    -1 || (recover && db_exec(j->c.db, "PRAGMA journal_mode=DELETE",
	    j->c.file, j->e) == -1))
		return judge_fault(j, CHECK_CORRUPT);
	if (recover && (r = check_size(j)) != 0)
		return r;
	j->light = j->c.ours && (j->flags & CHECK_OURS) != 0;
	return j->c.ours && !j->light ? check_manifest(j) : 0;
}

/* -- judged while it is read ------------------------------------------- */

struct chroma_once {
	struct judge		 j;	/* its c is a view of the store's */
	struct chroma_watch	 w;
	struct tally		 t;
	struct check_verdict	 v;	/* that nobody hears of */
	struct err		 e;
};

/* A judge's answer as a watch's. */
static int
tell(struct chroma_once *o, int r, struct err *e)
{
	if (r == 1)
		return err_set(e, MSG_DATAERR, "%s", o->v.reason);
	if (r == -1)
		*e = o->e;
	return r;
}

static int
once_id(void *arg, const struct chroma_state *s, struct err *e)
{
	struct chroma_once	*o = arg;

	return tell(o, judge_id(&o->j, 0, &o->t, s), e);
}

static int
once_queue(void *arg, struct sqlite3_stmt *st, struct err *e)
{
	struct chroma_once	*o = arg;

	return tell(o, judge_queue_row(&o->j, st), e);
}

static int
once_meta(void *arg, struct sqlite3_stmt *st, struct err *e)
{
	struct chroma_once	*o = arg;

	return tell(o, judge_meta_row(&o->j, st), e);
}

static int
once_end(void *arg, struct chroma_walk *w, struct err *e)
{
	struct chroma_once	*o = arg;

	return tell(o, judge_tally(&o->j, 0, &o->t, w), e);
}

/*
 * Rows are counted as seen when they were found by their number: it must be
 * one, and nobody else's, as it is in every schema of ChromaDB's.
 */
static int
has_number(struct judge *j, const char *sql)
{
	int64_t	one = 0;

	return db_int(j->c.db, sql, j->c.file, &one, j->e) == 1 && one == 1;
}

#define IS_KEY(table, column) "SELECT count(*) = 1 AND max(name) = '" column \
	"' FROM pragma_table_info('" table "') WHERE pk > 0"

/* 0: go on while it is read; 1: this cannot be judged so; -1 */
static int
once_start(struct chroma_once *o)
{
	struct judge	*j = &o->j;
	int		 r;

	if (j->c.n != 1 || j->c.ours ||
	    (j->flags & (CHECK_OURS | CHECK_RECOVER_HOT)) != 0)
		return 1;
	if (!has_number(j, IS_KEY("embeddings", "id")) ||
	    !has_number(j, IS_KEY("embeddings_queue", "seq_id")))
		return j->e->code != 0 && j->e->code != MSG_DATAERR ? -1 : 1;
	if ((r = judge_seq(j)) != 0)
		return r;
	o->w.arg = o;
	o->w.id = once_id;
	o->w.queue = once_queue;
	o->w.meta = once_meta;
	o->w.end = once_end;
	return j->c.small ? 0 : judge_meta_order(j, &o->w.meta_sorted,
	    &o->w.meta_rows);
}

int
chroma_once_end(struct chroma_once *o, struct err *e)
{
	int	r;

	o->j.meta_seen = o->w.all_meta;
	r = judge_metadata(&o->j);
	if (r == -1)
		*e = o->e;
	return r;
}

void
chroma_once_free(struct chroma_once *o)
{
	free(o);
}

int
chroma_check_once(const char *path, int flags, struct chroma *c,
    struct chroma_once **once, struct check_verdict *v, struct err *e)
{
	struct chroma_once	*o = mem_zero(1, sizeof(*o));
	struct judge		*j = &o->j;
	int			 r, r1 = 1;

	j->path = path;
	j->flags = flags;
	j->v = v;
	j->e = e;
	if ((r = check_open(j)) == 0 && (r = check_front(j)) == 0) {
		if (once != NULL) {
			j->v = &o->v;
			j->e = &o->e;
			r1 = once_start(o);
			if (r1 == -1)
				*e = o->e;
			if (r1 == 1) {
				j->v = v;
				j->e = e;
			}
		}
		r = r1 == 1 ? check_rest(j) : r1;
	}
	chroma_ours_close(&j->ours);
	if (r == 0 && c != NULL) {
		*c = j->c;
		if (r1 == 0)
			c->watch = &o->w;
	} else if (chroma_clear(&j->c, e) == -1 && r == 0)
		r = -1;
	if (once != NULL)
		*once = r == 0 && r1 == 0 ? o : NULL;
	if (once == NULL || *once == NULL)
		free(o);
	return r;
}

int
chroma_check(const char *path, int flags, struct chroma *c,
    struct check_verdict *v, struct err *e)
{
	return chroma_check_once(path, flags, c, NULL, v, e);
}
