/*
 * arc_plain: taking the compression off a tar.  gzip is undone by gz, as
 * libarchive looks at no checksum of it, and zstd by libarchive, read to its
 * end, which checks it.  It writes nothing.
 * SPDX-License-Identifier: ISC
 */
#include "arc_plain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "arc.h"
#include "arc_fault.h"
#include "gz.h"
#include "io.h"
#include "mem.h"
#include "banned.h"

#define PLAIN_BLOCK	((size_t)64 * 1024)	/* bytes, one read */

struct arc_plain {
	int			 fd;
	uint64_t		 packed;
	const struct arc_limits	*lim;
	struct arc_fault	*f;
	struct archive		*filter;	/* takes zstd off */
	struct gz		*gz;		/* or this gzip */
	unsigned char		*block;		/* of the file */
	size_t			 at, n;		/* in block, for gz */
	uint64_t		 bytes, nonzero; /* what it gave */
	int			 ended;
};

/* The file as it is: how many bytes, 0 at its end, -1 and told. */
static ssize_t
file_next(struct arc_plain *p, const void **out)
{
	ssize_t	n = io_read(p->fd, p->block, PLAIN_BLOCK);

	*out = p->block;
	return n == -1 ? arc_machine(p->f, errno, "read") : n;
}

/* The same for libarchive. */
static la_ssize_t
filter_read(struct archive *ar, void *arg, const void **out)
{
	ssize_t	n = file_next(arg, out);

	if (n == -1)
		archive_set_error(ar, EIO, "read failed");
	return n;
}

/* What gzip yields: bytes, 0 at its end, -1 and told. */
static long
gz_read(struct arc_plain *p, const void **out)
{
	const void	*block;
	const char	*why = NULL;
	ssize_t		 got;
	size_t		 left;
	long		 n;

	for (;;) {
		left = p->n - p->at;
		n = gz_next(p->gz, p->block + p->at, &left, out, &why);
		p->at = p->n - left;
		if (n > 0)
			break;
		if (n == -1 && why == NULL)
			return arc_machine(p->f, ENOMEM, "unpack");
		if (n == -1)
			goto bad;
		got = file_next(p, &block);
		if (got == -1)
			return -1;
		if (got == 0) {
			why = !gz_at_end(p->gz) ? "cut short: the "
			    "compressed data have no end" : p->bytes == 0 ?
			    "nothing is packed in it" : NULL;
			if (why == NULL)
				return 0;
			goto bad;
		}
		p->at = 0;
		p->n = (size_t)got;
	}
	if (p->bytes > 0 || n < 2 || memcmp(*out, "\x1f\x8b", 2) != 0)
		return n;
	why = "compressed more than once";
bad:
	(void)arc_bad(p->f, CHECK_ARCHIVE, NULL, why);
	return -1;
}

/* What zstd yields: the same. */
static long
zstd_read(struct arc_plain *p, const void **out)
{
	la_int64_t	off;
	size_t		n = 0;
	int		r;

	r = archive_read_data_block(p->filter, out, &n, &off);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r == ARCHIVE_OK)
		return (long)n;
	(void)arc_judge(p->f, p->filter, r, NULL);
	return -1;
}

/* Of n bytes more that come out: how many, and where they are not 0. */
static int
count(struct arc_plain *p, const unsigned char *s, size_t n)
{
	size_t	i;

	for (i = n; i > 0 && s[i - 1] == 0; i--)
		;
	if (i > 0)
		p->nonzero = p->bytes + i;
	p->bytes += n;
	if (p->bytes > p->lim->bytes)
		return arc_too_much(p->f, NULL, p->lim->bytes, "bytes");
	if (p->bytes > ARC_RATIO_FREE &&
	    p->bytes / p->lim->ratio > p->packed)
		return arc_bad(p->f, CHECK_LIMIT, NULL,
		    "unpacks to more than the allowed multiple of its size");
	return 0;
}

long
arc_plain_next(struct arc_plain *p, const void **out)
{
	long	n;

	if (p->ended)
		return 0;
	if (p->gz != NULL)
		n = gz_read(p, out);
	else if (p->filter != NULL)
		n = zstd_read(p, out);
	else
		n = file_next(p, out);
	if (n == 0)
		p->ended = 1;
	if (n > 0 && count(p, *out, (size_t)n) != 0)
		return -1;
	return n;
}

static int
open_zstd(struct arc_plain *p)
{
	struct archive_entry	*ent;
	struct archive		*ar;
	int			 r;

	ar = p->filter = archive_read_new();
	if (ar == NULL)
		return arc_machine(p->f, ENOMEM, "unpack");
	r = archive_read_support_filter_zstd(ar);
	/* WARN: it would run an external program */
	if (r != ARCHIVE_OK) {
		p->f->failed = -1;
		return err_set(p->f->e, MSG_IOERR, "%s: this libarchive was "
		    "built without zstd", p->f->path);
	}
	(void)archive_read_support_format_raw(ar);
	(void)archive_read_set_read_callback(ar, filter_read);
	(void)archive_read_set_callback_data(ar, p);
	r = archive_read_open1(ar);
	if (r != ARCHIVE_OK)
		return arc_judge(p->f, ar, r, NULL);
	r = archive_read_next_header(ar, &ent);
	if (r == ARCHIVE_EOF)
		return arc_bad(p->f, CHECK_ARCHIVE, NULL,
		    "nothing is packed in it");
	if (r != ARCHIVE_OK)
		return arc_judge(p->f, ar, r, NULL);
	if (archive_filter_count(ar) != 2 ||
	    archive_filter_code(ar, 0) != ARCHIVE_FILTER_ZSTD)
		return arc_bad(p->f, CHECK_ARCHIVE, NULL,
		    "compressed more than once, or not as its first bytes "
		    "say");
	return 0;
}

struct arc_plain *
arc_plain_new(int fd, int kind, uint64_t packed,
    const struct arc_limits *lim, struct arc_fault *f)
{
	struct arc_plain	*p = mem_zero(1, sizeof(*p));
	int			 rv = 0;

	p->fd = fd;
	p->packed = packed;
	p->lim = lim;
	p->f = f;
	p->block = mem_alloc(PLAIN_BLOCK);
	if (kind == ARC_TAR_GZ && (p->gz = gz_new()) == NULL)
		rv = arc_machine(f, ENOMEM, "unpack");
	else if (kind == ARC_TAR_ZST)
		rv = open_zstd(p);
	if (rv == 0)
		return p;
	arc_plain_free(p);
	return NULL;
}

void
arc_plain_free(struct arc_plain *p)
{
	if (p == NULL)
		return;
	/* archive_read_free(NULL) is fine */
	(void)archive_read_free(p->filter);
	gz_free(p->gz);
	free(p->block);
	free(p);
}

uint64_t
arc_plain_bytes(const struct arc_plain *p)
{
	return p->bytes;
}

uint64_t
arc_plain_nonzero(const struct arc_plain *p)
{
	return p->nonzero;
}

int
arc_plain_whole(struct arc_plain *p)
{
	if (p->filter == NULL ||
	    (uint64_t)archive_filter_bytes(p->filter, -1) == p->packed)
		return 0;
	return arc_bad(p->f, CHECK_ARCHIVE, NULL,
	    "bytes after the end of the compressed data");
}
