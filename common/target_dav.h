/*
 * target_dav: what the files of the target on WebDAV share, and nobody else
 * uses: target_dav.c has its operations, target_dav_probe.c proves that a
 * server excludes.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TARGET_DAV_H
#define D_TARGET_DAV_H

#include <stddef.h>

#include "dav_send.h"
#include "msg.h"
#include "target.h"
#include "target_object.h"

struct dav;
struct dav_ahead;
struct dav_res;

struct davt {
	struct target_object o;
	struct dav	*d;
	struct dav_many	 many;
	struct dav_ahead *ahead;	/* NULL until there is a hint */
	char		*cache;
	struct target_names made;	/* collections that are there */
};

/* key/name, which the caller frees. */
char	*davt_below(const char *key, const char *name);
/* As dav_put, with what it lies in made first. */
int	davt_put_in(struct davt *t, const char *key, const void *p, size_t n,
	    unsigned int flags, const char *if_match, struct dav_res *r,
	    struct err *e);
/* As in struct target_ops. */
int	davt_probe(void *impl, const char *claim,
	    void (*say)(const char *what, void *arg), void *arg,
	    struct err *e);

#endif
