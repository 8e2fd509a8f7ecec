/*
 * spill: external merge sort of items.  It knows order, not meaning.
 * SPDX-License-Identifier: ISC
 */
#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define SPILL_WRITE	((size_t)256 << 10)	/* bytes of a write */
#define NONE		UINT32_MAX		/* no document */

/*
 * An item as it lies in the arena and in a run: this head, then id,
 * metadata, document and vector.  Native byte order: the file does not
 * outlive the process.
 */
struct head {
	uint32_t	total;		/* bytes with the head */
	uint32_t	id_len, meta_len, doc_len, vec_len;
	int32_t		coll, src;
	int32_t		dead;
	int64_t		seq;
	unsigned char	digest[HASH_LEN];
};

#define ITEM_BYTES_MAX	(sizeof(struct head) + ITEM_ID_MAX + \
			2 * (size_t)ITEM_TEXT_MAX + 4 * (size_t)ITEM_DIM_MAX)

struct ref {
	uint64_t	prefix;	/* first bytes of the id, big-endian */
	size_t		off;
};

struct run {
	uint64_t	off, end;	/* what is not yet in the window */
	unsigned char	*win;
	size_t		pos, len;	/* unread part of the window */
	struct head	h;		/* of the current item */
	const unsigned char *id;	/* in the window */
	int		fresh;		/* payload not consumed */
};

struct spill {
	const struct spill_order *o;
	char		*dir;
	int		 fd;		/* the file of runs, or -1 */
	uint64_t	 size;		/* of it */
	unsigned char	*arena;
	size_t		 arena_max, len;
	struct ref	*refs;
	size_t		 n_refs, cap_refs, next_ref;
	struct run	*runs;
	size_t		 n_runs, cap_runs;
	size_t		*heap;		/* runs by their current item */
	size_t		 n_heap;
	int		 last;		/* run that gave the last item */
	struct buf	 big;		/* payload wider than a window */
	struct buf	 out;
};

struct spill *
spill_new(const char *dir, const struct spill_order *o, size_t arena)
{
	struct spill	*s = mem_zero(1, sizeof(*s));

	s->o = o;
	s->dir = mem_dup(dir);
	s->fd = -1;
	s->arena_max = arena != 0 ? arena : SPILL_ARENA;
	s->last = -1;
	buf_init(&s->big, ITEM_BYTES_MAX);
	buf_init(&s->out, SPILL_WRITE + ITEM_BYTES_MAX);
	return s;
}

void
spill_free(struct spill *s)
{
	size_t	i;

	if (s == NULL)
		return;
	if (s->fd != -1)
		(void)close(s->fd);
	for (i = 0; i < s->n_runs; i++)
		free(s->runs[i].win);
	free(s->runs);
	free(s->heap);
	free(s->arena);
	free(s->refs);
	free(s->dir);
	buf_free(&s->big);
	buf_free(&s->out);
	free(s);
}

uint64_t
spill_bytes(const struct spill *s)
{
	return s->size;
}

int
spill_cmp(const struct spill_order *o, const struct item *a,
    const struct item *b)
{
	int	r;

	if (a->coll != b->coll && (r = o->coll(o->arg, a->coll,
	    b->coll)) != 0)
		return r;
	r = item_cmp(a->id, a->id_len, b->id, b->id_len);
	if (r != 0)
		return r;
	if (a->seq != b->seq)
		return a->seq > b->seq ? -1 : 1;
	if (a->src != b->src && (r = o->src(o->arg, a->src, b->src)) != 0)
		return r;
	/* one delta has one record of an id; if not, the order is still one */
	return -memcmp(a->digest, b->digest, HASH_LEN);
}

/* The parts of an item that order it. */
static void
key(const struct head *h, const unsigned char *id, struct item *it)
{
	it->coll = h->coll;
	it->src = h->src;
	it->seq = h->seq;
	it->id = (const char *)id;
	it->id_len = h->id_len;
	memcpy(it->digest, h->digest, HASH_LEN);
}

static void
view(const struct head *h, const unsigned char *p, struct item *it)
{
	memset(it, 0, sizeof(*it));
	key(h, p, it);
	it->dead = h->dead;
	if (h->dead)
		return;
	p += h->id_len;
	it->meta = (const char *)p;
	it->meta_len = h->meta_len;
	p += h->meta_len;
	if (h->doc_len != NONE) {
		it->doc = (const char *)p;
		it->doc_len = h->doc_len;
		p += h->doc_len;
	}
	it->vec = p;
}

/* qsort has no argument to pass on; one spill sorts at a time. */
static const struct spill	*sorting;

static int
ref_cmp(const void *a, const void *b)
{
	const struct ref	*x = a, *y = b;
	struct head		 hx, hy;
	struct item		 ix, iy;

	memcpy(&hx, sorting->arena + x->off, sizeof(hx));
	memcpy(&hy, sorting->arena + y->off, sizeof(hy));
	if (hx.coll == hy.coll && x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	key(&hx, sorting->arena + x->off + sizeof(hx), &ix);
	key(&hy, sorting->arena + y->off + sizeof(hy), &iy);
	return spill_cmp(sorting->o, &ix, &iy);
}

static void
sort(struct spill *s)
{
	sorting = s;
	if (s->n_refs != 0)
		qsort(s->refs, s->n_refs, sizeof(*s->refs), ref_cmp);
	sorting = NULL;
}

static int
open_file(struct spill *s, struct err *e)
{
	struct buf	b;

	if (s->fd != -1)
		return 0;
	buf_init(&b, 16384);
	buf_printf(&b, "%s/spill.XXXXXX", s->dir);
	s->fd = mkstemp(buf_cstr(&b));
	if (s->fd == -1)
		err_sys(e, errno, "%s", s->dir);
	else {
		(void)unlink(buf_cstr(&b));
		if (fcntl(s->fd, F_SETFD, FD_CLOEXEC) == -1)
			err_sys(e, errno, "%s: temporary file", s->dir);
	}
	buf_free(&b);
	return e->code == 0 ? 0 : -1;
}

static int
flush(struct spill *s, struct err *e)
{
	if (io_write(s->fd, s->out.p, s->out.len) == -1)
		return err_sys(e, errno, "%s: temporary file", s->dir);
	s->size += s->out.len;
	buf_reset(&s->out);
	return 0;
}

static struct run *
add_run(struct spill *s)
{
	struct run	*r;

	s->runs = mem_grow(s->runs, &s->cap_runs, s->n_runs + 1,
	    sizeof(*s->runs));
	r = &s->runs[s->n_runs++];
	memset(r, 0, sizeof(*r));
	r->off = s->size;
	return r;
}

/* The arena, sorted, as one more run. */
static int
write_run(struct spill *s, struct err *e)
{
	struct head	 h;
	struct run	*r;
	size_t		 i;

	sort(s);
	if (open_file(s, e) == -1)
		return -1;
	r = add_run(s);
	for (i = 0; i < s->n_refs; i++) {
		memcpy(&h, s->arena + s->refs[i].off, sizeof(h));
		buf_add(&s->out, s->arena + s->refs[i].off, h.total);
		if (s->out.len >= SPILL_WRITE && flush(s, e) == -1)
			return -1;
	}
	if (flush(s, e) == -1)
		return -1;
	r->end = s->size;
	s->n_refs = 0;
	s->len = 0;
	return 0;
}

int
spill_add(struct spill *s, const struct item *it, uint32_t dim,
    struct err *e)
{
	struct head	 h;
	struct ref	*r;
	unsigned char	*p;
	size_t		 i, total;

	memset(&h, 0, sizeof(h));
	h.id_len = (uint32_t)it->id_len;
	h.coll = it->coll;
	h.src = it->src;
	h.seq = it->seq;
	h.dead = it->dead;
	memcpy(h.digest, it->digest, HASH_LEN);
	h.doc_len = NONE;
	total = sizeof(h) + it->id_len;
	if (!it->dead) {
		h.meta_len = (uint32_t)it->meta_len;
		h.vec_len = dim * 4;
		total += it->meta_len + h.vec_len;
		if (it->doc != NULL) {
			h.doc_len = (uint32_t)it->doc_len;
			total += it->doc_len;
		}
	}
	if (total > ITEM_BYTES_MAX)
		return err_set(e, MSG_SOFTWARE, "spill: item of %zu bytes",
		    total);
	h.total = (uint32_t)total;
	if (s->len + total > s->arena_max && s->n_refs != 0 &&
	    write_run(s, e) == -1)
		return -1;
	if (s->arena == NULL)
		s->arena = mem_alloc(s->arena_max > ITEM_BYTES_MAX ?
		    s->arena_max : ITEM_BYTES_MAX);
	s->refs = mem_grow(s->refs, &s->cap_refs, s->n_refs + 1,
	    sizeof(*s->refs));
	r = &s->refs[s->n_refs++];
	r->off = s->len;
	r->prefix = 0;
	for (i = 0; i < 8; i++)
		r->prefix = r->prefix << 8 |
		    (i < it->id_len ? (unsigned char)it->id[i] : 0);
	p = s->arena + s->len;
	memcpy(p, &h, sizeof(h));
	p += sizeof(h);
	memcpy(p, it->id, it->id_len);
	p += it->id_len;
	if (!it->dead) {
		memcpy(p, it->meta, it->meta_len);
		p += it->meta_len;
		if (it->doc != NULL) {
			memcpy(p, it->doc, it->doc_len);
			p += it->doc_len;
		}
		memcpy(p, it->vec, h.vec_len);
	}
	s->len += total;
	return 0;
}

/* At least n bytes (or all that are left) in the window. */
static int
refill(struct spill *s, struct run *r, size_t n, struct err *e)
{
	size_t	want;
	ssize_t	got;

	if (r->len - r->pos >= n || r->off == r->end)
		return 0;
	memmove(r->win, r->win + r->pos, r->len - r->pos);
	r->len -= r->pos;
	r->pos = 0;
	want = SPILL_WINDOW - r->len;
	if (want > r->end - r->off)
		want = (size_t)(r->end - r->off);
	got = io_pread(s->fd, r->win + r->len, want, r->off);
	if (got == -1)
		return err_sys(e, errno, "%s: temporary file", s->dir);
	if ((size_t)got != want)
		return err_set(e, MSG_IOERR, "%s: temporary file: cut off",
		    s->dir);
	r->off += want;
	r->len += want;
	return 0;
}

/* Pass over the current item and look at the next: 1, 0 none, -1. */
static int
advance(struct spill *s, struct run *r, struct err *e)
{
	size_t	skip;

	if (r->fresh) {
		skip = r->h.total;
		if (skip <= r->len - r->pos)
			r->pos += skip;
		else {
			r->off += skip - (r->len - r->pos);
			r->pos = r->len;
		}
		r->fresh = 0;
	}
	if (r->pos == r->len && r->off == r->end)
		return 0;
	if (refill(s, r, sizeof(r->h), e) == -1)
		return -1;
	memcpy(&r->h, r->win + r->pos, sizeof(r->h));
	if (refill(s, r, sizeof(r->h) + r->h.id_len, e) == -1)
		return -1;
	r->id = r->win + r->pos + sizeof(r->h);
	r->fresh = 1;
	return 1;
}

/* The whole current item at *p, from its head on. */
static int
whole(struct spill *s, struct run *r, const unsigned char **p,
    struct err *e)
{
	size_t	have, rest;

	if (refill(s, r, r->h.total, e) == -1)
		return -1;
	r->id = r->win + r->pos + sizeof(r->h);
	have = r->len - r->pos;
	if (have >= r->h.total) {
		*p = r->win + r->pos;
		return 0;
	}
	rest = r->h.total - have;
	buf_reset(&s->big);
	buf_add(&s->big, r->win + r->pos, have);
	if (buf_room(&s->big, rest) == NULL)
		return err_set(e, MSG_SOFTWARE, "spill: item too large");
	if (io_pread(s->fd, s->big.p + have, rest, r->off) != (ssize_t)rest)
		return err_sys(e, errno, "%s: temporary file", s->dir);
	*p = s->big.p;
	return 0;
}

static int
run_less(const struct spill *s, size_t a, size_t b)
{
	struct item	x, y;
	int		r;

	key(&s->runs[a].h, s->runs[a].id, &x);
	key(&s->runs[b].h, s->runs[b].id, &y);
	r = spill_cmp(s->o, &x, &y);
	return r != 0 ? r < 0 : a < b;
}

static void
sift(struct spill *s, size_t i)
{
	size_t	c, t;

	while ((c = 2 * i + 1) < s->n_heap) {
		if (c + 1 < s->n_heap && run_less(s, s->heap[c + 1],
		    s->heap[c]))
			c++;
		if (!run_less(s, s->heap[c], s->heap[i]))
			return;
		t = s->heap[c];
		s->heap[c] = s->heap[i];
		s->heap[i] = t;
		i = c;
	}
}

/* Open the runs [from, from + n) and heap them. */
static int
open_runs(struct spill *s, size_t from, size_t n, struct err *e)
{
	size_t	i;
	int	k;

	free(s->heap);
	s->heap = mem_zero(n, sizeof(*s->heap));
	s->n_heap = 0;
	for (i = from; i < from + n; i++) {
		s->runs[i].win = mem_alloc(SPILL_WINDOW);
		k = advance(s, &s->runs[i], e);
		if (k == -1)
			return -1;
		if (k == 1)
			s->heap[s->n_heap++] = i;
	}
	for (i = s->n_heap / 2; i-- > 0;)
		sift(s, i);
	return 0;
}

/* The run on top gave its item: put it where its next one belongs. */
static int
step(struct spill *s, struct err *e)
{
	int	k = advance(s, &s->runs[s->heap[0]], e);

	if (k == -1)
		return -1;
	if (k == 0)
		s->heap[0] = s->heap[--s->n_heap];
	sift(s, 0);
	return 0;
}

/* SPILL_FAN runs at from become one at the end. */
static int
condense(struct spill *s, size_t from, struct err *e)
{
	const unsigned char	*p;
	struct run		*r;
	uint64_t		 start;
	size_t			 i;

	if (open_runs(s, from, SPILL_FAN, e) == -1)
		return -1;
	start = s->size;
	while (s->n_heap != 0) {
		r = &s->runs[s->heap[0]];
		if (whole(s, r, &p, e) == -1)
			return -1;
		buf_add(&s->out, p, r->h.total);
		if (s->out.len >= SPILL_WRITE && flush(s, e) == -1)
			return -1;
		if (step(s, e) == -1)
			return -1;
	}
	if (flush(s, e) == -1)
		return -1;
	for (i = from; i < from + SPILL_FAN; i++) {
		free(s->runs[i].win);
		s->runs[i].win = NULL;
	}
	r = add_run(s);
	r->off = start;
	r->end = s->size;
	return 0;
}

int
spill_start(struct spill *s, struct err *e)
{
	size_t	from = 0;

	if (s->fd == -1) {
		sort(s);	/* all of it fits: no file at all */
		return 0;
	}
	if (s->n_refs != 0 && write_run(s, e) == -1)
		return -1;
	free(s->arena);
	s->arena = NULL;
	free(s->refs);
	s->refs = NULL;
	s->cap_refs = 0;
	while (s->n_runs - from > SPILL_FAN) {
		if (condense(s, from, e) == -1)
			return -1;
		from += SPILL_FAN;
	}
	return open_runs(s, from, s->n_runs - from, e);
}

int
spill_next(struct spill *s, struct item *it, struct err *e)
{
	const unsigned char	*p;
	struct head		 h;

	if (s->fd == -1) {
		if (s->next_ref == s->n_refs)
			return 0;
		p = s->arena + s->refs[s->next_ref++].off;
		memcpy(&h, p, sizeof(h));
		view(&h, p + sizeof(h), it);
		return 1;
	}
	if (s->last != -1 && step(s, e) == -1)
		return -1;
	s->last = -1;
	if (s->n_heap == 0)
		return 0;
	s->last = 0;
	if (whole(s, &s->runs[s->heap[0]], &p, e) == -1)
		return -1;
	memcpy(&h, p, sizeof(h));
	view(&h, p + sizeof(h), it);
	return 1;
}
