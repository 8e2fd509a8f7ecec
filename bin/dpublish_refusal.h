/*
 * dpublish_refusal: which inputs were refused, and why: from dcheck's list
 * of verdicts, or from the word of whoever calls; and the list of what is to
 * be sent again, a JSON line each.
 *
 * Refusals own their strings (refusals_clear).  Errors: 64 and 66 an operand
 * that is none, 65 a line of a list that is none, 74 and 75 the machine.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_REFUSAL_H
#define D_DPUBLISH_REFUSAL_H

#include "dpublish.h"

struct move_thing;

#define REFUSAL_LINE_MAX ((size_t)1 << 20)	/* of a list of verdicts */
#define REFUSAL_LIST_MAX ((size_t)1 << 30)	/* bytes of a list */
#define REFUSAL_RESULTS_MAX ((size_t)256 << 20)	/* of a batch result that is
						   looked through for ids */
#define REFUSAL_OPERATOR "operator"		/* the verdict of a person */

/* One refusal: what is to be moved, and why. */
struct refusal {
	char	*url;			/* canonical */
	char	 sha256[HASH_HEX];	/* "" not known */
	char	*verdict, *reason, *mend;
	int	 wanted;		/* an operand named it */
};
struct refusals {
	struct refusal	*v;
	size_t		 n, cap;
};
void	refusals_clear(struct refusals *l);

/*
 * What o's list and the operands (NULL-terminated) ask for, into the empty
 * list: wanted is set of those that are to be set aside.
 */
int	refusals_choose(struct refusals *l, const struct dpub_opts *o,
	    char **inputs, struct err *e);
/* Is a verdict of that code asked for? */
int	refusal_is_wanted(const struct dpub_opts *o, const char *code);

/*
 * The line for whoever sends it again; name: that of its entry, or NULL; x:
 * its bytes, which are looked through for the ids of a batch, or NULL.
 */
void	refusal_line(struct buf *b, const char *name,
	    const struct refusal *r, const struct move_thing *x);
/*
 * The list at path keeps its lines; those of lines that are new come
 * behind.
 */
int	refusal_requeue(const char *path, const struct buf *lines,
	    struct err *e);

#endif
