/*
 * net_answer: what the headers of an answer say, and what its status means.
 * The calls of net.h about struct net_res are here; it sends nothing.  Times
 * are ns since 1970, waits are seconds.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_NET_ANSWER_H
#define D_NET_ANSWER_H

struct net_res;

/*
 * Fill r from r->headers: what they do not say, or say so that it makes no
 * sense, is as if it were not there.
 */
void	net_answer_read(struct net_res *r);

#endif
