/*
 * dckpt, verify: is what was done still so?  Inputs that lie here still
 * are what was processed, intermediates are whole, and the version that
 * each completed publish made is there.  It mends nothing and reads no
 * input that lies elsewhere.
 * SPDX-License-Identifier: ISC
 */
#include "dckpt.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "io.h"
#include "json.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "target.h"
#include "banned.h"

#define DEPTH_MAX	8	/* as hash_dir has it */
#define LOOK_BACK	10000	/* commits looked through for a run's */

static const char publish[] = "publish ";

/* A completed unit, copied: nobody waits for a transaction of ours. */
struct unit {
	enum ckpt_scope	 scope;
	char		*pipeline, *key, *digest, *run, *result;
	uint64_t	 size, inode;
	int64_t		 mtime;
};
struct units {
	struct unit	*v;
	size_t		 n, cap;
};

enum got {
	GOT_OK,
	GOT_MISSING,
	GOT_DIFFERS,
	GOT_UNKNOWN,	/* nothing was noted to hold it against */
	GOT_ELSEWHERE	/* not looked at */
};
#define GOT_N (GOT_ELSEWHERE + 1)

static const char *const words[GOT_N] = { "ok", "missing", "differs",
	"unknown", "elsewhere" };

struct verify {
	struct dckpt	*o;
	uint64_t	 n[GOT_N];
};

static char *
dup_or_null(const char *s)
{
	return s != NULL ? mem_dup(s) : NULL;
}

static int
on_unit(const struct ckpt_unit *u, void *arg)
{
	struct units	*w = arg;
	struct unit	*i;

	if (u->scope == CKPT_PIPELINE)
		return 0;
	w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof(*w->v));
	i = &w->v[w->n++];
	i->scope = u->scope;
	i->pipeline = mem_dup(u->pipeline);
	i->key = mem_dup(u->key);
	i->digest = dup_or_null(u->digest);
	i->run = dup_or_null(u->run);
	i->result = dup_or_null(u->result);
	i->size = u->size;
	i->inode = u->inode;
	i->mtime = u->mtime;
	return 0;
}

static void
units_clear(struct units *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++) {
		free(w->v[i].pipeline);
		free(w->v[i].key);
		free(w->v[i].digest);
		free(w->v[i].run);
		free(w->v[i].result);
	}
	free(w->v);
}

/* What an error about a thing says of the thing; GOT_N: of the machine. */
static enum got
of_error(const struct err *e)
{
	switch (e->code) {
	case MSG_NOINPUT:
		return GOT_MISSING;
	case MSG_DATAERR:
		return GOT_DIFFERS;
	default:
		return GOT_N;
	}
}

/*
 * Each of these fills *e with what is wrong, or, for GOT_OK, *how it was
 * found out.
 */

static enum got
check_digest(const struct unit *i, const char *path, int dir,
    struct err *e)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	uint64_t	size;

	if ((dir ? hash_dir(AT_FDCWD, path, d, &size, NULL, e) :
	    hash_file(AT_FDCWD, path, d, &size, e)) == -1)
		return of_error(e);
	hash_hex(d, hex);
	if (strcmp(hex, i->digest) == 0)
		return GOT_OK;
	err_set(e, MSG_DATAERR, "%s: sha256: want %s, got %s", i->key,
	    i->digest, hex);
	return GOT_DIFFERS;
}

static int64_t
mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 +
	    st->st_mtim.tv_nsec;
}

/*
 * What dfetch notes of a directory: the bytes of its files and the time of
 * the newest; fd is closed.  -1: it could not be read, or is none of the
 * kind that could have been an input.
 */
static int
add_dir(int fd, int depth, uint64_t *size, int64_t *newest)
{
	struct dirent	*de;
	struct stat	 st;
	DIR		*d = depth <= DEPTH_MAX ? fdopendir(fd) : NULL;
	int		 sub, rv = 0;

	if (d == NULL) {
		(void)close(fd);
		return -1;
	}
	while (rv == 0 && (de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		rv = fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW);
		if (rv == 0 && S_ISDIR(st.st_mode)) {
			sub = openat(dirfd(d), de->d_name, O_RDONLY |
			    O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			rv = sub == -1 ? -1 :
			    add_dir(sub, depth + 1, size, newest);
		} else if (rv == 0 && S_ISREG(st.st_mode)) {
			*size += (uint64_t)st.st_size;
			if (mtime_ns(&st) > *newest)
				*newest = mtime_ns(&st);
		} else
			rv = -1;
	}
	(void)closedir(d);
	return rv;
}

static int
same_facts(const struct unit *i, const char *path, const struct stat *st)
{
	uint64_t	size = (uint64_t)st->st_size;
	int64_t		newest = INT64_MIN;
	int		fd;

	if (i->mtime == 0 || i->inode == 0 ||
	    i->inode != (uint64_t)st->st_ino)
		return 0;
	if (S_ISREG(st->st_mode))
		newest = mtime_ns(st);
	else {
		size = 0;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd == -1 || add_dir(fd, 0, &size, &newest) == -1)
			return 0;
	}
	return i->mtime == newest && i->size == size;
}

static enum got
check_input(const struct dckpt_opts *o, const struct unit *i,
    const char **how, struct err *e)
{
	struct stat	 st;
	enum got	 rv = GOT_N;
	char		*path;

	if (!path_is_local(i->key))
		return GOT_ELSEWHERE;
	path = path_from_url(i->key, e);
	if (path == NULL)
		return GOT_N;
	if (stat(path, &st) == -1) {
		err_sys(e, errno, "%s", i->key);
		rv = of_error(e);
	} else if (!o->full && same_facts(i, path, &st)) {
		*how = "size, time and inode";
		rv = GOT_OK;
	} else if (i->digest == NULL || o->quick)
		rv = GOT_UNKNOWN;
	else {
		*how = "digest";
		rv = check_digest(i, path, S_ISDIR(st.st_mode), e);
	}
	free(path);
	return rv;
}

static enum got
check_chunk(const struct dckpt_opts *o, const struct unit *i,
    const char **how, struct err *e)
{
	struct manifest	 m;
	enum got	 rv = GOT_OK;
	char		*path;
	int		 fd;

	if (!path_is_local(i->key))
		return GOT_ELSEWHERE;
	path = path_from_url(i->key, e);
	if (path == NULL)
		return GOT_N;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	if (fd == -1) {
		err_sys(e, errno, "%s", i->key);
		return of_error(e);
	}
	*how = o->quick ? "manifest and sizes" : "manifest and digests";
	if (manifest_read(&m, fd, NULL, e) == -1)
		rv = of_error(e);
	else {
		if (manifest_verify(&m, fd, !o->quick, e) == -1)
			rv = of_error(e);
		manifest_clear(&m);
	}
	(void)close(fd);
	return rv;
}

/* The version the run committed: 1, 0 no commit is the run's, -1. */
static int
find_version(struct target *t, const struct unit *i,
    char out[TARGET_VERSION_MAX], struct err *e)
{
	struct target_commit	c;
	uint64_t		g, n;
	int			r;

	if (i->result != NULL && target_version_ok(i->result)) {
		(void)snprintf(out, TARGET_VERSION_MAX, "%s", i->result);
		return 1;
	}
	r = target_newest(t, &c, e);
	for (n = 0; r == 1 && n < LOOK_BACK; n++) {
		if (i->run != NULL && strcmp(c.run, i->run) == 0) {
			(void)snprintf(out, TARGET_VERSION_MAX, "%s",
			    c.version);
			target_commit_clear(&c);
			return 1;
		}
		g = c.generation;
		target_commit_clear(&c);
		r = g > 1 ? target_commit_get(t, g - 1, &c, e) : 0;
	}
	if (r == 1)
		target_commit_clear(&c);
	return r == -1 ? -1 : 0;
}

static enum got
check_version(const struct dckpt_opts *o, struct target *t,
    const struct unit *i, const char **how, struct err *e)
{
	struct target_commit	c;
	char			v[TARGET_VERSION_MAX];
	int			r = target_head(t, &c, e);

	if (r == -1)
		return of_error(e);
	if (r == 1)
		target_commit_clear(&c);
	r = r == 1 ? find_version(t, i, v, e) : 0;
	if (r == -1)
		return of_error(e);
	if (r == 0) {
		err_set(e, MSG_NOINPUT, "%s: no commit of run %s is there",
		    i->key, i->run != NULL ? i->run : "-");
		return GOT_MISSING;
	}
	r = target_has(t, v, e);
	if (r == -1)
		return of_error(e);
	if (r == 0) {
		err_set(e, MSG_NOINPUT, "%s: version %s is not there",
		    i->key, v);
		return GOT_MISSING;
	}
	*how = o->quick ? "commit and manifest" : "commit and every byte";
	if (!o->quick && target_verify(t, v, e) == -1)
		return of_error(e);
	return GOT_OK;
}

static enum got
check_operation(const struct dckpt_opts *o, const struct unit *i,
    const char **how, struct err *e)
{
	struct target_opts	 to;
	struct target		*t;
	enum got		 rv;
	const char		*url = i->key + sizeof(publish) - 1;

	if (strncmp(i->key, publish, sizeof(publish) - 1) != 0)
		return GOT_UNKNOWN;
	if (!target_is_url(url))
		return GOT_ELSEWHERE;
	memset(&to, 0, sizeof(to));
	to.ckpt = o->db;
	t = target_open(url, &to, e);
	if (t == NULL)
		return of_error(e);
	rv = check_version(o, t, i, how, e);
	target_close(t);
	return rv;
}

static void
say_json(struct dckpt *o, const struct unit *i, enum got f,
    const char *how, const struct err *e)
{
	struct buf	*b = &o->b;

	buf_addc(b, '{');
	json_put_kstr(b, "pipeline", i->pipeline);
	json_put_kstr(b, "scope", ckpt_scope_name(i->scope));
	json_put_kstr(b, "key", i->key);
	json_put_kstr(b, "found", words[f]);
	if (how != NULL)
		json_put_kstr(b, "by", how);
	if (e->code != 0)
		json_put_kstr(b, "why", e->text);
	buf_str(b, "}\n");
	dckpt_put(o);
}

static void
say(struct dckpt *o, const struct unit *i, enum got f, const char *how,
    const struct err *e)
{
	if (o->o->json) {
		say_json(o, i, f, how, e);
		return;
	}
	if (f == GOT_MISSING || f == GOT_DIFFERS) {
		buf_printf(&o->b, "%-9s %-9s ", words[f],
		    ckpt_scope_name(i->scope));
		if (strncmp(e->text, i->key, strlen(i->key)) != 0) {
			dckpt_masked(&o->b, i->key);
			buf_str(&o->b, ": ");
		}
		dckpt_masked(&o->b, e->text);
		buf_addc(&o->b, '\n');
		dckpt_put(o);
	} else
		msg_info("%s: %s%s%s", i->key, words[f],
		    how != NULL ? " by " : "", how != NULL ? how : "");
}

/* Look at one and say what was found. */
static void
check(struct verify *v, const struct unit *i, int *status)
{
	const char	*how = NULL;
	struct err	 e = { 0, "" };
	enum got	 f = GOT_UNKNOWN;

	switch (i->scope) {
	case CKPT_INPUT:
		f = check_input(v->o->o, i, &how, &e);
		break;
	case CKPT_CHUNK:
		f = check_chunk(v->o->o, i, &how, &e);
		break;
	case CKPT_OPERATION:
		f = check_operation(v->o->o, i, &how, &e);
		break;
	case CKPT_PIPELINE:
		break;
	}
	if (f == GOT_N) {
		/* said, and the others are looked at all the same */
		msg_err(&e);
		*status = msg_worse(*status, e.code);
		return;
	}
	v->n[f]++;
	if (f == GOT_MISSING)
		*status = msg_worse(*status, MSG_NOINPUT);
	if (f == GOT_DIFFERS)
		*status = msg_worse(*status, MSG_DATAERR);
	say(v->o, i, f, f == GOT_OK ? how : NULL, &e);
}

int
dckpt_verify(struct dckpt *o, int *status)
{
	struct verify	v;
	struct units	w;
	size_t		i;
	int		rv;

	memset(&v, 0, sizeof(v));
	memset(&w, 0, sizeof(w));
	v.o = o;
	io_catch_signals();
	/* --limit is of these */
	o->o->sel.states = 1U << CKPT_COMPLETED;
	rv = ckpt_each(o->c, &o->o->sel, on_unit, &w, o->e);
	for (i = 0; rv == 0 && i < w.n && io_signal() == 0; i++)
		check(&v, &w.v[i], status);
	units_clear(&w);
	io_die_of_signal();
	if (rv == 0 && !o->o->json)
		(void)printf("%" PRIu64 " ok, %" PRIu64 " missing, %" PRIu64
		    " differ, %" PRIu64 " unknown, %" PRIu64
		    " elsewhere\n", v.n[GOT_OK], v.n[GOT_MISSING],
		    v.n[GOT_DIFFERS], v.n[GOT_UNKNOWN], v.n[GOT_ELSEWHERE]);
	return rv;
}
