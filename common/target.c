/*
 * target: pointer, newest commit and versions over any place that can list,
 * get and exclusively create (struct target_ops), proved against each other.
 * It knows no file descriptor of a target and no store format.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "buf.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "banned.h"

#define TARGET_NAMES	1000000	/* names of one directory that we take */

int
target_is_url(const char *url)
{
	return path_is_local(url) || remote_is_s3(url) || remote_is_http(url);
}

int
target_is_remote(const struct target *t)
{
	return t->ops->rename == NULL;
}

/* Without the slashes at its end: one name for one place. */
static char *
remote_name(const char *url)
{
	size_t	n = strlen(url);

	while (n > 0 && url[n - 1] == '/')
		n--;
	return mem_ndup(url, n);
}

struct target *
target_open(const char *url, const struct target_opts *o, struct err *e)
{
	struct target	*t = mem_zero(1, sizeof(*t));
	char		*abs = NULL;
	int		 r;

	if (path_is_local(url)) {
		abs = path_from_url(url, e);
		r = abs == NULL ? -1 : target_local_open(abs, o->create,
		    &t->ops, &t->impl, e);
		if (r == 0)
			t->url = path_to_url(abs);
		free(abs);
	} else {
		t->url = remote_name(url);
		if (remote_is_s3(url))
			r = target_s3_open(t->url, o, &t->ops, &t->impl, e);
		else if (remote_is_http(url))
			r = target_dav_open(t->url, o, &t->ops, &t->impl, e);
		else
			r = err_set(e, MSG_USAGE, "%s: not a target: want a "
			    "path, file://, s3:// or https://", url);
	}
	if (r == -1) {
		free(t->url);
		free(t);
		return NULL;
	}
	return t;
}

void
target_close(struct target *t)
{
	if (t == NULL)
		return;
	t->ops->close(t->impl);
	free(t->url);
	free(t->last_path);
	free(t);
}

const char *
target_url(const struct target *t)
{
	return t->url;
}

void
target_names_clear(struct target_names *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++)
		free(w->v[i]);
	free(w->v);
	memset(w, 0, sizeof(*w));
}

void
target_names_add(struct target_names *w, const char *s)
{
	w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof(*w->v));
	w->v[w->n++] = mem_dup(s);
}

static int
collect_name(const char *name, void *arg)
{
	struct target_names	*w = arg;

	if (w->n < TARGET_NAMES)
		target_names_add(w, name);
	return 0;
}

static int
cmp_str(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
target_list(struct target *t, const char *key, struct target_names *w,
    struct err *e)
{
	memset(w, 0, sizeof(*w));
	if (t->ops->list(t->impl, key, collect_name, w, e) == -1) {
		target_names_clear(w);
		return -1;
	}
	if (w->n >= TARGET_NAMES) {
		target_names_clear(w);
		return err_set(e, MSG_IOERR, "%s/%s: more than %d names",
		    t->url, key, TARGET_NAMES);
	}
	if (w->n > 1)
		qsort(w->v, w->n, sizeof(*w->v), cmp_str);
	return 0;
}

int
target_versions(struct target *t, char ***v, size_t *n, struct err *e)
{
	struct target_names	w, good = { NULL, 0, 0 };
	size_t		i;

	if (target_list(t, TARGET_VERSIONS, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n; i++)
		if (target_version_ok(w.v[i]))
			target_names_add(&good, w.v[i]);
	target_names_clear(&w);
	good.v = mem_grow(good.v, &good.cap, good.n + 1, sizeof(*good.v));
	good.v[good.n] = NULL;
	*v = good.v;
	*n = good.n;
	return 0;
}

void
target_names_free(char **v)
{
	size_t	i;

	if (v == NULL)
		return;
	for (i = 0; v[i] != NULL; i++)
		free(v[i]);
	free(v);
}

int
target_pointer(struct target *t, char out[TARGET_VERSION_MAX],
    struct err *e)
{
	struct buf	b;
	size_t		n;
	int		r;

	out[0] = '\0';
	buf_init(&b, 4096);
	r = t->ops->get(t->impl, TARGET_POINTER, &b, e);
	/* one that is larger than any version's name says nothing */
	if (r == -1 && e->code == MSG_DATAERR) {
		e->code = 0;
		r = 2;
	} else if (r == 1) {
		/* one that a person wrote ends in a newline */
		for (n = b.len; n > 0 && (b.p[n - 1] == '\n' ||
		    b.p[n - 1] == '\r'); n--)
			;
		if (n >= TARGET_VERSION_MAX || memchr(b.p, '\0', n) != NULL)
			n = 0;
		if (n > 0)
			memcpy(out, b.p, n);
		out[n] = '\0';
		if (n != b.len)
			r = 2;
	}
	buf_free(&b);
	return r;
}

int
target_version_key(struct target *t, char out[TARGET_KEY_MAX],
    const char *version, const char *name, struct err *e)
{
	if (!target_version_ok(version))
		return err_set(e, MSG_USAGE, "%s: %s: not a version id "
		    "(20261120T161248.123456Z-0123abcd)", t->url, version);
	(void)snprintf(out, TARGET_KEY_MAX, TARGET_VERSIONS "/%s%s%s",
	    version, name != NULL ? "/" : "", name != NULL ? name : "");
	return 0;
}

int
target_has(struct target *t, const char *version, struct err *e)
{
	char	key[TARGET_KEY_MAX];

	if (target_version_key(t, key, version, MANIFEST_NAME, e) == -1)
		return -1;
	return t->ops->has(t->impl, key, e);
}

/* 1 when a commit at or below g names the version. */
static int
is_committed(struct target *t, uint64_t g, const char *version,
    struct err *e)
{
	struct target_commit	c;
	int			r;

	while (g > 0) {
		r = target_commit_get(t, g, &c, e);
		if (r == -1)
			return -1;
		if (r == 0) {
			if (target_generation_before(t, g, &g, e) == -1)
				return -1;
			continue;
		}
		g--;
		r = strcmp(c.version, version) == 0;
		target_commit_clear(&c);
		if (r)
			return 1;
	}
	return 0;
}

/* No commit: is there truly nothing? 0, or -1. */
static int
prove_empty(struct target *t, int have_pointer, struct err *e)
{
	struct target_names	w, claims;
	size_t		i, k;
	int		rv = 0;

	if (have_pointer)
		return err_set(e, MSG_NOINPUT, "%s: %s is there but no commit "
		    "is: commits were lost; restore %s/ or move the rest away",
		    t->url, TARGET_POINTER, TARGET_COMMITS);
	/* versions first: a claim goes only after its version */
	if (target_list(t, TARGET_VERSIONS, &w, e) == -1)
		return -1;
	if (w.n == 0)
		return 0;
	if (target_claimed(t, &claims, e) == -1) {
		target_names_clear(&w);
		return -1;
	}
	for (i = 0; i < w.n; i++) {
		for (k = 0; k < claims.n; k++)
			if (strcmp(w.v[i], claims.v[k]) == 0)
				break;
		if (k == claims.n) {
			rv = err_set(e, MSG_NOINPUT, "%s: %s/%s is there but "
			    "no commit is: commits were lost; restore %s/ or "
			    "move the rest away", t->url, TARGET_VERSIONS,
			    w.v[i], TARGET_COMMITS);
			break;
		}
	}
	target_names_clear(&claims);
	target_names_clear(&w);
	return rv;
}

/* The manifest's bytes are those that were committed: 0, 1 gone, -1. */
static int
prove_manifest(struct target *t, const struct target_commit *c,
    struct err *e)
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h;
	struct buf	 b;
	char		 key[TARGET_KEY_MAX], hex[HASH_HEX];
	int		 r;

	if (target_version_key(t, key, c->version, MANIFEST_NAME, e) == -1)
		return -1;
	buf_init(&b, MANIFEST_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	if (r == 1) {
		h = hash_new();
		hash_add(h, b.p, b.len);
		hash_final(h, d);
		hash_free(h);
		hash_hex(d, hex);
		r = 0;
		if (strcmp(hex, c->manifest_sha256) != 0)
			r = err_set(e, MSG_DATAERR, "%s/%s: sha256: commit "
			    "%llu says %s, got %s", t->url, key,
			    (unsigned long long)c->generation,
			    c->manifest_sha256, hex);
	} else if (r == 0)
		r = 1;
	buf_free(&b);
	return r;
}

int
target_explains(struct target *t, const struct target_commit *c,
    const char *ptr, struct err *e)
{
	int	r;

	if (!target_version_ok(ptr) || strcmp(ptr, c->version) == 0)
		return 0;
	r = is_committed(t, c->generation, ptr, e);
	if (r == 0 && target_has(t, ptr, e) == 1)
		return err_set(e, MSG_NOINPUT, "%s: %s names %s, which lies "
		    "there and which no commit names: commits were lost (the "
		    "newest is %llu); restore %s/", t->url, TARGET_POINTER,
		    ptr, (unsigned long long)c->generation, TARGET_COMMITS);
	return r == -1 ? -1 : 0;
}

int
target_head(struct target *t, struct target_commit *c, struct err *e)
{
	char		ptr[TARGET_VERSION_MAX];
	uint64_t	g;
	int		have, r, tries;

	for (tries = 0;; tries++) {
		/*
		 * The pointer first: what it names was committed before, so
		 * that the list read after it must know it.
		 */
		have = target_pointer(t, ptr, e);
		if (have == -1)
			return -1;
		r = target_newest(t, c, e);
		if (r == -1)
			return -1;
		if (r == 0) {
			r = prove_empty(t, have, e);
			if (r == 0)
				return 0;
			/* a first commit may have come in between */
			if (target_newest_generation(t, &g, e) == -1 ||
			    g == 0 || tries >= TARGET_TRIES)
				return -1;
			e->code = 0;
			continue;
		}
		r = prove_manifest(t, c, e);
		if (r == -1)
			goto fail;
		if (r == 0)
			break;
		/* gone: pruned, perhaps, since a newer one came */
		if (target_newest_generation(t, &g, e) == -1)
			goto fail;
		if (g == c->generation || tries >= TARGET_TRIES) {
			err_set(e, MSG_NOINPUT, "%s: commit %llu names version"
			    " %s, and %s/%s is gone: restore it, or roll back "
			    "with dpublish rollback", t->url,
			    (unsigned long long)c->generation, c->version,
			    TARGET_VERSIONS, c->version);
			goto fail;
		}
		target_commit_clear(c);
	}
	if (!have || target_explains(t, c, ptr, e) == 0)
		return 1;
fail:
	target_commit_clear(c);
	return -1;
}

/* Versions. */

int
target_manifest(struct target *t, const char *version, struct manifest *m,
    unsigned char d[HASH_LEN], struct err *e)
{
	struct err	 f = { 0, "" };
	struct hash	*h;
	struct buf	 b;
	char		 key[TARGET_KEY_MAX];
	int		 r;

	memset(m, 0, sizeof(*m));
	if (target_version_key(t, key, version, MANIFEST_NAME, e) == -1)
		return -1;
	buf_init(&b, MANIFEST_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	if (r == 0)
		r = err_set(e, MSG_NOINPUT, "%s/%s: it is not there", t->url,
		    key);
	else if (r == 1) {
		if (d != NULL) {
			h = hash_new();
			hash_add(h, b.p, b.len);
			hash_final(h, d);
			hash_free(h);
		}
		r = manifest_parse(m, buf_cstr(&b), b.len, &f);
		if (r == -1)
			err_set(e, f.code, "%s/" TARGET_VERSIONS "/%s/%s",
			    t->url, version, f.text);
	}
	buf_free(&b);
	return r;
}

const char *
target_version_path(struct target *t, const char *version)
{
	struct err	e = { 0, "" };
	char		key[TARGET_KEY_MAX];

	if (target_version_key(t, key, version, NULL, &e) == -1)
		return NULL;
	free(t->last_path);
	t->last_path = t->ops->path(t->impl, key);
	return t->last_path;
}

int
target_bring(struct target *t, const char *version, const struct manifest *m,
    const unsigned char d[HASH_LEN], int dirfd, const char *name,
    struct err *e)
{
	static const struct manifest	none;
	struct err			f = { 0, "" };
	unsigned char			got[HASH_LEN];
	char				key[TARGET_KEY_MAX];
	uint64_t			sz;
	int				fd, rv = -1;

	if (target_version_key(t, key, version, NULL, e) == -1)
		return -1;
	if (mkdirat(dirfd, name, 0777) == -1)
		return err_sys(e, errno, "%s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1)
		err_sys(e, errno, "%s", name);
	else if (t->ops->fetch(t->impl, key, fd, m != NULL ? m : &none,
	    e) == 0 && hash_file(fd, MANIFEST_NAME, got, &sz, e) == 0)
		/* the manifest itself came along unjudged */
		rv = memcmp(d, got, HASH_LEN) == 0 ? 0 : err_set(e,
		    MSG_DATAERR, "%s/%s/%s: changed while it was copied",
		    t->url, key, MANIFEST_NAME);
	if (fd != -1)
		(void)close(fd);
	if (rv == -1)
		(void)io_rmtree(dirfd, name, &f);
	return rv;
}

int
target_fetch(struct target *t, const char *version, int dirfd,
    const char *name, struct err *e)
{
	struct manifest	m;
	unsigned char	d[HASH_LEN];
	int		rv;

	if (target_manifest(t, version, &m, d, e) == -1)
		return -1;
	rv = target_bring(t, version, &m, d, dirfd, name, e);
	manifest_clear(&m);
	return rv;
}

int
target_as_committed(struct target *t, const struct target_commit *c,
    const struct manifest *m)
{
	struct err	e = { 0, "" };
	char		key[TARGET_KEY_MAX], than[64];

	target_commit_key(than, c->generation);
	return target_version_key(t, key, c->version, NULL, &e) == 0 &&
	    t->ops->settled(t->impl, key, than, m) == 1;
}

int
target_verify(struct target *t, const char *version, struct err *e)
{
	struct manifest	m;
	char		key[TARGET_KEY_MAX];
	int		rv = -1;

	if (target_manifest(t, version, &m, NULL, e) == -1)
		return -1;
	if (target_version_key(t, key, version, NULL, e) == 0)
		rv = t->ops->verify(t->impl, key, &m, e);
	manifest_clear(&m);
	return rv;
}
