/*
 * chroma: what a ChromaDB persistent directory holds: its collections,
 * and for each id where its record and its vector lie after the queue has
 * been replayed (the server's own semantics, never the server's code).
 * chroma_open of store.h stands on it, and so does chroma_check.
 *
 * It judges nothing but what it needs in order to read; chroma_check does.
 * It opens nothing outside the directory, follows no link, and writes
 * nothing but SQLite's temporary files.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_H
#define D_CHROMA_H

#include <stddef.h>
#include <stdint.h>

#include "hnsw.h"
#include "item.h"
#include "ledger.h"
#include "msg.h"
#include "pickle.h"

struct sqlite3;
struct sqlite3_stmt;

#define CHROMA_FILE	"chroma.sqlite3"
#define CHROMA_PICKLE	"index_metadata.pickle"
#define CHROMA_DOC	"chroma:document"
#define CHROMA_VECTOR	"urn:chroma:segment/vector/hnsw-local-persisted"
#define CHROMA_META	"urn:chroma:segment/metadata/sqlite"

#define CHROMA_PATH_MAX	8192U		/* bytes of a path */
#define CHROMA_COLLS_MAX 10000U		/* collections of one directory */
#define CHROMA_CONFIG_MAX (1U << 20)	/* bytes of configuration, schema */
#define CHROMA_REPLAY_MAX 1000000U	/* pending operations on one id */
#define CHROMA_OPS_MAX	64U		/* operations on one id under a watch */
#define CHROMA_SMALL	(4U << 20)	/* bytes of a pickle, or elements / 16,
					   up to which an index is mapped in
					   memory, else in a temporary table */

struct chroma_coll {
	char		*uuid, *name, *topic;
	char		*vector_seg, *meta_seg;	/* uuids */
	char		*config, *schema;	/* verbatim; NULL */
	char		*model;			/* as in item.h */
	uint32_t	 dim;			/* 0: NULL, no record yet */
	enum item_space	 space;
	int64_t		 meta_max;		/* max_seq_id, 0: no row */
	int64_t		 vector_max;
	int		 has_meta_max, has_vector_max;
};

struct chroma_state;
struct chroma_walk;
/*
 * Who judges a directory while its records are read, so that both take one
 * walk and one look at each row.  It is of one collection, and none of
 * ours.  Calls return 0, or -1 with *e, which ends the reading.
 */
struct chroma_watch {
	void	*arg;
	/* an id, before it is read */
	int	(*id)(void *arg, const struct chroma_state *s, struct err *e);
	/* every row of the queue once: CHROMA_QUEUE_ROW */
	int	(*queue)(void *arg, struct sqlite3_stmt *st, struct err *e);
	/* a row of embedding_metadata: CHROMA_META_ROW */
	int	(*meta)(void *arg, struct sqlite3_stmt *st, struct err *e);
	/* the walk's end; it is still there */
	int	(*end)(void *arg, struct chroma_walk *w, struct err *e);
	/*
	 * Set before, of a file that is not small: ids never decrease in
	 * embedding_metadata's order, and its rows are so many.
	 */
	int	 meta_sorted;
	int64_t	 meta_rows;
	/* set before the end: meta saw every row, each as its record's */
	int	 all_meta;
};

#define CHROMA_QUEUE_ROW "seq_id, topic, id, operation, vector, encoding, " \
	"metadata, strftime('%s', created_at)"
/* where the column bool_value is not there, NULL stands for it */
#define CHROMA_META_ROW(bool_value) \
	"key, string_value, int_value, float_value, " bool_value ", id"

struct chroma {
	struct sqlite3	*db;
	char		*path;		/* the directory */
	char		*file;		/* chroma.sqlite3 in it */
	int		 dirfd;
	/* what this age of ChromaDB has */
	int		 has_databases, has_topic, has_config, has_schema;
	int		 has_coll_bool, has_bool, has_array;
	struct chroma_coll *colls;	/* sorted by name */
	size_t		 n;
	int		 small;		/* at most CHROMA_SMALL_FILE */
	int		 memory;	/* db is a copy of it in memory */
	int		 temp;		/* our temporary tables are there */
	int		 ours;		/* LEDGER_FILE lies beside it */
	struct chroma_watch *watch;	/* borrowed; NULL: nobody */
};

/* embeddings_queue.operation */
#define CHROMA_OP_ADD	 0
#define CHROMA_OP_UPDATE 1
#define CHROMA_OP_UPSERT 2
#define CHROMA_OP_DELETE 3

/* Has this directory a journal or WAL that a dead or live writer left? */
enum chroma_hot {
	CHROMA_CLOSED,
	CHROMA_JOURNAL,	/* rollback journal with a valid header */
	CHROMA_WAL,	/* a WAL with content */
	CHROMA_NOWAL	/* in WAL mode, without its WAL */
};
/* The answer, or -1.  A main file that is no database is CHROMA_CLOSED. */
int	chroma_is_hot(const char *path, struct err *e);

/*
 * Open the directory at path; flags as store_open.  0 or -1.  Clear it
 * either way.  The collections are read by chroma_read_colls.
 */
int	chroma_start(struct chroma *c, const char *path, int flags,
	    struct err *e);
int	chroma_read_colls(struct chroma *c, struct err *e);
/* 0, or -1 when the database did not close. */
int	chroma_clear(struct chroma *c, struct err *e);
struct store;
/*
 * The records of an open directory whose collections were read; flags as
 * store_open.  Takes what c holds, also when it fails.
 */
struct store *chroma_store(struct chroma *c, int flags, struct err *e);
/* 1 when a column of that name is there, 0, or -1: it cannot be told. */
int	chroma_has_column(const struct chroma *c, const char *table,
	    const char *column, struct err *e);
/* 65: what is wrong with a collection; name may be NULL.  Returns -1. */
int	chroma_bad(const struct chroma *c, const char *name,
	    const char *why, struct err *e);
/* The same of one id of it. */
int	chroma_bad_id(const struct chroma *c, const char *name,
	    const struct chroma_state *s, const char *why, struct err *e);
/* 1 when s is a uuid in lower-case, 36 characters. */
int	chroma_is_uuid(const char *s);
/*
 * A sequence number in column col: an integer, or a blob of 8 or 24 bytes
 * big-endian.  0, or -1 when it is neither.
 */
int	chroma_seq(struct sqlite3_stmt *st, int col, int64_t *out);

/* The vectors of one collection that lie in HNSW files. */
struct chroma_index {
	struct hnsw	 hnsw;
	int		 open;
	/* a pickle with ids was read: rows up to vector_max are in it */
	int		 ready;
	char		*why;	/* damage or absence, NULL: none */
	int		 damaged; /* there are files, and they are bad */
	struct pickle	 pickle;
	int		 inverse; /* the two maps hold the same pairs */
	uint64_t	 label_max;
	uint64_t	 n_live;	/* elements that are not deleted */
	/* private: sorted by id, in memory or in a temporary table */
	struct chroma_pair *v;
	size_t		 n, cap;
	struct chroma_label *labels;
	size_t		 n_labels, labels_cap;
	struct buf	 arena;
	int		 big;
};

/* chroma.sqlite3 up to here: read into memory at once, and its metadata */
#define CHROMA_SMALL_FILE (4U << 20)

#define CHROMA_NO_ELEMENT UINT64_MAX

/* Where one id stands. */
struct chroma_state {
	const char	*id;		/* until the next call */
	size_t		 len;
	int		 record;	/* it is live */
	int		 vector;	/* it has one */
	int64_t		 row;		/* embeddings.id, 0: none */
	int64_t		 vector_seq;	/* queue row with it, 0: HNSW */
	int64_t		 vector_len;	/* bytes there, -1: not a blob */
	uint64_t	 element;	/* in HNSW; CHROMA_NO_ELEMENT: gone */
	int		 deleted;	/* DELETE, no ADD or UPSERT since */
	/* queue rows whose metadata lie over the row's, in order */
	const int64_t	*overlay;
	size_t		 n_overlay;
	/* with a watch: all queue rows of it, which may be its only trace */
	const int64_t	*ops;
	size_t		 n_ops;
};

/*
 * Walk through the ids of a collection, in order of their bytes.  The
 * walk's index may be looked at until the end of the walk.
 */
struct chroma_walk *chroma_walk_new(struct chroma *c,
	    const struct chroma_coll *cc, struct err *e);
void	chroma_walk_free(struct chroma_walk *w);
struct chroma_index *chroma_walk_index(struct chroma_walk *w);
/* 1, 0 at the end, -1.  Ids whose every trace is gone are passed over. */
int	chroma_walk_next(struct chroma_walk *w, struct chroma_state *s,
	    struct err *e);

/*
 * A directory of ours: its walk and its ledger, joined.  What is in one of
 * them and not in the other, or not with the same label, is an error (65);
 * so are totals other than those that the ledger declares.
 */
struct chroma_ours {
	struct ledger	 l;
	size_t		*coll;		/* the ledger's number of each */
	/* live records and tombstones so far */
	uint64_t	 records, tombstones;
	/* private */
	struct chroma	*c;
	struct chroma_walk *w;
	size_t		 at;
	struct chroma_state s;
	struct ledger_rec rec;
	int		 have_s, have_rec, step_s, step_rec;
	struct hash	*content;
};

/* After chroma_read_colls of a c that is ours; close it either way. */
int	chroma_ours_open(struct chroma_ours *o, struct chroma *c,
	    struct err *e);
void	chroma_ours_close(struct chroma_ours *o);
/*
 * Begin with collection i of c, and in their order, for the totals' sake.
 * w is borrowed; NULL takes the ledger's word for what is there.
 */
int	chroma_ours_start(struct chroma_ours *o, size_t i,
	    struct chroma_walk *w, struct err *e);
/* 1, 0 at the end of the collection, -1.  Live ones have both. */
int	chroma_ours_next(struct chroma_ours *o, struct chroma_state *s,
	    struct ledger_rec *rec, struct err *e);
/* After the last collection: are the totals those of the ledger? */
int	chroma_ours_end(struct chroma_ours *o, struct err *e);

#endif
