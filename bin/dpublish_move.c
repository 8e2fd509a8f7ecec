/*
 * dpublish: inputs moved from one place to another, whole.  See its header.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* renameat2 */
#include "dpublish_move.h"

#include <sys/stat.h>

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
#include "remote.h"
#include "s3.h"
#include "s3_send.h"
#include "xfer.h"
#include "banned.h"

#define MOVE_GONE	".intact.gone."	/* hidden: on its way out */
#define MOVE_PART	".intact.part."	/* hidden: on its way in */
#define MOVE_FILES	HASH_TREE_MAX

static char *
cat3(const char *a, const char *b, const char *c)
{
	size_t	 n = strlen(a) + strlen(b) + strlen(c) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s%s", a, b, c);
	return s;
}

void
move_end(struct move *m)
{
	struct err	e = { 0, "" };

	remote_free(m->remote);
	m->remote = NULL;
	if (!m->staged)
		return;
	if (stage_remove(&m->stage, &e) == -1)
		msg_info("%s", e.text);
	stage_clear(&m->stage);
	m->staged = 0;
}

int
move_can(const char *url)
{
	return path_is_local(url) || remote_is_s3(url);
}

void
move_thing_clear(struct move_thing *x)
{
	size_t	i;

	for (i = 0; i < x->n; i++) {
		free(x->v[i].name);
		free(x->v[i].etag);
	}
	free(x->v);
	free(x->at);
	memset(x, 0, sizeof(*x));
}

/* Here. */

/* Digest what lies at x->at: 1, 0 nothing does, -1. */
static int
digest_at(struct move_thing *x, struct err *e)
{
	const unsigned char	*d;
	struct hash_tree	*t;
	struct stat		 st;
	size_t			 i;
	int			 rv = -1;

	if (lstat(x->at, &st) == -1)
		return errno == ENOENT || errno == ENOTDIR ? 0 :
		    err_sys(e, errno, "%s", x->at);
	x->dir = S_ISDIR(st.st_mode);
	t = hash_tree_new();
	if (x->dir ? hash_dir(AT_FDCWD, x->at, x->d, &x->size, t, e) == -1 :
	    hash_file(AT_FDCWD, x->at, x->d, &x->size, e) == -1)
		goto done;
	/* those of a list, if there was one, keep their ETags */
	if (x->n == 0) {
		x->n = x->dir ? hash_tree_count(t) : 1;
		x->v = mem_zero(x->n + 1, sizeof(*x->v));
		for (i = 0; i < x->n; i++)
			x->v[i].name = mem_dup(x->dir ? hash_tree_get(t, i,
			    NULL, &d) : "");
	}
	for (i = 0; i < x->n; i++) {
		if (!x->dir) {
			x->v[i].size = x->size;
			memcpy(x->v[i].d, x->d, HASH_LEN);
			continue;
		}
		/* both are sorted by bytes */
		if (i >= hash_tree_count(t) || strcmp(hash_tree_get(t, i,
		    &x->v[i].size, &d), x->v[i].name) != 0) {
			err_set(e, MSG_TEMPFAIL, "%s/%s: changed while it was "
			    "read", x->at, x->v[i].name);
			goto done;
		}
		memcpy(x->v[i].d, d, HASH_LEN);
	}
	rv = 1;
done:
	hash_tree_free(t);
	return rv;
}

/* Elsewhere. */

static int
connect_s3(struct move *m, struct s3 **s3, struct retry **retry,
    struct err *e)
{
	if (m->remote == NULL)
		m->remote = remote_new(m->ckpt);
	*s3 = remote_s3(m->remote, e);
	*retry = *s3 == NULL ? NULL : remote_retry(m->remote, e);
	return *retry == NULL ? -1 : 0;
}

struct listing {
	struct move_thing	*x;
	const char		*key;
	size_t			 cap;
};

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct listing		*l = arg;
	struct move_thing	*x = l->x;
	struct move_file	*f;
	const char		*name = o->key + strlen(l->key);
	size_t			 n = strlen(name);

	/* a prefix begins other names, too; and marks of directories */
	if (!x->dir ? n != 0 : n == 0 || name[n - 1] == '/')
		return 0;
	if (x->dir && !path_is_safe(name))
		return err_set(e, MSG_DATAERR, "%s: not a name that can be "
		    "brought here", o->key);
	if (x->n >= MOVE_FILES)
		return err_set(e, MSG_DATAERR, "%s: more than %d objects",
		    l->key, MOVE_FILES);
	x->v = mem_grow(x->v, &l->cap, x->n + 1, sizeof(*x->v));
	f = &x->v[x->n++];
	memset(f, 0, sizeof(*f));
	f->name = mem_dup(name);
	f->etag = o->etag != NULL ? mem_dup(o->etag) : NULL;
	f->size = o->size;
	return 0;
}

static int
list_s3(struct s3 *s3, const char *bucket, const char *key,
    struct move_thing *x, struct err *e)
{
	struct listing	l = { x, key, 0 };
	size_t		n = strlen(key);

	x->dir = n > 0 && key[n - 1] == '/';
	return s3_list(s3, bucket, key, NULL, NULL, on_object, &l, e);
}

static void
on_came(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct err	*first = arg;

	(void)g;
	if (e != NULL && first->code == 0)
		*first = *e;
}

/* The objects of x into the directory fd, as "f" or under their names. */
static int
bring(struct move *m, struct s3 *s3, struct retry *retry, const char *bucket,
    const char *key, const struct move_thing *x, int fd, struct err *e)
{
	struct xfer_opts	 o = { 0, NULL, 0 };
	struct xfer_get		 g;
	struct xfer		*t;
	struct err		 first = { 0, "" };
	char			*full, *url;
	size_t			 i;
	int			 rv = 0;

	t = xfer_new(remote_net(m->remote, e), s3, retry, &o);
	for (i = 0; i < x->n && rv == 0; i++) {
		full = cat3(key, x->v[i].name, "");
		url = cat3(bucket, "/", full);
		memset(&g, 0, sizeof(g));
		g.name = url;
		g.bucket = bucket;
		g.key = full;
		g.etag = x->v[i].etag;
		g.size = x->v[i].size;
		g.has_size = 1;
		g.dirfd = fd;
		g.file = x->dir ? x->v[i].name : "f";
		g.done = on_came;
		g.arg = &first;
		rv = xfer_get(t, &g, e);
		free(full);
		free(url);
	}
	while (rv == 0 && first.code == 0 &&
	    (rv = xfer_wait(t, 1000, e)) == 1)
		rv = 0;
	xfer_free(t);
	if (rv == 0 && first.code != 0)
		rv = err_set(e, first.code, "s3://%s", first.text);
	return rv;
}

/* A fresh directory for what is brought; its path, or NULL. */
static char *
fresh_dir(struct move *m, int *fd, struct err *e)
{
	char	name[32], *path;

	if (!m->staged) {
		if (stage_make(&m->stage, stage_parent(), m->run, e) == -1)
			return NULL;
		m->staged = 1;
	}
	(void)snprintf(name, sizeof(name), "move.%u", ++m->n);
	path = cat3(m->stage.path, "/", name);
	if (mkdirat(m->stage.dirfd, name, 0700) == 0)
		*fd = openat(m->stage.dirfd, name, O_RDONLY | O_DIRECTORY |
		    O_CLOEXEC);
	if (*fd == -1) {
		err_sys(e, errno, "%s", path);
		free(path);
		return NULL;
	}
	return path;
}

static int
read_s3(struct move *m, const char *url, struct move_thing *x,
    struct err *e)
{
	struct s3	*s3;
	struct retry	*retry;
	char		*bucket = NULL, *key = NULL, *path;
	int		 fd = -1, rv = -1;

	if (s3_url(url, &bucket, &key, e) == -1 ||
	    connect_s3(m, &s3, &retry, e) == -1 ||
	    list_s3(s3, bucket, key, x, e) == -1)
		goto done;
	if (x->n == 0) {
		rv = 0;
		goto done;
	}
	path = fresh_dir(m, &fd, e);
	if (path == NULL)
		goto done;
	x->at = x->dir ? mem_dup(path) : cat3(path, "/f", "");
	free(path);
	if (bring(m, s3, retry, bucket, key, x, fd, e) == 0)
		rv = digest_at(x, e);
done:
	if (fd != -1)
		(void)close(fd);
	free(bucket);
	free(key);
	return rv;
}

int
move_read(struct move *m, const char *url, struct move_thing *x,
    struct err *e)
{
	int	rv = -1;

	memset(x, 0, sizeof(*x));
	if (remote_is_s3(url))
		rv = read_s3(m, url, x, e);
	else {
		x->at = path_from_url(url, e);
		if (x->at != NULL)
			rv = digest_at(x, e);
	}
	if (rv != 1)
		move_thing_clear(x);
	return rv;
}

/* Putting. */

static int
taken(const char *to, struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "%s: something is there: it is not "
	    "written over", to);
}

/* 0 done, 1 not between these two places, -1. */
static int
rename_new(const char *from, const char *to, struct err *e)
{
	struct stat	st;

#ifdef RENAME_NOREPLACE
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		goto done;
	if (errno == EEXIST)
		return taken(to, e);
	if (errno == EXDEV)
		return 1;
	if (errno != EINVAL && errno != ENOSYS)
		return err_sys(e, errno, "%s", from);
#endif
	/* a file system that cannot: a directory takes an empty one's place,
	   a file gets its second name only where there is none */
	if (lstat(from, &st) == -1)
		return err_sys(e, errno, "%s", from);
	if (S_ISDIR(st.st_mode) ? mkdir(to, 0700) == -1 :
	    link(from, to) == -1) {
		if (errno == EEXIST)
			return taken(to, e);
		return errno == EXDEV ? 1 : err_sys(e, errno, "%s", to);
	}
	if (S_ISDIR(st.st_mode) ? rename(from, to) == -1 :
	    unlink(from) == -1) {
		int	errnum = errno;

		if (S_ISDIR(st.st_mode))
			(void)rmdir(to);
		return errnum == EXDEV ? 1 : err_sys(e, errnum, "%s", from);
	}
#ifdef RENAME_NOREPLACE
done:
#endif
	if (io_fsync_parent(to, e) == -1 || io_fsync_parent(from, e) == -1)
		return -1;
	return 0;
}

int
move_rename(const char *from, const char *to, struct err *e)
{
	char	*a, *b = NULL;
	int	 rv = -1;

	if (!path_is_local(from) || !path_is_local(to))
		return 1;
	a = path_from_url(from, e);
	if (a != NULL)
		b = path_from_url(to, e);
	if (b != NULL)
		rv = rename_new(a, b, e);
	free(a);
	free(b);
	return rv;
}

/* path's directory, then a hidden name made of its last component. */
static char *
hidden_beside(const char *path, const char *mark)
{
	const char	*base = path_base(path);
	char		*dir = mem_ndup(path, (size_t)(base - path)), *s;

	s = cat3(dir, mark, base);
	free(dir);
	return s;
}

static int
copy_one(const char *from, const char *to, const struct move_file *f,
    struct err *e)
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h = hash_new();
	uint64_t	 sz;
	int		 in, out = -1, rv = -1;

	in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in == -1) {
		err_sys(e, errno, "%s", from);
		goto done;
	}
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (out == -1) {
		err_sys(e, errno, "%s", to);
		goto done;
	}
	if (io_copy(in, out, from, h, &sz, e) == -1 ||
	    io_close(&out, to, e) == -1)
		goto done;
	hash_final(h, d);
	rv = memcmp(d, f->d, HASH_LEN) == 0 ? 0 : err_set(e, MSG_TEMPFAIL,
	    "%s: changed while it was copied; its writer is still at work",
	    from);
done:
	hash_free(h);
	if (in != -1)
		(void)close(in);
	if (out != -1)
		(void)close(out);
	return rv;
}

static int
copy_all(const struct move_thing *x, const char *to, struct err *e)
{
	char	*a, *b, *slash;
	size_t	 i;
	int	 r = 0;

	if (!x->dir)
		return copy_one(x->at, to, &x->v[0], e);
	if (mkdir(to, 0777) == -1)
		return err_sys(e, errno, "%s", to);
	for (i = 0; i < x->n && r == 0; i++) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
		a = cat3(x->at, "/", x->v[i].name);
		b = cat3(to, "/", x->v[i].name);
		slash = strrchr(b, '/');
		*slash = '\0';
		r = io_mkdirs(b, e);
		*slash = '/';
		if (r == 0)
			r = copy_one(a, b, &x->v[i], e);
		free(a);
		free(b);
	}
	return r;
}

static int
sync_all(const struct move_thing *x, const char *path, struct err *e)
{
	int	fd, rv;

	if (x->dir)
		return io_fsync_tree(AT_FDCWD, path, e);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	rv = io_fsync(fd, path, e);
	(void)close(fd);
	return rv;
}

static int
put_local(const struct move_thing *x, const char *to, struct err *e)
{
	struct move_thing	 back;
	char			*part = hidden_beside(to, MOVE_PART);
	int			 rv = -1;

	memset(&back, 0, sizeof(back));
	/* half a copy of one who was killed */
	if (io_rmtree(AT_FDCWD, part, e) == -1 ||
	    copy_all(x, part, e) == -1 || sync_all(x, part, e) == -1)
		goto done;
	back.at = mem_dup(part);
	if (digest_at(&back, e) != 1)
		goto done;
	if (memcmp(back.d, x->d, HASH_LEN) != 0)
		err_set(e, MSG_IOERR, "%s: what was read back is not what "
		    "was written", part);
	else
		rv = rename_new(part, to, e);
	if (rv == 1)
		rv = err_set(e, MSG_SOFTWARE, "%s: another device", part);
done:
	if (rv == -1) {
		struct err	f = { 0, "" };

		(void)io_rmtree(AT_FDCWD, part, &f);
	}
	move_thing_clear(&back);
	free(part);
	return rv;
}

static int
put_s3(struct move *m, const struct move_thing *x, const char *to,
    struct err *e)
{
	struct s3_send_opts	 o;
	struct s3_file		*v;
	struct s3		*s3;
	struct retry		*retry;
	char			*bucket = NULL, *key = NULL;
	size_t			 i;
	int			 fd = -1, rv = -1;

	v = mem_zero(x->n + 1, sizeof(*v));
	if (s3_url(to, &bucket, &key, e) == -1 ||
	    connect_s3(m, &s3, &retry, e) == -1)
		goto done;
	fd = x->dir ? open(x->at, O_RDONLY | O_DIRECTORY | O_CLOEXEC) :
	    AT_FDCWD;
	if (fd == -1) {
		err_sys(e, errno, "%s", x->at);
		goto done;
	}
	for (i = 0; i < x->n; i++) {
		v[i].name = x->dir ? x->v[i].name : x->at;
		v[i].key = cat3(key, x->v[i].name, "");
		v[i].size = x->v[i].size;
		hash_hex(x->v[i].d, v[i].sha256);
	}
	memset(&o, 0, sizeof(o));
	o.create = 1;
	o.locked = m->lock != NULL;
	o.run = m->run;
	if (s3_send(s3, retry, bucket, key, fd, v, x->n, &o, NULL, e) == 0 &&
	    s3_prove(s3, retry, bucket, v, x->n, 0, e) == 0)
		rv = 0;
done:
	if (fd >= 0)
		(void)close(fd);
	for (i = 0; i < x->n; i++)
		free((void *)(uintptr_t)v[i].key);
	free(v);
	free(bucket);
	free(key);
	return rv;
}

int
move_put(struct move *m, const struct move_thing *x, const char *to,
    struct err *e)
{
	char	*path;
	int	 rv;

	if (remote_is_s3(to))
		return put_s3(m, x, to, e);
	path = path_from_url(to, e);
	if (path == NULL)
		return -1;
	rv = put_local(x, path, e);
	free(path);
	return rv;
}

/* Removing. */

int
move_is_part(const struct move_thing *there, const struct move_thing *x)
{
	size_t	i, k = 0;

	if (there->dir != x->dir)
		return 0;
	for (i = 0; i < there->n; i++) {
		while (k < x->n && strcmp(x->v[k].name,
		    there->v[i].name) < 0)
			k++;
		if (k == x->n || strcmp(x->v[k].name, there->v[i].name) !=
		    0 || memcmp(x->v[k].d, there->v[i].d, HASH_LEN) != 0)
			return 0;
	}
	return 1;
}

/* Hidden first, so that nobody meets half of it. */
static int
remove_local(const char *path, const struct move_thing *x, struct err *e)
{
	struct move_thing	 there;
	struct err		 f = { 0, "" };
	char			*gone = hidden_beside(path, MOVE_GONE);
	int			 r, rv = -1;

	memset(&there, 0, sizeof(there));
	if (io_rmtree(AT_FDCWD, gone, e) == -1)
		goto done;
	there.at = mem_dup(path);
	r = digest_at(&there, e);
	if (r == 1 && (there.dir != x->dir ||
	    memcmp(there.d, x->d, HASH_LEN) != 0))
		rv = 1;
	else if (r == 1 && rename_new(path, gone, e) == 0)
		rv = io_rmtree(AT_FDCWD, gone, e);
	else if (r == 0)
		rv = 0;
	/* who was killed after its removal may not have come to that */
	if (rv == 0 && io_fsync_parent(path, &f) == -1 &&
	    f.code != MSG_NOINPUT) {
		*e = f;
		rv = -1;
	}
done:
	move_thing_clear(&there);
	free(gone);
	return rv;
}

/* Nobody has written there since it was read. */
static int
is_still(struct s3 *s3, const char *bucket, const char *key,
    const struct move_thing *x, struct err *e)
{
	struct move_thing	now;
	size_t			i;
	int			rv;

	memset(&now, 0, sizeof(now));
	rv = list_s3(s3, bucket, key, &now, e) == -1 ? -1 : now.n == x->n;
	for (i = 0; rv == 1 && i < x->n; i++)
		rv = strcmp(now.v[i].name, x->v[i].name) == 0 &&
		    now.v[i].size == x->v[i].size &&
		    now.v[i].etag != NULL && x->v[i].etag != NULL &&
		    strcmp(now.v[i].etag, x->v[i].etag) == 0;
	move_thing_clear(&now);
	return rv;
}

static int
remove_s3(struct move *m, const char *url, const struct move_thing *x,
    struct err *e)
{
	struct move_thing	 there;
	struct s3		*s3;
	struct retry		*retry;
	const char		**keys = NULL;
	char			*bucket = NULL, *key = NULL;
	size_t			 i;
	int			 r, rv = -1;

	r = move_read(m, url, &there, e);
	if (r != 1)
		return r;
	if (!move_is_part(&there, x)) {
		rv = 1;
		goto done;
	}
	if (s3_url(url, &bucket, &key, e) == -1 ||
	    connect_s3(m, &s3, &retry, e) == -1)
		goto done;
	r = is_still(s3, bucket, key, &there, e);
	if (r != 1) {
		rv = r == 0 ? 1 : -1;
		goto done;
	}
	keys = mem_zero(there.n, sizeof(*keys));
	for (i = 0; i < there.n; i++)
		keys[i] = cat3(key, there.v[i].name, "");
	rv = there.n == 1 ? s3_delete(s3, bucket, keys[0], e) :
	    s3_delete_many(s3, bucket, keys, there.n, NULL, NULL, e);
	for (i = 0; i < there.n; i++)
		free((void *)(uintptr_t)keys[i]);
done:
	free(keys);
	free(bucket);
	free(key);
	move_thing_clear(&there);
	return rv;
}

int
move_settle(const char *url, struct err *e)
{
	char	*path;
	int	 rv;

	if (!path_is_local(url))
		return 0;
	path = path_from_url(url, e);
	if (path == NULL)
		return -1;
	rv = io_fsync_parent(path, e);
	free(path);
	return rv;
}

int
move_remove(struct move *m, const char *url, const struct move_thing *x,
    struct err *e)
{
	char	*path;
	int	 rv;

	if (remote_is_s3(url))
		return remove_s3(m, url, x, e);
	path = path_from_url(url, e);
	if (path == NULL)
		return -1;
	rv = remove_local(path, x, e);
	free(path);
	return rv;
}
