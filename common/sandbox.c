/*
 * sandbox: Landlock by its three system calls, and rlimits.  Each mechanism
 * that the kernel lacks is left out, and said to be.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* syscall, O_PATH, RLIMIT_NPROC */
#include "sandbox.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "sandbox_calls.h"
#include "banned.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#ifdef __linux__

/*
 * The kernel's ABI, written down here, as installed headers are often older
 * than the kernel.  The numbers are the same on every architecture.
 */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define LL_VERSION		1U	/* flag of create_ruleset */
#define LL_PATH_BENEATH		1	/* kind of rule */

#define LL_EXECUTE		(1ULL << 0)
#define LL_WRITE_FILE		(1ULL << 1)
#define LL_READ_FILE		(1ULL << 2)
#define LL_READ_DIR		(1ULL << 3)
#define LL_REMOVE_DIR		(1ULL << 4)
#define LL_REMOVE_FILE		(1ULL << 5)
#define LL_MAKE_DIR		(1ULL << 7)
#define LL_MAKE_REG		(1ULL << 8)
#define LL_FS_ABI1		((1ULL << 13) - 1)
#define LL_REFER		(1ULL << 13)	/* ABI 2 */
#define LL_TRUNCATE		(1ULL << 14)	/* ABI 3 */
#define LL_IOCTL_DEV		(1ULL << 15)	/* ABI 5 */
#define LL_NET_TCP		3ULL		/* ABI 4: bind, connect */
#define LL_SCOPE		3ULL		/* ABI 6: abstract unix
						   sockets, signals */

/* What a path rule may grant; no link, device, socket or fifo is made. */
#define LL_READ		(LL_READ_FILE | LL_READ_DIR)
#define LL_WRITE	(LL_READ | LL_WRITE_FILE | LL_REMOVE_DIR | \
			    LL_REMOVE_FILE | LL_MAKE_DIR | LL_MAKE_REG | \
			    LL_REFER | LL_TRUNCATE)
/* Of those, what the kernel takes for a path that is no directory. */
#define LL_OF_FILE	(LL_READ_FILE | LL_WRITE_FILE | LL_TRUNCATE)

struct ll_ruleset {
	uint64_t	fs;
	uint64_t	net;
	uint64_t	scoped;
};

struct ll_beneath {	/* the kernel reads the first 12 bytes */
	uint64_t	access;
	int32_t		fd;
};

/* 0 when there is no Landlock here. */
static int
ll_abi(void)
{
	long	r;

	r = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LL_VERSION);
	return r < 0 ? 0 : (int)r;
}

static int
ll_allow(int ruleset, const struct sandbox_path *p, uint64_t handled,
    struct err *e)
{
	struct ll_beneath	b;
	struct stat		st;
	int			fd, rv = -1;

	fd = open(p->path, O_PATH | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s: sandbox", p->path);
	memset(&b, 0, sizeof(b));
	b.fd = fd;
	b.access = (p->write == 2 ? LL_REMOVE_DIR :
	    p->write ? LL_WRITE : LL_READ) & handled;
	if (fstat(fd, &st) == -1) {
		err_sys(e, errno, "%s: sandbox", p->path);
		goto done;
	}
	if (!S_ISDIR(st.st_mode))
		b.access &= LL_OF_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset, LL_PATH_BENEATH, &b,
	    0U) == -1) {
		err_sys(e, errno, "%s: sandbox: landlock rule", p->path);
		goto done;
	}
	rv = 0;
done:
	(void)close(fd);
	return rv;
}

/* What an ABI confines. */
static int
ll_holds(int abi)
{
	return abi == 0 ? 0 : abi >= 4 ? SANDBOX_FILES | SANDBOX_TCP :
	    SANDBOX_FILES;
}

static int
ll_start(const struct sandbox_path *v, size_t n, struct err *e)
{
	static const struct sandbox_path proc = { "/proc", 0 };
	struct ll_ruleset	r;
	size_t			i;
	int			abi, fd, rv = -1;

	abi = ll_abi();
	if (abi == 0)
		return 0;
	memset(&r, 0, sizeof(r));
	r.fs = LL_FS_ABI1;
	if (abi >= 2)
		r.fs |= LL_REFER;
	if (abi >= 3)
		r.fs |= LL_TRUNCATE;
	if (abi >= 5)
		r.fs |= LL_IOCTL_DEV;
	if (abi >= 4)
		r.net = LL_NET_TCP;
	if (abi >= 6)
		r.scoped = LL_SCOPE;
	/* a kernel that knows less takes the longer form when that is zero */
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, sizeof(r), 0U);
	if (fd == -1)
		return err_sys(e, errno, "sandbox: landlock ruleset");
	for (i = 0; i < n; i++)
		if (ll_allow(fd, &v[i], r.fs, e) == -1)
			goto done;
	/* the leak checker reads the process's own threads there */
	if (SANITIZED && ll_allow(fd, &proc, r.fs, e) == -1)
		goto done;
	if (syscall(SYS_landlock_restrict_self, fd, 0U) == -1) {
		err_sys(e, errno, "sandbox: landlock");
		goto done;
	}
	rv = ll_holds(abi);
done:
	(void)close(fd);
	return rv;
}

int
sandbox_start(enum sandbox_kind kind, const struct sandbox_path *v, size_t n,
    struct err *e)
{
	int	flags = SANITIZED ? SANDBOX_CALLS_TRACE : 0;
	int	calls, holds;

	if (sandbox_probe() == 0)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == -1)
		return err_sys(e, errno, "sandbox: no_new_privs");
	holds = ll_start(v, n, e);
	if (holds == -1)
		return -1;
	if (kind == SANDBOX_WORKER)
		flags |= SANDBOX_CALLS_ALONE;
	calls = sandbox_calls(flags, e);
	if (calls == -1)
		return -1;
	return calls ? holds | SANDBOX_CALLS : holds;
}

int
sandbox_probe(void)
{
	return ll_holds(ll_abi()) |
	    (sandbox_calls_probe() ? SANDBOX_CALLS : 0);
}

static int
close_between(unsigned int lo, unsigned int hi)
{
	return (int)syscall(SYS_close_range, lo, hi, 0U);
}

#else /* !__linux__ */

int
sandbox_start(enum sandbox_kind kind, const struct sandbox_path *v, size_t n,
    struct err *e)
{
	(void)kind;
	(void)v;
	(void)n;
	(void)e;
	return 0;
}

int
sandbox_probe(void)
{
	return 0;
}

static int
close_between(unsigned int lo, unsigned int hi)
{
	(void)lo;
	(void)hi;
	return -1;
}

#endif

const char *
sandbox_name(int holds)
{
	switch (holds) {
	case SANDBOX_FILES | SANDBOX_TCP | SANDBOX_CALLS:
	case SANDBOX_FILES | SANDBOX_CALLS:
		return "files and sockets";
	case SANDBOX_FILES | SANDBOX_TCP:
		return "files and tcp";
	case SANDBOX_FILES:
		return "files";
	case SANDBOX_CALLS:
		return "sockets";
	}
	return "none";
}

const char *
sandbox_lacks(int holds)
{
	switch (holds) {
	case SANDBOX_CALLS:
		return "this kernel has no Landlock: who takes over the "
		    "process that parses an input reaches your files, though "
		    "no network";
	case SANDBOX_FILES:
		return "this kernel has no seccomp, and Landlock without "
		    "TCP: who takes over the process that parses an input "
		    "reaches the network, though no files";
	case 0:
		return "this kernel has neither Landlock nor seccomp: who "
		    "takes over the process that parses an input may do what "
		    "you may, within limits of time and memory";
	}
	return NULL;
}

static int
kept(int fd, const int *keep, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		if (keep[i] == fd)
			return 1;
	return 0;
}

/* Close what is above 2 and not kept. */
static void
close_others(const int *keep, size_t n)
{
	struct rlimit	rl;
	size_t		i;
	int		fd, top = 2, max;

	for (i = 0; i < n; i++)
		if (keep[i] > top)
			top = keep[i];
	for (fd = 3; fd < top; fd++)
		if (!kept(fd, keep, n))
			(void)close(fd);
	if (close_between((unsigned int)top + 1, ~0U) == 0)
		return;
	max = 65536;
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < 65536)
		max = (int)rl.rlim_cur;
	for (fd = top + 1; fd < max; fd++)
		(void)close(fd);
}

int
sandbox_child(pid_t parent, const int *keep, size_t n, struct err *e)
{
	static const int	sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE,
				    SIGUSR1, SIGCHLD };
	sigset_t		set;
	size_t			i;

#ifdef __linux__
	if (prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L) == -1)
		return err_sys(e, errno, "sandbox: parent death signal");
#endif
	if (getppid() != parent)
		return err_set(e, MSG_TEMPFAIL, "parent has died");
	(void)setpgid(0, 0);
	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		(void)signal(sigs[i], SIG_DFL);
	sigemptyset(&set);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	close_others(keep, n);
	return 0;
}

/* Lower one limit; more is the distance of the hard one. */
static int
lower(int what, const char *name, uint64_t want, uint64_t more,
    struct err *e)
{
	struct rlimit	rl;

	if (getrlimit(what, &rl) == -1)
		return err_sys(e, errno, "limit of %s", name);
	if (rl.rlim_cur == RLIM_INFINITY || (uint64_t)rl.rlim_cur > want)
		rl.rlim_cur = (rlim_t)want;
	if (rl.rlim_max == RLIM_INFINITY ||
	    (uint64_t)rl.rlim_max > (uint64_t)rl.rlim_cur + more)
		rl.rlim_max = rl.rlim_cur + (rlim_t)more;
	if (setrlimit(what, &rl) == -1)
		return err_sys(e, errno, "limit of %s", name);
	return 0;
}

int
sandbox_limits(uint64_t cpu_s, uint64_t file_bytes, uint64_t fds,
    uint64_t mem_bytes, struct err *e)
{
	/* one byte too many is an error to report, not a death */
	(void)signal(SIGXFSZ, SIG_IGN);
	if (lower(RLIMIT_CORE, "core files", 0, 0, e) == -1)
		return -1;
#ifdef RLIMIT_NPROC
	if (lower(RLIMIT_NPROC, "processes", 0, 0, e) == -1)
		return -1;
#endif
	if (cpu_s != 0 &&
	    lower(RLIMIT_CPU, "processor time", cpu_s, 2, e) == -1)
		return -1;
	if (file_bytes != 0 &&
	    lower(RLIMIT_FSIZE, "file size", file_bytes, 0, e) == -1)
		return -1;
	if (fds != 0 &&
	    lower(RLIMIT_NOFILE, "descriptors", fds, 0, e) == -1)
		return -1;
#ifdef RLIMIT_AS
	if (mem_bytes != 0 && !SANITIZED &&
	    lower(RLIMIT_AS, "memory", mem_bytes, 0, e) == -1)
		return -1;
#else
	(void)mem_bytes;
#endif
	return 0;
}
