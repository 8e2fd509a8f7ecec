/*
 * spill: the same items come out in the same order, whatever the arena:
 * all in memory, a few runs, or so many that runs of runs are made.
 * SPDX-License-Identifier: ISC
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "mem.h"
#include "spill.h"
#include "tap.h"

#define N 20000
#define DIM 4

static int
by_number(const void *arg, int a, int b)
{
	(void)arg;
	return a < b ? -1 : a > b;
}

static uint32_t	seed;

static uint32_t
rnd(void)
{
	seed = seed * 1664525U + 1013904223U;
	return seed >> 8;
}

/* One item from the generator: ids collide, documents vary, some dead. */
static void
make(struct item *it, char *id, char *doc, float *vec)
{
	uint32_t	k = rnd() % (N / 3);
	int		i, n;

	memset(it, 0, sizeof(*it));
	n = snprintf(id, 64, k % 7 == 0 ? "%u" : "prefix-%08u", k);
	it->id = id;
	it->id_len = (size_t)n;
	it->coll = (int)(rnd() % 3);
	it->src = (int)(rnd() % 50);
	it->seq = (int64_t)(rnd() % 10) - 5;
	it->dead = rnd() % 20 == 0;
	for (i = 0; i < DIM; i++)
		vec[i] = (float)rnd();
	it->vec = vec;
	if (rnd() % 4 != 0) {
		it->doc = doc;
		it->doc_len = rnd() % 400;
	}
	it->meta = "{\"a\":1}";
	it->meta_len = 7;
	for (i = 0; i < HASH_LEN; i++)
		it->digest[i] = (unsigned char)rnd();
}

/* All that an item has. */
static void
add(struct hash *h, const struct item *it)
{
	hash_add(h, it->id, it->id_len);
	hash_add(h, &it->coll, sizeof(it->coll));
	hash_add(h, &it->seq, sizeof(it->seq));
	hash_add(h, &it->src, sizeof(it->src));
	hash_add(h, &it->dead, sizeof(it->dead));
	hash_add(h, &it->doc_len, sizeof(it->doc_len));
	hash_add(h, it->doc, it->doc_len);
	hash_add(h, it->meta, it->meta_len);
	hash_add(h, it->digest, sizeof(it->digest));
	if (!it->dead)
		hash_add(h, it->vec, DIM * 4);
}

/* Everything that comes out, digested; -1 in *n when the order is wrong. */
static void
pass(size_t arena, const char *dir, long *n, uint64_t *spilled, char *hex)
{
	struct spill_order	 o = { by_number, by_number, NULL };
	struct spill		*s = spill_new(dir, &o, arena);
	struct hash		*h = hash_new();
	struct err		 e = { 0, "" };
	struct item		 it, last;
	char			 id[64], doc[512], last_id[64];
	unsigned char		 d[HASH_LEN];
	float			 vec[DIM];
	int			 i, k;

	seed = 42;
	memset(doc, 'd', sizeof(doc));
	for (i = 0; i < N; i++) {
		make(&it, id, doc, vec);
		if (spill_add(s, &it, DIM, &e) == -1)
			break;
	}
	*n = 0;
	memset(&last, 0, sizeof(last));
	if (spill_start(s, &e) == -1) {
		*n = -2;
		goto done;
	}
	while ((k = spill_next(s, &it, &e)) == 1) {
		if (*n > 0 && spill_cmp(&o, &last, &it) > 0) {
			*n = -1;
			break;
		}
		(*n)++;
		add(h, &it);
		last = it;
		memcpy(last_id, it.id, it.id_len);
		last.id = last_id;
	}
	if (k == -1)
		*n = -3;
	*spilled = spill_bytes(s);
done:
	hash_final(h, d);
	hash_hex(d, hex);
	hash_free(h);
	spill_free(s);
}

/* An item far wider than a window, among small ones, survives the file. */
static int
wide(const char *dir)
{
	struct spill_order	 o = { by_number, by_number, NULL };
	struct spill		*s = spill_new(dir, &o, 1 << 20);
	struct err		 e = { 0, "" };
	struct item		 it;
	size_t			 big = 3 << 20;
	char			*doc = mem_alloc(big), id[16];
	float			 vec[DIM] = { 0 };
	int			 i, ok = 1;

	memset(doc, 'w', big);
	for (i = 0; i < 100; i++) {
		memset(&it, 0, sizeof(it));
		it.id_len = (size_t)snprintf(id, sizeof(id), "%03d", 99 - i);
		it.id = id;
		it.vec = vec;
		it.meta = "{}";
		it.meta_len = 2;
		it.doc = doc;
		it.doc_len = i % 10 == 0 ? big : 1000;
		ok &= spill_add(s, &it, DIM, &e) == 0;
	}
	ok &= spill_start(s, &e) == 0;
	for (i = 0; i < 100; i++) {
		ok &= spill_next(s, &it, &e) == 1;
		ok &= it.doc_len == ((99 - i) % 10 == 0 ? big : 1000);
		ok &= it.doc_len != 0 && it.doc[it.doc_len - 1] == 'w' &&
		    it.doc[0] == 'w';
	}
	ok &= spill_next(s, &it, &e) == 0;
	free(doc);
	spill_free(s);
	return ok;
}

int
main(void)
{
	static const size_t	arenas[] = { 0, 4 << 20, 256 << 10, 16 << 10 };
	static const char *const what[] = { "in memory", "a few runs",
		"many runs", "runs of runs" };
	const char		*dir = getenv("TMPDIR");
	char			 first[HASH_HEX], hex[HASH_HEX];
	uint64_t		 spilled = 0;
	long			 n;
	size_t			 i, same = 0;

	if (dir == NULL)
		dir = "/var/tmp";
	tap_plan(10);
	for (i = 0; i < 4; i++) {
		pass(arenas[i], dir, &n, &spilled, hex);
		tap_ok(n == N, "%s: all of them, in order (%ld)", what[i], n);
		tap_ok(i == 0 ? spilled == 0 : spilled > 0,
		    "%s: %llu bytes in the file", what[i],
		    (unsigned long long)spilled);
		if (i == 0)
			memcpy(first, hex, sizeof(first));
		same += strcmp(first, hex) == 0;
	}
	tap_ok(same == 4, "each time the same bytes come out");
	tap_ok(wide(dir), "items wider than a window");
	return tap_done();
}
