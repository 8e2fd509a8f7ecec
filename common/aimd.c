/*
 * aimd: additive increase, multiplicative decrease.  It refuses to know
 * what is being asked of whom.
 * SPDX-License-Identifier: ISC
 */
#include "aimd.h"

#include <string.h>

#include "banned.h"

#define AIMD_MEAN	0.125	/* weight of a new latency */
#define AIMD_FORGET	1.00005	/* the best one grows old */

void
aimd_init(struct aimd *a, unsigned int ceiling)
{
	memset(a, 0, sizeof(*a));
	a->ceiling = ceiling > 0 ? ceiling : 1;
	a->limit = a->ceiling < AIMD_START ? a->ceiling : AIMD_START;
	a->cut = -1;
}

unsigned int
aimd_limit(const struct aimd *a)
{
	return (unsigned int)a->limit;
}

static void
less(struct aimd *a, double now, double by, double least)
{
	if (a->limit <= least)
		return;
	a->limit *= by;
	if (a->limit < least)
		a->limit = least;
	a->cut = now;
	a->linear = 1;
}

/* Do answers wait in a queue?  Learns from this one. */
static int
queued(struct aimd *a, double latency)
{
	if (latency <= 0)
		return 0;
	a->usual = a->usual == 0 ? latency :
	    a->usual + (latency - a->usual) * AIMD_MEAN;
	a->best *= AIMD_FORGET;
	if (a->best == 0 || latency < a->best)
		a->best = latency;
	return a->usual > a->best * AIMD_SLOW &&
	    a->usual > a->best + AIMD_NOISE;
}

void
aimd_good(struct aimd *a, double now, double sent, double latency, int busy)
{
	double	least = a->ceiling < AIMD_START ? a->ceiling : AIMD_START;

	if (queued(a, latency)) {
		/* a slow server is no reason to go down to one */
		if (sent > a->cut)
			less(a, now, AIMD_EASE, least);
		return;
	}
	if (!busy)
		return; /* what is not used proves nothing */
	a->limit += a->linear ? 1 / a->limit : 1;
	if (a->limit > a->ceiling)
		a->limit = a->ceiling;
}

void
aimd_slower(struct aimd *a, double now, double sent)
{
	if (sent > a->cut)
		less(a, now, AIMD_CUT, 1);
}
