/*
 * stream: a stream cut at every byte is never taken for whole, and every
 * malformed one is named.
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "rec.h"
#include "stream.h"
#include "tap.h"

static void
put(struct buf *b, const char *json)
{
	struct err	e = { 0, "" };
	struct rec	*r = rec_from_json(json, strlen(json), &e);

	if (r == NULL) {
		printf("Bail out! %s: %s\n", json, e.text);
		exit(1);
	}
	rec_encode(r, b);
	rec_free(r);
}

static const char hello[] = "{\"t\":\"hello\",\"v\":1,\"prog\":\"x\","
    "\"run\":\"r\"}";

/* The event a stream ends with, fed whole. */
static enum stream_event
last(const struct buf *b, size_t *n)
{
	struct err	e = { 0, "" };

	return stream_replay(b->p, b->len, n, &e);
}

/* Every prefix but the whole must be CUT, and so must every suffix. */
static void
cuts(const struct buf *b, const char *what)
{
	struct err	e;
	size_t		i, n, wrong = 0;

	for (i = 0; i < b->len; i++) {
		memset(&e, 0, sizeof(e));
		if (stream_replay(b->p, i, &n, &e) != STREAM_CUT ||
		    e.code != MSG_PROTOCOL)
			wrong++;
	}
	tap_ok(wrong == 0, "%s: cut at each of its %zu bytes: cut", what,
	    b->len);
}

/* One byte changed: anything but a crash; END only with all records. */
static void
flips(const struct buf *b, size_t records, const char *what)
{
	struct err	e;
	unsigned char	*p = (unsigned char *)mem_ndup(b->p, b->len);
	size_t		 i, n, ends = 0;
	unsigned int	 x;
	int		 wrong = 0;

	for (i = 0; i < b->len; i++)
		for (x = 1; x < 256; x <<= 1) {
			memset(&e, 0, sizeof(e));
			p[i] ^= (unsigned char)x;
			if (stream_replay(p, b->len, &n, &e) == STREAM_END) {
				ends++;
				wrong += n > records;
			}
			p[i] ^= (unsigned char)x;
		}
	tap_ok(wrong == 0, "%s: each bit flipped: no record made up "
	    "(%zu of %zu still end)", what, ends, 8 * b->len);
	free(p);
}

static void
bad(const char *records[], enum stream_event want, const char *what)
{
	struct buf	b;
	size_t		n, i;

	buf_init(&b, 1 << 20);
	for (i = 0; records[i] != NULL; i++)
		put(&b, records[i]);
	tap_ok(last(&b, &n) == want, "%s", what);
	buf_free(&b);
}

int
main(void)
{
	static const char end[] = "{\"t\":\"end\",\"totals\":{\"planned\":2}}";
	static const char fail[] = "{\"t\":\"fail\",\"reasons\":[\"a\"]}";
	static const char rec[] = "{\"t\":\"delta\",\"a\":[1,-1,1.5,\"é\","
	    "null,true,{\"b\":{}}],\"big\":18446744073709551615}";
	const char	*wrong_v[] = {
		"{\"t\":\"hello\",\"v\":2,\"run\":\"r\"}",
		end, NULL };
	const char	*no_hello[] = { rec, end, NULL };
	const char	*two[] = { hello, hello, end, NULL };
	const char	*capital[] = { hello, "{\"t\":\"Lock\"}", end, NULL };
	const char	*lower[] = { hello, "{\"t\":\"lock\"}", end, NULL };
	const char	*after[] = { hello, end, rec, NULL };
	const char	*after_fail[] = { hello, fail, end, NULL };
	const char	*failed[] = { hello, rec, fail, NULL };
	const char	*untyped[] = { hello, "{\"x\":1}", end, NULL };
	const char	*norun[] = { "{\"t\":\"hello\",\"v\":1}", end, NULL };
	struct buf	b, out;
	struct stream_in *in;
	const struct rec *r;
	struct err	e = { 0, "" };
	size_t		n;
	int		p[2];

	tap_plan(20);
	buf_init(&b, 1 << 20);
	put(&b, hello);
	put(&b, end);
	tap_ok(last(&b, &n) == STREAM_END && n == 0, "hello and end: whole");
	cuts(&b, "hello and end");
	buf_reset(&b);
	put(&b, hello);
	put(&b, rec);
	put(&b, rec);
	put(&b, end);
	tap_ok(last(&b, &n) == STREAM_END && n == 2, "two records");
	cuts(&b, "two records");
	flips(&b, 2, "two records");
	buf_reset(&b);
	put(&b, hello);
	put(&b, rec);
	put(&b, fail);
	cuts(&b, "a failed run");
	bad(wrong_v, STREAM_BAD, "another format version");
	bad(no_hello, STREAM_BAD, "no hello");
	bad(norun, STREAM_BAD, "hello without run");
	bad(two, STREAM_BAD, "two hellos");
	bad(capital, STREAM_BAD, "unknown type in capitals");
	bad(lower, STREAM_END, "unknown type in lower case");
	bad(after, STREAM_BAD, "a record after end");
	bad(after_fail, STREAM_BAD, "a record after fail");
	bad(failed, STREAM_FAIL, "fail is fail");
	bad(untyped, STREAM_BAD, "a record without type");

	/* the same through a pipe, byte by byte cut off, as JSON */
	if (pipe(p) == -1)
		return 1;
	in = stream_in_new(p[0], 1);
	(void)io_write(p[1], hello, strlen(hello));
	(void)io_write(p[1], "\n", 1);
	(void)io_write(p[1], rec, strlen(rec));
	(void)close(p[1]);
	tap_ok(stream_read_hello(in, &r, &e) == 0, "JSON: hello");
	tap_ok(stream_read(in, &r, &e) == STREAM_CUT,
	    "JSON: a line without its end is cut");
	tap_ok(stream_read(in, &r, &e) == STREAM_CUT, "and stays cut");
	stream_in_free(in);
	(void)close(p[0]);

	/* JSON -> msgpack -> JSON keeps what it can say */
	buf_init(&out, 1 << 20);
	{
		struct rec	*x = rec_from_json(rec, strlen(rec), &e);

		rec_to_json(x, &out);
		rec_free(x);
	}
	tap_is(buf_cstr(&out), rec, "JSON there and back");
	buf_free(&out);
	buf_free(&b);
	return tap_done();
}
