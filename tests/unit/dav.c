/*
 * dav: what WebDAV servers say, and what hostile ones do: lists, outcomes
 * of writes, and where user and password go.
 * SPDX-License-Identifier: ISC
 */
#include "dav.h"

#include "http.h"
#include "mem.h"
#include "net.h"
#include "tap.h"

static struct http	 server;
static struct net	*net;

#define HEAD "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">"
#define TAIL "</D:multistatus>"
#define NAMED(href) "<D:response><D:href>" href "</D:href></D:response>"
#define SAID(href, status) "<D:response><D:href>" href "</D:href>" \
	"<D:status>" status "</D:status></D:response>"

/* What lies at /l0, /l1 ...: body, and what must come of it. */
static const struct {
	const char	*what, *body;
	int		 code;
	const char	*want;	/* names, or a part of the error */
} lists[] = {
	{ "paths", NAMED("/l0/") NAMED("/l0/b%20b") NAMED("/l0/a/"), 0,
	    "a b b" },
	{ "URLs", NAMED("http://127.0.0.1:@/l1/")
	    NAMED("HTTP://127.0.0.1:@/l1/a%41"), 0, "aA" },
	{ "relative ones", NAMED("./") NAMED("a") NAMED("./b/"), 0, "a b" },
	{ "spaces around them", NAMED(" \n/l3/ ") NAMED("\t/l3/a\n"), 0,
	    "a" },
	{ "entities, and other prefixes", "<x:response xmlns:x='DAV:'><x:href>"
	    "/l4</x:href></x:response>" NAMED("/l4/a&amp;b&#x3c;"), 0,
	    "a&b<" },
	{ "a query behind it", NAMED("/l5?x") NAMED("/l5/a#y"), 0, "a" },
	{ "\".\" and \"..\"", NAMED("/l6/") NAMED("/l6/.") NAMED("/l6/..")
	    NAMED("/l6/%2e%2E/") NAMED("/l6/a"), 0, "a" },
	{ "nothing", NAMED("/l7/"), 0, "" },
	{ "one that has gone", NAMED("/l8/") SAID("/l8/a",
	    "HTTP/1.1 404 Not Found") NAMED("/l8/b"), 0, "b" },
	{ "a property that is not there", NAMED("/l9/")
	    "<D:response><D:href>/l9/a</D:href><D:propstat><D:status>HTTP/1.1 "
	    "404 Not Found</D:status></D:propstat></D:response>", 0, "a" },
	{ "another host", NAMED("/l10/")
	    NAMED("http://127.0.0.2:@/l10/a"), 65, "another host" },
	{ "another port", NAMED("/l11/") NAMED("http://127.0.0.1/l11/a"), 65,
	    "another host" },
	{ "a user before the host", NAMED("/l12/")
	    NAMED("http://127.0.0.1:@@x/l12/a"), 65, "another host" },
	{ "a host without scheme", NAMED("/l13/") NAMED("//127.0.0.1/l13/a"),
	    65, "another host" },
	{ "below what is below", NAMED("/l14/") NAMED("/l14/a/b"), 65,
	    "not directly below" },
	{ "relative, below what is below", NAMED("/l15/") NAMED("a/b"), 65,
	    "not directly below" },
	{ "a neighbour", NAMED("/l16/") NAMED("/l166/a"), 65,
	    "not directly below" },
	{ "what is above", NAMED("/l17/") NAMED("/"), 65,
	    "not directly below" },
	{ "an encoded slash", NAMED("/l18/") NAMED("/l18/..%2fa"), 65,
	    "encoded slash" },
	{ "a NUL", NAMED("/l19/") NAMED("/l19/a%00b"), 65, "NUL" },
	{ "half of a %XX", NAMED("/l20/") NAMED("/l20/a%4"), 65, "hex" },
	{ "not the collection itself", NAMED("/l21/a"), 65, "itself" },
	{ "nothing at all", "", 65, "itself" },
	{ "two names in one", NAMED("/l23/") "<D:response><D:href>/l23/a"
	    "</D:href><D:href>/l23/b</D:href></D:response>", 65, "one href" },
	{ "none", NAMED("/l24/") "<D:response></D:response>", 65,
	    "one href" },
	{ "a status that is none", NAMED("/l25/") SAID("/l25/a", "fine"),
	    65, "status" },
	{ "one it cannot tell of", NAMED("/l26/") SAID("/l26/a",
	    "HTTP/1.1 500 No"), 75, "not complete: status 500 for a" },
	{ "itself, forbidden", SAID("/l27/", "HTTP/1.1 403 No"), 75,
	    "not complete" },
	{ "an entity", NAMED("/l28/") NAMED("/l28/&xx;"), 65, "entity" },
	{ "what ends too early", NAMED("/l29/") "<D:response><D:href>/l29/a",
	    65, "" }
};
#define N_LISTS ((int)(sizeof(lists) / sizeof(lists[0])))

/* The body of list i, with our port for '@'. */
static void
list_body(int i, char *out, size_t sz)
{
	const char	*s = lists[i].body;
	char		*p = out;

	p += snprintf(p, sz, HEAD);
	for (; *s != '\0'; s++)
		if (*s == '@')
			p += snprintf(p, 8, "%d", server.port);
		else
			*p++ = *s;
	(void)snprintf(p, 32, "%s", i == N_LISTS - 1 ? "" : TAIL);
}

#define FLIPS 3000

/* Some bytes of a list are others: which ones follows from seed. */
static void
flip(unsigned int seed, char *out)
{
	static const char	bytes[] = "</>&;:%\"'=! #x2fD.\x01\x80\xc3\xff";
	unsigned int		n = seed % 4 + 1;
	uint64_t		x = seed * 2654435761U + 1;

	while (n-- > 0) {
		x = x * 6364136223846793005U + 1442695040888963407U;
		out[(x >> 33) % strlen(out)] =
		    bytes[(x >> 50) % (sizeof(bytes) - 1)];
	}
}

static enum http_next
answer(struct http_req *q)
{
	char	b[1500];
	int	i;

	switch (q->target[1]) {
	case 'l':	/* lists */
		i = atoi(q->target + 2);
		list_body(i < N_LISTS ? i : 0, b, sizeof(b));
		if (q->h->seen->other > 0)
			flip((unsigned int)q->h->seen->other, b);
		http_answer(q, "207 Multi-Status", "", b);
		break;
	case 'b':	/* reads no body of a PROPFIND */
		http_answer(q, q->promised > 0 ? "415 No" : "207 Ok", "",
		    HEAD NAMED("/b/") NAMED("/b/a") TAIL);
		break;
	case 'o':	/* no multistatus */
		http_answer(q, "200 Ok", "", HEAD NAMED("/o/") TAIL);
		break;
	case 'e':
		http_answer(q, "207 Ok", "", "<html></html>");
		break;
	case 'd':	/* a removal that was half one */
		http_answer(q, "207 Multi-Status", "", HEAD SAID("/d/x",
		    "HTTP/1.1 423 Locked") TAIL);
		break;
	case 'm':	/* collections: made from the top on */
		if (strcmp(q->target, "/m/a/b/c/") == 0 &&
		    q->h->seen->other < 2)
			http_answer(q, "409 Conflict", "", "");
		else if (strcmp(q->target, "/m/a/b/") == 0 &&
		    q->h->seen->other < 1)
			http_answer(q, "409 Conflict", "", "");
		else if (strcmp(q->target, "/m/a/") == 0 ||
		    strcmp(q->target, "/m/a/b/") == 0) {
			(void)__sync_add_and_fetch(&q->h->seen->other, 1);
			http_answer(q, "201 Created", "", "");
		} else
			http_answer(q, "201 Created", "", "");
		break;
	case 'n':	/* never */
		http_answer(q, "409 Conflict", "", "");
		break;
	case 'p':	/* /pSTATUS */
		(void)snprintf(b, sizeof(b), "%.3s X", q->target + 2);
		http_answer(q, b, "ETag: W/\"weak\"\r\n", "");
		break;
	case 'r':	/* read, and not a word */
		return HTTP_RESET;
	case 'u':
		http_answer(q, "401 No", "", "");
		break;
	case 'v':	/* elsewhere */
		(void)snprintf(b, sizeof(b), "Location: http://127.0.0.1:%d"
		    "/w\r\n", server.port);
		http_answer(q, "301 Moved", b, "");
		break;
	default:
		http_answer(q, "200 Ok", "", "hello");
		break;
	}
	return HTTP_KEEP;
}

static struct dav *
at(const char *path, const char *user, const char *password)
{
	struct err	 e = { 0, "" };
	struct dav	*d;
	char		 url[128];

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", server.port,
	    path);
	d = dav_new(net, NULL, url, user, password, &e);
	if (d == NULL)
		printf("# %s\n", e.text);
	return d;
}

struct names {
	char	*v[8];
	size_t	 n;
};

static int
add_name(void *arg, const char *name)
{
	struct names	*w = arg;

	if (w->n < 8)
		w->v[w->n++] = mem_dup(name);
	return 0;
}

static int
cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
list_one(int i)
{
	struct names	 w = { { NULL }, 0 };
	struct err	 e = { 0, "" };
	struct dav	*d;
	char		 path[16], got[256] = "";
	size_t		 k;
	int		 r, good;

	(void)snprintf(path, sizeof(path), "/l%d", i);
	d = at(path, NULL, NULL);
	r = dav_list(d, "", add_name, &w, &e);
	qsort(w.v, w.n, sizeof(w.v[0]), cmp);
	for (k = 0; k < w.n; k++) {
		(void)snprintf(got + strlen(got), sizeof(got) - strlen(got),
		    "%s%s", k > 0 ? " " : "", w.v[k]);
		free(w.v[k]);
	}
	good = lists[i].code == 0 ? r == 0 && strcmp(got, lists[i].want) == 0 :
	    r == -1 && e.code == lists[i].code &&
	    strstr(e.text, lists[i].want) != NULL;
	if (!tap_ok(good, "a list with %s", lists[i].what))
		printf("# got %d \"%s\" %d %s\n", r, got, e.code, e.text);
	dav_free(d);
}

/* A list at path must be this. */
static void
list_at(const char *path, int code, const char *why, const char *what)
{
	struct names	 w = { { NULL }, 0 };
	struct err	 e = { 0, "" };
	struct dav	*d = at(path, NULL, NULL);
	int		 r = dav_list(d, "", add_name, &w, &e);

	if (!tap_ok(code == 0 ? r == 0 && w.n == 1 : r == -1 &&
	    e.code == code && strstr(e.text, why) != NULL, "%s", what))
		printf("# got %d %zu %d %s\n", r, w.n, e.code, e.text);
	while (w.n > 0)
		free(w.v[--w.n]);
	dav_free(d);
}

static void
test_lists(void)
{
	int	i;

	for (i = 0; i < N_LISTS; i++)
		list_one(i);
	list_at("/b", 0, "", "a server that reads no body is asked without");
	list_at("/o", 64, "want 207", "a 200 is no list");
	list_at("/e", 65, "no multistatus", "nor is a page");
	list_at("/p405", 64, "does not do that", "405 is told");
	list_at("/p404", 66, "404", "404 is absent");
	list_at("/p503", 75, "503", "503 is transient");
}

static int
good_name(void *arg, const char *name)
{
	if (strchr(name, '/') != NULL || *name == '\0' ||
	    strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		++*(int *)arg;
	return 0;
}

static void
test_flips(void)
{
	struct err	 e;
	struct dav	*d;
	char		 path[16];
	int		 i, bad = 0, silent = 0, good = 0;

	for (i = 0; i < FLIPS; i++) {
		memset(&e, 0, sizeof(e));
		(void)snprintf(path, sizeof(path), "/l%d", i % 10);
		server.seen->other = i + 1;
		d = at(path, NULL, NULL);
		if (dav_list(d, "", good_name, &bad, &e) == 0)
			good++;
		else if (e.code != 65 && e.code != 75)
			silent++;
		dav_free(d);
	}
	server.seen->other = 0;
	tap_ok(bad == 0 && silent == 0 && good > 0 && good < FLIPS,
	    "%d lists of flipped bytes", FLIPS);
	printf("# %d of them are lists\n", good);
}

/* What a conditional write comes to. */
static void
put_one(const char *path, int letter, enum dav_outcome want, int code,
    const char *what)
{
	struct err	 e = { 0, "" };
	struct dav_res	 r;
	struct dav	*d = at("", NULL, NULL);
	int		 before = server.seen->hits[letter - 'a'], rv;

	rv = dav_put(d, path, "x", 1, DAV_IF_NONE, NULL, &r, &e);
	if (!tap_ok(r.outcome == want && e.code == code &&
	    (rv == 0) == (code == 0) &&
	    server.seen->hits[letter - 'a'] == before + 1 &&
	    strcmp(http_value(server.seen->last[letter - 'a'],
	    "If-None-Match"), "*") == 0, "%s, asked once", what))
		printf("# got %d %d %s\n", (int)r.outcome, e.code, e.text);
	dav_res_clear(&r);
	dav_free(d);
}

static void
test_outcomes(void)
{
	put_one("p201", 'p', DAV_DONE, 0, "201 is done");
	put_one("p204", 'p', DAV_DONE, 0, "204 is done");
	put_one("p412", 'p', DAV_TAKEN, 73, "412 is taken");
	put_one("p409", 'p', DAV_REFUSED, 73, "409 is not done");
	put_one("p403", 'p', DAV_REFUSED, 77, "403 is not done");
	put_one("p423", 'p', DAV_REFUSED, 75, "423 is not done");
	put_one("p507", 'p', DAV_REFUSED, 74, "507 is not done");
	put_one("p501", 'p', DAV_REFUSED, 64, "501 is not done");
	put_one("p500", 'p', DAV_UNKNOWN, 75, "500 is unknown");
	put_one("p503", 'p', DAV_UNKNOWN, 75, "503 is unknown");
	put_one("r", 'r', DAV_UNKNOWN, 75, "no answer is unknown");
	put_one("v", 'v', DAV_REFUSED, 64, "what lies elsewhere is not done");
}

static void
test_collections(void)
{
	struct err	 e = { 0, "" }, f = { 0, "" };
	struct dav	*d = at("/m", NULL, NULL), *n = at("/n/x", NULL, NULL);
	int		 made = -1;

	tap_ok(dav_mkcol(d, "a/b/c", &made, &e) == 0 && made == 1 &&
	    server.seen->other == 2, "a collection, and those above it");
	tap_ok(dav_mkcol(n, "y", &made, &f) == -1 && f.code == 75,
	    "one that cannot be made");
	tap_ok(server.seen->hits['n' - 'a'] == 3,
	    "is tried from the top, not above it");
	dav_free(d);
	dav_free(n);
	d = at("", NULL, NULL);
	e.code = 0;
	tap_ok(dav_delete(d, "d", &e) == -1 && e.code == 75 &&
	    strstr(e.text, "423 for /d/x, which stays") != NULL,
	    "a removal that left something");
	tap_ok(dav_delete(d, "p404", &(struct err){ 0, "" }) == 0,
	    "what is not there is removed");
	tap_ok(dav_delete(d, "", &(struct err){ 0, "" }) == -1,
	    "the whole is not");
	dav_free(d);
}

/* dav_new says no, and not the password. */
static void
refuse(const char *url, const char *user, const char *password, int code,
    const char *what)
{
	struct err	 e = { 0, "" };
	struct dav	*d = dav_new(net, NULL, url, user, password, &e);

	if (!tap_ok(d == NULL && e.code == code &&
	    strstr(e.text, "geheim") == NULL, "%s: %d", what, code))
		printf("# got %d %s\n", e.code, e.text);
	dav_free(d);
}

static void
test_secrets(void)
{
	struct err	 e = { 0, "" };
	struct dav_res	 r;
	struct dav	*d = at("", "Aladdin", "open sesame");

	tap_ok(dav_get(d, "g", 100, &r, &e) == 0 && r.body.len == 5 &&
	    strcmp(http_value(server.seen->last['g' - 'a'], "Authorization"),
	    "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") == 0,
	    "user and password, as RFC 7617 writes them");
	dav_res_clear(&r);
	tap_ok(dav_get(d, "v", 100, &r, &e) == -1 && e.code == 64 &&
	    strstr(e.text, "/w") != NULL &&
	    server.seen->hits['w' - 'a'] == 0, "are taken nowhere else");
	dav_res_clear(&r);
	e.code = 0;
	tap_ok(dav_get(d, "u", 100, &r, &e) == -1 && e.code == 77 &&
	    strstr(e.text, "not accepted") != NULL &&
	    strstr(e.text, "sesame") == NULL &&
	    server.seen->hits['u' - 'a'] == 1,
	    "not accepted: 77, asked once, and not a word of them");
	dav_res_clear(&r);
	tap_ok(dav_is_direct(d), "over http they go past proxies");
	dav_free(d);
	d = at("", NULL, NULL);
	e.code = 0;
	tap_ok(dav_get(d, "u", 100, &r, &e) == -1 && e.code == 77 &&
	    strstr(e.text, "set DAV_USER") != NULL, "none given: says so");
	dav_res_clear(&r);
	e.code = 0;
	tap_ok(dav_get(d, "g", 4, &r, &e) == -1 && e.code == 65,
	    "more than was asked for");
	dav_res_clear(&r);
	tap_ok(!dav_is_strong("W/\"x\"") && !dav_is_strong(NULL) &&
	    !dav_is_strong("x") && dav_is_strong("\"x\""), "strong ETags");
	dav_free(d);

	refuse("http://example.org/x", "me", "geheim", 77, "not over http");
	refuse("http://127.0.0.1.example.org/", "me", "geheim", 77,
	    "nor to what only looks like us");
	refuse("http://localhost.example.org/", "me", "geheim", 77,
	    "nor to that");
	refuse("http://me:geheim@127.0.0.1/", NULL, NULL, 64, "in a URL");
	refuse("http://127.0.0.1/", NULL, "geheim", 64, "one without other");
	refuse("http://127.0.0.1/", "m:e", "geheim", 64, "a colon");
	refuse("ftp://127.0.0.1/", NULL, NULL, 64, "another scheme");
	refuse("http://127.0.0.1/a//b", NULL, NULL, 64, "empty component");
	refuse("http://127.0.0.1/a/../b", NULL, NULL, 64, "dots");
	refuse("http://127.0.0.1/a%2f", NULL, NULL, 64, "encoded slash");
	refuse("http://127.0.0.1/a?b", NULL, NULL, 64, "query");
	refuse("http://127.0.0.1/a b", NULL, NULL, 64, "space");
	d = dav_new(net, NULL, "https://example.org/x", "me", "geheim", &e);
	tap_ok(d != NULL && !dav_is_direct(d), "over https to anyone");
	dav_free(d);
}

int
main(void)
{
	struct net_opts	o = { 16, NULL, "test" };
	struct err	e = { 0, "" };

	msg_init("dav");
	tap_plan(N_LISTS + 6 + 1 + 12 + 6 + 20);
	if (http_start(&server, answer) == -1 ||
	    (net = net_new(&o, &e)) == NULL)
		return 99;
	test_lists();
	test_flips();
	test_outcomes();
	test_collections();
	test_secrets();
	net_free(net);
	http_stop(&server);
	return tap_done();
}
