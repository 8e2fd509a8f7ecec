/*
 * dav_ahead: small objects read before they are asked for.  It repeats
 * nothing; nothing that it holds is an error.
 * SPDX-License-Identifier: ISC
 */
#include "dav_ahead.h"

#include <stdlib.h>
#include <string.h>

#include "dav.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "banned.h"

struct item {
	struct dav_ahead *a;
	char		*key;
	struct retry_op	 op;
	int		 asked;		/* under way */
	int		 held;		/* as dav_ahead_take says it */
	struct dav_res	 r;
};

struct dav_ahead {
	struct dav	*d;
	struct net	*net;
	struct retry	*retry;
	size_t		 max;
	struct item	*v;
	size_t		 n, at;		/* at: asked for so far */
	unsigned int	 running;
	int		 stop;		/* the host wants no more */
};

struct dav_ahead *
dav_ahead_new(struct dav *d, struct net *n, struct retry *r)
{
	struct dav_ahead	*a = mem_zero(1, sizeof(*a));

	a->d = d;
	a->net = n;
	a->retry = r;
	return a;
}

void
dav_ahead_drop(struct dav_ahead *a)
{
	size_t	i;

	if (a == NULL)
		return;
	for (i = 0; i < a->n; i++) {
		free(a->v[i].key);
		if (a->v[i].held)
			dav_res_clear(&a->v[i].r);
	}
	free(a->v);
	a->v = NULL;
	a->n = a->at = 0;
}

void
dav_ahead_free(struct dav_ahead *a)
{
	dav_ahead_drop(a);
	free(a);
}

static void
hold(struct item *it, const struct dav_res *r, int held)
{
	it->r = *r;
	it->r.etag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	buf_init(&it->r.body, it->a->max);
	if (r->body.len > 0)
		buf_add(&it->r.body, r->body.p, r->body.len);
	it->held = held;
}

static void
on_done(void *arg, const struct dav_res *r, const struct err *e)
{
	struct item		*it = arg;
	struct dav_ahead	*a = it->a;
	enum retry_what		 what = dav_judge(r, e);

	/* whoever asks for it then repeats it */
	(void)retry_tell(a->retry, dav_host(a->d), &it->op,
	    retry_judge_once(what, 0), r->retry_after,
	    e != NULL ? e->text : NULL);
	it->asked = 0;
	a->running--;
	if (e == NULL)
		hold(it, r, 1);
	else if (r->status == 404 || r->status == 410)
		hold(it, r, 2);
	else if (what == RETRY_BUSY)
		a->stop = 1;
}

/* The next one: 0, or -1 there shall be no more. */
static int
ask(struct dav_ahead *a)
{
	struct item	*it = &a->v[a->at];
	struct dav_req	 q;
	struct err	 e = { 0, "" };

	if (retry_ask(a->retry, dav_host(a->d), &it->op, &e) == -1)
		return -1;
	dav_req_init(&q, a->max != 0 ? "GET" : "HEAD", it->key);
	q.max = a->max;
	it->asked = 1;
	a->running++;
	a->at++;
	if (dav_start(a->d, &q, on_done, it, &e) == 0)
		return 0;
	it->asked = 0;
	a->running--;
	(void)retry_tell(a->retry, dav_host(a->d), &it->op, RETRY_NONE, -1,
	    NULL);
	return -1;
}

/* A signal came, most likely: what is under way is given up. */
static void
give_up(struct dav_ahead *a)
{
	size_t	i;

	for (i = 0; i < a->at; i++)
		if (a->v[i].asked) {
			dav_cancel(a->d, &a->v[i]);
			(void)retry_tell(a->retry, dav_host(a->d),
			    &a->v[i].op, RETRY_NONE, -1, NULL);
			a->v[i].asked = 0;
		}
	a->running = 0;
}

void
dav_ahead_read(struct dav_ahead *a, const char *const *keys, size_t n,
    size_t max)
{
	struct err	e = { 0, "" };
	size_t		i;

	dav_ahead_drop(a);
	a->v = mem_zero(n + 1, sizeof(*a->v));
	a->n = n;
	a->max = max;
	a->stop = 0;
	for (i = 0; i < n; i++) {
		a->v[i].a = a;
		a->v[i].key = mem_dup(keys[i]);
	}
	for (;;) {
		while (!a->stop && a->at < n &&
		    a->running < DAV_AHEAD_PARALLEL)
			a->stop = ask(a) == -1;
		if (a->running == 0)
			break;
		if (net_wait(a->net, 1000, &e) == -1) {
			give_up(a);
			break;
		}
	}
}

int
dav_ahead_take(struct dav_ahead *a, const char *key, int head,
    struct dav_res *r)
{
	size_t	i;
	int	held;

	if (a == NULL || (a->max == 0) != (head != 0))
		return 0;
	for (i = 0; i < a->n; i++)
		if (a->v[i].held && strcmp(a->v[i].key, key) == 0) {
			*r = a->v[i].r;
			held = a->v[i].held;
			a->v[i].held = 0;
			return held;
		}
	return 0;
}
