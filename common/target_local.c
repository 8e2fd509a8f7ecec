/*
 * target_local: a directory as a place to publish to.  Exclusion is
 * link(2), atomicity rename(2), durability fsync of file and directory.
 * It knows names and bytes, and nothing of commits.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* flock */
#include "target.h"

#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

#include "buf.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define LOCAL_KEY_MAX	(PATH_REL_MAX + 256)	/* bytes of a key */
#define LOCAL_LOCK	TARGET_STAGING "/.lock"
#define LOCAL_OWNER	"owner"
#define LOCAL_ASIDE	"aside"		/* in a claim: written, then linked */

struct local {
	char	*abs;
	int	 fd;
	int	 lockfd;
	mode_t	 umask;
};

/* What io says is relative to the target: say where that is. */
static int
at(const struct local *l, struct err *e, struct err *from)
{
	return err_set(e, from->code, "%.300s/%s", l->abs, from->text);
}

static int
at_sys(const struct local *l, struct err *e, int errnum, const char *key)
{
	return err_sys(e, errnum, "%.300s/%s", l->abs, key);
}

static int
join(char out[LOCAL_KEY_MAX], const char *dir, const char *name,
    struct err *e)
{
	int	n = snprintf(out, LOCAL_KEY_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= LOCAL_KEY_MAX)
		return err_set(e, MSG_DATAERR, "%.200s: name too long", name);
	return 0;
}

/* The directory that key lies in, into out; "." at the top. */
static void
parent_of(char out[LOCAL_KEY_MAX], const char *key)
{
	const char	*slash = strrchr(key, '/');

	if (slash == NULL)
		(void)snprintf(out, LOCAL_KEY_MAX, ".");
	else
		(void)snprintf(out, LOCAL_KEY_MAX, "%.*s",
		    (int)(slash - key), key);
}

static int
sync_dir(struct local *l, const char *key, struct err *e)
{
	struct err	f = { 0, "" };
	int		fd, rv;

	fd = openat(l->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return at_sys(l, e, errno, key);
	rv = io_fsync(fd, key, &f);
	(void)close(fd);
	return rv == -1 ? at(l, e, &f) : 0;
}

/*
 * The directory key and those above it, durably.  With again, also where
 * there is nothing to make: its maker may have been killed before it was
 * durable; those above it were when it was made.
 */
static int
make_dirs(struct local *l, const char *key, int again, struct err *e)
{
	char	 up[LOCAL_KEY_MAX], part[LOCAL_KEY_MAX];
	size_t	 i;
	int	 made;

	for (i = 0;; i++) {
		if (key[i] != '/' && key[i] != '\0')
			continue;
		(void)snprintf(part, sizeof(part), "%.*s", (int)i, key);
		made = mkdirat(l->fd, part, 0777) == 0;
		if (!made && errno != EEXIST)
			return at_sys(l, e, errno, part);
		parent_of(up, part);
		if ((made || again) && sync_dir(l, up, e) == -1)
			return -1;
		if (key[i] == '\0')
			return 0;
	}
}

static int
make_parent(struct local *l, const char *key, int again, struct err *e)
{
	char	up[LOCAL_KEY_MAX];

	if (strchr(key, '/') == NULL)
		return 0;
	parent_of(up, key);
	return make_dirs(l, up, again, e);
}

static int
local_list(void *impl, const char *key,
    int (*name)(const char *name, void *arg), void *arg, struct err *e)
{
	struct local	*l = impl;
	struct dirent	*de;
	DIR		*d;
	int		 fd, rv = -1;

	fd = openat(l->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 : at_sys(l, e, errno, key);
	d = fdopendir(fd);
	if (d == NULL) {
		at_sys(l, e, errno, key);
		(void)close(fd);
		return -1;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL) {
			if (errno == 0)
				rv = 0;
			else
				at_sys(l, e, errno, key);
			break;
		}
		/* "." and "..", and what is put aside or locked */
		if (de->d_name[0] == '.')
			continue;
		if (name(de->d_name, arg) == -1)
			break;
	}
	(void)closedir(d);
	return rv;
}

static int
local_get(void *impl, const char *key, struct buf *b, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };

	if (faccessat(l->fd, key, F_OK, 0) == -1 && errno == ENOENT)
		return 0;
	if (io_slurp(l->fd, key, b, &f) == -1) {
		/* gone between the two, or there and not to be had */
		if (f.code == MSG_NOINPUT &&
		    faccessat(l->fd, key, F_OK, 0) == -1 && errno == ENOENT)
			return 0;
		return at(l, e, &f);
	}
	return 1;
}

static int
local_has(void *impl, const char *key, struct err *e)
{
	struct local	*l = impl;
	struct stat	 st;

	if (fstatat(l->fd, key, &st, 0) == 0)
		return 1;
	return errno == ENOENT ? 0 : at_sys(l, e, errno, key);
}

/*
 * The directory of key opened, its last component, and, seen from there,
 * the file in the claim that bytes are put aside in.
 */
static int
aside_of(struct local *l, const char *claim, const char *key, int *dirfd,
    const char **name, char tmp[LOCAL_KEY_MAX], struct err *e)
{
	char		 up[LOCAL_KEY_MAX], here[LOCAL_KEY_MAX];
	const char	*s;
	size_t		 n = 0;

	if (join(here, claim, LOCAL_ASIDE, e) == -1)
		return -1;
	tmp[0] = '\0';
	for (s = key; *s != '\0'; s++)
		if (*s == '/') {
			(void)snprintf(tmp + n, LOCAL_KEY_MAX - n, "../");
			n += 3;
			if (n >= LOCAL_KEY_MAX)
				return err_set(e, MSG_SOFTWARE, "%.200s: key "
				    "too deep", key);
		}
	if (strlen(here) + n >= LOCAL_KEY_MAX)
		return err_set(e, MSG_SOFTWARE, "%.200s: key too long", key);
	memcpy(tmp + n, here, strlen(here) + 1);
	parent_of(up, key);
	*dirfd = openat(l->fd, up, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd == -1)
		return at_sys(l, e, errno, up);
	*name = path_base(key);
	return 0;
}

static int
local_create(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	const char	*name;
	char		 tmp[LOCAL_KEY_MAX], up[LOCAL_KEY_MAX];
	int		 fd, r;

	(void)unsure;	/* what is there can be seen */
	if (make_parent(l, key, 1, e) == -1 ||
	    aside_of(l, claim, key, &fd, &name, tmp, e) == -1)
		return -1;
	r = io_create_excl(fd, name, tmp, p, n, &f);
	(void)close(fd);
	if (r == -1) {
		parent_of(up, key);
		return err_set(e, f.code, "%.300s/%.100s/%s", l->abs, up,
		    f.text);
	}
	return r;
}

static int
local_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	const char	*name;
	char		 tmp[LOCAL_KEY_MAX], up[LOCAL_KEY_MAX];
	int		 fd, r;

	(void)unsure;
	if (aside_of(l, claim, key, &fd, &name, tmp, e) == -1)
		return -1;
	r = io_replace(fd, name, tmp, p, n, &f);
	(void)close(fd);
	if (r == -1) {
		parent_of(up, key);
		return err_set(e, f.code, "%.300s/%.100s/%s", l->abs, up,
		    f.text);
	}
	return 0;
}

static int
local_remove(void *impl, const char *key, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };

	if (io_rmtree(l->fd, key, &f) == -1)
		return at(l, e, &f);
	return 0;
}

static int
local_rename(void *impl, const char *from, const char *to, struct err *e)
{
	struct local	*l = impl;
	char		 up[LOCAL_KEY_MAX];

	if (make_parent(l, to, 1, e) == -1)
		return -1;
	if (renameat(l->fd, from, l->fd, to) == -1)
		return at_sys(l, e, errno, to);
	parent_of(up, to);
	if (sync_dir(l, up, e) == -1)
		return -1;
	parent_of(up, from);
	return sync_dir(l, up, e);
}

/* A copy that shares the blocks until one of them is written to. */
static int
reflink(int in, int out)
{
#ifdef FICLONE
	return ioctl(out, FICLONE, in) == 0;
#else
	(void)in;
	(void)out;
	return 0;
#endif
}

/* Directories above the file name, below dirfd. */
static int
make_sub(int dirfd, const char *name, struct err *e)
{
	char	part[LOCAL_KEY_MAX];
	size_t	i;

	for (i = 0; name[i] != '\0'; i++) {
		if (name[i] != '/')
			continue;
		(void)snprintf(part, sizeof(part), "%.*s", (int)i, name);
		if (mkdirat(dirfd, part, 0777) == -1 && errno != EEXIST)
			return err_sys(e, errno, "%s", part);
	}
	return 0;
}

/*
 * The file name from one directory to another: reflink, else (share) hard
 * link, else copy.  max_links: a file with more is not linked again (0:
 * any).  mf may be NULL: then neither size nor digest is known here.
 */
static int
bring(int from, int to, const char *name, const struct manifest_file *mf,
    int share, nlink_t max_links, mode_t mode, struct err *e)
{
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	struct stat	 st;
	struct hash	*h = NULL;
	uint64_t	 sz;
	int		 in = -1, out = -1, rv = -1;

	in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in == -1 || fstat(in, &st) == -1) {
		err_sys(e, errno, "%s", name);
		goto done;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, MSG_DATAERR, "%s: not a regular file", name);
		goto done;
	}
	if (mf != NULL && (uint64_t)st.st_size != mf->size) {
		err_set(e, MSG_DATAERR, "%s: size: want %llu, got %lld",
		    name, (unsigned long long)mf->size,
		    (long long)st.st_size);
		goto done;
	}
	if (make_sub(to, name, e) == -1)
		goto done;
	out = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (out == -1) {
		err_sys(e, errno, "%s", name);
		goto done;
	}
	if (reflink(in, out))
		goto mode;
	if (share && (max_links == 0 || st.st_nlink <= max_links)) {
		if (unlinkat(to, name, 0) == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
		if (linkat(from, name, to, name, 0) == 0) {
			(void)close(out);
			out = openat(to, name, O_RDONLY | O_NOFOLLOW |
			    O_CLOEXEC);
			if (out == -1) {
				err_sys(e, errno, "%s", name);
				goto done;
			}
			/* one that others link to is as it must be */
			if (max_links == 0) {
				rv = 0;
				goto done;
			}
			goto mode;
		}
		/* another device, another owner, too many: copy */
		(void)close(out);
		out = openat(to, name, O_RDWR | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0666);
		if (out == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
	}
	if (mf != NULL)
		h = hash_new();
	if (io_copy(in, out, name, h, &sz, e) == -1)
		goto done;
	if (sz != (uint64_t)st.st_size) {
		err_set(e, MSG_DATAERR, "%s: changed while it was copied",
		    name);
		goto done;
	}
	if (h != NULL) {
		hash_final(h, d);
		hash_hex(d, hex);
		if (strcmp(hex, mf->sha256) != 0) {
			err_set(e, MSG_DATAERR, "%s: sha256: want %s, got %s",
			    name, mf->sha256, hex);
			goto done;
		}
	}
mode:
	if (mode != 0 && fchmod(out, mode) == -1) {
		err_sys(e, errno, "%s: mode", name);
		goto done;
	}
	rv = io_close(&out, name, e);
done:
	hash_free(h);
	if (in != -1)
		(void)close(in);
	if (out != -1)
		(void)close(out);
	return rv;
}

static int
bring_all(int from, int to, const struct manifest *m, int share,
    nlink_t max_links, mode_t mode, struct err *e)
{
	size_t	i;

	for (i = 0; i < m->n_files; i++) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
		if (bring(from, to, m->files[i].name, &m->files[i], share,
		    max_links, mode, e) == -1)
			return -1;
	}
	return bring(from, to, MANIFEST_NAME, NULL, share, max_links, mode,
	    e);
}

static int
local_put(void *impl, const char *key, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	int		 fd, rv = -1;

	(void)d;	/* target_put reads the manifest back */
	if (make_dirs(l, key, 0, e) == -1)
		return -1;
	fd = openat(l->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return at_sys(l, e, errno, key);
	/* published files are immutable, and say so */
	if (bring_all(dirfd, fd, m, share, 1, 0444 & ~l->umask, &f) == -1) {
		err_set(e, f.code, "%.200s/%s/%s", l->abs, key, f.text);
		goto done;
	}
	if (io_fsync_tree(l->fd, key, &f) == -1) {
		at(l, e, &f);
		goto done;
	}
	rv = 0;
done:
	(void)close(fd);
	return rv;
}

static int
local_fetch(void *impl, const char *key, int dirfd,
    const struct manifest *m, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	int		 fd, rv = 0;

	fd = openat(l->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return at_sys(l, e, errno, key);
	if (bring_all(fd, dirfd, m, 1, 0, 0, &f) == -1)
		rv = err_set(e, f.code, "%.200s/%s/%s", l->abs, key, f.text);
	(void)close(fd);
	return rv;
}

static int
local_verify(void *impl, const char *key, const struct manifest *m,
    struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	int		 fd, rv = 0;

	fd = openat(l->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return at_sys(l, e, errno, key);
	if (manifest_verify(m, fd, 1, &f) == -1)
		rv = err_set(e, f.code, "%.200s/%s/%s", l->abs, key, f.text);
	(void)close(fd);
	return rv;
}

static int
local_hold(void *impl, const char *key, int *held, struct err *e)
{
	struct local	*l = impl;
	char		 owner[LOCAL_KEY_MAX];
	int		 fd;

	if (join(owner, key, LOCAL_OWNER, e) == -1)
		return -1;
	fd = openat(l->fd, owner, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return at_sys(l, e, errno, owner);
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		int	errnum = errno;

		(void)close(fd);
		if (errnum == EWOULDBLOCK)
			return 1;
		return at_sys(l, e, errnum, owner);
	}
	*held = fd;
	return 0;
}

static int
local_claim(void *impl, const char *key, const void *p, size_t n, int *held,
    struct err *e)
{
	struct local	*l = impl;
	char		 owner[LOCAL_KEY_MAX];
	int		 fd;

	if (make_parent(l, key, 0, e) == -1 ||
	    join(owner, key, LOCAL_OWNER, e) == -1)
		return -1;
	if (mkdirat(l->fd, key, 0777) == -1) {
		if (errno == EEXIST)
			return 1;
		return at_sys(l, e, errno, key);
	}
	fd = openat(l->fd, owner, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (fd == -1) {
		at_sys(l, e, errno, owner);
		goto fail;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == -1 || io_write(fd, p, n) == -1 ||
	    fsync(fd) == -1) {
		at_sys(l, e, errno, owner);
		goto fail;
	}
	if (sync_dir(l, key, e) == -1 ||
	    sync_dir(l, TARGET_STAGING, e) == -1)
		goto fail;
	*held = fd;
	return 0;
fail:
	if (fd != -1)
		(void)close(fd);
	(void)unlinkat(l->fd, owner, 0);
	(void)unlinkat(l->fd, key, AT_REMOVEDIR);
	return -1;
}

static void
local_release(void *impl, int held)
{
	(void)impl;
	if (held != -1)
		(void)close(held);
}

static int
local_lock(void *impl, struct err *e)
{
	struct local	*l = impl;
	struct err	 f = { 0, "" };
	int		 fd;

	if (make_dirs(l, TARGET_STAGING, 0, e) == -1)
		return -1;
	fd = openat(l->fd, LOCAL_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (fd == -1)
		return at_sys(l, e, errno, LOCAL_LOCK);
	if (io_flock(fd, TARGET_LOCK_WAIT, &f) == -1) {
		(void)close(fd);
		return err_set(e, f.code, "%.300s/%s: %.100s",
		    l->abs, LOCAL_LOCK, f.text);
	}
	l->lockfd = fd;
	return 0;
}

static void
local_unlock(void *impl)
{
	struct local	*l = impl;

	(void)close(l->lockfd);
	l->lockfd = -1;
}

static char *
local_path(void *impl, const char *key)
{
	struct local	*l = impl;
	size_t		 n = strlen(l->abs) + strlen(key) + 2;
	char		*p = mem_alloc(n);

	(void)snprintf(p, n, "%s/%s", l->abs, key);
	return p;
}

static void
local_close(void *impl)
{
	struct local	*l = impl;

	if (l->lockfd != -1)
		(void)close(l->lockfd);
	(void)close(l->fd);
	free(l->abs);
	free(l);
}

static int
local_settle(void *impl, const char *key, struct err *e)
{
	return sync_dir(impl, key, e);
}

static int
not_after(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec < b->st_mtim.tv_sec ||
	    (a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec <= b->st_mtim.tv_nsec);
}

static int
local_settled(void *impl, const char *key, const char *than,
    const struct manifest *m)
{
	struct local	*l = impl;
	struct stat	 st, then;
	struct err	 e = { 0, "" };
	char		 name[LOCAL_KEY_MAX];
	size_t		 i;

	if (fstatat(l->fd, than, &then, 0) == -1)
		return 0;
	for (i = 0; i < m->n_files; i++)
		if (join(name, key, m->files[i].name, &e) == -1 ||
		    fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
		    !S_ISREG(st.st_mode) ||
		    (uint64_t)st.st_size != m->files[i].size ||
		    !not_after(&st, &then))
			return 0;
	return 1;
}

static const struct target_ops local_ops = {
	local_list, local_get, local_has, local_create, local_replace,
	local_remove, local_rename, local_put, local_fetch, local_verify,
	local_claim, local_hold, local_release, local_lock, local_unlock,
	local_path, local_close, local_settle, NULL, NULL, NULL, NULL,
	local_settled
};

int
target_local_open(const char *abs, int create, const struct target_ops **ops,
    void **impl, struct err *e)
{
	struct local	*l;
	struct err	 f = { 0, "" };
	int		 fd;

	fd = open(abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 && errno == ENOENT && create) {
		if (io_mkdirs_sync(abs, e) == -1)
			return -1;
		fd = open(abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else if (fd != -1 && create) {
		/* its maker may have been killed before it was durable */
		(void)io_fsync_parent(abs, &f);
	}
	if (fd == -1)
		return err_sys(e, errno, "%s", abs);
	l = mem_zero(1, sizeof(*l));
	l->abs = mem_dup(abs);
	l->fd = fd;
	l->lockfd = -1;
	l->umask = umask(0);
	(void)umask(l->umask);
	*ops = &local_ops;
	*impl = l;
	return 0;
}
