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

#include "msg.h"
#include "stage.h"

#define DRUN_STAGES	64	/* stages of a pipeline */
#define DRUN_KILL_S	10.0	/* after TERM, KILL */

struct stage_proc {
	const char	*text;	/* borrowed from the argument */
	size_t		 len;
	pid_t		 pid;	/* 0: reaped, or never started */
	int		 st;	/* of waitpid */
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
	sigset_t		 mask;	/* as it was when we came */
	sigset_t		 wait;	/* while waiting */
};

/* drun_split.c: fill r->p from text; 0, or -1 after saying why (64). */
int	drun_split(struct run *r, const char *text);

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
int	drun_account(const struct run *r, const struct err *e);

/* drun_signal.c: the last signal that came, and how many did. */
extern volatile sig_atomic_t drun_got_sig, drun_got_sigs;
void	drun_catch_signals(struct run *r);
/* In a child, before its exec. */
void	drun_restore_signals(const struct run *r);
/* What came while we were busy is heard now. */
void	drun_hear(const struct run *r);
void	drun_die_of(int sig);
/* Wait for a signal or a child, at most until then (io_now; 0: for ever). */
void	drun_wait(const struct run *r, double until);

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

#endif
