/*
 * chroma_rows_check: every row of the queue, of metadata and of full text,
 * and the numbers that say which rows were applied.
 *
 * It joins nothing by id: that is the walk's.
 * SPDX-License-Identifier: ISC
 */
#include "chroma_rows_check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "chroma_judge_check.h"
#include "db.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define ROW_MAX 4294967295LL	/* ChromaDB reads rowids as u32 */

/* -- the queue --------------------------------------------------------- */

static int
topic_cmp(const void *a, const void *b)
{
	const struct chroma_coll *const	*x = a, *const *y = b;

	return strcmp((*x)->topic, (*y)->topic);
}

static int
check_queue_vector(struct judge *j, sqlite3_stmt *st,
    const struct chroma_coll *cc, long long seq, int op)
{
	const char	*enc;
	const void	*p;
	size_t		 len;
	int		 n;

	enc = judge_text(st, 5, &len);
	if (sqlite3_column_type(st, 4) == SQLITE_NULL) {
		if (op == CHROMA_OP_ADD || op == CHROMA_OP_UPSERT)
			return REFUSE(CHECK_QUEUE,
			    "queue row %lld: no vector", seq);
		return 0;
	}
	if (enc == NULL || strcmp(enc, "FLOAT32") != 0)
		return REFUSE(CHECK_QUEUE, "queue row %lld: unknown encoding "
		    "%.30s", seq, enc != NULL ? enc : "NULL");
	if (sqlite3_column_type(st, 4) != SQLITE_BLOB)
		return REFUSE(CHECK_QUEUE, "queue row %lld: vector that is "
		    "no blob", seq);
	p = sqlite3_column_blob(st, 4);
	n = sqlite3_column_bytes(st, 4);
	if (cc->dim == 0 ||
	    (uint64_t)n != (uint64_t)cc->dim * 4 || p == NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: vector: want %llu "
		    "bytes (dimension %u), got %d bytes", seq,
		    (unsigned long long)cc->dim * 4, cc->dim, n);
	if (!item_finite(p, cc->dim))
		return REFUSE(CHECK_QUEUE, "queue row %lld: NaN or infinity "
		    "in its vector", seq);
	return 0;
}

/* CHROMA_QUEUE_ROW */
static int
check_queue_row(struct judge *j, sqlite3_stmt *st,
    struct chroma_coll **by_topic)
{
	struct chroma_coll	 key, *kp = &key, **hit;
	const char		*p;
	size_t			 n;
	long long		 seq = sqlite3_column_int64(st, 0);
	int			 op = sqlite3_column_int(st, 3);

	memset(&key, 0, sizeof(key));
	p = judge_text(st, 1, &n);
	key.topic = mem_dup(p != NULL ? p : "");
	hit = bsearch(&kp, by_topic, j->c.n, sizeof(*by_topic), topic_cmp);
	free(key.topic);
	if (hit == NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: topic of no "
		    "collection", seq);
	if (seq < 0 || sqlite3_column_type(st, 3) != SQLITE_INTEGER ||
	    op < CHROMA_OP_ADD || op > CHROMA_OP_DELETE)
		return REFUSE(CHECK_QUEUE, "queue row %lld: operation: want "
		    "0 to 3, got %d", seq, op);
	p = judge_text(st, 2, &n);
	if (p == NULL || n == 0)
		return REFUSE(CHECK_QUEUE, "queue row %lld: no id", seq);
	if (n > ITEM_ID_MAX)
		return REFUSE(CHECK_LIMIT, "queue row %lld: id of %zu bytes: "
		    "want at most %u", seq, n, ITEM_ID_MAX);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "queue row %lld: id is not UTF-8",
		    seq);
	if (check_queue_vector(j, st, *hit, seq, op) != 0)
		return 1;
	if (sqlite3_column_type(st, 6) != SQLITE_NULL) {
		p = judge_text(st, 6, &n);
		if (p == NULL || n > ITEM_TEXT_MAX || p[0] != '{' ||
		    !json_valid(p, n))
			return REFUSE(CHECK_QUEUE, "queue row %lld: metadata "
			    "is not a JSON object", seq);
	}
	if (sqlite3_column_type(st, 7) == SQLITE_NULL)
		return REFUSE(CHECK_QUEUE, "queue row %lld: created_at is no "
		    "time: ChromaDB ignores such rows", seq);
	return 0;
}

int
judge_queue_row(struct judge *j, sqlite3_stmt *st)
{
	struct chroma_coll	*one = j->c.colls;

	return check_queue_row(j, st, &one);
}

int
judge_queue(struct judge *j)
{
	struct chroma_coll	**by_topic;
	sqlite3_stmt		*st;
	size_t			 i;
	int			 r;

	by_topic = mem_zero(j->c.n, sizeof(struct chroma_coll *));
	for (i = 0; i < j->c.n; i++)
		by_topic[i] = &j->c.colls[i];
	if (j->c.n != 0)
		qsort(by_topic, j->c.n, sizeof(*by_topic), topic_cmp);
	st = db_prepare(j->c.db, "SELECT " CHROMA_QUEUE_ROW
	    " FROM embeddings_queue", j->c.file, j->e);
	if (st == NULL) {
		free(by_topic);
		return judge_fault(j, CHECK_SCHEMA);
	}
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_queue_row(j, st, by_topic)) != 0)
			break;
	sqlite3_finalize(st);
	free(by_topic);
	return r == -1 ? judge_fault(j, CHECK_CORRUPT) : r;
}

/* -- sequence numbers -------------------------------------------------- */

/* The greatest seq_id of a METADATA segment's rows, of either type. */
static int
max_embedding_seq(struct judge *j, const struct chroma_coll *cc,
    int64_t *out)
{
	sqlite3_stmt	*st;
	int64_t		 seq;
	int		 r;

	*out = 0;
	/* blobs of 8 bytes big-endian compare as their numbers do */
	st = db_prepare(j->c.db, "SELECT max(seq_id) FROM embeddings WHERE "
	    "segment_id = ?1 GROUP BY typeof(seq_id), length(seq_id) * "
	    "(typeof(seq_id) = 'blob')", j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	db_bind_str(st, 1, cc->meta_seg);
	while ((r = db_step(st, j->c.file, j->e)) == 1) {
		if (chroma_seq(st, 0, &seq) == -1) {
			r = REFUSE(CHECK_SEQ, "collection %.100s: a seq_id "
			    "that is no number", cc->name);
			break;
		}
		if (seq > *out)
			*out = seq;
	}
	sqlite3_finalize(st);
	return r == -1 ? judge_fault(j, CHECK_CORRUPT) : r;
}

static int
check_seq_coll(struct judge *j, const struct chroma_coll *cc, int64_t all)
{
	sqlite3_stmt	*st;
	int64_t		 mine = 0, rows = 0;
	int		 r, any = 0;

	st = db_prepare(j->c.db, "SELECT max(seq_id) FROM embeddings_queue "
	    "WHERE topic = ?1", j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	db_bind_str(st, 1, cc->topic);
	if ((r = db_step(st, j->c.file, j->e)) == 1) {
		any = sqlite3_column_type(st, 0) != SQLITE_NULL;
		mine = sqlite3_column_int64(st, 0);
	}
	sqlite3_finalize(st);
	if (r == -1 || (r = max_embedding_seq(j, cc, &rows)) != 0)
		return r == -1 ? judge_fault(j, CHECK_CORRUPT) : r;
	if ((cc->has_meta_max && cc->meta_max > all) ||
	    (cc->has_vector_max && cc->vector_max > all))
		return REFUSE(CHECK_SEQ, "collection %.100s: max_seq_id %lld "
		    "is beyond the queue's last row %lld: later writes would "
		    "be acknowledged and lost", cc->name,
		    (long long)(cc->meta_max > all ? cc->meta_max :
		    cc->vector_max), (long long)all);
	if (cc->has_meta_max && (!any || cc->meta_max > mine))
		return REFUSE(CHECK_SEQ, "collection %.100s: max_seq_id %lld, "
		    "but its last queue row is %lld", cc->name,
		    (long long)cc->meta_max, (long long)mine);
	if (cc->has_meta_max && rows > cc->meta_max)
		return REFUSE(CHECK_SEQ, "collection %.100s: a record of "
		    "seq_id %lld, beyond max_seq_id %lld", cc->name,
		    (long long)rows, (long long)cc->meta_max);
	/*
	 * Before the first record there is no dimension, and its server
	 * lies idle over updates and deletions of what is not there.
	 */
	if (cc->dim != 0 && any && mine > cc->meta_max &&
	    (j->flags & CHECK_RECOVER_HOT) == 0)
		return REFUSE(CHECK_HOT, "collection %.100s: its writer "
		    "stopped before it applied queue rows %lld to %lld",
		    cc->name, (long long)cc->meta_max + 1, (long long)mine);
	return 0;
}

int
judge_seq(struct judge *j)
{
	int64_t	all;
	size_t	i;
	int	r;

	if (j->version[METADB] >= 5 && (r = judge_none(j,
	    "SELECT segment_id FROM "
	    "max_seq_id WHERE typeof(seq_id) != 'integer'", CHECK_SEQ,
	    "max_seq_id of segment ", " is not an integer")) != 0)
		return r;
	r = judge_number(j, "SELECT max(seq_id) FROM embeddings_queue", &all);
	for (i = 0; i < j->c.n && r == 0; i++)
		r = check_seq_coll(j, &j->c.colls[i], all);
	return r;
}

/* -- metadata and full text -------------------------------------------- */

/* CHROMA_META_ROW, owner; orphan: it needs no owner */
static int
check_meta_row(struct judge *j, sqlite3_stmt *st, int orphan)
{
	static const int	type[4] = {
		SQLITE_TEXT, SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_INTEGER
	};
	const void	*p;
	long long	 id = sqlite3_column_int64(st, 5);
	size_t		 n;
	char		 b[JUDGE_SHOWN];
	int		 i, t, values = 0;

	if (!orphan && sqlite3_column_type(st, 6) == SQLITE_NULL)
		return REFUSE(CHECK_METADATA, "metadata of row %lld, which is "
		    "no record", id);
	p = judge_text(st, 0, &n);
	if (p == NULL)
		return REFUSE(CHECK_METADATA, "row %lld: a key that is no "
		    "text", id);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "row %lld: a key is not UTF-8", id);
	if (n > ITEM_ID_MAX)
		return REFUSE(CHECK_LIMIT, "row %lld: a key of %zu bytes: "
		    "want at most %u", id, n, ITEM_ID_MAX);
	for (i = 0; i < 4; i++) {
		if ((t = sqlite3_column_type(st, 1 + i)) == SQLITE_NULL)
			continue;
		values++;
		if (t != type[i])
			return REFUSE(CHECK_METADATA, "row %lld key %s: value "
			    "of the wrong type", id, judge_shown(st, 0, b));
	}
	if (values != 1)
		return REFUSE(CHECK_METADATA, "row %lld key %s: want 1 value, "
		    "got %d", id, judge_shown(st, 0, b), values);
	if (sqlite3_column_type(st, 1) == SQLITE_NULL)
		return 0;
	p = db_text(st, 1);
	n = (size_t)sqlite3_column_bytes(st, 1);
	if (p == NULL || n > ITEM_TEXT_MAX)
		return REFUSE(CHECK_LIMIT, "row %lld key %s: %zu bytes: want "
		    "at most %u", id, judge_shown(st, 0, b), n, ITEM_TEXT_MAX);
	if (!path_utf8(p, n))
		return REFUSE(CHECK_UTF8, "row %lld key %s: not UTF-8", id,
		    judge_shown(st, 0, b));
	return 0;
}

int
judge_meta_row(struct judge *j, sqlite3_stmt *st)
{
	if (sqlite3_column_type(st, 5) != SQLITE_INTEGER)
		return REFUSE(CHECK_METADATA, "metadata of row ?, which is "
		    "no record");
	return check_meta_row(j, st, 1);
}

static int
check_meta_table(struct judge *j, const char *sql, int orphan)
{
	sqlite3_stmt	*st;
	int		 r;

	st = db_prepare(j->c.db, sql, j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1)
		if ((r = check_meta_row(j, st, orphan)) != 0)
			break;
	sqlite3_finalize(st);
	return r == -1 ? judge_fault(j, CHECK_CORRUPT) : r;
}

int
judge_meta_order(struct judge *j, int *sorted, int64_t *rows)
{
	sqlite3_stmt	*st;
	int64_t		 id, last = INT64_MIN;
	int		 r;

	*sorted = 1;
	*rows = 0;
	j->docs = 0;
	st = db_prepare(j->c.db, "SELECT id, +key = '" CHROMA_DOC "' FROM "
	    "embedding_metadata NOT INDEXED", j->c.file, j->e);
	if (st == NULL)
		return judge_fault(j, CHECK_SCHEMA);
	while ((r = db_step(st, j->c.file, j->e)) == 1) {
		id = sqlite3_column_int64(st, 0);
		if (id < last)
			*sorted = 0;
		last = id;
		++*rows;
		j->docs += sqlite3_column_int(st, 1);
	}
	sqlite3_finalize(st);
	j->docs_known = r == 0;
	return r == -1 ? judge_fault(j, CHECK_CORRUPT) : 0;
}

/* FTS5's own check, by a handle that could write; it writes nothing. */
static int
check_fts_by(struct judge *j, struct sqlite3 *db)
{
	int	data = 0, rc;

	rc = sqlite3_exec(db, "PRAGMA journal_mode=MEMORY; BEGIN;"
	    "INSERT INTO embedding_fulltext_search("
	    "embedding_fulltext_search) VALUES('integrity-check');"
	    "ROLLBACK", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return 0;
	rc = sqlite3_extended_errcode(db);
	(void)db_status(rc, &data);
	if (db_row_fault(db, NULL, j->c.file, j->e) == -1)
		return -1;
	if (data)
		return REFUSE(CHECK_CORRUPT, "the full-text index does not "
		    "hold what its rows hold: %s", sqlite3_errmsg(db));
	if ((rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_PERM)
		return 0;
	return db_err(db, j->c.file, j->e);
}

/*
 * The handle is one in memory, or another on the file: with its journal in
 * memory it leaves no trace.  Where the file cannot be opened for writing,
 * pages and contents have been checked all the same.
 */
static int
check_fts_index(struct judge *j)
{
	struct sqlite3	*db;
	struct err	 mine;
	int		 rv;

	if (j->c.memory)
		return check_fts_by(j, j->c.db);
	memset(&mine, 0, sizeof(mine));
	/* SQLite would remove a journal of garbage, and that is not ours */
	if (faccessat(j->c.dirfd, CHROMA_FILE, W_OK, 0) == -1 ||
	    faccessat(j->c.dirfd, CHROMA_FILE "-journal", F_OK, 0) == 0 ||
	    faccessat(j->c.dirfd, CHROMA_FILE "-wal", F_OK, 0) == 0)
		return 0;
	if ((db = db_open(j->c.file, DB_RECOVER, 0, &mine)) == NULL)
		return mine.code == MSG_NOPERM ? 0 :
		    err_set(j->e, mine.code, "%s", mine.text);
	rv = check_fts_by(j, db);
	if (db_close(db, j->c.file, &mine) == -1 && rv == 0)
		rv = err_set(j->e, mine.code, "%s", mine.text);
	return rv;
}

static int
check_fts(struct judge *j)
{
	int64_t	docs, rows;
	int	r;

	if (j->version[METADB] < 3)
		return 0;
	/* light: by an index and a table that hold no text */
	docs = j->docs;
	if ((!j->docs_known && (r = judge_number(j,
	    "SELECT count(*) FROM embedding_metadata WHERE "
	    "+key = '" CHROMA_DOC "'", &docs)) != 0) ||
	    (r = judge_number(j, j->light ? "SELECT count(*) FROM "
	    "embedding_fulltext_search_docsize" : "SELECT count(*) FROM "
	    "embedding_fulltext_search_content", &rows)) != 0)
		return r;
	if (docs != rows)
		return REFUSE(CHECK_METADATA, "%lld documents, but %lld "
		    "full-text rows", (long long)docs, (long long)rows);
	if (j->light)
		return 0;
	if ((r = judge_none(j,
	    "SELECT m.id FROM embedding_metadata m LEFT JOIN "
	    "embedding_fulltext_search_content f ON f.id = m.id WHERE "
	    "m.key = '" CHROMA_DOC "' AND (f.id IS NULL OR "
	    "f.c0 IS NOT m.string_value)", CHECK_METADATA,
	    "the full-text row differs from the document of row ", "")) != 0)
		return r;
	return check_fts_index(j);
}

int
judge_metadata(struct judge *j)
{
	int64_t	low, high;
	int	r;

	if ((r = judge_number(j,
	    "SELECT min(id) FROM embeddings", &low)) != 0 ||
	    (r = judge_number(j, "SELECT max(id) FROM embeddings", &high)) != 0)
		return r;
	if (low < 0 || high > ROW_MAX)
		return REFUSE(CHECK_LIMIT, "embeddings.id %lld: want 0 to "
		    "%lld: ChromaDB cannot read others",
		    (long long)(low < 0 ? low : high), ROW_MAX);
	if (j->light)
		return check_fts(j);
	if (!j->meta_seen)
		r = check_meta_table(j, j->c.has_bool ?
	    "SELECT m.key, m.string_value, m.int_value, m.float_value, "
	    "m.bool_value, m.id, e.id FROM embedding_metadata m LEFT JOIN "
	    "embeddings e ON e.id = m.id" :
	    "SELECT m.key, m.string_value, m.int_value, m.float_value, "
	    "NULL, m.id, e.id FROM embedding_metadata m LEFT JOIN embeddings "
	    "e ON e.id = m.id", 0);
	/*
	 * A server that drops a collection leaves its arrays behind, and
	 * new records that get the same rows show them as theirs.
	 */
	if (r == 0 && j->c.has_array)
		r = check_meta_table(j, "SELECT m.key, m.string_value, "
		    "m.int_value, m.float_value, m.bool_value, m.id, e.id FROM "
		    "embedding_metadata_array m LEFT JOIN embeddings e "
		    "ON e.id = m.id", 1);
	return r != 0 ? r : check_fts(j);
}
