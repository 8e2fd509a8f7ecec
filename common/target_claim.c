/*
 * target, the claims: who is at work on what, who of them is dead, and
 * what the dead left.  It commits nothing.
 *
 * A claim is staging/<run> with its owner (target_owner.h).  A local claim
 * is held by a lock that ends with its holder.  A remote one cannot be: its
 * holder is known dead on its own machine (stage_place), and everywhere else
 * when it is older than TARGET_CLAIM_LIFE by the store's clock, as no claim
 * older than TARGET_CLAIM_USE is committed.
 * SPDX-License-Identifier: ISC
 */
#include "target_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

static int
add_claimed(struct target *t, const char *claim, const struct owner *o,
    void *arg, struct err *e)
{
	(void)t;
	(void)claim;
	(void)e;
	if (o->version[0] != '\0')
		target_names_add(arg, o->version);
	return 0;
}

int
target_claimed(struct target *t, struct target_names *out, struct err *e)
{
	memset(out, 0, sizeof(*out));
	if (owner_each(t, add_claimed, out, e) == -1) {
		target_names_clear(out);
		return -1;
	}
	return 0;
}

struct wanted {
	const char	*version;
	int		 removes, found;
};

static int
look_wanted(struct target *t, const char *claim, const struct owner *o,
    void *arg, struct err *e)
{
	struct wanted	*w = arg;

	(void)t;
	(void)claim;
	(void)e;
	if (strcmp(w->removes ? o->removes : o->keeps, w->version) == 0)
		w->found = 1;
	return 0;
}

int
target_is_wanted(struct target *t, const char *version, int removes,
    struct err *e)
{
	struct wanted	w = { version, removes, 0 };

	if (owner_each(t, look_wanted, &w, e) == -1)
		return -1;
	return w.found;
}

struct rival {
	struct target_upload	*u;
	const char		*version;
	char			*who;
	int			 found;
};

static int
look_rival(struct target *t, const char *claim, const struct owner *o,
    void *arg, struct err *e)
{
	struct rival	*r = arg;

	(void)t;
	(void)e;
	if (r->found || strcmp(claim, r->u->name) == 0 ||
	    (strcmp(o->version, r->version) != 0 &&
	    strcmp(o->keeps, r->version) != 0))
		return 0;
	r->found = 1;
	(void)snprintf(r->who, TARGET_WHO_MAX, "run %s on %.255s", o->run,
	    o->host != NULL ? o->host : "another machine");
	return 0;
}

int
target_rival(struct target_upload *u, const char *version,
    char who[TARGET_WHO_MAX], struct err *e)
{
	struct rival	r = { u, version, who, 0 };

	if (owner_each(u->t, look_rival, &r, e) == -1)
		return -1;
	return r.found;
}

int
target_own(struct target_upload *u, const char *removes, struct err *e)
{
	struct buf	b;
	int		r;

	buf_init(&b, TARGET_COMMIT_MAX);
	owner_text(&b, u, NULL, NULL, removes);
	r = owner_set(u->t, u->name, u->run, &b, e);
	buf_free(&b);
	return r;
}

/*
 * Was what a claim claims committed, by the one that could?  1, 0, -1.  A
 * claim is not believed against what readers follow: the newest commit and
 * the pointer.
 */
static int
claim_committed(struct target *t, const char *version, uint64_t generation,
    struct err *e)
{
	struct target_commit	c;
	char			ptr[TARGET_VERSION_MAX];
	int			r, same = 0;

	r = target_commit_get(t, generation, &c, e);
	if (r == 1) {
		same = strcmp(c.version, version) == 0;
		target_commit_clear(&c);
	}
	if (r == -1 || same)
		return r;
	r = target_newest(t, &c, e);
	if (r == 1) {
		same = strcmp(c.version, version) == 0;
		target_commit_clear(&c);
	}
	if (r == -1 || same)
		return r;
	r = target_pointer(t, ptr, e);
	return r > 0 ? strcmp(ptr, version) == 0 : r;
}

/* The claim goes; with version set, what it claims goes before it. */
static int
claim_remove(struct target *t, const char *name, const char *version,
    struct err *e)
{
	char	key[TARGET_KEY_MAX], data[TARGET_KEY_MAX];
	int	r, went = 0;

	if (version != NULL && version[0] != '\0') {
		if (target_version_key(t, key, version, NULL, e) == -1 ||
		    t->ops->remove(t->impl, key, e) == -1)
			return -1;
		went = 1;
	}
	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s", name);
	(void)snprintf(data, sizeof(data), TARGET_STAGING "/%s/" TARGET_DATA,
	    name);
	/* what a gc had renamed when it was killed went from there, too */
	if (!target_is_remote(t) && !went) {
		went = t->ops->has(t->impl, data, e);
		if (went == -1 || (went && target_settle(t, key, e) == -1))
			return -1;
	}
	/* or a crash could bring a version back without its claim */
	if (went && t->ops->settle != NULL) {
		r = t->ops->has(t->impl, TARGET_VERSIONS, e);
		if (r == -1 || (r == 1 && target_settle(t, TARGET_VERSIONS,
		    e) == -1))
			return -1;
	}
	/* the owner last: without it nobody knows whose the rest is */
	if (!target_is_remote(t) && t->ops->remove(t->impl, data, e) == -1)
		return -1;
	return t->ops->remove(t->impl, key, e);
}

/* Older than life seconds, by the store's clock: 1, 0, -1. */
static int
claim_is_old(struct target *t, const char *name, uint64_t life,
    struct err *e)
{
	char	key[TARGET_KEY_MAX];
	int64_t	age;
	int	r;

	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/" TARGET_OWNER,
	    name);
	r = t->ops->age(t->impl, key, &age, e);
	return r == 1 ? age > (int64_t)life : r;
}

/* No such process, or one that only waits to be reaped. */
static int
is_gone(int64_t pid)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	const char	*state;
	char		 path[64];
	int		 gone = 0;

	if (pid <= 0)
		return 0;
	if (kill((pid_t)pid, 0) == -1)
		return errno == ESRCH;
	(void)snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
	buf_init(&b, 4096);
	if (io_slurp(AT_FDCWD, path, &b, &e) == 0) {
		/* "pid (name) S ...", and a name may hold anything */
		state = strrchr(buf_cstr(&b), ')');
		gone = state != NULL && (strncmp(state, ") Z", 3) == 0 ||
		    strncmp(state, ") X", 3) == 0);
	}
	buf_free(&b);
	return gone;
}

/* Of a remote target, on this machine: is its holder dead? */
static int
is_dead_here(const struct owner *o)
{
	char	place[STAGE_PLACE_MAX], host[OWNER_HOST_MAX];

	stage_place(place);
	owner_host(host);
	if (place[0] == '\0' || strcmp(place, o->place) != 0 ||
	    o->host == NULL || strcmp(host, o->host) != 0)
		return 0;
	if (o->staging != NULL && stage_alive(o->staging))
		return 0;
	/* the pid may be somebody else's by now: then age decides */
	return is_gone(o->pid);
}

/* Is the holder of this claim dead, as far as this host can tell? */
static int
is_dead_local(struct target *t, const char *name, const struct owner *o,
    uint64_t age)
{
	struct err	f = { 0, "" };
	char		key[TARGET_KEY_MAX], host[OWNER_HOST_MAX];
	char		place[STAGE_PLACE_MAX];
	int64_t		old;
	int		held = -1, r, unknown, gone;

	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s", name);
	r = t->ops->hold(t->impl, key, &held, &f);
	if (r == 1)
		return 0;
	gone = r == 0 && held != -1 && stage_other_boot(held, o->place);
	t->ops->release(t->impl, held);
	/* out of descriptors, say: whether it is held was not asked */
	unknown = r == -1 && f.code != MSG_NOINPUT;
	if (o->host == NULL)	/* died before it could say who it is */
		return !unknown;
	if (gone)
		return 1;
	owner_host(host);
	old = (io_wall_ns() - o->created) / 1000000000;
	if (strcmp(host, o->host) != 0)
		return age != 0 && old > (int64_t)age;
	if (unknown)
		return 0;
	/* a container of this host's name, whose staging is not seen here */
	stage_place(place);
	if (o->staging != NULL && place[0] != '\0' &&
	    strcmp(place, o->place) != 0 && old <= TARGET_CLAIM_LIFE)
		return 0;
	return o->staging == NULL || !stage_alive(o->staging);
}

/* May the version that a dead claim claims go, too?  1, 0 not yet, -1. */
static int
may_go(struct target *t, const struct owner *o, int old, struct err *e)
{
	uint64_t	g;

	if (!target_is_remote(t) || old)
		return 1;
	/*
	 * A commit of it may be under way in the network though its sender
	 * is dead.  When the generation has been taken that can do no harm.
	 */
	if (target_newest_generation(t, &g, e) == -1)
		return -1;
	return g >= o->generation;
}

struct collect {
	uint64_t	 age;
	int		 dry;
	void		(*say)(void *arg, const struct target_left *l);
	void		*arg;
};

static int
collect_one(struct target *t, const char *name, const struct owner *o,
    void *arg, struct err *e)
{
	struct collect		*c = arg;
	struct target_left	 left = { name, NULL, o->host, o->created };
	int			 committed = 1, old = 0, r;

	if (target_is_remote(t)) {
		if (c->age != 0)
			old = claim_is_old(t, name, c->age >
			    TARGET_CLAIM_LIFE ? c->age : TARGET_CLAIM_LIFE,
			    e);
		if (old == -1)
			return -1;
		if (!old && !is_dead_here(o))
			return 0;
	} else if (!is_dead_local(t, name, o, c->age))
		return 0;
	if (target_version_ok(o->version)) {
		/* in this order: an heir may commit it between the two */
		r = may_go(t, o, old, e);
		if (r != 1)
			return r;
		committed = claim_committed(t, o->version, o->generation, e);
		if (committed == -1)
			return -1;
		if (!committed)
			left.version = o->version;
		/* or the power takes the commit, when its claim has gone */
		else if (!c->dry && target_settle(t, TARGET_COMMITS, e) == -1)
			return -1;
	}
	if (c->say != NULL)
		c->say(c->arg, &left);
	if (c->dry)
		return 0;
	if (target_version_ok(o->removes) &&
	    target_remove_announced(t, o->removes, e) == -1)
		return -1;
	return claim_remove(t, name, committed ? NULL : o->version, e);
}

int
target_collect(struct target *t, uint64_t age, int dry,
    void (*say)(void *arg, const struct target_left *l), void *arg,
    struct err *e)
{
	struct collect		c = { age, dry, say, arg };
	struct target_names	w;
	size_t			n;
	int			rv;

	/* most often there is none, and nothing to lock for */
	if (target_list(t, TARGET_STAGING, &w, e) == -1)
		return -1;
	n = w.n;
	target_names_clear(&w);
	if (n == 0)
		return 0;
	if (t->ops->lock(t->impl, e) == -1)
		return -1;
	rv = owner_each(t, collect_one, &c, e);
	t->ops->unlock(t->impl);
	return rv;
}

/* Claims that are made, taken up and given up. */

static struct target_upload *
upload_new(struct target *t, const struct stage *s, const char *name)
{
	struct target_upload	*u = mem_zero(1, sizeof(*u));

	u->t = t;
	u->held = -1;
	(void)snprintf(u->name, sizeof(u->name), "%s", name);
	if (s != NULL && s->path != NULL)
		u->staging = mem_dup(s->path);
	return u;
}

void
target_upload_free(struct target_upload *u)
{
	if (u == NULL)
		return;
	u->t->ops->release(u->t->impl, u->held);
	free(u->staging);
	free(u);
}

const char *
target_upload_name(const struct target_upload *u)
{
	return u->name;
}

const char *
target_upload_version(const struct target_upload *u)
{
	return u->version;
}

/* What is looked for among the dead: the same upload. */
struct heir {
	struct target_upload		*u;
	const struct target_claim	*c;
	int				 done;
};

/* One that died over the same: its claim becomes ours, if we are first. */
static int
inherit(struct target *t, const char *name, const struct owner *o,
    void *arg, struct err *e)
{
	struct heir	*h = arg;
	struct buf	 b;
	char		 key[TARGET_KEY_MAX], claim[TARGET_KEY_MAX];
	int		 r, unsure = 0;

	if (h->done || h->c->manifest == NULL ||
	    o->generation != h->c->generation ||
	    strcmp(o->manifest, h->c->manifest) != 0 ||
	    !target_version_ok(o->version) || o->run[0] == '\0' ||
	    !path_is_name(o->run) || !is_dead_here(o))
		return 0;
	/* others may be about to remove what is older */
	r = claim_is_old(t, name, TARGET_CLAIM_USE, e);
	if (r != 0)
		return r == 1 ? 0 : r;
	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", name);
	(void)snprintf(key, sizeof(key), "%.400s/heir-of-%.100s", claim,
	    o->run);
	r = t->ops->create(t->impl, claim, key, h->u->run,
	    strlen(h->u->run), &unsure, e);
	if (r != 0) {
		/* another was faster, or nobody knows: not ours */
		e->code = 0;
		return 0;
	}
	(void)snprintf(h->u->name, sizeof(h->u->name), "%s", name);
	memcpy(h->u->version, o->version, sizeof(h->u->version));
	memcpy(h->u->after, o->run, sizeof(h->u->after));
	buf_init(&b, TARGET_COMMIT_MAX);
	owner_text(&b, h->u, h->c->manifest, NULL, NULL);
	r = owner_set(t, name, o->run, &b, e);
	buf_free(&b);
	h->done = r == 0;
	return r;
}

static int
make_claim(struct target_upload *u, const struct target_claim *c,
    struct err *e)
{
	struct target	*t = u->t;
	struct buf	 b;
	char		 key[TARGET_KEY_MAX], hex[9];
	int		 r = -1, tries;

	buf_init(&b, TARGET_COMMIT_MAX);
	owner_text(&b, u, c->manifest, c->keeps, NULL);
	for (tries = 0; tries < TARGET_TRIES; tries++) {
		(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s",
		    u->name);
		r = t->ops->claim(t->impl, key, b.p, b.len, &u->held, e);
		if (r != 1)
			break;
		/* a second publisher of the same run */
		if (io_random_hex(hex, 4, e) == -1) {
			r = -1;
			break;
		}
		(void)snprintf(u->name, sizeof(u->name), "%.*s.%s",
		    STAGE_RUN_MAX, u->run, hex);
	}
	if (r == 1)
		r = err_set(e, MSG_SOFTWARE, "%s/%s: taken, again and again",
		    t->url, key);
	buf_free(&b);
	return r;
}

struct target_upload *
target_begin(struct target *t, const struct stage *s, const char *run,
    const struct target_claim *c, struct err *e)
{
	struct target_upload	*u;
	struct heir		 h;
	char			 key[TARGET_KEY_MAX];
	int			 r = 0;

	if (c->version != NULL && !target_version_ok(c->version)) {
		err_set(e, MSG_SOFTWARE, "%s: version id %s", t->url,
		    c->version);
		return NULL;
	}
	u = upload_new(t, s, run);
	(void)snprintf(u->run, sizeof(u->run), "%s", run);
	u->generation = c->generation;
	h.u = u;
	h.c = c;
	h.done = 0;
	if (t->ops->lock(t->impl, e) == -1) {
		target_upload_free(u);
		return NULL;
	}
	if (target_is_remote(t) && c->version != NULL)
		r = owner_each(t, inherit, &h, e);
	if (r == 0 && !h.done) {
		(void)snprintf(u->version, sizeof(u->version), "%s",
		    c->version != NULL ? c->version : "");
		r = make_claim(u, c, e);
	}
	t->ops->unlock(t->impl);
	if (r == 0 && c->version != NULL && t->ops->probe != NULL) {
		(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s",
		    u->name);
		r = t->ops->probe(t->impl, key, NULL, NULL, e);
		if (r == -1) {
			struct err	f = { 0, "" };

			(void)target_abandon(u, &f);
		}
	}
	if (r != 0) {
		target_upload_free(u);
		return NULL;
	}
	return u;
}

struct target_upload *
target_resume(struct target *t, const char *name, struct err *e)
{
	struct target_upload	*u = NULL;
	struct owner		 o;
	char			 key[TARGET_KEY_MAX];
	int			 held = -1, r;

	if (!path_is_name(name) || strlen(name) >= sizeof(u->name)) {
		err_set(e, MSG_USAGE, "%s: not the name of a claim", name);
		return NULL;
	}
	if (t->ops->lock(t->impl, e) == -1)
		return NULL;
	r = owner_get(t, name, &o, e);
	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s", name);
	if (r == 0)
		err_set(e, MSG_NOINPUT, "%s/%s: the prepared upload is gone",
		    t->url, key);
	else if (r == 1) {
		r = t->ops->hold(t->impl, key, &held, e);
		if (r == 1)
			err_set(e, MSG_TEMPFAIL, "%s/%s: another process is "
			    "at work on it", t->url, key);
		else if (r == 0) {
			u = upload_new(t, NULL, name);
			u->staging = o.staging;
			o.staging = NULL;
			memcpy(u->run, o.run, sizeof(u->run));
			memcpy(u->after, o.after, sizeof(u->after));
			memcpy(u->version, o.version, sizeof(u->version));
			u->generation = o.generation;
			u->held = held;
		}
	}
	t->ops->unlock(t->impl);
	owner_clear(&o);
	return u;
}

int
target_finish(struct target_upload *u, struct err *e)
{
	int	rv;

	if (u->over)
		return 0;
	if (u->t->ops->lock(u->t->impl, e) == -1)
		return -1;
	rv = claim_remove(u->t, u->name, NULL, e);
	u->t->ops->unlock(u->t->impl);
	if (rv == 0)
		u->over = 1;
	return rv;
}

int
target_abandon(struct target_upload *u, struct err *e)
{
	int	r, rv = -1;

	/* what may be committed yet stays, and its claim with it */
	if (u->over || u->unsure)
		return 0;
	if (u->version[0] == '\0')
		return target_finish(u, e);
	if (u->t->ops->lock(u->t->impl, e) == -1)
		return -1;
	r = claim_committed(u->t, u->version, u->generation, e);
	if (r != -1)
		rv = claim_remove(u->t, u->name, r ? NULL : u->version, e);
	u->t->ops->unlock(u->t->impl);
	if (rv == 0)
		u->over = 1;
	return rv;
}
