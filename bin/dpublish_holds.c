/*
 * dpublish holds: is what lies at these places whole, and is it what was
 * planned?  It reads no stream, changes nothing, and takes no lock.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cover.h"
#include "io.h"
#include "plan.h"
#include "banned.h"

struct holds {
	const struct dpub_opts	*o;
	struct plan		 plan;
	struct cover		*cover;		/* NULL: no plan */
	struct dpub_eye		 eye;
	size_t			 missing, unplanned;
	int			 status;	/* of the places */
	int			 unknown;	/* a place was not judged */
};

/* What is said of a place. */

static int
say_whole(const struct holds *h, const char *place, const struct manifest *m,
    struct err *e)
{
	struct rec	*r;
	int		 rv = 0;

	if (h->o->filter.json) {
		r = rec_new("place");
		rec_set_str(r, "place", place);
		rec_set_i64(r, "status", 0);
		rec_set_u64(r, "inputs", m->n_sources);
		rec_set_u64(r, "records", m->records);
		rec_set_u64(r, "tombstones", m->tombstones);
		rec_set_str(r, "format", m->format);
		rec_set_str(r, "content_digest", m->content_digest);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (printf("%s: %zu inputs, %" PRIu64 " records, content "
	    "digest %s\n", place, m->n_sources, m->records,
	    m->content_digest) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

static int
say_broken(const struct holds *h, const char *place, const struct err *why,
    struct err *e)
{
	struct rec	*r;
	int		 rv;

	(void)dpub_failed(why);
	if (!h->o->filter.json)
		return 0;
	r = rec_new("place");
	rec_set_str(r, "place", place);
	rec_set_i64(r, "status", why->code);
	rec_set_str(r, "error", why->text);
	rv = dpub_json(r, e);
	rec_free(r);
	return rv;
}

static int
say_unplanned(struct holds *h, const char *place,
    const struct item_source *s, struct err *e)
{
	const struct plan_line	*l = plan_find(&h->plan, s->url);
	struct rec		*r;
	int			 rv;

	if (++h->unplanned <= DPUB_NAMED && l != NULL)
		msg_warn("%s: held by %s, but not as %s plans it: another "
		    "%s", s->url, place, h->o->plan, cover_differs(l, s));
	else if (h->unplanned <= DPUB_NAMED)
		msg_warn("%s: held by %s, but not planned in %s", s->url,
		    place, h->o->plan);
	if (!h->o->filter.json)
		return 0;
	r = rec_new("unplanned");
	rec_set_str(r, "place", place);
	rec_set_str(r, "url", s->url);
	rec_set_str(r, "sha256", s->sha256);
	rec_set_i64(r, "seq", s->seq);
	rec_set_u64(r, "size", s->size);
	rv = dpub_json(r, e);
	rec_free(r);
	return rv;
}

static int
say_missing(struct holds *h, const struct plan_line *l, struct err *e)
{
	struct rec	*r;
	int		 rv;

	if (++h->missing <= DPUB_NAMED)
		msg_warn("%s: planned in %s, but not held", l->url,
		    h->o->plan);
	if (!h->o->filter.json)
		return 0;
	r = rec_new("missing");
	rec_set_str(r, "url", l->url);
	if (l->has_seq)
		rec_set_i64(r, "seq", l->seq);
	if (l->has_size)
		rec_set_u64(r, "size", l->size);
	if (l->sha256[0] != '\0')
		rec_set_str(r, "sha256", l->sha256);
	if (l->has_records)
		rec_set_u64(r, "records", l->records);
	rv = dpub_json(r, e);
	rec_free(r);
	return rv;
}

/* One place; -1: what it is cannot be told. */
static int
take_place(struct holds *h, const char *place, struct err *e)
{
	struct manifest	m;
	struct err	why = { 0, "" };
	size_t		i;
	int		rv;

	if (dpub_place(&h->eye, place, &m, &why) == -1) {
		h->status = msg_worse(h->status, why.code);
		h->unknown |= why.code != MSG_DATAERR &&
		    why.code != MSG_NOINPUT;
		rv = say_broken(h, place, &why, e);
	} else
		rv = say_whole(h, place, &m, e);
	for (i = 0; why.code == 0 && h->cover != NULL && rv == 0 &&
	    i < m.n_sources; i++)
		if (!cover_take(h->cover, &m.sources[i], 0))
			rv = say_unplanned(h, place, &m.sources[i], e);
	manifest_clear(&m);
	return rv;
}

/* What of the plan no place holds. */
static int
take_rest(struct holds *h, struct err *e)
{
	size_t	i;

	for (i = 0; i < h->plan.n; i++)
		if (!cover_has(h->cover, &h->plan.v[i]) &&
		    say_missing(h, &h->plan.v[i], e) == -1)
			return -1;
	if (h->unplanned > DPUB_NAMED)
		msg_warn("%zu more that are held and not planned",
		    h->unplanned - DPUB_NAMED);
	if (h->missing > DPUB_NAMED)
		msg_warn("%zu more that are planned and not held",
		    h->missing - DPUB_NAMED);
	return 0;
}

static int
hold(struct holds *h, char **places, struct err *e)
{
	size_t	i;

	if (h->o->plan != NULL) {
		if (plan_read(&h->plan, h->o->plan, e) == -1)
			return -1;
		h->cover = cover_new(&h->plan);
	}
	for (i = 0; places[i] != NULL; i++) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "stopped by a "
			    "signal");
		if (take_place(h, places[i], e) == -1)
			return -1;
	}
	/* of a place that was not judged nobody knows what it holds */
	if (h->cover != NULL && !h->unknown && take_rest(h, e) == -1)
		return -1;
	return dpub_flush(e);
}

int
dpub_holds(char **places, const struct dpub_opts *o)
{
	struct holds	h;
	struct err	e = { 0, "" };
	int		rv;

	memset(&h, 0, sizeof(h));
	h.o = o;
	h.eye.full = o->full;
	plan_init(&h.plan);
	if (hold(&h, places, &e) == -1)
		rv = msg_worse(h.status, dpub_failed(&e));
	else if (h.status != 0)
		rv = h.status; /* what is missing comes of it */
	else
		rv = msg_worse(h.missing != 0 ? MSG_NOINPUT : 0,
		    h.unplanned != 0 ? MSG_DATAERR : 0);
	dpub_eye_clear(&h.eye);
	cover_free(h.cover);
	plan_clear(&h.plan);
	return rv;
}
