/*
 * dcheck: what its files share: the job that a worker gets, the answer that
 * it gives, the cache of answers, and the list of verdicts.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_DCHECK_H
#define D_DCHECK_H

#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "hash.h"
#include "item.h"
#include "msg.h"
#include "store.h"

struct rec;
struct rec_delta;

#define DCHECK_COLLS	4096	/* collections of one input */
#define DCHECK_MODEL	1024	/* bytes of a model's text; else its digest */
#define DCHECK_RULES	1	/* raise it when judgement changes */

/* What is to be proved. All strings are views into the record. */
struct job {
	const char	*path;		/* below staging */
	const char	*sha256;	/* promised */
	int		 is_dir;	/* promised */
	int		 of_manifest;	/* sha256 is manifest.json's */
	int		 has_size;
	uint64_t	 size;		/* promised */
	int		 flags;		/* CHECK_* */
	int		 bytes_only;	/* the verdict is known already */
	int		 unpack;	/* ... but the files are needed */
	int		 opaque;	/* a file of a set: bytes alone */
};

enum answer_kind {
	ANSWER_OK,
	ANSWER_REFUSED,
	ANSWER_MACHINE
};

struct answer {
	enum answer_kind	 kind;
	struct check_verdict	 v;	/* ANSWER_REFUSED */
	struct err		 e;	/* ANSWER_MACHINE */
	int			 proved; /* the bytes are those promised */
	/* ANSWER_OK; after bytes_only just tree, where and is_dir */
	enum store_format	 format;
	int			 is_dir;
	int			 recovered;
	uint64_t		 records, tombstones;
	char			 tree[HASH_HEX];
	char			 content[HASH_HEX];	/* "" not known */
	char			*where;	/* below the work directory; NULL:
					   the store is the input itself */
	struct item_coll	*colls;	/* no config; sorted by name */
	size_t			 n_colls;
};

void	answer_clear(struct answer *a);
/* As a record; the caller frees it.  Text is made UTF-8. */
struct rec *answer_put(const struct answer *a);
/* Strict, bounded: 0, or -1 and *a cleared.  Foreign. */
int	answer_get(struct answer *a, const struct rec *r);
/* Bytes of s that are not UTF-8, or control, become '?'. */
void	answer_clean(char *s);
/*
 * s in out, of max + 1 bytes, cut where a character ends, so that messages
 * stay UTF-8.  Returns out.
 */
const char *answer_shown(const char *s, size_t max, char *out);
/* What was in a is forgotten: this is the answer. */
void	answer_machine(struct answer *a, int status, const char *text);
void	answer_refuse(struct answer *a, enum check_code code, const char *fmt,
	    ...) MSG_PRINTF(3, 4);

/*
 * In the forked child: prove the job and write the answer to out.  Never
 * returns.  stage and work are absolute; work exists and is empty, or is
 * NULL: nothing may be written.
 */
void	worker_run(const struct job *j, const char *stage, const char *work,
	    unsigned int timeout_s, pid_t parent, int out, int said)
	    MSG_NORETURN;

/*
 * Verdicts remembered by digest.  dirfd -1 remembers nothing.
 */
struct cache {
	int		 dirfd;
	unsigned int	 n;
};

/* dir NULL: from the environment; none there is no error. */
int	cache_open(struct cache *c, const char *dir, struct err *e);
/* 1 and *a when the verdict on these bytes is known. */
int	cache_get(const struct cache *c, const struct job *j,
	    struct answer *a);
/*
 * Remember a, if it is one to remember.  A failure is only a loss.  The
 * first of a run forgets, once a day, what nobody has used for a month.
 */
void	cache_put(struct cache *c, const struct job *j,
	    const struct answer *a);
void	cache_close(struct cache *c);

/*
 * Verdicts of one run, counted; with path, also written there as JSON lines
 * (aside: nothing is seen of it before verdicts_place).  NULL: *e.
 */
struct verdicts;
struct verdicts *verdicts_new(const char *path, struct err *e);
void	verdicts_free(struct verdicts *v);	/* NULL is fine */
/* mend: what the operator may do; of a refusal alone. */
void	verdicts_add(struct verdicts *v, const struct rec_delta *d,
	    const struct answer *a, const char *mend);
/* One line: how many of each. */
void	verdicts_say(const struct verdicts *v);
/* All were judged that could be: the file takes its place, durably. */
int	verdicts_place(struct verdicts *v, struct err *e);

#endif
