/*
 * dmerge_join.h: a join as its own two files see it: dmerge_join.c takes in
 * what is merged, dmerge_winners.c writes what comes out.  Others have
 * dmerge.h.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DMERGE_JOIN_H
#define D_DMERGE_JOIN_H

#include <stddef.h>
#include <stdint.h>

#include "dmerge.h"
#include "hash.h"
#include "item.h"
#include "plan.h"
#include "spill.h"
#include "store.h"

struct coll {
	struct item_coll c;
	char		*from;		/* the input that declared it first */
	int		 of_base;	/* its tuning is the base's */
	int		 rank;		/* place in the output */
};

struct src {
	struct item_source s;
	int		 of_base, of_input;
	int		 rank;
};

/* A sorted store that is read while the winners are written. */
struct stream {
	struct store	*st;		/* NULL: the spill */
	int		*coll, *src;	/* local numbers to the join's */
	struct item	 it;		/* current; join's numbers */
	int		 have;
	int		 is_base;
	/* of an input: */
	char		*url;
	int		 self;		/* its source, or -1: it has its own */
	int64_t		 seq;		/* then that of all its records */
	uint64_t	 n, want;	/* records: read, checked */
	struct hash	*h;		/* of its content, or NULL */
	char		 content[HASH_HEX];	/* as it was checked; "" */
};

struct join {
	char		*tmp;
	struct coll	*colls;
	size_t		 n_colls, cap_colls;
	struct src	**srcs;
	size_t		 n_srcs, cap_srcs;
	void		*src_tree;	/* by (sha256, url) */
	struct stream	 streams[JOIN_DIRECT + 1];
	size_t		 n_streams;
	struct spill	*spill;
	struct spill_order order;
	struct plan	 skipped;	/* urls */
	struct join_counts c;
	int		 warned;	/* of guessed seq */
};

/* qsort and tsearch of struct src: by (sha256, url). */
int	join_source_cmp(const void *a, const void *b);
/* The next item of m's store, in the join's numbers: 1, 0 no more, -1. */
int	join_next(struct join *j, struct stream *m, struct item *it,
	    struct err *e);
/* An input was read to its end: is it what was checked?  0, or -1. */
int	join_as_checked(struct stream *m, struct err *e);
/* A signal came, and what is half done will not be wanted: -1, else 0. */
int	join_stopped(struct err *e);

#endif
