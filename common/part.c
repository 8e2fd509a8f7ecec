/*
 * part: files that arrive, in a directory or in the cache.  It never
 * writes over a name, and never follows a link.
 * SPDX-License-Identifier: ISC
 */
#include "part.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "banned.h"

#define PART_DIR	"part"
#define PART_SUFFIX	".mark"
#define PART_NAME	(HASH_HEX + sizeof(PART_SUFFIX))
#define PART_LINE	128	/* bytes of a mark */
#define PART_IDLE	64	/* digests kept for the next ones */
#define PART_CHUNK	((size_t)256 << 10)

struct parts {
	char		*cache;
	int		 dir;		/* its "part", or -1 */
	int		 bad;		/* no piece is made any more */
	unsigned int	 serial;
	struct hash	*idle[PART_IDLE];
	unsigned int	 n_idle;
	unsigned char	*buf;		/* for reading, or NULL */
};

struct part {
	struct parts	*c;
	const char	*file, *name;
	int		 dirfd, fd;
	/* nowhere yet; a file in dirfd; a piece of the cache; its name */
	enum { PART_NONE, PART_ASIDE, PART_PIECE, PART_PLACED } where;
	char		 aside[48];
	char		 id[HASH_HEX];
	struct hash	*h, *md5;
	uint64_t	 at;
	uint64_t	 marked;	/* bytes the mark speaks of */
	uint64_t	 old, want;	/* what is being read */
	unsigned char	 d[HASH_LEN];
};

/*
 * The cache.
 */

struct parts *
parts_new(const char *cache)
{
	struct parts	*c = mem_zero(1, sizeof(*c));

	c->cache = cache != NULL ? mem_dup(cache) : NULL;
	c->dir = -1;
	c->bad = cache == NULL;
	return c;
}

void
parts_free(struct parts *c)
{
	if (c == NULL)
		return;
	while (c->n_idle > 0)
		hash_free(c->idle[--c->n_idle]);
	if (c->dir != -1)
		(void)close(c->dir);
	free(c->buf);
	free(c->cache);
	free(c);
}

static void
mark_name(const char *id, char name[PART_NAME])
{
	(void)snprintf(name, PART_NAME, "%s%s", id, PART_SUFFIX);
}

static void
remove_piece(const struct parts *c, const char *id)
{
	char	mark[PART_NAME];

	mark_name(id, mark);
	(void)unlinkat(c->dir, mark, 0);
	(void)unlinkat(c->dir, id, 0);
}

/*
 * Open and lock one that we may write: its descriptor, or -1: somebody
 * else is at it, or it is none of ours.
 */
static int
open_piece(const struct parts *c, const char *id, int flags)
{
	struct stat	st;
	int		fd, tries;

	for (tries = 0; tries < 3; tries++) {
		fd = openat(c->dir, id, O_RDWR | O_NOFOLLOW | O_NONBLOCK |
		    O_CLOEXEC | flags, 0666);
		if (fd == -1)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB) == -1 ||
		    fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
		    st.st_uid != geteuid())
			break;
		if (st.st_nlink == 1)
			return fd;
		/*
		 * 0: it was swept before we had the lock.  More: its owner
		 * died while it gave it a name, under which it stays.
		 */
		if (st.st_nlink > 1)
			remove_piece(c, id);
		(void)close(fd);
	}
	if (tries < 3)
		(void)close(fd);
	return -1;
}

/* One name of the cache: removed when it is old and nobody's. */
static void
sweep_one(const struct parts *c, const char *name, time_t now)
{
	unsigned char	d[HASH_LEN];
	char		id[HASH_HEX];
	struct stat	st;
	size_t		n = strlen(name);
	int		fd;

	if (n != HASH_HEX - 1 && (n != HASH_HEX - 1 + strlen(PART_SUFFIX) ||
	    strcmp(name + HASH_HEX - 1, PART_SUFFIX) != 0))
		return;
	memcpy(id, name, HASH_HEX - 1);
	id[HASH_HEX - 1] = '\0';
	if (hash_unhex(id, d) == -1 || fstatat(c->dir, name, &st,
	    AT_SYMLINK_NOFOLLOW) == -1 || now - st.st_mtime < PART_AGE)
		return;
	if (n == HASH_HEX - 1) {
		fd = open_piece(c, id, 0);
		if (fd == -1)
			return;
		remove_piece(c, id);
		(void)close(fd);
	} else if (faccessat(c->dir, id, F_OK, 0) == -1)
		(void)unlinkat(c->dir, name, 0);
}

static void
sweep(const struct parts *c)
{
	struct dirent	*de;
	time_t		 now = time(NULL);
	DIR		*dir;
	int		 fd;

	fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd != -1 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		if (fd != -1)
			(void)close(fd);
		return;
	}
	while ((de = readdir(dir)) != NULL)
		sweep_one(c, de->d_name, now);
	(void)closedir(dir);
}

/* The cache's directory, made when it is first wanted: 0 or -1. */
static int
open_cache(struct parts *c)
{
	struct err	e = { 0, "" };
	int		fd;

	if (c->bad || c->dir != -1)
		return c->bad ? -1 : 0;
	c->bad = 1;
	if (io_mkdirs(c->cache, &e) == -1)
		return -1;
	fd = open(c->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (mkdirat(fd, PART_DIR, 0700) == 0 || errno == EEXIST)
		c->dir = openat(fd, PART_DIR, O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
	(void)close(fd);
	if (c->dir == -1)
		return -1;
	c->bad = 0;
	sweep(c);
	return 0;
}

/*
 * One file.
 */

struct part *
part_new(struct parts *c, int dirfd, const char *file, const char *name)
{
	struct part	*p = mem_zero(1, sizeof(*p));

	p->c = c;
	p->dirfd = dirfd;
	p->file = file;
	p->name = name;
	p->fd = -1;
	p->h = c->n_idle > 0 ? c->idle[--c->n_idle] : hash_new();
	return p;
}

void
part_free(struct part *p, int keep)
{
	if (p == NULL)
		return;
	if (p->where == PART_PIECE && keep && p->at > 0)
		part_mark(p);
	else if (p->where == PART_PIECE)
		remove_piece(p->c, p->id);
	else if (p->where == PART_ASIDE)
		(void)unlinkat(p->dirfd, p->aside, 0);
	if (p->fd != -1)
		(void)close(p->fd);
	hash_reset(p->h);
	if (p->c->n_idle < PART_IDLE)
		p->c->idle[p->c->n_idle++] = p->h;
	else
		hash_free(p->h);
	hash_free(p->md5);
	free(p);
}

uint64_t
part_at(const struct part *p)
{
	return p->at;
}

uint64_t
part_old(const struct part *p)
{
	return p->old;
}

void
part_md5(struct part *p)
{
	if (p->md5 == NULL && p->at == 0)
		p->md5 = hash_md5_new();
}

/* A file in its directory, under a name that nobody has. */
static int
open_aside(struct part *p, struct err *e)
{
	int	tries;

	for (tries = 0; tries < 1000; tries++) {
		(void)snprintf(p->aside, sizeof(p->aside), ".part.%ld.%u",
		    (long)getpid(), p->c->serial++);
		p->fd = openat(p->dirfd, p->aside, O_WRONLY | O_CREAT |
		    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
		if (p->fd != -1) {
			p->where = PART_ASIDE;
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	return err_sys(e, errno, "%s: %s", p->name, p->file);
}

/* The mark of a piece: bytes and their digest; 0, or -1: none is good. */
static int
read_mark(const struct part *p, uint64_t *n, unsigned char d[HASH_LEN])
{
	char		 name[PART_NAME], line[PART_LINE], *hex, *end;
	const char	*why;
	ssize_t		 k;
	int		 fd;

	mark_name(p->id, name);
	fd = openat(p->c->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return -1;
	k = io_pread(fd, line, sizeof(line) - 1, 0);
	(void)close(fd);
	if (k <= 0)
		return -1;
	line[k] = '\0';
	hex = strchr(line, ' ');
	end = strchr(line, '\n');
	if (hex == NULL || end == NULL || hex > end)
		return -1;
	*hex++ = *end = '\0';
	return num_u64(line, 1, INT64_MAX, n, &why) == 0 &&
	    hash_unhex(hex, d) == 0 ? 0 : -1;
}

int
part_cache(struct part *p, const char *etag)
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h;
	struct stat	 st;

	if (p->file == NULL || p->where != PART_NONE || p->at != 0 ||
	    open_cache(p->c) == -1)
		return 0;
	h = p->h; /* nothing is in it yet */
	hash_add(h, p->name, strlen(p->name) + 1);
	hash_add(h, etag, strlen(etag));
	hash_final(h, d);
	hash_hex(d, p->id);
	p->fd = open_piece(p->c, p->id, O_CREAT);
	if (p->fd == -1)
		return 0;
	p->where = PART_PIECE;
	if (read_mark(p, &p->want, p->d) == 0 && fstat(p->fd, &st) == 0 &&
	    (uint64_t)st.st_size >= p->want)
		return 1;
	p->want = 0;
	if (ftruncate(p->fd, 0) == -1) {
		(void)close(p->fd);
		p->fd = -1;
		p->where = PART_NONE;
	}
	return 0;
}

/* What was read does not fit: as if nothing had been there. */
static void
throw_away(struct part *p)
{
	struct err	e = { 0, "" };

	if (part_reset(p, 0, &e) == -1)
		(void)part_reset(p, 1, &e);
}

int
part_read(struct part *p)
{
	unsigned char	d[HASH_LEN];
	uint64_t	end = p->want - p->at > PART_SLICE ?
			    p->at + PART_SLICE : p->want;
	ssize_t		n;

	if (p->c->buf == NULL)
		p->c->buf = mem_alloc(PART_CHUNK);
	while (p->at < end) {
		n = io_pread(p->fd, p->c->buf, end - p->at < PART_CHUNK ?
		    (size_t)(end - p->at) : PART_CHUNK, p->at);
		if (n <= 0) {
			throw_away(p);
			return 0;
		}
		hash_add(p->h, p->c->buf, (size_t)n);
		if (p->md5 != NULL)
			hash_add(p->md5, p->c->buf, (size_t)n);
		p->at += (uint64_t)n;
	}
	if (p->at < p->want)
		return 1;
	hash_peek(p->h, d);
	if (memcmp(d, p->d, HASH_LEN) != 0 ||
	    ftruncate(p->fd, (off_t)p->at) == -1 ||
	    lseek(p->fd, (off_t)p->at, SEEK_SET) == -1) {
		throw_away(p);
		return 0;
	}
	p->old = p->marked = p->at;
	return 0;
}

int
part_reset(struct part *p, int other, struct err *e)
{
	char	mark[PART_NAME];

	hash_reset(p->h);
	if (p->md5 != NULL)
		hash_reset(p->md5);
	p->at = p->old = p->want = p->marked = 0;
	if (p->where == PART_PIECE && other) {
		remove_piece(p->c, p->id);
		(void)close(p->fd);
		p->fd = -1;
		p->where = PART_NONE;
	} else if (p->where == PART_PIECE) {
		mark_name(p->id, mark);
		(void)unlinkat(p->c->dir, mark, 0);
	}
	if (p->fd != -1 && (ftruncate(p->fd, 0) == -1 ||
	    lseek(p->fd, 0, SEEK_SET) == -1))
		return err_sys(e, errno, "%s: %s", p->name, p->file);
	return 0;
}

void
part_mark(struct part *p)
{
	unsigned char	d[HASH_LEN];
	char		name[PART_NAME], hex[HASH_HEX], line[PART_LINE];
	int		fd;

	if (p->where != PART_PIECE || p->at == p->marked)
		return;
	hash_peek(p->h, d);
	hash_hex(d, hex);
	/* of one length, so that one write changes all of it */
	(void)snprintf(line, sizeof(line), "%020llu %s\n",
	    (unsigned long long)p->at, hex);
	mark_name(p->id, name);
	fd = openat(p->c->dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC, 0666);
	if (fd == -1)
		return;
	/* one that is torn is a piece less, not an error */
	(void)io_write(fd, line, strlen(line));
	(void)close(fd);
	p->marked = p->at;
}

/* A piece becomes a file in its directory, with the bytes it has. */
static int
leave_cache(struct part *p, struct err *e)
{
	uint64_t	size = 0;
	int		from = p->fd;

	if (ftruncate(from, (off_t)p->at) == -1 ||
	    lseek(from, 0, SEEK_SET) == -1)
		return err_sys(e, errno, "%s: the cache", p->name);
	if (open_aside(p, e) == -1) {
		p->fd = from;
		return -1;
	}
	if (io_copy(from, p->fd, p->name, NULL, &size, e) == 0 &&
	    size != p->at)
		err_set(e, MSG_IOERR, "%s: the cache: want %llu bytes, got "
		    "%llu", p->name, (unsigned long long)p->at,
		    (unsigned long long)size);
	if (e->code == 0 && lseek(p->fd, (off_t)p->at, SEEK_SET) == -1)
		err_sys(e, errno, "%s: %s", p->name, p->file);
	remove_piece(p->c, p->id);
	(void)close(from);
	return e->code == 0 ? 0 : -1;
}

/* The cache is full: is there room where the file belongs? */
static int
write_elsewhere(struct part *p, const void *b, size_t n, struct err *e)
{
	p->c->bad = 1;
	if (leave_cache(p, e) == -1)
		return -1;
	if (io_write(p->fd, b, n) == -1)
		return err_sys(e, errno, "%s: %s", p->name, p->file);
	return 0;
}

int
part_add(struct part *p, const void *b, size_t n, struct err *e)
{
	if (p->file != NULL) {
		if (p->where == PART_NONE && open_aside(p, e) == -1)
			return -1;
		if (io_write(p->fd, b, n) == -1) {
			if (p->where != PART_PIECE)
				return err_sys(e, errno, "%s: %s", p->name,
				    p->file);
			if (write_elsewhere(p, b, n, e) == -1)
				return -1;
		}
	}
	hash_add(p->h, b, n);
	if (p->md5 != NULL)
		hash_add(p->md5, b, n);
	p->at += n;
	if (p->where == PART_PIECE && p->at - p->marked >= PART_MARK)
		part_mark(p);
	return 0;
}

void
part_final(struct part *p, unsigned char d[HASH_LEN],
    unsigned char md5[HASH_MD5], int *has_md5)
{
	hash_final(p->h, d);
	*has_md5 = p->md5 != NULL;
	if (p->md5 != NULL)
		hash_md5_final(p->md5, md5);
}

/*
 * Names.
 */

/* The directory that file lies in, made when it is not there. */
static int
open_parent(int dirfd, const char *file, const char *name, struct err *e)
{
	const char	*p = file, *slash;
	char		*one;
	int		 fd, next;

	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (; fd != -1 && (slash = strchr(p, '/')) != NULL; p = slash + 1) {
		one = mem_ndup(p, (size_t)(slash - p));
		next = -1;
		if (mkdirat(fd, one, 0777) == 0 || errno == EEXIST)
			next = openat(fd, one, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
		if (next == -1)
			err_sys(e, errno, "%s: %s", name, file);
		free(one);
		(void)close(fd);
		fd = next;
	}
	if (fd == -1)
		err_sys(e, errno, "%s: %s", name, file);
	return fd;
}

static int
err_taken(const struct part *p, struct err *e)
{
	return err_set(e, MSG_IOERR, "%s: %s is already there", p->name,
	    p->file);
}

/* Link from into the directory to, as file: 0, 1 it cannot, -1. */
static int
link_as(struct part *p, int from, const char *name, int to, struct err *e)
{
	const char	*base = path_base(p->file);
	struct stat	 st;

	if (linkat(from, name, to, base, 0) == 0) {
		(void)unlinkat(from, name, 0);
		return 0;
	}
	if (errno == EEXIST)
		return err_taken(p, e);
	if (from == p->c->dir)
		return 1;
	/* a file system without links: it can only look first */
	if (errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK &&
	    errno != ENOSYS)
		return err_sys(e, errno, "%s: %s", p->name, p->file);
	if (fstatat(to, base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_taken(p, e);
	if (renameat(from, name, to, base) == -1)
		return err_sys(e, errno, "%s: %s", p->name, p->file);
	return 0;
}

int
part_place(struct part *p, struct err *e)
{
	int	dir, r = 1, rv = -1;

	if (p->file == NULL)
		return 0;
	if (p->where == PART_NONE && open_aside(p, e) == -1)
		return -1;
	dir = open_parent(p->dirfd, p->file, p->name, e);
	if (dir == -1)
		return -1;
	if (p->where == PART_PIECE) {
		r = link_as(p, p->c->dir, p->id, dir, e);
		if (r == -1)
			goto done;
		if (r == 0)
			remove_piece(p->c, p->id);
		else if (leave_cache(p, e) == -1)
			goto done;
	}
	if (r == 1 && (io_close(&p->fd, p->name, e) == -1 ||
	    link_as(p, p->dirfd, p->aside, dir, e) == -1))
		goto done;
	p->where = PART_PLACED;
	rv = io_close(&p->fd, p->name, e);
	if (rv == -1)
		(void)unlinkat(dir, path_base(p->file), 0);
done:
	(void)close(dir);
	return rv;
}

int
part_is_free(int dirfd, const char *file, const char *name, struct err *e)
{
	struct stat	st;

	if (fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	return err_set(e, MSG_IOERR, "%s: %s is already there", name, file);
}
