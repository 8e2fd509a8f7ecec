/*
 * ledger: ledger.sqlite3, which lies beside a chroma.sqlite3 that we wrote
 * and holds what ChromaDB cannot: seq, source, record digest, tombstones,
 * and the last bits of vectors (layout: man/dstore.5).
 *
 * In a cosine space ChromaDB keeps a vector's direction and its length, so
 * that it comes back up to one unit in the last place off.  A record's fix
 * says where: with it, what is read is what came, to the bit.
 *
 * It knows nothing of ChromaDB's own files.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_LEDGER_H
#define D_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "item.h"
#include "msg.h"

struct sqlite3;
struct sqlite3_stmt;

#define LEDGER_FILE	"ledger.sqlite3"
#define LEDGER_APP_ID	0x494e544c	/* "INTL" */
#define LEDGER_FORMAT	1		/* user_version */

/* The statements that make an empty ledger, in order, NULL at the end. */
extern const char *const ledger_schema[];

/* One record or tombstone.  Views live until the next call. */
struct ledger_rec {
	const char	*id;
	size_t		 id_len;
	int64_t		 seq;
	int		 src;		/* index of source */
	unsigned char	 digest[HASH_LEN];
	uint64_t	 label;		/* in the HNSW files; 0: tombstone */
	const void	*fix;		/* NULL: none */
	size_t		 fix_len;
};

struct ledger {
	struct sqlite3	*db;
	char		*path;
	/*
	 * In the order they were first put: not sorted.  Of a collection,
	 * name, dim, space, model, config_seq and config_src are kept;
	 * config is ChromaDB's.
	 */
	struct item_coll *colls;
	size_t		 n_colls, cap_colls;
	struct item_source *sources;
	size_t		 n_sources, cap_sources;
	/* as the ledger says; after ledger_open */
	uint64_t	 records, tombstones;
	char		 content[HASH_HEX];
	/* private */
	struct sqlite3_stmt *walk, *get, *put;
	struct buf	 last;		/* id that ledger_next returned */
};

enum ledger_mode {
	LEDGER_READ,	/* a stranger's, read-only */
	LEDGER_WRITE	/* a private copy of ours, changed in place */
};

/* A new one at path, which must not exist.  0 or -1; close it either way. */
int	ledger_create(struct ledger *l, const char *path, struct err *e);
/* 65: its schema is not ledger_schema to the letter, or its rows are bad. */
int	ledger_open(struct ledger *l, const char *path,
	    enum ledger_mode mode, struct err *e);
/* Created or changed, and not finished, the file is good for nothing. */
void	ledger_close(struct ledger *l);

/* Records of collection coll from its first on, by bytes of id. */
int	ledger_walk(struct ledger *l, size_t coll, struct err *e);
/* 1, 0 at the end of the collection, -1. */
int	ledger_next(struct ledger *l, struct ledger_rec *r, struct err *e);
/* 1 found, 0 not there, -1. */
int	ledger_get(struct ledger *l, size_t coll, const char *id, size_t len,
	    struct ledger_rec *r, struct err *e);

/*
 * Put a collection (by name) or a source (by sha256 and url) that is new or
 * has changed; strings are copied.  Its index, or -1.
 */
int	ledger_put_coll(struct ledger *l, const struct item_coll *c,
	    struct err *e);
int	ledger_put_source(struct ledger *l, const struct item_source *s,
	    struct err *e);
/* New, or instead of the one with this id. */
int	ledger_put(struct ledger *l, size_t coll, const struct ledger_rec *r,
	    struct err *e);
/* Commit and close; l is cleared whatever happens. */
int	ledger_finish(struct ledger *l, const char *content_digest,
	    uint64_t records, uint64_t tombstones, struct err *e);

/*
 * What makes got into want again, both dim little-endian float32; appended
 * to b, nothing when they are the same.  Two bits each where no float is
 * more than one unit off, else want itself.
 */
void	ledger_fix_make(const void *want, const void *got, uint32_t dim,
	    struct buf *b);
/* 0, or -1 when fix is none for dim floats; vec may be changed then. */
int	ledger_fix_apply(void *vec, uint32_t dim, const void *fix,
	    size_t len);

#endif
