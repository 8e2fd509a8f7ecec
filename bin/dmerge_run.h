/*
 * dmerge: one run as its own files see it: what was asked for, what came
 * down the stream, where the store is made, and how it is proved and
 * placed.  All that returns int is 0, or -1 with *e.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DMERGE_RUN_H
#define D_DMERGE_RUN_H

#include <stdint.h>

#include "ckpt.h"
#include "dmerge.h"
#include "filter.h"
#include "manifest.h"
#include "plan.h"
#include "rec_kind.h"
#include "store.h"

struct opts {
	struct filter_opts	 f;
	enum store_format	 format;	/* STORE_NONE: the base's */
	const char		*out;		/* -o */
	const char		*plan;		/* -p */
	const char		*ckpt;		/* -c */
	const char		*expect;	/* --expect */
	unsigned int		 threads;	/* 0: as many as there are */
	int			 rebuild;
};

struct merge {
	struct filter	 f;
	struct opts	 o;
	struct join	*j;
	struct plan	 plan;
	struct ckpt	*ckpt;
	struct rec	*base_rec;	/* copy, or NULL */
	struct rec_base	 base;		/* views into base_rec */
	struct manifest	 base_m;
	int		 has_base;
	int		 unread;	/* nobody has proved it yet */
	enum store_format format;	/* of what is written */
	int		 onto;		/* the base is changed in place */
	uint64_t	 inputs, skips;
	char		*out;		/* absolute -o, or NULL */
	char		*parent;	/* its directory */
	int		 parentfd;
	char		*work;		/* absolute work directory, or NULL */
	char		*store;		/* absolute directory of the store */
	double		 started;
};

/* bin/dmerge_place.c: where the store is made, and where it goes. */

/* a/b, for the caller to free. */
char	*merge_path(const char *a, const char *b);
/* m->store, a new directory, and what tidying up needs to know of it. */
int	merge_prepare(struct merge *m, struct err *e);
/*
 * Every file of man from the directory from into to: by link where that
 * can be, or, to be changed there, as copies and without the manifest.
 */
int	merge_copy(const char *from, const struct manifest *man,
	    const char *to, int to_change, struct err *e);
/* *rel, for the caller: a store below staging that holds what m->store does. */
int	merge_into_staging(struct merge *m, const struct manifest *man,
	    char **rel, struct err *e);
/* -o: m->store under its name, now or by a ticket. */
int	merge_place(struct merge *m, struct err *e);

/* bin/dmerge_prove.c */

/*
 * Open the store at m->store in a process that knows nothing of how it was
 * made, and hold what it finds against man and c; its files go into man
 * meanwhile, and *bytes is their sum.
 */
int	merge_verify(struct merge *m, struct manifest *man,
	    const struct join_counts *c, uint64_t *bytes, struct err *e);
/*
 * A base that dcheck left unread, as nothing comes to it, is to be read
 * after all: prove it first, bytes, structure and records.
 */
int	merge_prove_base(struct merge *m, struct err *e);

/* bin/dmerge_build.c: the store, and its record; after END. */

/* Nothing comes to the base, and it is in the form that is wanted. */
int	merge_as_it_is(const struct merge *m);
/* Of which format it is so, whatever comes, as spare_tell wants it. */
const char *merge_spares(const struct opts *o);
/* Then the base itself is the answer. */
int	merge_hand_on(struct merge *m, struct err *e);
/* Else everything that came, as one. */
int	merge_build(struct merge *m, struct err *e);

#endif
