/*
 * chroma_ours: a directory that dmerge wrote, its ledger held against what
 * ChromaDB's own files say.  It reads no document and no vector.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "hash.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define SHOWN 100	/* bytes of an id in a message */

static int
bad_ledger(const struct chroma_ours *o, const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: %s", o->l.path, why);
}

/* A collection as both declare it. */
static int
same_coll(const struct chroma_ours *o, const struct chroma_coll *cc,
    const struct item_coll *lc, struct err *e)
{
	if (cc->dim != lc->dim)
		return err_set(e, MSG_DATAERR, "%s: collection %.100s: "
		    "dimension: want %u as in %s, got %u", o->l.path,
		    cc->name, cc->dim, CHROMA_FILE, lc->dim);
	if (lc->space_known && cc->space != lc->space)
		return err_set(e, MSG_DATAERR, "%s: collection %.100s: "
		    "space: want %s as in %s, got %s", o->l.path, cc->name,
		    item_space_name(cc->space), CHROMA_FILE,
		    item_space_name(lc->space));
	return 0;
}

/* Each collection of the one is a collection of the other. */
static int
match_colls(struct chroma_ours *o, struct err *e)
{
	const struct chroma	*c = o->c;
	size_t			 i, k;

	/* names are unique in both: as many, and each found, is the same */
	if (o->l.n_colls != c->n)
		return err_set(e, MSG_DATAERR, "%s: %zu collections, but %s "
		    "has %zu", o->l.path, o->l.n_colls, CHROMA_FILE, c->n);
	o->coll = mem_zero(c->n, sizeof(*o->coll));
	for (i = 0; i < c->n; i++) {
		for (k = 0; k < o->l.n_colls; k++)
			if (strcmp(o->l.colls[k].name, c->colls[i].name) == 0)
				break;
		if (k == o->l.n_colls)
			return err_set(e, MSG_DATAERR, "%s: no collection "
			    "%.100s, which %s has", o->l.path,
			    c->colls[i].name, CHROMA_FILE);
		o->coll[i] = k;
		if (same_coll(o, &c->colls[i], &o->l.colls[k], e) == -1)
			return -1;
	}
	return 0;
}

int
chroma_ours_open(struct chroma_ours *o, struct chroma *c, struct err *e)
{
	struct buf	b;
	int		r;

	memset(o, 0, sizeof(*o));
	o->c = c;
	buf_init(&b, CHROMA_PATH_MAX);
	buf_printf(&b, "%s/%s", c->path, LEDGER_FILE);
	r = b.over ? err_set(e, MSG_USAGE, "%.200s: path too long",
	    c->path) : ledger_open(&o->l, buf_cstr(&b), LEDGER_READ, e);
	buf_free(&b);
	if (r == -1)
		return -1;
	o->content = hash_new();
	item_content_start(o->content);
	return match_colls(o, e);
}

void
chroma_ours_close(struct chroma_ours *o)
{
	ledger_close(&o->l);
	hash_free(o->content);
	free(o->coll);
	memset(o, 0, sizeof(*o));
}

int
chroma_ours_start(struct chroma_ours *o, size_t i, struct chroma_walk *w,
    struct err *e)
{
	o->at = i;
	o->w = w;
	o->have_s = o->have_rec = 0;
	o->step_s = w != NULL;
	o->step_rec = 1;
	return ledger_walk(&o->l, o->coll[i], e);
}

static int
bad_id(const struct chroma_ours *o, const char *id, size_t len,
    const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: id %.*s: %s",
	    o->l.path, o->c->colls[o->at].name,
	    (int)(len < SHOWN ? len : SHOWN), id, why);
}

/* The record that both stand on. */
static int
agree(const struct chroma_ours *o, struct err *e)
{
	const struct chroma_state	*s = &o->s;
	const struct ledger_rec		*r = &o->rec;

	if (r->label == 0)
		return bad_id(o, s->id, s->len, "deleted, says the ledger, "
		    "but " CHROMA_FILE " or its index has it", e);
	if (!s->record || !s->vector || s->n_overlay != 0 ||
	    s->vector_seq != 0)
		return bad_id(o, s->id, s->len, "its record or its vector is "
		    "not where the ledger knows it", e);
	if (s->element != r->label - 1)
		return bad_id(o, s->id, s->len, "its label in the index is "
		    "not the ledger's", e);
	return 0;
}

/* What the ledger alone says of the record that it stands on. */
static void
from_ledger(struct chroma_ours *o, struct chroma_state *s)
{
	memset(s, 0, sizeof(*s));
	s->id = o->rec.id;
	s->len = o->rec.id_len;
	s->deleted = o->rec.label == 0;
	s->record = s->vector = !s->deleted;
	s->element = s->deleted ? CHROMA_NO_ELEMENT : o->rec.label - 1;
}

static int
step(struct chroma_ours *o, struct err *e)
{
	if (o->step_s && (o->have_s = chroma_walk_next(o->w, &o->s, e)) ==
	    -1)
		return -1;
	if (o->step_rec && (o->have_rec = ledger_next(&o->l, &o->rec, e)) ==
	    -1)
		return -1;
	o->step_s = o->step_rec = 0;
	return 0;
}

/* Every record is counted, and every live one digested. */
static void
count(struct chroma_ours *o)
{
	struct item	it;

	if (o->rec.label == 0) {
		o->tombstones++;
		return;
	}
	o->records++;
	memset(&it, 0, sizeof(it));
	it.id = o->rec.id;
	it.id_len = o->rec.id_len;
	memcpy(it.digest, o->rec.digest, HASH_LEN);
	item_content_add(o->content, o->c->colls[o->at].name, &it);
}

int
chroma_ours_next(struct chroma_ours *o, struct chroma_state *s,
    struct ledger_rec *rec, struct err *e)
{
	int	k;

	if (step(o, e) == -1)
		return -1;
	if (!o->have_s && !o->have_rec)
		return 0;
	k = !o->have_s ? 1 : !o->have_rec ? -1 : item_cmp(o->s.id, o->s.len,
	    o->rec.id, o->rec.id_len);
	if (k < 0)
		return bad_id(o, o->s.id, o->s.len, "in " CHROMA_FILE
		    " or its index, but not in the ledger", e);
	if (k > 0 && o->w != NULL && o->rec.label != 0)
		return bad_id(o, o->rec.id, o->rec.id_len, "in the ledger, "
		    "but not in " CHROMA_FILE, e);
	if (k == 0 && agree(o, e) == -1)
		return -1;
	if (!path_utf8(o->rec.id, o->rec.id_len))
		return bad_id(o, "?", 1, "an id that is not UTF-8", e);
	if (k == 0)
		*s = o->s;
	else
		from_ledger(o, s);
	*rec = o->rec;
	o->step_s = k == 0;
	o->step_rec = 1;
	count(o);
	return 1;
}

int
chroma_ours_end(struct chroma_ours *o, struct err *e)
{
	unsigned char	d[HASH_LEN];
	char		hex[HASH_HEX];

	if (o->records != o->l.records || o->tombstones != o->l.tombstones)
		return err_set(e, MSG_DATAERR, "%s: want %llu records and "
		    "%llu tombstones, as it says, got %llu and %llu",
		    o->l.path, (unsigned long long)o->l.records,
		    (unsigned long long)o->l.tombstones,
		    (unsigned long long)o->records,
		    (unsigned long long)o->tombstones);
	hash_final(o->content, d);
	hash_hex(d, hex);
	if (strcmp(hex, o->l.content) != 0)
		return bad_ledger(o, "its records are not what its content "
		    "digest says", e);
	return 0;
}
