/*
 * cover: are the sources of some stores exactly the lines of a plan?  The
 * one rule, for who merges (dmerge -p) and who asks (dpublish holds).
 *
 * A source is what a line plans when it has the line's URL, is the bytes
 * that the line pins (sha256=), if any, has its size, and is no older than
 * its seq.  The bytes that a line pins are what it plans whatever they are
 * called.  It reads no store and says nothing.
 *
 * A base answers whatever its seq: bytes that it has already are skipped
 * when they come again with another time, and then nobody tells it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_COVER_H
#define D_COVER_H

#include <stddef.h>

#include "item.h"
#include "plan.h"

struct cover;

/* p is borrowed until cover_free, and the caller's "seen" with it. */
struct cover *cover_new(struct plan *p);
void	cover_free(struct cover *c);	/* NULL is fine */
/* 1 a line plans this source, which may be one of the base; 0 none does. */
int	cover_take(struct cover *c, const struct item_source *s,
	    int of_base);
/* Is the line held by what was taken so far? */
int	cover_has(const struct cover *c, const struct plan_line *l);
/* What of the line the source contradicts: "sha256", "size", "seq" or NULL. */
const char *cover_differs(const struct plan_line *l,
	    const struct item_source *s);

#endif
