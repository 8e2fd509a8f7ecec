/*
 * s3_list: the lists of s3.h: objects, uploads in parts, parts.  Whatever a
 * server says twice, or in an order that it promised not to, is refused: a
 * list that is not whole must not look like one.
 * SPDX-License-Identifier: ISC
 */
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "num.h"
#include "xml.h"
#include "banned.h"

#define S3_TOKEN_MAX	8192	/* bytes of a list's token */

/* What one page of any list says. */
struct page {
	int	 truncated;
	int	 url;		/* keys are encoded */
	char	*token, *key_marker, *id_marker;
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

/* %XX and '+', in place: 0, or -1. */
static int
decode(char *s)
{
	char	*w = s;
	int	 c;

	for (; *s != '\0'; s++, w++) {
		if (*s == '+')
			*w = ' ';
		else if (*s != '%')
			*w = *s;
		else {
			if ((c = num_hex2(s + 1)) <= 0)
				return -1;
			*w = (char)c;
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

/* An element directly below the root. */
static int
page_element(struct page *p, const struct xml *x)
{
	if (strcmp(x->name, "IsTruncated") == 0)
		p->truncated = strcmp(x->str, "true") == 0;
	else if (strcmp(x->name, "EncodingType") == 0)
		p->url = strcmp(x->str, "url") == 0;
	else if (strcmp(x->name, "NextContinuationToken") == 0)
		s3_keep(&p->token, x);
	else if (strcmp(x->name, "NextKeyMarker") == 0)
		s3_keep(&p->key_marker, x);
	else if (strcmp(x->name, "NextUploadIdMarker") == 0)
		s3_keep(&p->id_marker, x);
	return 0;
}

/* An element of an entry: 0, or -1 it makes no sense. */
static int
entry_element(struct entry *n, const struct xml *x)
{
	const char	*why;

	if (strcmp(x->name, "Key") == 0 || strcmp(x->name, "Prefix") == 0)
		s3_keep(&n->key, x);
	else if (strcmp(x->name, "ETag") == 0)
		s3_keep(&n->etag, x);
	else if (strcmp(x->name, "UploadId") == 0)
		s3_keep(&n->id, x);
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
		s3_req_init(&q, "GET", bucket, NULL);
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
		s3_req_init(&q, "GET", bucket, NULL);
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
		s3_req_init(&q, "GET", bucket, key);
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
