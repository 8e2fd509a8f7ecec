/*
 * arc: an archive from a stranger, unpacked below one directory, or refused.
 * tar (ustar, pax, gnu), alone or in gzip or zstd, and zip.  Only it and its
 * parts include libarchive.
 *
 * It judges the archive, never what the files in it mean.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_ARC_H
#define D_ARC_H

#include <stdint.h>

#include "msg.h"

struct check_verdict;
struct hash_tree;

#define ARC_ENTRIES	10000U			/* entries, directories too */
#define ARC_BYTES	((uint64_t)64 << 30)	/* bytes, unpacked */
#define ARC_RATIO	1000U			/* unpacked / packed ... */
#define ARC_RATIO_FREE	((uint64_t)1 << 20)	/* ... past these bytes */
#define ARC_DEPTH	8U			/* components of a path */

/* 0 in any of them takes the constant above. */
struct arc_limits {
	uint64_t	 entries, bytes, ratio, depth;
};

enum arc_kind {
	ARC_NONE,
	ARC_TAR,
	ARC_TAR_GZ,
	ARC_TAR_ZST,
	ARC_ZIP
};

/*
 * What the first bytes of fd claim to be (an enum arc_kind); the offset is
 * left alone.  -1 with errno when they cannot be read.
 */
int	arc_detect(int fd);

/*
 * Bring libarchive in (late.h), which must have been done before a sandbox
 * that lets no file be read.  arc_unpack does it too.
 */
int	arc_load(struct err *e);

/*
 * Unpack the file path into the existing, empty directory dirfd: regular
 * files (mode 0600) and directories (0700) only, each created anew below
 * dirfd.  Refused: links, devices, absolute paths, "..", names that are not
 * safe (path.h), a file named twice, encrypted entries, anything over the
 * limits, and an archive that is short, damaged, empty of files, or goes on
 * after its end.  Of a sparse file the holes count as bytes.  Directories
 * may be named more than once.
 *
 * lim and t may be NULL; t gets each file's name, size and digest.
 * 0 done; 1 the archive is bad (*v: CHECK_ARCHIVE, CHECK_UNSAFE,
 * CHECK_LIMIT); -1 the machine failed (*e).  After 1 and -1 the directory
 * holds what had been unpacked: the caller removes it.
 */
int	arc_unpack(const char *path, int dirfd, const struct arc_limits *lim,
	    struct hash_tree *t, struct check_verdict *v, struct err *e);

#endif
