/*
 * sandbox: what this process may still touch.  On Linux Landlock (files,
 * and TCP where the kernel knows it) and seccomp (sockets, programs, other
 * processes), rlimits everywhere, nothing else pretended.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_SANDBOX_H
#define D_SANDBOX_H

#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

struct sandbox_path {
	const char	*path;
	int		 write;	/* 0 read; 1 read, create, write, remove;
				   2 remove empty directories, no more */
};

enum sandbox_kind {
	SANDBOX_STAGE,	/* a stage of the pipeline: has workers of its own */
	SANDBOX_WORKER	/* makes no process or thread, signals none */
};

/* What holds, or'ed. */
#define SANDBOX_FILES	1	/* nothing outside of the paths */
#define SANDBOX_TCP	2	/* no TCP connection */
#define SANDBOX_CALLS	4	/* no socket at all, no other program, no
				   other process; sandbox_calls.h has it all */

/*
 * Confine this process and its children for good to the n paths.  Returns
 * what holds from now on, which may be nothing, or -1 with *e when the
 * kernel has it and refused.
 */
int	sandbox_start(enum sandbox_kind kind, const struct sandbox_path *v,
	    size_t n, struct err *e);
/* What sandbox_start would answer here. */
int	sandbox_probe(void);
/* "files and sockets", "files and tcp", ... "none": for -v. */
const char *sandbox_name(int holds);
/* What a worker that was taken over could do, as a sentence; NULL: no harm. */
const char *sandbox_lacks(int holds);
/*
 * Call first in a forked child: it dies when the process parent does
 * (Linux), leads a process group of its own, has the default signal
 * actions, and no descriptors but 0, 1, 2 and the n in keep.
 */
int	sandbox_child(pid_t parent, const int *keep, size_t n,
	    struct err *e);
/*
 * rlimits for a worker: CPU seconds, bytes of one file, descriptors; no
 * core, no new process (of an ordinary user).  0 leaves that one alone.
 * mem_bytes limits the address space (not under a sanitizer, which needs
 * terabytes of it).  Limits are lowered, never raised.
 */
int	sandbox_limits(uint64_t cpu_s, uint64_t file_bytes, uint64_t fds,
	    uint64_t mem_bytes, struct err *e);

#endif
