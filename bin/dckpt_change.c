/*
 * dckpt, what an operator changes: clear, expire, retry, force.  What is
 * shown beforehand is what is changed, or nothing is.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "banned.h"

#define ANSWER_MAX	16

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

/*
 * clear and expire.
 */

struct preview {
	struct dckpt	*o;
	uint64_t	 states[CKPT_STATE_N];
};

static int
on_preview(const struct ckpt_unit *u, void *arg)
{
	struct preview	*p = arg;
	struct dckpt	*o = p->o;

	o->n++;
	p->states[u->state]++;
	if (o->o->dry)
		(void)(o->o->json ? dckpt_json(o, u, 0) : dckpt_line(o, u));
	dckpt_put(o);
	return 0;
}

static int
preview(struct dckpt *o, const char *verb)
{
	struct preview	p;

	memset(&p, 0, sizeof(p));
	p.o = o;
	if (ckpt_each(o->c, &o->o->sel, on_preview, &p, o->e) == -1)
		return -1;
	if (!o->o->json)
		msg_note("%s%s %" PRIu64 ": %" PRIu64 " pending, %" PRIu64
		    " in progress, %" PRIu64 " completed, %" PRIu64
		    " failed", o->o->dry ? "would " : "", verb, o->n,
		    p.states[CKPT_PENDING], p.states[CKPT_IN_PROGRESS],
		    p.states[CKPT_COMPLETED], p.states[CKPT_FAILED]);
	return 0;
}

/* done: "cleared" or "expired". */
static int
forget(struct dckpt *o, const char *verb, const char *done,
    int (*f)(struct ckpt *, const struct ckpt_sel *, uint64_t *,
    struct err *))
{
	uint64_t	n = 0;
	int		answer;

	if (preview(o, verb) == -1)
		return -1;
	if (o->o->dry)
		return 0;
	if (o->n > 0 && !o->o->yes) {
		answer = ask(o->n);
		if (answer == -1)
			return err_set(o->e, MSG_USAGE, "%s: nobody to ask: "
			    "give -y, or -n to look only", verb);
		if (!answer) {
			msg_note("nothing was %s", done);
			return 0;
		}
	}
	if (ckpt_begin(o->c, o->e) == -1 ||
	    f(o->c, &o->o->sel, &n, o->e) == -1)
		return -1;
	if (n != o->n) {
		ckpt_rollback(o->c);
		return err_set(o->e, MSG_TEMPFAIL, "%s: %" PRIu64 " were "
		    "counted and now there are %" PRIu64 ": somebody is at "
		    "work; nothing was %s, look again", verb, o->n, n,
		    done);
	}
	if (ckpt_commit(o->c, o->e) == -1)
		return -1;
	if (o->o->json)
		(void)printf("{\"%s\":%" PRIu64 "}\n", done, n);
	else
		(void)printf("%s %" PRIu64 "\n", done, n);
	return 0;
}

int
dckpt_clear(struct dckpt *o, int *status)
{
	struct ckpt_sel	*s = &o->o->sel;

	(void)status;
	if (s->n_keys == 0 && s->glob == NULL && s->states == 0 &&
	    s->scopes == 0 && s->classes == 0 && s->code == NULL &&
	    s->before == 0 && s->since == 0)
		return err_set(o->e, MSG_USAGE, "clear: want keys, -g, "
		    "--state, --scope, --class, --code, --older-than or "
		    "--newer-than (everything is -g '*')");
	return forget(o, "clear", "cleared", ckpt_clear);
}

int
dckpt_expire(struct dckpt *o, int *status)
{
	(void)status;
	if (o->o->sel.before == 0)
		return err_set(o->e, MSG_USAGE, "expire: want --older-than");
	o->o->sel.idle = 1; /* the preview, too */
	return forget(o, "expire", "expired", ckpt_expire);
}

/*
 * retry and force.
 */

struct change {
	struct dckpt		*o;
	struct dckpt_agains	 again;
	int			 odd;	/* something named was left alone */
};

/* A key for xargs, as it is: nothing masked. */
static int
on_change(const struct ckpt_unit *u, void *arg)
{
	struct change	*c = arg;
	struct dckpt	*o = c->o;

	o->n++;
	if (o->o->run)
		dckpt_again_add(&c->again, u);
	if (o->o->run && !o->o->json && !o->o->dry)
		return 0;
	if (o->o->json)
		(void)dckpt_json(o, u, 1);
	else {
		buf_str(&o->b, u->key);
		buf_addc(&o->b, o->o->nul ? '\0' : '\n');
	}
	dckpt_put(o);
	return 0;
}

/* A key that was named and is left alone must not look done. */
static int
say_not_retried(const struct ckpt_unit *u, void *arg)
{
	struct change	*c = arg;

	if (u->state == CKPT_PENDING || u->stale ||
	    (u->state == CKPT_FAILED && !u->aside))
		return 0;
	msg_warn("%s: not retried: it %s", u->key, u->aside ?
	    "was set aside (dpublish unquarantine)" :
	    u->state == CKPT_COMPLETED ? "is completed (dckpt force)" :
	    "is in progress, and its run lives");
	c->odd = 1;
	return 0;
}

static int
say_not_forced(const struct ckpt_unit *u, void *arg)
{
	struct change	*c = arg;

	if (u->state != CKPT_IN_PROGRESS || u->stale)
		return 0;
	msg_warn("%s: not forced: it is in progress, and its run lives",
	    u->key);
	c->odd = 1;
	return 0;
}

/* What was named: say what will be left alone. */
static int
look_at_named(struct change *c,
    int (*f)(const struct ckpt_unit *, void *))
{
	struct ckpt_sel	q;

	if (c->o->o->sel.n_keys == 0)
		return 0;
	memset(&q, 0, sizeof(q));
	q.pipeline = c->o->o->sel.pipeline;
	q.scopes = c->o->o->sel.scopes;
	q.keys = c->o->o->sel.keys;
	q.n_keys = c->o->o->sel.n_keys;
	return ckpt_each(c->o->c, &q, f, c, c->o->e);
}

/* What was made pending before, and has not run since, is run too. */
static int
on_pending(const struct ckpt_unit *u, void *arg)
{
	struct change	*c = arg;

	dckpt_again_add(&c->again, u);
	return 0;
}

static int
add_pending(struct change *c)
{
	struct ckpt_sel	q = c->o->o->sel;

	if (q.states != 0 && (q.states & 1U << CKPT_PENDING) == 0)
		return 0;
	q.states = 1U << CKPT_PENDING;
	q.open = 0;
	q.more = NULL;
	return ckpt_each(c->o->c, &q, on_pending, c, c->o->e);
}

static int
change(struct dckpt *o, int *status, struct change *c, int forced)
{
	struct ckpt_sel	*s = &o->o->sel;
	uint64_t	 n;

	s->oldest = 1;
	if (look_at_named(c, forced ? say_not_forced : say_not_retried) ==
	    -1)
		return -1;
	if (c->odd)
		*status = MSG_NOINPUT;
	if (o->o->run && add_pending(c) == -1)
		return -1;
	if (o->o->dry) {
		s->open = s->in_place = !forced;
		s->idle = forced;
		return ckpt_each(o->c, s, on_change, c, o->e);
	}
	if ((forced ? ckpt_force : ckpt_retry)(o->c, s, on_change, c, &n,
	    o->e) == -1)
		return -1;
	msg_info("%" PRIu64 " are pending again", n);
	return 0;
}

static int
change_and_run(struct dckpt *o, int *status, int forced)
{
	struct change	c;
	int		rv;

	memset(&c, 0, sizeof(c));
	c.o = o;
	rv = change(o, status, &c, forced);
	if (rv == 0 && o->o->run) {
		if (c.again.unknown > 0) {
			msg_warn("%" PRIu64 " units: their pipeline was not "
			    "recorded (drun records it): run it yourself",
			    c.again.unknown);
			*status = msg_worse(*status, MSG_NOINPUT);
		}
		if (c.again.hidden > 0) {
			msg_error(MSG_USAGE, "%" PRIu64 " units: their "
			    "pipeline held a secret, such as a signed URL, "
			    "which is not kept: run it yourself, with a new "
			    "one (dckpt show)", c.again.hidden);
			*status = msg_worse(*status, MSG_USAGE);
		}
		if (o->o->dry)
			dckpt_again_say(o, &c.again);
		else
			*status = msg_worse(*status,
			    dckpt_again_run(o, &c.again));
	}
	dckpt_again_clear(&c.again);
	return rv;
}

int
dckpt_retry(struct dckpt *o, int *status)
{
	return change_and_run(o, status, 0);
}

int
dckpt_force(struct dckpt *o, int *status)
{
	struct ckpt_sel	*s = &o->o->sel;

	if (s->n_keys == 0 && s->glob == NULL && s->states == 0 &&
	    s->scopes == 0 && s->classes == 0 && s->code == NULL &&
	    s->before == 0 && s->since == 0)
		return err_set(o->e, MSG_USAGE, "force: want keys, -g, "
		    "--state, --scope, --class, --code or an age (everything "
		    "is -g '*')");
	return change_and_run(o, status, 1);
}
