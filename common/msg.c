/*
 * msg: words on stderr and the table of statuses.
 * It never writes to stdout and, but for msg_die, never exits.
 * SPDX-License-Identifier: ISC
 */
#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "banned.h"

#define MSG_LINE_MAX 2048

static const char	*prog = "intact";
static int		 verbose;

/*
 * A descriptor 0, 1 or 2 that is closed would be given to the next file
 * that is opened, and what is meant for stdout written into it.  It gets
 * one that can only be used the wrong way round, and so still fails.
 */
static void
standard_fds(void)
{
	int	fd, got;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
			continue;
		got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY :
		    fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
		if (got == -1)
			got = open("/", O_RDONLY);
		if (got != fd)
			_exit(MSG_IOERR);
	}
}

void
msg_init(const char *name)
{
	prog = name;
	standard_fds();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
}

const char *
msg_prog(void)
{
	return prog;
}

void
msg_set_verbose(int on)
{
	verbose = on;
}

/* One write, so that lines of processes that share stderr stay whole. */
static void MSG_PRINTF(2, 0)
line(const char *prefix, const char *fmt, va_list ap)
{
	char	 b[MSG_LINE_MAX];
	size_t	 i, len;
	int	 n;

	n = snprintf(b, sizeof(b), "%s: %s", prog, prefix);
	len = n < 0 ? 0 : (size_t)n;
	n = vsnprintf(b + len, sizeof(b) - len, fmt, ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(b) - 2)
		len = sizeof(b) - 2;
	for (i = 0; i < len; i++)
		if ((unsigned char)b[i] < 0x20 || b[i] == 0x7f)
			b[i] = '?';
	b[len++] = '\n';
	if (write(STDERR_FILENO, b, len) == -1)
		return; /* nowhere left to say it */
}

void
msg_warn(const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

void
msg_info(const char *fmt, ...)
{
	va_list	ap;

	if (!verbose)
		return;
	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

void
msg_die(int status, const char *fmt, ...)
{
	va_list	ap;

	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
	exit(status);
}

void
msg_err(const struct err *e)
{
	msg_warn("%s", e->text);
}

static int
rank(int s)
{
	switch (s) {
	case 0:
		return 0;
	case MSG_PROTOCOL:
		return 1;
	case MSG_DATAERR:
		return 2;
	case MSG_NOINPUT:
		return 3;
	case MSG_CANTCREAT:
	case MSG_TEMPFAIL:
		return 4;
	case MSG_IOERR:
	case MSG_NOPERM:
	case MSG_USAGE:
		return 5;
	default:
		return 6;
	}
}

int
msg_worse(int a, int b)
{
	return rank(b) > rank(a) ? b : a;
}

const char *
msg_status_name(int s)
{
	switch (s) {
	case MSG_OK:
		return "";
	case MSG_USAGE:
		return "USAGE";
	case MSG_DATAERR:
		return "DATAERR";
	case MSG_NOINPUT:
		return "NOINPUT";
	case MSG_CANTCREAT:
		return "CANTCREAT";
	case MSG_IOERR:
		return "IOERR";
	case MSG_TEMPFAIL:
		return "TEMPFAIL";
	case MSG_PROTOCOL:
		return "PROTOCOL";
	case MSG_NOPERM:
		return "NOPERM";
	default:
		return "SOFTWARE";
	}
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list	ap;

	if (e->code != 0)
		return -1;
	e->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_status(int errnum)
{
	switch (errnum) {
	case EACCES:
	case EPERM:
	case EROFS:
		return MSG_NOPERM;
	case ENOENT:
	case ENOTDIR:
		return MSG_NOINPUT;
	case EMFILE:
	case ENFILE:
	case EAGAIN:
	case EBUSY:
		return MSG_TEMPFAIL;
	default:
		return MSG_IOERR;
	}
}

int
err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	va_list	ap;
	size_t	len;

	if (e->code != 0)
		return -1;
	e->code = err_status(errnum);
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	len = strlen(e->text);
	(void)snprintf(e->text + len, sizeof(e->text) - len, ": %s",
	    strerror(errnum));
	return -1;
}
