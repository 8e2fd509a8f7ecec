/*
 * xfer: the queue of downloads, what is asked for, and what the answers
 * are worth.  It writes no byte itself (part does), sends none (s3 and net
 * do), and decides no wait (retry does).
 *
 * A job is in one of three lists: queued, waiting for its time after a
 * failure, or busy (its request is under way, or a piece that an earlier
 * process left is being read).
 * SPDX-License-Identifier: ISC
 */
#include "xfer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aimd.h"
#include "io.h"
#include "mem.h"
#include "net.h"
#include "num.h"
#include "path.h"
#include "retry.h"
#include "s3.h"
#include "banned.h"

#define XFER_JUNK	((uint64_t)256 << 10) /* bytes of an error's page */
#define XFER_RANGE	64	/* bytes of a Range's line */
#define XFER_SLICE_MS	500	/* longest wait at once */

struct list {
	struct job	*head, *tail;
	uint64_t	 n;
};

/* One server, and until when it wants to be left alone. */
struct host {
	char	*name;
	double	 hold;
};

struct xfer {
	struct net	*n;
	struct s3	*s3;
	struct retry	*r;
	struct parts	*parts;
	int		 cache;
	unsigned int	 ceiling, timeout;
	struct aimd	 aimd;
	struct list	 queue, later, busy;
	unsigned int	 open;		/* jobs that have a part */
	unsigned int	 reading;	/* of busy */
	struct host	**hosts;
	size_t		 n_hosts, cap_hosts;
	uint64_t	 done, bytes, requests, retries;
};

/* What our own look at an answer said, before its end. */
enum verdict {
	V_NONE,		/* nothing */
	V_FINAL,	/* no: w->e */
	V_AGAIN,	/* ask again, at once */
	V_OFF,		/* not what was promised: once more from zero */
	V_FAILED,	/* no answer that a healthy host gives */
	V_JUNK		/* an error with no end; its status is known */
};

/* What a job has once it was begun. */
struct work {
	struct part	*part;		/* NULL: while it waits */
	char		*tag;		/* ETag of the bytes, or NULL */
	char		*off_tag;	/* of the bytes that were wrong */
	unsigned int	 offs;		/* times they were */
	unsigned int	 anews;		/* times it was another object */
	int		 no_range;	/* ranges do not work here */
	int		 cached;	/* the cache was tried */
	int64_t		 total;		/* bytes, as the server says, or -1 */
	int64_t		 modified;
	int		 use_md5;	/* the ETag is one */
	char		 want[HASH_HEX]; /* SHA-256 that the server has */
	/* of one try */
	enum verdict	 verdict;
	struct err	 e;
	int		 status;
	uint64_t	 junk;
	double		 sent;
	int		 ranged, matched;
	char		 range[XFER_RANGE];
	char		*match;		/* If-Match, or the If-Range line */
	const char	**headers;
};

struct job {
	struct job	*prev, *next;
	struct list	*in;
	struct xfer	*x;
	struct xfer_get	 g;		/* strings are in text */
	char		*text;
	const char	**headers;
	struct host	*host;
	struct retry_op	 op;
	struct work	*w;
	double		 due;		/* in later */
	uint64_t	 moved;
	unsigned int	 tries;
	unsigned int	 asking : 1;	/* a request is under way */
	unsigned int	 asked : 1;	/* retry wants to be told */
	unsigned int	 reading : 1;
	unsigned int	 starting : 1;	/* cancel must leave it to us */
	unsigned int	 dropped : 1;
};

/*
 * Lists.
 */

static void
put_before(struct list *l, struct job *at, struct job *j)
{
	j->in = l;
	j->next = at;
	j->prev = at != NULL ? at->prev : l->tail;
	if (j->prev != NULL)
		j->prev->next = j;
	else
		l->head = j;
	if (at != NULL)
		at->prev = j;
	else
		l->tail = j;
	l->n++;
}

static void
take(struct job *j)
{
	struct list	*l = j->in;

	if (l == NULL)
		return;
	if (j->prev != NULL)
		j->prev->next = j->next;
	else
		l->head = j->next;
	if (j->next != NULL)
		j->next->prev = j->prev;
	else
		l->tail = j->prev;
	l->n--;
	j->in = NULL;
}

static void
move(struct job *j, struct list *l)
{
	take(j);
	put_before(l, NULL, j);
}

/* Wait until due, behind those that wait as long. */
static void
delay(struct job *j, double due)
{
	struct list	*l = &j->x->later;
	struct job	*at = NULL, *p;

	take(j);
	j->due = due;
	for (p = l->tail; p != NULL && p->due > due; p = p->prev)
		at = p;
	put_before(l, at, j);
}

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

static void
drop_part(struct job *j, int keep)
{
	if (j->w == NULL || j->w->part == NULL)
		return;
	part_free(j->w->part, keep);
	j->w->part = NULL;
	j->w->cached = 0;
	j->x->open--;
}

static void
free_match(struct work *w)
{
	free(w->match);
	free(w->headers);
	w->match = NULL;
	w->headers = NULL;
}

/* Out of its list, and gone; the part has been dropped. */
static void
free_job(struct job *j)
{
	take(j);
	if (j->reading)
		j->x->reading--;
	if (j->w != NULL) {
		free_match(j->w);
		free(j->w->tag);
		free(j->w->off_tag);
		free(j->w);
	}
	free(j->headers);
	free(j->text);
	free(j);
}

/* Without a word; what is in the cache stays for another time. */
static void
drop(struct job *j)
{
	struct xfer	*x = j->x;

	if (j->asking && j->g.bucket != NULL)
		s3_cancel(x->s3, j);
	else if (j->asking)
		net_cancel(x->n, j);
	if (j->asked)
		(void)retry_tell(x->r, j->host->name, &j->op, RETRY_NONE, -1,
		    NULL);
	drop_part(j, 1);
	free_job(j);
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
				drop(j);
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
			drop(lists[i]->head);
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
	put_before(&x->queue, NULL, j);
	return 0;
}

/*
 * Ends.
 */

/* Is what was put aside of use to a later process? */
static int
may_go_on(const struct err *e)
{
	return e->code == MSG_TEMPFAIL || e->code == MSG_NOPERM ||
	    e->code == MSG_IOERR;
}

/* It came (d: its digest, e NULL), or did not (e, d NULL). */
static void
end(struct job *j, const unsigned char *d, const struct err *e)
{
	struct work	*w = j->w;
	struct xfer_got	 got;
	struct err	 bad = { 0, "" };

	memset(&got, 0, sizeof(got));
	got.moved = j->moved;
	got.tries = j->tries;
	if (w != NULL) {
		got.etag = w->tag;
		got.modified = w->modified;
	}
	if (d != NULL && w != NULL) {
		got.size = part_at(w->part);
		got.resumed = part_old(w->part);
		memcpy(got.sha256, d, HASH_LEN);
		if (part_place(w->part, &bad) == -1)
			e = &bad;
	}
	drop_part(j, e != NULL && may_go_on(e));
	take(j);
	j->x->done++;
	j->g.done(j->g.arg, &got, e);
	free_job(j);
}

/* The same for what is said in w->e, which goes with the job. */
static void
end_bad(struct job *j, const struct err *e)
{
	struct err	copied = *e;

	end(j, NULL, &copied);
}

/*
 * What answers say of the object.
 */

static int
give_up(struct job *j, enum verdict v, int code, const char *fmt, ...)
    MSG_PRINTF(4, 5);

/* -1, for head and sink to return. */
static int
give_up(struct job *j, enum verdict v, int code, const char *fmt, ...)
{
	struct work	*w = j->w;
	va_list		 ap;
	size_t		 n;

	w->verdict = v;
	w->e.code = code;
	n = (size_t)snprintf(w->e.text, sizeof(w->e.text), "%s: ", j->g.name);
	if (n < sizeof(w->e.text)) {
		va_start(ap, fmt);
		(void)vsnprintf(w->e.text + n, sizeof(w->e.text) - n, fmt,
		    ap);
		va_end(ap);
	}
	return -1;
}

/* By bytes; that of nothing is like nothing else. */
static int
same_tag(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static int
is_strong(const char *tag)
{
	return tag != NULL && tag[0] == '"';
}

/* "0123456789abcdef0123456789abcdef", with its quotes. */
static int
is_md5(const char *tag)
{
	return tag != NULL && strlen(tag) == 2 * HASH_MD5 + 2 &&
	    tag[0] == '"' && tag[2 * HASH_MD5 + 1] == '"' &&
	    strspn(tag + 1, "0123456789abcdefABCDEF") == 2 * HASH_MD5;
}

/* May the ETag be the MD5 that the bytes must have? */
static int
may_md5(const struct job *j, const char *tag)
{
	return j->g.bucket != NULL && j->g.sha256 == NULL &&
	    !s3_is_tls(j->x->s3) && is_md5(tag);
}

/* 44 characters of base64 as 64 hex digits: 0, or -1 for other text. */
static int
unbase64(const char *s, char hex[HASH_HEX])
{
	static const char	 digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char		 d[HASH_LEN + 1];
	const char		*p;
	uint32_t		 v = 0;
	size_t			 i, n = 0;

	if (strlen(s) != 44 || s[43] != '=')
		return -1;
	for (i = 0; i < 44; i++) {
		p = i < 43 ? strchr(digits, s[i]) : digits;
		if (p == NULL || *p == '\0')
			return -1;
		v = v << 6 | (uint32_t)(p - digits);
		if (i % 4 != 3)
			continue;
		d[n++] = (unsigned char)(v >> 16);
		d[n++] = (unsigned char)(v >> 8);
		if (n <= HASH_LEN)
			d[n++] = (unsigned char)v;
		v = 0;
	}
	hash_hex(d, hex);
	return 0;
}

/* What the headers say that the bytes' digest is. whole: of a 200. */
static void
expect_digest(struct job *j, const struct net_res *r, int whole)
{
	struct work	*w = j->w;
	unsigned char	 d[HASH_LEN];
	char		*s;
	size_t		 len;
	const char	*sse;

	w->use_md5 = 0;
	if (j->g.bucket == NULL || j->g.sha256 != NULL)
		return;
	if ((s = net_header_dup(r, "x-amz-meta-intact-sha256")) != NULL &&
	    hash_unhex(s, d) == 0)
		(void)snprintf(w->want, sizeof(w->want), "%s", s);
	free(s);
	/* of a range it would be that of a part */
	if (whole && w->want[0] == '\0' &&
	    (s = net_header_dup(r, "x-amz-checksum-sha256")) != NULL) {
		if (unbase64(s, w->want) == -1)
			w->want[0] = '\0';
		free(s);
	}
	if (w->want[0] != '\0' || !may_md5(j, w->tag))
		return;
	/* what is encrypted with such keys has another ETag */
	sse = net_header(r, "x-amz-server-side-encryption", &len);
	w->use_md5 = (sse == NULL || len < 7 ||
	    strncmp(sse, "aws:kms", 7) != 0) && net_header(r,
	    "x-amz-server-side-encryption-customer-algorithm", &len) == NULL;
	if (w->use_md5)
		part_md5(w->part);
}

static int
replaced(struct job *j, const char *tag)
{
	return give_up(j, V_FINAL, MSG_TEMPFAIL, "was replaced meanwhile: "
	    "want ETag %s, got %s", j->g.etag != NULL ? j->g.etag :
	    j->w->tag != NULL ? j->w->tag : "none",
	    tag != NULL ? tag : "none");
}

/* From zero, because it is another object: once. */
static int
anew(struct job *j, const char *tag)
{
	struct work	*w = j->w;

	if (w->anews++ > 0)
		return replaced(j, tag);
	w->cached = 0;
	w->want[0] = '\0';
	w->total = -1;
	w->e.code = 0;
	if (part_reset(w->part, 1, &w->e) == -1) {
		w->verdict = V_FINAL;
		return -1;
	}
	free(w->tag);
	w->tag = NULL;
	return 0;
}

/* Is the size what it may be? */
static int
check_size(struct job *j, int64_t n)
{
	const struct xfer_get	*g = &j->g;

	if (n < 0)
		return 0;
	if (g->max != 0 && (uint64_t)n > g->max)
		return give_up(j, V_FINAL, MSG_DATAERR, "size: want at most "
		    "%llu, got %lld", (unsigned long long)g->max,
		    (long long)n);
	if (g->has_size && (uint64_t)n != g->size)
		return give_up(j, V_OFF, MSG_DATAERR, "size: want %llu, got "
		    "%lld", (unsigned long long)g->size, (long long)n);
	return 0;
}

/* Large enough, and of a version that is known: into the cache with it. */
static int
may_cache(const struct job *j, const char *tag, int64_t size)
{
	return j->x->cache && j->g.file != NULL && !j->w->cached &&
	    is_strong(tag) && size >= (int64_t)XFER_CACHE_MIN;
}

/* Bytes of an earlier process are there: they are read first. */
static void
begin_reading(struct job *j)
{
	if (may_md5(j, j->w->tag))
		part_md5(j->w->part);
	j->reading = 1;
	j->x->reading++;
}

/* A 200. */
static int
head_whole(struct job *j, const struct net_res *r)
{
	struct work	*w = j->w;

	if (j->g.etag != NULL && !same_tag(j->g.etag, r->etag))
		return replaced(j, r->etag);
	if (part_at(w->part) > 0) {
		if (!same_tag(w->tag, r->etag) && anew(j, r->etag) == -1)
			return -1;
		w->e.code = 0;
		if (part_reset(w->part, 0, &w->e) == -1) {
			w->verdict = V_FINAL;
			return -1;
		}
	}
	if (!same_tag(w->tag, r->etag))
		w->want[0] = '\0';
	free(w->tag);
	w->tag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	w->total = r->length;
	if (check_size(j, r->length) == -1)
		return -1;
	expect_digest(j, r, 1);
	if (!may_cache(j, w->tag, w->total))
		return 0;
	w->cached = 1;
	if (part_cache(w->part, w->tag) == 0)
		return 0;
	begin_reading(j);
	return give_up(j, V_AGAIN, MSG_TEMPFAIL, "some of it is here");
}

/* "bytes 5-9/10": where the part begins and what all of it has, or -1. */
static int
read_range(const struct net_res *r, uint64_t *from, int64_t *total)
{
	char		*s = net_header_dup(r, "content-range"), *dash, *slash;
	const char	*why;
	uint64_t	 to, n;
	int		 rv = -1;

	if (s == NULL || strncasecmp(s, "bytes ", 6) != 0)
		goto done;
	dash = strchr(s, '-');
	slash = strchr(s, '/');
	if (dash == NULL || slash == NULL || dash > slash)
		goto done;
	*dash = *slash = '\0';
	if (num_u64(s + 6, 0, INT64_MAX, from, &why) == -1 ||
	    num_u64(dash + 1, *from, INT64_MAX, &to, &why) == -1)
		goto done;
	*total = -1;
	if (strcmp(slash + 1, "*") != 0) {
		if (num_u64(slash + 1, to + 1, INT64_MAX, &n, &why) == -1)
			goto done;
		*total = (int64_t)n;
	}
	rv = 0;
done:
	free(s);
	return rv;
}

/* A 206: the same object, from where we are, or not at all. */
static int
head_rest(struct job *j, const struct net_res *r)
{
	struct work	*w = j->w;
	uint64_t	 from;
	int64_t		 total;

	if (!w->ranged)
		return give_up(j, V_FAILED, MSG_TEMPFAIL, "a part came that "
		    "was not asked for");
	if (!same_tag(w->tag, r->etag)) {
		if (j->g.etag != NULL)
			return replaced(j, r->etag);
		if (anew(j, r->etag) == -1)
			return -1;
		return give_up(j, V_AGAIN, MSG_TEMPFAIL, "another object");
	}
	if (read_range(r, &from, &total) == -1 ||
	    from != part_at(w->part) || (total >= 0 && w->total >= 0 &&
	    total != w->total)) {
		w->no_range = 1;
		return give_up(j, V_AGAIN, MSG_TEMPFAIL, "Content-Range: not "
		    "what was asked for");
	}
	if (total >= 0)
		w->total = total;
	if (check_size(j, total) == -1)
		return -1;
	expect_digest(j, r, 0);
	return 0;
}

/* The headers are there: is its body worth taking? */
static int
on_head(void *arg, const struct net_res *r, struct err *e)
{
	struct job	*j = arg;
	struct work	*w = j->w;
	int		 rv = 0;

	w->status = r->status;
	if (r->status >= 300)
		return 0;
	if (r->modified != 0)
		w->modified = r->modified;
	if (r->status == 200)
		rv = head_whole(j, r);
	else if (r->status == 206)
		rv = head_rest(j, r);
	else
		rv = give_up(j, V_FINAL, MSG_DATAERR, "status %d",
		    r->status);
	if (rv == -1)
		*e = w->e;
	return rv;
}

/* Bytes of the object, at most; UINT64_MAX: nobody knows. */
static uint64_t
promised(const struct job *j)
{
	if (j->g.has_size)
		return j->g.size;
	return j->w->total >= 0 ? (uint64_t)j->w->total : UINT64_MAX;
}

static int
take_bytes(struct job *j, const void *p, size_t n)
{
	struct work	*w = j->w;
	uint64_t	 at = part_at(w->part);

	if (n > promised(j) - at)
		return give_up(j, V_OFF, MSG_DATAERR, "size: want %llu, got "
		    "more", (unsigned long long)promised(j));
	if (j->g.max != 0 && (at > j->g.max || n > j->g.max - at))
		return give_up(j, V_FINAL, MSG_DATAERR, "size: want at most "
		    "%llu, got more", (unsigned long long)j->g.max);
	w->e.code = 0;
	if (part_add(w->part, p, n, &w->e) == 0)
		return 0;
	w->verdict = V_FINAL;
	return -1;
}

static int
on_body(void *arg, int status, const void *p, size_t n, struct err *e)
{
	struct job	*j = arg;
	int		 rv;

	j->moved += n;
	j->x->bytes += n;
	if (status >= 300) {
		/* of http alone: somebody's page of excuses */
		j->w->junk += n;
		rv = j->w->junk > XFER_JUNK ? give_up(j, V_JUNK,
		    MSG_TEMPFAIL, "status %d", status) : 0;
	} else
		rv = take_bytes(j, p, n);
	if (rv == -1)
		*e = j->w->e;
	return rv;
}

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
		drop_part(j, 0);
	delay(j, due);
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
		move(j, &j->x->busy);
	else
		wait_until(j, io_now());
}

/* Not again. */
static void
refuse(struct job *j, enum retry_what what, const struct err *e)
{
	(void)retry_tell(j->x->r, j->host->name, &j->op, what, -1, e->text);
	j->asked = 0;
	end_bad(j, e);
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
		end_bad(j, a->e);
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
	int		 same = w->offs > 0 && (same_tag(w->off_tag, w->tag) ||
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

/* All bytes are there: are they the right ones?  0, or w->e. */
static int
check_digest(struct job *j, unsigned char d[HASH_LEN])
{
	struct work	*w = j->w;
	unsigned char	 md5[HASH_LEN] = { 0 };
	char		 hex[HASH_HEX], tag[2 * HASH_MD5 + 1];
	const char	*want = j->g.sha256 != NULL ? j->g.sha256 : w->want;
	int		 has;

	part_final(w->part, d, md5, &has);
	hash_hex(d, hex);
	if (*want != '\0' && strcmp(want, hex) != 0)
		return give_up(j, V_OFF, MSG_DATAERR, "SHA-256: want %s, got "
		    "%s", want, hex);
	if (!w->use_md5 || !has)
		return 0;
	hash_hex(md5, hex);
	hex[2 * HASH_MD5] = '\0';
	(void)snprintf(tag, sizeof(tag), "%s", w->tag + 1);
	if (strcasecmp(tag, hex) == 0)
		return 0;
	return give_up(j, V_OFF, MSG_DATAERR, "MD5: want %s (its ETag), got "
	    "%s", tag, hex);
}

/* A whole 2xx. */
static void
whole(struct job *j, struct answer *a)
{
	struct work	*w = j->w;
	unsigned char	 d[HASH_LEN];

	if (promised(j) != UINT64_MAX && part_at(w->part) < promised(j)) {
		a->own.code = 0;
		err_set(&a->own, MSG_TEMPFAIL, "%s: the answer was cut short: "
		    "want %llu bytes, got %llu", j->g.name,
		    (unsigned long long)promised(j),
		    (unsigned long long)part_at(w->part));
		a->what = RETRY_FAILED;
		a->e = &a->own;
		fail(j, a);
		return;
	}
	aimd_good(&j->x->aimd, io_now(), w->sent, a->first,
	    j->x->busy.n >= aimd_limit(&j->x->aimd));
	if (check_digest(j, d) == -1) {
		off(j);
		return;
	}
	(void)retry_tell(j->x->r, j->host->name, &j->op, RETRY_GOOD, -1,
	    NULL);
	j->asked = 0;
	end(j, d, NULL);
}

/* 412, 416: of our own conditions.  1 when that was it. */
static int
condition(struct job *j, int status)
{
	struct work	*w = j->w;

	if (status == 412 && w->matched) {
		if (j->g.etag != NULL)
			(void)replaced(j, "another");
		else if (anew(j, "another") == 0) {
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
	free_match(w);
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
	if (is_strong(tag)) {
		w->match = mem_dup(tag);
		w->matched = 1;
	}
	q.if_match = w->match;
	q.range = w->ranged ? w->range : NULL;
	q.max = UINT64_MAX;
	q.timeout = j->x->timeout;
	q.flags = j->g.sha256 == NULL ? S3_CHECKSUM : 0;
	q.head = on_head;
	q.sink = on_body;
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
	q.head = on_head;
	q.sink = on_body;
	q.arg = j;
	return net_start(j->x->n, &q, on_net, j, e);
}

/* Where its bytes stand: nothing is asked for that cannot be joined. */
static int
ready(struct job *j, struct err *e)
{
	struct work	*w = j->w;
	uint64_t	 at = part_at(w->part);

	if (at > 0 && (w->no_range || !is_strong(w->tag) ||
	    at >= promised(j)) && part_reset(w->part, 0, e) == -1)
		return -1;
	set_range(j);
	w->verdict = V_NONE;
	w->status = 0;
	w->junk = 0;
	memset(&w->e, 0, sizeof(w->e));
	w->sent = io_now();
	return 0;
}

/* Send it.  The job may have ended when this returns. */
static void
ask(struct job *j)
{
	struct xfer	*x = j->x;
	struct err	 e = { 0, "" };
	int		 rv;

	if (ready(j, &e) == -1 || retry_ask(x->r, j->host->name, &j->op,
	    &e) == -1) {
		end_bad(j, &e);
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
		drop(j);
	else if (rv == -1)
		refuse(j, RETRY_NONE, &e);
}

static void
begin(struct job *j)
{
	struct xfer	*x = j->x;
	struct work	*w;
	struct err	 e = { 0, "" };

	move(j, &x->busy);
	if (j->w == NULL) {
		if (j->g.file != NULL && part_is_free(j->g.dirfd, j->g.file,
		    j->g.name, &e) == -1) {
			end_bad(j, &e);
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
		    may_cache(j, j->g.etag, (int64_t)j->g.size)) {
			free(w->tag);
			w->tag = mem_dup(j->g.etag);
			w->cached = 1;
			if (part_cache(w->part, w->tag) == 1) {
				begin_reading(j);
				return;
			}
		}
	}
	ask(j);
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
	move(j, &x->busy);
	if (part_read(j->w->part) == 1)
		return;
	j->reading = 0;
	x->reading--;
	ask(j);
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
			delay(j, j->host->hold);
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
