/*
 * ckpt_unit: the changes that are made to units.  It never looks at an
 * input or a target.
 *
 * A change is one BEGIN IMMEDIATE: the unit is read under the write lock,
 * ckpt_step says what becomes of it, and the update's WHERE repeats what
 * was read.
 * SPDX-License-Identifier: ISC
 */
#include "ckpt_db.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "ckpt_step.h"
#include "db.h"
#include "hide.h"
#include "banned.h"

/* What a change is about. */
struct what {
	enum ckpt_scope	 scope;
	const char	*key;		/* as its caller says it */
	char		*kept;		/* as it is kept */
	const char	*digest, *run;
	int		 skip;		/* found done */
};

/* A unit as a change finds it. */
struct found {
	int64_t		 id;	/* 0: there is none */
	enum ckpt_at	 at;
	int		 same;	/* digest is the caller's, or one is unknown */
	int		 known;	/* both digests are known */
};

/* What ended an attempt. */
struct ending {
	const char	*outcome;	/* NULL: it has begun */
	const char	*digest;
	int		 status;
	const char	*code, *error;
};

static void
bind_unit(struct ckpt *c, sqlite3_stmt *st, const struct what *w)
{
	ckpt_db_str(st, 1, c->pipeline);
	ckpt_db_str(st, 2, ckpt_scope_name(w->scope));
	ckpt_db_str(st, 3, w->kept);
}

static int
find(struct ckpt *c, const struct what *w, struct found *f, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_FIND, e);
	enum ckpt_state	 state;
	int		 r;

	memset(f, 0, sizeof(*f));
	if (st == NULL)
		return -1;
	bind_unit(c, st, w);
	ckpt_db_str(st, 4, w->run);
	ckpt_db_str(st, 5, w->digest);
	r = db_step(st, c->path, e);
	if (r != 1)
		return r;
	f->id = sqlite3_column_int64(st, 0);
	if (ckpt_state_parse(ckpt_db_col(st, 1), &state) == -1)
		return err_set(e, MSG_DATAERR, "%s: %s: unknown state",
		    c->path, w->key);
	switch (state) {
	case CKPT_PENDING:
		f->at = CKPT_AT_PENDING;
		break;
	case CKPT_IN_PROGRESS:
		f->at = sqlite3_column_int(st, 2) ? CKPT_AT_MINE :
		    sqlite3_column_int(st, 3) ? CKPT_AT_STALE : CKPT_AT_HELD;
		break;
	case CKPT_COMPLETED:
		f->at = CKPT_AT_DONE;
		break;
	case CKPT_FAILED:
		f->at = CKPT_AT_FAILED;
		break;
	}
	f->same = sqlite3_column_int(st, 4);
	f->known = sqlite3_column_int(st, 5);
	(void)sqlite3_reset(st);
	return 0;
}

/* A new unit, pending, that nobody has tried. */
static int
insert(struct ckpt *c, const struct what *w, int64_t *id, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_INSERT, e);

	if (st == NULL)
		return -1;
	bind_unit(c, st, w);
	ckpt_db_int(st, 4, c->now);
	if (ckpt_db_change_one(c, st, w->key, e) == -1)
		return -1;
	*id = sqlite3_last_insert_rowid(c->db);
	return 0;
}

static void
bind_ending(sqlite3_stmt *st, int i, const struct ending *g)
{
	ckpt_db_str(st, i, g->outcome);
	ckpt_db_str(st, i + 1, g->digest);
	if (g->status != 0) {
		ckpt_db_int(st, i + 2, g->status);
		ckpt_db_str(st, i + 3,
		    ckpt_class_name(ckpt_class_of(g->status)));
	}
	ckpt_db_str(st, i + 4, g->code);
	ckpt_db_str(st, i + 5, g->error);
}

static int
count_attempt(struct ckpt *c, int64_t id, const struct what *w,
    struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_COUNT_TRY, e);

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	return ckpt_db_change_one(c, st, w->key, e);
}

/* A line of history, begun now and, with an outcome, ended now. */
static int
attempt(struct ckpt *c, int64_t id, const struct what *w,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_TRY, e);

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_str(st, 2, w->run);
	ckpt_db_str(st, 3, c->self.host);
	ckpt_db_int(st, 4, getpid());
	ckpt_db_str(st, 5, c->tool);
	ckpt_db_int(st, 6, c->now);
	if (g->outcome != NULL)
		ckpt_db_int(st, 7, c->now);
	bind_ending(st, 8, g);
	return ckpt_db_change_one(c, st, w->key, e);
}

/* The run's open attempts at the unit have ended so: 1, 0 none, -1. */
static int
end_open(struct ckpt *c, int64_t id, const struct what *w,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_TRY_END, e);
	int		 n;

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_str(st, 2, w->run);
	ckpt_db_int(st, 3, c->now);
	bind_ending(st, 4, g);
	if (ckpt_db_change(c, st, &n, e) == -1)
		return -1;
	return n > 0;
}

/*
 * The run's attempt at the unit has ended so: the one that is open, or one
 * nobody announced.  Saying the same thing twice is saying it once.
 */
static int
attempt_end(struct ckpt *c, int64_t id, const struct what *w,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st;
	int		 n = end_open(c, id, w, g, e);

	if (n != 0)
		return n == 1 ? 0 : -1;
	st = ckpt_db_stmt(c, CKPT_ST_TRY_ENDED, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_str(st, 2, w->run);
	ckpt_db_str(st, 3, g->outcome);
	n = db_step(st, c->path, e);
	if (n != 0)
		return n == 1 ? 0 : -1;
	if (count_attempt(c, id, w, e) == -1)
		return -1;
	return attempt(c, id, w, g, e);
}

/* The columns of an owner, ?2 to ?10. */
static void
bind_owner(struct ckpt *c, sqlite3_stmt *st, const struct what *w)
{
	ckpt_db_str(st, 2, c->tool);
	ckpt_db_str(st, 3, w->run);
	ckpt_db_str(st, 4, c->self.host);
	if (c->self.place[0] != '\0')
		ckpt_db_str(st, 5, c->self.place);
	/* a child of whoever opened it may be the one that says this */
	ckpt_db_int(st, 6, c->self.pid);
	ckpt_db_some(st, 7, c->self.born);
	ckpt_db_int(st, 8, c->self.pgid);
	ckpt_db_some(st, 9, c->self.pgborn);
	ckpt_db_int(st, 10, c->now);
}

/* Take the unit over, from whatever state it is in. */
static int
take(struct ckpt *c, int64_t id, const struct what *w, struct err *e)
{
	struct ending	 g = { NULL, w->digest, 0, NULL, NULL };
	sqlite3_stmt	*st;

	/* who had it left it without a word */
	st = ckpt_db_stmt(c, CKPT_ST_TRY_ABANDON, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_int(st, 2, c->now);
	if (db_step(st, c->path, e) == -1)
		return -1;
	st = ckpt_db_stmt(c, CKPT_ST_START, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	bind_owner(c, st, w);
	ckpt_db_int(st, 11, c->now + c->lease_ms);
	ckpt_db_str(st, 12, w->digest);
	if (ckpt_db_change_one(c, st, w->key, e) == -1)
		return -1;
	return attempt(c, id, w, &g, e);
}

static int
renew(struct ckpt *c, int64_t id, const struct what *w, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_RENEW, e);

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_int(st, 2, c->now + c->lease_ms);
	ckpt_db_int(st, 3, c->now);
	ckpt_db_str(st, 4, w->run);
	ckpt_db_str(st, 5, w->digest);
	return ckpt_db_change_one(c, st, w->key, e);
}

static int
set_failed(struct ckpt *c, int64_t id, const struct what *w,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_FAIL, e);

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	bind_owner(c, st, w);
	ckpt_db_str(st, 12, ckpt_class_name(ckpt_class_of(g->status)));
	ckpt_db_int(st, 13, g->status);
	ckpt_db_str(st, 14, g->code);
	ckpt_db_str(st, 15, g->error);
	if (ckpt_db_change_one(c, st, w->key, e) == -1)
		return -1;
	return attempt_end(c, id, w, g, e);
}

/* The run's open attempt is none: 1 it is gone, 0 it stays, -1. */
static int
forget_attempt(struct ckpt *c, int64_t id, const struct what *w,
    struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_TRY_FORGET, e);
	int		 n;

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_str(st, 2, w->run);
	if (ckpt_db_change(c, st, &n, e) == -1)
		return -1;
	if (n == 0)
		return 0;
	st = ckpt_db_stmt(c, CKPT_ST_COUNT_LESS, e);
	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_int(st, 2, n);
	return ckpt_db_change_one(c, st, w->key, e) == -1 ? -1 : 1;
}

static int
set_done(struct ckpt *c, int64_t id, const struct what *w,
    const struct ending *g, struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_DONE, e);
	int		 r;

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	bind_owner(c, st, w);
	ckpt_db_str(st, 12, g->digest);
	if (ckpt_db_change_one(c, st, w->key, e) == -1)
		return -1;
	r = w->skip ? forget_attempt(c, id, w, e) : 0;
	if (r != 0)
		return r == 1 ? 0 : -1;
	return attempt_end(c, id, w, g, e);
}

/*
 * Begun, but it is another run's: its attempt is all that is kept, and
 * once.
 */
static int
begin_beside(struct ckpt *c, int64_t id, const struct what *w,
    struct err *e)
{
	struct ending	 g = { NULL, w->digest, 0, NULL, NULL };
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_TRY_OPEN, e);
	int		 r;

	if (st == NULL)
		return -1;
	ckpt_db_int(st, 1, id);
	ckpt_db_str(st, 2, w->run);
	r = db_step(st, c->path, e);
	if (r != 0)
		return r == 1 ? 0 : -1;
	if (count_attempt(c, id, w, e) == -1)
		return -1;
	return attempt(c, id, w, &g, e);
}

/*
 * Find the unit and make the one change that ev makes of it.  g is what
 * the attempt ends with.  0 it was made, 1 only the history was written,
 * 2 it was not that content, or needs no claim, -1.
 */
static int
apply(struct ckpt *c, const struct what *w, enum ckpt_event ev,
    const struct ending *g, struct err *e)
{
	struct ending	 bad = { "failed", w->digest, MSG_DATAERR, "changed",
		"it changed while it was worked on" };
	struct ending	 again = { "repeated", w->digest, 0, NULL, NULL };
	struct found	 f;
	enum ckpt_act	 act;

	if (find(c, w, &f, e) == -1)
		return -1;
	if (ev == CKPT_EV_DONE_UNKNOWN && f.known)
		ev = f.same ? CKPT_EV_DONE_SAME : CKPT_EV_DONE_OTHER;
	if (ev == CKPT_EV_CLAIM && !(f.known && f.same))
		ev = CKPT_EV_START;
	act = ckpt_step(f.at, ev);
	if (f.id == 0 && act != CKPT_ACT_NONE &&
	    insert(c, w, &f.id, e) == -1)
		return -1;
	switch (act) {
	case CKPT_ACT_NONE:
		return ev == CKPT_EV_CLAIM ? 2 : 1;
	case CKPT_ACT_PLAN:
		return 0;
	case CKPT_ACT_TAKE:
		return take(c, f.id, w, e);
	case CKPT_ACT_RENEW:
		return renew(c, f.id, w, e);
	case CKPT_ACT_HISTORY:
		return (g == NULL ? begin_beside(c, f.id, w, e) :
		    attempt_end(c, f.id, w, g, e)) == -1 ? -1 : 1;
	case CKPT_ACT_DONE:
		return set_done(c, f.id, w, g, e);
	case CKPT_ACT_REPEAT:
		return end_open(c, f.id, w, &again, e) == -1 ? -1 : 0;
	case CKPT_ACT_CHANGED:
		return set_failed(c, f.id, w, &bad, e) == -1 ? -1 : 2;
	case CKPT_ACT_FAIL:
		return set_failed(c, f.id, w, g, e);
	case CKPT_ACT_PENDING:
	case CKPT_ACT_FORCE:
		break; /* of many units at once: ckpt_release, ckpt_ask */
	}
	return err_set(e, MSG_SOFTWARE, "%s: %s: no such change", c->path,
	    w->key);
}

static int
change(struct ckpt *c, struct what *w, enum ckpt_event ev,
    const struct ending *g, struct err *e)
{
	int	rv;

	if (c == NULL)
		return 0;
	w->kept = ckpt_db_key(c, w->scope, w->key, e);
	if (w->kept == NULL)
		return -1;
	rv = ckpt_db_enter(c, e);
	if (rv != -1)
		rv = ckpt_db_leave(c, apply(c, w, ev, g, e), e);
	free(w->kept);
	return rv;
}

int
ckpt_plan(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *run, struct err *e)
{
	struct what	w = { scope, key, NULL, NULL, run, 0 };

	return change(c, &w, CKPT_EV_PLAN, NULL, e);
}

/* The pipeline that drun told us of, once. */
static int
note_run(struct ckpt *c, const char *run, struct err *e)
{
	const char	*id = getenv("DRUN_ID"), *text, *cwd;
	char		*here = NULL;
	int		 rv;

	if (c->noted || run == NULL || id == NULL || strcmp(id, run) != 0)
		return 0;
	text = getenv("DRUN_PIPELINE");
	if (text == NULL || *text == '\0')
		return 0;
	cwd = getenv("DRUN_CWD");
	if (cwd == NULL || *cwd != '/')
		cwd = here = getcwd(NULL, 0);
	rv = ckpt_run_note(c, run, text, cwd, e);
	free(here);
	c->noted = rv == 0;
	return rv;
}

int
ckpt_start(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	struct what	w = { scope, key, NULL, digest, run, 0 };

	if (c != NULL && note_run(c, run, e) == -1)
		return -1;
	return change(c, &w, CKPT_EV_START, NULL, e);
}

int
ckpt_claim(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	struct what	w = { scope, key, NULL, digest, run, 0 };

	if (c != NULL && note_run(c, run, e) == -1)
		return -1;
	return change(c, &w, CKPT_EV_CLAIM, NULL, e);
}

static int
done(struct ckpt *c, struct what *w, struct err *e)
{
	struct ending	g = { "completed", w->digest, 0, NULL, NULL };
	int		rv = change(c, w, CKPT_EV_DONE_UNKNOWN, &g, e);

	if (rv != 2)
		return rv;
	return err_set(e, MSG_DATAERR, "%s: it changed while it was worked "
	    "on: it was not that content that was done", w->key);
}

int
ckpt_done(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	struct what	w = { scope, key, NULL, digest, run, 0 };

	return done(c, &w, e);
}

int
ckpt_skip(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *digest, const char *run, struct err *e)
{
	struct what	w = { scope, key, NULL, digest, run, 1 };

	return done(c, &w, e);
}

int
ckpt_fail(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const char *run, int status, const char *code, const char *text,
    struct err *e)
{
	char		b[CKPT_TEXT_MAX + 1], *kept;
	struct ending	g = { "failed", NULL, status, code, NULL };
	struct what	w = { scope, key, NULL, NULL, run, 0 };
	int		rv;

	if (status == 0)
		return err_set(e, MSG_SOFTWARE, "%s: failed with status 0",
		    key);
	if (code == NULL && msg_fault_of(status)->name[0] != '\0')
		g.code = msg_status_name(status);
	kept = text != NULL ? hide_text(text) : NULL;
	g.error = ckpt_db_text(kept, b);
	rv = change(c, &w, CKPT_EV_FAIL, &g, e);
	free(kept);
	return rv;
}

/* Attempts first: which they are, their units' state says. */
static int
change_run(struct ckpt *c, const enum ckpt_stmt order[2], const char *run,
    int status, uint64_t *n, struct err *e)
{
	sqlite3_stmt	*st;
	int		 i, rows = 0, rv = 0;

	if (n != NULL)
		*n = 0;
	if (c == NULL || run == NULL)
		return 0;
	if (ckpt_db_enter(c, e) == -1)
		return -1;
	for (i = 0; rv == 0 && i < 2; i++) {
		st = ckpt_db_stmt(c, order[i], e);
		if (st == NULL) {
			rv = -1;
			break;
		}
		ckpt_db_str(st, 1, run);
		ckpt_db_str(st, 2, c->pipeline);
		if (order[1] == CKPT_ST_FINISH)
			ckpt_db_str(st, 3, c->tool);
		else if (status != 0) {
			ckpt_db_str(st, 3,
			    ckpt_class_name(ckpt_class_of(status)));
			ckpt_db_int(st, 4, status);
		}
		ckpt_db_int(st, 5, c->now);
		rv = ckpt_db_change(c, st, &rows, e);
	}
	if (rv == 0 && n != NULL)
		*n = (uint64_t)rows;
	return ckpt_db_leave(c, rv, e);
}

int
ckpt_release(struct ckpt *c, const char *run, int status, uint64_t *n,
    struct err *e)
{
	static const enum ckpt_stmt	order[2] = { CKPT_ST_RELEASE_TRY,
		CKPT_ST_RELEASE };

	return change_run(c, order, run, status, n, e);
}

int
ckpt_finish(struct ckpt *c, const char *run, uint64_t *n, struct err *e)
{
	static const enum ckpt_stmt	order[2] = { CKPT_ST_FINISH_TRY,
		CKPT_ST_FINISH };

	return change_run(c, order, run, 0, n, e);
}

static int
note(struct ckpt *c, const struct what *w, const struct ckpt_facts *f,
    struct err *e)
{
	sqlite3_stmt	*st = ckpt_db_stmt(c, CKPT_ST_NOTE, e);
	int		 n = 0;

	if (st == NULL)
		return -1;
	bind_unit(c, st, w);
	ckpt_db_some(st, 4, (int64_t)f->size);
	ckpt_db_some(st, 5, f->mtime);
	ckpt_db_some(st, 6, (int64_t)f->inode);
	ckpt_db_str(st, 7, f->options);
	ckpt_db_some(st, 8, (int64_t)f->records);
	ckpt_db_str(st, 9, f->result);
	ckpt_db_str(st, 10, f->digest);
	ckpt_db_str(st, 11, f->run);
	if (ckpt_db_change(c, st, &n, e) == -1)
		return -1;
	if (n == 0 && f->run != NULL)
		return 1;
	return n == 1 ? 0 : err_set(e, MSG_NOINPUT, "%s: no such checkpoint",
	    w->key);
}

int
ckpt_note(struct ckpt *c, enum ckpt_scope scope, const char *key,
    const struct ckpt_facts *f, struct err *e)
{
	struct what	w = { scope, key, NULL, NULL, NULL, 0 };
	int		rv;

	if (c == NULL)
		return 0;
	w.kept = ckpt_db_key(c, scope, key, e);
	if (w.kept == NULL)
		return -1;
	rv = ckpt_db_enter(c, e);
	if (rv != -1)
		rv = ckpt_db_leave(c, note(c, &w, f, e), e);
	free(w.kept);
	return rv;
}

int
ckpt_forced(struct ckpt *c, enum ckpt_scope scope, const char *key,
    struct err *e)
{
	struct what	 w = { scope, key, NULL, NULL, NULL, 0 };
	sqlite3_stmt	*st;
	int		 r = -1;

	if (c == NULL)
		return 0;
	w.kept = ckpt_db_key(c, scope, key, e);
	if (w.kept == NULL)
		return -1;
	st = ckpt_db_stmt(c, CKPT_ST_FORCED, e);
	if (st != NULL) {
		bind_unit(c, st, &w);
		r = db_step(st, c->path, e);
		if (r == 1)
			r = sqlite3_column_int(st, 0) != 0;
		(void)sqlite3_reset(st);
	}
	free(w.kept);
	return r;
}

int
ckpt_aside(struct ckpt *c, const char *key, const char *digest,
    const char *where, struct err *e)
{
	sqlite3_stmt	*st;
	char		*kept;
	int		 rv = -1;

	if (c == NULL)
		return 0;
	kept = ckpt_db_key(c, CKPT_INPUT, key, e);
	if (kept == NULL)
		return -1;
	if (ckpt_db_enter(c, e) == 0) {
		st = ckpt_db_stmt(c, CKPT_ST_ASIDE, e);
		if (st != NULL) {
			ckpt_db_str(st, 1, kept);
			ckpt_db_str(st, 2, where);
			ckpt_db_str(st, 3, digest);
			rv = db_step(st, c->path, e);
		}
		rv = ckpt_db_leave(c, rv, e);
	}
	free(kept);
	return rv;
}
