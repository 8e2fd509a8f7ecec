/*
 * Transitions of the checkpoint database, its history, and many processes
 * at once on one file.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "ckpt.h"
#include "ckpt_db.h"
#include "ckpt_fs.h"
#include "ckpt_key.h"
#include "ckpt_step.h"
#include "io.h"
#include "msg.h"
#include "tap.h"
#include "tmp.h"
#include "banned.h"

#define PROCS 32
#define EACH 25	/* units of a process */
#define SHARED 10 /* units that all of them go for */

static const char	A[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			    "aaaaaaaaaaaaaaaa";
static const char	B[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
			    "bbbbbbbbbbbbbbbb";

struct seen {
	struct ckpt_unit u;
	char		 text[4096];
	int		 n, attempts, open;
	char		 outcomes[256];
};

static int
on_unit(const struct ckpt_unit *u, void *arg)
{
	struct seen	*s = arg;

	s->n++;
	s->u = *u;
	(void)snprintf(s->text, sizeof(s->text), "%s %s%s%s %llu %s %s %s",
	    ckpt_state_name(u->state), u->stale ? "stale " : "",
	    u->forced ? "forced " : "",
	    u->run != NULL ? u->run : "-", (unsigned long long)u->attempts,
	    u->digest == NULL ? "-" : u->digest[0] == 'a' ? "A" : "B",
	    ckpt_class_name(u->class), u->code != NULL ? u->code : "-");
	return 0;
}

static int
on_attempt(const struct ckpt_attempt *a, void *arg)
{
	struct seen	*s = arg;
	size_t		 n = strlen(s->outcomes);

	s->attempts++;
	s->open += a->ended == 0;
	(void)snprintf(s->outcomes + n, sizeof(s->outcomes) - n, "%s%s:%s",
	    n > 0 ? " " : "", a->run, a->outcome);
	return 0;
}

/* "state [stale ]run attempts digest class code | run:outcome ..." */
static const char *
look(struct ckpt *c, const char *key)
{
	static char	 b[8192];
	struct ckpt_sel	 sel;
	struct seen	 s;
	struct err	 e = { 0, "" };

	memset(&sel, 0, sizeof(sel));
	memset(&s, 0, sizeof(s));
	sel.keys = &key;
	sel.n_keys = 1;
	if (ckpt_each(c, &sel, on_unit, &s, &e) == -1 || (s.n == 1 &&
	    ckpt_history(c, s.u.id, on_attempt, &s, &e) == -1))
		return "error";
	if (s.n != 1)
		return s.n == 0 ? "none" : "many";
	(void)snprintf(b, sizeof(b), "%s | %s", s.text, s.outcomes);
	return b;
}

static int
on_count(const struct ckpt_unit *u, void *arg)
{
	(void)u;
	++*(int *)arg;
	return 0;
}

static int
count(struct ckpt *c, const struct ckpt_sel *s)
{
	struct err	e = { 0, "" };
	int		n = 0;

	return ckpt_each(c, s, on_count, &n, &e) == -1 ? -1 : n;
}

static int
raw(const char *path, const char *sql)
{
	sqlite3	*db = NULL;
	int	 rv = -1;

	if (sqlite3_open(path, &db) == SQLITE_OK)
		rv = sqlite3_exec(db, sql, NULL, NULL, NULL);
	sqlite3_close(db);
	return rv;
}

static void
transitions(struct ckpt *c, const char *path)
{
	struct ckpt_facts	 f = { 10, 20, 30, "-P 4", 5, "v1",
				    NULL, NULL };
	struct err		 e = { 0, "" };
	pid_t			 pid;
	int			 r, st;

	r = ckpt_plan(c, CKPT_INPUT, "p", "r1", &e);
	tap_ok(r == 0, "plan: new");
	tap_is(look(c, "p"), "pending - 0 -  - | ", "pending, no attempt");
	tap_ok(ckpt_plan(c, CKPT_INPUT, "p", "r1", &e) == 1, "plan: known");

	tap_ok(ckpt_start(c, CKPT_INPUT, "k", A, "r1", &e) == 0, "start");
	tap_is(look(c, "k"), "in_progress r1 1 A  - | r1:", "in progress");
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", A, "r1", &e) == 0, "again");
	tap_is(look(c, "k"), "in_progress r1 1 A  - | r1:",
	    "the same run again is the same attempt");
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", B, "r2", &e) == 1,
	    "another run does not take what lives");
	tap_is(look(c, "k"), "in_progress r1 2 A  - | r1: r2:",
	    "but is in the history");
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", A, "r2", &e) == 1 &&
	    strcmp(look(c, "k"), "in_progress r1 2 A  - | r1: r2:") == 0,
	    "once, however often it says so");
	tap_ok(ckpt_fail(c, CKPT_INPUT, "k", "r2", 65, "hot", "x", &e) == 1,
	    "nor fails it");
	tap_is(look(c, "k"), "in_progress r1 2 A  - | r1: r2:failed",
	    "the failure is history");
	tap_ok(ckpt_done(c, CKPT_INPUT, "k", A, "r1", &e) == 0, "done");
	tap_is(look(c, "k"), "completed r1 2 A  - | r1:completed r2:failed",
	    "completed");
	tap_ok(ckpt_done(c, CKPT_INPUT, "k", A, "r1", &e) == 0 &&
	    ckpt_done(c, CKPT_INPUT, "k", A, "r9", &e) == 0, "twice is once");
	tap_is(look(c, "k"), "completed r1 2 A  - | r1:completed r2:failed",
	    "nothing was added");
	tap_ok(ckpt_fail(c, CKPT_INPUT, "k", "r1", 75, NULL, "x", &e) == 1,
	    "completed does not fail afterwards");
	tap_ok(strncmp(look(c, "k"), "completed r1", 12) == 0, "it is so");
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", B, "r3", &e) == 0,
	    "new content by that name starts again");
	tap_ok(ckpt_done(c, CKPT_INPUT, "k", A, "r1", &e) == 1,
	    "the old content does not complete it");
	tap_ok(strncmp(look(c, "k"), "in_progress r3", 14) == 0, "it is so");
	r = ckpt_done(c, CKPT_INPUT, "k", A, "r3", &e);
	tap_ok(r == -1 && e.code == MSG_DATAERR,
	    "done with other content than begun: 65");
	tap_ok(strstr(look(c, "k"), "failed r3 4 B permanent changed") ==
	    look(c, "k"), "and failed");
	e.code = 0;
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", B, "r4", &e) == 0 &&
	    ckpt_fail(c, CKPT_INPUT, "k", "r4", 75, NULL, "later", &e) == 0,
	    "fail");
	tap_is(look(c, "k"), "failed r4 5 B transient TEMPFAIL | r1:completed "
	    "r2:failed r1:failed r3:failed r4:failed", "all attempts are kept");

	tap_ok(ckpt_done(c, CKPT_CHUNK, "never started", A, "r1", &e) == 0 &&
	    strcmp(look(c, "never started"),
	    "completed r1 1 A  - | r1:completed") == 0, "done, not started");
	tap_ok(ckpt_fail(c, CKPT_INPUT, "refused", "r1", 65, "hot",
	    "a\xff\"\n\xc3\xa9", &e) == 0 && strcmp(look(c, "refused"),
	    "failed r1 1 - permanent hot | r1:failed") == 0,
	    "failed, not started");
	tap_ok(ckpt_fail(c, CKPT_INPUT, "odd", "r1", 137, NULL, NULL, &e) ==
	    0 && strcmp(look(c, "odd"), "failed r1 1 - unknown - | r1:failed")
	    == 0, "137 is of class unknown");
	tap_ok(ckpt_done(c, CKPT_OPERATION, "op", NULL, "r1", &e) == 0 &&
	    ckpt_done(c, CKPT_OPERATION, "op", NULL, "r2", &e) == 0 &&
	    strcmp(look(c, "op"),
	    "completed r2 2 -  - | r1:completed r2:completed") == 0,
	    "an operation is done anew by each run");
	tap_ok(ckpt_start(c, CKPT_INPUT, "a|b", NULL, "r1", &e) == 0 &&
	    ckpt_set_pipeline(c, "a", &e) == 0 &&
	    ckpt_start(c, CKPT_INPUT, "b", NULL, "r5", &e) == 0 &&
	    ckpt_start(c, CKPT_INPUT, "a", NULL, "r5", &e) == 0 &&
	    ckpt_start(c, CKPT_INPUT, "c", NULL, "r5", &e) == 0,
	    "keys with bars, other pipelines");
	tap_ok(ckpt_note(c, CKPT_INPUT, "a", &f, &e) == 0, "note");
	tap_ok(ckpt_fail(c, CKPT_INPUT, "c", "r5", 65, "hot", "x", &e) == 0,
	    "one of a run fails");
	tap_ok(ckpt_release(c, "r5", 76, NULL, &e) == 0, "release the rest");
	tap_is(look(c, "a"), "pending r5 1 - unknown - | r5:abandoned",
	    "pending again");
	tap_ok(strncmp(look(c, "c"), "failed r5", 9) == 0,
	    "what failed stays so");
	f.run = "r4";
	f.digest = B;
	tap_ok(ckpt_note(c, CKPT_INPUT, "a", &f, &e) == 1 && strncmp(look(c,
	    "a"), "pending r5 1 -", 14) == 0, "of another run: not noted");
	f.run = "r5";
	tap_ok(ckpt_note(c, CKPT_INPUT, "a", &f, &e) == 0 && strncmp(look(c,
	    "a"), "pending r5 1 B", 14) == 0, "of that run: with its digest");
	f.run = f.digest = NULL;
	tap_ok(ckpt_set_pipeline(c, CKPT_DEFAULT, &e) == 0, "back");
	tap_ok(ckpt_note(c, CKPT_INPUT, "nope", &f, &e) == -1 &&
	    e.code == MSG_NOINPUT, "note: no such unit is 66");
	e.code = 0;
	tap_ok(ckpt_start(c, CKPT_INPUT, "", NULL, "r", &e) == -1 &&
	    e.code == MSG_USAGE, "an empty key is 64");
	e.code = 0;

	/* a skip is no attempt, but where nobody knew that it was done */
	(void)ckpt_start(c, CKPT_INPUT, "s", NULL, "s1", &e);
	tap_ok(ckpt_skip(c, CKPT_INPUT, "s", A, "s1", &e) == 0 &&
	    strcmp(look(c, "s"), "completed s1 1 A  - | s1:completed") == 0,
	    "skipped, and not known before");
	(void)ckpt_start(c, CKPT_INPUT, "s", NULL, "s2", &e);
	tap_ok(ckpt_skip(c, CKPT_INPUT, "s", A, "s2", &e) == 0 &&
	    strcmp(look(c, "s"), "completed s2 1 A  - | s1:completed") == 0,
	    "skipped again: the history does not grow");
	(void)ckpt_start(c, CKPT_INPUT, "s", NULL, "s3", &e);
	(void)ckpt_fail(c, CKPT_INPUT, "s", "s3", 75, NULL, "x", &e);
	(void)ckpt_start(c, CKPT_INPUT, "s", NULL, "s4", &e);
	tap_ok(ckpt_skip(c, CKPT_INPUT, "s", A, "s4", &e) == 0 &&
	    strcmp(look(c, "s"), "completed s4 2 A  - | s1:completed "
	    "s3:failed") == 0, "what failed between stays");

	/* whose processes are gone */
	pid = fork();
	if (pid == 0) {
		struct ckpt	*k;

		(void)setpgid(0, 0);
		k = ckpt_open(path, 0, &e);
		_exit(ckpt_start(k, CKPT_INPUT, "dead", A, "r6", &e) != 0);
	}
	(void)waitpid(pid, &st, 0);
	tap_ok(st == 0, "a process starts a unit and is gone");
	tap_is(look(c, "dead"), "in_progress stale r6 1 A  - | r6:",
	    "the unit is stale");
	tap_ok(ckpt_start(c, CKPT_INPUT, "dead", A, "r7", &e) == 0,
	    "another run takes it");
	tap_is(look(c, "dead"), "in_progress r7 2 A  - | r6:abandoned r7:",
	    "and says so");
	/* on another host only the lease counts */
	tap_ok(raw(path, "UPDATE unit SET host = 'elsewhere', place = 'x',"
	    " pid = 99999999, pgid = 99999999 WHERE key GLOB '*/dead'") ==
	    0 &&
	    ckpt_start(c, CKPT_INPUT, "dead", A, "r8", &e) == 1,
	    "another host's is left alone");
	tap_ok(raw(path, "UPDATE unit SET lease = 1"
	    " WHERE key GLOB '*dead'") == 0 &&
	    ckpt_start(c, CKPT_INPUT, "dead", A, "r9", &e) == 0,
	    "until its lease is over");

	/* transactions */
	tap_ok(ckpt_begin(c, &e) == 0 &&
	    ckpt_start(c, CKPT_INPUT, "t", A, "r1", &e) == 0 &&
	    ckpt_done(c, CKPT_INPUT, "t", A, "r1", &e) == 0, "begin");
	ckpt_rollback(c);
	tap_is(look(c, "t"), "none", "rolled back");
	tap_ok(ckpt_begin(c, &e) == 0 &&
	    ckpt_start(c, CKPT_INPUT, "t", A, "r1", &e) == 0 &&
	    ckpt_commit(c, &e) == 0, "commit");
	tap_is(look(c, "t"), "in_progress r1 1 A  - | r1:", "committed");
	tap_ok(ckpt_start(NULL, CKPT_INPUT, "t", A, "r1", &e) == 0 &&
	    ckpt_done(NULL, CKPT_INPUT, "t", A, "r1", &e) == 0 &&
	    ckpt_fail(NULL, CKPT_INPUT, "t", "r", 65, NULL, NULL, &e) == 0 &&
	    ckpt_begin(NULL, &e) == 0 && ckpt_commit(NULL, &e) == 0 &&
	    ckpt_release(NULL, "r", 65, NULL, &e) == 0,
	    "nobody asked: nothing, and 0");
}

/*
 * Every place a unit can stand at, and everything that can happen to it
 * there.  The table of ckpt_step says what it does; this one says what is
 * seen afterwards, and was written by hand.
 */

static const char *const at_names[CKPT_AT_N] = { "none", "pending", "mine",
    "held", "stale", "done", "failed" };
static const char *const ev_names[CKPT_EV_N] = { "plan", "start",
    "claim", "done same", "done other", "done unknown", "fail",
    "release", "retry", "force" };

#define R2A "r2:abandoned"
#define GONE_STAYS "1 in_progress stale r2 1 A  - | r2:"
#define HELD_STAYS "1 in_progress r2 1 A  - | r2:"

/* By r1: what the call returned, and what look() says then. */
static const char *const expected[CKPT_AT_N][CKPT_EV_N] = {
	[CKPT_AT_NONE] = {
		"0 pending - 0 -  - | ",
		"0 in_progress r1 1 A  - | r1:",
		"0 in_progress r1 1 A  - | r1:",
		"0 completed r1 1 A  - | r1:completed",
		"0 completed r1 1 B  - | r1:completed",
		"0 completed r1 1 -  - | r1:completed",
		"0 failed r1 1 - transient TEMPFAIL | r1:failed",
		"0 none", "0 none", "0 none" },
	[CKPT_AT_PENDING] = {
		"1 pending - 0 -  - | ",
		"0 in_progress r1 1 A  - | r1:",
		"0 in_progress r1 1 A  - | r1:",
		"0 completed r1 1 A  - | r1:completed",
		"0 completed r1 1 B  - | r1:completed",
		"0 completed r1 1 -  - | r1:completed",
		"0 failed r1 1 - transient TEMPFAIL | r1:failed",
		"0 pending - 0 -  - | ",
		"0 pending - 0 -  - | ",
		"1 pending forced - 0 -  - | " },
	[CKPT_AT_MINE] = {
		"1 in_progress r1 1 A  - | r1:",
		"0 in_progress r1 1 A  - | r1:",
		"0 in_progress r1 1 A  - | r1:",
		"0 completed r1 1 A  - | r1:completed",
		"-1 failed r1 1 A permanent changed | r1:failed",
		"0 completed r1 1 A  - | r1:completed",
		"0 failed r1 1 A transient TEMPFAIL | r1:failed",
		"1 pending r1 1 A transient - | r1:abandoned",
		"0 in_progress r1 1 A  - | r1:",
		"0 in_progress r1 1 A  - | r1:" },
	[CKPT_AT_HELD] = {
		HELD_STAYS,
		"1 in_progress r2 2 A  - | r2: r1:",
		"1 in_progress r2 2 A  - | r2: r1:",
		"0 completed r1 2 A  - | r2: r1:completed",
		"1 in_progress r2 2 A  - | r2: r1:completed",
		"0 completed r1 2 A  - | r2: r1:completed",
		"1 in_progress r2 2 A  - | r2: r1:failed",
		"0 in_progress r2 1 A  - | r2:",
		"0 in_progress r2 1 A  - | r2:",
		"0 in_progress r2 1 A  - | r2:" },
	[CKPT_AT_STALE] = {
		GONE_STAYS,
		"0 in_progress r1 2 A  - | " R2A " r1:",
		"0 in_progress r1 2 A  - | " R2A " r1:",
		"0 completed r1 2 A  - | r2: r1:completed",
		"0 completed r1 2 B  - | r2: r1:completed",
		"0 completed r1 2 A  - | r2: r1:completed",
		"0 failed r1 2 A transient TEMPFAIL | r2: r1:failed",
		"0 in_progress stale r2 1 A  - | r2:",
		"1 pending r2 1 A  - | " R2A,
		"1 pending forced r2 1 A  - | " R2A },
	[CKPT_AT_DONE] = {
		"1 completed r2 1 A  - | r2:completed",
		"0 in_progress r1 2 A  - | r2:completed r1:",
		"2 completed r2 1 A  - | r2:completed",
		"0 completed r2 1 A  - | r2:completed",
		"1 completed r2 2 A  - | r2:completed r1:completed",
		"0 completed r1 2 A  - | r2:completed r1:completed",
		"1 completed r2 2 A  - | r2:completed r1:failed",
		"0 completed r2 1 A  - | r2:completed",
		"0 completed r2 1 A  - | r2:completed",
		"1 pending forced r2 1 A  - | r2:completed" },
	[CKPT_AT_FAILED] = {
		"1 failed r2 1 A unknown IOERR | r2:failed",
		"0 in_progress r1 2 A  - | r2:failed r1:",
		"0 in_progress r1 2 A  - | r2:failed r1:",
		"0 completed r1 2 A  - | r2:failed r1:completed",
		"0 completed r1 2 B  - | r2:failed r1:completed",
		"0 completed r1 2 A  - | r2:failed r1:completed",
		"0 failed r1 2 A transient TEMPFAIL | r2:failed r1:failed",
		"0 failed r2 1 A unknown IOERR | r2:failed",
		"1 pending r2 1 A unknown IOERR | r2:failed",
		"1 pending forced r2 1 A unknown IOERR | r2:failed" }
};

static int
stand(struct ckpt *c, const char *path, enum ckpt_at at, const char *k,
    struct err *e)
{
	char	b[256];

	switch (at) {
	case CKPT_AT_NONE:
		return 0;
	case CKPT_AT_PENDING:
		return ckpt_plan(c, CKPT_INPUT, k, "r2", e);
	case CKPT_AT_MINE:
		return ckpt_start(c, CKPT_INPUT, k, A, "r1", e);
	case CKPT_AT_HELD:
		return ckpt_start(c, CKPT_INPUT, k, A, "r2", e);
	case CKPT_AT_STALE:
		(void)snprintf(b, sizeof(b), "UPDATE unit SET place = 'x',"
		    " lease = 1 WHERE key = '%s'", k);
		return ckpt_start(c, CKPT_INPUT, k, A, "r2", e) == -1 ? -1 :
		    raw(path, b);
	case CKPT_AT_DONE:
		return ckpt_start(c, CKPT_INPUT, k, A, "r2", e) == -1 ? -1 :
		    ckpt_done(c, CKPT_INPUT, k, A, "r2", e);
	case CKPT_AT_FAILED:
		return ckpt_start(c, CKPT_INPUT, k, A, "r2", e) == -1 ? -1 :
		    ckpt_fail(c, CKPT_INPUT, k, "r2", 74, NULL, "x", e);
	}
	return -1;
}

static int
nobody(const struct ckpt_unit *u, void *arg)
{
	(void)u;
	(void)arg;
	return 0;
}

/* What the call returned; of those of many units, how many changed. */
static int
happen(struct ckpt *c, enum ckpt_event ev, const char *k, struct err *e)
{
	struct ckpt_sel	sel;
	uint64_t	n = 0;

	memset(&sel, 0, sizeof(sel));
	sel.keys = &k;
	sel.n_keys = 1;
	switch (ev) {
	case CKPT_EV_PLAN:
		return ckpt_plan(c, CKPT_INPUT, k, "r1", e);
	case CKPT_EV_START:
		return ckpt_start(c, CKPT_INPUT, k, A, "r1", e);
	case CKPT_EV_CLAIM:
		return ckpt_claim(c, CKPT_INPUT, k, A, "r1", e);
	case CKPT_EV_DONE_SAME:
		return ckpt_done(c, CKPT_INPUT, k, A, "r1", e);
	case CKPT_EV_DONE_OTHER:
		return ckpt_done(c, CKPT_INPUT, k, B, "r1", e);
	case CKPT_EV_DONE_UNKNOWN:
		return ckpt_done(c, CKPT_INPUT, k, NULL, "r1", e);
	case CKPT_EV_FAIL:
		return ckpt_fail(c, CKPT_INPUT, k, "r1", 75, NULL, "y", e);
	case CKPT_EV_RELEASE:
		return ckpt_release(c, "r1", 75, &n, e) == -1 ? -1 : (int)n;
	case CKPT_EV_RETRY:
		return ckpt_retry(c, &sel, nobody, NULL, &n, e) == -1 ? -1 :
		    (int)n;
	case CKPT_EV_FORCE:
		return ckpt_force(c, &sel, nobody, NULL, &n, e) == -1 ? -1 :
		    (int)n;
	}
	return -1;
}

/* The state that an act leaves, or NULL where it changes none. */
static const char *
left_by(enum ckpt_act act)
{
	switch (act) {
	case CKPT_ACT_NONE:
	case CKPT_ACT_HISTORY:
	case CKPT_ACT_REPEAT:
		return NULL;
	case CKPT_ACT_TAKE:
	case CKPT_ACT_RENEW:
		return "in_progress r1";
	case CKPT_ACT_DONE:
		return "completed r1";
	case CKPT_ACT_CHANGED:
	case CKPT_ACT_FAIL:
		return "failed r1";
	case CKPT_ACT_PLAN:
	case CKPT_ACT_PENDING:
		return "pending ";
	case CKPT_ACT_FORCE:
		return "pending forced";
	}
	return "?";
}

static void
every_step(const char *path)
{
	struct err	 e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, CKPT_CREATE, &e);
	const char	*now, *want;
	char		 key[32], before[512], got[512], what[64];
	int		 at, ev, r;

	for (at = 0; at < CKPT_AT_N; at++)
		for (ev = 0; ev < CKPT_EV_N; ev++) {
			e.code = 0;
			(void)snprintf(key, sizeof(key), "/step/%d/%d", at,
			    ev);
			if (stand(c, path, (enum ckpt_at)at, key, &e) == -1)
				printf("# %s: %s\n", key, e.text);
			(void)snprintf(before, sizeof(before), "%s",
			    look(c, key));
			r = happen(c, (enum ckpt_event)ev, key, &e);
			now = look(c, key);
			(void)snprintf(got, sizeof(got), "%d %s", r, now);
			(void)snprintf(what, sizeof(what), "%s, %s",
			    at_names[at], ev_names[ev]);
			tap_is(got, expected[at][ev], what);
			want = left_by(ckpt_step((enum ckpt_at)at,
			    (enum ckpt_event)ev));
			if (want == NULL ? strcspn(before, "0123456789") !=
			    strcspn(now, "0123456789") : strncmp(now, want,
			    strlen(want)) != 0)
				tap_ok(0, "%s, %s: the table says %s",
				    at_names[at], ev_names[ev],
				    want != NULL ? want : before);
			/* the next one of r1 must not find this one's */
			(void)ckpt_release(c, "r1", 0, NULL, &e);
			(void)ckpt_clear(c, &(struct ckpt_sel){ 0 },
			    &(uint64_t){ 0 }, &e);
		}
	ckpt_close(c);
}

/*
 * Keys.
 */

static void
one_key(const char *root, enum ckpt_scope scope, const char *key,
    const char *kept, const char *back)
{
	char	*in = ckpt_key_in(root, scope, key);
	char	*out = ckpt_key_out(root, scope, in);
	char	*again = ckpt_key_in(root, scope, out);

	tap_ok(strcmp(in, kept) == 0 && strcmp(out, back) == 0 &&
	    strcmp(again, in) == 0, "%s below %s: %s, %s", key, root, in,
	    out);
	free(in);
	free(out);
	free(again);
}

static void
keys(void)
{
	one_key("/a/b", CKPT_INPUT, "/a/b/c d", "./c d", "/a/b/c d");
	one_key("/a/b", CKPT_INPUT, "/a/bc", "/a/bc", "/a/bc");
	one_key("/a/b", CKPT_INPUT, "/a/b", "./", "/a/b");
	one_key("/a/b", CKPT_CHUNK, "/a/b/../b//x/", "./x", "/a/b/x");
	one_key("/", CKPT_INPUT, "/x/y", "./x/y", "/x/y");
	one_key("/a/b", CKPT_INPUT, "file:///a/b/x%20y", "./x y",
	    "/a/b/x y");
	one_key("/a/b", CKPT_INPUT, "s3://a/b/c", "s3://a/b/c",
	    "s3://a/b/c");
	one_key("/a/b", CKPT_INPUT, "openai-batch:b/c", "openai-batch:b/c",
	    "openai-batch:b/c");
	one_key("/a/b", CKPT_OPERATION, "publish /a/b/t", "publish ./t",
	    "publish /a/b/t");
	one_key("/a/b", CKPT_OPERATION, "publish s3://a/b", "publish s3://a/b",
	    "publish s3://a/b");
	one_key("/a/b", CKPT_PIPELINE, "./x", "./x", "./x");
	one_key("/a/b", CKPT_INPUT, "/a/b/x|y'\"", "./x|y'\"",
	    "/a/b/x|y'\"");
}

static void
file_systems(void)
{
	tap_is(ckpt_fs_shared(0x6969, NULL), "NFS", "NFS is shared");
	tap_is(ckpt_fs_shared(0xff534d42UL, NULL), "CIFS", "CIFS");
	tap_is(ckpt_fs_shared((unsigned long)(long)(int)0xff534d42U, NULL),
	    "CIFS", "CIFS where f_type is signed");
	tap_is(ckpt_fs_shared(0xfe534d42UL, NULL), "SMB", "SMB");
	tap_is(ckpt_fs_shared(0x65735546, "fuse.sshfs"), "FUSE", "sshfs");
	tap_is(ckpt_fs_shared(0x65735546, "fuse.s3fs"), "FUSE", "s3fs");
	tap_is(ckpt_fs_shared(0x65735546, NULL), "FUSE",
	    "FUSE of an unknown kind");
	tap_ok(ckpt_fs_shared(0x65735546, "fuseblk") == NULL &&
	    ckpt_fs_shared(0x65735546, "fuse.fuse-overlayfs") == NULL,
	    "FUSE of this machine's disks is not");
	tap_ok(ckpt_fs_shared(0xef53, NULL) == NULL &&
	    ckpt_fs_shared(0x01021994, NULL) == NULL &&
	    ckpt_fs_shared(0x794c7630, NULL) == NULL &&
	    ckpt_fs_shared(0x58465342, NULL) == NULL &&
	    ckpt_fs_shared(0x9123683e, NULL) == NULL,
	    "ext4, tmpfs, overlay, xfs, btrfs are not");
	tap_ok(ckpt_fs_of("/proc/self/nothing") == NULL,
	    "what cannot be looked at keeps nobody from working");
}

/* The operator wants it again: that lasts until it is done. */
static void
forced(const char *path)
{
	struct ckpt_sel	 sel;
	struct err	 e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, CKPT_CREATE, &e);
	uint64_t	 n;

	(void)ckpt_done(c, CKPT_INPUT, "/need", A, "r1", &e);
	memset(&sel, 0, sizeof(sel));
	tap_ok(ckpt_forced(c, CKPT_INPUT, "/need", &e) == 0 &&
	    ckpt_force(c, &sel, nobody, NULL, &n, &e) == 0 && n == 1 &&
	    ckpt_forced(c, CKPT_INPUT, "/need", &e) == 1, "forced: to do");
	(void)ckpt_start(c, CKPT_INPUT, "/need", B, "r3", &e);
	tap_ok(ckpt_forced(c, CKPT_INPUT, "/need", &e) == 1,
	    "begun: still so");
	(void)ckpt_fail(c, CKPT_INPUT, "/need", "r3", 75, NULL, "x", &e);
	tap_ok(ckpt_forced(c, CKPT_INPUT, "/need", &e) == 1,
	    "failed: still so");
	(void)ckpt_start(c, CKPT_INPUT, "/need", B, "r4", &e);
	(void)ckpt_done(c, CKPT_INPUT, "/need", B, "r4", &e);
	tap_ok(ckpt_forced(c, CKPT_INPUT, "/need", &e) == 0, "done: over");
	ckpt_close(c);
}

/* Errors have text whole in UTF-8. */
static int
on_text(const struct ckpt_unit *u, void *arg)
{
	(void)snprintf(arg, 64, "%s", u->error);
	return 0;
}

/*
 * Two handles in one process: opening and closing the second must not take
 * the locks of the first one away, or another process believes that nobody
 * has it open, and removes the log under its feet.
 */
static void
two_handles(const char *path)
{
	struct err	 e = { 0, "" };
	struct ckpt	*a = ckpt_open(path, CKPT_CREATE, &e), *b;
	char		 wal[80];
	pid_t		 pid;
	int		 st = 1;

	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	(void)ckpt_start(a, CKPT_INPUT, "/two", A, "r1", &e);
	b = ckpt_open(path, 0, &e);
	ckpt_close(b);
	pid = fork();
	if (pid == 0) {
		/* the last one, as far as it knows; SQLite's tables of what
		   is open are ours after a fork, so it is another program */
		(void)execlp("sqlite3", "sqlite3", path,
		    "SELECT key FROM unit WHERE run = 'none'", (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, &st, 0);
	tap_ok(b != NULL && st == 0 && access(wal, F_OK) == 0,
	    "a second handle that goes leaves the first one its locks");
	tap_ok(ckpt_done(a, CKPT_INPUT, "/two", A, "r1", &e) == 0 &&
	    strncmp(look(a, "/two"), "completed r1", 12) == 0,
	    "which works on");
	ckpt_close(a);
}

/* One of many: its own units, and the shared ones. Exit 0 or 1. */
static int
hammer(const char *path, int i)
{
	struct err	 e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, CKPT_CREATE, &e);
	char		 key[64], run[32];
	int		 k, bad = c == NULL, won = 0;

	(void)snprintf(run, sizeof(run), "run%d", i);
	for (k = 0; !bad && k < EACH; k++) {
		(void)snprintf(key, sizeof(key), "own/%d/%d", i, k);
		bad = ckpt_start(c, CKPT_INPUT, key, A, run, &e) != 0 ||
		    (k % 5 == 0 ?
		    ckpt_fail(c, CKPT_INPUT, key, run, 75, NULL, "t", &e) :
		    ckpt_done(c, CKPT_INPUT, key, A, run, &e)) != 0;
	}
	for (k = 0; !bad && k < SHARED; k++) {
		(void)snprintf(key, sizeof(key), "shared/%d", k);
		switch (ckpt_start(c, CKPT_INPUT, key, A, run, &e)) {
		case 0:
			won++;
			break;
		case 1:
			break;
		default:
			bad = 1;
		}
	}
	if (bad)
		printf("# process %d: %s\n", i, e.text);
	(void)fflush(stdout);
	ckpt_close(c);
	return bad ? 255 : won;
}

static int
count_attempts(const char *path)
{
	sqlite3		*db = NULL;
	sqlite3_stmt	*s = NULL;
	int		 rows = -1;

	if (sqlite3_open(path, &db) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, "SELECT count(*) FROM attempt", -1, &s,
	    NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
		rows = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	sqlite3_close(db);
	return rows;
}

static void
many(const char *path)
{
	struct ckpt_sel	 sel;
	struct err	 e = { 0, "" };
	struct ckpt	*c;
	int		 i, st, bad = 0, rows, won = 0, go[2];
	char		 ch;

	(void)fflush(stdout);
	if (pipe(go) == -1)
		return;
	for (i = 0; i < PROCS; i++)
		if (fork() == 0) {
			(void)close(go[1]);
			if (read(go[0], &ch, 1) != 0)
				_exit(255);
			_exit(hammer(path, i));
		}
	(void)close(go[1]); /* all at once, the file not yet there */
	for (i = 0; i < PROCS; i++)
		if (wait(&st) == -1 || !WIFEXITED(st) ||
		    WEXITSTATUS(st) == 255)
			bad++;
		else
			won += WEXITSTATUS(st);
	tap_ok(bad == 0, "%d processes at once: no lock error", PROCS);
	tap_ok(won == SHARED, "each shared unit was taken once: %d", won);
	c = ckpt_open(path, 0, &e);
	memset(&sel, 0, sizeof(sel));
	sel.states = 1U << CKPT_COMPLETED;
	tap_ok(count(c, &sel) == PROCS * EACH * 4 / 5,
	    "no completion lost");
	sel.states = 1U << CKPT_FAILED;
	sel.classes = 1U << CKPT_TRANSIENT;
	tap_ok(count(c, &sel) == PROCS * EACH / 5,
	    "no failure lost");
	sel.states = 1U << CKPT_IN_PROGRESS;
	sel.classes = 0;
	tap_ok(count(c, &sel) == SHARED,
	    "and the shared ones");
	ckpt_close(c);
	rows = count_attempts(path);
	tap_ok(rows == PROCS * (EACH + SHARED),
	    "every attempt is in the history: %d", rows);
}

/* Our two databases and what SQLite leaves beside them. */
static void
remove_all(const char *dir)
{
	static const char *const	names[] = { "db", "db-wal", "db-shm",
	    "many", "many-wal", "many-shm", "step", "step-wal",
	    "step-shm", "need", "need-wal", "need-shm", "odd",
	    "odd-wal", "odd-shm", "two",
	    "two-wal", "two-shm" };
	char				path[64];
	size_t				i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

static int
touch_breaker(struct breaker *b, int64_t now, void *arg)
{
	(void)arg;
	b->failures++;
	b->opened = now;
	return 1;
}

static int
on_breaker(const char *host, const struct breaker *b, int64_t updated,
    void *arg)
{
	(void)host;
	(void)updated;
	*(unsigned int *)arg += b->failures;
	return 0;
}

/* Nobody asked for a database: nothing is kept, and nothing fails. */
static void
no_database(void)
{
	struct ckpt_run_end	end = { 0, 0, 0, 0, 0, NULL };
	struct ckpt_facts	f = { 0, 0, 0, NULL, 0, NULL, NULL, NULL };
	struct err		e = { 0, "" };
	struct breaker		b;
	uint64_t		n = 0;

	tap_ok(ckpt_set_pipeline(NULL, "p", &e) == 0 &&
	    ckpt_begin(NULL, &e) == 0 && ckpt_commit(NULL, &e) == 0 &&
	    ckpt_plan(NULL, CKPT_INPUT, "k", "r", &e) >= 0 &&
	    ckpt_start(NULL, CKPT_INPUT, "k", A, "r", &e) == 0 &&
	    ckpt_done(NULL, CKPT_INPUT, "k", A, "r", &e) == 0 &&
	    ckpt_fail(NULL, CKPT_INPUT, "k", "r", 65, NULL, "x", &e) == 0 &&
	    ckpt_note(NULL, CKPT_INPUT, "k", &f, &e) == 0 &&
	    ckpt_aside(NULL, "k", A, NULL, &e) == 0 &&
	    ckpt_release(NULL, "r", 75, &n, &e) == 0 &&
	    ckpt_finish(NULL, "r", &n, &e) == 0 &&
	    ckpt_beat(NULL, "r", &e) == 0 &&
	    ckpt_run_note(NULL, "r", "x", "/", &e) == 0 &&
	    ckpt_run_end(NULL, "r", &end, &e) == 0 &&
	    ckpt_breaker_get(NULL, "h", &b, &e) == 0 &&
	    ckpt_breaker_change(NULL, "h", touch_breaker, NULL, &e) == 0 &&
	    e.code == 0, "without a database everything is forgotten");
	ckpt_rollback(NULL);
	ckpt_close(NULL);
}

/* What is asked for wrongly, and what others wrote into it. */
static void
nonsense(const char *path)
{
	struct err	e = { 0, "" };
	struct ckpt	*c = ckpt_open(path, CKPT_CREATE, &e);
	struct breaker	b;
	unsigned int	n = 0;
	char		longest[1024];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	tap_ok(c != NULL && ckpt_set_pipeline(c, "", &e) == -1 &&
	    e.code == MSG_USAGE && ckpt_set_pipeline(c, longest, &e) == -1 &&
	    ckpt_set_pipeline(c, "\xff", &e) == -1,
	    "a pipeline has a name, short and in UTF-8");
	e.code = 0;
	tap_ok(ckpt_begin(c, &e) == 0 && ckpt_begin(c, &e) == -1 &&
	    e.code == MSG_SOFTWARE, "begun twice is a bug");
	ckpt_rollback(c);
	e.code = 0;
	tap_ok(ckpt_fail(c, CKPT_INPUT, "k", "r", 0, NULL, "x", &e) == -1 &&
	    e.code == MSG_SOFTWARE, "nothing fails with status 0");
	e.code = 0;
	tap_ok(ckpt_breaker_change(c, "", touch_breaker, NULL, &e) == -1 &&
	    e.code == MSG_USAGE, "a breaker is of a host");
	e.code = 0;
	tap_ok(ckpt_breaker_change(c, "h", touch_breaker, NULL, &e) == 0 &&
	    ckpt_breaker_change(c, "h", touch_breaker, NULL, &e) == 0 &&
	    ckpt_breaker_each(c, on_breaker, &n, &e) == 0 && n == 2,
	    "what was changed is kept");
	tap_ok(raw(path, "UPDATE breaker SET recent = 'what?'") == 0 &&
	    ckpt_breaker_get(c, "h", &b, &e) == -1 && e.code == MSG_DATAERR,
	    "a breaker that makes no sense: %s", e.text);
	e.code = 0;
	tap_ok(ckpt_breaker_change(c, "h", touch_breaker, NULL, &e) == -1 &&
	    e.code == MSG_DATAERR, "is not changed");
	e.code = 0;
	tap_ok(ckpt_breaker_each(c, on_breaker, &n, &e) == -1 &&
	    e.code == MSG_DATAERR, "nor listed");
	e.code = 0;
	tap_ok(ckpt_start(c, CKPT_INPUT, "k", A, "r", &e) == 0 && raw(path,
	    "PRAGMA ignore_check_constraints = 1;"
	    "UPDATE unit SET state = 'what?'") == 0 &&
	    ckpt_done(c, CKPT_INPUT, "k", A, "r", &e) == -1 &&
	    e.code == MSG_DATAERR, "nor a unit of a state unknown: %s",
	    e.text);
	ckpt_close(c);
}

/* What is no database of ours is neither taken for one nor changed. */
static void
others(const char *dir)
{
	struct err	e;
	char		path[96];
	size_t		i, wrong = 0;
	int		flags;

	for (i = 0; i < 5; i++) {
		(void)snprintf(path, sizeof(path), "%s/other", dir);
		(void)unlink(path);
		(void)rmdir(path);
		if ((i == 0 && mkdir(path, 0700) == -1) ||
		    (i == 1 && mkfifo(path, 0600) == -1) ||
		    (i == 2 && raw(path, "CREATE TABLE t(x)") != 0) ||
		    (i == 3 && raw(path, "CREATE TABLE t(x);"
		    "PRAGMA user_version = 2") != 0) ||
		    (i == 4 && raw(path, "CREATE TABLE t(x);"
		    "PRAGMA user_version = 1;PRAGMA application_id = 7") != 0))
			wrong++;
		for (flags = 0; flags <= CKPT_CREATE; flags += CKPT_CREATE) {
			memset(&e, 0, sizeof(e));
			if (ckpt_open(path, flags, &e) != NULL ||
			    e.code != MSG_DATAERR) {
				printf("# %zu %d: %d %s\n", i, flags, e.code,
				    e.text);
				wrong++;
			}
		}
	}
	tap_ok(wrong == 0, "a directory, a fifo, databases of others: 65");
	(void)unlink(path);
}

static int
no_end(void *arg, int what, const char *a, const char *b, const char *c,
    const char *d)
{
	(void)arg;
	(void)b;
	(void)c;
	(void)d;
	return what == SQLITE_TRANSACTION && strcmp(a, "COMMIT") == 0 ?
	    SQLITE_DENY : SQLITE_OK;
}

static int
on_stuck(const struct ckpt_unit *u, void *arg)
{
	(void)u;
	(void)sqlite3_set_authorizer(arg, no_end, NULL);
	return 0;
}

/* A look whose transaction cannot be ended, for want of memory, say. */
static void
stuck(struct ckpt *c)
{
	struct ckpt_sel	 sel;
	struct err	 e = { 0, "" };
	char		 text[4096];
	int		 r;

	memset(&sel, 0, sizeof(sel));
	r = ckpt_each(c, &sel, on_stuck, c->db, &e);
	tap_ok(r == -1 && e.code != 0, "that it cannot be ended is an error");
	(void)sqlite3_set_authorizer(c->db, NULL, NULL);
	tap_ok(ckpt_each(c, &sel, on_text, text, &e) == 0,
	    "and bars nobody from the next");
}

int
main(void)
{
	char		 dir[TMP_DIR], path[64], text[64];
	const char	*key = "refused";
	struct ckpt_sel	 sel;
	struct err	 e = { 0, "" };
	struct ckpt	*c;

	msg_init("unit");
	tap_plan(175);
	(void)unsetenv("DCKPT_DB");
	(void)unsetenv("DCKPT_PIPELINE");
	if (tmp_dir(dir, "ckpt") == -1)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/db", dir);
	tap_ok(ckpt_open(NULL, CKPT_CREATE, &e) == NULL && e.code == 0,
	    "nobody names one: NULL and no error");
	tap_ok(ckpt_open(path, 0, &e) == NULL && e.code == MSG_NOINPUT &&
	    access(path, F_OK) == -1, "absent: 66, and nothing made");
	e.code = 0;
	c = ckpt_open(path, CKPT_CREATE, &e);
	tap_ok(c != NULL, "created");
	transitions(c, path);
	memset(&sel, 0, sizeof(sel));
	sel.keys = &key;
	sel.n_keys = 1;
	tap_ok(ckpt_each(c, &sel, on_text, text, &e) == 0 &&
	    strcmp(text, "a?\"\n\xc3\xa9") == 0,
	    "error texts are kept as they are, in UTF-8");
	stuck(c);
	ckpt_close(c);
	(void)snprintf(path, sizeof(path), "%s/many", dir);
	many(path);
	(void)snprintf(path, sizeof(path), "%s/two", dir);
	two_handles(path);
	(void)snprintf(path, sizeof(path), "%s/step", dir);
	every_step(path);
	keys();
	file_systems();
	(void)snprintf(path, sizeof(path), "%s/need", dir);
	forced(path);
	no_database();
	(void)snprintf(path, sizeof(path), "%s/odd", dir);
	nonsense(path);
	others(dir);
	remove_all(dir);
	return tap_done();
}
