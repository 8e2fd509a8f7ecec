/*
 * dcheck: the worker, which alone touches what an input holds.  It proves
 * one job inside its sandbox and answers over a pipe; it never speaks to
 * the stream, and nobody believes it more than they must.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "db.h"
#include "io.h"
#include "ledger.h"
#include "manifest.h"
#include "mem.h"
#include "path.h"
#include "rec.h"
#include "sandbox.h"
#include "banned.h"

#define WORKER_FDS	64
#define WORKER_MEM	((uint64_t)2 << 30)	/* bytes of address space */
#define WORKER_MANIFEST	((uint64_t)64 << 20)	/* bytes; of a base, more */

struct worker {
	const struct job	*j;
	char			*input;		/* absolute */
	const char		*work;		/* absolute; NULL: none */
	int			 workfd;
	struct answer		 a;
	struct check_verdict	 v;
	struct err		 e;
	struct hash_tree	*tree;	/* of what store names; NULL: a file */
	char			*store;	/* absolute: what is to be parsed */
	struct manifest		 m;
	int			 has_manifest;
};

static char *
join(const char *a, const char *b)
{
	struct buf	s;
	char		*rv;

	buf_init(&s, 65536);
	buf_printf(&s, "%s/%s", a, b);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

/*
 * A path below staging has no link in it: what a record names is what the
 * sandbox opens.
 */
static int
no_links(const char *root, const char *rel, struct err *e)
{
	struct stat	 st;
	char		*p = join(root, rel), *s;
	int		 rv = 0;

	for (s = p + strlen(root) + 1; rv == 0; s++) {
		s += strcspn(s, "/");
		if (*s == '\0')
			break;
		*s = '\0';
		if (lstat(p, &st) == -1)
			rv = err_sys(e, errno, "%s", p);
		else if (!S_ISDIR(st.st_mode))
			rv = err_set(e, MSG_NOPERM, "%s: not a directory of "
			    "staging", p);
		*s = '/';
	}
	if (rv == 0 && lstat(p, &st) == -1)
		rv = err_sys(e, errno, "%s", p);
	else if (rv == 0 && S_ISLNK(st.st_mode))
		rv = err_set(e, MSG_NOPERM, "%s: a link in staging", p);
	free(p);
	return rv;
}

/* An error of a call that reads the input: its content, or the machine. */
static int
failed(struct worker *w, enum check_code code, const struct err *sub)
{
	if (sub->code == MSG_DATAERR)
		return check_refuse(&w->v, code, "%s", sub->text);
	return err_set(&w->e, sub->code, "%s", sub->text);
}

static int
compare(struct worker *w, const unsigned char d[HASH_LEN], uint64_t size,
    const char *what)
{
	char	hex[HASH_HEX];

	hash_hex(d, hex);
	if (w->j->has_size && size != w->j->size)
		return check_refuse(&w->v, CHECK_SIZE,
		    "want %llu bytes, got %llu",
		    (unsigned long long)w->j->size, (unsigned long long)size);
	if (strcmp(hex, w->j->sha256) != 0)
		return check_refuse(&w->v, CHECK_DIGEST,
		    "%ssha256: want %.16s..., got %.16s...", what,
		    w->j->sha256, hex);
	w->a.proved = 1;
	return 0;
}

/* The digest of a tree's file of that name, or NULL. */
static const unsigned char *
find_file(const struct hash_tree *t, const char *name, uint64_t *size)
{
	const unsigned char	*d;
	size_t			 i;

	for (i = 0; i < hash_tree_count(t); i++)
		if (strcmp(hash_tree_get(t, i, size, &d), name) == 0)
			return d;
	return NULL;
}

/* Digest the input where it lies: is it what was promised? */
static int
prove_bytes(struct worker *w)
{
	const unsigned char	*md;
	struct err		 sub = { 0, "" };
	struct stat		 st;
	unsigned char		 d[HASH_LEN];
	uint64_t		 size = 0;

	if (lstat(w->input, &st) == -1)
		return err_sys(&w->e, errno, "%s", w->j->path);
	if (S_ISDIR(st.st_mode) != (w->j->is_dir != 0))
		return check_refuse(&w->v, CHECK_FORMAT, "want a %s",
		    w->j->is_dir ? "directory" : "file");
	if (!w->j->is_dir) {
		if (hash_file(AT_FDCWD, w->input, d, &size, &sub) == -1)
			return failed(w, CHECK_UNSAFE, &sub);
		if (compare(w, d, size, "") != 0)
			return 1;
	} else {
		w->tree = hash_tree_new();
		if (hash_dir(AT_FDCWD, w->input, d, &size, w->tree, &sub) ==
		    -1)
			return failed(w, CHECK_UNSAFE, &sub);
		hash_hex(d, w->a.tree);
		if (!w->j->of_manifest) {
			if (compare(w, d, size, "") != 0)
				return 1;
		} else {
			md = find_file(w->tree, MANIFEST_NAME, NULL);
			if (md == NULL)
				return check_refuse(&w->v, CHECK_MISSING,
				    "no %s", MANIFEST_NAME);
			if (compare(w, md, 0, MANIFEST_NAME " ") != 0)
				return 1;
		}
	}
	if (size == 0 && !w->j->opaque)
		return check_refuse(&w->v, CHECK_SIZE, "0 bytes");
	if (!w->j->is_dir)
		hash_hex(d, w->a.tree);
	w->a.is_dir = w->j->is_dir;
	w->store = mem_dup(w->input);
	return 0;
}

/* Where in what was unpacked is the store?  0, or 1 refused, or -1. */
static int
find_store(struct worker *w, const char *top, const char *rel)
{
	struct dirent	*de;
	struct err	 sub = { 0, "" };
	struct buf	 b;
	DIR		*d;
	size_t		 n = 0;
	char		*one = NULL;
	int		 rv = 1;

	if (store_detect(top, &sub) != STORE_NONE) {
		w->store = mem_dup(top);
		w->a.where = mem_dup(rel);
		return 0;
	}
	if (sub.code != 0)
		return failed(w, CHECK_FORMAT, &sub);
	d = opendir(top);
	if (d == NULL)
		return err_sys(&w->e, errno, "%s", top);
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		if (n++ == 0)
			one = mem_dup(de->d_name);
	}
	(void)closedir(d);
	if (n == 1) {
		buf_init(&b, 65536);
		buf_printf(&b, "%s/%s", rel, one);
		w->a.where = mem_dup(buf_cstr(&b));
		w->store = join(top, one);
		buf_free(&b);
		rv = 0;
	} else
		(void)check_refuse(&w->v, CHECK_FORMAT, "archive of %zu "
		    "things at its top: want one store, there or in a single "
		    "directory", n);
	free(one);
	return rv;
}

/* The digest of what lies at w->store, once it is known where that is. */
static int
digest_store(struct worker *w)
{
	struct err	sub = { 0, "" };
	struct stat	st;
	unsigned char	d[HASH_LEN];
	int		r;

	hash_tree_free(w->tree);
	w->tree = NULL;
	if (lstat(w->store, &st) == -1)
		return err_sys(&w->e, errno, "%s", w->store);
	w->a.is_dir = S_ISDIR(st.st_mode);
	if (w->a.is_dir) {
		w->tree = hash_tree_new();
		r = hash_dir(AT_FDCWD, w->store, d, NULL, w->tree, &sub);
	} else
		r = hash_file(AT_FDCWD, w->store, d, NULL, &sub);
	if (r == -1)
		return failed(w, CHECK_UNSAFE, &sub);
	hash_hex(d, w->a.tree);
	return 0;
}

static int
unpack(struct worker *w)
{
	char	*top;
	int	 fd, r;

	top = join(w->work, "u");
	if (mkdir(top, 0700) == -1 || (fd = open(top, O_RDONLY |
	    O_DIRECTORY | O_CLOEXEC)) == -1) {
		err_sys(&w->e, errno, "%s", top);
		free(top);
		return -1;
	}
	r = arc_unpack(w->input, fd, NULL, NULL, &w->v, &w->e);
	(void)close(fd);
	if (r == 0) {
		free(w->store);
		w->store = NULL;
		r = find_store(w, top, "u");
	}
	if (r == 0)
		r = digest_store(w);
	free(top);
	return r;
}

/* The manifest, if there is one, lists the tree and nothing else. */
static int
prove_manifest(struct worker *w)
{
	const struct manifest_file *f;
	const unsigned char	*d;
	struct err		 sub = { 0, "" };
	const char		*name;
	char			 hex[HASH_HEX];
	uint64_t		 size;
	enum check_code		 changed = CHECK_DIGEST;
	size_t			 i, k = 0;
	int			 fd, r;

	if (w->tree == NULL ||
	    find_file(w->tree, MANIFEST_NAME, &size) == NULL)
		return 0;
	/* a server writes to what it opens: not its bytes are at fault */
	if (find_file(w->tree, LEDGER_FILE, NULL) != NULL)
		changed = CHECK_MANIFEST;
	if (size > WORKER_MANIFEST && !w->j->of_manifest)
		return check_refuse(&w->v, CHECK_LIMIT, "%s of %llu bytes: "
		    "want at most %llu", MANIFEST_NAME,
		    (unsigned long long)size,
		    (unsigned long long)WORKER_MANIFEST);
	fd = open(w->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(&w->e, errno, "%s", w->store);
	r = manifest_read(&w->m, fd, NULL, &sub);
	(void)close(fd);
	if (r == -1)
		return failed(w, CHECK_MANIFEST, &sub);
	w->has_manifest = 1;
	for (i = 0; i < hash_tree_count(w->tree); i++) {
		name = hash_tree_get(w->tree, i, &size, &d);
		if (strcmp(name, MANIFEST_NAME) == 0)
			continue;
		f = k < w->m.n_files ? &w->m.files[k] : NULL;
		r = f == NULL ? 1 : strcmp(f->name, name);
		if (r < 0)
			break;
		if (r > 0)
			return check_refuse(&w->v, CHECK_MANIFEST,
			    "%.200s: not in the manifest", name);
		if (f->size != size)
			return check_refuse(&w->v, CHECK_MANIFEST,
			    "%.200s: want %llu bytes (manifest), got %llu",
			    name, (unsigned long long)f->size,
			    (unsigned long long)size);
		hash_hex(d, hex);
		if (strcmp(f->sha256, hex) != 0)
			return check_refuse(&w->v, changed,
			    "%.200s: sha256: want %.16s... (manifest), "
			    "got %.16s...", name, f->sha256, hex);
		k++;
	}
	if (k < w->m.n_files)
		return check_refuse(&w->v, CHECK_MISSING,
		    "%.200s: in the manifest, and not there",
		    w->m.files[k].name);
	return 0;
}

static int
copy_file(const char *from, const char *to, struct err *e)
{
	uint64_t	size;
	int		in, out, rv = -1;

	in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in == -1)
		return err_sys(e, errno, "%s", from);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out == -1)
		err_sys(e, errno, "%s", to);
	else {
		rv = io_copy(in, out, to, NULL, &size, e);
		if (io_close(&out, to, e) == -1)
			rv = -1;
	}
	(void)close(in);
	return rv;
}

/* A private copy of the store's directory, which the store then is. */
static int
copy_store(struct worker *w)
{
	const char	*name;
	char		*to, *from, *top, *slash;
	size_t		 i;
	int		 rv = 0;

	top = join(w->work, "r");
	if (mkdir(top, 0700) == -1)
		rv = err_sys(&w->e, errno, "%s", top);
	for (i = 0; rv == 0 && i < hash_tree_count(w->tree); i++) {
		name = hash_tree_get(w->tree, i, NULL, NULL);
		from = join(w->store, name);
		to = join(top, name);
		slash = strrchr(to, '/');
		*slash = '\0';
		rv = io_mkdirs(to, &w->e);
		*slash = '/';
		if (rv == 0)
			rv = copy_file(from, to, &w->e);
		free(from);
		free(to);
	}
	if (rv == 0) {
		free(w->store);
		w->store = top;
		w->a.where = mem_dup("r");
		return 0;
	}
	free(top);
	return -1;
}

static int
unknown(struct worker *w, enum store_format f)
{
	unsigned char	head[16];
	struct stat	st;
	ssize_t		n = 0;
	int		fd;

	if (f == STORE_ARCHIVE)
		return check_refuse(&w->v, CHECK_FORMAT,
		    "an archive inside an archive");
	if (w->a.is_dir)
		return check_refuse(&w->v, CHECK_FORMAT,
		    "directory with neither chroma.sqlite3 nor store.sqlite3, "
		    "or with both");
	if (lstat(w->store, &st) == 0 && st.st_size == 0)
		return check_refuse(&w->v, CHECK_SIZE, "0 bytes");
	fd = open(w->store, O_RDONLY | O_CLOEXEC);
	if (fd != -1) {
		n = io_read(fd, head, sizeof(head));
		(void)close(fd);
	}
	if (n == 16 && memcmp(head, "SQLite format 3", 16) == 0)
		return check_refuse(&w->v, CHECK_FORMAT, "a SQLite database "
		    "that is no store of ours (a ChromaDB delta is a whole "
		    "directory)");
	return check_refuse(&w->v, CHECK_FORMAT, "neither a store, nor batch "
	    "results, nor an archive");
}

/* Fills the answer from what check_store saw. */
static int
take_summary(struct worker *w, struct check_summary *s)
{
	char	hex[HASH_HEX];
	size_t	i;

	hex[0] = '\0';
	if (s->has_content)
		hash_hex(s->content, hex);
	if (w->has_manifest) {
		if (strcmp(w->m.format, store_format_name(w->a.format)) != 0)
			return check_refuse(&w->v, CHECK_MANIFEST,
			    "format: want %.20s (manifest), got %s",
			    w->m.format, store_format_name(w->a.format));
		if (w->m.records != s->records ||
		    w->m.tombstones != s->tombstones)
			return check_refuse(&w->v, CHECK_MANIFEST,
			    "want %llu records and %llu tombstones "
			    "(manifest), got %llu and %llu",
			    (unsigned long long)w->m.records,
			    (unsigned long long)w->m.tombstones,
			    (unsigned long long)s->records,
			    (unsigned long long)s->tombstones);
		if (hex[0] != '\0' &&
		    strcmp(hex, w->m.content_digest) != 0)
			return check_refuse(&w->v, CHECK_MANIFEST,
			    "content digest: want %.16s... (manifest), got "
			    "%.16s...", w->m.content_digest, hex);
		(void)snprintf(hex, sizeof(hex), "%s", w->m.content_digest);
	}
	if (s->n_colls > DCHECK_COLLS)
		return check_refuse(&w->v, CHECK_LIMIT, "%zu collections: "
		    "want at most %d", s->n_colls, DCHECK_COLLS);
	(void)snprintf(w->a.content, sizeof(w->a.content), "%s", hex);
	w->a.records = s->records;
	w->a.tombstones = s->tombstones;
	w->a.colls = s->colls;
	w->a.n_colls = s->n_colls;
	for (i = 0; i < s->n_colls; i++) {
		free(w->a.colls[i].config);
		w->a.colls[i].config = NULL;
	}
	s->colls = NULL;
	s->n_colls = 0;
	return 0;
}

static int
prove_store(struct worker *w)
{
	struct check_summary	s;
	int			r, flags = w->j->flags & CHECK_ALLOW_EMPTY;

	w->a.format = store_detect(w->store, &w->e);
	if (w->e.code != 0)
		return -1;
	if (w->a.format == STORE_NONE || w->a.format == STORE_ARCHIVE)
		return unknown(w, w->a.format);
	r = prove_manifest(w);
	if (r != 0)
		return r;
	r = check_store(w->store, w->a.format, flags, &s, &w->v, &w->e);
	if (r == 1 && w->v.code == CHECK_HOT && w->a.is_dir &&
	    (w->j->flags & CHECK_RECOVER_HOT) != 0) {
		memset(&w->v, 0, sizeof(w->v));
		/* what was unpacked is private already */
		if (w->a.where == NULL && copy_store(w) == -1)
			return -1;
		r = check_store(w->store, w->a.format,
		    flags | CHECK_RECOVER_HOT, &s, &w->v, &w->e);
		if (r == 0) {
			w->a.recovered = 1;
			r = digest_store(w);
		}
	}
	if (r == 0)
		r = take_summary(w, &s);
	check_summary_clear(&s);
	return r;
}

static int
prove(struct worker *w)
{
	struct err	sub = { 0, "" };
	int		r;

	r = prove_bytes(w);
	if (r != 0 || w->j->opaque)
		return r;
	if (w->j->bytes_only)
		return w->j->unpack ? unpack(w) : 0;
	if (!w->j->is_dir && store_detect(w->input, &sub) == STORE_ARCHIVE) {
		r = unpack(w);
		if (r != 0)
			return r;
	} else if (sub.code != 0)
		return err_set(&w->e, sub.code, "%s", sub.text);
	return prove_store(w);
}

static int
confine(struct worker *w, unsigned int timeout_s)
{
	struct sandbox_path	v[2];
	char			*tmp;

	if (sandbox_limits((uint64_t)timeout_s + 1, ARC_BYTES, WORKER_FDS,
	    WORKER_MEM, &w->e) == -1)
		return -1;
	memset(v, 0, sizeof(v));
	v[0].path = w->input;
	if (w->work == NULL) {
		db_set_tmpdir(NULL);
		return sandbox_start(SANDBOX_WORKER, v, 1, &w->e) == -1 ?
		    -1 : 0;
	}
	tmp = join(w->work, "tmp");
	if (mkdir(tmp, 0700) == -1)
		err_sys(&w->e, errno, "%s", tmp);
	db_set_tmpdir(tmp);
	free(tmp);
	if (w->e.code != 0)
		return -1;
	v[1].path = w->work;
	v[1].write = 1;
	return sandbox_start(SANDBOX_WORKER, v, 2, &w->e) == -1 ? -1 : 0;
}

/* 0 is /dev/null; 1 and 2 go to the pipe for last words. */
static int
redirect(int said, struct err *e)
{
	int	null;

	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null == -1)
		return err_sys(e, errno, "/dev/null");
	if (dup2(null, STDIN_FILENO) == -1 ||
	    dup2(said, STDOUT_FILENO) == -1 ||
	    dup2(said, STDERR_FILENO) == -1)
		return err_sys(e, errno, "worker");
	(void)close(null);
	return 0;
}

/*
 * Take a directory of this run out of a text: nobody knows it later, and
 * verdicts are remembered.
 */
static void
strip(char *text, const char *dir)
{
	size_t	n = dir != NULL ? strlen(dir) : 0;
	char	*p = text;

	while (n != 0 && (p = strstr(p, dir)) != NULL) {
		if (p[n] == '/')
			memmove(p, p + n + 1, strlen(p + n + 1) + 1);
		else if (strncmp(p + n, ": ", 2) == 0)
			memmove(p, p + n + 2, strlen(p + n + 2) + 1);
		else
			p += n;
	}
}

static void
reply(struct worker *w, int r, int out)
{
	struct buf	b;
	struct rec	*rec;

	strip(w->v.reason, w->store);
	strip(w->v.reason, w->input);
	strip(w->v.reason, w->work);
	strip(w->e.text, w->store);

	w->a.kind = r == 0 ? ANSWER_OK : r == 1 ? ANSWER_REFUSED :
	    ANSWER_MACHINE;
	if (w->a.kind == ANSWER_MACHINE && w->e.code == 0)
		err_set(&w->e, MSG_SOFTWARE, "failed without a reason");
	w->a.v = w->v;
	w->a.e = w->e;
	buf_init(&b, REC_MAX);
	rec = answer_put(&w->a);
	rec_encode(rec, &b);
	rec_free(rec);
	if (b.over && w->a.kind == ANSWER_OK) {
		/* only names of collections can be that long */
		buf_reset(&b);
		b.over = 0;
		w->a.kind = ANSWER_REFUSED;
		(void)check_refuse(&w->a.v, CHECK_LIMIT, "the names of %zu "
		    "collections are longer than %zu bytes", w->a.n_colls,
		    REC_MAX);
		rec = answer_put(&w->a);
		rec_encode(rec, &b);
		rec_free(rec);
	}
	if (io_write(out, b.p, b.len) == -1)
		_exit(MSG_IOERR);
	_exit(0);
}

void
worker_run(const struct job *j, const char *stage, const char *work,
    unsigned int timeout_s, pid_t parent, int out, int said)
{
	struct worker	w;
	int		keep[2], r = -1;

	memset(&w, 0, sizeof(w));
	w.j = j;
	w.work = work;
	w.input = join(stage, j->path);
	keep[0] = out;
	keep[1] = said;
	if (redirect(said, &w.e) == 0 &&
	    sandbox_child(parent, keep, 2, &w.e) == 0 &&
	    no_links(stage, j->path, &w.e) == 0 &&
	    confine(&w, timeout_s) == 0)
		r = prove(&w);
	reply(&w, r, out);
	_exit(MSG_SOFTWARE);
}
