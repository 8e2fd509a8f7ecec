/*
 * sandbox_calls: a filter for seccomp, made by hand: a list of numbers, and
 * the few calls that are judged by an argument.  It looks at no pointer, as
 * what one points to may change behind it.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* SYS_*, TIOCSTI */
#include "sandbox_calls.h"

#ifdef __linux__
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#endif

#include "banned.h"

/* Another machine's calls have other numbers: all of them are refused. */
#if !defined(__linux__) || !defined(SECCOMP_RET_ERRNO)
#elif defined(__x86_64__)
#define CALLS_ARCH	AUDIT_ARCH_X86_64
#define CALLS_X32	0x40000000U	/* the same kernel's other numbers */
#elif defined(__i386__)
#define CALLS_ARCH	AUDIT_ARCH_I386
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define CALLS_ARCH	AUDIT_ARCH_AARCH64
#elif defined(__arm__) && !defined(__ARMEB__) && defined(__ARM_EABI__)
#define CALLS_ARCH	AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64 && defined(AUDIT_ARCH_RISCV64)
#define CALLS_ARCH	AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define CALLS_ARCH	AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define CALLS_ARCH	AUDIT_ARCH_S390X
#elif defined(__loongarch64) && defined(AUDIT_ARCH_LOONGARCH64)
#define CALLS_ARCH	AUDIT_ARCH_LOONGARCH64
#endif

#ifdef CALLS_ARCH

#define CALLS_MAX	400	/* instructions */

/* The lower half of an argument: pids, signals and requests are ints. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW	4U
#define HIGH	0U
#else
#define LOW	0U
#define HIGH	4U
#endif
#define ARG(i)	((uint32_t)(offsetof(struct seccomp_data, args) + 8U * (i)))

#define NAMESPACES 0x7e020000U	/* flags of clone that make one */
#ifdef __s390x__
#define CLONE_FLAGS 1U
#else
#define CLONE_FLAGS 0U
#endif

/* Newer than some headers; the same numbers on every machine above. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#define SYS_io_uring_enter 426
#define SYS_io_uring_register 427
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#define SYS_fspick 433
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_removexattrat 466
#endif

static const int	refused[] = {
	/* no socket of any family, nor what would make or use one instead */
	SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen,
	SYS_accept4, SYS_sendto, SYS_sendmsg, SYS_sendmmsg,
#ifdef SYS_accept
	SYS_accept,
#endif
#ifdef SYS_socketcall
	SYS_socketcall,
#endif
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
	/* no other way to other processes */
#ifdef SYS_ipc
	SYS_ipc,
#endif
#ifdef SYS_shmget
	SYS_shmget, SYS_shmat, SYS_shmctl, SYS_msgget, SYS_msgsnd,
	SYS_msgctl, SYS_semget, SYS_semctl,
#endif
	SYS_mq_open, SYS_mq_unlink, SYS_process_vm_readv,
	SYS_process_vm_writev, SYS_pidfd_open, SYS_pidfd_getfd,
	SYS_pidfd_send_signal, SYS_perf_event_open, SYS_kcmp,
	/* no other program */
	SYS_execve,
#ifdef SYS_execveat
	SYS_execveat,
#endif
	/* modes, owners and attributes of files, which Landlock leaves open;
	   of one that is open they may be set, and Landlock rules that */
	SYS_fchmodat, SYS_fchmodat2, SYS_fchownat, SYS_setxattr,
	SYS_lsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_setxattrat,
	SYS_removexattrat,
#ifdef SYS_chmod
	SYS_chmod,
#endif
#ifdef SYS_chown
	SYS_chown, SYS_lchown,
#endif
#ifdef SYS_chown32
	SYS_chown32, SYS_lchown32,
#endif
#ifdef SYS_utime
	SYS_utime,
#endif
#ifdef SYS_utimes
	SYS_utimes,
#endif
#ifdef SYS_futimesat
	SYS_futimesat,
#endif
	/* no other view of the machine, and none of its settings */
	SYS_unshare, SYS_setns, SYS_chroot, SYS_pivot_root, SYS_mount,
	SYS_umount2, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig,
	SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_name_to_handle_at,
	SYS_open_by_handle_at, SYS_bpf, SYS_userfaultfd, SYS_add_key,
	SYS_request_key, SYS_keyctl, SYS_init_module, SYS_finit_module,
	SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon,
	SYS_swapoff, SYS_acct, SYS_quotactl, SYS_sethostname,
	SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex,
	SYS_clock_adjtime, SYS_fanotify_init
};

/* Of one that has no child: it makes none, nor a thread. */
static const int	alone[] = {
	SYS_clone, SYS_clone3,
#ifdef SYS_fork
	SYS_fork,
#endif
#ifdef SYS_vfork
	SYS_vfork,
#endif
	SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo
};

_Static_assert(2 * (sizeof(refused) + sizeof(alone)) / sizeof(int) + 80 <=
    CALLS_MAX, "room for two instructions a call, and the others");

struct prog {
	struct sock_filter	 v[CALLS_MAX];
	unsigned short		 n;
};

static void
emit(struct prog *p, unsigned int code, uint32_t k, unsigned int yes,
    unsigned int no)
{
	struct sock_filter	*f = &p->v[p->n++];

	f->code = (unsigned short)code;
	f->jt = (unsigned char)yes;
	f->jf = (unsigned char)no;
	f->k = k;
}

static void
answer(struct prog *p, uint32_t what)
{
	emit(p, BPF_RET | BPF_K, what, 0, 0);
}

static void
load(struct prog *p, size_t off)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)off, 0, 0);
}

/* If the value loaded is k, go on here, else n instructions further. */
static void
unless(struct prog *p, uint32_t k, unsigned int n)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, n);
}

static void
refuse(struct prog *p, long nr, int errnum)
{
	unless(p, (uint32_t)nr, 1);
	answer(p, SECCOMP_RET_ERRNO | (uint32_t)errnum);
}

/* Refused unless the lower half of argument i is that. */
static void
only(struct prog *p, long nr, unsigned int i, uint32_t that)
{
	unless(p, (uint32_t)nr, 4);
	load(p, ARG(i) + LOW);
	unless(p, that, 1);
	answer(p, SECCOMP_RET_ALLOW);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
}

/* Refused where it is. */
static void
never(struct prog *p, long nr, unsigned int i, uint32_t that)
{
	unless(p, (uint32_t)nr, 4);
	load(p, ARG(i) + LOW);
	unless(p, that, 1);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
	load(p, offsetof(struct seccomp_data, nr));
}

/* By descriptor, which has no path, but not by path. */
static void
no_path(struct prog *p, long nr, unsigned int i)
{
	unless(p, (uint32_t)nr, 6);
	load(p, ARG(i) + LOW);
	unless(p, 0, 3);
	load(p, ARG(i) + HIGH);
	unless(p, 0, 1);
	answer(p, SECCOMP_RET_ALLOW);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
}

static void
make(struct prog *p, int flags)
{
	size_t		i;
	uint32_t	self = (uint32_t)getpid();

	load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, CALLS_ARCH, 1, 0);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
	load(p, offsetof(struct seccomp_data, nr));
#ifdef CALLS_X32
	emit(p, BPF_JMP | BPF_JGE | BPF_K, CALLS_X32, 0, 1);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
#endif
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		refuse(p, refused[i], EPERM);
	if ((flags & SANDBOX_CALLS_TRACE) == 0)
		refuse(p, SYS_ptrace, EPERM);
	/* what a terminal would take for typed */
	never(p, SYS_ioctl, 1, TIOCSTI);
#ifdef TIOCLINUX
	never(p, SYS_ioctl, 1, TIOCLINUX);
#endif
	no_path(p, SYS_utimensat, 1);
#ifdef SYS_utimensat_time64
	no_path(p, SYS_utimensat_time64, 1);
#endif
	only(p, SYS_prlimit64, 0, 0);
	if ((flags & SANDBOX_CALLS_ALONE) != 0) {
		for (i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
			refuse(p, alone[i], EPERM);
		/* what aborts signals itself */
		only(p, SYS_kill, 0, self);
		only(p, SYS_tkill, 0, self);
		only(p, SYS_tgkill, 0, self);
	} else {
		/* its flags are behind a pointer */
		refuse(p, SYS_clone3, ENOSYS);
		unless(p, SYS_clone, 3);
		load(p, ARG(CLONE_FLAGS) + LOW);
		emit(p, BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1);
		answer(p, SECCOMP_RET_ERRNO | EPERM);
	}
	answer(p, SECCOMP_RET_ALLOW);
}

int
sandbox_calls_probe(void)
{
	/* it reads the filter before it asks who wants it */
	return prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, NULL, 0L,
	    0L) == -1 && errno == EFAULT;
}

int
sandbox_calls(int flags, struct err *e)
{
	struct prog		p;
	struct sock_fprog	f;

	if (!sandbox_calls_probe())
		return 0;
	memset(&p, 0, sizeof(p));
	make(&p, flags);
	f.len = p.n;
	f.filter = p.v;
	if (prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, &f, 0L, 0L) ==
	    -1)
		return err_sys(e, errno, "sandbox: seccomp");
	return 1;
}

#else /* no Linux, or a machine that is not known */

int
sandbox_calls_probe(void)
{
	return 0;
}

int
sandbox_calls(int flags, struct err *e)
{
	(void)flags;
	(void)e;
	return 0;
}

#endif
