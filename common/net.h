/*
 * net: HTTP requests and their answers, one or many at a time.  The only
 * module that includes libcurl; it knows no bucket, no signature, no
 * retry and no meaning of a body.  s3 signs above it, retry decides above
 * it, sources (bin/dfetch.h) and targets (target.h) call those.
 *
 * Rules that its users may rely on:
 * - An answer is an answer, whatever its status: net_do returns 0 for 404
 *   and 503 alike, when the whole answer has arrived.
 * - A body shorter than its Content-Length, or one cut off in a chunk, is
 *   no answer (75).  A Content-Length that lies low, and a body that the
 *   end of the connection ends (length -1), cannot be told from the truth
 *   here: compare with the size and the digest that you expect.
 * - A request whose answer did not arrive may have been applied: res.sent
 *   says whether any byte of it left this machine.  Nothing is sent again
 *   behind the caller's back, on a reused connection either.
 * - Only https and http; redirects are followed for GET and HEAD only, at
 *   most NET_REDIRECTS times, never from https to http; to another host
 *   they carry Accept, Range and the If- conditions and no other header.
 * - The server's certificate is always verified.  Proxies are those of the
 *   environment, as curl(1) takes them.
 * - No header, URL or body is logged; secrets are in headers.  Errors name
 *   the host.
 * - Memory is a few hundred kB for each request under way, whatever the
 *   sizes.  One thread.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_NET_H
#define D_NET_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

#define NET_REDIRECTS	5
#define NET_HEADERS	64		/* lines of a request */
#define NET_HEADER_MAX	((size_t)64 << 10)	/* bytes of an answer's */
#define NET_CONNECT_S	10		/* seconds to connect */
#define NET_STALL_S	30		/* seconds without a byte */
#define NET_BODY_MAX	((uint64_t)1 << 20) /* bytes, where max is 0 */

/* Connections, kept and reused; one per process. */
struct net;
struct net_res;

struct net_opts {
	unsigned int	 connections;	/* at most, to one host */
	const char	*ca_file;	/* NULL: the system's */
	const char	*agent;		/* User-Agent */
};

/* flags of a request */
#define NET_NOREDIR	0x1	/* 3xx is the answer */
#define NET_NOPROXY	0x2	/* whatever the environment says */
#define NET_EXPECT	0x4	/* ask for 100 Continue before the body */
#define NET_FRESH	0x8	/* on a connection of its own */

/*
 * What is asked.  Strings and memory are borrowed until the answer.  A
 * body is n bytes at body, or, where that is NULL, of fd from off.  PUT
 * and POST always have one, of 0 bytes if need be.
 */
struct net_req {
	const char	*method;	/* GET PUT PROPFIND ... */
	const char	*url;
	const char	*const *headers; /* "Name: value", NULL at the end */
	const void	*body;
	int		 fd;
	uint64_t	 off, n;
	uint64_t	 max;		/* bytes of answer; more is 65 */
	unsigned int	 timeout;	/* seconds for all of it; 0 none */
	unsigned int	 stall;		/* without a byte; 0 NET_STALL_S */
	unsigned int	 flags;		/* NET_... */
	/*
	 * While *hold is not 0, the last byte of the body is not sent; looked
	 * at in net_wait.  Or NULL.
	 */
	const int	*hold;
	/*
	 * Takes the answer's body as it arrives: 0, or -1 to give up, which
	 * net_do hands on.  Only called for the final answer, not for
	 * redirects.  NULL: the body is counted and thrown away.
	 */
	int		(*sink)(void *arg, int status, const void *p,
			    size_t n, struct err *e);
	void		*arg;
	/*
	 * Sees status and headers of the final answer before any of its
	 * body: 0, or -1 to give up, which net_do hands on.  Or NULL.
	 */
	int		(*head)(void *arg, const struct net_res *r,
			    struct err *e);
};

/* What came back. Strings live until net_res_clear. */
struct net_res {
	int		 status;	/* 0: no answer */
	int		 sent;		/* some byte of the request left */
	/*
	 * No byte of an answer came on a connection that had been kept: the
	 * server had closed it, and that says nothing about its health.
	 */
	int		 stale;
	int		 local;		/* this machine failed, not the host */
	uint64_t	 bytes;		/* of body */
	int64_t		 length;	/* Content-Length, or -1 */
	int64_t		 retry_after;	/* seconds, or -1 */
	int64_t		 date;		/* server's clock, ns, or 0 */
	int64_t		 modified;	/* Last-Modified, ns, or 0 */
	double		 first;		/* s from sending to the first byte */
	double		 total;		/* s from net_start to the last */
	char		*etag;		/* as sent, quotes included, or NULL */
	char		*headers;	/* lines; of this answer alone */
};
void	net_res_clear(struct net_res *r);
/* The value of a header of the answer: *len bytes; NULL: not there. */
const char *net_header(const struct net_res *r, const char *name,
	    size_t *len);
/* The same as a copy, or NULL. */
char	*net_header_dup(const struct net_res *r, const char *name);
/* A date of HTTP's or of ISO 8601 (2013-05-24T00:00:00.000Z): ns, or 0. */
int64_t	net_date(const char *s, size_t len);

/*
 * Bring libcurl in (late.h); net_new, net_host and net_date do so, too.
 * It must have been done before a sandbox that lets no file be read.
 */
int	net_load(struct err *e);
/* NULL: *e. */
struct net *net_new(const struct net_opts *o, struct err *e);
/* From now on all requests have NET_NOPROXY. */
void	net_go_direct(struct net *n);
/* Ends what is under way, without a call of done.  NULL is fine. */
void	net_free(struct net *n);

/*
 * One request, waited for: 0 with an answer, -1 without.  e->code: 64 the
 * URL or a header, 65 larger than max, too many redirects, a file that is
 * shorter than said, 75 connection, timeout, cut short, interrupted by a
 * signal, 77 the server's certificate; or what sink said.  What was started
 * before goes on meanwhile.  *r is for net_res_clear either way.
 */
int	net_do(struct net *n, const struct net_req *q, struct net_res *r,
	    struct err *e);

/*
 * Many at once: net_start takes a copy of *q and calls done (which may
 * start others; *r lives until it returns) from within net_wait, with e
 * NULL where there is an answer.
 * net_wait returns when something was done, or after ms: 1 while any is
 * under way, 0 when none is, -1 when the machine failed or a signal came.
 */
int	net_start(struct net *n, const struct net_req *q,
	    void (*done)(void *arg, const struct net_res *r,
	    const struct err *e), void *arg, struct err *e);
int	net_wait(struct net *n, unsigned int ms, struct err *e);
unsigned int net_running(const struct net *n);
/* Ends those that were started with this arg, without a call of done. */
void	net_cancel(struct net *n, const void *arg);
/* "host:port" of a URL, which the caller frees; NULL: 64. */
char	*net_host(const char *url, struct err *e);

/*
 * May the same request be sent again?  transient: timeouts, resets, 408,
 * 429, 500, 502, 503, 504; permanent: every other answer from 400 on.
 */
enum net_class {
	NET_FINE,
	NET_TRANSIENT,
	NET_PERMANENT
};
enum net_class net_class(const struct net_res *r);
/*
 * The exit status for an answer that is an error: 77 for 401 403 407, 66
 * for 404 410, 73 for 409 412, 74 for 507, 75 what is transient, else 65;
 * 0 for one that is none.
 */
int	net_status(const struct net_res *r);

#endif
