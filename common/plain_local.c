/*
 * plain, here: files below a directory.  A key is made what another is by a
 * hard link and a rename, so that it is whole at once and costs nothing.
 * No link is followed below the directory.
 * SPDX-License-Identifier: ISC
 */
#include "plain.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

struct local {
	char	*abs;
	int	 fd;		/* -1: the directory is not there yet */
};

/* "directory/name: why" */
static int
sys(const struct local *l, const char *name, int errnum, struct err *e)
{
	if (errnum == ENOTDIR || errnum == ELOOP)
		return err_set(e, MSG_DATAERR, "%s/%s: a link, or below what "
		    "is no directory: want a file's name that is free, or a "
		    "regular file", l->abs, name);
	return err_sys(e, errnum, "%s/%s", l->abs, name);
}

/*
 * The directory that name lies in, and its last component: a descriptor,
 * or -1 with errno.  With make, what is missing is made, durably, and what
 * is there is made durable: its maker may have been killed before that.
 */
static int
parent(const struct local *l, const char *name, int make, const char **base)
{
	char	*copy = mem_dup(name), *s, *slash;
	int	 fd, sub, saved = 0;

	*base = path_base(name);
	fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	saved = errno;
	for (s = copy; fd != -1 && (slash = strchr(s, '/')) != NULL;
	    s = slash + 1) {
		*slash = '\0';
		if (make && ((mkdirat(fd, s, 0777) == -1 &&
		    errno != EEXIST) || fsync(fd) == -1)) {
			saved = errno;
			(void)close(fd);
			fd = -1;
			break;
		}
		sub = openat(fd, s, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
		    O_CLOEXEC);
		saved = errno;
		(void)close(fd);
		fd = sub;
	}
	free(copy);
	errno = saved;
	return fd;
}

/* The regular file name: its descriptor, -1 errno. */
static int
open_file(const struct local *l, const char *name, struct stat *st)
{
	const char	*base;
	int		 dir, fd, saved;

	dir = parent(l, name, 0, &base);
	if (dir == -1)
		return -1;
	fd = openat(dir, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	saved = errno;
	(void)close(dir);
	if (fd != -1 && fstat(fd, st) == 0 && !S_ISREG(st->st_mode)) {
		(void)close(fd);
		fd = -1;
		saved = ENOTDIR;
	}
	errno = saved;
	return fd;
}

static int
look_one(const struct local *l, struct plain_key *k, struct err *e)
{
	unsigned char	d[HASH_LEN];
	struct stat	st;
	int		fd, rv;

	k->there = 0;
	k->size = 0;
	k->sha256[0] = k->etag[0] = '\0';
	if (l->fd == -1)
		return 0;
	fd = open_file(l, k->name, &st);
	if (fd == -1)
		return errno == ENOENT ? 0 : sys(l, k->name, errno, e);
	rv = hash_fd(fd, k->name, d, &k->size, e);
	(void)close(fd);
	k->there = 1;
	hash_hex(d, k->sha256);
	return rv;
}

static int
stopped(struct err *e)
{
	return io_signal() == 0 ? 0 : err_set(e, MSG_TEMPFAIL,
	    "stopped by a signal");
}

/*
 * The directories above name, as far as they are there, from the top down;
 * but for those that are above last, too.
 */
static int
sync_above(const struct local *l, const char *name, const char *last,
    struct err *e)
{
	char	*copy = mem_dup(name), *s, *slash;
	int	 fd, sub, rv = 0;

	fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		rv = sys(l, name, errno, e);
	for (s = copy; fd != -1; ) {
		if (last == NULL || strncmp(name, last, (size_t)(s - copy)) !=
		    0)
			rv = io_fsync(fd, l->abs, e);
		slash = rv == 0 ? strchr(s, '/') : NULL;
		sub = -1;
		if (slash != NULL) {
			*slash = '\0';
			sub = openat(fd, s, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
			if (sub == -1 && errno != ENOENT)
				rv = sys(l, name, errno, e);
			s = slash + 1;
		}
		(void)close(fd);
		fd = sub;
	}
	free(copy);
	return rv;
}

/*
 * What is found done is not done again: so it must be durable, and whoever
 * did it may have been killed before it was.
 */
static int
local_look(void *impl, struct plain_key *v, size_t n, struct err *e)
{
	struct local	*l = impl;
	const char	*last = NULL;
	size_t		 i;

	for (i = 0; i < n; i++) {
		if (stopped(e) == -1 || look_one(l, &v[i], e) == -1 ||
		    (l->fd != -1 && sync_above(l, v[i].name, last, e) == -1))
			return -1;
		last = v[i].name;
	}
	return 0;
}

/* A file of its own instead of a link. */
static int
copy_bytes(const struct local *l, const struct plain_key *k, struct err *e)
{
	struct hash	*h = hash_new();
	struct stat	 st;
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	uint64_t	 size = 0;
	int		 in, out = -1, rv = -1;

	in = open_file(l, k->from, &st);
	if (in == -1) {
		sys(l, k->from, errno, e);
		goto done;
	}
	out = openat(l->fd, PLAIN_ASIDE, O_RDWR | O_CREAT | O_EXCL |
	    O_NOFOLLOW | O_CLOEXEC, st.st_mode & 0777);
	if (out == -1) {
		sys(l, PLAIN_ASIDE, errno, e);
		goto done;
	}
	if (io_copy(in, out, k->name, h, &size, e) == -1 ||
	    io_fsync(out, k->name, e) == -1)
		goto done;
	hash_final(h, d);
	hash_hex(d, hex);
	if (size != k->want_size || (k->want_sha256 != NULL &&
	    strcmp(hex, k->want_sha256) != 0))
		err_set(e, MSG_DATAERR, "%s/%s: want %llu bytes, SHA-256 %s, "
		    "got %llu, %s", l->abs, k->from,
		    (unsigned long long)k->want_size,
		    k->want_sha256 != NULL ? k->want_sha256 : "any",
		    (unsigned long long)size, hex);
	else
		rv = 0;
done:
	hash_free(h);
	if (in != -1)
		(void)close(in);
	if (out != -1 && io_close(&out, k->name, e) == -1)
		rv = -1;
	return rv;
}

/* k->from under PLAIN_ASIDE. */
static int
set_aside(const struct local *l, const struct plain_key *k, struct err *e)
{
	const char	*base;
	int		 dir, r, saved;

	if (unlinkat(l->fd, PLAIN_ASIDE, 0) == -1 && errno != ENOENT)
		return sys(l, PLAIN_ASIDE, errno, e);
	dir = parent(l, k->from, 0, &base);
	if (dir == -1)
		return sys(l, k->from, errno, e);
	r = linkat(dir, base, l->fd, PLAIN_ASIDE, 0);
	saved = errno;
	(void)close(dir);
	if (r == 0)
		return 0;
	if (saved != EPERM && saved != EXDEV && saved != EMLINK &&
	    saved != EOPNOTSUPP && saved != ENOSYS)
		return sys(l, k->from, saved, e);
	return copy_bytes(l, k, e);
}

/* The directory that was worked in last is synced when another is. */
struct synced {
	char	*dir;
	int	 fd;
};

static int
sync_last(struct synced *s, struct err *e)
{
	int	rv = 0;

	if (s->fd != -1)
		rv = io_fsync(s->fd, s->dir, e);
	if (s->fd != -1)
		(void)close(s->fd);
	free(s->dir);
	s->dir = NULL;
	s->fd = -1;
	return rv;
}

/* The directory of name becomes the last. */
static int
turn_to(const struct local *l, struct synced *s, const char *name, int make,
    const char **base, struct err *e)
{
	char	*dir;

	*base = path_base(name);
	dir = mem_ndup(name, (size_t)(*base - name));
	if (s->fd != -1 && strcmp(s->dir, dir) == 0) {
		free(dir);
		return 0;
	}
	if (sync_last(s, e) == -1) {
		free(dir);
		return -1;
	}
	s->fd = parent(l, name, make, base);
	s->dir = dir;
	return s->fd == -1 ? sys(l, name, errno, e) : 0;
}

static int
copy_one(const struct local *l, struct synced *s, const struct plain_key *k,
    struct err *e)
{
	const char	*base;

	if (stopped(e) == -1 || turn_to(l, s, k->name, 1, &base, e) == -1 ||
	    set_aside(l, k, e) == -1)
		return -1;
	if (renameat(l->fd, PLAIN_ASIDE, s->fd, base) == -1)
		return sys(l, k->name, errno, e);
	/* of two names of one file the rename keeps both */
	if (unlinkat(l->fd, PLAIN_ASIDE, 0) == -1 && errno != ENOENT)
		return sys(l, PLAIN_ASIDE, errno, e);
	return 0;
}

static int
open_root(struct local *l, struct err *e)
{
	if (l->fd != -1)
		return 0;
	l->fd = open(l->abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return l->fd == -1 ? err_sys(e, errno, "%s", l->abs) : 0;
}

static int
local_copy(void *impl, const struct plain_key *v, size_t n, struct err *e)
{
	struct local	*l = impl;
	struct synced	 s = { NULL, -1 };
	struct err	 f = { 0, "" };
	size_t		 i;
	int		 rv = open_root(l, e);

	for (i = 0; i < n && rv == 0; i++)
		rv = copy_one(l, &s, &v[i], e);
	if (sync_last(&s, rv == 0 ? e : &f) == -1)
		rv = -1;
	return rv;
}

/* name is gone: and the directories that only it was in. */
static int
prune_up(const struct local *l, const char *name, struct err *e)
{
	const char	*base;
	char		*dir = mem_dup(name), *slash;
	int		 fd, r = 0, rv = 0;

	while (rv == 0 && r == 0 && (slash = strrchr(dir, '/')) != NULL) {
		*slash = '\0';
		fd = parent(l, dir, 0, &base);
		if (fd == -1) {
			rv = errno == ENOENT ? 0 : sys(l, dir, errno, e);
			break;
		}
		r = unlinkat(fd, base, AT_REMOVEDIR);
		if (r == -1 && errno != ENOTEMPTY && errno != EEXIST &&
		    errno != ENOENT)
			rv = sys(l, dir, errno, e);
		else if (r == 0)
			rv = io_fsync(fd, dir, e);
		(void)close(fd);
	}
	free(dir);
	return rv;
}

static int
local_remove(void *impl, const struct plain_key *v, size_t n, struct err *e)
{
	struct local	*l = impl;
	const char	*base;
	size_t		 i;
	int		 fd, rv;

	if (l->fd == -1)
		return 0;
	for (i = 0; i < n; i++) {
		if (stopped(e) == -1)
			return -1;
		fd = parent(l, v[i].name, 0, &base);
		if (fd == -1) {
			if (errno == ENOENT)
				continue;
			return sys(l, v[i].name, errno, e);
		}
		rv = 0;
		if (unlinkat(fd, base, 0) == -1) {
			if (errno != ENOENT)
				rv = sys(l, v[i].name, errno, e);
		} else
			rv = io_fsync(fd, v[i].name, e);
		(void)close(fd);
		if (rv == -1 || prune_up(l, v[i].name, e) == -1)
			return -1;
	}
	return 0;
}

struct walk {
	const struct local	*l;
	int			(*f)(void *, const char *, struct err *);
	void			*arg;
};

/* Takes fd, the directory that is prefix below the root. */
static int
walk(const struct walk *w, int fd, const char *prefix, int depth,
    struct err *e)
{
	struct dirent	*de;
	struct stat	 st;
	struct buf	 b;
	DIR		*d = fdopendir(fd);
	int		 sub, rv = 0;

	if (d == NULL) {
		(void)close(fd);
		return sys(w->l, prefix, errno, e);
	}
	buf_init(&b, 65536);
	while (rv == 0 && (errno = 0, de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.')
			continue;
		buf_reset(&b);
		buf_printf(&b, "%s%s%s", prefix, *prefix != '\0' ? "/" : "",
		    de->d_name);
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
			if (errno != ENOENT)
				rv = sys(w->l, buf_cstr(&b), errno, e);
		} else if (S_ISREG(st.st_mode))
			rv = w->f(w->arg, buf_cstr(&b), e);
		else if (S_ISDIR(st.st_mode) && depth >= PLAIN_DEPTH)
			rv = err_set(e, MSG_DATAERR, "%s/%s: deeper than %d "
			    "directories", w->l->abs, buf_cstr(&b),
			    PLAIN_DEPTH);
		else if (S_ISDIR(st.st_mode)) {
			sub = openat(fd, de->d_name, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
			rv = sub == -1 ? sys(w->l, buf_cstr(&b), errno, e) :
			    walk(w, sub, buf_cstr(&b), depth + 1, e);
		}
		errno = 0;
	}
	if (rv == 0 && errno != 0)
		rv = sys(w->l, prefix, errno, e);
	buf_free(&b);
	(void)closedir(d);
	return rv;
}

static int
local_list(void *impl, int (*f)(void *arg, const char *name, struct err *e),
    void *arg, struct err *e)
{
	struct local	*l = impl;
	struct walk	 w = { l, f, arg };
	int		 fd;

	if (l->fd == -1)
		return 0;
	fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", l->abs);
	return walk(&w, fd, "", 0, e);
}

static int
local_has_tree(void *impl, const char *name, struct err *e)
{
	struct local	*l = impl;
	struct stat	 st;

	if (l->fd == -1)
		return 0;
	if (fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : sys(l, name, errno, e);
	return S_ISDIR(st.st_mode);
}

static int
local_remove_tree(void *impl, const char *name, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };

	if (l->fd == -1)
		return 0;
	if (io_rmtree(l->fd, name, &f) == -1)
		return err_set(e, f.code, "%s/%s", l->abs, f.text);
	return 0;
}

static void
local_close(void *impl)
{
	struct local	*l = impl;

	if (l->fd != -1)
		(void)close(l->fd);
	free(l->abs);
	free(l);
}

static const struct plain_ops	local_ops = { local_look, local_copy,
	local_remove, local_list, local_has_tree, local_remove_tree,
	local_close };

int
plain_local_open(const char *abs, const struct plain_ops **ops, void **impl,
    struct err *e)
{
	struct local	*l;
	int		 fd;

	fd = open(abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 && errno != ENOENT)
		return err_sys(e, errno, "%s", abs);
	l = mem_zero(1, sizeof(*l));
	l->abs = mem_dup(abs);
	l->fd = fd;
	*ops = &local_ops;
	*impl = l;
	return 0;
}
