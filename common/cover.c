/*
 * cover: sources against a plan.  It knows no stream and no place.
 * SPDX-License-Identifier: ISC
 */
#include "cover.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "banned.h"

/* A digest that some line pins, and whether a source has it. */
struct pin {
	char	 sha256[HASH_HEX];
	int	 held;
};

struct cover {
	struct plan	*p;
	struct pin	*pins;		/* by digest, each once */
	size_t		 n;
};

static int
pin_cmp(const void *a, const void *b)
{
	const struct pin	*x = a, *y = b;

	return strcmp(x->sha256, y->sha256);
}

static struct pin *
find_pin(const struct cover *c, const char *sha256)
{
	struct pin	key;

	if (c->n == 0 || *sha256 == '\0')
		return NULL;
	memset(&key, 0, sizeof(key));
	memcpy(key.sha256, sha256, HASH_HEX);
	return bsearch(&key, c->pins, c->n, sizeof(*c->pins), pin_cmp);
}

struct cover *
cover_new(struct plan *p)
{
	struct cover	*c = mem_zero(1, sizeof(*c));
	size_t		 i, n = 0, cap = 0;

	c->p = p;
	for (i = 0; i < p->n; i++) {
		p->v[i].seen = 0;
		if (p->v[i].sha256[0] == '\0')
			continue;
		c->pins = mem_grow(c->pins, &cap, n + 1, sizeof(*c->pins));
		memset(&c->pins[n], 0, sizeof(*c->pins));
		memcpy(c->pins[n++].sha256, p->v[i].sha256, HASH_HEX);
	}
	if (n == 0)
		return c;
	qsort(c->pins, n, sizeof(*c->pins), pin_cmp);
	for (i = 0; i < n; i++)
		if (i == 0 || pin_cmp(&c->pins[c->n - 1], &c->pins[i]) != 0)
			c->pins[c->n++] = c->pins[i];
	return c;
}

void
cover_free(struct cover *c)
{
	if (c == NULL)
		return;
	free(c->pins);
	free(c);
}

static const char *
differs(const struct plan_line *l, const struct item_source *s, int of_base)
{
	if (l->sha256[0] != '\0')
		return strcmp(l->sha256, s->sha256) == 0 ? NULL : "sha256";
	if (l->has_size && l->size != s->size)
		return "size";
	/* the same bytes may have come again, later */
	if (!of_base && l->has_seq && s->seq < l->seq)
		return "seq";
	return NULL;
}

const char *
cover_differs(const struct plan_line *l, const struct item_source *s)
{
	return differs(l, s, 0);
}

int
cover_take(struct cover *c, const struct item_source *s, int of_base)
{
	struct plan_line	*l = plan_find(c->p, s->url);
	struct pin		*pin = find_pin(c, s->sha256);

	if (pin != NULL)
		pin->held = 1;
	if (l != NULL && differs(l, s, of_base) == NULL)
		l->seen = 1;
	else if (pin == NULL)
		return 0;
	return 1;
}

int
cover_has(const struct cover *c, const struct plan_line *l)
{
	const struct pin	*pin = find_pin(c, l->sha256);

	return l->seen || (pin != NULL && pin->held);
}
