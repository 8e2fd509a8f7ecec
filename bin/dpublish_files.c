/*
 * dpublish, file sets: any files, published together or not at all.  The
 * file records of the stream become one directory with a manifest, and that
 * is published as a store is.  It looks into no file.
 *
 * A set is merged onto nothing: its parent is the version that is current
 * when it is published; where it was fetched with a base, that one, or
 * nothing is published.
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

#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

/*
 * Collecting.
 */

/* Copies; path NULL: the parent holds it. */
static void
add_file(struct dpub *p, const struct rec_file *f)
{
	struct dpub_files	*s = &p->files;
	struct dpub_file	*x;

	if (s->n >= MANIFEST_FILES) {
		filter_fail(&p->f, MSG_DATAERR, "%s: more than %d files",
		    f->url, MANIFEST_FILES);
		return;
	}
	s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
	x = &s->v[s->n++];
	memset(x, 0, sizeof(*x));
	x->name = mem_dup(f->name);
	x->path = f->path != NULL ? mem_dup(f->path) : NULL;
	x->url = mem_dup(f->url);
	x->etag = f->etag != NULL ? mem_dup(f->etag) : NULL;
	memcpy(x->sha256, f->sha256, HASH_HEX);
	x->size = f->size;
	x->mtime = f->mtime;
}

void
dpub_files_take(struct dpub *p, const struct rec *r)
{
	struct rec_file	f;
	struct err	e = { 0, "" };

	if (rec_file_get(r, &f, &e) == -1)
		filter_fail_err(&p->f, &e);
	else
		add_file(p, &f);
}

void
dpub_files_skip(struct dpub *p, const struct rec_skip *s)
{
	struct rec_file	f;

	memset(&f, 0, sizeof(f));
	f.name = s->name;
	f.url = s->url;
	f.sha256 = s->sha256;
	f.size = s->size;
	f.mtime = s->mtime;
	f.etag = s->etag;
	add_file(p, &f);
	p->files.held++;
}

void
dpub_files_clear(struct dpub_files *s)
{
	size_t	i;

	for (i = 0; i < s->n; i++) {
		free(s->v[i].name);
		free(s->v[i].path);
		free(s->v[i].url);
		free(s->v[i].etag);
	}
	free(s->v);
	memset(s, 0, sizeof(*s));
}

static int
file_cmp(const void *a, const void *b)
{
	return strcmp(((const struct dpub_file *)a)->name,
	    ((const struct dpub_file *)b)->name);
}

const struct dpub_file *
dpub_files_find(const struct dpub_files *s, const char *name)
{
	struct dpub_file	 key;
	const struct dpub_file	*f;
	char			*copy;

	if (s->n == 0)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.name = copy = mem_dup(name);
	f = bsearch(&key, s->v, s->n, sizeof(*s->v), file_cmp);
	free(copy);
	return f;
}

/* Is a directory of this name a file of the set, too? */
static int
prove_apart(const struct dpub_files *s, const struct dpub_file *f,
    struct err *e)
{
	const struct dpub_file	*up;
	char			*dir = mem_dup(f->name), *slash;
	int			 rv = 0;

	while (rv == 0 && (slash = strrchr(dir, '/')) != NULL) {
		*slash = '\0';
		up = dpub_files_find(s, dir);
		if (up != NULL)
			rv = err_set(e, MSG_DATAERR, "%s: a file (%s), and "
			    "the directory of another (%s)", up->name,
			    up->url, f->url);
	}
	free(dir);
	return rv;
}

int
dpub_files_judge(struct dpub *p, struct err *e)
{
	struct dpub_files	*s = &p->files;
	size_t			 i;

	if (p->store != NULL || p->deltas.n != 0 || p->skips.n != 0 ||
	    p->base != NULL)
		return err_set(e, MSG_USAGE, "stream: stores and files: want "
		    "either a store that is merged, or a file set of "
		    "dfetch --files");
	if (p->o->plan != NULL)
		return err_set(e, MSG_USAGE, "-p: a file set has no plan");
	if (rec_has(p->f.totals, "files") &&
	    filter_total(&p->f, "files") != s->n - s->held)
		return err_set(e, MSG_PROTOCOL, "totals: %llu files were "
		    "fetched, and %zu came",
		    (unsigned long long)filter_total(&p->f, "files"),
		    s->n - s->held);
	if (s->held != 0 && (s->held != s->n || p->parent == NULL))
		return err_set(e, MSG_PROTOCOL, "stream: %zu of %zu files "
		    "were skipped%s: want all or none, and a parent that "
		    "holds them", s->held, s->n, p->parent == NULL ?
		    " without a parent record" : "");
	if (s->n != 0)
		qsort(s->v, s->n, sizeof(*s->v), file_cmp);
	for (i = 0; i < s->n; i++) {
		if (i > 0 && strcmp(s->v[i - 1].name, s->v[i].name) == 0)
			return err_set(e, MSG_DATAERR, "%s: twice in the "
			    "set: %s and %s", s->v[i].name, s->v[i - 1].url,
			    s->v[i].url);
		if (prove_apart(s, &s->v[i], e) == -1)
			return -1;
	}
	return 0;
}

int
dpub_files_fence(const struct dpub *p, const struct target *t,
    const char *or_at, const struct target_commit *head, struct err *e)
{
	struct rec_parent	b;

	if (p->parent == NULL)
		return 0;
	if (rec_parent_get(p->parent, &b, e) == -1)
		return -1;
	if (strcmp(b.target, target_url(t)) != 0 &&
	    (or_at == NULL || strcmp(b.target, or_at) != 0))
		return err_set(e, MSG_USAGE, "%s: the set was fetched for "
		    "%s: use dfetch -b %s", target_url(t), b.target,
		    or_at != NULL ? or_at : target_url(t));
	if (head->generation > b.generation)
		return dpub_moved(t, head, e);
	if (b.none || (head->generation == b.generation &&
	    strcmp(head->version, b.version) == 0 &&
	    strcmp(head->manifest_sha256, b.sha256) == 0))
		return 0;
	return err_set(e, MSG_NOINPUT, "%s: generation %llu, version %s, was "
	    "current when the set was fetched, and the newest commit is "
	    "%llu, version %s: commits were lost or replaced",
	    target_url(t), (unsigned long long)b.generation, b.version,
	    (unsigned long long)head->generation,
	    head->version != NULL ? head->version : "none");
}

void
dpub_files_digest(const struct dpub_files *s, char hex[HASH_HEX],
    uint64_t *bytes)
{
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	unsigned char		 d[HASH_LEN];
	size_t			 i;

	for (i = 0; i < s->n; i++) {
		(void)hash_unhex(s->v[i].sha256, d);
		(void)hash_tree_add(t, s->v[i].name, s->v[i].size, d, &e);
	}
	hash_tree_final(t, d, bytes);
	hash_hex(d, hex);
	hash_tree_free(t);
}

/*
 * The directory that is uploaded.
 */

/* The directories above name, below dirfd. */
static int
make_dirs(int dirfd, const char *name, struct err *e)
{
	char	*dir = mem_dup(name), *s;
	int	 rv = 0;

	for (s = strchr(dir, '/'); s != NULL && rv == 0;
	    s = strchr(s + 1, '/')) {
		*s = '\0';
		if (mkdirat(dirfd, dir, 0700) == -1 && errno != EEXIST)
			rv = err_sys(e, errno, "%s", dir);
		*s = '/';
	}
	free(dir);
	return rv;
}

/* One file to its place: it lies in staging for this alone. */
static int
place(struct dpub *p, const struct dpub_file *f, int fd, const char *name,
    struct err *e)
{
	struct stat	st;

	if (make_dirs(fd, name, e) == -1)
		return -1;
	if (fstatat(p->f.stage.dirfd, f->path, &st,
	    AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, errno, "%s/%s", p->f.stage.path, f->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s/%s: not a regular file",
		    p->f.stage.path, f->path);
	if ((uint64_t)st.st_size != f->size)
		return err_set(e, MSG_DATAERR, "%s: size: want %llu, got %lld",
		    f->url, (unsigned long long)f->size,
		    (long long)st.st_size);
	if (renameat(p->f.stage.dirfd, f->path, fd, name) == -1)
		return err_sys(e, errno, "%s/%s", p->f.stage.path, f->path);
	return 0;
}

static void
add_source(struct manifest *m, const struct dpub_file *f)
{
	struct item_source	s;

	memset(&s, 0, sizeof(s));
	memcpy(s.sha256, f->sha256, HASH_HEX);
	s.url = mem_dup(f->url);
	s.etag = f->etag != NULL ? mem_dup(f->etag) : NULL;
	s.size = f->size;
	s.seq = f->mtime;
	s.guessed = 1;
	s.mtime = f->mtime;
	manifest_add_source(m, &s);
}

int
dpub_files_build(struct dpub *p, const char *dir, const char *sub,
    struct manifest *m, int *fd, struct err *e)
{
	const struct dpub_files	*s = &p->files;
	unsigned char		 d[HASH_LEN];
	struct buf		 b;
	uint64_t		 bytes;
	size_t			 i;
	int			 rv = 0;

	if (mkdirat(p->f.stage.dirfd, dir, 0700) == -1)
		return err_sys(e, errno, "%s/%s", p->f.stage.path, dir);
	*fd = openat(p->f.stage.dirfd, dir, O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC);
	if (*fd == -1)
		return err_sys(e, errno, "%s/%s", p->f.stage.path, dir);
	buf_init(&b, 2 * PATH_REL_MAX);
	for (i = 0; i < s->n && rv == 0; i++) {
		if (io_signal() != 0)
			rv = err_set(e, MSG_TEMPFAIL, "stopped by a signal");
		buf_reset(&b);
		buf_printf(&b, "%s%s", sub, s->v[i].name);
		if (rv == 0 && !path_is_safe(buf_cstr(&b)))
			rv = err_set(e, MSG_DATAERR, "%s: name too long",
			    s->v[i].url);
		if (rv == 0)
			rv = place(p, &s->v[i], *fd, buf_cstr(&b), e);
		(void)hash_unhex(s->v[i].sha256, d);
		manifest_add_file(m, buf_cstr(&b), s->v[i].size, d);
		add_source(m, &s->v[i]);
	}
	buf_free(&b);
	dpub_files_digest(s, m->content_digest, &bytes);
	m->records = s->n;
	return rv;
}

/*
 * Publishing.
 */

/* What is new, other and gone, against the manifest of the parent. */
static void
compare(const struct dpub_files *s, const struct manifest *base,
    struct rec_store *r)
{
	size_t	i = 0, k = 0;
	int	c;

	while (i < s->n || k < base->n_files) {
		if (i == s->n)
			c = 1;
		else if (k == base->n_files)
			c = -1;
		else
			c = strcmp(s->v[i].name, base->files[k].name);
		if (c == 0 && strcmp(s->v[i].sha256,
		    base->files[k].sha256) != 0)
			r->replaced++;
		r->inserted += c < 0;
		r->deleted += c > 0;
		i += c <= 0;
		k += c >= 0;
	}
}

/* Law 8: no fewer files than there were, but by the operator's word. */
static int
prove_size(struct dpub *p, const struct target_commit *head, struct err *e)
{
	uint64_t	n = p->files.n;

	if (p->o->has_shrink && n != p->o->shrink)
		return err_set(e, MSG_DATAERR, "%s: --allow-shrink names "
		    "%llu files and the set has %llu", p->target,
		    (unsigned long long)p->o->shrink, (unsigned long long)n);
	if (p->o->has_shrink || n >= head->records)
		return 0;
	return err_set(e, MSG_DATAERR, "%s: the set has %llu files, version "
	    "%s has %llu: if that is meant, give --allow-shrink %llu",
	    p->target, (unsigned long long)n, head->version,
	    (unsigned long long)head->records, (unsigned long long)n);
}

static int
prove_kind(const struct target *t, const struct target_commit *head,
    struct err *e)
{
	if (head->generation == 0 ||
	    strcmp(head->format, DPUB_FILES) == 0)
		return 0;
	return err_set(e, MSG_USAGE, "%s: it holds stores (%s): a target "
	    "holds stores or file sets, never both: use another",
	    target_url(t), head->format);
}

/* Build, and publish as any store. */
static int
publish_set(struct dpub *p, struct target *t,
    const struct target_commit *head, struct rec_store *s,
    struct manifest *base, struct err *e)
{
	struct manifest	m;
	unsigned char	d[HASH_LEN];
	char		dir[64], hex[HASH_HEX];
	int		fd = -1, rv = -1;

	memset(&m, 0, sizeof(m));
	m.format = mem_dup(DPUB_FILES);
	if (head->version != NULL) {
		m.parent = mem_dup(head->version);
		memcpy(m.parent_digest, base->content_digest, HASH_HEX);
	}
	(void)snprintf(dir, sizeof(dir), "set.%ld", (long)getpid());
	if (dpub_files_build(p, dir, "", &m, &fd, e) == -1 ||
	    manifest_write(&m, fd, d, e) == -1)
		goto done;
	hash_hex(d, hex);
	s->path = dir;
	s->sha256 = hex;
	rv = dpub_upload(p, t, head, &m, d, fd, s, e);
done:
	if (fd != -1)
		(void)close(fd);
	manifest_clear(&m);
	return rv;
}

void
dpub_files_publish(struct dpub *p)
{
	struct target_commit	 head;
	struct manifest		 base;
	struct rec_store	 s;
	struct target		*t = NULL;
	struct err		 e = { 0, "" };
	char			 content[HASH_HEX];

	memset(&head, 0, sizeof(head));
	memset(&base, 0, sizeof(base));
	memset(&s, 0, sizeof(s));
	if (dpub_files_judge(p, &e) == -1)
		goto done;
	if (dpub_files_find(&p->files, MANIFEST_NAME) != NULL) {
		err_set(&e, MSG_DATAERR, "%s: a version has a %s of its own: "
		    "publish the set with --in-place, or from the directory "
		    "above", dpub_files_find(&p->files, MANIFEST_NAME)->url,
		    MANIFEST_NAME);
		goto done;
	}
	t = dpub_open_target(p->target, 1, p->o, &e);
	if (t == NULL || target_collect(t, 0, 0, NULL, NULL, &e) == -1 ||
	    target_head(t, &head, &e) == -1 ||
	    prove_kind(t, &head, &e) == -1 ||
	    dpub_files_fence(p, t, NULL, &head, &e) == -1 ||
	    prove_size(p, &head, &e) == -1)
		goto done;
	if (head.version != NULL &&
	    target_manifest(t, head.version, &base, NULL, &e) == -1)
		goto done;
	dpub_files_digest(&p->files, content, &s.bytes);
	s.format = DPUB_FILES;
	s.content_digest = content;
	s.records = s.merged = p->files.n;
	if (head.generation != 0 &&
	    strcmp(content, head.content_digest) == 0) {
		s.unchanged = 1;
		s.sha256 = head.manifest_sha256;
		(void)dpub_unchanged(p, t, &head, &s, &e);
	} else if (p->files.held != 0)
		err_set(&e, MSG_PROTOCOL, "stream: a set that was skipped, "
		    "and is not generation %llu of %s", (unsigned long long)
		    head.generation, target_url(t));
	else {
		compare(&p->files, &base, &s);
		(void)publish_set(p, t, &head, &s, &base, &e);
	}
done:
	dpub_publish_end(p, t, &e);
	target_commit_clear(&head);
	manifest_clear(&base);
	target_close(t);
}
