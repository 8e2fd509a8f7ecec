/*
 * dcheck: answers as records, out and strictly in again, and the cache of
 * them.  It judges no input.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck.h"

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
#include "rec.h"
#include "banned.h"

static const char *const kinds[] = { "ok", "refused", "machine" };

void
answer_clear(struct answer *a)
{
	size_t	i;

	free(a->where);
	for (i = 0; i < a->n_colls; i++)
		item_coll_clear(&a->colls[i]);
	free(a->colls);
	memset(a, 0, sizeof(*a));
}

void
answer_clean(char *s)
{
	int	ascii = !path_utf8(s, strlen(s));

	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f ||
		    (ascii && (unsigned char)*s >= 0x80))
			*s = '?';
		/* U+0080 to U+009f: terminals obey those as well */
		if ((unsigned char)*s == 0xc2 && (unsigned char)s[1] < 0xa0)
			s[0] = s[1] = '?';
	}
}

static void
put_coll(const struct item_coll *c, struct buf *b)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];
	struct hash	*h;

	buf_addc(b, '{');
	json_put_kstr(b, "name", c->name);
	json_put_kint(b, "dim", c->dim);
	if (c->space_known)
		json_put_kstr(b, "space", item_space_name(c->space));
	if (c->model != NULL && strlen(c->model) <= DCHECK_MODEL)
		json_put_kstr(b, "model", c->model);
	else if (c->model != NULL) {
		h = hash_new();
		hash_add(h, c->model, strlen(c->model));
		hash_final(h, d);
		hash_free(h);
		hash_hex(d, hex);
		json_put_kstr(b, "model", hex);
	}
	buf_addc(b, '}');
}

static void
put_colls(struct rec *r, const struct answer *a)
{
	struct buf	 b;
	char		**v;
	size_t		 i;

	v = mem_zero(a->n_colls, sizeof(*v));
	for (i = 0; i < a->n_colls; i++) {
		buf_init(&b, REC_STR_MAX);
		put_coll(&a->colls[i], &b);
		v[i] = mem_dup(buf_cstr(&b));
		buf_free(&b);
	}
	rec_set_strs(r, "colls", (const char *const *)(void *)v, a->n_colls);
	for (i = 0; i < a->n_colls; i++)
		free(v[i]);
	free(v);
}

struct rec *
answer_put(const struct answer *a)
{
	struct rec	*r = rec_new("answer");
	char		 text[MSG_ERR_MAX];

	rec_set_str(r, "kind", kinds[a->kind]);
	rec_set_bool(r, "proved", a->proved);
	switch (a->kind) {
	case ANSWER_REFUSED:
		(void)snprintf(text, sizeof(text), "%s", a->v.reason);
		answer_clean(text);
		rec_set_str(r, "code", check_code_name(a->v.code));
		rec_set_str(r, "reason", text);
		break;
	case ANSWER_MACHINE:
		(void)snprintf(text, sizeof(text), "%s", a->e.text);
		answer_clean(text);
		rec_set_u64(r, "status", (uint64_t)a->e.code);
		rec_set_str(r, "reason", text);
		break;
	case ANSWER_OK:
		rec_set_str(r, "format", store_format_name(a->format));
		rec_set_bool(r, "dir", a->is_dir);
		rec_set_bool(r, "recovered", a->recovered);
		rec_set_u64(r, "records", a->records);
		rec_set_u64(r, "tombstones", a->tombstones);
		rec_set_str(r, "tree", a->tree);
		rec_set_str(r, "content", a->content);
		rec_set_str(r, "where", a->where);
		put_colls(r, a);
		break;
	}
	return r;
}

/* While an answer is read: any surprise sets bad. */
struct getting {
	struct answer	*a;
	size_t		 cap;
	int		 bad;
};

static int
get_coll(struct item_coll *c, const char *s)
{
	struct json	j;
	struct json_val	v;
	int		rv = -1, r;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, strlen(s), &v, "name", NULL) != 1 ||
	    v.type != JSON_STR || v.len == 0 || v.len > ITEM_NAME_MAX ||
	    memchr(v.str, 0, v.len) != NULL)
		goto done;
	c->name = mem_ndup(v.str, v.len);
	if (json_find(&j, s, strlen(s), &v, "dim", NULL) != 1 ||
	    v.type != JSON_INT || v.i < 0 || v.i > ITEM_DIM_MAX)
		goto done;
	c->dim = (uint32_t)v.i;
	if (json_find(&j, s, strlen(s), &v, "space", NULL) == 1) {
		r = v.type == JSON_STR ? item_space_parse(v.str, v.len) : -1;
		if (r == -1)
			goto done;
		c->space = (enum item_space)r;
		c->space_known = 1;
	}
	if (json_find(&j, s, strlen(s), &v, "model", NULL) == 1) {
		if (v.type != JSON_STR || v.len > DCHECK_MODEL ||
		    memchr(v.str, 0, v.len) != NULL)
			goto done;
		c->model = mem_ndup(v.str, v.len);
	}
	rv = 0;
done:
	json_clear(&j);
	return rv;
}

static void
got_coll(const char *s, void *arg)
{
	struct getting		*g = arg;
	struct answer		*a = g->a;
	struct item_coll	*c;

	if (g->bad || a->n_colls >= DCHECK_COLLS) {
		g->bad = 1;
		return;
	}
	a->colls = mem_grow(a->colls, &g->cap, a->n_colls + 1,
	    sizeof(*a->colls));
	c = &a->colls[a->n_colls++];
	memset(c, 0, sizeof(*c));
	if (get_coll(c, s) == -1 || (a->n_colls > 1 &&
	    strcmp(c[-1].name, c->name) >= 0))
		g->bad = 1;
}

static int
get_hex(const struct rec *r, const char *key, int may_be_empty,
    char out[HASH_HEX])
{
	unsigned char	d[HASH_LEN];
	const char	*s;

	if (!rec_get_str(r, key, &s))
		return -1;
	if (*s == '\0' && may_be_empty) {
		out[0] = '\0';
		return 0;
	}
	if (hash_unhex(s, d) == -1)
		return -1;
	(void)snprintf(out, HASH_HEX, "%s", s);
	return 0;
}

static int
get_ok(struct answer *a, const struct rec *r)
{
	struct getting	g;
	const char	*s;

	if (!rec_get_str(r, "format", &s))
		return -1;
	a->format = store_format_parse(s);
	if (a->format == STORE_ARCHIVE || (a->format == STORE_NONE &&
	    strcmp(s, store_format_name(STORE_NONE)) != 0))
		return -1;
	if (!rec_get_bool(r, "dir", &a->is_dir) ||
	    !rec_get_bool(r, "recovered", &a->recovered) ||
	    !rec_get_u64(r, "records", &a->records) ||
	    !rec_get_u64(r, "tombstones", &a->tombstones) ||
	    get_hex(r, "tree", 0, a->tree) == -1 ||
	    get_hex(r, "content", 1, a->content) == -1)
		return -1;
	if (rec_get_str(r, "where", &s)) {
		if (!path_is_safe(s))
			return -1;
		a->where = mem_dup(s);
	} else if (rec_has(r, "where"))
		return -1;
	memset(&g, 0, sizeof(g));
	g.a = a;
	if (!rec_get_strs(r, "colls", got_coll, &g) || g.bad)
		return -1;
	return 0;
}

int
answer_get(struct answer *a, const struct rec *r)
{
	const char	*s;
	uint64_t	 n;
	int		 i, rv = -1;

	memset(a, 0, sizeof(*a));
	if (strcmp(rec_type(r), "answer") != 0 ||
	    !rec_get_str(r, "kind", &s) ||
	    !rec_get_bool(r, "proved", &a->proved))
		goto done;
	for (i = 0; i < 3 && strcmp(s, kinds[i]) != 0; i++)
		;
	if (i == 3)
		goto done;
	a->kind = (enum answer_kind)i;
	if (a->kind == ANSWER_OK) {
		rv = get_ok(a, r);
		goto done;
	}
	if (!rec_get_str(r, "reason", &s))
		goto done;
	if (a->kind == ANSWER_MACHINE) {
		/* a worker can only meet what a parser of files meets */
		if (!rec_get_u64(r, "status", &n) || (n != MSG_NOINPUT &&
		    n != MSG_SOFTWARE && n != MSG_IOERR &&
		    n != MSG_TEMPFAIL && n != MSG_NOPERM))
			goto done;
		a->e.code = (int)n;
		(void)snprintf(a->e.text, sizeof(a->e.text), "%s", s);
		answer_clean(a->e.text);
		rv = 0;
		goto done;
	}
	(void)snprintf(a->v.reason, sizeof(a->v.reason), "%s", s);
	answer_clean(a->v.reason);
	if (!rec_get_str(r, "code", &s))
		goto done;
	a->v.code = check_code_parse(s);
	if (a->v.code == CHECK_OK || a->v.code >= CHECK_N)
		goto done;
	rv = 0;
done:
	if (rv == -1)
		answer_clear(a);
	return rv;
}

/* Cache ------------------------------------------------------------ */

static char *
join(const char *a, const char *b)
{
	struct buf	s;
	char		*rv;

	buf_init(&s, 16384);
	buf_printf(&s, "%s%s", a, b);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

int
cache_open(struct cache *c, const char *dir, struct err *e)
{
	const char	*s;
	char		*path, *sub;
	int		 rv = 0, named = 1;

	c->dirfd = -1;
	c->n = 0;
	if (dir == NULL) {
		dir = getenv("DCACHE");
		if (dir != NULL && *dir == '\0')
			return 0;
	}
	if (dir != NULL)
		path = mem_dup(dir);
	else if ((s = getenv("XDG_CACHE_HOME")) != NULL && *s == '/') {
		path = join(s, "/intact");
		named = 0;
	} else if ((s = getenv("HOME")) != NULL && *s == '/') {
		path = join(s, "/.cache/intact");
		named = 0;
	} else
		return 0;
	sub = join(path, "/verdicts");
	if (io_mkdirs(path, e) == -1)
		rv = -1;
	else if (mkdir(sub, 0700) == -1 && errno != EEXIST)
		rv = err_sys(e, errno, "%s", sub);
	else if ((c->dirfd = open(sub, O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC)) == -1)
		rv = err_sys(e, errno, "%s", sub);
	if (rv == -1 && !named) {
		/* nobody asked for this place: go without */
		msg_info("no cache: %s", e->text);
		memset(e, 0, sizeof(*e));
		rv = 0;
	}
	free(sub);
	free(path);
	return rv;
}

void
cache_close(struct cache *c)
{
	if (c->dirfd != -1)
		(void)close(c->dirfd);
	c->dirfd = -1;
}

/* What the verdict depends on, and the name of its file. */
static void
key_of(const struct job *j, char key[256], char name[HASH_HEX])
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h = hash_new();

	(void)snprintf(key, 256, "%s %s %s %d %s%s", MSG_VERSION,
	    j->of_manifest ? "manifest" : j->is_dir ? "dir" : "file",
	    j->sha256, DCHECK_RULES,
	    (j->flags & CHECK_ALLOW_EMPTY) != 0 ? "e" : "-",
	    (j->flags & CHECK_RECOVER_HOT) != 0 ? "r" : "-");
	hash_add(h, key, strlen(key));
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, name);
}

static void
sum_of(const void *p, size_t n, char hex[HASH_HEX])
{
	unsigned char	 d[HASH_LEN];
	struct hash	*h = hash_new();

	hash_add(h, p, n);
	hash_final(h, d);
	hash_free(h);
	hash_hex(d, hex);
}

/* The whole file, when nobody but this user can have written it. */
static int
slurp_own(int dirfd, const char *name, struct buf *b)
{
	unsigned char	*p;
	struct stat	 st;
	ssize_t		 n;
	int		 fd, rv = -1;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
	    st.st_uid != geteuid() || (st.st_mode & 022) != 0 ||
	    st.st_size <= HASH_HEX || (uint64_t)st.st_size > b->max)
		goto done;
	p = buf_room(b, (size_t)st.st_size);
	if (p == NULL)
		goto done;
	n = io_read(fd, p, (size_t)st.st_size);
	if (n != (ssize_t)st.st_size)
		goto done;
	b->len = (size_t)n;
	rv = 0;
done:
	(void)close(fd);
	return rv;
}

/*
 * Only what the same bytes will always be found to be.  The digest of a
 * manifest names the files that it wants, not those that are there: what
 * was found bad under it may be good the next time.  What was found good is
 * held against the files again.
 */
static int
is_definite(const struct job *j, const struct answer *a)
{
	if (!a->proved || a->kind == ANSWER_MACHINE ||
	    (j->of_manifest && a->kind != ANSWER_OK))
		return 0;
	if (a->kind == ANSWER_OK)
		return !a->recovered && a->format != STORE_NONE;
	return a->v.code != CHECK_CRASH && a->v.code != CHECK_TIMEOUT &&
	    a->v.code != CHECK_COUNT && a->v.code != CHECK_BASE &&
	    a->v.code != CHECK_HOOK;
}

int
cache_get(const struct cache *c, const struct job *j, struct answer *a)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	struct rec	*r = NULL;
	const char	*s;
	char		 key[256], name[HASH_HEX], sum[HASH_HEX];
	size_t		 n;
	int		 rv = 0;

	if (c->dirfd == -1)
		return 0;
	key_of(j, key, name);
	buf_init(&b, 2 * REC_MAX);
	if (slurp_own(c->dirfd, name, &b) == -1)
		goto done;
	/* one line of JSON, one with its SHA-256 */
	n = b.len - HASH_HEX;
	sum_of(b.p, n, sum);
	if (b.p[b.len - 1] != '\n' || n == 0 || b.p[n - 1] != '\n' ||
	    memcmp(b.p + n, sum, HASH_HEX - 1) != 0)
		goto done;
	r = rec_from_json((const char *)b.p, n - 1, &e);
	if (r == NULL || !rec_get_str(r, "key", &s) || strcmp(s, key) != 0)
		goto done;
	rv = answer_get(a, r) == 0 && is_definite(j, a);
	if (!rv)
		answer_clear(a);
done:
	rec_free(r);
	buf_free(&b);
	return rv;
}

void
cache_put(struct cache *c, const struct job *j, const struct answer *a)
{
	struct buf	 b;
	struct rec	*r;
	char		 key[256], name[HASH_HEX], sum[HASH_HEX], tmp[64];
	int		 fd;

	if (c->dirfd == -1 || !is_definite(j, a))
		return;
	key_of(j, key, name);
	buf_init(&b, 2 * REC_MAX);
	r = answer_put(a);
	rec_set_str(r, "key", key);
	rec_to_json(r, &b);
	rec_free(r);
	buf_addc(&b, '\n');
	sum_of(b.p, b.len, sum);
	buf_str(&b, sum);
	buf_addc(&b, '\n');
	/*
	 * Aside and renamed, so that readers see it whole; not synced, as a
	 * crash that tears it is found by its sum and costs one check.
	 */
	(void)snprintf(tmp, sizeof(tmp), ".new.%ld.%u", (long)getpid(),
	    c->n++);
	fd = b.over ? -1 : openat(c->dirfd, tmp, O_WRONLY | O_CREAT |
	    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd != -1) {
		if (io_write(fd, b.p, b.len) == -1 ||
		    renameat(c->dirfd, tmp, c->dirfd, name) == -1)
			(void)unlinkat(c->dirfd, tmp, 0);
		(void)close(fd);
	}
	buf_free(&b);
}
