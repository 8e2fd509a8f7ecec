/*
 * xfer_job: the lists of downloads, and how one ends.  It asks nothing and
 * judges nothing.
 * SPDX-License-Identifier: ISC
 */
#include "xfer_job.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "part.h"
#include "banned.h"

void
job_put(struct list *l, struct job *at, struct job *j)
{
	j->in = l;
	j->next = at;
	j->prev = at != NULL ? at->prev : l->tail;
	if (j->prev != NULL)
		j->prev->next = j;
	else
		l->head = j;
	if (at != NULL)
		at->prev = j;
	else
		l->tail = j;
	l->n++;
}

void
job_unlink(struct job *j)
{
	struct list	*l = j->in;

	if (l == NULL)
		return;
	if (j->prev != NULL)
		j->prev->next = j->next;
	else
		l->head = j->next;
	if (j->next != NULL)
		j->next->prev = j->prev;
	else
		l->tail = j->prev;
	l->n--;
	j->in = NULL;
}

void
job_move(struct job *j, struct list *l)
{
	job_unlink(j);
	job_put(l, NULL, j);
}

void
job_delay(struct job *j, double due)
{
	struct list	*l = &j->x->later;
	struct job	*at = NULL, *p;

	job_unlink(j);
	j->due = due;
	for (p = l->tail; p != NULL && p->due > due; p = p->prev)
		at = p;
	job_put(l, at, j);
}

void
job_drop_part(struct job *j, int keep)
{
	if (j->w == NULL || j->w->part == NULL)
		return;
	part_free(j->w->part, keep);
	j->w->part = NULL;
	j->w->cached = 0;
	j->x->open--;
}

void
job_free_match(struct work *w)
{
	free(w->match);
	free(w->headers);
	w->match = NULL;
	w->headers = NULL;
}

void
job_free(struct job *j)
{
	job_unlink(j);
	if (j->reading)
		j->x->reading--;
	if (j->w != NULL) {
		job_free_match(j->w);
		free(j->w->tag);
		free(j->w->off_tag);
		free(j->w);
	}
	free(j->headers);
	free(j->text);
	free(j);
}

/* Is what was put aside of use to a later process? */
static int
may_go_on(const struct err *e)
{
	return e->code == MSG_TEMPFAIL || e->code == MSG_NOPERM ||
	    e->code == MSG_IOERR;
}

void
job_end(struct job *j, const unsigned char *d, const struct err *e)
{
	struct work	*w = j->w;
	struct xfer_got	 got;
	struct err	 bad = { 0, "" };

	memset(&got, 0, sizeof(got));
	got.moved = j->moved;
	got.tries = j->tries;
	if (w != NULL) {
		got.etag = w->tag;
		got.modified = w->modified;
	}
	if (d != NULL && w != NULL) {
		got.size = part_at(w->part);
		got.resumed = part_old(w->part);
		memcpy(got.sha256, d, HASH_LEN);
		if (part_place(w->part, &bad) == -1)
			e = &bad;
	}
	job_drop_part(j, e != NULL && may_go_on(e));
	job_unlink(j);
	j->x->done++;
	j->g.done(j->g.arg, &got, e);
	job_free(j);
}

void
job_end_bad(struct job *j, const struct err *e)
{
	struct err	copied = *e;

	job_end(j, NULL, &copied);
}
