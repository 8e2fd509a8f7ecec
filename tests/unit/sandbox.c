/*
 * sandbox: what a confined process may not do, tried by one for each.
 * SPDX-License-Identifier: ISC
 */
#include "sandbox.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
	EXEC, FDS, NOFILE, FSIZE, CPU
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

static int
attempt(enum what w)
{
	char		a[600], b[600];
	struct rlimit	rl;
	volatile unsigned long n;
	int		fd;

	(void)snprintf(a, sizeof(a), "%s/f", in);
	switch (w) {
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
in_child(enum what w)
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
		if (sandbox_start(v, 3, &e) == -1 ||
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

static void
refused(enum what w, int sandboxed, const char *what)
{
	int	r;

	if (!sandboxed) {
		(void)tap_ok(1, "%s # SKIP this kernel does not confine it",
		    what);
		return;
	}
	r = in_child(w);
	(void)tap_ok(r == EACCES || r == EXDEV || r == EPERM, "%s: %s", what,
	    r < 200 ? strerror(r) : "died");
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
	enum sandbox_state state = sandbox_probe();
	int		 files = state != SANDBOX_NONE;
	int		 full = state == SANDBOX_FULL;
	int		 st;
	pid_t		 pid;

	msg_init("sandbox");
	tap_plan(25);
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
	spare = open("/dev/null", O_RDONLY);

	printf("# sandbox: %s\n", sandbox_state_name(state));
	(void)tap_ok(try_net(0) == 0, "someone listens on port %d", port);
	(void)tap_ok(in_child(READ_IN) == 0, "reads what it may read");
	(void)tap_ok(in_child(READ_ONE) == 0, "reads a single file it may");
	(void)tap_ok(in_child(WORK) == 0,
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
	(void)tap_ok(in_child(FDS) == EBADF, "holds no other descriptor");
	(void)tap_ok(in_child(NOFILE) == EMFILE, "runs out of descriptors");
	(void)tap_ok(in_child(FSIZE) == EFBIG, "writes no large file");
	(void)tap_ok(in_child(CPU) == 1000 + SIGXCPU,
	    "ends when its processor time is used up");
	pid = fork();
	if (pid == 0) {
		e.code = 0;
		st = sandbox_start(&bad, 1, &e);
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
		st = sandbox_start(NULL, 0, &e);
		_exit(st >= 0 && (enum sandbox_state)st == state ? 0 : 1);
	}
	(void)tap_ok(waitpid(pid, &st, 0) == pid && st == 0,
	    "it is what the probe said");
	(void)tap_ok(try_open(out, "f", O_RDONLY) == 0 &&
	    try_open(out, "new", O_RDONLY) == ENOENT,
	    "the parent stays free, and nothing was written");
	(void)io_rmtree(AT_FDCWD, root, &e);
	return tap_done();
}
