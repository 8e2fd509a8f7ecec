/*
 * s3_ahead: small objects read before they are asked for.  It repeats what
 * retry allows and no more; nothing that it holds is an error.
 * SPDX-License-Identifier: ISC
 */
#include "s3_ahead.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "retry.h"
#include "s3.h"
#include "s3_pool.h"
#include "banned.h"

struct item {
	char		*key;
	int		 held;
	struct s3_held	 h;
};

struct s3_ahead {
	struct s3_pool	 pool;
	struct s3	*s;
	struct retry	*r;
	const char	*bucket;	/* while it reads */
	uint64_t	 max;
	struct item	*v;
	size_t		 n, at;
};

struct job {
	struct s3_job	 j;
	struct s3_ahead	*a;
	struct item	*it;
};

struct s3_ahead *
s3_ahead_new(struct s3 *s, struct retry *r)
{
	struct s3_ahead	*a = mem_zero(1, sizeof(*a));

	a->s = s;
	a->r = r;
	pool_init(&a->pool, s, r, S3_AHEAD_PARALLEL);
	return a;
}

void
s3_held_clear(struct s3_held *h)
{
	free(h->etag);
	buf_free(&h->body);
	memset(h, 0, sizeof(*h));
}

void
s3_ahead_drop(struct s3_ahead *a)
{
	size_t	i;

	if (a == NULL)
		return;
	for (i = 0; i < a->n; i++) {
		free(a->v[i].key);
		if (a->v[i].held)
			s3_held_clear(&a->v[i].h);
	}
	free(a->v);
	a->v = NULL;
	a->n = a->at = 0;
}

void
s3_ahead_free(struct s3_ahead *a)
{
	s3_ahead_drop(a);
	free(a);
}

static int
ask(struct s3_job *sj, struct s3_req *q, struct err *e)
{
	struct job	*j = (struct job *)sj;

	(void)e;
	q->method = j->a->max != 0 ? "GET" : "HEAD";
	q->bucket = j->a->bucket;
	q->key = j->it->key;
	q->max = j->a->max;
	return 0;
}

static void
hold(struct item *it, const struct s3_res *r, uint64_t max)
{
	buf_init(&it->h.body, (size_t)max);
	if (r != NULL) {
		/* the header's promise is all there is to hold it against */
		if (max != 0 && r->length >= 0 &&
		    (uint64_t)r->length != r->body.len)
			return;
		buf_add(&it->h.body, r->body.p, r->body.len);
		it->h.there = 1;
		if (r->etag != NULL)
			it->h.etag = mem_dup(r->etag);
	}
	it->held = 1;
}

static enum s3_next
answer(struct s3_job *sj, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct job	*j = (struct job *)sj;

	(void)e;
	if (why == NULL)
		hold(j->it, r, j->a->max);
	else if (r->status == 404 && strcmp(r->code, "NoSuchBucket") != 0)
		hold(j->it, NULL, j->a->max);
	else if (wait >= 0)
		return S3_ASK;
	return S3_OVER;
}

static void
drop(struct s3_job *sj, int sent)
{
	(void)sent;
	free(sj);
}

static const struct s3_job_ops	job_ops = { ask, answer, drop };

static int
more(void *arg, struct s3_job **out, struct err *e)
{
	struct s3_ahead	*a = arg;
	struct job	*j;

	(void)e;
	if (a->at == a->n)
		return 0;
	j = mem_zero(1, sizeof(*j));
	j->j.ops = &job_ops;
	j->j.small = 1;
	j->a = a;
	j->it = &a->v[a->at++];
	*out = &j->j;
	return 1;
}

void
s3_ahead_read(struct s3_ahead *a, const char *bucket,
    const char *const *keys, size_t n, uint64_t max)
{
	struct err	f = { 0, "" };
	size_t		i;

	s3_ahead_drop(a);
	a->v = mem_zero(n, sizeof(*a->v));
	a->n = n;
	for (i = 0; i < n; i++)
		a->v[i].key = mem_dup(keys[i]);
	a->bucket = bucket;
	a->max = max;
	/* a breaker that is open, a signal: who asks will learn of it */
	if (pool_run(&a->pool, more, a, &f) == -1)
		pool_init(&a->pool, a->s, a->r, S3_AHEAD_PARALLEL);
	a->bucket = NULL;
}

int
s3_ahead_take(struct s3_ahead *a, const char *key, int head,
    struct s3_held *h)
{
	size_t	i;

	if (a == NULL || (a->max == 0) != (head != 0))
		return 0;
	for (i = 0; i < a->n; i++)
		if (a->v[i].held && strcmp(a->v[i].key, key) == 0) {
			*h = a->v[i].h;
			a->v[i].held = 0;
			return 1;
		}
	return 0;
}
