/*
 * dfetch_local: inputs that are files and directories here.  It copies
 * what holds still, and parses nothing.
 *
 * A directory is listed with sizes, times and inodes, copied, and listed
 * again: where the two lists differ somebody was writing.  A change within
 * one tick of the file system's clock would not show, so what is younger
 * than that is given time to differ first.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/ioctl.h>
#include <linux/fs.h>
#endif

#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define LOCAL_TICK	20000000L	/* ns; clocks tick every 1 to 10 ms */

struct ent {
	char		*name;	/* below the input; "" is the input itself */
	int		 dir;
	dev_t		 dev;
	ino_t		 ino;
	uint64_t	 size;
	int64_t		 mtime, ctime;
};

struct list {
	const char	*url;	/* for messages */
	const char	*stage;	/* the same: where the copy goes */
	struct ent	*v;
	size_t		 n, cap;
	uint64_t	 files;
	int		 again;	/* it was there before: absent is a change */
	int		 visible; /* hidden names are passed over */
};

static int64_t
ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

/* A call on something that had been listed failed. */
static int
lost(const char *url, const char *name, int errnum, struct err *e)
{
	if (errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP)
		return fetch_changed(url, e);
	return err_sys(e, errnum, "%s%s%s", url, *name != '\0' ? "/" : "",
	    name);
}

static void
list_clear(struct list *l)
{
	size_t	i;

	for (i = 0; i < l->n; i++)
		free(l->v[i].name);
	free(l->v);
	l->v = NULL;
	l->n = l->cap = 0;
	l->files = 0;
}

static void
ent_fill(struct ent *x, const struct stat *st)
{
	x->dir = S_ISDIR(st->st_mode);
	x->dev = st->st_dev;
	x->ino = st->st_ino;
	x->size = x->dir ? 0 : (uint64_t)st->st_size;
	x->mtime = ns(&st->st_mtim);
	x->ctime = ns(&st->st_ctim);
}

static int
ent_same(const struct ent *a, const struct ent *b)
{
	return a->dir == b->dir && a->dev == b->dev && a->ino == b->ino &&
	    a->size == b->size && a->mtime == b->mtime &&
	    a->ctime == b->ctime;
}

static int
ent_cmp(const void *a, const void *b)
{
	return strcmp(((const struct ent *)a)->name,
	    ((const struct ent *)b)->name);
}

/* One entry of a directory: judged and appended. */
static int
list_add(struct list *l, const char *name, const struct stat *st,
    struct err *e)
{
	struct ent	*x;

	if (*name != '\0' && !path_is_safe(name))
		return err_set(e, MSG_DATAERR, "%s/%s: not a safe name: "
		    "want UTF-8 without control bytes or backslashes, at "
		    "most %d bytes", l->url, name, PATH_REL_MAX);
	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
		return err_set(e, MSG_DATAERR,
		    "%s/%s: neither a regular file nor a directory", l->url,
		    name);
	if (S_ISREG(st->st_mode) && ++l->files > HASH_TREE_MAX)
		return err_set(e, MSG_DATAERR, "%s: want at most %d "
		    "files, got more", l->url, HASH_TREE_MAX);
	if (l->n > 2 * (size_t)HASH_TREE_MAX)
		return err_set(e, MSG_DATAERR, "%s: want at most %d files "
		    "and directories, got more", l->url, 2 * HASH_TREE_MAX);
	l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof(*l->v));
	x = &l->v[l->n++];
	x->name = mem_dup(name);
	ent_fill(x, st);
	return 0;
}

/* Takes fd, the directory that is prefix below the input. */
static int
list_dir(struct list *l, int fd, const char *prefix, int depth,
    struct err *e)
{
	struct dirent	*de;
	struct stat	 st;
	char		 name[PATH_REL_MAX + 258];
	DIR		*d = fdopendir(fd);
	int		 sub, rv = -1;

	if (d == NULL) {
		err_sys(e, errno, "%s/%s", l->url, prefix);
		(void)close(fd);
		return -1;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL)
			break;
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s%s%s", prefix,
		    *prefix != '\0' ? "/" : "", de->d_name);
		if (l->visible && de->d_name[0] == '.') {
			msg_info("%s/%s: hidden, passed over", l->url, name);
			continue;
		}
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
			lost(l->url, name, errno, e);
			goto done;
		}
		if (list_add(l, name, &st, e) == -1)
			goto done;
		if (!S_ISDIR(st.st_mode))
			continue;
		if (depth >= FETCH_DEPTH) {
			err_set(e, MSG_DATAERR,
			    "%s/%s: deeper than %d directories", l->url,
			    name, FETCH_DEPTH);
			goto done;
		}
		sub = openat(fd, de->d_name, O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
		if (sub == -1) {
			lost(l->url, name, errno, e);
			goto done;
		}
		if (list_dir(l, sub, name, depth + 1, e) == -1)
			goto done;
	}
	if (errno != 0)
		err_sys(e, errno, "%s/%s", l->url, prefix);
	else
		rv = 0;
done:
	(void)closedir(d);
	return rv;
}

/*
 * The input at path into l, and *fd open on it (a file or directory).  A
 * link is followed here, since it was named, and nowhere below.
 */
static int
list_input(struct list *l, const char *path, int *fd, struct err *e)
{
	struct stat	st;
	int		sub;

	*fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (*fd == -1) {
		/* a socket, or a device without a driver */
		if (errno == ENXIO || errno == ENODEV)
			return err_set(e, MSG_DATAERR, "%s: neither a "
			    "regular file nor a directory", l->url);
		return l->again ? lost(l->url, "", errno, e) :
		    err_sys(e, errno, "%s", l->url);
	}
	if (fstat(*fd, &st) == -1)
		return err_sys(e, errno, "%s", l->url);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR,
		    "%s: neither a regular file nor a directory", l->url);
	if (list_add(l, "", &st, e) == -1)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return 0;
	sub = openat(*fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sub == -1)
		return err_sys(e, errno, "%s", l->url);
	if (list_dir(l, sub, "", 0, e) == -1)
		return -1;
	qsort(l->v, l->n, sizeof(*l->v), ent_cmp);
	return 0;
}

/* Size and time of what was listed; absent and empty are judged here. */
static int
list_info(const struct list *l, struct fetch_info *info, struct err *e)
{
	size_t	i;

	memset(info, 0, sizeof(*info));
	info->dir = l->v[0].dir;
	info->inode = (uint64_t)l->v[0].ino;
	info->mtime = INT64_MIN;
	for (i = 0; i < l->n; i++) {
		if (l->v[i].dir)
			continue;
		info->size += l->v[i].size;
		if (l->v[i].mtime > info->mtime)
			info->mtime = l->v[i].mtime;
	}
	if (l->files == 0)
		return err_set(e, MSG_NOINPUT,
		    "%s: an empty directory: want at least one file", l->url);
	return 0;
}

/* Was something touched within this tick of the clock? */
static int
list_young(const struct list *l)
{
	int64_t	now = io_wall_ns();
	size_t	i;

	for (i = 0; i < l->n; i++)
		if (l->v[i].ctime <= now && now - l->v[i].ctime < LOCAL_TICK)
			return 1;
	return 0;
}

static int
list_same(const struct list *a, const struct list *b)
{
	size_t	i;

	if (a->n != b->n)
		return 0;
	for (i = 0; i < a->n; i++)
		if (strcmp(a->v[i].name, b->v[i].name) != 0 ||
		    !ent_same(&a->v[i], &b->v[i]))
			return 0;
	return 1;
}

/* List path again: 0 nothing has changed, -1. */
static int
list_again(const struct list *l, const char *path, struct err *e)
{
	struct list	again;
	int		fd, rv;

	memset(&again, 0, sizeof(again));
	again.url = l->url;
	again.again = 1;
	rv = list_input(&again, path, &fd, e);
	if (rv == 0 && !list_same(l, &again))
		rv = fetch_changed(l->url, e);
	list_clear(&again);
	if (fd != -1)
		(void)close(fd);
	return rv;
}

/* name below dirfd, none of whose components may be a link. */
static int
open_below(int dirfd, const char *name)
{
	char		*copy = mem_dup(name), *s, *slash;
	int		 fd = dirfd, sub, saved;

	for (s = copy;; s = slash + 1) {
		slash = strchr(s, '/');
		if (slash != NULL)
			*slash = '\0';
		sub = openat(fd, s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
		    O_CLOEXEC | (slash != NULL ? O_DIRECTORY : 0));
		saved = errno;
		if (fd != dirfd)
			(void)close(fd);
		fd = sub;
		if (fd == -1 || slash == NULL)
			break;
	}
	free(copy);
	errno = saved;
	return fd;
}

/* Share the blocks where the file system can; they still must be read. */
static int
clone(int in, int out)
{
#if defined(__linux__) && defined(FICLONE)
	return ioctl(out, FICLONE, in);
#else
	(void)in;
	(void)out;
	return -1;
#endif
}

/*
 * Before a byte is written: is there room for them all?  A hole in a file
 * needs none there, and all of its size here.
 */
static int
has_room(int fd, const char *text, const char *stage, uint64_t want,
    struct err *e)
{
	struct statvfs	fs;
	uint64_t	got;

	if (fstatvfs(fd, &fs) == -1 || fs.f_blocks == 0)
		return 0;	/* it does not say: writing will */
	got = fs.f_bavail >= UINT64_MAX / fs.f_frsize ? UINT64_MAX :
	    (uint64_t)fs.f_bavail * fs.f_frsize;
	if (want <= got)
		return 0;
	return err_set(e, MSG_IOERR, "%s: copy: want room for %llu bytes in "
	    "%s, got %llu: make room there, or set TMPDIR", text,
	    (unsigned long long)want, stage, (unsigned long long)got);
}

/* The bytes of in into out, digested; the bytes that there were to *size. */
static int
copy_bytes(int in, int out, const char *text, const char *stage,
    uint64_t want, unsigned char d[HASH_LEN], uint64_t *size, struct err *e)
{
	struct err	 sub = { 0, "" };
	struct hash	*h;
	int		 rv, saved;

	if (has_room(out, text, stage, want, e) == -1)
		return -1;
	h = hash_new();
	rv = io_copy(in, out, text, h, size, &sub);
	saved = errno;
	hash_final(h, d);
	hash_free(h);
	if (rv == 0)
		return 0;
	if (saved == ENOSPC || saved == EDQUOT)
		return err_set(e, MSG_IOERR, "%s: copy: want room for %llu "
		    "bytes in %s: %s: make room there, or set TMPDIR", text,
		    (unsigned long long)want, stage, strerror(saved));
	return err_set(e, sub.code, "%s", sub.text);
}

/*
 * The open file in, which was listed as x, into name below outfd (-1: only
 * read it), digested.
 */
static int
copy_file(const struct list *l, const struct ent *x, int in, int outfd,
    const char *name, unsigned char d[HASH_LEN], struct err *e)
{
	struct stat	 st;
	struct ent	 now;
	uint64_t	 size = 0;
	char		 text[MSG_ERR_MAX];
	int		 out = -1, rv;

	(void)snprintf(text, sizeof(text), "%s%s%s", l->url,
	    *x->name != '\0' ? "/" : "", x->name);
	if (fstat(in, &st) == -1)
		return err_sys(e, errno, "%s", text);
	ent_fill(&now, &st);
	if (!S_ISREG(st.st_mode) || !ent_same(&now, x))
		return fetch_changed(l->url, e);
	if (outfd == -1)
		rv = hash_fd(in, text, d, &size, e);
	else {
		out = openat(outfd, name, O_RDWR | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0600);
		if (out == -1)
			return err_sys(e, errno, "%s: copy into %s", text,
			    l->stage);
		if (clone(in, out) == 0)
			rv = hash_fd(out, text, d, &size, e);
		else
			rv = copy_bytes(in, out, text, l->stage, x->size, d,
			    &size, e);
		if (io_close(&out, text, e) == -1)
			rv = -1;
	}
	if (rv == 0 && size != x->size)
		rv = fetch_changed(l->url, e);
	return rv;
}

/* The file that was listed as x, below the open directory fd. */
static int
copy_below(const struct list *l, const struct ent *x, int fd, int outfd,
    struct hash_tree *t, struct err *e)
{
	unsigned char	d[HASH_LEN];
	int		in, rv;

	in = open_below(fd, x->name);
	if (in == -1)
		return lost(l->url, x->name, errno, e);
	rv = copy_file(l, x, in, outfd, x->name, d, e);
	(void)close(in);
	if (rv == -1)
		return -1;
	return hash_tree_add(t, x->name, x->size, d, e);
}

static int
copy_dir(const struct list *l, int fd, int outfd, unsigned char d[HASH_LEN],
    struct err *e)
{
	const struct ent	*x;
	struct hash_tree	*t = hash_tree_new();
	int			 rv = 0;

	/* the first is the directory itself; parents come before children */
	for (x = l->v + 1; rv == 0 && x < l->v + l->n; x++) {
		if (!x->dir)
			rv = copy_below(l, x, fd, outfd, t, e);
		else if (outfd != -1 && mkdirat(outfd, x->name, 0700) == -1)
			rv = err_sys(e, errno, "%s/%s: copy into %s", l->url,
			    x->name, l->stage);
	}
	if (rv == 0)
		hash_tree_final(t, d, NULL);
	hash_tree_free(t);
	return rv;
}

static int
local_fetch(const char *url, const char *stage, int dirfd,
    char name[FETCH_NAME_MAX], struct fetch_info *info,
    unsigned char d[HASH_LEN], struct err *e)
{
	static const struct timespec	tick = { 0, LOCAL_TICK };
	struct list			l;
	char				*path;
	int				 fd = -1, rv = -1;

	memset(&l, 0, sizeof(l));
	l.url = url;
	l.stage = stage;
	path = path_from_url(url, e);
	if (path == NULL)
		return -1;
	fetch_name(name, path_base(path));
	if (list_input(&l, path, &fd, e) == -1 ||
	    list_info(&l, info, e) == -1)
		goto done;
	if (list_young(&l)) {
		(void)nanosleep(&tick, NULL);
		if (list_again(&l, path, e) == -1)
			goto done;
	}
	if (info->dir)
		rv = copy_dir(&l, fd, dirfd, d, e);
	else
		rv = copy_file(&l, &l.v[0], fd, dirfd, name, d, e);
	if (rv == 0)
		rv = list_again(&l, path, e);
done:
	list_clear(&l);
	if (fd != -1)
		(void)close(fd);
	free(path);
	return rv;
}

static int
local_look(const char *url, struct fetch_info *info, struct err *e)
{
	struct list	 l;
	char		*path = path_from_url(url, e);
	int		 fd = -1, rv;

	if (path == NULL)
		return -1;
	memset(&l, 0, sizeof(l));
	l.url = url;
	rv = list_input(&l, path, &fd, e);
	if (rv == 0)
		rv = list_info(&l, info, e);
	list_clear(&l);
	if (fd != -1)
		(void)close(fd);
	free(path);
	return rv;
}

int
fetch_local_files(const char *url, const char *path,
    int (*f)(void *arg, const char *name, const struct fetch_stat *st,
    struct err *e), void *arg, struct err *e)
{
	struct fetch_stat	 st;
	struct list		 l;
	const struct ent	*x;
	int			 fd = -1, rv;

	memset(&l, 0, sizeof(l));
	l.url = url;
	l.visible = 1;
	rv = list_input(&l, path, &fd, e);
	for (x = l.v; rv == 0 && x < l.v + l.n; x++) {
		if (x->dir)
			continue;
		st.size = x->size;
		st.inode = (uint64_t)x->ino;
		st.dev = (uint64_t)x->dev;
		st.mtime = x->mtime;
		st.ctime = x->ctime;
		rv = f(arg, x->name, &st, e);
	}
	list_clear(&l);
	if (fd != -1)
		(void)close(fd);
	return rv;
}

static int
local_exists(const char *url, struct err *e)
{
	struct stat	 st;
	char		*path = path_from_url(url, e);
	int		 rv = 0;

	if (path == NULL)
		return -1;
	if (stat(path, &st) == -1)
		rv = err_sys(e, errno, "%s", url);
	free(path);
	return rv;
}

/* A name that only the directory of one delta would hold. */
int
fetch_marks_delta(const char *name)
{
	static const char *const	end[] = { ".sqlite3", ".bin",
		".pickle" };
	size_t				i, n = strlen(name), k;

	if (strcmp(name, MANIFEST_NAME) == 0)
		return 1;
	for (i = 0; i < sizeof(end) / sizeof(end[0]); i++) {
		k = strlen(end[i]);
		if (n >= k && strcmp(name + n - k, end[i]) == 0)
			return 1;
	}
	return 0;
}

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * The names in the directory dir: sorted, hidden ones not.  *delta is set
 * when it is one delta; what is a target is refused.  The caller frees, also
 * after -1.
 */
static int
names(const char *url, DIR *d, char ***v, size_t *n, int *delta,
    struct err *e)
{
	struct dirent	*de;
	size_t		 cap = 0;
	unsigned int	 marks = 0;

	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL)
			break;
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (fetch_marks_delta(de->d_name)) {
			*delta = 1;
			return 0;
		}
		marks |= fetch_marks_target(de->d_name);
		*v = mem_grow(*v, &cap, *n + 1, sizeof(**v));
		(*v)[(*n)++] = mem_dup(de->d_name);
	}
	if (errno != 0)
		return err_sys(e, errno, "%s", url);
	if (fetch_is_target(marks))
		return fetch_no_input(url, e);
	if (*n != 0)
		qsort(*v, *n, sizeof(**v), name_cmp);
	return 0;
}

static int
list_entry(struct fetch_list *l, const char *path, int dirfd,
    const char *name, struct err *e)
{
	struct stat	 st;
	struct buf	 b;
	char		*url;
	int		 rv = -1;

	buf_init(&b, 16384);
	buf_printf(&b, "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
	url = path_to_url(buf_cstr(&b));
	buf_free(&b);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		err_sys(e, errno, "%s", url);
	else if (S_ISLNK(st.st_mode))
		err_set(e, MSG_DATAERR, "%s: a symbolic link in a directory "
		    "of inputs: name it as an operand to have it followed",
		    url);
	else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		err_set(e, MSG_DATAERR,
		    "%s: neither a regular file nor a directory", url);
	else
		rv = l->add(l->arg, url, NULL, e);
	free(url);
	return rv;
}

static int
local_list(struct fetch_list *l, const char *url, struct err *e)
{
	DIR	*d = NULL;
	char	*path, *self = NULL, **v = NULL;
	size_t	 i, n = 0, used = 0;
	int	 delta = 0, rv = -1;

	path = path_from_url(url, e);
	if (path == NULL)
		return -1;
	self = path_to_url(path);
	d = opendir(path);
	if (d == NULL) {
		/* a file, or something that fails when it is looked at */
		if (errno == ENOTDIR && local_exists(self, e) == 0)
			rv = l->add(l->arg, self, NULL, e);
		else
			err_sys(e, errno, "%s", self);
		goto done;
	}
	if (names(self, d, &v, &n, &delta, e) == -1)
		goto done;
	if (delta) {
		rv = l->add(l->arg, self, NULL, e);
		goto done;
	}
	for (i = 0; i < n; i++) {
		if (v[i][0] == '.') {
			msg_info("%s/%s: hidden, passed over", self, v[i]);
			continue;
		}
		used++;
		if (list_entry(l, path, dirfd(d), v[i], e) == -1)
			goto done;
	}
	if (used == 0)
		err_set(e, MSG_NOINPUT,
		    "%s: an empty directory: want at least one input", self);
	else
		rv = 0;
done:
	for (i = 0; i < n; i++)
		free(v[i]);
	free(v);
	if (d != NULL)
		(void)closedir(d);
	free(self);
	free(path);
	return rv;
}

static int
local_check(const char *url, struct err *e)
{
	(void)url;
	(void)e;
	return 0;
}

const struct fetch_src	fetch_local = {
	0, local_check, local_list, local_exists, local_look, local_fetch,
	NULL, NULL, NULL
};
