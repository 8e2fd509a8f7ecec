/*
 * store: which format lies here, and the reader that goes with it.
 * It reads no more than a file's first bytes; the formats read the rest.
 * SPDX-License-Identifier: ISC
 */
#include "store.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define STORE_APP_ID	0x494e5443U	/* "INTC" */
#define STORE_HEAD	512		/* bytes that tell a format */

static const char	*names[] = { "none", "chroma", "sqlite", "batch",
			    "archive" };

const char *
store_format_name(enum store_format f)
{
	return names[f];
}

enum store_format
store_format_parse(const char *s)
{
	int	i;

	for (i = STORE_CHROMA; i <= STORE_ARCHIVE; i++)
		if (strcmp(s, names[i]) == 0)
			return (enum store_format)i;
	return STORE_NONE;
}

/* A tar header of any age: the checksum of its 512 bytes holds. */
static int
is_tar(const unsigned char *p, size_t n)
{
	unsigned long	sum = 0, want = 0;
	size_t		i;

	if (n < STORE_HEAD)
		return 0;
	for (i = 0; i < STORE_HEAD; i++)
		sum += i >= 148 && i < 156 ? ' ' : p[i];
	for (i = 148; i < 156 && p[i] == ' '; i++)
		;
	if (i == 156 || p[i] < '0' || p[i] > '7')
		return 0;
	for (; i < 156 && p[i] >= '0' && p[i] <= '7'; i++)
		want = want * 8 + (unsigned long)(p[i] - '0');
	return sum == want;
}

static enum store_format
by_magic(const unsigned char *p, size_t n)
{
	size_t	i;

	if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b)
		return STORE_ARCHIVE;
	if (n >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0)
		return STORE_ARCHIVE;
	if (n >= 4 && (memcmp(p, "PK\3\4", 4) == 0 ||
	    memcmp(p, "PK\5\6", 4) == 0))
		return STORE_ARCHIVE;
	if (is_tar(p, n))
		return STORE_ARCHIVE;
	if (n >= 72 && memcmp(p, "SQLite format 3", 16) == 0)
		return buf_get_u32(p + 68) == STORE_APP_ID ? STORE_SQLITE :
		    STORE_NONE;
	for (i = 0; i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r' ||
	    p[i] == '\n'); i++)
		;
	return i < n && p[i] == '{' ? STORE_BATCH : STORE_NONE;
}

/* A directory tells its format by the one file that must be in it. */
static enum store_format
by_content(int dirfd, const char *path, struct err *e)
{
	static const char *const mark[] = { "chroma.sqlite3",
				    "store.sqlite3" };
	struct stat	st;
	int		has[2], i;

	for (i = 0; i < 2; i++) {
		has[i] = fstatat(dirfd, mark[i], &st,
		    AT_SYMLINK_NOFOLLOW) == 0;
		if (!has[i] && errno != ENOENT) {
			err_sys(e, errno, "%s/%s", path, mark[i]);
			return STORE_NONE;
		}
	}
	if (has[0] == has[1])
		return STORE_NONE;
	return has[0] ? STORE_CHROMA : STORE_SQLITE;
}

enum store_format
store_detect(const char *path, struct err *e)
{
	unsigned char		head[STORE_HEAD];
	enum store_format	rv = STORE_NONE;
	struct stat		st;
	ssize_t			n;
	int			fd;

	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		err_sys(e, errno, "%s", path);
		return STORE_NONE;
	}
	if (fstat(fd, &st) == -1)
		err_sys(e, errno, "%s", path);
	else if (S_ISDIR(st.st_mode))
		rv = by_content(fd, path, e);
	else if (!S_ISREG(st.st_mode))
		rv = STORE_NONE;
	else if ((n = io_read(fd, head, sizeof(head))) == -1)
		err_sys(e, errno, "%s", path);
	else if (n > 0 && strcmp(path_base(path), "store.sqlite3") == 0)
		rv = STORE_SQLITE;
	else
		rv = by_magic(head, (size_t)n);
	(void)close(fd);
	return rv;
}

struct store *
store_open(const char *path, enum store_format format, int flags,
    struct err *e)
{
	struct store	*s = mem_zero(1, sizeof(*s));
	int		 r = -1;

	s->format = format;
	switch (format) {
	case STORE_CHROMA:
		r = chroma_open(s, path, flags, e);
		break;
	case STORE_SQLITE:
		r = dstore_open(s, path, flags, e);
		break;
	case STORE_BATCH:
		r = batch_open(s, path, flags, e);
		break;
	case STORE_NONE:
	case STORE_ARCHIVE:
		err_set(e, MSG_SOFTWARE, "%s: no reader for format %s", path,
		    store_format_name(format));
		break;
	}
	if (r == -1) {
		store_close(s);
		return NULL;
	}
	return s;
}

int
store_next(struct store *s, struct item *it, struct err *e)
{
	return s->ops->next(s->impl, it, e);
}

void
store_close(struct store *s)
{
	size_t	i;

	if (s == NULL)
		return;
	if (s->impl != NULL)
		s->ops->close(s->impl);
	for (i = 0; i < s->n_colls; i++)
		item_coll_clear(&s->colls[i]);
	free(s->colls);
	for (i = 0; i < s->n_sources; i++)
		item_source_clear(&s->sources[i]);
	free(s->sources);
	free(s);
}
