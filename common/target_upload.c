/*
 * target, the writing: uploads under a claim, the commit, the pointer, and
 * the removal of versions.
 *
 * A local target is locked while commits and pointer change.  A remote one
 * is not, and each step here is safe without:
 * - the commit is an exclusive create, repeated until its outcome is known:
 *   once something lies there, no late copy of ours can land;
 * - the pointer is written only over what was there before the newest
 *   commit was looked up, and looked at again afterwards;
 * - who removes a version announces it in its claim and then looks whether
 *   it is current or kept; who commits an old version announces that and
 *   then looks whether it is being removed.  One of the two sees the other.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "retry.h"
#include "banned.h"

#define COMMIT_TRIES	8	/* of a commit whose outcome is unknown */
#define POINTER_TRIES	8	/* of a pointer that others move, too */

int
target_settle(struct target *t, const char *key, struct err *e)
{
	return t->ops->settle == NULL ? 0 : t->ops->settle(t->impl, key, e);
}

int
target_put(struct target_upload *u, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	const struct target_ops	*ops = u->t->ops;
	void			*impl = u->t->impl;
	struct manifest		 seen;
	unsigned char		 got[HASH_LEN];
	char			 key[TARGET_KEY_MAX], to[TARGET_KEY_MAX];

	if (target_version_key(u->t, to, u->version, NULL, e) == -1)
		return -1;
	/* what only a claim names is no version, wherever it lies */
	if (ops->rename == NULL) {
		if (ops->put(impl, to, dirfd, m, d, share, e) == -1 ||
		    ops->verify(impl, to, m, e) == -1)
			return -1;
	} else {
		(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/"
		    TARGET_DATA, u->name);
		if (ops->put(impl, key, dirfd, m, d, share, e) == -1 ||
		    ops->verify(impl, key, m, e) == -1 ||
		    ops->rename(impl, key, to, e) == -1)
			return -1;
	}
	if (target_manifest(u->t, u->version, &seen, got, e) == -1)
		return -1;
	manifest_clear(&seen);
	if (memcmp(d, got, HASH_LEN) != 0)
		return err_set(e, MSG_IOERR, "%s/%s/%s: not what was written",
		    u->t->url, to, MANIFEST_NAME);
	return 0;
}

/*
 * A version that was there before we came: nobody is about to remove it,
 * and, looked at after that, it lies there.  The other way round it could
 * go between the two, and its remover's claim with it.
 */
static int
prove_old(struct target_upload *u, const struct target_commit *c,
    struct err *e)
{
	struct target	*t = u->t;
	int		 r = 0;

	if (target_is_remote(t))
		r = target_is_wanted(t, c->version, 1, e);
	if (r == 1)
		return err_set(e, MSG_TEMPFAIL, "%s: version %s is being "
		    "removed: choose another, or run again", t->url,
		    c->version);
	if (r == 0)
		r = target_has(t, c->version, e);
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s: version %s was removed "
		    "meanwhile: choose one that dpublish log shows as "
		    "present", t->url, c->version);
	return r == 1 ? 0 : -1;
}

/*
 * The claim is ours, whole and young, what is to be committed lies there,
 * and nobody is about to remove it.
 */
static int
prove_ready(struct target_upload *u, const struct target_commit *c,
    struct err *e)
{
	struct target	*t = u->t;
	char		 key[TARGET_KEY_MAX];
	int64_t		 age = 0;
	int		 r;

	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/" TARGET_OWNER,
	    u->name);
	r = t->ops->age != NULL ? t->ops->age(t->impl, key, &age, e) :
	    t->ops->has(t->impl, key, e);
	if (r == 1 && age > TARGET_CLAIM_USE)
		return err_set(e, MSG_TEMPFAIL, "%s/%s: the claim is %lld "
		    "hours old, others may take it for a dead one's: run "
		    "again", t->url, key, (long long)(age / 3600));
	if (r == 1 && strcmp(u->version, c->version) != 0)
		return prove_old(u, c, e);
	if (r == 1)
		r = target_has(t, c->version, e);
	if (r == 0)
		return err_set(e, MSG_TEMPFAIL, "%s: the upload of version %s "
		    "was taken for a dead one's and removed: run again",
		    t->url, c->version);
	return r == 1 ? 0 : -1;
}

/* Is generation g ours?  1, 0 (then *won is filled), -1 unknown. */
static int
read_back(struct target_upload *u, const struct target_commit *c,
    struct target_commit *won, int *there, struct err *e)
{
	struct target_commit	got;
	int			r, ours;

	r = target_commit_get(u->t, c->generation, &got, e);
	*there = r == 1;
	if (r != 1)
		return r;
	/* a commit of the run that we took it over from may have been late */
	ours = strcmp(got.version, c->version) == 0 &&
	    strcmp(got.kind, c->kind) == 0 &&
	    (strcmp(got.run, c->run) == 0 ||
	    strcmp(got.run, u->after) == 0);
	if (!ours && won != NULL) {
		target_commit_clear(won);
		*won = got;
	} else
		target_commit_clear(&got);
	return ours;
}

/*
 * Create the commit until it is known who has the generation: 0 we, 1
 * another, -1.  What may have been sent and not been seen is sent again:
 * it is the same bytes under a name that only one can take.
 */
static int
take_generation(struct target_upload *u, const struct target_commit *c,
    const char *claim, const char *key, const struct buf *b,
    struct target_commit *won, struct err *e)
{
	struct target	*t = u->t;
	struct err	 first, back;
	int		 tries, r, ours, there, unsure = 0;

	for (tries = 1;; tries++) {
		memset(&first, 0, sizeof(first));
		memset(&back, 0, sizeof(back));
		r = t->ops->create(t->impl, claim, key, b->p, b->len, &unsure,
		    &first);
		if (r == 0)
			return 0;
		ours = read_back(u, c, won, &there, &back);
		if (ours == 1 && r == -1 && !target_is_remote(t))
			/* it is there; whether the disk has it is another
			   matter */
			return err_set(e, first.code, "%.350s (published as "
			    "generation %llu, but it may not survive a crash "
			    "of the machine)", first.text,
			    (unsigned long long)c->generation);
		if (ours == 1)
			return 0;
		if (ours == 0 && there)
			return 1;
		/* refused and not there, and never sent: so it is not done */
		if (ours == 0 && r == -1 && !unsure)
			return err_set(e, first.code, "%s", first.text);
		if (!target_is_remote(t) || tries >= COMMIT_TRIES ||
		    retry_sleep(retry_delay((unsigned int)tries, -1, 0.5),
		    &back) == -1)
			break;
	}
	u->unsure = 1;
	return err_set(e, MSG_TEMPFAIL, "%.350s (whether generation %llu was "
	    "published is not known; nothing was removed: see dpublish log, "
	    "and run again)", back.code != 0 ? back.text : first.text,
	    (unsigned long long)c->generation);
}

int
target_commit(struct target_upload *u, const struct target_commit *c,
    struct target_commit *won, struct err *e)
{
	struct target	*t = u->t;
	struct err	 back = { 0, "" };
	struct buf	 b;
	uint64_t	 g;
	char		 key[TARGET_KEY_MAX], claim[TARGET_KEY_MAX];
	int		 there, rv = -1;

	if (won != NULL)
		memset(won, 0, sizeof(*won));
	target_commit_key(key, c->generation);
	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", u->name);
	buf_init(&b, TARGET_COMMIT_MAX);
	target_commit_text(c, &b);
	if (t->ops->lock(t->impl, e) == -1) {
		buf_free(&b);
		return -1;
	}
	if (target_newest_generation(t, &g, e) == -1)
		goto done;
	if (g >= c->generation) {
		rv = read_back(u, c, won, &there, &back);
		if (rv == 1)
			rv = 0;
		else if (rv == 0) {
			/* another's; or taken and lost, and a later one is
			   there */
			rv = 1;
			if (!there && won != NULL)
				(void)target_newest(t, won, &back);
		} else {
			u->unsure = 1;
			err_set(e, MSG_TEMPFAIL, "%.350s (whether generation "
			    "%llu was published is not known; nothing was "
			    "removed)", back.text,
			    (unsigned long long)c->generation);
		}
	} else if (g != c->generation - 1)
		err_set(e, MSG_NOINPUT, "%s: the newest commit is %llu, and "
		    "%llu was merged onto: commits were lost", t->url,
		    (unsigned long long)g,
		    (unsigned long long)(c->generation - 1));
	else if (prove_ready(u, c, e) == 0)
		rv = take_generation(u, c, claim, key, &b, won, e);
done:
	t->ops->unlock(t->impl);
	buf_free(&b);
	return rv;
}

/* One try: 1 moved, 0 it was right, 2 others moved meanwhile, -1. */
static int
advance_once(struct target_upload *u, struct err *e)
{
	struct target		*t = u->t;
	struct target_commit	 c;
	char			 claim[TARGET_KEY_MAX];
	struct buf		 b;
	uint64_t		 g;
	int			 r, unsure = 0;

	memset(&c, 0, sizeof(c));
	buf_init(&b, 4096);
	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", u->name);
	/* the pointer first: what replaces it must know what it replaces */
	r = t->ops->get(t->impl, TARGET_POINTER, &b, e);
	if (r == -1 && e->code != MSG_DATAERR)
		goto done;
	e->code = 0;
	r = target_newest(t, &c, e);
	if (r != 1)
		goto done;
	/* bytes, not meaning: what it holds must be the id and no more */
	if (b.len == strlen(c.version) &&
	    memcmp(b.p, c.version, b.len) == 0) {
		/* who moved it may have been killed before it was durable */
		r = target_settle(t, ".", e);
		goto done;
	}
	/* its committer may have been killed before it was durable */
	if (target_settle(t, TARGET_COMMITS, e) == -1) {
		r = -1;
		goto done;
	}
	r = t->ops->replace(t->impl, claim, TARGET_POINTER, c.version,
	    strlen(c.version), &unsure, e);
	if (r == 1)
		r = 2;
	else if (r == 0) {
		r = 1;
		/* where nothing kept others out, somebody may have been
		   faster with a newer one, and slower than we were */
		if (target_is_remote(t)) {
			if (target_newest_generation(t, &g, e) == -1)
				r = -1;
			else if (g != c.generation)
				r = 2;
		}
	}
done:
	target_commit_clear(&c);
	buf_free(&b);
	return r;
}

int
target_advance(struct target_upload *u, struct err *e)
{
	struct target	*t = u->t;
	struct err	 f;
	int		 tries, r;

	if (t->ops->lock(t->impl, e) == -1)
		return -1;
	for (tries = 1;; tries++) {
		memset(&f, 0, sizeof(f));
		r = advance_once(u, &f);
		if (r == 0 || r == 1 || !target_is_remote(t) ||
		    (r == -1 && f.code != MSG_TEMPFAIL) ||
		    tries >= POINTER_TRIES ||
		    retry_sleep(retry_delay((unsigned int)tries, -1, 0.5),
		    &f) == -1)
			break;
	}
	t->ops->unlock(t->impl);
	if (r == 2)
		return err_set(e, MSG_TEMPFAIL, "%s/%s: others move it again "
		    "and again", t->url, TARGET_POINTER);
	if (r == -1)
		*e = f;
	return r;
}

int
target_object(struct target *t, const char *key, struct buf *b,
    struct err *e)
{
	return t->ops->get(t->impl, key, b, e);
}

int
target_mark(struct target_upload *u, const char *key, const void *p,
    size_t n, struct err *e)
{
	struct target	*t = u->t;
	struct err	 one, back;
	char		 claim[TARGET_KEY_MAX];
	int		 r, tries, unsure;

	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", u->name);
	for (tries = 1;; tries++) {
		unsure = 0;
		memset(&one, 0, sizeof(one));
		memset(&back, 0, sizeof(back));
		r = t->ops->create(t->impl, claim, key, p, n, &unsure, &one);
		if (r != -1 || !unsure || tries >= COMMIT_TRIES ||
		    retry_sleep(retry_delay((unsigned int)tries, -1, 0.5),
		    &back) == -1)
			break;
	}
	if (r == -1)
		*e = one;
	return r;
}

/* Removal. */

int
target_remove_announced(struct target *t, const char *version,
    struct err *e)
{
	struct target_commit	c;
	char			key[TARGET_KEY_MAX];
	char			ptr[TARGET_VERSION_MAX];
	int			r, stays;

	if (target_version_key(t, key, version, NULL, e) == -1)
		return -1;
	/*
	 * Before its commit is looked for: whose claim is gone by now has
	 * committed what it wanted, and who claims from now on sees us.
	 */
	stays = target_is_wanted(t, version, 0, e);
	if (stays != 0)
		return stays;
	r = target_newest(t, &c, e);
	/* without commits nothing is known of it */
	if (r != 1)
		return r == 0 ? 1 : -1;
	stays = strcmp(c.version, version) == 0;
	target_commit_clear(&c);
	if (!stays) {
		if (target_pointer(t, ptr, e) == -1)
			return -1;
		stays = strcmp(ptr, version) == 0;
	}
	if (stays == 0 && target_is_remote(t)) {
		stays = target_is_held(t, version, e);
		if (stays == 1)
			stays = 2;
	}
	if (stays != 0)
		return stays;
	return t->ops->remove(t->impl, key, e);
}

static int
current_now(const struct target *t, const char *version, struct err *e)
{
	return err_set(e, MSG_TEMPFAIL, "%s: %s has become the current "
	    "version: run again", t->url, version);
}

static int
remove_remote(struct target_upload *u, const char *version, struct err *e)
{
	int	r;

	if (u->t->ops->lock(u->t->impl, e) == -1)
		return -1;
	r = target_own(u, version, e);
	if (r == 0)
		r = target_remove_announced(u->t, version, e);
	u->t->ops->unlock(u->t->impl);
	if (r == 1)
		return current_now(u->t, version, e);
	return r == 2 ? 1 : r;
}

int
target_remove(struct target_upload *u, const char *version, struct err *e)
{
	struct target		*t = u->t;
	struct target_commit	 c;
	char			 from[TARGET_KEY_MAX], to[TARGET_KEY_MAX];
	int			 r, rv = -1;

	if (target_is_remote(t))
		return remove_remote(u, version, e);
	memset(&c, 0, sizeof(c));
	if (target_version_key(t, from, version, NULL, e) == -1)
		return -1;
	(void)snprintf(to, sizeof(to), TARGET_STAGING "/%s/" TARGET_DATA,
	    u->name);
	if (t->ops->lock(t->impl, e) == -1)
		return -1;
	r = target_newest(t, &c, e);
	if (r == 1 && strcmp(c.version, version) == 0)
		/* a rollback came between the look and the removal */
		current_now(t, version, e);
	else if (r != -1) {
		rv = target_is_held(t, version, e);
		if (rv == 0)
			rv = t->ops->rename(t->impl, from, to, e);
	}
	t->ops->unlock(t->impl);
	target_commit_clear(&c);
	if (rv == 0)
		rv = t->ops->remove(t->impl, to, e);
	return rv;
}

/* What a local place must do. */
static int
probe_local(struct target_upload *u, void (*say)(const char *, void *),
    void *arg, struct err *e)
{
	const struct target_ops	*ops = u->t->ops;
	void			*impl = u->t->impl;
	struct buf		 b;
	char			 claim[TARGET_KEY_MAX], a[TARGET_KEY_MAX];
	char			 d1[TARGET_KEY_MAX], d2[TARGET_KEY_MAX];
	int			 r, held = -1, unsure = 0, rv = -1;

	buf_init(&b, 64);
	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", u->name);
	(void)snprintf(a, sizeof(a), "%.200s/" TARGET_DATA "/probe", claim);
	(void)snprintf(d1, sizeof(d1), "%.200s/" TARGET_DATA, claim);
	(void)snprintf(d2, sizeof(d2), "%.200s/moved", claim);
	if (ops->create(impl, claim, a, "first", 5, &unsure, e) != 0) {
		err_set(e, MSG_SOFTWARE, "%s: a name that was free was taken",
		    u->t->url);
		goto done;
	}
	say("exclusive create: the first succeeds", arg);
	r = ops->create(impl, claim, a, "second", 6, &unsure, e);
	if (r == -1)
		goto done;
	if (r == 0 || ops->get(impl, a, &b, e) != 1 || b.len != 5 ||
	    memcmp(b.p, "first", 5) != 0) {
		err_set(e, MSG_USAGE, "%s: this place does not exclude: a "
		    "second create of one name was not refused; two "
		    "publishers could overwrite each other", u->t->url);
		goto done;
	}
	say("exclusive create: the second is refused, the first stays", arg);
	if (ops->replace(impl, claim, a, "third", 5, &unsure, e) == -1)
		goto done;
	buf_reset(&b);
	if (ops->get(impl, a, &b, e) != 1 || b.len != 5 ||
	    memcmp(b.p, "third", 5) != 0) {
		err_set(e, MSG_IOERR, "%s: a replaced object is not what was "
		    "written", u->t->url);
		goto done;
	}
	say("replacement: what was written is read back", arg);
	if (ops->rename(impl, d1, d2, e) == -1)
		goto done;
	say("rename of a directory, and its sync", arg);
	r = ops->hold(impl, claim, &held, e);
	if (r == 0)
		err_set(e, MSG_USAGE, "%s: locks do not exclude here: the "
		    "claim of a living run could be taken for a dead one's",
		    u->t->url);
	if (r != 1)
		goto done;
	say("locks: a second holder is refused", arg);
	rv = 0;
done:
	ops->release(impl, held);
	buf_free(&b);
	return rv;
}

int
target_probe(struct target_upload *u, void (*say)(const char *, void *),
    void *arg, struct err *e)
{
	char	claim[TARGET_KEY_MAX];

	if (!target_is_remote(u->t))
		return probe_local(u, say, arg, e);
	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", u->name);
	return u->t->ops->probe(u->t->impl, claim, say, arg, e);
}
