/*
 * dfetch_batch: a batch at its provider as an input: is it at its end, do
 * its files account for every request, and what is to be sent again.  It
 * reads no result: a child without network and key does (batch_join.h).
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_batch.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch_join.h"
#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "net.h"
#include "num.h"
#include "remote.h"
#include "stage.h"
#include "xfer.h"
#include "banned.h"

#define WORK		FETCH_BATCH_WORK
#define RESULTS		WORK "/results"
#define REQUEUE		WORK "/requeue"
#define FILE_ID_MAX	1024		/* bytes of a file's id */
#define STATUS_MAX	64
#define ERRORS_SHOWN	3

enum state {
	NOT_READY,
	FAILED,
	FINAL		/* results are there, perhaps not all */
};

/* The batch object, as far as it matters. */
struct batch_object {
	char		 status[STATUS_MAX];
	enum state	 state;
	char		 file[3][FILE_ID_MAX];	/* "" none; in enum order */
	int		 has_counts;
	uint64_t	 total, completed, failed;
	int64_t		 at;			/* ns; its end */
	char		 problems[256];		/* of one that failed */
};
enum { INPUT, OUTPUT, ERRORS, FILES };

static const char *const	file_key[FILES] = {
	"input_file_id", "output_file_id", "error_file_id"
};
static const char *const	file_what[FILES] = {
	"input file", "output file", "error file"
};
static const char *const	file_in_work[FILES] = {
	WORK "/input", WORK "/output", WORK "/errors"
};

/* One fetch_batch. */
struct task {
	struct batch_api		 api;
	const struct fetch_batch_opts	*o;
	const char			*url, *id;
	struct batch_object		 obj;
	int				 dir;	/* the input's */
	int				 have[FILES];
	uint64_t			 bytes[FILES];
	struct batch_joined		 got;
};

int
fetch_batch_is(const char *url)
{
	return strncmp(url, FETCH_BATCH, strlen(FETCH_BATCH)) == 0;
}

/* The ID in url: it becomes a file's name.  NULL: 64. */
static const char *
batch_id(const char *url, struct err *e)
{
	static const char	set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789_-=.";
	const char		*id = url + strlen(FETCH_BATCH);
	size_t			 n;

	if (fetch_batch_is(url)) {
		n = strspn(id, set);
		if (n > 0 && n <= FETCH_BATCH_ID_MAX && id[n] == '\0' &&
		    id[0] != '.')
			return id;
	}
	err_set(e, MSG_USAGE, "%.200s: want openai-batch:ID, with the id "
	    "that the provider gave the batch", url);
	return NULL;
}

/* -- the batch object -------------------------------------------------- */

/* A text of the object; null and absent are "". */
static int
get_text(const struct task *t, const struct buf *b, const char *key,
    char *out, size_t size, struct err *e)
{
	struct json	j;
	struct json_val	v;
	int		r, rv = 0;

	memset(&j, 0, sizeof(j));
	out[0] = '\0';
	r = json_find(&j, (const char *)b->p, b->len, &v, key, NULL);
	if (r == -1)
		rv = err_set(e, MSG_DATAERR, "%s: the provider's answer is "
		    "no JSON object", t->url);
	else if (r == 1 && v.type != JSON_NULL) {
		if (v.type != JSON_STR || v.len >= size ||
		    memchr(v.str, '\0', v.len) != NULL)
			rv = err_set(e, MSG_DATAERR, "%s: %s is no text of "
			    "at most %zu bytes", t->url, key, size - 1);
		else {
			memcpy(out, v.str, v.len);
			out[v.len] = '\0';
		}
	}
	json_clear(&j);
	return rv;
}

/* A number from 0 on, below parent if that is not NULL.  1, or 0. */
static int
get_number(const struct buf *b, const char *parent, const char *key,
    uint64_t *out)
{
	const char	*p = (const char *)b->p;
	struct json	 j;
	struct json_val	 v;
	int		 r;

	memset(&j, 0, sizeof(j));
	*out = 0;
	r = parent != NULL ?
	    json_find(&j, p, b->len, &v, parent, key, NULL) :
	    json_find(&j, p, b->len, &v, key, NULL);
	r = r == 1 && v.type == JSON_INT && v.i >= 0;
	if (r)
		*out = (uint64_t)v.i;
	json_clear(&j);
	return r;
}

/* Unix seconds, or, where a provider writes it so, a date.  ns, or 0. */
static int64_t
get_time(const struct buf *b, const char *key)
{
	struct json	j;
	struct json_val	v;
	int64_t		ns = 0;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, (const char *)b->p, b->len, &v, key, NULL) == 1) {
		if (v.type == JSON_INT && v.i > 0 &&
		    v.i < INT64_MAX / 1000000000)
			ns = v.i * 1000000000;
		else if (v.type == JSON_STR)
			ns = net_date(v.str, v.len);
	}
	json_clear(&j);
	return ns;
}

/* One of errors.data. */
static void
one_problem(const char *s, size_t n, struct buf *out)
{
	struct json	j;
	struct json_val	v;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, n, &v, "code", NULL) == 1 && v.type == JSON_STR)
		buf_printf(out, "; %.*s", v.len < 60 ? (int)v.len : 60,
		    v.str);
	else
		buf_str(out, "; error");
	if (json_find(&j, s, n, &v, "line", NULL) == 1 && v.type == JSON_INT)
		buf_printf(out, ", line %lld", (long long)v.i);
	if (json_find(&j, s, n, &v, "message", NULL) == 1 &&
	    v.type == JSON_STR)
		buf_printf(out, ": %.*s", v.len < 120 ? (int)v.len : 120,
		    v.str);
	json_clear(&j);
}

/* What the provider says of a batch that it did not take. */
static void
get_problems(struct task *t, const struct buf *b)
{
	const char	*raw;
	struct json	 j, k;
	struct json_val	 v;
	struct buf	 out;
	int		 i;

	memset(&j, 0, sizeof(j));
	buf_init(&out, 4096);
	if (json_find(&j, (const char *)b->p, b->len, &v, "errors", "data",
	    NULL) == 1 && v.type == JSON_ARR) {
		json_init(&k, v.raw, v.raw_len);
		(void)json_next(&k, &v);
		for (i = 0; i < ERRORS_SHOWN; i++) {
			if (json_next(&k, &v) != JSON_OBJ)
				break;
			raw = v.raw;
			if (json_skip(&k) == -1)
				break;
			one_problem(raw, (size_t)(k.s + k.pos - raw), &out);
		}
		json_clear(&k);
	}
	json_clear(&j);
	(void)snprintf(t->obj.problems, sizeof(t->obj.problems), "%s",
	    out.len > 0 ? buf_cstr(&out) : "; it does not say why");
	buf_free(&out);
}

/* Every status there is; and one that there is not yet is an error. */
static int
get_state(struct task *t, const struct buf *b, struct err *e)
{
	static const struct {
		const char	*status;
		enum state	 state;
		const char	*at;
	} known[] = {
		{ "validating", NOT_READY, NULL },
		{ "in_progress", NOT_READY, NULL },
		{ "finalizing", NOT_READY, NULL },
		{ "cancelling", NOT_READY, NULL },
		{ "canceling", NOT_READY, NULL },
		{ "failed", FAILED, "failed_at" },
		{ "completed", FINAL, "completed_at" },
		{ "expired", FINAL, "expired_at" },
		{ "cancelled", FINAL, "cancelled_at" },
		{ "canceled", FINAL, "canceled_at" }
	};
	struct batch_object	*o = &t->obj;
	size_t			 i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].status, o->status) == 0)
			break;
	if (i == sizeof(known) / sizeof(known[0]))
		return err_set(e, MSG_DATAERR, "%s: status \"%s\": want one "
		    "that is known here", t->url, o->status);
	o->state = known[i].state;
	if (o->state != FINAL)
		return 0;
	/* any that does not change will do, for seq */
	o->at = get_time(b, known[i].at);
	if (o->at == 0)
		o->at = get_time(b, "finalizing_at");
	if (o->at == 0)
		o->at = get_time(b, "in_progress_at");
	if (o->at == 0)
		o->at = get_time(b, "created_at");
	if (o->at == 0)
		return err_set(e, MSG_DATAERR, "%s: status %s, and no %s: "
		    "nobody knows how old its results are", t->url,
		    o->status, known[i].at);
	return 0;
}

static int
parse_object(struct task *t, const struct buf *b, struct err *e)
{
	struct batch_object	*o = &t->obj;
	char			 id[FILE_ID_MAX];
	int			 i;

	memset(o, 0, sizeof(*o));
	if (get_text(t, b, "id", id, sizeof(id), e) == -1 ||
	    get_text(t, b, "status", o->status, sizeof(o->status), e) == -1)
		return -1;
	if (id[0] != '\0' && strcmp(id, t->id) != 0)
		return err_set(e, MSG_DATAERR, "%s: the provider answers "
		    "with another batch, %.200s", t->url, id);
	for (i = 0; i < FILES; i++) {
		if (get_text(t, b, file_key[i], o->file[i],
		    sizeof(o->file[i]), e) == -1)
			return -1;
		if (strcmp(o->file[i], ".") == 0 ||
		    strcmp(o->file[i], "..") == 0)
			return err_set(e, MSG_DATAERR, "%s: %s is \"%s\"",
			    t->url, file_key[i], o->file[i]);
	}
	o->has_counts = get_number(b, "request_counts", "total", &o->total);
	(void)get_number(b, "request_counts", "completed", &o->completed);
	(void)get_number(b, "request_counts", "failed", &o->failed);
	if (get_state(t, b, e) == -1)
		return -1;
	if (o->state == FAILED)
		get_problems(t, b);
	return 0;
}

/* -1: the answer that a batch of this state is. */
static int
judge_state(const struct task *t, struct err *e)
{
	const struct batch_object	*o = &t->obj;

	switch (o->state) {
	case NOT_READY:
		return err_set(e, MSG_TEMPFAIL, "%s: not ready yet: status "
		    "%s, %llu of %llu done", t->url, o->status,
		    (unsigned long long)o->completed,
		    (unsigned long long)o->total);
	case FAILED:
		return err_set(e, MSG_DATAERR, "%s: status failed: the "
		    "provider did not take it (input file %.80s)%s", t->url,
		    o->file[INPUT], o->problems);
	case FINAL:
		break;
	}
	if (o->has_counts && o->total == 0)
		return err_set(e, MSG_DATAERR, "%s: status %s, and "
		    "request_counts.total is 0: want a batch of requests",
		    t->url, o->status);
	return 0;
}

/* Ask for the batch. */
static int
look(struct task *t, struct remote *r, const char *url, struct err *e)
{
	struct buf	 b;
	char		*at;
	int		 status, rv;

	memset(t, 0, sizeof(*t));
	t->dir = -1;
	t->url = url;
	if ((t->id = batch_id(url, e)) == NULL ||
	    batch_api_open(&t->api, r, url, e) == -1)
		return -1;
	buf_init(&b, FETCH_BATCH_OBJECT);
	at = batch_api_url(&t->api, "batches", t->id, "");
	rv = batch_api_get(&t->api, at, &b, &status, e);
	if (rv == 0)
		rv = parse_object(t, &b, e);
	free(at);
	buf_free(&b);
	return rv;
}

static void
describe(const struct task *t, struct fetch_info *info)
{
	struct buf	b;

	memset(info, 0, sizeof(*info));
	info->unsized = 1;
	info->mtime = t->obj.at;
	buf_init(&b, 2 * FILE_ID_MAX + 2);
	buf_printf(&b, "%s+%s", t->obj.file[OUTPUT], t->obj.file[ERRORS]);
	fetch_etag(info->etag, buf_cstr(&b));
	buf_free(&b);
}

int
fetch_batch_look(struct remote *r, const char *url, struct fetch_info *info,
    struct err *e)
{
	struct task	t;
	int		rv;

	rv = look(&t, r, url, e);
	if (rv == 0)
		rv = judge_state(&t, e);
	if (rv == 0)
		describe(&t, info);
	else
		batch_api_mask(&t.api, e->text);
	batch_api_clear(&t.api);
	return rv;
}

/* -- its files --------------------------------------------------------- */

struct download {
	struct err	e;
	uint64_t	size;
};

static void
on_done(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct download	*d = arg;

	if (e != NULL)
		d->e = *e;
	else
		d->size = g->size;
}

/*
 * What the provider says of the size of file k, as many do: a short one is
 * no file then.  1 known, 0 not, -1; *gone: it has no such file.
 */
static int
ask_size(struct task *t, int k, uint64_t *size, int *gone, struct err *e)
{
	struct buf	 b;
	struct err	 sub = { 0, "" };
	char		*url;
	int		 status, rv = 0;

	buf_init(&b, FETCH_BATCH_OBJECT);
	url = batch_api_url(&t->api, "files", t->obj.file[k], "");
	if (batch_api_get(&t->api, url, &b, &status, &sub) == 0)
		/* 0 and less are those of providers that do not count */
		rv = get_number(&b, NULL, "bytes", size) && *size > 0;
	else if (status == 404 || status == 410)
		*gone = 1;
	else if (status != 400 && status != 405 && status != 501)
		rv = err_set(e, sub.code, "%s", sub.text);
	free(url);
	buf_free(&b);
	return rv;
}

/* Queue file k; 0 also where it is not at hand, and need not be. */
static int
queue(struct task *t, struct xfer *x, int k, struct download *d,
    struct err *e)
{
	struct xfer_get	 g;
	char		 name[FETCH_NAME_MAX + 32], *url;
	int		 r, gone = 0;

	if (t->obj.file[k][0] == '\0')
		return 0;
	memset(&g, 0, sizeof(g));
	if ((r = ask_size(t, k, &g.size, &gone, e)) == -1)
		return -1;
	if (k == INPUT && gone)
		return 0;
	(void)snprintf(name, sizeof(name), "%s: %s", t->url, file_what[k]);
	url = batch_api_url(&t->api, "files", t->obj.file[k], "/content");
	g.name = name;
	g.url = url;
	g.headers = t->api.headers;
	g.has_size = r;
	g.max = FETCH_BATCH_FILE;
	g.dirfd = t->dir;
	g.file = file_in_work[k];
	g.done = on_done;
	g.arg = d;
	r = xfer_get(x, &g, e);
	free(url);
	t->have[k] = r == 0;
	return r;
}

/* All of them at once, into WORK. */
static int
download(struct task *t, struct err *e)
{
	struct download	 d[FILES];
	struct xfer_opts o;
	struct net	*n = batch_api_net(&t->api, e);
	struct retry	*retry = n != NULL ?
	    remote_retry(t->api.remote, e) : NULL;
	struct xfer	*x;
	int		 k, r = 0;

	if (retry == NULL)
		return -1;
	memset(d, 0, sizeof(d));
	memset(&o, 0, sizeof(o));
	o.parallel = FILES;
	x = xfer_new(n, NULL, retry, &o);
	for (k = 0; k < FILES && r == 0; k++)
		r = queue(t, x, k, &d[k], e);
	if (r == 0)
		while ((r = xfer_wait(x, 1000, e)) == 1)
			;
	xfer_free(x);
	for (k = 0; k < FILES && r == 0; k++) {
		t->bytes[k] = d[k].size;
		if (d[k].e.code == 0)
			continue;
		if (k == INPUT && d[k].e.code == MSG_NOINPUT)
			t->have[k] = 0;
		else
			r = err_set(e, d[k].e.code, "%s", d[k].e.text);
	}
	if (r == 0 && !t->have[INPUT])
		msg_warn("warning: %s: the provider has no input file of it "
		    "any more: no documents, and requests without an answer "
		    "cannot be named", t->url);
	return r;
}

/* -- the verdict ------------------------------------------------------- */

static int
is_allowed(const struct task *t, uint64_t lost)
{
	uint64_t	most, have;

	if (!t->o->percent)
		return lost <= t->o->max_failed;
	if (t->o->max_failed >= 100)
		return 1;
	if (num_mul(lost, 100, &have) == -1 ||
	    num_mul(t->got.requested, t->o->max_failed, &most) == -1)
		return 0;
	return have <= most;
}

/* The provider's own sums, where they are others, are told of. */
static void
compare_counts(const struct task *t)
{
	const struct batch_joined	*g = &t->got;

	if (t->obj.has_counts && t->obj.completed != g->ok + g->stale)
		msg_warn("warning: %s: request_counts.completed is %llu, "
		    "and %llu have a result", t->url,
		    (unsigned long long)t->obj.completed,
		    (unsigned long long)(g->ok + g->stale));
}

/* What of its results is out of date is left out: 1 all of them, 0. */
static int
leave_out(const struct task *t)
{
	const struct batch_joined	*g = &t->got;

	if (g->stale == 0)
		return 0;
	msg_warn("warning: %s: %llu of %llu results are stale and left "
	    "out%s%s%s", t->url, (unsigned long long)g->stale,
	    (unsigned long long)(g->ok + g->stale), g->ok == 0 ?
	    ": nothing of it is ingested" : "", g->text[0] != '\0' ? "; " :
	    "", g->text);
	return g->ok == 0;
}

/* 0 there are results, 1 all of them are stale, -1. */
static int
verdict(struct task *t, struct err *e)
{
	const struct batch_joined	*g = &t->got;
	uint64_t			 lost = g->failed + g->missing;
	struct err			 text = { 0, "" };

	compare_counts(t);
	batch_api_mask(&t->api, t->got.text);
	if (lost == 0)
		return leave_out(t);
	(void)snprintf(text.text, sizeof(text.text), "%s: status %s: %llu "
	    "of %llu requests have no result (%llu failed, %llu missing)",
	    t->url, t->obj.status, (unsigned long long)lost,
	    (unsigned long long)g->requested, (unsigned long long)g->failed,
	    (unsigned long long)g->missing);
	if (g->ok + g->stale == 0)
		return err_set(e, MSG_DATAERR, "%s: want at least one%s%s",
		    text.text, g->text[0] != '\0' ? "; " : "", g->text);
	if (is_allowed(t, lost)) {
		msg_warn("warning: %s: %s, which is accepted%s%s",
		    t->url, text.text + strlen(t->url) + 2,
		    g->text[0] != '\0' ? "; " : "", g->text);
		return leave_out(t);
	}
	return err_set(e, MSG_DATAERR, "%s: want at most %llu%s%s%s",
	    text.text, (unsigned long long)t->o->max_failed,
	    t->o->percent ? "%" : "", g->text[0] != '\0' ? "; " : "",
	    g->text);
}

/* -- all of it --------------------------------------------------------- */

/* The results get their name, and their digest. */
static int
hand_over(struct task *t, int keep, char name[FETCH_NAME_MAX],
    struct fetch_info *info, unsigned char d[HASH_LEN], struct err *e)
{
	describe(t, info);
	info->unsized = 0;
	if (hash_file(t->dir, RESULTS, d, &info->size, e) ==
	    -1)
		return -1;
	(void)snprintf(name, FETCH_NAME_MAX, "%s.jsonl", t->id);
	if (keep && renameat(t->dir, RESULTS, t->dir,
	    name) == -1)
		return err_sys(e, errno, "%s", name);
	return 0;
}

/* Hold what was downloaded against each other. */
static int
join(struct task *t, struct err *e)
{
	struct batch_join	j;

	memset(&j, 0, sizeof(j));
	j.requests = t->have[INPUT] ? file_in_work[INPUT] : NULL;
	j.output = t->have[OUTPUT] ? file_in_work[OUTPUT] : NULL;
	j.errors = t->have[ERRORS] ? file_in_work[ERRORS] : NULL;
	j.total = t->obj.total;
	j.has_total = t->obj.has_counts;
	j.out = RESULTS;
	j.requeue = t->o->requeue != NULL ? REQUEUE : NULL;
	j.stale = t->o->stale;
	j.stale_len = t->o->stale_len;
	return batch_read(&t->api, t->dir, &j,
	    t->bytes[INPUT] + t->bytes[OUTPUT] + t->bytes[ERRORS], &t->got,
	    e);
}

static int
bring(struct task *t, struct err *e)
{
	if (mkdirat(t->dir, WORK, 0700) == -1)
		return err_sys(e, errno, "staging: %s", WORK);
	if (download(t, e) == -1 || join(t, e) == -1)
		return -1;
	return t->o->requeue == NULL ? 0 : batch_requeue(t->url, t->id,
	    t->dir, REQUEUE, t->o->requeue, e);
}

static int
run(struct task *t, int keep, char name[FETCH_NAME_MAX],
    struct fetch_info *info, unsigned char d[HASH_LEN], struct err *e)
{
	struct err	ignored = { 0, "" };
	int		rv;

	if ((rv = bring(t, e)) == 0 && (rv = verdict(t, e)) == 0)
		rv = hand_over(t, keep, name, info, d, e);
	if (io_rmtree(t->dir, WORK, rv != -1 ? e : &ignored) == -1)
		rv = -1;
	return rv;
}

int
fetch_batch(struct remote *r, const struct fetch_batch_opts *o,
    const char *url, int dirfd, char name[FETCH_NAME_MAX],
    struct fetch_info *info, unsigned char d[HASH_LEN], struct err *e)
{
	struct task	t;
	struct stage	tmp;
	int		own = 0, rv;

	rv = look(&t, r, url, e);
	if (rv == 0)
		rv = judge_state(&t, e);
	if (rv == 0) {
		t.o = o;
		t.dir = dirfd;
		if (dirfd == -1) {
			rv = stage_make(&tmp, stage_parent(), NULL, e);
			own = rv == 0;
			t.dir = own ? tmp.dirfd : -1;
		}
	}
	if (rv == 0)
		rv = run(&t, !own, name, info, d, e);
	if (own) {
		if (stage_remove(&tmp, e) == -1)
			rv = -1;
		stage_clear(&tmp);
	}
	if (rv == -1)
		batch_api_mask(&t.api, e->text);
	batch_api_clear(&t.api);
	return rv;
}
