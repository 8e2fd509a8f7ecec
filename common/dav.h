/*
 * dav: WebDAV (RFC 4918) over net.h, as much as publishing needs: objects
 * read and written whole, under conditions, and collections made, listed
 * and removed.  It knows no layout and no store.
 *
 * Rules that its users may rely on:
 * - A key is a relative path, its bytes as they are: it is encoded here.
 *   "" is the collection of the URL itself.
 * - A request is sent once.  With a struct retry, the calls that wait
 *   repeat what may be repeated: reads, deletions, collections; a write
 *   to an object only where it was refused for now (429) or never left
 *   this machine.
 * - outcome says what became of a write.  DAV_TAKEN and DAV_UNKNOWN are
 *   resolved by reading back (DESIGN, law 5), never by sending again.
 * - A list is complete or an error: every name of it lies directly below
 *   the collection that was asked for, and the answer names that, too.
 *   What it says of other hosts, or other places, is refused.
 * - Redirects are not followed: an error says where to.
 * - User and password go out over https, or to this machine and past all
 *   proxies, and are in no error's text.
 * - An ETag that is weak (W/"...") cannot be matched against: it is handed
 *   on, and dav_is_strong says so.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DAV_H
#define D_DAV_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"
#include "retry.h"

#define DAV_URL_MAX	((size_t)16 << 10)	/* bytes of a URL */
#define DAV_LIST_MAX	((size_t)64 << 20)	/* bytes of a list's answer */
#define DAV_WRITE_S	300	/* a server may be silent behind a PUT so long:
				   it copies what it put aside */

struct dav;
struct net;

/*
 * n and r (NULL: nothing is repeated) are borrowed; user and password (or
 * NULL) are copied.  NULL: 64 a URL that is none (or has a user in it), 77
 * a user and a password that anybody could read on their way.
 */
struct dav *dav_new(struct net *n, struct retry *r, const char *url,
	    const char *user, const char *password, struct err *e);
/* Before net_free.  Ends what is under way, without done.  NULL is fine. */
void	dav_free(struct dav *d);
/* "host:port": what breakers go by. */
const char *dav_host(const struct dav *d);
/* 1: requests that carry its headers must go past all proxies. */
int	dav_is_direct(const struct dav *d);
/* For requests of others to it: headers, NULL at the end. */
const char *const *dav_headers(const struct dav *d);
/* The URL of a key, which the caller frees. */
char	*dav_url(const struct dav *d, const char *key);

enum dav_outcome {
	DAV_DONE,	/* it was done */
	DAV_REFUSED,	/* it was not done */
	DAV_TAKEN,	/* 412: something else is there; read back */
	DAV_UNKNOWN	/* it was done, or not; read back */
};

/* flags of a request */
#define DAV_IF_NONE	0x1	/* If-None-Match: *, only where nothing is */
#define DAV_FRESH	0x2	/* on a connection of its own */
#define DAV_SLASH	0x4	/* the key is a collection's */

/*
 * What is asked.  Strings and memory are borrowed until the answer.  The
 * body is as in struct net_req.
 */
struct dav_req {
	const char	*method;
	const char	*key;
	const char	*url;		/* that one and no key; or NULL */
	const char	*if_match;	/* an ETag, quotes included, or NULL */
	const char	*depth;		/* "0" "1", or NULL */
	const char	*type;		/* of the body, or NULL */
	const void	*body;
	int		 fd;
	uint64_t	 n;
	size_t		 max;		/* bytes of answer; 0: thrown away */
	const int	*hold;		/* as in struct net_req */
	unsigned int	 flags;
};

/* What came back; all of it lives until done returns or dav_res_clear. */
struct dav_res {
	int		 status;	/* 0: no answer */
	enum dav_outcome outcome;
	int		 stale, local;	/* as in net_res */
	char		*etag;		/* as sent, or NULL */
	int64_t		 length;	/* as it was said, or -1 */
	int64_t		 date, modified;	/* ns; 0 not said */
	int64_t		 retry_after;
	struct buf	 body;
};
void	dav_res_clear(struct dav_res *r);
int	dav_is_strong(const char *etag);	/* NULL: 0 */

/*
 * One request.  -1: *e, for everything but a 2xx: 66 404 and 410, 77 401
 * and 403, 73 409 and 412, 64 what the server does not do (405, 501) and
 * what lies elsewhere (3xx), 75 no answer and what is transient, 65 the
 * rest.  *r is written over, and is for dav_res_clear either way.
 */
int	dav_do(struct dav *d, const struct dav_req *q, struct dav_res *r,
	    struct err *e);
/* Many at once: net_wait(n) calls done; e NULL is a 2xx. */
int	dav_start(struct dav *d, const struct dav_req *q,
	    void (*done)(void *arg, const struct dav_res *r,
	    const struct err *e), void *arg, struct err *e);
/* Ends those that were started with this arg, without a call of done. */
void	dav_cancel(struct dav *d, const void *arg);
/* What to tell retry of a request. */
enum retry_what dav_judge(const struct dav_res *r, const struct err *e);

/*
 * The common ones.  All wait.
 */

/* A small object, at most max bytes, into r->body; 66: not there. */
int	dav_get(struct dav *d, const char *key, size_t max,
	    struct dav_res *r, struct err *e);
/* 66: not there.  A collection may be one or the other. */
int	dav_head(struct dav *d, const char *key, struct dav_res *r,
	    struct err *e);
/*
 * n bytes, sent once and on a fresh connection, under flags (DAV_IF_NONE)
 * and if_match (or NULL).
 */
int	dav_put(struct dav *d, const char *key, const void *p, size_t n,
	    unsigned int flags, const char *if_match, struct dav_res *r,
	    struct err *e);
/* An object, or a collection with all that is in it; absent is fine. */
int	dav_delete(struct dav *d, const char *key, struct err *e);
/*
 * The collection and those above it, of the URL's path, too.  *made (or
 * NULL) is 1 when it was not there and is now, 0 when nobody knows.
 */
int	dav_mkcol(struct dav *d, const char *key, int *made, struct err *e);
/* Is there such a collection?  1, 0 none that the server would list, -1. */
int	dav_has(struct dav *d, const char *key, struct err *e);
/*
 * Names directly below the collection, in any order, "." and ".." passed
 * over; f returns -1 to stop (then so does this, with *e as it is).
 * 66: there is no such collection.
 */
int	dav_list(struct dav *d, const char *key,
	    int (*f)(void *arg, const char *name), void *arg,
	    struct err *e);

/*
 * What the files of dav share, and nobody else uses: dav.c has one request,
 * dav_calls.c those that are waited for, dav_list.c lists.
 */
#define DAV_WHERE_MAX	200		/* bytes of a URL in an error */

struct dav_op;

struct dav {
	struct net	*n;
	struct retry	*r;
	char		*base;		/* "https://host/path", no '/' after */
	char		*authority;	/* "host[:port]" in small letters */
	char		*path;		/* of base, decoded: "/path" or "" */
	size_t		 root;		/* bytes of base before its path */
	char		*label;		/* "host:port" */
	char		*auth;		/* the header, or NULL */
	const char	*headers[2];	/* for others */
	int		 direct;	/* past all proxies */
	int		 bare;		/* it takes PROPFIND without a body */
	struct dav_op	*list;		/* under way, the last one first */
};
/* Does it change nothing? */
int	dav_is_read(const struct dav_req *q);
void	dav_req_init(struct dav_req *q, const char *method, const char *key);

/* Bytes of "http://" or "https://" at s, or 0. */
size_t	dav_scheme(const char *s);
/*
 * The n bytes of authority at s in small letters, without the default port
 * of its scheme; the caller frees it.
 */
char	*dav_authority(const char *s, size_t n, int https);
/*
 * %XX into bytes, in place: NULL, or what is wrong.  A slash that is
 * written so, or a NUL, is part of no name.
 */
const char *dav_decode(char *s);

/* One <response> of a multistatus. */
struct dav_response {
	char	*href;
	int	 status;	/* of all of it; 0 not said */
	int	 many;		/* more than one href */
};
/* Who reads them: -1 ends it, with *e or without. */
typedef int dav_each(void *arg, const struct dav_response *p,
	    struct err *e);
/* Each of one: 0, or -1 and, where it is bad, *e. */
int	dav_multistatus(struct dav *d, const char *key, const struct buf *b,
	    dav_each *f, void *arg, struct err *e);

#endif
