/*
 * without WHAT[,WHAT] COMMAND...: runs COMMAND as a kernel would that has no
 * WHAT: landlock or seccomp.  Their system calls answer as they do there, to
 * all that COMMAND starts.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* SYS_* */
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "msg.h"
#include "banned.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define AT(m)	((uint32_t)offsetof(struct seccomp_data, m))
#define NR(n, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (n), 0, (skip))
#define NO(e)	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))
#define YES	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(m)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (m))
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW 4U
#else
#define LOW 0U
#endif

static void
install(struct sock_filter *v, size_t n)
{
	struct sock_fprog	f;

	f.len = (unsigned short)n;
	f.filter = v;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == -1 ||
	    prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, &f, 0L, 0L) ==
	    -1)
		msg_die(MSG_NOINPUT, "seccomp: %s", strerror(errno));
}

int
main(int argc, char *argv[])
{
	struct sock_filter	landlock[] = {
		LOAD(AT(nr)),
		NR(SYS_landlock_create_ruleset, 1), NO(ENOSYS),
		NR(SYS_landlock_add_rule, 1), NO(ENOSYS),
		NR(SYS_landlock_restrict_self, 1), NO(ENOSYS),
		YES
	};
	struct sock_filter	seccomp[] = {
		LOAD(AT(nr)),
		NR(SYS_seccomp, 1), NO(ENOSYS),
		NR(SYS_prctl, 3), LOAD(AT(args) + LOW),
		NR(PR_SET_SECCOMP, 1), NO(EINVAL),
		YES
	};

	msg_init("without");
	if (argc < 3)
		msg_die(MSG_USAGE, "usage: without WHAT[,WHAT] COMMAND...");
	/* the second takes the door away behind it */
	if (strstr(argv[1], "landlock") != NULL)
		install(landlock, sizeof(landlock) / sizeof(landlock[0]));
	if (strstr(argv[1], "seccomp") != NULL)
		install(seccomp, sizeof(seccomp) / sizeof(seccomp[0]));
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)execvp(argv[2], argv + 2);
	msg_die(MSG_NOINPUT, "%s: %s", argv[2], strerror(errno));
}
