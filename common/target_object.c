/*
 * target_object: claims, the operator's lock and what was seen, for targets
 * that are no directory.
 * SPDX-License-Identifier: ISC
 */
#include "target_object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "buf.h"
#include "io.h"
#include "mem.h"
#include "remote.h"
#include "retry.h"
#include "banned.h"

#define CLAIM_TRIES	7	/* of a claim of which nobody knows */

void
object_open(struct target_object *t, const struct target_ops *ops,
    const char *url, const struct target_opts *o)
{
	memset(t, 0, sizeof(*t));
	t->ops = ops;
	t->url = mem_dup(url);
	t->lockfd = -1;
	if (o->lock != NULL)
		t->lock_path = mem_dup(o->lock);
	t->remote = remote_new(o->ckpt);
}

void
object_close(struct target_object *t)
{
	size_t	i;

	object_unlock(t);
	for (i = 0; i < OBJECT_SEEN; i++) {
		free(t->seen[i].key);
		free(t->seen[i].etag);
	}
	remote_free(t->remote);
	free(t->url);
	free(t->lock_path);
}

/*
 * What was seen.
 */

struct object_seen *
object_find(struct target_object *t, const char *key)
{
	size_t	i;

	for (i = 0; i < OBJECT_SEEN; i++)
		if (t->seen[i].key != NULL &&
		    strcmp(t->seen[i].key, key) == 0)
			return &t->seen[i];
	return NULL;
}

struct object_seen *
object_see(struct target_object *t, const char *key, int there,
    const char *etag)
{
	struct object_seen	*s = object_find(t, key), now;

	if (s == NULL)
		s = &t->seen[0];
	memset(&now, 0, sizeof(now));
	now.key = mem_dup(key);
	now.there = there;
	now.etag = etag != NULL ? mem_dup(etag) : NULL;
	free(s->key);
	free(s->etag);
	memmove(s, s + 1, (size_t)(&t->seen[OBJECT_SEEN - 1] - s) *
	    sizeof(*s));
	s = &t->seen[OBJECT_SEEN - 1];
	*s = now;
	return s;
}

void
object_forget(struct target_object *t, const char *key)
{
	struct object_seen	*s = object_find(t, key);

	if (s == NULL)
		return;
	free(s->key);
	free(s->etag);
	memset(s, 0, sizeof(*s));
}

int
object_holds(struct target_object *t, const char *key, const void *p,
    size_t n, struct err *e)
{
	struct err	f = { 0, "" };
	struct buf	b;
	int		r;

	buf_init(&b, n + 1);
	r = t->ops->get(t, key, &b, &f);
	if (r == 1)
		r = b.len == n && (n == 0 || memcmp(b.p, p, n) == 0);
	else if (r == -1)
		/* larger than n is not these, either */
		r = f.code == MSG_DATAERR ? 0 :
		    err_set(e, f.code, "%s", f.text);
	buf_free(&b);
	return r;
}

/*
 * Claims.
 */

int
object_claim(void *impl, const char *key, const void *p, size_t n,
    int *held, struct err *e)
{
	struct target_object	*t = impl;
	char			 owner[TARGET_KEY_MAX];
	struct err		 f;
	unsigned int		 tries;
	int			 unsure = 0, r;

	*held = -1;
	(void)snprintf(owner, sizeof(owner), "%s/" TARGET_OWNER, key);
	for (tries = 1;; tries++) {
		memset(&f, 0, sizeof(f));
		r = t->ops->create(impl, key, owner, p, n, &unsure, &f);
		/* no other claim has these bytes: who, where, when */
		if (r != 0 && unsure && object_holds(t, owner, p, n, &f) == 1)
			r = 0;
		if (r != -1 || !unsure || tries == CLAIM_TRIES)
			break;
		if (retry_sleep(retry_delay(tries, -1, 0.5), e) == -1)
			return -1;
	}
	/* one that may be there is left for age to remove */
	return r == -1 ? err_set(e, f.code, "%s", f.text) : r;
}

int
object_hold(void *impl, const char *key, int *held, struct err *e)
{
	(void)impl;
	(void)key;
	(void)e;
	*held = -1;
	return 0;
}

void
object_release(void *impl, int held)
{
	(void)impl;
	(void)held;
}

char *
object_path(void *impl, const char *key)
{
	(void)impl;
	(void)key;
	return NULL;
}

/*
 * The operator's lock.
 */

int
object_lock(void *impl, struct err *e)
{
	struct target_object	*t = impl;
	struct err		 f = { 0, "" };
	int			 fd;

	if (t->lock_path == NULL)
		return 0;
	fd = open(t->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd == -1)
		return err_sys(e, errno, "%s", t->lock_path);
	if (io_flock(fd, TARGET_LOCK_WAIT, &f) == -1) {
		(void)close(fd);
		return err_set(e, f.code, "%s: %s", t->lock_path, f.text);
	}
	t->lockfd = fd;
	return 0;
}

void
object_unlock(void *impl)
{
	struct target_object	*t = impl;

	if (t->lockfd != -1)
		(void)close(t->lockfd);
	t->lockfd = -1;
}

int
object_probe_lock(struct target_object *t,
    void (*say)(const char *what, void *arg), void *arg, struct err *e)
{
	if (t->lock_path == NULL)
		return 0;
	/* proves that it can be had */
	if (object_lock(t, e) == -1)
		return -1;
	object_unlock(t);
	if (say != NULL)
		say("the lock can be taken; whether all publishers name it "
		    "only they know", arg);
	return 1;
}

int
object_no_exclusion(const struct target_object *t, const char *why,
    struct err *e)
{
	e->code = 0;
	return err_set(e, MSG_USAGE, "%s: this store does not exclude: %s; "
	    "two publishers could overwrite each other: use another store, "
	    "or --lock FILE that all of them share", t->url, why);
}
