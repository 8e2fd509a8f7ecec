/*
 * chroma: ChromaDB directories as records.  Three sorted streams (rows of
 * embeddings, operations of the queue, ids of the HNSW index) are joined
 * by id, so that memory does not grow with any of them.
 *
 * It repairs nothing and guesses nothing.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "db.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "store.h"
#include "banned.h"

#define CACHE_KIB 2048		/* SQLite's pages of one directory */
#define CACHE_SMALL_KIB 256	/* and of one whose pages are read once */
#define HEADER_LEN 100		/* bytes of a SQLite header that we look at */
#define DEFAULT_DIM 384U	/* of the function named "default" */
#define NAME_LEN 64		/* "<uuid>/index_metadata.pickle" */

/* -- journals ---------------------------------------------------------- */

/* The first n bytes of path/name; *size its size, or UINT64_MAX: none. */
static int
head_of(const char *path, const char *suffix, unsigned char *b, size_t n,
    uint64_t *size, struct err *e)
{
	struct buf	 name;
	struct stat	 st;
	ssize_t		 got;
	int		 fd = -1, rv = -1;

	*size = UINT64_MAX;
	memset(b, 0, n);
	buf_init(&name, CHROMA_PATH_MAX);
	buf_printf(&name, "%s/%s%s", path, CHROMA_FILE, suffix);
	if (name.over) {
		err_set(e, MSG_USAGE, "%.200s: path too long", path);
		goto done;
	}
	fd = open(buf_cstr(&name),
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT || errno == ELOOP)
			rv = 0;
		else
			err_sys(e, errno, "%s", buf_cstr(&name));
		goto done;
	}
	if (fstat(fd, &st) == -1 || (got = io_pread(fd, b, n, 0)) == -1) {
		/* a directory of that name is no journal */
		if (errno == EISDIR)
			rv = 0;
		else
			err_sys(e, errno, "%s", buf_cstr(&name));
		goto done;
	}
	*size = (uint64_t)st.st_size;
	rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	buf_free(&name);
	return rv;
}

int
chroma_is_hot(const char *path, struct err *e)
{
	static const unsigned char	magic[8] = {
		0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7
	};
	unsigned char	b[HEADER_LEN];
	uint64_t	size;

	if (head_of(path, "-journal", b, sizeof(magic), &size, e) == -1)
		return -1;
	if (size != UINT64_MAX && memcmp(b, magic, sizeof(magic)) == 0)
		return CHROMA_JOURNAL;
	if (head_of(path, "-wal", b, 1, &size, e) == -1)
		return -1;
	if (size != UINT64_MAX && size != 0)
		return CHROMA_WAL;
	if (head_of(path, "", b, sizeof(b), &size, e) == -1)
		return -1;
	if (size != UINT64_MAX && memcmp(b, "SQLite format 3", 16) == 0 &&
	    (b[18] == 2 || b[19] == 2))
		return CHROMA_NOWAL;
	return CHROMA_CLOSED;
}

/* -- opening ----------------------------------------------------------- */

int
chroma_has_column(const struct chroma *c, const char *table,
    const char *column)
{
	return sqlite3_table_column_metadata(c->db, "main", table, column,
	    NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

int
chroma_is_uuid(const char *s)
{
	int	i;

	for (i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (s[i] != '-')
				return 0;
		} else if (!((s[i] >= '0' && s[i] <= '9') ||
		    (s[i] >= 'a' && s[i] <= 'f')))
			return 0;
	}
	return s[36] == '\0';
}

int
chroma_seq(struct sqlite3_stmt *st, int col, int64_t *out)
{
	const unsigned char	*b;
	int			 i, n;

	if (sqlite3_column_type(st, col) == SQLITE_INTEGER) {
		*out = sqlite3_column_int64(st, col);
		return *out < 0 ? -1 : 0;
	}
	if (sqlite3_column_type(st, col) != SQLITE_BLOB)
		return -1;
	b = sqlite3_column_blob(st, col);
	n = sqlite3_column_bytes(st, col);
	if (n != 8 && n != 24)
		return -1;
	for (i = 0; i < n - 8; i++)
		if (b[i] != 0)
			return -1;
	if (b[n - 8] > 0x7f)
		return -1;
	*out = (int64_t)buf_get_u64(b + n - 8);
	return 0;
}

int
chroma_start(struct chroma *c, const char *path, int flags, struct err *e)
{
	struct buf	b;
	struct stat	st;
	int		hot;

	memset(c, 0, sizeof(*c));
	c->dirfd = -1;
	c->path = mem_dup(path);
	buf_init(&b, CHROMA_PATH_MAX);
	buf_printf(&b, "%s/%s", path, CHROMA_FILE);
	if (b.over) {
		buf_free(&b);
		return err_set(e, MSG_USAGE, "%.200s: path too long", path);
	}
	c->file = mem_dup(buf_cstr(&b));
	buf_free(&b);
	c->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dirfd == -1)
		return err_sys(e, errno, "%s", path);
	if ((flags & STORE_RECOVER) == 0) {
		if ((hot = chroma_is_hot(path, e)) == -1)
			return -1;
		if (hot != CHROMA_CLOSED)
			return err_set(e, MSG_DATAERR, "%s: hot: its writer "
			    "died or still had it open", path);
	}
	if (fstatat(c->dirfd, CHROMA_FILE, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, errno, "%s", c->file);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    c->file);
	c->small = st.st_size <= (off_t)CHROMA_SMALL_FILE;
	c->db = db_open(c->file, (flags & STORE_RECOVER) != 0 ? DB_RECOVER :
	    DB_FROZEN, c->small ? CACHE_SMALL_KIB : CACHE_KIB, e);
	if (c->db == NULL)
		return -1;
	c->has_databases = chroma_has_column(c, "collections", "database_id");
	c->has_topic = chroma_has_column(c, "collections", "topic");
	c->has_config = chroma_has_column(c, "collections",
	    "config_json_str");
	c->has_schema = chroma_has_column(c, "collections", "schema_str");
	c->has_coll_bool = chroma_has_column(c, "collection_metadata",
	    "bool_value");
	c->has_bool = chroma_has_column(c, "embedding_metadata",
	    "bool_value");
	c->has_array = chroma_has_column(c, "embedding_metadata_array",
	    "key");
	return 0;
}

static void
coll_clear(struct chroma_coll *cc)
{
	free(cc->uuid);
	free(cc->name);
	free(cc->topic);
	free(cc->vector_seg);
	free(cc->meta_seg);
	free(cc->config);
	free(cc->schema);
	free(cc->model);
	memset(cc, 0, sizeof(*cc));
}

int
chroma_clear(struct chroma *c, struct err *e)
{
	size_t	i;
	int	rv;

	for (i = 0; i < c->n; i++)
		coll_clear(&c->colls[i]);
	free(c->colls);
	rv = db_close(c->db, c->file, e);
	if (c->dirfd != -1)
		(void)close(c->dirfd);
	free(c->path);
	free(c->file);
	memset(c, 0, sizeof(*c));
	c->dirfd = -1;
	return rv;
}

/* -- collections ------------------------------------------------------- */

static int
bad_coll(const struct chroma *c, const char *name, const char *why,
    struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: %s", c->path,
	    name != NULL ? name : "?", why);
}

/* A text of at most max bytes without NUL, copied; NULL: it is not. */
static char *
text(sqlite3_stmt *st, int col, size_t max)
{
	const void	*p;
	size_t		 n;

	if (sqlite3_column_type(st, col) != SQLITE_TEXT)
		return NULL;
	p = sqlite3_column_text(st, col);
	n = (size_t)sqlite3_column_bytes(st, col);
	if (p == NULL || n > max || memchr(p, '\0', n) != NULL ||
	    !path_utf8(p, n))
		return NULL;
	return mem_ndup(p, n);
}

/*
 * What an embedding function's JSON says of the model: name and
 * configuration, flat, as canonical JSON, such as {"config.model_name":
 * "text-embedding-3-small","name":"openai"}.  Left out is what says nothing
 * of the model: nulls, the type, keys' and accounts' names, addresses, and
 * the dimension, which the collection declares itself.
 */
static char *
model_text(const char *s, size_t len)
{
	static const char *const	skip[] = {
		"type", "api_key_env_var", "organization_id",
		"default_headers", "account_id", "api_base", "api_type",
		"api_version", "dimensions"
	};
	struct meta	*m = meta_new();
	struct json	 j;
	struct json_val	 v;
	struct buf	 key, out;
	size_t		 base[JSON_DEPTH + 1], at[JSON_DEPTH + 1], i, n;
	int		 depth = 0, some = 0, known = 0;
	char		*rv = NULL;

	json_init(&j, s, len);
	buf_init(&key, 4096);
	buf_init(&out, CHROMA_CONFIG_MAX);
	if (json_next(&j, &v) != JSON_OBJ)
		goto done;
	base[0] = at[0] = 0;
	for (;;) {
		(void)json_next(&j, &v);
		if (v.type == JSON_BAD || v.type == JSON_EOF)
			break;
		if (v.type == JSON_CLOSE) {
			if (depth-- == 0)
				break;
			continue;
		}
		key.len = base[depth];
		if (depth > 0)
			buf_addc(&key, '.');
		if (v.key != NULL)
			buf_add(&key, v.key, v.key_len);
		else /* of an array: the place */
			buf_printf(&key, "%zu", at[depth]++);
		for (i = 0, n = sizeof(skip) / sizeof(skip[0]); i < n; i++)
			if (v.key != NULL && strlen(skip[i]) == v.key_len &&
			    memcmp(skip[i], v.key, v.key_len) == 0)
				break;
		if (i == 0 && depth == 0 && v.type == JSON_STR)
			known = v.len == 5 && memcmp(v.str, "known", 5) == 0;
		if (v.type == JSON_OBJ || v.type == JSON_ARR) {
			if (i < n) {
				if (json_skip(&j) == -1)
					break;
				continue;
			}
			base[++depth] = key.len;
			at[depth] = 0;
			continue;
		}
		if (i < n)
			continue;
		some = 1;
		switch (v.type) {
		case JSON_STR:
			meta_set_str(m, (char *)key.p, key.len, v.str, v.len);
			break;
		case JSON_INT:
			meta_set_int(m, (char *)key.p, key.len, v.i);
			break;
		case JSON_FLOAT:
			meta_set_float(m, (char *)key.p, key.len, v.f);
			break;
		case JSON_BOOL:
			meta_set_bool(m, (char *)key.p, key.len, (int)v.i);
			break;
		case JSON_NULL:
		case JSON_ARR:
		case JSON_OBJ:
		case JSON_CLOSE:
		case JSON_EOF:
		case JSON_BAD:
			break;
		}
	}
	if (!known || !some || v.type != JSON_CLOSE || key.over)
		goto done;
	meta_json(m, &out);
	if (!out.over)
		rv = mem_dup(buf_cstr(&out));
done:
	json_clear(&j);
	buf_free(&key);
	buf_free(&out);
	meta_free(m);
	return rv;
}

/* The object found at a path of s, as a model. */
static void
take_model(struct chroma_coll *cc, const struct json_val *v)
{
	if (cc->model == NULL && v->type == JSON_OBJ)
		cc->model = model_text(v->raw, v->raw_len);
}

/* 1 found, 0 absent, -1 unknown; *space set when 1. */
static int
take_space(const struct json_val *v, enum item_space *space)
{
	int	k;

	if (v->type == JSON_NULL)
		return 0;
	k = v->type == JSON_STR ? item_space_parse(v->str, v->len) : -1;
	if (k == -1)
		return -1;
	*space = (enum item_space)k;
	return 1;
}

/*
 * Space and model (facts: schema_str of the newer servers, then
 * config_json_str, and for the Python ones the VECTOR segment's metadata,
 * which win over a configuration that says the default).
 */
static int
coll_config(const struct chroma *c, struct chroma_coll *cc, const char *seg,
    struct err *e)
{
	struct json	 j;
	struct json_val	 v;
	const char	*s;
	size_t		 n;
	int		 r, found = 0, k;

	memset(&j, 0, sizeof(j));
	cc->space = ITEM_L2;
	if ((s = cc->schema) != NULL) {
		n = strlen(s);
		r = json_find(&j, s, n, &v, "keys", "#embedding",
		    "float_list", "vector_index", "config", (char *)NULL);
		if (r == 1) {
			const char	*sub = v.raw;
			size_t		 sub_n = v.raw_len;

			r = json_find(&j, sub, sub_n, &v,
			    "embedding_function", (char *)NULL);
			if (r == 1)
				take_model(cc, &v);
			r = json_find(&j, sub, sub_n, &v, "space",
			    (char *)NULL);
			if (r == 1)
				found = take_space(&v, &cc->space);
		}
		if (r == 0 || (r == 1 && found == 0)) {
			r = json_find(&j, s, n, &v, "defaults", "float_list",
			    "vector_index", "config", "space", (char *)NULL);
			if (r == 1)
				found = take_space(&v, &cc->space);
		}
		if (r == -1 || found == -1)
			goto bad;
	}
	if ((s = cc->config) != NULL) {
		n = strlen(s);
		if (found == 0) {
			r = json_find(&j, s, n, &v, "vector_index", "hnsw",
			    "space", (char *)NULL);
			if (r == 1)
				found = take_space(&v, &cc->space);
			if (r == -1 || found == -1)
				goto bad;
		}
		if (found == 0) {
			r = json_find(&j, s, n, &v, "hnsw_configuration",
			    "space", (char *)NULL);
			if (r == 1)
				found = take_space(&v, &cc->space);
			if (r == -1 || found == -1)
				goto bad;
		}
		r = json_find(&j, s, n, &v, "embedding_function",
		    (char *)NULL);
		if (r == 1)
			take_model(cc, &v);
		if (r == -1)
			goto bad;
	}
	if (seg != NULL && cc->space == ITEM_L2) {
		if ((k = item_space_parse(seg, strlen(seg))) == -1)
			goto bad;
		cc->space = (enum item_space)k;
	}
	/* what Python's client writes when nobody declares anything */
	if (cc->model != NULL && cc->dim != DEFAULT_DIM &&
	    strcmp(cc->model, "{\"name\":\"default\"}") == 0) {
		free(cc->model);
		cc->model = NULL;
	}
	json_clear(&j);
	return 0;
bad:
	json_clear(&j);
	return bad_coll(c, cc->name,
	    "its configuration is no JSON, or names an unknown space", e);
}

/* One row of the big query. */
static int
coll_row(struct chroma *c, sqlite3_stmt *st, struct chroma_coll *cc,
    struct err *e)
{
	struct buf	 b;
	char		*seg = NULL;
	int64_t		 dim;
	int		 rv;

	cc->name = text(st, 1, ITEM_NAME_MAX);
	if (cc->name == NULL)
		return bad_coll(c, NULL, "its name is no text", e);
	cc->uuid = text(st, 0, 36);
	if (cc->uuid == NULL || !chroma_is_uuid(cc->uuid))
		return bad_coll(c, cc->name, "its id is not a uuid", e);
	if (sqlite3_column_type(st, 2) != SQLITE_NULL) {
		dim = sqlite3_column_int64(st, 2);
		if (sqlite3_column_type(st, 2) != SQLITE_INTEGER || dim < 1 ||
		    dim > (int64_t)ITEM_DIM_MAX)
			return bad_coll(c, cc->name,
			    "its dimension is out of range", e);
		cc->dim = (uint32_t)dim;
	}
	if (c->has_topic)
		cc->topic = text(st, 3, ITEM_NAME_MAX);
	else {
		buf_init(&b, 256);
		buf_printf(&b, "persistent://default/default/%s", cc->uuid);
		cc->topic = mem_dup(buf_cstr(&b));
		buf_free(&b);
	}
	cc->config = text(st, 4, CHROMA_CONFIG_MAX);
	cc->schema = text(st, 5, CHROMA_CONFIG_MAX);
	if (cc->topic == NULL || (cc->config == NULL &&
	    sqlite3_column_type(st, 4) != SQLITE_NULL) ||
	    (cc->schema == NULL &&
	    sqlite3_column_type(st, 5) != SQLITE_NULL))
		return bad_coll(c, cc->name,
		    "topic, configuration or schema are no text", e);
	cc->vector_seg = text(st, 6, 36);
	cc->meta_seg = text(st, 7, 36);
	if (cc->vector_seg == NULL || cc->meta_seg == NULL ||
	    !chroma_is_uuid(cc->vector_seg) || !chroma_is_uuid(cc->meta_seg))
		return bad_coll(c, cc->name,
		    "no VECTOR or no METADATA segment", e);
	if (sqlite3_column_type(st, 8) != SQLITE_NULL) {
		cc->has_vector_max = 1;
		if (chroma_seq(st, 8, &cc->vector_max) == -1)
			return bad_coll(c, cc->name, "bad max_seq_id", e);
	}
	if (sqlite3_column_type(st, 9) != SQLITE_NULL) {
		cc->has_meta_max = 1;
		if (chroma_seq(st, 9, &cc->meta_max) == -1)
			return bad_coll(c, cc->name, "bad max_seq_id", e);
	}
	if (sqlite3_column_type(st, 10) != SQLITE_NULL) {
		seg = text(st, 10, 64);
		if (seg == NULL)
			return bad_coll(c, cc->name, "hnsw:space is no text",
			    e);
	}
	rv = coll_config(c, cc, seg, e);
	free(seg);
	return rv;
}

int
chroma_read_colls(struct chroma *c, struct err *e)
{
	struct chroma_coll	*cc;
	sqlite3_stmt		*st;
	struct buf		 sql;
	size_t			 cap = 0;
	int			 r;

	buf_init(&sql, 4096);
	buf_printf(&sql, "SELECT c.id, c.name, c.dimension, %s, %s, %s, "
	    "v.id, m.id, xv.seq_id, xm.seq_id, sm.str_value "
	    "FROM collections c ",
	    c->has_topic ? "c.topic" : "NULL",
	    c->has_config ? "c.config_json_str" : "NULL",
	    c->has_schema ? "c.schema_str" : "NULL");
	if (c->has_databases)
		buf_str(&sql, "JOIN databases d ON d.id = c.database_id "
		    "JOIN tenants t ON t.id = d.tenant_id ");
	buf_str(&sql,
	    "LEFT JOIN segments v ON v.collection = c.id "
	    "AND v.scope = 'VECTOR' "
	    "LEFT JOIN segments m ON m.collection = c.id "
	    "AND m.scope = 'METADATA' "
	    "LEFT JOIN max_seq_id xv ON xv.segment_id = v.id "
	    "LEFT JOIN max_seq_id xm ON xm.segment_id = m.id "
	    "LEFT JOIN segment_metadata sm ON sm.segment_id = v.id "
	    "AND sm.key = 'hnsw:space' ORDER BY c.name");
	st = db_prepare(c->db, buf_cstr(&sql), c->file, e);
	buf_free(&sql);
	if (st == NULL)
		return -1;
	while ((r = db_step(st, c->file, e)) == 1) {
		if (c->n >= CHROMA_COLLS_MAX) {
			r = err_set(e, MSG_DATAERR,
			    "%s: more than %u collections", c->path,
			    CHROMA_COLLS_MAX);
			break;
		}
		c->colls = mem_grow(c->colls, &cap, c->n + 1,
		    sizeof(*c->colls));
		cc = &c->colls[c->n++];
		memset(cc, 0, sizeof(*cc));
		if ((r = coll_row(c, st, cc, e)) == -1)
			break;
		if (c->n > 1 && strcmp(cc[-1].name, cc->name) >= 0) {
			r = bad_coll(c, cc->name, "there twice, or two "
			    "segments of one scope", e);
			break;
		}
	}
	sqlite3_finalize(st);
	return r;
}

/* -- the HNSW index of a collection ------------------------------------ */

struct chroma_label {
	uint64_t	label, element;
};

struct chroma_pair {
	const unsigned char *id;	/* in the arena, once that is whole */
	size_t		off;		/* there */
	uint32_t	len;
	uint64_t	label, element;
};

struct loader {
	struct chroma		*c;
	struct chroma_index	*x;
	sqlite3_stmt		*put;	/* into the big table */
	uint64_t		 sum[2]; /* of the pairs of each map */
};

static int
label_cmp(const void *a, const void *b)
{
	const struct chroma_label	*x = a, *y = b;

	return x->label < y->label ? -1 : x->label > y->label;
}

static int
pair_cmp(const void *a, const void *b)
{
	const struct chroma_pair	*x = a, *y = b;

	return item_cmp(x->id, x->len, y->id, y->len);
}

static int
damage(struct chroma_index *x, const char *why)
{
	if (x->why == NULL)
		x->why = mem_dup(why);
	x->damaged = 1;
	return 0;
}

/* 65 and 66 are damage, to be judged when a vector is missed; else -1. */
static int
forgive(struct chroma_index *x, struct err *in, struct err *e)
{
	if (in->code == MSG_DATAERR || in->code == MSG_NOINPUT) {
		damage(x, in->text);
		in->code = 0;
		return 0;
	}
	*e = *in;
	return -1;
}

/* Which element has which label. */
static int
load_labels(struct loader *l, struct err *e)
{
	struct chroma_index	*x = l->x;
	sqlite3_stmt		*st = NULL;
	struct chroma_label	*p;
	uint64_t		 i, label;
	size_t			 k;
	int			 deleted, rv = -1;

	if (x->big) {
		st = db_prepare(l->c->db, "INSERT OR IGNORE INTO "
		    "temp.chroma_l VALUES (?1, ?2)", l->c->file, e);
		if (st == NULL)
			return -1;
	}
	for (i = 0; i < x->hnsw.n; i++) {
		if (hnsw_label(&x->hnsw, i, &label, &deleted, e) == -1)
			goto done;
		if (deleted)
			continue;
		if (label > INT64_MAX) {
			damage(x, "a label out of range");
			continue;
		}
		if (!x->big) {
			x->labels = mem_grow(x->labels, &x->labels_cap,
			    x->n_labels + 1, sizeof(*x->labels));
			p = &x->labels[x->n_labels++];
			p->label = label;
			p->element = i;
			continue;
		}
		sqlite3_bind_int64(st, 1, (sqlite3_int64)label);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)i);
		if (db_step(st, l->c->file, e) == -1)
			goto done;
		if (sqlite3_changes(l->c->db) != 1)
			damage(x, "one label on two elements");
		sqlite3_reset(st);
	}
	if (!x->big && x->n_labels != 0) {
		qsort(x->labels, x->n_labels, sizeof(*x->labels), label_cmp);
		for (k = 1; k < x->n_labels; k++)
			if (x->labels[k - 1].label == x->labels[k].label)
				damage(x, "one label on two elements");
	}
	rv = 0;
done:
	sqlite3_finalize(st);
	return rv;
}

static uint64_t
mix(const char *id, size_t len, uint64_t label)
{
	uint64_t	h = 0xcbf29ce484222325U ^ label;
	size_t		i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)id[i]) * 0x100000001b3U;
	h ^= label * 0x9e3779b97f4a7c15U;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9U;
	return h ^ h >> 32;
}

static int
on_pair(void *arg, enum pickle_map map, const char *id, size_t len,
    uint64_t label, struct err *e)
{
	struct loader		*l = arg;
	struct chroma_index	*x = l->x;
	struct chroma_pair	*p;

	l->sum[map == PICKLE_ID_TO_LABEL] += mix(id, len, label);
	if (map == PICKLE_LABEL_TO_ID)
		return 0;
	if (label > x->label_max)
		x->label_max = label;
	if (!x->big) {
		x->v = mem_grow(x->v, &x->cap, x->n + 1, sizeof(*x->v));
		p = &x->v[x->n++];
		p->off = x->arena.len;
		p->len = (uint32_t)len;
		p->label = label;
		buf_add(&x->arena, id, len);
		return 0;
	}
	if (sqlite3_bind_text(l->put, 1, id, (int)len, SQLITE_STATIC) !=
	    SQLITE_OK || sqlite3_bind_int64(l->put, 2,
	    (sqlite3_int64)label) != SQLITE_OK)
		return db_err(l->c->db, l->c->file, e);
	if (db_step(l->put, l->c->file, e) == -1)
		return -1;
	sqlite3_reset(l->put);
	x->n++;
	return 0;
}

/* Elements of the pairs, and the pairs in order of id. */
static void
join_small(struct chroma_index *x)
{
	struct chroma_label	 key, *hit;
	size_t			 i;

	for (i = 0; i < x->n; i++) {
		key.label = x->v[i].label;
		hit = x->n_labels == 0 ? NULL : bsearch(&key, x->labels,
		    x->n_labels, sizeof(*x->labels), label_cmp);
		x->v[i].element = hit != NULL ? hit->element :
		    CHROMA_NO_ELEMENT;
		x->v[i].id = x->arena.p + x->v[i].off;
	}
	if (x->n != 0)
		qsort(x->v, x->n, sizeof(*x->v), pair_cmp);
}

static int
open_temp(struct chroma *c, struct err *e)
{
	if (!c->temp && db_exec(c->db,
	    "CREATE TEMP TABLE chroma_l(label INTEGER PRIMARY KEY,"
	    " element INTEGER);"
	    "CREATE TEMP TABLE chroma_h(id TEXT, label INTEGER)", c->file,
	    e) == -1)
		return -1;
	c->temp = 1;
	return db_exec(c->db, "DELETE FROM temp.chroma_l;"
	    "DELETE FROM temp.chroma_h", c->file, e);
}

static int
read_pickle(struct loader *l, int fd, const char *name, struct err *e)
{
	struct chroma_index	*x = l->x;
	struct err		 mine;
	struct stat		 st;
	int			 rv;

	if (fstat(fd, &st) == -1)
		return err_sys(e, errno, "%s", name);
	if (!S_ISREG(st.st_mode))
		return damage(x, "the pickle is no regular file");
	x->big = st.st_size > (off_t)CHROMA_SMALL ||
	    (x->open && x->hnsw.n > CHROMA_SMALL / 16);
	memset(&mine, 0, sizeof(mine));
	if (x->big) {
		if (open_temp(l->c, e) == -1 ||
		    db_exec(l->c->db, "BEGIN", l->c->file, e) == -1)
			return -1;
		l->put = db_prepare(l->c->db, "INSERT INTO temp.chroma_h "
		    "VALUES (?1, ?2)", l->c->file, e);
		if (l->put == NULL)
			return -1;
	}
	rv = pickle_read(fd, name, &x->pickle, on_pair, l, &mine);
	sqlite3_finalize(l->put);
	l->put = NULL;
	if (x->big && db_exec(l->c->db, "COMMIT", l->c->file, e) == -1)
		return -1;
	if (rv == -1) {
		x->n = 0;
		return forgive(x, &mine, e);
	}
	x->inverse = x->pickle.n_ids == x->pickle.n_labels &&
	    l->sum[0] == l->sum[1];
	x->ready = x->pickle.n_ids != 0;
	return 0;
}

/*
 * READ step 5.  The pickle is the mark of a persisted index; damage is
 * only written down, as the queue may still hold every vector.
 */
static int
index_load(struct chroma *c, const struct chroma_coll *cc,
    struct chroma_index *x, struct err *e)
{
	struct loader	l;
	struct err	mine, torn;
	struct buf	name, shown;
	int		fd = -1, rv = -1;

	memset(&l, 0, sizeof(l));
	memset(&mine, 0, sizeof(mine));
	memset(&torn, 0, sizeof(torn));
	l.c = c;
	l.x = x;
	buf_init(&x->arena, SIZE_MAX / 4);
	buf_init(&name, NAME_LEN);
	buf_init(&shown, CHROMA_PATH_MAX);
	buf_printf(&name, "%s/%s", cc->vector_seg, CHROMA_PICKLE);
	buf_printf(&shown, "%s/%s", c->path, cc->vector_seg);
	fd = openat(c->dirfd, buf_cstr(&name),
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ELOOP)
			err_set(&mine, MSG_DATAERR, "%s: a symbolic link",
			    buf_cstr(&name));
		else
			err_sys(&mine, errno, "%s/%s", buf_cstr(&shown),
			    CHROMA_PICKLE);
		rv = forgive(x, &mine, e);
		x->damaged = 0;
		goto done;
	}
	if (cc->dim != 0) {
		if (hnsw_open(&x->hnsw, c->dirfd, cc->vector_seg,
		    buf_cstr(&shown), cc->dim, cc->space == ITEM_COSINE,
		    &torn) == 0)
			x->open = 1;
		else if (torn.code != MSG_DATAERR &&
		    torn.code != MSG_NOINPUT) {
			*e = torn;
			goto done;
		}
	}
	if (read_pickle(&l, fd, buf_cstr(&name), e) == -1)
		goto done;
	if (!x->ready || !x->open) {
		if (x->ready && torn.code != 0)
			damage(x, torn.text);
		x->ready = 0;
		x->n = 0;
		rv = 0;
		goto done;
	}
	if (x->big && db_exec(c->db, "BEGIN", c->file, e) == -1)
		goto done;
	if (load_labels(&l, e) == -1)
		goto done;
	if (x->big && db_exec(c->db, "COMMIT", c->file, e) == -1)
		goto done;
	if (!x->big)
		join_small(x);
	rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	buf_free(&name);
	buf_free(&shown);
	return rv;
}

static void
index_clear(struct chroma_index *x)
{
	if (x->open)
		hnsw_close(&x->hnsw);
	free(x->why);
	free(x->v);
	free(x->labels);
	buf_free(&x->arena);
	memset(x, 0, sizeof(*x));
}

/* -- the walk ---------------------------------------------------------- */

/* One of the three streams: where it stands. */
struct cursor {
	sqlite3_stmt		*st;
	int			 end;
	const unsigned char	*id;	/* until the next step */
	size_t			 len;
	struct buf		 last;	/* the id before, to prove order */
	int			 any;
};

struct chroma_walk {
	struct chroma			*c;
	const struct chroma_coll	*cc;
	struct chroma_index		 x;
	struct cursor			 rows, ops, hnsw;
	size_t				 next;	/* of x.v */
	int64_t				 meta_max, vector_max;
	struct buf			 id;	/* the one handed out */
	int64_t				*overlay;
	size_t				 overlay_cap;
};

/* The id in column 0 of the row that st stands on. */
static int
cursor_id(struct chroma_walk *w, struct cursor *k, int strict, struct err *e)
{
	const void	*p;
	size_t		 n;
	int		 r;

	if (sqlite3_column_type(k->st, 0) != SQLITE_TEXT)
		return bad_coll(w->c, w->cc->name, "an id that is no text",
		    e);
	p = sqlite3_column_text(k->st, 0);
	n = (size_t)sqlite3_column_bytes(k->st, 0);
	if (p == NULL)
		return db_err(w->c->db, w->c->file, e);
	if (n == 0 || n > ITEM_ID_MAX)
		return bad_coll(w->c, w->cc->name,
		    "an id that is empty or too long", e);
	k->id = p;
	k->len = n;
	if (k->any) {
		r = item_cmp(k->last.p, k->last.len, p, n);
		if (r > 0 || (r == 0 && strict))
			return bad_coll(w->c, w->cc->name,
			    "one id twice, or ids out of order", e);
	}
	k->any = 1;
	buf_reset(&k->last);
	buf_add(&k->last, p, n);
	return 0;
}

static int
cursor_step(struct chroma_walk *w, struct cursor *k, int strict,
    struct err *e)
{
	int	r;

	if (k->st == NULL || k->end)
		return k->end = 1, 0;
	if ((r = db_step(k->st, w->c->file, e)) == -1)
		return -1;
	if (r == 0) {
		k->end = 1;
		return 0;
	}
	return cursor_id(w, k, strict, e);
}

/* The next id of the index, in memory or in the temporary table. */
static int
index_step(struct chroma_walk *w, struct err *e)
{
	struct cursor		*k = &w->hnsw;
	const struct chroma_pair *p;

	if (w->x.big)
		return cursor_step(w, k, 1, e);
	if (w->next >= w->x.n) {
		k->end = 1;
		return 0;
	}
	p = &w->x.v[w->next++];
	if (k->any && item_cmp(k->id, k->len, p->id, p->len) == 0)
		return bad_coll(w->c, w->cc->name,
		    "one id twice in " CHROMA_PICKLE, e);
	k->any = 1;
	k->id = p->id;
	k->len = p->len;
	return 0;
}

static uint64_t
index_element(const struct chroma_walk *w)
{
	if (!w->x.big)
		return w->x.v[w->next - 1].element;
	if (sqlite3_column_type(w->hnsw.st, 1) == SQLITE_NULL)
		return CHROMA_NO_ELEMENT;
	return (uint64_t)sqlite3_column_int64(w->hnsw.st, 1);
}

struct chroma_walk *
chroma_walk_new(struct chroma *c, const struct chroma_coll *cc,
    struct err *e)
{
	struct chroma_walk	*w = mem_zero(1, sizeof(*w));

	w->c = c;
	w->cc = cc;
	buf_init(&w->id, ITEM_ID_MAX + 1);
	buf_init(&w->rows.last, ITEM_ID_MAX + 1);
	buf_init(&w->ops.last, ITEM_ID_MAX + 1);
	buf_init(&w->hnsw.last, ITEM_ID_MAX + 1);
	if (index_load(c, cc, &w->x, e) == -1)
		goto fail;
	w->meta_max = cc->meta_max;
	if (w->x.ready)
		w->vector_max = cc->has_vector_max ? cc->vector_max :
		    w->x.pickle.has_max_seq_id ? w->x.pickle.max_seq_id : 0;
	w->rows.st = db_prepare(c->db, "SELECT embedding_id, id FROM "
	    "embeddings WHERE segment_id = ?1 ORDER BY embedding_id",
	    c->file, e);
	w->ops.st = db_prepare(c->db, "SELECT id, seq_id, operation, "
	    "length(vector), typeof(vector) = 'blob' FROM embeddings_queue "
	    "WHERE topic = ?1 ORDER BY id, seq_id", c->file, e);
	if (w->rows.st == NULL || w->ops.st == NULL)
		goto fail;
	if (w->x.big && w->x.n != 0) {
		w->hnsw.st = db_prepare(c->db, "SELECT h.id, l.element FROM "
		    "temp.chroma_h h LEFT JOIN temp.chroma_l l "
		    "ON l.label = h.label ORDER BY h.id", c->file, e);
		if (w->hnsw.st == NULL)
			goto fail;
	}
	if (sqlite3_bind_text(w->rows.st, 1, cc->meta_seg, -1,
	    SQLITE_STATIC) != SQLITE_OK || sqlite3_bind_text(w->ops.st, 1,
	    cc->topic, -1, SQLITE_STATIC) != SQLITE_OK) {
		db_err(c->db, c->file, e);
		goto fail;
	}
	if (cursor_step(w, &w->rows, 1, e) == -1 ||
	    cursor_step(w, &w->ops, 0, e) == -1 || index_step(w, e) == -1)
		goto fail;
	return w;
fail:
	chroma_walk_free(w);
	return NULL;
}

void
chroma_walk_free(struct chroma_walk *w)
{
	if (w == NULL)
		return;
	sqlite3_finalize(w->rows.st);
	sqlite3_finalize(w->ops.st);
	sqlite3_finalize(w->hnsw.st);
	index_clear(&w->x);
	buf_free(&w->id);
	buf_free(&w->rows.last);
	buf_free(&w->ops.last);
	buf_free(&w->hnsw.last);
	free(w->overlay);
	free(w);
}

struct chroma_index *
chroma_walk_index(struct chroma_walk *w)
{
	return &w->x;
}

/* The operation that ops stands on, on the vector side. */
static void
op_vector(struct chroma_walk *w, struct chroma_state *s, int op, int64_t seq)
{
	int	has = sqlite3_column_type(w->ops.st, 3) != SQLITE_NULL;

	if (op == CHROMA_OP_DELETE) {
		s->vector = 0;
		return;
	}
	if (!has || (op == CHROMA_OP_ADD && s->vector) ||
	    (op == CHROMA_OP_UPDATE && !s->vector))
		return;
	s->vector = 1;
	s->vector_seq = seq;
	s->vector_len = sqlite3_column_int(w->ops.st, 4) ?
	    sqlite3_column_int64(w->ops.st, 3) : -1;
	s->element = CHROMA_NO_ELEMENT;
}

/* The same on the record side. */
static int
op_record(struct chroma_walk *w, struct chroma_state *s, int op, int64_t seq,
    struct err *e)
{
	if (op == CHROMA_OP_DELETE) {
		s->record = 0;
		s->row = 0;
		s->n_overlay = 0;
		return 0;
	}
	if ((op == CHROMA_OP_ADD && s->record) ||
	    (op == CHROMA_OP_UPDATE && !s->record))
		return 0;
	s->record = 1;
	if (s->n_overlay >= CHROMA_REPLAY_MAX)
		return bad_coll(w->c, w->cc->name,
		    "too many pending operations on one id", e);
	w->overlay = mem_grow(w->overlay, &w->overlay_cap, s->n_overlay + 1,
	    sizeof(*w->overlay));
	w->overlay[s->n_overlay++] = seq;
	return 0;
}

/* The operations on the id in w->id; ops stands on the first of them. */
static int
replay(struct chroma_walk *w, struct chroma_state *s, struct err *e)
{
	int64_t	seq;
	int	op;

	do {
		seq = sqlite3_column_int64(w->ops.st, 1);
		op = sqlite3_column_int(w->ops.st, 2);
		if (sqlite3_column_type(w->ops.st, 2) != SQLITE_INTEGER ||
		    op < CHROMA_OP_ADD || op > CHROMA_OP_DELETE)
			return bad_coll(w->c, w->cc->name,
			    "unknown operation in the queue", e);
		/* an update of what was deleted brings nothing back */
		if (op != CHROMA_OP_UPDATE)
			s->deleted = op == CHROMA_OP_DELETE;
		if (seq > w->vector_max)
			op_vector(w, s, op, seq);
		if (seq > w->meta_max && op_record(w, s, op, seq, e) == -1)
			return -1;
		if (cursor_step(w, &w->ops, 0, e) == -1)
			return -1;
	} while (!w->ops.end && item_cmp(w->ops.id, w->ops.len, w->id.p,
	    w->id.len) == 0);
	s->overlay = w->overlay;
	return 0;
}

static int
is_at(const struct cursor *k, const struct buf *id)
{
	return !k->end && item_cmp(k->id, k->len, id->p, id->len) == 0;
}

int
chroma_walk_next(struct chroma_walk *w, struct chroma_state *s,
    struct err *e)
{
	struct cursor		*all[3], *min;
	int			 i;

	all[0] = &w->rows;
	all[1] = &w->ops;
	all[2] = &w->hnsw;
	do {
		min = NULL;
		for (i = 0; i < 3; i++)
			if (!all[i]->end && (min == NULL ||
			    item_cmp(all[i]->id, all[i]->len, min->id,
			    min->len) < 0))
				min = all[i];
		if (min == NULL)
			return 0;
		buf_reset(&w->id);
		buf_add(&w->id, min->id, min->len);
		memset(s, 0, sizeof(*s));
		s->id = (const char *)w->id.p;
		s->len = w->id.len;
		s->element = CHROMA_NO_ELEMENT;
		if (is_at(&w->rows, &w->id)) {
			s->record = 1;
			s->row = sqlite3_column_int64(w->rows.st, 1);
			if (cursor_step(w, &w->rows, 1, e) == -1)
				return -1;
		}
		if (is_at(&w->hnsw, &w->id)) {
			s->vector = 1;
			s->element = index_element(w);
			if (index_step(w, e) == -1)
				return -1;
		}
		if (is_at(&w->ops, &w->id) && replay(w, s, e) == -1)
			return -1;
	} while (!s->record && !s->vector && !s->deleted);
	return 1;
}

/* -- records ----------------------------------------------------------- */

/* Canonical metadata and document of one row, in reader.small_text. */
struct small {
	int64_t	row;
	size_t	meta, meta_len, doc, doc_len;
	int	has_doc;
};

struct reader {
	struct chroma		 c;
	struct store		*store;
	struct chroma_walk	*walk;
	size_t			 coll;	/* being walked */
	struct hash		*hash;
	struct meta		*meta;
	sqlite3_stmt		*meta_st, *array_st, *vector_st, *queue_st;
	int			 arrays; /* there are rows of them */
	/* of a small file: everyone's metadata, read in one go */
	struct small		*small;	/* sorted by row */
	size_t			 n_small, small_cap;
	struct buf		 small_text;
	int			 is_small;
	struct buf		 doc, json;
	unsigned char		*vec;
	size_t			 vec_cap;
};

static int
bad_item(const struct reader *r, const struct chroma_state *s,
    const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: id %.*s: %s",
	    r->c.path, r->c.colls[r->coll].name,
	    (int)(s->len < 100 ? s->len : 100), s->id, why);
}

/* Typed value in columns 1 to 4 of st: set at the key, or push. */
static int
meta_value(struct reader *r, sqlite3_stmt *st, const char *key, size_t len,
    int push)
{
	struct meta	*m = r->meta;
	const char	*s;
	double		 f;
	size_t		 n;

	if (sqlite3_column_type(st, 1) != SQLITE_NULL) {
		s = (const char *)sqlite3_column_text(st, 1);
		n = (size_t)sqlite3_column_bytes(st, 1);
		if (s == NULL || n > ITEM_TEXT_MAX || !path_utf8(s, n))
			return -1;
		if (push)
			meta_push_str(m, s, n);
		else
			meta_set_str(m, key, len, s, n);
	} else if (sqlite3_column_type(st, 2) != SQLITE_NULL) {
		if (sqlite3_column_type(st, 2) != SQLITE_INTEGER)
			return -1;
		if (push)
			meta_push_int(m, sqlite3_column_int64(st, 2));
		else
			meta_set_int(m, key, len,
			    sqlite3_column_int64(st, 2));
	} else if (sqlite3_column_type(st, 3) != SQLITE_NULL) {
		f = sqlite3_column_double(st, 3);
		if (sqlite3_column_type(st, 3) != SQLITE_FLOAT ||
		    !isfinite(f))
			return -1;
		if (push)
			meta_push_float(m, f);
		else
			meta_set_float(m, key, len, f);
	} else if (sqlite3_column_type(st, 4) != SQLITE_NULL) {
		if (sqlite3_column_type(st, 4) != SQLITE_INTEGER)
			return -1;
		if (push)
			meta_push_bool(m, sqlite3_column_int(st, 4) != 0);
		else
			meta_set_bool(m, key, len,
			    sqlite3_column_int(st, 4) != 0);
	} else
		return -1;
	return 0;
}

/* One row of embedding_metadata: 0 a value, 1 the document, -1. */
static int
meta_row(struct reader *r, sqlite3_stmt *st, const char **why)
{
	const char	*key = (const char *)sqlite3_column_text(st, 0);
	size_t		 len = (size_t)sqlite3_column_bytes(st, 0);

	*why = "metadata key is no text";
	if (key == NULL || len > ITEM_ID_MAX || !path_utf8(key, len))
		return -1;
	if (len != sizeof(CHROMA_DOC) - 1 ||
	    memcmp(key, CHROMA_DOC, len) != 0 ||
	    sqlite3_column_type(st, 1) != SQLITE_TEXT) {
		*why = "metadata value is none";
		return meta_value(r, st, key, len, 0);
	}
	*why = "document is too large or not UTF-8";
	buf_reset(&r->doc);
	key = (const char *)sqlite3_column_text(st, 1);
	len = (size_t)sqlite3_column_bytes(st, 1);
	if (key == NULL || len > ITEM_TEXT_MAX || !path_utf8(key, len))
		return -1;
	buf_add(&r->doc, key, len);
	return 1;
}

/* Scalars of an embeddings row; the document goes to r->doc. */
static int
read_row(struct reader *r, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	sqlite3_stmt	*st = r->meta_st;
	const char	*why;
	int		 got, doc;

	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		if ((doc = meta_row(r, st, &why)) == -1) {
			got = bad_item(r, s, why, e);
			break;
		}
		*has_doc |= doc;
	}
	sqlite3_reset(st);
	return got;
}

static int
read_arrays(struct reader *r, const struct chroma_state *s, struct err *e)
{
	sqlite3_stmt	*st = r->array_st;
	struct buf	 last;
	const char	*key;
	size_t		 len;
	int		 got, any = 0;

	buf_init(&last, ITEM_ID_MAX + 1);
	sqlite3_bind_int64(st, 1, s->row);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		key = (const char *)sqlite3_column_text(st, 0);
		len = (size_t)sqlite3_column_bytes(st, 0);
		if (key == NULL || len > ITEM_ID_MAX ||
		    !path_utf8(key, len)) {
			got = bad_item(r, s, "metadata key is no text", e);
			break;
		}
		if (!any || item_cmp(last.p, last.len, key, len) != 0)
			meta_set_array(r->meta, key, len);
		any = 1;
		buf_reset(&last);
		buf_add(&last, key, len);
		if (meta_value(r, st, key, len, 1) == -1) {
			got = bad_item(r, s, "metadata value is none", e);
			break;
		}
	}
	sqlite3_reset(st);
	buf_free(&last);
	return got;
}

/* Operations that the records have not seen yet, laid over them. */
static int
read_overlay(struct reader *r, const struct chroma_state *s, int *has_doc,
    struct err *e)
{
	static const size_t	 doc_len = sizeof(CHROMA_DOC) - 1;
	sqlite3_stmt		*st = r->queue_st;
	const char		*p, *why = "";
	size_t			 i, n;
	int			 got;

	if (st == NULL) {
		st = r->queue_st = db_prepare(r->c.db, "SELECT metadata FROM "
		    "embeddings_queue WHERE seq_id = ?1", r->c.file, e);
		if (st == NULL)
			return -1;
	}
	if (*has_doc)
		meta_set_str(r->meta, CHROMA_DOC, doc_len,
		    (const char *)r->doc.p, r->doc.len);
	for (i = 0; i < s->n_overlay; i++) {
		sqlite3_bind_int64(st, 1, s->overlay[i]);
		if ((got = db_step(st, r->c.file, e)) == -1)
			return -1;
		p = got == 1 ? (const char *)sqlite3_column_text(st, 0) :
		    NULL;
		n = p != NULL ? (size_t)sqlite3_column_bytes(st, 0) : 0;
		if (p != NULL && (n > ITEM_TEXT_MAX ||
		    meta_overlay(r->meta, p, n, &why) == -1)) {
			sqlite3_reset(st);
			return bad_item(r, s, "metadata in the queue is not "
			    "a flat JSON object", e);
		}
		sqlite3_reset(st);
	}
	p = meta_get_str(r->meta, CHROMA_DOC, doc_len, &n);
	*has_doc = p != NULL;
	if (p != NULL) {
		if (n > ITEM_TEXT_MAX)
			return bad_item(r, s, "document is too large", e);
		buf_reset(&r->doc);
		buf_add(&r->doc, p, n);
		meta_remove(r->meta, CHROMA_DOC, doc_len);
	}
	return 0;
}

static int
read_vector(struct reader *r, const struct chroma_state *s, struct item *it,
    struct err *e)
{
	const struct chroma_coll	*cc = &r->c.colls[r->coll];
	struct chroma_index		*x = chroma_walk_index(r->walk);
	size_t				 want = (size_t)cc->dim * 4;
	int				 got;

	if (s->vector_seq == 0) {
		if (s->element == CHROMA_NO_ELEMENT)
			return bad_item(r, s, x->why != NULL ? x->why :
			    "its vector is not in the HNSW files", e);
		if (hnsw_vector(&x->hnsw, s->element, r->vec, e) == -1)
			return -1;
		it->vec = r->vec;
		return 0;
	}
	sqlite3_reset(r->vector_st);
	sqlite3_bind_int64(r->vector_st, 1, s->vector_seq);
	if ((got = db_step(r->vector_st, r->c.file, e)) == -1)
		return -1;
	if (got == 0 ||
	    sqlite3_column_type(r->vector_st, 0) != SQLITE_BLOB ||
	    (size_t)sqlite3_column_bytes(r->vector_st, 0) != want)
		return bad_item(r, s, "its vector in the queue has not the "
		    "collection's dimension", e);
	it->vec = sqlite3_column_blob(r->vector_st, 0);
	return it->vec != NULL ? 0 : db_err(r->c.db, r->c.file, e);
}

/* -- small files ------------------------------------------------------- */

static int
small_cmp(const void *a, const void *b)
{
	const struct small	*x = a, *y = b;

	return x->row < y->row ? -1 : x->row > y->row;
}

/* What r->meta and r->doc hold is all there is of row. */
static void
small_end(struct reader *r, int64_t row, int has_doc)
{
	struct small	*m;

	r->small = mem_grow(r->small, &r->small_cap, r->n_small + 1,
	    sizeof(*r->small));
	m = &r->small[r->n_small++];
	m->row = row;
	m->meta = r->small_text.len;
	meta_json(r->meta, &r->small_text);
	m->meta_len = r->small_text.len - m->meta;
	m->doc = r->small_text.len;
	m->doc_len = has_doc ? r->doc.len : 0;
	m->has_doc = has_doc;
	buf_add(&r->small_text, r->doc.p, m->doc_len);
	meta_reset(r->meta);
}

/*
 * One scan instead of a look-up for each record: a fresh delta has each
 * record's rows in one place.  Where it has not, or anything is odd, the
 * look-ups do it, and say what is odd.
 */
static int
small_load(struct reader *r, struct err *e)
{
	sqlite3_stmt	*st;
	const char	*why;
	int64_t		 row = 0, now;
	size_t		 i;
	int		 got, doc, any = 0, has_doc = 0, ok = 1;

	st = db_prepare(r->c.db, r->c.has_bool ?
	    "SELECT key, string_value, int_value, float_value, bool_value, "
	    "id FROM embedding_metadata NOT INDEXED" :
	    "SELECT key, string_value, int_value, float_value, NULL, "
	    "id FROM embedding_metadata NOT INDEXED", r->c.file, e);
	if (st == NULL)
		return -1;
	meta_reset(r->meta);
	while (ok && (got = db_step(st, r->c.file, e)) == 1) {
		now = sqlite3_column_int64(st, 5);
		if (any && now != row) {
			small_end(r, row, has_doc);
			has_doc = 0;
		}
		any = 1;
		row = now;
		if ((doc = meta_row(r, st, &why)) == -1)
			ok = 0;
		else
			has_doc |= doc;
	}
	sqlite3_finalize(st);
	if (got == -1)
		return -1;
	if (any)
		small_end(r, row, has_doc);
	if (r->n_small != 0)
		qsort(r->small, r->n_small, sizeof(*r->small), small_cmp);
	for (i = 1; i < r->n_small && ok; i++)
		ok = r->small[i - 1].row != r->small[i].row;
	r->is_small = ok && !r->small_text.over;
	return 0;
}

static void
small_item(struct reader *r, const struct chroma_state *s, struct item *it)
{
	const struct small	*m;
	struct small		 key;

	key.row = s->row;
	m = r->n_small == 0 ? NULL : bsearch(&key, r->small, r->n_small,
	    sizeof(*r->small), small_cmp);
	it->meta = m != NULL ? (const char *)r->small_text.p + m->meta : "{}";
	it->meta_len = m != NULL ? m->meta_len : 2;
	if (m != NULL && m->has_doc) {
		it->doc = (const char *)r->small_text.p + m->doc;
		it->doc_len = m->doc_len;
	}
}

static int
read_item(struct reader *r, const struct chroma_state *s, struct item *it,
    struct err *e)
{
	const struct chroma_coll	*cc = &r->c.colls[r->coll];
	struct chroma_index		*x = chroma_walk_index(r->walk);
	int				 has_doc = 0;

	memset(it, 0, sizeof(*it));
	it->coll = (int)r->coll;
	it->id = s->id;
	it->id_len = s->len;
	it->src = -1;
	if (!path_utf8(s->id, s->len))
		return bad_item(r, s, "its id is not UTF-8", e);
	if (s->record != s->vector)
		return bad_item(r, s, s->vector ? "a vector without record" :
		    x->why != NULL ? x->why : "no vector anywhere", e);
	if (!s->record) {
		it->dead = 1;
		item_digest(r->hash, cc->name, cc->dim, it);
		return 0;
	}
	if (cc->dim == 0)
		return bad_item(r, s, "a record in a collection without "
		    "dimension", e);
	if (read_vector(r, s, it, e) == -1)
		return -1;
	if (r->is_small && s->row != 0 && s->n_overlay == 0) {
		small_item(r, s, it);
		item_digest(r->hash, cc->name, cc->dim, it);
		return 0;
	}
	meta_reset(r->meta);
	if (s->row != 0) {
		if (read_row(r, s, &has_doc, e) == -1 ||
		    (r->arrays && read_arrays(r, s, e) == -1))
			return -1;
	}
	if (s->n_overlay != 0 && read_overlay(r, s, &has_doc, e) == -1)
		return -1;
	buf_reset(&r->json);
	meta_json(r->meta, &r->json);
	if (r->json.over)
		return bad_item(r, s, "its metadata are too large", e);
	it->meta = buf_cstr(&r->json);
	it->meta_len = r->json.len;
	if (has_doc) {
		it->doc = buf_cstr(&r->doc);
		it->doc_len = r->doc.len;
	}
	item_digest(r->hash, cc->name, cc->dim, it);
	return 0;
}

static int
reader_next(void *impl, struct item *it, struct err *e)
{
	struct reader		*r = impl;
	struct chroma_state	 s;
	int			 got;

	for (;;) {
		if (r->coll >= r->c.n)
			return 0;
		if (r->walk == NULL) {
			size_t	need = (size_t)r->c.colls[r->coll].dim * 4;

			r->vec = mem_grow(r->vec, &r->vec_cap, need, 1);
			r->walk = chroma_walk_new(&r->c,
			    &r->c.colls[r->coll], e);
			if (r->walk == NULL)
				return -1;
		}
		if ((got = chroma_walk_next(r->walk, &s, e)) == -1)
			return -1;
		if (got == 1)
			return read_item(r, &s, it, e) == -1 ? -1 : 1;
		chroma_walk_free(r->walk);
		r->walk = NULL;
		r->coll++;
	}
}

static void
reader_close(void *impl)
{
	struct reader	*r = impl;
	struct err	 e;

	memset(&e, 0, sizeof(e));
	chroma_walk_free(r->walk);
	sqlite3_finalize(r->meta_st);
	sqlite3_finalize(r->array_st);
	sqlite3_finalize(r->vector_st);
	sqlite3_finalize(r->queue_st);
	hash_free(r->hash);
	meta_free(r->meta);
	buf_free(&r->doc);
	buf_free(&r->json);
	buf_free(&r->small_text);
	free(r->small);
	free(r->vec);
	/* a handle that only read has nothing to lose in closing */
	(void)chroma_clear(&r->c, &e);
	free(r);
}

static int
reader_prepare(struct reader *r, struct err *e)
{
	struct chroma	*c = &r->c;
	int64_t		 one;

	r->meta_st = db_prepare(c->db, c->has_bool ?
	    "SELECT key, string_value, int_value, float_value, bool_value "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key" :
	    "SELECT key, string_value, int_value, float_value, NULL "
	    "FROM embedding_metadata WHERE id = ?1 ORDER BY key",
	    c->file, e);
	r->vector_st = db_prepare(c->db, "SELECT vector FROM "
	    "embeddings_queue WHERE seq_id = ?1", c->file, e);
	if (r->meta_st == NULL || r->vector_st == NULL)
		return -1;
	if (!c->has_array)
		return c->small ? small_load(r, e) : 0;
	r->arrays = db_int(c->db,
	    "SELECT 1 FROM embedding_metadata_array LIMIT 1", c->file, &one,
	    e);
	if (r->arrays == -1)
		return -1;
	if (r->arrays == 0)
		return c->small ? small_load(r, e) : 0;
	r->array_st = db_prepare(c->db, "SELECT key, string_value, "
	    "int_value, float_value, bool_value FROM "
	    "embedding_metadata_array WHERE id = ?1 ORDER BY key, rowid",
	    c->file, e);
	return r->array_st == NULL ? -1 : 0;
}

static void
put_text(struct buf *b, const char *key, const char *s)
{
	json_put_key(b, key);
	if (s == NULL)
		buf_str(b, "null");
	else
		json_put_str(b, s, strlen(s));
}

/* {"uuid":..,"config":..,"schema":..,"metadata":{..}} */
static char *
coll_json(struct reader *r, const struct chroma_coll *cc, struct err *e)
{
	struct buf	 b;
	sqlite3_stmt	*st;
	const char	*key;
	char		*rv = NULL;
	int		 got;

	st = db_prepare(r->c.db, r->c.has_coll_bool ?
	    "SELECT key, str_value, int_value, float_value, bool_value "
	    "FROM collection_metadata WHERE collection_id = ?1" :
	    "SELECT key, str_value, int_value, float_value, NULL "
	    "FROM collection_metadata WHERE collection_id = ?1",
	    r->c.file, e);
	if (st == NULL)
		return NULL;
	buf_init(&b, 8 * CHROMA_CONFIG_MAX);
	sqlite3_bind_text(st, 1, cc->uuid, -1, SQLITE_STATIC);
	meta_reset(r->meta);
	while ((got = db_step(st, r->c.file, e)) == 1) {
		key = (const char *)sqlite3_column_text(st, 0);
		if (key == NULL || !path_utf8(key, (size_t)
		    sqlite3_column_bytes(st, 0)) || meta_value(r, st, key,
		    (size_t)sqlite3_column_bytes(st, 0), 0) == -1) {
			bad_coll(&r->c, cc->name, "bad metadata", e);
			goto done;
		}
	}
	if (got == -1)
		goto done;
	buf_addc(&b, '{');
	put_text(&b, "uuid", cc->uuid);
	put_text(&b, "config", cc->config);
	put_text(&b, "schema", cc->schema);
	json_put_key(&b, "metadata");
	meta_json(r->meta, &b);
	buf_addc(&b, '}');
	if (b.over)
		bad_coll(&r->c, cc->name, "configuration too large", e);
	else
		rv = mem_dup(buf_cstr(&b));
done:
	sqlite3_finalize(st);
	buf_free(&b);
	return rv;
}

static int
publish_colls(struct reader *r, struct store *s, struct err *e)
{
	struct item_coll		*ic;
	const struct chroma_coll	*cc;
	size_t				 i;

	s->colls = mem_zero(r->c.n, sizeof(*s->colls));
	for (i = 0; i < r->c.n; i++) {
		cc = &r->c.colls[i];
		ic = &s->colls[i];
		s->n_colls = i + 1;
		ic->name = mem_dup(cc->name);
		ic->dim = cc->dim;
		ic->space = cc->space;
		ic->space_known = 1;
		if (cc->model != NULL)
			ic->model = mem_dup(cc->model);
		if ((ic->config = coll_json(r, cc, e)) == NULL)
			return -1;
	}
	return 0;
}

int
chroma_open(struct store *s, const char *path, int flags, struct err *e)
{
	static const struct store_ops	ops = { reader_next, reader_close };
	struct reader			*r = mem_zero(1, sizeof(*r));
	size_t				 i;

	r->hash = hash_new();
	r->meta = meta_new();
	buf_init(&r->doc, ITEM_TEXT_MAX);
	buf_init(&r->json, ITEM_TEXT_MAX);
	buf_init(&r->small_text, 8 * (size_t)CHROMA_SMALL_FILE);
	if (chroma_start(&r->c, path, flags, e) == -1 ||
	    chroma_read_colls(&r->c, e) == -1 ||
	    reader_prepare(r, e) == -1 || publish_colls(r, s, e) == -1) {
		reader_close(r);
		for (i = 0; i < s->n_colls; i++)
			item_coll_clear(&s->colls[i]);
		free(s->colls);
		s->colls = NULL;
		s->n_colls = 0;
		return -1;
	}
	s->format = STORE_CHROMA;
	s->ops = &ops;
	s->impl = r;
	s->sorted = 1;
	return 0;
}
