/*
 * dpublish_entry: an input set aside, as it is written down in the target:
 *
 *	quarantine/<name>/requeue.json	the line for whoever sends it again
 *	quarantine/<name>/verdict.json	written next: what is moved, and why
 *	quarantine/<name>/<file>	the input, under its own name
 *	quarantine/<name>/moved.json	written last: it is there and no more
 *					where it was
 *
 * An entry with a verdict and no moved.json is what a killed run left; the
 * next one goes on with it.  On the way back verdict.json goes before
 * moved.json, so that no such entry is ever half of a way back.
 *
 * Struct entry owns its strings (entry_clear).  Errors: 65 what lies there
 * is none of ours; and what the target says.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_ENTRY_H
#define D_DPUBLISH_ENTRY_H

#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "target.h"

struct buf;

#define ENTRY_VERDICT	"verdict.json"
#define ENTRY_MOVED	"moved.json"
#define ENTRY_REQUEUE	"requeue.json"
#define ENTRY_BASE_MAX	100	/* bytes of an input's name in one */
#define ENTRY_FILE_MAX	(ENTRY_BASE_MAX + 8)
#define ENTRY_NAME_MAX	(ENTRY_BASE_MAX + 64)
#define ENTRY_NOTE_MAX	((size_t)32 << 20)

/* An entry, from its verdict.json. */
struct entry {
	char	*name, *url, *file, *verdict, *reason, *mend, *run;
	char	 sha256[HASH_HEX];
	int	 dir, moved;
	int64_t	 when;			/* ns since 1970 */
};
void	entry_clear(struct entry *n);

/* A note's key, or with file NULL that of the entry itself. */
void	entry_key(char out[TARGET_KEY_MAX], const char *name,
	    const char *file);
/* The input's own name, as far as it is plain. */
void	entry_file(char out[ENTRY_FILE_MAX], const char *url);
/* A name for the input of those bytes, the same each time. */
void	entry_name(char out[ENTRY_NAME_MAX], const char *url,
	    const char *sha256);
/* Where the input of an entry lies: a URL, which the caller frees. */
char	*entry_place(const struct target *t, const struct entry *n);

/* What verdict.json says: 0, or -1 when it is none of ours. */
int	entry_parse(struct entry *n, const struct buf *b);
/* 1 *n, 0 there is none of that name, -1.  For entry_clear. */
int	entry_get(struct target *t, const char *name, struct entry *n,
	    struct err *e);
/* The same of an input that is gone from there, whatever its name. */
int	entry_of_url(struct target *t, const char *url, struct entry *n,
	    struct err *e);
/* The entry goes; its input was moved back. */
int	entry_drop(struct target *t, const struct entry *n, struct err *e);
/*
 * What a run left of one without a verdict, that was killed while it
 * dropped it.  -1: 66 there is nothing.
 */
int	entry_drop_rest(struct target *t, const char *name, int dry,
	    struct err *e);

#endif
