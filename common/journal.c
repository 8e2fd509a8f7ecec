/*
 * journal: writing and judging journal.json.  It opens no key.
 * SPDX-License-Identifier: ISC
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define JOURNAL_FORM	1
#define JOURNAL_CHUNK	((size_t)1 << 20)

void
journal_clear(struct journal *j)
{
	size_t	i;

	for (i = 0; i < j->n; i++) {
		free(j->v[i].name);
		free(j->v[i].was_etag);
	}
	free(j->v);
	free(j->prefix);
	memset(j, 0, sizeof(*j));
}

struct journal_key *
journal_add(struct journal *j, const char *name)
{
	struct journal_key	*k;

	j->v = mem_grow(j->v, &j->cap, j->n + 1, sizeof(*j->v));
	k = &j->v[j->n++];
	memset(k, 0, sizeof(*k));
	k->name = mem_dup(name);
	return k;
}

int
journal_same(const struct journal_key *k)
{
	return !k->remove && k->was && k->size == k->was_size &&
	    strcmp(k->sha256, k->was_sha256) == 0;
}

static void
put_key(struct buf *b, const struct journal_key *k)
{
	buf_addc(b, '{');
	json_put_kstr(b, "name", k->name);
	if (k->remove) {
		json_put_key(b, "delete");
		buf_str(b, "true");
	} else {
		json_put_kint(b, "size", (int64_t)k->size);
		json_put_kstr(b, "sha256", k->sha256);
	}
	json_put_key(b, "was");
	if (!k->was) {
		buf_str(b, "null}");
		return;
	}
	buf_addc(b, '{');
	json_put_kint(b, "size", (int64_t)k->was_size);
	if (k->was_sha256[0] != '\0')
		json_put_kstr(b, "sha256", k->was_sha256);
	if (k->was_etag != NULL)
		json_put_kstr(b, "etag", k->was_etag);
	buf_str(b, "}}");
}

static int
flush(int fd, struct buf *b, struct hash *h, uint64_t *size, struct err *e)
{
	hash_add(h, b->p, b->len);
	*size += b->len;
	if (io_write(fd, b->p, b->len) == -1)
		return err_sys(e, errno, "%s: write", JOURNAL_NAME);
	buf_reset(b);
	return 0;
}

static int
put_all(const struct journal *j, int fd, struct hash *h, uint64_t *size,
    struct err *e)
{
	struct buf	b;
	size_t		i;
	int		rv = 0;

	buf_init(&b, 4 * JOURNAL_CHUNK);
	buf_addc(&b, '{');
	json_put_kint(&b, "intact", JOURNAL_FORM);
	json_put_kint(&b, "generation", (int64_t)j->generation);
	json_put_kstr(&b, "prefix", j->prefix);
	json_put_key(&b, "keys");
	buf_addc(&b, '[');
	for (i = 0; i < j->n && rv == 0; i++) {
		buf_str(&b, i == 0 ? "\n" : ",\n");
		put_key(&b, &j->v[i]);
		if (b.len > JOURNAL_CHUNK)
			rv = flush(fd, &b, h, size, e);
	}
	buf_str(&b, "\n]}\n");
	if (rv == 0)
		rv = flush(fd, &b, h, size, e);
	buf_free(&b);
	return rv;
}

int
journal_write(const struct journal *j, int dirfd, unsigned char d[HASH_LEN],
    uint64_t *size, struct err *e)
{
	struct hash	*h = hash_new();
	int		 fd, rv = -1;

	*size = 0;
	fd = openat(dirfd, JOURNAL_NAME, O_WRONLY | O_CREAT | O_EXCL |
	    O_CLOEXEC, 0666);
	if (fd == -1)
		err_sys(e, errno, "%s", JOURNAL_NAME);
	else {
		rv = put_all(j, fd, h, size, e);
		if (io_close(&fd, JOURNAL_NAME, e) == -1)
			rv = -1;
	}
	hash_final(h, d);
	hash_free(h);
	return rv;
}

/*
 * Reading.
 */

static int
want(struct err *e, const char *what)
{
	return err_set(e, MSG_DATAERR, "%s: %s", JOURNAL_NAME, what);
}

/* A string without NUL, owned by the caller; NULL: it is none. */
static char *
str(const struct json_val *v)
{
	if (v->type != JSON_STR || memchr(v->str, '\0', v->len) != NULL)
		return NULL;
	return mem_ndup(v->str, v->len);
}

static int
hex(const struct json_val *v, char out[HASH_HEX])
{
	unsigned char	d[HASH_LEN];

	if (v->type != JSON_STR || v->len != HASH_HEX - 1)
		return -1;
	memcpy(out, v->str, v->len);
	out[v->len] = '\0';
	return hash_unhex(out, d);
}

static int
count(const struct json_val *v, uint64_t *out)
{
	if (v->type != JSON_INT || v->i < 0)
		return -1;
	*out = (uint64_t)v->i;
	return 0;
}

/* What is not known is passed over. */
static int
get_was(struct json *j, struct journal_key *k)
{
	struct json_val	v;
	int		r = 1, bad = 0, size = 0;

	while (!bad && (r = json_more(j, &v)) == 1) {
		if (json_is(&v, "size")) {
			bad = count(&v, &k->was_size) == -1;
			size = 1;
		} else if (json_is(&v, "sha256"))
			bad = hex(&v, k->was_sha256) == -1;
		else if (json_is(&v, "etag")) {
			free(k->was_etag);
			k->was_etag = str(&v);
			bad = k->was_etag == NULL;
		} else
			bad = json_pass(j, &v) == -1;
	}
	k->was = 1;
	return bad || r == -1 || !size ? -1 : 0;
}

/* One member of a key; *seen: 1 size, 2 sha256, 4 was. */
static int
get_member(struct json *j, const struct json_val *v, struct journal_key *k,
    int *seen)
{
	if (json_is(v, "name")) {
		free(k->name);
		k->name = str(v);
		return k->name == NULL ? -1 : 0;
	}
	if (json_is(v, "delete")) {
		k->remove = v->type == JSON_BOOL && v->i != 0;
		return v->type == JSON_BOOL ? 0 : -1;
	}
	if (json_is(v, "size")) {
		*seen |= 1;
		return count(v, &k->size);
	}
	if (json_is(v, "sha256")) {
		*seen |= 2;
		return hex(v, k->sha256);
	}
	if (json_is(v, "was")) {
		*seen |= 4;
		if (v->type == JSON_NULL)
			return 0;
		return v->type == JSON_OBJ ? get_was(j, k) : -1;
	}
	return json_pass(j, v);
}

static int
get_key(struct json *j, struct journal *out)
{
	struct journal_key	*k = journal_add(out, "");
	struct json_val		 v;
	int			 seen = 0, r;

	if (out->n > JOURNAL_KEYS)
		return -1;
	while ((r = json_more(j, &v)) == 1)
		if (get_member(j, &v, k, &seen) == -1)
			return -1;
	return r == 0 && path_is_safe(k->name) && seen == (k->remove ? 4 : 7) &&
	    (!k->remove || k->was) ? 0 : -1;
}

static int
get_keys(struct json *j, struct journal *out)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1)
		if (v.type != JSON_OBJ || get_key(j, out) == -1)
			return -1;
	return r;
}

static int
get_top(struct json *j, const struct json_val *v, struct journal *out,
    int *seen)
{
	if (json_is(v, "intact")) {
		*seen |= 1;
		return v->type == JSON_INT && v->i == JOURNAL_FORM ? 0 : -1;
	}
	if (json_is(v, "generation")) {
		*seen |= 2;
		return count(v, &out->generation);
	}
	if (json_is(v, "prefix")) {
		free(out->prefix);
		out->prefix = str(v);
		return out->prefix != NULL ? 0 : -1;
	}
	if (json_is(v, "keys")) {
		*seen |= 4;
		return v->type == JSON_ARR ? get_keys(j, out) : -1;
	}
	return json_pass(j, v);
}

int
journal_parse(struct journal *out, const char *p, size_t n, struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	int		 seen = 0, r = 1, bad;

	memset(out, 0, sizeof(*out));
	json_init(&j, p, n);
	bad = json_next(&j, &v) != JSON_OBJ;
	while (!bad && (r = json_more(&j, &v)) == 1)
		bad = get_top(&j, &v, out, &seen) == -1;
	bad = bad || r == -1 || json_next(&j, &v) != JSON_EOF || seen != 7 ||
	    out->prefix == NULL;
	json_clear(&j);
	if (!bad)
		return 0;
	journal_clear(out);
	return want(e, "not a journal of ours");
}
