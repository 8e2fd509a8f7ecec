/*
 * ckpt_owner: who works on a unit, and whether he still does.  On the same
 * machine processes say it, by number and time of birth; from another one
 * only the lease does.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_OWNER_H
#define D_CKPT_OWNER_H

#include <stdint.h>

#define CKPT_HOST_MAX	256	/* bytes of a host's name */
#define CKPT_PLACE_MAX	128	/* bytes of a place */

/* Zero, or "", is unknown. */
struct ckpt_owner {
	char	 host[CKPT_HOST_MAX];
	char	 place[CKPT_PLACE_MAX];	/* boot, and name space of pids */
	int64_t	 pid, born;		/* of the process that began it */
	int64_t	 pgid, pgborn;		/* pgborn: the group is one run's */
};

/* This process; alone: its group is that of one run and nobody else. */
void	ckpt_owner_self(struct ckpt_owner *o, int alone);
/*
 * 1 when o is gone.  A process that lives is never gone, however slow.
 * over: its lease is over, which decides where nothing better is known.
 */
int	ckpt_owner_gone(const struct ckpt_owner *o,
	    const struct ckpt_owner *self, int over);

#endif
