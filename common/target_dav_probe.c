/*
 * target_dav_probe: does a WebDAV server exclude?  Many ignore conditions,
 * or heed them and still let two writers win; each step is one of which is
 * known how it must end.
 * SPDX-License-Identifier: ISC
 */
#include "target_dav.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dav.h"
#include "io.h"
#include "net.h"
#include "banned.h"

#define REPLACES	4	/* of one object */
#define RACERS		8	/* creates of one name at once */
#define NAMES		8	/* that they race for */
#define ROUNDS		2	/* of that, before a publish */
#define ROUNDS_ASKED	8	/* when somebody asks for the probe itself */
#define HOLD_S		0.05	/* s that all of them are let begin, at least */
#define SPREAD_S	0.01	/* s between two writers of one name */

struct probing {
	struct davt	*t;
	char		*dir;
	double		 took;	/* s, the first PUT */
	int		 rounds;
	void		(*say)(const char *what, void *arg);
	void		*arg;
};

static void
tell(const struct probing *p, const char *what)
{
	if (p->say != NULL)
		p->say(what, p->arg);
}

static int
refuse(const struct probing *p, const char *why, struct err *e)
{
	return object_no_exclusion(&p->t->o, why, e);
}

/*
 * One conditional PUT of which is known how it must end: 0 it did, 1 not,
 * -1 something else went wrong.
 */
static int
try_put(struct probing *p, const char *key, const char *body,
    unsigned int flags, const char *if_match, enum dav_outcome want,
    struct err *e)
{
	struct dav_res	r;
	struct err	f = { 0, "" };
	int		rv;

	if (davt_put_in(p->t, key, body, strlen(body), flags, if_match, &r,
	    &f) == 0)
		rv = want == DAV_DONE ? 0 : 1;
	else if (r.outcome == DAV_TAKEN)
		rv = want == DAV_TAKEN ? 0 : 1;
	else if (r.status == 501 || r.status == 400)
		rv = refuse(p, "it takes no conditional writes",
		    e);
	else
		rv = err_set(e, f.code, "%s", f.text);
	dav_res_clear(&r);
	return rv;
}

/* No, unless these are the bytes there. */
static int
must_hold(struct probing *p, const char *key, const char *body,
    const char *why, struct err *e)
{
	int	r = object_holds(&p->t->o, key, body, strlen(body), e);

	return r == 0 ? refuse(p, why, e) : r == 1 ? 0 : -1;
}

static int
probe_create(struct probing *p, const char *key, struct err *e)
{
	double	begun = io_now();
	int	r;

	r = try_put(p, key, "first", DAV_IF_NONE, NULL, DAV_DONE, e);
	p->took = io_now() - begun;
	if (r == 1)
		r = refuse(p, "a name that was free was taken", e);
	if (r == -1)
		return -1;
	tell(p, "exclusive create: the first succeeds");
	r = try_put(p, key, "second", DAV_IF_NONE, NULL, DAV_TAKEN, e);
	if (r == 1)
		r = refuse(p, "it ignores If-None-Match: *, and a "
		    "second create of one name wrote over the first", e);
	if (r == -1 || must_hold(p, key, "first", "a second create of one "
	    "name was refused, and wrote over the first", e) == -1)
		return -1;
	tell(p, "exclusive create: the second is refused, the first stays");
	return 0;
}

static int
probe_replace(struct probing *p, const char *key, struct err *e)
{
	static const char *const	bodies[REPLACES] = { "third",
					    "fourth", "fifth", "sixth" };
	struct err			f = { 0, "" };
	int				i, r, unsure = 0;

	r = try_put(p, key, "zeroth", 0, "\"intact-no-such-etag\"",
	    DAV_TAKEN, e);
	if (r == 1)
		r = refuse(p, "it ignores If-Match, and replaced "
		    "what had changed", e);
	if (r == -1 || must_hold(p, key, "first", "a replacement was "
	    "refused, and done", e) == -1)
		return -1;
	tell(p, "replacement: refused where something else lies there");
	/* servers of many processes may each remember another one */
	for (i = 0; i < REPLACES; i++) {
		r = p->t->o.ops->replace(p->t, NULL, key, bodies[i],
		    strlen(bodies[i]), &unsure, &f);
		if (r == -1)
			return err_set(e, f.code, "%s", f.text);
		if (r == 1)
			return refuse(p, "it refuses to replace "
			    "what has not changed", e);
		if (must_hold(p, key, bodies[i], "it gives out old bytes "
		    "after new ones were written", e) == -1)
			return -1;
	}
	tell(p, "replacement: what was written is read back");
	return 0;
}

struct race {
	unsigned int	won, told;
	struct err	e;
};

static void
on_racer(void *arg, const struct dav_res *r, const struct err *e)
{
	struct race	*c = arg;

	if (e == NULL)
		c->won++;
	else if (r->outcome == DAV_TAKEN)
		c->told++;
	else if (c->e.code == 0)
		c->e = *e;
}

/* Let seconds pass, while what is under way goes on. */
static int
pass(struct probing *p, double seconds, struct err *e)
{
	double	end = io_now() + seconds, left;

	while ((left = end - io_now()) > 0 && net_running(p->t->many.n) > 0)
		if (net_wait(p->t->many.n, (unsigned int)(left * 1000) + 1,
		    e) == -1)
			return -1;
	return 0;
}

static int
start_racer(struct probing *p, const char *key, int i, const int *hold,
    struct race *c, struct err *e)
{
	static const char	body[] = "racer 0\0racer 1\0racer 2\0racer 3\0"
				    "racer 4\0racer 5\0racer 6\0racer 7";
	struct dav_req		q;

	memset(&q, 0, sizeof(q));
	q.method = "PUT";
	q.key = key;
	q.body = body + i * 8;
	q.n = 7;
	q.fd = -1;
	q.hold = hold;
	q.flags = DAV_IF_NONE | DAV_FRESH;
	return dav_start(p->t->d, &q, on_racer, c, e);
}

/*
 * RACERS creates of each of NAMES names, all at once; no one's last byte is
 * sent before all have begun.  A server that looks whether a name is free,
 * and only then waits for the bytes, lets all of them win; of one that
 * looks and writes at its end, but in many processes, some do, often.
 */
static int
race(struct probing *p, int round, struct race c[NAMES], struct err *e)
{
	char	name[32], *key;
	int	hold = 1, i, k, r = 0;

	memset(c, 0, NAMES * sizeof(*c));
	/* those of one name not together, or one process gets them all */
	for (k = 0; k < RACERS; k++) {
		for (i = 0; i < NAMES && r == 0; i++) {
			(void)snprintf(name, sizeof(name), "race-%d-%d",
			    round, i);
			key = davt_below(p->dir, name);
			r = start_racer(p, key, k, &hold, &c[i], e);
			free(key);
		}
		if (r == 0)
			r = pass(p, SPREAD_S, e);
	}
	/* long enough for what the first PUT needed from end to end */
	if (r != -1)
		r = pass(p, HOLD_S + 2 * p->took, e);
	hold = 0;
	while (r != -1 && net_running(p->t->many.n) > 0)
		r = net_wait(p->t->many.n, 1000, e);
	for (i = 0; i < NAMES; i++)
		dav_cancel(p->t->d, &c[i]);
	return r == -1 ? -1 : 0;
}

static int
probe_race(struct probing *p, struct err *e)
{
	struct race	c[NAMES];
	int		round, i, r = 0;

	for (round = 0; round < p->rounds && r == 0; round++) {
		r = race(p, round, c, e);
		for (i = 0; i < NAMES && r == 0; i++)
			if (c[i].won > 1)
				r = refuse(p, "of several creates "
				    "at once more than one succeeded", e);
		for (i = 0; i < NAMES && r == 0; i++)
			if (c[i].won + c[i].told != RACERS)
				r = err_set(e, c[i].e.code, "%s",
				    c[i].e.text);
			else if (c[i].won == 0)
				r = refuse(p, "of several creates "
				    "at once none succeeded", e);
	}
	if (r == 0)
		tell(p, "exclusive create: of eight at once one succeeds");
	return r;
}

static int
count_name(const char *name, void *arg)
{
	(void)name;
	++*(int *)arg;
	return 0;
}

static int
probe_rest(struct probing *p, const char *key, struct err *e)
{
	int64_t	age;
	int	n = 0;

	if (p->t->o.ops->list(p->t, p->dir, count_name, &n, e) == -1)
		return -1;
	if (n != p->rounds * NAMES + 1)
		return err_set(e, MSG_USAGE, "%s: what was written is not "
		    "listed: want %d names, got %d", p->t->o.url,
		    p->rounds * NAMES + 1, n);
	tell(p, "list: what was written is in it");
	if (p->t->o.ops->age(p->t, key, &age, e) != 1)
		return err_set(e, MSG_USAGE, "%s: what was written is gone",
		    p->t->o.url);
	if (dav_delete(p->t->d, p->dir, e) == -1)
		return -1;
	if (p->t->o.ops->has(p->t, key, e) != 0)
		return err_set(e, MSG_USAGE, "%s: what was removed is there",
		    p->t->o.url);
	tell(p, "removal: a collection goes with all that is in it");
	return 0;
}

int
davt_probe(void *impl, const char *claim,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	struct davt	*t = impl;
	struct probing	 p = { t, NULL, 0, say != NULL ? ROUNDS_ASKED : ROUNDS,
			    say, arg };
	struct err	 f = { 0, "" };
	char		 name[32], id[17], *key;
	int		 rv;

	rv = object_probe_lock(&t->o, say, arg, e);
	if (rv != 0)
		return rv == 1 ? 0 : -1;
	if (io_random_hex(id, 8, e) == -1)
		return -1;
	(void)snprintf(name, sizeof(name), "probe-%s", id);
	p.dir = davt_below(claim, name);
	key = davt_below(p.dir, "object");
	rv = -1;
	if (probe_create(&p, key, e) == 0 && probe_replace(&p, key, e) == 0 &&
	    probe_race(&p, e) == 0 && probe_rest(&p, key, e) == 0)
		rv = 0;
	target_names_clear(&t->made);
	if (rv == -1)
		(void)dav_delete(t->d, p.dir, &f);
	free(p.dir);
	free(key);
	return rv;
}
