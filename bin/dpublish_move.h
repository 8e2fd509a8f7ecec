/*
 * dpublish: inputs moved from one place to another, whole: files and
 * directories here, objects and prefixes on S3.  It knows no quarantine.
 *
 * At every moment an input is whole in one of the two places, or in both.
 * Nothing is written over, and nothing removed but what was proved to be
 * the same bytes as the copy.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_MOVE_H
#define D_DPUBLISH_MOVE_H

#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "stage.h"

struct remote;

/* Where work is done, and whom to ask.  Zeroed, but run; for move_end. */
struct move {
	char		 run[STAGE_RUN_MAX];
	const char	*lock;		/* --lock was given */
	const char	*ckpt;
	struct stage	 stage;		/* made when something is brought */
	int		 staged;
	unsigned int	 n;		/* last number used there */
	struct remote	*remote;
};
void	move_end(struct move *m);

/* Can this process move what lies there?  (Not http, not batches.) */
int	move_can(const char *url);

/* What lies at a place. Free with move_thing_clear. */
struct move_file {
	char		*name;		/* below the place; "" a file's */
	char		*etag;		/* on S3 */
	uint64_t	 size;
	unsigned char	 d[HASH_LEN];
};
struct move_thing {
	char			*at;	/* its bytes, here */
	int			 dir;
	unsigned char		 d[HASH_LEN];	/* the input digest */
	uint64_t		 size;
	struct move_file	*v;	/* sorted by name */
	size_t			 n;
};
void	move_thing_clear(struct move_thing *x);

/* Read it all: 1 *x, 0 there is nothing, -1. */
int	move_read(struct move *m, const char *url, struct move_thing *x,
	    struct err *e);
/* 1 when all of what lies there is, file by file, in x. */
int	move_is_part(const struct move_thing *there,
	    const struct move_thing *x);
/*
 * By one rename, where both are here and on one file system: 0 done, 1 not
 * to be had, -1 (73: something is there).
 */
int	move_rename(const char *from, const char *to, struct err *e);
/*
 * Put x there, where nothing is, or, on S3, part of it, and prove it: 0, -1
 * (73).
 */
int	move_put(struct move *m, const struct move_thing *x, const char *to,
	    struct err *e);
/* What lies there, here, stays there though the power goes: 0, -1. */
int	move_settle(const char *url, struct err *e);
/*
 * Remove what is left there of x: 0 nothing is there now, 1 something else
 * than x is, and all of it stays, -1.
 */
int	move_remove(struct move *m, const char *url,
	    const struct move_thing *x, struct err *e);

#endif
