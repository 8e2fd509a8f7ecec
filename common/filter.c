/*
 * filter: the part of a stage that every stage shares.  It judges no
 * record but hello, end and fail.
 * SPDX-License-Identifier: ISC
 */
#include "filter.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

static void
say(struct filter *f, int status, const char *text)
{
	struct buf	b;
	char		*s;

	f->status = msg_worse(f->status, status);
	if (f->n_reasons < FILTER_REASONS) {
		buf_init(&b, 2048);
		buf_printf(&b, "%s: %s", msg_prog(), text);
		s = mem_dup(buf_cstr(&b));
		buf_free(&b);
		f->reasons[f->n_reasons] = s;
		/* a foreign name, or a text cut inside a character */
		if (!path_utf8(s, strlen(s)))
			for (; *s != '\0'; s++)
				if ((unsigned char)*s >= 0x80)
					*s = '?';
	}
	f->n_reasons++;
}

void
filter_fail(struct filter *f, int status, const char *fmt, ...)
{
	va_list	ap;
	char	text[1024];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	msg_error(status, "%s", text);
	say(f, status, text);
}

void
filter_fail_err(struct filter *f, const struct err *e)
{
	int	code = e->code != 0 ? e->code : MSG_SOFTWARE;

	if (e->text[0] == '\0') {
		/* the reader left: nothing to say, nobody to say it to */
		f->gone = 1;
		f->status = msg_worse(f->status, code);
		return;
	}
	/* a signal explains itself by the way the program dies */
	if (io_signal() == 0)
		msg_error(code, "%s", e->text);
	say(f, code, e->text);
}

int
filter_ok(const struct filter *f)
{
	return f->status == 0 && io_signal() == 0;
}

void
filter_count(struct filter *f, const char *key, uint64_t n)
{
	rec_set_u64(f->totals, key, filter_total(f, key) + n);
}

uint64_t
filter_total(const struct filter *f, const char *key)
{
	uint64_t	v = 0;

	(void)rec_get_u64(f->totals, key, &v);
	return v;
}

struct rec *
filter_hello(const char *run)
{
	struct rec	*r = rec_new("hello");

	rec_set_u64(r, "v", STREAM_VERSION);
	rec_set_str(r, "prog", msg_prog());
	rec_set_str(r, "version", MSG_VERSION);
	rec_set_str(r, "run", run);
	return r;
}

static int
send_hello(struct filter *f, const char *run, struct err *e)
{
	struct rec	*r = filter_hello(run);
	int		 rv;

	/* without drun the staging travels down the pipe */
	if (getenv("DSTAGE") == NULL && f->opts.stage == NULL &&
	    f->stage.path != NULL)
		rec_set_str(r, "stage", f->stage.path);
	rv = stream_write(f->out, r, e);
	rec_free(r);
	if (rv == 0)
		f->hello_sent = 1;
	return rv;
}

/* A refusal in words from upstream: reasons are kept for our own FAIL. */
static void
keep_reason(const char *s, void *arg)
{
	struct filter	*f = arg;

	if (f->n_reasons < FILTER_REASONS)
		f->reasons[f->n_reasons] = mem_dup(s);
	f->n_reasons++;
}

static void
broken(struct filter *f, enum stream_event ev, const struct rec *r,
    const struct err *e)
{
	f->broken = 1;
	if (ev == STREAM_FAIL) {
		(void)rec_get_strs(r, "reasons", keep_reason, f);
		f->status = msg_worse(f->status, MSG_PROTOCOL);
		msg_info("upstream failed: nothing is done");
		return;
	}
	filter_fail_err(f, e);
}

static int
open_stage(struct filter *f, const char *hello_stage, struct err *e)
{
	const char	*path = f->opts.stage;

	if (path == NULL) {
		path = getenv("DSTAGE");
		if (path != NULL && *path == '\0')
			path = NULL;
	}
	if (path == NULL && hello_stage != NULL) {
		if (stage_join(&f->stage, hello_stage, e) == -1)
			return -1;
		f->stage.made = 1;
		return 0;
	}
	if (path != NULL)
		return stage_join(&f->stage, path, e);
	if (!f->opts.source)
		return err_set(e, MSG_USAGE, "no staging directory: run it "
		    "under drun, or after dfetch, or give --stage");
	if (stage_make(&f->stage, stage_parent(), NULL, e) == -1)
		return -1;
	f->stage.made = 1;
	return 0;
}

/*
 * The hello named no staging, or one that is gone.  If that is because
 * upstream has failed, its FAIL says all that is to be said.
 */
static int
upstream_failed(struct filter *f)
{
	struct err		 e = { 0, "" };
	const struct rec	*r;
	enum stream_event	 ev;

	do
		ev = stream_read(f->in, &r, &e);
	while (ev == STREAM_REC);
	if (ev != STREAM_FAIL)
		return 0;
	broken(f, ev, r, &e);
	return 1;
}

/*
 * There will be no work here, but a FAIL: it wants a hello before it, with
 * whatever is known of the run.  -1, as filter_open has failed.
 */
static int
hello_to_fail(struct filter *f, enum stream_mode mode, const char *id)
{
	const char	*run = getenv("DRUN_ID");
	struct err	 e = { 0, "" };

	if (*id == '\0' && run != NULL)
		id = run;
	(void)snprintf(f->run, sizeof(f->run), "%s", id);
	if (f->run[0] == '\0' && stage_run_id(f->run, &e) == -1)
		f->run[0] = '\0';
	else if (mode != STREAM_TEXT && !f->opts.quiet)
		(void)send_hello(f, f->run, &e);
	return -1;
}

int
filter_open(struct filter *f, const struct filter_opts *o)
{
	char			 id[STAGE_RUN_MAX] = "";
	struct err		 e = { 0, "" };
	const struct rec	*r = NULL;
	const char		*run = NULL, *stage = NULL;
	enum stream_mode	 mode;
	int			 ev;

	memset(f, 0, sizeof(*f));
	f->opts = *o;
	f->stage.dirfd = f->stage.lockfd = -1;
	f->totals = rec_map();
	f->taken = rec_map();
	mode = o->json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK;
	f->out = stream_out_new(STDOUT_FILENO, mode);
	if (!o->source) {
		if (isatty(STDIN_FILENO) && !o->json_in) {
			f->broken = 1;
			filter_fail(f, MSG_USAGE, "stdin is a terminal: want "
			    "a stream, as in: dfetch DIR | %s", msg_prog());
			return hello_to_fail(f, mode, id);
		}
		f->in = stream_in_new(STDIN_FILENO, o->json_in);
		ev = stream_read_hello(f->in, &r, &e);
		if (ev != 0) {
			broken(f, (enum stream_event)ev, r, &e);
			return hello_to_fail(f, mode, id);
		}
		(void)rec_get_str(r, "run", &run);
		(void)rec_get_str(r, "stage", &stage);
		(void)snprintf(id, sizeof(id), "%s", run);
	}
	if (open_stage(f, stage, &e) == -1) {
		if (o->source || o->stage != NULL || getenv("DSTAGE") != NULL
		    || !upstream_failed(f))
			filter_fail_err(f, &e);
		return hello_to_fail(f, mode, id);
	}
	(void)snprintf(f->run, sizeof(f->run), "%s",
	    run != NULL ? run : f->stage.run);
	msg_set_run(f->run);
	if (!o->quiet && send_hello(f, f->run, &e) == -1) {
		filter_fail_err(f, &e);
		return -1;
	}
	return 0;
}

/* Upstream's totals become ours to add to. */
static void
take_totals(struct filter *f, const struct rec *end)
{
	struct rec	*t = rec_get_map(end, "totals");
	const char	*key;
	uint64_t	 v;
	size_t		 i;

	if (t == NULL)
		return;
	for (i = 0; (key = rec_key(t, i)) != NULL; i++)
		if (!rec_has(f->totals, key) && rec_get_u64(t, key, &v)) {
			rec_set_u64(f->totals, key, v);
			rec_set_u64(f->taken, key, v);
		}
	rec_free(t);
}

int
filter_next(struct filter *f, const struct rec **r)
{
	struct err		e = { 0, "" };
	enum stream_event	ev;

	if (f->broken || f->in == NULL)
		return 0;
	ev = stream_read(f->in, r, &e);
	switch (ev) {
	case STREAM_REC:
		return 1;
	case STREAM_END:
		take_totals(f, *r);
		return 0;
	case STREAM_FAIL:
	case STREAM_CUT:
	case STREAM_BAD:
	case STREAM_IOERR:
		broken(f, ev, *r, &e);
		return 0;
	}
	return 0;
}

int
filter_ready(const struct filter *f)
{
	return !f->broken && f->in != NULL && stream_ready(f->in);
}

int
filter_put(struct filter *f, const struct rec *r)
{
	struct err	e = { 0, "" };

	if (f->opts.quiet || stream_write(f->out, r, &e) == 0)
		return 0;
	filter_fail_err(f, &e);
	return -1;
}

static void
send_end(struct filter *f, struct err *e)
{
	struct rec	*r;

	if (f->status == 0) {
		r = rec_new("end");
		rec_set_map(r, "totals", f->totals);
	} else {
		r = rec_new("fail");
		rec_set_str(r, "prog", msg_prog());
		rec_set_u64(r, "status", (uint64_t)f->status);
		rec_set_strs(r, "reasons",
		    (const char *const *)(void *)f->reasons,
		    f->n_reasons < FILTER_REASONS ? (size_t)f->n_reasons :
		    FILTER_REASONS);
		rec_set_u64(r, "n_reasons", f->n_reasons);
	}
	if (stream_write(f->out, r, e) == -1 && f->status == 0)
		filter_fail_err(f, e);
	rec_free(r);
}

int
filter_last(void)
{
	struct stat	st;

	return fstat(STDOUT_FILENO, &st) == -1 ||
	    (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode));
}

/* What we counted ourselves, as {"program":..,"totals":{..}}. */
static void
own_totals(const struct filter *f, struct buf *b)
{
	struct rec	*own = rec_map(), *r = rec_map();
	const char	*key;
	uint64_t	 n, taken;
	size_t		 i;

	for (i = 0; (key = rec_key(f->totals, i)) != NULL; i++) {
		taken = 0;
		(void)rec_get_u64(f->taken, key, &taken);
		if (rec_get_u64(f->totals, key, &n) &&
		    (n > taken || !rec_has(f->taken, key)))
			rec_set_u64(own, key, n - taken);
	}
	rec_set_str(r, "program", msg_prog());
	rec_set_str(r, "run", f->run);
	rec_set_u64(r, "status", (uint64_t)f->status);
	rec_set_map(r, "totals", own);
	rec_to_json(r, b);
	buf_addc(b, '\n');
	rec_free(own);
	rec_free(r);
}

/*
 * For drun's summary, under drun: it sees no stream.  No run fails because
 * nobody could write how much it did.
 */
static void
leave_totals(const struct filter *f)
{
	const char	*stage = getenv("DRUN_STAGE");
	struct buf	 b, name;
	int		 fd;

	if (getenv("DRUN_ID") == NULL || stage == NULL ||
	    f->stage.path == NULL)
		return;
	buf_init(&b, REC_MAX);
	buf_init(&name, 256);
	own_totals(f, &b);
	buf_printf(&name, FILTER_TOTALS "/%.8s.%s.%ld.json", stage,
	    msg_prog(), (long)getpid());
	(void)mkdirat(f->stage.dirfd, FILTER_TOTALS, 0700);
	fd = openat(f->stage.dirfd, buf_cstr(&name), O_WRONLY | O_CREAT |
	    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd != -1) {
		if (io_write(fd, b.p, b.len) == -1)
			msg_info("totals: %s", strerror(errno));
		(void)close(fd);
	}
	buf_free(&b);
	buf_free(&name);
}

int
filter_finish(struct filter *f, int last)
{
	struct err	e = { 0, "" };
	size_t		i;

	if (io_signal() != 0)
		f->status = msg_worse(f->status, MSG_PROTOCOL);
	if (f->opts.quiet && f->status != 0 && f->run[0] != '\0')
		(void)send_hello(f, f->run, &e);
	if (f->hello_sent && !f->gone)
		send_end(f, &e);
	/* what was written is only written when close says so */
	if (!f->gone && close(STDOUT_FILENO) == -1 && errno != EINTR &&
	    errno != EBADF) {
		memset(&e, 0, sizeof(e));
		err_sys(&e, errno, "stdout");
		filter_fail_err(f, &e);
	}
	leave_totals(f);
	if (f->stage.made) {
		last |= f->status != 0;
		if (f->opts.source && !last)
			stage_handoff(&f->stage);
		memset(&e, 0, sizeof(e));
		if (stage_leave(&f->stage, last, &e) == -1)
			msg_err(&e);
	}
	stage_clear(&f->stage);
	for (i = 0; i < f->n_reasons && i < FILTER_REASONS; i++)
		free(f->reasons[i]);
	rec_free(f->totals);
	rec_free(f->taken);
	stream_in_free(f->in);
	stream_out_free(f->out);
	io_die_of_signal();
	return f->status;
}
