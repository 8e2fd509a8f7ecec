/*
 * xfer: many downloads at once, tried again, gone on with by another
 * process, and refused, from a server that misbehaves on purpose.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE	/* unshare */
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>
#include <utime.h>

#include "cred.h"
#include "hash.h"
#include "http.h"
#include "io.h"
#include "net.h"
#include "retry.h"
#include "s3.h"
#include "tap.h"
#include "tmp.h"
#include "xfer.h"

#define MB	((uint64_t)1 << 20)
#define CHUNK	((size_t)64 << 10)
/* kB that 4,500 more objects may take; a sanitizer keeps what was freed */
#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_KB	40000
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_KB	40000
#endif
#endif
#ifndef MEMORY_KB
#define MEMORY_KB	6000
#endif
#define MANY	5000
#define PAGE	"no"

static struct http	web;
static char		dir[TMP_DIR];
static char		base[64], cache[128];
static int		dirfd_;
static struct net	*net;
static struct s3	*s3;
static struct retry	*re;
static struct xfer	*x;

static void
doze(long ms)
{
	struct timespec	ts = { 0, ms * 1000000 };

	(void)nanosleep(&ts, NULL);
}

/*
 * Objects: their bytes follow from where they stand and from a version.
 */

static void
fill(unsigned char *b, uint64_t at, size_t n, unsigned int version)
{
	size_t	i;

	for (i = 0; i < n; i++)
		b[i] = (unsigned char)((at + i) * 131 + ((at + i) >> 9) * 7 +
		    version);
}

static void
digest(uint64_t size, unsigned int version, char hex[HASH_HEX], int md5)
{
	static unsigned char	 b[CHUNK];
	struct hash		*h = md5 ? hash_md5_new() : hash_new();
	unsigned char		 d[HASH_LEN];
	uint64_t		 at;
	size_t			 n;

	for (at = 0; at < size; at += n) {
		n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
		fill(b, at, n, version);
		hash_add(h, b, n);
	}
	if (md5)
		hash_md5_final(h, d);
	else
		hash_final(h, d);
	hash_hex(d, hex);
	if (md5)
		hex[2 * HASH_MD5] = '\0';
	hash_free(h);
}

/*
 * The server: /letter.../anything-SIZE.  The letter says what is wrong,
 * nth counts its requests.
 */

struct how {
	uint64_t	 size, from;
	uint64_t	 stop;		/* bytes after which it ends; or size */
	uint64_t	 claim;		/* Content-Length says so much more */
	uint64_t	 range_off;	/* Content-Range is wrong by that */
	unsigned int	 version;
	int		 no_range, no_length, stall;
	int64_t		 flip;		/* this byte is wrong; or -1 */
	char		 etag[80], more[256];
};

static int
send_body(const struct http_req *q, const struct how *w)
{
	unsigned char	b[CHUNK];
	uint64_t	at;
	size_t		n;

	for (at = w->from; at < w->stop; at += n) {
		n = w->stop - at < CHUNK ? (size_t)(w->stop - at) : CHUNK;
		fill(b, at, n, w->version);
		if (w->flip >= (int64_t)at && w->flip < (int64_t)(at + n))
			b[(uint64_t)w->flip - at] ^= 1;
		if (http_send(q->fd, b, n) == -1)
			return -1;
	}
	return 0;
}

static enum http_next
serve(const struct http_req *q, struct how *w)
{
	const char	*range = http_value(q->head, "Range");
	const char	*match = http_value(q->head, "If-Match");
	const char	*if_range = http_value(q->head, "If-Range");
	char		 b[1024], length[64] = "", part[128] = "";

	if (*match != '\0' && strcmp(match, w->etag) != 0) {
		(void)http_answer(q, "412 Precondition Failed", "",
		    "<Error><Code>PreconditionFailed</Code></Error>");
		return HTTP_KEEP;
	}
	if (strncmp(range, "bytes=", 6) == 0 && !w->no_range &&
	    (*if_range == '\0' || strcmp(if_range, w->etag) == 0))
		w->from = strtoull(range + 6, NULL, 10);
	if (w->from > 0 && w->from >= w->size) {
		(void)http_answer(q, "416 Range Not Satisfiable", "", "");
		return HTTP_KEEP;
	}
	if (w->stop > w->size)
		w->stop = w->size;
	if (w->from > 0)
		(void)snprintf(part, sizeof(part), "Content-Range: bytes "
		    "%llu-%llu/%llu\r\n",
		    (unsigned long long)(w->from + w->range_off),
		    (unsigned long long)(w->size - 1),
		    (unsigned long long)w->size);
	if (!w->no_length)
		(void)snprintf(length, sizeof(length), "Content-Length: %llu"
		    "\r\n", (unsigned long long)(w->size - w->from +
		    w->claim));
	(void)snprintf(b, sizeof(b), "HTTP/1.1 %s\r\nETag: %s\r\n"
	    "Last-Modified: Fri, 24 May 2013 00:00:01 GMT\r\n%s%s%s\r\n",
	    w->from > 0 ? "206 Partial Content" : "200 OK", w->etag, length,
	    part, w->more);
	if (http_send(q->fd, b, strlen(b)) == -1 || send_body(q, w) == -1)
		return HTTP_CLOSE;
	if (w->stall)
		(void)sleep(30);
	if (w->stop == w->size && !w->no_length)
		return HTTP_KEEP;
	/* let it be read before the reset */
	doze(100);
	return w->no_length || w->claim != 0 ? HTTP_CLOSE : HTTP_RESET;
}

static enum http_next
answer(struct http_req *q)
{
	struct how	 w;
	const char	*dash = strrchr(q->target, '-');
	char		 c = q->target[1];
	int		 nth = q->h->seen->hits[c - 'a'];
	char		 hex[HASH_HEX];

	memset(&w, 0, sizeof(w));
	w.size = dash != NULL ? strtoull(dash + 1, NULL, 10) : 0;
	w.stop = w.size;
	w.flip = -1;
	(void)snprintf(w.etag, sizeof(w.etag), "\"one\"");
	switch (c) {
	case 'b': /* busy at first */
		if (nth > 2)
			break;
		(void)http_answer(q, "503 Slow Down", "Retry-After: 1\r\n",
		    "");
		return HTTP_KEEP;
	case 'c': /* reset in the middle, twice */
		if (nth <= 2)
			w.stop = w.size / 3 * (uint64_t)nth;
		break;
	case 'd': /* Content-Length lies low, at first */
		if (nth == 1) {
			w.claim = (uint64_t)-10;
			w.stop = w.size - 10;
		}
		break;
	case 'e': /* another object after the first answer */
	case 'f': /* after every answer */
		w.version = nth > 1 ? 1 : 0;
		if (c == 'f')
			w.version = (unsigned int)nth;
		(void)snprintf(w.etag, sizeof(w.etag), "\"v%u\"", w.version);
		if (c == 'f' || nth == 1)
			w.stop = w.size / 2;
		break;
	case 'g': /* a wrong byte, always */
	case 'h': /* at first */
		digest(w.size, 0, hex, 1);
		(void)snprintf(w.etag, sizeof(w.etag), "\"%s\"", hex);
		if (c == 'g' || nth == 1)
			w.flip = (int64_t)w.size / 2;
		break;
	case 'i':
		(void)http_answer(q, "404 Not Found", "", PAGE);
		return HTTP_KEEP;
	case 'j':
		(void)http_answer(q, "403 Forbidden", "", PAGE);
		return HTTP_KEEP;
	case 'k': /* stands still at two thirds, the first time */
		if (nth == 1) {
			w.stop = w.size / 3 * 2;
			w.stall = 1;
		}
		break;
	case 'l':
		(void)http_answer(q, "500 Internal", "", PAGE);
		return HTTP_KEEP;
	case 'm': /* says its digest, which is another's */
		digest(w.size, 1, hex, 0);
		(void)snprintf(w.more, sizeof(w.more),
		    "x-amz-meta-intact-sha256: %s\r\n", hex);
		break;
	case 'n': /* ranges that are not what they say */
		w.range_off = 1;
		if (nth == 1)
			w.stop = w.size / 2;
		break;
	case 'o': /* no ranges */
		w.no_range = 1;
		if (nth == 1)
			w.stop = w.size / 2;
		break;
	case 'p': /* weak */
		(void)snprintf(w.etag, sizeof(w.etag), "W/\"one\"");
		if (nth == 1)
			w.stop = w.size / 2;
		break;
	case 'q':
		w.no_length = 1;
		break;
	case 'r':
		(void)http_answer(q, "302 Found", "Location: /r\r\n", "");
		return HTTP_KEEP;
	case 's': /* the digest of a checksum: that of one byte of 0 */
		(void)snprintf(w.more, sizeof(w.more), "x-amz-checksum-"
		    "sha256: bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
		    "\r\n");
		break;
	case 'u': /* encrypted with keys of another */
		(void)snprintf(w.etag, sizeof(w.etag),
		    "\"0123456789abcdef0123456789abcdef\"");
		(void)snprintf(w.more, sizeof(w.more),
		    "x-amz-server-side-encryption: aws:kms\r\n");
		break;
	case 'v': /* too short for good */
		w.no_length = 1;
		w.stop = w.size - 10;
		break;
	case 'w': /* says how many are under way */
		doze(20);
		break;
	default:
		break;
	}
	return serve(q, &w);
}

/*
 * What came.
 */

struct came {
	int		 calls, code, order;
	char		 text[MSG_ERR_MAX], etag[80], sha[HASH_HEX];
	struct xfer_got	 g;
};
static int	n_came;

static void
on_done(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct came	*c = arg;

	c->calls++;
	c->order = ++n_came;
	c->code = e != NULL ? e->code : 0;
	(void)snprintf(c->text, sizeof(c->text), "%s",
	    e != NULL ? e->text : "");
	(void)snprintf(c->etag, sizeof(c->etag), "%s",
	    g->etag != NULL ? g->etag : "");
	hash_hex(g->sha256, c->sha);
	c->g = *g;
	c->g.etag = NULL;
}

static void
open_all(unsigned int parallel, const char *where)
{
	struct net_opts	 no = { 64, NULL, "test" };
	struct xfer_opts xo = { parallel, where, 0 };
	struct cred_conf conf;
	struct err	 e = { 0, "" };

	memset(&conf, 0, sizeof(conf));
	conf.region = (char *)(uintptr_t)CRED_REGION;
	conf.endpoint = base;
	conf.style = (char *)(uintptr_t)"path";
	net = net_new(&no, &e);
	re = retry_new(NULL, 0);
	s3 = s3_new(net, &conf, 0, re, &e);
	x = xfer_new(net, s3, re, &xo);
}

static void
close_all(void)
{
	xfer_free(x);
	s3_free(s3);
	retry_free(re);
	net_free(net);
	x = NULL;
}

/* An object of S3: /bucket/key. */
static void
want(struct xfer_get *g, struct came *c, const char *bucket, const char *key,
    const char *file)
{
	memset(g, 0, sizeof(*g));
	memset(c, 0, sizeof(*c));
	g->name = bucket;
	g->bucket = bucket;
	g->key = key;
	g->dirfd = dirfd_;
	g->file = file;
	g->done = on_done;
	g->arg = c;
}

static int
run(void)
{
	struct err	e = { 0, "" };
	int		rv;

	while ((rv = xfer_wait(x, 1000, &e)) == 1)
		continue;
	if (rv == -1)
		printf("# %s\n", e.text);
	return rv;
}

static int
one(const struct xfer_get *g)
{
	struct err	e = { 0, "" };

	if (xfer_get(x, g, &e) == -1) {
		printf("# %s\n", e.text);
		return -1;
	}
	return run();
}

/* Is that the file's text, and of version? */
static int
is_file(const char *file, uint64_t size, unsigned int version)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX], good[HASH_HEX];
	uint64_t	n;
	struct err	e = { 0, "" };

	if (hash_file(dirfd_, file, d, &n, &e) == -1) {
		printf("# %s\n", e.text);
		return 0;
	}
	hash_hex(d, hex);
	digest(size, version, good, 0);
	return n == size && strcmp(hex, good) == 0;
}

static int
is_there(const char *file)
{
	struct stat	st;

	return fstatat(dirfd_, file, &st, 0) == 0;
}

/* Names in a directory: how many. */
static int
entries(const char *path)
{
	struct dirent	*de;
	DIR		*d = opendir(path);
	int		 n = 0;

	while (d != NULL && (de = readdir(d)) != NULL)
		n += de->d_name[0] != '.' || strncmp(de->d_name, ".part",
		    5) == 0;
	if (d != NULL)
		(void)closedir(d);
	return n;
}

static int
hits(char c)
{
	return web.seen->hits[c - 'a'];
}

static void
ended(const struct came *c, int code, const char *what)
{
	if (!tap_ok(c->calls == 1 && c->code == code, "%s", what))
		printf("# calls %d, code %d: %s\n", c->calls, c->code,
		    c->text);
}

static void
simple(void)
{
	struct xfer_get	 g;
	struct came	 c;
	struct err	 e = { 0, "" };
	char		 hex[HASH_HEX], url[128];
	const char	*headers[] = { "X-Test: yes", NULL };

	open_all(4, NULL);
	want(&g, &c, "aaa", "x-100000", "sub/dir/a");
	g.size = 100000;
	g.has_size = 1;
	tap_ok(xfer_wait(x, 10, &e) == 0, "nothing to do");
	tap_ok(one(&g) == 0, "an object");
	ended(&c, 0, "it came");
	digest(100000, 0, hex, 0);
	tap_is(c.sha, hex, "its digest");
	tap_is(c.etag, "\"one\"", "its ETag");
	tap_ok(c.g.size == 100000 && c.g.moved == 100000 && c.g.tries == 1 &&
	    c.g.resumed == 0 && c.g.modified ==
	    INT64_C(1369353601) * 1000000000, "size, bytes, tries, time");
	tap_ok(is_file("sub/dir/a", 100000, 0), "its file, and directories");
	want(&g, &c, "aaa", "x-5", "sub/dir/a");
	(void)one(&g);
	ended(&c, MSG_IOERR, "never over another: 74");
	tap_ok(is_file("sub/dir/a", 100000, 0) && hits('a') == 1,
	    "which was not even asked for");
	want(&g, &c, "aaa", "x-0", "empty");
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("empty", 0, 0), "an empty one");
	want(&g, &c, "aaa", "x-70000", NULL);
	(void)one(&g);
	digest(70000, 0, hex, 0);
	tap_ok(c.code == 0 && strcmp(c.sha, hex) == 0, "digest only");
	want(&g, &c, "aaa", "x-7", "../up");
	tap_ok(xfer_get(x, &g, &e) == -1 && e.code == MSG_DATAERR,
	    "no way out of the directory");
	want(&g, &c, "aaa", "x-7", "sub/dir/a/b");
	(void)one(&g);
	ended(&c, MSG_NOINPUT, "below a file there is nothing");
	(void)symlinkat("/tmp", dirfd_, "link");
	want(&g, &c, "aaa", "x-7", "link/b");
	(void)one(&g);
	tap_ok(c.calls == 1 && c.code != 0, "nor through a link");
	want(&g, &c, "aaa", "x-300", "http");
	g.bucket = g.key = NULL;
	(void)snprintf(url, sizeof(url), "%s/a/x-300", base);
	g.url = url;
	g.headers = headers;
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("http", 300, 0), "of http");
	tap_is(http_value(web.seen->last[0], "X-Test"), "yes",
	    "with its headers");
	memset(&e, 0, sizeof(e));
	g.url = "ftp://x/y";
	tap_ok(xfer_get(x, &g, &e) == -1 && e.code == MSG_USAGE, "ftp: 64");
	close_all();
}

static void
promises(void)
{
	struct xfer_get	g;
	struct came	c;
	char		hex[HASH_HEX];

	open_all(4, NULL);
	want(&g, &c, "aaa", "x-1000", "p1");
	digest(1000, 0, hex, 0);
	g.sha256 = hex;
	(void)one(&g);
	ended(&c, 0, "the right digest");
	want(&g, &c, "aaa", "x-1001", "p2");
	g.sha256 = hex;
	(void)one(&g);
	ended(&c, MSG_DATAERR, "a wrong digest: 65");
	tap_ok(c.g.tries == 2 && !is_there("p2") &&
	    strstr(c.text, hex) != NULL, "asked for twice, and named");
	want(&g, &c, "aaa", "x-1000", "p3");
	g.size = 999;
	g.has_size = 1;
	(void)one(&g);
	ended(&c, MSG_DATAERR, "a wrong size: 65");
	tap_ok(strstr(c.text, "want 999, got 1000") != NULL &&
	    !is_there("p3"), "want and got");
	want(&g, &c, "aaa", "x-1000", "p4");
	g.max = 999;
	(void)one(&g);
	ended(&c, MSG_DATAERR, "more than max: 65");
	tap_ok(c.g.tries == 1, "asked for once");
	want(&g, &c, "qqq", "x-100000", "p5");
	g.max = 50000;
	(void)one(&g);
	ended(&c, MSG_DATAERR, "without a length as well");
	want(&g, &c, "aaa", "x-1000", "p6");
	g.etag = "\"two\"";
	(void)one(&g);
	ended(&c, MSG_TEMPFAIL, "another ETag than the one wanted: 75");
	tap_ok(c.g.tries == 1, "asked for once");
	want(&g, &c, "ggg", "x-100000", "p7");
	(void)one(&g);
	ended(&c, MSG_DATAERR, "not the MD5 of its ETag, twice: 65");
	tap_ok(hits('g') == 2 && strstr(c.text, "MD5: want") != NULL,
	    "two requests");
	want(&g, &c, "hhh", "x-100000", "p8");
	(void)one(&g);
	ended(&c, 0, "a flipped byte: once more");
	tap_ok(hits('h') == 2 && is_file("p8", 100000, 0), "and good");
	want(&g, &c, "mmm", "x-1000", "p9");
	(void)one(&g);
	ended(&c, MSG_DATAERR, "not the digest of its metadata: 65");
	want(&g, &c, "sss", "x-1", "p10");
	(void)one(&g);
	ended(&c, 0, "the digest of its checksum");
	want(&g, &c, "sss", "x-2", "p11");
	(void)one(&g);
	ended(&c, MSG_DATAERR, "and not: 65");
	want(&g, &c, "uuu", "x-1000", "p12");
	(void)one(&g);
	ended(&c, 0, "an ETag that is no MD5, as it was encrypted");
	tap_ok(entries(dir) == 8, "nothing is left aside");
	close_all();
}

static void
faults(void)
{
	struct xfer_get	g;
	struct came	c, d;
	struct err	e = { 0, "" };
	char		url[128];
	double		t;

	open_all(4, NULL);
	t = io_now();
	want(&g, &c, "bbb", "x-1000", "f1");
	(void)one(&g);
	ended(&c, 0, "503, twice");
	tap_ok(io_now() - t >= 2 && c.g.tries == 3, "Retry-After is heeded");
	/* one that is told to wait speaks for the others */
	close_all();
	open_all(1, NULL);
	web.seen->hits['b' - 'a'] = 1;
	t = io_now();
	want(&g, &c, "bbb", "x-1000", NULL);
	(void)xfer_get(x, &g, &e);
	want(&g, &d, "bbb", "x-1001", NULL);
	(void)one(&g);
	tap_ok(c.code == 0 && d.code == 0 && d.g.tries == 1 && hits('b') == 4
	    && io_now() - t >= 1, "nor is the server asked for others");
	want(&g, &c, "ccc", "x-900000", "f2");
	(void)one(&g);
	ended(&c, 0, "reset in the middle, twice");
	tap_ok(is_file("f2", 900000, 0) && c.g.moved < 1000000,
	    "what was there was not asked for again");
	tap_is(http_value(web.seen->last[2], "Range"), "bytes=600000-",
	    "with a Range");
	tap_is(http_value(web.seen->last[2], "If-Match"), "\"one\"",
	    "and If-Match");
	want(&g, &c, "ddd", "x-1000", "f3");
	g.size = 1000;
	g.has_size = 1;
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("f3", 1000, 0),
	    "a Content-Length that lies low");
	want(&g, &c, "vvv", "x-1000", "f4");
	g.size = 1000;
	g.has_size = 1;
	g.etag = "\"one\"";
	(void)one(&g);
	ended(&c, MSG_TEMPFAIL, "short for ever: 75");
	tap_ok(!is_there("f4"), "and no file");
	close_all();
	open_all(4, NULL);
	want(&g, &c, "eee", "x-100000", "f5");
	(void)one(&g);
	ended(&c, 0, "another object meanwhile: anew");
	tap_ok(is_file("f5", 100000, 1) && hits('e') == 3,
	    "all of it of one version");
	tap_is(c.etag, "\"v1\"", "whose ETag is told");
	want(&g, &c, "fff", "x-100000", "f6");
	(void)one(&g);
	ended(&c, MSG_TEMPFAIL, "another each time: 75");
	tap_ok(!is_there("f6"), "and no file");
	want(&g, &c, "nnn", "x-100000", "f7");
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("f7", 100000, 0) && hits('n') == 3,
	    "a Content-Range that lies: without ranges");
	close_all();
	open_all(4, NULL);
	/* the same over http */
	want(&g, &c, "o", "", "f8");
	g.bucket = g.key = NULL;
	g.url = url;
	(void)snprintf(url, sizeof(url), "%s/o-100000", base);
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("f8", 100000, 0) && hits('o') == 2,
	    "http, ranges are not done there");
	tap_is(http_value(web.seen->last['o' - 'a'], "If-Range"), "\"one\"",
	    "which was asked with If-Range");
	(void)snprintf(url, sizeof(url), "%s/p-100000", base);
	want(&g, &c, "p", "", "f9");
	g.bucket = g.key = NULL;
	g.url = url;
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("f9", 100000, 0) && hits('p') == 2 &&
	    *http_value(web.seen->last['p' - 'a'], "Range") == '\0',
	    "a weak ETag joins nothing");
	(void)snprintf(url, sizeof(url), "%s/e-100000", base);
	web.seen->hits['e' - 'a'] = 0;
	want(&g, &c, "e", "", "f10");
	g.bucket = g.key = NULL;
	g.url = url;
	(void)one(&g);
	tap_ok(c.code == 0 && is_file("f10", 100000, 1) && hits('e') == 2,
	    "http, another object meanwhile");
	(void)snprintf(url, sizeof(url), "%s/r", base);
	want(&g, &c, "r", "", "f11");
	g.bucket = g.key = NULL;
	g.url = url;
	(void)one(&g);
	ended(&c, MSG_DATAERR, "a circle of redirects: 65");
	tap_ok(hits('r') == NET_REDIRECTS + 1, "gone round once");
	close_all();
}

static void
permanent(void)
{
	struct xfer_get	g;
	struct came	c[8];
	int		i, n;
	double		t;

	open_all(4, NULL);
	want(&g, &c[0], "iii", "x", "e1");
	(void)one(&g);
	ended(&c[0], MSG_NOINPUT, "404: 66");
	want(&g, &c[0], "jjj", "x", "e2");
	(void)one(&g);
	ended(&c[0], MSG_NOPERM, "403: 77");
	tap_ok(hits('i') == 1 && hits('j') == 1, "one request each");
	want(&g, &c[0], "lll", "x", "e3");
	(void)one(&g);
	ended(&c[0], MSG_TEMPFAIL, "500 again and again: 75");
	n = hits('l');
	tap_ok(n == 5, "until the breaker opens");
	t = io_now();
	for (i = 0; i < 8; i++) {
		struct err	e = { 0, "" };

		want(&g, &c[i], "lll", "x", "e4");
		(void)xfer_get(x, &g, &e);
	}
	(void)run();
	for (i = 0; i < 8 && c[i].code == MSG_TEMPFAIL && c[i].calls == 1 &&
	    c[i].g.tries == 0; i++)
		continue;
	tap_ok(i == 8 && hits('l') == n && io_now() - t < 20,
	    "an open breaker: 75, no request, no sleep");
	close_all();
}

/* Until the mark in the cache says so many bytes. */
static int
wait_for_mark(uint64_t bytes)
{
	struct dirent	*de;
	struct err	 e = { 0, "" };
	struct buf	 b;
	char		 path[256];
	DIR		*d;
	uint64_t	 n = 0;
	int		 i;

	(void)snprintf(path, sizeof(path), "%s/part", cache);
	for (i = 0; i < 6000 && n < bytes; i++) {
		doze(10);
		d = opendir(path);
		while (d != NULL && (de = readdir(d)) != NULL)
			if (strstr(de->d_name, ".mark") != NULL) {
				buf_init(&b, 256);
				if (io_slurp(dirfd(d), de->d_name, &b, &e) ==
				    0)
					n = strtoull(buf_cstr(&b), NULL, 10);
				buf_free(&b);
			}
		if (d != NULL)
			(void)closedir(d);
	}
	return n >= bytes;
}

/* The whole path of the one piece in the cache. */
static char *
piece(int mark)
{
	static char	 path[512];
	struct dirent	*de;
	char		 where[256];
	DIR		*d;

	(void)snprintf(where, sizeof(where), "%s/part", cache);
	path[0] = '\0';
	d = opendir(where);
	while (d != NULL && (de = readdir(d)) != NULL)
		if (de->d_name[0] != '.' &&
		    (strstr(de->d_name, ".mark") != NULL) == mark)
			(void)snprintf(path, sizeof(path), "%s/%s", where,
			    de->d_name);
	if (d != NULL)
		(void)closedir(d);
	return path;
}

/* A process that is killed in the middle of /kkk/x-SIZE or of a URL. */
static void
killed(const char *url, uint64_t size, const char *etag)
{
	struct xfer_get	g;
	struct came	c;
	pid_t		pid;

	web.seen->hits['k' - 'a'] = 0;
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(void)alarm(60);
		open_all(4, cache);
		want(&g, &c, "kkk", "x-24000000", "dead");
		g.etag = etag;
		g.has_size = etag != NULL;
		g.size = size;
		if (url != NULL) {
			g.name = g.url = url;
			g.bucket = g.key = NULL;
		}
		(void)one(&g);
		_exit(0);
	}
	tap_ok(wait_for_mark(size / 3 * 2 - XFER_MARK), "so far");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void
resume(const char *url, uint64_t size, const char *etag, const char *file,
    struct came *c)
{
	struct xfer_get	g;

	open_all(4, cache);
	want(&g, c, "kkk", "x-24000000", file);
	g.etag = etag;
	g.has_size = etag != NULL;
	g.size = size;
	if (url != NULL) {
		g.name = g.url = url;
		g.bucket = g.key = NULL;
	}
	(void)one(&g);
	close_all();
}

static void
cached(void)
{
	struct xfer_get	 g;
	struct came	 c;
	struct stat	 st;
	struct utimbuf	 old = { 1000, 1000 };
	struct err	 e = { 0, "" };
	uint64_t	 size = 24000000, most = size / 3 + XFER_MARK;
	char		 url[128], part[256], b[1];
	int		 fd, i;

	(void)snprintf(part, sizeof(part), "%s/part", cache);
	killed(NULL, size, "\"one\"");
	resume(NULL, size, "\"one\"", "k1", &c);
	ended(&c, 0, "kill -9, and another process");
	tap_ok(is_file("k1", size, 0) && c.g.moved <= most &&
	    c.g.resumed + c.g.moved == size, "moves only the rest");
	tap_ok(hits('k') == 2 && entries(part) == 0,
	    "and leaves nothing in the cache");
	/* nothing was known of it before */
	killed(NULL, size, NULL);
	resume(NULL, size, NULL, "k2", &c);
	tap_ok(c.code == 0 && is_file("k2", size, 0) && c.g.resumed > 0,
	    "without knowing the ETag before");
	(void)snprintf(url, sizeof(url), "%s/k-%llu", base,
	    (unsigned long long)size);
	killed(url, size, NULL);
	resume(url, size, NULL, "k3", &c);
	tap_ok(c.code == 0 && is_file("k3", size, 0) && c.g.resumed > 0,
	    "over http");
	/* a byte of the piece is wrong */
	killed(NULL, size, "\"one\"");
	fd = open(piece(0), O_RDWR);
	(void)io_pread(fd, b, 1, 1000000);
	b[0] ^= 4;
	(void)lseek(fd, 1000000, SEEK_SET);
	(void)io_write(fd, b, 1);
	(void)close(fd);
	resume(NULL, size, "\"one\"", "k4", &c);
	tap_ok(c.code == 0 && is_file("k4", size, 0) && c.g.resumed == 0 &&
	    c.g.moved == size, "a torn piece is not believed");
	killed(NULL, size, "\"one\"");
	fd = open(piece(1), O_RDWR | O_TRUNC);
	(void)io_write(fd, "12345 nonsense\n", 15);
	(void)close(fd);
	resume(NULL, size, "\"one\"", "k5", &c);
	tap_ok(c.code == 0 && is_file("k5", size, 0) && c.g.resumed == 0,
	    "nor a torn mark");
	/* somebody else is at it */
	killed(NULL, size, "\"one\"");
	fd = open(piece(0), O_RDWR);
	(void)flock(fd, LOCK_EX);
	resume(NULL, size, "\"one\"", "k6", &c);
	tap_ok(c.code == 0 && is_file("k6", size, 0) && c.g.resumed == 0 &&
	    entries(part) == 2, "a piece that is locked is let alone");
	(void)close(fd);
	/* another version: another piece; the old one is swept some day */
	(void)utime(piece(0), &old);
	(void)utime(piece(1), &old);
	resume(NULL, size, "\"one\"", "k7", &c);
	tap_ok(c.code == 0 && c.g.resumed == 0 && entries(part) == 0,
	    "an old piece is swept");
	/* interrupted, not killed */
	web.seen->hits['k' - 'a'] = 0;
	open_all(4, cache);
	want(&g, &c, "kkk", "x-24000000", "k8");
	g.etag = "\"one\"";
	g.size = size;
	g.has_size = 1;
	(void)xfer_get(x, &g, &e);
	for (i = 0; i < 1000; i++) {
		struct xfer_stat	s;

		(void)xfer_wait(x, 10, &e);
		xfer_stat(x, &s);
		if (s.bytes == size / 3 * 2)
			break;
	}
	close_all();
	tap_ok(c.calls == 0 && entries(part) == 2, "ended early: no call");
	resume(NULL, size, "\"one\"", "k8", &c);
	tap_ok(c.code == 0 && is_file("k8", size, 0) &&
	    c.g.moved == size / 3, "the rest, to the byte");
	/* a cache that cannot be */
	fd = open(cache, O_RDONLY);
	(void)unlinkat(fd, "part", AT_REMOVEDIR);
	(void)close(openat(fd, "part", O_WRONLY | O_CREAT, 0666));
	resume(NULL, size, "\"one\"", "k9", &c);
	tap_ok(c.code == 0 && is_file("k9", size, 0), "no cache: without");
	(void)unlinkat(fd, "part", 0);
	(void)close(fd);
	tap_ok(stat(cache, &st) == 0, "which is left");
}

/* May this process mount a small file system where nobody else sees it? */
static int
small_cache(uid_t uid)
{
	char	b[64];
	int	fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1)
		return -1;
	(void)snprintf(b, sizeof(b), "0 %ld 1", (long)uid);
	fd = open("/proc/self/uid_map", O_WRONLY);
	if (fd == -1 || io_write(fd, b, strlen(b)) == -1 || close(fd) == -1)
		return -1;
	return mount("none", cache, "tmpfs", 0, "size=6m");
}

#define NO_MOUNT	99

/* The cache is full: what was there is taken along. */
static void
small(void)
{
	struct xfer_get	g;
	struct came	c;
	pid_t		pid;
	int		st = -1;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(void)alarm(60);
		if (small_cache(getuid()) == -1)
			_exit(NO_MOUNT);
		open_all(4, cache);
		want(&g, &c, "aaa", "x-9000000", "small");
		(void)one(&g);
		_exit(c.calls == 1 && c.g.tries == 1 && c.g.moved == 9000000 ?
		    c.code : 1);
	}
	(void)waitpid(pid, &st, 0);
	if (WIFEXITED(st) && WEXITSTATUS(st) == NO_MOUNT) {
		tap_ok(1, "a cache that is full # SKIP no mount here");
		return;
	}
	tap_ok(WIFEXITED(st) && WEXITSTATUS(st) == 0 &&
	    is_file("small", 9000000, 0), "a cache that is full: without it");
}

/* A child whose files may not grow beyond this: nor may the file. */
static void
full(void)
{
	struct xfer_get	g;
	struct came	c;
	struct rlimit	r = { 5000000, 5000000 };
	pid_t		pid;
	int		st = -1;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(void)alarm(60);
		(void)signal(SIGXFSZ, SIG_IGN);
		(void)setrlimit(RLIMIT_FSIZE, &r);
		open_all(4, cache);
		want(&g, &c, "aaa", "x-9000000", "full");
		(void)one(&g);
		_exit(c.calls == 1 ? c.code : 1);
	}
	(void)waitpid(pid, &st, 0);
	tap_ok(WIFEXITED(st) && WEXITSTATUS(st) == MSG_IOERR &&
	    !is_there("full"), "no room: 74");
}

/* From within done: more is asked for, and something called off. */
static struct came	later[3];

static void
on_first(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct xfer_get	next;
	struct came	c;
	struct err	bad = { 0, "" };

	on_done(arg, g, e);
	want(&next, &c, "www", "x-20", NULL);
	next.arg = &later[1];
	(void)xfer_get(x, &next, &bad);
	xfer_cancel(x, &later[2]);
	xfer_cancel(x, arg);
}

static void
within(void)
{
	struct xfer_get	g;
	struct came	c;
	struct err	e = { 0, "" };

	memset(later, 0, sizeof(later));
	open_all(4, NULL);
	want(&g, &c, "aaa", "x-20", NULL);
	g.arg = &later[0];
	g.done = on_first;
	(void)xfer_get(x, &g, &e);
	want(&g, &c, "kkk", "x-300000", "never");
	web.seen->hits['k' - 'a'] = 0; /* it will stand still */
	g.arg = &later[2];
	(void)xfer_get(x, &g, &e);
	(void)run();
	tap_ok(later[0].calls == 1 && later[1].calls == 1 &&
	    later[1].code == 0 && later[2].calls == 0 && !is_there("never"),
	    "done may ask for more, and call off");
	close_all();
}

static void
many(void)
{
	struct xfer_get	 g;
	static struct came all[MANY];
	struct came	*c = all;
	struct rusage	 before, after;
	struct xfer_stat s;
	struct err	 e = { 0, "" };
	char		 name[64];
	int		 i, j, conns = web.seen->conns, good = 0;

	open_all(1, NULL);
	for (i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "o%d", i);
		want(&g, &c[i], "aaa", "x-10", name);
		(void)xfer_get(x, &g, &e);
	}
	n_came = 0;
	(void)run();
	for (i = 0; i < 20 && c[i].order == i + 1; i++)
		continue;
	tap_ok(i == 20 && web.seen->conns == conns + 1,
	    "one at a time: in order, over one connection");
	close_all();
	conns = web.seen->conns;
	open_all(8, NULL);
	for (i = 0; i < 100; i++) {
		want(&g, &c[i], "www", "x-1000", NULL);
		(void)xfer_get(x, &g, &e);
	}
	xfer_stat(x, &s);
	tap_ok(s.queued == 100 && s.done == 0, "queued, not begun");
	xfer_cancel(x, &c[50]);
	(void)xfer_wait(x, 1000, &e);
	xfer_stat(x, &s);
	for (i = 0; i < 100; i++)
		if (c[i].calls == 0)
			break;
	xfer_cancel(x, &c[i]);
	(void)run();
	for (j = 0; j < 100; j++)
		good += c[j].calls == 1 && c[j].code == 0;
	tap_ok(good == 98 && c[50].calls == 0 && c[i].calls == 0,
	    "two were called off, one of them under way");
	xfer_stat(x, &s);
	tap_ok(s.done == 98 && s.limit == 8 && web.seen->conns <= conns + 9,
	    "eight at once, not more");
	close_all();
	open_all(8, NULL);
	for (i = 0; i < MANY; i++) {
		want(&g, &c[i], "ttt", "x-100", NULL);
		if (i < 500)
			(void)xfer_get(x, &g, &e);
	}
	(void)run();
	(void)getrusage(RUSAGE_SELF, &before);
	for (i = 500; i < MANY; i++) {
		want(&g, &c[i], "ttt", "x-100", NULL);
		(void)xfer_get(x, &g, &e);
	}
	(void)run();
	(void)getrusage(RUSAGE_SELF, &after);
	for (good = i = 0; i < MANY; i++)
		good += c[i].calls == 1 && c[i].code == 0;
	tap_ok(good == MANY, "%d objects", MANY);
	if (!tap_ok(after.ru_maxrss - before.ru_maxrss < MEMORY_KB,
	    "in little memory"))
		printf("# %ld kB more\n", after.ru_maxrss -
		    before.ru_maxrss);
	close_all();
}

int
main(void)
{
	struct err	e = { 0, "" };

	msg_init("xfer");
	tap_plan(92);
	(void)alarm(300);
	(void)unsetenv("http_proxy");
	(void)unsetenv("all_proxy");
	if (tmp_dir(dir, "xfer") == -1 || http_start(&web, answer) == -1)
		return 1;
	(void)snprintf(base, sizeof(base), "http://127.0.0.1:%d", web.port);
	(void)snprintf(cache, sizeof(cache), "%s.cache", dir);
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
	simple();
	promises();
	faults();
	permanent();
	cached();
	full();
	small();
	within();
	many();
	http_stop(&web);
	(void)io_rmtree(AT_FDCWD, dir, &e);
	(void)io_rmtree(AT_FDCWD, cache, &e);
	return tap_done();
}
