/*
 * s3_calls: the calls of s3.h that wait, and the XML that lists, multipart
 * uploads and batches speak.  Whatever a server says twice, or in an order
 * that it promised not to, is refused: a list that is not whole must not
 * look like one.
 * SPDX-License-Identifier: ISC
 */
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "num.h"
#include "xml.h"
#include "banned.h"

#define S3_RAW_MAX	((size_t)3 * S3_KEY_MAX + 1) /* an encoded key */
#define S3_TOKEN_MAX	8192	/* bytes of a list's token, of an id */

static void
req_init(struct s3_req *q, const char *method, const char *bucket,
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

	req_init(&q, "HEAD", bucket, key);
	q.flags = S3_CHECKSUM;
	return do_req(s, &q, r, e);
}

int
s3_get(struct s3 *s, const char *bucket, const char *key, uint64_t max,
    struct s3_res *r, struct err *e)
{
	struct s3_req	q;

	req_init(&q, "GET", bucket, key);
	q.max = max;
	return do_req(s, &q, r, e);
}

int
s3_put(struct s3 *s, const char *bucket, const char *key, const void *p,
    size_t n, unsigned int flags, const char *if_match,
    const char *const *meta, struct s3_res *r, struct err *e)
{
	struct s3_req	q;

	req_init(&q, "PUT", bucket, key);
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

	req_init(&q, "DELETE", bucket, key);
	rv = s3_do(s, &q, &r, &one);
	if (rv == -1 && r.status == 404 && strcmp(r.code, "NoSuchBucket") != 0)
		rv = 0;
	if (rv == -1)
		err_set(e, one.code, "%s", one.text);
	s3_res_clear(&r);
	return rv;
}

/*
 * Lists.
 */

/* What one page of any list says. */
struct page {
	int	 truncated;
	int	 url;		/* keys are encoded */
	char	*token, *key_marker, *id_marker, *part_marker;
};

/* One entry of one, as its elements come by. */
struct entry {
	char		*key;	/* decoded */
	char		*etag, *id;
	uint64_t	 size, part;
	int64_t		 date;
};

struct list {
	struct s3	*s;
	const char	*bucket;
	const char	*what;		/* element of an entry */
	const char	*root;
	char		*last;		/* key of the one before, or NULL */
	const char	*prefix;
	/* takes an entry: 0, 1 enough, -1 */
	int		(*entry)(struct list *l, const struct entry *n,
			    int is_prefix, struct err *e);
	int		(*f_object)(void *, const struct s3_object *,
			    struct err *);
	int		(*f_upload)(void *, const struct s3_upload *,
			    struct err *);
	int		(*f_part)(void *, const struct s3_part *,
			    struct err *);
	void		*arg;
	unsigned int	 part;		/* the last one's number */
	int		 stopped;
};

static int
bad_list(const struct list *l, const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "s3://%s: the server's %s: %s",
	    l->bucket, l->root, why);
}

static int
hex(int c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	    c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	    c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX and '+', in place: 0, or -1. */
static int
decode(char *s)
{
	char	*w = s;

	for (; *s != '\0'; s++, w++) {
		if (*s == '+')
			*w = ' ';
		else if (*s != '%')
			*w = *s;
		else {
			if (hex(s[1]) == -1 || hex(s[2]) == -1)
				return -1;
			*w = (char)(hex(s[1]) << 4 | hex(s[2]));
			if (*w == '\0')
				return -1;
			s += 2;
		}
	}
	*w = '\0';
	return 0;
}

static void
entry_clear(struct entry *n)
{
	free(n->key);
	free(n->etag);
	free(n->id);
	memset(n, 0, sizeof(*n));
}

static void
keep(char **to, const struct xml *x)
{
	free(*to);
	*to = mem_ndup(x->str, x->len);
}

/* An element directly below the root. */
static int
page_element(struct page *p, const struct xml *x)
{
	if (strcmp(x->name, "IsTruncated") == 0)
		p->truncated = strcmp(x->str, "true") == 0;
	else if (strcmp(x->name, "EncodingType") == 0)
		p->url = strcmp(x->str, "url") == 0;
	else if (strcmp(x->name, "NextContinuationToken") == 0)
		keep(&p->token, x);
	else if (strcmp(x->name, "NextKeyMarker") == 0)
		keep(&p->key_marker, x);
	else if (strcmp(x->name, "NextUploadIdMarker") == 0)
		keep(&p->id_marker, x);
	else if (strcmp(x->name, "NextPartNumberMarker") == 0)
		keep(&p->part_marker, x);
	return 0;
}

/* An element of an entry: 0, or -1 it makes no sense. */
static int
entry_element(struct entry *n, const struct xml *x)
{
	const char	*why;

	if (strcmp(x->name, "Key") == 0 || strcmp(x->name, "Prefix") == 0)
		keep(&n->key, x);
	else if (strcmp(x->name, "ETag") == 0)
		keep(&n->etag, x);
	else if (strcmp(x->name, "UploadId") == 0)
		keep(&n->id, x);
	else if (strcmp(x->name, "LastModified") == 0 ||
	    strcmp(x->name, "Initiated") == 0)
		n->date = net_date(x->str, x->len);
	else if (strcmp(x->name, "Size") == 0)
		return num_u64(x->str, 0, INT64_MAX, &n->size, &why);
	else if (strcmp(x->name, "PartNumber") == 0)
		return num_u64(x->str, 1, S3_PARTS_MAX, &n->part, &why);
	return 0;
}

static void
page_clear(struct page *p)
{
	free(p->token);
	free(p->key_marker);
	free(p->id_marker);
	free(p->part_marker);
	memset(p, 0, sizeof(*p));
}

/*
 * EncodingType may come behind the keys: is it there at all?  Twice over a
 * page is cheap beside fetching it.
 */
static int
read_page(struct list *l, const struct buf *b, struct page *p, int url,
    int entries, struct err *e)
{
	struct entry	 n;
	struct xml	 x;
	enum xml_type	 t;
	int		 prefix, r = 0;

	memset(&n, 0, sizeof(n));
	xml_init(&x, b->p != NULL ? (const char *)b->p : "", b->len);
	t = xml_next(&x);
	if (t != XML_OPEN || strcmp(x.name, l->root) != 0) {
		bad_list(l, x.why != NULL ? x.why : "another answer", e);
		xml_clear(&x);
		return -1;
	}
	while (r == 0 && ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE)) {
		if (t == XML_OPEN)
			continue;
		if (x.depth == 2 && (strcmp(x.names[1], l->what) == 0 ||
		    strcmp(x.names[1], "CommonPrefixes") == 0)) {
			if (entries && entry_element(&n, &x) == -1)
				r = bad_list(l, "a number that is none", e);
			continue;
		}
		if (x.depth != 1)
			continue;
		prefix = strcmp(x.name, "CommonPrefixes") == 0;
		if (!prefix && strcmp(x.name, l->what) != 0) {
			(void)page_element(p, &x);
			continue;
		}
		if (entries && url && n.key != NULL && decode(n.key) == -1)
			r = bad_list(l, "a key that is not encoded", e);
		else if (entries)
			r = l->entry(l, &n, prefix, e);
		entry_clear(&n);
	}
	if (r == 0 && t != XML_EOF)
		r = bad_list(l, x.why != NULL ? x.why : "malformed", e);
	if (r == 1)
		l->stopped = 1;
	entry_clear(&n);
	xml_clear(&x);
	return r == -1 ? -1 : 0;
}

static int
one_page(struct list *l, const struct s3_req *q, struct page *p,
    struct err *e)
{
	struct s3_res	r;
	int		rv, url;

	page_clear(p);
	rv = s3_do(l->s, q, &r, e);
	if (rv == 0)
		rv = read_page(l, &r.body, p, 0, 0, e);
	if (rv == 0) {
		url = p->url;
		rv = read_page(l, &r.body, p, url, 1, e);
		if (url && p->key_marker != NULL &&
		    decode(p->key_marker) == -1)
			rv = bad_list(l, "a marker that is not encoded", e);
	}
	s3_res_clear(&r);
	return rv;
}

static int
object_entry(struct list *l, const struct entry *n, int is_prefix,
    struct err *e)
{
	struct s3_object	 o;
	char			*tag = NULL;
	int			 r;

	if (n->key == NULL || *n->key == '\0' ||
	    strncmp(n->key, l->prefix, strlen(l->prefix)) != 0)
		return bad_list(l, "a key that was not asked for", e);
	memset(&o, 0, sizeof(o));
	o.key = n->key;
	o.is_prefix = is_prefix;
	o.size = n->size;
	o.modified = n->date;
	if (n->etag != NULL && *n->etag != '"' && *n->etag != '\0') {
		/* as everywhere else */
		size_t	sz = strlen(n->etag) + 3;

		tag = mem_alloc(sz);
		(void)snprintf(tag, sz, "\"%s\"", n->etag);
	}
	o.etag = tag != NULL ? tag : n->etag;
	if (!is_prefix) {
		if (l->last != NULL && strcmp(l->last, n->key) >= 0) {
			free(tag);
			return bad_list(l, "keys out of order", e);
		}
		free(l->last);
		l->last = mem_dup(n->key);
	}
	r = l->f_object(l->arg, &o, e);
	free(tag);
	if (r == -1 && e->code == 0)
		return 1;
	return r;
}

int
s3_list(struct s3 *s, const char *bucket, const char *prefix,
    const char *delimiter, const char *after,
    int (*f)(void *arg, const struct s3_object *o, struct err *e),
    void *arg, struct err *e)
{
	struct sign_param	 v[6];
	struct s3_req		 q;
	struct list		 l;
	struct page		 p;
	char			*token = NULL;
	int			 rv = -1;

	memset(&l, 0, sizeof(l));
	memset(&p, 0, sizeof(p));
	l.s = s;
	l.bucket = bucket;
	l.root = "ListBucketResult";
	l.what = "Contents";
	l.prefix = prefix != NULL ? prefix : "";
	l.entry = object_entry;
	l.f_object = f;
	l.arg = arg;
	for (;;) {
		req_init(&q, "GET", bucket, NULL);
		q.max = S3_XML_MAX;
		q.query = v;
		v[q.n_query++] = (struct sign_param){ "list-type", "2" };
		v[q.n_query++] = (struct sign_param){ "encoding-type",
			"url" };
		v[q.n_query++] = (struct sign_param){ "prefix", l.prefix };
		if (delimiter != NULL)
			v[q.n_query++] = (struct sign_param){ "delimiter",
				delimiter };
		if (after != NULL && token == NULL)
			v[q.n_query++] = (struct sign_param){ "start-after",
				after };
		if (token != NULL)
			v[q.n_query++] = (struct sign_param){
				"continuation-token", token };
		if (one_page(&l, &q, &p, e) == -1)
			goto done;
		if (l.stopped || !p.truncated)
			break;
		if (p.token == NULL || *p.token == '\0' ||
		    strlen(p.token) > S3_TOKEN_MAX || (token != NULL &&
		    strcmp(token, p.token) == 0)) {
			bad_list(&l, "it goes on, but not where", e);
			goto done;
		}
		free(token);
		token = p.token;
		p.token = NULL;
	}
	rv = 0;
done:
	page_clear(&p);
	free(l.last);
	free(token);
	return rv;
}

/*
 * Batches of deletions.
 */

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
			keep(&key, &x);
		else if (x.depth == 2 && strcmp(x.name, "Code") == 0)
			keep(&code, &x);
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

/* At most S3_DELETE_MAX keys, all of them words of XML. */
static int
delete_batch(struct s3 *s, const char *bucket, const struct buf *body,
    size_t n, void (*bad)(void *, const char *, const char *), void *arg,
    struct err *e)
{
	struct sign_param	p = { "delete", NULL };
	struct s3_req		q;
	struct s3_res		r;
	int			rv;

	req_init(&q, "POST", bucket, NULL);
	q.query = &p;
	q.n_query = 1;
	q.body = body->p;
	q.n = body->len;
	q.max = S3_XML_MAX;
	q.flags = S3_MD5 | S3_AGAIN;
	rv = s3_do(s, &q, &r, e);
	if (rv == 0)
		rv = read_deleted(bucket, &r.body, n, bad, arg, e);
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
	int		rv = 0;

	buf_init(&b, (size_t)S3_XML_MAX);
	buf_init(&one, (size_t)S3_XML_MAX);
	for (i = 0; i < n; i++) {
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
			if (delete_batch(s, bucket, &b, in, bad, arg, e) ==
			    -1)
				rv = -1;
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

	req_init(&q, "POST", bucket, key);
	q.query = &p;
	q.n_query = 1;
	q.headers = meta;
	if (s3_do(s, &q, &r, e) == 0) {
		xml_init(&x, r.body.p != NULL ? (const char *)r.body.p : "",
		    r.body.len);
		while ((t = xml_next(&x)) == XML_OPEN || t == XML_CLOSE)
			if (t == XML_CLOSE && x.depth == 1 &&
			    strcmp(x.name, "UploadId") == 0)
				keep(&id, &x);
		if (t != XML_EOF || id == NULL || *id == '\0' ||
		    strlen(id) > S3_TOKEN_MAX) {
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
	req_init(q, "PUT", bucket, key);
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
	req_init(&q, "POST", bucket, key);
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

	req_init(&q, "DELETE", bucket, key);
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

static int
upload_entry(struct list *l, const struct entry *n, int is_prefix,
    struct err *e)
{
	struct s3_upload	u;
	int			r;

	if (is_prefix)
		return 0;
	if (n->key == NULL || n->id == NULL || *n->id == '\0' ||
	    strncmp(n->key, l->prefix, strlen(l->prefix)) != 0)
		return bad_list(l, "an upload that was not asked for", e);
	u.key = n->key;
	u.id = n->id;
	u.initiated = n->date;
	r = l->f_upload(l->arg, &u, e);
	return r == -1 && e->code == 0 ? 1 : r;
}

int
s3_mp_list(struct s3 *s, const char *bucket, const char *prefix,
    int (*f)(void *arg, const struct s3_upload *u, struct err *e),
    void *arg, struct err *e)
{
	struct sign_param	 v[4];
	struct s3_req		 q;
	struct list		 l;
	struct page		 p;
	char			*key = NULL, *id = NULL;
	int			 rv = -1;

	memset(&l, 0, sizeof(l));
	memset(&p, 0, sizeof(p));
	l.s = s;
	l.bucket = bucket;
	l.root = "ListMultipartUploadsResult";
	l.what = "Upload";
	l.prefix = prefix != NULL ? prefix : "";
	l.entry = upload_entry;
	l.f_upload = f;
	l.arg = arg;
	for (;;) {
		req_init(&q, "GET", bucket, NULL);
		q.max = S3_XML_MAX;
		q.query = v;
		/* not encoded: Ceph does it and does not say so */
		v[q.n_query++] = (struct sign_param){ "uploads", NULL };
		v[q.n_query++] = (struct sign_param){ "prefix", l.prefix };
		if (key != NULL)
			v[q.n_query++] = (struct sign_param){ "key-marker",
				key };
		if (key != NULL && id != NULL)
			v[q.n_query++] = (struct sign_param){
				"upload-id-marker", id };
		if (one_page(&l, &q, &p, e) == -1)
			goto done;
		if (l.stopped || !p.truncated)
			break;
		if (p.key_marker == NULL || (key != NULL &&
		    strcmp(key, p.key_marker) == 0 && (id == NULL ||
		    p.id_marker == NULL || strcmp(id, p.id_marker) == 0))) {
			bad_list(&l, "it goes on, but not where", e);
			goto done;
		}
		free(key);
		free(id);
		key = p.key_marker;
		id = p.id_marker;
		p.key_marker = p.id_marker = NULL;
	}
	rv = 0;
done:
	page_clear(&p);
	free(key);
	free(id);
	return rv;
}

static int
part_entry(struct list *l, const struct entry *n, int is_prefix,
    struct err *e)
{
	struct s3_part	p;
	const char	*quote;
	int		r;

	if (is_prefix)
		return 0;
	if (n->part <= l->part || n->etag == NULL)
		return bad_list(l, "parts out of order", e);
	memset(&p, 0, sizeof(p));
	l->part = p.number = (unsigned int)n->part;
	p.size = n->size;
	quote = n->etag[0] == '"' ? "" : "\"";
	if ((size_t)snprintf(p.etag, sizeof(p.etag), "%s%s%s", quote, n->etag,
	    quote) >= sizeof(p.etag))
		return bad_list(l, "an ETag that is too long", e);
	r = l->f_part(l->arg, &p, e);
	return r == -1 && e->code == 0 ? 1 : r;
}

int
s3_mp_parts(struct s3 *s, const char *bucket, const char *key,
    const char *id, int (*f)(void *arg, const struct s3_part *p,
    struct err *e), void *arg, struct err *e)
{
	struct sign_param	 v[2];
	struct s3_req		 q;
	struct list		 l;
	struct page		 p;
	char			 marker[16];
	int			 rv = -1;

	memset(&l, 0, sizeof(l));
	memset(&p, 0, sizeof(p));
	l.s = s;
	l.bucket = bucket;
	l.root = "ListPartsResult";
	l.what = "Part";
	l.prefix = "";
	l.entry = part_entry;
	l.f_part = f;
	l.arg = arg;
	for (;;) {
		req_init(&q, "GET", bucket, key);
		q.max = S3_XML_MAX;
		q.query = v;
		v[q.n_query++] = (struct sign_param){ "uploadId", id };
		(void)snprintf(marker, sizeof(marker), "%u", l.part);
		if (l.part > 0)
			v[q.n_query++] = (struct sign_param){
				"part-number-marker", marker };
		if (one_page(&l, &q, &p, e) == -1)
			goto done;
		if (l.stopped || !p.truncated)
			break;
		/* it must have named one more, or it goes on for ever */
		if (strlen(marker) > 0 && l.part == (unsigned int)
		    strtoul(marker, NULL, 10)) {
			bad_list(&l, "it goes on, but not where", e);
			goto done;
		}
	}
	rv = 0;
done:
	page_clear(&p);
	return rv;
}

/*
 * The probe.
 */

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
		req_init(&q, "PUT", bucket, key);
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
