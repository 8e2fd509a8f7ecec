/*
 * dpublish -a: an immutable artefact, copied, read back, opened, and put
 * in its place once and for all.  It makes no version and no commit.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "retry.h"
#include "store.h"
#include "ticket.h"
#include "banned.h"

#define ARTIFACT_TRIES	3	/* uploads of one artefact */

/* Copy the tree or file at path to `to`, digesting what is read. */
static int
copy_file(const char *from, const char *to, unsigned char d[HASH_LEN],
    struct err *e)
{
	struct hash	*h = hash_new();
	struct err	 f = { 0, "" };
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
	if (io_copy(in, out, from, h, &sz, &f) == -1) {
		/* a full disk is where it goes to */
		err_set(e, f.code, "%.200s: from %s", to, f.text);
		goto done;
	}
	if (io_fsync(out, to, e) == -1 || io_close(&out, to, e) == -1)
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
		a = mem_cat(from, "/", name);
		b = mem_cat(to, "/", name);
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

/* Where a manifest lies in it, the directory is what that says. */
static int
as_manifest(const char *path, struct err *e)
{
	struct manifest	m;
	struct err	f = { 0, "" };
	struct stat	st;
	int		fd, rv = 0;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOTDIR ? 0 : err_sys(e, errno, "%s", path);
	memset(&m, 0, sizeof(m));
	if (fstatat(fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (manifest_read(&m, fd, NULL, &f) == -1 ||
	    manifest_verify(&m, fd, 1, &f) == -1))
		rv = err_set(e, f.code, "%.300s: %s: %s", path,
		    check_code_name(CHECK_MANIFEST), f.text);
	manifest_clear(&m);
	(void)close(fd);
	return rv;
}

int
dpub_judge_any(const char *path, const struct stage *s, struct err *e)
{
	enum store_format	fmt = store_detect(path, e);

	if (e->code != 0)
		return -1;
	if (fmt == STORE_ARCHIVE)
		return 0;
	if (fmt == STORE_NONE)
		return err_set(e, MSG_DATAERR, "%s: neither a store, nor an "
		    "archive, nor a batch result", path);
	return as_manifest(path, e) == -1 ? -1 : dpub_judge(path, fmt, s,
	    e);
}

/* One try: copy into work, read back, open. */
static int
upload_once(const char *from, const char *built, const struct stage *s,
    unsigned char d[HASH_LEN], uint64_t *sz, int *final, struct err *e)
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
	rv = dpub_judge_any(built, s, e);
	/* these very bytes were refused: they will be again */
	*final = rv == -1 && e->code == MSG_DATAERR;
done:
	hash_tree_free(t);
	return rv;
}

/* A work directory in dir, open as fd: its name, or NULL. */
static char *
work_in(struct filter *f, const char *dir, int fd, struct err *e)
{
	struct err	 g = { 0, "" };
	char		*name = NULL;

	if (stage_work_make(&f->stage, fd, &name, &g) == 0)
		return name;
	err_set(e, g.code, "%.300s: %s", dir, g.text);
	return NULL;
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
	if (io_mkdirs_sync(dir, e) == -1)
		goto done;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", dir);
		goto done;
	}
	memset(&t, 0, sizeof(t));
	if (stage_work_collect(fd, &t) == -1) {
		err_set(e, t.code, "%.300s: %s", dir, t.text);
		goto done;
	}
	name = work_in(f, dir, fd, e);
	if (name == NULL)
		goto done;
	work = mem_cat(dir, "/", name);
	built = mem_cat(work, "/", path_base(to));
	for (tries = 0; tries < ARTIFACT_TRIES; tries++) {
		memset(&t, 0, sizeof(t));
		r1 = upload_once(from, built, &f->stage, d, &sz, &final, &t);
		if (r1 == 0 || final || io_signal() != 0)
			break;
		msg_info("%s (try %d of %d)", t.text, tries + 1,
		    ARTIFACT_TRIES);
		(void)io_rmtree(fd, name, &t);
		free(name);
		name = work_in(f, dir, fd, e);
		if (name == NULL)
			goto done;
		free(work);
		free(built);
		work = mem_cat(dir, "/", name);
		built = mem_cat(work, "/", path_base(to));
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

	if (remote_is_s3(dest))
		abs = mem_dup(dest);
	else if (path_is_local(dest))
		abs = path_from_url(dest, e);
	else {
		err_set(e, MSG_USAGE, "%s: an artefact goes to a path, "
		    "file:// or s3://", dest);
		return NULL;
	}
	if (abs == NULL)
		return NULL;
	if (len > 0 && dest[len - 1] == '/') {
		to = mem_cat(abs, remote_is_s3(dest) ? "" : "/", base);
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
	int		 rv = -1;

	if (to != NULL)
		rv = remote_is_s3(to) ?
		    dpub_artifact_put(f, from, to, o, &e) :
		    place_one(f, from, to, &e);
	if (rv == -1 && e.code != 0)
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
		a->path = mem_cat(f->stage.path, "/", d.path);
		a->base = mem_dup(path_base(d.url));
		return 1;
	}
	if (strcmp(rec_type(r), "store") == 0) {
		if (rec_store_get(r, &s, &e) == -1)
			goto bad;
		a->path = mem_cat(f->stage.path, "/", s.path);
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

/* A total of END. */
static void
add_total(const char *key, uint64_t n, void *filter)
{
	filter_count(filter, key, n);
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
	if (n > 0 && stream_unread(0, &e) == -1)
		msg_die(e.code, "%s: give no path, or take it out of the "
		    "pipe", e.text);
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
		if (n > 0 && filter_ok(&f) && stream_unread(1, &e) == -1)
			filter_fail_err(&f, &e);
	}
	retry_count(add_total, &f);
	return filter_finish(&f, 1);
}
