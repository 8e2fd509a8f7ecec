/*
 * rec_kind: what the records of our own programs say, as structs: a delta,
 * a base, an input that is skipped, a file of a set, a store.
 *
 * rec_X_get fills the struct with views into r, which live as r does, after
 * judging ranges, UTF-8 and paths: 0, or -1 with *e (76) that names the
 * key; past that point code may believe it.  rec_X_put sets the known keys
 * and leaves the rest of r alone; what it is given is copied.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_REC_KIND_H
#define D_REC_KIND_H

#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "rec.h"

struct rec_delta {
	const char	*url;		/* identity of the input */
	const char	*sha256;	/* input digest, 64 hex */
	const char	*kind;		/* "file" or "dir": what lies at path */
	const char	*path;		/* below staging, safe */
	uint64_t	 size;		/* bytes of the input */
	int64_t		 seq;
	int		 guessed;	/* seq is its time, not the plan's */
	int64_t		 mtime;		/* ns; newest file of the input */
	const char	*etag;		/* or NULL */
	uint64_t	 want_records;	/* promised by the plan */
	int		 has_want_records;
	/* set by dcheck: */
	const char	*verdict;	/* NULL before; "ok" */
	const char	*format;	/* chroma sqlite batch */
	const char	*tree;		/* digest of what lies at path now */
	uint64_t	 records;	/* live */
	uint64_t	 tombstones;
	int		 recovered;	/* a hot journal was rolled back */
	const char	*content_digest; /* or NULL: its reader gave no order */
};
int	rec_delta_get(const struct rec *r, struct rec_delta *d,
	    struct err *e);
void	rec_delta_put(struct rec *r, const struct rec_delta *d);

/* The snapshot that is merged onto; none: the target holds no commit. */
struct rec_base {
	const char	*target;	/* canonical URL */
	int		 none;
	const char	*version;	/* the rest only when not none */
	uint64_t	 generation;	/* 0 when none */
	const char	*path;		/* below staging: a store directory */
	const char	*sha256;	/* digest of manifest.json there */
	const char	*format;	/* chroma sqlite */
	uint64_t	 records;
	const char	*content_digest;
	int		 unchanged;	/* by dfetch: every input that was
					   asked for is in it, and nobody has
					   written to it since its commit */
	int		 left;		/* and its files are where they were:
					   manifest.json alone is at path */
	const char	*verdict;	/* set by dcheck: "ok"; REC_UNREAD:
					   unchanged, and not looked at */
};
#define REC_UNREAD	"unread"
int	rec_base_get(const struct rec *r, struct rec_base *b, struct err *e);
void	rec_base_put(struct rec *r, const struct rec_base *b);

/* A planned input that the base already holds. */
struct rec_skip {
	const char	*url;
	const char	*sha256;	/* as the base's sources say */
	const char	*why;		/* "digest", "unchanged" */
	/* of a file of a set alone, as in its file record: */
	const char	*name;		/* else NULL */
	uint64_t	 size;
	int64_t		 mtime;
	const char	*etag;		/* or NULL */
};
int	rec_skip_get(const struct rec *r, struct rec_skip *s, struct err *e);
void	rec_skip_put(struct rec *r, const struct rec_skip *s);

/*
 * What was current when dfetch looked: a file set is merged onto nothing,
 * but it may be asked to replace this, and nothing newer.
 */
struct rec_parent {
	const char	*target;	/* canonical URL */
	int		 none;		/* it held nothing */
	const char	*version;	/* the rest only when not none */
	uint64_t	 generation;	/* 0 when none */
	const char	*sha256;	/* digest of its manifest.json */
};
int	rec_parent_get(const struct rec *r, struct rec_parent *p,
	    struct err *e);
void	rec_parent_put(struct rec *r, const struct rec_parent *p);

/* One file of a file set, in staging. */
struct rec_file {
	const char	*name;		/* below the set, safe: where readers
					   will find it */
	const char	*path;		/* below staging, safe */
	const char	*url;		/* where it came from */
	const char	*sha256;	/* of its bytes, 64 hex */
	uint64_t	 size;
	int64_t		 mtime;		/* ns */
	const char	*etag;		/* or NULL */
	const char	*verdict;	/* NULL before dcheck; "ok" */
};
int	rec_file_get(const struct rec *r, struct rec_file *f,
	    struct err *e);
void	rec_file_put(struct rec *r, const struct rec_file *f);

/* What dmerge made (or handed on). */
struct rec_store {
	const char	*path;		/* below staging: a store directory */
	const char	*format;
	const char	*sha256;	/* digest of manifest.json there */
	const char	*content_digest;
	uint64_t	 records, tombstones, superseded;
	uint64_t	 inserted, replaced, deleted;
	uint64_t	 merged;	/* inputs */
	uint64_t	 bytes;		/* of the store's files */
	int		 unchanged;	/* it is the base itself */
};
int	rec_store_get(const struct rec *r, struct rec_store *s,
	    struct err *e);
void	rec_store_put(struct rec *r, const struct rec_store *s);

#endif
