/*
 * dpublish quarantine: refused inputs set aside into the target's
 * quarantine/, with their verdicts, and back.  It judges nothing and
 * deletes nothing but what it has proved to be a second copy.  How an entry
 * is written down is dpublish_entry's, what is refused dpublish_refusal's,
 * how an input is moved dpublish_move's.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "dpublish_move.h"
#include "dpublish_refusal.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "banned.h"

struct quarantine {
	const struct dpub_opts	*o;
	struct target		*t;
	struct target_upload	*u;	/* NULL: nothing is written */
	struct move		 m;
	struct refusals		 list;
	struct buf		 requeue;	/* lines */
	int			 status;	/* gravest so far */
};

static const struct target_claim none = { NULL, 0, NULL, NULL };

/* One input could not be moved: it is named, and the others go on. */
static void
complain(struct quarantine *q, const struct err *e)
{
	q->status = msg_worse(q->status, e->code);
	if (io_signal() == 0)
		msg_err(e);
}

/* The line of an entry for whoever sends it again, into q->requeue. */
static int
requeue_entry(struct quarantine *q, const char *name, struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	int		r;

	if (q->o->requeue == NULL)
		return 0;
	entry_key(key, name, ENTRY_REQUEUE);
	buf_init(&b, ENTRY_NOTE_MAX);
	r = target_note_get(q->t, key, &b, e);
	if (r == 1)
		buf_add(&q->requeue, b.p, b.len);
	buf_free(&b);
	return r == -1 ? -1 : 0;
}

/* Moving. */

static int
say(struct quarantine *q, const char *type, const char *what,
    const struct entry *n, struct err *e)
{
	struct rec	*r;
	char		*place = entry_place(q->t, n), at[32];
	int		 rv = 0;

	if (q->o->filter.json) {
		r = rec_new(type);
		rec_set_str(r, "url", n->url);
		rec_set_str(r, "sha256", n->sha256);
		rec_set_str(r, "kind", n->dir ? "dir" : "file");
		rec_set_str(r, "name", n->name);
		rec_set_str(r, "path", place);
		rec_set_str(r, "verdict", n->verdict);
		rec_set_str(r, "reason", n->reason);
		rec_set_str(r, "mend", n->mend);
		if (q->o->list) {
			dpub_when(n->when, at);
			rec_set_str(r, "when", at);
			rec_set_bool(r, "moved", n->moved);
		} else
			rec_set_bool(r, "dry_run", q->o->dry_run);
		rv = dpub_json(r, e);
		rec_free(r);
	} else if (printf("%s %s %s %s (%s)\n", what, n->url,
	    strcmp(what, "kept") == 0 ? "in" :
	    strcmp(type, "unquarantined") == 0 ? "from" : "to", place,
	    n->verdict) < 0)
		rv = err_sys(e, errno, "stdout");
	free(place);
	return rv;
}

/* An entry that is set aside, or not any more, for checkpoint databases. */
struct aside {
	const char	*url, *sha256, *where;	/* where NULL: back */
};

static void
aside_in(const char *path, void *arg)
{
	const struct aside	*a = arg;
	struct err		 e = { 0, "" };
	struct ckpt		*c = ckpt_open(path, 0, &e);

	if (c != NULL)
		(void)ckpt_aside(c, a->url, a->sha256, a->where, &e);
	ckpt_close(c);
	/* it is a memory: trouble with it is said and changes nothing */
	if (e.code != 0 && e.code != MSG_NOINPUT)
		msg_warn("warning: %s", e.text);
}

static void
note_aside(const struct quarantine *q, const struct entry *n, int back)
{
	char		*place = entry_place(q->t, n);
	struct aside	 a = { n->url, n->sha256, back ? NULL : place };

	if (!q->o->dry_run)
		ckpt_run_each(q->o->ckpt, aside_in, &a);
	free(place);
}

/* Are these the bytes of the entry? */
static int
is_it(const struct entry *n, const struct move_thing *x)
{
	char	hex[HASH_HEX];

	hash_hex(x->d, hex);
	return strcmp(hex, n->sha256) == 0;
}

/* It is not: what that means depends on where. */
static int
is_other(const struct entry *n, const struct move_thing *x, const char *url,
    int code, const char *why, struct err *e)
{
	char	hex[HASH_HEX];

	hash_hex(x->d, hex);
	return err_set(e, code, "%s: sha256: want %.16s..., got %.16s...: %s",
	    url, n->sha256, hex, why);
}

/*
 * x is what lies at from, and there what lies at to (n 0: nothing): by a
 * rename where one will do, else by a copy that is proved.  0, 1 it is at
 * to and still at from, -1.
 */
static int
bring_there(struct quarantine *q, const struct move_thing *x,
    const struct move_thing *there, const char *from, const char *to,
    struct err *e)
{
	int	r = 1;

	if (there->n == 0)
		r = move_rename(from, to, e);
	if (r != 1)
		return r;
	return move_put(&q->m, x, to, e) == -1 ? -1 : 1;
}

/*
 * Move what n is from one place to the other.  There may be the half, or
 * the whole, of it already, from one who was killed.
 */
static int
move_there(struct quarantine *q, const struct entry *n, const char *from,
    const char *to, int code, const char *why, struct err *e)
{
	struct move_thing	x, there;
	int			have, r, rv = -1;

	memset(&x, 0, sizeof(x));
	r = have = move_read(&q->m, to, &there, e);
	if (r == 1 && is_it(n, &there)) {
		/* who was killed may have renamed it, and not synced that */
		if (move_settle(to, e) == 0)
			rv = move_remove(&q->m, from, &there, e);
		goto done;
	}
	if (r == -1)
		goto done;
	r = move_read(&q->m, from, &x, e);
	if (have && r != -1 && (r == 0 || !remote_is_s3(to) ||
	    !move_is_part(&there, &x)))
		is_other(n, &there, to, MSG_CANTCREAT, "something else is "
		    "there, and is not written over", e);
	else if (r == 0)
		err_set(e, MSG_NOINPUT, "%s: it is not there, nor in %s",
		    from, to);
	else if (r == 1 && !is_it(n, &x))
		is_other(n, &x, from, code, why, e);
	if (e->code != 0)
		goto done;
	rv = bring_there(q, &x, &there, from, to, e);
	if (rv == 1)
		rv = move_remove(&q->m, from, &x, e);
done:
	if (rv == 1)
		msg_warn("warning: %s: something else lies there now, and "
		    "stays", from);
	move_thing_clear(&x);
	move_thing_clear(&there);
	return rv == 1 ? 0 : rv;
}

/* The same bytes again where they were moved from: 1, 0 no, -1. */
static int
is_back(struct quarantine *q, const struct entry *n, struct err *e)
{
	struct move_thing	x;
	int			r;

	r = move_read(&q->m, n->url, &x, e);
	if (r != 1)
		return r;
	r = is_it(n, &x);
	if (!r)
		msg_info("%s: something else lies there now, and stays",
		    n->url);
	move_thing_clear(&x);
	return r;
}

/* Whatever was begun with an entry, to its end. */
static int
finish_entry(struct quarantine *q, struct entry *n, struct err *e)
{
	char	 key[TARGET_KEY_MAX], text[256], *to;
	int	 r = 1;

	if (n->moved)
		r = is_back(q, n, e);
	if (r == -1)
		return -1;
	if (r != 1) {
		note_aside(q, n, 0);
		return say(q, "quarantined", "kept", n, e);
	}
	if (!q->o->dry_run) {
		to = entry_place(q->t, n);
		r = move_there(q, n, n->url, to, MSG_DATAERR,
		    "it has changed since it was checked: check it again", e);
		free(to);
		if (r == -1)
			return -1;
	}
	if (!n->moved && !q->o->dry_run) {
		entry_key(key, n->name, ENTRY_MOVED);
		r = snprintf(text, sizeof(text), "{\"run\":\"%s\","
		    "\"when_ns\":%" PRId64 "}\n", q->m.run, io_wall_ns());
		if (target_note_add(q->u, key, text, (size_t)r, e) == -1)
			return -1;
		n->moved = 1;
	}
	note_aside(q, n, 0);
	return say(q, "quarantined", q->o->dry_run ? "would move" :
	    "moved", n, e);
}

static void
verdict_text(struct buf *b, const struct quarantine *q,
    const struct refusal *r, const char *file, const struct move_thing *x)
{
	char	at[32];
	int64_t	now = io_wall_ns();

	dpub_when(now, at);
	buf_addc(b, '{');
	json_put_kstr(b, "url", r->url);
	json_put_kstr(b, "sha256", r->sha256);
	json_put_kstr(b, "kind", x->dir ? "dir" : "file");
	json_put_kint(b, "size", (int64_t)x->size);
	json_put_kstr(b, "file", file);
	json_put_kstr(b, "verdict", r->verdict);
	if (r->reason != NULL)
		json_put_kstr(b, "reason", r->reason);
	if (r->mend != NULL)
		json_put_kstr(b, "mend", r->mend);
	json_put_kstr(b, "when", at);
	json_put_kint(b, "when_ns", now);
	json_put_kstr(b, "run", q->m.run);
	buf_str(b, "}\n");
}

/* The two notes that begin an entry; what it is comes with them. */
static int
begin_entry(struct quarantine *q, const struct refusal *r, const char *name,
    const struct move_thing *x, struct entry *n, struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX], file[ENTRY_FILE_MAX];
	int		rv = 0;

	entry_file(file, r->url);
	buf_init(&b, ENTRY_NOTE_MAX);
	if (!q->o->dry_run) {
		refusal_line(&b, name, r, x);
		entry_key(key, name, ENTRY_REQUEUE);
		rv = target_note_add(q->u, key, b.p, b.len, e);
		buf_reset(&b);
	}
	if (rv != -1) {
		verdict_text(&b, q, r, file, x);
		entry_key(key, name, ENTRY_VERDICT);
		rv = q->o->dry_run ? 0 : target_note_add(q->u, key, b.p,
		    b.len, e);
	}
	/* 1: another began it meanwhile */
	if (rv == 1)
		rv = entry_get(q->t, name, n, e) == 1 ? 0 : -1;
	else if (rv == 0) {
		rv = entry_parse(n, &b);
		n->name = mem_dup(name);
	}
	buf_free(&b);
	return rv;
}

/* Nothing of the target's own is an input. */
static int
is_ours(const struct quarantine *q, const char *url)
{
	static const char *const names[] = { TARGET_COMMITS, TARGET_VERSIONS,
	    TARGET_STAGING, TARGET_QUARANTINE, TARGET_PINS };
	const char	*t = target_url(q->t);
	size_t		 n = strlen(t), i, k;

	if (strncmp(url, t, n) != 0)
		return 0;
	if (url[n] == '\0' || strcmp(url + n, "/") == 0)
		return 1;
	for (i = 0; url[n] == '/' && i < sizeof(names) / sizeof(names[0]);
	    i++) {
		k = strlen(names[i]);
		if (strncmp(url + n + 1, names[i], k) == 0 &&
		    (url[n + 1 + k] == '/' || url[n + 1 + k] == '\0'))
			return 1;
	}
	return 0;
}

/* One refusal set aside. */
static int
set_aside(struct quarantine *q, struct refusal *r, struct err *e)
{
	struct move_thing	x;
	struct entry		n;
	char			name[ENTRY_NAME_MAX], hex[HASH_HEX];
	int			rv = -1, s;

	memset(&x, 0, sizeof(x));
	memset(&n, 0, sizeof(n));
	if (is_ours(q, r->url))
		return err_set(e, MSG_USAGE, "%s: it belongs to the target: "
		    "want an input", r->url);
	if (!move_can(r->url)) {
		msg_warn("warning: %s: it cannot be moved from there: %s",
		    r->url, q->o->requeue != NULL ? "listed for requeue" :
		    "left alone");
		if (q->o->requeue != NULL)
			refusal_line(&q->requeue, NULL, r, NULL);
		return 0;
	}
	if (r->sha256[0] != '\0') {
		entry_name(name, r->url, r->sha256);
		s = entry_get(q->t, name, &n, e);
		if (s == -1)
			goto done;
		if (s == 1)
			goto finish;
	}
	s = move_read(&q->m, r->url, &x, e);
	if (s == 0 && r->sha256[0] == '\0') {
		s = entry_of_url(q->t, r->url, &n, e);
		if (s == 1)
			goto finish;
	}
	if (s == 0)
		err_set(e, MSG_NOINPUT, "%s: it is not there", r->url);
	if (s != 1)
		goto done;
	hash_hex(x.d, hex);
	if (r->sha256[0] != '\0' && strcmp(hex, r->sha256) != 0) {
		err_set(e, MSG_DATAERR, "%s: sha256: want %.16s..., got "
		    "%.16s...: it has changed since it was checked: check it "
		    "again", r->url, r->sha256, hex);
		goto done;
	}
	memcpy(r->sha256, hex, HASH_HEX);
	entry_name(name, r->url, r->sha256);
	s = entry_get(q->t, name, &n, e);
	if (s == -1 || (s == 0 && begin_entry(q, r, name, &x, &n, e) == -1))
		goto done;
finish:
	if (finish_entry(q, &n, e) == 0 && (q->o->dry_run ||
	    requeue_entry(q, n.name, e) == 0))
		rv = 0;
done:
	move_thing_clear(&x);
	entry_clear(&n);
	return rv;
}

/* Entries that killed runs began, whoever asks. */
static int
finish_begun(struct quarantine *q, struct err *e)
{
	struct target_names	w;
	struct entry		n;
	struct err		f;
	size_t			i;
	int			r;

	if (target_list(q->t, TARGET_QUARANTINE, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && io_signal() == 0; i++) {
		memset(&f, 0, sizeof(f));
		r = entry_get(q->t, w.v[i], &n, &f);
		/* what is none of ours is the operator's */
		if (r == 1 && !n.moved && (finish_entry(q, &n, &f) == -1 ||
		    requeue_entry(q, n.name, &f) == -1))
			complain(q, &f);
		entry_clear(&n);
	}
	target_names_clear(&w);
	return 0;
}

/* Opening and closing. */

static int
q_open(struct quarantine *q, const char *target, const struct dpub_opts *o,
    int writes, struct err *e)
{
	memset(q, 0, sizeof(*q));
	q->o = o;
	buf_init(&q->requeue, REFUSAL_LIST_MAX);
	q->m.lock = o->lock;
	q->m.ckpt = o->ckpt;
	if (remote_is_http(target))
		return err_set(e, MSG_USAGE, "%s: inputs are set aside into a "
		    "directory or s3://bucket/prefix", target);
	q->t = dpub_open_target(target, 0, o, e);
	if (q->t == NULL || stage_run_id(q->m.run, e) == -1)
		return -1;
	if (!writes)
		return 0;
	if (target_collect(q->t, 0, 0, NULL, NULL, e) == -1)
		return -1;
	q->u = target_begin(q->t, NULL, q->m.run, &none, e);
	return q->u == NULL ? -1 : 0;
}

/* The exit status. */
static int
q_close(struct quarantine *q, const struct err *why)
{
	struct err	f = { 0, "" };

	if (q->u != NULL && target_finish(q->u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(q->u);
	move_end(&q->m);
	target_close(q->t);
	refusals_clear(&q->list);
	buf_free(&q->requeue);
	if (why->code != 0)
		q->status = msg_worse(q->status, dpub_failed(why));
	return q->status;
}

/* The list. */

static int
is_of_age(const struct dpub_opts *o, int64_t when)
{
	int64_t	age = (io_wall_ns() - when) / 1000000000;

	if (age < 0)
		age = 0;
	return (!o->has_age_newer || (uint64_t)age < o->age_newer) &&
	    (!o->has_age_older || (uint64_t)age >= o->age_older);
}

static int
list_one(struct quarantine *q, const struct entry *n, struct err *e)
{
	char	at[32];

	if (!refusal_is_wanted(q->o, n->verdict) || !is_of_age(q->o, n->when))
		return 0;
	if (q->o->filter.json)
		return say(q, "quarantined", "", n, e);
	dpub_when(n->when, at);
	if (printf("%s  %-10s %-7s %s  %s\n", at, n->verdict, n->moved ?
	    "moved" : "begun", n->name, n->url) < 0)
		return err_sys(e, errno, "stdout");
	return 0;
}

static int
list_all(struct quarantine *q, struct err *e)
{
	struct target_names	w;
	struct entry		n;
	struct err		f;
	size_t			i;
	int			r, rv = 0;

	if (target_list(q->t, TARGET_QUARANTINE, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && rv == 0 && io_signal() == 0; i++) {
		memset(&f, 0, sizeof(f));
		r = entry_get(q->t, w.v[i], &n, &f);
		if (r == -1)
			complain(q, &f);
		if (r == 1)
			rv = list_one(q, &n, e);
		entry_clear(&n);
	}
	target_names_clear(&w);
	return rv == -1 ? -1 : dpub_flush(e);
}

int
dpub_quarantine(const char *target, char **inputs,
    const struct dpub_opts *o)
{
	struct quarantine	q;
	struct err		e = { 0, "" }, f;
	size_t			i;

	if (q_open(&q, target, o, !o->list && !o->dry_run, &e) == -1)
		return q_close(&q, &e);
	if (o->list) {
		(void)list_all(&q, &e);
		return q_close(&q, &e);
	}
	if (refusals_choose(&q.list, o, inputs, &e) == 0 &&
	    finish_begun(&q, &e) == 0) {
		for (i = 0; i < q.list.n && io_signal() == 0; i++) {
			memset(&f, 0, sizeof(f));
			if (q.list.v[i].wanted &&
			    set_aside(&q, &q.list.v[i], &f) == -1)
				complain(&q, &f);
		}
		if (o->requeue == NULL || o->dry_run ||
		    refusal_requeue(o->requeue, &q.requeue, &e) == 0)
			(void)dpub_flush(&e);
	}
	return q_close(&q, &e);
}

/* Back. */

static int
put_back(struct quarantine *q, const char *name, struct err *e)
{
	struct entry	n;
	char		key[TARGET_KEY_MAX], *from;
	int		r, rv = -1;

	if (!path_is_name(name))
		return err_set(e, MSG_USAGE, "%s: not a name in quarantine",
		    name);
	entry_key(key, name, NULL);
	r = entry_get(q->t, name, &n, e);
	if (r == 0)
		return entry_drop_rest(q->t, name, q->o->dry_run, e);
	if (r != 1)
		return -1;
	from = entry_place(q->t, &n);
	if (q->o->dry_run)
		rv = 0;
	else if (move_there(q, &n, from, n.url, MSG_DATAERR, "it is not what "
	    "was set aside", e) == 0 && (rv = entry_drop(q->t, &n, e)) == 0)
		note_aside(q, &n, 1);
	if (rv == 0)
		rv = say(q, "unquarantined", q->o->dry_run ? "would move" :
		    "moved", &n, e);
	free(from);
	entry_clear(&n);
	return rv;
}

int
dpub_unquarantine(const char *target, char **names,
    const struct dpub_opts *o)
{
	struct quarantine	q;
	struct err		e = { 0, "" }, f;
	size_t			i;

	if (q_open(&q, target, o, !o->dry_run, &e) == -1)
		return q_close(&q, &e);
	for (i = 0; names[i] != NULL && io_signal() == 0; i++) {
		memset(&f, 0, sizeof(f));
		if (put_back(&q, names[i], &f) == -1)
			complain(&q, &f);
	}
	(void)dpub_flush(&e);
	return q_close(&q, &e);
}
