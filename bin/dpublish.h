/*
 * dpublish: what its files share.  bin/dpublish.c reads the stream and
 * uploads, dpublish_prove.c decides whether a store may be published,
 * dpublish_commit.c publishes; dpublish_artifact.c and dpublish_verbs.c
 * are what else it does.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DPUBLISH_H
#define D_DPUBLISH_H

#include <stdint.h>
#include <stdio.h>

#include "check.h"
#include "filter.h"
#include "manifest.h"
#include "msg.h"
#include "rec_kind.h"
#include "store.h"
#include "stream.h"
#include "target.h"

struct remote;
struct s3_file;

#define DPUB_NAMED	20	/* complaints of one kind that are named */

struct dpub_opts {
	struct filter_opts	 filter;
	const char		*ckpt;
	const char		*plan;
	int			 allow_empty;
	int			 has_shrink;
	uint64_t		 shrink;	/* records that are expected */
	const char		*artifact;	/* -a */
	int			 dry_run;
	uint64_t		 keep;
	int			 has_newer;
	uint64_t		 newer;		/* seconds */
	const char		*lock;		/* --lock */
	int			 full;		/* --verify=full */
	/* --in-place: */
	int			 rollback, del;
	int			 has_max_delete, max_percent;
	uint64_t		 max_delete;
	int			 list;		/* --list */
	const char		*verdicts;	/* --verdicts */
	const char		*codes[CHECK_N]; /* --verdict, each */
	size_t			 n_codes;
	const char		*requeue, *reason, *name;
	int			 has_age_newer, has_age_older;
	uint64_t		 age_newer, age_older;	/* seconds */
	uint64_t		 lease;		/* --for, seconds */
};

struct dpub_src {
	char	 sha256[HASH_HEX];
	char	*url;
};
struct dpub_srcs {
	struct dpub_src	*v;
	size_t		 n, cap;
	int		 sorted;
};

/* A file of a set. */
struct dpub_file {
	char		*name;		/* in the set */
	char		*path;		/* below staging; NULL: the parent
					   holds it, and nothing was read */
	char		*url, *etag;	/* etag NULL: none */
	char		 sha256[HASH_HEX];
	uint64_t	 size;
	int64_t		 mtime;
};
struct dpub_files {
	struct dpub_file	*v;	/* by name, once it is judged */
	size_t			 n, cap;
	size_t			 held;	/* of them, without a path */
};
#define DPUB_FILES	"files"		/* format of a set: a version, */
#define DPUB_INPLACE	"in-place"	/* or what plain keys are made of */

/* What came down the stream. */
struct dpub {
	struct filter		 f;
	const struct dpub_opts	*o;
	const char		*target;	/* as it was given */
	struct rec		*base, *store;	/* copies, or NULL */
	struct rec		*parent;	/* of a file set; or NULL */
	struct dpub_srcs	 deltas;	/* the records */
	struct dpub_srcs	 given;		/* the sources they stand for */
	struct dpub_srcs	 skips;
	struct dpub_files	 files;
	int			 done;	/* published */
};

void	dpub_srcs_add(struct dpub_srcs *s, const char *sha256,
	    const char *url);
void	dpub_srcs_clear(struct dpub_srcs *s);

/*
 * bin/dpublish.c: the last steps, the same for stores and file sets.  s is
 * what dmerge said, or would have said; the files of m lie in fd.
 */

/* Nothing new: the target stays as it is, the pointer is made right. */
int	dpub_unchanged(struct dpub *p, struct target *t,
	    const struct target_commit *head, const struct rec_store *s,
	    struct err *e);
/*
 * Claim a version that comes after head, of the manifest with digest d; or
 * take up what a dead run began of it.
 */
struct target_upload *dpub_claim(struct dpub *p, struct target *t,
	    const struct target_commit *head,
	    const unsigned char d[HASH_LEN], struct err *e);
/* Upload, prove, and the commit, or a ticket for it. */
int	dpub_upload(struct dpub *p, struct target *t,
	    const struct target_commit *head, const struct manifest *m,
	    const unsigned char d[HASH_LEN], int fd,
	    const struct rec_store *s, struct err *e);
/*
 * Under drun: the ticket, and "prepared" instead of pub ("published").  at:
 * the target that holds the claim, where pub names another; or NULL.
 */
int	dpub_leave(struct dpub *p, const char *kind, const char *at,
	    const struct rec *pub, const char *claim, struct err *e);
/* The whole stream into p: 0 END was read, and nothing was wrong. */
int	dpub_read(struct dpub *p);
/* The end of the run; all of p is gone.  The exit status. */
int	dpub_finish(struct dpub *p);
void	dpub_fill_commit(struct target_commit *c,
	    const struct target_commit *head, const struct manifest *m,
	    const unsigned char d[HASH_LEN], const char *version,
	    const char *run);
enum stream_mode dpub_out_mode(const struct filter_opts *o);
/* What went wrong, if anything did, said and noted; t may be NULL. */
void	dpub_publish_end(struct dpub *p, struct target *t,
	    const struct err *e);

/* bin/dpublish_files.c */

void	dpub_files_take(struct dpub *p, const struct rec *r);
/* A skip record that has a name: a file that the parent holds. */
void	dpub_files_skip(struct dpub *p, const struct rec_skip *s);
/*
 * Is head what was current when the set was fetched, if that was asked for?
 * at and or_at: the names of the place.  0; -1: 73 another has published.
 */
int	dpub_files_fence(const struct dpub *p, const struct target *t,
	    const char *or_at, const struct target_commit *head,
	    struct err *e);
void	dpub_files_clear(struct dpub_files *s);
/* Sorts them: all that was fetched, apart from each other, and no store. */
int	dpub_files_judge(struct dpub *p, struct err *e);
const struct dpub_file *dpub_files_find(const struct dpub_files *s,
	    const char *name);
/* The input digest of the tree. */
void	dpub_files_digest(const struct dpub_files *s, char hex[HASH_HEX],
	    uint64_t *bytes);
/*
 * The set as the new directory dir of staging, *fd, its files moved there,
 * their names behind sub; and what is known of them into m.
 */
int	dpub_files_build(struct dpub *p, const char *dir, const char *sub,
	    struct manifest *m, int *fd, struct err *e);
void	dpub_files_publish(struct dpub *p);

/* bin/dpublish_inplace.c: exit statuses; and the "in-place" ticket. */
int	dpub_inplace(const char *prefix, const struct dpub_opts *o);
int	dpub_inplace_rollback(const char *prefix,
	    const struct dpub_opts *o);
int	dpub_inplace_commit(const struct rec *ticket, const struct stage *s,
	    const struct dpub_opts *o, struct rec **pub, int *done,
	    struct err *e);

/* bin/dpublish_prove.c: each says what is wrong through filter_fail. */

/* Law 2.  m is the store's manifest, base the head's (n_sources 0). */
void	dpub_prove_sources(struct dpub *p, const struct manifest *m,
	    const struct manifest *base);
void	dpub_prove_plan(struct dpub *p, const struct manifest *m,
	    const struct manifest *base);
/* Law 8, and law 3 for a store without records. */
void	dpub_prove_size(struct dpub *p, const struct manifest *m,
	    const struct target_commit *head, uint64_t deleted);
/*
 * Open the store at path with dcheck's own code, in a confined process,
 * and hold it against its manifest: 0, or -1 with *e (65: refused).
 */
int	dpub_open_store(const char *path, const struct manifest *m,
	    const struct stage *s, struct err *e);

/*
 * The archive at path, called name, into the empty directory `into`, by a
 * confined process: 0, or -1 with *e (65: refused).
 */
int	dpub_unpack(const char *path, const char *name, const char *into,
	    struct err *e);

/* The same for anything dcheck knows, without a manifest: 0, -1. */
int	dpub_judge(const char *path, enum store_format fmt,
	    const struct stage *s, struct err *e);

/* bin/dpublish_commit.c */

/* target_open with what o says. */
struct target *dpub_open_target(const char *url, int create,
	    const struct dpub_opts *o, struct err *e);

/*
 * Commit what was uploaded under u: 0, or -1 with *e (73 names the winner,
 * and what was uploaded is gone).  *done: it is published, even if -1.
 */
int	dpub_commit(struct target *t, struct target_upload *u,
	    const struct target_commit *c, int *done, struct err *e);
/*
 * The pointer is made to name head, the newest commit; nothing is written
 * where it does, so that what is unchanged needs no room and no rights.
 */
int	dpub_repair(struct target *t, const struct stage *s,
	    const struct target_commit *head, struct err *e);
/* A record for one commit ("published"). */
struct rec *dpub_record(const char *type, const struct target *t,
	    const struct target_commit *c);

/* The commit that a record of dpub_record describes: 0, -1. */
int	dpub_commit_of(const struct rec *r, struct target_commit *c,
	    struct err *e);
/* "Somebody was faster", into *e (73); returns -1. */
int	dpub_moved(const struct target *t, const struct target_commit *head,
	    struct err *e);
/*
 * Under drun, -c's database becomes one of the run's: the commit, which is
 * another process, and drun know it by that (ckpt_run_each).
 */
void	dpub_note_begin(const char *path);
/*
 * Tell the checkpoint database path (NULL: those of the run, else
 * DCKPT_DB).  What was published is what the target says, so trouble here
 * is said and changes nothing.
 */
void	dpub_note(const char *path, struct target *t,
	    const struct target_commit *c, int status, const char *text);
/* The same of a file set that lies there already, brought by run. */
void	dpub_note_same(const char *path, struct target *t,
	    const struct target_commit *head, const char *run);

/* bin/dpublish_ticket.c: --commit and --discard: exit statuses. */
int	dpub_commit_tickets(const struct dpub_opts *o);
int	dpub_discard_tickets(const struct dpub_opts *o);

/* bin/dpublish_verbs.c */

/* One record as a JSON line on stdout. */
int	dpub_json(const struct rec *r, struct err *e);
/* Everything that was printed has arrived: 0, or -1. */
int	dpub_flush(struct err *e);
/* Says it, unless a signal came; returns the exit status. */
int	dpub_failed(const struct err *e);
/* 2026-11-21T08:00:00Z */
void	dpub_when(int64_t ns, char out[32]);
/*
 * Commits read downwards, some ahead of others (target_ahead_commits), more
 * of them each time.  Zeroed but for t.
 */
#define DPUB_AHEAD	128		/* commits read ahead, at most */
struct dpub_past {
	struct target	*t;
	uint64_t	 low;	/* the lowest generation read ahead */
	size_t		 n;	/* as many, the last time */
	uint64_t	 gaps;	/* commits that are missing, so far */
};
/*
 * The commit below g that is there: 1, 0 none, -1.  Commits that are missing
 * in between are said, and counted.
 */
int	dpub_older(struct dpub_past *p, uint64_t g, struct target_commit *c,
	    struct err *e);
/* The verbs: each returns an exit status. */
int	dpub_log(const char *target, const struct dpub_opts *o);
int	dpub_rollback(const char *target, const char *version,
	    const struct dpub_opts *o);
int	dpub_probe(const char *target, const struct dpub_opts *o);

/* bin/dpublish_gc.c; orphans: versions that no commit names go, too. */
int	dpub_gc(const char *target, int orphans, const struct dpub_opts *o);

/* bin/dpublish_pin.c; version NULL: the current one; names end with NULL */
int	dpub_pin(const char *target, const char *version,
	    const struct dpub_opts *o);
int	dpub_pins(const char *target, const struct dpub_opts *o);
int	dpub_unpin(const char *target, char **names,
	    const struct dpub_opts *o);
int	dpub_sources(const char *target, const char *version,
	    const struct dpub_opts *o);
/* The version that is meant, into out: version, or the current one. */
int	dpub_which(struct target *t, const char *version,
	    char out[TARGET_VERSION_MAX], struct err *e);
/* A source as a line of a plan; as fprintf. */
int	dpub_source_line(FILE *f, const struct item_source *s);

/* bin/dpublish_rebuild.c; version NULL: the current one */
int	dpub_rebuild(const char *target, const char *dir,
	    const char *version, const struct dpub_opts *o);

/* bin/dpublish_quarantine.c; operands end with NULL. */
int	dpub_quarantine(const char *target, char **inputs,
	    const struct dpub_opts *o);
int	dpub_unquarantine(const char *target, char **names,
	    const struct dpub_opts *o);

/* bin/dpublish_holds.c; places end with NULL: an exit status. */
int	dpub_holds(char **places, const struct dpub_opts *o);

/*
 * bin/dpublish_place.c: is what lies at a place (a path, file:// or s3://,
 * a directory or an archive) what its own manifest says?  What it needs for
 * that it makes when it has to, and keeps for the next: zero it first.
 */
struct dpub_eye {
	int		 full;		/* open it, too */
	int		 staged;
	struct stage	 stage;
	unsigned int	 n;		/* directories made in it */
	struct remote	*remote;
};
/*
 * 0 and *m, which is the caller's either way; -1: 66 nothing is there, or
 * not all of it; 65 something of it is not what it should be.
 */
int	dpub_place(struct dpub_eye *y, const char *place,
	    struct manifest *m, struct err *e);
void	dpub_eye_clear(struct dpub_eye *y);

/* bin/dpublish_artifact.c; paths ends with NULL; empty: the stream. */
int	dpub_artifact(char **paths, const struct dpub_opts *o);
/* Judge what lies at path, whatever it is; an archive has only bytes. */
int	dpub_judge_any(const char *path, const struct stage *s,
	    struct err *e);

/* bin/dpublish_object.c */

/*
 * Put the artefact at the path from to the s3:// URL, or under drun leave
 * a ticket; and a record into f's stream.  64: the store does not exclude
 * and there is no lock; 73: something else is there.
 */
int	dpub_artifact_put(struct filter *f, const char *from,
	    const char *url, const struct dpub_opts *o, struct err *e);
/*
 * Objects back to the directory dirfd, under their names, or the one there
 * is as `as`; held against their digests, where those are not "".  url is
 * for messages.
 */
int	dpub_bring_back(struct remote *r, const char *bucket,
	    const struct s3_file *v, size_t n, const char *as, int dirfd,
	    const char *url, struct err *e);
/* The "artifact" ticket it left; *pub gets the record to show. */
int	dpub_artifact_commit(const struct rec *ticket,
	    const struct stage *s, struct rec **pub, struct err *e);

#endif
