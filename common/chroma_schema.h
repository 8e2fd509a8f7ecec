/*
 * chroma_schema: the migrations that make a ChromaDB database, as data,
 * and applying one.
 *
 * The servers compare these texts, and their MD5, byte for byte with their
 * own list when they start, and refuse a database where one differs: the
 * texts are part of the file format, as each such file carries them.  They
 * are ChromaDB's (https://www.trychroma.com, Apache License 2.0), taken
 * from what a server wrote.  Comments and spaces in them must stay.
 *
 * It decides nothing: which of them a database gets is its writer's
 * affair.  SQLite 3.35 can execute all of them.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_SCHEMA_H
#define D_CHROMA_SCHEMA_H

#include "msg.h"

struct sqlite3;

#define CHROMA_SYSDB		"sysdb"
#define CHROMA_METADB		"metadb"
#define CHROMA_QUEUE		"embeddings_queue"

/* Levels that we write; every 1.x server opens the first of a pair. */
#define CHROMA_SYSDB_PLAIN	9
#define CHROMA_SYSDB_SCHEMA	10	/* collections.schema_str */
#define CHROMA_METADB_INDEX	4	/* makes nothing but three indexes */
#define CHROMA_METADB_PLAIN	5
#define CHROMA_METADB_ARRAY	6	/* embedding_metadata_array */
#define CHROMA_QUEUE_LEVEL	2

struct chroma_migration {
	const char	*dir;
	int		 version;
	const char	*filename;
	const char	*hash;		/* MD5 of sql, in hex */
	const char	*sql;
};

/* By directory in the order in which servers apply them; ends with NULL. */
extern const struct chroma_migration chroma_migrations[];
/* The two tables that are there before any migration; ends with NULL. */
extern const char *const chroma_before[];

#define CHROMA_APPLY_SQL	1	/* execute it */
#define CHROMA_APPLY_ROW	2	/* say that it was applied */

/* Apply one of the list; what are flags.  0 or -1. */
int	chroma_apply(struct sqlite3 *db, const char *dir, int version,
	    int what, const char *name, struct err *e);

#endif
