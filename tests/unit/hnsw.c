/*
 * hnsw: a real index, every truncation of its files, damage at random
 * places, and what each check must find.
 * SPDX-License-Identifier: ISC
 */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "hnsw.h"
#include "io.h"
#include "tap.h"
#include "tmp.h"

#define SEGMENT "2a5a9a33-f2c8-4491-bd18-e1bd564f67a7"
#define DIM 16U
#define N 136U		/* elements of the sample */
#define FLIPS 10000

static const char *const	files[4] = {
	HNSW_HEADER_FILE, HNSW_LEVEL0_FILE, HNSW_LENGTH_FILE,
	HNSW_LINKS_FILE
};
static struct buf	bytes[4];
static char		work[TMP_DIR];
static int		dirfd_;
static uint64_t		rng = 88172645463325252U;

static uint64_t
next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* Make file i what bytes says, or its first n bytes. */
static void
put(int i, size_t n)
{
	int	fd = openat(dirfd_, files[i], O_WRONLY | O_CREAT, 0600);

	if (fd == -1 || io_write(fd, bytes[i].p, n) == -1 ||
	    ftruncate(fd, (off_t)n) == -1)
		exit(99);
	(void)close(fd);
}

static void
cut(int i, size_t n)
{
	int	fd = openat(dirfd_, files[i], O_WRONLY);

	if (fd == -1 || ftruncate(fd, (off_t)n) == -1)
		exit(99);
	(void)close(fd);
}

/* One byte of file i. */
static void
put_byte(int i, size_t at)
{
	int	fd = openat(dirfd_, files[i], O_WRONLY);

	if (fd == -1 || pwrite(fd, bytes[i].p + at, 1, (off_t)at) != 1)
		exit(99);
	(void)close(fd);
}

static void
put_all(void)
{
	int	i;

	for (i = 0; i < 4; i++)
		put(i, bytes[i].len);
}

/* Open, read all labels and vectors, check: 0 whole, 1 partly, -1, -2. */
static int
use(int cosine, struct err *e)
{
	unsigned char	vec[DIM * 4];
	struct hnsw	h;
	struct err	mine;
	uint64_t	i, label, whole = 0;
	int		deleted, rv = 0;

	memset(e, 0, sizeof(*e));
	if (hnsw_open(&h, dirfd_, ".", "test", DIM, cosine, e) == -1)
		return e->code == MSG_DATAERR || e->code == MSG_NOINPUT ?
		    -1 : -2;
	for (i = 0; i < h.n && rv == 0; i++)
		if (hnsw_label(&h, i, &label, &deleted, e) == -1 ||
		    hnsw_vector(&h, i, vec, e) == -1)
			rv = -2;
	if (rv == 0 && hnsw_check(&h, &whole, e) == -1)
		rv = e->code == MSG_DATAERR ? -1 : -2;
	if (rv == 0)
		rv = whole != N || h.n != N;
	/* a server's labels are not in order: any answer, but an answer */
	memset(&mine, 0, sizeof(mine));
	if (hnsw_check_graph(&h, &whole, &mine) == -1 &&
	    mine.code != MSG_DATAERR)
		rv = -2;
	hnsw_close(&h);
	return rv;
}

static void
poke(const char *what, int file, size_t at, const void *p, size_t n)
{
	unsigned char	keep[8];
	struct err	e;
	int		r;

	memcpy(keep, bytes[file].p + at, n);
	memcpy(bytes[file].p + at, p, n);
	put(file, bytes[file].len);
	r = use(1, &e);
	if (!tap_ok(r == -1, "%s: refused", what))
		printf("# r %d\n", r);
	else
		printf("# %s\n", e.text);
	memcpy(bytes[file].p + at, keep, n);
	put(file, bytes[file].len);
}

static void
test_real(void)
{
	unsigned char	vec[DIM * 4], raw[DIM * 4];
	struct hnsw	h;
	struct err	e;
	uint64_t	label, i, sum = 0;
	uint32_t	u;
	float		f;
	double		len = 0;
	int		deleted, dead = 0, ok;

	memset(&e, 0, sizeof(e));
	put_all();
	tap_ok(use(1, &e) == 0, "the sample is whole");
	ok = hnsw_open(&h, dirfd_, ".", "test", DIM, 1, &e) == 0;
	for (i = 0; ok && i < h.n; i++) {
		ok = hnsw_label(&h, i, &label, &deleted, &e) == 0;
		sum += label;
		dead += deleted;
	}
	tap_ok(ok && h.n == N && sum == (uint64_t)N * (N + 1) / 2 &&
	    dead == 2, "labels 1 to 136, 2 of them deleted");
	/* the length beside the vector is its Euclidean norm */
	ok = ok && hnsw_vector(&h, 5, vec, &e) == 0;
	h.cosine = 0;
	ok = ok && hnsw_vector(&h, 5, raw, &e) == 0;
	for (i = 0; i < DIM; i++) {
		u = buf_get_le32(vec + 4 * i);
		memcpy(&f, &u, 4);
		len += (double)f * (double)f;
	}
	u = buf_get_le32(bytes[2].p + 4 * 5);
	memcpy(&f, &u, 4);
	tap_ok(ok && fabs(sqrt(len) - (double)f) < 1e-5 &&
	    memcmp(vec, raw, sizeof(vec)) != 0,
	    "a cosine vector comes back with its length");
	hnsw_close(&h);
	memset(&e, 0, sizeof(e));
	tap_ok(hnsw_open(&h, dirfd_, ".", "test", 8, 1, &e) == -1 &&
	    e.code == MSG_DATAERR && strstr(e.text, "dimension") != NULL,
	    "another dimension: refused");
}

static void
test_cuts(void)
{
	struct err	e;
	size_t		n, whole, odd;
	int		i, r;

	for (i = 0; i < 4; i++) {
		whole = odd = 0;
		for (n = bytes[i].len; n-- > 0;) {
			cut(i, n);
			r = use(1, &e);
			whole += r == 0;
			odd += r == -2;
		}
		put(i, bytes[i].len);
		tap_ok(whole == 0 && odd == 0,
		    "%s cut at each of %zu bytes: never whole", files[i],
		    bytes[i].len);
	}
	(void)unlinkat(dirfd_, HNSW_LENGTH_FILE, 0);
	tap_ok(use(1, &e) == -1 && e.code == MSG_NOINPUT,
	    "a file that is not there");
	put_all();
}

static void
test_flips(void)
{
	struct err	e;
	unsigned char	keep;
	size_t		k;
	int		i, f, r, odd = 0, refused = 0;

	for (i = 0; i < FLIPS; i++) {
		f = (int)(next() % 4);
		k = (size_t)(next() % bytes[f].len);
		keep = bytes[f].p[k];
		bytes[f].p[k] = (unsigned char)next();
		put_byte(f, k);
		r = use((int)(next() & 1), &e);
		odd += r == -2;
		refused += r == -1;
		bytes[f].p[k] = keep;
		put_byte(f, k);
	}
	tap_ok(odd == 0 && refused > FLIPS / 20 && refused < FLIPS,
	    "%d bytes overwritten: read or refused (%d)", FLIPS, refused);
}

int
main(int argc, char **argv)
{
	const char	*dir = getenv("DATA");
	struct err	 e;
	char		 name[2048];
	int		 i;

	msg_init("hnsw");
	memset(&e, 0, sizeof(e));
	if (argc > 1)
		dir = argv[1];
	if (tmp_dir(work, "hnsw") == -1 ||
	    (dirfd_ = open(work, O_RDONLY | O_DIRECTORY)) == -1)
		return 99;
	for (i = 0; i < 4; i++) {
		buf_init(&bytes[i], 1 << 20);
		(void)snprintf(name, sizeof(name),
		    "%s/samples/purged_hnsw_cosine/db/" SEGMENT "/%s",
		    dir != NULL ? dir : "tests/data", files[i]);
		if (io_slurp(AT_FDCWD, name, &bytes[i], &e) == -1) {
			printf("Bail out! %s\n", e.text);
			return 99;
		}
	}
	tap_plan(21);
	test_real();
	test_cuts();
	poke("version 2", 0, 0, "\2", 1);
	poke("entry point 136", 0, 56, "\x88\0\0\0", 4);
	poke("entry point on a low level", 0, 56, "\0\0\0\0", 4);
	poke("2^32 links", 0, 60, "\0\0\0\0\1\0\0\0", 8);
	poke("count 2^63", 0, 20, "\0\0\0\0\0\0\0\x80", 8);
	poke("40 links where 32 fit", 1, 0, "\x28\0", 2);
	poke("link to element 136", 1, 4, "\x88\0\0\0", 4);
	poke("vector with NaN", 1, 132, "\0\0\xc0\x7f", 4);
	poke("vector that is not of length 1", 1, 132, "\0\0\x80\x3f", 4);
	poke("length infinite", 2, 0, "\0\0\x80\x7f", 4);
	poke("length 0", 2, 0, "\0\0\0\0", 4);
	test_flips();
	for (i = 0; i < 4; i++)
		buf_free(&bytes[i]);
	(void)close(dirfd_);
	if (tap_bad == 0)
		(void)io_rmtree(AT_FDCWD, work, &e);
	return tap_done();
}
