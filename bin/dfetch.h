/*
 * dfetch: what its files share: where inputs come from (one struct of
 * functions for each kind of URL), and the work on one input.  The run as a
 * whole is in dfetch_run.h.
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

#define FETCH_MOVERS	4	/* processes for what is elsewhere */
#define FETCH_NAME_MAX	256	/* bytes of a file's name, NUL included */
#define FETCH_ETAG_MAX	256	/* bytes of an ETag, NUL included */
#define FETCH_DEPTH	8	/* directories of an input, as hash_dir */
#define FETCH_P_MAX	64	/* processes; transfers at once */
#define FETCH_WINDOW	256	/* inputs under way, or waiting to be told */
#define FETCH_KEEP	200000	/* objects that lists told of are kept; those
				   of other inputs are listed once more */
#define FETCH_SIZE_MAX	((uint64_t)1 << 40) /* bytes of an input */

struct remote;
struct xfer_get;

/* What an input looks like without reading it. */
struct fetch_info {
	int		 dir;		/* else a file */
	int		 unsized;	/* size is not known before reading */
	uint64_t	 size;		/* bytes, of a directory their sum */
	int64_t		 mtime;		/* ns since 1970, of the newest file;
					   0 not known (never so here) */
	uint64_t	 inode;		/* 0 where there is none */
	char		 etag[FETCH_ETAG_MAX]; /* "" where there is none */
};
/* A server's ETag (NULL: none) into out; one too long as its digest. */
void	fetch_etag(char out[FETCH_ETAG_MAX], const char *etag);

/* An object below a prefix that is one input. */
struct fetch_file {
	char		*mem;		/* owned; holds name and etag */
	const char	*name;		/* below the prefix */
	const char	*etag;		/* or NULL */
	uint64_t	 size;
};
/* What was learned of an input elsewhere before it is fetched. */
struct fetch_seen {
	struct fetch_info	 info;
	char			*from;	/* is asked for; NULL: its URL */
	struct fetch_file	*v;	/* of a prefix, by name; NULL: they
					   were not kept */
	size_t			 n;
};
void	fetch_seen_free(struct fetch_seen *s);	/* NULL is fine */

/* Looking at things elsewhere, and whom to tell of operands' inputs. */
struct fetch_list {
	struct remote	*remote;	/* of elsewhere alone */
	uint64_t	 kept;		/* objects, of FETCH_KEEP */
	/* seen (NULL: not looked at yet) is taken */
	int		(*add)(void *arg, const char *url,
			    struct fetch_seen *seen, struct err *e);
	void		*arg;
};
/* One line of a plan that is to be looked at. */
struct fetch_look {
	const struct plan_line	*line;
	size_t			 n;	/* of the line */
	struct fetch_seen	*seen;	/* out; the caller's */
	struct err		 e;	/* out, where seen is NULL */
};

/*
 * A kind of source.  Each call returns 0, or -1 with *e: 64 no such URL, 66
 * absent, 65 not acceptable, 75 not quiet, else what the machine did.
 */
struct fetch_src {
	int	remote;		/* which of the calls below there are */
	/* Is url one of this kind, in form? */
	int	(*check)(const char *url, struct err *e);
	/* Call l->add for each input that the operand url stands for. */
	int	(*list)(struct fetch_list *l, const char *url,
		    struct err *e);

	/*
	 * Here.
	 */
	/* Is it there? */
	int	(*exists)(const char *url, struct err *e);
	int	(*look)(const char *url, struct fetch_info *info,
		    struct err *e);
	/*
	 * Copy it into the empty directory dirfd of staging stage (a file
	 * under name, made safe), or with dirfd -1 only read it.  d gets the
	 * input digest.
	 */
	int	(*fetch)(const char *url, const char *stage, int dirfd,
		    char name[FETCH_NAME_MAX], struct fetch_info *info,
		    unsigned char d[HASH_LEN], struct err *e);

	/*
	 * Elsewhere.
	 */
	/*
	 * Fill seen or e of n lines of this kind; -1: no use to go on.  They
	 * may be sorted on the way.
	 */
	int	(*see)(struct fetch_list *l, struct fetch_look *v, size_t n,
		    struct err *e);
	/* The objects of a prefix, where they were not kept: s->v. */
	int	(*open)(struct fetch_list *l, const struct plan_line *line,
		    struct fetch_seen *s, struct err *e);
	/*
	 * What is to be downloaded: the whole of a file, or its i-th object.
	 * mem is two strings that the caller frees.  NULL: not by xfer.
	 */
	int	(*ask)(const struct plan_line *line,
		    const struct fetch_seen *s, size_t i,
		    struct xfer_get *g, char *mem[2], struct err *e);
};
extern const struct fetch_src	fetch_local, fetch_s3, fetch_http,
    fetch_batches;
/*
 * As see of fetch_s3, after the fetch: nothing is kept of what the lists
 * say but info.
 */
int	fetch_s3_again(struct fetch_list *l, struct fetch_look *v, size_t n,
	    struct err *e);
/* What a list tells of a file here. */
struct fetch_stat {
	uint64_t	size, inode, dev;
	int64_t		mtime, ctime;	/* ns */
};
/*
 * --files, of a path here: f is told of each file below it, sorted by name
 * ("" for what is no directory), and of those that are hidden nobody.
 */
int	fetch_local_files(const char *url, const char *path,
	    int (*f)(void *arg, const char *name,
	    const struct fetch_stat *st, struct err *e),
	    void *arg, struct err *e);
/* The name at the end of an http URL, made safe. */
void	fetch_http_name(char out[FETCH_NAME_MAX], const char *url);
/* Whose url it is; NULL: *e (64). */
const struct fetch_src *fetch_src_of(const char *url, struct err *e);
/* 75: somebody writes it. */
int	fetch_changed(const char *url, struct err *e);
/* Does a name directly below a directory say that it is one delta? */
int	fetch_marks_delta(const char *name);
/*
 * The same of a target: of each name (a slash may end it) a bit, or 0, and
 * fetch_is_target of all bits together.  fetch_no_input says that it is one,
 * and what may have been meant (64).
 */
unsigned int fetch_marks_target(const char *name);
int	fetch_is_target(unsigned int marks);
int	fetch_no_input(const char *url, struct err *e);
/* A file's name in staging from that at the end of a URL. */
void	fetch_name(char out[FETCH_NAME_MAX], const char *s);
/* 65: neither the source nor the plan's seq= says how old it is. */
int	fetch_timed(const struct plan_line *l, const struct fetch_info *info,
	    struct err *e);

/* What is to be done to each input, the same for all of them. */
struct fetch_work {
	const struct plan	*plan;
	struct fetch_seen	*const *seen;	/* by line; NULL here */
	int			 list;		/* copy nothing */
	int			 digest;	/* with list: read it */
	const char		*stage;		/* staging, absolute; NULL */
	int			 stagefd;	/* -1 none */
	int			 lockfd;	/* -1 none */
	const struct manifest	*base;		/* NULL none */
	const unsigned char	*forced;	/* by line: not to be left out,
						   held or not; NULL none */
	const struct item_source **by_url;	/* base's sources, sorted */
	uint64_t		 max_size;	/* bytes of an input */
	int			 files;		/* --files: empty ones, too */
	/* elsewhere: */
	uint64_t		 max_time;	/* s for an input; 0 no end */
	unsigned int		 parallel;	/* transfers at once, of all */
	unsigned int		 movers;	/* processes that share them */
	const char		*cache;		/* directory, or NULL */
	const char		*ckpt;		/* for breakers, or NULL */
	const struct fetch_batch_opts *batch;
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
	FETCH_UNCHANGED, /* held: same URL, size, ETag or time; not read */
	FETCH_HELD,	/* held: same digest */
	FETCH_SOURCES,	/* held: a store of ours, all its sources are */
	FETCH_STALE,	/* a batch, and all of its results are out of date */
	FETCH_NEWS	/* no answer: how far the worker is */
};

struct fetch_answer {
	uint64_t		 line;
	uint64_t		 n;
	enum fetch_what		 what;
	struct fetch_info	 info;
	char			 sha256[HASH_HEX]; /* "" not read */
	char			 held[HASH_HEX]; /* the base's source, or "" */
	char			 name[FETCH_NAME_MAX];
	uint64_t		 bytes;		/* news: that came */
	uint64_t		 running;	/* news: at once */
	struct err		 e;
};

/*
 * A source of the base with this URL, size and ETag or time, and the digest
 * where the plan has one; or NULL.  A URL may be there several times: what
 * lies under a name changes.
 */
const struct item_source *fetch_unchanged(const struct fetch_work *w,
	    const struct plan_line *l, const struct fetch_info *info);
/* Sorts; the caller frees *by_url. */
void	fetch_index(const struct manifest *m,
	    const struct item_source ***by_url);
/* All of one job that is here (with -l: anywhere), here and now. */
void	fetch_one(const struct fetch_work *w, const struct fetch_job *j,
	    struct fetch_answer *a);
/* Its two halves: 1 it must be read, 0 a is the answer already. */
int	fetch_before(const struct fetch_work *w, const struct fetch_job *j,
	    struct fetch_answer *a);
/* The directory of a job, -1 with *e; with -l, -1 without. */
int	fetch_open_dir(const struct fetch_work *w, uint64_t n,
	    struct err *e);
/* Read, and into dirfd (-1 none), with digest d, or a->e says why not. */
void	fetch_after(const struct fetch_work *w, int dirfd,
	    const unsigned char d[HASH_LEN], struct fetch_answer *a);
/* A worker for what is elsewhere: jobs in, answers out; no return. */
void	fetch_remote_work(const struct fetch_work *w, int fd);

/*
 * n processes that do so to what is here, and FETCH_MOVERS at most that move
 * what is not, many at once each, so that digests are made on all
 * processors.  fetch_pool_wait waits for an answer or news, for the reader
 * of stdout to leave, or a signal.
 */
struct fetch_pool;
struct fetch_pool *fetch_pool_new(const struct fetch_work *w, unsigned int n,
	    unsigned int remote, struct err *e);
/* 1 taken, 0 all are busy, -1 *e. */
int	fetch_pool_give(struct fetch_pool *p, const struct fetch_job *j,
	    int remote, struct err *e);
/*
 * 1 *a, 0 look around and come back (after ms, -1 never, at the latest), -1
 * *e: a worker died.
 */
int	fetch_pool_wait(struct fetch_pool *p, int ms, struct fetch_answer *a,
	    struct err *e);
/* Kills who is still at work.  NULL is fine. */
void	fetch_pool_free(struct fetch_pool *p);

#endif
