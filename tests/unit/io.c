/*
 * io: a child that becomes another program, and the signals on its way;
 * waits that a signal ends though it came before.
 * SPDX-License-Identifier: ISC
 */
#include <sys/wait.h>

#include <errno.h>
#include <poll.h>
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

/* In a child: one comes after the look and before the wait. */
static int
lost(void)
{
	struct pollfd	q;
	int		p[2], st = -1;
	pid_t		pid;

	if (pipe(p) == -1)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)alarm(WAIT_S);
		if (io_signal() != 0)
			_exit(1);
		(void)raise(SIGTERM);
		q.fd = p[0];
		q.events = POLLIN;
		if (io_await(p[0]) != -1 || errno != EINTR)
			_exit(2);
		if (io_poll(&q, 1, -1) != -1 || errno != EINTR)
			_exit(3);
		_exit(0);
	}
	(void)waitpid(pid, &st, 0);
	(void)close(p[0]);
	(void)close(p[1]);
	return st;
}

/* Without one, and with one that means nothing. */
static int
waits(void)
{
	struct pollfd	q;
	int		p[2], ok;

	if (pipe(p) == -1)
		return 0;
	q.fd = p[0];
	q.events = POLLIN;
	io_catch_status();
	ok = io_poll(&q, 1, 1) == 0 && !io_status_wanted() &&
	    raise(SIGUSR1) == 0 &&
	    io_poll(&q, 1, -1) == -1 && errno == EINTR &&
	    io_status_wanted() && !io_status_wanted() &&
	    io_poll(&q, 1, 1) == 0 && io_write(p[1], "x", 1) == 0 &&
	    raise(SIGUSR1) == 0 &&
	    io_await(p[0]) == 0 && io_status_wanted() &&
	    io_poll(&q, 1, -1) == 1;
	(void)close(p[1]);
	(void)close(p[0]);
	return ok;
}

int
main(void)
{
	int	st = 0, seven = 7;

	tap_plan(8);
	(void)alarm(WAIT_S);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	io_catch_signals();
	tap_ok(waits(), "a wait for bytes, and for a time");
	tap_ok(lost() == 0, "no wait misses a signal that came before it");
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
