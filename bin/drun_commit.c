/*
 * drun, the tickets and the staging: what the stages prepared is committed
 * or discarded by dpublish, which this runs; it publishes nothing itself.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "path.h"
#include "banned.h"

#define COMMIT_PATH_MAX	4096	/* bytes of our own executable's path */

/* 1 when stages left tickets in staging; -1 *e. */
static int
has_tickets(const struct run *r, struct err *e)
{
	struct dirent	*d;
	DIR		*dir;
	size_t		 len;
	int		 fd, rv = 0;

	fd = openat(r->stage.dirfd, "tickets", O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 :
		    err_sys(e, errno, "%s/tickets", r->stage.path);
	dir = fdopendir(fd);
	if (dir == NULL) {
		err_sys(e, errno, "%s/tickets", r->stage.path);
		(void)close(fd);
		return -1;
	}
	while (rv == 0 && (errno = 0, d = readdir(dir)) != NULL) {
		len = strlen(d->d_name);
		rv = len > 5 && strcmp(d->d_name + len - 5, ".json") == 0;
	}
	if (rv == 0 && errno != 0)
		rv = err_sys(e, errno, "%s/tickets", r->stage.path);
	(void)closedir(dir);
	return rv;
}

/* dpublish beside our own executable, else whatever PATH says. */
static const char *
find_dpublish(char b[COMMIT_PATH_MAX])
{
	static const char	name[] = "dpublish";
	char			*slash;
	ssize_t			 n;

	n = readlink("/proc/self/exe", b, COMMIT_PATH_MAX - sizeof(name));
	if (n <= 0)
		return name;
	b[n] = '\0';
	slash = strrchr(b, '/');
	if (slash == NULL)
		return name;
	memcpy(slash + 1, name, sizeof(name));
	return access(b, X_OK) == 0 ? b : name;
}

/*
 * Run dpublish with that option on our staging, passing signals on, and
 * TERM when it has not ended by then (io_now; 0: it may take its time);
 * *st gets its wait status.
 */
static int
dpublish(struct run *r, const char *option, double until, int *st,
    struct err *e)
{
	char		 path[COMMIT_PATH_MAX];
	const char	*prog = find_dpublish(path);
	int		 seen = drun_got_sigs, fd;
	pid_t		 pid, got;

	pid = fork();
	if (pid == -1)
		return err_sys(e, errno, "%s %s: fork", prog, option);
	if (pid == 0) {
		(void)setpgid(0, 0);
		fd = open("/dev/null", O_RDONLY);
		if (fd > STDIN_FILENO)
			(void)dup2(fd, STDIN_FILENO);
		/* so that the run lives even if we do not */
		(void)fcntl(r->stage.lockfd, F_SETFD, 0);
		if (r->lockfd != -1)
			(void)fcntl(r->lockfd, F_SETFD, 0);
		drun_hold_signals(r);
		(void)execlp(prog, "dpublish", option, (char *)NULL);
		msg_warn("%s: %s", prog, strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	for (;;) {
		got = waitpid(pid, st, WNOHANG);
		if (got == pid)
			return 0;
		if (got == -1 && errno != EINTR)
			return err_sys(e, errno, "dpublish %s: wait", option);
		if (drun_got_sigs > seen) {
			/* from the third on, it is not listening */
			(void)kill(pid, drun_got_sigs > 2 ? SIGKILL :
			    drun_got_sig);
			seen = drun_got_sigs;
		}
		if (until != 0 && io_now() >= until) {
			(void)kill(pid, SIGTERM);
			until = 0;
		}
		drun_beat(r);
		drun_wait(r, until);
	}
}

void
drun_discard(struct run *r)
{
	struct err	e = { 0, "" };
	int		st = 0;

	if (has_tickets(r, &e) != 1)
		return;
	if (dpublish(r, "--discard", r->late ? io_now() + DRUN_DISCARD_S : 0,
	    &st, &e) == -1)
		msg_err(&e);
	else if (st != 0)
		msg_warn("dpublish --discard: %s: what was prepared is left, "
		    "and collected by a later run", drun_show_status(st));
}

/* What came of the commit, in words where there is something to say. */
static void
tell_commit(struct run *r, int st, int sigs)
{
	if (st != 0)
		drun_blame(r, drun_status(st), "dpublish --commit: %s",
		    drun_show_status(st));
	else if (drun_got_sigs > sigs)
		msg_warn("signal %d came during the commit, which was "
		    "completed", (int)drun_got_sig);
	if (WIFSIGNALED(st) && drun_got_sigs > sigs &&
	    WTERMSIG(st) == drun_got_sig) {
		msg_warn("the commit was cut short: run it again, or look "
		    "with dpublish log");
		r->sig = drun_got_sig;
	}
}

/* Every stage has exited 0: what they prepared becomes visible. */
int
drun_commit(struct run *r)
{
	struct err	e = { 0, "" };
	int		st, sigs = drun_got_sigs, tickets;
	double		t0;

	tickets = has_tickets(r, &e);
	if (tickets == 0)
		return 0;
	/* the last moment at which it can still be too late */
	if (tickets == 1 && r->deadline_at != 0 &&
	    io_now() >= r->deadline_at) {
		r->late = 1;
		drun_discard(r);
		return drun_account(r, &e);
	}
	t0 = io_now();
	if (tickets == -1 || dpublish(r, "--commit", 0, &st, &e) == -1) {
		drun_blame(r, e.code, "%s", e.text);
		return e.code;
	}
	r->commit_s = io_now() - t0;
	tell_commit(r, st, sigs);
	return drun_status(st);
}

/* Out of the sweepers' sight, so that it stays. */
void
drun_keep(struct run *r)
{
	const char	*base = path_base(r->stage.path);
	struct buf	 b;

	buf_init(&b, COMMIT_PATH_MAX + STAGE_RUN_MAX);
	buf_add(&b, r->stage.path, (size_t)(base - r->stage.path));
	buf_printf(&b, "kept.%s", base);
	if (rename(r->stage.path, buf_cstr(&b)) == -1)
		msg_warn("%s: rename: %s", r->stage.path, strerror(errno));
	else
		msg_warn("staging kept: %s", buf_cstr(&b));
	buf_free(&b);
}
