/*
 * dcheck: answers as records, out and strictly in again.  It judges no
 * input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mem.h"
#include "path.h"
#include "rec.h"
#include "banned.h"

static const char *const kinds[] = { "ok", "refused", "machine" };

void
answer_clear(struct answer *a)
{
	size_t	i;

	free(a->where);
	for (i = 0; i < a->n_colls; i++)
		item_coll_clear(&a->colls[i]);
	free(a->colls);
	memset(a, 0, sizeof(*a));
}

void
answer_clean(char *s)
{
	int	ascii = !path_utf8(s, strlen(s));

	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f ||
		    (ascii && (unsigned char)*s >= 0x80))
			*s = '?';
		/* U+0080 to U+009f: terminals obey those as well */
		if ((unsigned char)*s == 0xc2 && (unsigned char)s[1] < 0xa0)
			s[0] = s[1] = '?';
	}
}

const char *
answer_shown(const char *s, size_t max, char *out)
{
	size_t	n = strlen(s);

	if (n > max) {
		n = max - 3;
		while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--;
	}
	memcpy(out, s, n);
	out[n] = '\0';
	if (s[n] != '\0')
		memcpy(out + n, "...", 4);
	answer_clean(out);
	return out;
}

void
answer_machine(struct answer *a, int status, const char *text)
{
	answer_clear(a);
	a->kind = ANSWER_MACHINE;
	(void)err_set(&a->e, status, "%s", text);
}

void
answer_refuse(struct answer *a, enum check_code code, const char *fmt, ...)
{
	va_list	ap;
	char	text[sizeof(a->v.reason)];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	answer_clean(text);
	answer_clear(a);
	a->kind = ANSWER_REFUSED;
	(void)check_refuse(&a->v, code, "%s", text);
}

static void
put_coll(const struct item_coll *c, struct buf *b)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	struct hash	*h;

	buf_addc(b, '{');
	json_put_kstr(b, "name", c->name);
	json_put_kint(b, "dim", c->dim);
	if (c->space_known)
		json_put_kstr(b, "space", item_space_name(c->space));
	if (c->model != NULL && strlen(c->model) <= DCHECK_MODEL)
		json_put_kstr(b, "model", c->model);
	else if (c->model != NULL) {
		h = hash_new();
		hash_add(h, c->model, strlen(c->model));
		hash_final(h, d);
		hash_free(h);
		hash_hex(d, hex);
		json_put_kstr(b, "model", hex);
	}
	buf_addc(b, '}');
}

static void
put_colls(struct rec *r, const struct answer *a)
{
	struct buf	 b;
	char		**v;
	size_t		 i;

	v = mem_zero(a->n_colls, sizeof(*v));
	for (i = 0; i < a->n_colls; i++) {
		buf_init(&b, REC_STR_MAX);
		put_coll(&a->colls[i], &b);
		v[i] = mem_dup(buf_cstr(&b));
		buf_free(&b);
	}
	rec_set_strs(r, "colls", (const char *const *)(void *)v, a->n_colls);
	for (i = 0; i < a->n_colls; i++)
		free(v[i]);
	free(v);
}

struct rec *
answer_put(const struct answer *a)
{
	struct rec	*r = rec_new("answer");
	char		 text[MSG_ERR_MAX];

	rec_set_str(r, "kind", kinds[a->kind]);
	rec_set_bool(r, "proved", a->proved);
	switch (a->kind) {
	case ANSWER_REFUSED:
		(void)snprintf(text, sizeof(text), "%s", a->v.reason);
		answer_clean(text);
		rec_set_str(r, "code", check_code_name(a->v.code));
		rec_set_str(r, "reason", text);
		break;
	case ANSWER_MACHINE:
		(void)snprintf(text, sizeof(text), "%s", a->e.text);
		answer_clean(text);
		rec_set_u64(r, "status", (uint64_t)a->e.code);
		rec_set_str(r, "reason", text);
		break;
	case ANSWER_OK:
		rec_set_str(r, "format", store_format_name(a->format));
		rec_set_bool(r, "dir", a->is_dir);
		rec_set_bool(r, "recovered", a->recovered);
		rec_set_u64(r, "records", a->records);
		rec_set_u64(r, "tombstones", a->tombstones);
		rec_set_str(r, "tree", a->tree);
		rec_set_str(r, "content", a->content);
		rec_set_str(r, "where", a->where);
		put_colls(r, a);
		break;
	}
	return r;
}

/* While an answer is read: any surprise sets bad. */
struct getting {
	struct answer	*a;
	size_t		 cap;
	int		 bad;
};

static int
get_coll(struct item_coll *c, const char *s)
{
	struct json	j;
	struct json_val	v;
	int		rv = -1, r;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, strlen(s), &v, "name", NULL) != 1 ||
	    v.type != JSON_STR || v.len == 0 || v.len > ITEM_NAME_MAX ||
	    memchr(v.str, 0, v.len) != NULL)
		goto done;
	c->name = mem_ndup(v.str, v.len);
	if (json_find(&j, s, strlen(s), &v, "dim", NULL) != 1 ||
	    v.type != JSON_INT || v.i < 0 || v.i > ITEM_DIM_MAX)
		goto done;
	c->dim = (uint32_t)v.i;
	if (json_find(&j, s, strlen(s), &v, "space", NULL) == 1) {
		r = v.type == JSON_STR ? item_space_parse(v.str, v.len) : -1;
		if (r == -1)
			goto done;
		c->space = (enum item_space)r;
		c->space_known = 1;
	}
	if (json_find(&j, s, strlen(s), &v, "model", NULL) == 1) {
		if (v.type != JSON_STR || v.len > DCHECK_MODEL ||
		    memchr(v.str, 0, v.len) != NULL)
			goto done;
		c->model = mem_ndup(v.str, v.len);
	}
	rv = 0;
done:
	json_clear(&j);
	return rv;
}

static void
got_coll(const char *s, void *arg)
{
	struct getting		*g = arg;
	struct answer		*a = g->a;
	struct item_coll	*c;

	if (g->bad || a->n_colls >= DCHECK_COLLS) {
		g->bad = 1;
		return;
	}
	a->colls = mem_grow(a->colls, &g->cap, a->n_colls + 1,
	    sizeof(*a->colls));
	c = &a->colls[a->n_colls++];
	memset(c, 0, sizeof(*c));
	if (get_coll(c, s) == -1 || (a->n_colls > 1 &&
	    strcmp(c[-1].name, c->name) >= 0))
		g->bad = 1;
}

static int
get_hex(const struct rec *r, const char *key, int may_be_empty,
    char out[HASH_HEX])
{
	unsigned char	d[HASH_LEN];
	const char	*s;

	if (!rec_get_str(r, key, &s))
		return -1;
	if (*s == '\0' && may_be_empty) {
		out[0] = '\0';
		return 0;
	}
	if (hash_unhex(s, d) == -1)
		return -1;
	(void)snprintf(out, HASH_HEX, "%s", s);
	return 0;
}

static int
get_ok(struct answer *a, const struct rec *r)
{
	struct getting	g;
	const char	*s;

	if (!rec_get_str(r, "format", &s))
		return -1;
	a->format = store_format_parse(s);
	if (a->format == STORE_ARCHIVE || (a->format == STORE_NONE &&
	    strcmp(s, store_format_name(STORE_NONE)) != 0))
		return -1;
	if (!rec_get_bool(r, "dir", &a->is_dir) ||
	    !rec_get_bool(r, "recovered", &a->recovered) ||
	    !rec_get_u64(r, "records", &a->records) ||
	    !rec_get_u64(r, "tombstones", &a->tombstones) ||
	    get_hex(r, "tree", 0, a->tree) == -1 ||
	    get_hex(r, "content", 1, a->content) == -1)
		return -1;
	if (rec_get_str(r, "where", &s)) {
		if (!path_is_safe(s))
			return -1;
		a->where = mem_dup(s);
	} else if (rec_has(r, "where"))
		return -1;
	memset(&g, 0, sizeof(g));
	g.a = a;
	if (!rec_get_strs(r, "colls", got_coll, &g) || g.bad)
		return -1;
	return 0;
}

int
answer_get(struct answer *a, const struct rec *r)
{
	const char	*s;
	uint64_t	 n;
	int		 i, rv = -1;

	memset(a, 0, sizeof(*a));
	if (strcmp(rec_type(r), "answer") != 0 ||
	    !rec_get_str(r, "kind", &s) ||
	    !rec_get_bool(r, "proved", &a->proved))
		goto done;
	for (i = 0; i < 3 && strcmp(s, kinds[i]) != 0; i++)
		;
	if (i == 3)
		goto done;
	a->kind = (enum answer_kind)i;
	if (a->kind == ANSWER_OK) {
		rv = get_ok(a, r);
		goto done;
	}
	if (!rec_get_str(r, "reason", &s))
		goto done;
	if (a->kind == ANSWER_MACHINE) {
		/* a worker can only meet what a parser of files meets */
		if (!rec_get_u64(r, "status", &n) || (n != MSG_NOINPUT &&
		    n != MSG_SOFTWARE && n != MSG_IOERR &&
		    n != MSG_TEMPFAIL && n != MSG_NOPERM))
			goto done;
		a->e.code = (int)n;
		(void)snprintf(a->e.text, sizeof(a->e.text), "%s", s);
		answer_clean(a->e.text);
		rv = 0;
		goto done;
	}
	(void)snprintf(a->v.reason, sizeof(a->v.reason), "%s", s);
	answer_clean(a->v.reason);
	if (!rec_get_str(r, "code", &s))
		goto done;
	a->v.code = check_code_parse(s);
	if (a->v.code == CHECK_OK || a->v.code >= CHECK_N)
		goto done;
	rv = 0;
done:
	if (rv == -1)
		answer_clear(a);
	return rv;
}
