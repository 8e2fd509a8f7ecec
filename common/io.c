/*
 * io: whole reads and writes, copies, durable replacement, signals, time.
 * It knows nothing of what the bytes mean.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* copy_file_range, ppoll */
#include "io.h"

#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

#include "hash.h"
#include "mem.h"
#include "banned.h"

#define IO_CHUNK ((size_t)256 * 1024)
#define IO_DEPTH 64	/* directories deep that rmtree and fsync follow */

#define IO_LOCK_NAP_NS	5000000L	/* between two looks at a lock */

static volatile sig_atomic_t	got_signal;
static volatile sig_atomic_t	status_wanted;

ssize_t
io_read(int fd, void *p, size_t n)
{
	char	*c = p;
	size_t	 done = 0;
	ssize_t	 r;

	while (done < n) {
		r = read(fd, c + done, n - done);
		if (r == -1 && errno == EINTR && got_signal == 0)
			continue;
		if (r == -1)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t
io_read_some(int fd, void *p, size_t n)
{
	ssize_t	r;

	do
		r = read(fd, p, n);
	while (r == -1 && errno == EINTR && got_signal == 0);
	return r;
}

ssize_t
io_pread(int fd, void *p, size_t n, uint64_t off)
{
	char	*c = p;
	size_t	 done = 0;
	ssize_t	 r;

	while (done < n) {
		r = pread(fd, c + done, n - done, (off_t)(off + done));
		if (r == -1 && errno == EINTR)
			continue;
		if (r == -1)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int
io_write(int fd, const void *p, size_t n)
{
	const char	*c = p;
	ssize_t		 r;

	while (n > 0) {
		r = write(fd, c, n);
		if (r == -1 && errno == EINTR && got_signal == 0)
			continue;
		if (r == -1)
			return -1;
		c += r;
		n -= (size_t)r;
	}
	return 0;
}

int
io_close(int *fd, const char *name, struct err *e)
{
	int	r;

	if (*fd == -1)
		return 0;
	r = close(*fd);
	*fd = -1;
	if (r == -1 && errno != EINTR)
		return err_sys(e, errno, "%s", name);
	return 0;
}

/* Without a digest the bytes need not come through us at all. */
static int
copy_kernel(int in, int out, uint64_t *size)
{
#ifdef __linux__
	struct stat	st;
	ssize_t		n;
	uint64_t	done = 0;

	if (fstat(in, &st) == -1 || !S_ISREG(st.st_mode))
		return -1;
#ifdef FICLONE
	if (ioctl(out, FICLONE, in) == 0) {
		*size = (uint64_t)st.st_size;
		return 0;
	}
#endif
	for (;;) {
		n = copy_file_range(in, NULL, out, NULL, (size_t)1 << 30, 0);
		if (n == -1 && errno == EINTR)
			continue;
		/* only a first call that fails may be tried by hand */
		if (n == -1)
			return done == 0 ? -1 : 1;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	/* some file systems answer 0 for files whose size they do not know */
	if (done == 0 && st.st_size == 0)
		return -1;
	*size = done;
	return 0;
#else
	(void)in;
	(void)out;
	(void)size;
	return -1;
#endif
}

int
io_copy(int in, int out, const char *name, struct hash *h, uint64_t *size,
    struct err *e)
{
	unsigned char	*b;
	uint64_t	 done = 0;
	ssize_t		 n;
	int		 r, saved, rv = -1;

	if (h == NULL) {
		r = copy_kernel(in, out, size);
		if (r == 0)
			return 0;
		if (r == 1) {
			saved = errno;
			err_sys(e, saved, "%s: copy", name);
			errno = saved;
			return -1;
		}
	}
	b = mem_alloc(IO_CHUNK);
	for (;;) {
		n = io_read(in, b, IO_CHUNK);
		if (n == -1) {
			saved = errno;
			err_sys(e, saved, "%s: read", name);
			goto done;
		}
		if (n == 0)
			break;
		if (h != NULL)
			hash_add(h, b, (size_t)n);
		if (io_write(out, b, (size_t)n) == -1) {
			saved = errno;
			err_sys(e, saved, "%s: write of the copy", name);
			goto done;
		}
		done += (uint64_t)n;
	}
	*size = done;
	saved = 0;
	rv = 0;
done:
	free(b);
	errno = saved;
	return rv;
}

int
io_slurp(int dirfd, const char *name, struct buf *b, struct err *e)
{
	unsigned char	*p;
	ssize_t		 n;
	size_t		 want;
	int		 fd, rv = -1;

	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	for (;;) {
		want = b->max - b->len;
		if (want > IO_CHUNK)
			want = IO_CHUNK;
		if (want == 0) {
			unsigned char	one;

			n = io_read(fd, &one, 1);
			if (n == 0)
				break;
			err_set(e, MSG_DATAERR, "%s: larger than %zu bytes",
			    name, b->max);
			goto done;
		}
		p = buf_room(b, want);
		n = io_read(fd, p, want);
		if (n == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
		b->len += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	rv = 0;
done:
	(void)close(fd);
	return rv;
}

int
io_fsync_parent(const char *path, struct err *e)
{
	char	*up = mem_dup(path), *slash = strrchr(up, '/');
	int	 fd, rv;

	if (slash == NULL)
		(void)snprintf(up, 2, ".");
	else
		slash[slash == up] = '\0';
	fd = open(up, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		rv = err_sys(e, errno, "%s", up);
	else {
		rv = io_fsync(fd, up, e);
		(void)close(fd);
	}
	free(up);
	return rv;
}

/*
 * With sync, one that is there may be of a maker who was killed before it
 * was durable; what is above it may be closed to us, and not of our making.
 */
static int
make_dir(const char *path, int sync, struct err *e)
{
	struct err	f = { 0, "" };
	struct stat	st;
	int		errnum;

	if (mkdir(path, 0777) == 0)
		return sync ? io_fsync_parent(path, e) : 0;
	errnum = errno;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (sync)
			(void)io_fsync_parent(path, &f);
		return 0;
	}
	return err_sys(e, errnum == EEXIST ? ENOTDIR : errnum, "%s", path);
}

static int
make_dirs(const char *path, int sync, struct err *e)
{
	char	*p = mem_dup(path), *s;
	int	 rv = 0;

	for (s = p + 1; rv == 0; s++) {
		s += strcspn(s, "/");
		if (*s == '\0')
			break;
		*s = '\0';
		rv = make_dir(p, sync, e);
		*s = '/';
	}
	if (rv == 0)
		rv = make_dir(p, sync, e);
	free(p);
	return rv;
}

int
io_mkdirs(const char *path, struct err *e)
{
	return make_dirs(path, 0, e);
}

int
io_mkdirs_sync(const char *path, struct err *e)
{
	return make_dirs(path, 1, e);
}

int
io_fsync(int fd, const char *name, struct err *e)
{
	int	r;

	do
		r = fsync(fd);
	while (r == -1 && errno == EINTR);
	if (r == -1)
		return err_sys(e, errno, "%s: fsync", name);
	return 0;
}

int
io_fsync_dir(int dirfd, const char *name, struct err *e)
{
	int	fd, rv;

	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	rv = io_fsync(fd, name, e);
	(void)close(fd);
	return rv;
}

/* What a walk does with a file, and with a directory after its entries. */
struct walk {
	int	(*file)(int dirfd, const char *name, struct err *);
	int	(*dir)(int dirfd, const char *name, int fd, struct err *);
};

static int
walk(int dirfd, const char *name, const struct walk *w, int depth,
    struct err *e)
{
	struct dirent	*de;
	struct stat	 st;
	DIR		*d;
	int		 fd, rv = -1;

	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	d = fdopendir(fd);
	if (d == NULL) {
		err_sys(e, errno, "%s", name);
		(void)close(fd);
		return -1;
	}
	if (depth > IO_DEPTH) {
		err_set(e, MSG_IOERR, "%s: deeper than %d directories", name,
		    IO_DEPTH);
		goto done;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL) {
			if (errno == 0)
				break;
			err_sys(e, errno, "%s", name);
			goto done;
		}
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
			if (errno == ENOENT)
				continue;
			err_sys(e, errno, "%s", de->d_name);
			goto done;
		}
		if (S_ISDIR(st.st_mode)) {
			if (walk(fd, de->d_name, w, depth + 1, e) == -1)
				goto done;
		} else if (w->file(fd, de->d_name, e) == -1)
			goto done;
	}
	rv = w->dir(dirfd, name, fd, e);
done:
	(void)closedir(d);
	return rv;
}

static int
sync_file(int dirfd, const char *name, struct err *e)
{
	int	fd, rv;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	rv = io_fsync(fd, name, e);
	(void)close(fd);
	return rv;
}

static int
sync_dir(int dirfd, const char *name, int fd, struct err *e)
{
	(void)dirfd;
	return io_fsync(fd, name, e);
}

int
io_fsync_tree(int dirfd, const char *name, struct err *e)
{
	static const struct walk w = { sync_file, sync_dir };

	return walk(dirfd, name, &w, 0, e);
}

static int
rm_file(int dirfd, const char *name, struct err *e)
{
	if (unlinkat(dirfd, name, 0) == -1 && errno != ENOENT)
		return err_sys(e, errno, "%s: remove", name);
	return 0;
}

static int
rm_dir(int dirfd, const char *name, int fd, struct err *e)
{
	(void)fd;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == -1 && errno != ENOENT)
		return err_sys(e, errno, "%s: remove", name);
	return 0;
}

int
io_rmtree(int dirfd, const char *name, struct err *e)
{
	static const struct walk w = { rm_file, rm_dir };
	struct stat	st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", name);
	if (!S_ISDIR(st.st_mode))
		return rm_file(dirfd, name, e);
	return walk(dirfd, name, &w, 0, e);
}

/*
 * Write tmp whole and durable; -1 leaves nothing of it.  What lies there
 * may still be another name of what io_create_excl created before it was
 * stopped: never write into it.
 */
static int
write_aside(int dirfd, const char *tmp, const void *p, size_t n,
    struct err *e)
{
	int	fd;

	if (unlinkat(dirfd, tmp, 0) == -1 && errno != ENOENT)
		return err_sys(e, errno, "%s: remove", tmp);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", tmp);
	if (io_write(fd, p, n) == -1) {
		err_sys(e, errno, "%s: write", tmp);
		(void)close(fd);
		goto fail;
	}
	if (io_fsync(fd, tmp, e) == -1) {
		(void)close(fd);
		goto fail;
	}
	if (io_close(&fd, tmp, e) == -1)
		goto fail;
	return 0;
fail:
	(void)unlinkat(dirfd, tmp, 0);
	return -1;
}

int
io_replace(int dirfd, const char *name, const char *tmp, const void *p,
    size_t n, struct err *e)
{
	if (write_aside(dirfd, tmp, p, n, e) == -1)
		return -1;
	if (renameat(dirfd, tmp, dirfd, name) == -1) {
		err_sys(e, errno, "%s: rename", name);
		(void)unlinkat(dirfd, tmp, 0);
		return -1;
	}
	return io_fsync_dir(dirfd, name, e);
}

int
io_create_excl(int dirfd, const char *name, const char *tmp, const void *p,
    size_t n, struct err *e)
{
	int	rv = 0;

	if (write_aside(dirfd, tmp, p, n, e) == -1)
		return -1;
	if (linkat(dirfd, tmp, dirfd, name, 0) == -1) {
		if (errno == EEXIST)
			rv = 1;
		else
			rv = err_sys(e, errno, "%s: link", name);
	}
	(void)unlinkat(dirfd, tmp, 0);
	if (rv == 0)
		rv = io_fsync_dir(dirfd, name, e);
	return rv;
}

static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP };

static void
on_signal(int sig)
{
	got_signal = sig;
}

int
io_flock(int fd, unsigned int seconds, struct err *e)
{
	static const struct timespec	nap = { 0, IO_LOCK_NAP_NS };
	double				end = io_now() + seconds;

	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(e, errno, "lock");
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
		if (io_now() > end)
			return err_set(e, MSG_TEMPFAIL, "held by another "
			    "process for %u s: run again later", seconds);
		(void)nanosleep(&nap, NULL);
	}
	return 0;
}

int
io_signal(void)
{
	return got_signal;
}

void
io_catch_signals(void)
{
	struct sigaction	sa, old;
	sigset_t		held;
	size_t			i;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal; /* no SA_RESTART: waits must end */
	sigemptyset(&sa.sa_mask);
	sigemptyset(&held);
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		/* what nohup or a shell's & chose to ignore stays ignored */
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN)
			continue;
		(void)sigaction(sigs[i], &sa, NULL);
		sigaddset(&held, sigs[i]);
	}
	/* drun lets them wait until the one that commits can hear them */
	(void)sigprocmask(SIG_UNBLOCK, &held, NULL);
}

static void
on_status(int sig)
{
	(void)sig;
	status_wanted = 1;
}

void
io_catch_status(void)
{
	struct sigaction	sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_status;
	sa.sa_flags = SA_RESTART;
	sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGUSR1, &sa, NULL);
}

int
io_status_wanted(void)
{
	int	wanted = status_wanted;

	status_wanted = 0;
	return wanted;
}

/* status: SIGUSR1 ends it, too. */
static int
wait_masked(struct pollfd *p, unsigned int n, int ms, int status)
{
	struct timespec	ts;
	sigset_t	set, mask;
	size_t		i;
	int		r = -1, saved = EINTR;

	ts.tv_sec = ms / 1000;
	ts.tv_nsec = ms % 1000 * 1000000L;
	sigemptyset(&set);
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaddset(&set, sigs[i]);
	sigaddset(&set, SIGUSR1);
	if (sigprocmask(SIG_BLOCK, &set, &mask) == -1)
		return -1;
	/* from here on one that comes is kept for the wait */
	if (got_signal == 0 && !(status && status_wanted)) {
		r = ppoll(p, n, ms < 0 ? NULL : &ts, &mask);
		saved = errno;
	}
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
	return r;
}

int
io_poll(struct pollfd *p, unsigned int n, int ms)
{
	return wait_masked(p, n, ms, 1);
}

int
io_await(int fd)
{
	struct pollfd	p = { fd, POLLIN, 0 };
	int		r;

	do
		r = wait_masked(&p, 1, -1, 0);
	while (r == -1 && errno == EINTR && got_signal == 0);
	return r == -1 ? -1 : 0;
}

void
io_die_of_signal(void)
{
	sigset_t	set;
	int		sig = got_signal;

	if (sig == 0)
		return;
	(void)signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(sig);
}

static void
on_child(int sig)
{
	(void)sig;	/* it ends a wait */
}

/* In the child, where all that we caught is blocked as yet. */
static void
signals_of_old(const sigset_t *mask)
{
	struct sigaction	old;
	size_t			i;

	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		if (sigaction(sigs[i], NULL, &old) == 0 &&
		    old.sa_handler == on_signal)
			(void)signal(sigs[i], SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
}

/* All signals that end a wait are blocked, but while it waits. */
static int
attend(pid_t pid, const sigset_t *mask, int *st)
{
	pid_t	got;
	int	told = 0;

	while ((got = waitpid(pid, st, WNOHANG)) != pid) {
		if (got == -1 && errno != EINTR)
			return -1;
		if (got_signal != 0 && !told) {
			(void)kill(pid, got_signal);
			told = 1;
		}
		if (got == 0)
			(void)sigsuspend(mask);
	}
	return 0;
}

int
io_run(int *st, struct err *e)
{
	struct sigaction	sa, old;
	sigset_t		set, mask;
	pid_t			pid;
	size_t			i;
	int			rv = 0;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_child;
	sigemptyset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaddset(&set, sigs[i]);
	if (sigprocmask(SIG_BLOCK, &set, &mask) == -1 ||
	    sigaction(SIGCHLD, &sa, &old) == -1)
		return err_sys(e, errno, "signals");
	set = mask;
	sigdelset(&set, SIGCHLD);
	pid = fork();
	if (pid == -1)
		rv = err_sys(e, errno, "fork");
	else if (pid == 0) {
		signals_of_old(&mask);
		return 1;
	} else if (attend(pid, &set, st) == -1)
		rv = err_sys(e, errno, "wait");
	(void)sigaction(SIGCHLD, &old, NULL);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	return rv;
}

double
io_now(void)
{
	struct timespec	ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int64_t
io_wall_ns(void)
{
	struct timespec	ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int
io_random_hex(char *out, size_t n, struct err *e)
{
	unsigned char	b[32];
	size_t		i;
	int		fd, rv = -1;

	if (n > sizeof(b))
		return err_set(e, MSG_SOFTWARE, "io_random_hex: %zu", n);
	fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "/dev/urandom");
	if (io_read(fd, b, n) != (ssize_t)n) {
		err_sys(e, errno, "/dev/urandom");
		goto done;
	}
	for (i = 0; i < n; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", b[i]);
	rv = 0;
done:
	(void)close(fd);
	return rv;
}
