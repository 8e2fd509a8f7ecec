/*
 * ticket: what a prepared stage leaves in staging for the moment when
 * every stage of the pipeline has exited 0 (DESIGN section 4), and the
 * placing of what was built in a hidden work directory.
 *
 * A ticket is one JSON file in STAGING/tickets/.  Two kinds:
 *
 *	{"t":"ticket","kind":"publish",...}	bin/dpublish.c fills it
 *	{"t":"ticket","kind":"place","mode":"msgpack","work":"/abs/.intact..",
 *	 "from":"/abs/.intact../built","to":"/abs/DIR","digest":"..."}
 *
 * It decides nothing about stores.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TICKET_H
#define D_TICKET_H

#include <stddef.h>

#include "hash.h"
#include "msg.h"
#include "stage.h"
#include "stream.h"

#define TICKET_DIR "tickets"
#define TICKET_MAX 1000		/* in one run */

struct rec;

/* 1 under drun (DRUN_ID is set): prepare only, leave a ticket. */
int	ticket_wanted(void);

/*
 * What stands at `to`, compared with what was built at `from` (absolute
 * paths): 0 nothing, 1 the same (a store of ours: same format, content
 * digest and sources, and whole; else the same input digest), -1 something
 * else (73) or an error.
 */
int	ticket_there(const char *from, const char *to, struct err *e);
/*
 * Make `from` durable and rename it to `to`, which must not exist or be
 * the same already; then remove the hidden directory work (NULL: none)
 * that from lies in.  0, or -1: 73 when something else is there.  On an
 * error work is left, for the caller to remove.
 */
int	ticket_place_now(const char *work, const char *from, const char *to,
	    struct err *e);
/*
 * What dmerge -o calls: place now, or under drun check that `to` is free
 * or the same and leave a ticket.  mode is how the program writes.
 */
int	ticket_place(const struct stage *s, enum stream_mode mode,
	    const char *work, const char *from, const char *to,
	    struct err *e);

/* Leave a ticket; r has every key but "t".  The name is made unique. */
int	ticket_leave(const struct stage *s, const struct rec *r,
	    enum stream_mode mode, struct err *e);
/*
 * All tickets of the staging, "publish" before "place" (who may lose a
 * race goes first), each in the order they were left.  *v is freed with
 * ticket_free_all.
 */
int	ticket_read_all(const struct stage *s, struct rec ***v, size_t *n,
	    struct err *e);
void	ticket_free_all(struct rec **v, size_t n);
/* The mode a ticket was left with. */
enum stream_mode ticket_mode(const struct rec *r);
/* Undo a "place" ticket: remove its work directory. */
int	ticket_discard_place(const struct rec *r, struct err *e);
/* Do a "place" ticket. */
int	ticket_commit_place(const struct rec *r, struct err *e);

#endif
