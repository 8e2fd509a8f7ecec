/*
 * dpublish quarantine: refused inputs set aside into the target's
 * quarantine/, with their verdicts, and back.  It judges nothing and
 * deletes nothing but what it has proved to be a second copy.
 *
 *	quarantine/<name>/requeue.json	the line for whoever sends it again
 *	quarantine/<name>/verdict.json	written next: what is moved, and why
 *	quarantine/<name>/<file>	the input, under its own name
 *	quarantine/<name>/moved.json	written last: it is there and no more
 *					where it was
 *
 * An entry with a verdict and no moved.json is what a killed run left; the
 * next one goes on with it.  On the way back verdict.json goes before
 * moved.json, so that no such entry is ever half of a way back.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "dpublish_move.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "plan.h"
#include "remote.h"
#include "banned.h"

#define Q_VERDICT	"verdict.json"
#define Q_MOVED		"moved.json"
#define Q_REQUEUE	"requeue.json"
#define Q_BASE_MAX	100		/* bytes of an input's name in one */
#define Q_LINE_MAX	((size_t)1 << 20)	/* of a list of verdicts */
#define Q_LIST_MAX	((size_t)1 << 30)
#define Q_RESULTS_MAX	((size_t)256 << 20) /* of a batch result looked
					       through for ids */
#define Q_NOTE_MAX	((size_t)32 << 20)
#define Q_OPERATOR	"operator"	/* the verdict of a person */

/* One refusal: what is to be moved, and why. */
struct refusal {
	char	*url;			/* canonical */
	char	 sha256[HASH_HEX];	/* "" not known */
	char	*verdict, *reason, *mend;
	int	 wanted;		/* an operand named it */
};

/* An entry, from its verdict.json. */
struct entry {
	char	*name, *url, *file, *verdict, *reason, *mend, *run;
	char	 sha256[HASH_HEX];
	int	 dir, moved;
	int64_t	 when;			/* ns since 1970 */
};

struct quarantine {
	const struct dpub_opts	*o;
	struct target		*t;
	struct target_upload	*u;	/* NULL: nothing is written */
	struct move		 m;
	struct refusal		*v;
	size_t			 n, cap;
	struct buf		 requeue;	/* lines */
	int			 status;	/* gravest so far */
};

static const struct target_claim none = { NULL, 0, NULL, NULL };

static char *
cat(const char *a, const char *sep, const char *b)
{
	size_t	 n = strlen(a) + strlen(sep) + strlen(b) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s%s", a, sep, b);
	return s;
}

/* One input could not be moved: it is named, and the others go on. */
static void
complain(struct quarantine *q, const struct err *e)
{
	q->status = msg_worse(q->status, e->code);
	if (io_signal() == 0)
		msg_err(e);
}

static void
note_key(char out[TARGET_KEY_MAX], const char *name, const char *file)
{
	(void)snprintf(out, TARGET_KEY_MAX, TARGET_QUARANTINE "/%s%s%s",
	    name, file != NULL ? "/" : "", file != NULL ? file : "");
}

/* Entries. */

static void
entry_clear(struct entry *n)
{
	free(n->name);
	free(n->url);
	free(n->file);
	free(n->verdict);
	free(n->reason);
	free(n->mend);
	free(n->run);
	memset(n, 0, sizeof(*n));
}

static char *
dup_str(const struct rec *r, const char *key)
{
	const char	*s;

	return rec_get_str(r, key, &s) ? mem_dup(s) : NULL;
}

/* What verdict.json says: 0, or -1 when it is none of ours. */
static int
entry_parse(struct entry *n, const struct buf *b)
{
	struct err	 f = { 0, "" };
	unsigned char	 d[HASH_LEN];
	const char	*sha, *kind;
	size_t		 len = b->len;
	struct rec	*r;
	int		 rv = -1;

	while (len > 0 && b->p[len - 1] == '\n')
		len--;
	r = rec_from_json((const char *)b->p, len, &f);
	if (r == NULL)
		return -1;
	n->url = dup_str(r, "url");
	n->file = dup_str(r, "file");
	n->verdict = dup_str(r, "verdict");
	n->reason = dup_str(r, "reason");
	n->mend = dup_str(r, "mend");
	n->run = dup_str(r, "run");
	(void)rec_get_i64(r, "when_ns", &n->when);
	if (n->url != NULL && n->file != NULL && path_is_name(n->file) &&
	    n->verdict != NULL && rec_get_str(r, "sha256", &sha) &&
	    hash_unhex(sha, d) == 0 && rec_get_str(r, "kind", &kind)) {
		memcpy(n->sha256, sha, HASH_HEX);
		n->dir = strcmp(kind, "dir") == 0;
		rv = 0;
	}
	rec_free(r);
	return rv;
}

/* 1 *n, 0 there is none of that name, -1.  For entry_clear. */
static int
entry_get(struct quarantine *q, const char *name, struct entry *n,
    struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	int		r, moved;

	memset(n, 0, sizeof(*n));
	note_key(key, name, Q_VERDICT);
	buf_init(&b, Q_NOTE_MAX);
	r = target_note_get(q->t, key, &b, e);
	if (r == 1 && entry_parse(n, &b) == -1)
		r = err_set(e, MSG_DATAERR, "%s/%s: not one of ours",
		    target_url(q->t), key);
	if (r == 1) {
		n->name = mem_dup(name);
		buf_reset(&b);
		note_key(key, name, Q_MOVED);
		moved = target_note_get(q->t, key, &b, e);
		n->moved = moved == 1;
		if (moved == -1)
			r = -1;
	}
	buf_free(&b);
	if (r != 1)
		entry_clear(n);
	return r;
}

/* Where the input of an entry lies: a URL, which the caller frees. */
static char *
entry_place(const struct quarantine *q, const struct entry *n)
{
	char	*dir = cat(target_url(q->t), "/" TARGET_QUARANTINE "/",
		    n->name), *file = cat(dir, "/", n->file), *s;

	s = cat(file, n->dir && target_is_remote(q->t) ? "/" : "", "");
	free(dir);
	free(file);
	return s;
}

/* The input's own name, as far as it is plain. */
static void
file_of(char out[Q_BASE_MAX + 8], const char *url)
{
	size_t		 len = strlen(url), i, n;
	const char	*s = url;

	while (len > 0 && url[len - 1] == '/')
		len--;
	for (i = 0; i < len; i++)
		if (url[i] == '/')
			s = url + i + 1;
	n = len - (size_t)(s - url);
	if (n > Q_BASE_MAX) {	/* its end says what it is */
		s += n - Q_BASE_MAX;
		n = Q_BASE_MAX;
	}
	for (i = 0; i < n; i++)
		out[i] = strchr("abcdefghijklmnopqrstuvwxyz"
		    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", s[i]) !=
		    NULL ? s[i] : '_';
	out[n] = '\0';
	if (n == 0 || out[0] == '.' || strcmp(out, Q_VERDICT) == 0 ||
	    strcmp(out, Q_MOVED) == 0 || strcmp(out, Q_REQUEUE) == 0)
		(void)snprintf(out, Q_BASE_MAX + 8, "input");
}

/* A name for the input of those bytes, the same each time. */
static void
name_of(char out[Q_BASE_MAX + 64], const char *url, const char *sha256)
{
	unsigned char	 d[HASH_LEN];
	char		 file[Q_BASE_MAX + 8], hex[HASH_HEX];
	struct hash	*h = hash_new();

	hash_add(h, url, strlen(url) + 1);
	hash_add(h, sha256, strlen(sha256));
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
	file_of(file, url);
	(void)snprintf(out, Q_BASE_MAX + 64, "%s-%.16s", file, hex);
}

/* What goes into the requeue list. */

/* custom_ids of the result file at path, as far as its lines have any. */
static void
add_ids(struct buf *b, const char *path)
{
	struct err	 f = { 0, "" };
	struct buf	 file;
	struct json	 j;
	struct json_val	 v;
	char		*s, *end, *nl;
	size_t		 n = 0;

	buf_init(&file, Q_RESULTS_MAX);
	if (io_slurp(AT_FDCWD, path, &file, &f) == -1 || file.len == 0 ||
	    file.p[0] != '{')
		goto done;
	s = (char *)file.p;
	for (end = s + file.len; s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			nl = end;
		memset(&j, 0, sizeof(j));
		if (json_find(&j, s, (size_t)(nl - s), &v, "custom_id",
		    NULL) == 1 && v.type == JSON_STR && v.len > 0) {
			if (n++ == 0) {
				json_put_key(b, "custom_ids");
				buf_addc(b, '[');
			} else
				buf_addc(b, ',');
			json_put_str(b, v.str, v.len);
		}
		json_clear(&j);
		if (nl == end)
			break;
	}
	if (n > 0)
		buf_addc(b, ']');
done:
	buf_free(&file);
}

static void
requeue_text(struct buf *b, const char *name, const struct refusal *r,
    const struct move_thing *x)
{
	buf_addc(b, '{');
	json_put_kstr(b, "url", r->url);
	if (r->sha256[0] != '\0')
		json_put_kstr(b, "sha256", r->sha256);
	json_put_kstr(b, "verdict", r->verdict);
	if (name != NULL)
		json_put_kstr(b, "quarantine", name);
	if (x != NULL && !x->dir)
		add_ids(b, x->at);
	buf_str(b, "}\n");
}

/* That of an entry, into q->requeue. */
static int
requeue_entry(struct quarantine *q, const char *name, struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	int		r;

	if (q->o->requeue == NULL)
		return 0;
	note_key(key, name, Q_REQUEUE);
	buf_init(&b, Q_NOTE_MAX);
	r = target_note_get(q->t, key, &b, e);
	if (r == 1)
		buf_add(&q->requeue, b.p, b.len);
	buf_free(&b);
	return r == -1 ? -1 : 0;
}

static int
has_line(const struct buf *b, const char *s, size_t n)
{
	size_t	i;

	for (i = 0; i + n <= b->len; i++) {
		if (memcmp(b->p + i, s, n) == 0)
			return 1;
		while (i < b->len && b->p[i] != '\n')
			i++;
	}
	return 0;
}

/* The list that is there keeps its lines; those that are new come behind. */
static int
requeue_write(struct quarantine *q, struct err *e)
{
	const char	*path = q->o->requeue, *s, *end, *nl;
	const char	*base;
	struct err	 f = { 0, "" };
	struct buf	 b;
	char		*tmp = NULL, *dir = NULL;
	int		 fd = -1, rv = -1;

	if (path == NULL || q->o->dry_run)
		return 0;
	buf_init(&b, Q_LIST_MAX);
	base = path_base(path);
	dir = base == path ? mem_dup(".") : mem_ndup(path,
	    (size_t)(base - path));
	tmp = cat(".", base, ".new");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "--requeue: %s", dir);
		goto done;
	}
	/* others may add to it at the same time */
	if (io_flock(fd, TARGET_LOCK_WAIT, &f) == -1) {
		err_set(e, f.code, "--requeue: %s: %s", dir, f.text);
		goto done;
	}
	if (io_slurp(fd, base, &b, &f) == -1 && f.code != MSG_NOINPUT) {
		err_set(e, f.code, "--requeue: %s", f.text);
		goto done;
	}
	if (b.len > 0 && b.p[b.len - 1] != '\n')
		buf_addc(&b, '\n');
	s = (const char *)q->requeue.p;
	for (end = s + q->requeue.len; s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			break;
		if (!has_line(&b, s, (size_t)(nl - s) + 1))
			buf_add(&b, s, (size_t)(nl - s) + 1);
	}
	if (b.over) {
		err_set(e, MSG_IOERR, "--requeue: %s: too long", path);
		goto done;
	}
	if (io_replace(fd, base, tmp, b.p, b.len, &f) == -1)
		err_set(e, f.code, "--requeue: %s: %s", dir, f.text);
	else
		rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	free(dir);
	free(tmp);
	buf_free(&b);
	return rv;
}

/* Moving. */

static int
say(struct quarantine *q, const char *type, const char *what,
    const struct entry *n, struct err *e)
{
	struct rec	*r;
	char		*place = entry_place(q, n), at[32];
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
	char		*place = entry_place(q, n);
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
		to = entry_place(q, n);
		r = move_there(q, n, n->url, to, MSG_DATAERR,
		    "it has changed since it was checked: check it again", e);
		free(to);
		if (r == -1)
			return -1;
	}
	if (!n->moved && !q->o->dry_run) {
		note_key(key, n->name, Q_MOVED);
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
	char		key[TARGET_KEY_MAX], file[Q_BASE_MAX + 8];
	int		rv = 0;

	file_of(file, r->url);
	buf_init(&b, Q_NOTE_MAX);
	if (!q->o->dry_run) {
		requeue_text(&b, name, r, x);
		note_key(key, name, Q_REQUEUE);
		rv = target_note_add(q->u, key, b.p, b.len, e);
		buf_reset(&b);
	}
	if (rv != -1) {
		verdict_text(&b, q, r, file, x);
		note_key(key, name, Q_VERDICT);
		rv = q->o->dry_run ? 0 : target_note_add(q->u, key, b.p,
		    b.len, e);
	}
	/* 1: another began it meanwhile */
	if (rv == 1)
		rv = entry_get(q, name, n, e) == 1 ? 0 : -1;
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

/* Among the entries, the one of an input that is gone from there. */
static int
entry_of_url(struct quarantine *q, const char *url, struct entry *n,
    struct err *e)
{
	struct target_names	w;
	struct err		f;
	size_t			i;
	int			found = 0;

	memset(n, 0, sizeof(*n));
	if (target_list(q->t, TARGET_QUARANTINE, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && !found; i++) {
		memset(&f, 0, sizeof(f));
		if (entry_get(q, w.v[i], n, &f) != 1)
			continue;
		found = n->moved && strcmp(n->url, url) == 0;
		if (!found)
			entry_clear(n);
	}
	target_names_clear(&w);
	return found;
}

/* One refusal set aside. */
static int
set_aside(struct quarantine *q, struct refusal *r, struct err *e)
{
	struct move_thing	x;
	struct entry		n;
	char			name[Q_BASE_MAX + 64], hex[HASH_HEX];
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
			requeue_text(&q->requeue, NULL, r, NULL);
		return 0;
	}
	if (r->sha256[0] != '\0') {
		name_of(name, r->url, r->sha256);
		s = entry_get(q, name, &n, e);
		if (s == -1)
			goto done;
		if (s == 1)
			goto finish;
	}
	s = move_read(&q->m, r->url, &x, e);
	if (s == 0 && r->sha256[0] == '\0') {
		s = entry_of_url(q, r->url, &n, e);
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
	name_of(name, r->url, r->sha256);
	s = entry_get(q, name, &n, e);
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
		r = entry_get(q, w.v[i], &n, &f);
		/* what is none of ours is the operator's */
		if (r == 1 && !n.moved && (finish_entry(q, &n, &f) == -1 ||
		    requeue_entry(q, n.name, &f) == -1))
			complain(q, &f);
		entry_clear(&n);
	}
	target_names_clear(&w);
	return 0;
}

/* What is to be set aside. */

static void
refusal_clear(struct refusal *r)
{
	free(r->url);
	free(r->verdict);
	free(r->reason);
	free(r->mend);
}

static int
is_code_wanted(const struct dpub_opts *o, const char *code)
{
	size_t	i;

	for (i = 0; i < o->n_codes; i++)
		if (strcmp(o->codes[i], code) == 0)
			return 1;
	return o->n_codes == 0;
}

/* One line of the list; those that are good, or not asked for, are not
   taken. */
static int
take_line(struct quarantine *q, const char *s, size_t len, size_t number,
    struct err *e)
{
	struct err	 f = { 0, "" };
	unsigned char	 d[HASH_LEN];
	struct refusal	*r;
	const char	*url, *code, *sha;
	struct rec	*m;
	int		 rv = -1;

	m = len == 0 || len > Q_LINE_MAX ? NULL : rec_from_json(s, len, &f);
	if (m == NULL || !rec_get_str(m, "url", &url) || *url == '\0' ||
	    !rec_get_str(m, "verdict", &code) ||
	    (rec_has(m, "sha256") && (!rec_get_str(m, "sha256", &sha) ||
	    hash_unhex(sha, d) == -1))) {
		err_set(e, MSG_DATAERR, "--verdicts: %s: line %zu: want a "
		    "JSON object with url, sha256 and verdict", q->o->verdicts,
		    number);
		goto done;
	}
	rv = 0;
	if (strcmp(code, check_code_name(CHECK_OK)) == 0 ||
	    !is_code_wanted(q->o, code))
		goto done;
	q->v = mem_grow(q->v, &q->cap, q->n + 1, sizeof(*q->v));
	r = &q->v[q->n++];
	memset(r, 0, sizeof(*r));
	r->url = mem_dup(url);
	r->verdict = mem_dup(code);
	r->reason = dup_str(m, "reason");
	r->mend = dup_str(m, "mend");
	if (rec_get_str(m, "sha256", &sha))
		memcpy(r->sha256, sha, HASH_HEX);
done:
	rec_free(m);
	return rv;
}

static int
read_verdicts(struct quarantine *q, struct err *e)
{
	struct err	 f = { 0, "" };
	struct buf	 b;
	const char	*s, *end, *nl;
	size_t		 number = 0;
	int		 rv = 0;

	buf_init(&b, Q_LIST_MAX);
	if (io_slurp(AT_FDCWD, q->o->verdicts, &b, &f) == -1)
		rv = err_set(e, f.code, "--verdicts: %s", f.text);
	s = (const char *)b.p;
	for (end = s + b.len; rv == 0 && s < end; s = nl + 1) {
		nl = memchr(s, '\n', (size_t)(end - s));
		if (nl == NULL)
			nl = end;
		rv = take_line(q, s, (size_t)(nl - s), ++number, e);
		if (nl == end)
			break;
	}
	buf_free(&b);
	return rv;
}

/* An operand: one of the list, or, without a list, a person's word. */
static int
take_operand(struct quarantine *q, const char *arg, struct err *e)
{
	enum check_code	 code;
	struct refusal	*r;
	char		*url = plan_url(arg, NULL, e);
	size_t		 i;
	int		 found = 0;

	if (url == NULL)
		return -1;
	for (i = 0; q->o->verdicts != NULL && i < q->n; i++)
		if (strcmp(q->v[i].url, url) == 0)
			q->v[i].wanted = found = 1;
	if (q->o->verdicts != NULL) {
		if (!found)
			err_set(e, MSG_NOINPUT, "%s: no refusal of it in %s",
			    url, q->o->verdicts);
		free(url);
		return found ? 0 : -1;
	}
	q->v = mem_grow(q->v, &q->cap, q->n + 1, sizeof(*q->v));
	r = &q->v[q->n++];
	memset(r, 0, sizeof(*r));
	r->url = url;
	r->wanted = 1;
	r->verdict = mem_dup(q->o->n_codes > 0 ? q->o->codes[0] :
	    Q_OPERATOR);
	if (q->o->reason != NULL)
		r->reason = mem_dup(q->o->reason);
	code = check_code_parse(r->verdict);
	if (code != CHECK_N && code != CHECK_OK)
		r->mend = mem_dup(check_code_mend(code));
	return 0;
}

static int
choose(struct quarantine *q, char **inputs, struct err *e)
{
	size_t	i;

	if (q->o->verdicts != NULL && read_verdicts(q, e) == -1)
		return -1;
	for (i = 0; inputs[i] != NULL; i++)
		if (take_operand(q, inputs[i], e) == -1)
			return -1;
	for (i = 0; inputs[0] == NULL && i < q->n; i++)
		q->v[i].wanted = 1;
	return 0;
}

/* Opening and closing. */

static int
q_open(struct quarantine *q, const char *target, const struct dpub_opts *o,
    int writes, struct err *e)
{
	memset(q, 0, sizeof(*q));
	q->o = o;
	buf_init(&q->requeue, Q_LIST_MAX);
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
	size_t		i;

	if (q->u != NULL && target_finish(q->u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(q->u);
	move_end(&q->m);
	target_close(q->t);
	for (i = 0; i < q->n; i++)
		refusal_clear(&q->v[i]);
	free(q->v);
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

	if (!is_code_wanted(q->o, n->verdict) || !is_of_age(q->o, n->when))
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
		r = entry_get(q, w.v[i], &n, &f);
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
	if (choose(&q, inputs, &e) == 0 && finish_begun(&q, &e) == 0) {
		for (i = 0; i < q.n && io_signal() == 0; i++) {
			memset(&f, 0, sizeof(f));
			if (q.v[i].wanted &&
			    set_aside(&q, &q.v[i], &f) == -1)
				complain(&q, &f);
		}
		if (requeue_write(&q, &e) == 0)
			(void)dpub_flush(&e);
	}
	return q_close(&q, &e);
}

/* Back. */

/*
 * On disk an entry goes at once; elsewhere its verdict before its end mark,
 * so that what is left of it is never taken for one that was begun.
 */
static int
drop_entry(struct quarantine *q, const struct entry *n, struct err *e)
{
	char	key[TARGET_KEY_MAX], to[TARGET_KEY_MAX];
	char	*url, *gone;
	int	rv;

	note_key(key, n->name, NULL);
	if (target_is_remote(q->t)) {
		note_key(to, n->name, Q_VERDICT);
		if (target_note_unlink(q->t, to, e) == -1)
			return -1;
		return target_note_drop(q->t, key, e);
	}
	/* hidden names are nobody's entries */
	(void)snprintf(to, sizeof(to), TARGET_QUARANTINE "/.%.200s", n->name);
	url = cat(target_url(q->t), "/", key);
	gone = cat(target_url(q->t), "/", to);
	rv = target_note_drop(q->t, to, e);
	if (rv == 0)
		rv = move_rename(url, gone, e);
	if (rv == 0)
		rv = target_note_drop(q->t, to, e);
	free(url);
	free(gone);
	return rv;
}

/* Is there nothing there but what is left of an entry that was dropped? */
static int
is_rest(const struct target_names *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++)
		if (strcmp(w->v[i], Q_MOVED) != 0 &&
		    strcmp(w->v[i], Q_REQUEUE) != 0)
			return 0;
	return w->n > 0;
}

/* Without a verdict: what a run left that was killed while it dropped it. */
static int
drop_rest(struct quarantine *q, const char *name, struct err *e)
{
	struct target_names	w;
	char			key[TARGET_KEY_MAX], hidden[TARGET_KEY_MAX];
	int			rest;

	note_key(key, name, NULL);
	(void)snprintf(hidden, sizeof(hidden), TARGET_QUARANTINE "/.%.200s",
	    name);
	if (target_list(q->t, key, &w, e) == -1)
		return -1;
	rest = is_rest(&w);
	target_names_clear(&w);
	if (!q->o->dry_run && ((rest &&
	    target_note_drop(q->t, key, e) == -1) ||
	    (!target_is_remote(q->t) &&
	    target_note_drop(q->t, hidden, e) == -1)))
		return -1;
	return rest ? 0 : err_set(e, MSG_NOINPUT, "%s/%s: nothing of that "
	    "name was set aside (see dpublish quarantine --list)",
	    target_url(q->t), key);
}

static int
put_back(struct quarantine *q, const char *name, struct err *e)
{
	struct entry	n;
	char		key[TARGET_KEY_MAX], *from;
	int		r, rv = -1;

	if (!path_is_name(name))
		return err_set(e, MSG_USAGE, "%s: not a name in quarantine",
		    name);
	note_key(key, name, NULL);
	r = entry_get(q, name, &n, e);
	if (r == 0)
		return drop_rest(q, name, e);
	if (r != 1)
		return -1;
	from = entry_place(q, &n);
	if (q->o->dry_run)
		rv = 0;
	else if (move_there(q, &n, from, n.url, MSG_DATAERR, "it is not what "
	    "was set aside", e) == 0 && (rv = drop_entry(q, &n, e)) == 0)
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
