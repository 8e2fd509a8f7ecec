/*
 * net: HTTP requests and their answers, one or many at a time.  The only
 * module that will include libcurl; it knows no bucket, no signature, no
 * retry and no meaning of a body.  s3 signs above it, retry decides above
 * it, sources (bin/dfetch.h) and targets (target.h) call those.
 *
 * This is the contract those modules are written against.  The programs of
 * this release read and write local files only and link none of it.
 *
 * Rules that its users may rely on:
 * - An answer is an answer, whatever its status: net_do returns 0 for 404
 *   and 503 alike, when the whole answer has arrived.
 * - A body shorter or longer than its Content-Length, or one cut off in a
 *   chunk, is no answer (75), even where the library calls it a success.
 * - A request whose answer did not arrive may have been applied: res.sent
 *   says whether any byte of it left this machine.  Nothing is sent again
 *   behind the caller's back, on a reused connection either.
 * - Only https and http; redirects are followed for GET and HEAD only, at
 *   most NET_REDIRECTS times, and never carry credentials to another host.
 * - No header, URL or body is logged; secrets are in headers.
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

/* Connections, kept and reused; one per process. */
struct net;

struct net_opts {
	unsigned int	 connections;	/* at most, to one host */
	const char	*ca_file;	/* NULL: the system's */
	const char	*agent;		/* User-Agent */
};

/*
 * What is asked.  Strings and memory are borrowed until the answer.  A
 * body is n bytes at body, or of fd from off; fd -1 and n 0: none.
 */
struct net_req {
	const char	*method;	/* GET HEAD PUT POST DELETE */
	const char	*url;
	const char	*const *headers; /* "Name: value", NULL at the end */
	const void	*body;
	int		 fd;
	uint64_t	 off, n;
	uint64_t	 max;		/* bytes of answer; more is 65 */
	unsigned int	 timeout;	/* seconds for all of it; 0 none */
	/*
	 * Takes the answer's body as it arrives: 0, or -1 to give up, which
	 * net_do hands on.  Only called for the final answer, not for
	 * redirects.  NULL: the body is counted and thrown away.
	 */
	int		(*sink)(void *arg, int status, const void *p,
			    size_t n, struct err *e);
	void		*arg;
};

/* What came back. Strings live until net_res_clear. */
struct net_res {
	int		 status;	/* 0: no answer */
	int		 sent;		/* some byte of the request left */
	uint64_t	 bytes;		/* of body */
	int64_t		 length;	/* Content-Length, or -1 */
	int64_t		 retry_after;	/* seconds, or -1 */
	int64_t		 date;		/* server's clock, ns, or 0 */
	int64_t		 modified;	/* Last-Modified, ns, or 0 */
	char		*etag;		/* as sent, quotes included, or NULL */
	char		*headers;	/* all of them, for the curious */
};
void	net_res_clear(struct net_res *r);

/* NULL: *e. net_free(NULL) is fine. */
struct net *net_new(const struct net_opts *o, struct err *e);
void	net_free(struct net *n);

/*
 * One request, waited for: 0 with an answer, -1 without.  e->code: 64 the
 * URL, 65 larger than max, 75 connection, timeout, cut short, 77 the
 * server's certificate; or what sink said.
 */
int	net_do(struct net *n, const struct net_req *q, struct net_res *r,
	    struct err *e);

/*
 * Many at once: net_start takes a copy of *q and calls done (which owns
 * *r until it returns, and may start others) from within net_wait.
 * net_wait returns 1 while any is under way, 0 when none is, -1 when the
 * machine failed or a signal came.
 */
int	net_start(struct net *n, const struct net_req *q,
	    void (*done)(void *arg, const struct net_res *r,
	    const struct err *e), void *arg, struct err *e);
int	net_wait(struct net *n, unsigned int ms, struct err *e);
unsigned int net_running(const struct net *n);

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
/* The exit status for an answer that is an error: 66 77 75 74 ... */
int	net_status(const struct net_res *r);

#endif
