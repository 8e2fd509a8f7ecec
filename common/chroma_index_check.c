/*
 * chroma_index_check: a walk through the ids of a collection, counted, and
 * what the counts ask of the HNSW files.
 *
 * It reads no document.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_index_check.h"

#include <string.h>

#include "chroma_judge_check.h"
#include "hnsw.h"
#include "path.h"
#include "banned.h"

static void
note(struct tally *t, const struct chroma_state *s)
{
	size_t	i;

	if (t->first[0] != '\0')
		return;
	for (i = 0; i < s->len && i < sizeof(t->first) - 1; i++)
		t->first[i] = s->id[i] < 0x20 || s->id[i] > 0x7e ? '?' :
		    s->id[i];
	t->first[i] = '\0';
}

int
judge_id(struct judge *j, size_t i, struct tally *t,
    const struct chroma_state *s)
{
	if (!path_utf8(s->id, s->len))
		return REFUSE(CHECK_UTF8, "collection %.100s: an id is not "
		    "UTF-8", j->c.colls[i].name);
	t->records += (uint64_t)s->record;
	if (s->record && !s->vector) {
		t->bare++;
		note(t, s);
	} else if (s->vector && !s->record) {
		t->stray++;
		note(t, s);
	} else if (s->record && s->vector_seq == 0) {
		t->indexed++;
		if (s->element == CHROMA_NO_ELEMENT) {
			t->lost++;
			note(t, s);
		} else if (s->element > t->top)
			t->top = s->element;
	}
	return 0;
}

static int
count_ids(struct judge *j, struct chroma_walk *w, size_t i, struct tally *t)
{
	const struct chroma_coll	*cc = &j->c.colls[i];
	const char			*why;
	struct chroma_state		 s;
	struct ledger_rec		 rec;
	int				 r;

	memset(t, 0, sizeof(*t));
	if (j->c.ours && chroma_ours_start(&j->ours, i, w, j->e) == -1)
		return judge_fault(j, CHECK_LEDGER);
	while ((r = j->c.ours ? chroma_ours_next(&j->ours, &s, &rec, j->e) :
	    chroma_walk_next(w, &s, j->e)) == 1)
		if (judge_id(j, i, t, &s) != 0)
			return 1;
	if (r == 0 || !j->c.ours)
		return r == 0 ? 0 : judge_fault(j, CHECK_COLLECTION);
	/* an index that cannot be read is more to the point than its ids */
	why = chroma_walk_index(w)->why;
	if (j->e->code != MSG_DATAERR || why == NULL)
		return judge_fault(j, CHECK_LEDGER);
	memset(j->e, 0, sizeof(*j->e));
	return REFUSE(CHECK_INDEX, "collection %.100s: %.300s", cc->name,
	    judge_bare(j, why));
}

/* Which of the index files is too short, or else which number is wrong. */
static int
refuse_lost(struct judge *j, const struct chroma_coll *cc,
    const struct chroma_index *x, const struct tally *t)
{
	const struct hnsw	*h = &x->hnsw;
	const char		*file = HNSW_HEADER_FILE;
	unsigned long long	 have = h->head.count;

	if (h->n_level0 < h->head.count) {
		file = HNSW_LEVEL0_FILE;
		have = h->n_level0;
	} else if (h->cosine && h->n_length < h->head.count) {
		file = HNSW_LENGTH_FILE;
		have = h->n_length;
	}
	return REFUSE(CHECK_INDEX, "collection %.100s: %llu vectors are not "
	    "in the index (first: %s): %s holds or counts %llu elements, "
	    "the greatest label is %llu", cc->name,
	    (unsigned long long)t->lost, t->first, file, have,
	    (unsigned long long)x->label_max);
}

/* Vectors are needed from the HNSW files: then these must be right. */
static int
check_index(struct judge *j, const struct chroma_coll *cc,
    struct chroma_index *x, const struct tally *t)
{
	uint64_t	whole;

	if (t->lost != 0)
		return refuse_lost(j, cc, x, t);
	if (x->damaged)
		return REFUSE(CHECK_INDEX, "collection %.100s: %.300s",
		    cc->name, judge_bare(j, x->why));
	if (!x->inverse)
		return REFUSE(CHECK_INDEX, "collection %.100s: %s: "
		    "id_to_label and label_to_id differ", cc->name,
		    CHROMA_PICKLE);
	if (x->pickle.has_total && (x->pickle.total < 0 ||
	    x->label_max > (uint64_t)x->pickle.total))
		return REFUSE(CHECK_INDEX, "collection %.100s: label %llu, "
		    "but only %lld were ever given", cc->name,
		    (unsigned long long)x->label_max,
		    (long long)x->pickle.total);
	if (j->light)
		return 0; /* check_graph sees to the files, not to vectors */
	if (hnsw_check(&x->hnsw, &whole, j->e) == -1)
		return judge_fault(j, CHECK_INDEX);
	if (t->top >= whole)
		return REFUSE(CHECK_INDEX, "collection %.100s: element %llu "
		    "is needed, but %s, %s and %s hold only %llu", cc->name,
		    (unsigned long long)t->top, HNSW_LEVEL0_FILE,
		    HNSW_LENGTH_FILE, HNSW_LINKS_FILE,
		    (unsigned long long)whole);
	return 0;
}

/* The index of a directory of ours: whole, and nothing but its records. */
static int
check_graph(struct judge *j, const struct chroma_coll *cc,
    struct chroma_index *x, const struct tally *t)
{
	uint64_t	live;

	if (!x->open) {
		if (t->records == 0 && !x->damaged)
			return 0;
		return REFUSE(CHECK_INDEX, "collection %.100s: %.300s",
		    cc->name, x->why != NULL ? judge_bare(j, x->why) :
		    "no index");
	}
	if (hnsw_check_graph(&x->hnsw, &live, j->e) == -1)
		return judge_fault(j, CHECK_INDEX);
	if (live != t->records || x->pickle.n_ids != t->records)
		return REFUSE(CHECK_INDEX, "collection %.100s: %llu records, "
		    "but %llu elements in the index and %llu ids in %s",
		    cc->name, (unsigned long long)t->records,
		    (unsigned long long)live,
		    (unsigned long long)x->pickle.n_ids, CHROMA_PICKLE);
	if (!x->pickle.has_total || x->pickle.total < 0 ||
	    (uint64_t)x->pickle.total != x->hnsw.head.count)
		return REFUSE(CHECK_INDEX, "collection %.100s: %llu elements "
		    "in %s, but %s counts %lld", cc->name,
		    (unsigned long long)x->hnsw.head.count, HNSW_HEADER_FILE,
		    CHROMA_PICKLE, (long long)x->pickle.total);
	return 0;
}

int
judge_tally(struct judge *j, size_t i, const struct tally *t,
    struct chroma_walk *w)
{
	const struct chroma_coll *cc = &j->c.colls[i];
	struct chroma_index	*x = chroma_walk_index(w);
	int			 r = 0;

	/* an index that was written once, or whose files are bad */
	if (t->bare != 0 && (x->damaged || cc->has_vector_max))
		r = REFUSE(CHECK_INDEX, "collection %.100s: %llu of %llu "
		    "records have no vector (first: %s): %.200s", cc->name,
		    (unsigned long long)t->bare,
		    (unsigned long long)t->records, t->first,
		    x->why != NULL ? judge_bare(j, x->why) :
		    CHROMA_PICKLE " lacks them");
	else if (t->bare != 0)
		r = REFUSE(CHECK_VECTOR, "collection %.100s: %llu records "
		    "have no vector anywhere (first: %s)", cc->name,
		    (unsigned long long)t->bare, t->first);
	else if (t->stray != 0)
		r = REFUSE(CHECK_VECTOR, "collection %.100s: %llu vectors "
		    "without record (first: %s)", cc->name,
		    (unsigned long long)t->stray, t->first);
	else if (t->records != 0 && cc->dim == 0)
		r = REFUSE(CHECK_COLLECTION, "collection %.100s: %llu "
		    "records, but no dimension", cc->name,
		    (unsigned long long)t->records);
	else if (t->indexed != 0)
		r = check_index(j, cc, x, t);
	if (r == 0 && j->c.ours)
		r = check_graph(j, cc, x, t);
	return r;
}

int
judge_ids(struct judge *j, size_t i)
{
	struct chroma_walk	*w;
	struct tally		 t;
	int			 r;

	w = chroma_walk_new(&j->c, &j->c.colls[i], j->e);
	if (w == NULL)
		return judge_fault(j, CHECK_COLLECTION);
	if ((r = count_ids(j, w, i, &t)) == 0)
		r = judge_tally(j, i, &t, w);
	chroma_walk_free(w);
	return r;
}
