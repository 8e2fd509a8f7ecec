/*
 * breaker: the states behind breaker.h.  It knows no clock, no process and
 * no database.
 * SPDX-License-Identifier: ISC
 */
#include "breaker.h"

#include <stdio.h>
#include <string.h>

#include "banned.h"

enum breaker_say
breaker_ask(struct breaker *b, int64_t now, const char *host, int64_t pid,
    int gone)
{
	if (b->state == BREAKER_CLOSED)
		return BREAKER_GO;
	/* a clock that was set back keeps nobody out for longer */
	if (b->until > now + b->wait)
		b->until = now + b->wait;
	if (b->probe_until > now + BREAKER_PROBE_MS)
		b->probe_until = now + BREAKER_PROBE_MS;
	if (b->state == BREAKER_OPEN && now < b->until)
		return BREAKER_NO;
	if (b->state == BREAKER_HALF_OPEN && !gone && now < b->probe_until)
		return BREAKER_NO;
	b->state = BREAKER_HALF_OPEN;
	(void)snprintf(b->probe_host, sizeof(b->probe_host), "%s", host);
	b->probe_pid = pid;
	b->probe_until = now + BREAKER_PROBE_MS;
	return BREAKER_PROBE;
}

static void
open_it(struct breaker *b, int64_t now)
{
	if (b->state == BREAKER_HALF_OPEN)
		b->wait = b->wait * 2 > BREAKER_MAX_MS ? BREAKER_MAX_MS :
		    b->wait * 2;
	else {
		b->wait = BREAKER_WAIT_MS;
		b->opened = now;
	}
	b->state = BREAKER_OPEN;
	b->until = now + b->wait;
	b->probe_host[0] = '\0';
	b->probe_pid = b->probe_until = 0;
}

static void
close_it(struct breaker *b)
{
	memset(b, 0, sizeof(*b));
	b->recent[0] = '+';
}

/* One outcome of a breaker that is closed. */
static void
count(struct breaker *b, int64_t now, char c)
{
	size_t	n = strlen(b->recent), i, bad = 0;

	if (n == BREAKER_LAST)
		memmove(b->recent, b->recent + 1, n--);
	b->recent[n++] = c;
	b->recent[n] = '\0';
	b->failures = c == '-' ? b->failures + 1 : 0;
	for (i = 0; i < n; i++)
		bad += b->recent[i] == '-';
	if (c == '-' && (b->failures >= BREAKER_ROW || bad >= BREAKER_HALF))
		open_it(b, now);
}

void
breaker_tell(struct breaker *b, int64_t now, const char *outcomes,
    unsigned int n, int probe, const char *why)
{
	unsigned int	i;
	char		c;

	for (i = 0; i < n; i++) {
		c = outcomes[i];
		if (c == '-' && why != NULL)
			(void)snprintf(b->why, sizeof(b->why), "%s", why);
		if (b->state == BREAKER_CLOSED)
			count(b, now, c);
		/*
		 * Requests that were under way when it opened say nothing
		 * new: only the probe's counts, whoever holds it by now.
		 */
		else if (probe && i == n - 1) {
			if (c == '+')
				close_it(b);
			else if (b->state == BREAKER_HALF_OPEN)
				open_it(b, now);
		}
	}
}

void
breaker_release(struct breaker *b, int64_t now)
{
	if (b->state != BREAKER_HALF_OPEN)
		return;
	b->state = BREAKER_OPEN;
	b->until = now;
	b->probe_host[0] = '\0';
	b->probe_pid = b->probe_until = 0;
}

int
breaker_is_clean(const struct breaker *b)
{
	return b->state == BREAKER_CLOSED && b->failures == 0 &&
	    strchr(b->recent, '-') == NULL;
}

int
breaker_is_same(const struct breaker *a, const struct breaker *b)
{
	return a->state == b->state && a->failures == b->failures &&
	    strcmp(a->recent, b->recent) == 0 && a->opened == b->opened &&
	    a->until == b->until && a->wait == b->wait &&
	    strcmp(a->probe_host, b->probe_host) == 0 &&
	    a->probe_pid == b->probe_pid &&
	    a->probe_until == b->probe_until && strcmp(a->why, b->why) == 0;
}
