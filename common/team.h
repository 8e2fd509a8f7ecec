/*
 * team: the threads of one computation.  What is done with them must not
 * depend on how many they are, or on who does what.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TEAM_H
#define D_TEAM_H

#include <stddef.h>

struct team;

/*
 * n threads, the caller's among them.  Where the system gives fewer, they
 * are fewer.  Signals go to the caller's thread.
 */
struct team *team_new(unsigned int n);
void	team_free(struct team *t);		/* NULL is fine */
unsigned int team_size(const struct team *t);
/* Processors that this process may run on, at least 1. */
unsigned int team_processors(void);
/*
 * Call fn for each of 0 .. n-1, step at a time by one thread (numbered from
 * 0); returns when all are done.
 */
void	team_run(struct team *t, size_t n, size_t step,
	    void (*fn)(void *arg, unsigned int thread, size_t i), void *arg);

#endif
