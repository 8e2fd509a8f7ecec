/*
 * s3_send_job: requests for one file and what their answers mean.  It never
 * takes an ETag of an object for its digest.
 * SPDX-License-Identifier: ISC
 */
#include "s3_send_job.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "retry.h"
#include "banned.h"

#define SEND_PIECE	((size_t)256 << 10)	/* bytes read at once */
#define META_SHA	"x-amz-meta-intact-sha256"

static const struct s3_job_ops	job_ops;

void
send_set_meta(struct send *s, size_t i, char line[SEND_LINE],
    const char *meta[4])
{
	size_t	n = 0;

	(void)snprintf(line, SEND_LINE, META_SHA ": %s", s->v[i].sha256);
	meta[n++] = line;
	meta[n++] = s->put_line;
	if (s->o->run != NULL)
		meta[n++] = s->run_line;
	meta[n] = NULL;
}

unsigned int
send_condition(const struct send *s)
{
	return s->o->create && !s->o->locked ? S3_IF_NONE : 0;
}

int
send_is_big(const struct send *s, size_t i)
{
	return s->v[i].size > S3_SEND_BIG;
}

int
send_is_same(const struct send *s, size_t i, const struct s3_res *r)
{
	char	*sha = s3_header(r, META_SHA);
	int	 rv = sha != NULL && r->length >= 0 &&
		    (uint64_t)r->length == s->v[i].size &&
		    strcmp(sha, s->v[i].sha256) == 0;

	free(sha);
	return rv;
}

int
send_is_ours(const struct send *s, const struct s3_res *r)
{
	char	*put = s3_header(r, SEND_META_PUT);
	int	 rv = put != NULL && strcmp(put, s->put) == 0;

	free(put);
	return rv;
}

int
send_taken(const struct send *s, size_t i, struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "s3://%s/%s: something else is there "
	    "already; want %llu bytes of SHA-256 %s", s->bucket, s->v[i].key,
	    (unsigned long long)s->v[i].size, s->v[i].sha256);
}

void
send_tell(struct send *s, size_t i)
{
	if (s->o->created != NULL && (s->o->create ||
	    s->it[i].listed == IT_ABSENT))
		s->o->created(s->o->arg, s->v[i].key);
}

void
send_mark_sent(struct send *s, size_t i)
{
	s->it[i].done = 1;
	s->sent.objects++;
}

void
send_mark_kept(struct send *s, size_t i)
{
	s->it[i].done = 1;
	s->sent.kept++;
	s->sent.kept_bytes += s->v[i].size;
}

int
send_look(struct send *s, size_t i, struct s3_res *r, struct err *e)
{
	struct err	one = { 0, "" };

	s3_res_clear(r);
	if (s3_head(s->s, s->bucket, s->v[i].key, r, &one) == 0)
		return send_is_same(s, i, r) ? 1 : 2;
	if (r->status == 404)
		return 0;
	return err_set(e, one.code, "%s", one.text);
}

/*
 * Files.
 */

int
send_open(const struct send *s, size_t i, struct err *e)
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

int
send_digest(const struct send *s, size_t i, int fd, uint64_t off, uint64_t n,
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

int
send_check_whole(const struct send *s, size_t i, struct hash *h, struct err *e)
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
		rv = send_digest(s, j->i, j->fd, 0, s->v[j->i].size, h, NULL,
		    e);
		if (rv == 0)
			rv = send_check_whole(s, j->i, h, e);
	} else {
		off = j->part * j->b->each;
		n = j->b->v[j->part].size;
		rv = send_digest(s, j->i, j->b->fd, off, n, h, NULL, e);
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

struct job *
send_job(struct send *s, size_t i, int is)
{
	struct job	*j = mem_zero(1, sizeof(*j));

	j->j.ops = &job_ops;
	j->j.small = is == J_HEAD;
	j->s = s;
	j->i = i;
	j->is = is;
	j->fd = -1;
	send_set_meta(s, i, j->sha_line, j->meta);
	return j;
}

static int
ask_put(struct job *j, struct s3_req *q, struct err *e)
{
	struct send	*s = j->s;

	if (j->fd == -1 && (j->fd = send_open(s, j->i, e)) == -1)
		return -1;
	q->method = "PUT";
	q->headers = j->meta;
	q->fd = j->fd;
	q->n = s->v[j->i].size;
	q->sha256 = s->v[j->i].sha256;
	/* what a server that knows of it gives back to s3_prove */
	q->flags = S3_CHECKSUM | send_condition(s);
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
	else if (send_is_same(s, j->i, r))
		send_mark_kept(s, j->i);
	else if (s->o->create) {
		send_taken(s, j->i, e);
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

double
send_delay(unsigned int looks)
{
	double	d = retry_delay(looks + 1, -1, 0.5);

	return d < 0 ? RETRY_CAP : d;
}

static enum s3_next
look_again(struct job *j, int to, const char *why, struct err *e)
{
	if (j->looks++ < SEND_LOOKS)
		return turn(j, to, send_delay(j->looks));
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
		send_mark_sent(s, j->i);
		s->sent.bytes += s->v[j->i].size;
		send_tell(s, j->i);
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
	if (r->outcome == S3_TAKEN && send_condition(s) != 0)
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
	if (!send_is_same(s, j->i, r)) {
		send_taken(s, j->i, e);
		return S3_FAIL;
	}
	if (send_is_ours(s, r)) {
		send_mark_sent(s, j->i);
		s->sent.bytes += s->v[j->i].size;
		send_tell(s, j->i);
	} else
		send_mark_kept(s, j->i);
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

void
send_drop(struct s3_job *sj, int sent)
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

static const struct s3_job_ops	job_ops = { ask_job, on_answer, send_drop };
