/*
 * dpublish holds, the places: is what lies there what its own manifest
 * says?  On disk by digest; on S3 by what the server says of it, else read
 * back; an archive unpacked into staging.  It knows no plan, and changes
 * nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "s3.h"
#include "s3_send.h"
#include "banned.h"

#define SENT_SHA	"x-amz-meta-intact-sha256"	/* s3_send.h */

/* A file that lies there. */
struct there {
	char			*name;
	uint64_t		 size;
	unsigned char		 d[HASH_LEN];
	int			 has_d;		/* it was digested here */
};

static char *
cat3(const char *a, const char *b, const char *c)
{
	size_t	 n = strlen(a) + strlen(b) + strlen(c) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s%s", a, b, c);
	return s;
}

static int
there_cmp(const void *a, const void *b)
{
	const struct there	*x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int
same_file(const char *place, const struct manifest_file *f,
    const struct there *t, struct err *e)
{
	char	hex[HASH_HEX];

	if (f->size != t->size)
		return err_set(e, MSG_DATAERR, "%s/%s: size: want %" PRIu64
		    ", got %" PRIu64, place, f->name, f->size, t->size);
	if (!t->has_d)
		return 0;
	hash_hex(t->d, hex);
	if (strcmp(hex, f->sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s/%s: SHA-256: want %s, got "
		    "%s", place, f->name, f->sha256, hex);
	return 0;
}

/* The files of m are the n at v, which is sorted here; 66: one is not. */
static int
same_files(const char *place, const struct manifest *m, struct there *v,
    size_t n, struct err *e)
{
	size_t	i = 0, k = 0;
	int	c;

	if (n != 0)
		qsort(v, n, sizeof(*v), there_cmp);
	while (i < m->n_files || k < n) {
		if (k < n && strcmp(v[k].name, MANIFEST_NAME) == 0) {
			k++;
			continue;
		}
		c = i == m->n_files ? 1 : k == n ? -1 :
		    strcmp(m->files[i].name, v[k].name);
		if (c < 0)
			return err_set(e, MSG_NOINPUT, "%s/%s: not there, "
			    "and the manifest names it", place,
			    m->files[i].name);
		if (c > 0)
			return err_set(e, MSG_DATAERR, "%s/%s: a file that "
			    "the manifest does not name", place, v[k].name);
		if (same_file(place, &m->files[i++], &v[k++], e) == -1)
			return -1;
	}
	return 0;
}

static void
there_free(struct there *v, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		free(v[i].name);
	free(v);
}

/* What was said of something in it, with its place. */
static int
within(const char *place, const struct err *f, struct err *e)
{
	return err_set(e, f->code, "%s: %s", place, f->text);
}

static int
no_manifest(const char *place, struct err *e)
{
	return err_set(e, MSG_NOINPUT, "%s: no %s there: not whole yet, or "
	    "none of our stores", place, MANIFEST_NAME);
}

/*
 * What is opened, or unpacked.
 */

static int
have_stage(struct dpub_eye *y, struct err *e)
{
	if (!y->staged && stage_make(&y->stage, stage_parent(), NULL, e) ==
	    -1)
		return -1;
	y->staged = 1;
	return 0;
}

/* A new directory of staging: its path, which the caller frees, and *fd. */
static char *
work_make(struct dpub_eye *y, int *fd, struct err *e)
{
	char	 name[48], *path;

	*fd = -1;
	if (have_stage(y, e) == -1)
		return NULL;
	(void)snprintf(name, sizeof(name), "place.%u", y->n++);
	path = cat3(y->stage.path, "/", name);
	if (mkdirat(y->stage.dirfd, name, 0700) == 0)
		*fd = openat(y->stage.dirfd, name, O_RDONLY | O_DIRECTORY |
		    O_CLOEXEC);
	if (*fd == -1) {
		err_sys(e, errno, "%s", path);
		free(path);
		return NULL;
	}
	return path;
}

static void
work_drop(struct dpub_eye *y, char *path, int fd)
{
	struct err	f = { 0, "" };

	if (path == NULL)
		return;
	(void)close(fd);
	if (io_rmtree(y->stage.dirfd, path_base(path), &f) == -1)
		msg_warn("%s: %s", y->stage.path, f.text);
	free(path);
}

/* Before a process is made that parses what came from outside. */
static void
disconnect_eye(struct dpub_eye *y)
{
	remote_free(y->remote);
	y->remote = NULL;
}

/* As who publishes opens it; of a file set there are bytes alone. */
static int
open_it(struct dpub_eye *y, const char *path, const struct manifest *m,
    struct err *e)
{
	if (strcmp(m->format, DPUB_FILES) == 0)
		return 0;
	disconnect_eye(y);
	return have_stage(y, e) == -1 ? -1 :
	    dpub_open_store(path, m, &y->stage, e);
}

/*
 * On disk.
 */

static int
same_tree(const char *place, const struct manifest *m,
    const struct hash_tree *t, struct err *e)
{
	const unsigned char	*d;
	size_t			 i, n = hash_tree_count(t);
	struct there		*v = mem_zero(n, sizeof(*v));
	int			 rv;

	for (i = 0; i < n; i++) {
		v[i].name = mem_dup(hash_tree_get(t, i, &v[i].size, &d));
		memcpy(v[i].d, d, HASH_LEN);
		v[i].has_d = 1;
	}
	rv = same_files(place, m, v, n, e);
	there_free(v, n);
	return rv;
}

static int
judge_dir(struct dpub_eye *y, const char *place, const char *path, int fd,
    struct manifest *m, struct err *e)
{
	struct hash_tree	*t = hash_tree_new();
	struct err		 f = { 0, "" };
	unsigned char		 d[HASH_LEN];
	int			 rv;

	if (manifest_read(m, fd, NULL, &f) == -1)
		rv = f.code == MSG_NOINPUT ? no_manifest(place, e) :
		    within(place, &f, e);
	else if (hash_dir(fd, ".", d, NULL, t, &f) == -1)
		rv = within(place, &f, e);
	else
		rv = same_tree(place, m, t, e);
	if (rv == 0 && y->full)
		rv = open_it(y, path, m, e);
	hash_tree_free(t);
	return rv;
}

/* The one directory in *fd and *path instead of them, where it is alone. */
static int
descend(char **path, int *fd, struct err *e)
{
	struct dirent	*de;
	char		*one = NULL, *deeper;
	size_t		 n = 0;
	DIR		*dir = opendir(*path);
	int		 sub = -1;

	if (dir == NULL)
		return err_sys(e, errno, "%s", *path);
	while ((de = readdir(dir)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (n++ == 0)
			one = mem_dup(de->d_name);
	}
	(void)closedir(dir);
	if (n == 1 && strcmp(one, MANIFEST_NAME) != 0)
		sub = openat(*fd, one, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
		    O_CLOEXEC);
	if (sub != -1) {
		deeper = cat3(*path, "/", one);
		free(*path);
		*path = deeper;
		(void)close(*fd);
		*fd = sub;
	}
	free(one);
	return 0;
}

static int
judge_archive(struct dpub_eye *y, const char *place, const char *path,
    struct manifest *m, struct err *e)
{
	char	*work, *root = NULL;
	int	 fd, rootfd = -1, rv = -1;

	disconnect_eye(y);
	work = work_make(y, &fd, e);
	if (work == NULL)
		return -1;
	if (dpub_unpack(path, place, work, e) == -1)
		goto done;
	root = mem_dup(work);
	rootfd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootfd == -1)
		err_sys(e, errno, "%s", root);
	else if (descend(&root, &rootfd, e) == 0)
		rv = judge_dir(y, place, root, rootfd, m, e);
done:
	if (rootfd != -1)
		(void)close(rootfd);
	free(root);
	work_drop(y, work, fd);
	return rv;
}

static int
judge_local(struct dpub_eye *y, const char *place, struct manifest *m,
    struct err *e)
{
	char	*path = path_from_url(place, e);
	int	 fd, rv = -1;

	if (path == NULL)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd != -1) {
		rv = judge_dir(y, place, path, fd, m, e);
		(void)close(fd);
	} else if (errno == ENOTDIR && access(path, F_OK) == 0)
		rv = judge_archive(y, place, path, m, e);
	else
		err_sys(e, errno, "%s", place);
	free(path);
	return rv;
}

/*
 * On S3.
 */

struct object_place {
	struct dpub_eye	*y;
	const char	*url;		/* without a slash at its end */
	char		*bucket, *key, *prefix;
	struct s3	*s3;
	struct retry	*retry;
	struct there	*v;		/* what was listed */
	size_t		 n, cap;
	struct s3_file	*files;		/* of the manifest, which is last */
	size_t		 n_files;
};

static int
connect_eye(struct object_place *p, struct err *e)
{
	if (p->y->remote == NULL)
		p->y->remote = remote_new(NULL);
	p->s3 = remote_s3(p->y->remote, e);
	p->retry = p->s3 != NULL ? remote_retry(p->y->remote, e) : NULL;
	return p->retry != NULL ? 0 : -1;
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct object_place	*p = arg;
	const char		*name = o->key + strlen(p->prefix);

	(void)e;
	/* the directory's own mark, as consoles make it */
	if (*name == '\0' && o->size == 0)
		return 0;
	p->v = mem_grow(p->v, &p->cap, p->n + 1, sizeof(*p->v));
	memset(&p->v[p->n], 0, sizeof(*p->v));
	p->v[p->n].name = mem_dup(name);
	p->v[p->n++].size = o->size;
	return 0;
}

static void
add_file(struct object_place *p, const char *name, uint64_t size,
    const char *sha256)
{
	struct s3_file	*f = &p->files[p->n_files++];

	f->name = name;
	f->key = cat3(p->prefix, name, "");
	f->size = size;
	memcpy(f->sha256, sha256, HASH_HEX);
}

/* What was sent with it says it is another: on its way here, or there. */
static int
as_sent(const struct s3_res *r, const char *hex)
{
	char	*sent = s3_header(r, SENT_SHA);
	int	 rv = sent == NULL || strlen(sent) != HASH_HEX - 1 ||
		    strcmp(sent, hex) == 0;

	free(sent);
	return rv;
}

/* The manifest's bytes: 1, 0 there is none, -1. */
static int
get_manifest(struct object_place *p, struct s3_res *r, char hex[HASH_HEX],
    struct err *e)
{
	struct err	 f = { 0, "" };
	struct hash	*h;
	unsigned char	 d[HASH_LEN];
	char		*key = cat3(p->prefix, MANIFEST_NAME, "");
	int		 again, rv = -1;

	for (again = 0; again < 2; again++) {
		s3_res_clear(r);
		if (s3_get(p->s3, p->bucket, key, MANIFEST_MAX, r, &f) ==
		    -1) {
			rv = f.code == MSG_NOINPUT && strcmp(r->code,
			    "NoSuchBucket") != 0 ? 0 : err_set(e, f.code,
			    "%s", f.text);
			break;
		}
		h = hash_new();
		hash_add(h, r->body.p, r->body.len);
		hash_final(h, d);
		hash_free(h);
		hash_hex(d, hex);
		rv = 1;
		if (as_sent(r, hex))
			break;
		rv = again == 0 ? -1 : err_set(e, MSG_DATAERR, "%s/%s: what "
		    "lies there is not what was sent", p->url,
		    MANIFEST_NAME);
	}
	free(key);
	return rv;
}

/* Back into staging, and opened there. */
static int
open_copy(struct object_place *p, const struct manifest *m, struct err *e)
{
	char	*work;
	int	 fd, rv;

	work = work_make(p->y, &fd, e);
	if (work == NULL)
		return -1;
	rv = dpub_bring_back(p->y->remote, p->bucket, p->files, p->n_files,
	    NULL, fd, p->url, e);
	if (rv == 0)
		rv = open_it(p->y, work, m, e);
	work_drop(p->y, work, fd);
	return rv;
}

/* Its manifest is in r, and hex its digest. */
static int
judge_objects(struct object_place *p, const struct s3_res *r,
    const char *hex, struct manifest *m, struct err *e)
{
	struct err	f = { 0, "" };
	size_t		i;

	if (manifest_parse(m, r->body.p, r->body.len, &f) == -1)
		return within(p->url, &f, e);
	if (s3_list(p->s3, p->bucket, p->prefix, NULL, NULL, on_object, p,
	    e) == -1 || same_files(p->url, m, p->v, p->n, e) == -1)
		return -1;
	p->files = mem_zero(m->n_files + 1, sizeof(*p->files));
	for (i = 0; i < m->n_files; i++)
		add_file(p, m->files[i].name, m->files[i].size,
		    m->files[i].sha256);
	add_file(p, MANIFEST_NAME, r->body.len, hex);
	if (s3_prove(p->s3, p->retry, p->bucket, p->files, m->n_files, 0,
	    e) == -1)
		return -1;
	return p->y->full ? open_copy(p, m, e) : 0;
}

/* One object of that very name: brought back, and unpacked. */
static int
judge_object(struct object_place *p, struct manifest *m, struct err *e)
{
	struct s3_res	 r;
	struct s3_file	 file;
	struct err	 f = { 0, "" };
	char		*work, *copy, *sent;
	int		 fd, rv;

	memset(&r, 0, sizeof(r));
	memset(&file, 0, sizeof(file));
	if (s3_head(p->s3, p->bucket, p->key, &r, &f) == -1) {
		s3_res_clear(&r);
		return f.code == MSG_NOINPUT ? no_manifest(p->url, e) :
		    err_set(e, f.code, "%s", f.text);
	}
	file.key = p->key;
	file.size = r.length < 0 ? 0 : (uint64_t)r.length;
	sent = s3_header(&r, SENT_SHA);
	if (sent != NULL && strlen(sent) == HASH_HEX - 1)
		memcpy(file.sha256, sent, HASH_HEX);
	free(sent);
	s3_res_clear(&r);
	work = work_make(p->y, &fd, e);
	if (work == NULL)
		return -1;
	rv = dpub_bring_back(p->y->remote, p->bucket, &file, 1, "object", fd,
	    p->url, e);
	if (rv == 0) {
		copy = cat3(work, "/", "object");
		rv = judge_archive(p->y, p->url, copy, m, e);
		free(copy);
	}
	work_drop(p->y, work, fd);
	return rv;
}

static int
judge_s3(struct dpub_eye *y, const char *place, struct manifest *m,
    struct err *e)
{
	struct object_place	 p;
	struct s3_res		 r;
	char			 hex[HASH_HEX];
	size_t			 i, n = strlen(place);
	char			*url;
	int			 k, rv = -1;

	memset(&p, 0, sizeof(p));
	memset(&r, 0, sizeof(r));
	while (n > 0 && place[n - 1] == '/')
		n--;
	url = mem_ndup(place, n);
	p.y = y;
	p.url = url;
	if (s3_url(url, &p.bucket, &p.key, e) == -1)
		goto done;
	if (*p.key == '\0') {
		err_set(e, MSG_USAGE, "%s: want s3://bucket/key", place);
		goto done;
	}
	p.prefix = cat3(p.key, "/", "");
	if (connect_eye(&p, e) == -1)
		goto done;
	k = get_manifest(&p, &r, hex, e);
	if (k == 1)
		rv = judge_objects(&p, &r, hex, m, e);
	else if (k == 0)
		rv = judge_object(&p, m, e);
done:
	for (i = 0; i < p.n_files; i++)
		free((char *)(uintptr_t)p.files[i].key);
	free(p.files);
	there_free(p.v, p.n);
	s3_res_clear(&r);
	free(p.prefix);
	free(p.key);
	free(p.bucket);
	free(url);
	return rv;
}

int
dpub_place(struct dpub_eye *y, const char *place, struct manifest *m,
    struct err *e)
{
	memset(m, 0, sizeof(*m));
	if (remote_is_s3(place))
		return judge_s3(y, place, m, e);
	if (path_is_local(place))
		return judge_local(y, place, m, e);
	return err_set(e, MSG_USAGE, "%s: want a path, file:// or s3://",
	    place);
}

void
dpub_eye_clear(struct dpub_eye *y)
{
	struct err	f = { 0, "" };

	disconnect_eye(y);
	if (y->staged && stage_remove(&y->stage, &f) == -1)
		msg_warn("%s", f.text);
	if (y->staged)
		stage_clear(&y->stage);
	y->staged = 0;
}
