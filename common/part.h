/*
 * part: a file while it arrives: digested on the way, written aside, and
 * given its name when it is whole.  Where the caller knows what its bytes
 * are a version of (an ETag), they may lie in a cache meanwhile, so that
 * another process can go on after this one was killed.  It knows no
 * network and no promise about the bytes.
 *
 * A piece in the cache is CACHE/part/ID, ID the digest of the name and the
 * ETag; ID.mark says how many of its first bytes are good, and their
 * digest.  Who writes a piece holds a lock on it; who does not get it does
 * without.  A piece is believed only as far as its digest, made anew, is
 * that of the mark.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_PART_H
#define D_PART_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

#define PART_MARK	((uint64_t)4 << 20)	/* bytes between marks */
#define PART_AGE	604800		/* s; older pieces are swept */
#define PART_SLICE	((size_t)4 << 20)	/* bytes one part_read reads */

/* What the files of one process share: the cache. */
struct parts;

/*
 * cache: a directory, made when the first piece is; NULL: none.  One that
 * cannot be used is done without.
 */
struct parts *parts_new(const char *cache);
/* After its parts.  NULL is fine. */
void	 parts_free(struct parts *c);

struct part;

/*
 * file: what it will be below directory dirfd, a safe path (path.h); NULL:
 * its bytes are digested and dropped.  name: for messages.  Both strings
 * and dirfd are borrowed.
 */
struct part *part_new(struct parts *c, int dirfd, const char *file,
	    const char *name);
/*
 * keep: what lies in the cache stays for later; else, and what lies aside,
 * it is removed.  NULL is fine.
 */
void	 part_free(struct part *p, int keep);

/*
 * From now on the bytes of this version go to the cache, if that can be;
 * nothing has come yet.  1: bytes of an earlier process are there, and
 * part_read must read them; else 0.
 */
int	 part_cache(struct part *p, const char *etag);
/* 1: not all yet, call again; 0: part_at says how many were good. */
int	 part_read(struct part *p);
/* MD5 as well.  Only before the first byte. */
void	 part_md5(struct part *p);

int	 part_add(struct part *p, const void *b, size_t n, struct err *e);
/* Bytes that are there. */
uint64_t part_at(const struct part *p);
/* Of these, what an earlier process had brought. */
uint64_t part_old(const struct part *p);
/* From zero again; other: it is another version now. */
int	 part_reset(struct part *p, int other, struct err *e);
/* Tell a later process of all that is there. */
void	 part_mark(struct part *p);

/* It has ended: its digest; *has_md5: and md5. */
void	 part_final(struct part *p, unsigned char d[HASH_LEN],
	    unsigned char md5[HASH_MD5], int *has_md5);
/*
 * Gives it its name, never over another: -1 with 74 where something is
 * there.  The directories above it are made.
 */
int	 part_place(struct part *p, struct err *e);
/* Is something there already?  -1 and 74. */
int	 part_is_free(int dirfd, const char *file, const char *name,
	    struct err *e);

#endif
