/*
 * arc: unpacking with libarchive, every surprise of which is an answer.
 * It trusts no size, name or type that the archive declares.
 *
 * tar streams are undone in two steps, so that the end can be judged: one
 * reader takes the compression off (and, read to its end, checks its
 * checksum; gz for gzip, whose checksum libarchive does not look at), the
 * other sees plain tar, and between them the last byte that is not zero is
 * remembered.  libarchive itself stops at a tar's end mark, or at the end of
 * the file where there is none, and looks no further.
 * SPDX-License-Identifier: ISC
 */
#include "arc.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "check.h"
#include "gz.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define ARC_BLOCK	((size_t)64 * 1024)
#define ARC_TAR_BLOCK	512U
#define ARC_TAR_END	1024U		/* bytes of zeros that end a tar */
#define ARC_EOCD	22U		/* bytes of a zip's last record */
#define ARC_COMMENT	65535U		/* bytes of a zip's comment */
#define ARC_SHOWN	200		/* bytes of a name in a message */

struct arc {
	const char		*path;
	struct arc_limits	 lim;
	struct hash_tree	*tree;
	struct check_verdict	*v;
	struct err		*e;
	int			 dirfd;
	int			 kind;
	int			 failed;	/* 1 verdict, -1 error */
	struct hash		*h;
	/* the file */
	int			 fd;
	uint64_t		 packed;	/* its size */
	struct archive		*filter;	/* takes the compression off */
	struct gz		*gz;		/* or this does */
	size_t			 block_at, block_n; /* of block, for it */
	unsigned char		*block;
	/* what the tar reader was given */
	uint64_t		 plain;		/* bytes */
	uint64_t		 nonzero;	/* past the last non-0 */
	int			 plain_end;
	/* what came out */
	uint64_t		 entries, files, bytes;
	uint64_t		 zip_entries;	/* promised; UINT64_MAX: not */
};

/* A foreign name as it may stand in a message. */
static const char *
shown(const char *name, char out[ARC_SHOWN])
{
	size_t	i, n;

	if (name == NULL)
		return "(no name)";
	n = strlen(name) < ARC_SHOWN ? strlen(name) : ARC_SHOWN - 1;
	for (i = 0; i < n; i++)
		out[i] = (unsigned char)name[i] < 0x20 ||
		    (unsigned char)name[i] > 0x7e ? '?' : name[i];
	out[i] = '\0';
	return out;
}

static int
bad(struct arc *a, enum check_code code, const char *name, const char *why)
{
	char	s[ARC_SHOWN], w[ARC_SHOWN];

	a->failed = 1;
	if (name == NULL)
		return check_refuse(a->v, code, "%s", shown(why, w));
	return check_refuse(a->v, code, "%s: %s", shown(name, s),
	    shown(why, w));
}

static int
machine(struct arc *a, int errnum, const char *what)
{
	a->failed = -1;
	return err_sys(a->e, errnum, "%s: %s", a->path, what);
}

/*
 * What a libarchive call that was not OK means.  ours: did a callback of
 * ours fail below it?  Then that has been told already.
 */
static int
judge(struct arc *a, struct archive *ar, int r, const char *name)
{
	const char	*s;
	char		 why[ARC_SHOWN];

	if (a->failed != 0)
		return a->failed;
	if (archive_errno(ar) == ENOMEM)
		return machine(a, ENOMEM, "unpack");
	s = archive_error_string(ar);
	if (s == NULL || *s == '\0')
		s = "damaged";
	switch (r) {
	case ARCHIVE_WARN: /* read, but not wholly as it was meant */
		(void)snprintf(why, sizeof(why), "odd entry: %.150s", s);
		break;
	case ARCHIVE_RETRY: /* a header was passed over */
		(void)snprintf(why, sizeof(why), "damaged entry: %.150s", s);
		break;
	case ARCHIVE_FAILED: /* this entry is lost */
		(void)snprintf(why, sizeof(why), "unreadable: %.150s", s);
		break;
	default: /* ARCHIVE_FATAL: the rest is lost */
		(void)snprintf(why, sizeof(why), "broken archive: %.150s",
		    s);
		break;
	}
	return bad(a, CHECK_ARCHIVE, name, why);
}

int
arc_detect(int fd)
{
	unsigned char	b[ARC_TAR_BLOCK];
	ssize_t		n = io_pread(fd, b, sizeof(b), 0);

	if (n == -1)
		return -1;
	if (n >= 3 && memcmp(b, "\x1f\x8b\x08", 3) == 0)
		return ARC_TAR_GZ;
	if (n >= 4 && memcmp(b, "\x28\xb5\x2f\xfd", 4) == 0)
		return ARC_TAR_ZST;
	if (n >= 4 && (memcmp(b, "PK\3\4", 4) == 0 ||
	    memcmp(b, "PK\5\6", 4) == 0))
		return ARC_ZIP;
	if (n == (ssize_t)sizeof(b) && memcmp(b + 257, "ustar", 5) == 0)
		return ARC_TAR;
	return ARC_NONE;
}

/* The file as it is: for the decompressor, plain tar and zip. */
static la_ssize_t
file_read(struct archive *ar, void *arg, const void **p)
{
	struct arc	*a = arg;
	ssize_t		 n = io_read(a->fd, a->block, ARC_BLOCK);

	*p = a->block;
	if (n == -1) {
		archive_set_error(ar, errno, "read failed");
		machine(a, errno, "read");
	}
	return n;
}

static la_int64_t
file_seek(struct archive *ar, void *arg, la_int64_t off, int whence)
{
	struct arc	*a = arg;
	off_t		 r = lseek(a->fd, (off_t)off, whence);

	if (r == -1) {
		/* an offset out of a hostile header is the archive's fault */
		archive_set_error(ar, errno, "offset outside of the file");
		return ARCHIVE_FATAL;
	}
	return r;
}

/* There is more of it than the limit. */
static int
too_much(struct arc *a, const char *name, uint64_t most, const char *what)
{
	char	why[96];

	(void)snprintf(why, sizeof(why), "want at most %llu %s, got more",
	    (unsigned long long)most, what);
	return bad(a, CHECK_LIMIT, name, why);
}

/* Count what comes out of the decompressor, and note where it is not 0. */
static int
plain_count(struct arc *a, const unsigned char *p, size_t n)
{
	size_t	i;

	for (i = n; i > 0 && p[i - 1] == 0; i--)
		;
	if (i > 0)
		a->nonzero = a->plain + i;
	a->plain += n;
	if (a->plain > a->lim.bytes)
		return too_much(a, NULL, a->lim.bytes, "bytes");
	if (a->plain > ARC_RATIO_FREE &&
	    a->plain / a->lim.ratio > a->packed)
		return bad(a, CHECK_LIMIT, NULL,
		    "unpacks to more than the allowed multiple of its size");
	return 0;
}

/* What gzip yields: bytes, 0 at its end, -1 and told. */
static long
gz_read(struct arc *a, const void **p)
{
	const char	*why = NULL;
	ssize_t		 got;
	size_t		 left;
	long		 n;

	for (;;) {
		left = a->block_n - a->block_at;
		n = gz_next(a->gz, a->block + a->block_at, &left, p, &why);
		a->block_at = a->block_n - left;
		if (n > 0)
			return n;
		if (n == -1 && why == NULL)
			machine(a, ENOMEM, "unpack");
		else if (n == -1)
			bad(a, CHECK_ARCHIVE, NULL, why);
		if (n == -1)
			return -1;
		got = io_read(a->fd, a->block, ARC_BLOCK);
		if (got == -1)
			return machine(a, errno, "read");
		if (got == 0 && gz_at_end(a->gz) && a->plain == 0) {
			bad(a, CHECK_ARCHIVE, NULL, "nothing is packed in it");
			return -1;
		}
		if (got == 0 && gz_at_end(a->gz))
			return 0;
		if (got == 0) {
			bad(a, CHECK_ARCHIVE, NULL, "cut short: the "
			    "compressed data have no end");
			return -1;
		}
		a->block_at = 0;
		a->block_n = (size_t)got;
	}
}

/* Plain tar for the tar reader: what the file or its filter yields. */
static la_ssize_t
plain_read(struct archive *ar, void *arg, const void **p)
{
	struct arc	*a = arg;
	size_t		 n = 0;
	la_int64_t	 off;
	la_ssize_t	 got;
	int		 r;

	if (a->plain_end)
		return 0;
	if (a->gz != NULL) {
		got = gz_read(a, p);
		if (got < 0) {
			archive_set_error(ar, EIO, "decompression failed");
			return -1;
		}
		n = (size_t)got;
		if (a->plain == 0 && n >= 2 && memcmp(*p, "\x1f\x8b", 2) == 0) {
			bad(a, CHECK_ARCHIVE, NULL, "compressed more than "
			    "once");
			archive_set_error(ar, EIO, "decompression failed");
			return -1;
		}
	} else if (a->filter == NULL) {
		got = file_read(ar, a, p);
		if (got < 0)
			return got;
		n = (size_t)got;
	} else {
		r = archive_read_data_block(a->filter, p, &n, &off);
		if (r == ARCHIVE_EOF)
			n = 0;
		else if (r != ARCHIVE_OK) {
			archive_set_error(ar, EIO, "decompression failed");
			judge(a, a->filter, r, NULL);
			return -1;
		}
	}
	if (n == 0) {
		a->plain_end = 1;
		return 0;
	}
	if (plain_count(a, *p, n) != 0) {
		archive_set_error(ar, EIO, "over the limit");
		return -1;
	}
	return (la_ssize_t)n;
}

/* The decompressor: one filter, never a chain of them, never a program. */
static int
open_filter(struct arc *a)
{
	struct archive_entry	*ent;
	int			 r;

	a->filter = archive_read_new();
	if (a->filter == NULL)
		return machine(a, ENOMEM, "unpack");
	r = archive_read_support_filter_zstd(a->filter);
	/* WARN: it would run an external program */
	if (r != ARCHIVE_OK) {
		a->failed = -1;
		return err_set(a->e, MSG_IOERR, "%s: this libarchive was "
		    "built without zstd", a->path);
	}
	(void)archive_read_support_format_raw(a->filter);
	(void)archive_read_set_read_callback(a->filter, file_read);
	(void)archive_read_set_callback_data(a->filter, a);
	r = archive_read_open1(a->filter);
	if (r != ARCHIVE_OK)
		return judge(a, a->filter, r, NULL);
	r = archive_read_next_header(a->filter, &ent);
	if (r != ARCHIVE_OK)
		return r == ARCHIVE_EOF ?
		    bad(a, CHECK_ARCHIVE, NULL, "nothing is packed in it") :
		    judge(a, a->filter, r, NULL);
	if (archive_filter_count(a->filter) != 2 ||
	    archive_filter_code(a->filter, 0) != ARCHIVE_FILTER_ZSTD)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "compressed more than once, or not as its first bytes "
		    "say");
	return 0;
}

static int
open_reader(struct arc *a, struct archive **out)
{
	struct archive	*ar = archive_read_new();
	int		 r;

	if (ar == NULL)
		return machine(a, ENOMEM, "unpack");
	*out = ar;
	if (a->kind == ARC_ZIP) {
		/* by its directory; a stream of local headers may lie */
		r = archive_read_support_format_zip_seekable(ar);
		(void)archive_read_set_read_callback(ar, file_read);
		(void)archive_read_set_seek_callback(ar, file_seek);
	} else {
		r = archive_read_support_format_tar(ar);
		(void)archive_read_set_read_callback(ar, plain_read);
	}
	if (r != ARCHIVE_OK)
		return judge(a, ar, r, NULL);
	(void)archive_read_set_callback_data(ar, a);
	r = archive_read_open1(ar);
	return r == ARCHIVE_OK ? 0 : judge(a, ar, r, NULL);
}

/*
 * The entry's path without "./" in front and "/" behind, judged, in a copy
 * that the caller frees; *out is NULL for the archive's own top directory.
 */
static int
entry_path(struct arc *a, struct archive_entry *ent, char **out)
{
	const char	*s = archive_entry_pathname(ent);
	uint64_t	 depth = 1;
	size_t		 len;
	char		*p, *c;

	*out = NULL;
	if (s == NULL || *s == '\0')
		return bad(a, CHECK_UNSAFE, NULL,
		    "an entry without a readable name");
	if (strlen(s) > 2 * (size_t)PATH_REL_MAX)
		return bad(a, CHECK_UNSAFE, s, "name too long");
	p = mem_dup(s);
	while (p[0] == '.' && p[1] == '/')
		memmove(p, p + 2, strlen(p + 2) + 1);
	len = strlen(p);
	if (archive_entry_filetype(ent) == AE_IFDIR) {
		if (len > 0 && p[len - 1] == '/')
			p[--len] = '\0';
		if (len == 0 || strcmp(p, ".") == 0) {
			free(p);
			return *s == '/' ?
			    bad(a, CHECK_UNSAFE, s, "absolute path") : 0;
		}
	}
	for (c = p; *c != '\0'; c++)
		if (*c == '/')
			depth++;
	if (!path_is_safe(p)) {
		bad(a, CHECK_UNSAFE, s, "a name that may leave its "
		    "directory, or holds bytes no name should");
		free(p);
		return 1;
	}
	if (depth > a->lim.depth) {
		(void)too_much(a, s, (uint64_t)a->lim.depth,
		    "directories above it");
		free(p);
		return 1;
	}
	*out = p;
	return 0;
}

/*
 * The directory that is to hold the last component of p, made where it is
 * missing; with whole set, p itself.  A descriptor, or -1 with a->failed.
 */
static int
make_dirs(struct arc *a, char *p, int whole, const char **last)
{
	char	*s = p, *slash;
	int	 fd, sub;

	fd = openat(a->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return machine(a, errno, "open of its directory");
	for (;; s = slash + 1) {
		slash = strchr(s, '/');
		if (slash == NULL && !whole) {
			*last = s;
			return fd;
		}
		if (slash != NULL)
			*slash = '\0';
		if (mkdirat(fd, s, 0700) == -1 && errno != EEXIST) {
			sub = -1;
			if (errno == ENAMETOOLONG)
				bad(a, CHECK_UNSAFE, p, "name too long");
			else
				machine(a, errno, "mkdir");
		} else {
			sub = openat(fd, s, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
			if (sub == -1 && (errno == ENOTDIR || errno == ELOOP))
				bad(a, CHECK_UNSAFE, p,
				    "both a file and a directory");
			else if (sub == -1)
				machine(a, errno, "open of a directory");
		}
		if (slash != NULL)
			*slash = '/';
		(void)close(fd);
		fd = sub;
		if (fd == -1 || slash == NULL) {
			*last = s;
			return fd;
		}
	}
}

/* n more bytes are about to be unpacked. */
static int
charge(struct arc *a, uint64_t n, const char *name)
{
	if (n > a->lim.bytes || a->bytes > a->lim.bytes - n)
		return too_much(a, name, a->lim.bytes, "bytes unpacked");
	if (a->bytes + n > ARC_RATIO_FREE &&
	    (a->bytes + n) / a->lim.ratio > a->packed)
		return bad(a, CHECK_LIMIT, name,
		    "unpacks to more than the allowed multiple of its size");
	return 0;
}

static void
hash_zeros(struct hash *h, uint64_t n)
{
	static const unsigned char	z[4096];
	size_t				k;

	for (; n > 0; n -= k) {
		k = n < sizeof(z) ? (size_t)n : sizeof(z);
		hash_add(h, z, k);
	}
}

/*
 * The entry's bytes into fd.  size is what its header declares, or
 * UINT64_MAX where it does not.
 */
static int
copy_data(struct arc *a, struct archive *ar, int fd, const char *name,
    uint64_t size, uint64_t *written)
{
	const void	*p;
	uint64_t	 pos = 0, end;
	la_int64_t	 off;
	size_t		 n;
	int		 r;

	for (;;) {
		r = archive_read_data_block(ar, &p, &n, &off);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return judge(a, ar, r, name);
		if (n == 0)
			continue;
		if (io_signal() != 0) {
			a->failed = -1;
			return err_set(a->e, MSG_TEMPFAIL, "%s: interrupted",
			    a->path);
		}
		if (off < 0 || (uint64_t)off < pos ||
		    (uint64_t)off > UINT64_MAX / 4)
			return bad(a, CHECK_ARCHIVE, name,
			    "its pieces overlap");
		end = (uint64_t)off + n;
		if (end > size)
			return bad(a, CHECK_ARCHIVE, name,
			    "longer than its header says");
		if (size == UINT64_MAX && charge(a, end, name) != 0)
			return 1;
		if ((uint64_t)off > pos) {
			hash_zeros(a->h, (uint64_t)off - pos);
			if (lseek(fd, (off_t)off, SEEK_SET) == -1)
				return machine(a, errno, "seek");
		}
		hash_add(a->h, p, n);
		if (io_write(fd, p, n) == -1)
			return machine(a, errno, "write of what it holds");
		pos = end;
	}
	if (size != UINT64_MAX && pos < size) {
		if (a->kind == ARC_ZIP)
			return bad(a, CHECK_ARCHIVE, name,
			    "shorter than its header says");
		/* a sparse file ends in a hole; where a tar was cut, the
		   reader has said so above */
		hash_zeros(a->h, size - pos);
		if (ftruncate(fd, (off_t)size) == -1)
			return machine(a, errno, "write of what it holds");
		pos = size;
	}
	*written = pos;
	return 0;
}

static int
unpack_file(struct arc *a, struct archive *ar, struct archive_entry *ent,
    char *path)
{
	unsigned char	 d[HASH_LEN];
	const char	*base;
	uint64_t	 size = UINT64_MAX, n = 0;
	int		 dfd, fd, rv;

	if (archive_entry_size_is_set(ent)) {
		if (archive_entry_size(ent) < 0)
			return bad(a, CHECK_ARCHIVE, path, "negative size");
		size = (uint64_t)archive_entry_size(ent);
		if (charge(a, size, path) != 0)
			return 1;
	}
	dfd = make_dirs(a, path, 0, &base);
	if (dfd == -1)
		return a->failed;
	fd = openat(dfd, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1) {
		if (errno == EEXIST)
			rv = bad(a, CHECK_UNSAFE, path, "named twice");
		else if (errno == ENAMETOOLONG)
			rv = bad(a, CHECK_UNSAFE, path, "name too long");
		else
			rv = machine(a, errno, "create of what it holds");
		(void)close(dfd);
		return rv;
	}
	(void)close(dfd);
	hash_reset(a->h);
	rv = copy_data(a, ar, fd, path, size, &n);
	if (close(fd) == -1 && rv == 0)
		rv = machine(a, errno, "close of what it holds");
	if (rv != 0)
		return rv;
	a->bytes += n;
	a->files++;
	hash_final(a->h, d);
	if (a->tree != NULL && hash_tree_add(a->tree, path, n, d, a->e) == -1)
		return a->failed = -1;
	return 0;
}

static int
unpack_dir(struct arc *a, struct archive *ar, char *path)
{
	const void	*p;
	const char	*last;
	la_int64_t	 off;
	size_t		 n;
	int		 fd, r;

	if (path != NULL) {
		fd = make_dirs(a, path, 1, &last);
		if (fd == -1)
			return a->failed;
		(void)close(fd);
	}
	/* to the end of the entry, for the position */
	do
		r = archive_read_data_block(ar, &p, &n, &off);
	while (r == ARCHIVE_OK && n == 0);
	if (r == ARCHIVE_OK)
		return bad(a, CHECK_ARCHIVE, path, "a directory with bytes");
	return r == ARCHIVE_EOF ? 0 : judge(a, ar, r, path);
}

static int
unpack_entry(struct arc *a, struct archive *ar, struct archive_entry *ent)
{
	const char	*name = archive_entry_pathname(ent);
	char		*path;
	int		 type = (int)archive_entry_filetype(ent), rv;

	if (++a->entries > a->lim.entries)
		return too_much(a, NULL, a->lim.entries, "entries");
	if (archive_entry_hardlink(ent) != NULL ||
	    archive_entry_symlink(ent) != NULL || type == AE_IFLNK)
		return bad(a, CHECK_UNSAFE, name, "a link");
	if (type != AE_IFREG && type != AE_IFDIR)
		return bad(a, CHECK_UNSAFE, name,
		    "neither a regular file nor a directory");
	if (archive_entry_is_encrypted(ent))
		return bad(a, CHECK_ARCHIVE, name, "encrypted");
	if (entry_path(a, ent, &path) != 0)
		return 1;
	rv = type == AE_IFDIR ? unpack_dir(a, ar, path) :
	    unpack_file(a, ar, ent, path);
	free(path);
	return rv;
}

/*
 * After the last entry, which ended at byte end of the plain tar: the end
 * mark, zeros, and nothing else, in the tar and behind its compression.
 */
static int
tar_end(struct arc *a, struct archive *ar, uint64_t end)
{
	const void	*p;
	la_ssize_t	 n;

	do
		n = plain_read(ar, a, &p);
	while (n > 0);
	if (n < 0)
		return judge(a, ar, ARCHIVE_FATAL, NULL);
	end = (end + ARC_TAR_BLOCK - 1) / ARC_TAR_BLOCK * ARC_TAR_BLOCK;
	if (a->nonzero > end)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "goes on after the archive's end");
	if (a->plain < end || a->plain - end < ARC_TAR_END)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "cut short: the mark of the archive's end is missing");
	if (a->filter != NULL &&
	    (uint64_t)archive_filter_bytes(a->filter, -1) != a->packed)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "bytes after the end of the compressed data");
	return 0;
}

/* The zip's last record must end where the file ends. */
static int
zip_end(struct arc *a)
{
	unsigned char	*b;
	size_t		 n, i;
	int		 rv;

	n = a->packed < ARC_EOCD + ARC_COMMENT ? (size_t)a->packed :
	    ARC_EOCD + ARC_COMMENT;
	b = mem_alloc(n);
	if (io_pread(a->fd, b, n, a->packed - n) != (ssize_t)n) {
		rv = machine(a, errno, "read");
		goto done;
	}
	for (i = n < ARC_EOCD ? 0 : n - ARC_EOCD + 1; i > 0; i--) {
		unsigned char	*r = b + i - 1;
		size_t		 comment = r[20] | (size_t)r[21] << 8;

		if (memcmp(r, "PK\5\6", 4) != 0 ||
		    i - 1 + ARC_EOCD + comment != n)
			continue;
		a->zip_entries = r[10] | (uint64_t)r[11] << 8;
		if (a->zip_entries == 0xffff) /* zip64 */
			a->zip_entries = UINT64_MAX;
		rv = 0;
		goto done;
	}
	rv = bad(a, CHECK_ARCHIVE, NULL,
	    "cut short, or bytes after its end: no directory where a zip "
	    "ends");
done:
	free(b);
	return rv;
}

static int
unpack(struct arc *a, struct archive *ar)
{
	struct archive_entry	*ent;
	uint64_t		 end = 0;
	int			 r, rv;

	for (;;) {
		r = archive_read_next_header(ar, &ent);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return judge(a, ar, r, NULL);
		rv = unpack_entry(a, ar, ent);
		if (rv != 0)
			return rv;
		end = (uint64_t)archive_filter_bytes(ar, 0);
	}
	if (a->failed != 0)
		return a->failed;
	if (a->kind != ARC_ZIP) {
		rv = tar_end(a, ar, end);
		if (rv != 0)
			return rv;
	} else if (a->zip_entries != UINT64_MAX &&
	    a->zip_entries != a->entries)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "not the number of entries that its directory promises");
	if (a->files == 0)
		return bad(a, CHECK_ARCHIVE, NULL, "no file in it");
	return 0;
}

static int
open_file(struct arc *a)
{
	struct stat	st;

	a->fd = open(a->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (a->fd == -1 || fstat(a->fd, &st) == -1)
		return machine(a, errno, "open");
	if (!S_ISREG(st.st_mode))
		return bad(a, CHECK_UNSAFE, NULL, "not a regular file");
	a->packed = (uint64_t)st.st_size;
	a->kind = arc_detect(a->fd);
	if (a->kind == -1)
		return machine(a, errno, "read");
	if (a->kind == ARC_NONE)
		return bad(a, CHECK_ARCHIVE, NULL,
		    "no archive: want tar, tar.gz, tar.zst or zip");
	return a->kind == ARC_ZIP ? zip_end(a) : 0;
}

static void
set_limits(struct arc_limits *to, const struct arc_limits *from)
{
	memset(to, 0, sizeof(*to));
	if (from != NULL)
		*to = *from;
	if (to->entries == 0)
		to->entries = ARC_ENTRIES;
	if (to->bytes == 0)
		to->bytes = ARC_BYTES;
	if (to->ratio == 0)
		to->ratio = ARC_RATIO;
	if (to->depth == 0)
		to->depth = ARC_DEPTH;
}

int
arc_unpack(const char *path, int dirfd, const struct arc_limits *lim,
    struct hash_tree *t, struct check_verdict *v, struct err *e)
{
	struct arc	 a;
	struct archive	*ar = NULL;
	locale_t	 loc, old = (locale_t)0;
	int		 rv;

	if (arc_load(e) == -1)
		return -1;
	memset(&a, 0, sizeof(a));
	a.path = path;
	a.dirfd = dirfd;
	a.tree = t;
	a.v = v;
	a.e = e;
	a.fd = -1;
	a.zip_entries = UINT64_MAX;
	set_limits(&a.lim, lim);
	a.block = mem_alloc(ARC_BLOCK);
	a.h = hash_new();
	/* libarchive converts names to the locale's charset; ours is UTF-8 */
	loc = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (loc != (locale_t)0)
		old = uselocale(loc);
	rv = open_file(&a);
	if (rv == 0 && a.kind == ARC_TAR_GZ && (a.gz = gz_new()) == NULL)
		rv = machine(&a, ENOMEM, "unpack");
	if (rv == 0 && a.kind == ARC_TAR_ZST)
		rv = open_filter(&a);
	if (rv == 0)
		rv = open_reader(&a, &ar);
	if (rv == 0)
		rv = unpack(&a, ar);
	/* archive_read_free(NULL) is fine */
	(void)archive_read_free(ar);
	(void)archive_read_free(a.filter);
	gz_free(a.gz);
	if (loc != (locale_t)0) {
		(void)uselocale(old);
		freelocale(loc);
	}
	hash_free(a.h);
	free(a.block);
	if (a.fd != -1)
		(void)close(a.fd);
	return rv;
}
