/*
 * item, json: canonical metadata and the digests, against values worked
 * out by hand (see the comment at each).
 * SPDX-License-Identifier: ISC
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "item.h"
#include "json.h"
#include "tap.h"

#define RECORD \
	"43a99d391563e60d92a79746b8f0cfc26c44ff057dbf1c08175a460f26255c8f"
#define CONTENT \
	"50ca3600f3cd9adfd2f597a0d76faceafc8a91ad950872e1e0919389b8cb48b1"
#define TOMBSTONE \
	"a8259f343fbfe75e8b002d6ea6016b90467e9b0d44e9a8c058780334eeedec6b"

static void
canon(struct meta *m, const char *in, const char *want)
{
	struct buf	 b;
	const char	*why = "";

	buf_init(&b, 1 << 16);
	meta_reset(m);
	if (meta_overlay(m, in, strlen(in), &why) == -1) {
		tap_is(why, want, in);
	} else {
		meta_json(m, &b);
		tap_is(buf_cstr(&b), want, in);
	}
	buf_free(&b);
}

static void
number(double v, const char *want)
{
	struct buf	b;

	buf_init(&b, 64);
	json_put_float(&b, v);
	tap_is(buf_cstr(&b), want, want);
	buf_free(&b);
}

/* How many floats are not written as the loop in json.h says. */
static size_t
floats(void)
{
	struct buf	b;
	uint64_t	x = 88172645463325252ULL, r;
	char		t[40];
	size_t		i, wrong = 0;
	double		v;
	int		p;

	buf_init(&b, 64);
	for (i = 0; i < 200000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		r = i % 3 == 0 ? x : x % 10000000000ULL;
		if (i % 3 == 0)
			memcpy(&v, &r, sizeof(v));
		else
			v = (double)r / (i % 3 == 1 ? 1e7 : 1024.0);
		if (!isfinite(v))
			continue;
		for (p = 15; p <= 17; p++) {
			(void)snprintf(t, sizeof(t), "%.*g", p, v);
			if (strtod(t, NULL) == v)
				break;
		}
		if (strpbrk(t, ".e") == NULL)
			(void)snprintf(t + strlen(t), 3, ".0");
		buf_reset(&b);
		json_put_float(&b, v);
		wrong += strcmp(t, buf_cstr(&b)) != 0;
	}
	buf_free(&b);
	return wrong;
}

/* Keys out of order and given twice: sorted, the second value stays. */
static int
many_keys(struct meta *m)
{
	struct buf	b;
	char		k[16], *s, *end;
	unsigned long	i, n = 50000, bad = 0;

	buf_init(&b, 4 << 20);
	meta_reset(m);
	for (i = 0; i < 2 * n; i++) {
		(void)snprintf(k, sizeof(k), "%08lu", i * 7919 % n);
		meta_set_int(m, k, 8, (int64_t)(i / n));
	}
	meta_json(m, &b);
	s = buf_cstr(&b) + 1;
	for (i = 0; i < n; i++) {
		if (*s != '"' || strtoul(s + 1, &end, 10) != i ||
		    strncmp(end, "\":1", 3) != 0)
			bad++;
		s = end + 4;
	}
	buf_free(&b);
	return bad == 0;
}

/*
 * The members of the object s, as "key " each, a "!" behind those of an
 * object of their own; then what the end was.
 */
static void
members(const char *s, const char *want)
{
	struct json	 j;
	struct json_val	 v;
	struct buf	 b;
	int		 r;

	buf_init(&b, 256);
	json_init(&j, s, strlen(s));
	tap_ok(json_next(&j, &v) == JSON_OBJ && v.key == NULL &&
	    !json_is(&v, ""), "an object");
	while ((r = json_more(&j, &v)) == 1) {
		buf_add(&b, v.key, v.key_len);
		buf_str(&b, json_is(&v, "in") ? "! " : " ");
		(void)json_pass(&j, &v);
	}
	buf_printf(&b, "%d %s", r, j.why != NULL ? j.why :
	    json_next(&j, &v) == JSON_EOF ? "eof" : "more");
	tap_is(buf_cstr(&b), want, s);
	json_clear(&j);
	buf_free(&b);
}

/* The elements of an array; and nothing is open behind its end. */
static void
elements(void)
{
	struct json	j;
	struct json_val	v;
	int		n = 0;

	json_init(&j, "[1,[2,3],{\"a\":4},null]", 22);
	tap_ok(json_more(&j, &v) == 1 && v.type == JSON_ARR, "an array");
	while (json_more(&j, &v) == 1) {
		n++;
		tap_ok(!json_is(&v, "") && json_pass(&j, &v) == 0,
		    "an element has no key, and is passed over");
	}
	tap_ok(n == 4 && v.type == JSON_CLOSE, "4 elements");
	tap_ok(json_more(&j, &v) == -1 && v.type == JSON_BAD &&
	    j.why != NULL, "no array is open: bad, and why");
	json_clear(&j);
}

int
main(void)
{
	static const unsigned char	vec[8] = { 0, 0, 0x80, 0x3f, 0, 0, 0,
		0xc0 };	/* 1, -2 */
	static const unsigned char	nan4[4] = { 0, 0, 0xc0, 0x7f };
	static const unsigned char	inf4[4] = { 0, 0, 0x80, 0xff };
	static const char *const	bad[] = { "{\"a\":1,}", "{a:1}", "[1",
		"{\"a\":01}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\x80\"}",
		"{\"a\":1}x", "nul", "", "{\"a\":\"\n\"}", "{\"a\":1e999}" };
	struct meta	*m = meta_new();
	struct hash	*h = hash_new();
	struct item	 it;
	char		 hex[HASH_HEX];
	unsigned char	 d[HASH_LEN];
	size_t		 i, wrong = 0;

	tap_plan(52);
	canon(m, "{}", "{}");
	canon(m, " { \"b\" : 1 , \"a\" : 1.0 } ", "{\"a\":1.0,\"b\":1}");
	canon(m, "{\"t\":true,\"f\":false}", "{\"f\":false,\"t\":true}");
	canon(m, "{\"z\":-0.0,\"y\":-0,\"x\":0,\"a\":[-0.0]}",
	    "{\"a\":[0.0],\"x\":0,\"y\":0.0,\"z\":0.0}");
	canon(m, "{\"s\":\"\\u00e9\\n\\/\\\"\"}",
	    "{\"s\":\"\xc3\xa9\\u000a/\\\"\"}");
	canon(m, "{\"s\":\"\\ud83d\\ude42\\u0000\"}",
	    "{\"s\":\"\xf0\x9f\x99\x82\\u0000\"}");
	canon(m, "{\"a\":[1,2.5,\"x\",true],\"e\":[]}",
	    "{\"a\":[1,2.5,\"x\",true],\"e\":[]}");
	canon(m, "{\"b\":1,\"a\":2,\"c\":3,\"b\":4}",
	    "{\"a\":2,\"b\":4,\"c\":3}");
	canon(m, "{\"b\":1,\"a\":2,\"b\":null}", "{\"a\":2}");
	canon(m, "{\"n\":9223372036854775807,\"m\":-9223372036854775808}",
	    "{\"m\":-9223372036854775808,\"n\":9223372036854775807}");
	canon(m, "{\"a\":{}}", "nested object in metadata");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		wrong += json_valid(bad[i], strlen(bad[i]));
	tap_ok(wrong == 0, "malformed JSON is refused");
	members("{}", "0 eof");
	members(" {\"a\":1, \"in\" :[{\"a\":[]},2],\"inn\":{},\"i\":null} ",
	    "a in! inn i 0 eof");
	members("{\"in\":{\"in\":{}},\"\":\"\\u0000\"}", "in!  0 eof");
	members("{\"a\":1", "a -1 text ends early");
	members("{\"a\":1,\"in\":[1,2", "a in! -1 text ends early");
	members("{\"a\":[1,{]}", "a -1 key expected");
	members("{\"a\":1,\"b\":tru}", "a -1 unknown word");
	members("{\"a\":1}{", "a 0 more");
	elements();
	number(0.1, "0.1");
	number(1e20, "1e+20");
	number(100.0, "100.0");
	number(1.0 / 3.0, "0.3333333333333333");
	number(5e-324, "4.94065645841247e-324");
	number(-1.5e300, "-1.5e+300");
	tap_ok(floats() == 0, "200000 floats as printf writes them");
	tap_ok(many_keys(m), "50000 keys in disorder, each twice");
	tap_ok(item_finite(vec, 2) && !item_finite(nan4, 1) &&
	    !item_finite(inf4, 1), "finite, NaN, infinity");

	/*
	 * python3 -c 'import hashlib,struct as s
	 * p=lambda b:s.pack(">I",len(b))+b
	 * print(hashlib.sha256(b"intact record 1\n"+p(b"c")+p(b"id")+
	 *  s.pack(">I",2)+s.pack("<2f",1,-2)+b"\1"+p(b"doc")+p(b"{}")
	 *  ).hexdigest())'
	 */
	memset(&it, 0, sizeof(it));
	it.id = "id";
	it.id_len = 2;
	it.vec = vec;
	it.doc = "doc";
	it.doc_len = 3;
	it.meta = "{}";
	it.meta_len = 2;
	item_digest(h, "c", 2, &it);
	hash_hex(it.digest, hex);
	tap_is(hex, RECORD, "record digest");
	item_content_start(h);
	item_content_add(h, "c", &it);
	hash_final(h, d);
	hash_hex(d, hex);
	tap_is(hex, CONTENT, "content digest of it");
	it.doc = NULL;
	memcpy(d, it.digest, HASH_LEN);
	item_digest(h, "c", 2, &it);
	tap_ok(memcmp(d, it.digest, HASH_LEN) != 0, "no document");
	memcpy(d, it.digest, HASH_LEN);
	it.doc = "";
	it.doc_len = 0;
	item_digest(h, "c", 2, &it);
	tap_ok(memcmp(d, it.digest, HASH_LEN) != 0,
	    "an empty document is another thing");
	it.dead = 1;
	item_digest(h, "c", 2, &it);
	hash_hex(it.digest, hex);
	tap_is(hex, TOMBSTONE, "tombstone digest");
	tap_ok(item_cmp("a", 1, "ab", 2) < 0 && item_cmp("b", 1, "ab", 2) > 0
	    && item_cmp("\xff", 1, "a", 1) > 0 && item_cmp("", 0, "", 0) == 0,
	    "ids by bytes");
	tap_ok(item_space_parse("cosine", 6) == ITEM_COSINE &&
	    item_space_parse("cos", 3) == -1, "spaces");
	tap_ok(hash_unhex(RECORD, d) == 0 && hash_unhex("AB", d) == -1,
	    "hex");
	meta_free(m);
	hash_free(h);
	return tap_done();
}
