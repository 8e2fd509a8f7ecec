/*
 * dpublish --in-place: plain keys below a prefix, for readers that open
 * them by name, all of them changed or none.
 *
 * PREFIX/.intact is a target (common/target.h).  A set is staged and proved
 * there as a version that holds its files and a journal: what each key is
 * to become, and what it was.  The version's commit, an exclusive create,
 * makes the journal binding; then
 *
 *	.intact/old/G/		each key that will go or change is put aside,
 *	NAME			each is made what the version holds,
 *				those to be deleted go, and
 *	.intact/done/G.json	says that it is over: "done", or "back".
 *
 * Each step is found done when it is begun again, so whoever comes next can
 * finish what another began: forward, or back once .intact/back/G.json says
 * so.  Only one moves keys at a time: its claim names the version.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "journal.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "plain.h"
#include "ticket.h"
#include "banned.h"

#define OWN		".intact"
#define FILES		"files/"	/* of a version */
#define MARK_MAX	4096		/* bytes of one in done/, back/ */

/* A prefix, and the target that its journal lies in. */
struct place {
	struct plain		*p;
	struct target		*t;		/* NULL: there is none yet */
	struct target_commit	 head;		/* generation 0: none */
};

/* What is to be done, and counts of it. */
struct change {
	struct journal	j;
	uint64_t	added, replaced, deleted, same, bytes;
};

static void
place_close(struct place *x)
{
	target_commit_clear(&x->head);
	target_close(x->t);
	plain_close(x->p);
}

/* For place_close in any case. */
static int
place_open(struct place *x, const char *url, int create,
    const struct dpub_opts *o, struct err *e)
{
	struct buf	b;

	memset(x, 0, sizeof(*x));
	x->p = plain_open(url, o->ckpt, e);
	if (x->p == NULL)
		return -1;
	buf_init(&b, 16384);
	buf_printf(&b, "%s/%s", plain_url(x->p), OWN);
	x->t = dpub_open_target(buf_cstr(&b), create, o, e);
	buf_free(&b);
	if (x->t == NULL)
		return -1;
	if (!create)
		return 0;
	/* the target has made the directory that it lies in */
	plain_close(x->p);
	x->p = plain_open(url, o->ckpt, e);
	return x->p == NULL ? -1 : 0;
}

/*
 * Marks.
 */

static void
mark_key(char out[64], const char *dir, uint64_t g)
{
	(void)snprintf(out, 64, "%s/%" PRIu64 ".json", dir, g);
}

/* How generation g has ended: 1 done, 2 back, 0 not yet, -1. */
static int
outcome(struct place *x, uint64_t g, struct err *e)
{
	struct json_val	 v;
	struct json	 j;
	struct buf	 b;
	char		 key[64];
	int		 r;

	mark_key(key, "done", g);
	json_init(&j, "", 0);
	buf_init(&b, MARK_MAX);
	r = target_object(x->t, key, &b, e);
	if (r == 1) {
		r = json_find(&j, buf_cstr(&b), b.len, &v, "outcome", NULL);
		if (r == 1 && v.type == JSON_STR && v.len == 4 &&
		    memcmp(v.str, "back", 4) == 0)
			r = 2;
		else if (r != 1 || v.type != JSON_STR || v.len != 4 ||
		    memcmp(v.str, "done", 4) != 0)
			r = err_set(e, MSG_DATAERR, "%s/%s: no mark of ours",
			    target_url(x->t), key);
	}
	json_clear(&j);
	buf_free(&b);
	return r;
}

static int
mark(struct place *x, struct target_upload *u, const char *dir,
    const char *what, struct err *e)
{
	struct buf	b;
	char		key[64];
	int		r;

	mark_key(key, dir, x->head.generation);
	buf_init(&b, MARK_MAX);
	buf_addc(&b, '{');
	json_put_kint(&b, "intact", 1);
	json_put_kint(&b, "generation", (int64_t)x->head.generation);
	json_put_kstr(&b, "version", x->head.version);
	json_put_kstr(&b, "outcome", what);
	json_put_kint(&b, "created_ns", io_wall_ns());
	buf_str(&b, "}\n");
	r = target_mark(u, key, b.p, b.len, e);
	buf_free(&b);
	return r == -1 ? -1 : 0;
}

/*
 * Keys.
 */

/* Names made of others, freed together with the keys that use them. */
struct keys {
	struct plain_key	*v;
	size_t			 n, cap;
};

static void
keys_clear(struct keys *k)
{
	size_t	i;

	for (i = 0; i < k->n; i++) {
		free((void *)(size_t)k->v[i].name);
		free((void *)(size_t)k->v[i].from);
	}
	free(k->v);
	memset(k, 0, sizeof(*k));
}

/* Copies; from may be NULL. */
static struct plain_key *
keys_add(struct keys *k, const char *name, const char *from)
{
	struct plain_key	*x;

	k->v = mem_grow(k->v, &k->cap, k->n + 1, sizeof(*k->v));
	x = &k->v[k->n++];
	memset(x, 0, sizeof(*x));
	x->name = mem_dup(name);
	x->from = from != NULL ? mem_dup(from) : NULL;
	return x;
}

static char *
old_name(const struct place *x, const char *name)
{
	size_t	 n = strlen(name) + 64;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, OWN "/old/%" PRIu64 "/%s", x->head.generation,
	    name);
	return s;
}

static char *
new_name(const struct place *x, const char *name)
{
	size_t	 n = strlen(name) + strlen(x->head.version) + 64;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, OWN "/" TARGET_VERSIONS "/%s/" FILES "%s",
	    x->head.version, name);
	return s;
}

enum state {
	IS_NEW,		/* what it becomes */
	IS_OLD,		/* what it was */
	IS_GONE,	/* neither, and nothing */
	IS_OTHER	/* neither: somebody else wrote there */
};

static enum state
state_of(const struct journal_key *k, const struct plain_key *now)
{
	if (k->remove && !now->there)
		return IS_NEW;
	if (!k->remove && now->there && now->size == k->size &&
	    strcmp(now->sha256, k->sha256) == 0)
		return IS_NEW;
	if (!now->there)
		return k->was ? IS_GONE : IS_OLD;
	if (!k->was || now->size != k->was_size)
		return IS_OTHER;
	if (k->was_sha256[0] != '\0' && now->sha256[0] != '\0')
		return strcmp(k->was_sha256, now->sha256) == 0 ? IS_OLD :
		    IS_OTHER;
	return k->was_etag != NULL &&
	    strcmp(k->was_etag, now->etag) == 0 ? IS_OLD : IS_OTHER;
}

/* The journal of the newest commit, which lies in its version. */
static int
load(struct place *x, struct journal *j, struct err *e)
{
	struct manifest	 m;
	struct hash	*h = hash_new();
	struct buf	 b;
	unsigned char	 d[HASH_LEN];
	char		 key[TARGET_KEY_MAX], hex[HASH_HEX];
	size_t		 i;
	int		 rv = -1;

	memset(j, 0, sizeof(*j));
	buf_init(&b, JOURNAL_MAX);
	if (target_manifest(x->t, x->head.version, &m, d, e) == -1)
		goto done;
	hash_hex(d, hex);
	(void)snprintf(key, sizeof(key), TARGET_VERSIONS "/%s/" JOURNAL_NAME,
	    x->head.version);
	if (strcmp(hex, x->head.manifest_sha256) == 0)
		rv = target_object(x->t, key, &b, e);
	else
		err_set(e, MSG_DATAERR, "%s: version %s: its manifest is not "
		    "the one that was committed", target_url(x->t),
		    x->head.version);
	if (rv == 1) {
		hash_add(h, b.p, b.len);
		hash_final(h, d);
		hash_hex(d, hex);
		for (i = 0; i < m.n_files; i++)
			if (strcmp(m.files[i].name, JOURNAL_NAME) == 0)
				break;
		if (i == m.n_files || strcmp(m.files[i].sha256, hex) != 0)
			rv = 0;
	}
	if (rv == 1)
		rv = journal_parse(j, buf_cstr(&b), b.len, e);
	else if (rv == 0)
		rv = err_set(e, MSG_DATAERR, "%s/%s: absent, or not what was "
		    "committed", target_url(x->t), key);
	if (rv == 0 && j->generation != x->head.generation) {
		rv = err_set(e, MSG_DATAERR, "%s/%s: of generation %" PRIu64
		    ", want %" PRIu64, target_url(x->t), key, j->generation,
		    x->head.generation);
		journal_clear(j);
	}
	manifest_clear(&m);
done:
	hash_free(h);
	buf_free(&b);
	return rv;
}

/* What lies at each key of the journal now. */
static int
look(struct place *x, const struct journal *j, struct keys *now,
    struct err *e)
{
	size_t	i;

	memset(now, 0, sizeof(*now));
	for (i = 0; i < j->n; i++)
		(void)keys_add(now, j->v[i].name, NULL);
	if (plain_look(x->p, now->v, now->n, e) == 0)
		return 0;
	keys_clear(now);
	return -1;
}

/* The three steps of one direction, sorted out. */
struct moves {
	struct keys	keep, put, gone;
};

static void
moves_clear(struct moves *m)
{
	keys_clear(&m->keep);
	keys_clear(&m->put);
	keys_clear(&m->gone);
}

static void
sort_forward(struct place *x, const struct journal_key *k,
    const struct plain_key *now, enum state s, struct moves *m)
{
	struct plain_key	*to;
	char			*name;

	if (s == IS_NEW)
		return;
	if (s == IS_OLD && k->was) {
		name = old_name(x, k->name);
		to = keys_add(&m->keep, name, k->name);
		free(name);
		to->want_size = now->size;
		to->want_sha256 = now->sha256[0] != '\0' ? now->sha256 : NULL;
		to->from_etag = now->etag[0] != '\0' ? now->etag : NULL;
	}
	if (k->remove) {
		(void)keys_add(&m->gone, k->name, NULL);
		return;
	}
	name = new_name(x, k->name);
	to = keys_add(&m->put, k->name, name);
	free(name);
	to->want_size = k->size;
	to->want_sha256 = k->sha256;
}

/* Make every key what the journal says it becomes. */
static int
forward(struct place *x, struct target_upload *u, int proved, struct err *e)
{
	struct journal	j;
	struct keys	now = { NULL, 0, 0 };
	struct moves	m;
	enum state	s;
	size_t		i;
	int		rv = -1;

	memset(&m, 0, sizeof(m));
	if (load(x, &j, e) == -1)
		return -1;
	if (look(x, &j, &now, e) == -1)
		goto done;
	for (i = 0; i < j.n; i++) {
		s = state_of(&j.v[i], &now.v[i]);
		if (s == IS_OTHER) {
			err_set(e, MSG_DATAERR, "%s/%s: neither what it was "
			    "nor what it becomes (generation %" PRIu64 "): "
			    "somebody else wrote it: move it away, or "
			    "dpublish --in-place --rollback",
			    plain_url(x->p), j.v[i].name,
			    x->head.generation);
			goto done;
		}
		sort_forward(x, &j.v[i], &now.v[i], s, &m);
	}
	if (!proved && m.put.n != 0 &&
	    target_verify(x->t, x->head.version, e) == -1)
		goto done;
	if (plain_copy(x->p, m.keep.v, m.keep.n, e) == 0 &&
	    plain_copy(x->p, m.put.v, m.put.n, e) == 0 &&
	    plain_remove(x->p, m.gone.v, m.gone.n, e) == 0)
		rv = mark(x, u, "done", "done", e);
done:
	moves_clear(&m);
	keys_clear(&now);
	journal_clear(&j);
	return rv;
}

/* Make every key what it was. */
static int
backward(struct place *x, struct target_upload *u, struct err *e)
{
	struct journal		 j;
	struct keys		 now = { NULL, 0, 0 };
	struct moves		 m;
	struct plain_key	*to;
	enum state		 s;
	char			*name;
	size_t			 i;
	int			 rv = -1;

	memset(&m, 0, sizeof(m));
	/* from here on nobody goes forward */
	if (mark(x, u, "back", "back", e) == -1 || load(x, &j, e) == -1)
		return -1;
	if (look(x, &j, &now, e) == -1)
		goto done;
	for (i = 0; i < j.n; i++) {
		s = state_of(&j.v[i], &now.v[i]);
		if (s == IS_OTHER)
			msg_warn("%s/%s: somebody else wrote it: it stays",
			    plain_url(x->p), j.v[i].name);
		if (s == IS_OTHER || s == IS_OLD || journal_same(&j.v[i]))
			continue;
		if (!j.v[i].was) {
			(void)keys_add(&m.gone, j.v[i].name, NULL);
			continue;
		}
		name = old_name(x, j.v[i].name);
		to = keys_add(&m.put, j.v[i].name, name);
		free(name);
		to->want_size = j.v[i].was_size;
		to->want_sha256 = j.v[i].was_sha256[0] != '\0' ?
		    j.v[i].was_sha256 : NULL;
	}
	if (plain_copy(x->p, m.put.v, m.put.n, e) == 0 &&
	    plain_remove(x->p, m.gone.v, m.gone.n, e) == 0)
		rv = mark(x, u, "done", "back", e);
done:
	moves_clear(&m);
	keys_clear(&now);
	journal_clear(&j);
	return rv;
}

/*
 * Afterwards.
 */

/* What was put aside, and versions that are none any more. */
static int
sweep(struct place *x, struct target_upload *u, struct err *e)
{
	struct target_names	claimed;
	char			**v = NULL;
	size_t			  i, k, n;
	int			  rv = 0;

	struct plain_key	 aside;

	/* of one who was killed in the middle of a move */
	memset(&aside, 0, sizeof(aside));
	aside.name = PLAIN_ASIDE;
	if ((!plain_is_s3(x->p) && plain_remove(x->p, &aside, 1, e) == -1) ||
	    plain_remove_tree(x->p, OWN "/old", e) == -1 ||
	    target_claimed(x->t, &claimed, e) == -1)
		return -1;
	if (target_versions(x->t, &v, &n, e) == -1) {
		target_names_clear(&claimed);
		return -1;
	}
	for (i = 0; i < n && rv == 0; i++) {
		if (strcmp(v[i], x->head.version) == 0)
			continue;
		for (k = 0; k < claimed.n; k++)
			if (strcmp(claimed.v[k], v[i]) == 0)
				break;
		if (k == claimed.n)
			rv = target_remove(u, v[i], e);
	}
	target_names_free(v);
	target_names_clear(&claimed);
	return rv;
}

/* Is there anything to sweep?  1, 0, -1. */
static int
litter(struct place *x, struct err *e)
{
	struct target_names	claimed;
	char			**v = NULL;
	size_t			  n;
	int			  r = plain_has_tree(x->p, OWN "/old", e);

	if (r != 0)
		return r;
	if (target_versions(x->t, &v, &n, e) == -1)
		return -1;
	target_names_free(v);
	if (n < 2)
		return 0;
	if (target_claimed(x->t, &claimed, e) == -1)
		return -1;
	r = n - 1 > claimed.n;
	target_names_clear(&claimed);
	return r;
}

/* All that is left to do once it is over; what fails is the next run's. */
static void
tidy(struct place *x, struct target_upload *u)
{
	struct err	e = { 0, "" };

	if (target_advance(u, &e) == -1 || sweep(x, u, &e) == -1)
		msg_warn("warning: %s", e.text);
}

static struct target_upload *
claim_head(struct place *x, struct err *e)
{
	struct target_claim	 c = { NULL, 0, NULL, NULL };
	struct target_upload	*u;
	struct err		 f = { 0, "" };
	char			 run[STAGE_RUN_MAX], who[TARGET_WHO_MAX];
	int			 r;

	c.keeps = x->head.version;
	if (stage_run_id(run, e) == -1 ||
	    (u = target_begin(x->t, NULL, run, &c, e)) == NULL)
		return NULL;
	r = target_rival(u, x->head.version, who, e);
	if (r == 0)
		return u;
	if (r == 1)
		err_set(e, MSG_TEMPFAIL, "%s: generation %" PRIu64 " is being "
		    "moved by %s: run again when it has ended; if it is "
		    "known to be dead, remove its directory in %s/"
		    TARGET_STAGING, plain_url(x->p), x->head.generation, who,
		    target_url(x->t));
	if (target_finish(u, &f) == -1)
		msg_warn("%s", f.text);
	target_upload_free(u);
	return NULL;
}

/* Under the claim: 0, or -1. */
static int
finish_head(struct place *x, struct target_upload *u, int back,
    struct err *e)
{
	struct buf	b;
	char		key[64];
	int		r;

	/* another may have done it before the claim */
	r = outcome(x, x->head.generation, e);
	if (r != 0)
		return r == -1 ? -1 : 0;
	if (!back) {
		mark_key(key, "back", x->head.generation);
		buf_init(&b, MARK_MAX);
		back = target_object(x->t, key, &b, e);
		buf_free(&b);
		if (back == -1)
			return -1;
	}
	r = back ? backward(x, u, e) : forward(x, u, 0, e);
	if (r == 0)
		msg_warn("%s: generation %" PRIu64 ", which a run that died "
		    "had begun, is %s", plain_url(x->p), x->head.generation,
		    back ? "rolled back" : "finished");
	return r;
}

/*
 * Bring what another has begun to its end: forward, or with back set back.
 * x->head is the newest commit then, and it is over.  1 something was done,
 * 0, -1.
 */
static int
recover(struct place *x, int back, struct err *e)
{
	struct target_upload	*u;
	struct err		 f = { 0, "" };
	int			 r, over, rv;

	target_commit_clear(&x->head);
	memset(&x->head, 0, sizeof(x->head));
	/* of other machines, too: their claims end after a day */
	if (target_collect(x->t, TARGET_CLAIM_LIFE, 0, NULL, NULL, e) == -1)
		return -1;
	r = target_head(x->t, &x->head, e);
	if (r != 1)
		return r;
	if (strcmp(x->head.format, DPUB_INPLACE) != 0)
		return err_set(e, MSG_DATAERR, "%s: it holds %s, no journal",
		    target_url(x->t), x->head.format);
	over = outcome(x, x->head.generation, e);
	if (over == -1)
		return -1;
	if (over != 0 && (r = litter(x, e)) != 1)
		return r;
	u = claim_head(x, e);
	if (u == NULL)
		return -1;
	rv = over != 0 ? 0 : finish_head(x, u, back, e);
	if (rv == 0)
		tidy(x, u);
	if (target_finish(u, &f) == -1)
		msg_warn("warning: %s", f.text);
	target_upload_free(u);
	return rv == -1 ? -1 : over == 0;
}

/*
 * What is to be done.
 */

static int
prove_names(const struct dpub *p, const struct place *x, struct err *e)
{
	const struct dpub_file	*f;
	const char		*s;
	size_t			 i;

	if (p->files.n == 0)
		return err_set(e, MSG_DATAERR, "stream: no file record, "
		    "nothing to publish: want dfetch --files");
	for (i = 0; i < p->files.n; i++) {
		f = &p->files.v[i];
		for (s = f->name; s != NULL; s = strchr(s, '/')) {
			s += s != f->name;
			if (*s == '.')
				return err_set(e, MSG_DATAERR, "%s: %s: a "
				    "hidden name", f->url, f->name);
		}
		if (plain_is_s3(x->p) && f->size > PLAIN_COPY_MAX)
			return err_set(e, MSG_DATAERR, "%s: size: want at "
			    "most %llu bytes, which a server copies, got "
			    "%llu", f->url,
			    (unsigned long long)PLAIN_COPY_MAX,
			    (unsigned long long)f->size);
	}
	return 0;
}

struct surplus {
	const struct dpub	*p;
	struct keys		 keys;
	uint64_t		 all;
};

static int
on_key(void *arg, const char *name, struct err *e)
{
	struct surplus	*s = arg;

	s->all++;
	if (dpub_files_find(&s->p->files, name) != NULL)
		return 0;
	if (s->keys.n >= JOURNAL_KEYS / 2)
		return err_set(e, MSG_DATAERR, "%s: more than %d keys to "
		    "delete", name, JOURNAL_KEYS / 2);
	(void)keys_add(&s->keys, name, NULL);
	return 0;
}

/* Keys that are not in the set, if they are to go and may. */
static int
find_surplus(struct dpub *p, struct place *x, struct surplus *s,
    struct err *e)
{
	const struct dpub_opts	*o = p->o;
	uint64_t		 most;

	memset(s, 0, sizeof(*s));
	s->p = p;
	if (!o->del)
		return 0;
	if (plain_list(x->p, on_key, s, e) == -1)
		return -1;
	most = o->max_percent ? s->all * o->max_delete / 100 : o->max_delete;
	if (o->has_max_delete && s->keys.n > most)
		return err_set(e, MSG_DATAERR, "%s: %zu of %" PRIu64 " keys "
		    "would be deleted, --max-delete allows %" PRIu64 ": "
		    "nothing was changed", plain_url(x->p), s->keys.n,
		    s->all, most);
	return plain_look(x->p, s->keys.v, s->keys.n, e);
}

static int
note_was(struct place *x, struct journal_key *k, const struct plain_key *now,
    struct err *e)
{
	k->was = now->there;
	k->was_size = now->size;
	memcpy(k->was_sha256, now->sha256, HASH_HEX);
	if (now->etag[0] != '\0')
		k->was_etag = mem_dup(now->etag);
	if (now->there && plain_is_s3(x->p) && now->size > PLAIN_COPY_MAX)
		return err_set(e, MSG_DATAERR, "%s/%s: size: %llu bytes "
		    "cannot be put aside: move it away yourself",
		    plain_url(x->p), k->name, (unsigned long long)now->size);
	return 0;
}

/* c->j for change_clear, in any case. */
static int
make_plan(struct dpub *p, struct place *x, struct change *c, struct err *e)
{
	struct surplus		 s;
	struct journal_key	*k;
	struct keys		 now;
	size_t			 i;
	int			 rv = -1;

	memset(c, 0, sizeof(*c));
	memset(&now, 0, sizeof(now));
	c->j.generation = x->head.generation + 1;
	c->j.prefix = mem_dup(plain_url(x->p));
	for (i = 0; i < p->files.n; i++) {
		k = journal_add(&c->j, p->files.v[i].name);
		k->size = p->files.v[i].size;
		memcpy(k->sha256, p->files.v[i].sha256, HASH_HEX);
		c->bytes += k->size;
	}
	if (find_surplus(p, x, &s, e) == -1 ||
	    look(x, &c->j, &now, e) == -1)
		goto done;
	for (i = 0; i < now.n; i++) {
		k = &c->j.v[i];
		if (note_was(x, k, &now.v[i], e) == -1)
			goto done;
		if (journal_same(k))
			c->same++;
		else if (k->was)
			c->replaced++;
		else
			c->added++;
	}
	for (i = 0; i < s.keys.n; i++) {
		if (!s.keys.v[i].there)
			continue;
		k = journal_add(&c->j, s.keys.v[i].name);
		k->remove = 1;
		c->deleted++;
		if (note_was(x, k, &s.keys.v[i], e) == -1)
			goto done;
	}
	rv = 0;
done:
	keys_clear(&now);
	keys_clear(&s.keys);
	return rv;
}

/* --dry-run: a record for each key that would change. */
static int
tell_plan(struct dpub *p, const struct change *c)
{
	const struct journal_key	*k;
	struct rec			*r;
	size_t				 i;
	int				 rv = 0;

	for (i = 0; i < c->j.n && rv == 0; i++) {
		k = &c->j.v[i];
		if (journal_same(k))
			continue;
		r = rec_new("change");
		rec_set_str(r, "name", k->name);
		rec_set_str(r, "what", k->remove ? "delete" : k->was ?
		    "replace" : "add");
		if (!k->remove) {
			rec_set_u64(r, "size", k->size);
			rec_set_str(r, "sha256", k->sha256);
		}
		rv = filter_put(&p->f, r);
		rec_free(r);
	}
	return rv;
}

/*
 * Publishing.
 */

static struct rec *
report(const struct place *x, const struct target_commit *c,
    const struct change *ch)
{
	struct rec	*r = dpub_record("published", x->t, c);

	rec_set_str(r, "target", plain_url(x->p));
	rec_set_bool(r, "in_place", 1);
	rec_set_u64(r, "inserted", ch->added);
	rec_set_u64(r, "replaced", ch->replaced);
	rec_set_u64(r, "deleted", ch->deleted);
	rec_set_u64(r, "bytes", ch->bytes);
	return r;
}

static int
leave(struct dpub *p, const struct place *x, const struct rec *pub,
    const char *claim, struct err *e)
{
	struct rec	*t = rec_map(), *prep = rec_copy(pub);
	int		 rv;

	rec_set_str(t, "kind", "in-place");
	rec_set_str(t, "claim", claim);
	rec_set_str(t, "at", target_url(x->t));
	rec_set_str(t, "lock", p->o->lock);
	rec_set_map(t, "published", pub);
	rv = ticket_leave(&p->f.stage, t, dpub_out_mode(&p->o->filter), e);
	rec_set_str(prep, "t", "prepared");
	if (rv == 0)
		rv = filter_put(&p->f, prep);
	rec_free(prep);
	rec_free(t);
	return rv;
}

/* The commit makes the journal binding; then the keys are moved. */
static int
commit(struct place *x, struct target_upload *u,
    const struct target_commit *c, int *done, struct err *e)
{
	struct target_commit	mine = *c, won;
	struct err		f = { 0, "" }, one = { 0, "" };
	int			r;

	*done = 0;
	memset(&won, 0, sizeof(won));
	if (io_signal() != 0)
		r = err_set(e, MSG_TEMPFAIL, "stopped by a signal");
	else {
		mine.created = io_wall_ns();
		r = target_commit(u, &mine, &won, e);
	}
	if (r == 1)
		err_set(e, MSG_CANTCREAT, "%s: generation %" PRIu64 " was "
		    "taken by run %s: nothing of this run is published; run "
		    "again from dfetch", plain_url(x->p), won.generation,
		    won.run);
	target_commit_clear(&won);
	if (r != 0) {
		if (target_abandon(u, &f) == -1)
			msg_warn("%s: the upload is left for the next run to "
			    "remove", f.text);
		return -1;
	}
	target_commit_clear(&x->head);
	x->head = mine;
	x->head.version = mem_dup(mine.version);
	x->head.parent = NULL;
	x->head.format = mem_dup(mine.format);
	x->head.kind = mem_dup(mine.kind);
	if (forward(x, u, 1, &one) == -1)
		err_set(e, one.code, "%.330s (generation %" PRIu64 " is begun:"
		    " the next dpublish --in-place finishes it, --rollback "
		    "takes it back)", one.text, c->generation);
	else {
		*done = 1;
		tidy(x, u);
	}
	/* who finishes it must not wait for this run */
	if (target_finish(u, &f) == -1)
		msg_warn("warning: %s", f.text);
	return *done ? 0 : -1;
}

/* The version in staging: files, journal, manifest. */
static int
build(struct dpub *p, struct place *x, const struct change *c,
    struct manifest *m, unsigned char d[HASH_LEN], int *fd, struct err *e)
{
	unsigned char	jd[HASH_LEN];
	uint64_t	size;
	char		dir[64];

	m->format = mem_dup(DPUB_INPLACE);
	if (x->head.version != NULL) {
		m->parent = mem_dup(x->head.version);
		memcpy(m->parent_digest, x->head.content_digest, HASH_HEX);
	}
	(void)snprintf(dir, sizeof(dir), "set.%ld", (long)getpid());
	if (dpub_files_build(p, dir, FILES, m, fd, e) == -1 ||
	    journal_write(&c->j, *fd, jd, &size, e) == -1)
		return -1;
	manifest_add_file(m, JOURNAL_NAME, size, jd);
	return manifest_write(m, *fd, d, e);
}

static struct target_upload *
begin(struct dpub *p, struct place *x, const unsigned char d[HASH_LEN],
    struct err *e)
{
	struct target_claim	 claim = { NULL, 0, NULL, NULL };
	struct target_upload	*u = NULL;
	char			**have, id[TARGET_VERSION_MAX];
	char			  hex[HASH_HEX];
	const char		 *last;
	size_t			  n;

	if (target_versions(x->t, &have, &n, e) == -1)
		return NULL;
	last = n > 0 ? have[n - 1] : NULL;
	if (x->head.version != NULL && (last == NULL ||
	    strcmp(x->head.version, last) > 0))
		last = x->head.version;
	if (target_version_id(id, last, e) == 0) {
		hash_hex(d, hex);
		claim.version = id;
		claim.generation = x->head.generation + 1;
		claim.manifest = hex;
		u = target_begin(x->t, &p->f.stage, p->f.stage.run, &claim,
		    e);
	}
	target_names_free(have);
	return u;
}

/* Stage and prove all; then the commit, or a ticket for it. */
static int
upload(struct dpub *p, struct place *x, const struct change *ch,
    struct err *e)
{
	struct target_upload	*u = NULL;
	struct target_commit	 c;
	struct manifest		 m;
	struct rec		*r = NULL;
	struct err		 f = { 0, "" };
	unsigned char		 d[HASH_LEN];
	int			 fd = -1, done = 0, rv = -1;

	memset(&m, 0, sizeof(m));
	memset(&c, 0, sizeof(c));
	if (build(p, x, ch, &m, d, &fd, e) == -1 ||
	    (u = begin(p, x, d, e)) == NULL)
		goto done;
	dpub_fill_commit(&c, &x->head, &m, d, target_upload_version(u),
	    p->f.stage.run);
	if (target_put(u, fd, &m, d, 1, e) == -1)
		goto fail;
	if (stream_reader_gone(p->f.out)) {
		err_set(e, MSG_PROTOCOL, "%s", "");
		goto fail;
	}
	r = report(x, &c, ch);
	if (ticket_wanted()) {
		if (leave(p, x, r, target_upload_name(u), e) == -1)
			goto fail;
		rv = 0;
		goto done;
	}
	rv = commit(x, u, &c, &done, e);
	if (done) {
		p->done = 1;
		dpub_note(p->o->ckpt, x->t, &c, 0, "");
		if (filter_put(&p->f, r) == -1)
			msg_warn("%s: generation %" PRIu64 " is published all "
			    "the same", plain_url(x->p), c.generation);
	}
	goto done;
fail:
	if (target_abandon(u, &f) == -1)
		msg_warn("%s", f.text);
done:
	rec_free(r);
	target_upload_free(u);
	target_commit_clear(&c);
	manifest_clear(&m);
	if (fd != -1)
		(void)close(fd);
	return rv;
}

/* Every key is as it shall be: nothing is written. */
static int
unchanged(struct dpub *p, struct place *x, const struct change *ch,
    struct err *e)
{
	struct target_commit	 none;
	struct rec		*r;
	int			 rv;

	memset(&none, 0, sizeof(none));
	r = report(x, x->head.generation != 0 ? &x->head : &none, ch);
	rec_set_u64(r, "records", p->files.n);
	rec_set_bool(r, "unchanged", 1);
	if (ticket_wanted())
		rv = leave(p, x, r, "", e);
	else {
		if (x->head.generation != 0)
			dpub_note_same(p->o->ckpt, x->t, &x->head,
			    p->f.stage.run);
		rv = filter_put(&p->f, r);
	}
	rec_free(r);
	return rv;
}

/*
 * Was the set fetched for what is current here?  Where nothing of it was
 * read, it must be what the newest version holds.
 */
static int
fence(struct dpub *p, struct place *x, struct err *e)
{
	char		hex[HASH_HEX];
	uint64_t	bytes;

	if (p->parent == NULL)
		return 0;
	/* a dry run, and nothing there: the set was fetched for that, or
	   will be new all the same */
	if (x->t == NULL)
		return 0;
	if (dpub_files_fence(p, x->t, plain_url(x->p), &x->head, e) == -1)
		return -1;
	if (p->files.held == 0)
		return 0;
	dpub_files_digest(&p->files, hex, &bytes);
	if (x->head.generation != 0 &&
	    strcmp(hex, x->head.content_digest) == 0)
		return 0;
	return err_set(e, MSG_PROTOCOL, "stream: a set that was skipped, and "
	    "is not generation %" PRIu64 " of %s", x->head.generation,
	    plain_url(x->p));
}

/* A set of which nothing was read, from the version that holds it. */
static int
bring_held(struct dpub *p, struct place *x, struct err *e)
{
	struct buf	b;
	char		dir[64];
	size_t		i;

	(void)snprintf(dir, sizeof(dir), "held.%ld", (long)getpid());
	if (target_fetch(x->t, x->head.version, p->f.stage.dirfd, dir,
	    e) == -1)
		return -1;
	buf_init(&b, 2 * PATH_REL_MAX);
	for (i = 0; i < p->files.n; i++) {
		buf_reset(&b);
		buf_printf(&b, "%s/" FILES "%s", dir, p->files.v[i].name);
		p->files.v[i].path = mem_dup(buf_cstr(&b));
	}
	buf_free(&b);
	p->files.held = 0;
	return 0;
}

static void
publish(struct dpub *p, struct place *x)
{
	struct change	c;
	struct err	e = { 0, "" };

	memset(&c, 0, sizeof(c));
	/* the stream took its time: somebody may have begun another */
	if (dpub_files_judge(p, &e) == -1 || prove_names(p, x, &e) == -1 ||
	    (!p->o->dry_run && recover(x, 0, &e) == -1) ||
	    fence(p, x, &e) == -1 || make_plan(p, x, &c, &e) == -1)
		;
	else if (p->o->dry_run)
		(void)tell_plan(p, &c);
	else if (c.added + c.replaced + c.deleted == 0)
		(void)unchanged(p, x, &c, &e);
	else if (p->files.held == 0 || bring_held(p, x, &e) == 0)
		(void)upload(p, x, &c, &e);
	dpub_publish_end(p, x->t, &e);
	journal_clear(&c.j);
}

/* --dry-run: nothing is made, nor finished. */
static int
open_dry(struct place *x, const char *prefix, const struct dpub_opts *o,
    struct err *e)
{
	int	r;

	if (place_open(x, prefix, 0, o, e) == -1) {
		/* no journal yet, and perhaps no directory */
		if (x->p == NULL || e->code != MSG_NOINPUT)
			return -1;
		memset(e, 0, sizeof(*e));
		return 0;
	}
	r = target_head(x->t, &x->head, e);
	if (r == 1)
		r = outcome(x, x->head.generation, e);
	if (r == 0 && x->head.generation != 0)
		msg_warn("%s: generation %" PRIu64 " is not finished: that "
		    "would be done first", plain_url(x->p),
		    x->head.generation);
	return r == -1 ? -1 : 0;
}

int
dpub_inplace(const char *prefix, const struct dpub_opts *o)
{
	struct dpub		 p;
	struct filter_opts	 fo = o->filter;
	struct place		 x;
	struct err		 e = { 0, "" };

	memset(&p, 0, sizeof(p));
	memset(&x, 0, sizeof(x));
	p.o = o;
	p.target = prefix;
	fo.quiet = ticket_wanted() && getenv("DRUN_LAST") != NULL &&
	    !o->dry_run;
	dpub_note_begin(o->dry_run ? NULL : o->ckpt);
	if (filter_open(&p.f, &fo) == 0) {
		if ((o->dry_run ? open_dry(&x, prefix, o, &e) :
		    place_open(&x, prefix, 1, o, &e) == -1 ? -1 :
		    recover(&x, 0, &e)) == -1)
			filter_fail_err(&p.f, &e);
		else if (dpub_read(&p) == 0)
			publish(&p, &x);
	}
	/* the stream ends after all else has */
	place_close(&x);
	return dpub_finish(&p);
}

/*
 * --rollback, and tickets.
 */

static int
tell_rollback(const struct place *x, int did, const struct dpub_opts *o)
{
	struct rec	*r;
	struct buf	 b;
	int		 bad;

	buf_init(&b, REC_MAX);
	if (o->filter.json) {
		r = rec_new("rolled-back");
		rec_set_str(r, "target", plain_url(x->p));
		rec_set_u64(r, "generation", x->head.generation);
		rec_set_bool(r, "unchanged", !did);
		rec_to_json(r, &b);
		rec_free(r);
	} else
		buf_printf(&b, did ? "%s: generation %" PRIu64 " is rolled "
		    "back" : "%s: nothing to roll back: generation %" PRIu64
		    " is over", plain_url(x->p), x->head.generation);
	buf_addc(&b, '\n');
	bad = io_write(STDOUT_FILENO, b.p, b.len) == -1;
	if (bad)
		msg_warn("stdout: %s", strerror(errno));
	buf_free(&b);
	return bad ? MSG_IOERR : 0;
}

int
dpub_inplace_rollback(const char *prefix, const struct dpub_opts *o)
{
	struct place	x;
	struct err	e = { 0, "" };
	int		r = -1, status;

	if (place_open(&x, prefix, 0, o, &e) == 0)
		r = recover(&x, 1, &e);
	if (r == -1) {
		msg_err(&e);
		status = e.code;
	} else
		status = tell_rollback(&x, r, o);
	place_close(&x);
	return status;
}

int
dpub_inplace_commit(const struct rec *ticket, const struct stage *s,
    const struct dpub_opts *o, struct rec **pub, int *done, struct err *e)
{
	struct dpub_opts	 with = *o;
	struct target_upload	*u;
	struct target_commit	 c;
	struct place		 x;
	const char		*claim, *url;
	int			 same = 0, rv = -1;

	*pub = rec_get_map(ticket, "published");
	if (*pub == NULL || !rec_get_str(ticket, "claim", &claim) ||
	    !rec_get_str(*pub, "target", &url))
		return err_set(e, MSG_SOFTWARE, "ticket: not one of ours");
	(void)rec_get_str(ticket, "lock", &with.lock);
	(void)rec_get_bool(*pub, "unchanged", &same);
	if (same)
		return 0;
	if (dpub_commit_of(*pub, &c, e) == -1)
		return -1;
	memset(&x, 0, sizeof(x));
	if (place_open(&x, url, 0, &with, e) == 0 &&
	    (u = target_resume(x.t, claim, e)) != NULL) {
		rv = commit(&x, u, &c, done, e);
		target_upload_free(u);
		dpub_note(o->ckpt, x.t, &c, *done ? 0 : e->code, e->text);
	}
	(void)s;
	place_close(&x);
	target_commit_clear(&c);
	return rv;
}
