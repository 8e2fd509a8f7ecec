/*
 * batch_result: what a line says, and whether it is an embedding.  Nothing
 * of it is repaired.
 * SPDX-License-Identifier: ISC
 */
#include "batch_result.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "item.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define SHOWN 80	/* bytes of an id in a message */

typedef int	member_fn(struct batch_result *, struct json *,
		    const struct json_val *, struct err *);

/* -- saying no --------------------------------------------------------- */

int
batch_result_bad(struct batch_result *l, enum batch_fault fault,
    const char *what, struct err *e)
{
	char	id[SHOWN];
	size_t	i;

	l->fault = fault;
	for (i = 0; i < l->id.len && i < sizeof(id) - 1; i++)
		id[i] = l->id.p[i] < 0x20 || l->id.p[i] > 0x7e ?
		    '?' : (char)l->id.p[i];
	id[i] = '\0';
	return err_set(e, MSG_DATAERR, "%s: line %lu%s%s%s: %s", l->what,
	    l->number, i != 0 ? " (custom_id " : "", id,
	    i != 0 ? ")" : "", what);
}

/* It is no embedding. */
static int
bad(struct batch_result *l, const char *what, struct err *e)
{
	return batch_result_bad(l, BATCH_LINE, what, e);
}

static int
bad_json(struct batch_result *l, const struct json *j, struct err *e)
{
	return bad(l, j->why != NULL ? j->why :
	    "not the JSON of a batch result", e);
}

/* -- one line ---------------------------------------------------------- */

/* The value v is of no interest. */
static int
pass(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	return json_pass(j, v) == 0 ? 0 : bad_json(l, j, e);
}

/* Call one for each member of the object whose brace was just read. */
static int
members(struct batch_result *l, struct json *j, member_fn *one,
    struct err *e)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1)
		if (one(l, j, &v, e) == -1)
			return -1;
	return r == 0 ? 0 : bad_json(l, j, e);
}

static int
take(struct batch_result *l, struct buf *to, const struct json_val *v,
    size_t max, const char *what, struct err *e)
{
	if (v->type != JSON_STR)
		return bad(l, what, e);
	if (v->len > max)
		return batch_result_bad(l, BATCH_LIMIT, what, e);
	buf_reset(to);
	buf_add(to, v->str, v->len);
	return 0;
}

static void
put_float(struct buf *b, double d)
{
	float		f = (float)d;
	uint32_t	w;
	unsigned char	c[4];

	memcpy(&w, &f, sizeof(w));
	c[0] = (unsigned char)w;
	c[1] = (unsigned char)(w >> 8);
	c[2] = (unsigned char)(w >> 16);
	c[3] = (unsigned char)(w >> 24);
	buf_add(b, c, sizeof(c));
}

static int
numbers(struct batch_result *l, struct json *j, struct err *e)
{
	struct buf	*vec = &l->vec;
	struct json_val	 v;
	int		 r;

	while ((r = json_more(j, &v)) == 1) {
		if (v.type != JSON_INT && v.type != JSON_FLOAT)
			return bad(l,
			    "embedding holds something that is no number", e);
		if (vec->len >= (size_t)ITEM_DIM_MAX * 4)
			return batch_result_bad(l, BATCH_LIMIT,
			    "embedding too long", e);
		put_float(vec, v.type == JSON_INT ? (double)v.i : v.f);
	}
	return r == 0 ? 0 : bad_json(l, j, e);
}

static int
digit64(int c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with its padding, and nothing else in it. */
static int
base64(struct batch_result *l, const char *s, size_t n, struct err *e)
{
	struct buf	*vec = &l->vec;
	size_t		 i, pad = 0;
	uint32_t	 w;
	int		 d, k;

	if (n % 4 != 0 || n / 4 * 3 > (size_t)ITEM_DIM_MAX * 4 + 2)
		goto bad;
	while (pad < 2 && pad < n && s[n - 1 - pad] == '=')
		pad++;
	for (i = 0; i < n; i += 4) {
		w = 0;
		for (k = 0; k < 4; k++) {
			d = i + (size_t)k >= n - pad ? 0 :
			    digit64((unsigned char)s[i + (size_t)k]);
			if (d == -1)
				goto bad;
			w = w << 6 | (uint32_t)d;
		}
		buf_addc(vec, (int)(w >> 16));
		buf_addc(vec, (int)(w >> 8 & 0xff));
		buf_addc(vec, (int)(w & 0xff));
	}
	vec->len -= pad;
	if (vec->len % 4 == 0)
		return 0;
bad:
	return bad(l, "embedding is no base64 of float32", e);
}

/* Of {"index":0,"embedding":..}. */
static int
datum_member(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (!json_is(v, "embedding"))
		return pass(l, j, v, e);
	if (l->has_embedding)
		return bad(l, "several embeddings", e);
	l->has_embedding = 1;
	buf_reset(&l->vec);
	if (v->type == JSON_ARR)
		return numbers(l, j, e);
	if (v->type == JSON_STR)
		return base64(l, v->str, v->len, e);
	return bad(l, "embedding is neither numbers nor base64", e);
}

static int
data_array(struct batch_result *l, struct json *j, struct err *e)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1) {
		if (v.type != JSON_OBJ)
			return bad_json(l, j, e);
		l->n_data++;
		if (members(l, j, datum_member, e) == -1)
			return -1;
	}
	return r == 0 ? 0 : bad_json(l, j, e);
}

static void
say_problem(struct batch_result *l, const struct json_val *v)
{
	(void)snprintf(l->problem, sizeof(l->problem), "error: %.*s",
	    (int)(v->len < 140 ? v->len : 140), v->str);
}

static int
error_member(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (!json_is(v, "message") || v->type != JSON_STR)
		return pass(l, j, v, e);
	say_problem(l, v);
	return 0;
}

/* What an "error" says, in the form of its message. */
static int
problem(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (v->type == JSON_NULL)
		return 0;
	(void)snprintf(l->problem, sizeof(l->problem),
	    "error: request failed");
	if (v->type == JSON_OBJ)
		return members(l, j, error_member, e);
	if (v->type == JSON_STR)
		say_problem(l, v);
	return pass(l, j, v, e);
}

static int
body_member(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (json_is(v, "data") && v->type == JSON_ARR)
		return data_array(l, j, e);
	if (json_is(v, "model") && v->type == JSON_STR) {
		l->has_model = 1;
		return take(l, &l->model, v, ITEM_NAME_MAX,
		    "model: name too long", e);
	}
	if (json_is(v, "error"))
		return problem(l, j, v, e);
	return pass(l, j, v, e);
}

static int
response_member(struct batch_result *l, struct json *j,
    const struct json_val *v, struct err *e)
{
	if (json_is(v, "status_code")) {
		if (v->type != JSON_INT || v->i < 0 || v->i > 999)
			return bad(l, "status_code is no status", e);
		l->has_status = 1;
		l->status = (int)v->i;
		return 0;
	}
	if (json_is(v, "body") && v->type == JSON_OBJ)
		return members(l, j, body_member, e);
	return pass(l, j, v, e);
}

/* Flat metadata: v is its brace. */
static int
metadata(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	const char	*raw = v->raw, *why = "not flat";

	if (json_skip(j) == -1)
		return bad_json(l, j, e);
	meta_reset(l->typed);
	if (meta_overlay(l->typed, raw, (size_t)(j->s + j->pos - raw),
	    &why) == -1)
		return bad(l, why, e);
	buf_reset(&l->meta);
	meta_json(l->typed, &l->meta);
	if (l->meta.over)
		return batch_result_bad(l, BATCH_LIMIT,
		    "metadata too large", e);
	return 0;
}

static int
line_member(struct batch_result *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (json_is(v, "custom_id")) {
		if (l->has_id++)
			return bad(l, "two custom_id", e);
		return take(l, &l->id, v, ITEM_ID_MAX,
		    "custom_id is no text, or too long", e);
	}
	if (json_is(v, "response")) {
		if (l->has_response++)
			return bad(l, "two responses", e);
		if (v->type == JSON_OBJ)
			return members(l, j, response_member, e);
		if (v->type == JSON_NULL)
			l->has_response = 0;
	} else if (json_is(v, "error"))
		return problem(l, j, v, e);
	else if (json_is(v, "collection")) {
		l->has_coll = 1;
		return take(l, &l->coll, v, ITEM_NAME_MAX,
		    "collection is no text, or too long", e);
	} else if (json_is(v, "document") && v->type != JSON_NULL) {
		l->has_doc = 1;
		return take(l, &l->doc, v, ITEM_TEXT_MAX,
		    "document is no text, or too long", e);
	} else if (json_is(v, "metadata") && v->type != JSON_NULL) {
		if (v->type != JSON_OBJ)
			return bad(l, "metadata is no object", e);
		return metadata(l, j, v, e);
	}
	return pass(l, j, v, e);
}

static int
parse(struct batch_result *l, const char *s, size_t n, struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	int		 rv = -1;

	l->has_id = l->has_response = l->has_embedding = 0;
	l->has_status = l->status = l->n_data = 0;
	l->has_coll = l->has_doc = l->has_model = 0;
	l->problem[0] = '\0';
	buf_reset(&l->id);
	buf_reset(&l->vec);
	buf_reset(&l->meta);
	buf_str(&l->meta, "{}");
	json_init(&j, s, n);
	if (json_next(&j, &v) != JSON_OBJ)
		bad_json(l, &j, e);
	else if (members(l, &j, line_member, e) == 0) {
		if (json_next(&j, &v) != JSON_EOF)
			bad_json(l, &j, e);
		else
			rv = 0;
	}
	json_clear(&j);
	return rv;
}

/* Is what was parsed an embedding? */
static int
judge(struct batch_result *l, struct err *e)
{
	char		 text[64];

	if (!l->has_id || l->id.len == 0)
		return bad(l, "no custom_id", e);
	if (l->problem[0] != '\0')
		return bad(l, l->problem, e);
	if (!l->has_response)
		return bad(l, "no response", e);
	if (l->has_status && l->status != 200) {
		(void)snprintf(text, sizeof(text), "status %d", l->status);
		return bad(l, text, e);
	}
	if (l->n_data != 1 || !l->has_embedding || l->vec.len == 0) {
		(void)snprintf(text, sizeof(text),
		    "want 1 embedding, got %d", l->has_embedding &&
		    l->vec.len != 0 ? l->n_data : 0);
		return bad(l, text, e);
	}
	if (l->has_coll && (l->coll.len == 0 ||
	    memchr(l->coll.p, '\0', l->coll.len) != NULL))
		return bad(l, "collection without a name", e);
	if (!item_finite(l->vec.p, (uint32_t)(l->vec.len / 4)))
		return batch_result_bad(l, BATCH_VECTOR,
		    "embedding is not finite", e);
	return 0;
}

/* -- lines ------------------------------------------------------------- */

char *
batch_result_model(struct batch_result *l)
{
	struct buf	out;
	char		*rv;

	if (!l->has_model || l->model.len == 0)
		return NULL;
	meta_reset(l->typed);
	meta_set_str(l->typed, "config.model_name", 17,
	    (const char *)l->model.p, l->model.len);
	meta_set_str(l->typed, "name", 4, "openai", 6);
	buf_init(&out, 16 * (size_t)ITEM_NAME_MAX);
	meta_json(l->typed, &out);
	rv = mem_dup(buf_cstr(&out));
	buf_free(&out);
	return rv;
}

void
batch_result_init(struct batch_result *l, const char *what)
{
	memset(l, 0, sizeof(*l));
	l->what = what;
	l->typed = meta_new();
	buf_init(&l->id, ITEM_ID_MAX);
	buf_init(&l->coll, ITEM_NAME_MAX);
	buf_init(&l->doc, ITEM_TEXT_MAX);
	buf_init(&l->meta, ITEM_TEXT_MAX);
	buf_init(&l->model, ITEM_NAME_MAX);
	buf_init(&l->vec, (size_t)ITEM_DIM_MAX * 4 + 16);
}

void
batch_result_clear(struct batch_result *l)
{
	buf_free(&l->id);
	buf_free(&l->coll);
	buf_free(&l->doc);
	buf_free(&l->meta);
	buf_free(&l->model);
	buf_free(&l->vec);
	meta_free(l->typed);
	memset(l, 0, sizeof(*l));
}

void
batch_result_next(struct batch_result *l)
{
	l->number++;
	buf_reset(&l->id);
}

static int
is_blank(const char *p, size_t n)
{
	while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++, n--;
	return n == 0;
}

int
batch_result_read(struct batch_result *l, const char *s, size_t n,
    struct err *e)
{
	if (is_blank(s, n))
		return 0;
	if (!path_utf8(s, n))
		return batch_result_bad(l, BATCH_UTF8, "not UTF-8", e);
	return parse(l, s, n, e) == -1 || judge(l, e) == -1 ? -1 : 1;
}
