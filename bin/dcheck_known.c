/*
 * dcheck: what the collections of a run have declared so far, by name, and
 * from which input: a later input may not declare otherwise.
 * SPDX-License-Identifier: ISC
 */
#include "dcheck_known.h"

#include <stdlib.h>
#include <string.h>

#include "dcheck_run.h"
#include "mem.h"
#include "banned.h"

#define KNOWN_MAX	100000		/* collections of one run */

static struct known *
find_known(struct run *g, const char *name, size_t *at)
{
	size_t	lo = 0, hi = g->n_known, mid;
	int	c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		c = strcmp(g->known[mid].name, name);
		if (c == 0)
			return &g->known[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return NULL;
}

/* 1 and a refusal when c cannot be merged with what came before. */
static int
conflicts(const struct known *k, const struct item_coll *c, struct answer *a)
{
	char	name[61], from[101], mine[61], theirs[61];

	(void)answer_shown(c->name, sizeof(name) - 1, name);
	if (k->dim != 0 && c->dim != 0 && k->dim != c->dim) {
		answer_refuse(a, CHECK_BASE,
		    "collection %s: dimension %u, but %u "
		    "in %s", name, c->dim, k->dim,
		    answer_shown(k->dim_from, sizeof(from) - 1, from));
		return 1;
	}
	if (k->space_known && c->space_known && k->space != c->space) {
		answer_refuse(a, CHECK_BASE,
		    "collection %s: space %s, but %s in "
		    "%s", name, item_space_name(c->space),
		    item_space_name(k->space),
		    answer_shown(k->space_from, sizeof(from) - 1, from));
		return 1;
	}
	if (k->model != NULL && c->model != NULL &&
	    strcmp(k->model, c->model) != 0) {
		answer_refuse(a, CHECK_BASE,
		    "collection %s: embedding model %s, "
		    "but %s in %s", name,
		    answer_shown(c->model, sizeof(mine) - 1, mine),
		    answer_shown(k->model, sizeof(theirs) - 1, theirs),
		    answer_shown(k->model_from, sizeof(from) - 1, from));
		return 1;
	}
	return 0;
}

static void
learn(struct run *g, const struct item_coll *c, const char *url)
{
	struct known	*k;
	size_t		 at = 0;

	k = find_known(g, c->name, &at);
	if (k == NULL) {
		g->known = mem_grow(g->known, &g->cap_known, g->n_known + 1,
		    sizeof(*g->known));
		k = &g->known[at];
		memmove(k + 1, k, (g->n_known - at) * sizeof(*k));
		memset(k, 0, sizeof(*k));
		k->name = mem_dup(c->name);
		g->n_known++;
	}
	if (k->dim == 0 && c->dim != 0) {
		k->dim = c->dim;
		k->dim_from = mem_dup(url);
	}
	if (!k->space_known && c->space_known) {
		k->space = c->space;
		k->space_known = 1;
		k->space_from = mem_dup(url);
	}
	if (k->model == NULL && c->model != NULL) {
		k->model = mem_dup(c->model);
		k->model_from = mem_dup(url);
	}
}

void
known_judge(struct run *g, struct slot *s)
{
	const struct known	*k;
	size_t			 i, at, more = 0;

	for (i = 0; i < s->a.n_colls; i++) {
		k = find_known(g, s->a.colls[i].name, &at);
		if (k == NULL)
			more++;
		else if (conflicts(k, &s->a.colls[i], &s->a))
			return;
	}
	if (more > KNOWN_MAX - g->n_known) {
		answer_refuse(&s->a, CHECK_LIMIT,
		    "more than %d collections in one "
		    "run", KNOWN_MAX);
		return;
	}
	for (i = 0; i < s->a.n_colls; i++)
		learn(g, &s->a.colls[i], s->url);
}

void
known_forget(struct run *g)
{
	struct known	*k;
	size_t		 i;

	for (i = 0; i < g->n_known; i++) {
		k = &g->known[i];
		free(k->name);
		free(k->model);
		free(k->dim_from);
		free(k->space_from);
		free(k->model_from);
	}
	free(g->known);
}
