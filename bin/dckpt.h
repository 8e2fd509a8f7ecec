/*
 * dckpt, what its parts share: the options, what an answer is written
 * with, and the verbs.
 *
 * A verb returns 0, or -1 with *o->e; what else it has to say by its exit
 * status it puts into *status.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCKPT_H
#define D_DCKPT_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "ckpt.h"

#define DCKPT_LINE_MAX	((size_t)4 << 20)	/* bytes of one unit shown */
#define DCKPT_STAMP	96	/* bytes of a time or an age as text */

struct dckpt_opts {
	struct ckpt_sel	 sel;
	const char	*db;		/* as given; NULL: DCKPT_DB */
	const char	*stage, *out;
	double		 max_rate;	/* 0 to 1; -1 not given */
	int64_t		 max_stale, max_age;	/* s; -1 */
	int64_t		 max_breakers;	/* -1 */
	int		 json, json_in, history, dry, yes, nul, run, full;
	int		 quick, prometheus;
};

struct dckpt {
	struct dckpt_opts *o;
	struct ckpt	*c;
	struct err	*e;
	struct buf	 b;	/* the line under way */
	int64_t		 now;	/* ms */
	uint64_t	 n;	/* units seen */
	uint64_t	 more;	/* that --limit left out */
};

/* Counts of one pipeline and scope. */
struct dckpt_tally {
	char		*pipeline;
	enum ckpt_scope	 scope;
	uint64_t	 aside;		/* of those that failed */
	uint64_t	 n[CKPT_STATE_N], stale, attempts, records, bytes;
	int64_t		 first, last;	/* ms */
	int64_t		 done;		/* ms; the last completed one; 0 */
	int64_t		 stale_since;	/* ms; of the oldest; 0 */
};
struct dckpt_tallies {
	struct dckpt_tally *v;
	size_t		 n, cap;
};
/* Of the selection; by pipeline and scope. */
int	dckpt_count(struct dckpt *o, const struct ckpt_sel *s,
	    struct dckpt_tallies *t);
void	dckpt_tallies_clear(struct dckpt_tallies *t);
/*
 * failed / (failed + completed), without what was set aside; 0 of none.
 */
double	dckpt_rate(const struct dckpt_tally *t);

/* Text. */
const char *dckpt_iso(int64_t ms, char b[DCKPT_STAMP]);
const char *dckpt_age(int64_t ms, char b[DCKPT_STAMP]);
/* Control bytes masked, so that a line stays a line. */
void	dckpt_masked(struct buf *b, const char *s);
/* In quotes, for a shell, where it needs them. */
void	dckpt_quoted(struct buf *b, const char *s);
/* Print what o->b holds; a failed write is seen at the end. */
void	dckpt_put(struct dckpt *o);
int	dckpt_line(struct dckpt *o, const struct ckpt_unit *u);
int	dckpt_json(struct dckpt *o, const struct ckpt_unit *u, int advice);
/* A name for the database that works in any directory; for free(). */
char	*dckpt_db_path(const struct dckpt *o);

/* Verbs. */
int	dckpt_list(struct dckpt *o, int *status);
int	dckpt_failed(struct dckpt *o, int *status);
int	dckpt_stale(struct dckpt *o, int *status);
int	dckpt_show(struct dckpt *o, int *status);
int	dckpt_stats(struct dckpt *o, int *status);
int	dckpt_alert(struct dckpt *o, int *status);
int	dckpt_export(struct dckpt *o, int *status);
int	dckpt_clear(struct dckpt *o, int *status);
int	dckpt_expire(struct dckpt *o, int *status);
int	dckpt_retry(struct dckpt *o, int *status);
int	dckpt_force(struct dckpt *o, int *status);
int	dckpt_verify(struct dckpt *o, int *status);
int	dckpt_breaker(struct dckpt *o, int *status);
int	dckpt_beat(struct dckpt *o, int *status);
int	dckpt_note(struct dckpt *o, int *status);
/* Needs no database. */
void	dckpt_classes(int json);

/*
 * Run the recorded pipelines of these units again, one after the other:
 * the gravest status.  Closes o->c.
 */
struct dckpt_again {
	char	*pipeline, *command, *cwd;
};
struct dckpt_agains {
	struct dckpt_again **v;	/* in the order of their units */
	size_t		 n, cap;
	void		*tree;		/* the same, for tsearch */
	uint64_t	 unknown;	/* units whose pipeline is not */
	uint64_t	 hidden;	/* or not all of it */
};
void	dckpt_again_add(struct dckpt_agains *a, const struct ckpt_unit *u);
void	dckpt_again_say(struct dckpt *o, const struct dckpt_agains *a);
int	dckpt_again_run(struct dckpt *o, const struct dckpt_agains *a);
void	dckpt_again_clear(struct dckpt_agains *a);

/* As a stage: its exit status.  Closes c. */
int	dckpt_pass(const struct dckpt_opts *o, struct ckpt *c);

#endif
