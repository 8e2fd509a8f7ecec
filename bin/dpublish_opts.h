/*
 * dpublish_opts: argv as what is to be done, and with which options (struct
 * dpub_opts of dpublish.h).  The one place that knows how an option is
 * spelled, and which go together.
 *
 * Strings of the options are argv's own.  Mistakes are told on stderr, with
 * the usage; nothing is kept.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_OPTS_H
#define D_DPUBLISH_OPTS_H

#include "dpublish.h"

/* What is done. */
enum dpub_what {
	DO_PUBLISH,
	DO_ARTIFACT,
	DO_LOG,
	DO_ROLLBACK,
	DO_PRUNE,
	DO_PROBE,
	DO_GC,
	DO_PIN,
	DO_LEASE,
	DO_UNPIN,
	DO_SOURCES,
	DO_REBUILD,
	DO_QUARANTINE,
	DO_UNQUARANTINE,
	DO_HOLDS,
	DO_COMMIT,
	DO_DISCARD,
	DO_IN_PLACE
};

/*
 * *argc and *argv become the operands.  -1: *o is to be done; else all is
 * done already (--help), or was asked wrongly: the exit status.
 */
int	dpub_options(int *argc, char ***argv, struct dpub_opts *o,
	    enum dpub_what *w);
/* The usage, on stderr; returns 64. */
int	dpub_usage(void);

#endif
