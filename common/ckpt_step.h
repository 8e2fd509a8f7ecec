/*
 * ckpt_step: what may become of a unit: where it stands, what happens to
 * it, and the one change that is made.  A table without a database, so
 * that all of it can be proved (tests/unit/ckpt.c).
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_STEP_H
#define D_CKPT_STEP_H

/* Where a unit stands, as the run sees it that something happens to. */
enum ckpt_at {
	CKPT_AT_NONE,		/* nobody knows it */
	CKPT_AT_PENDING,
	CKPT_AT_MINE,		/* in progress, by this run */
	CKPT_AT_HELD,		/* in progress, by another one that lives */
	CKPT_AT_STALE,		/* in progress, by another one that is gone */
	CKPT_AT_DONE,
	CKPT_AT_FAILED
};
#define CKPT_AT_N (CKPT_AT_FAILED + 1)

enum ckpt_event {
	CKPT_EV_PLAN,
	CKPT_EV_START,
	CKPT_EV_CLAIM,		/* begun, unless it is done with that digest */
	CKPT_EV_DONE_SAME,	/* with the digest that is known */
	CKPT_EV_DONE_OTHER,	/* with another one */
	CKPT_EV_DONE_UNKNOWN,	/* one of the two is not known */
	CKPT_EV_FAIL,
	CKPT_EV_RELEASE,	/* the run gives back what it has */
	CKPT_EV_RETRY,		/* the operator's: again, if it failed */
	CKPT_EV_FORCE		/* the operator's: again, whatever it was */
};
#define CKPT_EV_N (CKPT_EV_FORCE + 1)

enum ckpt_act {
	CKPT_ACT_NONE,		/* nothing changes */
	CKPT_ACT_PLAN,		/* a new unit, pending */
	CKPT_ACT_TAKE,		/* in progress, this run's; another attempt */
	CKPT_ACT_RENEW,		/* the lease, of the same attempt */
	CKPT_ACT_HISTORY,	/* the unit stays; the attempt is kept */
	CKPT_ACT_DONE,		/* completed */
	CKPT_ACT_REPEAT,	/* it was completed: only the attempt ends */
	CKPT_ACT_CHANGED,	/* failed: begun with other content */
	CKPT_ACT_FAIL,
	CKPT_ACT_PENDING,	/* pending again */
	CKPT_ACT_FORCE		/* pending again, and not to be left out */
};

enum ckpt_act ckpt_step(enum ckpt_at at, enum ckpt_event ev);

#endif
