/*
 * chroma_ours: directories that chroma_write made, read back to the bit,
 * and judged: as they are, and damaged in every way that a manifest made
 * anew would hide.
 * SPDX-License-Identifier: ISC
 */
#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "buf.h"
#include "check.h"
#include "chroma.h"
#include "chroma_write.h"
#include "hnsw.h"
#include "io.h"
#include "ledger.h"
#include "manifest.h"
#include "mem.h"
#include "store.h"
#include "tap.h"
#include "tmp.h"

#define N_IDS 300	/* ids of collection "cos", every seventh dead */
#define DIM 12
#define FLIPS 300
#define LONG 40000	/* bytes of an id */
#define N_LONG 90	/* of them: two maps of CHROMA_SMALL */
#define OTHER 3		/* dimension of "ip" */
#define UUID_LEN 36

struct rec {
	char		 id[32], doc[64], meta[96];
	unsigned char	 vec[DIM * 4];
	struct item	 it;
};

static struct item_coll		colls[4];
static struct item_source	srcs[2];
static struct rec		recs[N_IDS + 8];
static size_t			n_recs, n_live;
static char			top[TMP_DIR];
static char			content[HASH_HEX];
static char			uuid[UUID_LEN + 1];	/* of cos's index */

static void
die(const char *what, const struct err *e)
{
	printf("Bail out! %s: %s\n", what, e != NULL ? e->text : "");
	exit(1);
}

static uint32_t	seed = 1;

static float
random_float(void)
{
	seed = seed * 1664525U + 1013904223U;
	return (float)(seed >> 8) / 16777216.0F - 0.5F;
}

/* The next record, in order; kind: 0 a tombstone. */
static void
add(int coll, const char *id, int live, const char *doc, const char *meta)
{
	struct rec	*r = &recs[n_recs++];
	struct hash	*h = hash_new();
	uint32_t	 k, w;
	float		 f;

	(void)snprintf(r->id, sizeof(r->id), "%s", id);
	memset(&r->it, 0, sizeof(r->it));
	r->it.coll = coll;
	r->it.id = r->id;
	r->it.id_len = strlen(r->id);
	r->it.dead = !live;
	r->it.seq = (int64_t)n_recs * 7;
	r->it.src = (int)(n_recs % 2);
	if (live) {
		n_live++;
		for (k = 0; k < colls[coll].dim; k++) {
			f = random_float() * 3;
			memcpy(&w, &f, 4);
			r->vec[4 * k] = (unsigned char)w;
			r->vec[4 * k + 1] = (unsigned char)(w >> 8);
			r->vec[4 * k + 2] = (unsigned char)(w >> 16);
			r->vec[4 * k + 3] = (unsigned char)(w >> 24);
		}
		r->it.vec = r->vec;
		if (doc != NULL) {
			(void)snprintf(r->doc, sizeof(r->doc), "%s", doc);
			r->it.doc = r->doc;
			r->it.doc_len = strlen(doc);
		}
		(void)snprintf(r->meta, sizeof(r->meta), "%s", meta);
		r->it.meta = r->meta;
		r->it.meta_len = strlen(meta);
	}
	item_digest(h, colls[coll].name, colls[coll].dim, &r->it);
	hash_free(h);
}

static char *
dup_str(const char *s)
{
	return mem_dup(s);
}

static void
make_records(void)
{
	static const struct {
		const char	*name;
		uint32_t	 dim;
		enum item_space	 space;
	} c[4] = {
		{ "cos", DIM, ITEM_COSINE }, { "empty", 0, ITEM_L2 },
		{ "gone", 4, ITEM_L2 }, { "ip", OTHER, ITEM_IP }
	};
	char		id[32], doc[64], meta[96];
	struct hash	*h = hash_new();
	unsigned char	d[HASH_LEN];
	size_t		i;

	for (i = 0; i < 4; i++) {
		colls[i].name = dup_str(c[i].name);
		colls[i].dim = c[i].dim;
		colls[i].space = c[i].space;
		colls[i].space_known = 1;
		colls[i].config_seq = (int64_t)i + 5;
		memset(colls[i].config_src, 'a' + (int)i, HASH_HEX - 1);
	}
	colls[0].model = dup_str("{\"name\":\"openai\"}");
	for (i = 0; i < 2; i++) {
		memset(srcs[i].sha256, '1' + (int)i, HASH_HEX - 1);
		srcs[i].url = dup_str(i == 0 ? "/d/one" : "/d/two");
		srcs[i].etag = i == 0 ? NULL : dup_str("\"e\"");
		srcs[i].seq = (int64_t)i + 100;
		srcs[i].size = 4096;
		srcs[i].mtime = 77;
		srcs[i].records = 9;
	}
	for (i = 0; i < N_IDS; i++) {
		(void)snprintf(id, sizeof(id), "id%05zu", i);
		(void)snprintf(doc, sizeof(doc), "document number %zu", i);
		(void)snprintf(meta, sizeof(meta), "{\"f\":%zu.5,\"n\":%zu,"
		    "\"t\":true}", i, i);
		add(0, id, i % 7 != 0, i % 3 == 0 ? NULL : doc,
		    i % 5 == 0 ? "{}" : meta);
	}
	add(2, "was", 0, NULL, "{}");
	add(3, "\xc3\xa9", 1, "", "{}");
	add(3, "\xe6\x97\xa5", 1, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
	    "{}");
	item_content_start(h);
	for (i = 0; i < n_recs; i++)
		if (!recs[i].it.dead)
			item_content_add(h, colls[recs[i].it.coll].name,
			    &recs[i].it);
	hash_final(h, d);
	hash_hex(d, content);
	hash_free(h);
}

/* Until the next call. */
static const char *
in(const char *dir, const char *name)
{
	static char	p[600];

	(void)snprintf(p, sizeof(p), "%s/%s", dir, name);
	return p;
}

/* The same, of the index of cos. */
static const char *
in_index(const char *dir, const char *name)
{
	static char	p[700];

	(void)snprintf(p, sizeof(p), "%s/%s/%s", dir, uuid, name);
	return p;
}

static int
open_dir(const char *dir)
{
	int	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		die(dir, NULL);
	return fd;
}

/* A manifest of what lies there now. */
static void
manifest(const char *dir)
{
	struct manifest		 m;
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	const unsigned char	*d;
	unsigned char		 all[HASH_LEN];
	const char		*name;
	uint64_t		 size;
	size_t			 i;
	int			 fd = open_dir(dir);

	(void)unlinkat(fd, MANIFEST_NAME, 0);
	memset(&m, 0, sizeof(m));
	m.format = dup_str("chroma");
	memcpy(m.content_digest, content, HASH_HEX);
	m.records = n_live;
	m.tombstones = n_recs - n_live;
	if (hash_dir(fd, ".", all, NULL, t, &e) == -1)
		die("hash_dir", &e);
	for (i = 0; i < hash_tree_count(t); i++) {
		name = hash_tree_get(t, i, &size, &d);
		manifest_add_file(&m, name, size, d);
	}
	if (manifest_write(&m, fd, all, &e) == -1)
		die("manifest_write", &e);
	hash_tree_free(t);
	manifest_clear(&m);
	(void)close(fd);
}

/* The records, as chroma_write lays them out, below top. */
static const char *
make(void)
{
	static char		 dir[256];
	static unsigned int	 serial;
	struct chroma_writer	*w;
	struct err		 e = { 0, "" };
	struct dirent		*de;
	DIR			*d;
	size_t			 i;

	(void)snprintf(dir, sizeof(dir), "%s/%u", top, serial++);
	if (mkdir(dir, 0700) == -1)
		die(dir, NULL);
	w = chroma_create(dir, colls, 4, srcs, 2, 1, &e);
	if (w == NULL)
		die("chroma_create", &e);
	for (i = 0; i < n_recs; i++)
		if (chroma_put(w, &recs[i].it, &e) == -1)
			die("chroma_put", &e);
	if (chroma_finish(w, content, n_live, n_recs - n_live, NULL,
	    &e) == -1)
		die("chroma_finish", &e);
	/* the larger of the two indexes is that of cos */
	uuid[0] = '\0';
	d = opendir(dir);
	while (d != NULL && (de = readdir(d)) != NULL) {
		struct stat	st, was;
		char		p[600];

		if (strlen(de->d_name) != UUID_LEN)
			continue;
		(void)snprintf(p, sizeof(p), "%s/%s/data_level0.bin", dir,
		    de->d_name);
		if (stat(p, &st) == -1)
			continue;
		(void)snprintf(p, sizeof(p), "%s/%s/data_level0.bin", dir,
		    uuid);
		if (uuid[0] == '\0' || (stat(p, &was) == 0 &&
		    was.st_size < st.st_size))
			memcpy(uuid, de->d_name, UUID_LEN + 1);
	}
	if (d != NULL)
		(void)closedir(d);
	manifest(dir);
	return dir;
}

/* -- reading ------------------------------------------------------------- */

static int
same_item(const struct store *s, const struct item *it, const struct rec *r,
    int light)
{
	const struct item_coll	*c = &s->colls[it->coll];
	const struct item	*w = &r->it;

	if (strcmp(c->name, colls[w->coll].name) != 0 ||
	    item_cmp(it->id, it->id_len, w->id, w->id_len) != 0 ||
	    it->dead != w->dead || it->seq != w->seq ||
	    memcmp(it->digest, w->digest, HASH_LEN) != 0 || it->src < 0 ||
	    (size_t)it->src >= s->n_sources ||
	    strcmp(s->sources[it->src].url, srcs[w->src].url) != 0)
		return 0;
	if (w->dead || light)
		return it->vec == NULL && it->doc == NULL && it->meta == NULL;
	return memcmp(it->vec, w->vec, c->dim * 4) == 0 &&
	    (it->doc == NULL) == (w->doc == NULL) &&
	    it->doc_len == w->doc_len &&
	    memcmp(it->doc != NULL ? it->doc : "", w->doc != NULL ? w->doc :
	    "", w->doc_len) == 0 && it->meta_len == w->meta_len &&
	    memcmp(it->meta, w->meta, w->meta_len) == 0;
}

static void
test_read(const char *dir, int light)
{
	struct err	 e = { 0, "" };
	struct store	*s;
	struct item	 it;
	const char	*what = light ? "light" : "whole";
	size_t		 n = 0, bad = 0;
	int		 k = -1;

	s = store_open(dir, STORE_CHROMA, light ? STORE_LIGHT : 0, &e);
	if (!tap_ok(s != NULL, "%s: opened", what)) {
		printf("# %s\n", e.text);
		return;
	}
	tap_ok(s->has_ledger && s->sorted && s->format == STORE_CHROMA,
	    "%s: a sorted store with a ledger", what);
	tap_ok(s->n_sources == 2 && s->n_colls == 4 &&
	    strcmp(s->colls[0].name, "cos") == 0 &&
	    s->colls[0].config_seq == 5 && s->colls[0].model != NULL &&
	    strcmp(s->colls[0].model, colls[0].model) == 0 &&
	    strcmp(s->colls[3].config_src, colls[3].config_src) == 0 &&
	    s->colls[3].space == ITEM_IP && s->colls[3].dim == OTHER &&
	    s->colls[1].dim == 0 && s->colls[0].config != NULL,
	    "%s: collections", what);
	while ((k = store_next(s, &it, &e)) == 1) {
		if (n >= n_recs || !same_item(s, &it, &recs[n], light)) {
			if (bad++ == 0)
				printf("# first: %s\n", n < n_recs ?
				    recs[n].id : "more");
		}
		n++;
	}
	tap_ok(k == 0 && n == n_recs && bad == 0,
	    "%s: %zu of %zu records, %zu not as they were put%s%s", what, n,
	    n_recs, bad, k == -1 ? ": " : "", e.text);
	store_close(s);
}

/* -- judging ------------------------------------------------------------- */

/* The verdict on dir; "machine" when there is none. */
static const char *
verdict(const char *dir, int flags, char reason[MSG_ERR_MAX])
{
	struct check_summary	s;
	struct check_verdict	v;
	struct err		e = { 0, "" };
	const char		*name;
	int			r;

	memset(&v, 0, sizeof(v));
	r = check_store(dir, STORE_CHROMA, flags, &s, &v, &e);
	if (r == 0 && (s.records != n_live ||
	    s.tombstones != n_recs - n_live || !s.has_content))
		name = "miscounted";
	else
		name = r == -1 ? "machine" : check_code_name(v.code);
	(void)snprintf(reason, MSG_ERR_MAX, "%s", r == -1 ? e.text : v.reason);
	if (r == 0)
		check_summary_clear(&s);
	return name;
}

static void
sql(const char *dir, const char *file, const char *text)
{
	sqlite3	*db;
	char	*why = NULL;

	if (sqlite3_open(in(dir, file), &db) != SQLITE_OK ||
	    sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK) {
		printf("# %s: %s\n", text, why != NULL ? why : "open");
		die("sql", NULL);
	}
	sqlite3_close(db);
}

static void
ledger(const char *dir, const char *text)
{
	sql(dir, LEDGER_FILE, text);
}

static void
chroma(const char *dir, const char *text)
{
	sql(dir, CHROMA_FILE, text);
}

/* n bytes of cos's index file at off: read into, or written from, p. */
static void
patch(const char *dir, const char *file, uint64_t off, void *p, size_t n,
    int put)
{
	const char	*path = in_index(dir, file);
	ssize_t		 got;
	int		 fd = open(path, O_RDWR);

	got = fd == -1 ? -1 : put ? pwrite(fd, p, n, (off_t)off) :
	    pread(fd, p, n, (off_t)off);
	if (got != (ssize_t)n)
		die(path, NULL);
	(void)close(fd);
}

static struct hnsw_header
header(const char *dir)
{
	struct hnsw_header	 h;
	unsigned char		 b[HNSW_HEADER_LEN];
	const char		*why;

	patch(dir, HNSW_HEADER_FILE, 0, b, sizeof(b), 0);
	if (hnsw_header_decode(b, DIM, &h, &why) == -1)
		die(why, NULL);
	return h;
}

/* Take element k out of all links of the lowest level. */
static void
cut_off(const char *dir, uint32_t k)
{
	struct hnsw_header	 h = header(dir);
	unsigned char		 b[4 + 4 * 64];
	size_t			 len = 4 + 4 * (size_t)h.max_m0;
	uint64_t		 i;
	uint32_t		 n, m;

	for (i = 0; i < h.count; i++) {
		patch(dir, HNSW_LEVEL0_FILE, i * h.element_len, b, len, 0);
		n = (uint32_t)b[0] | (uint32_t)b[1] << 8;
		for (m = 0; m < n; m++)
			if (buf_get_le32(b + 4 + 4 * m) == k) {
				memcpy(b + 4 + 4 * m, b + 4 * n, 4);
				b[0] = (unsigned char)(n - 1);
				b[1] = (unsigned char)((n - 1) >> 8);
				break;
			}
		patch(dir, HNSW_LEVEL0_FILE, i * h.element_len, b, len, 1);
	}
}

static void
unreachable(const char *dir)
{
	struct hnsw_header	h = header(dir);

	cut_off(dir, h.enter == 5 ? 6 : 5);
}

static void
entry_point(const char *dir)
{
	struct hnsw_header	h = header(dir);
	unsigned char		b[4], s[4];
	uint64_t		i, off = 0;

	/* the first element that is on the lowest level only */
	for (i = 0;; i++) {
		patch(dir, HNSW_LINKS_FILE, off, s, 4, 0);
		if (buf_get_le32(s) == 0)
			break;
		off += 4 + buf_get_le32(s);
	}
	if (h.max_level == 0)
		die("a graph without levels", NULL);
	memset(b, 0, sizeof(b));
	b[0] = (unsigned char)i;
	patch(dir, HNSW_HEADER_FILE, 56, b, 4, 1);
}

static void
wild_link(const char *dir)
{
	unsigned char	b[4] = { 0xff, 0xff, 0xff, 0x00 };

	patch(dir, HNSW_LEVEL0_FILE, 4, b, 4, 1);
}

static void
upper_link(const char *dir)
{
	struct hnsw_header	h = header(dir);
	unsigned char		s[4], b[4];
	uint64_t		i, off = 0;
	uint32_t		low = UINT32_MAX, len;

	for (i = 0; i < h.count && low == UINT32_MAX; i++) {
		patch(dir, HNSW_LINKS_FILE, off, s, 4, 0);
		if ((len = buf_get_le32(s)) == 0)
			low = (uint32_t)i;
		off += 4 + len;
	}
	memset(b, 0, 4);
	b[0] = (unsigned char)low;
	b[1] = (unsigned char)(low >> 8);
	for (i = 0, off = 0; i < h.count; i++) {
		patch(dir, HNSW_LINKS_FILE, off, s, 4, 0);
		len = buf_get_le32(s);
		if (len != 0) {
			unsigned char	n[4];

			patch(dir, HNSW_LINKS_FILE, off + 4, n, 4, 0);
			if (buf_get_le32(n) != 0) {
				patch(dir, HNSW_LINKS_FILE, off + 8, b, 4,
				    1);
				return;
			}
		}
		off += 4 + len;
	}
	die("no link above", NULL);
}

static void
deleted_mark(const char *dir)
{
	unsigned char	b = 1;

	patch(dir, HNSW_LEVEL0_FILE, 2, &b, 1, 1);
}

static void
labels_in_index(const char *dir)
{
	struct hnsw_header	h = header(dir);
	unsigned char		a[8], b[8];

	patch(dir, HNSW_LEVEL0_FILE, h.label_offset, a, 8, 0);
	patch(dir, HNSW_LEVEL0_FILE, h.element_len + h.label_offset, b, 8, 0);
	patch(dir, HNSW_LEVEL0_FILE, h.label_offset, b, 8, 1);
	patch(dir, HNSW_LEVEL0_FILE, h.element_len + h.label_offset, a, 8, 1);
}

static void
cut_links(const char *dir)
{
	if (truncate(in_index(dir, HNSW_LINKS_FILE), 100) == -1)
		die("truncate", NULL);
}

static void
vector_bit(const char *dir)
{
	struct hnsw_header	h = header(dir);
	unsigned char		b;

	patch(dir, HNSW_LEVEL0_FILE, h.data_offset, &b, 1, 0);
	b ^= 1;
	patch(dir, HNSW_LEVEL0_FILE, h.data_offset, &b, 1, 1);
}

static void
no_pickle(const char *dir)
{
	if (unlink(in_index(dir, CHROMA_PICKLE)) == -1)
		die("unlink", NULL);
}

static void
no_manifest(const char *dir)
{
	if (unlink(in(dir, MANIFEST_NAME)) == -1)
		die("unlink", NULL);
}

static void
grown(const char *dir)
{
	FILE	*f = fopen(in(dir, CHROMA_FILE), "ab");

	if (f == NULL || fputc(0, f) == EOF || fclose(f) != 0)
		die("append", NULL);
}

#define OUT_ROW "(SELECT id FROM embeddings WHERE embedding_id = 'id00001')"

static const struct {
	const char	*what;
	void		(*f)(const char *dir);
	const char	*ledger, *chroma;	/* SQL */
	int		 old;			/* the manifest stays */
	const char	*code, *ours;		/* ours: of CHECK_OURS */
	const char	*word;
} damages[] = {
	{ "nothing", NULL, NULL, NULL, 0, "ok", "ok", "" },
	{ "no manifest", no_manifest, NULL, NULL, 1, "manifest", "ok",
	    "no manifest.json" },
	{ "a larger file", grown, NULL, NULL, 1, "torn", "torn", "size" },
	{ "a server's start", NULL, NULL,
	    "CREATE TABLE big(x); INSERT INTO big VALUES(zeroblob(100000))",
	    1, "manifest", "ok", "size" },
	{ "ledger row missing", NULL,
	    "DELETE FROM record WHERE id = 'id00001'", NULL, 0, "ledger",
	    "ledger", "not in the ledger" },
	{ "tombstone missing", NULL,
	    "DELETE FROM record WHERE id = 'id00000'", NULL, 0, "ledger",
	    "ledger", "tombstones" },
	{ "labels swapped", NULL,
	    "UPDATE record SET label = 3 - label WHERE label IN (1, 2) "
	    "AND c = (SELECT c FROM collection WHERE name = 'cos')", NULL, 0,
	    "ledger", "ledger", "label" },
	{ "a tombstone's record still there", NULL,
	    "UPDATE record SET label = NULL, fix = NULL "
	    "WHERE id = 'id00001'", NULL, 0, "ledger", "ledger", "deleted" },
	{ "a live one that was deleted", NULL,
	    "UPDATE record SET label = 1 WHERE id = 'id00000'", NULL, 0,
	    "ledger", "ledger", "not in chroma.sqlite3" },
	{ "a digest", NULL,
	    "UPDATE record SET digest = zeroblob(32) WHERE id = 'id00001'",
	    NULL, 0, "ledger", "ledger", "content digest" },
	{ "a tombstone's digest", NULL,
	    "UPDATE record SET digest = zeroblob(32) WHERE id = 'id00000'",
	    NULL, 0, "digest", "ok", "id00000" },
	{ "a fix", NULL,
	    "UPDATE record SET fix = x'010000' WHERE id = 'id00001'", NULL, 0,
	    "digest", "ok", "id00001" },
	{ "a fix of another length", NULL,
	    "UPDATE record SET fix = x'01' WHERE id = 'id00001'", NULL, 0,
	    "corrupt", "ok", "fix" },
	{ "a count", NULL,
	    "UPDATE info SET value = value + 1 WHERE key = 'records'", NULL,
	    0, "ledger", "ledger", "records" },
	{ "a view", NULL, "CREATE VIEW v AS SELECT 1", NULL, 0, "ledger",
	    "ledger", "schema" },
	{ "a collection of the ledger's", NULL,
	    "UPDATE collection SET name = 'other' WHERE name = 'empty'",
	    NULL, 0, "ledger", "ledger", "collection" },
	{ "a dimension of the ledger's", NULL,
	    "UPDATE collection SET dimension = 5 WHERE name = 'cos'",
	    NULL, 0, "ledger", "ledger", "dimension" },
	{ "a record without row", NULL, NULL,
	    "DELETE FROM embedding_fulltext_search WHERE rowid = " OUT_ROW
	    "; DELETE FROM embedding_metadata WHERE id = " OUT_ROW "; "
	    "DELETE FROM embeddings WHERE embedding_id = 'id00001'", 0,
	    "ledger", "ledger", "id00001" },
	{ "a record too many", NULL, NULL,
	    "INSERT INTO embeddings(segment_id, embedding_id, seq_id) "
	    "SELECT segment_id, 'new', seq_id FROM embeddings WHERE "
	    "embedding_id = 'id00001'", 0, "ledger", "ledger",
	    "not in the ledger" },
	{ "a full-text row", NULL, NULL,
	    "DELETE FROM embedding_fulltext_search WHERE rowid = " OUT_ROW,
	    0, "metadata", "metadata", "full-text" },
	{ "a document, in both places", NULL, NULL,
	    "UPDATE embedding_metadata SET string_value = 'x' WHERE "
	    "key = 'chroma:document' AND id = " OUT_ROW "; UPDATE "
	    "embedding_fulltext_search SET string_value = 'x' WHERE "
	    "rowid = " OUT_ROW, 0, "digest", "ok", "id00001" },
	{ "a row of the queue", NULL, NULL,
	    "INSERT INTO embeddings_queue(operation, topic, id, metadata) "
	    "SELECT 3, 'persistent://default/default/' || id, 'id00001', "
	    "'{}' FROM collections WHERE name = 'cos'", 0, "hot", "hot",
	    "queue" },
	{ "an unreachable element", unreachable, NULL, NULL, 0, "index",
	    "index", "reached" },
	{ "another entry point", entry_point, NULL, NULL, 0, "index",
	    "index", "entry point" },
	{ "a link to nowhere", wild_link, NULL, NULL, 0, "index", "index",
	    "link" },
	{ "an upper link to below", upper_link, NULL, NULL, 0, "index",
	    "index", "level" },
	{ "a deleted mark", deleted_mark, NULL, NULL, 0, "ledger", "ledger",
	    "label" },
	{ "labels of the index swapped", labels_in_index, NULL, NULL, 0,
	    "ledger", "ledger", "label" },
	{ "short link lists", cut_links, NULL, NULL, 0, "index", "index",
	    "link_lists" },
	{ "a bit of a vector", vector_bit, NULL, NULL, 0, "digest", "ok",
	    "id00001" },
	{ "no pickle", no_pickle, NULL, NULL, 0, "index", "index",
	    CHROMA_PICKLE }
};
#define N_DAMAGES (sizeof(damages) / sizeof(damages[0]))

static void
test_damage(size_t i)
{
	const char	*dir = make(), *got;
	char		 reason[MSG_ERR_MAX];

	if (damages[i].f != NULL)
		damages[i].f(dir);
	if (damages[i].ledger != NULL)
		ledger(dir, damages[i].ledger);
	if (damages[i].chroma != NULL)
		chroma(dir, damages[i].chroma);
	if (!damages[i].old)
		manifest(dir);
	got = verdict(dir, 0, reason);
	if (!tap_ok(strcmp(got, damages[i].code) == 0 &&
	    strstr(reason, damages[i].word) != NULL, "%s: %s",
	    damages[i].what, damages[i].code))
		printf("# got %s: %s\n", got, reason);
	got = verdict(dir, CHECK_OURS, reason);
	if (!tap_ok(strcmp(got, damages[i].ours) == 0, "%s: %s, as ours",
	    damages[i].what, damages[i].ours))
		printf("# got %s: %s\n", got, reason);
}

/* Without ledger and manifest it is what ChromaDB itself could have made. */
static void
test_plain(void)
{
	const char	*dir = make();
	struct err	 e = { 0, "" };
	struct store	*s;
	struct item	 it;
	struct check_summary sum;
	struct check_verdict v;
	size_t		 n = 0;
	int		 k, r;

	if (unlink(in(dir, MANIFEST_NAME)) == -1 ||
	    unlink(in(dir, LEDGER_FILE)) == -1)
		die("unlink", NULL);
	r = check_store(dir, STORE_CHROMA, 0, &sum, &v, &e);
	tap_ok(r == 0 && sum.records == n_live && sum.tombstones == 0,
	    "plain: accepted, %llu records%s%s",
	    (unsigned long long)sum.records, r == 1 ? ": " : "",
	    r == 1 ? v.reason : e.text);
	check_summary_clear(&sum);
	s = store_open(dir, STORE_CHROMA, 0, &e);
	if (!tap_ok(s != NULL && !s->has_ledger, "plain: has no ledger"))
		return;
	while ((k = store_next(s, &it, &e)) == 1)
		n++;
	tap_ok(k == 0 && n == n_live, "plain: %zu of %zu", n, n_live);
	store_close(s);
}

/*
 * One byte anywhere, under a manifest made anew: refused, or all records
 * are still what they were.
 */
static void
test_flips(void)
{
	const char		*dir = make(), *name;
	struct hash_tree	*t = hash_tree_new();
	struct err		 e = { 0, "" };
	struct store		*s;
	struct item		 it;
	unsigned char		 d[HASH_LEN], b, was;
	char			 reason[MSG_ERR_MAX];
	uint64_t		 size;
	off_t			 at;
	size_t			 i, n, refused = 0, bad = 0, crashed = 0;
	int			 fd = open_dir(dir), f, k;

	if (hash_dir(fd, ".", d, NULL, t, &e) == -1)
		die("hash_dir", &e);
	for (i = 0; i < FLIPS; i++) {
		/* a manifest is its reader's to judge */
		name = hash_tree_get(t, i % hash_tree_count(t), &size, NULL);
		if (strcmp(name, MANIFEST_NAME) == 0)
			continue;
		at = (off_t)((uint64_t)((random_float() + 0.5F) *
		    (float)(1 << 20)) * size >> 20);
		f = openat(fd, name, O_RDWR);
		if (f == -1 || pread(f, &was, 1, at) != 1)
			die(name, NULL);
		b = was ^ (unsigned char)(1U << (i / 3 % 8));
		if (pwrite(f, &b, 1, at) != 1)
			die(name, NULL);
		manifest(dir);
		name = verdict(dir, 0, reason);
		if (strcmp(name, "machine") == 0) {
			crashed++;
			printf("# %s at %lld: %s\n", hash_tree_get(t, i %
			    hash_tree_count(t), NULL, NULL), (long long)at,
			    reason);
		} else if (strcmp(name, "ok") != 0)
			refused++;
		else {
			memset(&e, 0, sizeof(e));
			s = store_open(dir, STORE_CHROMA, 0, &e);
			for (n = 0, k = -1; s != NULL && (k = store_next(s,
			    &it, &e)) == 1; n++)
				if (n >= n_recs || !same_item(s, &it,
				    &recs[n], 0))
					break;
			if (k != 0 || n != n_recs) {
				bad++;
				printf("# %s at %lld: passed, and is not "
				    "the same\n", hash_tree_get(t, i %
				    hash_tree_count(t), NULL, NULL),
				    (long long)at);
			}
			store_close(s);
		}
		(void)verdict(dir, CHECK_OURS, reason);
		if (pwrite(f, &was, 1, at) != 1)
			die("pwrite", NULL);
		(void)close(f);
	}
	tap_ok(bad == 0 && crashed == 0 && refused > FLIPS / 4,
	    "%d flips: %zu refused, %zu wrong, %zu taken for the machine's",
	    FLIPS, refused, bad, crashed);
	manifest(dir);
	tap_is(verdict(dir, 0, reason), "ok", "and it is whole again");
	hash_tree_free(t);
	(void)close(fd);
}

/* Ids so long that the index is mapped in a table and not in memory. */
static void
test_long(void)
{
	static char		 dir[256], id[LONG + 1];
	struct chroma_writer	*w;
	struct err		 e = { 0, "" };
	struct hash		*h = hash_new(), *all = hash_new();
	struct item_coll	 c = colls[0];
	struct item		 it;
	struct store		*s;
	unsigned char		 d[HASH_LEN];
	char			 hex[HASH_HEX], reason[MSG_ERR_MAX];
	uint64_t		 live = n_live, total = n_recs;
	float			 v[DIM];
	size_t			 i, k;
	int			 r = -1;

	(void)snprintf(dir, sizeof(dir), "%s/long", top);
	if (mkdir(dir, 0700) == -1)
		die(dir, NULL);
	if ((w = chroma_create(dir, &c, 1, srcs, 2, 1, &e)) == NULL)
		die("chroma_create", &e);
	item_content_start(all);
	memset(id, 'x', LONG);
	for (i = 0; i < N_LONG; i++) {
		memset(&it, 0, sizeof(it));
		id[LONG - 1] = (char)('0' + i % 10);
		id[LONG - 2] = (char)('0' + i / 10);
		it.id = id;
		it.id_len = LONG;
		for (k = 0; k < DIM; k++)
			v[k] = random_float();
		it.vec = v;
		it.meta = "{}";
		it.meta_len = 2;
		item_digest(h, c.name, DIM, &it);
		item_content_add(all, c.name, &it);
		if (chroma_put(w, &it, &e) == -1)
			die("chroma_put", &e);
	}
	hash_final(all, d);
	hash_hex(d, hex);
	if (chroma_finish(w, hex, N_LONG, 0, NULL, &e) == -1)
		die("chroma_finish", &e);
	n_live = n_recs = N_LONG;
	manifest(dir);
	tap_is(verdict(dir, 0, reason), "ok", "long ids: ok");
	tap_is(verdict(dir, CHECK_OURS, reason), "ok", "long ids: ok, as ours");
	s = store_open(dir, STORE_CHROMA, 0, &e);
	for (i = 0; s != NULL && (r = store_next(s, &it, &e)) == 1; i++)
		if (it.id_len != LONG)
			break;
	tap_ok(r == 0 && i == N_LONG, "long ids: %zu of %d%s%s", i, N_LONG,
	    r == -1 ? ": " : "", e.text);
	store_close(s);
	ledger(dir, "UPDATE record SET label = 3 - label WHERE label < 3");
	manifest(dir);
	tap_is(verdict(dir, 0, reason), "ledger", "long ids: labels swapped");
	n_live = live;
	n_recs = total;
	hash_free(h);
	hash_free(all);
}

int
main(void)
{
	const char	*dir;
	struct err	 e = { 0, "" };
	size_t		 i;

	if (tmp_dir(top, "ours") == -1)
		die("mkdtemp", NULL);
	make_records();
	tap_plan(8 + 2 * (int)N_DAMAGES + 3 + 2 + 4);
	dir = make();
	test_read(dir, 0);
	test_read(dir, 1);
	for (i = 0; i < N_DAMAGES; i++)
		test_damage(i);
	test_plain();
	test_flips();
	test_long();
	for (i = 0; i < 4; i++)
		item_coll_clear(&colls[i]);
	for (i = 0; i < 2; i++)
		item_source_clear(&srcs[i]);
	if (!tap_done())
		(void)io_rmtree(AT_FDCWD, top, &e);
	else
		printf("# left in %s\n", top);
	return tap_done();
}
