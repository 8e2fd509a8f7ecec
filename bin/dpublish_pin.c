/*
 * dpublish pin, unpin, lease: versions kept from removal, by people for as
 * long as they like and by readers for as long as they read; and sources:
 * what a version was made of, as a plan.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"
#include "banned.h"

static const struct target_claim none = { NULL, 0, NULL, NULL };

int
dpub_which(struct target *t, const char *version, char out[TARGET_VERSION_MAX],
    struct err *e)
{
	struct target_commit	head;
	int			r;

	if (version != NULL) {
		if (!target_version_ok(version))
			return err_set(e, MSG_USAGE, "%s: not a version id "
			    "(see dpublish log)", version);
		(void)snprintf(out, TARGET_VERSION_MAX, "%s", version);
		return 0;
	}
	r = target_head(t, &head, e);
	if (r == 0)
		err_set(e, MSG_NOINPUT, "%s: nothing was published here yet",
		    target_url(t));
	if (r != 1)
		return -1;
	(void)snprintf(out, TARGET_VERSION_MAX, "%s", head.version);
	target_commit_clear(&head);
	return 0;
}

static int
say_pin(const struct target *t, const struct target_pin *p,
    const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	char		 left[64];
	int		 rv = 0;

	if (o->filter.json) {
		r = rec_new(p->seconds != 0 ? "lease" : "pin");
		rec_set_str(r, "target", target_url(t));
		rec_set_str(r, "version", p->version);
		rec_set_str(r, "name", p->name);
		rec_set_str(r, "reason", p->reason);
		rec_set_str(r, "host", p->host);
		if (p->seconds != 0) {
			rec_set_u64(r, "seconds", p->seconds);
			rec_set_i64(r, "left", (int64_t)p->seconds - p->age);
		}
		rv = dpub_json(r, e);
		rec_free(r);
		return rv;
	}
	if (p->seconds == 0)
		(void)snprintf(left, sizeof(left), "pin");
	else if (p->over)
		(void)snprintf(left, sizeof(left), "lease, over");
	else
		(void)snprintf(left, sizeof(left), "lease, %" PRId64
		    " s left", (int64_t)p->seconds - p->age);
	if (printf("%s  %s%s%s\n", p->name, left, p->reason != NULL ? "  " :
	    "", p->reason != NULL ? p->reason : "") < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

static int
hold(struct target *t, const char *version, const struct dpub_opts *o,
    struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_pin	 p;
	struct err		 f = { 0, "" };
	char			 run[STAGE_RUN_MAX];
	int			 rv = -1;

	memset(&p, 0, sizeof(p));
	if (target_collect(t, 0, 0, NULL, NULL, e) == -1)
		return -1;
	if (dpub_which(t, version, p.version, e) == -1 ||
	    stage_run_id(run, e) == -1 ||
	    target_pin_name(p.name, p.version, o->lease == 0 ? NULL :
	    o->name != NULL ? o->name : run, e) == -1)
		return -1;
	u = target_begin(t, NULL, run, &none, e);
	if (u == NULL)
		return -1;
	rv = target_hold(u, p.version, p.name, o->reason, o->lease, e);
	if (target_finish(u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(u);
	if (rv == -1)
		return -1;
	p.seconds = o->lease;
	p.reason = o->reason != NULL ? mem_dup(o->reason) : NULL;
	rv = say_pin(t, &p, o, e);
	free(p.reason);
	return rv == -1 ? -1 : dpub_flush(e);
}

int
dpub_pin(const char *target, const char *version, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = dpub_open_target(target, 0, o, &e);
	int		 rv = 0;

	if (t == NULL || hold(t, version, o, &e) == -1)
		rv = dpub_failed(&e);
	target_close(t);
	return rv;
}

struct listing {
	struct target		*t;
	const struct dpub_opts	*o;
};

static int
on_pin(const struct target_pin *p, void *arg, struct err *e)
{
	const struct listing	*l = arg;

	return say_pin(l->t, p, l->o, e);
}

int
dpub_pins(const char *target, const struct dpub_opts *o)
{
	struct err	e = { 0, "" };
	struct listing	l = { dpub_open_target(target, 0, o, &e), o };
	int		rv = 0;

	if (l.t == NULL || target_pins(l.t, on_pin, &l, &e) == -1 ||
	    dpub_flush(&e) == -1)
		rv = dpub_failed(&e);
	target_close(l.t);
	return rv;
}

int
dpub_unpin(const char *target, char **names, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" }, f;
	struct target	*t = dpub_open_target(target, 0, o, &e);
	char		 version[TARGET_VERSION_MAX];
	size_t		 i;
	int		 rv = t == NULL ? dpub_failed(&e) : 0;

	for (i = 0; t != NULL && names[i] != NULL && io_signal() == 0; i++) {
		memset(&f, 0, sizeof(f));
		(void)snprintf(version, sizeof(version), "%.32s", names[i]);
		if (!target_version_ok(version) ||
		    strchr(names[i], '/') != NULL)
			err_set(&f, MSG_USAGE, "%s: not the name of a pin or "
			    "lease (see dpublish pin --list)", names[i]);
		else
			(void)target_unhold(t, names[i], &f);
		if (f.code != 0)
			rv = msg_worse(rv, dpub_failed(&f));
	}
	target_close(t);
	return rv;
}

/* sources */

int
dpub_source_line(FILE *f, const struct item_source *s)
{
	return fprintf(f, "%s\tseq=%" PRId64 "\tsize=%" PRIu64
	    "\tsha256=%s\n", s->url, s->seq, s->size, s->sha256);
}

static int
say_source(const struct item_source *s, const struct dpub_opts *o,
    struct err *e)
{
	struct rec	*r;
	int		 rv = 0;

	if (o->filter.json) {
		r = rec_new("source");
		rec_set_str(r, "url", s->url);
		rec_set_str(r, "sha256", s->sha256);
		rec_set_i64(r, "seq", s->seq);
		rec_set_u64(r, "size", s->size);
		rec_set_i64(r, "mtime", s->mtime);
		rec_set_u64(r, "records", s->records);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (dpub_source_line(stdout, s) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

static int
sources(struct target *t, const char *version, const struct dpub_opts *o,
    struct err *e)
{
	struct manifest	m;
	char		id[TARGET_VERSION_MAX];
	size_t		i;
	int		rv = 0;

	if (dpub_which(t, version, id, e) == -1 ||
	    target_manifest(t, id, &m, NULL, e) == -1)
		return -1;
	if (!o->filter.json && printf("# %s/%s/%s\n# content_digest=%s "
	    "records=%" PRIu64 " tombstones=%" PRIu64 " format=%s\n",
	    target_url(t), TARGET_VERSIONS, id, m.content_digest, m.records,
	    m.tombstones, m.format) < 0)
		rv = err_sys(e, errno, "stdout");
	for (i = 0; i < m.n_sources && rv == 0; i++)
		rv = say_source(&m.sources[i], o, e);
	manifest_clear(&m);
	return rv == -1 ? -1 : dpub_flush(e);
}

int
dpub_sources(const char *target, const char *version,
    const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = dpub_open_target(target, 0, o, &e);
	int		 rv = 0;

	if (t == NULL || sources(t, version, o, &e) == -1)
		rv = dpub_failed(&e);
	target_close(t);
	return rv;
}
