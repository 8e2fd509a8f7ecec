/*
 * drun, the lock: one run at a time of what names the same file.  It waits
 * as long as it was told, and never removes the file: whoever waits for it
 * holds it open.
 * SPDX-License-Identifier: ISC
 */
#define _DEFAULT_SOURCE /* flock */
#include "drun.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "banned.h"

#define LOCK_LOOK_S	0.1	/* between two looks at it */
#define LOCK_TEXT	160	/* bytes of what its holder wrote */

static int
open_lock(const char *file, struct err *e)
{
	struct stat	st;
	int		fd;

	fd = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC |
	    O_NONBLOCK, 0666);
	if (fd == -1 && (errno == EISDIR || errno == ELOOP))
		return err_set(e, MSG_USAGE, "%s: lock: want a regular file",
		    file);
	if (fd == -1)
		return err_sys(e, errno, "%s: lock", file);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	(void)close(fd);
	return err_set(e, MSG_USAGE, "%s: lock: want a regular file", file);
}

/* Whose it is, for the message of whoever comes while we hold it. */
static void
sign(int fd)
{
	char		b[LOCK_TEXT];
	struct tm	tm;
	time_t		t = time(NULL);
	int		n;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	n = snprintf(b, sizeof(b), "pid %ld since "
	    "%04d-%02d-%02dT%02d:%02d:%02dZ\n", (long)getpid(),
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec);
	/* it is only for people: no room on the disk is no matter */
	if (ftruncate(fd, 0) == 0 && n > 0)
		(void)io_write(fd, b, (size_t)n);
}

static int
say_held(struct run *r, const struct drun_opts *o, int fd, double waited)
{
	char	b[LOCK_TEXT];
	ssize_t	n = io_pread(fd, b, sizeof(b) - 1, 0);

	b[n > 0 ? n : 0] = '\0';
	b[strcspn(b, "\n")] = '\0';
	if (b[0] == '\0')
		(void)snprintf(b, sizeof(b), "another run");
	if (o->lock_wait > 0)
		drun_blame(r, MSG_TEMPFAIL, "%s: lock: held by %s, waited "
		    "%.0f s: nothing was run", o->lock, b, waited);
	else
		drun_blame(r, MSG_TEMPFAIL, "%s: lock: held by %s: nothing "
		    "was run", o->lock, b);
	return MSG_TEMPFAIL;
}

int
drun_lock(struct run *r, const struct drun_opts *o)
{
	struct err	e = { 0, "" };
	double		t0 = io_now(), end = t0 + (double)o->lock_wait, now;
	int		fd = open_lock(o->lock, &e);

	if (fd == -1)
		goto fail;
	if (r->deadline_at != 0 && r->deadline_at < end)
		end = r->deadline_at;
	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			err_sys(&e, errno, "%s: lock", o->lock);
			goto fail;
		}
		now = io_now();
		if (now >= end) {
			(void)say_held(r, o, fd, now - t0);
			(void)close(fd);
			return MSG_TEMPFAIL;
		}
		drun_wait(r, now + LOCK_LOOK_S < end ? now + LOCK_LOOK_S :
		    end);
		if (drun_got_sigs > 0) {
			r->sig = drun_got_sig;
			(void)close(fd);
			return drun_account(r, &e);
		}
	}
	sign(fd);
	r->lockfd = fd;
	return 0;
fail:
	if (fd != -1)
		(void)close(fd);
	drun_blame(r, e.code, "%s", e.text);
	return e.code;
}
