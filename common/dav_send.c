/*
 * dav_send: a few slots, each with one file on its way, and rounds of
 * reading back.  What may be repeated, retry says.
 * SPDX-License-Identifier: ISC
 */
#include "dav_send.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "dav.h"
#include "io.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "xfer.h"
#include "banned.h"

enum state {
	ABSENT,	/* not there: to be sent */
	LOOK,	/* something may be there: read back */
	DONE
};

/*
 * Downloads.
 */

struct bringing {
	struct err	 first;
	size_t		 left;
};

/* One of them, for the callback. */
struct brought {
	struct bringing	*b;
	struct dav_file	*f;
};

static void
on_brought(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct brought	*o = arg;

	(void)g;
	o->f->code = e != NULL ? e->code : 0;
	/* one that says more than "not there", if any does */
	if (e != NULL && (o->b->first.code == 0 ||
	    (o->b->first.code == MSG_NOINPUT && e->code != MSG_NOINPUT)))
		o->b->first = *e;
	o->b->left--;
}

static int
bring_one(const struct dav_many *m, struct xfer *x, int dirfd,
    struct brought *o, struct err *e)
{
	struct dav_file	*f = o->f;
	struct xfer_get	 g;
	char		*url = dav_url(m->d, f->key);
	int		 rv;

	memset(&g, 0, sizeof(g));
	g.name = g.url = url;
	g.headers = dav_headers(m->d);
	g.size = f->size;
	g.has_size = f->has_size;
	g.max = f->max;
	g.sha256 = f->sha256;
	g.dirfd = dirfd;
	g.file = dirfd != -1 ? f->name : NULL;
	g.done = on_brought;
	g.arg = o;
	rv = xfer_get(x, &g, e);
	free(url);
	if (rv == 0)
		o->b->left++;
	return rv;
}

int
dav_bring(const struct dav_many *m, int dirfd, struct dav_file *v, size_t n,
    struct err *e)
{
	struct xfer_opts	 o;
	struct bringing		 b = { { 0, "" }, 0 };
	struct brought		*w = mem_zero(n + 1, sizeof(*w));
	struct xfer		*x;
	size_t			 i;
	int			 r = 0;

	memset(&o, 0, sizeof(o));
	o.parallel = m->parallel != 0 ? m->parallel : DAV_PARALLEL;
	o.cache = dirfd != -1 ? m->cache : NULL;
	x = xfer_new(m->n, NULL, m->r, &o);
	for (i = 0; i < n && r == 0; i++) {
		w[i].b = &b;
		w[i].f = &v[i];
		v[i].code = MSG_TEMPFAIL;
		r = bring_one(m, x, dirfd, &w[i], e);
	}
	while (r == 0 && b.left > 0)
		if (xfer_wait(x, 1000, e) == -1)
			r = -1;
	xfer_free(x);
	free(w);
	if (r == 0 && b.first.code != 0) {
		err_set(e, b.first.code, "%s", b.first.text);
		r = 1;
	}
	return r;
}

/*
 * Uploads.
 */

struct sending;

/* A place for one file on its way. */
struct slot {
	struct sending	*s;
	struct dav_file	*f;		/* NULL: free */
	int		 fd;
	int		 asked;		/* under way */
	struct retry_op	 op;
	double		 due;
};

struct sending {
	const struct dav_many	*m;
	int			 dirfd;
	struct dav_file		*v;
	size_t			 n, next;
	struct slot		*slots;
	unsigned int		 n_slots;
	struct err		 e;	/* the first: no more is begun */
};

static void
slot_end(struct slot *l, enum state state)
{
	l->f->state = (int)state;
	l->f = NULL;
	(void)close(l->fd);
	l->fd = -1;
}

static void
on_sent(void *arg, const struct dav_res *r, const struct err *e)
{
	struct slot		*l = arg;
	const struct dav_many	*m = l->s->m;
	enum retry_what		 what = dav_judge(r, e);
	double			 wait;

	l->asked = 0;
	/* what may have been done is looked at before it is done again */
	if (r->outcome == DAV_UNKNOWN && what == RETRY_FAILED)
		what = RETRY_LOST;
	else if (r->outcome == DAV_UNKNOWN)
		what = RETRY_NONE;
	wait = retry_tell(m->r, dav_host(m->d), &l->op, what,
	    r->retry_after, e != NULL ? e->text : NULL);
	if (e == NULL)
		slot_end(l, DONE);
	else if (r->outcome == DAV_TAKEN || r->outcome == DAV_UNKNOWN)
		slot_end(l, LOOK);
	else if (wait >= 0)
		l->due = io_now() + wait;
	else {
		err_set(&l->s->e, e->code, "%s", e->text);
		slot_end(l, ABSENT);
	}
}

/* The local file, which must be what was said of it. */
static int
open_file(struct slot *l, struct err *e)
{
	struct stat	st;

	l->fd = openat(l->s->dirfd, l->f->name, O_RDONLY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (l->fd == -1 || fstat(l->fd, &st) == -1)
		return err_sys(e, errno, "%s", l->f->name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    l->f->name);
	if ((uint64_t)st.st_size != l->f->size)
		return err_set(e, MSG_DATAERR, "%s: size: want %llu, got "
		    "%lld", l->f->name, (unsigned long long)l->f->size,
		    (long long)st.st_size);
	return 0;
}

/* The next file for a free slot: 1, 0 none is left, -1. */
static int
take_next(struct slot *l, struct err *e)
{
	struct sending	*s = l->s;

	while (s->next < s->n && s->v[s->next].state != ABSENT)
		s->next++;
	if (s->next == s->n)
		return 0;
	l->f = &s->v[s->next++];
	memset(&l->op, 0, sizeof(l->op));
	l->due = 0;
	if (open_file(l, e) == 0)
		return 1;
	if (l->fd != -1)
		(void)close(l->fd);
	l->fd = -1;
	l->f = NULL;
	return -1;
}

static int
ask(struct slot *l, struct err *e)
{
	const struct dav_many	*m = l->s->m;
	struct dav_req		 q;

	if (retry_ask(m->r, dav_host(m->d), &l->op, e) == -1)
		return -1;
	memset(&q, 0, sizeof(q));
	q.method = "PUT";
	q.key = l->f->key;
	q.fd = l->fd;
	q.n = l->f->size;
	q.flags = DAV_IF_NONE;
	if (dav_start(m->d, &q, on_sent, l, e) == -1) {
		(void)retry_tell(m->r, dav_host(m->d), &l->op, RETRY_NONE, -1,
		    NULL);
		return -1;
	}
	l->asked = 1;
	return 0;
}

/* Begin what may begin: seconds until the next one may, -1 nothing is
 * left, -2 *e. */
static double
fill_slots(struct sending *s, struct err *e)
{
	struct slot	*l;
	double		 now = io_now(), wait = -1, left;
	int		 r;

	for (l = s->slots; l < s->slots + s->n_slots; l++) {
		if (l->f == NULL && (r = take_next(l, e)) != 1) {
			if (r == -1)
				return -2;
			continue;
		}
		if (!l->asked && l->due <= now && ask(l, e) == -1)
			return -2;
		left = l->asked || l->due > now + 1 ? 1 : l->due - now;
		if (wait < 0 || left < wait)
			wait = left;
	}
	return wait;
}

/* All that is ABSENT is sent: DONE or LOOK. */
static int
send_round(struct sending *s, struct err *e)
{
	struct slot	*l;
	double		 wait;
	int		 r = 0;

	s->next = 0;
	while (r != -1 && (wait = fill_slots(s, e)) != -1) {
		if (wait == -2)
			r = -1;
		else if (net_running(s->m->n) > 0)
			r = net_wait(s->m->n, (unsigned int)(wait * 1000) +
			    1, e);
		else
			/* nothing is under way: time has to pass */
			r = retry_sleep(wait, e);
		if (r != -1 && s->e.code != 0)
			r = err_set(e, s->e.code, "%s", s->e.text);
	}
	for (l = s->slots; l < s->slots + s->n_slots; l++)
		if (l->f != NULL) {
			dav_cancel(s->m->d, l);
			slot_end(l, l->asked ? LOOK : ABSENT);
			l->asked = 0;
		}
	return r == -1 ? -1 : 0;
}

/* All that is LOOK is read back: DONE, or ABSENT where nothing lies. */
static int
look_round(struct sending *s, struct err *e)
{
	struct dav_file	*v = mem_zero(s->n + 1, sizeof(*v));
	struct err	 f = { 0, "" };
	char		*url;
	size_t		 i, n = 0;
	int		 r, rv = 0;

	for (i = 0; i < s->n; i++)
		if (s->v[i].state == LOOK)
			v[n++] = s->v[i];
	r = n > 0 ? dav_bring(s->m, -1, v, n, &f) : 0;
	if (r == -1)
		rv = err_set(e, f.code, "%s", f.text);
	for (i = n = 0; i < s->n && rv == 0; i++) {
		if (s->v[i].state != LOOK)
			continue;
		if (v[n].code == 0)
			s->v[i].state = DONE;
		else if (v[n].code == MSG_NOINPUT)
			s->v[i].state = ABSENT;
		else if (v[n].code == MSG_DATAERR) {
			url = dav_url(s->m->d, v[n].key);
			rv = err_set(e, MSG_CANTCREAT, "%.300s: something "
			    "else lies there: it is not written over", url);
			free(url);
		} else
			rv = err_set(e, f.code, "%s", f.text);
		n++;
	}
	free(v);
	return rv;
}

static int
count(const struct sending *s, enum state state)
{
	size_t	i;

	for (i = 0; i < s->n; i++)
		if (s->v[i].state == (int)state)
			return 1;
	return 0;
}

static int
send_all(struct sending *s, struct err *e)
{
	unsigned int	tries;

	for (tries = 1;; tries++) {
		if (count(s, LOOK) && look_round(s, e) == -1)
			return -1;
		if (!count(s, ABSENT))
			return 0;
		if (tries > 1 && retry_sleep(tries >= DAV_SEND_TRIES ? 0 :
		    retry_delay(tries - 1, -1, 0.5), e) == -1)
			return -1;
		if (tries == DAV_SEND_TRIES)
			return err_set(e, MSG_TEMPFAIL, "%s: uploads got "
			    "lost %d times over", dav_host(s->m->d),
			    DAV_SEND_TRIES - 1);
		if (send_round(s, e) == -1)
			return -1;
	}
}

int
dav_send(const struct dav_many *m, int dirfd, struct dav_file *v, size_t n,
    int there, struct err *e)
{
	struct sending	s;
	unsigned int	i;
	size_t		k;
	int		rv;

	memset(&s, 0, sizeof(s));
	s.m = m;
	s.dirfd = dirfd;
	s.v = v;
	s.n = n;
	s.n_slots = m->parallel != 0 ? m->parallel : DAV_PARALLEL;
	s.slots = mem_zero(s.n_slots, sizeof(*s.slots));
	for (i = 0; i < s.n_slots; i++) {
		s.slots[i].s = &s;
		s.slots[i].fd = -1;
	}
	for (k = 0; k < n; k++)
		v[k].state = there ? LOOK : ABSENT;
	rv = send_all(&s, e);
	free(s.slots);
	return rv;
}
