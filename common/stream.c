/*
 * stream: frames in and out.  It never treats the end of the file as the
 * end of the stream, and never looks into a record's meaning beyond its
 * type and, to show it to people, its usual keys.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* tee, where there is one */
#include "stream.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define STREAM_CHUNK	((size_t)64 * 1024)
#define STREAM_LINE_MAX	(8 * REC_MAX)	/* a record as JSON with escapes */

struct stream_in {
	int		 fd;
	int		 json;
	unsigned char	*p;		/* read but not consumed: [pos,len) */
	size_t		 pos, len, cap;
	int		 eof;
	int		 hello;		/* HELLO was read */
	int		 over;		/* END, FAIL or an error was given */
	enum stream_event last;
	struct rec	*rec;
	uint64_t	 n;		/* records so far, for messages */
	int		 trace;
};

struct stream_out {
	int		 fd;
	enum stream_mode mode;
	int		 trace;
};

static void
trace(int on, const char *dir, const struct rec *r)
{
	struct buf	b;

	if (!on)
		return;
	buf_init(&b, STREAM_LINE_MAX);
	buf_printf(&b, "%s %s ", msg_prog(), dir);
	rec_to_json(r, &b);
	buf_addc(&b, '\n');
	(void)io_write(STDERR_FILENO, b.p, b.len);
	buf_free(&b);
}

/* The first bytes in the pipe fd, which stay there; 0 where nobody can say. */
static size_t
peek(int fd, unsigned char *p, size_t n)
{
	ssize_t	r = 0;
#ifdef __linux__
	int	to[2];

	if (pipe(to) == -1)
		return 0;
	if (tee(fd, to[1], n, SPLICE_F_NONBLOCK) > 0)
		r = read(to[0], p, n);
	(void)close(to[0]);
	(void)close(to[1]);
#else
	(void)fd;
	(void)p;
	(void)n;
#endif
	return r > 0 ? (size_t)r : 0;
}

int
stream_unread(int last, struct err *e)
{
	static const char	 mp[] = "\xa1t\xa5hello";
	static const char	 js[] = "{\"t\":\"hello\"";
	unsigned char		 p[64];
	struct stat		 st;
	size_t			 n;
	int			 fd;

	if (fstat(STDIN_FILENO, &st) == -1 || !S_ISFIFO(st.st_mode))
		return 0;
	n = peek(STDIN_FILENO, p, sizeof(p));
	if ((n > sizeof(mp) && (p[0] & 0xf0) == 0x80 &&
	    memcmp(p + 1, mp, sizeof(mp) - 1) == 0) ||
	    (n >= sizeof(js) && memcmp(p, js, sizeof(js) - 1) == 0))
		return err_set(e, MSG_USAGE, "stdin: a stream, which %s does "
		    "not read when called like this: what the stage before it "
		    "wrote would be lost", msg_prog());
	if (!last)
		return 0;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "/dev/null");
	if (dup2(fd, STDIN_FILENO) == -1)
		err_sys(e, errno, "stdin");
	(void)close(fd);
	return e->code == 0 ? 0 : -1;
}

struct stream_in *
stream_in_new(int fd, int json)
{
	struct stream_in	*s = mem_zero(1, sizeof(*s));

	s->fd = fd;
	s->json = json;
	s->trace = getenv("DTRACE") != NULL;
	return s;
}

void
stream_in_free(struct stream_in *s)
{
	if (s == NULL)
		return;
	rec_free(s->rec);
	free(s->p);
	free(s);
}

int
stream_pending(const struct stream_in *s)
{
	return s->pos < s->len;
}

int
stream_ready(const struct stream_in *s)
{
	const char	*why;
	size_t		 n;

	if (s->over || s->pos == s->len)
		return 0;
	if (s->json)
		return memchr(s->p + s->pos, '\n', s->len - s->pos) != NULL;
	return rec_scan(s->p + s->pos, s->len - s->pos, &n, &why) !=
	    REC_SCAN_MORE;
}

static enum stream_event
stop(struct stream_in *s, enum stream_event ev)
{
	s->over = 1;
	s->last = ev;
	return ev;
}

/* More bytes behind those there are: 1, 0 at the end of file, -1. */
static int
fill(struct stream_in *s)
{
	ssize_t	n;

	if (s->eof)
		return 0;
	if (s->pos > 0) {
		memmove(s->p, s->p + s->pos, s->len - s->pos);
		s->len -= s->pos;
		s->pos = 0;
	}
	s->p = mem_grow(s->p, &s->cap, s->len + STREAM_CHUNK, 1);
	if (io_await(s->fd) == -1)
		return -1;
	n = io_read_some(s->fd, s->p + s->len, STREAM_CHUNK);
	if (n == -1)
		return -1;
	if (n == 0) {
		s->eof = 1;
		return 0;
	}
	s->len += (size_t)n;
	return 1;
}

static enum stream_event
read_failed(struct stream_in *s, struct err *e)
{
	if (errno == EINTR && io_signal() != 0)
		err_set(e, MSG_PROTOCOL, "stopped by signal %d", io_signal());
	else
		err_sys(e, errno, "stdin");
	return stop(s, STREAM_IOERR);
}

/*
 * The next record's extent at s->pos in msgpack: 1, 0 when the input ended
 * between records, or -1 with *ev.
 */
static int
frame_msgpack(struct stream_in *s, size_t *n, enum stream_event *ev,
    struct err *e)
{
	const char	*why = NULL;
	int		 r;

	for (;;) {
		if (s->pos < s->len) {
			switch (rec_scan(s->p + s->pos, s->len - s->pos, n,
			    &why)) {
			case REC_SCAN_OK:
				return 1;
			case REC_SCAN_BAD:
				err_set(e, MSG_PROTOCOL,
				    "stream: record %llu: %s",
				    (unsigned long long)s->n + 1, why);
				*ev = stop(s, STREAM_BAD);
				return -1;
			case REC_SCAN_MORE:
				break;
			}
		}
		r = fill(s);
		if (r == -1) {
			*ev = read_failed(s, e);
			return -1;
		}
		if (r == 0)
			break;
	}
	if (s->pos == s->len)
		return 0;
	err_set(e, MSG_PROTOCOL, "stream: ends inside record %llu",
	    (unsigned long long)s->n + 1);
	*ev = stop(s, STREAM_CUT);
	return -1;
}

/* The same for a line of JSON, without its newline. */
static int
frame_json(struct stream_in *s, size_t *n, enum stream_event *ev,
    struct err *e)
{
	unsigned char	*nl;
	size_t		 seen = 0;
	int		 r;

	for (;;) {
		nl = s->len - s->pos > seen ? memchr(s->p + s->pos + seen,
		    '\n', s->len - s->pos - seen) : NULL;
		if (nl != NULL) {
			*n = (size_t)(nl - (s->p + s->pos));
			return 1;
		}
		seen = s->len - s->pos;
		if (seen > STREAM_LINE_MAX) {
			err_set(e, MSG_PROTOCOL,
			    "stream: line %llu: longer than %zu bytes",
			    (unsigned long long)s->n + 1, STREAM_LINE_MAX);
			*ev = stop(s, STREAM_BAD);
			return -1;
		}
		r = fill(s);
		if (r == -1) {
			*ev = read_failed(s, e);
			return -1;
		}
		if (r == 0)
			break;
	}
	if (s->pos == s->len)
		return 0;
	err_set(e, MSG_PROTOCOL, "stream: ends inside line %llu",
	    (unsigned long long)s->n + 1);
	*ev = stop(s, STREAM_CUT);
	return -1;
}

/* The next record into s->rec: 1, 0 at the end of the file, -1 *ev. */
static int
next(struct stream_in *s, enum stream_event *ev, struct err *e)
{
	struct err	sub = { 0, "" };
	size_t		n = 0;
	int		r;

	rec_free(s->rec);
	s->rec = NULL;
	r = s->json ? frame_json(s, &n, ev, e) : frame_msgpack(s, &n, ev, e);
	if (r != 1)
		return r;
	if (s->json)
		s->rec = rec_from_json((const char *)s->p + s->pos, n, &sub);
	else
		s->rec = rec_parse(s->p + s->pos, n, &sub);
	s->pos += n + (s->json ? 1 : 0);
	s->n++;
	if (s->rec == NULL) {
		err_set(e, MSG_PROTOCOL, "stream: %s %llu: %s",
		    s->json ? "line" : "record", (unsigned long long)s->n,
		    sub.text);
		*ev = stop(s, STREAM_BAD);
		return -1;
	}
	trace(s->trace, "<", s->rec);
	return 1;
}

/* What is no record in one form may well begin one in the other. */
static void
name_form(const struct stream_in *s, struct err *e)
{
	const char	*why = NULL;

	if (s->len == 0 || e->code != MSG_PROTOCOL)
		return;
	if (!s->json && s->p[0] == '{')
		why = "stream: JSON lines: want msgpack, or --json-in here";
	/* a map of up to 15, or of more */
	if (s->json && ((s->p[0] & 0xf0) == 0x80 || s->p[0] == 0xde ||
	    s->p[0] == 0xdf))
		why = "stream: msgpack: want JSON lines, or no --json-in here";
	if (why == NULL)
		return;
	memset(e, 0, sizeof(*e));
	err_set(e, MSG_PROTOCOL, "%s", why);
}

int
stream_read_hello(struct stream_in *s, const struct rec **r, struct err *e)
{
	enum stream_event	ev = STREAM_CUT;
	const char		*run;
	uint64_t		 v;
	int			 n;

	n = next(s, &ev, e);
	if (n == -1) {
		name_form(s, e);
		return (int)ev;
	}
	if (n == 0) {
		err_set(e, MSG_PROTOCOL, "stream: empty: want a hello record");
		return (int)stop(s, STREAM_CUT);
	}
	if (strcmp(rec_type(s->rec), "hello") != 0) {
		err_set(e, MSG_PROTOCOL,
		    "stream: starts with \"%.40s\": want a hello record",
		    rec_type(s->rec));
		return (int)stop(s, STREAM_BAD);
	}
	if (!rec_get_u64(s->rec, "v", &v) || v != STREAM_VERSION) {
		err_set(e, MSG_PROTOCOL,
		    "stream: hello: want format version %d", STREAM_VERSION);
		return (int)stop(s, STREAM_BAD);
	}
	if (!rec_get_str(s->rec, "run", &run) || *run == '\0') {
		err_set(e, MSG_PROTOCOL, "stream: hello: want a run id");
		return (int)stop(s, STREAM_BAD);
	}
	s->hello = 1;
	*r = s->rec;
	return 0;
}

/* END and FAIL are the last thing: a byte after them breaks the stream. */
static enum stream_event
last(struct stream_in *s, enum stream_event ev, struct err *e)
{
	int	r = s->pos < s->len ? 1 : fill(s);

	if (r == -1)
		return read_failed(s, e);
	if (r == 1) {
		err_set(e, MSG_PROTOCOL, "stream: bytes after the %s record",
		    ev == STREAM_END ? "end" : "fail");
		return stop(s, STREAM_BAD);
	}
	return stop(s, ev);
}

enum stream_event
stream_read(struct stream_in *s, const struct rec **r, struct err *e)
{
	enum stream_event	ev = STREAM_BAD;
	const char		*t;
	int			 n;

	*r = NULL;
	if (s->over) {
		err_set(e, MSG_PROTOCOL, "stream: read past its end");
		return s->last == STREAM_END || s->last == STREAM_FAIL ?
		    STREAM_BAD : s->last;
	}
	n = next(s, &ev, e);
	if (n == -1)
		return ev;
	if (n == 0) {
		err_set(e, MSG_PROTOCOL,
		    "stream: ended without an end record: upstream died");
		return stop(s, STREAM_CUT);
	}
	*r = s->rec;
	t = rec_type(s->rec);
	if (strcmp(t, "end") == 0)
		return last(s, STREAM_END, e);
	if (strcmp(t, "fail") == 0)
		return last(s, STREAM_FAIL, e);
	if (*t == '\0' || strcmp(t, "hello") == 0) {
		err_set(e, MSG_PROTOCOL, "stream: record %llu: %s",
		    (unsigned long long)s->n, *t == '\0' ?
		    "no type (key \"t\")" : "a second hello");
		return stop(s, STREAM_BAD);
	}
	if (*t >= 'A' && *t <= 'Z') {
		err_set(e, MSG_PROTOCOL, "stream: record %llu: type "
		    "\"%.40s\" must be understood, and is not",
		    (unsigned long long)s->n, t);
		return stop(s, STREAM_BAD);
	}
	return STREAM_REC;
}

enum stream_event
stream_replay(const void *p, size_t n, size_t *n_records, struct err *e)
{
	struct stream_in	*s = stream_in_new(-1, 0);
	const struct rec	*r;
	enum stream_event	 ev;
	int			 h;

	s->p = (unsigned char *)mem_ndup(p, n);
	s->len = s->cap = n;
	s->eof = 1;
	*n_records = 0;
	h = stream_read_hello(s, &r, e);
	if (h != 0)
		ev = (enum stream_event)h;
	else
		while ((ev = stream_read(s, &r, e)) == STREAM_REC)
			(*n_records)++;
	stream_in_free(s);
	return ev;
}

struct stream_out *
stream_out_new(int fd, enum stream_mode mode)
{
	struct stream_out	*s = mem_zero(1, sizeof(*s));

	s->fd = fd;
	s->mode = mode;
	s->trace = getenv("DTRACE") != NULL;
	return s;
}

void
stream_out_free(struct stream_out *s)
{
	free(s);
}

static void
put_named(struct buf *b, const struct rec *r, const char *const *keys,
    size_t n)
{
	const char	*s;
	size_t		 i;

	for (i = 0; i < n; i++)
		if (rec_get_str(r, keys[i], &s) && *s != '\0')
			buf_printf(b, "%s%s", b->len == 0 ? "" : "  ", s);
}

static void
put_counted(struct buf *b, const struct rec *r, const char *const *keys,
    size_t n)
{
	uint64_t	v;
	size_t		i;

	for (i = 0; i < n; i++)
		if (rec_get_u64(r, keys[i], &v))
			buf_printf(b, "  %s %llu", keys[i],
			    (unsigned long long)v);
}

/* What was published, as a person wants to hear it. */
static void
text_published(const struct rec *r, struct buf *b)
{
	static const char *const	counts[] = { "records", "inserted",
		"replaced", "deleted", "merged", "skipped", "generation" };
	const char			*v, *t;
	int				 on = 0;

	if (!rec_get_str(r, "version", &v))
		v = "";
	if (!rec_get_str(r, "target", &t))
		t = "";
	if (rec_get_bool(r, "unchanged", &on) && on)
		buf_printf(b, "nothing to do: %s holds %s", t, v);
	else
		buf_printf(b, "published  %s  as %s", t, v);
	put_counted(b, r, counts, sizeof(counts) / sizeof(counts[0]));
}

/* A line for people; nothing for what only programs need. */
static void
text(const struct rec *r, struct buf *b)
{
	static const char *const	named[] = { "t", "url", "target",
		"version", "path", "format", "why", "verdict", "reason" };
	static const char *const	counted[] = { "generation", "planned",
		"fetched", "skipped", "checked", "merged", "records",
		"tombstones", "superseded", "inserted", "replaced", "deleted",
		"bytes" };
	struct rec	*totals;
	const char	*t = rec_type(r), *s;

	if (strcmp(t, "hello") == 0 || strcmp(t, "prepared") == 0)
		return;
	totals = rec_get_map(r, "totals");
	if (strcmp(t, "published") == 0)
		text_published(r, b);
	else if (strcmp(t, "end") != 0 ||
	    (totals != NULL && rec_key(totals, 0) != NULL)) {
		put_named(b, r, named, sizeof(named) / sizeof(named[0]));
		put_counted(b, totals != NULL ? totals : r, counted,
		    sizeof(counted) / sizeof(counted[0]));
		if (rec_get_str(r, "content_digest", &s))
			buf_printf(b, "  content %.16s", s);
		if (strcmp((const char *)buf_cstr(b), "end") == 0)
			buf_reset(b);
	}
	rec_free(totals);
	msg_mask((char *)b->p, b->len);
	if (b->len != 0)
		buf_addc(b, '\n');
}

int
stream_write(struct stream_out *s, const struct rec *r, struct err *e)
{
	struct buf	b;
	int		rv = 0;

	buf_init(&b, STREAM_LINE_MAX);
	switch (s->mode) {
	case STREAM_MSGPACK:
		b.max = REC_MAX;
		rec_encode(r, &b);
		break;
	case STREAM_JSON:
		rec_to_json(r, &b);
		buf_addc(&b, '\n');
		break;
	case STREAM_TEXT:
		text(r, &b);
		break;
	}
	trace(s->trace, ">", r);
	if (b.over)
		rv = err_set(e, MSG_SOFTWARE,
		    "stdout: %s record larger than %zu bytes", rec_type(r),
		    b.max);
	else if (io_write(s->fd, b.p, b.len) == -1) {
		if (errno == EPIPE) {
			e->code = MSG_PROTOCOL;
			e->text[0] = '\0';
			rv = -1;
		} else
			rv = err_sys(e, errno, "stdout");
	}
	buf_free(&b);
	return rv;
}

int
stream_reader_gone(const struct stream_out *s)
{
	struct pollfd	p;

	p.fd = s->fd;
	p.events = 0;
	p.revents = 0;
	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}
