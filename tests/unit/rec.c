/*
 * rec: the scanner in front of msgpack-c: limits, bombs, every prefix.
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "mem.h"
#include "rec_kind.h"
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

/*
 * The kinds: what each must say.  D is a digest; "sha256" also stands for
 * other kinds of nonsense in it.
 */
#define D "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX(key) "\"" key "\":\"" D "\""

static int
delta(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_delta	d;

	if (rec_delta_get(r, &d, e) == -1)
		return -1;
	rec_delta_put(out, &d);
	return 0;
}

static int
base(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_base	b;

	if (rec_base_get(r, &b, e) == -1)
		return -1;
	rec_base_put(out, &b);
	return 0;
}

static int
skip(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_skip	s;

	if (rec_skip_get(r, &s, e) == -1)
		return -1;
	rec_skip_put(out, &s);
	return 0;
}

static int
parent(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_parent	p;

	if (rec_parent_get(r, &p, e) == -1)
		return -1;
	rec_parent_put(out, &p);
	return 0;
}

static int
file(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_file	f;

	if (rec_file_get(r, &f, e) == -1)
		return -1;
	rec_file_put(out, &f);
	return 0;
}

static int
store(const struct rec *r, struct rec *out, struct err *e)
{
	struct rec_store	s;

	if (rec_store_get(r, &s, e) == -1)
		return -1;
	rec_store_put(out, &s);
	return 0;
}

static const struct kind {
	const char	*type;
	int		(*through)(const struct rec *r, struct rec *out,
			    struct err *e);
	const char	*json;		/* all that it can say */
	const char	*must[16];	/* of that, what it must */
} kinds[] = {
	{ "delta", delta, "{\"t\":\"delta\",\"url\":\"s3://b/k\"," HEX("sha256")
	    ",\"kind\":\"dir\",\"path\":\"in/1\",\"size\":7,\"seq\":-5,"
	    "\"guessed\":true,\"mtime\":9,\"etag\":\"x\",\"want_records\":3,"
	    "\"verdict\":\"ok\",\"format\":\"chroma\"," HEX("tree")
	    ",\"records\":3,\"tombstones\":1,\"recovered\":true,"
	    HEX("content_digest") "}",
	    { "url", "sha256", "kind", "path", "size", "seq", "format", "tree",
	    "records" } },
	{ "base", base, "{\"t\":\"base\",\"target\":\"/t\",\"version\":\"v1\","
	    "\"generation\":2,\"path\":\"base\"," HEX("sha256") ",\"format\":"
	    "\"sqlite\",\"records\":0," HEX("content_digest")
	    ",\"verdict\":\"ok\"}",
	    { "target", "version", "generation", "path", "sha256", "format",
	    "records", "content_digest" } },
	{ "base", base, "{\"t\":\"base\",\"target\":\"/t\",\"none\":true}",
	    { "target" } },
	{ "skip", skip, "{\"t\":\"skip\",\"url\":\"/k\"," HEX("sha256")
	    ",\"why\":\"held\",\"name\":\"a/b\",\"size\":1,\"mtime\":2,"
	    "\"etag\":\"e\"}", { "url", "sha256", "size" } },
	{ "parent", parent, "{\"t\":\"parent\",\"target\":\"/t\","
	    "\"version\":\"v1\",\"generation\":2," HEX("sha256") "}",
	    { "target", "version", "generation", "sha256" } },
	{ "parent", parent, "{\"t\":\"parent\",\"target\":\"/t\","
	    "\"none\":true}", { "target" } },
	{ "file", file, "{\"t\":\"file\",\"name\":\"a\",\"path\":\"set/a\","
	    "\"url\":\"/a\"," HEX("sha256") ",\"size\":1,\"mtime\":2,"
	    "\"etag\":\"e\",\"verdict\":\"ok\"}",
	    { "name", "path", "url", "sha256", "size" } },
	{ "store", store, "{\"t\":\"store\",\"path\":\"store\",\"format\":"
	    "\"sqlite\"," HEX("sha256") "," HEX("content_digest")
	    ",\"records\":1,\"tombstones\":2,\"superseded\":3,\"inserted\":4,"
	    "\"replaced\":5,\"deleted\":6,\"merged\":7,\"bytes\":8,"
	    "\"unchanged\":true}",
	    { "path", "format", "sha256", "content_digest", "records",
	    "tombstones", "superseded", "inserted", "replaced", "deleted",
	    "merged", "bytes" } },
	{ "base", base, "{\"t\":\"base\",\"target\":\"/t\",\"version\":\"v1\","
	    "\"generation\":2,\"path\":\"base\"," HEX("sha256") ",\"format\":"
	    "\"chroma\",\"records\":0," HEX("content_digest")
	    ",\"unchanged\":true,\"left\":true,\"verdict\":\"unread\"}",
	    { "sha256", "content_digest" } }
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* What is wrong, and the key that the error must name. */
static const struct nonsense {
	size_t		 kind;
	const char	*key, *value;	/* NULL: UINT64_MAX */
} nonsense[] = {
	{ 0, "url", "" }, { 0, "sha256", "0123" }, { 0, "path", "../x" },
	{ 0, "path", "/etc/passwd" }, { 0, "kind", "device" },
	{ 0, "verdict", "bad" }, { 0, "content_digest", "G" },
	{ 1, "target", "" }, { 1, "version", "a/b" }, { 1, "path", ".." },
	{ 1, "verdict", "refused" }, { 2, "target", "" },
	{ 3, "name", "a/../../b" }, { 3, "size", NULL },
	{ 4, "version", ".." }, { 5, "target", "" }, { 6, "name", "/a" },
	{ 6, "size", NULL }, { 6, "verdict", "bad" }, { 7, "path", "" },
	{ 8, "verdict", "ok" }, { 0, "format", "none" },
	{ 0, "format", "archive" }, { 1, "format", "batch" },
	{ 7, "format", "chromb" }, { 8, "format", "" }
};

static struct rec *
parsed(const char *json)
{
	struct err	e = { 0, "" };
	struct rec	*r = rec_from_json(json, strlen(json), &e);

	if (r == NULL) {
		printf("Bail out! %s: %s\n", json, e.text);
		exit(1);
	}
	return r;
}

/* 1 when k's reader refuses r for that key. */
static int
refused(const struct kind *k, const struct rec *r, const char *key)
{
	struct err	 e = { 0, "" };
	struct rec	*out = rec_new(k->type);
	char		 want[64];
	int		 rv = k->through(r, out, &e);

	rec_free(out);
	(void)snprintf(want, sizeof(want), "%s record: %s: want ", k->type,
	    key);
	if (rv == -1 && e.code == MSG_PROTOCOL &&
	    strncmp(e.text, want, strlen(want)) == 0)
		return 1;
	printf("# %s %s: %d %s\n", k->type, key, rv, e.text);
	return 0;
}

static void
keys_of_kinds(void)
{
	const struct nonsense	*x;
	struct buf		 b;
	struct rec		*r, *out;
	struct err		 e = { 0, "" };
	size_t			 i, j, bad = 0, same = 0, n = 0;

	for (i = 0; i < N_KINDS; i++) {
		r = parsed(kinds[i].json);
		out = rec_new(kinds[i].type);
		buf_init(&b, REC_MAX);
		if (kinds[i].through(r, out, &e) == 0)
			rec_to_json(out, &b);
		/* the order of keys means nothing */
		same += b.len == strlen(kinds[i].json);
		buf_free(&b);
		rec_free(out);
		for (j = 0; kinds[i].must[j] != NULL; j++, n++) {
			rec_set_str(r, kinds[i].must[j], NULL);
			bad += !refused(&kinds[i], r, kinds[i].must[j]);
			rec_set_bool(r, kinds[i].must[j], 1);
			bad += !refused(&kinds[i], r, kinds[i].must[j]);
			rec_free(r);
			r = parsed(kinds[i].json);
		}
		rec_free(r);
	}
	tap_ok(same == N_KINDS, "%zu of %zu kinds: what is read is what is "
	    "written", same, N_KINDS);
	tap_ok(bad == 0, "%zu keys: none may be absent or of another type", n);
	for (i = bad = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		x = &nonsense[i];
		r = parsed(kinds[x->kind].json);
		if (x->value == NULL)
			rec_set_u64(r, x->key, UINT64_MAX);
		else
			rec_set_str(r, x->key, x->value);
		bad += !refused(&kinds[x->kind], r, x->key);
		rec_free(r);
	}
	tap_ok(bad == 0, "%zu values that make no sense are refused, by name",
	    i);
}

/* What msgpack can say and JSON cannot, and the other way around. */
static void
other_types(void)
{
	static const char	odd[] = "\x86\xa1t\xa1x\xa1" "b\xc4\x02\x00\xff"
	    "\xa1" "e\xc7\x01\x05\x7f\xa1n\xc0\xa1" "f\xca\x7f\x80\x00\x00"
	    "\xa1" "a\x92\x90\x80";
	static const char	*const bad[] = { "", "[1]", "{\"a\":1,\"a\":2}",
	    "{\"a\":", "{\"a\":1}x", "{\"a\":[[[[[[[[1]]]]]]]]}" };
	struct err		 e = { 0, "" };
	struct buf		 b;
	struct rec		*r;
	size_t			 i, n = 0;

	buf_init(&b, REC_MAX);
	r = BYTES(odd) == REC_SCAN_OK ? rec_parse(odd, sizeof(odd) - 1, &e) :
	    NULL;
	if (r != NULL)
		rec_to_json(r, &b);
	tap_is(buf_cstr(&b), "{\"t\":\"x\",\"b\":{\"$bin\":\"00ff\"},"
	    "\"e\":{\"$ext\":\"7f\"},\"n\":null,\"f\":null,\"a\":[[],{}]}",
	    "bytes, an extension, infinity and empty containers in JSON");
	rec_free(r);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.code = 0;
		r = rec_from_json(bad[i], strlen(bad[i]), &e);
		n += r == NULL && e.code == MSG_PROTOCOL;
		rec_free(r);
	}
	tap_ok(n == i, "%zu of %zu lines of JSON that are no record", n, i);
	buf_reset(&b);
	b.max = 3 * REC_MAX;
	buf_str(&b, "{\"a\":[0");
	for (i = 0; i < 40; i++) {
		buf_str(&b, ",\"");
		for (n = 0; n < REC_STR_MAX - 1; n++)
			buf_addc(&b, 'x');
		buf_addc(&b, '"');
	}
	buf_str(&b, "]}");
	e.code = 0;
	tap_ok(rec_from_json((const char *)b.p, b.len, &e) == NULL &&
	    strstr(e.text, "1 MiB") != NULL, "a record of JSON beyond 1 MiB");
	buf_free(&b);
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

	tap_plan(35);
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
	keys_of_kinds();
	other_types();
	return tap_done();
}
