/*
 * chroma_write: a ChromaDB persistent directory that its servers open at
 * once, and the ledger beside it: made anew, or a private copy of one of
 * ours changed in place.
 *
 * What is written is byte-identical for the same records, collections,
 * sources and base.  All vectors are in the HNSW files and the queue is
 * empty, without max_seq_id rows: the form that every server since 1.0
 * was seen to open, count, query and write to without loss.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_WRITE_H
#define D_CHROMA_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "hnsw_build.h"
#include "item.h"
#include "msg.h"

struct chroma_writer;

/*
 * dir is an empty directory (anew), or holds a private copy of a store that
 * chroma_write made (onto).  colls are sorted by name, sources by (sha256,
 * url), borrowed, and written at once; of a store changed in place they
 * include its own.  NULL with *e.
 */
struct chroma_writer *chroma_create(const char *dir,
	    const struct item_coll *colls, size_t n_colls,
	    const struct item_source *sources, size_t n_sources,
	    unsigned int threads, struct err *e);
struct chroma_writer *chroma_onto(const char *dir,
	    const struct item_coll *colls, size_t n_colls,
	    const struct item_source *sources, size_t n_sources,
	    unsigned int threads, struct err *e);
/*
 * A record or tombstone that takes the place of what is there; in order of
 * (collection, id).  it->coll and it->src index the arrays given.  65 when
 * ChromaDB has no place for what it is; the message names it.
 */
int	chroma_put(struct chroma_writer *w, const struct item *it,
	    struct err *e);
/*
 * Indexes, pickles, ledger; commit and close.  Frees w whatever happens.
 * records and tombstones are those of the whole store.  cost (NULL: not
 * wanted) gets what the indexes took.
 */
int	chroma_finish(struct chroma_writer *w, const char *content_digest,
	    uint64_t records, uint64_t tombstones, struct hnsw_cost *cost,
	    struct err *e);
/* Give up; what was written is left lying.  NULL is fine. */
void	chroma_discard(struct chroma_writer *w);

#endif
