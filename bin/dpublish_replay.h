/*
 * dpublish_replay: what a journal says (common/journal.h), done to plain
 * keys below a prefix (common/plain.h).
 *
 * PREFIX/.intact is a target (common/target.h).  A set is staged and proved
 * there as a version that holds its files and a journal: what each key is
 * to become, and what it was.  The version's commit, an exclusive create,
 * makes the journal binding; then
 *
 *	.intact/old/G/		each key that will go or change is put aside,
 *	NAME			each is made what the version holds,
 *				those to be deleted go, and
 *	.intact/done/G.json	says that it is over: "done", or "back".
 *
 * Each step is found done when it is begun again, so whoever comes next can
 * finish what another began: forward, or back once .intact/back/G.json says
 * so.  Only one moves keys at a time: its claim names the version.
 *
 * A prefix that is open owns all it holds until replay_close.  Errors: 65 a
 * key, a mark or a journal is not what it should be, 66 there is no target,
 * 75 another is at work; and what plain and target say.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_REPLAY_H
#define D_DPUBLISH_REPLAY_H

#include "dpublish.h"
#include "journal.h"
#include "plain.h"

#define REPLAY_FILES	"files/"	/* of a version */

/* A prefix, and the target that its journal lies in. */
struct replay {
	struct plain		*p;
	struct target		*t;		/* NULL: there is none yet */
	struct target_commit	 head;		/* generation 0: none */
};

/* For replay_close in any case; create: the target is made. */
int	replay_open(struct replay *x, const char *url, int create,
	    const struct dpub_opts *o, struct err *e);
void	replay_close(struct replay *x);

/* How generation g has ended: 1 done, 2 back, 0 not yet, -1. */
int	replay_outcome(struct replay *x, uint64_t g, struct err *e);
/*
 * Make every key what the journal of x->head, which was committed under u,
 * says it becomes.  proved: the version was, just now.
 */
int	replay_forward(struct replay *x, struct target_upload *u, int proved,
	    struct err *e);
/* All that is left to do once it is over; what fails is the next run's. */
void	replay_tidy(struct replay *x, struct target_upload *u);
/*
 * Bring what another has begun to its end: forward, or with back set back.
 * x->head is the newest commit then, and it is over.  1 something was done,
 * 0, -1.
 */
int	replay_recover(struct replay *x, int back, struct err *e);

/* Names made of others, freed together with the keys that use them. */
struct replay_keys {
	struct plain_key	*v;
	size_t			 n, cap;
};

void	replay_keys_clear(struct replay_keys *k);
/* Copies; from may be NULL.  Lives until the next one is added. */
struct plain_key *replay_keys_add(struct replay_keys *k, const char *name,
	    const char *from);
/* What lies at each key of the journal now; for replay_keys_clear. */
int	replay_look(struct replay *x, const struct journal *j,
	    struct replay_keys *now, struct err *e);

#endif
