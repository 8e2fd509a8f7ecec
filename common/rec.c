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

/* No memory is never a value cut short. */
static int
write_sbuf(void *sb, const char *p, size_t n)
{
	if (msgpack_sbuffer_write(sb, p, n) == -1)
		mem_die(n);
	return 0;
}

static void
start(msgpack_sbuffer *sb, msgpack_packer *pk)
{
	msgpack_sbuffer_init(sb);
	msgpack_packer_init(pk, sb, write_sbuf);
}

/* All of it as one value; z is destroyed by the caller.  0, -1 no such. */
static int
unpack(msgpack_unpacked *z, const void *p, size_t n)
{
	size_t	off = 0;
	int	r;

	msgpack_unpacked_init(z);
	r = msgpack_unpack_next(z, p, n, &off);
	if (r == MSGPACK_UNPACK_NOMEM_ERROR)
		mem_die(n);
	return r == MSGPACK_UNPACK_SUCCESS && off == n ? 0 : -1;
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
	if (f != NULL)
		return unpack(z, f->val, f->len);
	msgpack_unpacked_init(z);
	return -1;
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

char *
rec_dup_str(const struct rec *r, const char *key)
{
	const char	*s;

	return rec_get_str(r, key, &s) ? mem_dup(s) : NULL;
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
	msgpack_unpacked z;
	struct rec_walk	 w;
	struct rec_pair	 f;
	struct rec	*r;

	/* msgpack-c has the last word on the form; success and all used */
	if (unpack(&z, p, n) == -1 || z.data.type != MSGPACK_OBJECT_MAP) {
		msgpack_unpacked_destroy(&z);
		err_set(e, MSG_PROTOCOL, "record: not one msgpack map");
		return NULL;
	}
	msgpack_unpacked_destroy(&z);
	r = rec_map();
	rec_walk_init(&w, p, n);
	while (rec_walk_next(&w, &f))
		put(r, f.key, f.key_len, mem_ndup(f.val, f.val_len),
		    f.val_len);
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
	(void)write_sbuf(sb, &c, 1);
	(void)write_sbuf(sb, zero, 4);
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
