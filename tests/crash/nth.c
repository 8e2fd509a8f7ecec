/*
 * nth: a preload that lets the Nth call of one kind fail, in one program.
 *	NTH_PROG	the program's name; others are left alone
 *	NTH_CALL	malloc mmap open read write sync rename unlink mkdir
 *			fork or pipe: what libc calls so, and its near kin;
 *			net: of sockets; sqlite, curl: of those libraries
 *	NTH_N		which call, from 1; counted in each process, a child
 *			goes on from its parent's number
 *	NTH_HIT		a file of one byte, which becomes '1' when it failed;
 *			mapped at the start, as a sandbox lets none be opened
 *	NTH_CURL	the path of nthcurl.so, for curl
 * The call fails as the kernel lets it fail when the machine is at its end:
 * ENOMEM, EIO, ENOSPC, EMFILE or EAGAIN; a socket as if the connection had
 * gone; SQLite as it does without memory, or when the disk does not answer.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

static unsigned long	 want, seen;
static const char	*call;
static char		*hit;

__attribute__((constructor)) static void
start(void)
{
	const char	*prog = getenv("NTH_PROG"), *n = getenv("NTH_N");
	const char	*path = getenv("NTH_HIT");
	int		 fd;

	if (prog == NULL || n == NULL || path == NULL ||
	    strcmp(prog, program_invocation_short_name) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd == -1)
		return;
	hit = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (hit == MAP_FAILED)
		return;
	want = strtoul(n, NULL, 10);
	call = getenv("NTH_CALL");
}

/* Is it this one's turn?  Then errno is set. */
static int
nth_fails(const char *name, int errnum)
{
	if (call == NULL || strcmp(call, name) != 0 ||
	    __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) != want)
		return 0;
	*hit = '1';
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
	return nth_fails("malloc", ENOMEM) ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return nth_fails("malloc", ENOMEM) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return nth_fails("malloc", ENOMEM) ? NULL : __libc_realloc(p, n);
}

#define FAILS(type, name, key, errnum, params, args) \
type \
name params \
{ \
	REAL(type, #name, params); \
	return nth_fails(key, errnum) ? (type)-1 : real args; \
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
	return nth_fails("mmap", ENOMEM) ? MAP_FAILED :
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
	return nth_fails("open", EMFILE) ? -1 : real args; \
}

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int fd, const char *path, int flags, ...),
    (fd, path, flags, mode))
OPENS(openat64, (int fd, const char *path, int flags, ...),
    (fd, path, flags, mode))

FAILS(int, socket, "net", EMFILE, (int d, int t, int p), (d, t, p))
FAILS(int, connect, "net", ECONNRESET, (int fd, __CONST_SOCKADDR_ARG a,
    socklen_t n), (fd, a, n))
FAILS(ssize_t, send, "net", ECONNRESET, (int fd, const void *p, size_t n,
    int f), (fd, p, n, f))
FAILS(ssize_t, recv, "net", ECONNRESET, (int fd, void *p, size_t n, int f),
    (fd, p, n, f))

/*
 * curl is looked up in what is opened when it is needed, past all preloads:
 * so another library is opened, which has it below.
 */
void *
dlopen(const char *path, int flags)
{
	const char	*curl = getenv("NTH_CURL");
	REAL(void *, "dlopen", (const char *, int));

	if (call != NULL && strcmp(call, "curl") == 0 && curl != NULL &&
	    path != NULL && strncmp(path, "libcurl.", 8) == 0)
		path = curl;
	return real(path, flags);
}

/*
 * Libraries call themselves by these names, too, and would not look at an
 * answer that they know cannot be: only the program's calls fail.
 */
static uintptr_t	 program, program_end;

static int
find_program(struct dl_phdr_info *d, size_t n, void *p)
{
	uintptr_t	at;
	int		i;

	(void)n;
	(void)p;
	program = UINTPTR_MAX;
	for (i = 0; i < d->dlpi_phnum; i++) {
		if (d->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		at = d->dlpi_addr + d->dlpi_phdr[i].p_vaddr;
		if (at < program)
			program = at;
		if (at + d->dlpi_phdr[i].p_memsz > program_end)
			program_end = at + d->dlpi_phdr[i].p_memsz;
	}
	return 1; /* the program itself is the first */
}

/* nthcurl.so asks, too. */
int	nth_called(const char *name, const void *caller);

int
nth_called(const char *name, const void *caller)
{
	uintptr_t	at = (uintptr_t)caller;

	if (program == 0)
		(void)dl_iterate_phdr(find_program, NULL);
	return at >= program && at < program_end && nth_fails(name, ENOMEM);
}

/*
 * SQLite.  What failed here, SQLite itself does not know of: who asks for
 * the reason before the next call is told it.  Calls fail that may without
 * memory or disk (to bind a number needs neither).
 */
static __thread int	 lite_rc;

static int
lite_fails(int rc, const void *caller)
{
	lite_rc = nth_called("sqlite", caller) ? rc : SQLITE_OK;
	return lite_rc != SQLITE_OK;
}
#define LITE_FAILS(rc)	lite_fails(rc, __builtin_return_address(0))

#define LITE(name, rc, params, args) \
int \
name params \
{ \
	REAL(int, #name, params); \
	return LITE_FAILS(rc) ? rc : real args; \
}

LITE(sqlite3_prepare_v3, SQLITE_NOMEM, (sqlite3 *db, const char *sql, int n,
    unsigned int f, sqlite3_stmt **st, const char **tail),
    (db, sql, n, f, st, tail))
LITE(sqlite3_step, SQLITE_IOERR, (sqlite3_stmt *st), (st))
LITE(sqlite3_exec, SQLITE_IOERR, (sqlite3 *db, const char *sql,
    int (*f)(void *, int, char **, char **), void *p, char **e),
    (db, sql, f, p, e))
LITE(sqlite3_bind_text, SQLITE_NOMEM, (sqlite3_stmt *st, int i, const char *s,
    int n, void (*f)(void *)), (st, i, s, n, f))
LITE(sqlite3_bind_blob, SQLITE_NOMEM, (sqlite3_stmt *st, int i, const void *p,
    int n, void (*f)(void *)), (st, i, p, n, f))
LITE(sqlite3_create_function, SQLITE_NOMEM, (sqlite3 *db, const char *name,
    int n, int how, void *p, void (*f)(sqlite3_context *, int,
    sqlite3_value **), void (*step)(sqlite3_context *, int, sqlite3_value **),
    void (*final)(sqlite3_context *)), (db, name, n, how, p, f, step, final))
LITE(sqlite3_deserialize, SQLITE_NOMEM, (sqlite3 *db, const char *name,
    unsigned char *p, sqlite3_int64 size, sqlite3_int64 room,
    unsigned int f), (db, name, p, size, room, f))
LITE(sqlite3_table_column_metadata, SQLITE_NOMEM, (sqlite3 *db,
    const char *name, const char *table, const char *column,
    char const **type, char const **order, int *notnull, int *key,
    int *increments), (db, name, table, column, type, order, notnull, key,
    increments))

int
sqlite3_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs)
{
	REAL(int, "sqlite3_open_v2", (const char *, sqlite3 **, int,
	    const char *));

	if (!LITE_FAILS(SQLITE_NOMEM))
		return real(path, db, flags, vfs);
	*db = NULL;
	return SQLITE_NOMEM;
}

/* Text that was not ended yet needs memory for that. */
const unsigned char *
sqlite3_column_text(sqlite3_stmt *st, int i)
{
	REAL(const unsigned char *, "sqlite3_column_text",
	    (sqlite3_stmt *, int));
	return LITE_FAILS(SQLITE_NOMEM) ? NULL : real(st, i);
}

void *
sqlite3_malloc64(sqlite3_uint64 n)
{
	REAL(void *, "sqlite3_malloc64", (sqlite3_uint64));
	return LITE_FAILS(SQLITE_NOMEM) ? NULL : real(n);
}

int
sqlite3_extended_errcode(sqlite3 *db)
{
	REAL(int, "sqlite3_extended_errcode", (sqlite3 *));
	return lite_rc != SQLITE_OK ? lite_rc : real(db);
}

const char *
sqlite3_errmsg(sqlite3 *db)
{
	REAL(const char *, "sqlite3_errmsg", (sqlite3 *));
	return lite_rc == SQLITE_OK ? real(db) :
	    lite_rc == SQLITE_NOMEM ? "out of memory" : "disk I/O error";
}
