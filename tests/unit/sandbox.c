/*
 * sandbox: what a confined process may not do, tried by one for each.
 * SPDX-License-Identifier: ISC
 */
#ifdef __linux__
#define _GNU_SOURCE /* syscall */
#endif
#include "sandbox.h"

#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <sys/un.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "tap.h"
#include "banned.h"

static char	root[256], in[300], work[300], out[300], one[300];
static int	port;	/* someone listens there */
static int	spare;	/* a descriptor a child must not keep */

enum what {
	READ_IN, READ_ONE, WRITE_IN, READ_OUT, LIST_OUT, WRITE_OUT, TRUNC_OUT,
	UNLINK_OUT, WORK, MOVE_OUT, LINK_IN, SYMLINK, FIFO, CONNECT, BIND,
	EXEC, FDS, NOFILE, FSIZE, CPU, UDP, UDP6, NETLINK, UNIX, PAIR, URING,
	CHMOD_OUT, UTIMES_OUT, KILL, KILL_ALL, TRACE, PEEK, PRLIMIT, FORK,
	VFORK, CLONE, UNSHARE, HANDLE, SHM, TYPE, KEY, ABORT, UTIMES_OWN,
	CHILD, SIGNAL_CHILD, NEWUSER
};

static int
try_open(const char *dir, const char *name, int flags)
{
	char	path[600];
	int	fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd == -1)
		return errno;
	(void)close(fd);
	return 0;
}

static int
try_net(int do_bind)
{
	struct sockaddr_in	sin;
	int			fd, r;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd == -1)
		return errno;
	memset(&sin, 0, sizeof(sin));
	sin.sin_family = AF_INET;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin.sin_port = htons((unsigned short)(do_bind ? 0 : port));
	if (do_bind)
		r = bind(fd, (struct sockaddr *)&sin, sizeof(sin));
	else
		r = connect(fd, (struct sockaddr *)&sin, sizeof(sin));
	r = r == -1 ? errno : 0;
	(void)close(fd);
	return r;
}

static int
try_work(void)
{
	char	a[600], b[600], d[600];
	int	fd;

	(void)snprintf(a, sizeof(a), "%s/a", work);
	(void)snprintf(d, sizeof(d), "%s/d", work);
	(void)snprintf(b, sizeof(b), "%s/d/b", work);
	fd = open(a, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd == -1 || io_write(fd, "x", 1) == -1 || ftruncate(fd, 0) == -1)
		return errno;
	(void)close(fd);
	if (mkdir(d, 0700) == -1 || rename(a, b) == -1 || unlink(b) == -1 ||
	    rmdir(d) == -1)
		return errno;
	return 0;
}

/* 0, or why there is none; someone listens on root/sock. */
static int
try_socket(int family, int type)
{
	struct sockaddr_un	sun;
	int			fd, r = 0;

	fd = socket(family, type, 0);
	if (fd == -1)
		return errno;
	if (family == AF_UNIX) {
		memset(&sun, 0, sizeof(sun));
		sun.sun_family = AF_UNIX;
		(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%.80s/s",
		    root);
		if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1)
			r = errno;
	}
	(void)close(fd);
	return r;
}

#ifdef __linux__
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

/* One of those that seccomp alone can refuse; a bare system call each. */
static int
attempt_call(enum what w)
{
	struct timespec	ts[2];
	struct rlimit	rl;
	static char	old[64], type;
	char		b[600];
	long		r = 0, iov[2];
	pid_t		pid;
	int		st;

	memset(ts, 0, sizeof(ts));
	(void)snprintf(b, sizeof(b), "%s/f", out);
	iov[0] = (long)old;
	iov[1] = 8;
	if (w == URING)
		r = syscall(SYS_io_uring_setup, 1, old);
	if (w == CHMOD_OUT)
		r = chmod(b, 0);
	if (w == UTIMES_OUT)
		r = utimensat(AT_FDCWD, b, ts, 0);
	if (w == UTIMES_OWN) {
		(void)snprintf(b, sizeof(b), "%s/t", work);
		st = open(b, O_WRONLY | O_CREAT, 0600);
		r = futimens(st, ts);
	}
	if (w == KILL)
		r = kill(getppid(), 0);
	if (w == KILL_ALL)
		r = kill(-getpgid(0), SIGCONT);
	if (w == TRACE)
		r = syscall(SYS_ptrace, 0x4206 /* SEIZE */, getppid(), 0, 0);
	if (w == PEEK)
		r = syscall(SYS_process_vm_readv, getppid(), iov, 1, iov, 1,
		    0);
	if (w == PRLIMIT)
		r = syscall(SYS_prlimit64, getppid(), RLIMIT_CORE, NULL, &rl);
	if (w == CLONE)
		r = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (w == NEWUSER)
		r = syscall(SYS_clone, 0x10000000 | SIGCHLD, 0, 0, 0, 0);
	if (w == FORK || w == VFORK || w == CHILD || w == SIGNAL_CHILD)
		r = pid = fork();
	if (w == UNSHARE)
		r = syscall(SYS_unshare, 0x10000000);
	if (w == HANDLE)
		r = syscall(SYS_open_by_handle_at, AT_FDCWD, old, O_RDONLY);
	if (w == SHM)
		r = syscall(SYS_shmget, 0, 4096, 01600);
	if (w == TYPE)
		r = ioctl(0, TIOCSTI, &type);
	if (w == KEY)
		r = syscall(SYS_add_key, "user", "x", "x", 1, -3);
	if (r == -1)
		return errno;
	if (r == 0 && (w == FORK || w == VFORK || w == CHILD || w == CLONE ||
	    w == NEWUSER || w == SIGNAL_CHILD)) {
		(void)alarm(60);
		while (w == SIGNAL_CHILD)
			(void)pause();
		_exit(7);
	}
	if (w == SIGNAL_CHILD && kill((pid_t)r, SIGKILL) == -1)
		return errno;
	if (w == SIGNAL_CHILD)
		return wait(&st) == -1 || !WIFSIGNALED(st);
	if (w == CHILD)
		return wait(&st) == -1 || WEXITSTATUS(st) != 7;
	return 0;
}
#else
static int
attempt_call(enum what w)
{
	(void)w;
	return 0;
}
#endif

static int
attempt(enum what w)
{
	char		a[600], b[600];
	struct rlimit	rl;
	volatile unsigned long n;
	int		fd, sv[2];

	(void)snprintf(a, sizeof(a), "%s/f", in);
	switch (w) {
	case UDP:
		return try_socket(AF_INET, SOCK_DGRAM);
	case UDP6:
		return try_socket(AF_INET6, SOCK_DGRAM);
	case NETLINK:
		return try_socket(16, SOCK_DGRAM);
	case UNIX:
		return try_socket(AF_UNIX, SOCK_STREAM);
	case PAIR:
		return socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == -1 ? errno :
		    0;
	case ABORT:
		abort();
	case URING: case CHMOD_OUT: case UTIMES_OUT: case KILL: case KILL_ALL:
	case TRACE: case PEEK: case PRLIMIT: case FORK: case VFORK:
	case CLONE: case UNSHARE: case HANDLE: case SHM: case TYPE: case KEY:
	case UTIMES_OWN: case CHILD: case SIGNAL_CHILD: case NEWUSER:
		return attempt_call(w);
	case READ_IN:
		return try_open(in, "f", O_RDONLY);
	case READ_ONE:
		return try_open(root, "one", O_RDONLY);
	case WRITE_IN:
		return try_open(in, "new", O_WRONLY | O_CREAT);
	case READ_OUT:
		return try_open(out, "f", O_RDONLY);
	case LIST_OUT:
		return try_open(out, ".", O_RDONLY | O_DIRECTORY);
	case WRITE_OUT:
		return try_open(out, "new", O_WRONLY | O_CREAT);
	case TRUNC_OUT:
		(void)snprintf(b, sizeof(b), "%s/f", out);
		return truncate(b, 0) == -1 ? errno : 0;
	case UNLINK_OUT:
		(void)snprintf(b, sizeof(b), "%s/f", out);
		return unlink(b) == -1 ? errno : 0;
	case WORK:
		return try_work();
	case MOVE_OUT:
		if (try_open(work, "m", O_WRONLY | O_CREAT) != 0)
			return 0;
		(void)snprintf(a, sizeof(a), "%s/m", work);
		(void)snprintf(b, sizeof(b), "%s/m", out);
		return rename(a, b) == -1 ? errno : 0;
	case LINK_IN:
		(void)snprintf(b, sizeof(b), "%s/link", work);
		(void)snprintf(a, sizeof(a), "%s/f", out);
		return link(a, b) == -1 ? errno : 0;
	case SYMLINK:
		(void)snprintf(b, sizeof(b), "%s/sym", work);
		return symlink("/etc", b) == -1 ? errno : 0;
	case FIFO:
		(void)snprintf(b, sizeof(b), "%s/fifo", work);
		return mkfifo(b, 0600) == -1 ? errno : 0;
	case CONNECT:
		return try_net(0);
	case BIND:
		return try_net(1);
	case EXEC:
		(void)execl("/bin/true", "true", (char *)NULL);
		return errno;
	case FDS:
		return fcntl(spare, F_GETFD) == -1 ? errno : 0;
	case NOFILE:
		if (getrlimit(RLIMIT_NOFILE, &rl) == -1 || rl.rlim_max != 32)
			return 0;
		for (fd = 0; fd < 40; fd++)
			if (open(a, O_RDONLY) == -1)
				return errno;
		return 0;
	case FSIZE:
		(void)snprintf(b, sizeof(b), "%s/big", work);
		fd = open(b, O_WRONLY | O_CREAT, 0600);
		if (fd == -1)
			return 0;
		return ftruncate(fd, 1 << 20) == -1 ? errno : 0;
	case CPU:
		for (n = 0;; n++)
			;
	}
	return 0;
}

/* The errno a confined child got, 1000 + signal, or -1. */
static int
in_child(enum what w, enum sandbox_kind kind)
{
	struct sandbox_path	v[3];
	struct err		e = { 0, "" };
	pid_t			parent = getpid(), pid;
	int			st;

	pid = fork();
	if (pid == 0) {
		if (sandbox_child(parent, NULL, 0, &e) == -1)
			_exit(250);
		memset(v, 0, sizeof(v));
		v[0].path = in;
		v[1].path = work;
		v[1].write = 1;
		v[2].path = one;
		if (sandbox_start(kind, v, 3, &e) == -1 ||
		    sandbox_limits(w == CPU ? 1 : 60, 65536, 32,
		    (uint64_t)1 << 30, &e) == -1) {
			msg_err(&e);
			_exit(251);
		}
		st = attempt(w);
		_exit(st > 240 ? 240 : st);
	}
	if (pid == -1 || waitpid(pid, &st, 0) == -1)
		return -1;
	return WIFSIGNALED(st) ? 1000 + WTERMSIG(st) : WEXITSTATUS(st);
}

static int
worker(enum what w)
{
	return in_child(w, SANDBOX_WORKER);
}

static void
refused(enum what w, int sandboxed, const char *what)
{
	int	r;

	if (!sandboxed) {
		(void)tap_ok(1, "%s # SKIP this kernel does not confine it",
		    what);
		return;
	}
	r = worker(w);
	(void)tap_ok(r == EACCES || r == EXDEV || r == EPERM, "%s: %s", what,
	    r < 200 ? strerror(r) : "died");
}

/* A stage of the pipeline: what it needs that a worker does not. */
static void
stage(int calls)
{
	int	r;

	r = in_child(CHILD, SANDBOX_STAGE);
	(void)tap_ok(r == 0, "a stage makes workers: %d", r);
	r = in_child(SIGNAL_CHILD, SANDBOX_STAGE);
	(void)tap_ok(r == 0, "and ends them: %d", r);
	r = calls ? in_child(NEWUSER, SANDBOX_STAGE) : EPERM;
	(void)tap_ok(r == EPERM, "but makes no name space: %d%s", r,
	    calls ? "" : " # SKIP no seccomp here");
	r = calls ? in_child(UDP, SANDBOX_STAGE) : EPERM;
	(void)tap_ok(r == EPERM, "and no socket: %d%s", r,
	    calls ? "" : " # SKIP no seccomp here");
}

static void
listen_unix(void)
{
	struct sockaddr_un	sun;
	int			fd;

	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%.80s/s", root);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd == -1 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1 ||
	    listen(fd, 8) == -1)
		_exit(99);
}

static void
listen_somewhere(void)
{
	struct sockaddr_in	sin;
	socklen_t		len = sizeof(sin);
	int			fd;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	memset(&sin, 0, sizeof(sin));
	sin.sin_family = AF_INET;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 || bind(fd, (struct sockaddr *)&sin, len) == -1 ||
	    listen(fd, 8) == -1 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) == -1)
		return;
	port = ntohs(sin.sin_port);
}

int
main(void)
{
	const char	*tmp = getenv("TMPDIR");
	struct err	 e = { 0, "" };
	struct sandbox_path bad = { "/nonexistent/path", 0 };
	int		 state = sandbox_probe();
	int		 files = (state & SANDBOX_FILES) != 0;
	int		 calls = (state & SANDBOX_CALLS) != 0;
	int		 full = calls || (state & SANDBOX_TCP) != 0;
	int		 st;
	pid_t		 pid;

	msg_init("sandbox");
	tap_plan(53);
	(void)snprintf(root, sizeof(root), "%s/intact-sb.XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(root) == NULL)
		return 99;
	(void)snprintf(in, sizeof(in), "%s/in", root);
	(void)snprintf(work, sizeof(work), "%s/work", root);
	(void)snprintf(out, sizeof(out), "%s/out", root);
	(void)snprintf(one, sizeof(one), "%s/one", root);
	if (mkdir(in, 0700) == -1 || mkdir(work, 0700) == -1 ||
	    mkdir(out, 0700) == -1 || try_open(in, "f", O_WRONLY | O_CREAT) ||
	    try_open(root, "one", O_WRONLY | O_CREAT) ||
	    try_open(out, "f", O_WRONLY | O_CREAT))
		return 99;
	listen_somewhere();
	listen_unix();
	spare = open("/dev/null", O_RDONLY);

	printf("# sandbox: %s\n", sandbox_name(state));
	(void)tap_ok(try_net(0) == 0, "someone listens on port %d", port);
	(void)tap_ok(try_socket(AF_UNIX, SOCK_STREAM) == 0,
	    "and on a socket of the file system");
	(void)tap_ok(worker(READ_IN) == 0, "reads what it may read");
	(void)tap_ok(worker(READ_ONE) == 0, "reads a single file it may");
	(void)tap_ok(worker(WORK) == 0,
	    "creates, truncates, renames, removes in its work directory");
	refused(WRITE_IN, files, "writes no new file beside its input");
	refused(READ_OUT, files, "reads no file elsewhere");
	refused(LIST_OUT, files, "lists no directory elsewhere");
	refused(WRITE_OUT, files, "creates no file elsewhere");
	refused(TRUNC_OUT, files, "truncates no file elsewhere");
	refused(UNLINK_OUT, files, "removes no file elsewhere");
	refused(MOVE_OUT, files, "moves nothing out of its work directory");
	refused(LINK_IN, files, "links nothing into its work directory");
	refused(SYMLINK, files, "makes no symbolic link");
	refused(FIFO, files, "makes no fifo");
	refused(EXEC, files, "executes nothing");
	refused(CONNECT, full, "connects to no TCP port");
	refused(BIND, full, "binds no TCP port");
	refused(UDP, calls, "makes no UDP socket");
	refused(UDP6, calls, "nor one of IPv6");
	refused(NETLINK, calls, "nor one of netlink");
	refused(UNIX, calls, "connects to no unix socket");
	refused(PAIR, calls, "makes no pair of sockets");
	refused(URING, calls, "asks the kernel for nothing by a ring");
	refused(CHMOD_OUT, calls, "changes no mode elsewhere");
	refused(UTIMES_OUT, calls, "changes no time elsewhere");
	refused(KILL, calls, "signals no other process");
	refused(KILL_ALL, calls, "nor a group of them");
	refused(TRACE, calls, "traces no process");
	refused(PEEK, calls, "reads no other's memory");
	refused(PRLIMIT, calls, "sees no other's limits");
	refused(FORK, calls, "makes no process");
	refused(CLONE, calls, "nor by another call");
	refused(UNSHARE, calls, "makes no name space");
	refused(HANDLE, calls, "opens nothing by its number");
	refused(SHM, calls, "shares no memory");
	refused(TYPE, calls, "types nothing into a terminal");
	refused(KEY, calls, "keeps no key in the kernel");
	(void)tap_ok(worker(UTIMES_OWN) == 0,
	    "sets the time of a file that it has open");
	(void)tap_ok(worker(ABORT) == 1000 + SIGABRT,
	    "dies of its own abort");
	stage(calls);
	(void)tap_ok(worker(FDS) == EBADF, "holds no other descriptor");
	(void)tap_ok(worker(NOFILE) == EMFILE, "runs out of descriptors");
	(void)tap_ok(worker(FSIZE) == EFBIG, "writes no large file");
	(void)tap_ok(worker(CPU) == 1000 + SIGXCPU,
	    "ends when its processor time is used up");
	pid = fork();
	if (pid == 0) {
		e.code = 0;
		st = sandbox_start(SANDBOX_WORKER, &bad, 1, &e);
		_exit(st == -1 && e.code == MSG_NOINPUT ? 0 : 1);
	}
	(void)tap_ok(waitpid(pid, &st, 0) == pid && (st == 0 || !files),
	    "a path that is not there is an error");
	pid = fork();
	if (pid == 0)
		_exit(sandbox_child(1, NULL, 0, &e) == -1 &&
		    e.code == MSG_TEMPFAIL ? 0 : 1);
	(void)tap_ok(waitpid(pid, &st, 0) == pid && st == 0,
	    "a child whose parent is gone says so");
	pid = fork();
	if (pid == 0) {
		st = sandbox_start(SANDBOX_WORKER, NULL, 0, &e);
		_exit(st == state ? 0 : 1);
	}
	(void)tap_ok(waitpid(pid, &st, 0) == pid && st == 0,
	    "it is what the probe said");
	(void)tap_ok(sandbox_lacks(0) != NULL &&
	    sandbox_lacks(SANDBOX_CALLS) != NULL &&
	    sandbox_lacks(SANDBOX_FILES) != NULL &&
	    sandbox_lacks(SANDBOX_FILES | SANDBOX_CALLS) == NULL &&
	    sandbox_lacks(SANDBOX_FILES | SANDBOX_TCP) == NULL,
	    "what lacks is said, when it does");
	(void)tap_ok(try_open(out, "f", O_RDONLY) == 0 &&
	    try_open(out, "new", O_RDONLY) == ENOENT,
	    "the parent stays free, and nothing was written");
	(void)io_rmtree(AT_FDCWD, root, &e);
	return tap_done();
}
