/*
 * io: a child that becomes another program, and the signals on its way.
 * SPDX-License-Identifier: ISC
 */
#include <sys/wait.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "io.h"
#include "tap.h"

#define WAIT_S	60	/* a signal that was lost */

static void
leave(void *arg)
{
	_exit(*(int *)arg);
}

static void
stay(void *arg)
{
	(void)arg;
	for (;;)
		(void)pause();
}

static void
call(void *arg)
{
	(void)kill(getppid(), SIGTERM);
	stay(arg);
}

/* What it found changed of its signals. */
static void
look(void *arg)
{
	struct sigaction	sa;
	sigset_t		set;
	int			bad = 0;

	if (sigaction(SIGTERM, NULL, &sa) == -1 || sa.sa_handler != SIG_DFL)
		bad |= 1;
	if (sigaction(SIGHUP, NULL, &sa) == -1 || sa.sa_handler != SIG_IGN)
		bad |= 2;
	if (sigaction(SIGPIPE, NULL, &sa) == -1 || sa.sa_handler != SIG_DFL)
		bad |= 4;
	if (sigprocmask(SIG_BLOCK, NULL, &set) == -1 ||
	    sigismember(&set, SIGTERM) || sigismember(&set, SIGCHLD))
		bad |= 8;
	bad |= arg != NULL ? 16 : 0;
	_exit(bad);
}

/* Is ours as it was? */
static int
is_as_before(void)
{
	struct sigaction	sa;
	sigset_t		set;

	return sigaction(SIGCHLD, NULL, &sa) == 0 &&
	    sa.sa_handler == SIG_DFL &&
	    sigprocmask(SIG_BLOCK, NULL, &set) == 0 &&
	    !sigismember(&set, SIGTERM) && !sigismember(&set, SIGCHLD);
}

/* What f, which does not return, comes to in a child: 0, -1. */
static int
run(void (*f)(void *arg), void *arg, int *st)
{
	struct err	e = { 0, "" };
	int		r = io_run(st, &e);

	if (r == 1)
		f(arg);
	return r;
}

int
main(void)
{
	int	st = 0, seven = 7;

	tap_plan(6);
	(void)alarm(WAIT_S);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	io_catch_signals();
	tap_ok(run(leave, &seven, &st) == 0 && WIFEXITED(st) &&
	    WEXITSTATUS(st) == 7, "a child's status");
	tap_ok(run(look, NULL, &st) == 0 && st == 0,
	    "its signals are those that we were started with");
	tap_ok(run(call, NULL, &st) == 0 && WIFSIGNALED(st) &&
	    WTERMSIG(st) == SIGTERM, "a signal is passed on");
	tap_ok(io_signal() == SIGTERM, "and is for us, too");
	tap_ok(run(stay, NULL, &st) == 0 && WIFSIGNALED(st) &&
	    WTERMSIG(st) == SIGTERM, "also one that came before");
	tap_ok(is_as_before(), "nothing is left behind");
	return tap_done();
}
