/*
 * arc: unpacking with libarchive, every surprise of which is an answer.
 * It trusts no size, name or type that the archive declares.
 *
 * tar streams are undone in two steps, so that the end can be judged:
 * arc_plain takes the compression off and remembers the last byte that is
 * not zero, and the reader here sees plain tar.  libarchive itself stops at
 * a tar's end mark, or at the end of the file where there is none, and looks
 * no further.
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

#include "arc_fault.h"
#include "arc_plain.h"
#include "check.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define ARC_BLOCK	((size_t)64 * 1024)	/* bytes of a zip, one read */
#define ARC_TAR_BLOCK	512U
#define ARC_TAR_END	1024U		/* bytes of zeros that end a tar */
#define ARC_EOCD	22U		/* bytes of a zip's last record */
#define ARC_COMMENT	65535U		/* bytes of a zip's comment */

struct arc {
	struct arc_fault	 f;
	struct arc_limits	 lim;
	struct hash_tree	*tree;
	int			 dirfd;
	int			 kind;
	struct hash		*h;
	/* the file */
	int			 fd;
	uint64_t		 packed;	/* its size */
	struct arc_plain	*plain;		/* of a tar */
	unsigned char		*block;		/* of a zip */
	/* what came out */
	uint64_t		 entries, files, bytes;
	uint64_t		 zip_entries;	/* promised; UINT64_MAX: not */
};

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

/* Plain tar for the reader. */
static la_ssize_t
tar_read(struct archive *ar, void *arg, const void **p)
{
	struct arc	*a = arg;
	long		 n = arc_plain_next(a->plain, p);

	if (n == -1)
		archive_set_error(ar, EIO, "told already");
	return n;
}

/* A zip is read as it lies. */
static la_ssize_t
zip_read(struct archive *ar, void *arg, const void **p)
{
	struct arc	*a = arg;
	ssize_t		 n = io_read(a->fd, a->block, ARC_BLOCK);

	*p = a->block;
	if (n == -1) {
		arc_machine(&a->f, errno, "read");
		archive_set_error(ar, EIO, "told already");
	}
	return n;
}

static la_int64_t
zip_seek(struct archive *ar, void *arg, la_int64_t off, int whence)
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

static int
open_reader(struct arc *a, struct archive **out)
{
	struct archive	*ar;
	int		 r;

	if (a->kind == ARC_ZIP)
		a->block = mem_alloc(ARC_BLOCK);
	else {
		a->plain = arc_plain_new(a->fd, a->kind, a->packed, &a->lim,
		    &a->f);
		if (a->plain == NULL)
			return a->f.failed;
	}
	ar = archive_read_new();
	if (ar == NULL)
		return arc_machine(&a->f, ENOMEM, "unpack");
	*out = ar;
	if (a->kind == ARC_ZIP) {
		/* by its directory; a stream of local headers may lie */
		r = archive_read_support_format_zip_seekable(ar);
		(void)archive_read_set_read_callback(ar, zip_read);
		(void)archive_read_set_seek_callback(ar, zip_seek);
	} else {
		r = archive_read_support_format_tar(ar);
		(void)archive_read_set_read_callback(ar, tar_read);
	}
	if (r != ARCHIVE_OK)
		return arc_judge(&a->f, ar, r, NULL);
	(void)archive_read_set_callback_data(ar, a);
	r = archive_read_open1(ar);
	return r == ARCHIVE_OK ? 0 : arc_judge(&a->f, ar, r, NULL);
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
		return arc_bad(&a->f, CHECK_UNSAFE, NULL,
		    "an entry without a readable name");
	if (strlen(s) > 2 * (size_t)PATH_REL_MAX)
		return arc_bad(&a->f, CHECK_UNSAFE, s, "name too long");
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
			    arc_bad(&a->f, CHECK_UNSAFE, s,
			    "absolute path") : 0;
		}
	}
	for (c = p; *c != '\0'; c++)
		if (*c == '/')
			depth++;
	if (!path_is_safe(p)) {
		arc_bad(&a->f, CHECK_UNSAFE, s, "a name that may leave its "
		    "directory, or holds bytes no name should");
		free(p);
		return 1;
	}
	if (depth > a->lim.depth) {
		(void)arc_too_much(&a->f, s, (uint64_t)a->lim.depth,
		    "directories above it");
		free(p);
		return 1;
	}
	*out = p;
	return 0;
}

/*
 * The directory that is to hold the last component of p, made where it is
 * missing; with whole set, p itself.  A descriptor, or -1 with a->f.failed.
 */
static int
make_dirs(struct arc *a, char *p, int whole, const char **last)
{
	char	*s = p, *slash;
	int	 fd, sub;

	fd = openat(a->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return arc_machine(&a->f, errno, "open of its directory");
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
				arc_bad(&a->f, CHECK_UNSAFE, p,
				    "name too long");
			else
				arc_machine(&a->f, errno, "mkdir");
		} else {
			sub = openat(fd, s, O_RDONLY | O_DIRECTORY |
			    O_NOFOLLOW | O_CLOEXEC);
			if (sub == -1 && (errno == ENOTDIR || errno == ELOOP))
				arc_bad(&a->f, CHECK_UNSAFE, p,
				    "both a file and a directory");
			else if (sub == -1)
				arc_machine(&a->f, errno,
				    "open of a directory");
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
		return arc_too_much(&a->f, name, a->lim.bytes,
		    "bytes unpacked");
	if (a->bytes + n > ARC_RATIO_FREE &&
	    (a->bytes + n) / a->lim.ratio > a->packed)
		return arc_bad(&a->f, CHECK_LIMIT, name,
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
			return arc_judge(&a->f, ar, r, name);
		if (n == 0)
			continue;
		if (io_signal() != 0) {
			a->f.failed = -1;
			return err_set(a->f.e, MSG_TEMPFAIL, "%s: interrupted",
			    a->f.path);
		}
		if (off < 0 || (uint64_t)off < pos ||
		    (uint64_t)off > UINT64_MAX / 4)
			return arc_bad(&a->f, CHECK_ARCHIVE, name,
			    "its pieces overlap");
		end = (uint64_t)off + n;
		if (end > size)
			return arc_bad(&a->f, CHECK_ARCHIVE, name,
			    "longer than its header says");
		if (size == UINT64_MAX && charge(a, end, name) != 0)
			return 1;
		if ((uint64_t)off > pos) {
			hash_zeros(a->h, (uint64_t)off - pos);
			if (lseek(fd, (off_t)off, SEEK_SET) == -1)
				return arc_machine(&a->f, errno, "seek");
		}
		hash_add(a->h, p, n);
		if (io_write(fd, p, n) == -1)
			return arc_machine(&a->f, errno,
			    "write of what it holds");
		pos = end;
	}
	if (size != UINT64_MAX && pos < size) {
		if (a->kind == ARC_ZIP)
			return arc_bad(&a->f, CHECK_ARCHIVE, name,
			    "shorter than its header says");
		/* a sparse file ends in a hole; where a tar was cut, the
		   reader has said so above */
		hash_zeros(a->h, size - pos);
		if (ftruncate(fd, (off_t)size) == -1)
			return arc_machine(&a->f, errno,
			    "write of what it holds");
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
			return arc_bad(&a->f, CHECK_ARCHIVE, path,
			    "negative size");
		size = (uint64_t)archive_entry_size(ent);
		if (charge(a, size, path) != 0)
			return 1;
	}
	dfd = make_dirs(a, path, 0, &base);
	if (dfd == -1)
		return a->f.failed;
	fd = openat(dfd, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
	    O_CLOEXEC, 0600);
	if (fd == -1) {
		if (errno == EEXIST)
			rv = arc_bad(&a->f, CHECK_UNSAFE, path, "named twice");
		else if (errno == ENAMETOOLONG)
			rv = arc_bad(&a->f, CHECK_UNSAFE, path,
			    "name too long");
		else
			rv = arc_machine(&a->f, errno,
			    "create of what it holds");
		(void)close(dfd);
		return rv;
	}
	(void)close(dfd);
	hash_reset(a->h);
	rv = copy_data(a, ar, fd, path, size, &n);
	if (close(fd) == -1 && rv == 0)
		rv = arc_machine(&a->f, errno, "close of what it holds");
	if (rv != 0)
		return rv;
	a->bytes += n;
	a->files++;
	hash_final(a->h, d);
	if (a->tree != NULL && hash_tree_add(a->tree, path, n, d, a->f.e) == -1)
		return a->f.failed = -1;
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
			return a->f.failed;
		(void)close(fd);
	}
	/* to the end of the entry, for the position */
	do
		r = archive_read_data_block(ar, &p, &n, &off);
	while (r == ARCHIVE_OK && n == 0);
	if (r == ARCHIVE_OK)
		return arc_bad(&a->f, CHECK_ARCHIVE, path,
		    "a directory with bytes");
	return r == ARCHIVE_EOF ? 0 : arc_judge(&a->f, ar, r, path);
}

static int
unpack_entry(struct arc *a, struct archive *ar, struct archive_entry *ent)
{
	const char	*name = archive_entry_pathname(ent);
	char		*path;
	int		 type = (int)archive_entry_filetype(ent), rv;

	if (++a->entries > a->lim.entries)
		return arc_too_much(&a->f, NULL, a->lim.entries, "entries");
	if (archive_entry_hardlink(ent) != NULL ||
	    archive_entry_symlink(ent) != NULL || type == AE_IFLNK)
		return arc_bad(&a->f, CHECK_UNSAFE, name, "a link");
	if (type != AE_IFREG && type != AE_IFDIR)
		return arc_bad(&a->f, CHECK_UNSAFE, name,
		    "neither a regular file nor a directory");
	if (archive_entry_is_encrypted(ent))
		return arc_bad(&a->f, CHECK_ARCHIVE, name, "encrypted");
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
tar_end(struct arc *a, uint64_t end)
{
	const void	*p;
	long		 n;

	do
		n = arc_plain_next(a->plain, &p);
	while (n > 0);
	if (n == -1)
		return a->f.failed;
	end = (end + ARC_TAR_BLOCK - 1) / ARC_TAR_BLOCK * ARC_TAR_BLOCK;
	if (arc_plain_nonzero(a->plain) > end)
		return arc_bad(&a->f, CHECK_ARCHIVE, NULL,
		    "goes on after the archive's end");
	if (arc_plain_bytes(a->plain) < end ||
	    arc_plain_bytes(a->plain) - end < ARC_TAR_END)
		return arc_bad(&a->f, CHECK_ARCHIVE, NULL,
		    "cut short: the mark of the archive's end is missing");
	return arc_plain_whole(a->plain);
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
		rv = arc_machine(&a->f, errno, "read");
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
	rv = arc_bad(&a->f, CHECK_ARCHIVE, NULL,
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
			return arc_judge(&a->f, ar, r, NULL);
		rv = unpack_entry(a, ar, ent);
		if (rv != 0)
			return rv;
		end = (uint64_t)archive_filter_bytes(ar, 0);
	}
	if (a->f.failed != 0)
		return a->f.failed;
	if (a->kind != ARC_ZIP) {
		rv = tar_end(a, end);
		if (rv != 0)
			return rv;
	} else if (a->zip_entries != UINT64_MAX &&
	    a->zip_entries != a->entries)
		return arc_bad(&a->f, CHECK_ARCHIVE, NULL,
		    "not the number of entries that its directory promises");
	if (a->files == 0)
		return arc_bad(&a->f, CHECK_ARCHIVE, NULL, "no file in it");
	return 0;
}

static int
open_file(struct arc *a)
{
	struct stat	st;

	a->fd = open(a->f.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (a->fd == -1 || fstat(a->fd, &st) == -1)
		return arc_machine(&a->f, errno, "open");
	if (!S_ISREG(st.st_mode))
		return arc_bad(&a->f, CHECK_UNSAFE, NULL, "not a regular file");
	a->packed = (uint64_t)st.st_size;
	a->kind = arc_detect(a->fd);
	if (a->kind == -1)
		return arc_machine(&a->f, errno, "read");
	if (a->kind == ARC_NONE)
		return arc_bad(&a->f, CHECK_ARCHIVE, NULL,
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
	a.f.path = path;
	a.f.v = v;
	a.f.e = e;
	a.dirfd = dirfd;
	a.tree = t;
	a.fd = -1;
	a.zip_entries = UINT64_MAX;
	set_limits(&a.lim, lim);
	a.h = hash_new();
	/* libarchive converts names to the locale's charset; ours is UTF-8 */
	loc = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (loc != (locale_t)0)
		old = uselocale(loc);
	rv = open_file(&a);
	if (rv == 0)
		rv = open_reader(&a, &ar);
	if (rv == 0)
		rv = unpack(&a, ar);
	/* archive_read_free(NULL) is fine */
	(void)archive_read_free(ar);
	arc_plain_free(a.plain);
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
