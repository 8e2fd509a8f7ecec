/*
 * s3: one request: its URL and signature, its answer's meaning, and the
 * few cases in which it is signed anew.  It decides no retry but those of
 * the calls that wait, and those only as retry says.
 * SPDX-License-Identifier: ISC
 */
#include "s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cred.h"
#include "io.h"
#include "mem.h"
#include "s3_endpoint.h"
#include "xml.h"
#include "banned.h"

#define S3_URL_MAX	((size_t)256 << 10)
#define S3_SKEW_NS	((int64_t)300 * 1000000000) /* a clock is wrong */
#define S3_PIECE	((size_t)256 << 10)	/* bytes digested at once */
#define S3_ERROR_MAX	((uint64_t)256 << 10)	/* bytes of an <Error> */
#define S3_TEXT_MAX	200		/* bytes of a server's words */
#define S3_MOVES	2	/* signings for another place */

struct s3 {
	struct net	*n;
	struct retry	*r;
	struct cred	*cred;		/* NULL: nothing is signed */
	struct s3_endpoint at;
	int64_t		 skew;		/* ns to add to our clock */
	struct op	*list;		/* under way, the last one first */
};

/* One request under way, over its signings. */
struct op {
	struct s3	*s;
	struct op	*prev, *next;
	struct s3_req	 q;
	struct buf	 url, auth;
	struct buf	 lines;		/* what the headers' bytes lie in */
	char		 sha[HASH_HEX];
	char		*name;		/* "s3://bucket/key", for people */
	struct buf	 body;		/* kept */
	uint64_t	 got;		/* bytes of a 2xx */
	int		 skewed, moved, renewed; /* times that was done */
	void		(*done)(void *, const struct s3_res *,
			    const struct err *);
	void		*arg;
};

void
s3_res_clear(struct s3_res *r)
{
	free(r->etag);
	free(r->sha256);
	free(r->headers);
	buf_free(&r->body);
	r->etag = r->sha256 = r->headers = NULL;
}

char *
s3_header(const struct s3_res *r, const char *name)
{
	struct net_res	n;

	memset(&n, 0, sizeof(n));
	n.headers = r->headers;
	return net_header_dup(&n, name);
}

struct s3 *
s3_new(struct net *n, const struct cred_conf *conf, int keys,
    struct retry *r, struct err *e)
{
	struct s3	*s = mem_zero(1, sizeof(*s));

	s->n = n;
	s->r = r;
	if (s3_endpoint_init(&s->at, conf, e) == -1) {
		s3_free(s);
		return NULL;
	}
	if (keys)
		s->cred = cred_new(conf);
	return s;
}

static int
check_bucket(const char *b, struct err *e)
{
	size_t	n = strlen(b);

	if (n == 0 || n > S3_BUCKET_MAX || b[strspn(b,
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	    "._-")] != '\0' || strcmp(b, ".") == 0 || strcmp(b, "..") == 0)
		return err_set(e, MSG_USAGE, "bucket: want 1 to %d letters, "
		    "digits, dots, hyphens", S3_BUCKET_MAX);
	return 0;
}

int
s3_url(const char *url, char **bucket, char **key, struct err *e)
{
	size_t	n;

	*bucket = *key = NULL;
	if (strncmp(url, "s3://", 5) != 0)
		return err_set(e, MSG_USAGE, "%s: want s3://bucket/key", url);
	n = strcspn(url + 5, "/");
	*bucket = mem_ndup(url + 5, n);
	*key = mem_dup(url[5 + n] == '/' ? url + 5 + n + 1 : "");
	if (check_bucket(*bucket, e) == 0 && strlen(*key) <= S3_KEY_MAX)
		return 0;
	free(*bucket);
	free(*key);
	*bucket = *key = NULL;
	return err_set(e, MSG_USAGE, "%s: a key of more than %d bytes", url,
	    S3_KEY_MAX);
}

static void
op_free(struct op *o)
{
	if (o->prev != NULL)
		o->prev->next = o->next;
	else if (o->s->list == o)
		o->s->list = o->next;
	if (o->next != NULL)
		o->next->prev = o->prev;
	if (o->lines.p != NULL)
		sign_wipe(o->lines.p, o->lines.cap);
	buf_free(&o->lines);
	buf_free(&o->auth);
	buf_free(&o->url);
	buf_free(&o->body);
	free(o->name);
	free(o);
}

/* Ends one that is under way, without a word. */
static void
op_drop(struct op *o)
{
	net_cancel(o->s->n, o);
	op_free(o);
}

void
s3_free(struct s3 *s)
{
	if (s == NULL)
		return;
	while (s->list != NULL)
		op_drop(s->list);
	cred_free(s->cred);
	s3_endpoint_clear(&s->at);
	free(s);
}

struct net *
s3_net(const struct s3 *s)
{
	return s->n;
}

struct retry *
s3_retry(const struct s3 *s)
{
	return s->r;
}

const char *
s3_host(const struct s3 *s)
{
	return s->at.label;
}

int
s3_is_tls(const struct s3 *s)
{
	return strcmp(s->at.scheme, "https") == 0;
}

/*
 * One signing.
 */

/* SHA-256 of the body, where the caller has not said it. */
static int
digest_body(struct op *o, struct err *e)
{
	struct hash	*h;
	unsigned char	 d[HASH_LEN], *p;
	uint64_t	 at = 0;
	ssize_t		 n;
	int		 rv = 0;

	if (o->q.sha256 != NULL) {
		(void)snprintf(o->sha, sizeof(o->sha), "%s", o->q.sha256);
		return 0;
	}
	h = hash_new();
	p = NULL;
	if (o->q.body != NULL)
		hash_add(h, o->q.body, (size_t)o->q.n);
	else if (o->q.n > 0)
		p = mem_alloc(S3_PIECE);
	while (p != NULL && at < o->q.n && rv == 0) {
		n = io_pread(o->q.fd, p, o->q.n - at < S3_PIECE ?
		    (size_t)(o->q.n - at) : S3_PIECE, o->q.off + at);
		if (n == -1)
			rv = err_sys(e, errno, "%s", o->name);
		else if (n == 0)
			rv = err_set(e, MSG_DATAERR, "%s: what is to be sent "
			    "is shorter than said", o->name);
		else {
			hash_add(h, p, (size_t)n);
			at += (uint64_t)n;
		}
	}
	hash_final(h, d);
	hash_hex(d, o->sha);
	hash_free(h);
	free(p);
	return rv;
}

/* The headers of one signing: lines in o->lines, ends by NUL. */
static void
line(struct op *o, const char *name, const char *value)
{
	buf_printf(&o->lines, "%s: %s", name, value);
	buf_addc(&o->lines, '\0');
}

/* An ETag without its quotes. */
static char *
unquoted(const char *etag)
{
	size_t	n = strlen(etag);

	return n >= 2 && etag[0] == '"' && etag[n - 1] == '"' ?
	    mem_ndup(etag + 1, n - 2) : mem_dup(etag);
}

int
s3_is_read(const struct s3_req *q)
{
	return strcmp(q->method, "GET") == 0 ||
	    strcmp(q->method, "HEAD") == 0;
}

/* Can "409" or "412" be what was asked for? */
static int
is_conditional(const struct s3_req *q)
{
	return q->if_match != NULL || q->flags & S3_IF_NONE;
}

/* Is the body of a 200 the server's own, and no object? */
static int
is_told(const struct s3_req *q)
{
	return !s3_is_read(q) || (q->sink == NULL && (q->key == NULL ||
	    q->n_query > 0));
}

static int
put_lines(struct op *o, const char *host, const char *date,
    const char *token, struct err *e)
{
	struct s3_req	*q = &o->q;
	char		 b64[SIGN_B64_SHA], *tag;
	size_t		 i;

	buf_reset(&o->lines);
	line(o, "Host", host);
	line(o, "x-amz-date", date);
	line(o, "x-amz-content-sha256", o->sha);
	if (token != NULL)
		line(o, "x-amz-security-token", token);
	if (q->flags & S3_IF_NONE)
		line(o, "If-None-Match", "*");
	if (q->if_match != NULL) {
		tag = s3_is_read(q) ? mem_dup(q->if_match) :
		    unquoted(q->if_match);
		line(o, "If-Match", tag);
		free(tag);
	}
	if (q->range != NULL)
		line(o, "Range", q->range);
	if (q->flags & S3_CHECKSUM && s3_is_read(q))
		line(o, "x-amz-checksum-mode", "ENABLED");
	else if (q->flags & S3_CHECKSUM) {
		if (sign_b64_sha(o->sha, b64) == -1)
			return err_set(e, MSG_SOFTWARE, "%s: sha256: not 64 "
			    "hex digits", o->name);
		line(o, "x-amz-sdk-checksum-algorithm", "SHA256");
		line(o, "x-amz-checksum-sha256", b64);
	}
	if (q->flags & S3_MD5) {
		sign_b64_md5(q->body, (size_t)q->n, b64);
		line(o, "Content-MD5", b64);
	}
	for (i = 0; q->headers != NULL && q->headers[i] != NULL; i++) {
		buf_str(&o->lines, q->headers[i]);
		buf_addc(&o->lines, '\0');
	}
	return 0;
}

static void on_net(void *, const struct net_res *, const struct err *);

static int
on_body(void *arg, int status, const void *p, size_t n, struct err *e)
{
	struct op	*o = arg;

	if (status >= 200 && status < 300) {
		o->got += n;
		if (o->q.max != 0 && o->got > o->q.max)
			return err_set(e, MSG_DATAERR, "%s: larger than %llu "
			    "bytes", o->name, (unsigned long long)o->q.max);
		if (o->q.sink != NULL)
			return o->q.sink(o->q.arg, status, p, n, e);
	}
	/* more of an <Error> than this is of no use to anyone */
	if (status >= 300 && o->body.len + n > S3_ERROR_MAX)
		return 0;
	buf_add(&o->body, p, n);
	if (o->body.over)
		return err_set(e, MSG_DATAERR, "%s: the answer is larger than "
		    "%zu bytes", o->name, o->body.max);
	return 0;
}

static int
on_head(void *arg, const struct net_res *r, struct err *e)
{
	struct op	*o = arg;

	return r->status >= 200 && r->status < 300 && o->q.head != NULL ?
	    o->q.head(o->q.arg, r, e) : 0;
}

/* Sign it and send it: once more with what has been learned. */
static int
send_op(struct op *o, struct err *e)
{
	struct s3		*s = o->s;
	const char		*headers[SIGN_HEADERS + 2], *at, *end;
	struct sign_keys	 k = { NULL, NULL, NULL };
	struct sign_req		 sq;
	struct net_req		 nq;
	struct buf		 path, query;
	char			 host[S3_HOST_MAX], date[SIGN_DATE];
	size_t			 n = 0;
	int			 rv = -1;

	buf_init(&path, S3_URL_MAX);
	buf_init(&query, S3_URL_MAX);
	if (s->cred != NULL && cred_get(s->cred, &k, e) == -1)
		goto done;
	sign_date(io_wall_ns() + s->skew, date);
	s3_endpoint_put(&s->at, o->q.bucket, o->q.key, host, &path);
	sign_query(&query, o->q.query, o->q.n_query);
	if (put_lines(o, host, date, k.token, e) == -1)
		goto done;
	end = (const char *)o->lines.p + o->lines.len;
	for (at = (const char *)o->lines.p; at < end; at += strlen(at) + 1) {
		if (n == SIGN_HEADERS) {
			err_set(e, MSG_USAGE, "%s: too many headers",
			    o->name);
			goto done;
		}
		headers[n++] = at;
	}
	headers[n] = NULL;
	if (s->cred != NULL) {
		memset(&sq, 0, sizeof(sq));
		sq.method = o->q.method;
		sq.path = buf_cstr(&path);
		sq.query = buf_cstr(&query);
		sq.headers = headers;
		sq.payload = o->sha;
		sq.region = s3_endpoint_region(&s->at, o->q.bucket);
		sq.service = "s3";
		sq.date = date;
		buf_reset(&o->auth);
		buf_str(&o->auth, "Authorization: ");
		if (sign_v4(&o->auth, &sq, &k, e) == -1)
			goto done;
		headers[n++] = buf_cstr(&o->auth);
		headers[n] = NULL;
	}
	buf_reset(&o->url);
	buf_printf(&o->url, "%s://%s", s->at.scheme, host);
	buf_str(&o->url, buf_cstr(&path));
	if (query.len > 0) {
		buf_addc(&o->url, '?');
		buf_str(&o->url, buf_cstr(&query));
	}
	if (o->url.over || o->lines.over || path.over || query.over) {
		err_set(e, MSG_USAGE, "%s: too long", o->name);
		goto done;
	}
	memset(&nq, 0, sizeof(nq));
	nq.method = o->q.method;
	nq.url = buf_cstr(&o->url);
	nq.headers = headers;
	nq.body = o->q.body;
	nq.fd = o->q.fd;
	nq.off = o->q.off;
	nq.n = o->q.n;
	/* an <Error> may be larger than what is wanted */
	nq.max = o->q.max != 0 && o->q.max < S3_ERROR_MAX ? S3_ERROR_MAX :
	    o->q.max;
	nq.timeout = o->q.timeout;
	nq.stall = o->q.stall;
	nq.flags = NET_NOREDIR | (o->q.flags & S3_EXPECT ? NET_EXPECT : 0);
	/* an unknown outcome costs more than a connection */
	if (o->q.flags & S3_IF_NONE || (o->q.if_match != NULL &&
	    !s3_is_read(&o->q)))
		nq.flags |= NET_FRESH;
	nq.sink = on_body;
	nq.head = on_head;
	nq.arg = o;
	buf_reset(&o->body);
	o->got = 0;
	rv = net_start(s->n, &nq, on_net, o, e);
done:
	buf_free(&path);
	buf_free(&query);
	return rv;
}

int
s3_start(struct s3 *s, const struct s3_req *q,
    void (*done)(void *arg, const struct s3_res *r, const struct err *e),
    void *arg, struct err *e)
{
	struct op	*o;
	size_t		 sz;

	if (check_bucket(q->bucket, e) == -1)
		return -1;
	if (q->key != NULL && (*q->key == '\0' ||
	    strlen(q->key) > S3_KEY_MAX))
		return err_set(e, MSG_USAGE, "s3://%s: a key has 1 to %d "
		    "bytes", q->bucket, S3_KEY_MAX);
	o = mem_zero(1, sizeof(*o));
	o->s = s;
	o->q = *q;
	o->done = done;
	o->arg = arg;
	sz = strlen(q->bucket) + (q->key != NULL ? strlen(q->key) : 0) + 7;
	o->name = mem_alloc(sz);
	(void)snprintf(o->name, sz, "s3://%s%s%s", q->bucket,
	    q->key != NULL ? "/" : "", q->key != NULL ? q->key : "");
	buf_init(&o->lines, S3_URL_MAX);
	buf_init(&o->auth, S3_URL_MAX);
	buf_init(&o->url, S3_URL_MAX);
	buf_init(&o->body, (size_t)S3_XML_MAX);
	o->next = s->list;
	if (o->next != NULL)
		o->next->prev = o;
	s->list = o;
	if (digest_body(o, e) == 0 && send_op(o, e) == 0)
		return 0;
	op_free(o);
	return -1;
}

void
s3_cancel(struct s3 *s, const void *arg)
{
	struct op	*o, *next;

	for (o = s->list; o != NULL; o = next) {
		next = o->next;
		if (o->arg == arg)
			op_drop(o);
	}
}

/*
 * Answers.
 */

/* What an <Error> says. */
struct said {
	char	code[64], region[S3_REGION_MAX], text[S3_TEXT_MAX];
};

/* 1 when the body is an <Error>, and what it says. */
static int
read_error(const struct buf *b, struct said *said)
{
	struct xml	x;
	enum xml_type	t;
	int		rv = 0;

	memset(said, 0, sizeof(*said));
	if (b->len == 0)
		return 0;
	xml_init(&x, b->p, b->len);
	if (xml_next(&x) == XML_OPEN && strcmp(x.name, "Error") == 0) {
		rv = 1;
		while ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE) {
			if (t != XML_CLOSE || x.depth != 1)
				continue;
			if (strcmp(x.name, "Code") == 0)
				(void)snprintf(said->code, sizeof(said->code),
				    "%s", x.str);
			else if (strcmp(x.name, "Message") == 0)
				(void)snprintf(said->text, sizeof(said->text),
				    "%s", x.str);
			else if (strcmp(x.name, "Region") == 0 &&
			    s3_is_region(x.str))
				(void)snprintf(said->region,
				    sizeof(said->region), "%s", x.str);
		}
	}
	xml_clear(&x);
	return rv;
}

/* Was it refused unread, for a reason that can be mended here? */
static int
mend(struct op *o, const struct net_res *r, const struct said *said)
{
	struct s3	*s = o->s;
	int64_t		 off = r->date != 0 ? r->date - io_wall_ns() : 0;

	if (s->cred == NULL)
		return 0;
	if (r->status == 403 && !o->skewed && r->date != 0 &&
	    (strcmp(said->code, "RequestTimeTooSkewed") == 0 ||
	    strcmp(said->code, "RequestExpired") == 0 ||
	    said->code[0] == '\0') &&
	    (off - s->skew > S3_SKEW_NS || s->skew - off > S3_SKEW_NS)) {
		o->skewed = 1;
		s->skew = off;
		return 1;
	}
	if (!o->renewed && (strcmp(said->code, "ExpiredToken") == 0 ||
	    strcmp(said->code, "TokenRefreshRequired") == 0)) {
		o->renewed = 1;
		return cred_expired(s->cred) == 0;
	}
	if (r->status == 301 || r->status == 307 || r->status == 400 ||
	    r->status == 403)
		return o->moved++ < S3_MOVES && s3_endpoint_learn(&s->at,
		    o->q.bucket, r, said->region);
	return 0;
}

/* Codes that mean "again later", whatever status they come with. */
static int
is_busy(const char *code)
{
	return strcmp(code, "SlowDown") == 0 ||
	    strcmp(code, "Throttling") == 0 ||
	    strcmp(code, "ThrottlingException") == 0 ||
	    strcmp(code, "TooManyRequests") == 0 ||
	    strcmp(code, "RequestLimitExceeded") == 0 ||
	    strcmp(code, "BandwidthLimitExceeded") == 0;
}

static int
is_transient(const char *code)
{
	return is_busy(code) || strcmp(code, "InternalError") == 0 ||
	    strcmp(code, "ServiceUnavailable") == 0 ||
	    strcmp(code, "RequestTimeout") == 0;
}

static enum s3_outcome
outcome(const struct op *o, const struct net_res *r, const char *code)
{
	if (s3_is_read(&o->q))
		return S3_REFUSED;
	switch (r->status) {
	case 0:
		return r->sent ? S3_UNKNOWN : S3_REFUSED;
	case 409:
	case 412:
		return is_conditional(&o->q) ? S3_TAKEN : S3_UNKNOWN;
	case 404:
		/* of an upload: it may be gone because it was completed */
		return strcmp(o->q.method, "POST") == 0 &&
		    strcmp(code, "NoSuchUpload") == 0 ? S3_UNKNOWN :
		    S3_REFUSED;
	case 408:
		return S3_UNKNOWN;
	case 501:
		return S3_REFUSED;
	default:
		return r->status >= 300 && r->status < 500 ? S3_REFUSED :
		    S3_UNKNOWN;
	}
}

/* *e for an answer that is an error. */
static void
set_error(struct op *o, const struct net_res *r, const struct said *said,
    struct err *e)
{
	int	code = net_status(r);

	if (is_transient(said->code) || code == MSG_OK)
		code = MSG_TEMPFAIL;
	if (r->status >= 300 && r->status < 400)
		code = MSG_DATAERR;
	/* nobody was first, as there was nothing to be first at */
	if (code == MSG_CANTCREAT && !is_conditional(&o->q))
		code = r->status == 409 ? MSG_TEMPFAIL : MSG_DATAERR;
	if (said->code[0] == '\0')
		err_set(e, code, "%s: %s: status %d", o->name, o->s->at.label,
		    r->status);
	else
		err_set(e, code, "%s: %d %s%s%s", o->name, r->status,
		    said->code, said->text[0] != '\0' ? ": " : "",
		    said->text);
}

static void
on_net(void *arg, const struct net_res *r, const struct err *ne)
{
	struct op	*o = arg;
	struct said	 said;
	struct s3_res	 sr;
	struct net_res	 none;
	struct err	 e = { 0, "" };
	int		 bad;

	memset(&said, 0, sizeof(said));
	/* a 200 may say <Error> too, but for what may be anything */
	bad = ne == NULL && (r->status >= 300 || is_told(&o->q)) &&
	    read_error(&o->body, &said);
	bad |= ne == NULL && r->status >= 300 && r->status != 304;
	if (bad && r->status >= 300 && mend(o, r, &said)) {
		if (send_op(o, &e) == 0)
			return;
		/* the new keys could not be had, say */
		memset(&none, 0, sizeof(none));
		none.length = none.retry_after = -1;
		r = &none;
		ne = &e;
		bad = 0;
	}
	memset(&sr, 0, sizeof(sr));
	sr.status = r->status;
	sr.stale = r->stale;
	sr.local = r->local;
	sr.etag = r->etag;
	sr.length = r->length;
	sr.modified = r->modified;
	sr.retry_after = r->retry_after;
	sr.bytes = r->bytes;
	sr.first = r->first;
	sr.total = r->total;
	sr.headers = r->headers;
	sr.sha256 = net_header_dup(r, "x-amz-checksum-sha256");
	sr.body = o->body;
	(void)snprintf(sr.code, sizeof(sr.code), "%s", said.code);
	sr.outcome = ne != NULL || bad ? outcome(o, r, said.code) : S3_DONE;
	if (ne != NULL)
		err_set(&e, ne->code, "%s: %s", o->name, ne->text);
	else if (bad)
		set_error(o, r, &said, &e);
	o->done(o->arg, &sr, e.code != 0 ? &e : NULL);
	free(sr.sha256);
	op_free(o);
}

enum retry_what
s3_judge(const struct s3_res *r, const struct err *e)
{
	struct net_res	n;

	if (e == NULL)
		return RETRY_GOOD;
	memset(&n, 0, sizeof(n));
	n.status = r->status;
	n.stale = r->stale;
	n.local = r->local;
	n.retry_after = r->retry_after;
	if (r->status == 0)
		return retry_judge(&n, e);
	/* 409 without a condition: something else is at work there */
	if (is_busy(r->code) || (r->status == 409 &&
	    e->code == MSG_TEMPFAIL))
		return RETRY_BUSY;
	if (r->status < 300)
		/* an <Error> in a 200 */
		return e->code == MSG_TEMPFAIL ? RETRY_FAILED : RETRY_FINAL;
	/* the client was too slow for it: says nothing of its health */
	if (strcmp(r->code, "RequestTimeout") == 0)
		return RETRY_BUSY;
	return retry_judge(&n, NULL);
}
