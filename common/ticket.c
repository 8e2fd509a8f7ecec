/*
 * ticket: prepared work on its way to the moment of commit.
 * It never looks into a store beyond its manifest.
 * SPDX-License-Identifier: ISC
 */
#define _GNU_SOURCE /* renameat2 where the C library has it */
#include "ticket.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "buf.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "rec.h"
#include "banned.h"

#define TICKET_BYTES	REC_MAX	/* of one ticket */
#define TICKET_NOREPLACE 1	/* RENAME_NOREPLACE */

int
ticket_wanted(void)
{
	const char	*s = getenv("DRUN_ID");

	return s != NULL && *s != '\0';
}

/* 1 when the two manifests promise the same store. */
static int
same_manifest(const struct manifest *a, const struct manifest *b)
{
	size_t	i;

	if (strcmp(a->content_digest, b->content_digest) != 0 ||
	    strcmp(a->format, b->format) != 0 ||
	    a->n_sources != b->n_sources)
		return 0;
	for (i = 0; i < a->n_sources; i++)
		if (strcmp(a->sources[i].sha256, b->sources[i].sha256) != 0 ||
		    strcmp(a->sources[i].url, b->sources[i].url) != 0)
			return 0;
	return 1;
}

/* Our manifest in the directory path: 1, 0 there is none, -1. */
static int
get_manifest(const char *path, struct manifest *m, int verify,
    struct err *e)
{
	struct err	f = { 0, "" };
	int		fd, r;

	memset(m, 0, sizeof(*m));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOTDIR ? 0 : err_sys(e, errno, "%s", path);
	if (faccessat(fd, MANIFEST_NAME, F_OK, 0) == -1 && errno == ENOENT) {
		(void)close(fd);
		return 0;
	}
	r = manifest_read(m, fd, NULL, &f);
	/* somebody else's file of that name: no store of ours */
	if (r == -1 && f.code == MSG_DATAERR && !verify) {
		(void)close(fd);
		return 0;
	}
	if (r == 0 && verify && manifest_verify(m, fd, 1, &f) == -1) {
		manifest_clear(m);
		r = -1;
	}
	if (r == -1)
		err_set(e, f.code, "%.300s: %s", path, f.text);
	(void)close(fd);
	return r == -1 ? -1 : 1;
}

/* The input digest of whatever lies at path. */
static int
digest_of(const char *path, unsigned char d[HASH_LEN], struct err *e)
{
	struct stat	st;
	uint64_t	sz;

	if (lstat(path, &st) == -1)
		return err_sys(e, errno, "%s", path);
	if (S_ISDIR(st.st_mode))
		return hash_dir(AT_FDCWD, path, d, &sz, NULL, e);
	return hash_file(AT_FDCWD, path, d, &sz, e);
}

static int
other(const char *to, const char *why, struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "%.300s: something else is already "
	    "there (%s): remove it or choose another name", to, why);
}

/* So is what cannot be read to its end, if it is not the machine's fault. */
static int
unread(const char *to, const struct err *f, struct err *e)
{
	if (f->code != MSG_NOPERM && f->code != MSG_IOERR &&
	    f->code != MSG_TEMPFAIL)
		return other(to, f->text, e);
	return err_set(e, f->code, "%.300s: what is already there cannot be "
	    "compared: %s", to, f->text);
}

int
ticket_there(const char *from, const char *to, struct err *e)
{
	struct manifest	 a, b;
	unsigned char	 d1[HASH_LEN], d2[HASH_LEN];
	struct err	 f = { 0, "" };
	struct stat	 st;
	int		 r;

	if (lstat(to, &st) == -1)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", to);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return other(to, "neither a directory nor a file", e);
	r = get_manifest(from, &a, 0, e);
	if (r == -1)
		return -1;
	if (r == 0) {
		if (digest_of(from, d1, e) == -1)
			return -1;
		if (digest_of(to, d2, &f) == -1)
			return unread(to, &f, e);
		return memcmp(d1, d2, HASH_LEN) == 0 ? 1 :
		    other(to, "its digest differs", e);
	}
	r = get_manifest(to, &b, 1, &f);
	if (r != 1)
		r = r == 0 ? other(to, "no store of ours", e) :
		    unread(to, &f, e);
	else {
		if (!same_manifest(&a, &b))
			r = other(to, "content, format or sources differ", e);
		manifest_clear(&b);
	}
	manifest_clear(&a);
	return r;
}

/* rename, but never onto something: 0, or -1 with errno. */
static int
rename_excl(const char *from, const char *to)
{
	struct stat	st;

#if defined(__linux__) && defined(SYS_renameat2)
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to,
	    TICKET_NOREPLACE) == 0)
		return 0;
	if (errno != ENOSYS && errno != EINVAL)
		return -1;
#endif
	if (lstat(from, &st) == -1)
		return -1;
	if (!S_ISDIR(st.st_mode)) {
		if (link(from, to) == -1)
			return -1;
		(void)unlink(from);
		return 0;
	}
	/* onto a directory with something in it rename fails by itself */
	if (lstat(to, &st) == 0) {
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

static int
sync_all(const char *path, struct err *e)
{
	struct stat	st;
	int		fd, rv;

	if (lstat(path, &st) == -1)
		return err_sys(e, errno, "%s", path);
	if (S_ISDIR(st.st_mode))
		return io_fsync_tree(AT_FDCWD, path, e);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", path);
	rv = io_fsync(fd, path, e);
	(void)close(fd);
	return rv;
}

int
ticket_place_now(const char *work, const char *from, const char *to,
    struct err *e)
{
	struct err	f = { 0, "" };
	int		r;

	r = ticket_there(from, to, e);
	if (r == -1)
		return -1;
	if (r == 0) {
		if (sync_all(from, e) == -1)
			return -1;
		if (rename_excl(from, to) == -1) {
			if (errno != EEXIST && errno != ENOTEMPTY)
				return err_sys(e, errno, "%s", to);
			/* somebody was first; the same thing is as good */
			if (ticket_there(from, to, e) != 1)
				return -1;
		}
	}
	/* one that was there already may be of a run that was killed here */
	if (io_fsync_parent(to, e) == -1)
		return -1;
	/* it is in place: what is left in work is nobody's any more */
	if (work != NULL)
		(void)io_rmtree(AT_FDCWD, work, &f);
	return 0;
}

int
ticket_place(const struct stage *s, enum stream_mode mode, const char *work,
    const char *from, const char *to, struct err *e)
{
	struct rec	*r;
	int		 rv;

	if (!ticket_wanted())
		return ticket_place_now(work, from, to, e);
	/* what would fail later fails now, before others do their work */
	if (ticket_there(from, to, e) == -1 || sync_all(from, e) == -1)
		return -1;
	r = rec_map();
	rec_set_str(r, "kind", "place");
	if (work != NULL)
		rec_set_str(r, "work", work);
	rec_set_str(r, "from", from);
	rec_set_str(r, "to", to);
	rv = ticket_leave(s, r, mode, e);
	rec_free(r);
	return rv;
}

static const char *
mode_name(enum stream_mode m)
{
	switch (m) {
	case STREAM_JSON:
		return "json";
	case STREAM_TEXT:
		return "text";
	case STREAM_MSGPACK:
		break;
	}
	return "msgpack";
}

int
ticket_leave(const struct stage *s, const struct rec *r,
    enum stream_mode mode, struct err *e)
{
	struct rec	*t = rec_copy(r);
	struct buf	 b;
	char		 run[STAGE_RUN_MAX], name[STAGE_RUN_MAX + 8];
	char		 tmp[STAGE_RUN_MAX + 8];
	int		 fd = -1, rv = -1;

	buf_init(&b, TICKET_BYTES);
	rec_set_str(t, "t", "ticket");
	rec_set_str(t, "mode", mode_name(mode));
	rec_to_json(t, &b);
	buf_addc(&b, '\n');
	if (b.over) {
		err_set(e, MSG_SOFTWARE, "ticket: too large");
		goto done;
	}
	/* a run id sorts by time: tickets are read in the order they came */
	if (stage_run_id(run, e) == -1)
		goto done;
	(void)snprintf(name, sizeof(name), "%s.json", run);
	(void)snprintf(tmp, sizeof(tmp), ".%s", run);
	if (mkdirat(s->dirfd, TICKET_DIR, 0700) == -1 && errno != EEXIST) {
		err_sys(e, errno, "%s/%s", s->path, TICKET_DIR);
		goto done;
	}
	fd = openat(s->dirfd, TICKET_DIR, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s/%s", s->path, TICKET_DIR);
		goto done;
	}
	rv = io_create_excl(fd, name, tmp, b.p, b.len, e);
	if (rv == 1)
		rv = err_set(e, MSG_TEMPFAIL, "%s/%s/%s: it is there already",
		    s->path, TICKET_DIR, name);
done:
	if (fd != -1)
		(void)close(fd);
	buf_free(&b);
	rec_free(t);
	return rv;
}

static int
cmp_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
names_of(int fd, char ***v, size_t *n, struct err *e)
{
	struct dirent	*de;
	size_t		 cap = 0;
	DIR		*d;
	int		 own;

	*v = NULL;
	*n = 0;
	own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = own == -1 ? NULL : fdopendir(own);
	if (d == NULL) {
		err_sys(e, errno, "%s", TICKET_DIR);
		if (own != -1)
			(void)close(own);
		return -1;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL)
			break;
		if (de->d_name[0] == '.')
			continue;
		*v = mem_grow(*v, &cap, *n + 1, sizeof(**v));
		(*v)[(*n)++] = mem_dup(de->d_name);
	}
	if (errno != 0)
		err_sys(e, errno, "%s", TICKET_DIR);
	(void)closedir(d);
	if (*n > TICKET_MAX)
		err_set(e, MSG_USAGE, "%s: more than %d tickets", TICKET_DIR,
		    TICKET_MAX);
	if (*n > 1)
		qsort(*v, *n, sizeof(**v), cmp_name);
	return e->code != 0 ? -1 : 0;
}

static struct rec *
read_one(int fd, const char *name, struct err *e)
{
	struct err	 f = { 0, "" };
	struct buf	 b;
	struct rec	*r = NULL;
	const char	*kind;

	buf_init(&b, TICKET_BYTES + 1);
	if (io_slurp(fd, name, &b, e) == 0) {
		if (b.len > 0 && b.p[b.len - 1] == '\n')
			b.len--;
		r = rec_from_json((char *)b.p, b.len, &f);
		if (r == NULL)
			err_set(e, MSG_SOFTWARE, "%s/%s: %s", TICKET_DIR,
			    name, f.text);
		else if (strcmp(rec_type(r), "ticket") != 0 ||
		    !rec_get_str(r, "kind", &kind)) {
			err_set(e, MSG_SOFTWARE, "%s/%s: not a ticket",
			    TICKET_DIR, name);
			rec_free(r);
			r = NULL;
		}
	}
	buf_free(&b);
	return r;
}

static int
is_kind(const struct rec *r, const char *want)
{
	const char	*kind;

	return rec_get_str(r, "kind", &kind) && strcmp(kind, want) == 0;
}

int
ticket_read_all(const struct stage *s, struct rec ***v, size_t *n,
    struct err *e)
{
	struct rec	**all = NULL, **out;
	char		**names = NULL;
	size_t		  n_names = 0, got = 0, i;
	int		  fd, rv = -1;

	*v = NULL;
	*n = 0;
	fd = openat(s->dirfd, TICKET_DIR, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 :
		    err_sys(e, errno, "%s/%s", s->path, TICKET_DIR);
	if (names_of(fd, &names, &n_names, e) == -1)
		goto done;
	all = mem_zero(n_names + 1, sizeof(*all));
	for (; got < n_names; got++) {
		all[got] = read_one(fd, names[got], e);
		if (all[got] == NULL)
			goto done;
	}
	out = mem_zero(n_names + 1, sizeof(*out));
	for (i = 0; i < got; i++)
		if (!is_kind(all[i], "place"))
			out[(*n)++] = all[i];
	for (i = 0; i < got; i++)
		if (is_kind(all[i], "place"))
			out[(*n)++] = all[i];
	got = 0;
	*v = out;
	rv = 0;
done:
	for (i = 0; i < got; i++)
		rec_free(all[i]);
	free(all);
	for (i = 0; i < n_names; i++)
		free(names[i]);
	free(names);
	(void)close(fd);
	return rv;
}

void
ticket_free_all(struct rec **v, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++)
		rec_free(v[i]);
	free(v);
}

enum stream_mode
ticket_mode(const struct rec *r)
{
	const char	*s;

	if (!rec_get_str(r, "mode", &s))
		return STREAM_MSGPACK;
	if (strcmp(s, "json") == 0)
		return STREAM_JSON;
	return strcmp(s, "text") == 0 ? STREAM_TEXT : STREAM_MSGPACK;
}

int
ticket_discard_place(const struct rec *r, struct err *e)
{
	const char	*work;

	if (!rec_get_str(r, "work", &work))
		return 0;
	return io_rmtree(AT_FDCWD, work, e);
}

int
ticket_commit_place(const struct rec *r, struct err *e)
{
	const char	*work = NULL, *from, *to;

	(void)rec_get_str(r, "work", &work);
	if (!rec_get_str(r, "from", &from) || !rec_get_str(r, "to", &to))
		return err_set(e, MSG_SOFTWARE, "ticket: a place without "
		    "from or to");
	return ticket_place_now(work, from, to, e);
}
