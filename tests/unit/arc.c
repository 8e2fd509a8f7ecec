/*
 * arc: archives good, hostile and cut, made here with libarchive's writer
 * (and by hand where it refuses to), unpacked into a scratch directory.
 * SPDX-License-Identifier: ISC
 */
#include "arc.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "check.h"
#include "hash.h"
#include "io.h"
#include "mem.h"
#include "tap.h"
#include "tmp.h"
#include "banned.h"

#define BIG ((size_t)4 << 20)

enum form { PAX, USTAR, GNU, GZ, ZST, ZIP };
static const char *const	form_name[] = {
	"pax", "ustar", "gnu", "tar.gz", "tar.zst", "zip"
};

struct ent {
	const char	*name;
	int		 type;		/* AE_IF* */
	const char	*data;		/* content, or the link's target */
	int		 hard;
};

static char		 top[TMP_DIR];
static unsigned char	*mem;		/* the archive last made */
static size_t		 len;

static struct archive *
writer(enum form f)
{
	struct archive	*a = archive_write_new();

	switch (f) {
	case PAX:
	case GZ:
	case ZST:
		(void)archive_write_set_format_pax(a);
		break;
	case USTAR:
		(void)archive_write_set_format_ustar(a);
		break;
	case GNU:
		(void)archive_write_set_format_gnutar(a);
		break;
	case ZIP:
		(void)archive_write_set_format_zip(a);
		break;
	}
	if (f == GZ)
		(void)archive_write_add_filter_gzip(a);
	if (f == ZST)
		(void)archive_write_add_filter_zstd(a);
	(void)archive_write_set_bytes_in_last_block(a, 1);
	if (archive_write_open_memory(a, mem, BIG, &len) != ARCHIVE_OK)
		abort();
	return a;
}

static void
put(struct archive *a, const struct ent *x, size_t n)
{
	struct archive_entry	*e = archive_entry_new();

	archive_entry_set_pathname(e, x->name);
	archive_entry_set_mode(e, (mode_t)x->type | 04755);
	archive_entry_set_mtime(e, 1000000000, 0);
	archive_entry_set_size(e, 0);
	if (x->hard)
		archive_entry_set_hardlink(e, x->data);
	else if (x->type == AE_IFLNK)
		archive_entry_set_symlink(e, x->data);
	else if (x->type == AE_IFREG)
		archive_entry_set_size(e, (la_int64_t)n);
	if (archive_write_header(a, e) < ARCHIVE_WARN) {
		printf("# writer: %s\n", archive_error_string(a));
		abort();
	}
	if (!x->hard && x->type == AE_IFREG && n > 0)
		(void)archive_write_data(a, x->data, n);
	archive_entry_free(e);
}

static void
make(enum form f, const struct ent *v, size_t n)
{
	struct archive	*a = writer(f);
	size_t		 i;

	for (i = 0; i < n; i++)
		put(a, &v[i], v[i].data != NULL ? strlen(v[i].data) : 0);
	if (archive_write_close(a) != ARCHIVE_OK)
		abort();
	(void)archive_write_free(a);
}

/* Unpack n bytes of mem; the answer, and v, t, e of it. */
static int
run(size_t n, const struct arc_limits *lim, struct hash_tree *t,
    struct check_verdict *v, struct err *e)
{
	char	file[128];
	int	fd, dfd, rv;

	memset(v, 0, sizeof(*v));
	memset(e, 0, sizeof(*e));
	(void)snprintf(file, sizeof(file), "%s/a", top);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd == -1 || io_write(fd, mem, n) == -1)
		abort();
	(void)close(fd);
	dfd = open(top, O_RDONLY | O_DIRECTORY);
	if (io_rmtree(dfd, "out", e) == -1 || mkdirat(dfd, "out", 0700) == -1)
		abort();
	fd = openat(dfd, "out", O_RDONLY | O_DIRECTORY);
	rv = arc_unpack(file, fd, lim, t, v, e);
	(void)close(fd);
	(void)close(dfd);
	return rv;
}

static void
refused(const struct arc_limits *lim, enum check_code want, const char *what)
{
	struct check_verdict	v;
	struct err		e;
	int			rv = run(len, lim, NULL, &v, &e);

	if (!tap_ok(rv == 1 && v.code == want && v.reason[0] != '\0', "%s",
	    what))
		printf("# rv %d code %d want %d: %s%s\n", rv, (int)v.code,
		    (int)want, v.reason, e.text);
}

static void
accepted(const char *what)
{
	struct check_verdict	v;
	struct err		e;
	int			rv = run(len, NULL, NULL, &v, &e);

	if (!tap_ok(rv == 0, "%s", what))
		printf("# rv %d: %s%s\n", rv, v.reason, e.text);
}

static const struct ent	good[] = {
	{ "./", AE_IFDIR, NULL, 0 },
	{ "./chroma.sqlite3", AE_IFREG, "SQLite format 3", 0 },
	{ "./s\303\251g/", AE_IFDIR, NULL, 0 },
	{ "./s\303\251g/data_level0.bin", AE_IFREG, "0123456789", 0 },
	{ "./b/c/length.bin", AE_IFREG, "", 0 },
	{ "./b/", AE_IFDIR, NULL, 0 },
};
#define N_GOOD (sizeof(good) / sizeof(good[0]))

/* What was unpacked is what hash_dir finds there, and is clean. */
static void
test_good(void)
{
	struct check_verdict	 v;
	struct hash_tree	*t;
	struct stat		 st;
	struct err		 e;
	unsigned char		 d1[HASH_LEN], d2[HASH_LEN];
	uint64_t		 s1 = 0, s2 = 1;
	char			 p[128];
	int			 f, fd, kind, rv;
	static const int	 want[] = { ARC_TAR, ARC_TAR, ARC_TAR,
		ARC_TAR_GZ, ARC_TAR_ZST, ARC_ZIP };

	for (f = PAX; f <= ZIP; f++) {
		make((enum form)f, good, N_GOOD);
		t = hash_tree_new();
		rv = run(len, NULL, t, &v, &e);
		hash_tree_final(t, d1, &s1);
		(void)snprintf(p, sizeof(p), "%s/out", top);
		if (rv != 0)
			printf("# %s%s\n", v.reason, e.text);
		tap_ok(rv == 0 && hash_tree_count(t) == 3 &&
		    hash_dir(AT_FDCWD, p, d2, &s2, NULL, &e) == 0 &&
		    memcmp(d1, d2, HASH_LEN) == 0 && s1 == 25 && s2 == 25,
		    "%s unpacks, digests agree", form_name[f]);
		hash_tree_free(t);
		(void)snprintf(p, sizeof(p), "%s/out/chroma.sqlite3", top);
		tap_ok(lstat(p, &st) == 0 && (st.st_mode & 07777) == 0600,
		    "%s: mode is normal", form_name[f]);
		(void)snprintf(p, sizeof(p), "%s/a", top);
		fd = open(p, O_RDONLY);
		kind = arc_detect(fd);
		tap_ok(kind == want[f], "%s is recognised",
		    form_name[f]);
		(void)close(fd);
	}
}

static void
test_hostile(void)
{
	static const struct {
		struct ent	 v[3];
		size_t		 n;
		enum check_code	 want;
		const char	*what;
		int		 zip;	/* zip can hold it, too */
	} c[] = {
	{ { { "../x", AE_IFREG, "x", 0 } }, 1, CHECK_UNSAFE,
	    "..", 1 },
	{ { { "a/../../x", AE_IFREG, "x", 0 } }, 1, CHECK_UNSAFE,
	    ".. inside", 1 },
	{ { { "..", AE_IFDIR, NULL, 0 } }, 1, CHECK_UNSAFE,
	    ".. as a directory", 1 },
	{ { { "/etc/x", AE_IFREG, "x", 0 } }, 1, CHECK_UNSAFE,
	    "absolute path", 1 },
	{ { { "/", AE_IFDIR, NULL, 0 } }, 1, CHECK_UNSAFE,
	    "the root directory", 1 },
	{ { { "a\\..\\b", AE_IFREG, "x", 0 } }, 1, CHECK_UNSAFE,
	    "backslash", 0 },
	{ { { "a\nb", AE_IFREG, "x", 0 } }, 1, CHECK_UNSAFE,
	    "newline in a name", 1 },
	{ { { "l", AE_IFLNK, "/etc/passwd", 0 } }, 1, CHECK_UNSAFE,
	    "symlink", 1 },
	{ { { "l", AE_IFLNK, "/tmp", 0 }, { "l/x", AE_IFREG, "x", 0 } }, 2,
	    CHECK_UNSAFE, "write through a symlink", 1 },
	{ { { "f", AE_IFREG, "x", 0 }, { "h", AE_IFREG, "f", 1 } }, 2,
	    CHECK_UNSAFE, "hard link", 0 },
	{ { { "h", AE_IFREG, "/etc/passwd", 1 } }, 1, CHECK_UNSAFE,
	    "hard link to the outside", 0 },
	{ { { "p", AE_IFIFO, NULL, 0 } }, 1, CHECK_UNSAFE, "fifo", 0 },
	{ { { "c", AE_IFCHR, NULL, 0 } }, 1, CHECK_UNSAFE, "device", 0 },
	{ { { "b", AE_IFBLK, NULL, 0 } }, 1, CHECK_UNSAFE,
	    "block device", 0 },
	{ { { "a", AE_IFREG, "x", 0 }, { "a", AE_IFREG, "y", 0 } }, 2,
	    CHECK_UNSAFE, "a file twice", 1 },
	{ { { "a", AE_IFREG, "x", 0 }, { "./a", AE_IFREG, "y", 0 } }, 2,
	    CHECK_UNSAFE, "a file twice, differently written", 1 },
	{ { { "a", AE_IFREG, "x", 0 }, { "a/b", AE_IFREG, "y", 0 } }, 2,
	    CHECK_UNSAFE, "a file that is a directory", 1 },
	{ { { "a/b", AE_IFREG, "x", 0 }, { "a", AE_IFREG, "y", 0 } }, 2,
	    CHECK_UNSAFE, "a directory that is a file", 1 },
	{ { { "1/2/3/4/5/6/7/8/9", AE_IFREG, "x", 0 } }, 1, CHECK_LIMIT,
	    "too deep", 1 },
	{ { { "d/", AE_IFDIR, NULL, 0 } }, 1, CHECK_ARCHIVE,
	    "no file in it", 1 },
	};
	char	 what[200];
	size_t	 i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		make(PAX, c[i].v, c[i].n);
		(void)snprintf(what, sizeof(what), "tar: %s", c[i].what);
		refused(NULL, c[i].want, what);
		if (!c[i].zip)
			continue;
		make(ZIP, c[i].v, c[i].n);
		(void)snprintf(what, sizeof(what), "zip: %s", c[i].what);
		refused(NULL, c[i].want, what);
	}
}

static void
test_limits(void)
{
	static const enum form	 f[] = { PAX, GZ, ZST, ZIP };
	struct arc_limits	 lim;
	struct archive		*a;
	struct archive_entry	*e;
	struct ent		 x = { NULL, AE_IFREG, NULL, 0 };
	char			 name[300], what[100];
	char			*zero = mem_zero(1, 8 << 20);
	size_t			 i, k;

	for (i = 0; i < sizeof(f) / sizeof(f[0]); i++) {
		a = writer(f[i]);
		for (k = 0; k < 12; k++) {
			(void)snprintf(name, sizeof(name), "f%zu", k);
			x.name = name;
			x.data = "0123456789";
			put(a, &x, 10);
		}
		(void)archive_write_close(a);
		(void)archive_write_free(a);
		memset(&lim, 0, sizeof(lim));
		lim.entries = 11;
		(void)snprintf(what, sizeof(what), "%s: too many entries",
		    form_name[f[i]]);
		refused(&lim, CHECK_LIMIT, what);
		memset(&lim, 0, sizeof(lim));
		lim.bytes = 119;
		(void)snprintf(what, sizeof(what), "%s: too many bytes",
		    form_name[f[i]]);
		refused(&lim, CHECK_LIMIT, what);
		(void)snprintf(what, sizeof(what), "%s: 12 files",
		    form_name[f[i]]);
		accepted(what);
	}
	/* 8 MiB of zeros pack to some KiB: over 100, below 1000 */
	for (i = 1; i < sizeof(f) / sizeof(f[0]); i++) {
		a = writer(f[i]);
		x.name = "zeros";
		x.data = zero;
		put(a, &x, 8 << 20);
		(void)archive_write_close(a);
		(void)archive_write_free(a);
		memset(&lim, 0, sizeof(lim));
		lim.ratio = 100;
		(void)snprintf(what, sizeof(what), "%s: bomb",
		    form_name[f[i]]);
		refused(&lim, CHECK_LIMIT, what);
	}
	/* a hole of 1 TiB in a file of one byte */
	a = writer(PAX);
	e = archive_entry_new();
	archive_entry_set_pathname(e, "sparse");
	archive_entry_set_mode(e, AE_IFREG | 0644);
	archive_entry_set_size(e, (la_int64_t)1 << 40);
	archive_entry_sparse_add_entry(e, ((la_int64_t)1 << 40) - 1, 1);
	(void)archive_write_header(a, e);
	for (k = 0; k < 16; k++) /* the writer skips the hole */
		if (archive_write_data(a, zero, 8 << 20) < 0)
			break;
	archive_entry_free(e);
	(void)archive_write_free(a);
	memset(&lim, 0, sizeof(lim));
	lim.bytes = (uint64_t)1 << 39;
	refused(&lim, CHECK_LIMIT, "sparse: the hole counts");
	refused(NULL, CHECK_LIMIT, "sparse: the hole counts for the ratio");
	/* a name of 300 bytes */
	memset(name, 'n', 299);
	name[299] = '\0';
	x.name = name;
	x.data = "x";
	a = writer(PAX);
	put(a, &x, 1);
	(void)archive_write_close(a);
	(void)archive_write_free(a);
	refused(NULL, CHECK_UNSAFE, "a name longer than a name can be");
	free(zero);
}

static void
test_sparse(void)
{
	struct check_verdict	 v;
	struct archive		*a = writer(PAX);
	struct archive_entry	*e = archive_entry_new();
	struct hash_tree	*t = hash_tree_new();
	struct hash		*h = hash_new();
	struct err		 err;
	unsigned char		 want[HASH_LEN];
	const unsigned char	*d;
	static unsigned char	 b[300000];
	uint64_t		 size;
	int			 rv;

	memset(b + 4096, 'x', 4096);
	archive_entry_set_pathname(e, "sparse");
	archive_entry_set_mode(e, AE_IFREG | 0644);
	archive_entry_set_size(e, sizeof(b));
	archive_entry_sparse_add_entry(e, 4096, 4096);
	(void)archive_write_header(a, e);
	(void)archive_write_data(a, b, sizeof(b));
	archive_entry_free(e);
	(void)archive_write_close(a);
	(void)archive_write_free(a);
	hash_add(h, b, sizeof(b));
	hash_final(h, want);
	rv = run(len, NULL, t, &v, &err);
	tap_ok(rv == 0 && hash_tree_count(t) == 1 &&
	    strcmp(hash_tree_get(t, 0, &size, &d), "sparse") == 0 &&
	    size == sizeof(b) && memcmp(d, want, HASH_LEN) == 0,
	    "a sparse file is whole, holes and all");
	hash_free(h);
	hash_tree_free(t);
}

/* Cut everywhere, and longer than it is: never accepted, never an error. */
static void
test_cut(void)
{
	struct check_verdict	 v;
	struct err		 e;
	size_t			 n, whole, step;
	int			 f, rv, bad;

	for (f = PAX; f <= ZIP; f++) {
		make((enum form)f, good, N_GOOD);
		whole = len;
		bad = 0;
		step = whole > 4096 ? 7 : 1;
		for (n = 0; n < whole; n += step) {
			rv = run(n, NULL, NULL, &v, &e);
			if (rv == 1 && v.code == CHECK_ARCHIVE)
				continue;
			printf("# %s cut at %zu of %zu: %d %s%s\n",
			    form_name[f], n, whole, rv, v.reason, e.text);
			bad++;
		}
		tap_ok(bad == 0, "%s of %zu bytes, cut", form_name[f],
		    whole);
		/* every block edge of a tar, and the end mark's */
		bad = 0;
		for (n = 0; f <= GNU && n < whole; n += 512)
			if (run(n, NULL, NULL, &v, &e) != 1)
				bad++;
		tap_ok(bad == 0, "%s, cut at each block", form_name[f]);
		memcpy(mem + whole, "garbage", 7);
		len = whole + 7;
		refused(NULL, CHECK_ARCHIVE, "garbage after the end");
		memset(mem + whole, 0, 7);
		if (f == GZ) {
			accepted("zeros after gzip's end are padding");
			mem[whole + 6] = 'x';
			refused(NULL, CHECK_ARCHIVE, "and a byte after them");
		} else if (f > GZ) {
			refused(NULL, CHECK_ARCHIVE,
			    "zeros after the compressed end");
		} else {
			len = whole + 512 * 9;
			memset(mem + whole, 0, 512 * 9);
			accepted("zeros after a tar's end are padding");
		}
	}
	/* a second tar behind the first */
	make(PAX, good, N_GOOD);
	memcpy(mem + len, mem, len);
	len *= 2;
	refused(NULL, CHECK_ARCHIVE, "a second tar behind the first");
}

/* Every byte of an archive changed: an answer, and no crash. */
static void
test_flip(void)
{
	struct check_verdict	 v;
	struct err		 e;
	size_t			 i, whole;
	int			 f, rv, odd, found;

	for (f = PAX; f <= ZIP; f++) {
		make((enum form)f, good, N_GOOD);
		whole = len;
		odd = found = 0;
		for (i = 0; i < whole; i += whole > 4096 ? 3 : 1) {
			mem[i] ^= 0x41;
			rv = run(whole, NULL, NULL, &v, &e);
			if (rv == -1) {
				printf("# %s byte %zu: %s\n", form_name[f],
				    i, e.text);
				odd++;
			}
			found += rv == 1;
			mem[i] ^= 0x41;
		}
		tap_ok(odd == 0 && found > 0,
		    "%s, each byte changed: %d found, no false alarm",
		    form_name[f], found);
	}
}

static void
test_odd(void)
{
	struct check_verdict	 v;
	struct archive		*a;
	struct err		 e;
	struct ent		 x = { "x", AE_IFREG, "secret", 0 };
	static const char *const raw = "not an archive at all";
	int			 rv;

	memcpy(mem, raw, strlen(raw));
	len = strlen(raw);
	refused(NULL, CHECK_ARCHIVE, "no archive");
	len = 0;
	refused(NULL, CHECK_ARCHIVE, "zero bytes");
	memset(mem, 0, 10240);
	len = 10240;
	refused(NULL, CHECK_ARCHIVE, "zeros only");
	/* gzip in gzip */
	make(GZ, good, N_GOOD);
	{
		struct archive_entry	*ent = archive_entry_new();
		unsigned char		*in = mem_alloc(len);
		size_t			 n = len;

		memcpy(in, mem, n);
		a = archive_write_new();
		(void)archive_write_set_format_raw(a);
		(void)archive_write_add_filter_gzip(a);
		(void)archive_write_set_bytes_in_last_block(a, 1);
		(void)archive_write_open_memory(a, mem, BIG, &len);
		archive_entry_set_pathname(ent, "data");
		archive_entry_set_filetype(ent, AE_IFREG);
		(void)archive_write_header(a, ent);
		(void)archive_write_data(a, in, n);
		archive_entry_free(ent);
		(void)archive_write_close(a);
		(void)archive_write_free(a);
		free(in);
	}
	refused(NULL, CHECK_ARCHIVE, "gzip in gzip");
	/* an encrypted zip; the old kind, which needs no key to be made */
	a = archive_write_new();
	(void)archive_write_set_format_zip(a);
	if (archive_write_set_options(a, "zip:encryption=zipcrypt") ==
	    ARCHIVE_OK &&
	    archive_write_set_passphrase(a, "p") == ARCHIVE_OK) {
		(void)archive_write_set_bytes_in_last_block(a, 1);
		(void)archive_write_open_memory(a, mem, BIG, &len);
		put(a, &x, 6);
		(void)archive_write_close(a);
		refused(NULL, CHECK_ARCHIVE, "encrypted zip");
	} else
		tap_ok(1, "encrypted zip # SKIP this libarchive makes none");
	(void)archive_write_free(a);
	memset(&v, 0, sizeof(v));
	memset(&e, 0, sizeof(e));
	rv = arc_unpack("/nonexistent/x", AT_FDCWD, NULL, NULL, &v, &e);
	tap_ok(rv == -1 && e.code == MSG_NOINPUT && v.code == CHECK_OK,
	    "an archive that is not there is no verdict");
}

/* A disk that is full is the machine's fault, not the archive's. */
static void
test_machine(void)
{
	struct check_verdict	v;
	struct err		e;
	char			p[128];
	int			fd, rv;

	make(PAX, good, N_GOOD);
	(void)run(len, NULL, NULL, &v, &e);
	memset(&v, 0, sizeof(v));
	(void)snprintf(p, sizeof(p), "%s/a", top);
	/* a descriptor below which nothing can be made */
	fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
	if (fd == -1) {
		tap_ok(1, "no place to write # SKIP no /proc");
		return;
	}
	rv = arc_unpack(p, fd, NULL, NULL, &v, &e);
	tap_ok(rv == -1 && e.code != 0 && v.code == CHECK_OK,
	    "no place to write is no verdict");
	(void)close(fd);
}

int
main(void)
{
	struct err	e = { 0, "" };

	msg_init("arc");
	mem = mem_alloc(BIG);
	/* the test writes with the library, which calls what arc loads */
	if (arc_load(&e) == -1 || tmp_dir(top, "arc") == -1)
		return 1;
	tap_plan(18 + 35 + 18 + 1 + 25 + 6 + 6 + 1);
	test_good();
	test_hostile();
	test_limits();
	test_sparse();
	test_cut();
	test_flip();
	test_odd();
	test_machine();
	(void)io_rmtree(AT_FDCWD, top, &e);
	free(mem);
	return tap_done();
}
