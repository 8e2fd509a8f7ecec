/*
 * target, commit records: ids of versions, the text of a commit and what is
 * accepted as one, and which is the newest.  A commit whose name or content
 * makes no sense is refused, never passed over.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "hash.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "num.h"
#include "banned.h"

#define TARGET_FORMAT	1	/* of commit records */

/*
 * Ids of versions.
 */

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

/*
 * Commits.
 */

void
target_commit_clear(struct target_commit *c)
{
	free(c->version);
	free(c->parent);
	free(c->format);
	free(c->kind);
	memset(c, 0, sizeof(*c));
}

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
	if (json_is(v, "format"))
		take_u64(format, v);
	else if (json_is(v, "generation"))
		take_u64(&c->generation, v);
	else if (json_is(v, "kind"))
		target_json_str(&c->kind, v);
	else if (json_is(v, "version"))
		target_json_str(&c->version, v);
	else if (json_is(v, "parent"))
		target_json_str(&c->parent, v);
	else if (json_is(v, "run"))
		target_json_fixed(c->run, sizeof(c->run), v);
	else if (json_is(v, "manifest_sha256"))
		target_json_fixed(c->manifest_sha256, HASH_HEX, v);
	else if (json_is(v, "content_digest"))
		target_json_fixed(c->content_digest, HASH_HEX, v);
	else if (json_is(v, "store"))
		target_json_str(&c->format, v);
	else if (json_is(v, "records"))
		take_u64(&c->records, v);
	else if (json_is(v, "tombstones"))
		take_u64(&c->tombstones, v);
	else if (json_is(v, "created")) {
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
	int		 r;

	memset(c, 0, sizeof(*c));
	json_init(&j, s, n);
	if (json_next(&j, &v) != JSON_OBJ) {
		why = "no JSON object";
		goto done;
	}
	while ((r = json_more(&j, &v)) == 1)
		if (commit_member(&j, &v, c, &format) == -1)
			break;
	if (r != 0)
		why = "malformed JSON";
	else if (json_next(&j, &v) != JSON_EOF)
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
