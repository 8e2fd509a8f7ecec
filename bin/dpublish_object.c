/*
 * dpublish -a s3://...: an immutable artefact as objects: proved where it
 * lies, never put over another, and gone when it fails.  It makes no
 * version and no commit.
 *
 * What it is was judged before, on the local files whose digests are then
 * those that must lie there.  The file that makes a directory a store comes
 * last, so that half of one is none.
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

#include "chroma.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "remote.h"
#include "retry.h"
#include "s3.h"
#include "s3_send.h"
#include "ticket.h"
#include "xfer.h"
#include "banned.h"

#define OBJECT_TRIES	3		/* uploads of one artefact */
#define OBJECT_PROBE	".intact.probe/" /* dfetch looks at no such name */

struct object {
	const char	*from;		/* absolute path */
	const char	*url;		/* where it goes */
	const char	*lock;		/* or NULL */
	const char	*ckpt;
	const struct stage *s;
	int		 full;
	char		*bucket, *key;
	int		 dir;		/* key + "/" + name each */
	char		*prefix;	/* "key/", or the key */
	int		 dirfd, lockfd;
	struct hash_tree *t;
	struct s3_file	*v;
	size_t		 n;
	unsigned char	 d[HASH_LEN];	/* its input digest */
	uint64_t	 size;
	char		**created;
	size_t		 n_created, created_cap;
	int		 complete;	/* all of it lies there */
	struct remote	*remote;	/* NULL: not connected */
	struct s3	*s3;
	struct retry	*retry;
};

static char *
cat3(const char *a, const char *b, const char *c)
{
	size_t	 n = strlen(a) + strlen(b) + strlen(c) + 1;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, "%s%s%s", a, b, c);
	return s;
}

static void
object_clear(struct object *a)
{
	size_t	i;

	for (i = 0; i < a->n; i++)
		free((void *)(size_t)a->v[i].key);
	for (i = 0; i < a->n_created; i++)
		free(a->created[i]);
	free(a->created);
	free(a->v);
	hash_tree_free(a->t);
	free(a->bucket);
	free(a->key);
	free(a->prefix);
	if (a->dirfd >= 0)
		(void)close(a->dirfd);
	if (a->lockfd != -1)
		(void)close(a->lockfd);
	remote_free(a->remote);
}

/* The file that makes a store of the directory: the last to come. */
static void
mark_last(struct object *a)
{
	static const char *const	names[] = { MANIFEST_NAME,
		CHROMA_FILE };
	struct s3_file	swap;
	size_t		i, k;

	for (k = 0; k < sizeof(names) / sizeof(names[0]); k++)
		for (i = 0; i < a->n; i++)
			if (strcmp(a->v[i].name, names[k]) == 0) {
				swap = a->v[i];
				a->v[i] = a->v[a->n - 1];
				a->v[a->n - 1] = swap;
				return;
			}
}

static int
load_dir(struct object *a, struct err *e)
{
	const unsigned char	*d;
	size_t			 i;

	a->prefix = cat3(a->key, "/", "");
	a->t = hash_tree_new();
	a->dirfd = open(a->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->dirfd == -1)
		return err_sys(e, errno, "%s", a->from);
	if (hash_dir(a->dirfd, ".", a->d, &a->size, a->t, e) == -1)
		return -1;
	a->n = hash_tree_count(a->t);
	if (a->n == 0)
		return err_set(e, MSG_DATAERR, "%s: an empty directory",
		    a->from);
	a->v = mem_zero(a->n, sizeof(*a->v));
	for (i = 0; i < a->n; i++) {
		a->v[i].name = hash_tree_get(a->t, i, &a->v[i].size, &d);
		a->v[i].key = cat3(a->prefix, a->v[i].name, "");
		hash_hex(d, a->v[i].sha256);
	}
	mark_last(a);
	return 0;
}

static int
load_file(struct object *a, struct err *e)
{
	a->prefix = mem_dup(a->key);
	if (hash_file(AT_FDCWD, a->from, a->d, &a->size, e) == -1)
		return -1;
	a->n = 1;
	a->v = mem_zero(1, sizeof(*a->v));
	/* absolute: below no directory */
	a->v[0].name = a->from;
	a->v[0].key = mem_dup(a->key);
	a->v[0].size = a->size;
	hash_hex(a->d, a->v[0].sha256);
	return 0;
}

/* What it is, file by file, and where each goes. For object_clear. */
static int
object_load(struct object *a, const char *from, const char *url,
    const struct stage *s, struct err *e)
{
	struct stat	st;
	size_t		n;

	memset(a, 0, sizeof(*a));
	a->from = from;
	a->url = url;
	a->s = s;
	a->dirfd = a->lockfd = -1;
	if (s3_url(url, &a->bucket, &a->key, e) == -1)
		return -1;
	n = strlen(a->key);
	if (n == 0 || a->key[n - 1] == '/')
		return err_set(e, MSG_USAGE, "%s: want s3://bucket/key, the "
		    "name that it shall have", url);
	if (lstat(from, &st) == -1)
		return err_sys(e, errno, "%s", from);
	a->dir = S_ISDIR(st.st_mode);
	return a->dir ? load_dir(a, e) : load_file(a, e);
}

static int
connect_object(struct object *a, struct err *e)
{
	if (a->remote != NULL)
		return 0;
	a->remote = remote_new(a->ckpt);
	a->s3 = remote_s3(a->remote, e);
	a->retry = a->s3 != NULL ? remote_retry(a->remote, e) : NULL;
	return a->retry != NULL ? 0 : -1;
}

/* Before a process is made that parses what came from outside. */
static void
disconnect_object(struct object *a)
{
	remote_free(a->remote);
	a->remote = NULL;
	a->s3 = NULL;
	a->retry = NULL;
}

/*
 * What lies there.
 */

struct seen {
	const struct object	*a;
	size_t			 n;	/* of ours */
};

static int
differs(const struct object *a, const char *key, struct err *e)
{
	return err_set(e, MSG_CANTCREAT, "s3://%s/%s: something else than %s "
	    "is there; an artefact is never changed: use another name",
	    a->bucket, key, a->from);
}

static int
on_object(void *arg, const struct s3_object *o, struct err *e)
{
	struct seen		*s = arg;
	const struct object	*a = s->a;
	size_t			 i;

	if (!a->dir && strcmp(o->key, a->key) != 0)
		return 0; /* its name begins with ours */
	for (i = 0; i < a->n; i++)
		if (strcmp(a->v[i].key, o->key) == 0)
			break;
	if (i == a->n || a->v[i].size != o->size)
		return differs(a, o->key, e);
	s->n++;
	return 0;
}

/* *all: every file of it is there, by name and size; 73: another is. */
static int
look(const struct object *a, int *all, struct err *e)
{
	struct seen	s = { a, 0 };

	if (s3_list(a->s3, a->bucket, a->prefix, NULL, NULL, on_object, &s,
	    e) == -1)
		return -1;
	*all = s.n == a->n;
	return 0;
}

static const char *
weakness(enum s3_excludes x)
{
	switch (x) {
	case S3_LACKS:
		return "it has no conditional writes (501)";
	case S3_IGNORES:
		return "a second create of one name wrote over the first";
	case S3_RACES:
		return "of several creates at once more than one succeeded";
	case S3_EXCLUDES:
		break;
	}
	return NULL;
}

/* May something be created there? Asked once for all that go there. */
static int
prove_exclusive(const struct object *a, struct err *e)
{
	static char	*known;		/* "bucket/dir/" that excludes */
	enum s3_excludes x;
	const char	*slash = strrchr(a->key, '/');
	char		*dir = mem_ndup(a->key, slash == NULL ? 0 :
			    (size_t)(slash + 1 - a->key));
	char		*where = cat3(a->bucket, "/", dir);
	char		*prefix = cat3(dir, OBJECT_PROBE, "");
	int		 rv = 0;

	if (known != NULL && strcmp(known, where) == 0)
		goto done;
	rv = s3_probe(a->s3, a->bucket, prefix, &x, e);
	if (rv == 0 && weakness(x) != NULL)
		rv = err_set(e, MSG_USAGE, "s3://%s: this store does not "
		    "exclude: %s; two writers could overwrite each other: "
		    "use another store, or --lock FILE that all of them "
		    "share", where, weakness(x));
	if (rv == 0) {
		free(known);
		known = where;
		where = NULL;
	}
done:
	free(dir);
	free(where);
	free(prefix);
	return rv;
}

/*
 * The upload.
 */

static void
on_created(void *arg, const char *key)
{
	struct object	*a = arg;

	a->created = mem_grow(a->created, &a->created_cap,
	    a->n_created + 1, sizeof(*a->created));
	a->created[a->n_created++] = mem_dup(key);
}

/* What this process created, the last one first. */
static int
take_back(struct object *a, struct err *e)
{
	int	rv = 0;

	while (a->n_created > 0 && rv == 0) {
		rv = s3_delete(a->s3, a->bucket,
		    a->created[a->n_created - 1], e);
		if (rv == 0)
			free(a->created[--a->n_created]);
	}
	return rv;
}

static int
take_lock(struct object *a, struct err *e)
{
	struct err	f = { 0, "" };

	if (a->lock == NULL)
		return 0;
	a->lockfd = open(a->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (a->lockfd == -1)
		return err_sys(e, errno, "%s", a->lock);
	if (io_flock(a->lockfd, TARGET_LOCK_WAIT, &f) == -1)
		return err_set(e, f.code, "%s: %s", a->lock, f.text);
	return 0;
}

static void
drop_lock(struct object *a)
{
	if (a->lockfd != -1)
		(void)close(a->lockfd);
	a->lockfd = -1;
}

static int
put(struct object *a, int last, struct err *e)
{
	struct s3_send_opts	o;
	struct s3_sent		sent;
	int			all;

	memset(&o, 0, sizeof(o));
	o.create = 1;
	o.locked = a->lock != NULL;
	o.give_up = last;
	o.run = a->s->run;
	o.created = on_created;
	o.arg = a;
	if (look(a, &all, e) == -1 || s3_send(a->s3, a->retry, a->bucket,
	    a->prefix, a->dir ? a->dirfd : AT_FDCWD, a->v, a->n, &o, &sent,
	    e) == -1)
		return -1;
	msg_info("%s: %llu objects sent, %llu kept", a->url,
	    (unsigned long long)sent.objects, (unsigned long long)sent.kept);
	return 0;
}

/* One try. *again: another may help. */
static int
try_once(struct object *a, int last, int *again, struct err *e)
{
	int	all, rv;

	*again = 1;
	if (connect_object(a, e) == -1)
		return -1;
	rv = take_lock(a, e);
	if (rv == 0)
		rv = put(a, last, e);
	drop_lock(a);
	if (rv == -1) {
		*again = e->code == MSG_TEMPFAIL || e->code == MSG_IOERR;
		return -1;
	}
	a->complete = 1;
	if (s3_prove(a->s3, a->retry, a->bucket, a->v, a->n, 0, e) == -1) {
		/* what came to harm there may be put there anew */
		*again = e->code != MSG_NOPERM && (e->code != MSG_DATAERR ||
		    a->n_created > 0);
		return -1;
	}
	if (look(a, &all, e) == -1) {
		*again = e->code == MSG_TEMPFAIL;
		return -1;
	}
	a->complete = all;
	return all ? 0 : err_set(e, MSG_TEMPFAIL, "%s: something of it is "
	    "gone again", a->url);
}

/*
 * It failed: what was created goes.  But what is complete, and was not
 * found to be wrong, may be what another counts on by now who put the same
 * there: it stays, and nothing is claimed.
 */
static void
give_up(struct object *a, const struct err *why, struct err *e)
{
	struct err	f = { 0, "" };

	if (a->complete && why->code != MSG_DATAERR) {
		err_set(e, why->code, "%.400s; it is there, but not proved: "
		    "run this again", why->text);
		return;
	}
	err_set(e, why->code, "%s", why->text);
	/* after a signal nothing can be asked: the next run goes on */
	if (io_signal() == 0 && a->n_created > 0 && (connect_object(a, &f) ==
	    -1 || take_back(a, &f) == -1))
		msg_warn("s3://%s/%s: it stays: %s", a->bucket,
		    a->created[a->n_created - 1], f.text);
}

static int
try_thrice(struct object *a, struct err *e)
{
	struct err	one, f = { 0, "" };
	int		tries, again = 1;

	for (tries = 1;; tries++) {
		a->complete = 0;
		one.code = 0;
		if (try_once(a, tries == OBJECT_TRIES, &again, &one) == 0)
			return 0;
		if (!again || tries == OBJECT_TRIES || io_signal() != 0)
			break;
		msg_info("%s (try %d of %d)", one.text, tries, OBJECT_TRIES);
		if ((one.code == MSG_DATAERR && take_back(a, &f) == -1) ||
		    retry_sleep(retry_delay((unsigned int)tries, -1, 0.5),
		    &f) == -1)
			break;
	}
	give_up(a, &one, e);
	return -1;
}

/*
 * --verify=full: back into staging, and opened there.
 */

struct back {
	struct err	e;
	size_t		n;
};

static void
on_back(void *arg, const struct xfer_got *g, const struct err *e)
{
	struct back	*b = arg;

	(void)g;
	b->n++;
	if (e != NULL)
		err_set(&b->e, e->code, "%s", e->text);
}

int
dpub_bring_back(struct remote *r, const char *bucket,
    const struct s3_file *v, size_t n, const char *as, int dirfd,
    const char *url, struct err *e)
{
	struct xfer_opts	 o = { 0, NULL, 0 };
	struct xfer_get		 g;
	struct xfer		*x;
	struct back		 b;
	char			*name = NULL;
	size_t			 i;
	int			 rv = 0;

	memset(&b, 0, sizeof(b));
	x = xfer_new(remote_net(r, e), remote_s3(r, e), remote_retry(r, e),
	    &o);
	for (i = 0; i < n && rv == 0; i++) {
		memset(&g, 0, sizeof(g));
		free(name);
		name = cat3(bucket, "/", v[i].key);
		g.name = name;
		g.bucket = bucket;
		g.key = v[i].key;
		g.size = v[i].size;
		g.has_size = 1;
		g.sha256 = v[i].sha256[0] != '\0' ? v[i].sha256 : NULL;
		g.dirfd = dirfd;
		g.file = as != NULL ? as : v[i].name;
		g.done = on_back;
		g.arg = &b;
		rv = xfer_get(x, &g, e);
	}
	while (rv == 0 && b.e.code == 0 && (rv = xfer_wait(x, 1000, e)) == 1)
		rv = 0;
	xfer_free(x);
	free(name);
	if (rv == 0 && b.e.code != 0)
		rv = err_set(e, b.e.code, "%s", b.e.text);
	if (rv == 0 && b.n != n)
		rv = err_set(e, MSG_SOFTWARE, "%s: not all of it came back",
		    url);
	return rv;
}

static int
open_copy(struct object *a, struct err *e)
{
	struct err	 f = { 0, "" };
	char		 name[64];
	char		*path, *copy = NULL;
	int		 fd = -1, rv = -1;

	(void)snprintf(name, sizeof(name), "back.%ld", (long)getpid());
	path = cat3(a->s->path, "/", name);
	if (mkdirat(a->s->dirfd, name, 0777) == -1 ||
	    (fd = openat(a->s->dirfd, name, O_RDONLY | O_DIRECTORY |
	    O_CLOEXEC)) == -1) {
		err_sys(e, errno, "%s", path);
		goto done;
	}
	if (dpub_bring_back(a->remote, a->bucket, a->v, a->n, a->dir ? NULL :
	    path_base(a->url), fd, a->url, e) == -1)
		goto done;
	disconnect_object(a);
	copy = a->dir ? mem_dup(path) : cat3(path, "/", path_base(a->url));
	rv = dpub_judge_any(copy, a->s, e);
done:
	if (fd != -1)
		(void)close(fd);
	if (io_rmtree(a->s->dirfd, name, &f) == -1)
		msg_warn("%s: %s", a->s->path, f.text);
	free(copy);
	free(path);
	return rv;
}

static int
upload(struct object *a, struct err *e)
{
	struct err	one = { 0, "" };

	if (try_thrice(a, e) == -1)
		return -1;
	if (!a->full || open_copy(a, &one) == 0)
		return 0;
	give_up(a, &one, e);
	return -1;
}

/*
 * The two ways in.
 */

static struct rec *
record(const struct object *a, const char *type)
{
	struct rec	*r = rec_new(type);
	char		 hex[HASH_HEX];

	hash_hex(a->d, hex);
	rec_set_str(r, "url", a->from);
	rec_set_str(r, "path", a->url);
	rec_set_str(r, "sha256", hex);
	rec_set_u64(r, "size", a->size);
	return r;
}

/* May it be put there later?  And a ticket, so that it is. */
static int
prepare(struct object *a, enum stream_mode mode, struct err *e)
{
	struct rec	*t;
	char		 hex[HASH_HEX];
	int		 all, rv;

	if (connect_object(a, e) == -1 || look(a, &all, e) == -1 ||
	    (!all && a->lock == NULL && prove_exclusive(a, e) == -1))
		return -1;
	t = rec_map();
	hash_hex(a->d, hex);
	rec_set_str(t, "kind", "artifact");
	rec_set_str(t, "from", a->from);
	rec_set_str(t, "to", a->url);
	rec_set_str(t, "sha256", hex);
	rec_set_str(t, "lock", a->lock);
	rec_set_str(t, "ckpt", a->ckpt);
	rec_set_bool(t, "full", a->full);
	rv = ticket_leave(a->s, t, mode, e);
	rec_free(t);
	return rv;
}

int
dpub_artifact_put(struct filter *f, const char *from, const char *url,
    const struct dpub_opts *o, struct err *e)
{
	struct object	 a;
	struct rec	*r;
	int		 all, rv = -1;

	if (object_load(&a, from, url, &f->stage, e) == -1)
		goto done;
	a.lock = o->lock;
	a.ckpt = o->ckpt;
	a.full = o->full;
	/* the digests were made before: what is sent later must have them */
	if (dpub_judge_any(from, &f->stage, e) == -1)
		goto done;
	if (ticket_wanted())
		rv = prepare(&a, f->opts.json ? STREAM_JSON :
		    isatty(STDOUT_FILENO) ? STREAM_TEXT : STREAM_MSGPACK, e);
	else if (connect_object(&a, e) == 0 && look(&a, &all, e) == 0 &&
	    (all || a.lock != NULL || prove_exclusive(&a, e) == 0))
		rv = upload(&a, e);
	if (rv == 0) {
		r = record(&a, ticket_wanted() ? "prepared" : "artifact");
		rv = filter_put(f, r);
		rec_free(r);
	}
done:
	object_clear(&a);
	return rv;
}

int
dpub_artifact_commit(const struct rec *ticket, const struct stage *s,
    struct rec **pub, struct err *e)
{
	struct object	 a;
	const char	*from, *to, *sha;
	char		 hex[HASH_HEX];
	int		 rv = -1;

	*pub = NULL;
	if (!rec_get_str(ticket, "from", &from) ||
	    !rec_get_str(ticket, "to", &to) ||
	    !rec_get_str(ticket, "sha256", &sha))
		return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	if (object_load(&a, from, to, s, e) == -1)
		goto done;
	(void)rec_get_str(ticket, "lock", &a.lock);
	(void)rec_get_str(ticket, "ckpt", &a.ckpt);
	(void)rec_get_bool(ticket, "full", &a.full);
	hash_hex(a.d, hex);
	if (strcmp(hex, sha) != 0)
		err_set(e, MSG_DATAERR, "%s: it has changed since it was "
		    "checked: SHA-256: want %s, got %s", from, sha, hex);
	else
		rv = upload(&a, e);
	if (rv == 0)
		*pub = record(&a, "artifact");
done:
	object_clear(&a);
	return rv;
}
