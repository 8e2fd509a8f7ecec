/*
 * io: whole reads, whole writes, copies, and replacing files so that a
 * crash leaves the old one or the new one.  The only caller of read(2)
 * and write(2) on data.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_IO_H
#define D_IO_H

#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "msg.h"

struct hash;
struct pollfd;

/* Bytes read (short only at end of file), or -1 with errno. */
ssize_t	io_read(int fd, void *p, size_t n);
/* What is there now, at least one byte; 0 at end of file; -1 errno. */
ssize_t	io_read_some(int fd, void *p, size_t n);
/* As io_read, at an offset. */
ssize_t	io_pread(int fd, void *p, size_t n, uint64_t off);
/* 0, or -1 with errno. */
int	io_write(int fd, const void *p, size_t n);
/* close(2), told; *fd becomes -1. */
int	io_close(int *fd, const char *name, struct err *e);

/*
 * Copy all of in to out, which is empty: reflink where the file system
 * can and no hash is wanted, else copy_file_range, else read and write.
 * With h, the bytes are read once and digested on the way.  *size gets
 * the bytes.  -1 with errno as well.
 */
int	io_copy(int in, int out, const char *name, struct hash *h,
	    uint64_t *size, struct err *e);
/* Whole file into b (bounded by its max).  Missing is 66. */
int	io_slurp(int dirfd, const char *name, struct buf *b, struct err *e);

/* mkdir -p; mode 0777 less umask.  Existing directories are fine. */
int	io_mkdirs(const char *path, struct err *e);
/* The same, and what was made survives a crash of the machine. */
int	io_mkdirs_sync(const char *path, struct err *e);
int	io_fsync(int fd, const char *name, struct err *e);
/* fsync of the directory itself. */
int	io_fsync_dir(int dirfd, const char *name, struct err *e);
/* fsync of the directory that path lies in. */
int	io_fsync_parent(const char *path, struct err *e);
/* fsync of every file and directory below name, itself included. */
int	io_fsync_tree(int dirfd, const char *name, struct err *e);
/*
 * Write name below dirfd: aside, fsync, rename, fsync of the directory.
 * tmp is the name to write aside under, in the same directory.
 */
int	io_replace(int dirfd, const char *name, const char *tmp,
	    const void *p, size_t n, struct err *e);
/*
 * Create name below dirfd with these bytes, durably, or fail: 0 done, 1
 * something of that name is already there, -1 error.  What appears under
 * the name is whole at once (written aside as tmp, then link(2)).
 */
int	io_create_excl(int dirfd, const char *name, const char *tmp,
	    const void *p, size_t n, struct err *e);
/* rm -rf of name below dirfd, following no link.  Absent is fine. */
int	io_rmtree(int dirfd, const char *name, struct err *e);

/*
 * Lock the whole file, exclusively, waiting at most so many seconds: 0, or
 * -1: 75 who waited in vain, or was stopped by a signal.
 */
int	io_flock(int fd, unsigned int seconds, struct err *e);

/* SIGINT, SIGTERM, SIGHUP: the signal that came, or 0. */
int	io_signal(void);
/* Catch those three, and hear them though they were blocked; once, early. */
void	io_catch_signals(void);
/* SIGUSR1 asks how far it is; without this it ends the process. */
void	io_catch_status(void);
/* 1 when somebody asked since the last call. */
int	io_status_wanted(void);
/*
 * poll(2) that misses none of the four: -1 with EINTR also where one came
 * before, between the caller's look at io_signal or io_status_wanted and
 * this.  For waits that a signal must end; who goes on after one has poll(2).
 */
int	io_poll(struct pollfd *p, unsigned int n, int ms);
/* Until fd can be read: 0, or -1 with errno, EINTR of the three alone. */
int	io_await(int fd);
/* Die of the signal that came (after cleaning up). */
void	io_die_of_signal(void);
/*
 * Another program, as a child: 1 in the child, which becomes it; what
 * signals do to it is not what they do to us.  Here waits for its end: 0 and
 * *st as of waitpid, or -1.  A signal that we caught, also one that came
 * before, is passed on to it, once.
 */
int	io_run(int *st, struct err *e);

/* Seconds on the monotonic clock. */
double	io_now(void);
/* Nanoseconds of wall clock since 1970. */
int64_t	io_wall_ns(void);
/* n random bytes as 2n hex digits and a NUL. */
int	io_random_hex(char *out, size_t n, struct err *e);

#endif
