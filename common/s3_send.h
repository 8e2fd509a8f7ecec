/*
 * s3_send: files to S3, many at once and large ones in parts, and the
 * proof that every byte of them lies there.  It knows no layout and no
 * store.
 *
 * Rules that its users may rely on:
 * - Nothing is claimed that was not seen: an upload whose outcome is not
 *   known is looked at, and sent again where it is not there.
 * - Each object carries x-amz-meta-intact-sha256 (hex) and, with run, the
 *   run that put it there as x-amz-meta-intact-run.
 * - What is there already with the same size and the same such digest is
 *   not sent again; an upload in parts that was left is gone on with, part
 *   by part, where a part's MD5 and size are those of the file's bytes.
 * - v[n - 1] is sent when all others are there: it makes the set whole.
 * - Uploads in parts are left for a rerun where it failed for now, and
 *   aborted where it failed for good.
 * - Memory is a few hundred kB for each request under way.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_SEND_H
#define D_S3_SEND_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

#define S3_SEND_PARALLEL 8U			/* requests at once */
#define S3_SEND_BIG	((uint64_t)32 << 20)	/* bytes; in parts from here */
#define S3_SEND_PART	((uint64_t)16 << 20)	/* bytes of a part; more, where
						   S3_PARTS_MAX would not do */

struct retry;
struct s3;

struct s3_file {
	const char	*name;		/* path below dirfd */
	const char	*key;
	uint64_t	 size;
	char		 sha256[HASH_HEX];
};

struct s3_send_opts {
	unsigned int	 parallel;	/* 0: S3_SEND_PARALLEL */
	int		 create;	/* If-None-Match: * on each: what is
					   there and is not the same is 73 */
	int		 locked;	/* create, but nobody else writes there
					   meanwhile: nothing is conditional */
	int		 give_up;	/* leave no upload in parts, even if it
					   fails for now only */
	const char	*run;		/* or NULL */
	/*
	 * Told of each object that this call created; or NULL.  With create,
	 * only of those that it knows for its own; without, of those that
	 * were not listed before.
	 */
	void		(*created)(void *arg, const char *key);
	void		*arg;
};

struct s3_sent {
	uint64_t	 objects, bytes;	/* sent now */
	uint64_t	 kept, kept_bytes;	/* were there */
	uint64_t	 retries;
};

/*
 * prefix: all keys begin with it; what lies below it is listed once, and
 * uploads in parts below it that belong to no file of v are aborted.
 * *sent may be NULL.  0, or -1: 65 a file that is not what v says, 73
 * something else is there, 74, 75, 77.
 */
int	s3_send(struct s3 *s, struct retry *r, const char *bucket,
	    const char *prefix, int dirfd, const struct s3_file *v, size_t n,
	    const struct s3_send_opts *o, struct s3_sent *sent,
	    struct err *e);

/*
 * Every byte of each of v where it lies: by the server's own SHA-256 where
 * it gives one of the whole object, else read back and digested here,
 * twice where it differs.
 * 0, or -1: 65 names what differs, 66 what is gone.
 */
int	s3_prove(struct s3 *s, struct retry *r, const char *bucket,
	    const struct s3_file *v, size_t n, unsigned int parallel,
	    struct err *e);

/*
 * Remove n keys, in batches where the server has them; what is not there is
 * gone.  After -1 nobody knows which are.
 */
int	s3_remove(struct s3 *s, const char *bucket, const char *const *keys,
	    size_t n, struct err *e);
/*
 * Remove all objects and uploads in parts below prefix ("a/b/", never "");
 * those named first (or NULL) before all others.
 */
int	s3_remove_tree(struct s3 *s, const char *bucket, const char *prefix,
	    const char *first, struct err *e);

#endif
