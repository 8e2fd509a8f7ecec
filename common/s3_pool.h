/*
 * s3_pool: many requests to S3 at once, no more than the server bears
 * (aimd), each asked again as retry allows.  What is asked, and what an
 * answer means, its users say.
 *
 * Rules that its users may rely on:
 * - ask and answer are called from within pool_run alone, one at a time.
 * - The first error of any job ends the run; what is under way is then
 *   dropped, each with a call of drop.
 * - A job holds its place while it waits for its next try: there are never
 *   more jobs than the ceiling.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_POOL_H
#define D_S3_POOL_H

#include <stdint.h>

#include "aimd.h"
#include "msg.h"
#include "retry.h"
#include "s3.h"

struct s3_job;

enum s3_next {
	S3_OVER,	/* the job is done: drop is called */
	S3_ASK,		/* ask, when it is due */
	S3_FAIL		/* *e says why; the run ends */
};

/* Kinds of jobs: the embedding struct begins with struct s3_job. */
struct s3_job_ops {
	/* Fill q, which is zeroed but for fd; -1: the run ends. */
	int		(*ask)(struct s3_job *j, struct s3_req *q,
			    struct err *e);
	/*
	 * what r and why (NULL: a 2xx) mean.  wait: s until it may be asked
	 * again, -1: retry says no more.  Set j->due for S3_ASK to ask later
	 * than now.
	 */
	enum s3_next	(*answer)(struct s3_job *j, const struct s3_res *r,
			    const struct err *why, double wait,
			    struct err *e);
	/* Frees the job; sent: a request of it was under way. */
	void		(*drop)(struct s3_job *j, int sent);
};

struct s3_job {
	const struct s3_job_ops	*ops;
	struct s3_pool		*p;
	struct s3_job		*prev, *next;
	struct retry_op		 op;	/* zero it for another thing */
	double			 due, begun;
	int			 asked;	/* under way */
	int			 small;	/* its latency says something */
};

struct s3_pool {
	struct s3	*s;
	struct retry	*r;		/* or NULL: nothing is repeated */
	struct aimd	 a;
	struct s3_job	*list;
	unsigned int	 jobs;
	uint64_t	 retries;
	struct err	 e;		/* of the first job that failed */
};

void	pool_init(struct s3_pool *p, struct s3 *s, struct retry *r,
	    unsigned int ceiling);
/*
 * more: *j becomes a job (owned by the run, zeroed but for ops and what is
 * its own) and 1; 0: none, now; -1 *e.  It may wait on the network.  Ends
 * when it says 0 and no job is left.
 */
int	pool_run(struct s3_pool *p, int (*more)(void *arg, struct s3_job **j,
	    struct err *e), void *arg, struct err *e);
/* Let seconds pass, while what is under way goes on. */
int	pool_pause(struct s3_pool *p, double seconds, struct err *e);

#endif
