/*
 * samples: every real ChromaDB directory in tests/data/samples is judged
 * and, when valid, read and compared with what the server returned.
 * SPDX-License-Identifier: ISC
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "chroma.h"
#include "db.h"
#include "io.h"
#include "json.h"
#include "ledger.h"
#include "mem.h"
#include "store.h"
#include "tap.h"
#include "tmp.h"

#define FLIPS 400
#define REL 4e-7	/* of a vector that was stored normalised */

/* What must be said of the bad ones; and a word of the reason. */
static const struct {
	const char	*name;
	enum check_code	 code;
	const char	*word;
} refused[] = {
	{ "bad_collection_row_deleted", CHECK_COLLECTION, "no collection" },
	{ "bad_created_at", CHECK_QUEUE, "created_at" },
	{ "bad_database_row_deleted", CHECK_COLLECTION, "database" },
	{ "bad_fts_emptied", CHECK_METADATA, "full-text" },
	{ "bad_header_count_low", CHECK_INDEX, "header" },
	{ "bad_hnsw_dir_missing", CHECK_INDEX, "No such file" },
	{ "bad_hnsw_wrong_dim", CHECK_INDEX, "dimension" },
	{ "bad_hot_journal_lost", CHECK_TORN, "size" },
	{ "bad_invalid_utf8_id", CHECK_UTF8, "id" },
	{ "bad_killed_pickle_size0", CHECK_INDEX, "0 bytes" },
	{ "bad_length_size0", CHECK_INDEX, "length.bin" },
	{ "bad_level0_trunc", CHECK_INDEX, "data_level0.bin" },
	{ "bad_link_lists_size0", CHECK_INDEX, "link_lists.bin" },
	{ "bad_magic", CHECK_NOTADB, "magic" },
	{ "bad_max_seq_too_high", CHECK_SEQ, "1000000" },
	{ "bad_metadata_emptied", CHECK_METADATA, "full-text" },
	{ "bad_migration_hash", CHECK_SCHEMA, "migration" },
	{ "bad_pickle_missing", CHECK_INDEX, "index_metadata.pickle" },
	{ "bad_pickle_trunc", CHECK_INDEX, "ends early" },
	{ "bad_queue_emptied_max_kept", CHECK_SEQ, "max_seq_id" },
	{ "bad_queue_encoding", CHECK_QUEUE, "encoding" },
	{ "bad_queue_vector_len", CHECK_QUEUE, "16 bytes" },
	{ "bad_records_lost", CHECK_VECTOR, "5 vectors" },
	{ "bad_size0", CHECK_SIZE, "0 bytes" },
	{ "bad_trunc50", CHECK_TORN, "size" },
	{ "bad_vector_segment_missing", CHECK_SEGMENT, "VECTOR" },
	{ "bad_vectors_nowhere", CHECK_VECTOR, "5 records" },
	{ "bad_xml_error_body", CHECK_NOTADB, "magic" },
	{ "bad_zeroed_embeddings_leaf", CHECK_CORRUPT, "" },
	{ "bad_zeroed_fts_leaf", CHECK_CORRUPT, "" },
	{ "bad_zeroed_queue_leaf", CHECK_CORRUPT, "" },
};
#define N_REFUSED (sizeof(refused) / sizeof(refused[0]))

static const char *const valid[] = {
	"clean_small", "dim1536", "dim384", "empty_collection",
	"hnsw_plus_queue", "killed_torn_hnsw", "legacy_py0424_synthetic",
	"legacy_py063_synthetic", "metadata_types", "no_collection",
	"purged_hnsw_cosine", "purged_hnsw_l2", "py1021_clean",
	"py1021_purged", "py135_clean", "py140_purged", "server_after_ours",
	"server_after_ours_persisted", "server_leftovers",
	"two_collections", "updates_deletes"
};
#define N_VALID (sizeof(valid) / sizeof(valid[0]))

static const char *const hot[] = {
	"killed_hot_journal_real", "killed_hot_journal_torn_main"
};
#define N_HOT (sizeof(hot) / sizeof(hot[0]))

struct want {
	char	*coll, *id, *doc;
	size_t	 id_len, doc_len;
	float	*vec;
	size_t	 n, cap;
	char	*meta;		/* as norm() writes it */
};

struct wants {
	struct want	*v;
	size_t		 n, cap;
};

static char	data[1024];

static int
want_cmp(const void *a, const void *b)
{
	const struct want	*x = a, *y = b;
	int			 r = strcmp(x->coll, y->coll);

	return r != 0 ? r : item_cmp(x->id, x->id_len, y->id, y->id_len);
}

static void
wants_clear(struct wants *w)
{
	size_t	i;

	for (i = 0; i < w->n; i++) {
		free(w->v[i].coll);
		free(w->v[i].id);
		free(w->v[i].doc);
		free(w->v[i].vec);
		free(w->v[i].meta);
	}
	free(w->v);
	memset(w, 0, sizeof(*w));
}

/* Metadata with all numbers as floats: JSON cannot tell 0 from 0.0. */
static char *
norm(const char *s, size_t len, int drop)
{
	struct meta	*m = meta_new();
	struct json	 j;
	struct json_val	 v;
	struct buf	 b;
	char		*rv;
	int		 arr = 0;

	json_init(&j, s, len);
	buf_init(&b, 1 << 20);
	for (;;) {
		(void)json_next(&j, &v);
		if (v.type == JSON_EOF || v.type == JSON_BAD)
			break;
		if (v.type == JSON_CLOSE)
			arr = 0;
		else if (v.type == JSON_ARR) {
			arr = 1;
			meta_set_array(m, v.key, v.key_len);
		} else if (v.type == JSON_STR && arr)
			meta_push_str(m, v.str, v.len);
		else if (v.type == JSON_STR)
			meta_set_str(m, v.key, v.key_len, v.str, v.len);
		else if (v.type == JSON_BOOL && arr)
			meta_push_bool(m, (int)v.i);
		else if (v.type == JSON_BOOL)
			meta_set_bool(m, v.key, v.key_len, (int)v.i);
		else if (v.type == JSON_INT && arr)
			meta_push_float(m, (double)v.i);
		else if (v.type == JSON_INT)
			meta_set_float(m, v.key, v.key_len, (double)v.i);
		else if (v.type == JSON_FLOAT && arr)
			meta_push_float(m, v.f);
		else if (v.type == JSON_FLOAT)
			meta_set_float(m, v.key, v.key_len, v.f);
	}
	/* the server returns it apart; we keep it as what it is */
	if (drop)
		meta_remove(m, "chroma:uri", 10);
	meta_json(m, &b);
	rv = mem_dup(buf_cstr(&b));
	json_clear(&j);
	buf_free(&b);
	meta_free(m);
	return rv;
}

/* One record object; j stands behind its brace. */
static int
want_record(struct json *j, struct wants *w, const char *coll)
{
	struct json_val	 v;
	struct want	*x;
	const char	*raw;

	w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof(*w->v));
	x = &w->v[w->n++];
	memset(x, 0, sizeof(*x));
	x->coll = mem_dup(coll);
	x->meta = mem_dup("{}");
	while (json_next(j, &v) != JSON_CLOSE) {
		if (v.type == JSON_BAD)
			return -1;
		if (json_is(&v, "id")) {
			x->id = mem_ndup(v.str, v.len);
			x->id_len = v.len;
		} else if (json_is(&v, "document") && v.type == JSON_STR) {
			x->doc = mem_ndup(v.str, v.len);
			x->doc_len = v.len;
		} else if (json_is(&v, "metadata") && v.type == JSON_OBJ) {
			raw = v.raw;
			if (json_skip(j) == -1)
				return -1;
			free(x->meta);
			x->meta = norm(raw, (size_t)(j->s + j->pos - raw),
			    0);
		} else if (json_is(&v, "vector") && v.type == JSON_ARR) {
			while (json_next(j, &v) != JSON_CLOSE) {
				if (v.type == JSON_BAD)
					return -1;
				x->vec = mem_grow(x->vec, &x->cap, x->n + 1,
				    sizeof(*x->vec));
				x->vec[x->n++] = v.type == JSON_INT ?
				    (float)v.i : (float)v.f;
			}
		} else if (v.type == JSON_OBJ || v.type == JSON_ARR) {
			if (json_skip(j) == -1)
				return -1;
		}
	}
	return 0;
}

static int
want_collection(struct json *j, struct wants *w)
{
	struct json_val	 v;
	char		*name = NULL;

	while (json_next(j, &v) != JSON_CLOSE) {
		if (v.type == JSON_BAD)
			goto bad;
		if (json_is(&v, "name")) {
			free(name);
			name = mem_ndup(v.str, v.len);
		} else if (json_is(&v, "records")) {
			while (json_next(j, &v) != JSON_CLOSE)
				if (v.type != JSON_OBJ ||
				    want_record(j, w, name) == -1)
					goto bad;
		} else if (v.type == JSON_OBJ || v.type == JSON_ARR) {
			if (json_skip(j) == -1)
				goto bad;
		}
	}
	free(name);
	return 0;
bad:
	free(name);
	return -1;
}

static int
load(const char *sample, struct wants *w)
{
	struct json	 j;
	struct json_val	 v;
	struct buf	 b, name;
	struct err	 e;
	int		 rv = -1;

	memset(&e, 0, sizeof(e));
	memset(w, 0, sizeof(*w));
	buf_init(&b, 64 << 20);
	buf_init(&name, 4096);
	buf_printf(&name, "%s/samples/%s/expected.json", data, sample);
	if (io_slurp(AT_FDCWD, buf_cstr(&name), &b, &e) == -1) {
		printf("# %s\n", e.text);
		goto done;
	}
	json_init(&j, (char *)b.p, b.len);
	(void)json_next(&j, &v);
	while (json_next(&j, &v) != JSON_CLOSE) {
		if (v.type == JSON_BAD)
			break;
		if (json_is(&v, "collections") && v.type == JSON_ARR) {
			while (json_next(&j, &v) != JSON_CLOSE)
				if (v.type != JSON_OBJ ||
				    want_collection(&j, w) == -1)
					break;
		} else if (v.type == JSON_OBJ || v.type == JSON_ARR)
			(void)json_skip(&j);
	}
	rv = j.why != NULL ? -1 : 0;
	json_clear(&j);
	if (w->n != 0)
		qsort(w->v, w->n, sizeof(*w->v), want_cmp);
done:
	buf_free(&b);
	buf_free(&name);
	return rv;
}

static int
same_vec(const struct item_coll *c, const struct want *w, const void *vec)
{
	const unsigned char	*p = vec;
	uint32_t		 i, u;
	float			 f;

	if (w->n != c->dim)
		return 0;
	for (i = 0; i < c->dim; i++) {
		u = buf_get_le32(p + 4 * (size_t)i);
		memcpy(&f, &u, 4);
		if (memcmp(&f, &w->vec[i], 4) == 0)
			continue;
		if (c->space != ITEM_COSINE ||
		    fabs((double)f - (double)w->vec[i]) >
		    REL * fabs((double)w->vec[i]))
			return 0;
	}
	return 1;
}

static int
same_item(const struct store *s, const struct item *it, const struct want *w)
{
	const struct item_coll	*c = &s->colls[it->coll];
	char			*m;
	int			 ok = 1;

	m = norm(it->meta, it->meta_len, 1);
	if (strcmp(c->name, w->coll) != 0 || it->id_len != w->id_len ||
	    memcmp(it->id, w->id, w->id_len) != 0) {
		printf("# id: want %s, got %.*s\n", w->id, (int)it->id_len,
		    it->id);
		ok = 0;
	} else if (!same_vec(c, w, it->vec)) {
		printf("# %s: vector differs\n", w->id);
		ok = 0;
	} else if ((it->doc == NULL) != (w->doc == NULL) ||
	    (w->doc != NULL && (it->doc_len != w->doc_len ||
	    memcmp(it->doc, w->doc, w->doc_len) != 0))) {
		printf("# %s: document differs\n", w->id);
		ok = 0;
	} else if (strcmp(m, w->meta) != 0) {
		printf("# %s: metadata: want %s, got %s\n", w->id, w->meta,
		    m);
		ok = 0;
	}
	free(m);
	return ok;
}

/*
 * Read the store at path and hold it against w.  digest, when not NULL,
 * gets the content digest; dead the number of tombstones.
 */
static int
compare(const char *path, int flags, const struct wants *w,
    unsigned char *digest, size_t *dead)
{
	struct hash	*h = hash_new();
	struct store	*s;
	struct item	 it;
	struct err	 e;
	size_t		 i = 0;
	int		 r, ok = 1;

	memset(&e, 0, sizeof(e));
	*dead = 0;
	if ((s = store_open(path, STORE_CHROMA, flags, &e)) == NULL) {
		printf("# %s\n", e.text);
		hash_free(h);
		return 0;
	}
	item_content_start(h);
	while ((r = store_next(s, &it, &e)) == 1) {
		if (it.dead) {
			(*dead)++;
			continue;
		}
		item_content_add(h, s->colls[it.coll].name, &it);
		if (i >= w->n || !same_item(s, &it, &w->v[i])) {
			ok = 0;
			break;
		}
		i++;
	}
	if (r == -1) {
		printf("# %s\n", e.text);
		ok = 0;
	}
	if (ok && i != w->n) {
		printf("# records: want %zu, got %zu\n", w->n, i);
		ok = 0;
	}
	if (digest != NULL)
		hash_final(h, digest);
	hash_free(h);
	store_close(s);
	return ok;
}

/* Copy src to dst, files and directories. */
static int
copy_tree(const char *src, const char *dst)
{
	struct dirent	*d;
	struct stat	 st;
	struct err	 e;
	char		 a[2048], b[2048];
	DIR		*dir;
	uint64_t	 n;
	int		 in, out, rv = 0;

	memset(&e, 0, sizeof(e));
	if (mkdir(dst, 0700) == -1 || (dir = opendir(src)) == NULL)
		return -1;
	while (rv == 0 && (d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.')
			continue;
		(void)snprintf(a, sizeof(a), "%s/%s", src, d->d_name);
		(void)snprintf(b, sizeof(b), "%s/%s", dst, d->d_name);
		if (stat(a, &st) == -1) {
			rv = -1;
		} else if (S_ISDIR(st.st_mode)) {
			rv = copy_tree(a, b);
		} else {
			in = open(a, O_RDONLY);
			out = open(b, O_WRONLY | O_CREAT | O_EXCL, 0600);
			if (in == -1 || out == -1 ||
			    io_copy(in, out, a, NULL, &n, &e) == -1)
				rv = -1;
			(void)close(in);
			(void)close(out);
		}
	}
	(void)closedir(dir);
	return rv;
}

static char	work[TMP_DIR], copy[128];

/* A private copy of a sample's directory, in copy. */
static int
private(const char *sample)
{
	static int	n;
	char		src[2048];

	(void)snprintf(src, sizeof(src), "%s/samples/%s/db", data, sample);
	(void)snprintf(copy, sizeof(copy), "%s/%d", work, n++);
	return copy_tree(src, copy);
}

/* 1 when path is accepted, 0 refused, -1. */
static int
judge(const char *path, int flags, struct check_verdict *v)
{
	struct err	e;
	int		r;

	memset(&e, 0, sizeof(e));
	memset(v, 0, sizeof(*v));
	r = chroma_check(path, flags, NULL, v, &e);
	if (r == -1)
		printf("# machine: %s\n", e.text);
	else if (r == 1)
		printf("# %s: %s\n", check_code_name(v->code), v->reason);
	return r == -1 ? -1 : r == 0;
}

static int
sql(const char *dir, const char *text)
{
	struct sqlite3	*db;
	struct err	 e;
	char		 file[256];
	int		 r;

	memset(&e, 0, sizeof(e));
	(void)snprintf(file, sizeof(file), "%s/%s", dir, CHROMA_FILE);
	if ((db = db_open(file, DB_SHARED, 0, &e)) == NULL)
		return -1;
	/* not hot afterwards */
	r = db_exec(db, "PRAGMA journal_mode=DELETE;"
	    "PRAGMA foreign_keys=OFF", file, &e);
	if (r == 0)
		r = db_exec(db, text, file, &e);
	if (r == -1)
		printf("# %s\n", e.text);
	(void)db_close(db, file, &e);
	return r;
}

static void
test_valid(const char *name)
{
	struct check_verdict	v;
	struct wants		w;
	char			path[2048];
	size_t			dead;

	(void)snprintf(path, sizeof(path), "%s/samples/%s/db", data, name);
	tap_ok(judge(path, CHECK_ALLOW_EMPTY, &v) == 1, "%s: accepted",
	    name);
	tap_ok(load(name, &w) == 0 && compare(path, 0, &w, NULL, &dead),
	    "%s: equals expected.json", name);
	wants_clear(&w);
}

static void
test_refused(size_t i)
{
	struct check_verdict	v;
	char			path[2048];

	(void)snprintf(path, sizeof(path), "%s/samples/%s/db", data,
	    refused[i].name);
	if (!tap_ok(judge(path, CHECK_ALLOW_EMPTY, &v) == 0 &&
	    v.code == refused[i].code &&
	    strstr(v.reason, refused[i].word) != NULL, "%s: refused as %s",
	    refused[i].name, check_code_name(refused[i].code)))
		printf("# want \"%s\" in the reason\n", refused[i].word);
}

static void
test_hot(const char *name)
{
	struct check_verdict	v;
	struct wants		w;
	char			path[2048];
	size_t			dead;

	(void)snprintf(path, sizeof(path), "%s/samples/%s/db", data, name);
	tap_ok(judge(path, 0, &v) == 0 && v.code == CHECK_HOT,
	    "%s: refused as hot", name);
	tap_ok(private(name) == 0 &&
	    judge(copy, CHECK_RECOVER_HOT, &v) == 1,
	    "%s: accepted when it may be recovered", name);
	tap_ok(load(name, &w) == 0 &&
	    compare(copy, STORE_RECOVER, &w, NULL, &dead),
	    "%s: equals expected.json", name);
	wants_clear(&w);
}

/* The same records, when only the queue holds them (method A). */
static void
test_queue_only(const char *name, size_t tombstones)
{
	struct check_verdict	v;
	struct wants		w;
	unsigned char		a[HASH_LEN], b[HASH_LEN];
	char			path[2048];
	size_t			dead;
	int			ok;

	(void)snprintf(path, sizeof(path), "%s/samples/%s/db", data, name);
	ok = load(name, &w) == 0 && compare(path, 0, &w, a, &dead) &&
	    dead == tombstones;
	ok = private(name) == 0 && sql(copy, "DELETE FROM embeddings;"
	    "DELETE FROM embedding_metadata;"
	    "DELETE FROM embedding_fulltext_search;"
	    "DELETE FROM max_seq_id") == 0 && ok;
	tap_ok(ok && compare(copy, 0, &w, b, &dead) && dead == tombstones &&
	    memcmp(a, b, sizeof(a)) == 0,
	    "%s: the queue alone gives the same content and %zu tombstones",
	    name, tombstones);
	tap_ok(judge(copy, 0, &v) == 0 && v.code == CHECK_HOT,
	    "%s: unapplied operations are refused as hot", name);
	tap_ok(judge(copy, CHECK_RECOVER_HOT, &v) == 1,
	    "%s: unless it may be recovered", name);
	wants_clear(&w);
}

static const struct {
	const char	*what, *sample, *sql;
	enum check_code	 code;
} damages[] = {
	{ "empty id", "clean_small",
	    "UPDATE embeddings SET embedding_id = '' WHERE id = 3",
	    CHECK_COLLECTION },
	{ "orphan metadata", "clean_small",
	    "INSERT INTO embedding_metadata(id, key, int_value) "
	    "VALUES (4000, 'k', 1)", CHECK_METADATA },
	{ "metadata with two values", "clean_small",
	    "UPDATE embedding_metadata SET string_value = 'x' "
	    "WHERE id = 2 AND key = 'line_id'", CHECK_METADATA },
	{ "metadata without value", "clean_small",
	    "UPDATE embedding_metadata SET int_value = NULL "
	    "WHERE id = 2 AND key = 'line_id'", CHECK_METADATA },
	{ "orphan full-text row", "clean_small",
	    "INSERT INTO embedding_fulltext_search(rowid, string_value) "
	    "VALUES (4000, 'lost')", CHECK_METADATA },
	{ "full-text differs", "clean_small",
	    "UPDATE embedding_fulltext_search SET string_value = 'other' "
	    "WHERE rowid = 2", CHECK_METADATA },
	{ "embeddings of an unknown segment", "clean_small",
	    "UPDATE embeddings SET segment_id = 'x' WHERE id = 5",
	    CHECK_SEGMENT },
	{ "third segment", "clean_small",
	    "INSERT INTO segments SELECT 'cccccccc-0000-4000-8000-"
	    "000000000000', type, scope, collection FROM segments LIMIT 1",
	    CHECK_SEGMENT },
	{ "segment of unknown type", "clean_small",
	    "UPDATE segments SET type = 'urn:x' WHERE scope = 'VECTOR'",
	    CHECK_SEGMENT },
	{ "operation 9", "clean_small",
	    "UPDATE embeddings_queue SET operation = 9 WHERE seq_id = 4",
	    CHECK_QUEUE },
	{ "queue JSON", "clean_small",
	    "UPDATE embeddings_queue SET metadata = '{' WHERE seq_id = 4",
	    CHECK_QUEUE },
	{ "vector of an ADD missing", "clean_small",
	    "UPDATE embeddings_queue SET vector = NULL, encoding = NULL "
	    "WHERE seq_id = 4", CHECK_QUEUE },
	{ "vector not finite", "clean_small",
	    "UPDATE embeddings_queue SET vector = x'0000000000000000"
	    "00000000000000000000000000000000000000000000c07f' "
	    "WHERE seq_id = 4", CHECK_QUEUE },
	{ "vector that is text", "clean_small",
	    "UPDATE embeddings_queue SET vector = 'abc' WHERE seq_id = 4",
	    CHECK_QUEUE },
	{ "topic of no collection", "clean_small",
	    "UPDATE embeddings_queue SET topic = 'x' WHERE seq_id = 4",
	    CHECK_QUEUE },
	{ "dimension NULL", "clean_small",
	    "UPDATE collections SET dimension = NULL", CHECK_COLLECTION },
	{ "dimension wrong", "clean_small",
	    "UPDATE collections SET dimension = 9", CHECK_QUEUE },
	{ "schema_str no JSON", "clean_small",
	    "UPDATE collections SET schema_str = '{'", CHECK_COLLECTION },
	{ "collection id no uuid", "clean_small",
	    "UPDATE collections SET id = 'x'", CHECK_COLLECTION },
	{ "unknown space", "clean_small",
	    "UPDATE collections SET schema_str = replace(schema_str, "
	    "'\"l2\"', '\"l3\"')", CHECK_COLLECTION },
	{ "queue config no JSON", "clean_small",
	    "UPDATE embeddings_queue_config SET config_json_str = '{'",
	    CHECK_SCHEMA },
	{ "document not UTF-8", "clean_small",
	    "UPDATE embedding_metadata SET string_value = "
	    "CAST(x'41ff42' AS TEXT) WHERE id = 2 AND key = 'text'",
	    CHECK_UTF8 },
	{ "id beyond 32 bits", "clean_small",
	    "UPDATE embeddings SET id = 5000000000 WHERE id = 40;"
	    "UPDATE embedding_metadata SET id = 5000000000 WHERE id = 40;"
	    "INSERT INTO embedding_fulltext_search(rowid, string_value) "
	    "SELECT 5000000000, string_value FROM embedding_fulltext_search "
	    "WHERE rowid = 40;"
	    "DELETE FROM embedding_fulltext_search WHERE rowid = 40",
	    CHECK_LIMIT },
	{ "table dropped", "clean_small", "DROP TABLE max_seq_id",
	    CHECK_SCHEMA },
	{ "migration missing", "clean_small",
	    "DELETE FROM migrations WHERE dir = 'sysdb' AND version = 4",
	    CHECK_SCHEMA },
	{ "a migration of another text", "clean_small",
	    "UPDATE migrations SET sql = 'SELECT 1', hash = "
	    "'c9fd2bb9b48cc7e9b7ce0b5f5d6f0d05' WHERE dir = 'metadb' AND "
	    "version = 2", CHECK_SCHEMA },
	{ "record lost after a purge", "purged_hnsw_l2",
	    "DELETE FROM embeddings WHERE id IN (SELECT id FROM embeddings "
	    "LIMIT 1)", CHECK_VECTOR },
	{ "full-text index emptied, its rows kept", "clean_small",
	    "DELETE FROM embedding_fulltext_search_data WHERE id > 10",
	    CHECK_CORRUPT },
};
#define N_DAMAGES (sizeof(damages) / sizeof(damages[0]))

static void
test_damage(size_t i)
{
	struct check_verdict	v;
	int			r;

	r = private(damages[i].sample) == 0 &&
	    sql(copy, damages[i].sql) == 0 ? judge(copy, 0, &v) : -1;
	if (!tap_ok(r == 0 && v.code == damages[i].code,
	    "%s: refused as %s", damages[i].what,
	    check_code_name(damages[i].code)))
		printf("# r %d\n", r);
}

/* More of the same, each named by the reason that it is refused for. */
static const struct {
	const char	*what, *sample, *sql;
	enum check_code	 code;
	const char	*word;
} named[] = {
	{ "a name that is a blob", "clean_small",
	    "UPDATE collections SET name = x'41'", CHECK_COLLECTION,
	    "its name is no text" },
	{ "a name with NUL", "clean_small",
	    "UPDATE collections SET name = CAST(x'410042' AS TEXT)",
	    CHECK_COLLECTION, "its name is no text" },
	{ "dimension 0", "clean_small",
	    "UPDATE collections SET dimension = 0", CHECK_COLLECTION,
	    "dimension is out of range" },
	{ "dimension that is a word", "clean_small",
	    "UPDATE collections SET dimension = 'eight'", CHECK_COLLECTION,
	    "dimension is out of range" },
	{ "configuration that is a blob", "clean_small",
	    "UPDATE collections SET config_json_str = x'7b7d'",
	    CHECK_COLLECTION, "are no text" },
	{ "configuration that is no JSON", "clean_small",
	    "UPDATE collections SET config_json_str = '{', schema_str = NULL",
	    CHECK_COLLECTION, "no JSON" },
	{ "configuration of an unknown space", "clean_small",
	    "UPDATE collections SET schema_str = NULL, config_json_str = "
	    "'{\"vector_index\":{\"hnsw\":{\"space\":\"l3\"}}}'",
	    CHECK_COLLECTION, "unknown space" },
	{ "an older configuration of an unknown space", "clean_small",
	    "UPDATE collections SET schema_str = NULL, config_json_str = "
	    "'{\"hnsw_configuration\":{\"space\":7}}'",
	    CHECK_COLLECTION, "unknown space" },
	{ "a segment's space that is unknown", "clean_small",
	    "INSERT INTO segment_metadata(segment_id, key, str_value) SELECT "
	    "id, 'hnsw:space', 'l3' FROM segments WHERE scope = 'VECTOR'",
	    CHECK_COLLECTION, "unknown space" },
	{ "a segment's space that is a blob", "clean_small",
	    "INSERT INTO segment_metadata(segment_id, key, str_value) SELECT "
	    "id, 'hnsw:space', x'00' FROM segments WHERE scope = 'VECTOR'",
	    CHECK_COLLECTION, "hnsw:space is no text" },
	{ "max_seq_id below 0", "clean_small",
	    "UPDATE max_seq_id SET seq_id = -1", CHECK_COLLECTION,
	    "bad max_seq_id" },
	{ "max_seq_id of 3 bytes", "clean_small",
	    "UPDATE max_seq_id SET seq_id = x'000001'", CHECK_COLLECTION,
	    "bad max_seq_id" },
	{ "max_seq_id beyond 63 bits", "clean_small",
	    "UPDATE max_seq_id SET seq_id = x'8000000000000000'",
	    CHECK_COLLECTION, "bad max_seq_id" },
	{ "max_seq_id beyond 64 bits", "purged_hnsw_l2",
	    "UPDATE max_seq_id SET seq_id = "
	    "x'000000000000000000000000000000010000000000000001'",
	    CHECK_COLLECTION, "bad max_seq_id" },
	{ "max_seq_id below its records", "clean_small",
	    "UPDATE max_seq_id SET seq_id = 39", CHECK_SEQ,
	    "beyond max_seq_id 39" },
	{ "a record's seq_id that is no number", "clean_small",
	    "UPDATE embeddings SET seq_id = x'0102' WHERE id = 3", CHECK_SEQ,
	    "a seq_id that is no number" },
	{ "an id of a blob in the queue", "clean_small",
	    "UPDATE embeddings_queue SET id = x'41' WHERE seq_id = 4",
	    CHECK_QUEUE, "no id" },
	{ "a topic of a blob in the queue", "clean_small",
	    "UPDATE embeddings_queue SET topic = CAST(topic AS BLOB) WHERE "
	    "seq_id = 4", CHECK_QUEUE, "topic of no collection" },
	{ "an encoding of a blob in the queue", "clean_small",
	    "UPDATE embeddings_queue SET encoding = CAST(encoding AS BLOB) "
	    "WHERE seq_id = 4", CHECK_QUEUE, "unknown encoding" },
	{ "metadata of a blob in the queue", "clean_small",
	    "UPDATE embeddings_queue SET metadata = x'7b7d' WHERE seq_id = 4",
	    CHECK_QUEUE, "not a JSON object" },
	{ "an endless id in the queue", "clean_small",
	    "UPDATE embeddings_queue SET id = hex(zeroblob(40000)) WHERE "
	    "seq_id = 4", CHECK_LIMIT, "id of 80000 bytes" },
	{ "an id of a blob", "clean_small",
	    "UPDATE embeddings SET embedding_id = x'41' WHERE id = 3",
	    CHECK_COLLECTION, "an id that is no text" },
	{ "an operation that is a word", "clean_small",
	    "UPDATE embeddings_queue SET operation = 'add' WHERE seq_id = 4",
	    CHECK_QUEUE, "operation: want" },
	{ "a metadata key of a blob", "clean_small",
	    "UPDATE embedding_metadata SET key = x'41' WHERE id = 2 AND key = "
	    "'line_id'", CHECK_METADATA, "a key that is no text" },
	{ "a metadata key that is not UTF-8", "clean_small",
	    "UPDATE embedding_metadata SET key = CAST(x'41ff' AS TEXT) WHERE "
	    "id = 2 AND key = 'line_id'", CHECK_UTF8, "a key is not UTF-8" },
	{ "an endless metadata key", "clean_small",
	    "UPDATE embedding_metadata SET key = hex(zeroblob(40000)) WHERE "
	    "id = 2 AND key = 'line_id'", CHECK_LIMIT, "a key of 80000" },
	{ "a number that is a word", "clean_small",
	    "UPDATE embedding_metadata SET int_value = 'seven' WHERE id = 2 "
	    "AND key = 'line_id'", CHECK_METADATA, "of the wrong type" },
	{ "migrations of another kind", "clean_small",
	    "UPDATE migrations SET dir = 'other' WHERE dir = 'metadb'",
	    CHECK_SCHEMA, "unknown kind other" },
	{ "no migration of a kind", "clean_small",
	    "DELETE FROM migrations WHERE dir = 'metadb'", CHECK_SCHEMA,
	    "no migration metadb" },
	{ "a migration whose text is another", "clean_small",
	    "UPDATE migrations SET sql = sql || ' ' WHERE dir = 'metadb' AND "
	    "version = 1", CHECK_SCHEMA, "hash: want" },
	{ "no migrations at all", "clean_small", "DROP TABLE migrations",
	    CHECK_SCHEMA, "not a ChromaDB database" },
};
#define N_NAMED (sizeof(named) / sizeof(named[0]))

/* The reader by itself: what it is handed may be anything. */
static int
reader_stands(const char *path)
{
	struct store	*s;
	struct item	 it;
	struct err	 e;

	memset(&e, 0, sizeof(e));
	s = store_open(path, STORE_CHROMA, 0, &e);
	while (s != NULL && store_next(s, &it, &e) == 1)
		;
	store_close(s);
	if (e.code != 0 && e.code != MSG_DATAERR)
		printf("# reader: %d %s\n", e.code, e.text);
	return e.code == 0 || e.code == MSG_DATAERR;
}

static void
test_named(size_t i)
{
	struct check_verdict	v;
	int			r;

	r = private(named[i].sample) == 0 &&
	    sql(copy, named[i].sql) == 0 ? judge(copy, 0, &v) : -1;
	if (!tap_ok(r == 0 && v.code == named[i].code &&
	    strstr(v.reason, named[i].word) != NULL && reader_stands(copy),
	    "%s: refused as %s", named[i].what,
	    check_code_name(named[i].code)))
		printf("# want \"%s\" in the reason\n", named[i].word);
}

/* The file itself: bytes of its header, and things that are no file. */
static void
test_files(void)
{
	static const struct {
		off_t		 at;
		const char	*bytes;
		size_t		 n;
		enum check_code	 code;
		const char	*word;
	} v[] = {
		{ 16, "\0\3", 2, CHECK_NOTADB, "page size 3" },
		{ 16, "\2\1", 2, CHECK_NOTADB, "page size 513" },
		{ 59, "\2", 1, CHECK_SCHEMA, "text encoding" },
		{ 28, "\0\0\0\1", 4, CHECK_TORN, "size" }
	};
	struct check_verdict	w;
	char			name[256], *longer;
	size_t			i;
	int			fd, ok;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		ok = private("clean_small") == 0;
		(void)snprintf(name, sizeof(name), "%s/%s", copy, CHROMA_FILE);
		fd = open(name, O_WRONLY);
		ok = pwrite(fd, v[i].bytes, v[i].n, v[i].at) ==
		    (ssize_t)v[i].n && ok;
		(void)close(fd);
		tap_ok(ok && judge(copy, 0, &w) == 0 && w.code == v[i].code &&
		    strstr(w.reason, v[i].word) != NULL &&
		    reader_stands(copy), "header byte %d: refused as %s",
		    (int)v[i].at, check_code_name(v[i].code));
	}
	ok = private("clean_small") == 0 && truncate(name, 0) == 0;
	(void)snprintf(name, sizeof(name), "%s/%s", copy, CHROMA_FILE);
	tap_ok(ok && truncate(name, 60) == 0 && judge(copy, 0, &w) == 0 &&
	    w.code == CHECK_TORN, "60 bytes of a header: torn");
	tap_ok(unlink(name) == 0 && judge(copy, 0, &w) == 0 &&
	    w.code == CHECK_MISSING, "no file: missing");
	tap_ok(mkdir(name, 0700) == 0 && judge(copy, 0, &w) == 0 &&
	    w.code == CHECK_UNSAFE && reader_stands(copy),
	    "a directory in its place: refused");
	tap_ok(rmdir(name) == 0 && mkfifo(name, 0600) == 0 &&
	    judge(copy, 0, &w) == 0 && w.code == CHECK_UNSAFE &&
	    reader_stands(copy), "a fifo in its place: refused");
	tap_ok(unlink(name) == 0 && symlink("/etc/passwd", name) == 0 &&
	    judge(copy, 0, &w) == 0 && w.code == CHECK_UNSAFE &&
	    reader_stands(copy), "a link in its place: refused");
	ok = private("clean_small") == 0;
	(void)snprintf(name, sizeof(name), "%s/%s-journal", copy,
	    CHROMA_FILE);
	tap_ok(ok && mkdir(name, 0700) == 0 && judge(copy, 0, &w) == 0 &&
	    w.code == CHECK_UNSAFE && reader_stands(copy),
	    "a directory as journal: refused");
	(void)snprintf(name, sizeof(name), "%s/%s-wal", copy, CHROMA_FILE);
	ok = private("clean_small") == 0;
	(void)snprintf(name, sizeof(name), "%s/%s-wal", copy, CHROMA_FILE);
	fd = open(name, O_WRONLY | O_CREAT, 0600);
	ok = io_write(fd, "frames", 6) == 0 && ok;
	(void)close(fd);
	tap_ok(ok && judge(copy, 0, &w) == 0 && w.code == CHECK_HOT &&
	    reader_stands(copy), "a log with something in it: hot");
	ok = private("clean_small") == 0;
	(void)snprintf(name, sizeof(name), "%s/%s", copy, LEDGER_FILE);
	tap_ok(ok && mkdir(name, 0700) == 0 && judge(copy, 0, &w) == 0 &&
	    reader_stands(copy), "a directory as ledger: refused");
	longer = mem_zero(1, CHROMA_PATH_MAX + 2);
	memset(longer, 'x', CHROMA_PATH_MAX);
	tap_ok(judge(longer, 0, &w) == -1, "a path too long is no verdict");
	free(longer);
}

/* Damage at random places: a verdict or none, never the machine's fault. */
static void
test_flips(const char *sample)
{
	struct check_verdict	v;
	struct store		*s;
	struct item		 it;
	struct stat		 st;
	struct err		 e;
	char			 name[256];
	unsigned char		 keep[4], put[4];
	uint64_t		 rng = 88172645463325252U;
	off_t			 at;
	int			 fd, i, r, odd = 0, refusals = 0;

	if (private(sample) == -1)
		return;
	(void)snprintf(name, sizeof(name), "%s/%s", copy, CHROMA_FILE);
	fd = open(name, O_RDWR);
	for (i = 0; i < FLIPS && fstat(fd, &st) == 0; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		/* every other one in the first pages, which rule the rest */
		at = (off_t)(rng % (uint64_t)(i % 2 ? 32768 : st.st_size - 4));
		memcpy(put, &rng, sizeof(put));
		if (pread(fd, keep, 4, at) != 4 || pwrite(fd, put,
		    (size_t)(1 + i % 4), at) == -1)
			break;
		memset(&e, 0, sizeof(e));
		memset(&v, 0, sizeof(v));
		r = chroma_check(copy, 0, NULL, &v, &e);
		refusals += r == 1;
		if (r == -1) {
			printf("# at %ld: %s\n", (long)at, e.text);
			odd++;
		}
		/* and the reader stands on its own feet */
		memset(&e, 0, sizeof(e));
		s = store_open(copy, STORE_CHROMA, 0, &e);
		while (s != NULL && store_next(s, &it, &e) == 1)
			;
		store_close(s);
		if (e.code == MSG_SOFTWARE || e.code == MSG_IOERR) {
			printf("# at %ld: reader: %s\n", (long)at, e.text);
			odd++;
		}
		if (pwrite(fd, keep, 4, at) != 4)
			break;
	}
	(void)close(fd);
	tap_ok(i == FLIPS && odd == 0 && refusals > FLIPS / 20,
	    "%s: %d places overwritten, %d refused", sample, i, refusals);
}

/* Without descriptors nothing is said of the input. */
static void
test_descriptors(void)
{
	struct check_verdict	v;
	struct rlimit		was, now;
	struct err		e;
	char			path[2048];
	rlim_t			n;
	int			r = -1, wrong = 0, failed = 0;

	(void)snprintf(path, sizeof(path),
	    "%s/samples/purged_hnsw_cosine/db", data);
	if (getrlimit(RLIMIT_NOFILE, &was) == -1)
		return;
	for (n = 3; n < 20; n++) {
		now = was;
		now.rlim_cur = n;
		memset(&e, 0, sizeof(e));
		memset(&v, 0, sizeof(v));
		(void)setrlimit(RLIMIT_NOFILE, &now);
		r = chroma_check(path, 0, NULL, &v, &e);
		(void)setrlimit(RLIMIT_NOFILE, &was);
		failed += r == -1;
		if (r == 1 || (r == -1 && e.code != MSG_TEMPFAIL)) {
			printf("# %d: r %d code %d %s%s\n", (int)n, r, e.code,
			    e.text, v.reason);
			wrong++;
		}
	}
	tap_ok(r == 0 && failed > 3 && wrong == 0,
	    "few descriptors: try again later, and no verdict");
}

static void
test_model(const char *json, int64_t dim, const char *want)
{
	struct store	*s;
	struct err	 e;
	char		 text[1024];
	int		 ok;

	memset(&e, 0, sizeof(e));
	(void)snprintf(text, sizeof(text), "UPDATE collections SET dimension "
	    "= %d, schema_str = json_set(schema_str, '$.keys.\"#embedding\""
	    ".float_list.vector_index.config.embedding_function', "
	    "json('%s'))", (int)dim, json);
	ok = private("empty_collection") == 0 && sql(copy, text) == 0;
	s = ok ? store_open(copy, STORE_CHROMA, 0, &e) : NULL;
	ok = s != NULL && s->n_colls == 1;
	if (!tap_ok(ok && (want == NULL) == (s->colls[0].model == NULL) &&
	    (want == NULL || strcmp(want, s->colls[0].model) == 0),
	    "model: %s", want != NULL ? want : "none"))
		printf("# got %s\n", ok && s->colls[0].model != NULL ?
		    s->colls[0].model : e.text);
	store_close(s);
}

static void
test_models(void)
{
	test_model("{\"type\":\"unknown\"}", 8, NULL);
	test_model("{\"type\":\"legacy\"}", 8, NULL);
	test_model("null", 8, NULL);
	test_model("{\"type\":\"known\",\"name\":\"openai\",\"config\":{"
	    "\"model_name\":\"text-embedding-3-small\",\"api_key_env_var\":"
	    "\"K\",\"organization_id\":null,\"dimensions\":8}}", 8,
	    "{\"config.model_name\":\"text-embedding-3-small\","
	    "\"name\":\"openai\"}");
	test_model("{\"type\":\"known\",\"name\":\"x\",\"config\":{\"i\":-1,"
	    "\"f\":1.5,\"b\":true,\"n\":null,\"a\":[2,\"z\",{\"k\":false}],"
	    "\"default_headers\":{\"auth\":[\"secret\"]}}}", 8,
	    "{\"config.a.0\":2,\"config.a.1\":\"z\",\"config.a.2.k\":false,"
	    "\"config.b\":true,\"config.f\":1.5,\"config.i\":-1,"
	    "\"name\":\"x\"}");
	test_model("{\"type\":\"known\",\"name\":\"default\",\"config\":{}}",
	    384, "{\"name\":\"default\"}");
	test_model("{\"type\":\"known\",\"name\":\"default\",\"config\":{}}",
	    1536, NULL);
}

/* Things beside a clean database that Chroma does not mind. */
static void
test_harmless(void)
{
	struct check_verdict	v;
	struct wants		w;
	char			name[256];
	size_t			dead;
	int			fd, ok;

	ok = private("clean_small") == 0;
	(void)snprintf(name, sizeof(name), "%s/%s-journal", copy,
	    CHROMA_FILE);
	fd = open(name, O_WRONLY | O_CREAT, 0600);
	(void)close(fd);
	tap_ok(ok && judge(copy, 0, &v) == 1, "empty journal: accepted");
	fd = open(name, O_WRONLY | O_TRUNC, 0600);
	ok = io_write(fd, "garbage that is no journal at all", 33) == 0;
	(void)close(fd);
	tap_ok(ok && judge(copy, 0, &v) == 1, "garbage journal: accepted");
	(void)snprintf(name, sizeof(name), "%s/link", work);
	tap_ok(load("clean_small", &w) == 0 &&
	    compare(copy, 0, &w, NULL, &dead), "garbage journal: readable");
	tap_ok(symlink(copy, name) == 0 && judge(name, 0, &v) == 1 &&
	    compare(name, 0, &w, NULL, &dead), "a link on the way there");
	wants_clear(&w);
	ok = private("clean_small") == 0;
	(void)snprintf(name, sizeof(name), "%s/%s", copy, CHROMA_FILE);
	fd = open(name, O_WRONLY);
	ok = ok && pwrite(fd, "\2\2", 2, 18) == 2;
	(void)close(fd);
	tap_ok(ok && judge(copy, 0, &v) == 0 && v.code == CHECK_HOT,
	    "WAL mode without its WAL: refused as hot");
	tap_ok(judge(copy, CHECK_RECOVER_HOT, &v) == 1,
	    "WAL mode without its WAL: accepted for recovery");
}

int
main(int argc, char **argv)
{
	struct check_verdict	v;
	struct err		e;
	const char		*dir = getenv("DATA");
	char			path[2048];
	size_t			i;

	msg_init("samples");
	if (argc > 1)
		dir = argv[1];
	(void)snprintf(data, sizeof(data), "%s",
	    dir != NULL ? dir : "tests/data");
	if (tmp_dir(work, "samples") == -1)
		return 99;
	tap_plan((int)(2 * N_VALID + N_REFUSED + 3 * N_HOT + N_DAMAGES +
	    N_NAMED + 13 + 25));
	for (i = 0; i < N_VALID; i++)
		test_valid(valid[i]);
	for (i = 0; i < N_REFUSED; i++)
		test_refused(i);
	for (i = 0; i < N_HOT; i++)
		test_hot(hot[i]);
	(void)snprintf(path, sizeof(path), "%s/samples/%s/db", data,
	    "bad_vector_bitflip");
	tap_ok(judge(path, 0, &v) == 1,
	    "bad_vector_bitflip: nothing but a checksum can tell");
	(void)snprintf(path, sizeof(path), "%s/samples/no_collection/db",
	    data);
	tap_ok(judge(path, 0, &v) == 0 && v.code == CHECK_COLLECTION,
	    "no_collection: refused unless it may be empty");
	(void)snprintf(path, sizeof(path), "%s/samples/none/db", data);
	tap_ok(judge(path, 0, &v) == 0 && v.code == CHECK_MISSING,
	    "no directory: missing");
	test_queue_only("clean_small", 0);
	test_queue_only("updates_deletes", 7);
	for (i = 0; i < N_DAMAGES; i++)
		test_damage(i);
	for (i = 0; i < N_NAMED; i++)
		test_named(i);
	test_files();
	test_harmless();
	test_flips("clean_small");
	test_flips("purged_hnsw_cosine");
	test_descriptors();
	test_models();
	memset(&e, 0, sizeof(e));
	if (tap_bad == 0)
		(void)io_rmtree(AT_FDCWD, work, &e);
	else
		printf("# left in %s\n", work);
	return tap_done();
}
