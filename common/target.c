/*
 * target: commits, pointer, versions and claims over any place that can
 * list, get and exclusively create (struct target_ops).
 * It knows no file descriptor of a target and no store format.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "manifest.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "remote.h"
#include "banned.h"

#define TARGET_FORMAT	1	/* of commit records */
#define TARGET_NAMES	1000000	/* names of one directory that we take */

void
target_commit_clear(struct target_commit *c)
{
	free(c->version);
	free(c->parent);
	free(c->format);
	free(c->kind);
	memset(c, 0, sizeof(*c));
}

/* Microseconds since 1970 as 20261120T161248.123456Z, or with dashes. */
static void
time_text(int64_t us, int dashes, char *out, size_t sz)
{
	struct tm	tm;
	time_t		s = (time_t)(us / 1000000);

	memset(&tm, 0, sizeof(tm));
	(void)gmtime_r(&s, &tm);
	(void)snprintf(out, sz, dashes ?
	    "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" :
	    "%04d%02d%02dT%02d%02d%02d.%06dZ", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    (int)(us % 1000000));
}

/* Either text back into microseconds: 0, or -1 when it is none. */
static int
time_parse(const char *s, int dashes, int64_t *us)
{
	const char		*pat = dashes ?
	    "dddd-dd-ddTdd:dd:dd.ddddddZ" : "ddddddddTdddddd.ddddddZ";
	int64_t			 v[7] = { 0, 0, 0, 0, 0, 0, 0 };
	static const int	 width[7] = { 4, 2, 2, 2, 2, 2, 6 };
	int			 f = 0, w = 0;

	for (; *pat != '\0'; pat++, s++) {
		if (*pat != 'd') {
			if (*s != *pat)
				return -1;
			continue;
		}
		if (*s < '0' || *s > '9')
			return -1;
		v[f] = v[f] * 10 + (*s - '0');
		if (++w == width[f]) {
			f++;
			w = 0;
		}
	}
	if (v[0] < 1970 || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 ||
	    v[3] > 23 || v[4] > 59 || v[5] > 60)
		return -1;
	*us = (((num_days(v[0], v[1], v[2]) * 24 + v[3]) * 60 + v[4]) *
	    60 + v[5]) * 1000000 + v[6];
	return 0;
}

/* Nanoseconds end in 2262; a text may say more: 0, not known. */
static int64_t
to_ns(int64_t us)
{
	return us <= INT64_MAX / 1000 ? us * 1000 : 0;
}

#define STAMP_LEN 23	/* 20261120T161248.123456Z */

int
target_version_ok(const char *s)
{
	int64_t	us;
	size_t	i;

	if (strlen(s) != STAMP_LEN + 9 || time_parse(s, 0, &us) == -1 ||
	    s[STAMP_LEN] != '-')
		return 0;
	for (i = STAMP_LEN + 1; s[i] != '\0'; i++)
		if (strchr("0123456789abcdef", s[i]) == NULL)
			return 0;
	return 1;
}

int64_t
target_version_time(const char *version)
{
	int64_t	us;

	return target_version_ok(version) &&
	    time_parse(version, 0, &us) == 0 ? to_ns(us) : 0;
}

int
target_version_id(char out[TARGET_VERSION_MAX], const char *after,
    struct err *e)
{
	int64_t	us = io_wall_ns() / 1000, before;
	char	stamp[STAMP_LEN + 8], hex[9];

	/* a clock that went backwards must not hide the new version */
	if (after != NULL && time_parse(after, 0, &before) == 0 &&
	    us <= before)
		us = before + 1;
	if (io_random_hex(hex, 4, e) == -1)
		return -1;
	time_text(us, 0, stamp, sizeof(stamp));
	(void)snprintf(out, TARGET_VERSION_MAX, "%s-%s", stamp, hex);
	return 0;
}

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

/* Commits. */

void
target_commit_key(char out[64], uint64_t g)
{
	(void)snprintf(out, 64, TARGET_COMMITS "/%llu.json",
	    (unsigned long long)g);
}

void
target_commit_text(const struct target_commit *c, struct buf *b)
{
	char	when[40];

	time_text(c->created / 1000, 1, when, sizeof(when));
	buf_addc(b, '{');
	json_put_kint(b, "format", TARGET_FORMAT);
	json_put_kint(b, "generation", (int64_t)c->generation);
	json_put_kstr(b, "kind", c->kind);
	json_put_kstr(b, "version", c->version);
	if (c->parent != NULL)
		json_put_kstr(b, "parent", c->parent);
	json_put_kstr(b, "run", c->run);
	json_put_kstr(b, "manifest_sha256", c->manifest_sha256);
	json_put_kstr(b, "content_digest", c->content_digest);
	json_put_kstr(b, "store", c->format);
	json_put_kint(b, "records", (int64_t)c->records);
	json_put_kint(b, "tombstones", (int64_t)c->tombstones);
	json_put_kstr(b, "created", when);
	buf_str(b, "}\n");
}

int
target_json_is(const struct json_val *v, const char *key)
{
	return v->key_len == strlen(key) &&
	    memcmp(v->key, key, v->key_len) == 0;
}

void
target_json_str(char **out, const struct json_val *v)
{
	if (v->type != JSON_STR || memchr(v->str, '\0', v->len) != NULL)
		return;
	free(*out);
	*out = mem_ndup(v->str, v->len);
}

void
target_json_fixed(char *out, size_t sz, const struct json_val *v)
{
	if (v->type == JSON_STR && v->len < sz &&
	    memchr(v->str, '\0', v->len) == NULL) {
		memcpy(out, v->str, v->len);
		out[v->len] = '\0';
	}
}

static void
take_u64(uint64_t *out, const struct json_val *v)
{
	if (v->type == JSON_INT && v->i >= 0)
		*out = (uint64_t)v->i;
}

/* One member of a commit; -1 when it is no JSON. */
static int
commit_member(struct json *j, const struct json_val *v,
    struct target_commit *c, uint64_t *format)
{
	char	when[40] = "";
	int64_t	us;

	if (v->type == JSON_ARR || v->type == JSON_OBJ)
		return json_skip(j);
	if (target_json_is(v, "format"))
		take_u64(format, v);
	else if (target_json_is(v, "generation"))
		take_u64(&c->generation, v);
	else if (target_json_is(v, "kind"))
		target_json_str(&c->kind, v);
	else if (target_json_is(v, "version"))
		target_json_str(&c->version, v);
	else if (target_json_is(v, "parent"))
		target_json_str(&c->parent, v);
	else if (target_json_is(v, "run"))
		target_json_fixed(c->run, sizeof(c->run), v);
	else if (target_json_is(v, "manifest_sha256"))
		target_json_fixed(c->manifest_sha256, HASH_HEX, v);
	else if (target_json_is(v, "content_digest"))
		target_json_fixed(c->content_digest, HASH_HEX, v);
	else if (target_json_is(v, "store"))
		target_json_str(&c->format, v);
	else if (target_json_is(v, "records"))
		take_u64(&c->records, v);
	else if (target_json_is(v, "tombstones"))
		take_u64(&c->tombstones, v);
	else if (target_json_is(v, "created")) {
		target_json_fixed(when, sizeof(when), v);
		if (time_parse(when, 1, &us) == 0)
			c->created = to_ns(us);
	}
	return 0;
}

/* A commit from its text; what is wrong with it, or NULL. */
static const char *
commit_parse(const char *s, size_t n, uint64_t g, struct target_commit *c)
{
	unsigned char	 d[HASH_LEN];
	struct json	 j;
	struct json_val	 v;
	uint64_t	 format = 0;
	const char	*why = NULL;

	memset(c, 0, sizeof(*c));
	json_init(&j, s, n);
	if (json_next(&j, &v) != JSON_OBJ) {
		why = "no JSON object";
		goto done;
	}
	while (json_next(&j, &v) != JSON_CLOSE)
		if (v.type == JSON_BAD || v.type == JSON_EOF ||
		    commit_member(&j, &v, c, &format) == -1) {
			why = "malformed JSON";
			goto done;
		}
	if (json_next(&j, &v) != JSON_EOF)
		why = "more than one JSON object";
	else if (format != TARGET_FORMAT)
		why = "a format of commit that this program does not know";
	else if (c->generation != g)
		why = "its generation is not its name";
	else if (c->version == NULL || !target_version_ok(c->version) ||
	    (c->parent != NULL && !target_version_ok(c->parent)))
		why = "its version or parent is no version id";
	else if (c->kind == NULL || c->format == NULL || c->run[0] == '\0')
		why = "kind, store or run is missing";
	else if (hash_unhex(c->manifest_sha256, d) == -1 ||
	    hash_unhex(c->content_digest, d) == -1)
		why = "its digests are missing";
done:
	json_clear(&j);
	if (why != NULL)
		target_commit_clear(c);
	return why;
}

int
target_commit_get(struct target *t, uint64_t g, struct target_commit *c,
    struct err *e)
{
	struct buf	 b;
	const char	*why;
	char		 key[64];
	int		 r;

	memset(c, 0, sizeof(*c));
	target_commit_key(key, g);
	buf_init(&b, TARGET_COMMIT_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	if (r == 1) {
		why = commit_parse(buf_cstr(&b), b.len, g, c);
		if (why != NULL)
			r = err_set(e, MSG_DATAERR, "%s/%s: %s", t->url, key,
			    why);
	}
	buf_free(&b);
	return r;
}

struct newest {
	uint64_t	 g;
	char		*bad;	/* a name that is no commit's */
	uint64_t	 below;	/* for below_name */
};

static int
newest_name(const char *name, void *arg)
{
	struct newest	*w = arg;
	const char	*why, *dot = strrchr(name, '.');
	char		 digits[24];
	uint64_t	 v;

	if (dot == NULL || strcmp(dot, ".json") != 0 || name[0] == '0' ||
	    (size_t)(dot - name) >= sizeof(digits))
		goto bad;
	(void)snprintf(digits, sizeof(digits), "%.*s", (int)(dot - name),
	    name);
	if (num_u64(digits, 1, INT64_MAX, &v, &why) == -1)
		goto bad;
	if (v > w->g)
		w->g = v;
	return 0;
bad:
	w->bad = mem_dup(name);
	return -1;
}

/* Only of those below: the list says where a gap ends. */
static int
below_name(const char *name, void *arg)
{
	struct newest	*w = arg, one = { 0, NULL, 0 };

	if (newest_name(name, &one) == -1) {
		w->bad = one.bad;
		return -1;
	}
	if (one.g < w->below && one.g > w->g)
		w->g = one.g;
	return 0;
}

static int
bad_name(struct target *t, struct newest *w, struct err *e)
{
	err_set(e, MSG_DATAERR, "%s/%s/%s: no commit has such a name: move "
	    "it away", t->url, TARGET_COMMITS, w->bad);
	free(w->bad);
	w->bad = NULL;
	return -1;
}

int
target_generation_before(struct target *t, uint64_t g, uint64_t *out,
    struct err *e)
{
	struct newest	w = { 0, NULL, g };
	int		r;

	r = t->ops->list(t->impl, TARGET_COMMITS, below_name, &w, e);
	if (w.bad != NULL)
		return bad_name(t, &w, e);
	*out = w.g;
	return r;
}

/* The greatest generation, 0 when there is no commit. */
int
target_newest_generation(struct target *t, uint64_t *g, struct err *e)
{
	struct newest	w = { 0, NULL, 0 };
	char		key[64];
	int		r;

	*g = 0;
	r = t->ops->list(t->impl, TARGET_COMMITS, newest_name, &w, e);
	if (w.bad != NULL)
		return bad_name(t, &w, e);
	if (r == 0 && w.g == INT64_MAX)
		return err_set(e, MSG_DATAERR, "%s/%s/%llu.json: no "
		    "generation comes after it: move it away", t->url,
		    TARGET_COMMITS, (unsigned long long)w.g);
	/* the lists of some stores lag behind their objects (Swift's do) */
	while (r == 0 && target_is_remote(t)) {
		target_commit_key(key, w.g + 1);
		r = t->ops->has(t->impl, key, e);
		if (r != 1)
			break;
		w.g++;
		r = 0;
	}
	if (r == 0)
		*g = w.g;
	return r;
}

int
target_newest(struct target *t, struct target_commit *c, struct err *e)
{
	uint64_t	g;
	int		r;

	memset(c, 0, sizeof(*c));
	if (target_newest_generation(t, &g, e) == -1)
		return -1;
	if (g == 0)
		return 0;
	r = target_commit_get(t, g, c, e);
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s/%s/%llu.json: it was "
		    "listed and is gone", t->url, TARGET_COMMITS,
		    (unsigned long long)g);
	return r;
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
target_fetch(struct target *t, const char *version, int dirfd,
    const char *name, struct err *e)
{
	struct manifest	m;
	unsigned char	want[HASH_LEN], got[HASH_LEN];
	char		key[TARGET_KEY_MAX];
	uint64_t	sz;
	int		fd = -1, rv = -1;

	if (target_manifest(t, version, &m, want, e) == -1)
		return -1;
	if (target_version_key(t, key, version, NULL, e) == -1)
		goto done;
	if (mkdirat(dirfd, name, 0777) == -1) {
		err_sys(e, errno, "%s", name);
		goto done;
	}
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", name);
		goto fail;
	}
	if (t->ops->fetch(t->impl, key, fd, &m, e) == -1)
		goto fail;
	/* the manifest itself came along unjudged */
	if (hash_file(fd, MANIFEST_NAME, got, &sz, e) == -1)
		goto fail;
	if (memcmp(want, got, HASH_LEN) != 0) {
		err_set(e, MSG_DATAERR, "%s/%s/%s: changed while it was "
		    "copied", t->url, key, MANIFEST_NAME);
		goto fail;
	}
	rv = 0;
	goto done;
fail:
	{
		struct err	f = { 0, "" };

		(void)io_rmtree(dirfd, name, &f);
	}
done:
	if (fd != -1)
		(void)close(fd);
	manifest_clear(&m);
	return rv;
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
