/*
 * drun, the stages: each is a child; the first that fails is to blame, and
 * the rest is stopped.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "banned.h"

#define STAGES_GRACE_S	0.5	/* after a 76, for others to say more */
#define STAGES_TERM_S	2.0	/* after a signal passed on, TERM as well */

/* In the child: become stage i, with in and out as its stdin and stdout. */
static void
become(const struct run *r, int i, int in, int out)
{
	const struct stage_proc	*p = &r->p[i];
	struct buf		 text;
	char			 sh[] = "sh", c[] = "-c", no[16], *argv[4];

	(void)setpgid(0, r->group);
	buf_init(&text, p->len + 2);
	/* a leading dash would be an option of sh */
	if (p->len > 0 && (p->text[0] == '-' || p->text[0] == '+'))
		buf_addc(&text, ' ');
	buf_add(&text, p->text, p->len);
	if ((in != STDIN_FILENO && dup2(in, STDIN_FILENO) == -1) ||
	    (out != STDOUT_FILENO && dup2(out, STDOUT_FILENO) == -1) ||
	    /* the run is alive as long as anything of it is */
	    fcntl(r->stage.lockfd, F_SETFD, 0) == -1) {
		msg_warn("stage %d: stdin, stdout: %s", i + 1,
		    strerror(errno));
		_exit(err_status(errno));
	}
	drun_restore_signals(r);
	(void)snprintf(no, sizeof(no), "%d", i + 1);
	if (setenv("DRUN_STAGE", no, 1) == -1 ||
	    (i == r->n - 1 && setenv("DRUN_LAST", "1", 1) == -1))
		_exit(MSG_IOERR);
	argv[0] = sh;
	argv[1] = c;
	argv[2] = buf_cstr(&text);
	argv[3] = NULL;
	(void)execv("/bin/sh", argv);
	msg_warn("/bin/sh: %s", strerror(errno));
	_exit(errno == E2BIG ? MSG_USAGE : 127);
}

int
drun_start(struct run *r, struct err *e)
{
	int	fds[2], i, in = STDIN_FILENO, out;

	if (drun_group_start(r, e) == -1)
		return -1;
	drun_give_terminal(r);
	for (i = 0; i < r->n && e->code == 0; i++) {
		fds[0] = -1;
		out = r->held != -1 ? r->held : STDOUT_FILENO;
		if (i < r->n - 1) {
			if (drun_pipe(fds) == -1) {
				err_sys(e, errno, "%s: pipe",
				    drun_show(r, i));
				break;
			}
			out = fds[1];
		}
		r->p[i].t0 = io_now();
		r->p[i].pid = fork();
		if (r->p[i].pid == 0)
			become(r, i, in, out);
		if (r->p[i].pid == -1) {
			r->p[i].pid = 0;
			err_sys(e, errno, "%s: fork", drun_show(r, i));
		} else {
			(void)setpgid(r->p[i].pid, r->group);
			r->left++;
			msg_info("%s: pid %ld", drun_show(r, i),
			    (long)r->p[i].pid);
		}
		if (in != STDIN_FILENO)
			(void)close(in);
		if (out != STDOUT_FILENO && out != r->held)
			(void)close(out);
		in = fds[0];
	}
	if (in > STDIN_FILENO)
		(void)close(in);
	return e->code != 0 ? -1 : 0;
}

/* Stop what still runs: sig now, TERM a little later, KILL at the end. */
void
drun_stop(struct run *r, int sig)
{
	double	now = io_now();

	if (r->stopping)
		return;
	r->stopping = 1;
	r->grace_at = 0;
	r->term_at = sig == SIGTERM ? 0 : now + STAGES_TERM_S;
	r->kill_at = now + DRUN_KILL_S;
	drun_group_signal(r, sig);
}

/* 76, or its reader left: somebody else may know more. */
static int
is_weak(int st)
{
	int	status = drun_status(st);

	return status == MSG_PROTOCOL || status == 128 + SIGPIPE;
}

/* Stage i has ended: is it to blame, and what follows? */
static void
judge(struct run *r, int i)
{
	int	st = r->p[i].st, status = drun_status(st);

	msg_info("%s: %s", drun_show(r, i), drun_show_status(st));
	if (status == 0 || r->sig != 0)
		return;
	/* Ctrl-C went to them and not to us: it was meant for us all */
	if (r->tty != -1 && !r->stopping && (status == 128 + SIGINT ||
	    status == 128 + SIGQUIT || status == 128 + SIGHUP)) {
		r->sig = status - 128;
		drun_stop(r, r->sig);
		return;
	}
	if (r->stopping) {
		/* we did that; but a verdict still beats a broken stream */
		if (r->blame != -1 && is_weak(r->p[r->blame].st) &&
		    WIFEXITED(st) && drun_is_ours(status) && !is_weak(st))
			r->blame = i;
		return;
	}
	if (r->blame == -1 || (is_weak(r->p[r->blame].st) && !is_weak(st)))
		r->blame = i;
	if (!is_weak(st))
		drun_stop(r, SIGTERM);
	else if (r->grace_at == 0)
		r->grace_at = io_now() + STAGES_GRACE_S;
}

/* Ctrl-Z, or a read of a terminal that the stages do not have. */
static void
stopped(struct run *r, int i, int sig)
{
	if (r->stopping)
		return;
	if (r->tty != -1) {
		(void)tcsetpgrp(r->tty, getpgrp());
		(void)kill(getpid(), SIGSTOP);
		/* and on with fg or bg */
		if (tcgetpgrp(r->tty) == getpgrp())
			(void)tcsetpgrp(r->tty, r->group);
		(void)kill(-r->group, SIGCONT);
	} else if (sig == SIGTTIN || sig == SIGTTOU) {
		msg_warn("%s: wants the terminal, which it cannot have here",
		    drun_show(r, i));
		r->p[i].st = MSG_USAGE << 8;
		r->blame = i;
		drun_stop(r, SIGTERM);
	}
}

void
drun_reap(struct run *r)
{
	pid_t	pid;
	int	i, st;

	while ((pid = waitpid(-1, &st, WNOHANG | WUNTRACED)) > 0) {
		for (i = 0; i < r->n && r->p[i].pid != pid; i++)
			continue;
		if (pid == r->beat_pid)
			r->beat_pid = 0;
		if (pid == r->group && !WIFSTOPPED(st)) {
			(void)close(r->ctl); /* somebody killed it */
			r->ctl = -1;
		}
		if (i == r->n)
			continue; /* an orphan of a stage */
		if (WIFSTOPPED(st)) {
			stopped(r, i, WSTOPSIG(st));
			continue;
		}
		r->p[i].pid = 0;
		r->p[i].t1 = io_now();
		r->left--;
		if (r->blame == i)
			continue; /* it was blamed when it stopped */
		r->p[i].st = st;
		judge(r, i);
	}
}

static double
earlier(double a, double b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static void
tell_killed(const struct run *r)
{
	int	i;

	for (i = 0; i < r->n; i++)
		if (r->p[i].pid > 0)
			msg_warn("%s: does not end on TERM: killed",
			    drun_show(r, i));
}

/* Wait for all stages, stopping them all when one has failed. */
void
drun_attend(struct run *r)
{
	double	now;
	int	seen = 0;

	while (r->left > 0) {
		drun_reap(r);
		if (r->left == 0)
			break;
		drun_beat(r);
		now = io_now();
		if (drun_got_sigs > seen) {
			r->sig = drun_got_sig;
			if (seen > 0 && r->stopping)
				r->kill_at = now; /* asked twice */
			seen = drun_got_sigs;
			drun_stop(r, r->sig);
		}
		if (r->deadline_at != 0 && now >= r->deadline_at &&
		    !r->stopping) {
			r->late = 1;
			drun_stop(r, SIGTERM);
		}
		if (r->grace_at != 0 && now >= r->grace_at)
			drun_stop(r, SIGTERM);
		if (r->term_at != 0 && now >= r->term_at) {
			r->term_at = 0;
			drun_group_signal(r, SIGTERM);
		}
		if (r->kill_at != 0 && now >= r->kill_at) {
			r->kill_at = 0;
			tell_killed(r);
			drun_group_signal(r, SIGKILL);
		}
		drun_wait(r, earlier(earlier(r->grace_at, r->term_at),
		    earlier(r->kill_at, r->stopping ? 0 :
		    r->deadline_at)));
	}
	if (drun_got_sigs > seen)
		r->sig = drun_got_sig;
}
