/*
 * dcheck: one run of it: its options, and the window of records on their
 * way through, in order, each with the process that proves it.
 *
 * All of it belongs to main; the parts (dcheck_work.h, dcheck_known.h,
 * dcheck_pass.h) change it, and say what goes wrong to its filter.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCHECK_RUN_H
#define D_DCHECK_RUN_H

#include <sys/types.h>

#include "buf.h"
#include "dcheck.h"
#include "filter.h"
#include "rec_kind.h"

#define JOBS_MAX	64U
#define SHOWN_MAX	250		/* bytes of a URL in a message */

struct options {
	struct filter_opts	 f;
	int			 keep_going;
	int			 flags;		/* CHECK_* */
	unsigned int		 jobs;
	unsigned int		 timeout_s;
	const char		*hook;
	const char		*cache;
	const char		*ckpt;
	const char		*verdicts;
	int			 no_cache;
};

enum what {
	PASS,		/* a record that is not ours to judge */
	DELTA,
	BASE,
	STORE,
	OPAQUE		/* a file of a set */
};

enum phase {
	WAITING,
	WORKING,
	HOOKED,
	DONE
};

/* One record of the stream on its way through. */
struct slot {
	enum what	 what;
	enum phase	 phase;
	struct rec	*r;
	struct rec_delta delta;		/* views into r */
	struct rec_base	 base;
	struct rec_store store;
	struct rec_file	 file;
	const char	*url;
	struct job	 job;
	struct answer	 a;		/* when DONE */
	struct answer	 cached;
	int		 has_cached;
	char		 work[64];	/* below staging */
	pid_t		 pid;		/* 0: no process */
	int		 out, said;
	int		 errnum;	/* of a read of the answer; 0 none */
	struct buf	 answer, words;
	double		 started, deadline;
};

/* What is known of a collection, and from which input. */
struct known {
	char		*name;
	uint32_t	 dim;
	enum item_space	 space;
	int		 space_known;
	char		*model;
	char		*dim_from, *space_from, *model_from;
};

struct run {
	struct filter	 f;
	struct options	 o;
	struct cache	 cache;
	struct verdicts	*verdicts;
	struct slot	*ring;
	size_t		 cap, first, n;
	unsigned int	 running;
	uint64_t	 seen, checked, refused;	/* seen: deltas */
	uint64_t	 serial;	/* of work directories */
	struct known	*known;
	size_t		 n_known, cap_known;
	int		 eof;		/* END was read, or the stream broke */
	int		 chld[2];	/* self-pipe of SIGCHLD */
};

/* The i-th record of the window, and one behind its end. */
struct slot *slot_at(struct run *g, size_t i);

#endif
