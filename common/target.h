/*
 * target: where versions are published (DESIGN section 8), one interface
 * whatever lies below it: commits, the pointer, versions, uploads in
 * progress.
 *
 *	commits/<generation>.json	plain decimal from 1, no padding
 *	latest-pointer.txt		a version id, no newline
 *	timestamped/<version>/		manifest.json and the files it names
 *	staging/<run>/			an upload, with its "owner"
 *	quarantine/<name>/		an input set aside, and its verdict
 *	pins/<version>[.<lease>]/	what keeps a version from removal
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
#define TARGET_PINS		"pins"
#define TARGET_PIN		"pin.json"
#define TARGET_PIN_MAX		192		/* bytes of a pin's name */

#define TARGET_WHO_MAX		512	/* bytes of "run R on H" */

#define TARGET_CLAIM_LIFE	86400	/* s; claims of other machines that are
					   older are dead */
#define TARGET_CLAIM_USE	43200	/* s; an older claim is not committed */

struct buf;
struct json_val;
struct manifest;
struct target;
struct target_upload;

/* How a target is opened. Zeroed is fine; strings are copied. */
struct target_opts {
	int		 create;	/* make it when it is absent */
	/*
	 * A local file whose lock keeps publishers apart, where the store
	 * itself cannot: all publishers to it must name the same.
	 */
	const char	*lock;
	const char	*ckpt;		/* for the breakers; NULL: DCKPT_DB */
	unsigned int	 parallel;	/* transfers at once; 0: the default */
};

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
 * url: a local path or file:// URL, s3://bucket/prefix, or http(s):// of a
 * WebDAV collection.  With create, the directory is made when absent;
 * without, absent is 66 (of a store of objects: there is no absent).
 * Opening writes nothing else.
 */
struct target *target_open(const char *url, const struct target_opts *o,
	    struct err *e);
/* 1 when url can be a target here. */
int	 target_is_url(const char *url);
/* 1 when it is not of this machine's file systems. */
int	 target_is_remote(const struct target *t);
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
/*
 * Do the commits up to c explain what the pointer said before they were
 * read?  0, or -1: 66, it names a version that lies there and that none of
 * them names, so that commits were lost.
 */
int	target_explains(struct target *t, const struct target_commit *c,
	    const char *ptr, struct err *e);
/* As target_head, looking at commits alone. For repair and history. */
int	target_newest(struct target *t, struct target_commit *c,
	    struct err *e);
/* The greatest generation below g that has a commit, 0 none, into *out. */
int	target_generation_before(struct target *t, uint64_t g, uint64_t *out,
	    struct err *e);
/* 1 with *c, 0 there is none, -1 error. */
int	target_commit_get(struct target *t, uint64_t generation,
	    struct target_commit *c, struct err *e);
/*
 * Hints, where asking for many at once is quicker: commits below g, n of
 * them, that will be read downwards; versions that will be looked for
 * (target_has).  What does not come is asked for again by whoever reads it.
 * A hint ends the one before.
 */
void	target_ahead_commits(struct target *t, uint64_t g, size_t n);
void	target_ahead_has(struct target *t, const char *const *versions,
	    size_t n);
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
/*
 * The same with what target_manifest said: m, and d, the digest of its
 * bytes; m NULL: manifest.json alone.
 */
int	target_bring(struct target *t, const char *version,
	    const struct manifest *m, const unsigned char d[HASH_LEN],
	    int dirfd, const char *name, struct err *e);
/*
 * Does the version of c, with the manifest m, lie there as it was when it
 * was committed: each file of its size, and none written to since?  It
 * reads none of them, and sees what times tell: of objects, to the second.
 * 1; 0 no, or nobody knows.
 */
int	target_as_committed(struct target *t, const struct target_commit *c,
	    const struct manifest *m);
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
/* When its id was made, ns since 1970; 0 when it is none. */
int64_t	target_version_time(const char *version);

/* What is claimed. Zeroed: nothing but the right to repair. */
struct target_claim {
	const char	*version;	/* that is to be uploaded, or NULL */
	uint64_t	 generation;	/* the one that may commit it */
	const char	*manifest;	/* hex, the digest of its manifest */
	const char	*keeps;		/* a version that lies there, and will
					   be committed again; or NULL */
};
/*
 * Uploads.  begin claims staging/<run>/ and what c says, durably and before
 * anything else, so that whatever is left behind names its owner, and the
 * one generation that may commit it.
 * The claim lives as long as the handle, or as the staging directory
 * s (NULL: none) does.  A remote target is first asked whether it excludes.
 * Where a dead run of this machine left an upload of the same manifest for
 * the same generation there, it is taken up, with its version.
 */
struct target_upload *target_begin(struct target *t, const struct stage *s,
	    const char *run, const struct target_claim *c, struct err *e);
const char *target_upload_name(const struct target_upload *u);
/* The version that is claimed, "" none: c's, or that of a dead run. */
const char *target_upload_version(const struct target_upload *u);
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
 * After an error whose outcome is not known, *e says so, the claim is kept,
 * and target_abandon removes nothing.
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
/* What a dead run left, for whoever lists it. Views. */
struct target_left {
	const char	*claim;
	const char	*version;	/* NULL: none */
	const char	*host;		/* or NULL */
	int64_t		 created;	/* ns, by its own clock; 0 unknown */
};
/*
 * Remove what dead runs left here: claims, and versions that only they
 * claim.  Runs of other hosts are dead when older than age seconds
 * (0: never; of a remote target at least TARGET_CLAIM_LIFE).  say (or
 * NULL) is told of each; with dry set nothing is removed.
 */
int	target_collect(struct target *t, uint64_t age, int dry,
	    void (*say)(void *arg, const struct target_left *l), void *arg,
	    struct err *e);
/*
 * Remove a version for good: hidden from its name first, then removed.  0,
 * 1 a pin or a lease keeps it, -1 (75: it has become the current one).
 */
int	target_remove(struct target_upload *u, const char *version,
	    struct err *e);

/*
 * For those who keep more beside the layout (bin/dpublish_inplace.c): a
 * small object of any key, 1, 0 absent, -1; one that is created durably and
 * whole, and never changed: 0, 1 it is there already, -1.  Between writers
 * only the claims decide: who has none marks nothing.
 */
int	target_object(struct target *t, const char *key, struct buf *b,
	    struct err *e);
int	target_mark(struct target_upload *u, const char *key, const void *p,
	    size_t n, struct err *e);
/*
 * Is a claim other than u's there that uploads or keeps the version?  1 and
 * who it is, 0, -1.  Of two who claim and then ask one at least sees the
 * other.
 */
int	target_rival(struct target_upload *u, const char *version,
	    char who[TARGET_WHO_MAX], struct err *e);

/*
 * Notes: small objects at quarantine/<name>/<file> and the like, which are
 * no part of any version.  Here keys may be given by the caller.
 */

/* Create: 0, 1 something is there, -1. */
int	target_note_add(struct target_upload *u, const char *key,
	    const void *p, size_t n, struct err *e);
/* Create or replace. */
int	target_note_set(struct target_upload *u, const char *key,
	    const void *p, size_t n, struct err *e);
/* 1, 0 absent, -1. */
int	target_note_get(struct target *t, const char *key, struct buf *b,
	    struct err *e);
/* All that is below the directory dir; absent is fine. */
int	target_note_drop(struct target *t, const char *dir, struct err *e);
/* One of them; absent is fine. */
int	target_note_unlink(struct target *t, const char *key,
	    struct err *e);
/* Seconds since it was written, by the store's clock: 1, 0 absent, -1. */
int	target_note_age(struct target *t, const char *key, int64_t *age,
	    struct err *e);

/*
 * Pins keep a version from removal until they are taken away, leases for
 * so many seconds.  Views.
 */
struct target_pin {
	char		 version[TARGET_VERSION_MAX];
	char		 name[TARGET_PIN_MAX];
	uint64_t	 seconds;	/* 0: a pin */
	int64_t		 age;		/* s; of a lease */
	int		 over;		/* it keeps nothing any more */
	char		*reason, *host;	/* or NULL */
};
/* The name of a pin (lease NULL) or lease; -1: 64. */
int	target_pin_name(char out[TARGET_PIN_MAX], const char *version,
	    const char *lease, struct err *e);
/*
 * Make it, or write it anew, which is how a lease goes on; seconds 0: a
 * pin.  -1: 66 no such version, 75 it is being removed.
 */
int	target_hold(struct target_upload *u, const char *version,
	    const char *name, const char *reason, uint64_t seconds,
	    struct err *e);
/* -1: 66 there is none. */
int	target_unhold(struct target *t, const char *name, struct err *e);
/* f is called for each, over or not; -1 to stop with *e. */
int	target_pins(struct target *t, int (*f)(const struct target_pin *p,
	    void *arg, struct err *e), void *arg, struct err *e);
/* 1 when a pin, or a lease that is not over, keeps the version. */
int	target_is_held(struct target *t, const char *version,
	    struct err *e);

/*
 * Does this place exclude?  -1 with 64 and the reason when it does not.
 * Two exclusive creates of one name, of which
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
 *
 * There are two kinds.  Local: directories that are renamed, locks that
 * end with their holder.  Remote (rename NULL): objects, each whole at
 * once, no locks but the operator's, and no way to know who lives; there
 * a claim is known dead by its machine, or by its age.
 */
struct target_ops {
	/*
	 * Names directly below the directory key, in any order; absent:
	 * none.  Complete: what was written before is in it.
	 */
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
	 * 1 something is there, -1.  claim is where bytes may be put aside.
	 * Remote: sent once; *unsure (never NULL) is set when it may have
	 * been done all the same, or may yet be.
	 */
	int	(*create)(void *impl, const char *claim, const char *key,
		    const void *p, size_t n, int *unsure, struct err *e);
	/*
	 * Replace an object, whole at once and durably: 0, -1.  Remote:
	 * only if it is still what the last get of this key saw (absent
	 * included), where the store can do that: 1 it is not.  Then it is
	 * sent once, as a create is, with *unsure as there: look before
	 * another try.
	 */
	int	(*replace)(void *impl, const char *claim, const char *key,
		    const void *p, size_t n, int *unsure, struct err *e);
	/* Remove a tree, its manifest first; absent is fine. */
	int	(*remove)(void *impl, const char *key, struct err *e);
	/* Turn the tree at key `from` into `to`, whole at once, durably. */
	int	(*rename)(void *impl, const char *from, const char *to,
		    struct err *e);
	/*
	 * Upload files of m (and the manifest, last; d is the digest of its
	 * bytes) from dirfd to key, durably.  Remote: what is there already
	 * and is the same stays.
	 */
	int	(*put)(void *impl, const char *key, int dirfd,
		    const struct manifest *m,
		    const unsigned char d[HASH_LEN], int share,
		    struct err *e);
	/* Bring them, and the manifest, to dirfd, digests checked. */
	int	(*fetch)(void *impl, const char *key, int dirfd,
		    const struct manifest *m, struct err *e);
	/* Every byte of m at key; 65 names what differs. */
	int	(*verify)(void *impl, const char *key,
		    const struct manifest *m, struct err *e);
	/*
	 * Make the claim at key with these bytes as "owner", durably, and
	 * hold it: *held is the hold, given back with release; 1 when the
	 * name is taken.  hold: the same for one that exists (1: somebody
	 * holds it; remote: always 0).  Called under the lock.
	 */
	int	(*claim)(void *impl, const char *key, const void *p,
		    size_t n, int *held, struct err *e);
	int	(*hold)(void *impl, const char *key, int *held,
		    struct err *e);
	void	(*release)(void *impl, int held);
	/*
	 * One writer of pointer and claims at a time. -1: 75.  Remote: only
	 * with the operator's lock, else nothing.
	 */
	int	(*lock)(void *impl, struct err *e);
	void	(*unlock)(void *impl);
	/* A local path of key, or NULL (remote); owned by the caller. */
	char	*(*path)(void *impl, const char *key);
	void	(*close)(void *impl);
	/*
	 * What lies directly below the directory key, whoever put it there
	 * or took it away, stays so from now on.  NULL: it always does.
	 */
	int	(*settle)(void *impl, const char *key, struct err *e);
	/*
	 * Remote: seconds since the object was written, by the store's own
	 * clock: 1 with *age, 0 absent, -1.
	 */
	int	(*age)(void *impl, const char *key, int64_t *age,
		    struct err *e);
	/*
	 * Remote: does the store exclude?  Writes below claim only and
	 * removes it again; each step that it proves is told to say (NULL:
	 * nobody).  -1: 64 with the reason, or what else went wrong.
	 */
	int	(*probe)(void *impl, const char *claim,
		    void (*say)(const char *what, void *arg), void *arg,
		    struct err *e);
	/* Remote: one object goes; absent is fine.  NULL: remove does it. */
	int	(*unlink)(void *impl, const char *key, struct err *e);
	/*
	 * Remote: n keys that get (or with head: has) will be asked for soon
	 * and once.  A hint; NULL: there is nothing to be won.
	 */
	void	(*ahead)(void *impl, const char *const *keys, size_t n,
		    int head);
	/*
	 * Each file of m lies at key, of its size, and is no younger than
	 * the object at than.  1; 0 no, or nobody knows.
	 */
	int	(*settled)(void *impl, const char *key, const char *than,
		    const struct manifest *m);
};

/*
 * What the files of target share, and nobody else uses: target.c reads,
 * target_commits.c knows commits and ids, target_claim.c claims and
 * collects, target_upload.c writes, target_keep.c has notes and pins.
 */
#define TARGET_KEY_MAX	(1024 + 64)	/* PATH_REL_MAX and what is before */
#define TARGET_TRIES	5	/* looks at what moves meanwhile */
#define TARGET_DATA	"data"	/* in a claim: the files on their way */
#define TARGET_OWNER	"owner"	/* in a claim: who holds it */

struct target {
	const struct target_ops	*ops;
	void			*impl;
	char			*url;
	char			*last_path;	/* of target_version_path */
};

struct target_upload {
	struct target	*t;
	char		 name[STAGE_RUN_MAX + 16];	/* of the claim */
	char		 run[STAGE_RUN_MAX];
	char		 after[STAGE_RUN_MAX];	/* the dead run that began it */
	char		*staging;	/* or NULL */
	char		 version[TARGET_VERSION_MAX];	/* "" none */
	uint64_t	 generation;	/* that may commit it */
	int		 held;
	int		 over;		/* the claim is gone */
	int		 unsure;	/* it may be committed yet */
};

struct target_names {
	char	**v;
	size_t	  n, cap;
};
/*
 * Of a member of JSON: its text as a copy, in place of *out; its text where
 * it fits.  What is no text, or has NUL, is passed over.
 */
void	target_json_str(char **out, const struct json_val *v);
void	target_json_fixed(char *out, size_t sz, const struct json_val *v);
void	target_names_clear(struct target_names *w);
void	target_names_add(struct target_names *w, const char *s);
/* Names directly below key, sorted; for target_names_clear. */
int	target_list(struct target *t, const char *key,
	    struct target_names *w, struct err *e);
void	target_commit_key(char out[64], uint64_t g);
void	target_commit_text(const struct target_commit *c, struct buf *b);
/* timestamped/<version>[/<name>]; -1: 64. */
int	target_version_key(struct target *t, char out[TARGET_KEY_MAX],
	    const char *version, const char *name, struct err *e);
/* The greatest generation, 0 when there is no commit. */
int	target_newest_generation(struct target *t, uint64_t *g,
	    struct err *e);
/* settle, where the target has it. */
int	target_settle(struct target *t, const char *key, struct err *e);
/* Versions that claims name as their upload, living or dead. */
int	target_claimed(struct target *t, struct target_names *out,
	    struct err *e);
/* 1 when some claim keeps (or with removes: removes) the version. */
int	target_is_wanted(struct target *t, const char *version, int removes,
	    struct err *e);
/* Write the owner of u's claim anew; removes: a version, or NULL. */
int	target_own(struct target_upload *u, const char *removes,
	    struct err *e);
/*
 * Remove a version that lies there, whose removal a claim has announced,
 * unless it is current or wanted: 0, 1 it stays, 2 a pin or lease keeps it,
 * -1.
 */
int	target_remove_announced(struct target *t, const char *version,
	    struct err *e);

/* The directory at the absolute path abs. */
int	target_local_open(const char *abs, int create,
	    const struct target_ops **ops, void **impl, struct err *e);
/* s3://bucket/prefix (no slash at its end); o as in target_open. */
int	target_s3_open(const char *url, const struct target_opts *o,
	    const struct target_ops **ops, void **impl, struct err *e);
/* http(s)://host/path (no slash at its end). */
int	target_dav_open(const char *url, const struct target_opts *o,
	    const struct target_ops **ops, void **impl, struct err *e);

#endif
