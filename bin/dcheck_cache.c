/*
 * dcheck: verdicts remembered by digest, each in a file of its own that is
 * believed only when it is whole, of this version, and of this user.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "rec.h"
#include "banned.h"

#define KEEP_S	(30 * 86400)	/* a verdict that nobody asks for */
#define SWEEP_S	86400		/* from one sweep to the next */
#define USED_S	86400		/* from one mark of use to the next */
#define SWEPT	".swept"	/* whose time is the last sweep's */

static char *
join(const char *a, const char *b)
{
	struct buf	s;
	char		*rv;

	buf_init(&s, 16384);
	buf_printf(&s, "%s%s", a, b);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

int
cache_open(struct cache *c, const char *dir, struct err *e)
{
	const char	*s;
	char		*path, *sub;
	int		 rv = 0, named = 1;

	c->dirfd = -1;
	c->n = 0;
	if (dir == NULL) {
		dir = getenv("DCACHE");
		if (dir != NULL && *dir == '\0')
			return 0;
	}
	if (dir != NULL)
		path = mem_dup(dir);
	else if ((s = getenv("XDG_CACHE_HOME")) != NULL && *s == '/') {
		path = join(s, "/intact");
		named = 0;
	} else if ((s = getenv("HOME")) != NULL && *s == '/') {
		path = join(s, "/.cache/intact");
		named = 0;
	} else
		return 0;
	sub = join(path, "/verdicts");
	if (io_mkdirs(path, e) == -1)
		rv = -1;
	else if (mkdir(sub, 0700) == -1 && errno != EEXIST)
		rv = err_sys(e, errno, "%s", sub);
	else if ((c->dirfd = open(sub, O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC)) == -1)
		rv = err_sys(e, errno, "%s", sub);
	if (rv == -1 && !named) {
		/* nobody asked for this place: go without */
		msg_info("no cache: %s", e->text);
		memset(e, 0, sizeof(*e));
		rv = 0;
	}
	free(sub);
	free(path);
	return rv;
}

void
cache_close(struct cache *c)
{
	if (c->dirfd != -1)
		(void)close(c->dirfd);
	c->dirfd = -1;
}

/* What the verdict depends on, and the name of its file. */
static void
key_of(const struct job *j, char key[256], char name[HASH_HEX])
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h = hash_new();

	(void)snprintf(key, 256, "%s %s %s %d %s%s", MSG_VERSION,
	    j->of_manifest ? "manifest" : j->is_dir ? "dir" : "file",
	    j->sha256, DCHECK_RULES,
	    (j->flags & CHECK_ALLOW_EMPTY) != 0 ? "e" : "-",
	    (j->flags & CHECK_RECOVER_HOT) != 0 ? "r" : "-");
	hash_add(h, key, strlen(key));
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, name);
}

static void
sum_of(const void *p, size_t n, char hex[HASH_HEX])
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h = hash_new();

	hash_add(h, p, n);
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
}

/* Has t, of a file, been over for s seconds, or not come yet? */
static int
is_past(time_t t, time_t s)
{
	time_t	now = time(NULL);

	return t < now - s || t > now + s;
}

/* A verdict, or what a run that died left of one. */
static int
is_ours(const char *name)
{
	return strncmp(name, ".new.", 5) == 0 ||
	    (strlen(name) == HASH_HEX - 1 &&
	    strspn(name, "0123456789abcdef") == HASH_HEX - 1);
}

/* Is it time, and is it we who do it?  Who else does it does no harm. */
static int
begin_sweep(int dirfd)
{
	struct stat	st;
	int		fd;

	if (fstatat(dirfd, SWEPT, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !is_past(st.st_mtime, SWEEP_S))
		return 0;
	fd = openat(dirfd, SWEPT, O_WRONLY | O_CREAT | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd == -1)
		return 0;
	(void)futimens(fd, NULL);
	(void)close(fd);
	return 1;
}

/*
 * Remove what has not been used for long.  A verdict that another run uses
 * or writes at this moment may go with it, and is found again.
 */
static void
sweep(int dirfd)
{
	struct dirent	*de;
	struct stat	 st;
	DIR		*d;
	int		 fd;

	if (!begin_sweep(dirfd))
		return;
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return;
	if ((d = fdopendir(fd)) == NULL) {
		(void)close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (is_ours(de->d_name) && fstatat(dirfd, de->d_name, &st,
		    AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_mtime < time(NULL) - KEEP_S)
			(void)unlinkat(dirfd, de->d_name, 0);
	(void)closedir(d);
}

/*
 * The whole file, when nobody but this user can have written it.  That it
 * was used is its time.
 */
static int
slurp_own(int dirfd, const char *name, struct buf *b)
{
	unsigned char	*p;
	struct stat	 st;
	ssize_t		 n;
	int		 fd, rv = -1;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
	    st.st_uid != geteuid() || (st.st_mode & 022) != 0 ||
	    st.st_size <= HASH_HEX || (uint64_t)st.st_size > b->max)
		goto done;
	p = buf_room(b, (size_t)st.st_size);
	if (p == NULL)
		goto done;
	n = io_read(fd, p, (size_t)st.st_size);
	if (n != (ssize_t)st.st_size)
		goto done;
	b->len = (size_t)n;
	rv = 0;
	if (is_past(st.st_mtime, USED_S))
		(void)futimens(fd, NULL);
done:
	(void)close(fd);
	return rv;
}

/*
 * Only what the same bytes will always be found to be.  The digest of a
 * manifest names the files that it wants, not those that are there: what
 * was found bad under it may be good the next time.  What was found good is
 * held against the files again.
 */
static int
is_definite(const struct job *j, const struct answer *a)
{
	if (!a->proved || a->kind == ANSWER_MACHINE ||
	    (j->of_manifest && a->kind != ANSWER_OK))
		return 0;
	if (a->kind == ANSWER_OK)
		return !a->recovered && a->format != STORE_NONE;
	return a->v.code != CHECK_CRASH && a->v.code != CHECK_TIMEOUT &&
	    a->v.code != CHECK_COUNT && a->v.code != CHECK_BASE &&
	    a->v.code != CHECK_HOOK;
}

int
cache_get(const struct cache *c, const struct job *j, struct answer *a)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	struct rec	*r = NULL;
	const char	*s;
	char		 key[256], name[HASH_HEX], sum[HASH_HEX];
	size_t		 n;
	int		 rv = 0;

	if (c->dirfd == -1)
		return 0;
	key_of(j, key, name);
	buf_init(&b, 2 * REC_MAX);
	if (slurp_own(c->dirfd, name, &b) == -1)
		goto done;
	/* one line of JSON, one with its SHA-256 */
	n = b.len - HASH_HEX;
	sum_of(b.p, n, sum);
	if (b.p[b.len - 1] != '\n' || n == 0 || b.p[n - 1] != '\n' ||
	    memcmp(b.p + n, sum, HASH_HEX - 1) != 0)
		goto done;
	r = rec_from_json((const char *)b.p, n - 1, &e);
	if (r == NULL || !rec_get_str(r, "key", &s) || strcmp(s, key) != 0)
		goto done;
	rv = answer_get(a, r) == 0 && is_definite(j, a);
	if (!rv)
		answer_clear(a);
done:
	rec_free(r);
	buf_free(&b);
	return rv;
}

void
cache_put(struct cache *c, const struct job *j, const struct answer *a)
{
	struct buf	 b;
	struct rec	*r;
	char		 key[256], name[HASH_HEX], sum[HASH_HEX], tmp[64];
	int		 fd;

	if (c->dirfd == -1 || !is_definite(j, a))
		return;
	if (c->n == 0)
		sweep(c->dirfd);
	key_of(j, key, name);
	buf_init(&b, 2 * REC_MAX);
	r = answer_put(a);
	rec_set_str(r, "key", key);
	rec_to_json(r, &b);
	rec_free(r);
	buf_addc(&b, '\n');
	sum_of(b.p, b.len, sum);
	buf_str(&b, sum);
	buf_addc(&b, '\n');
	/*
	 * Aside and renamed, so that readers see it whole; not synced, as a
	 * crash that tears it is found by its sum and costs one check.
	 */
	(void)snprintf(tmp, sizeof(tmp), ".new.%ld.%u", (long)getpid(),
	    c->n++);
	fd = b.over ? -1 : openat(c->dirfd, tmp, O_WRONLY | O_CREAT |
	    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd != -1) {
		if (io_write(fd, b.p, b.len) == -1 ||
		    renameat(c->dirfd, tmp, c->dirfd, name) == -1)
			(void)unlinkat(c->dirfd, tmp, 0);
		(void)close(fd);
	}
	buf_free(&b);
}
