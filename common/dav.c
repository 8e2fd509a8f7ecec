/*
 * dav: one request to a WebDAV server and what its answer means; lists
 * out of multistatus answers.  It decides no retry but those of the calls
 * that wait, and those only as retry says.
 * SPDX-License-Identifier: ISC
 */
#include "dav.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cred.h"
#include "mem.h"
#include "net.h"
#include "path.h"
#include "sign.h"
#include "xml.h"
#include "banned.h"

#define DAV_HEADERS	12		/* of a request, at most */
#define DAV_SECRET_MAX	1024		/* bytes of a user, of a password */
#define DAV_WHERE_MAX	200		/* bytes of a URL in an error */
#define DAV_MKCOL_TRIES	3		/* looks for what others remove */

/* What a list wants to know: the kind is not used, but must be asked. */
static const char propfind[] =
"<?xml version=\"1.0\" encoding=\"utf-8\"?>"
"<propfind xmlns=\"DAV:\"><prop><resourcetype/></prop></propfind>";

struct dav {
	struct net	*n;
	struct retry	*r;
	char		*base;		/* "https://host/path", no '/' after */
	char		*authority;	/* "host[:port]" in small letters */
	char		*path;		/* of base, decoded: "/path" or "" */
	size_t		 root;		/* bytes of base before its path */
	char		*label;		/* "host:port" */
	char		*auth;		/* the header, or NULL */
	const char	*headers[2];	/* for others */
	int		 direct;	/* past all proxies */
	int		 bare;		/* it takes PROPFIND without a body */
	struct op	*list;		/* under way, the last one first */
};

/* One request under way. */
struct op {
	struct dav	*d;
	struct op	*prev, *next;
	struct dav_req	 q;
	char		*url;
	struct buf	 lines;		/* what the headers' bytes lie in */
	struct buf	 body;
	void		(*done)(void *, const struct dav_res *,
			    const struct err *);
	void		*arg;
};

void
dav_res_clear(struct dav_res *r)
{
	free(r->etag);
	buf_free(&r->body);
	r->etag = NULL;
}

int
dav_is_strong(const char *etag)
{
	size_t	n = etag != NULL ? strlen(etag) : 0;

	return n > 2 && etag[0] == '"' && etag[n - 1] == '"';
}

/*
 * URLs.
 */

static int
hex(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ?
	    c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/*
 * %XX into bytes, in place: NULL, or what is wrong.  A slash that is
 * written so, or a NUL, is part of no name.
 */
static const char *
decode(char *s)
{
	char	*out = s;
	int	 c;

	for (; *s != '\0'; s++) {
		c = (unsigned char)*s;
		if (c == '%') {
			if (hex(s[1]) == -1 || hex(s[2]) == -1)
				return "a % without two hex digits";
			c = hex(s[1]) * 16 + hex(s[2]);
			if (c == '/' || c == '\0')
				return "an encoded slash or NUL";
			s += 2;
		}
		*out++ = (char)c;
	}
	*out = '\0';
	return NULL;
}

/* The authority in small letters, without the default port of scheme. */
static char *
authority(const char *s, size_t n, int https)
{
	const char	*dflt = https ? ":443" : ":80";
	size_t		 k = strlen(dflt), i;
	char		*a = mem_ndup(s, n);

	for (i = 0; i < n; i++)
		if (a[i] >= 'A' && a[i] <= 'Z')
			a[i] += 'a' - 'A';
	if (n > k && strcmp(a + n - k, dflt) == 0)
		a[n - k] = '\0';
	return a;
}

/* Bytes of "http://" or "https://" at s, or 0. */
static size_t
scheme(const char *s)
{
	return strncasecmp(s, "https://", 8) == 0 ? 8 :
	    strncasecmp(s, "http://", 7) == 0 ? 7 : 0;
}

/* What is wrong with the path of a URL that is published to, or NULL. */
static const char *
bad_path(const char *p)
{
	const char	*s;
	size_t		 n;

	for (s = p; *s != '\0'; s++)
		if (*s <= ' ' || (unsigned char)*s >= 0x7f ||
		    strchr("\"<>\\^`{|}?#", *s) != NULL)
			return "want what is not a letter, a digit or one of "
			    "-._~!$&'()*+,;=:@/ written as %XX, and no query";
	while (*p == '/') {
		n = strcspn(++p, "/");
		if (n == 0 || (n == 1 && *p == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			return "an empty component, or \".\" or \"..\"";
		p += n;
	}
	return NULL;
}

static int
set_base(struct dav *d, const char *url, struct err *e)
{
	size_t		 skip = scheme(url), n, len;
	const char	*why = NULL;

	n = strcspn(url + skip, "/?#");
	if (skip == 0)
		return err_set(e, MSG_USAGE, "%s: no http or https URL", url);
	if (memchr(url + skip, '@', n) != NULL)
		/* and not a word of what is before it */
		return err_set(e, MSG_USAGE, "%.*s...@%s: no user or password "
		    "in a URL: DAV_USER and DAV_PASSWORD are for that",
		    (int)skip, url, (const char *)memchr(url + skip, '@', n) +
		    1);
	for (len = strlen(url); len > skip + n && url[len - 1] == '/'; len--)
		continue;
	if (n == 0 || len > DAV_URL_MAX / 4)
		return err_set(e, MSG_USAGE, "%.100s: want http[s]://host"
		    "[:port]/path", url);
	d->base = mem_ndup(url, len);
	d->root = skip + n;
	d->authority = authority(url + skip, n, skip == 8);
	d->path = mem_dup(d->base + d->root);
	why = bad_path(d->path);
	if (why == NULL)
		why = decode(d->path);
	if (why != NULL)
		return err_set(e, MSG_USAGE, "%s: %s", d->base, why);
	d->label = net_host(d->base, e);
	return d->label != NULL ? 0 : -1;
}

/* Is the host this machine, whoever answers for names? */
static int
is_loopback(const char *a)
{
	size_t	n = strcspn(a, ":");

	if (strncmp(a, "[::1]", 5) == 0)
		return a[5] == '\0' || a[5] == ':';
	if (n == 9 && strncmp(a, "localhost", 9) == 0)
		return 1;
	return n >= 7 && strncmp(a, "127.", 4) == 0 &&
	    strspn(a, "0123456789.") == n;
}

static int
set_user(struct dav *d, const char *user, const char *password,
    struct err *e)
{
	static const char	head[] = "Authorization: Basic ";
	struct buf		b;
	size_t			n;

	if (user == NULL && password == NULL)
		return 0;
	if (user == NULL || password == NULL || strchr(user, ':') != NULL)
		return err_set(e, MSG_USAGE, "%s: want both DAV_USER and "
		    "DAV_PASSWORD, and no colon in the user", d->base);
	cred_guard();
	if (scheme(d->base) != 8 && !is_loopback(d->authority))
		return err_set(e, MSG_NOPERM, "%s: user and password are only "
		    "sent over https, or to this machine: over http everybody "
		    "on their way could read them", d->base);
	d->direct = scheme(d->base) != 8;
	buf_init(&b, 2 * DAV_SECRET_MAX + 1);
	buf_str(&b, user);
	buf_addc(&b, ':');
	buf_str(&b, password);
	n = b.len;
	if (!b.over) {
		d->auth = mem_alloc(sizeof(head) + 4 * (n / 3 + 1));
		memcpy(d->auth, head, sizeof(head));
		sign_b64(b.p, n, d->auth + sizeof(head) - 1);
		d->headers[0] = d->auth;
	} else
		err_set(e, MSG_USAGE, "%s: a user or a password of more than "
		    "%d bytes", d->base, DAV_SECRET_MAX);
	sign_wipe(b.p, b.cap);
	buf_free(&b);
	return d->auth != NULL ? 0 : -1;
}

struct dav *
dav_new(struct net *n, struct retry *r, const char *url, const char *user,
    const char *password, struct err *e)
{
	struct dav	*d = mem_zero(1, sizeof(*d));

	d->n = n;
	d->r = r;
	if (set_base(d, url, e) == 0 && set_user(d, user, password, e) == 0)
		return d;
	dav_free(d);
	return NULL;
}

static void
op_free(struct op *o)
{
	if (o->prev != NULL)
		o->prev->next = o->next;
	else if (o->d->list == o)
		o->d->list = o->next;
	if (o->next != NULL)
		o->next->prev = o->prev;
	if (o->lines.p != NULL)
		sign_wipe(o->lines.p, o->lines.cap);
	buf_free(&o->lines);
	buf_free(&o->body);
	free(o->url);
	free(o);
}

/* Ends one that is under way, without a word. */
static void
op_drop(struct op *o)
{
	net_cancel(o->d->n, o);
	op_free(o);
}

void
dav_free(struct dav *d)
{
	if (d == NULL)
		return;
	while (d->list != NULL)
		op_drop(d->list);
	if (d->auth != NULL)
		sign_wipe(d->auth, strlen(d->auth));
	free(d->auth);
	free(d->base);
	free(d->authority);
	free(d->path);
	free(d->label);
	free(d);
}

const char *
dav_host(const struct dav *d)
{
	return d->label;
}

int
dav_is_direct(const struct dav *d)
{
	return d->direct;
}

const char *const *
dav_headers(const struct dav *d)
{
	return d->headers;
}

char *
dav_url(const struct dav *d, const char *key)
{
	struct buf	b;
	char		*s;

	/* a key that is too long makes a URL that net refuses */
	buf_init(&b, DAV_URL_MAX);
	buf_str(&b, d->base);
	buf_addc(&b, '/');
	sign_encode(&b, key, 1);
	s = mem_dup(b.over ? "" : buf_cstr(&b));
	buf_free(&b);
	return s;
}

/*
 * One request.
 */

static int
is_read(const struct dav_req *q)
{
	return strcmp(q->method, "GET") == 0 ||
	    strcmp(q->method, "HEAD") == 0 ||
	    strcmp(q->method, "PROPFIND") == 0;
}

static int
is_conditional(const struct dav_req *q)
{
	return (q->flags & DAV_IF_NONE) || q->if_match != NULL;
}

static enum dav_outcome
outcome(const struct dav_req *q, const struct net_res *r)
{
	if (is_read(q))
		return DAV_REFUSED;
	switch (r->status) {
	case 0:
		return r->sent ? DAV_UNKNOWN : DAV_REFUSED;
	case 408:
		return DAV_UNKNOWN;
	case 412:
		return is_conditional(q) ? DAV_TAKEN : DAV_REFUSED;
	case 501:
	case 505:
	case 507:
		return DAV_REFUSED;
	default:
		return r->status >= 300 && r->status < 500 ? DAV_REFUSED :
		    DAV_UNKNOWN;
	}
}

/* *e for an answer that is an error. */
static void
set_error(const struct op *o, const struct net_res *r, struct err *e)
{
	char	*to;

	switch (r->status) {
	case 401:
	case 407:
		err_set(e, MSG_NOPERM, "%.*s: %d: %s", DAV_WHERE_MAX, o->url,
		    r->status, o->d->auth != NULL ? "the user and password of "
		    "DAV_USER and DAV_PASSWORD are not accepted" : "it wants "
		    "a user and a password: set DAV_USER and DAV_PASSWORD");
		return;
	case 403:
		err_set(e, MSG_NOPERM, "%.*s: %s: 403: forbidden%s",
		    DAV_WHERE_MAX, o->url, o->q.method, o->d->auth != NULL ?
		    " to this user" : "");
		return;
	case 405:
	case 501:
		err_set(e, MSG_USAGE, "%.*s: %s: %d: the server does not do "
		    "that here: want a WebDAV collection that can be listed "
		    "and written to", DAV_WHERE_MAX, o->url, o->q.method,
		    r->status);
		return;
	case 423:
		err_set(e, MSG_TEMPFAIL, "%.*s: %s: 423: somebody holds a "
		    "lock on it", DAV_WHERE_MAX, o->url, o->q.method);
		return;
	default:
		break;
	}
	if (r->status >= 300 && r->status < 400) {
		to = net_header_dup(r, "location");
		err_set(e, MSG_USAGE, "%.*s: %s: %d: it lies elsewhere "
		    "(%.*s): name that", DAV_WHERE_MAX, o->url, o->q.method,
		    r->status, DAV_WHERE_MAX / 2, to != NULL ? to : "?");
		free(to);
		return;
	}
	err_set(e, net_status(r) != MSG_OK ? net_status(r) : MSG_TEMPFAIL,
	    "%.*s: %s: status %d", DAV_WHERE_MAX, o->url, o->q.method,
	    r->status);
}

static void
on_net(void *arg, const struct net_res *r, const struct err *ne)
{
	struct op	*o = arg;
	struct dav_res	 dr;
	struct err	 e = { 0, "" };

	memset(&dr, 0, sizeof(dr));
	dr.status = r->status;
	dr.stale = r->stale;
	dr.local = r->local;
	dr.etag = r->etag;
	dr.date = r->date;
	dr.modified = r->modified;
	dr.retry_after = r->retry_after;
	dr.body = o->body;
	if (ne != NULL)
		err_set(&e, ne->code, "%.*s: %s", DAV_WHERE_MAX, o->url,
		    ne->text);
	else if (r->status < 200 || r->status >= 300)
		set_error(o, r, &e);
	dr.outcome = e.code != 0 ? outcome(&o->q, r) : DAV_DONE;
	o->done(o->arg, &dr, e.code != 0 ? &e : NULL);
	op_free(o);
}

static int
on_body(void *arg, int status, const void *p, size_t n, struct err *e)
{
	struct op	*o = arg;

	/* what it says of an error is of no use to anyone */
	if (status < 200 || status >= 300 || o->q.max == 0)
		return 0;
	buf_add(&o->body, p, n);
	if (o->body.over)
		return err_set(e, MSG_DATAERR, "larger than %zu bytes",
		    o->q.max);
	return 0;
}

static void
line(struct op *o, const char *name, const char *value)
{
	buf_printf(&o->lines, "%s: %s", name, value);
	buf_addc(&o->lines, '\0');
}

static void
put_lines(struct op *o)
{
	const struct dav_req	*q = &o->q;

	if (o->d->auth != NULL) {
		buf_str(&o->lines, o->d->auth);
		buf_addc(&o->lines, '\0');
	}
	if (q->flags & DAV_IF_NONE)
		line(o, "If-None-Match", "*");
	if (q->if_match != NULL)
		line(o, "If-Match", q->if_match);
	if (q->depth != NULL)
		line(o, "Depth", q->depth);
	if (q->type != NULL)
		line(o, "Content-Type", q->type);
	/* whoever stands between us may have an old answer */
	if (is_read(q))
		line(o, "Cache-Control", "no-cache");
}

static int
send_op(struct op *o, struct err *e)
{
	const char	*headers[DAV_HEADERS + 1], *at, *end;
	struct net_req	 nq;
	size_t		 n = 0;

	put_lines(o);
	if (o->lines.over || *o->url == '\0')
		return err_set(e, MSG_USAGE, "%.*s: %.100s: too long",
		    DAV_WHERE_MAX, o->d->base, o->q.key);
	/* without lines there is no memory to point into */
	at = o->lines.len > 0 ? (const char *)o->lines.p : NULL;
	end = at != NULL ? at + o->lines.len : NULL;
	for (; at != NULL && at < end && n < DAV_HEADERS;
	    at += strlen(at) + 1)
		headers[n++] = at;
	headers[n] = NULL;
	memset(&nq, 0, sizeof(nq));
	nq.method = o->q.method;
	nq.url = o->url;
	nq.headers = headers;
	nq.body = o->q.body;
	nq.fd = o->q.fd;
	nq.n = o->q.n;
	nq.hold = o->q.hold;
	/* an error's text may be larger than what is wanted */
	nq.max = o->q.max > NET_BODY_MAX ? o->q.max : NET_BODY_MAX;
	nq.stall = is_read(&o->q) ? 0 : DAV_WRITE_S;
	nq.flags = NET_NOREDIR | (o->d->direct ? NET_NOPROXY : 0) |
	    (o->q.flags & DAV_FRESH ? NET_FRESH : 0);
	nq.sink = on_body;
	nq.arg = o;
	return net_start(o->d->n, &nq, on_net, o, e);
}

int
dav_start(struct dav *d, const struct dav_req *q,
    void (*done)(void *arg, const struct dav_res *r, const struct err *e),
    void *arg, struct err *e)
{
	struct op	*o = mem_zero(1, sizeof(*o));
	char		*s;
	size_t		 n;

	o->d = d;
	o->q = *q;
	o->done = done;
	o->arg = arg;
	buf_init(&o->lines, DAV_URL_MAX);
	buf_init(&o->body, q->max);
	o->url = q->url != NULL ? mem_dup(q->url) : dav_url(d, q->key);
	n = strlen(o->url);
	if ((q->flags & DAV_SLASH) && n > 0 && o->url[n - 1] != '/') {
		s = mem_alloc(n + 2);
		(void)snprintf(s, n + 2, "%s/", o->url);
		free(o->url);
		o->url = s;
	}
	o->next = d->list;
	if (o->next != NULL)
		o->next->prev = o;
	d->list = o;
	if (send_op(o, e) == 0)
		return 0;
	op_free(o);
	return -1;
}

void
dav_cancel(struct dav *d, const void *arg)
{
	struct op	*o, *next;

	for (o = d->list; o != NULL; o = next) {
		next = o->next;
		if (o->arg == arg)
			op_drop(o);
	}
}

enum retry_what
dav_judge(const struct dav_res *r, const struct err *e)
{
	struct net_res	n;

	if (e == NULL)
		return RETRY_GOOD;
	memset(&n, 0, sizeof(n));
	n.status = r->status;
	n.stale = r->stale;
	n.local = r->local;
	n.retry_after = r->retry_after;
	if (r->status == 0)
		return retry_judge(&n, e);
	return retry_judge(&n, NULL);
}

/*
 * Waiting for one.
 */

struct wait {
	struct dav		*d;
	const struct dav_req	*q;
	struct dav_res		*r;
	struct err		*e;
	int			 rv;	/* 1: under way */
};

static void
on_done(void *arg, const struct dav_res *r, const struct err *e)
{
	struct wait	*w = arg;

	*w->r = *r;
	w->r->etag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	buf_init(&w->r->body, w->q->max);
	if (r->body.len > 0)
		buf_add(&w->r->body, r->body.p, r->body.len);
	w->rv = e == NULL ? 0 : -1;
	if (e != NULL)
		*w->e = *e;
}

/* May it be sent again when nobody knows what became of it? */
static int
is_idempotent(const struct dav_req *q)
{
	return strcmp(q->method, "PUT") != 0;
}

static int
once(void *arg, enum retry_what *what, int64_t *after, struct err *e)
{
	struct wait	*w = arg;
	struct err	 other = { 0, "" };
	struct op	*o;

	dav_res_clear(w->r);
	memset(w->r, 0, sizeof(*w->r));
	w->r->outcome = DAV_REFUSED;
	w->r->retry_after = -1;
	w->rv = 1;
	w->e = e;
	if (dav_start(w->d, w->q, on_done, w, e) == -1)
		return -1;
	o = w->d->list;
	while (w->rv == 1 && net_wait(w->d->n, 1000, &other) != -1)
		continue;
	if (w->rv == 1) {
		/* a signal, most likely: it may have been applied */
		op_drop(o);
		w->r->outcome = is_read(w->q) ? DAV_REFUSED : DAV_UNKNOWN;
		*e = other;
		return -1;
	}
	*what = dav_judge(w->r, w->rv == 0 ? NULL : e);
	*after = w->r->retry_after;
	if (!is_idempotent(w->q))
		*what = retry_judge_once(*what,
		    w->r->outcome == DAV_REFUSED);
	return w->rv;
}

int
dav_do(struct dav *d, const struct dav_req *q, struct dav_res *r,
    struct err *e)
{
	struct wait	w;
	struct err	one = { 0, "" };
	enum retry_what	what;
	int64_t		after;
	int		rv;

	memset(r, 0, sizeof(*r));
	w.d = d;
	w.q = q;
	w.r = r;
	w.e = e;
	w.rv = 1;
	rv = d->r != NULL ? retry_do(d->r, d->label, once, &w, &one) :
	    once(&w, &what, &after, &one);
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	return rv;
}

/*
 * The common ones.
 */

static void
req_init(struct dav_req *q, const char *method, const char *key)
{
	memset(q, 0, sizeof(*q));
	q->method = method;
	q->key = key;
	q->fd = -1;
}

int
dav_get(struct dav *d, const char *key, size_t max, struct dav_res *r,
    struct err *e)
{
	struct dav_req	q;

	req_init(&q, "GET", key);
	q.max = max;
	return dav_do(d, &q, r, e);
}

int
dav_head(struct dav *d, const char *key, struct dav_res *r, struct err *e)
{
	struct dav_req	q;

	req_init(&q, "HEAD", key);
	return dav_do(d, &q, r, e);
}

int
dav_put(struct dav *d, const char *key, const void *p, size_t n,
    unsigned int flags, const char *if_match, struct dav_res *r,
    struct err *e)
{
	struct dav_req	q;

	req_init(&q, "PUT", key);
	q.body = n > 0 ? p : "";
	q.n = n;
	q.if_match = if_match;
	/* an unknown outcome costs more than a connection */
	q.flags = flags | DAV_FRESH;
	return dav_do(d, &q, r, e);
}

/*
 * Multistatus answers.
 */

/* One <response>. */
struct response {
	char	*href;
	int	 status;	/* of all of it; 0 not said */
	int	 many;		/* more than one href */
};

/* Who reads them: -1 ends it, with *e or without. */
typedef int each(void *arg, const struct response *p, struct err *e);

static int
bad_answer(struct dav *d, const char *key, const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%.*s/%.100s: the server's list: %s",
	    DAV_WHERE_MAX, d->base, key, why);
}

/* Without the spaces around it. */
static char *
trimmed(const char *s, size_t n)
{
	while (n > 0 && (unsigned char)*s <= ' ') {
		s++;
		n--;
	}
	while (n > 0 && (unsigned char)s[n - 1] <= ' ')
		n--;
	return mem_ndup(s, n);
}

/* "HTTP/1.1 404 Not Found": 404, or -1. */
static int
status_of(const char *s)
{
	int	v = 0, i;

	s = strchr(s, ' ');
	for (i = 1; s != NULL && i <= 3; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		v = v * 10 + (s[i] - '0');
	}
	return s == NULL || v < 100 ? -1 : v;
}

static void
close_element(struct xml *x, struct response *p)
{
	char	*s;

	if (x->depth != 2)
		return;
	if (strcmp(x->name, "href") == 0) {
		p->many |= p->href != NULL;
		free(p->href);
		p->href = trimmed(x->str, x->len);
	} else if (strcmp(x->name, "status") == 0) {
		s = trimmed(x->str, x->len);
		p->status = status_of(s);
		free(s);
	}
}

/* Each response of a multistatus: 0, or -1 and, where it is bad, *e. */
static int
multistatus(struct dav *d, const char *key, const struct buf *b,
    each *f, void *arg, struct err *e)
{
	struct response	 p = { NULL, 0, 0 };
	struct xml	 x;
	enum xml_type	 t;
	int		 rv = -1;

	xml_init(&x, b->p != NULL ? (const char *)b->p : "", b->len);
	if (xml_next(&x) != XML_OPEN || strcmp(x.name, "multistatus") != 0) {
		bad_answer(d, key, "no multistatus", e);
		goto done;
	}
	while ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE) {
		if (t == XML_OPEN)
			continue;
		close_element(&x, &p);
		if (x.depth != 1 || strcmp(x.name, "response") != 0)
			continue;
		if (p.href == NULL || p.many || p.status == -1) {
			bad_answer(d, key, "a response without one href, or "
			    "with a status that is none", e);
			goto done;
		}
		if (f(arg, &p, e) == -1)
			goto done;
		free(p.href);
		memset(&p, 0, sizeof(p));
	}
	if (t == XML_EOF)
		rv = 0;
	else
		bad_answer(d, key, x.why, e);
done:
	free(p.href);
	xml_clear(&x);
	return rv;
}

struct listing {
	struct dav	*d;
	const char	*key;
	char		*self;	/* decoded: "/path/key" */
	int		 seen;	/* the collection itself was named */
	int		(*f)(void *arg, const char *name);
	void		*arg;
};

/*
 * The name of an href, decoded in place: "" the collection itself; NULL:
 * what is wrong is in *why.
 */
static char *
name_of(const struct listing *l, char *s, const char **why)
{
	size_t	 n = scheme(s), k = strlen(l->self);
	char	*a;
	int	 same;

	if (n > 0) {
		a = authority(s + n, strcspn(s + n, "/?#"), n == 8);
		same = strcmp(a, l->d->authority) == 0;
		free(a);
		*why = "it names another host";
		if (!same)
			return NULL;
		s += n + strcspn(s + n, "/?#");
		if (*s != '/')
			s = NULL;
	}
	if (s != NULL && strncmp(s, "//", 2) == 0) {
		*why = "it names another host";
		return NULL;
	}
	if (s != NULL) {
		s[strcspn(s, "?#")] = '\0';
		if ((*why = decode(s)) != NULL)
			return NULL;
	}
	*why = "it names what is not directly below";
	if (s != NULL && *s == '/') {
		/* absolute: what lies before the name is ours */
		if (strncmp(s, l->self, k) != 0 ||
		    (s[k] != '/' && s[k] != '\0'))
			return NULL;
		s += k + (s[k] == '/');
	} else if (s == NULL) {
		/* "http://host" */
		return *l->self == '\0' ? l->self : NULL;
	} else if (strncmp(s, "./", 2) == 0)
		s += 2;
	n = strlen(s);
	if (n > 0 && s[n - 1] == '/')
		s[n - 1] = '\0';
	if (strchr(s, '/') != NULL)
		return NULL;
	*why = "a name that is too long";
	return strlen(s) <= PATH_REL_MAX ? s : NULL;
}

static int
list_response(void *arg, const struct response *p, struct err *e)
{
	struct listing	*l = arg;
	const char	*name, *why;

	name = name_of(l, p->href, &why);
	if (name == NULL)
		return bad_answer(l->d, l->key, why, e);
	if (*name == '\0' || strcmp(name, ".") == 0) {
		l->seen = 1;
		name = NULL;
	}
	/* gone since it began to list */
	if (p->status == 404 || p->status == 410)
		return 0;
	if (p->status >= 300 || (p->status > 0 && p->status < 200))
		return err_set(e, MSG_TEMPFAIL, "%.*s/%.100s: the list is not "
		    "complete: status %d for %.100s", DAV_WHERE_MAX,
		    l->d->base, l->key, p->status,
		    name != NULL ? name : "all of it");
	if (name == NULL || strcmp(name, "..") == 0)
		return 0;
	return l->f(l->arg, name);
}

/* PROPFIND, without a body where the server does not read one. */
static int
ask_list(struct dav *d, const char *key, const char *depth,
    struct dav_res *r, struct err *e)
{
	struct err	one = { 0, "" };
	struct dav_req	q;
	int		rv;

	for (;;) {
		req_init(&q, "PROPFIND", key);
		q.depth = depth;
		q.flags = DAV_SLASH;
		q.max = DAV_LIST_MAX;
		if (!d->bare) {
			q.body = propfind;
			q.n = sizeof(propfind) - 1;
			q.type = "application/xml; charset=utf-8";
		}
		one.code = 0;
		rv = dav_do(d, &q, r, &one);
		if (rv == 0 || d->bare || (r->status != 400 &&
		    r->status != 411 && r->status != 415))
			break;
		d->bare = 1;
		dav_res_clear(r);
	}
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	else if (r->status != 207)
		rv = err_set(e, MSG_USAGE, "%.*s/%.100s: PROPFIND: status %d, "
		    "want 207: no WebDAV collection", DAV_WHERE_MAX, d->base,
		    key, r->status);
	return rv;
}

int
dav_list(struct dav *d, const char *key,
    int (*f)(void *arg, const char *name), void *arg, struct err *e)
{
	struct listing	l = { d, key, NULL, 0, f, arg };
	struct dav_res	r;
	size_t		sz = strlen(d->path) + strlen(key) + 2;
	int		rv;

	rv = ask_list(d, key, "1", &r, e);
	if (rv == 0) {
		l.self = mem_alloc(sz);
		(void)snprintf(l.self, sz, "%s%s%s", d->path,
		    *key != '\0' ? "/" : "", key);
		rv = multistatus(d, key, &r.body, list_response, &l, e);
		if (rv == 0 && !l.seen)
			rv = bad_answer(d, key, "it does not name the "
			    "collection itself", e);
		free(l.self);
	}
	dav_res_clear(&r);
	return rv;
}

int
dav_has(struct dav *d, const char *key, struct err *e)
{
	struct dav_res	r;
	struct err	one = { 0, "" };
	int		rv;

	rv = ask_list(d, key, "0", &r, &one) == 0 ? 1 : -1;
	if (rv == -1 && (r.status == 404 || r.status == 405 ||
	    r.status == 410 || r.status == 501))
		rv = 0;
	else if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	dav_res_clear(&r);
	return rv;
}

/*
 * Removal and collections.
 */

struct staying {
	struct dav	*d;
	const char	*key;
};

/* Of a DELETE: what is named, stays. */
static int
delete_response(void *arg, const struct response *p, struct err *e)
{
	struct staying	*s = arg;

	if ((p->status >= 200 && p->status < 300) || p->status == 404 ||
	    p->status == 410)
		return 0;
	return err_set(e, p->status == 401 || p->status == 403 ? MSG_NOPERM :
	    MSG_TEMPFAIL, "%.*s/%.100s: DELETE: status %d for %.100s, which "
	    "stays", DAV_WHERE_MAX, s->d->base, s->key, p->status, p->href);
}

/* 0, 1 it is not there, 2 it is nothing of that kind, -1. */
static int
delete_one(struct dav *d, const char *key, unsigned int flags,
    struct err *e)
{
	struct staying	s = { d, key };
	struct dav_res	r;
	struct dav_req	q;
	struct err	one = { 0, "" };
	int		rv;

	req_init(&q, "DELETE", key);
	q.flags = flags;
	q.max = DAV_LIST_MAX;
	rv = dav_do(d, &q, &r, &one);
	if (rv == 0 && r.status == 207)
		rv = multistatus(d, key, &r.body, delete_response, &s, &one);
	else if (rv == -1 && (r.status == 404 || r.status == 410))
		rv = 1;
	else if (rv == -1 && (flags & DAV_SLASH) && (r.status == 400 ||
	    r.status == 403 || r.status == 405 || r.status == 409))
		rv = 2;
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	dav_res_clear(&r);
	return rv;
}

int
dav_delete(struct dav *d, const char *key, struct err *e)
{
	int	r;

	if (*key == '\0')
		return err_set(e, MSG_SOFTWARE, "%s: not removed", d->base);
	/* nginx wants the slash of collections, and of them alone */
	r = delete_one(d, key, DAV_SLASH, e);
	if (r == 1 || r == 2)
		r = delete_one(d, key, 0, e);
	return r == -1 ? -1 : 0;
}

/* One: 0 it was made, 1 it is there, 2 what it is to lie in is not, -1. */
static int
mkcol(struct dav *d, const char *url, struct err *e)
{
	struct dav_res	r;
	struct dav_req	q;
	struct err	one = { 0, "" };
	int		rv;

	req_init(&q, "MKCOL", "");
	q.url = url;
	q.flags = DAV_SLASH;
	rv = dav_do(d, &q, &r, &one);
	if (rv == -1 && r.status == 405)
		rv = 1;
	else if (rv == -1 && (r.status == 409 || r.status == 404))
		rv = 2;
	else if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	dav_res_clear(&r);
	return rv;
}

/* The collection at url and those above it: 0, 1 it was there, -1. */
static int
mkcol_path(struct dav *d, const char *url, struct err *e)
{
	size_t	 len = strlen(url), at = len;
	char	*part;
	int	 r, down = 0, tries = 0;

	for (;;) {
		part = mem_ndup(url, at);
		r = mkcol(d, part, e);
		free(part);
		if (r == -1)
			return -1;
		if (r != 2) {
			if (at == len)
				return r;
			/* on with the one below */
			down = 1;
			at += 1 + strcspn(url + at + 1, "/");
			continue;
		}
		/* gone again: somebody removes what we make */
		if (down && ++tries == DAV_MKCOL_TRIES)
			break;
		while (at > d->root && url[at - 1] != '/')
			at--;
		if (at <= d->root + 1)
			break;
		at--;
	}
	return err_set(e, MSG_TEMPFAIL, "%.*s: MKCOL: 409: the collection "
	    "could not be made", DAV_WHERE_MAX, url);
}

int
dav_mkcol(struct dav *d, const char *key, int *made, struct err *e)
{
	char	*url = *key != '\0' ? dav_url(d, key) : mem_dup(d->base);
	int	 r = 1;

	/* the root of a server is there */
	if (strlen(url) > d->root)
		r = mkcol_path(d, url, e);
	free(url);
	if (made != NULL)
		*made = r == 0;
	return r == -1 ? -1 : 0;
}
