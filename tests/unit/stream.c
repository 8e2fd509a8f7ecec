/*
 * stream: a stream cut at every byte is never taken for whole, and every
 * malformed one is named.
 * SPDX-License-Identifier: ISC
 */
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "rec.h"
#include "stream.h"
#include "tap.h"

#define LINE_MAX_BYTES (9 * REC_MAX) /* far beyond what a line may have */

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

/* What stream_out writes of a record, in that mode. */
static const char *
shown(const char *json, enum stream_mode mode, int *rv)
{
	static char		got[1024];
	struct err		e = { 0, "" };
	struct stream_out	*o;
	struct rec		*r = rec_from_json(json, strlen(json), &e);
	ssize_t			n;
	int			p[2];

	if (r == NULL || pipe(p) == -1)
		exit(99);
	o = stream_out_new(p[1], mode);
	*rv = stream_write(o, r, &e);
	stream_out_free(o);
	(void)close(p[1]);
	n = io_read(p[0], got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = '\0';
	(void)close(p[0]);
	rec_free(r);
	return got;
}

/* Lines for people: what they must hear, and nothing for programs. */
static void
people(void)
{
	static const char	*const v[][2] = {
		{ hello, "" },
		{ "{\"t\":\"prepared\",\"url\":\"/x\"}", "" },
		{ "{\"t\":\"end\",\"totals\":{}}", "" },
		{ "{\"t\":\"end\",\"totals\":{\"foreign\":1}}", "" },
		{ "{\"t\":\"end\",\"totals\":{\"planned\":2,\"merged\":2}}",
		    "end  planned 2  merged 2\n" },
		{ "{\"t\":\"delta\",\"url\":\"s3://b/k\",\"path\":\"in/0\","
		    "\"sha256\":\"00\",\"verdict\":\"ok\",\"records\":27}",
		    "delta  s3://b/k  in/0  ok  records 27\n" },
		{ "{\"t\":\"store\",\"format\":\"sqlite\",\"content_digest\":"
		    "\"0123456789abcdef0123\",\"records\":1}",
		    "store  sqlite  records 1  content 0123456789abcdef\n" },
		{ "{\"t\":\"published\",\"target\":\"/t\",\"version\":\"v2\","
		    "\"records\":3,\"generation\":7}",
		    "published  /t  as v2  records 3  generation 7\n" },
		{ "{\"t\":\"published\",\"target\":\"/t\",\"version\":\"v2\","
		    "\"unchanged\":true}", "nothing to do: /t holds v2\n" },
		{ "{\"t\":\"published\"}", "published    as \n" },
		{ "{\"t\":\"skip\",\"url\":\"a\\u001b[2Jb\\nc\\u007f\","
		    "\"why\":\"\"}", "skip  a?[2Jb?c?\n" }
	};
	size_t	i, wrong = 0;
	int	rv;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (strcmp(shown(v[i][0], STREAM_TEXT, &rv), v[i][1]) != 0 ||
		    rv != 0) {
			wrong++;
			printf("# %s\n# got %s", v[i][0],
			    shown(v[i][0], STREAM_TEXT, &rv));
		}
	tap_ok(wrong == 0, "%zu records as lines for people", i);
	tap_is(shown("{\"t\":\"x\",\"s\":\"\\u001b\"}", STREAM_JSON, &rv),
	    "{\"t\":\"x\",\"s\":\"\\u001b\"}\n", "JSON lines keep it escaped");
}

/* What cannot be written, and to whom. */
static void
writers(void)
{
	struct err		 e = { 0, "" };
	struct rec		*r = rec_new("delta");
	struct stream_out	*o;
	char			*s = mem_zero(1, REC_STR_MAX);
	char			 key[8];
	int			 p[2], full = open("/dev/full", O_WRONLY), i;

	if (pipe(p) == -1 || full == -1)
		exit(99);
	o = stream_out_new(p[1], STREAM_MSGPACK);
	tap_ok(!stream_reader_gone(o), "the reader is there");
	(void)close(p[0]);
	tap_ok(stream_reader_gone(o), "the reader has left");
	tap_ok(stream_write(o, r, &e) == -1 && e.code == MSG_PROTOCOL &&
	    e.text[0] == '\0', "a record for nobody: 76, without a word");
	stream_out_free(o);
	(void)close(p[1]);
	o = stream_out_new(full, STREAM_JSON);
	e.code = 0;
	tap_ok(stream_write(o, r, &e) == -1 && e.code == MSG_IOERR &&
	    strncmp(e.text, "stdout: ", 8) == 0, "a full disk: %s", e.text);
	stream_out_free(o);
	memset(s, 'x', REC_STR_MAX - 1);
	for (i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof(key), "%d", i);
		rec_set_str(r, key, s);
	}
	o = stream_out_new(full, STREAM_MSGPACK);
	e.code = 0;
	tap_ok(stream_write(o, r, &e) == -1 && e.code == MSG_SOFTWARE,
	    "a record too large is not written: %s", e.text);
	stream_out_free(o);
	(void)close(full);
	rec_free(r);
	free(s);
}

/* The first event of a reader of fd. */
static enum stream_event
first(int fd, int json, struct err *e)
{
	struct stream_in	*in = stream_in_new(fd, json);
	const struct rec	*r;
	int			 rv;

	memset(e, 0, sizeof(*e));
	rv = stream_read_hello(in, &r, e);
	stream_in_free(in);
	return (enum stream_event)rv;
}

/* The first event of n bytes that lie in a file. */
static enum stream_event
of_file(const void *p, size_t n, int json, struct err *e)
{
	FILE			*f = tmpfile();
	enum stream_event	 ev;

	if (f == NULL || io_write(fileno(f), p, n) == -1 ||
	    lseek(fileno(f), 0, SEEK_SET) == -1)
		exit(99);
	ev = first(fileno(f), json, e);
	(void)fclose(f);
	return ev;
}

static void
readers(void)
{
	struct err	e;
	char		*s = mem_alloc(LINE_MAX_BYTES);
	int		 fd;

	memset(s, ' ', LINE_MAX_BYTES);
	tap_ok(of_file(s, LINE_MAX_BYTES, 1, &e) == STREAM_BAD &&
	    strstr(e.text, "line 1: longer than") != NULL,
	    "a line without end: %s", e.text);
	free(s);
	tap_ok(of_file("{\"t\":1,}\n", 9, 1, &e) == STREAM_BAD &&
	    e.code == MSG_PROTOCOL && strstr(e.text, "line 1: ") != NULL,
	    "a line that is no JSON: %s", e.text);
	tap_ok(of_file("\x81\xa1t", 3, 0, &e) == STREAM_CUT,
	    "half a record: %s", e.text);
	tap_ok(of_file("", 0, 0, &e) == STREAM_CUT && of_file("", 0, 1, &e) ==
	    STREAM_CUT, "nothing is no stream: %s", e.text);
	fd = open("/", O_RDONLY);
	tap_ok(first(fd, 0, &e) == STREAM_IOERR && e.code != 0 &&
	    first(fd, 1, &e) == STREAM_IOERR && e.code != 0,
	    "what cannot be read is an error and no end: %s", e.text);
	(void)close(fd);
}

/* DTRACE shows each record, on stderr. */
static void
traced(void)
{
	char	got[256];
	int	p[2], keep = dup(STDERR_FILENO), rv;
	ssize_t	n;

	if (keep == -1 || pipe(p) == -1)
		exit(99);
	(void)setenv("DTRACE", "1", 1);
	(void)dup2(p[1], STDERR_FILENO);
	(void)shown("{\"t\":\"delta\",\"n\":1}", STREAM_TEXT, &rv);
	(void)dup2(keep, STDERR_FILENO);
	(void)close(keep);
	(void)close(p[1]);
	(void)unsetenv("DTRACE");
	n = io_read(p[0], got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = '\0';
	(void)close(p[0]);
	tap_is(got, "stream > {\"t\":\"delta\",\"n\":1}\n",
	    "DTRACE shows what is written");
}

/* A stream that waits where none is read. */
static void
unread(void)
{
	struct err	e = { 0, "" };
	int		p[2], keep = dup(STDIN_FILENO), fd;

	if (keep == -1 || pipe(p) == -1)
		exit(99);
	(void)dup2(p[0], STDIN_FILENO);
	(void)close(p[0]);
	tap_ok(stream_unread(0, &e) == 0, "an empty pipe may stay");
	(void)io_write(p[1], "7 words", 7);
	tap_ok(stream_unread(0, &e) == 0, "and one that holds no stream");
	tap_ok(stream_unread(1, &e) == 0 && io_write(p[1], "x", 1) == -1,
	    "at the end it is let go of: who writes into it hears so");
	(void)close(p[1]);
	if (pipe(p) == -1)
		exit(99);
	(void)dup2(p[0], STDIN_FILENO);
	(void)close(p[0]);
	(void)io_write(p[1], "{\"t\":\"hello\",", 13);
	tap_ok(stream_unread(0, &e) == -1 && e.code == MSG_USAGE,
	    "a stream of JSON: %.60s", e.text);
	(void)close(p[1]);
	fd = open("/dev/null", O_RDONLY);
	(void)dup2(fd, STDIN_FILENO);
	(void)close(fd);
	e.code = 0;
	tap_ok(stream_unread(1, &e) == 0, "what is no pipe is left alone");
	(void)dup2(keep, STDIN_FILENO);
	(void)close(keep);
}

/* In a child: a signal after its flag was looked at, and before the read. */
static int
signalled(void)
{
	struct stream_in	*in;
	const struct rec	*r;
	struct err		 e = { 0, "" };
	int			 p[2], st = -1;
	pid_t			 pid;

	if (pipe(p) == -1)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)alarm(60);
		io_catch_signals();
		(void)raise(SIGTERM);
		in = stream_in_new(p[0], 0);
		_exit(stream_read_hello(in, &r, &e) != STREAM_IOERR);
	}
	(void)waitpid(pid, &st, 0);
	(void)close(p[0]);
	(void)close(p[1]);
	return st;
}

/* What is at hand: whole records, and not half of one. */
static void
at_hand(int json)
{
	struct stream_in	*in = NULL;
	const struct rec	*r;
	struct err		 e = { 0, "" };
	struct buf		 b;
	const char		*rec = "{\"t\":\"delta\"}";
	int			 p[2], ok, i;

	buf_init(&b, 1 << 20);
	for (i = 0; i < 3; i++) {
		if (json) {
			buf_str(&b, i == 0 ? hello : rec);
			buf_addc(&b, '\n');
		} else
			put(&b, i == 0 ? hello : rec);
	}
	if (pipe(p) == -1)
		exit(99);
	(void)io_write(p[1], b.p, b.len - 1);
	in = stream_in_new(p[0], json);
	ok = !stream_ready(in) && stream_read_hello(in, &r, &e) == 0 &&
	    stream_ready(in) && stream_read(in, &r, &e) == STREAM_REC &&
	    !stream_ready(in);
	(void)io_write(p[1], b.p + b.len - 1, 1);
	(void)close(p[1]);
	ok = ok && stream_read(in, &r, &e) == STREAM_REC &&
	    stream_read(in, &r, &e) == STREAM_CUT && !stream_ready(in);
	tap_ok(ok, "%s: whole records are at hand", json ? "JSON" :
	    "msgpack");
	stream_in_free(in);
	(void)close(p[0]);
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

	msg_init("stream");
	(void)signal(SIGPIPE, SIG_IGN);
	(void)unsetenv("DTRACE");
	tap_plan(41);
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
	people();
	writers();
	readers();
	traced();
	unread();
	at_hand(0);
	at_hand(1);
	tap_ok(signalled() == 0, "a signal just before a read ends it");
	return tap_done();
}
