/*
 * exits: a preload that writes down how each process ends: a line in the file
 * EXITS_LOG with its name, its first argument, when (s since 1970), the peak
 * of its memory (KiB), how many descriptors it was given, how many it has
 * open at its end, and what the last one of these is that it was not given.
 * It changes nothing of what the program sees, but for two descriptors
 * far above the others.  What is killed, or leaves by _exit, has no line.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* program_invocation_short_name */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXITS_FDS	256	/* looked at; ours is not below */

static int		 log_fd = -1, status_fd = -1;
static pid_t		 me;
static unsigned char	 given[EXITS_FDS];
static char		 arg[32] = "-";

static int
is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

/* A descriptor above those that are looked at. */
static int
open_high(const char *name, int flags)
{
	int	fd = open(name, flags | O_CLOEXEC, 0666), high;

	if (fd == -1)
		return -1;
	high = fcntl(fd, F_DUPFD_CLOEXEC, EXITS_FDS);
	(void)close(fd);
	return high;
}

/*
 * KiB.  Not getrusage: its figure is that of whoever called exec, too.  Nor
 * can the file be opened at the end, from a sandbox.
 */
static long
peak(void)
{
	char		 buf[4096];
	const char	*p;
	ssize_t		 n = pread(status_fd, buf, sizeof(buf) - 1, 0);

	buf[n > 0 ? n : 0] = '\0';
	p = strstr(buf, "VmHWM:");
	return p == NULL ? 0 : strtol(p + 6, NULL, 10);
}

/* The first argument, as one word. */
static void
read_arg(void)
{
	char	 buf[4096], *p;
	ssize_t	 n;
	size_t	 i, at;
	int	 fd;

	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	n = read(fd, buf, sizeof(buf) - 1);
	(void)close(fd);
	if (n <= 0)
		return;
	buf[n] = '\0';
	at = strlen(buf) + 1;
	if (at >= (size_t)n || buf[at] == '\0')
		return;
	p = buf + at;
	for (i = 0; i + 1 < sizeof(arg) && p[i] != '\0'; i++)
		arg[i] = p[i] > ' ' && p[i] < 127 ? p[i] : '_';
	arg[i] = '\0';
}

__attribute__((constructor)) static void
begin(void)
{
	const char	*name = getenv("EXITS_LOG");
	int		 i;

	if (name == NULL)
		return;
	for (i = 0; i < EXITS_FDS; i++)
		given[i] = is_open(i);
	log_fd = open_high(name, O_WRONLY | O_APPEND | O_CREAT);
	status_fd = open_high("/proc/self/status", O_RDONLY);
	me = getpid();
	read_arg();
}

__attribute__((destructor)) static void
end(void)
{
	char		 line[512], path[64], what[256] = "-";
	int		 i, last = -1, n = 0, had = 0, len;
	ssize_t		 k;

	if (log_fd == -1 || getpid() != me || !is_open(log_fd))
		return;
	for (i = 0; i < EXITS_FDS; i++) {
		had += given[i];
		if (!is_open(i))
			continue;
		n++;
		if (!given[i])
			last = i;
	}
	if (last != -1) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", last);
		k = readlink(path, what, sizeof(what) - 1);
		what[k > 0 ? k : 0] = '\0';
	}
	len = snprintf(line, sizeof(line), "%s %s %lld %ld %d %d %s\n",
	    program_invocation_short_name, arg, (long long)time(NULL),
	    peak(), had, n, what);
	if (len > 0 && write(log_fd, line, (size_t)len) == -1)
		(void)close(log_fd);
}
