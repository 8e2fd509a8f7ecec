/*
 * dav_list: multistatus answers, and lists of collections out of them.  A
 * list that is not whole must not look like one.
 * SPDX-License-Identifier: ISC
 */
#include "dav.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "path.h"
#include "xml.h"
#include "banned.h"

/* What a list wants to know: the kind is not used, but must be asked. */
static const char propfind[] =
"<?xml version=\"1.0\" encoding=\"utf-8\"?>"
"<propfind xmlns=\"DAV:\"><prop><resourcetype/></prop></propfind>";

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
close_element(struct xml *x, struct dav_response *p)
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

int
dav_multistatus(struct dav *d, const char *key, const struct buf *b,
    dav_each *f, void *arg, struct err *e)
{
	struct dav_response	 p = { NULL, 0, 0 };
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
	size_t	 n = dav_scheme(s), k = strlen(l->self);
	char	*a;
	int	 same;

	if (n > 0) {
		a = dav_authority(s + n, strcspn(s + n, "/?#"), n == 8);
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
		if ((*why = dav_decode(s)) != NULL)
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
list_response(void *arg, const struct dav_response *p, struct err *e)
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
		dav_req_init(&q, "PROPFIND", key);
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
		rv = dav_multistatus(d, key, &r.body, list_response, &l, e);
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
