/*
 * xfer_ask: requests for downloads and their ends.  It writes no byte
 * (part does), sends none itself (s3 and net do), and decides no wait
 * (retry does).
 * SPDX-License-Identifier: ISC
 */
#include "xfer_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "net.h"
#include "part.h"
#include "s3.h"
#include "xfer_job.h"
#include "xfer_take.h"
#include "banned.h"

/*
 * Ends of requests.
 */

/* An answer in bytes, and how to speak of it. */
struct answer {
	enum retry_what	 what;
	int64_t		 after;		/* Retry-After, or -1 */
	double		 first;		/* s to the first byte */
	int		 status;
	const struct err *e;		/* NULL: a whole 2xx */
	struct err	 own;		/* what e may point to */
};

/* It waits for its time; without bytes it need not hold a file. */
static void
wait_until(struct job *j, double due)
{
	if (j->w->part != NULL && part_at(j->w->part) == 0 && !j->reading)
		job_drop_part(j, 0);
	job_delay(j, due);
}

/* The host did well, and was told off by us: ask again at once. */
static void
again(struct job *j)
{
	(void)retry_tell(j->x->r, j->host->name, &j->op, RETRY_FINAL, -1,
	    NULL);
	j->asked = 0;
	j->x->retries++;
	if (j->reading)
		job_move(j, &j->x->busy);
	else
		wait_until(j, io_now());
}

/* Not again. */
static void
refuse(struct job *j, enum retry_what what, const struct err *e)
{
	(void)retry_tell(j->x->r, j->host->name, &j->op, what, -1, e->text);
	j->asked = 0;
	job_end_bad(j, e);
}

/* Another try, if retry allows it. */
static void
fail(struct job *j, const struct answer *a)
{
	struct xfer	*x = j->x;
	double		 now = io_now(), wait;

	wait = retry_tell(x->r, j->host->name, &j->op, a->what, a->after,
	    a->e->text);
	j->asked = 0;
	if (a->what == RETRY_BUSY && a->after > 0 && wait >= 0 &&
	    j->host->hold < now + (double)a->after)
		j->host->hold = now + (double)a->after;
	if (wait < 0) {
		job_end_bad(j, a->e);
		return;
	}
	x->retries++;
	if (part_at(j->w->part) > 0)
		part_mark(j->w->part);
	wait_until(j, now + wait);
}

/* Not what was promised: once more from zero, and then it is 65. */
static void
off(struct job *j)
{
	struct work	*w = j->w;
	struct err	 e = { 0, "" };
	int		 same = w->offs > 0 &&
			     (take_same_tag(w->off_tag, w->tag) ||
			     (w->off_tag == NULL && w->tag == NULL));

	if (same || w->offs >= 2) {
		refuse(j, RETRY_FINAL, &w->e);
		return;
	}
	w->offs++;
	free(w->off_tag);
	w->off_tag = w->tag;
	w->tag = NULL;
	w->cached = 0;
	w->total = -1;
	w->want[0] = '\0';
	if (part_reset(w->part, 1, &e) == -1)
		refuse(j, RETRY_FINAL, &e);
	else
		again(j);
}

/* A whole 2xx. */
static void
whole(struct job *j, struct answer *a)
{
	struct work	*w = j->w;
	unsigned char	 d[HASH_LEN];

	if (take_promised(j) != UINT64_MAX &&
	    part_at(w->part) < take_promised(j)) {
		a->own.code = 0;
		err_set(&a->own, MSG_TEMPFAIL, "%s: the answer was cut short: "
		    "want %llu bytes, got %llu", j->g.name,
		    (unsigned long long)take_promised(j),
		    (unsigned long long)part_at(w->part));
		a->what = RETRY_FAILED;
		a->e = &a->own;
		fail(j, a);
		return;
	}
	aimd_good(&j->x->aimd, io_now(), w->sent, a->first,
	    j->x->busy.n >= aimd_limit(&j->x->aimd));
	if (take_check_digest(j, d) == -1) {
		off(j);
		return;
	}
	(void)retry_tell(j->x->r, j->host->name, &j->op, RETRY_GOOD, -1,
	    NULL);
	j->asked = 0;
	job_end(j, d, NULL);
}

/* 412, 416: of our own conditions.  1 when that was it. */
static int
condition(struct job *j, int status)
{
	struct work	*w = j->w;

	if (status == 412 && w->matched) {
		if (j->g.etag != NULL)
			(void)take_replaced(j, "another");
		else if (take_anew(j, "another") == 0) {
			again(j);
			return 1;
		}
		refuse(j, RETRY_FINAL, &w->e);
		return 1;
	}
	if (status != 416 || !w->ranged || w->no_range)
		return 0;
	w->no_range = 1;
	again(j);
	return 1;
}

/* One request has ended. */
static void
ended(struct job *j, struct answer *a)
{
	struct work	*w = j->w;
	struct aimd	*m = &j->x->aimd;

	j->asking = 0;
	job_free_match(w);
	if (a->what == RETRY_BUSY || a->status == 429 || a->status == 503)
		aimd_slower(m, io_now(), w->sent);
	switch (w->verdict) {
	case V_AGAIN:
		again(j);
		return;
	case V_OFF:
		off(j);
		return;
	case V_FINAL:
		refuse(j, RETRY_FINAL, &w->e);
		return;
	case V_FAILED:
		a->what = RETRY_FAILED;
		a->own = w->e;
		a->e = &a->own;
		break;
	case V_NONE:
	case V_JUNK:
		break;
	}
	if (a->e == NULL)
		whole(j, a);
	else if (w->verdict != V_NONE || !condition(j, a->status))
		fail(j, a);
}

static void
on_s3(void *arg, const struct s3_res *r, const struct err *e)
{
	struct job	*j = arg;
	struct answer	 a;

	memset(&a, 0, sizeof(a));
	a.what = s3_judge(r, e);
	a.after = r->retry_after;
	a.first = r->first;
	a.status = r->status;
	if (e != NULL) {
		a.own = *e;
		if (a.own.code == MSG_CANTCREAT)
			a.own.code = MSG_DATAERR; /* 409 of a GET */
		a.e = &a.own;
	}
	ended(j, &a);
}

static void
on_net(void *arg, const struct net_res *r, const struct err *e)
{
	struct job	*j = arg;
	struct net_res	 n = *r;
	struct answer	 a;
	int		 code;

	memset(&a, 0, sizeof(a));
	if (j->w->verdict == V_JUNK) {
		n.status = j->w->status;
		e = NULL;
	}
	a.what = retry_judge(&n, e);
	a.after = n.retry_after;
	a.first = n.first;
	a.status = n.status;
	if (e != NULL) {
		err_set(&a.own, e->code, "%s: %s", j->g.name, e->text);
		a.e = &a.own;
	} else if (n.status >= 300) {
		code = net_status(&n);
		err_set(&a.own, code == MSG_OK || code == MSG_CANTCREAT ||
		    code == MSG_IOERR ? MSG_DATAERR : code, "%s: status %d",
		    j->g.name, n.status);
		if (n.status < 400)
			a.what = RETRY_FINAL;
		a.e = &a.own;
	}
	ended(j, &a);
}

/*
 * Beginnings.
 */

void
ask_drop(struct job *j)
{
	struct xfer	*x = j->x;

	if (j->asking && j->g.bucket != NULL)
		s3_cancel(x->s3, j);
	else if (j->asking)
		net_cancel(x->n, j);
	if (j->asked)
		(void)retry_tell(x->r, j->host->name, &j->op, RETRY_NONE, -1,
		    NULL);
	job_drop_part(j, 1);
	job_free(j);
}

/* What of it is here already is not asked for again. */
static void
set_range(struct job *j)
{
	struct work	*w = j->w;
	uint64_t	 at = part_at(w->part);

	w->ranged = w->matched = 0;
	w->range[0] = '\0';
	if (at == 0)
		return;
	w->ranged = 1;
	(void)snprintf(w->range, sizeof(w->range), "%sbytes=%llu-",
	    j->g.bucket == NULL ? "Range: " : "", (unsigned long long)at);
}

static int
start_s3(struct job *j, struct err *e)
{
	struct work	*w = j->w;
	struct s3_req	 q;
	const char	*tag = j->g.etag != NULL ? j->g.etag :
			     w->ranged ? w->tag : NULL;

	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.bucket = j->g.bucket;
	q.key = j->g.key;
	q.fd = -1;
	if (take_is_strong(tag)) {
		w->match = mem_dup(tag);
		w->matched = 1;
	}
	q.if_match = w->match;
	q.range = w->ranged ? w->range : NULL;
	q.max = UINT64_MAX;
	q.timeout = j->x->timeout;
	q.flags = j->g.sha256 == NULL ? S3_CHECKSUM : 0;
	q.head = take_head;
	q.sink = take_body;
	q.arg = j;
	return s3_start(j->x->s3, &q, on_s3, j, e);
}

static int
start_net(struct job *j, struct err *e)
{
	struct work	*w = j->w;
	struct net_req	 q;
	size_t		 n = 0, sz;

	for (; j->headers != NULL && j->headers[n] != NULL; n++)
		continue;
	w->headers = mem_zero(n + 3, sizeof(*w->headers));
	if (n > 0)
		memcpy(w->headers, j->headers, n * sizeof(*w->headers));
	if (w->ranged) {
		sz = strlen(w->tag) + sizeof("If-Range: ");
		w->match = mem_alloc(sz);
		(void)snprintf(w->match, sz, "If-Range: %s", w->tag);
		w->headers[n++] = w->range;
		w->headers[n++] = w->match;
	}
	memset(&q, 0, sizeof(q));
	q.method = "GET";
	q.url = j->g.url;
	q.headers = w->headers;
	q.fd = -1;
	q.max = UINT64_MAX;
	q.timeout = j->x->timeout;
	q.head = take_head;
	q.sink = take_body;
	q.arg = j;
	return net_start(j->x->n, &q, on_net, j, e);
}

/* Where its bytes stand: nothing is asked for that cannot be joined. */
static int
ready(struct job *j, struct err *e)
{
	struct work	*w = j->w;
	uint64_t	 at = part_at(w->part);

	if (at > 0 && (w->no_range || !take_is_strong(w->tag) ||
	    at >= take_promised(j)) && part_reset(w->part, 0, e) == -1)
		return -1;
	set_range(j);
	w->verdict = V_NONE;
	w->status = 0;
	w->junk = 0;
	memset(&w->e, 0, sizeof(w->e));
	w->sent = io_now();
	return 0;
}

void
ask_job(struct job *j)
{
	struct xfer	*x = j->x;
	struct err	 e = { 0, "" };
	int		 rv;

	if (ready(j, &e) == -1 || retry_ask(x->r, j->host->name, &j->op,
	    &e) == -1) {
		job_end_bad(j, &e);
		return;
	}
	j->asked = 1;
	j->tries++;
	x->requests++;
	/* keys may have to be fetched first, while others go on */
	j->starting = 1;
	rv = j->g.bucket != NULL ? start_s3(j, &e) : start_net(j, &e);
	j->starting = 0;
	j->asking = rv == 0;
	if (j->dropped)
		ask_drop(j);
	else if (rv == -1)
		refuse(j, RETRY_NONE, &e);
}
