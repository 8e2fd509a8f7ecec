/*
 * dcheck: dimension, space and embedding model of each collection, as the
 * inputs of a run declared them.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCHECK_KNOWN_H
#define D_DCHECK_KNOWN_H

struct run;
struct slot;

/* Holds an accepted s against what is known, refuses it or learns from it. */
void	known_judge(struct run *g, struct slot *s);
/* Frees what was learned. */
void	known_forget(struct run *g);

#endif
