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
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "buf.h"
#include "dav.h"
#include "dav_send.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "net.h"
#include "path.h"
#include "remote.h"
#include "retry.h"
#include "banned.h"

#define SEEN_MAX	4	/* keys whose last state is remembered */
#define STRONG_S	3.0	/* s that a weak ETag is waited for */
#define STRONG_TICK	0.2	/* s between two looks at it */
#define CLAIM_TRIES	5	/* of a claim of which nobody knows */
#define REPLACES	4	/* of one object, in the probe */
#define RACERS		8	/* creates of one name at once, in the probe */
#define NAMES		8	/* that they race for */
#define ROUNDS		2	/* of that, before a publish */
#define ROUNDS_ASKED	8	/* when somebody asks for the probe itself */
#define HOLD_S		0.05	/* s that all of them are let begin, at least */
#define SPREAD_S	0.01	/* s between two writers of one name */

/* What the last get of a key saw. */
struct seen {
	char		*key;
	int		 there;
	char		*etag;		/* or NULL */
	unsigned char	 sha[HASH_LEN];	/* of its bytes */
};

struct davt {
	struct remote	*remote;
	struct dav	*d;
	struct dav_many	 many;
	char		*url;
	char		*cache;
	char		*lock_path;	/* or NULL */
	int		 lockfd;
	struct seen	 seen[SEEN_MAX];
	size_t		 next;
	struct target_names made;	/* collections that are there */
};

static void
digest(const void *p, size_t n, unsigned char out[HASH_LEN])
{
	struct hash	*h = hash_new();

	if (n > 0)
		hash_add(h, p, n);
	hash_final(h, out);
	hash_free(h);
}

static struct seen *
seen_find(struct davt *t, const char *key)
{
	size_t	i;

	for (i = 0; i < SEEN_MAX; i++)
		if (t->seen[i].key != NULL &&
		    strcmp(t->seen[i].key, key) == 0)
			return &t->seen[i];
	return NULL;
}

/* r NULL: it was not there. */
static struct seen *
seen_set(struct davt *t, const char *key, const struct dav_res *r)
{
	struct seen	*s = seen_find(t, key);

	if (s == NULL) {
		s = &t->seen[t->next];
		t->next = (t->next + 1) % SEEN_MAX;
		free(s->key);
		s->key = mem_dup(key);
	}
	free(s->etag);
	s->there = r != NULL;
	s->etag = r != NULL && r->etag != NULL ? mem_dup(r->etag) : NULL;
	if (r != NULL)
		digest(r->body.p, r->body.len, s->sha);
	return s;
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
	int		 rv = 1;

	if (dav_get(t->d, key, b->max, &r, &f) == 0) {
		buf_add(b, r.body.p != NULL ? (const char *)r.body.p : "",
		    r.body.len);
		(void)seen_set(t, key, &r);
	} else if (f.code == MSG_NOINPUT) {
		(void)seen_set(t, key, NULL);
		rv = 0;
	} else
		rv = err_set(e, f.code, "%s", f.text);
	dav_res_clear(&r);
	return rv;
}

static int
davt_has(void *impl, const char *key, struct err *e)
{
	struct davt	*t = impl;
	struct dav_res	 r;
	struct err	 f = { 0, "" }, g = { 0, "" };
	int		 rv = 1;

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
		    "or no Last-Modified", t->url, key);
	else
		/* one of the two clocks may be a tick behind */
		*age = r.date > r.modified ?
		    (r.date - r.modified) / 1000000000 : 0;
	dav_res_clear(&r);
	return rv;
}

/* "It cannot exclude", in one sentence for whoever asks. */
static int
no_exclusion(const struct davt *t, const char *why, struct err *e)
{
	return err_set(e, MSG_USAGE, "%s: this server does not exclude: %s; "
	    "two publishers could overwrite each other: use another one, or "
	    "--lock FILE that all of them share", t->url, why);
}

/* As dav_put, with what it lies in made first. */
static int
put_in(struct davt *t, const char *key, const void *p, size_t n,
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
	/* under a lock the server may be one that ignores conditions */
	if (t->lock_path != NULL) {
		rv = davt_has(t, key, e);
		if (rv != 0)
			return rv;
	}
	rv = put_in(t, key, p, n, DAV_IF_NONE, NULL, &r, &f);
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
still(struct davt *t, struct seen *s, struct err *e)
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
strengthen(struct davt *t, struct seen *s, struct err *e)
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

/* Does it hold these bytes? 1, 0, -1. */
static int
holds(struct davt *t, const char *key, const void *p, size_t n,
    struct err *e)
{
	struct dav_res	r;
	struct err	f = { 0, "" };
	int		rv = 0;

	if (dav_get(t->d, key, n + 1, &r, &f) == 0)
		rv = r.body.len == n && (n == 0 ||
		    memcmp(r.body.p, p, n) == 0);
	/* larger than n is not these, either */
	else if (f.code != MSG_NOINPUT && f.code != MSG_DATAERR)
		rv = err_set(e, f.code, "%s", f.text);
	dav_res_clear(&r);
	return rv;
}

static int
davt_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, struct err *e)
{
	struct davt	*t = impl;
	struct seen	*s = seen_find(t, key);
	struct dav_res	 r;
	struct err	 f = { 0, "" };
	struct buf	 b;
	int		 rv, mine;

	(void)claim;
	if (s == NULL) {
		/* nobody has looked: what lies there now is meant */
		buf_init(&b, TARGET_COMMIT_MAX);
		rv = davt_get(t, key, &b, e);
		buf_free(&b);
		if (rv == -1 || (s = seen_find(t, key)) == NULL)
			return -1;
	}
	rv = t->lock_path != NULL ? 1 : strengthen(t, s, e);
	if (rv != 1)
		return rv == 0 ? 1 : -1;
	rv = put_in(t, key, p, n, s->there || t->lock_path != NULL ? 0 :
	    DAV_IF_NONE, s->there && t->lock_path == NULL &&
	    dav_is_strong(s->etag) ? s->etag : NULL, &r, &f);
	if (rv == -1 && (r.outcome == DAV_TAKEN ||
	    r.outcome == DAV_UNKNOWN)) {
		/* ours all the same, perhaps: sent twice on its way */
		mine = holds(t, key, p, n, e);
		if (mine == 1)
			rv = 0;
		else if (mine == 0 && r.outcome == DAV_TAKEN)
			rv = 1;
	} else if (rv == -1 && s->there && r.status == 404)
		rv = 1;
	if (rv == -1)
		err_set(e, f.code, "%s", f.text);
	/* the next one looks for itself */
	free(s->key);
	s->key = NULL;
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

static char *
below(const char *key, const char *name)
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
		v[i].key = below(key, m->files[i].name);
		v[i].size = m->files[i].size;
		v[i].has_size = 1;
		v[i].sha256 = m->files[i].sha256;
	}
	v[i].name = MANIFEST_NAME;
	v[i].key = below(key, MANIFEST_NAME);
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
	char		*path = x->dir[0] != '\0' ? below(x->dir, name) :
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
	char		*k = dir[0] != '\0' ? below(key, dir) : mem_dup(key);
	int		 rv = davt_list(t, k, look_name, &x, e);

	if (x.other != NULL)
		rv = err_set(e, MSG_DATAERR, "%s/%s/%s: not in the manifest",
		    t->url, key, x.other);
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

/*
 * Claims and the operator's lock.
 */

static int
davt_claim(void *impl, const char *key, const void *p, size_t n, int *held,
    struct err *e)
{
	char		 owner[TARGET_KEY_MAX];
	struct err	 f;
	unsigned int	 tries;
	int		 unsure, r;

	*held = -1;
	(void)snprintf(owner, sizeof(owner), "%s/" TARGET_OWNER, key);
	for (tries = 1;; tries++) {
		memset(&f, 0, sizeof(f));
		unsure = 0;
		r = davt_create(impl, key, owner, p, n, &unsure, &f);
		/* no other claim has these bytes: who, where, when */
		if (r != 0 && (r == 1 || unsure) &&
		    holds(impl, owner, p, n, &f) == 1)
			r = 0;
		if (r != -1 || !unsure || tries == CLAIM_TRIES)
			break;
		if (retry_sleep(retry_delay(tries, -1, 0.5), e) == -1)
			return -1;
	}
	if (r == -1)
		err_set(e, f.code, "%s", f.text);
	return r;
}

static int
davt_hold(void *impl, const char *key, int *held, struct err *e)
{
	(void)impl;
	(void)key;
	(void)e;
	*held = -1;
	return 0;
}

static void
davt_release(void *impl, int held)
{
	(void)impl;
	(void)held;
}

static int
davt_lock(void *impl, struct err *e)
{
	struct davt	*t = impl;
	struct err	 f = { 0, "" };
	int		 fd;

	if (t->lock_path == NULL)
		return 0;
	fd = open(t->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", t->lock_path);
	if (io_flock(fd, TARGET_LOCK_WAIT, &f) == -1) {
		(void)close(fd);
		return err_set(e, f.code, "%s: %s", t->lock_path, f.text);
	}
	t->lockfd = fd;
	return 0;
}

static void
davt_unlock(void *impl)
{
	struct davt	*t = impl;

	if (t->lockfd != -1)
		(void)close(t->lockfd);
	t->lockfd = -1;
}

static char *
davt_path(void *impl, const char *key)
{
	(void)impl;
	(void)key;
	return NULL;
}

static void
davt_close(void *impl)
{
	struct davt	*t = impl;
	size_t		 i;

	davt_unlock(t);
	for (i = 0; i < SEEN_MAX; i++) {
		free(t->seen[i].key);
		free(t->seen[i].etag);
	}
	target_names_clear(&t->made);
	dav_free(t->d);
	remote_free(t->remote);
	free(t->cache);
	free(t->url);
	free(t->lock_path);
	free(t);
}

/*
 * The probe.
 */

struct probing {
	struct davt	*t;
	char		*dir;
	double		 took;	/* s, the first PUT */
	int		 rounds;
	void		(*say)(const char *what, void *arg);
	void		*arg;
};

static void
tell(const struct probing *p, const char *what)
{
	if (p->say != NULL)
		p->say(what, p->arg);
}

/*
 * One conditional PUT of which is known how it must end: 0 it did, 1 not,
 * -1 something else went wrong.
 */
static int
try_put(struct probing *p, const char *key, const char *body,
    unsigned int flags, const char *if_match, enum dav_outcome want,
    struct err *e)
{
	struct dav_res	r;
	struct err	f = { 0, "" };
	int		rv;

	if (put_in(p->t, key, body, strlen(body), flags, if_match, &r,
	    &f) == 0)
		rv = want == DAV_DONE ? 0 : 1;
	else if (r.outcome == DAV_TAKEN)
		rv = want == DAV_TAKEN ? 0 : 1;
	else if (r.status == 501 || r.status == 400)
		rv = no_exclusion(p->t, "it takes no conditional writes",
		    e);
	else
		rv = err_set(e, f.code, "%s", f.text);
	dav_res_clear(&r);
	return rv;
}

/* No, unless these are the bytes there. */
static int
must_hold(struct probing *p, const char *key, const char *body,
    const char *why, struct err *e)
{
	int	r = holds(p->t, key, body, strlen(body), e);

	return r == 0 ? no_exclusion(p->t, why, e) : r == 1 ? 0 : -1;
}

static int
probe_create(struct probing *p, const char *key, struct err *e)
{
	double	begun = io_now();
	int	r;

	r = try_put(p, key, "first", DAV_IF_NONE, NULL, DAV_DONE, e);
	p->took = io_now() - begun;
	if (r == 1)
		r = no_exclusion(p->t, "a name that was free was taken", e);
	if (r == -1)
		return -1;
	tell(p, "exclusive create: the first succeeds");
	r = try_put(p, key, "second", DAV_IF_NONE, NULL, DAV_TAKEN, e);
	if (r == 1)
		r = no_exclusion(p->t, "it ignores If-None-Match: *, and a "
		    "second create of one name wrote over the first", e);
	if (r == -1 || must_hold(p, key, "first", "a second create of one "
	    "name was refused, and wrote over the first", e) == -1)
		return -1;
	tell(p, "exclusive create: the second is refused, the first stays");
	return 0;
}

static int
probe_replace(struct probing *p, const char *key, struct err *e)
{
	static const char *const	bodies[REPLACES] = { "third",
					    "fourth", "fifth", "sixth" };
	struct err			f = { 0, "" };
	int				i, r;

	r = try_put(p, key, "zeroth", 0, "\"intact-no-such-etag\"",
	    DAV_TAKEN, e);
	if (r == 1)
		r = no_exclusion(p->t, "it ignores If-Match, and replaced "
		    "what had changed", e);
	if (r == -1 || must_hold(p, key, "first", "a replacement was "
	    "refused, and done", e) == -1)
		return -1;
	tell(p, "replacement: refused where something else lies there");
	/* servers of many processes may each remember another one */
	for (i = 0; i < REPLACES; i++) {
		r = davt_replace(p->t, NULL, key, bodies[i],
		    strlen(bodies[i]), &f);
		if (r == -1)
			return err_set(e, f.code, "%s", f.text);
		if (r == 1)
			return no_exclusion(p->t, "it refuses to replace "
			    "what has not changed", e);
		if (must_hold(p, key, bodies[i], "it gives out old bytes "
		    "after new ones were written", e) == -1)
			return -1;
	}
	tell(p, "replacement: what was written is read back");
	return 0;
}

struct race {
	unsigned int	won, told;
	struct err	e;
};

static void
on_racer(void *arg, const struct dav_res *r, const struct err *e)
{
	struct race	*c = arg;

	if (e == NULL)
		c->won++;
	else if (r->outcome == DAV_TAKEN)
		c->told++;
	else if (c->e.code == 0)
		c->e = *e;
}

/* Let seconds pass, while what is under way goes on. */
static int
pass(struct probing *p, double seconds, struct err *e)
{
	double	end = io_now() + seconds, left;

	while ((left = end - io_now()) > 0 && net_running(p->t->many.n) > 0)
		if (net_wait(p->t->many.n, (unsigned int)(left * 1000) + 1,
		    e) == -1)
			return -1;
	return 0;
}

static int
start_racer(struct probing *p, const char *key, int i, const int *hold,
    struct race *c, struct err *e)
{
	static const char	body[] = "racer 0\0racer 1\0racer 2\0racer 3\0"
				    "racer 4\0racer 5\0racer 6\0racer 7";
	struct dav_req		q;

	memset(&q, 0, sizeof(q));
	q.method = "PUT";
	q.key = key;
	q.body = body + i * 8;
	q.n = 7;
	q.fd = -1;
	q.hold = hold;
	q.flags = DAV_IF_NONE | DAV_FRESH;
	return dav_start(p->t->d, &q, on_racer, c, e);
}

/*
 * RACERS creates of each of NAMES names, all at once; no one's last byte is
 * sent before all have begun.  A server that looks whether a name is free,
 * and only then waits for the bytes, lets all of them win; of one that
 * looks and writes at its end, but in many processes, some do, often.
 */
static int
race(struct probing *p, int round, struct race c[NAMES], struct err *e)
{
	char	name[32], *key;
	int	hold = 1, i, k, r = 0;

	memset(c, 0, NAMES * sizeof(*c));
	/* those of one name not together, or one process gets them all */
	for (k = 0; k < RACERS; k++) {
		for (i = 0; i < NAMES && r == 0; i++) {
			(void)snprintf(name, sizeof(name), "race-%d-%d",
			    round, i);
			key = below(p->dir, name);
			r = start_racer(p, key, k, &hold, &c[i], e);
			free(key);
		}
		if (r == 0)
			r = pass(p, SPREAD_S, e);
	}
	/* long enough for what the first PUT needed from end to end */
	if (r != -1)
		r = pass(p, HOLD_S + 2 * p->took, e);
	hold = 0;
	while (r != -1 && net_running(p->t->many.n) > 0)
		r = net_wait(p->t->many.n, 1000, e);
	for (i = 0; i < NAMES; i++)
		dav_cancel(p->t->d, &c[i]);
	return r == -1 ? -1 : 0;
}

static int
probe_race(struct probing *p, struct err *e)
{
	struct race	c[NAMES];
	int		round, i, r = 0;

	for (round = 0; round < p->rounds && r == 0; round++) {
		r = race(p, round, c, e);
		for (i = 0; i < NAMES && r == 0; i++)
			if (c[i].won > 1)
				r = no_exclusion(p->t, "of several creates "
				    "at once more than one succeeded", e);
		for (i = 0; i < NAMES && r == 0; i++)
			if (c[i].won + c[i].told != RACERS)
				r = err_set(e, c[i].e.code, "%s",
				    c[i].e.text);
			else if (c[i].won == 0)
				r = no_exclusion(p->t, "of several creates "
				    "at once none succeeded", e);
	}
	if (r == 0)
		tell(p, "exclusive create: of eight at once one succeeds");
	return r;
}

static int
count_name(const char *name, void *arg)
{
	(void)name;
	++*(int *)arg;
	return 0;
}

static int
probe_rest(struct probing *p, const char *key, struct err *e)
{
	int64_t	age;
	int	n = 0;

	if (davt_list(p->t, p->dir, count_name, &n, e) == -1)
		return -1;
	if (n != p->rounds * NAMES + 1)
		return err_set(e, MSG_USAGE, "%s: what was written is not "
		    "listed: want %d names, got %d", p->t->url,
		    p->rounds * NAMES + 1, n);
	tell(p, "list: what was written is in it");
	if (davt_age(p->t, key, &age, e) != 1)
		return err_set(e, MSG_USAGE, "%s: what was written is gone",
		    p->t->url);
	if (dav_delete(p->t->d, p->dir, e) == -1)
		return -1;
	if (davt_has(p->t, key, e) != 0)
		return err_set(e, MSG_USAGE, "%s: what was removed is there",
		    p->t->url);
	tell(p, "removal: a collection goes with all that is in it");
	return 0;
}

static int
davt_probe(void *impl, const char *claim,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	struct davt	*t = impl;
	struct probing	 p = { t, NULL, 0, say != NULL ? ROUNDS_ASKED : ROUNDS,
			    say, arg };
	struct err	 f = { 0, "" };
	char		 name[32], id[17], *key;
	int		 rv = -1;

	if (t->lock_path != NULL) {
		/* proves that it can be had */
		if (davt_lock(t, e) == -1)
			return -1;
		davt_unlock(t);
		tell(&p, "the lock can be taken; whether all publishers name "
		    "it only they know");
		return 0;
	}
	if (io_random_hex(id, 8, e) == -1)
		return -1;
	(void)snprintf(name, sizeof(name), "probe-%s", id);
	p.dir = below(claim, name);
	key = below(p.dir, "object");
	if (probe_create(&p, key, e) == 0 && probe_replace(&p, key, e) == 0 &&
	    probe_race(&p, e) == 0 && probe_rest(&p, key, e) == 0)
		rv = 0;
	target_names_clear(&t->made);
	if (rv == -1)
		(void)dav_delete(t->d, p.dir, &f);
	free(p.dir);
	free(key);
	return rv;
}

static const struct target_ops dav_ops = {
	davt_list, davt_get, davt_has, davt_create, davt_replace,
	davt_remove, NULL, davt_put, davt_fetch, davt_verify, davt_claim,
	davt_hold, davt_release, davt_lock, davt_unlock, davt_path,
	davt_close, NULL, davt_age, davt_probe, NULL, NULL
};

int
target_dav_open(const char *url, const struct target_opts *o,
    const struct target_ops **ops, void **impl, struct err *e)
{
	struct davt	*t = mem_zero(1, sizeof(*t));

	t->lockfd = -1;
	t->url = mem_dup(url);
	t->cache = remote_cache_dir(NULL);
	if (o->lock != NULL)
		t->lock_path = mem_dup(o->lock);
	t->remote = remote_new(o->ckpt);
	t->many.parallel = o->parallel;
	t->many.cache = t->cache;
	t->many.n = remote_net(t->remote, e);
	if (t->many.n != NULL)
		t->many.r = remote_retry(t->remote, e);
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
