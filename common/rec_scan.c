/*
 * rec_scan: the form of a record, proved byte by byte before any library
 * sees it, and the walk over one that was.  It allocates nothing and knows
 * no meaning.
 * SPDX-License-Identifier: ISC
 */
#include "rec_scan.h"

#include <string.h>

#include "path.h"
#include "banned.h"

struct scan {
	const unsigned char	*p;
	size_t			 n, pos;
	uint64_t		 items;	/* charged so far */
	const char		*why;
};

/* A big-endian number of w bytes at pos+1, or SCAN_MORE by -1. */
static int
scan_num(const struct scan *s, size_t w, uint64_t *out)
{
	size_t	i;

	if (s->n - s->pos < 1 + w)
		return -1;
	*out = 0;
	for (i = 0; i < w; i++)
		*out = *out << 8 | s->p[s->pos + 1 + i];
	return 0;
}

enum kind {
	K_FIXED,	/* len bytes of payload, no inner values */
	K_STR,
	K_ARRAY,
	K_MAP
};

/* Head of the value at pos: kind, head bytes, payload bytes or count. */
static enum rec_scan
scan_head(struct scan *s, enum kind *k, size_t *head, uint64_t *len)
{
	unsigned char	c;
	size_t		w;

	if (s->pos >= s->n)
		return REC_SCAN_MORE;
	c = s->p[s->pos];
	*k = K_FIXED;
	*head = 1;
	*len = 0;
	if (c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3)
		return REC_SCAN_OK;
	if ((c & 0xf0) == 0x80 || (c & 0xf0) == 0x90) {
		*k = c < 0x90 ? K_MAP : K_ARRAY;
		*len = c & 0x0f;
		return REC_SCAN_OK;
	}
	if ((c & 0xe0) == 0xa0) {
		*k = K_STR;
		*len = c & 0x1f;
		return REC_SCAN_OK;
	}
	switch (c) {
	case 0xca: /* float */
	case 0xcb:
		*len = (uint64_t)4 << (c - 0xca);
		return REC_SCAN_OK;
	case 0xcc: /* unsigned */
	case 0xcd:
	case 0xce:
	case 0xcf:
		*len = (uint64_t)1 << (c - 0xcc);
		return REC_SCAN_OK;
	case 0xd0: /* signed */
	case 0xd1:
	case 0xd2:
	case 0xd3:
		*len = (uint64_t)1 << (c - 0xd0);
		return REC_SCAN_OK;
	case 0xd4: /* fixext: a type byte, then 1 << n bytes */
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		*len = 1 + ((uint64_t)1 << (c - 0xd4));
		return REC_SCAN_OK;
	case 0xc4: /* bin */
	case 0xc5:
	case 0xc6:
		w = (size_t)1 << (c - 0xc4);
		break;
	case 0xc7: /* ext */
	case 0xc8:
	case 0xc9:
		w = (size_t)1 << (c - 0xc7);
		break;
	case 0xd9: /* str */
	case 0xda:
	case 0xdb:
		w = (size_t)1 << (c - 0xd9);
		*k = K_STR;
		break;
	case 0xdc: /* array */
	case 0xdd:
		w = (size_t)2 << (c - 0xdc);
		*k = K_ARRAY;
		break;
	case 0xde: /* map */
	case 0xdf:
		w = (size_t)2 << (c - 0xde);
		*k = K_MAP;
		break;
	default:
		s->why = "byte 0xc1 is no msgpack";
		return REC_SCAN_BAD;
	}
	if (scan_num(s, w, len) == -1)
		return REC_SCAN_MORE;
	*head = 1 + w;
	if (c >= 0xc7 && c <= 0xc9)
		(*len)++; /* the type byte */
	return REC_SCAN_OK;
}

/* The string at pos, which scan_head proved to be one and to be here. */
static void
scan_str(const struct scan *s, const unsigned char **p, size_t *len)
{
	struct scan	t = *s;
	enum kind	k;
	size_t		head;
	uint64_t	n;

	(void)scan_head(&t, &k, &head, &n);
	*p = s->p + s->pos + head;
	*len = (size_t)n;
}

/* Past the value at pos, which is well formed and here. */
static void
scan_skip(struct scan *s)
{
	enum kind	k;
	size_t		head;
	uint64_t	n, skip;

	for (skip = 1; skip > 0; skip--) {
		(void)scan_head(s, &k, &head, &n);
		s->pos += head;
		if (k == K_ARRAY)
			skip += n;
		else if (k == K_MAP)
			skip += 2 * n;
		else
			s->pos += (size_t)n;
	}
}

#define SEEN 256	/* slots of a map's key filter, a power of two */

/* An open container on the scanner's own stack. */
struct level {
	uint64_t	left;		/* values still to come */
	int		is_map;
	int		key_next;
	size_t		first_key;	/* where its first key stands */
	uint64_t	n_keys;
	unsigned char	seen[SEEN / 8];	/* filter before a real search */
};

/* Was the key at pos already in the map that l describes? */
static int
dup_key(const struct scan *s, struct level *l)
{
	const unsigned char	*key, *old;
	size_t			 len, old_len, i;
	uint32_t		 h = 2166136261U;
	struct scan		 t = *s;
	uint64_t		 j;

	scan_str(s, &key, &len);
	for (i = 0; i < len; i++)
		h = (h ^ key[i]) * 16777619U;
	h &= SEEN - 1;
	if ((l->seen[h / 8] & 1 << h % 8) == 0) {
		l->seen[h / 8] |= (unsigned char)(1 << h % 8);
		return 0;
	}
	/* a filter hit: walk this map's keys, which are all well formed */
	t.pos = l->first_key;
	for (j = 0; j < l->n_keys; j++) {
		scan_str(&t, &old, &old_len);
		if (old_len == len && memcmp(old, key, len) == 0)
			return 1;
		t.pos = (size_t)(old - t.p) + old_len;
		scan_skip(&t);
	}
	return 0;
}

static enum rec_scan
scan_bad(struct scan *s, const char *why)
{
	s->why = why;
	return REC_SCAN_BAD;
}

/* One value at pos inside stack[depth-1]; opens a level for containers. */
static enum rec_scan
scan_value(struct scan *s, struct level *stack, int *depth)
{
	struct level	*l = *depth > 0 ? &stack[*depth - 1] : NULL;
	enum rec_scan	 r;
	enum kind	 k;
	size_t		 head;
	uint64_t	 len;

	r = scan_head(s, &k, &head, &len);
	if (r != REC_SCAN_OK)
		return r;
	if (*depth == 0 && k != K_MAP)
		return scan_bad(s, "a record must be a map");
	if (l != NULL && l->key_next && k != K_STR)
		return scan_bad(s, "a key that is not a string");
	if (k == K_ARRAY || k == K_MAP) {
		if (len > REC_ITEMS || (s->items += len *
		    (k == K_MAP ? 2 : 1)) > REC_ITEMS)
			return scan_bad(s, "more than 65536 values");
		if (*depth >= REC_DEPTH)
			return scan_bad(s, "nested deeper than 8");
		s->pos += head;
		if (l != NULL) {
			l->left--;
			if (l->is_map)
				l->key_next = 1;
		}
		l = &stack[(*depth)++];
		memset(l, 0, sizeof(*l));
		l->is_map = k == K_MAP;
		l->left = l->is_map ? 2 * len : len;
		l->key_next = l->is_map;
		l->first_key = s->pos;
		return REC_SCAN_OK;
	}
	if (k == K_STR && len > REC_STR_MAX)
		return scan_bad(s, "string longer than 64 KiB");
	if (len > REC_MAX || s->pos + head + (size_t)len > REC_MAX)
		return scan_bad(s, "record larger than 1 MiB");
	if (s->n - s->pos < head + (size_t)len)
		return REC_SCAN_MORE;
	if (k == K_STR && !path_utf8(s->p + s->pos + head, (size_t)len))
		return scan_bad(s, "string is not UTF-8");
	if (l->key_next) {
		if (memchr(s->p + s->pos + head, 0, (size_t)len) != NULL)
			return scan_bad(s, "NUL in a key");
		if (dup_key(s, l))
			return scan_bad(s, "the same key twice");
		if (++l->n_keys > REC_KEYS)
			return scan_bad(s, "more than 4096 keys in a map");
	}
	s->pos += head + (size_t)len;
	l->left--;
	if (l->is_map)
		l->key_next = !l->key_next;
	return REC_SCAN_OK;
}

enum rec_scan
rec_scan(const void *p, size_t n, size_t *used, const char **why)
{
	struct level	stack[REC_DEPTH];
	struct scan	s;
	enum rec_scan	r;
	int		depth = 0;

	memset(&s, 0, sizeof(s));
	s.p = p;
	s.n = n;
	do {
		r = scan_value(&s, stack, &depth);
		if (r == REC_SCAN_MORE && s.n > REC_MAX)
			r = scan_bad(&s, "record larger than 1 MiB");
		if (r != REC_SCAN_OK) {
			*why = s.why;
			return r;
		}
		while (depth > 0 && stack[depth - 1].left == 0)
			depth--;
	} while (depth > 0);
	*used = s.pos;
	return REC_SCAN_OK;
}

void
rec_walk_init(struct rec_walk *w, const void *p, size_t n)
{
	struct scan	s;
	enum kind	k;

	memset(&s, 0, sizeof(s));
	s.p = w->p = p;
	s.n = w->n = n;
	(void)scan_head(&s, &k, &w->pos, &w->left);
}

int
rec_walk_next(struct rec_walk *w, struct rec_pair *out)
{
	const unsigned char	*key;
	struct scan		 s;

	if (w->left == 0)
		return 0;
	memset(&s, 0, sizeof(s));
	s.p = w->p;
	s.n = w->n;
	s.pos = w->pos;
	scan_str(&s, &key, &out->key_len);
	out->key = (const char *)key;
	s.pos = (size_t)(key - s.p) + out->key_len;
	out->val = s.p + s.pos;
	w->pos = s.pos;
	scan_skip(&s);
	out->val_len = s.pos - w->pos;
	w->pos = s.pos;
	w->left--;
	return 1;
}
