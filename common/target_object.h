/*
 * target_object: what targets on stores of objects (S3, WebDAV) have in
 * common: no lock but the operator's, no way to know who lives, claims that
 * are made until it is known whose they are, and a memory of what was seen
 * under a key, for replacements that depend on it.  It knows no protocol:
 * it gets and creates through the target's own operations.
 *
 * struct target_object is the first member of the implementation, so that
 * impl points to both; it is filled by object_open, which keeps ops, and
 * freed by object_close.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TARGET_OBJECT_H
#define D_TARGET_OBJECT_H

#include <stddef.h>

#include "hash.h"
#include "msg.h"
#include "target.h"

#define OBJECT_SEEN	4	/* keys whose last state is remembered */

struct remote;

/* What the last get of a key saw. */
struct object_seen {
	char		*key;
	int		 there;
	char		*etag;		/* or NULL */
	unsigned char	 sha[HASH_LEN];	/* of its bytes, where that was asked */
};

struct target_object {
	const struct target_ops	*ops;
	struct remote		*remote;
	char			*url;
	char			*lock_path;	/* the operator's; or NULL */
	int			 lockfd;
	struct object_seen	 seen[OBJECT_SEEN]; /* the latest last */
};

void	object_open(struct target_object *t, const struct target_ops *ops,
	    const char *url, const struct target_opts *o);
/* All that is in it, and the lock; after what uses remote. */
void	object_close(struct target_object *t);

/* What was seen of a key last, or NULL; lives until the next object_see. */
struct object_seen *object_find(struct target_object *t, const char *key);
/*
 * It is there (with etag or NULL), or it is not.  Of four keys the one that
 * was looked at longest ago is forgotten.
 */
struct object_seen *object_see(struct target_object *t, const char *key,
	    int there, const char *etag);
void	object_forget(struct target_object *t, const char *key);

/* Does it hold these very bytes?  1, 0 others or none, -1. */
int	object_holds(struct target_object *t, const char *key, const void *p,
	    size_t n, struct err *e);
/* -1: 64, "it cannot exclude", in one sentence for whoever asks. */
int	object_no_exclusion(const struct target_object *t, const char *why,
	    struct err *e);
/* Of a probe: 1 there is a lock, and it can be had; 0 there is none; -1. */
int	object_probe_lock(struct target_object *t,
	    void (*say)(const char *what, void *arg), void *arg,
	    struct err *e);

/* As in struct target_ops. */
int	object_claim(void *impl, const char *key, const void *p, size_t n,
	    int *held, struct err *e);
int	object_hold(void *impl, const char *key, int *held, struct err *e);
void	object_release(void *impl, int held);
int	object_lock(void *impl, struct err *e);
void	object_unlock(void *impl);
char	*object_path(void *impl, const char *key);

#endif
