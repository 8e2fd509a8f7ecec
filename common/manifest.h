/*
 * manifest: the JSON beside every store we write: files with size and
 * SHA-256, counts, parent, sources, content digest, versions (layout:
 * man/dstore.5).  No clock and no run id is in it.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_MANIFEST_H
#define D_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "item.h"
#include "msg.h"

#define MANIFEST_NAME	"manifest.json"
#define MANIFEST_MAX	((size_t)256 << 20)	/* bytes */
#define MANIFEST_FILES	100000

struct manifest_file {
	char		*name;		/* safe relative path */
	uint64_t	 size;
	char		 sha256[HASH_HEX];
};

struct manifest {
	char			*format;	/* sqlite chroma */
	char			 content_digest[HASH_HEX];
	uint64_t		 records, tombstones;
	char			*parent;	/* version, or NULL */
	char			 parent_digest[HASH_HEX]; /* content; "" */
	struct manifest_file	*files;		/* sorted by name */
	size_t			 n_files;
	struct item_source	*sources;	/* sorted by sha256, url */
	size_t			 n_sources;
};

void	manifest_clear(struct manifest *m);
/* Append a file; copies. */
void	manifest_add_file(struct manifest *m, const char *name,
	    uint64_t size, const unsigned char d[HASH_LEN]);
/* Takes the strings of s (s is zeroed). */
void	manifest_add_source(struct manifest *m, struct item_source *s);
/*
 * Write MANIFEST_NAME into the directory; digest of its bytes into d.  -1:
 * 65 more than MANIFEST_MAX, so that what cannot be read is never there.
 */
int	manifest_write(struct manifest *m, int dirfd,
	    unsigned char d[HASH_LEN], struct err *e);
/* Judge the bytes of one: malformed is 65, and *m is cleared. */
int	manifest_parse(struct manifest *m, const void *p, size_t n,
	    struct err *e);
/* Read and judge one: absent 66, malformed 65.  d may be NULL. */
int	manifest_read(struct manifest *m, int dirfd,
	    unsigned char d[HASH_LEN], struct err *e);
/*
 * Every file of m lies below dirfd with its size and, with bytes set, its
 * SHA-256, and no other file lies there: 0, else -1 (65 names the file).
 */
int	manifest_verify(const struct manifest *m, int dirfd, int bytes,
	    struct err *e);
/* The source with this input digest, or NULL (binary search). */
const struct item_source *manifest_source(const struct manifest *m,
	    const char *sha256);

#endif
