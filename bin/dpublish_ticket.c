/*
 * dpublish --commit, --discard: what the stages of a run under drun left as
 * tickets, done or undone, in their order.  What a ticket says is decided
 * before; here no store is looked at.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "io.h"
#include "ticket.h"
#include "banned.h"

/* An intermediate that was put in its place, for checkpoint databases. */
struct chunk {
	const char	*to, *run;
};

static void
chunk_in(const char *path, void *arg)
{
	const struct chunk *k = arg;
	struct err	 e = { 0, "" };
	struct ckpt	*db = ckpt_open(path, CKPT_CREATE, &e);

	if (db != NULL && ckpt_done(db, CKPT_CHUNK, k->to, NULL, k->run,
	    &e) != -1)
		(void)ckpt_finish(db, k->run, NULL, &e);
	if (e.code != 0)
		msg_warn("warning: %s", e.text);
	ckpt_close(db);
}

static void
note_chunk(const char *path, const char *to, const char *run)
{
	struct chunk	k = { to, run };

	ckpt_run_each(path, chunk_in, &k);
}

/* The staging of the run whose tickets are asked for. */
static int
join(struct stage *s, const struct dpub_opts *o, struct err *e)
{
	const char	*path = o->filter.stage;

	memset(s, 0, sizeof(*s));
	s->dirfd = s->lockfd = -1;
	if (path == NULL)
		path = getenv("DSTAGE");
	if (path == NULL || *path == '\0')
		return err_set(e, MSG_USAGE, "no staging directory: DSTAGE "
		    "is not set, and neither is --stage given");
	return stage_join(s, path, e);
}

/* The ticket's target, under the lock that it was prepared with. */
static struct target *
open_ticket(const struct rec *ticket, const char *url,
    const struct dpub_opts *o, struct err *e)
{
	struct dpub_opts	with = *o;

	(void)rec_get_str(ticket, "lock", &with.lock);
	return dpub_open_target(url, 0, &with, e);
}

/* One "publish" ticket; *pub gets the record to show. */
static int
commit_ticket(const struct rec *ticket, const struct stage *s,
    const struct dpub_opts *o, struct rec **pub, int *done, struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 c, head;
	struct target		*t = NULL;
	const char		*claim, *url;
	int			 same = 0, rv = -1;

	memset(&c, 0, sizeof(c));
	memset(&head, 0, sizeof(head));
	*pub = rec_get_map(ticket, "published");
	if (*pub == NULL || !rec_get_str(ticket, "claim", &claim) ||
	    !rec_get_str(*pub, "target", &url))
		return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	if (dpub_commit_of(*pub, &c, e) == -1)
		return -1;
	t = open_ticket(ticket, url, o, e);
	if (t == NULL)
		goto done;
	(void)rec_get_bool(*pub, "unchanged", &same);
	if (same) {
		if (target_head(t, &head, e) == -1)
			goto done;
		if (head.generation != c.generation) {
			dpub_moved(t, &head, e);
			goto done;
		}
		if (dpub_repair(t, s, &head, e) == -1)
			goto done;
		rv = 0;
		dpub_note_same(o->ckpt, t, &c, s->run);
		goto done;
	}
	u = target_resume(t, claim, e);
	if (u == NULL)
		goto done;
	rv = dpub_commit(t, u, &c, done, e);
	dpub_note(o->ckpt, t, &c, *done ? 0 : e->code, e->text);
done:
	target_upload_free(u);
	target_close(t);
	target_commit_clear(&c);
	target_commit_clear(&head);
	return rv;
}

/*
 * Of several tickets, each in turn: may what it was prepared for still be
 * had?  Asked before any is done, so that what has lost already takes
 * nothing with it; between here and its commit another may come yet.
 */
static int
prove_one(const struct rec *ticket, const struct dpub_opts *o, struct err *e)
{
	struct target_commit	 c, head, at;
	struct target		*t = NULL;
	struct rec		*pub = rec_get_map(ticket, "published");
	const char		*url;
	int			 same = 0, r = -1;

	memset(&c, 0, sizeof(c));
	memset(&head, 0, sizeof(head));
	memset(&at, 0, sizeof(at));
	if (pub == NULL || !rec_get_str(pub, "target", &url))
		err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	else {
		(void)rec_get_bool(pub, "unchanged", &same);
		/* of --in-place: where its journal lies */
		if (rec_get_str(ticket, "at", &url) && same)
			r = 0;
		else if (dpub_commit_of(pub, &c, e) == 0 &&
		    (t = open_ticket(ticket, url, o, e)) != NULL)
			r = target_newest(t, &head, e);
	}
	if (r == 1 && head.generation >= c.generation && !(same &&
	    head.generation == c.generation)) {
		/* it may be this very run, whose commit was cut short */
		r = same ? 0 : target_commit_get(t, c.generation, &at, e);
		if (r == 0 || (r == 1 && strcmp(at.version, c.version) != 0))
			r = dpub_moved(t, &head, e);
	}
	rec_free(pub);
	target_close(t);
	target_commit_clear(&c);
	target_commit_clear(&head);
	target_commit_clear(&at);
	return r == -1 ? -1 : 0;
}

/* Is the ticket about a version? */
static int
is_publish(const struct rec *ticket)
{
	const char	*kind;

	return rec_get_str(ticket, "kind", &kind) &&
	    (strcmp(kind, "publish") == 0 || strcmp(kind, "in-place") == 0);
}

static int
prove_all(struct rec *const *v, size_t n, const struct dpub_opts *o,
    struct err *e)
{
	size_t	i;

	for (i = 0; n > 1 && i < n; i++)
		if (is_publish(v[i]) && prove_one(v[i], o, e) == -1)
			return -1;
	return 0;
}

/* One that was done before another failed: there is no way back. */
static void
say_stays(const struct rec *ticket)
{
	struct rec	*pub = rec_get_map(ticket, "published");
	const char	*at = "";
	uint64_t	 g = 0;

	if (pub != NULL && rec_get_str(pub, "target", &at) &&
	    rec_get_u64(pub, "generation", &g))
		msg_warn("%s: generation %llu is published all the same, and "
		    "stays: run again for the rest", at,
		    (unsigned long long)g);
	else if (rec_get_str(ticket, "to", &at))
		msg_warn("%s: is there all the same, and stays: run again "
		    "for the rest", at);
	rec_free(pub);
}

static int
discard_ticket(const struct rec *ticket, const struct dpub_opts *o,
    struct err *e)
{
	struct target_upload	*u;
	struct target		*t;
	struct rec		*pub;
	const char		*kind = "", *claim, *url;
	int			 rv = 0;

	(void)rec_get_str(ticket, "kind", &kind);
	if (strcmp(kind, "place") == 0)
		return ticket_discard_place(ticket, e);
	if (strcmp(kind, "artifact") == 0)
		return 0; /* nothing of it is there yet */
	pub = rec_get_map(ticket, "published");
	if (pub == NULL || !rec_get_str(ticket, "claim", &claim) ||
	    !rec_get_str(pub, "target", &url))
		rv = err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	else if (*claim != '\0') {
		/* of --in-place: where its journal lies */
		(void)rec_get_str(ticket, "at", &url);
		t = open_ticket(ticket, url, o, e);
		u = t == NULL ? NULL : target_resume(t, claim, e);
		rv = u == NULL ? -1 : target_abandon(u, e);
		/* gone already is what was wanted */
		if (u == NULL && e->code == MSG_NOINPUT) {
			e->code = 0;
			rv = 0;
		}
		target_upload_free(u);
		target_close(t);
	}
	rec_free(pub);
	return rv;
}

static int
discard_all(struct rec **v, size_t from, size_t n,
    const struct dpub_opts *o)
{
	struct err	e;
	size_t		i;
	int		status = 0;

	for (i = from; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (discard_ticket(v[i], o, &e) == -1) {
			msg_err(&e);
			status = msg_worse(status, e.code);
		}
	}
	return status;
}

/* A record for whoever reads the commit; nobody where out is NULL. */
static int
tell(struct stream_out *out, const struct rec *r, struct err *e)
{
	return out == NULL ? 0 : stream_write(out, r, e);
}

/* Is any of the tickets about a version?  Then there is news to tell. */
static int
any_publish(struct rec *const *v, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		if (is_publish(v[i]))
			return 1;
	return 0;
}

/* Do one ticket and write its record. */
static int
do_ticket(const struct rec *ticket, const struct stage *s,
    const struct dpub_opts *o, struct stream_out *out, int *status)
{
	struct err	 e = { 0, "" };
	struct rec	*pub = NULL;
	const char	*kind = "", *to = "";
	int		 done = 0, rv;

	(void)rec_get_str(ticket, "kind", &kind);
	if (strcmp(kind, "place") == 0) {
		(void)rec_get_str(ticket, "to", &to);
		rv = ticket_commit_place(ticket, &e);
		if (rv == 0)
			note_chunk(o->ckpt, to, s->run);
		pub = rec_new("placed");
		rec_set_str(pub, "path", to);
		done = rv == 0;
	} else if (strcmp(kind, "artifact") == 0) {
		(void)rec_get_str(ticket, "to", &to);
		rv = dpub_artifact_commit(ticket, s, &pub, &e);
		done = rv == 0;
	} else if (strcmp(kind, "in-place") == 0)
		rv = dpub_inplace_commit(ticket, s, o, &pub, &done, &e);
	else if (strcmp(kind, "publish") == 0)
		rv = commit_ticket(ticket, s, o, &pub, &done, &e);
	else
		rv = err_set(&e, MSG_SOFTWARE, "ticket: unknown kind %s",
		    kind);
	if (rv == -1) {
		msg_err(&e);
		*status = msg_worse(*status, e.code);
	}
	memset(&e, 0, sizeof(e));
	if ((rv == 0 || done) && tell(out, pub, &e) == -1) {
		*status = msg_worse(*status, e.code);
		if (e.text[0] != '\0')
			msg_err(&e);
		if (done)
			msg_warn("%s: committed all the same",
			    *to != '\0' ? to : "the version");
	}
	rec_free(pub);
	return rv;
}

/* hello, that somebody will read what becomes of the tickets: 0, -1. */
static int
tell_hello(struct stream_out *out, const char *run, struct err *e)
{
	struct rec	*r = filter_hello(run);
	int		 rv = tell(out, r, e);

	rec_free(r);
	return rv;
}

/* end or fail, after the tickets; returns the exit status. */
static int
tell_end(struct stream_out *out, size_t n, int status)
{
	struct err	 e = { 0, "" };
	struct rec	*r = rec_new(status == 0 ? "end" : "fail");
	struct rec	*totals;

	if (status == 0) {
		totals = rec_map();
		rec_set_u64(totals, "committed", n);
		rec_set_map(r, "totals", totals);
		rec_free(totals);
	} else {
		rec_set_str(r, "prog", msg_prog());
		rec_set_u64(r, "status", (uint64_t)status);
	}
	if (tell(out, r, &e) == -1 && status == 0) {
		status = e.code;
		if (e.text[0] != '\0')
			msg_warn("%s (everything was committed)", e.text);
	}
	rec_free(r);
	if (close(STDOUT_FILENO) == -1 && errno != EINTR && status == 0) {
		memset(&e, 0, sizeof(e));
		err_sys(&e, errno, "stdout");
		msg_warn("%s (everything was committed)", e.text);
		status = e.code;
	}
	return status;
}

/* All of them, or none where one has lost before; the exit status. */
static int
do_all(struct rec **v, size_t n, const struct stage *s,
    const struct dpub_opts *o, struct stream_out *out)
{
	struct err	e = { 0, "" };
	size_t		i = 0, k;
	int		status = 0;

	/* the last moment at which a signal is not too late */
	if (prove_all(v, n, o, &e) == -1 || (io_signal() != 0 &&
	    err_set(&e, MSG_TEMPFAIL, "stopped by a signal") == -1)) {
		msg_err(&e);
		return msg_worse(e.code, discard_all(v, 0, n, o));
	}
	while (i < n && do_ticket(v[i], s, o, out, &status) == 0)
		i++;
	/* the one that failed has cleaned up after itself; later ones go */
	if (i < n) {
		for (k = 0; k < i; k++)
			say_stays(v[k]);
		status = msg_worse(status, discard_all(v, i, n, o));
	}
	return status;
}

int
dpub_commit_tickets(const struct dpub_opts *o)
{
	struct stage	 s;
	struct stream_out *out = NULL;
	struct err	 e = { 0, "" };
	struct rec	**v = NULL;
	size_t		 n = 0;
	int		 status = 0;

	if (join(&s, o, &e) == -1 || ticket_read_all(&s, &v, &n, &e) == -1) {
		msg_err(&e);
		status = e.code;
	} else if (n != 0) {
		if (any_publish(v, n))
			out = stream_out_new(STDOUT_FILENO,
			    ticket_mode(v[0]));
		if (tell_hello(out, s.run, &e) == 0)
			status = tell_end(out, n, do_all(v, n, &s, o, out));
		else {
			/* nobody could be told: better nothing than unsaid */
			status = e.code;
			if (e.text[0] != '\0')
				msg_err(&e);
			(void)discard_all(v, 0, n, o);
		}
	}
	stream_out_free(out);
	ticket_free_all(v, n);
	stage_clear(&s);
	return status;
}

int
dpub_discard_tickets(const struct dpub_opts *o)
{
	struct stage	 s;
	struct err	 e = { 0, "" };
	struct rec	**v = NULL;
	size_t		 n = 0;
	int		 status;

	if (join(&s, o, &e) == -1 || ticket_read_all(&s, &v, &n, &e) == -1) {
		msg_err(&e);
		status = e.code;
	} else
		status = discard_all(v, 0, n, o);
	ticket_free_all(v, n);
	stage_clear(&s);
	return status;
}
