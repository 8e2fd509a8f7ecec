/*
 * dpublish: make a merged store the current version of a target, all of
 * it or nothing.  It merges nothing and never changes a published file.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt.h"
#include "io.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "ticket.h"
#include "banned.h"

#define USAGE \
"usage: dpublish [-v] [-c db] [-p plan] [--allow-empty] [--allow-shrink n]\n" \
"                [--json] [--json-in] [--stage dir] target\n" \
"       dpublish -a dest [-v] [--json] [--json-in] [--stage dir] [path ...]\n" \
"       dpublish log [-v] [--json] target\n" \
"       dpublish rollback [-v] [--json] target [version]\n" \
"       dpublish prune [-nv] [--json] [--keep n] --keep-newer-than age target\n" \
"       dpublish probe [-v] [--json] target\n" \
"       dpublish --commit [-v] [-c db] [--stage dir]\n" \
"       dpublish --discard [-v] [--stage dir]\n"

static const char help[] =
"examples:\n"
"  drun 'dfetch -b /srv/rag deltas/ | dcheck | dmerge | dpublish /srv/rag'\n"
"  dpublish log /srv/rag\n"
"  dpublish rollback /srv/rag\n"
"\n"
USAGE
"\n"
"  -a, --artifact DEST    place an immutable delta or intermediate at DEST\n"
"                         (below DEST when it ends in /), never over another\n"
"  -c, --checkpoints DB   note in DB what was published (DCKPT_DB)\n"
"  -n, --dry-run          prune: say what would go, remove nothing\n"
"  -p, --plan PLAN        every line of PLAN must be in the store, no other\n"
"  -v, --verbose          say more on stderr\n"
"      --allow-empty      publish a store without records\n"
"      --allow-shrink N   publish with fewer records than before: exactly N\n"
"      --commit           commit what a run under drun prepared\n"
"      --discard          remove what a run under drun prepared\n"
"      --json             write JSON lines\n"
"      --json-in          read JSON lines\n"
"      --keep N           prune: keep the N newest versions (1)\n"
"      --keep-newer-than AGE  prune: keep what was current within AGE (7d)\n"
"      --stage DIR        the run's staging directory (DSTAGE)\n"
"  -h, --help             this\n"
"  -V, --version          the version\n";

enum {
	O_ALLOW_EMPTY = 256,
	O_ALLOW_SHRINK,
	O_COMMIT,
	O_DISCARD,
	O_JSON,
	O_JSON_IN,
	O_KEEP,
	O_NEWER,
	O_STAGE
};

static const struct option longopts[] = {
	{ "artifact",		required_argument, NULL, 'a' },
	{ "checkpoints",	required_argument, NULL, 'c' },
	{ "dry-run",		no_argument, NULL, 'n' },
	{ "plan",		required_argument, NULL, 'p' },
	{ "verbose",		no_argument, NULL, 'v' },
	{ "help",		no_argument, NULL, 'h' },
	{ "version",		no_argument, NULL, 'V' },
	{ "allow-empty",	no_argument, NULL, O_ALLOW_EMPTY },
	{ "allow-shrink",	required_argument, NULL, O_ALLOW_SHRINK },
	{ "commit",		no_argument, NULL, O_COMMIT },
	{ "discard",		no_argument, NULL, O_DISCARD },
	{ "json",		no_argument, NULL, O_JSON },
	{ "json-in",		no_argument, NULL, O_JSON_IN },
	{ "keep",		required_argument, NULL, O_KEEP },
	{ "keep-newer-than",	required_argument, NULL, O_NEWER },
	{ "stage",		required_argument, NULL, O_STAGE },
	{ NULL, 0, NULL, 0 }
};

/* What is done, and the options that go with it. */
enum what {
	DO_PUBLISH,
	DO_ARTIFACT,
	DO_LOG,
	DO_ROLLBACK,
	DO_PRUNE,
	DO_PROBE,
	DO_COMMIT,
	DO_DISCARD
};

#define B_A		0x0001U
#define B_C		0x0002U
#define B_N		0x0004U
#define B_P		0x0008U
#define B_EMPTY		0x0010U
#define B_SHRINK	0x0020U
#define B_COMMIT	0x0040U
#define B_DISCARD	0x0080U
#define B_JSON		0x0100U
#define B_JSON_IN	0x0200U
#define B_KEEP		0x0400U
#define B_NEWER		0x0800U
#define B_STAGE		0x1000U

static const unsigned int allowed[] = {
	B_C | B_P | B_EMPTY | B_SHRINK | B_JSON | B_JSON_IN | B_STAGE,
	B_A | B_JSON | B_JSON_IN | B_STAGE,
	B_JSON,
	B_JSON,
	B_N | B_JSON | B_KEEP | B_NEWER,
	B_JSON,
	B_COMMIT | B_C | B_STAGE,
	B_DISCARD | B_STAGE
};

static int
usage(void)
{
	(void)fputs(USAGE, stderr);
	return MSG_USAGE;
}

static int
bad_number(const char *opt, const char *arg, const char *why)
{
	msg_warn("%s: %s: %s", opt, arg, why);
	return usage();
}

struct rec *
dpub_record(const char *type, const struct target *t,
    const struct target_commit *c)
{
	struct rec	*r = rec_new(type);

	rec_set_str(r, "target", target_url(t));
	rec_set_u64(r, "generation", c->generation);
	rec_set_str(r, "version", c->version);
	rec_set_str(r, "parent", c->parent);
	rec_set_str(r, "kind", c->kind);
	rec_set_str(r, "format", c->format);
	rec_set_u64(r, "records", c->records);
	rec_set_u64(r, "tombstones", c->tombstones);
	rec_set_str(r, "content_digest", c->content_digest);
	rec_set_str(r, "manifest_sha256", c->manifest_sha256);
	rec_set_str(r, "run", c->run);
	return r;
}

static void
keep_str(const struct rec *r, const char *key, char **out)
{
	const char	*s;

	if (rec_get_str(r, key, &s))
		*out = mem_dup(s);
}

static void
keep_fixed(const struct rec *r, const char *key, char *out, size_t sz)
{
	const char	*s;

	if (rec_get_str(r, key, &s) && strlen(s) < sz)
		memcpy(out, s, strlen(s) + 1);
}

/* The commit that a record made by dpub_record describes: 0, or -1. */
static int
commit_of(const struct rec *r, struct target_commit *c, struct err *e)
{
	memset(c, 0, sizeof(*c));
	(void)rec_get_u64(r, "generation", &c->generation);
	(void)rec_get_u64(r, "records", &c->records);
	(void)rec_get_u64(r, "tombstones", &c->tombstones);
	keep_str(r, "version", &c->version);
	keep_str(r, "parent", &c->parent);
	keep_str(r, "kind", &c->kind);
	keep_str(r, "format", &c->format);
	keep_fixed(r, "content_digest", c->content_digest, HASH_HEX);
	keep_fixed(r, "manifest_sha256", c->manifest_sha256, HASH_HEX);
	keep_fixed(r, "run", c->run, sizeof(c->run));
	if (c->generation != 0 && c->version != NULL && c->kind != NULL &&
	    c->format != NULL && c->run[0] != '\0')
		return 0;
	target_commit_clear(c);
	return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
}

int
dpub_commit(struct target *t, struct target_upload *u,
    const struct target_commit *c, int *done, struct err *e)
{
	struct target_commit	won;
	struct err		f = { 0, "" };
	struct target_commit	mine = *c;
	int			r;

	*done = 0;
	if (io_signal() != 0)
		r = err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	else {
		mine.created = io_wall_ns();
		r = target_commit(u, &mine, &won, e);
	}
	if (r == 1) {
		err_set(e, MSG_CANTCREAT, "%s: generation %llu was taken by "
		    "run %s with version %s: nothing of this run is published"
		    "; run again from dfetch", target_url(t),
		    (unsigned long long)won.generation, won.run,
		    won.version != NULL ? won.version : "unknown");
		target_commit_clear(&won);
	}
	if (r != 0) {
		if (target_abandon(u, &f) == -1)
			msg_warn("%s: the upload is left for the next run to "
			    "remove", f.text);
		return -1;
	}
	*done = 1;
	if (target_advance(u, &f) == -1) {
		(void)err_set(e, f.code, "%.380s (published as generation "
		    "%llu; the next run mends the pointer)", f.text,
		    (unsigned long long)c->generation);
		return -1;
	}
	/* what is left now is the next run's to sweep, and no failure */
	if (target_finish(u, &f) == -1)
		msg_warn("%s", f.text);
	return 0;
}

/* Sources of the version that its parent has not: their work is done. */
static int
note_inputs(struct ckpt *db, struct target *t,
    const struct target_commit *c, struct err *e)
{
	struct manifest	m, base;
	size_t		i;
	int		rv = -1;

	memset(&base, 0, sizeof(base));
	if (target_manifest(t, c->version, &m, NULL, e) == -1)
		return -1;
	if (c->parent != NULL && target_has(t, c->parent, e) == 1 &&
	    target_manifest(t, c->parent, &base, NULL, e) == -1)
		goto done;
	for (i = 0; i < m.n_sources; i++)
		if (manifest_source(&base, m.sources[i].sha256) == NULL &&
		    ckpt_done(db, CKPT_INPUT, m.sources[i].url,
		    m.sources[i].sha256, c->run, e) == -1)
			goto done;
	rv = 0;
done:
	manifest_clear(&m);
	manifest_clear(&base);
	return rv;
}

/*
 * Tell the checkpoint database.  What was published is what the target
 * says, so trouble here is said and changes nothing.
 */
static void
note(const char *path, struct target *t, const struct target_commit *c,
    int status, const char *text)
{
	struct err	 e = { 0, "" };
	struct ckpt	*db = ckpt_open(path, CKPT_CREATE, &e);
	struct buf	 key;

	if (db == NULL) {
		if (e.code != 0)
			msg_warn("warning: %s", e.text);
		return;
	}
	buf_init(&key, CKPT_KEY_MAX);
	buf_printf(&key, "publish %s", target_url(t));
	if (ckpt_begin(db, &e) == -1)
		goto done;
	if (status == 0) {
		if (note_inputs(db, t, c, &e) == -1 ||
		    ckpt_done(db, CKPT_OPERATION, buf_cstr(&key), NULL,
		    c->run, &e) == -1)
			goto done;
	} else if (ckpt_fail(db, CKPT_OPERATION, buf_cstr(&key), c->run,
	    status, NULL, text, &e) == -1)
		goto done;
	if (ckpt_commit(db, &e) == -1)
		goto done;
done:
	if (e.code != 0)
		msg_warn("warning: %s", e.text);
	buf_free(&key);
	ckpt_close(db);
}

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
	    strcmp(d.format, "chroma") == 0))
		fd = openat(p->f.stage.dirfd, d.path, O_RDONLY |
		    O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* dcheck has judged it; one that is no manifest of ours is a file */
	if (fd != -1)
		ours = manifest_read(&m, fd, NULL, &e) == 0;
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
	else if (strcmp(t, "base") == 0)
		take_once(p, &p->base, r);
	else if (strcmp(t, "store") == 0)
		take_once(p, &p->store, r);
	else if (strcmp(t, "skip") == 0) {
		if (rec_skip_get(r, &s, &e) == -1)
			filter_fail_err(&p->f, &e);
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

static int
moved(const struct target *t, const struct target_commit *head,
    struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "%s: generation %llu was taken by "
	    "run %s with version %s since the base was fetched: nothing of "
	    "this run is published; run again from dfetch", target_url(t),
	    (unsigned long long)head->generation, head->run, head->version);
}

/* The store is merged onto the current version, and onto nothing else. */
static int
prove_parent(struct dpub *p, const struct target *t,
    const struct target_commit *head, struct err *e)
{
	struct rec_base	b;

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
		return head->generation == 0 ? 0 : moved(t, head, e);
	if (head->generation > b.generation)
		return moved(t, head, e);
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

static void
fill_commit(struct target_commit *c, const struct target_commit *head,
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
	rec_set_u64(r, "skipped", p->skips.n);
	rec_set_u64(r, "inserted", s->inserted);
	rec_set_u64(r, "replaced", s->replaced);
	rec_set_u64(r, "deleted", s->deleted);
	rec_set_u64(r, "superseded", s->superseded);
	rec_set_u64(r, "bytes", s->bytes);
}

static enum stream_mode
out_mode(const struct filter_opts *o)
{
	return o->json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK;
}

/* Under drun: the ticket, and "prepared" instead of "published". */
static int
leave(struct dpub *p, const struct rec *pub, const char *claim,
    struct err *e)
{
	struct rec	*t = rec_map(), *prep = rec_copy(pub);
	int		 rv;

	rec_set_str(t, "kind", "publish");
	rec_set_str(t, "claim", claim);
	rec_set_map(t, "published", pub);
	rv = ticket_leave(&p->f.stage, t, out_mode(&p->o->filter), e);
	rec_set_str(prep, "t", "prepared");
	if (rv == 0)
		rv = filter_put(&p->f, prep);
	rec_free(prep);
	rec_free(t);
	return rv;
}

/* Nothing new: the target stays as it is, the pointer is made right. */
static int
unchanged(struct dpub *p, struct target *t, const struct target_commit *head,
    const struct rec_store *s, struct err *e)
{
	struct target_upload	*u = NULL;
	struct rec		*r;
	char			 ptr[TARGET_VERSION_MAX];
	int			 r1, rv = -1;

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
	if (ticket_wanted()) {
		rv = leave(p, r, "", e);
		goto done;
	}
	r1 = target_pointer(t, ptr, e);
	if (r1 == -1)
		goto done;
	if (r1 != 1 || strcmp(ptr, head->version) != 0) {
		u = target_begin(t, &p->f.stage, p->f.stage.run, NULL, 0, e);
		if (u == NULL || target_advance(u, e) == -1)
			goto done;
		msg_info("%s: the pointer named %s and was mended",
		    target_url(t), ptr[0] != '\0' ? ptr : "nothing");
	}
	rv = filter_put(&p->f, r);
done:
	if (u != NULL && target_finish(u, e) == -1)
		rv = -1;
	target_upload_free(u);
	rec_free(r);
	return rv;
}

/* Everything up to the commit; then the commit, or a ticket for it. */
static int
upload(struct dpub *p, struct target *t, const struct target_commit *head,
    const struct manifest *m, const unsigned char d[HASH_LEN], int fd,
    const struct rec_store *s, struct err *e)
{
	struct target_upload	 *u = NULL;
	struct target_commit	  c;
	struct err		  f = { 0, "" };
	struct rec		 *r = NULL;
	char			**have = NULL, id[TARGET_VERSION_MAX];
	const char		 *last;
	size_t			  n;
	int			  done = 0, rv = -1;

	memset(&c, 0, sizeof(c));
	if (target_versions(t, &have, &n, e) == -1)
		return -1;
	/* it sorts after the parent, and after everything that lies there */
	last = n > 0 ? have[n - 1] : NULL;
	if (head->version != NULL && (last == NULL ||
	    strcmp(head->version, last) > 0))
		last = head->version;
	if (target_version_id(id, last, e) == -1)
		goto done;
	fill_commit(&c, head, m, d, id, p->f.stage.run);
	u = target_begin(t, &p->f.stage, p->f.stage.run, id, c.generation, e);
	if (u == NULL)
		goto done;
	if (target_put(u, fd, m, d, 1, e) == -1 ||
	    dpub_open_store(target_version_path(t, id), m, e) == -1)
		goto fail;
	if (stream_reader_gone(p->f.out)) {
		err_set(e, MSG_PROTOCOL, "%s", "");
		goto fail;
	}
	r = dpub_record("published", t, &c);
	add_report(r, p, s, head);
	if (ticket_wanted()) {
		if (leave(p, r, target_upload_name(u), e) == -1)
			goto fail;
		rv = 0;
		goto done;
	}
	rv = dpub_commit(t, u, &c, &done, e);
	if (p->o->ckpt != NULL || getenv("DCKPT_DB") != NULL)
		note(p->o->ckpt, t, &c, done ? 0 : e->code, e->text);
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
	target_names_free(have);
	return rv;
}

static int
no_base(const struct dpub *p)
{
	int	none = 0;

	return p->base == NULL ||
	    (rec_get_bool(p->base, "none", &none) && none);
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
	t = target_open(p->target, no_base(p), &e);
	if (t == NULL || target_collect(t, 0, NULL, &e) == -1 ||
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
		(void)unchanged(p, t, &head, &s, &e);
	else
		(void)upload(p, t, &head, &m, d, fd, &s, &e);
done:
	if (e.code != 0)
		filter_fail_err(&p->f, &e);
	if (fd != -1)
		(void)close(fd);
	target_commit_clear(&head);
	manifest_clear(&m);
	manifest_clear(&base);
	target_close(t);
}

static int
run(const char *target, const struct dpub_opts *o)
{
	struct dpub		 p;
	const struct rec	*r;
	int			 status;

	memset(&p, 0, sizeof(p));
	p.o = o;
	p.target = target;
	if (filter_open(&p.f, &o->filter) == 0) {
		while (filter_ok(&p.f) && filter_next(&p.f, &r))
			take(&p, r);
		/* END was read, and nothing was wrong on the way */
		if (filter_ok(&p.f) && !p.f.broken)
			publish(&p);
	}
	status = filter_finish(&p.f, 1);
	rec_free(p.base);
	rec_free(p.store);
	dpub_srcs_clear(&p.deltas);
	dpub_srcs_clear(&p.given);
	dpub_srcs_clear(&p.skips);
	return status;
}

/* Tickets. */

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

/* One "publish" ticket; *pub gets the record to show. */
static int
commit_ticket(const struct rec *ticket, const struct stage *s,
    const char *ckpt, struct rec **pub, int *done, struct err *e)
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
	if (commit_of(*pub, &c, e) == -1)
		return -1;
	t = target_open(url, 0, e);
	if (t == NULL)
		goto done;
	(void)rec_get_bool(*pub, "unchanged", &same);
	if (same) {
		if (target_head(t, &head, e) == -1)
			goto done;
		if (head.generation != c.generation) {
			moved(t, &head, e);
			goto done;
		}
		u = target_begin(t, s, s->run, NULL, 0, e);
		if (u == NULL || target_advance(u, e) == -1 ||
		    target_finish(u, e) == -1)
			goto done;
		rv = 0;
		goto done;
	}
	u = target_resume(t, claim, e);
	if (u == NULL)
		goto done;
	rv = dpub_commit(t, u, &c, done, e);
	if (ckpt != NULL || getenv("DCKPT_DB") != NULL)
		note(ckpt, t, &c, *done ? 0 : e->code, e->text);
done:
	target_upload_free(u);
	target_close(t);
	target_commit_clear(&c);
	target_commit_clear(&head);
	return rv;
}

static int
discard_ticket(const struct rec *ticket, struct err *e)
{
	struct target_upload	*u;
	struct target		*t;
	struct rec		*pub;
	const char		*kind = "", *claim, *url;
	int			 rv = 0;

	(void)rec_get_str(ticket, "kind", &kind);
	if (strcmp(kind, "place") == 0)
		return ticket_discard_place(ticket, e);
	pub = rec_get_map(ticket, "published");
	if (pub == NULL || !rec_get_str(ticket, "claim", &claim) ||
	    !rec_get_str(pub, "target", &url))
		rv = err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	else if (*claim != '\0') {
		t = target_open(url, 0, e);
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
discard_all(struct rec **v, size_t from, size_t n)
{
	struct err	e;
	size_t		i;
	int		status = 0;

	for (i = from; i < n; i++) {
		memset(&e, 0, sizeof(e));
		if (discard_ticket(v[i], &e) == -1) {
			msg_err(&e);
			status = msg_worse(status, e.code);
		}
	}
	return status;
}

/* Do one ticket and write its record. */
static int
do_ticket(const struct rec *ticket, const struct stage *s, const char *ckpt,
    struct stream_out *out, int *status)
{
	struct err	 e = { 0, "" };
	struct rec	*pub = NULL;
	const char	*kind = "", *to = "";
	int		 done = 0, rv;

	(void)rec_get_str(ticket, "kind", &kind);
	if (strcmp(kind, "place") == 0) {
		(void)rec_get_str(ticket, "to", &to);
		rv = ticket_commit_place(ticket, &e);
		pub = rec_new("placed");
		rec_set_str(pub, "path", to);
		done = rv == 0;
	} else if (strcmp(kind, "publish") == 0)
		rv = commit_ticket(ticket, s, ckpt, &pub, &done, &e);
	else
		rv = err_set(&e, MSG_SOFTWARE, "ticket: unknown kind %s",
		    kind);
	if (rv == -1) {
		msg_err(&e);
		*status = msg_worse(*status, e.code);
	}
	memset(&e, 0, sizeof(e));
	if ((rv == 0 || done) && stream_write(out, pub, &e) == -1) {
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

static int
commit_tickets(const struct dpub_opts *o)
{
	struct stage	 s;
	struct stream_out *out = NULL;
	struct err	 e = { 0, "" };
	struct rec	**v = NULL, *r;
	size_t		 n = 0, i = 0;
	int		 status = 0;

	if (join(&s, o, &e) == -1 || ticket_read_all(&s, &v, &n, &e) == -1) {
		msg_err(&e);
		status = e.code;
		goto done;
	}
	if (n == 0)
		goto done;
	out = stream_out_new(STDOUT_FILENO, ticket_mode(v[0]));
	r = rec_new("hello");
	rec_set_u64(r, "v", STREAM_VERSION);
	rec_set_str(r, "prog", msg_prog());
	rec_set_str(r, "version", MSG_VERSION);
	rec_set_str(r, "run", s.run);
	if (stream_write(out, r, &e) == -1) {
		/* nobody could be told: better nothing than unsaid */
		status = e.code;
		if (e.text[0] != '\0')
			msg_err(&e);
		rec_free(r);
		(void)discard_all(v, 0, n);
		goto done;
	}
	rec_free(r);
	while (i < n && do_ticket(v[i], &s, o->ckpt, out, &status) == 0)
		i++;
	/* the one that failed has cleaned up after itself; later ones go */
	if (i < n)
		status = msg_worse(status, discard_all(v, i, n));
	memset(&e, 0, sizeof(e));
	r = rec_new(status == 0 ? "end" : "fail");
	if (status == 0) {
		struct rec	*totals = rec_map();

		rec_set_u64(totals, "committed", n);
		rec_set_map(r, "totals", totals);
		rec_free(totals);
	} else {
		rec_set_str(r, "prog", msg_prog());
		rec_set_u64(r, "status", (uint64_t)status);
	}
	if (stream_write(out, r, &e) == -1 && status == 0) {
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
done:
	stream_out_free(out);
	ticket_free_all(v, n);
	stage_clear(&s);
	return status;
}

static int
discard_tickets(const struct dpub_opts *o)
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
		status = discard_all(v, 0, n);
	ticket_free_all(v, n);
	stage_clear(&s);
	return status;
}

/* main */

static int
show(const char *s)
{
	if (fputs(s, stdout) == EOF || fflush(stdout) == EOF) {
		msg_warn("stdout: write failed");
		return MSG_IOERR;
	}
	return 0;
}

static int
is_verb(const char *s, enum what *w)
{
	static const char *const names[] = { "log", "rollback", "prune",
	    "probe" };
	size_t	i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(s, names[i]) == 0) {
			*w = (enum what)(DO_LOG + (int)i);
			return 1;
		}
	return 0;
}

static int
dispatch(enum what w, char **v, int n, const struct dpub_opts *o)
{
	switch (w) {
	case DO_PUBLISH:
		return n == 1 ? run(v[0], o) : usage();
	case DO_ARTIFACT:
		return dpub_artifact(v, o);
	case DO_LOG:
		return n == 1 ? dpub_log(v[0], o) : usage();
	case DO_ROLLBACK:
		return n == 1 || n == 2 ? dpub_rollback(v[0],
		    n == 2 ? v[1] : NULL, o) : usage();
	case DO_PRUNE:
		return n == 1 && o->has_newer ? dpub_prune(v[0], o) :
		    usage();
	case DO_PROBE:
		return n == 1 ? dpub_probe(v[0], o) : usage();
	case DO_COMMIT:
		return n == 0 ? commit_tickets(o) : usage();
	case DO_DISCARD:
		return n == 0 ? discard_tickets(o) : usage();
	}
	return MSG_SOFTWARE;
}

int
main(int argc, char **argv)
{
	struct dpub_opts	 o;
	const char		*why;
	unsigned int		 seen = 0;
	enum what		 w = DO_PUBLISH;
	int			 ch, status;

	msg_init("dpublish");
	memset(&o, 0, sizeof(o));
	o.keep = 1;
	while ((ch = getopt_long(argc, argv, "a:c:hnp:vV", longopts,
	    NULL)) != -1)
		switch (ch) {
		case 'a':
			o.artifact = optarg;
			seen |= B_A;
			w = DO_ARTIFACT;
			break;
		case 'c':
			o.ckpt = optarg;
			seen |= B_C;
			break;
		case 'h':
			return show(help);
		case 'n':
			o.dry_run = 1;
			seen |= B_N;
			break;
		case 'p':
			o.plan = optarg;
			seen |= B_P;
			break;
		case 'v':
			msg_set_verbose(1);
			break;
		case 'V':
			return show("dpublish " MSG_VERSION "\n");
		case O_ALLOW_EMPTY:
			o.allow_empty = 1;
			seen |= B_EMPTY;
			break;
		case O_ALLOW_SHRINK:
			if (num_u64(optarg, 0, INT64_MAX, &o.shrink,
			    &why) == -1)
				return bad_number("--allow-shrink", optarg,
				    why);
			o.has_shrink = 1;
			seen |= B_SHRINK;
			break;
		case O_COMMIT:
			w = DO_COMMIT;
			seen |= B_COMMIT;
			break;
		case O_DISCARD:
			w = DO_DISCARD;
			seen |= B_DISCARD;
			break;
		case O_JSON:
			o.filter.json = 1;
			seen |= B_JSON;
			break;
		case O_JSON_IN:
			o.filter.json_in = 1;
			seen |= B_JSON_IN;
			break;
		case O_KEEP:
			if (num_u64(optarg, 1, INT64_MAX, &o.keep,
			    &why) == -1)
				return bad_number("--keep", optarg, why);
			seen |= B_KEEP;
			break;
		case O_NEWER:
			if (num_duration(optarg, &o.newer, &why) == -1)
				return bad_number("--keep-newer-than", optarg,
				    why);
			o.has_newer = 1;
			seen |= B_NEWER;
			break;
		case O_STAGE:
			o.filter.stage = optarg;
			seen |= B_STAGE;
			break;
		default:
			return usage();
		}
	argc -= optind;
	argv += optind;
	/* a target of a verb's name is written ./log */
	if (w == DO_PUBLISH && argc > 0 && is_verb(argv[0], &w)) {
		argc--;
		argv++;
	}
	if ((seen & ~allowed[w]) != 0)
		return usage();
	io_catch_signals();
	status = dispatch(w, argv, argc, &o);
	io_die_of_signal();
	return status;
}
