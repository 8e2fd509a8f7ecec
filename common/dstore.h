/*
 * dstore: our own store, one SQLite file (man/dstore.5): writing it, and
 * the SQL that is its layout.  Reading is behind store.h.
 *
 * Records are given in order of (collection name, id); what is written is
 * byte-identical for the same records, collections and sources.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DSTORE_H
#define D_DSTORE_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

#define DSTORE_FILE	"store.sqlite3"
#define DSTORE_APP_ID	0x494e5443	/* "INTC" */
#define DSTORE_FORMAT	1		/* user_version */

/* The statements that make an empty store, in order, NULL at the end. */
extern const char *const dstore_schema[];

struct dstore_writer;

/*
 * Create path, which must not exist.  colls are sorted by name, sources by
 * (sha256, url); both are borrowed and written at once.
 */
struct dstore_writer *dstore_create(const char *path,
	    const struct item_coll *colls, size_t n_colls,
	    const struct item_source *sources, size_t n_sources,
	    struct err *e);
/* it->coll and it->src index the arrays given. */
int	dstore_put(struct dstore_writer *w, const struct item *it,
	    struct err *e);
/* Commit and close; frees w whatever happens. */
int	dstore_finish(struct dstore_writer *w, const char *content_digest,
	    struct err *e);
/* Give up: close and unlink; NULL is fine. */
void	dstore_discard(struct dstore_writer *w);

#endif
