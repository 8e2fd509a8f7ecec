/*
 * s3_probe: does an S3 server exclude?  Creates of one name, one after the
 * other and many at once, and what becomes of them.
 * SPDX-License-Identifier: ISC
 */
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "banned.h"

#define PROBE_RACES	12	/* while answers are missing */
#define PROBE_PAIRS	(S3_WRITERS * (S3_WRITERS - 1) / 2)

struct race {
	unsigned int	won, told, other;
	struct err	e;
};

static void
on_racer(void *arg, const struct s3_res *r, const struct err *e)
{
	struct race	*c = arg;

	if (e == NULL)
		c->won++;
	else if (r->outcome == S3_TAKEN)
		c->told++;
	else {
		c->other++;
		/* what will not pass by itself is to be heard */
		if (c->e.code == 0 || c->e.code == MSG_TEMPFAIL)
			c->e = *e;
	}
}

/* S3_WRITERS at once, one key: who wins? */
static int
race(struct s3 *s, struct net *n, const char *bucket, const char *key,
    struct race *c, struct err *e)
{
	struct s3_req	q;
	char		body[S3_WRITERS][16];
	int		i;

	memset(c, 0, sizeof(*c));
	for (i = 0; i < S3_WRITERS; i++) {
		(void)snprintf(body[i], sizeof(body[i]), "%d", i);
		s3_req_init(&q, "PUT", bucket, key);
		q.body = body[i];
		q.n = strlen(body[i]);
		q.flags = S3_IF_NONE;
		if (s3_start(s, &q, on_racer, c, e) == -1)
			break;
	}
	while (i == S3_WRITERS && c->won + c->told + c->other < S3_WRITERS)
		if (net_wait(n, 1000, e) == -1)
			i = 0;
	s3_cancel(s, c);
	return i == S3_WRITERS ? 0 : -1;
}

/*
 * Races until as many pairs of writers were answered as one race has in
 * which all are: *x, and 0, or -1.  Each has a name of its own.
 */
static int
races(struct s3 *s, const char *bucket, const char *name,
    enum s3_excludes *x, struct err *e)
{
	struct race	 c;
	size_t		 sz = strlen(name) + 16;
	char		*k = mem_alloc(sz);
	unsigned int	 i, n, pairs = 0;
	double		 wait;
	int		 r;

	for (i = 1;; i++) {
		(void)snprintf(k, sz, "%s%u", name, i);
		r = race(s, s3_net(s), bucket, k, &c, e);
		/* what was never there is gone, too */
		if (s3_delete(s, bucket, k, r == 0 ? e : &c.e) == -1)
			r = -1;
		if (r == -1)
			break;
		*x = c.won > 1 ? S3_RACES : S3_EXCLUDES;
		n = c.won + c.told;
		/* that nobody won is no answer when all were told */
		if (n > 0 && c.won + c.other > 0)
			pairs += n * (n - 1) / 2;
		if (c.won > 1 || pairs >= PROBE_PAIRS)
			break;
		if (c.e.code == 0)
			err_set(&c.e, MSG_TEMPFAIL, "s3: of many writers at "
			    "once none won");
		wait = i < PROBE_RACES ? retry_delay(1, -1, 1) : -1;
		if (c.e.code != MSG_TEMPFAIL || wait < 0) {
			r = err_set(e, c.e.code, "%s", c.e.text);
			break;
		}
		if ((r = retry_sleep(wait, e)) == -1)
			break;
	}
	free(k);
	return r;
}

enum probed { PROBED_DONE, PROBED_TAKEN, PROBED_LACKS, PROBED_NOT };

/*
 * One create, sent again while nobody knows what became of it: what lies
 * under the name then is ours in any case.
 */
static enum probed
probe_create(struct s3 *s, const char *bucket, const char *key,
    const char *text, int *unsure, struct err *e)
{
	struct s3_res	 r;
	struct err	 one;
	enum probed	 what;
	unsigned int	 tries;
	double		 wait;

	for (tries = 1;; tries++) {
		memset(&one, 0, sizeof(one));
		what = PROBED_NOT;
		wait = -1;
		if (s3_put(s, bucket, key, text, 1, S3_IF_NONE, NULL, NULL,
		    &r, &one) == 0)
			what = PROBED_DONE;
		else if (r.status == 501)
			what = PROBED_LACKS;
		else if (r.outcome == S3_TAKEN)
			what = PROBED_TAKEN;
		else if (one.code == MSG_TEMPFAIL)
			wait = retry_delay(tries, r.retry_after, 0.5);
		if (r.outcome == S3_UNKNOWN)
			*unsure = 1;
		s3_res_clear(&r);
		if (what != PROBED_NOT && what != PROBED_TAKEN)
			return what;
		if (wait < 0) {
			err_set(e, what == PROBED_TAKEN ? MSG_TEMPFAIL :
			    one.code, "%s", one.text);
			return what;
		}
		if (retry_sleep(wait, e) == -1)
			return PROBED_NOT;
	}
}

/* Twice under one name; 1: it may be that it excludes. */
static int
probe_alone(struct s3 *s, const char *bucket, const char *key,
    enum s3_excludes *x, struct err *e)
{
	enum probed	what;
	struct err	two = { 0, "" };
	int		unsure = 0, ignored;

	what = probe_create(s, bucket, key, "1", &unsure, e);
	/* that it is taken can be true of this name by our own hand alone */
	if (what == PROBED_TAKEN && unsure) {
		e->code = 0;
		what = PROBED_DONE;
	}
	if (what == PROBED_DONE) {
		what = probe_create(s, bucket, key, "2", &ignored, &two);
		if (what == PROBED_TAKEN)
			return 1;
		if (what == PROBED_NOT)
			return err_set(e, two.code, "%s", two.text);
		*x = what == PROBED_LACKS ? S3_LACKS : S3_IGNORES;
		return 0;
	}
	*x = S3_LACKS;
	return what == PROBED_LACKS ? 0 : -1;
}

int
s3_probe(struct s3 *s, const char *bucket, const char *prefix,
    enum s3_excludes *x, struct err *e)
{
	struct err	 one = { 0, "" };
	char		 id[33], *k;
	size_t		 sz = strlen(prefix) + 48;
	int		 rv;

	if (io_random_hex(id, 16, e) == -1)
		return -1;
	k = mem_alloc(sz);
	(void)snprintf(k, sz, "%sprobe-%s-0", prefix, id);
	rv = probe_alone(s, bucket, k, x, e);
	if (s3_delete(s, bucket, k, &one) == -1 && rv != -1)
		rv = err_set(e, one.code, "%s", one.text);
	if (rv == 1) {
		(void)snprintf(k, sz, "%sprobe-%s-", prefix, id);
		rv = races(s, bucket, k, x, e);
	}
	free(k);
	return rv;
}
