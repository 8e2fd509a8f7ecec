/*
 * check: the table of verdicts, and the judgement of every record that a
 * store's reader hands out.  The formats judge their own structure
 * (chroma_check, dstore_check, batch_check); this is what they share.
 * SPDX-License-Identifier: ISC
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chroma.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define CHECK_SHOWN 80	/* bytes of an id in a reason */

/* In the mend, {} stands for the input. */
static const struct {
	const char	*name, *mend;
} codes[CHECK_N] = {
	{ "ok", "nothing" },
	{ "size",
	    "copy or upload {} again once its writer has closed it, or "
	    "correct size= in the plan" },
	{ "digest",
	    "fetch {} again; if it stays so, make it anew, or correct "
	    "sha256= in the plan" },
	{ "missing", "copy the whole directory of {} again" },
	{ "unsafe",
	    "make {} anew of regular files and directories only (no links, "
	    "no devices, no ..)" },
	{ "archive", "pack and upload {} again: tar -cf - DIR | zstd" },
	{ "limit", "split {} into smaller deltas" },
	{ "format",
	    "give a ChromaDB directory, a store.sqlite3, batch results in "
	    "JSON lines, or an archive of one of them, not {}" },
	{ "notadb", "upload {} again: what lies there is not the database" },
	{ "torn",
	    "copy {} again, whole, after its writer has closed it" },
	{ "hot",
	    "close its writer and copy {} again, or accept what is there: "
	    "dcheck --recover-hot" },
	{ "corrupt", "make {} anew from its source; it cannot be repaired" },
	{ "schema",
	    "make {} anew with a supported ChromaDB (0.4 to 1.5)" },
	{ "collection", "make {} anew: its collections do not hang together" },
	{ "segment", "make {} anew: its segments do not hang together" },
	{ "queue", "make {} anew: ChromaDB would choke on its queue" },
	{ "seq",
	    "make {} anew: writes to it would be acknowledged and lost" },
	{ "index",
	    "copy {} again with its index directories, or make it anew" },
	{ "vector", "make {} anew: embed the records named here again" },
	{ "metadata", "make {} anew: records lost metadata or documents" },
	{ "utf8", "make {} anew with text in UTF-8" },
	{ "duplicate", "make {} anew with each id once" },
	{ "count",
	    "find out who lost records of {}, or correct records= in the "
	    "plan" },
	{ "empty",
	    "find out why {} has no records, or accept that: dcheck "
	    "--allow-empty" },
	{ "batch", "download the results of {} again, or ask for them anew" },
	{ "manifest",
	    "copy {} again, whole, or remove a manifest.json that is not "
	    "its own; if a ChromaDB server has changed it, remove "
	    "manifest.json and ledger.sqlite3 to merge it as a plain "
	    "ChromaDB delta" },
	{ "ledger",
	    "copy {} again, whole, or remove manifest.json and "
	    "ledger.sqlite3 to merge it as a plain ChromaDB delta" },
	{ "base",
	    "embed {} again as its base was, or give it a collection of "
	    "its own" },
	{ "hook", "see what the -x command said above of {}" },
	{ "crash", "set {} aside and report it with its file" },
	{ "timeout",
	    "look at {}, and if it is only large: dcheck --timeout SECONDS" }
};

const char *
check_code_name(enum check_code c)
{
	return codes[c].name;
}

enum check_code
check_code_parse(const char *s)
{
	int	i;

	for (i = 0; i < CHECK_N; i++)
		if (strcmp(codes[i].name, s) == 0)
			break;
	return (enum check_code)i;
}

const char *
check_code_mend(enum check_code c)
{
	return codes[c].mend;
}

int
check_refuse(struct check_verdict *v, enum check_code c, const char *fmt, ...)
{
	va_list	 ap;
	char	*p;

	if (v->code != CHECK_OK)
		return 1;
	v->code = c;
	va_start(ap, fmt);
	(void)vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
	for (p = v->reason; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return 1;
}

void
check_summary_clear(struct check_summary *s)
{
	size_t	i;

	for (i = 0; i < s->n_colls; i++)
		item_coll_clear(&s->colls[i]);
	free(s->colls);
	memset(s, 0, sizeof(*s));
}

/* An id or name from outside, as it may stand in a line of text. */
static const char *
shown(const char *p, size_t n, char out[CHECK_SHOWN])
{
	size_t	i;

	for (i = 0; i < n && i < CHECK_SHOWN - 4; i++)
		out[i] = (unsigned char)p[i] < 0x20 ||
		    (unsigned char)p[i] > 0x7e ? '?' : p[i];
	out[i] = '\0';
	if (i < n)
		(void)snprintf(out + i, CHECK_SHOWN - i, "...");
	return out;
}

static int
judge_coll(const struct store *st, size_t i, struct check_verdict *v)
{
	const struct item_coll	*c = &st->colls[i];
	size_t			 len = c->name != NULL ? strlen(c->name) : 0;
	char			 b[CHECK_SHOWN];

	if (len == 0)
		return check_refuse(v, CHECK_COLLECTION,
		    "collection %zu has no name", i + 1);
	if (len > ITEM_NAME_MAX)
		return check_refuse(v, CHECK_LIMIT,
		    "collection name of %zu bytes: want at most %u", len,
		    ITEM_NAME_MAX);
	if (!path_utf8(c->name, len))
		return check_refuse(v, CHECK_UTF8,
		    "collection %s: name is not UTF-8",
		    shown(c->name, len, b));
	if (c->dim > ITEM_DIM_MAX)
		return check_refuse(v, CHECK_LIMIT,
		    "collection %s: dimension %u: want at most %u",
		    shown(c->name, len, b), c->dim, ITEM_DIM_MAX);
	if (i > 0 && strcmp(st->colls[i - 1].name, c->name) >= 0)
		return check_refuse(v, CHECK_COLLECTION,
		    "collection %s is there twice, or out of order",
		    shown(c->name, len, b));
	if (c->model != NULL && !path_utf8(c->model, strlen(c->model)))
		return check_refuse(v, CHECK_UTF8,
		    "collection %s: embedding model is not UTF-8",
		    shown(c->name, len, b));
	return 0;
}

/* A JSON object and nothing else. */
static int
is_object(const char *s, size_t n)
{
	return n >= 2 && s[0] == '{' && s[n - 1] == '}' && json_valid(s, n);
}

static int
judge_live(const struct item_coll *c, const struct item *it, const char *id,
    struct check_verdict *v)
{
	if (it->vec == NULL || c->dim == 0)
		return check_refuse(v, CHECK_VECTOR,
		    "record %s: no embedding", id);
	if (!item_finite(it->vec, c->dim))
		return check_refuse(v, CHECK_VECTOR,
		    "record %s: embedding holds NaN or infinity", id);
	if (it->doc != NULL && it->doc_len > ITEM_TEXT_MAX)
		return check_refuse(v, CHECK_LIMIT,
		    "record %s: document of %zu bytes: want at most %u", id,
		    it->doc_len, ITEM_TEXT_MAX);
	if (it->doc != NULL && !path_utf8(it->doc, it->doc_len))
		return check_refuse(v, CHECK_UTF8,
		    "record %s: document is not UTF-8", id);
	if (it->meta_len > ITEM_TEXT_MAX)
		return check_refuse(v, CHECK_LIMIT,
		    "record %s: metadata of %zu bytes: want at most %u", id,
		    it->meta_len, ITEM_TEXT_MAX);
	if (it->meta == NULL || !path_utf8(it->meta, it->meta_len))
		return check_refuse(v, CHECK_UTF8,
		    "record %s: metadata is not UTF-8", id);
	if (!is_object(it->meta, it->meta_len))
		return check_refuse(v, CHECK_METADATA,
		    "record %s: metadata is no JSON object", id);
	return 0;
}

/* The last id, to prove order with. */
struct last {
	int	 coll;
	char	*id;
	size_t	 len, cap;
};

static int
judge_order(struct last *l, const struct item *it, const char *id,
    struct check_verdict *v)
{
	int	r = -1;

	if (l->coll == it->coll)
		r = item_cmp(l->id, l->len, it->id, it->id_len);
	else if (l->coll > it->coll)
		r = 1;
	if (r == 0)
		return check_refuse(v, CHECK_DUPLICATE,
		    "record %s is there twice", id);
	if (r > 0)
		return check_refuse(v, CHECK_CORRUPT,
		    "record %s is out of order", id);
	l->coll = it->coll;
	l->id = mem_grow(l->id, &l->cap, it->id_len, 1);
	memcpy(l->id, it->id, it->id_len);
	l->len = it->id_len;
	return 0;
}

static int
judge_item(const struct store *st, const struct item *it, int light,
    struct last *l, struct check_verdict *v)
{
	char	id[CHECK_SHOWN];
	int	r;

	if (it->coll < 0 || (size_t)it->coll >= st->n_colls)
		return check_refuse(v, CHECK_COLLECTION,
		    "a record of no collection");
	if (it->id == NULL || it->id_len == 0)
		return check_refuse(v, CHECK_CORRUPT,
		    "collection %.80s: a record with an empty id",
		    st->colls[it->coll].name);
	(void)shown(it->id, it->id_len, id);
	if (it->id_len > ITEM_ID_MAX)
		return check_refuse(v, CHECK_LIMIT,
		    "record %s: id of %zu bytes: want at most %u", id,
		    it->id_len, ITEM_ID_MAX);
	if (!path_utf8(it->id, it->id_len))
		return check_refuse(v, CHECK_UTF8,
		    "record %s: id is not UTF-8", id);
	if (st->has_ledger && it->src >= 0 &&
	    (size_t)it->src >= st->n_sources)
		return check_refuse(v, CHECK_CORRUPT,
		    "record %s: of an unknown source", id);
	r = st->sorted ? judge_order(l, it, id, v) : 0;
	if (r == 0 && !it->dead && !light)
		r = judge_live(&st->colls[it->coll], it, id, v);
	return r;
}

/* Moves what is known of the collections out of the store. */
static void
take_colls(struct store *st, struct check_summary *s)
{
	s->colls = st->colls;
	s->n_colls = st->n_colls;
	st->colls = NULL;
	st->n_colls = 0;
}

/* A reader's error: a refusal when it speaks of the content. */
static int
reader_failed(const struct err *sub, struct check_verdict *v, struct err *e)
{
	if (sub->code == MSG_DATAERR)
		return check_refuse(v, CHECK_CORRUPT, "%s", sub->text);
	return err_set(e, sub->code != 0 ? sub->code : MSG_SOFTWARE, "%s",
	    sub->code != 0 ? sub->text : "reader failed without a reason");
}

/*
 * Every record of an open store.  The digest that a store of ours keeps
 * for a record is compared with one made of the record itself.
 */
static int
judge_records(struct store *st, int flags, struct check_summary *s,
    struct check_verdict *v, struct err *e)
{
	struct err	 sub = { 0, "" };
	struct hash	*content = NULL, *rh = hash_new();
	struct last	 last = { -1, NULL, 0, 0 };
	struct item	 it, again;
	size_t		 i;
	int		 light, r = 0, rv = 1;

	/* chroma_check has walked through the rest of it */
	light = st->format == STORE_CHROMA && st->has_ledger &&
	    (flags & CHECK_OURS) != 0;
	for (i = 0; i < st->n_colls; i++)
		if (judge_coll(st, i, v) != 0)
			goto done;
	if (st->sorted) {
		content = hash_new();
		item_content_start(content);
	}
	memset(&it, 0, sizeof(it));
	while ((r = store_next(st, &it, &sub)) == 1) {
		if (judge_item(st, &it, light, &last, v) != 0)
			goto done;
		if (it.dead)
			s->tombstones++;
		else
			s->records++;
		if (st->has_ledger && (flags & CHECK_OURS) == 0) {
			again = it;
			item_digest(rh, st->colls[it.coll].name,
			    st->colls[it.coll].dim, &again);
			if (memcmp(again.digest, it.digest, HASH_LEN) != 0) {
				char	id[CHECK_SHOWN];

				(void)check_refuse(v, CHECK_DIGEST,
				    "record %s is not what its digest says",
				    shown(it.id, it.id_len, id));
				goto done;
			}
		}
		if (content != NULL && !it.dead)
			item_content_add(content, st->colls[it.coll].name,
			    &it);
	}
	if (r == -1) {
		rv = reader_failed(&sub, v, e);
		goto done;
	}
	if (content != NULL) {
		hash_final(content, s->content);
		s->has_content = 1;
	}
	rv = 0;
done:
	free(last.id);
	hash_free(content);
	hash_free(rh);
	return rv;
}

/* Its structure; *c is a Chroma directory's, to be read on, as o asks. */
static int
check_format(const char *path, enum store_format format, int flags,
    struct chroma *c, struct chroma_once **o, struct check_verdict *v,
    struct err *e)
{
	switch (format) {
	case STORE_CHROMA:
		return chroma_check_once(path, flags, c, o, v, e);
	case STORE_SQLITE:
		return dstore_check(path, flags, v, e);
	case STORE_BATCH:
		return batch_check(path, flags, v, e);
	case STORE_NONE:
	case STORE_ARCHIVE:
		break;
	}
	return err_set(e, MSG_SOFTWARE, "%s: format %s cannot be checked",
	    path, store_format_name(format));
}

/*
 * The store at path.  once: *again is set in place of a refusal that takes
 * the longer way to find its words.
 */
static int
check_it(const char *path, enum store_format format, int flags, int *again,
    struct check_summary *s, struct check_verdict *v, struct err *e)
{
	struct err		 sub = { 0, "" };
	struct chroma		 c;
	struct chroma_once	*o = NULL;
	struct store		*st;
	int			 light, r;

	r = check_format(path, format, flags, &c, again != NULL ? &o : NULL,
	    v, e);
	if (r != 0)
		return r;
	light = (flags & CHECK_OURS) != 0 ? STORE_LIGHT : 0;
	st = format == STORE_CHROMA ? chroma_store(&c, light, &sub) :
	    store_open(path, format, light, &sub);
	r = st == NULL ? reader_failed(&sub, v, e) :
	    judge_records(st, flags, s, v, e);
	if (r == 0 && o != NULL)
		r = chroma_once_end(o, e);
	if (r == 1 && o != NULL)
		*again = 1;
	if (r == 0 && s->records + s->tombstones == 0 &&
	    (flags & CHECK_ALLOW_EMPTY) == 0)
		r = check_refuse(v, CHECK_EMPTY, "well formed, but it holds "
		    "no records (%zu collections)", st->n_colls);
	if (r == 0)
		take_colls(st, s);
	store_close(st);
	chroma_once_free(o);
	if (r != 0)
		check_summary_clear(s);
	return r;
}

int
check_store(const char *path, enum store_format format, int flags,
    struct check_summary *s, struct check_verdict *v, struct err *e)
{
	int	again = 0, r;

	memset(s, 0, sizeof(*s));
	memset(v, 0, sizeof(*v));
	r = check_it(path, format, flags, &again, s, v, e);
	if (!again)
		return r;
	memset(s, 0, sizeof(*s));
	memset(v, 0, sizeof(*v));
	return check_it(path, format, flags, NULL, s, v, e);
}
