/*
 * stream: HELLO, records, END or FAIL over a file descriptor, in msgpack,
 * JSON lines or (out only) text for people.  Knows sizes, not meanings.
 *
 * EOF is never END (law 1).  DTRACE in the environment copies each frame
 * as JSON to stderr.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_STREAM_H
#define D_STREAM_H

#include <stddef.h>

#include "msg.h"
#include "rec.h"

#define STREAM_VERSION 1

enum stream_event {
	STREAM_REC,	/* *r is a record of any type but the three below */
	STREAM_END,	/* *r is the end record; nothing followed it */
	STREAM_FAIL,	/* *r is the fail record */
	STREAM_CUT,	/* ended inside a record or before END */
	STREAM_BAD,	/* malformed, wrong version, bytes after END ... */
	STREAM_IOERR	/* read failed, or a signal came */
};

struct stream_in;
/* json: lines instead of msgpack.  Borrows fd. */
struct stream_in *stream_in_new(int fd, int json);
void	stream_in_free(struct stream_in *s);
/* 1 when bytes that were read wait for stream_read: poll(2) sees only fd. */
int	stream_pending(const struct stream_in *s);
/* 1 when stream_read has the next record, and need not wait for it. */
int	stream_ready(const struct stream_in *s);
/*
 * HELLO first: 0, or the event that came instead (STREAM_CUT on an empty
 * stream).  *r is the hello record.
 */
int	stream_read_hello(struct stream_in *s, const struct rec **r,
	    struct err *e);
/* *r lives until the next call. *e is filled for CUT, BAD, IOERR. */
enum stream_event stream_read(struct stream_in *s, const struct rec **r,
	    struct err *e);
/*
 * For a program that was called so that it reads no stdin: a stream that
 * waits there would be lost with nobody the wiser.  MSG_USAGE if one does.
 * Call it first and, since that one may start later, with last set once
 * the work is done: then a pipe is let go of, so that who writes into it
 * from now on fails.
 */
int	stream_unread(int last, struct err *e);
/* A whole stream in memory, for tests and fuzzing: the last event. */
enum stream_event stream_replay(const void *p, size_t n, size_t *n_records,
	    struct err *e);

enum stream_mode {
	STREAM_MSGPACK,
	STREAM_JSON,
	STREAM_TEXT
};

struct stream_out;
struct stream_out *stream_out_new(int fd, enum stream_mode mode);
void	stream_out_free(struct stream_out *s);
/*
 * Each writes and flushes: 0, or -1 with *e; e->code is MSG_PROTOCOL and
 * e->text "" when the reader has left (EPIPE): exit quietly.
 */
int	stream_write(struct stream_out *s, const struct rec *r,
	    struct err *e);
/* 1 when stdout's reader is gone (POLLERR). */
int	stream_reader_gone(const struct stream_out *s);

#endif
