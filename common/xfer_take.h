/*
 * xfer_take: what answers say of the object that is downloaded, and whether
 * the bytes that come are those that were promised.  It asks for nothing:
 * what is to be done next it leaves in the work's verdict.
 *
 * Sizes are bytes, -1 or UINT64_MAX where nobody knows; ETags are as sent.
 * Nothing here keeps what it is given.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_XFER_TAKE_H
#define D_XFER_TAKE_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

struct job;
struct net_res;

/* head and sink of a request (net.h, s3.h); arg is the job. */
int	take_head(void *arg, const struct net_res *r, struct err *e);
int	take_body(void *arg, int status, const void *p, size_t n,
	    struct err *e);

/* Bytes of the object, at most; UINT64_MAX: nobody knows. */
uint64_t take_promised(const struct job *j);
/* All bytes are there: are they the right ones?  0, or -1 and w->e. */
int	take_check_digest(struct job *j, unsigned char d[HASH_LEN]);

/* By bytes; that of nothing is like nothing else. */
int	take_same_tag(const char *a, const char *b);
/* Can it be matched against? */
int	take_is_strong(const char *tag);
/* -1, with the verdict that it was replaced meanwhile by one of that tag. */
int	take_replaced(struct job *j, const char *tag);
/* From zero, because it is another object: once, then as take_replaced. */
int	take_anew(struct job *j, const char *tag);
/* Large enough, and of a version that is known: into the cache with it. */
int	take_may_cache(const struct job *j, const char *tag, int64_t size);
/* Bytes of an earlier process are there: they are read first. */
void	take_begin_reading(struct job *j);

#endif
