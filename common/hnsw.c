/*
 * hnsw: reading and proving HNSW files.  It searches nothing.
 * SPDX-License-Identifier: ISC
 */
#include "hnsw.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "item.h"
#include "mem.h"
#include "banned.h"

#define FLAG_DELETED 1
#define NO_FLAG UINT64_MAX

static float
get_float(const void *p)
{
	uint32_t	w = buf_get_le32(p);
	float		f;

	memcpy(&f, &w, sizeof(f));
	return f;
}

static void
put_float(unsigned char *p, float f)
{
	uint32_t	w;

	memcpy(&w, &f, sizeof(w));
	p[0] = (unsigned char)w;
	p[1] = (unsigned char)(w >> 8);
	p[2] = (unsigned char)(w >> 16);
	p[3] = (unsigned char)(w >> 24);
}

int
hnsw_header_decode(const unsigned char b[HNSW_HEADER_LEN], uint32_t dim,
    struct hnsw_header *h, const char **why)
{
	uint64_t	u;

	memset(h, 0, sizeof(*h));
	*why = "unknown persistence version";
	if (buf_get_le32(b) != 1)
		return -1;
	h->offset_level0 = buf_get_le64(b + 4);
	h->max_elements = buf_get_le64(b + 12);
	h->count = buf_get_le64(b + 20);
	h->element_len = buf_get_le64(b + 28);
	h->label_offset = buf_get_le64(b + 36);
	h->data_offset = buf_get_le64(b + 44);
	u = buf_get_le32(b + 52);
	h->max_level = u <= INT32_MAX ? (int32_t)u :
	    (int32_t)((int64_t)u - ((int64_t)1 << 32));
	h->enter = buf_get_le32(b + 56);
	h->max_m = buf_get_le64(b + 60);
	h->max_m0 = buf_get_le64(b + 68);
	h->m = buf_get_le64(b + 76);
	u = buf_get_le64(b + 84);
	memcpy(&h->mult, &u, sizeof(h->mult));
	h->ef_construction = buf_get_le64(b + 92);
	*why = "links per element out of range";
	if (h->max_m == 0 || h->max_m > HNSW_LINKS_MAX || h->max_m0 == 0 ||
	    h->max_m0 > HNSW_LINKS_MAX)
		return -1;
	*why = "offsets do not fit the collection's dimension";
	if (dim == 0 || dim > ITEM_DIM_MAX || h->offset_level0 != 0 ||
	    h->data_offset != 4 + 4 * h->max_m0 ||
	    h->label_offset != h->data_offset + 4 * (uint64_t)dim ||
	    h->element_len != h->label_offset + 8)
		return -1;
	*why = "more elements than its capacity";
	if (h->count > h->max_elements || h->count > HNSW_N_MAX)
		return -1;
	*why = "entry point beyond its element count";
	if (h->count != 0 && (h->enter >= h->count || h->max_level < 0 ||
	    h->max_level > HNSW_LEVEL_MAX))
		return -1;
	return 0;
}

/* A regular file of the index, and its size. */
static int
open_file(int dirfd, const char *shown, const char *name, int *fd,
    uint64_t *size, struct err *e)
{
	struct stat	st;

	*fd = openat(dirfd, name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd == -1) {
		if (errno == ELOOP)
			return err_set(e, MSG_DATAERR,
			    "%s/%s: a symbolic link", shown, name);
		return err_sys(e, errno, "%s/%s", shown, name);
	}
	if (fstat(*fd, &st) == -1)
		return err_sys(e, errno, "%s/%s", shown, name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, MSG_DATAERR, "%s/%s: not a regular file",
		    shown, name);
	*size = (uint64_t)st.st_size;
	return 0;
}

static int
read_header(struct hnsw *h, int dirfd, struct err *e)
{
	unsigned char	 b[HNSW_HEADER_LEN];
	const char	*why;
	uint64_t	 size;
	int		 fd = -1, rv = -1;

	if (open_file(dirfd, h->name, HNSW_HEADER_FILE, &fd, &size, e) == -1)
		goto done;
	if (size != sizeof(b)) {
		err_set(e, MSG_DATAERR, "%s/%s: size: want %u, got %llu",
		    h->name, HNSW_HEADER_FILE, HNSW_HEADER_LEN,
		    (unsigned long long)size);
		goto done;
	}
	if (io_pread(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b)) {
		err_sys(e, errno, "%s/%s", h->name, HNSW_HEADER_FILE);
		goto done;
	}
	if (hnsw_header_decode(b, h->dim, &h->head, &why) == -1) {
		err_set(e, MSG_DATAERR, "%s/%s: %s (dimension %u)", h->name,
		    HNSW_HEADER_FILE, why, h->dim);
		goto done;
	}
	rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	return rv;
}

int
hnsw_open(struct hnsw *h, int dirfd, const char *name, const char *shown,
    uint32_t dim, int cosine, struct err *e)
{
	uint64_t	l0, len, links;
	int		dfd = -1, rv = -1;

	memset(h, 0, sizeof(*h));
	h->level0_fd = h->length_fd = h->links_fd = -1;
	h->flag_of = NO_FLAG;
	h->dim = dim;
	h->cosine = cosine;
	h->name = mem_dup(shown);
	dfd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dfd == -1) {
		if (errno == ELOOP || errno == ENOTDIR)
			err_set(e, MSG_DATAERR, "%s: not a directory", shown);
		else
			err_sys(e, errno, "%s", shown);
		goto done;
	}
	if (read_header(h, dfd, e) == -1 ||
	    open_file(dfd, shown, HNSW_LEVEL0_FILE, &h->level0_fd, &l0, e) ==
	    -1 || open_file(dfd, shown, HNSW_LENGTH_FILE, &h->length_fd, &len,
	    e) == -1 || open_file(dfd, shown, HNSW_LINKS_FILE, &h->links_fd,
	    &links, e) == -1)
		goto done;
	h->n_level0 = l0 / h->head.element_len;
	h->n_length = len / 4;
	h->n = h->head.count;
	if (h->n > h->n_level0)
		h->n = h->n_level0;
	if (cosine && h->n > h->n_length)
		h->n = h->n_length;
	h->win_cap = HNSW_WINDOW;
	if (h->win_cap < h->head.element_len)
		h->win_cap = (size_t)h->head.element_len;
	h->win = mem_alloc(h->win_cap);
	rv = 0;
done:
	if (dfd != -1)
		(void)close(dfd);
	if (rv == -1)
		hnsw_close(h);
	return rv;
}

void
hnsw_close(struct hnsw *h)
{
	if (h->level0_fd != -1)
		(void)close(h->level0_fd);
	if (h->length_fd != -1)
		(void)close(h->length_fd);
	if (h->links_fd != -1)
		(void)close(h->links_fd);
	free(h->name);
	free(h->win);
	memset(h, 0, sizeof(*h));
	h->level0_fd = h->length_fd = h->links_fd = -1;
}

/* Exactly n bytes at off; less is damage, as sizes were looked at. */
static int
get(const struct hnsw *h, int fd, const char *file, void *p, size_t n,
    uint64_t off, struct err *e)
{
	ssize_t	got = io_pread(fd, p, n, off);

	if (got == -1)
		return err_sys(e, errno, "%s/%s", h->name, file);
	if ((size_t)got != n)
		return err_set(e, MSG_DATAERR, "%s/%s: ends early at %llu",
		    h->name, file, (unsigned long long)(off + (uint64_t)got));
	return 0;
}

/* n bytes of data_level0.bin at off, in the window; n <= win_cap. */
static const unsigned char *
level0(struct hnsw *h, uint64_t off, size_t n, struct err *e)
{
	ssize_t	got;

	if (off < h->win_off || off - h->win_off > h->win_len ||
	    n > h->win_len - (off - h->win_off)) {
		got = io_pread(h->level0_fd, h->win, h->win_cap, off);
		if (got == -1) {
			err_sys(e, errno, "%s/%s", h->name, HNSW_LEVEL0_FILE);
			return NULL;
		}
		h->win_off = off;
		h->win_len = (uint64_t)got;
		if ((size_t)got < n) {
			err_set(e, MSG_DATAERR, "%s/%s: ends early at %llu",
			    h->name, HNSW_LEVEL0_FILE,
			    (unsigned long long)(off + (uint64_t)got));
			return NULL;
		}
	}
	return h->win + (off - h->win_off);
}

int
hnsw_label(struct hnsw *h, uint64_t i, uint64_t *label, int *deleted,
    struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	const unsigned char		*p;
	unsigned char			 b[12];
	size_t				 n;

	if (i >= h->n)
		return err_set(e, MSG_SOFTWARE, "%s: element %llu of %llu",
		    h->name, (unsigned long long)i, (unsigned long long)h->n);
	if (d->element_len <= HNSW_WINDOW / 16) {
		p = level0(h, i * d->element_len, (size_t)d->element_len, e);
		if (p == NULL)
			return -1;
		*deleted = (p[2] & FLAG_DELETED) != 0;
		*label = buf_get_le64(p + d->label_offset);
		return 0;
	}
	/* large ones: the label, and with it the next element's mark */
	if (h->flag_of != i) {
		if (get(h, h->level0_fd, HNSW_LEVEL0_FILE, b, 3,
		    i * d->element_len, e) == -1)
			return -1;
		h->flag = b[2];
	}
	*deleted = (h->flag & FLAG_DELETED) != 0;
	n = i + 1 < h->n ? 11 : 8;
	if (get(h, h->level0_fd, HNSW_LEVEL0_FILE, b, n,
	    i * d->element_len + d->label_offset, e) == -1)
		return -1;
	*label = buf_get_le64(b);
	h->flag_of = n == 11 ? i + 1 : NO_FLAG;
	h->flag = n == 11 ? b[10] : 0;
	return 0;
}

int
hnsw_vector(struct hnsw *h, uint64_t i, void *out, struct err *e)
{
	unsigned char	*p = out, b[4];
	float		 len;
	uint32_t	 k;

	if (i >= h->n)
		return err_set(e, MSG_SOFTWARE, "%s: element %llu of %llu",
		    h->name, (unsigned long long)i, (unsigned long long)h->n);
	if (get(h, h->level0_fd, HNSW_LEVEL0_FILE, out, (size_t)h->dim * 4,
	    i * h->head.element_len + h->head.data_offset, e) == -1)
		return -1;
	if (!h->cosine)
		return 0;
	if (get(h, h->length_fd, HNSW_LENGTH_FILE, b, 4, 4 * i, e) == -1)
		return -1;
	len = get_float(b);
	for (k = 0; k < h->dim; k++, p += 4)
		put_float(p, get_float(p) * len);
	return 0;
}

static int
bad_element(const struct hnsw *h, const char *file, uint64_t i,
    const char *why, struct err *e)
{
	return err_set(e, MSG_DATAERR, "%s/%s: element %llu: %s", h->name,
	    file, (unsigned long long)i, why);
}

/* The u32 links at p: count of them, each an element of the index. */
static int
links_ok(const struct hnsw *h, const unsigned char *p, uint64_t count)
{
	uint64_t	k;

	for (k = 0; k < count; k++)
		if (buf_get_le32(p + 4 * k) >= h->head.count)
			return 0;
	return 1;
}

static int
check_vector(struct hnsw *h, uint64_t i, const unsigned char *p,
    struct err *e)
{
	unsigned char	b[4];
	double		sum = 0;
	float		f;
	uint32_t	k;

	if (!item_finite(p, h->dim))
		return bad_element(h, HNSW_LEVEL0_FILE, i, "not finite", e);
	if (!h->cosine)
		return 0;
	if (get(h, h->length_fd, HNSW_LENGTH_FILE, b, 4, 4 * i, e) == -1)
		return -1;
	f = get_float(b);
	if (!isfinite(f) || f < 0)
		return bad_element(h, HNSW_LENGTH_FILE, i,
		    "length is not a finite number from 0 on", e);
	for (k = 0; k < h->dim; k++) {
		double	x = (double)get_float(p + 4 * (size_t)k);

		sum += x * x;
	}
	/*
	 * The square of so short a vector is nothing in float32: ChromaDB
	 * notes another length, or 0, and scales by it.  But a vector of
	 * length 1 with 0 beside it has lost its length.
	 */
	if (f < HNSW_TINY) {
		if (f == 0 && fabs(sqrt(sum) - 1) < HNSW_NORM_TOL)
			return bad_element(h, HNSW_LENGTH_FILE, i,
			    "length 0 of a vector that is not", e);
		return 0;
	}
	if (fabs(sqrt(sum) - 1) >= HNSW_NORM_TOL)
		return bad_element(h, HNSW_LEVEL0_FILE, i,
		    "a normalised vector's length is not 1", e);
	return 0;
}

static int
check_level0(struct hnsw *h, uint64_t n, struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	const unsigned char		*p;
	uint64_t			 i, count;

	for (i = 0; i < n; i++) {
		p = level0(h, i * d->element_len, (size_t)d->element_len, e);
		if (p == NULL)
			return -1;
		count = (uint64_t)p[0] | (uint64_t)p[1] << 8;
		if (count > d->max_m0)
			return bad_element(h, HNSW_LEVEL0_FILE, i,
			    "more links than fit", e);
		if (!links_ok(h, p + 4, count))
			return bad_element(h, HNSW_LEVEL0_FILE, i,
			    "link to an element that is none", e);
		if ((p[2] & FLAG_DELETED) == 0 &&
		    check_vector(h, i, p + d->data_offset, e) == -1)
			return -1;
	}
	return 0;
}

/*
 * Walk link_lists.bin: *n complete entries, of at most count.  Levels'
 * links are judged on the way.
 */
static int
check_links(struct hnsw *h, uint64_t *n, struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	const uint64_t			 per = 4 + 4 * d->max_m;
	unsigned char			*b = NULL, s[4];
	struct stat			 st;
	uint64_t			 off = 0, left, len, l, count;
	int				 rv = -1;

	*n = 0;
	if (fstat(h->links_fd, &st) == -1)
		return err_sys(e, errno, "%s/%s", h->name, HNSW_LINKS_FILE);
	left = (uint64_t)st.st_size;
	b = mem_alloc((size_t)per);
	while (left >= 4) {
		if (get(h, h->links_fd, HNSW_LINKS_FILE, s, 4, off, e) == -1)
			goto done;
		len = buf_get_le32(s);
		if (len % per != 0 || len / per > HNSW_LEVEL_MAX) {
			bad_element(h, HNSW_LINKS_FILE, *n,
			    "size is no number of levels", e);
			goto done;
		}
		if (*n == d->count) {
			err_set(e, MSG_DATAERR, "%s/%s: more entries than the "
			    "%llu elements of the header", h->name,
			    HNSW_LINKS_FILE, (unsigned long long)d->count);
			goto done;
		}
		off += 4;
		left -= 4;
		if (len > left)
			break;
		for (l = 0; l < len / per; l++) {
			if (get(h, h->links_fd, HNSW_LINKS_FILE, b,
			    (size_t)per, off + l * per, e) == -1)
				goto done;
			count = buf_get_le32(b);
			if (count > d->max_m || !links_ok(h, b + 4, count)) {
				bad_element(h, HNSW_LINKS_FILE, *n,
				    "link to an element that is none", e);
				goto done;
			}
		}
		if (*n == d->enter &&
		    len / per != (uint64_t)d->max_level) {
			bad_element(h, HNSW_LINKS_FILE, *n,
			    "the entry point is not on the top level", e);
			goto done;
		}
		off += len;
		left -= len;
		(*n)++;
	}
	if (left != 0 && *n == d->count) {
		err_set(e, MSG_DATAERR, "%s/%s: bytes after the last element",
		    h->name, HNSW_LINKS_FILE);
		goto done;
	}
	rv = 0;
done:
	free(b);
	return rv;
}

int
hnsw_check(struct hnsw *h, uint64_t *whole, struct err *e)
{
	uint64_t	n;

	*whole = 0;
	if (h->head.count == 0)
		return 0;
	if (check_links(h, &n, e) == -1)
		return -1;
	if (n > h->n)
		n = h->n;
	if (n > h->n_length)
		n = h->n_length;
	if (check_level0(h, n, e) == -1)
		return -1;
	*whole = n;
	return 0;
}

/* -- the graph of an index of ours --------------------------------------- */

/* link_lists.bin from its start, a window at a time. */
struct links {
	struct hnsw	*h;
	unsigned char	*b;
	size_t		 cap, len, at;
	uint64_t	 off;		/* of what follows the window */
};

/* The next n bytes, n <= l->cap, or NULL. */
static const unsigned char *
links_next(struct links *l, size_t n, struct err *e)
{
	ssize_t	got;

	if (l->len - l->at < n) {
		memmove(l->b, l->b + l->at, l->len - l->at);
		l->len -= l->at;
		l->at = 0;
		got = io_pread(l->h->links_fd, l->b + l->len,
		    l->cap - l->len, l->off);
		if (got == -1) {
			err_sys(e, errno, "%s/%s", l->h->name,
			    HNSW_LINKS_FILE);
			return NULL;
		}
		l->off += (uint64_t)got;
		l->len += (size_t)got;
		if (l->len < n) {
			err_set(e, MSG_DATAERR, "%s/%s: ends early at %llu",
			    l->h->name, HNSW_LINKS_FILE,
			    (unsigned long long)l->off);
			return NULL;
		}
	}
	l->at += n;
	return l->b + l->at - n;
}

/* The level of every element, from the sizes of their entries. */
static int
graph_levels(struct hnsw *h, struct links *l, unsigned char *level,
    struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	const size_t			 per = 4 + 4 * (size_t)d->max_m;
	const unsigned char		*p;
	struct stat			 st;
	uint64_t			 i, len, k;

	for (i = 0; i < d->count; i++) {
		if ((p = links_next(l, 4, e)) == NULL)
			return -1;
		len = buf_get_le32(p);
		if (len % per != 0 || len / per > (uint64_t)d->max_level)
			return bad_element(h, HNSW_LINKS_FILE, i,
			    "size is no number of levels up to the top", e);
		level[i] = (unsigned char)(len / per);
		for (k = 0; k < level[i]; k++)
			if (links_next(l, per, e) == NULL)
				return -1;
	}
	if (level[d->enter] != d->max_level)
		return bad_element(h, HNSW_LINKS_FILE, d->enter,
		    "the entry point is not on the top level", e);
	if (fstat(h->links_fd, &st) == -1)
		return err_sys(e, errno, "%s/%s", h->name, HNSW_LINKS_FILE);
	if ((uint64_t)st.st_size != l->off - (l->len - l->at))
		return err_set(e, MSG_DATAERR, "%s/%s: bytes after the last "
		    "element", h->name, HNSW_LINKS_FILE);
	return 0;
}

/* Links above the lowest level: in bounds, and to elements up there. */
static int
graph_upper(struct hnsw *h, struct links *l, const unsigned char *level,
    struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	const size_t			 per = 4 + 4 * (size_t)d->max_m;
	const unsigned char		*p;
	uint64_t			 i, n, m;
	uint32_t			 to;
	int				 k;

	for (i = 0; i < d->count; i++) {
		if (links_next(l, 4, e) == NULL)
			return -1;
		for (k = 1; k <= level[i]; k++) {
			if ((p = links_next(l, per, e)) == NULL)
				return -1;
			n = buf_get_le32(p);
			if (n > d->max_m)
				return bad_element(h, HNSW_LINKS_FILE, i,
				    "more links than fit", e);
			for (m = 0; m < n; m++) {
				to = buf_get_le32(p + 4 + 4 * m);
				if (to >= d->count || level[to] < k)
					return bad_element(h,
					    HNSW_LINKS_FILE, i, "link to an "
					    "element that is not on its "
					    "level", e);
			}
		}
	}
	return 0;
}

#define REACHED(map, i)	((map)[(i) / 8] & 1U << (i) % 8)

/* The links of element i in b, and whether it is deleted. */
static int
graph_links(struct hnsw *h, uint64_t i, unsigned char *b, uint64_t *n,
    struct err *e)
{
	const struct hnsw_header	*d = &h->head;

	if (get(h, h->level0_fd, HNSW_LEVEL0_FILE, b, 4 + 4 *
	    (size_t)d->max_m0, i * d->element_len, e) == -1)
		return -1;
	*n = (uint64_t)b[0] | (uint64_t)b[1] << 8;
	if (*n > d->max_m0)
		return bad_element(h, HNSW_LEVEL0_FILE, i,
		    "more links than fit", e);
	if (!links_ok(h, b + 4, *n))
		return bad_element(h, HNSW_LEVEL0_FILE, i,
		    "link to an element that is none", e);
	return 0;
}

/* Does one of the n links at b lead to an element whose bit is in map? */
static int
leads_to(const unsigned char *map, const unsigned char *b, uint64_t n)
{
	uint64_t	k;

	for (k = 0; k < n; k++)
		if (REACHED(map, buf_get_le32(b + 4 + 4 * k)))
			return 1;
	return 0;
}

#define REACH(map, i) ((map)[(i) / 8] |= (unsigned char)(1U << (i) % 8))

/*
 * All that can be reached from the entry point: its bit in map.  All that
 * is seen to lead back to it: its bit in back.
 */
static int
graph_walk(struct hnsw *h, unsigned char *map, unsigned char *back,
    struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	unsigned char			*b;
	uint32_t			*todo, to;
	uint64_t			 n, k, have = 0, done = 0;
	int				 rv = -1;

	b = mem_alloc(4 + 4 * (size_t)d->max_m0);
	todo = mem_zero((size_t)d->count, sizeof(*todo));
	todo[have++] = d->enter;
	REACH(map, d->enter);
	REACH(back, d->enter);
	while (done < have) {
		if (graph_links(h, todo[done], b, &n, e) == -1)
			goto done;
		if (leads_to(back, b, n))
			REACH(back, todo[done]);
		done++;
		for (k = 0; k < n; k++) {
			to = buf_get_le32(b + 4 + 4 * k);
			if (REACHED(map, to))
				continue;
			REACH(map, to);
			todo[have++] = to;
		}
	}
	rv = 0;
done:
	free(todo);
	free(b);
	return rv;
}

/*
 * Those that were not yet seen to lead back to the entry point, again and
 * again while it helps.  None may be left: a search may begin at any.
 */
static int
graph_back(struct hnsw *h, unsigned char *back, struct err *e)
{
	unsigned char	*b;
	uint64_t	 i, n, left, first = 0, before = UINT64_MAX;
	int		 rv = -1;

	b = mem_alloc(4 + 4 * (size_t)h->head.max_m0);
	for (;;) {
		left = 0;
		for (i = 0; i < h->head.count; i++) {
			if (REACHED(back, i))
				continue;
			if (graph_links(h, i, b, &n, e) == -1)
				goto done;
			if (leads_to(back, b, n))
				REACH(back, i);
			else if (left++ == 0)
				first = i;
		}
		if (left == 0 || left == before)
			break;
		before = left;
	}
	rv = left == 0 ? 0 : bad_element(h, HNSW_LEVEL0_FILE, first,
	    "the entry point cannot be reached from it", e);
done:
	free(b);
	return rv;
}

/* Marks, labels and links of the lowest level, one element after another. */
static int
graph_lowest(struct hnsw *h, const unsigned char *map, uint64_t *live,
    struct err *e)
{
	unsigned char	*b;
	uint64_t	 i, n, label;
	int		 deleted, rv = -1;

	b = mem_alloc(4 + 4 * (size_t)h->head.max_m0);
	for (i = 0; i < h->head.count; i++) {
		if (hnsw_label(h, i, &label, &deleted, e) == -1)
			goto done;
		if (label != i + 1) {
			bad_element(h, HNSW_LEVEL0_FILE, i,
			    "its label is not its place", e);
			goto done;
		}
		/* of those that were reached this is known */
		if (!REACHED(map, i) && graph_links(h, i, b, &n, e) == -1)
			goto done;
		if (!deleted && !REACHED(map, i)) {
			bad_element(h, HNSW_LEVEL0_FILE, i, "cannot be "
			    "reached from the entry point", e);
			goto done;
		}
		*live += !deleted;
	}
	rv = 0;
done:
	free(b);
	return rv;
}

int
hnsw_check_graph(struct hnsw *h, uint64_t *live, struct err *e)
{
	const struct hnsw_header	*d = &h->head;
	struct links			 l;
	unsigned char			*level = NULL, *map = NULL, *back;
	int				 rv = -1;

	*live = 0;
	if (h->n != d->count || h->n_length < d->count)
		return err_set(e, MSG_DATAERR, "%s: %llu elements in its "
		    "header, and files for %llu", h->name,
		    (unsigned long long)d->count, (unsigned long long)
		    (h->n < h->n_length ? h->n : h->n_length));
	if (d->count == 0)
		return 0;
	memset(&l, 0, sizeof(l));
	l.h = h;
	l.cap = HNSW_WINDOW + 4 + 4 * (size_t)d->max_m;
	l.b = mem_alloc(l.cap);
	level = mem_zero((size_t)d->count, 1);
	map = mem_zero((size_t)(d->count / 8 + 1), 1);
	back = mem_zero((size_t)(d->count / 8 + 1), 1);
	if (graph_levels(h, &l, level, e) == -1)
		goto done;
	l.len = l.at = 0;
	l.off = 0;
	if (graph_upper(h, &l, level, e) == -1 ||
	    graph_walk(h, map, back, e) == -1 ||
	    graph_lowest(h, map, live, e) == -1 ||
	    graph_back(h, back, e) == -1)
		goto done;
	rv = 0;
done:
	free(back);
	free(map);
	free(level);
	free(l.b);
	return rv;
}
