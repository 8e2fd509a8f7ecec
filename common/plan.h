/*
 * plan: the list of inputs a run must cover, a line each: URL, then
 * optional tab-separated seq= sha256= size= records= in any order.  Empty
 * lines and lines starting with '#' are nothing.  Repeated lines are one.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_PLAN_H
#define D_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"

#define PLAN_LINE_MAX	16384	/* bytes */
#define PLAN_LINES_MAX	10000000

struct plan_line {
	char		*url;		/* canonical; owned */
	char		*ask;		/* what to ask for, with its signed
					   query; NULL: url; owned */
	char		 sha256[HASH_HEX];	/* "" unknown */
	int64_t		 seq;
	uint64_t	 size;
	uint64_t	 records;
	unsigned int	 has_seq : 1;
	unsigned int	 has_size : 1;
	unsigned int	 has_records : 1;
	unsigned int	 seen : 1;	/* for the caller */
};

struct plan {
	struct plan_line	*v;	/* in order of first appearance */
	size_t			 n, cap;
	void			*index;	/* by url */
};

void	plan_init(struct plan *p);
void	plan_clear(struct plan *p);
/*
 * Parse one line (no newline).  name and number are for messages.  Local
 * URLs are made canonical.  A url that is there already with the same
 * fields is one; with other fields it is an error (64).
 */
int	plan_add_line(struct plan *p, const char *line, const char *name,
	    unsigned long number, struct err *e);
/* A whole file, or stdin when name is "-". An empty plan is an error. */
int	plan_read(struct plan *p, const char *name, struct err *e);
/*
 * The URL that names an input in plans and records, which the caller
 * frees: of a local one its canonical form; of an http one whose query is
 * signed, or holds a token, what stands before the query (which is another
 * each time it is signed, and nobody's business): then *ask (or NULL) is
 * all of it.  NULL: *e.
 */
char	*plan_url(const char *url, char **ask, struct err *e);
struct plan_line *plan_find(struct plan *p, const char *url);

#endif
