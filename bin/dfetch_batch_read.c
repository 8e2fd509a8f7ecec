/*
 * dfetch_batch_read: the list of what is stale, the child that reads what a
 * provider sent, and what it left for being sent again.  It asks no
 * provider and decides nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_batch.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch_join.h"
#include "buf.h"
#include "db.h"
#include "io.h"
#include "mem.h"
#include "sandbox.h"
#include "banned.h"

#define WORK		FETCH_BATCH_WORK
#define CHILD_FDS	32
#define CHILD_MEM	((uint64_t)2 << 30)	/* bytes of address space */
#define CHILD_CPU	60U	/* s of processor, and one more each MiB */
#define CHILD_WALL	10	/* times that by the clock */

/* -- the child that reads them ----------------------------------------- */

struct answer {
	int			rv;
	struct batch_joined	r;
	struct err		e;
};

/* What a child is to do. */
struct task {
	struct batch_api	*api;
	const char		*url;
	int			 dir;
	const struct batch_join	*j;
	uint64_t		 seconds;	/* of processor time */
};

static int
confine(struct task *t, int out, pid_t parent, struct err *e)
{
	static const struct sandbox_path work = { WORK, 1 };
	int	null, keep[1];

	batch_api_forget(t->api);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null == -1 || dup2(null, STDIN_FILENO) == -1 ||
	    dup2(null, STDOUT_FILENO) == -1)
		return err_sys(e, errno, "/dev/null");
	if (fchdir(t->dir) == -1)
		return err_sys(e, errno, "staging");
	keep[0] = out;
	if (sandbox_child(parent, keep, 1, e) == -1 ||
	    sandbox_limits(t->seconds, FETCH_BATCH_FILE, CHILD_FDS,
	    CHILD_MEM, e) == -1)
		return -1;
	db_set_tmpdir(WORK);
	return sandbox_start(SANDBOX_WORKER, &work, 1, e) == -1 ? -1 : 0;
}

static void
child(struct task *t, int out, pid_t parent)
{
	struct answer	a;

	memset(&a, 0, sizeof(a));
	a.rv = confine(t, out, parent, &a.e);
	if (a.rv == 0)
		a.rv = batch_join(t->j, &a.r, &a.e);
	_exit(io_write(out, &a, sizeof(a)) == -1);
}

/* n bytes, until a moment: 1, 0 not all came, -1 it is over, or a signal. */
static int
wait_for(int fd, void *p, size_t n, double until)
{
	struct pollfd	pfd;
	size_t		have = 0;
	ssize_t		got;

	pfd.fd = fd;
	pfd.events = POLLIN;
	while (have < n) {
		if (io_signal() != 0 || io_now() > until)
			return -1;
		if (poll(&pfd, 1, 500) <= 0)
			continue;
		got = io_read_some(fd, (char *)p + have, n - have);
		if (got <= 0)
			return 0;
		have += (size_t)got;
	}
	return 1;
}

/* It ended without an answer. */
static int
died(const struct task *t, int st, struct err *e)
{
	if (io_signal() != 0)
		return err_set(e, MSG_TEMPFAIL, "%s: interrupted", t->url);
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGXCPU)
		return err_set(e, MSG_DATAERR, "%s: reading its files took "
		    "more than %llu s of processor time", t->url,
		    (unsigned long long)t->seconds);
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)
		return err_set(e, MSG_IOERR, "%s: the reader of its files "
		    "was killed from outside, perhaps for want of memory",
		    t->url);
	if (WIFSIGNALED(st))
		return err_set(e, MSG_DATAERR, "%s: the reader of its files "
		    "died of signal %d", t->url, WTERMSIG(st));
	return err_set(e, WEXITSTATUS(st) == MSG_IOERR ? MSG_IOERR :
	    MSG_DATAERR, "%s: the reader of its files ended with status %d "
	    "and no answer", t->url, WEXITSTATUS(st));
}

static void
plain(char *s, size_t size)
{
	s[size - 1] = '\0';
	for (; *s != '\0'; s++)
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
}

/* A child that was taken over may have said anything. */
static int
believe(const struct task *t, struct answer *a, struct err *e)
{
	int	code = a->e.code;

	plain(a->e.text, sizeof(a->e.text));
	plain(a->r.text, sizeof(a->r.text));
	if (a->rv != 0) {
		if (code != MSG_IOERR && code != MSG_TEMPFAIL &&
		    code != MSG_SOFTWARE && code != MSG_NOPERM)
			code = MSG_DATAERR;
		return err_set(e, code, "%s: %.400s", t->url, a->e.text);
	}
	return 0;
}

static int
wait_child(const struct task *t, pid_t pid, int fd, struct batch_joined *r,
    struct err *e)
{
	double		most = (double)t->seconds * CHILD_WALL;
	struct answer	a;
	int		st = 0, got;

	got = wait_for(fd, &a, sizeof(a), io_now() + most);
	if (got != 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &st, 0) == -1 && errno == EINTR)
		;
	if (got == -1 && io_signal() == 0)
		return err_set(e, MSG_DATAERR, "%s: reading its files took "
		    "more than %.0f s", t->url, most);
	if (got != 1)
		return died(t, st, e);
	if (believe(t, &a, e) == -1)
		return -1;
	*r = a.r;
	return 0;
}

int
batch_read(struct batch_api *a, int dir, const struct batch_join *j,
    uint64_t bytes, struct batch_joined *r, struct err *e)
{
	struct task	t;
	pid_t		parent = getpid(), pid;
	int		p[2], rv;

	t.api = a;
	t.url = a->url;
	t.dir = dir;
	t.j = j;
	t.seconds = CHILD_CPU + (bytes >> 20);
	if (pipe(p) == -1)
		return err_sys(e, errno, "%s: reader of its files: pipe",
		    t.url);
	pid = fork();
	if (pid == -1) {
		err_sys(e, errno, "%s: reader of its files: fork", t.url);
		(void)close(p[0]);
		(void)close(p[1]);
		return -1;
	}
	if (pid == 0) {
		(void)close(p[0]);
		child(&t, p[1], parent);
	}
	(void)close(p[1]);
	rv = wait_child(&t, pid, p[0], r, e);
	(void)close(p[0]);
	return rv;
}

/* -- what is to be sent again ------------------------------------------ */

/* Copy the child's file to tmp in dirfd, durably. */
static int
copy(int dir, const char *file, int dirfd, const char *tmp,
    const char *name, struct err *e)
{
	struct stat	st;
	uint64_t	size;
	int		in, out = -1, rv = -1;

	in = openat(dir, file, O_RDONLY | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC);
	if (in == -1 || fstat(in, &st) == -1 || !S_ISREG(st.st_mode)) {
		err_set(e, MSG_DATAERR, "%s: its reader left nothing to be "
		    "sent again", name);
		goto done;
	}
	out = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (out == -1) {
		err_sys(e, errno, "%s", name);
		goto done;
	}
	if (io_copy(in, out, name, NULL, &size, e) == 0 &&
	    io_fsync(out, name, e) == 0 && io_close(&out, name, e) == 0)
		rv = 0;
done:
	if (in != -1)
		(void)close(in);
	if (out != -1)
		(void)close(out);
	return rv;
}

/* To the name that was asked for: aside, then renamed. */
static int
place(int from, const char *file, const char *path, struct err *e)
{
	char		 hex[9], tmp[FETCH_NAME_MAX + 16];
	const char	*name = strrchr(path, '/');
	char		*dir;
	int		 fd, rv = -1;

	dir = name == NULL ? mem_dup(".") : name == path ? mem_dup("/") :
	    mem_ndup(path, (size_t)(name - path));
	name = name == NULL ? path : name + 1;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		err_sys(e, errno, "--requeue: %s", dir);
	else if (strlen(name) == 0 || strlen(name) >= FETCH_NAME_MAX)
		err_set(e, MSG_USAGE, "--requeue: %s: want the name of a "
		    "file", path);
	else if (io_random_hex(hex, 4, e) == 0) {
		(void)snprintf(tmp, sizeof(tmp), ".%s.%s", name, hex);
		if (copy(from, file, fd, tmp, path, e) == 0) {
			if (renameat(fd, tmp, fd, name) == -1)
				err_sys(e, errno, "%s", path);
			else
				rv = io_fsync_dir(fd, dir, e);
		}
		if (rv == -1)
			(void)unlinkat(fd, tmp, 0);
	}
	if (fd != -1)
		(void)close(fd);
	free(dir);
	return rv;
}

int
batch_requeue(const char *url, const char *id, int dir, const char *file,
    const char *path, struct err *e)
{
	struct err	 sub = { 0, "" };
	struct stat	 st;
	struct buf	 b;
	int		 rv = -1;

	buf_init(&b, 8192);
	buf_str(&b, path);
	st.st_mode = S_IFREG;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		buf_printf(&b, "/%s.jsonl", id);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		/* or root would rename a file over /dev/null */
		err_set(e, MSG_USAGE, "--requeue: %s: want a file or a "
		    "directory, got something else", path);
	else if (b.over)
		err_set(e, MSG_USAGE, "%s: requeue file: name too long",
		    url);
	else if (place(dir, file, buf_cstr(&b), &sub) == -1)
		err_set(e, sub.code, "%s (--requeue)", sub.text);
	else
		rv = 0;
	buf_free(&b);
	return rv;
}

/* -- what is stale ------------------------------------------------------ */

int
fetch_batch_stale(struct fetch_batch_opts *o, const char *name,
    struct buf *b, struct err *e)
{
	struct err	f = { 0, "" };
	ssize_t		n = 0;
	int		std = strcmp(name, "-") == 0, fd = STDIN_FILENO;
	unsigned char	*room;

	if (std && isatty(fd))
		return err_set(e, MSG_USAGE, "--stale: stdin is a terminal: "
		    "want a custom_id a line");
	if (!std && (fd = open(name, O_RDONLY | O_CLOEXEC)) == -1)
		return err_sys(e, errno, "--stale: %s", name);
	while (!b->over && (room = buf_room(b, 65536)) != NULL &&
	    (n = io_read(fd, room, 65536)) > 0)
		b->len += (size_t)n;
	if (n == -1)
		err_sys(&f, errno, "read");
	else if (n != 0)
		err_set(&f, MSG_USAGE, "want at most %llu bytes",
		    (unsigned long long)FETCH_BATCH_STALE);
	else
		(void)batch_join_stale(buf_cstr(b), b->len, &f);
	if (!std)
		(void)close(fd);
	if (f.code != 0)
		return err_set(e, f.code, "--stale: %.200s: %.300s", std ?
		    "stdin" : name, f.text);
	o->stale = buf_cstr(b);
	o->stale_len = b->len;
	return 0;
}
