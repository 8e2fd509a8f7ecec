/*
 * dpublish, the verbs that read no stream: log, rollback, prune, probe,
 * and -a.  None of them makes a version.
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
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "store.h"
#include "ticket.h"
#include "banned.h"

#define VERBS_TRIES	3	/* uploads of one artefact */
#define VERBS_FOREIGN	86400	/* seconds: other hosts' leftovers are older */

static int
fail(const struct err *e)
{
	if (io_signal() == 0)
		msg_err(e);
	return e->code;
}

/* One record as a JSON line on stdout. */
static int
put_json(const struct rec *r, struct err *e)
{
	struct buf	b;
	int		rv = 0;

	buf_init(&b, 8 * REC_MAX);
	rec_to_json(r, &b);
	buf_addc(&b, '\n');
	if (fwrite(b.p, 1, b.len, stdout) != b.len)
		rv = err_sys(e, errno, "stdout");
	buf_free(&b);
	return rv;
}

/* Everything that was printed has arrived: 0, or -1. */
static int
flush_out(struct err *e)
{
	if (fflush(stdout) == EOF || ferror(stdout)) {
		/* a pager that was left is no failure of ours to report */
		if (errno == EPIPE)
			return err_set(e, MSG_PROTOCOL, "%s",
			    "stdout: its reader left");
		return err_sys(e, errno, "stdout");
	}
	return 0;
}

/* log */

static void
when(int64_t ns, char out[32])
{
	struct tm	tm;
	time_t		s = (time_t)(ns / 1000000000);

	memset(&tm, 0, sizeof(tm));
	(void)gmtime_r(&s, &tm);
	if (strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
}

static int
log_line(struct target *t, const struct target_commit *c, int64_t delta,
    int current, const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	char		 at[32];
	int		 has, rv = 0;

	has = target_has(t, c->version, e);
	if (has == -1)
		return -1;
	when(c->created, at);
	if (o->filter.json) {
		r = dpub_record("commit", t, c);
		rec_set_i64(r, "delta", delta);
		rec_set_str(r, "created", at);
		rec_set_str(r, "state", has ? "present" : "gone");
		rec_set_bool(r, "current", current);
		rv = put_json(r, e);
		rec_free(r);
		return rv;
	}
	if (printf("%c %6" PRIu64 "  %s  %-8s %10" PRIu64 " %+10" PRId64
	    "  %-7s %s  run %s\n", current ? '*' : ' ', c->generation,
	    c->version, c->kind, c->records, delta, has ? "present" : "gone",
	    at, c->run) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

/* The commit below g that is there: 1, 0 none, -1. */
static int
older(struct target *t, uint64_t g, struct target_commit *c, struct err *e)
{
	int	r;

	while (g > 1) {
		r = target_commit_get(t, --g, c, e);
		if (r != 0)
			return r;
		msg_warn("warning: %s/%s/%" PRIu64 ".json: missing",
		    target_url(t), TARGET_COMMITS, g);
	}
	return 0;
}

static int
log_all(struct target *t, const struct dpub_opts *o, struct err *e)
{
	struct target_commit	c, next;
	char			ptr[TARGET_VERSION_MAX];
	int			current = 1, r;

	r = target_newest(t, &c, e);
	if (r == -1)
		return -1;
	if (r == 0) {
		/* nothing at all, or commits that were lost? */
		if (target_head(t, &c, e) == -1)
			return -1;
		return err_set(e, MSG_NOINPUT, "%s: nothing was published "
		    "here yet", target_url(t));
	}
	if (target_pointer(t, ptr, e) == -1) {
		target_commit_clear(&c);
		return -1;
	}
	if (strcmp(ptr, c.version) != 0)
		msg_warn("warning: %s/%s: names %s, the newest commit names "
		    "%s: the next dpublish mends it", target_url(t),
		    TARGET_POINTER, ptr[0] != '\0' ? ptr : "nothing",
		    c.version);
	while (r == 1) {
		memset(&next, 0, sizeof(next));
		r = older(t, c.generation, &next, e);
		if (r == -1 || log_line(t, &c, (int64_t)c.records -
		    (int64_t)next.records, current, o, e) == -1)
			r = -1;
		current = 0;
		target_commit_clear(&c);
		c = next;
		if (io_signal() != 0)
			break;
	}
	target_commit_clear(&c);
	return r == -1 ? -1 : flush_out(e);
}

int
dpub_log(const char *target, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = target_open(target, 0, &e);
	int		 rv = 0;

	if (t == NULL || log_all(t, o, &e) == -1)
		rv = fail(&e);
	target_close(t);
	return rv;
}

/* rollback */

/*
 * The commit that published version, or with version NULL the one that the
 * current version was published onto: 0, or -1 with *e.
 */
static int
find_old(struct target *t, const struct target_commit *head,
    const char *version, struct target_commit *out, struct err *e)
{
	struct target_commit	c, next;
	char			want[TARGET_VERSION_MAX];
	const char		*look = version != NULL ? version :
	    head->version;
	int			r;

	r = target_commit_get(t, head->generation, &c, e);
	(void)snprintf(want, sizeof(want), "%s", look);
	while (r == 1) {
		if (strcmp(c.version, want) == 0 &&
		    strcmp(c.kind, "publish") == 0) {
			if (version != NULL || strcmp(want,
			    head->version) != 0) {
				*out = c;
				return 0;
			}
			if (c.parent == NULL) {
				target_commit_clear(&c);
				return err_set(e, MSG_NOINPUT, "%s: version "
				    "%s is the first: there is none before "
				    "it", target_url(t), head->version);
			}
			(void)snprintf(want, sizeof(want), "%s", c.parent);
		}
		memset(&next, 0, sizeof(next));
		r = older(t, c.generation, &next, e);
		target_commit_clear(&c);
		c = next;
	}
	if (r == -1)
		return -1;
	return err_set(e, MSG_NOINPUT, "%s: version %s: no commit published "
	    "it (see dpublish log)", target_url(t), want);
}

static int
say_rollback(const struct target *t, const struct target_commit *c,
    int same, const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	int		 rv;

	if (o->filter.json) {
		r = dpub_record("published", t, c);
		if (same)
			rec_set_bool(r, "unchanged", 1);
		rv = put_json(r, e);
		rec_free(r);
	} else if (printf("%s: %s version %s (generation %" PRIu64 ", %"
	    PRIu64 " records)\n", target_url(t), same ? "already at" :
	    "rolled back to", c->version, c->generation, c->records) < 0)
		rv = err_sys(e, errno, "stdout");
	else
		rv = 0;
	return rv == -1 ? -1 : flush_out(e);
}

/* Bytes where they lie, and that they are those that were published. */
static int
prove_old(struct target *t, const struct target_commit *c, struct err *e)
{
	struct manifest	m;
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	int		r;

	r = target_has(t, c->version, e);
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s: version %s is gone (it "
		    "was pruned): choose one that dpublish log shows as "
		    "present", target_url(t), c->version);
	if (r == -1 || target_manifest(t, c->version, &m, d, e) == -1)
		return -1;
	manifest_clear(&m);
	hash_hex(d, hex);
	if (strcmp(hex, c->manifest_sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s: version %s: %s is not "
		    "the one that commit %" PRIu64 " published",
		    target_url(t), c->version, MANIFEST_NAME, c->generation);
	return target_verify(t, c->version, e);
}

static int
roll(struct target *t, const char *version, const struct dpub_opts *o,
    struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 head, c;
	char			 run[STAGE_RUN_MAX];
	int			 done = 0, r, same, rv = -1;

	memset(&c, 0, sizeof(c));
	if (version != NULL && !target_version_ok(version))
		return err_set(e, MSG_USAGE, "%s: not a version id (see "
		    "dpublish log)", version);
	if (target_collect(t, 0, NULL, e) == -1)
		return -1;
	/* commits alone: a current version that is gone is to be mended */
	r = target_newest(t, &head, e);
	if (r == -1)
		return -1;
	if (r == 0) {
		if (target_head(t, &head, e) != -1)
			err_set(e, MSG_NOINPUT, "%s: nothing was published "
			    "here yet", target_url(t));
		return -1;
	}
	if (find_old(t, &head, version, &c, e) == -1 ||
	    prove_old(t, &c, e) == -1 || stage_run_id(run, e) == -1)
		goto done;
	u = target_begin(t, NULL, run, NULL, 0, e);
	if (u == NULL)
		goto done;
	same = strcmp(head.version, c.version) == 0;
	if (same) {
		c.generation = head.generation;
		if (target_advance(u, e) == -1)
			goto done;
	} else {
		c.generation = head.generation + 1;
		free(c.parent);
		c.parent = mem_dup(head.version);
		free(c.kind);
		c.kind = mem_dup("rollback");
		(void)snprintf(c.run, sizeof(c.run), "%s", run);
		rv = dpub_commit(t, u, &c, &done, e);
		if (!done)
			goto done;
	}
	rv = say_rollback(t, &c, same, o, e);
	if (rv == -1 && done)
		msg_warn("%s: version %s is current all the same",
		    target_url(t), c.version);
done:
	if (u != NULL) {
		struct err	f = { 0, "" };

		if (target_finish(u, &f) == -1)
			msg_warn("%s", f.text);
		target_upload_free(u);
	}
	target_commit_clear(&head);
	target_commit_clear(&c);
	return rv;
}

int
dpub_rollback(const char *target, const char *version,
    const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = target_open(target, 0, &e);
	int		 rv = 0;

	if (t == NULL || roll(t, version, o, &e) == -1)
		rv = fail(&e);
	target_close(t);
	return rv;
}

/* prune */

/* What is known of a version that lies there. */
struct life {
	char	*version;
	int	 committed;
	int64_t	 until;		/* ns: when it stopped being current */
};

static struct life *
life_find(struct life *v, size_t n, const char *version)
{
	size_t	lo = 0, hi = n, mid;
	int	r;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		r = strcmp(v[mid].version, version);
		if (r == 0)
			return &v[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Until when each version was current, from the commits. */
static int
life_read(struct target *t, const struct target_commit *head,
    struct life *v, size_t n, struct err *e)
{
	struct target_commit	 c, next;
	struct life		*l;
	int64_t			 until = io_wall_ns();
	int			 r;

	r = target_commit_get(t, head->generation, &c, e);
	while (r == 1) {
		l = life_find(v, n, c.version);
		if (l != NULL) {
			l->committed = 1;
			if (until > l->until)
				l->until = until;
		}
		until = c.created;
		memset(&next, 0, sizeof(next));
		r = older(t, c.generation, &next, e);
		target_commit_clear(&c);
		c = next;
	}
	return r;
}

static int
say_pruned(const struct target *t, const char *version,
    const struct dpub_opts *o, struct err *e)
{
	struct rec	*r;
	int		 rv = 0;

	if (o->filter.json) {
		r = rec_new("pruned");
		rec_set_str(r, "target", target_url(t));
		rec_set_str(r, "version", version);
		rec_set_bool(r, "dry_run", o->dry_run);
		rv = put_json(r, e);
		rec_free(r);
	} else if (printf("%s %s/%s/%s\n", o->dry_run ? "would remove" :
	    "removed", target_url(t), TARGET_VERSIONS, version) < 0)
		rv = err_sys(e, errno, "stdout");
	return rv;
}

static int
prune_all(struct target *t, struct target_upload *u,
    const struct target_commit *head, const struct dpub_opts *o,
    struct err *e)
{
	struct life	 *v = NULL;
	char		**names = NULL, ptr[TARGET_VERSION_MAX];
	size_t		  n = 0, i;
	uint64_t	  newer = 0;
	int64_t		  now = io_wall_ns();
	int		  rv = -1;

	if (target_pointer(t, ptr, e) == -1 ||
	    target_versions(t, &names, &n, e) == -1)
		return -1;
	v = mem_zero(n + 1, sizeof(*v));
	for (i = 0; i < n; i++)
		v[i].version = names[i];
	if (life_read(t, head, v, n, e) == -1)
		goto done;
	for (i = n; i-- > 0 && io_signal() == 0;) {
		/* one that no commit names is another's, or evidence */
		if (!v[i].committed)
			continue;
		if (newer++ < o->keep ||
		    strcmp(v[i].version, head->version) == 0 ||
		    strcmp(v[i].version, ptr) == 0 ||
		    (uint64_t)((now - v[i].until) / 1000000000) < o->newer)
			continue;
		if (!o->dry_run && target_remove(u, v[i].version, e) == -1)
			goto done;
		if (say_pruned(t, v[i].version, o, e) == -1)
			goto done;
	}
	rv = flush_out(e);
done:
	free(v);
	target_names_free(names);
	return rv;
}

static int
prune(struct target *t, const struct dpub_opts *o, struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 head;
	struct err		 f = { 0, "" };
	char			 run[STAGE_RUN_MAX];
	uint64_t		 age = o->newer;
	int			 r, rv = -1;

	/* the whole proof: nothing is removed from a target in disorder */
	r = target_head(t, &head, e);
	if (r == -1)
		return -1;
	if (r == 0)
		return err_set(e, MSG_NOINPUT, "%s: nothing was published "
		    "here yet", target_url(t));
	if (o->dry_run) {
		rv = prune_all(t, NULL, &head, o, e);
		target_commit_clear(&head);
		return rv;
	}
	if (age < VERBS_FOREIGN)
		age = VERBS_FOREIGN;
	if (target_collect(t, age, NULL, e) == -1 ||
	    stage_run_id(run, e) == -1)
		goto done;
	u = target_begin(t, NULL, run, NULL, 0, e);
	if (u == NULL)
		goto done;
	if (target_advance(u, e) != -1)
		rv = prune_all(t, u, &head, o, e);
	if (target_finish(u, &f) == -1)
		msg_warn("%s", f.text);
done:
	target_upload_free(u);
	target_commit_clear(&head);
	return rv;
}

int
dpub_prune(const char *target, const struct dpub_opts *o)
{
	struct err	 e = { 0, "" };
	struct target	*t = target_open(target, 0, &e);
	int		 rv = 0;

	if (t == NULL || prune(t, o, &e) == -1)
		rv = fail(&e);
	target_close(t);
	return rv;
}

/* probe */

static void
say_probe(const char *what, void *arg)
{
	const struct dpub_opts	*o = arg;
	struct err		 e = { 0, "" };
	struct rec		*r;

	if (o->filter.json) {
		r = rec_new("probe");
		rec_set_str(r, "ok", what);
		(void)put_json(r, &e);
		rec_free(r);
	} else
		(void)printf("ok %s\n", what);
}

int
dpub_probe(const char *target, const struct dpub_opts *o)
{
	struct dpub_opts	 copy = *o;
	struct target_upload	*u = NULL;
	struct err		 e = { 0, "" }, f = { 0, "" };
	struct target		*t = target_open(target, 0, &e);
	char			 run[STAGE_RUN_MAX];
	int			 rv = 0;

	if (t == NULL || target_collect(t, 0, NULL, &e) == -1 ||
	    stage_run_id(run, &e) == -1)
		goto done;
	u = target_begin(t, NULL, run, NULL, 0, &e);
	if (u == NULL)
		goto done;
	if (target_probe(u, say_probe, &copy, &e) == 0)
		(void)flush_out(&e);
	else
		(void)fflush(stdout);
	if (target_finish(u, &f) == -1 && e.code == 0)
		e = f;
done:
	if (e.code != 0)
		rv = fail(&e);
	target_upload_free(u);
	target_close(t);
	return rv;
}

/* -a */

/* Copy the tree or file at path to `to`, digesting what is read. */
static int
copy_file(const char *from, const char *to, unsigned char d[HASH_LEN],
    struct err *e)
{
	struct hash	*h = hash_new();
	uint64_t	 sz;
	int		 in, out = -1, rv = -1;

	in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in == -1) {
		err_sys(e, errno, "%s", from);
		goto done;
	}
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (out == -1) {
		err_sys(e, errno, "%s", to);
		goto done;
	}
	if (io_copy(in, out, from, h, &sz, e) == -1 ||
	    io_fsync(out, to, e) == -1 || io_close(&out, to, e) == -1)
		goto done;
	hash_final(h, d);
	rv = 0;
done:
	hash_free(h);
	if (in != -1)
		(void)close(in);
	if (out != -1)
		(void)close(out);
	return rv;
}

static char *
cat(const char *a, const char *sep, const char *b)
{
	size_t	 n = strlen(a) + strlen(sep) + strlen(b) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s%s", a, sep, b);
	return s;
}

/* The files that hash_dir found, below to; digests of what was copied. */
static int
copy_dir(const char *from, const char *to, const struct hash_tree *t,
    struct err *e)
{
	const unsigned char	*want;
	unsigned char		 got[HASH_LEN];
	const char		*name;
	char			*a, *b, *slash;
	size_t			 i;
	int			 r;

	if (mkdir(to, 0777) == -1)
		return err_sys(e, errno, "%s", to);
	for (i = 0; i < hash_tree_count(t); i++) {
		if (io_signal() != 0)
			return err_set(e, MSG_TEMPFAIL, "stopped by a signal");
		name = hash_tree_get(t, i, NULL, &want);
		a = cat(from, "/", name);
		b = cat(to, "/", name);
		slash = strrchr(b, '/');
		*slash = '\0';
		r = io_mkdirs(b, e);
		*slash = '/';
		if (r == 0)
			r = copy_file(a, b, got, e);
		if (r == 0 && memcmp(want, got, HASH_LEN) != 0)
			r = err_set(e, MSG_TEMPFAIL, "%s: changed while it "
			    "was copied; its writer is still at work", a);
		free(a);
		free(b);
		if (r == -1)
			return -1;
	}
	return 0;
}

/* Input digest and size of a file or directory; t: its files. */
static int
digest(const char *path, unsigned char d[HASH_LEN], uint64_t *sz,
    struct hash_tree *t, int *dir, struct err *e)
{
	struct stat	st;

	if (lstat(path, &st) == -1)
		return err_sys(e, errno, "%s", path);
	*dir = S_ISDIR(st.st_mode);
	if (*dir)
		return hash_dir(AT_FDCWD, path, d, sz, t, e);
	return hash_file(AT_FDCWD, path, d, sz, e);
}

/* Open what lies at path with dcheck's code; an archive has only bytes. */
static int
judge(const char *path, struct err *e)
{
	enum store_format	fmt = store_detect(path, e);

	if (e->code != 0)
		return -1;
	if (fmt == STORE_ARCHIVE)
		return 0;
	if (fmt == STORE_NONE)
		return err_set(e, MSG_DATAERR, "%s: neither a store, nor an "
		    "archive, nor a batch result", path);
	return dpub_judge(path, fmt, e);
}

/* One try: copy into work, read back, open. */
static int
upload_once(const char *from, const char *built, unsigned char d[HASH_LEN],
    uint64_t *sz, int *final, struct err *e)
{
	struct hash_tree	*t = hash_tree_new();
	unsigned char		 back[HASH_LEN];
	uint64_t		 n;
	int			 dir, r, rv = -1;

	*final = 0;
	if (digest(from, d, sz, t, &dir, e) == -1) {
		*final = 1;
		goto done;
	}
	r = dir ? copy_dir(from, built, t, e) :
	    copy_file(from, built, back, e);
	if (r == -1) {
		/* only what was changed under us may be better next time */
		*final = e->code != MSG_TEMPFAIL;
		goto done;
	}
	if (digest(built, back, &n, NULL, &dir, e) == -1)
		goto done;
	if (memcmp(back, d, HASH_LEN) != 0) {
		err_set(e, MSG_IOERR, "%s: what was read back is not what "
		    "was written", built);
		goto done;
	}
	rv = judge(built, e);
	/* these very bytes were refused: they will be again */
	*final = rv == -1 && e->code == MSG_DATAERR;
done:
	hash_tree_free(t);
	return rv;
}

/* Everything for one artefact; a record into *out. */
static int
place_one(struct filter *f, const char *from, const char *to,
    struct err *e)
{
	unsigned char	 d[HASH_LEN];
	struct rec	*r;
	struct err	 t;
	uint64_t	 sz = 0;
	char		*dir = mem_dup(to), *slash = strrchr(dir, '/');
	char		*name = NULL, *work = NULL, *built = NULL;
	char		 hex[HASH_HEX];
	int		 fd = -1, tries, final, r1 = -1, rv = -1;

	if (slash == dir)
		slash++;
	*slash = '\0';
	if (io_mkdirs(dir, e) == -1)
		goto done;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", dir);
		goto done;
	}
	if (stage_work_collect(fd, e) == -1 ||
	    stage_work_make(&f->stage, fd, &name, e) == -1)
		goto done;
	work = cat(dir, "/", name);
	built = cat(work, "/", path_base(to));
	for (tries = 0; tries < VERBS_TRIES; tries++) {
		memset(&t, 0, sizeof(t));
		r1 = upload_once(from, built, d, &sz, &final, &t);
		if (r1 == 0 || final || io_signal() != 0)
			break;
		msg_info("%s (try %d of %d)", t.text, tries + 1, VERBS_TRIES);
		(void)io_rmtree(fd, name, &t);
		free(name);
		name = NULL;
		if (stage_work_make(&f->stage, fd, &name, e) == -1)
			goto done;
		free(work);
		free(built);
		work = cat(dir, "/", name);
		built = cat(work, "/", path_base(to));
	}
	if (r1 == -1) {
		err_set(e, t.code, "%s", t.text);
		goto done;
	}
	if (ticket_place(&f->stage, f->opts.json ? STREAM_JSON :
	    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK, work,
	    built, to, e) == -1)
		goto done;
	free(name);
	name = NULL;
	hash_hex(d, hex);
	r = rec_new(ticket_wanted() ? "prepared" : "artifact");
	rec_set_str(r, "url", from);
	rec_set_str(r, "path", to);
	rec_set_str(r, "sha256", hex);
	rec_set_u64(r, "size", sz);
	rv = filter_put(f, r);
	rec_free(r);
done:
	if (name != NULL && fd != -1) {
		memset(&t, 0, sizeof(t));
		(void)io_rmtree(fd, name, &t);
	}
	if (fd != -1)
		(void)close(fd);
	free(name);
	free(work);
	free(built);
	free(dir);
	return rv;
}

/* DEST/ and a last component, or DEST itself for the one there is. */
static char *
destination(const char *dest, const char *base, unsigned int n,
    struct err *e)
{
	size_t	 len = strlen(dest);
	char	*abs, *to;

	if (!path_is_local(dest)) {
		err_set(e, MSG_USAGE, "%s: only local targets (a path or "
		    "file://) are supported", dest);
		return NULL;
	}
	abs = path_from_url(dest, e);
	if (abs == NULL)
		return NULL;
	if (len > 0 && dest[len - 1] == '/') {
		to = cat(abs, "/", base);
		free(abs);
		return to;
	}
	if (n > 1) {
		err_set(e, MSG_USAGE, "%s: more than one artefact: want a "
		    "destination that ends in /", dest);
		free(abs);
		return NULL;
	}
	return abs;
}

static void
place(struct filter *f, const char *from, const char *base,
    const struct dpub_opts *o, unsigned int n)
{
	struct err	 e = { 0, "" };
	char		*to = destination(o->artifact, base, n, &e);

	if (to == NULL || place_one(f, from, to, &e) == -1)
		if (e.code != 0)
			filter_fail_err(f, &e);
	free(to);
}

/* What came down the stream and has a path: after END, one by one. */
struct arrived {
	char	*path, *base;
};

static int
arrive(struct filter *f, const struct rec *r, struct arrived *a)
{
	struct rec_delta	d;
	struct rec_store	s;
	struct err		e = { 0, "" };

	memset(a, 0, sizeof(*a));
	if (strcmp(rec_type(r), "delta") == 0) {
		if (rec_delta_get(r, &d, &e) == -1)
			goto bad;
		if (d.verdict == NULL || strcmp(d.verdict, "ok") != 0) {
			filter_fail(f, MSG_DATAERR, "%s: not checked: want "
			    "dcheck before dpublish", d.url);
			return 0;
		}
		a->path = cat(f->stage.path, "/", d.path);
		a->base = mem_dup(path_base(d.url));
		return 1;
	}
	if (strcmp(rec_type(r), "store") == 0) {
		if (rec_store_get(r, &s, &e) == -1)
			goto bad;
		a->path = cat(f->stage.path, "/", s.path);
		a->base = mem_ndup(s.content_digest, 16);
		return 1;
	}
	(void)filter_put(f, r);
	return 0;
bad:
	filter_fail_err(f, &e);
	return 0;
}

static void
from_stream(struct filter *f, const struct dpub_opts *o)
{
	const struct rec	*r;
	struct arrived		*v = NULL, a;
	size_t			 n = 0, cap = 0, i, stores = 0;

	while (filter_ok(f) && filter_next(f, &r)) {
		if (!arrive(f, r, &a))
			continue;
		/* a store is made of its deltas: they need not be kept */
		if (strcmp(rec_type(r), "store") == 0 && stores++ == 0) {
			for (i = 0; i < n; i++) {
				free(v[i].path);
				free(v[i].base);
			}
			n = 0;
		}
		v = mem_grow(v, &cap, n + 1, sizeof(*v));
		v[n++] = a;
	}
	if (filter_ok(f) && !f->broken && n == 0)
		filter_fail(f, MSG_DATAERR, "stream: neither delta nor store "
		    "record, nothing to place");
	for (i = 0; i < n; i++) {
		if (filter_ok(f) && !f->broken)
			place(f, v[i].path, v[i].base, o, (unsigned int)n);
		free(v[i].path);
		free(v[i].base);
	}
	free(v);
}

int
dpub_artifact(char **paths, const struct dpub_opts *o)
{
	struct filter_opts	 fo = o->filter;
	struct filter		 f;
	struct err		 e = { 0, "" };
	char			*abs;
	unsigned int		 n = 0, i;

	while (paths[n] != NULL)
		n++;
	fo.source = n > 0;
	if (filter_open(&f, &fo) == 0) {
		if (n == 0)
			from_stream(&f, o);
		for (i = 0; i < n && filter_ok(&f); i++) {
			abs = path_from_url(paths[i], &e);
			if (abs == NULL)
				filter_fail_err(&f, &e);
			else
				place(&f, abs, path_base(abs), o, n);
			free(abs);
		}
	}
	return filter_finish(&f, 1);
}
