/*
 * batch_line: one line of what was asked of an embedding batch, or of what
 * was answered.  It reads no file and keeps nothing of the lines before.
 * SPDX-License-Identifier: ISC
 */
#include "batch_line.h"

#include <stdio.h>
#include <string.h>

#include "item.h"
#include "json.h"
#include "banned.h"

typedef int	member_fn(struct batch_line *, struct json *,
		    const struct json_val *, struct err *);

/* -- saying no --------------------------------------------------------- */

/* n bytes for a message: printable, cut. */
void
batch_line_show(char *out, size_t size, const void *p, size_t n)
{
	const unsigned char	*s = p;
	size_t			 i;

	for (i = 0; i < n && i < size - 1; i++)
		out[i] = s[i] < 0x20 || s[i] > 0x7e ? '?' : (char)s[i];
	out[i] = '\0';
}

int
batch_line_bad(const struct batch_line *l, struct err *e, const char *what)
{
	char	id[BATCH_LINE_SHOWN];

	batch_line_show(id, sizeof(id), l->id.p, l->id.len);
	return err_set(e, MSG_DATAERR, "%s: line %llu%s%s%s: %s",
	    l->what, (unsigned long long)l->number,
	    id[0] != '\0' ? " (custom_id " : "", id,
	    id[0] != '\0' ? ")" : "", what);
}

static int
bad_json(struct batch_line *l, const struct json *j, struct err *e)
{
	return batch_line_bad(l, e, j->why != NULL ? j->why :
	    "not the JSON of a batch");
}

/* -- JSON -------------------------------------------------------------- */

static int
pass(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	return json_pass(j, v) == 0 ? 0 : bad_json(l, j, e);
}

/* Call one for each member of the object whose brace was just read. */
static int
members(struct batch_line *l, struct json *j, member_fn *one, struct err *e)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1)
		if (one(l, j, &v, e) == -1)
			return -1;
	return r == 0 ? 0 : bad_json(l, j, e);
}

/* Where the value stands; null is absent. */
static int
spot(struct batch_line *l, struct json *j, const struct json_val *v,
    struct batch_span *s, struct err *e)
{
	const char	*raw = v->raw;
	size_t		 n = v->raw_len;

	if (pass(l, j, v, e) == -1)
		return -1;
	if (v->type == JSON_OBJ || v->type == JSON_ARR)
		n = (size_t)(j->s + j->pos - raw);
	s->at = l->at + (uint64_t)(raw - l->s);
	s->len = v->type == JSON_NULL ? 0 : n;
	return 0;
}

static int
take_id(struct batch_line *l, const struct json_val *v, struct err *e)
{
	if (l->n_id++ != 0)
		return batch_line_bad(l, e, "two custom_id");
	if (v->type != JSON_STR || v->len == 0)
		return batch_line_bad(l, e, "custom_id is no text");
	buf_reset(&l->id);
	buf_add(&l->id, v->str, v->len);
	if (l->id.over)
		return batch_line_bad(l, e, "custom_id too long");
	return 0;
}

/* What stands in both kinds of line.  1: it was one of them. */
static int
common_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	int	rv;

	if (json_is(v, "custom_id"))
		rv = take_id(l, v, e);
	else if (json_is(v, "collection"))
		rv = spot(l, j, v, &l->v[BATCH_COLL], e);
	else if (json_is(v, "document")) {
		l->has_doc = 1;
		rv = spot(l, j, v, &l->v[BATCH_DOC], e);
	} else if (json_is(v, "metadata"))
		rv = spot(l, j, v, &l->v[BATCH_META], e);
	else
		return 0;
	return rv == 0 ? 1 : -1;
}

/* -- a request --------------------------------------------------------- */

/* body.input: a text, or an array of one. */
static int
input(struct batch_line *l, struct json *j, const struct json_val *in,
    struct err *e)
{
	struct batch_span	*s = &l->input;
	struct json_val		 v;
	int			 n = 0, text = 0, r;

	s->len = 0;
	if (in->type == JSON_STR)
		return spot(l, j, in, s, e);
	if (in->type != JSON_ARR)
		return pass(l, j, in, e);
	while ((r = json_more(j, &v)) == 1) {
		if (n == 0 && v.type == JSON_STR) {
			text = 1;
			(void)spot(l, j, &v, s, e);
		} else if (pass(l, j, &v, e) == -1)
			return -1;
		if (n < 2)
			n++;
	}
	if (r == -1)
		return bad_json(l, j, e);
	if (n != 1 || !text)
		s->len = 0;
	return 0;
}

static int
request_body(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	return json_is(v, "input") ? input(l, j, v, e) : pass(l, j, v, e);
}

static int
request_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	int	r = common_member(l, j, v, e);

	if (r != 0)
		return r == 1 ? 0 : -1;
	if (json_is(v, "body") && v->type == JSON_OBJ)
		return members(l, j, request_body, e);
	return pass(l, j, v, e);
}

/* -- an answer --------------------------------------------------------- */

static int
error_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (json_is(v, "message") && v->type == JSON_STR)
		batch_line_show(l->message, sizeof(l->message), v->str,
		    v->len);
	return pass(l, j, v, e);
}

static int
error(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (v->type == JSON_NULL)
		return 0;
	l->failed = 1;
	if (v->type == JSON_OBJ)
		return members(l, j, error_member, e);
	if (v->type == JSON_STR)
		batch_line_show(l->message, sizeof(l->message), v->str,
		    v->len);
	return pass(l, j, v, e);
}

static int
datum_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (!json_is(v, "embedding"))
		return pass(l, j, v, e);
	if (l->n_vec < 2)
		l->n_vec++;
	return spot(l, j, v, &l->v[BATCH_VEC], e);
}

static int
data(struct batch_line *l, struct json *j, struct err *e)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1) {
		if (l->n_data < 2)
			l->n_data++;
		if (v.type == JSON_OBJ) {
			if (members(l, j, datum_member, e) == -1)
				return -1;
		} else if (pass(l, j, &v, e) == -1)
			return -1;
	}
	return r == 0 ? 0 : bad_json(l, j, e);
}

static int
body_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (json_is(v, "data") && v->type == JSON_ARR)
		return data(l, j, e);
	if (json_is(v, "model") && v->type == JSON_STR)
		return spot(l, j, v, &l->v[BATCH_MODEL], e);
	if (json_is(v, "error"))
		return error(l, j, v, e);
	return pass(l, j, v, e);
}

static int
response_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	if (json_is(v, "status_code")) {
		l->has_status = 1;
		l->status = v->type == JSON_INT ? v->i : 0;
	} else if (json_is(v, "body") && v->type == JSON_OBJ)
		return members(l, j, body_member, e);
	return pass(l, j, v, e);
}

static int
result_member(struct batch_line *l, struct json *j, const struct json_val *v,
    struct err *e)
{
	int	r = common_member(l, j, v, e);

	if (r != 0)
		return r == 1 ? 0 : -1;
	if (json_is(v, "error"))
		return error(l, j, v, e);
	if (!json_is(v, "response"))
		return pass(l, j, v, e);
	if (l->n_response++ != 0)
		return batch_line_bad(l, e, "two responses");
	if (v->type != JSON_OBJ)
		return pass(l, j, v, e);
	l->has_response = 1;
	return members(l, j, response_member, e);
}

int
batch_line_failed(const struct batch_line *l, char *why, size_t size)
{
	const char	*m = l->message;

	if (l->has_response && l->has_status &&
	    (l->status < 200 || l->status > 299))
		(void)snprintf(why, size, "status %lld%s%s",
		    (long long)l->status, *m != '\0' ? ": " : "", m);
	else if (l->failed)
		(void)snprintf(why, size, "%s", *m != '\0' ? m :
		    "an error without a message");
	else if (!l->has_response)
		(void)snprintf(why, size, "no response");
	else if (l->n_data != 1 || l->n_vec != 1 || l->v[BATCH_VEC].len <= 2)
		(void)snprintf(why, size, "want 1 embedding, got %s",
		    l->n_data > 1 || l->n_vec > 1 ? "several" : "none");
	else
		return 0;
	return 1;
}

/* -- lines ------------------------------------------------------------- */

static int
parse(struct batch_line *l, struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	int		 rv = -1;

	json_init(&j, l->s, l->len);
	if (json_next(&j, &v) != JSON_OBJ)
		bad_json(l, &j, e);
	else if (members(l, &j, l->request ? request_member : result_member,
	    e) == 0) {
		if (json_next(&j, &v) != JSON_EOF)
			bad_json(l, &j, e);
		else if (l->n_id == 0)
			batch_line_bad(l, e, "no custom_id");
		else
			rv = 0;
	}
	json_clear(&j);
	return rv;
}

void
batch_line_init(struct batch_line *l, const char *what, int request)
{
	memset(l, 0, sizeof(*l));
	l->what = what;
	l->request = request;
	buf_init(&l->id, ITEM_ID_MAX);
}

void
batch_line_clear(struct batch_line *l)
{
	buf_free(&l->id);
}

int
batch_line_read(struct batch_line *l, const char *s, size_t n, uint64_t at,
    struct err *e)
{
	size_t	skip = 0;

	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t' ||
	    s[n - 1] == '\r'))
		n--;
	while (skip < n && (s[skip] == ' ' || s[skip] == '\t'))
		skip++;
	l->number++;
	buf_reset(&l->id);
	if (n == skip)
		return 0;
	l->at = at + skip;
	l->s = s + skip;
	l->len = n - skip;
	l->n_id = l->n_response = l->n_data = l->n_vec = 0;
	l->has_response = l->has_status = l->has_doc = l->failed = 0;
	l->message[0] = '\0';
	memset(l->v, 0, sizeof(l->v));
	memset(&l->input, 0, sizeof(l->input));
	if (parse(l, e) == -1)
		return -1;
	if (l->request && !l->has_doc)
		l->v[BATCH_DOC] = l->input;
	return 1;
}
