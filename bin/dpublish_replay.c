/*
 * dpublish, a journal carried out: forward, or back; whoever began it.  It
 * reads no stream, makes no version and commits none.
 * SPDX-License-Identifier: ISC
 */
#include "dpublish_replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

#define OWN		".intact"
#define MARK_MAX	4096		/* bytes of one in done/, back/ */

void
replay_close(struct replay *x)
{
	target_commit_clear(&x->head);
	target_close(x->t);
	plain_close(x->p);
}

int
replay_open(struct replay *x, const char *url, int create,
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

int
replay_outcome(struct replay *x, uint64_t g, struct err *e)
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
mark(struct replay *x, struct target_upload *u, const char *dir,
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

void
replay_keys_clear(struct replay_keys *k)
{
	size_t	i;

	for (i = 0; i < k->n; i++) {
		free((void *)(size_t)k->v[i].name);
		free((void *)(size_t)k->v[i].from);
	}
	free(k->v);
	memset(k, 0, sizeof(*k));
}

struct plain_key *
replay_keys_add(struct replay_keys *k, const char *name, const char *from)
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
old_name(const struct replay *x, const char *name)
{
	size_t	 n = strlen(name) + 64;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, OWN "/old/%" PRIu64 "/%s", x->head.generation,
	    name);
	return s;
}

static char *
new_name(const struct replay *x, const char *name)
{
	size_t	 n = strlen(name) + strlen(x->head.version) + 64;
	char	*s = mem_alloc(n);

	(void)snprintf(s, n, OWN "/" TARGET_VERSIONS "/%s/" REPLAY_FILES "%s",
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
load(struct replay *x, struct journal *j, struct err *e)
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

int
replay_look(struct replay *x, const struct journal *j, struct replay_keys *now,
    struct err *e)
{
	size_t	i;

	memset(now, 0, sizeof(*now));
	for (i = 0; i < j->n; i++)
		(void)replay_keys_add(now, j->v[i].name, NULL);
	if (plain_look(x->p, now->v, now->n, e) == 0)
		return 0;
	replay_keys_clear(now);
	return -1;
}

/* The three steps of one direction, sorted out. */
struct moves {
	struct replay_keys	keep, put, gone;
};

static void
moves_clear(struct moves *m)
{
	replay_keys_clear(&m->keep);
	replay_keys_clear(&m->put);
	replay_keys_clear(&m->gone);
}

/* name is to be made of from, which is freed; sha256 may be empty. */
static void
put(struct moves *m, const char *name, char *from, uint64_t size,
    const char *sha256)
{
	struct plain_key	*to = replay_keys_add(&m->put, name, from);

	free(from);
	to->want_size = size;
	to->want_sha256 = *sha256 != '\0' ? sha256 : NULL;
}

/* What of one key is to be moved; key and now outlive m. */
typedef int	sort_fn(struct replay *, const struct journal_key *,
		    const struct plain_key *, struct moves *, struct err *);

static int
sort_forward(struct replay *x, const struct journal_key *k,
    const struct plain_key *now, struct moves *m, struct err *e)
{
	struct plain_key	*to;
	enum state		 s = state_of(k, now);
	char			*name;

	if (s == IS_OTHER)
		return err_set(e, MSG_DATAERR, "%s/%s: neither what it was "
		    "nor what it becomes (generation %" PRIu64 "): somebody "
		    "else wrote it: move it away, or dpublish --in-place "
		    "--rollback", plain_url(x->p), k->name,
		    x->head.generation);
	if (s == IS_NEW)
		return 0;
	if (s == IS_OLD && k->was) {
		name = old_name(x, k->name);
		to = replay_keys_add(&m->keep, name, k->name);
		free(name);
		to->want_size = now->size;
		to->want_sha256 = now->sha256[0] != '\0' ? now->sha256 : NULL;
		to->from_etag = now->etag[0] != '\0' ? now->etag : NULL;
	}
	if (k->remove)
		(void)replay_keys_add(&m->gone, k->name, NULL);
	else
		put(m, k->name, new_name(x, k->name), k->size, k->sha256);
	return 0;
}

static int
sort_back(struct replay *x, const struct journal_key *k,
    const struct plain_key *now, struct moves *m, struct err *e)
{
	enum state	s = state_of(k, now);

	(void)e;
	if (s == IS_OTHER)
		msg_warn("%s/%s: somebody else wrote it: it stays",
		    plain_url(x->p), k->name);
	if (s == IS_OTHER || s == IS_OLD || journal_same(k))
		return 0;
	if (k->was)
		put(m, k->name, old_name(x, k->name), k->was_size,
		    k->was_sha256);
	else
		(void)replay_keys_add(&m->gone, k->name, NULL);
	return 0;
}

/* One direction, to its end; proved: what is put need not be read before. */
static int
carry_out(struct replay *x, struct target_upload *u, sort_fn *sort,
    int proved, const char *outcome, struct err *e)
{
	struct journal		 j;
	struct replay_keys	 now = { NULL, 0, 0 };
	struct moves		 m;
	size_t			 i;
	int			 rv = -1;

	memset(&m, 0, sizeof(m));
	if (load(x, &j, e) == -1)
		return -1;
	if (replay_look(x, &j, &now, e) == -1)
		goto done;
	for (i = 0; i < j.n; i++)
		if (sort(x, &j.v[i], &now.v[i], &m, e) == -1)
			goto done;
	if (!proved && m.put.n != 0 &&
	    target_verify(x->t, x->head.version, e) == -1)
		goto done;
	if (plain_copy(x->p, m.keep.v, m.keep.n, e) == 0 &&
	    plain_copy(x->p, m.put.v, m.put.n, e) == 0 &&
	    plain_remove(x->p, m.gone.v, m.gone.n, e) == 0)
		rv = mark(x, u, "done", outcome, e);
done:
	moves_clear(&m);
	replay_keys_clear(&now);
	journal_clear(&j);
	return rv;
}

int
replay_forward(struct replay *x, struct target_upload *u, int proved,
    struct err *e)
{
	return carry_out(x, u, sort_forward, proved, "done", e);
}

/* Make every key what it was. */
static int
backward(struct replay *x, struct target_upload *u, struct err *e)
{
	/* from here on nobody goes forward */
	if (mark(x, u, "back", "back", e) == -1)
		return -1;
	return carry_out(x, u, sort_back, 1, "back", e);
}

/*
 * Afterwards.
 */

/* What was put aside, and versions that are none any more. */
static int
sweep(struct replay *x, struct target_upload *u, struct err *e)
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
litter(struct replay *x, struct err *e)
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

void
replay_tidy(struct replay *x, struct target_upload *u)
{
	struct err	e = { 0, "" };

	if (target_advance(u, &e) == -1 || sweep(x, u, &e) == -1)
		msg_warn("warning: %s", e.text);
}

static struct target_upload *
claim_head(struct replay *x, struct err *e)
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
finish_head(struct replay *x, struct target_upload *u, int back,
    struct err *e)
{
	struct buf	b;
	char		key[64];
	int		r;

	/* another may have done it before the claim */
	r = replay_outcome(x, x->head.generation, e);
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
	r = back ? backward(x, u, e) : replay_forward(x, u, 0, e);
	if (r == 0)
		msg_warn("%s: generation %" PRIu64 ", which a run that died "
		    "had begun, is %s", plain_url(x->p), x->head.generation,
		    back ? "rolled back" : "finished");
	return r;
}

int
replay_recover(struct replay *x, int back, struct err *e)
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
	over = replay_outcome(x, x->head.generation, e);
	if (over == -1)
		return -1;
	if (over != 0 && (r = litter(x, e)) != 1)
		return r;
	u = claim_head(x, e);
	if (u == NULL)
		return -1;
	rv = over != 0 ? 0 : finish_head(x, u, back, e);
	if (rv == 0)
		replay_tidy(x, u);
	if (target_finish(u, &f) == -1)
		msg_warn("warning: %s", f.text);
	target_upload_free(u);
	return rv == -1 ? -1 : over == 0;
}
