/*
 * hash: SHA-256 as bytes go by, its HMAC, digests as hex, and the input
 * digest of a file or directory (DESIGN section 2); MD5 for what S3 and
 * ChromaDB's migrations say alone.  It never compares secrets.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_HASH_H
#define D_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "msg.h"

#define HASH_LEN 32		/* bytes of a digest */
#define HASH_HEX 65		/* bytes of its text, NUL included */
#define HASH_MD5 16		/* bytes */
#define HASH_TREE_MAX 100000	/* files in a directory that is digested */

struct hash;

/* Dies when libcrypto cannot. */
struct hash *hash_new(void);
void	 hash_free(struct hash *h);
void	 hash_reset(struct hash *h);
void	 hash_add(struct hash *h, const void *p, size_t n);
/* u32 big-endian; for the length prefixes of our digests. */
void	 hash_u32(struct hash *h, uint32_t v);
/* Fills out and resets. */
void	 hash_final(struct hash *h, unsigned char out[HASH_LEN]);
/* The digest of what came so far; more may follow. */
void	 hash_peek(const struct hash *h, unsigned char out[HASH_LEN]);

/* Of what is in memory; these allocate nothing.  out may be key. */
void	 hash_mem(const void *p, size_t n, unsigned char out[HASH_LEN]);
void	 hash_hmac(const void *key, size_t nkey, const void *p, size_t n,
	    unsigned char out[HASH_LEN]);
void	 hash_md5(const void *p, size_t n, unsigned char out[HASH_MD5]);

/* MD5, which hash_md5_final ends; NULL where libcrypto must not do it. */
struct hash *hash_md5_new(void);
void	 hash_md5_final(struct hash *h, unsigned char out[HASH_MD5]);

void	 hash_hex(const unsigned char d[HASH_LEN], char out[HASH_HEX]);
/* 0, or -1 when s is not 64 lower-case hex digits. */
int	 hash_unhex(const char *s, unsigned char d[HASH_LEN]);

/* Of all bytes of an open file, from its start. *size gets the bytes. */
int	 hash_fd(int fd, const char *name, unsigned char d[HASH_LEN],
	    uint64_t *size, struct err *e);
/* Of the file name below directory dirfd; refuses what is not regular. */
int	 hash_file(int dirfd, const char *name, unsigned char d[HASH_LEN],
	    uint64_t *size, struct err *e);

/*
 * One file of a tree, for callers that copy as they digest.  name is the
 * path below the tree's root.  Collect with hash_tree_add in any order,
 * then hash_tree_final sorts by bytes of name and digests the lines
 * "path NUL size NUL sha256-hex LF".
 */
struct hash_tree;
struct hash_tree *hash_tree_new(void);
void	 hash_tree_free(struct hash_tree *t);
int	 hash_tree_add(struct hash_tree *t, const char *name, uint64_t size,
	    const unsigned char d[HASH_LEN], struct err *e);
void	 hash_tree_final(struct hash_tree *t, unsigned char d[HASH_LEN],
	    uint64_t *size);
/* Sorted after hash_tree_final; index below hash_tree_count. */
size_t	 hash_tree_count(const struct hash_tree *t);
const char *hash_tree_get(const struct hash_tree *t, size_t i,
	    uint64_t *size, const unsigned char **d);

/*
 * The input digest of the directory name below dirfd; *size gets the sum
 * of the files.  Refuses links, devices, more than HASH_TREE_MAX files and
 * depth over 8.  t may be NULL, or gets the files.
 */
int	 hash_dir(int dirfd, const char *name, unsigned char d[HASH_LEN],
	    uint64_t *size, struct hash_tree *t, struct err *e);

#endif
