/*
 * item: digests and canonical metadata of one record.  It compares and
 * digests; it decides nothing.
 * SPDX-License-Identifier: ISC
 */
#include "item.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mem.h"
#include "banned.h"

#define ITEM_CONTENT_TAG	"intact content 1\n"
#define ITEM_RECORD_TAG		"intact record 1\n"
#define ITEM_TOMBSTONE_TAG	"intact tombstone 1\n"

static const char *const space_names[] = { "l2", "cosine", "ip" };

int
item_space_parse(const char *s, size_t len)
{
	int	i;

	for (i = 0; i < 3; i++)
		if (strlen(space_names[i]) == len &&
		    memcmp(space_names[i], s, len) == 0)
			return i;
	return -1;
}

const char *
item_space_name(enum item_space s)
{
	return space_names[s];
}

void
item_coll_clear(struct item_coll *c)
{
	free(c->name);
	free(c->model);
	free(c->config);
	memset(c, 0, sizeof(*c));
}

void
item_source_clear(struct item_source *s)
{
	free(s->url);
	free(s->etag);
	memset(s, 0, sizeof(*s));
}

static void
lenstr(struct hash *h, const void *p, size_t n)
{
	hash_u32(h, (uint32_t)n);
	hash_add(h, p, n);
}

void
item_digest(struct hash *h, const char *name, uint32_t dim, struct item *it)
{
	static const unsigned char	none = 0, some = 1;

	if (it->dead) {
		hash_add(h, ITEM_TOMBSTONE_TAG, sizeof(ITEM_TOMBSTONE_TAG) - 1);
		lenstr(h, name, strlen(name));
		lenstr(h, it->id, it->id_len);
		hash_final(h, it->digest);
		return;
	}
	hash_add(h, ITEM_RECORD_TAG, sizeof(ITEM_RECORD_TAG) - 1);
	lenstr(h, name, strlen(name));
	lenstr(h, it->id, it->id_len);
	hash_u32(h, dim);
	hash_add(h, it->vec, (size_t)dim * 4);
	if (it->doc == NULL)
		hash_add(h, &none, 1);
	else {
		hash_add(h, &some, 1);
		lenstr(h, it->doc, it->doc_len);
	}
	lenstr(h, it->meta, it->meta_len);
	hash_final(h, it->digest);
}

void
item_content_start(struct hash *h)
{
	hash_reset(h);
	hash_add(h, ITEM_CONTENT_TAG, sizeof(ITEM_CONTENT_TAG) - 1);
}

void
item_content_add(struct hash *h, const char *name, const struct item *it)
{
	lenstr(h, name, strlen(name));
	lenstr(h, it->id, it->id_len);
	hash_add(h, it->digest, HASH_LEN);
}

/* 1 when one of n floats has all bits of its exponent set. */
static uint32_t
odd(const unsigned char *p, uint32_t n)
{
	uint32_t	i, w, bad = 0;

	for (i = 0; i < n; i++, p += 4) {
		memcpy(&w, p, 4);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		w = buf_get_le32(p);
#endif
		bad |= (w & 0x7f800000U) == 0x7f800000U;
	}
	return bad;
}

int
item_finite(const void *vec, uint32_t n)
{
	const unsigned char	*p = vec;
	uint32_t		 i, bad = 0;

	/* of a count that it knows a compiler makes a few wide steps */
	for (i = 0; n - i >= 64; i += 64)
		bad |= odd(p + (size_t)i * 4, 64);
	return !(bad | odd(p + (size_t)i * 4, n - i));
}

int
item_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
	size_t	n = alen < blen ? alen : blen;
	int	r = n != 0 ? memcmp(a, b, n) : 0;

	if (r != 0)
		return r;
	return alen < blen ? -1 : alen > blen;
}

/* Each value is kept as its canonical JSON text, in one arena. */
struct entry {
	size_t	key, key_len;	/* in the arena */
	size_t	val, val_len;
	int	is_str;
	size_t	str, str_len;	/* the raw string behind a string value */
	int	gone;
};

struct meta {
	struct buf	 arena;
	struct entry	*v;
	size_t		 n, cap;
	size_t		*order;
	size_t		 order_cap;
};

struct meta *
meta_new(void)
{
	struct meta	*m = mem_zero(1, sizeof(*m));

	buf_init(&m->arena, SIZE_MAX / 4);
	return m;
}

void
meta_free(struct meta *m)
{
	if (m == NULL)
		return;
	buf_free(&m->arena);
	free(m->v);
	free(m->order);
	free(m);
}

void
meta_reset(struct meta *m)
{
	buf_reset(&m->arena);
	m->n = 0;
}

static int
key_cmp(const struct meta *m, const struct entry *x, const char *key,
    size_t len)
{
	return item_cmp(m->arena.p + x->key, x->key_len, key, len);
}

/* The last word on key, or NULL. */
static const struct entry *
find(const struct meta *m, const char *key, size_t len)
{
	size_t	i;

	for (i = m->n; i-- > 0;)
		if (key_cmp(m, &m->v[i], key, len) == 0)
			return m->v[i].gone ? NULL : &m->v[i];
	return NULL;
}

/*
 * A new last entry for key.  An older one of that name stays behind it
 * until meta_json takes the last word of each: to look for it here would
 * make many keys cost the square of their number.
 */
static struct entry *
set(struct meta *m, const char *key, size_t len)
{
	struct entry	*x;

	m->v = mem_grow(m->v, &m->cap, m->n + 1, sizeof(*m->v));
	x = &m->v[m->n++];
	memset(x, 0, sizeof(*x));
	x->key = m->arena.len;
	x->key_len = len;
	buf_add(&m->arena, key, len);
	x->val = m->arena.len;
	return x;
}

static void
end(struct meta *m, struct entry *x)
{
	x->val_len = m->arena.len - x->val;
}

void
meta_set_str(struct meta *m, const char *key, size_t key_len, const char *s,
    size_t len)
{
	struct entry	*x = set(m, key, key_len);

	x->is_str = 1;
	x->str = m->arena.len;
	x->str_len = len;
	buf_add(&m->arena, s, len);
	x->val = m->arena.len;
	json_put_str(&m->arena, s, len);
	end(m, x);
}

void
meta_set_int(struct meta *m, const char *key, size_t key_len, int64_t v)
{
	struct entry	*x = set(m, key, key_len);

	json_put_int(&m->arena, v);
	end(m, x);
}

/* ChromaDB's columns keep no sign of a zero, so neither do we. */
static void
put_float(struct buf *b, double v)
{
	json_put_float(b, v == 0 ? 0 : v);
}

void
meta_set_float(struct meta *m, const char *key, size_t key_len, double v)
{
	struct entry	*x = set(m, key, key_len);

	put_float(&m->arena, v);
	end(m, x);
}

void
meta_set_bool(struct meta *m, const char *key, size_t key_len, int v)
{
	struct entry	*x = set(m, key, key_len);

	buf_str(&m->arena, v ? "true" : "false");
	end(m, x);
}

void
meta_set_array(struct meta *m, const char *key, size_t key_len)
{
	struct entry	*x = set(m, key, key_len);

	buf_str(&m->arena, "[]");
	end(m, x);
}

/* The array set last, reopened for one more element. */
static struct entry *
reopen(struct meta *m)
{
	struct entry	*x = &m->v[m->n - 1];

	m->arena.len--;	/* the ']' */
	if (m->arena.p[m->arena.len - 1] != '[')
		buf_addc(&m->arena, ',');
	return x;
}

static void
reclose(struct meta *m, struct entry *x)
{
	buf_addc(&m->arena, ']');
	end(m, x);
}

void
meta_push_str(struct meta *m, const char *s, size_t len)
{
	struct entry	*x = reopen(m);

	json_put_str(&m->arena, s, len);
	reclose(m, x);
}

void
meta_push_int(struct meta *m, int64_t v)
{
	struct entry	*x = reopen(m);

	json_put_int(&m->arena, v);
	reclose(m, x);
}

void
meta_push_float(struct meta *m, double v)
{
	struct entry	*x = reopen(m);

	put_float(&m->arena, v);
	reclose(m, x);
}

void
meta_push_bool(struct meta *m, int v)
{
	struct entry	*x = reopen(m);

	buf_str(&m->arena, v ? "true" : "false");
	reclose(m, x);
}

void
meta_remove(struct meta *m, const char *key, size_t key_len)
{
	set(m, key, key_len)->gone = 1;
}

const char *
meta_get_str(const struct meta *m, const char *key, size_t key_len,
    size_t *len)
{
	const struct entry	*x = find(m, key, key_len);

	if (x == NULL || !x->is_str)
		return NULL;
	*len = x->str_len;
	return (const char *)m->arena.p + x->str;
}

/* Heap sort by key, then age: the arena is needed to compare. */
static int
less(const struct meta *m, size_t a, size_t b)
{
	int	r = key_cmp(m, &m->v[a],
	    (const char *)m->arena.p + m->v[b].key, m->v[b].key_len);

	return r != 0 ? r < 0 : a < b;
}

static int
same_key(const struct meta *m, size_t a, size_t b)
{
	return key_cmp(m, &m->v[a], (const char *)m->arena.p + m->v[b].key,
	    m->v[b].key_len) == 0;
}

static void
sift(const struct meta *m, size_t *o, size_t i, size_t n)
{
	size_t	c, t;

	while ((c = 2 * i + 1) < n) {
		if (c + 1 < n && less(m, o[c], o[c + 1]))
			c++;
		if (!less(m, o[i], o[c]))
			return;
		t = o[i];
		o[i] = o[c];
		o[c] = t;
		i = c;
	}
}

/* Live entries by key, the last word on each, in m->order. */
static size_t
sorted(struct meta *m)
{
	size_t	i, n = 0, t, *o;
	int	done = 1;

	m->order = mem_grow(m->order, &m->order_cap, m->n, sizeof(size_t));
	o = m->order;
	for (i = 0; i < m->n; i++) {
		o[i] = i;
		if (m->v[i].gone || (i != 0 && (!less(m, i - 1, i) ||
		    same_key(m, i - 1, i))))
			done = 0;
	}
	if (done)
		return m->n;
	for (i = m->n / 2; i-- > 0;)
		sift(m, o, i, m->n);
	for (i = m->n; i-- > 1;) {
		t = o[0];
		o[0] = o[i];
		o[i] = t;
		sift(m, o, 0, i);
	}
	for (i = 0; i < m->n; i++) {
		if (i + 1 < m->n && same_key(m, o[i], o[i + 1]))
			continue;
		if (!m->v[o[i]].gone)
			o[n++] = o[i];
	}
	return n;
}

void
meta_json(struct meta *m, struct buf *b)
{
	const struct entry	*x;
	size_t			 i, n = sorted(m);

	buf_addc(b, '{');
	for (i = 0; i < n; i++) {
		x = &m->v[m->order[i]];
		if (i != 0)
			buf_addc(b, ',');
		json_put_str(b, (const char *)m->arena.p + x->key, x->key_len);
		buf_addc(b, ':');
		buf_add(b, m->arena.p + x->val, x->val_len);
	}
	buf_addc(b, '}');
}

static int
overlay_array(struct meta *m, struct json *j, const char **why)
{
	struct json_val	v;

	for (;;) {
		switch (json_next(j, &v)) {
		case JSON_CLOSE:
			return 0;
		case JSON_STR:
			meta_push_str(m, v.str, v.len);
			break;
		case JSON_INT:
			meta_push_int(m, v.i);
			break;
		case JSON_FLOAT:
			meta_push_float(m, v.f);
			break;
		case JSON_BOOL:
			meta_push_bool(m, (int)v.i);
			break;
		case JSON_BAD:
			*why = j->why;
			return -1;
		case JSON_NULL:
		case JSON_ARR:
		case JSON_OBJ:
		case JSON_EOF:
			*why = "array holds something other than scalars";
			return -1;
		}
	}
}

int
meta_overlay(struct meta *m, const char *s, size_t len, const char **why)
{
	struct json	j;
	struct json_val	v;
	int		rv = -1;

	json_init(&j, s, len);
	if (json_next(&j, &v) != JSON_OBJ) {
		*why = j.why != NULL ? j.why : "not a JSON object";
		goto done;
	}
	for (;;) {
		switch (json_next(&j, &v)) {
		case JSON_CLOSE:
			if (json_next(&j, &v) != JSON_EOF) {
				*why = j.why;
				goto done;
			}
			rv = 0;
			goto done;
		case JSON_NULL:
			meta_remove(m, v.key, v.key_len);
			break;
		case JSON_STR:
			meta_set_str(m, v.key, v.key_len, v.str, v.len);
			break;
		case JSON_INT:
			meta_set_int(m, v.key, v.key_len, v.i);
			break;
		case JSON_FLOAT:
			meta_set_float(m, v.key, v.key_len, v.f);
			break;
		case JSON_BOOL:
			meta_set_bool(m, v.key, v.key_len, (int)v.i);
			break;
		case JSON_ARR:
			meta_set_array(m, v.key, v.key_len);
			if (overlay_array(m, &j, why) == -1)
				goto done;
			break;
		case JSON_OBJ:
			*why = "nested object in metadata";
			goto done;
		case JSON_EOF:
		case JSON_BAD:
			*why = j.why;
			goto done;
		}
	}
done:
	json_clear(&j);
	return rv;
}
