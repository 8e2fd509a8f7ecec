/*
 * aimd: how many requests to have under way at once: one more for each
 * round that went well, half when the server says that it is too much,
 * a little less when answers only wait in a queue.  Arithmetic alone: it
 * reads no clock and sends nothing.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_AIMD_H
#define D_AIMD_H

#define AIMD_START	4	/* requests at once, to begin with */
#define AIMD_CUT	0.5	/* what is left after "too much" */
#define AIMD_EASE	0.9	/* what is left when it only queues */
#define AIMD_SLOW	4.0	/* times the best latency that is a queue */
#define AIMD_NOISE	0.050	/* s more than the best that are none */

struct aimd {
	double		limit;		/* at least 1 */
	unsigned int	ceiling;
	int		linear;		/* was too much once: no doubling */
	double		cut;		/* s: when it was last made less */
	double		best;		/* s: the least latency of late */
	double		usual;		/* s: a running mean of it */
};

/* ceiling: the operator's -P; the start is at most that. */
void	aimd_init(struct aimd *a, unsigned int ceiling);
/* Requests to have under way now: 1 to the ceiling. */
unsigned int aimd_limit(const struct aimd *a);
/*
 * An answer that was one.  now, sent: seconds of one clock; sent: when
 * the request was begun; latency: to the first byte, 0 unknown; busy: as
 * many as the limit allows were under way.
 */
void	aimd_good(struct aimd *a, double now, double sent, double latency,
	    int busy);
/*
 * 429, 503, SlowDown: too much.  Requests that were begun before the last
 * cut say nothing new.
 */
void	aimd_slower(struct aimd *a, double now, double sent);

#endif
