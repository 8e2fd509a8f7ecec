/*
 * dckpt, counts: stats, and alert, which holds them against limits.  It
 * looks at the database and at nothing it speaks of.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mem.h"
#include "banned.h"

static int
by_name(const void *a, const void *b)
{
	const struct dckpt_tally	*x = a, *y = b;
	int				 c = strcmp(x->pipeline, y->pipeline);

	return c != 0 ? c : (int)x->scope - (int)y->scope;
}

static struct dckpt_tally *
find(struct dckpt_tallies *t, const char *pipeline, enum ckpt_scope scope)
{
	struct dckpt_tally	*v;
	size_t			 i;

	for (i = 0; i < t->n; i++)
		if (t->v[i].scope == scope &&
		    strcmp(t->v[i].pipeline, pipeline) == 0)
			return &t->v[i];
	t->v = mem_grow(t->v, &t->cap, t->n + 1, sizeof(*t->v));
	v = &t->v[t->n++];
	memset(v, 0, sizeof(*v));
	v->pipeline = mem_dup(pipeline);
	v->scope = scope;
	return v;
}

static int
on_unit(const struct ckpt_unit *u, void *arg)
{
	struct dckpt_tally	*t = find(arg, u->pipeline, u->scope);

	t->n[u->state]++;
	t->aside += u->aside != 0;
	t->attempts += u->attempts;
	if (t->first == 0 || u->created < t->first)
		t->first = u->created;
	if (u->updated > t->last)
		t->last = u->updated;
	if (u->stale) {
		t->stale++;
		if (t->stale_since == 0 || u->updated < t->stale_since)
			t->stale_since = u->updated;
	}
	if (u->state == CKPT_COMPLETED) {
		t->records += u->records;
		t->bytes += u->size;
		if (u->updated > t->done)
			t->done = u->updated;
	}
	return 0;
}

int
dckpt_count(struct dckpt *o, const struct ckpt_sel *s,
    struct dckpt_tallies *t)
{
	if (ckpt_each(o->c, s, on_unit, t, o->e) == -1)
		return -1;
	if (t->n > 1)
		qsort(t->v, t->n, sizeof(*t->v), by_name);
	return 0;
}

void
dckpt_tallies_clear(struct dckpt_tallies *t)
{
	size_t	i;

	for (i = 0; i < t->n; i++)
		free(t->v[i].pipeline);
	free(t->v);
	memset(t, 0, sizeof(*t));
}

double
dckpt_rate(const struct dckpt_tally *t)
{
	uint64_t	failed = t->n[CKPT_FAILED] - t->aside;
	uint64_t	ended = failed + t->n[CKPT_COMPLETED];

	return ended == 0 ? 0.0 : (double)failed / (double)ended;
}

static void
stats_text(struct dckpt *o, const struct dckpt_tally *t)
{
	char	t1[DCKPT_STAMP], t2[DCKPT_STAMP];

	buf_printf(&o->b, "%-12s %-9s %9" PRIu64 " %11" PRIu64 " %9" PRIu64
	    " %7" PRIu64 " %7" PRIu64 " %8" PRIu64 " %6.1f%% %7" PRIu64
	    "  %-24s %s\n",
	    t->pipeline, ckpt_scope_name(t->scope), t->n[CKPT_PENDING],
	    t->n[CKPT_IN_PROGRESS], t->n[CKPT_COMPLETED],
	    t->n[CKPT_FAILED], t->stale, t->attempts,
	    100.0 * dckpt_rate(t), t->aside, dckpt_iso(t->first, t1),
	    dckpt_iso(t->last, t2));
}

static void
put_time(struct buf *b, const char *key, int64_t ms)
{
	char	t[DCKPT_STAMP];

	if (ms != 0)
		json_put_kstr(b, key, dckpt_iso(ms, t));
}

static void
stats_json(struct dckpt *o, const struct dckpt_tally *t)
{
	struct buf	*b = &o->b;
	int		 k;

	buf_addc(b, '{');
	json_put_kstr(b, "pipeline", t->pipeline);
	json_put_kstr(b, "scope", ckpt_scope_name(t->scope));
	for (k = 0; k < CKPT_STATE_N; k++)
		json_put_kint(b, ckpt_state_name((enum ckpt_state)k),
		    (int64_t)t->n[k]);
	json_put_kint(b, "stale", (int64_t)t->stale);
	json_put_kint(b, "aside", (int64_t)t->aside);
	json_put_kint(b, "attempts", (int64_t)t->attempts);
	json_put_key(b, "failed_ratio");
	json_put_float(b, dckpt_rate(t));
	json_put_kint(b, "records", (int64_t)t->records);
	json_put_kint(b, "bytes", (int64_t)t->bytes);
	put_time(b, "first", t->first);
	put_time(b, "last", t->last);
	put_time(b, "last_completed", t->done);
	buf_str(b, "}\n");
}

int
dckpt_stats(struct dckpt *o, int *status)
{
	struct dckpt_tallies	t;
	size_t			i;
	int			rv;

	(void)status;
	memset(&t, 0, sizeof(t));
	rv = dckpt_count(o, &o->o->sel, &t);
	if (rv == 0 && !o->o->json)
		buf_printf(&o->b, "%-12s %-9s %9s %11s %9s %7s %7s %8s %7s"
		    " %7s  %-24s %s\n", "PIPELINE", "SCOPE", "PENDING",
		    "IN_PROGRESS", "COMPLETED", "FAILED", "STALE",
		    "ATTEMPTS", "FAILED%", "ASIDE", "FIRST", "LAST");
	for (i = 0; rv == 0 && i < t.n; i++) {
		(o->o->json ? stats_json : stats_text)(o, &t.v[i]);
		dckpt_put(o);
	}
	dckpt_put(o);
	dckpt_tallies_clear(&t);
	return rv;
}

/*
 * alert: one line for each limit that is passed.
 */

struct alert {
	struct dckpt	*o;
	uint64_t	 firing;
	uint64_t	 open;		/* breakers */
	char		 hosts[256];	/* of them */
};

/* what: "failure rate"; got and want in words; v against limit. */
static void
fire(struct alert *a, const struct dckpt_tally *t, const char *what,
    const char *got, const char *want)
{
	struct buf	*b = &a->o->b;

	a->firing++;
	if (a->o->o->json) {
		buf_addc(b, '{');
		json_put_kstr(b, "alert", what);
		if (t != NULL) {
			json_put_kstr(b, "pipeline", t->pipeline);
			json_put_kstr(b, "scope", ckpt_scope_name(t->scope));
		}
		json_put_kstr(b, "got", got);
		json_put_kstr(b, "want", want);
		buf_str(b, "}\n");
	} else if (t != NULL)
		buf_printf(b, "%s %s: %s: want %s, got %s\n", t->pipeline,
		    ckpt_scope_name(t->scope), what, want, got);
	else
		buf_printf(b, "%s: want %s, got %s\n", what, want, got);
	dckpt_put(a->o);
}

static void
check_tally(struct alert *a, const struct dckpt_tally *t)
{
	const struct dckpt_opts	*p = a->o->o;
	char			 got[DCKPT_STAMP], want[DCKPT_STAMP];
	char			 age[DCKPT_STAMP];

	if (p->max_rate >= 0 && dckpt_rate(t) > p->max_rate) {
		(void)snprintf(got, sizeof(got), "%.1f%% (%" PRIu64 " of %"
		    PRIu64 ")", 100.0 * dckpt_rate(t),
		    t->n[CKPT_FAILED] - t->aside, t->n[CKPT_FAILED] -
		    t->aside + t->n[CKPT_COMPLETED]);
		(void)snprintf(want, sizeof(want), "at most %g%%",
		    100.0 * p->max_rate);
		fire(a, t, "failure rate", got, want);
	}
	if (p->max_stale >= 0 && t->stale > 0 &&
	    a->o->now - t->stale_since > p->max_stale * 1000) {
		(void)snprintf(got, sizeof(got), "%" PRIu64 ", the oldest "
		    "for %s", t->stale,
		    dckpt_age(a->o->now - t->stale_since, age));
		(void)snprintf(want, sizeof(want), "none for longer than %s",
		    dckpt_age(p->max_stale * 1000, age));
		fire(a, t, "stale", got, want);
	}
	if (p->max_age >= 0 &&
	    (t->done == 0 || a->o->now - t->done > p->max_age * 1000)) {
		if (t->done == 0)
			(void)snprintf(got, sizeof(got), "none");
		else
			(void)snprintf(got, sizeof(got), "%s ago",
			    dckpt_age(a->o->now - t->done, age));
		(void)snprintf(want, sizeof(want), "one within %s",
		    dckpt_age(p->max_age * 1000, age));
		fire(a, t, "last success", got, want);
	}
}

static int
on_breaker(const char *host, const struct breaker *b, int64_t updated,
    void *arg)
{
	struct alert	*a = arg;
	size_t		 n = strlen(a->hosts);

	(void)updated;
	if (b->state == BREAKER_CLOSED)
		return 0;
	a->open++;
	(void)snprintf(a->hosts + n, sizeof(a->hosts) - n, "%s%s",
	    n > 0 ? ", " : "", host);
	return 0;
}

static int
check_breakers(struct alert *a)
{
	char	got[sizeof(a->hosts) + 64], want[64];

	if (a->o->o->max_breakers < 0)
		return 0;
	if (ckpt_breaker_each(a->o->c, on_breaker, a, a->o->e) == -1)
		return -1;
	if (a->open <= (uint64_t)a->o->o->max_breakers)
		return 0;
	(void)snprintf(got, sizeof(got), "%" PRIu64 " (%s)", a->open,
	    a->hosts);
	(void)snprintf(want, sizeof(want), "at most %" PRId64,
	    a->o->o->max_breakers);
	fire(a, NULL, "open breakers", got, want);
	return 0;
}

int
dckpt_alert(struct dckpt *o, int *status)
{
	const struct dckpt_opts	*p = o->o;
	struct dckpt_tallies	 t;
	struct alert		 a;
	size_t			 i;
	int			 rv;

	if (p->max_rate < 0 && p->max_stale < 0 && p->max_age < 0 &&
	    p->max_breakers < 0)
		return err_set(o->e, MSG_USAGE, "alert: want a limit, such "
		    "as --max-failure-rate 10%%");
	memset(&t, 0, sizeof(t));
	memset(&a, 0, sizeof(a));
	a.o = o;
	rv = dckpt_count(o, &p->sel, &t);
	if (rv == 0 && t.n == 0 && p->max_age >= 0)
		fire(&a, NULL, "last success", "none",
		    "something in this selection");
	for (i = 0; rv == 0 && i < t.n; i++)
		check_tally(&a, &t.v[i]);
	if (rv == 0)
		rv = check_breakers(&a);
	if (rv == 0 && a.firing > 0)
		*status = MSG_DATAERR;
	dckpt_tallies_clear(&t);
	return rv;
}
