/*
 * net: whole answers, broken ones, redirects, limits, and that nothing is
 * ever sent twice, against servers that misbehave on purpose.
 * SPDX-License-Identifier: ISC
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <sys/resource.h>

#include "buf.h"
#include "http.h"
#include "io.h"
#include "net.h"
#include "tap.h"

#define TEN	"aaaaaaaaaa"
#define NO_HOST	"http://" TEN TEN TEN TEN TEN TEN TEN "/a"

#define BIG ((size_t)4 << 20)
#define HUSH_S	30	/* a server that is silent, and then closes */
#define SOON_S	20	/* what did not wait for that */

static struct http	one, two;
static struct net	*net;
static struct buf	got;
static char		base[64];	/* http://127.0.0.1:PORT */

static void
doze(long ms)
{
	struct timespec	ts = { 0, ms * 1000000 };

	(void)nanosleep(&ts, NULL);
}

/*
 * The servers.  The first letter of the path says what is wrong.
 */
static enum http_next
answer(struct http_req *q)
{
	char	b[1024];
	size_t	i;

	switch (q->target[1]) {
	case 'a': /* all is well */
		return http_answer(q, "200 OK", "ETag: \"x y\"\r\n"
		    "Date: Fri, 24 May 2013 00:00:00 GMT\r\n"
		    "Last-Modified: Fri, 24 May 2013 00:00:01 GMT\r\n",
		    "hello") == 0 ? HTTP_KEEP : HTTP_CLOSE;
	case 'b': /* busy */
		(void)http_answer(q, "503 Slow Down", "Retry-After: 7\r\n",
		    "later");
		return HTTP_KEEP;
	case 'c': /* cut by FIN */
	case 'd': /* or RST */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n"
		    "Content-Length: 100\r\n\r\nhalf");
		(void)http_send(q->fd, b, strlen(b));
		return q->target[1] == 'c' ? HTTP_CLOSE : HTTP_RESET;
	case 'e': /* chunked; /e-cut ends in the middle */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n"
		    "Transfer-Encoding: chunked\r\n"
		    "Connection: close\r\n\r\n5\r\nhello\r\n%s",
		    strcmp(q->target, "/e-cut") == 0 ? "6\r\nwor" :
		    "6\r\n world\r\n0\r\n\r\n");
		(void)http_send(q->fd, b, strlen(b));
		return HTTP_CLOSE;
	case 'f': /* a Content-Length that lies low */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n"
		    "Content-Length: 3\r\n\r\nhello");
		(void)http_send(q->fd, b, strlen(b));
		return HTTP_CLOSE;
	case 'g': /* gone: reads all, answers nothing */
		return HTTP_CLOSE;
	case 'h':
		return HTTP_RESET;
	case 'i': /* in a circle */
		(void)http_answer(q, "302 Found", "Location: /i\r\n",
		    "go round");
		return HTTP_KEEP;
	case 'j': /* jumps to the other server */
		(void)snprintf(b, sizeof(b), "Location: http://localhost:%d"
		    "/k\r\n", q->h->seen->other);
		(void)http_answer(q, "307 Temporary Redirect", b, "away");
		return HTTP_KEEP;
	case 'k': /* known: says what it got */
		(void)http_answer(q, "200 OK", "", "arrived");
		return HTTP_KEEP;
	case 'l': /* to /k of the same one */
		(void)http_answer(q, "301 Moved", "Location: /k\r\n",
		    "near");
		return HTTP_KEEP;
	case 'm': /* many headers */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n");
		(void)http_send(q->fd, b, strlen(b));
		for (i = 0; i < 2000; i++) {
			(void)snprintf(b, sizeof(b), "X-%zu: %060d\r\n", i,
			    0);
			if (http_send(q->fd, b, strlen(b)) == -1)
				break;
		}
		return HTTP_CLOSE;
	case 'n': /* no end: a byte, and then nothing */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n"
		    "Content-Length: 100\r\n\r\n.");
		(void)http_send(q->fd, b, strlen(b));
		(void)sleep(HUSH_S);
		return HTTP_CLOSE;
	case 'o': /* echo */
		(void)http_answer(q, "201 Created", "", q->body);
		return HTTP_KEEP;
	case 'p': /* HTTP/0.9, or nothing of the kind */
		(void)http_send(q->fd, "220 ftp ready\r\n", 15);
		return HTTP_CLOSE;
	case 'q': /* 417 where 100 Continue is asked for */
		if (*http_value(q->head, "Expect") == '\0') {
			(void)http_answer(q, "200 OK", "", "taken");
			return HTTP_KEEP;
		}
		(void)http_answer(q, "417 Expectation Failed", "", "no");
		return HTTP_CLOSE;
	case 'r': /* 100 Continue */
		if (*http_value(q->head, "Expect") != '\0') {
			(void)http_send(q->fd, "HTTP/1.1 100 Continue\r\n\r\n",
			    25);
			if (!http_body(q))
				return HTTP_CLOSE;
		}
		(void)http_answer(q, "200 OK", "", "taken");
		return HTTP_KEEP;
	case 's': /* slow, so that many are under way */
		doze(20);
		(void)http_answer(q, "200 OK", "", "slow");
		return HTTP_KEEP;
	case 't':
		(void)http_answer(q, "404 Not Found", "", "none");
		return HTTP_KEEP;
	case 'u': /* a date to come back at */
		(void)http_answer(q, "429 Too Many",
		    "Date: Fri, 24 May 2013 00:00:00 GMT\r\n"
		    "Retry-After: Fri, 24 May 2013 00:00:09 GMT\r\n", "");
		return HTTP_KEEP;
	case 'v': /* to a place that is none */
		(void)http_answer(q, "302 Found",
		    "Location: ftp://127.0.0.1/x\r\n", "");
		return HTTP_KEEP;
	case 'w': /* until it closes */
		(void)snprintf(b, sizeof(b), "HTTP/1.1 200 OK\r\n\r\nto the "
		    "end");
		(void)http_send(q->fd, b, strlen(b));
		return HTTP_CLOSE;
	case 'y': /* refused before the body is read */
		(void)http_answer(q, "403 Forbidden", "Connection: close\r\n",
		    "no");
		/* let it be read before the reset */
		doze(200);
		return HTTP_CLOSE;
	default:
		(void)http_answer(q, "200 OK", "", "");
		return HTTP_KEEP;
	}
}

static int
sink(void *arg, int status, const void *p, size_t n, struct err *e)
{
	(void)status;
	buf_add(&got, p, n);
	if (arg != NULL)
		return err_set(e, MSG_CANTCREAT, "enough");
	return 0;
}

static struct net_res	res;
static struct err	err;

static void
req(struct net_req *q, const char *method, const char *path)
{
	static char	url[4][256];
	static int	turn;

	turn = (turn + 1) % 4;
	(void)snprintf(url[turn], sizeof(url[turn]), "%s%s",
	    strstr(path, "://") != NULL ? "" : base, path);
	memset(q, 0, sizeof(*q));
	q->method = method;
	q->url = url[turn];
	q->fd = -1;
	q->sink = sink;
}

static int
run(const struct net_req *q)
{
	net_res_clear(&res);
	buf_reset(&got);
	memset(&err, 0, sizeof(err));
	return net_do(net, q, &res, &err);
}

static int
get(const char *path)
{
	struct net_req	q;

	req(&q, "GET", path);
	return run(&q);
}

static int
fails(const char *method, const char *path, int code)
{
	struct net_req	q;
	int		rv;

	req(&q, method, path);
	rv = run(&q);
	if (rv == -1 && err.code == code && res.status == 0)
		return 1;
	printf("# %s: %d, code %d, status %d: %s\n", path, rv, err.code,
	    res.status, err.text);
	return 0;
}

static int
hits(const struct http *h, char c)
{
	return h->seen->hits[c - 'a'];
}

static void
answers(void)
{
	struct net_req	q;

	tap_ok(get("/a") == 0 && res.status == 200, "an answer");
	tap_is(buf_cstr(&got), "hello", "its body");
	tap_is(res.etag, "\"x y\"", "its ETag, with quotes");
	tap_ok(res.length == 5 && res.bytes == 5 && res.sent &&
	    res.retry_after == -1, "its length");
	tap_ok(res.date == INT64_C(1369353600) * 1000000000 &&
	    res.modified == res.date + 1000000000, "its dates");
	tap_ok(res.first > 0 && res.total >= res.first, "its times");
	tap_ok(net_class(&res) == NET_FINE && net_status(&res) == 0, "fine");
	(void)get("/a");
	(void)get("/t");
	tap_ok(one.seen->conns == 1, "one connection for three requests");
	tap_ok(res.status == 404 && net_class(&res) == NET_PERMANENT &&
	    net_status(&res) == MSG_NOINPUT, "404 is an answer");
	tap_ok(get("/b") == 0 && res.status == 503 && res.retry_after == 7 &&
	    net_class(&res) == NET_TRANSIENT &&
	    net_status(&res) == MSG_TEMPFAIL, "503 with Retry-After");
	tap_ok(get("/u") == 0 && res.status == 429 && res.retry_after == 9,
	    "Retry-After as a date, by the server's clock");
	req(&q, "HEAD", "/a");
	tap_ok(run(&q) == 0 && res.length == 5 && res.bytes == 0, "HEAD");
	tap_ok(get("/e") == 0 && res.length == -1 && res.bytes == 11,
	    "chunked");
	tap_ok(get("/w") == 0 && res.length == -1 && res.bytes == 10,
	    "until the connection ends");
	tap_ok(get("/f") == 0 && res.bytes == 3 && res.length == 3,
	    "a low Content-Length is what it is: for the caller to see");
	tap_ok(net_date("2013-05-24T00:00:00.250Z", 24) ==
	    INT64_C(1369353600250) * 1000000 &&
	    net_date("2024-02-29T12:00:00Z", 20) ==
	    INT64_C(1709208000) * 1000000000 && net_date("soon", 4) == 0 &&
	    net_date("6572-10-10T00:00:00Z", 20) == 0 &&
	    net_date("1013-10-10T00:00:00Z", 20) == 0,
	    "dates of ISO 8601, and none that nanoseconds cannot say");
}

/* What this machine lacks is no failure of the host. */
static void
no_descriptors(void)
{
	struct rlimit	rl, low;
	struct net	*fresh;
	int		 fd = dup(0);

	fresh = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
	(void)getrlimit(RLIMIT_NOFILE, &rl);
	low = rl;
	low.rlim_cur = (rlim_t)fd;
	(void)close(fd);
	net_free(net);
	net = fresh;
	while ((fd = dup(0)) != -1 && (rlim_t)fd + 1 < low.rlim_cur)
		;
	(void)setrlimit(RLIMIT_NOFILE, &low);
	tap_ok(fails("GET", "/a", MSG_TEMPFAIL) && res.local && !res.sent,
	    "no descriptor: 75, and said to be our own");
	(void)setrlimit(RLIMIT_NOFILE, &rl);
	tap_ok(get("/a") == 0, "and well again with one");
}

static void
broken(void)
{
	struct net_req	q;
	int		n;

	tap_ok(fails("GET", "/c", MSG_TEMPFAIL), "a body cut short: 75");
	tap_ok(fails("GET", "/d", MSG_TEMPFAIL), "reset in the body");
	tap_ok(fails("GET", "/e-cut", MSG_TEMPFAIL), "cut in a chunk");
	tap_ok(fails("GET", "/p", MSG_TEMPFAIL) && res.sent,
	    "what is not HTTP is 75, and was sent");
	tap_ok(fails("GET", "http://127.0.0.1:1/a", MSG_TEMPFAIL) &&
	    !res.sent, "nobody there: not sent");
	/* a label of more than 63 bytes is looked up nowhere */
	tap_ok(fails("GET", NO_HOST, MSG_TEMPFAIL) && fails("GET", NO_HOST,
	    MSG_TEMPFAIL) && get("/a") == 0,
	    "a name without an address: 75, again, and the next is well");
	no_descriptors();
	tap_ok(fails("GET", "ftp://127.0.0.1/a", MSG_USAGE), "ftp: 64");
	tap_ok(fails("GET", "nonsense://", MSG_USAGE), "no URL: 64");
	/* on a new connection */
	net_free(net);
	net = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
	tap_ok(fails("PUT", "/g", MSG_TEMPFAIL) && res.sent && !res.stale &&
	    hits(&one, 'g') == 1, "no answer: sent, once");
	/* on one that was kept: libcurl would send again */
	(void)get("/a");
	tap_ok(fails("PUT", "/g", MSG_TEMPFAIL) && res.sent && res.stale,
	    "no answer on a kept connection: 75");
	(void)get("/a");
	tap_ok(hits(&one, 'g') == 2, "not sent again behind our back");
	tap_ok(fails("POST", "/h", MSG_TEMPFAIL) && res.stale &&
	    hits(&one, 'h') == 1, "nor after a reset");
	(void)get("/a");
	tap_ok(fails("GET", "/h", MSG_TEMPFAIL) && res.stale &&
	    hits(&one, 'h') == 2, "nor a GET");
	(void)get("/a");
	n = one.seen->conns;
	req(&q, "PUT", "/o");
	q.flags = NET_FRESH;
	tap_ok(run(&q) == 0 && one.seen->conns == n + 1,
	    "a connection of its own, when asked");
}

static void
redirects(void)
{
	static const char *const headers[] = { "Authorization: Bearer s3cret",
		"x-amz-security-token: s3cret", "Range: bytes=0-9",
		"If-Range: \"x\"", NULL };
	struct net_req		 q;
	char			 url[128];
	const char		*head;
	int			 n;

	req(&q, "GET", "/l");
	q.headers = headers;
	tap_ok(run(&q) == 0 && res.status == 200, "a redirect");
	tap_is(buf_cstr(&got), "arrived", "of its body nothing is handed on");
	tap_is(http_value(one.seen->last['k' - 'a'], "Authorization"),
	    "Bearer s3cret", "to the same host with all headers");
	req(&q, "GET", "/j");
	q.headers = headers;
	if (!tap_ok(run(&q) == 0 && res.status == 200 && hits(&two, 'k') == 1,
	    "a redirect to another host"))
		printf("# %s\n", err.text);
	head = two.seen->last['k' - 'a'];
	tap_ok(strstr(head, "s3cret") == NULL, "without credentials");
	tap_is(http_value(head, "Range"), "bytes=0-9", "but with the Range");
	tap_is(http_value(head, "If-Range"), "\"x\"", "and If-Range");
	(void)snprintf(url, sizeof(url), "http://user:pa%%20ss@127.0.0.1:%d/j",
	    one.port);
	tap_ok(get(url) == 0, "a user in the URL");
	tap_is(http_value(one.seen->last['j' - 'a'], "Authorization"),
	    "Basic dXNlcjpwYSBzcw==", "is sent there");
	tap_is(http_value(two.seen->last['k' - 'a'], "Authorization"), "",
	    "and not elsewhere");
	n = one.seen->requests;
	tap_ok(fails("GET", "/i", MSG_DATAERR) &&
	    one.seen->requests == n + NET_REDIRECTS + 1,
	    "a circle ends, after five");
	tap_ok(fails("GET", "/v", MSG_DATAERR), "not to another protocol");
	req(&q, "PUT", "/j");
	tap_ok(run(&q) == 0 && res.status == 307, "a PUT is not redirected");
	req(&q, "GET", "/j");
	q.flags = NET_NOREDIR;
	tap_ok(run(&q) == 0 && res.status == 307, "nor what asks not to be");
	tap_is(buf_cstr(&got), "away", "its body then is the answer's");
}

static void
limits(void)
{
	static const char *const	bad[] = { "X: a\r\nY: b", NULL };
	struct net_req	q;
	double		t;

	req(&q, "GET", "/a");
	q.max = 4;
	tap_ok(run(&q) == -1 && err.code == MSG_DATAERR, "larger than max");
	req(&q, "GET", "/a");
	q.max = 5;
	tap_ok(run(&q) == 0, "not larger");
	tap_ok(fails("GET", "/m", MSG_DATAERR), "too many headers");
	req(&q, "GET", "/a");
	q.arg = &q;
	tap_ok(run(&q) == -1 && err.code == MSG_CANTCREAT &&
	    strcmp(err.text, "enough") == 0, "what sink says is handed on");
	req(&q, "GET", "/a");
	q.headers = bad;
	tap_ok(run(&q) == -1 && err.code == MSG_USAGE, "a header is a line");
	t = io_now();
	req(&q, "GET", "/n");
	q.stall = 1;
	tap_ok(run(&q) == -1 && err.code == MSG_TEMPFAIL &&
	    io_now() - t < SOON_S && io_now() - t >= 1, "nothing comes: 75");
	t = io_now();
	req(&q, "GET", "/n");
	q.timeout = 1;
	tap_ok(run(&q) == -1 && err.code == MSG_TEMPFAIL &&
	    io_now() - t < SOON_S, "it takes too long: 75");
}

static void
bodies(void)
{
	struct net_req	 q;
	char		*big = malloc(BIG), name[] = "/tmp/intact-net.XXXXXX";
	int		 fd = mkstemp(name);
	size_t		 i;

	for (i = 0; big != NULL && i < BIG; i++)
		big[i] = (char)('a' + i % 23);
	if (fd == -1 || big == NULL || io_write(fd, big, BIG) == -1) {
		tap_ok(0, "a file");
		return;
	}
	req(&q, "PUT", "/o");
	q.body = "a body";
	q.n = 6;
	tap_ok(run(&q) == 0 && res.status == 201, "a body from memory");
	tap_is(buf_cstr(&got), "a body", "comes back");
	tap_is(http_value(one.seen->last['o' - 'a'], "Expect"), "",
	    "nothing is asked before it");
	tap_is(http_value(one.seen->last['o' - 'a'], "User-Agent"), "test",
	    "with our name");
	req(&q, "PUT", "/o");
	tap_ok(run(&q) == 0 && strcmp(http_value(one.seen->last['o' - 'a'],
	    "Content-Length"), "0") == 0, "an empty one has a length");
	req(&q, "POST", "/o");
	q.fd = fd;
	q.off = 1000;
	q.n = BIG - 2000;
	q.max = BIG;
	buf_free(&got);
	buf_init(&got, BIG);
	tap_ok(run(&q) == 0 && got.len == BIG - 2000 &&
	    memcmp(got.p, big + 1000, BIG - 2000) == 0,
	    "a piece of a file");
	req(&q, "PUT", "/o");
	q.fd = fd;
	q.off = 1000;
	q.n = BIG;
	tap_ok(run(&q) == -1 && err.code == MSG_DATAERR,
	    "a file that is too short");
	req(&q, "PUT", "/y");
	q.fd = fd;
	q.n = BIG;
	tap_ok(run(&q) == 0 && res.status == 403,
	    "refused before it was read: the answer is heard");
	req(&q, "PUT", "/r");
	q.fd = fd;
	q.n = BIG;
	q.flags = NET_EXPECT;
	tap_ok(run(&q) == 0 && res.status == 200, "100 Continue");
	tap_is(http_value(one.seen->last['r' - 'a'], "Expect"),
	    "100-continue", "asked for");
	req(&q, "PUT", "/q");
	q.fd = fd;
	q.n = BIG;
	q.flags = NET_EXPECT;
	tap_ok(run(&q) == 0 && res.status == 200 && hits(&one, 'q') == 2,
	    "417: sent without asking");
	(void)close(fd);
	(void)unlink(name);
	free(big);
}

static unsigned int	ended;

static void
on_done(void *arg, const struct net_res *r, const struct err *e)
{
	struct net_req	q;
	unsigned int	*more = arg;

	if (e == NULL && r->status == 200)
		ended++;
	if (*more > 0) {
		(*more)--;
		req(&q, "GET", "/s");
		q.sink = NULL;
		(void)net_start(net, &q, on_done, more, &err);
	}
}

static void
many(void)
{
	struct net_req	q;
	unsigned int	more = 20, i;
	int		r, conns;

	err.code = 0;
	conns = one.seen->conns;
	req(&q, "GET", "/s");
	q.sink = NULL;
	for (i = 0; i < 40; i++)
		if (net_start(net, &q, on_done, &more, &err) == -1)
			break;
	tap_ok(net_running(net) == 40, "forty at once");
	while ((r = net_wait(net, 1000, &err)) == 1)
		continue;
	tap_ok(r == 0 && ended == 60 && net_running(net) == 0,
	    "and those that they start: all answered");
	conns = one.seen->conns - conns;
	tap_ok(conns <= 8 && conns > 1,
	    "never more connections than allowed (%d)", conns);
	req(&q, "GET", "/n");
	(void)net_start(net, &q, on_done, &more, &err);
	(void)net_start(net, &q, on_done, &ended, &err);
	net_cancel(net, &more);
	tap_ok(net_running(net) == 1, "one is cancelled");
	net_cancel(net, &ended);
	tap_ok(net_wait(net, 1000, &err) == 0, "and the other");
}

static void
proxies(void)
{
	struct net_req	q;
	char		b[64];

	(void)snprintf(b, sizeof(b), "http://127.0.0.1:%d", two.port);
	(void)setenv("http_proxy", b, 1);
	req(&q, "GET", "http://example.invalid/k");
	tap_ok(run(&q) == 0 && strncmp(two.seen->last['t' - 'a'],
	    "GET http://example.invalid/k ", 29) == 0,
	    "the proxy of the environment");
	req(&q, "GET", "/a");
	q.flags = NET_NOPROXY;
	tap_ok(run(&q) == 0 && strcmp(res.etag, "\"x y\"") == 0,
	    "but not where it must not be");
	(void)unsetenv("http_proxy");
}

/* A signal in the middle of a request: it ends, and soon. */
static void
signals(void)
{
	struct net_req	q;
	pid_t		pid;
	int		st = 0, n = hits(&one, 'n'), r;
	double		t = io_now();

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		io_catch_signals();
		net = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
		req(&q, "PUT", "/n");
		r = run(&q);
		_exit(r == -1 && err.code == MSG_TEMPFAIL && res.sent ?
		    0 : 1);
	}
	while (hits(&one, 'n') == n && io_now() - t < SOON_S)
		doze(1);
	t = io_now();
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, &st, 0);
	tap_ok(st == 0 && io_now() - t < SOON_S, "a signal ends it, as sent");
}

int
main(void)
{
	tap_plan(73);
	msg_init("net");
	(void)unsetenv("http_proxy");
	(void)unsetenv("all_proxy");
	(void)unsetenv("no_proxy");
	buf_init(&got, (size_t)1 << 20);
	if (http_start(&one, answer) == -1 || http_start(&two, answer) == -1)
		return 99;
	one.seen->other = two.port;
	(void)snprintf(base, sizeof(base), "http://127.0.0.1:%d", one.port);
	net = net_new(&(struct net_opts){ 8, NULL, "test" }, &err);
	if (net == NULL)
		return 99;
	answers();
	broken();
	redirects();
	limits();
	bodies();
	many();
	proxies();
	signals();
	net_res_clear(&res);
	net_free(net);
	buf_free(&got);
	http_stop(&one);
	http_stop(&two);
	return tap_done();
}
