/*
 * ckpt_fs: may a SQLite database in WAL mode lie on this file system?  It
 * wants memory that all its processes share, and so one machine.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_CKPT_FS_H
#define D_CKPT_FS_H

#include <stddef.h>

/*
 * The name of a file system that other machines share, or NULL: by its
 * statfs magic, and, for those that are all FUSE, by its type in
 * /proc/self/mountinfo (NULL: not known).
 */
const char *ckpt_fs_shared(unsigned long magic, const char *type);
/*
 * The same of the file system path lies on.  Where nothing can be found
 * out, NULL: nobody is kept from working.
 */
const char *ckpt_fs_of(const char *path);

#endif
