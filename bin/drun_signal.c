/*
 * drun, signals: they are delivered while it waits and only then; children
 * get them as they were found.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/select.h>

#include <signal.h>
#include <string.h>
#include <time.h>

#include "io.h"
#include "banned.h"

volatile sig_atomic_t	drun_got_sig, drun_got_sigs;

static void
on_signal(int sig)
{
	drun_got_sig = sig;
	drun_got_sigs++;
}

static void
on_child(int sig)
{
	(void)sig; /* only there to end a wait */
}

/* INT, TERM, HUP and CHLD are delivered while we wait and only then. */
void
drun_catch_signals(struct run *r)
{
	static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction	sa, old;
	sigset_t		set;
	size_t			i;

	memset(&sa, 0, sizeof(sa));
	sigemptyset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU); /* so that we may take the terminal back */
	(void)sigprocmask(SIG_BLOCK, &set, &r->mask);
	r->wait = r->mask;
	sigaddset(&r->wait, SIGTTOU);
	sa.sa_handler = on_child;
	(void)sigaction(SIGCHLD, &sa, NULL);
	sigaddset(&set, SIGCHLD);
	sigdelset(&r->wait, SIGCHLD);
	sa.sa_handler = on_signal;
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		/* what nohup or a shell's & chose to ignore stays ignored */
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN)
			continue;
		(void)sigaction(sigs[i], &sa, NULL);
		sigaddset(&set, sigs[i]);
		sigdelset(&r->wait, sigs[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static void
no_handlers(void)
{
	static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction	old;
	size_t			i;

	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == on_signal)
			(void)signal(sigs[i], SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
}

/*
 * In a child before its exec: signals as we found them.  Handlers first: a
 * TERM that is waiting already must end the child and not be swallowed.
 */
void
drun_restore_signals(const struct run *r)
{
	no_handlers();
	(void)sigprocmask(SIG_SETMASK, &r->mask, NULL);
}

/*
 * In the child that commits: as above, but those that stop it wait until it
 * catches them itself.  Killed before, it would leave what was prepared.
 */
void
drun_hold_signals(const struct run *r)
{
	sigset_t	set = r->mask;

	no_handlers();
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
}

/* What came while we were busy is heard now. */
void
drun_hear(const struct run *r)
{
	sigset_t	old;

	(void)sigprocmask(SIG_SETMASK, &r->wait, &old);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
}

void
drun_die_of(int sig)
{
	sigset_t	set;

	(void)signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(sig);
}

/* Until then, from now; NULL when there is no such moment. */
static struct timespec *
left(double until, struct timespec *ts)
{
	double	d = until - io_now();

	if (until <= 0)
		return NULL;
	if (d < 0)
		d = 0;
	ts->tv_sec = (time_t)d;
	ts->tv_nsec = (long)((d - (double)ts->tv_sec) * 1e9);
	return ts;
}

void
drun_wait(const struct run *r, double until)
{
	struct timespec	ts;

	if (r->beat_at != 0 && (until == 0 || r->beat_at < until))
		until = r->beat_at;
	(void)pselect(0, NULL, NULL, NULL, left(until, &ts), &r->wait);
}

int
drun_wait_out(const struct run *r, int fd, double until)
{
	struct timespec	ts;
	fd_set		set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return pselect(fd + 1, NULL, &set, NULL, left(until, &ts),
	    &r->wait) == 1;
}
