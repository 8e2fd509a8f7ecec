/*
 * item: one record of a store, or its tombstone, as every format hands it
 * on: canonical metadata, the record digest, and what a collection is.
 * Byte layouts: man/dstore.5.
 *
 * It reads no file and knows no format.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_ITEM_H
#define D_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "msg.h"

#define ITEM_ID_MAX	65536U		/* bytes of an id */
#define ITEM_NAME_MAX	1024U		/* bytes of a collection's name */
#define ITEM_DIM_MAX	65536U		/* floats of an embedding */
#define ITEM_TEXT_MAX	(8U << 20)	/* bytes of document, or metadata */

enum item_space {
	ITEM_L2,
	ITEM_COSINE,
	ITEM_IP
};

/* "l2" "cosine" "ip"; -1 when it is none of them. */
int	item_space_parse(const char *s, size_t len);
const char *item_space_name(enum item_space s);

/*
 * A collection as one store declares it.  config is an opaque JSON object
 * that a ChromaDB writer can take over: {"uuid":..,"config":<text>,
 * "schema":<text or null>,"metadata":{..}}; NULL when there is none.
 * model is the canonical text of what the store says of its embedding
 * function, NULL for null and unknown.  All strings are owned.
 */
struct item_coll {
	char		*name;
	uint32_t	 dim;		/* 0: no record yet, not known */
	enum item_space	 space;
	int		 space_known;	/* 0: the format does not say */
	char		*model;
	char		*config;
	int64_t		 config_seq;	/* of the delta config comes from */
	char		 config_src[HASH_HEX]; /* its input digest; "" self */
};
void	item_coll_clear(struct item_coll *c);

/* An input that a store's records come from. Strings are owned. */
struct item_source {
	char		 sha256[HASH_HEX];	/* input digest */
	char		*url;
	char		*etag;		/* NULL: none */
	uint64_t	 size;		/* bytes */
	int64_t		 seq;
	int		 guessed;	/* seq is a time, not the plan's */
	int64_t		 mtime;		/* ns since 1970 */
	uint64_t	 records;	/* it held, tombstones included */
};
void	item_source_clear(struct item_source *s);

/* Views; the reader that filled it says how long they live. */
struct item {
	int		 coll;		/* index of the store's collection */
	const char	*id;
	size_t		 id_len;
	int		 dead;		/* a tombstone: nothing below it */
	const void	*vec;		/* dim little-endian float32 */
	const char	*doc;		/* NULL: none; "" is a document */
	size_t		 doc_len;
	const char	*meta;		/* canonical JSON object, "{}" */
	size_t		 meta_len;
	int64_t		 seq;		/* of a store of ours */
	int		 src;		/* index of source; -1 the input */
	unsigned char	 digest[HASH_LEN]; /* record digest */
};

/* The record digest into it->digest; name and dim are its collection's. */
void	item_digest(struct hash *h, const char *name, uint32_t dim,
	    struct item *it);
/* Feed a live record into the running content digest, in sorted order. */
void	item_content_start(struct hash *h);
void	item_content_add(struct hash *h, const char *name,
	    const struct item *it);
/* 1 when all n little-endian floats are finite. */
int	item_finite(const void *vec, uint32_t n);
/* memcmp of the shorter length, then by length. */
int	item_cmp(const void *a, size_t alen, const void *b, size_t blen);

/*
 * Typed metadata while it is put together.  Keys are unique: a second
 * set of a key replaces.  Strings are copied.
 */
struct meta;
struct meta *meta_new(void);
void	meta_free(struct meta *m);
void	meta_reset(struct meta *m);
void	meta_set_str(struct meta *m, const char *key, size_t key_len,
	    const char *s, size_t len);
void	meta_set_int(struct meta *m, const char *key, size_t key_len,
	    int64_t v);
void	meta_set_float(struct meta *m, const char *key, size_t key_len,
	    double v);
void	meta_set_bool(struct meta *m, const char *key, size_t key_len, int v);
/* Arrays: set an empty one, then append to the key set last. */
void	meta_set_array(struct meta *m, const char *key, size_t key_len);
void	meta_push_str(struct meta *m, const char *s, size_t len);
void	meta_push_int(struct meta *m, int64_t v);
void	meta_push_float(struct meta *m, double v);
void	meta_push_bool(struct meta *m, int v);
void	meta_remove(struct meta *m, const char *key, size_t key_len);
/* The string at key, or NULL. */
const char *meta_get_str(const struct meta *m, const char *key,
	    size_t key_len, size_t *len);
/* Canonical JSON, keys sorted by bytes, appended to b. */
void	meta_json(struct meta *m, struct buf *b);
/*
 * Merge a JSON object into m: values set, null removes.  Scalars and flat
 * arrays of scalars only.  0, or -1 with *why a literal.
 */
int	meta_overlay(struct meta *m, const char *s, size_t len,
	    const char **why);

#endif
