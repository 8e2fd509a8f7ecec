/*
 * dcheck: a slot's process, the worker or the operator's command.  A slot
 * that could not be proved gets an answer that says so; nothing is returned
 * but by who says otherwise.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCHECK_WORK_H
#define D_DCHECK_WORK_H

#include <sys/types.h>

struct buf;
struct err;
struct run;
struct slot;

/* A pipe that no program gets and whose reader does not wait.  0, -1. */
int	work_pipe(int fd[2], struct err *e);
/* Close *fd, if it is open. */
void	work_shut(int *fd);
/*
 * End a slot's process, and whatever it started, for good.  Its status; 0
 * when there is none.
 */
int	work_reap(struct run *g, struct slot *s);
/* 1 when the process has exited; it stays to be reaped. */
int	work_exited(pid_t pid);
/* A worker for a slot that is WAITING. */
void	work_start(struct run *g, struct slot *s);
/* Remove what was unpacked or copied for it. */
void	work_drop(struct run *g, struct slot *s);
/* All that fd holds now: 1 when there may be more, 0 at its end. */
int	work_drain(int fd, struct buf *b, int *errnum);
/* The worker's answer is whole, or broken off. */
void	work_done(struct run *g, struct slot *s);
/* The command has exited. */
void	work_hook_done(struct run *g, struct slot *s);
/* Its time is over. */
void	work_too_long(struct run *g, struct slot *s);

#endif
