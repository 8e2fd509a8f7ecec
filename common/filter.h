/*
 * filter: what every stage of the pipeline does alike: hello and end,
 * staging, refusals counted and named, FAIL passed on, the exit status.
 * A program's run() is then its own work and nothing else.
 *
 * It decides nothing about inputs; bin/ does.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_FILTER_H
#define D_FILTER_H

#include <stdint.h>

#include "msg.h"
#include "rec.h"
#include "stage.h"
#include "stream.h"

#define FILTER_REASONS 100	/* named in FAIL; the rest are counted */
#define FILTER_TOTALS "totals"	/* directory in staging; see filter_finish */

struct filter_opts {
	int		 json;		/* --json */
	int		 json_in;	/* --json-in */
	const char	*stage;		/* --stage, or NULL */
	int		 source;	/* reads no stream (dfetch) */
	int		 quiet;		/* writes a stream only to FAIL: what
					   is prepared is told when committed */
};

struct filter {
	struct stream_in	*in;	/* NULL for a source */
	struct stream_out	*out;
	struct stage		 stage;
	struct rec		*totals; /* what END will carry */
	struct rec		*taken;	/* what of it upstream said */
	int			 status; /* gravest so far */
	int			 hello_sent;
	char			 run[STAGE_RUN_MAX];	/* for a late hello */
	int			 broken; /* upstream failed or was cut */
	int			 gone;	/* downstream left */
	char			*reasons[FILTER_REASONS];
	uint64_t		 n_reasons;
	struct filter_opts	 opts;
};

/*
 * Joins or makes the staging (option, DSTAGE, upstream's hello; a source
 * without any makes one), reads upstream's HELLO, writes ours.  0, or -1
 * after saying why: call filter_finish all the same, which tells those who
 * come after us, so that they need not say that nothing came.
 */
int	filter_open(struct filter *f, const struct filter_opts *o);
/*
 * The next record: 1 with *r, or 0 when there is no more: END was read
 * (its totals are merged into f->totals), or the stream broke, which has
 * been said and recorded.
 */
int	filter_next(struct filter *f, const struct rec **r);
/* 1 when filter_next has more and need not wait for it. */
int	filter_ready(const struct filter *f);
/* Pass r on.  -1 when the run is over (reader gone, disk full). */
int	filter_put(struct filter *f, const struct rec *r);
/* One line on stderr, one reason in FAIL, and the status. */
void	filter_fail(struct filter *f, int status, const char *fmt, ...)
	    MSG_PRINTF(3, 4);
/* The same from an err. */
void	filter_fail_err(struct filter *f, const struct err *e);
/* 1 while nothing has gone wrong and no signal came. */
int	filter_ok(const struct filter *f);
/* totals[key] += n */
void	filter_count(struct filter *f, const char *key, uint64_t n);
uint64_t filter_total(const struct filter *f, const char *key);
/* A hello of this program, for a stream that filter_open does not begin. */
struct rec *filter_hello(const char *run);
/* 1 when stdout is no pipe: no other stage reads on. */
int	filter_last(void);
/*
 * END or FAIL, flush, close stdout; a staging that a source made goes
 * when this stage is the last or has failed, and all have left it; dies of
 * a signal that came; else the exit status.  Under drun what this program
 * counted, whatever came of it, is left below FILTER_TOTALS (drun(1)).
 */
int	filter_finish(struct filter *f, int last);

#endif
