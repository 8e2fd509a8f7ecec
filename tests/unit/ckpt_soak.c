/*
 * Many processes on one checkpoint database for SOAK seconds (5): 32
 * writers and 4 readers.  No error, no transition lost, the history whole;
 * each shared unit completed once; no reader waits for a writer.
 * SPDX-License-Identifier: ISC
 */
#include <sys/types.h>
#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "ckpt.h"
#include "io.h"
#include "msg.h"
#include "tap.h"
#include "tmp.h"
#include "banned.h"

#define WRITERS	32
#define READERS	4
#define OWN	8	/* units of a writer */
#define HELD_S	20	/* a lock is held while others read */

static const char	A[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaaaa";

/* What a writer says it did; what is in the database must be the sum. */
struct did {
	unsigned long	 begun, done, failed, released, won, rounds;
	unsigned long	 last_done, last_failed; /* states it left behind */
	int		 bad;
	char		 why[256];
};

/* One turn at its own unit k: begin, then done, failed or given back. */
static int
own_turn(struct ckpt *c, const char *run, int w, unsigned long n,
    char *state, struct did *d, struct err *e)
{
	char	key[64], r[64];
	int	k = (int)(n % OWN);

	(void)snprintf(key, sizeof(key), "/own/%d/%d", w, k);
	(void)snprintf(r, sizeof(r), "%s.%lu", run, n);
	if (ckpt_start(c, CKPT_INPUT, key, A, r, e) != 0)
		return -1;
	d->begun++;
	switch (n / OWN % 3) {
	case 0:
		d->done++;
		state[k] = 'd';
		return ckpt_done(c, CKPT_INPUT, key, A, r, e);
	case 1:
		d->failed++;
		state[k] = 'f';
		return ckpt_fail(c, CKPT_INPUT, key, r, 75, NULL, "x", e);
	default:
		d->released++;
		state[k] = 'p';
		return ckpt_release(c, r, 76, NULL, e);
	}
}

/*
 * Two units in one transaction: readers must see both or neither.  The
 * same run numbers in both.
 */
static int
pair_turn(struct ckpt *c, const char *run, int w, struct did *d,
    struct err *e)
{
	char	key[64];
	int	i;

	if (ckpt_begin(c, e) == -1)
		return -1;
	for (i = 0; i < 2; i++) {
		(void)snprintf(key, sizeof(key), "/pair/%d/%d", w, i);
		if (ckpt_start(c, CKPT_CHUNK, key, NULL, run, e) == -1 ||
		    ckpt_done(c, CKPT_CHUNK, key, NULL, run, e) == -1) {
			ckpt_rollback(c);
			return -1;
		}
	}
	d->rounds++;
	return ckpt_commit(c, e);
}

/* A unit that all go for: who gets it does it. */
static int
shared_turn(struct ckpt *c, const char *run, unsigned long n,
    struct did *d, struct err *e)
{
	char	key[64];

	(void)snprintf(key, sizeof(key), "/shared/%lu", n);
	switch (ckpt_claim(c, CKPT_INPUT, key, A, run, e)) {
	case 0:
		break;
	case 1: /* somebody is at it: this one gives up */
		return ckpt_fail(c, CKPT_INPUT, key, run, 73, NULL, "other",
		    e) == -1 ? -1 : 0;
	case 2:
		return 0;
	default:
		return -1;
	}
	d->won++;
	return ckpt_done(c, CKPT_INPUT, key, A, run, e) == -1 ? -1 : 0;
}

static void
writer(const char *path, int w, double end, int fd)
{
	char		 state[OWN + 1] = "", run[32];
	struct did	 d;
	struct err	 e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, CKPT_CREATE, &e);
	unsigned long	 n = 0;
	int		 i, rv = c == NULL ? -1 : 0;

	memset(&d, 0, sizeof(d));
	(void)snprintf(run, sizeof(run), "w%d", w);
	for (n = 0; rv == 0 && (io_now() < end || n < OWN); n++) {
		rv = own_turn(c, run, w, n, state, &d, &e);
		if (rv == 0 && n % 4 == 0) {
			(void)snprintf(run, sizeof(run), "w%d.p%lu", w, n);
			rv = pair_turn(c, run, w, &d, &e);
			(void)snprintf(run, sizeof(run), "w%d", w);
		}
		if (rv == 0 && n % 4 == 1)
			rv = shared_turn(c, run, n, &d, &e);
	}
	for (i = 0; i < OWN; i++) {
		d.last_done += state[i] == 'd';
		d.last_failed += state[i] == 'f';
	}
	d.bad = rv != 0;
	(void)snprintf(d.why, sizeof(d.why), "%.200s", e.text);
	ckpt_close(c);
	_exit(io_write(fd, &d, sizeof(d)) == -1);
}

struct pairs {
	char	run[2][WRITERS][40];
	int	torn;
};

static int
on_pair(const struct ckpt_unit *u, void *arg)
{
	struct pairs	*p = arg;
	int		 w = 0, i = 0;
	char		*end;

	if (strncmp(u->key, "/pair/", 6) != 0)
		return 0;
	w = (int)strtol(u->key + 6, &end, 10);
	i = (int)strtol(end + 1, NULL, 10);
	(void)snprintf(p->run[i & 1][w % WRITERS], sizeof(p->run[0][0]),
	    "%s", u->run);
	return 0;
}

/* Open, look at everything, close: as dckpt does. */
static int
read_once(const char *path, double *worst, struct err *e)
{
	struct ckpt_sel	 sel;
	struct pairs	 p;
	struct ckpt	*c;
	double		 t = io_now();
	int		 w, rv = 0;

	memset(&sel, 0, sizeof(sel));
	memset(&p, 0, sizeof(p));
	sel.scopes = 1U << CKPT_CHUNK;
	c = ckpt_open(path, 0, e);
	if (c == NULL)
		return -1;
	rv = ckpt_each(c, &sel, on_pair, &p, e);
	ckpt_close(c);
	if (io_now() - t > *worst)
		*worst = io_now() - t;
	for (w = 0; w < WRITERS; w++)
		if (strcmp(p.run[0][w], p.run[1][w]) != 0)
			p.torn++;
	return rv == -1 ? -1 : p.torn;
}

struct saw {
	unsigned long	looks;
	int		torn, bad;
	double		worst;
	char		why[256];
};

static void
reader(const char *path, double end, int fd)
{
	struct timespec	pause = { 0, 20000000 };
	struct saw	s;
	struct err	e = { 0, "" };
	int		r;

	memset(&s, 0, sizeof(s));
	while (io_now() < end && !s.bad) {
		r = read_once(path, &s.worst, &e);
		if (r == -1 && e.code == MSG_NOINPUT)
			e.code = 0; /* not made yet */
		else if (r == -1)
			s.bad = 1;
		else
			s.torn += r;
		s.looks++;
		(void)nanosleep(&pause, NULL);
	}
	(void)snprintf(s.why, sizeof(s.why), "%.200s", e.text);
	_exit(io_write(fd, &s, sizeof(s)) == -1);
}

static long
ask(const char *path, const char *sql)
{
	sqlite3		*db = NULL;
	sqlite3_stmt	*s = NULL;
	long		 v = -1;

	if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_prepare_v2(db,
	    sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
		v = (long)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	sqlite3_close(db);
	return v;
}

static void
check(const char *path, const struct did *d)
{
	long	n;

	n = ask(path, "SELECT count(*) FROM attempt WHERE unit IN"
	    " (SELECT id FROM unit WHERE key GLOB '/own/*')");
	tap_ok(n == (long)d->begun, "every attempt is in the history: %ld",
	    n);
	tap_ok(ask(path, "SELECT count(*) FROM attempt JOIN unit ON"
	    " unit.id = unit WHERE key GLOB '/own/*' AND"
	    " outcome = 'completed'") == (long)d->done &&
	    ask(path, "SELECT count(*) FROM attempt JOIN unit ON"
	    " unit.id = unit WHERE key GLOB '/own/*' AND"
	    " outcome = 'failed'") == (long)d->failed &&
	    ask(path, "SELECT count(*) FROM attempt WHERE"
	    " outcome = 'abandoned'") == (long)d->released,
	    "with its outcome: %lu, %lu, %lu", d->done, d->failed,
	    d->released);
	tap_ok(ask(path, "SELECT count(*) FROM unit WHERE key GLOB '/own/*'"
	    " AND state = 'completed'") == (long)d->last_done &&
	    ask(path, "SELECT count(*) FROM unit WHERE key GLOB '/own/*'"
	    " AND state = 'failed'") == (long)d->last_failed,
	    "every unit is as it was left");
	tap_ok(ask(path, "SELECT sum(attempts) FROM unit") ==
	    ask(path, "SELECT count(*) FROM attempt"),
	    "counted as often as tried");
	tap_ok(ask(path, "SELECT count(*) FROM unit WHERE"
	    " key GLOB '/shared/*'") > 0 && ask(path, "SELECT count(*) FROM"
	    " unit AS u WHERE key GLOB '/shared/*' AND (state <> 'completed'"
	    " OR 1 <> (SELECT count(*) FROM attempt WHERE unit = u.id AND"
	    " outcome = 'completed'))") == 0,
	    "each shared unit is completed exactly once");
	tap_ok(ask(path, "SELECT count(*) FROM attempt WHERE ended IS NULL")
	    == 0, "no attempt is left open");
	tap_ok(ask(path, "SELECT count(*) FROM attempt AS a JOIN attempt AS"
	    " b ON a.unit = b.unit AND a.id < b.id AND a.nth >= b.nth") == 0,
	    "attempts are numbered as they came");
	tap_ok(ask(path, "SELECT count(*) FROM pragma_integrity_check"
	    " WHERE integrity_check = 'ok'") == 1, "the file is whole");
}

/* A writer holds the lock, and does not let go: who reads gets it all. */
static void
locked(const char *path)
{
	struct err	 e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, 0, &e);
	double		 worst = 0;
	pid_t		 pid;
	int		 st = 1;

	(void)ckpt_begin(c, &e);
	(void)ckpt_start(c, CKPT_INPUT, "/locked", A, "r", &e);
	pid = fork();
	if (pid == 0) {
		/* its own handle; a wait would be thirty seconds long */
		(void)alarm(HELD_S);
		e.code = 0;
		_exit(read_once(path, &worst, &e) != 0);
	}
	(void)waitpid(pid, &st, 0);
	tap_ok(st == 0, "who reads does not wait for who writes");
	tap_ok(ckpt_commit(c, &e) == 0, "and writing goes on");
	ckpt_close(c);
}

int
main(void)
{
	char		 dir[TMP_DIR], path[64];
	const char	*s = getenv("SOAK");
	struct did	 d, sum;
	struct saw	 saw, all;
	double		 end;
	int		 i, got[2], seen[2], st, bad = 0;

	msg_init("unit");
	tap_plan(15);
	(void)unsetenv("DCKPT_DB");
	(void)unsetenv("DCKPT_PIPELINE");
	(void)unsetenv("DCKPT_ROOT");
	if (tmp_dir(dir, "soak") == -1 || pipe(got) == -1 || pipe(seen) == -1)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/db", dir);
	end = io_now() + (s != NULL ? strtod(s, NULL) : 5);
	(void)fflush(stdout);
	for (i = 0; i < WRITERS + READERS; i++)
		if (fork() == 0) {
			if (i < WRITERS)
				writer(path, i, end, got[1]);
			reader(path, end, seen[1]);
		}
	(void)close(got[1]);
	(void)close(seen[1]);
	memset(&sum, 0, sizeof(sum));
	memset(&all, 0, sizeof(all));
	for (i = 0; i < WRITERS && io_read(got[0], &d, sizeof(d)) ==
	    sizeof(d); i++) {
		sum.begun += d.begun;
		sum.done += d.done;
		sum.failed += d.failed;
		sum.released += d.released;
		sum.won += d.won;
		sum.rounds += d.rounds;
		sum.last_done += d.last_done;
		sum.last_failed += d.last_failed;
		if (d.bad) {
			printf("# writer: %s\n", d.why);
			bad++;
		}
	}
	tap_ok(i == WRITERS && bad == 0, "%d writers: no error", i);
	for (i = 0, bad = 0; i < READERS && io_read(seen[0], &saw,
	    sizeof(saw)) == sizeof(saw); i++) {
		all.looks += saw.looks;
		all.torn += saw.torn;
		if (saw.worst > all.worst)
			all.worst = saw.worst;
		if (saw.bad) {
			printf("# reader: %s\n", saw.why);
			bad++;
		}
	}
	tap_ok(i == READERS && bad == 0 && all.looks > READERS,
	    "%d readers: no error", i);
	while (wait(&st) > 0)
		bad += st != 0;
	tap_ok(bad == 0, "all ended well");
	tap_ok(all.torn == 0, "no reader saw half a transaction");
	tap_ok(sum.begun > 0 && sum.won > 0 && sum.rounds > 0,
	    "%lu turns, %lu shared, %lu pairs, %lu looks, the longest %.2f s",
	    sum.begun, sum.won, sum.rounds, all.looks, all.worst);
	check(path, &sum);
	locked(path);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/db-wal", dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/db-shm", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	return tap_done();
}
