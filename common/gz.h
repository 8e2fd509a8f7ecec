/*
 * gz: gzip, undone with zlib, which holds each member's CRC-32 and length
 * against what came out.  libarchive's own filter does not look at them
 * (3.6: archive_read_support_filter_gzip.c, consume_trailer): one byte in six
 * could be another, and all of it was taken.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_GZ_H
#define D_GZ_H

#include <stddef.h>

#include "msg.h"

struct gz;

/* Opens the library, where that is still to be done: 0, or -1 and 74. */
int	gz_load(struct err *e);
/* After gz_load; NULL: no memory. */
struct gz *gz_new(void);
void	 gz_free(struct gz *g);
/*
 * From the *n bytes at p, as many as it wants, of which *n gets those that
 * are left, into *out, which is good until the next call: their number.  0:
 * it wants more of them.  -1: *why says what is wrong, or is NULL where there
 * is no memory.
 */
long	 gz_next(struct gz *g, const unsigned char *p, size_t *n,
	    const void **out, const char **why);
/* May the file end here?  At the end of a member, or in zeros behind it. */
int	 gz_at_end(const struct gz *g);

#endif
