/*
 * s3_remove: the calls of s3_send.h that take away.  It decides nothing of
 * what goes.
 *
 * A server that removes a batch is silent until it has.  Some, and any on a
 * busy machine, take a tenth of a second a key; so the next batch is larger
 * or smaller by the time that the last one took, and stays far from what a
 * silence may last.  A server that has no batches is asked key by key, as
 * many at once as it bears.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send.h"

#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "s3.h"
#include "s3_pool.h"
#include "banned.h"

#define REMOVE_FIRST	50U	/* keys of the first batch */
#define REMOVE_QUICK	2.0	/* s: the next one may be twice as large */
#define REMOVE_SLOW	6.0	/* s: it is half as large */

/* What is known of the server. */
struct remover {
	struct s3	*s;
	const char	*bucket;
	size_t		 batch;		/* keys of the next; 0: it has none */
};

/* Keys on their way, one by one. */
struct singles {
	struct s3_pool		 pool;
	const char		*bucket;
	const char *const	*keys;
	size_t			 n, at;
};

struct job {
	struct s3_job	 j;
	const char	*bucket, *key;
};

static int
ask(struct s3_job *sj, struct s3_req *q, struct err *e)
{
	struct job	*j = (struct job *)sj;

	(void)e;
	s3_req_init(q, "DELETE", j->bucket, j->key);
	return 0;
}

static enum s3_next
answer(struct s3_job *sj, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	(void)sj;
	if (why == NULL || (r->status == 404 &&
	    strcmp(r->code, "NoSuchBucket") != 0))
		return S3_OVER;
	if (wait >= 0)
		return S3_ASK;
	err_set(e, why->code, "%s", why->text);
	return S3_FAIL;
}

static void
drop(struct s3_job *sj, int sent)
{
	(void)sent;
	free(sj);
}

static int
more(void *arg, struct s3_job **out, struct err *e)
{
	static const struct s3_job_ops	ops = { ask, answer, drop };
	struct singles			*p = arg;
	struct job			*j;

	(void)e;
	if (p->at == p->n)
		return 0;
	j = mem_zero(1, sizeof(*j));
	j->j.ops = &ops;
	j->j.small = 1;
	j->bucket = p->bucket;
	j->key = p->keys[p->at++];
	*out = &j->j;
	return 1;
}

static int
remove_singly(const struct remover *m, const char *const *keys, size_t n,
    struct err *e)
{
	struct singles	p;

	memset(&p, 0, sizeof(p));
	pool_init(&p.pool, m->s, s3_retry(m->s), S3_SEND_PARALLEL);
	p.bucket = m->bucket;
	p.keys = keys;
	p.n = n;
	return pool_run(&p.pool, more, &p, e);
}

static int
remove_keys(struct remover *m, const char *const *keys, size_t n,
    struct err *e)
{
	double	begun, took;
	size_t	some;
	int	r;

	while (n > 0 && m->batch > 0) {
		some = n < m->batch ? n : m->batch;
		begun = io_now();
		r = s3_delete_many(m->s, m->bucket, keys, some, NULL, NULL,
		    e);
		took = io_now() - begun;
		if (r == -1)
			return -1;
		if (r == 1) {
			m->batch = 0;
			break;
		}
		if (took > REMOVE_SLOW && m->batch > 1)
			m->batch /= 2;
		else if (took < REMOVE_QUICK && m->batch < S3_DELETE_MAX)
			m->batch = m->batch > S3_DELETE_MAX / 2 ?
			    S3_DELETE_MAX : 2 * m->batch;
		keys += some;
		n -= some;
	}
	return n == 0 ? 0 : remove_singly(m, keys, n, e);
}

int
s3_remove(struct s3 *s, const char *bucket, const char *const *keys,
    size_t n, struct err *e)
{
	struct remover	m = { s, bucket, REMOVE_FIRST };

	return remove_keys(&m, keys, n, e);
}

/*
 * Trees.
 */

struct tree {
	struct remover	 m;
	char		*keys[S3_DELETE_MAX];
	size_t		 n;
};

static int
gather(void *arg, const struct s3_object *o, struct err *e)
{
	struct tree	*t = arg;

	(void)e;
	t->keys[t->n++] = mem_dup(o->key);
	return t->n == S3_DELETE_MAX ? -1 : 0;
}

static int
abort_one(void *arg, const struct s3_upload *u, struct err *e)
{
	struct tree	*t = arg;

	return s3_mp_abort(t->m.s, t->m.bucket, u->key, u->id, e);
}

int
s3_remove_tree(struct s3 *s, const char *bucket, const char *prefix,
    const char *first, struct err *e)
{
	struct tree	*t;
	char		*after = NULL;
	size_t		 i, n;
	int		 rv = -1;

	if (*prefix == '\0')
		return err_set(e, MSG_SOFTWARE, "s3://%s: all of it was to be "
		    "removed", bucket);
	if (first != NULL && s3_delete(s, bucket, first, e) == -1)
		return -1;
	t = mem_zero(1, sizeof(*t));
	t->m = (struct remover){ s, bucket, REMOVE_FIRST };
	do {
		t->n = 0;
		if (s3_list(s, bucket, prefix, NULL, after, gather, t, e) ==
		    -1)
			goto done;
		n = t->n;
		if (remove_keys(&t->m, (const char *const *)t->keys, n, e) ==
		    -1)
			goto done;
		free(after);
		after = n > 0 ? mem_dup(t->keys[n - 1]) : NULL;
		for (i = 0; i < n; i++)
			free(t->keys[i]);
		t->n = 0;
	} while (n == S3_DELETE_MAX);
	rv = s3_mp_list(s, bucket, prefix, abort_one, t, e);
done:
	for (i = 0; i < t->n; i++)
		free(t->keys[i]);
	free(t);
	free(after);
	return rv;
}
