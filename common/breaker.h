/*
 * breaker: is a host worth asking?  It opens on BREAKER_ROW failures in a
 * row or BREAKER_HALF of the last BREAKER_LAST, lets one probe through
 * after BREAKER_WAIT_MS, twice as long after each probe that failed, and
 * closes on one that did not.  Arithmetic on a struct: ckpt keeps it for
 * all processes, retry asks and tells.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BREAKER_H
#define D_BREAKER_H

#include <stdint.h>

#define BREAKER_ROW	5	/* failures in a row that open it */
#define BREAKER_LAST	20	/* outcomes that are remembered */
#define BREAKER_HALF	10	/* failures among those that open it */
#define BREAKER_WAIT_MS	((int64_t)30 * 1000)
#define BREAKER_MAX_MS	((int64_t)15 * 60 * 1000)
#define BREAKER_PROBE_MS ((int64_t)60 * 1000) /* then another may probe */
#define BREAKER_HOST_MAX 256
#define BREAKER_WHY_MAX	256

enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN	/* a probe is under way */
};
#define BREAKER_STATE_N (BREAKER_HALF_OPEN + 1)

/* Times: ms since 1970. Zeroed: closed, nothing known. */
struct breaker {
	enum breaker_state state;
	unsigned int	 failures;		/* in a row */
	char		 recent[BREAKER_LAST + 1]; /* '+' '-', newest last */
	int64_t		 opened, until, wait;
	char		 probe_host[BREAKER_HOST_MAX];
	int64_t		 probe_pid, probe_until;
	char		 why[BREAKER_WHY_MAX];	/* the last failure */
};

enum breaker_say {
	BREAKER_GO,
	BREAKER_PROBE,	/* go, and tell what became of it, or release */
	BREAKER_NO	/* until b->until, or somebody probes */
};

/*
 * May a request be made by process pid of host?  gone: the process that
 * probes is known to be dead.
 */
enum breaker_say breaker_ask(struct breaker *b, int64_t now,
	    const char *host, int64_t pid, int gone);
/*
 * What became of requests: n outcomes, '+' and '-', oldest first, the last
 * one that of the probe where probe is set.  why (or NULL): of the failure.
 */
void	breaker_tell(struct breaker *b, int64_t now, const char *outcomes,
	    unsigned int n, int probe, const char *why);
/* The probe came to nothing that speaks of the host: another may. */
void	breaker_release(struct breaker *b, int64_t now);
/* Would a success change anything? */
int	breaker_is_clean(const struct breaker *b);
/* The same in every field?  Not in bytes: some lie between and behind them. */
int	breaker_is_same(const struct breaker *a, const struct breaker *b);

#endif
