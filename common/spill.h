/*
 * spill: items of any number, sorted by (collection, id, newest first),
 * in bounded memory: an arena is filled, sorted and appended to one
 * unlinked file as a run; runs are merged while they are read.
 *
 * It drops nothing: equal keys all come out, best first.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SPILL_H
#define D_SPILL_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

#define SPILL_ARENA	((size_t)20 << 20)	/* bytes held before a run */
#define SPILL_FAN	48			/* runs merged at once */
#define SPILL_WINDOW	((size_t)128 << 10)	/* bytes read ahead a run */

/* How collections and sources, by their numbers, are ordered. */
struct spill_order {
	int	(*coll)(const void *arg, int a, int b);
	int	(*src)(const void *arg, int a, int b);	/* of equal seq */
	const void *arg;
};

struct spill;

/* dir: where the file may lie.  o is borrowed. arena 0: SPILL_ARENA. */
struct spill *spill_new(const char *dir, const struct spill_order *o,
	    size_t arena);
void	spill_free(struct spill *s);
/* Copies it; dim floats unless it is dead. */
int	spill_add(struct spill *s, const struct item *it, uint32_t dim,
	    struct err *e);
/* No more is added: sort what is left. */
int	spill_start(struct spill *s, struct err *e);
/* 1, 0 at the end, -1. Views live until the next call. */
int	spill_next(struct spill *s, struct item *it, struct err *e);
/* <0, 0, >0: the order in which items come out. */
int	spill_cmp(const struct spill_order *o, const struct item *a,
	    const struct item *b);
/* Bytes that went to the file. */
uint64_t spill_bytes(const struct spill *s);

#endif
