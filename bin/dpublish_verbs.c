/*
 * dpublish, the verbs: log, rollback, prune, probe.  None of them reads a
 * stream or makes a version.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"
#include "mem.h"
#include "banned.h"

int
dpub_failed(const struct err *e)
{
	if (io_signal() == 0)
		msg_err(e);
	return e->code;
}

int
dpub_json(const struct rec *r, struct err *e)
{
	struct buf	b;
	int		rv = 0;

	buf_init(&b, 8 * REC_MAX);
	rec_to_json(r, &b);
	buf_addc(&b, '\n');
	if (fwrite(b.p, 1, b.len, stdout) != b.len)
		rv = err_sys(e, errno, "stdout");
	buf_free(&b);
	return rv;
}

int
dpub_flush(struct err *e)
{
	if (fflush(stdout) == EOF || ferror(stdout)) {
		/* a pager that was left is no failure of ours to report */
		if (errno == EPIPE)
			return err_set(e, MSG_PROTOCOL, "%s",
			    "stdout: its reader left");
		return err_sys(e, errno, "stdout");
	}
	return 0;
}

/* log */

void
dpub_when(int64_t ns, char out[32])
{
	struct tm	tm;
	time_t		s = (time_t)(ns / 1000000000);

	memset(&tm, 0, sizeof(tm));
	(void)gmtime_r(&s, &tm);
	if (strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
}

static int
log_line(struct target *t, const struct target_commit *c, int64_t delta,
    int current, const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	char		 at[32];
	int		 has, rv = 0;

	has = target_has(t, c->version, e);
	if (has == -1)
		return -1;
	dpub_when(c->created, at);
	if (o->filter.json) {
		r = dpub_record("commit", t, c);
		rec_set_i64(r, "delta", delta);
		rec_set_str(r, "created", at);
		rec_set_str(r, "state", has ? "present" : "gone");
		rec_set_bool(r, "current", current);
		rv = dpub_json(r, e);
		rec_free(r);
		return rv;
	}
	if (printf("%c %6" PRIu64 "  %s  %-8s %10" PRIu64 " %+10" PRId64
	    "  %-7s %s  run %s\n", current ? '*' : ' ', c->generation,
	    c->version, c->kind, c->records, delta, has ? "present" : "gone",
	    at, c->run) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

static void
look_ahead(struct dpub_past *p, uint64_t g)
{
	if (g < 2 || (p->low != 0 && g > p->low))
		return;
	/* who stops soon has not asked for much */
	p->n = p->n == 0 ? DPUB_AHEAD / 16 : p->n < DPUB_AHEAD ? 2 * p->n :
	    DPUB_AHEAD;
	target_ahead_commits(p->t, g, p->n);
	p->low = g > p->n ? g - p->n : 1;
}

int
dpub_older(struct dpub_past *p, uint64_t g, struct target_commit *c,
    struct err *e)
{
	struct target	*t = p->t;
	uint64_t	 at = g;
	int		 r = 0;

	look_ahead(p, g);
	if (at > 1)
		r = target_commit_get(t, --at, c, e);
	if (r == 0 && at > 0) {
		/* a gap, however wide: the list knows where it ends */
		if (target_generation_before(t, at, &at, e) == -1)
			return -1;
		r = at > 0 ? target_commit_get(t, at, c, e) : 0;
	}
	if (r == 0 && g > 1)
		msg_warn("warning: %s/%s: 1 to %" PRIu64 " are missing",
		    target_url(t), TARGET_COMMITS, g - 1);
	else if (r == 1 && at + 1 < g)
		msg_warn("warning: %s/%s: %" PRIu64 " to %" PRIu64 " are "
		    "missing", target_url(t), TARGET_COMMITS, at + 1, g - 1);
	if (r != -1)
		p->gaps += g > at ? g - 1 - (r == 1 ? at : 0) : 0;
	return r;
}

/* Commits in order, newest first, as many as are read ahead at once. */
struct window {
	struct target_commit	v[DPUB_AHEAD + 1];
	size_t			n;
	int			current;	/* v[0] is it */
};

/*
 * w begins with a commit; fill it.  1 there are older ones than the last of
 * it, 0, -1 (what is in it is good).
 */
static int
fill(struct window *w, struct dpub_past *p, struct err *e)
{
	int	r;

	do {
		memset(&w->v[w->n], 0, sizeof(w->v[0]));
		r = dpub_older(p, w->v[w->n - 1].generation, &w->v[w->n], e);
		if (r == 1)
			w->n++;
	} while (r == 1 && w->n <= DPUB_AHEAD &&
	    w->v[w->n - 1].generation > p->low);
	return r;
}

/* The first n of w, which go; what is behind them moves up. */
static int
log_lines(struct target *t, struct window *w, size_t n,
    const struct dpub_opts *o, struct err *e)
{
	const char	*versions[DPUB_AHEAD + 1];
	uint64_t	 before;
	size_t		 i;
	int		 rv = 0;

	for (i = 0; i < n; i++)
		versions[i] = w->v[i].version;
	target_ahead_has(t, versions, n);
	for (i = 0; i < n && rv == 0 && io_signal() == 0; i++) {
		before = i + 1 < w->n ? w->v[i + 1].records : 0;
		rv = log_line(t, &w->v[i], (int64_t)w->v[i].records -
		    (int64_t)before, w->current && i == 0, o, e);
	}
	for (i = 0; i < n; i++)
		target_commit_clear(&w->v[i]);
	memmove(w->v, w->v + n, (w->n - n) * sizeof(w->v[0]));
	w->n -= n;
	w->current = 0;
	return rv;
}

static int
log_from(struct target *t, struct window *w, const struct dpub_opts *o,
    struct err *e)
{
	struct dpub_past	past = { t, 0, 0, 0 };
	struct err		f = { 0, "" };
	int			r;

	do {
		r = fill(w, &past, e);
		/* how the last one differs, the one before it says */
		if (log_lines(t, w, r == 0 ? w->n : w->n - 1, o,
		    r == -1 ? &f : e) == -1)
			r = -1;
	} while (r == 1 && io_signal() == 0);
	return r == -1 ? -1 : dpub_flush(e);
}

/* No commit: of keys that were published in place the journal knows. */
static int
no_log(struct target *t, struct err *e)
{
	struct err	f = { 0, "" };
	struct buf	b;
	int		r;

	buf_init(&b, TARGET_VERSION_MAX);
	r = target_object(t, ".intact/" TARGET_POINTER, &b, &f);
	buf_free(&b);
	if (r == 1)
		return err_set(e, MSG_NOINPUT, "%s: no versions, but plain "
		    "keys (--in-place): dpublish log %s/.intact",
		    target_url(t), target_url(t));
	return err_set(e, MSG_NOINPUT, "%s: nothing was published here yet",
	    target_url(t));
}

/* ptr is what the pointer said before c, the newest commit, was read. */
static void
judge_pointer(struct target *t, const struct target_commit *c,
    const char *ptr, struct err *lost)
{
	struct err	f = { 0, "" };
	char		now[TARGET_VERSION_MAX];

	if (strcmp(ptr, c->version) == 0 ||
	    target_explains(t, c, ptr, lost) == -1)
		return;
	/* somebody may just have published */
	if (target_pointer(t, now, &f) != -1 && strcmp(now, c->version) == 0)
		return;
	msg_warn("warning: %s/%s: names %s, the newest commit names %s: the "
	    "next dpublish mends it", target_url(t), TARGET_POINTER,
	    ptr[0] != '\0' ? ptr : "nothing", c->version);
}

static int
log_all(struct target *t, const struct dpub_opts *o, struct err *e)
{
	struct err	 lost = { 0, "" };
	struct window	*w;
	char		 ptr[TARGET_VERSION_MAX];
	size_t		 i;
	int		 r;

	w = mem_zero(1, sizeof(*w));
	w->n = w->current = 1;
	/* the pointer first: what it names was committed before */
	if (target_pointer(t, ptr, e) == -1)
		r = -1;
	else
		r = target_newest(t, &w->v[0], e);
	/* nothing at all, or commits that were lost? */
	if (r == 0 && (r = target_head(t, &w->v[0], e)) != -1)
		r = no_log(t, e);
	if (r == 1) {
		judge_pointer(t, &w->v[0], ptr, &lost);
		r = log_from(t, w, o, e);
		if (r == 0 && lost.code != 0) {
			*e = lost;
			r = -1;
		}
	}
	for (i = 0; i < w->n; i++)
		target_commit_clear(&w->v[i]);
	free(w);
	return r;
}

int
dpub_log(const char *target, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = dpub_open_target(target, 0, o, &e);
	int		 rv = 0;

	if (t == NULL || log_all(t, o, &e) == -1)
		rv = dpub_failed(&e);
	target_close(t);
	return rv;
}

/* rollback */

/*
 * The commit that published version, or with version NULL the one that the
 * current version was published onto: 0, or -1 with *e.
 */
static int
find_old(struct target *t, const struct target_commit *head,
    const char *version, struct target_commit *out, struct err *e)
{
	struct dpub_past	past = { t, 0, 0, 0 };
	struct target_commit	c, next;
	char			want[TARGET_VERSION_MAX];
	const char		*look = version != NULL ? version :
	    head->version;
	int			r;

	r = target_commit_get(t, head->generation, &c, e);
	(void)snprintf(want, sizeof(want), "%s", look);
	while (r == 1) {
		if (strcmp(c.version, want) == 0 &&
		    strcmp(c.kind, "publish") == 0) {
			if (version != NULL || strcmp(want,
			    head->version) != 0) {
				*out = c;
				return 0;
			}
			if (c.parent == NULL) {
				target_commit_clear(&c);
				return err_set(e, MSG_NOINPUT, "%s: version "
				    "%s is the first: there is none before "
				    "it", target_url(t), head->version);
			}
			(void)snprintf(want, sizeof(want), "%s", c.parent);
		}
		memset(&next, 0, sizeof(next));
		r = dpub_older(&past, c.generation, &next, e);
		target_commit_clear(&c);
		c = next;
	}
	if (r == -1)
		return -1;
	return err_set(e, MSG_NOINPUT, "%s: version %s: no commit published "
	    "it (see dpublish log)", target_url(t), want);
}

static int
say_rollback(const struct target *t, const struct target_commit *c,
    int same, const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	int		 rv;

	if (o->filter.json) {
		r = dpub_record("published", t, c);
		if (same)
			rec_set_bool(r, "unchanged", 1);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (printf("%s: %s version %s (generation %" PRIu64 ", %"
	    PRIu64 " records)\n", target_url(t), same ? "already at" :
	    "rolled back to", c->version, c->generation, c->records) < 0)
		rv = err_sys(e, errno, "stdout");
	else
		rv = 0;
	return rv == -1 ? -1 : dpub_flush(e);
}

/* Bytes where they lie, and that they are those that were published. */
static int
prove_old(struct target *t, const struct target_commit *c, struct err *e)
{
	struct manifest	m;
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	int		r;

	r = target_has(t, c->version, e);
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s: version %s is gone (it "
		    "was pruned): choose one that dpublish log shows as "
		    "present", target_url(t), c->version);
	if (r == -1 || target_manifest(t, c->version, &m, d, e) == -1)
		return -1;
	manifest_clear(&m);
	hash_hex(d, hex);
	if (strcmp(hex, c->manifest_sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s: version %s: %s is not "
		    "the one that commit %" PRIu64 " published",
		    target_url(t), c->version, MANIFEST_NAME, c->generation);
	return target_verify(t, c->version, e);
}

/* The newest commit, from which there is a way back: 0 *head, -1. */
static int
roll_from(struct target *t, struct target_commit *head, struct err *e)
{
	char	ptr[TARGET_VERSION_MAX];
	int	r;

	/* commits alone: a current version that is gone is to be mended */
	if (target_pointer(t, ptr, e) == -1)
		return -1;
	r = target_newest(t, head, e);
	if (r == 1)
		r = target_explains(t, head, ptr, e) == -1 ? -1 : 1;
	else if (r == 0 && target_head(t, head, e) != -1)
		err_set(e, MSG_NOINPUT, "%s: nothing was published here yet",
		    target_url(t));
	if (r != 1)
		return -1;
	if (strcmp(head->format, DPUB_INPLACE) == 0)
		return err_set(e, MSG_USAGE, "%s: a journal of --in-place: "
		    "publish the older set again, or dpublish --in-place "
		    "--rollback what is not finished", target_url(t));
	return 0;
}

/* c, which was published once, becomes a commit after head. */
static void
roll_commit(struct target_commit *c, const struct target_commit *head,
    const char *run)
{
	c->generation = head->generation + 1;
	free(c->parent);
	c->parent = mem_dup(head->version);
	free(c->kind);
	c->kind = mem_dup("rollback");
	(void)snprintf(c->run, sizeof(c->run), "%s", run);
}

static int
roll(struct target *t, const char *version, const struct dpub_opts *o,
    struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 head, c;
	struct target_claim	 claim = { NULL, 0, NULL, NULL };
	struct err		 f = { 0, "" };
	char			 run[STAGE_RUN_MAX];
	int			 done = 0, same, rv = -1;

	memset(&head, 0, sizeof(head));
	memset(&c, 0, sizeof(c));
	if (version != NULL && !target_version_ok(version))
		return err_set(e, MSG_USAGE, "%s: not a version id (see "
		    "dpublish log)", version);
	if (target_collect(t, 0, 0, NULL, NULL, e) == -1 ||
	    roll_from(t, &head, e) == -1 ||
	    find_old(t, &head, version, &c, e) == -1 ||
	    prove_old(t, &c, e) == -1 || stage_run_id(run, e) == -1)
		goto done;
	claim.keeps = c.version;
	u = target_begin(t, NULL, run, &claim, e);
	if (u == NULL)
		goto done;
	same = strcmp(head.version, c.version) == 0;
	if (same) {
		c.generation = head.generation;
		if (target_advance(u, e) == -1)
			goto done;
	} else {
		roll_commit(&c, &head, run);
		/* committed, perhaps, and the pointer not moved: *e says */
		if (dpub_commit(t, u, &c, &done, e) == -1)
			goto done;
	}
	rv = say_rollback(t, &c, same, o, e);
	if (rv == -1 && done)
		msg_warn("%s: version %s is current all the same",
		    target_url(t), c.version);
done:
	if (u != NULL && target_finish(u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(u);
	target_commit_clear(&head);
	target_commit_clear(&c);
	return rv;
}

int
dpub_rollback(const char *target, const char *version,
    const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = dpub_open_target(target, 0, o, &e);
	int		 rv = 0;

	if (t == NULL || roll(t, version, o, &e) == -1)
		rv = dpub_failed(&e);
	target_close(t);
	return rv;
}

static const struct target_claim none = { NULL, 0, NULL, NULL };

/* probe */

static void
say_probe(const char *what, void *arg)
{
	const struct dpub_opts	*o = arg;
	struct err		 e = { 0, "" };
	struct rec		*r;

	if (o->filter.json) {
		r = rec_new("probe");
		rec_set_str(r, "ok", what);
		(void)dpub_json(r, &e);
		rec_free(r);
	} else
		(void)printf("ok %s\n", what);
}

int
dpub_probe(const char *target, const struct dpub_opts *o)
{
	struct dpub_opts	 copy = *o;
	struct target_upload	*u = NULL;
	struct err		 e = { 0, "" }, f = { 0, "" };
	struct target		*t = dpub_open_target(target, 0, o, &e);
	char			 run[STAGE_RUN_MAX];
	int			 rv = 0;

	if (t == NULL || target_collect(t, 0, 0, NULL, NULL, &e) == -1 ||
	    stage_run_id(run, &e) == -1)
		goto done;
	u = target_begin(t, NULL, run, &none, &e);
	if (u == NULL)
		goto done;
	if (target_probe(u, say_probe, &copy, &e) == 0)
		(void)dpub_flush(&e);
	else
		(void)fflush(stdout);
	if (target_finish(u, &f) == -1 && e.code == 0)
		e = f;
done:
	if (e.code != 0)
		rv = dpub_failed(&e);
	target_upload_free(u);
	target_close(t);
	return rv;
}
