/*
 * target_owner: the owner of a claim, read and written.  It is
 * staging/<run>/owner, JSON: host, place, pid and staging say who; version,
 * generation and manifest what is uploaded, and the one commit that may name
 * it; keeps what is committed again; removes what is about to go.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TARGET_OWNER_H
#define D_TARGET_OWNER_H

#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "stage.h"
#include "target.h"

#define OWNER_HOST_MAX	256

struct buf;

struct owner {
	char	*host, *staging;	/* or NULL */
	char	 place[STAGE_PLACE_MAX];
	char	 run[STAGE_RUN_MAX];
	char	 after[STAGE_RUN_MAX];	/* the dead run it was taken from */
	char	 version[TARGET_VERSION_MAX];
	char	 keeps[TARGET_VERSION_MAX];
	char	 removes[TARGET_VERSION_MAX];
	char	 manifest[HASH_HEX];
	uint64_t generation;
	int64_t	 created, pid;		/* created: ns, of that host's clock */
};

/* The name of this host, or "". */
void	owner_host(char out[OWNER_HOST_MAX]);

/*
 * The owner of claim, for owner_clear: 1 read; 0 gone or not to be
 * understood, and all empty; -1.
 */
int	owner_get(struct target *t, const char *claim, struct owner *o,
	    struct err *e);
void	owner_clear(struct owner *o);

/* Every owner, one after the other: f returns -1 to stop with *e. */
typedef int owner_fn(struct target *t, const char *claim,
    const struct owner *o, void *arg, struct err *e);
int	owner_each(struct target *t, owner_fn *f, void *arg, struct err *e);

/* What an owner of u on this host, now, is written as; each but u or NULL. */
void	owner_text(struct buf *b, const struct target_upload *u,
	    const char *manifest, const char *keeps, const char *removes);

/*
 * The owner of the claim name, which is that of run, becomes b: 0, -1.  It
 * is sent until it is known what lies there; when it was made is in b, so
 * that no other one has these bytes.
 */
int	owner_set(struct target *t, const char *name, const char *run,
	    const struct buf *b, struct err *e);

#endif
