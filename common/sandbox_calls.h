/*
 * sandbox_calls: the system calls that a confined process has no use for,
 * refused by seccomp where the kernel has it: sockets of every kind, other
 * programs, other processes, name spaces, mounts, owners and modes of files.
 *
 * It names what is refused and not what is allowed: what a libc calls
 * instead of something else is never missing, so it is the same for all.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SANDBOX_CALLS_H
#define D_SANDBOX_CALLS_H

#include "msg.h"

#define SANDBOX_CALLS_ALONE 1	/* no child, thread, or signal but to itself */
#define SANDBOX_CALLS_TRACE 2	/* ptrace stays, which a leak checker needs */

/* 1 the kernel can, 0 it cannot, or this machine is none that we know. */
int	sandbox_calls_probe(void);
/*
 * For this thread and what it makes, for good: they fail with EPERM (clone3
 * with ENOSYS, so that libc takes clone).  The caller has set no_new_privs.
 * 1 in force, 0 the kernel has no such thing, -1 it has and refused.
 */
int	sandbox_calls(int flags, struct err *e);

#endif
