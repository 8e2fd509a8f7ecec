/*
 * xfer_job: one download that xfer was asked for, from its queue to its end,
 * and the lists it moves through.  What the files of xfer share, and nobody
 * else uses: xfer.c queues and begins, xfer_ask.c sends and hears the ends,
 * xfer_take.c judges what comes.
 *
 * A job is in one of three lists: queued, waiting for its time after a
 * failure, or busy (its request is under way, or a piece that an earlier
 * process left is being read).  It is owned by its list; times are seconds
 * of io_now.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_XFER_JOB_H
#define D_XFER_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "aimd.h"
#include "hash.h"
#include "msg.h"
#include "retry.h"
#include "xfer.h"

#define XFER_RANGE	64	/* bytes of a Range's line */

struct job;
struct net;
struct part;
struct parts;
struct s3;

struct list {
	struct job	*head, *tail;
	uint64_t	 n;
};

/* One server, and until when it wants to be left alone. */
struct host {
	char	*name;
	double	 hold;
};

struct xfer {
	struct net	*n;
	struct s3	*s3;
	struct retry	*r;
	struct parts	*parts;
	int		 cache;
	unsigned int	 ceiling, timeout;
	struct aimd	 aimd;
	struct list	 queue, later, busy;
	unsigned int	 open;		/* jobs that have a part */
	unsigned int	 reading;	/* of busy */
	struct host	**hosts;
	size_t		 n_hosts, cap_hosts;
	uint64_t	 done, bytes, requests, retries;
};

/* What our own look at an answer said, before its end. */
enum verdict {
	V_NONE,		/* nothing */
	V_FINAL,	/* no: w->e */
	V_AGAIN,	/* ask again, at once */
	V_OFF,		/* not what was promised: once more from zero */
	V_FAILED,	/* no answer that a healthy host gives */
	V_JUNK		/* an error with no end; its status is known */
};

/* What a job has once it was begun. */
struct work {
	struct part	*part;		/* NULL: while it waits */
	char		*tag;		/* ETag of the bytes, or NULL */
	char		*off_tag;	/* of the bytes that were wrong */
	unsigned int	 offs;		/* times they were */
	unsigned int	 anews;		/* times it was another object */
	int		 no_range;	/* ranges do not work here */
	int		 cached;	/* the cache was tried */
	int64_t		 total;		/* bytes, as the server says, or -1 */
	int64_t		 modified;
	int		 use_md5;	/* the ETag is one */
	char		 want[HASH_HEX]; /* SHA-256 that the server has */
	/* of one try */
	enum verdict	 verdict;
	struct err	 e;
	int		 status;
	uint64_t	 junk;
	double		 sent;
	int		 ranged, matched;
	char		 range[XFER_RANGE];
	char		*match;		/* If-Match, or the If-Range line */
	const char	**headers;
};

struct job {
	struct job	*prev, *next;
	struct list	*in;
	struct xfer	*x;
	struct xfer_get	 g;		/* strings are in text */
	char		*text;
	const char	**headers;
	struct host	*host;
	struct retry_op	 op;
	struct work	*w;
	double		 due;		/* in later */
	uint64_t	 moved;
	unsigned int	 tries;
	unsigned int	 asking : 1;	/* a request is under way */
	unsigned int	 asked : 1;	/* retry wants to be told */
	unsigned int	 reading : 1;
	unsigned int	 starting : 1;	/* cancel must leave it to us */
	unsigned int	 dropped : 1;
};

/* Before at, or (NULL) at the end. */
void	job_put(struct list *l, struct job *at, struct job *j);
/* Out of its list, if it is in one. */
void	job_unlink(struct job *j);
void	job_move(struct job *j, struct list *l);
/* Wait until due, behind those that wait as long. */
void	job_delay(struct job *j, double due);

/* keep: what is in the cache stays for a later process. */
void	job_drop_part(struct job *j, int keep);
void	job_free_match(struct work *w);
/* Out of its list, and gone; the part has been dropped. */
void	job_free(struct job *j);
/*
 * It came (d: its digest, e NULL), or did not (e, d NULL): done is told,
 * and j is gone.  end_bad: the same of an error that may lie in j.
 */
void	job_end(struct job *j, const unsigned char *d, const struct err *e);
void	job_end_bad(struct job *j, const struct err *e);

#endif
