/*
 * taken: a preload that plays the worker that an input has taken over: when
 * a program first opens a database or an archive, it tries what such a one
 * would, and notes what came of each, into a file that was mapped before.
 *	TAKEN_PROG	the program's name; others are left alone
 *	TAKEN_NOTES	the file
 *	TAKEN_MAIN	set: its first process too, not only its children
 *	TAKEN_OUT	a directory outside, with files "f", "t" and "u" in
 *			it, and a socket "s" on which someone listens
 *	TAKEN_PORT	a port of loopback on which someone listens, TCP; and
 *			one to which it sends, UDP
 *	TAKEN_PID	a process that is none of its
 * It harms nothing but what these name.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTES 16384

static char	*notes;
static char	 out[512];
static int	 port, pid, done;
static pid_t	 first;

__attribute__((constructor)) static void
start(void)
{
	const char	*prog = getenv("TAKEN_PROG"), *s;
	int		 fd;

	if (prog == NULL || strcmp(prog, program_invocation_short_name) != 0)
		return;
	s = getenv("TAKEN_NOTES");
	fd = s != NULL ? open(s, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd == -1 || ftruncate(fd, NOTES) == -1)
		_exit(99);
	notes = mmap(NULL, NOTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (notes == MAP_FAILED)
		_exit(99);
	s = getenv("TAKEN_OUT");
	(void)snprintf(out, sizeof(out), "%s", s != NULL ? s : "/nowhere");
	s = getenv("TAKEN_PORT");
	port = s != NULL ? atoi(s) : 0;
	s = getenv("TAKEN_PID");
	pid = s != NULL ? atoi(s) : 0;
	first = getenv("TAKEN_MAIN") != NULL ? -1 : getpid();
}

/* r as system calls say it. */
static void
note(const char *what, long r)
{
	size_t	n = strlen(notes);

	(void)snprintf(notes + n, NOTES - n, "%s %s\n", what, r != -1 ? "done" :
	    strerrorname_np(errno));
}

static const char *
in(const char *name)
{
	static char	path[600];

	(void)snprintf(path, sizeof(path), "%s/%s", out, name);
	return path;
}

static long
inet(int type)
{
	struct sockaddr_in	sin;
	int			fd;

	memset(&sin, 0, sizeof(sin));
	sin.sin_family = AF_INET;
	sin.sin_port = htons((unsigned short)port);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, type, 0);
	if (fd == -1)
		return -1;
	if (type == SOCK_DGRAM)
		return sendto(fd, "x", 1, 0, (struct sockaddr *)&sin,
		    sizeof(sin));
	return connect(fd, (struct sockaddr *)&sin, sizeof(sin));
}

static long
local(void)
{
	struct sockaddr_un	sun;
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%.90s", in("s"));
	if (fd == -1)
		return -1;
	return connect(fd, (struct sockaddr *)&sun, sizeof(sun));
}

static long
exec(void)
{
	pid_t	child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	int	st;

	if (child == -1)
		return -1;
	if (child == 0) {
		(void)execl("/bin/true", "true", (char *)NULL);
		_exit(errno);
	}
	if (waitpid(child, &st, 0) == -1 || WEXITSTATUS(st) == 0)
		return 0;
	errno = WEXITSTATUS(st);
	return -1;
}

static void
try(void)
{
	struct timespec	ts[2];
	char		to[600], key;

	if (notes == NULL || done || getpid() == first)
		return;
	done = 1;
	memset(ts, 0, sizeof(ts));
	note("tcp", inet(SOCK_STREAM));
	note("udp", inet(SOCK_DGRAM));
	note("unix", local());
	note("read", open(in("f"), O_RDONLY | O_CLOEXEC));
	note("write", open(in("f"), O_WRONLY | O_CLOEXEC));
	note("create", open(in("new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	note("mkdir", mkdir(in("dir"), 0700));
	note("chmod", chmod(in("f"), 0640));
	note("utimes", utimensat(AT_FDCWD, in("f"), ts, 0));
	note("symlink", symlink("f", in("sym")));
	(void)snprintf(to, sizeof(to), "%s", in("link"));
	note("link", link(in("f"), to));
	(void)snprintf(to, sizeof(to), "%s", in("moved"));
	note("rename", rename(in("f"), to));
	note("unlink", unlink(in("u")));
	note("truncate", truncate(in("t"), 0));
	note("list", open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	note("kill", kill(pid, SIGCONT));
	note("ptrace", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	note("exec", exec());
	/* nothing comes of these two anyway, but who looks at them tells */
	note("uring", syscall(SYS_io_uring_setup, 0, NULL) == -1 &&
	    errno == EFAULT ? 0 : -1);
	key = 'x';
	note("type", ioctl(2, TIOCSTI, &key) == -1 && errno == ENOTTY ? 0 :
	    -1);
}

/* What a reader of inputs calls first, once it is confined. */
struct sqlite3;
struct archive;
int	sqlite3_open_v2(const char *, struct sqlite3 **, int, const char *);
struct archive *archive_read_new(void);

int
sqlite3_open_v2(const char *path, struct sqlite3 **db, int flags,
    const char *vfs)
{
	static int	(*real)(const char *, struct sqlite3 **, int,
			    const char *);

	*(void **)&real = dlsym(RTLD_NEXT, "sqlite3_open_v2");
	try();
	return real(path, db, flags, vfs);
}

struct archive *
archive_read_new(void)
{
	static struct archive	*(*real)(void);

	*(void **)&real = dlsym(RTLD_NEXT, "archive_read_new");
	try();
	return real();
}
