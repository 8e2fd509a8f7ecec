/*
 * hash: SHA-256 by libcrypto, and the MD5 that S3 still speaks of.  It
 * knows no other digest.  Both are asked for by libcrypto's oldest calls:
 * they allocate nothing and load nothing, so that a program that only
 * digests starts in a millisecond less, cannot crash inside a library that
 * runs out of memory as it starts, and pays little for a short record.
 * SPDX-License-Identifier: ISC
 */
#define OPENSSL_API_COMPAT 10101	/* they are old, not wrong */
#include "hash.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>

#include "io.h"
#include "mem.h"
#include "banned.h"

#define HASH_CHUNK ((size_t)64 * 1024)	/* less than malloc maps */
#define HASH_DEPTH 8

struct hash {
	union {
		SHA256_CTX	 sha;
		MD5_CTX		 md5;
	} c;
	int	is_md5;
};

struct leaf {
	char		*name;
	uint64_t	 size;
	unsigned char	 d[HASH_LEN];
};

struct hash_tree {
	struct leaf	*v;
	size_t		 n, cap;
};

static void
check(int ok)
{
	if (ok != 1)
		msg_die(MSG_IOERR, "libcrypto: no digest");
}

/* May MD5 be asked for?  Once libcrypto aborted where FIPS forbids it. */
static int
has_md5(void)
{
#if OPENSSL_VERSION_NUMBER >= 0x10100000L && \
    OPENSSL_VERSION_NUMBER < 0x20000000L
	return !FIPS_mode();
#else
	return 1;
#endif
}

struct hash *
hash_new(void)
{
	struct hash	*h = mem_zero(1, sizeof(*h));

	hash_reset(h);
	return h;
}

void
hash_free(struct hash *h)
{
	free(h);
}

void
hash_reset(struct hash *h)
{
	check(h->is_md5 ? MD5_Init(&h->c.md5) : SHA256_Init(&h->c.sha));
}

void
hash_add(struct hash *h, const void *p, size_t n)
{
	if (n != 0)
		check(h->is_md5 ? MD5_Update(&h->c.md5, p, n) :
		    SHA256_Update(&h->c.sha, p, n));
}

void
hash_u32(struct hash *h, uint32_t v)
{
	unsigned char	c[4];
	int		i;

	for (i = 0; i < 4; i++)
		c[i] = (unsigned char)(v >> (24 - 8 * i));
	hash_add(h, c, sizeof(c));
}

void
hash_final(struct hash *h, unsigned char out[HASH_LEN])
{
	check(SHA256_Final(out, &h->c.sha));
	hash_reset(h);
}

void
hash_peek(const struct hash *h, unsigned char out[HASH_LEN])
{
	SHA256_CTX	c = h->c.sha;

	check(SHA256_Final(out, &c));
}

void
hash_mem(const void *p, size_t n, unsigned char out[HASH_LEN])
{
	SHA256_CTX	c;

	check(SHA256_Init(&c));
	check(SHA256_Update(&c, p, n));
	check(SHA256_Final(out, &c));
}

/* The digest of the key, each byte of it with mask, and then of p. */
static void
keyed(const unsigned char key[SHA256_CBLOCK], unsigned char mask,
    const void *p, size_t n, unsigned char out[HASH_LEN])
{
	unsigned char	k[SHA256_CBLOCK];
	SHA256_CTX	c;
	size_t		i;

	for (i = 0; i < sizeof(k); i++)
		k[i] = key[i] ^ mask;
	check(SHA256_Init(&c));
	check(SHA256_Update(&c, k, sizeof(k)));
	check(SHA256_Update(&c, p, n));
	check(SHA256_Final(out, &c));
	OPENSSL_cleanse(k, sizeof(k));
	OPENSSL_cleanse(&c, sizeof(c));
}

/* RFC 2104; HMAC() of libcrypto allocates, and looks its digest up. */
void
hash_hmac(const void *key, size_t nkey, const void *p, size_t n,
    unsigned char out[HASH_LEN])
{
	unsigned char	k[SHA256_CBLOCK] = { 0 }, d[HASH_LEN];

	if (nkey > sizeof(k))
		hash_mem(key, nkey, k);
	else if (nkey > 0)
		memcpy(k, key, nkey);
	keyed(k, 0x36, p, n, d);
	keyed(k, 0x5c, d, sizeof(d), out);
	OPENSSL_cleanse(k, sizeof(k));
	OPENSSL_cleanse(d, sizeof(d));
}

void
hash_md5(const void *p, size_t n, unsigned char out[HASH_MD5])
{
	MD5_CTX	c;

	if (!has_md5())
		msg_die(MSG_IOERR, "libcrypto: no MD5");
	check(MD5_Init(&c));
	check(MD5_Update(&c, p, n));
	check(MD5_Final(out, &c));
}

struct hash *
hash_md5_new(void)
{
	struct hash	*h;

	if (!has_md5())
		return NULL;
	h = mem_zero(1, sizeof(*h));
	h->is_md5 = 1;
	hash_reset(h);
	return h;
}

void
hash_md5_final(struct hash *h, unsigned char out[HASH_MD5])
{
	check(MD5_Final(out, &h->c.md5));
	hash_reset(h);
}

void
hash_hex(const unsigned char d[HASH_LEN], char out[HASH_HEX])
{
	static const char	hex[] = "0123456789abcdef";
	size_t			i;

	for (i = 0; i < HASH_LEN; i++) {
		out[2 * i] = hex[d[i] >> 4];
		out[2 * i + 1] = hex[d[i] & 15];
	}
	out[2 * HASH_LEN] = '\0';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int
hash_unhex(const char *s, unsigned char d[HASH_LEN])
{
	size_t	i;
	int	hi, lo;

	if (strlen(s) != 2 * HASH_LEN)
		return -1;
	for (i = 0; i < HASH_LEN; i++) {
		hi = nibble(s[2 * i]);
		lo = nibble(s[2 * i + 1]);
		if (hi == -1 || lo == -1)
			return -1;
		d[i] = (unsigned char)(hi << 4 | lo);
	}
	return 0;
}

int
hash_fd(int fd, const char *name, unsigned char d[HASH_LEN], uint64_t *size,
    struct err *e)
{
	struct hash	*h = hash_new();
	unsigned char	*b = mem_alloc(HASH_CHUNK);
	uint64_t	 off = 0;
	ssize_t		 n;
	int		 rv = -1;

	for (;;) {
		n = io_pread(fd, b, HASH_CHUNK, off);
		if (n == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
		if (n == 0)
			break;
		hash_add(h, b, (size_t)n);
		off += (uint64_t)n;
	}
	hash_final(h, d);
	if (size != NULL)
		*size = off;
	rv = 0;
done:
	free(b);
	hash_free(h);
	return rv;
}

int
hash_file(int dirfd, const char *name, unsigned char d[HASH_LEN],
    uint64_t *size, struct err *e)
{
	struct stat	st;
	int		fd, rv = -1;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	if (fstat(fd, &st) == -1)
		err_sys(e, errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		err_set(e, MSG_DATAERR, "%s: not a regular file", name);
	else
		rv = hash_fd(fd, name, d, size, e);
	(void)close(fd);
	return rv;
}

struct hash_tree *
hash_tree_new(void)
{
	return mem_zero(1, sizeof(struct hash_tree));
}

void
hash_tree_free(struct hash_tree *t)
{
	size_t	i;

	if (t == NULL)
		return;
	for (i = 0; i < t->n; i++)
		free(t->v[i].name);
	free(t->v);
	free(t);
}

int
hash_tree_add(struct hash_tree *t, const char *name, uint64_t size,
    const unsigned char d[HASH_LEN], struct err *e)
{
	struct leaf	*l;

	if (t->n >= HASH_TREE_MAX)
		return err_set(e, MSG_DATAERR,
		    "%s: more than %d files in one directory tree", name,
		    HASH_TREE_MAX);
	t->v = mem_grow(t->v, &t->cap, t->n + 1, sizeof(*t->v));
	l = &t->v[t->n++];
	l->name = mem_dup(name);
	l->size = size;
	memcpy(l->d, d, HASH_LEN);
	return 0;
}

static int
leaf_cmp(const void *a, const void *b)
{
	const struct leaf	*x = a, *y = b;

	return strcmp(x->name, y->name);
}

void
hash_tree_final(struct hash_tree *t, unsigned char d[HASH_LEN],
    uint64_t *size)
{
	struct hash	*h = hash_new();
	char		 hex[HASH_HEX], num[32];
	uint64_t	 sum = 0;
	size_t		 i;
	int		 n;

	if (t->n != 0)
		qsort(t->v, t->n, sizeof(*t->v), leaf_cmp);
	for (i = 0; i < t->n; i++) {
		hash_add(h, t->v[i].name, strlen(t->v[i].name) + 1);
		n = snprintf(num, sizeof(num), "%llu",
		    (unsigned long long)t->v[i].size);
		hash_add(h, num, (size_t)n + 1);
		hash_hex(t->v[i].d, hex);
		hash_add(h, hex, 2 * HASH_LEN);
		hash_add(h, "\n", 1);
		sum += t->v[i].size;
	}
	hash_final(h, d);
	hash_free(h);
	if (size != NULL)
		*size = sum;
}

size_t
hash_tree_count(const struct hash_tree *t)
{
	return t->n;
}

const char *
hash_tree_get(const struct hash_tree *t, size_t i, uint64_t *size,
    const unsigned char **d)
{
	if (size != NULL)
		*size = t->v[i].size;
	if (d != NULL)
		*d = t->v[i].d;
	return t->v[i].name;
}

/* Takes fd.  prefix is the path below the root, "" for the root itself. */
static int
walk(int fd, const char *prefix, int depth, struct hash_tree *t,
    struct err *e)
{
	struct dirent	*de;
	struct stat	 st;
	unsigned char	 d[HASH_LEN];
	char		 name[4096];
	uint64_t	 size;
	DIR		*dir;
	int		 n, sub, rv = -1;

	dir = fdopendir(fd);
	if (dir == NULL) {
		err_sys(e, errno, "%s", prefix);
		(void)close(fd);
		return -1;
	}
	for (;;) {
		errno = 0;
		de = readdir(dir);
		if (de == NULL) {
			if (errno != 0) {
				err_sys(e, errno, "%s", prefix);
				goto done;
			}
			break;
		}
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		n = snprintf(name, sizeof(name), "%s%s%s", prefix,
		    *prefix != '\0' ? "/" : "", de->d_name);
		if (n < 0 || (size_t)n >= sizeof(name)) {
			err_set(e, MSG_DATAERR, "%s: path too long", prefix);
			goto done;
		}
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
			err_sys(e, errno, "%s", name);
			goto done;
		}
		if (S_ISDIR(st.st_mode)) {
			if (depth >= HASH_DEPTH) {
				err_set(e, MSG_DATAERR,
				    "%s: deeper than %d directories", name,
				    HASH_DEPTH);
				goto done;
			}
			sub = openat(fd, de->d_name, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
			if (sub == -1) {
				err_sys(e, errno, "%s", name);
				goto done;
			}
			if (walk(sub, name, depth + 1, t, e) == -1)
				goto done;
		} else if (S_ISREG(st.st_mode)) {
			if (hash_file(fd, de->d_name, d, &size, e) == -1 ||
			    hash_tree_add(t, name, size, d, e) == -1)
				goto done;
		} else {
			err_set(e, MSG_DATAERR,
			    "%s: neither a regular file nor a directory",
			    name);
			goto done;
		}
	}
	rv = 0;
done:
	(void)closedir(dir);
	return rv;
}

int
hash_dir(int dirfd, const char *name, unsigned char d[HASH_LEN],
    uint64_t *size, struct hash_tree *t, struct err *e)
{
	struct hash_tree	*own = NULL;
	int			 fd, rv;

	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return err_sys(e, errno, "%s", name);
	if (t == NULL)
		t = own = hash_tree_new();
	rv = walk(fd, "", 0, t, e);
	if (rv == 0)
		hash_tree_final(t, d, size);
	hash_tree_free(own);
	return rv;
}
