/*
 * store: one way to read records, three formats behind it: ChromaDB
 * directories, our SQLite stores, batch results.  Reading only.
 *
 * A store that is read here has been proved by check.h, or is being
 * proved; a reader still never trusts a length, and returns an error
 * where the bytes make no sense.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_STORE_H
#define D_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

enum store_format {
	STORE_NONE,	/* not recognised */
	STORE_CHROMA,	/* a directory with chroma.sqlite3 */
	STORE_SQLITE,	/* store.sqlite3, alone or in its directory */
	STORE_BATCH,	/* JSON lines of embedding results */
	STORE_ARCHIVE	/* tar, tar.gz, tar.zst, zip: unpack first */
};

const char *store_format_name(enum store_format f);
/* STORE_NONE when s is no format's name. */
enum store_format store_format_parse(const char *s);
/*
 * What lies at path, by name and magic.  STORE_NONE with e->code 0 when
 * it is nothing we know; -1 status in e on I/O errors.
 */
enum store_format store_detect(const char *path, struct err *e);

struct store;

/* What each format implements; each module exports one of these. */
struct store_ops {
	/* next record: 1, 0 at the end, -1.  Views live until next call. */
	int	(*next)(void *impl, struct item *it, struct err *e);
	void	(*close)(void *impl);
};

struct store {
	enum store_format	 format;
	const struct store_ops	*ops;
	void			*impl;
	/* sorted by bytes of name */
	struct item_coll	*colls;
	size_t			 n_colls;
	/* only of our own stores, which know where records came from */
	struct item_source	*sources;
	size_t			 n_sources;
	/* items come sorted by (collection name, id) */
	int			 sorted;
	/* items carry seq, src and digest of their own (a store of ours) */
	int			 has_ledger;
};

#define STORE_RECOVER 1	/* roll a hot journal back: path is a private copy */
/*
 * Of a ChromaDB directory of ours only what its ledger says: vec, doc and
 * meta of every item are NULL, and nothing else of it is read but its
 * collections.  Cheap; other stores are read whole all the same.
 */
#define STORE_LIGHT 2

/*
 * Open for reading.  format must not be STORE_ARCHIVE.  NULL with *e: 65
 * when the content is bad, else what the machine did.
 */
struct store *store_open(const char *path, enum store_format format,
	    int flags, struct err *e);
int	store_next(struct store *s, struct item *it, struct err *e);
/* Frees everything; NULL is fine. */
void	store_close(struct store *s);

/* The formats' own openers; store_open calls them with s zeroed. */
int	chroma_open(struct store *s, const char *path, int flags,
	    struct err *e);
int	dstore_open(struct store *s, const char *path, int flags,
	    struct err *e);
int	batch_open(struct store *s, const char *path, int flags,
	    struct err *e);

#endif
