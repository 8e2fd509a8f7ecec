/*
 * dfetch: what its files share: where inputs come from (one struct of
 * functions for each kind of URL), and the work on one input.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DFETCH_H
#define D_DFETCH_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "manifest.h"
#include "msg.h"
#include "plan.h"

#define FETCH_NAME_MAX	256	/* bytes of a file's name, NUL included */

/* What an input looks like without reading it. */
struct fetch_info {
	int		 dir;		/* else a file */
	uint64_t	 size;		/* bytes, of a directory their sum */
	int64_t		 mtime;		/* ns since 1970, of the newest file */
	uint64_t	 inode;		/* 0 where there is none */
};

/*
 * A kind of source.  Each call returns 0, or -1 with *e: 66 absent, 65 not
 * acceptable, 75 not quiet, else what the machine did.
 */
struct fetch_src {
	/* Call add for each input that the operand url stands for. */
	int	(*list)(const char *url,
		    int (*add)(const char *url, void *arg, struct err *e),
		    void *arg, struct err *e);
	/* Is it there? */
	int	(*exists)(const char *url, struct err *e);
	int	(*look)(const char *url, struct fetch_info *info,
		    struct err *e);
	/*
	 * Copy it into the empty directory dirfd (a file under name, made
	 * safe), or with dirfd -1 only read it.  d gets the input digest.
	 */
	int	(*fetch)(const char *url, int dirfd,
		    char name[FETCH_NAME_MAX], struct fetch_info *info,
		    unsigned char d[HASH_LEN], struct err *e);
};
extern const struct fetch_src	fetch_local;

/* What is to be done to each input, the same for all of them. */
struct fetch_work {
	const struct plan	*plan;
	int			 list;		/* copy nothing */
	int			 digest;	/* with list: read it */
	const char		*stage;		/* staging, absolute; NULL */
	int			 stagefd;	/* -1 none */
	int			 lockfd;	/* -1 none */
	const struct manifest	*base;		/* NULL none */
	const struct item_source **by_url;	/* base's sources, sorted */
};

struct fetch_job {
	uint64_t	 line;		/* of the plan */
	uint64_t	 n;		/* its directory, FETCH_DIR_FMT */
};
#define FETCH_IN	"in"
#define FETCH_DIR_FMT	FETCH_IN "/%08llu"

enum fetch_what {
	FETCH_FAILED,	/* e says why */
	FETCH_DONE,
	FETCH_UNCHANGED, /* held: same URL, size and time; not read */
	FETCH_HELD,	/* held: same digest */
	FETCH_SOURCES	/* held: a store of ours, all its sources are */
};

struct fetch_answer {
	uint64_t		 line;
	uint64_t		 n;
	enum fetch_what		 what;
	struct fetch_info	 info;
	char			 sha256[HASH_HEX]; /* "" not read */
	char			 held[HASH_HEX]; /* the base's source, or "" */
	char			 name[FETCH_NAME_MAX];
	struct err		 e;
};

/* Sorts; the caller frees *by_url. */
void	fetch_index(const struct manifest *m,
	    const struct item_source ***by_url);
/* All of one job, here and now. */
void	fetch_one(const struct fetch_work *w, const struct fetch_job *j,
	    struct fetch_answer *a);

/*
 * n processes that do so.  fetch_pool_wait waits for an answer, for the
 * reader of stdout to leave, or a signal.
 */
struct fetch_pool;
struct fetch_pool *fetch_pool_new(const struct fetch_work *w, unsigned int n,
	    struct err *e);
/* 1 taken, 0 all are busy, -1 *e. */
int	fetch_pool_give(struct fetch_pool *p, const struct fetch_job *j,
	    struct err *e);
/* 1 *a, 0 look around and come back, -1 *e: a worker died. */
int	fetch_pool_wait(struct fetch_pool *p, struct fetch_answer *a,
	    struct err *e);
/* Kills who is still at work.  NULL is fine. */
void	fetch_pool_free(struct fetch_pool *p);

#endif
