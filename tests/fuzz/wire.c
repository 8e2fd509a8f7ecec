/*
 * fuzz: the stream, its records, and JSON.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "rec_kind.h"
#include "stream.h"
#include "banned.h"

#define TEXT_MAX	((size_t)64 << 20)	/* bytes of a record as JSON */

void
fuzz_stream(const unsigned char *p, size_t n)
{
	struct err	e = { 0, "" };
	size_t		got = 0;
	enum stream_event ev = stream_replay(p, n, &got, &e);

	FUZZ_MUST(ev == STREAM_END || ev == STREAM_FAIL || e.code != 0);
	FUZZ_MUST(got <= n);
}

static void
judge(const struct rec *r)
{
	struct rec_delta	 delta;
	struct rec_base		 base;
	struct rec_skip		 skip;
	struct rec_store	 store;
	struct rec_file		 file;
	struct err		 e = { 0, "" };

	(void)rec_delta_get(r, &delta, &e);
	(void)rec_base_get(r, &base, &e);
	(void)rec_skip_get(r, &skip, &e);
	(void)rec_store_get(r, &store, &e);
	(void)rec_file_get(r, &file, &e);
}

/* What was encoded is one record, and the same again as JSON and back. */
static void
round_trip(const struct rec *r)
{
	struct buf	 b, j, again;
	struct rec	*back;
	struct err	 e = { 0, "" };
	const char	*why;
	size_t		 used = 0;

	buf_init(&b, TEXT_MAX);
	buf_init(&j, TEXT_MAX);
	buf_init(&again, TEXT_MAX);
	rec_encode(r, &b);
	FUZZ_MUST(!b.over);
	FUZZ_MUST(rec_scan(b.p, b.len, &used, &why) == REC_SCAN_OK);
	FUZZ_MUST(used == b.len);
	rec_to_json(r, &j);
	if (!j.over) {
		FUZZ_MUST(json_valid((const char *)j.p, j.len));
		back = rec_from_json((const char *)j.p, j.len, &e);
		/* what JSON cannot say is refused, and never another */
		if (back != NULL) {
			rec_to_json(back, &again);
			FUZZ_MUST(again.len == j.len &&
			    memcmp(again.p, j.p, j.len) == 0);
		}
		rec_free(back);
	}
	buf_free(&b);
	buf_free(&j);
	buf_free(&again);
}

void
fuzz_record(const unsigned char *p, size_t n)
{
	struct rec	*r;
	struct err	 e = { 0, "" };
	const char	*why = NULL;
	size_t		 used = 0;

	switch (rec_scan(p, n, &used, &why)) {
	case REC_SCAN_OK:
		FUZZ_MUST(used > 0 && used <= n);
		r = rec_parse(p, used, &e);
		FUZZ_MUST(r != NULL || e.code != 0);
		if (r != NULL) {
			judge(r);
			round_trip(r);
		}
		rec_free(r);
		break;
	case REC_SCAN_MORE:
		break;
	case REC_SCAN_BAD:
		FUZZ_MUST(why != NULL);
		break;
	}
}

/* Every value; what it stands for is where it says. */
static int
walk(const char *s, size_t n)
{
	struct json	j;
	struct json_val	v;
	enum json_type	t;
	int		depth = 0;

	json_init(&j, s, n);
	while ((t = json_next(&j, &v)) != JSON_EOF && t != JSON_BAD) {
		if (t == JSON_ARR || t == JSON_OBJ)
			depth++;
		else if (t == JSON_CLOSE)
			depth--;
		FUZZ_MUST(depth >= 0 && depth <= JSON_DEPTH);
		if (t == JSON_STR)
			FUZZ_MUST(v.str != NULL);
	}
	FUZZ_MUST(t == JSON_EOF || j.why != NULL);
	json_clear(&j);
	return t == JSON_EOF;
}

void
fuzz_json(const unsigned char *p, size_t n)
{
	const char	*s = (const char *)p;
	struct json	 j;
	struct json_val	 v;
	struct rec	*r;
	struct err	 e = { 0, "" };
	int		 whole = walk(s, n);

	FUZZ_MUST(whole == json_valid(s, n));
	json_init(&j, s, n);
	FUZZ_MUST(json_find(&j, s, n, &v, "a", "b", (char *)NULL) != 1 ||
	    v.raw != NULL);
	json_clear(&j);
	r = rec_from_json(s, n, &e);
	FUZZ_MUST(r == NULL || whole);
	if (r != NULL)
		round_trip(r);
	rec_free(r);
}
