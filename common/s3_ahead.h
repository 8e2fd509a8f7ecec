/*
 * s3_ahead: small objects that will be asked for soon, one after the other,
 * read many at once (s3_pool) and held until then.  It knows no key and
 * decides nothing.
 *
 * It is a hint and never an answer of its own: what did not come is not
 * held, and whoever asks for it then learns why.  Each is given once, and
 * what is held goes when others are read: memory is n times max at most.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_AHEAD_H
#define D_S3_AHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define S3_AHEAD_PARALLEL	32U	/* requests at once, at most */

struct retry;
struct s3;
struct s3_ahead;

/* Both are borrowed. */
struct s3_ahead *s3_ahead_new(struct s3 *s, struct retry *r);
void	s3_ahead_free(struct s3_ahead *a);	/* NULL is fine */

/*
 * Read n objects of at most max bytes; 0: only whether they are there.
 * Keys are copied.
 */
void	s3_ahead_read(struct s3_ahead *a, const char *bucket,
	    const char *const *keys, size_t n, uint64_t max);
/* Forget what is held: something was written.  NULL is fine. */
void	s3_ahead_drop(struct s3_ahead *a);

struct s3_held {
	int		 there;
	char		*etag;	/* or NULL */
	struct buf	 body;	/* of one that was read */
};
/*
 * 1 *h is filled, for s3_held_clear; 0 it is not held.  head: whether it is
 * there is all that is asked.  a may be NULL.
 */
int	s3_ahead_take(struct s3_ahead *a, const char *key, int head,
	    struct s3_held *h);
void	s3_held_clear(struct s3_held *h);

#endif
