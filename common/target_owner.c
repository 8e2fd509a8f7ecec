/*
 * target_owner: the owner of a claim, as staging/<run>/owner has it.
 * SPDX-License-Identifier: ISC
 */
#include "target_owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "retry.h"
#include "banned.h"

#define OWNER_TRIES	8	/* of a write, until it is known */

void
owner_clear(struct owner *o)
{
	free(o->host);
	free(o->staging);
	memset(o, 0, sizeof(*o));
}

static void
owner_member(const struct json_val *v, struct owner *o)
{
	if (json_is(v, "host"))
		target_json_str(&o->host, v);
	else if (json_is(v, "staging"))
		target_json_str(&o->staging, v);
	else if (json_is(v, "place"))
		target_json_fixed(o->place, sizeof(o->place), v);
	else if (json_is(v, "run"))
		target_json_fixed(o->run, sizeof(o->run), v);
	else if (json_is(v, "after"))
		target_json_fixed(o->after, sizeof(o->after), v);
	else if (json_is(v, "version"))
		target_json_fixed(o->version, sizeof(o->version), v);
	else if (json_is(v, "keeps"))
		target_json_fixed(o->keeps, sizeof(o->keeps), v);
	else if (json_is(v, "removes"))
		target_json_fixed(o->removes, sizeof(o->removes), v);
	else if (json_is(v, "manifest"))
		target_json_fixed(o->manifest, sizeof(o->manifest), v);
	else if (v->type != JSON_INT || v->i < 0)
		return;
	else if (json_is(v, "generation"))
		o->generation = (uint64_t)v->i;
	else if (json_is(v, "created_ns"))
		o->created = v->i;
	else if (json_is(v, "pid"))
		o->pid = v->i;
}

int
owner_get(struct target *t, const char *claim, struct owner *o,
    struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	struct buf	 b;
	struct err	 f = { 0, "" };
	char		 key[TARGET_KEY_MAX];
	int		 r, more = -1;

	memset(o, 0, sizeof(*o));
	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/" TARGET_OWNER,
	    claim);
	buf_init(&b, TARGET_COMMIT_MAX);
	r = t->ops->get(t->impl, key, &b, e);
	/* one that is there, and too large to be one of ours */
	if (r == -1 && e->code == MSG_DATAERR &&
	    t->ops->has(t->impl, key, &f) == 1) {
		e->code = 0;
		r = 0;
	}
	if (r != 1) {
		buf_free(&b);
		return r;
	}
	json_init(&j, buf_cstr(&b), b.len);
	if (json_next(&j, &v) == JSON_OBJ) {
		while ((more = json_more(&j, &v)) == 1)
			if (v.type == JSON_ARR || v.type == JSON_OBJ)
				(void)json_skip(&j); /* bad stays bad */
			else
				owner_member(&v, o);
	}
	if (more != 0) {
		owner_clear(o);
		r = 0;
	}
	json_clear(&j);
	buf_free(&b);
	return r;
}

int
owner_each(struct target *t, owner_fn *f, void *arg, struct err *e)
{
	struct target_names	w;
	struct owner		o;
	size_t			i;
	int			r = 0;

	if (target_list(t, TARGET_STAGING, &w, e) == -1)
		return -1;
	for (i = 0; i < w.n && r != -1; i++) {
		if (owner_get(t, w.v[i], &o, e) == -1)
			r = -1;
		else {
			r = f(t, w.v[i], &o, arg, e);
			owner_clear(&o);
		}
	}
	target_names_clear(&w);
	return r;
}

void
owner_host(char out[OWNER_HOST_MAX])
{
	memset(out, 0, OWNER_HOST_MAX);
	if (gethostname(out, OWNER_HOST_MAX - 1) == -1)
		out[0] = '\0';
}

void
owner_text(struct buf *b, const struct target_upload *u,
    const char *manifest, const char *keeps, const char *removes)
{
	char	host[OWNER_HOST_MAX], place[STAGE_PLACE_MAX];

	owner_host(host);
	stage_place(place);
	buf_addc(b, '{');
	json_put_kstr(b, "host", host);
	json_put_kstr(b, "place", place);
	json_put_kstr(b, "run", u->run);
	if (u->staging != NULL)
		json_put_kstr(b, "staging", u->staging);
	if (u->version[0] != '\0') {
		json_put_kstr(b, "version", u->version);
		json_put_kint(b, "generation", (int64_t)u->generation);
	}
	if (u->after[0] != '\0')
		json_put_kstr(b, "after", u->after);
	if (manifest != NULL)
		json_put_kstr(b, "manifest", manifest);
	if (keeps != NULL)
		json_put_kstr(b, "keeps", keeps);
	if (removes != NULL)
		json_put_kstr(b, "removes", removes);
	json_put_kint(b, "pid", (int64_t)getpid());
	json_put_kint(b, "created_ns", io_wall_ns());
	buf_str(b, "}\n");
}

static int
owner_changed(const struct target *t, const char *key, struct err *e)
{
	return err_set(e, MSG_TEMPFAIL, "%s/%s: somebody else wrote to it: "
	    "run again", t->url, key);
}

/* An owner that was to become b: 1 it is, 0 it is still that of run, -1. */
static int
owner_look(struct target *t, const char *claim, const char *key,
    const char *run, const struct buf *b, struct err *e)
{
	struct owner	o;
	struct buf	is;
	int		r, same;

	buf_init(&is, TARGET_COMMIT_MAX);
	r = t->ops->get(t->impl, key, &is, e);
	same = r == 1 && is.len == b->len && memcmp(is.p, b->p, b->len) == 0;
	buf_free(&is);
	if (r == -1 || same)
		return r;
	/* what this sees is the condition of the next try */
	r = owner_get(t, claim, &o, e);
	if (r != -1)
		r = r == 1 && strcmp(o.run, run) == 0 ? 0 :
		    owner_changed(t, key, e);
	owner_clear(&o);
	return r;
}

int
owner_set(struct target *t, const char *name, const char *run,
    const struct buf *b, struct err *e)
{
	struct err	f;
	char		claim[TARGET_KEY_MAX], key[TARGET_KEY_MAX];
	int		r, tries, unsure;

	(void)snprintf(claim, sizeof(claim), TARGET_STAGING "/%s", name);
	(void)snprintf(key, sizeof(key), TARGET_STAGING "/%s/" TARGET_OWNER,
	    name);
	for (tries = 1;; tries++) {
		memset(&f, 0, sizeof(f));
		unsure = 0;
		r = t->ops->replace(t->impl, claim, key, b->p, b->len,
		    &unsure, &f);
		if (r == 0)
			return 0;
		if (r == 1 && tries == 1)
			return owner_changed(t, key, e);
		if ((r == -1 && !unsure) || tries == OWNER_TRIES)
			break;
		if (retry_sleep(retry_delay((unsigned int)tries, -1, 0.5),
		    e) == -1)
			return -1;
		r = owner_look(t, name, key, run, b, e);
		if (r != 0)
			return r == 1 ? 0 : -1;
	}
	return r == 1 ? owner_changed(t, key, e) :
	    err_set(e, f.code, "%s", f.text);
}
