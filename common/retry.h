/*
 * retry: whether, and when, to ask again (DESIGN section 6): full-jitter
 * exponential backoff, Retry-After first, a budget for the run, and a
 * breaker for each host that all processes share through the checkpoint
 * database.  It sends nothing: what a request is and what its answer means
 * is known above it.
 *
 * Only what may be repeated is for it.  A conditional write whose outcome
 * is unknown is read back, not repeated; one that was refused unread (429)
 * is asked for again like anything else.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_RETRY_H
#define D_RETRY_H

#include <stdint.h>

#include "msg.h"

#define RETRY_BASE	0.1	/* s, of the first backoff at most */
#define RETRY_CAP	20.0	/* s, of any */
#define RETRY_TRIES	8	/* of one thing, the first one included */
#define RETRY_BUDGET	100	/* retries of a run */
#define RETRY_EARN	0.1	/* of a retry, won back by a success */
#define RETRY_AFTER_MAX	120	/* s; who asks for more is not waited for */

struct ckpt;
struct net_res;
struct retry;

/* What became of one request. */
enum retry_what {
	RETRY_GOOD,	/* an answer that is one */
	RETRY_FINAL,	/* the host is well, and again ends the same */
	RETRY_BUSY,	/* too much: 429, 503 with Retry-After */
	RETRY_FAILED,	/* the host is not well: again, later */
	RETRY_LOST,	/* the host is not well; not again all the same */
	RETRY_STALE,	/* a kept connection had ended: again, now */
	RETRY_NONE	/* says nothing of the host; not again */
};

/*
 * budget 0: RETRY_BUDGET.  c (borrowed) NULL: breakers are this run's
 * alone.  A checkpoint database that fails is not asked again.
 */
struct retry *retry_new(struct ckpt *c, unsigned int budget);
/* Tells the others what is still known here alone.  NULL is fine. */
void	retry_free(struct retry *r);

/* One thing that is wanted, over all its tries.  Zeroed to begin with. */
struct retry_op {
	unsigned int	tries;	/* made */
	int		probe;	/* this one is the breaker's */
	int		stale;	/* repeated at once, once */
};

/* host: any name of it, such as net_host's.  -1: 75, the breaker is open;
 * nothing was sent and nothing slept. */
int	retry_ask(struct retry *r, const char *host, struct retry_op *op,
	    struct err *e);
/*
 * After each retry_ask that said 0.  retry_after: s, or -1; why: of a
 * failure, for people, or NULL.  Seconds to wait before the next try, or
 * -1: no more.
 */
double	retry_tell(struct retry *r, const char *host, struct retry_op *op,
	    enum retry_what what, int64_t retry_after, const char *why);
/* From what net_do or net_start's done gave; e NULL: an answer. */
enum retry_what retry_judge(const struct net_res *r, const struct err *e);
/*
 * The same of what must not be done twice, such as a create: only what was
 * not done (refused) is tried again.
 */
enum retry_what retry_judge_once(enum retry_what what, int refused);
/* Retries left in the budget. */
unsigned int retry_left(const struct retry *r);

/*
 * try, until it is good, final, or no more: what it returned and *e of
 * the last one.  try fills *what, and *after with Retry-After or -1.
 */
int	retry_do(struct retry *r, const char *host,
	    int (*try)(void *arg, enum retry_what *what, int64_t *after,
	    struct err *e), void *arg, struct err *e);

/*
 * What was asked so far, as "requests", "retries" and "breaker_openings":
 * by this process, or by all that were forked since retry_share (75: no
 * memory; then each counts for itself).  f is not called when nothing was.
 */
int	retry_share(struct err *e);
void	retry_count(void (*f)(const char *key, uint64_t n, void *arg),
	    void *arg);

/* Before try number tries + 1: u is random in [0, 1). -1: do not. */
double	retry_delay(unsigned int tries, int64_t retry_after, double u);
/* 0, or -1 (75): a signal came. */
int	retry_sleep(double s, struct err *e);

#endif
