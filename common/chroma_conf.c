/*
 * chroma_conf: a collection's configuration for a database that is made.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "chroma.h"
#include "hash.h"
#include "hnsw_build.h"
#include "json.h"
#include "mem.h"
#include "banned.h"

/* What a 1.0 server writes where nothing is asked of it. */
#define DEF_SEARCH_EF	100
#define DEF_RESIZE	1.2
#define DEF_SYNC	1000
#define SYNC_MIN	2
#define SYNC_MAX	1000000000

void
chroma_conf_clear(struct chroma_conf *o)
{
	free(o->config);
	free(o->schema);
	free(o->metadata);
	memset(o, 0, sizeof(*o));
}

static void
derive(const char *kind, const char *name, unsigned int n,
    char out[CHROMA_UUID])
{
	struct hash	*h = hash_new();
	unsigned char	 d[HASH_LEN];
	char		 x[HASH_HEX];

	hash_add(h, kind, strlen(kind) + 1);
	hash_add(h, name, strlen(name) + 1);
	hash_u32(h, n);
	hash_final(h, d);
	hash_free(h);
	d[6] = (unsigned char)((d[6] & 0x0f) | 0x80);
	d[8] = (unsigned char)((d[8] & 0x3f) | 0x80);
	hash_hex(d, x);
	(void)snprintf(out, CHROMA_UUID, "%.8s-%.4s-%.4s-%.4s-%.12s", x,
	    x + 8, x + 12, x + 16, x + 20);
}

void
chroma_conf_derive(struct chroma_conf *o, const char *name, unsigned int n)
{
	derive("intact collection", name, n, o->uuid);
}

void
chroma_conf_segments(struct chroma_conf *o)
{
	derive("intact vector segment", o->uuid, 0, o->vector);
	derive("intact metadata segment", o->uuid, 0, o->meta);
}

/* key in the vector index's configuration sub, or in its hnsw part. */
static int
index_find(struct json *j, const struct json_val *sub, const char *key,
    int hnsw, struct json_val *v)
{
	int	r;

	if (sub->type != JSON_OBJ)
		return 0;
	r = hnsw ? json_find(j, sub->raw, sub->raw_len, v, "hnsw", key,
	    (char *)NULL) : json_find(j, sub->raw, sub->raw_len, v, key,
	    (char *)NULL);
	return r == 1 && v->type == JSON_NULL ? 0 : r;
}

/* In a schema: of the column of embeddings, else the default.  1, 0, -1. */
static int
schema_find(struct json *j, const char *s, const char *key, int hnsw,
    struct json_val *v)
{
	struct json	k;
	struct json_val	sub;
	size_t		n = strlen(s);
	int		r;

	memset(&k, 0, sizeof(k));
	r = json_find(&k, s, n, &sub, "keys", "#embedding", "float_list",
	    "vector_index", "config", (char *)NULL);
	if (r == 1)
		r = index_find(j, &sub, key, hnsw, v);
	if (r == 0) {
		r = json_find(&k, s, n, &sub, "defaults", "float_list",
		    "vector_index", "config", (char *)NULL);
		if (r == 1)
			r = index_find(j, &sub, key, hnsw, v);
	}
	json_clear(&k);
	return r;
}

/* The same in schema or configuration, whichever says so first. */
static int
find(const struct chroma_conf *o, struct json *j, const char *key, int hnsw,
    struct json_val *v)
{
	int	r = 0;

	if (o->schema != NULL)
		r = schema_find(j, o->schema, key, hnsw, v);
	if (r == 0 && o->config != NULL) {
		r = json_find(j, o->config, strlen(o->config), v,
		    "vector_index", "hnsw", key, (char *)NULL);
		if (r == 1 && v->type == JSON_NULL)
			r = 0;
	}
	return r;
}

int
chroma_conf_params(struct chroma_conf *o)
{
	struct json	j;
	struct json_val	v;
	int		r;

	memset(&j, 0, sizeof(j));
	if ((r = find(o, &j, "max_neighbors", 1, &v)) == 1)
		o->m = v.type == JSON_INT && v.i >= 0 && v.i < UINT32_MAX ?
		    (uint32_t)v.i : UINT32_MAX;
	if (r != -1 && (r = find(o, &j, "ef_construction", 1, &v)) == 1)
		o->ef = v.type == JSON_INT && v.i >= 0 && v.i < UINT32_MAX ?
		    (uint32_t)v.i : UINT32_MAX;
	json_clear(&j);
	return r == -1 ? -1 : 0;
}

/* Does what is there say this space? */
static int
says_space(const struct chroma_conf *o, enum item_space space)
{
	struct json	j;
	struct json_val	v;
	int		r, k = ITEM_L2;

	memset(&j, 0, sizeof(j));
	r = find(o, &j, "space", 0, &v);
	if (r == 1)
		k = v.type == JSON_STR ? item_space_parse(v.str, v.len) : -1;
	json_clear(&j);
	return r != -1 && k == (int)space;
}

/* An integer of the metadata within bounds, or def. */
static int64_t
legacy(const struct chroma_conf *o, const char *key, int64_t min,
    int64_t max, int64_t def)
{
	struct json	j;
	struct json_val	v;
	int64_t		rv = def;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, o->metadata, strlen(o->metadata), &v, key,
	    (char *)NULL) == 1 && v.type == JSON_INT && v.i >= min &&
	    v.i <= max)
		rv = v.i;
	json_clear(&j);
	return rv;
}

static double
legacy_resize(const struct chroma_conf *o)
{
	struct json	j;
	struct json_val	v;
	double		rv = DEF_RESIZE;

	memset(&j, 0, sizeof(j));
	if (json_find(&j, o->metadata, strlen(o->metadata), &v,
	    "hnsw:resize_factor", (char *)NULL) == 1) {
		if (v.type == JSON_FLOAT && v.f >= 1.0 && v.f <= 100.0)
			rv = v.f;
		else if (v.type == JSON_INT && v.i >= 1 && v.i <= 100)
			rv = (double)v.i;
	}
	json_clear(&j);
	return rv;
}

/* What configuration or schema say of the embedding function, appended. */
static void
put_function(const struct chroma_conf *o, struct buf *b)
{
	static const char	key[] = "embedding_function";
	struct json		j;
	struct json_val		v;
	int			r = 0;

	memset(&j, 0, sizeof(j));
	memset(&v, 0, sizeof(v));
	if (o->config != NULL)
		r = json_find(&j, o->config, strlen(o->config), &v, key,
		    (char *)NULL);
	if ((r != 1 || v.type != JSON_OBJ) && o->schema != NULL)
		r = schema_find(&j, o->schema, key, 0, &v);
	if (r == 1 && v.type == JSON_OBJ)
		buf_add(b, v.raw, v.raw_len);
	else
		buf_str(b, "null");
	json_clear(&j);
}

/* The text that a 1.0 to 1.2 server writes; later ones read it too. */
static char *
make(const struct chroma_conf *o, enum item_space space)
{
	struct buf	 b;
	char		*rv;

	buf_init(&b, SIZE_MAX / 4);
	buf_str(&b, "{\"vector_index\":{\"hnsw\":{");
	json_put_kstr(&b, "space", item_space_name(space));
	json_put_kint(&b, "ef_construction", legacy(o,
	    "hnsw:construction_ef", 1, HNSW_EF_MAX, HNSW_EF));
	json_put_kint(&b, "ef_search", legacy(o, "hnsw:search_ef", 1,
	    HNSW_EF_MAX, DEF_SEARCH_EF));
	json_put_kint(&b, "max_neighbors", legacy(o, "hnsw:M", HNSW_M_MIN,
	    HNSW_M_MAX, HNSW_M));
	json_put_key(&b, "resize_factor");
	json_put_float(&b, legacy_resize(o));
	json_put_kint(&b, "sync_threshold", legacy(o, "hnsw:sync_threshold",
	    SYNC_MIN, SYNC_MAX, DEF_SYNC));
	buf_str(&b, "}},\"embedding_function\":");
	put_function(o, &b);
	buf_addc(&b, '}');
	rv = mem_dup(buf_cstr(&b));
	buf_free(&b);
	return rv;
}

/* Has the configuration the form of a 1.x server? */
static int
is_new(const struct chroma_conf *o)
{
	struct json	j;
	struct json_val	v;
	size_t		n;
	int		rv;

	if (o->config == NULL)
		return 0;
	n = strlen(o->config);
	memset(&j, 0, sizeof(j));
	rv = json_find(&j, o->config, n, &v, "_type", (char *)NULL) == 0;
	rv = rv && json_find(&j, o->config, n, &v, "hnsw_configuration",
	    (char *)NULL) == 0;
	/* with a schema, "{}" is what servers write */
	rv = rv && (o->schema != NULL || json_find(&j, o->config, n, &v,
	    "vector_index", "hnsw", (char *)NULL) == 1);
	json_clear(&j);
	return rv;
}

/* The string at key of the opaque configuration, NULL: null or absent. */
static int
take(const struct item_coll *c, const char *key, char **out)
{
	struct json	j;
	struct json_val	v;
	int		r;

	memset(&j, 0, sizeof(j));
	r = json_find(&j, c->config, strlen(c->config), &v, key,
	    (char *)NULL);
	/* a text with NUL is no text of a server's */
	if (r == 1 && v.type == JSON_STR && memchr(v.str, '\0', v.len) ==
	    NULL)
		*out = mem_ndup(v.str, v.len);
	else if (r == 1 && v.type == JSON_OBJ)
		*out = mem_ndup(v.raw, v.raw_len);
	else if (r == 1 && v.type != JSON_NULL)
		r = -1;
	json_clear(&j);
	return r == -1 ? -1 : 0;
}

int
chroma_conf_init(struct chroma_conf *o, const struct item_coll *c,
    struct err *e)
{
	char	*uuid = NULL, *made;
	int	 bad = 0;

	memset(o, 0, sizeof(*o));
	if (c->config != NULL)
		bad = *c->config != '{' ||
		    !json_valid(c->config, strlen(c->config)) ||
		    take(c, "uuid", &uuid) == -1 ||
		    take(c, "config", &o->config) == -1 ||
		    take(c, "schema", &o->schema) == -1 ||
		    take(c, "metadata", &o->metadata) == -1;
	if (uuid != NULL && chroma_is_uuid(uuid))
		memcpy(o->uuid, uuid, CHROMA_UUID);
	free(uuid);
	if (o->metadata == NULL)
		o->metadata = mem_dup("{}");
	if (bad || *o->metadata != '{' ||
	    !json_valid(o->metadata, strlen(o->metadata)))
		return err_set(e, MSG_DATAERR, "collection %.100s: its "
		    "configuration is no JSON object", c->name);
	if (!is_new(o) || !says_space(o, c->space)) {
		made = make(o, c->space);
		free(o->config);
		free(o->schema);
		o->schema = NULL;
		o->config = made;
	}
	if (chroma_conf_params(o) == -1)
		return err_set(e, MSG_DATAERR, "collection %.100s: its "
		    "configuration is no JSON object", c->name);
	return 0;
}
