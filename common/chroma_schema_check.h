/*
 * chroma_schema_check: are the tables ChromaDB's, as one of its versions
 * makes them, and do collections and segments hang together?
 *
 * It reads no record.  Answers and ownership: chroma_judge_check.h.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CHROMA_SCHEMA_CHECK_H
#define D_CHROMA_SCHEMA_CHECK_H

struct judge;

/* Before anything else is asked: nothing in the schema runs when read. */
int	judge_kinds(struct judge *j);
/* Migrations and columns; fills j->version. */
int	judge_schema(struct judge *j);
/* Collections and segments; reads the collections into j->c. */
int	judge_collections(struct judge *j);
/* Before the queue: a NULL would make every vector look wrong. */
int	judge_dimension(struct judge *j);

#endif
