/*
 * dpublish: make a merged store the current version of a target, all of
 * it or nothing.  It merges nothing and never changes a published file.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_opts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "retry.h"
#include "spare.h"
#include "ticket.h"
#include "banned.h"

/* Collecting the stream. */

/* A delta that is a store of ours stands for its own sources. */
static void
take_delta(struct dpub *p, const struct rec *r)
{
	struct rec_delta	d;
	struct err		e = { 0, "" };
	struct manifest		m;
	size_t			i;
	int			fd = -1, ours = 0;

	if (rec_delta_get(r, &d, &e) == -1) {
		filter_fail_err(&p->f, &e);
		return;
	}
	dpub_srcs_add(&p->deltas, d.sha256, d.url);
	memset(&m, 0, sizeof(m));
	if (d.format != NULL && (strcmp(d.format, "sqlite") == 0 ||
	    strcmp(d.format, "chroma") == 0)) {
		fd = openat(p->f.stage.dirfd, d.path, O_RDONLY |
		    O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd == -1 && errno != ENOTDIR && errno != ENOENT)
			err_sys(&e, errno, "%s/%s", p->f.stage.path, d.path);
	}
	/* dcheck has judged it; one that is no manifest of ours is a file */
	if (fd != -1)
		ours = manifest_read(&m, fd, NULL, &e) == 0;
	/* what the machine did is said of no input */
	if (e.code == MSG_IOERR || e.code == MSG_TEMPFAIL)
		filter_fail_err(&p->f, &e);
	if (ours)
		for (i = 0; i < m.n_sources; i++)
			dpub_srcs_add(&p->given, m.sources[i].sha256,
			    m.sources[i].url);
	else
		dpub_srcs_add(&p->given, d.sha256, d.url);
	manifest_clear(&m);
	if (fd != -1)
		(void)close(fd);
}

static void
take_once(struct dpub *p, struct rec **slot, const struct rec *r)
{
	if (*slot != NULL) {
		filter_fail(&p->f, MSG_PROTOCOL, "stream: a second %s record:"
		    " want one", rec_type(r));
		return;
	}
	*slot = rec_copy(r);
}

static void
take(struct dpub *p, const struct rec *r)
{
	struct rec_skip	 s;
	struct err	 e = { 0, "" };
	const char	*t = rec_type(r);

	if (strcmp(t, "delta") == 0)
		take_delta(p, r);
	else if (strcmp(t, "file") == 0)
		dpub_files_take(p, r);
	else if (strcmp(t, "base") == 0)
		take_once(p, &p->base, r);
	else if (strcmp(t, "parent") == 0)
		take_once(p, &p->parent, r);
	else if (strcmp(t, "store") == 0)
		take_once(p, &p->store, r);
	else if (strcmp(t, "skip") == 0) {
		if (rec_skip_get(r, &s, &e) == -1)
			filter_fail_err(&p->f, &e);
		else if (s.name != NULL)
			dpub_files_skip(p, &s);
		else
			dpub_srcs_add(&p->skips, s.sha256, s.url);
	} else
		(void)filter_put(&p->f, r);
}

/* Publishing. */

/* The store in staging is what its record says: *m and its digest. */
static int
read_store(struct dpub *p, struct rec_store *s, struct manifest *m,
    unsigned char d[HASH_LEN], int *fd, struct err *e)
{
	struct err	f = { 0, "" };
	char		hex[HASH_HEX];

	if (p->store == NULL)
		return err_set(e, MSG_DATAERR, "stream: no store record, "
		    "nothing to publish: want dmerge before dpublish");
	if (rec_store_get(p->store, s, e) == -1)
		return -1;
	*fd = openat(p->f.stage.dirfd, s->path, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (*fd == -1)
		return err_sys(e, errno, "%s/%s", p->f.stage.path, s->path);
	if (manifest_read(m, *fd, d, &f) == -1)
		return err_set(e, f.code, "%s/%s", s->path, f.text);
	hash_hex(d, hex);
	if (strcmp(hex, s->sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s/%s: sha256: want %s, got "
		    "%s", s->path, MANIFEST_NAME, s->sha256, hex);
	if (strcmp(m->content_digest, s->content_digest) != 0 ||
	    m->records != s->records || strcmp(m->format, s->format) != 0)
		return err_set(e, MSG_DATAERR, "%s/%s: content digest, "
		    "records or format are not those of the store record",
		    s->path, MANIFEST_NAME);
	return 0;
}

/* The store is merged onto the current version, and onto nothing else. */
static int
prove_parent(struct dpub *p, const struct target *t,
    const struct target_commit *head, struct err *e)
{
	struct rec_base	b;

	if (head->generation != 0 && strcmp(head->format, DPUB_FILES) == 0)
		return err_set(e, MSG_USAGE, "%s: it holds file sets: a "
		    "target holds stores or file sets, never both: use "
		    "another", target_url(t));
	if (p->base == NULL) {
		if (head->generation == 0)
			return 0;
		return err_set(e, MSG_USAGE, "%s: the store is not merged "
		    "onto the current version %s: use dfetch -b %s",
		    target_url(t), head->version, target_url(t));
	}
	if (rec_base_get(p->base, &b, e) == -1)
		return -1;
	if (strcmp(b.target, target_url(t)) != 0)
		return err_set(e, MSG_USAGE, "%s: the store is merged onto a "
		    "version of %s: use dfetch -b %s", target_url(t),
		    b.target, target_url(t));
	if (b.none)
		return head->generation == 0 ? 0 : dpub_moved(t, head, e);
	if (head->generation > b.generation)
		return dpub_moved(t, head, e);
	if (head->generation < b.generation ||
	    strcmp(head->version, b.version) != 0 ||
	    strcmp(head->manifest_sha256, b.sha256) != 0)
		return err_set(e, MSG_NOINPUT, "%s: the base is generation "
		    "%llu, version %s, and the target's newest commit is "
		    "%llu, version %s: commits were lost or replaced",
		    target_url(t), (unsigned long long)b.generation,
		    b.version, (unsigned long long)head->generation,
		    head->version != NULL ? head->version : "none");
	return 0;
}

void
dpub_fill_commit(struct target_commit *c, const struct target_commit *head,
    const struct manifest *m, const unsigned char d[HASH_LEN],
    const char *version, const char *run)
{
	memset(c, 0, sizeof(*c));
	c->generation = head->generation + 1;
	c->version = mem_dup(version);
	c->parent = head->version != NULL ? mem_dup(head->version) : NULL;
	(void)snprintf(c->run, sizeof(c->run), "%s", run);
	hash_hex(d, c->manifest_sha256);
	memcpy(c->content_digest, m->content_digest, HASH_HEX);
	c->format = mem_dup(m->format);
	c->records = m->records;
	c->tombstones = m->tombstones;
	c->kind = mem_dup("publish");
}

/* What the run did, for the published record. */
static void
add_report(struct rec *r, struct dpub *p, const struct rec_store *s,
    const struct target_commit *head)
{
	uint64_t	records = 0;

	(void)rec_get_u64(r, "records", &records);
	rec_set_i64(r, "delta", (int64_t)records - (int64_t)head->records);
	rec_set_u64(r, "merged", s->merged);
	rec_set_u64(r, "skipped", p->skips.n + p->files.held);
	rec_set_u64(r, "inserted", s->inserted);
	rec_set_u64(r, "replaced", s->replaced);
	rec_set_u64(r, "deleted", s->deleted);
	rec_set_u64(r, "superseded", s->superseded);
	rec_set_u64(r, "bytes", s->bytes);
}

enum stream_mode
dpub_out_mode(const struct filter_opts *o)
{
	return o->json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK;
}

int
dpub_leave(struct dpub *p, const char *kind, const char *at,
    const struct rec *pub, const char *claim, struct err *e)
{
	struct rec	*t = rec_map(), *prep = rec_copy(pub);
	int		 rv;

	rec_set_str(t, "kind", kind);
	rec_set_str(t, "claim", claim);
	rec_set_str(t, "at", at);
	rec_set_str(t, "lock", p->o->lock);
	rec_set_map(t, "published", pub);
	rv = ticket_leave(&p->f.stage, t, dpub_out_mode(&p->o->filter), e);
	rec_set_str(prep, "t", "prepared");
	if (rv == 0)
		rv = filter_put(&p->f, prep);
	rec_free(prep);
	rec_free(t);
	return rv;
}

/* Was the version left alone, as nothing comes to it? */
static int
unread(const struct dpub *p)
{
	const char	*v;

	return p->base != NULL && rec_get_str(p->base, "verdict", &v) &&
	    strcmp(v, REC_UNREAD) == 0;
}

/* Nothing new: the target stays as it is, the pointer is made right. */
int
dpub_unchanged(struct dpub *p, struct target *t,
    const struct target_commit *head, const struct rec_store *s,
    struct err *e)
{
	struct rec	*r;
	int		 rv = -1;

	if (head->generation == 0)
		return err_set(e, MSG_DATAERR, "%s: the store is said to be "
		    "unchanged and there is no version", target_url(t));
	if (strcmp(s->sha256, head->manifest_sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s: the store is said to be "
		    "unchanged and its content is not that of version %s",
		    target_url(t), head->version);
	r = dpub_record("published", t, head);
	add_report(r, p, s, head);
	rec_set_bool(r, "unchanged", 1);
	if (unread(p))
		rec_set_bool(r, "unread", 1);
	if (ticket_wanted()) {
		rv = dpub_leave(p, "publish", NULL, r, "", e);
		goto done;
	}
	if (dpub_repair(t, &p->f.stage, head, e) == -1)
		goto done;
	dpub_note_same(p->o->ckpt, t, head, p->f.stage.run);
	rv = filter_put(&p->f, r);
done:
	rec_free(r);
	return rv;
}

/*
 * Open what was uploaded: where it lies; or, where nothing can be opened,
 * what it was uploaded from, as every byte of it has been proved to be
 * there; with --verify=full a copy that is brought back from there.
 */
static int
open_there(struct dpub *p, struct target *t, const char *version,
    const struct manifest *m, const struct rec_store *s, struct err *e)
{
	const char	*path = target_version_path(t, version);
	struct err	 f = { 0, "" };
	struct buf	 b;
	char		 name[64];
	int		 rv;

	/* its bytes are all that there is to prove */
	if (strcmp(m->format, DPUB_FILES) == 0)
		return 0;
	if (path != NULL)
		return dpub_open_store(path, m, &p->f.stage, e);
	buf_init(&b, 16384);
	if (!p->o->full) {
		buf_printf(&b, "%s/%s", p->f.stage.path, s->path);
		rv = dpub_open_store(buf_cstr(&b), m, &p->f.stage, e);
		buf_free(&b);
		return rv;
	}
	(void)snprintf(name, sizeof(name), "back.%ld", (long)getpid());
	buf_printf(&b, "%s/%s", p->f.stage.path, name);
	rv = target_fetch(t, version, p->f.stage.dirfd, name, e);
	if (rv == 0) {
		rv = dpub_open_store(buf_cstr(&b), m, &p->f.stage, e);
		if (io_rmtree(p->f.stage.dirfd, name, &f) == -1)
			msg_info("%s: %s", p->f.stage.path, f.text);
	}
	buf_free(&b);
	return rv;
}

struct target_upload *
dpub_claim(struct dpub *p, struct target *t, const struct target_commit *head,
    const unsigned char d[HASH_LEN], struct err *e)
{
	struct target_claim	  claim = { NULL, 0, NULL, NULL };
	struct target_upload	 *u = NULL;
	char			**have, id[TARGET_VERSION_MAX];
	char			  hex[HASH_HEX];
	const char		 *last;
	size_t			  n;

	if (target_versions(t, &have, &n, e) == -1)
		return NULL;
	/* it sorts after the parent, and after everything that lies there */
	last = n > 0 ? have[n - 1] : NULL;
	if (head->version != NULL && (last == NULL ||
	    strcmp(head->version, last) > 0))
		last = head->version;
	if (target_version_id(id, last, e) == 0) {
		hash_hex(d, hex);
		claim.version = id;
		claim.generation = head->generation + 1;
		claim.manifest = hex;
		u = target_begin(t, &p->f.stage, p->f.stage.run, &claim, e);
	}
	if (u != NULL && strcmp(target_upload_version(u), id) != 0)
		msg_info("%s: going on with version %s, which a run that "
		    "died began", target_url(t), target_upload_version(u));
	target_names_free(have);
	return u;
}

/* Everything up to the commit; then the commit, or a ticket for it. */
int
dpub_upload(struct dpub *p, struct target *t,
    const struct target_commit *head, const struct manifest *m,
    const unsigned char d[HASH_LEN], int fd, const struct rec_store *s,
    struct err *e)
{
	struct target_upload	*u;
	struct target_commit	 c;
	struct err		 f = { 0, "" };
	struct rec		*r = NULL;
	int			 done = 0, rv = -1;

	u = dpub_claim(p, t, head, d, e);
	if (u == NULL)
		return -1;
	dpub_fill_commit(&c, head, m, d, target_upload_version(u),
	    p->f.stage.run);
	if (target_put(u, fd, m, d, 1, e) == -1 ||
	    open_there(p, t, c.version, m, s, e) == -1)
		goto fail;
	if (stream_reader_gone(p->f.out)) {
		err_set(e, MSG_PROTOCOL, "%s", "");
		goto fail;
	}
	r = dpub_record("published", t, &c);
	add_report(r, p, s, head);
	if (ticket_wanted()) {
		if (dpub_leave(p, "publish", NULL, r,
		    target_upload_name(u), e) == -1)
			goto fail;
		rv = 0;
		goto done;
	}
	rv = dpub_commit(t, u, &c, &done, e);
	if (done) {
		p->done = 1;
		dpub_note(p->o->ckpt, t, &c, 0, "");
	}
	if (done && filter_put(&p->f, r) == -1)
		msg_warn("%s: version %s was published all the same, as "
		    "generation %llu", target_url(t), c.version,
		    (unsigned long long)c.generation);
	else if (done && io_signal() != 0)
		msg_warn("%s: version %s is published, as generation %llu; "
		    "the signal came too late", target_url(t), c.version,
		    (unsigned long long)c.generation);
	goto done;
fail:
	if (target_abandon(u, &f) == -1)
		msg_warn("%s", f.text);
done:
	rec_free(r);
	target_upload_free(u);
	target_commit_clear(&c);
	return rv;
}

static int
no_base(const struct dpub *p)
{
	int	none = 0;

	return p->base == NULL ||
	    (rec_get_bool(p->base, "none", &none) && none);
}

void
dpub_publish_end(struct dpub *p, struct target *t, const struct err *e)
{
	struct target_commit	mine;

	if (e->code != 0)
		filter_fail_err(&p->f, e);
	if (p->f.status == 0 || p->done || t == NULL)
		return;
	memset(&mine, 0, sizeof(mine));
	(void)snprintf(mine.run, sizeof(mine.run), "%s", p->f.stage.run);
	dpub_note(p->o->ckpt, t, &mine, p->f.status,
	    p->f.n_reasons > 0 ? p->f.reasons[0] : "");
}

static void
publish(struct dpub *p)
{
	struct target_commit	 head;
	struct manifest		 m, base;
	struct rec_store	 s;
	struct target		*t = NULL;
	struct err		 e = { 0, "" };
	unsigned char		 d[HASH_LEN];
	int			 fd = -1;

	memset(&head, 0, sizeof(head));
	memset(&m, 0, sizeof(m));
	memset(&base, 0, sizeof(base));
	if (read_store(p, &s, &m, d, &fd, &e) == -1)
		goto done;
	/* only who may publish a first version may make the directory */
	t = dpub_open_target(p->target, no_base(p), p->o, &e);
	if (t == NULL || target_collect(t, 0, 0, NULL, NULL, &e) == -1 ||
	    target_head(t, &head, &e) == -1 ||
	    prove_parent(p, t, &head, &e) == -1)
		goto done;
	if (head.version != NULL &&
	    target_manifest(t, head.version, &base, NULL, &e) == -1)
		goto done;
	dpub_prove_sources(p, &m, &base);
	dpub_prove_plan(p, &m, &base);
	dpub_prove_size(p, &m, &head, s.deleted);
	if (!filter_ok(&p->f))
		goto done;
	if (s.unchanged)
		(void)dpub_unchanged(p, t, &head, &s, &e);
	else
		(void)dpub_upload(p, t, &head, &m, d, fd, &s, &e);
done:
	dpub_publish_end(p, t, &e);
	if (fd != -1)
		(void)close(fd);
	target_commit_clear(&head);
	manifest_clear(&m);
	manifest_clear(&base);
	target_close(t);
}

/* A total of END. */
static void
add_total(const char *key, uint64_t n, void *filter)
{
	filter_count(filter, key, n);
}

int
dpub_read(struct dpub *p)
{
	const struct rec	*r;

	while (filter_ok(&p->f) && filter_next(&p->f, &r))
		take(p, r);
	return filter_ok(&p->f) && !p->f.broken ? 0 : -1;
}

int
dpub_finish(struct dpub *p)
{
	int	status;

	retry_count(add_total, &p->f);
	status = filter_finish(&p->f, 1);
	rec_free(p->base);
	rec_free(p->parent);
	rec_free(p->store);
	dpub_srcs_clear(&p->deltas);
	dpub_srcs_clear(&p->given);
	dpub_srcs_clear(&p->skips);
	dpub_files_clear(&p->files);
	return status;
}

static int
run(const char *target, const struct dpub_opts *o)
{
	struct dpub		 p;
	struct filter_opts	 fo = o->filter;

	memset(&p, 0, sizeof(p));
	p.o = o;
	p.target = target;
	fo.quiet = ticket_wanted() && getenv("DRUN_LAST") != NULL;
	dpub_note_begin(o->ckpt);
	if (filter_open(&p.f, &fo) == 0 && dpub_read(&p) == 0) {
		if (p.files.n != 0)
			dpub_files_publish(&p);
		else
			publish(&p);
	}
	return dpub_finish(&p);
}

/* main */

/* Is it said what to set aside, or only to list it? */
static int
is_quarantine(int n, const struct dpub_opts *o)
{
	if (o->list)
		return n == 1 && !o->dry_run && o->reason == NULL &&
		    o->requeue == NULL && o->verdicts == NULL;
	/* a person's word is one verdict; a list has its own */
	return n >= 1 && !o->has_age_newer && !o->has_age_older &&
	    (o->verdicts != NULL ? o->reason == NULL :
	    n >= 2 && o->n_codes <= 1);
}

/* Called with other operands than that. */
static int
operands(const char *verb, const char *want, int n)
{
	msg_warn("%s: want %s, got %d operand%s", verb, want, n,
	    n == 1 ? "" : "s");
	return dpub_usage();
}

static int
no_target(char **v, int n)
{
	if (n > 1)
		msg_warn("%s: no such verb; a target is one operand, got %d",
		    v[0], n);
	else
		msg_warn("want a target, or a verb such as log");
	return dpub_usage();
}

static int
dispatch_gc(const char *verb, int orphans, char **v, int n,
    const struct dpub_opts *o)
{
	if (n != 1)
		return operands(verb, "a target", n);
	if (o->has_newer)
		return dpub_gc(v[0], orphans, o);
	msg_warn("%s: want --keep-newer-than, such as --keep-newer-than 7d",
	    verb);
	return dpub_usage();
}

static int
dispatch_pin(enum dpub_what w, char **v, int n, const struct dpub_opts *o)
{
	if (w == DO_PIN && o->list) {
		if (n == 1 && o->reason == NULL)
			return dpub_pins(v[0], o);
		return operands("pin --list", "a target alone", n);
	}
	if (n != 1 && n != 2)
		return operands(w == DO_PIN ? "pin" : "lease",
		    "a target, and a version or none", n);
	if (w == DO_PIN || o->lease != 0)
		return dpub_pin(v[0], v[1], o);
	msg_warn("lease: want --for, such as --for 1h");
	return dpub_usage();
}

static int
dispatch_quarantine(char **v, int n, const struct dpub_opts *o)
{
	if (is_quarantine(n, o))
		return dpub_quarantine(v[0], v + 1, o);
	msg_warn("quarantine: want a target and --verdicts, or inputs with at "
	    "most one --verdict, or --list and a target, each with its own "
	    "options alone");
	return dpub_usage();
}

static int
dispatch_in_place(char **v, int n, const struct dpub_opts *o)
{
	if (n != 1)
		return operands("--in-place", "a prefix", n);
	if (o->rollback && (o->del || o->dry_run))
		msg_warn("--rollback: neither with --delete nor with -n");
	else if (o->has_max_delete && !o->del)
		msg_warn("--max-delete: want --delete, too");
	else
		return o->rollback ? dpub_inplace_rollback(v[0], o) :
		    dpub_inplace(v[0], o);
	return dpub_usage();
}

static int
dispatch(enum dpub_what w, char **v, int n, const struct dpub_opts *o)
{
	static const char	a_version[] =
	    "a target, and a version or none";

	switch (w) {
	case DO_PUBLISH:
		return n == 1 ? run(v[0], o) : no_target(v, n);
	case DO_ARTIFACT:
		return dpub_artifact(v, o);
	case DO_LOG:
		return n == 1 ? dpub_log(v[0], o) :
		    operands("log", "a target", n);
	case DO_ROLLBACK:
		return n == 1 || n == 2 ? dpub_rollback(v[0],
		    n == 2 ? v[1] : NULL, o) :
		    operands("rollback", a_version, n);
	case DO_PRUNE:
		return dispatch_gc("prune", 0, v, n, o);
	case DO_PROBE:
		return n == 1 ? dpub_probe(v[0], o) :
		    operands("probe", "a target", n);
	case DO_GC:
		return dispatch_gc("gc", 1, v, n, o);
	case DO_PIN:
	case DO_LEASE:
		return dispatch_pin(w, v, n, o);
	case DO_UNPIN:
		return n >= 2 ? dpub_unpin(v[0], v + 1, o) :
		    operands("unpin", "a target and names", n);
	case DO_SOURCES:
		return n == 1 || n == 2 ? dpub_sources(v[0], v[1], o) :
		    operands("sources", a_version, n);
	case DO_REBUILD:
		return n == 2 || n == 3 ? dpub_rebuild(v[0], v[1], v[2], o) :
		    operands("rebuild", "a target, a directory to make, and a "
		    "version or none", n);
	case DO_QUARANTINE:
		return dispatch_quarantine(v, n, o);
	case DO_UNQUARANTINE:
		return n >= 2 ? dpub_unquarantine(v[0], v + 1, o) :
		    operands("unquarantine", "a target and names", n);
	case DO_HOLDS:
		return n >= 1 ? dpub_holds(v, o) :
		    operands("holds", "places", n);
	case DO_COMMIT:
		return n == 0 ? dpub_commit_tickets(o) :
		    operands("--commit", "none", n);
	case DO_DISCARD:
		return n == 0 ? dpub_discard_tickets(o) :
		    operands("--discard", "none", n);
	case DO_IN_PLACE:
		return dispatch_in_place(v, n, o);
	}
	return MSG_SOFTWARE;
}

int
main(int argc, char **argv)
{
	struct dpub_opts	 o;
	enum dpub_what		 w;
	int			 status;

	msg_init("dpublish");
	status = dpub_options(&argc, &argv, &o, &w);
	if (status != -1)
		return status;
	/* what is unchanged is proved by its manifest alone */
	spare_tell(w == DO_PUBLISH ? SPARE_ANY : SPARE_NO);
	io_catch_signals();
	status = dispatch(w, argv, argc, &o);
	io_die_of_signal();
	return status;
}
