/*
 * hnsw_fails: an index that is written, or grows, while one system call of
 * each kind fails, for each N: it is said, with the index's name, nothing
 * is left open behind it, and made again it is the same to the byte.  The
 * same for one whose scratch memory is a file.
 * SPDX-License-Identifier: ISC
 */
#include "nth.h"

#include <stdlib.h>

#include "buf.h"
#include "hash.h"
#include "hnsw.h"
#include "hnsw_build.h"
#include "io.h"
#include "mem.h"
#include "tap.h"

#define N	60		/* vectors of a small one */
#define WIDE	65536		/* floats */
#define N_WIDE	520		/* of these: more scratch than HNSW_SCRATCH */

static char	base[256];
static int	basefd;
static struct err err;

static float *
vectors(size_t n, uint32_t dim)
{
	float		*v = mem_zero(n * dim, sizeof(*v));
	uint64_t	 x = 88172645463325252U;
	size_t		 i;

	for (i = 0; i < n * dim; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		v[i] = (float)((double)(x >> 11) / 0x1p53 - 0.5);
	}
	return v;
}

static void
digest(const char *name, char hex[HASH_HEX])
{
	unsigned char	d[HASH_LEN];
	struct err	e = { 0, "" };

	(void)snprintf(hex, HASH_HEX, "none");
	if (hash_dir(basefd, name, d, NULL, NULL, &e) == 0)
		hash_hex(d, hex);
}

/* n more, of which the second goes again; the index must be there. */
static int
build(const char *name, const struct hnsw_params *p, int fresh,
    const float *v, size_t n)
{
	struct hnsw_build	*b;
	uint64_t		 label;
	size_t			 i;
	int			 r = 0;

	memset(&err, 0, sizeof(err));
	b = hnsw_build_new(basefd, name, name, p, fresh, &err);
	if (b == NULL)
		return -1;
	for (i = 0; i < n && r == 0; i++)
		r = hnsw_build_put(b, v + i * p->dim, NULL, &label, &err);
	if (r == 0 && n < N_WIDE)
		r = hnsw_build_delete(b, 2, &err);
	if (r == -1)
		hnsw_build_free(b);
	else
		r = hnsw_build_finish(b, &err);
	return r;
}

static void
again(const char *name)
{
	struct err	e = { 0, "" };

	(void)io_rmtree(basefd, name, &e);
	(void)mkdirat(basefd, name, 0777);
}

static void
copy(const char *from, const char *to)
{
	static const char *const files[] = { HNSW_HEADER_FILE,
		HNSW_LEVEL0_FILE, HNSW_LENGTH_FILE, HNSW_LINKS_FILE };
	struct err	e = { 0, "" };
	struct buf	b;
	char		path[64];
	size_t		i;
	int		fd;

	again(to);
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		buf_init(&b, 1 << 24);
		(void)snprintf(path, sizeof(path), "%s/%s", from, files[i]);
		(void)io_slurp(basefd, path, &b, &e);
		(void)snprintf(path, sizeof(path), "%s/%s", to, files[i]);
		fd = openat(basefd, path, O_WRONLY | O_CREAT, 0666);
		(void)io_write(fd, b.p, b.len);
		(void)close(fd);
		buf_free(&b);
	}
}

/* The number that the next one opened will have. */
static int
lowest(void)
{
	int	fd = open("/", O_RDONLY);

	(void)close(fd);
	return fd;
}

static void
each(int fresh)
{
	static const char *const kinds[] = { "open", "read", "write", "seek",
		"stat", "mmap" };
	struct hnsw_params	p = { 16, ITEM_COSINE, 0, 0, 1, NULL };
	float			*v = vectors(2 * N, p.dim);
	char			 want[HASH_HEX], got[HASH_HEX];
	unsigned long		 n, all = 0;
	size_t			 k;
	int			 r, hit, fd = lowest(), bad = 0;

	again("old");
	bad += build("old", &p, 1, v, N) == -1;
	copy("old", "grown");
	if (fresh)
		again("grown");
	bad += build("grown", &p, fresh, v + N * p.dim, N) == -1;
	digest("grown", want);
	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (n = 1, hit = 1; hit; n++) {
			if (fresh)
				again("grown");
			else
				copy("old", "grown");
			nth_start(kinds[k], n);
			r = build("grown", &p, fresh, v + N * p.dim, N);
			hit = nth_stop();
			digest("grown", got);
			if (hit ? (r == 0 && strcmp(got, want) != 0) ||
			    (r == -1 && (err.code != MSG_IOERR &&
			    err.code != MSG_TEMPFAIL)) || lowest() != fd :
			    r == -1 || strcmp(got, want) != 0) {
				printf("# %s %lu: %d: %d %s\n", kinds[k], n,
				    r, err.code, err.text);
				bad++;
			}
			/* its name, or that of one of its files */
			if (r == -1 && strstr(err.text, "grown") == NULL &&
			    strstr(err.text, ".bin") == NULL)
				bad++;
			all += (unsigned long)hit;
		}
	tap_ok(bad == 0 && all > 15, "%s: %lu failures",
	    fresh ? "a new index" : "one that grows", all);
	free(v);
}

/* Too much for memory: of its scratch file nothing is left. */
static void
wide(void)
{
	static const char *const kinds[] = { "fallocate", "mmap", "mmap" };
	struct hnsw_params	p = { WIDE, ITEM_L2, 2, 2, 1, NULL };
	struct err		e = { 0, "" };
	float			*v = vectors(1, WIDE), *w;
	char			 path[300];
	size_t			 i, k;
	int			 r;

	/* all on one line: what is near is soon found */
	w = mem_zero((size_t)N_WIDE * WIDE, sizeof(*w));
	for (i = 0; i < N_WIDE; i++)
		for (k = 0; k < WIDE; k += 64)
			w[i * WIDE + k] = v[k] * (float)i;
	for (i = 0; i < 3; i++) {
		again("wide");
		/* what is written is mapped first, then its scratch */
		nth_start(kinds[i], i < 2 ? 1 : 2);
		r = build("wide", &p, 1, w, N_WIDE);
		tap_ok(nth_stop() && r == -1 && err.code == MSG_IOERR &&
		    strstr(err.text, i == 1 ? HNSW_LEVEL0_FILE :
		    "codes.tmp") != NULL, "no memory (%s): %d %s", kinds[i],
		    err.code, err.text);
	}
	again("wide");
	tap_ok(build("wide", &p, 1, w, N_WIDE) == 0, "with one it is built");
	(void)snprintf(path, sizeof(path), "%s/wide/codes.tmp", base);
	tap_ok(access(path, F_OK) == -1, "and that is gone");
	(void)io_rmtree(basefd, "wide", &e);
	free(v);
	free(w);
}

int
main(void)
{
	struct err	 e = { 0, "" };
	const char	*tmp = getenv("TMPDIR");

	msg_init("hnsw_fails");
	tap_plan(7);
	(void)snprintf(base, sizeof(base), "%s/intact-hnsw.XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(base) == NULL)
		return 99;
	basefd = open(base, O_RDONLY | O_DIRECTORY);
	each(1);
	each(0);
	wide();
	(void)io_rmtree(AT_FDCWD, base, &e);
	return tap_done();
}
