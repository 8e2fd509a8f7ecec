/*
 * plain: plain keys below a prefix, which readers open by name: files below
 * a directory, or objects in S3.  What lies there, and making one key what
 * another is, whole at once.  It knows no journal and decides nothing.
 *
 * Names are safe paths below the prefix (path.h).  Hidden ones (a leading
 * dot) are not listed; those below .intact/ are used like any other.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_PLAIN_H
#define D_PLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

#define PLAIN_ETAG_MAX	128	/* bytes, NUL included */
#define PLAIN_DEPTH	64	/* directories below the prefix */
#define PLAIN_ASIDE	".intact/moving" /* here: a key on its way */
#define PLAIN_COPY_MAX	((uint64_t)5 << 30) /* bytes; S3 copies no more */

struct plain;

struct plain_key {
	const char	*name;
	/* plain_look: what lies there. */
	int		 there;
	uint64_t	 size;
	char		 sha256[HASH_HEX];	/* "" not known */
	char		 etag[PLAIN_ETAG_MAX];	/* "" none */
	/* plain_copy: what it is made of, which must be this. */
	const char	*from;		/* another key */
	const char	*from_etag;	/* or NULL */
	uint64_t	 want_size;
	const char	*want_sha256;	/* NULL: not known */
};

/*
 * url: a path, file:// or s3://bucket/prefix.  A directory that is not
 * there is an empty one until something is copied to it.  ckpt is for the
 * breakers (NULL: DCKPT_DB).
 */
struct plain *plain_open(const char *url, const char *ckpt, struct err *e);
void	plain_close(struct plain *p);	/* NULL is fine */
const char *plain_url(const struct plain *p);	/* no slash at its end */
/* 1 when names of S3 lie there. */
int	plain_is_s3(const struct plain *p);

/* Fill there, size, sha256 and etag of each. 65: it is no file. */
int	plain_look(struct plain *p, struct plain_key *v, size_t n,
	    struct err *e);
/*
 * Make each what its from is, whole at once and durably: a link here (the
 * two are one file then; a copy, where that cannot be), a copy on the
 * server's side in S3, whose size and digest are then asked for.
 */
int	plain_copy(struct plain *p, const struct plain_key *v, size_t n,
	    struct err *e);
/* Remove each, and directories that are empty then. Absent is fine. */
int	plain_remove(struct plain *p, const struct plain_key *v, size_t n,
	    struct err *e);
/* All that lies there, hidden names not; f returns -1 to stop. */
int	plain_list(struct plain *p, int (*f)(void *arg, const char *name,
	    struct err *e), void *arg, struct err *e);
/* Is there a directory name?  1, 0, -1. */
int	plain_has_tree(struct plain *p, const char *name, struct err *e);
/* All below the directory name. Absent is fine. */
int	plain_remove_tree(struct plain *p, const char *name, struct err *e);

/* What a kind of place does; plain.c hands on. */
struct plain_ops {
	int	(*look)(void *impl, struct plain_key *v, size_t n,
		    struct err *e);
	int	(*copy)(void *impl, const struct plain_key *v, size_t n,
		    struct err *e);
	int	(*remove)(void *impl, const struct plain_key *v, size_t n,
		    struct err *e);
	int	(*list)(void *impl, int (*f)(void *arg, const char *name,
		    struct err *e), void *arg, struct err *e);
	int	(*has_tree)(void *impl, const char *name, struct err *e);
	int	(*remove_tree)(void *impl, const char *name, struct err *e);
	void	(*close)(void *impl);
};
int	plain_local_open(const char *abs, const struct plain_ops **ops,
	    void **impl, struct err *e);
int	plain_s3_open(const char *url, const char *ckpt,
	    const struct plain_ops **ops, void **impl, struct err *e);

#endif
