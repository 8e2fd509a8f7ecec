/*
 * ckpt: the checkpoint database: what is known of each unit of work, of
 * every attempt at it, and of each host's breaker.  SQLite in WAL mode,
 * for many processes at once.
 *
 * It is a memory and never the truth: what was published is what the
 * target says.  A unit is (pipeline, scope, key) and belongs to the run
 * that works on it; a run never overwrites what another one is doing or
 * has finished, it only adds to the history (ckpt_step.h is the table).
 *
 * Keys of local inputs, chunks and targets below DCKPT_ROOT, or else below
 * the database's own directory, are kept relative to it (ckpt_key.h): the
 * same files mounted elsewhere are the same units.  Whoever calls gives
 * and gets paths and URLs as they are on this machine.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_H
#define D_CKPT_H

#include <stddef.h>
#include <stdint.h>

#include "breaker.h"
#include "msg.h"

#define CKPT_APP_ID	0x494e5450	/* application_id: "INTP" */
#define CKPT_VERSION	2		/* user_version; forward only */
#define CKPT_LEASE_S	3600		/* seconds until a lease is over;
					   DCKPT_LEASE */
#define CKPT_BEATS	5		/* renewals in that time */
#define CKPT_COMMAND_MAX ((size_t)128 << 10) /* bytes of a pipeline's text */
#define CKPT_TEXT_MAX	4096		/* bytes of an error text kept */
#define CKPT_KEY_MAX	65536		/* bytes of a key */
#define CKPT_NAME_MAX	255		/* bytes of a pipeline's name */
#define CKPT_DEFAULT	"default"	/* pipeline, when none is named */

enum ckpt_scope {
	CKPT_PIPELINE,
	CKPT_CHUNK,	/* key: what dmerge -o wrote */
	CKPT_INPUT,	/* key: the URL of the plan */
	CKPT_OPERATION	/* key: "publish TARGET" */
};
#define CKPT_SCOPE_N (CKPT_OPERATION + 1)

enum ckpt_state {
	CKPT_PENDING,
	CKPT_IN_PROGRESS,
	CKPT_COMPLETED,
	CKPT_FAILED
};
#define CKPT_STATE_N (CKPT_FAILED + 1)

/* Of the one table of errors (msg.h). */
enum ckpt_class {
	CKPT_NONE = MSG_CLASS_NONE,
	CKPT_TRANSIENT = MSG_CLASS_TRANSIENT,
	CKPT_PERMANENT = MSG_CLASS_PERMANENT,
	CKPT_UNKNOWN = MSG_CLASS_UNKNOWN
};
#define CKPT_CLASS_N (CKPT_UNKNOWN + 1)

const char *ckpt_scope_name(enum ckpt_scope s);	/* "input" */
const char *ckpt_state_name(enum ckpt_state s);	/* "in_progress" */
const char *ckpt_class_name(enum ckpt_class c);	/* "transient"; "" */
/* 0 and *out, or -1 when s is no name of one. */
int	ckpt_scope_parse(const char *s, enum ckpt_scope *out);
int	ckpt_state_parse(const char *s, enum ckpt_state *out);
int	ckpt_class_parse(const char *s, enum ckpt_class *out);
enum ckpt_class ckpt_class_of(int status);

/*
 * What the stages use.  Every call takes a NULL struct ckpt for "nobody
 * asked for checkpoints": it does nothing and returns 0.
 */
struct ckpt;

#define CKPT_CREATE 1	/* make it when it is not there */
#define CKPT_LOOK 2	/* nothing will be changed: also where nothing may be */

/*
 * The database at path; path NULL: DCKPT_DB from the environment.  NULL
 * with e->code 0 when neither names one.  Without CKPT_CREATE a missing
 * one is 66, and nothing is made.  Not a checkpoint database, or a newer
 * schema: 65; an older schema is brought up to this one.  The pipeline is
 * DCKPT_PIPELINE, else CKPT_DEFAULT.
 *
 * The journal is DCKPT_JOURNAL ("wal" or "delete"), else what the database
 * has, else WAL.  WAL on a network file system is refused (64), as it
 * needs memory that all its processes share.
 *
 * With CKPT_LOOK one on read-only media can be asked, too, unless it has a
 * log that would have to be recovered (77).
 */
struct ckpt *ckpt_open(const char *path, int flags, struct err *e);
/* Rolls back what was begun and not committed.  NULL is fine. */
void	ckpt_close(struct ckpt *c);
/*
 * The databases that a run's notes go to, one after the other: path, where
 * one was named; else those that programs of the run have opened with
 * CKPT_CREATE (they leave a link in DSTAGE/CKPT_LINKS); else DCKPT_DB; else
 * none.  f gets a path that works in any directory.
 */
void	ckpt_run_each(const char *path, void (*f)(const char *path,
	    void *arg), void *arg);
#define CKPT_LINKS "checkpoints"

/* How long a lease lasts, in ms: DCKPT_LEASE, else CKPT_LEASE_S; -1 *e. */
int64_t	ckpt_lease(struct err *e);
/* Another pipeline's name; copied.  -1 (64): empty, or too long. */
int	ckpt_set_pipeline(struct ckpt *c, const char *name, struct err *e);

/*
 * One transaction around many calls, one fsync for them all.  It is the
 * write lock: begin when everything is at hand, never around a read of
 * the stream, or the other stages of the pipe wait for you.
 */
int	ckpt_begin(struct ckpt *c, struct err *e);
int	ckpt_commit(struct ckpt *c, struct err *e);
void	ckpt_rollback(struct ckpt *c);

/*
 * Each of these is one guarded transition: 0 it was made; 1 the unit is
 * another run's now (at work on it, or done with it) and only the history
 * was written: no error; -1 *e.  digest: 64 hex, or NULL for unknown.
 * run: DRUN_ID or the hello's.
 *
 * plan: pending, unless the unit is known already (then 1).
 * start: in progress, owned by this run under a lease.
 * done: completed, started or not.  A run that started it with another
 *   digest did not do that input: 65, and the unit is failed.  What another
 *   run has done already with that digest is not done twice: the attempt
 *   ends as repeated.
 * fail: failed, started or not.  status is an exit status; code a short
 *   word, such as check's "hot" (NULL: the status' name); text is kept
 *   up to CKPT_TEXT_MAX.
 */
int	ckpt_plan(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *run, struct err *e);
int	ckpt_start(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *digest, const char *run, struct err *e);
/*
 * done, of what was found done already: that this run began it is no
 * attempt, where one that completed it is in the history.
 */
int	ckpt_skip(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *digest, const char *run, struct err *e);
/*
 * start, unless it is completed with this digest: then 2, and nothing
 * changes.  Of many who claim one unit, one works on it.
 */
int	ckpt_claim(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *digest, const char *run, struct err *e);
int	ckpt_done(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *digest, const char *run, struct err *e);
int	ckpt_fail(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const char *run, int status, const char *code,
	    const char *text, struct err *e);
/*
 * The run has failed for some other reason: its units still in progress
 * are pending again, their attempts end as abandoned.  *n (or NULL) gets
 * how many.
 */
int	ckpt_release(struct ckpt *c, const char *run, int status,
	    uint64_t *n, struct err *e);

/*
 * What the run made is in its place: the inputs that it has in progress
 * are completed, whatever became of them on the way.  *n (or NULL) gets
 * how many.
 */
int	ckpt_finish(struct ckpt *c, const char *run, uint64_t *n,
	    struct err *e);

/*
 * The run is still at it: its leases are renewed, CKPT_BEATS times in a
 * lease; in between this is a look at the clock.  Call it where work goes
 * on for long.
 */
int	ckpt_beat(struct ckpt *c, const char *run, struct err *e);
/* ms until the next renewal is due. */
int	ckpt_beat_wait(const struct ckpt *c);

/*
 * What the run is: its pipeline's text and the directory it was begun in,
 * for dckpt show and dckpt retry --run.  The first one to say it wins.
 * Secrets in it (hide.h), in summaries and in errors are not kept.
 * ckpt_start says it by itself when run is DRUN_ID and DRUN_PIPELINE holds
 * the text (the directory: DRUN_CWD, else the working directory).
 */
int	ckpt_run_note(struct ckpt *c, const char *run, const char *command,
	    const char *cwd, struct err *e);
/* How the run ended; summary is drun's JSON record, or NULL. */
struct ckpt_run_end {
	int64_t		 started, ended; /* ms; 0: now */
	int		 status;	/* of the exit */
	uint64_t	 records, bytes; /* 0 unknown */
	const char	*summary;
};
int	ckpt_run_end(struct ckpt *c, const char *run,
	    const struct ckpt_run_end *r, struct err *e);

/*
 * More about a unit; call after plan or start.  66 when there is none; 1
 * when run is given and it is another run's by now: nothing is noted.
 */
struct ckpt_facts {
	uint64_t	 size;		/* bytes; 0 unknown */
	int64_t		 mtime;		/* ns; 0 unknown */
	uint64_t	 inode;		/* 0 unknown */
	const char	*options;	/* what it was done with, or NULL */
	uint64_t	 records;	/* 0 unknown */
	const char	*result;	/* what came of it, such as the version
					   published; or NULL */
	const char	*digest;	/* of what was read; or NULL */
	const char	*run;		/* or NULL: whosever it is */
};
int	ckpt_note(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    const struct ckpt_facts *f, struct err *e);

/*
 * An input that failed was set aside, where says where to, or is back (NULL):
 * in every pipeline that knows it with that digest.  It stays failed, and
 * the note is its result, until it is worked on again.
 */
int	ckpt_aside(struct ckpt *c, const char *key, const char *digest,
	    const char *where, struct err *e);
/*
 * 1 when the operator wants it processed again (dckpt force): whoever
 * would leave it out, for whatever reason, must not.  Lasts until done.
 */
int	ckpt_forced(struct ckpt *c, enum ckpt_scope scope, const char *key,
	    struct err *e);

/*
 * What people and programs ask (bin/dckpt.c).
 */

/* Views; they live until the callback returns. NULL: none. ms of 1970. */
struct ckpt_unit {
	int64_t		 id;
	const char	*pipeline;
	enum ckpt_scope	 scope;
	const char	*key;
	enum ckpt_state	 state;
	const char	*digest;
	uint64_t	 size;
	int64_t		 mtime;		/* ns */
	uint64_t	 inode;
	const char	*tool;		/* "dfetch 0.1.0" */
	const char	*options;
	const char	*run;
	const char	*host;		/* owner */
	int64_t		 pid, pgid;
	int64_t		 lease;		/* ms; 0 none */
	int		 stale;		/* in progress, nobody at it */
	int		 forced;
	int		 aside;		/* failed; result says where it is */
	uint64_t	 records;
	const char	*result;
	const char	*command;	/* of the run; or NULL */
	const char	*cwd;
	uint64_t	 attempts;
	enum ckpt_class	 class;
	int		 status;
	const char	*code;
	const char	*error;
	int64_t		 created, updated;
};

/* One attempt; ended 0: it has not, or its process died. */
struct ckpt_attempt {
	const char	*run, *host, *tool;
	int64_t		 pid;
	int64_t		 started, ended;
	const char	*outcome;	/* "" completed repeated failed
					   abandoned */
	const char	*digest;
	int		 status;
	enum ckpt_class	 class;
	const char	*code, *error;
};

/* Which units: all conditions hold; zeroed, every unit. Borrows. */
struct ckpt_sel {
	const char	*pipeline;	/* NULL: every one */
	unsigned int	 scopes;	/* 1 << enum ckpt_scope; 0 all */
	unsigned int	 states;	/* 1 << enum ckpt_state; 0 all */
	unsigned int	 classes;	/* 1 << enum ckpt_class; 0 all */
	const char *const *keys;	/* any of these, exactly */
	size_t		 n_keys;
	const char	*glob;		/* SQLite GLOB on the key, or NULL */
	const char	*code;		/* of the error, such as "hot" */
	int64_t		 before, since;	/* last change, ms; 0 any */
	int		 open;		/* failed, or stale */
	int		 stale;		/* only these */
	int		 idle;		/* not what a living run works on */
	int		 in_place;	/* not what was set aside */
	uint64_t	 limit;		/* 0: none */
	uint64_t	*more;		/* gets what limit left out; or NULL */
	int		 oldest;	/* first; else the latest first */
};

/* Calls f for each; f returns nonzero to stop.  0 or -1. */
int	ckpt_each(struct ckpt *c, const struct ckpt_sel *s,
	    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
	    struct err *e);
/* The unit's attempts, the first one first. */
int	ckpt_history(struct ckpt *c, int64_t unit,
	    int (*f)(const struct ckpt_attempt *a, void *arg), void *arg,
	    struct err *e);
/* Forget units and their history; limit is not looked at. */
int	ckpt_clear(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
	    struct err *e);
/*
 * Failed and stale units of the selection, but for what was set aside,
 * become pending; f is called for each as it was before.  Inside a
 * transaction, so that what f saw is what changed.
 */
int	ckpt_retry(struct ckpt *c, const struct ckpt_sel *s,
	    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
	    uint64_t *n, struct err *e);

/*
 * Units of the selection that no living run works on become pending and
 * forced; f as above.
 */
int	ckpt_force(struct ckpt *c, const struct ckpt_sel *s,
	    int (*f)(const struct ckpt_unit *u, void *arg), void *arg,
	    uint64_t *n, struct err *e);
/*
 * Forget what no living run works on and nobody has touched since
 * s->before (which must be set); runs that nothing speaks of any more too.
 */
int	ckpt_expire(struct ckpt *c, const struct ckpt_sel *s, uint64_t *n,
	    struct err *e);

/*
 * Sums for metrics, by pipeline and scope: they only grow, as what was
 * cleared or expired stays counted.
 */
struct ckpt_sum {
	const char	*pipeline;
	enum ckpt_scope	 scope;
	const char	*outcome;	/* "completed" and so on */
	enum ckpt_class	 class;
	const char	*code;		/* "" none */
	uint64_t	 n;		/* attempts that ended so */
	uint64_t	 retries;	/* of those, not the unit's first */
	int64_t		 last;		/* ms, when the last one ended */
};
int	ckpt_sums(struct ckpt *c, const char *pipeline,
	    int (*f)(const struct ckpt_sum *s, void *arg), void *arg,
	    struct err *e);

/* Of each pipeline the run that ended last (ckpt_run_end). */
struct ckpt_run {
	const char	*id, *pipeline, *command, *cwd, *host;
	int64_t		 started, ended;	/* ms */
	int		 status;
	uint64_t	 records, bytes;
	const char	*summary;	/* or NULL */
};
int	ckpt_runs(struct ckpt *c, const char *pipeline,
	    int (*f)(const struct ckpt_run *r, void *arg), void *arg,
	    struct err *e);

/*
 * The breakers (breaker.h), one for each host, seen by all processes.
 */

/* 1 and *b; 0 there is none, and *b is a closed one; -1 *e. */
int	ckpt_breaker_get(struct ckpt *c, const char *host, struct breaker *b,
	    struct err *e);
/*
 * f changes *b as it is now, with no other process in between, and returns
 * 1 when it did, 0 when nothing is to be written.  now: ms since 1970.
 * A crash of the machine may lose the change; one of the process does not.
 */
int	ckpt_breaker_change(struct ckpt *c, const char *host,
	    int (*f)(struct breaker *b, int64_t now, void *arg), void *arg,
	    struct err *e);
/* f for each, by host; f returns nonzero to stop. */
int	ckpt_breaker_each(struct ckpt *c, int (*f)(const char *host,
	    const struct breaker *b, int64_t updated, void *arg), void *arg,
	    struct err *e);
/* Forget host's, or, NULL, all: closed again.  *n gets how many. */
int	ckpt_breaker_clear(struct ckpt *c, const char *host, uint64_t *n,
	    struct err *e);
/* "closed" "open" "half_open" */
const char *ckpt_breaker_state(enum breaker_state s);
int	ckpt_breaker_parse(const char *s, enum breaker_state *out);

#endif
