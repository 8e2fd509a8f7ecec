/*
 * s3_send: what is there, what is not, and how it gets there: small files
 * in one request, large ones in parts.  It never takes an ETag of an
 * object for its digest, and proves nothing: s3_prove does.
 *
 * An upload in parts does not tell what it was created with.  So one that
 * was left is gone on with only where all of its parts are pieces of our
 * file, and what it became is looked at: where another file begins with
 * the same pieces, the object would carry that one's digest.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "net.h"
#include "retry.h"
#include "s3.h"
#include "s3_pool.h"
#include "banned.h"

#define SEND_LOOKS	5	/* at what became of one upload */
#define SEND_ANEW	3	/* beginnings of one upload in parts */
#define SEND_PIECE	((size_t)256 << 10)	/* bytes read at once */
#define SEND_PUT_LEN	16	/* bytes of the id of a call */
#define SEND_STALE_NS	((int64_t)86400 * 1000000000) /* nobody's */
#define SEND_LINE	160	/* bytes of a header */
#define ETAG_MAX	56	/* bytes of one of S3's */
#define META_SHA	"x-amz-meta-intact-sha256"
#define META_PUT	"x-amz-meta-intact-put"
#define META_RUN	"x-amz-meta-intact-run"

struct item {
	enum { IT_ABSENT, IT_SIZE, IT_OTHER } listed;
	int	done;
};

struct keyed {
	const char	*key;
	size_t		 i;
};

/* An upload in parts that was found. */
struct left {
	size_t	 i;			/* of the file */
	char	*id;
	int64_t	 initiated;
};

/* One under way. */
struct big {
	struct big	*next_big;
	size_t		 i;
	int		 fd;
	char		*id;
	int		 resumed, lost, begun;
	unsigned int	 n, next, under_way;
	uint64_t	 each, kept;	/* bytes; kept: were there */
	struct s3_part	*v;		/* etag "": is to be sent */
	struct hash	*whole;
};

struct send {
	struct s3_pool	 pool;
	struct s3	*s;
	const char	*bucket;
	int		 dirfd;
	const struct s3_file *v;
	size_t		 n, at, end;
	struct keyed	*by_key;	/* sorted */
	const struct s3_send_opts *o;
	struct s3_sent	 sent;
	struct item	*it;
	struct left	*left;
	size_t		 n_left, left_cap;
	size_t		*maybe;		/* files that may be there of us */
	size_t		 n_maybe, maybe_cap;
	struct big	*bigs;
	int		 litter;	/* uploads of unknown ids */
	char		 put[2 * SEND_PUT_LEN + 1];
	char		 put_line[SEND_LINE], run_line[SEND_LINE];
};

struct job {
	struct s3_job	 j;
	struct send	*s;
	size_t		 i;
	enum { J_HEAD, J_PUT, J_LOOK, J_PART } is;
	int		 fd;
	int		 unknown;	/* it may be there */
	unsigned int	 looks;
	struct big	*b;
	unsigned int	 part;		/* from 0 */
	char		 sha[HASH_HEX];
	char		 sha_line[SEND_LINE];
	const char	*meta[4];
	char		 number[8];
	struct sign_param query[2];
};

static const struct s3_job_ops	job_ops;

static void
set_meta(struct send *s, size_t i, char line[SEND_LINE], const char *meta[4])
{
	size_t	n = 0;

	(void)snprintf(line, SEND_LINE, META_SHA ": %s", s->v[i].sha256);
	meta[n++] = line;
	meta[n++] = s->put_line;
	if (s->o->run != NULL)
		meta[n++] = s->run_line;
	meta[n] = NULL;
}

static unsigned int
condition(const struct send *s)
{
	return s->o->create && !s->o->locked ? S3_IF_NONE : 0;
}

static int
is_big(const struct send *s, size_t i)
{
	return s->v[i].size > S3_SEND_BIG;
}

/* Does an answer to HEAD speak of the object that v[i] becomes? */
static int
is_same(const struct send *s, size_t i, const struct s3_res *r)
{
	char	*sha = s3_header(r, META_SHA);
	int	 rv = sha != NULL && r->length >= 0 &&
		    (uint64_t)r->length == s->v[i].size &&
		    strcmp(sha, s->v[i].sha256) == 0;

	free(sha);
	return rv;
}

/* Was it put by this very call? */
static int
is_ours(const struct send *s, const struct s3_res *r)
{
	char	*put = s3_header(r, META_PUT);
	int	 rv = put != NULL && strcmp(put, s->put) == 0;

	free(put);
	return rv;
}

static int
taken(const struct send *s, size_t i, struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "s3://%s/%s: something else is there "
	    "already; want %llu bytes of SHA-256 %s", s->bucket, s->v[i].key,
	    (unsigned long long)s->v[i].size, s->v[i].sha256);
}

static void
tell_created(struct send *s, size_t i)
{
	if (s->o->created != NULL && (s->o->create ||
	    s->it[i].listed == IT_ABSENT))
		s->o->created(s->o->arg, s->v[i].key);
}

static void
mark_sent(struct send *s, size_t i)
{
	s->it[i].done = 1;
	s->sent.objects++;
}

static void
mark_kept(struct send *s, size_t i)
{
	s->it[i].done = 1;
	s->sent.kept++;
	s->sent.kept_bytes += s->v[i].size;
}

/*
 * Files.
 */

static int
open_file(const struct send *s, size_t i, struct err *e)
{
	const struct s3_file	*f = &s->v[i];
	struct stat		 st;
	int			 fd;

	fd = openat(s->dirfd, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", f->name);
	if (fstat(fd, &st) == -1)
		err_sys(e, errno, "%s", f->name);
	else if (!S_ISREG(st.st_mode))
		err_set(e, MSG_DATAERR, "%s: not a regular file", f->name);
	else if ((uint64_t)st.st_size != f->size)
		err_set(e, MSG_DATAERR, "%s: size: want %llu, got %llu",
		    f->name, (unsigned long long)f->size,
		    (unsigned long long)st.st_size);
	else
		return fd;
	(void)close(fd);
	return -1;
}

/* n bytes from off through those of a and b that are not NULL. */
static int
digest(const struct send *s, size_t i, int fd, uint64_t off, uint64_t n,
    struct hash *a, struct hash *b, struct err *e)
{
	unsigned char	*p = mem_alloc(SEND_PIECE);
	ssize_t		 got;
	int		 rv = 0;

	while (n > 0 && rv == 0) {
		got = io_pread(fd, p, n < SEND_PIECE ? (size_t)n :
		    SEND_PIECE, off);
		if (got == -1)
			rv = err_sys(e, errno, "%s", s->v[i].name);
		else if (got == 0)
			rv = err_set(e, MSG_DATAERR, "%s: it became shorter "
			    "while it was sent", s->v[i].name);
		else {
			if (a != NULL)
				hash_add(a, p, (size_t)got);
			if (b != NULL)
				hash_add(b, p, (size_t)got);
			off += (uint64_t)got;
			n -= (uint64_t)got;
		}
	}
	free(p);
	return rv;
}

/* -1 (65): the digest in h is not that of v[i]. */
static int
check_whole(const struct send *s, size_t i, struct hash *h, struct err *e)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];

	hash_final(h, d);
	hash_hex(d, hex);
	if (strcmp(hex, s->v[i].sha256) == 0)
		return 0;
	return err_set(e, MSG_DATAERR, "%s: SHA-256: want %s, got %s: the "
	    "file is not what was to be sent", s->v[i].name, s->v[i].sha256,
	    hex);
}

/* The server got other bytes than were meant: is it the file? */
static int
check_sent(const struct job *j, struct err *e)
{
	struct send	*s = j->s;
	struct hash	*h = hash_new();
	unsigned char	 d[HASH_LEN];
	char		 hex[HASH_HEX];
	uint64_t	 off, n;
	int		 rv;

	if (j->is == J_PUT) {
		rv = digest(s, j->i, j->fd, 0, s->v[j->i].size, h, NULL, e);
		if (rv == 0)
			rv = check_whole(s, j->i, h, e);
	} else {
		off = j->part * j->b->each;
		n = j->b->v[j->part].size;
		rv = digest(s, j->i, j->b->fd, off, n, h, NULL, e);
		hash_final(h, d);
		hash_hex(d, hex);
		if (rv == 0 && strcmp(hex, j->sha) != 0)
			rv = err_set(e, MSG_DATAERR, "%s: it changed while it "
			    "was sent", s->v[j->i].name);
	}
	hash_free(h);
	return rv;
}

/*
 * Jobs.
 */

static struct job *
new_job(struct send *s, size_t i, int is)
{
	struct job	*j = mem_zero(1, sizeof(*j));

	j->j.ops = &job_ops;
	j->j.small = is == J_HEAD;
	j->s = s;
	j->i = i;
	j->is = is;
	j->fd = -1;
	set_meta(s, i, j->sha_line, j->meta);
	return j;
}

static int
ask_put(struct job *j, struct s3_req *q, struct err *e)
{
	struct send	*s = j->s;

	if (j->fd == -1 && (j->fd = open_file(s, j->i, e)) == -1)
		return -1;
	q->method = "PUT";
	q->headers = j->meta;
	q->fd = j->fd;
	q->n = s->v[j->i].size;
	q->sha256 = s->v[j->i].sha256;
	/* what a server that knows of it gives back to s3_prove */
	q->flags = S3_CHECKSUM | condition(s);
	return 0;
}

static int
ask_job(struct s3_job *sj, struct s3_req *q, struct err *e)
{
	struct job	*j = (struct job *)sj;
	struct send	*s = j->s;

	q->bucket = s->bucket;
	q->key = s->v[j->i].key;
	switch (j->is) {
	case J_HEAD:
	case J_LOOK:
		q->method = "HEAD";
		return 0;
	case J_PUT:
		return ask_put(j, q, e);
	case J_PART:
		s3_part_req(q, s->bucket, q->key, j->b->id, j->part + 1,
		    j->number, j->query);
		q->fd = j->b->fd;
		q->off = j->part * j->b->each;
		q->n = j->b->v[j->part].size;
		q->sha256 = j->sha;
		return 0;
	}
	return -1;
}

static enum s3_next
again_or(double wait, const struct err *why, struct err *e)
{
	if (wait >= 0)
		return S3_ASK;
	err_set(e, why->code, "%s", why->text);
	return S3_FAIL;
}

static enum s3_next
on_head(struct job *j, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct send	*s = j->s;

	if (why != NULL && r->status == 404)
		s->it[j->i].listed = IT_ABSENT;
	else if (why != NULL)
		return again_or(wait, why, e);
	else if (is_same(s, j->i, r))
		mark_kept(s, j->i);
	else if (s->o->create) {
		taken(s, j->i, e);
		return S3_FAIL;
	}
	return S3_OVER;
}

/* Ask for another thing, after a while. */
static enum s3_next
turn(struct job *j, int to, double after)
{
	memset(&j->j.op, 0, sizeof(j->j.op));
	j->is = to;
	j->j.due = after > 0 ? io_now() + after : 0;
	return S3_ASK;
}

/* How long to wait before the next look: as long as for any try. */
static double
delay(unsigned int looks)
{
	double	d = retry_delay(looks + 1, -1, 0.5);

	return d < 0 ? RETRY_CAP : d;
}

static enum s3_next
look_again(struct job *j, int to, const char *why, struct err *e)
{
	if (j->looks++ < SEND_LOOKS)
		return turn(j, to, delay(j->looks));
	err_set(e, MSG_TEMPFAIL, "s3://%s/%s: %s, %d times", j->s->bucket,
	    j->s->v[j->i].key, why, SEND_LOOKS);
	return S3_FAIL;
}

static int
is_mangled(const struct s3_res *r)
{
	return strcmp(r->code, "XAmzContentSHA256Mismatch") == 0 ||
	    strcmp(r->code, "BadDigest") == 0 ||
	    strcmp(r->code, "InvalidDigest") == 0;
}

static enum s3_next
on_put(struct job *j, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct send	*s = j->s;

	if (why == NULL) {
		mark_sent(s, j->i);
		s->sent.bytes += s->v[j->i].size;
		tell_created(s, j->i);
		return S3_OVER;
	}
	if (is_mangled(r)) {
		if (check_sent(j, e) == -1)
			return S3_FAIL;
		return look_again(j, J_PUT, "it does not arrive as it is "
		    "sent", e);
	}
	if (r->outcome == S3_UNKNOWN)
		j->unknown = 1;
	if (r->outcome == S3_TAKEN && condition(s) != 0)
		return turn(j, J_LOOK, 0);
	if (r->outcome == S3_TAKEN)
		return look_again(j, J_PUT, "the server has a conflict", e);
	if (r->outcome == S3_UNKNOWN && s->o->create && wait >= 0)
		return turn(j, J_LOOK, wait);
	return again_or(wait, why, e);
}

/* What lies there after a PUT that was told no, or nothing? */
static enum s3_next
on_look(struct job *j, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct send	*s = j->s;

	if (why != NULL && r->status == 404)
		return look_again(j, J_PUT, "what was put is not there", e);
	if (why != NULL)
		return again_or(wait, why, e);
	j->unknown = 0;
	if (!is_same(s, j->i, r)) {
		taken(s, j->i, e);
		return S3_FAIL;
	}
	if (is_ours(s, r)) {
		mark_sent(s, j->i);
		s->sent.bytes += s->v[j->i].size;
		tell_created(s, j->i);
	} else
		mark_kept(s, j->i);
	return S3_OVER;
}

static enum s3_next
on_part(struct job *j, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct s3_part	*p = &j->b->v[j->part];

	if (why != NULL && is_mangled(r)) {
		if (check_sent(j, e) == -1)
			return S3_FAIL;
		return look_again(j, J_PART, "a part does not arrive as it "
		    "is sent", e);
	}
	if (why != NULL && strcmp(r->code, "NoSuchUpload") == 0) {
		j->b->lost = 1;
		return S3_OVER;
	}
	if (why != NULL)
		return again_or(wait, why, e);
	if (r->etag == NULL || strlen(r->etag) >= sizeof(p->etag)) {
		err_set(e, MSG_TEMPFAIL, "s3://%s/%s: part %u: the server "
		    "gives no ETag", j->s->bucket, j->s->v[j->i].key,
		    p->number);
		return S3_FAIL;
	}
	(void)snprintf(p->etag, sizeof(p->etag), "%s", r->etag);
	j->s->sent.bytes += p->size;
	return S3_OVER;
}

static enum s3_next
on_answer(struct s3_job *sj, const struct s3_res *r, const struct err *why,
    double wait, struct err *e)
{
	struct job	*j = (struct job *)sj;

	switch (j->is) {
	case J_HEAD:
		return on_head(j, r, why, wait, e);
	case J_PUT:
		return on_put(j, r, why, wait, e);
	case J_LOOK:
		return on_look(j, r, why, wait, e);
	case J_PART:
		return on_part(j, r, why, wait, e);
	}
	return S3_FAIL;
}

static void
drop_job(struct s3_job *sj, int sent)
{
	struct job	*j = (struct job *)sj;
	struct send	*s = j->s;

	if (j->is == J_PART)
		j->b->under_way--;
	else if (!s->it[j->i].done && (j->unknown || (j->is == J_PUT &&
	    sent))) {
		s->maybe = mem_grow(s->maybe, &s->maybe_cap, s->n_maybe + 1,
		    sizeof(*s->maybe));
		s->maybe[s->n_maybe++] = j->i;
	}
	if (j->fd != -1)
		(void)close(j->fd);
	free(j);
}

static const struct s3_job_ops	job_ops = { ask_job, on_answer, drop_job };

/*
 * Uploads in parts.  What waits here is called from more alone.
 */

static void
free_big(struct send *s, struct big *b)
{
	struct big	**p;

	for (p = &s->bigs; *p != b; p = &(*p)->next_big)
		continue;
	*p = b->next_big;
	if (b->fd != -1)
		(void)close(b->fd);
	hash_free(b->whole);
	free(b->id);
	free(b->v);
	free(b);
}

static int
on_have(void *arg, const struct s3_part *p, struct err *e)
{
	struct big	*b = arg;

	(void)e;
	/* of another size, or behind our end: none of ours */
	if (p->number < 1 || p->number > b->n ||
	    p->size != b->v[p->number - 1].size)
		b->lost = 1;
	else
		(void)snprintf(b->v[p->number - 1].etag,
		    sizeof(b->v->etag), "%s", p->etag);
	return 0;
}

static void
forget_parts(struct big *b)
{
	unsigned int	i;

	for (i = 0; i < b->n; i++)
		b->v[i].etag[0] = '\0';
	b->lost = 0;
}

/* "md5" as an ETag has it, with quotes; suffix is "" or "-N". */
static void
etag_of(struct hash *md5, const char *suffix, char out[ETAG_MAX])
{
	unsigned char	d[HASH_MD5];
	size_t		i, at = 1;

	hash_md5_final(md5, d);
	out[0] = '"';
	for (i = 0; i < HASH_MD5; i++, at += 2)
		(void)snprintf(out + at, ETAG_MAX - at, "%02x", d[i]);
	(void)snprintf(out + at, ETAG_MAX - at, "%s\"", suffix);
}

/* Is part i, that lies there, what we would send?  1, 0, -1. */
static int
is_piece(const struct send *s, const struct big *b, unsigned int i,
    struct err *e)
{
	struct hash	*h = hash_md5_new();
	char		 tag[ETAG_MAX];
	int		 rv;

	if (h == NULL)
		return 0; /* nobody knows: it is sent again */
	rv = digest(s, b->i, b->fd, i * b->each, b->v[i].size, h, NULL, e);
	etag_of(h, "", tag);
	hash_free(h);
	return rv == -1 ? -1 : strcmp(tag, b->v[i].etag) == 0;
}

/* Are all parts that lie there pieces of our file, and is there any? */
static int
fits(struct send *s, struct big *b, const char *id, struct err *e)
{
	struct err	one = { 0, "" };
	unsigned int	i, n = 0;
	int		r;

	forget_parts(b);
	if (s3_mp_parts(s->s, s->bucket, s->v[b->i].key, id, on_have, b,
	    &one) == -1)
		return one.code == MSG_NOINPUT ? 0 :
		    err_set(e, one.code, "%s", one.text);
	for (i = 0; i < b->n && !b->lost; i++) {
		if (b->v[i].etag[0] == '\0')
			continue;
		n++;
		if ((r = is_piece(s, b, i, e)) == -1)
			return -1;
		b->lost = !r;
		/* the others must not starve meanwhile */
		if (net_wait(s3_net(s->s), 0, e) == -1)
			return -1;
	}
	return n > 0 && !b->lost;
}

/* Is one that was found, and is not ours, to be removed? */
static int
is_litter(const struct send *s, const struct left *l)
{
	if (!s->o->create || s->o->locked)
		return 1; /* nobody else writes there */
	return l->initiated > 0 &&
	    io_wall_ns() - l->initiated > SEND_STALE_NS;
}

/* One to go on with: the newest that fits. The others go. */
static int
find_left(struct send *s, struct big *b, struct err *e)
{
	struct left	*l;
	size_t		 k;
	int		 r;

	/* by the time of their beginning, the newest first */
	for (k = 0; k < s->n_left; k++) {
		l = &s->left[k];
		if (l->i != b->i || l->id == NULL)
			continue;
		r = b->id == NULL ? fits(s, b, l->id, e) : 0;
		if (r == -1)
			return -1;
		if (r == 1) {
			b->id = l->id;
			b->resumed = 1;
			l->id = NULL;
			continue;
		}
		if (b->id == NULL)
			forget_parts(b);
		if (is_litter(s, l) && s3_mp_abort(s->s, s->bucket,
		    s->v[b->i].key, l->id, e) == -1)
			return -1;
		free(l->id);
		l->id = NULL;
	}
	return 0;
}

/* An upload of our own, from its first part. */
static int
create_upload(struct send *s, struct big *b, struct err *e)
{
	const char	*meta[4];
	char		 line[SEND_LINE];
	int		 tries = 0;
	struct err	 one;

	if (b->begun++ == SEND_ANEW)
		return err_set(e, MSG_TEMPFAIL, "s3://%s/%s: its upload in "
		    "parts was lost, %d times", s->bucket, s->v[b->i].key,
		    SEND_ANEW);
	set_meta(s, b->i, line, meta);
	free(b->id);
	b->resumed = 0;
	forget_parts(b);
	for (;;) {
		one.code = 0;
		b->id = s3_mp_create(s->s, s->bucket, s->v[b->i].key, meta,
		    &one);
		if (b->id != NULL)
			return 0;
		/* it may have been created all the same */
		s->litter |= one.code == MSG_TEMPFAIL;
		if (one.code != MSG_TEMPFAIL || ++tries == SEND_LOOKS ||
		    io_signal() != 0)
			return err_set(e, one.code, "%s", one.text);
		if (pool_pause(&s->pool, delay((unsigned int)tries), e) == -1)
			return -1;
	}
}

static int
begin_big(struct send *s, size_t i, struct err *e)
{
	struct big	*b = mem_zero(1, sizeof(*b));
	unsigned int	 k;

	b->next_big = s->bigs;
	s->bigs = b;
	b->i = i;
	b->whole = hash_new();
	b->each = S3_SEND_PART;
	while ((s->v[i].size + b->each - 1) / b->each > S3_PARTS_MAX)
		b->each *= 2;
	b->n = (unsigned int)((s->v[i].size + b->each - 1) / b->each);
	b->v = mem_zero(b->n, sizeof(*b->v));
	for (k = 0; k < b->n; k++) {
		b->v[k].number = k + 1;
		b->v[k].size = k + 1 < b->n ? b->each :
		    s->v[i].size - k * b->each;
	}
	if ((b->fd = open_file(s, i, e)) == -1 || find_left(s, b, e) == -1)
		return -1;
	return b->id != NULL ? 0 : create_upload(s, b, e);
}

/* The next part: 1 a job, 0 it is there already, -1. */
static int
next_part(struct send *s, struct big *b, struct job **out, struct err *e)
{
	struct s3_part	*p = &b->v[b->next];
	struct hash	*h = p->etag[0] == '\0' ? hash_new() : NULL;
	unsigned char	 d[HASH_LEN];
	struct job	*j = NULL;

	if (digest(s, b->i, b->fd, b->next * b->each, p->size, b->whole, h,
	    e) == -1) {
		hash_free(h);
		return -1;
	}
	if (h != NULL) {
		j = new_job(s, b->i, J_PART);
		j->b = b;
		j->part = b->next;
		hash_final(h, d);
		hash_hex(d, j->sha);
		hash_free(h);
		b->under_way++;
	} else {
		b->kept += p->size;
		s->sent.kept_bytes += p->size;
	}
	/* before the last one goes: is it the file that was meant? */
	if (++b->next == b->n && check_whole(s, b->i, b->whole, e) == -1) {
		if (j != NULL)
			drop_job(&j->j, 0);
		return -1;
	}
	*out = j;
	return j != NULL;
}

/* 0 not there, 1 the same, 2 something else; -1 *e. */
static int
look(struct send *s, size_t i, struct s3_res *r, struct err *e)
{
	struct err	one = { 0, "" };

	s3_res_clear(r);
	if (s3_head(s->s, s->bucket, s->v[i].key, r, &one) == 0)
		return is_same(s, i, r) ? 1 : 2;
	if (r->status == 404)
		return 0;
	return err_set(e, one.code, "%s", one.text);
}

/* Has an object of these parts this ETag? */
static int
is_of_parts(const struct big *b, const char *etag)
{
	struct hash	*h = hash_md5_new();
	char		 want[ETAG_MAX], suffix[16];
	unsigned char	 d;
	unsigned int	 i, k, c;

	if (h == NULL || etag == NULL) {
		hash_free(h);
		return 0;
	}
	for (i = 0; i < b->n; i++)
		for (k = 0; k < HASH_MD5; k++) {
			if (sscanf(b->v[i].etag + 1 + 2 * k, "%2x", &c) != 1)
				c = 0;
			d = (unsigned char)c;
			hash_add(h, &d, 1);
		}
	(void)snprintf(suffix, sizeof(suffix), "-%u", b->n);
	etag_of(h, suffix, want);
	hash_free(h);
	return strcmp(etag, want) == 0;
}

static int
count_part(void *arg, const struct s3_part *p, struct err *e)
{
	(void)p;
	(void)e;
	*(int *)arg = 1;
	return -1;
}

/* Is the upload still there?  1, 0, -1. */
static int
is_open(struct send *s, struct big *b, struct err *e)
{
	struct err	one = { 0, "" };
	int		any = 0;

	if (s3_mp_parts(s->s, s->bucket, s->v[b->i].key, b->id, count_part,
	    &any, &one) == 0)
		return 1;
	return one.code == MSG_NOINPUT ? 0 :
	    err_set(e, one.code, "%s", one.text);
}

static void
big_over(struct send *s, struct big *b, int created)
{
	if (created) {
		mark_sent(s, b->i);
		tell_created(s, b->i);
	} else {
		/* what was sent of it was for nothing */
		mark_kept(s, b->i);
	}
	free_big(s, b);
}

static int
anew(struct send *s, struct big *b, struct err *e)
{
	/* it is of no use any more, but may be another's who began it */
	if ((!b->resumed || condition(s) == 0) && s3_mp_abort(s->s,
	    s->bucket, s->v[b->i].key, b->id, e) == -1)
		return -1;
	b->next = 0;
	hash_reset(b->whole);
	s->sent.kept_bytes -= b->kept;
	b->kept = 0;
	return create_upload(s, b, e);
}

/* It says it is complete: what is there now? 0 over or begun anew. */
static int
after_complete(struct send *s, struct big *b, struct s3_res *r,
    struct err *e)
{
	int	is = look(s, b->i, r, e);

	switch (is) {
	case -1:
		return -1;
	case 1:
		big_over(s, b, 1);
		return 0;
	case 0:
		return err_set(e, MSG_TEMPFAIL, "s3://%s/%s: it was complete, "
		    "and is not there", s->bucket, s->v[b->i].key);
	default:
		break;
	}
	/* our bytes under the digest of another's upload: take it away */
	if (b->resumed && is_of_parts(b, r->etag)) {
		if (s3_delete(s->s, s->bucket, s->v[b->i].key, e) == -1)
			return -1;
		return anew(s, b, e);
	}
	return taken(s, b->i, e);
}

/* Nobody said that it is complete.  1: ask again; 0 over; -1. */
static int
after_doubt(struct send *s, struct big *b, struct s3_res *r, int refused,
    struct err *e)
{
	int	is = look(s, b->i, r, e), open;

	if (is == -1)
		return -1;
	if (is == 1) {
		if (is_ours(s, r) || b->resumed) {
			open = is_open(s, b, e);
			if (open == -1)
				return -1;
			if (!open) {
				big_over(s, b, 1);
				return 0;
			}
		}
		/* the same, by another upload */
		if (s3_mp_abort(s->s, s->bucket, s->v[b->i].key, b->id, e) ==
		    -1)
			return -1;
		big_over(s, b, 0);
		return 0;
	}
	if (is == 2 && s->o->create)
		return taken(s, b->i, e);
	open = is_open(s, b, e);
	if (open == 1)
		return refused || b->lost ? anew(s, b, e) : 1;
	return open == -1 ? -1 : anew(s, b, e);
}

/*
 * All parts are there: make them one object.  A complete is never asked
 * for again before a look.  With create, what is there is looked at
 * before, too: there are servers that complete over another object and do
 * not heed If-None-Match; for them that look is all there is, and two who
 * complete at the same moment both win.
 */
static int
finish_big(struct send *s, struct big *b, struct err *e)
{
	struct s3_res	 r;
	struct err	 one;
	const char	*key = s->v[b->i].key;
	unsigned int	 k;
	int		 rv = 1, refused;

	memset(&r, 0, sizeof(r));
	if (s->o->create && !b->lost) {
		rv = look(s, b->i, &r, e);
		if (rv == 2)
			rv = taken(s, b->i, e);
		else if (rv == 1) {
			rv = s3_mp_abort(s->s, s->bucket, key, b->id, e);
			if (rv == 0)
				big_over(s, b, 0);
			goto done;
		} else if (rv == 0)
			rv = 1;
	}
	for (k = 1; rv == 1; k++) {
		one.code = 0;
		s3_res_clear(&r);
		if (!b->lost && s3_mp_complete(s->s, s->bucket, key, b->id,
		    b->v, b->n, condition(s), &r, &one) == 0) {
			rv = after_complete(s, b, &r, e);
			break;
		}
		/* such as a part that it does not know any more */
		refused = !b->lost && r.outcome == S3_REFUSED &&
		    one.code == MSG_DATAERR;
		if (!b->lost && r.outcome == S3_REFUSED && !refused &&
		    one.code != MSG_TEMPFAIL) {
			rv = err_set(e, one.code, "%s", one.text);
			break;
		}
		rv = io_signal() != 0 ? err_set(e, one.code, "%s",
		    one.text) : after_doubt(s, b, &r, refused, e);
		if (rv == 1 && k == SEND_LOOKS)
			rv = err_set(e, MSG_TEMPFAIL, "%s", one.text);
		if (rv == 1)
			rv = pool_pause(&s->pool, delay(k), e) == -1 ? -1 : 1;
	}
done:
	s3_res_clear(&r);
	return rv;
}

/*
 * The order of things.
 */

static int
more_heads(void *arg, struct s3_job **out, struct err *e)
{
	struct send	*s = arg;

	(void)e;
	for (; s->at < s->end; s->at++)
		if (s->it[s->at].listed == IT_SIZE) {
			*out = &new_job(s, s->at++, J_HEAD)->j;
			return 1;
		}
	return 0;
}

static int
more_files(void *arg, struct s3_job **out, struct err *e)
{
	struct send	*s = arg;
	struct big	*b;
	struct job	*j = NULL;
	int		 r;

	for (;;) {
		for (b = s->bigs; b != NULL; b = b->next_big)
			if ((b->next < b->n && !b->lost) ||
			    b->under_way == 0)
				break;
		if (b != NULL && b->next < b->n && !b->lost) {
			if ((r = next_part(s, b, &j, e)) == 1)
				*out = &j->j;
			if (r != 0)
				return r;
		} else if (b != NULL) {
			if (finish_big(s, b, e) == -1)
				return -1;
		} else {
			while (s->at < s->end && s->it[s->at].done)
				s->at++;
			if (s->at == s->end)
				return 0;
			if (!is_big(s, s->at)) {
				*out = &new_job(s, s->at++, J_PUT)->j;
				return 1;
			}
			if (begin_big(s, s->at++, e) == -1)
				return -1;
		}
	}
}

static int
run(struct send *s, size_t at, size_t end, int (*more)(void *,
    struct s3_job **, struct err *), struct err *e)
{
	s->at = at;
	s->end = end;
	return pool_run(&s->pool, more, s, e);
}

/*
 * What is there.
 */

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct keyed *)a)->key,
	    ((const struct keyed *)b)->key);
}

/* The file of a key, or n. */
static size_t
find(const struct send *s, const char *key)
{
	size_t	lo = 0, hi = s->n, mid;
	int	c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		c = strcmp(key, s->by_key[mid].key);
		if (c == 0)
			return s->by_key[mid].i;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return s->n;
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct send	*s = arg;
	size_t		 i = find(s, o->key);

	if (i == s->n)
		return 0;
	s->it[i].listed = o->size == s->v[i].size ? IT_SIZE : IT_OTHER;
	return s->it[i].listed == IT_OTHER && s->o->create ?
	    taken(s, i, e) : 0;
}

static int
on_upload(void *arg, const struct s3_upload *u, struct err *e)
{
	struct send	*s = arg;
	size_t		 i = find(s, u->key);

	if (i < s->n && is_big(s, i)) {
		s->left = mem_grow(s->left, &s->left_cap, s->n_left + 1,
		    sizeof(*s->left));
		s->left[s->n_left].i = i;
		s->left[s->n_left].id = mem_dup(u->id);
		s->left[s->n_left++].initiated = u->initiated;
		return 0;
	}
	return s->o->create ? 0 : s3_mp_abort(s->s, s->bucket, u->key, u->id,
	    e);
}

static int
newest_first(const void *a, const void *b)
{
	const struct left	*x = a, *y = b;

	return x->initiated != y->initiated ?
	    (x->initiated < y->initiated) - (x->initiated > y->initiated) :
	    strcmp(y->id, x->id);
}

/* Uploads of files that are there already. */
static int
sweep(struct send *s, struct err *e)
{
	size_t	k;

	for (k = 0; k < s->n_left; k++)
		if (s->left[k].id != NULL && s->it[s->left[k].i].done &&
		    is_litter(s, &s->left[k]) && s3_mp_abort(s->s, s->bucket,
		    s->v[s->left[k].i].key, s->left[k].id, e) == -1)
			return -1;
	return 0;
}

/* All is there: no upload of it is wanted any more. */
static int
abort_any(void *arg, const struct s3_upload *u, struct err *e)
{
	struct send	*s = arg;

	return find(s, u->key) == s->n ? 0 : s3_mp_abort(s->s, s->bucket,
	    u->key, u->id, e);
}

static int
see(struct send *s, const char *prefix, struct err *e)
{
	size_t	i;
	int	any = !s->o->create;

	for (i = 0; i < s->n; i++)
		any |= is_big(s, i);
	if (s3_list(s->s, s->bucket, prefix, NULL, NULL, on_object, s, e) ==
	    -1)
		return -1;
	if (any && s3_mp_list(s->s, s->bucket, prefix, on_upload, s, e) ==
	    -1)
		return -1;
	if (s->n_left > 0)
		qsort(s->left, s->n_left, sizeof(*s->left), newest_first);
	return 0;
}

/* It failed: what may be there, and what is to be gone on with? */
static void
clean(struct send *s, int code)
{
	struct s3_res	 r;
	struct err	 ignored = { 0, "" };
	size_t		 k;
	int		 for_good = io_signal() == 0 && (s->o->give_up ||
			    (code != MSG_TEMPFAIL && code != MSG_IOERR));

	memset(&r, 0, sizeof(r));
	while (s->bigs != NULL) {
		if (for_good && s->bigs->id != NULL && ignored.code == 0)
			(void)s3_mp_abort(s->s, s->bucket,
			    s->v[s->bigs->i].key, s->bigs->id, &ignored);
		free_big(s, s->bigs);
	}
	ignored.code = 0;
	for (k = 0; k < s->n_maybe; k++) {
		if (!s->o->create)
			tell_created(s, s->maybe[k]);
		else if (io_signal() == 0 && ignored.code == 0 &&
		    look(s, s->maybe[k], &r, &ignored) == 1 &&
		    is_ours(s, &r))
			tell_created(s, s->maybe[k]);
	}
	s3_res_clear(&r);
}

static int
send_all(struct send *s, const char *prefix, struct err *e)
{
	size_t	i, n_prefix = strlen(prefix);

	for (i = 0; i < s->n; i++)
		if (strncmp(s->v[i].key, prefix, n_prefix) != 0)
			return err_set(e, MSG_SOFTWARE, "%s: not below %s",
			    s->v[i].key, prefix);
	if (io_random_hex(s->put, SEND_PUT_LEN, e) == -1 ||
	    see(s, prefix, e) == -1 ||
	    run(s, 0, s->n, more_heads, e) == -1 || sweep(s, e) == -1)
		return -1;
	(void)snprintf(s->put_line, SEND_LINE, META_PUT ": %s", s->put);
	if (s->o->run != NULL && (size_t)snprintf(s->run_line, SEND_LINE,
	    META_RUN ": %s", s->o->run) >= SEND_LINE)
		return err_set(e, MSG_SOFTWARE, "%s: too long for the name "
		    "of a run", s->o->run);
	if (run(s, 0, s->n - 1, more_files, e) == -1 ||
	    run(s, s->n - 1, s->n, more_files, e) == -1)
		return -1;
	/* with create, one that is not ours may be another's */
	return s->litter && (!s->o->create || s->o->locked) ?
	    s3_mp_list(s->s, s->bucket, prefix, abort_any, s, e) : 0;
}

int
s3_send(struct s3 *s3, struct retry *r, const char *bucket,
    const char *prefix, int dirfd, const struct s3_file *v, size_t n,
    const struct s3_send_opts *o, struct s3_sent *sent, struct err *e)
{
	struct send	 s;
	struct err	 mine = { 0, "" };
	size_t		 i;
	int		 rv;

	memset(&s, 0, sizeof(s));
	if (sent != NULL)
		*sent = s.sent;
	if (n == 0)
		return 0;
	pool_init(&s.pool, s3, r, o->parallel > 0 ? o->parallel :
	    S3_SEND_PARALLEL);
	s.s = s3;
	s.bucket = bucket;
	s.dirfd = dirfd;
	s.v = v;
	s.n = n;
	s.o = o;
	s.it = mem_zero(n, sizeof(*s.it));
	s.by_key = mem_zero(n, sizeof(*s.by_key));
	for (i = 0; i < n; i++)
		s.by_key[i] = (struct keyed){ v[i].key, i };
	qsort(s.by_key, n, sizeof(*s.by_key), by_key);
	rv = send_all(&s, prefix, &mine);
	if (rv == -1) {
		clean(&s, mine.code);
		err_set(e, mine.code, "%s", mine.text);
	}
	s.sent.retries = s.pool.retries;
	if (sent != NULL)
		*sent = s.sent;
	for (i = 0; i < s.n_left; i++)
		free(s.left[i].id);
	free(s.left);
	free(s.maybe);
	free(s.by_key);
	free(s.it);
	return rv;
}
