/*
 * spent FILE COMMAND...: runs COMMAND, ends as it did, and appends to FILE
 * what it and all that it waited for took: CPU seconds, wall seconds, and
 * the largest resident set of any one of them in KiB.  For benches.
 *
 * It samples nothing: the numbers are the kernel's, after the end.  What
 * a daemon of COMMAND takes is not in them.
 * SPDX-License-Identifier: ISC
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "msg.h"
#include "banned.h"

static double
now(void)
{
	struct timespec	ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) == -1)
		msg_die(MSG_IOERR, "clock: %s", strerror(errno));
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double
seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

/* One line, whole or not at all, whoever else appends. */
static void
note(const char *file, double wall)
{
	struct rusage	ru;
	char		line[128];
	int		fd, n;

	if (getrusage(RUSAGE_CHILDREN, &ru) == -1)
		msg_die(MSG_IOERR, "getrusage: %s", strerror(errno));
	n = snprintf(line, sizeof(line), "%.3f %.3f %ld\n",
	    seconds(&ru.ru_utime) + seconds(&ru.ru_stime), wall,
	    ru.ru_maxrss);
	fd = open(file, O_WRONLY | O_CREAT | O_APPEND, 0666);
	if (fd == -1 || write(fd, line, (size_t)n) != n || close(fd) == -1)
		msg_die(MSG_IOERR, "%s: %s", file, strerror(errno));
}

int
main(int argc, char *argv[])
{
	double	t;
	pid_t	pid;
	int	status;

	msg_init("spent");
	if (argc < 3)
		msg_die(MSG_USAGE, "usage: spent FILE COMMAND...");
	t = now();
	pid = fork();
	if (pid == -1)
		msg_die(MSG_TEMPFAIL, "fork: %s", strerror(errno));
	if (pid == 0) {
		(void)signal(SIGPIPE, SIG_DFL);
		(void)execvp(argv[2], argv + 2);
		msg_die(MSG_NOINPUT, "%s: %s", argv[2], strerror(errno));
	}
	/* what is meant for COMMAND reaches it: it is of the same group */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	/* a neighbour's end must be seen by the neighbour, not held here */
	(void)close(STDIN_FILENO);
	(void)close(STDOUT_FILENO);
	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			msg_die(MSG_IOERR, "wait: %s", strerror(errno));
	note(argv[1], now() - t);
	return WIFEXITED(status) ? WEXITSTATUS(status) :
	    128 + WTERMSIG(status);
}
