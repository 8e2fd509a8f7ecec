/*
 * worlds: for tests of target: a target with two versions, in a store of
 * objects that lies in memory and knows no law, or in a directory; and
 * between it and the test a door where the Nth call fails, or something
 * happens meanwhile.  One world at a time.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_WORLDS_H
#define D_WORLDS_H

#include "nth.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "manifest.h"
#include "mem.h"
#include "target.h"

#define OBJECTS	64
#define V1	"20260101T000000.000000Z-00000001"
#define V2	"20260101T000000.000000Z-00000002"
#define V3	"20260101T000000.000000Z-00000003"
#define V4	"20260101T000000.000000Z-00000004"

/*
 * Objects in memory.
 */

struct obj {
	char		 key[256];
	unsigned char	*p;
	size_t		 n;
	int64_t		 age;
};

static struct obj	objs[OBJECTS];
static size_t		n_objs;

static struct obj *
obj_find(const char *key)
{
	size_t	i;

	for (i = 0; i < n_objs; i++)
		if (strcmp(objs[i].key, key) == 0)
			return &objs[i];
	return NULL;
}

static inline void
obj_drop(size_t i)
{
	free(objs[i].p);
	objs[i] = objs[--n_objs];
}

static inline void
obj_set(const char *key, const void *p, size_t n)
{
	struct obj	*o = obj_find(key);

	if (o == NULL) {
		if (n_objs == OBJECTS)
			_exit(98);
		o = &objs[n_objs++];
		(void)snprintf(o->key, sizeof(o->key), "%.255s", key);
	} else
		free(o->p);
	o->p = mem_alloc(n + 1);
	memcpy(o->p, p, n);
	o->n = n;
	o->age = 0;
}

static inline int
mem_list(void *impl, const char *key, int (*f)(const char *, void *),
    void *arg, struct err *e)
{
	char	name[256], seen[OBJECTS][256];
	size_t	i, k, n = strlen(key), n_seen = 0;

	(void)impl;
	(void)e;
	for (i = 0; i < n_objs; i++) {
		if (strncmp(objs[i].key, key, n) != 0 ||
		    objs[i].key[n] != '/')
			continue;
		(void)snprintf(name, sizeof(name), "%.*s",
		    (int)strcspn(objs[i].key + n + 1, "/"),
		    objs[i].key + n + 1);
		for (k = 0; k < n_seen; k++)
			if (strcmp(seen[k], name) == 0)
				break;
		if (k == n_seen)
			(void)strcpy(seen[n_seen++], name);
	}
	for (i = 0; i < n_seen; i++)
		if (f(seen[i], arg) == -1)
			return -1;
	return 0;
}

static inline int
mem_get(void *impl, const char *key, struct buf *b, struct err *e)
{
	struct obj	*o = obj_find(key);

	(void)impl;
	if (o == NULL)
		return 0;
	buf_add(b, o->p, o->n);
	return b->over ? err_set(e, MSG_DATAERR, "%s: too large", key) : 1;
}

static inline int
mem_has(void *impl, const char *key, struct err *e)
{
	(void)impl;
	(void)e;
	return obj_find(key) != NULL;
}

static inline int
mem_create(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	(void)claim;
	(void)unsure;
	if (mem_has(impl, key, e))
		return 1;
	obj_set(key, p, n);
	return 0;
}

static inline int
mem_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	(void)impl;
	(void)unsure;
	(void)claim;
	(void)e;
	obj_set(key, p, n);
	return 0;
}

static inline int
mem_remove(void *impl, const char *key, struct err *e)
{
	size_t	i, n = strlen(key);

	(void)impl;
	(void)e;
	for (i = n_objs; i-- > 0;)
		if (strncmp(objs[i].key, key, n) == 0 &&
		    (objs[i].key[n] == '/' || objs[i].key[n] == '\0'))
			obj_drop(i);
	return 0;
}

static inline int
mem_put(void *impl, const char *key, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	struct buf	b;
	char		k[512];
	const char	*name;
	size_t		i;
	int		rv = 0;

	(void)impl;
	(void)d;
	(void)share;
	for (i = 0; i <= m->n_files && rv == 0; i++) {
		name = i < m->n_files ? m->files[i].name : MANIFEST_NAME;
		buf_init(&b, 1 << 20);
		rv = io_slurp(dirfd, name, &b, e);
		(void)snprintf(k, sizeof(k), "%s/%s", key, name);
		if (rv == 0)
			obj_set(k, b.p, b.len);
		buf_free(&b);
	}
	return rv;
}

static inline int
mem_verify(void *impl, const char *key, const struct manifest *m,
    struct err *e)
{
	struct obj	*o;
	char		 k[512];
	size_t		 i;

	(void)impl;
	for (i = 0; i < m->n_files; i++) {
		(void)snprintf(k, sizeof(k), "%s/%s", key, m->files[i].name);
		o = obj_find(k);
		if (o == NULL || o->n != m->files[i].size)
			return err_set(e, MSG_DATAERR, "%s: not whole", k);
	}
	return 0;
}

static inline int
mem_fetch(void *impl, const char *key, int dirfd, const struct manifest *m,
    struct err *e)
{
	const char	*name;
	struct obj	*o;
	char		 k[512];
	size_t		 i;
	int		 fd, rv = 0;

	(void)impl;
	(void)mkdirat(dirfd, "sub", 0700);
	for (i = 0; i <= m->n_files && rv == 0; i++) {
		name = i < m->n_files ? m->files[i].name : MANIFEST_NAME;
		(void)snprintf(k, sizeof(k), "%s/%s", key, name);
		o = obj_find(k);
		fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0666);
		if (o == NULL || fd == -1 || io_write(fd, o->p, o->n) == -1)
			rv = err_set(e, MSG_DATAERR, "%s: not there", k);
		(void)close(fd);
	}
	return rv;
}

static inline int
mem_claim(void *impl, const char *key, const void *p, size_t n, int *held,
    struct err *e)
{
	char	k[512];
	int	unsure;

	*held = -1;
	(void)snprintf(k, sizeof(k), "%s/" TARGET_OWNER, key);
	return mem_create(impl, key, k, p, n, &unsure, e);
}

static inline int
mem_hold(void *impl, const char *key, int *held, struct err *e)
{
	(void)impl;
	(void)key;
	(void)e;
	*held = -1;
	return 0;
}

static inline void
mem_release(void *impl, int held)
{
	(void)impl;
	(void)held;
}

static inline int
mem_lock(void *impl, struct err *e)
{
	(void)impl;
	(void)e;
	return 0;
}

static inline void
mem_unlock(void *impl)
{
	(void)impl;
}

static char *
mem_path(void *impl, const char *key)
{
	(void)impl;
	(void)key;
	return NULL;
}

static inline int
mem_age(void *impl, const char *key, int64_t *age, struct err *e)
{
	struct obj	*o = obj_find(key);

	(void)impl;
	(void)e;
	if (o == NULL)
		return 0;
	*age = o->age;
	return 1;
}

static inline int
mem_probe(void *impl, const char *claim,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	(void)impl;
	(void)claim;
	(void)say;
	(void)arg;
	(void)e;
	return 0;
}

static const struct target_ops	mem_ops = {
	.list = mem_list, .get = mem_get, .has = mem_has,
	.create = mem_create, .replace = mem_replace, .remove = mem_remove,
	.put = mem_put, .fetch = mem_fetch, .verify = mem_verify,
	.claim = mem_claim, .hold = mem_hold, .release = mem_release,
	.lock = mem_lock, .unlock = mem_unlock, .path = mem_path,
	.close = mem_unlock, .age = mem_age, .probe = mem_probe
};

/*
 * The same calls, or a directory's, of which the Nth fails.
 */

enum how {
	REFUSED,	/* not done, and said so: 74 */
	LOST,		/* done, and nobody knows: 75 */
	DROPPED,	/* not done, and nobody knows: 75 */
	OTHERS,		/* somebody else came first, or took it away */
	IGNORED		/* not done, and nobody said so */
};

static const struct target_ops	*under;
static void			*impl_under;
static unsigned long		 calls, fail_at;
static enum how			 how;
static int			 forever;	/* and each one after it */
static const char		*only;		/* this call alone; or NULL */
static char			 hit[128];	/* what failed, "" nothing */
static const char		*before = "";	/* the first such call ... */
static void			(*meanwhile)(void); /* this happens, once */

/* Is it this one's turn? */
static inline int
turn(const char *call, const char *key)
{
	void	(*f)(void) = meanwhile;

	if (f != NULL && strcmp(before, call) == 0) {
		meanwhile = NULL;
		f();
	}
	if (fail_at == 0 || (only != NULL && strcmp(only, call) != 0))
		return 0;
	calls++;
	if (calls != fail_at && (!forever || calls < fail_at))
		return 0;
	(void)snprintf(hit, sizeof(hit), "%s %.100s", call, key);
	return 1;
}

static inline int
as_asked(const char *key, struct err *e)
{
	return err_set(e, MSG_IOERR, "%s: as asked", key);
}

static inline int
w_list(void *impl, const char *key, int (*f)(const char *, void *),
    void *arg, struct err *e)
{
	return turn("list", key) ? as_asked(key, e) :
	    under->list(impl, key, f, arg, e);
}

static inline int
w_get(void *impl, const char *key, struct buf *b, struct err *e)
{
	if (!turn("get", key))
		return under->get(impl, key, b, e);
	return how == OTHERS ? 0 : as_asked(key, e);
}

static inline int
w_has(void *impl, const char *key, struct err *e)
{
	return turn("has", key) ? as_asked(key, e) :
	    under->has(impl, key, e);
}

static inline int
w_create(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	if (!turn("create", key))
		return under->create(impl, claim, key, p, n, unsure, e);
	if (how == REFUSED)
		return as_asked(key, e);
	if (how == OTHERS || how == IGNORED)
		return how == OTHERS;
	if (how == LOST && under->create(impl, claim, key, p, n, unsure,
	    e) == 1)
		return 1;
	*unsure = 1;
	return err_set(e, MSG_TEMPFAIL, "%s: no answer", key);
}

static inline int
w_replace(void *impl, const char *claim, const char *key, const void *p,
    size_t n, int *unsure, struct err *e)
{
	if (!turn("replace", key))
		return under->replace(impl, claim, key, p, n, unsure, e);
	if (how == REFUSED)
		return as_asked(key, e);
	if (how == OTHERS || how == IGNORED)
		return how == OTHERS;
	if (how == LOST)
		(void)under->replace(impl, claim, key, p, n, unsure, e);
	*unsure = 1;
	return err_set(e, MSG_TEMPFAIL, "%s: no answer", key);
}

static inline int
w_remove(void *impl, const char *key, struct err *e)
{
	return turn("remove", key) ? as_asked(key, e) :
	    under->remove(impl, key, e);
}

static inline int
w_rename(void *impl, const char *from, const char *to, struct err *e)
{
	return turn("rename", to) ? as_asked(to, e) :
	    under->rename(impl, from, to, e);
}

static inline int
w_put(void *impl, const char *key, int dirfd, const struct manifest *m,
    const unsigned char d[HASH_LEN], int share, struct err *e)
{
	return turn("put", key) ? as_asked(key, e) :
	    under->put(impl, key, dirfd, m, d, share, e);
}

static inline int
w_fetch(void *impl, const char *key, int dirfd, const struct manifest *m,
    struct err *e)
{
	return turn("fetch", key) ? as_asked(key, e) :
	    under->fetch(impl, key, dirfd, m, e);
}

static inline int
w_verify(void *impl, const char *key, const struct manifest *m,
    struct err *e)
{
	return turn("verify", key) ? as_asked(key, e) :
	    under->verify(impl, key, m, e);
}

static inline int
w_claim(void *impl, const char *key, const void *p, size_t n, int *held,
    struct err *e)
{
	if (!turn("claim", key))
		return under->claim(impl, key, p, n, held, e);
	return how == OTHERS ? 1 : as_asked(key, e);
}

static inline int
w_hold(void *impl, const char *key, int *held, struct err *e)
{
	if (!turn("hold", key))
		return under->hold(impl, key, held, e);
	return how == OTHERS || how == IGNORED ? how == OTHERS :
	    as_asked(key, e);
}

static inline void
w_release(void *impl, int held)
{
	under->release(impl, held);
}

static inline int
w_lock(void *impl, struct err *e)
{
	return turn("lock", "") ? as_asked("lock", e) :
	    under->lock(impl, e);
}

static inline void
w_unlock(void *impl)
{
	under->unlock(impl);
}

static char *
w_path(void *impl, const char *key)
{
	return under->path(impl, key);
}

static inline int
w_settle(void *impl, const char *key, struct err *e)
{
	return turn("settle", key) ? as_asked(key, e) :
	    under->settle(impl, key, e);
}

static inline int
w_age(void *impl, const char *key, int64_t *age, struct err *e)
{
	return turn("age", key) ? as_asked(key, e) :
	    under->age(impl, key, age, e);
}

static inline int
w_probe(void *impl, const char *claim,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	return turn("probe", claim) ? as_asked(claim, e) :
	    under->probe(impl, claim, say, arg, e);
}

/*
 * A world: a target with two versions, and the store that a third is of.
 */

static char		top[1024], place[1100];
static int		topfd, storefd;
static struct manifest	manifest;
static unsigned char	digest[HASH_LEN];
static struct target_ops ops;
static struct target	target;

static inline void
worlds_open(const char *name)
{
	unsigned char	 sum[HASH_LEN];
	const char	*tmp = getenv("TMPDIR");
	struct err	 e = { 0, "" };
	uint64_t	 sz;
	int		 fd;

	(void)snprintf(top, sizeof(top), "%s/%s.XXXXXX", tmp != NULL ? tmp :
	    "/tmp", name);
	if (mkdtemp(top) == NULL)
		_exit(99);
	(void)snprintf(place, sizeof(place), "%s/T", top);
	topfd = open(top, O_RDONLY | O_DIRECTORY);
	(void)mkdirat(topfd, "store", 0700);
	storefd = openat(topfd, "store", O_RDONLY | O_DIRECTORY);
	(void)mkdirat(storefd, "sub", 0700);
	fd = openat(storefd, "sub/bytes", O_WRONLY | O_CREAT, 0600);
	(void)io_write(fd, "bytes", 5);
	(void)close(fd);
	manifest.format = mem_dup("sqlite");
	memset(manifest.content_digest, 'a', HASH_HEX - 1);
	manifest.records = 1;
	(void)hash_file(storefd, "sub/bytes", sum, &sz, &e);
	manifest_add_file(&manifest, "sub/bytes", sz, sum);
	if (manifest_write(&manifest, storefd, digest, &e) == -1)
		_exit(97);
}

static inline void
fill(struct target_commit *c, uint64_t g, const char *version,
    const char *run, const char *kind)
{
	memset(c, 0, sizeof(*c));
	c->generation = g;
	c->version = mem_dup(version);
	(void)snprintf(c->run, sizeof(c->run), "%s", run);
	hash_hex(digest, c->manifest_sha256);
	memset(c->content_digest, 'a', HASH_HEX - 1);
	c->format = mem_dup("sqlite");
	c->kind = mem_dup(kind);
	c->records = 1;
	c->created = 1700000000 * (int64_t)1000000000;
}

/* As dpublish does it: claim, upload, commit, pointer; or all is undone. */
static inline int
publish(const char *run, uint64_t g, const char *version, const char *keeps,
    struct err *e)
{
	struct target_commit	 c, won;
	struct target_upload	*u;
	struct target_claim	 claim;
	struct err		 f = { 0, "" };
	char			 hex[HASH_HEX];
	int			 rv = 0;

	hash_hex(digest, hex);
	memset(&claim, 0, sizeof(claim));
	claim.version = keeps == NULL ? version : NULL;
	claim.generation = g;
	claim.manifest = keeps == NULL ? hex : NULL;
	claim.keeps = keeps;
	u = target_begin(&target, NULL, run, &claim, e);
	if (u == NULL)
		return -1;
	fill(&c, g, keeps != NULL ? keeps : target_upload_version(u), run,
	    keeps != NULL ? "rollback" : "publish");
	if (keeps == NULL)
		rv = target_put(u, storefd, &manifest, digest, 0, e);
	if (rv == 0)
		rv = target_commit(u, &c, &won, e);
	if (rv == 1) {
		target_commit_clear(&won);
		rv = err_set(e, MSG_TEMPFAIL, "taken");
	}
	if (rv == 0)
		rv = target_advance(u, e) == -1 ? -1 : 0;
	if (rv == 0)
		rv = target_finish(u, e);
	else
		(void)target_abandon(u, &f);
	target_commit_clear(&c);
	target_upload_free(u);
	return rv;
}

static inline void
set_faults(void)
{
	fail_at = calls = 0;
	how = REFUSED;
	forever = 0;
	only = NULL;
	meanwhile = NULL;
	hit[0] = '\0';
}

static inline void
end_world(void)
{
	struct err	e = { 0, "" };

	if (under == NULL)
		return;
	under->close(impl_under);
	free(target.url);
	free(target.last_path);
	memset(&target, 0, sizeof(target));
	while (n_objs > 0)
		obj_drop(n_objs - 1);
	(void)io_rmtree(AT_FDCWD, place, &e);
	under = NULL;
}

static inline void
worlds_close(void)
{
	struct err	e = { 0, "" };

	end_world();
	manifest_clear(&manifest);
	(void)close(storefd);
	(void)close(topfd);
	(void)io_rmtree(AT_FDCWD, top, &e);
}

static inline void
world(int remote)
{
	struct err	e = { 0, "" };

	end_world();
	set_faults();
	under = &mem_ops;
	impl_under = NULL;
	if (!remote && target_local_open(place, 1, &under, &impl_under,
	    &e) == -1)
		_exit(96);
	ops = (struct target_ops){ .list = w_list, .get = w_get,
		.has = w_has, .create = w_create, .replace = w_replace,
		.remove = w_remove, .rename = remote ? NULL : w_rename,
		.put = w_put, .fetch = w_fetch, .verify = w_verify,
		.claim = w_claim, .hold = w_hold, .release = w_release,
		.lock = w_lock, .unlock = w_unlock, .path = w_path,
		.close = w_unlock, .settle = remote ? NULL : w_settle,
		.age = remote ? w_age : NULL,
		.probe = remote ? w_probe : NULL };
	target.ops = &ops;
	target.impl = impl_under;
	target.url = mem_dup(remote ? "mem://t" : "t");
	if (publish("one", 1, V1, NULL, &e) == -1 ||
	    publish("two", 2, V2, NULL, &e) == -1) {
		printf("# no world: %s\n", e.text);
		_exit(95);
	}
}

/* The newest generation, when it and its version are whole; else 0. */
static inline uint64_t
head(void)
{
	struct target_commit	c;
	struct err		e = { 0, "" };
	uint64_t		g = 0;

	if (target_head(&target, &c, &e) == 1) {
		if (target_verify(&target, c.version, &e) == 0)
			g = c.generation;
		target_commit_clear(&c);
	}
	if (g == 0)
		printf("# %s\n", e.text);
	return g;
}

static inline uint64_t
next(void)
{
	struct err	e = { 0, "" };
	uint64_t	g = 0;

	(void)target_newest_generation(&target, &g, &e);
	return g + 1;
}

static inline int
has(const char *version)
{
	struct err	e = { 0, "" };

	return target_has(&target, version, &e) == 1;
}

static inline size_t
names(const char *key)
{
	struct target_names	w;
	struct err		e = { 0, "" };
	size_t			n;

	if (target_list(&target, key, &w, &e) == -1)
		return SIZE_MAX;
	n = w.n;
	target_names_clear(&w);
	return n;
}

#define NOBODY	0x7ffffffe	/* no kernel counts processes that far */

/* The process of a claim is gone: it names one that is not there. */
static inline void
bury(const char *name, pid_t pid)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	const char	*s;
	char		 claim[256], key[300], text[2048];
	int		 unsure = 0;

	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", name);
	(void)snprintf(key, sizeof(key), "%s/" TARGET_OWNER, claim);
	buf_init(&b, sizeof(text) - 1);
	(void)under->get(impl_under, key, &b, &e);
	s = strstr(buf_cstr(&b), "\"pid\":");
	if (s != NULL) {
		(void)snprintf(text, sizeof(text), "%.*s\"pid\":%ld%s",
		    (int)(s - buf_cstr(&b)), buf_cstr(&b), (long)pid,
		    s + strcspn(s, ",}"));
		(void)under->replace(impl_under, claim, key, text,
		    strlen(text), &unsure, &e);
	}
	buf_free(&b);
}

static inline void
die(struct target_upload *u)
{
	char	name[256];

	(void)snprintf(name, sizeof(name), "%s", target_upload_name(u));
	target_upload_free(u);
	bury(name, NOBODY);
}

/* Whoever is at work there dies, and the next one sweeps. */
static inline void
all_die(void)
{
	struct target_names	w;
	struct err		e = { 0, "" };
	size_t			i;

	if (target_list(&target, TARGET_STAGING, &w, &e) == -1)
		return;
	for (i = 0; i < w.n; i++)
		bury(w.v[i], NOBODY);
	if (w.n > 0)
		(void)target_collect(&target, 0, 0, NULL, NULL, &e);
	target_names_clear(&w);
}

#endif
