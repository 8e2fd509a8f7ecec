/*
 * nth: in a unit test, the Nth system call of one kind fails, as the kernel
 * lets it fail when the machine is at its end; the test's own calls between
 * nth_start and nth_stop count, too.  Kinds: open read write sync rename
 * link unlink mkdir stat chmod seek lock list mmap fallocate.
 * Nothing is synced: a test that counts hundreds of runs waits for no disk.
 * Include it first, before any system header.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_NTH_H
#define D_NTH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char	*nth_call;	/* NULL: none fails */
static unsigned long	 nth_want, nth_seen;

static inline void
nth_start(const char *call, unsigned long n)
{
	nth_call = call;
	nth_want = n;
	nth_seen = 0;
}

/* Was there an Nth one? */
static inline int
nth_stop(void)
{
	nth_call = NULL;
	return nth_want != 0 && nth_seen >= nth_want;
}

static inline int
nth_fails(const char *name, int errnum)
{
	if (nth_call == NULL || strcmp(nth_call, name) != 0 ||
	    ++nth_seen != nth_want)
		return 0;
	errno = errnum;
	return 1;
}

#define NTH_REAL(type, name, params) \
	static type (*real) params; \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

#define NTH_FAILS(type, name, kind, errnum, params, args) \
type name params; \
type \
name params \
{ \
	NTH_REAL(type, #name, params); \
	return nth_fails(kind, errnum) ? (type)-1 : real args; \
}

NTH_FAILS(ssize_t, read, "read", EIO, (int fd, void *p, size_t n),
    (fd, p, n))
NTH_FAILS(ssize_t, pread, "read", EIO,
    (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
NTH_FAILS(ssize_t, write, "write", ENOSPC,
    (int fd, const void *p, size_t n), (fd, p, n))
NTH_FAILS(ssize_t, pwrite, "write", ENOSPC,
    (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
NTH_FAILS(int, ftruncate, "write", EIO, (int fd, off_t n), (fd, n))
NTH_FAILS(int, renameat, "rename", EIO,
    (int f, const char *a, int t, const char *b), (f, a, t, b))
NTH_FAILS(int, rename, "rename", EIO, (const char *a, const char *b), (a, b))
NTH_FAILS(int, linkat, "link", EIO,
    (int f, const char *a, int t, const char *b, int k), (f, a, t, b, k))
NTH_FAILS(int, unlinkat, "unlink", EIO, (int f, const char *a, int k),
    (f, a, k))
NTH_FAILS(int, mkdirat, "mkdir", ENOSPC, (int f, const char *a, mode_t m),
    (f, a, m))
NTH_FAILS(int, mkdir, "mkdir", ENOSPC, (const char *a, mode_t m), (a, m))
NTH_FAILS(int, fstat, "stat", EIO, (int fd, struct stat *st), (fd, st))
NTH_FAILS(int, fstatat, "stat", EIO,
    (int fd, const char *a, struct stat *st, int k), (fd, a, st, k))
NTH_FAILS(int, faccessat, "stat", EIO, (int fd, const char *a, int m, int k),
    (fd, a, m, k))
NTH_FAILS(int, fchmod, "chmod", EPERM, (int fd, mode_t m), (fd, m))
NTH_FAILS(off_t, lseek, "seek", EIO, (int fd, off_t at, int w), (fd, at, w))
NTH_FAILS(int, flock, "lock", ENOLCK, (int fd, int how), (fd, how))

/* what cannot be -1 */

DIR *
fdopendir(int fd)
{
	NTH_REAL(DIR *, "fdopendir", (int));
	return nth_fails("list", ENOMEM) ? NULL : real(fd);
}

struct dirent *
readdir(DIR *d)
{
	NTH_REAL(struct dirent *, "readdir", (DIR *));
	return nth_fails("list", EIO) ? NULL : real(d);
}

void *
mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	NTH_REAL(void *, "mmap", (void *, size_t, int, int, int, off_t));
	return nth_fails("mmap", ENOMEM) ? MAP_FAILED :
	    real(at, n, prot, flags, fd, off);
}

int
posix_fallocate(int fd, off_t off, off_t n)
{
	NTH_REAL(int, "posix_fallocate", (int, off_t, off_t));
	return nth_fails("fallocate", ENOSPC) ? ENOSPC : real(fd, off, n);
}

int
fsync(int fd)
{
	(void)fd;
	return nth_fails("sync", EIO) ? -1 : 0;
}

int
fdatasync(int fd)
{
	return fsync(fd);
}

#define NTH_OPENS(name, params, args) \
int \
name params \
{ \
	va_list	ap; \
	mode_t	mode; \
	NTH_REAL(int, #name, params); \
	va_start(ap, flags); \
	mode = (flags & O_CREAT) != 0 ? (mode_t)va_arg(ap, unsigned int) : 0; \
	va_end(ap); \
	return nth_fails("open", EMFILE) ? -1 : real args; \
}

NTH_OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
NTH_OPENS(openat, (int fd, const char *path, int flags, ...),
    (fd, path, flags, mode))

#endif
