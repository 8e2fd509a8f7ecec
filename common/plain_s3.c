/*
 * plain, in S3: objects below a prefix.  A key is made what another is by
 * the server, which copies the object with the digest that it carries; then
 * it is asked what lies there.  Nothing is believed that was not seen.
 * SPDX-License-Identifier: ISC
 */
#include "plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "retry.h"
#include "s3.h"
#include "s3_pool.h"
#include "s3_send.h"
#include "sign.h"
#include "banned.h"

#define META_SHA	"x-amz-meta-intact-sha256"
#define KEY_LINE	(3 * (S3_KEY_MAX + S3_BUCKET_MAX) + 64)
#define AT_ONCE		S3_SEND_PARALLEL

struct s3p {
	struct remote	*remote;
	struct s3	*s3;
	struct retry	*retry;
	char		*bucket;
	char		*prefix;	/* "" or "a/b/" */
};

/* The same thing for each of many keys. */
struct work {
	struct s3_pool		 pool;
	struct s3p		*p;
	struct plain_key	*look;		/* or NULL */
	const struct plain_key	*copy;		/* or NULL */
	size_t			 n, at;
};

struct job {
	struct s3_job	 j;
	struct work	*w;
	size_t		 i;
	int		 head;		/* else the copy */
	char		*key;
	char		 from[KEY_LINE], etag[PLAIN_ETAG_MAX + 64];
	const char	*headers[3];
};

static char *
cat(const char *a, const char *b)
{
	size_t	 n = strlen(a) + strlen(b) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s", a, b);
	return s;
}

static int
ask(struct s3_job *sj, struct s3_req *q, struct err *e)
{
	struct job	*j = (struct job *)sj;

	(void)e;
	q->bucket = j->w->p->bucket;
	q->key = j->key;
	q->method = j->head ? "HEAD" : "PUT";
	if (!j->head) {
		q->headers = j->headers;
		/* silent while it copies */
		q->stall = S3_COMPLETE_S;
	}
	return 0;
}

static enum s3_next
on_look(struct job *j, const struct s3_res *r)
{
	struct plain_key	*k = &j->w->look[j->i];
	unsigned char		 d[HASH_LEN];
	char			*sha = s3_header(r, META_SHA);

	k->there = 1;
	k->size = r->length > 0 ? (uint64_t)r->length : 0;
	if (sha != NULL && hash_unhex(sha, d) == 0)
		memcpy(k->sha256, sha, HASH_HEX);
	if (r->etag != NULL && strlen(r->etag) < sizeof(k->etag))
		(void)snprintf(k->etag, sizeof(k->etag), "%s", r->etag);
	free(sha);
	return S3_OVER;
}

/* Is what lies there now what was to be made? */
static enum s3_next
on_made(struct job *j, const struct s3_res *r, struct err *e)
{
	const struct plain_key	*k = &j->w->copy[j->i];
	char			*sha = s3_header(r, META_SHA);
	uint64_t		 size = r->length > 0 ?
				    (uint64_t)r->length : 0;
	enum s3_next		 next = S3_OVER;

	if (size != k->want_size || (k->want_sha256 != NULL &&
	    (sha == NULL || strcmp(sha, k->want_sha256) != 0))) {
		err_set(e, MSG_DATAERR, "s3://%s/%s: the server made a copy "
		    "of %s that is not it: want %llu bytes, SHA-256 %s, got "
		    "%llu, %s", j->w->p->bucket, j->key, k->from,
		    (unsigned long long)k->want_size,
		    k->want_sha256 != NULL ? k->want_sha256 : "any",
		    (unsigned long long)size, sha != NULL ? sha : "none");
		next = S3_FAIL;
	}
	free(sha);
	return next;
}

static enum s3_next
answer(struct s3_job *sj, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct job	*j = (struct job *)sj;

	if (why != NULL && j->w->look != NULL && r->status == 404 &&
	    strcmp(r->code, "NoSuchBucket") != 0)
		return S3_OVER;
	/* the copy is sent again like any write without a condition */
	if (why != NULL && wait >= 0)
		return S3_ASK;
	if (why != NULL) {
		err_set(e, why->code, "%s", why->text);
		return S3_FAIL;
	}
	if (j->w->look != NULL)
		return on_look(j, r);
	if (j->head)
		return on_made(j, r, e);
	j->head = 1;
	memset(&j->j.op, 0, sizeof(j->j.op));
	return S3_ASK;
}

static void
drop(struct s3_job *sj, int sent)
{
	struct job	*j = (struct job *)sj;

	(void)sent;
	free(j->key);
	free(j);
}

static const struct s3_job_ops	job_ops = { ask, answer, drop };

static void
copy_headers(struct job *j, const struct plain_key *k)
{
	char		*from = cat(j->w->p->prefix, k->from);
	struct buf	 b;
	size_t		 n = 0;

	buf_init(&b, KEY_LINE);
	buf_printf(&b, "x-amz-copy-source: /%s/", j->w->p->bucket);
	sign_encode(&b, from, 1);
	(void)snprintf(j->from, sizeof(j->from), "%s", buf_cstr(&b));
	buf_free(&b);
	free(from);
	j->headers[n++] = j->from;
	if (k->from_etag != NULL) {
		(void)snprintf(j->etag, sizeof(j->etag),
		    "x-amz-copy-source-if-match: %s", k->from_etag);
		j->headers[n++] = j->etag;
	}
	j->headers[n] = NULL;
}

static int
more(void *arg, struct s3_job **out, struct err *e)
{
	struct work		*w = arg;
	const struct plain_key	*k;
	struct job		*j;

	if (w->at == w->n)
		return 0;
	k = w->look != NULL ? &w->look[w->at] : &w->copy[w->at];
	if (strlen(w->p->prefix) + strlen(k->name) > S3_KEY_MAX)
		return err_set(e, MSG_DATAERR, "s3://%s/%s%s: a key has at "
		    "most %d bytes", w->p->bucket, w->p->prefix, k->name,
		    S3_KEY_MAX);
	j = mem_zero(1, sizeof(*j));
	j->j.ops = &job_ops;
	j->w = w;
	j->i = w->at++;
	j->key = cat(w->p->prefix, k->name);
	j->head = w->look != NULL;
	j->j.small = j->head;
	if (!j->head)
		copy_headers(j, k);
	*out = &j->j;
	return 1;
}

static int
run(struct s3p *p, struct plain_key *look, const struct plain_key *copy,
    size_t n, struct err *e)
{
	struct work	w;

	memset(&w, 0, sizeof(w));
	w.p = p;
	w.look = look;
	w.copy = copy;
	w.n = n;
	pool_init(&w.pool, p->s3, p->retry, AT_ONCE);
	return pool_run(&w.pool, more, &w, e);
}

static int
s3p_look(void *impl, struct plain_key *v, size_t n, struct err *e)
{
	size_t	i;

	for (i = 0; i < n; i++) {
		v[i].there = 0;
		v[i].size = 0;
		v[i].sha256[0] = v[i].etag[0] = '\0';
	}
	return run(impl, v, NULL, n, e);
}

static int
s3p_copy(void *impl, const struct plain_key *v, size_t n, struct err *e)
{
	return run(impl, NULL, v, n, e);
}

static int
s3p_remove(void *impl, const struct plain_key *v, size_t n, struct err *e)
{
	struct s3p	*p = impl;
	const char	**keys;
	size_t		 i;
	int		 rv;

	keys = mem_zero(n + 1, sizeof(*keys));
	for (i = 0; i < n; i++)
		keys[i] = cat(p->prefix, v[i].name);
	rv = s3_remove(p->s3, p->bucket, keys, n, e);
	for (i = 0; i < n; i++)
		free((void *)(size_t)keys[i]);
	free(keys);
	return rv;
}

struct lister {
	const struct s3p	*p;
	int			(*f)(void *, const char *, struct err *);
	void			*arg;
};

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct lister	*l = arg;
	const char	*name = o->key + strlen(l->p->prefix), *s;
	size_t		 n = strlen(name);

	/* what stands for a directory, and what no set could hold */
	if (n == 0 || name[n - 1] == '/' || !path_is_safe(name))
		return 0;
	for (s = name; s != NULL; s = strchr(s, '/')) {
		s += s != name;
		if (*s == '.')
			return 0;
	}
	return l->f(l->arg, name, e);
}

static int
s3p_list(void *impl, int (*f)(void *arg, const char *name, struct err *e),
    void *arg, struct err *e)
{
	struct s3p	*p = impl;
	struct lister	 l = { p, f, arg };

	return s3_list(p->s3, p->bucket, p->prefix, NULL, NULL, on_object,
	    &l, e);
}

static int
on_any(void *arg, const struct s3_object *o, struct err *e)
{
	(void)o;
	(void)e;
	*(int *)arg = 1;
	return -1;
}

static int
s3p_has_tree(void *impl, const char *name, struct err *e)
{
	struct s3p	*p = impl;
	char		*a = cat(p->prefix, name), *dir = cat(a, "/");
	int		 found = 0, rv;

	rv = s3_list(p->s3, p->bucket, dir, NULL, NULL, on_any, &found, e);
	free(a);
	free(dir);
	return found ? 1 : rv;
}

static int
s3p_remove_tree(void *impl, const char *name, struct err *e)
{
	struct s3p	*p = impl;
	char		*a = cat(p->prefix, name), *dir = cat(a, "/");
	int		 rv;

	rv = s3_remove_tree(p->s3, p->bucket, dir, NULL, e);
	free(a);
	free(dir);
	return rv;
}

static void
s3p_close(void *impl)
{
	struct s3p	*p = impl;

	remote_free(p->remote);
	free(p->bucket);
	free(p->prefix);
	free(p);
}

static const struct plain_ops	s3_ops = { s3p_look, s3p_copy, s3p_remove,
	s3p_list, s3p_has_tree, s3p_remove_tree, s3p_close };

int
plain_s3_open(const char *url, const char *ckpt, const struct plain_ops **ops,
    void **impl, struct err *e)
{
	struct s3p	*p = mem_zero(1, sizeof(*p));
	char		*key = NULL;

	if (s3_url(url, &p->bucket, &key, e) == -1)
		goto fail;
	p->prefix = *key == '\0' ? mem_dup("") : cat(key, "/");
	p->remote = remote_new(ckpt);
	p->s3 = remote_s3(p->remote, e);
	p->retry = p->s3 != NULL ? remote_retry(p->remote, e) : NULL;
	if (p->retry == NULL)
		goto fail;
	free(key);
	*ops = &s3_ops;
	*impl = p;
	return 0;
fail:
	free(key);
	s3p_close(p);
	return -1;
}
