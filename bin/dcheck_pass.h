/*
 * dcheck: the two ends of the window.  What goes wrong is said, and is in
 * the run's filter.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCHECK_PASS_H
#define D_DCHECK_PASS_H

struct run;
struct slot;

/* The next record of the stream, or its end, into the window: it has room. */
void	pass_take(struct run *g);
/* The first record of the window, which is DONE, out of it. */
void	pass_emit(struct run *g);
/* Free what s holds, and end its process. */
void	pass_drop(struct run *g, struct slot *s);

#endif
