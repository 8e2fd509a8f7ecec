/*
 * s3_send_job: one file on its way to S3: a look whether it is there, its
 * PUT, one of its parts.  What the files of s3_send share, and nobody else
 * uses: s3_send.c decides what is sent and in which order, s3_send_big.c
 * sends large files in parts.
 *
 * All is borrowed from the one s3_send that is under way; i is the index of
 * a file in its list.  Sizes are bytes.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_S3_SEND_JOB_H
#define D_S3_SEND_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "s3.h"
#include "s3_pool.h"
#include "s3_send.h"

#define SEND_LOOKS	5	/* at what became of one upload */
#define SEND_PUT_LEN	16	/* bytes of the id of a call */
#define SEND_LINE	160	/* bytes of a header */
#define SEND_META_PUT	"x-amz-meta-intact-put"
#define SEND_META_RUN	"x-amz-meta-intact-run"

struct item {
	enum { IT_ABSENT, IT_SIZE, IT_OTHER } listed;
	int	done;
};

struct keyed {
	const char	*key;
	size_t		 i;
};

/* An upload in parts that was found. */
struct left {
	size_t	 i;			/* of the file */
	char	*id;
	int64_t	 initiated;
};

/* One upload in parts under way. */
struct big {
	struct big	*next_big;
	size_t		 i;
	int		 fd;
	char		*id;
	int		 resumed, lost, begun;
	unsigned int	 n, next, under_way;
	uint64_t	 each, kept;	/* bytes; kept: were there */
	struct s3_part	*v;		/* etag "": is to be sent */
	struct hash	*whole;
};

struct send {
	struct s3_pool	 pool;
	struct s3	*s;
	const char	*bucket;
	int		 dirfd;
	const struct s3_file *v;
	size_t		 n, at, end;
	struct keyed	*by_key;	/* sorted */
	const struct s3_send_opts *o;
	struct s3_sent	 sent;
	struct item	*it;
	struct left	*left;
	size_t		 n_left, left_cap;
	size_t		*maybe;		/* files that may be there of us */
	size_t		 n_maybe, maybe_cap;
	struct big	*bigs;
	int		 litter;	/* uploads of unknown ids */
	char		 put[2 * SEND_PUT_LEN + 1];
	char		 put_line[SEND_LINE], run_line[SEND_LINE];
};

struct job {
	struct s3_job	 j;
	struct send	*s;
	size_t		 i;
	enum { J_HEAD, J_PUT, J_LOOK, J_PART } is;
	int		 fd;
	int		 unknown;	/* it may be there */
	unsigned int	 looks;
	struct big	*b;
	unsigned int	 part;		/* from 0 */
	char		 sha[HASH_HEX];
	char		 sha_line[SEND_LINE];
	const char	*meta[4];
	char		 number[8];
	struct sign_param query[2];
};

/*
 * A job for the pool, which takes it; is: J_...  send_drop ends one that the
 * pool never had (sent: 1 a request of it may have arrived).
 */
struct job *send_job(struct send *s, size_t i, int is);
void	send_drop(struct s3_job *j, int sent);

/* Flags of a request that creates: S3_IF_NONE where that is wanted. */
unsigned int send_condition(const struct send *s);
int	send_is_big(const struct send *s, size_t i);
/* Does an answer to HEAD speak of the object that v[i] becomes? */
int	send_is_same(const struct send *s, size_t i, const struct s3_res *r);
/* Was it put by this very call? */
int	send_is_ours(const struct send *s, const struct s3_res *r);
/* What lies there now: 0 nothing, 1 the same, 2 something else; -1 *e. */
int	send_look(struct send *s, size_t i, struct s3_res *r, struct err *e);
/* -1 (73): something else is there. */
int	send_taken(const struct send *s, size_t i, struct err *e);
void	send_tell(struct send *s, size_t i);
void	send_mark_sent(struct send *s, size_t i);
void	send_mark_kept(struct send *s, size_t i);

/* The file, which must be what was said of it; the caller closes it. */
int	send_open(const struct send *s, size_t i, struct err *e);
/* n bytes from off through those of a and b that are not NULL. */
int	send_digest(const struct send *s, size_t i, int fd, uint64_t off,
	    uint64_t n, struct hash *a, struct hash *b, struct err *e);
/* -1 (65): the digest in h is not that of v[i]. */
int	send_check_whole(const struct send *s, size_t i, struct hash *h,
	    struct err *e);
/* Headers of what v[i] becomes; line and meta are the caller's memory. */
void	send_set_meta(struct send *s, size_t i, char line[SEND_LINE],
	    const char *meta[4]);
/* Seconds before the next look: as long as for any try. */
double	send_delay(unsigned int looks);

#endif
