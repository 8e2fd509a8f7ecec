/*
 * dav_ahead: small objects that will be asked for soon, one after the other,
 * read many at once and held until then.  It knows no layout and decides
 * nothing.
 *
 * It is a hint and never an answer of its own: each is asked for once, what
 * did not come is not held, and whoever asks for it then learns why.  Each is
 * given once, and what is held goes when others are read: memory is n times
 * max at most.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DAV_AHEAD_H
#define D_DAV_AHEAD_H

#include <stddef.h>

#define DAV_AHEAD_PARALLEL	16U	/* requests at once, at most */

struct dav;
struct dav_ahead;
struct dav_res;
struct net;
struct retry;

/* All are borrowed. */
struct dav_ahead *dav_ahead_new(struct dav *d, struct net *n,
	    struct retry *r);
void	dav_ahead_free(struct dav_ahead *a);	/* NULL is fine */

/*
 * Read n objects, no collections, of at most max bytes; 0: only whether they
 * are there.  Keys are copied.
 */
void	dav_ahead_read(struct dav_ahead *a, const char *const *keys,
	    size_t n, size_t max);
/* Forget what is held: something was written.  NULL is fine. */
void	dav_ahead_drop(struct dav_ahead *a);
/*
 * 1 it is there, 2 it is not, and *r is filled, for dav_res_clear; 0 it is
 * not held, and *r is as it was.  head: whether it is there is all that is
 * asked.  a may be NULL.
 */
int	dav_ahead_take(struct dav_ahead *a, const char *key, int head,
	    struct dav_res *r);

#endif
