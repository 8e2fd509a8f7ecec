/*
 * target: where versions are published (DESIGN section 8), one interface
 * whatever lies below it: commits, the pointer, versions, uploads in
 * progress.
 *
 *	commits/<generation>.json	plain decimal from 1, no padding
 *	latest-pointer.txt		a version id, no newline
 *	timestamped/<version>/		manifest.json and the files it names
 *	staging/<run>/			an upload, with its "owner"
 *	quarantine/			the operator's; never touched
 *
 * The commits are the truth and the pointer follows them.  A commit is one
 * exclusive create of the generation after the one that was merged onto.
 * Nothing here is ever taken for empty because something is missing.
 *
 * It moves bytes and compares digests; whether a store is good, and
 * whether it may be published, is decided above.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_TARGET_H
#define D_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "msg.h"
#include "stage.h"

#define TARGET_VERSION_MAX	64		/* bytes of a version id */
#define TARGET_COMMIT_MAX	((size_t)64 << 10) /* bytes of a commit */
#define TARGET_LOCK_WAIT	30		/* seconds, then 75 */
#define TARGET_COMMITS		"commits"
#define TARGET_POINTER		"latest-pointer.txt"
#define TARGET_VERSIONS		"timestamped"
#define TARGET_STAGING		"staging"
#define TARGET_QUARANTINE	"quarantine"

struct buf;
struct manifest;
struct target;
struct target_upload;

/* One commit. Strings are owned; free with target_commit_clear. */
struct target_commit {
	uint64_t	 generation;	/* from 1 */
	char		*version;	/* what readers get */
	char		*parent;	/* version of generation - 1, or NULL */
	char		 run[STAGE_RUN_MAX];	/* who committed it */
	char		 manifest_sha256[HASH_HEX];
	char		 content_digest[HASH_HEX];
	char		*format;	/* sqlite chroma */
	uint64_t	 records, tombstones;
	char		*kind;		/* "publish" "rollback" */
	int64_t		 created;	/* ns since 1970 */
};
void	target_commit_clear(struct target_commit *c);

/*
 * url: a local path or file:// URL.  With create, the directory is made
 * when absent; without, absent is 66.  Opening writes nothing else.
 */
struct target *target_open(const char *url, int create, struct err *e);
void	 target_close(struct target *t);	/* NULL is fine */
const char *target_url(const struct target *t);	/* canonical */

/*
 * The newest commit: 1 and *c filled, 0 the target truly holds nothing (no
 * commit, no pointer, no version but those that uploads in progress or
 * dead ones claim), -1 error.  A pointer or a version without commits, a
 * pointer to a version that no commit names, or a newest commit whose
 * version is gone is 66; one whose manifest is not the one committed, 65.
 * A stale or missing pointer is fine.
 */
int	target_head(struct target *t, struct target_commit *c,
	    struct err *e);
/* As target_head, looking at commits alone. For repair and history. */
int	target_newest(struct target *t, struct target_commit *c,
	    struct err *e);
/* 1 with *c, 0 there is none, -1 error. */
int	target_commit_get(struct target *t, uint64_t generation,
	    struct target_commit *c, struct err *e);
/* What the pointer says: 1, 2 it says more than that, 0 none, -1. */
int	target_pointer(struct target *t, char out[TARGET_VERSION_MAX],
	    struct err *e);
/* Does the version lie there (its manifest does)? 1, 0, -1. */
int	target_has(struct target *t, const char *version, struct err *e);
/*
 * A version's manifest, and the digest of its bytes (NULL: not wanted).
 * Absent is 66, malformed 65.
 */
int	target_manifest(struct target *t, const char *version,
	    struct manifest *m, unsigned char d[HASH_LEN], struct err *e);
/*
 * Bring a version's manifest.json and the files it lists into the new
 * directory name below dirfd: by reflink, else hard link (published files
 * are immutable: never open them for writing), else copy with SHA-256
 * checked on the way.  Sizes are always checked.
 */
int	target_fetch(struct target *t, const char *version, int dirfd,
	    const char *name, struct err *e);
/* Every byte of a version where it lies, against its manifest. */
int	target_verify(struct target *t, const char *version, struct err *e);
/*
 * A local directory where the version can be opened, or NULL when the
 * target has none (it must be fetched).  Lives as long as t.
 */
const char *target_version_path(struct target *t, const char *version);
/* Version ids, sorted, newest last.  NULL-terminated, freed by caller. */
int	target_versions(struct target *t, char ***v, size_t *n,
	    struct err *e);
void	target_names_free(char **v);

/* 20261120T161248.123456Z-<8 hex>; sorts after `after` (NULL: nothing). */
int	target_version_id(char out[TARGET_VERSION_MAX], const char *after,
	    struct err *e);
int	target_version_ok(const char *s);

/*
 * Uploads.  begin claims staging/<run>/ and the version id in it, durably
 * and before anything else, so that whatever is left behind names its
 * owner, and the one generation that may commit it; without a version
 * (NULL, 0) the claim is for a commit or repair alone.
 * The claim lives as long as the handle, or as the staging directory
 * s (NULL: none) does.
 */
struct target_upload *target_begin(struct target *t, const struct stage *s,
	    const char *run, const char *version, uint64_t generation,
	    struct err *e);
const char *target_upload_name(const struct target_upload *u);
/*
 * Upload the store directory open at dirfd, verify every byte where it
 * lies, make it durable and put it under its version's name.  d is the
 * digest its manifest.json must have.  share: the files are ours and will
 * not be written to again, so that a hard link may stand for a copy
 * (never of a file that has other links: that is a published one).
 */
int	target_put(struct target_upload *u, int dirfd,
	    const struct manifest *m, const unsigned char d[HASH_LEN],
	    int share, struct err *e);
/* Take up a claim again from its name: NULL when it is gone (66). */
struct target_upload *target_resume(struct target *t, const char *name,
	    struct err *e);
/*
 * Take generation c->generation: 0 it is ours (created now, or earlier by
 * this very run), 1 another has it (*won is filled when not NULL), -1.
 * After an error whose outcome is not known, *e says so and the claim is
 * kept: nothing may be deleted.
 */
int	target_commit(struct target_upload *u, const struct target_commit *c,
	    struct target_commit *won, struct err *e);
/* Give the claim up; the version goes too unless a commit names it. */
int	target_abandon(struct target_upload *u, struct err *e);
/* Done: the claim goes, the version stays. */
int	target_finish(struct target_upload *u, struct err *e);
/*
 * Close the handle and leave what lies there (prepared under drun).  All
 * uploads go before their target; abandon and finish do not free.
 */
void	target_upload_free(struct target_upload *u);

/*
 * Make the pointer name the newest commit's version: 1 it was moved, 0 it
 * was right, -1.  Forward only, as it always takes the newest.
 */
int	target_advance(struct target_upload *u, struct err *e);
/*
 * Remove what dead runs left here: claims, and versions that only they
 * claim.  Runs of other hosts are dead when older than age seconds
 * (0: never).  *n (may be NULL) counts.
 */
int	target_collect(struct target *t, uint64_t age, unsigned int *n,
	    struct err *e);
/* Remove a version for good: hidden from its name first, then removed. */
int	target_remove(struct target_upload *u, const char *version,
	    struct err *e);

/*
 * Does this place exclude?  Two exclusive creates of one name, of which
 * the second must fail, and the rename and the sync of a directory.  Each
 * step is told to say(what, arg); 0, or -1 with the one that failed.
 */
int	target_probe(struct target_upload *u,
	    void (*say)(const char *what, void *arg), void *arg,
	    struct err *e);

/*
 * What a place to publish to must be able to do; keys are relative names
 * such as "commits/7.json".  target.c knows the layout and the laws, an
 * implementation knows its store and nothing else.
 */
struct target_ops {
	/* Names directly below the directory key; absent: none. */
	int	(*list)(void *impl, const char *key,
		    int (*name)(const char *name, void *arg), void *arg,
		    struct err *e);
	/* A whole small object: 1, 0 absent, -1. */
	int	(*get)(void *impl, const char *key, struct buf *b,
		    struct err *e);
	/* 1 it is there, 0 absent, -1. */
	int	(*has)(void *impl, const char *key, struct err *e);
	/*
	 * Create an object that must not exist, durably, whole at once: 0,
	 * 1 it exists, -1 (the outcome may be unknown).  claim is where
	 * bytes may be put aside.
	 */
	int	(*create)(void *impl, const char *claim, const char *key,
		    const void *p, size_t n, struct err *e);
	/* Replace an object, whole at once and durably. */
	int	(*replace)(void *impl, const char *claim, const char *key,
		    const void *p, size_t n, struct err *e);
	/* Remove a tree; absent is fine. */
	int	(*remove)(void *impl, const char *key, struct err *e);
	/* Turn the tree at key `from` into `to`, whole at once, durably. */
	int	(*rename)(void *impl, const char *from, const char *to,
		    struct err *e);
	/* Upload files of m (and the manifest) from dirfd to key, durably. */
	int	(*put)(void *impl, const char *key, int dirfd,
		    const struct manifest *m, int share, struct err *e);
	/* Bring them to dirfd. */
	int	(*fetch)(void *impl, const char *key, int dirfd,
		    const struct manifest *m, struct err *e);
	/* Every byte of m at key; 65 names what differs. */
	int	(*verify)(void *impl, const char *key,
		    const struct manifest *m, struct err *e);
	/*
	 * Make the claim at key with these bytes as "owner", durably, and
	 * hold it: *held is the hold, given back with release; 1 when the
	 * name is taken.  hold: the same for one that exists (1: somebody
	 * holds it).  Called under the lock.
	 */
	int	(*claim)(void *impl, const char *key, const void *p,
		    size_t n, int *held, struct err *e);
	int	(*hold)(void *impl, const char *key, int *held,
		    struct err *e);
	void	(*release)(void *impl, int held);
	/* One writer of pointer and claims at a time. -1: 75. */
	int	(*lock)(void *impl, struct err *e);
	void	(*unlock)(void *impl);
	/* A local path of key, or NULL; owned by the caller. */
	char	*(*path)(void *impl, const char *key);
	void	(*close)(void *impl);
	/*
	 * What lies directly below the directory key, whoever put it there
	 * or took it away, stays so from now on.  NULL: it always does.
	 */
	int	(*settle)(void *impl, const char *key, struct err *e);
};

/* The directory at the absolute path abs. */
int	target_local_open(const char *abs, int create,
	    const struct target_ops **ops, void **impl, struct err *e);

#endif
