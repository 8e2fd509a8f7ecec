/*
 * dav_calls: the calls of dav.h that wait for one request, retried as it
 * may be; what is removed, and collections that are made.
 * SPDX-License-Identifier: ISC
 */
#include "dav.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "net.h"
#include "banned.h"

#define DAV_MKCOL_TRIES	3	/* looks for what others remove */

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

	dav_res_clear(w->r);
	memset(w->r, 0, sizeof(*w->r));
	w->r->outcome = DAV_REFUSED;
	w->r->retry_after = -1;
	w->rv = 1;
	w->e = e;
	if (dav_start(w->d, w->q, on_done, w, e) == -1)
		return -1;
	while (w->rv == 1 && net_wait(w->d->n, 1000, &other) != -1)
		continue;
	if (w->rv == 1) {
		/* a signal, most likely: it may have been applied */
		dav_cancel(w->d, w);
		w->r->outcome = dav_is_read(w->q) ? DAV_REFUSED : DAV_UNKNOWN;
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

void
dav_req_init(struct dav_req *q, const char *method, const char *key)
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

	dav_req_init(&q, "GET", key);
	q.max = max;
	return dav_do(d, &q, r, e);
}

int
dav_head(struct dav *d, const char *key, struct dav_res *r, struct err *e)
{
	struct dav_req	q;

	dav_req_init(&q, "HEAD", key);
	return dav_do(d, &q, r, e);
}

int
dav_put(struct dav *d, const char *key, const void *p, size_t n,
    unsigned int flags, const char *if_match, struct dav_res *r,
    struct err *e)
{
	struct dav_req	q;

	dav_req_init(&q, "PUT", key);
	q.body = n > 0 ? p : "";
	q.n = n;
	q.if_match = if_match;
	/* an unknown outcome costs more than a connection */
	q.flags = flags | DAV_FRESH;
	return dav_do(d, &q, r, e);
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
delete_response(void *arg, const struct dav_response *p, struct err *e)
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

	dav_req_init(&q, "DELETE", key);
	q.flags = flags;
	q.max = DAV_LIST_MAX;
	rv = dav_do(d, &q, &r, &one);
	if (rv == 0 && r.status == 207)
		rv = dav_multistatus(d, key, &r.body, delete_response, &s,
		    &one);
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

	dav_req_init(&q, "MKCOL", "");
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
