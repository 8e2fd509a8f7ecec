/*
 * late: a library that is opened when it is first needed, not when the
 * program starts.  libcurl and libarchive bring thirty others with them,
 * which costs a program more than its own start; most runs need neither.
 *
 * The door of such a library (arc, net) loads it before anything else, and
 * before a sandbox that would forbid it.  Calls look as they always do:
 * arc_late.c and net_late.c define each function of the library that we
 * use, held against its own header, and hand on.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_LATE_H
#define D_LATE_H

#include <stddef.h>

#include "msg.h"

struct late {
	const char	*name;	/* of a function */
	void		*at;	/* the pointer to it that is to be set */
};

/*
 * Open the library and set all pointers; *done is set then, and where it
 * is set nothing is done.  0, or -1: 74, it is not there or lacks a
 * function.  It stays open.
 */
int	late_load(int *done, const char *library, const struct late *v,
	    size_t n, struct err *e);

/* For the lists of arc_late.c and net_late.c: what is called, and where. */
#define LATE_FN(ret, name, params, args)	\
static ret (*real_##name) params;		\
ret						\
name params					\
{						\
	return real_##name args;		\
}
#define LATE_VOID(name, params, args)		\
static void (*real_##name) params;		\
void						\
name params					\
{						\
	real_##name args;			\
}
#define LATE_AT(ret, name, params, args)	{ #name, &real_##name },
#define LATE_VOID_AT(name, params, args)	{ #name, &real_##name },

#endif
