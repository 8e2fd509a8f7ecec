/*
 * dcheck: records on their way: what the stream brings goes into the
 * window, what was judged leaves it, in order, with its verdict.
 *
 * It starts no process and opens no input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck_pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt.h"
#include "dcheck_known.h"
#include "dcheck_run.h"
#include "dcheck_work.h"
#include "io.h"
#include "path.h"
#include "rec.h"
#include "rec_kind.h"
#include "banned.h"

#define SAID_MAX	((size_t)16 * 1024)	/* bytes of last words kept */
#define MENDED_MAX	150		/* bytes of a URL in a mend */

/* Out ---------------------------------------------------------------- */

static void
mend_text(const struct slot *s, char *out, size_t sz)
{
	/* what was published cannot be fetched again from anywhere */
	const char	*m = s->what == BASE ? "bring {} back as it was: "
			    "dpublish rollback, or make it anew: dpublish "
			    "rebuild" : check_code_mend(s->a.v.code);
	const char	*url = s->url, *p = strstr(m, "{}");
	char		 name[SHOWN_MAX + 1];

	if (p == NULL) {
		(void)snprintf(out, sz, "%s", m);
		return;
	}
	if (strlen(url) > MENDED_MAX)
		(void)snprintf(name, sizeof(name), "it");
	else
		(void)answer_shown(url, MENDED_MAX, name);
	(void)snprintf(out, sz, "%.*s%s%s", (int)(p - m), m, name, p + 2);
}

/*
 * The database is open only while it is written: a worker that is forked
 * meanwhile would share the memory in which its readers and writers meet.
 */
static void
checkpoint(struct run *g, const struct slot *s)
{
	const char	*run = getenv("DRUN_ID");
	struct err	 e = { 0, "" };
	struct ckpt	*c;

	c = ckpt_open(g->o.ckpt, CKPT_CREATE, &e);
	if (e.code == 0 && ckpt_fail(c, CKPT_INPUT, s->url,
	    run != NULL && *run != '\0' ? run : g->f.stage.run, MSG_DATAERR,
	    check_code_name(s->a.v.code), s->a.v.reason, &e) != -1)
		e.code = 0;
	ckpt_close(c);
	if (e.code != 0)
		filter_fail_err(&g->f, &e);
}

static void
say_refused(struct run *g, struct slot *s)
{
	const char	*code = check_code_name(s->a.v.code);
	struct rec	*r;
	char		 mend[512], name[SHOWN_MAX + 1];
	int		 bad;

	g->refused++;
	mend_text(s, mend, sizeof(mend));
	if (s->what == DELTA)
		verdicts_add(g->verdicts, &s->delta, &s->a, mend);
	r = rec_new("refused");
	rec_set_str(r, "url", s->url);
	rec_set_str(r, "verdict", code);
	rec_set_str(r, "reason", s->a.v.reason);
	rec_set_str(r, "mend", mend);
	bad = filter_put(&g->f, r);
	rec_free(r);
	if (bad == -1)
		return;
	filter_fail(&g->f, MSG_DATAERR, "%s: %s: %s; mend: %s",
	    answer_shown(s->url, SHOWN_MAX, name), code, s->a.v.reason, mend);
	if (s->what == DELTA || s->what == OPAQUE)
		checkpoint(g, s);
}

static void
put_delta(struct run *g, struct slot *s)
{
	struct rec_delta	d = s->delta;
	struct buf		b;

	buf_init(&b, 65536);
	if (s->a.where != NULL) {
		buf_printf(&b, "%s/%s", s->work, s->a.where);
		d.path = buf_cstr(&b);
		d.kind = s->a.is_dir ? "dir" : "file";
	}
	d.verdict = "ok";
	d.format = store_format_name(s->a.format);
	d.tree = s->a.tree;
	d.records = s->a.records;
	d.tombstones = s->a.tombstones;
	if (s->a.recovered)
		d.recovered = 1;
	rec_delta_put(s->r, &d);
	rec_set_str(s->r, "content_digest",
	    s->a.content[0] != '\0' ? s->a.content : NULL);
	buf_free(&b);
	(void)filter_put(&g->f, s->r);
}

/* Accepted: what is private and not needed goes, the record goes on. */
static void
say_accepted(struct run *g, struct slot *s)
{
	struct err	e = { 0, "" };
	struct buf	b;

	if (s->a.where == NULL)
		work_drop(g, s);
	else {
		buf_init(&b, 256);
		buf_printf(&b, "%s/tmp", s->work);
		if (io_rmtree(g->f.stage.dirfd, buf_cstr(&b), &e) == -1)
			msg_info("%s: %s", s->work, e.text);
		buf_free(&b);
	}
	if (s->what == DELTA) {
		g->checked++;
		verdicts_add(g->verdicts, &s->delta, &s->a, NULL);
		put_delta(g, s);
		return;
	}
	if (s->what == OPAQUE)
		g->checked++;
	rec_set_str(s->r, "verdict", "ok");
	(void)filter_put(&g->f, s->r);
}

void
pass_drop(struct run *g, struct slot *s)
{
	(void)work_reap(g, s);
	answer_clear(&s->a);
	answer_clear(&s->cached);
	buf_free(&s->answer);
	buf_free(&s->words);
	rec_free(s->r);
	memset(s, 0, sizeof(*s));
}

/* The first record of the window, which is DONE. */
void
pass_emit(struct run *g)
{
	struct slot	*s = slot_at(g, 0);
	char		 name[SHOWN_MAX + 1];

	if (s->what == PASS) {
		(void)filter_put(&g->f, s->r);
	} else {
		if (s->a.kind == ANSWER_OK)
			known_judge(g, s);
		switch (s->a.kind) {
		case ANSWER_OK:
			say_accepted(g, s);
			break;
		case ANSWER_REFUSED:
			work_drop(g, s);
			say_refused(g, s);
			break;
		case ANSWER_MACHINE:
			work_drop(g, s);
			if (s->what == DELTA)
				verdicts_add(g->verdicts, &s->delta, &s->a,
				    NULL);
			filter_fail(&g->f, s->a.e.code, "%s: not checked: "
			    "%s", answer_shown(s->url, SHOWN_MAX, name),
			    s->a.e.text);
			break;
		}
	}
	pass_drop(g, s);
	g->first = (g->first + 1) % g->cap;
	g->n--;
}

/* In ----------------------------------------------------------------- */

static int
take_delta(struct slot *s, struct err *e)
{
	struct rec_delta	*d = &s->delta;

	if (rec_delta_get(s->r, d, e) == -1)
		return -1;
	s->what = DELTA;
	s->url = d->url;
	s->job.path = d->path;
	s->job.is_dir = strcmp(d->kind, "dir") == 0;
	/* checked before: the promise is what that check left there */
	s->job.sha256 = d->verdict != NULL ? d->tree : d->sha256;
	s->job.has_size = d->verdict == NULL;
	s->job.size = d->size;
	return 0;
}

static int
take_base(struct slot *s, struct err *e)
{
	if (rec_base_get(s->r, &s->base, e) == -1)
		return -1;
	s->url = s->base.target;
	if (s->base.none)
		return 0;
	/* nothing comes to it: who wants it read all the same proves it */
	if (s->base.unchanged) {
		rec_set_str(s->r, "verdict", REC_UNREAD);
		return 0;
	}
	s->what = BASE;
	s->job.path = s->base.path;
	s->job.sha256 = s->base.sha256;
	s->job.is_dir = s->job.of_manifest = 1;
	return 0;
}

static int
take_store(struct slot *s, struct err *e)
{
	if (rec_store_get(s->r, &s->store, e) == -1)
		return -1;
	s->what = STORE;
	s->url = s->job.path = s->store.path;
	s->job.sha256 = s->store.sha256;
	s->job.is_dir = s->job.of_manifest = 1;
	return 0;
}

/* A file of a set is nobody's to understand: its bytes, and your hook. */
static int
take_file(struct slot *s, struct err *e)
{
	struct rec_file	*f = &s->file;

	if (rec_file_get(s->r, f, e) == -1)
		return -1;
	s->what = OPAQUE;
	s->url = f->url;
	s->job.path = f->path;
	s->job.sha256 = f->sha256;
	s->job.has_size = s->job.opaque = 1;
	s->job.size = f->size;
	return 0;
}

/* Put a record at the end of the window.  -1: it is malformed. */
static int
take(struct run *g, const struct rec *r)
{
	struct slot	*s = slot_at(g, g->n);
	struct err	 e = { 0, "" };
	int		 rv = 0;

	memset(s, 0, sizeof(*s));
	s->out = s->said = -1;
	buf_init(&s->answer, REC_MAX);
	buf_init(&s->words, SAID_MAX);
	s->r = rec_copy(r);
	s->job.flags = g->o.flags;
	if (strcmp(rec_type(r), "delta") == 0) {
		rv = take_delta(s, &e);
		g->seen++;
	} else if (strcmp(rec_type(r), "file") == 0) {
		rv = take_file(s, &e);
		g->seen++;
	} else if (strcmp(rec_type(r), "base") == 0)
		rv = take_base(s, &e);
	else if (strcmp(rec_type(r), "store") == 0)
		rv = take_store(s, &e);
	if (s->what != DELTA)	/* a snapshot may well be empty */
		s->job.flags |= CHECK_ALLOW_EMPTY;
	s->phase = s->what == PASS ? DONE : WAITING;
	g->n++;
	if (rv == -1) {
		filter_fail_err(&g->f, &e);
		g->eof = 1;
		s->what = PASS;
		s->phase = DONE;
		pass_drop(g, s);
		g->n--;
		return -1;
	}
	if (s->what != PASS && s->what != OPAQUE &&
	    cache_get(&g->cache, &s->job, &s->cached)) {
		s->has_cached = 1;
		s->job.bytes_only = 1;
		s->job.unpack = s->cached.kind == ANSWER_OK &&
		    s->cached.where != NULL;
	}
	return 0;
}

void
pass_take(struct run *g)
{
	const struct rec	*r;

	if (filter_next(&g->f, &r) == 1)
		(void)take(g, r);
	else
		g->eof = 1;
}
