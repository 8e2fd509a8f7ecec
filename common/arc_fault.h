/*
 * arc_fault: what is wrong with an archive, or with the machine that reads
 * it, told once and in words that are safe to show.
 *
 * Whatever fails first is kept as failed; the calls below say it in the one
 * place that is meant for it, the verdict or the error, and return it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_ARC_FAULT_H
#define D_ARC_FAULT_H

#include <stdint.h>

#include "check.h"
#include "msg.h"

struct archive;

/* All borrowed, and set by the owner before the first call. */
struct arc_fault {
	const char		*path;	/* the archive, for the error */
	struct check_verdict	*v;
	struct err		*e;
	int			 failed; /* 0; 1 the verdict, -1 the error */
};

/*
 * The archive is bad.  name, of an entry, may be NULL; it and why may hold
 * any bytes.  Returns 1.
 */
int	arc_bad(struct arc_fault *f, enum check_code code, const char *name,
	    const char *why);
/* The same with CHECK_LIMIT: there is more of what than most. */
int	arc_too_much(struct arc_fault *f, const char *name, uint64_t most,
	    const char *what);
/* The machine failed at what, with this errno.  Returns -1. */
int	arc_machine(struct arc_fault *f, int errnum, const char *what);
/*
 * A call of libarchive on ar returned r, which is not ARCHIVE_OK.  Where a
 * callback of ours failed below it, that has been told, and is returned;
 * else 1 or -1, told here.
 */
int	arc_judge(struct arc_fault *f, struct archive *ar, int r,
	    const char *name);

#endif
