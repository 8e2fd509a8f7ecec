/*
 * rec_scan: is this a record of the stream (man/dstream.5)?  Its form is
 * proved, within the limits below, before msgpack-c sees a byte of it:
 * that library reserves memory by the counts that a stranger declares.
 *
 * Nothing is allocated or kept; what it hands out are views of the bytes
 * that it was given.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_REC_SCAN_H
#define D_REC_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define REC_MAX		((size_t)1 << 20)	/* bytes of a record */
#define REC_DEPTH	8			/* containers deep */
#define REC_ITEMS	65536			/* values in a record */
#define REC_KEYS	4096			/* keys of one map */
#define REC_STR_MAX	65536			/* bytes of a string */

enum rec_scan {
	REC_SCAN_OK,	/* *used bytes are one well-formed record */
	REC_SCAN_MORE,	/* a prefix of one */
	REC_SCAN_BAD	/* *why says why */
};
/*
 * Is there one record at p?  A map with unique string keys, within the
 * limits above.  Declared counts are charged before they are believed.
 */
enum rec_scan rec_scan(const void *p, size_t n, size_t *used,
	    const char **why);

/*
 * The pairs of a map that rec_scan accepted (of anything else: undefined),
 * in order.
 */
struct rec_walk {
	const unsigned char	*p;
	size_t			 n, pos;
	uint64_t		 left;		/* pairs */
};
struct rec_pair {
	const char	*key;		/* not NUL-terminated */
	size_t		 key_len;
	const void	*val;		/* one encoded value */
	size_t		 val_len;
};
void	rec_walk_init(struct rec_walk *w, const void *p, size_t n);
/* 1 the next one, 0 there is none. */
int	rec_walk_next(struct rec_walk *w, struct rec_pair *out);

#endif
