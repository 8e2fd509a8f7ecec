/*
 * ends: what the programs of `make coverage` are linked with, so that lines
 * count that ran in a process which does not end by exit: in children that
 * leave by _exit, in programs that die of their own signal, and behind the
 * sandbox, which is handed one more directory, that of the counters.  The
 * linker puts these functions before the real ones (--wrap), so not a line
 * of what is measured differs.  It cannot help what SIGKILL ends.
 * SPDX-License-Identifier: ISC
 */
#include <sys/types.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "sandbox.h"
#include "banned.h"

void	__gcov_dump(void);
_Noreturn void	__real__exit(int status);
_Noreturn void	__wrap__exit(int status);
int	__real_raise(int sig);
int	__wrap_raise(int sig);
/* of its type, so that a change of it is not missed */
__typeof__(sandbox_start) __real_sandbox_start, __wrap_sandbox_start;

_Noreturn void
__wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}

/* By the time that a program raises a signal, nothing is left to be done. */
int
__wrap_raise(int sig)
{
	__gcov_dump();
	return __real_raise(sig);
}

int
__wrap_sandbox_start(enum sandbox_kind kind, const struct sandbox_path *v,
    size_t n, struct err *e)
{
	struct sandbox_path	*w = mem_zero(n + 1, sizeof(*w));
	int			 rv;

	if (n > 0)
		memcpy(w, v, n * sizeof(*w));
	w[n].path = COVERAGE_DIR;
	w[n].write = 1;
	rv = __real_sandbox_start(kind, w, n + 1, e);
	free(w);
	return rv;
}
