/*
 * dfetch: one run as its own files see it: what was asked for, what is
 * planned, known and told so far.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DFETCH_RUN_H
#define D_DFETCH_RUN_H

#include "buf.h"
#include "ckpt.h"
#include "dfetch.h"
#include "dfetch_batch.h"
#include "filter.h"

#define FETCH_BASE	"base"	/* below staging */

struct fetch_opts {
	struct filter_opts	 filter;
	const char		*base;
	int			 base_if_any;
	const char		*ckpt;
	const char		*cache;		/* NULL: not given */
	unsigned int		 parallel;	/* 0: not given */
	uint64_t		 max_size, max_time;
	/* of operands' inputs: seconds since they were modified */
	int			 has_newer, has_older;
	uint64_t		 newer, older;
	struct fetch_batch_opts	 batch;
	const char		*stale;		/* a file, or "-" */
	int			 list, sha256;
	int			 files;		/* --files */
	int			 no_stdin;	/* no plan comes there */
};

/* What is kept of each line until the run ends. */
struct fetched {
	enum fetch_what		 what;
	struct fetch_info	 info;
	char			 sha256[HASH_HEX];
};

/* A file of a set that is here. */
struct fetch_known {
	int			 here;
	struct fetch_stat	 st;	/* as the first list told of it */
	int			 has_digest;
	unsigned char		 digest[HASH_LEN];
};

/* The line on a terminal; all zero: nothing is shown. */
struct progress {
	int	 on, shown;
	double	 last;		/* shown then */
	double	 first;		/* bytes are counted from then */
	/* as the last news of each worker said, and of all */
	uint64_t each_bytes[FETCH_MOVERS], each_running[FETCH_MOVERS];
	uint64_t bytes, running;
};

struct fetch {
	struct fetch_opts	 o;
	struct plan		 plan;
	struct fetch_seen	**seen;	/* by line; NULL here */
	size_t			 n_seen, cap_seen;
	char			**names; /* by line, with --files */
	size_t			 n_names, cap_names;
	char			**trees; /* --files: the operands; not ours */
	unsigned char		 tree_d[HASH_LEN]; /* what lists said */
	struct fetch_known	*known;	/* by line, with --files */
	size_t			 cap_known;
	int64_t			 listed; /* ns; before the first list */
	struct buf		 stale;	/* what batch.stale is */
	struct fetch_list	 list;	/* what is elsewhere is listed */
	size_t			 n_remote;
	struct manifest		 base;
	struct fetch_work	 work;
	struct fetch_pool	*pool;
	struct fetched		*done;	/* by line; -l, checkpoints, remote */
	unsigned char		*forced; /* by line; NULL without checkpoints */
	struct ckpt		*ckpt;
	struct filter		 f;	/* not with -l */
	int			 status; /* with -l */
	uint64_t		 dirs;	/* last number used below in/ */
	struct fetch_job	 job;	/* ready, and not taken yet */
	int			 has_job;
	int			 unchanged; /* the base holds every line */
	uint64_t		 told;	/* lines */
	int			 future; /* an input of then was named */
	struct progress		 progress;
};

/* One line, the status, and a reason in FAIL where there is a stream. */
void	fetch_fail(struct fetch *x, const struct err *e);
/* 1 while nothing has gone wrong and no signal came. */
int	fetch_good(const struct fetch *x);
const char *fetch_run_id(const struct fetch *x);

/*
 * The plan.
 */
int	fetch_add_plan(struct fetch *x, const char *name, struct err *e);
/* Each operand, and each line, that is no good is named: -1. */
int	fetch_add_operands(struct fetch *x, char **v, int n);
/* Every input that is not there is named before anything is copied: -1. */
int	fetch_all_there(struct fetch *x);
/* The same for what is elsewhere alone. */
int	fetch_see_remote(struct fetch *x);
/* No process of ours needs the connections and keys of the lists now. */
void	fetch_unlink(struct fetch *x);
/* What was fetched from prefixes is still what they hold; else said. */
void	fetch_still_there(struct fetch *x);
/* --files: bin/dfetch_files.c; for the operands, which end with NULL. */
int	fetch_add_files(struct fetch *x, char **v);
/*
 * bin/dfetch_known.c: is the set what the base holds, to the byte, although
 * nothing of it is read?  1 and x->known has the digests, 0 it must be read.
 */
int	fetch_files_known(struct fetch *x, const char *cache);
/* What was read, for the next time.  It can fail: then all is read again. */
void	fetch_files_keep(const struct fetch *x, const char *cache);
/* The trees still hold what was fetched of them; else it is said. */
void	fetch_files_still(struct fetch *x);
void	fetch_files_clear(struct fetch *x);
/* Who is told of operands' inputs: arg is the run. */
int	fetch_add_url(void *arg, const char *url, struct fetch_seen *seen,
	    struct err *e);
/* -l: the lines, once everything is known. */
void	fetch_print_plan(const struct fetch *x);

/*
 * Does the base hold all that is planned, as far as can be told without
 * reading any of it?  What was looked at is in x->done.  1, 0.
 */
int	fetch_nothing_new(struct fetch *x);
/* -b, -B: 0, or -1 when it was said what went wrong. */
int	fetch_base(struct fetch *x);

/* An answer as a record.  -1: the run is over. */
int	fetch_tell(struct fetch *x, const struct fetch_answer *a);
/* One input is lost, and with it the run.  -1: no use to name more. */
int	fetch_lose(struct fetch *x, uint64_t line, const struct err *e);

/*
 * Checkpoints: all inputs are planned first.  Then those in progress that
 * must be read, before the first record leaves, so that nothing a later
 * stage says is undone; what is held is noted in x->done, and never begun.
 * The facts at the end.
 */
void	fetch_ckpt_first(struct fetch *x);
void	fetch_ckpt_start(struct fetch *x);
/* Around a fork: SQLite does not bear one. */
void	fetch_ckpt_close(struct fetch *x);
void	fetch_ckpt_open(struct fetch *x);
void	fetch_ckpt_last(struct fetch *x);
/* The run has failed: what it was at is anybody's again. */
void	fetch_ckpt_give_back(struct fetch *x);

/* Is there a terminal to show it on? */
void	fetch_progress_init(struct progress *p);
void	fetch_progress_news(struct progress *p, const struct fetch_answer *a);
/* At most once a second. */
void	fetch_progress_show(struct progress *p, uint64_t told, uint64_t all);
/* Before anything else is written there, and at the end. */
void	fetch_progress_hide(struct progress *p);
/* "1.5 GiB" */
void	fetch_bytes_text(char out[32], double bytes);

#endif
