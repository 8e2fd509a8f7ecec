/*
 * stage: the staging directory of one run, and the hidden work
 * directories it keeps elsewhere (beside -o DIR, below a target).
 *
 * A staging directory is named intact.<run>, mode 0700, and holds a file
 * "lock" that someone of the run holds a lock on for as long as the run
 * lives.  Who can take the lock exclusively knows the run is dead and may
 * remove it.  Work directories name the staging they belong to, and die
 * with it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_STAGE_H
#define D_STAGE_H

#include "msg.h"

#define STAGE_RUN_MAX 64	/* bytes of a run id, NUL included */
#define STAGE_PLACE_MAX 256	/* bytes of a place, NUL included */

struct stage {
	char	*path;		/* absolute; owned */
	char	 run[STAGE_RUN_MAX];
	int	 dirfd;
	int	 lockfd;	/* shared lock held */
	int	 made;		/* by this process, without drun */
};

/*
 * Boot, process and mount name spaces of this process: where the paths and
 * pids that another of our processes names mean what they mean here.  ""
 * where that cannot be told.
 */
void	stage_place(char out[STAGE_PLACE_MAX]);
/*
 * Was what calls itself place (stage_place), and left something in the file
 * system of fd, another boot's?  1 only where no other machine can have that
 * file system mounted: then it has ended, as all that ran before this boot.
 */
int	stage_other_boot(int fd, const char *place);
/* A fresh run id: 20261120T161248.123456Z-<8 hex>; sorts by time. */
int	stage_run_id(char out[STAGE_RUN_MAX], struct err *e);
/* The directory in which runs are staged: TMPDIR, else /var/tmp. */
const char *stage_parent(void);
/*
 * Make one below parent, holding its lock shared.  With run NULL an id is
 * made.  Collects dead runs of this user there first.
 */
int	stage_make(struct stage *s, const char *parent, const char *run,
	    struct err *e);
/*
 * Join an existing one (--stage, DSTAGE, or a hello's "stage"): proves
 * that it is ours (owner, mode, lock file) and takes the lock shared.
 */
int	stage_join(struct stage *s, const char *path, struct err *e);
/* Remove the whole directory.  The lock is kept until the end. */
int	stage_remove(struct stage *s, struct err *e);
/*
 * Without drun, each stage leaves as it ends, with over set when it was the
 * last of the pipe or has failed.  Once one has said so, the last to leave
 * removes the directory: nobody's files go away under its work.
 */
int	stage_leave(struct stage *s, int over, struct err *e);
/*
 * The process that made it, without drun, ends well before those that will
 * work in it may have joined: spare it for ten minutes though nobody holds
 * its lock.
 */
void	stage_handoff(const struct stage *s);
/* Forget it: close descriptors, free. */
void	stage_clear(struct stage *s);
/* Remove dead runs' directories below parent; counts in *n. */
int	stage_collect(const char *parent, unsigned int *n, struct err *e);
/* 1 when the run with its staging at path is alive (its lock is held). */
int	stage_alive(const char *path);

/*
 * A work directory ".intact.<run>.<4 hex>" below the directory dirfd, with
 * a file "owner" naming host, place and staging.  Things are built in it and
 * renamed out.  *name gets its name (owned by the caller).
 */
int	stage_work_make(const struct stage *s, int dirfd, char **name,
	    struct err *e);
/*
 * Remove the work directories below dirfd whose run is dead.  That is seen
 * at its own place alone, and of another boot on a disk of this machine;
 * elsewhere, under the same host name, what is a week old counts as dead.
 */
int	stage_work_collect(int dirfd, struct err *e);

#endif
