/*
 * dmerge.h: the join behind dmerge.c: collections, sources, and the
 * winners of DESIGN law 4.  Nothing another program needs.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DMERGE_H
#define D_DMERGE_H

#include <stdint.h>

#include "hnsw_build.h"
#include "manifest.h"
#include "msg.h"
#include "plan.h"
#include "rec_kind.h"
#include "store.h"

#define JOIN_DIRECT 8	/* sorted stores read in place; more are spilled */
#define JOIN_LARGE 1000	/* records of an input that is; ours always are */

/* All in records, tombstones included where not said otherwise. */
struct join_counts {
	uint64_t	in;		/* read from base and inputs */
	uint64_t	from_inputs;	/* of them from inputs */
	uint64_t	live;		/* written, without tombstones */
	uint64_t	tombstones;	/* written */
	uint64_t	superseded;	/* read and not written */
	uint64_t	base_live;
	uint64_t	inserted;	/* live now, not in the base */
	uint64_t	replaced;	/* live in both, other content */
	uint64_t	deleted;	/* live in the base, not now */
	struct hnsw_cost index;		/* what the indexes took */
};

/* What is written, and where. */
struct join_out {
	enum store_format format;	/* STORE_SQLITE or STORE_CHROMA */
	const char	*path;		/* a new file; a directory */
	int		 onto;		/* chroma: a private copy of the base
					   lies there, and is changed */
	unsigned int	 threads;
};

struct join;

/* tmp: a directory to spill into. */
struct join *join_new(const char *tmp);
void	join_free(struct join *j);
/*
 * The base first; path is its store directory.  light: only its ledger is
 * read, for it will be changed in place.
 */
int	join_base(struct join *j, const char *path, const char *format,
	    int light, struct err *e);
/* The base's sources alone: that much of it covers a plan. */
int	join_holds(struct join *j, const struct manifest *base,
	    struct err *e);
/* One checked input at path: -1 with 65 and its name when it disagrees. */
int	join_input(struct join *j, const struct rec_delta *d,
	    const char *path, struct err *e);
/* An input's content that the base has: it covers its plan line. */
void	join_skip(struct join *j, const struct rec_skip *s);
/*
 * Is the plan exactly what was merged or skipped?  Calls say for each
 * line that is missing (66) and each input that is not planned (65).
 */
void	join_cover(struct join *j, struct plan *p,
	    void (*say)(void *arg, int status, const char *url), void *arg);
/*
 * Merge everything into o; fills m (format, content digest, counts,
 * sources; not the files) and c.  Call once.
 */
int	join_write(struct join *j, const struct join_out *o,
	    struct manifest *m, struct join_counts *c, struct err *e);

#endif
