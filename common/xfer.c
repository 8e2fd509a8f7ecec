/*
 * xfer: the queue of downloads: who is begun, and when.  It writes no byte
 * itself (part does), sends none (s3 and net do), and decides no wait
 * (retry does).
 * SPDX-License-Identifier: ISC
 */
#include "xfer.h"

#include <stdlib.h>
#include <string.h>

#include "aimd.h"
#include "io.h"
#include "mem.h"
#include "net.h"
#include "part.h"
#include "path.h"
#include "retry.h"
#include "s3.h"
#include "xfer_ask.h"
#include "xfer_job.h"
#include "xfer_take.h"
#include "banned.h"

#define XFER_SLICE_MS	500	/* longest wait at once */

/*
 * Making and ending.
 */

struct xfer *
xfer_new(struct net *n, struct s3 *s3, struct retry *r,
    const struct xfer_opts *o)
{
	struct xfer	*x = mem_zero(1, sizeof(*x));

	x->n = n;
	x->s3 = s3;
	x->r = r;
	x->ceiling = o->parallel > 0 ? o->parallel : XFER_PARALLEL;
	x->timeout = o->timeout;
	x->parts = parts_new(o->cache);
	x->cache = o->cache != NULL;
	aimd_init(&x->aimd, x->ceiling);
	return x;
}

void
xfer_cancel(struct xfer *x, const void *arg)
{
	struct list	*lists[3] = { &x->queue, &x->later, &x->busy };
	struct job	*j, *next;
	size_t		 i;

	for (i = 0; i < 3; i++)
		for (j = lists[i]->head; j != NULL; j = next) {
			next = j->next;
			if (j->g.arg != arg)
				continue;
			if (j->starting)
				j->dropped = 1;
			else
				ask_drop(j);
		}
}

void
xfer_free(struct xfer *x)
{
	struct list	*lists[3];
	size_t		 i;

	if (x == NULL)
		return;
	lists[0] = &x->busy;
	lists[1] = &x->later;
	lists[2] = &x->queue;
	for (i = 0; i < 3; i++)
		while (lists[i]->head != NULL)
			ask_drop(lists[i]->head);
	for (i = 0; i < x->n_hosts; i++) {
		free(x->hosts[i]->name);
		free(x->hosts[i]);
	}
	free(x->hosts);
	parts_free(x->parts);
	free(x);
}

void
xfer_stat(const struct xfer *x, struct xfer_stat *s)
{
	s->queued = x->queue.n;
	s->running = x->busy.n + x->later.n;
	s->done = x->done;
	s->bytes = x->bytes;
	s->requests = x->requests;
	s->retries = x->retries;
	s->limit = aimd_limit(&x->aimd);
}

/*
 * The queue.
 */

static struct host *
host_of(struct xfer *x, const char *name)
{
	struct host	*h;
	size_t		 i;

	for (i = x->n_hosts; i > 0; i--)
		if (strcmp(x->hosts[i - 1]->name, name) == 0)
			return x->hosts[i - 1];
	x->hosts = mem_grow(x->hosts, &x->cap_hosts, x->n_hosts + 1,
	    sizeof(struct host *));
	h = mem_zero(1, sizeof(*h));
	h->name = mem_dup(name);
	x->hosts[x->n_hosts++] = h;
	return h;
}

static size_t
room(const char *s)
{
	return s != NULL ? strlen(s) + 1 : 0;
}

/* A copy of *s at *at, which moves on. */
static void
copy(const char **s, char **at)
{
	size_t	n = room(*s);

	if (n == 0)
		return;
	memcpy(*at, *s, n);
	*s = *at;
	*at += n;
}

/* All strings of the request, in one piece of memory. */
static void
copy_strings(struct job *j)
{
	struct xfer_get	*g = &j->g;
	const char	**all[] = { &g->name, &g->bucket, &g->key, &g->url,
			    &g->etag, &g->sha256, &g->file };
	size_t		 i, n = 0, sz = 0;
	char		*at;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		sz += room(*all[i]);
	for (n = 0; g->headers != NULL && g->headers[n] != NULL; n++)
		sz += room(g->headers[n]);
	at = j->text = mem_alloc(sz);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		copy(all[i], &at);
	if (n == 0) {
		g->headers = NULL;
		return;
	}
	j->headers = mem_zero(n + 1, sizeof(*j->headers));
	for (i = 0; i < n; i++) {
		j->headers[i] = g->headers[i];
		copy(&j->headers[i], &at);
	}
	g->headers = j->headers;
}

int
xfer_get(struct xfer *x, const struct xfer_get *g, struct err *e)
{
	unsigned char	 d[HASH_LEN];
	struct job	*j;
	char		*host = NULL;

	if (g->sha256 != NULL && hash_unhex(g->sha256, d) == -1)
		return err_set(e, MSG_USAGE, "%s: sha256: want 64 hex "
		    "digits, got %s", g->name, g->sha256);
	if (g->file != NULL && !path_is_safe(g->file))
		return err_set(e, MSG_DATAERR, "%s: its name cannot be one "
		    "of a file here", g->name);
	if (g->bucket != NULL ? g->key == NULL || x->s3 == NULL :
	    g->url == NULL)
		return err_set(e, MSG_USAGE, "%s: neither http, https nor "
		    "an object", g->name);
	if (g->bucket == NULL && (host = net_host(g->url, e)) == NULL)
		return -1;
	j = mem_zero(1, sizeof(*j));
	j->x = x;
	j->g = *g;
	j->host = host_of(x, host != NULL ? host : s3_host(x->s3));
	free(host);
	copy_strings(j);
	job_put(&x->queue, NULL, j);
	return 0;
}

/*
 * Beginnings.
 */

static void
begin(struct job *j)
{
	struct xfer	*x = j->x;
	struct work	*w;
	struct err	 e = { 0, "" };

	job_move(j, &x->busy);
	if (j->w == NULL) {
		if (j->g.file != NULL && part_is_free(j->g.dirfd, j->g.file,
		    j->g.name, &e) == -1) {
			job_end_bad(j, &e);
			return;
		}
		j->w = mem_zero(1, sizeof(*j->w));
		j->w->total = -1;
	}
	w = j->w;
	if (w->part == NULL) {
		w->part = part_new(x->parts, j->g.dirfd, j->g.file,
		    j->g.name);
		x->open++;
		if (j->g.has_size && j->g.size <= INT64_MAX &&
		    take_may_cache(j, j->g.etag, (int64_t)j->g.size)) {
			free(w->tag);
			w->tag = mem_dup(j->g.etag);
			w->cached = 1;
			if (part_cache(w->part, w->tag) == 1) {
				take_begin_reading(j);
				return;
			}
		}
	}
	ask_job(j);
}

/* The next one whose time has come, or NULL. */
static struct job *
next_job(struct xfer *x, double now)
{
	struct job	*j = x->later.head;

	if (j != NULL && j->due <= now)
		return j;
	return x->open < x->ceiling ? x->queue.head : NULL;
}

/* Read on in what an earlier process left, a slice of one of them. */
static void
read_on(struct xfer *x)
{
	struct job	*j;

	for (j = x->busy.head; j != NULL && !j->reading; j = j->next)
		continue;
	if (j == NULL)
		return;
	job_move(j, &x->busy);
	if (part_read(j->w->part) == 1)
		return;
	j->reading = 0;
	x->reading--;
	ask_job(j);
}

static void
start_all(struct xfer *x)
{
	struct job	*j;
	double		 now;

	if (x->reading > 0)
		read_on(x);
	while (x->busy.n < aimd_limit(&x->aimd) &&
	    (j = next_job(x, now = io_now())) != NULL) {
		if (j->host->hold > now)
			job_delay(j, j->host->hold);
		else
			begin(j);
	}
}

int
xfer_wait(struct xfer *x, unsigned int ms, struct err *e)
{
	uint64_t	done = x->done;
	double		now, until = io_now() + ms / 1000.0, left;

	for (;;) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "interrupted");
		start_all(x);
		if (x->queue.n + x->later.n + x->busy.n == 0)
			return 0;
		now = io_now();
		if (x->done != done || now >= until)
			return 1;
		left = until - now;
		/* one whose time has come waits for a place, not for us */
		if (x->later.head != NULL && x->later.head->due > now &&
		    x->later.head->due - now < left)
			left = x->later.head->due - now;
		if (x->reading > 0)
			left = 0;
		if (left > XFER_SLICE_MS / 1000.0)
			left = XFER_SLICE_MS / 1000.0;
		if (net_running(x->n) > 0) {
			if (net_wait(x->n, (unsigned int)(left * 1000 +
			    (left > 0)), e) == -1)
				return -1;
		} else if (retry_sleep(left, e) == -1)
			return -1;
	}
}
