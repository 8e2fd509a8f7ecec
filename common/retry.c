/*
 * retry: tries, waits, the budget and the hosts' breakers.  It never
 * decides what may be repeated.
 *
 * While a host does well, nothing is written for it: successes are kept
 * here and told to the others together with the first failure.
 * SPDX-License-Identifier: ISC
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "retry.h"

#include <sys/mman.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "breaker.h"
#include "ckpt.h"
#include "io.h"
#include "mem.h"
#include "net.h"
#include "banned.h"

/* Counts that processes share; of this one until there is a page. */
struct counts {
	_Atomic uint64_t	requests, retries, openings;
};

struct host {
	char		*name;
	struct breaker	 b;		/* ours, or as last seen */
	char		 pending[BREAKER_LAST];	/* not told yet */
	unsigned int	 n_pending;
};

struct retry {
	struct ckpt	*c;
	struct host	*v;
	size_t		 n, cap;
	unsigned int	 budget;
	double		 left;
	uint64_t	 rng;
	char		 self[BREAKER_HOST_MAX];
};

/* A change of a breaker, wherever it lies. */
struct step {
	const struct retry *r;
	struct host	*h;
	enum { STEP_ASK, STEP_TELL, STEP_RELEASE } kind;
	int		 probe;
	const char	*why;
	enum breaker_say say;
	int		 opened;	/* it was not open before */
};

static struct counts	 own;
static struct counts	*counts = &own;

int
retry_share(struct err *e)
{
	void	*p;

	p = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_set(e, MSG_TEMPFAIL, "shared memory: %s",
		    strerror(errno));
	counts = p;
	return 0;
}

void
retry_count(void (*f)(const char *key, uint64_t n, void *arg), void *arg)
{
	if (counts->requests == 0)
		return;
	f("requests", counts->requests, arg);
	f("retries", counts->retries, arg);
	f("breaker_openings", counts->openings, arg);
}

struct retry *
retry_new(struct ckpt *c, unsigned int budget)
{
	struct retry	*r = mem_zero(1, sizeof(*r));
	struct err	 e = { 0, "" };
	char		 hex[17];

	r->c = c;
	r->budget = budget > 0 ? budget : RETRY_BUDGET;
	r->left = r->budget;
	r->rng = (uint64_t)io_wall_ns() ^ (uint64_t)getpid() << 32;
	if (io_random_hex(hex, 8, &e) == 0)
		r->rng ^= strtoull(hex, NULL, 16);
	r->rng |= 1;
	if (gethostname(r->self, sizeof(r->self)) == -1)
		(void)snprintf(r->self, sizeof(r->self), "localhost");
	r->self[sizeof(r->self) - 1] = '\0';
	return r;
}

unsigned int
retry_left(const struct retry *r)
{
	return (unsigned int)r->left;
}

static struct host *
host_of(struct retry *r, const char *name)
{
	size_t	i;

	for (i = 0; i < r->n; i++)
		if (strcmp(r->v[i].name, name) == 0)
			return &r->v[i];
	r->v = mem_grow(r->v, &r->cap, r->n + 1, sizeof(*r->v));
	memset(&r->v[r->n], 0, sizeof(*r->v));
	r->v[r->n].name = mem_dup(name);
	return &r->v[r->n++];
}

/* The prober was of this machine, and is no more. */
static int
is_gone(const struct retry *r, const struct breaker *b)
{
	return b->probe_pid > 1 && strcmp(b->probe_host, r->self) == 0 &&
	    kill((pid_t)b->probe_pid, 0) == -1 && errno == ESRCH;
}

static int
do_step(struct breaker *b, int64_t now, void *arg)
{
	struct step	*s = arg;
	struct breaker	 old = *b;

	switch (s->kind) {
	case STEP_ASK:
		s->say = breaker_ask(b, now, s->r->self, getpid(),
		    is_gone(s->r, b));
		break;
	case STEP_TELL:
		breaker_tell(b, now, s->h->pending, s->h->n_pending,
		    s->probe, s->why);
		s->opened = old.state != BREAKER_OPEN &&
		    b->state == BREAKER_OPEN;
		break;
	case STEP_RELEASE:
		/* if nobody has taken it over */
		if (b->probe_pid == getpid() &&
		    strcmp(b->probe_host, s->r->self) == 0)
			breaker_release(b, now);
		break;
	}
	s->h->b = *b;
	return !breaker_is_same(&old, b);
}

/* In the database, or here when there is none or it fails. */
static void
step(struct retry *r, struct step *s)
{
	struct err	e = { 0, "" };

	if (r->c == NULL || ckpt_breaker_change(r->c, s->h->name, do_step, s,
	    &e) == -1) {
		r->c = NULL;
		(void)do_step(&s->h->b, io_wall_ns() / 1000000, s);
	}
	if (s->opened)
		counts->openings++;
}

int
retry_ask(struct retry *r, const char *host, struct retry_op *op,
    struct err *e)
{
	struct host	*h = host_of(r, host);
	struct step	 s = { r, h, STEP_ASK, 0, NULL, BREAKER_GO, 0 };
	struct err	 ignored = { 0, "" };
	int64_t		 left;

	op->probe = 0;
	/* a closed one is only read: that holds up nobody */
	if (r->c != NULL && ckpt_breaker_get(r->c, host, &h->b,
	    &ignored) == -1)
		r->c = NULL;
	if (h->b.state != BREAKER_CLOSED)
		step(r, &s);
	if (s.say == BREAKER_NO) {
		left = h->b.until - io_wall_ns() / 1000000;
		if (h->b.state == BREAKER_HALF_OPEN || left < 0)
			return err_set(e, MSG_TEMPFAIL, "%s: not asked: it "
			    "failed too often (%s), and is being probed",
			    host, h->b.why);
		return err_set(e, MSG_TEMPFAIL, "%s: not asked: it failed "
		    "too often (%s); again in %lld s", host, h->b.why,
		    (long long)(left + 999) / 1000);
	}
	op->probe = s.say == BREAKER_PROBE;
	op->tries++;
	counts->requests++;
	return 0;
}

static void
tell_breaker(struct retry *r, struct host *h, struct retry_op *op, char c,
    const char *why)
{
	struct step	s = { r, h, STEP_TELL, op->probe, why, BREAKER_GO,
		    0 };

	if (h->n_pending == BREAKER_LAST)
		memmove(h->pending, h->pending + 1, --h->n_pending);
	h->pending[h->n_pending++] = c;
	if (c == '+' && !op->probe && r->c != NULL &&
	    breaker_is_clean(&h->b))
		return; /* nothing that the others must know now */
	step(r, &s);
	h->n_pending = 0;
	op->probe = 0;
}

static double
next_random(struct retry *r)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return (double)(r->rng >> 11) / 9007199254740992.0;
}

double
retry_tell(struct retry *r, const char *host, struct retry_op *op,
    enum retry_what what, int64_t retry_after, const char *why)
{
	struct host	*h = host_of(r, host);
	struct step	 s = { r, h, STEP_RELEASE, 0, NULL, BREAKER_GO, 0 };
	double		 wait;

	if (what == RETRY_STALE && op->stale)
		what = RETRY_FAILED; /* that was no accident */
	switch (what) {
	case RETRY_GOOD:
		r->left += RETRY_EARN;
		if (r->left > r->budget)
			r->left = r->budget;
		tell_breaker(r, h, op, '+', NULL);
		return -1;
	case RETRY_FINAL:
		tell_breaker(r, h, op, '+', NULL);
		return -1;
	case RETRY_FAILED:
		tell_breaker(r, h, op, '-', why);
		break;
	case RETRY_LOST:
		tell_breaker(r, h, op, '-', why);
		return -1;
	case RETRY_BUSY:
		/* it lives, and says what it wants */
		if (op->probe)
			tell_breaker(r, h, op, '+', NULL);
		break;
	case RETRY_STALE:
	case RETRY_NONE:
		if (op->probe)
			step(r, &s);
		op->probe = 0;
		if (what == RETRY_NONE)
			return -1;
		op->stale = 1;
		op->tries--;
		counts->retries++;
		return 0;
	}
	wait = retry_delay(op->tries, retry_after, next_random(r));
	if (wait < 0 || r->left < 1)
		return -1;
	r->left -= 1;
	counts->retries++;
	return wait;
}

double
retry_delay(unsigned int tries, int64_t retry_after, double u)
{
	double	most = RETRY_BASE;

	if (tries >= RETRY_TRIES || retry_after > RETRY_AFTER_MAX)
		return -1;
	for (; tries > 1 && most < RETRY_CAP; tries--)
		most *= 2;
	if (most > RETRY_CAP)
		most = RETRY_CAP;
	if (retry_after > 0)
		return (double)retry_after + u * RETRY_BASE;
	return u * most;
}

enum retry_what
retry_judge(const struct net_res *r, const struct err *e)
{
	if (e != NULL) {
		if (e->code != MSG_TEMPFAIL || io_signal() != 0 || r->local)
			return RETRY_NONE;
		return r->stale ? RETRY_STALE : RETRY_FAILED;
	}
	switch (net_class(r)) {
	case NET_FINE:
		return RETRY_GOOD;
	case NET_PERMANENT:
		return RETRY_FINAL;
	case NET_TRANSIENT:
		break;
	}
	return r->status == 429 || (r->status == 503 &&
	    r->retry_after >= 0) ? RETRY_BUSY : RETRY_FAILED;
}

enum retry_what
retry_judge_once(enum retry_what what, int refused)
{
	if (refused)
		return what;
	switch (what) {
	case RETRY_FAILED:
		return RETRY_LOST;
	case RETRY_BUSY:
	case RETRY_STALE:
		return RETRY_NONE;
	case RETRY_GOOD:
	case RETRY_FINAL:
	case RETRY_LOST:
	case RETRY_NONE:
		break;
	}
	return what;
}

int
retry_sleep(double s, struct err *e)
{
	struct timespec	ts;
	double		end = io_now() + s, left;

	while ((left = end - io_now()) > 0) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "interrupted");
		if (left > 0.5)
			left = 0.5; /* a signal may come just before */
		ts.tv_sec = 0;
		ts.tv_nsec = (long)(left * 1e9);
		(void)nanosleep(&ts, NULL);
	}
	return 0;
}

int
retry_do(struct retry *r, const char *host,
    int (*try)(void *arg, enum retry_what *what, int64_t *after,
    struct err *e), void *arg, struct err *e)
{
	struct retry_op	 op = { 0, 0, 0 };
	struct err	 one;
	enum retry_what	 what;
	int64_t		 after;
	double		 wait;
	int		 rv;

	for (;;) {
		if (retry_ask(r, host, &op, e) == -1)
			return -1;
		one.code = 0;
		one.text[0] = '\0';
		what = RETRY_NONE;
		after = -1;
		rv = try(arg, &what, &after, &one);
		wait = retry_tell(r, host, &op, what, after, one.text);
		if (wait < 0) {
			if (rv == -1 && e->code == 0)
				*e = one;
			return rv;
		}
		if (retry_sleep(wait, e) == -1)
			return -1;
	}
}

void
retry_free(struct retry *r)
{
	struct step	s = { r, NULL, STEP_TELL, 0, NULL, BREAKER_GO, 0 };
	size_t		i;

	if (r == NULL)
		return;
	for (i = 0; i < r->n; i++) {
		s.h = &r->v[i];
		if (s.h->n_pending > 0 && !breaker_is_clean(&s.h->b))
			step(r, &s);
		free(r->v[i].name);
	}
	free(r->v);
	free(r);
}
