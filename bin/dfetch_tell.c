/*
 * dfetch_tell: what became of inputs, as records and as checkpoints.  It
 * decides nothing.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io.h"
#include "mem.h"
#include "rec_kind.h"
#include "banned.h"

#define NS_PER_S	1000000000
#define CLOCKS_APART	((int64_t)86400 * NS_PER_S) /* and time zones */

static int
put_skip(struct fetch *x, const struct fetch_answer *a, const char *why)
{
	struct rec_skip	 s;
	struct rec	*r = rec_new("skip");
	int		 rv;

	memset(&s, 0, sizeof(s));
	s.url = x->plan.v[a->line].url;
	s.sha256 = a->held;
	s.why = why;
	if (x->o.files) {
		s.name = x->names[a->line];
		s.size = a->info.size;
		s.mtime = a->info.mtime;
		s.etag = a->info.etag[0] != '\0' ? a->info.etag : NULL;
	}
	rec_skip_put(r, &s);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "skipped", 1);
	fetch_progress_hide(&x->progress);
	msg_info("%s: skipped, the base holds it (%s)", s.url, why);
	return rv;
}

static int
put_delta(struct fetch *x, const struct fetch_answer *a)
{
	const struct plan_line	*l = &x->plan.v[a->line];
	struct rec_delta	 d;
	struct rec		*r = rec_new("delta");
	char			 path[64 + FETCH_NAME_MAX];
	int			 n, rv;

	n = snprintf(path, sizeof(path), FETCH_DIR_FMT,
	    (unsigned long long)a->n);
	if (!a->info.dir)
		(void)snprintf(path + n, sizeof(path) - (size_t)n, "/%s",
		    a->name);
	memset(&d, 0, sizeof(d));
	d.url = l->url;
	d.sha256 = a->sha256;
	d.kind = a->info.dir ? "dir" : "file";
	d.path = path;
	d.size = a->info.size;
	d.seq = l->has_seq ? l->seq : a->info.mtime;
	d.guessed = !l->has_seq;
	d.mtime = a->info.mtime;
	d.etag = a->info.etag[0] != '\0' ? a->info.etag : NULL;
	d.want_records = l->records;
	d.has_want_records = l->has_records;
	rec_delta_put(r, &d);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "fetched", 1);
	filter_count(&x->f, "bytes", a->info.size);
	return rv;
}

static int
put_file(struct fetch *x, const struct fetch_answer *a)
{
	struct rec_file	 f;
	struct rec	*r = rec_new("file");
	char		 path[64 + FETCH_NAME_MAX];
	int		 rv;

	(void)snprintf(path, sizeof(path), FETCH_DIR_FMT "/%s",
	    (unsigned long long)a->n, a->name);
	x->known[a->line].has_digest =
	    hash_unhex(a->sha256, x->known[a->line].digest) == 0;
	memset(&f, 0, sizeof(f));
	f.name = x->names[a->line];
	f.path = path;
	f.url = x->plan.v[a->line].url;
	f.sha256 = a->sha256;
	f.size = a->info.size;
	f.mtime = a->info.mtime;
	f.etag = a->info.etag[0] != '\0' ? a->info.etag : NULL;
	rec_file_put(r, &f);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "fetched", 1);
	filter_count(&x->f, "files", 1);
	filter_count(&x->f, "bytes", a->info.size);
	return rv;
}

/* It is nobody's delta, and nobody must take it for one. */
static int
put_stale(struct fetch *x, const struct fetch_answer *a)
{
	struct rec	*r = rec_new("stale");
	int		 rv;

	rec_set_str(r, "url", x->plan.v[a->line].url);
	rv = filter_put(&x->f, r);
	rec_free(r);
	filter_count(&x->f, "stale", 1);
	return rv;
}

/*
 * A clock that was wrong for a moment decides for years: what was written
 * under it wins over all that is written until then.  Said once.
 */
static void
warn_future(struct fetch *x, const struct fetch_answer *a)
{
	const struct plan_line	*l = &x->plan.v[a->line];
	time_t			 s = (time_t)(a->info.mtime / NS_PER_S);
	struct tm		 tm;
	char			 when[32];

	if (x->future || x->o.files || l->has_seq ||
	    a->info.mtime < io_wall_ns() + CLOCKS_APART ||
	    gmtime_r(&s, &tm) == NULL ||
	    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return;
	x->future = 1;
	msg_warn("warning: %s: its newest file is of the future, %s: records "
	    "of it win over all that is newer until then: touch it, or give "
	    "seq= in a plan", l->url, when);
}

int
fetch_tell(struct fetch *x, const struct fetch_answer *a)
{
	x->told++;
	if (a->what == FETCH_DONE)
		warn_future(x, a);
	if (x->done != NULL) {
		x->done[a->line].what = a->what;
		x->done[a->line].info = a->info;
		memcpy(x->done[a->line].sha256, a->sha256,
		    sizeof(a->sha256));
	}
	if (x->o.list)
		return 0;
	switch (a->what) {
	case FETCH_DONE:
		return x->o.files ? put_file(x, a) : put_delta(x, a);
	case FETCH_UNCHANGED:
		return put_skip(x, a, "unchanged");
	case FETCH_HELD:
		return put_skip(x, a, "digest");
	case FETCH_SOURCES:
		return put_skip(x, a, "sources");
	case FETCH_STALE:
		return put_stale(x, a);
	case FETCH_FAILED:
	case FETCH_NEWS:
		break;
	}
	return -1;
}

int
fetch_lose(struct fetch *x, uint64_t line, const struct err *e)
{
	struct err	e2 = { 0, "" };

	fetch_fail(x, e);
	if (!x->o.list)
		filter_count(&x->f, "failed", 1);
	if (ckpt_fail(x->ckpt, CKPT_INPUT, x->plan.v[line].url,
	    fetch_run_id(x), e->code, NULL, e->text, &e2) == 0)
		return 0;
	fetch_fail(x, &e2);
	return -1;
}

/*
 * Checkpoints.
 */

void
fetch_ckpt_open(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (x->ckpt == NULL)
		x->ckpt = ckpt_open(x->o.ckpt, CKPT_CREATE, &e);
	if (e.code != 0)
		fetch_fail(x, &e);
}

void
fetch_ckpt_close(struct fetch *x)
{
	ckpt_close(x->ckpt);
	x->ckpt = NULL;
}

void
fetch_ckpt_first(struct fetch *x)
{
	struct err	e = { 0, "" };
	size_t		i;
	int		forced;

	fetch_ckpt_open(x);
	if (x->ckpt == NULL)
		return;
	if (ckpt_begin(x->ckpt, &e) == -1)
		goto fail;
	x->forced = mem_zero(x->plan.n, sizeof(*x->forced));
	for (i = 0; i < x->plan.n; i++) {
		forced = ckpt_forced(x->ckpt, CKPT_INPUT, x->plan.v[i].url,
		    &e);
		if (forced == -1 || ckpt_plan(x->ckpt, CKPT_INPUT,
		    x->plan.v[i].url, fetch_run_id(x), &e) == -1)
			goto fail;
		x->forced[i] = (unsigned char)forced;
	}
	if (ckpt_commit(x->ckpt, &e) == 0)
		return;
fail:
	ckpt_rollback(x->ckpt);
	fetch_fail(x, &e);
}

/* Does the base hold the line?  Then it is noted so.  1, 0. */
static int
look(struct fetch *x, uint64_t line)
{
	struct fetch_answer	a;
	struct fetch_job	j;
	struct fetched		*d = &x->done[line];

	if (d->what == FETCH_UNCHANGED)
		return 1;
	memset(&j, 0, sizeof(j));
	j.line = line;
	if (fetch_before(&x->work, &j, &a) != 0 || a.e.code != 0 ||
	    a.what != FETCH_UNCHANGED)
		return 0;
	d->what = a.what;
	d->info = a.info;
	memcpy(d->sha256, a.sha256, sizeof(d->sha256));
	return 1;
}

int
fetch_nothing_new(struct fetch *x)
{
	uint64_t	i;

	for (i = 0; i < x->plan.n; i++)
		if (io_signal() != 0 || !look(x, i))
			return 0;
	return x->plan.n != 0;
}

/* Which inputs does the base hold, as far as it can be told unread? */
static void
look_ahead(struct fetch *x)
{
	uint64_t	i;

	for (i = 0; x->work.base != NULL && i < x->plan.n; i++)
		(void)look(x, i);
}

void
fetch_ckpt_start(struct fetch *x)
{
	struct err	e = { 0, "" };
	size_t		i;

	if (x->ckpt == NULL)
		return;
	/* before the write lock is taken */
	look_ahead(x);
	if (ckpt_begin(x->ckpt, &e) == -1)
		goto fail;
	for (i = 0; i < x->plan.n; i++)
		if (x->done[i].what != FETCH_UNCHANGED &&
		    ckpt_start(x->ckpt, CKPT_INPUT, x->plan.v[i].url, NULL,
		    fetch_run_id(x), &e) == -1)
			goto fail;
	if (ckpt_commit(x->ckpt, &e) == 0)
		return;
fail:
	ckpt_rollback(x->ckpt);
	fetch_fail(x, &e);
}

void
fetch_ckpt_last(struct fetch *x)
{
	struct ckpt_facts	 facts;
	struct err		 e = { 0, "" };
	const struct fetched	*d;
	size_t			 i;

	if (x->ckpt == NULL || !fetch_good(x))
		return;
	if (ckpt_begin(x->ckpt, &e) == -1)
		goto fail;
	for (i = 0; i < x->plan.n; i++) {
		d = &x->done[i];
		memset(&facts, 0, sizeof(facts));
		facts.size = d->info.size;
		facts.mtime = d->info.mtime;
		facts.inode = d->info.inode;
		/* somebody down the pipe may have refused it already */
		facts.digest = d->what == FETCH_DONE ? d->sha256 : NULL;
		facts.run = fetch_run_id(x);
		if (d->what == FETCH_STALE) {
			if (ckpt_fail(x->ckpt, CKPT_INPUT, x->plan.v[i].url,
			    fetch_run_id(x), MSG_DATAERR, "stale", "all of "
			    "its results are out of date", &e) == -1)
				goto fail;
			continue;
		}
		if (d->what != FETCH_DONE && ckpt_skip(x->ckpt, CKPT_INPUT,
		    x->plan.v[i].url, d->sha256, fetch_run_id(x), &e) == -1)
			goto fail;
		if (ckpt_note(x->ckpt, CKPT_INPUT, x->plan.v[i].url, &facts,
		    &e) == -1)
			goto fail;
	}
	if (ckpt_commit(x->ckpt, &e) == 0)
		return;
fail:
	ckpt_rollback(x->ckpt);
	fetch_fail(x, &e);
}

void
fetch_ckpt_give_back(struct fetch *x)
{
	struct err	e = { 0, "" };

	if (!fetch_good(x) && ckpt_release(x->ckpt, fetch_run_id(x),
	    x->f.status, NULL, &e) == -1)
		fetch_fail(x, &e);
	fetch_ckpt_close(x);
}

