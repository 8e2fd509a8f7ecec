/*
 * dpublish, the commit: taking the generation, and telling the checkpoint
 * databases.  It uploads nothing and reads no stream.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "io.h"
#include "mem.h"
#include "ticket.h"
#include "banned.h"

struct target *
dpub_open_target(const char *url, int create, const struct dpub_opts *o,
    struct err *e)
{
	struct target_opts	to;

	memset(&to, 0, sizeof(to));
	to.create = create;
	to.lock = o->lock;
	to.ckpt = o->ckpt;
	return target_open(url, &to, e);
}

struct rec *
dpub_record(const char *type, const struct target *t,
    const struct target_commit *c)
{
	struct rec	*r = rec_new(type);

	rec_set_str(r, "target", target_url(t));
	rec_set_u64(r, "generation", c->generation);
	rec_set_str(r, "version", c->version);
	rec_set_str(r, "parent", c->parent);
	rec_set_str(r, "kind", c->kind);
	rec_set_str(r, "format", c->format);
	rec_set_u64(r, "records", c->records);
	rec_set_u64(r, "tombstones", c->tombstones);
	rec_set_str(r, "content_digest", c->content_digest);
	rec_set_str(r, "manifest_sha256", c->manifest_sha256);
	rec_set_str(r, "run", c->run);
	return r;
}

static void
keep_fixed(const struct rec *r, const char *key, char *out, size_t sz)
{
	const char	*s;

	if (rec_get_str(r, key, &s) && strlen(s) < sz)
		memcpy(out, s, strlen(s) + 1);
}

int
dpub_commit_of(const struct rec *r, struct target_commit *c, struct err *e)
{
	memset(c, 0, sizeof(*c));
	(void)rec_get_u64(r, "generation", &c->generation);
	(void)rec_get_u64(r, "records", &c->records);
	(void)rec_get_u64(r, "tombstones", &c->tombstones);
	c->version = rec_dup_str(r, "version");
	c->parent = rec_dup_str(r, "parent");
	c->kind = rec_dup_str(r, "kind");
	c->format = rec_dup_str(r, "format");
	keep_fixed(r, "content_digest", c->content_digest, HASH_HEX);
	keep_fixed(r, "manifest_sha256", c->manifest_sha256, HASH_HEX);
	keep_fixed(r, "run", c->run, sizeof(c->run));
	if (c->generation != 0 && c->version != NULL && c->kind != NULL &&
	    c->format != NULL && c->run[0] != '\0')
		return 0;
	target_commit_clear(c);
	return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
}

int
dpub_commit(struct target *t, struct target_upload *u,
    const struct target_commit *c, int *done, struct err *e)
{
	struct target_commit	won;
	struct err		f = { 0, "" };
	struct target_commit	mine = *c;
	int			r;

	*done = 0;
	memset(&won, 0, sizeof(won));
	if (io_signal() != 0)
		r = err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	else {
		mine.created = io_wall_ns();
		r = target_commit(u, &mine, &won, e);
	}
	if (r == 1) {
		err_set(e, MSG_CANTCREAT, "%s: generation %llu was taken by "
		    "run %s with version %s: what this run prepared for it is "
		    "not published; run again from dfetch", target_url(t),
		    (unsigned long long)won.generation, won.run,
		    won.version != NULL ? won.version : "unknown");
		target_commit_clear(&won);
	}
	if (r != 0) {
		if (target_abandon(u, &f) == -1)
			msg_warn("%s: the upload is left for the next run to "
			    "remove", f.text);
		return -1;
	}
	*done = 1;
	if (target_advance(u, &f) == -1) {
		(void)err_set(e, f.code, "%.380s (published as generation "
		    "%llu; the next run mends the pointer)", f.text,
		    (unsigned long long)c->generation);
		return -1;
	}
	/* what is left now is the next run's to sweep, and no failure */
	if (target_finish(u, &f) == -1 || (target_is_remote(t) &&
	    target_collect(t, 0, 0, NULL, NULL, &f) == -1))
		msg_warn("%s", f.text);
	return 0;
}

int
dpub_repair(struct target *t, const struct stage *s,
    const struct target_commit *head, struct err *e)
{
	static const struct target_claim none = { NULL, 0, NULL, NULL };
	struct target_upload	*u;
	struct err		 f = { 0, "" };
	char			 ptr[TARGET_VERSION_MAX];
	int			 r, rv = -1;

	r = target_pointer(t, ptr, e);
	if (r == -1)
		return -1;
	/* who moved it may have been killed before it was durable */
	if (r == 1 && strcmp(ptr, head->version) == 0)
		return target_settle(t, ".", e);
	u = target_begin(t, s, s->run, &none, e);
	if (u != NULL && target_advance(u, e) != -1) {
		msg_info("%s: the pointer named %s and was mended",
		    target_url(t), ptr[0] != '\0' ? ptr : "nothing");
		rv = 0;
	}
	if (u != NULL && target_finish(u, rv == 0 ? e : &f) == -1)
		rv = -1;
	target_upload_free(u);
	return rv;
}

static int
is_set(const struct target_commit *c)
{
	return strcmp(c->format, DPUB_FILES) == 0 ||
	    strcmp(c->format, DPUB_INPLACE) == 0;
}

/* Sources of the version that its parent has not: their work is done. */
static int
note_inputs(struct ckpt *db, struct target *t,
    const struct target_commit *c, struct err *e)
{
	struct manifest	m, base;
	size_t		i;
	int		rv = -1;

	memset(&base, 0, sizeof(base));
	if (target_manifest(t, c->version, &m, NULL, e) == -1)
		return -1;
	if (c->parent != NULL && target_has(t, c->parent, e) == 1 &&
	    target_manifest(t, c->parent, &base, NULL, e) == -1)
		goto done;
	for (i = 0; i < m.n_sources; i++) {
		/* of a set all are brought each time, of a store what is new */
		if (!is_set(c) && manifest_source(&base,
		    m.sources[i].sha256) != NULL)
			continue;
		if (ckpt_done(db, CKPT_INPUT, m.sources[i].url,
		    m.sources[i].sha256, c->run, e) != -1)
			continue;
		if (e->code != MSG_DATAERR)
			goto done;
		/* one that changed meanwhile says nothing of the others */
		msg_warn("warning: %s", e->text);
		memset(e, 0, sizeof(*e));
	}
	rv = 0;
done:
	manifest_clear(&m);
	manifest_clear(&base);
	return rv;
}

/*
 * Tell the checkpoint database.  What was published is what the target
 * says, so trouble here is said and changes nothing.
 */
struct note {
	struct target			*t;
	const struct target_commit	*c;
	int				 status;
	const char			*text;
};

static void
note_in(const char *path, void *arg)
{
	const struct note	*n = arg;
	const struct target_commit *c = n->c;
	struct err	 e = { 0, "" };
	struct ckpt	*db = ckpt_open(path, CKPT_CREATE, &e);
	struct ckpt_facts facts;
	struct buf	 key;

	if (db == NULL) {
		if (e.code != 0)
			msg_warn("warning: %s", e.text);
		return;
	}
	buf_init(&key, CKPT_KEY_MAX);
	buf_printf(&key, "publish %s", target_url(n->t));
	memset(&facts, 0, sizeof(facts));
	facts.records = c->records;
	facts.result = c->version;
	/* each run's publication is an attempt of its own */
	if (ckpt_begin(db, &e) == -1 || ckpt_start(db, CKPT_OPERATION,
	    buf_cstr(&key), NULL, c->run, &e) == -1)
		goto done;
	if (n->status == 0) {
		if (note_inputs(db, n->t, c, &e) == -1 ||
		    ckpt_finish(db, c->run, NULL, &e) == -1 ||
		    ckpt_done(db, CKPT_OPERATION, buf_cstr(&key), NULL,
		    c->run, &e) == -1 || ckpt_note(db, CKPT_OPERATION,
		    buf_cstr(&key), &facts, &e) == -1)
			goto done;
	} else if (ckpt_fail(db, CKPT_OPERATION, buf_cstr(&key), c->run,
	    n->status, NULL, n->text, &e) == -1)
		goto done;
	if (ckpt_commit(db, &e) == -1)
		goto done;
done:
	if (e.code != 0)
		msg_warn("warning: %s", e.text);
	buf_free(&key);
	ckpt_close(db);
}

void
dpub_note(const char *path, struct target *t, const struct target_commit *c,
    int status, const char *text)
{
	struct note	n = { t, c, status, text };

	ckpt_run_each(path, note_in, &n);
}

void
dpub_note_begin(const char *path)
{
	struct err	 e = { 0, "" };
	struct ckpt	*db;

	if (path == NULL || !ticket_wanted())
		return; /* it is opened where it is written */
	db = ckpt_open(path, CKPT_CREATE, &e);
	if (db == NULL && e.code != 0)
		msg_warn("warning: %s", e.text);
	ckpt_close(db);
}

void
dpub_note_same(const char *path, struct target *t,
    const struct target_commit *head, const char *run)
{
	struct target_commit	c = *head;

	/* inputs of a store that were skipped are dfetch's to tell of */
	if (!is_set(&c))
		return;
	(void)snprintf(c.run, sizeof(c.run), "%s", run);
	dpub_note(path, t, &c, 0, "");
}

int
dpub_moved(const struct target *t, const struct target_commit *head,
    struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "%s: generation %llu was taken by "
	    "run %s with version %s since the base was fetched: nothing of "
	    "this run is published; run again from dfetch", target_url(t),
	    (unsigned long long)head->generation, head->run, head->version);
}
