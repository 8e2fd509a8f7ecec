/*
 * meanwhile: a preload that has something done in the very moment in which a
 * program, or a process that it forked, is about to make a file:
 *	MEANWHILE_AT	the last component of the file's name
 *	MEANWHILE	a command for sh: the process goes on when it has
 *			ended, whatever came of it; once in a process
 *	MEANWHILE_PID	set for that command: the program's process
 * So a test needs no writer that is fast enough, and no file that is large
 * enough.  The command runs without the preload.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char	*at, *command;

__attribute__((constructor)) static void
start(void)
{
	char	pid[32];

	at = getenv("MEANWHILE_AT");
	command = getenv("MEANWHILE");
	if (at == NULL || command == NULL)
		return;
	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	if (setenv("MEANWHILE_PID", pid, 1) == -1 ||
	    unsetenv("LD_PRELOAD") == -1)
		_exit(70);
}

static void
come_to(const char *path)
{
	const char	*slash = strrchr(path, '/'), *sh = command;
	int		 saved = errno;

	if (sh == NULL || strcmp(slash != NULL ? slash + 1 : path, at) != 0)
		return;
	command = NULL;
	if (system(sh) == -1)
		_exit(70);
	errno = saved;
}

#define OPENAT(name) \
int \
name(int fd, const char *path, int flags, ...) \
{ \
	static int	(*real)(int, const char *, int, ...); \
	va_list		 ap; \
	mode_t		 mode = 0; \
\
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, #name); \
	if (flags & O_CREAT) { \
		va_start(ap, flags); \
		mode = va_arg(ap, mode_t); \
		va_end(ap); \
		come_to(path); \
	} \
	return real(fd, path, flags, mode); \
}

OPENAT(openat)
OPENAT(openat64)
