/*
 * s3: requests to S3 and what speaks like it, signed here (sign.h), with
 * keys of cred.h, over net.h; one at a time or many.  It knows objects,
 * not stores.
 *
 * Rules that its users may rely on:
 * - Every body is sent with its true SHA-256, which the server checks:
 *   what was stored under a 200 is what was meant.
 * - A request is sent once.  Only where a server refused to look at it is
 *   it signed and sent anew, once: the clock (its Date is taken), the
 *   region, keys that are over.  With a struct retry, the calls that wait
 *   repeat what may be repeated: reads, deletions, and unconditional
 *   writes; a conditional one, a create, or a complete only where it was
 *   refused for now (429) or never left this machine.
 * - outcome says what became of a write.  S3_TAKEN and S3_UNKNOWN are
 *   resolved by reading back (DESIGN, law 5), never by sending again.
 * - A body that says <Error> is an error, whatever the status: e tells
 *   "s3://bucket/key: 404 NoSuchKey: ...".  No secret is in any text.
 * - ETags are handed on with their quotes, as GET, HEAD and lists give
 *   them; if_match takes them so (and sends them for PUT without, as some
 *   servers match only that).
 * - A range goes with if_match, which fails (412) when the object has
 *   changed: If-Range is heeded neither by Ceph nor by Swift, which send
 *   a piece of the new object.
 * - Redirects to another host are followed only within the endpoint's.
 * - A key is any 1 to 1024 bytes without NUL.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_H
#define D_S3_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "msg.h"
#include "net.h"
#include "retry.h"
#include "sign.h"

#define S3_KEY_MAX	1024		/* bytes of a key */
#define S3_BUCKET_MAX	255
#define S3_PARTS_MAX	10000		/* of one multipart upload */
#define S3_PART_MIN	((uint64_t)5 << 20) /* bytes, but for the last */
#define S3_DELETE_MAX	1000		/* keys of one batch */
#define S3_XML_MAX	((uint64_t)16 << 20) /* bytes of a list's page */
#define S3_COMPLETE_S	600		/* a complete may be silent so long */
#define S3_WRITERS	8		/* at once, in s3_probe's race */

struct cred_conf;
struct s3;

/*
 * n, r (NULL: nothing is repeated) are borrowed, conf is not kept.  keys 0:
 * nothing is signed, for public buckets.  NULL: 64 an endpoint that is
 * none.
 */
struct s3 *s3_new(struct net *n, const struct cred_conf *conf, int keys,
	    struct retry *r, struct err *e);
/* Before net_free.  Ends what is under way, without done.  NULL is fine. */
void	s3_free(struct s3 *s);
struct net *s3_net(const struct s3 *s);
struct retry *s3_retry(const struct s3 *s);	/* or NULL */
/* "host:port" of the endpoint: what breakers go by. */
const char *s3_host(const struct s3 *s);
/* Is the endpoint's scheme https? */
int	s3_is_tls(const struct s3 *s);
/*
 * "s3://bucket/any/key": the two parts, which the caller frees; the key
 * may be "".  The bytes of the key are those of the URL: nothing in it is
 * decoded.  -1: 64.
 */
int	s3_url(const char *url, char **bucket, char **key, struct err *e);

enum s3_outcome {
	S3_DONE,	/* it was done */
	S3_REFUSED,	/* it was not done */
	S3_TAKEN,	/* 409, 412 on a condition: something else is
			   there; read back */
	S3_UNKNOWN	/* it was done, or not; read back */
};

/* flags of a request */
#define S3_IF_NONE	0x1	/* If-None-Match: *, only where nothing is */
#define S3_CHECKSUM	0x2	/* x-amz-checksum-sha256 is sent too; of HEAD
				   and GET: asked for */
#define S3_MD5		0x4	/* Content-MD5 is sent; body in memory only */
#define S3_EXPECT	0x8	/* ask before the body is sent */
#define S3_AGAIN	0x10	/* a POST that may be repeated */

/*
 * What is asked.  Strings and memory are borrowed until the answer.  The
 * body is as in struct net_req.
 */
struct s3_req {
	const char	*method;
	const char	*bucket;
	const char	*key;		/* NULL: the bucket itself */
	const struct sign_param *query;
	size_t		 n_query;
	const char	*const *headers; /* "Name: value" or NULL; signed */
	const void	*body;
	int		 fd;
	uint64_t	 off, n;
	const char	*sha256;	/* hex, of the body; NULL: made here */
	const char	*if_match;	/* an ETag, or NULL */
	const char	*range;		/* "bytes=0-9", or NULL */
	uint64_t	 max;		/* as in net_req */
	unsigned int	 timeout, stall;
	unsigned int	 flags;
	/* Takes the body of a 2xx; NULL: it is kept, in res.body. */
	int		(*sink)(void *arg, int status, const void *p,
			    size_t n, struct err *e);
	void		*arg;
	/* Sees the headers of a 2xx before its body; as in net_req. */
	int		(*head)(void *arg, const struct net_res *r,
			    struct err *e);
};

/* What came back; all of it lives until done returns or s3_res_clear. */
struct s3_res {
	int		 status;	/* 0: no answer */
	enum s3_outcome	 outcome;
	int		 stale, local;	/* as in net_res */
	char		 code[64];	/* "NoSuchKey", or "" */
	char		*etag;		/* or NULL */
	char		*sha256;	/* x-amz-checksum-sha256, base64 */
	int64_t		 length, modified, retry_after;
	uint64_t	 bytes;
	double		 first, total;
	char		*headers;	/* for net_header */
	struct buf	 body;
};
void	s3_res_clear(struct s3_res *r);
/* The value of a header of the answer as a copy, or NULL. */
char	*s3_header(const struct s3_res *r, const char *name);

/*
 * One request.  -1: *e, for everything but a 2xx (and a 304): 66 404, 77
 * 401 and 403, 73 409 and 412 (of a write, or where a condition was sent;
 * else 75 and 65), 75 no answer and what is transient, 65 the rest.  *r is
 * written over, and is for s3_res_clear either way.
 */
int	s3_do(struct s3 *s, const struct s3_req *q, struct s3_res *r,
	    struct err *e);
/* Many at once: net_wait(n) calls done; e NULL is a 2xx or 304. */
int	s3_start(struct s3 *s, const struct s3_req *q,
	    void (*done)(void *arg, const struct s3_res *r,
	    const struct err *e), void *arg, struct err *e);
/* Ends those that were started with this arg, without a call of done. */
void	s3_cancel(struct s3 *s, const void *arg);
/* What to tell retry of a request. */
enum retry_what s3_judge(const struct s3_res *r, const struct err *e);

/*
 * The common ones.  All wait, and fill *r (NULL: not wanted).
 */

/* 0; -1 with 66 when it is not there. */
int	s3_head(struct s3 *s, const char *bucket, const char *key,
	    struct s3_res *r, struct err *e);
/* A small object, at most max bytes, into r->body. */
int	s3_get(struct s3 *s, const char *bucket, const char *key,
	    uint64_t max, struct s3_res *r, struct err *e);
/*
 * n bytes, under flags (S3_IF_NONE, S3_CHECKSUM) and if_match (or NULL).
 * meta: headers such as "x-amz-meta-run: 1", or NULL.
 */
int	s3_put(struct s3 *s, const char *bucket, const char *key,
	    const void *p, size_t n, unsigned int flags,
	    const char *if_match, const char *const *meta, struct s3_res *r,
	    struct err *e);
/* What is not there is deleted: 0. */
int	s3_delete(struct s3 *s, const char *bucket, const char *key,
	    struct err *e);
/*
 * Many; bad (or NULL) is called for each that stays, the others are gone.
 * -1 when any stays, or when nobody knows; 1: this server has no such call
 * (405, 501), and at most those are gone that XML cannot say.
 */
int	s3_delete_many(struct s3 *s, const char *bucket,
	    const char *const *keys, size_t n, void (*bad)(void *arg,
	    const char *key, const char *code), void *arg, struct err *e);

/* One line of a list.  Views, until the callback returns. */
struct s3_object {
	const char	*key;
	int		 is_prefix;	/* keys up to the delimiter */
	uint64_t	 size;
	const char	*etag;		/* with quotes, or NULL */
	int64_t		 modified;	/* ns; 0 unknown */
};
/*
 * All objects of the prefix, in the order of their bytes; f returns -1 to
 * stop.  delimiter NULL: all of them, else what lies behind the first one
 * is only named.  after (or NULL): begin behind that key.  An empty list
 * is 0 calls: whether that is an error is for the caller.
 */
int	s3_list(struct s3 *s, const char *bucket, const char *prefix,
	    const char *delimiter, const char *after,
	    int (*f)(void *arg, const struct s3_object *o, struct err *e),
	    void *arg, struct err *e);

/*
 * Multipart uploads.  A part is put with s3_start or s3_do as s3_part_req
 * says; its ETag goes into struct s3_part.
 */
struct s3_part {
	unsigned int	 number;	/* 1 to S3_PARTS_MAX */
	uint64_t	 size;
	char		 etag[80];	/* with quotes */
};
struct s3_upload {
	const char	*key;
	const char	*id;
	int64_t		 initiated;	/* ns; 0 unknown */
};
/* The upload's id, which the caller frees; NULL: *e. meta as in s3_put. */
char	*s3_mp_create(struct s3 *s, const char *bucket, const char *key,
	    const char *const *meta, struct err *e);
/* number[8] and query[2] are the caller's memory, until the answer. */
void	s3_part_req(struct s3_req *q, const char *bucket, const char *key,
	    const char *id, unsigned int part, char number[8],
	    struct sign_param query[2]);
/*
 * Parts in the order of their numbers.  S3_IF_NONE is sent, but there are
 * servers that do not look at it.  What this says of an upload that is
 * gone (404) is S3_UNKNOWN: it may have been completed.
 */
int	s3_mp_complete(struct s3 *s, const char *bucket, const char *key,
	    const char *id, const struct s3_part *v, size_t n,
	    unsigned int flags, struct s3_res *r, struct err *e);
/* An upload that is gone is fine. */
int	s3_mp_abort(struct s3 *s, const char *bucket, const char *key,
	    const char *id, struct err *e);
/* Uploads below prefix that are under way; f returns -1 to stop. */
int	s3_mp_list(struct s3 *s, const char *bucket, const char *prefix,
	    int (*f)(void *arg, const struct s3_upload *u, struct err *e),
	    void *arg, struct err *e);
/* The parts of one that have arrived, by number; 66: no such upload. */
int	s3_mp_parts(struct s3 *s, const char *bucket, const char *key,
	    const char *id, int (*f)(void *arg, const struct s3_part *p,
	    struct err *e), void *arg, struct err *e);

/*
 * Does the server exclude?  Writes below "prefix" under a name nobody
 * has, with If-None-Match: *, once, again, and then S3_WRITERS at once
 * under another, and removes what it wrote.  A create whose outcome is not
 * known is sent again, and races are run, each under a name of its own,
 * until as many pairs of writers were answered as there are in one.
 */
enum s3_excludes {
	S3_EXCLUDES,	/* one wins, the others are told */
	S3_IGNORES,	/* the second one wrote over the first */
	S3_LACKS,	/* it says that it cannot (501) */
	S3_RACES	/* alone it does; of many at once several win */
};
int	s3_probe(struct s3 *s, const char *bucket, const char *prefix,
	    enum s3_excludes *x, struct err *e);

/*
 * What the files of s3 share, and nobody else uses: s3.c has one request,
 * s3_endpoint.c where it goes, s3_calls.c those that are waited for,
 * s3_list.c lists, s3_probe.c the probe.
 */
struct xml;
void	s3_req_init(struct s3_req *q, const char *method,
	    const char *bucket, const char *key);
/* Does it change nothing? */
int	s3_is_read(const struct s3_req *q);
/* The text of an element, in place of *to. */
void	s3_keep(char **to, const struct xml *x);

#endif
