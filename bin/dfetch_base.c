/*
 * dfetch_base: the current snapshot of a target, into staging; of a file
 * set only what it is, as nothing is merged onto that.  What it holds is
 * read from its manifest, never from its records.
 * SPDX-License-Identifier: ISC
 */
#include "dfetch_run.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "path.h"
#include "rec_kind.h"
#include "spare.h"
#include "target.h"
#include "banned.h"

/*
 * Of a file set: what is current at url, which the set may replace; c NULL:
 * nothing is.
 */
static int
put_parent(struct fetch *x, const char *url, const struct target_commit *c)
{
	struct rec_parent	 p;
	struct rec		*r = rec_new("parent");
	int			 rv;

	memset(&p, 0, sizeof(p));
	p.target = url;
	p.none = c == NULL;
	if (c != NULL) {
		p.version = c->version;
		p.generation = c->generation;
		p.sha256 = c->manifest_sha256;
	}
	rec_parent_put(r, &p);
	rv = filter_put(&x->f, r);
	rec_free(r);
	return rv;
}

static int
no_base(struct fetch *x, const char *url)
{
	struct rec_base	 b;
	struct rec	*r;
	int		 rv = 0;

	memset(&b, 0, sizeof(b));
	b.target = url;
	b.none = 1;
	msg_info("%s: holds no snapshot: there is no base", url);
	if (x->o.files)
		return put_parent(x, url, NULL);
	if (!x->o.list) {
		r = rec_new("base");
		rec_base_put(r, &b);
		rv = filter_put(&x->f, r);
		rec_free(r);
	}
	return rv;
}

/* What is current: its manifest, as it was committed; d: its digest. */
static int
know_base(struct fetch *x, struct target *t, const struct target_commit *c,
    unsigned char d[HASH_LEN], struct err *e)
{
	char	hex[HASH_HEX];

	if (target_manifest(t, c->version, &x->base, d, e) == -1)
		return -1;
	hash_hex(d, hex);
	if (strcmp(hex, c->manifest_sha256) != 0)
		return err_set(e, MSG_DATAERR, "%s: version %s: manifest: "
		    "want sha256 %s (commit %llu), got %s", target_url(t),
		    c->version, c->manifest_sha256,
		    (unsigned long long)c->generation, hex);
	fetch_index(&x->base, &x->work.by_url);
	return 0;
}

/*
 * May the files of a base elsewhere stay there: is nothing new, does nobody
 * behind us want them, and are they those that were committed?  If not, the
 * inputs are looked at again when it has come, as that may take its time.
 */
static int
may_stay(struct fetch *x, struct target *t, const struct target_commit *c)
{
	if (!target_is_remote(t) || x->o.filter.stage != NULL ||
	    !spare_told())
		return 0;
	if (fetch_nothing_new(x) &&
	    spare_base(x->f.stage.dirfd, x->base.format) &&
	    target_as_committed(t, c, &x->base)) {
		msg_info("%s: version %s: nothing is new: it stays there",
		    target_url(t), c->version);
		return 1;
	}
	memset(x->done, 0, x->plan.n * sizeof(*x->done));
	return 0;
}

/* The version into staging, or its manifest alone; and the record. */
static int
bring_base(struct fetch *x, struct target *t, const struct target_commit *c,
    struct err *e)
{
	unsigned char	 d[HASH_LEN];
	struct rec_base	 b;
	struct rec	*r;
	int		 rv;

	if (know_base(x, t, c, d, e) == -1)
		return -1;
	x->work.base = &x->base;
	memset(&b, 0, sizeof(b));
	b.left = may_stay(x, t, c);
	if (target_bring(t, c->version, b.left ? NULL : &x->base, d,
	    x->f.stage.dirfd, FETCH_BASE, e) == -1)
		return -1;
	x->unchanged = fetch_nothing_new(x);
	/* elsewhere every byte was digested as it came */
	b.unchanged = x->unchanged && (target_is_remote(t) ||
	    target_as_committed(t, c, &x->base));
	b.target = target_url(t);
	b.version = c->version;
	b.generation = c->generation;
	b.path = FETCH_BASE;
	b.sha256 = c->manifest_sha256;
	b.format = x->base.format;
	b.records = x->base.records;
	b.content_digest = x->base.content_digest;
	r = rec_new("base");
	rec_base_put(r, &b);
	rv = filter_put(&x->f, r);
	rec_free(r);
	return rv;
}

/*
 * The journal of plain keys below a prefix that is no target itself: *t and
 * *c are its.  1, 0 there is none, -1.
 */
static int
in_place(struct target **t, const struct target_opts *o,
    struct target_commit *c, struct err *e)
{
	struct target	*own;
	struct err	 f = { 0, "" };
	struct buf	 b;
	int		 r;

	buf_init(&b, 16384);
	buf_printf(&b, "%s/.intact", target_url(*t));
	own = target_open(buf_cstr(&b), o, &f);
	buf_free(&b);
	if (own == NULL) {
		if (f.code == MSG_NOINPUT)
			return 0;
		*e = f;
		return -1;
	}
	r = target_head(own, c, e);
	if (r != 1) {
		target_close(own);
		return r;
	}
	target_close(*t);
	*t = own;
	return 1;
}

/* A file set's parent: its manifest, as it was committed, and a record. */
static int
know_parent(struct fetch *x, struct target *t,
    const struct target_commit *c, struct err *e)
{
	unsigned char	d[HASH_LEN];

	if (strcmp(c->format, "files") != 0 &&
	    strcmp(c->format, "in-place") != 0)
		return err_set(e, MSG_USAGE, "%s: it holds stores (%s): a "
		    "target holds stores or file sets, never both",
		    target_url(t), c->format);
	if (know_base(x, t, c, d, e) == -1)
		return -1;
	return put_parent(x, target_url(t), c);
}

/* A target that is not there at all, which -B takes for none. */
static int
absent(const char *url, char **canon, struct err *e)
{
	struct stat	 st;
	char		*path = path_from_url(url, e);
	int		 rv = 0;

	*canon = NULL;
	if (path == NULL)
		return -1;
	if (lstat(path, &st) == -1 && errno == ENOENT) {
		*canon = path_to_url(path);
		rv = 1;
	}
	free(path);
	return rv;
}

/* Inputs may lie below the target, but what the target is made of is none. */
static int
not_its_own(struct fetch *x, const char *target, struct err *e)
{
	static const char *const	own[] = { TARGET_COMMITS,
		TARGET_POINTER, TARGET_VERSIONS, TARGET_STAGING };
	size_t				i, k, n = strlen(target), len;
	const char			*s;

	for (i = 0; i < x->plan.n; i++) {
		s = x->plan.v[i].url;
		if (strncmp(s, target, n) != 0 || s[n] != '/')
			continue;
		s += n + 1;
		for (k = 0; k < sizeof(own) / sizeof(own[0]); k++) {
			len = strlen(own[k]);
			/* the directory itself: an input may be a version */
			if (strncmp(s, own[k], len) == 0 &&
			    (s[len] == '\0' || strcmp(s + len, "/") == 0))
				return err_set(e, MSG_USAGE, "%s: it is "
				    "part of the target %s: name a place of "
				    "their own for the inputs",
				    x->plan.v[i].url, target);
		}
	}
	return 0;
}

int
fetch_base(struct fetch *x)
{
	struct target_opts	 o;
	struct target_commit	 c;
	struct target		*t = NULL;
	struct err		 e = { 0, "" };
	char			*canon = NULL;
	int			 r, rv = -1;

	memset(&c, 0, sizeof(c));
	memset(&o, 0, sizeof(o));
	o.ckpt = x->o.ckpt;
	o.parallel = x->o.parallel;
	if (x->o.base_if_any && path_is_local(x->o.base)) {
		r = absent(x->o.base, &canon, &e);
		if (r != 0) {
			rv = r == 1 ? no_base(x, canon) : -1;
			goto done;
		}
	}
	t = target_open(x->o.base, &o, &e);
	r = t != NULL && not_its_own(x, target_url(t), &e) == 0 ?
	    target_head(t, &c, &e) : -1;
	if (r == 0 && x->o.files)
		r = in_place(&t, &o, &c, &e);
	if (r == -1)
		goto done;
	if (r == 0) {
		rv = x->o.base_if_any ? no_base(x, target_url(t)) :
		    err_set(&e, MSG_NOINPUT, "%s: holds no snapshot: want "
		    "one (-B takes none for an answer)", target_url(t));
		goto done;
	}
	if (x->o.files) {
		rv = know_parent(x, t, &c, &e);
		goto done;
	}
	if (strcmp(c.format, "sqlite") != 0 &&
	    strcmp(c.format, "chroma") != 0) {
		/* a name that nobody gives is damage, or of a later version */
		err_set(&e, strcmp(c.format, "files") == 0 ||
		    strcmp(c.format, "in-place") == 0 ? MSG_USAGE :
		    MSG_DATAERR, "%s: it holds %.32s, no stores: there is "
		    "nothing to merge onto", target_url(t), c.format);
		goto done;
	}
	if (!x->o.list) {
		rv = bring_base(x, t, &c, &e);
		goto done;
	}
	rv = target_manifest(t, c.version, &x->base, NULL, &e);
	if (rv == 0) {
		fetch_index(&x->base, &x->work.by_url);
		x->work.base = &x->base;
	}
done:
	if (e.code != 0)
		fetch_fail(x, &e);
	target_commit_clear(&c);
	target_close(t);
	free(canon);
	return rv;
}

