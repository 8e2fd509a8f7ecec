/*
 * chroma: opening a ChromaDB directory, whether it is hot, and what its
 * collections say of themselves.  Which ids it holds is chroma_walk.c's,
 * what they are chroma_read.c's.
 *
 * It repairs nothing and guesses nothing.
 * SPDX-License-Identifier: ISC
 */
#include "chroma.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
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
#define JOURNAL_END 16		/* bytes behind a name at a journal's end */

/* -- journals ---------------------------------------------------------- */

static const unsigned char journal_magic[8] = {
	0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7
};

/* The first n bytes of path/name; *size its size, or UINT64_MAX: none. */
static int
head_of(const char *path, const char *suffix, unsigned char *b, size_t n,
    uint64_t *size, struct err *e)
{
	struct buf	 name;
	struct stat	 st;
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
	if (fstat(fd, &st) == -1 ||
	    (S_ISREG(st.st_mode) && io_pread(fd, b, n, 0) == -1)) {
		err_sys(e, errno, "%s", buf_cstr(&name));
		goto done;
	}
	/* a directory or fifo of that name is no journal */
	if (S_ISREG(st.st_mode))
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
	unsigned char	b[HEADER_LEN];
	uint64_t	size;

	if (head_of(path, "-journal", b, sizeof(journal_magic), &size, e) ==
	    -1)
		return -1;
	if (size != UINT64_MAX &&
	    memcmp(b, journal_magic, sizeof(journal_magic)) == 0)
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

/*
 * Does the journal name another one at its end, as that of a transaction
 * over several databases does?  Who rolls it back opens what is named,
 * whatever that is, and removes it: no stranger may name us a file.  Its
 * beginning need not be that of a journal for it.
 */
static int
check_journal(const struct chroma *c, struct err *e)
{
	unsigned char	b[JOURNAL_END];
	struct stat	st;
	uint32_t	len;
	int		fd, rv = -1;

	fd = openat(c->dirfd, CHROMA_FILE "-journal",
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT || errno == ELOOP ? 0 :
		    err_sys(e, errno, "%s-journal", c->file);
	memset(b, 0, sizeof(b));
	if (fstat(fd, &st) == -1 || (S_ISREG(st.st_mode) &&
	    st.st_size > JOURNAL_END && io_pread(fd, b, sizeof(b),
	    (uint64_t)st.st_size - JOURNAL_END) == -1)) {
		err_sys(e, errno, "%s-journal", c->file);
		goto done;
	}
	len = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
	    (uint32_t)b[2] << 8 | b[3];
	if (memcmp(b + 8, journal_magic, sizeof(journal_magic)) == 0 &&
	    len != 0 && len <= (uint64_t)st.st_size - JOURNAL_END)
		err_set(e, MSG_DATAERR, "%s-journal: it names another "
		    "journal, which is not looked at", c->file);
	else
		rv = 0;
done:
	(void)close(fd);
	return rv;
}

/* -- opening ----------------------------------------------------------- */

int
chroma_has_column(const struct chroma *c, const char *table,
    const char *column, struct err *e)
{
	int	rc, data = 0;

	rc = sqlite3_table_column_metadata(c->db, "main", table, column,
	    NULL, NULL, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return 1;
	/* it is not there, or nothing is: who reads on is told why */
	if (db_status(rc, &data) == MSG_DATAERR && data)
		return 0;
	return db_err(c->db, c->file, e);
}

/* What came with some version of ChromaDB. */
static int
find_columns(struct chroma *c, struct err *e)
{
	const struct {
		int		*has;
		const char	*table, *column;
	} v[] = {
		{ &c->has_databases, "collections", "database_id" },
		{ &c->has_topic, "collections", "topic" },
		{ &c->has_config, "collections", "config_json_str" },
		{ &c->has_schema, "collections", "schema_str" },
		{ &c->has_coll_bool, "collection_metadata", "bool_value" },
		{ &c->has_bool, "embedding_metadata", "bool_value" },
		{ &c->has_array, "embedding_metadata_array", "key" }
	};
	size_t	i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if ((*v[i].has = chroma_has_column(c, v[i].table,
		    v[i].column, e)) == -1)
			return -1;
	return 0;
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

/* Does a ledger lie beside it? */
static int
find_ledger(struct chroma *c, struct err *e)
{
	struct stat	st;

	if (fstatat(c->dirfd, LEDGER_FILE, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			return err_sys(e, errno, "%s/%s", c->path,
			    LEDGER_FILE);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s/%s: not a regular file",
		    c->path, LEDGER_FILE);
	c->ours = 1;
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
	} else if (check_journal(c, e) == -1)
		return -1;
	if (fstatat(c->dirfd, CHROMA_FILE, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return err_sys(e, errno, "%s", c->file);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s: not a regular file",
		    c->file);
	if (find_ledger(c, e) == -1)
		return -1;
	c->small = st.st_size <= (off_t)CHROMA_SMALL_FILE;
	c->memory = c->small && (flags & STORE_RECOVER) == 0;
	c->db = db_open(c->file, (flags & STORE_RECOVER) != 0 ? DB_RECOVER :
	    c->memory ? DB_MEMORY : DB_FROZEN,
	    c->small ? CACHE_SMALL_KIB : CACHE_KIB, e);
	if (c->db == NULL)
		return -1;
	return find_columns(c, e);
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

int
chroma_bad(const struct chroma *c, const char *name, const char *why,
    struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: %s", c->path,
	    name != NULL ? name : "?", why);
}

int
chroma_bad_id(const struct chroma *c, const char *name,
    const struct chroma_state *s, const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s: collection %.100s: id %.*s: %s",
	    c->path, name, (int)(s->len < 100 ? s->len : 100), s->id, why);
}

/* A text of at most max bytes without NUL, copied; NULL: it is not. */
static char *
text(sqlite3_stmt *st, int col, size_t max)
{
	const void	*p;
	size_t		 n;

	if (sqlite3_column_type(st, col) != SQLITE_TEXT)
		return NULL;
	p = db_text(st, col);
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

/* Is it none at all, or one JSON object? */
static int
is_config(const char *s)
{
	size_t	n;

	if (s == NULL)
		return 1;
	n = strspn(s, " \t\r\n");
	return (s[n] == '{' || strcmp(s + n, "null") == 0) &&
	    json_valid(s, strlen(s));
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
	if (!is_config(cc->schema) || !is_config(cc->config))
		goto bad;
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
	return chroma_bad(c, cc->name,
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
		return chroma_bad(c, NULL, "its name is no text", e);
	cc->uuid = text(st, 0, 36);
	if (cc->uuid == NULL || !chroma_is_uuid(cc->uuid))
		return chroma_bad(c, cc->name, "its id is not a uuid", e);
	if (sqlite3_column_type(st, 2) != SQLITE_NULL) {
		dim = sqlite3_column_int64(st, 2);
		if (sqlite3_column_type(st, 2) != SQLITE_INTEGER || dim < 1 ||
		    dim > (int64_t)ITEM_DIM_MAX)
			return chroma_bad(c, cc->name,
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
		return chroma_bad(c, cc->name,
		    "topic, configuration or schema are no text", e);
	cc->vector_seg = text(st, 6, 36);
	cc->meta_seg = text(st, 7, 36);
	if (cc->vector_seg == NULL || cc->meta_seg == NULL ||
	    !chroma_is_uuid(cc->vector_seg) || !chroma_is_uuid(cc->meta_seg))
		return chroma_bad(c, cc->name,
		    "no VECTOR or no METADATA segment", e);
	if (sqlite3_column_type(st, 8) != SQLITE_NULL) {
		cc->has_vector_max = 1;
		if (chroma_seq(st, 8, &cc->vector_max) == -1)
			return chroma_bad(c, cc->name, "bad max_seq_id", e);
	}
	if (sqlite3_column_type(st, 9) != SQLITE_NULL) {
		cc->has_meta_max = 1;
		if (chroma_seq(st, 9, &cc->meta_max) == -1)
			return chroma_bad(c, cc->name, "bad max_seq_id", e);
	}
	if (sqlite3_column_type(st, 10) != SQLITE_NULL) {
		seg = text(st, 10, 64);
		if (seg == NULL)
			return chroma_bad(c, cc->name,
			    "hnsw:space is no text", e);
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
			r = chroma_bad(c, cc->name, "there twice, or two "
			    "segments of one scope", e);
			break;
		}
	}
	sqlite3_finalize(st);
	return r;
}
