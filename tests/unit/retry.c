/*
 * Backoff, budget, breakers (alone, and seen by many processes at once),
 * adaptive concurrency.
 * SPDX-License-Identifier: ISC
 */
#include <sys/types.h>
#include <sys/wait.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "aimd.h"
#include "breaker.h"
#include "ckpt.h"
#include "io.h"
#include "net.h"
#include "retry.h"
#include "tap.h"
#include "tmp.h"
#include "banned.h"

#define PROCS	4

static char		dir[TMP_DIR];
static char		path[64];
static struct err	e;

/*
 * The breaker alone.
 */

static void
tell(struct breaker *b, int64_t now, const char *s, int probe)
{
	breaker_tell(b, now, s, (unsigned int)strlen(s), probe, "why");
}

static void
states(void)
{
	struct breaker	b;
	int64_t		t = 1000000, wait;
	int		i;

	memset(&b, 0, sizeof(b));
	tap_ok(breaker_ask(&b, t, "h", 7, 0) == BREAKER_GO, "closed: go");
	tell(&b, t, "----+----", 0);
	tap_ok(b.state == BREAKER_CLOSED && b.failures == 4 &&
	    !breaker_is_clean(&b), "four in a row, twice");
	tell(&b, t, "-", 0);
	tap_ok(b.state == BREAKER_OPEN && b.until == t + 30000,
	    "the fifth opens it, for 30 s");
	tap_is(b.why, "why", "and is remembered");
	memset(&b, 0, sizeof(b));
	tell(&b, t, "+-+-+-+-+-+-+-+-+-+", 0);
	tap_ok(b.state == BREAKER_CLOSED, "nine of nineteen");
	tell(&b, t, "-", 0);
	tap_ok(b.state == BREAKER_OPEN, "ten of twenty");
	memset(&b, 0, sizeof(b));
	tell(&b, t, "-+-+-+-+-+-+-+-+-+++++++++++++++++++++", 0);
	tap_ok(b.state == BREAKER_CLOSED && breaker_is_clean(&b) &&
	    strlen(b.recent) == BREAKER_LAST,
	    "what is older than twenty is forgotten");

	memset(&b, 0, sizeof(b));
	tell(&b, t, "-----", 0);
	tap_ok(breaker_ask(&b, t + 29999, "h", 7, 0) == BREAKER_NO, "open");
	tell(&b, t + 1, "-+-", 0);
	tap_ok(b.state == BREAKER_OPEN && b.until == t + 30000,
	    "what was under way changes nothing");
	t += 30000;
	tap_ok(breaker_ask(&b, t, "h", 7, 0) == BREAKER_PROBE, "one probe");
	tap_ok(breaker_ask(&b, t, "h", 8, 0) == BREAKER_NO, "not two");
	tap_ok(breaker_ask(&b, t + 1, "h", 8, 1) == BREAKER_PROBE &&
	    b.probe_pid == 8, "but where the prober died");
	tap_ok(breaker_ask(&b, t + 60001, "h", 9, 0) == BREAKER_PROBE,
	    "or takes more than a minute");
	tell(&b, t, "+", 0);
	tap_ok(b.state == BREAKER_HALF_OPEN, "another's success is not it");
	tell(&b, t, "-", 1);
	tap_ok(b.state == BREAKER_OPEN && b.wait == 60000, "it fails: 60 s");
	for (i = 0, wait = 0; i < 8; i++) {
		t = b.until;
		(void)breaker_ask(&b, t, "h", 7, 0);
		tell(&b, t, "-", 1);
		wait = b.wait;
	}
	tap_ok(wait == 15 * 60 * 1000, "at most 15 minutes");
	t = b.until;
	(void)breaker_ask(&b, t, "h", 7, 0);
	breaker_release(&b, t);
	tap_ok(breaker_ask(&b, t, "h", 8, 0) == BREAKER_PROBE,
	    "a probe given back is another's");
	tell(&b, t, "+", 1);
	tap_ok(b.state == BREAKER_CLOSED && breaker_is_clean(&b),
	    "it succeeds: closed");
	tell(&b, t, "-----", 0);
	tap_ok(breaker_ask(&b, t - 86400000, "h", 7, 0) == BREAKER_NO &&
	    b.until == t - 86400000 + 30000,
	    "a clock that is set back keeps nobody out for a day");
}

/*
 * Delays and the budget.
 */

static void
delays(void)
{
	struct retry	*r = retry_new(NULL, 3);
	struct retry_op	 op = { 0, 0, 0 };
	double		 w;
	int		 n;

	tap_ok(retry_delay(1, -1, 0.5) == 0.05 &&
	    retry_delay(2, -1, 0.5) == 0.1 && retry_delay(1, -1, 0) == 0,
	    "full jitter, from 100 ms on, doubling");
	w = retry_delay(RETRY_TRIES - 1, -1, 0.999);
	tap_ok(w > 6 && w < RETRY_CAP, "to 6.4 s at the last try");
	tap_ok(retry_delay(RETRY_TRIES, -1, 0.5) == -1, "not for ever");
	w = retry_delay(1, 7, 0.5);
	tap_ok(w >= 7 && w < 7.2, "Retry-After first");
	tap_ok(retry_delay(1, 3600, 0.5) == -1, "an hour is not waited for");

	for (n = 0; n < 10; n++) {
		op.tries = 0;
		if (retry_ask(r, "h", &op, &e) == -1 ||
		    retry_tell(r, "h", &op, RETRY_BUSY, 0, NULL) < 0)
			break;
	}
	tap_ok(n == 3 && retry_left(r) == 0, "three retries, of any thing");
	for (n = 0; n < 11; n++) {
		(void)retry_ask(r, "h", &op, &e);
		(void)retry_tell(r, "h", &op, RETRY_GOOD, -1, NULL);
	}
	tap_ok(retry_left(r) == 1, "ten successes earn one");
	memset(&op, 0, sizeof(op));
	(void)retry_ask(r, "h", &op, &e);
	tap_ok(retry_tell(r, "h", &op, RETRY_STALE, -1, NULL) == 0 &&
	    retry_left(r) == 1 && op.tries == 0,
	    "a kept connection that ended: at once, and for free");
	(void)retry_ask(r, "h", &op, &e);
	tap_ok(retry_tell(r, "h", &op, RETRY_FINAL, -1, NULL) == -1,
	    "what is final is not repeated");
	retry_free(r);
}

static int	tries;

static int
try(void *arg, enum retry_what *what, int64_t *after, struct err *err)
{
	const char	*s = arg;

	(void)after;
	*what = s[tries] == '+' ? RETRY_GOOD : s[tries] == '4' ?
	    RETRY_FINAL : RETRY_FAILED;
	if (s[tries++] == '+')
		return 0;
	return err_set(err, s[tries - 1] == '4' ? MSG_NOINPUT : MSG_TEMPFAIL,
	    "try %d", tries);
}

/* How often anything slept, in place of the library's. */
static unsigned int	naps;

int
nanosleep(const struct timespec *ts, struct timespec *left)
{
	int	r = clock_nanosleep(CLOCK_REALTIME, 0, ts, left);

	naps++;
	if (r != 0)
		errno = r;
	return r == 0 ? 0 : -1;
}

static int
go(struct retry *r, const char *s)
{
	tries = 0;
	memset(&e, 0, sizeof(e));
	return retry_do(r, "host:1", try, (void *)(size_t)s, &e);
}

static void
loops(void)
{
	struct retry	*r = retry_new(NULL, 0);
	struct net_res	 nr;

	tap_ok(go(r, "--+") == 0 && tries == 3 && naps >= 2,
	    "until it works");
	tap_ok(go(r, "4") == -1 && tries == 1 && e.code == MSG_NOINPUT,
	    "permanent: one request");
	tap_ok(go(r, "-----") == -1 && tries == 5 && e.code == MSG_TEMPFAIL,
	    "five failures in a row");
	naps = 0;
	tap_ok(go(r, "+") == -1 && tries == 0 && e.code == MSG_TEMPFAIL &&
	    naps == 0, "then no request and no sleep");
	tap_ok(strstr(e.text, "host:1") != NULL && strstr(e.text, "try 5") !=
	    NULL, "and the error says whom, and why");
	retry_free(r);

	memset(&nr, 0, sizeof(nr));
	nr.retry_after = -1;
	e.code = MSG_TEMPFAIL;
	tap_ok(retry_judge(&nr, &e) == RETRY_FAILED, "no answer");
	nr.stale = 1;
	tap_ok(retry_judge(&nr, &e) == RETRY_STALE, "a stale connection");
	e.code = MSG_NOPERM;
	tap_ok(retry_judge(&nr, &e) == RETRY_NONE, "a bad certificate");
	nr.status = 503;
	tap_ok(retry_judge(&nr, NULL) == RETRY_FAILED, "503");
	nr.retry_after = 1;
	tap_ok(retry_judge(&nr, NULL) == RETRY_BUSY, "503 with Retry-After");
	nr.status = 404;
	tap_ok(retry_judge(&nr, NULL) == RETRY_FINAL, "404");
}

/* Bytes that are no field's, or behind a string's end, are no change. */
static void
same(void)
{
	struct breaker	a, b;

	memset(&a, 0, sizeof(a));
	memset(&b, 0xff, sizeof(b));
	tell(&a, 1000000, "-----", 0);
	b.state = a.state;
	b.failures = a.failures;
	memcpy(b.recent, a.recent, strlen(a.recent) + 1);
	b.opened = a.opened;
	b.until = a.until;
	b.wait = a.wait;
	b.probe_host[0] = '\0';
	b.probe_pid = b.probe_until = 0;
	memcpy(b.why, a.why, strlen(a.why) + 1);
	tap_ok(breaker_is_same(&a, &b), "the same in every field");
	(void)breaker_ask(&b, b.until, "h", 7, 0);
	tap_ok(!breaker_is_same(&a, &b), "another probes");
}

/*
 * One breaker, seen by many.
 */

static int
sql(const char *s)
{
	sqlite3	*db = NULL;
	int	 rv = -1;

	if (sqlite3_open(path, &db) == SQLITE_OK &&
	    sqlite3_busy_timeout(db, 10000) == SQLITE_OK)
		rv = sqlite3_exec(db, s, NULL, NULL, NULL);
	sqlite3_close(db);
	return rv;
}

static enum breaker_state
state_of(const char *host)
{
	struct ckpt	*c = ckpt_open(path, 0, &e);
	struct breaker	 b;
	int		 r = ckpt_breaker_get(c, host, &b, &e);

	ckpt_close(c);
	return r == 1 ? b.state : BREAKER_CLOSED;
}

/* In such a process: written by nobody, and over when all have asked. */
static int	asked[2] = { -1, -1 };

static void
until_all_have_asked(void)
{
	char	ch;

	(void)close(asked[1]);
	(void)read(asked[0], &ch, 1);
}

/* Runs f in PROCS processes at once; how many said 1. */
static int
together(int (*f)(struct retry *r, struct ckpt *c, int i))
{
	struct ckpt	*c;
	struct retry	*r;
	pid_t		 pid[PROCS];
	int		 i, st, n = 0, go_[2];
	char		 ch;

	if (pipe(go_) == -1 || pipe(asked) == -1)
		return -1;
	(void)fflush(stdout);
	for (i = 0; i < PROCS; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			(void)close(go_[1]);
			/* all begin when the writer's end closes */
			if (read(go_[0], &ch, 1) != 0)
				_exit(2);
			c = ckpt_open(path, CKPT_CREATE, &e);
			r = retry_new(c, 0);
			st = f(r, c, i);
			retry_free(r);
			ckpt_close(c);
			_exit(st);
		}
	}
	(void)close(go_[0]);
	(void)close(go_[1]);
	(void)close(asked[0]);
	(void)close(asked[1]);
	for (i = 0; i < PROCS; i++) {
		(void)waitpid(pid[i], &st, 0);
		n += WIFEXITED(st) && WEXITSTATUS(st) == 1;
	}
	return n;
}

static int
one_failure(struct retry *r, struct ckpt *c, int i)
{
	struct retry_op	op = { 0, 0, 0 };

	(void)c;
	(void)i;
	if (retry_ask(r, "h", &op, &e) == -1)
		return 0;
	(void)retry_tell(r, "h", &op, RETRY_FAILED, -1, "reset");
	return 1;
}

/* Asks; who gets through waits until all have asked. */
static int
probe_fails(struct retry *r, struct ckpt *c, int i)
{
	struct retry_op	op = { 0, 0, 0 };

	(void)c;
	(void)i;
	if (retry_ask(r, "h", &op, &e) == -1)
		return 0;
	until_all_have_asked();
	(void)retry_tell(r, "h", &op, RETRY_FAILED, -1, "again");
	return op.probe == 0 ? 1 : 2;
}

static int
probe_works(struct retry *r, struct ckpt *c, int i)
{
	struct retry_op	op = { 0, 0, 0 };

	(void)c;
	(void)i;
	if (retry_ask(r, "h", &op, &e) == -1)
		return 0;
	until_all_have_asked();
	(void)retry_tell(r, "h", &op, RETRY_GOOD, -1, NULL);
	return 1;
}

static int
probe_dies(struct retry *r, struct ckpt *c, int i)
{
	struct retry_op	op = { 0, 0, 0 };

	(void)c;
	(void)i;
	if (retry_ask(r, "h", &op, &e) == -1)
		return 0;
	_exit(1);
}

static int
many_good(struct retry *r, struct ckpt *c, int i)
{
	struct retry_op	op;
	int		n;

	(void)c;
	for (n = 0; n < 200; n++) {
		memset(&op, 0, sizeof(op));
		if (retry_ask(r, "good", &op, &e) == -1)
			return 0;
		(void)retry_tell(r, "good", &op, n % 50 == 7 + i ?
		    RETRY_FAILED : RETRY_GOOD, -1, "now and then");
	}
	return 1;
}

static int	n_breakers;

static int
on_breaker(const char *host, const struct breaker *b, int64_t updated,
    void *arg)
{
	(void)arg;
	n_breakers += strcmp(host, "h") == 0 && b->state == BREAKER_CLOSED &&
	    updated > 0;
	return 0;
}

static void
shared(void)
{
	struct ckpt	*c;
	uint64_t	 n;

	tap_ok(together(one_failure) == PROCS &&
	    state_of("h") == BREAKER_CLOSED, "four processes, four failures");
	tap_ok(together(one_failure) >= 1 && state_of("h") == BREAKER_OPEN,
	    "one more, and it is open for all");
	tap_ok(together(one_failure) == 0, "nobody is let through");
	(void)sql("UPDATE breaker SET until = 0");
	(void)together(probe_dies);
	tap_ok(state_of("h") == BREAKER_HALF_OPEN,
	    "time has passed: a probe, which dies");
	tap_ok(together(probe_fails) == 1 && state_of("h") == BREAKER_OPEN,
	    "another one of the four takes its place, alone, and fails");
	tap_ok(together(probe_works) == 0, "nobody is let through again");
	(void)sql("UPDATE breaker SET until = 0");
	tap_ok(together(probe_works) == 1 &&
	    state_of("h") == BREAKER_CLOSED,
	    "one probe of four works: closed");
	tap_ok(together(probe_works) == PROCS, "for all");
	tap_ok(together(many_good) == PROCS &&
	    state_of("good") == BREAKER_CLOSED,
	    "a failure now and then opens nothing");
	c = ckpt_open(path, 0, &e);
	tap_ok(ckpt_breaker_each(c, on_breaker, NULL, &e) == 0 &&
	    n_breakers == 1, "they can be listed");
	tap_ok(ckpt_breaker_clear(c, "h", &n, &e) == 0 && n == 1 &&
	    ckpt_breaker_clear(c, NULL, &n, &e) == 0 && n == 1, "and cleared");
	ckpt_close(c);
}

/*
 * Concurrency.
 */

static void
concurrency(void)
{
	struct aimd	a;
	double		t = 0, most;
	unsigned int	i, least;

	aimd_init(&a, 2);
	tap_ok(aimd_limit(&a) == 2, "never above the ceiling");
	aimd_init(&a, 64);
	tap_ok(aimd_limit(&a) == AIMD_START, "it starts low");
	for (i = 0; i < 100; i++, t += 0.01)
		aimd_good(&a, t + 0.01, t, 0.01, 0);
	tap_ok(aimd_limit(&a) == AIMD_START, "what is not used does not grow");
	for (i = 0; i < 60; i++, t += 0.01)
		aimd_good(&a, t + 0.01, t, 0.01, 1);
	tap_ok(aimd_limit(&a) == 64, "all goes well: to the ceiling");
	t += 1;
	aimd_slower(&a, t, t - 0.5);
	tap_ok(aimd_limit(&a) == 32, "429: half");
	aimd_slower(&a, t + 0.1, t - 0.5);
	tap_ok(aimd_limit(&a) == 32, "the same news once");
	for (i = 0; i < 33; i++, t += 0.01)
		aimd_good(&a, t + 0.01, t, 0.01, 1);
	tap_ok(aimd_limit(&a) == 33, "one more for a round that went well");
	for (i = 0; i < 20; i++) {
		aimd_slower(&a, t + 1, t + 0.5);
		t += 2;
	}
	tap_ok(aimd_limit(&a) == 1, "at least one");
	/* a server of 10 ms that serves 8 at once: more only queue */
	aimd_init(&a, 64);
	for (most = 0, least = 64, t = 0, i = 0; i < 5000; i++) {
		double	l = 0.010 * (a.limit > 8 ? a.limit / 8 : 1);

		t += l / a.limit;
		aimd_good(&a, t, t - l, l + 0.04 * (a.limit > 16), 1);
		if (i > 1000 && a.limit > most)
			most = a.limit;
		if (i > 1000 && aimd_limit(&a) < least)
			least = aimd_limit(&a);
	}
	tap_ok(most < 40 && least >= 8, "a queue is noticed: %u to %.0f",
	    least, most);
}

int
main(void)
{
	char	b[128];
	int	i;
	static const char *const	end[] = { "", "-wal", "-shm" };

	tap_plan(61);
	if (tmp_dir(dir, "retry") == -1)
		return 99;
	(void)snprintf(path, sizeof(path), "%s/db", dir);
	states();
	same();
	delays();
	loops();
	shared();
	concurrency();
	for (i = 0; i < 3; i++) {
		(void)snprintf(b, sizeof(b), "%s%s", path, end[i]);
		(void)unlink(b);
	}
	(void)rmdir(dir);
	return tap_done();
}
