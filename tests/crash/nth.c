/*
 * nth: a preload that lets the Nth call of one kind fail, in one program.
 *	NTH_PROG	the program's name; others are left alone
 *	NTH_CALL	malloc mmap open read write sync rename unlink mkdir
 *			fork or pipe: what libc calls so, and its near kin
 *	NTH_N		which call, from 1; counted in each process, a child
 *			goes on from its parent's number
 *	NTH_HIT		a file that is made when it failed, or would have
 * The call fails as the kernel lets it fail when the machine is at its end:
 * ENOMEM, EIO, ENOSPC, EMFILE or EAGAIN.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long	 want, seen;
static const char	*call, *hit;

__attribute__((constructor)) static void
start(void)
{
	const char	*prog = getenv("NTH_PROG"), *n = getenv("NTH_N");

	hit = getenv("NTH_HIT");
	if (prog == NULL || n == NULL || hit == NULL ||
	    strcmp(prog, program_invocation_short_name) != 0)
		return;
	want = strtoul(n, NULL, 10);
	call = getenv("NTH_CALL");
}

/* Is it this one's turn?  Then errno is set. */
static int
fails(const char *name, int errnum)
{
	long	fd;

	if (call == NULL || strcmp(call, name) != 0 ||
	    __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) != want)
		return 0;
	fd = syscall(SYS_openat, AT_FDCWD, hit, O_WRONLY | O_CREAT, 0600);
	if (fd != -1)
		(void)syscall(SYS_close, fd);
	errno = errnum;
	return 1;
}

#define REAL(type, name, args) \
	static type (*real) args; \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

/* malloc is asked for before dlsym can answer: glibc's own names are used */
void	*__libc_malloc(size_t);
void	*__libc_calloc(size_t, size_t);
void	*__libc_realloc(void *, size_t);

void *
malloc(size_t n)
{
	return fails("malloc", ENOMEM) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return fails("malloc", ENOMEM) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return fails("malloc", ENOMEM) ? NULL : __libc_realloc(p, n);
}

#define FAILS(type, name, key, errnum, params, args) \
type \
name params \
{ \
	REAL(type, #name, params); \
	return fails(key, errnum) ? (type)-1 : real args; \
}

FAILS(ssize_t, read, "read", EIO, (int fd, void *p, size_t n), (fd, p, n))
FAILS(ssize_t, pread, "read", EIO, (int fd, void *p, size_t n, off_t o),
    (fd, p, n, o))
FAILS(ssize_t, pread64, "read", EIO, (int fd, void *p, size_t n, off64_t o),
    (fd, p, n, o))
FAILS(ssize_t, write, "write", ENOSPC, (int fd, const void *p, size_t n),
    (fd, p, n))
FAILS(ssize_t, pwrite, "write", ENOSPC, (int fd, const void *p, size_t n,
    off_t o), (fd, p, n, o))
FAILS(ssize_t, pwrite64, "write", ENOSPC, (int fd, const void *p, size_t n,
    off64_t o), (fd, p, n, o))
FAILS(int, fsync, "sync", EIO, (int fd), (fd))
FAILS(int, fdatasync, "sync", EIO, (int fd), (fd))
FAILS(int, ftruncate, "write", EIO, (int fd, off_t n), (fd, n))
FAILS(int, ftruncate64, "write", EIO, (int fd, off64_t n), (fd, n))
FAILS(int, rename, "rename", EIO, (const char *a, const char *b), (a, b))
FAILS(int, renameat, "rename", EIO, (int f, const char *a, int t,
    const char *b), (f, a, t, b))
FAILS(int, linkat, "rename", EIO, (int f, const char *a, int t,
    const char *b, int k), (f, a, t, b, k))
FAILS(int, unlinkat, "unlink", EIO, (int f, const char *a, int k), (f, a, k))
FAILS(int, unlink, "unlink", EIO, (const char *a), (a))
FAILS(int, mkdirat, "mkdir", ENOSPC, (int f, const char *a, mode_t m),
    (f, a, m))
FAILS(int, mkdir, "mkdir", ENOSPC, (const char *a, mode_t m), (a, m))
FAILS(pid_t, fork, "fork", EAGAIN, (void), ())
FAILS(int, pipe, "pipe", EMFILE, (int fd[2]), (fd))
FAILS(int, dup2, "pipe", EMFILE, (int a, int b), (a, b))

void *
mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	REAL(void *, "mmap", (void *, size_t, int, int, int, off_t));
	return fails("mmap", ENOMEM) ? MAP_FAILED :
	    real(at, n, prot, flags, fd, off);
}

static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | __O_TMPFILE)) != 0 ?
	    (mode_t)va_arg(ap, unsigned int) : 0;
}

#define OPENS(name, params, args) \
int \
name params \
{ \
	va_list	ap; \
	mode_t	mode; \
	REAL(int, #name, params); \
	va_start(ap, flags); \
	mode = mode_of(flags, ap); \
	va_end(ap); \
	return fails("open", EMFILE) ? -1 : real args; \
}

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int fd, const char *path, int flags, ...),
    (fd, path, flags, mode))
OPENS(openat64, (int fd, const char *path, int flags, ...),
    (fd, path, flags, mode))
