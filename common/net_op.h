/*
 * net_op: one request under way, over all its redirects: what libcurl is
 * told of it, and what it calls.  What the files of net share, and nobody
 * else uses: net.c starts, waits and ends.
 *
 * A struct net_op is in the list of its net from when its first hop is
 * under way until it ends; times are seconds of io_now.  That a pointer is
 * one of libcurl's, whose header is included by no header of ours, is said
 * beside it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_NET_OP_H
#define D_NET_OP_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"
#include "net.h"

#define NET_IDLE	32		/* handles kept for the next ones */
#define NET_LABEL	300		/* bytes of "host:port" */
#define NET_ERROR	256		/* bytes of libcurl's words */

struct curl_slist;

struct net_op {
	struct net_op	*prev, *next;
	struct net	*n;
	struct net_req	 q;		/* url and headers are not used */
	char		*url;		/* of this hop; no user in it */
	char		*origin;	/* "https://host:port" */
	char		*user, *password; /* of the URL, or NULL */
	int		 no_socket;	/* errno of socket(2), or 0 */
	char		 label[NET_LABEL];
	struct curl_slist *headers;
	void		*easy;		/* CURL */
	char		 errbuf[NET_ERROR];
	struct net_res	 r;
	struct err	 e;
	struct buf	 head;		/* the headers of the answer */
	size_t		 head_all;	/* bytes, of all answers */
	uint64_t	 pos;		/* of the body, sent */
	uint64_t	 seen;		/* bytes either way, at the last look */
	double		 begun, moved;	/* s: started; last byte */
	double		 out, in;	/* s: sent; first byte of an answer */
	unsigned int	 hops;
	int		 status;	/* once its headers are whole */
	int		 follow;	/* a redirect that we go after */
	int		 issued;	/* times this hop was to be sent */
	int		 plain;		/* no Expect: it was refused */
	int		 held;		/* the last byte waits for q.hold */
	int		 well;		/* the handle's last hop ended well */
	void		(*done)(void *, const struct net_res *,
			    const struct err *);
	void		*arg;
};

struct net {
	void		*multi;		/* CURLM */
	struct net_opts	 o;
	char		*ca_file, *agent;
	struct net_op	*list;
	unsigned int	 running;
	void		*idle[NET_IDLE]; /* CURL */
	unsigned int	 n_idle;
	double		 looked;	/* s: at who stands still */
	int		 direct;	/* past all proxies */
};

/*
 * The URL's parts, into x: url, origin, label.  A user in it is taken out,
 * and used only for the origin that the caller named.  -1: 64.
 */
int	net_op_url(struct net_op *x, const char *url, struct err *e);
/* One more header, "Name: value".  -1: 64. */
int	net_op_header(struct net_op *x, const char *line, struct err *e);
/* Another origin now: drop what may be secret. */
int	net_op_strip(struct net_op *x, struct err *e);
/* One hop: what is known of an earlier one is forgotten.  -1: 70, 74. */
int	net_op_hop(struct net_op *x, struct err *e);
/* Out of the list of those under way. */
void	net_op_unlink(struct net_op *x);
/* With its handle, which may be kept for another. */
void	net_op_free(struct net_op *x);
/* Free what is secret; NULL is fine. */
void	net_wipe(char *s);

#endif
