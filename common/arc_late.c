/*
 * arc_late: the functions of libarchive that arc and its parts call, loaded
 * when they are needed (late.h).  It opens no archive.
 * SPDX-License-Identifier: ISC
 */
#include "arc.h"

#include <archive.h>
#include <archive_entry.h>

#include "gz.h"
#include "late.h"
#include "banned.h"

#ifndef ARC_LIBRARY
#define ARC_LIBRARY "libarchive.so.13"
#endif

#define FUNCTIONS(X)							\
X(struct archive *, archive_read_new, (void), ())			\
X(int, archive_read_free, (struct archive *a), (a))			\
X(int, archive_read_support_filter_zstd, (struct archive *a), (a))	\
X(int, archive_read_support_format_raw, (struct archive *a), (a))	\
X(int, archive_read_support_format_tar, (struct archive *a), (a))	\
X(int, archive_read_support_format_zip_seekable, (struct archive *a),	\
    (a))								\
X(int, archive_read_set_read_callback, (struct archive *a,		\
    archive_read_callback *f), (a, f))					\
X(int, archive_read_set_seek_callback, (struct archive *a,		\
    archive_seek_callback *f), (a, f))					\
X(int, archive_read_set_callback_data, (struct archive *a, void *p),	\
    (a, p))								\
X(int, archive_read_open1, (struct archive *a), (a))			\
X(int, archive_read_next_header, (struct archive *a,			\
    struct archive_entry **t), (a, t))					\
X(int, archive_read_data_block, (struct archive *a, const void **p,	\
    size_t *n, la_int64_t *off), (a, p, n, off))			\
X(int, archive_errno, (struct archive *a), (a))				\
X(const char *, archive_error_string, (struct archive *a), (a))		\
X(la_int64_t, archive_filter_bytes, (struct archive *a, int n), (a, n))	\
X(int, archive_filter_code, (struct archive *a, int n), (a, n))		\
X(int, archive_filter_count, (struct archive *a), (a))			\
X(__LA_MODE_T, archive_entry_filetype, (struct archive_entry *t), (t))	\
X(const char *, archive_entry_hardlink, (struct archive_entry *t), (t))	\
X(int, archive_entry_is_encrypted, (struct archive_entry *t), (t))	\
X(const char *, archive_entry_pathname, (struct archive_entry *t), (t))	\
X(la_int64_t, archive_entry_size, (struct archive_entry *t), (t))	\
X(int, archive_entry_size_is_set, (struct archive_entry *t), (t))	\
X(const char *, archive_entry_symlink, (struct archive_entry *t), (t))

FUNCTIONS(LATE_FN)

/* It takes a format, which is text here. */
static void	(*real_archive_set_error)(struct archive *, int,
		    const char *, ...);

void
archive_set_error(struct archive *a, int number, const char *text, ...)
{
	real_archive_set_error(a, number, "%s", text);
}

int
arc_load(struct err *e)
{
	static const struct late	v[] = {
		FUNCTIONS(LATE_AT)
		{ "archive_set_error", &real_archive_set_error }
	};
	static int			done;

	if (gz_load(e) == -1)
		return -1;
	return late_load(&done, ARC_LIBRARY, v, sizeof(v) / sizeof(v[0]), e);
}
