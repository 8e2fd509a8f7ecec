/*
 * drun, the tries: one run of the pipeline from staging to commit, and
 * another when the last one failed of something that passes.  Which these
 * are says msg's table.
 * SPDX-License-Identifier: ISC
 */
#include "drun.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "banned.h"

#define TRIES_HELD	"output"	/* in staging */

/* A pipe or a socket that has nothing and nobody to bring something. */
static int
is_over(int fd, mode_t mode)
{
	struct pollfd	p = { fd, POLLIN, 0 };
	char		c;

	if (S_ISSOCK(mode))
		return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) == 0;
}

int
drun_check_stdin(struct run *r, const struct drun_opts *o)
{
	struct stat	st;

	r->in_at = -1;
	if (o->retry == 0 || fstat(STDIN_FILENO, &st) == -1)
		return 0;
	if (S_ISREG(st.st_mode))
		r->in_at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	else if ((S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) &&
	    !is_over(STDIN_FILENO, st.st_mode)) {
		drun_blame(r, MSG_USAGE, "--retry: stdin is a pipe, which no "
		    "second try could read: give a file, or </dev/null");
		return MSG_USAGE;
	}
	return 0;
}

/* As before the first try. */
static void
reset(struct run *r)
{
	int	i;

	r->left = r->stopping = 0;
	r->group = 0;
	r->ctl = r->tty = r->blame = r->held = -1;
	r->grace_at = r->term_at = r->kill_at = r->commit_s = 0;
	r->why[0] = '\0';
	r->try_t0 = io_now();
	r->try_start = io_wall_ns() / 1000000;
	for (i = 0; i < r->n; i++) {
		r->p[i].pid = 0;
		r->p[i].st = 0;
		r->p[i].t0 = r->p[i].t1 = 0;
	}
	if (r->in_at != -1)
		(void)lseek(STDIN_FILENO, r->in_at, SEEK_SET);
}

/* Seconds before try n + 1: anything up to a bound that doubles. */
static double
backoff(unsigned int n)
{
	struct err	e = { 0, "" };
	double		bound = DRUN_RETRY_BASE;
	char		hex[9];

	while (--n > 0 && bound < DRUN_RETRY_CAP)
		bound *= 2;
	if (bound > DRUN_RETRY_CAP)
		bound = DRUN_RETRY_CAP;
	if (io_random_hex(hex, 4, &e) == -1)
		return bound;
	return bound * (double)strtoul(hex, NULL, 16) / 4294967296.0;
}

/* Is there to be another try after number n?  Seconds until it, or -1. */
static double
again(const struct run *r, const struct drun_opts *o, unsigned int n,
    int status)
{
	double	wait;

	if (msg_fault_of(status)->class != MSG_CLASS_TRANSIENT ||
	    r->sig != 0 || r->late || n > o->retry)
		return -1;
	wait = backoff(n);
	if (r->deadline_at == 0 || io_now() + wait < r->deadline_at)
		return wait;
	msg_note("no other try: the deadline is too near");
	return -1;
}

/* With --retry, what a try writes is held until it is known to be the last:
 * who reads our stdout gets one try's output. */
static int
hold_output(struct run *r, const struct drun_opts *o, struct err *e)
{
	if (o->retry == 0 || isatty(STDOUT_FILENO))
		return 0;
	r->held = openat(r->stage.dirfd, TRIES_HELD, O_RDWR | O_CREAT |
	    O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (r->held == -1)
		return err_sys(e, errno, "%s/" TRIES_HELD, r->stage.path);
	return 0;
}

/*
 * In pieces that a pipe takes without blocking once it takes any, so that
 * signals and the deadline are heard.  0, or a status with errno.
 */
static int
pass_output(struct run *r)
{
	char	b[PIPE_BUF];
	ssize_t	n = 0;

	if (r->held == -1)
		return 0;
	if (lseek(r->held, 0, SEEK_SET) == -1)
		return MSG_IOERR;
	while ((n = io_read_some(r->held, b, sizeof(b))) > 0) {
		while (!drun_wait_out(r, STDOUT_FILENO, r->deadline_at)) {
			if (drun_got_sigs > 0)
				r->sig = drun_got_sig;
			else if (r->deadline_at != 0 &&
			    io_now() >= r->deadline_at)
				r->late = 1;
			else
				continue;
			return MSG_TEMPFAIL;
		}
		if (io_write(STDOUT_FILENO, b, (size_t)n) == -1)
			return errno == EPIPE ? MSG_PROTOCOL :
			    err_status(errno);
	}
	return n == 0 ? 0 : MSG_IOERR;
}

/* All stages have exited 0: their output goes out before the commit. */
static int
pass_good(struct run *r)
{
	struct err	e = { 0, "" };
	int		status = pass_output(r);

	if (status == 0)
		return 0;
	if (r->sig == 0 && !r->late)
		(void)err_set(&e, status, "stdout: %s", strerror(errno));
	return drun_account(r, &e);
}

static void
let_go(struct run *r, int keep)
{
	struct err	e = { 0, "" };

	if (r->held != -1)
		(void)close(r->held);
	r->held = -1;
	if (keep)
		drun_keep(r);
	else if (stage_remove(&r->stage, &e) == -1)
		msg_err(&e); /* a later run collects it */
	stage_clear(&r->stage);
}

static int
run_stages(struct run *r, const struct drun_opts *o)
{
	struct err	e = { 0, "" };

	(void)unsetenv("DRUN_LAST");
	if ((drun_plain(r) ? setenv("DRUN_PLAIN", "1", 1) :
	    unsetenv("DRUN_PLAIN")) == -1 ||
	    setenv("DSTAGE", r->stage.path, 1) == -1 ||
	    setenv("DRUN_ID", r->stage.run, 1) == -1)
		err_sys(&e, errno, "environment");
	else if (hold_output(r, o, &e) == 0 && drun_start(r, &e) == -1)
		drun_stop(r, SIGTERM);
	drun_attend(r);
	drun_group_sweep(r);
	drun_hear(r);
	if (r->sig == 0 && drun_got_sigs > 0)
		r->sig = drun_got_sig;
	return drun_account(r, &e);
}

/* Try number n: its status; *wait gets the seconds to the next, or -1. */
static int
try(struct run *r, const struct drun_opts *o, unsigned int n,
    struct report *rep, double *wait)
{
	struct err	e = { 0, "" };
	int		status, passed = 0;

	reset(r);
	*wait = -1;
	if (stage_make(&r->stage, o->parent != NULL ? o->parent :
	    stage_parent(), NULL, &e) == -1) {
		drun_blame(r, e.code, "%s", e.text);
		*wait = again(r, o, n, e.code);
		drun_report_try(rep, r, e.code);
		return e.code;
	}
	msg_set_run(r->stage.run);
	msg_info("run %s, staging %s", r->stage.run, r->stage.path);
	drun_beat_begin(r);
	status = run_stages(r, o);
	if (status == 0) {
		passed = 1;
		status = pass_good(r);
	}
	if (status == 0)
		status = drun_commit(r);
	else
		drun_discard(r);
	drun_beat_end(r);
	*wait = again(r, o, n, status);
	if (!passed && *wait < 0 && r->sig == 0 && !r->late)
		(void)pass_output(r);
	drun_report_try(rep, r, status);
	let_go(r, status != 0 && *wait < 0 && o->keep);
	return status;
}

int
drun_tries(struct run *r, const struct drun_opts *o, struct report *rep)
{
	struct err	none = { 0, "" };
	unsigned int	n = 1;
	double		end, wait;
	int		status;

	while (status = try(r, o, n, rep, &wait), wait >= 0) {
		n++;
		msg_note("try %u of %u in %.1f s", n, o->retry + 1, wait);
		end = io_now() + wait;
		while (drun_got_sigs == 0 && io_now() < end)
			drun_wait(r, end);
		if (drun_got_sigs > 0) {
			r->sig = drun_got_sig;
			return drun_account(r, &none);
		}
	}
	return status;
}
