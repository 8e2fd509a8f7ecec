/*
 * dpublish --in-place: plain keys below a prefix, for readers that open
 * them by name, all of them changed or none: what came down the stream as a
 * journal, staged, proved and committed.  How the keys are moved after that
 * is dpublish_replay's.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "ticket.h"
#include "banned.h"

/* What is to be done, and counts of it. */
struct change {
	struct journal	j;
	uint64_t	added, replaced, deleted, same, bytes;
};

/*
 * What is to be done.
 */

static int
prove_names(const struct dpub *p, const struct replay *x, struct err *e)
{
	const struct dpub_file	*f;
	const char		*s;
	size_t			 i;

	if (p->files.n == 0)
		return err_set(e, MSG_DATAERR, "stream: no file record, "
		    "nothing to publish: want dfetch --files");
	for (i = 0; i < p->files.n; i++) {
		f = &p->files.v[i];
		for (s = f->name; s != NULL; s = strchr(s, '/')) {
			s += s != f->name;
			if (*s == '.')
				return err_set(e, MSG_DATAERR, "%s: %s: a "
				    "hidden name", f->url, f->name);
		}
		if (plain_is_s3(x->p) && f->size > PLAIN_COPY_MAX)
			return err_set(e, MSG_DATAERR, "%s: size: want at "
			    "most %llu bytes, which a server copies, got "
			    "%llu", f->url,
			    (unsigned long long)PLAIN_COPY_MAX,
			    (unsigned long long)f->size);
	}
	return 0;
}

struct surplus {
	const struct dpub	*p;
	struct replay_keys	 keys;
	uint64_t		 all;
};

static int
on_key(void *arg, const char *name, struct err *e)
{
	struct surplus	*s = arg;

	s->all++;
	if (dpub_files_find(&s->p->files, name) != NULL)
		return 0;
	if (s->keys.n >= JOURNAL_KEYS / 2)
		return err_set(e, MSG_DATAERR, "%s: more than %d keys to "
		    "delete", name, JOURNAL_KEYS / 2);
	(void)replay_keys_add(&s->keys, name, NULL);
	return 0;
}

/* commits/N.json */
static int
is_commit(const char *name)
{
	static const char	dir[] = "commits/";
	size_t			n;

	if (strncmp(name, dir, sizeof(dir) - 1) != 0)
		return 0;
	name += sizeof(dir) - 1;
	n = strspn(name, "0123456789");
	return n > 0 && strcmp(name + n, ".json") == 0;
}

/* The bytes before commits/N.json at the end of a name; -1 it is none. */
static int
before_commit(const char *name)
{
	const char	*s = strrchr(name, '/');

	while (s != NULL && s > name && s[-1] != '/')
		s--;
	return s != NULL && is_commit(s) ? (int)(s - name) : -1;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Is there, in these sorted names, one that begins with key? */
static int
has_prefix(const char *const *v, size_t n, const char *key)
{
	size_t	lo = 0, mid;

	while (n > 0) {
		mid = n / 2;
		if (strcmp(v[lo + mid], key) < 0) {
			lo += mid + 1;
			n -= mid + 1;
		} else
			n = mid;
	}
	return v[lo] != NULL && strncmp(v[lo], key, strlen(key)) == 0;
}

/*
 * Do versions go, of which commit, after len bytes of its name, tells?  Where
 * the set has a pointer for them it is a copy of them, of another day.  A
 * pointer may be missing: a crash came before it, and the next run writes it.
 */
static int
goes_target(const struct surplus *s, const char *const *v, const char *commit,
    int len)
{
	struct buf	b;
	int		rv = 0;

	buf_init(&b, strlen(commit) + 64);
	buf_printf(&b, "%.*s" TARGET_POINTER, len, commit);
	if (dpub_files_find(&s->p->files, buf_cstr(&b)) == NULL) {
		rv = has_prefix(v, s->keys.n, buf_cstr(&b));
		buf_reset(&b);
		buf_printf(&b, "%.*s" TARGET_VERSIONS "/", len, commit);
		rv = rv || has_prefix(v, s->keys.n, buf_cstr(&b));
	}
	buf_free(&b);
	return rv;
}

/* Versions that are published below the prefix do not go with the rest. */
static int
prove_no_target(const struct surplus *s, const struct replay *x,
    struct err *e)
{
	const char	**v = mem_zero(s->keys.n + 1, sizeof(*v));
	const char	 *last = "";
	size_t		  i;
	int		  len, rv = 0;

	for (i = 0; i < s->keys.n; i++)
		v[i] = s->keys.v[i].name;
	if (s->keys.n != 0)
		qsort(v, s->keys.n, sizeof(*v), by_name);
	for (i = 0; i < s->keys.n && rv == 0; i++) {
		len = before_commit(v[i]);
		/* one of each directory says enough */
		if (len == -1 || (len == before_commit(last) &&
		    strncmp(v[i], last, (size_t)len) == 0))
			continue;
		last = v[i];
		if (goes_target(s, v, v[i], len))
			rv = err_set(e, MSG_USAGE, "%s%s%.*s: --delete: "
			    "versions are published there (%s): want them in "
			    "the set or elsewhere: use another prefix, or "
			    "remove them yourself", plain_url(x->p),
			    len > 0 ? "/" : "", len > 0 ? len - 1 : 0, v[i],
			    v[i]);
	}
	free(v);
	return rv;
}

/* Keys that are not in the set, if they are to go and may. */
static int
find_surplus(struct dpub *p, struct replay *x, struct surplus *s,
    struct err *e)
{
	const struct dpub_opts	*o = p->o;
	uint64_t		 most;

	memset(s, 0, sizeof(*s));
	s->p = p;
	if (!o->del)
		return 0;
	if (plain_list(x->p, on_key, s, e) == -1 ||
	    prove_no_target(s, x, e) == -1)
		return -1;
	most = o->max_percent ? s->all * o->max_delete / 100 : o->max_delete;
	if (o->has_max_delete && s->keys.n > most)
		return err_set(e, MSG_DATAERR, "%s: %zu of %" PRIu64 " keys "
		    "would be deleted, --max-delete allows %" PRIu64 ": "
		    "nothing was changed", plain_url(x->p), s->keys.n,
		    s->all, most);
	return plain_look(x->p, s->keys.v, s->keys.n, e);
}

static int
note_was(struct replay *x, struct journal_key *k, const struct plain_key *now,
    struct err *e)
{
	k->was = now->there;
	k->was_size = now->size;
	memcpy(k->was_sha256, now->sha256, HASH_HEX);
	if (now->etag[0] != '\0')
		k->was_etag = mem_dup(now->etag);
	if (now->there && plain_is_s3(x->p) && now->size > PLAIN_COPY_MAX)
		return err_set(e, MSG_DATAERR, "%s/%s: size: %llu bytes "
		    "cannot be put aside: move it away yourself",
		    plain_url(x->p), k->name, (unsigned long long)now->size);
	return 0;
}

/* c->j for change_clear, in any case. */
static int
make_plan(struct dpub *p, struct replay *x, struct change *c, struct err *e)
{
	struct surplus		 s;
	struct journal_key	*k;
	struct replay_keys	 now;
	size_t			 i;
	int			 rv = -1;

	memset(c, 0, sizeof(*c));
	memset(&now, 0, sizeof(now));
	c->j.generation = x->head.generation + 1;
	c->j.prefix = mem_dup(plain_url(x->p));
	for (i = 0; i < p->files.n; i++) {
		k = journal_add(&c->j, p->files.v[i].name);
		k->size = p->files.v[i].size;
		memcpy(k->sha256, p->files.v[i].sha256, HASH_HEX);
		c->bytes += k->size;
	}
	if (find_surplus(p, x, &s, e) == -1 ||
	    replay_look(x, &c->j, &now, e) == -1)
		goto done;
	for (i = 0; i < now.n; i++) {
		k = &c->j.v[i];
		if (note_was(x, k, &now.v[i], e) == -1)
			goto done;
		if (journal_same(k))
			c->same++;
		else if (k->was)
			c->replaced++;
		else
			c->added++;
	}
	for (i = 0; i < s.keys.n; i++) {
		if (!s.keys.v[i].there)
			continue;
		k = journal_add(&c->j, s.keys.v[i].name);
		k->remove = 1;
		c->deleted++;
		if (note_was(x, k, &s.keys.v[i], e) == -1)
			goto done;
	}
	rv = 0;
done:
	replay_keys_clear(&now);
	replay_keys_clear(&s.keys);
	return rv;
}

/* --dry-run: a record for each key that would change. */
static int
tell_plan(struct dpub *p, const struct change *c)
{
	const struct journal_key	*k;
	struct rec			*r;
	size_t				 i;
	int				 rv = 0;

	for (i = 0; i < c->j.n && rv == 0; i++) {
		k = &c->j.v[i];
		if (journal_same(k))
			continue;
		r = rec_new("change");
		rec_set_str(r, "name", k->name);
		rec_set_str(r, "what", k->remove ? "delete" : k->was ?
		    "replace" : "add");
		if (!k->remove) {
			rec_set_u64(r, "size", k->size);
			rec_set_str(r, "sha256", k->sha256);
		}
		rv = filter_put(&p->f, r);
		rec_free(r);
	}
	return rv;
}

/*
 * Publishing.
 */

static struct rec *
report(const struct replay *x, const struct target_commit *c,
    const struct change *ch)
{
	struct rec	*r = dpub_record("published", x->t, c);

	rec_set_str(r, "target", plain_url(x->p));
	rec_set_bool(r, "in_place", 1);
	rec_set_u64(r, "inserted", ch->added);
	rec_set_u64(r, "replaced", ch->replaced);
	rec_set_u64(r, "deleted", ch->deleted);
	rec_set_u64(r, "bytes", ch->bytes);
	return r;
}

/* The commit makes the journal binding; then the keys are moved. */
static int
commit(struct replay *x, struct target_upload *u,
    const struct target_commit *c, int *done, struct err *e)
{
	struct target_commit	mine = *c, won;
	struct err		f = { 0, "" }, one = { 0, "" };
	int			r;

	*done = 0;
	memset(&won, 0, sizeof(won));
	if (io_signal() != 0)
		r = err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	else {
		mine.created = io_wall_ns();
		r = target_commit(u, &mine, &won, e);
	}
	if (r == 1)
		err_set(e, MSG_CANTCREAT, "%s: generation %" PRIu64 " was "
		    "taken by run %s: nothing of this run is published; run "
		    "again from dfetch", plain_url(x->p), won.generation,
		    won.run);
	target_commit_clear(&won);
	if (r != 0) {
		if (target_abandon(u, &f) == -1)
			msg_warn("%s: the upload is left for the next run to "
			    "remove", f.text);
		return -1;
	}
	target_commit_clear(&x->head);
	x->head = mine;
	x->head.version = mem_dup(mine.version);
	x->head.parent = NULL;
	x->head.format = mem_dup(mine.format);
	x->head.kind = mem_dup(mine.kind);
	if (replay_forward(x, u, 1, &one) == -1)
		err_set(e, one.code, "%.330s (generation %" PRIu64 " is begun:"
		    " the next dpublish --in-place finishes it, --rollback "
		    "takes it back)", one.text, c->generation);
	else {
		*done = 1;
		replay_tidy(x, u);
	}
	/* who finishes it must not wait for this run */
	if (target_finish(u, &f) == -1)
		msg_warn("warning: %s", f.text);
	return *done ? 0 : -1;
}

/* The version in staging: files, journal, manifest. */
static int
build(struct dpub *p, struct replay *x, const struct change *c,
    struct manifest *m, unsigned char d[HASH_LEN], int *fd, struct err *e)
{
	unsigned char	jd[HASH_LEN];
	uint64_t	size;
	char		dir[64];

	m->format = mem_dup(DPUB_INPLACE);
	if (x->head.version != NULL) {
		m->parent = mem_dup(x->head.version);
		memcpy(m->parent_digest, x->head.content_digest, HASH_HEX);
	}
	(void)snprintf(dir, sizeof(dir), "set.%ld", (long)getpid());
	if (dpub_files_build(p, dir, REPLAY_FILES, m, fd, e) == -1 ||
	    journal_write(&c->j, *fd, jd, &size, e) == -1)
		return -1;
	manifest_add_file(m, JOURNAL_NAME, size, jd);
	return manifest_write(m, *fd, d, e);
}

/* Stage and prove all; then the commit, or a ticket for it. */
static int
upload(struct dpub *p, struct replay *x, const struct change *ch,
    struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 c;
	struct manifest		 m;
	struct rec		*r = NULL;
	struct err		 f = { 0, "" };
	unsigned char		 d[HASH_LEN];
	int			 fd = -1, done = 0, rv = -1;

	memset(&m, 0, sizeof(m));
	memset(&c, 0, sizeof(c));
	if (build(p, x, ch, &m, d, &fd, e) == -1 ||
	    (u = dpub_claim(p, x->t, &x->head, d, e)) == NULL)
		goto done;
	dpub_fill_commit(&c, &x->head, &m, d, target_upload_version(u),
	    p->f.stage.run);
	if (target_put(u, fd, &m, d, 1, e) == -1)
		goto fail;
	if (stream_reader_gone(p->f.out)) {
		err_set(e, MSG_PROTOCOL, "%s", "");
		goto fail;
	}
	r = report(x, &c, ch);
	if (ticket_wanted()) {
		if (dpub_leave(p, "in-place", target_url(x->t), r,
		    target_upload_name(u), e) == -1)
			goto fail;
		rv = 0;
		goto done;
	}
	rv = commit(x, u, &c, &done, e);
	if (done) {
		p->done = 1;
		dpub_note(p->o->ckpt, x->t, &c, 0, "");
		if (filter_put(&p->f, r) == -1)
			msg_warn("%s: generation %" PRIu64 " is published all "
			    "the same", plain_url(x->p), c.generation);
	}
	goto done;
fail:
	if (target_abandon(u, &f) == -1)
		msg_warn("%s", f.text);
done:
	rec_free(r);
	target_upload_free(u);
	target_commit_clear(&c);
	manifest_clear(&m);
	if (fd != -1)
		(void)close(fd);
	return rv;
}

/* Every key is as it shall be: nothing is written. */
static int
unchanged(struct dpub *p, struct replay *x, const struct change *ch,
    struct err *e)
{
	struct target_commit	 none;
	struct rec		*r;
	int			 rv;

	memset(&none, 0, sizeof(none));
	r = report(x, x->head.generation != 0 ? &x->head : &none, ch);
	rec_set_u64(r, "records", p->files.n);
	rec_set_bool(r, "unchanged", 1);
	if (ticket_wanted())
		rv = dpub_leave(p, "in-place", target_url(x->t), r, "", e);
	else {
		if (x->head.generation != 0)
			dpub_note_same(p->o->ckpt, x->t, &x->head,
			    p->f.stage.run);
		rv = filter_put(&p->f, r);
	}
	rec_free(r);
	return rv;
}

/*
 * Was the set fetched for what is current here?  Where nothing of it was
 * read, it must be what the newest version holds.
 */
static int
fence(struct dpub *p, struct replay *x, struct err *e)
{
	char		hex[HASH_HEX];
	uint64_t	bytes;

	if (p->parent == NULL)
		return 0;
	/* a dry run, and nothing there: the set was fetched for that, or
	   will be new all the same */
	if (x->t == NULL)
		return 0;
	if (dpub_files_fence(p, x->t, plain_url(x->p), &x->head, e) == -1)
		return -1;
	if (p->files.held == 0)
		return 0;
	dpub_files_digest(&p->files, hex, &bytes);
	if (x->head.generation != 0 &&
	    strcmp(hex, x->head.content_digest) == 0)
		return 0;
	return err_set(e, MSG_PROTOCOL, "stream: a set that was skipped, and "
	    "is not generation %" PRIu64 " of %s", x->head.generation,
	    plain_url(x->p));
}

/* A set of which nothing was read, from the version that holds it. */
static int
bring_held(struct dpub *p, struct replay *x, struct err *e)
{
	struct buf	b;
	char		dir[64];
	size_t		i;

	(void)snprintf(dir, sizeof(dir), "held.%ld", (long)getpid());
	if (target_fetch(x->t, x->head.version, p->f.stage.dirfd, dir,
	    e) == -1)
		return -1;
	buf_init(&b, 2 * PATH_REL_MAX);
	for (i = 0; i < p->files.n; i++) {
		buf_reset(&b);
		buf_printf(&b, "%s/" REPLAY_FILES "%s", dir,
		    p->files.v[i].name);
		p->files.v[i].path = mem_dup(buf_cstr(&b));
	}
	buf_free(&b);
	p->files.held = 0;
	return 0;
}

static void
publish(struct dpub *p, struct replay *x)
{
	struct change	c;
	struct err	e = { 0, "" };

	memset(&c, 0, sizeof(c));
	/* the stream took its time: somebody may have begun another */
	if (dpub_files_judge(p, &e) == -1 || prove_names(p, x, &e) == -1 ||
	    (!p->o->dry_run && replay_recover(x, 0, &e) == -1) ||
	    fence(p, x, &e) == -1 || make_plan(p, x, &c, &e) == -1)
		;
	else if (p->o->dry_run)
		(void)tell_plan(p, &c);
	else if (c.added + c.replaced + c.deleted == 0)
		(void)unchanged(p, x, &c, &e);
	else if (p->files.held == 0 || bring_held(p, x, &e) == 0)
		(void)upload(p, x, &c, &e);
	dpub_publish_end(p, x->t, &e);
	journal_clear(&c.j);
}

/*
 * A target of stores or file sets is no place for plain keys: with --delete
 * all of its versions would go, pinned ones and commits too.  Where keys are
 * in place already, what is called like its parts is theirs.
 */
static int
refuse_target(const char *prefix, const struct dpub_opts *o, struct err *e)
{
	struct plain	*p = plain_open(prefix, o->ckpt, e);
	int		 r;

	if (p == NULL)
		return -1;
	r = plain_has_tree(p, "commits", e);
	if (r == 1)
		r = plain_has_tree(p, "timestamped", e);
	if (r == 1) {
		r = plain_has_tree(p, ".intact/commits", e);
		r = r == -1 ? -1 : !r;
	}
	if (r == 1)
		err_set(e, MSG_USAGE, "%s: versions are published there "
		    "(commits, timestamped): want a prefix of plain keys: use "
		    "another, or dpublish without --in-place", plain_url(p));
	plain_close(p);
	return r == 0 ? 0 : -1;
}

/* --dry-run: nothing is made, nor finished. */
static int
open_dry(struct replay *x, const char *prefix, const struct dpub_opts *o,
    struct err *e)
{
	int	r;

	if (replay_open(x, prefix, 0, o, e) == -1) {
		/* no journal yet, and perhaps no directory */
		if (x->p == NULL || e->code != MSG_NOINPUT)
			return -1;
		memset(e, 0, sizeof(*e));
		return 0;
	}
	r = target_head(x->t, &x->head, e);
	if (r == 1)
		r = replay_outcome(x, x->head.generation, e);
	if (r == 0 && x->head.generation != 0)
		msg_warn("%s: generation %" PRIu64 " is not finished: that "
		    "would be done first", plain_url(x->p),
		    x->head.generation);
	return r == -1 ? -1 : 0;
}

int
dpub_inplace(const char *prefix, const struct dpub_opts *o)
{
	struct dpub		 p;
	struct filter_opts	 fo = o->filter;
	struct replay		 x;
	struct err		 e = { 0, "" };

	memset(&p, 0, sizeof(p));
	memset(&x, 0, sizeof(x));
	p.o = o;
	p.target = prefix;
	fo.quiet = ticket_wanted() && getenv("DRUN_LAST") != NULL &&
	    !o->dry_run;
	dpub_note_begin(o->dry_run ? NULL : o->ckpt);
	if (filter_open(&p.f, &fo) == 0) {
		if (refuse_target(prefix, o, &e) == -1 ||
		    (o->dry_run ? open_dry(&x, prefix, o, &e) :
		    replay_open(&x, prefix, 1, o, &e) == -1 ? -1 :
		    replay_recover(&x, 0, &e)) == -1)
			filter_fail_err(&p.f, &e);
		else if (dpub_read(&p) == 0)
			publish(&p, &x);
	}
	/* the stream ends after all else has */
	replay_close(&x);
	return dpub_finish(&p);
}

/*
 * --rollback, and tickets.
 */

static int
tell_rollback(const struct replay *x, int did, const struct dpub_opts *o)
{
	struct rec	*r;
	struct buf	 b;
	int		 bad;

	buf_init(&b, REC_MAX);
	if (o->filter.json) {
		r = rec_new("rolled-back");
		rec_set_str(r, "target", plain_url(x->p));
		rec_set_u64(r, "generation", x->head.generation);
		rec_set_bool(r, "unchanged", !did);
		rec_to_json(r, &b);
		rec_free(r);
	} else
		buf_printf(&b, did ? "%s: generation %" PRIu64 " is rolled "
		    "back" : "%s: nothing to roll back: generation %" PRIu64
		    " is over", plain_url(x->p), x->head.generation);
	buf_addc(&b, '\n');
	bad = io_write(STDOUT_FILENO, b.p, b.len) == -1;
	if (bad)
		msg_warn("stdout: %s", strerror(errno));
	buf_free(&b);
	return bad ? MSG_IOERR : 0;
}

int
dpub_inplace_rollback(const char *prefix, const struct dpub_opts *o)
{
	struct replay	x;
	struct err	e = { 0, "" };
	int		r = -1, status;

	if (replay_open(&x, prefix, 0, o, &e) == 0)
		r = replay_recover(&x, 1, &e);
	if (r == -1) {
		msg_err(&e);
		status = e.code;
	} else
		status = tell_rollback(&x, r, o);
	replay_close(&x);
	return status;
}

int
dpub_inplace_commit(const struct rec *ticket, const struct stage *s,
    const struct dpub_opts *o, struct rec **pub, int *done, struct err *e)
{
	struct dpub_opts	 with = *o;
	struct target_upload	*u;
	struct target_commit	 c;
	struct replay		 x;
	const char		*claim, *url;
	int			 same = 0, rv = -1;

	*pub = rec_get_map(ticket, "published");
	if (*pub == NULL || !rec_get_str(ticket, "claim", &claim) ||
	    !rec_get_str(*pub, "target", &url))
		return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	(void)rec_get_str(ticket, "lock", &with.lock);
	(void)rec_get_bool(*pub, "unchanged", &same);
	if (same)
		return 0;
	if (dpub_commit_of(*pub, &c, e) == -1)
		return -1;
	memset(&x, 0, sizeof(x));
	if (replay_open(&x, url, 0, &with, e) == 0 &&
	    (u = target_resume(x.t, claim, e)) != NULL) {
		rv = commit(&x, u, &c, done, e);
		target_upload_free(u);
		dpub_note(o->ckpt, x.t, &c, *done ? 0 : e->code, e->text);
	}
	(void)s;
	replay_close(&x);
	target_commit_clear(&c);
	return rv;
}
