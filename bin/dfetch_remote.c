/*
 * dfetch_remote: the worker for all inputs that are not here: many of them
 * at once, their objects through one xfer, so that connections are shared
 * and a server is asked for no more than it bears.  It alone holds the
 * keys while others read bytes.
 *
 * An input is taken up when there is room for its objects: what waits
 * costs no descriptor and no memory but its place in the queue.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch.h"

#include <sys/resource.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "dfetch_batch.h"
#include "io.h"
#include "mem.h"
#include "remote.h"
#include "xfer.h"
#include "banned.h"

#define REMOTE_AHEAD	4	/* objects queued for each transfer */
#define REMOTE_FDS	(3 + REMOTE_AHEAD) /* descriptors for each */
#define REMOTE_FDS_ELSE	24	/* and for all else */
#define REMOTE_TICK_MS	20	/* while there is room for more */
#define REMOTE_WAIT_MS	200	/* while there is none */

/* One input. */
struct move {
	struct move		*next;
	struct mover		*m;
	const struct fetch_src	*src;
	const struct plan_line	*line;
	struct fetch_answer	 a;
	const struct fetch_seen	*seen;
	struct fetch_seen	 own;	/* listed here: none was kept */
	size_t			 n, asked, got;	/* objects */
	int			 open, over;
	int			 dirfd;
	double			 until;	/* 0 no end */
	struct hash_tree	*tree;	/* of a prefix */
	unsigned char		 d[HASH_LEN];
};

/* One object of it, while it is queued or under way. */
struct piece {
	struct move	*v;
	size_t		 i;
};

struct mover {
	const struct fetch_work	*w;
	int			 fd;	/* jobs in, answers out */
	unsigned int		 parallel; /* transfers at once */
	struct fetch_list	 l;	/* what is listed here */
	struct xfer		*x;
	struct err		 why;	/* there is no x */
	struct move		*first, **last;
	size_t			 queued;	/* objects */
	int			 failed;	/* the run ends */
	double			 news;	/* told last */
};

static int
changed(const char *url, struct err *e)
{
	memset(e, 0, sizeof(*e));
	return fetch_changed(url, e);
}

/*
 * Batches: one after the other, as each has little to wait for.
 */

static int
batch_check(const char *url, struct err *e)
{
	(void)url;
	(void)e;
	return 0;
}

static int
batch_list(struct fetch_list *l, const char *url, struct err *e)
{
	return l->add(l->arg, url, NULL, e);
}

static int
batch_see(struct fetch_list *l, struct fetch_look *v, size_t n,
    struct err *e)
{
	struct fetch_seen	*s;
	size_t			 i;

	(void)e;
	for (i = 0; i < n && io_signal() == 0; i++) {
		s = mem_zero(1, sizeof(*s));
		if (fetch_batch_look(l->remote, v[i].line->url, &s->info,
		    &v[i].e) == -1) {
			fetch_seen_free(s);
			continue;
		}
		s->info.unsized = 1;
		v[i].seen = s;
	}
	return 0;
}

const struct fetch_src	fetch_batches = {
	1, batch_check, batch_list, NULL, NULL, NULL, batch_see, NULL, NULL
};

static void
fetch_this_batch(struct move *v)
{
	struct fetch_answer	*a = &v->a;

	v->n = v->asked = v->got = 1;
	v->over = 1;
	a->info.unsized = 0;
	if (fetch_batch(v->m->l.remote, v->m->w->batch, v->line->url,
	    v->dirfd, a->name, &a->info, v->d, &a->e) == 1)
		a->what = FETCH_STALE;
}

/*
 * Objects.
 */

/* The name that goes into staging for a file. */
static void
file_name(struct move *v)
{
	const char	*url = v->line->url;
	const char	*slash = strrchr(url, '/');

	if (v->src == &fetch_http)
		fetch_http_name(v->a.name, url);
	else
		fetch_name(v->a.name, slash != NULL ? slash + 1 : url);
}

/* What came of a file that was looked at before: the same? */
static int
same_file(struct move *v, const struct xfer_got *g)
{
	struct fetch_info	*i = &v->a.info;
	char			 etag[FETCH_ETAG_MAX];

	fetch_etag(etag, g->etag);
	if (i->etag[0] != '\0' && etag[0] != '\0' &&
	    strcmp(i->etag, etag) != 0)
		return changed(v->line->url, &v->a.e);
	/* lists know fractions of a second, headers do not */
	if (i->etag[0] == '\0' && i->mtime != 0 && g->modified != 0 &&
	    i->mtime / 1000000000 != g->modified / 1000000000)
		return changed(v->line->url, &v->a.e);
	if (i->mtime == 0)
		i->mtime = g->modified;
	if (i->etag[0] == '\0')
		memcpy(i->etag, etag, sizeof(etag));
	if (g->size == 0 && !v->m->w->files)
		return err_set(&v->a.e, MSG_DATAERR, "%s: size: want more "
		    "than 0 bytes, got 0", v->line->url);
	i->size = g->size;
	i->unsized = 0;
	return 0;
}

/* From within the waits of xfer: it is only noted. */
static void
piece_done(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct piece	*p = arg;
	struct move	*v = p->v;

	v->m->queued--;
	v->got++;
	if (e != NULL) {
		/* it was there when it was listed */
		if (e->code == MSG_NOINPUT && v->src == &fetch_s3)
			(void)changed(v->line->url, &v->a.e);
		else if (v->a.e.code == 0)
			v->a.e = *e;
		v->m->failed = 1;
	} else if (v->tree != NULL)
		(void)hash_tree_add(v->tree, v->seen->v[p->i].name, g->size,
		    g->sha256, &v->a.e);
	else if (same_file(v, g) == 0)
		memcpy(v->d, g->sha256, sizeof(v->d));
	if (v->got == v->n || v->a.e.code != 0)
		v->over = 1;
	free(p);
}

/* The next object of v into the queue. */
static int
ask(struct move *v, struct err *e)
{
	const char	*slash;
	struct xfer_get	 g;
	struct piece	*p;
	struct buf	 name;
	char		*mem[2] = { NULL, NULL };
	int		 rv;

	memset(&g, 0, sizeof(g));
	g.max = v->m->w->max_size;
	g.dirfd = v->dirfd;
	g.done = piece_done;
	/* a byte that was wrong on the way is right the next time */
	if (v->tree == NULL && v->line->sha256[0] != '\0')
		g.sha256 = v->line->sha256;
	buf_init(&name, 2 * PLAN_LINE_MAX);
	buf_str(&name, v->line->url);
	slash = strrchr(v->line->url, '/');
	if (v->tree != NULL)
		buf_printf(&name, "%s%s", slash == NULL || slash[1] != '\0' ?
		    "/" : "", v->seen->v[v->asked].name);
	g.name = buf_cstr(&name);
	rv = v->src->ask(v->line, v->seen, v->asked, &g, mem, e);
	if (rv == 0) {
		if (v->dirfd != -1)
			g.file = v->tree != NULL ?
			    v->seen->v[v->asked].name : v->a.name;
		p = mem_zero(1, sizeof(*p));
		p->v = v;
		p->i = v->asked;
		g.arg = p;
		rv = xfer_get(v->m->x, &g, e);
		if (rv == -1)
			free(p);
	}
	buf_free(&name);
	free(mem[0]);
	free(mem[1]);
	if (rv == 0) {
		v->asked++;
		v->m->queued++;
	}
	return rv;
}

/* v gets its turn: its directory, and its objects, if need be. */
static int
move_open(struct move *v, struct err *e)
{
	const struct fetch_work	*w = v->m->w;

	v->open = 1;
	if (w->max_time != 0)
		v->until = io_now() + (double)w->max_time;
	v->dirfd = fetch_open_dir(w, v->a.n, e);
	if (e->code != 0)
		return -1;
	if (!v->a.info.dir) {
		v->n = 1;
		file_name(v);
		return 0;
	}
	v->tree = hash_tree_new();
	if (v->seen->v == NULL) {
		v->own.from = v->seen->from;
		if (v->src->open(&v->m->l, v->line, &v->own, e) == -1)
			return -1;
		if (strcmp(v->own.info.etag, v->seen->info.etag) != 0)
			return changed(v->line->url, e);
		v->seen = &v->own;
	}
	v->n = v->seen->n;
	return 0;
}

/* Fill the queue. */
static void
feed(struct mover *m)
{
	struct move	*v;
	size_t		 room = (size_t)m->parallel * REMOTE_AHEAD;

	for (v = m->first; v != NULL && m->queued < room; v = v->next) {
		if (v->over || m->failed || (v->open && v->asked == v->n))
			continue;
		if (!v->open && move_open(v, &v->a.e) == -1)
			v->over = 1;
		else if (v->src == &fetch_batches)
			fetch_this_batch(v);
		else if (m->x == NULL) {
			v->a.e = m->why;
			v->over = 1;
		}
		while (!v->over && v->asked < v->n && m->queued < room)
			if (ask(v, &v->a.e) == -1)
				v->over = 1;
		if (v->a.e.code != 0)
			m->failed = 1;
	}
}

/*
 * Jobs and answers.
 */

static void
move_free(struct move *v)
{
	size_t	i;

	for (i = 0; i < v->own.n; i++)
		free(v->own.v[i].mem);
	free(v->own.v);
	hash_tree_free(v->tree);
	if (v->dirfd != -1)
		(void)close(v->dirfd);
	free(v);
}

static void
tell(struct mover *m, const struct fetch_answer *a)
{
	if (io_write(m->fd, a, sizeof(*a)) == -1)
		_exit(0); /* nobody wants to know */
}

static void
take_job(struct mover *m)
{
	struct fetch_job	 j;
	struct fetch_answer	 a;
	struct err		 e = { 0, "" };
	struct move		*v;

	if (io_read(m->fd, &j, sizeof(j)) != (ssize_t)sizeof(j))
		_exit(0); /* no more */
	if (!fetch_before(m->w, &j, &a)) {
		tell(m, &a);
		return;
	}
	v = mem_zero(1, sizeof(*v));
	v->m = m;
	v->a = a;
	v->line = &m->w->plan->v[j.line];
	v->src = fetch_src_of(v->line->url, &e);
	v->seen = m->w->seen[j.line];
	v->dirfd = -1;
	*m->last = v;
	m->last = &v->next;
}

/* Answer for those that are over.  Nothing of them is under way. */
static void
answer(struct mover *m)
{
	struct move	**p = &m->first, *v;

	while ((v = *p) != NULL) {
		if (!v->over) {
			p = &v->next;
			continue;
		}
		if (v->a.e.code == 0 && v->tree != NULL)
			hash_tree_final(v->tree, v->d, NULL);
		fetch_after(m->w, v->dirfd, v->d, &v->a);
		tell(m, &v->a);
		if (v->a.what == FETCH_FAILED)
			m->failed = 1;
		*p = v->next;
		if (*p == NULL)
			m->last = p;
		/* pieces of one that failed may still point to it */
		if (v->got == v->asked)
			move_free(v);
	}
}

static void
out_of_time(struct mover *m)
{
	double		 now = io_now();
	struct move	*v;

	for (v = m->first; v != NULL; v = v->next) {
		if (!v->open || v->over || v->until == 0 || now < v->until)
			continue;
		err_set(&v->a.e, MSG_TEMPFAIL, "%s: not whole after %llu "
		    "seconds (--max-time); what came is kept in the cache",
		    v->line->url, (unsigned long long)m->w->max_time);
		v->over = 1;
		m->failed = 1;
	}
}

static void
tell_news(struct mover *m)
{
	struct fetch_answer	a;
	struct xfer_stat	s;
	double			now = io_now();

	if (m->x == NULL || now - m->news < 1)
		return;
	m->news = now;
	xfer_stat(m->x, &s);
	memset(&a, 0, sizeof(a));
	a.what = FETCH_NEWS;
	a.bytes = s.bytes;
	a.running = s.running;
	tell(m, &a);
}

/* Jobs that wait: all of them; with nothing else to do, at least one. */
static void
take_jobs(struct mover *m)
{
	struct pollfd	p;
	int		r;

	for (;;) {
		p.fd = m->fd;
		p.events = POLLIN;
		p.revents = 0;
		r = poll(&p, 1, m->first == NULL ? -1 : 0);
		if (r == -1 && errno != EINTR)
			_exit(1);
		if (r == 0)
			return;
		if (r == 1)
			take_job(m);
	}
}

/*
 * As many descriptors as this process may have, and no more transfers than
 * they are enough for: a connection that cannot be made for want of one
 * looks like a server that is gone.
 */
static void
descriptors(struct mover *m)
{
	struct rlimit	rl;
	rlim_t		n;

	m->parallel = (m->w->parallel + m->w->movers - 1) / m->w->movers;
	if (getrlimit(RLIMIT_NOFILE, &rl) == -1)
		return;
	if (rl.rlim_cur != rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &rl) == -1 &&
		    getrlimit(RLIMIT_NOFILE, &rl) == -1)
			return;
	}
	if (rl.rlim_cur == RLIM_INFINITY)
		return;
	n = rl.rlim_cur > REMOTE_FDS_ELSE ? (rl.rlim_cur -
	    REMOTE_FDS_ELSE) / REMOTE_FDS : 0;
	if (n < m->parallel)
		m->parallel = n != 0 ? (unsigned int)n : 1;
}

static void
connect_all(struct mover *m)
{
	struct xfer_opts	 o;
	struct net		*n = remote_net(m->l.remote, &m->why);
	struct retry		*r;
	struct s3		*s3;

	r = n != NULL ? remote_retry(m->l.remote, &m->why) : NULL;
	s3 = r != NULL ? remote_s3(m->l.remote, &m->why) : NULL;
	if (s3 == NULL)
		return;
	memset(&o, 0, sizeof(o));
	o.parallel = m->parallel;
	o.cache = m->w->cache;
	m->x = xfer_new(n, s3, r, &o);
}

void
fetch_remote_work(const struct fetch_work *w, int fd)
{
	struct mover	m;
	struct err	e;

	memset(&m, 0, sizeof(m));
	m.w = w;
	m.fd = fd;
	m.last = &m.first;
	m.l.remote = remote_new(w->ckpt);
	remote_share(m.l.remote, w->movers);
	descriptors(&m);
	connect_all(&m);
	for (;;) {
		take_jobs(&m);
		feed(&m);
		memset(&e, 0, sizeof(e));
		if (m.queued != 0 && xfer_wait(m.x, m.queued <
		    (size_t)m.parallel * REMOTE_AHEAD ? REMOTE_TICK_MS :
		    REMOTE_WAIT_MS, &e) == -1 && m.first != NULL &&
		    m.first->a.e.code == 0) {
			m.first->a.e = e;
			m.first->over = 1;
			m.failed = 1;
		}
		out_of_time(&m);
		answer(&m);
		tell_news(&m);
		/* the one that failed was told; the end comes from above */
		if (m.failed && m.first != NULL)
			(void)poll(NULL, 0, REMOTE_WAIT_MS);
	}
}
