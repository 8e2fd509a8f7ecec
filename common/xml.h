/*
 * xml: a reader for the small answers of S3: elements and their text, in
 * memory.  No DTD and no entity but the five that need none; attributes
 * and comments are passed over; names lose their prefix.
 *
 * Bounded by the text itself: it builds nothing but the text of the
 * element it stands in.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_XML_H
#define D_XML_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define XML_DEPTH	16	/* elements inside one another */
#define XML_NAME_MAX	64	/* bytes of a name; longer is malformed */
#define XML_TEXT_MAX	((size_t)64 << 10) /* bytes of one element's text */

enum xml_type {
	XML_OPEN,	/* name */
	XML_CLOSE,	/* name, and its own text, without that of others */
	XML_EOF,	/* the top element has ended; only spaces followed */
	XML_BAD		/* x->why says how */
};

struct xml {
	const unsigned char *p, *end;
	int		 depth;
	char		 names[XML_DEPTH][XML_NAME_MAX + 1];
	char		 raw[XML_DEPTH][XML_NAME_MAX + 1]; /* with prefix */
	size_t		 mark[XML_DEPTH]; /* of text: where theirs begins */
	struct buf	 text;
	int		 empty;		/* <x/>: its end is to be told */
	int		 done;
	const char	*name;		/* of the event; until the next call */
	const char	*str;		/* XML_CLOSE: NUL behind it */
	size_t		 len;
	const char	*why;
};

/* Borrows p. */
void	xml_init(struct xml *x, const void *p, size_t n);
void	xml_clear(struct xml *x);
enum xml_type xml_next(struct xml *x);
/* s as text of an element; -1: it has a byte that XML cannot say. */
int	xml_put(struct buf *b, const char *s);

#endif
