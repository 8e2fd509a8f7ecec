/*
 * target, what people and readers leave in it: notes on what is in
 * quarantine, and pins and leases, which keep versions from removal.
 * It removes no version.
 *
 * A pin is pins/<version>/pin.json; a lease, pins/<version>.<name>/pin.json,
 * is one that says for how many seconds, by the store's clock, from when it
 * was written.  Who makes one writes it and then looks whether the version
 * is being removed; who removes announces that and then looks for these
 * (target_upload.c).  A local target is locked meanwhile.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "retry.h"
#include "banned.h"

#define NOTE_TRIES	4	/* of one whose outcome is not known */

static int
claim_key(const struct target_upload *u, char out[TARGET_KEY_MAX])
{
	return snprintf(out, TARGET_KEY_MAX, TARGET_STAGING "/%s", u->name);
}

/* The very bytes lie there: 1, 0 others or none, -1. */
static int
is_there(struct target *t, const char *key, const void *p, size_t n,
    int *any, struct err *e)
{
	struct buf	b;
	int		r;

	buf_init(&b, n > TARGET_COMMIT_MAX ? n : TARGET_COMMIT_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	*any = r == 1;
	if (r == 1)
		r = b.len == n && memcmp(b.p, p, n) == 0;
	buf_free(&b);
	return r;
}

int
target_note_add(struct target_upload *u, const char *key, const void *p,
    size_t n, struct err *e)
{
	struct target	*t = u->t;
	struct err	 f;
	char		 claim[TARGET_KEY_MAX];
	int		 any, r, same, tries, unsure;

	(void)claim_key(u, claim);
	for (tries = 0;; tries++) {
		memset(&f, 0, sizeof(f));
		unsure = 0;
		r = t->ops->create(t->impl, claim, key, p, n, &unsure, &f);
		if (r == 0)
			return 0;
		if (r == -1 && !unsure)
			break;
		same = is_there(t, key, p, n, &any, e);
		if (same == -1)
			return -1;
		/* with the run in it, the same bytes are ours */
		if (same == 1)
			return tries > 0 || unsure ? 0 : 1;
		if (any)
			return 1;
		if (tries >= NOTE_TRIES || retry_sleep(retry_delay(
		    (unsigned int)tries + 1, -1, 0.5), e) == -1)
			break;
	}
	return err_set(e, f.code != 0 ? f.code : MSG_TEMPFAIL, "%s", f.text);
}

int
target_note_set(struct target_upload *u, const char *key, const void *p,
    size_t n, struct err *e)
{
	struct target	*t = u->t;
	struct err	 f;
	char		 claim[TARGET_KEY_MAX];
	int		 any, r, tries, unsure;

	r = target_note_add(u, key, p, n, e);
	if (r != 1)
		return r;
	(void)claim_key(u, claim);
	for (tries = 0;; tries++) {
		/* what is replaced must be known; or it is ours by now */
		r = is_there(t, key, p, n, &any, e);
		if (r != 0)
			return r == 1 ? 0 : -1;
		memset(&f, 0, sizeof(f));
		unsure = 0;
		r = t->ops->replace(t->impl, claim, key, p, n, &unsure, &f);
		if (r == 0)
			return 0;
		if (r == 1)
			err_set(&f, MSG_TEMPFAIL, "%s/%s: somebody else wrote "
			    "to it: run again", t->url, key);
		if ((r == -1 && !unsure) || tries >= NOTE_TRIES ||
		    retry_sleep(retry_delay((unsigned int)tries + 1, -1,
		    0.5), e) == -1)
			return err_set(e, f.code, "%s", f.text);
	}
}

int
target_note_get(struct target *t, const char *key, struct buf *b,
    struct err *e)
{
	return t->ops->get(t->impl, key, b, e);
}

int
target_note_drop(struct target *t, const char *dir, struct err *e)
{
	return t->ops->remove(t->impl, dir, e);
}

int
target_note_unlink(struct target *t, const char *key, struct err *e)
{
	return t->ops->unlink != NULL ? t->ops->unlink(t->impl, key, e) :
	    t->ops->remove(t->impl, key, e);
}

/* On disk: by the clock of the file system, as far as it can be asked. */
static int
local_age(struct target *t, const char *key, int64_t *age, struct err *e)
{
	struct stat	 st, now;
	char		*path = t->ops->path(t->impl, key);
	char		*clock = t->ops->path(t->impl, TARGET_STAGING
			    "/.lock");
	int64_t		 s = io_wall_ns() / 1000000000;
	int		 rv = 1;

	if (stat(path, &st) == -1) {
		rv = errno == ENOENT || errno == ENOTDIR ? 0 :
		    err_sys(e, errno, "%s", path);
		goto done;
	}
	if (utimensat(AT_FDCWD, clock, NULL, 0) == 0 &&
	    stat(clock, &now) == 0)
		s = now.st_mtime;
	*age = s > st.st_mtime ? s - st.st_mtime : 0;
done:
	free(path);
	free(clock);
	return rv;
}

int
target_note_age(struct target *t, const char *key, int64_t *age,
    struct err *e)
{
	if (t->ops->age == NULL)
		return local_age(t, key, age, e);
	return t->ops->age(t->impl, key, age, e);
}

/* Pins. */

static int
pin_key(char out[TARGET_KEY_MAX], const char *name)
{
	return snprintf(out, TARGET_KEY_MAX, TARGET_PINS "/%s/" TARGET_PIN,
	    name);
}

int
target_pin_name(char out[TARGET_PIN_MAX], const char *version,
    const char *lease, struct err *e)
{
	const char	*s;
	int		 n;

	if (!target_version_ok(version))
		return err_set(e, MSG_USAGE, "%s: not a version id (see "
		    "dpublish log)", version);
	for (s = lease; s != NULL && *s != '\0'; s++)
		if (strchr("abcdefghijklmnopqrstuvwxyz"
		    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *s) == NULL)
			break;
	n = snprintf(out, TARGET_PIN_MAX, "%s%s%s", version, lease != NULL ?
	    "." : "", lease != NULL ? lease : "");
	if (n >= TARGET_PIN_MAX || (s != NULL && (*s != '\0' || s == lease)))
		return err_set(e, MSG_USAGE, "%s: not the name of a lease: "
		    "want at most %d letters, digits, '.', '_', '-'", lease,
		    TARGET_PIN_MAX - TARGET_VERSION_MAX);
	return 0;
}

static void
pin_text(struct buf *b, const struct target_upload *u, const char *version,
    const char *reason, uint64_t seconds)
{
	char	host[256];

	memset(host, 0, sizeof(host));
	if (gethostname(host, sizeof(host) - 1) == -1)
		host[0] = '\0';
	buf_addc(b, '{');
	json_put_kstr(b, "version", version);
	if (reason != NULL)
		json_put_kstr(b, "reason", reason);
	if (seconds != 0)
		json_put_kint(b, "seconds", (int64_t)seconds);
	json_put_kstr(b, "host", host);
	json_put_kstr(b, "run", u->run);
	json_put_kint(b, "created_ns", io_wall_ns());
	buf_str(b, "}\n");
}

/* It is kept now, unless it goes or is gone: 0, -1. */
static int
prove_kept(struct target_upload *u, const char *version, const char *name,
    struct err *e)
{
	struct target	*t = u->t;
	struct err	 f = { 0, "" };
	char		 dir[TARGET_KEY_MAX];
	int		 gone, r = 0;

	if (target_is_remote(t))
		r = target_is_wanted(t, version, 1, e);
	if (r == 1)
		err_set(e, MSG_TEMPFAIL, "%s: version %s is being removed: "
		    "choose another, or run again", t->url, version);
	gone = r == 0 ? target_has(t, version, e) == 0 : r;
	if (r == 0 && gone && e->code == 0)
		err_set(e, MSG_NOINPUT, "%s: version %s is not there: choose "
		    "one that dpublish log shows as present", t->url,
		    version);
	if (e->code == 0)
		return 0;
	(void)snprintf(dir, sizeof(dir), TARGET_PINS "/%s", name);
	(void)target_note_drop(t, dir, &f);
	return -1;
}

int
target_hold(struct target_upload *u, const char *version, const char *name,
    const char *reason, uint64_t seconds, struct err *e)
{
	struct target	*t = u->t;
	struct buf	 b;
	char		 key[TARGET_KEY_MAX];
	int		 r;

	(void)pin_key(key, name);
	buf_init(&b, TARGET_COMMIT_MAX);
	pin_text(&b, u, version, reason, seconds);
	if (b.over) {
		buf_free(&b);
		return err_set(e, MSG_USAGE, "%s: reason too long", name);
	}
	if (t->ops->lock(t->impl, e) == -1) {
		buf_free(&b);
		return -1;
	}
	r = target_has(t, version, e);
	if (r == 0)
		err_set(e, MSG_NOINPUT, "%s: version %s is not there: choose "
		    "one that dpublish log shows as present", t->url,
		    version);
	if (r == 1 && target_note_set(u, key, b.p, b.len, e) == 0)
		(void)prove_kept(u, version, name, e);
	t->ops->unlock(t->impl);
	buf_free(&b);
	return e->code == 0 ? 0 : -1;
}

int
target_unhold(struct target *t, const char *name, struct err *e)
{
	char	key[TARGET_KEY_MAX], dir[TARGET_KEY_MAX];
	int	r;

	(void)pin_key(key, name);
	(void)snprintf(dir, sizeof(dir), TARGET_PINS "/%s", name);
	if (t->ops->lock(t->impl, e) == -1)
		return -1;
	r = t->ops->has(t->impl, key, e);
	if (r == 1)
		r = target_note_drop(t, dir, e);
	else if (r == 0)
		err_set(e, MSG_NOINPUT, "%s/%s: no such pin or lease", t->url,
		    dir);
	t->ops->unlock(t->impl);
	return e->code == 0 ? r : -1;
}

static void
take_pin(struct target_pin *p, const char *s, size_t n)
{
	struct json	j;
	struct json_val	v;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, n, &v, "seconds", NULL) == 1 &&
	    v.type == JSON_INT && v.i > 0)
		p->seconds = (uint64_t)v.i;
	json_clear(&j);
	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, n, &v, "reason", NULL) == 1 &&
	    v.type == JSON_STR && memchr(v.str, '\0', v.len) == NULL)
		p->reason = mem_ndup(v.str, v.len);
	json_clear(&j);
	memset(&j, 0, sizeof(j));
	if (json_find(&j, s, n, &v, "host", NULL) == 1 &&
	    v.type == JSON_STR && memchr(v.str, '\0', v.len) == NULL)
		p->host = mem_ndup(v.str, v.len);
	json_clear(&j);
}

/* One by its name: 1 *p, 0 gone or none of ours, -1.  For pin_clear. */
static int
pin_get(struct target *t, const char *name, struct target_pin *p,
    struct err *e)
{
	struct buf	b;
	char		key[TARGET_KEY_MAX];
	int		r;

	memset(p, 0, sizeof(*p));
	(void)snprintf(p->version, sizeof(p->version), "%.32s", name);
	if (!target_version_ok(p->version) ||
	    (name[strlen(p->version)] != '.' &&
	    name[strlen(p->version)] != '\0') ||
	    strlen(name) >= TARGET_PIN_MAX)
		return 0;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	(void)pin_key(key, name);
	buf_init(&b, TARGET_COMMIT_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	if (r == 1) {
		take_pin(p, buf_cstr(&b), b.len);
		/* what cannot be understood never ends */
		if (p->seconds != 0)
			r = target_note_age(t, key, &p->age, e);
		p->over = r == 1 && p->seconds != 0 &&
		    p->age > (int64_t)p->seconds;
	}
	buf_free(&b);
	return r;
}

int
target_pins(struct target *t, int (*f)(const struct target_pin *p,
    void *arg, struct err *e), void *arg, struct err *e)
{
	struct target_names	w;
	struct target_pin	p;
	size_t			i;
	int			r = 0;

	if (target_list(t, TARGET_PINS, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && r != -1; i++) {
		r = pin_get(t, w.v[i], &p, e);
		if (r == 1)
			r = f(&p, arg, e);
		free(p.reason);
		free(p.host);
	}
	target_names_clear(&w);
	return r == -1 ? -1 : 0;
}

struct held {
	const char	*version;
	int		 found;
};

static int
look_held(const struct target_pin *p, void *arg, struct err *e)
{
	struct held	*h = arg;

	(void)e;
	if (!p->over && strcmp(p->version, h->version) == 0)
		h->found = 1;
	return 0;
}

int
target_is_held(struct target *t, const char *version, struct err *e)
{
	struct held	h = { version, 0 };

	if (target_pins(t, look_held, &h, e) == -1)
		return -1;
	return h.found;
}
