/*
 * target_fails: a target whose Nth call fails, for each N: of a store of
 * objects, of a directory, and of the system below that.  Whatever fails is
 * said with its class; what readers follow is the old version or the new
 * one, whole; done again, it is done.
 * SPDX-License-Identifier: ISC
 */
#include "worlds.h"

#include "tap.h"

#define HOUR	3600

/*
 * What is done, and whether it was.
 */

/* Who does it again looks first. */
static int
is_there(void)
{
	return fail_at == 0 && nth_call == NULL && head() == 3;
}

static int
do_publish(struct err *e)
{
	return is_there() ? 0 : publish("three", 3, V3, NULL, e);
}

static int
is_published(void)
{
	return head() == 3;
}

static int
do_rollback(struct err *e)
{
	return publish("back", next(), NULL, V1, e);
}

static int
is_back(void)
{
	char		ptr[TARGET_VERSION_MAX];
	struct err	e = { 0, "" };

	return target_pointer(&target, ptr, &e) == 1 && strcmp(ptr, V1) == 0;
}

static int
with(int (*f)(struct target_upload *u, struct err *e), struct err *e)
{
	struct target_claim	 none;
	struct target_upload	*u;
	struct err		 g = { 0, "" };
	int			 rv;

	memset(&none, 0, sizeof(none));
	u = target_begin(&target, NULL, "keeper", &none, e);
	if (u == NULL)
		return -1;
	rv = f(u, e);
	if (rv == -1)
		(void)target_abandon(u, &g);
	else
		rv = target_finish(u, e);
	target_upload_free(u);
	return rv;
}

static int
remove_one(struct target_upload *u, struct err *e)
{
	return target_remove(u, V1, e);
}

/* It is listed no more, once it is removed. */
static int
do_remove(struct err *e)
{
	if (fail_at == 0 && nth_call == NULL && !has(V1))
		return 0;
	return with(remove_one, e);
}

static int
is_removed(void)
{
	return !has(V1) && has(V2);
}

static int
count_pin(const struct target_pin *p, void *arg, struct err *e)
{
	(void)e;
	*(int *)arg += p->seconds == 0 ? 1 : 10;
	return 0;
}

static int
keep_all(struct target_upload *u, struct err *e)
{
	char	pin[TARGET_PIN_MAX], lease[TARGET_PIN_MAX];

	if (target_pin_name(pin, V1, NULL, e) == -1 ||
	    target_pin_name(lease, V1, "me", e) == -1 ||
	    target_hold(u, V1, pin, "why", 0, e) == -1 ||
	    target_hold(u, V1, lease, NULL, HOUR, e) == -1 ||
	    /* goes on */
	    target_hold(u, V1, lease, NULL, HOUR, e) == -1)
		return -1;
	/* two keep it; it stays */
	if (target_is_held(&target, V1, e) != 1 ||
	    target_remove(u, V1, e) != 1)
		return e->code != 0 ? -1 : err_set(e, MSG_SOFTWARE,
		    "not held");
	return target_unhold(&target, pin, e);
}

static int
do_keep(struct err *e)
{
	return with(keep_all, e);
}

static int
is_kept(void)
{
	struct err	e = { 0, "" };
	int		n = 0;

	return target_pins(&target, count_pin, &n, &e) == 0 && n == 10 &&
	    has(V1);
}

static int
note_all(struct target_upload *u, struct err *e)
{
	struct buf	b;
	int64_t		age;
	int		r;

	if (target_note_set(u, "quarantine/n/v.json", "1", 1, e) == -1 ||
	    target_note_set(u, "quarantine/n/v.json", "22", 2, e) == -1 ||
	    target_note_add(u, "quarantine/n/w.json", "3", 1, e) == -1 ||
	    target_note_age(&target, "quarantine/n/w.json", &age, e) != 1 ||
	    target_note_unlink(&target, "quarantine/n/w.json", e) == -1 ||
	    target_mark(u, "done/1.json", "x", 1, e) == -1)
		return -1;
	buf_init(&b, 16);
	r = target_object(&target, "done/1.json", &b, e);
	buf_free(&b);
	return r == -1 ? -1 : 0;
}

static int
do_notes(struct err *e)
{
	return with(note_all, e);
}

static int
are_notes(void)
{
	struct err	e = { 0, "" };
	struct buf	b;
	int		good;

	buf_init(&b, 16);
	good = target_note_get(&target, "quarantine/n/v.json", &b, &e) == 1 &&
	    strcmp(buf_cstr(&b), "22") == 0 && names("quarantine/n") == 1;
	buf_reset(&b);
	good = good && target_object(&target, "done/1.json", &b, &e) == 1 &&
	    strcmp(buf_cstr(&b), "x") == 0;
	buf_free(&b);
	return good;
}

/* Two that died: one before its commit, one about to remove V1. */
static void
dead_ones(uint64_t g)
{
	struct target_claim	 c = { V3, g, NULL, NULL };
	struct target_claim	 none = { NULL, 0, NULL, NULL };
	struct target_upload	*u;
	struct err		 e = { 0, "" };

	u = target_begin(&target, NULL, "died", &c, &e);
	(void)target_put(u, storefd, &manifest, digest, 0, &e);
	die(u);
	u = target_begin(&target, NULL, "slain", &none, &e);
	if (target_is_remote(&target))
		(void)target_own(u, V1, &e);
	die(u);
}

static void
count_left(void *arg, const struct target_left *l)
{
	(void)l;
	(*(unsigned int *)arg)++;
}

static int
do_sweep(struct err *e)
{
	unsigned int	n = 0;

	return target_collect(&target, 0, 0, count_left, &n, e);
}

/* What could not be asked whether it lives is left to the next one. */
static int
is_swept(void)
{
	all_die();
	return !has(V3) && names(TARGET_STAGING) == 0 && has(V2) &&
	    has(V1) == !target_is_remote(&target);
}

static void
two_dead(void)
{
	dead_ones(2);
}

/* Somebody died with V3 uploaded: who publishes the same takes it up. */
static void
one_dead(void)
{
	struct target_claim	 c = { V3, 3, NULL, NULL };
	struct target_upload	*u;
	struct err		 e = { 0, "" };
	char			 hex[HASH_HEX];

	hash_hex(digest, hex);
	c.manifest = hex;
	u = target_begin(&target, NULL, "died", &c, &e);
	(void)target_put(u, storefd, &manifest, digest, 0, &e);
	die(u);
}

static int
do_inherit(struct err *e)
{
	return is_there() ? 0 : publish("heir", 3, V4, NULL, e);
}

/* By itself or from the dead one, but only one of the two. */
static int
is_inherited(void)
{
	all_die();
	return head() == 3 && has(V3) + has(V4) == 1 &&
	    names(TARGET_STAGING) == 0;
}

/* Prepared by one process, committed by another. */
static int
do_resume(struct err *e)
{
	struct target_claim	 claim = { V3, 3, NULL, NULL };
	struct target_commit	 c;
	struct target_upload	*u;
	struct err		 f = { 0, "" };
	int			 rv;

	if (is_there())
		return 0;
	u = target_begin(&target, NULL, "pre", &claim, e);
	if (u == NULL)
		return -1;
	if (target_put(u, storefd, &manifest, digest, 1, e) == -1) {
		(void)target_abandon(u, &f);
		target_upload_free(u);
		return -1;
	}
	target_upload_free(u);
	u = target_resume(&target, "pre", e);
	if (u == NULL)
		/* as the next one does, when its claim is taken for dead */
		u = target_resume(&target, "pre", &f);
	if (u == NULL)
		return -1;
	fill(&c, 3, V3, "pre", "publish");
	rv = e->code != 0 ? -1 : target_commit(u, &c, NULL, e);
	if (rv == 0)
		rv = target_advance(u, e) == -1 ? -1 : target_finish(u, e);
	if (rv == -1)
		(void)target_abandon(u, &f);
	target_commit_clear(&c);
	target_upload_free(u);
	return rv;
}

static int
do_read(struct err *e)
{
	struct target_names	 claims;
	struct target_commit	 c;
	struct err		 f = { 0, "" };
	char			**v, ptr[TARGET_VERSION_MAX];
	size_t			 n;
	int			 rv = -1;

	if (target_head(&target, &c, e) != 1)
		return -1;
	target_commit_clear(&c);
	if (target_versions(&target, &v, &n, e) == -1)
		return -1;
	target_names_free(v);
	if (target_claimed(&target, &claims, e) == -1)
		return -1;
	target_names_clear(&claims);
	(void)io_rmtree(topfd, "copy", &f);
	if (target_pointer(&target, ptr, e) == 1 &&
	    target_fetch(&target, V1, topfd, "copy", e) == 0 &&
	    target_verify(&target, V1, e) == 0)
		rv = 0;
	return rv;
}

static int
is_read(void)
{
	return faccessat(topfd, "copy/sub/bytes", F_OK, 0) == 0 &&
	    faccessat(topfd, "copy/" MANIFEST_NAME, F_OK, 0) == 0;
}

static const struct scene {
	const char	*name;
	void		(*first)(void);		/* or NULL */
	int		(*f)(struct err *e);
	int		(*done)(void);
	int		 remote;	/* of a store of objects alone */
} scenes[] = {
	{ "a publish", NULL, do_publish, is_published, 0 },
	{ "a rollback", NULL, do_rollback, is_back, 0 },
	{ "a removal", NULL, do_remove, is_removed, 0 },
	{ "pins and leases", NULL, do_keep, is_kept, 0 },
	{ "notes and marks", NULL, do_notes, are_notes, 0 },
	{ "a sweep of what died", two_dead, do_sweep, is_swept, 0 },
	{ "a publish after one that died", one_dead, do_inherit,
	    is_inherited, 1 },
	{ "a prepared one", NULL, do_resume, is_published, 0 },
	{ "a reader", NULL, do_read, is_read, 0 },
	{ NULL, NULL, NULL, NULL, 0 }
};

static int
complain(const struct scene *s, const char *what, unsigned long n,
    const struct err *e, const char *why)
{
	printf("# %s, %s %lu (%s): %s: %d %s\n", s->name, what, n, hit, why,
	    e->code, e->text);
	return 1;
}

/* After one failure: what was said, what readers see, and once more. */
static int
judge(const struct scene *s, const char *what, unsigned long n, int rv,
    const struct err *said)
{
	struct err	e = { 0, "" };
	uint64_t	g;
	int		bad = 0;

	fail_at = 0;
	if (rv == -1 && (said->text[0] == '\0' || (said->code != MSG_IOERR &&
	    said->code != MSG_TEMPFAIL && said->code != MSG_NOPERM)))
		bad += complain(s, what, n, said, "wrong class");
	if (rv == 0 && !s->done())
		bad += complain(s, what, n, said, "said to be done");
	g = head();
	if (g < 2 || g > 3 || !has(V2))
		bad += complain(s, what, n, said, "not whole");
	all_die();
	if (s->f(&e) == -1 || !s->done())
		bad += complain(s, what, n, &e, "again");
	return bad;
}

static void
each_call(int remote, enum how h, const char *what)
{
	const struct scene	*s;
	struct err		 e;
	unsigned long		 n, all = 0;
	int			 bad = 0, rv;

	for (s = scenes; s->name != NULL; s++) {
		if (s->remote && !remote)
			continue;
		for (n = 1;; n++) {
			world(remote);
			if (s->first != NULL)
				s->first();
			how = h;
			fail_at = n;
			memset(&e, 0, sizeof(e));
			rv = s->f(&e);
			if (hit[0] == '\0')
				break;
			fail_at = 0;
			bad += judge(s, what, n, rv, &e);
			all++;
		}
		fail_at = 0;
		if (rv == -1 || !s->done())
			bad += complain(s, what, 0, &e, "without a failure");
	}
	tap_ok(bad == 0 && all > 50, "%s: %lu times", what, all);
}

static void
each_system_call(void)
{
	static const char *const kinds[] = { "open", "read", "write", "sync",
		"rename", "link", "unlink", "mkdir", "stat", "chmod", "lock",
		"list" };
	const struct scene	*s;
	struct err		 e;
	unsigned long		 n, all = 0;
	size_t			 k;
	int			 bad = 0, rv, more;

	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (s = scenes; s->name != NULL; s++)
			for (n = 1, more = !s->remote; more; n++) {
				world(0);
				if (s->first != NULL)
					s->first();
				memset(&e, 0, sizeof(e));
				nth_start(kinds[k], n);
				rv = s->f(&e);
				more = nth_stop();
				(void)snprintf(hit, sizeof(hit), "%s",
				    kinds[k]);
				if (more)
					bad += judge(s, kinds[k], n, rv, &e);
				all += (unsigned long)more;
			}
	tap_ok(bad == 0 && all > 200, "each system call of a directory: %lu "
	    "times", all);
}

int
main(void)
{
	msg_init("target_fails");
	tap_plan(5);
	worlds_open("target_fails");
	each_call(1, REFUSED, "each call of a store is refused");
	each_call(1, LOST, "each is done and its answer lost");
	each_call(1, DROPPED, "each is lost");
	each_call(0, REFUSED, "each call of a directory is refused");
	each_system_call();
	worlds_close();
	return tap_done();
}
