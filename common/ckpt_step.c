/*
 * ckpt_step: the table of transitions.  It knows no run, no key and no
 * clock.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_step.h"

#include "banned.h"

#define NONE	CKPT_ACT_NONE
#define HIST	CKPT_ACT_HISTORY
#define TAKE	CKPT_ACT_TAKE
#define DONE	CKPT_ACT_DONE
#define FAIL	CKPT_ACT_FAIL
#define PEND	CKPT_ACT_PENDING
#define FORCE	CKPT_ACT_FORCE

/*
 * By event.  Who is at work is not disturbed, what is completed is not
 * undone by a latecomer, and what was done by whoever did it is done.
 */
static const enum ckpt_act table[CKPT_AT_N][CKPT_EV_N] = {
	/* PLAN START CLAIM; DONE: SAME OTHER UNKNOWN; FAIL;
	   RELEASE RETRY FORCE */
	[CKPT_AT_NONE] = { CKPT_ACT_PLAN, TAKE, TAKE, DONE, DONE, DONE, FAIL,
	    NONE, NONE, NONE },
	[CKPT_AT_PENDING] = { NONE, TAKE, TAKE, DONE, DONE, DONE, FAIL,
	    NONE, NONE, FORCE },
	[CKPT_AT_MINE] = { NONE, CKPT_ACT_RENEW, CKPT_ACT_RENEW,
	    DONE, CKPT_ACT_CHANGED, DONE, FAIL, PEND, NONE, NONE },
	[CKPT_AT_HELD] = { NONE, HIST, HIST, DONE, HIST, DONE, HIST,
	    NONE, NONE, NONE },
	[CKPT_AT_STALE] = { NONE, TAKE, TAKE, DONE, DONE, DONE, FAIL,
	    NONE, PEND, FORCE },
	[CKPT_AT_DONE] = { NONE, TAKE, NONE, CKPT_ACT_REPEAT, HIST, DONE, HIST,
	    NONE, NONE, FORCE },
	[CKPT_AT_FAILED] = { NONE, TAKE, TAKE, DONE, DONE, DONE, FAIL,
	    NONE, PEND, FORCE }
};

enum ckpt_act
ckpt_step(enum ckpt_at at, enum ckpt_event ev)
{
	return table[at][ev];
}
