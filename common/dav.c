/*
 * dav: one request to a WebDAV server and what its answer means.  It
 * decides no retry.
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
#include "num.h"
#include "sign.h"
#include "banned.h"

#define DAV_HEADERS	12		/* of a request, at most */
#define DAV_SECRET_MAX	1024		/* bytes of a user, of a password */

/* One request under way. */
struct dav_op {
	struct dav	*d;
	struct dav_op	*prev, *next;
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

const char *
dav_decode(char *s)
{
	char	*out = s;
	int	 c;

	for (; *s != '\0'; s++) {
		c = (unsigned char)*s;
		if (c == '%') {
			c = num_hex2(s + 1);
			if (c == -1)
				return "a % without two hex digits";
			if (c == '/' || c == '\0')
				return "an encoded slash or NUL";
			s += 2;
		}
		*out++ = (char)c;
	}
	*out = '\0';
	return NULL;
}

char *
dav_authority(const char *s, size_t n, int https)
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

size_t
dav_scheme(const char *s)
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
	size_t		 skip = dav_scheme(url), n, len;
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
	d->authority = dav_authority(url + skip, n, skip == 8);
	d->path = mem_dup(d->base + d->root);
	why = bad_path(d->path);
	if (why == NULL)
		why = dav_decode(d->path);
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
	if (dav_scheme(d->base) != 8 && !is_loopback(d->authority))
		return err_set(e, MSG_NOPERM, "%s: user and password are only "
		    "sent over https, or to this machine: over http everybody "
		    "on their way could read them", d->base);
	d->direct = dav_scheme(d->base) != 8;
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
op_free(struct dav_op *o)
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
op_drop(struct dav_op *o)
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

int
dav_is_read(const struct dav_req *q)
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
	if (dav_is_read(q))
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
set_error(const struct dav_op *o, const struct net_res *r, struct err *e)
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
	struct dav_op	*o = arg;
	struct dav_res	 dr;
	struct err	 e = { 0, "" };

	memset(&dr, 0, sizeof(dr));
	dr.status = r->status;
	dr.stale = r->stale;
	dr.local = r->local;
	dr.etag = r->etag;
	dr.date = r->date;
	dr.modified = r->modified;
	dr.length = r->length;
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
	struct dav_op	*o = arg;

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
line(struct dav_op *o, const char *name, const char *value)
{
	buf_printf(&o->lines, "%s: %s", name, value);
	buf_addc(&o->lines, '\0');
}

static void
put_lines(struct dav_op *o)
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
	if (dav_is_read(q))
		line(o, "Cache-Control", "no-cache");
}

static int
send_op(struct dav_op *o, struct err *e)
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
	nq.stall = dav_is_read(&o->q) ? 0 : DAV_WRITE_S;
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
	struct dav_op	*o = mem_zero(1, sizeof(*o));
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
	struct dav_op	*o, *next;

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
