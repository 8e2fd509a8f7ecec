/*
 * dav_send: files to WebDAV and back, many at once, each read back where
 * nobody knows what became of it.  It knows no layout and no store.
 *
 * Rules that its users may rely on:
 * - Nothing is written over: each file is created (If-None-Match: *).
 *   What is there already is read back: the same bytes stay, anything else
 *   is 73.
 * - Nothing is claimed that was not seen: an upload whose outcome is not
 *   known is read back, and sent again where it is not there.
 * - What an upload that went well left is not read back: dav_bring does
 *   that.
 * - Memory is a few hundred kB for each request under way.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DAV_SEND_H
#define D_DAV_SEND_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

#define DAV_PARALLEL	8U	/* transfers at once, where nobody says */
#define DAV_SEND_TRIES	8	/* of uploads whose outcome is not known */

struct dav;
struct net;
struct retry;

/* Who works; all is borrowed. */
struct dav_many {
	struct dav	*d;
	struct net	*n;
	struct retry	*r;
	unsigned int	 parallel;	/* 0: DAV_PARALLEL */
	const char	*cache;		/* for downloads to go on with; NULL */
};

struct dav_file {
	const char	*name;		/* path below the directory */
	char		*key;
	uint64_t	 size;
	int		 has_size;
	const char	*sha256;	/* hex; NULL: not known */
	uint64_t	 max;		/* bytes, where the size is not known */
	int		 state;		/* dav_send's own */
	int		 code;		/* what became of it: 0, or as in e */
};

/*
 * All of v from dirfd, where size and digest are known.  there: something
 * may lie under these keys already.  0, or -1: 65 a file is not what v
 * says, 73 something else is there, 74, 75, 77.
 */
int	dav_send(const struct dav_many *m, int dirfd, struct dav_file *v,
	    size_t n, int there, struct err *e);
/*
 * All of v, to their names below dirfd or, with -1, to nowhere: what
 * counts is that every byte came and was what v says.  0; 1 some did not,
 * v[].code and *e (of the first) say why: 65 differs, 66 is gone ...; -1
 * the machine failed, or a signal came.
 */
int	dav_bring(const struct dav_many *m, int dirfd, struct dav_file *v,
	    size_t n, struct err *e);

#endif
