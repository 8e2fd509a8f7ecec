/*
 * drun, what its parts share: one run of a pipeline, from staging to
 * commit.  Everything here belongs to one thread of one process.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DRUN_H
#define D_DRUN_H

#include <sys/types.h>

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "msg.h"
#include "stage.h"

#define DRUN_STAGES	64	/* stages of a pipeline */
#define DRUN_KILL_S	10.0	/* after TERM, KILL */
#define DRUN_RETRY_MAX	1000	/* --retry */
#define DRUN_RETRY_BASE	1.0	/* s, of the first wait at most */
#define DRUN_RETRY_CAP	300.0	/* s, of any */
#define DRUN_DISCARD_S	30.0	/* after the deadline, for dpublish */
#define DRUN_TOTALS	"totals" /* in staging: what the stages counted */

struct drun_opts {
	const char	*parent;	/* of staging; NULL: as stage_parent */
	const char	*lock;		/* file, or NULL */
	const char	*summary;	/* file, "-", or NULL */
	uint64_t	 deadline;	/* s; 0 none */
	uint64_t	 lock_wait;	/* s */
	unsigned int	 retry;		/* tries after the first */
	int		 keep;
};

struct stage_proc {
	const char	*text;	/* borrowed from the argument */
	size_t		 len;
	char		*shown;	/* the same without secrets; owned */
	pid_t		 pid;	/* 0: reaped, or never started */
	int		 st;	/* of waitpid */
	double		 t0, t1; /* io_now; t1 0: has not ended */
};

struct run {
	struct stage_proc	 p[DRUN_STAGES];
	int			 n, left;
	struct stage		 stage;
	pid_t			 group;	/* the watcher's pid; 0 none */
	int			 ctl;	/* to the watcher; -1 none */
	int			 tty;	/* fd whose terminal they have; -1 */
	int			 blame;	/* stage that failed first; -1 */
	int			 sig;	/* that ended the run; 0 */
	int			 stopping;
	double			 grace_at, term_at, kill_at; /* 0: not set */
	double			 deadline_at;	/* io_now; 0 none */
	int			 late;	/* stopped by the deadline */
	int			 held;	/* the last stage's output; -1 none */
	int			 lockfd; /* of --lock; -1 */
	off_t			 in_at;	/* where stdin began; -1 unknown */
	double			 beat_at;	/* io_now; 0: no leases */
	pid_t			 beat_pid;	/* renews them; 0 none */
	double			 try_t0;	/* io_now, of this try */
	int64_t			 try_start;	/* its ms since 1970 */
	double			 commit_s;	/* the commit took */
	char			 why[MSG_ERR_MAX];	/* the run failed */
	sigset_t		 mask;	/* as it was when we came */
	sigset_t		 wait;	/* while waiting */
};

/*
 * drun_split.c: fill r->p from text; 0, or -1 after saying why (64).
 * Whoever shows or keeps a stage takes it as it is shown.
 */
int	drun_split(struct run *r, const char *text);
/*
 * Is it dfetch | dcheck | dmerge | dpublish, each a simple command, and
 * nothing else?
 */
int	drun_plain(const struct run *r);

/*
 * drun_say.c.  What these return is valid until the next call.
 * drun_show: "stage 2 (dcheck -P 4)"; drun_show_status: of a wait status,
 * "exit 65 (DATAERR)".
 */
const char *drun_show(const struct run *r, int i);
const char *drun_show_status(int st);
/* What our exit status is for a wait status. */
int	drun_status(int st);
/* One of the statuses of our table? */
int	drun_is_ours(int status);
/* Name who failed: the run's status as far as the stages go. */
int	drun_account(struct run *r, const struct err *e);
/* Keep that as the reason of the run's failure, and say it. */
void	drun_blame(struct run *r, int status, const char *fmt, ...)
	    MSG_PRINTF(3, 4);

/* drun_signal.c: the last signal that came, and how many did. */
extern volatile sig_atomic_t drun_got_sig, drun_got_sigs;
void	drun_catch_signals(struct run *r);
/* In a child, before its exec. */
void	drun_restore_signals(const struct run *r);
void	drun_hold_signals(const struct run *r);
/* What came while we were busy is heard now. */
void	drun_hear(const struct run *r);
void	drun_die_of(int sig);
/*
 * Wait for a signal or a child, or until a beat is due, at most until then
 * (io_now; 0: for ever).
 */
void	drun_wait(const struct run *r, double until);
/* The same, or until fd can be written to: then 1. */
int	drun_wait_out(const struct run *r, int fd, double until);

/* drun_group.c: the stages' process group, r->group. */
int	drun_pipe(int fds[2]);	/* close on exec; -1 errno */
int	drun_group_start(struct run *r, struct err *e);
void	drun_give_terminal(struct run *r);
void	drun_group_signal(const struct run *r, int sig);
/* End whatever is left of it. */
void	drun_group_sweep(struct run *r);

/* drun_stages.c: start them all; wait for them all; stop them. */
int	drun_start(struct run *r, struct err *e);
void	drun_attend(struct run *r);
void	drun_stop(struct run *r, int sig);
void	drun_reap(struct run *r);

/* drun_commit.c: 0, or a status, after saying why. */
int	drun_commit(struct run *r);
void	drun_discard(struct run *r);
/* Out of the sweepers' sight, so that it stays. */
void	drun_keep(struct run *r);

/*
 * drun_lock.c: one run at a time.  0 with the lock held until this process
 * and its helpers have ended; or a status, after saying why.
 */
int	drun_lock(struct run *r, const struct drun_opts *o);

/*
 * drun_tries.c: the pipeline, again where that may help.  The status of
 * the last try; each is told to the report.
 */
struct report;
int	drun_tries(struct run *r, const struct drun_opts *o,
	    struct report *rep);
/* Can the stages' stdin be read again?  0, or a status, after saying why. */
int	drun_check_stdin(struct run *r, const struct drun_opts *o);

/*
 * drun_note.c: that a try goes on, and how it ended, for the checkpoint
 * database.  beat renews the leases of the run when that is due, in a
 * child, so that a locked database holds nobody up; drun_wait wakes up for
 * it.
 */
void	drun_beat_begin(struct run *r);
void	drun_beat(struct run *r);
void	drun_beat_end(struct run *r);

struct drun_end {
	const char	*run;
	int64_t		 started, ended;	/* ms since 1970 */
	int		 status;
	uint64_t	 records, bytes;	/* 0 unknown */
	const char	*summary;		/* JSON, or NULL */
};
int	drun_note_wanted(void);
void	drun_note(const struct drun_end *n);

/*
 * drun_summary.c: what a run was, in a line for people and a JSON record.
 * drun_report_new: opens o->summary, so that what cannot be written is
 * known before anything runs; NULL with *status set after saying why, or
 * with 0 when nobody asked, neither --summary nor a checkpoint database.
 * The rest takes NULL and does nothing.
 */
struct report *drun_report_new(const struct drun_opts *o, int *status);
/* A try has ended; its staging is still there. */
void	drun_report_try(struct report *rep, const struct run *r, int status);
/* The run has ended: write it, free rep.  status, or 74 after saying why. */
int	drun_report_end(struct report *rep, const struct run *r,
	    const struct drun_opts *o, const char *command, int status);

#endif
