/*
 * s3_prove: the call of s3_send.h that reads what lies there.  An ETag is
 * never a proof here.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "s3.h"
#include "s3_pool.h"
#include "sign.h"
#include "banned.h"

struct prove {
	struct s3_pool	 pool;
	const char	*bucket;
	const struct s3_file *v;
	size_t		 n, at;
	int		 no_sums;	/* the server tells none */
};

struct job {
	struct s3_job	 j;
	struct prove	*p;
	size_t		 i;
	int		 get;		/* else HEAD */
	int		 twice;		/* it differed once: read again */
	uint64_t	 got;
	struct hash	*h;
};

static int
differs(const struct prove *p, size_t i, const char *what, const char *got,
    struct err *e)
{
	return err_set(e, MSG_DATAERR, "s3://%s/%s: what lies there is not "
	    "what was sent: %s: want %s, got %s", p->bucket, p->v[i].key,
	    what, p->v[i].sha256, got);
}

static int
bad_size(const struct prove *p, size_t i, uint64_t got, struct err *e)
{
	return err_set(e, MSG_DATAERR, "s3://%s/%s: what lies there is not "
	    "what was sent: size: want %llu, got %llu", p->bucket,
	    p->v[i].key, (unsigned long long)p->v[i].size,
	    (unsigned long long)got);
}

static int
take(void *arg, int status, const void *b, size_t n, struct err *e)
{
	struct job	*j = arg;

	(void)status;
	j->got += n;
	if (j->got > j->p->v[j->i].size)
		return bad_size(j->p, j->i, j->got, e);
	hash_add(j->h, b, n);
	return 0;
}

static int
ask(struct s3_job *sj, struct s3_req *q, struct err *e)
{
	struct job	*j = (struct job *)sj;

	(void)e;
	q->method = j->get ? "GET" : "HEAD";
	q->bucket = j->p->bucket;
	q->key = j->p->v[j->i].key;
	q->flags = S3_CHECKSUM;
	if (j->get) {
		q->max = UINT64_MAX;
		q->sink = take;
		q->arg = j;
		if (j->h == NULL)
			j->h = hash_new();
		hash_reset(j->h);
		j->got = 0;
	}
	return 0;
}

/*
 * 1 the server's own digest of the whole object is ours, 0 it has none
 * (or one of its parts' digests, "...-N"), -1 it is another.
 */
static int
by_sum(const struct job *j, const char *sum, struct err *e)
{
	char	want[SIGN_B64_SHA];

	if (sum == NULL || strlen(sum) != sizeof(want) - 1 ||
	    strchr(sum, '-') != NULL)
		return 0;
	if (sign_b64_sha(j->p->v[j->i].sha256, want) == -1)
		return err_set(e, MSG_SOFTWARE, "%s: no SHA-256",
		    j->p->v[j->i].key);
	if (strcmp(sum, want) == 0)
		return 1;
	return differs(j->p, j->i, "the server's SHA-256", sum, e);
}

static enum s3_next
read_whole(struct job *j, struct err *e)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];

	if (j->got != j->p->v[j->i].size) {
		bad_size(j->p, j->i, j->got, e);
		return S3_FAIL;
	}
	hash_final(j->h, d);
	hash_hex(d, hex);
	if (strcmp(hex, j->p->v[j->i].sha256) == 0)
		return S3_OVER;
	/* on its way here, perhaps */
	if (j->twice++ == 0)
		return S3_ASK;
	differs(j->p, j->i, "SHA-256", hex, e);
	return S3_FAIL;
}

static enum s3_next
answer(struct s3_job *sj, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct job	*j = (struct job *)sj;

	if (why != NULL) {
		if (wait >= 0)
			return S3_ASK;
		err_set(e, why->code, "%s", why->text);
		return S3_FAIL;
	}
	if (j->get)
		return read_whole(j, e);
	if (r->length >= 0 && (uint64_t)r->length != j->p->v[j->i].size) {
		bad_size(j->p, j->i, (uint64_t)r->length, e);
		return S3_FAIL;
	}
	switch (by_sum(j, r->sha256, e)) {
	case 1:
		if (r->length >= 0)
			return S3_OVER;
		break;
	case 0:
		j->p->no_sums = 1;
		break;
	default:
		return S3_FAIL;
	}
	j->get = 1;
	j->j.small = 0;
	memset(&j->j.op, 0, sizeof(j->j.op));
	return S3_ASK;
}

static void
drop(struct s3_job *sj, int sent)
{
	struct job	*j = (struct job *)sj;

	(void)sent;
	hash_free(j->h);
	free(j);
}

static const struct s3_job_ops	prove_ops = { ask, answer, drop };

static int
more(void *arg, struct s3_job **out, struct err *e)
{
	struct prove	*p = arg;
	struct job	*j;

	(void)e;
	if (p->at == p->n)
		return 0;
	j = mem_zero(1, sizeof(*j));
	j->j.ops = &prove_ops;
	j->p = p;
	j->i = p->at++;
	/* of what came in parts no server tells the digest of the whole */
	j->get = p->no_sums || p->v[j->i].size > S3_SEND_BIG;
	j->j.small = !j->get;
	*out = &j->j;
	return 1;
}

int
s3_prove(struct s3 *s, struct retry *r, const char *bucket,
    const struct s3_file *v, size_t n, unsigned int parallel, struct err *e)
{
	struct prove	p;

	memset(&p, 0, sizeof(p));
	pool_init(&p.pool, s, r, parallel > 0 ? parallel : S3_SEND_PARALLEL);
	p.bucket = bucket;
	p.v = v;
	p.n = n;
	return pool_run(&p.pool, more, &p, e);
}
