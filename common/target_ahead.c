/*
 * target: what will be read soon, told to whoever can read many at once.
 * It reads nothing itself, and an answer never depends on it.
 * SPDX-License-Identifier: ISC
 */
#include "target.h"

#include <stdlib.h>

#include "manifest.h"
#include "mem.h"
#include "banned.h"

static void
ahead(struct target *t, struct target_names *w, int head)
{
	t->ops->ahead(t->impl, (const char *const *)w->v, w->n, head);
	target_names_clear(w);
}

void
target_ahead_commits(struct target *t, uint64_t g, size_t n)
{
	struct target_names	w = { NULL, 0, 0 };
	char			key[64];

	if (t->ops->ahead == NULL)
		return;
	while (n-- > 0 && --g > 0) {
		target_commit_key(key, g);
		target_names_add(&w, key);
	}
	ahead(t, &w, 0);
}

void
target_ahead_has(struct target *t, const char *const *versions, size_t n)
{
	struct target_names	w = { NULL, 0, 0 };
	struct err		f = { 0, "" };
	char			key[TARGET_KEY_MAX];
	size_t			i;

	if (t->ops->ahead == NULL)
		return;
	for (i = 0; i < n; i++)
		if (target_version_key(t, key, versions[i], MANIFEST_NAME,
		    &f) == 0)
			target_names_add(&w, key);
	ahead(t, &w, 1);
}
