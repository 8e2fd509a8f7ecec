/*
 * batch_join: answers against requests: every way in which they do not
 * add up, what is written of those that do, and bytes from strangers.
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "batch_join.h"
#include "buf.h"
#include "io.h"
#include "tap.h"
#include "tmp.h"

#define FLIPS	3000

#define REQ(id, more) "{\"custom_id\":\"" id "\",\"method\":\"POST\"," \
    "\"url\":\"/v1/embeddings\",\"body\":{\"model\":\"m\"," more "}}\n"
#define GOOD(id, vec) "{\"id\":\"x\",\"custom_id\":\"" id "\"," \
    "\"response\":{\"status_code\":200,\"body\":{\"data\":[{\"index\":0," \
    "\"embedding\":" vec "}],\"model\":\"m\"}},\"error\":null}\n"
#define BAD(id) "{\"custom_id\":\"" id "\",\"response\":{" \
    "\"status_code\":500,\"body\":{\"error\":{\"message\":\"oh\"}}}," \
    "\"error\":null}\n"
#define OUT(id, doc, vec) "{\"custom_id\":\"" id "\"," doc \
    "\"response\":{\"status_code\":200,\"body\":{\"model\":\"m\"," \
    "\"data\":[{\"embedding\":" vec "}]}}}\n"

static char			work[TMP_DIR];
static struct batch_joined	got;
static struct err		err;
static struct buf		out, requeue;
static const char		*stale;
static uint64_t			rng = 88172645463325252U;

static const char	requests[] =
    REQ("b", "\"input\":\"two\\n\"") "\n"
    REQ("a", "\"input\":[\"one\"]")
    REQ("c", "\"input\":[1,2]");
static const char	answers[] =
    GOOD("c", "[3,3]") GOOD("a", "[1 , 1]") GOOD("b", "\"AACAPwAAgD8=\"");

static uint64_t
next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void
put(const char *name, const void *p, size_t n)
{
	int	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd == -1 || io_write(fd, p, n) == -1)
		exit(99);
	(void)close(fd);
}

static void
slurp(struct buf *b, const char *name)
{
	struct err	e = { 0, "" };

	buf_reset(b);
	if (access(name, F_OK) == 0)
		(void)io_slurp(AT_FDCWD, name, b, &e);
}

/* NULL: not there. total -1: not said. */
static int
join_n(const void *req, size_t n_req, const void *ans, size_t n_ans,
    const char *bad, long total)
{
	struct batch_join	j;
	int			rv;

	memset(&j, 0, sizeof(j));
	memset(&err, 0, sizeof(err));
	(void)unlink("out");
	(void)unlink("requeue");
	if (req != NULL)
		put(j.requests = "req", req, n_req);
	if (ans != NULL)
		put(j.output = "ans", ans, n_ans);
	if (bad != NULL)
		put(j.errors = "bad", bad, strlen(bad));
	j.has_total = total >= 0;
	j.total = total >= 0 ? (uint64_t)total : 0;
	j.out = "out";
	j.requeue = "requeue";
	j.stale = stale;
	j.stale_len = stale != NULL ? strlen(stale) : 0;
	rv = batch_join(&j, &got, &err);
	slurp(&out, "out");
	slurp(&requeue, "requeue");
	return rv;
}

static int
join(const char *req, const char *ans, const char *bad, long total)
{
	return join_n(req, req != NULL ? strlen(req) : 0, ans,
	    ans != NULL ? strlen(ans) : 0, bad, total);
}

static int
counts(uint64_t ok, uint64_t failed, uint64_t missing)
{
	return got.ok == ok && got.failed == failed &&
	    got.missing == missing && got.requested == ok + failed + missing +
	    got.stale;
}

/* It is refused, and says so. */
static void
no(int rv, const char *want, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == MSG_DATAERR &&
	    strstr(err.text, want) != NULL, "%s", what))
		printf("# %d: %s\n", err.code, err.text);
}

static void
good(void)
{
	enum batch_fault	 fault;
	struct batch		*b;

	tap_ok(join(requests, answers, NULL, 3) == 0 && counts(3, 0, 0) &&
	    got.text[0] == '\0', "all have an answer");
	tap_is(buf_cstr(&out), OUT("a", "\"document\":\"one\",", "[1 , 1]")
	    OUT("b", "\"document\":\"two\\n\",", "\"AACAPwAAgD8=\"")
	    OUT("c", "", "[3,3]"),
	    "in order, with documents where input is one text");
	tap_ok(requeue.len == 0, "nothing is to be sent again");
	b = batch_load("out", &fault, &err);
	tap_ok(b != NULL && batch_records(b) == 3, "batch.h reads it");
	batch_free(b);
	tap_ok(join(requests, GOOD("a", "[1 , 1]") "\r\n  "
	    GOOD("b", "\"AACAPwAAgD8=\"") GOOD("c", "[3,3]"), NULL, -1) == 0,
	    "in another order");
	tap_ok(strstr(buf_cstr(&out), "\"a\",\"document\":\"one\"") != NULL &&
	    out.len == strlen(OUT("a", "\"document\":\"one\",", "[1 , 1]")
	    OUT("b", "\"document\":\"two\\n\",", "\"AACAPwAAgD8=\"")
	    OUT("c", "", "[3,3]")), "it is the same");
	tap_ok(join(REQ("a", "\"input\":\"x\"},\"collection\":\"C\","
	    "\"document\":null,\"metadata\":{\"k\":1},\"more\":{\"y\":1"),
	    "{\"collection\":\"no\",\"metadata\":{}," /* a brace less */
	    "\"custom_id\":\"a\",\"response\":{\"body\":{\"data\":[{"
	    "\"embedding\":[1]}]}}}\n", NULL, 1) == 0, "keys of ours");
	tap_is(buf_cstr(&out), "{\"custom_id\":\"a\",\"collection\":\"C\","
	    "\"metadata\":{\"k\":1},\"response\":{\"status_code\":200,"
	    "\"body\":{\"data\":[{\"embedding\":[1]}]}}}\n",
	    "are those of the request");
	tap_ok(join(NULL, "{\"document\":\"d\",\"custom_id\":\"\\u0041\","
	    "\"response\":{\"body\":{\"data\":[{\"embedding\":[1]}]}}}", NULL,
	    1) == 0 && strncmp(buf_cstr(&out),
	    "{\"custom_id\":\"A\",\"document\":\"d\",", 32) == 0,
	    "without the requests, those of the answer");
}

static void
failed(void)
{
	tap_ok(join(requests, GOOD("a", "[1]") BAD("c"), NULL, 3) == 0 &&
	    counts(1, 1, 1), "one failed among the results, one is missing");
	tap_is(got.text, "first error: status 500: oh; failed: c; "
	    "missing: b", "they are named");
	tap_is(buf_cstr(&requeue), REQ("b", "\"input\":\"two\\n\"")
	    REQ("c", "\"input\":[1,2]"),
	    "and are to be sent again as they were");
	tap_ok(join(requests, GOOD("a", "[1]") GOOD("b", "[1]"), BAD("c"),
	    3) == 0 && counts(2, 1, 0), "one in the error file");
	tap_ok(join(NULL, GOOD("a", "[1]"), BAD("c"), 4) == 0 &&
	    counts(1, 1, 2), "without the requests");
	tap_is(buf_cstr(&requeue), "{\"custom_id\":\"c\"}\n",
	    "those that are known are to be sent again");
	tap_ok(join(requests, NULL, NULL, 3) == 0 && counts(0, 0, 3) &&
	    strcmp(buf_cstr(&requeue), REQ("b", "\"input\":\"two\\n\"")
	    REQ("a", "\"input\":[\"one\"]") REQ("c", "\"input\":[1,2]")) ==
	    0 && out.len == 0, "no answers at all");
	tap_ok(join(requests, "{\"custom_id\":\"a\",\"response\":null,"
	    "\"error\":{\"code\":\"batch_expired\",\"message\":\"late\"}}\n"
	    "{\"custom_id\":\"b\",\"response\":null,\"error\":null}\n"
	    GOOD("c", "null"), NULL, 3) == 0 && counts(0, 3, 0) &&
	    strncmp(got.text, "first error: late; failed: a, b, c", 34) == 0,
	    "errors, no response, no embedding");
	tap_ok(join(requests, GOOD("a", "[]") GOOD("b",
	    "[1]},{\"embedding\":[2]") "{\"custom_id\":\"c\",\"response\":{"
	    "\"status_code\":\"200\",\"body\":{\"data\":[{\"embedding\":[1]}"
	    "]}}}", NULL, 3) == 0 && counts(0, 3, 0),
	    "an empty one, two, a status that is none");
}

static void
refused(void)
{
	static char	deep[200], id[70000];
	size_t		n;

	no(join(requests, GOOD("a", "[1]") GOOD("a", "[1]"), NULL, 3),
	    "output file: line 2 (custom_id a): comes twice, also on line 1",
	    "an answer twice");
	no(join(requests, GOOD("a", "[1]"), BAD("a"), 3), "error file: line "
	    "1 (custom_id a): comes twice, also on line 1 of the output",
	    "in both files");
	no(join(REQ("a", "\"input\":\"\"") REQ("a", "\"input\":\"\""),
	    GOOD("a", "[1]"), NULL, 2), "input file: line 2 (custom_id a): "
	    "comes twice", "a request twice");
	no(join(requests, GOOD("z", "[1]"), NULL, 3), "output file: line 1 "
	    "(custom_id z): was not requested", "one that nobody asked for");
	no(join(requests, answers, NULL, 4), "total is 4, and the input "
	    "file has 3", "a total that lies");
	no(join(NULL, answers, NULL, 2), "want answers for 2 requests, got "
	    "3", "too many answers");
	no(join(NULL, answers, NULL, -1), "nobody knows", "no total");
	no(join("", NULL, NULL, 0), "without requests", "no requests");
	no(join(requests, "{\"custom_id\":1}", NULL, 3), "no text",
	    "a custom_id that is none");
	no(join(requests, "{\"custom_id\":\"a\",\"custom_id\":\"b\"}", NULL,
	    3), "two custom_id", "two of them");
	no(join(requests, "{\"response\":{}}", NULL, 3), "no custom_id",
	    "none of them");
	no(join(requests, "not JSON", NULL, 3), "output file: line 1",
	    "not JSON");
	no(join(requests, GOOD("a", "[1]") "[]", NULL, 3),
	    "output file: line 2", "not an object");
	no(join(requests, NULL, "{\"custom_id\":\"a\"", 3),
	    "error file: line 1", "cut off");
	no(join_n(requests, strlen(requests), "{\"custom_id\":\"a\0\"}", 18,
	    NULL, 3), "output file: line 1", "a NUL byte");
	memset(deep, '[', sizeof(deep) - 1);
	no(join(requests, deep, NULL, 3), "output file: line 1", "deep");
	n = (size_t)snprintf(id, sizeof(id), "{\"custom_id\":\"");
	memset(id + n, 'x', 66000);
	memcpy(id + n + 66000, "\"}", 3);
	no(join(requests, id, NULL, 3), "too long", "a long custom_id");
}

/* What is said to be out of date is left out, and that alone. */
static void
out_of_date(void)
{
	static char	long_glob[1200];
	const char	*all = requests;

	stale = "a\n";
	tap_ok(join(all, answers, NULL, 3) == 0 && counts(2, 0, 0) &&
	    got.stale == 1 && strcmp(got.text, "stale: a") == 0,
	    "stale: one, by its id");
	tap_ok(strstr(buf_cstr(&out), "\"a\"") == NULL &&
	    strstr(buf_cstr(&out), "\"b\"") != NULL, "it is left out");
	tap_is(buf_cstr(&requeue), REQ("a", "\"input\":[\"one\"]"),
	    "and is sent again");
	stale = "[ab]";
	tap_ok(join(all, answers, NULL, 3) == 0 && got.stale == 2 &&
	    got.ok == 1, "stale: a pattern, without a line's end");
	stale = "*\r\n";
	tap_ok(join(all, GOOD("a", "[1]"), BAD("b"), 3) == 0 &&
	    counts(0, 1, 1) && got.stale == 1 && out.len == 0,
	    "stale: all that have a result, and no other");
	stale = "A\naa\n\n#a\n?b\n*[]\n";
	tap_ok(join(all, answers, NULL, 3) == 0 && got.stale == 0,
	    "stale: none is meant");
	stale = "[a]\n*b\n";
	tap_ok(join(REQ("[a]", "\"input\":\"x\"") REQ("cab",
	    "\"input\":\"y\""), GOOD("[a]", "[1]") GOOD("cab", "[2]"),
	    NULL, 2) == 0 && got.stale == 2,
	    "stale: an id that looks like a pattern is that id");
	memset(long_glob, 'x', 1000);
	memcpy(long_glob + 1000, "*\na*\n", 6);
	stale = long_glob;
	tap_ok(batch_join_stale(stale, strlen(stale), &err) == 0 &&
	    join(all, answers, NULL, 3) == 0 && got.stale == 1,
	    "stale: a long pattern");
	memset(long_glob, 'x', 1100);
	long_glob[1100] = '*';
	tap_ok(batch_join_stale(stale, strlen(stale), &err) == -1 &&
	    err.code == MSG_USAGE, "stale: one that is too long");
	stale = NULL;
}

static void
long_line(void)
{
	size_t	 n = BATCH_LINE_MAX + 2;
	char	*s = malloc(n);

	if (s == NULL)
		exit(99);
	memset(s, ' ', n);
	no(join_n(requests, strlen(requests), s, n, NULL, 3),
	    "line 1: longer than 32 MiB", "a line of 32 MiB and more");
	free(s);
}

/* Whatever a byte is changed to: refused, or what adds up and is read. */
static void
flips(void)
{
	static char	 text[4096], req[4096];
	enum batch_fault fault;
	struct batch	*b;
	struct err	 e;
	size_t		 n = strlen(answers), m = strlen(requests);
	int		 i, k, bad = 0, refused = 0, loaded = 0;

	for (i = 0; i < FLIPS && bad == 0; i++) {
		memcpy(text, answers, n);
		memcpy(req, requests, m);
		for (k = 0; k < 1 + i % 3; k++) {
			text[next() % n] = (char)next();
			if (i % 2 == 0)
				req[next() % m] = (char)next();
		}
		if (join_n(req, m, text, n, NULL, -1) == -1) {
			bad = err.code != MSG_DATAERR;
			refused++;
			continue;
		}
		if (got.requested != got.ok + got.failed + got.missing)
			bad = 2;
		if (got.ok == 0)
			continue;
		memset(&e, 0, sizeof(e));
		b = batch_load("out", &fault, &e);
		/* what an embedding is, is judged there and not here */
		if (b == NULL ? e.code != MSG_DATAERR :
		    batch_records(b) != got.ok)
			bad = 3;
		loaded += b != NULL;
		batch_free(b);
	}
	if (!tap_ok(bad == 0 && refused > FLIPS / 2 && loaded > 50,
	    "%d files with changed bytes (%d refused, %d read)", FLIPS,
	    refused, loaded))
		printf("# flip %d: %d, %s\n", i, bad, err.text);
}

int
main(void)
{
	if (tmp_dir(work, "join") == -1 || chdir(work) == -1)
		return 99;
	buf_init(&out, 1 << 20);
	buf_init(&requeue, 1 << 20);
	tap_plan(46);
	good();
	failed();
	refused();
	out_of_date();
	long_line();
	flips();
	buf_free(&out);
	buf_free(&requeue);
	(void)chdir("/");
	(void)io_rmtree(AT_FDCWD, work, &err);
	return tap_done();
}
