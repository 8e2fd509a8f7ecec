/*
 * rec: a record of the stream (man/dstream.5) in memory: a map of string
 * keys that keeps the order, and untouched, the keys it does not know.
 * The only module that includes msgpack.
 *
 * rec_scan proves a record's form before msgpack-c sees a byte of it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_REC_H
#define D_REC_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "msg.h"

#define REC_MAX		((size_t)1 << 20)	/* bytes of a record */
#define REC_DEPTH	8			/* containers deep */
#define REC_ITEMS	65536			/* values in a record */
#define REC_KEYS	4096			/* keys of one map */
#define REC_STR_MAX	65536			/* bytes of a string */

enum rec_scan {
	REC_SCAN_OK,	/* *used bytes are one well-formed record */
	REC_SCAN_MORE,	/* a prefix of one */
	REC_SCAN_BAD	/* *why says why */
};
/*
 * Is there one record at p?  A map with unique string keys, within the
 * limits above.  Declared counts are charged before they are believed.
 */
enum rec_scan rec_scan(const void *p, size_t n, size_t *used,
	    const char **why);

struct rec;

/* A new record of that type (key "t" first). */
struct rec *rec_new(const char *type);
/* A map without a type, for nesting. */
struct rec *rec_map(void);
/* From bytes that rec_scan accepted, with n == used.  NULL: *e (76). */
struct rec *rec_parse(const void *p, size_t n, struct err *e);
struct rec *rec_copy(const struct rec *r);
void	rec_free(struct rec *r);
/* "" when there is no "t" or it is no string. */
const char *rec_type(const struct rec *r);

/* Setting replaces in place or appends.  A NULL string removes the key. */
void	rec_set_str(struct rec *r, const char *key, const char *s);
void	rec_set_u64(struct rec *r, const char *key, uint64_t v);
void	rec_set_i64(struct rec *r, const char *key, int64_t v);
void	rec_set_bool(struct rec *r, const char *key, int v);
void	rec_set_f64(struct rec *r, const char *key, double v);
/* A nested map; m stays the caller's. */
void	rec_set_map(struct rec *r, const char *key, const struct rec *m);
/* An array of n strings. */
void	rec_set_strs(struct rec *r, const char *key,
	    const char *const *v, size_t n);
void	rec_del(struct rec *r, const char *key);
int	rec_has(const struct rec *r, const char *key);

/* Getting: 1 found, 0 absent or of another type. Views live as r does. */
int	rec_get_str(const struct rec *r, const char *key, const char **s);
int	rec_get_u64(const struct rec *r, const char *key, uint64_t *v);
int	rec_get_i64(const struct rec *r, const char *key, int64_t *v);
int	rec_get_bool(const struct rec *r, const char *key, int *v);
/* A copy of the nested map, which the caller frees; NULL: none. */
struct rec *rec_get_map(const struct rec *r, const char *key);
/* Calls f for each string of an array. */
int	rec_get_strs(const struct rec *r, const char *key,
	    void (*f)(const char *s, void *arg), void *arg);
/* Keys in order: the i-th, or NULL past the last. */
const char *rec_key(const struct rec *r, size_t i);

/* Appended to b; b->over when it does not fit. */
void	rec_encode(const struct rec *r, struct buf *b);
/* One JSON object without newline.  bin is {"$bin":"hex"}. */
void	rec_to_json(const struct rec *r, struct buf *b);
/* NULL: *e (76). */
struct rec *rec_from_json(const char *s, size_t n, struct err *e);

/*
 * The kinds.  rec_X_get fills the struct with views into r after judging
 * ranges, UTF-8 and paths (-1: *e, 76); rec_X_put sets the known keys and
 * leaves the rest of r alone.
 */
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
	const char	*verdict;	/* set by dcheck: "ok" */
};
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
