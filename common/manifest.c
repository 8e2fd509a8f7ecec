/*
 * manifest: writing, reading and verifying manifest.json.  It opens no
 * store.
 * SPDX-License-Identifier: ISC
 */
#include "manifest.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define MANIFEST_FORM	1	/* the layout's number */
#define MANIFEST_CHUNK	((size_t)1 << 20)

void
manifest_clear(struct manifest *m)
{
	size_t	i;

	for (i = 0; i < m->n_files; i++)
		free(m->files[i].name);
	free(m->files);
	for (i = 0; i < m->n_sources; i++)
		item_source_clear(&m->sources[i]);
	free(m->sources);
	free(m->format);
	free(m->parent);
	memset(m, 0, sizeof(*m));
}

/* Arrays grow by doubling at powers of two, so no capacity is kept. */
static void *
more(void *p, size_t n, size_t sz)
{
	if (n < 16 ? n == 0 : (n & (n - 1)) == 0)
		p = mem_resize(p, n < 16 ? 16 : 2 * n, sz);
	return p;
}

void
manifest_add_file(struct manifest *m, const char *name, uint64_t size,
    const unsigned char d[HASH_LEN])
{
	struct manifest_file	*f;

	m->files = more(m->files, m->n_files, sizeof(*m->files));
	f = &m->files[m->n_files++];
	f->name = mem_dup(name);
	f->size = size;
	hash_hex(d, f->sha256);
}

void
manifest_add_source(struct manifest *m, struct item_source *s)
{
	m->sources = more(m->sources, m->n_sources, sizeof(*m->sources));
	m->sources[m->n_sources++] = *s;
	memset(s, 0, sizeof(*s));
}

static int
file_cmp(const void *a, const void *b)
{
	const struct manifest_file	*x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int
source_cmp(const void *a, const void *b)
{
	const struct item_source	*x = a, *y = b;
	int				 r = strcmp(x->sha256, y->sha256);

	return r != 0 ? r : strcmp(x->url, y->url);
}

static void
sort(struct manifest *m)
{
	if (m->n_files != 0)
		qsort(m->files, m->n_files, sizeof(*m->files), file_cmp);
	if (m->n_sources != 0)
		qsort(m->sources, m->n_sources, sizeof(*m->sources),
		    source_cmp);
}

static void
put_source(struct buf *b, const struct item_source *s)
{
	buf_addc(b, '{');
	json_put_kstr(b, "sha256", s->sha256);
	json_put_kstr(b, "url", s->url);
	if (s->etag != NULL)
		json_put_kstr(b, "etag", s->etag);
	json_put_kint(b, "size", (int64_t)s->size);
	json_put_kint(b, "seq", s->seq);
	json_put_key(b, "guessed");
	buf_str(b, s->guessed ? "true" : "false");
	json_put_kint(b, "mtime", s->mtime);
	json_put_kint(b, "records", (int64_t)s->records);
	buf_addc(b, '}');
}

/* Where it is written to. */
struct out {
	const struct manifest *m;
	int		 fd;
	struct buf	 b;	/* not written yet */
	struct hash	*h;
	size_t		 n;	/* bytes written */
};

/* What nobody could read is not written: all inputs are in it for good. */
static int
flush(struct out *o, struct err *e)
{
	if (o->b.over || o->b.len > MANIFEST_MAX - o->n)
		return err_set(e, MSG_DATAERR, "%s: larger than %zu bytes: "
		    "%zu sources and %zu files are more than one target can "
		    "remember: publish further inputs to another one, fewer "
		    "and larger", MANIFEST_NAME, MANIFEST_MAX,
		    o->m->n_sources, o->m->n_files);
	hash_add(o->h, o->b.p, o->b.len);
	if (io_write(o->fd, o->b.p, o->b.len) == -1)
		return err_sys(e, errno, "%s: write", MANIFEST_NAME);
	o->n += o->b.len;
	buf_reset(&o->b);
	return 0;
}

static int
put_all(struct out *o, struct err *e)
{
	const struct manifest	*m = o->m;
	struct buf		*b = &o->b;
	size_t			 i;

	buf_addc(b, '{');
	json_put_kint(b, "intact", MANIFEST_FORM);
	buf_str(b, ",\n\"versions\":{");
	json_put_kstr(b, "intact", MSG_VERSION);
	buf_str(b, "},\n\"format\":");
	json_put_str(b, m->format, strlen(m->format));
	buf_str(b, ",\n\"content_digest\":");
	json_put_str(b, m->content_digest, strlen(m->content_digest));
	buf_printf(b, ",\n\"records\":%llu,\n\"tombstones\":%llu",
	    (unsigned long long)m->records,
	    (unsigned long long)m->tombstones);
	buf_str(b, ",\n\"parent\":");
	if (m->parent != NULL)
		json_put_str(b, m->parent, strlen(m->parent));
	else
		buf_str(b, "null");
	buf_str(b, ",\n\"parent_digest\":");
	if (m->parent_digest[0] != '\0')
		json_put_str(b, m->parent_digest, 2 * HASH_LEN);
	else
		buf_str(b, "null");
	buf_str(b, ",\n\"files\":[");
	for (i = 0; i < m->n_files; i++) {
		buf_str(b, i == 0 ? "\n{" : ",\n{");
		json_put_kstr(b, "name", m->files[i].name);
		json_put_kint(b, "size", (int64_t)m->files[i].size);
		json_put_kstr(b, "sha256", m->files[i].sha256);
		buf_addc(b, '}');
		if (b->len > MANIFEST_CHUNK && flush(o, e) == -1)
			return -1;
	}
	buf_str(b, "\n],\n\"sources\":[");
	for (i = 0; i < m->n_sources; i++) {
		buf_str(b, i == 0 ? "\n" : ",\n");
		put_source(b, &m->sources[i]);
		if (b->len > MANIFEST_CHUNK && flush(o, e) == -1)
			return -1;
	}
	buf_str(b, "\n]}\n");
	return flush(o, e);
}

int
manifest_write(struct manifest *m, int dirfd, unsigned char d[HASH_LEN],
    struct err *e)
{
	struct out	o;
	int		rv = -1;

	sort(m);
	memset(&o, 0, sizeof(o));
	o.m = m;
	o.h = hash_new();
	buf_init(&o.b, 4 * MANIFEST_CHUNK);
	o.fd = openat(dirfd, MANIFEST_NAME, O_WRONLY | O_CREAT | O_EXCL |
	    O_CLOEXEC, 0666);
	if (o.fd == -1) {
		err_sys(e, errno, "%s", MANIFEST_NAME);
		goto done;
	}
	if (put_all(&o, e) == -1 || io_fsync(o.fd, MANIFEST_NAME, e) == -1)
		goto done;
	hash_final(o.h, d);
	rv = 0;
done:
	if (o.fd != -1 && io_close(&o.fd, MANIFEST_NAME, e) == -1)
		rv = -1;
	buf_free(&o.b);
	hash_free(o.h);
	return rv;
}

static int
want(struct err *e, const char *what)
{
	return err_set(e, MSG_DATAERR, "%s: %s", MANIFEST_NAME, what);
}

/* A string without NUL; owned by the caller. */
static int
get_str(const struct json_val *v, char **out, struct err *e)
{
	if (v->type != JSON_STR || memchr(v->str, 0, v->len) != NULL)
		return want(e, "want a string");
	free(*out);
	*out = mem_ndup(v->str, v->len);
	return 0;
}

static int
get_hex(const struct json_val *v, char out[HASH_HEX], struct err *e)
{
	unsigned char	d[HASH_LEN];

	if (v->type != JSON_STR || v->len != 2 * HASH_LEN)
		return want(e, "want a SHA-256 in hex");
	memcpy(out, v->str, v->len);
	out[v->len] = '\0';
	if (hash_unhex(out, d) == -1)
		return want(e, "want a SHA-256 in hex");
	return 0;
}

static int
get_count(const struct json_val *v, uint64_t *out, struct err *e)
{
	if (v->type != JSON_INT || v->i < 0)
		return want(e, "want a count");
	*out = (uint64_t)v->i;
	return 0;
}

/* What is not known is passed over, so that later layouts may add. */
static int
pass(struct json *j, const struct json_val *v, struct err *e)
{
	return json_pass(j, v) == 0 ? 0 : want(e, j->why);
}

static int
get_file(struct json *j, struct manifest *m, struct err *e)
{
	struct manifest_file	f;
	struct json_val		v;
	unsigned char		d[HASH_LEN];
	int			seen = 0, r, rv = -1;

	memset(&f, 0, sizeof(f));
	while ((r = json_more(j, &v)) == 1) {
		if (json_is(&v, "name")) {
			if (get_str(&v, &f.name, e) == -1)
				goto done;
			seen |= 1;
		} else if (json_is(&v, "size")) {
			if (get_count(&v, &f.size, e) == -1)
				goto done;
			seen |= 2;
		} else if (json_is(&v, "sha256")) {
			if (get_hex(&v, f.sha256, e) == -1)
				goto done;
			seen |= 4;
		} else if (pass(j, &v, e) == -1)
			goto done;
	}
	if (r == -1) {
		want(e, j->why);
		goto done;
	}
	if (seen != 7 || !path_is_safe(f.name) ||
	    strcmp(f.name, MANIFEST_NAME) == 0) {
		want(e, "a file entry without name, size or sha256, or with "
		    "an unsafe name");
		goto done;
	}
	if (m->n_files >= MANIFEST_FILES) {
		want(e, "more than 100000 files");
		goto done;
	}
	(void)hash_unhex(f.sha256, d);
	manifest_add_file(m, f.name, f.size, d);
	rv = 0;
done:
	free(f.name);
	return rv;
}

static int
get_source(struct json *j, struct manifest *m, struct err *e)
{
	struct item_source	s;
	struct json_val		v;
	int			seen = 0, r, rv = -1;

	memset(&s, 0, sizeof(s));
	while ((r = json_more(j, &v)) == 1) {
		if (json_is(&v, "sha256")) {
			if (get_hex(&v, s.sha256, e) == -1)
				goto done;
			seen |= 1;
		} else if (json_is(&v, "url")) {
			if (get_str(&v, &s.url, e) == -1)
				goto done;
			seen |= 2;
		} else if (json_is(&v, "etag")) {
			if (get_str(&v, &s.etag, e) == -1)
				goto done;
		} else if (json_is(&v, "size")) {
			if (get_count(&v, &s.size, e) == -1)
				goto done;
		} else if (json_is(&v, "seq") && v.type == JSON_INT) {
			s.seq = v.i;
			seen |= 4;
		} else if (json_is(&v, "guessed") && v.type == JSON_BOOL) {
			s.guessed = (int)v.i;
		} else if (json_is(&v, "mtime") && v.type == JSON_INT) {
			s.mtime = v.i;
		} else if (json_is(&v, "records")) {
			if (get_count(&v, &s.records, e) == -1)
				goto done;
		} else if (pass(j, &v, e) == -1)
			goto done;
	}
	if (r == -1) {
		want(e, j->why);
		goto done;
	}
	if (seen != 7) {
		want(e, "a source without sha256, url or seq");
		goto done;
	}
	manifest_add_source(m, &s);
	rv = 0;
done:
	item_source_clear(&s);
	return rv;
}

static int
get_list(struct json *j, struct manifest *m,
    int (*one)(struct json *, struct manifest *, struct err *),
    struct err *e)
{
	struct json_val	v;
	int		r;

	while ((r = json_more(j, &v)) == 1) {
		if (v.type != JSON_OBJ)
			return want(e, "want a list of objects");
		if (one(j, m, e) == -1)
			return -1;
	}
	return r == 0 ? 0 : want(e, j->why);
}

/* Members of the top object; *seen collects the five that must be there. */
static int
get_member(struct json *j, const struct json_val *v, struct manifest *m,
    int *seen, struct err *e)
{
	if (json_is(v, "intact")) {
		if (v->type != JSON_INT || v->i != MANIFEST_FORM)
			return want(e, "intact: want layout 1");
		*seen |= 1;
		return 0;
	}
	if (json_is(v, "format")) {
		*seen |= 2;
		return get_str(v, &m->format, e);
	}
	if (json_is(v, "content_digest")) {
		*seen |= 4;
		return get_hex(v, m->content_digest, e);
	}
	if (json_is(v, "records"))
		return get_count(v, &m->records, e);
	if (json_is(v, "tombstones"))
		return get_count(v, &m->tombstones, e);
	if (json_is(v, "parent"))
		return v->type == JSON_NULL ? 0 : get_str(v, &m->parent, e);
	if (json_is(v, "parent_digest"))
		return v->type == JSON_NULL ? 0 :
		    get_hex(v, m->parent_digest, e);
	if (json_is(v, "files") && v->type == JSON_ARR) {
		*seen |= 8;
		return get_list(j, m, get_file, e);
	}
	if (json_is(v, "sources") && v->type == JSON_ARR) {
		*seen |= 16;
		return get_list(j, m, get_source, e);
	}
	return pass(j, v, e);
}

/* What is there twice means one thing to one reader, another to others. */
static int
once(const struct json_val *v, unsigned int *known, struct err *e)
{
	static const char *const	keys[] = { "intact", "format",
					    "content_digest", "records",
					    "tombstones", "parent",
					    "parent_digest", "files",
					    "sources" };
	unsigned int			i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (json_is(v, keys[i])) {
			if ((*known & 1U << i) != 0)
				return want(e, "a key that is there twice");
			*known |= 1U << i;
		}
	return 0;
}

int
manifest_parse(struct manifest *m, const void *p, size_t n, struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	size_t		 i;
	unsigned int	 known = 0;
	int		 seen = 0, r, rv = -1;

	memset(m, 0, sizeof(*m));
	json_init(&j, p, n);
	if (json_next(&j, &v) != JSON_OBJ) {
		want(e, "not a JSON object");
		goto done;
	}
	while ((r = json_more(&j, &v)) == 1)
		if (once(&v, &known, e) == -1 ||
		    get_member(&j, &v, m, &seen, e) == -1)
			goto done;
	if (r == -1) {
		want(e, j.why);
		goto done;
	}
	if (json_next(&j, &v) != JSON_EOF) {
		want(e, "bytes after the object");
		goto done;
	}
	if (seen != 31) {
		want(e, "not a manifest of intact: want intact, format, "
		    "content_digest, files, sources");
		goto done;
	}
	sort(m);
	for (i = 1; i < m->n_files; i++)
		if (strcmp(m->files[i - 1].name, m->files[i].name) == 0) {
			want(e, "the same file twice");
			goto done;
		}
	rv = 0;
done:
	if (rv == -1)
		manifest_clear(m);
	json_clear(&j);
	return rv;
}

int
manifest_read(struct manifest *m, int dirfd, unsigned char d[HASH_LEN],
    struct err *e)
{
	struct buf	 b;
	struct hash	*h;
	int		 rv = -1;

	memset(m, 0, sizeof(*m));
	buf_init(&b, MANIFEST_MAX);
	if (io_slurp(dirfd, MANIFEST_NAME, &b, e) == -1)
		goto done;
	if (d != NULL) {
		h = hash_new();
		hash_add(h, b.p, b.len);
		hash_final(h, d);
		hash_free(h);
	}
	rv = manifest_parse(m, buf_cstr(&b), b.len, e);
done:
	buf_free(&b);
	return rv;
}

static struct manifest_file *
find_file(const struct manifest *m, const char *name)
{
	struct manifest_file	key;

	key.name = (char *)(uintptr_t)name;
	if (m->n_files == 0)
		return NULL;
	return bsearch(&key, m->files, m->n_files, sizeof(*m->files),
	    file_cmp);
}

/* Every file below name is in the manifest. prefix as in path. */
static int
no_other(const struct manifest *m, const struct hash_tree *t, struct err *e)
{
	const char	*name;
	size_t		 i;

	for (i = 0; i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, NULL, NULL);
		if (strcmp(name, MANIFEST_NAME) != 0 &&
		    find_file(m, name) == NULL)
			return err_set(e, MSG_DATAERR,
			    "%s: a file that the manifest does not name",
			    name);
	}
	return 0;
}

static int
sizes(const struct manifest *m, int dirfd, struct err *e)
{
	struct stat	st;
	size_t		i;

	for (i = 0; i < m->n_files; i++) {
		const struct manifest_file *f = &m->files[i];

		if (fstatat(dirfd, f->name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
			if (errno == ENOENT || errno == ENOTDIR)
				return err_set(e, MSG_DATAERR,
				    "%s: missing: the manifest names it",
				    f->name);
			return err_sys(e, errno, "%s", f->name);
		}
		if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
			return err_set(e, MSG_DATAERR,
			    "%s: size: want %llu, got %lld", f->name,
			    (unsigned long long)f->size,
			    (long long)st.st_size);
	}
	return 0;
}

int
manifest_verify(const struct manifest *m, int dirfd, int bytes,
    struct err *e)
{
	struct hash_tree	*t;
	const unsigned char	*got;
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX];
	const char		*name;
	size_t			 i;
	int			 rv = -1;

	if (sizes(m, dirfd, e) == -1)
		return -1;
	if (!bytes)
		return 0;
	t = hash_tree_new();
	if (hash_dir(dirfd, ".", d, NULL, t, e) == -1)
		goto done;
	if (no_other(m, t, e) == -1)
		goto done;
	for (i = 0; i < hash_tree_count(t); i++) {
		const struct manifest_file *f;

		name = hash_tree_get(t, i, NULL, &got);
		f = find_file(m, name);
		if (f == NULL)
			continue; /* the manifest itself */
		hash_hex(got, hex);
		if (strcmp(hex, f->sha256) != 0) {
			err_set(e, MSG_DATAERR, "%s: sha256: want %s, got %s",
			    name, f->sha256, hex);
			goto done;
		}
	}
	rv = 0;
done:
	hash_tree_free(t);
	return rv;
}

const struct item_source *
manifest_source(const struct manifest *m, const char *sha256)
{
	size_t	lo = 0, hi = m->n_sources, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (strcmp(m->sources[mid].sha256, sha256) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < m->n_sources && strcmp(m->sources[lo].sha256, sha256) == 0)
		return &m->sources[lo];
	return NULL;
}
