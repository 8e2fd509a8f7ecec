/*
 * batch: results of embedding batches as records, and every way in which
 * a line is none.
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "io.h"
#include "store.h"
#include "tap.h"
#include "tmp.h"

#define FLIPS 20000

static char		work[TMP_DIR];
static char		file[TMP_DIR + 16];
static uint64_t		rng = 88172645463325252U;

static const char	good[] =
    "{\"id\":\"batch_req_1\",\"custom_id\":\"b\",\"response\":{"
    "\"status_code\":200,\"request_id\":\"r\",\"body\":{\"object\":\"list\","
    "\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":"
    "[0.5,-1,2.5e-3]}],\"model\":\"text-embedding-3-small\",\"usage\":{"
    "\"prompt_tokens\":1,\"total_tokens\":1}}},\"error\":null}\n"
    "{\"custom_id\":\"a\",\"document\":\"one\\u0000two\",\"metadata\":{"
    "\"n\":1,\"f\":1.0,\"tags\":[\"x\",\"y\"]},\"response\":{\"body\":{"
    "\"model\":\"text-embedding-3-small\",\"data\":[{\"embedding\":"
    "\"AAAAPwAAgL8K1yM7\"}]}}}\n"
    "\n"
    "{\"response\":{\"status_code\":200,\"body\":{\"data\":[{\"index\":0,"
    "\"embedding\":[1,2]}]}},\"custom_id\":\"b\","
    "\"collection\":\"another\"}";

static uint64_t
next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void
put(const void *p, size_t n)
{
	int	fd = open(file, O_WRONLY | O_CREAT, 0600);

	if (fd == -1 || io_write(fd, p, n) == -1 ||
	    ftruncate(fd, (off_t)n) == -1)
		exit(99);
	(void)close(fd);
}

static int
judge(const void *p, size_t n, struct check_verdict *v)
{
	struct err	e;
	int		r;

	memset(&e, 0, sizeof(e));
	memset(v, 0, sizeof(*v));
	put(p, n);
	r = batch_check(file, 0, v, &e);
	if (r == -1)
		printf("# machine: %s\n", e.text);
	return r;
}

static void
test_good(void)
{
	static const unsigned char	vec[12] = {
		0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf, 0x0a, 0xd7, 0x23, 0x3b
	};
	struct check_verdict	v;
	struct store		*s;
	struct item		 it;
	struct err		 e;
	int			 ok;

	memset(&e, 0, sizeof(e));
	tap_ok(judge(good, sizeof(good) - 1, &v) == 0, "accepted");
	s = store_open(file, STORE_BATCH, 0, &e);
	tap_ok(s != NULL && s->sorted && s->n_colls == 2 &&
	    strcmp(s->colls[0].name, "another") == 0 &&
	    s->colls[0].dim == 2 && s->colls[0].model == NULL &&
	    strcmp(s->colls[1].name, "batch") == 0 && s->colls[1].dim == 3 &&
	    !s->colls[1].space_known && s->colls[1].config == NULL &&
	    strcmp(s->colls[1].model, "{\"config.model_name\":"
	    "\"text-embedding-3-small\",\"name\":\"openai\"}") == 0,
	    "two collections, and what they declare");
	ok = s != NULL && store_next(s, &it, &e) == 1;
	tap_ok(ok && it.coll == 0 && it.id_len == 1 && it.id[0] == 'b' &&
	    it.doc == NULL && memcmp(it.meta, "{}", it.meta_len) == 0 &&
	    !it.dead && it.src == -1, "first the other collection's record");
	ok = ok && store_next(s, &it, &e) == 1;
	tap_ok(ok && it.coll == 1 && it.id[0] == 'a' && it.doc_len == 7 &&
	    memcmp(it.doc, "one\0two", 7) == 0 && it.meta_len == 32 &&
	    memcmp(it.meta, "{\"f\":1.0,\"n\":1,\"tags\":[\"x\",\"y\"]}", 32) ==
	    0, "then a, with document and typed metadata");
	tap_ok(ok && memcmp(it.vec, vec, 12) == 0, "base64 is the vector");
	ok = ok && store_next(s, &it, &e) == 1;
	tap_ok(ok && it.coll == 1 && it.id[0] == 'b' &&
	    memcmp(it.vec, vec, 12) == 0, "then b, of the same numbers");
	tap_ok(ok && store_next(s, &it, &e) == 0, "and no more");
	store_close(s);
}

#define R(body) "{\"custom_id\":\"x\",\"response\":{\"status_code\":200," \
	"\"body\":{\"model\":\"m\",\"data\":" body "}},\"error\":null}\n"
#define ONE R("[{\"index\":0,\"embedding\":[1,2]}]")

static const struct {
	const char	*what, *text;
	enum check_code	 code;
	const char	*word;
} cases[] = {
	{ "an id twice", ONE ONE, CHECK_DUPLICATE, "line 2 (custom_id x)" },
	{ "status 429", "{\"custom_id\":\"x\",\"response\":{\"status_code\":"
	    "429,\"body\":{\"error\":{\"message\":\"slow\"}}}}", CHECK_BATCH,
	    "slow" },
	{ "status without error", "{\"custom_id\":\"x\",\"response\":{"
	    "\"status_code\":500,\"body\":{}}}", CHECK_BATCH, "status 500" },
	{ "error beside a null response", "{\"custom_id\":\"x\",\"response\":"
	    "null,\"error\":{\"code\":\"batch_expired\",\"message\":"
	    "\"too late\"}}", CHECK_BATCH, "too late" },
	{ "null response", "{\"custom_id\":\"x\",\"response\":null,"
	    "\"error\":null}", CHECK_BATCH, "no response" },
	{ "no custom_id", "{\"response\":{\"body\":{\"data\":[{\"embedding\":"
	    "[1]}]}}}", CHECK_BATCH, "line 1" },
	{ "empty custom_id", "{\"custom_id\":\"\",\"response\":{}}",
	    CHECK_BATCH, "no custom_id" },
	{ "no data", R("[]"), CHECK_BATCH, "got 0" },
	{ "two embeddings", R("[{\"embedding\":[1]},{\"embedding\":[2]}]"),
	    CHECK_BATCH, "several" },
	{ "two data, one embedding", R("[{\"embedding\":[1]},{}]"),
	    CHECK_BATCH, "got 2" },
	{ "null embedding", R("[{\"embedding\":null}]"), CHECK_BATCH,
	    "neither" },
	{ "empty embedding", R("[{\"embedding\":[]}]"), CHECK_BATCH,
	    "got 0" },
	{ "null among the numbers", R("[{\"embedding\":[1,null]}]"),
	    CHECK_BATCH, "no number" },
	{ "beyond float32", R("[{\"embedding\":[1e39]}]"), CHECK_VECTOR,
	    "finite" },
	{ "NaN", R("[{\"embedding\":[NaN]}]"), CHECK_BATCH, "line 1" },
	{ "base64 of 3 bytes", R("[{\"embedding\":\"AAAA\"}]"), CHECK_BATCH,
	    "base64" },
	{ "base64 that is none", R("[{\"embedding\":\"AA*=\"}]"),
	    CHECK_BATCH, "base64" },
	{ "base64 of infinity", R("[{\"embedding\":\"AACAfw==\"}]"),
	    CHECK_VECTOR, "finite" },
	{ "another dimension", ONE "{\"custom_id\":\"y\",\"response\":{"
	    "\"body\":{\"model\":\"m\",\"data\":[{\"embedding\":[1]}]}}}",
	    CHECK_VECTOR, "line 2 (custom_id y): dimension: want 2" },
	{ "another model", ONE "{\"custom_id\":\"y\",\"response\":{"
	    "\"body\":{\"model\":\"n\",\"data\":[{\"embedding\":[1,2]}]}}}",
	    CHECK_VECTOR, "another model" },
	{ "no object", "[1]\n", CHECK_BATCH, "line 1" },
	{ "cut in its line", "{\"custom_id\":\"x\",\"resp", CHECK_BATCH,
	    "line 1" },
	{ "not UTF-8", "{\"custom_id\":\"\xff\"}\n", CHECK_UTF8, "UTF-8" },
	{ "nested metadata", "{\"custom_id\":\"x\",\"metadata\":{\"a\":{}}}",
	    CHECK_BATCH, "nested" },
	{ "nothing", "", CHECK_SIZE, "0 bytes" },
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static void
test_case(size_t i)
{
	struct check_verdict	v;
	int			r = judge(cases[i].text,
				    strlen(cases[i].text), &v);

	if (!tap_ok(r == 1 && v.code == cases[i].code &&
	    strstr(v.reason, cases[i].word) != NULL, "%s: refused as %s",
	    cases[i].what, check_code_name(cases[i].code)))
		printf("# r %d %s: %s\n", r, check_code_name(v.code),
		    v.reason);
}

static void
test_bombs(void)
{
	struct check_verdict	v;
	size_t			n = (size_t)33 << 20, i;
	char			*b = malloc(n);
	int			fd;

	memset(b, '[', n);
	tap_ok(judge(b, 1 << 20, &v) == 1 && v.code == CHECK_BATCH,
	    "a million brackets: %s", v.reason);
	memset(b, ' ', n);
	memcpy(b, ONE, sizeof(ONE) - 1);
	tap_ok(judge(b, n, &v) == 1 && v.code == CHECK_LIMIT &&
	    strstr(v.reason, "line 2") != NULL, "a line of 33 MiB: %s",
	    v.reason);
	i = (size_t)snprintf(b, n, "%s", "{\"custom_id\":\"x\",\"response\":{"
	    "\"body\":{\"data\":[{\"embedding\":[0");
	while (i < (size_t)1 << 20) {
		b[i++] = ',';
		b[i++] = '1';
	}
	tap_ok(judge(b, i, &v) == 1 && v.code == CHECK_LIMIT,
	    "an embedding of half a million numbers: %s", v.reason);
	free(b);
	(void)unlink(file);
	memset(&v, 0, sizeof(v));
	fd = 0;
	{
		struct err	e;

		memset(&e, 0, sizeof(e));
		fd = batch_check(file, 0, &v, &e);
	}
	tap_ok(fd == 1 && v.code == CHECK_MISSING, "no file: missing");
}

/* Cut anywhere, the file is refused, or holds whole lines only. */
static void
test_cuts(void)
{
	struct check_verdict	v;
	size_t			n, odd = 0, ok = 0;
	int			r;

	for (n = 0; n < sizeof(good) - 1; n++) {
		r = judge(good, n, &v);
		odd += r == -1;
		ok += r == 0;
		if (r == 0 && good[n] != '\n' && good[n - 1] != '\n')
			odd++;
	}
	tap_ok(odd == 0 && ok == 5, "cut at each of %zu bytes", n);
}

static void
test_flips(void)
{
	struct check_verdict	v;
	char			b[sizeof(good)];
	size_t			k;
	int			i, r, odd = 0, refused = 0;

	memcpy(b, good, sizeof(good));
	for (i = 0; i < FLIPS; i++) {
		k = (size_t)(next() % (sizeof(good) - 1));
		b[k] = (char)next();
		r = judge(b, sizeof(good) - 1, &v);
		odd += r == -1;
		refused += r == 1;
		b[k] = good[k];
	}
	tap_ok(odd == 0 && refused > FLIPS / 4 && refused < FLIPS,
	    "%d bytes overwritten: read or refused (%d)", FLIPS, refused);
}

int
main(void)
{
	struct err	e;
	size_t		i;

	msg_init("batch");
	memset(&e, 0, sizeof(e));
	if (tmp_dir(work, "batch") == -1)
		return 99;
	(void)snprintf(file, sizeof(file), "%s/results.jsonl", work);
	tap_plan((int)(7 + N_CASES + 6));
	test_good();
	for (i = 0; i < N_CASES; i++)
		test_case(i);
	test_bombs();
	test_cuts();
	test_flips();
	(void)io_rmtree(AT_FDCWD, work, &e);
	return tap_done();
}
