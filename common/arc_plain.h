/*
 * arc_plain: the plain tar in a file that holds it as it is, or in gzip or
 * zstd: one compression, never a chain of them, never a program.  It counts
 * what it gives out and refuses what is over the limits; it looks at no
 * entry.
 *
 * A compressed stream counts as ended when it says so and its checksum is
 * right, not where the file ends.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_ARC_PLAIN_H
#define D_ARC_PLAIN_H

#include <stdint.h>

struct arc_fault;
struct arc_limits;
struct arc_plain;

/*
 * For arc_plain_free, from fd (a file of packed bytes, read from where it
 * stands), whose first bytes say kind (enum arc_kind, ARC_ZIP excepted).
 * fd, lim (bytes and ratio, neither 0) and f are borrowed until then.  It
 * asks for arc_load before.  NULL: told in f.
 */
struct arc_plain *arc_plain_new(int fd, int kind, uint64_t packed,
	    const struct arc_limits *lim, struct arc_fault *f);
void	arc_plain_free(struct arc_plain *p);
/*
 * The next bytes, at *out until the next call: how many; 0 at the end, and
 * whenever it is asked again; -1 told in f.
 */
long	arc_plain_next(struct arc_plain *p, const void **out);
/* How many bytes it gave, and how many of them up to the last that is not 0. */
uint64_t arc_plain_bytes(const struct arc_plain *p);
uint64_t arc_plain_nonzero(const struct arc_plain *p);
/*
 * After its end: was all of the file needed for it?  0, or 1 told in f.
 * (gzip says so by itself, before the end.)
 */
int	arc_plain_whole(struct arc_plain *p);

#endif
