/*
 * dckpt within a run: as a stage, recording what flows by; beat, which
 * says that a run is still at it; note, which takes in how runs ended.
 * It changes no record.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filter.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "num.h"
#include "rec_kind.h"
#include "banned.h"

#define NOTE_MAX	((size_t)64 << 20)	/* bytes of a summary */
#define NOTE_READ	65536
#define STAGE_BATCH	1024			/* records in one commit */

/*
 * As a stage.
 */

static int
start_input(struct ckpt *c, const struct rec *r, const char *run,
    struct err *e)
{
	struct ckpt_facts	f;
	struct rec_delta	d;

	memset(&f, 0, sizeof(f));
	if (rec_delta_get(r, &d, e) == -1)
		return -1;
	f.size = d.size;
	f.mtime = d.mtime;
	f.records = d.records;
	switch (ckpt_start(c, CKPT_INPUT, d.url, d.sha256, run, e)) {
	case 0:
		return ckpt_note(c, CKPT_INPUT, d.url, &f, e);
	case 1:
		return 0; /* another run's */
	default:
		return -1;
	}
}

static int
done_operation(struct ckpt *c, const struct rec *r, const char *run,
    struct err *e)
{
	struct ckpt_facts	f;
	struct buf		b;
	const char		*url;
	int			rv = -1;

	memset(&f, 0, sizeof(f));
	if (!rec_get_str(r, "target", &url))
		return 0;
	(void)rec_get_str(r, "version", &f.result);
	(void)rec_get_u64(r, "records", &f.records);
	buf_init(&b, CKPT_KEY_MAX);
	buf_printf(&b, "publish %s", url);
	if (ckpt_done(c, CKPT_OPERATION, buf_cstr(&b), NULL, run, e) != -1)
		rv = ckpt_note(c, CKPT_OPERATION, buf_cstr(&b), &f, e);
	buf_free(&b);
	return rv;
}

static int
record(struct ckpt *c, const struct rec *r, const char *run, struct err *e)
{
	struct rec_skip	 s;
	const char	*type = rec_type(r), *url, *code = NULL;
	const char	*why = NULL;

	if (ckpt_beat(c, run, e) == -1)
		return -1;
	if (strcmp(type, "delta") == 0)
		return start_input(c, r, run, e);
	if (strcmp(type, "skip") == 0) {
		if (rec_skip_get(r, &s, e) == -1)
			return -1;
		return ckpt_skip(c, CKPT_INPUT, s.url, s.sha256, run, e);
	}
	if (strcmp(type, "refused") == 0 && rec_get_str(r, "url", &url)) {
		(void)rec_get_str(r, "verdict", &code);
		(void)rec_get_str(r, "reason", &why);
		return ckpt_fail(c, CKPT_INPUT, url, run, MSG_DATAERR, code,
		    why, e);
	}
	if (strcmp(type, "published") == 0)
		return done_operation(c, r, run, e);
	return 0;
}

/* Records that were at hand together. */
struct batch {
	struct rec	*v[STAGE_BATCH];
	size_t		 n;
};

/* The first n of b, in one transaction; *bad gets the one that failed. */
static int
record_n(struct ckpt *c, const struct batch *b, size_t n, const char *run,
    size_t *bad, struct err *e)
{
	size_t	i;

	*bad = 0;
	if (ckpt_begin(c, e) == -1)
		return -1;
	for (i = 0; i < n; i++)
		if (record(c, b->v[i], run, e) == -1) {
			ckpt_rollback(c);
			*bad = i;
			return -1;
		}
	return ckpt_commit(c, e);
}

/*
 * What is in b is recorded, and then passed on.  Of one that cannot be,
 * those before it are, as if each had come alone.
 */
static void
flush_batch(struct filter *f, struct ckpt *c, struct batch *b)
{
	struct err	e = { 0, "" }, again = { 0, "" };
	size_t		i, n = b->n, bad, worse;

	if (record_n(c, b, n, f->stage.run, &bad, &e) == -1)
		n = bad > 0 && record_n(c, b, bad, f->stage.run, &worse,
		    &again) == 0 ? bad : 0;
	for (i = 0; i < n && filter_put(f, b->v[i]) == 0; i++)
		continue;
	if (e.code != 0)
		filter_fail_err(f, &e);
	for (i = 0; i < b->n; i++)
		rec_free(b->v[i]);
	b->n = 0;
}

/*
 * Each record is in the database before it is passed on; what came together
 * goes there together, since each commit waits for the disk.  The lock is
 * never held while the stream is waited for.
 */
static void
pass_all(struct filter *f, struct ckpt *c)
{
	const struct rec	*r;
	struct batch		 b;

	b.n = 0;
	while (filter_ok(f) && filter_next(f, &r)) {
		b.v[b.n++] = rec_copy(r);
		if (b.n == STAGE_BATCH || !filter_ready(f))
			flush_batch(f, c, &b);
	}
	if (b.n > 0)
		flush_batch(f, c, &b);
}

int
dckpt_pass(const struct dckpt_opts *o, struct ckpt *c)
{
	struct err		 e = { 0, "" };
	struct filter_opts	 fo;
	struct filter		 f;

	memset(&fo, 0, sizeof(fo));
	fo.json = o->json;
	fo.json_in = o->json_in;
	fo.stage = o->stage;
	io_catch_signals();
	if (filter_open(&f, &fo) == 0) {
		pass_all(&f, c);
		if (!filter_ok(&f) && ckpt_release(c, f.stage.run,
		    f.status != 0 ? f.status : MSG_PROTOCOL, NULL, &e) == -1)
			msg_err(&e);
	}
	ckpt_close(c);
	return filter_finish(&f, isatty(STDOUT_FILENO));
}

/*
 * beat RUN: until standard input ends.
 */

int
dckpt_beat(struct dckpt *o, int *status)
{
	const struct ckpt_sel	*s = &o->o->sel;
	struct pollfd		 p = { STDIN_FILENO, POLLIN, 0 };
	char			 b[NOTE_READ];
	int			 r;

	(void)status;
	if (s->n_keys != 1)
		return err_set(o->e, MSG_USAGE, "beat: want the id of one "
		    "run");
	io_catch_signals();
	for (;;) {
		if (ckpt_beat(o->c, s->keys[0], o->e) == -1)
			return -1;
		r = io_poll(&p, 1, ckpt_beat_wait(o->c));
		if (io_signal() != 0)
			break;
		if (r == -1 && errno != EINTR)
			return err_sys(o->e, errno, "stdin");
		if (r > 0 && io_read_some(STDIN_FILENO, b, sizeof(b)) <= 0)
			return 0;
	}
	ckpt_close(o->c);
	o->c = NULL;
	io_die_of_signal();
	return 0;
}

/*
 * note: summaries of drun, JSON lines on standard input.
 */

struct summary {
	char			*run, *command;
	struct ckpt_run_end	 end;
	int			 seen;	/* a status */
};

static void
take_value(struct summary *s, const struct json_val *v)
{
	if (v->type == JSON_STR && json_is(v, "run") && v->len > 0 &&
	    memchr(v->str, '\0', v->len) == NULL) {
		free(s->run);
		s->run = mem_ndup(v->str, v->len);
	} else if (v->type == JSON_STR && json_is(v, "command") &&
	    memchr(v->str, '\0', v->len) == NULL) {
		free(s->command);
		s->command = mem_ndup(v->str, v->len);
	} else if (v->type == JSON_STR && json_is(v, "start"))
		s->end.started = num_iso_ns(v->str, v->len) / 1000000;
	else if (v->type == JSON_STR && json_is(v, "end"))
		s->end.ended = num_iso_ns(v->str, v->len) / 1000000;
	else if (v->type != JSON_INT || v->i < 0)
		return;
	else if (json_is(v, "status") && v->i < 256) {
		s->end.status = (int)v->i;
		s->seen = 1;
	} else if (json_is(v, "records"))
		s->end.records = (uint64_t)v->i;
	else if (json_is(v, "bytes"))
		s->end.bytes = (uint64_t)v->i;
}

/* 1 a summary, 0 it is none. */
static int
parse_summary(struct summary *s, const char *p, size_t n)
{
	struct json_val	v;
	struct json	j;
	int		r = -1, ok;

	memset(s, 0, sizeof(*s));
	json_init(&j, p, n);
	if (json_next(&j, &v) == JSON_OBJ) {
		while ((r = json_more(&j, &v)) == 1)
			if (v.type == JSON_OBJ || v.type == JSON_ARR)
				(void)json_skip(&j); /* bad stays bad */
			else
				take_value(s, &v);
	}
	ok = r == 0 && json_next(&j, &v) == JSON_EOF;
	json_clear(&j);
	return ok && s->run != NULL && s->seen;
}

static int
note_one(struct dckpt *o, char *line, size_t n, uint64_t nth)
{
	struct summary	s;
	int		rv = -1;

	line[n] = '\0';
	if (!parse_summary(&s, line, n))
		err_set(o->e, MSG_DATAERR, "line %llu: want a summary of "
		    "drun: run and status", (unsigned long long)nth);
	else {
		s.end.summary = line;
		rv = ckpt_run_end(o->c, s.run, &s.end, o->e);
		if (rv == 0 && s.command != NULL)
			rv = ckpt_run_note(o->c, s.run, s.command, NULL,
			    o->e);
	}
	free(s.run);
	free(s.command);
	return rv;
}

int
dckpt_note(struct dckpt *o, int *status)
{
	struct buf	 b;
	unsigned char	*p, *nl;
	uint64_t	 nth = 0;
	size_t		 from = 0;
	ssize_t		 n;
	int		 rv = -1;

	(void)status;
	if (o->o->sel.n_keys > 0)
		return err_set(o->e, MSG_USAGE, "note: want no key: "
		    "summaries come on standard input");
	buf_init(&b, NOTE_MAX);
	while ((p = buf_room(&b, NOTE_READ)) != NULL &&
	    (n = io_read_some(STDIN_FILENO, p, NOTE_READ)) > 0)
		b.len += (size_t)n;
	if (p == NULL)
		err_set(o->e, MSG_DATAERR, "stdin: more than %zu bytes",
		    NOTE_MAX);
	else if (n == -1)
		err_sys(o->e, errno, "stdin");
	else
		rv = ckpt_begin(o->c, o->e);
	buf_addc(&b, '\n');
	while (rv == 0 && from < b.len &&
	    (nl = memchr(b.p + from, '\n', b.len - from)) != NULL) {
		n = nl - (b.p + from);
		nth++;
		if (n > 0)
			rv = note_one(o, (char *)b.p + from, (size_t)n, nth);
		from += (size_t)n + 1;
	}
	if (rv == 0)
		rv = ckpt_commit(o->c, o->e);
	buf_free(&b);
	return rv;
}
