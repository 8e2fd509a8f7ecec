/*
 * xfer: downloads from S3 and http(s), many at once: SHA-256 as the bytes
 * arrive, tried again where that may help, gone on with where an earlier
 * process was killed, and never more at once than the server bears (aimd).
 * It knows objects and files, not inputs or stores.
 *
 * Rules that its users may rely on:
 * - done is called once for each xfer_get that returned 0, from within
 *   xfer_wait (never from xfer_get).
 * - A file appears under its name only when every byte of it was there
 *   and was what was promised: size, SHA-256, and where nothing better is
 *   known and the way was not TLS, the MD5 that S3 gives as ETag of an
 *   object that was put in one piece.
 * - All tries of one object get the same ETag: an object that was
 *   replaced meanwhile is begun anew, once; then it is 75.
 * - A permanent answer (403, 404 ...) is asked for once.  A digest that
 *   is wrong twice over one ETag is 65.
 * - What is put aside in the cache is never trusted: its digests are made
 *   anew, and what does not fit is thrown away.
 * - Memory is a few hundred kB for each transfer under way and some
 *   hundred bytes for each that waits; descriptors: two for each under
 *   way.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_XFER_H
#define D_XFER_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "part.h"

#define XFER_PARALLEL	16U		/* at once, where nobody says */
#define XFER_CACHE_MIN	((uint64_t)8 << 20)	/* bytes; less is refetched */
#define XFER_MARK	PART_MARK	/* bytes between marks */
#define XFER_PART_AGE	PART_AGE	/* s; older pieces are swept */

struct net;
struct retry;
struct s3;
struct xfer;

struct xfer_opts {
	unsigned int	 parallel;	/* at once at most; 0 XFER_PARALLEL */
	const char	*cache;		/* directory, made when needed; NULL */
	unsigned int	 timeout;	/* s for one try of one object; 0 */
};

/* All is borrowed until xfer_free. s3 may be NULL: then http alone. */
struct xfer *xfer_new(struct net *n, struct s3 *s3, struct retry *r,
	    const struct xfer_opts *o);
/* Ends what is under way without a call of done; NULL is fine. */
void	xfer_free(struct xfer *x);

/* What came; size and sha256 only without e. Lives until done returns. */
struct xfer_got {
	uint64_t	 size;
	unsigned char	 sha256[HASH_LEN];
	const char	*etag;		/* as sent, or NULL */
	int64_t		 modified;	/* ns since 1970; 0 not said */
	uint64_t	 moved;		/* bytes that came over the net */
	uint64_t	 resumed;	/* bytes that an earlier process had */
	unsigned int	 tries;
};

/* What is wanted. Strings are copied; dirfd is borrowed until done. */
struct xfer_get {
	const char	*name;		/* for messages: its URL */
	const char	*bucket, *key;	/* of S3; bucket NULL: */
	const char	*url;		/* http(s) */
	const char	*const *headers; /* of http, NULL at the end; or NULL */
	const char	*etag;		/* this very one; NULL any */
	uint64_t	 size;		/* it must have, with has_size */
	int		 has_size;
	uint64_t	 max;		/* more is 65; 0 no cap */
	const char	*sha256;	/* hex, it must have; or NULL */
	int		 dirfd;
	const char	*file;		/* made in dirfd (the directories above
					   it too), never over another: a safe
					   path (path.h); NULL: bytes are
					   digested and dropped */
	void		(*done)(void *arg, const struct xfer_got *g,
			    const struct err *e);
	void		*arg;
};
/*
 * Queue it: -1 when it cannot be asked for at all (64; 65: file is no safe
 * path).  e of done, or NULL where it came: 65 not what was promised, 66
 * not there, 74 the disk, or something of that name is there, 75 the
 * network or the server, 77 rights.
 */
int	xfer_get(struct xfer *x, const struct xfer_get *g, struct err *e);
/* 1 while there is work, 0 none is left, -1 the machine failed or a
 * signal came. Returns when something was done, or after ms. */
int	xfer_wait(struct xfer *x, unsigned int ms, struct err *e);
/* Drop those with this arg, queued or under way, without done. */
void	xfer_cancel(struct xfer *x, const void *arg);

/* For a line of progress. */
struct xfer_stat {
	uint64_t	 queued, running, done;	/* objects */
	uint64_t	 bytes;			/* over the net */
	uint64_t	 requests, retries;
	unsigned int	 limit;			/* of aimd, now */
};
void	xfer_stat(const struct xfer *x, struct xfer_stat *s);

#endif
