/*
 * target, on WebDAV: objects below http(s)://host/path.  It knows HTTP and
 * no law; those are target.c's and target_upload.c's.
 *
 * A create is If-None-Match: *, sent once; a replacement is If-Match with
 * the ETag that was seen.  Many servers ignore one or the other, and some
 * heed both and still let two writers win: probe shows it, and what it
 * does not show is not published to, but under the operator's lock.
 * What "durable" means is the server's to say: a PUT that it has answered.
 * SPDX-License-Identifier: ISC
 */
#include "target_dav.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "buf.h"
#include "dav.h"
#include "dav_ahead.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "net.h"
#include "path.h"
#include "remote.h"
#include "retry.h"
#include "banned.h"

#define STRONG_S	3.0	/* s that a weak ETag is waited for */
#define STRONG_TICK	0.2	/* s between two looks at it */

static void
digest(const void *p, size_t n, unsigned char out[HASH_LEN])
{
	struct hash	*h = hash_new();

	if (n > 0)
		hash_add(h, p, n);
	hash_final(h, out);
	hash_free(h);
}

/*
 * Collections.
 */

/* The one that key lies in, and those above it; once for each. */
static int
make_parent(struct davt *t, const char *key, struct err *e)
{
	const char	*slash = strrchr(key, '/');
	char		*dir = mem_ndup(key, slash != NULL ?
			    (size_t)(slash - key) : 0);
	size_t		 i;
	int		 rv = 0;

	for (i = 0; i < t->made.n; i++)
		if (strcmp(t->made.v[i], dir) == 0)
			break;
	if (i == t->made.n) {
		rv = dav_mkcol(t->d, dir, NULL, e);
		if (rv == 0)
			target_names_add(&t->made, dir);
	}
	free(dir);
	return rv;
}

/* Our names never look so: servers put bytes aside under these. */
static int
is_aside(const char *name)
{
	return name[0] == '.' || name[strlen(name) - 1] == '~';
}

struct lister {
	int	(*name)(const char *name, void *arg);
	void	*arg;
	int	 stopped;
};

static int
list_one(void *arg, const char *name)
{
	struct lister	*l = arg;

	if (is_aside(name))
		return 0;
	if (l->name(name, l->arg) == 0)
		return 0;
	l->stopped = 1;
	return -1;
}

static int
davt_list(void *impl, const char *key,
    int (*name)(const char *name, void *arg), void *arg, struct err *e)
{
	struct davt	*t = impl;
	struct lister	 l = { name, arg, 0 };
	struct err	 f = { 0, "" };

	if (dav_list(t->d, key, list_one, &l, &f) == 0 || l.stopped ||
	    f.code == MSG_NOINPUT)
		return 0;
	return err_set(e, f.code, "%s", f.text);
}

/*
 * Small objects.
 */

static int
davt_get(void *impl, const char *key, struct buf *b, struct err *e)
{
	struct davt	*t = impl;
	struct dav_res	 r;
	struct err	 f = { 0, "" };
	int		 rv = dav_ahead_take(t->ahead, key, 0, &r);

	if (rv == 0) {
		rv = 1;
		if (dav_get(t->d, key, b->max, &r, &f) == -1)
			rv = f.code == MSG_NOINPUT ? 2 :
			    err_set(e, f.code, "%s", f.text);
	}
	if (rv == 1) {
		buf_add(b, r.body.p != NULL ? (const char *)r.body.p : "",
		    r.body.len);
		digest(r.body.p, r.body.len,
		    object_see(&t->o, key, 1, r.etag)->sha);
	} else if (rv == 2) {
		(void)object_see(&t->o, key, 0, NULL);
		rv = 0;
	}
	dav_res_clear(&r);
	return rv;
}

static void
davt_ahead(void *impl, const char *const *keys, size_t n, int head)
{
	struct davt	*t = impl;

	if (t->ahead == NULL)
		t->ahead = dav_ahead_new(t->d, t->many.n, t->many.r);
	dav_ahead_read(t->ahead, keys, n, head ? 0 : TARGET_COMMIT_MAX);
}

static int
davt_has(void *impl, const char *key, struct err *e)
{
	struct davt	*t = impl;
	struct dav_res	 r;
	struct err	 f = { 0, "" }, g = { 0, "" };
	int		 rv = dav_ahead_take(t->ahead, key, 1, &r);

	if (rv != 0) {
		dav_res_clear(&r);
		return rv == 1;
	}
	rv = 1;
	if (dav_head(t->d, key, &r, &f) == -1) {
		/* Apache: a collection is not there for HEAD */
		if (f.code == MSG_NOINPUT)
			rv = dav_has(t->d, key, &g);
		else if (r.status < 300 || r.status >= 400)
			rv = err_set(e, f.code, "%s", f.text);
	}
	dav_res_clear(&r);
	if (rv == -1 && g.code != 0) {
		/* lighttpd forbids a file as a collection: it came just now */
		f.code = 0;
		rv = dav_head(t->d, key, &r, &f) == 0 ? 1 :
		    err_set(e, g.code, "%s", g.text);
		dav_res_clear(&r);
	}
	return rv;
}

static int
davt_age(void *impl, const char *key, int64_t *age, struct err *e)
{
	struct davt	*t = impl;
	struct dav_res	 r;
	struct err	 f = { 0, "" };
	int		 rv = 1;

	if (dav_head(t->d, key, &r, &f) == -1)
		rv = f.code == MSG_NOINPUT ? 0 :
		    err_set(e, f.code, "%s", f.text);
	else if (r.date == 0 || r.modified == 0)
		rv = err_set(e, MSG_DATAERR, "%s/%s: the server says no Date "
		    "or no Last-Modified", t->o.url, key);
	else
		/* one of the two clocks may be a tick behind */
		*age = r.date > r.modified ?
		    (r.date - r.modified) / 1000000000 : 0;
	dav_res_clear(&r);
	return rv;
}

int
davt_put_in(struct davt *t, const char *key, const void *p, size_t n,
    unsigned int flags, const char *if_match, struct dav_res *r,
    struct err *e)
{
	struct err	f = { 0, "" };
	int		tries, rv;

	for (tries = 0;; tries++) {
		if (make_parent(t, key, e) == -1) {
			memset(r, 0, sizeof(*r));
			r->outcome = DAV_REFUSED;
			return -1;
		}
		f.code = 0;
		rv = dav_put(t->d, key, p, n, flags, if_match, r, &f);
		/* refused, as what we made is gone again: once more */
		if (rv == 0 || tries > 0 || (r->status != 404 &&
		    r->status != 409))
			break;
		target_names_clear(&t->made);
		dav_res_clear(r);
	}
	if (rv == -1)
		err_set(e, f.code, "%s", f.text);
	return rv;
}

static int
davt_create(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct davt	*t = impl;
	struct dav_res	 r;
	struct err	 f = { 0, "" };
	int		 rv;

	(void)claim;
	dav_ahead_drop(t->ahead);
	/* under a lock the server may be one that ignores conditions */
	if (t->o.lock_path != NULL) {
		rv = davt_has(t, key, e);
		if (rv != 0)
			return rv;
	}
	rv = davt_put_in(t, key, p, n, DAV_IF_NONE, NULL, &r, &f);
	if (rv == -1 && r.outcome == DAV_TAKEN)
		rv = 1;
	else if (rv == -1) {
		/* 409 twice over is none of those that WebDAV knows */
		if (r.outcome == DAV_UNKNOWN || r.status == 409)
			*unsure = 1;
		err_set(e, f.code, "%s", f.text);
	}
	dav_res_clear(&r);
	return rv;
}

/* What lies there now, 1 as s saw it, 0 it is not; s then knows its ETag. */
static int
still(struct davt *t, struct object_seen *s, struct err *e)
{
	struct dav_res	r;
	struct err	f = { 0, "" };
	unsigned char	d[HASH_LEN];
	int		rv = 0;

	if (dav_get(t->d, s->key, TARGET_COMMIT_MAX, &r, &f) == 0) {
		digest(r.body.p, r.body.len, d);
		rv = s->there && memcmp(d, s->sha, HASH_LEN) == 0;
		if (rv == 1) {
			free(s->etag);
			s->etag = r.etag;
			r.etag = NULL;
		}
	} else if (f.code == MSG_NOINPUT)
		rv = !s->there;
	else
		rv = err_set(e, f.code, "%s", f.text);
	dav_res_clear(&r);
	return rv;
}

/*
 * An ETag to match against: 1, or 1 without one where the server never
 * gives it; 0 the object has changed.  Apache's are weak for as long as
 * another write could come in the same tick of its clock.
 */
static int
strengthen(struct davt *t, struct object_seen *s, struct err *e)
{
	double	end = io_now() + STRONG_S;
	int	r = 1;

	while (s->there && !dav_is_strong(s->etag)) {
		r = still(t, s, e);
		if (r != 1 || s->etag == NULL || dav_is_strong(s->etag) ||
		    io_now() > end)
			break;
		if (retry_sleep(STRONG_TICK, e) == -1)
			return -1;
	}
	return r;
}

static int
davt_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	struct davt		*t = impl;
	struct object_seen	*s = object_find(&t->o, key);
	struct dav_res		 r;
	struct err		 f = { 0, "" };
	struct buf		 b;
	int			 rv, mine, there;

	(void)claim;
	dav_ahead_drop(t->ahead);
	if (s == NULL) {
		/* nobody has looked: what lies there now is meant */
		buf_init(&b, TARGET_COMMIT_MAX);
		rv = davt_get(t, key, &b, e);
		buf_free(&b);
		if (rv == -1 || (s = object_find(&t->o, key)) == NULL)
			return -1;
	}
	rv = t->o.lock_path != NULL ? 1 : strengthen(t, s, e);
	if (rv != 1)
		return rv == 0 ? 1 : -1;
	there = s->there;
	rv = davt_put_in(t, key, p, n, there || t->o.lock_path != NULL ? 0 :
	    DAV_IF_NONE, there && t->o.lock_path == NULL &&
	    dav_is_strong(s->etag) ? s->etag : NULL, &r, &f);
	if (rv == -1 && (r.outcome == DAV_TAKEN ||
	    r.outcome == DAV_UNKNOWN)) {
		/* ours all the same, perhaps: sent twice on its way */
		mine = object_holds(&t->o, key, p, n, e);
		if (mine == 1)
			rv = 0;
		else if (mine == 0 && r.outcome == DAV_TAKEN)
			rv = 1;
		else
			*unsure = 1;
	} else if (rv == -1 && there && r.status == 404)
		rv = 1;
	if (rv == -1)
		err_set(e, f.code, "%s", f.text);
	/* the next one looks for itself */
	object_forget(&t->o, key);
	dav_res_clear(&r);
	return rv;
}

static int
davt_remove(void *impl, const char *key, struct err *e)
{
	struct davt	*t = impl;
	char		*m, *slash;
	size_t		 sz = strlen(key) + sizeof(MANIFEST_NAME) + 1;
	int		 rv;

	target_names_clear(&t->made);
	dav_ahead_drop(t->ahead);
	m = mem_alloc(sz);
	(void)snprintf(m, sz, "%s/%s", key, MANIFEST_NAME);
	slash = strrchr(m, '/');
	rv = dav_delete(t->d, m, e);
	if (rv == 0) {
		*slash = '\0';
		rv = dav_delete(t->d, m, e);
	}
	free(m);
	return rv;
}

/*
 * Versions.
 */

char *
davt_below(const char *key, const char *name)
{
	size_t	 sz = strlen(key) + strlen(name) + 2;
	char	*s = mem_alloc(sz);

	(void)snprintf(s, sz, "%s/%s", key, name);
	return s;
}

/* The files of m below key, and behind them room for its manifest. */
static struct dav_file *
files_of(const char *key, const struct manifest *m)
{
	struct dav_file	*v = mem_zero(m->n_files + 1, sizeof(*v));
	size_t		 i;

	for (i = 0; i < m->n_files; i++) {
		v[i].name = m->files[i].name;
		v[i].key = davt_below(key, m->files[i].name);
		v[i].size = m->files[i].size;
		v[i].has_size = 1;
		v[i].sha256 = m->files[i].sha256;
	}
	v[i].name = MANIFEST_NAME;
	v[i].key = davt_below(key, MANIFEST_NAME);
	v[i].max = MANIFEST_MAX;
	return v;
}

static void
files_free(struct dav_file *v, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		free(v[i].key);
	free(v);
}

static int
davt_put(void *impl, const char *key, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	struct davt	*t = impl;
	struct dav_file	*v;
	struct stat	 st;
	char		 hex[HASH_HEX];
	size_t		 i;
	int		 made, rv = -1;

	(void)share;
	if (fstatat(dirfd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, errno, "%s", MANIFEST_NAME);
	if (dav_mkcol(t->d, key, &made, e) == -1)
		return -1;
	v = files_of(key, m);
	v[m->n_files].size = (uint64_t)st.st_size;
	v[m->n_files].has_size = 1;
	v[m->n_files].max = 0;
	hash_hex(d, hex);
	v[m->n_files].sha256 = hex;
	target_names_clear(&t->made);
	target_names_add(&t->made, key);
	for (i = 0; i < m->n_files; i++)
		if (make_parent(t, v[i].key, e) == -1)
			goto done;
	/* the manifest when all that it names is there */
	if (dav_send(&t->many, dirfd, v, m->n_files, !made, e) == 0)
		rv = dav_send(&t->many, dirfd, v + m->n_files, 1, !made, e);
done:
	files_free(v, m->n_files + 1);
	return rv;
}

static int
davt_fetch(void *impl, const char *key, int dirfd, const struct manifest *m,
    struct err *e)
{
	struct davt	*t = impl;
	struct dav_file	*v = files_of(key, m);
	int		 rv;

	rv = dav_bring(&t->many, dirfd, v, m->n_files + 1, e);
	files_free(v, m->n_files + 1);
	return rv == 0 ? 0 : -1;
}

/* What may lie in one collection of a version. */
struct expect {
	const struct davt	*t;
	const struct manifest	*m;
	const char		*key, *dir;	/* dir: "" or "a/b" below key */
	char			*other;		/* what may not */
};

static int
look_name(const char *name, void *arg)
{
	struct expect	*x = arg;
	char		*path = x->dir[0] != '\0' ? davt_below(x->dir, name) :
			    mem_dup(name);
	size_t		 lo = 0, hi = x->m->n_files, mid, n = strlen(path);
	const char	*f;
	int		 found;

	/* the first file that is not before it */
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (strcmp(x->m->files[mid].name, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	found = strcmp(path, MANIFEST_NAME) == 0;
	for (; !found && lo < x->m->n_files; lo++) {
		f = x->m->files[lo].name;
		if (strncmp(f, path, n) != 0)
			break;
		found = f[n] == '\0' || f[n] == '/';
	}
	if (found) {
		free(path);
		return 0;
	}
	x->other = path;
	return -1;
}

/* No file lies in the collection but those of m. */
static int
look_dir(struct davt *t, const char *key, const struct manifest *m,
    const char *dir, struct err *e)
{
	struct expect	x = { t, m, key, dir, NULL };
	char		*k = dir[0] != '\0' ? davt_below(key, dir) :
			    mem_dup(key);
	int		 rv = davt_list(t, k, look_name, &x, e);

	if (x.other != NULL)
		rv = err_set(e, MSG_DATAERR, "%s/%s/%s: not in the manifest",
		    t->o.url, key, x.other);
	free(x.other);
	free(k);
	return rv;
}

static int
davt_verify(void *impl, const char *key, const struct manifest *m,
    struct err *e)
{
	struct davt	*t = impl;
	struct dav_file	*v = files_of(key, m);
	const char	*slash;
	char		*dir = mem_dup(""), *d;
	size_t		 i;
	int		 rv;

	rv = dav_bring(&t->many, -1, v, m->n_files, e) == 0 ? 0 : -1;
	if (rv == 0)
		rv = look_dir(t, key, m, dir, e);
	/* sorted: files of one directory follow each other */
	for (i = 0; i < m->n_files && rv == 0; i++) {
		slash = strrchr(m->files[i].name, '/');
		if (slash == NULL)
			continue;
		d = mem_ndup(m->files[i].name,
		    (size_t)(slash - m->files[i].name));
		if (strcmp(d, dir) != 0)
			rv = look_dir(t, key, m, d, e);
		free(dir);
		dir = d;
	}
	free(dir);
	files_free(v, m->n_files + 1);
	return rv;
}

static void
davt_close(void *impl)
{
	struct davt	*t = impl;

	target_names_clear(&t->made);
	dav_ahead_free(t->ahead);
	dav_free(t->d);
	object_close(&t->o);
	free(t->cache);
	free(t);
}

static int
davt_settled(void *impl, const char *key, const char *than,
    const struct manifest *m)
{
	struct davt	*t = impl;
	struct dav_res	 c, r;
	struct err	 e = { 0, "" };
	char		*k;
	size_t		 i;
	int		 rv;

	rv = dav_head(t->d, than, &c, &e) == 0 && c.modified != 0;
	for (i = 0; rv && i < m->n_files; i++) {
		k = davt_below(key, m->files[i].name);
		rv = dav_head(t->d, k, &r, &e) == 0 && r.length >= 0 &&
		    (uint64_t)r.length == m->files[i].size &&
		    r.modified != 0 && r.modified <= c.modified;
		dav_res_clear(&r);
		free(k);
	}
	dav_res_clear(&c);
	return rv;
}

static const struct target_ops dav_ops = {
	davt_list, davt_get, davt_has, davt_create, davt_replace,
	davt_remove, NULL, davt_put, davt_fetch, davt_verify, object_claim,
	object_hold, object_release, object_lock, object_unlock, object_path,
	davt_close, NULL, davt_age, davt_probe, NULL, davt_ahead, davt_settled
};

int
target_dav_open(const char *url, const struct target_opts *o,
    const struct target_ops **ops, void **impl, struct err *e)
{
	struct davt	*t = mem_zero(1, sizeof(*t));

	object_open(&t->o, &dav_ops, url, o);
	t->cache = remote_cache_dir(NULL);
	t->many.parallel = o->parallel;
	t->many.cache = t->cache;
	t->many.n = remote_net(t->o.remote, e);
	if (t->many.n != NULL)
		t->many.r = remote_retry(t->o.remote, e);
	if (t->many.r == NULL)
		goto fail;
	t->d = t->many.d = dav_new(t->many.n, t->many.r, url,
	    getenv("DAV_USER"), getenv("DAV_PASSWORD"), e);
	if (t->d == NULL)
		goto fail;
	if (dav_is_direct(t->d))
		net_go_direct(t->many.n);
	*ops = &dav_ops;
	*impl = t;
	return 0;
fail:
	davt_close(t);
	return -1;
}
