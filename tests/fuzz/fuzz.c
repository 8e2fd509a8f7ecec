/*
 * fuzz: the table of targets, their scratch directory, and both mains.
 * SPDX-License-Identifier: ISC
 */
#include "fuzz.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"
#include "banned.h"

#define INPUT_MAX	((size_t)64 << 20)	/* bytes of a file to run */

static const struct target {
	const char	*name;
	fuzz_target	*run;
	int		 page;	/* of a database: mutate in places */
	int		 files;	/* it wants the directory */
} targets[] = {
	{ "stream", fuzz_stream, 0, 0 },
	{ "record", fuzz_record, 0, 0 },
	{ "json", fuzz_json, 0, 0 },
	{ "plan", fuzz_plan, 0, 0 },
	{ "xml", fuzz_xml, 0, 0 },
	{ "s3list", fuzz_s3list, 0, 0 },
	{ "davlist", fuzz_davlist, 0, 0 },
	{ "manifest", fuzz_manifest, 0, 0 },
	{ "journal", fuzz_journal, 0, 0 },
	{ "commit", fuzz_commit, 0, 1 },
	{ "sign", fuzz_sign, 0, 0 },
	{ "cred", fuzz_cred, 0, 1 },
	{ "pickle", fuzz_pickle, 0, 1 },
	{ "hnsw", fuzz_hnsw, 0, 1 },
	{ "archive", fuzz_archive, 0, 1 },
	{ "batch", fuzz_batch, 0, 1 },
	{ "join", fuzz_join, 0, 1 },
	{ "chroma", fuzz_chroma, 1, 1 },
	{ "sql", fuzz_sql, 0, 1 },
	{ "store", fuzz_store, 1, 1 },
	{ "ledger", fuzz_ledger, 1, 1 },
};
#define N_TARGETS (sizeof(targets) / sizeof(targets[0]))

char	fuzz_dir[256];
int	fuzz_dirfd = -1;

static const struct target *chosen;

_Noreturn void
fuzz_broken(const char *what, const char *file, int line)
{
	(void)fprintf(stderr, "fuzz: %s: broken at %s:%d: %s\n",
	    chosen != NULL ? chosen->name : "?", file, line, what);
	abort();
}

static void
die(const char *what)
{
	(void)fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(74);
}

/*
 * The scratch directory.
 */

static void
leave(void)
{
	struct err	e = { 0, "" };

	if (fuzz_dirfd == -1)
		return;
	(void)close(fuzz_dirfd);
	fuzz_dirfd = -1;
	(void)io_rmtree(AT_FDCWD, fuzz_dir, &e);
}

static void
fresh(void)
{
	struct err	 e = { 0, "" };
	const char	*tmp = getenv("TMPDIR");

	if (fuzz_dirfd != -1) {
		(void)close(fuzz_dirfd);
		if (io_rmtree(AT_FDCWD, fuzz_dir, &e) == -1 ||
		    mkdir(fuzz_dir, 0700) == -1)
			die(fuzz_dir);
	} else {
		if (access("/dev/shm", W_OK) == 0)
			tmp = "/dev/shm";
		(void)snprintf(fuzz_dir, sizeof(fuzz_dir), "%s/fuzz.XXXXXX",
		    tmp != NULL ? tmp : "/tmp");
		if (mkdtemp(fuzz_dir) == NULL)
			die(fuzz_dir);
		(void)atexit(leave);
	}
	fuzz_dirfd = open(fuzz_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fuzz_dirfd == -1)
		die(fuzz_dir);
}

const char *
fuzz_path(const char *name)
{
	static char	s[512];

	(void)snprintf(s, sizeof(s), "%s/%s", fuzz_dir, name);
	return s;
}

void
fuzz_put(const char *name, const void *p, size_t n)
{
	const char	*s;
	char		*dir;
	int		 fd;

	for (s = strchr(name, '/'); s != NULL; s = strchr(s + 1, '/')) {
		dir = mem_ndup(name, (size_t)(s - name));
		if (mkdirat(fuzz_dirfd, dir, 0700) == -1 && errno != EEXIST)
			die(dir);
		free(dir);
	}
	fd = openat(fuzz_dirfd, name, O_WRONLY | O_CREAT | O_TRUNC |
	    O_CLOEXEC, 0600);
	if (fd == -1 || io_write(fd, p, n) == -1)
		die(name);
	(void)close(fd);
}

size_t
fuzz_part(const unsigned char **p, size_t *n, const unsigned char **part)
{
	const unsigned char	*end;
	size_t			 k;

	*part = *p;
	if (*p == NULL)
		return 0;
	end = *n > 0 ? memchr(*p, 0xff, *n) : NULL;
	k = end != NULL ? (size_t)(end - *p) : *n;
	*n -= k + (end != NULL);
	*p = end != NULL ? end + 1 : NULL;
	return k;
}

char *
fuzz_str(const unsigned char **p, size_t *n)
{
	const unsigned char	*part;
	size_t			 k = fuzz_part(p, n, &part);

	return mem_ndup(part != NULL ? (const char *)part : "",
	    part != NULL ? k : 0);
}

static const struct target *
choose(const char *name)
{
	size_t	i;

	for (i = 0; i < N_TARGETS; i++)
		if (strcmp(targets[i].name, name) == 0)
			return &targets[i];
	(void)fprintf(stderr, "fuzz: %s: no such target; want one of:",
	    name);
	for (i = 0; i < N_TARGETS; i++)
		(void)fprintf(stderr, " %s", targets[i].name);
	(void)fprintf(stderr, "\n");
	exit(64);
}

static void
run(const unsigned char *p, size_t n)
{
	if (chosen->files)
		fresh();
	chosen->run(p, n);
}

#ifdef FUZZ_LIB
/*
 * libFuzzer's.
 */

size_t	LLVMFuzzerMutate(uint8_t *p, size_t n, size_t max);
size_t	LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max,
	    unsigned int seed);
int	LLVMFuzzerInitialize(int *argc, char ***argv);
int	LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char	*name = getenv("FUZZ");

	(void)argc;
	(void)argv;
	chosen = choose(name != NULL ? name : "");
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	run(p, n);
	return 0;
}

static uint32_t
next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/*
 * A database is far larger than what libFuzzer mutates well: change a few
 * places, whole fields or pages, and let it have its way at times.
 */
size_t
LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned int seed)
{
	static const uint32_t	odd[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x100,
		0x1000, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
		0x80000000U, 0xffffffffU };
	uint32_t		x = seed | 1, v, k, at, page = 4096;
	int			times;

	if (!chosen->page || n < 2 * page || next(&x) % 32 == 0)
		return LLVMFuzzerMutate(p, n, max);
	for (times = 1 + (int)(next(&x) % 4); times > 0; times--) {
		/* half of all near the start of a page, where its cells are */
		at = next(&x) % (uint32_t)(n - 8);
		if (next(&x) & 1)
			at = at / page * page + next(&x) % 64;
		if (at + 8 > n)
			at = (uint32_t)n - 8;
		v = odd[next(&x) % (sizeof(odd) / sizeof(odd[0]))];
		switch (next(&x) % 8) {
		case 0:
			p[at] ^= (uint8_t)(1U << (next(&x) % 8));
			break;
		case 1:
			p[at] = (uint8_t)next(&x);
			break;
		case 2:
			p[at] = (uint8_t)(v >> 8);
			p[at + 1] = (uint8_t)v;
			break;
		case 3:
			for (k = 0; k < 4; k++)
				p[at + k] = (uint8_t)(v >> (24 - 8 * k));
			break;
		case 4:
			p[at] += (uint8_t)(next(&x) % 5) - 2U;
			break;
		case 5:
			memmove(p + at, p + next(&x) % (n - 8), 8);
			break;
		case 6:
			memmove(p + at / page * page,
			    p + next(&x) % (n / page) * page,
			    n - at / page * page < page ?
			    n - at / page * page : page);
			break;
		default:
			memset(p + at, (int)(v & 0xff), 8);
			break;
		}
	}
	return n;
}

#else

/* fuzz TARGET FILE...: each file is one input. */
int
main(int argc, char **argv)
{
	struct err	 e = { 0, "" };
	struct buf	 b;
	int		 i;

	if (argc < 2)
		die("usage: fuzz target file ...");
	chosen = choose(argv[1]);
	for (i = 2; i < argc; i++) {
		buf_init(&b, INPUT_MAX);
		if (io_slurp(AT_FDCWD, argv[i], &b, &e) == -1)
			die(argv[i]);
		run(b.p, b.len);
		buf_free(&b);
	}
	(void)printf("%s: %d inputs\n", argv[1], argc - 2);
	return 0;
}
#endif
