/*
 * s3_calls: the calls of s3.h that wait for one request, retried as it may
 * be, and the XML that batches and uploads in parts speak.
 * SPDX-License-Identifier: ISC
 */
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "xml.h"
#include "banned.h"

#define S3_ID_MAX	8192	/* bytes of an upload's id */

struct wait {
	struct s3		*s;
	const struct s3_req	*q;
	struct s3_res		*r;
	struct err		*e;
	int			 rv;	/* 1: under way */
};

static void
on_done(void *arg, const struct s3_res *r, const struct err *e)
{
	struct wait	*w = arg;

	*w->r = *r;
	w->r->etag = r->etag != NULL ? mem_dup(r->etag) : NULL;
	w->r->sha256 = r->sha256 != NULL ? mem_dup(r->sha256) : NULL;
	w->r->headers = r->headers != NULL ? mem_dup(r->headers) : NULL;
	buf_init(&w->r->body, (size_t)S3_XML_MAX);
	buf_add(&w->r->body, r->body.p, r->body.len);
	w->rv = e == NULL ? 0 : -1;
	if (e != NULL)
		*w->e = *e;
}

static int
once(void *arg, enum retry_what *what, int64_t *after, struct err *e)
{
	struct wait	*w = arg;
	struct err	 other = { 0, "" };

	s3_res_clear(w->r);
	memset(w->r, 0, sizeof(*w->r));
	w->r->outcome = S3_REFUSED;
	w->r->length = w->r->retry_after = -1;
	w->rv = 1;
	w->e = e;
	if (s3_start(w->s, w->q, on_done, w, e) == -1)
		return -1;
	while (w->rv == 1 && net_wait(s3_net(w->s), 1000, &other) != -1)
		continue;
	if (w->rv == 1) {
		/* a signal, most likely: it may have been applied */
		s3_cancel(w->s, w);
		w->r->outcome = s3_is_read(w->q) ? S3_REFUSED : S3_UNKNOWN;
		*e = other;
		return -1;
	}
	*what = s3_judge(w->r, w->rv == 0 ? NULL : e);
	*after = w->r->retry_after;
	/* what may have been done is not sent again behind one's back */
	if (!s3_is_read(w->q) && (w->q->flags & S3_IF_NONE ||
	    w->q->if_match != NULL || (strcmp(w->q->method, "POST") == 0 &&
	    !(w->q->flags & S3_AGAIN))))
		*what = retry_judge_once(*what,
		    w->r->outcome == S3_REFUSED);
	return w->rv;
}

int
s3_do(struct s3 *s, const struct s3_req *q, struct s3_res *r, struct err *e)
{
	struct retry		*retry = s3_retry(s);
	struct wait		 w;
	struct retry_op		 op = { 0, 0, 0 };
	enum retry_what		 what = RETRY_NONE;
	int64_t			 after = -1;
	int			 rv;

	memset(r, 0, sizeof(*r));
	r->outcome = S3_REFUSED;
	r->length = r->retry_after = -1;
	w.s = s;
	w.q = q;
	w.r = r;
	w.e = e;
	w.rv = 1;
	if (retry == NULL)
		return once(&w, &what, &after, e);
	if (q->sink != NULL) {
		/* it cannot take back what it was given: once */
		if (retry_ask(retry, s3_host(s), &op, e) == -1)
			return -1;
		rv = once(&w, &what, &after, e);
		(void)retry_tell(retry, s3_host(s), &op, retry_judge_once(what,
		    0), after, e->text);
		return rv;
	}
	return retry_do(retry, s3_host(s), once, &w, e);
}

void
s3_req_init(struct s3_req *q, const char *method, const char *bucket,
    const char *key)
{
	memset(q, 0, sizeof(*q));
	q->method = method;
	q->bucket = bucket;
	q->key = key;
	q->fd = -1;
}

/* s3_do where nobody wants the answer. */
static int
do_req(struct s3 *s, const struct s3_req *q, struct s3_res *r, struct err *e)
{
	struct s3_res	mine;
	int		rv = s3_do(s, q, r != NULL ? r : &mine, e);

	if (r == NULL)
		s3_res_clear(&mine);
	return rv;
}

int
s3_head(struct s3 *s, const char *bucket, const char *key, struct s3_res *r,
    struct err *e)
{
	struct s3_req	q;

	s3_req_init(&q, "HEAD", bucket, key);
	q.flags = S3_CHECKSUM;
	return do_req(s, &q, r, e);
}

int
s3_get(struct s3 *s, const char *bucket, const char *key, uint64_t max,
    struct s3_res *r, struct err *e)
{
	struct s3_req	q;

	s3_req_init(&q, "GET", bucket, key);
	q.max = max;
	return do_req(s, &q, r, e);
}

int
s3_put(struct s3 *s, const char *bucket, const char *key, const void *p,
    size_t n, unsigned int flags, const char *if_match,
    const char *const *meta, struct s3_res *r, struct err *e)
{
	struct s3_req	q;

	s3_req_init(&q, "PUT", bucket, key);
	q.body = p;
	q.n = n;
	q.flags = flags;
	q.if_match = if_match;
	q.headers = meta;
	return do_req(s, &q, r, e);
}

int
s3_delete(struct s3 *s, const char *bucket, const char *key, struct err *e)
{
	struct s3_req	q;
	struct s3_res	r;
	struct err	one = { 0, "" };
	int		rv;

	s3_req_init(&q, "DELETE", bucket, key);
	rv = s3_do(s, &q, &r, &one);
	if (rv == -1 && r.status == 404 && strcmp(r.code, "NoSuchBucket") != 0)
		rv = 0;
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	s3_res_clear(&r);
	return rv;
}

/*
 * Batches of deletions.
 */

void
s3_keep(char **to, const struct xml *x)
{
	free(*to);
	*to = mem_ndup(x->str, x->len);
}

static int
read_deleted(const char *bucket, const struct buf *b, size_t n,
    void (*bad)(void *, const char *, const char *), void *arg,
    struct err *e)
{
	struct xml	 x;
	enum xml_type	 t;
	char		*key = NULL, *code = NULL;
	size_t		 gone = 0, stay = 0;

	xml_init(&x, b->p != NULL ? (const char *)b->p : "", b->len);
	t = xml_next(&x);
	if (t == XML_OPEN && strcmp(x.name, "DeleteResult") != 0)
		t = XML_BAD;
	while (t == XML_OPEN || t == XML_CLOSE) {
		t = xml_next(&x);
		if (t != XML_CLOSE)
			continue;
		if (x.depth == 2 && strcmp(x.name, "Key") == 0)
			s3_keep(&key, &x);
		else if (x.depth == 2 && strcmp(x.name, "Code") == 0)
			s3_keep(&code, &x);
		else if (x.depth == 1 && strcmp(x.name, "Deleted") == 0)
			gone++;
		else if (x.depth == 1 && strcmp(x.name, "Error") == 0) {
			if (code != NULL && strcmp(code, "NoSuchKey") == 0)
				gone++;
			else {
				stay++;
				if (bad != NULL)
					bad(arg, key != NULL ? key : "",
					    code != NULL ? code : "");
				err_set(e, code != NULL && strcmp(code,
				    "AccessDenied") == 0 ? MSG_NOPERM :
				    MSG_TEMPFAIL, "s3://%s/%s: not deleted: "
				    "%s", bucket, key != NULL ? key : "",
				    code != NULL ? code : "");
			}
		}
		if (x.depth == 1) {
			free(key);
			free(code);
			key = code = NULL;
		}
	}
	free(key);
	free(code);
	xml_clear(&x);
	if (t != XML_EOF || gone + stay != n)
		return err_set(e, MSG_TEMPFAIL, "s3://%s: of %zu objects to "
		    "be deleted the server names %zu", bucket, n,
		    gone + stay);
	return stay == 0 ? 0 : -1;
}

/* At most S3_DELETE_MAX keys, all of them words of XML; as s3_delete_many. */
static int
delete_batch(struct s3 *s, const char *bucket, const struct buf *body,
    size_t n, void (*bad)(void *, const char *, const char *), void *arg,
    struct err *e)
{
	struct sign_param	p = { "delete", NULL };
	struct s3_req		q;
	struct s3_res		r;
	struct err		one = { 0, "" };
	int			rv;

	s3_req_init(&q, "POST", bucket, NULL);
	q.query = &p;
	q.n_query = 1;
	q.body = body->p;
	q.n = body->len;
	q.max = S3_XML_MAX;
	q.flags = S3_MD5 | S3_AGAIN;
	rv = s3_do(s, &q, &r, &one);
	if (rv == 0)
		rv = read_deleted(bucket, &r.body, n, bad, arg, e);
	else if (r.status == 405 || r.status == 501)
		rv = 1;
	else
		err_set(e, one.code, "%s", one.text);
	s3_res_clear(&r);
	return rv;
}

int
s3_delete_many(struct s3 *s, const char *bucket, const char *const *keys,
    size_t n, void (*bad)(void *arg, const char *key, const char *code),
    void *arg, struct err *e)
{
	struct buf	b, one;
	size_t		i, in = 0;
	int		r, rv = 0;

	buf_init(&b, (size_t)S3_XML_MAX);
	buf_init(&one, (size_t)S3_XML_MAX);
	for (i = 0; i < n && rv != 1; i++) {
		buf_reset(&one);
		if (xml_put(&one, keys[i]) == -1) {
			/* XML cannot say it */
			if (s3_delete(s, bucket, keys[i], e) == -1) {
				rv = -1;
				if (bad != NULL)
					bad(arg, keys[i], "");
			}
		} else {
			if (in++ == 0)
				buf_str(&b, "<Delete>");
			buf_str(&b, "<Object><Key>");
			buf_add(&b, one.p, one.len);
			buf_str(&b, "</Key></Object>");
		}
		if (in == S3_DELETE_MAX || (in > 0 && i + 1 == n)) {
			buf_str(&b, "</Delete>");
			r = delete_batch(s, bucket, &b, in, bad, arg, e);
			if (r != 0 && rv == 0)
				rv = r;
			buf_reset(&b);
			in = 0;
		}
	}
	buf_free(&b);
	buf_free(&one);
	return rv;
}

/*
 * Multipart uploads.
 */

char *
s3_mp_create(struct s3 *s, const char *bucket, const char *key,
    const char *const *meta, struct err *e)
{
	struct sign_param	 p = { "uploads", NULL };
	struct s3_req		 q;
	struct s3_res		 r;
	struct xml		 x;
	enum xml_type		 t;
	char			*id = NULL;

	s3_req_init(&q, "POST", bucket, key);
	q.query = &p;
	q.n_query = 1;
	q.headers = meta;
	if (s3_do(s, &q, &r, e) == 0) {
		xml_init(&x, r.body.p != NULL ? (const char *)r.body.p : "",
		    r.body.len);
		while ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE)
			if (t == XML_CLOSE && x.depth == 1 &&
			    strcmp(x.name, "UploadId") == 0)
				s3_keep(&id, &x);
		if (t != XML_EOF || id == NULL || *id == '\0' ||
		    strlen(id) > S3_ID_MAX) {
			free(id);
			id = NULL;
			err_set(e, MSG_TEMPFAIL, "s3://%s/%s: the server "
			    "names no upload", bucket, key);
		}
		xml_clear(&x);
	}
	s3_res_clear(&r);
	return id;
}

void
s3_part_req(struct s3_req *q, const char *bucket, const char *key,
    const char *id, unsigned int part, char number[8],
    struct sign_param query[2])
{
	(void)snprintf(number, 8, "%u", part % 1000000);
	query[0] = (struct sign_param){ "partNumber", number };
	query[1] = (struct sign_param){ "uploadId", id };
	s3_req_init(q, "PUT", bucket, key);
	q->query = query;
	q->n_query = 2;
}

/* Is the root of the answer this? */
static int
is_root(const struct buf *b, const char *name)
{
	struct xml	x;
	enum xml_type	t;
	int		rv;

	xml_init(&x, b->p != NULL ? (const char *)b->p : "", b->len);
	rv = xml_next(&x) == XML_OPEN && strcmp(x.name, name) == 0;
	while (rv && (t = xml_next(&x)) != XML_EOF)
		rv = t != XML_BAD;
	xml_clear(&x);
	return rv;
}

int
s3_mp_complete(struct s3 *s, const char *bucket, const char *key,
    const char *id, const struct s3_part *v, size_t n, unsigned int flags,
    struct s3_res *r, struct err *e)
{
	struct sign_param	 p = { "uploadId", id };
	struct s3_req		 q;
	struct s3_res		 mine;
	struct buf		 b;
	size_t			 i;
	int			 rv;

	if (r == NULL)
		r = &mine;
	memset(r, 0, sizeof(*r));
	buf_init(&b, (size_t)S3_XML_MAX);
	buf_str(&b, "<CompleteMultipartUpload>");
	for (i = 0; i < n; i++) {
		buf_printf(&b, "<Part><PartNumber>%u</PartNumber><ETag>",
		    v[i].number);
		(void)xml_put(&b, v[i].etag);
		buf_str(&b, "</ETag></Part>");
	}
	buf_str(&b, "</CompleteMultipartUpload>");
	s3_req_init(&q, "POST", bucket, key);
	q.query = &p;
	q.n_query = 1;
	q.body = b.p;
	q.n = b.len;
	q.stall = S3_COMPLETE_S;
	q.flags = flags & S3_IF_NONE;
	rv = s3_do(s, &q, r, e);
	if (rv == 0 && !is_root(&r->body, "CompleteMultipartUploadResult")) {
		r->outcome = S3_UNKNOWN;
		rv = err_set(e, MSG_TEMPFAIL, "s3://%s/%s: the server does "
		    "not say that the upload is complete", bucket, key);
	}
	buf_free(&b);
	if (r == &mine)
		s3_res_clear(r);
	return rv;
}

int
s3_mp_abort(struct s3 *s, const char *bucket, const char *key,
    const char *id, struct err *e)
{
	struct sign_param	p = { "uploadId", id };
	struct s3_req		q;
	struct s3_res		r;
	struct err		one = { 0, "" };
	int			rv;

	s3_req_init(&q, "DELETE", bucket, key);
	q.query = &p;
	q.n_query = 1;
	rv = s3_do(s, &q, &r, &one);
	if (rv == -1 && r.status == 404 && strcmp(r.code, "NoSuchBucket") != 0)
		rv = 0;
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	s3_res_clear(&r);
	return rv;
}
