/*
 * s3_send_big: large files to S3 in parts (multipart uploads), begun anew or
 * gone on with where an earlier run left one.
 *
 * An upload in parts does not tell what it was created with.  So one that
 * was left is gone on with only where all of its parts are pieces of our
 * file, and what it became is looked at: where another file begins with
 * the same pieces, the object would carry that one's digest.
 *
 * What waits here is called from between the pool's jobs alone.  A struct
 * big is owned by its send's list until big_free.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_SEND_BIG_H
#define D_S3_SEND_BIG_H

#include <stddef.h>

#include "msg.h"

struct big;
struct job;
struct left;
struct send;

/* File i into the list of those under way: 0, or -1. */
int	big_begin(struct send *s, size_t i, struct err *e);
/* The next part: 1 a job, 0 it is there already, -1. */
int	big_next_part(struct send *s, struct big *b, struct job **out,
	    struct err *e);
/*
 * All parts are there: make them one object.  0: it is, and b is gone, or
 * b was begun anew; -1.
 */
int	big_finish(struct send *s, struct big *b, struct err *e);
void	big_free(struct send *s, struct big *b);
/* Is one that was found, and is not ours, to be removed? */
int	big_is_litter(const struct send *s, const struct left *l);

#endif
