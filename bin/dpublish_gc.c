/*
 * dpublish gc, prune: old versions removed, and what dead runs left.  First
 * the plan: of each version that lies there, whether it goes, and why; it is
 * written into the claim under which they go.  Then one after the other:
 * announced, looked at again, removed (common/target_upload.c).
 *
 * There is nothing to replay: a version is there whole, or its removal was
 * begun and is gone on with; whoever runs it again plans anew, so that what
 * was pinned, leased or made current since stays.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

#define GC_FOREIGN	86400	/* seconds: what nobody here knows to be dead,
				   and leases that are over, are older */
#define GC_PLAN		"gc.json"
#define GC_PLAN_MAX	((size_t)256 << 20)

static const struct target_claim none = { NULL, 0, NULL, NULL };

/* A version that lies there. */
struct life {
	char		*version;
	int		 committed;
	int64_t		 until;		/* ns: when it stopped being current */
	int		 goes;
	const char	*why;		/* it goes, or stays */
};

struct gc {
	const struct dpub_opts	*o;
	int			 orphans;
	struct target		*t;
	struct target_upload	*u;	/* NULL: nothing is removed */
	struct target_commit	 head;
	char			 pointer[TARGET_VERSION_MAX];
	char			**names;
	struct life		*v;
	size_t			 n;
	uint64_t		 gaps;	/* commits that are missing */
	struct target_names	 claimed;
	struct target_names	 over;	/* leases, by name */
	struct err		*e;	/* of callbacks */
};

static struct life *
life_find(const struct gc *g, const char *version)
{
	size_t	lo = 0, hi = g->n, mid;
	int	r;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		r = strcmp(g->v[mid].version, version);
		if (r == 0)
			return &g->v[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Until when each version was current, from the commits. */
static int
read_lives(struct gc *g, struct err *e)
{
	struct dpub_past	 past = { g->t, 0, 0, 0 };
	struct target_commit	 c, next;
	struct life		*l;
	int64_t			 until = io_wall_ns();
	int			 r;

	r = target_commit_get(g->t, g->head.generation, &c, e);
	while (r == 1) {
		l = life_find(g, c.version);
		if (l != NULL) {
			l->committed = 1;
			if (until > l->until)
				l->until = until;
		}
		until = c.created;
		memset(&next, 0, sizeof(next));
		r = dpub_older(&past, c.generation, &next, e);
		target_commit_clear(&c);
		c = next;
	}
	g->gaps = past.gaps;
	return r;
}

static int
on_pin(const struct target_pin *p, void *arg, struct err *e)
{
	struct gc	*g = arg;
	struct life	*l;

	(void)e;
	if (p->over) {
		/* whoever is late with its next one has a day */
		if (p->age - (int64_t)p->seconds > GC_FOREIGN)
			target_names_add(&g->over, p->name);
		return 0;
	}
	l = life_find(g, p->version);
	if (l != NULL && l->why == NULL)
		l->why = p->seconds == 0 ? "pinned" : "leased";
	return 0;
}

static int
is_claimed(const struct gc *g, const char *version)
{
	size_t	i;

	for (i = 0; i < g->claimed.n; i++)
		if (strcmp(g->claimed.v[i], version) == 0)
			return 1;
	return 0;
}

/* Seconds since ns. */
static uint64_t
seconds_since(int64_t ns)
{
	int64_t	s = (io_wall_ns() - ns) / 1000000000;

	return s < 0 ? 0 : (uint64_t)s;
}

/* One that no commit names: another's, or evidence, or left. */
static int
judge_orphan(const struct gc *g, struct life *l, struct err *e)
{
	char		key[TARGET_KEY_MAX];
	uint64_t	old = g->o->newer > GC_FOREIGN ? g->o->newer :
	    GC_FOREIGN;
	int64_t		age;
	int		r;

	if (!g->orphans)
		l->why = "no commit names it";
	else if (is_claimed(g, l->version))
		l->why = "an upload claims it";
	else if (strcmp(l->version, g->head.version) > 0)
		l->why = "no commit names it, and it is newer than the "
		    "current one";
	else if (g->gaps != 0)
		l->why = "no commit names it, and commits are missing";
	else if (seconds_since(target_version_time(l->version)) < old)
		l->why = "no commit names it, and it is young";
	if (l->why != NULL)
		return 0;
	/* by the store's clock, too, where there is something to ask for */
	if (target_version_key(g->t, key, l->version, MANIFEST_NAME, e) ==
	    -1)
		return -1;
	r = target_note_age(g->t, key, &age, e);
	if (r == 1 && (uint64_t)age < old)
		l->why = "no commit names it, and it is young";
	else if (r != -1) {
		l->goes = 1;
		l->why = "no commit names it";
	}
	return r == -1 ? -1 : 0;
}

/* The whole plan, newest first. */
static int
judge_all(struct gc *g, struct err *e)
{
	struct life	*l;
	uint64_t	 newer = 0;
	size_t		 i;
	int		 is_new;

	for (i = g->n; i-- > 0;) {
		l = &g->v[i];
		is_new = l->committed && newer++ < g->o->keep;
		if (strcmp(l->version, g->head.version) == 0)
			l->why = "current";
		else if (strcmp(l->version, g->pointer) == 0)
			l->why = "the pointer names it";
		if (l->why != NULL)
			continue;
		if (!l->committed) {
			if (judge_orphan(g, l, e) == -1)
				return -1;
		} else if (is_new)
			l->why = "among the newest";
		else if (seconds_since(l->until) < g->o->newer)
			l->why = "current not long ago";
		else {
			l->goes = 1;
			l->why = "old";
		}
	}
	return 0;
}

static int
make_plan(struct gc *g, struct err *e)
{
	size_t	i;

	/* versions first: a claim goes only after its version */
	if (target_pointer(g->t, g->pointer, e) == -1 ||
	    target_versions(g->t, &g->names, &g->n, e) == -1 ||
	    target_claimed(g->t, &g->claimed, e) == -1)
		return -1;
	g->v = mem_zero(g->n + 1, sizeof(*g->v));
	for (i = 0; i < g->n; i++)
		g->v[i].version = g->names[i];
	if (read_lives(g, e) == -1 ||
	    target_pins(g->t, on_pin, g, e) == -1)
		return -1;
	return judge_all(g, e);
}

static int
say_version(const struct gc *g, const struct life *l, const char *kept,
    struct err *e)
{
	struct rec	*r;
	int		 rv = 0;

	if (kept != NULL) {
		msg_info("%s/%s/%s stays: %s", target_url(g->t),
		    TARGET_VERSIONS, l->version, kept);
		if (!g->o->filter.json || !g->orphans)
			return 0;
	}
	if (g->o->filter.json) {
		r = rec_new(kept != NULL ? "kept" : "pruned");
		rec_set_str(r, "target", target_url(g->t));
		rec_set_str(r, "version", l->version);
		rec_set_str(r, "why", kept != NULL ? kept : l->why);
		if (kept == NULL)
			rec_set_bool(r, "dry_run", g->o->dry_run);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (printf("%s %s/%s/%s%s\n", g->o->dry_run ? "would remove" :
	    "removed", target_url(g->t), TARGET_VERSIONS, l->version,
	    l->committed ? "" : " (no commit names it)") < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

/* Into the claim, before anything goes: what is about to. */
static int
write_plan(struct gc *g, struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	size_t		i;
	int		rv, any = 0;

	buf_init(&b, GC_PLAN_MAX);
	buf_addc(&b, '{');
	json_put_kstr(&b, "target", target_url(g->t));
	json_put_kint(&b, "generation", (int64_t)g->head.generation);
	json_put_kstr(&b, "current", g->head.version);
	json_put_kint(&b, "keep", (int64_t)g->o->keep);
	json_put_kint(&b, "keep_newer_than", (int64_t)g->o->newer);
	json_put_key(&b, "removes");
	buf_addc(&b, '[');
	for (i = 0; i < g->n; i++) {
		if (!g->v[i].goes)
			continue;
		buf_str(&b, any++ ? ",{" : "{");
		json_put_kstr(&b, "version", g->v[i].version);
		json_put_kstr(&b, "why", g->v[i].why);
		buf_addc(&b, '}');
	}
	buf_str(&b, "]}\n");
	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/" GC_PLAN,
	    target_upload_name(g->u));
	rv = any == 0 ? 0 : target_note_add(g->u, key, b.p, b.len, e);
	if (rv == 1)
		rv = err_set(e, MSG_SOFTWARE, "%s/%s: is there",
		    target_url(g->t), key);
	buf_free(&b);
	return rv;
}

static int
remove_all(struct gc *g, struct err *e)
{
	char	dir[TARGET_KEY_MAX];
	size_t	i;
	int	r;

	for (i = g->n; i-- > 0 && io_signal() == 0;) {
		r = 0;
		if (g->v[i].goes && g->u != NULL)
			r = target_remove(g->u, g->v[i].version, e);
		if (r == -1 || say_version(g, &g->v[i], r == 1 ?
		    "pinned or leased meanwhile" : g->v[i].goes ? NULL :
		    g->v[i].why, e) == -1)
			return -1;
	}
	for (i = 0; i < g->over.n && g->u != NULL && io_signal() == 0; i++) {
		(void)snprintf(dir, sizeof(dir), TARGET_PINS "/%s",
		    g->over.v[i]);
		if (target_note_drop(g->t, dir, e) == -1)
			return -1;
		msg_info("%s/%s: the lease is over", target_url(g->t), dir);
	}
	return dpub_flush(e);
}

/* What a dead run left goes, too, and is told. */
static void
say_left(void *arg, const struct target_left *l)
{
	struct gc	*g = arg;
	struct rec	*r;

	if (g->o->filter.json) {
		r = rec_new("leftover");
		rec_set_str(r, "target", target_url(g->t));
		rec_set_str(r, "claim", l->claim);
		rec_set_str(r, "version", l->version);
		rec_set_str(r, "host", l->host);
		rec_set_bool(r, "dry_run", g->o->dry_run);
		(void)dpub_json(r, g->e);
		rec_free(r);
	} else if (printf("%s %s/%s/%s%s%s (left by a dead run%s%s)\n",
	    g->o->dry_run ? "would remove" : "removed", target_url(g->t),
	    TARGET_STAGING, l->claim, l->version != NULL ? " with version " :
	    "", l->version != NULL ? l->version : "", l->host != NULL ?
	    " of " : "", l->host != NULL ? l->host : "") < 0)
		err_sys(g->e, errno, "stdout");
}

static int
begin(struct gc *g, struct err *e)
{
	char	run[STAGE_RUN_MAX];

	if (g->o->dry_run)
		return 0;
	if (stage_run_id(run, e) == -1)
		return -1;
	g->u = target_begin(g->t, NULL, run, &none, e);
	return g->u == NULL || target_advance(g->u, e) == -1 ? -1 : 0;
}

static int
collect(struct gc *g, struct err *e)
{
	uint64_t	age = g->o->newer;
	int		r;

	/* the whole proof: nothing is removed from a target in disorder */
	r = target_head(g->t, &g->head, e);
	if (r == -1)
		return -1;
	if (age < GC_FOREIGN)
		age = GC_FOREIGN;
	g->e = e;
	if (target_collect(g->t, age, g->o->dry_run, say_left, g, e) == -1 ||
	    e->code != 0)
		return -1;
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s: nothing was published "
		    "here yet", target_url(g->t));
	return 0;
}

int
dpub_gc(const char *target, int orphans, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" }, f = { 0, "" };
	struct gc	 g;
	int		 rv = 0;

	memset(&g, 0, sizeof(g));
	g.o = o;
	g.orphans = orphans;
	g.t = dpub_open_target(target, 0, o, &e);
	if (g.t == NULL || collect(&g, &e) == -1 || begin(&g, &e) == -1 ||
	    make_plan(&g, &e) == -1 || (g.u != NULL &&
	    write_plan(&g, &e) == -1) || remove_all(&g, &e) == -1)
		rv = dpub_failed(&e);
	if (g.u != NULL && target_finish(g.u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(g.u);
	target_names_clear(&g.claimed);
	target_names_clear(&g.over);
	target_names_free(g.names);
	target_commit_clear(&g.head);
	free(g.v);
	target_close(g.t);
	return rv;
}
