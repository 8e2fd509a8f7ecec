/*
 * drun, the process group of the stages: its watcher, its terminal, and its
 * end.  Of the stages themselves it knows nothing.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "banned.h"

#define GROUP_REAP_S	1.0	/* after KILL, to be seen gone */

int
drun_pipe(int fds[2])
{
	if (pipe(fds) == -1)
		return -1;
	if (fcntl(fds[0], F_SETFD, FD_CLOEXEC) == -1 ||
	    fcntl(fds[1], F_SETFD, FD_CLOEXEC) == -1) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return -1;
	}
	return 0;
}

static void
nap(double s)
{
	struct timespec	ts;

	ts.tv_sec = (time_t)s;
	ts.tv_nsec = (long)((s - (double)ts.tv_sec) * 1e9);
	(void)nanosleep(&ts, NULL);
}

/*
 * The watcher: leader of the stages' group, which therefore keeps its
 * number as long as we may have to signal it.  When drun is gone without a
 * word (kill -9), it stops the stages: nobody is left to commit their
 * work.  All signals are blocked in it.
 */
static void
watcher(const char *staging, int ctl)
{
	char	c;
	ssize_t	n;
	double	end;

	do
		n = read(ctl, &c, 1);
	while (n == -1 && errno == EINTR);
	if (n == 1)
		_exit(0);
	(void)kill(0, SIGTERM);
	end = io_now() + DRUN_KILL_S;
	while (io_now() < end && stage_alive(staging))
		nap(0.05);
	(void)kill(0, SIGKILL);
	_exit(0);
}

/* Fork the watcher; its pid is the group. */
int
drun_group_start(struct run *r, struct err *e)
{
	sigset_t	all, old;
	int		fds[2], fd, max;
	pid_t		pid;

	if (drun_pipe(fds) == -1)
		return err_sys(e, errno, "watcher of the stages: pipe");
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		/*
		 * holds nothing open, neither staging's lock nor anyone's
		 * pipe, but --lock's: the next run waits for the stages
		 */
		max = fds[0] > r->stage.lockfd ? fds[0] : r->stage.lockfd;
		max = max > r->stage.dirfd ? max : r->stage.dirfd;
		max = max > fds[1] ? max : fds[1];
		max = max > r->held ? max : r->held;
		for (fd = 0; fd <= max; fd++)
			if (fd != fds[0] && fd != r->lockfd)
				(void)close(fd);
		watcher(r->stage.path, fds[0]);
	}
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	(void)close(fds[0]);
	if (pid == -1) {
		(void)close(fds[1]);
		return err_sys(e, errno, "watcher of the stages: fork");
	}
	(void)setpgid(pid, pid);
	r->group = pid;
	r->ctl = fds[1];
	return 0;
}

/* Nothing is left to watch; the group ends with its last member. */
static void
end_watcher(struct run *r)
{
	if (r->group == 0 || r->ctl == -1)
		return;
	if (write(r->ctl, "b", 1) != 1)
		(void)kill(r->group, SIGKILL);
	(void)close(r->ctl);
	r->ctl = -1;
	while (waitpid(r->group, NULL, 0) == -1 && errno == EINTR)
		continue;
}

/*
 * The stages get the terminal when our stdin is one and we are in front of
 * it; not when stdout is a pipe, as its reader may be a pager that needs
 * the terminal itself.
 */
void
drun_give_terminal(struct run *r)
{
	struct stat	st;

	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode))
		return;
	if (tcsetpgrp(STDIN_FILENO, r->group) == 0)
		r->tty = STDIN_FILENO;
}

static void
take_terminal(struct run *r)
{
	if (r->tty != -1)
		(void)tcsetpgrp(r->tty, getpgrp());
	r->tty = -1;
}

void
drun_group_signal(const struct run *r, int sig)
{
	if (r->group == 0)
		return;
	(void)kill(-r->group, sig);
	(void)kill(-r->group, SIGCONT); /* who is stopped must hear it */
}

/* What the stages left running in the background ends with them. */
void
drun_group_sweep(struct run *r)
{
	double	end;
	int	sig;

	end_watcher(r);
	take_terminal(r);
	if (r->group == 0)
		return;
	for (sig = SIGTERM;; sig = SIGKILL) {
		if (kill(-r->group, sig) == -1)
			break;
		(void)kill(-r->group, SIGCONT);
		end = io_now() + (sig == SIGTERM ? DRUN_KILL_S : GROUP_REAP_S);
		while (io_now() < end) {
			drun_reap(r); /* where orphans come to us */
			if (kill(-r->group, 0) == -1)
				break;
			nap(0.01);
		}
		if (sig == SIGKILL)
			break;
	}
	r->group = 0;
}
