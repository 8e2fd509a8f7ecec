/*
 * record: a preload that writes down what a run does to files, of all its
 * processes in one order: what is written, synced, created, renamed and
 * removed, for tests/crash/states.pl to make of it what a power cut leaves.
 * It changes nothing of what the program sees, and judges nothing.
 *
 * CRASH_LOG is a sparse file that every process maps: a lock that outlives
 * its holder (a robust mutex), and events behind it.  The call and its event
 * are one critical section, so that the order is the order of effects.
 * CRASH_KILL=N: SIGKILL to whoever wrote event N.  CRASH_NOSYNC=1 without a
 * log: fsync does nothing, for runs that are only looked at.
 * Not seen: stdio's own writes, and stores to a shared mapping before the
 * file is next synced (then all of it counts as written).
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* RTLD_NEXT, renameat2, copy_file_range */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

#define LOG_MAGIC	0x4c535243U
#define LOG_HEAD	4096		/* bytes before the first event */
#define LOG_MAPPED	64		/* files mapped shared at once */

/* What states.pl reads; its names and bytes follow. */
struct event {
	uint32_t	size;	/* of all of it */
	char		op;
	char		pad[3];
	uint32_t	pid, mode;
	uint64_t	ino, dir, dir2, off, n;
	uint16_t	name, name2;	/* bytes */
	uint32_t	data;
};

struct head {
	_Atomic uint32_t	magic;
	uint32_t		events;
	uint64_t		at;	/* where the next event goes */
	uint64_t		size, dev, kill;
	uint64_t		torn;	/* a call whose event is missing */
	uint64_t		mapped[LOG_MAPPED];
	pthread_mutex_t		lock;
};

static struct head	*head;
static int		 nosync;

/* The kernel's own calls, past whatever else stands before them. */
static long
raw(long number, long a, long b, long c, long d, long e, long f)
{
	static long	(*real)(long, ...);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a, b, c, d, e, f);
}

#define RAW2(n, a, b)		raw(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define RAW3(n, a, b, c)	raw(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RAW4(n, a, b, c, d)						\
	raw(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define RAW5(n, a, b, c, d, e)						\
	raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static void
start(void)
{
	const char	*log = getenv("CRASH_LOG"), *k = getenv("CRASH_KILL");
	pthread_mutexattr_t a;
	struct stat	 st;
	uint32_t	 none = 0;
	int		 fd;
	void		*p;

	nosync = getenv("CRASH_NOSYNC") != NULL;
	if (log == NULL || head != NULL)
		return;
	fd = (int)RAW4(SYS_openat, AT_FDCWD, log, O_RDWR | O_CLOEXEC, 0);
	if (fd == -1 || fstat(fd, &st) == -1)
		return;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
	    MAP_SHARED, fd, 0);
	(void)close(fd);
	if (p == MAP_FAILED)
		return;
	head = p;
	/* the first of a run has no company yet */
	if (atomic_compare_exchange_strong(&head->magic, &none, 1)) {
		pthread_mutexattr_init(&a);
		pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
		pthread_mutex_init(&head->lock, &a);
		head->at = LOG_HEAD;
		head->size = (uint64_t)st.st_size;
		head->dev = st.st_dev;
		head->kill = k != NULL ? strtoull(k, NULL, 10) : 0;
		atomic_store(&head->magic, LOG_MAGIC);
	}
	while (atomic_load(&head->magic) != LOG_MAGIC)
		(void)usleep(100);
}

__attribute__((constructor)) static void
at_load(void)
{
	start();
}

static void
lock(void)
{
	if (pthread_mutex_lock(&head->lock) == EOWNERDEAD) {
		head->torn = 1;
		(void)pthread_mutex_consistent(&head->lock);
	}
}

static void
unlock(void)
{
	int	saved = errno;

	int	dies = head->kill != 0 && head->events == head->kill;

	if (dies)
		head->kill = 0;
	(void)pthread_mutex_unlock(&head->lock);
	if (dies)
		(void)kill(getpid(), SIGKILL);
	errno = saved;
}

/* Room for an event with so much behind it, filled in but for that. */
static struct event *
event(char op, size_t name, size_t name2, size_t data)
{
	struct event	*e = (struct event *)((char *)head + head->at);
	size_t		 n = sizeof(*e) + name + name2 + data;

	n = (n + 7) & ~(size_t)7;
	if (head->at + n > head->size)
		abort();	/* CRASH_LOG is too small */
	memset(e, 0, sizeof(*e));
	e->size = (uint32_t)n;
	e->op = op;
	e->pid = (uint32_t)getpid();
	e->name = (uint16_t)name;
	e->name2 = (uint16_t)name2;
	e->data = (uint32_t)data;
	head->at += n;
	head->events++;
	return e;
}

static char *
behind(struct event *e)
{
	return (char *)e + sizeof(*e);
}

static int
regular(int fd, struct stat *st)
{
	return head != NULL && fstat(fd, st) == 0 && S_ISREG(st->st_mode) &&
	    st->st_dev == head->dev;
}

/* The directory of path, by number, and path's last component. */
static int
parent(int dirfd, const char *path, uint64_t *dir, char name[256])
{
	char		 up[4096];
	struct stat	 st;
	const char	*last;
	char		*slash;
	size_t		 n = strlen(path), k;

	if (n == 0 || n >= sizeof(up))
		return -1;
	memcpy(up, path, n + 1);
	while (n > 1 && up[n - 1] == '/')
		up[--n] = '\0';
	slash = strrchr(up, '/');
	last = slash == NULL ? up : slash + 1;
	k = strlen(last);
	if (k >= 256)
		return -1;	/* no file system has it */
	memcpy(name, last, k + 1);
	if (slash == NULL)
		(void)snprintf(up, sizeof(up), ".");
	else
		slash[slash == up] = '\0';
	if (fstatat(dirfd, up, &st, 0) == -1 || st.st_dev != head->dev)
		return -1;
	*dir = st.st_ino;
	return 0;
}

/* Something happened to a name. */
static void
note_name(char op, int dirfd, const char *path, uint64_t ino, mode_t mode)
{
	struct event	*e;
	uint64_t	 dir;
	char		 name[256];
	int		 saved = errno;

	if (parent(dirfd, path, &dir, name) == 0) {
		e = event(op, strlen(name), 0, 0);
		e->ino = ino;
		e->dir = dir;
		e->mode = mode;
		memcpy(behind(e), name, strlen(name));
	}
	errno = saved;
}

static void
note_file(char op, uint64_t ino, uint64_t n, mode_t mode)
{
	struct event	*e = event(op, 0, 0, 0);

	e->ino = ino;
	e->n = n;
	e->mode = mode;
}

static void
note_write(uint64_t ino, uint64_t off, const void *p, size_t n)
{
	struct event	*e = event('w', 0, 0, n);

	e->ino = ino;
	e->off = off;
	e->n = n;
	memcpy(behind(e), p, n);
}

/* The same of bytes that lie in a file. */
static void
note_copy(uint64_t ino, uint64_t off, int from, uint64_t at, size_t n)
{
	struct event	*e = event('w', 0, 0, n);
	size_t		 done = 0;
	ssize_t		 r;

	e->ino = ino;
	e->off = off;
	e->n = n;
	while (done < n && (r = RAW4(SYS_pread64, from,
	    behind(e) + done, n - done, (off_t)(at + done))) > 0)
		done += (size_t)r;
}

static uint64_t
here(int fd)
{
	return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

/* Names. */

static int
do_open(int dirfd, const char *path, int flags, mode_t mode)
{
	struct stat	st, was;
	int		fd, there;

	if (head == NULL || (flags & (O_CREAT | O_TRUNC)) == 0 ||
	    (flags & O_TMPFILE) == O_TMPFILE)
		return (int)RAW4(SYS_openat, dirfd, path, flags, mode);
	lock();
	there = fstatat(dirfd, path, &was, 0) == 0;
	fd = (int)RAW4(SYS_openat, dirfd, path, flags, mode);
	if (fd != -1 && regular(fd, &st)) {
		if (!there)
			note_name('c', dirfd, path, st.st_ino, st.st_mode);
		else if ((flags & O_TRUNC) != 0 && was.st_size != 0)
			note_file('t', st.st_ino, 0, 0);
	}
	unlock();
	return fd;
}

#define OPEN_MODE(mode)							\
	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) { \
		va_list	ap;						\
									\
		va_start(ap, flags);					\
		mode = va_arg(ap, mode_t);				\
		va_end(ap);						\
	}

int
open(const char *path, int flags, ...)
{
	mode_t	mode = 0;

	OPEN_MODE(mode)
	return do_open(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
	mode_t	mode = 0;

	OPEN_MODE(mode)
	return do_open(AT_FDCWD, path, flags, mode);
}

int
openat(int dirfd, const char *path, int flags, ...)
{
	mode_t	mode = 0;

	OPEN_MODE(mode)
	return do_open(dirfd, path, flags, mode);
}

int
openat64(int dirfd, const char *path, int flags, ...)
{
	mode_t	mode = 0;

	OPEN_MODE(mode)
	return do_open(dirfd, path, flags, mode);
}

int
mkdirat(int dirfd, const char *path, mode_t mode)
{
	struct stat	st;
	int		r;

	if (head == NULL)
		return (int)RAW3(SYS_mkdirat, dirfd, path, mode);
	lock();
	r = (int)RAW3(SYS_mkdirat, dirfd, path, mode);
	if (r == 0 && fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		note_name('d', dirfd, path, st.st_ino, st.st_mode);
	unlock();
	return r;
}

int
mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int
unlinkat(int dirfd, const char *path, int flags)
{
	struct stat	st;
	int		r, there;

	if (head == NULL)
		return (int)RAW3(SYS_unlinkat, dirfd, path, flags);
	lock();
	there = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
	r = (int)RAW3(SYS_unlinkat, dirfd, path, flags);
	if (r == 0 && there)
		note_name('u', dirfd, path, st.st_ino, 0);
	unlock();
	return r;
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
linkat(int fd1, const char *from, int fd2, const char *to, int flags)
{
	struct stat	st;
	int		r;

	if (head == NULL)
		return (int)RAW5(SYS_linkat, fd1, from, fd2, to, flags);
	lock();
	r = (int)RAW5(SYS_linkat, fd1, from, fd2, to, flags);
	if (r == 0 && fstatat(fd2, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
		note_name('l', fd2, to, st.st_ino, 0);
	unlock();
	return r;
}

int
link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int
do_rename(int fd1, const char *from, int fd2, const char *to,
    unsigned int flags)
{
	struct event	*e;
	struct stat	 st;
	uint64_t	 d1, d2;
	char		 n1[256], n2[256];
	int		 r;

	if (head == NULL)
		return (int)RAW5(SYS_renameat2, fd1, from, fd2, to, flags);
	lock();
	r = (int)RAW5(SYS_renameat2, fd1, from, fd2, to, flags);
	if (r == 0 && fstatat(fd2, to, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    parent(fd1, from, &d1, n1) == 0 &&
	    parent(fd2, to, &d2, n2) == 0) {
		e = event('r', strlen(n1), strlen(n2), 0);
		e->ino = st.st_ino;
		e->dir = d1;
		e->dir2 = d2;
		memcpy(behind(e), n1, strlen(n1));
		memcpy(behind(e) + strlen(n1), n2, strlen(n2));
	}
	unlock();
	return r;
}

int
rename(const char *from, const char *to)
{
	return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
renameat(int fd1, const char *from, int fd2, const char *to)
{
	return do_rename(fd1, from, fd2, to, 0);
}

int
renameat2(int fd1, const char *from, int fd2, const char *to,
    unsigned int flags)
{
	return do_rename(fd1, from, fd2, to, flags);
}

/* Some ask the kernel themselves. */
long
syscall(long number, ...)
{
	va_list	ap;
	long	a[6];
	int	i;

	va_start(ap, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_renameat2)
		return do_rename((int)a[0], (const char *)a[1], (int)a[2],
		    (const char *)a[3], (unsigned int)a[4]);
	return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Bytes. */

ssize_t
write(int fd, const void *p, size_t n)
{
	struct stat	st;
	ssize_t		r;

	if (!regular(fd, &st))
		return RAW3(SYS_write, fd, p, n);
	lock();
	r = RAW3(SYS_write, fd, p, n);
	if (r > 0)
		note_write(st.st_ino, here(fd) - (uint64_t)r, p, (size_t)r);
	unlock();
	return r;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t off)
{
	struct stat	st;
	ssize_t		r;

	if (!regular(fd, &st))
		return RAW4(SYS_pwrite64, fd, p, n, off);
	lock();
	r = RAW4(SYS_pwrite64, fd, p, n, off);
	if (r > 0)
		note_write(st.st_ino, (uint64_t)off, p, (size_t)r);
	unlock();
	return r;
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
	return pwrite(fd, p, n, off);
}

/* One write after the other: what is written is the same. */
static ssize_t
each(int fd, const struct iovec *v, int n, off_t off)
{
	ssize_t	r, done = 0;
	int	i;

	for (i = 0; i < n; i++) {
		r = off == -1 ? write(fd, v[i].iov_base, v[i].iov_len) :
		    pwrite(fd, v[i].iov_base, v[i].iov_len, off + done);
		if (r == -1)
			return done > 0 ? done : -1;
		done += r;
		if ((size_t)r < v[i].iov_len)
			break;
	}
	return done;
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
	struct stat	st;

	if (!regular(fd, &st))
		return RAW3(SYS_writev, fd, v, n);
	return each(fd, v, n, -1);
}

ssize_t
pwritev(int fd, const struct iovec *v, int n, off_t off)
{
	return each(fd, v, n, off);
}

ssize_t
pwritev64(int fd, const struct iovec *v, int n, off64_t off)
{
	return each(fd, v, n, off);
}

ssize_t
copy_file_range(int in, off64_t *inoff, int out, off64_t *outoff, size_t n,
    unsigned int flags)
{
	struct stat	st;
	uint64_t	at, off;
	ssize_t		r;

	if (!regular(out, &st))
		return raw(SYS_copy_file_range, in, (long)inoff, out,
		    (long)outoff, (long)n, (long)flags);
	lock();
	at = inoff != NULL ? (uint64_t)*inoff : here(in);
	off = outoff != NULL ? (uint64_t)*outoff : here(out);
	r = raw(SYS_copy_file_range, in, (long)inoff, out, (long)outoff,
	    (long)n, (long)flags);
	if (r > 0)
		note_copy(st.st_ino, off, in, at, (size_t)r);
	unlock();
	return r;
}

ssize_t
sendfile(int out, int in, off_t *inoff, size_t n)
{
	struct stat	st;
	uint64_t	at, off;
	ssize_t		r;

	if (!regular(out, &st))
		return RAW4(SYS_sendfile, out, in, inoff, n);
	lock();
	at = inoff != NULL ? (uint64_t)*inoff : here(in);
	off = here(out);
	r = RAW4(SYS_sendfile, out, in, inoff, n);
	if (r > 0)
		note_copy(st.st_ino, off, in, at, (size_t)r);
	unlock();
	return r;
}

ssize_t
sendfile64(int out, int in, off64_t *inoff, size_t n)
{
	return sendfile(out, in, inoff, n);
}

int
ioctl(int fd, unsigned long what, ...)
{
	struct stat	st, from;
	va_list		ap;
	long		arg;
	int		r;

	va_start(ap, what);
	arg = va_arg(ap, long);
	va_end(ap);
#ifdef FICLONE
	if (what == FICLONE && regular(fd, &st)) {
		lock();
		r = (int)RAW3(SYS_ioctl, fd, what, arg);
		if (r == 0 && fstat((int)arg, &from) == 0)
			note_copy(st.st_ino, 0, (int)arg, 0,
			    (size_t)from.st_size);
		unlock();
		return r;
	}
#endif
	return (int)RAW3(SYS_ioctl, fd, what, arg);
}

int
ftruncate(int fd, off_t n)
{
	struct stat	st;
	int		r;

	if (!regular(fd, &st))
		return (int)RAW2(SYS_ftruncate, fd, n);
	lock();
	r = (int)RAW2(SYS_ftruncate, fd, n);
	if (r == 0)
		note_file('t', st.st_ino, (uint64_t)n, 0);
	unlock();
	return r;
}

int
ftruncate64(int fd, off64_t n)
{
	return ftruncate(fd, n);
}

int
fallocate(int fd, int mode, off_t off, off_t n)
{
	struct stat	st, now;
	int		r;

	if (!regular(fd, &st))
		return (int)RAW4(SYS_fallocate, fd, mode, off, n);
	lock();
	r = (int)RAW4(SYS_fallocate, fd, mode, off, n);
	if (r == 0 && fstat(fd, &now) == 0 && now.st_size != st.st_size)
		note_file('t', st.st_ino, (uint64_t)now.st_size, 0);
	unlock();
	return r;
}

int
fallocate64(int fd, int mode, off64_t off, off64_t n)
{
	return fallocate(fd, mode, off, n);
}

int
posix_fallocate(int fd, off_t off, off_t n)
{
	return fallocate(fd, 0, off, n) == 0 ? 0 : errno;
}

int
posix_fallocate64(int fd, off64_t off, off64_t n)
{
	return fallocate(fd, 0, off, n) == 0 ? 0 : errno;
}

int
fchmod(int fd, mode_t mode)
{
	struct stat	st;
	int		r;

	if (!regular(fd, &st))
		return (int)RAW2(SYS_fchmod, fd, mode);
	lock();
	r = (int)RAW2(SYS_fchmod, fd, mode);
	if (r == 0)
		note_file('m', st.st_ino, 0, mode);
	unlock();
	return r;
}

/* What is stored to a shared mapping comes to light when it is synced. */
static void *
do_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	void		*p;
	struct stat	 st;
	size_t		 i;

	p = (void *)raw(SYS_mmap, (long)at, (long)n, prot, flags, fd,
	    (long)off);
	if (p == MAP_FAILED || fd == -1 || head == NULL ||
	    (flags & MAP_TYPE) == MAP_PRIVATE || (prot & PROT_WRITE) == 0 ||
	    !regular(fd, &st))
		return p;
	lock();
	for (i = 0; i < LOG_MAPPED && head->mapped[i] != 0 &&
	    head->mapped[i] != st.st_ino; i++)
		;
	if (i < LOG_MAPPED)
		head->mapped[i] = st.st_ino;
	unlock();
	return p;
}

void *
mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	return do_mmap(at, n, prot, flags, fd, off);
}

void *
mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t off)
{
	return do_mmap(at, n, prot, flags, fd, off);
}

static int
mapped(uint64_t ino)
{
	size_t	i;

	for (i = 0; i < LOG_MAPPED && head->mapped[i] != 0; i++)
		if (head->mapped[i] == ino)
			return 1;
	return 0;
}

static int
do_sync(long number, int fd)
{
	struct stat	st;
	int		r;

	if (head == NULL)
		return nosync ? 0 : (int)RAW2(number, fd, 0);
	lock();
	/* the order of the log is all that counts here */
	r = fstat(fd, &st);
	if (r == 0 && st.st_dev == head->dev) {
		if (S_ISREG(st.st_mode) && mapped(st.st_ino) &&
		    (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
			note_copy(st.st_ino, 0, fd, 0, (size_t)st.st_size);
		note_file('f', st.st_ino, 0, st.st_mode);
	}
	unlock();
	return r;
}

int
fsync(int fd)
{
	return do_sync(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return do_sync(SYS_fdatasync, fd);
}

/* It promises nothing: no metadata, and no cache of the device. */
int
sync_file_range(int fd, off64_t off, off64_t n, unsigned int flags)
{
	(void)flags;
	(void)off;
	(void)n;
	return fcntl(fd, F_GETFD) == -1 ? -1 : 0;
}

int
syncfs(int fd)
{
	int	r = nosync || head != NULL ? fcntl(fd, F_GETFD) :
		    (int)RAW2(SYS_syncfs, fd, 0);

	if (head == NULL || r == -1)
		return r == -1 ? -1 : 0;
	lock();
	note_file('s', 0, 0, 0);
	unlock();
	return 0;
}
