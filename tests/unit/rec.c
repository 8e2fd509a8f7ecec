/*
 * rec: the scanner in front of msgpack-c: limits, bombs, every prefix.
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"
#include "rec.h"
#include "tap.h"

static enum rec_scan
scan(const void *p, size_t n)
{
	const char	*why = NULL;
	size_t		 used = 0;

	return rec_scan(p, n, &used, &why);
}

#define BYTES(s) scan(s, sizeof(s) - 1)

/* A map {"t": nested arrays, depth of them}. */
static enum rec_scan
deep(size_t depth)
{
	struct buf	b;
	enum rec_scan	r;
	size_t		i;

	buf_init(&b, 4096);
	buf_add(&b, "\x81\xa1t", 3);
	for (i = 0; i < depth; i++)
		buf_addc(&b, 0x91);
	buf_addc(&b, 0xc0);
	r = scan(b.p, b.len);
	buf_free(&b);
	return r;
}

/* A map of n different keys. */
static enum rec_scan
keys(size_t n, int dup)
{
	struct buf	b;
	enum rec_scan	r;
	size_t		i;

	buf_init(&b, 1 << 20);
	buf_addc(&b, 0xde);
	buf_addc(&b, (int)(n >> 8));
	buf_addc(&b, (int)(n & 255));
	for (i = 0; i < n; i++) {
		buf_addc(&b, 0xa6);
		buf_printf(&b, "%06zu", dup && i == n - 1 ? n / 2 : i);
		buf_addc(&b, 1);
	}
	r = scan(b.p, b.len);
	buf_free(&b);
	return r;
}

/* A string of n bytes as the only value. */
static enum rec_scan
string(size_t n)
{
	struct buf	b;
	unsigned char	*p;
	enum rec_scan	 r;

	buf_init(&b, 4 << 20);
	buf_add(&b, "\x81\xa1t\xdb", 4);
	buf_u32(&b, (uint32_t)n);
	p = buf_room(&b, n);
	memset(p, 'x', n);
	b.len += n;
	r = scan(b.p, b.len);
	buf_free(&b);
	return r;
}

int
main(void)
{
	struct err	 e = { 0, "" };
	struct rec	*r, *m;
	struct buf	 b;
	const char	*s = NULL, *why;
	uint64_t	 u = 0;
	int64_t		 i = 0;
	size_t		 k, used, wrong = 0;

	tap_plan(29);
	tap_ok(BYTES("") == REC_SCAN_MORE, "nothing yet");
	tap_ok(BYTES("\x80") == REC_SCAN_OK, "an empty map");
	tap_ok(BYTES("\x90") == REC_SCAN_BAD, "an array is no record");
	tap_ok(BYTES("\xc1") == REC_SCAN_BAD, "0xc1");
	tap_ok(BYTES("\x81\xa1t\xa1x") == REC_SCAN_OK, "one key");
	tap_ok(BYTES("\x81\x01\xa1x") == REC_SCAN_BAD,
	    "a key that is a number");
	tap_ok(BYTES("\x82\xa1t\x01\xa1t\x02") == REC_SCAN_BAD, "a key twice");
	tap_ok(BYTES("\x81\xa1\xff\x01") == REC_SCAN_BAD, "key is not UTF-8");
	tap_ok(BYTES("\x81\xa1\x00\x01") == REC_SCAN_BAD, "NUL in a key");
	tap_ok(BYTES("\x81\xa1t\xa2\xed\xa0") == REC_SCAN_BAD, "torn UTF-8");
	tap_ok(BYTES("\xdf\xff\xff\xff\xff") == REC_SCAN_BAD,
	    "five bytes that ask for four thousand million pairs");
	tap_ok(BYTES("\x81\xa1t\xdd\x7f\xff\xff\xff") == REC_SCAN_BAD,
	    "an array bomb");
	tap_ok(BYTES("\x81\xa1t\xc6\xff\xff\xff\xff") == REC_SCAN_BAD,
	    "a bin bomb");
	tap_ok(BYTES("\x81\xa1t\xc9\xff\xff\xff\xff\x01") == REC_SCAN_BAD,
	    "an ext bomb");
	tap_ok(deep(REC_DEPTH - 1) == REC_SCAN_OK, "as deep as may be");
	tap_ok(deep(REC_DEPTH) == REC_SCAN_BAD, "one deeper");
	tap_ok(deep(1000) == REC_SCAN_BAD, "a thousand deep");
	tap_ok(keys(REC_KEYS, 0) == REC_SCAN_OK, "as many keys as may be");
	tap_ok(keys(REC_KEYS + 1, 0) == REC_SCAN_BAD, "one key more");
	tap_ok(keys(REC_KEYS, 1) == REC_SCAN_BAD, "the same key far apart");
	tap_ok(string(REC_STR_MAX) == REC_SCAN_OK, "as long a string");
	tap_ok(string(REC_STR_MAX + 1) == REC_SCAN_BAD, "one byte longer");

	r = rec_new("delta");
	rec_set_u64(r, "u", UINT64_MAX);
	rec_set_i64(r, "i", INT64_MIN);
	rec_set_bool(r, "b", 1);
	rec_set_f64(r, "f", -0.5);
	m = rec_map();
	rec_set_str(m, "k", "v");
	rec_set_map(r, "m", m);
	rec_free(m);
	rec_set_str(r, "gone", "x");
	rec_set_str(r, "gone", NULL);
	buf_init(&b, REC_MAX);
	rec_encode(r, &b);
	rec_free(r);
	for (k = 0; k < b.len; k++)
		wrong += scan(b.p, k) != REC_SCAN_MORE;
	tap_ok(wrong == 0, "every prefix wants more");
	tap_ok(rec_scan(b.p, b.len, &used, &why) == REC_SCAN_OK &&
	    used == b.len, "the whole is one record");
	r = rec_parse(b.p, b.len, &e);
	tap_ok(r != NULL && rec_get_u64(r, "u", &u) && u == UINT64_MAX,
	    "a large count");
	tap_ok(rec_get_i64(r, "i", &i) && i == INT64_MIN, "a small number");
	tap_ok(!rec_has(r, "gone") && !rec_get_str(r, "u", &s),
	    "absent, and of another type");
	m = rec_get_map(r, "m");
	tap_ok(m != NULL && rec_get_str(m, "k", &s) && strcmp(s, "v") == 0,
	    "a nested map");
	rec_free(m);
	buf_reset(&b);
	rec_to_json(r, &b);
	tap_is(buf_cstr(&b), "{\"t\":\"delta\",\"u\":18446744073709551615,"
	    "\"i\":-9223372036854775808,\"b\":true,\"f\":-0.5,"
	    "\"m\":{\"k\":\"v\"}}", "in JSON");
	rec_free(r);
	buf_free(&b);
	return tap_done();
}
