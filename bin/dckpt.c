/*
 * dckpt: what the checkpoint database knows, for people and programs: what
 * is done, what failed and what to do about it; or, as a stage, records
 * what flows by.  It runs nothing again itself.
 * SPDX-License-Identifier: ISC
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "ckpt.h"
#include "filter.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "msg.h"
#include "num.h"
#include "rec.h"
#include "banned.h"

#define LINE_MAX_BYTES	((size_t)1 << 20)	/* of one unit shown */
#define ANSWER_MAX	16
#define STAMP_MAX	96	/* bytes of a time or an age as text */

enum verb {
	V_STREAM,
	V_LIST,
	V_FAILED,
	V_STATS,
	V_CLEAR,
	V_RETRY
};

/* Long options without a letter. */
enum {
	O_CLASS = 256,
	O_HISTORY,
	O_JSON,
	O_JSON_IN,
	O_LIMIT,
	O_SCOPE,
	O_STAGE,
	O_STATE
};

/* Counts of one pipeline and scope. */
struct tally {
	char		*pipeline;
	enum ckpt_scope	 scope;
	uint64_t	 n[CKPT_STATE_N], stale, attempts;
	int64_t		 first, last;
};

struct opts {
	struct ckpt_sel	 sel;
	const char	*db, *stage;
	int		 json, json_in, history, dry, yes, nul;
};

struct out {
	struct opts	*o;
	struct ckpt	*c;
	struct err	*e;
	struct buf	 b;
	int64_t		 now;	/* ms */
	uint64_t	 n;	/* units seen */
	uint64_t	 states[CKPT_STATE_N];
	struct tally	*t;
	size_t		 nt, cap;
};

static const char *const verbs[] = { "", "list", "failed", "stats", "clear",
	"retry" };

/* The options that a verb takes, by what getopt returns. */
static const int allowed[][16] = {
	[V_STREAM] = { 'c', 'p', 'v', O_JSON, O_JSON_IN, O_STAGE },
	[V_LIST] = { 'c', 'g', 'p', 'v', O_CLASS, O_HISTORY, O_JSON, O_LIMIT,
	    O_SCOPE, O_STATE },
	[V_FAILED] = { 'c', 'g', 'p', 'v', O_CLASS, O_HISTORY, O_JSON,
	    O_LIMIT, O_SCOPE },
	[V_STATS] = { 'c', 'g', 'p', 'v', O_JSON, O_SCOPE },
	[V_CLEAR] = { 'c', 'g', 'n', 'p', 'v', 'y', O_CLASS, O_JSON, O_SCOPE,
	    O_STATE },
	[V_RETRY] = { '0', 'c', 'g', 'n', 'p', 'v', O_CLASS, O_JSON, O_LIMIT,
	    O_SCOPE }
};

static const char usage_text[] =
    "usage: dckpt [-0hnVvy] [-c db] [-g glob] [-p pipeline] [--class class]\n"
    "             [--history] [--json] [--json-in] [--limit n]"
    " [--scope scope]\n"
    "             [--stage dir] [--state state] [verb [key ...]]\n";

/*
 * Text for people.
 */

static const char *
iso(int64_t ms, char b[STAMP_MAX])
{
	time_t		t = (time_t)(ms / 1000);
	struct tm	tm;

	if (gmtime_r(&t, &tm) == NULL)
		return "-";
	(void)snprintf(b, STAMP_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	    tm.tm_min, tm.tm_sec, (int)(ms % 1000));
	return b;
}

static const char *
age(int64_t ms, char b[STAMP_MAX])
{
	int64_t	s = ms < 0 ? 0 : ms / 1000;

	if (s < 120)
		(void)snprintf(b, STAMP_MAX, "%" PRId64 " s", s);
	else if (s < 7200)
		(void)snprintf(b, STAMP_MAX, "%" PRId64 " min", s / 60);
	else if (s < 172800)
		(void)snprintf(b, STAMP_MAX, "%" PRId64 " h", s / 3600);
	else
		(void)snprintf(b, STAMP_MAX, "%" PRId64 " d", s / 86400);
	return b;
}

/* s with control bytes masked, so that a line stays a line. */
static void
put_masked(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++)
		buf_addc(b, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' :
		    *s);
}

/* Print what b holds; a failed write is seen at the end. */
static void
put(struct buf *b)
{
	if (b->len > 0)
		(void)fwrite(b->p, 1, b->len, stdout);
	buf_reset(b);
}

/* What an operator may do about a unit. */
static const char *
advice(const struct ckpt_unit *u)
{
	if (u->state == CKPT_IN_PROGRESS)
		return "its run is gone: run it again; dckpt retry makes it "
		    "pending";
	switch (u->status) {
	case MSG_USAGE:
		return "mend the call or the configuration, then dckpt retry";
	case MSG_DATAERR:
		return "replace or quarantine the input (dfetch it | dcheck "
		    "says how), then dckpt retry";
	case MSG_NOINPUT:
		return "find out why it is not there, bring it back, then "
		    "dckpt retry";
	case MSG_SOFTWARE:
		return "report it as a bug";
	case MSG_CANTCREAT:
		return "another publisher was first: run again from dfetch";
	case MSG_IOERR:
		return "mend the machine (disk, memory), then dckpt retry";
	case MSG_TEMPFAIL:
		return "run it again later: dckpt retry";
	case MSG_PROTOCOL:
		return "the cause is upstream: look at what else failed in "
		    "that run";
	case MSG_NOPERM:
		return "mend permissions or credentials, then dckpt retry";
	default:
		return "look at the program that failed, then dckpt retry";
	}
}

static int
history_text(const struct ckpt_attempt *a, void *arg)
{
	struct out	*o = arg;
	char		 t[STAMP_MAX];

	buf_printf(&o->b, "    %s %s", iso(a->started, t),
	    a->outcome[0] != '\0' ? a->outcome : "not ended");
	if (a->ended > a->started)
		buf_printf(&o->b, " after %s",
		    age(a->ended - a->started, t));
	if (a->status != 0)
		buf_printf(&o->b, ", exit %d", a->status);
	buf_printf(&o->b, ", run %s, %s pid %" PRId64,
	    a->run != NULL ? a->run : "-", a->host != NULL ? a->host : "-",
	    a->pid);
	if (a->error != NULL) {
		buf_str(&o->b, ": ");
		put_masked(&o->b, a->error);
	}
	buf_addc(&o->b, '\n');
	return 0;
}

static int
show_history(const struct ckpt_unit *u, struct out *o,
    int (*f)(const struct ckpt_attempt *, void *))
{
	if (ckpt_history(o->c, u->id, f, o, o->e) == 0)
		return 0;
	msg_err(o->e);
	return -1;
}

static int
list_text(const struct ckpt_unit *u, struct out *o)
{
	char	t[STAMP_MAX];

	buf_printf(&o->b, "%-11s %-9s %s %2" PRIu64 " %s ",
	    u->stale ? "stale" : ckpt_state_name(u->state),
	    ckpt_scope_name(u->scope), iso(u->updated, t), u->attempts,
	    u->pipeline);
	put_masked(&o->b, u->key);
	buf_addc(&o->b, '\n');
	return o->o->history ? show_history(u, o, history_text) : 0;
}

static int
failed_text(const struct ckpt_unit *u, struct out *o)
{
	char	t[STAMP_MAX];

	put_masked(&o->b, u->key);
	buf_printf(&o->b, "\n    %s of pipeline %s, ",
	    ckpt_scope_name(u->scope), u->pipeline);
	if (u->stale)
		buf_printf(&o->b, "in progress and stale (%s)",
		    u->lease < o->now ? "its lease is over" :
		    "its processes are gone");
	else
		buf_printf(&o->b, "failed with exit %d%s%s, %s", u->status,
		    u->code != NULL ? " " : "",
		    u->code != NULL ? u->code : "", ckpt_class_name(u->class));
	buf_printf(&o->b, "\n    %s ago, attempt %" PRIu64 ", run %s on %s "
	    "pid %" PRId64 "\n", age(o->now - u->updated, t), u->attempts,
	    u->run != NULL ? u->run : "-", u->host != NULL ? u->host : "-",
	    u->pid);
	if (u->error != NULL) {
		buf_str(&o->b, "    error: ");
		put_masked(&o->b, u->error);
		buf_addc(&o->b, '\n');
	}
	buf_printf(&o->b, "    mend: %s\n", advice(u));
	return o->o->history ? show_history(u, o, history_text) : 0;
}

/*
 * JSON for programs: one object a line.
 */

static void
put_opt(struct buf *b, const char *key, const char *s)
{
	if (s != NULL && *s != '\0')
		json_put_kstr(b, key, s);
}

static void
put_time(struct buf *b, const char *key, int64_t ms)
{
	char	t[STAMP_MAX];

	if (ms != 0)
		json_put_kstr(b, key, iso(ms, t));
}

static int
history_json(const struct ckpt_attempt *a, void *arg)
{
	struct buf	*b = &((struct out *)arg)->b;

	if (b->p[b->len - 1] != '[')
		buf_addc(b, ',');
	buf_addc(b, '{');
	put_time(b, "started", a->started);
	put_time(b, "ended", a->ended);
	put_opt(b, "outcome", a->outcome);
	put_opt(b, "run", a->run);
	put_opt(b, "host", a->host);
	json_put_kint(b, "pid", a->pid);
	put_opt(b, "tool", a->tool);
	put_opt(b, "digest", a->digest);
	if (a->status != 0)
		json_put_kint(b, "status", a->status);
	put_opt(b, "class", ckpt_class_name(a->class));
	put_opt(b, "code", a->code);
	put_opt(b, "error", a->error);
	buf_addc(b, '}');
	return 0;
}

static int
unit_json(const struct ckpt_unit *u, struct out *o, int with_advice)
{
	struct buf	*b = &o->b;

	buf_addc(b, '{');
	json_put_kstr(b, "pipeline", u->pipeline);
	json_put_kstr(b, "scope", ckpt_scope_name(u->scope));
	json_put_kstr(b, "key", u->key);
	json_put_kstr(b, "state", ckpt_state_name(u->state));
	json_put_key(b, "stale");
	buf_str(b, u->stale ? "true" : "false");
	json_put_kint(b, "attempts", (int64_t)u->attempts);
	put_opt(b, "digest", u->digest);
	if (u->size != 0)
		json_put_kint(b, "size", (int64_t)u->size);
	if (u->mtime != 0)
		json_put_kint(b, "mtime_ns", u->mtime);
	if (u->inode != 0)
		json_put_kint(b, "inode", (int64_t)u->inode);
	put_opt(b, "tool", u->tool);
	put_opt(b, "options", u->options);
	put_opt(b, "run", u->run);
	put_opt(b, "host", u->host);
	if (u->pid != 0)
		json_put_kint(b, "pid", u->pid);
	put_time(b, "lease", u->lease);
	if (u->status != 0)
		json_put_kint(b, "status", u->status);
	put_opt(b, "class", ckpt_class_name(u->class));
	put_opt(b, "code", u->code);
	put_opt(b, "error", u->error);
	put_time(b, "created", u->created);
	put_time(b, "updated", u->updated);
	if (with_advice) {
		json_put_kint(b, "age_s", (o->now - u->updated) / 1000);
		json_put_kstr(b, "mend", advice(u));
	}
	if (o->o->history) {
		json_put_key(b, "history");
		buf_addc(b, '[');
		if (show_history(u, o, history_json) == -1)
			return -1;
		buf_addc(b, ']');
	}
	buf_str(b, "}\n");
	return 0;
}

static int
on_list(const struct ckpt_unit *u, void *arg)
{
	struct out	*o = arg;
	int		 rv;

	o->n++;
	rv = o->o->json ? unit_json(u, o, 0) : list_text(u, o);
	put(&o->b);
	return rv;
}

static int
on_failed(const struct ckpt_unit *u, void *arg)
{
	struct out	*o = arg;
	int		 rv;

	o->n++;
	rv = o->o->json ? unit_json(u, o, 1) : failed_text(u, o);
	put(&o->b);
	return rv;
}

/* A key for xargs, as it is: nothing masked. */
static int
on_retry(const struct ckpt_unit *u, void *arg)
{
	struct out	*o = arg;

	o->n++;
	if (o->o->json)
		(void)unit_json(u, o, 1);
	else {
		buf_str(&o->b, u->key);
		buf_addc(&o->b, o->o->nul ? '\0' : '\n');
	}
	put(&o->b);
	return 0;
}

static int
on_count(const struct ckpt_unit *u, void *arg)
{
	struct out	*o = arg;

	o->n++;
	o->states[u->state]++;
	if (o->o->dry && o->o->json)
		(void)unit_json(u, o, 0);
	else if (o->o->dry)
		(void)list_text(u, o);
	put(&o->b);
	return 0;
}

static int
on_tally(const struct ckpt_unit *u, void *arg)
{
	struct out	*o = arg;
	struct tally	*t;
	size_t		 i;

	for (i = 0; i < o->nt; i++)
		if (o->t[i].scope == u->scope &&
		    strcmp(o->t[i].pipeline, u->pipeline) == 0)
			break;
	if (i == o->nt) {
		o->t = mem_grow(o->t, &o->cap, o->nt + 1, sizeof(*o->t));
		o->nt++;
		memset(&o->t[i], 0, sizeof(o->t[i]));
		o->t[i].pipeline = mem_dup(u->pipeline);
		o->t[i].scope = u->scope;
		o->t[i].first = u->created;
	}
	t = &o->t[i];
	t->n[u->state]++;
	t->stale += (uint64_t)u->stale;
	t->attempts += u->attempts;
	if (u->created < t->first)
		t->first = u->created;
	if (u->updated > t->last)
		t->last = u->updated;
	return 0;
}

/*
 * The verbs.
 */

static int
one_key(const struct ckpt_unit *u, void *arg)
{
	(void)u;
	*(int *)arg = 1;
	return 1;
}

/*
 * Whatever was named must be there, whatever its state: a word mistyped is
 * not "nothing failed".  0, or the status after saying which.
 */
static int
check_named(struct ckpt *c, const struct ckpt_sel *s, struct err *e)
{
	struct ckpt_sel	q;
	size_t		i;
	int		seen, status = 0;

	memset(&q, 0, sizeof(q));
	q.pipeline = s->pipeline;
	q.n_keys = 0;
	q.limit = 1;
	if (s->pipeline != NULL) {
		seen = 0;
		if (ckpt_each(c, &q, one_key, &seen, e) == -1)
			return e->code;
		if (!seen) {
			msg_warn("%s: no such pipeline in this database",
			    s->pipeline);
			return MSG_NOINPUT;
		}
	}
	q.scopes = s->scopes;
	q.glob = s->glob;
	if (s->glob != NULL) {
		seen = 0;
		if (ckpt_each(c, &q, one_key, &seen, e) == -1)
			return e->code;
		if (!seen) {
			msg_warn("%s: no key is like this", s->glob);
			return MSG_NOINPUT;
		}
	}
	q.n_keys = 1;
	for (i = 0; i < s->n_keys; i++) {
		seen = 0;
		q.keys = &s->keys[i];
		if (ckpt_each(c, &q, one_key, &seen, e) == -1)
			return e->code;
		if (!seen) {
			msg_warn("%s: no such checkpoint", s->keys[i]);
			status = MSG_NOINPUT;
		}
	}
	return status;
}

static int
stats(struct out *o)
{
	struct buf	*b = &o->b;
	char		 t1[STAMP_MAX], t2[STAMP_MAX];
	uint64_t	 ended;
	size_t		 i;
	int		 k;

	o->o->sel.oldest = 1;
	if (ckpt_each(o->c, &o->o->sel, on_tally, o, o->e) == -1)
		return -1;
	if (!o->o->json)
		buf_printf(b, "%-12s %-9s %9s %11s %9s %7s %7s %8s  %-24s %s\n",
		    "PIPELINE", "SCOPE", "PENDING", "IN_PROGRESS",
		    "COMPLETED", "FAILED", "STALE", "ATTEMPTS", "FIRST",
		    "LAST");
	for (i = 0; i < o->nt; i++) {
		const struct tally *t = &o->t[i];

		if (!o->o->json) {
			buf_printf(b, "%-12s %-9s %9" PRIu64 " %11" PRIu64
			    " %9" PRIu64 " %7" PRIu64 " %7" PRIu64 " %8"
			    PRIu64 "  %-24s %s\n", t->pipeline,
			    ckpt_scope_name(t->scope), t->n[CKPT_PENDING],
			    t->n[CKPT_IN_PROGRESS], t->n[CKPT_COMPLETED],
			    t->n[CKPT_FAILED], t->stale, t->attempts,
			    iso(t->first, t1), iso(t->last, t2));
			put(b);
			continue;
		}
		buf_addc(b, '{');
		json_put_kstr(b, "pipeline", t->pipeline);
		json_put_kstr(b, "scope", ckpt_scope_name(t->scope));
		for (k = 0; k < CKPT_STATE_N; k++)
			json_put_kint(b, ckpt_state_name((enum ckpt_state)k),
			    (int64_t)t->n[k]);
		json_put_kint(b, "stale", (int64_t)t->stale);
		json_put_kint(b, "attempts", (int64_t)t->attempts);
		ended = t->n[CKPT_FAILED] + t->n[CKPT_COMPLETED];
		json_put_key(b, "failed_ratio");
		json_put_float(b, ended == 0 ? 0.0 :
		    (double)t->n[CKPT_FAILED] / (double)ended);
		put_time(b, "first", t->first);
		put_time(b, "last", t->last);
		buf_str(b, "}\n");
		put(b);
	}
	put(b);
	return 0;
}

/* Does a person at a terminal say yes?  -1: there is none. */
static int
ask(uint64_t n)
{
	char	b[ANSWER_MAX];

	if (!isatty(STDIN_FILENO))
		return -1;
	(void)fprintf(stderr, "forget %" PRIu64 " checkpoints and their "
	    "history? [y/N] ", n);
	if (fgets(b, sizeof(b), stdin) == NULL)
		return 0;
	return b[0] == 'y' || b[0] == 'Y';
}

static int
clear(struct out *o)
{
	struct ckpt_sel	*s = &o->o->sel;
	uint64_t	 n;
	int		 answer;

	if (s->n_keys == 0 && s->glob == NULL && s->states == 0 &&
	    s->scopes == 0 && s->classes == 0)
		return err_set(o->e, MSG_USAGE, "clear: want keys, -g, "
		    "--state, --scope or --class (everything is -g '*')");
	if (ckpt_each(o->c, s, on_count, o, o->e) == -1)
		return -1;
	if (!o->o->json)
		msg_warn("%s %" PRIu64 ": %" PRIu64 " pending, %" PRIu64
		    " in progress, %" PRIu64 " completed, %" PRIu64 " failed",
		    o->o->dry ? "would clear" : "clear", o->n,
		    o->states[CKPT_PENDING], o->states[CKPT_IN_PROGRESS],
		    o->states[CKPT_COMPLETED], o->states[CKPT_FAILED]);
	if (o->o->dry || o->n == 0) {
		if (!o->o->dry)
			(void)printf(o->o->json ? "{\"cleared\":0}\n" :
			    "cleared 0\n");
		return 0;
	}
	if (!o->o->yes) {
		answer = ask(o->n);
		if (answer == -1)
			return err_set(o->e, MSG_USAGE, "clear: nobody to "
			    "ask: give -y, or -n to look only");
		if (!answer) {
			msg_warn("nothing was cleared");
			return 0;
		}
	}
	if (ckpt_begin(o->c, o->e) == -1 ||
	    ckpt_clear(o->c, s, &n, o->e) == -1)
		return -1;
	if (n != o->n) {
		ckpt_rollback(o->c);
		return err_set(o->e, MSG_TEMPFAIL, "clear: %" PRIu64 " were "
		    "counted and now there are %" PRIu64 ": somebody is at "
		    "work; nothing was cleared, look again", o->n, n);
	}
	if (ckpt_commit(o->c, o->e) == -1)
		return -1;
	(void)printf(o->o->json ? "{\"cleared\":%" PRIu64 "}\n" :
	    "cleared %" PRIu64 "\n", n);
	return 0;
}

/* A key that was named and has nothing to retry must not look retried. */
static int
say_not_retried(const struct ckpt_unit *u, void *arg)
{
	if (u->state == CKPT_PENDING || u->state == CKPT_FAILED || u->stale)
		return 0;
	msg_warn("%s: not retried: it is %s", u->key,
	    u->state == CKPT_COMPLETED ? "completed" :
	    "in progress, and its run lives");
	*(int *)arg = 1;
	return 0;
}

static int
retry(struct out *o, int *status)
{
	struct ckpt_sel	 q;
	uint64_t	 n;
	int		 odd = 0;

	o->o->sel.oldest = 1;
	if (o->o->sel.n_keys > 0) {
		memset(&q, 0, sizeof(q));
		q.pipeline = o->o->sel.pipeline;
		q.scopes = o->o->sel.scopes;
		q.keys = o->o->sel.keys;
		q.n_keys = o->o->sel.n_keys;
		if (ckpt_each(o->c, &q, say_not_retried, &odd, o->e) == -1)
			return -1;
		if (odd)
			*status = MSG_NOINPUT;
	}
	if (o->o->dry) {
		o->o->sel.open = 1;
		return ckpt_each(o->c, &o->o->sel, on_retry, o, o->e);
	}
	if (ckpt_retry(o->c, &o->o->sel, on_retry, o, &n, o->e) == -1)
		return -1;
	msg_info("%" PRIu64 " are pending again", n);
	return 0;
}

/* Flushed and closed, or not done. */
static int
finish_stdout(int status)
{
	int	bad = ferror(stdout);

	errno = 0;
	if (fclose(stdout) == EOF || bad) {
		if (errno == EPIPE)
			return msg_worse(status, MSG_PROTOCOL);
		msg_warn("stdout: %s", strerror(errno != 0 ? errno : EIO));
		return msg_worse(status, MSG_IOERR);
	}
	return status;
}

static int
ask_database(enum verb verb, struct opts *opts, struct ckpt *c)
{
	struct err	e = { 0, "" };
	struct out	o;
	size_t		i;
	int		rv = 0, status;

	memset(&o, 0, sizeof(o));
	o.o = opts;
	o.c = c;
	o.e = &e;
	o.now = io_wall_ns() / 1000000;
	buf_init(&o.b, LINE_MAX_BYTES);
	status = check_named(c, &opts->sel, &e);
	if (status != 0) {
		if (e.code != 0)
			msg_err(&e);
		goto done;
	}
	switch (verb) {
	case V_LIST:
		rv = ckpt_each(c, &opts->sel, on_list, &o, &e);
		break;
	case V_FAILED:
		opts->sel.open = 1;
		rv = ckpt_each(c, &opts->sel, on_failed, &o, &e);
		if (rv == 0 && o.n == 0)
			msg_info("nothing failed");
		break;
	case V_STATS:
		rv = stats(&o);
		break;
	case V_CLEAR:
		rv = clear(&o);
		break;
	case V_RETRY:
		rv = retry(&o, &status);
		break;
	case V_STREAM:
		break;
	}
	if (rv == -1 || e.code != 0) {
		msg_err(&e);
		status = e.code;
	}
done:
	for (i = 0; i < o.nt; i++)
		free(o.t[i].pipeline);
	free(o.t);
	buf_free(&o.b);
	return finish_stdout(status);
}

/*
 * As a stage.
 */

static int
record(struct ckpt *c, const struct rec *r, const char *run, struct err *e)
{
	struct ckpt_facts	 facts;
	struct rec_delta	 d;
	struct rec_skip		 s;
	struct buf		 b;
	const char		*type = rec_type(r), *url, *code = NULL;
	const char		*why = NULL;
	int			 rv;

	if (strcmp(type, "delta") == 0) {
		memset(&facts, 0, sizeof(facts));
		if (rec_delta_get(r, &d, e) == -1)
			return -1;
		facts.size = d.size;
		facts.mtime = d.mtime;
		rv = ckpt_start(c, CKPT_INPUT, d.url, d.sha256, run, e);
		if (rv == 0)
			rv = ckpt_note(c, CKPT_INPUT, d.url, &facts, e);
		return rv == -1 ? -1 : 0;
	}
	if (strcmp(type, "skip") == 0) {
		if (rec_skip_get(r, &s, e) == -1)
			return -1;
		rv = ckpt_done(c, CKPT_INPUT, s.url, s.sha256, run, e);
		return rv == -1 ? -1 : 0;
	}
	if (strcmp(type, "refused") == 0 && rec_get_str(r, "url", &url)) {
		(void)rec_get_str(r, "verdict", &code);
		(void)rec_get_str(r, "reason", &why);
		rv = ckpt_fail(c, CKPT_INPUT, url, run, MSG_DATAERR, code,
		    why, e);
		return rv == -1 ? -1 : 0;
	}
	if (strcmp(type, "published") == 0 &&
	    rec_get_str(r, "target", &url)) {
		buf_init(&b, CKPT_KEY_MAX);
		buf_printf(&b, "publish %s", url);
		rv = ckpt_done(c, CKPT_OPERATION, buf_cstr(&b), NULL, run, e);
		buf_free(&b);
		return rv == -1 ? -1 : 0;
	}
	return 0;
}

static int
pass_through(struct opts *o, struct ckpt *c)
{
	struct err		 e = { 0, "" };
	struct filter_opts	 fo;
	struct filter		 f;
	const struct rec	*r;

	memset(&fo, 0, sizeof(fo));
	fo.json = o->json;
	fo.json_in = o->json_in;
	fo.stage = o->stage;
	io_catch_signals();
	if (filter_open(&f, &fo) == 0) {
		while (filter_ok(&f) && filter_next(&f, &r)) {
			if (record(c, r, f.stage.run, &e) == -1)
				filter_fail_err(&f, &e);
			else if (filter_put(&f, r) == -1)
				break;
		}
		e.code = 0;
		if (!filter_ok(&f) && ckpt_release(c, f.stage.run,
		    f.status != 0 ? f.status : MSG_PROTOCOL, NULL, &e) == -1)
			msg_err(&e);
	}
	ckpt_close(c);
	return filter_finish(&f, isatty(STDOUT_FILENO));
}

static void
help(void)
{
	(void)printf("%s",
	    "  dckpt -c ckpt.db failed\n"
	    "  dckpt -c ckpt.db retry --class transient -0 | xargs -0 -r"
	    " dfetch -l\n"
	    "  dfetch deltas/ | dckpt -c ckpt.db | dcheck | dmerge -o out\n"
	    "\n");
	(void)printf("%s", usage_text);
	(void)printf("%s",
	    "verbs: list, failed, stats, clear, retry; none: a stage of a"
	    " pipe\n"
	    "  -0, --null            retry: end keys with NUL\n"
	    "  -c, --checkpoints db  the database; else DCKPT_DB\n"
	    "  -g, --glob glob       units whose key is like that\n"
	    "  -h, --help            this\n"
	    "  -n, --dry-run         clear, retry: show and change nothing\n"
	    "  -p, --pipeline name   of that pipeline; else DCKPT_PIPELINE,"
	    " else all\n"
	    "  -V, --version         print the version\n"
	    "  -v, --verbose         say more\n"
	    "  -y, --yes             clear without asking\n"
	    "  --class class         transient, permanent or unknown\n"
	    "  --history             every attempt\n"
	    "  --json                JSON lines\n"
	    "  --json-in             as a stage, read JSON lines\n"
	    "  --limit n             at most n units\n"
	    "  --scope scope         pipeline, chunk, input or operation\n"
	    "  --stage dir           as a stage, the staging directory\n"
	    "  --state state         pending, in_progress, completed or"
	    " failed\n");
}

static int
usage(void)
{
	(void)fputs(usage_text, stderr);
	return MSG_USAGE;
}

/* One value of --scope, --state or --class into its set. */
static int
add_word(struct opts *o, int opt, const char *s)
{
	enum ckpt_scope	scope;
	enum ckpt_state	state;
	enum ckpt_class	class;

	if (opt == O_SCOPE && ckpt_scope_parse(s, &scope) == 0)
		o->sel.scopes |= 1U << scope;
	else if (opt == O_STATE && ckpt_state_parse(s, &state) == 0)
		o->sel.states |= 1U << state;
	else if (opt == O_CLASS && ckpt_class_parse(s, &class) == 0)
		o->sel.classes |= 1U << class;
	else {
		msg_warn("%s: no such %s", s, opt == O_SCOPE ? "scope" :
		    opt == O_STATE ? "state" : "class");
		return -1;
	}
	return 0;
}

static int
parse(int argc, char **argv, struct opts *o, unsigned char *used, int *exits)
{
	static const struct option	opts[] = {
		{ "null", no_argument, NULL, '0' },
		{ "checkpoints", required_argument, NULL, 'c' },
		{ "glob", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "pipeline", required_argument, NULL, 'p' },
		{ "version", no_argument, NULL, 'V' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "yes", no_argument, NULL, 'y' },
		{ "class", required_argument, NULL, O_CLASS },
		{ "history", no_argument, NULL, O_HISTORY },
		{ "json", no_argument, NULL, O_JSON },
		{ "json-in", no_argument, NULL, O_JSON_IN },
		{ "limit", required_argument, NULL, O_LIMIT },
		{ "scope", required_argument, NULL, O_SCOPE },
		{ "stage", required_argument, NULL, O_STAGE },
		{ "state", required_argument, NULL, O_STATE },
		{ NULL, 0, NULL, 0 }
	};
	const char			*why;
	int				 c;

	while ((c = getopt_long(argc, argv, "0c:g:hnp:Vvy", opts, NULL)) !=
	    -1) {
		if (c >= 0 && c < 512)
			used[c] = 1;
		switch (c) {
		case '0':
			o->nul = 1;
			break;
		case 'V':
			(void)printf("dckpt %s\n", MSG_VERSION);
			*exits = 1;
			return finish_stdout(0);
		case 'c':
			o->db = optarg;
			break;
		case 'g':
			o->sel.glob = optarg;
			break;
		case 'h':
			help();
			*exits = 1;
			return finish_stdout(0);
		case 'n':
			o->dry = 1;
			break;
		case 'p':
			o->sel.pipeline = optarg;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case 'y':
			o->yes = 1;
			break;
		case O_HISTORY:
			o->history = 1;
			break;
		case O_JSON:
			o->json = 1;
			break;
		case O_JSON_IN:
			o->json_in = 1;
			break;
		case O_LIMIT:
			if (num_u64(optarg, 1, UINT64_MAX, &o->sel.limit,
			    &why) == -1) {
				msg_warn("--limit: %s: %s", optarg, why);
				return usage();
			}
			break;
		case O_STAGE:
			o->stage = optarg;
			break;
		case O_CLASS:
		case O_SCOPE:
		case O_STATE:
			if (add_word(o, c, optarg) == -1)
				return usage();
			break;
		default:
			return usage();
		}
	}
	return 0;
}

/* 0 when every option given is one that the verb takes. */
static int
check_options(enum verb verb, const unsigned char *used)
{
	size_t	k, n = sizeof(allowed[0]) / sizeof(allowed[0][0]);
	int	c;

	for (c = 0; c < 512; c++) {
		for (k = 0; used[c] && k < n && allowed[verb][k] != c; k++)
			continue;
		if (!used[c] || k < n)
			continue;
		if (c < 256)
			msg_warn("-%c: not an option %s %s", c, verb ==
			    V_STREAM ? "without a verb" : "of", verbs[verb]);
		else
			msg_warn("an option that is none of %s", verb ==
			    V_STREAM ? "a stage's" : verbs[verb]);
		return usage();
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct err	 e = { 0, "" };
	unsigned char	 used[512];
	struct opts	 o;
	struct ckpt	*c;
	enum verb	 verb = V_STREAM;
	const char	*env = getenv("DCKPT_PIPELINE");
	int		 exits = 0, i, status;

	msg_init("dckpt");
	memset(&o, 0, sizeof(o));
	memset(used, 0, sizeof(used));
	status = parse(argc, argv, &o, used, &exits);
	if (status != 0 || exits)
		return status;
	if (optind < argc) {
		for (i = V_LIST; i <= V_RETRY; i++)
			if (strcmp(argv[optind], verbs[i]) == 0)
				verb = (enum verb)i;
		if (verb == V_STREAM) {
			msg_warn("%s: no such verb", argv[optind]);
			return usage();
		}
		optind++;
	}
	o.sel.keys = (const char *const *)(void *)(argv + optind);
	o.sel.n_keys = (size_t)(argc - optind);
	if (check_options(verb, used) != 0)
		return MSG_USAGE;
	c = ckpt_open(o.db, verb == V_STREAM ? CKPT_CREATE : 0, &e);
	if (c == NULL && e.code == 0)
		err_set(&e, MSG_USAGE, "no checkpoint database: give -c db or "
		    "set DCKPT_DB");
	if (c != NULL && o.sel.pipeline != NULL)
		(void)ckpt_set_pipeline(c, o.sel.pipeline, &e);
	else if (env != NULL && *env != '\0')
		o.sel.pipeline = env;
	if (e.code != 0) {
		msg_err(&e);
		ckpt_close(c);
		return e.code;
	}
	if (verb == V_STREAM)
		return pass_through(&o, c);
	status = ask_database(verb, &o, c);
	ckpt_close(c);
	return status;
}
