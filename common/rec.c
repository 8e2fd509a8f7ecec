/*
 * rec: records of the stream, in and out of msgpack and JSON.  It opens
 * and sends nothing.
 * SPDX-License-Identifier: ISC
 */
#include "rec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "json.h"
#include "mem.h"
#include "num.h"
#include "path.h"
#include "banned.h"

struct field {
	char		*key;
	unsigned char	*val;	/* one encoded msgpack value */
	size_t		 len;
};

struct rec {
	struct field	*v;
	size_t		 n, cap;
	/* decoded strings handed out by getters, NUL-terminated */
	char	       **strs;
	size_t		 n_strs, cap_strs;
};

/* Scanner ---------------------------------------------------------- */

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
	case 0xcc:
	case 0xd0:
		*len = 1;
		return REC_SCAN_OK;
	case 0xcd:
	case 0xd1:
		*len = 2;
		return REC_SCAN_OK;
	case 0xca:
	case 0xce:
	case 0xd2:
		*len = 4;
		return REC_SCAN_OK;
	case 0xcb:
	case 0xcf:
	case 0xd3:
		*len = 8;
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
	enum kind		 k;
	size_t			 head;
	uint64_t		 n, j, skip;

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
		for (skip = 1; skip > 0; skip--) {
			(void)scan_head(&t, &k, &head, &n);
			t.pos += head;
			if (k == K_ARRAY)
				skip += n;
			else if (k == K_MAP)
				skip += 2 * n;
			else
				t.pos += (size_t)n;
		}
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

/* Records ---------------------------------------------------------- */

struct rec *
rec_map(void)
{
	return mem_zero(1, sizeof(struct rec));
}

struct rec *
rec_new(const char *type)
{
	struct rec	*r = rec_map();

	rec_set_str(r, "t", type);
	return r;
}

void
rec_free(struct rec *r)
{
	size_t	i;

	if (r == NULL)
		return;
	for (i = 0; i < r->n; i++) {
		free(r->v[i].key);
		free(r->v[i].val);
	}
	for (i = 0; i < r->n_strs; i++)
		free(r->strs[i]);
	free(r->strs);
	free(r->v);
	free(r);
}

static struct field *
find(const struct rec *r, const char *key)
{
	size_t	i;

	for (i = 0; i < r->n; i++)
		if (strcmp(r->v[i].key, key) == 0)
			return &r->v[i];
	return NULL;
}

/* Takes val, which mem allocated. */
static void
put(struct rec *r, const char *key, size_t key_len, void *val, size_t len)
{
	struct field	*f;
	char		*k = mem_ndup(key, key_len);

	f = find(r, k);
	if (f == NULL) {
		r->v = mem_grow(r->v, &r->cap, r->n + 1, sizeof(*r->v));
		f = &r->v[r->n++];
		f->key = k;
	} else {
		free(k);
		free(f->val);
	}
	f->val = val;
	f->len = len;
}

static void
put_sbuf(struct rec *r, const char *key, msgpack_sbuffer *sb)
{
	void	*p = mem_ndup(sb->data, sb->size);
	size_t	 n = sb->size;

	msgpack_sbuffer_destroy(sb);
	put(r, key, strlen(key), p, n);
}

static void
start(msgpack_sbuffer *sb, msgpack_packer *pk)
{
	msgpack_sbuffer_init(sb);
	msgpack_packer_init(pk, sb, msgpack_sbuffer_write);
}

static void
pack_str(msgpack_packer *pk, const char *s)
{
	size_t	n = strlen(s);

	(void)msgpack_pack_str(pk, n);
	(void)msgpack_pack_str_body(pk, s, n);
}

void
rec_del(struct rec *r, const char *key)
{
	struct field	*f = find(r, key);

	if (f == NULL)
		return;
	free(f->key);
	free(f->val);
	memmove(f, f + 1, (size_t)(r->v + r->n - (f + 1)) * sizeof(*f));
	r->n--;
}

void
rec_set_str(struct rec *r, const char *key, const char *s)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;

	if (s == NULL) {
		rec_del(r, key);
		return;
	}
	start(&sb, &pk);
	pack_str(&pk, s);
	put_sbuf(r, key, &sb);
}

void
rec_set_u64(struct rec *r, const char *key, uint64_t v)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;

	start(&sb, &pk);
	(void)msgpack_pack_uint64(&pk, v);
	put_sbuf(r, key, &sb);
}

void
rec_set_i64(struct rec *r, const char *key, int64_t v)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;

	start(&sb, &pk);
	(void)msgpack_pack_int64(&pk, v);
	put_sbuf(r, key, &sb);
}

void
rec_set_bool(struct rec *r, const char *key, int v)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;

	start(&sb, &pk);
	(void)(v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
	put_sbuf(r, key, &sb);
}

void
rec_set_f64(struct rec *r, const char *key, double v)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;

	start(&sb, &pk);
	(void)msgpack_pack_double(&pk, v);
	put_sbuf(r, key, &sb);
}

void
rec_set_map(struct rec *r, const char *key, const struct rec *m)
{
	struct buf	b;

	buf_init(&b, REC_MAX);
	rec_encode(m, &b);
	put(r, key, strlen(key), mem_ndup(b.p, b.len), b.len);
	buf_free(&b);
}

void
rec_set_strs(struct rec *r, const char *key, const char *const *v, size_t n)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;
	size_t		i;

	start(&sb, &pk);
	(void)msgpack_pack_array(&pk, n);
	for (i = 0; i < n; i++)
		pack_str(&pk, v[i]);
	put_sbuf(r, key, &sb);
}

int
rec_has(const struct rec *r, const char *key)
{
	return find(r, key) != NULL;
}

const char *
rec_key(const struct rec *r, size_t i)
{
	return i < r->n ? r->v[i].key : NULL;
}

/* The decoded value of a field; z is destroyed by the caller. */
static int
decode(const struct field *f, msgpack_unpacked *z)
{
	size_t	off = 0;

	msgpack_unpacked_init(z);
	if (f == NULL)
		return -1;
	if (msgpack_unpack_next(z, (const char *)f->val, f->len, &off) !=
	    MSGPACK_UNPACK_SUCCESS || off != f->len)
		return -1;
	return 0;
}

/* A NUL-terminated copy that lives as long as the record does. */
static const char *
keep(const struct rec *r, const char *p, size_t n)
{
	struct rec	*w = (struct rec *)(uintptr_t)r;

	w->strs = mem_grow(w->strs, &w->cap_strs, w->n_strs + 1,
	    sizeof(*w->strs));
	w->strs[w->n_strs] = mem_ndup(p, n);
	return w->strs[w->n_strs++];
}

int
rec_get_str(const struct rec *r, const char *key, const char **s)
{
	msgpack_unpacked	 z;
	const msgpack_object	*o = &z.data;
	int			 ok = 0;

	if (decode(find(r, key), &z) == 0 && o->type == MSGPACK_OBJECT_STR &&
	    (o->via.str.size == 0 ||
	    memchr(o->via.str.ptr, 0, o->via.str.size) == NULL)) {
		*s = keep(r, o->via.str.ptr, o->via.str.size);
		ok = 1;
	}
	msgpack_unpacked_destroy(&z);
	return ok;
}

int
rec_get_u64(const struct rec *r, const char *key, uint64_t *v)
{
	msgpack_unpacked	z;
	int			ok = 0;

	if (decode(find(r, key), &z) == 0 &&
	    z.data.type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
		*v = z.data.via.u64;
		ok = 1;
	}
	msgpack_unpacked_destroy(&z);
	return ok;
}

int
rec_get_i64(const struct rec *r, const char *key, int64_t *v)
{
	msgpack_unpacked	z;
	int			ok = 0;

	if (decode(find(r, key), &z) == 0) {
		if (z.data.type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
			*v = z.data.via.i64;
			ok = 1;
		} else if (z.data.type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    z.data.via.u64 <= INT64_MAX) {
			*v = (int64_t)z.data.via.u64;
			ok = 1;
		}
	}
	msgpack_unpacked_destroy(&z);
	return ok;
}

int
rec_get_bool(const struct rec *r, const char *key, int *v)
{
	msgpack_unpacked	z;
	int			ok = 0;

	if (decode(find(r, key), &z) == 0 &&
	    z.data.type == MSGPACK_OBJECT_BOOLEAN) {
		*v = z.data.via.boolean;
		ok = 1;
	}
	msgpack_unpacked_destroy(&z);
	return ok;
}

struct rec *
rec_get_map(const struct rec *r, const char *key)
{
	struct field	*f = find(r, key);
	struct err	 e = { 0, "" };
	const char	*why;
	size_t		 used;

	if (f == NULL || rec_scan(f->val, f->len, &used, &why) !=
	    REC_SCAN_OK)
		return NULL;
	return rec_parse(f->val, f->len, &e);
}

int
rec_get_strs(const struct rec *r, const char *key,
    void (*cb)(const char *s, void *arg), void *arg)
{
	msgpack_unpacked	z;
	const msgpack_object	*o;
	uint32_t		i;
	int			ok = 0;

	if (decode(find(r, key), &z) == 0 &&
	    z.data.type == MSGPACK_OBJECT_ARRAY) {
		ok = 1;
		for (i = 0; i < z.data.via.array.size; i++) {
			o = &z.data.via.array.ptr[i];
			if (o->type == MSGPACK_OBJECT_STR)
				cb(keep(r, o->via.str.ptr, o->via.str.size),
				    arg);
		}
	}
	msgpack_unpacked_destroy(&z);
	return ok;
}

const char *
rec_type(const struct rec *r)
{
	const char	*s = "";

	(void)rec_get_str(r, "t", &s);
	return s;
}

void
rec_encode(const struct rec *r, struct buf *b)
{
	msgpack_sbuffer	sb;
	msgpack_packer	pk;
	size_t		i;

	start(&sb, &pk);
	(void)msgpack_pack_map(&pk, r->n);
	buf_add(b, sb.data, sb.size);
	for (i = 0; i < r->n; i++) {
		msgpack_sbuffer_clear(&sb);
		pack_str(&pk, r->v[i].key);
		buf_add(b, sb.data, sb.size);
		buf_add(b, r->v[i].val, r->v[i].len);
	}
	msgpack_sbuffer_destroy(&sb);
}

struct rec *
rec_parse(const void *p, size_t n, struct err *e)
{
	struct scan	 s, from;
	struct rec	*r;
	enum kind	 k;
	size_t		 head, off = 0;
	uint64_t	 len, i, skip;
	msgpack_unpacked z;
	const unsigned char *key;
	size_t		 key_len;

	/* msgpack-c has the last word on the form; success and all used */
	msgpack_unpacked_init(&z);
	if (msgpack_unpack_next(&z, p, n, &off) != MSGPACK_UNPACK_SUCCESS ||
	    off != n || z.data.type != MSGPACK_OBJECT_MAP) {
		msgpack_unpacked_destroy(&z);
		err_set(e, MSG_PROTOCOL, "record: not one msgpack map");
		return NULL;
	}
	msgpack_unpacked_destroy(&z);
	memset(&s, 0, sizeof(s));
	s.p = p;
	s.n = n;
	r = rec_map();
	(void)scan_head(&s, &k, &head, &len);
	s.pos = head;
	for (i = 0; i < len; i++) {
		uint64_t	m;

		scan_str(&s, &key, &key_len);
		s.pos = (size_t)(key - s.p) + key_len;
		from = s;
		for (skip = 1; skip > 0; skip--) {
			(void)scan_head(&s, &k, &head, &m);
			s.pos += head;
			if (k == K_ARRAY)
				skip += m;
			else if (k == K_MAP)
				skip += 2 * m;
			else
				s.pos += (size_t)m;
		}
		put(r, (const char *)key, key_len,
		    mem_ndup(s.p + from.pos, s.pos - from.pos),
		    s.pos - from.pos);
	}
	return r;
}

struct rec *
rec_copy(const struct rec *r)
{
	struct rec	*c = rec_map();
	size_t		 i;

	for (i = 0; i < r->n; i++)
		put(c, r->v[i].key, strlen(r->v[i].key),
		    mem_ndup(r->v[i].val, r->v[i].len), r->v[i].len);
	return c;
}

/* JSON ------------------------------------------------------------- */

static void
put_hex(struct buf *b, const char *key, const char *p, size_t n)
{
	size_t	i;

	buf_printf(b, "{\"%s\":\"", key);
	for (i = 0; i < n; i++)
		buf_printf(b, "%02x", (unsigned char)p[i]);
	buf_str(b, "\"}");
}

/* A string of JSON; DEL and C1, which terminals obey, are escaped too. */
static void
put_str(struct buf *b, const char *s, size_t n)
{
	size_t	i;

	for (i = 0; i < n; i++) {
		unsigned int	c = (unsigned char)s[i];

		if (c == 0x7f || (c == 0xc2 && i + 1 < n &&
		    (unsigned char)s[i + 1] < 0xa0))
			break;
	}
	if (i == n) {
		json_put_str(b, s, n);
		return;
	}
	buf_addc(b, '"');
	for (; n > 0; s += i, n -= i) {
		unsigned int	c = (unsigned char)*s;

		i = 1;
		if (c == 0xc2 && n > 1 && (unsigned char)s[1] < 0xa0) {
			c = (unsigned char)s[1];
			i = 2;
		}
		if (c < 0x20 || c == 0x7f || i == 2)
			buf_printf(b, "\\u%04x", c);
		else {
			if (c == '"' || c == '\\')
				buf_addc(b, '\\');
			buf_addc(b, (int)c);
		}
	}
	buf_addc(b, '"');
}

/* Depth is bounded by rec_scan. */
static void
object_json(const msgpack_object *o, struct buf *b)
{
	uint32_t	i;

	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		buf_str(b, "null");
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		buf_str(b, o->via.boolean ? "true" : "false");
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		buf_printf(b, "%llu", (unsigned long long)o->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		json_put_int(b, o->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		if (isfinite(o->via.f64))
			json_put_float(b, o->via.f64);
		else
			buf_str(b, "null"); /* JSON has no word for it */
		break;
	case MSGPACK_OBJECT_STR:
		put_str(b, o->via.str.ptr, o->via.str.size);
		break;
	case MSGPACK_OBJECT_BIN:
		put_hex(b, "$bin", o->via.bin.ptr, o->via.bin.size);
		break;
	case MSGPACK_OBJECT_EXT:
		put_hex(b, "$ext", o->via.ext.ptr, o->via.ext.size);
		break;
	case MSGPACK_OBJECT_ARRAY:
		buf_addc(b, '[');
		for (i = 0; i < o->via.array.size; i++) {
			if (i != 0)
				buf_addc(b, ',');
			object_json(&o->via.array.ptr[i], b);
		}
		buf_addc(b, ']');
		break;
	case MSGPACK_OBJECT_MAP:
		buf_addc(b, '{');
		for (i = 0; i < o->via.map.size; i++) {
			if (i != 0)
				buf_addc(b, ',');
			object_json(&o->via.map.ptr[i].key, b);
			buf_addc(b, ':');
			object_json(&o->via.map.ptr[i].val, b);
		}
		buf_addc(b, '}');
		break;
	}
}

void
rec_to_json(const struct rec *r, struct buf *b)
{
	msgpack_unpacked	z;
	size_t			i;

	buf_addc(b, '{');
	for (i = 0; i < r->n; i++) {
		json_put_key(b, r->v[i].key);
		if (decode(&r->v[i], &z) == 0)
			object_json(&z.data, b);
		else
			buf_str(b, "null");
		msgpack_unpacked_destroy(&z);
	}
	buf_addc(b, '}');
}

struct slot {
	size_t		at;	/* where the 5-byte head stands */
	uint32_t	count;
	int		is_map;
};

static void
pack_scalar(msgpack_packer *pk, const struct json_val *v)
{
	const char	*why;
	char		 num[32];
	uint64_t	 u;

	if (v->type == JSON_NULL)
		(void)msgpack_pack_nil(pk);
	else if (v->type == JSON_BOOL)
		(void)(v->i ? msgpack_pack_true(pk) : msgpack_pack_false(pk));
	else if (v->type == JSON_INT)
		(void)msgpack_pack_int64(pk, v->i);
	else if (v->type == JSON_STR) {
		(void)msgpack_pack_str(pk, v->len);
		(void)msgpack_pack_str_body(pk, v->str, v->len);
	} else {
		/* integers above int64 stay integers where uint64 holds them */
		if (v->raw_len < sizeof(num)) {
			memcpy(num, v->raw, v->raw_len);
			num[v->raw_len] = '\0';
			if (num_u64(num, 0, UINT64_MAX, &u, &why) == 0) {
				(void)msgpack_pack_uint64(pk, u);
				return;
			}
		}
		(void)msgpack_pack_double(pk, v->f);
	}
}

/* Containers get 32-bit heads that are filled in when they close. */
static void
open_slot(msgpack_sbuffer *sb, struct slot *s, int is_map)
{
	static const char	zero[4];
	char			c = is_map ? (char)0xdf : (char)0xdd;

	s->at = sb->size;
	s->count = 0;
	s->is_map = is_map;
	(void)msgpack_sbuffer_write(sb, &c, 1);
	(void)msgpack_sbuffer_write(sb, zero, 4);
}

static void
close_slot(msgpack_sbuffer *sb, const struct slot *s)
{
	int	i;

	for (i = 0; i < 4; i++)
		sb->data[s->at + 1 + (size_t)i] =
		    (char)(s->count >> (24 - 8 * i));
}

struct rec *
rec_from_json(const char *s, size_t n, struct err *e)
{
	struct slot	 stack[JSON_DEPTH];
	struct rec	*r = NULL;
	struct json	 j;
	struct json_val	 v;
	msgpack_sbuffer	 sb;
	msgpack_packer	 pk;
	const char	*why = NULL;
	size_t		 used;
	int		 depth = 0;

	start(&sb, &pk);
	json_init(&j, s, n);
	for (;;) {
		enum json_type	t = json_next(&j, &v);

		if (t == JSON_EOF)
			break;
		if (t == JSON_BAD) {
			why = j.why;
			goto done;
		}
		if (t == JSON_CLOSE) {
			close_slot(&sb, &stack[--depth]);
			continue;
		}
		if (sb.size > REC_MAX) {
			why = "record larger than 1 MiB";
			goto done;
		}
		if (depth > 0)
			stack[depth - 1].count++;
		if (v.key != NULL) {
			(void)msgpack_pack_str(&pk, v.key_len);
			(void)msgpack_pack_str_body(&pk, v.key, v.key_len);
		}
		if (t == JSON_OBJ || t == JSON_ARR)
			open_slot(&sb, &stack[depth++], t == JSON_OBJ);
		else
			pack_scalar(&pk, &v);
	}
	switch (rec_scan(sb.data, sb.size, &used, &why)) {
	case REC_SCAN_OK:
		r = rec_parse(sb.data, sb.size, e);
		break;
	case REC_SCAN_MORE:
		why = "record ends early";
		break;
	case REC_SCAN_BAD:
		break;
	}
done:
	if (r == NULL)
		err_set(e, MSG_PROTOCOL, "record: %s",
		    why != NULL ? why : "malformed");
	json_clear(&j);
	msgpack_sbuffer_destroy(&sb);
	return r;
}

/* Kinds ------------------------------------------------------------ */

static int
want(struct err *e, const char *t, const char *key, const char *what)
{
	return err_set(e, MSG_PROTOCOL, "%s record: %s: want %s", t, key,
	    what);
}

static int
get_digest(const struct rec *r, const char *t, const char *key,
    const char **s, struct err *e)
{
	unsigned char	d[HASH_LEN];

	if (!rec_get_str(r, key, s) || hash_unhex(*s, d) == -1)
		return want(e, t, key, "64 lower-case hex digits");
	return 0;
}

static int
get_path(const struct rec *r, const char *t, const char **s, struct err *e)
{
	if (!rec_get_str(r, "path", s) || !path_is_safe(*s))
		return want(e, t, "path", "a path below staging");
	return 0;
}

static int
get_url(const struct rec *r, const char *t, const char **s, struct err *e)
{
	if (!rec_get_str(r, "url", s) || **s == '\0')
		return want(e, t, "url", "a URL or path");
	return 0;
}

int
rec_delta_get(const struct rec *r, struct rec_delta *d, struct err *e)
{
	static const char	t[] = "delta";

	memset(d, 0, sizeof(*d));
	if (get_url(r, t, &d->url, e) == -1 ||
	    get_digest(r, t, "sha256", &d->sha256, e) == -1 ||
	    get_path(r, t, &d->path, e) == -1)
		return -1;
	if (!rec_get_str(r, "kind", &d->kind) ||
	    (strcmp(d->kind, "file") != 0 && strcmp(d->kind, "dir") != 0))
		return want(e, t, "kind", "file or dir");
	if (!rec_get_u64(r, "size", &d->size))
		return want(e, t, "size", "bytes");
	if (!rec_get_i64(r, "seq", &d->seq))
		return want(e, t, "seq", "an integer");
	(void)rec_get_bool(r, "guessed", &d->guessed);
	(void)rec_get_i64(r, "mtime", &d->mtime);
	(void)rec_get_str(r, "etag", &d->etag);
	d->has_want_records = rec_get_u64(r, "want_records",
	    &d->want_records);
	if (!rec_get_str(r, "verdict", &d->verdict))
		return 0;
	if (strcmp(d->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok");
	if (!rec_get_str(r, "format", &d->format))
		return want(e, t, "format", "chroma, sqlite or batch");
	if (get_digest(r, t, "tree", &d->tree, e) == -1)
		return -1;
	if (!rec_get_u64(r, "records", &d->records) ||
	    !rec_get_u64(r, "tombstones", &d->tombstones))
		return want(e, t, "records", "counts");
	(void)rec_get_bool(r, "recovered", &d->recovered);
	if (rec_has(r, "content_digest"))
		return get_digest(r, t, "content_digest", &d->content_digest,
		    e);
	return 0;
}

void
rec_delta_put(struct rec *r, const struct rec_delta *d)
{
	rec_set_str(r, "url", d->url);
	rec_set_str(r, "sha256", d->sha256);
	rec_set_str(r, "kind", d->kind);
	rec_set_str(r, "path", d->path);
	rec_set_u64(r, "size", d->size);
	rec_set_i64(r, "seq", d->seq);
	rec_set_bool(r, "guessed", d->guessed);
	rec_set_i64(r, "mtime", d->mtime);
	rec_set_str(r, "etag", d->etag);
	if (d->has_want_records)
		rec_set_u64(r, "want_records", d->want_records);
	if (d->verdict == NULL)
		return;
	rec_set_str(r, "verdict", d->verdict);
	rec_set_str(r, "format", d->format);
	rec_set_str(r, "tree", d->tree);
	rec_set_u64(r, "records", d->records);
	rec_set_u64(r, "tombstones", d->tombstones);
	if (d->recovered)
		rec_set_bool(r, "recovered", 1);
	rec_set_str(r, "content_digest", d->content_digest);
}

int
rec_base_get(const struct rec *r, struct rec_base *b, struct err *e)
{
	static const char	t[] = "base";

	memset(b, 0, sizeof(*b));
	if (!rec_get_str(r, "target", &b->target) || *b->target == '\0')
		return want(e, t, "target", "a URL or path");
	(void)rec_get_bool(r, "none", &b->none);
	if (b->none)
		return 0;
	if (!rec_get_str(r, "version", &b->version) ||
	    !path_is_name(b->version))
		return want(e, t, "version", "a version id");
	if (!rec_get_u64(r, "generation", &b->generation) ||
	    b->generation == 0)
		return want(e, t, "generation", "a number above 0");
	if (get_path(r, t, &b->path, e) == -1 ||
	    get_digest(r, t, "sha256", &b->sha256, e) == -1 ||
	    get_digest(r, t, "content_digest", &b->content_digest, e) == -1)
		return -1;
	if (!rec_get_str(r, "format", &b->format))
		return want(e, t, "format", "chroma or sqlite");
	if (!rec_get_u64(r, "records", &b->records))
		return want(e, t, "records", "a count");
	if (rec_get_str(r, "verdict", &b->verdict) &&
	    strcmp(b->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok");
	return 0;
}

void
rec_base_put(struct rec *r, const struct rec_base *b)
{
	rec_set_str(r, "target", b->target);
	if (b->none) {
		rec_set_bool(r, "none", 1);
		return;
	}
	rec_set_str(r, "version", b->version);
	rec_set_u64(r, "generation", b->generation);
	rec_set_str(r, "path", b->path);
	rec_set_str(r, "sha256", b->sha256);
	rec_set_str(r, "format", b->format);
	rec_set_u64(r, "records", b->records);
	rec_set_str(r, "content_digest", b->content_digest);
	rec_set_str(r, "verdict", b->verdict);
}

int
rec_skip_get(const struct rec *r, struct rec_skip *s, struct err *e)
{
	static const char	t[] = "skip";

	memset(s, 0, sizeof(*s));
	if (get_url(r, t, &s->url, e) == -1 ||
	    get_digest(r, t, "sha256", &s->sha256, e) == -1)
		return -1;
	if (!rec_get_str(r, "why", &s->why))
		s->why = "";
	if (!rec_get_str(r, "name", &s->name))
		return 0;
	if (!path_is_safe(s->name))
		return want(e, t, "name", "a path below the set");
	if (!rec_get_u64(r, "size", &s->size) || s->size > INT64_MAX)
		return want(e, t, "size", "bytes");
	(void)rec_get_i64(r, "mtime", &s->mtime);
	(void)rec_get_str(r, "etag", &s->etag);
	return 0;
}

void
rec_skip_put(struct rec *r, const struct rec_skip *s)
{
	rec_set_str(r, "url", s->url);
	rec_set_str(r, "sha256", s->sha256);
	rec_set_str(r, "why", s->why);
	if (s->name == NULL)
		return;
	rec_set_str(r, "name", s->name);
	rec_set_u64(r, "size", s->size);
	rec_set_i64(r, "mtime", s->mtime);
	rec_set_str(r, "etag", s->etag);
}

int
rec_parent_get(const struct rec *r, struct rec_parent *p, struct err *e)
{
	static const char	t[] = "parent";

	memset(p, 0, sizeof(*p));
	if (!rec_get_str(r, "target", &p->target) || *p->target == '\0')
		return want(e, t, "target", "a URL or path");
	(void)rec_get_bool(r, "none", &p->none);
	if (p->none)
		return 0;
	if (!rec_get_str(r, "version", &p->version) ||
	    !path_is_name(p->version))
		return want(e, t, "version", "a version id");
	if (!rec_get_u64(r, "generation", &p->generation) ||
	    p->generation == 0)
		return want(e, t, "generation", "a number above 0");
	return get_digest(r, t, "sha256", &p->sha256, e);
}

void
rec_parent_put(struct rec *r, const struct rec_parent *p)
{
	rec_set_str(r, "target", p->target);
	if (p->none) {
		rec_set_bool(r, "none", 1);
		return;
	}
	rec_set_str(r, "version", p->version);
	rec_set_u64(r, "generation", p->generation);
	rec_set_str(r, "sha256", p->sha256);
}

int
rec_file_get(const struct rec *r, struct rec_file *f, struct err *e)
{
	static const char	t[] = "file";

	memset(f, 0, sizeof(*f));
	if (!rec_get_str(r, "name", &f->name) || !path_is_safe(f->name))
		return want(e, t, "name", "a path below the set");
	if (get_path(r, t, &f->path, e) == -1 ||
	    get_url(r, t, &f->url, e) == -1 ||
	    get_digest(r, t, "sha256", &f->sha256, e) == -1)
		return -1;
	if (!rec_get_u64(r, "size", &f->size) || f->size > INT64_MAX)
		return want(e, t, "size", "bytes");
	(void)rec_get_i64(r, "mtime", &f->mtime);
	(void)rec_get_str(r, "etag", &f->etag);
	if (rec_get_str(r, "verdict", &f->verdict) &&
	    strcmp(f->verdict, "ok") != 0)
		return want(e, t, "verdict", "ok");
	return 0;
}

void
rec_file_put(struct rec *r, const struct rec_file *f)
{
	rec_set_str(r, "name", f->name);
	rec_set_str(r, "path", f->path);
	rec_set_str(r, "url", f->url);
	rec_set_str(r, "sha256", f->sha256);
	rec_set_u64(r, "size", f->size);
	rec_set_i64(r, "mtime", f->mtime);
	rec_set_str(r, "etag", f->etag);
	rec_set_str(r, "verdict", f->verdict);
}

int
rec_store_get(const struct rec *r, struct rec_store *s, struct err *e)
{
	static const char	t[] = "store";
	static const char *const counts[] = { "records", "tombstones",
		"superseded", "inserted", "replaced", "deleted", "merged",
		"bytes" };
	uint64_t *const		into[] = { &s->records, &s->tombstones,
		&s->superseded, &s->inserted, &s->replaced, &s->deleted,
		&s->merged, &s->bytes };
	size_t			i;

	memset(s, 0, sizeof(*s));
	if (get_path(r, t, &s->path, e) == -1 ||
	    get_digest(r, t, "sha256", &s->sha256, e) == -1 ||
	    get_digest(r, t, "content_digest", &s->content_digest, e) == -1)
		return -1;
	if (!rec_get_str(r, "format", &s->format))
		return want(e, t, "format", "chroma or sqlite");
	for (i = 0; i < sizeof(into) / sizeof(into[0]); i++)
		if (!rec_get_u64(r, counts[i], into[i]))
			return want(e, t, counts[i], "a count");
	(void)rec_get_bool(r, "unchanged", &s->unchanged);
	return 0;
}

void
rec_store_put(struct rec *r, const struct rec_store *s)
{
	rec_set_str(r, "path", s->path);
	rec_set_str(r, "format", s->format);
	rec_set_str(r, "sha256", s->sha256);
	rec_set_str(r, "content_digest", s->content_digest);
	rec_set_u64(r, "records", s->records);
	rec_set_u64(r, "tombstones", s->tombstones);
	rec_set_u64(r, "superseded", s->superseded);
	rec_set_u64(r, "inserted", s->inserted);
	rec_set_u64(r, "replaced", s->replaced);
	rec_set_u64(r, "deleted", s->deleted);
	rec_set_u64(r, "merged", s->merged);
	rec_set_u64(r, "bytes", s->bytes);
	if (s->unchanged)
		rec_set_bool(r, "unchanged", 1);
}
