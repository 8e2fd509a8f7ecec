/*
 * hnsw_build: the files of an index, written and extended.  The graph is
 * hnsw_link's.
 * SPDX-License-Identifier: ISC
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */
#include "hnsw_build.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "hnsw.h"
#include "hnsw_link.h"
#include "io.h"
#include "mem.h"
#include "team.h"
#include "banned.h"

#define WINDOW		((size_t)1 << 20)	/* bytes written at a time */
#define SLOTS_MIN	100U	/* slots, as ChromaDB notes for a young index */
#define FLAG_DELETED	1
#define FLAG_AT		2	/* byte of an element that holds the flag */
#define CODES_FILE	"codes.tmp"

struct hnsw_build {
	struct hnsw_params	 p;
	struct hnsw_graph	 g;
	char			*name;		/* for messages */
	int			 dirfd;		/* the index's directory */
	int			 level0_fd, length_fd;
	struct buf		 level0, lengths; /* not yet written */
	uint64_t		 n, n_written, dead;
	unsigned char		*element;	/* one, while it is made */
	void			*map;
	size_t			 map_len;
	int16_t			*codes;
	size_t			 codes_len;
};

static uint32_t
put_le32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
	p[2] = (unsigned char)(v >> 16);
	p[3] = (unsigned char)(v >> 24);
	return 4;
}

static uint32_t
put_le64(unsigned char *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
	return 8;
}

static int
sys(const struct hnsw_build *b, const char *file, struct err *e)
{
	return err_sys(e, errno, "%s/%s", b->name, file);
}

/* Links are used in the mapped file as they lie there: little-endian. */
static int
byte_order(const char *shown, struct err *e)
{
	const uint32_t	one = 1;
	unsigned char	c;

	memcpy(&c, &one, 1);
	if (c != 1)
		return err_set(e, MSG_SOFTWARE, "%s: HNSW files are written "
		    "on little-endian machines only", shown);
	return 0;
}

static void
layout(struct hnsw_build *b)
{
	struct hnsw_graph	*g = &b->g;

	g->dim = b->p.dim;
	g->space = b->p.space;
	g->m = b->p.m;
	g->m0 = 2 * b->p.m;
	g->ef = b->p.ef;
	g->data_offset = 4 + 4 * (size_t)g->m0;
	g->element_len = g->data_offset + 4 * (size_t)g->dim + 8;
	g->max_level = -1;
}

/* Upper levels' links of an index of ours, as link_lists.bin has them. */
static int
load_upper(struct hnsw_build *b, struct err *e)
{
	struct hnsw_graph	*g = &b->g;
	const size_t		 per = 4 + 4 * (size_t)g->m;
	struct buf		 f;
	const unsigned char	*p;
	uint64_t		 i;
	size_t			 left, len, words;

	buf_init(&f, SIZE_MAX / 2);
	if (io_slurp(b->dirfd, HNSW_LINKS_FILE, &f, e) == -1) {
		buf_free(&f);
		return -1;
	}
	g->up = mem_alloc((size_t)g->n_old * sizeof(*g->up) + 1);
	p = f.p;
	left = f.len;
	for (i = 0; i < g->n_old; i++) {
		len = left >= 4 ? buf_get_le32(p) : 1;
		if (len % per != 0 || len > left - 4) {
			buf_free(&f);
			return err_set(e, MSG_DATAERR, "%s/%s: entry %llu "
			    "is cut off", b->name, HNSW_LINKS_FILE,
			    (unsigned long long)i);
		}
		p += 4;
		left -= 4;
		g->up[i] = HNSW_NO_UP;
		if (len != 0) {
			words = len / 4;
			g->upper = mem_grow(g->upper, &g->cap_upper,
			    g->n_upper + words + 1, sizeof(*g->upper));
			g->up[i] = (uint32_t)g->n_upper;
			g->upper[g->n_upper++] = (uint32_t)(len / per);
			memcpy(g->upper + g->n_upper, p, len);
			g->n_upper += words;
		}
		p += len;
		left -= len;
	}
	buf_free(&f);
	return 0;
}

/* An index of ours that is there already. */
static int
load(struct hnsw_build *b, struct err *e)
{
	struct hnsw	h;
	int		rv = -1;

	if (hnsw_open(&h, b->dirfd, ".", b->name, b->p.dim,
	    b->p.space == ITEM_COSINE, e) == -1)
		return -1;
	if (h.head.m < HNSW_M_MIN || h.head.m > HNSW_M_MAX ||
	    h.head.max_m != h.head.m || h.head.max_m0 != 2 * h.head.m ||
	    h.head.ef_construction < 1 ||
	    h.head.ef_construction > HNSW_EF_MAX || h.n != h.head.count ||
	    h.n_length < h.n) {
		err_set(e, MSG_DATAERR, "%s: not an index of ours, or cut "
		    "off", b->name);
		goto done;
	}
	b->p.m = (uint32_t)h.head.m;
	b->p.ef = (uint32_t)h.head.ef_construction;
	layout(b);
	b->n = b->n_written = b->g.n_old = h.n;
	b->g.max_level = h.head.max_level;
	b->g.enter = h.head.enter;
	rv = load_upper(b, e);
done:
	hnsw_close(&h);
	return rv;
}

static int
open_files(struct hnsw_build *b, int fresh, struct err *e)
{
	const int	flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW |
			    (fresh ? O_CREAT | O_EXCL : 0);

	b->level0_fd = openat(b->dirfd, HNSW_LEVEL0_FILE, flags, 0666);
	if (b->level0_fd == -1)
		return sys(b, HNSW_LEVEL0_FILE, e);
	b->length_fd = openat(b->dirfd, HNSW_LENGTH_FILE, flags, 0666);
	if (b->length_fd == -1)
		return sys(b, HNSW_LENGTH_FILE, e);
	/* room that another writer kept behind the last element goes */
	if (ftruncate(b->level0_fd, (off_t)(b->n * b->g.element_len)) == -1 ||
	    lseek(b->level0_fd, 0, SEEK_END) == -1)
		return sys(b, HNSW_LEVEL0_FILE, e);
	if (ftruncate(b->length_fd, (off_t)(4 * b->n)) == -1 ||
	    lseek(b->length_fd, 0, SEEK_END) == -1)
		return sys(b, HNSW_LENGTH_FILE, e);
	return 0;
}

/* Labels and deleted marks of what is there; mapped, a byte of a page. */
static int
count_dead(struct hnsw_build *b, struct err *e)
{
	const size_t		 len = (size_t)b->n * b->g.element_len;
	const unsigned char	*p;
	unsigned char		*map;
	uint64_t		 i, label;
	int			 rv = 0;

	if (b->n == 0)
		return 0;
	map = mmap(NULL, len, PROT_READ, MAP_SHARED, b->level0_fd, 0);
	if (map == MAP_FAILED)
		return sys(b, HNSW_LEVEL0_FILE, e);
	for (i = 0, p = map; i < b->n && rv == 0; i++) {
		b->dead += (p[FLAG_AT] & FLAG_DELETED) != 0;
		p += b->g.element_len;
		label = buf_get_le64(p - 8);
		if (label != i + 1)
			rv = err_set(e, MSG_DATAERR, "%s: element %llu has "
			    "label %llu: not an index of ours", b->name,
			    (unsigned long long)i, (unsigned long long)label);
	}
	(void)munmap(map, len);
	return rv;
}

/* Is any vector there one of length 0? */
static int
find_zeros(struct hnsw_build *b, struct err *e)
{
	struct buf	 f;
	float		 len;
	uint64_t	 i;
	int		 rv = -1;

	if (b->n == 0 || b->p.space != ITEM_COSINE)
		return 0;
	buf_init(&f, SIZE_MAX / 2);
	if (io_slurp(b->dirfd, HNSW_LENGTH_FILE, &f, e) == -1)
		goto done;
	for (i = 0; i < b->n && 4 * i + 4 <= f.len; i++) {
		memcpy(&len, f.p + 4 * i, 4);
		b->g.zeros |= len <= 0;
	}
	rv = 0;
done:
	buf_free(&f);
	return rv;
}

struct hnsw_build *
hnsw_build_new(int dirfd, const char *name, const char *shown,
    const struct hnsw_params *p, int fresh, struct err *e)
{
	struct hnsw_build	*b;

	if (byte_order(shown, e) == -1)
		return NULL;
	b = mem_zero(1, sizeof(*b));
	b->p = *p;
	b->name = mem_dup(shown);
	b->level0_fd = b->length_fd = -1;
	buf_init(&b->level0, 2 * WINDOW + 8 * (size_t)ITEM_DIM_MAX);
	buf_init(&b->lengths, 2 * WINDOW);
	if (b->p.m == 0)
		b->p.m = HNSW_M;
	if (b->p.ef == 0)
		b->p.ef = HNSW_EF;
	b->dirfd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dirfd == -1) {
		err_sys(e, errno, "%s", shown);
		goto fail;
	}
	if (fresh && (b->p.m < HNSW_M_MIN || b->p.m > HNSW_M_MAX ||
	    b->p.ef > HNSW_EF_MAX)) {
		err_set(e, MSG_DATAERR, "%s: max_neighbors %u or "
		    "ef_construction %u: want %u to %u, and at most %u",
		    shown, b->p.m, b->p.ef, HNSW_M_MIN, HNSW_M_MAX,
		    HNSW_EF_MAX);
		goto fail;
	}
	layout(b);
	if (!fresh && load(b, e) == -1)
		goto fail;
	if (open_files(b, fresh, e) == -1 || count_dead(b, e) == -1 ||
	    find_zeros(b, e) == -1)
		goto fail;
	b->element = mem_zero(1, b->g.element_len);
	return b;
fail:
	hnsw_build_free(b);
	return NULL;
}

uint64_t
hnsw_build_count(const struct hnsw_build *b, uint64_t *live)
{
	if (live != NULL)
		*live = b->n - b->dead;
	return b->n;
}

/* Both buffers to their files. */
static int
flush(struct hnsw_build *b, struct err *e)
{
	if (io_write(b->level0_fd, b->level0.p, b->level0.len) == -1)
		return sys(b, HNSW_LEVEL0_FILE, e);
	if (io_write(b->length_fd, b->lengths.p, b->lengths.len) == -1)
		return sys(b, HNSW_LENGTH_FILE, e);
	buf_reset(&b->level0);
	buf_reset(&b->lengths);
	b->n_written = b->n;
	return 0;
}

/*
 * The direction of in at out, both dim floats; its length.  Summed in
 * double: no float vector is too short or too long for that.
 */
static float
normalise(const unsigned char *in, unsigned char *out, uint32_t dim)
{
	double		sum = 0, len;
	float		f;
	uint32_t	k;

	for (k = 0; k < dim; k++) {
		memcpy(&f, in + 4 * (size_t)k, 4);
		sum += (double)f * (double)f;
	}
	len = sqrt(sum);
	for (k = 0; k < dim; k++) {
		memcpy(&f, in + 4 * (size_t)k, 4);
		f = len > 0 ? (float)((double)f / len) : 0;
		memcpy(out + 4 * (size_t)k, &f, 4);
	}
	/* a length beyond float32 would come back as infinity */
	return len > 3.4028234663852886e38 ? 3.4028234663852886e38F :
	    (float)len;
}

int
hnsw_build_put(struct hnsw_build *b, const void *vec, void *back,
    uint64_t *label, struct err *e)
{
	unsigned char	*data = b->element + b->g.data_offset, len[4];
	float		 f = 0, g;
	uint32_t	 k;

	if (b->n == HNSW_N_BUILD)
		return err_set(e, MSG_DATAERR, "%s: more than %u vectors in "
		    "one collection: shard it", b->name, HNSW_N_BUILD);
	if (b->level0.len + b->g.element_len > WINDOW && flush(b, e) == -1)
		return -1;
	*label = b->n + 1;
	if (b->p.space == ITEM_COSINE) {
		f = normalise(vec, data, b->p.dim);
		b->g.zeros |= f <= 0;
	} else
		memcpy(data, vec, 4 * (size_t)b->p.dim);
	put_le64(data + 4 * (size_t)b->p.dim, *label);
	buf_add(&b->level0, b->element, b->g.element_len);
	memcpy(len, &f, 4);
	buf_add(&b->lengths, len, 4);
	b->n++;
	if (back == NULL)
		return 0;
	if (b->p.space != ITEM_COSINE) {
		memcpy(back, vec, 4 * (size_t)b->p.dim);
		return 0;
	}
	for (k = 0; k < b->p.dim; k++) {
		memcpy(&g, data + 4 * (size_t)k, 4);
		g = g * f;
		memcpy((unsigned char *)back + 4 * (size_t)k, &g, 4);
	}
	return 0;
}

int
hnsw_build_delete(struct hnsw_build *b, uint64_t label, struct err *e)
{
	unsigned char	c;
	off_t		at;

	if (label == 0 || label > b->n)
		return err_set(e, MSG_SOFTWARE, "%s: no element has label "
		    "%llu", b->name, (unsigned long long)label);
	if (label > b->n_written && flush(b, e) == -1)
		return -1;
	at = (off_t)((label - 1) * b->g.element_len + FLAG_AT);
	if (pread(b->level0_fd, &c, 1, at) != 1)
		return sys(b, HNSW_LEVEL0_FILE, e);
	if ((c & FLAG_DELETED) != 0)
		return 0;
	c |= FLAG_DELETED;
	if (pwrite(b->level0_fd, &c, 1, at) != 1)
		return sys(b, HNSW_LEVEL0_FILE, e);
	b->dead++;
	return 0;
}

/*
 * Scratch memory: a file of len bytes that no name leads to, mapped; up to
 * HNSW_SCRATCH it is memory, in large pages where there are such.
 */
static void *
scratch_map(struct hnsw_build *b, size_t len, struct err *e)
{
	void	*p = MAP_FAILED;
	int	 fd, r;

	if (len <= HNSW_SCRATCH) {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		    MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			err_sys(e, errno, "%s", b->name);
			return NULL;
		}
#ifdef MADV_HUGEPAGE
		(void)madvise(p, len, MADV_HUGEPAGE);
#endif
		return p;
	}
	fd = openat(b->dirfd, CODES_FILE, O_RDWR | O_CREAT | O_EXCL |
	    O_CLOEXEC, 0600);
	if (fd == -1) {
		sys(b, CODES_FILE, e);
		return NULL;
	}
	(void)unlinkat(b->dirfd, CODES_FILE, 0);
	/* what is promised now cannot fail when it is touched */
	r = posix_fallocate(fd, 0, (off_t)len);
	if (r != 0) {
		errno = r;
		sys(b, CODES_FILE, e);
	} else {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
		if (p == MAP_FAILED)
			sys(b, CODES_FILE, e);
	}
	(void)close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static int
map(struct hnsw_build *b, struct err *e)
{
	struct hnsw_graph	*g = &b->g;

	b->map_len = (size_t)b->n * g->element_len;
	b->map = mmap(NULL, b->map_len, PROT_READ | PROT_WRITE, MAP_SHARED,
	    b->level0_fd, 0);
	if (b->map == MAP_FAILED) {
		b->map = NULL;
		return sys(b, HNSW_LEVEL0_FILE, e);
	}
	g->level0 = b->map;
	g->n = b->n;
	g->up = mem_resize(g->up, (size_t)b->n, sizeof(*g->up));
	if (g->n == g->n_old || !hnsw_graph_codes_fit(g))
		return 0;
	b->codes_len = (size_t)b->n * hnsw_graph_stride(g);
	b->codes = g->codes = scratch_map(b, b->codes_len, e);
	return b->codes == NULL ? -1 : 0;
}

static int
write_file(struct hnsw_build *b, const char *name, const struct buf *f,
    struct err *e)
{
	int	fd, rv = 0;

	fd = openat(b->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
	    O_NOFOLLOW, 0666);
	if (fd == -1 || io_write(fd, f->p, f->len) == -1)
		rv = sys(b, name, e);
	if (fd != -1 && io_close(&fd, name, rv == 0 ? e :
	    &(struct err){ 0, "" }) == -1)
		rv = -1;
	return rv;
}

static int
write_links(struct hnsw_build *b, struct err *e)
{
	const struct hnsw_graph	*g = &b->g;
	const uint32_t		*u;
	unsigned char		 size[4];
	struct buf		 f;
	uint64_t		 i;
	uint32_t		 len;
	int			 rv;

	buf_init(&f, SIZE_MAX / 2);
	for (i = 0; i < g->n; i++) {
		len = 0;
		u = NULL;
		if (g->up[i] != HNSW_NO_UP) {
			u = g->upper + g->up[i];
			len = *u++ * (4 + 4 * g->m);
		}
		put_le32(size, len);
		buf_add(&f, size, 4);
		buf_add(&f, u, len);
	}
	rv = write_file(b, HNSW_LINKS_FILE, &f, e);
	buf_free(&f);
	return rv;
}

/* The table of header.bin is in hnsw.h. */
static int
write_header(struct hnsw_build *b, struct err *e)
{
	const struct hnsw_graph	*g = &b->g;
	const double		 mult = 1 / log((double)g->m);
	uint64_t		 bits;
	unsigned char		 h[HNSW_HEADER_LEN], *p = h;
	struct buf		 f;
	int			 rv;

	p += put_le32(p, 1);
	p += put_le64(p, 0);
	p += put_le64(p, g->n < SLOTS_MIN ? SLOTS_MIN : g->n);
	p += put_le64(p, g->n);
	p += put_le64(p, g->element_len);
	p += put_le64(p, g->element_len - 8);
	p += put_le64(p, g->data_offset);
	p += put_le32(p, (uint32_t)g->max_level);
	p += put_le32(p, g->enter);
	p += put_le64(p, g->m);
	p += put_le64(p, g->m0);
	p += put_le64(p, g->m);
	memcpy(&bits, &mult, sizeof(bits));
	p += put_le64(p, bits);
	(void)put_le64(p, g->ef);
	buf_init(&f, HNSW_HEADER_LEN);
	buf_add(&f, h, HNSW_HEADER_LEN);
	rv = write_file(b, HNSW_HEADER_FILE, &f, e);
	buf_free(&f);
	return rv;
}

static double
cpu_now(void)
{
	struct timespec	ts;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == -1)
		return 0;
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int
link_all(struct hnsw_build *b, struct err *e)
{
	struct team	*t = NULL;
	int		 rv;

	if (b->n == 0)
		return 0;
	if (map(b, e) == -1)
		return -1;
	if (b->n > b->g.n_old)
		t = team_new(b->p.threads);
	else
		t = team_new(1);
	rv = hnsw_link(&b->g, t, e);
	team_free(t);
	if (munmap(b->map, b->map_len) == -1 && rv == 0)
		rv = sys(b, HNSW_LEVEL0_FILE, e);
	b->map = NULL;
	return rv;
}

int
hnsw_build_finish(struct hnsw_build *b, struct err *e)
{
	const double	 start = cpu_now();
	const uint64_t	 n_old = b->g.n_old;
	int		 rv = -1;

	if (flush(b, e) == -1 || link_all(b, e) == -1 ||
	    write_links(b, e) == -1 || write_header(b, e) == -1)
		goto done;
	if (io_close(&b->level0_fd, HNSW_LEVEL0_FILE, e) == -1 ||
	    io_close(&b->length_fd, HNSW_LENGTH_FILE, e) == -1)
		goto done;
	if (b->p.cost != NULL) {
		b->p.cost->linked += b->n - n_old;
		b->p.cost->cpu += cpu_now() - start;
	}
	rv = 0;
done:
	hnsw_build_free(b);
	return rv;
}

void
hnsw_build_free(struct hnsw_build *b)
{
	if (b == NULL)
		return;
	if (b->map != NULL)
		(void)munmap(b->map, b->map_len);
	if (b->codes != NULL)
		(void)munmap(b->codes, b->codes_len);
	if (b->level0_fd != -1)
		(void)close(b->level0_fd);
	if (b->length_fd != -1)
		(void)close(b->length_fd);
	if (b->dirfd != -1)
		(void)close(b->dirfd);
	buf_free(&b->level0);
	buf_free(&b->lengths);
	free(b->g.up);
	free(b->g.upper);
	free(b->element);
	free(b->name);
	free(b);
}
