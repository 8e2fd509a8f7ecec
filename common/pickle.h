/*
 * pickle: reads ChromaDB's index_metadata.pickle, the map of ids to HNSW
 * labels, as the Rust servers (protocol 3) and the Python ones (4 and 5)
 * write it, and writes it as the Rust servers do.  What reads is a machine
 * of 27 opcodes that can build nothing: classes are names, calls are
 * empty, every other opcode is refused.
 *
 * It streams: pairs are handed on as they come, memory is bounded by the
 * limits below and not by what the file declares.  The memo of Python's
 * pickles keeps where a string lies, not the string: 16 bytes each.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_PICKLE_H
#define D_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

#define PICKLE_STACK_MAX 16384U		/* values on the stack */
#define PICKLE_STR_MAX	65536U		/* bytes of one string */
#define PICKLE_LIVE_MAX	(16U << 20)	/* bytes of strings on the stack */
#define PICKLE_MEMO_MAX	(64U << 20)	/* entries of the memo */
#define PICKLE_FILE_MAX	((uint64_t)16 << 30)	/* bytes of the file */

enum pickle_map {
	PICKLE_ID_TO_LABEL,
	PICKLE_LABEL_TO_ID
};

struct pickle {
	/* 0 while absent or None */
	int		 has_max_seq_id;
	int64_t		 max_seq_id;
	int		 has_total;
	int64_t		 total;		/* total_elements_added */
	int		 has_dim;
	int64_t		 dim;
	uint64_t	 n_ids;		/* pairs of id_to_label */
	uint64_t	 n_labels;	/* pairs of label_to_id */
	int		 has_ids;	/* the maps were there */
	int		 has_labels;
};

/* 0, or -1 with *e to stop.  id lives until it returns. */
typedef int pickle_pair(void *arg, enum pickle_map map, const char *id,
	    size_t len, uint64_t label, struct err *e);

/*
 * Read all of fd; name is for messages.  pair may be NULL.  0; or -1 with
 * e->code 65 when the bytes are no such pickle (pairs may have been handed
 * on already), else what the machine did or what pair said.
 */
int	pickle_read(int fd, const char *name, struct pickle *p,
	    pickle_pair *pair, void *arg, struct err *e);

#define PICKLE_BATCH	1000U		/* pairs set at a time */
#define PICKLE_LABEL_MAX 2147483647U	/* greatest label that is written */

struct pickle_out;
/* Calls pickle_add for each pair; twice, with the same pairs. */
typedef int pickle_walk(void *arg, struct pickle_out *o, struct err *e);
int	pickle_add(struct pickle_out *o, const char *id, size_t len,
	    uint64_t label, struct err *e);
/*
 * Write to fd, which is empty.  total is the greatest label that ever was.
 * 0; -1 with e->code 65 when a label is too great for it, else what the
 * machine did or what walk said.
 */
int	pickle_write(int fd, const char *name, uint64_t total,
	    pickle_walk *walk, void *arg, struct err *e);

#endif
