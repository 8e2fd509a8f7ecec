/*
 * target, on S3: objects below s3://bucket/prefix.  It knows S3 and no law;
 * those are target.c's and target_upload.c's.
 *
 * Conditional writes are If-None-Match: * to create, and If-Match (or
 * None) for the pointer; whether the server heeds them is proved by probe,
 * not believed.  With the operator's lock nothing is conditional: the lock
 * keeps others out, as long as all name the same.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "buf.h"
#include "manifest.h"
#include "mem.h"
#include "net.h"
#include "remote.h"
#include "retry.h"
#include "s3.h"
#include "s3_ahead.h"
#include "s3_send.h"
#include "target_object.h"
#include "xfer.h"
#include "banned.h"

struct s3t {
	struct target_object o;
	struct s3	*s3;
	struct s3_ahead	*ahead;		/* NULL until there is a hint */
	char		*bucket;
	char		*prefix;	/* "" or "a/b/" */
	int		 blind;		/* If-Match is not to be had here */
	unsigned int	 parallel;
};

static char *
cat(const char *a, const char *b)
{
	size_t	 n = strlen(a) + strlen(b) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s", a, b);
	return s;
}

/* prefix/key, and with dir set a slash behind it */
static char *
full(const struct s3t *t, const char *key, int dir)
{
	char	*k = cat(t->prefix, key), *d;

	if (!dir)
		return k;
	d = cat(k, "/");
	free(k);
	return d;
}

/* "Not there": 0, but for a bucket that is not there. */
static int
absent(const struct s3_res *r, const struct err *e)
{
	return e->code == MSG_NOINPUT && strcmp(r->code, "NoSuchBucket") != 0;
}

struct lister {
	int		(*name)(const char *name, void *arg);
	void		*arg;
	size_t		 skip;
	int		 stopped;
};

static int
list_one(void *arg, const struct s3_object *o, struct err *e)
{
	struct lister	*l = arg;
	const char	*s = o->key + l->skip;
	size_t		 n = strlen(s);
	char		*name;
	int		 r;

	(void)e;
	if (n > 0 && s[n - 1] == '/')
		n--;
	/* the directory's own mark, and what is hidden */
	if (n == 0 || s[0] == '.')
		return 0;
	name = mem_ndup(s, n);
	r = l->name(name, l->arg);
	free(name);
	if (r == -1)
		l->stopped = 1;
	return r;
}

static int
s3t_list(void *impl, const char *key,
    int (*name)(const char *name, void *arg), void *arg, struct err *e)
{
	struct s3t	*t = impl;
	struct lister	 l = { name, arg, 0, 0 };
	char		*dir = full(t, key, 1);
	int		 r;

	l.skip = strlen(dir);
	r = s3_list(t->s3, t->bucket, dir, "/", NULL, list_one, &l, e);
	free(dir);
	return r == -1 && !l.stopped ? -1 : 0;
}

static int
s3t_get(void *impl, const char *key, struct buf *b, struct err *e)
{
	struct s3t	*t = impl;
	struct s3_held	 h;
	struct s3_res	 r;
	struct err	 f = { 0, "" };
	char		*k = full(t, key, 0);
	int		 rv = -1;

	memset(&r, 0, sizeof(r));
	if (s3_ahead_take(t->ahead, k, 0, &h)) {
		buf_add(b, h.body.p, h.body.len);
		(void)object_see(&t->o, key, h.there, h.etag);
		rv = h.there;
		s3_held_clear(&h);
	} else if (s3_get(t->s3, t->bucket, k, b->max, &r, &f) == 0) {
		/* the header's promise is all there is to hold it against */
		if (r.length >= 0 && (uint64_t)r.length != r.body.len)
			err_set(e, MSG_TEMPFAIL, "%s/%s: size: want %lld, "
			    "got %zu", t->o.url, key, (long long)r.length,
			    r.body.len);
		else {
			buf_add(b, r.body.p, r.body.len);
			(void)object_see(&t->o, key, 1, r.etag);
			rv = 1;
		}
	} else if (absent(&r, &f)) {
		(void)object_see(&t->o, key, 0, NULL);
		rv = 0;
	} else
		*e = f;
	s3_res_clear(&r);
	free(k);
	return rv;
}

static int
s3t_head(struct s3t *t, const char *key, struct s3_res *r, struct err *e)
{
	struct err	 f = { 0, "" };
	char		*k = full(t, key, 0);
	int		 rv = 1;

	memset(r, 0, sizeof(*r));
	if (s3_head(t->s3, t->bucket, k, r, &f) == -1) {
		rv = absent(r, &f) ? 0 : -1;
		if (rv == -1)
			*e = f;
	}
	free(k);
	return rv;
}

static int
s3t_has(void *impl, const char *key, struct err *e)
{
	struct s3t	*t = impl;
	struct s3_held	 h;
	struct s3_res	 r;
	char		*k = full(t, key, 0);
	int		 rv;

	if (s3_ahead_take(t->ahead, k, 1, &h)) {
		rv = h.there;
		s3_held_clear(&h);
	} else {
		rv = s3t_head(t, key, &r, e);
		s3_res_clear(&r);
	}
	free(k);
	return rv;
}

static void
s3t_ahead(void *impl, const char *const *keys, size_t n, int head)
{
	struct s3t	 *t = impl;
	struct err	  f = { 0, "" };
	struct retry	 *r;
	char		**v = mem_zero(n + 1, sizeof(*v));
	size_t		  i;

	for (i = 0; i < n; i++)
		v[i] = full(t, keys[i], 0);
	if (t->ahead == NULL && (r = remote_retry(t->o.remote, &f)) != NULL)
		t->ahead = s3_ahead_new(t->s3, r);
	if (t->ahead != NULL)
		s3_ahead_read(t->ahead, t->bucket, (const char *const *)v, n,
		    head ? 0 : TARGET_COMMIT_MAX);
	for (i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

static int
s3t_age(void *impl, const char *key, int64_t *age, struct err *e)
{
	struct s3t	*t = impl;
	struct s3_res	 r;
	char		*date = NULL;
	int64_t		 now;
	int		 rv;

	rv = s3t_head(t, key, &r, e);
	if (rv == 1) {
		date = s3_header(&r, "Date");
		now = date != NULL ? net_date(date, strlen(date)) : 0;
		if (now == 0 || r.modified == 0)
			rv = err_set(e, MSG_DATAERR, "%s/%s: the server "
			    "says no Date or no Last-Modified", t->o.url, key);
		else
			*age = (now - r.modified) / 1000000000;
	}
	free(date);
	s3_res_clear(&r);
	return rv;
}

static int
s3t_create(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct s3t	*t = impl;
	struct s3_res	 r;
	char		*k;
	int		 rv;

	(void)claim;
	s3_ahead_drop(t->ahead);
	if (t->o.lock_path != NULL) {
		rv = s3t_has(t, key, e);
		if (rv != 0)
			return rv;
	}
	k = full(t, key, 0);
	memset(&r, 0, sizeof(r));
	rv = s3_put(t->s3, t->bucket, k, p, n, t->o.lock_path == NULL ?
	    S3_IF_NONE : 0, NULL, NULL, &r, e);
	if (rv == -1 && r.outcome == S3_TAKEN) {
		e->code = 0;
		rv = 1;
	} else if (rv == -1 && r.outcome == S3_UNKNOWN)
		*unsure = 1;
	else if (rv == -1 && r.status == 501)
		rv = object_no_exclusion(&t->o, "it has no conditional "
		    "writes (501)", e);
	s3_res_clear(&r);
	free(k);
	return rv;
}

/*
 * With what was seen as the condition: 0, 1 it has changed, -1.  Without
 * one it was sent until it was done, or there was no more to try.
 */
static int
put_if(struct s3t *t, const char *k, const struct object_seen *s, const void *p,
    size_t n, int *lacks, int *unsure, struct err *e)
{
	struct s3_res	r;
	int		rv;

	memset(&r, 0, sizeof(r));
	*lacks = 0;
	rv = s3_put(t->s3, t->bucket, k, p, n, s != NULL && s->etag == NULL ?
	    S3_IF_NONE : 0, s != NULL ? s->etag : NULL, NULL, &r, e);
	if (rv == -1 && r.outcome == S3_TAKEN) {
		e->code = 0;
		rv = 1;
	} else if (rv == -1 && r.outcome == S3_REFUSED && r.status == 501) {
		e->code = 0;
		*lacks = 1;
		rv = 1;
	} else if (rv == -1 && r.outcome == S3_UNKNOWN && s != NULL)
		*unsure = 1;
	s3_res_clear(&r);
	return rv;
}

static int
s3t_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct s3t		*t = impl;
	const struct object_seen	*s = object_find(&t->o, key);
	char			*k = full(t, key, 0);
	struct s3_res		 r;
	int			 lacks, rv, same;

	(void)claim;
	if (t->o.lock_path != NULL || t->blind)
		s = NULL;
	rv = put_if(t, k, s, p, n, &lacks, unsure, e);
	if (rv == 1 && s != NULL && s->etag != NULL) {
		/* it has changed; or this server never says that it fits */
		rv = s3t_head(t, key, &r, e);
		same = rv == 1 && r.etag != NULL &&
		    strcmp(r.etag, s->etag) == 0;
		s3_res_clear(&r);
		if (same || lacks) {
			t->blind = 1;
			rv = put_if(t, k, NULL, p, n, &lacks, unsure, e);
		} else if (rv != -1)
			rv = 1;
	}
	free(k);
	return rv;
}

static int
s3t_remove(void *impl, const char *key, struct err *e)
{
	struct s3t	*t = impl;
	char		*dir = full(t, key, 1), *first;
	int		 rv;

	s3_ahead_drop(t->ahead);
	first = cat(dir, MANIFEST_NAME);
	rv = s3_remove_tree(t->s3, t->bucket, dir, first, e);
	free(first);
	free(dir);
	return rv;
}

/* The files of m below key, and with d its manifest, as s3_send wants. */
static struct s3_file *
files_of(const struct s3t *t, const char *key, const struct manifest *m,
    const unsigned char *d, uint64_t size, size_t *n)
{
	struct s3_file	*v = mem_zero(m->n_files + 1, sizeof(*v));
	char		*dir = full(t, key, 1);
	size_t		 i;

	for (i = 0; i < m->n_files; i++) {
		v[i].name = m->files[i].name;
		v[i].key = cat(dir, m->files[i].name);
		v[i].size = m->files[i].size;
		memcpy(v[i].sha256, m->files[i].sha256, HASH_HEX);
	}
	*n = m->n_files;
	if (d != NULL) {
		v[i].name = MANIFEST_NAME;
		v[i].key = cat(dir, MANIFEST_NAME);
		v[i].size = size;
		hash_hex(d, v[i].sha256);
		(*n)++;
	}
	free(dir);
	return v;
}

static void
files_free(struct s3_file *v, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		free((char *)(uintptr_t)v[i].key);
	free(v);
}

static int
s3t_put(void *impl, const char *key, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	struct s3t		*t = impl;
	struct s3_send_opts	 o;
	struct s3_sent		 sent;
	struct retry		*retry = remote_retry(t->o.remote, e);
	struct s3_file		*v;
	struct stat		 st;
	char			*dir;
	size_t			 n;
	int			 rv;

	(void)share;
	if (retry == NULL)
		return -1;
	if (fstatat(dirfd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, errno, "%s", MANIFEST_NAME);
	memset(&o, 0, sizeof(o));
	o.parallel = t->parallel;
	dir = full(t, key, 1);
	v = files_of(t, key, m, d, (uint64_t)st.st_size, &n);
	rv = s3_send(t->s3, retry, t->bucket, dir, dirfd, v, n, &o, &sent, e);
	files_free(v, n);
	free(dir);
	return rv;
}

static int
s3t_verify(void *impl, const char *key, const struct manifest *m,
    struct err *e)
{
	struct s3t	*t = impl;
	struct retry	*retry = remote_retry(t->o.remote, e);
	struct s3_file	*v;
	size_t		 n;
	int		 rv;

	if (retry == NULL)
		return -1;
	v = files_of(t, key, m, NULL, 0, &n);
	rv = s3_prove(t->s3, retry, t->bucket, v, n, t->parallel, e);
	files_free(v, n);
	return rv;
}

struct fetching {
	struct err	 e;
	int		 failed;
};

static void
fetched(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct fetching	*f = arg;

	(void)g;
	if (e != NULL && !f->failed) {
		f->failed = 1;
		f->e = *e;
	}
}

static int
s3t_fetch(void *impl, const char *key, int dirfd, const struct manifest *m,
    struct err *e)
{
	struct s3t		*t = impl;
	struct net		*net = remote_net(t->o.remote, e);
	struct retry		*retry = remote_retry(t->o.remote, e);
	struct xfer_opts	 o = { t->parallel, NULL, 0 };
	struct fetching		 f = { { 0, "" }, 0 };
	struct xfer_get		 g;
	struct xfer		*x;
	struct s3_file		*v;
	char			*cache, *name, *rel;
	unsigned char		 none[HASH_LEN] = { 0 };
	size_t			 i, n;
	int			 r = 0;

	if (net == NULL || retry == NULL)
		return -1;
	cache = remote_cache_dir(NULL);
	o.cache = cache;
	x = xfer_new(net, t->s3, retry, &o);
	v = files_of(t, key, m, none, 0, &n);
	memset(&g, 0, sizeof(g));
	g.bucket = t->bucket;
	g.dirfd = dirfd;
	g.done = fetched;
	g.arg = &f;
	for (i = 0; i < n && r == 0; i++) {
		rel = cat("/", v[i].key + strlen(t->prefix));
		name = cat(t->o.url, rel);
		free(rel);
		g.name = name;
		g.key = v[i].key;
		g.file = v[i].name;
		/* the manifest's digest is for target_fetch */
		g.has_size = i < m->n_files;
		g.size = v[i].size;
		g.sha256 = i < m->n_files ? v[i].sha256 : NULL;
		g.max = i < m->n_files ? 0 : MANIFEST_MAX;
		r = xfer_get(x, &g, e);
		free(name);
	}
	while (r == 0 && !f.failed) {
		r = xfer_wait(x, 1000, e);
		if (r == 0)
			break;
		if (r == 1)
			r = 0;
	}
	if (r == 0 && f.failed) {
		*e = f.e;
		r = -1;
	}
	xfer_free(x);
	files_free(v, n);
	free(cache);
	return r;
}

static void
s3t_close(void *impl)
{
	struct s3t	*t = impl;

	s3_ahead_free(t->ahead);
	object_close(&t->o);
	free(t->bucket);
	free(t->prefix);
	free(t);
}

static int
s3t_probe(void *impl, const char *claim,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	struct s3t	*t = impl;
	enum s3_excludes x;
	char		*dir;
	int		 rv;

	rv = object_probe_lock(&t->o, say, arg, e);
	if (rv != 0)
		return rv == 1 ? 0 : -1;
	dir = full(t, claim, 1);
	rv = s3_probe(t->s3, t->bucket, dir, &x, e);
	free(dir);
	if (rv == -1)
		return -1;
	switch (x) {
	case S3_LACKS:
		return object_no_exclusion(&t->o, "it has no conditional "
		    "writes (501)", e);
	case S3_IGNORES:
		return object_no_exclusion(&t->o, "a second create of one "
		    "name wrote over the first", e);
	case S3_RACES:
		return object_no_exclusion(&t->o, "of several creates at "
		    "once more than one succeeded", e);
	case S3_EXCLUDES:
		break;
	}
	if (say != NULL) {
		say("exclusive create: the first succeeds", arg);
		say("exclusive create: the second is refused, the first "
		    "stays", arg);
		say("exclusive create: of eight at once one succeeds", arg);
	}
	return 0;
}

static int
s3t_unlink(void *impl, const char *key, struct err *e)
{
	struct s3t	*t = impl;
	char		*k = full(t, key, 0);
	int		 rv = s3_delete(t->s3, t->bucket, k, e);

	free(k);
	return rv;
}

/* A list of objects, held against a manifest. */
struct settling {
	const struct manifest	*m;
	size_t			 skip;	/* bytes of a key before its name */
	size_t			 found;
	int64_t			 latest; /* ns; 0 one of them has no time */
};

/* The file of m that is called name, or NULL. */
static const struct manifest_file *
file_of(const struct manifest *m, const char *name)
{
	size_t	lo = 0, hi = m->n_files, mid;
	int	c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		c = strcmp(m->files[mid].name, name);
		if (c == 0)
			return &m->files[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int
settle_one(void *arg, const struct s3_object *o, struct err *e)
{
	struct settling			*s = arg;
	const struct manifest_file	*f = file_of(s->m, o->key + s->skip);

	(void)e;
	if (f == NULL)
		return 0;
	if (f->size != o->size || o->modified == 0)
		return -1;
	if (o->modified > s->latest)
		s->latest = o->modified;
	s->found++;
	return 0;
}

static int
when_one(void *arg, const struct s3_object *o, struct err *e)
{
	struct settling	*s = arg;

	(void)e;
	if (o->key[s->skip] == '\0')
		s->latest = o->modified;
	return 0;
}

/* Both times by lists: a HEAD's has no fractions. */
static int
s3t_settled(void *impl, const char *key, const char *than,
    const struct manifest *m)
{
	struct s3t	*t = impl;
	struct settling	 v = { m, 0, 0, 0 }, c = { NULL, 0, 0, 0 };
	struct err	 e = { 0, "" };
	char		*dir = full(t, key, 1), *commit = full(t, than, 0);
	int		 rv;

	v.skip = strlen(dir);
	c.skip = strlen(commit);
	rv = s3_list(t->s3, t->bucket, commit, NULL, NULL, when_one, &c,
	    &e) == 0 && s3_list(t->s3, t->bucket, dir, NULL, NULL,
	    settle_one, &v, &e) == 0 && v.found == m->n_files &&
	    v.latest <= c.latest;
	free(dir);
	free(commit);
	return rv;
}

static const struct target_ops s3_ops = {
	s3t_list, s3t_get, s3t_has, s3t_create, s3t_replace, s3t_remove,
	NULL, s3t_put, s3t_fetch, s3t_verify, object_claim, object_hold,
	object_release, object_lock, object_unlock, object_path, s3t_close,
	NULL, s3t_age, s3t_probe, s3t_unlink, s3t_ahead, s3t_settled
};

int
target_s3_open(const char *url, const struct target_opts *o,
    const struct target_ops **ops, void **impl, struct err *e)
{
	struct s3t	*t = mem_zero(1, sizeof(*t));
	char		*key = NULL;

	object_open(&t->o, &s3_ops, url, o);
	t->parallel = o->parallel;
	if (s3_url(url, &t->bucket, &key, e) == -1)
		goto fail;
	t->prefix = key[0] == '\0' ? mem_dup("") : cat(key, "/");
	if (strlen(t->prefix) > S3_KEY_MAX / 2) {
		err_set(e, MSG_USAGE, "%.100s...: prefix too long: want at "
		    "most %d bytes", url, S3_KEY_MAX / 2);
		goto fail;
	}
	t->s3 = remote_s3(t->o.remote, e);
	if (t->s3 == NULL)
		goto fail;
	free(key);
	*ops = &s3_ops;
	*impl = t;
	return 0;
fail:
	free(key);
	s3t_close(t);
	return -1;
}
