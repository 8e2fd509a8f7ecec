/*
 * dfetch_progress: one line on a terminal that says how far a run is.  On
 * anything else it says nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "banned.h"

#define PROGRESS_EVERY	1.0	/* seconds */
#define PROGRESS_CLEAR	"\r\033[K"

void
fetch_progress_init(struct progress *p)
{
	const char	*term = getenv("TERM");

	p->on = isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO) &&
	    (term == NULL || strcmp(term, "dumb") != 0);
	p->last = p->first = io_now();
}

void
fetch_progress_news(struct progress *p, const struct fetch_answer *a)
{
	size_t	i = (size_t)(a->n % FETCH_MOVERS);

	p->bytes += a->bytes - p->each_bytes[i];
	p->running += a->running - p->each_running[i];
	p->each_bytes[i] = a->bytes;
	p->each_running[i] = a->running;
}

void
fetch_bytes_text(char out[32], double bytes)
{
	static const char *const	units[] = { "B", "KiB", "MiB", "GiB",
		"TiB" };
	size_t				i = 0;

	while (bytes >= 1024 && i < sizeof(units) / sizeof(units[0]) - 1) {
		bytes /= 1024;
		i++;
	}
	(void)snprintf(out, 32, i == 0 ? "%.0f %s" : "%.1f %s", bytes,
	    units[i]);
}

void
fetch_progress_show(struct progress *p, uint64_t told, uint64_t all)
{
	double	now = io_now();
	char	line[160], bytes[32], rate[32];
	int	n;

	if (!p->on || now - p->last < PROGRESS_EVERY)
		return;
	p->last = now;
	n = snprintf(line, sizeof(line), PROGRESS_CLEAR "%llu of %llu inputs",
	    (unsigned long long)told, (unsigned long long)all);
	if (p->bytes != 0) {
		fetch_bytes_text(bytes, (double)p->bytes);
		fetch_bytes_text(rate, (double)p->bytes / (now - p->first));
		n += snprintf(line + n, sizeof(line) - (size_t)n,
		    ", %s, %s/s, %llu at once", bytes, rate,
		    (unsigned long long)p->running);
	}
	(void)io_write(STDERR_FILENO, line, (size_t)n);
	p->shown = 1;
}

void
fetch_progress_hide(struct progress *p)
{
	if (p->shown)
		(void)io_write(STDERR_FILENO, PROGRESS_CLEAR,
		    sizeof(PROGRESS_CLEAR) - 1);
	p->shown = 0;
}
